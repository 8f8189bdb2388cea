"""Drawings: what is on the axes, and a layout without overlaps."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest

from causalif._errors import InputError
from causalif.graphs import adjustment_sets, draw, parse_dag
from causalif.graphs.dag import read_graph
from causalif.graphs.draw import positions
from causalif.graphs.posterior import DAGPosterior

plt = pytest.importorskip("matplotlib.pyplot")

DAG = "C -> {A Y}; A -> M -> Y; A -> Y; U [latent]; U -> Y"


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def faces(ax):
    return {text.get_text(): text.get_bbox_patch().get_facecolor() for text in ax.texts}


def test_nodes_arrows_and_highlight():
    ax = draw(parse_dag(DAG), highlight={"C"})
    assert {text.get_text() for text in ax.texts} == set("CAMYU")
    assert len(ax.patches) == 6
    colours = faces(ax)
    assert colours["C"] != colours["M"] == colours["A"]
    dashed = [t.get_text() for t in ax.texts if t.get_bbox_patch().get_linestyle() in ("--", "dashed")]
    assert dashed == ["U"]
    ax.figure.canvas.draw()


def test_the_answer_draws_itself_into_given_axes():
    figure, axes = plt.subplots(1, 2)
    ax = adjustment_sets(parse_dag(DAG), "A", "Y").plot(ax=axes[1])
    assert ax is axes[1]
    assert not axes[0].texts
    colours = faces(ax)
    assert len({colours["A"], colours["C"], colours["M"]}) == 3
    assert colours["A"] == colours["Y"]
    figure.canvas.draw()


def test_treatment_and_outcome_differ_without_colour_and_a_legend_says_so():
    ax = adjustment_sets(parse_dag(DAG), "A", "Y").plot()
    thick = {t.get_text() for t in ax.texts if t.get_bbox_patch().get_linewidth() > 2}
    assert thick == {"A", "Y"}
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["treatment, outcome", "optimal set", "not observed"]
    alone = adjustment_sets(parse_dag("A -> Y"), "A", "Y").plot()
    assert [text.get_text() for text in alone.get_legend().get_texts()] == ["treatment, outcome"]
    assert draw(parse_dag(DAG), highlight={"C"}).get_legend() is None
    ax.figure.canvas.draw()


def test_a_wide_graph_fits_a_page_unless_its_names_need_more():
    chain = [f"v{i}" for i in range(9)]
    assert draw(parse_dag(" -> ".join(chain))).figure.get_figwidth() == pytest.approx(7.0)
    assert draw(parse_dag(" -> ".join(chain[:3]))).figure.get_figwidth() == pytest.approx(4.8)
    ax = draw(parse_dag(" -> ".join(f"a_long_name_{name}" for name in chain)))
    ax.figure.canvas.draw()
    boxes = sorted((t.get_bbox_patch().get_window_extent() for t in ax.texts), key=lambda box: box.x0)
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_undirected_edges_have_no_head():
    ax = draw(parse_dag("A -- B; B -> C; A -> C"))
    styles = sorted(type(patch.get_arrowstyle()).__name__ for patch in ax.patches)
    assert styles == ["Curve", "CurveFilledB", "CurveFilledB"]


def test_names_that_are_not_text_and_graphs_without_edges():
    graph = nx.DiGraph()
    graph.add_nodes_from([1, (2, "b")])
    assert [t.get_text() for t in draw(graph).texts] == ["1", "(2, 'b')"]
    assert not draw(nx.DiGraph()).texts


def test_bad_arguments():
    with pytest.raises(InputError, match=r"`dag` must be a networkx.DiGraph. Got a str.*parse_dag"):
        draw("A -> B")
    with pytest.raises(InputError, match="`highlight` must name nodes"):
        draw(parse_dag(DAG), highlight={"Q"})


@pytest.mark.parametrize(("rare", "shown"), [(0.0, {"1"}), (0.001, {">.99", "<.01"}), (0.01, {".99", ".01"})])
def test_only_certain_edges_are_written_as_one(rare, shown):
    weights = [1 - rare, rare][: 1 + (rare > 0)]
    graphs = [parse_dag("A -> B"), parse_dag("B -> A")][: len(weights)]
    ax = DAGPosterior.from_dags(graphs, weights).plot(least=0.0)
    assert {text.get_text() for text in ax.texts} - {"A", "B"} == shown


@pytest.mark.parametrize("seed", range(20))
def test_causes_stand_left_of_effects_and_no_two_nodes_overlap(seed, draw_dag):
    dag = draw_dag(np.random.default_rng(seed))
    place = dict(zip(dag, positions(read_graph(dag)), strict=True))
    assert all(place[u][0] < place[v][0] for u, v in dag.edges)
    for u in dag:
        for v in dag:
            if u != v and place[u][0] == place[v][0]:
                assert abs(place[u][1] - place[v][1]) > 1 - 1e-9
