"""Two-step identification against exact laws and exhaustive enumeration."""

from __future__ import annotations

import itertools
from collections import Counter

import networkx as nx
import numpy as np
import pytest

from causalif._errors import InputError, NotIdentifiedError
from causalif.graphs import adjustment_sets, parse_dag
from causalif.graphs.sequential import sequential_sets

LATE = "C -> {A Y}; A -> L -> M -> Y; A -> Y; L <- U -> Y"


def two_step_functional(law, a: int, x: int, y: int, m, late, c) -> float:
    """Σ_m p(m) Σ_c p(c) Σ_l p(l | a, c) E[Y | a, m, l, c], on the arrays of a law."""
    q = law.given({x: a}, frozenset(m | late | c), y)[1]
    later = np.take(law.p({x, *late, *c}), [a], axis=x) / np.take(law.p({x, *c}), [a], axis=x)
    return float((q * later * law.p(c) * law.p(m)).sum())


def admissible(dag: nx.DiGraph, x, y, held, c, late) -> bool:
    """The conditions of Pearl and Robins, through networkx."""
    first = dag.copy()
    first.remove_edges_from([*dag.out_edges(x), *(edge for m in held for edge in dag.in_edges(m))])
    second = dag.copy()
    second.remove_edges_from([edge for m in held for edge in dag.out_edges(m)])
    return nx.is_d_separator(first, {x}, {y}, set(c)) and nx.is_d_separator(
        second, set(held), {y}, set(c) | set(late) | {x}
    )


def exists(dag, x, y, observed, all_subsets) -> bool:
    held = set(dag.pred[y]) & nx.descendants(dag, x)
    if not held or not held <= observed:
        return False
    last = held.union(*(nx.descendants(dag, m) for m in held))
    free = observed - {x, y}
    pairs = itertools.product(
        all_subsets(free - nx.descendants(dag, x)), list(all_subsets(free & nx.descendants(dag, x) - last))
    )
    return any(admissible(dag, x, y, held, c, late) for c, late in pairs)


def around_an_affected_confounder(rng) -> tuple[nx.DiGraph, int, int, set[int]]:
    """U latent, A -> L -> M -> Y and L <- U -> Y, with up to two more nodes and any edges, but for some of L -> Y."""
    order = ["U", "A", "L", "M", "Y"]
    for extra in range(int(rng.integers(0, 3))):
        order.insert(int(rng.integers(0, len(order))), f"X{extra}")
    number = {name: k for k, name in enumerate(order)}
    dag = nx.DiGraph()
    dag.add_nodes_from(range(len(order)))
    must = {("A", "L"), ("L", "M"), ("M", "Y"), ("U", "L"), ("U", "Y")}
    for tail, head in itertools.combinations(order, 2):
        share = 0.05 if (tail, head) in {("L", "Y"), ("U", "A"), ("U", "M")} else 0.4
        if (tail, head) in must or rng.random() < share:
            dag.add_edge(number[tail], number[head])
    observed = {number[name] for name in order if name in "ALMY" or (name != "U" and rng.random() < 0.8)}
    return dag, number["A"], number["Y"], observed


def check(seed, draw_dag, draw_ends, exact, all_subsets, seen) -> None:
    rng = np.random.default_rng(seed)
    if seed % 2:
        dag, x, y, observed = around_an_affected_confounder(rng)
    else:
        dag = draw_dag(rng)
        ends = draw_ends(dag, rng, joint=0.0)
        if ends is None:
            return
        (x,), y = ends
        observed = {v for v in dag if rng.random() < 0.75} | {x, y}
    try:
        found = sequential_sets(dag, x, y, observed)
    except NotIdentifiedError:
        found = None
    assert (found is not None) == exists(dag, x, y, observed, all_subsets)
    if found is None:
        seen["none"] += 1
        return
    seen["found"] += 1
    truth = exact(dag, frozenset({x}), y, "wcde", 1, rng)
    assert found.mediators == truth.held
    for law, truths in zip(truth.laws, truth.truths, strict=True):
        for a, right in enumerate(truths):
            number = two_step_functional(
                law, a, x, y, set(found.mediators), set(found.intermediate), set(found.covariates)
            )
            assert number == pytest.approx(right, abs=1e-9)
    try:
        adjustment_sets(dag, x, y, effect="wcde", observed=observed)
    except NotIdentifiedError:
        seen["only in two steps"] += 1
        assert found.intermediate


def run(seeds, *fixtures) -> Counter:
    seen = Counter()
    for seed in seeds:
        check(seed, *fixtures, seen)
    return seen


def test_agrees_with_exact_laws_and_enumeration(draw_dag, draw_ends, exact, all_subsets):
    seen = run(range(300), draw_dag, draw_ends, exact, all_subsets)
    assert seen["found"] > 50
    assert seen["only in two steps"] > 20


@pytest.mark.slow
def test_agrees_with_exact_laws_and_enumeration_at_length(draw_dag, draw_ends, exact, all_subsets, capsys):
    seen = run(range(300, 4300), draw_dag, draw_ends, exact, all_subsets)
    with capsys.disabled():
        print(f"\ntwo-step identification: {dict(seen)}")
    assert seen["only in two steps"] > 300


def test_an_affected_confounder_with_a_latent_cause():
    dag = parse_dag(LATE)
    with pytest.raises(NotIdentifiedError):
        adjustment_sets(dag, "A", "Y", effect="wcde", observed=set("CALMY"))
    found = sequential_sets(dag, "A", "Y", observed=set("CALMY"))
    assert (found.covariates, found.intermediate, found.mediators) == ({"C"}, {"L"}, {"M"})
    assert not found.zero_by_graph


def test_precise_covariates_are_kept_and_instruments_left_out():
    dag = parse_dag(LATE + "; V -> A; W -> Y; K -> L")
    found = sequential_sets(dag, "A", "Y", observed=set("CALMYVWK"))
    assert found.covariates == {"C", "W", "K"}  # K tells of L
    assert found.intermediate == {"L"}


def test_latent_marks_are_honoured():
    dag = parse_dag(LATE)
    dag.nodes["U"]["latent"] = True
    assert sequential_sets(dag, "A", "Y").intermediate == {"L"}


@pytest.mark.parametrize("text", ["A -> Y; A -> M -> Y; M <- U -> Y", "A -> Y; A <- U -> Y; A -> M -> Y", "A -> Y"])
def test_nothing_to_be_found(text):
    with pytest.raises(NotIdentifiedError, match="in two steps"):
        sequential_sets(parse_dag(text), "A", "Y", observed=set("AMY") & set(text))


def test_one_treatment_only():
    with pytest.raises(InputError, match="must be one node"):
        sequential_sets(parse_dag("A -> Y; B -> Y"), {"A", "B"}, "Y")
