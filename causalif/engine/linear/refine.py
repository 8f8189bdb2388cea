"""Least squares coefficients corrected with residuals in twice the working precision, for nearly collinear columns."""

from __future__ import annotations

import numpy as np

from causalif._validate import Array
from causalif.engine.linear.moments import Rows, Spectrum

NEARLY_COLLINEAR = 1e-2  # below this singular value, rounding of the columns can reach the ninth digit
STEPS = 4


def refined(rows: Rows, fold: int, exact: Spectrum, coef: Array, intercept: float) -> tuple[Array, float]:
    """Return coefficients that solve the normal equations of the numbers as they were handed in.

    The correction solves X'X d = X'(y - X b) with the right side accurate to about eps^2, so that the error left is of
    order eps times the condition number, not its square (Björck 1996, section 2.9; dot products by Ogita, Rump and
    Oishi 2005, SIAM Journal on Scientific Computing 26, 1955-1988, algorithm 5.3).
    """
    if not exact.rank or exact.values[-1] > NEARLY_COLLINEAR:
        return coef, intercept
    before, units = np.inf, np.where(np.isfinite(exact.spread), exact.spread, 0.0)
    for _ in range(STEPS):
        gradient, total = _gradient(rows, fold, coef, intercept)
        standardised = (gradient[1:] - exact.mean * gradient[0]) / exact.spread / total
        step = exact.vectors @ ((exact.vectors.T @ standardised) / exact.values**2)
        size = float(np.abs(step).max())
        if not size < before / 2:  # NaN included: a product left the range of numbers
            break
        coef = coef + step / exact.spread
        intercept += float(gradient[0] / total - exact.mean @ (step / exact.spread))
        if size <= 1e-10 * float(np.abs(coef * units).max()):
            break
        before = size
    return coef, intercept


def _gradient(rows: Rows, fold: int, coef: Array, intercept: float) -> tuple[Array, float]:
    """Return [1, X]' W (y - a - X b) over the training rows of a fold, in doubled precision, and the total weight."""
    high, low, total = np.zeros(len(coef) + 1), np.zeros(len(coef) + 1), 0.0
    for _, start, stop in rows.without(fold):
        columns = np.ones((len(coef) + 1, stop - start))
        columns[1:] = rows.X[start:stop].T
        value, rest = _residual(columns, rows.y[start:stop], np.append(intercept, coef))
        w = np.ones(stop - start) if rows.weights is None else rows.weights[start:stop]
        value, error = _product(w, value)
        rest = w * rest + error
        total += float(w.sum())
        for j, column in enumerate(columns):
            products, errors = _product(column, value)
            sum_high, sum_low = _total(products)
            high[j], lost = _add(high[j], sum_high)
            low[j] += lost + sum_low + float(errors.sum() + column @ rest)
    return high + low, total


def _residual(columns: Array, y: Array, theta: Array) -> tuple[Array, Array]:
    """Return y - theta' columns as the unevaluated sum of two numbers."""
    high, low = y, np.zeros_like(y)
    for column, slope in zip(columns, theta, strict=True):
        product, error = _product(column, slope)
        high, lost = _add(high, -product)
        low += lost - error
    return high, low


def _add(a: Array, b: Array | float) -> tuple[Array, Array]:
    """Return the rounded sum and its rounding error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _product(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the rounded product and its rounding error (Dekker)."""
    with np.errstate(over="ignore", invalid="ignore"):
        product = a * b
        a_high, b_high = _upper_half(a), _upper_half(b)
        a_low, b_low = a - a_high, b - b_high
        return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _upper_half(a: Array) -> Array:
    """Return the leading 26 bits (Veltkamp)."""
    scaled = 134217729.0 * a
    return scaled - (scaled - a)


def _total(values: Array) -> tuple[float, float]:
    """Return a sum and its rounding error, adding halves to each other."""
    lost = 0.0
    while len(values) > 1:
        if len(values) % 2:
            values = np.append(values, 0.0)
        values, errors = _add(*np.split(values, 2))
        lost += float(errors.sum())
    return float(values[0]), lost
