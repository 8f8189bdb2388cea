"""What an estimand needs to know: frozen specifications of nuisance functions, compared by value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from causalif._validate import Array
from causalif.table import Table

Predict: TypeAlias = Callable[[Table], Array]
Nuisances: TypeAlias = Mapping[str, Predict]
Where: TypeAlias = tuple[tuple[str, float], ...]


@runtime_checkable
class PseudoOutcome(Protocol):
    """A target made of other nuisances; frozen, so that equal targets are one.

    On training rows the nuisances named in ``needs`` are evaluated out of fold by inner cross-fitting, so a
    pseudo-outcome never contains in-sample residuals.
    """

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the nuisances that the call reads."""

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the target for each row, shape (n,)."""


@dataclass(frozen=True)
class Mean:
    """The regression E[target | given] among the rows where all conditions hold.

    Parameters
    ----------
    target : str or PseudoOutcome
        A column, or a function of other nuisances.
    given : tuple of str
        Conditioning columns; empty for a plain (weighted) average over the training rows.
    where : tuple of (str, float)
        Conditions ``column == value`` that select the rows used for fitting.
    weight : PseudoOutcome, optional
        Non-negative regression weights.
    learner : str
        Key under which a user chooses the learner.
    """

    target: str | PseudoOutcome
    given: tuple[str, ...]
    where: Where = ()
    weight: PseudoOutcome | None = None
    learner: str = "outcome"
    kind = "mean"
    bounds = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the nuisances that target and weight read."""
        parts = [part.needs for part in (self.target, self.weight) if not isinstance(part, str) and part is not None]
        return tuple(dict.fromkeys(name for part in parts for name in part))


@dataclass(frozen=True)
class Probability:
    """The probability P(target = level | given) among the rows where all conditions hold.

    Parameters
    ----------
    target : str
        A coded column.
    given, where, learner
        As for `Mean`.
    level : float
        The code whose probability is modelled.
    bounds : (float, float), optional
        Predictions outside are clipped; the clipped rows are counted and reported.
    """

    target: str
    given: tuple[str, ...]
    level: float = 1.0
    where: Where = ()
    learner: str = "treatment"
    bounds: tuple[float, float] | None = (0.01, 0.99)
    kind = "probability"
    weight = None
    needs = ()


@dataclass(frozen=True)
class Comparison(Probability):
    """The probability P(target = level | given, target is level or against), fitted to the rows with one of the two.

    Its odds are P(target = level | given) / P(target = against | given). Where the levels follow a multinomial logit
    these are log-linear, which the odds of one level against all others are not.

    Parameters
    ----------
    target, given, level, where, learner, bounds
        As for `Probability`.
    against : float
        The other code.
    """

    against: float = 0.0

    def compares(self, table: Table) -> npt.NDArray[np.bool_]:
        """Return the rows that have one of the two levels."""
        column = table[self.target]
        return np.asarray((column == self.level) | (column == self.against))


