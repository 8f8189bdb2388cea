"""Structural equation models with known structure, to try methods on that look for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from scipy.special import expit

from causalif._validate import Array, one_of, whole_number

Truth: TypeAlias = Mapping[str, Any]
Edges: TypeAlias = tuple[tuple[str, str], ...]

NODES = ("C", "A", "M1", "M2", "Y")


class SimulatedSEM(NamedTuple):
    """A simulated table and the structure that it was drawn from.

    Parameters
    ----------
    data : pandas.DataFrame
        The rows that an analyst would see.
    truth : mapping
        ``edges``, ``paths`` and, where they are known, ``effects``.

    Examples
    --------
    >>> simulated = simulate_sem2(100)
    >>> simulated.data.shape, simulated.truth["effects"]["total"]
    ((100, 5), 1.795)
    """

    data: pd.DataFrame
    truth: Truth


def _standardised(columns: Mapping[str, Array]) -> pd.DataFrame:
    frame = pd.DataFrame(dict(columns))
    return (frame - frame.mean()) / frame.std(ddof=0)


def simulate_sem1(n: int = 2_000, random_state: int | np.random.Generator = 0) -> SimulatedSEM:
    """Draw five continuous columns with two directed paths from A to Y: A -> M1 -> M2 -> Y and A -> Y.

    C = ε; A = 1.2 tanh C + .6 ε; M1 = sin(1.5 A) + .5 ε; M2 = .8 M1² + .4 ε;
    Y = tanh(1.5 M2) + .5 A + .4 cos C + .5 ε; every column standardised.

    Parameters
    ----------
    n : int, default 2000
        Number of rows, at least 2.
    random_state : int or numpy.random.Generator, default 0
        Source of randomness; the global random state is neither read nor changed.

    Returns
    -------
    SimulatedSEM
        The table and its truth: ``edges``, ``paths`` from A to Y.

    Examples
    --------
    >>> simulate_sem1(100).truth["paths"]
    (('A', 'M1', 'M2', 'Y'), ('A', 'Y'))
    """
    rng, n = np.random.default_rng(random_state), whole_number("n", n, 2)
    e = rng.standard_normal((5, n))
    c = e[0]
    a = 1.2 * np.tanh(c) + 0.6 * e[1]
    m1 = np.sin(1.5 * a) + 0.5 * e[2]
    m2 = 0.8 * m1**2 + 0.4 * e[3]
    y = np.tanh(1.5 * m2) + 0.5 * a + 0.4 * np.cos(c) + 0.5 * e[4]
    edges = (("C", "A"), ("C", "Y"), ("A", "M1"), ("M1", "M2"), ("M2", "Y"), ("A", "Y"))
    truth = {"edges": edges, "paths": (("A", "M1", "M2", "Y"), ("A", "Y"))}
    return SimulatedSEM(_standardised({"C": c, "A": a, "M1": m1, "M2": m2, "Y": y}), truth)


def simulate_null_sem(n: int = 2_000, random_state: int | np.random.Generator = 0) -> SimulatedSEM:
    """Draw five continuous columns in which nothing depends on A.

    C, A = ε; M1 = sin C + .5 ε; M2 = .8 M1² + .5 ε; Y = tanh M2 + .5 ε; every column standardised.

    Parameters
    ----------
    n : int, default 2000
        Number of rows, at least 2.
    random_state : int or numpy.random.Generator, default 0
        Source of randomness; the global random state is neither read nor changed.

    Returns
    -------
    SimulatedSEM
        The table and its truth: ``edges``, no ``paths`` from A to Y.

    Examples
    --------
    >>> simulate_null_sem(100).truth
    {'edges': (('C', 'M1'), ('M1', 'M2'), ('M2', 'Y')), 'paths': ()}
    """
    rng, n = np.random.default_rng(random_state), whole_number("n", n, 2)
    e = rng.standard_normal((5, n))
    m1 = np.sin(e[0]) + 0.5 * e[2]
    m2 = 0.8 * m1**2 + 0.5 * e[3]
    y = np.tanh(m2) + 0.5 * e[4]
    truth = {"edges": (("C", "M1"), ("M1", "M2"), ("M2", "Y")), "paths": ()}
    return SimulatedSEM(_standardised({"C": e[0], "A": e[1], "M1": m1, "M2": m2, "Y": y}), truth)


def simulate_sem2(n: int = 2_000, random_state: int | np.random.Generator = 0) -> SimulatedSEM:
    """Draw a linear model with a binary treatment, an interaction, and two mediators that share a cause.

    C ~ N(0, 1); A ~ Bernoulli(expit .8 C); L = .7 A + .5 C + .8 ε; M = .6 A + .5 L + .3 C + .7 ε;
    Y = .4 A + .5 L + .8 M + .3 A M + .4 C + ε.

    Parameters
    ----------
    n : int, default 2000
        Number of rows, at least 2.
    random_state : int or numpy.random.Generator, default 0
        Source of randomness; the global random state is neither read nor changed.

    Returns
    -------
    SimulatedSEM
        The table and its truth: ``edges``, ``paths`` from A to Y, and ``effects`` of a unit change of A.

    Examples
    --------
    >>> simulated = simulate_sem2(100)
    >>> list(simulated.data.columns)
    ['C', 'A', 'L', 'M', 'Y']
    >>> simulated.truth["effects"]["direct"]
    0.4
    """
    rng, n = np.random.default_rng(random_state), whole_number("n", n, 2)
    c = rng.standard_normal(n)
    a = (rng.random(n) < expit(0.8 * c)).astype(np.float64)
    e = rng.standard_normal((3, n))
    low = 0.7 * a + 0.5 * c + 0.8 * e[0]
    m = 0.6 * a + 0.5 * low + 0.3 * c + 0.7 * e[1]
    y = 0.4 * a + 0.5 * low + 0.8 * m + 0.3 * a * m + 0.4 * c + e[2]
    edges = (("C", "A"), ("C", "L"), ("C", "M"), ("C", "Y"), ("A", "L"), ("A", "M"), ("A", "Y"),
             ("L", "M"), ("L", "Y"), ("M", "Y"))  # fmt: skip
    effects = {
        "direct": 0.40, "A -> M -> Y, control": 0.48, "A -> M -> Y, treated": 0.66, "bundle A -> L": 0.63,
        "total": 1.795, "remainder": 0.285, "interventional A -> L -> M -> Y": 0.28, "interventional A -> L -> Y": 0.35,
    }  # fmt: skip
    paths = (("A", "Y"), ("A", "L", "Y"), ("A", "M", "Y"), ("A", "L", "M", "Y"))
    frame = pd.DataFrame({"C": c, "A": a, "L": low, "M": m, "Y": y})
    return SimulatedSEM(frame, {"edges": edges, "paths": paths, "effects": effects})


def simulate_random_sem(
    n: int = 2_000,
    random_state: int | np.random.Generator = 0,
    form: Literal["nonlinear", "linear"] = "nonlinear",
    noise: Literal["normal", "t4"] = "normal",
    nodes: int = 5,
) -> SimulatedSEM:
    """Draw a random structural equation model and a table from it.

    The columns come in random order, each earlier one a parent with probability 1/2. A parent z contributes
    1.3 c sin(ω z + φ), or c z if ``form="linear"``, with ``|c|`` ~ U(.2, .8) of random sign, ω ~ U(1, 2), φ ~ U(−1, 1);
    the noise is .7 N(0, 1), or .7 t₄ / √2; every column is standardised as it is made.

    Parameters
    ----------
    n : int, default 2000
        Number of rows, at least 2.
    random_state : int or numpy.random.Generator, default 0
        Source of randomness; the global random state is neither read nor changed.
    form : {"nonlinear", "linear"}, default "nonlinear"
        Form of the equations.
    noise : {"normal", "t4"}, default "normal"
        Law of the noise.
    nodes : int, default 5
        Number of columns, named X1, X2, ....

    Returns
    -------
    SimulatedSEM
        The table and its truth: ``edges``.

    Examples
    --------
    >>> simulated = simulate_random_sem(100, form="linear", nodes=3)
    >>> list(simulated.data.columns)
    ['X1', 'X2', 'X3']
    """
    one_of("form", form, ("nonlinear", "linear"))
    one_of("noise", noise, ("normal", "t4"))
    rng, n = np.random.default_rng(random_state), whole_number("n", n, 2)
    names = [f"X{j + 1}" for j in range(whole_number("nodes", nodes, 2))]
    columns: dict[str, Array] = {}
    edges: list[tuple[str, str]] = []
    for j in rng.permutation(nodes):
        total = 0.7 * (rng.standard_normal(n) if noise == "normal" else rng.standard_t(4, n) / np.sqrt(2))
        for parent, z in list(columns.items()):
            if rng.random() < 0.5:
                total = total + _contribution(z, form, rng)
                edges.append((parent, names[j]))
        columns[names[j]] = (total - total.mean()) / total.std()
    return SimulatedSEM(pd.DataFrame({name: columns[name] for name in names}), {"edges": tuple(edges)})


def _contribution(z: Array, form: str, rng: np.random.Generator) -> Array:
    c = rng.uniform(0.2, 0.8) * rng.choice([-1.0, 1.0])
    omega, phi = rng.uniform(1, 2), rng.uniform(-1, 1)
    return c * z if form == "linear" else 1.3 * c * np.sin(omega * z + phi)
