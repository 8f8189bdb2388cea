"""A layered drawing of a causal graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import numpy.typing as npt

from causalif._validate import Array
from causalif.graphs.dag import Graph, Ids, Node, read_graph, read_nodes
from causalif.graphs.pdag import PDAG, read_pdag

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

_INK, _GREY, _FILL, _ENDS = "#222222", "#666666", "#cfe3f5", "#f3dcc4"
_THIN, _THICK = 1.0, 2.4
_SWEEPS, _UNIT, _WIDEST = 12, (1.6, 0.9), 7.0
_LETTER, _ROOM, _LEGEND = 0.09, 0.35, (4.4, 0.35)  # inches: a letter's width, room beside a name, the legend
_BENDS = [sign * k / 20 for k in range(11) for sign in (1, -1)]


def draw(dag: nx.DiGraph | PDAG, highlight: Iterable[Node] = (), ax: Axes | None = None) -> Axes:
    """Draw a graph from left to right, causes before effects.

    Parameters
    ----------
    dag : networkx.DiGraph or PDAG
        The graph; undirected edges are drawn without arrowhead. Nodes with the attribute ``latent=True`` are dashed.
    highlight : iterable of nodes, default ()
        Drawn filled, such as an adjustment set.
    ax : matplotlib Axes, optional
        Drawn into; a new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed (``pip install causalif[plot]``).
    InputError
        If ``dag`` is no such graph, it has a cycle, or a highlighted node is not in it.

    Notes
    -----
    Meant for up to about fifty nodes. The layout is deterministic.

    Examples
    --------
    >>> ax = draw(nx.DiGraph([("C", "A"), ("C", "Y"), ("A", "Y")]), highlight=["C"])
    >>> sorted(text.get_text() for text in ax.texts)
    ['A', 'C', 'Y']
    """
    marked = dag.nodes(data=True) if isinstance(dag, nx.DiGraph) else ()
    return draw_graph(dag, highlight, ax, (), [v for v, marks in marked if marks.get("latent")])


def draw_graph(
    dag: nx.DiGraph | PDAG, highlight: Iterable[Node], ax: Axes | None, ends: Iterable[Node], latent: Iterable[Node]
) -> Axes:
    """Draw with treatment and outcome, and latent nodes, marked as well, and a legend where ends are marked."""
    partial = read_pdag(dag) if isinstance(dag, PDAG) else None
    graph = partial.extension() if partial else read_graph(dag)
    lines = {(u, v) for u, near in enumerate(partial.lines) for v in near} if partial else set()
    filled, ends_, dashed = (read_nodes(graph, value, "highlight") for value in (highlight, ends, latent))
    place = positions(graph)
    ax = _axes(place, graph, bool(ends_)) if ax is None else ax
    boxes = _draw_nodes(ax, graph, place, filled, ends_, dashed)
    inches = place * _scale(ax, place)
    curves = [place]
    for u, v in ((u, v) for u, heads in enumerate(graph.children) for v in heads):
        bend = _bend(inches, np.array([len(str(node)) for node in graph.nodes]), u, v)
        curves.append(_arc(inches[u], inches[v], bend) / _scale(ax, place))
        _draw_edge(ax, place, boxes, (u, v), "-" if (u, v) in lines else "-|>", bool({u, v} & dashed), bend)
    low, high = (np.array([side(curve, axis=0) for curve in curves if len(curve)]) for side in (np.min, np.max))
    if len(place):
        ax.set_xlim(low[:, 0].min() - 0.5, high[:, 0].max() + 0.5)
        ax.set_ylim(low[:, 1].min() - 0.5, high[:, 1].max() + 0.5)
    ax.set_axis_off()
    if ends_:
        _explain(ax, filled, dashed)
    return ax


def _axes(place: Array, graph: Graph, explained: bool) -> Axes:
    """Axes as wide as the columns ask for, within what a page holds unless names would run into each other."""
    from matplotlib.pyplot import subplots

    wide, high = np.ptp(place, axis=0) if len(place) else (0.0, 0.0)
    longest = max((len(str(node)) for node in graph.nodes), default=0)
    unit = min(_UNIT[0], max(_WIDEST / (wide + 1), _LETTER * longest + _ROOM))
    width = max((wide + 1) * unit, _LEGEND[0] * explained)
    size = (width, (high + 1.5) * _UNIT[1] + _LEGEND[1] * explained)
    return subplots(figsize=size, layout="constrained")[1]


def _explain(ax: Axes, filled: Ids, dashed: Ids) -> None:
    from matplotlib.patches import Patch

    marks = [Patch(facecolor=_ENDS, edgecolor=_INK, linewidth=_THICK, label="treatment, outcome")]
    if filled:
        marks.append(Patch(facecolor=_FILL, edgecolor=_INK, linewidth=_THIN, label="optimal set"))
    if dashed:
        marks.append(Patch(facecolor="white", edgecolor=_GREY, linestyle="--", label="not observed"))
    ax.legend(handles=marks, frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3)


def _scale(ax: Axes, place: Array) -> Array:
    """Inches that one step to the right and one step up will take."""
    wide, high = np.ptp(place, axis=0) if len(place) else (0.0, 0.0)
    return np.array([ax.bbox.width / (wide + 1), ax.bbox.height / (high + 1.5)]) / ax.figure.dpi


def _draw_nodes(ax: Axes, graph: Graph, place: Array, filled: Ids, ends: Ids, dashed: Ids) -> list[Text]:
    boxes = []
    for i, node in enumerate(graph.nodes):
        style: dict[str, Any] = {
            "boxstyle": "round,pad=0.35",
            "facecolor": _FILL if i in filled else _ENDS if i in ends else "white",
            "edgecolor": _GREY if i in dashed else _INK,
            "linestyle": "--" if i in dashed else "-",
            "linewidth": _THICK if i in ends else _THIN,
        }
        colour = _GREY if i in dashed else _INK
        boxes.append(
            ax.text(place[i, 0], place[i, 1], str(node), ha="center", va="center", color=colour, bbox=style, zorder=2)
        )
    return boxes


def _draw_edge(
    ax: Axes, place: Array, boxes: list[Text], edge: tuple[int, int], style: str, faint: bool, bend: float
) -> None:
    """Draw above the boxes, which clip the arrow, so that it follows them when the figure is resized."""
    from matplotlib.patches import FancyArrowPatch

    u, v = edge
    ax.add_patch(
        FancyArrowPatch(
            tuple(place[u]), tuple(place[v]), arrowstyle=style, mutation_scale=12, color=_GREY if faint else _INK,
            linestyle="--" if faint else "-", linewidth=1.0, shrinkA=1, shrinkB=1, zorder=3,
            patchA=boxes[u].get_bbox_patch(), patchB=boxes[v].get_bbox_patch(), connectionstyle=f"arc3,rad={bend}",
        )
    )  # fmt: skip


def _arc(start: Array, end: Array, bend: float) -> Array:
    """Points on the curve that matplotlib's ``arc3`` draws, in inches."""
    t = np.linspace(0, 1, 41)[:, None]
    across = np.array([end[1] - start[1], start[0] - end[0]])
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * ((start + end) / 2 + bend * across) + t**2 * end


