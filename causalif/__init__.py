"""Debiased, cross-fitted causal estimates with honest standard errors, through influence functions."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from causalif import datasets, errors, graphs, influence, kernels, testing, valuation
    from causalif.discovery import FlowSEM, LinearSEM, SplineSEM
    from causalif.estimators.ate import ATE
    from causalif.estimators.compare_sets import compare_sets
    from causalif.estimators.invalid_iv import InvalidIVATE
    from causalif.estimators.kairos import KAIROS
    from causalif.estimators.mediation import Mediation, PathEffect
    from causalif.estimators.mmd import MMD
    from causalif.estimators.sigma import SIGMA
    from causalif.estimators.wcde import WCDE
    from causalif.graphs import PDAG, adjustment_sets, parse_dag
    from causalif.graphs.posterior import DAGPosterior
    from causalif.influence import case_influence, most_influential
    from causalif.results.archive import load
    from causalif.results.compare import compare
    from causalif.results.estimate import Estimate, concat
    from causalif.testing.selfcheck import selfcheck
    from causalif.valuation import Valuation

__version__ = "0.1.0"

_HOME = {
    "ATE": "causalif.estimators.ate",
    "DAGPosterior": "causalif.graphs.posterior",
    "Estimate": "causalif.results.estimate",
    "FlowSEM": "causalif.discovery",
    "InvalidIVATE": "causalif.estimators.invalid_iv",
    "KAIROS": "causalif.estimators.kairos",
    "LinearSEM": "causalif.discovery",
    "MMD": "causalif.estimators.mmd",
    "Mediation": "causalif.estimators.mediation",
    "PDAG": "causalif.graphs",
    "PathEffect": "causalif.estimators.mediation",
    "SIGMA": "causalif.estimators.sigma",
    "SplineSEM": "causalif.discovery",
    "Valuation": "causalif.valuation",
    "WCDE": "causalif.estimators.wcde",
    "adjustment_sets": "causalif.graphs",
    "case_influence": "causalif.influence",
    "compare": "causalif.results.compare",
    "compare_sets": "causalif.estimators.compare_sets",
    "concat": "causalif.results.estimate",
    "load": "causalif.results.archive",
    "most_influential": "causalif.influence",
    "parse_dag": "causalif.graphs",
    "selfcheck": "causalif.testing.selfcheck",
}
_MODULES = ("datasets", "errors", "graphs", "influence", "kernels", "testing", "valuation")

__all__ = [
    "ATE",
    "KAIROS",
    "MMD",
    "PDAG",
    "SIGMA",
    "WCDE",
    "DAGPosterior",
    "Estimate",
    "FlowSEM",
    "InvalidIVATE",
    "LinearSEM",
    "Mediation",
    "PathEffect",
    "SplineSEM",
    "Valuation",
    "__version__",
    "adjustment_sets",
    "case_influence",
    "compare",
    "compare_sets",
    "concat",
    "datasets",
    "errors",
    "graphs",
    "influence",
    "kernels",
    "load",
    "most_influential",
    "parse_dag",
    "selfcheck",
    "testing",
    "valuation",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"causalif.{name}")
    raise AttributeError(f"module 'causalif' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
