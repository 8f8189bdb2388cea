"""Kernel sums on the processor: tiles that stay in cache, one BLAS thread per tile, sums added in a fixed order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice, product
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from causalif._validate import Array
from causalif.kernels._inputs import thread_pools
from causalif.kernels._points import CHUNK, TILE, Points, aligned, far_tiles, right_form, spans
from causalif.kernels.base import RadialKernel

Rows: TypeAlias = Sequence[npt.NDArray[Any]]
Pair: TypeAlias = tuple[slice, slice]

# Rows that are added up in float32 before float64 takes over, where BLAS adds one row after the other.
GROUP = 128
# Squared distances under this share of the squared norms are taken anew from differences, for kernels with a kink.
NEAR = 1e-9
PAIRS_AT_ONCE = 2**20
SECONDS_BEFORE_A_BAR = 2.0
# Where OpenBLAS multiplies small matrices without copying them first, a tile is filled block by block: on these
# processors, up to this many multiplications, in blocks of 64 columns, or of all where there are few (in steps of one
# vector register), and as many rows as then fit.
SMALL_PRODUCTS = frozenset({"SkylakeX", "Cooperlake", "SapphireRapids"})
SMALL, WIDTH, WIDEST, STEP, HEIGHTS = 10**6, 64, 240, 16, (64, 32, 16)


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


def _has_small_products() -> bool:
    """Whether numpy multiplies by an OpenBLAS with kernels for small matrices."""
    pools = thread_pools().select(internal_api="openblas").lib_controllers
    return any(getattr(pool, "architecture", None) in SMALL_PRODUCTS for pool in pools)


class Workspace:
    """Buffers for one tile; each task has its own."""

    def __init__(self, kernels: Sequence[RadialKernel], dtype: npt.DTypeLike, xp: Any, small: bool) -> None:
        self.kernels, self.xp, self.small = kernels, xp, small
        count = len(kernels) + max(kernel.buffers for kernel in kernels)
        self.flat = aligned((count, TILE * TILE), dtype)

    def turned(self, rows: Rows) -> list[npt.NDArray[Any]]:
        """Return right forms, in panels as wide as the products that are taken with them."""
        width = -(-len(rows[0]) // STEP) * STEP
        width = width if width <= WIDEST else WIDTH
        small = self._height(max(part.shape[1] for part in rows), width)
        return [right_form(part, width if small else len(part)) for part in rows]

    def _height(self, depth: int, width: int) -> int:
        """Return the rows of a small block, 0 where one product fills the tile."""
        fitting = (height for height in HEIGHTS if height * width * depth <= SMALL)
        return next(fitting, 0) if self.small else 0

    def values(self, left: Rows, right: Rows, m: int) -> npt.NDArray[Any]:
        """Return the kernel between rows and right forms of ``m`` rows, in a buffer that the next call overwrites."""
        n = len(left[0])
        height = self._height(max(part.shape[1] for part in left), right[0].shape[2])
        tiles = self.flat[:, : n * right[0].shape[0] * right[0].shape[2]].reshape(len(self.flat), n, -1)
        own = tiles[: len(self.kernels)]
        for kernel, tile, a, b in zip(self.kernels, own, left, right, strict=True):
            _multiply(a, b, tile, height)
            if kernel.rough:
                _take_near_pairs_anew(tile[:, :m], a, b)
            kernel.profile(self.xp, tile, list(tiles[len(self.kernels) :]))
        for other in own[1:]:
            np.multiply(own[0], other, out=own[0])
        return own[0][:, :m]


def _multiply(a: npt.NDArray[Any], panels: npt.NDArray[Any], out: npt.NDArray[Any], height: int) -> None:
    """Fill ``out`` with the product of rows and panels, in blocks of ``height`` rows."""
    (n, depth), (count, _, width) = a.shape, panels.shape
    whole = n // height * height if height else 0
    for part, rows in ((slice(0, whole), height), (slice(whole, n), n - whole)):
        if part.start < part.stop:
            blocks = out[part].reshape(-1, rows, count, width).transpose(2, 0, 1, 3)
            np.matmul(a[part].reshape(-1, rows, depth), panels[:, None], out=blocks)


def _take_near_pairs_anew(e: Array, left: Array, right: Array) -> None:
    """Replace the exponents of near duplicates by sums of squared differences, which cancel nothing."""
    heavy = -left[:, -2].min() - right[:, -1].min()
    first, second = np.nonzero(e > -NEAR * heavy)
    size, width = max(1, PAIRS_AT_ONCE // left.shape[1]), right.shape[2]
    for part in spans(len(first), size):
        i, j = first[part], second[part]
        gap = left[i, :-2] - right[j // width, :-2, j % width]
        e[i, j] = np.einsum("ij,ij->i", gap, gap) * -0.5


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a product with the weights of its rows.

    Parameters
    ----------
    points : Points
        The rows.
    weights : ndarray of shape (n, k)
        In the order of the points, each column divided by its largest size.
    scale : ndarray of shape (k,)
        These largest sizes.
    single : ndarray of shape (n, k)
        The weights in the type of the tiles.
    """

    points: Points
    weights: Array
    scale: Array
    single: npt.NDArray[Any]

    @classmethod
    def of(cls, points: Points, weights: Array | None) -> Side:
        """Order and scale weights of shape (n, k); None stands for ones."""
        if weights is None:
            weights = np.ones((len(points), 1))
        scale = np.abs(weights).max(axis=0, initial=0.0)
        scale = np.where(scale > 0, scale, 1.0)
        ordered = weights[points.order] / scale
        return cls(points, ordered, scale, ordered.astype(points.rows[0].dtype))

    def put_back(self, sums: Array, scale: Array) -> Array:
        """Return sums in the order of the caller's rows, times the scale of the other side's weights."""
        back = np.empty_like(sums)
        back[self.points.order] = sums * scale
        return back


