"""Log likelihoods of (multinomial) logistic regressions, by Newton's method, fast enough for thousands of sets."""

from __future__ import annotations

import numpy as np

from causalif._validate import Array

PRIOR_SD = 10.0
_STEPS, _DECREMENT = 50, 1e-6


def fit_logistic(design: Array, indicators: Array, counts: Array, start: Array | None = None) -> tuple[float, Array]:
    r"""Fit a multinomial logistic regression and return its log likelihood.

    .. math:: P(y = c | x) = e^{x'b_c} / (1 + \sum_k e^{x'b_k}), \quad c = 1, ..., C - 1.

    Parameters
    ----------
    design : ndarray of shape (n, d)
        Regressors with mean 0 and variance 1, an intercept first.
    indicators : ndarray of shape (n, C - 1)
        Indicators of all classes but the first.
    counts : ndarray of shape (n,)
        How often each row occurs.
    start : ndarray of shape (d, C - 1), optional
        Where to start, such as the fit to other counts of the same rows.

    Returns
    -------
    (float, ndarray)
        Log likelihood without the penalty, and the coefficients.

    Notes
    -----
    A normal prior of standard deviation 10 on every coefficient but the intercept keeps fits finite where classes can
    be told apart without error; elsewhere it moves the log likelihood by less than it matters.
    """
    d, classes = design.shape[1], indicators.shape[1]
    precision = np.full(d, PRIOR_SD**-2)
    precision[0] = 1e-8
    b = np.zeros((d, classes)) if start is None else start
    value, likelihood, p = _value(design, indicators, counts, b, precision)
    for _ in range(_STEPS):
        gradient = design.T @ (counts[:, None] * (indicators - p)) - precision[:, None] * b
        step = _solve(design, counts, p, precision, gradient)
        decrement = float((gradient * step).sum())
        size = 1.0
        while True:
            new, new_likelihood, new_p = _value(design, indicators, counts, b + size * step, precision)
            if new >= value - 1e-9 * abs(value) or size < 1e-6:
                break
            size /= 2
        b, value, likelihood, p = b + size * step, new, new_likelihood, new_p
        if decrement < _DECREMENT:
            break
    return likelihood, b


def _value(design: Array, indicators: Array, counts: Array, b: Array, precision: Array) -> tuple[float, float, Array]:
    """Penalised log likelihood, log likelihood and the probabilities of the classes."""
    eta = design @ b
    top = np.maximum(eta.max(axis=1), 0.0)
    grown = np.exp(eta - top[:, None])
    total = np.exp(-top) + grown.sum(axis=1)
    likelihood = float(counts @ ((indicators * eta).sum(axis=1) - top - np.log(total)))
    return likelihood - 0.5 * float(precision @ (b * b).sum(axis=1)), likelihood, grown / total[:, None]


def _solve(design: Array, counts: Array, p: Array, precision: Array, gradient: Array) -> Array:
    """Newton's step."""
    d, classes = gradient.shape
    hessian = np.empty((classes, d, classes, d))
    for c in range(classes):
        for k in range(c + 1):
            w = counts * (p[:, c] * (1 - p[:, c]) if c == k else -p[:, c] * p[:, k])
            hessian[c, :, k, :] = hessian[k, :, c, :] = design.T @ (w[:, None] * design)
    square = hessian.reshape(classes * d, classes * d)
    square[np.diag_indices_from(square)] += np.tile(precision, classes)
    return np.asarray(np.linalg.solve(square, gradient.T.reshape(-1)).reshape(classes, d).T)
