"""What leaving out a set of rows does to a fit, predicted or refitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import InputError
from causalif._validate import one_of
from causalif.influence.adapters import adapt
from causalif.influence.checks import warn_joint_leverage
from causalif.influence.model import Mask
from causalif.influence.refit import Refit
from causalif.influence.subject import ModelSubject, Subject
from causalif.influence.targets import Point, Target, TargetLike, as_target

Method = Literal["if", "rif", "newton", "exact", "refit"]
METHODS = ("if", "rif", "newton", "exact", "refit")


@dataclass(frozen=True, eq=False)
class Removal:
    """A target before and after a set of rows is left out.

    Parameters
    ----------
    method : str
        How the second value was found.
    rows : Index
        Labels of the rows that were left out, whole clusters where the fit is clustered.
    before, after : float
        The target with and without them.
    std_error_before, std_error_after : float
        Standard errors of the smooth number behind the target; NaN where unknown.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> fit = sm.OLS([0.0, 1.0, 2.0, 7.0, 3.0], sm.add_constant([0.0, 1.0, 2.0, 3.0, 4.0])).fit()
    >>> removed = remove(fit, [3, 4], method="newton", target="x1")
    >>> removed, round(removed.effect, 6)
    (Removal(2 rows: 1.2 -> 1, predicted by newton), -0.2)
    """

    method: str
    rows: pd.Index
    before: float
    after: float
    std_error_before: float
    std_error_after: float

    @property
    def effect(self) -> float:
        """Value after removal minus value before."""
        return self.after - self.before

    def __repr__(self) -> str:
        kind = "refitted" if self.method == "refit" else f"predicted by {self.method}"
        return f"Removal({len(self.rows):,} rows: {self.before:.4g} -> {self.after:.4g}, {kind})"


def remove(
    fitted: Any,
    rows: npt.ArrayLike | pd.Index,
    method: Method = "rif",
    target: TargetLike = None,
    *,
    data: Any = None,
    clusters: Any = None,
    curvature: str = "observed",
    refit: Refit | None = None,
) -> Removal:
    r"""Leave a set of rows out of a fit: a target with them, without them, and the difference.

    .. math:: \text{if: } H^{-1} \sum_T g_i, \quad \text{rif: } \sum_T (H - H_i)^{-1} g_i, \quad
        \text{newton: } (H - \textstyle\sum_T H_i)^{-1} \sum_T g_i

    Parameters
    ----------
    fitted : causalif Estimate, statsmodels result or scikit-learn estimator
        As in `case_influence`.
    rows : array of bool, shape (n,), or labels of the index
        Which rows to leave out. In clustered fits every cluster that has one of them is left out whole.
    method : {"if", "rif", "newton", "exact", "refit"}, default "rif"
        "if" and "rif" add up over rows and understate large sets; "newton" counts them jointly and is exact for least
        squares, weighted least squares and ridge; "exact" exists for these, for just-identified two-stage least
        squares, and for causal estimates with the nuisances held as they are; "refit" fits the remaining rows.
    target : str, mapping of str to float, or Target, optional
        As in `case_influence`; the first term that is not the constant by default.
    data : (X, y) or (X, y, sample_weight), optional
        What a scikit-learn estimator was fitted to.
    clusters : array or Series of shape (n,), optional
        Leave out whole clusters instead of rows.
    curvature : {"observed", "expected"}, default "observed"
        Second derivative of statsmodels' non-canonical GLMs.
    refit : callable, optional
        For an Estimate that cannot be fitted again by itself: takes the kept rows (a boolean array) and returns an
        Estimate.

    Returns
    -------
    Removal
        With ``before``, ``after``, ``effect`` and standard errors.

    Raises
    ------
    InputError
        If a row is unknown, every row would go, or the method does not exist for this fit.

    Warns
    -----
    DataWarning
        As in `case_influence`, and where the rows together carry over 0.9 of the information on some combination of
        coefficients and the method is not exact.

    Notes
    -----
    Infinite where the rows are the last that a coefficient rests on. Cost without a refit: n p² once, then k² p for k
    rows.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> fit = sm.OLS([0.0, 1.0, 2.0, 7.0, 3.0], sm.add_constant([0.0, 1.0, 2.0, 3.0, 4.0])).fit()
    >>> removed = remove(fit, [3, 4], method="newton", target="x1")
    >>> round(removed.after, 6)
    1.0
    """
    one_of("method", method, METHODS)
    subject = adapt(fitted, data, clusters, curvature, refit)
    aim = as_target(target)
    keep = ~whole_units(read_rows(rows, subject.index), subject)
    before = subject.point(aim)
    after = _after(subject, keep, method, aim, before)
    return Removal(method, subject.index[~keep], aim.read(before), aim.read(after), before.std_error, after.std_error)


def _after(subject: Any, keep: Mask, method: str, target: Target, before: Point) -> Point:
    if method == "refit":
        return subject.refit(keep, target)
    if method not in subject.methods():
        raise InputError(
            f"`method={method!r}` does not exist for this fit: {_why_not(subject, method)} "
            f'Use method="refit", or one of '
            f"{', '.join(map(repr, subject.methods()))}."
        )
    if isinstance(subject, ModelSubject):
        warn_joint_leverage(subject.model, np.flatnonzero(~keep), method)
        return model_after(subject, keep, method, target, before)
    gone = np.unique(subject.units[~keep])
    if method == "if":
        moves = subject.moves(target, "if")
        return Point(
            before.value + moves.value[gone].sum(), before.std_error + moves.std_error[gone].sum(), before.critical
        )
    path = subject.rows(target).path(gone)
    return Point(float(path.value[-1]), float(path.std_error[-1]), float(path.critical[-1]))


def model_after(subject: ModelSubject, keep: Mask, method: str, target: Target, before: Point) -> Point:
    """Return the target without the rows, by a step of the model."""
    bound = target.bind(subject.model)
    theta = subject.model.theta + subject.model.step(np.flatnonzero(~keep), method)
    if not np.isfinite(theta).all():
        c = bound.gradient(subject.model.theta)
        lost = bool((c[~np.isfinite(theta)] != 0).any())
        value = np.inf if lost else before.value + float((c[c != 0] * (theta - subject.model.theta)[c != 0]).sum())
        return Point(value, float("nan"), before.critical)
    if np.isnan(before.std_error):
        return Point(bound.value(theta), before.std_error, before.critical)
    if target.reading != "value" and method in ("newton", "exact") and subject.readapt is None:
        # the variance of the remaining rows, at their own minimum
        rest = subject.without(keep).point(target)
        return Point(bound.value(theta), rest.std_error, rest.critical)
    gone = np.unique(subject.units[~keep])
    error = before.std_error + float(subject.moves(target, subject.methods()[0]).std_error[gone].sum())
    return Point(bound.value(theta), max(error, 0.0), before.critical)


def _why_not(subject: Subject, method: str) -> str:
    if not isinstance(subject, ModelSubject):
        return "its influence values are all that is known of it."
    if subject.methods() == ("if",) and "IV2SLS" in subject.described:
        return "with more instruments than regressors a row changes the first stage as well."
    if subject.methods() == ("if",):
        return f"the loss of {subject.described} has corners, so that its curvature says nothing about a single row."
    return f"{subject.described} has no closed form without rows."


def read_rows(rows: Any, index: pd.Index) -> Mask:
    """Return which rows are meant, as a boolean array."""
    labels = rows if isinstance(rows, pd.Index) else pd.Index(rows if pd.api.types.is_list_like(rows) else [rows])
    given = labels.to_numpy()
    if given.dtype == bool:
        if given.shape != (len(index),):
            raise InputError(
                f"`rows` as a boolean array must have shape ({len(index)},), one entry per row of the data. Got "
                f"{given.shape}."
            )
        gone = given
    else:
        gone = _by_label(labels, index)
    if not gone.any():
        raise InputError("`rows` names no row; there is nothing to leave out. Name at least one.")
    if gone.all():
        raise InputError("`rows` names every row; leave some to fit.")
    return np.asarray(gone)


def _by_label(wanted: pd.Index, index: pd.Index) -> Mask:
    if not index.is_unique:
        raise InputError(
            "`rows` given by label needs a unique index, and the index of the data repeats labels. Pass a boolean "
            "array instead."
        )
    missing = wanted.difference(index)
    if len(missing):
        raise InputError(
            f"`rows` names {missing[0]!r}, which is not in the index of the data, {index[0]!r} to {index[-1]!r}. Pass "
            "labels of that index, or a boolean array."
        )
    gone = np.zeros(len(index), dtype=bool)
    gone[index.get_indexer(wanted)] = True
    return gone


def whole_units(gone: Mask, subject: Subject) -> Mask:
    """Return the rows of every cluster that has one of the rows."""
    hit = np.zeros(int(subject.units.max()) + 1, dtype=bool)
    hit[subject.units[gone]] = True
    wide = hit[subject.units]
    if wide.all():
        raise InputError("`rows` touches every cluster; leave some to fit.")
    return np.asarray(wide)
