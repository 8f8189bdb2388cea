"""What an estimand needs to know: frozen specifications of nuisance functions, compared by value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

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


NuisanceSpec: TypeAlias = Mean | Probability


def targets(spec: NuisanceSpec, table: Table, eta: Nuisances) -> tuple[Array, Array | None]:
    """Return the regression target and the weights of a nuisance on training rows."""
    target = column_target(spec, table) if isinstance(spec.target, str) else spec.target(table, eta)
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
    if not spec.where:
        return None
    return np.asarray(np.logical_and.reduce([table[column] == value for column, value in spec.where]))