@dataclass(frozen=True, eq=False)
class Job:
    """Two sides, and whether they are the same rows, each pair then being looked at once."""

    left: Side
    right: Side
    symmetric: bool
    columns: bool
    xp: Any
    small: bool

    def pairs(self) -> Iterator[Pair]:
        """Pairs of chunks in the order in which their sums are added."""
        for i in spans(len(self.left.points), CHUNK):
            for j in spans(len(self.right.points), CHUNK):
                if not self.symmetric or j.start >= i.start:
                    yield i, j

    def run(self, pair: Pair) -> tuple[Array, Array]:
        """Return the sums over the columns of each row and over the rows of each column of a pair of chunks."""
        i, j = pair
        a, b = self.left.points, self.right.points
        dtype, kernels = a.rows[0].dtype, [factor.kernel for factor in a.factors]
        space, wide = Workspace(kernels, dtype, self.xp, self.small), None
        rows = np.zeros((i.stop - i.start, self.right.weights.shape[1]))
        columns = np.zeros((j.stop - j.start, self.left.weights.shape[1]))
        left, w_left, w_right = [part[i] for part in a.rows], self.left.single[i], self.right.single[j]
        right, turned = [], None
        for p, q, far in self._tiles(i, j):
            if q != turned:
                right, turned = space.turned([part[j][q] for part in b.rows]), q
            if far:
                wide = wide or Workspace(kernels, np.float64, self.xp, self.small)
                tile, *w = self._wide(wide, _moved(p, i), _moved(q, j))
            else:
                tile, *w = space.values([x[p] for x in left], right, q.stop - q.start), w_left[p], w_right[q]
            on_diagonal = self.symmetric and i == j and p == q
            if on_diagonal:
                np.fill_diagonal(tile, 0.0)
            rows[p] += row_totals(tile, w[1])
            if self.columns and not on_diagonal:
                columns[q] += row_totals(tile.T, w[0])
        return rows, columns

    def _tiles(self, i: slice, j: slice) -> Iterator[tuple[slice, slice, bool]]:
        """Pairs of tiles of a pair of chunks, within them, and whether float32 is too short for them."""
        a, b = self.left.points, self.right.points
        p, q = list(spans(i.stop - i.start, TILE)), list(spans(j.stop - j.start, TILE))
        far = np.zeros((len(p), len(q)), dtype=bool)
        if a.rows[0].dtype == np.float32:
            first, second = i.start // TILE, j.start // TILE
            there = range(second, second + len(q))
            far = far_tiles(a.factors, a.norms, range(first, first + len(p)), b.norms, there)
        for column, row in product(range(len(q)), range(len(p))):
            if not (self.symmetric and i == j and row > column):
                yield p[row], q[column], bool(far[row, column])

    def _wide(self, space: Workspace, p: slice, q: slice) -> tuple[Array, Array, Array]:
        """Evaluate one tile in float64, from the rows as they were given."""
        left, right = self.left.points.exact(p), space.turned(self.right.points.exact(q))
        return space.values(left, right, q.stop - q.start), self.left.weights[p], self.right.weights[q]


