"""From columns to numbers in comparable units, by a coding that is frozen at the first fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import DataWarning, InputError, tell
from causalif._validate import Array
from causalif.valuation.categories import indicators, is_category, levels_of
from causalif.valuation.inputs import is_tensor

_CHUNK = 512  # rows whose float64 copies stay in cache
_FAR = 1e3  # standard deviations from zero, where float32 still resolves 1e-4 of one


@dataclass(frozen=True, eq=False)
class Encoder:
    """Columns to look at, levels of the categorical ones, and the frozen centre and unit of every number.

    Parameters
    ----------
    columns : tuple of str, optional
        Names of the feature columns; None where the data came as an array.
    levels : mapping of str to tuple
        Levels of each categorical column, one indicator each.
    scale : {"reference", "rows"} or None
        Whether numbers are standardised, or rows brought to length one.
    center, unit : ndarray of shape (p,)
        Taken off and divided by; zeros and ones unless standardised.
    exact : bool
        Whether numbers are kept in float64 rather than float32.
    """

    columns: tuple[str, ...] | None
    levels: Mapping[str, tuple[Any, ...]]
    scale: str | None
    center: Array
    unit: Array
    exact: bool

    @property
    def width(self) -> int:
        """Number of encoded features."""
        return len(self.center)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type in which encoded features are kept."""
        return np.dtype(np.float64 if self.exact else np.float32)

    def __call__(self, features: Any, role: str, *, strict: bool = True) -> Any:
        """Return encoded features of shape (n, p), an array or a tensor on its own device."""
        raw = self._select(features, role, strict)
        numbers = numeric(raw, self.levels, role)
        if numbers.shape[1] != self.width:
            raise InputError(
                f"`{role}` must have the {self.width} feature columns of the first fit. Got {numbers.shape[1]}."
            )
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = _scaled(numbers, self)
        if not _finite(scaled).all():
            raise InputError(
                f"`{role}` holds values so far from the reference, in units of its standard deviations, that they "
                f"overflow {self.dtype}. Look for codes of missing values, and drop or clip those rows."
            )
        return scaled

    def _select(self, features: Any, role: str, strict: bool) -> Any:
        framed = isinstance(features, pd.DataFrame)
        if framed != (self.columns is not None):
            kinds = ("a DataFrame", "an array")
            raise InputError(
                f"`{role}` must come as {kinds[self.columns is None]}, as at the first fit. Got {kinds[not framed]}."
            )
        if self.columns is None:
            return features
        missing = [name for name in self.columns if name not in features.columns]
        added = [name for name in features.columns if name not in self.columns] if strict else []
        if missing or added:
            raise InputError(
                f"`{role}` must have the feature columns of the first fit. "
                f"Missing: {missing or 'none'}; not known: {added or 'none'}. Rename, add or drop columns."
            )
        return features.loc[:, list(self.columns)]


def fit_encoder(reference: Any, train: Any, scale: str | None, exact: bool) -> Encoder:
    """Learn levels from both tables, centre and unit from the reference alone."""
    columns = tuple(reference.columns) if isinstance(reference, pd.DataFrame) else None
    levels = levels_of(reference, train) if columns is not None else {}
    rows, others = numeric(reference, levels, "reference"), numeric(train, levels, "train")
    if rows.shape[1] != others.shape[1]:
        raise InputError(
            f"`reference` and `train` must have the same feature columns. Got {rows.shape[1]} and {others.shape[1]}."
        )
    center, unit = np.zeros(rows.shape[1]), np.ones(rows.shape[1])
    if scale == "reference":
        center, unit = _moments(rows)
        # A column that is constant on the reference says nothing about its unit; the train rows do.
        still = unit <= 1e-12 * np.abs(center)
        if still.any():
            spread = _moments(others)[1]
            unit = np.where(still, np.where(spread > 1e-12 * np.abs(center), spread, 1.0), unit)
    exact = exact or (scale is None and _loses_digits(rows))
    return Encoder(columns, levels, scale, center, unit, exact)


def _loses_digits(rows: Any) -> bool:
    """Whether a column is so far from zero, in its standard deviations, that float32 would blur it."""
    if "float64" not in str(rows.dtype):
        return False
    center, unit = _moments(rows)
    return bool((np.abs(center) > _FAR * unit)[unit > 0].any())


def numeric(features: Any, levels: Mapping[str, tuple[Any, ...]], role: str) -> Any:
    """Return features as a matrix of finite numbers; text and categories become indicators."""
    if isinstance(features, pd.DataFrame):
        parts = [indicators(features, name, levels[name], role) if name in levels else _number(features, name, role)
                 for name in features.columns]  # fmt: skip
        rows = np.column_stack(parts)
        names: Sequence[Any] = [f"{name}" for name, part in zip(features.columns, parts, strict=True)
                                for _ in range(part.shape[1])]  # fmt: skip
    else:
        rows = _array(features, role)
        names = range(rows.shape[1])
    _require_finite(rows, names, role)
    return rows


def take(rows: Any, positions: npt.NDArray[Any]) -> Any:
    """Return some rows of an array or tensor."""
    if not is_tensor(rows):
        return rows[positions]
    import torch

    return rows[torch.as_tensor(positions, device=rows.device)]


def join(first: Any, second: Any) -> Any:
    """Put rows below rows."""
    if not is_tensor(first):
        return np.concatenate([first, second.cpu().numpy() if is_tensor(second) else second])
    import torch

    return torch.cat([first, torch.as_tensor(second, device=first.device, dtype=first.dtype)])


