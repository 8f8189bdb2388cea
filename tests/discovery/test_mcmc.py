"""Partition Markov chains against the enumeration of every DAG, against the exact engine, and against the clock."""

from __future__ import annotations

import importlib.util
import itertools
import math
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from causalif._errors import CausalifWarning, InputError
from causalif.datasets import simulate_random_sem
from causalif.discovery import mcmc, order_moves
from causalif.discovery.background import Background
from causalif.discovery.columns import read_columns
from causalif.discovery.exact import sample_exact
from causalif.discovery.families import Families, masks_of, parent_sets, structure_prior
from causalif.discovery.mcmc import sample_mcmc
from causalif.discovery.order_moves import order_law
from causalif.discovery.partition_score import LayerScores, bits_of, layers_of
from causalif.discovery.rhat import chain_ess, split_rhat
from causalif.discovery.spline_score import SplineScorer

SPEC = importlib.util.spec_from_file_location("brute_force_mcmc", Path(__file__).with_name("brute_force.py"))
brute_force = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = brute_force
SPEC.loader.exec_module(brute_force)

# Monte Carlo errors allowed: with some 20 edges the largest of 20 |z| exceeds 4 once in a thousand tests.
ERRORS = 4.0


def random_families(p, rng, spread=1.0, **knowledge):
    names = tuple(f"x{j}" for j in range(p))
    rules = Background(**knowledge).rules(names)
    sets = parent_sets(rules.allowed, rules.required, rules.max_parents)
    scores = [rng.normal(scale=spread, size=len(masks)) for masks in sets]
    priors = structure_prior("indegree_uniform", names, sets, rules.allowed, rules.required)
    return Families.of_scores(names, sets, scores, priors)


def spline_families(data, max_parents=None, temperature=1.0):
    columns = read_columns(data, [])
    rules = Background(max_parents=max_parents).rules(columns.names)
    sets = parent_sets(rules.allowed, rules.required, rules.max_parents)
    scores = SplineScorer.of(columns, sets, 6).log_scores(np.ones(columns.n), np.random.default_rng(0))
    priors = structure_prior("indegree_uniform", columns.names, sets, rules.allowed, rules.required)
    return Families.of_scores(columns.names, sets, scores, priors).tempered(temperature)


def distances(draws, truth, names):
    """Distance of every edge probability from the truth, in stated Monte Carlo errors."""
    table = draws.diagnostics["chains"]
    at = {name: k for k, name in enumerate(names)}
    known = np.array([truth[at[j], at[i]] for j, i in zip(table["from"], table["to"], strict=True)])
    # where all draws agree, the error of a probability p is that of never seeing something of probability p
    error = np.maximum(table["std_error"], np.sqrt(known * (1 - known) / table["ess"]))
    return np.abs(table["probability"] - known) / np.maximum(error, 1e-12)


# --- the sums ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [1.0, 30.0, 3000.0])
def test_layer_sums_equal_the_definition(spread):
    families = random_families(6, np.random.default_rng(1), spread)
    scores = LayerScores(families)
    for before, last in [(0, 0), (0b11110, 0b100), (0b11110, 0b11110), (0b110, 0b110)]:
        weights = [
            weight
            for mask, weight in zip(families.parents[0].tolist(), families.log_weights[0].tolist(), strict=True)
            if not mask & ~before and (mask & last or not last)
        ]
        assert scores.node(0, before, last) == pytest.approx(np.logaddexp.reduce(weights), rel=1e-12)
    assert scores.node(0, 0b110, 0b1000) == -math.inf


def test_layer_sums_look_past_the_best_sets():
    """The only eligible sets may come after hundreds of better ones."""
    sets = parent_sets(~np.eye(12, dtype=bool), np.zeros((12, 12), dtype=bool), None)
    families = Families.of_scores([f"x{j}" for j in range(12)], sets, [3 * np.bitwise_count(s) for s in sets])
    scores = LayerScores(families)
    assert scores.node(0, 0b110, 0b10) == pytest.approx(np.logaddexp(3.0, 6.0), rel=1e-12)
    assert scores.draw(0, 0b10, 0b10, 0.5) == 0b10


def test_layers_of_a_dag():
    parents = np.array([0, 0b1, 0b1, 0b110, 0])  # x0 -> x1, x2 -> x3; x4 alone
    assert layers_of(parents) == [0b10001, 0b110, 0b1000]
    assert bits_of(0b10110) == [1, 2, 4]


def test_partitions_sum_to_the_evidence():
    """Every DAG has one ordered partition: the weights of all partitions sum to those of all DAGs."""
    families = random_families(4, np.random.default_rng(2), 3.0)
    scores, total = LayerScores(families), -math.inf
    for labels in itertools.product(range(4), repeat=4):
        if set(labels) == set(range(max(labels) + 1)):
            layers = [sum(1 << v for v in range(4) if labels[v] == k) for k in range(max(labels) + 1)]
            total = np.logaddexp(total, scores.total(layers))
    assert total == pytest.approx(brute_force.posterior(families)[2], rel=1e-12)


