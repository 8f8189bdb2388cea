"""The parametric route: working models by formulas, standard errors from the whole stack of estimating equations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from causalif._errors import (
    CausalifWarning,
    IdentificationWarning,
    InputError,
    WeakIdentificationError,
    WeakIdentificationWarning,
    tell,
)
from causalif._validate import Array
from causalif.engine.crossfit import CrossFit, cross_fit
from causalif.engine.estimand import Estimand
from causalif.engine.folds import Folds
from causalif.engine.learners import Learners
from causalif.engine.parametric.formulas import quoted
from causalif.engine.problem import Plan
from causalif.estimands.invalid_iv import Roles, SensitivitySlopes, VarianceShiftMoments
from causalif.estimators._common import refuse_clipped
from causalif.estimators.invalid_iv.parametric.fit import solve_problem
from causalif.estimators.invalid_iv.parametric.problem import read_problem
from causalif.estimators.invalid_iv.parametric.result import ParametricFit, Target
from causalif.estimators.invalid_iv.pieces import Pieces
from causalif.estimators.invalid_iv.robust import describe, robust_set
from causalif.results.covariance import moments
from causalif.results.estimate import Estimate
from causalif.results.report import number_format
from causalif.table import Table

SANDWICH = "sandwich of the stacked estimating equations"


class ParametricOptions(Protocol):
    """What the route reads of `InvalidIVATE`."""

    @property
    def adjust(self) -> Any:
        """Covariates as the user named them."""

    @property
    def learners(self) -> Learners:
        """Must be left at "auto"."""

    @property
    def formulas(self) -> Mapping[str, str] | None:
        """Right-hand sides by nuisance."""

    @property
    def clip(self) -> float:
        """Bound on the instrument's probability."""

    @property
    def floor(self) -> float:
        """Share of its mean at which D is kept."""

    @property
    def weak_identification(self) -> Literal["raise", "warn"]:
        """What to do under weak identification."""


def estimate(options: ParametricOptions, table: Table, plan: Plan, roles: Roles) -> Pieces:
    """Estimate the effect and the tests from the working models, the weighted effect and the slopes by cross-fitting.

    Warnings about the strength of the instrument, flooring, clipping and redundant terms are issued here.
    """
    _require_no_learners(options)
    plan = replace(plan, learners="linear", repeats=1)
    try:
        fit = _fit(options, table, roles)
    except WeakIdentificationError as error:
        known = _moments(table, plan, roles)
        message = f"{_with_set(error, known)} Pass weak_identification='warn' to see the estimate all the same."
        raise WeakIdentificationError(message, robust_set(known)) from error
    # rows without weight may vary in an arm that is silent otherwise
    crossed = cross_fit(_questions(replace(roles, silent=fit.one_sided), options.floor), table, plan)
    told = _tell(fit, roles, _estimate_of(crossed, table))
    return _assembled(fit, crossed, table, told)


def _require_no_learners(options: ParametricOptions) -> None:
    if options.learners != "auto":
        raise InputError(
            f'`learners` does not go with method="parametric", whose models are given by `formulas`, such as '
            f'{{"outcome": "~ z + x1"}}. Got learners={options.learners!r}: leave it out, or use method="debiased".'
        )


def _fit(options: ParametricOptions, table: Table, roles: Roles) -> ParametricFit:
    names = (roles.outcome, roles.treatment, roles.instrument)
    try:
        problem = read_problem(
            _frame(table, names), names, table.names, options.formulas,
            binary=roles.binary, weights=table.weights, clip=options.clip, floor=options.floor,
            weak=options.weak_identification,
        )  # fmt: skip
        fit = solve_problem(problem)
        refuse_clipped(roles.instrument, fit.clipped, len(table))
        return fit
    except InputError as error:
        if not any(said in str(error) for said in ("is not present", "is not defined")):
            raise
        raise InputError(f"{error}{_absent(options, table)}") from error


