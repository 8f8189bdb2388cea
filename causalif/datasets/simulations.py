"""Seeded simulations whose true answers are known exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from causalif._errors import InputError
from causalif._validate import Array, in_range, whole_number
from causalif.datasets import designs, wcde_designs


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated table together with the answers that an estimator should find in it.

    Parameters
    ----------
    data : pandas.DataFrame
        The n rows an analyst would see.
    truth : mapping of str to float
        Exact population values, each from a closed form or from Gauss-Legendre integration that is accurate to
        rounding error. They belong to the design, not to the sample.
    latent : pandas.DataFrame
        What no analyst sees, on the same index: the confounder and the true nuisance functions at each row.

    Examples
    --------
    >>> simulate_confounded(100).truth["ATE"]
    1.0
    """

    data: pd.DataFrame
    truth: Mapping[str, float]
    latent: pd.DataFrame = field(repr=False)


def simulate_confounded(n: int = 2_000, *, random_state: int | np.random.Generator = 0) -> Simulation:
    r"""Draw a binary treatment that is confounded by observed covariates only.

    ``x1, x2, x3`` uniform on [-1, 1]; P(A=1|X) = expit(.2 + x1 - x2^2 + .8 x1 x2);
    Y = sin(2 x1) + x2^2 + .5 x1 x3 + (1 + x1 + x2 x3) A + N(0, 1).

    Parameters
    ----------
    n : int, default 2000
        Number of rows, at least 1.
    random_state : int or numpy.random.Generator, default 0
        Seed or generator; the global random state is neither read nor changed.

    Returns
    -------
    Simulation
        ``data``: x1, x2, x3, a, y. ``truth``: "ATE", "E[Y(1)]", "E[Y(0)]", "ATT", "difference in means" (what ignoring
        the covariates converges to), "efficiency bound" (standard deviation of the efficient influence function of the
        ATE). ``latent``: pi = P(A=1|X), mu0 and mu1 = E[Y|A=0,X] and E[Y|A=1,X].

    Raises
    ------
    InputError
        If ``n`` is not a whole number of at least 1.

    Examples
    --------
    >>> truth = simulate_confounded(100).truth
    >>> [round(truth[name], 3) for name in ("ATE", "ATT", "difference in means")]
    [1.0, 1.161, 1.483]
    """
    rng = np.random.default_rng(random_state)
    x = rng.uniform(-1, 1, (_rows(n), 3))
    pi, mu0, effect = designs.confounded_law(x)
    a = rng.binomial(1, pi)
    y = mu0 + effect * a + rng.normal(size=n)
    return Simulation(
        _frame(x, a=a, y=y), dict(designs.confounded_truth()), pd.DataFrame({"pi": pi, "mu0": mu0, "mu1": mu0 + effect})
    )


def simulate_invalid_iv_binary(n: int = 10_000, *, random_state: int | np.random.Generator = 0) -> Simulation:
    r"""Draw a confounded binary treatment and an instrument that acts on the outcome directly.

    ``x1, x2`` uniform on [-1, 1], U = -1 or 1 with equal chance; P(Z=1|X) = expit(.2 + .8 x1 - .5 x2);
    P(A=1|Z,X,U) = expit(-2 + 1.6 Z + .6 x1 + .3 x2 Z) + .06 U;
    Y = (1 + x1) A + 1 + 2 Z + x1 + .5 x2 + Z x2 + (2 + x1) U + N(0, .5^2).

    Parameters
    ----------
    n : int, default 10000
        Number of rows, at least 1.
    random_state : int or numpy.random.Generator, default 0
        Seed or generator; the global random state is neither read nor changed.

    Returns
    -------
    Simulation
        ``data``: x1, x2, z, a, y. ``truth``: "ATE" (1); "direct effect" of Z on Y and "confounding" E[rho(X)], both of
        which would be 0 with a valid instrument and without confounding; "weighted ATE", the effect weighted by
        pi (1 - pi) D; "efficiency bound", the standard deviation of the efficient influence function of the ATE; and
        what common estimators converge to: "OLS" of Y on A and X, "OLS with instrument" on A, Z and X, "2SLS".
        ``latent``: u and the nuisances pi, mu0, mu1, V0, V1, beta, rho, g0, g1.

    Raises
    ------
    InputError
        If ``n`` is not a whole number of at least 1.

    Examples
    --------
    >>> truth = simulate_invalid_iv_binary(100).truth
    >>> [round(truth[name], 2) for name in ("ATE", "OLS", "OLS with instrument", "2SLS")]
    [1.0, 2.45, 1.84, 8.26]
    """
    rng = np.random.default_rng(random_state)
    x = rng.uniform(-1, 1, (_rows(n), 2))
    law = designs.binary_law(x)
    z = rng.binomial(1, law.f[:, 1])
    u = rng.choice([-1.0, 1.0], n)
    a = rng.binomial(1, _at(law.mu, z) + 0.06 * u)
    y = law.beta * a + _at(law.g, z) + (2 + x[:, 0]) * u + rng.normal(0, 0.5, n)
    return Simulation(_frame(x, z=z, a=a, y=y), dict(designs.binary_truth()), _latent(u, law))


