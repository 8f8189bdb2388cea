"""The exact engine against the enumeration of every DAG."""

from __future__ import annotations

import importlib.util
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from causalif._errors import InputError
from causalif.discovery.background import Background
from causalif.discovery.exact import affordable, blocks_of, bytes_needed, log_evidence, refuse_large, sample_exact
from causalif.discovery.families import Families, parent_sets, structure_prior

SPEC = importlib.util.spec_from_file_location("brute_force", Path(__file__).with_name("brute_force.py"))
brute_force = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = brute_force
SPEC.loader.exec_module(brute_force)


def random_families(p, rng, spread=1.0, **knowledge):
    names = tuple(f"x{j}" for j in range(p))
    rules = Background(**knowledge).rules(names)
    sets = parent_sets(rules.allowed, rules.required, rules.max_parents)
    scores = [rng.normal(scale=spread, size=len(masks)) for masks in sets]
    priors = structure_prior("indegree_uniform", names, sets, rules.allowed, rules.required)
    return Families.of_scores(names, sets, scores, priors)


def uniform(p):
    sets = parent_sets(~np.eye(p, dtype=bool), np.zeros((p, p), dtype=bool), None)
    return Families.of_scores([f"x{j}" for j in range(p)], sets, [np.zeros(len(masks)) for masks in sets])


# Numbers of labelled DAGs: OEIS A003024.
@pytest.mark.parametrize(
    ("p", "count"), [(1, 1), (2, 3), (3, 25), (4, 543), (5, 29_281), (6, 3_781_503), (7, 1_138_779_265)]
)
def test_uniform_scores_count_dags(p, count):
    assert np.exp(log_evidence(uniform(p))) == pytest.approx(count, rel=1e-12)


def test_the_oracle_lists_every_dag_once():
    assert [len(brute_force.all_dags(p)) for p in (2, 3, 4, 5)] == [3, 25, 543, 29_281]
    assert len(np.unique(brute_force.all_dags(5).reshape(29_281, 25), axis=0)) == 29_281


KNOWLEDGE = {
    "nothing": {},
    "tiers": {"tiers": [["x3"], ["x0", "x4"], ["x1", "x2"]]},
    "required": {"required": [("x0", "x1"), ("x1", "x2")]},
    "forbidden and few parents": {"forbidden": [("x4", "x0"), ("x2", "x3")], "max_parents": 2},
    "tiers and required": {"tiers": [["x0", "x1", "x2"], ["x3", "x4"]], "required": [("x2", "x0"), ("x3", "x4")]},
}


@pytest.mark.parametrize("spread", [1.0, 10.0, 10_000.0])
@pytest.mark.parametrize("known", KNOWLEDGE)
def test_evidence_and_edges_equal_enumeration(known, spread):
    families = random_families(5, np.random.default_rng(3), spread, **KNOWLEDGE[known])
    dags, weights, evidence = brute_force.posterior(families)
    found = sample_exact(families, draws=1, rng=np.random.default_rng(0))
    assert found.log_evidence == pytest.approx(evidence, rel=1e-12, abs=1e-9)
    np.testing.assert_allclose(found.edges, np.tensordot(weights, dags, axes=1), atol=1e-9)


def test_a_gap_of_10_000_nats_loses_no_digit():
    """The likeliest DAG has log weight 10,000; all others share what is left, down to minus 40,000."""
    rng = np.random.default_rng(5)
    families = random_families(5, rng)
    scores = [np.where(masks == 0, 0.0, -10_000.0 + rng.normal(size=len(masks))) for masks in families.parents]
    families = Families.of_scores(families.names, families.parents, scores)
    dags, weights, evidence = brute_force.posterior(families)
    found = sample_exact(families, draws=50, rng=rng)
    assert found.log_evidence == pytest.approx(evidence, abs=1e-12)
    assert found.edges.max() == 0.0
    assert found.adjacency.sum() == 0
    forced = [np.where(masks == 0, -10_000.0, rng.normal(size=len(masks))) for masks in families.parents]
    forced = Families.of_scores(families.names, families.parents, forced)
    dags, weights, evidence = brute_force.posterior(forced)
    found = sample_exact(forced, draws=1, rng=rng)
    assert found.log_evidence == pytest.approx(evidence, rel=1e-13)
    np.testing.assert_allclose(found.edges, np.tensordot(weights, dags, axes=1), atol=1e-10)


