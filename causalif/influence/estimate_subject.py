"""A causal estimate as something that rows can be left out of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array
from causalif.influence.means import MeanRows, critical_values
from causalif.influence.model import Mask
from causalif.influence.refit import Refit
from causalif.influence.subject import Moves, sum_by_unit
from causalif.influence.targets import Point, Target
from causalif.results.covariance import moments
from causalif.results.estimate import Estimate


@dataclass(frozen=True, eq=False)
class EstimateSubject:
    """An `Estimate`, whose influence values say what each row does to it while the nuisances stay as they are.

    Parameters
    ----------
    estimate : Estimate
        The estimate.
    share : ndarray of shape (n,)
        Each row's share of the denominator, mean one: 1 for a mean, sampling weights for a weighted one.
    is_mean : bool
        Whether the estimate is known to be a mean of scores or a ratio of two; otherwise only the influence order
        exists.
    refit_estimate : callable, optional
        From the kept rows to the estimate of them.
    units : ndarray of int, shape (n,)
        Unit of each row: the row itself, or its cluster.
    """

    estimate: Estimate
    share: Array
    is_mean: bool
    refit_estimate: Refit | None
    units: npt.NDArray[np.intp]
    described: str = ""

    @property
    def index(self) -> pd.Index:
        """Labels of the rows."""
        return self.estimate.index

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the terms."""
        return self.estimate.labels

    @property
    def theta(self) -> Array:
        """Estimates, shape (p,)."""
        return self.estimate.values

    @property
    def clustered(self) -> bool:
        """Whether units are clusters of rows."""
        return self.estimate.clusters is not None

    @cached_property
    def count(self) -> int:
        """Number of units."""
        return int(self.units.max()) + 1

    def methods(self) -> tuple[str, ...]:
        """Return the ways to predict single removals; "exact" is exact while the nuisances stay as they are."""
        return ("if", "exact") if self.is_mean else ("if",)

    def direction(self, target: Target) -> Array:
        """Return the weights of the terms in the target."""
        return np.asarray(target.bind(self).gradient(self.theta))

    def rows(self, target: Target) -> MeanRows:
        """Return the units of one target."""
        c = self.direction(target)
        at = np.flatnonzero(c)
        column = self.estimate.influence_values[:, at[0]] * c[at[0]] if len(at) == 1 else (
            self.estimate.influence_values @ c
        )  # fmt: skip
        return MeanRows(float(c @ self.theta), sum_by_unit(column, self.units), sum_by_unit(self.share, self.units),
                        self.estimate.n, self.clustered, target.level)  # fmt: skip

    def point(self, target: Target) -> Point:
        """Return the target's value, standard error and critical value."""
        return point_of(self.estimate, self.direction(target), target.level)

    def moves(self, target: Target, method: str) -> Moves:
        """Return the predicted effect of leaving out each unit."""
        rows = self.rows(target)
        if method == "if":
            return Moves(*rows.first_order())
        after, before = rows.singles(), self.point(target)
        return Moves(after.value - before.value, after.std_error - before.std_error)

    def without(self, keep: Mask) -> EstimateSubject:
        """Return the estimate fitted to the kept rows."""
        fitted = self._refitted(keep)
        share = self.share[keep] / self.share[keep].mean()
        units = np.unique(self.units[keep], return_inverse=True)[1]
        return EstimateSubject(fitted, share, self.is_mean, None, units, self.described)

    def refit(self, keep: Mask, target: Target) -> Point:
        """Return the target after an honest refit to the kept rows."""
        return point_of(self._refitted(keep), self.direction(target), target.level)

    def _refitted(self, keep: Mask) -> Estimate:
        """Return the same terms of the estimate fitted to the kept rows."""
        if self.refit_estimate is None:
            raise InputError(NO_ORIGIN)
        fitted = self.refit_estimate(keep)
        if not set(self.labels) <= set(fitted.labels):
            raise InputError(
                f"Without these rows the estimate has other terms ({', '.join(fitted.labels)}), so that there is "
                "nothing to compare."
            )
        return fitted if fitted.labels == self.labels else fitted[list(self.labels)]


NO_ORIGIN = (
    "This estimate cannot be fitted again: it was computed from other estimates, or loaded from a file, and no longer "
    "knows its estimator and data. Fit it again, pass `refit`, a function from the kept rows (a boolean array) to an "
    "Estimate, or ask for predictions only with verify=False."
)


def point_of(estimate: Estimate, c: Array, level: float) -> Point:
    """Return a contrast of terms with its standard error and critical value."""
    at = np.flatnonzero(c)
    if len(at) == 1:
        error = float(abs(c[at[0]]) * estimate.moments.std_errors[at[0]])
    else:
        column: Any = estimate.influence_values @ c
        error = float(moments(column[:, None], estimate.clusters).std_errors[0])
    df = float(estimate.moments.df[at].min()) if len(at) else np.inf
    critical = critical_values(np.array([df + 1.0]), bool(np.isfinite(df)), level)
    return Point(float(c @ estimate.values), error, float(critical[0]))
