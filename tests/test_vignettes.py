"""Every vignette runs from top to bottom; the numbers it states are asserted in its cells."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

FOLDER = Path(__file__).parents[1] / "vignettes"
VIGNETTES = sorted(path for path in FOLDER.glob("*.py") if path.name != "conf.py")


@pytest.mark.parametrize("path", VIGNETTES, ids=lambda path: path.stem)
def test_vignette_runs(path, capsys):
    import matplotlib.pyplot as plt

    runpy.run_path(str(path))
    plt.close("all")
    assert capsys.readouterr().out
