"""Separators of two sets of nodes that are closest to the outcome, minimal, or cheapest.

All of it happens in the moral graph of the ancestors, which is walked on the DAG itself: a node's neighbours are its
parents, its children and its children's other parents. No clique is ever built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import lcm

import networkx as nx

from causalif.graphs.dag import NOTHING, Graph, Ids, closure
from causalif.graphs.separation import open_path


@dataclass(frozen=True, eq=False)
class Separators:
    """Sets of allowed nodes, all the required ones among them, that d-separate ``sources`` from ``outcome``.

    ``allowed`` may hold nodes of any place; neither it nor ``required`` may meet the sources or the outcome.
    """

    graph: Graph
    sources: Ids
    outcome: int
    allowed: Ids
    required: Ids = NOTHING

    @cached_property
    def inside(self) -> set[int]:
        """Ancestors of sources, outcome and required nodes."""
        return closure({*self.sources, self.outcome, *self.required}, self.graph.parents)

    @cached_property
    def near(self) -> set[int]:
        """Allowed nodes, and sources, met on walks from the outcome through nodes that are not allowed."""
        return self._walk({self.outcome}, self.allowed | self.sources)

    @property
    def exist(self) -> bool:
        """Whether any separator exists."""
        return self.near.isdisjoint(self.sources)

    @cached_property
    def closest(self) -> frozenset[int]:
        """The separator closest to the outcome."""
        return frozenset(self.near | self.required)

    @cached_property
    def minimal(self) -> frozenset[int]:
        """Those of the closest separator that sources reach without walking through it."""
        return frozenset(self._walk(self.sources, self.near) | self.required)

    def _walk(self, starts: Ids, stop: Ids) -> set[int]:
        """Nodes of ``stop`` met first on walks from ``starts``; required nodes are conditioned on, hence no way."""
        parents, children, inside = self.graph.parents, self.graph.children, self.inside
        seen = {*starts, *self.required}
        expanded: set[int] = set()
        stack, found = list(starts), set()
        while stack:
            u = stack.pop()
            around = list(parents[u])
            for c in children[u]:
                if c in inside and c not in expanded:
                    expanded.add(c)
                    around.append(c)
                    around += parents[c]
            for v in around:
                if v not in seen:
                    seen.add(v)
                    if v in stop:
                        found.add(v)
                    else:
                        stack.append(v)
        return found

    def witness(self) -> list[int]:
        """A path that stays open given every usable ancestor; only where no separator exists."""
        usable = frozenset((self.allowed & self.inside) | self.required)
        path = open_path(self.graph, self.sources, {self.outcome}, usable)
        assert path is not None, "the walk and the path search disagree"
        return path

    def all(self) -> Iterator[frozenset[int]]:
        """Every separator, none twice, a minimal one first; linear time per allowed node between two of them.

        Each step decides one node, leaving it out first, and goes on only where a separator remains.
        """
        if not self.exist:
            return
        order = [*sorted(self.allowed - self.required - self.near), *sorted(self.near - self.required)]
        todo = [(0, self)]
        while todo:
            depth, some = todo.pop()
            if depth == len(order):
                yield frozenset(some.required)
                continue
            node = frozenset({order[depth]})
            branches = [replace(some, allowed=some.allowed - node, required=some.required | node),
                        replace(some, allowed=some.allowed - node)]  # fmt: skip
            todo += [(depth + 1, branch) for branch in branches if branch.exist]

    def cheapest(self, costs: Mapping[int, Fraction]) -> frozenset[int]:
        """The separator of least total cost; among several, the one closest to the outcome."""
        if not self.near:
            return frozenset(self.required)
        flow = _network(self, _whole(costs, self.allowed & self.inside))
        residual = nx.algorithms.flow.dinitz(flow, "source", _inner(self.outcome))
        beyond = _still_reaching(residual, _inner(self.outcome))
        cut = {v for v in self.allowed & self.inside if _outer(v) in beyond and _inner(v) not in beyond}
        return frozenset(cut | self.required)


def _inner(v: int) -> tuple[str, int]:
    return "in", v


def _outer(v: int) -> tuple[str, int]:
    return "out", v


def _whole(costs: Mapping[int, Fraction], nodes: Ids) -> dict[int, int]:
    """Costs as whole numbers, exactly: a flow on fractions of two would break ties by rounding."""
    exact = {v: costs.get(v, Fraction(1)) for v in nodes}
    scale = lcm(*(cost.denominator for cost in exact.values()))
    return {v: int(cost * scale) for v, cost in exact.items()}


def _network(some: Separators, capacity: Mapping[int, int]) -> nx.DiGraph:
    """The moral graph as a flow network: every node split in two, every family joined through one hub."""
    flow = nx.DiGraph()
    nodes = some.inside - some.required
    for v in nodes:
        limit = {"capacity": capacity[v]} if v in capacity and v in some.allowed else {}
        flow.add_edge(_inner(v), _outer(v), **limit)
    flow.add_edges_from(("source", _outer(x)) for x in some.sources)
    for child in some.inside:
        for v in {child, *some.graph.parents[child]} & nodes:
            flow.add_edge(_outer(v), ("family", child))
            flow.add_edge(("family", child), _inner(v))
    return flow


def _still_reaching(residual: nx.DiGraph, sink: tuple[str, int]) -> set[object]:
    """Nodes from which more could flow to the sink."""
    seen: set[object] = {sink}
    stack: list[object] = [sink]
    while stack:
        head = stack.pop()
        for tail in residual.predecessors(head):
            edge = residual[tail][head]
            if tail not in seen and edge["flow"] < edge["capacity"]:
                seen.add(tail)
                stack.append(tail)
    return seen
