"""Sums over sets of nodes, and over pairs of nested sets, of weights given as logarithms.

A set is a mask of bits. A pair (U, R) of a set and a part of it is coded in ternary digits, one per node: 0 outside U,
1 in U but not in R, 2 in R.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from causalif._validate import Array

Ints = npt.NDArray[np.int64]


def log_add_at(target: Array, at: Ints, values: Array) -> None:
    """Add values, given as logarithms, to cells of ``target``."""
    top = np.full(len(target), -np.inf)
    np.maximum.at(top, at, values)
    floor = np.where(np.isfinite(top), top, 0.0)
    total = np.bincount(at, weights=np.exp(values - floor[at]), minlength=len(target))
    with np.errstate(divide="ignore"):
        target[:] = np.logaddexp(target, np.log(total) + floor)


def log_sum(values: Array) -> Array:
    """Sum over the first axis, of logarithms; minus infinity where there is nothing."""
    top = values.max(axis=0)
    floor = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(values - floor).sum(axis=0)) + floor)


def by_size(b: int) -> list[int]:
    """All subsets, larger ones first."""
    return sorted(range(2**b), key=lambda u: -u.bit_count())


def subsets(mask: int) -> Ints:
    """All subsets of a set, ascending."""
    out = np.zeros(1, dtype=np.int64)
    for bit in range(mask.bit_length()):
        if mask >> bit & 1:
            out = np.concatenate([out, out | 1 << bit])
    return out


def others(b: int, v: int) -> Ints:
    """All subsets of the block without v, in the order of their squeezed numbers."""
    return subsets((2**b - 1) ^ (1 << v))


def without(weights: Array, v: int) -> Array:
    """Weights of the sets that do not hold v, over subsets of the other nodes."""
    b = int(np.log2(len(weights)))
    return weights[others(b, v)]


def ternary_codes(size: int) -> Ints:
    """Code of every subset of ``size`` nodes when its members carry the digit 1."""
    code = np.zeros(1, dtype=np.int64)
    for bit in range(size):
        code = np.concatenate([code, code + 3**bit])
    return code


def _ground(size: int) -> Ints:
    """Subset U of every ternary code of (U, R)."""
    ground = np.zeros(1, dtype=np.int64)
    for bit in range(size):
        ground = np.concatenate([ground, ground | 1 << bit, ground | 1 << bit])
    return ground


def squeezed(masks: Ints, v: int) -> Ints:
    """Subsets with bit v taken out, the higher bits moved down."""
    low = (1 << v) - 1
    return (masks & low) | ((masks >> 1) & ~np.int64(low))


def _zeta(values: Array, size: int) -> Array:
    """Sum over subsets, of logarithms."""
    values = values.copy()
    for bit in range(size):
        cube = values.reshape(-1, 2, 2**bit)
        cube[:, 1] = np.logaddexp(cube[:, 1], cube[:, 0])
    return values


def _zeta_transposed(values: Array, size: int) -> Array:
    """Sum over supersets, of logarithms."""
    values = values.copy()
    for bit in range(size):
        cube = values.reshape(-1, 2, 2**bit)
        cube[:, 0] = np.logaddexp(cube[:, 0], cube[:, 1])
    return values


def _holding(weights: Array, size: int, r: int) -> Array:
    """A_r(W): sums over the subsets of W that contain r."""
    cube = weights.reshape(-1, 2, 2**r).copy()
    cube[:, 0] = -np.inf
    return _zeta(cube.reshape(-1), size)


def layer_sums(weights: Array, m: int) -> Array:
    """β over all ternary codes of (U, R) among m nodes: minus infinity where R is empty.

    Bit by bit from the highest: once bit r may lie in R, β(U, R) with lowest member r of R is A_r(U) plus
    β without r in U and R.
    """
    out = np.full(2**m, -np.inf)
    for r in reversed(range(m)):
        # axes: higher bits in ternary, bit r, lower bits in binary
        pair = out.reshape(3 ** (m - 1 - r), 2, 2**r)
        holding = _holding(weights, m, r).reshape(2 ** (m - 1 - r), 2, 2**r)[_ground(m - 1 - r), 1]
        out = np.concatenate([pair, np.logaddexp(holding, pair[:, 0])[:, None]], axis=1).reshape(-1)
    return out


def layer_sums_transposed(use: Array, m: int) -> Array:
    """Send what each β(U, R) was used for back to the weights of the parent sets, by the transposed recursion."""
    total = np.full(2**m, -np.inf)
    for r in range(m):
        cube = use.reshape(3 ** (m - 1 - r), 3, 2**r)
        holding = np.full((2 ** (m - 1 - r), 2, 2**r), -np.inf)
        _gather(holding[:, 1], _ground(m - 1 - r), cube[:, 2])
        spread = _zeta_transposed(holding.reshape(-1), m).reshape(-1, 2, 2**r)
        spread[:, 0] = -np.inf
        total = np.logaddexp(total, spread.reshape(-1))
        use = np.stack([np.logaddexp(cube[:, 0], cube[:, 2]), cube[:, 1]], axis=1).reshape(-1)
    return total


def _gather(target: Array, at: Ints, rows: Array) -> None:
    """Add rows, given as logarithms, to the rows of ``target`` that ``at`` names."""
    for row in range(len(target)):
        chosen = rows[at == row]
        target[row] = log_sum(chosen)
