"""Adjustment sets for the total effect: the search behind ``adjustment_sets(effect="total")``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from causalif._errors import InputError, NotIdentifiedError
from causalif.graphs.dag import NOTHING, Graph, Ids, causal_between, closure, directed_path
from causalif.graphs.moral import Separators
from causalif.graphs.question import Failure, Question
from causalif.graphs.separation import open_path, touched


@dataclass(frozen=True, eq=False)
class TotalSearch:
    """Sets that meet the adjustment criterion: no forbidden node, and separation in the proper back-door graph.

    References: Perkovic et al. (2018) for validity, van der Zander et al. (2019) for the linear search, Rotnitzky and
    Smucler (2020) and Smucler, Sapienza and Rotnitzky (2022) for what is optimal.
    """

    question: Question

    @cached_property
    def between(self) -> set[int]:
        """Nodes on proper causal paths, cn(X, Y)."""
        return causal_between(self.question.graph, self.question.treatment, self.question.outcome)

    @cached_property
    def banned(self) -> Ids:
        """Nodes that no valid set holds, Forb(X, Y)."""
        return closure(self.between, self.question.graph.children) | self.question.treatment

    @cached_property
    def backdoor(self) -> Graph:
        """The proper back-door graph."""
        return self.question.graph.without(self.question.treatment, self.between)

    @cached_property
    def separators(self) -> Separators:
        """The separators that are valid sets."""
        q = self.question
        return Separators(self.backdoor, q.treatment, q.outcome, q.usable - self.banned, q.required)

    @property
    def mediators(self) -> Ids:
        """None: the total effect holds nothing fixed."""
        return NOTHING

    @property
    def optimal(self) -> frozenset[int]:
        """The valid set closest to the outcome."""
        return self.separators.closest

    @cached_property
    def proved(self) -> bool:
        """All parents of causal nodes are usable, or everything usable is an ancestor of treatment or outcome."""
        q, usable = self.question, self.separators.allowed | self.question.required
        best = {p for v in self.between for p in q.graph.parents[v]} - self.banned
        return best <= usable or usable <= closure({*q.treatment, q.outcome}, q.graph.parents)

    @property
    def minimal(self) -> frozenset[int]:
        """The minimal set closest to the outcome."""
        return self.separators.minimal

    @cached_property
    def cheapest(self) -> frozenset[int]:
        """The least-cost cut closest to the outcome."""
        return self.separators.cheapest(self.question.costs)

    def all(self) -> Iterator[frozenset[int]]:
        """Every valid set."""
        return self.separators.all()

    def used(self, nodes: Ids) -> tuple[Ids, ...]:
        """What E[Y | a, z] and p(a | z) depend on."""
        graph, x, y = self.question.graph, self.question.treatment, self.question.outcome
        return touched(graph, {y}, nodes | x) & nodes, touched(graph, x, nodes) & nodes

    def failure(self, nodes: Ids) -> Failure | None:
        """A forbidden node, or an open back-door path."""
        for node in sorted(nodes & self.banned):
            return self.forbidden(node)
        path = open_path(self.backdoor, self.question.treatment, {self.question.outcome}, nodes)
        if path is None:
            return None
        return Failure("open path", f"The path {self.question.graph.arrows(path)} is open given this set.", path)

    def forbidden(self, node: int) -> Failure | None:
        """A causal path to the node, or to the causal node that it descends from."""
        if node not in self.banned:
            return None
        graph, name = self.question.graph, self.question.graph.nodes[node]
        x = self.question.treatment
        tail = directed_path(graph.parents, [node], self.between | x) or [node]
        causal = tail[-1]
        head = directed_path(graph.parents, [causal], x) or []
        if node in self.between:
            onward = directed_path(graph.children, [node], {self.question.outcome}, x) or []
            path, place = [*head[::-1], *onward[1:]], "lies on a causal path"
        else:
            path, place = [*head[::-1], *tail[-2::-1]], f"descends from {graph.nodes[causal]!r}, a causal node"
        return Failure("forbidden", f"{name!r} {place}: {graph.arrows(path)}.", path)


def search_total(question: Question) -> TotalSearch:
    """Start a search, or raise with an open path when no valid set exists."""
    search = TotalSearch(question)
    for node in sorted(question.required & search.banned):
        failure = search.forbidden(node)
        raise InputError(f"`required` must hold nodes that can be adjusted for. {failure.text if failure else ''}")
    if not search.separators.exist:
        raise _not_identified(search)
    return search


def _not_identified(search: TotalSearch) -> NotIdentifiedError:
    """The error with an open path and a smallest set of nodes whose observation would mend it."""
    question, graph = search.question, search.question.graph
    path = search.separators.witness()
    wider = set(range(len(graph.nodes))) - search.banned - {question.outcome}
    ideal = replace(search.separators, allowed=wider)
    text = (
        f"No set of observed nodes identifies the total effect of {graph.listed(question.treatment)} on "
        f"{graph.listed({question.outcome})} by adjustment: the path {graph.arrows(path)} stays open."
    )
    if not ideal.exist:
        return NotIdentifiedError(
            f"{text} No set would do even if every node were observed: the path runs through causal descendants of a "
            "treatment, which must not be adjusted for. Such effects need a sequential adjustment.",
            graph.path(path),
        )
    known = Fraction(1, len(graph.nodes) + 1)
    missing = ideal.cheapest(dict.fromkeys(question.usable, known)) - question.usable - question.required
    return NotIdentifiedError(f"{text} {advice(question, missing)}", graph.path(path))


def advice(question: Question, missing: Ids) -> str:
    """Say which nodes to measure, and which to take out of ``forbidden``."""
    latent, banned = missing - question.observed, missing & question.observed
    parts = [f"Measure {question.graph.listed(latent)}." if latent else ""]
    parts += [f"Take {question.graph.listed(banned)} out of `forbidden`." if banned else ""]
    return " ".join(filter(None, parts))
