"""The mean outcome under a treatment level and one law of mediators, with confounders that the treatment affects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from causalif._validate import Array
from causalif.engine.estimand import FiniteLaw
from causalif.engine.nuisance import Marginal, Mean, Nuisances, NuisanceSpec, Probability
from causalif.estimands.direct_mean import NEVER, DirectMean, codes, laws_of
from causalif.estimands.mediator_law import Cells
from causalif.estimands.product_average import of_cells, with_columns
from causalif.table import Table


@dataclass(frozen=True)
class SequentialMean(DirectMean):
    """As `DirectMean`, where some confounders L of mediators and outcome are affected by the treatment.

    With Q(m, l, c) = E[Y | A = a, m, l, c], discrete mediators and R_m(c) = E[Q(m, L, c) | A = a, c],

        θ = Σ_m p(m) ∫ R_m(c) p(c) dc,
        φ = 1(A = a) w (Y − Q) + 1(A = a) / P(a | C) {S(L, C) − R(C)} + f1(M) + R(C) − U,
        w = p(M) / {P(a | C) p(M | a, L, C)},

    S = Σ_m p(m) Q(m, ·), R = Σ_m p(m) R_m, f1(m) = ∫ R_m(c) p(c) dc. The curve has, for each m,

        φ_m = 1(A = a, M = m) / {P(a | C) P(m | a, L, C)} (Y − Q) + 1(A = a) / P(a | C) {Q(m, ·) − R_m} + R_m.

    Parameters
    ----------
    intermediate : tuple of str
        Columns of L.

    References
    ----------
    Robins (1986), Mathematical Modelling 7, for the formula.
    """

    intermediate: tuple[str, ...] = ()

    @property
    def _given(self) -> tuple[str, ...]:
        return self.mediators + self.intermediate + self.adjust

    @property
    def _discrete(self) -> Cells:
        assert self.cells is not None
        return self.cells

    def _at(self, cell: int) -> str:
        return f"mu{self.level:g}(m{cell}|c)"

    def _cell_name(self, cell: int) -> str:
        return f"p(m{cell}|{self.level:g},l,c)"

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """Two regressions in a row, two probabilities in a row, or the later regression and the earlier probability."""
        later = {self._mu}
        earlier = {self._at(cell) for cell in self._wanted}
        mediators = {name for name in self.nuisances() if name.startswith("p(m") and name != "p(m)"}
        return (
            self._held | later | earlier,
            self._held | {self._pi} | mediators,
            self._held | {self._pi} | later,
        )

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the nuisances of this arm."""
        where = ((self.treatment, self.level),)
        specs = self._treatment_nuisance(self.adjust) | self._law_nuisances()
        specs["p(c)"] = Marginal(self.adjust, part=self.part)
        specs[self._mu] = Mean(self.outcome, self._given, where=where)
        for cell in self._wanted:
            target = AtCell(self._mu, self.mediators, self._discrete.values[cell])
            specs[self._at(cell)] = Mean(target, self.adjust, where=where)
        return specs

    def _cell_nuisances(self, cells: Cells) -> dict[str, NuisanceSpec]:
        where, given = ((self.treatment, self.level),), self.intermediate + self.adjust
        return {
            self._cell_name(cell): Probability(
                cells.column, given, float(cell), where, learner="mediator", bounds=(NEVER, 1 - NEVER)
            )
            for cell in ((1,) if self._complementary else self._wanted)
        }

    def with_curve(self, rows: Table, eta: Nuisances) -> tuple[Array, Array]:
        """Return φ, and those of E[Y(a, m)] at every cell m, (n, L); L = 0 with a given law."""
        mu, cell = eta[self._mu](rows), rows[self._discrete.column].astype(np.intp)
        inside = (rows[self.treatment] == self.level) / self._propensity(rows, eta)
        residual = (rows[self.treatment] == self.level) * (rows[self.outcome] - mu)
        earlier = self._earlier(rows, eta)
        later = inside * (self.at_cells(rows, eta[self._mu]) - earlier)
        law = self.law_of_cells(eta)
        weighted = self.weight(rows, eta)[0] * residual + law @ later
        if self.law.given is not None:
            return weighted + law @ earlier, np.empty((len(rows), 0))
        share = (cell[:, None] == np.arange(len(self._discrete))) * (self._inverse(rows, eta)[0] * residual)[:, None]
        first, second = laws_of(eta)
        held = earlier if second.rows is rows else self._earlier(second.rows, eta)
        averages = of_cells(earlier, earlier[cell, np.arange(len(rows))], cell, first, second, held)
        return weighted + self._regression_part(rows, eta, averages), share + (later + earlier).T

    def _earlier(self, rows: Table, eta: Nuisances) -> Array:
        """Return R_m(c) at every cell m and the rows' covariates, shape (L, n)."""
        found = np.zeros((len(self._discrete), len(rows)))
        for cell in self._wanted:
            found[cell] = eta[self._at(cell)](rows)
        return found

    def _at_points(self, law: FiniteLaw) -> Array:
        """Return ∬ Q(m, l, c) p(l | a, c) p(c) at every support point's own m."""
        m, k, c = (codes(law, names) for names in (self.mediators, self.intermediate, self.adjust))
        q = np.full((m.max() + 1, k.max() + 1, c.max() + 1), np.nan)
        q[m, k, c] = self._regression(law)
        inside = law.probabilities * (law.points[self.treatment].to_numpy() == self.level)
        joint = _mass((k, c), inside, q.shape[1:])
        average = np.einsum("mlc,lc,c->m", q, joint / joint.sum(axis=0), np.bincount(c, weights=law.probabilities))
        return np.asarray(average[m])


@dataclass(frozen=True)
class AtCell:
    """The regression of the outcome with the mediators set to the values of one cell, as a target."""

    regression: str
    mediators: tuple[str, ...]
    values: tuple[float, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        """The regression."""
        return (self.regression,)

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the prediction for every row."""
        columns = zip(self.mediators, self.values, strict=True)
        return eta[self.regression](with_columns(rows, {name: np.full(len(rows), value) for name, value in columns}))


def _mass(at: tuple[npt.NDArray[np.intp], ...], mass: Array, shape: tuple[int, ...]) -> Array:
    found = np.zeros(shape)
    np.add.at(found, at, mass)
    return found
