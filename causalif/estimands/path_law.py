"""The mean outcome along a path of independent draws, by summation over a finite law."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from causalif._validate import Array
from causalif.engine.estimand import FiniteLaw

Names = tuple[str, ...]
Codes = npt.NDArray[np.intp]


def path_mean(
    law: FiniteLaw,
    outcome: str,
    treatment: str,
    adjust: Names,
    steps: Sequence[tuple[Names, Names]],
    before: Names,
    levels: tuple[float, float],
) -> float:
    """Return E[Y] when nodes are drawn forwards, stratum by stratum of the covariates.

    Parameters
    ----------
    law : FiniteLaw
        All mediator values must occur in both arms of every stratum.
    outcome, treatment : str
        Columns.
    adjust : tuple of str
        Covariates.
    steps : sequence of (node, others)
        Columns of v_j and w_j.
    before : tuple of str
        Columns of the mediators above v_1.
    levels : (active, reference)
        Levels of the edge into v_1 and of all else.
    """
    strata = _codes(law, adjust)
    a, y = law.points[treatment].to_numpy(), law.points[outcome].to_numpy(float)
    nodes = [(_codes(law, node), _codes(law, others)) for node, others in steps]
    B, total = _codes(law, before), 0.0
    for x in range(strata.max() + 1):
        active, reference = (law.probabilities * ((strata == x) & (a == level)) for level in levels)
        mean = _mean_within(active, reference, y, B, nodes)
        total += float(law.probabilities[strata == x].sum()) * mean
    return total


def _mean_within(active: Array, reference: Array, y: Array, B: Codes, nodes: Sequence[tuple[Codes, Codes]]) -> float:
    """Return the mean in one stratum, given masses that are those of the active or of the reference arm."""
    first = nodes[0][0]
    above, joint = _table(reference, B), _table(active, B, first)
    drawn = (above / above.sum()) @ (joint / joint.sum(axis=1, keepdims=True))
    for (v, w), (following, _) in pairwise(nodes):
        pair = _table(reference, v, w, following)
        others = _table(reference, w)
        step = pair / pair.sum(axis=2, keepdims=True)
        drawn = np.einsum("v,w,vwu->u", drawn, others / others.sum(), step)
    v, w = nodes[-1]
    others = _table(reference, w)
    regression = _table(reference * y, v, w) / _table(reference, v, w)
    return float(drawn @ regression @ (others / others.sum()))


def _table(mass: Array, *codes: Codes) -> Array:
    """Return the mass of every combination of codes."""
    shape = tuple(int(code.max()) + 1 for code in codes)
    flat = np.ravel_multi_index(codes, shape)
    return np.asarray(np.bincount(flat, weights=mass, minlength=int(np.prod(shape))).reshape(shape), dtype=float)


def _codes(law: FiniteLaw, columns: Names) -> Codes:
    if not columns:
        return np.zeros(len(law.points), dtype=np.intp)
    return np.asarray(law.points.groupby(list(columns), sort=True).ngroup(), dtype=np.intp)
