"""The answer object: what it says, what it refuses, and that it leaves the caller's graph alone."""

from __future__ import annotations

import dataclasses
import itertools

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalif._errors import InputError, NotIdentifiedError
from causalif.graphs import AdjustmentSets, DAGPosterior, adjustment_sets, d_separated, parse_dag
from causalif.graphs.mediation import path_question

DAG = """C -> {A Y}; A -> M -> Y; A -> Y; W -> Y; V -> A; M -> D; P -> {C2 A}; Q -> {C2 Y}; U [latent]; U -> W
I -> J; Y -> Z"""


@pytest.fixture
def total():
    return adjustment_sets(parse_dag(DAG), "A", "Y")


@pytest.fixture
def direct():
    return adjustment_sets(parse_dag(DAG), "A", "Y", "wcde")


def test_total_effect(total):
    assert total.optimal == {"C", "W", "Q"}
    assert total.optimality == "proved"
    assert total.minimal == total.minimum_cost == {"C"}
    assert (total.mediators, total.covariates) == (frozenset(), total.optimal)
    assert (total.treatment, total.outcome, total.effect) == ({"A"}, "Y", "total")
    assert not total.zero_by_graph


def test_direct_effect(direct):
    assert (direct.mediators, direct.covariates) == ({"M"}, {"C", "W", "Q"})
    assert direct.minimal == {"M", "C"}
    assert direct.split(["M", "D"]) == ({"M"}, {"D"})
    assert "mediators held fixed jointly, by their marginal law: 'M'" in str(direct)
    assert repr(direct) == str(direct)
    assert not direct.zero_by_graph


@pytest.mark.parametrize(
    ("node", "role", "path", "words"),
    [
        ("C", "needed", ("A", "C", "Y"), "Without it: The path A <- C -> Y is open"),
        ("W", "precision", None, "precision only"),
        ("Q", "precision", None, "precision only"),
        ("M", "forbidden", ("A", "M", "Y"), "lies on a causal path: A -> M -> Y"),
        ("D", "forbidden", ("A", "M", "D"), "descends from 'M', a causal node: A -> M -> D"),
        ("Z", "forbidden", ("A", "Y", "Z"), "descends from 'Y', a causal node: A -> Y -> Z"),
        ("V", "inflates the weights", ("A", "V"), "about the treatment: A <- V"),
        ("P", "inflates the weights", ("A", "P"), "A <- P"),
        ("J", "redundant", None, "nothing about treatment or outcome"),
        ("U", "latent", None, "not observed"),
        ("A", "treatment", None, "is a treatment"),
        ("Y", "outcome", None, "is the outcome"),
    ],
)
def test_explanations_for_the_total_effect(total, node, role, path, words):
    found = total.explain(node)
    assert (found.node, found.role, found.path) == (node, role, path)
    assert words in str(found)


@pytest.mark.parametrize(
    ("node", "role", "words"),
    [
        ("M", "needed", "still depends on the treatment: A -> M is open"),
        ("C", "needed", "A <- C -> Y is open given the covariates"),
        ("W", "precision", "precision only"),
        ("D", "redundant", "nothing about treatment or outcome"),
        ("Z", "forbidden", "'Z' descends from the outcome: Y -> Z"),
        ("V", "inflates the weights", "A <- V"),
    ],
)
def test_explanations_for_the_direct_effect(direct, node, role, words):
    found = direct.explain(node)
    assert found.role == role
    assert words in found.text


def test_a_collider_opens_a_path_and_a_latent_parent_leaves_an_option():
    sets = adjustment_sets(parse_dag("P -> {K A}; Q -> {K Y}; A -> Y"), "A", "Y", observed=["K"])
    assert sets.optimal == frozenset()
    assert sets.optimality == "not guaranteed"
    found = sets.explain("K")
    assert (found.role, found.path) == ("opens a path", ("A", "P", "K", "Q", "Y"))
    proxy = adjustment_sets(parse_dag("A -> Y; U -> {Y X}"), "A", "Y", observed=["X"])
    assert proxy.explain("X").role == "optional"
    assert "not guaranteed" in str(proxy)


