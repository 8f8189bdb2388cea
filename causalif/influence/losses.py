"""Losses of one row as functions of its linear predictor: value, slope and curvature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from scipy import special

from causalif._validate import Array

Curvature = Literal["observed", "expected"]


class Loss(Protocol):
    """Half deviances or negative log likelihoods, up to terms without the linear predictor."""

    @property
    def quadratic(self) -> bool:
        """Whether one Newton step is the refit."""

    def value(self, eta: Array, y: Array) -> Array:
        """Return the loss of each row."""

    def slope(self, eta: Array, y: Array) -> Array:
        """Return the derivative in the linear predictor."""

    def bend(self, eta: Array, y: Array) -> Array:
        """Return the second derivative in the linear predictor."""

    def mean(self, eta: Array) -> Array:
        """Return the predicted mean."""

    def mean_slope(self, eta: Array) -> Array:
        """Return the derivative of the mean in the linear predictor."""


@dataclass(frozen=True)
class Squared:
    """Half the squared residual."""

    quadratic: bool = True

    def value(self, eta: Array, y: Array) -> Array:
        """Return (y − η)² / 2."""
        return 0.5 * (y - eta) ** 2

    def slope(self, eta: Array, y: Array) -> Array:
        """Return η − y."""
        return eta - y

    def bend(self, eta: Array, y: Array) -> Array:
        """Return 1."""
        return np.ones_like(eta)

    def mean(self, eta: Array) -> Array:
        """Return η."""
        return eta

    def mean_slope(self, eta: Array) -> Array:
        """Return 1."""
        return np.ones_like(eta)


@dataclass(frozen=True)
class Logistic:
    """Negative log likelihood of a share y between 0 and 1 with log odds η."""

    quadratic: bool = False

    def value(self, eta: Array, y: Array) -> Array:
        """Return log(1 + exp η) − y η."""
        return np.asarray(np.logaddexp(0.0, eta) - y * eta)

    def slope(self, eta: Array, y: Array) -> Array:
        """Return p − y."""
        return np.asarray(special.expit(eta) - y)

    def bend(self, eta: Array, y: Array) -> Array:
        """Return p (1 − p)."""
        return np.asarray(special.expit(eta) * special.expit(-eta))

    def mean(self, eta: Array) -> Array:
        """Return p."""
        return np.asarray(special.expit(eta))

    def mean_slope(self, eta: Array) -> Array:
        """Return p (1 − p)."""
        return self.bend(eta, eta)


@dataclass(frozen=True)
class PoissonLog:
    """Negative log likelihood of a count y with log mean η."""

    quadratic: bool = False

    def value(self, eta: Array, y: Array) -> Array:
        """Return exp η − y η."""
        return np.exp(eta) - y * eta

    def slope(self, eta: Array, y: Array) -> Array:
        """Return exp η − y."""
        return np.exp(eta) - y

    def bend(self, eta: Array, y: Array) -> Array:
        """Return exp η."""
        return np.exp(eta)

    def mean(self, eta: Array) -> Array:
        """Return exp η."""
        return np.exp(eta)

    def mean_slope(self, eta: Array) -> Array:
        """Return exp η."""
        return np.exp(eta)


@dataclass(frozen=True, eq=False)
class Family:
    """Quasi-likelihood of a statsmodels family: any link and variance function.

    Parameters
    ----------
    family : statsmodels family
        With ``link``, ``variance`` and ``deviance``.
    curvature : {"observed", "expected"}
        "observed" is what Newton's method follows, "expected" what iteratively reweighted least squares follows; they
        are the same for canonical links.
    """

    family: Any
    curvature: Curvature = "observed"
    quadratic: bool = False

    def value(self, eta: Array, y: Array) -> Array:
        """Return half the deviance of each row."""
        return np.asarray(0.5 * self.family.resid_dev(y, self.mean(eta)) ** 2)

    def slope(self, eta: Array, y: Array) -> Array:
        """Return −(y − μ) μ' / V(μ)."""
        mu = self.mean(eta)
        return np.asarray(-(y - mu) * self.mean_slope(eta) / self.family.variance(mu))

    def bend(self, eta: Array, y: Array) -> Array:
        """Return μ'² / V, minus the residual's part where the observed curvature is asked for."""
        expected = self.expected(eta, y)
        if self.curvature == "expected":
            return expected
        mu, d = self.mean(eta), self.mean_slope(eta)
        V = self.family.variance(mu)
        second = self.family.link.inverse_deriv2(eta)
        return np.asarray(expected - (y - mu) * (second / V - d**2 * self.family.variance.deriv(mu) / V**2))

    def expected(self, eta: Array, y: Array) -> Array:
        """Return μ'² / V."""
        return np.asarray(self.mean_slope(eta) ** 2 / self.family.variance(self.mean(eta)))

    def mean(self, eta: Array) -> Array:
        """Return the inverse link."""
        return np.asarray(self.family.link.inverse(eta))

    def mean_slope(self, eta: Array) -> Array:
        """Return the derivative of the inverse link."""
        return np.asarray(self.family.link.inverse_deriv(eta))
