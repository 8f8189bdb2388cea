"""Kernel sums on the processor: tiles that stay in cache, one BLAS thread per tile, sums added in a fixed order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, islice, product
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from causalif._validate import Array
from causalif.kernels._compiled import Pass, gaussian_sums
from causalif.kernels._inputs import thread_pools
from causalif.kernels._points import CHUNK, TILE, Points, all_light, far_tiles, spans
from causalif.kernels._tiles import (
    Panels,
    Workspace,
    functions,
    has_small_products,
)
from causalif.kernels.base import Gaussian

Pair: TypeAlias = tuple[slice, slice]

SECONDS_BEFORE_A_BAR = 2.0


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
        The weights in the type of the tiles, times `decay`.
    decay : ndarray of shape (n, 1), optional
        2^(-|x|²/2), where it is left out of the tiles.
    """

    points: Points
    weights: Array
    scale: Array
    single: npt.NDArray[Any]
    decay: Array | None

    @classmethod
    def of(cls, points: Points, weights: Array | None, apart: bool) -> Side:
        """Order and scale weights of shape (n, k), None stands for ones; ``apart`` leaves the norms out of tiles."""
        if weights is None:
            weights = np.ones((len(points), 1))
        scale = np.abs(weights).max(axis=0, initial=0.0)
        scale = np.where(scale > 0, scale, 1.0)
        ordered = weights[points.order] / scale
        decay = np.exp2(-points.norms.values.T) if apart else None
        single = ordered if decay is None else ordered * decay
        return cls(points, ordered, scale, single.astype(points.rows[0].dtype), decay)

    def left(self, part: slice) -> list[npt.NDArray[Any]]:
        """Return rows for the left of a product."""
        depth = slice(None) if self.decay is None else slice(-2)
        return [rows[part, depth] for rows in self.points.rows]

    def right(self, start: int, small: bool) -> list[Panels]:
        """Return the tiles of a chunk for the right of a product."""
        chunk = slice(start, start + CHUNK)
        rows, weights = [part[chunk] for part in self.points.rows], self.single[chunk]
        tiles = [Panels.of([x[q] for x in rows], weights[q], small) for q in spans(len(weights), TILE)]
        return tiles if self.decay is None else [tile.without_norms() for tile in tiles]

    def put_back(self, sums: Array, scale: Array) -> Array:
        """Return sums in the order of the caller's rows, times the scale of the other side's weights."""
        back = np.empty_like(sums)
        back[self.points.order] = sums * scale if self.decay is None else sums * scale * self.decay
        return back


def norms_stay_apart(left: Points, right: Points) -> bool:
    """Whether 2^(x·y - |x|²/2 - |y|²/2) may be taken as three factors: the tile's, and two that go into the sums."""
    if len(left.factors) > 1 or not isinstance(left.factors[0].kernel, Gaussian):
        return False
    return all(all_light(side.norms.values, side.factors) for side in (left, right))


