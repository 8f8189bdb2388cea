"""Reading graphs from text and writing them back."""

from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalif._errors import InputError
from causalif.graphs import PDAG, parse_dag, to_dot

# The text that dagitty.net shows for Shrier and Platt (2008), shortened, with its coordinates and roles.
DAGITTY = """dag {
bb="-2.5,-2.2,2.5,2.2"
"Warm Up Exercises" [exposure,pos="-1.5,1.0"]
Coach [pos="0.9,-1.8"]
"Team Motivation" [pos="-0.9,-1.0"]
Injury [outcome,pos="0.9,1.5"]
Genetics [latent,pos="1.7,-1.5"]
Coach -> "Team Motivation"
"Team Motivation" -> { "Warm Up Exercises" Injury } // one cause, two effects
"Warm Up Exercises" -> Injury [beta="0.4"]
Injury <- Genetics -> Coach
}
"""


@pytest.mark.parametrize(
    ("text", "edges"),
    [
        ("A -> B", "AB"),
        ("A->B;B<-C", "AB CB"),
        ("A -> B -> C <- D", "AB BC DC"),
        ("{A B} -> Y", "AY BY"),
        ("{A, B} -> {X Y}\nX -> Z", "AX AY BX BY XZ"),
        ("A ->\n  B", "AB"),
        ("A → B ← C", "AB CB"),
        ("# a comment\nA -> B // another\n\n;B -> C;", "AB BC"),
        ("A -> B; A -> B", "AB"),
        ("dag{A -> B B -> C}", "AB BC"),
        ("dag { A o -> C }", "oC"),
        ('dag "my graph" { A -> B }', "AB"),
        ("strict digraph G { node [shape=box]; rankdir=LR; A -> B [color=red]; }", "AB"),
    ],
)
def test_edges(text, edges):
    assert set(parse_dag(text).edges) == {tuple(edge) for edge in edges.split()}


def test_single_nodes_and_order_of_appearance():
    assert list(parse_dag("Z; A -> B; C").nodes) == ["Z", "A", "B", "C"]
    assert list(parse_dag("age-group -> x.1; x_2 -> x.1").nodes) == ["age-group", "x.1", "x_2"]


def test_names_in_quotes_stay_whole():
    dag = parse_dag(r'"credit history" -> "said \"no\""; "A -> B" -> "#1"')
    assert list(dag.nodes) == ["credit history", 'said "no"', "A -> B", "#1"]


def test_the_format_of_dagitty():
    dag = parse_dag(DAGITTY)
    assert set(dag.edges) == {
        ("Coach", "Team Motivation"),
        ("Team Motivation", "Warm Up Exercises"),
        ("Team Motivation", "Injury"),
        ("Warm Up Exercises", "Injury"),
        ("Genetics", "Injury"),
        ("Genetics", "Coach"),
    }
    assert nx.get_node_attributes(dag, "latent") == {"Genetics": True}
    assert len(dag) == 5


def test_undirected_edges_make_a_pdag():
    assert parse_dag("pdag { A -- B; B -> C; {D E} -- A }") == PDAG([("B", "C")], ["AB", "DA", "EA"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A <-> B", r"A <-> B. Name the common cause.*U -> A; U -> B"),
        ("A -> B -> C -> A", "Found (A -> B -> C -> A|B -> C -> A -> B|C -> A -> B -> C)"),
        ("A -> A", "Found A -> A"),
        ("credit history -> loan", "line 1, near 'history': two names.*needs quotes"),
        ("A -> B\nC D -> E", "line 2, near 'D'"),
        ("A -> B, C -> D", "line 1, near ',': a comma"),
        ("A o-> B", "edge mark 'o->' on line 1.*PAG"),
        ("pdag { A -- B\nB @-> C }", "edge mark '@->' on line 2"),
        ("dag { A o-o B }", "edge mark 'o-o'"),
        ("pag { A -> B }", "block of kind 'pag' is not known"),
        ("dag { A -> B", "never closes"),
        ("dag { A -> B } C", "text after the closing brace"),
        ("A -> B }", "near '}'"),
        ("A -> {B C", "closing brace"),
        ("A -> {}", "a group needs names"),
        ("A -> ; B", "was expected here"),
        ("-> B", "was expected here"),
        ("A -> -B", "from '-B' on"),
        ("A --> B", "from '> B' on"),
        ("A -- A", "from 'A' to itself"),
        ("A -- B; U [latent]", "leave latent nodes out"),
        ("", "has no node"),
        (" # nothing", "has no node"),
    ],
)
def test_bad_text(text, message):
    with pytest.raises(InputError, match=message):
        parse_dag(text)


def test_text_must_be_text():
    with pytest.raises(InputError, match="Got a list"):
        parse_dag([("A", "B")])


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)


@given(st.lists(names, min_size=2, max_size=6, unique=True), st.data())
@settings(deadline=None, max_examples=60)
def test_what_is_written_is_read_back(nodes, data):
    pairs = [(a, b) for i, a in enumerate(nodes) for b in nodes[i + 1 :]]
    dag = nx.DiGraph()
    dag.add_nodes_from(nodes)
    dag.add_edges_from(data.draw(st.lists(st.sampled_from(pairs), unique=True)))
    dag.nodes[nodes[-1]]["latent"] = True
    back = parse_dag(to_dot(dag, highlight=[nodes[0], nodes[-1]]))
    assert nx.get_node_attributes(back, "latent") == {nodes[-1]: True}
    assert list(back.nodes) == nodes
    assert set(back.edges) == set(dag.edges)


def test_two_nodes_written_alike_cannot_be_told_apart():
    with pytest.raises(InputError, match="texts differ"):
        to_dot(nx.DiGraph([(1, "1")]))
