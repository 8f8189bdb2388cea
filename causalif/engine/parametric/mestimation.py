"""Stacked M-estimation: influence values of parameters that solve estimating equations, and of functions of them.

Two doors. `m_influence` takes any estimating functions as a callable and differentiates them numerically.
`causalif.engine.parametric.index_stack.IndexStack` is for equations made of design matrices and linear indices, and
is exact.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from causalif._errors import InputError, NotIdentifiedError
from causalif._validate import Array

MAX_CONDITION = 1e10
_ROOT = 1e-3  # of a standard error


def relative_weights(weights: Array | None, n: int) -> Array:
    """Return weights divided by their mean, or ones, after checking that they can serve as weights."""
    if weights is None:
        return np.ones(n)
    given = np.asarray(weights, dtype=float)
    if given.shape != (n,) or not np.isfinite(given).all() or (given < 0).any() or not (given > 0).any():
        raise InputError(f"`weights` must be {n} finite numbers that are not negative and not all zero.")
    shrunk = given / given.max()
    return np.asarray(shrunk / shrunk.mean())


def checked_condition(matrix: Array, message: str) -> None:
    """Raise `NotIdentifiedError` when a square matrix is numerically singular (condition number over 1e10)."""
    condition = np.linalg.cond(matrix) if np.isfinite(matrix).all() else np.inf
    if not condition <= MAX_CONDITION:
        raise NotIdentifiedError(f"{message} (condition number {condition:.1e}, limit {MAX_CONDITION:.0e}).", condition)


def scaled_std_error(influence: Array) -> float:
    """Return sqrt(sum IF^2) / n without under- or overflow of the squares.

    Parameters
    ----------
    influence : ndarray, shape (n,)
        Centred influence values in any unit.

    Returns
    -------
    float
        The standard error; 0 for a column of zeros.

    Examples
    --------
    >>> import numpy as np
    >>> print(scaled_std_error(np.array([3.0, -4.0]) * 1e-200))
    2.5e-200
    """
    size = float(np.abs(influence).max(initial=0.0))
    if size == 0.0:
        return 0.0
    return size * float(np.sqrt(np.sum((influence / size) ** 2))) / len(influence)


def central_jacobian(function: Callable[[Array], Array], theta: Array, step: float = 6e-6) -> Array:
    """Return d f / d theta' by central differences with a step per coordinate.

    Parameters
    ----------
    function : callable
        Maps a vector of shape (q,) to one of shape (r,).
    theta : ndarray, shape (q,)
        Point of differentiation.
    step : float, default 6e-6
        Relative step; coordinate j moves by ``step * max(1, |theta_j|)`` either way. The default is the cube root of
        the rounding error, which balances rounding against the third derivative.

    Returns
    -------
    ndarray, shape (r, q)

    Examples
    --------
    >>> import numpy as np
    >>> central_jacobian(lambda t: np.array([t[0] ** 2, t[0] * t[1]]), np.array([3.0, 2.0])).round(6)
    array([[6., 0.],
           [2., 3.]])
    """
    theta = np.asarray(theta, dtype=float)
    columns = []
    for j in range(len(theta)):
        move = np.zeros_like(theta)
        move[j] = step * max(1.0, abs(theta[j]))
        up, down = theta + move, theta - move
        change = np.asarray(function(up), dtype=float) - np.asarray(function(down), dtype=float)
        columns.append(change / (up[j] - down[j]))
    return np.column_stack(columns)


def m_influence(
    psi: Callable[[Array], Array],
    theta: Array,
    *,
    target: Callable[[Array], Array] | None = None,
    jacobian: Array | None = None,
    weights: Array | None = None,
) -> Array:
    r"""Influence values of the root of stacked estimating equations, or of a smooth function of that root.

    .. math:: IF_i = -J^{-1} w_i \psi_i(\hat\theta), \qquad J = \tfrac1n \sum_i w_i\, \partial\psi_i/\partial\theta'

    Parameters
    ----------
    psi : callable
        Maps ``theta`` (q,) to the estimating functions, shape (n, q), unweighted.
    theta : ndarray, shape (q,)
        The root of ``sum_i w_i psi_i(theta) = 0``.
    target : callable, optional
        Maps ``theta`` to a vector of shape (r,); default the parameters themselves.
    jacobian : ndarray, shape (q, q), optional
        J if it is known; default central differences.
    weights : ndarray, shape (n,), optional
        Not negative; only their ratios matter. Default all equal.

    Returns
    -------
    ndarray, shape (n, q) or (n, r)
        Influence values, already multiplied by ``w_i / mean(w)``; ``IF.T @ IF / n**2`` is the sandwich covariance.

    Raises
    ------
    InputError
        ``theta`` is not a root: a Newton step would move it by over a thousandth of a standard error.
    NotIdentifiedError
        The equations do not pin the parameters down (condition number of J over 1e10 after scaling).

    Notes
    -----
    Rows are taken as independent. Cost: 2 q evaluations of ``psi`` when J is not given.

    References
    ----------
    Stefanski and Boos (2002), The calculus of M-estimation, The American Statistician 56, equation 10.

    Examples
    --------
    The mean, whose influence values are the centred data:

    >>> import numpy as np
    >>> y = np.array([1.0, 2.0, 6.0])
    >>> m_influence(lambda t: y[:, None] - t, np.array([3.0])).ravel().round(6) + 0.0
    array([-2., -1.,  3.])
    """
    theta = np.atleast_1d(np.asarray(theta, dtype=float))
    rows = np.asarray(psi(theta), dtype=float)
    if rows.ndim != 2 or rows.shape[1] != len(theta):
        raise InputError(f"`psi` must return shape (n, {len(theta)}). Got {rows.shape} instead.")
    scale = relative_weights(weights, len(rows))
    weighted = rows * scale[:, None]
    derivative = _mean_jacobian(psi, theta, scale) if jacobian is None else np.asarray(jacobian, dtype=float)
    influence = -solve_scaled(derivative, weighted.T).T
    check_root(influence, np.abs(theta))
    if target is None:
        return influence
    gradient = central_jacobian(lambda t: np.atleast_1d(np.asarray(target(t), dtype=float)), theta)
    return np.asarray(influence @ gradient.T)


def _mean_jacobian(psi: Callable[[Array], Array], theta: Array, scale: Array) -> Array:
    return central_jacobian(lambda t: np.asarray(scale @ np.asarray(psi(t), dtype=float) / len(scale)), theta)


def check_root(influence: Array, size: Array) -> None:
    """Raise unless the Newton step from here, which is the mean influence, is small beside the standard errors."""
    step = np.abs(influence.mean(axis=0))
    error = np.sqrt((influence**2).sum(axis=0)) / len(influence)
    # a parameter without sampling error is a root up to rounding
    allowed = np.maximum(_ROOT * error, 1e-9 * np.maximum(1.0, size))
    if not (step <= allowed).all():
        worst = int(np.argmax(np.where(np.isnan(step), np.inf, step / allowed)))
        raise InputError(
            f"`theta` must solve the equations: parameter {worst} would still move by {step[worst]:.1e}, with a "
            f"standard error of {error[worst]:.1e}. Solve for the root first."
        )


def solve_scaled(derivative: Array, right: Array) -> Array:
    """Solve J x = b after equilibrating rows and columns, so that units do not decide what counts as singular."""
    message = "The estimating equations do not determine their parameters: some of them repeat each other"
    if not np.isfinite(derivative).all():
        checked_condition(derivative, message)
    row = np.abs(derivative).max(axis=1)
    row = np.where(row > 0, row, 1.0)
    column = np.abs(derivative / row[:, None]).max(axis=0)
    column = np.where(column > 0, column, 1.0)
    balanced = derivative / row[:, None] / column
    checked_condition(balanced, message)
    return np.asarray(np.linalg.solve(balanced, right / row[:, None]) / column[:, None])
