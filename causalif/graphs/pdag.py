"""Partially directed graphs: every DAG that agrees with the edges known so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from causalif._errors import InputError
from causalif.graphs.dag import NOTHING, Graph, Ids, Node, find_cycle, refuse_cycle

_Step: TypeAlias = tuple[int, int]


@dataclass(frozen=True, init=False)
class PDAG:
    """A CPDAG or MPDAG: the DAGs with these adjacencies, these arrows, and no further unshielded collider.

    Parameters
    ----------
    directed : iterable of (tail, head), default ()
        Edges whose direction is known.
    undirected : iterable of (node, node), default ()
        Edges whose direction is not.
    nodes : iterable of nodes, default ()
        All nodes, for the order and for those without an edge; nodes of the edges need not be repeated.

    Raises
    ------
    InputError
        If an edge is no pair of two different nodes, or is listed both ways or in both roles.

    Notes
    -----
    :func:`adjustment_sets` first draws the conclusions of Meek's rules, so the graph need not be maximally oriented.
    The object can be compared and hashed.

    References
    ----------
    Meek (1995), UAI.

    Examples
    --------
    >>> PDAG(directed=[("A", "Y")], undirected=[("C", "A")]).nodes
    ('C', 'A', 'Y')
    """

    directed: frozenset[tuple[Node, Node]]
    undirected: frozenset[frozenset[Node]]
    nodes: tuple[Node, ...] = field(compare=False)

    def __init__(
        self,
        directed: Iterable[tuple[Node, Node]] = (),
        undirected: Iterable[Iterable[Node]] = (),
        nodes: Iterable[Node] = (),
    ) -> None:
        lines, arrows = _pairs("undirected", undirected), _pairs("directed", directed)
        order = dict.fromkeys([*nodes, *(node for edge in lines + arrows for node in edge)])
        object.__setattr__(self, "directed", frozenset(arrows))
        object.__setattr__(self, "undirected", frozenset(map(frozenset, lines)))
        object.__setattr__(self, "nodes", tuple(order))
        both = [edge for edge in self.directed if edge[::-1] in self.directed or frozenset(edge) in self.undirected]
        if both:
            raise InputError(f"Two nodes of a PDAG share one edge at most. {both[0]!r} is listed in two ways.")


def _pairs(name: str, edges: Iterable[Iterable[Node]]) -> list[tuple[Node, ...]]:
    """Read edges, each a pair of two different nodes."""
    pairs: list[tuple[Node, ...]] = []
    for edge in edges if isinstance(edges, Iterable) else [edges]:
        pair = tuple(edge) if isinstance(edge, Iterable) else (edge,)
        if len(pair) != 2 or not all(map(_hashable, pair)) or pair[0] == pair[1]:
            raise InputError(f"`{name}` must list edges, each a pair of two different nodes. Got {edge!r}.")
        pairs.append(pair)
    return pairs


def _hashable(node: object) -> bool:
    """Tell whether something can be a node; a tuple of lists only looks so."""
    try:
        hash(node)
    except TypeError:
        return False
    return True


@dataclass(frozen=True, eq=False)
class Partial:
    """A maximally oriented PDAG on numbers: parents, children and undirected neighbours of every node."""

    graph: Graph
    parents: list[set[int]]
    children: list[set[int]]
    lines: list[set[int]]

    def adjacent(self, u: int, v: int) -> bool:
        """Tell whether an edge of any kind joins two nodes."""
        return v in self.parents[u] or v in self.children[u] or v in self.lines[u]

    def orient(self, u: int, v: int) -> None:
        """Turn an undirected edge into u -> v."""
        self.lines[u].discard(v)
        self.lines[v].discard(u)
        self.children[u].add(v)
        self.parents[v].add(u)

    def possibly_reached(self, starts: Ids) -> set[int]:
        """Possible descendants of ``starts``, themselves included."""
        return {v for _, v in self._possible_steps(starts, NOTHING)}

    def doubtful_path(self, treatment: Ids, outcome: int) -> list[int] | None:
        """A proper possibly causal path that starts with an undirected edge, if there is one.

        Behind its first edge it may be taken unshielded; no edge may point back from it to where it starts.
        """
        for x in sorted(treatment):
            path = self._possible_path(self.lines[x], outcome, treatment | self.parents[x])
            if path is not None:
                return [x, *path]
        return None

    def _possible_path(self, starts: Ids, goal: int, blocked: Ids) -> list[int] | None:
        """A shortest unshielded possibly causal path that never enters ``blocked``."""
        steps = self._possible_steps(starts, blocked)
        last = next((step for step in steps if step[1] == goal), None)
        return None if last is None else _walk_back(steps, last)

    def _possible_steps(self, starts: Ids, blocked: Ids) -> dict[_Step, _Step | None]:
        """Steps of unshielded possibly causal paths, each with the step before it, breadth first.

        An unshielded path is possibly causal exactly when none of its edges points backward, and every possibly causal
        path has an unshielded one among its nodes (Perkovic, Kalisch and Maathuis 2017, Lemmas 3.5 and 3.6).
        """
        origin: dict[_Step, _Step | None] = {(-1, v): None for v in sorted(starts - blocked)}
        queue = list(origin)
        for step in queue:
            before, at = step
            for v in sorted(self.children[at] | self.lines[at]):
                shielded = before >= 0 and (v == before or self.adjacent(before, v))
                if v not in blocked and not shielded and (at, v) not in origin:
                    origin[at, v] = step
                    queue.append((at, v))
        return origin

    def extension(self) -> Graph:
        """One DAG of the class: orient an undirected edge, draw the conclusions, and go on."""
        parents, children, lines = ([set(near) for near in side] for side in (self.parents, self.children, self.lines))
        work = Partial(self.graph, parents, children, lines)
        for u in range(len(work.lines)):
            while work.lines[u]:
                v = min(work.lines[u])
                work.orient(u, v)
                close(work, _affected(work, u, v))
        return replace(_arrows(work), lines=frozenset((u, v) for u, near in enumerate(self.lines) for v in near))


def _walk_back(origin: dict[_Step, _Step | None], last: _Step) -> list[int]:
    path, step = [last[1]], origin[last]
    while step is not None:
        path.append(step[1])
        step = origin[step]
    return path[::-1]


def read_pdag(pdag: PDAG) -> Partial:
    """Number a PDAG and orient what Meek's rules imply, refusing one that no DAG agrees with."""
    number = {node: i for i, node in enumerate(pdag.nodes)}
    size = len(number)
    parents, children, lines = ([set[int]() for _ in range(size)] for _ in range(3))
    partial = Partial(Graph(list(pdag.nodes), number, [], []), parents, children, lines)
    for tail, head in pdag.directed:
        partial.parents[number[head]].add(number[tail])
        partial.children[number[tail]].add(number[head])
    for u, v in (tuple(number[node] for node in edge) for edge in pdag.undirected):
        partial.lines[u].add(v)
        partial.lines[v].add(u)
    refuse_cycle(_arrows(partial))
    before = _colliders(partial)
    close(partial, [(u, v) for u, near in enumerate(partial.lines) for v in sorted(near) if u < v])
    extension = partial.extension()
    if find_cycle(extension) or _colliders(_as_partial(extension)) != before:
        raise InputError(
            "No DAG agrees with this PDAG: orienting its undirected edges always makes a cycle or a new unshielded "
            "collider. Check the edges."
        )
    return partial