def test_order_law_is_a_law():
    parents = np.array([0, 0b1, 0b1, 0b10])
    laws = [
        math.exp(order_law(list(order), parents))
        for order in itertools.permutations(range(4))
        if all(not int(parents[v]) & ~sum(1 << w for w in order[:k]) for k, v in enumerate(order))
    ]
    assert len(laws) == 3
    assert sum(laws) == pytest.approx(1.0)


@pytest.mark.parametrize("step", ["_relocate", "_split_or_merge", "_swap_neighbours", "_swap_any", "reorder"])
def test_each_move_alone_keeps_the_posterior(step):
    """Start in the posterior, make one kind of move: the law of layers must not change."""
    families = random_families(3, np.random.default_rng(3), 1.0)
    dags, mass, _ = brute_force.posterior(families)
    parents, rng, scores = masks_of(dags), np.random.default_rng(4), LayerScores(families)
    move = order_moves.reorder if step == "reorder" else getattr(mcmc, step)
    expected, seen, runs = {}, {}, 8_000
    for row, probability in zip(parents, mass, strict=True):
        expected[tuple(layers_of(row))] = expected.get(tuple(layers_of(row)), 0.0) + probability
    for row in parents[rng.choice(len(mass), size=runs, p=mass)]:
        key = tuple(move(layers_of(row), scores, rng))
        seen[key] = seen.get(key, 0) + 1
    z = [(seen.get(k, 0) / runs - e) / math.sqrt(e * (1 - e) / runs) for k, e in expected.items() if e * runs > 10]
    assert set(seen) <= set(expected)
    assert np.abs(z).max() < ERRORS


# --- whole runs -------------------------------------------------------------------------------------------------

KNOWLEDGE = {
    "nothing": {},
    "tiers": {"tiers": [["x3"], ["x0", "x4"], ["x1", "x2"]]},
    "required": {"required": [("x0", "x1"), ("x1", "x2")]},
    "few parents": {"forbidden": [("x4", "x0"), ("x2", "x3")], "max_parents": 2},
}


@pytest.mark.parametrize("known", KNOWLEDGE)
def test_edges_equal_enumeration_of_all_dags(known):
    rng = np.random.default_rng(5)
    families = random_families(5, rng, 2.0, **KNOWLEDGE[known])
    dags, mass, _ = brute_force.posterior(families)
    if known == "nothing":
        assert len(dags) == 29_281
    found = sample_mcmc(families, draws=1600, rng=rng)
    assert found.complete
    assert found.diagnostics["chains"]["r_hat"].max() < 1.05
    assert found.ess > 100
    assert distances(found, np.einsum("d,dji->ji", mass, dags), families.names).max() < ERRORS


def test_no_bias_towards_dags_with_many_orders():
    """Flat weights: order samplers would favour the empty DAG sixfold over a complete one."""
    sets = parent_sets(~np.eye(3, dtype=bool), np.zeros((3, 3), dtype=bool), None)
    families = Families.of_scores(("a", "b", "c"), sets, [np.zeros(len(s)) for s in sets])
    found = sample_mcmc(families, draws=2000, rng=np.random.default_rng(6))
    count = (found.adjacency.sum(axis=(1, 2)) == 0).mean()
    assert abs(count - 1 / 25) < ERRORS * math.sqrt(1 / 25 * 24 / 25 / found.ess)


def test_nonlinear_data_agree_with_the_exact_engine():
    families = spline_families(simulate_random_sem(400, 7, nodes=8)[0], max_parents=3)
    exact = sample_exact(families, draws=10, rng=np.random.default_rng(0)).edges
    found = sample_mcmc(families, draws=1000, rng=np.random.default_rng(8))
    assert found.diagnostics["chains"]["r_hat"].max() < 1.05
    assert distances(found, exact, families.names).max() < ERRORS