def _moved(part: slice, whole: slice) -> slice:
    """Return where a part of a run of rows lies among all rows."""
    return slice(whole.start + part.start, whole.start + part.stop)


def row_totals(tile: npt.NDArray[Any], weights: npt.NDArray[Any]) -> Array:
    """Return tile @ weights, groups of terms added in the type of the tile and the sums of groups in float64."""
    whole = len(weights) // GROUP * GROUP
    grouped = tile[:, :whole].reshape(len(tile), -1, GROUP).transpose(1, 0, 2)
    parts = np.matmul(grouped, weights[:whole].reshape(-1, GROUP, weights.shape[1]))
    total: Array = np.add.reduce(parts, axis=0, dtype=np.float64)
    return total if whole == len(weights) else total + tile[:, whole:] @ weights[whole:]


def sums(left: Side, right: Side, *, symmetric: bool, columns: bool, threads: int, progress: bool) -> list[Array]:
    """Return row sums and column sums, each in the order of the caller's rows.

    The sums of every pair of chunks are added in one order whatever the number of threads, so that no digit of the
    result depends on it.
    """
    job = Job(left, right, symmetric, columns or symmetric, functions(), _has_small_products())
    rows = np.zeros((len(left.points), right.weights.shape[1]))
    down = rows if symmetric else np.zeros((len(right.points), left.weights.shape[1]))
    pairs = list(job.pairs())
    with thread_pools().limit(limits=1, user_api="blas"):
        # Closing stops the threads at once where an interrupt falls between two results.
        with closing(in_order(job.run, pairs, min(threads, len(pairs)))) as results:
            for (i, j), (across, along) in with_bar(zip(pairs, results, strict=True), len(pairs), progress):
                rows[i] += across
                if job.columns:
                    down[j] += along
    return [left.put_back(rows, right.scale), right.put_back(down, left.scale)]


def in_order(run: Callable[[Any], Any], tasks: Sequence[Any], threads: int) -> Generator[Any, None, None]:
    """Yield the results in the order of the tasks; no more than a few wait, and none runs on after an interrupt."""
    if threads <= 1:
        yield from map(run, tasks)
        return
    pool = ThreadPoolExecutor(threads, initializer=_one_blas_thread)
    waiting: deque[Future[Any]] = deque()
    try:
        coming = iter(tasks)
        waiting.extend(pool.submit(run, task) for task in islice(coming, 3 * threads))
        for task in chain(coming, [None] * len(waiting)):
            done = waiting.popleft().result()
            if task is not None:
                waiting.append(pool.submit(run, task))
            yield done
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one_blas_thread() -> None:
    """Limit this thread too: OpenMP counts per thread. The limit ends with the thread."""
    thread_pools().select(user_api="openmp").limit(limits=1)


def with_bar(items: Iterable[Any], total: int, wanted: bool) -> Iterable[Any]:
    """Wrap in a progress bar where tqdm is installed, the work is long and stderr is a terminal."""
    if not wanted:
        return items
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    bar: Iterable[Any] = tqdm(
        items, desc="kernel sums", total=total, disable=None, leave=False, delay=SECONDS_BEFORE_A_BAR
    )
    return bar


def dense(left: Points, right: Points) -> Array:
    """Return the kernel between all rows, tile by tile, in the order of the caller's rows."""
    space = Workspace([factor.kernel for factor in left.factors], np.float64, functions(), _has_small_products())
    out = np.empty((len(left), len(right)))
    with thread_pools().limit(limits=1, user_api="blas"):
        for q in spans(len(right), TILE):
            turned = space.turned([part[q] for part in right.rows])
            for p in spans(len(left), TILE):
                out[p, q] = space.values([part[p] for part in left.rows], turned, q.stop - q.start)
    return out
