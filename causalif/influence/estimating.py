"""Models that are known by their estimating equations only, whose losses have corners: the influence function alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array
from causalif.influence.model import Mask
from causalif.influence.steps import Rows, factor, quadratic_forms


@dataclass(frozen=True, eq=False)
class EstimatingModel:
    """Root of Σ ψ_i x_i = 0 with bread Σ d_i x_i x_iᵀ.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Design.
    psi : ndarray of shape (n,)
        Each row's part of the estimating equation is ψ_i x_i.
    bread : ndarray of shape (n,)
        d_i, of at least 0: minus the (smoothed) derivative of ψ_i in the linear predictor.
    theta : ndarray of shape (p,)
        Coefficients.
    labels, index
        Names of coefficients and rows.
    """

    X: Array
    psi: Array
    bread: Array
    theta: Array
    labels: tuple[str, ...]
    index: pd.Index
    methods: tuple[str, ...] = ("if",)

    @cached_property
    def inverse(self) -> Array:
        """(Σ d_i x_i x_iᵀ)⁻¹."""
        return np.asarray(np.linalg.inv((self.X * self.bread[:, None]).T @ self.X))

    @cached_property
    def leverage(self) -> Array:
        """Of least squares on the same design."""
        return quadratic_forms(self.X, factor(np.asarray(self.X.T @ self.X)))

    def along(self, c: Array) -> dict[str, Array]:
        """Return the effect of leaving out each row on cᵀθ."""
        return {"if": -self.psi * (self.X @ (self.inverse @ c))}

    def step(self, rows: Rows, method: str) -> Array:
        """Return the change of θ when all these rows are left out, shape (p,)."""
        return np.asarray(-self.inverse @ (self.X[rows].T @ self.psi[rows]))

    def refitted(self, keep: Mask) -> EstimatingModel:
        """Refuse: only the package that fitted the model can do so."""
        raise InputError("This model is fitted again by its own package only.")

    def variance(self, c: Array, robust: bool) -> tuple[float, Array]:
        """Return Σ (cᵀA⁻¹ψ_i x_i)² and its change by the row's own term."""
        own = self.along(c)["if"] ** 2
        return float(own.sum()), -own
