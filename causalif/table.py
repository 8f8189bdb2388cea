"""The one door for data: a DataFrame becomes validated numeric columns by role."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import narwhals.stable.v1 as nw
import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._design import tell_collinear, without_useless
from causalif._errors import DataWarning, InputError, tell
from causalif._validate import Array, closest

LARGEST_EXACT_INTEGER = 2**53
# Shares of the rows. A category of more levels than the first has fewer than two rows to a level on average; one with
# more rows that are alone in their level than the second is an identifier.
MANY_LEVELS, ALL_ALONE = 0.5, 0.9
# Gradient boosting libraries refuse these characters in the names of their features.
SAFE_IN_NAMES = str.maketrans({"[": "(", "]": ")", "{": "(", "}": ")", "<": "under ", ",": ";", ":": "-", '"': "'"})


@dataclass(frozen=True, eq=False)
class Table:
    """Validated numeric columns, their row index, clusters and weights.

    Parameters
    ----------
    columns : mapping of str to ndarray of shape (n,)
        Every column that is not a covariate, as float64; coded columns hold level positions 0, 1, ...
    covariates : ndarray of shape (n, p)
        The adjustment columns after encoding.
    names : tuple of str
        Names of the covariates, in order.
    index : pandas.Index
        Row labels of the DataFrame that the table was read from.
    levels : mapping of str to tuple, optional
        For each coded column, the original values in order of their codes.
    clusters : ndarray of shape (n,), optional
        Cluster label of each row.
    weights : ndarray of shape (n,), optional
        Sampling weights, scaled to mean one.
    notes : tuple of str, default ()
        What was done on reading, for the summary.
    encoded : mapping of str to tuple of str, optional
        For each adjustment column the covariates that hold it: several where it is a category, another column's where
        it repeats one, none where it is constant.
    source : object, optional
        The frame whose memory the columns may share: while it is held here, pandas copies before the caller's frame is
        written to.

    Examples
    --------
    >>> table = Table({"a": np.array([0.0, 1.0])}, np.array([[3.0], [4.0]]), ("x",), pd.RangeIndex(2))
    >>> table.matrix(("a", "x")).tolist()
    [[0.0, 3.0], [1.0, 4.0]]
    >>> table.assign(a=1.0)["a"].tolist(), len(table.take(slice(1)))
    ([1.0, 1.0], 1)
    """

    columns: Mapping[str, Array]
    covariates: Array
    names: tuple[str, ...]
    index: pd.Index
    levels: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    clusters: npt.NDArray[Any] | None = None
    weights: Array | None = None
    notes: tuple[str, ...] = ()
    encoded: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    source: object = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.index)

    def __getitem__(self, name: str) -> Array:
        """Return one column as a float array of shape (n,)."""
        if name in self.columns:
            return self.columns[name]
        if name not in self.names:
            there = ", ".join(map(repr, [*self.columns, *self.names]))
            raise InputError(f"Column {name!r} is not in this table, which has {there}. Name it in a nuisance or role.")
        return np.asarray(self.covariates[:, self.names.index(name)])

    def matrix(self, names: Sequence[str]) -> Array:
        """Return the named columns side by side.

        Parameters
        ----------
        names : sequence of str
            Role columns or covariates; the covariates in order cost no copy.

        Returns
        -------
        array of shape (n, len(names))
        """
        names = tuple(names)
        if names == self.names:
            return self.covariates
        if not names:
            return np.empty((len(self), 0))
        if names[1:] == self.names and names[0] in self.columns:
            return np.hstack([self.columns[names[0]][:, None], self.covariates])
        return np.column_stack([self[name] for name in names])

    def take(self, rows: slice | npt.NDArray[Any]) -> Table:
        """Return the table of some rows.

        Parameters
        ----------
        rows : slice or array of int or bool
            Which rows; a slice gives views, an array copies.

        Returns
        -------
        Table
        """
        covariates = self.covariates[rows]
        if not covariates.flags.c_contiguous:
            covariates = np.ascontiguousarray(covariates)
        # Learners that work in place would otherwise change what the next one sees.
        covariates.flags.writeable = False
        return replace(
            self,
            columns={name: values[rows] for name, values in self.columns.items()},
            covariates=covariates,
            index=self.index[rows],
            clusters=None if self.clusters is None else self.clusters[rows],
            weights=None if self.weights is None else self.weights[rows],
            source=None,
        )

    def assign(self, **values: float | Array) -> Table:
        """Return a table in which whole columns are set, as in "what if everybody were treated".

        Parameters
        ----------
        **values : float or array of shape (n,)
            New values by the name of the column.

        Returns
        -------
        Table

        Raises
        ------
        InputError
            If a name is no role column.
        """
        columns = dict(self.columns)
        for name, value in values.items():
            if name not in columns:
                raise InputError(f"Only role columns can be assigned; {name!r} is not one of {sorted(columns)}.")
            columns[name] = np.broadcast_to(np.asarray(value, dtype=float), len(self))
        return replace(self, columns=columns)


def read_table(
    data: Any,
    *,
    numbers: Mapping[str, str] | None = None,
    coded: Mapping[str, str] | None = None,
    either: Mapping[str, str] | None = None,
    adjust: Sequence[str] = (),
    cluster: str | None = None,
    weights: str | None = None,
) -> Table:
    """Read and check the columns that an estimator names.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame or any eager frame known to narwhals
        One row per unit. Never changed.
    numbers, coded : mapping of role to column name
        Columns that must be numeric, and columns whose distinct values become levels 0, 1, ....
    either : mapping of role to column name
        Columns that are coded if they take two values or are not numeric, and numeric otherwise.
    adjust : sequence of str
        Covariates: numeric, boolean or pandas categorical (encoded as indicators, first level left out; of at most
        half as many levels as rows).
    cluster, weights : str, optional
        Columns with the cluster labels and with non-negative sampling weights.

    Returns
    -------
    Table
        Float64 columns in the row order of ``data``.

    Raises
    ------
    InputError
        On missing, repeated, overlapping, non-numeric or non-finite columns and on categories that look like
        identifiers, each with the remedy.
    """
    numbers, coded, either = dict(numbers or {}), dict(coded or {}), dict(either or {})
    adjust = _listed("adjust", adjust)
    roles = [*numbers.items(), *coded.items(), *either.items(), *(("adjust", name) for name in adjust)]
    roles += [(role, name) for role, name in (("cluster", cluster), ("weights", weights)) if name is not None]
    _require_disjoint(roles)
    frame = _select(data, roles)
    if len(frame) == 0:
        raise InputError("`data` has no rows.")
    for role, name in either.items():
        (coded if _two_valued(frame[name], role) else numbers)[role] = name
    columns = {name: _number(frame, role, name) for role, name in numbers.items()}
    levels = {}
    for role, name in coded.items():
        columns[name], levels[name] = _coded(frame, role, name)
    covariates, names, notes, encoded = _covariates(frame, adjust)
    return Table(
        columns=columns,
        covariates=covariates,
        names=names,
        index=frame.index,
        levels=levels,
        clusters=None if cluster is None else _labels(frame, cluster),
        weights=None if weights is None else _weights(frame, weights),
        notes=notes,
        encoded=encoded,
        source=frame,
    )


def _listed(role: str, names: object) -> tuple[str, ...]:
    if isinstance(names, (set, frozenset)):
        raise InputError(
            f"`{role}` must be a list of column names; a set has no order, on which learners may depend. Sort it: "
            f"{role}={sorted(map(str, names))!r}."
        )
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise InputError(f"`{role}` must be a list of column names, such as ['age', 'income']. Got {names!r} instead.")
    return tuple(names)


def _require_disjoint(roles: Sequence[tuple[str, str]]) -> None:
    seen: dict[str, str] = {}
    for role, name in roles:
        if not isinstance(name, str):
            raise InputError(f"`{role}` must name a column by a string. Got {name!r} instead.")
        if name in seen:
            raise InputError(
                f"Column {name!r} is given twice, as `{seen[name]}` and as `{role}`. Each column can play one role: "
                "leave it out of one of them."
            )
        seen[name] = role


def _select(data: Any, roles: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Return the needed columns as a pandas frame, whatever eager frame came in."""
    available = column_names(data)
    for role, name in roles:
        count = available.count(name)
        if count == 0:
            raise InputError(_unknown_column(role, name, available))
        if count > 1:
            raise InputError(
                f"`{role}` names the column {name!r}, which `data` has {count} times. Rename the copies or keep one."
            )
    needed = [name for _, name in roles]
    if isinstance(data, pd.DataFrame):
        return data.iloc[:, [available.index(name) for name in needed]]
    native = nw.from_native(data, eager_only=True)
    return pd.DataFrame({name: native_column(native[name]) for name in needed})