def _bend(inches: Array, letters: npt.NDArray[np.int_], u: int, v: int) -> float:
    """The flattest arc that runs through few boxes of other nodes, or else near few of them."""
    others = np.delete(np.arange(len(inches)), [u, v])
    half = np.column_stack([0.045 * letters + 0.08, np.full(len(letters), 0.14)])[others]

    def hits(bend: float) -> tuple[int, int]:
        gaps = np.abs(_arc(inches[u], inches[v], bend)[:, None] - inches[others])
        through, near = ((gaps < half + margin).all(axis=2).any(axis=0).sum() for margin in (0.0, 0.06))
        return int(through), int(near)

    return min(_BENDS, key=lambda bend: (*hits(bend), abs(bend)))


def positions(graph: Graph) -> Array:
    """Place every node: the column is its layer, the row an order in which few edges cross."""
    layer = _layers(graph)
    columns: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for v in range(len(graph.nodes)):
        columns[layer[v]].append(v)
    row = [0.0] * len(graph.nodes)
    for column in columns:
        _spread(column, row, [float(k) for k in range(len(column))])
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 else columns[::-1]:
            wanted = [_middle(graph, v, row) for v in column]
            order = sorted(range(len(column)), key=wanted.__getitem__)
            column[:] = [column[k] for k in order]
            _spread(column, row, [wanted[k] for k in order])
    return np.array([[float(layer[v]), -row[v]] for v in range(len(graph.nodes))]).reshape(-1, 2)


def _layers(graph: Graph) -> list[int]:
    """Longest path from a root; roots and other early nodes move next to their first child."""
    order = _sorted(graph)
    layer = [0] * len(graph.nodes)
    for v in order:
        layer[v] = max((layer[u] + 1 for u in graph.parents[v]), default=0)
    for v in reversed(order):
        if graph.children[v]:
            layer[v] = max(layer[v], min(layer[c] for c in graph.children[v]) - 1)
    return layer


def _sorted(graph: Graph) -> list[int]:
    waiting = [len(above) for above in graph.parents]
    ready = [v for v, count in enumerate(waiting) if not count]
    for u in ready:
        for v in graph.children[u]:
            waiting[v] -= 1
            if not waiting[v]:
                ready.append(v)
    return ready


def _middle(graph: Graph, v: int, row: list[float]) -> float:
    near = [row[u] for u in (*graph.parents[v], *graph.children[v])]
    return sum(near) / len(near) if near else row[v]


def _spread(column: list[int], row: list[float], wanted: list[float]) -> None:
    """Put a column at the wanted heights, one unit apart at least, its mean where it was wanted."""
    heights: list[float] = []
    for height in wanted:
        heights.append(max(height, heights[-1] + 1) if heights else height)
    shift = (sum(wanted) - sum(heights)) / max(len(column), 1)
    for v, height in zip(column, heights, strict=True):
        row[v] = height + shift
