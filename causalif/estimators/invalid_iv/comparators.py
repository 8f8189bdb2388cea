"""The usual estimators on the same rows, to be read beside the one that survives an invalid instrument."""

from __future__ import annotations

from typing import Any

import numpy as np

from causalif._validate import Array
from causalif.engine.crossfit import Derived, cross_fit
from causalif.engine.problem import Plan
from causalif.estimands.counterfactual import AverageEffect, CounterfactualMean
from causalif.estimators._least_squares import least_squares, two_stage
from causalif.results.estimate import Estimate
from causalif.table import Table


def comparators(table: Table, plan: Plan, roles: tuple[str, str, str], clip: float) -> dict[str, Estimate]:
    """Return OLS with and without the instrument, 2SLS, AIPW with and without it, and the doubly robust Wald ratio.

    AIPW is left out for a continuous treatment, the Wald ratio for an instrument with more than two levels, whose codes
    enter the other comparisons as numbers.
    """
    outcome, treatment, instrument = roles
    y, a, z = table[outcome], table[treatment], table[instrument]
    ones, w = np.ones(len(table)), table.weights
    x = np.column_stack([ones, table.covariates])
    found = {
        "OLS": _first(table, least_squares(y, np.column_stack([a, x]), w)),
        "OLS with the instrument": _first(table, least_squares(y, np.column_stack([a, z, x]), w)),
        "2SLS": _first(table, two_stage(y, np.column_stack([a, x]), np.column_stack([z, x]), w)),
    }
    if treatment in table.levels:
        found["AIPW"] = _aipw(table, plan, outcome, treatment, table.names, clip)
        found["AIPW with the instrument"] = _aipw(table, plan, outcome, treatment, (instrument, *table.names), clip)
    if len(table.levels[instrument]) == 2:
        found["LATE (doubly robust)"] = _wald(table, plan, roles, clip)
    return found


def _first(table: Table, fitted: tuple[Array, Array]) -> Estimate:
    values, influence = fitted
    return Estimate(values[:1], influence[:, :1], ("effect",), table.index, table.clusters)


def _arms(outcome: str, treatment: str, adjust: tuple[str, ...], clip: float) -> AverageEffect:
    one, other = (
        CounterfactualMean(outcome, treatment, adjust, level, 2, f"E[Y({level:g})]", clip) for level in (1.0, 0.0)
    )
    return AverageEffect(one, other)


def _aipw(table: Table, plan: Plan, outcome: str, treatment: str, adjust: tuple[str, ...], clip: float) -> Estimate:
    result = cross_fit([_arms(outcome, treatment, adjust, clip)], table, plan)
    return Estimate(result.values[:1], result.influence[:, :1], ("effect",), table.index, table.clusters)


def _wald(table: Table, plan: Plan, roles: tuple[str, str, str], clip: float) -> Estimate:
    """Return the effect of Z on Y over its effect on A, both by AIPW."""
    outcome, treatment, instrument = roles
    pair = [_arms(column, instrument, table.names, clip) for column in (outcome, treatment)]
    derived = Derived(("effect",), _ratio, _ratio_slope)
    result = cross_fit(pair, table, plan, derived)
    return Estimate(result.values, result.influence, ("effect",), table.index, table.clusters)


def _ratio(values: Any) -> Any:
    return np.array([values[0] / values[3]])


def _ratio_slope(values: Any) -> Any:
    slope = np.zeros((1, len(values)))
    slope[0, 0], slope[0, 3] = 1 / values[3], -values[0] / values[3] ** 2
    return slope
