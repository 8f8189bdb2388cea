"""What a posterior over DAGs says of paths, against one DAG after another."""

from __future__ import annotations

from itertools import permutations

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from causalif._errors import CausalifWarning, InputError
from causalif.graphs.posterior import DAGPosterior
from causalif.graphs.posterior_paths import transitive_closure, wilson

NODES = ("A", "B", "C", "D", "Y")


def random_dag(rng, nodes=NODES, density=0.6):
    order = rng.permutation(len(nodes))
    dag = nx.DiGraph()
    dag.add_nodes_from(nodes)
    dag.add_edges_from(
        (nodes[order[i]], nodes[order[j]]) for i in range(len(nodes)) for j in range(i) if rng.random() < density
    )
    return dag


def random_posterior(seed, size=6):
    rng = np.random.default_rng(seed)
    dags = [random_dag(rng) for _ in range(size)]
    weights = rng.dirichlet(np.ones(size))
    return dags, weights, DAGPosterior.from_dags(dags, weights)


def share(dags, weights, holds):
    return sum(w for dag, w in zip(dags, weights, strict=True) if holds(dag))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_paths_are_those_of_every_dag_with_its_weight(seed):
    dags, weights, posterior = random_posterior(seed)
    expected = {}
    for dag, w in zip(dags, weights, strict=True):
        for path in nx.all_simple_paths(dag, "A", "Y"):
            expected[tuple(path)] = expected.get(tuple(path), 0.0) + w
    table = posterior.paths("A", "Y")
    assert dict(zip(table["nodes"], table["stability"], strict=True)) == pytest.approx(expected)
    assert not table.attrs["truncated"]
    for line in table.itertuples():
        assert line.length == len(line.nodes) - 1
        assert line.path == " -> ".join(line.nodes)
        via = share(dags, weights, lambda dag, on=line.nodes: all(map(nx.has_path, [dag] * 9, on, on[1:])))
        assert line.via == pytest.approx(via)
        assert line.ancestor == pytest.approx(share(dags, weights, lambda dag: nx.has_path(dag, "A", "Y")))
        assert line.stability <= line.via + 1e-12 <= line.ancestor + 2e-12
    assert table["stability"].is_monotonic_decreasing


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_edges_ancestors_and_counts_are_those_of_every_dag(seed):
    dags, weights, posterior = random_posterior(seed)
    for j, i in permutations(NODES, 2):
        edge = share(dags, weights, lambda dag, j=j, i=i: dag.has_edge(j, i))
        assert posterior.edge_probabilities.loc[j, i] == pytest.approx(edge)
        assert posterior.ancestor_probabilities.loc[j, i] == pytest.approx(
            share(dags, weights, lambda dag, j=j, i=i: nx.has_path(dag, j, i))
        )
    counts = [len(list(nx.all_simple_paths(dag, "A", "Y"))) for dag in posterior.dags]
    assert posterior.count_paths("A", "Y").tolist() == counts
    short = [len(list(nx.all_simple_paths(dag, "A", "Y", cutoff=2))) for dag in posterior.dags]
    assert posterior.count_paths("A", "Y", 2).tolist() == short
    assert posterior.paths("A", "Y", cutoff=2)["length"].max() <= 2 or not any(short)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), ordered=st.booleans())
def test_via_means_some_path_that_visits_the_nodes(seed, ordered):
    dags, weights, posterior = random_posterior(seed)

    def visits(dag):
        for path in nx.all_simple_paths(dag, "A", "Y"):
            if {"B", "C"} <= set(path) and (not ordered or path.index("B") < path.index("C")):
                return True
        return False

    found = posterior.stability(via=("A", "B", "C", "Y"), ordered=ordered)
    assert found.pss == pytest.approx(share(dags, weights, visits))
    exact = posterior.stability(via=("A", "B", "Y"), exact=True)
    assert exact.pss == posterior.stability(("A", "B", "Y")).pss
    mediator = share(dags, weights, lambda dag: any("B" in path for path in nx.all_simple_paths(dag, "A", "Y")))
    assert posterior.mediator_probabilities("A", "Y")["B"] == pytest.approx(mediator)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_sets_of_paths(seed):
    dags, weights, posterior = random_posterior(seed)
    paths = [("A", "Y"), ("A", "B", "Y")]
    held = [[nx.is_path(dag, path) for path in paths] for dag in dags]
    for how, rule in (("any", any), ("all", all)):
        expected = sum(w for row, w in zip(held, weights, strict=True) if rule(row))
        assert posterior.stability_of_set(paths, how).pss == pytest.approx(expected)


def chain_or_fork():
    chain = nx.DiGraph([("A", "M"), ("M", "Y")])
    both = nx.DiGraph([("A", "M"), ("M", "Y"), ("A", "Y")])
    none = nx.DiGraph([("M", "A"), ("M", "Y")])
    return chain, both, none


