"""The simulated models do what their descriptions say."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from causalif._errors import InputError
from causalif.datasets import simulate_null_sem, simulate_random_sem, simulate_sem1, simulate_sem2


@pytest.mark.parametrize("simulate", [simulate_sem1, simulate_null_sem, simulate_sem2, simulate_random_sem])
def test_truth_is_a_dag_on_the_columns(simulate):
    data, truth = simulate(200, 4)
    dag = nx.DiGraph(truth["edges"])
    assert nx.is_directed_acyclic_graph(dag)
    assert set(dag) <= set(data.columns)
    if "paths" in truth:
        dag.add_nodes_from(data.columns)
        assert sorted(map(tuple, nx.all_simple_paths(dag, "A", "Y"))) == sorted(truth["paths"])
    again, _ = simulate(200, 4)
    assert again.equals(data)


def test_columns_are_standardised():
    for simulate in (simulate_sem1, simulate_null_sem, simulate_random_sem):
        data, _ = simulate(500, 0)
        np.testing.assert_allclose(data.mean(), 0, atol=1e-12)
        np.testing.assert_allclose(data.std(ddof=0), 1)


def test_effects_of_sem2_are_those_of_its_equations():
    """By changing the treatment of 400,000 rows and following the linear equations, with the same noise."""
    _, truth = simulate_sem2(10, 0)
    rng = np.random.default_rng(0)
    c, e1, e2, e3 = rng.standard_normal((4, 400_000))

    def low(a):
        return 0.7 * a + 0.5 * c + 0.8 * e1

    def m(a, level):
        return 0.6 * a + 0.5 * level + 0.3 * c + 0.7 * e2

    def y(a, level, mediator):
        return 0.4 * a + 0.5 * level + 0.8 * mediator + 0.3 * a * mediator + 0.4 * c + e3

    base = y(0, low(0), m(0, low(0)))
    effects = truth["effects"]
    total = np.mean(y(1, low(1), m(1, low(1))) - base)
    direct = np.mean(y(1, low(0), m(0, low(0))) - base)
    through_m = np.mean(y(0, low(0), m(1, low(0))) - base)
    bundle = np.mean(y(0, low(1), m(0, low(1))) - base)
    treated = np.mean(y(1, low(1), m(1, low(1))) - y(1, low(1), m(0, low(1))))
    assert total == pytest.approx(effects["total"], abs=0.005)
    assert direct == pytest.approx(effects["direct"], abs=0.005)
    assert through_m == pytest.approx(effects["A -> M -> Y, control"], abs=0.005)
    assert treated == pytest.approx(effects["A -> M -> Y, treated"], abs=0.005)
    assert bundle == pytest.approx(effects["bundle A -> L"], abs=0.005)
    assert total - direct - through_m - bundle == pytest.approx(effects["remainder"], abs=0.005)


def test_random_models_have_the_stated_density_and_noise():
    counts = [len(simulate_random_sem(20, seed)[1]["edges"]) for seed in range(400)]
    assert np.mean(counts) == pytest.approx(5, abs=4 * np.sqrt(2.5 / 400))
    heavy, _ = simulate_random_sem(20_000, 2, form="linear", noise="t4", nodes=2)
    assert heavy.kurt().max() > 1.5
    with pytest.raises(InputError, match="`noise` must be one of"):
        simulate_random_sem(20, 0, noise="cauchy")
    with pytest.raises(InputError, match="`form` must be one of"):
        simulate_random_sem(20, 0, form="wild")
