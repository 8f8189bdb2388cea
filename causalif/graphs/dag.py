"""A directed graph read once into lists of numbers, its validation, and how it is written down."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, TypeAlias

import networkx as nx
import numpy as np
import numpy.typing as npt

from causalif._errors import InputError
from causalif._validate import closest

Node: TypeAlias = Hashable
Ids: TypeAlias = AbstractSet[int]
Rows: TypeAlias = list[tuple[int, ...]]
NOTHING: frozenset[int] = frozenset()
_SHOWN = 8


@dataclass(frozen=True, eq=False, slots=True)
class Graph:
    """The nodes of a DAG numbered in their own order, with the numbers of parents and children of each.

    ``lines``, both ways, are edges whose direction was chosen for want of knowledge; it only shows in written paths.
    """

    nodes: list[Node]
    number: dict[Node, int]
    parents: Rows
    children: Rows
    lines: frozenset[tuple[int, int]] = frozenset()

    def names(self, ids: Iterable[int]) -> frozenset[Node]:
        """Return the nodes behind numbers."""
        return frozenset(self.nodes[i] for i in ids)

    def path(self, ids: Iterable[int]) -> tuple[Node, ...]:
        """Return the nodes behind a sequence of numbers."""
        return tuple(self.nodes[i] for i in ids)

    def listed(self, ids: Collection[int], most: int = _SHOWN) -> str:
        """Write nodes as text, in the order of the graph, a long list cut short."""
        shown = ", ".join(repr(self.nodes[i]) for i in sorted(ids)[:most])
        return shown + (f" and {len(ids) - most} more" if len(ids) > most else "")

    def arrows(self, path: list[int]) -> str:
        """Write a path with its arrows, as in ``A <- C -> Y``."""
        text = str(self.nodes[path[0]])
        for tail, head in pairwise(path):
            edge = "--" if (tail, head) in self.lines else "->" if head in self.children[tail] else "<-"
            text += f" {edge} {self.nodes[head]}"
        return text

    def without(self, tails: Ids | None = None, heads: Ids | None = None) -> Graph:
        """Return the graph less its edges from ``tails`` to ``heads``, None standing for every node."""
        parents, children = list(self.parents), list(self.children)
        if tails is not None:
            cut = {(t, h) for t in tails for h in self.children[t] if heads is None or h in heads}
        else:
            cut = {(t, h) for h in heads or () for t in self.parents[h]}
        for t in {t for t, _ in cut}:
            children[t] = tuple(h for h in children[t] if (t, h) not in cut)
        for h in {h for _, h in cut}:
            parents[h] = tuple(t for t in parents[h] if (t, h) not in cut)
        return Graph(self.nodes, self.number, parents, children, self.lines)


def closure(start: Iterable[int], step: Rows, blocked: Ids = NOTHING) -> set[int]:
    """Numbers reached from ``start``, itself included, by steps that never enter ``blocked``."""
    seen = set(start)
    stack = list(seen)
    while stack:
        for v in step[stack.pop()]:
            if v not in seen and v not in blocked:
                seen.add(v)
                stack.append(v)
    return seen


def directed_path(step: Rows, start: Iterable[int], goals: Ids, blocked: Ids = NOTHING) -> list[int] | None:
    """Find a shortest path along ``step`` from one of ``start`` to one of ``goals``, entering no ``blocked`` node."""
    origin: dict[int, int | None] = dict.fromkeys(start)
    queue = list(origin)
    for u in queue:
        if u in goals:
            return _trace(origin, u)
        for v in step[u]:
            if v not in origin and v not in blocked:
                origin[v] = u
                queue.append(v)
    return None


def _trace(origin: dict[int, int | None], last: int) -> list[int]:
    path, at = [last], origin[last]
    while at is not None:
        path.append(at)
        at = origin[at]
    return path[::-1]


def causal_between(graph: Graph, treatment: Ids, outcome: int) -> set[int]:
    """Nodes on proper causal paths from ``treatment`` to ``outcome``: the treatments excluded, the outcome included."""
    first = {c for x in treatment for c in graph.children[x]} - treatment
    down = closure(first, graph.children, treatment)
    return down & closure([outcome], graph.parents, treatment) if outcome in down else set()


def read_graph(dag: Any) -> Graph:
    """Number the nodes of a directed graph, refusing anything but an acyclic one."""
    if not isinstance(dag, nx.DiGraph):
        raise InputError(_not_a_dag(dag))
    nodes = list(dag)
    number = dict(zip(nodes, range(len(nodes)), strict=True))
    near = [heads for _, heads in dag.adjacency()]
    counts = np.fromiter(map(len, near), dtype=np.int64, count=len(nodes))
    heads = np.fromiter(map(number.__getitem__, chain.from_iterable(near)), dtype=np.int64, count=int(counts.sum()))
    tails = np.repeat(np.arange(len(nodes)), counts)[np.argsort(heads, kind="stable")]
    parents = _rows(tails, np.bincount(heads, minlength=len(nodes)))
    graph = Graph(nodes, number, parents, _rows(heads, counts))
    refuse_cycle(graph)
    return graph


def _rows(flat: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> Rows:
    """Cut a flat array into tuples; of these the garbage collector, unlike of lists, soon loses sight."""
    numbers, ends = flat.tolist(), np.cumsum(counts).tolist()
    return [tuple(numbers[start:end]) for start, end in pairwise([0, *ends])]


def _not_a_dag(dag: object) -> str:
    hints = {
        "str": " Read the text with `causalif.parse_dag` first.",
        "PDAG": " Undirected edges are understood by `adjustment_sets` and `draw` only; orient them first.",
        "Graph": " Its edges have no direction; write them as `A -- B` or build a `causalif.PDAG`.",
    }
    kind = type(dag).__name__
    return f"`dag` must be a networkx.DiGraph. Got a {kind} instead.{hints.get(kind, '')}"


def refuse_cycle(graph: Graph) -> None:
    """Raise, with one cycle in the message, unless the graph is acyclic."""
    cycle = find_cycle(graph)
    if cycle:
        shown = " -> ".join(str(graph.nodes[v]) for v in cycle)
        raise InputError(
            f"`dag` must have no directed cycle. Found {shown}. Remove or turn round one of these edges; a two-way "
            "arrow that stands for a common cause must name that cause: U -> A; U -> B."
        )


def find_cycle(graph: Graph) -> list[int]:
    """Return a directed cycle, its first node repeated at the end; empty if the nodes can be sorted."""
    waiting = [len(above) for above in graph.parents]
    ready = [v for v, count in enumerate(waiting) if not count]
    for u in ready:
        for v in graph.children[u]:
            waiting[v] -= 1
            if not waiting[v]:
                ready.append(v)
    return _cycle_among(graph, waiting) if len(ready) < len(graph.nodes) else []


def _cycle_among(graph: Graph, waiting: list[int]) -> list[int]:
    """Walk up among the nodes that could not be sorted until one comes back."""
    at = next(v for v, count in enumerate(waiting) if count)
    place: dict[int, int] = {}
    walk: list[int] = []
    while at not in place:
        place[at] = len(walk)
        walk.append(at)
        at = next(u for u in graph.parents[at] if waiting[u])
    return [at, *walk[place[at] :][::-1]]


def read_nodes(graph: Graph, value: Any, name: str) -> set[int]:
    """Numbers of a node, or of a collection of nodes, refusing any that the graph lacks."""
    single = isinstance(value, Hashable) and _hash_in(value, graph.number)
    if single or isinstance(value, str) or not isinstance(value, Iterable):
        value = [value]
    wanted = list(value)
    try:
        return {graph.number[node] for node in wanted}
    except (KeyError, TypeError):  # a node that the graph lacks, or something that cannot be one
        raise _unknown(graph, wanted, name) from None


def _unknown(graph: Graph, wanted: list[Any], name: str) -> InputError:
    unknown = [node for node in wanted if not _hash_in(node, graph.number)]
    hint = meant(graph, unknown[0]) + " Leave out what the graph does not have." * (name == "observed")
    return InputError(
        f"`{name}` must name nodes of the graph. {', '.join(map(repr, unknown[:_SHOWN]))} is not among its "
        f"{len(graph.nodes)} nodes: {graph.listed(range(len(graph.nodes)))}.{hint}"
    )


def meant(graph: Graph, unknown: Any) -> str:
    """Ask whether the node that is written most like an unknown one was meant; empty where none comes near."""
    texts = [str(node) for node in graph.nodes]
    close = closest(unknown, texts)
    return f" Did you mean {graph.nodes[texts.index(close)]!r}?" if close else ""


def _hash_in(value: Any, number: dict[Node, int]) -> bool:
    """Tell whether a value is a node; something that only looks hashable, such as a tuple of lists, is not."""
    try:
        return value in number
    except TypeError:
        return False


def check_dag(dag: nx.DiGraph) -> None:
    """Raise unless a graph is a networkx.DiGraph without directed cycles.

    Parameters
    ----------
    dag : networkx.DiGraph
        The graph; it is not changed.

    Raises
    ------
    InputError
        If it is something else, or has a directed cycle; the message shows one.

    Notes
    -----
    Time and memory grow with nodes plus edges.

    Examples
    --------
    >>> import networkx as nx
    >>> check_dag(nx.DiGraph([("A", "M"), ("M", "Y")]))
    """
    read_graph(dag)


def to_dot(dag: nx.DiGraph, highlight: Iterable[Node] = ()) -> str:
    """Write a graph in Graphviz's DOT language.

    Parameters
    ----------
    dag : networkx.DiGraph
        The graph; nodes are written through ``str``.
    highlight : iterable of nodes, default ()
        Drawn filled.

    Returns
    -------
    str
        Text that Graphviz draws and, if all nodes are strings, :func:`parse_dag` reads back.

    Raises
    ------
    InputError
        If the graph has a cycle, a highlighted node is not in it, or two nodes are written alike.

    Notes
    -----
    Time and memory grow with nodes plus edges. Of the nodes' attributes only ``latent=True`` is written.

    Examples
    --------
    >>> print(to_dot(nx.DiGraph([("A", "Y")]), highlight=["A"]))
    digraph {
      "A" [style="filled", fillcolor="#cfe3f5"];
      "Y";
      "A" -> "Y";
    }
    """
    graph = read_graph(dag)
    filled = read_nodes(graph, highlight, "highlight")
    quoted = [_quoted(node) for node in graph.nodes]
    if len(set(quoted)) < len(quoted):
        raise InputError("`dag` must have nodes whose texts differ to be written as DOT. Rename some of them.")
    latent = {i for i, node in enumerate(graph.nodes) if dag.nodes[node].get("latent")}
    lines = [f"  {q}{_marks(i in filled, i in latent)};" for i, q in enumerate(quoted)]
    lines += [f"  {quoted[t]} -> {quoted[h]};" for t, heads in enumerate(graph.children) for h in heads]
    return "\n".join(["digraph {", *lines, "}"])


def _marks(filled: bool, latent: bool) -> str:
    """Attributes of a node; a latent one is dashed, and read back as latent."""
    styles = ",".join(["filled"] * filled + ["dashed"] * latent)
    marks = ["latent=true"] * latent + [f'style="{styles}"'] + ['fillcolor="#cfe3f5"'] * filled
    return f" [{', '.join(marks)}]" if styles else ""


def _quoted(node: Node) -> str:
    return '"' + str(node).replace("\\", "\\\\").replace('"', '\\"') + '"'
