"""The compiled pass over tiles of Gaussian kernels, where it was built and this processor can run it."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from causalif._errors import DataWarning, tell
from causalif._validate import Array

# From exponents (count, n, width) and the weights of either side, (count, width, 1) and (n, 1), all in float32, to row
# and column sums.
Pass: TypeAlias = Callable[[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]], tuple[Array, Array]]

Memory = ctypes.c_char * 0  # its `from_buffer` refuses arrays with gaps, and costs a third of `ndarray.ctypes`
LIBRARY = Path(__file__).with_name("_gaussian.so")
SOURCES = ("_gaussian.c", "_gaussian_sums.h")
TOLERANCE = 1e-6  # relative; what is not a rounding error is far above it


@cache
def gaussian_sums() -> Pass | None:
    """Return the compiled pass, or None; it is trusted once it says what it was made from and agrees with numpy."""
    try:
        library = ctypes.CDLL(str(LIBRARY))
        library.gaussian_source.restype = ctypes.c_char_p
        if library.gaussian_source() != fingerprint(LIBRARY.parent).encode():
            raise AttributeError("compiled from other sources")
    except OSError:
        return None  # nothing was compiled, or for another processor
    except AttributeError:
        _tell_unused("was compiled from other sources than the ones beside it")
        return None
    lanes = library.gaussian_lanes()
    if lanes == 0:
        return None
    found = with_lanes(library, lanes)
    if not _agrees(found):
        _tell_unused("differs from numpy on this machine")
        return None
    return found


def fingerprint(folder: Path) -> str:
    """Return what stands for the sources in a folder: `hatch_build.py` compiles it in."""
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in SOURCES)).hexdigest()


def _tell_unused(reason: str) -> None:
    tell(
        f"{LIBRARY} {reason}, and numpy is used in its place. Install causalif anew, so that it is compiled again.",
        DataWarning,
    )


def with_lanes(library: ctypes.CDLL, lanes: int) -> Pass:
    """Return the pass that works on vectors of ``lanes`` floats."""
    run = library.gaussian_sums
    run.argtypes = [ctypes.c_int, ctypes.c_void_p, *[ctypes.c_size_t] * 3, *[ctypes.c_void_p] * 4]
    run.restype = None

    def found(tile: npt.NDArray[Any], right: npt.NDArray[Any], left: npt.NDArray[Any]) -> tuple[Array, Array]:
        count, n, width = tile.shape
        rows, columns = np.zeros((n, 1)), np.zeros((count * width, 1))
        arrays: tuple[Any, ...] = tile, right, left, rows, columns
        memory = [Memory.from_buffer(x) for x in arrays]
        run(lanes, memory[0], count, n, width, *memory[1:])
        return rows, columns

    return found


def _agrees(found: Pass) -> bool:
    """Whether some panels, longer and wider than what is added up at once, give what numpy gives."""
    rng = np.random.default_rng(0)
    exponents = rng.uniform(-20, 8, (9, 70, 80)).astype(np.float32)
    exponents[:, ::7] = -np.linspace(100, 200, 80, dtype=np.float32)
    right, left = (rng.uniform(0.5, 1.5, shape).astype(np.float32) for shape in ((9, 80, 1), (70, 1)))
    values = np.exp2(exponents.astype(np.float64))
    expected = (values @ right).sum(axis=0), values.swapaxes(1, 2) @ left
    pairs = zip(found(exponents, right, left), expected, strict=True)
    return all(np.allclose(ours.ravel(), numpy.ravel(), rtol=TOLERANCE, atol=1e-30) for ours, numpy in pairs)
