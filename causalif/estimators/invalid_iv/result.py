"""The result of `InvalidIVATE`, with the questions that belong to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array, one_of
from causalif.estimators._least_squares import project
from causalif.estimators.invalid_iv import robust
from causalif.estimators.invalid_iv.comparators import comparators
from causalif.estimators.invalid_iv.sensitivity import KINDS, Sensitivity, sensitivity
from causalif.results import archive
from causalif.results.compare import Comparison, compare
from causalif.results.estimate import Estimate, assembled
from causalif.table import Table

if TYPE_CHECKING:
    from causalif.engine.problem import Plan
    from causalif.storage.codec import Reader, Writer


@dataclass(frozen=True, eq=False, repr=False)
class InvalidIVResult(Estimate):
    """The average effect, and everything that was estimated on the way.

    Parameters
    ----------
    parts : Estimate, optional
        All coordinates with their joint influence values: the effect, the instrument's direct effect, confounding,
        the two moments of the variance-shift-weighted effect, the slopes of the sensitivity analysis.
    phi : ndarray of shape (n,), optional
        Uncentred influence values of the effect; their regression on covariates estimates effect modification.
    first_step : callable, optional
        What estimated working models add to the influence of a projection of ``phi``; kept in memory only.
    table : Table, optional
        The columns as read; kept in memory only.
    plan : Plan, optional
        How nuisances were fitted; kept in memory only.

    Examples
    --------
    >>> import causalif as ci
    >>> data = ci.datasets.simulate_invalid_iv_continuous(2000, random_state=1).data
    >>> fit = ci.InvalidIVATE(outcome="y", treatment="a", instrument="z", adjust=["x1", "x2", "x3"],
    ...                       learners="linear").fit(data)
    >>> ((low, high),) = fit.robust_set()
    >>> low < 1 < high
    True
    >>> list(fit.effect_by(["x1"]).params.index)
    ['intercept', 'x1']
    >>> list(fit.comparators().estimates)[:3]
    ['OLS', 'OLS with the instrument', '2SLS']
    >>> fit.sensitivity(sizes=[0.0, 0.5]).frame.shape
    (2, 5)
    """

    parts: Estimate | None = None
    phi: Array = field(default_factory=lambda: np.empty(0))
    first_step: Callable[[Array], Array] | None = None
    table: Table | None = None
    plan: Plan | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the data behind when pickled."""
        return {**super().__getstate__(), "table": None, "plan": None, "first_step": None}

    def _pack(self, writer: Writer) -> dict[str, Any]:
        own = {"parts": archive.pack_beside(self.parts, self, writer), "phi": writer.array(self.phi)}
        return archive.packed(self, writer) | own

    @classmethod
    def _unpack(cls, fields: Mapping[str, Any], reader: Reader) -> Self:
        known = archive.unpacked(fields, reader)
        phi = reader.array(fields["phi"], (len(known["index"]),), "f")
        own = {"parts": archive.unpack_beside(fields["parts"], known, reader), "phi": phi}
        return assembled(cls, known | own | dict.fromkeys(("first_step", "table", "plan")))

    @property
    def _known(self) -> Estimate:
        if self.parts is None:
            raise InputError("This result was saved without its parts; fit again to ask further questions.")
        return self.parts

    @property
    def _rows(self) -> Table:
        if self.table is None:
            raise InputError("This result was loaded without its data; fit again to ask further questions.")
        return self.table

    @property
    def weighted(self) -> Estimate:
        """The variance-shift-weighted effect θ_w = E[κβ] / E[κ], κ = π(1 − π)D: regular where D(X) is small."""
        return renamed(self._known["numerator"] / self._known["denominator"], "weighted effect")

    def robust_set(self, level: float = 0.95) -> list[tuple[float, float]]:
        """Return a confidence set for the weighted effect that is valid however weak the instrument is.

        Parameters
        ----------
        level : float, default 0.95
            Coverage, strictly between 0 and 1.

        Returns
        -------
        list of (float, float)
            Disjoint intervals; an end may be infinite, and the whole line means that the data say nothing.

        Notes
        -----
        Equals a set for the average effect if the effect does not vary with the covariates. See
        `causalif.estimators.invalid_iv.robust.robust_set` for the formula.
        """
        return robust.robust_set(self._known, level)

    def effect_by(self, columns: str | Sequence[str], kind: str | None = None) -> Estimate:
        r"""Return how the effect varies with covariates: group means, or a best linear projection.

        .. math:: \arg\min_b E[(\varphi(O) - v(X)'b)^2]

        Parameters
        ----------
        columns : str or sequence of str
            Covariates out of ``adjust``.
        kind : {"groups", "linear"}, optional
            "groups" gives the mean effect at each value of one column; "linear" an intercept and slopes. By default
            groups if the one column is categorical, boolean or text, else linear.

        Returns
        -------
        Estimate
            One term per group, or ``intercept`` and one slope per column; standard errors are HC0 (clustered if the
            fit was), with the estimation of parametric working models included.

        Raises
        ------
        InputError
            If a column is not among ``adjust``: effects can only be projected on covariates that were adjusted for.
        """
        frame = self._modifiers([columns] if isinstance(columns, str) else list(columns))
        categorical = frame.shape[1] == 1 and not pd.api.types.is_any_real_numeric_dtype(frame.iloc[:, 0].dtype)
        kind = kind or ("groups" if categorical else "linear")
        one_of("kind", kind, ("groups", "linear"))
        if kind == "groups":
            basis, labels = _groups(frame)
        else:
            basis = np.column_stack([np.ones(len(frame)), frame.to_numpy(dtype=float)])
            labels = ("intercept", *map(str, frame.columns))
        values, influence = project(self.phi, basis, self._rows.weights, self.first_step)
        return Estimate(
            values, influence, labels, self.index, self.clusters, settings={"estimator": "Effect modification"}
        )

    def _modifiers(self, columns: list[str]) -> pd.DataFrame:
        if self.origin is None:
            raise InputError("This result was loaded without its data; fit again to ask further questions.")
        allowed = list(self.origin.estimator.adjust)
        unknown = [name for name in columns if name not in allowed]
        if unknown or not columns:
            raise InputError(f"`columns` must be covariates that were adjusted for, {allowed}. Got {columns} instead.")
        data = self.origin.data
        if isinstance(data, pd.DataFrame):
            return data[columns]
        return pd.DataFrame({name: list(data[name]) for name in columns}, index=self.index)

    def comparators(self) -> Comparison:
        """Return the usual estimators side by side with this one, on the same rows, folds and learners.

        Returns
        -------
        Comparison
            OLS without and with the instrument, 2SLS, AIPW without and with it (binary treatment), the doubly robust
            local effect, the variance-shift-weighted effect, and this estimate.

        Raises
        ------
        InputError
            If the result was loaded from a file, without its data.

        Notes
        -----
        OLS and AIPW assume that nothing is unmeasured; 2SLS and the local effect assume that the instrument acts only
        through the treatment. Each is consistent for its own target only where its assumption holds.
        """
        if self.plan is None or self.origin is None:
            raise InputError("This result was loaded without its data; fit again to ask further questions.")
        asked = self.origin.estimator
        roles = (asked.outcome, asked.treatment, asked.instrument)
        found = comparators(self._rows, self.plan, roles, asked.clip)
        found |= {"Variance-shift weighted": self.weighted, "Invalid-IV ATE": self["ATE"]}
        return compare({name: renamed(estimate, "effect") for name, estimate in found.items()})

    def sensitivity(
        self, kind: str = "direct effect by treatment", sizes: Sequence[float] | None = None, level: float = 0.95
    ) -> Sensitivity:
        """Return the effect corrected for a violation of one identifying condition, and the tipping points.

        Parameters
        ----------
        kind : str, default "direct effect by treatment"
            The condition that fails: "direct effect by treatment", "instrument by confounder" or, for a binary
            treatment only, "uptake by effect".
        sizes : sequence of float, optional
            Sizes of the violation; by default a grid that reaches beyond the tipping point.
        level : float, default 0.95
            Level of the intervals.

        Returns
        -------
        Sensitivity
            The table over sizes, the size that brings the estimate to zero, and the smallest size at which the interval
            contains zero. The sampling error of the correction itself is included.

        Raises
        ------
        InputError
            If ``kind`` is unknown here, or the treatment varies in one arm only, or the instrument has more than two
            levels.
        """
        if not any(known in self._known for known in KINDS):
            raise InputError(
                "The sensitivity analysis needs an instrument with two levels, in both of which the treatment varies. "
                "With more levels, read the over-identification test in `diagnostics`."
            )
        return sensitivity(self._known, kind, sizes, level)


def renamed(estimate: Estimate, label: str) -> Estimate:
    """Return a single-term estimate under another label."""
    return Estimate(estimate.values, estimate.influence_values, (label,), estimate.index, estimate.clusters)


def _groups(frame: pd.DataFrame) -> tuple[Array, tuple[str, ...]]:
    if frame.shape[1] != 1:
        raise InputError('`kind="groups"` takes one column. Combine several into one categorical column first.')
    codes, levels = pd.factorize(frame.iloc[:, 0], sort=True)
    return (codes[:, None] == np.arange(len(levels))).astype(float), tuple(
        f"{frame.columns[0]}={level}" for level in levels
    )
