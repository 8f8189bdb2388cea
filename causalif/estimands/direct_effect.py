"""The weighted controlled direct effect: the mediators' law is held fixed while the treatment changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from causalif._validate import Array
from causalif.engine.estimand import FiniteLaw
from causalif.engine.nuisance import (
    DensityRatio,
    Held,
    Marginal,
    Mean,
    Nuisances,
    NuisanceSpec,
    Probability,
    Where,
)
from causalif.estimands.product_average import Averages, of_cells, of_pairs, with_columns
from causalif.table import Table

# Probabilities of a cell below this say that it is never seen with such covariates.
NEVER = 1e-6


@dataclass(frozen=True)
class Cells:
    """The joint values that discrete mediators take.

    Parameters
    ----------
    column : str
        Coded column 0, ..., L − 1 with the cell of every row.
    values : tuple of tuple of float
        Per cell, the values of the mediator columns.
    labels : tuple of str
        Per cell, how it is called in a report.
    """

    column: str
    values: tuple[tuple[float, ...], ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of cells L."""
        return len(self.values)


@dataclass(frozen=True)
class MediatorLaw:
    """Which law of the mediators the controlled direct effects are averaged over.

    Parameters
    ----------
    arm : float, optional
        The law among the rows of this treatment code, p(m | A = arm); by default that of everybody, p(m).
    given : tuple of float, optional
        Probabilities of the cells that the user has fixed; one cell with probability 1 is a controlled direct effect.
    """

    arm: float | None = None
    given: tuple[float, ...] | None = None


