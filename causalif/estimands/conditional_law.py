"""Laws of mediators given others in one arm, to sum over (discrete columns) or to draw from (continuous ones)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from causalif._errors import PositivityError
from causalif._validate import Array
from causalif.engine.nuisance import Held, Marginal, Mean, Nuisances, NuisanceSpec, Probability
from causalif.estimands.mediation_parts import NEVER, Arms, Names, condition, joined
from causalif.estimands.product_average import with_columns
from causalif.table import Table

# Draws for every row: many for few rows; their errors average out over the rows.
MOST_DRAWS, FEWEST_DRAWS, ROWS_AT_ONCE = 200, 20, 60_000
DRAW_SEED = 20_260_611


@dataclass(frozen=True)
class ColumnLaw:
    """The law of one column given others within an arm.

    A discrete column has a probability for each of its values. A continuous one is drawn as its regression plus an
    out-of-fold residual, which supposes that the spread does not depend on what is given.

    Parameters
    ----------
    arms : Arms
        The treatment.
    level : float
        The arm.
    column : str
        Whose law it is.
    given : tuple of str
        Conditioning columns.
    values : tuple of float
        The values of a discrete column; empty for a continuous one.
    instead : tuple of str
        Indicators of other levels of the same category that are known: where one of them is 1, the column is 0.
    """

    arms: Arms
    level: float
    column: str
    given: Names
    values: tuple[float, ...] = ()
    instead: Names = ()

    @property
    def _mean(self) -> str:
        return self.arms.mean_name(self.column, self.level, self.given)

    @property
    def _rows(self) -> str:
        return f"rows({self.arms.treatment}={self.level:g})"

    @property
    def _modelled(self) -> tuple[float, ...]:
        return self.values[1:] if len(self.values) == 2 else self.values

    def _name(self, value: float) -> str:
        given = (*(f"{name}=0" for name in self.instead), *self.given)
        return probability_name(self.arms, self.level, self.column, value, given)

    def specs(self) -> dict[str, NuisanceSpec]:
        """Return the nuisances by name."""
        where = self.arms.where(self.level)
        if self.values:
            bounds = (NEVER, 1 - NEVER)
            where += tuple((name, 0.0) for name in self.instead)
            return {
                self._name(value): Probability(self.column, self.given, value, where, "mediator", bounds)
                for value in self._modelled
            }
        mean = Mean(self.column, self.given, where, learner="nested")
        return {self._mean: mean, self._rows: Marginal((), where, "evaluation")}

    def probabilities(self, rows: Table, eta: Nuisances) -> Array:
        """Return the probability of each value, shape (n, L), adding up to one."""
        found = np.column_stack([eta[self._name(value)](rows) for value in self._modelled])
        if len(self.values) == 2:
            one = found[:, 0]
            for name in self.instead:
                one = one * (rows[name] == 0)
            return np.column_stack([1.0 - one, one])
        return np.asarray(found / found.sum(axis=1, keepdims=True))

    def draw(self, rows: Table, eta: Nuisances, rng: np.random.Generator) -> Array:
        """Return one draw for every row."""
        u = rng.random(len(rows))
        if self.values:
            steps = np.cumsum(self.probabilities(rows, eta), axis=1)
            return np.array(self.values)[(u[:, None] > steps[:, :-1]).sum(axis=1)]
        held = eta[self._rows]
        assert isinstance(held, Held)
        inside = np.flatnonzero(held.probabilities)
        if not len(inside):
            raise PositivityError(
                f"A fold has no row with {self.arms.treatment} = {self.level:g}, so there are no residuals of "
                f"{self.column!r} to draw from. Use fewer folds."
            )
        known = held.rows.take(inside)
        residuals = known[self.column] - eta[self._mean](known)
        chosen = np.searchsorted(np.cumsum(held.probabilities[inside]), u).clip(max=len(inside) - 1)
        return np.asarray(eta[self._mean](rows) + residuals[chosen])


def probability_name(arms: Arms, level: float, column: str, value: float, given: Names) -> str:
    """Return the name of the probability of a mediator's value."""
    return f"P({condition(f'{column}={value:g}', f'{arms.treatment}={level:g}', *given)})"


Block = tuple[ColumnLaw, ...]
Values = tuple[tuple[str, tuple[float, ...]], ...]


def block_law(
    arms: Arms, level: float, columns: Names, given: Names, values: Values, categories: tuple[Names, ...] = ()
) -> Block:
    """Return the law of several columns, each given those before it; of a category's indicators at most one is 1."""
    known, laws = dict(values), list[ColumnLaw]()
    for k, column in enumerate(columns):
        own, found = next((names for names in categories if column in names), ()), known.get(column, ())
        instead = tuple(name for name in columns[:k] if name in own and found)
        before = tuple(name for name in joined(given, columns[:k]) if name not in instead)
        laws.append(ColumnLaw(arms, level, column, before, found, instead))
    return tuple(laws)


@dataclass(frozen=True, eq=False)
class Paths:
    """Rows in which some columns were drawn anew, several for every row of the data.

    Parameters
    ----------
    rows : Table
        The drawn rows.
    owner : ndarray of int, shape (m,)
        The row of the data behind each.
    mass : ndarray of shape (m,)
        Probabilities, adding up to one for each owner.
    source : Table
        The rows of the data.
    rng : Generator
        Source of draws.
    exact : bool
        Whether to sum over all values instead of drawing.
    """

    rows: Table
    owner: npt.NDArray[np.intp]
    mass: Array
    source: Table
    rng: np.random.Generator
    exact: bool

    @classmethod
    def of(cls, rows: Table, exact: bool) -> Paths:
        """Begin with the rows as they are; draws are the same whenever one begins."""
        rng = np.random.default_rng(DRAW_SEED)
        return cls(rows, np.arange(len(rows)), np.ones(len(rows)), rows, rng, exact)

    def drawn(self, block: Sequence[ColumnLaw], eta: Nuisances) -> Paths:
        """Return the paths with the columns of a block drawn, or summed over, one after another."""
        paths = self
        for law in block:
            paths = paths._summed(law, eta) if self.exact else paths._sampled(law, eta)
        return paths

    def _summed(self, law: ColumnLaw, eta: Nuisances) -> Paths:
        share, count = law.probabilities(self.rows, eta), len(law.values)
        wide = self._repeated(count)
        columns = with_columns(wide.rows, {law.column: np.tile(law.values, len(self.rows))})
        return replace(wide, rows=columns, mass=wide.mass * share.ravel())

    def _sampled(self, law: ColumnLaw, eta: Nuisances) -> Paths:
        paths = self
        if len(self.rows) == len(self.source):
            count = int(np.clip(ROWS_AT_ONCE // max(len(self.rows), 1), FEWEST_DRAWS, MOST_DRAWS))
            paths = self._repeated(count)
            paths = replace(paths, mass=paths.mass / count)
        return replace(paths, rows=with_columns(paths.rows, {law.column: law.draw(paths.rows, eta, self.rng)}))

    def _repeated(self, count: int) -> Paths:
        again = np.repeat(np.arange(len(self.rows)), count)
        return replace(self, rows=self.rows.take(again), owner=self.owner[again], mass=self.mass[again])

    def restored(self, columns: Names) -> Paths:
        """Return the paths with some columns as they are in the data."""
        return replace(self, rows=with_columns(self.rows, {name: self.source[name][self.owner] for name in columns}))

    def mean(self, values: Array) -> Array:
        """Return the average for every row of the data."""
        return np.asarray(np.bincount(self.owner, weights=self.mass * values, minlength=len(self.source)), dtype=float)
