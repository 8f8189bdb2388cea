"""A data frame becomes columns of known kind, in an order of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd

from causalif._errors import DataWarning, InputError, tell
from causalif._validate import Array
from causalif.table import Table, read_table

Kind: TypeAlias = Literal["continuous", "binary", "categorical"]

MOST_LEVELS = 20
FEW_VALUES = 10


@dataclass(frozen=True, eq=False)
class Columns:
    """The nodes of a structural equation model, sorted by name so that nothing depends on the order of the frame.

    Parameters
    ----------
    names : tuple of str
        Sorted.
    kinds : tuple of str
        "continuous", "binary" or "categorical".
    values : ndarray of shape (n, p)
        Continuous columns centred and scaled to mean 0 and variance 1; others as codes 0, 1, ....
    levels : dict
        The original values of each column that is not continuous, in the order of their codes.
    order : tuple of str
        The names in the order of the frame.
    """

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    values: Array
    levels: dict[str, tuple[Any, ...]]
    order: tuple[str, ...]

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.values)

    @property
    def p(self) -> int:
        """Number of nodes."""
        return len(self.names)

    def indicators(self, j: int) -> Array:
        """Return one column per level but the first of a column that is not continuous."""
        count = len(self.levels[self.names[j]])
        return (self.values[:, j, None] == np.arange(1, count)).astype(np.float64)


def read_columns(data: Any, discrete: Sequence[str] | None) -> Columns:
    """Read every column of a frame and decide its kind.

    Numeric columns with two values are binary; other numeric columns are continuous unless ``discrete`` names them;
    text, boolean and categorical columns are binary or categorical.

    Parameters
    ----------
    data : DataFrame
        Pandas, polars or any frame known to narwhals; all columns are used.
    discrete : sequence of str, optional
        Numeric columns whose values are names of categories. Giving it, even empty, says that all other numeric
        columns measure something.

    Returns
    -------
    Columns

    Raises
    ------
    InputError
        On missing values, constant columns, too many levels, unknown or non-text names.
    """
    order = _names(data)
    declared = _declared(discrete, order)
    coded = {name for name in order if name in declared or not _is_numeric(data, name)}
    roles = {f"data[{name!r}]": name for name in order}
    table = _read(data, roles, coded)
    for name in order:
        _refuse_constant(table, name)
    names = tuple(sorted(order))
    kinds = tuple(_kind(table, name) for name in names)
    levels = {name: table.levels[name] for name, kind in zip(names, kinds, strict=True) if kind != "continuous"}
    if discrete is None:
        _ask(table, names, kinds)
    values = [_standardised(table[name]) if kind == "continuous" else table[name]
              for name, kind in zip(names, kinds, strict=True)]  # fmt: skip
    return Columns(names, kinds, np.column_stack(values), levels, order)


def _names(data: Any) -> tuple[str, ...]:
    columns = list(getattr(data, "columns", ()))
    if not columns and not isinstance(data, pd.DataFrame):
        raise InputError(
            f"`data` must be a DataFrame. Got {type(data).__name__} instead. An array needs column names: "
            "pd.DataFrame(array, columns=[...])."
        )
    wrong = [name for name in columns if not isinstance(name, str)]
    if wrong:
        raise InputError(f"`data` must name its columns by text. Got {wrong[0]!r}; use data.rename(columns=str).")
    if len(columns) < 2:
        raise InputError(f"`data` must have at least two columns. Got {len(columns)}.")
    return tuple(columns)


def _declared(discrete: Sequence[str] | None, order: Sequence[str]) -> set[str]:
    if isinstance(discrete, str):
        raise InputError(f"`discrete` must be a list of column names. Got {discrete!r}; write [{discrete!r}].")
    unknown = [name for name in discrete or () if name not in order]
    if unknown:
        raise InputError(f"`discrete` names {unknown[0]!r}, which is not a column: {list(order)[:12]}. Correct it.")
    return set(discrete or ())


def _is_numeric(data: Any, name: str) -> bool:
    if isinstance(data, pd.DataFrame):
        if list(data.columns).count(name) > 1:
            raise InputError(f"`data` has several columns named {name!r}. Rename the copies or keep one.")
        dtype = data[name].dtype
        return pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)
    return bool(nw.from_native(data, eager_only=True)[name].dtype.is_numeric())


def _read(data: Any, roles: dict[str, str], coded: set[str]) -> Table:
    """Read the columns, coded ones by their levels; a numeric column of two values is coded as well."""
    groups: dict[str, dict[str, str]] = {"coded": {}, "either": {}}
    for role, name in roles.items():
        groups["coded" if name in coded else "either"][role] = name
    return read_table(data, coded=groups["coded"], either=groups["either"])


def _refuse_constant(table: Table, name: str) -> None:
    column = table[name]
    if column.min() == column.max():
        raise InputError(f"Column {name!r} is constant; it can be no cause and no effect. Drop it from the data.")


def _kind(table: Table, name: str) -> Kind:
    if name not in table.levels:
        return "continuous"
    count = len(table.levels[name])
    if count > MOST_LEVELS:
        raise InputError(
            f"Column {name!r} has {count:,} levels, more than {MOST_LEVELS}. Group them, or drop the column; if it "
            "holds numbers that measure something, convert it with pd.to_numeric and leave it out of `discrete`."
        )
    return "binary" if count == 2 else "categorical"


def _ask(table: Table, names: Sequence[str], kinds: Sequence[Kind]) -> None:
    """Warn of whole numbers with few values, which may be codes."""
    for name, kind in zip(names, kinds, strict=True):
        if kind != "continuous":
            continue
        values = np.unique(table[name])
        if len(values) <= FEW_VALUES and np.all(values == np.round(values)):
            tell(
                f"Column {name!r} holds {len(values)} different whole numbers and is treated as a quantity. If they "
                f"are codes of categories, pass discrete=[{name!r}]; if they are not, pass discrete=[] to say so.",
                DataWarning,
            )


def _standardised(column: Array) -> Array:
    scaled = column / np.abs(column).max()  # squares of very large and very small numbers stay representable
    centred = scaled - scaled.mean()
    spread = np.sqrt(np.mean(centred**2))
    if spread < 1e-12:
        raise InputError("A column varies less than its rounding error. Subtract its mean before fitting.")
    return np.asarray(centred / spread)
