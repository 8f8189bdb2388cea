"""Every estimand keeps its contract on finite-support laws, and a planted wrong one does not."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from causalif.engine.estimand import FiniteLaw
from causalif.engine.nuisance import Nuisances
from causalif.estimands.counterfactual import AverageEffect, CounterfactualMean, TreatedMoments
from causalif.estimands.invalid_iv import (
    InvalidIVEffect,
    OneSidedEffect,
    Roles,
    SensitivitySlopes,
    VarianceShiftMoments,
)
from causalif.table import Table
from causalif.testing import check_estimand
from causalif.testing.derivative import saturated, spoil

ONE = CounterfactualMean("y", "a", ("x",), 1.0, label="E[Y(1)]")
ZERO = CounterfactualMean("y", "a", ("x",), 0.0, label="E[Y(0)]")
BINARY = Roles("y", "a", "z", ("x",), binary=True)
CONTINUOUS = Roles("y", "a", "z", ("x",), binary=False)


def variance_shift_law(binary: bool, seed: int) -> FiniteLaw:
    """A random law of (x, z, a, y) in which z = 1 always widens the spread of a, well above the floor."""
    rng = np.random.default_rng(seed)
    treatments = (0.0, 1.0) if binary else (0.0, 1.0, 2.5)
    rows = []
    for x, z in itertools.product((0.0, 1.0, 2.0), (0.0, 1.0)):
        middle = np.array([0.85, 0.15] if binary else [0.08, 0.84, 0.08])
        wide = np.array([0.55, 0.45] if binary else [0.45, 0.15, 0.4])
        p_a = rng.dirichlet(60 * (wide if z else middle))
        for a, p in zip(treatments, p_a, strict=True):
            for y, q in zip((-1.0, 0.3, 2.0), rng.dirichlet([2, 2, 2]), strict=True):
                rows.append((x, z, a, y, p * q * rng.uniform(0.9, 1.1)))
    points = pd.DataFrame(rows, columns=["x", "z", "a", "y", "p"])
    mass = points.pop("p").to_numpy() * np.repeat(rng.uniform(0.5, 1.5, 6), len(points) // 6)
    return FiniteLaw(points, mass / mass.sum())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "estimand",
    [
        ONE,
        ZERO,
        AverageEffect(ONE, ZERO),
        CounterfactualMean("y", "a", ("x", "w"), 2.0, levels=3),
        TreatedMoments("y", "a", ("x",)),
        TreatedMoments("y", "a", ("x", "w"), 2.0, 1.0, levels=3),
        OneSidedEffect(BINARY, 1),
        OneSidedEffect(BINARY, 0),
        VarianceShiftMoments(BINARY),
        VarianceShiftMoments(CONTINUOUS),
    ],
    ids=repr,
)
def test_influence_function_is_the_pathwise_derivative(estimand, seed):
    report = check_estimand(estimand, random_state=seed)
    assert report.derivative < 1e-5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("roles", [BINARY, CONTINUOUS], ids=["binary", "continuous"])
@pytest.mark.parametrize("estimand", [InvalidIVEffect, SensitivitySlopes])
def test_invalid_instrument_effect_is_the_pathwise_derivative(estimand, roles, seed):
    law = variance_shift_law(roles.binary, seed)
    assert check_estimand(estimand(roles), law).derivative < 1e-5


@pytest.mark.parametrize("roles", [BINARY, CONTINUOUS], ids=["binary", "continuous"])
@pytest.mark.parametrize("leg", range(3))
def test_effect_is_multiply_robust_leg_by_leg(roles, leg):
    """θ alone survives more than the three coordinates together; what is not in a leg is spoiled."""
    estimand, law = InvalidIVEffect(roles), variance_shift_law(roles.binary, 7)
    kept, eta, rows = estimand.effect_robustness[leg], saturated(estimand, law), law.table(("x",))
    wrong = {name: f if name in kept | {"shift"} else spoil(f, k) for k, (name, f) in enumerate(eta.items())}
    drift = law.expect(estimand.eif(rows, wrong)[:, 0]) - estimand.plug_in(law)[0]
    assert abs(drift) < 1e-9


def test_effect_is_not_robust_when_every_leg_is_broken():
    estimand, law = InvalidIVEffect(BINARY), variance_shift_law(True, 7)
    eta, rows = saturated(estimand, law), law.table(("x",))
    wrong = {name: spoil(f, k) if name in {"beta", "mu0", "mu1"} else f for k, (name, f) in enumerate(eta.items())}
    assert abs(law.expect(estimand.eif(rows, wrong)[:, 0]) - estimand.plug_in(law)[0]) > 1e-3


def test_one_sided_effect_equals_the_full_functional_where_one_arm_is_empty():
    """With nobody treated at z = 0, C_0 = V_0 = 0 and the functional collapses to the informative arm."""
    law = variance_shift_law(True, 3)
    empty = ((law.points["z"] == 0) & (law.points["a"] == 1)).to_numpy()
    mass = np.where(empty, 0.0, law.probabilities)
    law = FiniteLaw(law.points, mass / mass.sum())
    full, collapsed = InvalidIVEffect(BINARY), OneSidedEffect(BINARY, 1)
    rows = law.table(("x",))
    assert np.allclose(full.plug_in(law)[0], collapsed.plug_in(law)[0], atol=1e-12)
    seen = mass > 0
    phi = full.eif(rows, saturated(full, law))[:, 0]
    assert np.allclose(phi[seen], collapsed.eif(rows, saturated(collapsed, law))[seen], atol=1e-8)


@dataclass(frozen=True)
class MissingCorrection(CounterfactualMean):
    """A plug-in that calls itself an influence function."""

    def eif(self, rows: Table, eta: Nuisances) -> np.ndarray:
        """Return the regression alone."""
        return eta[self._mu](rows)


@dataclass(frozen=True)
class HalvedScore(CounterfactualMean):
    """A score solved for θ without its Jacobian: right mean, half the influence."""

    def eif(self, rows: Table, eta: Nuisances) -> np.ndarray:
        """Return φ shrunk towards its mean."""
        mu, pi = eta[self._mu](rows), eta[self._pi](rows)
        correction = (rows[self.treatment] == self.level) / pi * (rows[self.outcome] - mu)
        return mu + 0.5 * correction


@pytest.mark.parametrize("wrong", [MissingCorrection, HalvedScore])
def test_a_planted_wrong_influence_function_is_caught(wrong):
    with pytest.raises(AssertionError, match="pathwise derivative"):
        check_estimand(wrong("y", "a", ("x",), 1.0))


@dataclass(frozen=True)
class OverClaimed(CounterfactualMean):
    """Declares that no regression is needed at all."""

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """Return a claim that is false."""
        return (frozenset(),)


def test_a_false_robustness_claim_is_caught():
    with pytest.raises(AssertionError, match=r"E φ = θ with only \[\] right"):
        check_estimand(OverClaimed("y", "a", ("x",), 1.0))


@dataclass(frozen=True)
class NotRowLocal(CounterfactualMean):
    """Takes an average over the evaluated rows."""

    def eif(self, rows: Table, eta: Nuisances) -> np.ndarray:
        """Return φ plus something that depends on which rows were asked about."""
        return super().eif(rows, eta) + 1e-3 * (rows["x"].mean() - 1.0)


def test_dependence_on_the_other_rows_is_caught():
    with pytest.raises(AssertionError, match="row-locality"):
        check_estimand(NotRowLocal("y", "a", ("x",), 1.0))


@dataclass(frozen=True)
class Cyclic(CounterfactualMean):
    """Asks for a nuisance before what it needs."""

    def nuisances(self):
        """Return a target whose ingredient is unknown."""
        from causalif.engine.nuisance import Mean
        from causalif.estimands.invalid_iv import Unexplained

        return {"late": Mean(Unexplained(BINARY, "beta"), ("x",))}


def test_unordered_nuisances_are_refused():
    from causalif import _errors
    from causalif.engine.problem import Plan, Problem

    with pytest.raises(_errors.InputError, match="must come before it"):
        Problem.of([Cyclic("y", "a", ("x",), 1.0)], Plan(learners="linear"))
