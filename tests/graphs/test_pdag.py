"""Partially directed graphs against the list of all DAGs that they stand for."""

from __future__ import annotations

from itertools import combinations, product

import networkx as nx
import numpy as np
import pytest

from causalif._errors import InputError, NotIdentifiedError
from causalif.graphs import PDAG, adjustment_sets, d_separated, parse_dag
from causalif.graphs.pdag import read_pdag


def colliders(dag: nx.DiGraph) -> set[tuple[frozenset[int], int]]:
    return {
        (frozenset(pair), v)
        for v in dag
        for pair in combinations(dag.pred[v], 2)
        if not (dag.has_edge(*pair) or dag.has_edge(*pair[::-1]))
    }


def equivalent(dag: nx.DiGraph) -> list[nx.DiGraph]:
    """All DAGs with the same adjacencies and unshielded colliders."""
    edges, wanted, found = sorted(dag.edges), colliders(dag), []
    for turned in product((False, True), repeat=len(edges)):
        other = nx.DiGraph()
        other.add_nodes_from(dag)
        other.add_edges_from((b, a) if turn else (a, b) for (a, b), turn in zip(edges, turned, strict=True))
        if nx.is_directed_acyclic_graph(other) and colliders(other) == wanted:
            found.append(other)
    return found


def graph_of(members: list[nx.DiGraph], known: set[tuple[int, int]] | None = None) -> PDAG:
    """Edges common to all members are directed, or only those in `known`; the others are not."""
    common = set.intersection(*(set(dag.edges) for dag in members)) if known is None else known
    lines = [edge for edge in members[0].edges if edge not in common and edge[::-1] not in common]
    return PDAG(common, lines, members[0])


def random_class(seed, draw_dag):
    """A Markov equivalence class, for every second seed narrowed down by the direction of a few edges."""
    rng = np.random.default_rng(seed)
    dag = draw_dag(rng, 6)
    while dag.number_of_edges() > 9:
        dag = draw_dag(rng, 6)
    members = equivalent(dag)
    known = {(a, v) for pair, v in colliders(dag) for a in pair}
    if seed % 2:
        told = {edge for edge in sorted(dag.edges) if rng.random() < 0.25}
        members = [member for member in members if told <= set(member.edges)]
        known |= told
    return rng, dag, members, graph_of(members), graph_of(members, known)


def find(graph, x, y, effect="total"):
    try:
        return adjustment_sets(graph, x, y, effect)
    except NotIdentifiedError as error:
        return error


