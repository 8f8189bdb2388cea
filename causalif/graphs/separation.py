"""d-separation, with an open path as the witness when it fails."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import networkx as nx

from causalif._errors import InputError
from causalif.graphs.dag import NOTHING, Graph, Ids, Node, closure, read_graph, read_nodes


@dataclass(frozen=True)
class Separation:
    """The answer to one question of d-separation; true in an ``if`` when the nodes are separated.

    Parameters
    ----------
    separated : bool
        Whether every path is blocked.
    path : tuple of nodes or None
        A shortest open path, None when separated.
    text : str
        The answer in words, with the arrows of the path.

    Examples
    --------
    >>> import networkx as nx
    >>> d_separated(nx.DiGraph([("A", "B"), ("B", "C")]), "A", "C").path
    ('A', 'B', 'C')
    """

    separated: bool
    path: tuple[Node, ...] | None
    text: str

    def __bool__(self) -> bool:
        return self.separated

    def __str__(self) -> str:
        return self.text


def d_separated(
    dag: nx.DiGraph, x: Node | Iterable[Node], y: Node | Iterable[Node], given: Node | Iterable[Node] = ()
) -> Separation:
    """Tell whether a set of nodes blocks every path between two others.

    A path is open given Z when no non-collider on it is in Z and every collider on it has a descendant (or itself)
    in Z.

    Parameters
    ----------
    dag : networkx.DiGraph
        Acyclic; not changed.
    x, y : node or iterable of nodes
        Disjoint from each other.
    given : node or iterable of nodes, default ()
        The conditioning set, disjoint from both.

    Returns
    -------
    Separation
        Its truth value is the answer; ``path`` is a shortest open path.

    Raises
    ------
    InputError
        If the graph has a cycle, a node is unknown, or the sets overlap.

    Notes
    -----
    Breadth-first search over pairs of node and direction: time grows with nodes plus edges.

    References
    ----------
    Shachter (1998), Bayes-ball, UAI.

    Examples
    --------
    >>> import networkx as nx
    >>> dag = nx.DiGraph([("A", "C"), ("B", "C")])
    >>> bool(d_separated(dag, "A", "B"))
    True
    >>> print(d_separated(dag, "A", "B", given="C"))
    connected given 'C': A -> C <- B
    """
    graph = read_graph(dag)
    sides = [read_nodes(graph, value, name) for value, name in ((x, "x"), (y, "y"), (given, "given"))]
    for (a, first), (b, second) in [((0, "x"), (1, "y")), ((0, "x"), (2, "given")), ((1, "y"), (2, "given"))]:
        if sides[a] & sides[b]:
            raise InputError(
                f"`{first}` and `{second}` must not overlap. Both have {graph.listed(sides[a] & sides[b])}."
            )
    path = open_path(graph, *sides)
    condition = f" given {graph.listed(sides[2])}" if sides[2] else ""
    if path is None:
        return Separation(True, None, f"separated{condition}")
    return Separation(False, graph.path(path), f"connected{condition}: {graph.arrows(path)}")


def open_path(graph: Graph, sources: Ids, targets: Ids, given: Ids) -> list[int] | None:
    """Find a shortest path from ``sources`` to ``targets`` that is open given ``given``."""
    if not sources or not targets:
        return None
    return _ball(graph, sources, targets, given)[1]


def touched(graph: Graph, sources: Ids, given: Ids) -> set[int]:
    """Nodes that are connected with ``sources`` by a path open given ``given``, less the node itself."""
    return _ball(graph, sources, NOTHING, given)[0]


def _ball(graph: Graph, sources: Ids, targets: Ids, given: Ids) -> tuple[set[int], list[int] | None]:
    """Bayes-ball, breadth first: every node touched, and the path to the first target met.

    A state is 2v when v was entered against an arrow (from a child, or as a source) and 2v+1 when along one. A shortest
    open walk never repeats a node, so what is traced back is a path.
    """
    parents, children = graph.parents, graph.children
    opened = closure(given, parents)
    origin = [-2] * (2 * len(parents))  # the state before, -1 for none, -2 for states not met
    queue = [2 * s for s in sorted(sources)]
    for state in queue:
        origin[state] = -1
    for state in queue:
        v = state >> 1
        if v in targets:
            return set(), _trace(origin, state)
        blocked = v in given
        if v in opened if state & 1 else not blocked:
            for u in parents[v]:
                if origin[2 * u] == -2:
                    origin[2 * u] = state
                    queue.append(2 * u)
        if not blocked:
            for u in children[v]:
                if origin[2 * u + 1] == -2:
                    origin[2 * u + 1] = state
                    queue.append(2 * u + 1)
    return {state >> 1 for state in queue}, None


def _trace(origin: list[int], state: int) -> list[int]:
    path = []
    while state >= 0:
        path.append(state >> 1)
        state = origin[state]
    return path[::-1]
