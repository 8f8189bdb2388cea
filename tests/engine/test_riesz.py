"""Weights by least squares: exact ratios on finite laws, brute force over pairs, and what they need."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from causalif._errors import InputError, PositivityError
from causalif.datasets import simulate_wcde
from causalif.engine.density_ratio import choose_ratio_learner
from causalif.engine.nuisance import DensityRatio
from causalif.engine.riesz import CANDIDATES, SIMPLE, Block, Moments, Richness, RieszLearner, _moments
from causalif.table import Table, read_table

SPEC = DensityRatio(("M1", "M2"), ("C", "W"), among=(("A", 1.0),), by="riesz")


def table_of(data: pd.DataFrame, weights: str | None = None) -> Table:
    numbers = {"outcome": "Y", "one": "M1", "two": "M2"}
    return read_table(data, numbers=numbers, coded={"treatment": "A"}, adjust=["C", "W"], weights=weights)


def exact_ratio(data: pd.DataFrame, arm: int = 1, control: bool = False) -> np.ndarray:
    """p(m) p(c) / p(a, m, c) of the rows themselves, by counting."""

    def counted(frame, columns):
        size = np.bincount(data.loc[frame, columns].to_numpy() @ powers[: len(columns)], minlength=16)
        return size[data[columns].to_numpy() @ powers[: len(columns)]]

    powers, everybody, n = np.array([1, 2, 4, 8]), np.ones(len(data), dtype=bool), len(data)
    drawn = (data["A"] == 0).to_numpy() if control else everybody
    law = counted(drawn, ["M1", "M2"]) / drawn.sum()
    joint = counted((data["A"] == arm).to_numpy(), ["M1", "M2", "C", "W"]) / n
    return law * counted(everybody, ["C", "W"]) / n / joint


@pytest.mark.parametrize("control", [False, True])
def test_the_ratio_of_a_finite_law_is_found(control):
    """The only error left is the ridge, which vanishes as rows are added."""
    errors = []
    for n in (10_000, 160_000):
        data = simulate_wcde(n, random_state=1).data
        spec = DensityRatio(("M1", "M2"), ("C", "W"), (("A", 0.0),) if control else (), among=(("A", 1.0),), by="riesz")
        table = table_of(data)
        found = RieszLearner((Richness(0, True),)).fit(spec, table, 0)(table.matrix(spec.given))
        right = exact_ratio(data, control=control)
        errors.append(np.sqrt(np.mean((found - right) ** 2)) / right.std())
    assert errors[1] < errors[0] / 2
    assert errors[1] < 0.02


def test_the_saturated_description_is_chosen_where_it_tells():
    data = simulate_wcde(40_000, random_state=2).data
    table = table_of(data)
    found = RieszLearner().fit(SPEC, table, 0)(table.matrix(SPEC.given))
    assert np.corrcoef(found, exact_ratio(data))[0, 1] > 0.99


def test_moments_are_sums_over_pairs_of_different_rows():
    """Double loops over rows, with sampling weights and with the law of one arm."""
    rng = np.random.default_rng(0)
    data = simulate_wcde(40, random_state=1).data.assign(w=rng.uniform(0.5, 2, 40))
    table = table_of(data, "w")
    first, second = table.matrix(SPEC.first), table.matrix(SPEC.second)
    blocks = Block.of(first, SIMPLE), Block.of(second, SIMPLE)
    w, a = table.weights, table["A"] == 1
    parts = _moments(blocks, first, second, w * a, w * ~a, table, np.arange(40) % 5)
    total = sum(parts[1:], start=parts[0])
    one, other = blocks[0](first), blocks[1](second)
    pairs = [(i, j) for i, j in itertools.permutations(range(40), 2) if not a[i]]
    mass = np.array([w[i] * w[j] for i, j in pairs])
    terms = np.array([np.outer(one[i], other[j]).ravel() for i, j in pairs])
    assert np.allclose(total.target, mass @ terms / mass.sum(), atol=1e-12)
    own = np.array([np.outer(one[i], other[i]).ravel() for i in range(40)])
    assert np.allclose(total.gram, (own[a] * w[a, None]).T @ own[a], atol=1e-10)
    parted = total - parts[0]
    assert np.allclose(parted.gram, sum(parts[2:], start=parts[1]).gram, atol=1e-10)
    assert isinstance(parted, Moments)


def test_the_fit_minimises_the_loss():
    data = simulate_wcde(2_000, random_state=3).data
    table = table_of(data)
    first, second = table.matrix(SPEC.first), table.matrix(SPEC.second)
    blocks = Block.of(first, CANDIDATES[1]), Block.of(second, CANDIDATES[1])
    ones = np.ones(len(table))
    parts = _moments(blocks, first, second, ones * (table["A"] == 1), ones, table, np.arange(2000) % 5)
    total = sum(parts[1:], start=parts[0])
    best = total.fit(0.0)
    rng = np.random.default_rng(0)
    assert all(total.loss(best) < total.loss(best + 0.01 * rng.normal(size=len(best))) for _ in range(50))


def test_a_column_with_ties_still_gives_finite_weights():
    rng = np.random.default_rng(0)
    data = simulate_wcde(3_000, random_state=1).data
    data = data.assign(M1=np.where(rng.random(3_000) < 0.95, 0.0, rng.normal(size=3_000)))
    table = table_of(data)
    found = RieszLearner((CANDIDATES[2],)).fit(SPEC, table, 0)(table.matrix(SPEC.given))
    assert np.isfinite(found).all()


def test_conditions_that_no_row_meets_are_said():
    table = table_of(simulate_wcde(50, random_state=1).data)
    nobody = DensityRatio(("M1",), ("C",), among=(("A", 7.0),), by="riesz")
    with pytest.raises(PositivityError, match="no training row"):
        RieszLearner().fit(nobody, table, 0)


def test_the_linear_path_uses_the_simplest_description():
    assert choose_ratio_learner("linear", SPEC).candidates == (SIMPLE,)
    assert choose_ratio_learner("auto", SPEC).candidates == CANDIDATES


def test_classification_knows_no_arm():
    with pytest.raises(InputError, match='by="riesz"'):
        choose_ratio_learner("auto", DensityRatio(("M1",), ("C",), among=(("A", 1.0),)))
