"""The one primitive: sums of a kernel over rows, without ever storing the kernel matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from causalif._errors import InputError
from causalif._validate import Array
from causalif.kernels._inputs import (
    ON_CPU,
    Place,
    check_kernel,
    find_place,
    is_tensor,
    read_center,
    read_rows,
    read_weights,
    thread_count,
)
from causalif.kernels._points import Points, below, factors_of, is_rough, prepare
from causalif.kernels._ready import ReadyRows, on_cpu
from causalif.kernels.base import Kernel, Product, SameLabel

# Sums of fewer terms are taken in float64: rounding errors of single kernel values would not average out.
FEWEST_TERMS = 64


@dataclass(frozen=True, eq=False)
class RowSums:
    """Kernel sums of every row of A.

    Parameters
    ----------
    sums : ndarray of shape (n,) or (n, k)
        Σ_j w_j k(a_i, b_j); without j = i in a symmetric call. One column per column of weights.
    diagonal : ndarray of shape (n,) or (n, k)
        w_i k(a_i, a_i) in a symmetric call, zeros otherwise.

    Examples
    --------
    >>> from causalif.kernels import Gaussian
    >>> found = row_sums(np.array([[0.0], [1.0]]), None, Gaussian(1.0), symmetric=True)
    >>> found.sums.round(4).tolist(), found.diagonal.tolist(), found.total.round(4).tolist()
    ([0.6065, 0.6065], [1.0, 1.0], [1.6065, 1.6065])
    """

    sums: Array
    diagonal: Array

    @property
    def total(self) -> Array:
        """Sums and diagonal together."""
        return self.sums + self.diagonal


class BothSums(NamedTuple):
    """Row and column sums of one block.

    Parameters
    ----------
    rows : ndarray of shape (n,) or (n, k)
        Σ_j w_j k(a_i, b_j).
    columns : ndarray of shape (m,) or (m, k)
        Σ_i v_i k(a_i, b_j).

    Examples
    --------
    >>> from causalif.kernels import Gaussian
    >>> both = row_sums_both(np.array([[0.0], [1.0]]), np.array([[0.0]]), Gaussian(1.0))
    >>> both.rows.shape, both.columns.shape
    ((2,), (1,))
    """

    rows: Array
    columns: Array


@dataclass(frozen=True, eq=False)
class Request:
    """A checked question for a backend.

    Parameters
    ----------
    A, B : array or tensor of shape (n, d), (m, d)
        The rows; B is None where both sides are A and the diagonal is left out.
    kernel : kernel
        What to sum.
    weights_a, weights_b : ndarray of shape (n, k), (m, k), optional
        Weights of the rows on either side.
    columns : bool
        Whether column sums are wanted.
    center : ndarray of shape (d,)
        Taken off every row.
    precision : str
        Type of the tiles.
    place : Place
        Backend and device.
    threads : int
        Threads of the backends on the processor.
    progress : bool
        Whether to show a bar.
    ready : tuple of ReadyRows
        Those of the rows that came with what a product needs.
    """

    A: Any
    B: Any
    kernel: Kernel
    weights_a: Array | None
    weights_b: Array | None
    columns: bool
    center: Array
    precision: str
    place: Place
    threads: int
    progress: bool
    ready: tuple[ReadyRows, ...] = ()

    @property
    def symmetric(self) -> bool:
        """Whether both sides are the same rows."""
        return self.B is None

    @property
    def wide(self) -> bool:
        """Whether every tile is float64: asked for, a kernel with a kink, or sums too short for errors to average."""
        terms = [len(self.A if self.B is None else self.B)] + [len(self.A)] * self.columns
        return self.precision == "float64" or is_rough(self.kernel) or min(terms) < FEWEST_TERMS


def row_sums(
    A: Any,
    B: Any,
    kernel: Kernel,
    weights: npt.ArrayLike | None = None,
    symmetric: bool = False,
    *,
    center: npt.ArrayLike | None = None,
    precision: str = "float32",
    device: str = "auto",
    backend: str = "auto",
    n_jobs: int | None = None,
    progress: bool = False,
) -> RowSums:
    """Sum a kernel over the rows of B, for every row of A: Σ_j w_j k(a_i, b_j).

    Rows are centred, squared norms ride along in the matrix product as two more columns, and every tile of the product
    is turned into kernel values and added up while it is in cache: memory is O((n + m) d), never O(n m).

    Parameters
    ----------
    A : array or torch tensor of shape (n, d)
        Rows; float32 and float64 are used as they are, integers are read as float64.
    B : array or torch tensor of shape (m, d), or None
        Rows to sum over. None, or A itself, in a symmetric call.
    kernel : kernel
        One of `causalif.kernels`.
    weights : array of shape (m,) or (m, k), optional
        Weights of the rows of B, of any sign; several columns share one pass. Ones by default.
    symmetric : bool, default False
        Both sides are A: every pair is looked at once, and the diagonal is left out and reported apart.
    center : array of shape (d,), optional
        Point near the data, taken off all rows before rounding; it changes no kernel, only the rounding. By default
        the median of each column over up to 1,000 rows of B, which outliers do not move.
    precision : {"float32", "float64", "tf32", "bfloat16"}, default "float32"
        Type of the tiles. Sums are float64 whatever it is. The last two need a GPU.
    device : {"auto", "cpu", "cuda", "cuda:0", ...}, default "auto"
        Where to compute. "auto" stays where tensors are; arrays go to a GPU if there is one and the work is long.
    backend : {"auto", "numpy", "compiled", "torch", "triton"}, default "auto"
        "compiled" is numpy with one compiled pass over the tiles of Gaussian kernels in float32, there where a C
        compiler was at hand when causalif was installed. "auto" is that, or else numpy, on the processor; on a GPU
        triton where it is installed, else torch.
    n_jobs : int, optional
        Threads on the processor, -1 for all cores. None takes as many as BLAS is set to use. No digit depends on
        it.
    progress : bool, default False
        Show a bar on work of more than two seconds, if stderr is a terminal and tqdm is installed.

    Returns
    -------
    RowSums
        `sums`, `diagonal` and `total`, each of shape (n,) or (n, k), float64.

    Raises
    ------
    InputError
        On missing or infinite values, on differing numbers of columns, on a kernel, device, backend or precision that
        is not there, on weights that do not fit B.

    Notes
    -----
    In float32 a mean of kernel values (bounded by one) is off by at most 2e-7: tiles between rows so far from the
    centre, in units of the bandwidth, that float32 would cancel digits are evaluated in float64, and so are sums of
    fewer than 64 terms. Errors of near copies of one row away from the centre all have one sign and grow with the
    columns: up to 2e-6 at 800. Kernels with a kink (`Laplace`, `Energy`) are evaluated in float64 throughout, and in
    float64 near duplicates by differences. On a GPU precision="tf32" errs by about 2e-6 and "bfloat16" by about 2e-5
    for standardised features. The last digits differ between backends and between processors.
    Costs n m d multiplications and n m exponentials, half of that in a symmetric call. An interrupt leaves no thread
    behind.

    Examples
    --------
    >>> import numpy as np
    >>> from causalif.kernels import Gaussian, row_sums
    >>> A, B = np.array([[0.0], [1.0]]), np.array([[0.0], [1.0], [2.0]])
    >>> row_sums(A, B, Gaussian(1.0)).sums.round(4).tolist()
    [1.7419, 2.2131]
    >>> apart = row_sums(B, None, Gaussian(1.0), symmetric=True)
    >>> apart.sums.round(4).tolist(), apart.diagonal.tolist()
    ([0.7419, 1.2131, 0.7419], [1.0, 1.0, 1.0])
    """
    if symmetric and not (B is None or B is A):
        raise InputError("`B` must be None or A itself when `symmetric` is true. Got other rows.")
    if B is None and not symmetric:
        raise InputError("`B` must be given unless `symmetric` is true. Got None.")
    request = read_request(
        A, None if symmetric else B, kernel, center, precision, device, backend, n_jobs, progress
    )  # fmt: skip
    m = len(request.A if symmetric else request.B)
    w = read_weights("weights", weights, m)
    request = replace(request, weights_b=w, weights_a=w if symmetric else None)
    sums, _ = solve(request)
    diagonal = np.zeros_like(sums)
    if symmetric:
        diagonal += kernel.at_zero * (1.0 if w is None else w)
    flat = weights is None or np.ndim(weights) == 1
    return RowSums(sums[:, 0], diagonal[:, 0]) if flat else RowSums(sums, diagonal)


def row_sums_both(
    A: Any,
    B: Any,
    kernel: Kernel,
    *,
    weights_a: npt.ArrayLike | None = None,
    weights_b: npt.ArrayLike | None = None,
    center: npt.ArrayLike | None = None,
    precision: str = "float32",
    device: str = "auto",
    backend: str = "auto",
    n_jobs: int | None = None,
    progress: bool = False,
) -> BothSums:
    """Sum a kernel over rows and over columns of one block in one pass: Σ_j w_j k(a_i, b_j) and Σ_i v_i k(a_i, b_j).

    Parameters
    ----------
    A, B : array or torch tensor of shape (n, d) and (m, d)
        The rows of the block and its columns.
    kernel : kernel
        One of `causalif.kernels`.
    weights_a : array of shape (n,) or (n, k), optional
        v, weights of the rows of A in the column sums.
    weights_b : array of shape (m,) or (m, k), optional
        w, weights of the rows of B in the row sums.
    center : array of shape (d,), optional
        Point near the data, taken off all rows before rounding; by default the median of each column of B.
    precision : {"float32", "float64", "tf32", "bfloat16"}, default "float32"
        Type of the tiles. Sums are float64 whatever it is. The last two need a GPU.
    device : {"auto", "cpu", "cuda", "cuda:0", ...}, default "auto"
        Where to compute; see `row_sums`.
    backend : {"auto", "numpy", "compiled", "torch", "triton"}, default "auto"
        What computes; see `row_sums`.
    n_jobs : int, optional
        Threads on the processor, -1 for all cores. No digit depends on it.
    progress : bool, default False
        Show a bar on work of more than two seconds, if stderr is a terminal and tqdm is installed.

    Returns
    -------
    BothSums
        `rows` of shape (n,) or (n, k), `columns` of shape (m,) or (m, k), float64.

    Raises
    ------
    InputError
        See `row_sums`.

    Notes
    -----
    What adding a batch to a data set needs: its sums over the old rows, and what it adds to theirs.

    Examples
    --------
    >>> import numpy as np
    >>> from causalif.kernels import Gaussian, row_sums_both
    >>> rows, columns = row_sums_both(np.array([[0.0], [1.0]]), np.array([[0.0]]), Gaussian(1.0))
    >>> rows.round(4).tolist(), columns.round(4).tolist()
    ([1.0, 0.6065], [1.6065])
    """
    request = read_request(A, B, kernel, center, precision, device, backend, n_jobs, progress)
    request = replace(
        request,
        weights_a=read_weights("weights_a", weights_a, len(request.A)),
        weights_b=read_weights("weights_b", weights_b, len(request.B)),
        columns=True,
    )
    rows, columns = solve(request)
    return BothSums(
        rows[:, 0] if weights_b is None or np.ndim(weights_b) == 1 else rows,
        columns[:, 0] if weights_a is None or np.ndim(weights_a) == 1 else columns,
    )


def block(A: Any, B: Any, kernel: Kernel, *, center: npt.ArrayLike | None = None) -> Array:
    """Return the kernel matrix between two small sets of rows, k(a_i, b_j), in float64.

    Parameters
    ----------
    A, B : array or torch tensor of shape (n, d) and (m, d)
        Rows. With B = A the result is exactly symmetric, with k(x, x) exact on its diagonal.
    kernel : kernel
        One of `causalif.kernels`.
    center : array of shape (d,), optional
        See `row_sums`.

    Returns
    -------
    ndarray of shape (n, m)
        Kernel values.

    Raises
    ------
    InputError
        See `row_sums`.

    Notes
    -----
    Stores 8 n m bytes; for sums over many rows use `row_sums`.

    Examples
    --------
    >>> from causalif.kernels import Energy, block
    >>> block([[0.0], [3.0]], [[1.0]], Energy()).tolist()
    [[-1.0], [-2.0]]
    """
    from causalif.kernels import _numpy

    same = B is A
    request = read_request(A, B, kernel, center, "float64", "cpu", "numpy", 1, False)
    a, b = on_cpu(request.A), on_cpu(request.B)
    if 0 in (len(a), len(b)):
        return np.zeros((len(a), len(b)))
    if isinstance(kernel, Product) and isinstance(kernel.labels, SameLabel):
        cut = -kernel.columns
        equal = (a[:, None, cut:] == b[None, :, cut:]).all(axis=2)
        x = a[:, :cut]
        y = x if same else b[:, :cut]
        return np.where(equal, block(x, y, kernel.features, center=request.center[:cut]), 0.0)
    factors = factors_of(kernel, a.shape[1])
    left = prepare(a, request.center, factors, np.dtype(np.float64))
    matrix = _numpy.dense(left, left if same else prepare(b, request.center, factors, np.dtype(np.float64)))
    if same:
        matrix = (matrix + matrix.T) / 2
        np.fill_diagonal(matrix, kernel.at_zero)
    return matrix


def read_request(
    A: Any,
    B: Any,
    kernel: Kernel,
    center: Any,
    precision: str,
    device: str,
    backend: str,
    n_jobs: int | None,
    progress: bool,
) -> Request:
    """Check everything but the weights."""
    a = _rows("A", A)
    b = None if B is None else a if B is A else _rows("B", B)
    if b is not None and b.shape[1] != a.shape[1]:
        raise InputError(f"`A` and `B` must have the same columns. Got {a.shape[1]} and {b.shape[1]} of them.")
    check_kernel(kernel, a.shape[1])
    right = a if b is None else b
    place = find_place(device, backend, precision, [a, right], float(len(a)) * len(right) * a.shape[1])
    middle, threads = read_center(center, right), thread_count(n_jobs)
    ready = tuple(x for x in (A, B) if isinstance(x, ReadyRows))
    return Request(a, b, kernel, None, None, False, middle, precision, place, threads, progress, ready)


def _rows(name: str, x: Any) -> Any:
    return x.source if isinstance(x, ReadyRows) else read_rows(name, x)


def solve(request: Request) -> tuple[Array, Array]:
    """Return row sums (n, k) and column sums (m, k)."""
    kernel = request.kernel
    if len(request.A) == 0 or (request.B is not None and len(request.B) == 0):
        return _empty(request)
    if isinstance(kernel, Product) and isinstance(kernel.labels, SameLabel):
        return _by_class(request, kernel)
    if request.place.backend in ON_CPU:
        return _solve_numpy(request)
    from causalif.kernels import _torch

    return _torch.solve(request)


def _empty(request: Request) -> tuple[Array, Array]:
    """Zeros of the right shapes."""
    m = len(request.A if request.B is None else request.B)
    across = 1 if request.weights_b is None else request.weights_b.shape[1]
    down = 1 if request.weights_a is None else request.weights_a.shape[1]
    return np.zeros((len(request.A), across)), np.zeros((m, down))


def _solve_numpy(request: Request) -> tuple[Array, Array]:
    from causalif.kernels import _numpy

    pieces = _pieces(request, request.A)
    if request.symmetric:
        pieces = [below(on_cpu(request.A), pieces)]
    others = pieces if request.symmetric else [below(on_cpu(request.B), _pieces(request, request.B))]
    (rows, columns), end = _empty(request), 0
    for piece in pieces:
        part, end = slice(end, end + len(piece)), end + len(piece)
        rows[part], onto = _numpy.sums(
            piece,
            others[0],
            (None if request.weights_a is None else request.weights_a[part], request.weights_b),
            symmetric=request.symmetric,
            columns=request.columns,
            compiled=request.place.backend == "compiled",
            threads=request.threads,
            progress=request.progress,
        )
        columns += onto
    return rows, columns


def _pieces(request: Request, x: Any) -> Sequence[Points]:
    """Return one side made ready, anew unless it came so."""
    kernel, center, wide = request.kernel, request.center, request.wide
    for ready in request.ready:
        if ready.fits(x, kernel, center, wide):
            return ready.pieces
    dtype = np.dtype(np.float64 if wide else np.float32)
    return [prepare(on_cpu(x), center, factors_of(kernel, x.shape[1]), dtype)]


def _by_class(request: Request, kernel: Product) -> tuple[Array, Array]:
    """Sum within classes: rows of different classes have kernel zero."""
    cut = -kernel.columns
    rows, columns = _empty(request)
    for i, j in _classes(on_cpu(request.A[:, cut:]), None if request.B is None else on_cpu(request.B[:, cut:])):
        part = replace(
            request,
            A=_take(request.A, i)[:, :cut],
            B=None if request.B is None else _take(request.B, j)[:, :cut],
            kernel=kernel.features,
            center=request.center[:cut],
            weights_a=None if request.weights_a is None else request.weights_a[i],
            weights_b=None if request.weights_b is None else request.weights_b[j],
        )
        rows[i], columns[j] = solve(part)
    return rows, columns


def _classes(a: npt.NDArray[Any], b: npt.NDArray[Any] | None) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Positions of each class that both sides have."""
    codes = np.unique(a if b is None else np.concatenate([a, b]), axis=0, return_inverse=True)[1].ravel()
    left, right = codes[: len(a)], codes if b is None else codes[len(a) :]
    for code in np.intersect1d(left, right):
        yield np.flatnonzero(left == code), np.flatnonzero(right == code)


def _take(x: Any, rows: npt.NDArray[Any]) -> Any:
    if not is_tensor(x):
        return x[rows]
    import torch

    return x[torch.as_tensor(rows, device=x.device)]
