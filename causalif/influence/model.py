"""What a fitted model must offer so that rows can be left out of it, and the models with one linear predictor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.linalg import cho_solve

from causalif._errors import ConvergenceError
from causalif._validate import Array
from causalif.influence.losses import Logistic, Loss
from causalif.influence.steps import Rows, factor, newton_step, quadratic_forms, rescale, weighted_gram

Mask = npt.NDArray[np.bool_]
STEPS = 100
TIGHT = 1e-12
NUDGE = 1e-4  # of the log odds and the like, for numerical derivatives
FAR = 20.0  # log odds: probabilities within 2e-9 of 0 or 1
SEPARATES = (
    "Without these rows the outcomes are separated: a coefficient runs to infinity. Add a penalty or leave out fewer "
    "rows."
)


class CaseModel(Protocol):
    """A fitted model, row by row. Effects are the value after removal minus the value before."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the p coefficients."""

    @property
    def index(self) -> pd.Index:
        """Labels of the n rows."""

    @property
    def theta(self) -> Array:
        """Coefficients, shape (p,)."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Which of "if", "rif", "newton" and "exact" exist."""

    @property
    def leverage(self) -> Array:
        """Share of each row in its own fit, shape (n,)."""

    def along(self, c: Array) -> dict[str, Array]:
        """Return the effect of leaving out each row on cᵀθ, by method."""

    def step(self, rows: Rows, method: str) -> Array:
        """Return the change of θ when all these rows are left out, shape (p,)."""

    def refitted(self, keep: Mask) -> CaseModel:
        """Return the model fitted to the kept rows only."""

    def variance(self, c: Array, robust: bool) -> tuple[float, Array]:
        """Return the variance of cᵀθ and how leaving out each row changes it."""


