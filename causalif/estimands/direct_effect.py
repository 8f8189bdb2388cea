"""The weighted controlled direct effect: the mediators' law is held fixed while the treatment changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from causalif._validate import Array
from causalif.engine.estimand import FiniteLaw
from causalif.engine.nuisance import Nuisances, NuisanceSpec
from causalif.estimands.direct_mean import DirectMean
from causalif.estimands.mediator_law import Cells, Groups
from causalif.table import Table


@dataclass(frozen=True)
class DirectEffect:
    """The weighted controlled direct effect, its two means, and the effect at every value of discrete mediators.

    Coordinates: θ_a − θ_b, θ_a, θ_b, and E[Y(a, m) − Y(b, m)] for every cell m (or on average over every
    range of m), with

        φ_a(m) = 1(A = a, M = m) / P(a, m | C) {Y − Q(m, C)} + Q(m, C).

    Parameters
    ----------
    treated, control : DirectMean
        The two arms, of the same columns, cells and law.
    """

    treated: DirectMean
    control: DirectMean

    @property
    def labels(self) -> tuple[str, ...]:
        """The effect, its two means, the curve."""
        curve = tuple(f"CDE({label})" for label in self._curve.labels) if self._curve else ()
        return ("WCDE", *self.treated.labels, *self.control.labels, *curve)

    @property
    def _curve(self) -> Cells | Groups | None:
        """The cells or ranges at which the effect is asked for: none where the user fixed the law."""
        one = self.treated
        return (one.cells or one.groups) if one.mediators and one.law.given is None else None

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """In each arm either the regression or the weight suffices."""
        return tuple(one | other for one in self.treated.robustness for other in self.control.robustness)

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the nuisances of both arms."""
        return {**self.treated.nuisances(), **self.control.nuisances()}

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n, 3 + L)."""
        (one, curve), (other, other_curve) = self.treated.with_curve(rows, eta), self.control.with_curve(rows, eta)
        effects = np.column_stack([one - other, one, other])
        return effects if self._curve is None else np.hstack([effects, curve - other_curve])

    def derived(self, rows: Table, eta: Nuisances) -> dict[str, Array]:
        """Return the weights that were used in both arms, and what was capped or moved."""
        return {**self.treated.report(rows, eta), **self.control.report(rows, eta)}

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return all coordinates by summation."""
        one, other = self.treated.plug_in(law)[0], self.control.plug_in(law)[0]
        curve = () if self._curve is None else self.treated.curve(law) - self.control.curve(law)
        return np.array([one - other, one, other, *curve])
