"""Save results of several classes, and load each as what it was.

A file says which class it holds by a name out of one fixed table; nothing else is ever imported or called for it.
"""

from __future__ import annotations

import importlib
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from os import PathLike
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import pandas as pd
import scipy

from causalif._errors import CausalifError, InputError
from causalif.storage import container
from causalif.storage.codec import Reader, Writer

# Plain estimates keep the first format, so that every version reads them; other classes came with the second.
FORMATS = (1, 2)
PLAIN = "Estimate"
CLASSES = {
    PLAIN: "causalif.results.estimate",
    "DAGPosterior": "causalif.graphs.posterior",
    "InvalidIVResult": "causalif.estimators.invalid_iv.result",
    "MediationResult": "causalif.estimators.mediation.result",
    "PathEffectResult": "causalif.estimators.mediation.result",
    "SigmaResult": "causalif.estimators.sigma.result",
    "Valuation": "causalif.valuation.valuation",
    "WCDEResult": "causalif.estimators.wcde.result",
}
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, TypeError, KeyError, IndexError,
           AttributeError, NotImplementedError, RuntimeError, RecursionError, OverflowError, MemoryError,
           SyntaxError)  # fmt: skip

Fields = Mapping[str, Any]
T = TypeVar("T")


class Storable(Protocol):
    """What a class of the table can do."""

    def _pack(self, writer: Writer) -> dict[str, Any]:
        """Put arrays and tables into ``writer``; return their descriptions, which are JSON."""

    @classmethod
    def _unpack(cls, fields: Fields, reader: Reader) -> Any:
        """Return an object from what `_pack` returned; trust none of it."""


def write(result: Storable, path: str | PathLike[str]) -> None:
    """Write one result to a file, as the class of the table that it is or descends from."""
    target, name = container.destination(path), _name(type(result))
    writer = Writer()
    fields = result._pack(writer) if name == type(result).__name__ else _class(name)._pack(result, writer)
    about = {"format": FORMATS[name != PLAIN], "class": name, "versions": _versions()}
    container.write(target, about | {"members": writer.manifest, "fields": fields}, writer.members)


def read(path: str | PathLike[str]) -> Any:
    """Return what a file holds, as its own class."""
    with open(path, "rb") as stream:
        try:
            header, reader = container.opened(stream, FORMATS)
            result = _known(header)._unpack(header["fields"], reader)
            reader.refuse_unused()
            return result
        except InputError:
            raise
        except CausalifError as error:
            raise InputError(f"{os.fspath(path)!r} is not a sound file of a result: {error}") from error
        except _DAMAGE as error:
            raise InputError(
                f"{os.fspath(path)!r} is damaged or was not written by `save` ({type(error).__name__}: {error}). "
                "Restore it from a copy, or fit again."
            ) from error


def read_as(path: str | PathLike[str], kind: type[T]) -> T:
    """Return what a file holds, which must be of this class or descend from it."""
    found = read(path)
    if not isinstance(found, kind):
        raise InputError(
            f"{os.fspath(path)!r} holds a {type(found).__name__}, no {kind.__name__}. Read it with causalif.load."
        )
    return found


def _name(kind: type) -> str:
    """Return the name of the first class of the table among a class and its ancestors."""
    for base in kind.__mro__:
        if CLASSES.get(base.__name__) == base.__module__:
            return base.__name__
    raise InputError(f"A {kind.__name__} cannot be saved; these can: {', '.join(CLASSES)}.")


def _known(header: Fields) -> type[Storable]:
    name = header["class"]
    if name not in CLASSES:
        raise InputError(
            f"The file holds a {name!r}, which this version does not know. Load it with the version of causalif that "
            "wrote it, or a later one."
        )
    if header["format"] != FORMATS[name != PLAIN]:
        raise InputError(f"The file holds a {name!r} in format {header['format']}, which `save` never writes.")
    return _class(name)


def _class(name: str) -> Any:
    return cast(type[Storable], getattr(importlib.import_module(CLASSES[name]), name))


def _versions() -> dict[str, str]:
    return {"numpy": np.__version__, "pandas": pd.__version__, "scipy": scipy.__version__}
