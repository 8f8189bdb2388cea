"""Reading what users pass: frames, arrays or tensors, with the label and the weights as a column or beside them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

import narwhals.stable.v1 as nw
import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array, closest
from causalif.table import native_column


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as they came, taken apart by role.

    Parameters
    ----------
    features : DataFrame, or array or tensor of shape (n, d)
        The feature columns.
    labels : ndarray of shape (n,), optional
        Labels as they came.
    weights : ndarray of shape (n,), optional
        Weights as they came.
    index : pandas.Index
        Row labels.
    frame : DataFrame, optional
        The whole table, for printing.
    has_index : bool
        Whether the row labels came with the data; polars and other frames have none.
    """

    features: Any
    labels: npt.NDArray[Any] | None
    weights: Array | None
    index: pd.Index
    frame: pd.DataFrame | None
    has_index: bool = True


def is_tensor(x: object) -> bool:
    """Whether this is a torch tensor; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def holds_numbers(values: npt.NDArray[Any]) -> bool:
    """Whether these are numbers, as such or as objects; bools are none."""
    if values.dtype != object:
        return values.dtype.kind in "fiu"
    return all(isinstance(one, (Real, Decimal)) and not isinstance(one, bool) for one in values)


def read_rows(
    role: str,
    data: Any,
    *,
    label: Any = None,
    weights: Any = None,
    features: Sequence[str] | None = None,
    ignored: Sequence[Any] = (),
) -> Rows:
    """Take rows apart; ``label`` and ``weights`` are column names, arrays, or None, ``ignored`` plays no role."""
    frame = as_frame(role, data)
    if frame is None:
        return _read_array(role, data, label, weights, features)
    taken = [name for name in (label, weights) if is_name(name)]
    for what, name in (("label", label), ("weights", weights)):
        if is_name(name):
            _require_column(role, frame, what, name)
    others = [name for name in frame.columns if name not in taken and name not in ignored]
    names = others if features is None else _listed(role, frame, features)
    overlap = [name for name in taken if name in names]
    if overlap:
        raise InputError(f"`features` names {overlap[0]!r}, which is the label or the weights. Leave it out.")
    if not names:
        raise InputError(f"`{role}` must have at least one feature column. Got {list(frame.columns)}.")
    return Rows(
        features=frame.loc[:, names],
        labels=_column(role, "label", frame, label),
        weights=_weights(role, _column(role, "weights", frame, weights)),
        index=frame.index,
        frame=frame,
        has_index=isinstance(data, pd.DataFrame),
    )


def is_name(value: Any) -> bool:
    """Whether this is the name of a column, text or a whole number, rather than values."""
    return isinstance(value, (str, int, np.integer)) and not isinstance(value, bool)


def split_reference(train: Any, reference: Any, label: Any, weights: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Part rows by a boolean mask or column: the train rows, the reference rows, their labels, the train weights."""
    frame = as_frame("train", train)
    mask = reference
    if isinstance(reference, str):
        if frame is None:
            raise InputError("`reference` names a column, but `train` is an array. Pass a boolean array instead.")
        _require_column("train", frame, "reference", reference)
        mask, frame = frame[reference].to_numpy(), frame.drop(columns=reference)
    rows = train if frame is None else frame
    mask = _plain(mask if frame is None else in_order("reference", mask, frame.index))
    if mask.dtype == object and all(isinstance(one, (bool, np.bool_)) for one in mask):
        mask = mask.astype(bool)
    if mask.dtype != np.bool_ or mask.shape != (len(rows),):
        raise InputError(
            f"`reference` must be a second table, a boolean column of `train`, or booleans of shape ({len(rows)},). "
            f"Got {mask.dtype} of shape {mask.shape}; write == 1 after a column of 0 and 1."
        )

    def part(values: Any, keep: npt.NDArray[np.bool_]) -> Any:
        if values is None or is_name(values):
            return values
        return values[keep] if isinstance(values, (pd.DataFrame, pd.Series)) else _plain(values)[keep]

    if frame is not None:
        label, weights = in_order("label", label, frame.index), in_order("weights", weights, frame.index)
    return part(rows, ~mask), part(rows, mask), part(label, ~mask), part(label, mask), part(weights, ~mask)


def is_mask(reference: Any) -> bool:
    """Whether a reference is a column name or a one-dimensional mask rather than rows of its own."""
    flat = hasattr(reference, "dtype") and len(getattr(reference, "shape", (0, 0))) == 1
    listed = isinstance(reference, (list, tuple)) and bool(reference) and np.ndim(reference[0]) == 0
    return isinstance(reference, str) or flat or listed


def in_order(what: str, values: Any, index: pd.Index) -> Any:
    """Return a Series or DataFrame in the order of the rows that it belongs to; anything else as it is.

    Raises
    ------
    InputError
        If its labels are not those of the rows, so that it does not say which value belongs to which row.
    """
    if not isinstance(values, (pd.Series, pd.DataFrame)) or values.index.equals(index):
        return values
    if values.index.is_unique and index.is_unique and index.isin(values.index).all():
        return values.loc[index]
    raise InputError(
        f"`{what}` has {len(values):,} labels, other than those of the {len(index):,} rows it is for, so that it does "
        "not say which belongs to which. Give it the same index, or pass its `.to_numpy()` if it is in their order."
    )


def _plain(values: Any) -> npt.NDArray[Any]:
    return np.asarray(values.detach().cpu() if is_tensor(values) else values)