def column_names(data: Any) -> list[Any]:
    """Return the names of the columns of a pandas, polars or other eager frame."""
    if isinstance(data, pd.DataFrame):
        return list(data.columns)
    try:
        return list(nw.from_native(data, eager_only=True).columns)
    except TypeError as error:
        raise InputError(
            f"`data` must be a pandas or polars DataFrame. Got {type(data).__name__} instead. "
            "A lazy frame must be collected first; an array needs column names: pd.DataFrame(array, columns=[...])."
        ) from error


def _unknown_column(role: str, name: str, available: list[Any]) -> str:
    texts = [str(column) for column in available]
    close = closest(name, texts)
    hint = f" Did you mean {close!r}?" if close else f" It has {', '.join(texts[:12])}{', ...' * (len(texts) > 12)}."
    return f"`{role}` names the column {name!r}, which `data` does not have.{hint}"


def native_column(column: Any) -> Any:
    """Return a column of any eager frame as what pandas makes a column of."""
    if isinstance(column.dtype, (nw.Categorical, nw.Enum)):
        declared = column.cat.get_categories().to_list() if isinstance(column.dtype, nw.Enum) else None
        return pd.Categorical(column.to_list(), categories=declared)
    if column.dtype.is_numeric() or column.dtype == nw.Boolean:
        plain = isinstance(column.dtype, nw.Decimal) or bool(column.is_null().any())
        return column.cast(nw.Float64).to_numpy() if plain else column.to_numpy()
    return pd.Series(column.to_list())


