"""Multinomial logistic regression, row by row: the rescaled influence function with several outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import special
from scipy.linalg import cho_solve

from causalif._errors import ConvergenceError, InputError
from causalif._validate import Array
from causalif.influence.model import STEPS, Mask
from causalif.influence.steps import Rows, factor


@dataclass(frozen=True, eq=False)
class SoftmaxModel:
    r"""Minimiser of a penalised multinomial likelihood.

    .. math:: \sum_i w_i \{\log \sum_c e^{x_i^\top\theta_c} - x_i^\top\theta_{y_i}\} + \tfrac12\theta^\top P\theta

    Parameters
    ----------
    X : ndarray of shape (n, q)
        Design, the column of ones included.
    y : ndarray of int, shape (n,)
        Class codes 0, ..., C − 1.
    weights : ndarray of shape (n,)
        Weights.
    penalty : ndarray of shape (q,)
        Diagonal of the penalty of each class.
    coef : ndarray of shape (C, q)
        Coefficients; θ is their rows one after the other.
    labels, index
        Names of the C q coefficients and of the rows.
    """

    X: Array
    y: np.ndarray
    weights: Array
    penalty: Array
    coef: Array
    labels: tuple[str, ...]
    index: pd.Index
    methods: tuple[str, ...] = ("if", "rif", "newton")

    @property
    def theta(self) -> Array:
        """Coefficients, shape (C q,)."""
        return self.coef.ravel()

    @property
    def classes(self) -> int:
        """C."""
        return len(self.coef)

    @cached_property
    def probability(self) -> Array:
        """Fitted probabilities, shape (n, C)."""
        return np.asarray(special.softmax(self.X @ self.coef.T, axis=1))

    @cached_property
    def residual(self) -> Array:
        """Derivative of each row's loss in its C linear predictors, weights included, shape (n, C)."""
        residual = self.probability.copy()
        residual[np.arange(len(self.y)), self.y] -= 1.0
        return residual * self.weights[:, None]

    @cached_property
    def curvature(self) -> Array:
        """H plus a term in the directions that shift all classes alike where nothing else holds them."""
        C, q = self.coef.shape
        p, w = self.probability, self.weights
        H = np.zeros((C, q, C, q))
        for a in range(C):
            for b in range(a, C):
                bend = w * p[:, a] * ((a == b) - p[:, b])
                H[a, :, b, :] = (self.X * bend[:, None]).T @ self.X
                H[b, :, a, :] = H[a, :, b, :].T
        flat = H.reshape(C * q, C * q)
        flat[np.diag_indices(C * q)] += np.tile(self.penalty, C)
        free = np.flatnonzero(self.penalty == 0)
        size = float(np.diag(flat).max())
        for j in free:
            at = j + q * np.arange(C)
            flat[np.ix_(at, at)] += size / C
        return flat

    @cached_property
    def lower(self) -> Array:
        """Cholesky factor of H."""
        return factor(self.curvature)

    def solve(self, right: Array) -> Array:
        """Return H⁻¹ times the argument."""
        return np.asarray(cho_solve((self.lower, True), right))

    @cached_property
    def blocks(self) -> Array:
        """K_i = J_i H⁻¹ J_iᵀ, shape (n, C, C)."""
        C, q = self.coef.shape
        inverse = self.solve(np.eye(C * q)).reshape(C, q, C, q)
        K = np.empty((len(self.y), C, C))
        for a in range(C):
            for b in range(a, C):
                K[:, a, b] = K[:, b, a] = np.einsum("ij,ij->i", self.X @ inverse[a, :, b, :], self.X)
        return K

    @cached_property
    def output_curvature(self) -> Array:
        """Λ_i = w_i (diag p_i − p_i p_iᵀ), shape (n, C, C)."""
        p = self.probability
        bend = -p[:, :, None] * p[:, None, :]
        at = np.arange(self.classes)
        bend[:, at, at] += p
        return bend * self.weights[:, None, None]

    @cached_property
    def leverage(self) -> Array:
        """Largest eigenvalue of Λ_i K_i."""
        return np.asarray(np.linalg.eigvals(self.output_curvature @ self.blocks).real.max(axis=1))

    @cached_property
    def rescaled(self) -> Array:
        """(I − Λ_i K_i)⁻¹ r_i, shape (n, C)."""
        left = np.eye(self.classes) - self.output_curvature @ self.blocks
        return np.asarray(np.linalg.solve(left, self.residual[:, :, None])[:, :, 0])

    def gradient(self) -> Array:
        """Return the gradient of the objective, zero at the minimum."""
        return np.asarray((self.residual.T @ self.X + self.coef * self.penalty).ravel())

    def along(self, c: Array) -> dict[str, Array]:
        """Return the effect of leaving out each row on cᵀθ, by method."""
        outputs = self.X @ self.solve(c).reshape(self.coef.shape).T
        plain = np.einsum("ij,ij->i", outputs, self.residual)
        rescaled = np.einsum("ij,ij->i", outputs, self.rescaled)
        return {"if": plain, "rif": rescaled, "newton": rescaled}

    def step(self, rows: Rows, method: str) -> Array:
        """Return the change of θ when all these rows are left out, shape (C q,)."""
        X = self.X[rows]
        if method == "newton":
            part = replace(self, X=X, y=self.y[rows], weights=self.weights[rows], penalty=np.ones_like(self.penalty))
            held = part.curvature - np.eye(len(self.theta))  # the penalty stays
            return np.asarray(cho_solve((factor(self.curvature - held), True), (part.residual.T @ X).ravel()))
        right = (self.residual if method == "if" else self.rescaled)[rows]
        return self.solve((right.T @ X).ravel())

    def objective(self) -> float:
        """Return the value of the objective."""
        eta = self.X @ self.coef.T
        rows = special.logsumexp(eta, axis=1) - eta[np.arange(len(self.y)), self.y]
        return float(self.weights @ rows + 0.5 * (self.coef**2 * self.penalty).sum())

    def refitted(self, keep: Mask) -> SoftmaxModel:
        """Return the model fitted to the kept rows only, by Newton's method from here."""
        if len(np.unique(self.y[keep])) < self.classes:
            raise InputError("Without these rows a class has no rows left, so that the model has fewer coefficients.")
        rows = replace(self, X=self.X[keep], y=self.y[keep], weights=self.weights[keep], index=self.index[keep])
        return rows.minimised()

    def minimised(self) -> SoftmaxModel:
        """Return the model at the minimum of its objective; Newton's method with step halving."""
        model, value = self, self.objective()
        for _ in range(STEPS):
            step = -model.solve(model.gradient())
            for halving in range(30):
                after = replace(model, coef=model.coef + (step * 0.5**halving).reshape(model.coef.shape))
                new = after.objective()
                if new <= value + 1e-12 * (1.0 + abs(value)):
                    break
            model, value = after, new
            if float(np.abs(step).max()) < 1e-10 * (1.0 + float(np.abs(model.coef).max())):
                return model
        raise ConvergenceError("No minimum was found without these rows. Add a penalty or leave out fewer rows.")

    def variance(self, c: Array, robust: bool) -> tuple[float, Array]:
        """Return Σ (cᵀH⁻¹g_i)² and its change by the row's own term."""
        own = self.along(c)["if"] ** 2
        return float(own.sum()), -own