def as_frame(role: str, data: Any) -> pd.DataFrame | None:
    """Return a DataFrame if the data have column names, whatever eager frame they are; None for arrays."""
    if isinstance(data, pd.DataFrame):
        frame = data
    elif is_tensor(data) or hasattr(data, "__array_interface__") or hasattr(data, "__cuda_array_interface__"):
        return None
    else:
        try:
            native = nw.from_native(data, eager_only=True)
        except TypeError as error:
            if isinstance(data, (list, tuple)):
                return None
            raise InputError(
                f"`{role}` must be a DataFrame, an array or a tensor. Got {type(data).__name__}; {_remedy(data)}."
            ) from error
        frame = pd.DataFrame({name: native_column(native[name]) for name in native.columns})
    if frame.columns.nlevels > 1:
        raise InputError(
            f"`{role}` has columns named on {frame.columns.nlevels} levels. Give each one name, for instance by "
            "data.set_axis(['_'.join(map(str, name)) for name in data.columns], axis=1)."
        )
    if len(set(frame.columns)) != frame.shape[1]:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise InputError(f"`{role}` has the column {twice!r} more than once. Rename the copies or keep one.")
    if len(frame) == 0:
        raise InputError(f"`{role}` has no rows.")
    return frame


def _remedy(data: Any) -> str:
    if hasattr(data, "toarray"):
        return "make it dense with .toarray()"
    if hasattr(data, "to_frame"):
        return "a single column is a table in .to_frame()"
    if isinstance(data, (str, bytes)) or hasattr(data, "__fspath__"):
        return "read the file first, for instance with pd.read_csv"
    if isinstance(data, Mapping):
        return "make it a table with pd.DataFrame"
    return "a lazy frame must be collected first"


def _read_array(role: str, data: Any, label: Any, weights: Any, features: Any) -> Rows:
    rows = data if is_tensor(data) or hasattr(data, "__cuda_array_interface__") else _as_array(role, data)
    if len(rows.shape) != 2 or 0 in tuple(rows.shape):
        raise InputError(
            f"`{role}` must be of shape (n, d) with at least one row and one column. Got shape {tuple(rows.shape)}; "
            "flatten images with x.reshape(len(x), -1)."
        )
    for what, name in (("label", label), ("weights", weights), ("features", features)):
        if is_name(name) or (what == "features" and name is not None):
            raise InputError(
                f"`{what}` names a column, but `{role}` is an array. Pass {len(rows)} values, or a DataFrame."
            )
    n = len(rows)
    return Rows(
        features=rows,
        labels=_side(role, "label", label, n),
        weights=_weights(role, _side(role, "weights", weights, n)),
        index=pd.RangeIndex(n),
        frame=None,
    )


def _as_array(role: str, data: Any) -> npt.NDArray[Any]:
    if np.ma.is_masked(data):
        raise InputError(f"`{role}` has masked entries, which are missing. Fill them or drop those rows.")
    try:
        return np.asarray(data)
    except ValueError as error:
        raise InputError(f"`{role}` must have rows of one length. Got lists that form no matrix: {error}.") from error


def _side(role: str, what: str, values: Any, n: int) -> npt.NDArray[Any] | None:
    if values is None:
        return None
    plain = values.to_numpy() if isinstance(values, (pd.Series, pd.Index)) else _plain(values)
    name = f"reference_{what}" if role == "reference" else what
    if plain.shape != (n,):
        one = "; pass one column" * (plain.ndim > 1)
        raise InputError(
            f"`{name}` must have one value for each of the {n:,} rows of `{role}`. Got shape {plain.shape}{one}."
        )
    missing = int(pd.isna(plain).sum())
    if missing:
        raise InputError(f"`{name}` of `{role}` has {missing:,} missing or infinite values. Drop those rows.")
    return plain


def _column(role: str, what: str, frame: pd.DataFrame, name: Any) -> npt.NDArray[Any] | None:
    if not is_name(name):
        return _side(role, what, in_order(what, name, frame.index), len(frame))
    column = frame[name]
    missing = column.isna()
    if missing.any():
        raise InputError(
            f"`{what}` column {name!r} of `{role}` has {int(missing.sum()):,} missing of {len(column):,} values. "
            f"Drop those rows with data.dropna(subset=[{name!r}]) or fill them."
        )
    return np.asarray(column.to_numpy())


def _weights(role: str, values: npt.NDArray[Any] | None) -> Array | None:
    if values is None:
        return None
    if holds_numbers(values):
        values = values.astype(np.float64)
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all() or values.min() <= 0:
        raise InputError(
            f"`weights` of `{role}` must be finite numbers above zero; leave out rows that should not count."
        )
    return values.astype(np.float64)


def _require_column(role: str, frame: pd.DataFrame, what: str, name: Any) -> None:
    if name in frame.columns:
        return
    texts = [str(column) for column in frame.columns]
    close = closest(name, texts)
    hint = f"Did you mean {close!r}?" if close else f"It has {', '.join(texts[:12])}{', ...' * (len(texts) > 12)}."
    raise InputError(f"`{what}` names the column {name!r}, which `{role}` does not have. {hint}")


def _listed(role: str, frame: pd.DataFrame, features: Sequence[str]) -> list[str]:
    if isinstance(features, str):
        raise InputError(f"`features` must be a list of column names. Got {features!r}; write [{features!r}].")
    for name in features:
        _require_column(role, frame, "features", name)
    if len(set(features)) < len(features):
        raise InputError(f"`features` lists a column twice: {list(features)}.")
    return list(features)