@pytest.mark.parametrize(
    ("nodes", "clause", "path", "words"),
    [
        ({"C", "M"}, "forbidden", ("A", "M", "Y"), "lies on a causal path"),
        ((), "open path", ("A", "C", "Y"), "A <- C -> Y is open"),
        ({"C", "C2"}, "open path", ("A", "P", "C2", "Q", "Y"), "A <- P -> C2 <- Q -> Y"),
        ({"C", "U"}, "latent", None, "'U' is not observed"),
        ({"A", "C"}, "treatment or outcome", None, "'A' is the treatment"),
        ({"C"}, "valid", None, "This set is valid."),
        ("C", "valid", None, "This set is valid."),
    ],
)
def test_reasons(total, nodes, clause, path, words):
    verdict = total.why_not(nodes)
    assert (verdict.clause, verdict.path) == (clause, path)
    assert words in str(verdict)
    assert bool(verdict) is verdict.valid is total.is_valid(nodes) is (clause == "valid")


def test_reasons_for_the_direct_effect(direct):
    assert direct.why_not({"C"}).clause == "mediator left out"
    assert direct.why_not({"M"}).clause == "open path"
    assert direct.why_not({"M", "C", "Z"}).clause == "forbidden"
    assert direct.why_not({"M", "C", "C2"}).path == ("A", "P", "C2", "Q", "Y")


def test_required_and_forbidden_nodes():
    dag = parse_dag("C1 -> {A C2}; C2 -> Y; A -> Y; V -> A")
    kept = adjustment_sets(dag, "A", "Y", required={"V"}, forbidden="C2")
    assert kept.minimal == {"V", "C1"}
    assert kept.why_not({"C1"}).clause == "required"
    assert kept.why_not({"V", "C2"}).clause == "excluded"
    assert kept.explain("C2").role == "excluded"
    assert all("V" in z and "C2" not in z for z in kept.valid())
    with pytest.raises(NotIdentifiedError, match=r"Take 'C\d' out of `forbidden`"):
        adjustment_sets(dag, "A", "Y", forbidden={"C1", "C2"})


def test_costs_choose_the_cut():
    dag = parse_dag("X1 -> {A K}; X2 -> {A K}; K -> Y; A -> Y")
    assert adjustment_sets(dag, "A", "Y").minimum_cost == {"K"}
    dear = adjustment_sets(dag, "A", "Y", costs={"K": 2.5})
    assert dear.minimum_cost == {"X1", "X2"}
    assert "minimum cost: 'X1', 'X2'" in str(dear)
    # The binary numbers behind 0.1 and 0.7 sum to less than the one behind 0.8; the tie is a tie all the same.
    tie = adjustment_sets(dag, "A", "Y", costs={"K": 0.8, "X1": 0.1, "X2": np.float64(0.7)})
    assert tie.minimum_cost == {"K"}


def test_joint_interventions():
    dag = parse_dag("L -> {A1 A2 Y}; A1 -> B -> Y; A2 -> Y; A1 -> A2")
    sets = adjustment_sets(dag, {"A1", "A2"}, "Y")
    assert (sets.optimal, sets.minimal) == ({"L"}, {"L"})
    assert adjustment_sets(dag, ["A1", "A2"], "Y", "wcde").mediators == {"B"}
    with pytest.raises(NotIdentifiedError, match="sequential adjustment") as caught:
        adjustment_sets(parse_dag("A1 -> L -> A2; L -> Y; A2 -> Y"), {"A1", "A2"}, "Y")
    assert caught.value.witness == ("A2", "L", "Y")
    with pytest.raises(InputError, match=r"`treatment` must not descend from `outcome`. 'Z' does"):
        adjustment_sets(parse_dag("A -> Y -> Z"), {"A", "Z"}, "Y")


def test_two_causal_paths_that_share_their_first_edge():
    sets = adjustment_sets(parse_dag("A -> B -> Y; B -> C -> Y; X -> {A Y}"), "A", "Y")
    assert sets.optimal == {"X"}


def test_what_to_measure_when_nothing_identifies():
    dag = parse_dag("U1 -> {A K}; U2 -> {K A}; K -> Y; A -> Y")
    with pytest.raises(NotIdentifiedError, match=r"stays open. Measure 'K'") as caught:
        adjustment_sets(dag, "A", "Y", observed=())
    assert caught.value.witness in {("A", "U1", "K", "Y"), ("A", "U2", "K", "Y")}
    with pytest.raises(NotIdentifiedError, match=r"if all parents of the outcome could be used. Measure 'K'"):
        adjustment_sets(dag, "A", "Y", "wcde", observed=())


