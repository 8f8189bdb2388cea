"""From a data frame to the mediator columns and, where mediators are discrete, their cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals.stable.v1 as nw
import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array
from causalif.estimands.mediator_law import Cells, Groups
from causalif.estimators._common import refuse_constant
from causalif.table import SAFE_IN_NAMES, Table, read_table

MOST_CELLS = 10
ROWS_PER_CELL = 20


@dataclass(frozen=True, eq=False)
class Columns:
    """The validated data of one fit.

    Parameters
    ----------
    table : Table
        All columns.
    mediators : tuple of str
        The table's columns that hold the mediators; one per indicator where a mediator is a category.
    cells : Cells or None
        The joint values of discrete mediators; their codes are a column of the table.
    shown : DataFrame or None
        The values of every cell, or the ranges of a single continuous mediator, as the user knows them.
    groups : Groups or None
        Ranges of a single continuous mediator between its quartiles; their codes are a column of the table.
    intermediate : tuple of str
        Those of the table's covariates that the treatment affects.
    """

    table: Table
    mediators: tuple[str, ...]
    cells: Cells | None
    shown: pd.DataFrame | None
    groups: Groups | None = None
    intermediate: tuple[str, ...] = ()

    @property
    def adjust(self) -> tuple[str, ...]:
        """The table's covariates that the treatment does not affect."""
        return tuple(name for name in self.table.names if name not in self.intermediate)

    @property
    def group(self) -> npt.NDArray[np.intp]:
        """Range of every row."""
        assert self.groups is not None
        return self.table[self.groups.column].astype(np.intp)

    @property
    def cell(self) -> npt.NDArray[np.intp]:
        """Cell of every row."""
        assert self.cells is not None
        return self.table[self.cells.column].astype(np.intp)


def read_columns(
    data: Any,
    outcome: str,
    treatment: str,
    mediators: Sequence[str],
    adjust: Sequence[str],
    cluster: str | None,
    weights: str | None,
    intermediate: Sequence[str] = (),
) -> Columns:
    """Read and check the data; discrete mediators of at most 10 joint values get cells."""
    columns = _read(data, outcome, treatment, mediators, (*adjust, *intermediate), cluster, weights)
    made = tuple(name for name in columns.table.names if _comes_from(name, intermediate, adjust))
    return replace(columns, intermediate=made)


def _comes_from(name: str, columns: Sequence[str], others: Sequence[str]) -> bool:
    """Tell whether a covariate is one of some columns, or an indicator of a category made of one."""
    starts = tuple(f"{column}=".translate(SAFE_IN_NAMES) for column in columns)
    return name in columns or (name.startswith(starts) and name not in others)


def _read(
    data: Any,
    outcome: str,
    treatment: str,
    mediators: Sequence[str],
    adjust: Sequence[str],
    cluster: str | None,
    weights: str | None,
) -> Columns:
    roles = {f"mediators[{number}]": name for number, name in enumerate(mediators)}
    categories = {role for role, name in roles.items() if not _numeric(data, name)}
    table = read_table(
        data,
        numbers={"outcome": outcome, **{role: name for role, name in roles.items() if role not in categories}},
        coded={"treatment": treatment, **{role: roles[role] for role in categories}},
        adjust=adjust,
        cluster=cluster,
        weights=weights,
    )
    refuse_constant(table, "outcome", outcome)
    for name in mediators:
        refuse_constant(table, "mediators", name)
    _refuse_repeated(table, mediators)
    cells = _cells(table, mediators)
    table, columns = _with_indicators(table, mediators)
    if cells is None:
        return _with_groups(table, columns)
    codes, values = cells
    name = f"values of {', '.join(mediators)}"
    table = replace(table, columns={**table.columns, name: codes.astype(float)})
    rows = [int(np.flatnonzero(codes == code)[0]) for code in range(len(values))]
    at = tuple(tuple(float(table[column][row]) for column in columns) for row in rows)
    shown = pd.DataFrame(
        {
            mediator: [_original(table, mediator, value) for value in values[:, j]]
            for j, mediator in enumerate(mediators)
        }
    )
    labels = tuple(", ".join(f"{m}={_text(line[m])}" for m in mediators) for _, line in shown.iterrows())
    return Columns(table, columns, Cells(name, at, labels), shown)


def _numeric(data: Any, name: Any) -> bool:
    """Tell whether a column holds numbers; an unknown one is left to the reader to refuse."""
    if isinstance(data, pd.DataFrame):
        if list(data.columns).count(name) != 1:
            return True
        dtype = data[name].dtype
        return pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)
    try:
        frame = nw.from_native(data, eager_only=True)
    except TypeError:
        return True
    return name not in frame.columns or bool(frame[name].dtype.is_numeric())


def _with_groups(table: Table, mediators: tuple[str, ...]) -> Columns:
    """Divide a single continuous mediator at its quartiles."""
    if len(mediators) != 1:
        return Columns(table, mediators, None, None)
    (mediator,) = mediators
    inner = np.unique(np.quantile(table[mediator], [0.25, 0.5, 0.75]))
    codes = np.unique(np.searchsorted(inner, table[mediator], side="left"), return_inverse=True)[1]
    ends = [
        (float(table[mediator][codes == g].min()), float(table[mediator][codes == g].max()))
        for g in range(codes.max() + 1)
    ]
    shown = pd.DataFrame(ends, columns=[f"{mediator} from", f"{mediator} to"])
    labels = tuple(f"{mediator} from {low:.4g} to {high:.4g}" for low, high in ends)
    if len(ends) < 2:
        return Columns(table, mediators, None, None)
    name = f"range of {mediator}"
    table = replace(table, columns={**table.columns, name: codes.astype(float)})
    return Columns(table, mediators, None, shown, Groups(name, labels))


def _refuse_repeated(table: Table, mediators: Sequence[str]) -> None:
    """A covariate that equals a mediator cannot be combined with all its values."""
    for name in mediators:
        for other in [*table.names, *(m for m in mediators if m != name)]:
            if np.array_equal(table[name], table[other]):
                raise InputError(
                    f"`mediators` column {name!r} repeats the column {other!r}. A mediator is set to every one of its "
                    "values at all values of the covariates, so no other column may follow it: leave one of them out."
                )


def _cells(table: Table, mediators: Sequence[str]) -> tuple[npt.NDArray[np.intp], Array] | None:
    """Return the code of every row's joint mediator value and the values, if there are few."""
    if not mediators or any(_many(table[name]) for name in mediators):
        return None
    values, codes = np.unique(table.matrix(mediators), axis=0, return_inverse=True)
    return None if len(values) > MOST_CELLS else (np.asarray(codes, dtype=np.intp).reshape(-1), values)


def _many(column: Array) -> bool:
    return len(np.unique(column[:1000])) > MOST_CELLS or len(np.unique(column)) > MOST_CELLS


def _with_indicators(table: Table, mediators: Sequence[str]) -> tuple[Table, tuple[str, ...]]:
    """Give every category of three or more levels one indicator column per level but the first."""
    columns, names = dict(table.columns), list[str]()
    for mediator in mediators:
        levels = table.levels.get(mediator, ())
        if len(levels) < 3:
            names.append(mediator)
            continue
        for code, level in enumerate(levels[1:], start=1):
            names.append(f"{mediator}={level}")
            columns[names[-1]] = (table[mediator] == code).astype(float)
    return replace(table, columns=columns), tuple(names)


def _original(table: Table, mediator: str, value: float) -> Any:
    return table.levels[mediator][int(value)] if mediator in table.levels else float(value)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