def _frame(table: Table, names: tuple[str, str, str]) -> pd.DataFrame:
    columns = {name: table[name] for name in names} | dict(zip(table.names, table.covariates.T, strict=True))
    return pd.DataFrame(columns, index=table.index)


def _absent(options: ParametricOptions, table: Table) -> str:
    """Say which covariates formulas may name, and which of `adjust` they may not: encoded, or kept out."""
    gone = [name for name in options.adjust if name not in table.names]
    why = f" Of `adjust`, {', '.join(gone)} became indicators or was kept out." if gone else ""
    return f"{why} The covariates here are {', '.join(quoted(name) for name in table.names) or 'none'}."


def _questions(roles: Roles, floor: float) -> list[Estimand]:
    questions: list[Estimand] = [VarianceShiftMoments(roles)]
    return questions if roles.silent is not None else [*questions, SensitivitySlopes(roles, floor)]


def _moments(table: Table, plan: Plan, roles: Roles) -> Estimate:
    return _estimate_of(cross_fit([VarianceShiftMoments(roles)], table, plan), table)


def _estimate_of(crossed: CrossFit, table: Table) -> Estimate:
    return Estimate(crossed.values, crossed.influence, crossed.labels, table.index, table.clusters)


def _with_set(finding: Exception, known: Estimate) -> str:
    return f"{finding} A 95% set for that effect that stays valid is {describe(robust_set(known))}."


def _tell(fit: ParametricFit, roles: Roles, known: Estimate) -> list[str]:
    """Warn of what the fit found and return the sentences; the silent arm is told of where its levels are known."""
    told = []
    for finding in fit.findings:
        if isinstance(finding, IdentificationWarning) and roles.silent is not None:
            continue
        weak = isinstance(finding, WeakIdentificationWarning) and "robust set" in str(finding)
        told.append(_with_set(finding, known) if weak else str(finding))
        kind: type[CausalifWarning] = type(finding)
        tell(told[-1], kind)
    return told


def _assembled(fit: ParametricFit, crossed: CrossFit, table: Table, told: list[str]) -> Pieces:
    found = {"ATE": Target(fit.theta, fit.influence)}
    found |= {} if fit.delta_g is None else {"direct effect of instrument": fit.delta_g}
    found |= {} if fit.rho is None else {"confounding": fit.rho}
    own = np.column_stack([target.influence for target in found.values()])
    return Pieces(
        values=np.concatenate([[target.value for target in found.values()], crossed.values]),
        influence=np.column_stack([own - own.mean(axis=0), crossed.influence]),
        labels=(*found, *crossed.labels),
        phi=fit.phi,
        score=np.ascontiguousarray(crossed.phi[:, crossed.labels.index("denominator")]),
        nuisances=fit.nuisances.assign(D=fit.D, D_used=fit.D_used),
        folds=(Folds(np.zeros(len(table), dtype=np.intp), "no splitting"),),
        se_source=SANDWICH,
        tables={"coefficients": fit.coefficients},
        notes=_notes(fit, table),
        warned=tuple(told),
        first_step=fit.first_step,
    )


def _notes(fit: ParametricFit, table: Table) -> tuple[str, ...]:
    """Return the plug-in mean, the standard error that ignores the first steps, and the formulas."""
    w = np.ones(len(table)) if table.weights is None else table.weights
    plain, naive, error = _errors([fit.influence_reg, w * (fit.phi - fit.theta), fit.influence], table)
    write = number_format(fit.theta, error)
    return (
        f"For contrast: the mean of the fitted effects alone is {write(fit.theta_reg)} (std error {write(plain)}), "
        "with fewer ways to be right; a std error that ignores the estimation of the working models would be "
        f"{write(naive)}.",
        "Formulas: " + "; ".join(f"{name} {formula}" for name, formula in fit.formulas.items()) + ".",
    )


def _errors(columns: list[Array], table: Table) -> Array:
    stacked = np.column_stack(columns)
    return moments(stacked - stacked.mean(axis=0), table.clusters).std_errors
