"""Save and load estimates as one file of JSON and plain arrays: nothing in it can be executed.

The file is a zip archive without compression. ``header.json`` names every other member with its type and shape, and
`load` refuses whatever the header does not name. Arrays are ``.npy`` members without objects; text is JSON.
"""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import struct
import zipfile
import zlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy

from causalif._errors import CausalifError, InputError
from causalif.results import checks, codec
from causalif.results.covariance import cluster_codes
from causalif.results.estimate import Estimate, derive

FORMAT = 1
_HEADER = "header.json"
_NAME = re.compile(r"[a-z0-9_]{1,80}\.(npy|json)")
_MAX_HEADER, _MAX_MEMBERS = 1 << 26, 100_000
_STAMP = (1980, 1, 1, 0, 0, 0)  # equal estimates give equal files
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, TypeError, KeyError, IndexError,
           AttributeError, NotImplementedError, RuntimeError, RecursionError, OverflowError, MemoryError,
           SyntaxError)  # fmt: skip


def save(estimate: Estimate, path: str | PathLike[str]) -> None:
    """Write an estimate to one file.

    Parameters
    ----------
    estimate : Estimate
        Everything is kept but `origin`; a subclass is kept as a plain Estimate.
    path : str or path
        Replaced at once when it exists: an interrupted save leaves the old file, or none.

    Raises
    ------
    InputError
        If an index, a setting or a table holds something other than numbers, text, dates, and bools.

    Notes
    -----
    The file holds 8 n p bytes of influence values, the index, and the tables.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Estimate([2.0], [[1.0], [-1.0]], ["ATE"], pd.RangeIndex(2)), f"{folder}/fit.causalif")
    ...     load(f"{folder}/fit.causalif")
    Estimate(ATE = 2, std_error = 0.7071; n = 2)
    """
    writer = codec.Writer()
    header = _packed(estimate, writer)
    _write_atomically(Path(path), header, writer.members)


def load(path: str | PathLike[str]) -> Estimate:
    """Read an estimate that `save` wrote.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    Estimate
        Without `origin`.

    Raises
    ------
    InputError
        If the file is damaged, was not written by `save`, or comes from a newer version.

    Notes
    -----
    Nothing in the file is executed, and no more memory is used than a few times the size of the file.

    Examples
    --------
    See `save`.
    """
    with open(path, "rb") as stream:
        try:
            header, reader = _opened(stream)
            return _unpacked(header, reader)
        except InputError:
            raise
        except CausalifError as error:
            raise InputError(f"{os.fspath(path)!r} is not a sound estimate file: {error}") from error
        except _DAMAGE as error:
            raise InputError(
                f"{os.fspath(path)!r} is damaged or was not written by `save` ({type(error).__name__}: {error}). "
                "Restore it from a copy, or fit again."
            ) from error


# --- an estimate as header and members ---------------------------------------------------------------------------


def _packed(estimate: Estimate, writer: codec.Writer) -> dict[str, Any]:
    tables = {name: writer.frame(table, f"diagnostics[{name!r}]") for name, table in estimate.diagnostics.items()}
    fields = {
        "labels": list(estimate.labels),
        "values": writer.array(estimate.values),
        "influence_values": writer.array(estimate.influence_values),
        "index": writer.index(estimate.index, "index"),
        "clusters": None if estimate.clusters is None else writer.column(pd.Series(estimate.clusters), "clusters"),
        "settings": codec.to_json(dict(estimate.settings), "settings"),
        "diagnostics": tables,
        "splits": None if estimate.splits is None else writer.frame(estimate.splits, "splits"),
        "nuisances": None if estimate.nuisances is None else writer.frame(estimate.nuisances, "nuisances"),
    }
    about = {"format": FORMAT, "class": "Estimate", "versions": _versions()}
    return about | {"members": writer.manifest, "fields": fields}


