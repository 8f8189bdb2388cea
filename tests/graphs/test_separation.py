"""d-separation against networkx, and every witness against the definition."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalif._errors import InputError
from causalif.graphs import d_separated, parse_dag


@st.composite
def questions(draw):
    size = draw(st.integers(2, 9))
    label = draw(st.permutations(range(size)))
    pairs = [(label[i], label[j]) for i in range(size) for j in range(i + 1, size)]
    dag = nx.DiGraph()
    dag.add_nodes_from(range(size))
    dag.add_edges_from(draw(st.lists(st.sampled_from(pairs), unique=True)))
    role = draw(st.lists(st.sampled_from("xyz-"), min_size=size, max_size=size))
    sets = [{v for v in range(size) if role[v] == mark} for mark in "xyz"]
    return dag, *sets


def is_open(dag, path, given_nodes):
    """The definition, along one path."""
    assert len(set(path)) == len(path)
    assert all(dag.has_edge(u, v) or dag.has_edge(v, u) for u, v in pairwise(path))
    for before, node, after in zip(path, path[1:], path[2:], strict=False):
        collider = dag.has_edge(before, node) and dag.has_edge(after, node)
        met = ({node} | nx.descendants(dag, node)) & given_nodes if collider else {node} - given_nodes
        if not met:
            return False
    return True


@given(questions())
@settings(deadline=None, max_examples=300)
def test_agrees_with_networkx_and_shows_an_open_path(question):
    dag, x, y, z = question
    answer = d_separated(dag, x, y, z)
    assert bool(answer) is (not x or not y or nx.is_d_separator(dag, x, y, z))
    assert bool(d_separated(dag, y, x, z)) is bool(answer)
    if not answer:
        assert answer.path[0] in x
        assert answer.path[-1] in y
        assert is_open(dag, answer.path, z)
        assert "connected" in str(answer)


def test_a_collider_opened_by_a_descendant():
    dag = parse_dag("A -> C <- B; C -> D")
    assert d_separated(dag, "A", "B")
    assert str(d_separated(dag, "A", "B", {"D"})) == "connected given 'D': A -> C <- B"
    assert str(d_separated(dag, "A", "B")) == "separated"


@pytest.mark.parametrize(
    ("x", "y", "z", "message"),
    [
        ("A", "A", (), "`x` and `y` must not overlap. Both have 'A'"),
        ("A", "B", "A", "`x` and `given` must not overlap"),
        ("A", {"B"}, ["B"], "`y` and `given` must not overlap"),
        ("A", "Q", (), "`y` must name nodes of the graph. 'Q' is not among its 2 nodes: 'A', 'B'"),
        ("A", [["B"]], (), "`y` must name nodes"),
    ],
)
def test_bad_questions(x, y, z, message):
    with pytest.raises(InputError, match=message):
        d_separated(nx.DiGraph([("A", "B")]), x, y, z)


@pytest.mark.parametrize(
    ("dag", "message"),
    [
        ("A -> B", "Got a str.*parse_dag"),
        (nx.Graph([("A", "B")]), "Got a Graph.*no direction"),
        ([("A", "B")], "Got a list"),
        (nx.DiGraph([("A", "B"), ("B", "C"), ("C", "A")]), "no directed cycle. Found"),
        (nx.DiGraph([("A", "B"), ("B", "A")]), "must name that cause"),
    ],
)
def test_bad_graphs(dag, message):
    with pytest.raises(InputError, match=message):
        d_separated(dag, "A", "B")


def test_parallel_edges_are_one():
    assert not d_separated(nx.MultiDiGraph([("A", "B"), ("A", "B")]), "A", "B")
