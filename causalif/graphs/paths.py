"""Causal paths and the sets of nodes that they define."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import networkx as nx

from causalif._errors import InputError
from causalif._validate import whole_number
from causalif.graphs.dag import Graph, Ids, Node, causal_between, closure, read_graph, read_nodes


def read_question(graph: Graph, treatment: object, outcome: object) -> tuple[set[int], int]:
    """Numbers of the treatments and of the one outcome, which must differ."""
    x, y = read_nodes(graph, treatment, "treatment"), read_nodes(graph, outcome, "outcome")
    if len(y) != 1:
        raise InputError(f"`outcome` must be one node. Got {len(y)}.")
    if not x:
        raise InputError("`treatment` must name at least one node. Got none.")
    if x & y:
        raise InputError(f"`treatment` and `outcome` must differ. Both name {graph.listed(y)}.")
    return x, y.pop()


def causal_nodes(dag: nx.DiGraph, treatment: Node | Iterable[Node], outcome: Node) -> frozenset[Node]:
    """Nodes on proper causal paths, those that leave the treatments once: mediators and the outcome.

    Parameters
    ----------
    dag : networkx.DiGraph
        Acyclic; not changed.
    treatment : node or iterable of nodes
        Something hashable that is itself a node is taken as that node.
    outcome : node
        One node.

    Returns
    -------
    frozenset of nodes
        Without the treatments; empty when the outcome does not descend from them.

    Raises
    ------
    InputError
        If the graph has a cycle or a node is unknown.

    Notes
    -----
    Time grows with nodes plus edges; no path is enumerated.

    Examples
    --------
    >>> dag = nx.DiGraph([("C", "A"), ("C", "Y"), ("A", "M"), ("M", "Y"), ("M", "D")])
    >>> sorted(causal_nodes(dag, "A", "Y")), sorted(forbidden_nodes(dag, "A", "Y")), sorted(mediators(dag, "A", "Y"))
    (['M', 'Y'], ['A', 'D', 'M', 'Y'], ['M'])
    """
    graph = read_graph(dag)
    return graph.names(causal_between(graph, *read_question(graph, treatment, outcome)))


def forbidden_nodes(dag: nx.DiGraph, treatment: Node | Iterable[Node], outcome: Node) -> frozenset[Node]:
    """Nodes that no adjustment set for the total effect may contain: treatments, causal nodes and their descendants.

    Parameters
    ----------
    dag : networkx.DiGraph
        The causal graph.
    treatment : node or iterable of nodes
        Several nodes are a joint intervention.
    outcome : node
        The outcome.

    Returns
    -------
    frozenset of nodes

    Raises
    ------
    InputError
        If the graph has a cycle or a node is unknown.

    Notes
    -----
    Time grows with nodes plus edges.

    References
    ----------
    Perkovic, Textor, Kalisch and Maathuis (2018), JMLR 18, Definition 4.

    Examples
    --------
    >>> sorted(forbidden_nodes(nx.DiGraph([("A", "M"), ("M", "Y"), ("M", "D"), ("A", "B")]), "A", "Y"))
    ['A', 'D', 'M', 'Y']
    """
    graph = read_graph(dag)
    x, y = read_question(graph, treatment, outcome)
    return graph.names(closure(causal_between(graph, x, y), graph.children) | x)


def mediators(dag: nx.DiGraph, treatment: Node | Iterable[Node], outcome: Node) -> frozenset[Node]:
    """Descendants of the treatment that are ancestors of the outcome, these two excluded.

    Parameters
    ----------
    dag : networkx.DiGraph
        The causal graph.
    treatment : node or iterable of nodes
        Several nodes are a joint intervention.
    outcome : node
        The outcome.

    Returns
    -------
    frozenset of nodes

    Raises
    ------
    InputError
        If the graph has a cycle or a node is unknown.

    Notes
    -----
    Time grows with nodes plus edges.

    Examples
    --------
    >>> sorted(mediators(nx.DiGraph([("A", "M"), ("M", "Y"), ("M", "D"), ("A", "Y")]), "A", "Y"))
    ['M']
    """
    graph = read_graph(dag)
    return graph.names(mediators_between(graph, *read_question(graph, treatment, outcome)))


def mediators_between(graph: Graph, treatment: Ids, outcome: int) -> set[int]:
    """Numbers of the mediators."""
    below, above = closure(treatment, graph.children), closure([outcome], graph.parents)
    return (below & above) - treatment - {outcome}


def proper_backdoor_graph(dag: nx.DiGraph, treatment: Node | Iterable[Node], outcome: Node) -> nx.DiGraph:
    """Return a new graph without the first edge of every proper causal path.

    A set without forbidden nodes is a valid adjustment set for the total effect exactly when it separates treatments
    and outcome in this graph.

    Parameters
    ----------
    dag : networkx.DiGraph
        The causal graph.
    treatment : node or iterable of nodes
        Several nodes are a joint intervention.
    outcome : node
        The outcome.

    Returns
    -------
    networkx.DiGraph
        A copy with all nodes, attributes and the other edges.

    Raises
    ------
    InputError
        If the graph has a cycle or a node is unknown.

    Notes
    -----
    Two causal paths may share their first edge; it is removed once. Time grows with nodes plus edges.

    References
    ----------
    van der Zander, Liskiewicz and Textor (2019), Artificial Intelligence 270.

    Examples
    --------
    >>> dag = nx.DiGraph([("A", "B"), ("B", "Y"), ("B", "C"), ("C", "Y")])
    >>> list(proper_backdoor_graph(dag, "A", "Y").edges)
    [('B', 'Y'), ('B', 'C'), ('C', 'Y')]
    """
    graph = read_graph(dag)
    x, y = read_question(graph, treatment, outcome)
    between, copy = causal_between(graph, x, y), dag.copy()
    copy.remove_edges_from([(graph.nodes[t], graph.nodes[h]) for t in x for h in graph.children[t] if h in between])
    return copy


def causal_paths(
    dag: nx.DiGraph, treatment: Node | Iterable[Node], outcome: Node, limit: int | None = None
) -> Iterator[tuple[Node, ...]]:
    """Yield proper causal paths one by one, from treatment to outcome.

    Parameters
    ----------
    dag : networkx.DiGraph
        The causal graph.
    treatment : node or iterable of nodes
        Several nodes are a joint intervention.
    outcome : node
        The outcome.
    limit : int, optional
        Stop after this many. There can be exponentially many paths: ask for as many as are needed.

    Yields
    ------
    tuple of nodes
        Starting in a treatment, entering no other, ending in the outcome.

    Raises
    ------
    InputError
        If the graph has a cycle, a node is unknown, or ``limit`` is not a positive whole number.

    Notes
    -----
    The search never leaves the causal nodes, so that every step belongs to a path: the time between two paths grows
    with the length of a path times the largest number of children.

    Examples
    --------
    >>> dag = nx.DiGraph([("A", "B"), ("B", "Y"), ("B", "C"), ("C", "Y"), ("A", "Y")])
    >>> list(causal_paths(dag, "A", "Y"))
    [('A', 'B', 'Y'), ('A', 'B', 'C', 'Y'), ('A', 'Y')]
    """
    return islice(_causal_paths(dag, treatment, outcome), _limit(limit))


def mediating_paths(
    dag: nx.DiGraph, treatment: Node | Iterable[Node], outcome: Node, limit: int | None = None
) -> Iterator[tuple[Node, ...]]:
    """Yield causal paths that pass at least one mediator.

    Parameters
    ----------
    dag : networkx.DiGraph
        The causal graph.
    treatment : node or iterable of nodes
        Several nodes are a joint intervention.
    outcome : node
        The outcome.
    limit : int, optional
        Stop after this many.

    Yields
    ------
    tuple of nodes

    Raises
    ------
    InputError
        If the graph has a cycle, a node is unknown, or ``limit`` is not a positive whole number.

    Notes
    -----
    The cost is that of :func:`causal_paths`.

    Examples
    --------
    >>> list(mediating_paths(nx.DiGraph([("A", "M"), ("M", "Y"), ("A", "Y")]), "A", "Y"))
    [('A', 'M', 'Y')]
    """
    return islice((path for path in _causal_paths(dag, treatment, outcome) if len(path) > 2), _limit(limit))


def _limit(limit: int | None) -> int | None:
    return None if limit is None else whole_number("limit", limit, 1)


def _causal_paths(dag: nx.DiGraph, treatment: object, outcome: object) -> Iterator[tuple[Node, ...]]:
    """Check the arguments now, search when the paths are asked for."""
    graph = read_graph(dag)
    x, y = read_question(graph, treatment, outcome)
    return _depth_first(graph, sorted(x), y, causal_between(graph, x, y))


def _depth_first(graph: Graph, starts: list[int], outcome: int, between: Ids) -> Iterator[tuple[Node, ...]]:
    for start in starts:
        path, todo = [start], [iter(graph.children[start])]
        while todo:
            v = next((v for v in todo[-1] if v in between), None)
            if v is None:
                todo.pop()
                path.pop()
            elif v == outcome:
                yield graph.path([*path, v])
            else:
                path.append(v)
                todo.append(iter(graph.children[v]))