def _number(frame: pd.DataFrame, role: str, name: str) -> Array:
    column = frame[name]
    _require_numeric(column, role)
    values = np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)
    _require_finite(values, role, name, frame.index)
    _tell_lost_precision(column, values, role)
    return values


def _require_numeric(column: pd.Series, role: str) -> None:
    dtype = column.dtype
    if pd.api.types.is_bool_dtype(dtype) or (
        pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype)
    ):
        return
    example = column.dropna().iloc[0] if column.notna().any() else None
    remedy = "Convert it with pd.to_numeric, or encode it"
    if role == "adjust":
        remedy = "Use .astype('category') to have indicators made, pd.to_numeric if it holds numbers, or leave it out"
    elif isinstance(example, str):
        remedy = _remedy_for_text(column, example, role)
    raise InputError(
        f"`{role}` column {column.name!r} must hold numbers. Got dtype {dtype} (for example {example!r}) instead. "
        f"{remedy}."
    )


def _remedy_for_text(column: pd.Series, example: str, role: str) -> str:
    named = f"data[{column.name!r}]"
    remedy = f"If these are numbers, convert them, in pandas with pd.to_numeric({named})"
    if role != "weights" and pd.isna(pd.to_numeric(example, errors="coerce")):
        indicator = f"({named} == {example!r}).astype(float)"
        remedy += f"; if they are categories, make an indicator of one, in pandas {indicator}"
        if missing := int(column.isna().sum()):
            remedy += f", after dropping or filling the {missing:,} that are missing, which would become 0"
    return remedy


