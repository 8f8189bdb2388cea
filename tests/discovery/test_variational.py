"""The variational engine against exact evidence and exact edge probabilities."""

from __future__ import annotations

import importlib.util
import itertools
import math
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from causalif._errors import CausalifWarning, InputError
from causalif.datasets import simulate_random_sem, simulate_sem1
from causalif.discovery import variational
from causalif.discovery.background import Background
from causalif.discovery.columns import read_columns
from causalif.discovery.exact import log_evidence, sample_exact
from causalif.discovery.families import Families, parent_sets, structure_prior
from causalif.discovery.spline_score import SplineScorer
from causalif.discovery.variational import _draw_orders, _Fit, _order_law, _Target, sample_variational

SPEC = importlib.util.spec_from_file_location("brute_force_variational", Path(__file__).with_name("brute_force.py"))
brute_force = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = brute_force
SPEC.loader.exec_module(brute_force)


def families_of(scores_of, names, **knowledge):
    rules = Background(**knowledge).rules(names)
    sets = parent_sets(rules.allowed, rules.required, rules.max_parents)
    priors = structure_prior("indegree_uniform", names, sets, rules.allowed, rules.required)
    return Families.of_scores(names, sets, scores_of(sets), priors)


def random_families(p, rng, spread=1.0, **knowledge):
    names = tuple(f"x{j}" for j in range(p))
    return families_of(lambda sets: [rng.normal(scale=spread, size=len(s)) for s in sets], names, **knowledge)


def spline_families(data, **knowledge):
    columns = read_columns(data, [])
    counts, rng = np.ones(columns.n), np.random.default_rng(0)
    return families_of(
        lambda sets: SplineScorer.of(columns, sets, 6).log_scores(counts, rng), columns.names, **knowledge
    )


# --- the law q --------------------------------------------------------------------------------------------------


def test_order_law_sums_to_one_over_the_orders_of_a_dag():
    graph = np.zeros((4, 4), dtype=bool)
    graph[0, 1] = graph[0, 2] = graph[2, 3] = True
    orders = np.array([o for o in itertools.permutations(range(4)) if o.index(0) < min(o.index(1), o.index(2))
                       and o.index(2) < o.index(3)])  # fmt: skip
    scores = np.tile(np.random.default_rng(0).normal(size=4), (len(orders), 1))
    log_law, _ = _order_law(scores, orders, np.broadcast_to(graph, (len(orders), 4, 4)))
    assert np.exp(log_law).sum() == pytest.approx(1.0)


def test_order_slope_equals_finite_differences():
    rng = np.random.default_rng(1)
    graph, order, scores = np.zeros((1, 4, 4), dtype=bool), np.array([[2, 0, 3, 1]]), rng.normal(size=(1, 4))
    graph[0, 2, 3] = graph[0, 0, 1] = True
    _, slope = _order_law(scores, order, graph)
    for v in range(4):
        up, down = scores.copy(), scores.copy()
        up[0, v] += 1e-6
        down[0, v] -= 1e-6
        numeric = (_order_law(up, order, graph)[0] - _order_law(down, order, graph)[0]) / 2e-6
        assert slope[0, v] == pytest.approx(float(numeric[0]), abs=1e-6)


@pytest.mark.parametrize("with_required", [False, True])
def test_orders_are_drawn_from_their_law(with_required):
    rng = np.random.default_rng(2)
    required = np.zeros((4, 4), dtype=bool)
    required[3, 0] = with_required
    scores = np.tile(np.array([0.5, -1.0, 0.0, 1.0]), (20_000, 1))
    orders, log_law, _ = _draw_orders(scores, required, rng)
    found, first, count = np.unique(orders, axis=0, return_index=True, return_counts=True)
    law = np.exp(log_law[first])
    assert len(found) == (12 if with_required else 24)
    assert law.sum() == pytest.approx(1.0)
    assert np.abs((count / 20_000 - law) / np.sqrt(law * (1 - law) / 20_000)).max() < 4


@pytest.mark.parametrize(
    "knowledge",
    [{}, {"max_parents": 1}, {"required": [("x2", "x0")]}, {"tiers": [["x1"], ["x0", "x2"]]}],
    ids=["free", "one parent", "required", "tiers"],
)
def test_the_bound_is_the_evidence_minus_a_divergence(knowledge):
    """E_q exp(log w + log r − log q) is the summed weight of all DAGs, whatever the parameters: q is a law."""
    families = random_families(3, np.random.default_rng(3), 1.0, **knowledge)
    target = _Target.of(families)
    fit = _Fit(target, 1, 2, 0.05, np.random.default_rng(4))
    fit.parameters["edges"] = np.random.default_rng(5).normal(size=(1, 3, 3))
    drawn = fit.draw(np.zeros(200_000, dtype=np.intp))
    ratio = np.exp(target.log_weight(drawn.graphs) + drawn.log_order - drawn.log_edges)
    evidence = math.exp(brute_force.posterior(families)[2])
    assert abs(ratio.mean() - evidence) < 4 * ratio.std() / math.sqrt(len(ratio))


def test_gradient_points_up_the_bound():
    """The score-function gradient against finite differences of the ELBO computed over all DAGs and orders."""
    families = random_families(3, np.random.default_rng(6), 1.0)
    fit = _Fit(_Target.of(families), 1, 100_000, 0.05, np.random.default_rng(7))
    fit.parameters["edges"] = np.random.default_rng(8).normal(size=(1, 3, 3))
    seen = {}
    fit._climb = seen.update
    fit.step(np.ones(1))
    for name, at in [("order", (0, 1)), ("edges", (0, 2, 1))]:
        assert seen[name][at] == pytest.approx(_slope(fit, name, at), abs=0.02)


