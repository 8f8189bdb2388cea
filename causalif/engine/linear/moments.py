"""Sums over rows, fold by fold: what every linear fit needs to know about the data, gathered in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from causalif._errors import InputError, PositivityError
from causalif._validate import Array

BLOCK_BYTES = 1 << 19  # a block of rows and its weighted copy stay in the second-level cache
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Rows:
    """Design, target and weights, cut into blocks of rows that each lie inside one fold."""

    X: Array
    y: Array
    weights: Array | None
    folds: int
    in_sample: bool
    blocks: tuple[tuple[int, int, int], ...]  # (fold, start, stop)

    def without(self, fold: int) -> Iterator[tuple[int, int, int]]:
        """Yield the blocks that train the model of ``fold``."""
        return (block for block in self.blocks if self.in_sample or block[0] != fold)

    def all_training(self, stack: Array) -> Array:
        """Add the pieces of all folds but one, for each fold; added rather than subtracted, so nothing cancels."""
        if self.in_sample:
            return stack
        before, after = np.zeros_like(stack), np.zeros_like(stack)
        np.cumsum(stack[:-1], axis=0, out=before[1:])
        after[:-1] = np.cumsum(stack[:0:-1], axis=0)[::-1]
        return before + after


def rows_of(X: Array, y: Array, slices: Sequence[slice], weights: Array | None) -> Rows:
    """Check shapes and cut the rows into blocks."""
    X = np.ascontiguousarray(X, dtype=np.float64)
    y = np.asarray(y, dtype=np.float64)
    if X.ndim != 2 or y.shape != (len(X),):
        raise InputError(f"`X` must be (n, p) and `y` (n,). Got shapes {X.shape} and {y.shape} instead.")
    if weights is not None:
        weights = np.asarray(weights, dtype=np.float64)
        if weights.shape != y.shape or (weights.size and not weights.min() >= 0):
            raise InputError("`weights` must hold one number of at least 0 per row of `X`.")
    bounds = [part.indices(len(X))[:2] for part in slices]
    filled = [part for part in bounds if part[0] < part[1]]
    edges = [0, *(stop for _, stop in filled)]
    if len(X) == 0 or edges[-1] != len(X) or [start for start, _ in filled] != edges[:-1]:
        raise InputError(f"`slices` must cut the {len(X)} rows into consecutive folds. Got {list(slices)!r} instead.")
    step = max(256, BLOCK_BYTES // (8 * (X.shape[1] + 2)))
    blocks = tuple(
        (fold, at, min(at + step, stop)) for fold, (start, stop) in enumerate(bounds) for at in range(start, stop, step)
    )
    return Rows(X, y, weights, len(bounds), len(bounds) == 1, blocks)


def named(rows: Rows, fold: int) -> str:
    """Say which training rows are meant."""
    return "all rows" if rows.in_sample else f"the training rows of fold {fold + 1} of {rows.folds}"


def typical_row(X: Array) -> Array:
    """Return a point near the middle of the columns, from about a thousand rows; sums are taken around it."""
    return np.asarray(X[:: max(1, len(X) // 1024)].mean(axis=0))


def _augmented(rows: Rows, centre: Array, shift: float, scale: Array | None) -> Iterator[tuple[int, Array]]:
    """Yield fold and sqrt(w) [1, (x - centre) scale, y - shift], block by block, in one reused buffer."""
    width = rows.X.shape[1] + 2
    buffer = np.empty((max(stop - start for _, start, stop in rows.blocks), width))
    for fold, start, stop in rows.blocks:
        block = buffer[: stop - start]
        block[:, 0] = 1.0
        np.subtract(rows.X[start:stop], centre, out=block[:, 1:-1])
        np.subtract(rows.y[start:stop], shift, out=block[:, -1])
        if scale is not None:
            block[:, 1:-1] *= scale
        if rows.weights is not None:
            block *= np.sqrt(rows.weights[start:stop])[:, None]
        yield fold, block


@dataclass(frozen=True, eq=False)
class Moments:
    """Weighted means, spreads and correlations of one training set; ``corr`` is None when they cannot be trusted."""

    mean: Array  # (p,)
    spread: Array  # (p,) standard deviations
    mean_y: float
    cross: Array  # (p,) mean of standardised x times centred y
    square_y: float
    corr: Array | None  # (p, p)


def gram_moments(rows: Rows) -> list[Moments]:
    """Return the moments of each training set from one pass of sums of squares and products."""
    width, centre, shift = rows.X.shape[1] + 2, typical_row(rows.X), float(rows.y.mean())
    grams = np.zeros((rows.folds, width, width))
    with np.errstate(over="ignore", invalid="ignore"):
        for fold, block in _augmented(rows, centre, shift, None):
            grams[fold] += block.T @ block
        return [_centred(rows, fold, gram, centre, shift) for fold, gram in enumerate(rows.all_training(grams))]


def _centred(rows: Rows, fold: int, gram: Array, centre: Array, shift: float) -> Moments:
    """Turn sums of products around ``centre`` into moments, noticing when rounding has eaten the digits."""
    total = gram[0, 0]
    if not total > 0 and np.isfinite(rows.y).all():
        raise PositivityError(f"No row of positive weight is left in {named(rows, fold)}: use fewer folds.")
    means, raw = gram[0, 1:] / total, np.diagonal(gram)[1:] / total
    products = gram[1:, 1:] / total - np.outer(means, means)
    squares = np.diagonal(products)
    trusted = bool(np.all((squares > 1e-5 * raw) & (squares > 1e-140) & (squares < 1e140)))
    spread = np.sqrt(np.maximum(squares[:-1], 0.0))
    if not trusted:
        return Moments(centre + means[:-1], spread, shift + means[-1], products[:-1, -1], squares[-1], None)
    corr = products[:-1, :-1] / np.outer(spread, spread)
    return Moments(centre + means[:-1], spread, shift + means[-1], products[:-1, -1] / spread, squares[-1], corr)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular value decomposition of one training set's standardised columns, divided by sqrt(total weight)."""

    mean: Array  # (p,)
    spread: Array  # (p,) infinite where the column is constant, so that its coefficient is 0
    mean_y: float
    values: Array  # (r,) singular values, decreasing, the null ones removed
    vectors: Array  # (p, r)
    target: Array  # (r,) left vectors times centred y
    square_y: float

    @property
    def rank(self) -> int:
        """Number of linearly independent standardised columns."""
        return len(self.values)


