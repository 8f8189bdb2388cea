"""How far apart two groups are: the squared maximum mean discrepancy with an interval where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from causalif._errors import InputError, WeakIdentificationError
from causalif._validate import Array, whole_number
from causalif.engine.nuisance import Held, Marginal
from causalif.estimands.mmd import SquaredMMD
from causalif.estimators._common import compared_arms
from causalif.kernels import Gaussian, RadialKernel, median_bandwidth, row_sums
from causalif.results.estimate import Estimate
from causalif.table import Table, read_table

LEAST = 10


@dataclass(frozen=True, kw_only=True)
class MMD:
    r"""The squared maximum mean discrepancy between the laws of some columns in two groups.

    .. math:: \theta = E[k(X, X')] - 2 E[k(X, Y)] + E[k(Y, Y')]

    estimated by the U-statistic, with the influence function of `SquaredMMD`.

    Parameters
    ----------
    features : sequence of str
        Columns to compare: numeric, boolean or categorical.
    group : str
        Column with two values.
    levels : (a, b), optional
        The two values, where there are more.
    kernel : kernel, optional
        Of `causalif.kernels`; Gaussian with the median distance on standardised features by default.
    draws : int, default 199
        Permutations that say how large the estimate would be if the two laws were equal, at least 99.
    random_state : int, Generator or None, default 0
        Draws them, and the rows of the median distance.
    n_jobs : int, optional
        Threads of the kernel sums, -1 for all cores. No digit depends on it.
    progress : bool, default True
        Show a bar on long work in a terminal.

    Notes
    -----
    At equality of the two laws the U-statistic is degenerate: its error is of the order 1/n, far from normal, and an
    interval from the influence function covers too rarely or too often. `fit` therefore refuses to give one unless the
    estimate exceeds what every permutation of the groups gives, and the spread over permutations is below half the
    standard error. `WeakIdentificationError` says which fails; `pvalue` is the test of equality, which is valid
    always. The features' unit and the median distance are taken as given. Cost: d n² multiplications and n² × draws
    more for the permutations.

    References
    ----------
    Gretton et al. (2012), JMLR 13, 723-773, lemma 6 and corollary 16.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> frame = pd.DataFrame({"x": rng.normal(size=400), "g": np.arange(400) % 2})
    >>> frame["x"] += 1.5 * frame["g"]
    >>> fit = MMD(features=["x"], group="g").fit(frame)
    >>> bool(fit.conf_int()["lower"].iloc[0] > 0)
    True
    >>> MMD(features=["x"], group="g").pvalue(frame)
    0.005
    """

    features: Sequence[str]
    group: str
    levels: tuple[Any, Any] | None = None
    kernel: RadialKernel | None = None
    draws: int = 199
    random_state: int | np.random.Generator | None = 0
    n_jobs: int | None = None
    progress: bool = True

    def fit(self, data: Any) -> Estimate:
        """Estimate the discrepancy and its interval.

        Parameters
        ----------
        data : DataFrame
            One row per unit.

        Returns
        -------
        Estimate
            One term, "MMD²".

        Raises
        ------
        WeakIdentificationError
            If the two laws are too close for an interval.
        """
        points, treated, table, kernel = self._read(data)
        value, null = self._permuted(points, treated, kernel)
        influence = self._influence(points, treated, kernel)
        deviation = float(np.sqrt(np.square(influence).sum())) / len(treated)
        self._refuse_near_equality(value, null, deviation)
        settings = {"estimator": "MMD", "features": list(self.features), "group": self.group, "kernel": repr(kernel),
                    "rows": len(treated), "se_source": "influence function",
                    "p-value of equality": self._pvalue(value, null)}  # fmt: skip
        return Estimate(np.array([value]), influence[:, None], ("MMD²",), table.index, settings=settings)

    def pvalue(self, data: Any) -> float:
        """Return the permutation p-value of the test that the two laws are equal.

        Parameters
        ----------
        data : DataFrame
            One row per unit.

        Returns
        -------
        float
            (1 + permutations at least as large) / (1 + draws).
        """
        points, treated, _, kernel = self._read(data)
        return self._pvalue(*self._permuted(points, treated, kernel))

    def _read(self, data: Any) -> tuple[Array, Any, Any, RadialKernel]:
        whole_number("draws", self.draws, 99)
        table = read_table(data, coded={"group": self.group}, adjust=self.features)
        high, low = compared_arms(table, self.group, self.levels)
        table = table.take(np.isin(table[self.group], (high, low)))
        treated = table[self.group] == high
        if min(treated.sum(), (~treated).sum()) < LEAST:
            raise InputError(f"`group` needs at least {LEAST} rows on either side. Got {treated.sum()} and "
                             f"{(~treated).sum()}.")  # fmt: skip
        points = table.covariates
        spread = points.std(axis=0)
        if not (spread > 0).all():
            constant = [name for name, wide in zip(table.names, spread > 0, strict=True) if not wide]
            raise InputError(f"`features` {constant} are constant in the two groups that are compared. Leave them out.")
        points = (points - points.mean(axis=0)) / spread
        kernel = self.kernel
        return points, treated, table, kernel or Gaussian(median_bandwidth(points, random_state=self.random_state))

    def _permuted(self, points: Array, treated: Any, kernel: RadialKernel) -> tuple[float, Array]:
        """The U-statistic, and those of permuted groups, from one pass over the pairs."""
        rng = np.random.default_rng(self.random_state)
        inside = np.column_stack([treated, *(rng.permutation(treated) for _ in range(self.draws))]).astype(np.float64)
        both = np.column_stack([inside, 1 - inside])
        sums = row_sums(points, None, kernel, both, symmetric=True, n_jobs=self.n_jobs, progress=self.progress).sums
        n, m = float(treated.sum()), float((~treated).sum())
        one, other = np.hsplit(sums, 2)
        first, second = (inside * one).sum(axis=0), ((1 - inside) * other).sum(axis=0)
        statistic = first / (n * (n - 1)) + second / (m * (m - 1)) - 2 * (inside * other).sum(axis=0) / (n * m)
        return float(statistic[0]), statistic[1:]

    def _influence(self, points: Array, treated: Any, kernel: RadialKernel) -> Array:
        """Centred influence values, the groups' own rows as their laws."""
        names = tuple(f"x{j}" for j in range(points.shape[1]))
        rows = Table({"a": treated.astype(np.float64)}, points, names, pd.RangeIndex(len(points)))
        question = SquaredMMD(names, "a", kernel)
        specs = {name: spec for name, spec in question.nuisances().items() if isinstance(spec, Marginal)}
        phi = question.eif(rows, {name: Held.of(spec, rows) for name, spec in specs.items()})
        return np.asarray(phi - phi.mean())

    @staticmethod
    def _pvalue(value: float, null: Array) -> float:
        return float((1 + (null >= value).sum()) / (1 + len(null)))

    def _refuse_near_equality(self, value: float, null: Array, deviation: float) -> None:
        pvalue, spread = self._pvalue(value, null), float(null.std())
        if value > null.max() and 2 * spread < deviation:
            return
        raise WeakIdentificationError(
            f"The two groups are too close for an interval of their discrepancy: the estimate is {value:.3g}, "
            f"permutations of the groups reach {null.max():.3g} (p = {pvalue:.3g}, standard deviation {spread:.2g} "
            f"against a standard error of {deviation:.2g}). Near equality the estimate is a degenerate U-statistic, "
            "whose error is not normal. Report the test of equality, `pvalue`, or collect more rows."
        )