def test_a_latent_direct_mediator_may_be_replaced():
    sets = adjustment_sets(parse_dag("A -> M1 -> M2 -> Y; A -> Y; M2 [latent]; C -> {A Y}"), "A", "Y", "wcde")
    assert sets.mediators == {"M1"}
    assert sets.covariates == {"C"}
    assert sets.optimality == "not guaranteed"


def chain_of_mediators(size):
    edges = [("A", 0), *itertools.pairwise(range(size)), (size - 1, "Y"), ("A", "Y"), ("C", "A"), ("C", "Y")]
    return nx.DiGraph([*edges, (3, "Y")])


def test_many_mediators_with_the_last_one_latent():
    dag = chain_of_mediators(40)
    sets = adjustment_sets(dag, "A", "Y", "wcde", observed=set(dag) - {39})
    assert sets.mediators == {3, 38}
    assert sets.is_valid(sets.minimal)
    assert all(sets.is_valid(z) for z in sets.valid(limit=4))
    assert sets.minimum_cost


SMOKING = parse_dag("smoker -> cough -> income; age -> smoker; age -> income")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adjustment_sets(SMOKING, "smokr", "income"), r"'smokr' is not .*\. Did you mean 'smoker'\?$"),
        (lambda: adjustment_sets(SMOKING, "smoker", "income", observed=["aeg"]), r"mean 'age'\? Leave out what"),
        (lambda: adjustment_sets(SMOKING, "smoker", "income").why_not({"Age"}), "`nodes` .* Did you mean 'age'"),
        (lambda: d_separated(SMOKING, "aeg", "income"), "`x` .* Did you mean 'age'"),
        (lambda: path_question(SMOKING, "smoker", "income", ("smoker", "cuogh", "income")), "`path` .* mean 'cough'"),
        (
            lambda: path_question(SMOKING, "smoker", "income", ("smoker", "cough", "income"), adjust=["ages"]),
            "`adjust` must name nodes of the graph. 'ages' .* Did you mean 'age'",
        ),
        (lambda: DAGPosterior.from_dags([SMOKING]).paths("smokr", "income"), "'smokr' is no node .* mean 'smoker'"),
        (lambda: DAGPosterior.from_dags([SMOKING]).stability(("smoker", "Q")), r"'Q' is no node .*\. Correct it"),
    ],
)
def test_a_misspelt_node_is_answered_with_the_nearest(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"effect": "direct"}, "`effect` must be one of 'total', 'wcde'"),
        ({"treatment": "Q"}, "`treatment` must name nodes of the graph. 'Q' is not among its 4 nodes"),
        ({"treatment": ()}, "`treatment` must name at least one"),
        ({"outcome": "A"}, "must differ"),
        ({"treatment": "Y", "outcome": "C"}, "does not act on 'C': the effect is exactly zero"),
        ({"observed": ["C", "income"]}, "`observed` must name nodes.* 'income' is not .* Leave out what the graph"),
        ({"treatment": "a"}, "'a' is not among its 4 nodes: .* Did you mean 'A'?"),
        ({"required": "M"}, "`required` must hold nodes that can be adjusted for. 'M' lies on a causal path"),
        ({"required": "A"}, "'A' is the treatment or the outcome"),
        ({"required": "C", "forbidden": "C"}, "'C' is in `forbidden` as well"),
        ({"required": "C", "observed": ["M"]}, "'C' is not in `observed`"),
        ({"costs": {"C": 0}}, "`costs` must be positive finite numbers. Got 0 for 'C'"),
        ({"costs": {"C": float("nan")}}, "Got nan for 'C'"),
        ({"costs": {"C": "two"}}, "Got 'two' for 'C'"),
        ({"costs": {"Q": 1}}, "`costs` must name nodes"),
        ({"costs": [1, 2]}, "`costs` must map nodes"),
        ({"dag": "A -> Y"}, "Got a str instead.*parse_dag"),
        ({"dag": nx.DiGraph([("A", "Y"), ("Y", "A")])}, "no directed cycle"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"dag": parse_dag("C -> {A Y}; A -> M -> Y"), "treatment": "A", "outcome": "Y"} | change
    with pytest.raises(InputError, match=message):
        adjustment_sets(**arguments)


