"""Approximate kernel sums with error bounds, for sizes at which exact ones take too long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular

from causalif._errors import InputError
from causalif._validate import Array, in_range, whole_number
from causalif.kernels._inputs import check_kernel, is_tensor, read_center, read_rows, read_weights
from causalif.kernels._points import spans
from causalif.kernels.base import Kernel, RadialKernel
from causalif.kernels.reduce import block, row_sums

CHUNK = 4096
# Added to the diagonal of the landmarks' kernel matrix, in units of k(x, x); the bound accounts for it.
JITTER = 1e-8
CANDIDATES_PER_LANDMARK = 20
FEWEST_CANDIDATES = 5000


@dataclass(frozen=True, eq=False)
class ApproximateSums:
    """Kernel sums with a bound on their error.

    Parameters
    ----------
    sums : ndarray of shape (n,) or (n, k)
        Approximations of Σ_j w_j k(a_i, b_j), the diagonal included.
    bound : ndarray of the same shape
        Largest possible error of each.
    level : float
        Probability that all bounds hold at once, over the random choices of the method; 1 where they always do.
    std_errors : ndarray of the same shape, or None
        Standard errors over the random choices, where the method has them: what to expect, not a bound.
    """

    sums: Array
    bound: Array
    level: float
    std_errors: Array | None = None


def nystrom_sums(
    A: Any,
    B: Any,
    kernel: Kernel,
    weights: npt.ArrayLike | None = None,
    *,
    landmarks: int | npt.ArrayLike = 500,
    norm: float | npt.ArrayLike | None = None,
    random_state: int | np.random.Generator | None = 0,
    n_jobs: int | None = None,
) -> ApproximateSums:
    """Approximate kernel sums through landmarks Z: k(x, Z) (K_ZZ + ε I)⁻¹ k(Z, B) w, with a bound for every row.

    Parameters
    ----------
    A : array of shape (n, d)
        Rows to have sums for.
    B : array of shape (m, d)
        Rows to sum over.
    kernel : kernel
        A positive definite kernel of `causalif.kernels`.
    weights : array of shape (m,) or (m, k), optional
        Weights of the rows of B, ones by default. A difference of two laws is one call: stack their rows, weights 1/N
        for one and −1/M for the other.
    landmarks : int or array of shape (r, d), default 500
        How many rows to choose by randomly pivoted Cholesky, or the landmarks themselves.
    norm : float or array of shape (k,), optional
        An upper bound of ‖Σ_j w_j φ(b_j)‖, such as the MMD for the difference of two laws; sharpens the bound.
    random_state : int, Generator or None, default 0
        Chooses the landmarks.
    n_jobs : int, optional
        See `causalif.kernels.row_sums`.

    Returns
    -------
    ApproximateSums
        Sums and certain bounds; `level` is 1.

    Raises
    ------
    InputError
        If the kernel is not positive definite, and see `causalif.kernels.row_sums`.

    Notes
    -----
    With R(x, y) = k(x, y) − k(x, Z)(K_ZZ + ε I)⁻¹ k(Z, y), itself a kernel, the error of row x is Σ_j w_j R(x, b_j),
    at most √R(x, x) · min(norm, Σ_j |w_j| √R(b_j, b_j)) by the Cauchy-Schwarz inequality. Costs O((n + m) r (d + r))
    in place of O(n m d), in memory O((n + m) d + r²). Worth it above about 10⁵ rows.

    References
    ----------
    Williams and Seeger (2001), NIPS 13. Chen, Epperly, Tropp and Webber (2025), Communications on Pure and Applied
    Mathematics 78(5), algorithm 2.1 (the choice of landmarks).

    Examples
    --------
    >>> import numpy as np
    >>> from causalif.kernels import Gaussian, row_sums
    >>> from causalif.kernels.approximate import nystrom_sums
    >>> X = np.random.default_rng(0).standard_normal((1000, 2))
    >>> found = nystrom_sums(X, X, Gaussian(2.0), landmarks=60)
    >>> error = np.abs(found.sums - row_sums(X, X, Gaussian(2.0), precision="float64").sums)
    >>> bool((error <= found.bound).all()), bool(found.bound.max() < 1)
    (True, True)
    """
    a, b, w = _read(A, B, kernel, weights)
    if not kernel.positive_definite:
        raise InputError(f"`kernel` must be positive definite to have landmarks. Got {kernel!r}; use exact sums.")
    z = _landmarks(a, b, kernel, landmarks, np.random.default_rng(random_state))
    center = read_center(None, b)
    gram = block(z, z, kernel, center=center)
    gram[np.diag_indices_from(gram)] += JITTER * kernel.at_zero
    factor = cholesky(gram, lower=True)
    # In float64: the inverse of the landmarks' matrix amplifies whatever rounding there is.
    onto = row_sums(z, b, kernel, w, center=center, precision="float64", device="cpu", n_jobs=n_jobs).sums
    coefficients = cho_solve((factor, True), onto)
    rest_b = np.concatenate([_residual(part, z, kernel, factor, center)[1] for part in _parts(b)])
    length = np.abs(w).T @ rest_b
    if norm is not None:
        length = np.minimum(length, _norm(norm, w.shape[1]))
    sums, rest_a = np.empty((len(a), w.shape[1])), np.empty(len(a))
    for span in spans(len(a), CHUNK):
        cross, rest_a[span] = _residual(a[span], z, kernel, factor, center)
        sums[span] = cross @ coefficients
    return _result(sums, rest_a[:, None] * length, 1.0, weights)


def fourier_sums(
    A: Any,
    B: Any,
    kernel: RadialKernel,
    weights: npt.ArrayLike | None = None,
    *,
    features: int = 4096,
    level: float = 0.95,
    random_state: int | np.random.Generator | None = 0,
) -> ApproximateSums:
    """Approximate kernel sums by random frequencies: the mean over ω of Σ_j w_j cos(ω'(x − b_j)).

    Parameters
    ----------
    A, B : array of shape (n, d) and (m, d)
        Rows to have sums for, and rows to sum over.
    kernel : kernel
        A positive definite kernel of the distance.
    weights : array of shape (m,) or (m, k), optional
        Weights of the rows of B, ones by default.
    features : int, default 4096, at least 2
        Number D of frequencies.
    level : float, default 0.95, between 0 and 1
        Probability with which all bounds hold.
    random_state : int, Generator or None, default 0
        Draws the frequencies.

    Returns
    -------
    ApproximateSums
        Sums, Hoeffding bounds that hold together with probability `level`, and standard errors over the frequencies.

    Raises
    ------
    InputError
        If the kernel has no spectral law, and see `causalif.kernels.row_sums`.

    Notes
    -----
    Every frequency contributes an unbiased term of size at most Σ_j |w_j|, so that by Hoeffding's inequality all n
    errors stay below Σ_j |w_j| √(2 log(2 n k / (1 − level)) / D). The root of the mean squared error of a row is at
    most ‖Σ_j w_j φ(b_j)‖ / √D. Costs O((n + m) d D), in memory O((n + m) d + D d). `nystrom_sums` is usually sharper
    for the same work; this one needs no landmarks.

    References
    ----------
    Rahimi and Recht (2007), NIPS 20, claim 1.

    Examples
    --------
    >>> import numpy as np
    >>> from causalif.kernels import Gaussian
    >>> from causalif.kernels.approximate import fourier_sums
    >>> found = fourier_sums([[0.0]], [[0.0], [1.0]], Gaussian(1.0), weights=[0.5, 0.5])
    >>> bool(abs(found.sums[0] - 0.8033) < found.bound[0] < 0.05)
    True
    """
    a, b, w = _read(A, B, kernel, weights)
    if not isinstance(kernel, RadialKernel):
        raise InputError(f"`kernel` must depend on the distance alone to have random features. Got {kernel!r}.")
    count = whole_number("features", features, 2)
    miss = 1 - in_range("level", level, 0, 1)
    omega = kernel.frequencies(np.random.default_rng(random_state), count, a.shape[1])
    center = read_center(None, b)
    cosines, sines = np.zeros((count, w.shape[1])), np.zeros((count, w.shape[1]))
    for span in spans(len(b), CHUNK):
        angles = (b[span] - center) @ omega.T
        cosines += np.cos(angles).T @ w[span]
        sines += np.sin(angles).T @ w[span]
    sums, squares = np.empty((len(a), w.shape[1])), np.empty((len(a), w.shape[1]))
    for span in spans(len(a), CHUNK):
        angles = (a[span] - center) @ omega.T
        c, s = np.cos(angles), np.sin(angles)
        sums[span] = (c @ cosines + s @ sines) / count
        # (c C + s S)² summed over frequencies, without a term for every row, frequency and weight.
        squares[span] = ((c * c) @ cosines**2 + 2 * (c * s) @ (cosines * sines) + (s * s) @ sines**2) / count
    bound = np.abs(w).sum(axis=0) * np.sqrt(2 * np.log(2 * max(sums.size, 1) / miss) / count)
    spread = np.sqrt(np.maximum(squares - sums**2, 0.0) / (count - 1))
    return _result(sums, np.broadcast_to(bound, sums.shape).copy(), level, weights, spread)


def _read(A: Any, B: Any, kernel: Kernel, weights: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Array]:
    a = _array(read_rows("A", A))
    b = a if B is A else _array(read_rows("B", B))
    if a.shape[1] != b.shape[1]:
        raise InputError(f"`A` and `B` must have the same columns. Got {a.shape[1]} and {b.shape[1]} of them.")
    check_kernel(kernel, a.shape[1])
    w = read_weights("weights", weights, len(b))
    return a, b, np.ones((len(b), 1)) if w is None else w


def _array(x: Any) -> npt.NDArray[Any]:
    return np.asarray(x.cpu().numpy() if is_tensor(x) else x)


def _norm(norm: float | npt.ArrayLike, k: int) -> Array:
    values = np.asarray(norm, dtype=np.float64)
    if values.shape not in ((), (k,)) or not np.isfinite(values).all() or (values < 0).any():
        raise InputError(f"`norm` must be a number of at least 0, or one per column of weights ({k}). Got {norm!r}.")
    return np.broadcast_to(values, (k,))


def _result(
    sums: Array, bound: Array, level: float, weights: npt.ArrayLike | None, spread: Array | None = None
) -> ApproximateSums:
    if weights is None or np.ndim(weights) == 1:
        sums, bound, spread = sums[:, 0], bound[:, 0], None if spread is None else spread[:, 0]
    return ApproximateSums(sums, bound, level, spread)


def _parts(rows: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Runs of rows; one empty run where there are none."""
    yield from (rows[span] for span in spans(len(rows), CHUNK))
    if len(rows) == 0:
        yield rows


def _residual(
    x: npt.NDArray[Any], z: npt.NDArray[Any], kernel: Kernel, factor: Array, center: Array
) -> tuple[Array, Array]:
    """Return k(x, Z) and √R(x, x), the distance of φ(x) from what the landmarks span."""
    cross = block(x, z, kernel, center=center)
    turned = solve_triangular(factor, cross.T, lower=True)
    left = kernel.at_zero - np.einsum("ij,ij->j", turned, turned)
    # Never below what rounding and the jitter leave at a landmark itself.
    return cross, np.sqrt(np.maximum(left, JITTER * kernel.at_zero))


def _landmarks(
    a: npt.NDArray[Any], b: npt.NDArray[Any], kernel: Kernel, wanted: Any, rng: np.random.Generator
) -> npt.NDArray[Any]:
    """Return the landmarks, chosen among some of the rows by randomly pivoted Cholesky unless they are given."""
    if not isinstance(wanted, (int, np.integer)):
        given = _array(read_rows("landmarks", wanted))
        if given.shape[1] != a.shape[1] or len(given) == 0:
            raise InputError(f"`landmarks` must be rows of {a.shape[1]} columns. Got shape {given.shape}.")
        return given
    count = whole_number("landmarks", wanted, 1)
    total = len(b) + (0 if b is a else len(a))
    if total == 0:
        raise InputError("`A` or `B` must have rows to choose landmarks from. Got none.")
    size = min(total, max(FEWEST_CANDIDATES, CANDIDATES_PER_LANDMARK * count))
    chosen = np.sort(rng.choice(total, size=size, replace=False))
    some = np.concatenate([b[chosen[chosen < len(b)]], a[chosen[chosen >= len(b)] - len(b)]])
    return some[_pivots(some, kernel, min(count, size), rng)]


def _pivots(x: npt.NDArray[Any], kernel: Kernel, count: int, rng: np.random.Generator) -> list[int]:
    """Pick rows one after the other, each with probability proportional to what the ones before leave of it."""
    left = np.full(len(x), float(kernel.at_zero))
    columns = np.empty((count, len(x)))
    center = read_center(None, x)
    picked: list[int] = []
    for step in range(count):
        if not (left > JITTER * kernel.at_zero).any():
            break
        pivot = int(rng.choice(len(x), p=left / left.sum()))
        column = block(x[pivot : pivot + 1], x, kernel, center=center)[0]
        column -= columns[:step, pivot] @ columns[:step]
        columns[step] = column / np.sqrt(max(column[pivot], JITTER * kernel.at_zero))
        left = np.maximum(left - columns[step] ** 2, 0.0)
        left[pivot] = 0.0
        picked.append(pivot)
    return picked
