"""Smooth additive regression with pairwise products: penalties chosen from one matrix of sums, a few passes in all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import SplineTransformer

from causalif._validate import Array

CHUNK_NUMBERS = 1 << 20  # 8 MB of basis at a time, however many rows there are
KEPT_NUMBERS = 1 << 23  # up to 64 MB of basis are kept between passes
PENALTIES = np.logspace(2.5, -6.0, 35)
SHARES = (0.1, 0.3, 1.0)  # how freely curves or products may move, relative to straight lines
DEGREES_PRICE = 1.4  # a degree of freedom counts this much: the choice among penalties costs some as well
MOST_PAIRS = 300
SEARCHES, SETTLING = 3, 9  # Newton steps that choose penalties, and most steps that then keep them
STRAIGHT, CURVE, PRODUCT = 0, 1, 2


@dataclass(frozen=True, eq=False)
class _Curve:
    """Departures of one column from a straight line, ordered from smooth to wiggly by their scale."""

    column: int
    splines: Any
    weights: Array  # (k, k - 2)
    centre: Array

    def __call__(self, values: Array) -> Array:
        return np.asarray(self.weights.T @ self.splines.transform(values[:, None]).T - self.centre[:, None])


@dataclass(frozen=True, eq=False)
class Basis:
    """Standardised columns, a curve for each column of many values, and products of pairs."""

    mean: Array
    spread: Array
    curves: tuple[_Curve, ...]
    pairs: npt.NDArray[np.intp]  # (m, 2)
    groups: npt.NDArray[np.intp]  # (q,)

    def __call__(self, X: Array) -> Array:
        """Return the basis, one row per function, shape (q, n)."""
        columns, p = np.ascontiguousarray(X.T), X.shape[1]
        out = np.empty((len(self.groups), len(X)))
        np.divide(columns - self.mean[:, None], self.spread[:, None], out=out[:p])
        at = p
        for curve in self.curves:
            stop = at + len(curve.centre)
            out[at:stop] = curve(columns[curve.column])
            at = stop
        near = np.clip(out[:p], -3.0, 3.0)  # a product of two far values would dominate the fit
        for first, second in self.pairs:
            np.multiply(near[first], near[second], out=out[at])
            at += 1
        return out


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
    weights = np.asarray(np.linalg.pinv(np.diff(np.eye(spread_out.shape[1]), n=2, axis=0)), dtype=np.float64)
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

    def on(self, block: Array) -> Array:
        """Return the linear predictor for a block of the basis."""
        return np.asarray(self.coef @ block + self.intercept)

    def __call__(self, X: Array) -> Array:
        """Return the linear predictor, shape (n,)."""
        out = np.empty(len(X))
        for rows in _chunks(len(X), len(self.coef)):
            out[rows] = self.on(self.basis(X[rows]))
        return out


def _chunks(n: int, width: int) -> Iterator[slice]:
    step = max(1, CHUNK_NUMBERS // max(1, width))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


class _Design:
    """The basis over all rows, block by block; kept if it is small and evaluated again for every pass otherwise."""

    def __init__(self, basis: Basis, X: Array) -> None:
        self.basis, self.X = basis, X
        self.slices = list(_chunks(len(X), len(basis.groups)))
        small = len(X) * len(basis.groups) <= KEPT_NUMBERS
        self.kept = [(rows, basis(X[rows])) for rows in self.slices] if small else None

    def blocks(self) -> Iterable[tuple[slice, Array]]:
        """Yield rows and their basis."""
        return self.kept if self.kept is not None else ((rows, self.basis(self.X[rows])) for rows in self.slices)

    def sums(self, working: Callable[[slice, Array], tuple[Array, Array]]) -> _Sums:
        """Gather centred second moments of the basis and of the target that ``working`` returns with its weights."""
        q = len(self.basis.groups)
        gram = np.zeros((q + 2, q + 2))
        for rows, block in self.blocks():
            target, weights = working(rows, block)
            root = np.sqrt(weights)
            tall = np.empty((q + 2, len(root)))
            tall[0] = root
            np.multiply(block, root, out=tall[1:-1])
            np.multiply(target, root, out=tall[-1])
            gram += tall @ tall.T
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
    basis = basis_for(X if weights.all() else X[weights > 0], knots, products)
    sums = _Design(basis, X).sums(lambda rows, block: (y[rows], weights[rows]))
    n = float(np.count_nonzero(weights))

    def score(rss: Array, freedom: Array) -> Array:
        left = 1.0 - DEGREES_PRICE * freedom / n
        return np.where(left > 0.05, rss / np.maximum(left, 0.05) ** 2, np.inf)

    choice, coef = _search(sums, basis.groups, score)
    return SmoothFit(basis, coef, sums.mean_y - float(sums.mean @ coef), choice)


def smooth_log_odds(X: Array, y: Array, weights: Array, knots: int, products: bool) -> SmoothFit:
    """Fit by penalised Newton steps, penalties by an unbiased risk estimate of the first ones, then kept."""
    basis = basis_for(X if weights.all() else X[weights > 0], knots, products)
    weights = weights * (np.count_nonzero(weights) / weights.sum())
    prior = float(np.clip(weights @ y / weights.sum(), 1e-6, 1 - 1e-6))
    fit = SmoothFit(basis, np.zeros(len(basis.groups)), float(np.log(prior / (1 - prior))), Choice(1.0, 0.0, 0.0))
    present = np.flatnonzero(weights)
    few = present[:: max(1, len(present) // 20_000)]
    sample = _Design(basis, X[few])
    for step in range(SEARCHES + SETTLING):
        new = _newton(sample, y[few], weights[few], fit, search=step < SEARCHES)
        largest = max(float(np.abs(new.on(block) - fit.on(block)).max()) for _, block in sample.blocks())
        fit = _between(fit, new, min(1.0, 4.0 / max(largest, 4.0)))  # no row moves by more than 4 at a time
        if step >= SEARCHES and largest < 1e-3:
            break
    if len(present) < 40_000:
        return fit
    everything = _Design(basis, X)
    return _newton(everything, y, weights, _newton(everything, y, weights, fit, search=True), search=False)


def _between(old: SmoothFit, new: SmoothFit, share: float) -> SmoothFit:
    """Go a share of the way from one fit to another."""
    coef, intercept = (1 - share) * old.coef + share * new.coef, (1 - share) * old.intercept + share * new.intercept
    return SmoothFit(new.basis, coef, intercept, new.choice)


def _newton(design: _Design, y: Array, weights: Array, fit: SmoothFit, search: bool) -> SmoothFit:
    """Return the penalised weighted least squares fit of the working response."""

    def working(rows: slice, block: Array) -> tuple[Array, Array]:
        eta = np.clip(fit.on(block), -12.0, 12.0)
        p = 1.0 / (1.0 + np.exp(-eta))
        spread = p * (1.0 - p)
        return eta + (y[rows] - p) / spread, weights[rows] * spread

    sums = design.sums(working)

    def score(rss: Array, freedom: Array) -> Array:
        return sums.total * rss + 2.0 * DEGREES_PRICE * freedom

    choice, coef = _search(sums, fit.basis.groups, score) if search else (fit.choice, _solved(sums, fit))
    return SmoothFit(fit.basis, coef, sums.mean_y - float(sums.mean @ coef), choice)


def _solved(sums: _Sums, fit: SmoothFit) -> Array:
    """Solve once more with the penalties already chosen."""
    choice = fit.choice
    return _path(sums, fit.basis.groups, choice.curve, choice.product, np.array([choice.penalty]))[2][0]


Score = Callable[[Array, Array], Array]  # mean squared residuals and degrees of freedom -> what is to be small


def _search(sums: _Sums, groups: npt.NDArray[np.intp], score: Score) -> tuple[Choice, Array]:
    """Choose the freedom of curves, then of products, each with the best penalty."""
    best = _best_penalty(sums, groups, 0.0, 0.0, score)
    for curve in SHARES if np.any(groups == CURVE) else ():
        best = min(best, _best_penalty(sums, groups, curve, 0.0, score), key=lambda found: found[0])
    chosen = best[1].curve
    for product in SHARES if np.any(groups == PRODUCT) else ():
        best = min(best, _best_penalty(sums, groups, chosen, product, score), key=lambda found: found[0])
    return best[1], best[2]


def _best_penalty(
    sums: _Sums, groups: npt.NDArray[np.intp], curve: float, product: float, score: Score
) -> tuple[float, Choice, Array]:
    """Return the smallest score over penalties, where it is, and the coefficients there."""
    rss, freedom, coefs = _path(sums, groups, curve, product, PENALTIES)
    scores = score(rss, freedom)
    at = int(np.argmin(scores))
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