@dataclass(frozen=True, eq=False)
class LinearModel:
    r"""Minimiser of :math:`\sum_i w_i \ell(y_i, o_i + x_i^\top\theta) + \tfrac12 \theta^\top P \theta`.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Design, the column of ones included.
    y, weights, offset : ndarray of shape (n,)
        Target, weights of at least 0, fixed part of the linear predictor.
    loss : Loss
        Loss of one row.
    penalty : ndarray of shape (p,)
        Diagonal of P.
    theta : ndarray of shape (p,)
        Coefficients.
    labels, index
        Names of coefficients and rows.
    shared_penalty : bool
        Whether the penalty is a sum over rows of P / n, as where the objective is an average; it then shrinks with
        the rows.
    scaled : bool
        Whether the variance is multiplied by an estimated dispersion, as in least squares; otherwise by 1.
    """

    X: Array
    y: Array
    weights: Array
    offset: Array
    loss: Loss
    penalty: Array
    theta: Array
    labels: tuple[str, ...]
    index: pd.Index
    shared_penalty: bool = False
    scaled: bool = False
    methods: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Quadratic losses have exact answers."""
        methods = ("if", "rif", "newton", *(("exact",) if self.loss.quadratic and not self.shared_penalty else ()))
        object.__setattr__(self, "methods", methods)

    @cached_property
    def eta(self) -> Array:
        """Linear predictor, shape (n,)."""
        return np.asarray(self.X @ self.theta + self.offset)

    @cached_property
    def slope(self) -> Array:
        """Derivative of each row's part of the objective in its linear predictor."""
        return self.weights * self.loss.slope(self.eta, self.y)

    @cached_property
    def bend(self) -> Array:
        """Second derivative of each row's part of the objective in its linear predictor."""
        return self.weights * self.loss.bend(self.eta, self.y)

    @cached_property
    def curvature(self) -> Array:
        """H, shape (p, p)."""
        H = weighted_gram(self.X, self.bend)
        H[np.diag_indices_from(H)] += self.penalty
        return H

    @cached_property
    def lower(self) -> Array:
        """Cholesky factor of H."""
        return factor(self.curvature)

    @cached_property
    def leverage(self) -> Array:
        """h_i = v_i x_iᵀ H⁻¹ x_i."""
        return self.bend * quadratic_forms(self.X, self.lower)

    @cached_property
    def part(self) -> Array:
        """Each row's part of the penalty, shape (n,): its share of the weights where the objective is an average."""
        return self.weights / self.weights.sum() if self.shared_penalty else np.zeros(len(self.y))

    @cached_property
    def slope_without(self) -> Array:
        """Slope to be rescaled: with the row goes its part s of Pθ, and (H − H_i)⁻¹ s Pθ has a part along x_i."""
        if not self.shared_penalty:
            return self.slope
        return self.slope + self.part * self.bend * (self.X @ self.solve(self.penalty * self.theta))

    def solve(self, right: Array) -> Array:
        """Return H⁻¹ times the argument."""
        return np.asarray(cho_solve((self.lower, True), right))

    def gradient(self) -> Array:
        """Return the gradient of the objective, zero at the minimum."""
        return np.asarray(self.X.T @ self.slope + self.penalty * self.theta)

    def objective(self) -> float:
        """Return the value of the objective."""
        with np.errstate(over="ignore", invalid="ignore"):
            rows = float(self.weights @ self.loss.value(self.eta, self.y))
        return rows + 0.5 * float(self.penalty @ self.theta**2)

    def along(self, c: Array) -> dict[str, Array]:
        """Return the effect of leaving out each row on cᵀθ, by method."""
        a = self.solve(c)
        direction = self.X @ a
        penalty = self.part * float((self.penalty * self.theta) @ a)
        share = direction * np.sqrt(np.abs(self.bend) / max(float(c @ a), 1e-300))
        rescaled = rescale(self.slope_without * direction, 1.0 - self.leverage, share) + penalty
        found = {"if": self.slope * direction + penalty, "rif": rescaled, "newton": rescaled, "exact": rescaled}
        return {method: found[method] for method in self.methods}

    def step(self, rows: Rows, method: str) -> Array:
        """Return the change of θ when all these rows are left out, shape (p,)."""
        X, r, v = self.X[rows], self.slope[rows], self.bend[rows]
        extra = self.part[rows].sum() * self.penalty * self.theta
        if method == "if":
            return self.solve(X.T @ r + extra)
        if method == "rif":
            return self._rescaled_step(X, self.slope_without[rows], v, self.leverage[rows]) + self.solve(extra)
        return newton_step(self.lower, X, v, X.T @ r + extra)

    def _rescaled_step(self, X: Array, r: Array, v: Array, h: Array) -> Array:
        kept = 1.0 - h > 1e-8
        step = self.solve(X[kept].T @ (r[kept] / (1.0 - h[kept])))
        for x, bend in zip(X[~kept], v[~kept], strict=True):
            step = step + newton_step(self.lower, x[None, :], np.array([bend]), np.zeros(len(x)))
        return step

    def refitted(self, keep: Mask) -> LinearModel:
        """Return the model fitted to the kept rows only, by Newton's method from here."""
        shrink = float(self.weights[keep].sum() / self.weights.sum()) if self.shared_penalty else 1.0
        rows = replace(
            self, X=self.X[keep], y=self.y[keep], weights=self.weights[keep], offset=self.offset[keep],
            index=self.index[keep], penalty=self.penalty * shrink,
        )  # fmt: skip
        model = rows.minimised()
        if isinstance(self.loss, Logistic) and np.abs(model.eta).max() > FAR >= np.abs(self.eta).max():
            raise ConvergenceError(SEPARATES)
        return model

    def minimised(self) -> LinearModel:
        """Return the model at the minimum of its objective; Newton's method with step halving."""
        model, value = self, self.objective()
        for _ in range(STEPS):
            step = -model.solve(model.gradient())
            size = float(np.abs(step).max())
            if not np.isfinite(size):
                break
            for halving in range(30):
                after = replace(model, theta=model.theta + step * 0.5**halving)
                new = after.objective()
                if new <= value + 1e-12 * (1.0 + abs(value)):
                    break
            model, value = after, new
            if np.all(np.abs(step) <= TIGHT * np.abs(model.theta)):
                return model
            # step sizes are judged against the standard deviation that the curvature gives a coefficient
            if float(step @ (model.curvature @ step)) <= TIGHT**2 * len(model.y) or (
                self.loss.quadratic and not halving
            ):
                return model
        raise ConvergenceError(
            "No minimum was found without these rows: the remaining rows may separate the outcomes, so that a "
            "coefficient runs to infinity. Add a penalty or leave out fewer rows."
        )

    def variance(self, c: Array, robust: bool) -> tuple[float, Array]:
        """Return the variance of cᵀθ and, to first order beyond the curvature, how each row changes it."""
        return _sandwich(self, c) if robust else _model_based(self, c)

    def scale(self) -> float:
        """Return the dispersion: Pearson's X² over its degrees of freedom, or 1."""
        if not self.scaled:
            return 1.0
        n, p = self.X.shape
        return float(self.pearson(self.eta).sum() / max(n - p, 1))

    def information(self, eta: Array) -> Array:
        """Return the expected second derivative of each row's part of the objective, which packages report."""
        known = getattr(self.loss, "expected", self.loss.bend)
        return np.asarray(self.weights * known(eta, self.y))

    def pearson(self, eta: Array) -> Array:
        """Return each row's squared residual over its variance."""
        information = self.information(eta)
        slope = self.weights * self.loss.slope(eta, self.y)
        return np.where(information > 0, slope**2 / np.where(information > 0, information, 1.0), 0.0)

    def along_eta(self, rowwise: Callable[[Array], Array]) -> Array:
        """Return the derivative of something in each row's linear predictor; zeros where it is constant."""
        if self.loss.quadratic:
            return np.zeros_like(self.eta)  # of the squared residuals it is orthogonal to the design
        return (rowwise(self.eta + NUDGE) - rowwise(self.eta - NUDGE)) / (2 * NUDGE)

    def pull(self, rates: Array) -> Array:
        """Return Σ_j rates_j x_jᵀδ_i for every row i, δ_i what leaving it out does to θ."""
        moved = self.slope / (1.0 - np.minimum(self.leverage, 1.0 - 1e-8))
        return np.asarray(moved * (self.X @ self.solve(self.X.T @ rates)))


