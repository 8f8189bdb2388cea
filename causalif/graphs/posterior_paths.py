"""Directed paths in many DAGs at once, and the Monte Carlo error of their frequencies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from causalif._validate import in_range

Flags = npt.NDArray[np.bool_]
Found = list[tuple[tuple[int, ...], Flags]]


def transitive_closure(adjacency: npt.NDArray[np.integer]) -> Flags:
    """Return which nodes reach which, for many DAGs of shape (u, p, p) at once."""
    p = adjacency.shape[-1]
    reach = adjacency.astype(np.float32)
    for _ in range(max(p - 1, 1).bit_length()):
        reach = np.minimum(reach + reach @ reach, 1.0)
    return np.asarray(reach > 0)


def wilson(score: float, size: float, level: float = 0.95) -> tuple[float, float]:
    r"""Return Wilson's interval for a proportion from ``size`` independent draws.

    .. math:: \frac{1}{1 + z^2/n} \left(\hat p + \frac{z^2}{2n} \pm z \sqrt{\frac{\hat p (1 - \hat p)}{n} +
        \frac{z^2}{4n^2}} \right)

    Parameters
    ----------
    score : float
        The proportion.
    size : float
        Number of draws, possibly infinite.
    level : float, default 0.95
        Level of the interval.

    Returns
    -------
    (float, float)

    References
    ----------
    Wilson (1927), Journal of the American Statistical Association 22.

    Examples
    --------
    >>> [round(end, 4) for end in wilson(0.0, 100)]
    [0.0, 0.037]
    """
    z = float(ndtri(0.5 + in_range("level", level, 0.0, 1.0) / 2))
    part = z * z / size
    centre = (score + part / 2) / (1 + part)
    half = z * np.sqrt(score * (1 - score) / size + part / (4 * size)) / (1 + part)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def follow(adjacency: Flags, reach: Flags, a: int, y: int, cutoff: int, most: int) -> tuple[Found, int]:
    """Lengthen paths from a edge by edge, in all DAGs at once, as long as their end reaches y.

    Every unfinished path leads to at least one finished one, so their number predicts that of the paths: where it
    would exceed ``most``, the search ends, and the second value is the length up to which all paths were found.
    """
    found: Found = []
    frontier: Found = [((a,), reach[:, a, y])]
    for length in range(1, cutoff + 1):
        finished, longer = [], []
        for nodes, held in frontier:
            if held.any():
                ends, open_ends = _lengthen(adjacency, reach, nodes, held, y)
                finished += ends
                longer += open_ends
            if len(found) + len(finished) > most:
                return found, length - 1
        found += finished
        frontier = longer
        if not frontier:
            break
        if len(frontier) > 4 * most and length < cutoff:
            return found, length
    return found, cutoff


def _lengthen(adjacency: Flags, reach: Flags, nodes: tuple[int, ...], held: Flags, y: int) -> tuple[Found, Found]:
    """Return a path's completion by the edge to y, if any DAG has it, and its continuations towards y."""
    last = nodes[-1]
    ends: Found = []
    longer: Found = []
    rows = np.flatnonzero(held)
    onward = adjacency[rows, last]
    for v in np.flatnonzero(onward.any(axis=0)).tolist():
        here = np.zeros(len(held), dtype=bool)
        here[rows] = onward[:, v] if v == y else onward[:, v] & reach[rows, v, y]
        if here.any():
            (ends if v == y else longer).append(((*nodes, v), here))
    return ends, longer