@pytest.mark.parametrize("known", KNOWLEDGE)
def test_draws_have_the_posterior_frequencies(known):
    """z of every DAG of weight, and of every edge, from 20,000 draws."""
    families = random_families(5, np.random.default_rng(7), 2.0, **KNOWLEDGE[known])
    dags, weights, _ = brute_force.posterior(families)
    m = 20_000
    found = sample_exact(families, draws=m, rng=np.random.default_rng(1))
    assert np.isfinite(families.log_weight_of(found.adjacency)).all()
    codes = 1 << np.arange(25, dtype=np.int64)
    drawn, counts = np.unique(found.adjacency.reshape(m, 25) @ codes, return_counts=True)
    share = dict(zip(drawn.tolist(), counts / m, strict=True))
    assert set(share) <= set((dags[weights > 0].reshape(-1, 25) @ codes).tolist())
    heavy = weights > 0.005
    frequency = np.array([share.get(code, 0.0) for code in (dags[heavy].reshape(-1, 25) @ codes).tolist()])
    z = (frequency - weights[heavy]) / np.sqrt(weights[heavy] * (1 - weights[heavy]) / m)
    assert np.abs(z).max() < 4.5
    edges = found.edges[(found.edges > 1e-3) & (found.edges < 1 - 1e-3)]
    z = (found.adjacency.mean(axis=0)[(found.edges > 1e-3) & (found.edges < 1 - 1e-3)] - edges) / np.sqrt(
        edges * (1 - edges) / m
    )
    assert np.abs(z).max(initial=0.0) < 4.5


def test_tempering_keeps_the_prior():
    families = random_families(4, np.random.default_rng(2), 5.0).tempered(0.25)
    _, _, evidence = brute_force.posterior(families)
    assert log_evidence(families) == pytest.approx(evidence, abs=1e-10)


def test_tiers_split_the_problem():
    """Twenty nodes in tiers of four are five small problems; the evidence is the product of theirs."""
    names = [f"x{j}" for j in range(20)]
    tiers = [names[k : k + 4] for k in range(0, 20, 4)]
    rules = Background(tiers=tiers, max_parents=2).rules(names)
    sets = parent_sets(rules.allowed, rules.required, 2)
    families = Families.of_scores(names, sets, [np.zeros(len(masks)) for masks in sets])
    assert [len(block) for block in blocks_of(families)] == [4] * 5
    found = sample_exact(families, draws=100, rng=np.random.default_rng(0))
    assert (found.adjacency.sum(axis=1) <= 2).all()
    assert np.isfinite(families.log_weight_of(found.adjacency)).all()
    assert found.edges.sum(axis=0).max() <= 2


def test_renumbering_the_nodes_changes_nothing_but_names():
    rng = np.random.default_rng(11)
    families = random_families(5, rng, 3.0)
    back = rng.permutation(5)
    place = np.argsort(back)
    sets, scores = [], []
    for new in range(5):
        masks, values = families.parents[back[new]], families.log_weights[back[new]]
        moved = sum(((masks >> j) & 1) << place[j] for j in range(5))
        order = np.argsort(moved)
        sets.append(moved[order])
        scores.append(values[order])
    other = Families.of_scores([families.names[j] for j in back], sets, scores)
    one = sample_exact(families, draws=1, rng=np.random.default_rng(0))
    two = sample_exact(other, draws=1, rng=np.random.default_rng(0))
    assert two.log_evidence == pytest.approx(one.log_evidence, abs=1e-10)
    np.testing.assert_allclose(two.edges, one.edges[np.ix_(back, back)], atol=1e-10)


def test_a_large_block_is_refused_with_its_size():
    with pytest.raises(InputError, match=r'engine="exact" would need .* GiB .* 17 nodes.*tiers.*engine="mcmc"'):
        refuse_large(17)
    assert affordable(12)
    assert not affordable(17)


def test_memory_stays_within_what_is_stated():
    families = uniform(9)
    tracemalloc.start()
    sample_exact(families, draws=10, rng=np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bytes_needed(9) / 3 < peak < bytes_needed(9)


@pytest.mark.slow
def test_memory_and_time_of_twelve_nodes():
    import time

    start = time.process_time()
    sample_exact(uniform(12), draws=2_000, rng=np.random.default_rng(0))
    assert time.process_time() - start < 180
