"""Least squares and two-stage least squares as estimates with influence values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from causalif._errors import InputError
from causalif._validate import Array


def least_squares(y: Array, regressors: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Return coefficients (k,) and their influence values (n, k); their standard errors are the HC0 ones."""
    return two_stage(y, regressors, regressors, weights)


def two_stage(y: Array, regressors: Array, instruments: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Return just-identified instrumental-variable coefficients (k,) and influence values (n, k).

    b = (Σ w z r')⁻¹ Σ w z y and ψ = (Σ w z r'/n)⁻¹ w z (y − r'b), computed on columns of unit length.
    """
    w = np.ones(len(y)) if weights is None else weights / weights.mean()
    size_y = float(np.abs(y).max()) or 1.0
    size_r = np.sqrt(np.mean(regressors**2, axis=0))
    size_z = np.sqrt(np.mean(instruments**2, axis=0))
    r, z, target = regressors / size_r, instruments / size_z, y / size_y
    cross = (z * w[:, None]).T @ r / len(y)
    if np.linalg.cond(cross) > 1e10:
        raise InputError(
            "The linear comparison is collinear: some columns of `adjust` are combinations of others, of the treatment "
            "or of the instrument. Leave those out."
        )
    b = np.linalg.solve(cross, (z * w[:, None]).T @ target / len(y))
    scores = z * (w * (target - r @ b))[:, None]
    influence = np.linalg.solve(cross, scores.T).T
    return b * size_y / size_r, (influence - influence.mean(axis=0)) * (size_y / size_r)


def project(
    phi: Array, basis: Array, weights: Array | None, first_step: Callable[[Array], Array] | None = None
) -> tuple[Array, Array]:
    """Return the projection of φ on a basis (n, k), and its influence values (n, k).

    ``first_step`` gives what estimated nuisances add to the influence of Σ basis·φ / n, where φ is not orthogonal to
    them.
    """
    values, influence = least_squares(phi, basis, weights)
    if first_step is None:
        return values, influence
    w = np.ones(len(phi)) if weights is None else weights / weights.mean()
    gram = basis.T @ (w[:, None] * basis) / len(phi)
    added = np.linalg.solve(gram, first_step(basis).T).T
    return values, influence + added - added.mean(axis=0)
