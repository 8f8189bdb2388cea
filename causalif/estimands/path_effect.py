"""Effects along causal paths: differences of means, each estimated by its own influence function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from causalif._validate import Array
from causalif.engine.estimand import Estimand, FiniteLaw
from causalif.engine.nuisance import Nuisances, NuisanceSpec
from causalif.table import Table

MOST_WAYS = 64


@dataclass(frozen=True)
class Combination:
    """Sums and differences of means.

    θ = B θ_means and φ = B φ_means, for a matrix B with one row per term. Terms without any mean are exactly 0.

    Parameters
    ----------
    means : tuple of Estimand
        One-dimensional estimands, each of them evaluated once.
    labels : tuple of str
        Names of the terms.
    matrix : tuple of tuple of float
        The rows of B, one number per mean.
    """

    means: tuple[Estimand, ...]
    labels: tuple[str, ...]
    matrix: tuple[tuple[float, ...], ...]

    @property
    def coefficients(self) -> Array:
        """B, shape (p, number of means)."""
        return np.array(self.matrix, dtype=float).reshape(len(self.labels), len(self.means))

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """One way of every mean, all combinations as long as there are few."""
        ways: set[frozenset[str]] = {frozenset()}
        for mean in self.means:
            found = {one | other for one, other in product(ways, mean.robustness)}
            ways = {one for one in found if not any(other < one for other in found)}
            if len(ways) > MOST_WAYS:
                return (frozenset(self.nuisances()),)
        return tuple(sorted(ways, key=sorted))

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the nuisances of all means."""
        return {name: spec for mean in self.means for name, spec in mean.nuisances().items()}

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n, p)."""
        if not self.means:
            return np.zeros((len(rows), len(self.labels)))
        return np.column_stack([mean.eif(rows, eta) for mean in self.means]) @ self.coefficients.T

    def derived(self, rows: Table, eta: Nuisances) -> dict[str, Array]:
        """Return what the means want to be kept."""
        kept: dict[str, Array] = {}
        for mean in self.means:
            if hasattr(mean, "derived"):
                kept |= mean.derived(rows, eta)
        return kept

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return θ, shape (p,)."""
        return self.coefficients @ np.array([mean.plug_in(law)[0] for mean in self.means])


def contrast(label: str, plus: Estimand, minus: Estimand, with_means: bool = True) -> Combination:
    """Return the difference of two means, followed by the means themselves."""
    if not with_means:
        return Combination((plus, minus), (label,), ((1.0, -1.0),))
    labels = (label, *plus.labels, *minus.labels)
    return Combination((plus, minus), labels, ((1.0, -1.0), (1.0, 0.0), (0.0, 1.0)))
