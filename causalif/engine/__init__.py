"""How a question becomes numbers: what an estimand of one's own needs, under one roof."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "CrossFit": "causalif.engine.crossfit",
    "DensityRatio": "causalif.engine.nuisance",
    "Derived": "causalif.engine.crossfit",
    "Estimand": "causalif.engine.estimand",
    "FiniteLaw": "causalif.engine.estimand",
    "Marginal": "causalif.engine.nuisance",
    "Mean": "causalif.engine.nuisance",
    "NuisanceSpec": "causalif.engine.nuisance",
    "Nuisances": "causalif.engine.nuisance",
    "Plan": "causalif.engine.problem",
    "Probability": "causalif.engine.nuisance",
    "Table": "causalif.table",
    "cross_fit": "causalif.engine.crossfit",
    "read_folds": "causalif.engine.folds",
    "read_table": "causalif.table",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'causalif.engine' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOME)