def check_total(seed, draw_dag, all_subsets, criterion):
    _, dag, members, graph, sparse = random_class(seed, draw_dag)
    closed = read_pdag(sparse)
    assert {(graph.nodes[u], graph.nodes[v]) for u, near in enumerate(closed.children) for v in near} == graph.directed
    done = [0, 0]
    pairs = [({x}, y) for x in sorted(dag) for y in sorted(dag) if x != y]
    joint = [(set(x), y) for x in combinations(sorted(dag), 2) for y in sorted(dag) if y not in x]
    for x, y in pairs + joint[:: 1 + len(joint) // 12]:
        if any(nx.has_path(member, y, a) for member in members for a in x) and len(x) > 1:
            continue  # refused, whether or not it would do to leave that treatment out
        if not any(nx.has_path(member, a, y) for member in members for a in x):
            with pytest.raises(InputError, match="ancestor"):
                adjustment_sets(sparse, x, y)
            continue
        sets = find(sparse, x, y)
        candidates = list(all_subsets(set(dag) - x - {y}))
        common = {z for z in candidates if all(criterion(member, x, y, z) for member in members)}
        if isinstance(sets, NotIdentifiedError):
            assert not common, (seed, x, y)
            assert sets.witness[0] in x
            done[0] += 1
            continue
        done[1] += 1
        assert {z for z in candidates if sets.is_valid(z)} == common, (seed, x, y)
        for member in members:
            single = adjustment_sets(member, x, y)
            assert (single.optimal, single.minimal) == (sets.optimal, sets.minimal), (seed, x, y)
    return done


def test_total_effect_agrees_with_all_members(draw_dag, all_subsets, criterion):
    done = np.sum([check_total(seed, draw_dag, all_subsets, criterion) for seed in range(60)], axis=0)
    assert (done > 50).all()


@pytest.mark.slow
def test_total_effect_agrees_with_all_members_of_many(draw_dag, all_subsets, criterion, capsys):
    done = np.sum([check_total(seed, draw_dag, all_subsets, criterion) for seed in range(1_000, 1_600)], axis=0)
    with capsys.disabled():
        print(f"\n600 classes, total effect: {done[0]} refused, {done[1]} identified")
    assert (done > 500).all()


def question(member, x, y):
    """What the estimand is made of: parents of the outcome, and the mediators among them."""
    parents = frozenset(member.pred[y]) - {x}
    return parents, parents & nx.descendants(member, x), member.has_edge(x, y)


def check_wcde(seed, draw_dag, exact):
    rng, dag, members, graph, _ = random_class(seed, draw_dag)
    needless = answered = 0
    for x, y in [(x, y) for x in sorted(dag) for y in sorted(dag) if x != y]:
        if not all(nx.has_path(member, x, y) for member in members):
            continue
        agree = len({question(member, x, y) for member in members}) == 1
        sets = find(graph, x, y, "wcde")
        if isinstance(sets, NotIdentifiedError):
            needless += agree
            continue
        answered += 1
        assert agree, (seed, x, y)
        for member in members:
            truth = exact(member, frozenset({x}), y, "wcde", 1, rng)
            # `sets` says which nodes count as mediators; another member may divide the same set otherwise.
            for z in list(sets.valid(limit=8)):
                assert truth.error(*sets.split(z)) < 1e-9, (seed, x, y)
    return answered, needless


def test_direct_effect_is_answered_only_where_all_members_agree(draw_dag, exact):
    answered, needless = np.sum([check_wcde(seed, draw_dag, exact) for seed in range(60)], axis=0)
    assert answered > 50
    assert needless <= 0.02 * answered


def test_refusals_name_the_edge_to_orient():
    with pytest.raises(NotIdentifiedError, match=r"A -- B -> Y is causal in some.*direction of A -- B") as caught:
        adjustment_sets(parse_dag("A -- B; B -> Y; A -> Y"), "A", "Y")
    assert caught.value.witness == ("A", "B", "Y")
    with pytest.raises(NotIdentifiedError, match=r"'Z' acts on the outcome or is its effect.*Y -- Z"):
        adjustment_sets(parse_dag("A -> Y; B -> Y; A -> Z; B -> Z; Y -- Z"), "A", "Y", "wcde")
    with pytest.raises(NotIdentifiedError, match=r"'M', a parent of the outcome, is a mediator.*A -- M"):
        adjustment_sets(parse_dag("A -- M; M -> Y; A -> Y; W -> Y"), "A", "Y", "wcde")


def test_undirected_edges_away_from_the_effect_do_not_matter():
    sets = adjustment_sets(parse_dag("V1 -> A; V2 -> A; A -> Y; C -- D; C -> Y; D -> Y"), "A", "Y")
    assert sets.optimal == {"C", "D"}
    assert sets.optimality == "proved"
    assert sets.minimal == frozenset()
    assert sets.is_valid({"V1"})
    direct = adjustment_sets(parse_dag("V1 -> A; V2 -> A; A -> Y; C -- D; C -> Y; D -> Y"), "A", "Y", "wcde")
    assert (direct.mediators, direct.covariates) == (set(), {"C", "D"})


def test_a_possible_descendant_is_forbidden():
    sets = adjustment_sets(PDAG([("V", "A"), ("W", "A"), ("A", "Y")], [("D", "E")]), "A", "Y")
    assert sets.is_valid({"D"})
    sets = adjustment_sets(PDAG([("V", "A"), ("W", "A"), ("A", "M"), ("M", "Y"), ("A", "D")], [("M", "D")]), "A", "Y")
    assert sets.explain("D").role == "forbidden"
    assert "D -- M" in str(sets.explain("D")) or "M -- D" in str(sets.explain("D"))
    assert not sets.is_valid({"D"})


@pytest.mark.parametrize(
    ("directed", "undirected", "message"),
    [
        ([("A", "B"), ("B", "A")], [], "listed in two ways"),
        ([("A", "B")], [("A", "B")], "listed in two ways"),
        ([("A", "A")], [], "two different nodes"),
        ([], [("A", "B", "C")], "`undirected` must list edges, each a pair of two different nodes"),
        ([1, 2], [], "`directed` must list edges.* Got 1."),
        (3, [], "Got 3."),
        ([("A", ["B"])], [], "two different nodes"),
        ([("A", ("B", []))], [], "two different nodes"),
    ],
)
def test_bad_edges(directed, undirected, message):
    with pytest.raises(InputError, match=message):
        PDAG(directed, undirected)


def test_a_graph_that_no_dag_agrees_with():
    square = PDAG([], [("A", "B"), ("B", "C"), ("C", "D"), ("D", "A")])
    with pytest.raises(InputError, match="No DAG agrees"):
        adjustment_sets(square, "A", "C")
    with pytest.raises(InputError, match=r"A -> B -> C -> A|B -> C -> A -> B|C -> A -> B -> C"):
        adjustment_sets(PDAG([("A", "B"), ("B", "C"), ("C", "A")]), "A", "C")


def test_a_pdag_is_a_value():
    assert PDAG([("A", "B")], [("B", "C")]) == PDAG([("A", "B")], [("C", "B")])
    assert len({PDAG([("A", "B")]), PDAG([("A", "B")]), PDAG([("B", "A")])}) == 2


def test_other_questions_need_a_dag():
    with pytest.raises(InputError, match=r"Got a PDAG.*adjustment_sets"):
        d_separated(PDAG([("A", "B")]), "A", "B")
