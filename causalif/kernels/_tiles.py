"""One tile of a kernel matrix: its product in panels, the kernel's profile and the sums, all while it is in cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from causalif._validate import Array
from causalif.kernels._compiled import Pass
from causalif.kernels._inputs import thread_pools
from causalif.kernels._points import TILE, spans
from causalif.kernels.base import Gaussian, RadialKernel

Rows: TypeAlias = Sequence[npt.NDArray[Any]]

LINE = 64  # bytes of a cache line
# A tile is stored in panels, each a few columns wide and as long as the tile, whose products are taken one by one.
PANEL, STEP = 256, 16  # columns; widths are in steps of one vector register
# Where OpenBLAS multiplies small matrices without copying them first, panels are narrow and filled in blocks of rows:
# on these processors, up to this many multiplications, in panels of 64 columns, or of all where there are few, and as
# many rows as then fit.
SMALL_PRODUCTS = frozenset({"SkylakeX", "Cooperlake", "SapphireRapids"})
SMALL, NARROW, WIDEST, HEIGHTS = 10**6, 64, 240, (64, 32, 16)
# Terms that are added up in float32 before float64 takes over: where many are equal, errors have one sign and grow.
GROUP = 64
# Squared distances under this share of the squared norms are taken anew from differences: for kernels with a kink, and
# in float64 for all.
NEAR = 1e-9
PAIRS_AT_ONCE = 2**20


@cache
def _vectorised_exp2() -> bool:
    """Whether this numpy, on this processor, has more than the C library's loop for exp2 in float32."""
    from numpy.lib import introspect

    found = introspect.opt_func_info(func_name="^exp2$", signature="float32").get("exp2", {})
    return not next(iter(found.values()), {"current": "baseline"})["current"].startswith("baseline")


def _exp2_by_exp(x: npt.NDArray[Any], out: npt.NDArray[Any]) -> npt.NDArray[Any]:
    np.multiply(x, np.log(2.0).astype(x.dtype), out=out)
    return np.exp(out, out=out)


def functions() -> Any:
    """Return numpy's functions, exp2 replaced by exp where only the latter is vectorised."""
    if _vectorised_exp2():
        return np
    names = ("abs", "add", "multiply", "reciprocal", "sqrt", "square")
    return SimpleNamespace(**{name: getattr(np, name) for name in names}, exp2=_exp2_by_exp)


def has_small_products() -> bool:
    """Whether numpy multiplies by an OpenBLAS with kernels for small matrices."""
    pools = thread_pools().select(internal_api="openblas").lib_controllers
    return any(getattr(pool, "architecture", None) in SMALL_PRODUCTS for pool in pools)


