"""What CONTRIBUTING.md says of files, imports, commands and names is so."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
if not PAGE.exists():
    pytest.skip("only where the page is", allow_module_level=True)
TEXT = PAGE.read_text(encoding="utf-8")

SPEC = importlib.util.spec_from_file_location("arrows", Path(__file__).with_name("test_imports.py"))
assert SPEC is not None
assert SPEC.loader is not None
arrows = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(arrows)


def quoted(text: str = TEXT) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", text)


def section(title: str) -> str:
    return TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """Cells of the table of a section, its head left out."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def stated_arrows() -> dict[str, set[str]]:
    """Rooms and what they may import besides the two base modules, as the table says."""
    found: dict[str, set[str]] = {}
    for left, right in rows("Where things live"):
        targets = set(quoted(right))
        if right.startswith("all of the above"):
            tops = {room.partition(".")[0] for room in found}
            targets = tops - targets
        found |= dict.fromkeys(quoted(left), targets)
    return found


def test_the_arrows_are_those_that_are_enforced() -> None:
    small = {"_errors", "errors", "_validate", "_design"}
    enforced = {room: targets - small for room, targets in arrows.ALLOWED.items() if room not in small}
    assert stated_arrows() == enforced


@pytest.mark.parametrize("path", sorted({one for one in quoted() if re.fullmatch(r"[\w.-]*(/[\w.-]*)+|\w+\.md", one)}))
def test_every_path_exists(path: str) -> None:
    if "NAME" in path:
        stem = path.rpartition("/")[2].replace("NAME", "*")
        assert list((ROOT / path).parent.glob(stem)), f"no file is named like {path}"
    else:
        assert (ROOT / path).exists()


def test_every_command_is_a_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"make ([a-z]+)", " ".join(quoted()))
    assert {"test", "lint", "types"} <= set(targets)
    assert [name for name in targets if not re.search(rf"^{name}:", makefile, flags=re.MULTILINE)] == []


def test_every_verb_is_in_use() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "causalif").rglob("*.py"))
    for left, _ in rows("Names"):
        for verb in quoted(left):
            pattern = rf"def {verb}\w+\(" if verb.endswith("_") else rf"def {verb}\("
            assert len(re.findall(pattern, code)) > (0 if verb == "tell" else 1), verb


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("causalif/engine/estimand.py", ("labels", "robustness", "nuisances", "eif", "plug_in")),
        ("causalif/kernels/base.py", ("RadialKernel", "scale", "profile", "slope", "frequencies")),
        ("causalif/discovery/sem.py", ("SEM", "Scorer", "_scorer")),
        ("causalif/graphs/dag.py", ("read_graph",)),
        ("tests/kernels/test_oracle.py", ("PAIRS",)),
        ("benchmarks/record.py", ("JOBS",)),
        ("benchmarks/records/figures.py", ("FIGURES",)),
    ],
)
def test_names_are_where_the_page_says(path: str, names: tuple[str, ...]) -> None:
    code = (ROOT / path).read_text(encoding="utf-8")
    assert all(name in code for name in names)
    assert all(name in TEXT for name in names)
