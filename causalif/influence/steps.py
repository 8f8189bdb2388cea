"""Newton steps that leave rows out, by factors of the curvature; a lost direction is infinite, never a number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular

from causalif._errors import InputError
from causalif._validate import Array

LOST = 1e-8  # what is left of a direction, as a share of its curvature, when rounding is all there is
ZERO = 1e-7  # a coefficient's share of a direction that counts as none
BLOCK = 1 << 14

Rows = npt.NDArray[np.intp]


def factor(H: Array) -> Array:
    """Return the lower Cholesky factor, or say that the curvature is not positive definite."""
    try:
        lower = np.asarray(cholesky(H, lower=True))
    except np.linalg.LinAlgError as error:
        raise InputError(
            "The curvature of the fit is not positive definite: columns of the design repeat one another, or the fit "
            "is not at a minimum. Drop the repeated columns, or fit again to convergence."
        ) from error
    diagonal = np.diag(lower) / np.sqrt(np.diag(H))
    if diagonal.min() ** 2 < 1e-13:
        raise InputError(
            f"The design is collinear: column {int(diagonal.argmin())} is a combination of those before it. Drop it "
            "and fit again."
        )
    return lower


def weighted_gram(X: Array, v: Array) -> Array:
    """Return Σ v_i x_i x_iᵀ, in blocks of rows."""
    total = np.zeros((X.shape[1], X.shape[1]))
    for start in range(0, len(X), BLOCK):
        block = X[start : start + BLOCK]
        total += (block * v[start : start + BLOCK, None]).T @ block
    return total


def quadratic_forms(X: Array, lower: Array) -> Array:
    """Return x_iᵀ H⁻¹ x_i for every row, with H = L Lᵀ, in blocks of rows."""
    half = solve_triangular(lower, np.eye(len(lower)), lower=True)
    forms = np.empty(len(X))
    for start in range(0, len(X), BLOCK):
        block = X[start : start + BLOCK] @ half.T
        forms[start : start + BLOCK] = np.einsum("ij,ij->i", block, block)
    return forms


def rescale(effects: Array, gap: Array, share: Array) -> Array:
    """Divide effects by what is left, 1 − h; where nothing is, infinite if the row has a share in the target."""
    lost = gap < LOST
    divided = effects / np.where(lost, 1.0, gap)
    return np.where(lost, np.where(np.abs(share) > ZERO, np.inf, 0.0), divided)


def newton_step(lower: Array, X: Array, v: Array, gradient: Array) -> Array:
    """Return (H − Σ v_i x_i x_iᵀ)⁻¹ g for the rows given, p infinite where a direction is lost."""
    if np.any(v < 0):  # observed curvature of a non-canonical link
        H = lower @ lower.T - weighted_gram(X, v)
        return np.asarray(cho_solve((factor(H), True), gradient))
    B = solve_triangular(lower, (X * np.sqrt(v)[:, None]).T, lower=True)
    z = solve_triangular(lower, gradient, lower=True)
    Q, s, _ = np.linalg.svd(B, full_matrices=False)
    share = s**2
    lost = 1.0 - share < LOST
    inner = Q.T @ z
    extra = np.where(lost, -1.0, share / np.where(lost, 1.0, 1.0 - share)) * inner
    step = np.asarray(solve_triangular(lower.T, z + Q @ extra, lower=False))
    if lost.any():
        gone = solve_triangular(lower.T, Q[:, lost], lower=False)
        half = solve_triangular(lower, np.eye(len(lower)), lower=True)
        step[np.abs(gone).max(axis=1) > ZERO * np.sqrt((half**2).sum(axis=0))] = np.inf
    return step


def largest_share(lower: Array, X: Array, v: Array) -> float:
    """Return the largest share of any direction's curvature that the rows carry together: their leverage."""
    B = solve_triangular(lower, (X * np.sqrt(np.maximum(v, 0.0))[:, None]).T, lower=True)
    return float(np.linalg.norm(B, 2) ** 2) if B.size else 0.0
