"""The squared maximum mean discrepancy between two groups as a functional of their joint law."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from causalif._validate import Array
from causalif.engine.estimand import FiniteLaw
from causalif.engine.nuisance import Held, Marginal, Nuisances, NuisanceSpec
from causalif.kernels import Kernel, block, row_sums
from causalif.table import Table


@dataclass(frozen=True)
class SquaredMMD:
    """The squared discrepancy between the laws of X in two groups.

    With f(x) = E[k(x, X) | A = 1] − E[k(x, X) | A = 0], p_a = P(A = a),

        θ = E[f(X) | A = 1] − E[f(X) | A = 0],
        φ = θ + 2 · 1(A = 1)/p_1 · (f(X) − E[f | A = 1]) − 2 · 1(A = 0)/p_0 · (f(X) − E[f | A = 0]).

    Parameters
    ----------
    features : tuple of str
        Columns X.
    group : str
        Column A, coded 0 and 1.
    kernel : kernel
        k, with its bandwidth.
    label : str
        Name of the term.

    Notes
    -----
    Where the two laws are equal f is zero, and so is φ − θ: the estimate is then a degenerate U-statistic, off by the
    order 1/n, and no interval from φ is valid.

    References
    ----------
    Gretton et al. (2012), JMLR 13, lemma 6 and theorem 12; Serfling (1980), section 5.5.
    """

    features: tuple[str, ...]
    group: str
    kernel: Kernel
    label: str = "MMD²"

    @property
    def labels(self) -> tuple[str, ...]:
        """The one label."""
        return (self.label,)

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """All three laws are needed."""
        return (frozenset(self.nuisances()),)

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the laws of the features in the groups, and that of the group."""
        return {
            "p(x|1)": Marginal(self.features, where=((self.group, 1.0),)),
            "p(x|0)": Marginal(self.features, where=((self.group, 0.0),)),
            "p(a)": Marginal((self.group,)),
        }

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n,)."""
        laws = [_held(eta[f"p(x|{a})"]) for a in (0, 1)]
        control, treated = _held(eta["p(a)"]).masses(2)
        witness = self._witness(rows.matrix(self.features), laws)
        means = [float(law.probabilities @ self._witness(law.rows.matrix(self.features), laws)) for law in laws]
        share = np.where(rows[self.group] == 1, 1 / treated, 0.0), np.where(rows[self.group] == 0, 1 / control, 0.0)
        moved = share[0] * (witness - means[1]) - share[1] * (witness - means[0])
        return np.asarray(means[1] - means[0] + 2 * moved)

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return (p_1 − p_0)' K (p_1 − p_0), shape (1,)."""
        points = law.points[list(self.features)].to_numpy(dtype=float)
        treated = law.points[self.group].to_numpy(dtype=float) == 1
        p = [law.probabilities * inside / law.probabilities[inside].sum() for inside in (treated, ~treated)]
        difference = p[0] - p[1]
        return np.array([difference @ block(points, points, self.kernel) @ difference])

    def _witness(self, points: Array, laws: list[Held]) -> Array:
        """Return f at these points."""
        mean = [row_sums(points, law.rows.matrix(self.features), self.kernel, law.probabilities,
                         precision="float64").sums for law in laws]  # fmt: skip
        return mean[1] - mean[0]


def _held(law: object) -> Held:
    if not isinstance(law, Held):
        raise TypeError("a `Marginal` must come as the rows that it holds")
    return law
