"""Density ratios by classification against ratios that are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.ensemble import HistGradientBoostingClassifier

from causalif._errors import InputError
from causalif.engine.density_ratio import RatioClassifier, choose_ratio_learner
from causalif.engine.nuisance import DensityRatio, Held, Marginal
from causalif.table import Table

SPEC = DensityRatio(("m",), ("c",))


def normal_table(n: int, rho: float, seed: int, weights=None) -> Table:
    rng = np.random.default_rng(seed)
    x = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], n)
    columns = {"m": x[:, 0], "a": (rng.random(n) < 0.5) * 1.0}
    return Table(columns, x[:, 1:], ("c",), pd.RangeIndex(n), weights=weights)


def normal_ratio(x, rho):
    return norm.pdf(x[:, 0]) * norm.pdf(x[:, 1]) / multivariate_normal([0, 0], [[1, rho], [rho, 1]]).pdf(x)


@pytest.mark.parametrize("learners", ["auto", "linear"])
@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_normal_blocks(learners, rho):
    ratio = choose_ratio_learner(learners, SPEC).fit(SPEC, normal_table(4_000, rho, 1), seed=0)
    fresh = normal_table(2_000, rho, 2).matrix(SPEC.given)
    inside = np.abs(fresh).max(axis=1) < 2
    exact = normal_ratio(fresh[inside], rho)
    assert np.sqrt(np.mean((ratio(fresh[inside]) / exact - 1) ** 2)) < 0.1
    assert ratio(fresh).mean() == pytest.approx(1.0, abs=0.06)


def test_curved_dependence_needs_more_than_products_of_two():
    """c = m² is uncorrelated with m: squares and products of two see nothing, the default does."""
    rng = np.random.default_rng(0)
    m = rng.normal(size=4_000)
    c = m**2 - 1 + rng.normal(size=m.size)
    table = Table({"m": m}, c[:, None], ("c",), pd.RangeIndex(m.size))
    rich = choose_ratio_learner("auto", SPEC).fit(SPEC, table, seed=0)
    poor = choose_ratio_learner("linear", SPEC).fit(SPEC, table, seed=0)
    far, near = np.array([[1.5, -1.0]]), np.array([[1.5, 1.25]])
    assert rich(far)[0] > 3 * rich(near)[0]
    assert poor(far)[0] < 2 * poor(near)[0]


def test_boosting_does_not_see_the_dependence_and_is_refused():
    """Both classes have the same marginal laws, so that no single split tells them apart."""
    boosting = HistGradientBoostingClassifier(max_iter=5, max_leaf_nodes=2, early_stopping=False)
    with pytest.raises(InputError, match="ratio 1 everywhere"):
        choose_ratio_learner({"density_ratio": boosting}, SPEC).fit(SPEC, normal_table(2_000, 0.5, 1), seed=0)


def test_weights_count_rows():
    """Rows of weight 0 are as good as absent; the others shift both laws."""
    n = 3_000
    table = normal_table(n, 0.5, 3)
    kept = table["m"] > 0
    weighted = Table(table.columns, table.covariates, table.names, table.index, weights=kept * n / kept.sum())
    one = choose_ratio_learner("linear", SPEC).fit(SPEC, weighted, seed=0)
    other = choose_ratio_learner("linear", SPEC).fit(SPEC, table.take(np.flatnonzero(kept)), seed=0)
    at = np.array([[0.5, 0.0], [1.0, 1.0], [1.5, -0.5]])
    assert np.allclose(one(at), other(at), rtol=0.15)


def test_the_first_block_can_come_from_some_rows_only():
    """With where, the ratio is p(m | a = 0) p(c) / p(m, c): here the law of m is shifted among a = 1."""
    table = normal_table(6_000, 0.0, 4)
    shifted = table.assign(m=table["m"] + table["a"])
    spec = DensityRatio(("m",), ("c",), where=(("a", 0.0),))
    ratio = choose_ratio_learner("linear", spec).fit(spec, shifted, seed=0)
    at = np.array([[-0.5, 0.0], [0.5, 1.0], [1.5, -1.0]])
    exact = norm.pdf(at[:, 0]) / (0.5 * norm.pdf(at[:, 0]) + 0.5 * norm.pdf(at[:, 0], loc=1))
    assert np.allclose(ratio(at), exact, rtol=0.12)


def test_the_same_seed_gives_the_same_digits():
    table, at = normal_table(500, 0.4, 5), np.array([[0.3, 0.2]])
    first, again, other = (choose_ratio_learner("auto", SPEC).fit(SPEC, table, seed)(at) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_many_columns_leave_the_simplest_candidate():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 40)), np.repeat([0, 1], 150)
    model = RatioClassifier(0).fit(X, y)
    assert model.predict_proba(X).shape == (300, 2)
    assert set(model.predict(X)) <= {0, 1}


def test_held_rows_give_masses():
    table = normal_table(6, 0.0, 6, weights=np.array([1.0, 1.0, 2.0, 0.0, 1.0, 1.0])).assign(
        a=np.array([0.0, 0.0, 1.0, 1.0, 1.0, 2.0])
    )
    held = Held.of(Marginal(("a",)), table)
    assert np.allclose(held.masses(4), [2 / 6, 3 / 6, 1 / 6, 0.0])
    assert np.allclose(held(table), [2 / 6, 2 / 6, 3 / 6, 3 / 6, 3 / 6, 1 / 6])
    some = Held.of(Marginal(("m",), where=(("a", 1.0),)), table)
    assert np.allclose(some.probabilities, [0, 0, 2 / 3, 0, 1 / 3, 0])
