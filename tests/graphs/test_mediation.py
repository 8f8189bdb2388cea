"""Questions about paths: which functional a graph and a path lead to, and that equal questions are one."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest

from causalif._errors import InputError
from causalif.graphs.blocks import phases
from causalif.graphs.mediation import Draws, PathQuestion, Setting, edge_questions, path_question, total_question
from causalif.graphs.paths import causal_paths

SEM2 = nx.DiGraph([(c, v) for c, below in {"C": "ALMY", "A": "LMY", "L": "MY", "M": "Y"}.items() for v in below])


def without(*edges):
    dag = SEM2.copy()
    dag.remove_edges_from(edges)
    return dag


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "plus", "minus"),
    [
        (("A", "Y"), Setting((("L", "M"),), (False, True)), Setting((), (False,))),
        (("A", "M", "Y"), Setting((("L",), ("M",)), (False, True, False)), Setting((), (False,))),
    ],
)
def test_control_effects_of_single_edges(path, plus, minus):
    question = path_question(SEM2, "A", "Y", path)
    assert (question.kind, question.plus, question.minus) == ("natural", plus, minus)
    assert question.adjust == ("C",)


def test_the_treated_effect_turns_the_levels_round():
    question = path_question(SEM2, "A", "Y", ("A", "M", "Y"), reference="treated")
    assert question.plus == Setting((), (True,))
    assert question.minus == Setting((("L",), ("M",)), (True, False, True))


def test_parallel_mediators_need_one_block_each():
    dag = nx.DiGraph([("A", "M"), ("A", "N"), ("M", "Y"), ("N", "Y")])
    assert path_question(dag, "A", "Y", ("A", "M", "Y")).plus == Setting((("M",),), (True, False))


def test_all_paths_are_the_total_effect():
    every = list(causal_paths(SEM2, "A", "Y"))
    question = path_question(SEM2, "A", "Y", every)
    assert (question.plus, question.minus) == (Setting((), (True,)), Setting((), (False,)))
    total = total_question(SEM2, "A", "Y")
    assert (question.plus, question.minus, question.adjust) == (total.plus, total.minus, total.adjust)


def test_one_indirect_path_alone_is_the_total_effect():
    dag = nx.DiGraph([("A", "L"), ("L", "M"), ("M", "Y")])
    assert path_question(dag, "A", "Y", ("A", "L", "M", "Y")).plus == Setting((), (True,))


def test_nodes_of_either_level_do_not_make_blocks():
    """B is no child of A: it goes with L, its parent, so that M follows a block at the control level."""
    dag = nx.DiGraph([("A", "L"), ("L", "B"), ("B", "M"), ("A", "M"), ("M", "Y"), ("A", "Y")])
    assert path_question(dag, "A", "Y", ("A", "M", "Y")).plus == Setting((("B", "L"), ("M",)), (False, True, False))


@pytest.mark.parametrize("seed", range(30))
def test_blocks_are_the_fewest_and_respect_the_order(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(3, 7))
    parents = {v: [u for u in range(v) if rng.random() < 0.5] for v in range(size)}
    parents[size - 1] = list(range(size - 1))
    levels = {v: bool(rng.random() < 0.5) for v in range(size) if rng.random() < 0.8}
    blocks, active = phases(parents, levels, size - 1)
    position = {v: k for k, block in enumerate(blocks) for v in block}
    place = {v: position.get(v, len(blocks)) for v in parents}
    assert all(place[u] <= place[v] for v in parents for u in parents[v])
    assert all(active[place[v]] == level for v, level in levels.items())
    assert all(one != other for one, other in itertools.pairwise(active))
    assert all(blocks)
    assert len(active) == fewest(parents, levels, size)


def fewest(parents, levels, size):
    """The fewest levels over all orders and all levels of the free nodes, by brute force."""
    best = size + 1
    for order in itertools.permutations(range(size)):
        if any(order.index(u) > order.index(v) for v in parents for u in parents[v]):
            continue
        for free in itertools.product([False, True], repeat=size):
            given = [levels.get(v, free[v]) for v in order]
            best = min(best, 1 + sum(a != b for a, b in itertools.pairwise(given)))
    return best


# --- recanting -------------------------------------------------------------------------------------------------------


def test_a_recanting_path_becomes_its_analogue():
    question = path_question(SEM2, "A", "Y", ("A", "L", "M", "Y"))
    assert question.kind == "interventional"
    assert question.draws == Draws(("L", "M"), (), ((), ("L",)))
    assert question.witness == ("A", "L", "Y")
    other = path_question(SEM2, "A", "Y", ("A", "L", "Y"))
    assert other.draws == Draws(("L",), (), (("M",),))


def test_without_the_other_route_the_path_is_identified():
    question = path_question(without(("L", "Y")), "A", "Y", ("A", "L", "M", "Y"))
    assert question.kind == "natural"
    assert question.plus == Setting((("L",),), (True, False))


def test_bundle_and_skip():
    bundle = path_question(SEM2, "A", "Y", ("A", "L", "Y"), on_recanting="bundle")
    assert (bundle.kind, bundle.plus) == ("bundle", Setting((("L",),), (True, False)))
    assert path_question(SEM2, "A", "Y", ("A", "L", "Y"), on_recanting="skip").kind == "skipped"


def test_both_paths_through_a_child_do_not_recant():
    question = path_question(SEM2, "A", "Y", [("A", "L", "Y"), ("A", "L", "M", "Y")])
    assert (question.kind, question.plus) == ("natural", Setting((("L",),), (True, False)))


def test_mediators_above_the_path_are_drawn_before():
    dag = nx.DiGraph([("A", "B"), ("B", "L"), ("A", "L"), ("L", "M"), ("L", "Y"), ("M", "Y"), ("B", "M")])
    question = path_question(dag, "A", "Y", ("A", "L", "M", "Y"))
    assert question.draws == Draws(("L", "M"), ("B",), (("B",), ("L",)))


@pytest.mark.parametrize("seed", range(20))
def test_recanting_by_brute_force(seed):
    """A path is identified exactly when it is the only one that begins with its first edge."""
    dag = random_dag(np.random.default_rng(seed))
    every = list(causal_paths(dag, 0, len(dag) - 1))
    for path in every:
        alone = sum(other[1] == path[1] for other in every) == 1
        assert (path_question(dag, 0, len(dag) - 1, path).kind == "natural") == alone
    for some in itertools.combinations(every, 2):
        whole = all(other in some for other in every if other[1] in {path[1] for path in some})
        kind = path_question(dag, 0, len(dag) - 1, list(some), on_recanting="bundle").kind
        assert (kind == "natural") == whole


def random_dag(rng, size=6):
    dag = nx.DiGraph()
    dag.add_nodes_from(range(size))
    dag.add_edges_from((u, v) for u, v in itertools.combinations(range(size), 2) if rng.random() < 0.6)
    return dag


# --- covariates ------------------------------------------------------------------------------------------------------


def test_covariates_by_rule():
    dag = SEM2.copy()
    dag.add_edges_from([("Z", "A"), ("U", "W"), ("W", "M"), ("U", "D"), ("Y", "D")])
    path = ("A", "Y")
    assert path_question(dag, "A", "Y", path).adjust == ("C", "W", "Z")
    assert path_question(dag, "A", "Y", path, adjust="optimal").adjust == ("C", "W")
    assert path_question(dag, "A", "Y", path, adjust="all_pretreatment").adjust == ("C", "U", "W", "Z")
    assert path_question(dag, "A", "Y", path, adjust=["U", "W", "C"]).adjust == ("C", "U", "W")


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("rule", ["dag", "optimal", "all_pretreatment"])
def test_covariates_separate_mediators_and_outcome_from_what_is_left_out(seed, rule):
    """p(v | X, A, earlier mediators) = p(v | its parents) for every mediator and the outcome."""
    rng = np.random.default_rng(seed)
    dag = nx.relabel_nodes(random_dag(rng), dict(enumerate("CDALMY")))
    if not nx.has_path(dag, "A", "Y"):
        return
    adjust = set(total_question(dag, "A", "Y", adjust=rule).adjust)
    below = nx.descendants(dag, "A")
    assert not adjust & (below | {"A"})
    between = [v for v in nx.topological_sort(dag) if v in below and (v == "Y" or nx.has_path(dag, v, "Y"))]
    for k, v in enumerate(between):
        given = adjust | {"A"} | set(between[:k])
        missing = set(dag.pred[v]) - given
        assert not missing
        rest = given - set(dag.pred[v])
        assert not rest or nx.is_d_separator(dag, {v}, rest, set(dag.pred[v]))


# --- equality --------------------------------------------------------------------------------------------------------


def test_equal_questions_are_one_whatever_the_graph():
    other = SEM2.copy()
    other.add_edges_from([("Y", "Z"), ("C", "Q")])
    one, two = (path_question(dag, "A", "Y", ("A", "M", "Y")) for dag in (SEM2, other))
    assert one == two
    assert len({one, two}) == 1
    assert path_question(SEM2, "A", "Y", ("A", "M", "Y"), "treated") != one


def test_many_graphs_collapse_to_few_questions():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        dag = nx.relabel_nodes(random_dag(rng, 5), dict(enumerate("CALMY")))
        seen.add(path_question(dag, "A", "Y", ("A", "M", "Y")))
    assert len(seen) < 30


def test_absent_paths():
    assert path_question(without(("L", "M")), "A", "Y", ("A", "L", "M", "Y")) == PathQuestion("A", "Y", "absent")
    assert total_question(nx.DiGraph([("Y", "A")]), "A", "Y").kind == "absent"
    assert edge_questions(nx.DiGraph([("Y", "A")]), "A", "Y") == {}


def test_edges_of_a_graph():
    found = edge_questions(SEM2, "A", "Y")
    assert {child: (question.kind, question.label) for child, question in found.items()} == {
        "L": ("bundle", "A -> L ~> Y"), "M": ("natural", "A -> M -> Y"), "Y": ("natural", "A -> Y"),
    }  # fmt: skip


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": ("A", "Q", "Y")}, "'Q', which is not a node"),
        ({"path": ("M", "Y")}, "must run from the treatment 'A'"),
        ({"path": ("A",)}, "must run from the treatment"),
        ({"path": ("A", "L", "A", "Y")}, "visit no node twice"),
        ({"path": "A -> Y"}, "must be a sequence of nodes"),
        ({"path": ("A", "Y"), "adjust": "none"}, "`adjust` must be one of"),
        ({"path": ("A", "Y"), "adjust": ["L", "C"]}, "must not name descendants"),
        ({"path": ("A", "Y"), "adjust": []}, "must contain every parent"),
        ({"path": ("A", "Y"), "reference": "both"}, "`reference` must be one of"),
        ({"path": ("A", "Y"), "on_recanting": "raise"}, "`on_recanting` must be one of"),
        ({"path": [("A", "L", "Y"), ("A", "Y")]}, "is of one path"),
    ],
)
def test_unusable_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        path_question(SEM2, "A", "Y", **arguments)


def test_long_chains_do_not_exhaust_the_stack():
    size = 3000
    dag = nx.DiGraph([*itertools.pairwise(range(size)), (0, size - 1)])
    assert path_question(dag, 0, size - 1, (0, size - 1)).kind == "natural"