def _unpacked(header: Mapping[str, Any], reader: codec.Reader) -> Estimate:
    fields = header["fields"]
    labels = fields["labels"]
    if not isinstance(labels, list) or not isinstance(fields["settings"], dict):
        raise InputError("The header does not hold a list of labels and a mapping of settings.")
    n, p = reader.length(fields["index"]), len(labels)
    given = {
        "values": reader.array(fields["values"], (p,), "f"),
        "influence_values": reader.array(fields["influence_values"], (n, p), "f"),
        "labels": tuple(labels),
        "index": reader.index(fields["index"], n),
        "clusters": None if fields["clusters"] is None else reader.column(fields["clusters"], n).to_numpy(),
        "settings": codec.from_json(fields["settings"]),
        "diagnostics": {name: reader.frame(table) for name, table in fields["diagnostics"].items()},
        "splits": None if fields["splits"] is None else reader.frame(fields["splits"]),
        "nuisances": None if fields["nuisances"] is None else reader.frame(fields["nuisances"]),
    }
    reader.refuse_unused()
    # As in `derive`, a warning that the fit gave is not repeated.
    if given["clusters"] is not None:
        cluster_codes(given["clusters"])
    fields_of_rows = ("values", "influence_values", "labels", "index", "clusters")
    return derive(**given | checks.checked(*(given[name] for name in fields_of_rows)))


def _versions() -> dict[str, str]:
    return {"numpy": np.__version__, "pandas": pd.__version__, "scipy": scipy.__version__}


# --- the file ----------------------------------------------------------------------------------------------------


def _write_atomically(path: Path, header: Mapping[str, Any], members: Mapping[str, bytes]) -> None:
    text = json.dumps(header, ensure_ascii=False, allow_nan=False).encode()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
                for name, content in {_HEADER: text, **members}.items():
                    archive.writestr(zipfile.ZipInfo(name, _STAMP), content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _opened(stream: io.BufferedReader) -> tuple[dict[str, Any], codec.Reader]:
    size = os.fstat(stream.fileno()).st_size
    if stream.read(4) != b"PK\x03\x04":
        raise InputError(
            f"{stream.name!r} is not an estimate file. Only files written by `save` can be loaded; a pickle is never "
            "opened, since opening one can run any program."
        )
    archive = zipfile.ZipFile(stream)
    _refuse_unsound(archive.infolist(), size, stream.name)
    header = json.loads(archive.read(_HEADER), parse_constant=_refuse_constant)
    if header.get("format") != FORMAT:
        raise InputError(
            f"{stream.name!r} has file format {header.get('format')!r}, and this version reads {FORMAT}. "
            "Load it with the version of causalif that wrote it, or a later one."
        )
    manifest = header["members"]
    if {info.filename for info in archive.infolist()} != {_HEADER, *manifest}:
        raise InputError(f"{stream.name!r} does not hold exactly the parts its header names.")
    return header, codec.Reader(manifest, archive.read)


def _refuse_unsound(infos: list[zipfile.ZipInfo], size: int, path: str) -> None:
    names = [info.filename for info in infos]
    if _HEADER not in names or len(set(names)) != len(names) or len(names) > _MAX_MEMBERS:
        raise InputError(f"{path!r} is a zip archive, but not one written by `Estimate.save`. Values of rows "
            "are read by causalif.Valuation.load.")
    for info in infos:
        if info.filename != _HEADER and not _NAME.fullmatch(info.filename):
            raise InputError(f"{path!r} holds a part named {info.filename!r}, which `save` never writes.")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise InputError(f"{path!r} is compressed, which `save` never does; it could unpack to any size.")
        if info.filename == _HEADER and info.file_size > _MAX_HEADER:
            raise InputError(f"{path!r} has a header of {info.file_size:,} bytes; at most {_MAX_HEADER:,} are read.")
    if sum(info.file_size for info in infos) > size:
        raise InputError(f"{path!r} declares more content than the {size:,} bytes it has.")


def _refuse_constant(name: str) -> None:
    raise InputError(f"The header holds {name}, which `save` never writes.")