def _require_finite(values: Array, role: str, name: str, index: pd.Index) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):
            return
    bad = ~np.isfinite(values)
    count = int(bad.sum())
    if count == 0:
        return
    missing = int(np.isnan(values).sum())
    kinds = [f"{missing:,} missing"] * (missing > 0) + [f"{count - missing:,} infinite"] * (count > missing)
    first = ", ".join(repr(label) for label in index[bad][:3].tolist())
    raise InputError(
        f"`{role}` column {name!r} has {' and '.join(kinds)} of {len(values):,} values; first at index {first}. "
        f"Drop those rows with data.dropna(subset=[{name!r}]) or impute them before fitting."
    )


def _tell_lost_precision(column: pd.Series, values: Array, role: str) -> None:
    if pd.api.types.is_integer_dtype(column.dtype) and np.abs(values).max() > LARGEST_EXACT_INTEGER:
        tell(
            f"`{role}` column {column.name!r} holds whole numbers beyond 2^53; as floating point they lose their last "
            "digits.",
            DataWarning,
        )


def _coded(frame: pd.DataFrame, role: str, name: str) -> tuple[Array, tuple[Any, ...]]:
    """Codes 0, 1, ... in sorted order of the distinct values, with those values."""
    column = frame[name]
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        numbers = _number(frame, role, name)
        whole = pd.api.types.is_integer_dtype(column.dtype)
        values = np.asarray(column) if whole else numbers
        low, high = values.min(), values.max()
        is_high = values == high
        if low < high and np.all(is_high | (values == low)):  # two values need no sorting
            return is_high.astype(np.float64), (low.item(), high.item())
        levels, codes = np.unique(values, return_inverse=True)
        return codes.astype(np.float64), tuple(levels.tolist())
    _require_present(column, role)
    ordered = column.astype("category")
    ordered = ordered.cat.remove_unused_categories()
    return np.asarray(ordered.cat.codes, dtype=np.float64), tuple(ordered.cat.categories.tolist())


def _require_present(column: pd.Series, role: str) -> None:
    missing = column.isna().to_numpy()
    if not missing.any():
        return
    first = ", ".join(repr(label) for label in column.index[missing][:3].tolist())
    raise InputError(
        f"`{role}` column {column.name!r} has {int(missing.sum()):,} missing of {len(column):,} values; first at index "
        f"{first}. Drop those rows with data.dropna(subset=[{column.name!r}]) or fill them before fitting."
    )


def _two_valued(column: pd.Series, role: str) -> bool:
    """Tell whether a column that may be numeric is to be coded instead; text of three values can be neither."""
    count = column.nunique()
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return count == 2
    if count > 2:
        raise InputError(
            f"`{role}` column {column.name!r} must hold numbers, or two values of any type. Got dtype {column.dtype} "
            f"with {count:,} values instead. Convert it with pd.to_numeric, or group its values into two."
        )
    return True


def _labels(frame: pd.DataFrame, name: str) -> npt.NDArray[Any]:
    _require_present(frame[name], "cluster")
    codes, _ = pd.factorize(frame[name])
    if codes.max() < 1:
        raise InputError(
            f"`cluster` column {name!r} has one cluster only; clustered standard errors need at least two."
        )
    return np.asarray(frame[name].to_numpy())


def _weights(frame: pd.DataFrame, name: str) -> Array:
    values = _number(frame, "weights", name)
    if values.min() < 0 or values.max() <= 0:
        raise InputError(
            f"`weights` column {name!r} must hold non-negative numbers, not all zero; its least is {values.min():g}."
        )
    relative = values / values.max()  # sums of weights near the largest number would overflow
    return np.asarray(relative * (len(relative) / math.fsum(relative)))  # exact, so the same in any order of the rows