MARGINAL = MediatorLaw()


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
    law : MediatorLaw
        Law of the mediators.
    part : {"evaluation", "training"}
        Rows behind p(m) and p(c) in cross-fitting.

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
    law: MediatorLaw = MARGINAL
    part: Literal["training", "evaluation"] = "evaluation"

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
        modelled = 1.0 if self.levels == 2 else self.level
        bounds = (self.clip, 1 - self.clip)
        specs: dict[str, NuisanceSpec] = {
            self._pi: Probability(self.treatment, self._given, level=modelled, bounds=bounds)
        }
        if self.mediators:
            specs |= self._law_nuisances()
        specs[self._mu] = Mean(self.outcome, self._given, where=((self.treatment, self.level),))
        return specs

    def _law_nuisances(self) -> dict[str, NuisanceSpec]:
        where: Where = () if self.law.arm is None else ((self.treatment, self.law.arm),)
        specs = self._ratio_nuisances(where) if self.cells is None else self._cell_nuisances(self.cells)
        if self.law.given is None:
            law = self.mediators if self.cells is None else (self.cells.column,)
            specs["p(m)"] = Marginal(law, where, self.part)
        specs["p(c)"] = Marginal(self.adjust, part=self.part)
        if self.law.arm is not None:
            specs["P(arm)"] = Probability(self.treatment, (), level=self.law.arm, bounds=None)
        return specs

    def _ratio_nuisances(self, where: Where) -> dict[str, NuisanceSpec]:
        return {"ratio": DensityRatio(self.mediators, self.adjust, where)} if self.adjust or where else {}

    def _cell_nuisances(self, cells: Cells) -> dict[str, NuisanceSpec]:
        modelled = range(1, 2) if len(cells) == 2 else range(len(cells))
        bounds = (NEVER, 1 - NEVER)
        specs: dict[str, NuisanceSpec] = {
            f"p(m{cell}|c)": Probability(cells.column, self.adjust, float(cell), learner="mediator", bounds=bounds)
            for cell in modelled
        }
        return specs | {"p(cell)": Marginal((cells.column,), part=self.part)}

    # --- the influence function ----------------------------------------------------------------------------------

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n,)."""
        return self.with_curve(rows, eta)[0]

    def with_curve(self, rows: Table, eta: Nuisances) -> tuple[Array, Array]:
        """Return φ, shape (n,), and those of E[Y(a, m)] at every cell m, shape (n, L); L = 0 without cells."""
        mu = eta[self._mu](rows)
        inside = rows[self.treatment] == self.level
        if not self.mediators:
            phi = mu + inside / self._propensity(rows, eta) * (rows[self.outcome] - mu)
            return phi, np.empty((len(rows), 0))
        residual = inside * (rows[self.outcome] - mu)
        weighted = self.weight(rows, eta)[0] * residual
        if self.cells is None:
            return weighted + self._regression_part(rows, eta, of_pairs(eta[self._mu], rows, *_laws(eta))), np.empty(
                (len(rows), 0)
            )
        at_cells, cell = self.at_cells(rows, eta), rows[self.cells.column].astype(np.intp)
        share = (cell[:, None] == np.arange(len(self.cells))) * (self._inverse(rows, eta)[0] * residual)[:, None]
        if self.law.given is not None:
            return weighted + np.asarray(self.law.given) @ at_cells, share + at_cells.T
        first, second = _laws(eta)
        at_held = at_cells if second.rows is rows else self.at_cells(second.rows, eta)
        averages = of_cells(at_cells, mu, cell, first, second, at_held)
        return weighted + self._regression_part(rows, eta, averages), share + at_cells.T

    def _regression_part(self, rows: Table, eta: Nuisances, averages: Averages) -> Array:
        """Return f2 and what not knowing the mediators' law adds: only rows that it is estimated from contribute."""
        deviation = averages.over_second - averages.over_both
        if self.law.arm is not None:
            deviation = (rows[self.treatment] == self.law.arm) / eta["P(arm)"](rows) * deviation
        return averages.over_first + deviation

    def weight(self, rows: Table, eta: Nuisances) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return p(M) p(C) / p(a, M, C), capped, and where it was capped; p(M) is the law that is averaged over."""
        if self.cells is not None:
            inverse, capped = self._inverse(rows, eta)
            return self.law_of_cells(eta)[rows[self.cells.column].astype(np.intp)] * inverse, capped
        raw = (eta["ratio"](rows) if "ratio" in eta else 1.0) / self._propensity(rows, eta)
        return np.minimum(raw, 1.0 / self.clip), raw > 1.0 / self.clip

    def _inverse(self, rows: Table, eta: Nuisances) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return 1 / P(a, m | C) at each row's own cell m, at most 1 / (clip p(m)), and where it was capped."""
        assert self.cells is not None
        cell = rows[self.cells.column].astype(np.intp)
        raw = 1.0 / (self._probability_of_cell(rows, eta) * self._propensity(rows, eta))
        highest = 1.0 / (self.clip * _held(eta, "p(cell)").masses(len(self.cells))[cell])
        return np.minimum(raw, highest), raw > highest

    def _propensity(self, rows: Table, eta: Nuisances) -> Array:
        pi = eta[self._pi](rows)
        return 1.0 - pi if self.levels == 2 and self.level == 0.0 else pi

    def law_of_cells(self, eta: Nuisances) -> Array:
        """Return the probabilities of the cells, shape (L,)."""
        assert self.cells is not None
        return np.asarray(self.law.given) if self.law.given is not None else _held(eta, "p(m)").masses(len(self.cells))

    def _probability_of_cell(self, rows: Table, eta: Nuisances) -> Array:
        assert self.cells is not None
        cell = rows[self.cells.column]
        if len(self.cells) == 2:
            one = eta["p(m1|c)"](rows)
            return np.where(cell == 1, one, 1.0 - one)
        return np.choose(cell.astype(np.intp), [eta[f"p(m{number}|c)"](rows) for number in range(len(self.cells))])

    def at_cells(self, rows: Table, eta: Nuisances) -> Array:
        """Return Q at every cell and the rows' covariates, shape (L, n)."""
        assert self.cells is not None
        return np.array([eta[self._mu](self._set(rows, values)) for values in self.cells.values])

    def _set(self, rows: Table, values: tuple[float, ...]) -> Table:
        columns = zip(self.mediators, values, strict=True)
        return with_columns(rows, {name: np.full(len(rows), value) for name, value in columns})

    # --- the functional itself -----------------------------------------------------------------------------------

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return ∬ Q(m, c) p(m) p(c) by summation over pairs of support points."""
        rows = law.table(())
        arm = rows[self.treatment] == self.level
        names = list(self._given)
        q = law.conditional_mean(rows[self.outcome], self._given, arm) if names else np.full(len(rows), np.nan)
        if not self.mediators:
            return np.array([law.expect(q if names else law.conditional_mean(rows[self.outcome], (), arm))])
        known = dict(zip(map(tuple, law.points[names].to_numpy(float).tolist()), q.tolist(), strict=True))
        total = 0.0
        for m, mass_m in self._mediator_masses(law).items():
            for c, mass_c in _masses(law, self.adjust, law.probabilities).items():
                total += mass_m * mass_c * known[m + c]
        return np.array([total])

    def _mediator_masses(self, law: FiniteLaw) -> dict[tuple[float, ...], float]:
        if self.law.given is not None:
            assert self.cells is not None
            return dict(zip(self.cells.values, self.law.given, strict=True))
        mass = law.probabilities
        if self.law.arm is not None:
            mass = mass * (law.points[self.treatment].to_numpy() == self.law.arm)
            mass = mass / mass.sum()
        return _masses(law, self.mediators, mass)


def _laws(eta: Nuisances) -> tuple[Held, Held]:
    return _held(eta, "p(m)"), _held(eta, "p(c)")


def _held(eta: Nuisances, name: str) -> Held:
    held = eta[name]
    assert isinstance(held, Held)
    return held


def _masses(law: FiniteLaw, columns: tuple[str, ...], mass: Array) -> dict[tuple[float, ...], float]:
    """Return the probability of each combination of values of the columns."""
    sums: dict[tuple[float, ...], float] = {}
    for key, value in zip(map(tuple, law.points[list(columns)].to_numpy(float).tolist()), mass.tolist(), strict=True):
        sums[key] = sums.get(key, 0.0) + value
    return sums


@dataclass(frozen=True)
class DirectEffect:
    """The weighted controlled direct effect, its two means, and the effect at every value of discrete mediators.

    Coordinates: θ_a − θ_b, θ_a, θ_b, and E[Y(a, m) − Y(b, m)] for every cell m, with

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
    def _curve(self) -> Cells | None:
        """The cells at which the effect is asked for: none where the user fixed the law."""
        return self.treated.cells if self.treated.mediators and self.treated.law.given is None else None

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
        """Return the weights that were used, zero outside their arm, and which of them were capped."""
        found: dict[str, Array] = {}
        for arm in (self.treated, self.control) if self.treated.mediators else ():
            weight, capped = arm.weight(rows, eta)
            inside = rows[arm.treatment] == arm.level
            found[f"weight{arm.level:g}"], found[f"capped{arm.level:g}"] = weight * inside, (capped & inside) * 1.0
        return found

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return all coordinates by summation."""
        one, other = self.treated.plug_in(law)[0], self.control.plug_in(law)[0]
        return np.array([one - other, one, other, *self._plug_in_curve(law)])

    def _plug_in_curve(self, law: FiniteLaw) -> list[float]:
        cells = self._curve
        if cells is None:
            return []
        fixed = [MediatorLaw(given=tuple(float(m == n) for n in range(len(cells)))) for m in range(len(cells))]
        return [
            float(replace(self.treated, law=q).plug_in(law)[0] - replace(self.control, law=q).plug_in(law)[0])
            for q in fixed
        ]
