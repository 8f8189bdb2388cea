"""Convex losses of a linear index, minimised by Newton's method to full precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from causalif._errors import ConvergenceError
from causalif._validate import Array


@dataclass(frozen=True)
class RowLoss:
    """A convex loss of a linear index, row by row: value, first and second derivative in the index."""

    value: Callable[[Array], Array]
    first: Callable[[Array], Array]
    second: Callable[[Array], Array]


def fit_index(design: Array, loss: RowLoss, weights: Array, start: Array | None = None, *, max_iter: int = 60) -> Array:
    """Minimise the weighted mean of a convex row loss of ``design @ theta`` by Newton's method with step halving.

    Parameters
    ----------
    design : ndarray, shape (n, k)
        Best with orthonormal columns: then the size of a step is the change of the index.
    loss : RowLoss
        The loss and its derivatives.
    weights : ndarray, shape (n,)
        Relative weights.
    start : ndarray, shape (k,), optional
        Default zeros.
    max_iter : int, default 60
        Newton needs about six; a loss without a minimum (separation) never converges.

    Returns
    -------
    ndarray, shape (k,)

    Raises
    ------
    ConvergenceError
        No minimum was reached.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.array([0.0, 0.0, 0.0, 1.0])
    >>> theta = fit_index(np.ones((4, 1)), logistic_loss(y), np.ones(4))
    >>> bool(np.isclose(theta[0], np.log(1 / 3)))
    True
    """
    theta = np.zeros(design.shape[1]) if start is None else np.array(start, dtype=float)
    index = design @ theta
    current = float(weights @ loss.value(index))
    for _ in range(max_iter):
        step = _newton_step(design, loss, weights, index)
        small = bool(np.linalg.norm(step) <= 1e-9 * (1.0 + np.linalg.norm(theta)))
        theta, index, current = _halved(design, loss, weights, theta, step, current)
        if small:
            return theta
    raise ConvergenceError(f"Newton's method has not converged after {max_iter} steps.")


def _newton_step(design: Array, loss: RowLoss, weights: Array, index: Array) -> Array:
    gradient = (weights * loss.first(index)) @ design
    hessian = (design * (weights * loss.second(index))[:, None]).T @ design
    try:
        step = -np.linalg.solve(hessian, gradient)
    except np.linalg.LinAlgError as error:
        raise ConvergenceError("The loss is flat in some direction.") from error
    if not np.isfinite(step).all():
        raise ConvergenceError("The loss is flat in some direction.")
    return np.asarray(step)


def _halved(
    design: Array, loss: RowLoss, weights: Array, theta: Array, step: Array, current: float
) -> tuple[Array, Array, float]:
    """Take the longest of 1, 1/2, 1/4 ... steps that does not raise the loss beyond rounding."""
    allowed = current + 1e-12 * (1.0 + abs(current))
    for power in range(40):
        candidate = theta + step * 0.5**power
        index = design @ candidate
        value = float(weights @ loss.value(index))
        if value <= allowed:
            return candidate, index, value
    raise ConvergenceError("No step lowers the loss.")


def logistic_loss(y: Array) -> RowLoss:
    """Return the negative Bernoulli log likelihood of ``y`` in the logit."""
    # accurate in both tails: a residual that rounds to zero would make separation look like convergence
    return RowLoss(
        value=lambda index: np.logaddexp(0.0, index) - y * index,
        first=lambda index: (1.0 - y) * expit(index) - y * expit(-index),
        second=lambda index: expit(index) * expit(-index),
    )


def gamma_log_loss(y: Array, offset: Array | float = 0.0) -> RowLoss:
    """Return the Gamma quasi likelihood with log link: the root of design' (y / exp(index + offset) - 1) = 0."""

    def ratio(index: Array) -> Array:
        with np.errstate(over="ignore"):
            return np.asarray(y * np.exp(-(index + offset)))

    return RowLoss(value=lambda index: ratio(index) + index, first=lambda index: 1.0 - ratio(index), second=ratio)
