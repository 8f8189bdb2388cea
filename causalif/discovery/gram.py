"""Regressions of many columns on many sets of columns, all from one table of cross products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from causalif._validate import Array
from causalif.discovery.families import Masks

RIDGE = 1e-10
_CELLS = 2**22


def cross_products(columns: Array, counts: Array) -> tuple[Array, Array]:
    """Return cross products of weighted, centred columns, and the weighted means."""
    mean = counts @ columns / counts.sum()
    centred = columns - mean
    return centred.T @ (counts[:, None] * centred), mean


def distinct_sets(parents: Sequence[Masks]) -> Masks:
    """Return every parent set that any node has, once, ascending."""
    return np.unique(np.concatenate(list(parents)))


def residual_sums(
    products: Array,
    sets: Masks,
    blocks: Sequence[npt.NDArray[np.intp]],
    targets: npt.NDArray[np.intp],
    ridge: float = RIDGE,
) -> Array:
    """Return sums of squared residuals of every target on every set.

    Parameters
    ----------
    products : ndarray of shape (q, q)
        Cross products of centred columns.
    sets : ndarray of int64, shape (m,)
        Sets of nodes as masks.
    blocks : sequence of ndarray
        For every node, the positions of the columns that represent it as a regressor.
    targets : ndarray
        Positions of the columns to regress.
    ridge : float
        Added to the diagonal, relative to it, so that columns that are constant in a resample do no harm.

    Returns
    -------
    ndarray of shape (m, number of targets)
    """
    out = np.empty((len(sets), len(targets)))
    sizes = np.array([len(block) for block in blocks])
    member = (sets[:, None] >> np.arange(len(blocks), dtype=np.int64)) & 1 == 1
    width = member @ sizes
    total = np.diag(products)[targets]
    for d in np.unique(width):
        rows = np.flatnonzero(width == d)
        if d == 0:
            out[rows] = total
            continue
        step = max(1, _CELLS // int(d * (d + len(targets))))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            at = np.array([np.concatenate([blocks[j] for j in np.flatnonzero(member[row]).tolist()]) for row in part])
            out[part] = total - _explained(products, at, targets, ridge)
    return out


def _explained(products: Array, at: npt.NDArray[np.intp], targets: npt.NDArray[np.intp], ridge: float) -> Array:
    """Sums of squares that regressors at positions ``at``, shape (m, d), explain."""
    inner = products[at[:, :, None], at[:, None, :]]
    diagonal = np.arange(at.shape[1])
    inner[:, diagonal, diagonal] += ridge * inner[:, diagonal, diagonal] + np.finfo(float).tiny
    cross = products[at[:, :, None], targets[None, None, :]]
    root = np.linalg.cholesky(inner)
    return np.asarray((np.linalg.solve(root, cross) ** 2).sum(axis=1))
