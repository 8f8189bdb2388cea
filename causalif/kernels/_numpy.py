"""Kernel sums on the processor: tiles that stay in cache, one BLAS thread per tile, sums added in a fixed order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from causalif._validate import Array
from causalif.kernels._points import CHUNK, TILE, Points, needs_float64, right_form, spans
from causalif.kernels.base import RadialKernel

Rows: TypeAlias = Sequence[npt.NDArray[Any]]
Pair: TypeAlias = tuple[slice, slice]

# Rows that are added up in float32 before float64 takes over, where BLAS adds one row after the other.
GROUP = 64
# Squared distances under this share of the squared norms are taken anew from differences, for kernels with a kink.
NEAR = 1e-9
PAIRS_AT_ONCE = 2**20
SECONDS_BEFORE_A_BAR = 2.0


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


class Workspace:
    """Buffers for one tile; each task has its own."""

    def __init__(self, kernels: Sequence[RadialKernel], dtype: npt.DTypeLike, xp: Any) -> None:
        self.kernels, self.xp = kernels, xp
        count = len(kernels) + max(kernel.buffers for kernel in kernels)
        self.flat = np.empty((count, TILE * TILE), dtype=dtype)

    def values(self, left: Rows, right: Rows) -> npt.NDArray[Any]:
        """Return the kernel between rows and right forms, in a buffer that the next call overwrites."""
        n, m = len(left[0]), len(right[0])
        tiles = self.flat[:, : n * m].reshape(-1, n, m)
        products = tiles[: len(self.kernels)]
        for kernel, tile, a, b in zip(self.kernels, products, left, right, strict=True):
            np.matmul(a, b.T, out=tile)
            if kernel.rough:
                _take_near_pairs_anew(tile, a, b)
            kernel.profile(self.xp, tile, tiles[len(self.kernels) :])
        for other in products[1:]:
            np.multiply(products[0], other, out=products[0])
        return products[0]


def _take_near_pairs_anew(e: Array, left: Array, right: Array) -> None:
    """Replace the exponents of near duplicates by sums of squared differences, which cancel nothing."""
    heavy = -left[:, -2].min() - right[:, -1].min()
    first, second = np.nonzero(e > -NEAR * heavy)
    size = max(1, PAIRS_AT_ONCE // left.shape[1])
    for part in spans(len(first), size):
        i, j = first[part], second[part]
        gap = left[i, :-2] - right[j, :-2]
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
        kernels = [factor.kernel for factor in a.factors]
        narrow = a.rows[0].dtype == np.float32
        space, wide = Workspace(kernels, a.rows[0].dtype, self.xp), None
        rows = np.zeros((i.stop - i.start, self.right.weights.shape[1]))
        columns = np.zeros((j.stop - j.start, self.left.weights.shape[1]))
        turned = [right_form(part[j]) for part in b.rows]
        for q in spans(len(columns), TILE):
            right, w_right = [part[q] for part in turned], self.right.single[j][q]
            for p in spans(len(rows), TILE):
                here, there = i.start + p.start, j.start + q.start
                if self.symmetric and here > there:
                    continue
                if narrow and needs_float64(a.factors, a.norms, here // TILE, b.norms, there // TILE):
                    wide = wide or Workspace(kernels, np.float64, self.xp)
                    tile, w_left, w = self._wide(wide, slice(here, i.start + p.stop), slice(there, j.start + q.stop))
                else:
                    tile, w_left, w = space.values([x[i][p] for x in a.rows], right), self.left.single[i][p], w_right
                if self.symmetric and here == there:
                    np.fill_diagonal(tile, 0.0)
                rows[p] += row_totals(tile, w)
                if self.columns and not (self.symmetric and here == there):
                    columns[q] += row_totals(tile.T, w_left)
        return rows, columns

    def _wide(self, space: Workspace, p: slice, q: slice) -> tuple[Array, Array, Array]:
        """Evaluate one tile in float64, from the rows as they were given."""
        left, right = self.left.points.exact(p), [right_form(part) for part in self.right.points.exact(q)]
        return space.values(left, right), self.left.weights[p], self.right.weights[q]


def row_totals(tile: npt.NDArray[Any], weights: npt.NDArray[Any]) -> Array:
    """Return tile @ weights, groups of terms added in the type of the tile and the sums of groups in float64."""
    whole = len(weights) // GROUP * GROUP
    grouped = tile[:, :whole].reshape(len(tile), -1, GROUP).transpose(1, 0, 2)
    total: Array = np.matmul(grouped, weights[:whole].reshape(-1, GROUP, weights.shape[1])).sum(axis=0, dtype=np.float64)
    return total + tile[:, whole:] @ weights[whole:]


def sums(left: Side, right: Side, *, symmetric: bool, columns: bool, threads: int, progress: bool) -> list[Array]:
    """Return row sums and column sums, each in the order of the caller's rows.

    The sums of every pair of chunks are added in one order whatever the number of threads, so that no digit of the
    result depends on it.
    """
    job = Job(left, right, symmetric, columns or symmetric, functions())
    rows = np.zeros((len(left.points), right.weights.shape[1]))
    down = rows if symmetric else np.zeros((len(right.points), left.weights.shape[1]))
    pairs = list(job.pairs())
    with ThreadpoolController().limit(limits=1, user_api="blas"):
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
    ThreadpoolController().select(user_api="openmp").limit(limits=1)


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
    space = Workspace([factor.kernel for factor in left.factors], np.float64, functions())
    out = np.empty((len(left), len(right)))
    turned = [right_form(part) for part in right.rows]
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        for p in spans(len(left), TILE):
            for q in spans(len(right), TILE):
                out[p, q] = space.values([part[p] for part in left.rows], [part[q] for part in turned])
    return out