@dataclass(frozen=True, eq=False)
class Job:
    """Two sides, and whether they are the same rows, each pair then being looked at once.

    Parameters
    ----------
    left, right : Side
        The sides.
    symmetric, columns : bool
        Whether they are the same rows; whether column sums are wanted.
    xp : object
        Functions of arrays.
    small : bool
        Whether small products are fast.
    compiled : callable, optional
        The pass for Gaussian tiles, where it is to be used.
    panels : callable
        Returns the tiles of the right side's chunk that starts at a row.
    """

    left: Side
    right: Side
    symmetric: bool
    columns: bool
    xp: Any
    small: bool
    compiled: Pass | None
    panels: Callable[[int], list[Panels]]

    def pairs(self) -> Iterator[Pair]:
        """Pairs of chunks in the order in which their sums are added."""
        for j in spans(len(self.right.points), CHUNK):
            for i in spans(len(self.left.points), CHUNK):
                if not self.symmetric or j.start >= i.start:
                    yield i, j

    def run(self, pair: Pair) -> tuple[Array, Array]:
        """Return the sums over the columns of each row and over the rows of each column of a pair of chunks."""
        i, j = pair
        kernels = [factor.kernel for factor in self.left.points.factors]
        space, wide = Workspace(kernels, self.left.points.rows[0].dtype, self.xp, self.compiled), None
        rows = np.zeros((i.stop - i.start, self.right.weights.shape[1]))
        columns = np.zeros((j.stop - j.start, self.left.weights.shape[1]))
        chunk, weights, panels = self.left.left(i), self.left.single[i], self.panels(j.start)
        for p, q, far in self._tiles(i, j):
            left, right, w, within = [x[p] for x in chunk], panels[q.start // TILE], weights[p], space
            if far:
                within = wide = wide or Workspace(kernels, np.float64, self.xp)
                left, right, w = self._wide(_moved(p, i), _moved(q, j))
            diagonal = self.symmetric and i == j and p == q
            for start, part in right.halves() if diagonal else ((0, right),):
                stop = start + part.size if diagonal else len(w)
                across, along = within.sums(
                    [x[:stop] for x in left], part, w[:stop], self.columns, start if diagonal else None
                )
                rows[p][:stop] += across
                columns[q][start : start + part.size] += along
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

    def _wide(self, p: slice, q: slice) -> tuple[list[Array], Panels, Array]:
        """Return both sides of a tile in float64, from the rows as they were given, and the weights of its left."""
        right = Panels.of(self.right.points.exact(q), self.right.weights[q], self.small)
        return self.left.points.exact(p), right, self.left.weights[p]


def _moved(part: slice, whole: slice) -> slice:
    """Return where a part of a run of rows lies among all rows."""
    return slice(whole.start + part.start, whole.start + part.stop)


def sums(
    left: Points,
    right: Points,
    weights: tuple[Array | None, Array | None],
    *,
    symmetric: bool,
    columns: bool,
    compiled: bool,
    threads: int,
    progress: bool,
) -> list[Array]:
    """Return row sums and column sums, each in the order of the caller's rows; ``weights`` are of left and right.

    The sums of every pair of chunks are added in one order whatever the number of threads, so that no digit of the
    result depends on it.
    """
    apart, small = norms_stay_apart(left, right), has_small_products()
    b = Side.of(right, weights[1], apart)
    a = b if symmetric else Side.of(left, weights[0], apart)
    # Pairs that follow each other share the right side, which is turned for as many of them as are under way.
    panels = lru_cache(maxsize=threads + 1)(partial(b.right, small=small))
    fused = gaussian_sums() if compiled else None
    job = Job(a, b, symmetric, columns or symmetric, functions(), small, fused, panels)
    rows = np.zeros((len(left), b.weights.shape[1]))
    down = rows if symmetric else np.zeros((len(right), a.weights.shape[1]))
    pairs = list(job.pairs())
    with thread_pools().limit(limits=1, user_api="blas"):
        # Closing stops the threads at once where an interrupt falls between two results.
        with closing(in_order(job.run, pairs, min(threads, len(pairs)))) as results:
            for (i, j), (across, along) in with_bar(zip(pairs, results, strict=True), len(pairs), progress):
                rows[i] += across
                if job.columns:
                    down[j] += along
    return [a.put_back(rows, b.scale), b.put_back(down, a.scale)]


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
    space = Workspace([factor.kernel for factor in left.factors], np.float64, functions())
    out, small = np.empty((len(left), len(right))), has_small_products()
    with thread_pools().limit(limits=1, user_api="blas"):
        for q in spans(len(right), TILE):
            size = q.stop - q.start
            panels = Panels.of([part[q] for part in right.rows], np.ones((size, 1)), small)
            for p in spans(len(left), TILE):
                tile = space.values([part[p] for part in left.rows], panels)
                out[p, q] = tile.transpose(1, 0, 2).reshape(tile.shape[1], -1)[:, :size]
    return out
