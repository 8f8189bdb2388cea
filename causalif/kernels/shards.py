"""Kernel sums past one machine: the same block sums as pure tasks on a Dask cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from causalif._errors import InputError
from causalif._validate import Array
from causalif.kernels._inputs import read_center, read_rows, read_weights
from causalif.kernels._numpy import with_bar
from causalif.kernels.base import Kernel
from causalif.kernels.reduce import RowSums, row_sums, row_sums_both

Shard: TypeAlias = "npt.NDArray[Any] | Callable[[], npt.NDArray[Any]]"
TASKS_PER_THREAD = 4


@dataclass(frozen=True, eq=False)
class BlockTask:
    """Sums between two shards: a pure function of them, so that a lost one is simply computed again.

    Parameters
    ----------
    kernel : kernel
        What to sum.
    symmetric : bool
        Whether all shards are on both sides.
    center : ndarray of shape (d,)
        The same for every pair of shards.
    precision : str
        See `causalif.kernels.row_sums`.
    n_jobs : int
        Threads of a task.
    """

    kernel: Kernel
    symmetric: bool
    center: Array
    precision: str
    n_jobs: int

    def __call__(self, a: Any, b: Any, same: bool, weights_a: Array, weights_b: Array) -> tuple[Array, Array | None]:
        """Return what the pair adds to the row sums of the first shard and, where both sides agree, of the second."""
        options: dict[str, Any] = {"center": self.center, "precision": self.precision, "n_jobs": self.n_jobs}
        options |= {"device": "cpu"}
        if same:
            return row_sums(a, None, self.kernel, weights_b, symmetric=True, **options).sums, None
        if not self.symmetric:
            return row_sums(a, b, self.kernel, weights_b, **options).sums, None
        both = row_sums_both(a, b, self.kernel, weights_a=weights_a, weights_b=weights_b, **options)
        return both.rows, both.columns


def load_shard(shard: Shard) -> npt.NDArray[Any]:
    """Return the rows of a shard, on whichever machine this runs."""
    return np.asarray(read_rows("shards", shard() if callable(shard) else shard))


def sharded_row_sums(
    A: Sequence[Shard],
    B: Sequence[Shard] | None,
    kernel: Kernel,
    weights: Sequence[npt.ArrayLike] | None = None,
    symmetric: bool = False,
    *,
    client: Any,
    center: npt.ArrayLike | None = None,
    precision: str = "float32",
    n_jobs: int = 1,
    progress: bool = False,
) -> RowSums:
    """Sum a kernel over rows that live in shards, on a Dask cluster: Σ_j w_j k(a_i, b_j).

    Parameters
    ----------
    A : sequence of callables or arrays
        Shards, each a function without arguments that returns an array of shape (n_s, d), called on a worker and
        again if that worker is lost; or the array itself. A function must return the same rows every time.
    B : sequence of callables or arrays, or None
        Shards to sum over. None, or A itself, in a symmetric call.
    kernel : kernel
        One of `causalif.kernels`.
    weights : sequence of arrays of shape (m_s,) or (m_s, k), optional
        Weights of the rows of B, shard by shard; ones by default.
    symmetric : bool, default False
        Both sides are A: every pair is looked at once, and the diagonal is left out and reported apart.
    client : distributed.Client
        The cluster.
    center : array of shape (d,), optional
        See `causalif.kernels.row_sums`; that of the first shard of B by default.
    precision : {"float32", "float64"}, default "float32"
        See `causalif.kernels.row_sums`.
    n_jobs : int, default 1
        Threads of one task.
    progress : bool, default False
        Show a bar in a terminal.

    Returns
    -------
    RowSums
        Sums of all rows of A, shards one after the other.

    Raises
    ------
    InputError
        If there are no shards or the weights do not fit them, and see `causalif.kernels.row_sums`.

    Notes
    -----
    Equal to `row_sums` of the stacked rows with the same centre: to rounding of float64 if precision="float64" or if
    every shard but the last has a multiple of 3,072 rows, which is where one process cuts them as well, else to the
    2e-7 of float32. Sums of pairs are added in one order, whatever order they arrive in. A lost worker costs the time
    to do its tasks again. Results are N numbers; only shards travel between workers.

    Examples
    --------
    >>> import numpy as np
    >>> from distributed import Client  # doctest: +SKIP
    >>> from causalif.kernels import Gaussian
    >>> from causalif.kernels.shards import sharded_row_sums
    >>> shards = [lambda s=s: np.load(f"part{s}.npy") for s in range(8)]
    >>> sharded_row_sums(shards, None, Gaussian(2.0), symmetric=True, client=Client())  # doctest: +SKIP
    """
    if symmetric and not (B is None or B is A):
        raise InputError("`B` must be None or A itself when `symmetric` is true. Got other shards.")
    if B is None and not symmetric:
        raise InputError("`B` must be given unless `symmetric` is true. Got None.")
    if not len(A) or (B is not None and not len(B)):
        raise InputError("`A` and `B` must hold at least one shard each. Got none.")
    left = [client.submit(load_shard, shard) for shard in A]
    right = left if symmetric or B is None else [client.submit(load_shard, shard) for shard in B]
    sizes = [client.gather(client.map(len, side)) for side in (left, right)]
    w = _read_weights(weights, sizes[1])
    middle = client.submit(read_center, center, right[0]).result()
    task = BlockTask(kernel, symmetric, middle, precision, n_jobs)
    starts = [np.concatenate([[0], np.cumsum(side)]) for side in sizes]
    sums = np.zeros((starts[0][-1], w[0].shape[1]))
    pairs = [(i, j) for i in range(len(left)) for j in range(i if symmetric else 0, len(right))]
    results = _in_order(client, task, pairs, left, right, w)
    for (i, j), (across, along) in with_bar(zip(pairs, results, strict=True), len(pairs), progress):
        sums[starts[0][i] : starts[0][i + 1]] += across
        if along is not None:
            sums[starts[1][j] : starts[1][j + 1]] += along
    diagonal = kernel.at_zero * np.concatenate(w) if symmetric else np.zeros_like(sums)
    flat = weights is None or np.ndim(weights[0]) == 1
    return RowSums(sums[:, 0], diagonal[:, 0]) if flat else RowSums(sums, diagonal)


def _read_weights(weights: Sequence[npt.ArrayLike] | None, sizes: Sequence[int]) -> list[Array]:
    """Return weights of shape (rows, k) for every shard."""
    if weights is None:
        return [np.ones((size, 1)) for size in sizes]
    if len(weights) != len(sizes):
        raise InputError(f"`weights` must have one array per shard. Got {len(weights)} for {len(sizes)} shards.")
    read = [read_weights("weights", one, size) for one, size in zip(weights, sizes, strict=True)]
    return [one for one in read if one is not None]


def _in_order(
    client: Any, task: BlockTask, pairs: Sequence[tuple[int, int]], left: Sequence[Any],
    right: Sequence[Any], w: Sequence[Array],
) -> Iterator[tuple[Array, Array | None]]:  # fmt: skip
    """Yield the results of the pairs in their order, a few tasks per thread of the cluster being under way."""

    def submit(pair: tuple[int, int]) -> Any:
        i, j = pair
        same = task.symmetric and i == j
        weights_a = w[i] if task.symmetric else w[j][:0]
        return client.submit(task, left[i], right[j], same, weights_a, w[j], pure=False)

    coming = iter(pairs)
    ahead = TASKS_PER_THREAD * max(1, sum(client.nthreads().values()))
    waiting = deque(submit(pair) for pair in islice(coming, ahead))
    try:
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(submit(pair) for pair in islice(coming, 1))
            yield result
    finally:
        client.cancel(list(waiting))
