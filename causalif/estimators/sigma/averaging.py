"""Averages over posterior graphs: what each graph answers, weighted by how probable the graph is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr, ndtri

from causalif._validate import Array
from causalif.results.estimate import Estimate
from causalif.results.pooling import PooledModels, pool_models

ABSENT, SKIPPED = -1, -2
ABSENT_NAME = "absent"


@dataclass(frozen=True, eq=False)
class Answers:
    """Estimates of all distinct questions, and which of them each posterior graph asks about each path.

    Parameters
    ----------
    functionals : Estimate, optional
        One term per distinct question; None if no graph asks any.
    kinds : tuple of str
        Type of effect of every term, such as "natural".
    which : ndarray of shape (D, J)
        Term that graph d asks about path j; -1 where the path is absent and the effect is 0, -2 where the effect is
        not identified and was skipped.
    weights : ndarray of shape (D,)
        Posterior probabilities of the graphs.
    draws : float
        Effective number of posterior draws behind the weights; infinite where graphs were enumerated.
    rows : Index
        Rows of the data.
    clusters : ndarray, optional
        Cluster of every row.
    """

    functionals: Estimate | None
    kinds: tuple[str, ...]
    which: npt.NDArray[np.intp]
    weights: Array
    draws: float
    rows: pd.Index
    clusters: npt.NDArray[np.generic] | None = None

    def masses(self, path: int) -> dict[int, float]:
        """Return the posterior mass behind every answer about a path."""
        found: dict[int, float] = {}
        for term, weight in zip(self.which[:, path].tolist(), self.weights.tolist(), strict=True):
            found[term] = found.get(term, 0.0) + weight
        return found

    def mass(self, path: int, kinds: Sequence[str]) -> float:
        """Return the posterior mass of the graphs in which a path is asked about in one of these ways."""
        return sum(w for term, w in self.masses(path).items() if term >= 0 and self.kinds[term] in kinds)

    def component(self, term: int, label: str) -> Estimate:
        """Return one answer as an estimate with the path's label; an exact zero where the path is absent."""
        if term == ABSENT:
            return Estimate(np.zeros(1), np.zeros((len(self.rows), 1)), (label,), self.rows, self.clusters)
        assert self.functionals is not None
        one = self.functionals[self.functionals.labels[term]]
        return Estimate(one.values, one.influence_values, (label,), one.index, one.clusters)

    def average(self, path: int, label: str, present: bool) -> Average | None:
        r"""Average one path's effect over the posterior.

        .. math:: \bar\Delta = \sum_d w_d \hat\delta_d, \qquad
            V = \sum_d w_d \hat V_d + \sum_d w_d (\hat\delta_d - \bar\Delta)^2 (1 + 1 / S)

        With ``present`` only over graphs that contain the path. Where the effect was skipped, the graphs that answer
        stand in with their average, so that the mean over all graphs stays stability times the mean where present.
        None if the path is present but no graph answers.
        """
        masses = self.masses(path)
        answered = sum(w for t, w in masses.items() if t >= 0)
        skipped = masses.pop(SKIPPED, 0.0)
        if answered == 0 and (skipped > 0 or present):
            return None
        scale = 1.0 + skipped / answered if answered > 0 else 1.0
        kept = {t: w * scale if t >= 0 else w for t, w in masses.items() if t >= 0 or not present}
        total = sum(kept.values())
        names = {t: ABSENT_NAME if t == ABSENT else f"{self.kinds[t]} {t}" for t in kept}
        pooled = pool_models({names[t]: self.component(t, label) for t in kept}, [w / total for w in kept.values()])
        return Average(label, pooled, total, self.draws)


@dataclass(frozen=True, eq=False)
class Average:
    """One effect averaged over posterior graphs.

    Parameters
    ----------
    label : str
        The path.
    pooled : PooledModels
        Means and variances.
    mass : float
        Posterior mass of the graphs that were averaged over.
    draws : float
        Effective number of posterior draws.
    """

    label: str
    pooled: PooledModels
    mass: float
    draws: float

    def variances(self) -> tuple[float, float, float]:
        """Return the variance within graphs, between graphs, and of the Monte Carlo weights."""
        parts = (self.pooled.within_cov, self.pooled.between_cov)
        within, between = (cov.to_numpy(dtype=float).item() for cov in parts)
        return within, between, between / (self.draws * self.mass)

    @property
    def std_error(self) -> float:
        """Root of the sum of the three variances."""
        return float(np.sqrt(sum(self.variances())))

    def probability(self, sign: int) -> float:
        """Return the probability, over graphs and samples, that the effect is above (1) or below (-1) zero."""
        parts = self.pooled.components
        centre, se = sign * parts["estimate"].to_numpy(dtype=float), parts["std_error"].to_numpy(dtype=float)
        beyond = np.where(se > 0, ndtr(centre / np.where(se > 0, se, 1.0)), centre > 0)
        return float(parts["weight"].to_numpy(dtype=float) @ beyond)

    def interval(self, level: float, how: str) -> tuple[float, float]:
        """Return the mixture quantiles, or the normal interval around the mean."""
        if how == "mixture":
            ends = self.pooled.conf_int(level).iloc[0]
            return float(ends["lower"]), float(ends["upper"])
        half = float(ndtri((1 + level) / 2)) * self.std_error
        centre = float(self.pooled.params.iloc[0])
        return centre - half, centre + half