def test_bad_questions_to_the_answer(total):
    with pytest.raises(InputError, match=r"`nodes` must name nodes of the graph. 'nosuch'"):
        total.is_valid({"nosuch"})
    with pytest.raises(InputError, match="`limit` must be a whole number"):
        total.valid(limit=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        total.outcome = "A"


def test_the_callers_graph_is_neither_changed_nor_subclassed():
    dag = parse_dag(DAG)
    dag.edges["A", "M"]["weight"] = 2.0
    before = nx.to_dict_of_dicts(dag), dict(dag.nodes(data=True))
    sets = adjustment_sets(dag, "A", "Y", costs={"C": 2})
    for question in (sets.minimum_cost, sets.explain("C"), list(sets.valid(limit=3)), str(sets)):
        assert question
    assert (nx.to_dict_of_dicts(dag), dict(dag.nodes(data=True))) == before
    assert sets.dag is dag
    assert type(sets) is AdjustmentSets


# --- properties ---


@st.composite
def graphs(draw, largest=14):
    size = draw(st.integers(3, largest))
    label = draw(st.permutations(range(size)))
    pairs = [(label[i], label[j]) for i in range(size) for j in range(i + 1, size)]
    dag = nx.DiGraph()
    dag.add_nodes_from(range(size))
    dag.add_edges_from(draw(st.lists(st.sampled_from(pairs), min_size=size, max_size=3 * size, unique=True)))
    x, y = draw(st.sampled_from([(x, y) for x in sorted(dag) for y in sorted(nx.descendants(dag, x))]))
    latent = draw(st.sets(st.sampled_from(range(size)), max_size=size // 3)) - {x, y}
    return dag, x, y, set(dag) - latent


def found(dag, x, y, effect, observed):
    try:
        return adjustment_sets(dag, x, y, effect, observed)
    except NotIdentifiedError:
        return None


@given(graphs())
@settings(deadline=None, max_examples=150)
def test_total_sets_meet_the_criterion(criterion, question):
    dag, x, y, observed = question
    sets = found(dag, x, y, "total", observed)
    if sets is None:
        ancestors = nx.ancestors(dag, x) | nx.ancestors(dag, y) | {y}
        between = nx.descendants(dag, x) & (nx.ancestors(dag, y) | {y})
        banned = between.union({x}, *(nx.descendants(dag, v) for v in between))
        assert not criterion(dag, {x}, y, (ancestors & observed) - banned)
        return
    for z in (sets.optimal, sets.minimal, sets.minimum_cost, *sets.valid(limit=5)):
        assert z <= observed
        assert criterion(dag, {x}, y, z)
        assert sets.is_valid(z)
    assert sets.minimal <= sets.optimal
    assert len(sets.minimum_cost) <= len(sets.minimal)
    assert not any(criterion(dag, {x}, y, sets.minimal - {v}) for v in sets.minimal)


@given(graphs(), st.sampled_from(["total", "wcde"]))
@settings(deadline=None, max_examples=100)
def test_names_do_not_matter(question, effect):
    dag, x, y, observed = question
    odd = {v: [f"node {v}", (v, "b"), frozenset({v}), v + 0.5, None if v < 0 else (v,)][v % 5] for v in dag}
    plain = found(dag, x, y, effect, observed)
    other = found(nx.relabel_nodes(dag, odd), odd[x], odd[y], effect, [odd[v] for v in observed])
    assert (plain is None) is (other is None)
    if plain is not None:
        for name in ("optimal", "minimal", "minimum_cost", "mediators", "covariates"):
            assert getattr(other, name) == {odd[v] for v in getattr(plain, name)}
        assert other.optimality == plain.optimality


@given(graphs(), st.sampled_from(["total", "wcde"]))
@settings(deadline=None, max_examples=100)
def test_more_measured_nodes_never_hurt(question, effect):
    dag, x, y, observed = question
    some = found(dag, x, y, effect, observed)
    everything = found(dag, x, y, effect, None)
    assert everything is not None
    assert everything.optimality == "proved"
    if some is not None:
        assert everything.is_valid(some.optimal)
        for node in dag:
            assert some.explain(node).text
        assert {node for node in dag if some.explain(node).role in ("needed", "precision")} == some.optimal


@given(graphs(largest=9))
@settings(deadline=None, max_examples=60)
def test_direct_sets_are_valid_and_minimal(question):
    dag, x, y, observed = question
    sets = found(dag, x, y, "wcde", observed)
    if sets is not None:
        for z in (sets.optimal, sets.minimal, sets.minimum_cost):
            assert sets.is_valid(z)
        proper = (set(z) for k in range(len(sets.minimal)) for z in itertools.combinations(sets.minimal, k))
        assert not any(sets.is_valid(z) for z in proper)
        assert len(sets.minimum_cost) == min(map(len, sets.valid()))
