"""The compiled pass over tiles of Gaussian kernels, where it was built and this processor can run it."""

from __future__ import annotations

import ctypes
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
TOLERANCE = 1e-6  # relative; what is not a rounding error is far above it


@cache
def gaussian_sums() -> Pass | None:
    """Return the compiled pass, or None; it is trusted once it agrees with numpy."""
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError:
        return None
    lanes = library.gaussian_lanes()
    found = with_lanes(library, lanes)
    return found if lanes > 0 and _agrees(found) else None


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
    """Whether a small tile gives what numpy gives; warn otherwise."""
    exponents = -np.linspace(0, 130, 3 * 80, dtype=np.float32).reshape(1, 3, 80)
    right, left = np.ones((1, 80, 1), dtype=np.float32), np.ones((3, 1), dtype=np.float32)
    values = np.exp2(exponents[0].astype(np.float64))
    near = [
        np.allclose(ours[:, 0], numpy, rtol=TOLERANCE, atol=1e-30)
        for ours, numpy in zip(found(exponents, right, left), (values.sum(axis=1), values.sum(axis=0)), strict=True)
    ]
    if not all(near):
        tell(
            f"The compiled kernel sums in {LIBRARY} differ from numpy's on this machine and are not used. "
            "Install causalif anew, so that they are compiled again.",
            DataWarning,
        )
    return all(near)