@dataclass(frozen=True)
class DensityRatio:
    """The ratio p(first | where) p(second) / p(first, second): a product of marginals over the joint law.

    Estimated by telling observed rows from rows in which the two blocks were dealt independently of each other, or
    by least squares (``by="riesz"``), which also allows p(first, second, among) in the denominator.

    Parameters
    ----------
    first, second : tuple of str
        The two blocks of columns; each is dealt as a whole.
    where : tuple of (str, float)
        Conditions on the rows that the first block is drawn from.
    among : tuple of (str, float)
        Conditions on the rows that the denominator is about, least squares only.
    by : {"classification", "riesz"}
        How it is estimated.
    within : tuple of (str, float)
        Conditions on the rows that all three laws are about, classification only.
    permutations : int
        How many times the second block is dealt anew.
    learner : str
        Key under which a user chooses the classifier, which must contain interactions of the two blocks.
    bounds : (float, float)
        Ratios outside are clipped; the clipped rows are counted and reported.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    where: Where = ()
    permutations: int = 4
    learner: str = "density_ratio"
    bounds: tuple[float, float] | None = None
    among: Where = ()
    by: Literal["classification", "riesz"] = "classification"
    within: Where = ()
    kind = "probability"
    target = None
    weight = None
    needs = ()

    @property
    def given(self) -> tuple[str, ...]:
        """Both blocks."""
        return self.first + self.second


@dataclass(frozen=True)
class ShiftRatio:
    """The density that a shift of the treatment brings to a row, over the density that is there.

    The treatment moves from a to a + shift unless that lies outside [low, high]; then it stays. With the law of those
    that moved, the ratio is p(a − shift, given) / p(a, given) where a − shift lies in [low, high], and 0 elsewhere.
    Estimated by telling moved rows from observed ones. Those that stay are not counted: where a + shift is outside
    [low, high] the density of all is this ratio plus 1.

    Parameters
    ----------
    treatment : str
        Column of a continuous treatment.
    others : tuple of str
        What is conditioned on.
    shift, low, high : float
        Size of the shift and the support.
    learner : str
        Key under which a user chooses the classifier.
    bounds : (float, float)
        Ratios outside are clipped; the clipped rows are counted and reported.
    """

    treatment: str
    others: tuple[str, ...]
    shift: float
    low: float
    high: float
    learner: str = "density_ratio"
    bounds: tuple[float, float] | None = None
    kind = "probability"
    target = None
    weight = None
    where: Where = ()
    needs = ()

    @property
    def given(self) -> tuple[str, ...]:
        """Treatment and the others."""
        return (self.treatment, *self.others)

    def moves(self, a: Array) -> npt.NDArray[np.bool_]:
        """Return which treatment values move."""
        return inside(a + self.shift, self.low, self.high)

    def reached(self, a: Array) -> npt.NDArray[np.bool_]:
        """Return which treatment values are reached by a move."""
        return inside(a - self.shift, self.low, self.high)


def inside(a: Array, low: float, high: float) -> npt.NDArray[np.bool_]:
    """Tell which values lie in [low, high], sums such as 0.1 + 0.2 that miss an end by rounding among them."""
    slack = 1e-12 * max(abs(low), abs(high))
    return np.asarray((a >= low - slack) & (a <= high + slack))


@dataclass(frozen=True)
class Marginal:
    """The law of some columns as observed: rows that are held, over which a function can be averaged.

    Parameters
    ----------
    columns : tuple of str
        Whose law it is.
    where : tuple of (str, float)
        Conditions on the rows that count.
    part : {"training", "evaluation"}
        Which rows are held in cross-fitting. "evaluation", the rows at which the influence function is evaluated, is
        for influence functions that are U-statistics of these rows.
    """

    columns: tuple[str, ...]
    where: Where = ()
    part: Literal["training", "evaluation"] = "training"
    learner = "marginal"
    kind = "marginal"
    target = None
    weight = None
    bounds = None
    needs = ()

    @property
    def given(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns


@dataclass(frozen=True, eq=False)
class Held:
    """The rows behind a `Marginal`, with probabilities that add up to one.

    Parameters
    ----------
    columns : tuple of str
        Whose law it is.
    rows : Table
        All rows of the part; those that do not count have probability zero.
    probabilities : ndarray of shape (m,)
        Mass of every row.
    """

    columns: tuple[str, ...]
    rows: Table
    probabilities: Array

    @classmethod
    def of(cls, spec: Marginal, rows: Table, masses: Array | None = None) -> Held:
        """Hold some rows; their masses are by default the sampling weights."""
        if masses is None:
            masses = np.ones(len(rows)) if rows.weights is None else rows.weights
        counted = selected(spec, rows)
        masses = masses if counted is None else masses * counted
        total = float(masses.sum())
        return cls(spec.columns, rows, masses / total if total > 0 else masses)

    def __call__(self, rows: Table) -> Array:
        """Return the mass of each row's own values of the columns, shape (n,)."""
        masses: dict[tuple[float, ...], float] = {}
        for key, mass in zip(self.rows.matrix(self.columns).tolist(), self.probabilities.tolist(), strict=True):
            masses[tuple(key)] = masses.get(tuple(key), 0.0) + mass
        return np.array([masses.get(tuple(key), 0.0) for key in rows.matrix(self.columns).tolist()], dtype=float)

    def masses(self, levels: int) -> Array:
        """Return the mass of the codes 0, 1, ... of a single coded column, shape (levels,)."""
        (column,) = self.columns
        codes = self.rows[column].astype(np.intp)
        return np.asarray(np.bincount(codes, weights=self.probabilities, minlength=levels), dtype=float)


NuisanceSpec: TypeAlias = Mean | Probability | DensityRatio | ShiftRatio | Marginal


def targets(spec: NuisanceSpec, table: Table, eta: Nuisances) -> tuple[Array, Array | None]:
    """Return the regression target and the weights of a nuisance on training rows."""
    if spec.target is None:
        return np.empty(len(table)), table.weights
    target = column_target(spec, table) if isinstance(spec.target, str) else spec.target(table, eta)
    if isinstance(spec, Comparison):
        inside = spec.compares(table).astype(float)
        return target, inside if table.weights is None else inside * table.weights
    if spec.weight is None:
        return target, table.weights
    weights = spec.weight(table, eta)
    return target, weights if table.weights is None else weights * table.weights


def column_target(spec: NuisanceSpec, table: Table) -> Array:
    """Return a target that is a column, or the indicator that it has a level."""
    assert isinstance(spec.target, str)
    column = table[spec.target]
    return (column == spec.level).astype(float) if isinstance(spec, Probability) else column


def selected(spec: NuisanceSpec, table: Table) -> npt.NDArray[np.bool_] | None:
    """Return the rows that a nuisance is about, None for all."""
    inside = met(spec.where, table)
    if not isinstance(spec, Comparison):
        return inside
    return spec.compares(table) if inside is None else inside & spec.compares(table)


def met(where: Where, table: Table) -> npt.NDArray[np.bool_] | None:
    """Return the rows that meet conditions, None for all."""
    if not where:
        return None
    return np.asarray(np.logical_and.reduce([table[column] == value for column, value in where]))
