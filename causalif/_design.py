"""Columns of a design that add nothing: constant and repeated ones are kept out, collinear ones are named."""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import solve_triangular

from causalif._errors import DataWarning, DesignWarning, tell
from causalif._validate import Array

# Share of a column's variance below which what others leave unexplained counts as none: R² of 1 to ten digits.
UNEXPLAINED = 1e-10
SCREENED, CHUNK = 2_000, 65_536


def without_useless(
    matrix: Array, names: tuple[str, ...], notes: tuple[str, ...]
) -> tuple[Array, tuple[str, ...], tuple[str, ...], dict[str, str | None]]:
    """Keep constant and repeated covariates out of the design, say so, and tell what stands for each of them."""
    reasons: dict[int, str] = {}
    stands: dict[str, str | None] = {}
    seen: dict[tuple[float, ...], list[int]] = {}
    for j in range(matrix.shape[1]):
        column = matrix[:, j]
        if column.min() == column.max():
            reasons[j], stands[names[j]] = f"{names[j]!r} is constant", None
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            total = column.sum()
        alike = seen.setdefault((column[0], column[-1], total), [])
        twin = next((i for i in alike if np.array_equal(matrix[:, i], column)), None)
        if twin is not None:
            reasons[j] = f"{names[j]!r} repeats {names[twin]!r}"
            stands[names[j]] = stands.get(names[twin], names[twin])
        alike.append(j)
    if not reasons:
        return matrix, names, notes, stands
    message = f"Kept out of the design: {'; '.join(reasons.values())}."
    tell(message, DesignWarning)
    keep = [j for j in range(matrix.shape[1]) if j not in reasons]
    return matrix[:, keep], tuple(names[j] for j in keep), (*notes, message), stands


def tell_collinear(matrix: Array, names: tuple[str, ...]) -> tuple[str, ...]:
    """Name covariates that others determine; they stay, since predictions of least squares do not depend on it."""
    n, p = matrix.shape
    if p < 2 or p >= n:
        return ()
    # What is collinear on all rows is so on any of them: most tables are cleared by a few.
    screened = matrix[:: max(1, n // (SCREENED + 20 * p))]
    # A column that does not vary there is judged on all rows.
    if len(screened) > p and np.ptp(screened, axis=0).all() and _independent(_correlations(screened)):
        return ()
    found = _dependent(_correlations(matrix))
    if not found:
        return ()
    said = [f"{names[j]!r} follows from {', '.join(repr(names[i]) for i in others)}" for j, others in found.items()]
    message = (
        f"Collinear covariates: {'; '.join(said)} (R² is 1 to ten digits). Least squares predicts the same with and "
        "without them, but their coefficients mean nothing, and other learners may differ. Leave out what repeats."
    )
    tell(message, DataWarning)
    return (message,)


def _correlations(matrix: Array) -> Array:
    """Return the correlation matrix, from centred blocks of rows."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        scale = np.abs(matrix).max(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        blocks = [slice(start, start + CHUNK) for start in range(0, len(matrix), CHUNK)]
        mean = np.add.reduce([(matrix[block] / scale).sum(axis=0) for block in blocks]) / len(matrix)
        moments = np.zeros((matrix.shape[1],) * 2)
        for block in blocks:
            centred = matrix[block] / scale - mean
            moments += centred.T @ centred
        size = np.sqrt(np.diag(moments))
        # Beside its own size a nearly constant column holds rounding only, from which nothing follows.
        usable = size > 1e-6 * np.sqrt(len(matrix)) * np.abs(mean)
        size = np.where(usable & (size > 0), size, np.inf)
    correlation = moments / np.outer(size, size)
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(correlation)


def _independent(correlation: Array) -> bool:
    """Whether no column follows from earlier ones, at one glance."""
    try:
        return bool((np.diag(np.linalg.cholesky(correlation)) ** 2 > UNEXPLAINED).all())
    except np.linalg.LinAlgError:
        return False


def _dependent(correlation: Array) -> dict[int, list[int]]:
    """Return the columns that earlier ones determine, with those that enter, by a Cholesky factor grown in order."""
    p = len(correlation)
    kept: list[int] = []
    factor = np.zeros((p, p))
    found: dict[int, list[int]] = {}
    for j in range(p):
        k = len(kept)
        row = solve_triangular(factor[:k, :k], correlation[kept, j], lower=True) if k else np.empty(0)
        left = correlation[j, j] - row @ row
        if left > UNEXPLAINED:
            factor[k, :k], factor[k, k] = row, math.sqrt(left)
            kept.append(j)
            continue
        weights = solve_triangular(factor[:k, :k].T, row, lower=False)
        found[j] = [kept[i] for i in np.flatnonzero(np.abs(weights) > 1e-4 * np.abs(weights).max())]
    return found
