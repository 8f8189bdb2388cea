"""Nearest-neighbour scores that see what kernel values do not, and the other way round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array, whole_number
from causalif.valuation.features import to_numpy

if TYPE_CHECKING:
    from causalif.valuation.valuation import Valuation

# Distances of this many pairs are held at a time.
_PAIRS = 1 << 22


def companions(value: Valuation, k_shapley: int, k_distance: int) -> pd.DataFrame:
    """Return both scores on the rows of a valuation."""
    state = value.state
    train, reference = to_numpy(state.features), to_numpy(state.reference_features)
    found = {}
    coding, codes, reference_codes = state.labelling.coding, state.codes, state.reference_codes
    if coding is not None and coding.kind == "classes" and codes is not None and reference_codes is not None:
        found["knn_shapley"] = knn_shapley(train, codes, reference, reference_codes, k=k_shapley)
    found["knn_closeness"] = -nearest_distance(train, reference, k=k_distance)
    return pd.DataFrame(found, index=value.index)


def knn_shapley(
    train: npt.ArrayLike,
    labels: npt.ArrayLike,
    reference: npt.ArrayLike,
    reference_labels: npt.ArrayLike,
    *,
    k: int = 10,
) -> Array:
    r"""Shapley values of train rows in a k-nearest-neighbour classifier that is judged on the reference, exactly.

    For each reference row, with train rows ordered by their distance and hits :math:`h_i`,

    .. math:: s_N = \frac{h_N \min(k, N)}{k N}, \qquad s_i = s_{i+1} + \frac{h_i - h_{i+1}}{k} \frac{\min(k, i)}{i}.

    Parameters
    ----------
    train : array of shape (N, d)
        Features of the train rows, in comparable units.
    labels : array of shape (N,)
        Their classes.
    reference : array of shape (M, d)
        Features of the reference rows.
    reference_labels : array of shape (M,)
        Their classes.
    k : int, default 10, at least 1
        Neighbours.

    Returns
    -------
    ndarray of shape (N,)
        Means over the reference rows; they add up to the classifier's mean share of neighbours with the right label.

    Raises
    ------
    InputError
        If rows and labels do not fit together.

    Notes
    -----
    O(N M (d + log N)); a block of distances in memory at a time. Rows at the same distance share nothing: the earlier
    one counts as nearer.

    References
    ----------
    Jia et al. (2019), VLDB 12(11), theorem 1.

    Examples
    --------
    >>> knn_shapley([[0.0], [1.0], [2.0]], [0, 1, 0], [[0.1]], [0], k=1).round(3).tolist()
    [0.833, -0.167, 0.333]
    """
    x, r = _matrix("train", train), _matrix("reference", reference)
    y, z = np.asarray(labels), np.asarray(reference_labels)
    if y.shape != (len(x),) or z.shape != (len(r),) or x.shape[1] != r.shape[1]:
        raise InputError("`train`, `labels`, `reference`, `reference_labels` must be (N, d), (N,), (M, d) and (M,).")
    n, k = len(x), whole_number("k", k, 1)
    y, z = _shared_codes(y, z)
    ranks = np.arange(1, n)
    share = np.minimum(k, ranks) / (k * ranks)
    total = np.zeros(n)
    scores = np.empty(n)
    for rows, squared in _distances(x, r):
        for row, distance in zip(range(rows.start, rows.stop), squared, strict=True):
            order = _order(distance)
            hits = y[order] == z[row]
            steps = np.subtract(hits[:-1], hits[1:], dtype=np.float64) * share
            scores[-1] = hits[-1] * min(k, n) / (k * n)
            np.cumsum(steps[::-1], out=scores[-2::-1])
            scores[:-1] += scores[-1]
            total[order] += scores
    return total / len(r)


def nearest_distance(train: npt.ArrayLike, reference: npt.ArrayLike, *, k: int = 5) -> Array:
    """Return the mean Euclidean distance of train rows to their k nearest reference rows.

    Parameters
    ----------
    train, reference : array of shape (N, d), (M, d)
        Features, in comparable units.
    k : int, default 5, at least 1
        Neighbours; all reference rows if there are fewer.

    Returns
    -------
    ndarray of shape (N,)
        Distances.

    Examples
    --------
    >>> nearest_distance([[0.0], [4.0]], [[1.0], [2.0], [9.0]], k=2).tolist()
    [1.5, 2.5]
    """
    x, r = _matrix("train", train), _matrix("reference", reference)
    k = min(whole_number("k", k, 1), len(r))
    out = np.empty(len(x))
    for rows, squared in _distances(r, x):
        out[rows] = np.sqrt(np.partition(squared, k - 1, axis=1)[:, :k].astype(np.float64)).mean(axis=1)
    return out


def _matrix(name: str, x: npt.ArrayLike) -> npt.NDArray[Any]:
    rows = np.asarray(x)
    if rows.ndim != 2 or 0 in rows.shape:
        raise InputError(f"`{name}` must be of shape (n, d). Got shape {rows.shape}.")
    return rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float64)


def _shared_codes(y: npt.NDArray[Any], z: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Small whole numbers in place of labels, so that comparing them is fast."""
    codes = np.unique(np.concatenate([y, z]), return_inverse=True)[1].astype(np.int32)
    return codes[: len(y)], codes[len(y) :]


def _order(distance: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Positions from the nearest row; equal distances keep their order."""
    if distance.dtype != np.float32 or len(distance) >= 1 << 32:
        return np.argsort(distance, kind="stable")
    # Bits of floats that are not negative sort like the floats; with positions below them, sorting whole numbers, which
    # processors do several times faster, gives a stable order.
    keys = distance.view(np.uint32).astype(np.uint64) << np.uint64(32)
    keys |= np.arange(len(distance), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.intp)


def _distances(x: npt.NDArray[Any], r: npt.NDArray[Any]) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    """Squared distances of blocks of rows of ``r`` to all rows of ``x``, by one matrix product each."""
    center = x.mean(axis=0, dtype=np.float64).astype(x.dtype)
    x = x - center
    norms = np.einsum("ij,ij->i", x, x)
    size = max(1, _PAIRS // len(x))
    for start in range(0, len(r), size):
        part = r[start : start + size].astype(x.dtype) - center
        squared = (-2 * part) @ x.T
        squared += norms
        squared += np.einsum("ij,ij->i", part, part)[:, None]
        # Adding zero turns -0 into 0.
        squared = np.maximum(squared, 0, out=squared)
        squared += 0
        yield slice(start, start + len(part)), squared
