"""The debiased route: everything cross-fitted, second-stage targets by inner cross-fitting."""

from __future__ import annotations

from causalif.engine.crossfit import cross_fit
from causalif.engine.estimand import Estimand
from causalif.engine.problem import Plan
from causalif.estimands.invalid_iv import (
    InvalidIVEffect,
    OneSidedEffect,
    Roles,
    SensitivitySlopes,
    VarianceShiftMoments,
)
from causalif.estimators.invalid_iv.pieces import Pieces, of_crossfit
from causalif.table import Table

CROSS_FITTED = "influence function, cross-fitted"


def estimate(table: Table, plan: Plan, roles: Roles, floor: float) -> Pieces:
    """Estimate the effect, the tests, the weighted effect and the sensitivity slopes on the same splits."""
    questions: list[Estimand] = [
        InvalidIVEffect(roles, floor),
        VarianceShiftMoments(roles),
        SensitivitySlopes(roles, floor),
    ]
    return of_crossfit(cross_fit(questions, table, plan), CROSS_FITTED)


def one_sided(table: Table, plan: Plan, roles: Roles) -> Pieces:
    """Estimate the effect from the informative arm alone, where the treatment does not vary in the other."""
    assert roles.silent is not None
    questions: list[Estimand] = [OneSidedEffect(roles, 1 - roles.silent), VarianceShiftMoments(roles)]
    return of_crossfit(cross_fit(questions, table, plan), CROSS_FITTED)