def simulate_invalid_iv_continuous(n: int = 12_000, *, random_state: int | np.random.Generator = 0) -> Simulation:
    r"""Draw a confounded continuous treatment and an instrument that acts on the outcome directly.

    ``x1, x2, x3`` uniform on [-1, 1], U standard normal; P(Z=1|X) = expit(.3 + .8 x1 - .8 x2^2);
    A = .5 Z + x1 + sin(2 x2) + .8 U + (.6 + .7 Z)(1 + .2 x3) N(0, 1);
    Y = (1 + .8 x1) A + 2 Z + Z x1 + x2^2 + 1.2 (1 + .5 x2) U + .7 N(0, 1).

    Parameters
    ----------
    n : int, default 12000
        Number of rows, at least 1.
    random_state : int or numpy.random.Generator, default 0
        Seed or generator; the global random state is neither read nor changed.

    Returns
    -------
    Simulation
        ``data``: x1, x2, x3, z, a, y. ``truth`` and ``latent`` as for `simulate_invalid_iv_binary`.

    Raises
    ------
    InputError
        If ``n`` is not a whole number of at least 1.

    Examples
    --------
    >>> truth = simulate_invalid_iv_continuous(100).truth
    >>> [round(truth[name], 2) for name in ("ATE", "OLS", "OLS with instrument", "2SLS")]
    [1.0, 1.71, 1.6, 4.85]
    """
    rng = np.random.default_rng(random_state)
    x = rng.uniform(-1, 1, (_rows(n), 3))
    law = designs.continuous_law(x)
    z = rng.binomial(1, law.f[:, 1])
    u = rng.normal(size=n)
    a = _at(law.mu, z) + 0.8 * u + np.sqrt(_at(law.V, z) - 0.64) * rng.normal(size=n)
    y = law.beta * a + _at(law.g, z) + 1.2 * (1 + 0.5 * x[:, 1]) * u + 0.7 * rng.normal(size=n)
    return Simulation(_frame(x, z=z, a=a, y=y), dict(designs.continuous_truth()), _latent(u, law))


def simulate_weak_iv(n: int = 2_000, *, delta: float = 0.1, random_state: int | np.random.Generator = 0) -> Simulation:
    r"""Draw a treatment whose spread the instrument changes by as little as you like, even not at all.

    U standard normal, Z a fair coin; A = .5 Z + U + (1 + delta Z) N(0, 1); Y = A + 2 Z + 1.5 U + N(0, 1).

    Parameters
    ----------
    n : int, default 2000
        Number of rows, at least 1.
    delta : float, default 0.1
        Strength of identification, between 0 (the effect is not identified) and 10.
    random_state : int or numpy.random.Generator, default 0
        Seed or generator; the global random state is neither read nor changed.

    Returns
    -------
    Simulation
        ``data``: z, a, y. ``truth``: "ATE" (1), "variance shift" (1 + delta)^2 - 1, "direct effect" (2), "confounding"
        (1.5), and what "OLS", "OLS with instrument" and "2SLS" converge to. ``latent``: as for
        `simulate_invalid_iv_binary`.

    Raises
    ------
    InputError
        If ``n`` or ``delta`` is out of range.

    Notes
    -----
    The instrument shifts the mean of A strongly at every ``delta``; what weakens is the shift of its variance, on
    which identification without the exclusion restriction rests.

    Examples
    --------
    >>> round(simulate_weak_iv(100, delta=0.5).truth["variance shift"], 12)
    1.25
    """
    rng = np.random.default_rng(random_state)
    law = designs.weak_law(in_range("delta", delta, 0, 10, open_ends=False))
    z = rng.binomial(1, 0.5, _rows(n))
    u = rng.normal(size=n)
    a = 0.5 * z + u + (1 + delta * z) * rng.normal(size=n)
    y = a + 2 * z + 1.5 * u + rng.normal(size=n)
    return Simulation(pd.DataFrame({"z": z, "a": a, "y": y}), designs.weak_truth(law), _latent(u, law))


