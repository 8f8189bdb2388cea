"""Weights by least squares: the Riesz representer of an average over blocks of columns drawn independently."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from sklearn.preprocessing import SplineTransformer

from causalif._errors import PositivityError
from causalif._validate import Array
from causalif.engine.nuisance import DensityRatio, met
from causalif.table import Table

if TYPE_CHECKING:
    from causalif.engine.learners import Predictor

Numbers = npt.NDArray[np.intp]

FEW_VALUES = 6
ROWS_PER_TERM, MOST_TERMS = 3, 400
ROWS_AT_ONCE = 20_000
# Ridge penalties in rows: the weight of a term is shrunk as if this many rows said that it is zero.
PENALTIES = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
PARTS = 5


@dataclass(frozen=True)
class Richness:
    """How each block is described: splines with so many knots (0: squares) and products of columns in the block."""

    knots: int
    products: bool


SIMPLE = Richness(0, False)
CANDIDATES = (SIMPLE, Richness(0, True), Richness(4, True), Richness(7, True))


@dataclass(frozen=True, eq=False)
class Column:
    """A column as standardised terms: indicators of its values if these are few, else powers or splines."""

    values: Array
    spline: SplineTransformer | None
    centre: Array
    spread: Array

    @classmethod
    def of(cls, x: Array, knots: int) -> Column:
        """Choose the terms by the values present, and standardise them."""
        values = np.unique(x) if _few(x) else np.empty(0)
        spline = None if len(values) or not knots else _spline(x, knots)
        raw = cls(values, spline, np.zeros(1), np.ones(1))(x)
        spread = raw.std(axis=0)
        return cls(values, spline, raw.mean(axis=0), np.where(spread > 0, spread, 1.0))

    def __call__(self, x: Array) -> Array:
        """Return the terms, shape (n, k)."""
        if len(self.values):
            nearest = np.abs(x[:, None] - self.values).argmin(axis=1)
            terms = (nearest[:, None] == np.arange(1, len(self.values))).astype(float)
        elif self.spline is not None:
            terms = np.asarray(self.spline.transform(x[:, None]))
        else:
            terms = np.column_stack([x, x**2])
        return np.asarray((terms - self.centre) / self.spread)


def _few(x: Array) -> bool:
    return len(np.unique(x[:1000])) <= FEW_VALUES and len(np.unique(x)) <= FEW_VALUES


def _spline(x: Array, knots: int) -> SplineTransformer | None:
    """Quadratic splines with knots at quantiles, constant beyond the data; None where ties leave a single knot."""
    at = np.unique(np.quantile(x, np.linspace(0, 1, knots)))
    if len(at) < 2:
        return None
    return SplineTransformer(degree=2, knots=at[:, None], extrapolation="constant", include_bias=False).fit(x[:, None])


@dataclass(frozen=True, eq=False)
class Block:
    """Terms of several columns, the constant first, with products of terms of different columns if asked for."""

    columns: tuple[Column, ...]
    products: bool

    @classmethod
    def of(cls, X: Array, rich: Richness) -> Block:
        """Describe every column."""
        return cls(tuple(Column.of(X[:, j], rich.knots) for j in range(X.shape[1])), rich.products)

    def __call__(self, X: Array) -> Array:
        """Return the terms, shape (n, k)."""
        alone = [column(X[:, j]) for j, column in enumerate(self.columns)]
        pairs = itertools.combinations(alone, 2) if self.products else ()
        return np.hstack([np.ones((len(X), 1)), *alone, *(_products(left, right) for left, right in pairs)])


def _products(left: Array, right: Array) -> Array:
    return (left[:, :, None] * right[:, None, :]).reshape(len(left), -1)


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over some rows from which the least squares problem is made, and taken apart again.

    ``gram`` = Σ 1(among) w b bᵀ, ``first`` = Σ u b1, ``second`` = Σ w b2, ``own`` = Σ u w b, ``totals`` = Σ u, Σ w,
    Σ u w, Σ 1(among) w; b = b1 ⊗ b2, w are the sampling weights and u those of the rows that the first block is drawn
    from.
    """

    gram: Array
    first: Array
    second: Array
    own: Array
    totals: Array

    def __add__(self, other: Moments) -> Moments:
        return Moments(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def __sub__(self, other: Moments) -> Moments:
        return Moments(*(getattr(self, name) - getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def target(self) -> Array:
        """U[b(z1_i, z2_j)] over pairs of different rows: a product of sums, less the rows paired with themselves."""
        u, w, uw, _ = self.totals
        return np.asarray((np.outer(self.first, self.second).ravel() - self.own) / (u * w - uw))

    def fit(self, penalty: float) -> Array:
        """Return the coefficients with a ridge on all but the constant."""
        system = self.gram / self.totals[1]
        ridge = np.full(len(system), penalty / self.totals[1])
        ridge[0] = 0.0
        try:
            return np.asarray(cho_solve(cho_factor(system + np.diag(ridge)), self.target))
        except LinAlgError:
            return np.asarray(np.linalg.lstsq(system + np.diag(ridge), self.target, rcond=None)[0])

    def loss(self, beta: Array) -> float:
        """Return P[1(among) w²] − 2 U[w] of the weight with these coefficients."""
        return float(beta @ (self.gram / self.totals[1]) @ beta - 2 * beta @ self.target)


@dataclass(frozen=True, eq=False)
class RieszWeight:
    """A fitted weight as a function of both blocks side by side."""

    first: Block
    second: Block
    coefficients: Array

    def __call__(self, X: Array) -> Array:
        """Return the weight at every row, shape (n,)."""
        found, split = np.empty(len(X)), len(self.first.columns)
        for part in _chunks(len(X)):
            one, other = self.first(X[part, :split]), self.second(X[part, split:])
            found[part] = ((one @ self.coefficients) * other).sum(axis=1)
        return found


@dataclass(frozen=True)
class RieszLearner:
    r"""Least squares for the weight of a product law.

    .. math:: \min_w P_n[1(among) w(Z_1, Z_2)^2] - 2 U_n[w(Z_{1i}, Z_{2j})]

    whose solution in the population is p(z1) p(z2) / p(z1, z2, among). The weight is linear in products of terms of
    the two blocks, so both averages are sums over rows, not over pairs.

    Parameters
    ----------
    candidates : tuple of Richness
        Descriptions of the blocks, simplest first. The loss out of 5 parts chooses description and ridge penalty: the
        simplest, most penalised pair whose loss is within a standard error of the smallest, for a few large weights
        make the loss noisy and the smallest one rich. Each but the first is left out where fewer than 3 rows would
        come on a term, or where it has more than 400 terms.

    References
    ----------
    Chernozhukov, Newey and Singh (2022), Automatic Debiased Machine Learning of Causal and Structural Effects,
    Econometrica 90(3).
    """

    candidates: tuple[Richness, ...] = CANDIDATES

    def fit(self, spec: DensityRatio, table: Table, seed: int) -> Predictor:
        """Fit on training rows and return the weight as a function of the columns ``spec.given``."""
        first, second = table.matrix(spec.first), table.matrix(spec.second)
        among, drawn = (_weights(where, table) for where in (spec.among, spec.where))
        rows = int((among > 0).sum())
        if not rows or not (drawn > 0).any():
            raise PositivityError("no training row meets the conditions of the weight; use fewer folds.")
        parts = np.random.default_rng(seed).permutation(np.arange(len(table)) % PARTS)
        fits = []
        for number, rich in enumerate(self.candidates):
            blocks = Block.of(first, rich), Block.of(second, rich)
            terms = np.prod([block(X[:1]).shape[1] for block, X in zip(blocks, (first, second), strict=True)])
            if number == 0 or terms <= min(MOST_TERMS, rows / ROWS_PER_TERM):
                moments = _moments(blocks, first, second, among, drawn, table, parts)
                fits += [(blocks, moments, penalty) for penalty in PENALTIES]
        losses = np.array([_losses(moments, penalty) for _, moments, penalty in fits])
        blocks, moments, penalty = fits[_simplest(losses)]
        beta = sum(moments[1:], start=moments[0]).fit(penalty)
        return RieszWeight(*blocks, beta.reshape(blocks[0](first[:1]).shape[1], -1))


def _weights(where: tuple[tuple[str, float], ...], table: Table) -> Array:
    """Return the sampling weights of the rows that meet the conditions, 0 of the others."""
    w, inside = _sampling(table), met(where, table)
    return w if inside is None else w * inside


def _sampling(table: Table) -> Array:
    return np.ones(len(table)) if table.weights is None else table.weights


def _moments(
    blocks: tuple[Block, Block], first: Array, second: Array, among: Array, drawn: Array, table: Table, parts: Numbers
) -> list[Moments]:
    """Return the moments of each part of the rows."""
    sampled, found = _sampling(table), []
    for part in range(PARTS):
        rows = np.flatnonzero(parts == part)
        sums = None
        for chunk in _chunks(len(rows)):
            at = rows[chunk]
            more = _of_rows(blocks[0](first[at]), blocks[1](second[at]), among[at], drawn[at], sampled[at])
            sums = more if sums is None else sums + more
        if sums is not None:
            found.append(sums)
    return found


def _of_rows(one: Array, other: Array, among: Array, drawn: Array, sampled: Array) -> Moments:
    terms = _products(one, other)
    inside = among > 0
    counted = terms[inside]
    gram = counted.T @ (counted * among[inside, None])
    totals = np.array([drawn.sum(), sampled.sum(), drawn @ sampled, among.sum()])
    return Moments(gram, drawn @ one, sampled @ other, (drawn * sampled) @ terms, totals)


def _losses(parts: list[Moments], penalty: float) -> Array:
    """Return the loss on each part of the fit to the others; 0 on a part that has nothing to tell."""
    total = sum(parts[1:], start=parts[0])
    usable = [part.totals[0] > 0 and part.totals[3] > 0 for part in parts]
    return np.array([
        part.loss((total - part).fit(penalty)) if told else 0.0 for part, told in zip(parts, usable, strict=True)
    ])  # fmt: skip


def _simplest(losses: Array) -> int:
    """Return the first row whose mean is within a standard error of the smallest, differences taken part by part."""
    more = losses - losses[losses.mean(axis=1).argmin()]
    spread = more.std(axis=1, ddof=1) / np.sqrt(losses.shape[1])
    return int(np.flatnonzero(more.mean(axis=1) <= spread)[0])


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, min(n, start + ROWS_AT_ONCE)) for start in range(0, n, ROWS_AT_ONCE))
