"""The mean outcome when blocks of mediators and the outcome arise under different treatment levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from causalif._validate import Array
from causalif.engine.estimand import FiniteLaw
from causalif.engine.nuisance import Nuisances, NuisanceSpec
from causalif.estimands.mediation_parts import Arms, Fitted, MediatorRatio, Names, joined, regression
from causalif.table import Table


@dataclass(frozen=True)
class MediationMean:
    """The generalised mediation functional: each block of mediators under a treatment level of its own.

    With blocks M_1, ..., M_K in causal order, levels a_1, ..., a_(K+1), M̄_k = (M_1, ..., M_k),

        θ = E_X ∫ E[Y | X, a_(K+1), M̄_K] Π_k dF(m_k | X, a_k, m̄_(k−1)),
        μ_K = E[Y | X, A = a_(K+1), M̄_K],   μ_(k−1) = E[μ_k | X, A = a_k, M̄_(k−1)],   μ_(K+1) := Y,
        φ = μ_0 + Σ_k W_k (μ_k − μ_(k−1)),   W_k = 1(A = a_k) / π(a_k | X) · Π_(j<k) r_j(a_j, a_k),

    and r_j(a, b) = p(M_j | X, a, M̄_(j−1)) / p(M_j | X, b, M̄_(j−1)) comes from the probabilities π(· | X, M̄_j) of the
    treatment by Bayes' rule: no density of a mediator is needed. Without blocks this is augmented inverse probability
    weighting; with one, E[Y(a_2, M(a_1))].

    Parameters
    ----------
    outcome, treatment : str
        Columns; the treatment is coded 0, 1, ....
    adjust : tuple of str
        Covariates X.
    blocks : tuple of tuple of str
        Columns of M_1, ..., M_K.
    levels : tuple of float
        The codes a_1, ..., a_(K+1).
    count : int
        Number of treatment levels.
    label : str
        Name of the term.
    clip : float
        π is kept within [clip, 1 − clip]; clipped rows are counted.
    report : bool
        Whether the weights W_k are kept with the nuisances.

    References
    ----------
    Zhou (2022), JRSS B 84, 794-821, equation 8.
    """

    outcome: str
    treatment: str
    adjust: tuple[str, ...]
    blocks: tuple[tuple[str, ...], ...]
    levels: tuple[float, ...]
    count: int = 2
    label: str = "E[Y(a)]"
    clip: float = 0.01
    report: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The one label."""
        return (self.label,)

    @property
    def _arms(self) -> Arms:
        return Arms(self.treatment, self.count, self.clip)

    def _given(self, k: int) -> Names:
        """X and the first k blocks."""
        return joined(self.adjust, *self.blocks[:k])

    def _mu(self, k: int) -> str:
        """Name of μ_k."""
        target = self.outcome if k == len(self.blocks) else self._mu(k + 1)
        return self._arms.mean_name(target, self.levels[k], self._given(k))

    def _ratios(self, k: int) -> list[MediatorRatio]:
        """The r_j(a_j, a_k) of W_k, those that are 1 left out."""
        own = self.levels[k - 1]
        return [
            MediatorRatio(self._arms, self._given(j - 1), self._given(j), self.levels[j - 1], own)
            for j in range(1, k)
            if self.levels[j - 1] != own
        ]

    def _weight_names(self, k: int) -> frozenset[str]:
        """Nuisances that W_k reads."""
        names = {name for ratio in self._ratios(k) for name in ratio.needs}
        return frozenset(names | {self._arms.name(self.levels[k - 1], self.adjust)})

    @property
    def _steps(self) -> range:
        return range(1, len(self.levels) + 1)

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """For some j, the weights W_1, ..., W_j and the regressions μ_j, ..., μ_K suffice: K + 2 ways."""
        ways = []
        for j in range(len(self.levels) + 1):
            weights = frozenset[str]().union(*(self._weight_names(k) for k in range(1, j + 1)))
            ways.append(weights | {self._mu(k) for k in range(j, len(self.levels))})
        return tuple(ways)

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the probabilities of the treatment, then the regressions from the outcome down to X."""
        arms = self._arms
        specs: dict[str, NuisanceSpec] = {}
        for k in self._steps:
            level = self.levels[k - 1]
            specs[arms.name(level, self.adjust)] = arms.spec(level, self.adjust)
            for ratio in self._ratios(k):
                specs |= ratio.specs()
        for k in reversed(range(len(self.levels))):
            target = self.outcome if k == len(self.blocks) else Fitted(self._mu(k + 1))
            specs[self._mu(k)] = regression(target, self._given(k), arms.where(self.levels[k]))
        return specs

    def weight(self, k: int, rows: Table, eta: Nuisances) -> Array:
        """Return W_k for every row, shape (n,)."""
        weight = self._arms.inverse(self.levels[k - 1], self.adjust, rows, eta)
        for ratio in self._ratios(k):
            weight = weight * ratio(rows, eta)
        return weight

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n,)."""
        before = eta[self._mu(0)](rows)
        phi = before
        for k in self._steps:
            after = rows[self.outcome] if k == len(self.levels) else eta[self._mu(k)](rows)
            phi = phi + self.weight(k, rows, eta) * (after - before)
            before = after
        return phi

    def derived(self, rows: Table, eta: Nuisances) -> dict[str, Array]:
        """Return the weights, where they are to be kept."""
        if not self.report:
            return {}
        return {f"weight {k} of {self.label}": self.weight(k, rows, eta) for k in self._steps}

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return θ by nested sums."""
        rows = law.table(self._given(len(self.blocks)))
        value = rows[self.outcome]
        for k in reversed(range(len(self.levels))):
            value = law.conditional_mean(value, self._given(k), rows[self.treatment] == self.levels[k])
        return np.array([law.expect(value)])
