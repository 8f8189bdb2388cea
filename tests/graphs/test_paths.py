"""Causal paths and node sets against enumeration with networkx."""

from __future__ import annotations

from itertools import islice

import networkx as nx
import numpy as np
import pytest

from causalif._errors import InputError
from causalif.graphs import (
    causal_nodes,
    causal_paths,
    forbidden_nodes,
    mediating_paths,
    mediators,
    parse_dag,
    proper_backdoor_graph,
)


def proper_paths(dag, x, y):
    return {
        tuple(path)
        for a in x
        for path in nx.all_simple_paths(dag, a, y)
        if not set(path[1:]) & x
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_small_graphs_against_all_simple_paths(seed, draw_dag, draw_ends):
    rng = np.random.default_rng(seed)
    dag = draw_dag(rng)
    ends = draw_ends(dag, rng, joint=0.4)
    if ends is None:
        assert not dag.edges
        return
    x, y = ends
    paths = proper_paths(dag, x, y)
    listed = list(causal_paths(dag, x, y))
    assert set(listed) == paths
    assert len(listed) == len(paths)
    assert set(mediating_paths(dag, x, y)) == {path for path in paths if len(path) > 2}
    between = {v for path in paths for v in path[1:]}
    assert causal_nodes(dag, x, y) == between
    assert forbidden_nodes(dag, x, y) == between.union(x, *(nx.descendants(dag, v) for v in between))
    below = set().union(*(nx.descendants(dag, a) for a in x))
    assert mediators(dag, x, y) == (below & nx.ancestors(dag, y)) - x
    first = {path[:2] for path in paths}
    assert set(proper_backdoor_graph(dag, x, y).edges) == set(dag.edges) - first


def test_paths_are_found_lazily_among_astronomically_many():
    ladder = nx.DiGraph()
    for step in range(200):
        nx.add_path(ladder, [("s", step), ("up", step), ("s", step + 1)])
        nx.add_path(ladder, [("s", step), ("down", step), ("s", step + 1)])
    found = list(causal_paths(ladder, ("s", 0), ("s", 200), limit=5))
    assert len(set(found)) == 5
    assert len(list(islice(mediating_paths(ladder, ("s", 0), ("s", 200)), 3))) == 3


def test_the_callers_graph_is_left_alone():
    dag = parse_dag("A -> B -> Y; B -> C -> Y")
    dag.graph["name"], dag.edges["A", "B"]["weight"] = "mine", 2
    before = nx.to_dict_of_dicts(dag)
    copy = proper_backdoor_graph(dag, "A", "Y")
    assert nx.to_dict_of_dicts(dag) == before
    assert not copy.has_edge("A", "B")
    assert copy.graph["name"] == "mine"


@pytest.mark.parametrize(
    ("x", "y", "limit", "message"),
    [
        ("A", "A", None, "`treatment` and `outcome` must differ"),
        ("A", {"Y", "B"}, None, "`outcome` must be one node. Got 2"),
        ((), "Y", None, "`treatment` must name at least one"),
        ("Q", "Y", None, "`treatment` must name nodes"),
        ("A", "Y", 0, "`limit` must be a whole number of at least 1"),
    ],
)
def test_bad_questions(x, y, limit, message):
    with pytest.raises(InputError, match=message):
        causal_paths(parse_dag("A -> B -> Y"), x, y, limit)


def test_no_path():
    dag = parse_dag("Y -> A")
    assert list(causal_paths(dag, "A", "Y")) == []
    assert causal_nodes(dag, "A", "Y") == frozenset()
    assert forbidden_nodes(dag, "A", "Y") == {"A"}
