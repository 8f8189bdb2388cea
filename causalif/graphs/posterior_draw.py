"""A drawing of edge probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

from causalif._validate import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROUNDING, _SURE, _NEVER = 1e-9, 0.995, 0.005
_BEND, _ALONG = 0.1, 0.27


def draw_probabilities(graph: nx.DiGraph, ax: Axes | None) -> Axes:
    """Draw a graph whose edges have a ``probability`` on a circle, clockwise in the order of its likely edges."""
    from matplotlib.pyplot import subplots

    if ax is None:
        side = 2.6 + 0.42 * len(graph)
        ax = subplots(figsize=(side, side), layout="constrained")[1]
    order = _order(graph)
    angles = np.pi - 2 * np.pi * np.arange(len(order)) / len(order)
    place = dict(zip(order, np.column_stack([np.cos(angles), np.sin(angles)]), strict=True))
    boxes = {
        node: ax.text(spot[0], spot[1], str(node), ha="center", va="center", zorder=4,
                      bbox={"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "#222222"})
        for node, spot in place.items()
    }  # fmt: skip
    for tail, head, mark in sorted(graph.edges(data="probability"), key=lambda edge: edge[2]):
        patches = boxes[tail].get_bbox_patch(), boxes[head].get_bbox_patch()
        bend = _BEND if graph.has_edge(head, tail) else 0.0
        _arrow(ax, (place[tail], place[head]), patches, mark, bend)
    ax.set_xlim(-1.25, 1.25)
    ax.set_ylim(-1.25, 1.25)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax


def _order(graph: nx.DiGraph) -> list[Any]:
    """Sort the nodes so that causes come first along the likely edges: those that close no cycle with likelier ones."""
    kept = nx.DiGraph()
    kept.add_nodes_from(graph)
    for tail, head, _ in sorted(graph.edges(data="probability"), key=lambda edge: -edge[2]):
        if not nx.has_path(kept, head, tail):
            kept.add_edge(tail, head)
    return list(nx.topological_sort(kept))


def _arrow(ax: Axes, ends: tuple[Array, Array], patches: tuple[Any, Any], mark: float, bend: float) -> None:
    """Draw an edge as dark and thick as it is likely, its probability written nearer to the cause."""
    from matplotlib.patches import FancyArrowPatch

    start, end = ends
    ax.add_patch(
        FancyArrowPatch(
            tuple(start), tuple(end), arrowstyle="-|>", mutation_scale=12, color=str(round(0.75 * (1 - mark), 3)),
            linewidth=0.6 + 1.8 * mark, shrinkA=1, shrinkB=1, zorder=3, patchA=patches[0], patchB=patches[1],
            connectionstyle=f"arc3,rad={bend}",
        )
    )  # fmt: skip
    # The quadratic curve that matplotlib's arc3 draws where both axes have one scale.
    gap, t = end - start, _ALONG
    control = (start + end) / 2 + bend * np.array([gap[1], -gap[0]])
    spot = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
    ax.text(spot[0], spot[1], _written(mark), ha="center", va="center", fontsize=8, color="#222222", zorder=5,
            bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85})  # fmt: skip


def _written(probability: float) -> str:
    """Two decimals, with "1" for a sum of all weights only."""
    if probability >= 1 - _ROUNDING:
        return "1"
    if not _NEVER <= probability < _SURE:
        return ">.99" if probability > _NEVER else "<.01"
    return f"{probability:.2f}".lstrip("0")
