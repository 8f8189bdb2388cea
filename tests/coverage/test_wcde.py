"""Bias, coverage and standard errors of the weighted controlled direct effect over many draws."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).with_name("study_wcde.py")
SPEC = importlib.util.spec_from_file_location("study_wcde", PATH)
study_wcde = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = study_wcde  # its dataclasses look themselves up there
SPEC.loader.exec_module(study_wcde)


def assert_honest(found, draws, low=0.92, high=0.98):
    """Bias within three Monte Carlo errors, coverage within the band (widened by its own error), SE near SD."""
    slack = 2 * np.sqrt(0.95 * 0.05 / draws) if draws < 400 else 0.0
    assert abs(found["bias"]) < 3 * found["MC error"]
    assert low - slack <= found["coverage"] <= min(high + slack, 1.0)
    assert found["SE / SD"] == pytest.approx(1.0, abs=4 / np.sqrt(2 * draws))


def test_discrete_mediators_in_short():
    assert_honest(study_wcde.study("discrete", "saturated", 2_000, 60, first=100), 60)


def test_sequential_formula_in_short():
    assert_honest(study_wcde.study("sequential", "saturated", 2_000, 60, first=100), 60)


def test_targeting_agrees_with_one_step_to_first_order():
    """√n times their distance shrinks with n; if they differed by a term of order n^(-1/2) it would not."""
    distance = []
    for n, draws in ((1_000, 24), (9_000, 8)):
        fits = [
            [study_wcde.one_draw("discrete", "saturated", n, seed, ["C", "W"], "marginal", {"method": method})["error"]
             for method in ("one_step", "tmle")] for seed in range(draws)
        ]  # fmt: skip
        distance.append(np.sqrt(n * np.mean(np.diff(fits, axis=1) ** 2)))
    assert distance[1] < distance[0] / 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("design", "learners", "route"),
    [
        ("discrete", "saturated", {"weights_by": "riesz"}),
        ("discrete", "saturated", {"method": "tmle"}),
        ("discrete", "saturated", {"method": "tmle", "weights_by": "riesz"}),
        ("continuous", "flexible", {"weights_by": "riesz"}),
        ("continuous", "flexible", {"method": "tmle"}),
        ("sequential", "saturated", {}),
    ],
)
def test_other_routes(design, learners, route):
    assert_honest(study_wcde.study(design, learners, 2_000, 300, **route), 300)


@pytest.mark.slow
@pytest.mark.parametrize("design", ["discrete", "continuous"])
def test_default_learners(design):
    assert_honest(study_wcde.study(design, "auto", 2_000, 60, first=500), 60)


@pytest.mark.slow
def test_sequential_law_of_the_controls():
    assert_honest(study_wcde.study("sequential", "saturated", 2_000, 300, law="control"), 300)


@pytest.mark.slow
@pytest.mark.parametrize("n", [2_000, 20_000])
def test_discrete_mediators(n):
    assert_honest(study_wcde.study("discrete", "saturated", n, 600, first=100), 600)


@pytest.mark.slow
def test_law_of_the_controls():
    assert_honest(study_wcde.study("discrete", "saturated", 2_000, 400, law="control"), 400)


@pytest.mark.slow
@pytest.mark.parametrize("learners", ["flexible", "flexible, quadratic ratio"])
def test_continuous_mediator(learners):
    assert_honest(study_wcde.study("continuous", learners, 2_000, 400), 400)


@pytest.mark.slow
@pytest.mark.parametrize("leg", ["outcome wrong", "weights wrong"])
def test_double_robustness(leg):
    """Either leg keeps the estimate unbiased; the standard error asks for both, so it is not compared here."""
    found = study_wcde.study("discrete", leg, 5_000, 400)
    assert abs(found["bias"]) < 3 * found["MC error"]


@pytest.mark.slow
def test_the_optimal_set_has_the_smallest_estimated_variance():
    table = study_wcde.study_sets(20_000, 100)
    assert table["mean n SE^2"].idxmin() == "M1 M2 C W (optimal)"
    assert (table["bias / MC error"].abs() < 3).all()


@pytest.mark.slow
def test_marginal_laws_of_either_part_serve_as_well():
    table = study_wcde.study_marginals(2_000, 300)
    assert table.attrs["difference"] < 0.05 * np.sqrt(table.loc["evaluation", "n var"] / 2_000)
