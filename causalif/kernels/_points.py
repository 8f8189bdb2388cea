"""Rows made ready for the matrix product: centred, scaled, norms in two more columns, heavy rows last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from causalif._errors import InputError
from causalif._validate import Array
from causalif.kernels.base import Gaussian, Kernel, Product, RadialKernel, SameLabel

# A chunk is the unit of work and of sorting, a tile what one matrix product fills. Both are part of the result's last
# digits, and therefore fixed: they never follow the number of threads. Smaller chunks keep threads busier at the end.
CHUNK = 3072
TILE = 512
PIECE = 256  # rows that are made ready at once, which stay in cache in float64
HALF_ULP = 2.0**-24
# Largest error of a single kernel value that a tile may have in float32 before it is evaluated in float64. Errors of
# single values average out in the sums.
LARGEST_ERROR = 3e-7


@dataclass(frozen=True, eq=False)
class Factor:
    """A radial kernel of some of the columns.

    Parameters
    ----------
    kernel : RadialKernel
        The kernel.
    columns : slice
        The columns that it looks at.
    stretch : ndarray, optional
        Multiplies these columns.
    """

    kernel: RadialKernel
    columns: slice
    stretch: Array | None = None

    def scaled(self, centred: Array) -> Array:
        """Return the columns in units in which half the squared distance is the exponent."""
        unit = np.sqrt(2 * self.kernel.scale)
        return centred[:, self.columns] * (unit if self.stretch is None else unit * self.stretch)


def factors_of(kernel: Kernel, d: int) -> tuple[Factor, ...]:
    """Return the radial factors of a kernel on ``d`` columns; two Gaussians become one on stretched columns."""
    if isinstance(kernel, RadialKernel):
        return (Factor(kernel, slice(0, d)),)
    x, y, split = kernel.features, kernel.labels, d - kernel.columns
    if isinstance(y, SameLabel):
        raise TypeError("classes are taken apart before factors are asked for")
    if isinstance(x, Gaussian) and isinstance(y, Gaussian):
        widths = np.r_[np.full(split, x.bandwidth), np.full(kernel.columns, y.bandwidth)]
        return (Factor(Gaussian(1.0), slice(0, d), 1 / widths),)
    return Factor(x, slice(0, split)), Factor(y, slice(split, d))


def is_rough(kernel: Kernel) -> bool:
    """Whether a kernel has a kink at zero distance."""
    if isinstance(kernel, Product):
        return kernel.features.rough or (isinstance(kernel.labels, RadialKernel) and kernel.labels.rough)
    return kernel.rough


@dataclass(frozen=True, eq=False)
class Norms:
    """Half the squared norms of the rows, and their range in every tile.

    Parameters
    ----------
    values : ndarray of shape (factors, n)
        |x|²/2 in the units of the exponent.
    size : int
        Rows of a tile.
    ends : ndarray of shape (factors, tiles, 2)
        Smallest and largest value in each tile.
    """

    values: Array
    size: int
    ends: Array

    @classmethod
    def of(cls, values: Array, size: int) -> Norms:
        """Find the ranges."""
        starts = np.arange(0, values.shape[1], size)
        ends = [extreme.reduceat(values, starts, axis=1) for extreme in (np.minimum, np.maximum)]
        return cls(values, size, np.stack(ends, axis=2))

    def tile(self, number: int) -> Array:
        """Return the norms in one tile."""
        return self.values[:, number * self.size : (number + 1) * self.size]


@dataclass(frozen=True, eq=False)
class Points:
    """One side of a product, ready for it.

    Parameters
    ----------
    source : ndarray of shape (n, d)
        The rows as given; not copied.
    center : ndarray of shape (d,)
        What is taken off every row.
    factors : tuple of Factor
        Parts of the kernel.
    order : ndarray of int, shape (n,)
        Row behind each position; rows move within their chunk only, those far from the centre to its end.
    rows : tuple of ndarray, shape (n, d_f + 2), one per factor
        [x, -|x|²/2, 1]; with [y, 1, -|y|²/2] of the other side the product is the exponent.
    norms : Norms
        |x|²/2 by tile.
    """

    source: npt.NDArray[Any]
    center: Array
    factors: tuple[Factor, ...]
    order: npt.NDArray[np.intp]
    rows: tuple[npt.NDArray[Any], ...]
    norms: Norms

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.order)

    def exact(self, positions: slice) -> list[Array]:
        """Return augmented rows in float64, one array per factor."""
        centred = self.source[self.order[positions]].astype(np.float64) - self.center
        return [augmented(factor.scaled(centred), np.dtype(np.float64))[0] for factor in self.factors]


def augmented(x: Array, dtype: np.dtype[Any]) -> tuple[npt.NDArray[Any], Array]:
    """Return [x, -|x|²/2, 1] and |x|²/2, the norm being that of the rounded row."""
    n, d = x.shape
    rows = np.empty((n, d + 2), dtype=dtype)
    rows[:, :d] = x
    if dtype != np.float64:
        np.copyto(x, rows[:, :d])
    with np.errstate(over="ignore"):
        norms = np.einsum("ij,ij->i", x, x) / 2
    if not (norms < np.finfo(dtype).max / 8).all():
        raise InputError(
            "`A` and `B` hold values so far from the centre, in units of the bandwidth, that their squares overflow "
            f"{dtype}. Standardise the features or use a larger bandwidth."
        )
    rows[:, d] = -norms
    rows[:, d + 1] = 1.0
    return rows, norms


def spans(n: int, size: int) -> Iterator[slice]:
    """Cut ``n`` rows into runs of ``size``, the last one shorter."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def prepare(source: npt.NDArray[Any], center: Array, factors: tuple[Factor, ...], dtype: np.dtype[Any]) -> Points:
    """Centre, scale and augment the rows, chunk by chunk."""
    n = len(source)
    widths = [len(range(*factor.columns.indices(source.shape[1]))) for factor in factors]
    rows = tuple(np.empty((n, width + 2), dtype=dtype) for width in widths)
    order = np.arange(n)
    halves = np.empty((len(factors), n))
    for chunk in spans(n, CHUNK):
        parts, norms = [part[chunk] for part in rows], halves[:, chunk]
        for piece in spans(chunk.stop - chunk.start, PIECE):
            centred = source[chunk][piece].astype(np.float64)
            centred -= center
            for number, factor in enumerate(factors):
                parts[number][piece], norms[number, piece] = augmented(factor.scaled(centred), dtype)
        if dtype == np.float32 and not all_light(norms, factors):
            within = np.argsort(norms.sum(axis=0), kind="stable")
            order[chunk] += within - np.arange(len(within))
            for part in (*parts, norms.T):
                part[:] = part[within]
    return Points(source, center, factors, order, rows, Norms.of(halves, TILE))