def _arrows(partial: Partial) -> Graph:
    parents, children = ([tuple(sorted(near)) for near in side] for side in (partial.parents, partial.children))
    return Graph(partial.graph.nodes, partial.graph.number, parents, children)


def _as_partial(graph: Graph) -> Partial:
    lines: list[set[int]] = [set() for _ in graph.nodes]
    return Partial(graph, [set(p) for p in graph.parents], [set(c) for c in graph.children], lines)


def _colliders(partial: Partial) -> set[tuple[int, int, int]]:
    """Unshielded colliders a -> v <- b, a < b."""
    return {
        (a, v, b)
        for v, above in enumerate(partial.parents)
        for a in above
        for b in above
        if a < b and not partial.adjacent(a, b)
    }


def close(partial: Partial, todo: list[_Step]) -> None:
    """Orient edges by Meek's four rules, beginning with those to do, until none applies."""
    while todo:
        u, v = todo.pop()
        for tail, head in ((u, v), (v, u)):
            if head in partial.lines[tail] and _implied(partial, tail, head):
                partial.orient(tail, head)
                todo += _affected(partial, tail, head)


def _affected(partial: Partial, u: int, v: int) -> list[_Step]:
    """Undirected edges to which some rule may apply now that u -> v: those at u and v, and by rule 4 those beyond."""
    lines = partial.lines
    beyond = [(tail, head) for tail in lines[u] for head in partial.children[v] & lines[tail]]
    return [*((u, w) for w in lines[u]), *((v, w) for w in lines[v]), *beyond]


def _implied(partial: Partial, tail: int, head: int) -> bool:
    """Tell whether one of Meek's rules 1 to 4 orients tail -> head."""
    parents, children, lines = partial.parents, partial.children, partial.lines
    if any(not partial.adjacent(w, head) for w in parents[tail]):  # w -> tail -- head
        return True
    if children[tail] & parents[head]:  # tail -> w -> head
        return True
    sides = sorted(lines[tail] & parents[head])  # tail -- w -> head, twice, the two w not adjacent
    if any(not partial.adjacent(w, z) for i, w in enumerate(sides) for z in sides[i + 1 :]):
        return True
    return any(  # tail -- w -> z -> head, tail adjacent to z, w and head not adjacent
        partial.adjacent(tail, z) and not partial.adjacent(w, head)
        for z in parents[head]
        for w in parents[z] & lines[tail]
    )