@dataclass(frozen=True, eq=False)
class Panels:
    """The right side of a tile, its rows as columns, with their weights.

    Parameters
    ----------
    rows : list of ndarray of shape (count, depth, width), one per factor
        [y, 1, -|y|²/2], one row a column.
    weights : ndarray of shape (count, width, k)
        Zero beyond the last row.
    size : int
        Number of rows.
    height : int
        Rows of the left side in one product; 0 for all.
    norms : bool
        Whether the rows hold the norms.
    """

    rows: list[npt.NDArray[Any]]
    weights: npt.NDArray[Any]
    size: int
    height: int
    norms: bool = True

    @classmethod
    def of(cls, rows: Rows, weights: npt.NDArray[Any], small: bool) -> Panels:
        """Turn rows [y, -|y|²/2, 1]; ``small`` says whether small products are fast."""
        m, depth = len(rows[0]), max(part.shape[1] for part in rows)
        width = _stepped(m) if _stepped(m) <= WIDEST else NARROW
        fitting = (height for height in HEIGHTS if small and height * width * depth <= SMALL)
        height = next(fitting, 0)
        if height == 0:
            width = _stepped(-(-m // -(-m // PANEL)))
        count = -(-m // width)
        filled = np.zeros((count * width, weights.shape[1]), dtype=weights.dtype)
        filled[:m] = weights
        return cls([_turned(part, width) for part in rows], filled.reshape(count, width, -1), m, height)

    def without_norms(self) -> Panels:
        """Leave the norms out of the product."""
        return replace(self, rows=[part[:, :-2] for part in self.rows], norms=False)

    def halves(self) -> Iterator[tuple[int, Panels]]:
        """Yield two runs of panels, each with the number of rows before it; one if there is but one panel."""
        count, width, _ = self.weights.shape
        for part in spans(count, -(-count // 2)):
            start, rows = part.start * width, [x[part] for x in self.rows]
            size = min(self.size, part.stop * width) - start
            yield start, replace(self, rows=rows, weights=self.weights[part], size=size)


def _stepped(m: int) -> int:
    return -(-m // STEP) * STEP


def _turned(rows: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    """Return [y, 1, -|y|²/2], one row a column, in panels of ``width`` columns; the last is filled up with zeros."""
    n, d = len(rows), rows.shape[1] - 2
    right = _aligned((-(-n // width), d + 2, width), rows.dtype)
    for panel, part in zip(right, spans(n, width), strict=True):
        filled = part.stop - part.start
        panel[:d, :filled] = rows[part, :d].T
        panel[d] = 1.0
        panel[d + 1, :filled] = rows[part, d]
        panel[:, filled:] = 0.0
    return right


def _aligned(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an empty array that starts at a cache line: vectors that cross lines cost the product a sixth."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape))
    room = np.empty(size + LINE // dtype.itemsize, dtype=dtype)
    skipped = -room.ctypes.data % LINE // dtype.itemsize
    return room[skipped : skipped + size].reshape(shape)


class Workspace:
    """Buffers for one tile; each task has its own. ``compiled`` is the pass for tiles of one Gaussian in float32."""

    def __init__(
        self, kernels: Sequence[RadialKernel], dtype: npt.DTypeLike, xp: Any, compiled: Pass | None = None
    ) -> None:
        self.kernels, self.xp = kernels, xp
        count = len(kernels) + max(kernel.buffers for kernel in kernels)
        self.flat = _aligned((count, TILE * TILE), dtype)
        gaussian = len(kernels) == 1 and isinstance(kernels[0], Gaussian)
        self.compiled = compiled if gaussian and self.flat.dtype == np.float32 else None

    def sums(
        self, left: Rows, right: Panels, weights: npt.NDArray[Any], columns: bool, start: int | None = None
    ) -> tuple[Array, Array]:
        """Return row sums and column sums of the kernel between rows, which have ``weights``, and panels.

        The latter may be zeros unless ``columns`` says so. With ``start``, the number of the first column, what lies on
        and below the diagonal is left out.
        """
        single = (weights.shape[1], right.weights.shape[2]) == (1, 1)
        if self.compiled is not None and single and start is None:
            tile = self._tiles(left, right)[0]
            _multiply(left[0], right.rows[0], tile, right.height)
            across, along = self.compiled(tile, right.weights, weights)
            return across, along[: right.size]
        tile = self.values(left, right)
        if start is not None:
            keep_upper(tile, start)
        across, along = row_totals(tile, right.weights), np.zeros((right.size, weights.shape[1]))
        return across, column_totals(tile, weights, right.size) if columns else along

    def _tiles(self, left: Rows, right: Panels) -> npt.NDArray[Any]:
        """Return room for one tile a kernel and what they work in."""
        count, _, width = right.rows[0].shape
        return self.flat[:, : len(left[0]) * count * width].reshape(len(self.flat), count, -1, width)

    def values(self, left: Rows, right: Panels) -> npt.NDArray[Any]:
        """Return the kernel between rows and panels, in a buffer that the next call overwrites.

        Its shape is (count, n, width); what lies beyond the last row of the right side is finite and means nothing.
        """
        tiles = self._tiles(left, right)
        own = tiles[: len(self.kernels)]
        for kernel, tile, a, b in zip(self.kernels, own, left, right.rows, strict=True):
            _multiply(a, b, tile, right.height)
            # float64 tiles may hold rows so far out that the exponent of a pair of copies is a large number, not zero.
            if kernel.rough or (right.norms and tile.dtype == np.float64):
                _take_near_pairs_anew(tile, a, b, right.size)
            kernel.profile(self.xp, tile, list(tiles[len(self.kernels) :]))
        for other in own[1:]:
            np.multiply(own[0], other, out=own[0])
        values: npt.NDArray[Any] = own[0]
        return values


def _multiply(a: npt.NDArray[Any], panels: npt.NDArray[Any], out: npt.NDArray[Any], height: int) -> None:
    """Fill ``out`` with the product of rows and panels, in blocks of ``height`` rows."""
    (n, depth), (count, _, width) = a.shape, panels.shape
    whole = n // height * height if height else 0
    for part, rows in ((slice(0, whole), height), (slice(whole, n), n - whole)):
        if part.start < part.stop:
            blocks = out[:, part].reshape(count, -1, rows, width)
            np.matmul(a[part].reshape(-1, rows, depth), panels[:, None], out=blocks)


def _take_near_pairs_anew(e: Array, left: Array, right: Array, m: int) -> None:
    """Replace the exponents of near duplicates by sums of squared differences, which cancel nothing."""
    lightest = left[:, -2].min() + right[:, -1].min()
    panel, row, column = np.nonzero(e > NEAR * lightest)
    near = e[panel, row, column] > NEAR * (left[row, -2] + right[panel, -1, column])
    near &= panel * e.shape[2] + column < m
    panel, row, column = panel[near], row[near], column[near]
    for part in spans(len(row), max(1, PAIRS_AT_ONCE // left.shape[1])):
        c, i, j = panel[part], row[part], column[part]
        gap = left[i, :-2] - right[c, :-2, j]
        e[c, i, j] = np.einsum("ij,ij->i", gap, gap) * -0.5


def keep_upper(tile: npt.NDArray[Any], start: int) -> None:
    """Put zeros on and below the diagonal; the first column has the number ``start``."""
    for panel in tile:
        stop = start + tile.shape[2]
        corner = panel[start:stop]
        np.copyto(corner, 0.0, where=_below(len(corner), tile.shape[2]))
        panel[stop:] = 0.0
        start = stop


@lru_cache(maxsize=8)
def _below(n: int, width: int) -> npt.NDArray[np.bool_]:
    """Return where the column has no larger number than the row."""
    mask = np.tri(n, width, dtype=bool)
    mask.flags.writeable = False
    return mask


def row_totals(tile: npt.NDArray[Any], weights: npt.NDArray[Any]) -> Array:
    """Return the weighted sum of every row; groups of terms are added up in the type of the tile."""
    total: Array = np.zeros((tile.shape[1], weights.shape[2]))
    for part in spans(tile.shape[2], GROUP):
        total += np.add.reduce(np.matmul(tile[:, :, part], weights[:, part]), axis=0, dtype=np.float64)
    return total


def column_totals(tile: npt.NDArray[Any], weights: npt.NDArray[Any], m: int) -> Array:
    """Return the weighted sums of the first ``m`` columns; groups of terms are added up in the type of the tile."""
    (count, n, width), k = tile.shape, weights.shape[1]
    whole, total = n // GROUP * GROUP, np.zeros((count, width, k))
    for part, rows in ((slice(0, whole), GROUP), (slice(whole, n), n - whole)):
        if part.start < part.stop:
            groups = tile[:, part].reshape(count, -1, rows, width).swapaxes(2, 3)
            total += np.add.reduce(groups @ weights[part].reshape(-1, rows, k), axis=1, dtype=np.float64)
    return total.reshape(count * width, k)[:m]
