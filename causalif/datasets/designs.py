"""The laws that `causalif.datasets` draws from, and the exact population values they imply.

A law gives, at points x, what an analyst could learn from endless data. Drawing and the exact truths read the same
law, so they cannot drift apart. Letters: f = P(Z=z|X), mu = E[A|Z,X], V = var(A|Z,X), beta = the effect of A given X,
rho = cov(A, Y - beta A|Z,X), g = E[Y - beta A|Z,X].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from scipy.special import expit

from causalif._validate import Array


@dataclass(frozen=True, eq=False)
class Law:
    """What holds at q points x, for an instrument with L levels."""

    levels: Array  # (L,)
    f: Array  # (q, L)
    mu: Array  # (q, L)
    V: Array  # (q, L)
    beta: Array  # (q,)
    rho: Array  # (q, L)
    g: Array  # (q, L)

    @property
    def is_binary(self) -> bool:
        """Whether the instrument has two levels."""
        return self.f.shape[1] == 2

    @property
    def shift(self) -> Array:
        """D = V_1 - V_0, of shape (q,): how much a binary instrument changes the variance of the treatment."""
        return self.V[:, 1] - self.V[:, 0]


def cube(dimension: int, order: int = 20) -> tuple[Array, Array]:
    """Points and weights of the Gauss-Legendre rule for the uniform law on [-1, 1]^dimension.

    With 20 nodes an axis the smooth functions below are integrated to rounding error.
    """
    nodes, weights = np.polynomial.legendre.leggauss(order)
    points = np.array(list(product(nodes, repeat=dimension))).reshape(-1, dimension)
    masses = np.array(list(product(weights / 2, repeat=dimension))).reshape(-1, dimension).prod(axis=1)
    return points, masses


def binary_law(x: Array) -> Law:
    """Binary treatment; the instrument acts on the outcome directly."""
    x1, x2 = x.T
    z = np.array([0.0, 1.0])
    pi = expit(0.2 + 0.8 * x1 - 0.5 * x2)
    mu = expit(-2 + 1.6 * z + 0.6 * x1[:, None] + 0.3 * x2[:, None] * z)
    g = (1 + x1 + 0.5 * x2)[:, None] + (2 + x2)[:, None] * z
    rho = np.repeat(0.06 * (2 + x1)[:, None], 2, axis=1)
    return Law(z, np.column_stack([1 - pi, pi]), mu, mu * (1 - mu), 1 + x1, rho, g)


def continuous_law(x: Array) -> Law:
    """Continuous treatment whose spread depends on the instrument; nonlinear nuisances."""
    x1, x2, x3 = x.T
    z = np.array([0.0, 1.0])
    pi = expit(0.3 + 0.8 * x1 - 0.8 * x2**2)
    mu = 0.5 * z + (x1 + np.sin(2 * x2))[:, None]
    V = 0.64 + ((0.6 + 0.7 * z) * (1 + 0.2 * x3)[:, None]) ** 2
    rho = np.repeat(0.96 * (1 + 0.5 * x2)[:, None], 2, axis=1)
    g = (x2**2)[:, None] + (2 + x1)[:, None] * z
    return Law(z, np.column_stack([1 - pi, pi]), mu, V, 1 + 0.8 * x1, rho, g)


def weak_law(delta: float) -> Law:
    """No covariates; ``delta`` is how much the instrument widens the treatment."""
    z = np.array([0.0, 1.0])
    V = 1 + (1 + delta * z[None, :]) ** 2
    half, rho = np.full((1, 2), 0.5), np.full((1, 2), 1.5)
    return Law(z, half, 0.5 * z[None, :], V, np.ones(1), rho, 2 * z[None, :])


def multilevel_law(x: Array, violation: float) -> Law:
    """Three instrument levels; ``violation`` makes the confounding depend on the last one."""
    x1, x2 = x.T
    z = np.array([0.0, 1.0, 2.0])
    odds = np.exp((x1[:, None] - 0.5 * x2[:, None]) * 0.5 * z)
    mu = 0.4 * z + x1[:, None]
    V = 0.64 + ((0.6 + 0.4 * z) * (1 + 0.2 * x2)[:, None]) ** 2
    rho = np.repeat(0.8 * (1.2 + violation * np.array([[0.0, 0.0, 1.0]])), len(x), axis=0)
    g = x2[:, None] + np.array([0.0, 2.0, -1.0]) + 0.5 * x1[:, None] * z
    return Law(z, odds / odds.sum(axis=1, keepdims=True), mu, V, 1 + 0.5 * x1, rho, g)


def comparators(law: Law, x: Array, mass: Array) -> dict[str, float]:
    """Return what least squares, with and without Z, and two-stage least squares converge to."""
    moments = _second_moments(law, x, mass)
    exogenous, z, a, y = list(range(1 + x.shape[1])), -3, -2, -1

    def slope(instruments: list[int], regressors: list[int]) -> float:
        return float(np.linalg.solve(moments[np.ix_(instruments, regressors)], moments[instruments, y])[-1])

    plain, with_z = [*exogenous, a], [*exogenous, z, a]
    return {
        "OLS": slope(plain, plain),
        "OLS with instrument": slope(with_z, with_z),
        "2SLS": slope([*exogenous, z], plain),
    }


def _second_moments(law: Law, x: Array, mass: Array) -> Array:
    """E[TT'] of T = (1, X, Z, A, Y), less the variance of Y given the rest, which no coefficient needs."""
    levels = len(law.levels)
    cell = (mass[:, None] * law.f).ravel()
    mean_y = law.g + law.beta[:, None] * law.mu
    z = np.tile(law.levels, len(x))
    T = np.column_stack([np.ones(len(cell)), np.repeat(x, levels, axis=0), z, law.mu.ravel(), mean_y.ravel()])
    moments = T.T @ (cell[:, None] * T)
    moments[-2, -2] += cell @ law.V.ravel()
    covariance = cell @ (law.rho + law.beta[:, None] * law.V).ravel()
    moments[-2, -1] += covariance
    moments[-1, -2] += covariance
    return np.asarray(moments, dtype=np.float64)


def shift_weighted(law: Law, mass: Array) -> float:
    """E[kappa beta] / E[kappa] with kappa = pi (1 - pi) D, the effect weighted by the shift in variance."""
    kappa = mass * law.f.prod(axis=1) * law.shift
    return float(kappa @ law.beta / kappa.sum())


def efficiency_bound(law: Law, mass: Array, product_square: Array) -> float:
    """Return the standard deviation of the efficient influence function of E[beta(X)], binary instrument.

    ``product_square``, of shape (q, 2), is E[{(A - mu)(Y - m - beta (A - mu))}^2 | Z, X].
    """
    spread = mass @ (law.beta - mass @ law.beta) ** 2
    noise = (product_square - law.rho**2) / (law.f * law.shift[:, None] ** 2)
    return float(np.sqrt(spread + mass @ noise.sum(axis=1)))


def identified_equal_weights(law: Law, mass: Array) -> float:
    """E[sum (V_z - Vbar) C_z / sum (V_z - Vbar)^2] with equal weights on the levels; E[beta(X)] if rho is free of z."""
    spread = law.V - law.V.mean(axis=1, keepdims=True)
    C = law.rho + law.beta[:, None] * law.V
    return float(mass @ ((spread * C).sum(axis=1) / (spread**2).sum(axis=1)))


def binary_product_square(x: Array, law: Law) -> Array:
    """Return the argument of `efficiency_bound` for `binary_law`: U = +-1 and noise of sd 0.5 in the outcome."""
    return law.V * ((2 + x[:, [0]]) ** 2 + 0.25)


def continuous_product_square(x: Array, law: Law) -> Array:
    """Return the argument of `efficiency_bound` for `continuous_law`, where both factors are Gaussian."""
    return law.V * (1.44 * (1 + 0.5 * x[:, [1]]) ** 2 + 0.49) + 2 * law.rho**2


def confounded_law(x: Array) -> tuple[Array, Array, Array]:
    """P(A=1|X), E[Y|A=0,X] and the effect of A given X."""
    x1, x2, x3 = x.T
    pi = expit(0.2 + x1 - x2**2 + 0.8 * x1 * x2)
    return pi, np.sin(2 * x1) + x2**2 + 0.5 * x1 * x3, 1 + x1 + x2 * x3


@cache
def confounded_truth() -> dict[str, float]:
    """Averages over the treated and the untreated; the bound has noise of variance 1 in both arms."""
    x, mass = cube(3)
    pi, mu0, effect = confounded_law(x)
    treated, control = mass * pi, mass * (1 - pi)
    return {
        "ATE": 1.0,
        "E[Y(1)]": 4 / 3,
        "E[Y(0)]": 1 / 3,
        "ATT": float(treated @ effect / treated.sum()),
        "difference in means": float(treated @ (mu0 + effect) / treated.sum() - control @ mu0 / control.sum()),
        "efficiency bound": float(np.sqrt(mass @ ((effect - 1) ** 2 + 1 / pi + 1 / (1 - pi)))),
    }


@cache
def binary_truth() -> dict[str, float]:
    """Exact values of the binary design."""
    x, mass = cube(2)
    law = binary_law(x)
    return invalid_iv_truth(law, x, mass, binary_product_square(x, law))


@cache
def continuous_truth() -> dict[str, float]:
    """Exact values of the continuous design."""
    x, mass = cube(3)
    law = continuous_law(x)
    return invalid_iv_truth(law, x, mass, continuous_product_square(x, law))


def invalid_iv_truth(law: Law, x: Array, mass: Array, product_square: Array) -> dict[str, float]:
    """Return the exact values common to the two designs, whose average effect is 1 by symmetry of the covariates."""
    return {
        "ATE": 1.0,
        "direct effect": float(mass @ (law.g[:, 1] - law.g[:, 0])),
        "confounding": float(mass @ law.rho[:, 0]),
        "weighted ATE": shift_weighted(law, mass),
        "efficiency bound": efficiency_bound(law, mass, product_square),
        **comparators(law, x, mass),
    }


def weak_truth(law: Law) -> dict[str, float]:
    """Exact values of the design without covariates."""
    truth = {"ATE": 1.0, "variance shift": float(law.shift[0]), "direct effect": 2.0, "confounding": 1.5}
    return truth | comparators(law, np.empty((1, 0)), np.ones(1))


def multilevel_truth(violation: float) -> dict[str, float]:
    """Exact values of the three-level design; the violation moves the functional, not the effect."""
    x, mass = cube(2)
    law = multilevel_law(x, violation)
    identified = identified_equal_weights(law, mass)
    return {"ATE": 1.0, "identified": identified, **comparators(law, x, mass)}


def noncompliance_law(x: Array, confounding: float) -> tuple[Array, Array, Array, Array]:
    """P(Z=1|X), P(A=1|Z=1,X), the effect, and E[U|A=1,Z=1,X] - E[U|A=0,Z=1,X]."""
    low, high = (expit(0.2 + 0.8 * x[:, 1] + confounding * u) for u in (-1, 1))
    uptake = (low + high) / 2
    imbalance = (high - low) / 2 / (uptake * (1 - uptake))
    return expit(0.5 * x[:, 0]), uptake, 1 + 0.5 * x[:, 1], imbalance


def noncompliance_truth(confounding: float) -> dict[str, float]:
    """Averages over the treated, the compliers, and everyone."""
    x, mass = cube(2)
    pi, uptake, effect, imbalance = noncompliance_law(x, confounding)
    treated, compliers = mass * pi * uptake, mass * uptake
    return {
        "ATE": 1.0,
        "ATT": float(treated @ effect / treated.sum()),
        "LATE": float(compliers @ effect / compliers.sum()),
        "identified": float(mass @ (effect + confounding * imbalance)),
    }