def test_equal_dags_are_put_together_and_sorted():
    chain, both, none = chain_or_fork()
    posterior = DAGPosterior.from_dags([none, chain, both, chain], [1, 2, 4, 3])
    assert posterior.weights.tolist() == pytest.approx([0.5, 0.4, 0.1])
    assert [set(dag.edges) for dag in posterior.dags] == [set(chain.edges), set(both.edges), set(none.edges)]
    assert posterior.entropy == pytest.approx(-sum(w * np.log(w) for w in (0.5, 0.4, 0.1)))
    assert DAGPosterior.from_dags([chain]).entropy == 0


def test_monte_carlo_error_is_that_of_the_effective_draws():
    chain, both, none = chain_or_fork()
    posterior = DAGPosterior.from_dags([chain] * 6 + [both] * 3 + [none])
    assert posterior.effective_sample_size == pytest.approx(10)
    found = posterior.stability(("A", "Y"))
    expected = binomtest(3, 10).proportion_ci(method="wilson")
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high))
    assert found.se == pytest.approx(np.sqrt(0.3 * 0.7 / 10))
    assert np.isnan(found.bag_sd)
    weighted = DAGPosterior.from_dags([chain, both], [3, 1])
    assert weighted.effective_sample_size == float("inf"), "weights are exact, draws are not"
    listed = DAGPosterior.from_dags([chain, both], [3, 1], effective_sample_size=float("inf")).stability(("A", "Y"))
    assert (listed.se, listed.lower, listed.upper) == (0.0, 0.25, 0.25)


@pytest.mark.parametrize(("successes", "n", "level"), [(0, 50, 0.95), (50, 50, 0.95), (7, 20, 0.9)])
def test_wilson_against_scipy(successes, n, level):
    expected = binomtest(successes, n).proportion_ci(level, method="wilson")
    assert wilson(successes / n, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_spread_between_bags():
    chain, both, _ = chain_or_fork()
    matrices = np.array([nx.to_numpy_array(dag, nodelist=["A", "M", "Y"]) for dag in (chain, both, both, chain)])
    bags = [slice(0, 2), slice(2, 4)]
    posterior = DAGPosterior.of_draws(("A", "M", "Y"), matrices.astype(np.int8), np.full(4, 0.25), 4, bags)
    assert posterior.stability(("A", "Y")).bag_sd == 0.0
    bags = [slice(0, 1), slice(1, 3), slice(3, 4)]
    posterior = DAGPosterior.of_draws(("A", "M", "Y"), matrices.astype(np.int8), np.full(4, 0.25), 4, bags)
    assert posterior.stability(("A", "Y")).bag_sd == pytest.approx(np.std([0, 1, 0], ddof=1))
    assert posterior.paths("A", "Y")["bag_sd"].max() == pytest.approx(np.std([0, 1, 0], ddof=1))


def ladder(mediators):
    """The complete DAG on a treatment, mediators and an outcome: 2 to the number of mediators paths."""
    nodes = ["A", *(f"M{k:02}" for k in range(mediators)), "Y"]
    return nx.DiGraph([(nodes[i], nodes[j]) for j in range(len(nodes)) for i in range(j)])


def test_too_many_paths_are_foreseen_and_the_short_ones_kept():
    posterior = DAGPosterior.from_dags([ladder(30)])
    with pytest.warns(CausalifWarning, match=r"max_paths=500 paths .*one DAG alone holds 22,964,087 of at most 10"):
        table = posterior.paths("A", "Y", max_paths=500)
    assert table.attrs == {"truncated": True, "cutoff": 3}
    assert table["length"].value_counts().to_dict() == {3: 435, 2: 30, 1: 1}
    whole = posterior.paths("A", "Y", cutoff=3)
    assert not whole.attrs["truncated"]
    assert len(whole) == 466


def test_no_path_gives_an_empty_table():
    table = DAGPosterior.from_dags([nx.DiGraph([("Y", "A")])]).paths("A", "Y")
    assert len(table) == 0
    assert list(table.columns)[:4] == ["path", "stability", "lower", "upper"]
    thresholds = DAGPosterior.from_dags([nx.DiGraph([("Y", "A")])]).thresholds("A", "Y")
    assert thresholds["paths"].tolist() == [0, 0, 0, 0]


def test_thresholds_count_paths_and_expected_false_ones():
    chain, both, none = chain_or_fork()
    table = DAGPosterior.from_dags([chain, both, none], [5, 4, 1]).thresholds("A", "Y")
    assert table["paths"].tolist() == [2, 2, 1, 0]
    assert table["expected_false"].tolist()[:3] == pytest.approx([(0.1 + 0.6) / 2, (0.1 + 0.6) / 2, 0.1])


def test_exact_edges_are_shown_where_the_engine_knows_them():
    chain, *_ = chain_or_fork()
    matrix = nx.to_numpy_array(chain, nodelist=["A", "M", "Y"]).astype(np.int8)[None]
    edges = np.array([[0, 0.9, 0.1], [0.05, 0, 0.95], [0, 0, 0]])
    posterior = DAGPosterior.of_draws(("A", "M", "Y"), matrix, np.ones(1), 1.0, edges=edges)
    assert posterior.edge_probabilities.loc["A", "Y"] == 0.1
    assert posterior.to_networkx(0.06).edges["A", "Y"]["probability"] == 0.1
    assert not posterior.to_networkx(0.06).has_edge("M", "A")
    assert "exact" in posterior.summary()


def test_closure():
    matrix = np.zeros((1, 6, 6), dtype=np.int8)
    for k in range(5):
        matrix[0, k, k + 1] = 1
    np.testing.assert_array_equal(transitive_closure(matrix)[0], np.triu(np.ones((6, 6), dtype=bool), 1))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: p.stability(), "either `path`"),
        (lambda p: p.stability(("A", "Y"), via=("A", "Y")), "either `path`"),
        (lambda p: p.stability("AY"), "at least two nodes"),
        (lambda p: p.stability(("A", "Z")), "'Z' is no node"),
        (lambda p: p.stability(("A", "M", "A")), "every node once"),
        (lambda p: p.paths("A", "A"), "every node once"),
        (lambda p: p.paths("A", "Y", cutoff=0), "`cutoff` must be a whole number"),
        (lambda p: p.paths("A", "Y", max_paths=0), "`max_paths` must be a whole number"),
        (lambda p: p.stability_of_set([]), "at least one path"),
        (lambda p: p.stability_of_set([("A", "Y")], "most"), "`how` must be one of"),
        (lambda p: p.thresholds("A", "Y", [2.0]), "`values` must be a number between"),
        (lambda p: p.stability(("A", "Y"), level=1.0), "`level` must be a number"),
    ],
)
def test_wrong_questions_are_refused(call, words):
    with pytest.raises(InputError, match=words):
        call(DAGPosterior.from_dags(chain_or_fork()))


