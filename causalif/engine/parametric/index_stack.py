"""Estimating equations in linear indices: influence values of their roots, with exact derivatives.

Every equation is a design matrix times a row-wise residual, and every nuisance depends on its parameters through a
linear index; derivatives are exact (complex step) and cost a few matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from causalif._errors import InputError
from causalif._validate import Array
from causalif.engine.parametric.mestimation import check_root, solve_scaled

_COMPLEX_STEP = 1e-30

ComplexArray = npt.NDArray[np.complex128]
RowFunctions = Callable[[Mapping[str, ComplexArray]], Mapping[str, ComplexArray]]


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
        influence = -solve_scaled(self.jacobian(), self.scores().T).T
        check_root(influence, np.ones(influence.shape[1]))
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

    def gradient(self, name: str, factors: Array | None = None) -> Array:
        """Return the derivative of the weighted mean of one row function in all parameters, shape (q,).

        With ``factors`` (n, k) the row function is first multiplied by each of them; the shape is then (q, k).
        """
        by = np.ones((len(self.weights), 1)) if factors is None else factors
        total = np.zeros((sum(design.shape[1] for design in self.equations.values()), by.shape[1]))
        for channel in self.channels:
            slope = (self.weights * self._slopes[channel.name][name])[:, None]
            total[self.block(channel.block)] += channel.design.T @ (slope * by) / len(self.weights)
        return total[:, 0] if factors is None else total

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

    def first_step(self, name: str, factors: Array) -> Array:
        """Return what estimating the parameters adds to the influence values of mean(w row factor), shape (n, k)."""
        return self.parameter_influence @ self.gradient(name, factors)

    def row(self, name: str) -> Array:
        """Return one row function at the estimate, shape (n,)."""
        return self._rows[name]
