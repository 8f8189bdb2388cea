"""A drawing of edge probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import networkx as nx
import numpy as np

from causalif._validate import Array
from causalif.graphs.dag import read_graph
from causalif.graphs.draw import positions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_UNIT = (1.9, 1.15)
_LABELLED = 0.995


def draw_probabilities(graph: nx.DiGraph, ax: Axes | None) -> Axes:
    """Draw a graph whose edges have a ``probability``: layered by its likely edges, doubtful ones bent and pale."""
    from matplotlib.pyplot import subplots

    likely = _acyclic(graph)
    layout = read_graph(likely)
    place = dict(zip(layout.nodes, positions(layout), strict=True))
    spots = np.array(list(place.values()))
    if ax is None:
        wide, high = np.ptp(spots, axis=0)
        ax = subplots(figsize=((wide + 1.2) * _UNIT[0], (high + 1.6) * _UNIT[1]), layout="constrained")[1]
    boxes = {
        node: ax.text(*spot, str(node), ha="center", va="center", zorder=4,
                      bbox={"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "#222222"})
        for node, spot in place.items()
    }  # fmt: skip
    for tail, head, mark in sorted(graph.edges(data="probability"), key=lambda edge: edge[2]):
        both = graph.has_edge(head, tail)
        bend = 0.18 if both else _bend(spots, place[tail], place[head])
        _arrow(ax, boxes, (tail, head), (place[tail], place[head]), mark, bend)
    ax.set_xlim(spots[:, 0].min() - 0.6, spots[:, 0].max() + 0.6)
    ax.set_ylim(spots[:, 1].min() - 0.8, spots[:, 1].max() + 0.8)
    ax.set_axis_off()
    return ax


def _acyclic(graph: nx.DiGraph) -> nx.DiGraph:
    """Keep edges from the likeliest down, as long as they close no cycle."""
    kept = nx.DiGraph()
    kept.add_nodes_from(graph)
    for tail, head, _ in sorted(graph.edges(data="probability"), key=lambda edge: -edge[2]):
        if not nx.has_path(kept, head, tail):
            kept.add_edge(tail, head)
    return kept


def _bend(spots: Array, start: Array, end: Array) -> float:
    """Bend an edge that would otherwise run through the box of another node."""
    gap = end - start
    length = float(np.hypot(*gap))
    for spot in spots:
        along = float((spot - start) @ gap) / length**2
        across = float(gap[0] * (spot - start)[1] - gap[1] * (spot - start)[0]) / length
        if 0.05 < along < 0.95 and abs(across) < 0.3:
            return 0.3 if across <= 0 else -0.3
    return 0.0


def _arrow(
    ax: Axes, boxes: dict[str, object], edge: tuple[str, str], ends: tuple[Array, Array], mark: float, bend: float
) -> None:
    from matplotlib.patches import FancyArrowPatch

    (start, end), (tail, head) = ends, edge
    shade = str(round(0.75 * (1 - mark), 3))
    ax.add_patch(
        FancyArrowPatch(
            tuple(start), tuple(end), arrowstyle="-|>", mutation_scale=12, color=shade, linewidth=0.6 + 1.8 * mark,
            shrinkA=1, shrinkB=1, zorder=3, patchA=boxes[tail].get_bbox_patch(), patchB=boxes[head].get_bbox_patch(),  # type: ignore[attr-defined]
            connectionstyle=f"arc3,rad={bend}",
        )
    )  # fmt: skip
    across = np.array([end[1] - start[1], start[0] - end[0]])
    # The arc runs at half its control point's distance; the label sits towards its tail, away from other labels.
    spot = 0.55 * start + 0.45 * end + 0.5 * bend * across
    text = "1" if mark >= _LABELLED else f"{mark:.2f}".lstrip("0")
    ax.text(*spot, text, ha="center", va="center", fontsize=8, color="#222222", zorder=5,
            bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85})  # fmt: skip