def _slope(fit, name, at):
    values = []
    for shift in (1e-4, -1e-4):
        fit.parameters[name][at] += shift
        values.append(_exact_elbo(fit))
        fit.parameters[name][at] -= shift
    return (values[0] - values[1]) / 2e-4


def _exact_elbo(fit):
    orders, graphs = [], []
    for order in itertools.permutations(range(3)):
        pairs = [(order[a], order[b]) for a in range(3) for b in range(a + 1, 3)]
        for bits in itertools.product([False, True], repeat=3):
            graph = np.zeros((3, 3), dtype=bool)
            for (j, i), bit in zip(pairs, bits, strict=True):
                graph[j, i] = bit
            orders.append(order)
            graphs.append(graph)
    orders, graphs = np.array(orders), np.array(graphs)
    position = np.argsort(orders, axis=1)
    scores = np.tile(fit.parameters["order"][0] + fit.target.offset, (len(orders), 1))
    log_q, _ = _order_law(scores, orders, np.zeros_like(graphs))
    log_r, _ = _order_law(scores, orders, graphs)
    logits = fit.parameters["edges"][0]
    open_edges = position[:, :, None] < position[:, None, :]
    log_edges = np.where(open_edges, -np.logaddexp(0, np.where(graphs, -logits, logits)), 0).sum(axis=(1, 2))
    law = np.exp(log_q + log_edges)
    assert law.sum() == pytest.approx(1.0)
    return float(law @ (fit.target.log_weight(graphs) + log_r - log_q - log_edges))


# --- whole fits -------------------------------------------------------------------------------------------------


def check(families, seed=0):
    found = sample_variational(families, draws=2000, rng=np.random.default_rng(seed))
    exact = sample_exact(families, draws=10, rng=np.random.default_rng(0))
    gap = log_evidence(families) - found.bound
    edges = np.einsum("d,dji->ji", found.weights, found.adjacency)
    return found, gap, np.abs(edges - exact.edges).max()


def test_sem1_within_three_nats():
    found, gap, error = check(spline_families(simulate_sem1(1500, 1)[0]))
    assert -0.2 < gap < 3
    assert error < 0.05
    table = found.diagnostics["restarts"]
    assert len(table) == 8
    assert table["weight"].sum() == pytest.approx(1.0)
    assert table["gap_to_exact"][0] == pytest.approx(gap)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_sems_within_three_nats(seed):
    _, gap, error = check(spline_families(simulate_random_sem(500, seed)[0]))
    assert -0.2 < gap < 3
    assert error < 0.1


@pytest.mark.parametrize(
    "knowledge",
    [{"tiers": [["x3"], ["x0", "x4"], ["x1", "x2"]]}, {"required": [("x0", "x1"), ("x1", "x2")], "max_parents": 2}],
    ids=["tiers", "required"],
)
def test_background_knowledge_is_obeyed(knowledge):
    families = random_families(5, np.random.default_rng(9), 3.0, **knowledge)
    found, gap, _ = check(families)
    assert np.isfinite(families.log_weight_of(found.adjacency)).all()
    assert -0.2 < gap < 3


def test_several_modes_are_confessed():
    """Twenty far-apart structures with equal weight: no few restarts can hold half of them, and the user is told."""
    p, rng = 6, np.random.default_rng(10)
    sets = parent_sets(~np.eye(p, dtype=bool), np.zeros((p, p), dtype=bool), None)
    scores = [np.where(rng.random(len(s)) < 0.25, 0.0, -60.0) for s in sets]
    families = Families.of_scores([f"x{j}" for j in range(p)], sets, scores)
    with pytest.warns(CausalifWarning, match="nats below the exact"):
        found = sample_variational(families, draws=100, rng=np.random.default_rng(0), restarts=2, steps=200)
    assert found.diagnostics["restarts"]["gap_to_exact"].min() > 3


@pytest.mark.filterwarnings("ignore:The best of the restarts")
def test_same_generator_same_draws():
    families = random_families(4, np.random.default_rng(11), 3.0)
    one, two = (
        sample_variational(families, draws=50, rng=np.random.default_rng(1), steps=30, restarts=2) for _ in range(2)
    )
    assert np.array_equal(one.adjacency, two.adjacency)
    assert one.bound == two.bound


@pytest.mark.filterwarnings("ignore:The best of the restarts")
def test_deadline():
    families = random_families(4, np.random.default_rng(12), 3.0)
    with pytest.warns(CausalifWarning, match="Stopped after 0 of 800 steps"):
        found = sample_variational(families, draws=20, rng=np.random.default_rng(0), deadline=time.monotonic() - 1)
    assert not found.complete
    assert found.adjacency.shape == (20, 4, 4)


@pytest.mark.filterwarnings("ignore:The best of the restarts")
def test_interrupt(monkeypatch):
    families = random_families(4, np.random.default_rng(12), 3.0)
    original, calls = _Fit.step, [0]

    def interrupted(self, temperature):
        calls[0] += 1
        if calls[0] == 20:
            signal.raise_signal(signal.SIGINT)
        original(self, temperature)

    monkeypatch.setattr(variational._Fit, "step", interrupted)
    with pytest.warns(CausalifWarning, match="Stopped after 19 of 800 steps"):
        found = sample_variational(families, draws=20, rng=np.random.default_rng(0))
    assert not found.complete


def test_wrong_arguments():
    families = random_families(3, np.random.default_rng(0))
    for name in ("draws", "restarts", "steps", "samples"):
        with pytest.raises(InputError, match=name):
            sample_variational(families, **{"draws": 10, name: 0}, rng=np.random.default_rng(0))