def simulate_multilevel_iv(
    n: int = 5_000, *, violation: float = 0.0, random_state: int | np.random.Generator = 0
) -> Simulation:
    r"""Draw a three-level invalid instrument, whose restrictions can be tested and can be violated.

    ``x1, x2`` uniform on [-1, 1], U standard normal; Z in {0, 1, 2} with P(Z=z|X) proportional to
    exp{.5 z (x1 - .5 x2)}; A = .4 Z + x1 + .8 U + (.6 + .4 Z)(1 + .2 x2) N(0, 1);
    Y = (1 + .5 x1) A + (0, 2, -1)[Z] + x2 + .5 x1 Z + (1.2 + violation 1{Z=2}) U + .7 N(0, 1).

    Parameters
    ----------
    n : int, default 5000
        Number of rows, at least 1.
    violation : float, default 0.0
        Between -5 and 5. Anything but 0 lets the confounder act differently at the last level, so that
        C_z = beta V_z + rho no longer holds with one rho and the over-identifying restriction fails.
    random_state : int or numpy.random.Generator, default 0
        Seed or generator; the global random state is neither read nor changed.

    Returns
    -------
    Simulation
        ``data``: x1, x2, z, a, y. ``truth``: "ATE" (1, whatever the violation); "identified", what the functional with
        equal weights on the three levels equals, which is the ATE only without violation; what "OLS", "OLS with
        instrument" and "2SLS" (Z entered as a number) converge to. ``latent``: u, beta, and for each level j of the
        instrument the nuisances f_j = P(Z=j|X), mu_j, V_j, rho_j, g_j, named f0, f1, f2, mu0, ....

    Raises
    ------
    InputError
        If ``n`` or ``violation`` is out of range.

    Examples
    --------
    >>> sim = simulate_multilevel_iv(100, violation=1.0)
    >>> round(sim.truth["ATE"], 2), round(sim.truth["identified"], 2)
    (1.0, 1.55)
    """
    rng = np.random.default_rng(random_state)
    in_range("violation", violation, -5, 5, open_ends=False)
    x = rng.uniform(-1, 1, (_rows(n), 2))
    law = designs.multilevel_law(x, violation)
    z = (rng.uniform(size=(n, 1)) > law.f.cumsum(axis=1)[:, :2]).sum(axis=1)
    u = rng.normal(size=n)
    a = _at(law.mu, z) + 0.8 * u + np.sqrt(_at(law.V, z) - 0.64) * rng.normal(size=n)
    y = law.beta * a + _at(law.g, z) + (1.2 + violation * (z == law.levels[-1])) * u + 0.7 * rng.normal(size=n)
    return Simulation(_frame(x, z=z, a=a, y=y), designs.multilevel_truth(violation), _latent(u, law))


