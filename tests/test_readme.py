"""The snippets of the README run as they are pasted, one after the other, and print what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|text)\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.filterwarnings("ignore:No relation among:causalif.errors.IdentificationWarning")
@pytest.mark.filterwarnings("ignore:.* rows were clipped:causalif.errors.PositivityWarning")
def test_snippets_run_and_print_what_the_readme_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(120, 3)), columns=list("abc")).assign(y=np.arange(120) % 2)
    known = {"train": rows.iloc[:80], "clean": rows.iloc[80:]}
    printed, shown = "", 0
    for kind, text in BLOCKS:
        if kind == "text":
            assert text.strip() == printed.strip()
            shown += 1
            continue
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(text, "README.md", "exec"), known)
        printed = out.getvalue()
    assert shown == 1
    assert (tmp_path / "fit.causalif").exists()
    assert {"households", "dag", "averaged", "found", "value"} <= set(known)


@pytest.mark.parametrize("path", re.findall(r"`((?:causalif|vignettes|tests|benchmarks|data)/[\w./]*)`", README))
def test_paths_in_the_readme_exist(path):
    assert (Path(__file__).parents[1] / path).exists()
