"""The median heuristic."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from causalif._errors import InputError
from causalif._validate import Array, whole_number

_CHUNK = 4096


def median_bandwidth(
    X: npt.ArrayLike, *, pairs: int = 50_000, random_state: int | np.random.Generator | None = 0
) -> float:
    """Return the median distance between distinct rows, the usual first choice of a bandwidth.

    Parameters
    ----------
    X : array of shape (n, d)
        Rows of numbers, in comparable units.
    pairs : int, default 50000, at least 1
        Random pairs of different rows to look at; all pairs where there are no more than that.
    random_state : int, Generator or None, default 0
        Draws the pairs.

    Returns
    -------
    float
        Median of the distances above zero. Where more than half of the pairs coincide it is still the median of the
        others; where all do, 1.

    Raises
    ------
    InputError
        If X is not a table of at least two rows of finite numbers.

    Notes
    -----
    Half of the median sees isolated noise better, twice the median sees shifts of whole groups better. Costs
    O(pairs × d).

    References
    ----------
    Gretton, Borgwardt, Rasch, Schölkopf and Smola (2012), JMLR 13, section 8.

    Examples
    --------
    >>> from causalif.kernels import median_bandwidth
    >>> median_bandwidth([[0.0], [1.0], [3.0]])
    2.0
    """
    points = np.asarray(X)
    if points.ndim != 2 or len(points) < 2 or points.dtype.kind not in "fiub":
        raise InputError(f"`X` must be numbers of shape (n, d) with n at least 2. Got {points.dtype} {points.shape}.")
    first, second = _pairs(len(points), whole_number("pairs", pairs, 1), np.random.default_rng(random_state))
    distances = np.concatenate(
        [
            _distances(points[first[start : start + _CHUNK]], points[second[start : start + _CHUNK]])
            for start in range(0, len(first), _CHUNK)
        ]
    )
    if not np.isfinite(distances).all():
        raise InputError("`X` holds missing or infinite values; remove or fill those rows.")
    apart = distances[distances > 0]
    return float(np.median(apart)) if len(apart) else 1.0


def _pairs(n: int, pairs: int, rng: np.random.Generator) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return all pairs of different rows if they are few, else random ones."""
    if n * (n - 1) // 2 <= pairs:
        first, second = np.triu_indices(n, 1)
        return first, second
    drawn = rng.integers(n, size=pairs)
    return drawn, (drawn + rng.integers(1, n, size=pairs)) % n


def _distances(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Array:
    """Distances row by row, scaled so that squares neither over- nor underflow."""
    gap = a.astype(np.float64) - b.astype(np.float64)
    unit = np.abs(gap).max(initial=0.0)
    if unit == 0 or not np.isfinite(unit):
        return np.asarray(np.abs(gap).sum(axis=1))
    return np.asarray(unit * np.sqrt(np.square(gap / unit).sum(axis=1)))
