"""The project's own files agree with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def asked_for(*extras: str) -> dict[str, str]:
    """Names and lower bounds that the package and some of its extras ask for, other than the package's own extras."""
    found = [*PROJECT["dependencies"], *(entry for extra in extras for entry in EXTRAS[extra])]
    entries = [re.fullmatch(r"([a-z-]+)>=([\d.]+)", entry) for entry in found if not entry.startswith("causalif[")]
    assert all(entries), f"every dependency needs a lower bound: {found}"
    return dict(entry.groups() for entry in entries if entry)


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def test_every_lower_bound_is_one_that_is_tried() -> None:
    oldest = pins("constraints-oldest.txt")
    for name, bound in asked_for("flow", "plot", "progress", "distributed", "data", "test").items():
        assert oldest.get(name) == bound, name


def test_every_pin_lies_within_the_bounds() -> None:
    newest = pins("constraints.txt")
    for name, bound in asked_for("plot", "progress", "distributed", "data", "test", "flow").items():
        assert version(newest[name]) >= version(bound), name


def test_extras() -> None:
    assert set(EXTRAS) == {"flow", "gpu", "plot", "progress", "distributed", "data", "docs", "test", "all"}
    (everything,) = EXTRAS["all"]
    assert set(re.findall(r"\w+", everything)) == set(EXTRAS) - {"all", "gpu", "docs"} | {"causalif"}


@pytest.mark.parametrize("name", ["demo", "test", "slow", "lint", "types", "core", "oldest", "bench", "docs"])
def test_every_check_has_its_own_target(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{name}: (wheel|\.venv-\w+/stamp)$", makefile, flags=re.MULTILINE)
    assert f"make {name}" in makefile
