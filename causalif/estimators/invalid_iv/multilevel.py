"""The debiased route for an instrument of more than two levels, with the test that several levels make possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import linalg, stats

from causalif._errors import InputError
from causalif._validate import Array
from causalif.engine.crossfit import cross_fit
from causalif.engine.estimand import Estimand
from causalif.engine.problem import Plan
from causalif.estimands.invalid_iv import Roles
from causalif.estimands.multilevel_iv import MultilevelEffect, OverIdentification, ScoredShiftMoments
from causalif.estimands.multilevel_targets import LevelRoles
from causalif.estimators.invalid_iv.debiased import CROSS_FITTED
from causalif.estimators.invalid_iv.pieces import Pieces, of_crossfit
from causalif.results.estimate import Estimate
from causalif.results.wald import WaldTest
from causalif.table import Table

Directions: TypeAlias = tuple[tuple[str, float, float], ...]

MOST_DIRECTIONS = 10
INDEPENDENT = 1e-6  # least share of a standardised covariate that the others must leave unexplained
AVERAGE, ALONG = "one line C_z = beta V_z + rho, on average", "and along the covariates"
SILENT_SHARE = 1e-12
SMALLEST_ERROR = 1e-6
CLEAR = 1e-3  # below this p-value of equal variances their order is taken from the data


def estimate(
    table: Table,
    plan: Plan,
    roles: Roles,
    floor: float,
    omega: Sequence[float] | None = None,
    scores: Sequence[float] | None = None,
) -> Pieces:
    """Estimate the effect, the departures from one line, and the weighted effect on the same splits.

    Parameters
    ----------
    table : Table
        The data; the instrument is coded 0, ..., L − 1.
    plan : Plan
        Learners and splits.
    roles : Roles
        Columns, as for two levels.
    floor : float
        The standard deviation of V_z over the levels is kept above this share of its average.
    omega : sequence of float, optional
        Weights of the levels, positive; scaled to sum to one. Default 1/L each.
    scores : sequence of float, optional
        One per level, for the variance-shift-weighted effect. By default the order of the levels by the variance of
        the treatment around a linear regression on the covariates if a test at 0.1% finds these variances different,
        else the order of the levels themselves.

    Returns
    -------
    Pieces
        Terms "ATE", "confounding", "direct effect of level 1", ..., "departure at level 0", ..., "numerator" and
        "denominator"; tables "over-identification" and "direct effects".

    Raises
    ------
    InputError
        If the treatment does not vary at some level, or weights or scores are unusable.

    Notes
    -----
    The confidence set for the weighted effect covers at every strength of the instrument if the scores are fixed
    beforehand. An order that is always read off the data favours a variance shift where there is none (a 95% set then
    covers less than 90%), hence the test first; what that leaves is within about 2 points.
    """
    levels = table.levels[roles.instrument]
    variances = LevelVariances.of(table, roles)
    _refuse_silent(table, roles, variances.silent)
    several = _level_roles(roles, len(levels), omega)
    scores = variances.scores if scores is None else _scores(scores, len(levels))
    independent = _directions(table)
    directions = independent if len(independent) <= MOST_DIRECTIONS else ()
    questions: list[Estimand] = [
        MultilevelEffect(several, floor),
        OverIdentification(several, floor, directions),
        ScoredShiftMoments(several, scores),
    ]
    pieces = of_crossfit(cross_fit(questions, table, plan), CROSS_FITTED)
    pieces = _with_tests(pieces, table, several, len(directions), scores)
    return replace(pieces, notes=(*pieces.notes, *_left_out(len(independent))))


def _level_roles(roles: Roles, levels: int, omega: Sequence[float] | None) -> LevelRoles:
    weights = np.full(levels, 1 / levels) if omega is None else np.asarray(omega, dtype=float)
    if weights.shape != (levels,) or not np.isfinite(weights).all() or not (weights > 0).all():
        raise InputError(
            f"`omega` must hold {levels} positive numbers, one per instrument level. Got {omega!r} instead."
        )
    shares = tuple(float(share) for share in weights / weights.sum())
    return LevelRoles(roles.outcome, roles.treatment, roles.instrument, roles.adjust, roles.binary, shares, roles.clip)


def _scores(scores: Sequence[float], levels: int) -> tuple[float, ...]:
    found = np.asarray(scores, dtype=float)
    if found.shape != (levels,) or not np.isfinite(found).all() or np.ptp(found) == 0:
        raise InputError(f"`scores` must hold {levels} numbers that are not all equal. Got {scores!r} instead.")
    return tuple(float(score) for score in found)


@dataclass(frozen=True, eq=False)
class LevelVariances:
    """The variance of the treatment around a linear regression on the covariates at every level, and its error."""

    values: Array
    std_errors: Array

    @classmethod
    def of(cls, table: Table, roles: Roles) -> LevelVariances:
        """Estimate both within each level."""
        levels = len(table.levels[roles.instrument])
        found = [_variance(table, roles, table[roles.instrument] == level) for level in range(levels)]
        values, std_errors = np.array(found).T
        # A share of exactly one half has a variance without sampling error to first order.
        return cls(values, np.maximum(std_errors, SMALLEST_ERROR * values.max()))

    @property
    def silent(self) -> npt.NDArray[np.intp]:
        """Levels at which the treatment does not vary."""
        return np.flatnonzero(self.values <= SILENT_SHARE * self.values.max())

    @property
    def scores(self) -> tuple[float, ...]:
        """Scores 0 to 1 in the order of the variances where they clearly differ, else in the order of the levels."""
        weights = (self.std_errors.min() / self.std_errors) ** 2
        distance = (self.values - np.average(self.values, weights=weights)) / self.std_errors
        levels = len(self.values)
        clear = stats.chi2.sf(float(distance @ distance), levels - 1) < CLEAR
        rank = np.argsort(np.argsort(self.values, kind="stable"), kind="stable") if clear else np.arange(levels)
        return tuple(float(score) for score in rank / (levels - 1))


def _variance(table: Table, roles: Roles, inside: npt.NDArray[np.bool_]) -> tuple[float, float]:
    # In units of the treatment's range, so that squares neither vanish nor overflow.
    a, x = table[roles.treatment][inside] / np.ptp(table[roles.treatment]), table.covariates[inside]
    w = np.ones(len(a)) if table.weights is None else table.weights[inside]
    root, x = np.sqrt(w), np.column_stack([np.ones(len(a)), x])
    squares = (a - x @ np.linalg.lstsq(x * root[:, None], a * root, rcond=None)[0]) ** 2
    mean = float(np.average(squares, weights=w))
    return mean, float(np.sqrt(np.sum((w * (squares - mean)) ** 2)) / w.sum())


def _refuse_silent(table: Table, roles: Roles, silent: npt.NDArray[np.intp]) -> None:
    if len(silent):
        found = ", ".join(repr(table.levels[roles.instrument][z]) for z in silent)
        raise InputError(
            f"`treatment` column {roles.treatment!r} does not vary, given the covariates, where {roles.instrument!r} "
            f"is {found}. With more than two instrument levels it must vary at each. Leave out the rows of that level, "
            "or keep two levels only, one of which may then have no variation."
        )


def _directions(table: Table) -> Directions:
    """Return the covariates that are no combination of others, with centre and scale."""
    x, w = table.covariates, table.weights
    share = np.full(len(x), 1 / len(x)) if w is None else w / w.sum()
    centre = share @ x
    scale = np.sqrt(share @ (x - centre) ** 2)
    moving = np.flatnonzero(scale > 0)
    if len(moving) == 0:
        return ()
    z = (x[:, moving] - centre[moving]) / scale[moving]
    left, pivot = linalg.qr(z, mode="r", pivoting=True)
    kept = sorted(moving[pivot[: int((np.abs(np.diag(left)) > INDEPENDENT * abs(left[0, 0])).sum())]])
    return tuple((table.names[j], float(centre[j]), float(scale[j])) for j in kept)


def _with_tests(pieces: Pieces, table: Table, roles: LevelRoles, directions: int, scores: tuple[float, ...]) -> Pieces:
    parts = Estimate(pieces.values, pieces.influence, pieces.labels, table.index, table.clusters)
    tests = over_identification(parts, roles, _mean_shift(pieces.nuisances, roles), directions)
    direct = [label for label in parts.labels if label.startswith("direct effect")]
    exclusion = {"no direct effect of any level": parts.test(direct)}
    tables = {**pieces.tables, "over-identification": _frame(tests), "direct effects": _frame(exclusion)}
    return replace(pieces, tables=tables, notes=(*pieces.notes, *_notes(table, roles, scores, tests)))


def _mean_shift(nuisances: pd.DataFrame, roles: LevelRoles) -> Array:
    """Return the average over rows of V_z − V̄."""
    return roles.centred(nuisances[list(roles.names("V"))].to_numpy()).mean(axis=0)


def over_identification(parts: Estimate, roles: LevelRoles, shift: Array, directions: int) -> dict[str, WaldTest]:
    r"""Test that one line :math:`C_z = \beta V_z + \rho` fits all levels of the instrument.

    Of the L departures :math:`e_z` only the L − 2 that are :math:`\omega`-orthogonal to 1 and to the average of
    :math:`V_z - \bar V` are free, so contrasts along those are tested:

    .. math:: \sum_z \omega_z q_{jz} E[v(X) e_z(X)] = 0, \quad j = 1, \dots, L - 2.

    Parameters
    ----------
    parts : Estimate
        With the terms of `OverIdentification`.
    roles : LevelRoles
        Weights of the levels.
    shift : ndarray of shape (L,)
        Average of :math:`V_z - \bar V`.
    directions : int
        Number of directions v(X) besides the constant.

    Returns
    -------
    dict of str to WaldTest
        The test of the averages, L − 2 degrees of freedom, and that of all directions together,
        (L − 2)(1 + directions).

    Notes
    -----
    Rejection means that at least one identifying condition fails at some level: for instance that the direct effect
    of a level interacts with treatment, or that a level changes how the confounder acts. No rejection is no proof: what
    is common to all levels is not seen. The contrasts are estimated, which changes nothing to first order where the
    null hypothesis holds, all e_z(X) being zero.
    """
    labels = [label for label in parts.labels if label.startswith("departure")]
    departures, contrast = parts[labels], _free_contrasts(roles, shift)
    average = np.hstack([contrast, np.zeros((len(contrast), len(labels) - roles.levels))])
    tests = {AVERAGE: departures.test(average)}
    if directions:
        tests[ALONG] = departures.test(np.kron(np.eye(1 + directions), contrast))
    return tests


def _free_contrasts(roles: LevelRoles, shift: Array) -> Array:
    """Return coefficients (L − 2, L) of e_z that are ω-orthonormal, and ω-orthogonal to 1 and to the shift."""
    root = np.sqrt(np.array(roles.omega))
    known = root[:, None] * np.column_stack([np.ones(roles.levels), shift])
    return np.asarray((root[:, None] * np.linalg.qr(known, mode="complete")[0][:, 2:]).T)


def _frame(tests: dict[str, WaldTest]) -> pd.DataFrame:
    lines = {name: (test.statistic, test.df, test.p_value) for name, test in tests.items()}
    frame = pd.DataFrame.from_dict(lines, orient="index", columns=["statistic", "df", "p_value"])
    return frame.astype({"df": int}).rename_axis("null hypothesis")


def _notes(table: Table, roles: LevelRoles, scores: tuple[float, ...], tests: dict[str, WaldTest]) -> tuple[str, ...]:
    levels, name = table.levels[roles.instrument], roles.instrument
    by_level = ", ".join(f"{level}: {share:.3g}" for level, share in zip(levels, roles.omega, strict=True))
    ordered = [str(levels[z]) for z in np.argsort(scores, kind="stable")]
    test = tests[AVERAGE]
    return (
        f"{roles.levels} levels of {name}, with weights {by_level}.",
        f"Over-identification ({AVERAGE}): {test.distribution} = {test.statistic:.3g}, p = {test.p_value:.3g}.",
        f"Weighted effect: levels scored in the order {' < '.join(ordered)}.",
    )


def _left_out(independent: int) -> tuple[str, ...]:
    if independent <= MOST_DIRECTIONS:
        return ()
    return (
        f"Over-identification along the covariates is not tested: {independent} of them are linearly independent, and "
        f"the test is made for at most {MOST_DIRECTIONS}.",
    )