def simulate_noncompliance(
    n: int = 3_000,
    *,
    clusters: int | None = None,
    confounding: float = 0.0,
    direct_effect: float = 0.0,
    random_state: int | np.random.Generator = 0,
) -> Simulation:
    r"""Draw an encouragement without which nobody is treated, optionally given out by cluster.

    ``x1, x2`` uniform on [-1, 1], U = -1 or 1 with equal chance; P(Z=1|X) = expit(.5 x1);
    A = Z B with P(B=1|X,U) = expit(.2 + .8 x2 + confounding U);
    Y = (1 + .5 x2) A + direct_effect Z + x1 + x2 + confounding U + cluster effect + N(0, 1).

    Parameters
    ----------
    n : int, default 3000
        Number of rows, at least 1.
    clusters : int, optional
        Number of clusters, between 2 and ``n``, of nearly equal size. Rows of a cluster then share x1, Z and an effect
        on Y drawn from N(0, .5^2), so that standard errors which ignore the clusters are too small. By default rows
        are independent and there is no cluster effect.
    confounding : float, default 0.0
        Between -3 and 3; how strongly U drives both the uptake and the outcome.
    direct_effect : float, default 0.0
        Effect of Z on Y other than through A, between -100 and 100; 0 is a valid instrument.
    random_state : int or numpy.random.Generator, default 0
        Seed or generator; the global random state is neither read nor changed.

    Returns
    -------
    Simulation
        ``data``: x1, x2, z, a, y, and cluster if asked for. ``truth``: "ATE" (1); "ATT"; "LATE", the mean effect among
        those whom Z would bring to take the treatment; "identified", E[E(Y|A=1,Z=1,X) - E(Y|A=0,Z=1,X)], which is the
        ATE without confounding. ``latent``: u, pi = P(Z=1|X), uptake = P(A=1|Z=1,X), effect.

    Raises
    ------
    InputError
        If an argument is out of range.

    Notes
    -----
    With nobody treated at Z = 0, the variance of A there is zero and every identification through the shift of the
    variance reduces to comparing treated and untreated among Z = 1.

    Examples
    --------
    >>> sim = simulate_noncompliance(100, clusters=10, confounding=1.0)
    >>> sim.data["cluster"].nunique(), int(sim.data.loc[sim.data["z"] == 0, "a"].sum())
    (10, 0)
    """
    rng = np.random.default_rng(random_state)
    in_range("confounding", confounding, -3, 3, open_ends=False)
    in_range("direct_effect", direct_effect, -100, 100, open_ends=False)
    cluster = _cluster_labels(_rows(n), clusters)
    groups = cluster.max() + 1
    x1 = rng.uniform(-1, 1, groups)
    z = rng.binomial(1, expit(0.5 * x1))[cluster]
    shared = rng.normal(0, 0.5, groups)[cluster] if clusters else 0.0
    x = np.column_stack([x1[cluster], rng.uniform(-1, 1, n)])
    u = rng.choice([-1.0, 1.0], n)
    pi, uptake, effect, _ = designs.noncompliance_law(x, confounding)
    a = z * rng.binomial(1, expit(0.2 + 0.8 * x[:, 1] + confounding * u))
    y = effect * a + direct_effect * z + x.sum(axis=1) + confounding * u + shared + rng.normal(size=n)
    data = _frame(x, z=z, a=a, y=y)
    if clusters:
        data["cluster"] = cluster
    latent = pd.DataFrame({"u": u, "pi": pi, "uptake": uptake, "effect": effect})
    return Simulation(data, designs.noncompliance_truth(confounding), latent)


def _cluster_labels(n: int, clusters: int | None) -> npt.NDArray[np.int64]:
    """Return the cluster of each row, in blocks of nearly equal size; every row its own if None."""
    if clusters is None:
        return np.arange(n)
    if whole_number("clusters", clusters, 2) > n:
        raise InputError(f"`clusters` must be at most the number of rows, {n}. Got {clusters} instead.")
    return np.arange(n) * clusters // n


def _rows(n: int) -> int:
    """Return the number of rows, checked."""
    return whole_number("n", n, 1)


def _at(values: Array, z: npt.NDArray[np.int64]) -> Array:
    """Pick from each row of ``values`` the column of its own instrument level."""
    return np.asarray(np.take_along_axis(values, z[:, None], axis=1)[:, 0])


def _frame(x: Array, **columns: npt.NDArray[Any]) -> pd.DataFrame:
    """Covariates x1, x2, ... followed by the named columns."""
    covariates = {f"x{j + 1}": x[:, j] for j in range(x.shape[1])}
    return pd.DataFrame({**covariates, **columns})


