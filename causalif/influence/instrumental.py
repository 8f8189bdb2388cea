"""Two-stage least squares, row by row: exact when just identified, by the influence function otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array
from causalif.influence.model import Mask
from causalif.influence.steps import LOST, ZERO, Rows, rescale


@dataclass(frozen=True, eq=False)
class InstrumentalModel:
    r"""Two-stage least squares of y on R with instruments Z.

    .. math:: \hat\beta = (\hat R^\top R)^{-1} \hat R^\top y, \qquad \hat R = Z (Z^\top Z)^{-1} Z^\top R

    Parameters
    ----------
    y : ndarray of shape (n,)
        Outcome.
    R : ndarray of shape (n, p)
        Regressors.
    Z : ndarray of shape (n, l)
        Instruments, the exogenous regressors included; l = p is just identified.
    labels, index
        Names of coefficients and rows.
    """

    y: Array
    R: Array
    Z: Array
    labels: tuple[str, ...]
    index: pd.Index
    methods: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Only with as many instruments as regressors does a row leave the first stage out of the answer."""
        object.__setattr__(self, "methods", ("if", "rif", "newton", "exact") if self.just_identified else ("if",))

    @property
    def just_identified(self) -> bool:
        """Whether there are as many instruments as regressors."""
        return self.R.shape[1] == self.Z.shape[1]

    @cached_property
    def first_stage(self) -> Array:
        """Coefficients of the regressors on the instruments, shape (l, p)."""
        return np.asarray(np.linalg.lstsq(self.Z, self.R, rcond=None)[0])

    @cached_property
    def fitted(self) -> Array:
        """R̂; the instruments themselves where just identified, which gives the same estimate."""
        return self.Z if self.just_identified else self.Z @ self.first_stage

    @cached_property
    def inverse(self) -> Array:
        """(R̂ᵀR)⁻¹, shape (p, p)."""
        cross = self.fitted.T @ self.R
        if np.linalg.cond(cross / np.outer(np.linalg.norm(self.fitted, axis=0), np.linalg.norm(self.R, axis=0))) > 1e12:
            raise InputError(
                "The instruments do not identify the coefficients in these rows: R̂ᵀR is singular. Keep more rows, or "
                "use instruments that move the regressors."
            )
        return np.asarray(np.linalg.inv(cross))

    @cached_property
    def theta(self) -> Array:
        """Coefficients, shape (p,)."""
        first = self.inverse @ (self.fitted.T @ self.y)
        return np.asarray(first + self.inverse @ (self.fitted.T @ (self.y - self.R @ first)))

    @cached_property
    def residual(self) -> Array:
        """Structural residuals u, shape (n,)."""
        return np.asarray(self.y - self.R @ self.theta)

    @cached_property
    def leverage(self) -> Array:
        """r_iᵀ (R̂ᵀR)⁻¹ r̂_i; may be negative where the instrument and the regressor disagree."""
        return np.einsum("ij,ij->i", self.R @ self.inverse, self.fitted)

    @cached_property
    def moments(self) -> Array:
        """What each row adds to the estimating equations and to the first stage, shape (n, p)."""
        own = self.fitted * self.residual[:, None]
        if self.just_identified:
            return own
        projected = self.Z @ np.linalg.lstsq(self.Z, self.residual, rcond=None)[0]
        return own + (self.R - self.fitted) * projected[:, None]

    def along(self, c: Array) -> dict[str, Array]:
        """Return the effect of leaving out each row on cᵀθ, by method."""
        plain = -self.moments @ (self.inverse.T @ c)
        if not self.just_identified:
            return {"if": plain}
        share = (self.fitted @ (self.inverse.T @ c)) / max(
            float(np.abs(self.fitted @ (self.inverse.T @ c)).max()), 1e-300
        )
        exact = rescale(plain, 1.0 - self.leverage, share)
        return {"if": plain, "rif": exact, "newton": exact, "exact": exact}

    def step(self, rows: Rows, method: str) -> Array:
        """Return the change of θ when all these rows are left out, shape (p,)."""
        total = self.moments[rows].sum(axis=0)
        if method == "if":
            return np.asarray(-self.inverse @ total)
        if method == "rif":
            effects = np.column_stack([self.along(c)["rif"][rows] for c in np.eye(len(self.theta))])
            return np.asarray(effects.sum(axis=0))
        return self._exact(rows, -self.inverse @ total)

    def _exact(self, rows: Rows, plain: Array) -> Array:
        """β₋T − β = u + B Z_Tᵀ (I − R_T B Z_Tᵀ)⁻¹ R_T u with B = (ZᵀR)⁻¹ and u = −B Z_Tᵀ u_T."""
        BZ = self.inverse @ self.Z[rows].T
        inner = np.eye(len(rows)) - self.R[rows] @ BZ
        U, s, Vt = np.linalg.svd(inner)
        lost = s < LOST
        solution = Vt.T @ (np.where(lost, 0.0, 1.0 / np.where(lost, 1.0, s)) * (U.T @ (self.R[rows] @ plain)))
        step = plain + BZ @ solution
        if lost.any():
            gone = BZ @ Vt[lost].T
            step[np.abs(gone).max(axis=1) > ZERO * np.abs(gone).max()] = np.inf
        return np.asarray(step)

    def refitted(self, keep: Mask) -> InstrumentalModel:
        """Return the model fitted to the kept rows only."""
        return replace(self, y=self.y[keep], R=self.R[keep], Z=self.Z[keep], index=self.index[keep])

    def variance(self, c: Array, robust: bool) -> tuple[float, Array]:
        """Return the variance of cᵀθ and how leaving out each row changes it, residuals and projection included."""
        n, p = self.R.shape
        a = self.inverse.T @ c
        direction, h = self.fitted @ a, np.minimum(self.leverage, 1.0 - 1e-8)
        moved = (self.R @ self.inverse) * (direction / (1.0 - h))[:, None]  # a₋ᵢ − a
        steps = -(self.fitted @ self.inverse.T) * (self.residual / (1.0 - h))[:, None]
        if robust:
            return self._robust(a, moved, steps)
        gram = self.fitted.T @ self.fitted
        bare = float(direction @ direction)
        after = bare + 2 * moved @ (gram @ a) + np.einsum("ij,ij->i", moved @ gram, moved)
        after -= (direction + np.einsum("ij,ij->i", self.fitted, moved)) ** 2
        rss = float(self.residual @ self.residual)
        new = rss - 2 * steps @ (self.R.T @ self.residual) + np.einsum("ij,ij->i", steps @ (self.R.T @ self.R), steps)
        new -= (self.residual - np.einsum("ij,ij->i", self.R, steps)) ** 2
        base = rss / (n - p) * bare
        return base, new / max(n - 1 - p, 1) * after - base

    def _robust(self, a: Array, moved: Array, steps: Array) -> tuple[float, Array]:
        F, u = self.fitted, self.residual
        direction = F @ a
        total = float((direction**2 * u**2).sum())
        meat = F.T @ (F * (u**2)[:, None])
        bent = total + 2 * moved @ (meat @ a) + np.einsum("ij,ij->i", moved @ meat, moved)
        own = (direction + np.einsum("ij,ij->i", F, moved)) ** 2 * u**2
        others = -2.0 * steps @ (self.R.T @ (direction**2 * u))
        return total, bent - own + others - total
