"""Stacked M-estimation: influence values of parameters that solve estimating equations, and of functions of them.

Two doors. `m_influence` takes any estimating functions as a callable and differentiates them numerically. `IndexStack`
is for the common case in which every equation is a design matrix times a row-wise residual and every nuisance depends
on its parameters through a linear index; its derivatives are exact (complex step) and cost a few matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from causalif._errors import ConvergenceError, InputError, NotIdentifiedError
from causalif._validate import Array

MAX_CONDITION = 1e10
_COMPLEX_STEP = 1e-30
_ROOT = 1e-3  # of a standard error

ComplexArray = npt.NDArray[np.complex128]
RowFunctions = Callable[[Mapping[str, ComplexArray]], Mapping[str, ComplexArray]]


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
    influence = -_solve_scaled(derivative, weighted.T).T
    _check_root(influence, np.abs(theta))
    if target is None:
        return influence
    gradient = central_jacobian(lambda t: np.atleast_1d(np.asarray(target(t), dtype=float)), theta)
    return np.asarray(influence @ gradient.T)


def _mean_jacobian(psi: Callable[[Array], Array], theta: Array, scale: Array) -> Array:
    return central_jacobian(lambda t: np.asarray(scale @ np.asarray(psi(t), dtype=float) / len(scale)), theta)


def _check_root(influence: Array, size: Array) -> None:
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


def _solve_scaled(derivative: Array, right: Array) -> Array:
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


@dataclass(frozen=True, eq=False)
class Channel:
    """A row-wise quantity that depends on one block of parameters through a linear index: value = h(design @ block).

    Parameters
    ----------
    name : str
        How the row functions call it.
    block : str
        The parameters it depends on; several channels may share a block.
    design : ndarray, shape (n, k)
        Its design matrix.
    value : ndarray, shape (n,)
        h(design @ block) at the estimate.
    slope : ndarray, shape (n,)
        Derivative of h there; 1 for an identity link.
    """

    name: str
    block: str
    design: Array
    value: Array
    slope: Array


@dataclass(frozen=True, eq=False)
class IndexStack:
    r"""Estimating equations ``mean w M_k r_k = 0``, one per block, with row-wise residuals r_k of the channels.

    .. math:: IF_\tau = -U J^{-T}, \qquad
       IF_\theta = w(\varphi - \theta) + IF_\tau d, \qquad d = \overline{w\, \partial\varphi/\partial\tau}

    Parameters
    ----------
    equations : mapping of str to ndarray, shape (n, k)
        Block name to M_k; the block has as many parameters as M_k has columns.
    channels : sequence of Channel
        Everything the row functions depend on.
    rows : callable
        Maps channel values (complex, shape (n,)) to row-wise functions: one residual per block under the block's name,
        and any targets. Must be analytic: comparisons on the real part, no abs, no conjugate.
    weights : ndarray, shape (n,)
        Relative weights with mean one.

    Notes
    -----
    A derivative by complex step, Im f(x + ih)/h, has no subtraction and is exact to rounding; one evaluation of
    ``rows`` per channel gives every derivative of every residual and target, whatever the number of parameters.

    References
    ----------
    Squire and Trapp (1998), Using complex variables to estimate derivatives of real functions, SIAM Review 40, eq. 1.

    Examples
    --------
    Mean square of y around its own mean, whose derivative in the mean is zero:

    >>> import numpy as np
    >>> y, one = np.array([0.0, 1.0, 5.0]), np.ones(3)
    >>> mean = Channel("m", "mean", one[:, None], np.full(3, y.mean()), one)
    >>> rows = lambda c: {"mean": y - c["m"], "var": (y - c["m"]) ** 2}
    >>> stack = IndexStack({"mean": one[:, None]}, (mean,), rows, one)
    >>> value, influence = stack.target("var")
    >>> round(value, 3), influence.round(3).tolist()
    (4.667, [-0.667, -3.667, 4.333])
    """

    equations: Mapping[str, Array]
    channels: Sequence[Channel]
    rows: RowFunctions
    weights: Array

    def __post_init__(self) -> None:
        blocks = {channel.block for channel in self.channels}
        if blocks != set(self.equations):
            raise InputError(f"Blocks of channels {sorted(blocks)} and of equations {sorted(self.equations)} differ.")

    @cached_property
    def _values(self) -> dict[str, ComplexArray]:
        return {channel.name: channel.value.astype(complex) for channel in self.channels}

    @cached_property
    def _rows(self) -> dict[str, Array]:
        return {name: np.real(row) for name, row in self.rows(self._values).items()}

    @cached_property
    def _slopes(self) -> dict[str, dict[str, Array]]:
        return {channel.name: self._slopes_of(channel) for channel in self.channels}

    @cached_property
    def parameter_influence(self) -> Array:
        """Influence values of all parameters, blocks side by side, shape (n, q)."""
        influence = -_solve_scaled(self.jacobian(), self.scores().T).T
        _check_root(influence, np.ones(influence.shape[1]))
        return influence

    def _slopes_of(self, channel: Channel) -> dict[str, Array]:
        moved = {**self._values, channel.name: self._values[channel.name] + 1j * _COMPLEX_STEP}
        return {name: np.imag(row) / _COMPLEX_STEP * channel.slope for name, row in self.rows(moved).items()}

    def block(self, name: str) -> slice:
        """Return where the parameters of one block lie in the stacked vector."""
        start = 0
        for block, design in self.equations.items():
            if block == name:
                return slice(start, start + design.shape[1])
            start += design.shape[1]
        raise KeyError(name)

    def gradient(self, name: str) -> Array:
        """Return the derivative of the weighted mean of one row function in all parameters, shape (q,)."""
        total = np.zeros(sum(design.shape[1] for design in self.equations.values()))
        for channel in self.channels:
            slope = self._slopes[channel.name][name]
            total[self.block(channel.block)] += (self.weights * slope) @ channel.design / len(self.weights)
        return total

    def jacobian(self) -> Array:
        """Return J = mean of w dU/dtau', shape (q, q)."""
        size = sum(design.shape[1] for design in self.equations.values())
        jacobian = np.zeros((size, size))
        for name, design in self.equations.items():
            for channel in self.channels:
                slope = self._slopes[channel.name][name]
                if slope.any():
                    inner = (design * (self.weights * slope)[:, None]).T @ channel.design / len(slope)
                    jacobian[self.block(name), self.block(channel.block)] += inner
        return jacobian

    def scores(self) -> Array:
        """Return the weighted estimating functions U at the estimate, shape (n, q)."""
        weighted = [design * (self.weights * self._rows[name])[:, None] for name, design in self.equations.items()]
        return np.hstack(weighted)

    def target(self, name: str) -> tuple[float, Array]:
        """Return the weighted mean of one row function and its influence values, shape (n,)."""
        row = self._rows[name]
        value = float(self.weights @ row / len(row))
        return value, self.weights * (row - value) + self.parameter_influence @ self.gradient(name)

    def row(self, name: str) -> Array:
        """Return one row function at the estimate, shape (n,)."""
        return self._rows[name]


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
