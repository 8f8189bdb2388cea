"""The laws behind the simulated tables with mediators, and their exact answers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import cache

import numpy as np
from scipy.special import expit

from causalif._validate import Array

PARENTS: Mapping[str, tuple[str, ...]] = {
    "V": (),
    "C": (),
    "W": (),
    "A": ("V", "C"),
    "M1": ("A",),
    "M2": ("C", "M1", "A"),
    "Y": ("C", "W", "M1", "M2", "A"),
}
MEDIATORS, COVARIATES = ("M1", "M2"), ("C", "W")


def probability(node: str, values: Mapping[str, Array]) -> Array:
    """Return P(node = 1 | its parents)."""
    v = values
    if node in ("V", "C", "W"):
        return np.asarray({"V": 0.5, "C": 0.4, "W": 0.5}[node])
    score = {
        "A": lambda: -0.9 + 1.4 * v["V"] + 0.9 * v["C"],
        "M1": lambda: -0.5 + 1.1 * v["A"],
        "M2": lambda: -0.8 + 0.9 * v["C"] + 0.8 * v["M1"] + 0.6 * v["A"],
        "Y": lambda: (
            -0.4 + 0.9 * v["C"] + 1.2 * v["W"] + 0.7 * v["M1"] - 0.6 * v["M2"]
            - 1.1 * v["A"] + 0.9 * v["A"] * v["M2"] - 0.5 * v["C"] * v["M1"]
        ),
    }[node]()  # fmt: skip
    return np.asarray(expit(score))


def draw(n: int, rng: np.random.Generator) -> dict[str, Array]:
    """Draw the seven binary columns."""
    values: dict[str, Array] = {}
    for node in PARENTS:
        values[node] = (rng.random(n) < probability(node, values)).astype(float)
    return values


@cache
def table_of_law() -> tuple[dict[str, Array], Array]:
    """Return all 2^7 value combinations and their probabilities."""
    grid = np.array(list(itertools.product((0.0, 1.0), repeat=len(PARENTS))))
    values = {node: grid[:, j] for j, node in enumerate(PARENTS)}
    mass = np.ones(len(grid))
    for node in PARENTS:
        p = probability(node, values)
        mass = mass * np.where(values[node] == 1, p, 1 - p)
    return values, mass


@cache
def truth() -> Mapping[str, float]:
    """Return the effects by enumeration, from the structural probabilities of Y."""
    values, mass = table_of_law()
    control = mass * (values["A"] == 0)
    found: dict[str, float] = {}
    for name, law in (("", mass), (" (control law)", control / control.sum())):
        means = [_direct_mean(a, law) for a in (1.0, 0.0)]
        found |= {
            f"WCDE{name}": means[0] - means[1],
            f"E[Y(1, M)]{name}": means[0],
            f"E[Y(0, M)]{name}": means[1],
        }
    for m1, m2 in itertools.product((0.0, 1.0), repeat=2):
        fixed = {"M1": m1, "M2": m2}
        found[f"CDE(M1={m1:g}, M2={m2:g})"] = _controlled(1.0, fixed) - _controlled(0.0, fixed)
    return found | {"ATE": _total(1.0) - _total(0.0)}


def _direct_mean(a: float, law_of_m: Array) -> float:
    """Return Σ_m p(m) Σ_c p(c) P(Y = 1 | a, m, c)."""
    values, _ = table_of_law()
    total = 0.0
    for m1, m2 in itertools.product((0.0, 1.0), repeat=2):
        share = float(law_of_m[(values["M1"] == m1) & (values["M2"] == m2)].sum())
        total += share * _controlled(a, {"M1": m1, "M2": m2})
    return total


def _controlled(a: float, fixed: Mapping[str, float]) -> float:
    values, mass = table_of_law()
    everywhere = {**values, "A": np.full(len(mass), a), **{k: np.full(len(mass), v) for k, v in fixed.items()}}
    return float(mass @ probability("Y", everywhere))


def _total(a: float) -> float:
    """Return E[Y | do(A = a)]: A's own factor is replaced, its descendants keep theirs."""
    values, _ = table_of_law()
    mass = (values["A"] == a) * 1.0
    for node in PARENTS:
        if node != "A":
            p = probability(node, values)
            mass = mass * np.where(values[node] == 1, p, 1 - p)
    return float(mass @ values["Y"])


# The continuous design: C uniform on [-1, 1], A given C logistic, M = 0.5 A + 0.8 C + N(0, 1).


def continuous_treatment(c: Array) -> Array:
    """Return P(A = 1 | C)."""
    return np.asarray(expit(0.6 * c))


def continuous_outcome(a: Array, m: Array, c: Array) -> Array:
    """Return E[Y | A, M, C]."""
    return np.asarray((1.0 + 0.5 * m + 0.5 * c**2) * a + m + c + 0.4 * m * c)


@cache
def continuous_truth() -> Mapping[str, float]:
    """Return the effects: by symmetry E[A] = 1/2, so E[M] = 1/4, and E[C²] = 1/3."""
    mean_m, mean_c2 = 0.25, 1.0 / 3.0
    one = 1.0 + 1.5 * mean_m + 0.5 * mean_c2
    return {"WCDE": one - mean_m, "E[Y(1, M)]": one, "E[Y(0, M)]": mean_m}
