"""Tables, indexes and settings as JSON descriptions of plain array and text members, and back."""

from __future__ import annotations

import io
import json
import math
import re
import zoneinfo
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import InputError

_PLAIN = "fiub"  # floats, signed and unsigned integers, bools
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00(..)\{'descr': '([<|][fiub][1248])', 'fortran_order': False, 'shape': \(([0-9, ]{0,60})\), \}",
    re.DOTALL,
)
_TAGS = {"__tuple__": tuple, "__set__": frozenset}
_ADVICE = "Only numbers, text, bools and dates can be saved"


# --- settings ----------------------------------------------------------------------------------------------------


def to_json(value: object, where: str) -> Any:
    """Return ``value`` as JSON, marking tuples, sets and infinite numbers; refuse anything else, naming it.

    Examples
    --------
    >>> to_json({"levels": (1, 0), "share": np.float64(0.5)}, "settings")
    {'levels': {'__tuple__': [1, 0]}, 'share': 0.5}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"__float__": repr(value)}
    if isinstance(value, list):
        return [to_json(item, where) for item in value]
    if isinstance(value, tuple):
        return {"__tuple__": [to_json(item, where) for item in value]}
    if isinstance(value, (set, frozenset)):
        return {"__set__": [to_json(item, where) for item in sorted(value, key=repr)]}
    if isinstance(value, Mapping) and all(isinstance(key, str) and not key.startswith("__") for key in value):
        return {key: to_json(item, f"{where}[{key!r}]") for key, item in value.items()}
    raise InputError(f"{_ADVICE}, and lists or mappings of them; `{where}` holds a {type(value).__name__}.")


def from_json(value: Any) -> Any:
    """Return what `to_json` was given.

    Examples
    --------
    >>> from_json(to_json({"levels": (1, 0)}, "settings"))
    {'levels': (1, 0)}
    """
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    tag = next((key for key in value if key.startswith("__")), None)
    if tag is None:
        return {key: from_json(item) for key, item in value.items()}
    if len(value) == 1 and tag in _TAGS and isinstance(value[tag], list):
        return _TAGS[tag](from_json(item) for item in value[tag])
    if len(value) == 1 and tag == "__float__" and value[tag] in ("nan", "inf", "-inf"):
        return float(value[tag])
    raise InputError(f"The file holds an unknown mark {tag!r}.")


# --- writing -----------------------------------------------------------------------------------------------------


class Writer:
    """Collects members and their manifest while tables are described."""

    def __init__(self) -> None:
        self.members: dict[str, bytes] = {}
        self.manifest: dict[str, Any] = {}

    def array(self, array: npt.NDArray[Any]) -> str:
        """Store a plain array; return the name of its member."""
        plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        stream = io.BytesIO()
        np.lib.format.write_array(stream, plain, version=(1, 0), allow_pickle=False)
        description = {"dtype": plain.dtype.str, "shape": list(array.shape)}
        return self._add("npy", stream.getvalue(), description)

    def column(self, column: pd.Series, where: str) -> dict[str, Any]:
        """Store a column; return its description."""
        dtype = column.dtype
        if isinstance(dtype, np.dtype) and dtype.kind in _PLAIN and dtype.itemsize <= 8:
            return {"kind": "plain", "at": self.array(column.to_numpy())}
        if dtype.kind in "mM" and not isinstance(dtype, pd.ArrowDtype):
            return self._time(column, where)
        if dtype == np.dtype(object) or isinstance(dtype, pd.StringDtype):
            items = [_cell(item, where) for item in column.to_numpy(dtype=object)]
            text = json.dumps(items, allow_nan=False).encode()
            name = self._add("json", text, {"items": len(items)})
            return {"kind": "text", "at": name, "dtype": str(dtype)}
        raise InputError(f"{_ADVICE}; `{where}` has dtype {dtype}. Convert it first, for instance with `.astype(str)`.")

    def index(self, index: pd.Index, where: str) -> dict[str, Any]:
        """Store an index; return its description."""
        names = [to_json(name, f"names of {where}") for name in index.names]
        if isinstance(index, pd.RangeIndex):
            return {"kind": "range", "range": [index.start, index.stop, index.step], "names": names}
        levels = [index.get_level_values(i) for i in range(index.nlevels)]
        stored = [self.column(pd.Series(level), where) for level in levels]
        kind = "multi" if isinstance(index, pd.MultiIndex) else "flat"
        return {"kind": kind, "levels": stored, "names": names}

    def frame(self, frame: pd.DataFrame, where: str) -> dict[str, Any]:
        """Store a DataFrame; return its description."""
        columns = [self.column(frame.iloc[:, i], f"{where}[{frame.columns[i]!r}]") for i in range(frame.shape[1])]
        return {
            "index": self.index(frame.index, f"index of {where}"),
            "columns": self.index(frame.columns, f"columns of {where}"),
            "data": columns,
        }

    def frames(self, frames: Mapping[str, pd.DataFrame], where: str) -> dict[str, Any]:
        """Store named DataFrames; return their descriptions."""
        return {name: self.frame(table, f"{where}[{name!r}]") for name, table in frames.items()}

    def optional_frame(self, frame: pd.DataFrame | None, where: str) -> dict[str, Any] | None:
        """Store a DataFrame, or say that there is none."""
        return None if frame is None else self.frame(frame, where)

    def _time(self, column: pd.Series, where: str) -> dict[str, Any]:
        index: Any = pd.Index(column)
        zone = None if index.dtype.kind == "m" or index.tz is None else str(index.tz)
        unit = index.unit
        if zone is not None:
            _zoned(unit, zone, where)
        stored = self.array(index.asi8)
        return {"kind": "date" if index.dtype.kind == "M" else "duration", "unit": unit, "zone": zone, "at": stored}

    def _add(self, kind: str, content: bytes, description: dict[str, Any]) -> str:
        name = f"m{len(self.members)}.{kind}"
        self.members[name], self.manifest[name] = content, description
        return name


def _cell(item: object, where: str) -> Any:
    if item is pd.NA or (isinstance(item, float) and math.isnan(item)):
        return None if item is pd.NA else {"__float__": "nan"}
    return to_json(item, where)


def _zoned(unit: str, zone: str, where: str) -> pd.DatetimeTZDtype:
    try:
        # Other names may be paths of files.
        if not re.fullmatch(r"UTC([+-]\d\d:\d\d)?", zone) and zone not in zoneinfo.available_timezones():
            raise ValueError(zone)
        return pd.DatetimeTZDtype(unit, zone)  # type: ignore[call-overload]
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(
            f"`{where}` has the time zone {zone!r}, which has no common name: use `tz_convert`."
        ) from error


# --- reading -----------------------------------------------------------------------------------------------------


class Reader:
    """Reads members by their descriptions, each once, and trusts none of them."""

    def __init__(self, manifest: Mapping[str, Any], read: Callable[[str], bytes]) -> None:
        self._manifest, self._read = dict(manifest), read
        self._unread = set(self._manifest)

    def array(self, name: str, shape: tuple[int, ...], kinds: str = _PLAIN) -> npt.NDArray[Any]:
        """Return a stored array, which must have this shape and one of these kinds of numbers."""
        content = self._take(name, "npy")
        dtype, found, start = _array_header(name, content)
        if dtype.kind not in kinds:
            raise InputError(f"{name} has dtype {dtype}, which is not expected there.")
        rest = len(content) - start
        declared = self._manifest[name]["shape"]
        if found != shape or list(shape) != declared or math.prod(shape) * dtype.itemsize != rest:
            raise InputError(f"{name} has shape {found} in {rest:,} bytes where shape {shape} is expected.")
        return np.frombuffer(content, dtype, offset=start).reshape(shape)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape that a stored array declares; `array` holds it against what is there."""
        return tuple(self._manifest[name]["shape"])

    def column(self, described: Mapping[str, Any], n: int) -> pd.Series:
        """Return a stored column of length n."""
        kind, name = described["kind"], described["at"]
        if kind == "plain":
            return pd.Series(self.array(name, (n,)))
        if kind == "text":
            return self._text(name, described["dtype"], n)
        numbers = self.array(name, (n,), "i")
        if described["unit"] not in ("s", "ms", "us", "ns") or kind not in ("date", "duration"):
            raise InputError(f"{name} is described as {described!r}, which `save` never writes.")
        if kind == "duration":
            return pd.Series(numbers.astype(np.int64).view(f"m8[{described['unit']}]"))
        dates = pd.Series(numbers.astype(np.int64).view(f"M8[{described['unit']}]"))
        if described["zone"] is None:
            return dates
        return dates.dt.tz_localize("UTC").astype(_zoned(described["unit"], described["zone"], name))

    def length(self, described: Mapping[str, Any]) -> int:
        """Return the length of a stored index, without reading it."""
        if described["kind"] == "range":
            return len(range(*described["range"]))
        about = self._manifest[described["levels"][0]["at"]]
        found = about["items"] if "items" in about else about["shape"][0]
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            raise InputError(f"The file declares an index of length {found!r}.")
        return found

    def index(self, described: Mapping[str, Any], n: int) -> pd.Index:
        """Return a stored index of length n."""
        kind, names = described["kind"], [_hashable(name) for name in described["names"]]
        if kind == "range":
            start, stop, step = described["range"]
            return pd.RangeIndex(start, stop, step, name=_only(names))
        levels = [self.column(level, n) for level in described["levels"]]
        if kind == "multi":
            return pd.MultiIndex.from_arrays(levels, names=names)
        if kind == "flat":
            column = _only(levels)
            return pd.Index(column, dtype=column.dtype, name=_only(names))
        raise InputError(f"The file holds an index of unknown kind {kind!r}.")

    def frame(self, described: Mapping[str, Any]) -> pd.DataFrame:
        """Return a stored DataFrame."""
        n, width = self.length(described["index"]), len(described["data"])
        index, columns = self.index(described["index"], n), self.index(described["columns"], width)
        data = {i: self.column(column, n).array for i, column in enumerate(described["data"])}
        return pd.DataFrame(data, index=index).set_axis(columns, axis=1)

    def frames(self, described: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
        """Return stored DataFrames by name."""
        return {name: self.frame(table) for name, table in described.items()}

    def optional_frame(self, described: Mapping[str, Any] | None) -> pd.DataFrame | None:
        """Return a stored DataFrame, if there is one."""
        return None if described is None else self.frame(described)

    def refuse_unused(self) -> None:
        """Raise when members are left that nothing described."""
        if self._unread:
            raise InputError(f"The file holds parts that belong to nothing: {', '.join(sorted(self._unread))}.")

    def _text(self, name: str, dtype: str, n: int) -> pd.Series:
        items = from_json(json.loads(self._take(name, "json")))
        if not isinstance(items, list) or len(items) != n or dtype not in ("object", "str", "string"):
            raise InputError(f"{name} is not a list of {n:,} cells.")
        if dtype != "object" and not all(isinstance(item, (str, float, type(None))) for item in items):
            raise InputError(f"{name} holds something other than text.")
        return pd.Series(items, dtype=dtype)

    def _take(self, name: str, kind: str) -> bytes:
        if name not in self._unread or not name.endswith(kind):
            raise InputError(f"The header refers to {name!r}, which is not there or is used twice.")
        self._unread.remove(name)
        return self._read(name)


def _array_header(name: str, content: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Return dtype, shape and offset of a .npy array; stricter than numpy, which evaluates the header as Python."""
    match = _NPY.match(content)
    if match is None:
        raise InputError(f"{name} is not a plain array of numbers: its header is not one that `save` writes.")
    size, descr, shape = match.groups()
    start = 10 + int.from_bytes(size, "little")
    if content[match.end() : start].strip(b" ") != b"\n":
        raise InputError(f"{name} has a damaged array header.")
    return np.dtype(descr.decode()), tuple(int(x) for x in shape.split(b",") if x.strip()), start


def _hashable(name: Any) -> Hashable:
    value: Hashable = from_json(name)
    hash(value)
    return value


def _only(items: list[Any]) -> Any:
    (item,) = items
    return item
