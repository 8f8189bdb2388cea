"""From a data frame to the columns behind every node, and what is compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from sklearn.base import is_classifier

from causalif._errors import InputError
from causalif.estimands.shift_effect import Shift
from causalif.estimators._common import MOST_LEVELS, compared_arms, refuse_constant
from causalif.table import Table, read_table

MOST_VALUES = 10
ROWS_PER_VALUE = 20
LOOKED_AT = 1000
LEAST_MOVED = 0.1


@dataclass(frozen=True)
class Levels:
    """Two levels of a discrete treatment.

    Parameters
    ----------
    treated, control : float
        Codes.
    count : int
        Number of levels.
    shown : tuple of str
        The two levels in words.
    """

    treated: float
    control: float
    count: int
    shown: tuple[str, str]

    def code(self, active: bool) -> float:
        """Return the code of the treated or the control level."""
        return self.treated if active else self.control


Exposure: TypeAlias = Levels | Shift


@dataclass(frozen=True, eq=False)
class Columns:
    """The validated data of one fit.

    Parameters
    ----------
    table : Table
        All columns.
    outcome, treatment : str
        Their names.
    encoded : mapping
        For every other node the columns of the table that hold it: several where it is a category.
    """

    table: Table
    outcome: str
    treatment: str
    encoded: Mapping[str, tuple[str, ...]]

    def of(self, nodes: Iterable[Any]) -> tuple[str, ...]:
        """Return the columns of some nodes."""
        return tuple(dict.fromkeys(column for node in nodes for column in self.encoded[node]))

    def values(self, node: Any, arms: Sequence[float]) -> tuple[tuple[str, tuple[float, ...]], ...]:
        """Return the columns of a node that are discrete, all values being frequent in both arms, with the values."""
        return tuple((name, found) for name in self.encoded[node] if (found := self._frequent(name, arms)))

    def _frequent(self, name: str, arms: Sequence[float]) -> tuple[float, ...]:
        column, a = self.table[name], self.table[self.treatment]
        values = np.unique(column[:LOOKED_AT])
        if len(values) > MOST_VALUES:
            return ()
        values = np.unique(column)
        if len(values) > MOST_VALUES:
            return ()
        counts = [int(((column == value) & (a == arm)).sum()) for value in values for arm in arms]
        return tuple(values.tolist()) if min(counts) >= ROWS_PER_VALUE else ()


def check_nested(learners: Any) -> None:
    """Raise if regressions of fitted regressions would be left to a classifier."""
    chosen = learners.get("nested") if isinstance(learners, Mapping) else None
    if hasattr(chosen, "__sklearn_tags__") and is_classifier(chosen):
        raise InputError(
            "`learners['nested']` regresses fitted outcomes, which are continuous even where the outcome is binary: "
            f"choose a regressor. Got {chosen!r} instead."
        )


def read_columns(
    data: Any,
    outcome: str,
    treatment: str,
    mediators: Sequence[str],
    adjust: Sequence[str],
    shift: float | None = None,
    cluster: str | None = None,
    weights: str | None = None,
) -> Columns:
    """Read and check the data; categories become indicators.

    Parameters
    ----------
    data : DataFrame
        One row per unit.
    outcome, treatment : str
        Columns.
    mediators, adjust : sequence of str
        Nodes: none of the mediators may be constant or repeat another column.
    shift : float, optional
        If given, the treatment must hold numbers; otherwise its values become levels.
    cluster, weights : str, optional
        Columns.
    """
    for role, names in (("mediators", mediators), ("adjust", adjust)):
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise InputError(f"`{role}` must be a list of column names, such as ['m1', 'm2']. Got {names!r} instead.")
    shared = [name for name in mediators if name in adjust]
    if shared:
        raise InputError(
            f"Column {shared[0]!r} is given twice, as mediator and in `adjust`. A variable that the treatment acts on "
            "is a mediator, any other a covariate: leave it out of one of them."
        )
    numbers = {"outcome": outcome} | ({} if shift is None else {"treatment": treatment})
    coded = {"treatment": treatment} if shift is None else {}
    nodes = [*adjust, *mediators]
    table = read_table(data, numbers=numbers, coded=coded, adjust=nodes, cluster=cluster, weights=weights)
    refuse_constant(table, "outcome", outcome)
    # Mediators and covariates stay together: which of them a regression reads changes from one to the next.
    encoded = table.encoded
    for node in mediators:
        if set(encoded[node]) <= {column for other in nodes if other != node for column in encoded[other]}:
            raise InputError(
                f"Mediator {node!r} is constant or repeats another column, so no effect can be traced through it. "
                "Leave one of the two out."
            )
    return Columns(table, outcome, treatment, encoded)


def read_exposure(columns: Columns, levels: object, shift: float | None) -> Exposure:
    """Return the two levels that are compared, or the shift."""
    table, treatment = columns.table, columns.treatment
    if shift is not None:
        return _read_shift(columns, levels, shift)
    present = table.levels[treatment]
    if len(present) > MOST_LEVELS:
        raise InputError(
            f"`treatment` column {treatment!r} has {len(present):,} distinct values, so it is continuous, and the "
            "effect of one exact value against another cannot be estimated at the usual rate. Ask what a shift of "
            "everybody's treatment does, such as shift=1.0 (in its units), or group the values."
        )
    treated, control = compared_arms(table, treatment, levels)
    return Levels(float(treated), float(control), len(present), (_shown(present[treated]), _shown(present[control])))


def _read_shift(columns: Columns, levels: object, shift: object) -> Shift:
    if levels is not None:
        raise InputError("`levels` compares two values and `shift` moves all of them: give one of the two, not both.")
    size = float(shift) if isinstance(shift, (int, float, np.integer, np.floating)) else float("nan")
    if isinstance(shift, bool) or not np.isfinite(size) or size == 0:
        raise InputError(f"`shift` must be a number other than 0, in units of the treatment. Got {shift!r} instead.")
    a = columns.table[columns.treatment]
    policy = Shift(size, float(a.min()), float(a.max()))
    moves = policy.moves(a)
    if moves.mean() < LEAST_MOVED:
        raise InputError(
            f"`shift` = {size:g} would take all but {moves.mean():.0%} of the rows outside the range of "
            f"{columns.treatment!r}, {policy.low:g} to {policy.high:g}; these stay as they are. Choose a smaller shift."
        )
    values = np.unique(a)
    reached = np.unique(a[moves]) + size
    found = np.isclose(reached[:, None], values[:MOST_LEVELS], rtol=1e-9, atol=1e-12 * abs(size)).any(axis=1)
    if len(values) <= MOST_LEVELS and not found.all():
        raise InputError(
            f"`shift` = {size:g} moves {columns.treatment!r} to values that no row has; it takes {values.tolist()}. "
            "Choose a shift that leads from one of them to another, or compare `levels`."
        )
    return policy


def _shown(level: Any) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)