def spectra(rows: Rows) -> Callable[[int], Spectrum]:
    """Return fold -> spectrum, from orthogonal (QR) factors of the folds: slower, but it never squares the columns.

    The pass over the rows is made at the first call.
    """
    made: list[tuple[list[Array], _Units]] = []

    def spectrum(fold: int) -> Spectrum:
        if not made:
            made.append(_triangles(rows))
        parts, units = made[0]
        stacked = np.concatenate(parts if rows.in_sample else parts[:fold] + parts[fold + 1 :])
        if not np.any(stacked[:, 0]):
            raise PositivityError(f"No row of positive weight is left in {named(rows, fold)}: use fewer folds.")
        return _decompose(_triangle(stacked), units)

    return spectrum


def _triangle(block: Array) -> Array:
    """Return R of the QR decomposition."""
    return np.asarray(np.linalg.qr(block, mode="r"), dtype=np.float64)


def _triangles(rows: Rows) -> tuple[list[Array], _Units]:
    """Return R of sqrt(w) [1, x, y] for each fold, and the units of its columns."""
    if not (np.isfinite(rows.X).all() and np.isfinite(rows.y).all()):
        raise InputError("The design and the target must be finite numbers: NaN or inf was found.")
    top = np.maximum(np.abs(rows.X.max(axis=0)), np.abs(rows.X.min(axis=0)))
    unit = np.ones_like(top)
    if np.any((top > 0) & ((top < 1e-100) | (top > 1e100))):  # sums or squares could leave the range of numbers
        unit = np.ldexp(1.0, -np.clip(np.frexp(top)[1], -1000, 1000))  # a power of two costs no digit
        rows = replace(rows, X=rows.X * unit)
    centre, shift = typical_row(rows.X), float(rows.y.mean())
    extent = np.maximum(rows.X.max(axis=0) - centre, centre - rows.X.min(axis=0))
    units = _Units(centre, shift, np.ldexp(1.0, -np.frexp(extent)[1]), unit)
    parts = [np.zeros((0, len(centre) + 2)) for _ in range(rows.folds)]
    for fold, block in _augmented(rows, centre, shift, units.scale):
        parts[fold] = _triangle(np.concatenate([parts[fold], block]))
    return parts, units


@dataclass(frozen=True, eq=False)
class _Units:
    centre: Array
    shift: float
    scale: Array
    unit: Array


def _decompose(R: Array, at: _Units) -> Spectrum:
    """Read means off the first row of the triangle and decompose what is left."""
    root = R[0, 0]
    inner, last = R[1:, 1:-1] / root, R[1:, -1] / root
    size = np.sqrt(np.einsum("ij,ij->j", inner, inner))
    constant = size <= 1e-13 * np.hypot(size, R[0, 1:-1] / root)
    size = np.where(constant, np.inf, size)
    mean = at.centre + R[0, 1:-1] / root / at.scale
    spread = size / at.scale
    left, values, right = np.linalg.svd(inner / size, full_matrices=False)
    # below this level a direction is the rounding of the numbers handed in, not information
    offset = np.max(np.abs(mean) / spread, initial=0.0)
    kept = values > EPSILON * max(100, 10 * len(size)) * (1.0 + offset)
    return Spectrum(
        mean / at.unit,
        spread / at.unit,
        at.shift + R[0, -1] / root,
        values[kept],
        np.ascontiguousarray(right[kept].T),
        left[:, kept].T @ last,
        float(last @ last),
    )