@pytest.mark.parametrize(
    ("dags", "weights", "words"),
    [
        ([], None, "at least one graph"),
        ([nx.DiGraph([("A", "Y"), ("Y", "A")])], None, "must be acyclic. Number 0 has the cycle"),
        ([nx.DiGraph([("A", "Y")]), nx.DiGraph([("A", "M")])], None, r"Number 1 differs .* in \['M', 'Y'\]"),
        ([nx.Graph([("A", "Y")])], None, "networkx.DiGraph. Number 0 is Graph"),
        ([nx.DiGraph([(1, 2)])], None, "name nodes by text"),
        ([nx.DiGraph([("A", "Y")])], [-1], "non-negative numbers"),
        ([nx.DiGraph([("A", "Y")])], [1, 2], "must hold 1 non-negative"),
    ],
)
def test_wrong_dags_are_refused(dags, weights, words):
    with pytest.raises(InputError, match=words):
        DAGPosterior.from_dags(dags, weights)


def test_text_and_drawing():
    pytest.importorskip("matplotlib")
    chain, both, none = chain_or_fork()
    posterior = DAGPosterior.from_dags([chain, both, none], [5, 4, 1])
    text = str(posterior)
    assert "A -> M" in text
    assert "0.900  (0.100)" in text
    assert "3 nodes, 3 DAGs" in repr(posterior)
    ax = posterior.plot()
    shown = {label.get_text() for label in ax.texts}
    assert {"A", "M", "Y", ".90", ".10", "1", ".40"} == shown
    assert {label.get_text() for label in posterior.plot(least=0.5).texts} == {"A", "M", "Y", ".90", "1"}
    import matplotlib.pyplot as plt

    assert posterior.plot(ax=plt.figure().gca()).get_figure() is plt.gcf()
    plt.close("all")


def test_the_posterior_is_frozen():
    posterior = DAGPosterior.from_dags(chain_or_fork())
    with pytest.raises(AttributeError):
        posterior.names = ("B",)
    assert isinstance(posterior.weights, pd.Series)


def test_thresholds_count_the_paths_that_were_asked_for():
    posterior = random_posterior(3)[2]
    for cutoff in (1, 2, 4):
        listed = posterior.paths("A", "Y", cutoff=cutoff)["stability"]
        found = posterior.thresholds("A", "Y", [0.0, 0.3], cutoff=cutoff)
        assert found["paths"].tolist() == [len(listed), int((listed >= 0.3).sum())]


def test_a_posterior_shows_itself():
    dags, weights, posterior = random_posterior(1)
    frame = posterior.to_frame()
    assert frame["probability"].is_monotonic_decreasing
    for line in frame.itertuples():
        assert line.probability == pytest.approx(share(dags, weights, lambda dag, e=line: dag.has_edge(e.tail, e.head)))
    assert len(frame) == len({edge for dag in dags for edge in dag.edges})
    assert posterior._repr_html_().startswith("<pre>Posterior over DAGs")
    assert "->" not in posterior._repr_html_()