def _latent(u: Array, law: designs.Law) -> pd.DataFrame:
    """Return the confounder and the true nuisances at each row."""
    columns: dict[str, Array] = {"u": u, "beta": law.beta}
    tables = {"mu": law.mu, "V": law.V, "g": law.g}
    if law.is_binary:
        columns |= {"pi": law.f[:, 1], "rho": law.rho[:, 0]}
    else:
        tables |= {"f": law.f, "rho": law.rho}
    columns |= {f"{name}{j}": table[:, j] for name, table in tables.items() for j in range(len(law.levels))}
    return pd.DataFrame({name: np.broadcast_to(column, len(u)) for name, column in columns.items()})


def simulate_wcde(n: int = 2_000, *, random_state: int | np.random.Generator = 0) -> Simulation:
    r"""Draw a binary treatment with two binary mediators, one of them confounded with the outcome.

    V -> A, C -> A, C -> M2, C -> Y, W -> Y, A -> M1 -> M2, A -> M2, M1 -> Y, M2 -> Y, A -> Y, each node logistic in its
    parents, the outcome with products A M2 and C M1.

    Parameters
    ----------
    n : int, default 2000
        Number of rows, at least 1.
    random_state : int or numpy.random.Generator, default 0
        Seed or generator; the global random state is neither read nor changed.

    Returns
    -------
    Simulation
        ``data``: V, C, W, A, M1, M2, Y, all 0 or 1. ``truth``, by enumeration of the 2^7 values: "WCDE", "E[Y(1, M)]",
        "E[Y(0, M)]", each also with " (control law)"; "CDE(M1=0, M2=0)" and so on; "ATE". ``latent``: the probability
        of Y = 1.

    Examples
    --------
    >>> truth = simulate_wcde(100).truth
    >>> [round(truth[name], 4) for name in ("WCDE", "ATE")]
    [-0.1281, -0.1059]
    """
    values = wcde_designs.draw(_rows(n), np.random.default_rng(random_state))
    latent = pd.DataFrame({"p": wcde_designs.probability("Y", values)})
    data = pd.DataFrame({name: column.astype(int) for name, column in values.items()})
    return Simulation(data, dict(wcde_designs.truth()), latent)


def simulate_wcde_continuous(n: int = 2_000, *, random_state: int | np.random.Generator = 0) -> Simulation:
    r"""Draw a binary treatment with a continuous mediator that shares a cause with the outcome.

    ``C`` uniform on [-1, 1]; P(A=1|C) = expit(.6 C); M = .5 A + .8 C + N(0, 1);
    Y = (1 + .5 M + .5 C^2) A + M + C + .4 M C + N(0, 1).

    Parameters
    ----------
    n : int, default 2000
        Number of rows, at least 1.
    random_state : int or numpy.random.Generator, default 0
        Seed or generator; the global random state is neither read nor changed.

    Returns
    -------
    Simulation
        ``data``: C, A, M, Y. ``truth``, in closed form: "WCDE", "E[Y(1, M)]", "E[Y(0, M)]". ``latent``: pi = P(A=1|C),
        mu0 and mu1 = E[Y|A,M,C].

    Examples
    --------
    >>> round(simulate_wcde_continuous(100).truth["WCDE"], 4)
    1.2917
    """
    rng = np.random.default_rng(random_state)
    c = rng.uniform(-1, 1, _rows(n))
    pi = wcde_designs.continuous_treatment(c)
    a = rng.binomial(1, pi)
    m = 0.5 * a + 0.8 * c + rng.normal(size=n)
    mu = [wcde_designs.continuous_outcome(np.full(n, level), m, c) for level in (0.0, 1.0)]
    y = np.where(a == 1, mu[1], mu[0]) + rng.normal(size=n)
    latent = pd.DataFrame({"pi": pi, "mu0": mu[0], "mu1": mu[1]})
    return Simulation(pd.DataFrame({"C": c, "A": a, "M": m, "Y": y}), dict(wcde_designs.continuous_truth()), latent)
