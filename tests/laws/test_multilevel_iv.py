"""Estimands of a multi-level instrument keep their contract, and agree with the two-level ones where L = 2."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from causalif.engine.estimand import FiniteLaw
from causalif.engine.nuisance import Nuisances
from causalif.estimands.invalid_iv import InvalidIVEffect, Roles, VarianceShiftMoments
from causalif.estimands.multilevel_iv import MultilevelEffect, OverIdentification, ScoredShiftMoments
from causalif.estimands.multilevel_targets import LevelRoles
from causalif.table import Table
from causalif.testing import check_estimand, derivative
from causalif.testing.derivative import saturated, spoil

SEEDS = range(3)
BINARY_SHARES = {2: (0.08, 0.45), 3: (0.05, 0.5, 0.2), 4: (0.05, 0.28, 0.5, 0.13)}
WIDTHS = {2: (0.16, 0.85), 3: (0.16, 0.85, 0.5), 4: (0.1, 0.6, 0.85, 0.35)}
UNEQUAL = {2: (0.3, 0.7), 3: (0.5, 0.2, 0.3), 4: (0.4, 0.1, 0.2, 0.3)}
ALONG = (("x", 0.7, 1.6),)


def roles_of(levels: int, binary: bool, equal: bool = False) -> LevelRoles:
    omega = (1 / levels,) * levels if equal else UNEQUAL[levels]
    return LevelRoles("y", "a", "z", ("x",), binary, omega)


def level_law(levels: int, binary: bool, seed: int) -> FiniteLaw:
    """A random law of (x, z, a, y) in which the spread of a differs strongly between the levels of z at every x."""
    rng = np.random.default_rng(seed)
    rows = []
    for x, z in itertools.product((0.0, 1.0, 2.0), range(levels)):
        mass = rng.uniform(0.5, 1.5)
        for a, p in treatment_law(levels, binary, z, rng):
            for y, q in zip((-1.0, 0.3, 2.0), rng.dirichlet([2, 2, 2]), strict=True):
                rows.append((x, float(z), a, y, mass * p * q))
    points = pd.DataFrame(rows, columns=["x", "z", "a", "y", "p"])
    mass = points.pop("p").to_numpy()
    return FiniteLaw(points, mass / mass.sum())


def treatment_law(levels, binary, z, rng):
    if binary:
        share = BINARY_SHARES[levels][z] * rng.uniform(0.9, 1.1)
        return [(0.0, 1 - share), (1.0, share)]
    width = WIDTHS[levels][z]
    return list(zip((0.0, 1.0, 2.5), rng.dirichlet(60 * np.array([width / 2, 1 - width, width / 2])), strict=True))


def line_law(levels: int, binary: bool, seed: int) -> tuple[FiniteLaw, float, float]:
    """A law with E[Y | A, Z, X] = g_Z(X) + β(X) A + ρ(X) (A − μ_Z) / V_Z; returns E β and E ρ with it."""
    rng = np.random.default_rng(seed)
    beta, rho = rng.uniform(0.5, 1.5, 3), rng.uniform(-0.1, 0.1, 3)
    rows, weighted = [], np.zeros(2)
    for x, z in itertools.product(range(3), range(levels)):
        mass, g, law = rng.uniform(0.5, 1.5), rng.normal(), treatment_law(levels, binary, z, rng)
        a, p = np.array(law).T
        mu = a @ p
        mean = g + beta[x] * a + rho[x] * (a - mu) / ((a - mu) ** 2 @ p)
        for one, share, m in zip(a, p, mean, strict=True):
            high = (1 + m / 12) / 2
            rows += [(x, z, one, -12.0, mass * share * (1 - high)), (x, z, one, 12.0, mass * share * high)]
        weighted += mass * np.array([beta[x], rho[x]])
    points = pd.DataFrame(rows, columns=["x", "z", "a", "y", "p"], dtype=float)
    mass = points.pop("p").to_numpy()
    assert mass.min() > 0
    return FiniteLaw(points, mass / mass.sum()), *(weighted / mass.sum())


def estimands(levels, binary):
    roles = roles_of(levels, binary)
    scores = tuple(np.random.default_rng(levels).permutation(levels) / 1.0)
    return [MultilevelEffect(roles), OverIdentification(roles, directions=ALONG), ScoredShiftMoments(roles, scores)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("which", range(3), ids=["effect", "over-identification", "moments"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "continuous"])
@pytest.mark.parametrize("levels", [2, 3, 4])
def test_influence_function_is_the_pathwise_derivative(levels, binary, which, seed, monkeypatch):
    """The error of central differences falls with the square of the step; a fifth of the usual one allows 1e-6."""
    monkeypatch.setattr(derivative, "STEP", 2e-6)
    law = level_law(levels, binary, seed)
    report = check_estimand(estimands(levels, binary)[which], law, atol=1e-6)
    assert max(report.robustness) < 1e-9


def test_the_laws_are_far_from_the_floor_and_from_one_line():
    """Otherwise the checks above would say nothing about the terms with e_z."""
    for levels, binary, seed in itertools.product((3, 4), (True, False), SEEDS):
        roles, law = roles_of(levels, binary), level_law(levels, binary, seed)
        spread = roles.spread(roles.law_moments(law)["V"])
        assert spread.min() > 0.2 * law.expect(spread)
        assert np.abs(OverIdentification(roles).plug_in(law)).max() > 1e-3


@pytest.mark.parametrize("leg", range(2))
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "continuous"])
@pytest.mark.parametrize("levels", [3, 4])
def test_effect_and_departures_survive_each_leg(levels, binary, leg):
    """What is not in a leg is spoiled, the outcome regressions among it."""
    roles, law = roles_of(levels, binary), level_law(levels, binary, 7)
    for estimand in (MultilevelEffect(roles), OverIdentification(roles)):
        kept = MultilevelEffect(roles).effect_robustness[leg]
        drift = drift_with(estimand, law, kept)
        coordinates = slice(0, 2) if isinstance(estimand, MultilevelEffect) else slice(None)
        assert np.abs(drift[coordinates]).max() < 1e-9


def drift_with(estimand, law, kept):
    eta, rows = saturated(estimand, law), law.table(("x",))
    wrong = {name: f if name in kept | {"shift"} else spoil(f, k) for k, (name, f) in enumerate(eta.items())}
    return law.expect(estimand.eif(rows, wrong)) - estimand.plug_in(law)


@pytest.mark.parametrize(
    ("binary", "broken"),
    [*((False, part) for part in ("mu", "V", "rho", "beta")), *((True, part) for part in ("mu", "rho", "beta"))],
)
def test_every_part_of_a_leg_is_needed(binary, broken):
    """Legs are not declared too small to fail: without f, one part less is one part too few."""
    roles, law = roles_of(3, binary), level_law(3, binary, 7)
    estimand = MultilevelEffect(roles)
    line = estimand.effect_robustness[1]
    assert abs(drift_with(estimand, law, {name for name in line if not name.startswith(broken)})[0]) > 1e-4


@dataclass(frozen=True)
class WithoutDepartures(MultilevelEffect):
    """The two-level formula carried over: it forgets that the departures e_z move the slope."""

    def eif(self, rows: Table, eta: Nuisances) -> np.ndarray:
        from causalif.estimands.multilevel_iv import _Line

        line, phi = _Line.of(self.roles, self.floor, rows, eta), super().eif(rows, eta)
        e, v = self.roles.centred(line.rho), line.v
        missing = line.own(line.omega / line.f * e) / line.s * (line.r_a**2 - line.own(v))
        return np.column_stack([phi[:, 0] - missing, phi[:, 1:]])


def test_a_formula_without_departures_is_caught():
    with pytest.raises(AssertionError, match="pathwise derivative"):
        check_estimand(WithoutDepartures(roles_of(3, False)), level_law(3, False, 0))


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "continuous"])
@pytest.mark.parametrize("levels", [3, 4])
def test_one_line_gives_the_effect_at_any_weights_and_no_departures(levels, binary):
    law, effect, confounding = line_law(levels, binary, 5)
    for equal in (True, False):
        roles = roles_of(levels, binary, equal)
        assert np.allclose(MultilevelEffect(roles).plug_in(law)[:2], [effect, confounding], atol=1e-12)
        departures = OverIdentification(roles, directions=ALONG)
        assert np.abs(departures.plug_in(law)).max() < 1e-12
        phi = departures.eif(law.table(("x",)), saturated(departures, law))
        assert np.abs(law.expect(phi)).max() < 1e-12


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "continuous"])
@pytest.mark.parametrize("equal", [True, False])
def test_two_levels_are_the_two_level_estimator_whatever_the_weights(binary, seed, equal):
    law = level_law(2, binary, seed)
    rows, several = law.table(("x",)), MultilevelEffect(roles_of(2, binary, equal))
    two = InvalidIVEffect(Roles("y", "a", "z", ("x",), binary))
    order = [0, 2, 1]  # effect, confounding, direct effect
    assert np.allclose(several.plug_in(law), two.plug_in(law)[order], rtol=0, atol=1e-10)
    phi, expected = several.eif(rows, saturated(several, law)), two.eif(rows, saturated(two, law))
    assert np.allclose(phi, expected[:, order], rtol=0, atol=1e-10)
    departures = OverIdentification(several.roles)
    assert np.abs(departures.eif(rows, saturated(departures, law))).max() < 1e-10


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "continuous"])
def test_two_level_moments_are_the_variance_shift_moments(binary):
    law = level_law(2, binary, 1)
    rows = law.table(("x",))
    several, two = (
        ScoredShiftMoments(roles_of(2, binary), (0.0, 1.0)),
        VarianceShiftMoments(Roles("y", "a", "z", ("x",), binary)),
    )
    assert np.allclose(several.plug_in(law), two.plug_in(law), rtol=0, atol=1e-12)
    assert np.allclose(
        several.eif(rows, saturated(several, law)), two.eif(rows, saturated(two, law)), rtol=0, atol=1e-12
    )


def test_departures_obey_their_two_identities():
    """Σ ω e = 0 on average, and Σ ω (V − V̄) e = 0 at every x."""
    roles, law = roles_of(4, False), level_law(4, False, 2)
    at, _, rho = roles.law_line(law)
    e, v, omega = roles.centred(rho), roles.centred(at["V"]), np.array(roles.omega)
    assert np.abs(e @ omega).max() < 1e-14
    assert np.abs((v * e) @ omega).max() < 1e-14
    assert abs(OverIdentification(roles).plug_in(law) @ omega) < 1e-14