def put(rows: Any, positions: npt.NDArray[Any], new: Any) -> Any:
    """Return rows with others in the place of some."""
    if is_tensor(rows):
        order = np.arange(len(rows))
        order[positions] = len(rows) + np.arange(len(new))
        return take(join(rows, new), order)
    new = to_numpy(new)
    out = rows.astype(np.result_type(rows, new))
    out[positions] = new
    return out


def beside(rows: Any, column: Array) -> Any:
    """Put one more column to the right."""
    if not is_tensor(rows):
        return np.column_stack([rows, column.astype(rows.dtype)])
    import torch

    more = torch.as_tensor(column, device=rows.device, dtype=rows.dtype)
    return torch.cat([rows, more[:, None]], dim=1)


def to_numpy(rows: Any) -> npt.NDArray[Any]:
    """Return an array, sharing memory where that is possible."""
    return np.asarray(rows.detach().cpu().numpy() if is_tensor(rows) else rows)


def _array(features: Any, role: str) -> Any:
    """Return a matrix of floats; half precision is widened and said so."""
    if hasattr(features, "__cuda_array_interface__") and not is_tensor(features):
        import torch

        features = torch.as_tensor(features, device="cuda")
    if is_tensor(features):
        rows = features.detach()
        half = str(rows.dtype) in ("torch.float16", "torch.bfloat16")
        rows = rows.float() if half else rows if rows.is_floating_point() else rows.double()
        rows = rows if rows.is_cuda else rows.numpy()
    else:
        rows = np.asarray(features)
        if rows.dtype.kind not in "fiub":
            raise InputError(
                f"`{role}` must hold numbers. Got an array of {rows.dtype}; make it numbers with .astype(float), or "
                "pass a DataFrame, whose text columns become indicators."
            )
        half = rows.dtype == np.float16
        rows = rows.astype(np.float32) if half else rows if rows.dtype.kind == "f" else rows.astype(np.float64)
    if half:
        _tell_half(f"`{role}`")
    return rows


def _finite(rows: Any) -> npt.NDArray[np.bool_]:
    """Whether a column holds nothing but finite numbers."""
    if is_tensor(rows):
        return np.asarray(rows.isfinite().all(dim=0).cpu().numpy())
    finite = np.ones(rows.shape[1], dtype=bool)
    for start in range(0, len(rows), _CHUNK):
        finite &= np.isfinite(rows[start : start + _CHUNK]).all(axis=0)
    return finite


def _require_finite(rows: Any, names: Sequence[Any], role: str) -> None:
    finite = _finite(rows)
    if finite.all():
        return
    bad = list(dict.fromkeys(names[j] for j in np.flatnonzero(~finite).tolist()))
    listed = ", ".join(repr(name) for name in bad[:5]) + ", ..." * (len(bad) > 5)
    raise InputError(
        f"`{role}` must not hold missing or infinite numbers. Got some in {len(bad)} feature columns: {listed}. "
        "Drop those rows or impute them; every row that is passed gets a value."
    )


def _number(frame: pd.DataFrame, name: str, role: str) -> Array:
    column = frame[name]
    if is_category(column, role):
        raise InputError(
            f"Column {name!r} of `{role}` must hold numbers, as at the first fit. Got dtype {column.dtype}; convert it "
            "with pd.to_numeric."
        )
    if column.dtype == np.float16:
        _tell_half(f"Column {name!r} of `{role}`")
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))[:, None]


def _tell_half(what: str) -> None:
    tell(f"{what} comes in half precision, with about three digits; it is read as a longer type, which does not bring "
         "the lost digits back.", DataWarning)  # fmt: skip


def _moments(rows: Any) -> tuple[Array, Array]:
    """Means and standard deviations of the columns, in float64."""
    if is_tensor(rows):
        wide = rows.double()
        return wide.mean(dim=0).cpu().numpy(), wide.std(dim=0, correction=0).cpu().numpy()
    center = rows.mean(axis=0, dtype=np.float64)
    first, second = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK].astype(np.float64) - center
        first += part.sum(axis=0)
        second += np.einsum("ij,ij->j", part, part)
    # What rounding left of the mean is taken off as well.
    shift = first / len(rows)
    return np.asarray(center + shift), np.sqrt(np.maximum(second / len(rows) - shift**2, 0))


def _scaled(rows: Any, encoder: Encoder) -> Any:
    if is_tensor(rows):
        import torch

        wide = rows.double()
        wide = (wide - torch.as_tensor(encoder.center, device=rows.device)) / torch.as_tensor(
            encoder.unit, device=rows.device
        )
        wide = wide / _length(wide.norm(dim=1)[:, None]) if encoder.scale == "rows" else wide
        return wide.to(torch.float64 if encoder.exact else torch.float32)
    if encoder.scale is None:
        return rows.astype(encoder.dtype, order="C")
    out = np.empty(rows.shape, dtype=encoder.dtype)
    for start in range(0, len(rows), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        wide = (rows[chunk].astype(np.float64) - encoder.center) / encoder.unit
        out[chunk] = wide / _length(np.linalg.norm(wide, axis=1)[:, None]) if encoder.scale == "rows" else wide
    return out


def _length(norms: Any) -> Any:
    """Lengths to divide by; a row of zeros stays what it is."""
    return norms + (norms == 0)
