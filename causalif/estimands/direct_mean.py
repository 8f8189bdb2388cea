"""The mean outcome under a treatment level when everybody's mediators are drawn from one law."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from causalif._errors import PositivityError
from causalif._validate import Array
from causalif.engine.estimand import FiniteLaw
from causalif.engine.nuisance import (
    DensityRatio,
    Held,
    Marginal,
    Mean,
    Nuisances,
    NuisanceSpec,
    Predict,
    Probability,
    Where,
)
from causalif.estimands.mediator_law import MARGINAL, Cells, Groups, MediatorLaw
from causalif.estimands.product_average import Averages, of_cells, of_pairs, with_columns
from causalif.estimands.targeting import Targeted, targeted
from causalif.table import Table

# Probabilities of a cell below this say that it is never seen with such covariates.
NEVER = 1e-6


@dataclass(frozen=True)
class DirectMean:
    """The mean outcome if everybody got one treatment level and mediators drawn from one law, whoever they are.

    With mediators M, covariates C, Q(m, c) = E[Y | A = a, m, c] and the marginal law of the mediators,

        θ = ∬ Q(m, c) p(m) p(c) dm dc,
        φ = 1(A = a) w(M, C) {Y − Q(M, C)} + f1(M) + f2(C) − U,     w = p(M) p(C) / p(a, M, C),

    where f1(m) = ∫ Q(m, c) p(c) dc, f2(c) = ∫ Q(m, c) p(m) dm and U = ∬ Q p p is the plug-in: it is taken off once,
    for f1 and f2 each carry it. With the law of arm b, p(m | A = b) replaces p(m) and 1(A = b) / P(A = b) (f1 − U)
    replaces f1 − U; with a law q that the user fixes, q replaces p(m) and f1 − U is dropped. Without mediators this is
    augmented inverse probability weighting.

    Parameters
    ----------
    outcome, treatment : str
        Columns; the treatment is coded 0, 1, ....
    mediators, adjust : tuple of str
        Columns of M and of C.
    level : float
        The code a.
    levels : int
        Number of treatment levels.
    label : str
        Name of the term.
    clip : float
        P(A = a | M, C) is kept within [clip, 1 − clip] and w below 1 / clip.
    cells : Cells, optional
        The values of discrete mediators. Then p(M) / p(M | C) needs the probabilities of the cells given C and sums
        replace integrals; otherwise the density ratio p(M) p(C) / p(M, C) is estimated by classification.
    groups : Groups, optional
        Ranges of a continuous mediator, for the effect within each; the law is then that of everybody.
    law : MediatorLaw
        Law of the mediators.
    part : {"evaluation", "training"}
        Rows behind p(m) and p(c) in cross-fitting.
    weights_by : {"classification", "riesz"}
        Whether w is made of probabilities (and the density ratio), or estimated as a whole by least squares.
    limits : (float, float), optional
        The range of the outcome. If given, Q is targeted: its log odds within the range are moved by the constant that
        makes the average of 1(A = a) w (Y − Q) zero over the evaluated rows, so that the estimate is a plug-in.

    References
    ----------
    Lin, Guo and Gan (2025), Optimal Adjustment Sets for Nonparametric Estimation of Weighted Controlled Direct Effect.
    """

    outcome: str
    treatment: str
    mediators: tuple[str, ...]
    adjust: tuple[str, ...]
    level: float
    levels: int = 2
    label: str = "E[Y(a, M)]"
    clip: float = 0.01
    cells: Cells | None = None
    groups: Groups | None = None
    law: MediatorLaw = MARGINAL
    part: Literal["training", "evaluation"] = "evaluation"
    weights_by: Literal["classification", "riesz"] = "classification"
    limits: tuple[float, float] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The one label."""
        return (self.label,)

    @property
    def _mu(self) -> str:
        return f"mu{self.level:g}"

    @property
    def _pi(self) -> str:
        return f"pi{1.0 if self.levels == 2 else self.level:g}"

    @property
    def _w(self) -> str:
        return f"w{self.level:g}"

    @property
    def _given(self) -> tuple[str, ...]:
        return self.mediators + self.adjust

    @property
    def _held(self) -> frozenset[str]:
        """Names of the laws that are held rather than modelled."""
        return frozenset(name for name, spec in self.nuisances().items() if isinstance(spec, Marginal)) | (
            frozenset() if self.law.arm is None else {"P(arm)"}
        )

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """Beside the observed marginal laws, the outcome regression alone or the weight alone suffices."""
        return frozenset(self.nuisances()) - {self._mu}, self._held | {self._mu}

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the nuisances of this arm."""
        specs = {} if self._by_squares else self._treatment_nuisance(self._given)
        if self.mediators:
            specs |= self._law_nuisances()
        if self.limits is not None:
            specs["rows"] = Marginal((), part="evaluation")
        specs[self._mu] = Mean(self.outcome, self._given, where=((self.treatment, self.level),))
        return specs

    def _treatment_nuisance(self, given: tuple[str, ...]) -> dict[str, NuisanceSpec]:
        modelled = 1.0 if self.levels == 2 else self.level
        return {self._pi: Probability(self.treatment, given, level=modelled, bounds=(self.clip, 1 - self.clip))}

    @property
    def _by_squares(self) -> bool:
        return bool(self.mediators) and self.weights_by == "riesz"

    def _law_nuisances(self) -> dict[str, NuisanceSpec]:
        where: Where = () if self.law.arm is None else ((self.treatment, self.law.arm),)
        specs = self._weight_nuisances(where)
        if self.cells is not None:
            specs["p(cell)"] = Marginal((self.cells.column,), part=self.part)
        if self.law.given is None:
            law = self.mediators if self.cells is None else (self.cells.column,)
            specs["p(m)"] = Marginal(law, where, self.part)
        specs["p(c)"] = Marginal(self.adjust, part=self.part)
        if self.law.arm is not None:
            specs["P(arm)"] = Probability(self.treatment, (), level=self.law.arm, bounds=None)
        return specs

    @property
    def _wanted(self) -> tuple[int, ...]:
        """Cells that the law of the mediators gives positive probability."""
        assert self.cells is not None
        return tuple(c for c in range(len(self.cells)) if self.law.given is None or self.law.given[c] > 0)

    @property
    def _complementary(self) -> bool:
        """Whether one probability gives that of the only other cell."""
        return self._wanted == (0, 1) and self.cells is not None and len(self.cells) == 2

    def _weight_nuisances(self, where: Where) -> dict[str, NuisanceSpec]:
        """Return what the weight is made of, besides P(A = a | M, C)."""
        if self._by_squares:
            among = ((self.treatment, self.level),)
            return {self._w: DensityRatio(self.mediators, self.adjust, where, among=among, by="riesz")}
        if self.cells is not None:
            return self._cell_nuisances(self.cells)
        return {"ratio": DensityRatio(self.mediators, self.adjust, where)} if self.adjust or where else {}

    def _cell_nuisances(self, cells: Cells) -> dict[str, NuisanceSpec]:
        modelled = (1,) if self._complementary else self._wanted
        bounds = (NEVER, 1 - NEVER)
        return {
            self._cell_name(cell): Probability(
                cells.column, self.adjust, float(cell), learner="mediator", bounds=bounds
            )
            for cell in modelled
        }

    def _cell_name(self, cell: int) -> str:
        return f"p(m{cell}|c)"

    # --- the influence function ----------------------------------------------------------------------------------

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n,)."""
        return self.with_curve(rows, eta)[0]

    def with_curve(self, rows: Table, eta: Nuisances) -> tuple[Array, Array]:
        """Return φ, and those of E[Y(a, m)] at every cell m, (n, L); L = 0 without cells or with a given law."""
        q = self.regression(eta)
        mu = q(rows)
        residual = (rows[self.treatment] == self.level) * (rows[self.outcome] - mu)
        weighted = self.weight(rows, eta)[0] * residual
        if not self.mediators:
            return mu + weighted, np.empty((len(rows), 0))
        if self.cells is None:
            averages = of_pairs(q, rows, *laws_of(eta), self._group_of_held(eta))
            return weighted + self._regression_part(rows, eta, averages), self._by_group(rows, weighted, averages)
        at_cells, cell = self.at_cells(rows, q), rows[self.cells.column].astype(np.intp)
        if self.law.given is not None:
            return weighted + np.asarray(self.law.given) @ at_cells, np.empty((len(rows), 0))
        share = (cell[:, None] == np.arange(len(self.cells))) * (self._inverse(rows, eta)[0] * residual)[:, None]
        first, second = laws_of(eta)
        at_held = at_cells if second.rows is rows else self.at_cells(second.rows, q)
        averages = of_cells(at_cells, mu, cell, first, second, at_held)
        return weighted + self._regression_part(rows, eta, averages), share + at_cells.T

    def regression(self, eta: Nuisances) -> Predict:
        """Return Q as a function of rows, targeted if the range of the outcome is given."""
        if self.limits is None:
            return eta[self._mu]
        held = _held(eta, "rows")
        inside = held.probabilities * (held.rows[self.treatment] == self.level)
        weights = self.weight(held.rows, eta)[0] * inside
        return targeted(eta[self._mu], held.rows, held.rows[self.outcome], weights, self.limits)

    def report(self, rows: Table, eta: Nuisances) -> dict[str, Array]:
        """Return the weights that were used, zero outside the arm, where they were capped, and how Q was moved."""
        found: dict[str, Array] = {}
        if self.mediators:
            weight, moved = self.weight(rows, eta)
            inside = rows[self.treatment] == self.level
            found = {"weight": weight * inside, "capped": (moved > 0) * inside * 1.0}
            found |= {"negative": (moved < 0) * inside * 1.0} if self._by_squares else {}
        q = self.regression(eta)
        if isinstance(q, Targeted):
            found |= {"moved": np.full(len(rows), q.epsilon), "outside": q.outside(rows)}
        return {f"{name}{self.level:g}": values for name, values in found.items()}

    def _group_of_held(self, eta: Nuisances) -> npt.NDArray[np.intp] | None:
        """Return the range of each row that p(m) is held on."""
        if self.groups is None:
            return None
        group = _held(eta, "p(m)").rows[self.groups.column].astype(np.intp)
        if len(np.unique(group)) < len(self.groups):
            raise PositivityError(
                f"A fold has no row in one of the ranges {list(self.groups.labels)} of the mediator. Use fewer folds, "
                "or smaller clusters."
            )
        return group

    def _by_group(self, rows: Table, weighted: Array, averages: Averages) -> Array:
        """Return the φ of ∬ Q(m, c) p(m | range) p(c) for every range of m, shape (n, L)."""
        if self.groups is None or averages.grouped is None:
            return np.empty((len(rows), 0))
        grouped, group = averages.grouped, rows[self.groups.column].astype(np.intp)
        own = (weighted + grouped.over_second[group, np.arange(len(rows))] - grouped.over_both[group]) / grouped.mass[
            group
        ]
        return np.asarray((group[:, None] == np.arange(len(self.groups))) * own[:, None] + grouped.over_first.T)

    def _regression_part(self, rows: Table, eta: Nuisances, averages: Averages) -> Array:
        """Return f2 and what not knowing the mediators' law adds: only rows that it is estimated from contribute."""
        deviation = averages.over_second - averages.over_both
        if self.law.arm is not None:
            deviation = (rows[self.treatment] == self.law.arm) / eta["P(arm)"](rows) * deviation
        return averages.over_first + deviation

    def weight(self, rows: Table, eta: Nuisances) -> tuple[Array, Array]:
        """Return p(M) p(C) / p(a, M, C), capped; and 1 where it was capped, −1 where it was negative and set to zero.

        p(M) is the law that is averaged over; without mediators the weight is 1 / P(A = a | C).
        """
        if not self.mediators:
            weight = 1.0 / self._propensity(rows, eta)
            return weight, np.zeros(len(weight))
        if self.cells is not None:
            inverse, moved = self._inverse(rows, eta)
            return self.law_of_cells(eta)[rows[self.cells.column].astype(np.intp)] * inverse, moved
        if self._by_squares:
            return _within(eta[self._w](rows), 1.0 / self.clip)
        return _within((eta["ratio"](rows) if "ratio" in eta else 1.0) / self._propensity(rows, eta), 1.0 / self.clip)

    def _inverse(self, rows: Table, eta: Nuisances) -> tuple[Array, Array]:
        """Return 1 / P(a, m | C) at each row's own cell m, at most 1 / (clip p(m)), and where it was moved."""
        assert self.cells is not None
        cell = rows[self.cells.column].astype(np.intp)
        observed = _held(eta, "p(cell)").masses(len(self.cells))
        if self._by_squares:
            # The weight was fitted for the observed law, or for that of one arm.
            law = observed if self.law.arm is None else self.law_of_cells(eta)
            raw = eta[self._w](rows) * np.divide(1.0, law, out=np.zeros(len(law)), where=law > 0)[cell]
        else:
            raw = 1.0 / (self._probability_of_cell(rows, eta) * self._propensity(rows, eta))
        return _within(raw, 1.0 / (self.clip * observed[cell]))

    def _propensity(self, rows: Table, eta: Nuisances) -> Array:
        pi = eta[self._pi](rows)
        return 1.0 - pi if self.levels == 2 and self.level == 0.0 else pi

    def law_of_cells(self, eta: Nuisances) -> Array:
        """Return the probabilities of the cells, shape (L,)."""
        assert self.cells is not None
        return np.asarray(self.law.given) if self.law.given is not None else _held(eta, "p(m)").masses(len(self.cells))

    def _probability_of_cell(self, rows: Table, eta: Nuisances) -> Array:
        """Return P(M = m | C) at each row's own m; 1 where the law never asks for m."""
        assert self.cells is not None
        cell = rows[self.cells.column]
        if self._complementary:
            one = eta[self._cell_name(1)](rows)
            return np.where(cell == 1, one, 1.0 - one)
        own = np.ones(len(rows))
        for number in self._wanted:
            own = np.where(cell == number, eta[self._cell_name(number)](rows), own)
        return own

    def at_cells(self, rows: Table, q: Predict) -> Array:
        """Return q at every cell and the rows' covariates, shape (L, n); 0 where the law never asks for the cell."""
        assert self.cells is not None
        found = np.zeros((len(self.cells), len(rows)))
        for cell in self._wanted:
            found[cell] = q(self._set(rows, self.cells.values[cell]))
        return found

    def _set(self, rows: Table, values: tuple[float, ...]) -> Table:
        columns = zip(self.mediators, values, strict=True)
        return with_columns(rows, {name: np.full(len(rows), value) for name, value in columns})

    # --- the functional itself -----------------------------------------------------------------------------------

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return ∬ Q(m, c) p(m) p(c) by summation over pairs of support points."""
        if self.mediators:
            return np.array([self._mediator_masses(law) @ self._at_points(law)])
        return np.array([law.expect(self._regression(law))])

    def curve(self, law: FiniteLaw) -> Array:
        """Return ∫ Q(m, c) p(c) dc at every cell m, or its average over every range of m, shape (L,)."""
        at = self._at_points(law)
        if self.groups is None:
            return at[self._points_of_cells(law)]
        group = law.points[self.groups.column].to_numpy(np.intp)
        mass = law.probabilities
        return np.asarray(np.bincount(group, weights=mass * at) / np.bincount(group, weights=mass))

    def _regression(self, law: FiniteLaw) -> Array:
        rows = law.table(())
        return law.conditional_mean(rows[self.outcome], self._given, rows[self.treatment] == self.level)

    def _at_points(self, law: FiniteLaw) -> Array:
        """Return ∫ Q(m, c) p(c) dc at every support point's own m."""
        m, c = codes(law, self.mediators), codes(law, self.adjust)
        table = np.full((m.max() + 1, c.max() + 1), np.nan)
        table[m, c] = self._regression(law)
        return np.asarray((table @ np.bincount(c, weights=law.probabilities))[m])

    def _points_of_cells(self, law: FiniteLaw) -> list[int]:
        """Return, for every cell, a support point that has its values."""
        assert self.cells is not None
        values = law.points[list(self.mediators)].to_numpy(float)
        return [int(np.flatnonzero((values == cell).all(axis=1))[0]) for cell in self.cells.values]

    def _mediator_masses(self, law: FiniteLaw) -> Array:
        """Return the law of the mediators as masses on the support points."""
        if self.law.arm is not None:
            mass = law.probabilities * (law.points[self.treatment].to_numpy() == self.law.arm)
            return np.asarray(mass / mass.sum())
        if self.law.given is None:
            return law.probabilities
        masses = np.zeros(len(law.points))
        masses[self._points_of_cells(law)] = self.law.given
        return masses


def _within(raw: Array, highest: float | Array) -> tuple[Array, Array]:
    """Return the weights between 0 and the highest, and in which direction each was moved: 1 where it was too high."""
    weight = np.clip(raw, 0.0, highest)
    return weight, np.sign(raw - weight)


def laws_of(eta: Nuisances) -> tuple[Held, Held]:
    """Return the laws of mediators and covariates."""
    return _held(eta, "p(m)"), _held(eta, "p(c)")


def _held(eta: Nuisances, name: str) -> Held:
    held = eta[name]
    assert isinstance(held, Held)
    return held


def codes(law: FiniteLaw, columns: tuple[str, ...]) -> npt.NDArray[np.intp]:
    """Number the combinations of some columns, one number per support point."""
    if not columns:
        return np.zeros(len(law.points), dtype=np.intp)
    return np.asarray(law.points.groupby(list(columns)).ngroup(), dtype=np.intp)
