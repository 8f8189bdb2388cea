"""Every vignette runs from top to bottom; the numbers it states are asserted in its cells."""

from __future__ import annotations

import functools
import re
import runpy
import types
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


METHODS = (
    "first_estimate",
    "invalid_iv",
    "adjustment_sets",
    "wcde_fairness",
    "mediation_paths",
    "structure_posteriors",
    "data_valuation",
    "which_rows",
)
SECTIONS = ("The number, in ", "What must be true, in plain words", "What would change my mind", "Limits")


@pytest.mark.parametrize("name", METHODS)
def test_method_pages_answer_the_same_questions_in_the_same_order(name):
    lines = (FOLDER / f"{name}.py").read_text().splitlines()
    headings = [line.removeprefix("# ## ") for line in lines if line.startswith("# ## ")]
    found = [next((k for k, heading in enumerate(headings) if heading.startswith(said)), None) for said in SECTIONS]
    assert None not in found, dict(zip(SECTIONS, found, strict=True))
    assert found == sorted(found)


def test_every_citation_is_in_the_bibliography_and_every_entry_is_cited():
    entries = set(re.findall(r"^@\w+\{(\w+),", (FOLDER / "references.bib").read_text(), flags=re.M))
    cited = re.findall(r"\{cite:[pt]\}`([^`]+)`", "".join(page.read_text() for page in VIGNETTES))
    assert {key.strip() for keys in cited for key in keys.split(",")} == entries


def test_the_reference_has_every_public_name():
    import causalif as ci

    listed = set(re.findall(r"^   ([\w.]+)$", (FOLDER / "reference.md").read_text(), flags=re.M))
    modules = {name for name in ci.__all__ if isinstance(getattr(ci, name), types.ModuleType)}
    there = {id(functools.reduce(getattr, name.split("."), ci)) for name in listed}
    public = {name: getattr(ci, name) for name in ci.__all__ if name not in modules | {"__version__"}}
    for room in modules:
        public |= {f"{room}.{name}": getattr(getattr(ci, room), name) for name in getattr(ci, room).__all__}
    assert [name for name, thing in public.items() if id(thing) not in there] == []