def _model_based(model: LinearModel, c: Array) -> tuple[float, Array]:
    """Return s² cᵀI⁻¹c, I the expected information, and its change.

    Exact for least squares; for other losses to first order in how information and residuals move with θ.
    """
    X, v = model.X, model.information(model.eta)
    lower = model.lower if np.array_equal(v, model.bend) else factor(weighted_gram(X, v) + np.diag(model.penalty))
    a = np.asarray(cho_solve((lower, True), c))
    d, h = X @ a, np.minimum(v * quadratic_forms(X, lower), 1.0 - 1e-8)
    bare = float(c @ a)
    after = bare + v * d**2 / (1.0 - h) - model.pull(model.along_eta(model.information) * d**2)
    if not model.scaled:
        return bare, after - bare
    n, p = X.shape
    scale, pearson = model.scale(), model.pearson(model.eta)
    new_scale = (scale * (n - p) - pearson / (1.0 - h) + model.pull(model.along_eta(model.pearson))) / max(n - 1 - p, 1)
    return scale * bare, new_scale * after - scale * bare


def _sandwich(model: LinearModel, c: Array) -> tuple[float, Array]:
    """Return Σ (cᵀH⁻¹g_j)² and its change without each row i, to second order in k_ij = x_jᵀH⁻¹x_i.

    Without row i, cᵀH⁻¹x_j moves by γ_i k_ij and the slope r_j by ρ_i v_j k_ij.
    """
    a = model.solve(c)
    X, r, v = model.X, model.slope, model.bend
    h = np.minimum(model.leverage, 1.0 - 1e-8)
    d = X @ a
    gamma, rho = v * d / (1.0 - h), r / (1.0 - h)
    B = model.solve(X.T).T
    k = np.einsum("ij,ij->i", B, X)
    first = 2 * gamma * (B @ (X.T @ (r**2 * d))) + 2 * rho * (B @ (X.T @ (r * v * d**2)))
    quadratic = (gamma**2, r**2), (4 * gamma * rho, d * r * v), (rho**2, (d * v) ** 2)
    second = sum(size * np.einsum("ij,ij->i", B @ weighted_gram(X, w), B) for size, w in quadratic)
    own = d**2 * r**2 + 2 * gamma * k * d * r**2 + 2 * rho * k * v * r * d**2
    own += sum(size * w * k**2 for size, w in quadratic)
    if not model.loss.quadratic:  # the curvature of the other rows moves with θ
        third = model.along_eta(lambda eta: model.weights * model.loss.bend(eta, model.y))
        first = first - 2 * model.pull(third * d * (B @ (X.T @ (r**2 * d))))
    return float((d**2 * r**2).sum()), np.asarray(first + second - own)
