"""Smooth additive regression with pairwise products: penalties chosen from one matrix of sums, a few passes in all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import SplineTransformer

from causalif._validate import Array

CHUNK_NUMBERS = 1 << 22  # 32 MB of basis at a time, however many rows there are
PENALTIES = np.logspace(2.5, -6.0, 35)
SHARES = (0.0, 0.1, 0.3, 1.0)  # how freely curves or products may move, relative to straight lines
DEGREES_PRICE = 1.4  # a degree of freedom counts this much: the choice among penalties costs some as well
MOST_PAIRS = 300
STRAIGHT, CURVE, PRODUCT = 0, 1, 2


@dataclass(frozen=True, eq=False)
class _Curve:
    """Departures of one column from a straight line, ordered from smooth to wiggly by their scale."""

    column: int
    splines: Any
    weights: Array  # (k, k - 2)
    centre: Array

    def __call__(self, X: Array) -> Array:
        return np.asarray(self.splines.transform(X[:, [self.column]]) @ self.weights - self.centre)


@dataclass(frozen=True, eq=False)
class Basis:
    """Standardised columns, a curve for each column of many values, and products of pairs."""

    mean: Array
    spread: Array
    curves: tuple[_Curve, ...]
    pairs: npt.NDArray[np.intp]  # (m, 2)
    groups: npt.NDArray[np.intp]  # (q,)

    def __call__(self, X: Array) -> Array:
        """Return the basis, shape (n, q)."""
        straight = (X - self.mean) / self.spread
        parts = [straight, *(curve(X) for curve in self.curves)]
        if len(self.pairs):
            near = np.clip(straight, -3.0, 3.0)  # a product of two far values would dominate the fit
            parts.append(near[:, self.pairs[:, 0]] * near[:, self.pairs[:, 1]])
        return np.concatenate(parts, axis=1)


def basis_for(X: Array, knots: int, products: bool) -> Basis:
    """Choose the basis from the columns alone."""
    mean, spread = X.mean(axis=0), X.std(axis=0)
    varies = spread > 1e-12 * np.maximum(np.abs(mean), np.finfo(np.float64).tiny)
    curves = tuple(curve for j in np.flatnonzero(varies) if (curve := _curve(X, int(j), knots)) is not None)
    pairs = np.array(list(combinations(np.flatnonzero(varies), 2)), dtype=np.intp).reshape(-1, 2)
    if not products or len(pairs) > min(MOST_PAIRS, len(X) / 4):
        pairs = pairs[:0]
    sizes = (X.shape[1], sum(len(curve.centre) for curve in curves), len(pairs))
    groups = np.repeat([STRAIGHT, CURVE, PRODUCT], sizes)
    return Basis(mean, np.where(varies, spread, np.inf), curves, pairs, groups)


def _curve(X: Array, column: int, knots: int) -> _Curve | None:
    """Return second-difference coordinates of cubic splines, or None for a column of two values."""
    sample = X[:: max(1, len(X) // 20_000), column]
    at = np.unique(np.quantile(sample, np.linspace(0.0, 1.0, knots)))
    if len(at) < knots:  # ties: let the distinct values themselves carry the knots
        values = np.unique(sample)
        at = values[np.unique(np.linspace(0, len(values) - 1, knots).round().astype(int))]
    if len(at) < 3:
        return None
    splines = SplineTransformer(knots=at[:, None], degree=min(3, len(at) - 1), extrapolation="constant")
    spread_out = splines.fit_transform(sample[:, None])
    # penalising these coordinates equally is penalising second differences of the spline coefficients
    weights = np.linalg.pinv(np.diff(np.eye(spread_out.shape[1]), n=2, axis=0))
    curve = spread_out @ weights
    size = float(np.sqrt(curve.var(axis=0).sum()))
    if not size > 0:
        return None
    return _Curve(column, splines, weights / size, curve.mean(axis=0) / size)


@dataclass(frozen=True, eq=False)
class Choice:
    """Penalty and freedoms of curves and products."""

    penalty: float
    curve: float
    product: float


@dataclass(frozen=True, eq=False)
class SmoothFit:
    """A fitted smooth predictor."""

    basis: Basis
    coef: Array
    intercept: float
    choice: Choice

    def __call__(self, X: Array) -> Array:
        """Return the linear predictor, shape (n,)."""
        out = np.empty(len(X))
        for rows in _chunks(len(X), len(self.coef)):
            out[rows] = self.basis(X[rows]) @ self.coef + self.intercept
        return out


def _chunks(n: int, width: int) -> Iterator[slice]:
    step = max(1, CHUNK_NUMBERS // max(1, width))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


class _Design:
    """The basis over all rows, kept if it fits in one chunk and evaluated again for every pass otherwise."""

    def __init__(self, basis: Basis, X: Array) -> None:
        self.basis, self.X, self.slices = basis, X, list(_chunks(len(X), len(basis.groups)))
        self.kept = basis(X) if len(self.slices) == 1 else None

    def sums(self, target: Array, weights: Array) -> _Sums:
        """Gather centred second moments of the basis and a target."""
        q = len(self.basis.groups)
        gram = np.zeros((q + 2, q + 2))
        for rows in self.slices:
            part = self.basis(self.X[rows]) if self.kept is None else self.kept
            block = np.column_stack([np.ones(len(part)), part, target[rows]]) * np.sqrt(weights[rows])[:, None]
            gram += block.T @ block
        total = gram[0, 0]
        gram /= total
        centred = gram[1:, 1:] - np.outer(gram[0, 1:], gram[0, 1:])
        return _Sums(total, gram[0, 1:-1], float(gram[0, -1]), centred[:-1, :-1], centred[:-1, -1], centred[-1, -1])


@dataclass(frozen=True, eq=False)
class _Sums:
    total: float
    mean: Array
    mean_y: float
    cov: Array
    cross: Array
    square_y: float


def smooth_mean(X: Array, y: Array, weights: Array, knots: int, products: bool) -> SmoothFit:
    """Fit by penalised least squares, penalties by generalized cross-validation."""
    basis = basis_for(X, knots, products)
    sums = _Design(basis, X).sums(y, weights)
    n = float(np.count_nonzero(weights))

    def score(rss: Array, freedom: Array) -> Array:
        left = 1.0 - DEGREES_PRICE * freedom / n
        return np.where(left > 0.05, rss / np.maximum(left, 0.05) ** 2, np.inf)

    choice, coef = _search(sums, basis.groups, score)
    return SmoothFit(basis, coef, sums.mean_y - float(sums.mean @ coef), choice)


def smooth_log_odds(X: Array, y: Array, weights: Array, knots: int, products: bool) -> SmoothFit:
    """Fit by penalised Newton steps, penalties by an unbiased risk estimate of the first ones, then kept."""
    basis = basis_for(X, knots, products)
    weights = weights * (np.count_nonzero(weights) / weights.sum())
    prior = float(np.clip(weights @ y / weights.sum(), 1e-6, 1 - 1e-6))
    fit = SmoothFit(basis, np.zeros(len(basis.groups)), float(np.log(prior / (1 - prior))), Choice(1.0, 0.0, 0.0))
    few = slice(None, None, max(1, len(X) // 20_000))  # the penalties do not need every row
    fit = _climb(_Design(basis, np.ascontiguousarray(X[few])), y[few], weights[few], fit, searches=3, steps=12)
    if len(X) < 40_000:
        return fit
    return _climb(_Design(basis, X), y, weights, fit, searches=1, steps=3)


def _climb(design: _Design, y: Array, weights: Array, fit: SmoothFit, searches: int, steps: int) -> SmoothFit:
    """Repeat penalised weighted least squares on the working response."""
    n, predictor = float(np.count_nonzero(weights)), fit(design.X)
    for step in range(steps):
        p = 1.0 / (1.0 + np.exp(-np.clip(predictor, -12.0, 12.0)))
        spread = p * (1.0 - p)
        sums = design.sums(predictor + (y - p) / spread, weights * spread)

        def score(rss: Array, freedom: Array, total: float = sums.total) -> Array:
            return total * rss + 2.0 * DEGREES_PRICE * freedom

        free = step < searches and n > 1
        choice, coef = _search(sums, design.basis.groups, score) if free else (fit.choice, _solved(sums, design, fit))
        new = SmoothFit(design.basis, coef, sums.mean_y - float(sums.mean @ coef), choice)
        moved = new(design.X) - predictor
        share = min(1.0, 4.0 / max(float(np.abs(moved).max()), 1e-300))
        fit = SmoothFit(
            design.basis,
            fit.coef + share * (new.coef - fit.coef),
            fit.intercept + share * (new.intercept - fit.intercept),
            choice,
        )
        predictor = predictor + share * moved
        if step >= searches and float(np.abs(moved).max()) < 1e-3:
            break
    return fit


def _solved(sums: _Sums, design: _Design, fit: SmoothFit) -> Array:
    """Solve once more with the penalties already chosen."""
    return _path(sums, design.basis.groups, fit.choice.curve, fit.choice.product, np.array([fit.choice.penalty]))[2][0]


def _search(sums: _Sums, groups: npt.NDArray[np.intp], score: Any) -> tuple[Choice, Array]:
    """Choose the freedom of curves, then of products, each with the best penalty."""
    best: tuple[float, Choice, Array] | None = None
    curves = SHARES if np.any(groups == CURVE) else (0.0,)
    for curve in curves:
        best = _better(best, sums, groups, curve, 0.0, score)
    assert best is not None
    for product in SHARES[1:] if np.any(groups == PRODUCT) else ():
        best = _better(best, sums, groups, best[1].curve, product, score)
    return best[1], best[2]


def _better(
    best: tuple[float, Choice, Array] | None,
    sums: _Sums,
    groups: npt.NDArray[np.intp],
    curve: float,
    product: float,
    score: Any,
) -> tuple[float, Choice, Array]:
    rss, freedom, coefs = _path(sums, groups, curve, product, PENALTIES)
    scores = score(rss, freedom)
    at = int(np.argmin(scores))
    if best is not None and best[0] <= scores[at]:
        return best
    return float(scores[at]), Choice(float(PENALTIES[at]), curve, product), coefs[at]


def _path(
    sums: _Sums, groups: npt.NDArray[np.intp], curve: float, product: float, penalties: Array
) -> tuple[Array, Array, Array]:
    """Return mean squared residual, degrees of freedom and coefficients for every penalty, from one decomposition."""
    freedoms = np.array([1.0, curve, product])[groups]
    used = np.flatnonzero(freedoms)
    scale = freedoms[used]
    values, vectors = np.linalg.eigh(sums.cov[np.ix_(used, used)] * np.outer(scale, scale))
    values = np.maximum(values, 0.0)
    target = vectors.T @ (scale * sums.cross[used])
    slopes = target / (values + penalties[:, None])
    rss = np.maximum(sums.square_y - 2 * slopes @ target + (slopes**2) @ values, 0.0)
    freedom = 1.0 + (values / (values + penalties[:, None])).sum(axis=1)
    coefs = np.zeros((len(penalties), len(groups)))
    coefs[:, used] = (slopes @ vectors.T) * scale
    return rss, freedom, coefs