Encoded = dict[str, tuple[str, ...]]


def _covariates(
    frame: pd.DataFrame, adjust: tuple[str, ...]
) -> tuple[Array, tuple[str, ...], tuple[str, ...], Encoded]:
    start = list(frame.columns).index(adjust[0]) if adjust else 0
    frame = frame.iloc[:, start : start + len(adjust)]
    dtypes = dict(zip(adjust, frame.dtypes, strict=True))
    categorical = [name for name, dtype in dtypes.items() if isinstance(dtype, pd.CategoricalDtype)]
    notes = []
    if not categorical:
        for name, dtype in dtypes.items():
            if not (isinstance(dtype, np.dtype) and dtype.kind in "biuf"):
                _require_numeric(frame[name], "adjust")
        matrix, names = frame.to_numpy(dtype=np.float64, na_value=np.nan), adjust
        made: Encoded = {name: (name,) for name in adjust}
    else:
        pieces = [_indicators(frame, name) if name in categorical else _one_column(frame, name) for name in adjust]
        matrix = np.column_stack([values for values, _ in pieces])
        names = tuple(name for _, part in pieces for name in part)
        made = {name: part for name, (_, part) in zip(adjust, pieces, strict=True)}
        notes.append(f"indicators made of {', '.join(categorical)}; the first level of each is the reference")
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise InputError(
            f"The indicators made of {', '.join(categorical)} would repeat the name {repeated[0]!r}. Rename a column "
            "or a level."
        )
    for position, name in enumerate(names):
        _require_finite(matrix[:, position], "adjust", name, frame.index)
        if name in dtypes and pd.api.types.is_integer_dtype(dtypes[name]):
            _tell_lost_precision(frame[name], matrix[:, position], "adjust")
    matrix, names, told, stands = without_useless(matrix, names, tuple(notes))
    told = (*told, *tell_collinear(matrix, names))
    encoded = {
        node: tuple(dict.fromkeys(kept for name in part if (kept := stands.get(name, name)) is not None))
        for node, part in made.items()
    }
    return matrix, names, told, encoded


def _one_column(frame: pd.DataFrame, name: str) -> tuple[Array, tuple[str, ...]]:
    return _number(frame, "adjust", name)[:, None], (name,)


def _indicators(frame: pd.DataFrame, name: str) -> tuple[Array, tuple[str, ...]]:
    codes, levels = _coded(frame, "adjust", name)
    _check_levels(name, codes)
    if len(levels) == 1:
        return np.ones((len(codes), 1)), (name,)
    names = tuple(f"{name}={level}".translate(SAFE_IN_NAMES) for level in levels[1:])
    return (codes[:, None] == np.arange(1, len(levels))).astype(np.float64), names


def _check_levels(name: str, codes: Array) -> None:
    """Refuse a category in which next to every row has a level of its own; warn where rows to a level are few.

    What is refused is far from what is accepted, so that a table does not turn unreadable as some rows leave it.
    """
    counts, n = np.bincount(codes.astype(np.intp)), len(codes)
    levels, alone = int((counts > 0).sum()), int((counts == 1).sum())
    remedy = (
        "Leave it out, group it into fewer levels, or give it as numbers if it measures something; `cluster` takes "
        "labels of rows that belong together."
    )
    if alone > max(2, ALL_ALONE * n):
        raise InputError(
            f"`adjust` column {name!r} is a category of {levels:,} levels in {n:,} rows and looks like an identifier: "
            f"{alone:,} rows have a level of their own and can be compared with no other. {remedy}"
        )
    if levels > max(2, MANY_LEVELS * n):
        tell(
            f"`adjust` column {name!r} is a category of {levels:,} levels in {n:,} rows, fewer than two rows to a "
            f"level on average. {remedy}",
            DataWarning,
        )
