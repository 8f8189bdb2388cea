"""The file behind every saved result: a zip archive without compression, read with distrust.

``header.json`` names every other member with its type and shape; what it does not name is refused.
Arrays are ``.npy`` members without objects; text is JSON.
"""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

from causalif._errors import InputError
from causalif.storage import codec

_HEADER = "header.json"
_NAME = re.compile(r"[a-z0-9_]{1,80}\.(npy|json)")
_MAX_HEADER, _MAX_MEMBERS = 1 << 22, 100_000
_STAMP = (1980, 1, 1, 0, 0, 0)  # equal results give equal files
MAGIC = b"PK\x03\x04"


def destination(path: str | PathLike[str]) -> Path:
    """Return where to write, or raise where that is a folder or lies in none, before any work is done."""
    target = Path(path)
    folder = target.absolute().parent
    if target.is_dir():
        raise InputError(f"`path` must name a file. {str(target)!r} is a folder; add the name of a file in it.")
    if not folder.is_dir():
        raise InputError(
            f"`path` must name a file in a folder that exists. There is no folder {str(folder)!r}: make it first, or "
            "choose another."
        )
    return target


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a stream that becomes the file at once: an interrupted save leaves the old file, or none."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write(path: Path, header: Mapping[str, Any], members: Mapping[str, bytes]) -> None:
    """Write a file whose header names its members."""
    text = json.dumps(header, ensure_ascii=False, allow_nan=False).encode()
    with replacing(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {_HEADER: text, **members}.items():
            archive.writestr(zipfile.ZipInfo(name, _STAMP), content)


def opened(stream: io.BufferedReader, formats: tuple[int, ...]) -> tuple[dict[str, Any], codec.Reader]:
    """Return the header of a file of one of these formats, and what reads the members it names."""
    size = os.fstat(stream.fileno()).st_size
    if stream.read(4) != MAGIC:
        raise InputError(
            f"{stream.name!r} is not a file of a result. Only files written by `save` can be loaded; a pickle is never "
            "opened, since opening one can run any program."
        )
    archive = zipfile.ZipFile(stream)
    _refuse_unsound(archive.infolist(), size, stream.name)
    header = json.loads(archive.read(_HEADER), parse_constant=_refuse_constant)
    if header.get("format") not in formats:
        raise InputError(
            f"{stream.name!r} has file format {header.get('format')!r}, and this version reads "
            f"{' and '.join(map(str, formats))}. Load it with the version of causalif that wrote it, or a later one."
        )
    manifest = header["members"]
    if {info.filename for info in archive.infolist()} != {_HEADER, *manifest}:
        raise InputError(f"{stream.name!r} does not hold exactly the parts its header names.")
    return header, codec.Reader(manifest, archive.read)


def _refuse_unsound(infos: list[zipfile.ZipInfo], size: int, path: str) -> None:
    names = [info.filename for info in infos]
    if _HEADER not in names or len(set(names)) != len(names) or len(names) > _MAX_MEMBERS:
        raise InputError(f"{path!r} is a zip archive, but not one written by `save`.")
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