def below(source: npt.NDArray[Any], pieces: Sequence[Points]) -> Points:
    """Return rows that are ready one below the other; ``source`` is all of them as given."""
    first = pieces[0]
    if len(pieces) == 1:
        return replace(first, source=source)
    starts = np.cumsum([0, *map(len, pieces)])
    order = np.concatenate([piece.order + start for piece, start in zip(pieces, starts, strict=False)])
    rows = tuple(np.concatenate(parts) for parts in zip(*(piece.rows for piece in pieces), strict=True))
    norms = np.concatenate([piece.norms.values for piece in pieces], axis=1)
    return replace(first, source=source, order=order, rows=rows, norms=Norms.of(norms, TILE))


def only(points: Points, keep: npt.NDArray[np.bool_]) -> Points:
    """Return some of the rows that are ready."""
    at = np.flatnonzero(keep[points.order])
    order = (np.cumsum(keep) - 1)[points.order[at]]
    norms = Norms.of(points.norms.values[:, at], TILE)
    return replace(points, order=order, rows=tuple(part.take(at, axis=0) for part in points.rows), norms=norms)


def put(points: Points, positions: npt.NDArray[np.intp], other: Points) -> Points:
    """Return rows with others in the place of some, all of them ready."""
    where = np.empty(len(points), dtype=np.intp)
    where[points.order] = np.arange(len(points))
    at, norms = where[positions[other.order]], points.norms.values.copy()
    rows = tuple(part.copy() for part in points.rows)
    for part, new in zip((*rows, norms.T), (*other.rows, other.norms.values.T), strict=True):
        part[at] = new
    return replace(points, rows=rows, norms=Norms.of(norms, TILE))


def all_light(norms: Array, factors: Sequence[Factor]) -> bool:
    """Whether float32 will do for every pair of rows with norms up to the largest of these."""
    ends = np.stack([np.zeros(len(norms)), norms.max(axis=1, initial=0.0)], axis=1)
    return error_bound(factors, ends, ends) <= LARGEST_ERROR


def error_bound(factors: Sequence[Factor], a: Array, b: Array) -> float:
    """Bound the rounding error of kernel values between rows with norms ``a`` and rows with norms in the range ``b``.

    Norms are |x|²/2, of shape (factors, rows). The exponent is off by a few half ulps of the norms that cancel in it,
    and it is at least (√|norm a| - √|norm b|)² away from zero, as |x - y| >= | |x| - |y| |, which bounds the slope. At
    worst each of its d + 2 terms rounds a sum of up to twice these norms, all in one direction: the slope is taken that
    much nearer to zero.
    """
    bound: Any = 0.0
    for factor, here, there in zip(factors, a, b, strict=True):
        low, high = there.min(), there.max()
        root, terms = np.sqrt(here), factor.columns.stop - factor.columns.start + 2
        gap = np.maximum(np.maximum(root - high**0.5, low**0.5 - root), 0.0)
        reach = HALF_ULP * (here + high)
        slope = factor.kernel.slope(np.maximum(gap * gap - 2 * terms * reach, 0.0))
        bound = bound + reach * slope
    return float(bound.max())


def far_tiles(factors: Sequence[Factor], a: Norms, p: range, b: Norms, q: range) -> npt.NDArray[np.bool_]:
    """Pairs of tiles, numbered by ``p`` and ``q``, for whose values float32 is too short."""
    ends_a, ends_b = a.ends[:, p.start : p.stop], b.ends[:, q.start : q.stop]
    bound = np.zeros((len(p), len(q)))
    for factor, one, two in zip(factors, ends_a, ends_b, strict=True):
        bound += HALF_ULP * np.add.outer(one[:, 1], two[:, 1]) * factor.kernel.steepest
    far = bound > LARGEST_ERROR
    for row, column in np.argwhere(far):
        # Taken row by row, either side against the range of the other, the bound is sharp also where a tile is mixed.
        here = error_bound(factors, a.tile(p[row]), ends_b[:, column])
        there = error_bound(factors, b.tile(q[column]), ends_a[:, row])
        far[row, column] = min(here, there) > LARGEST_ERROR
    return far