def test_same_generator_same_draws():
    families = random_families(5, np.random.default_rng(9), 2.0)
    one, two = (sample_mcmc(families, draws=80, rng=np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(one.adjacency, two.adjacency)


def test_shapes_and_weights():
    found = sample_mcmc(random_families(4, np.random.default_rng(0)), draws=10, rng=np.random.default_rng(1))
    assert found.adjacency.shape == (12, 4, 4)
    assert found.weights.sum() == pytest.approx(1.0)
    assert found.ess <= 12


def test_a_warning_names_the_worst_edge():
    found = sample_mcmc(random_families(3, np.random.default_rng(0)), draws=40, rng=np.random.default_rng(1))
    spoiled = found.diagnostics["chains"].assign(r_hat=[1.0, 1.2, np.inf, 1.0, 1.0, 1.0])
    with pytest.warns(CausalifWarning, match=r"2 of 6 possible edges \(largest inf, x0 -> x1\)"):
        mcmc._warn(spoiled)


def test_deadline_returns_what_there_is():
    families = random_families(12, np.random.default_rng(10), 5.0, max_parents=3)
    begun = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sample_mcmc(families, draws=10**6, rng=np.random.default_rng(0), deadline=begun + 1.5, warmup=5)
    assert time.monotonic() - begun < 10
    assert not found.complete
    assert 4 <= len(found.adjacency) < 10**6


def test_deadline_in_the_warm_up():
    families = random_families(6, np.random.default_rng(10))
    with pytest.warns(CausalifWarning, match="before their first draw"):
        found = sample_mcmc(families, draws=40, rng=np.random.default_rng(0), deadline=time.monotonic() - 1)
    assert found.adjacency.shape == (4, 6, 6)
    assert np.isfinite(families.log_weight_of(found.adjacency)).all()
    assert not found.complete


def test_interrupt_returns_what_there_is(monkeypatch):
    families = random_families(5, np.random.default_rng(10))
    original, calls = mcmc._sweep, [0]

    def interrupted(*arguments):
        calls[0] += 1
        if calls[0] == 4 * 130:
            signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(mcmc, "_sweep", interrupted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sample_mcmc(families, draws=400, rng=np.random.default_rng(0), warmup=100)
    assert not found.complete
    assert len(found.adjacency) == 4 * 29


def test_wrong_arguments():
    families = random_families(3, np.random.default_rng(0))
    with pytest.raises(InputError, match="chains"):
        sample_mcmc(families, draws=10, rng=np.random.default_rng(0), chains=1)
    with pytest.raises(InputError, match="draws"):
        sample_mcmc(families, draws=0, rng=np.random.default_rng(0))
    cyclic = Families.of_scores(("a", "b"), (np.array([2]), np.array([1])), (np.zeros(1), np.zeros(1)))
    with pytest.raises(InputError, match="acyclic"):
        sample_mcmc(cyclic, draws=10, rng=np.random.default_rng(0))


# --- convergence measures ---------------------------------------------------------------------------------------


def test_ess_of_an_autoregression():
    """AR(1) with coefficient .8: n (1 − ρ) / (1 + ρ)."""
    rng = np.random.default_rng(11)
    x = np.empty((4, 20_000))
    x[:, 0] = rng.standard_normal(4)
    for t in range(1, x.shape[1]):
        x[:, t] = 0.8 * x[:, t - 1] + 0.6 * rng.standard_normal(4)
    assert float(chain_ess(x)) == pytest.approx(80_000 * 0.2 / 1.8, rel=0.1)
    assert float(split_rhat(x)) < 1.01


def test_rhat_by_hand():
    draws = np.array([[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    means, variances = np.array([0.5, 0.5, 0.0, 1.0]), np.array([0.5, 0.5, 0.0, 0.0])
    expected = math.sqrt((0.5 * variances.mean() + means.var(ddof=1)) / variances.mean())
    assert float(split_rhat(draws)) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize(("nodes", "rows"), [(20, 500), (40, 500)])
def test_large_problems_settle(nodes, rows):
    """No exact answer here: all chains must agree, and find nothing worse than the true DAG."""
    rng = np.random.default_rng(12)
    data, truth = simulate_sparse(nodes, rows, rng)
    families = spline_families(data, max_parents=3)
    found = sample_mcmc(families, draws=800, rng=rng)
    names = list(families.names)
    true = np.zeros((1, nodes, nodes), dtype=np.int8)
    for j, i in truth:
        true[0, names.index(j), names.index(i)] = 1
    by_chain = families.log_weight_of(found.adjacency).reshape(4, -1).mean(axis=1)
    assert found.diagnostics["chains"]["r_hat"].max() < 1.05
    assert by_chain.min() > families.log_weight_of(true)[0] - 10


def simulate_sparse(nodes, rows, rng):
    """Sine equations in a random order, about 1.5 and at most 3 parents a node."""
    import pandas as pd

    columns, edges = {}, []
    for k, j in enumerate(rng.permutation(nodes)):
        value = 0.7 * rng.standard_normal(rows)
        before = list(columns)
        for parent in rng.permutation(before)[: min(k, int(rng.integers(0, 4)))]:
            c, w, f = rng.uniform(0.2, 0.8) * rng.choice([-1, 1]), rng.uniform(1, 2), rng.uniform(-1, 1)
            value = value + 1.3 * c * np.sin(w * columns[parent] + f)
            edges.append((parent, f"x{j:02d}"))
        columns[f"x{j:02d}"] = (value - value.mean()) / value.std()
    return pd.DataFrame(columns), edges
