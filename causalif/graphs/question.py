"""The question that a search answers, checked once and put into numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import Any, Protocol

from causalif._errors import InputError
from causalif.graphs.dag import Graph, Ids, Node, closure, read_nodes


@dataclass(frozen=True, eq=False)
class Question:
    """Treatments, outcome and the nodes that a set may, must and must not hold."""

    graph: Graph
    treatment: Ids
    outcome: int
    observed: Ids
    required: Ids
    excluded: Ids
    costs: Mapping[int, Fraction]

    @property
    def usable(self) -> set[int]:
        """Observed nodes that the caller does not forbid, besides treatments and outcome."""
        return set(self.observed - self.excluded - self.treatment - {self.outcome})

    def cost(self, nodes: Iterable[int]) -> Fraction:
        """Total cost of nodes, 1 each by default."""
        return sum((self.costs.get(v, Fraction(1)) for v in nodes), Fraction(0))


@dataclass(frozen=True)
class Failure:
    """Why a set is refused: the clause, the sentence, and the nodes of the path that shows it."""

    clause: str
    text: str
    path: list[int] | None = None


class Search(Protocol):
    """What the searches for the two effects have in common; sets are sets of numbers."""

    @property
    def question(self) -> Question:
        """The question asked."""

    @property
    def optimal(self) -> frozenset[int]:
        """The best set known."""

    @property
    def proved(self) -> bool:
        """Whether no valid set can have a smaller asymptotic variance."""

    @property
    def minimal(self) -> frozenset[int]:
        """A valid set without a valid proper subset."""

    @property
    def cheapest(self) -> frozenset[int]:
        """The valid set of least cost."""

    @property
    def mediators(self) -> Ids:
        """Nodes that enter the estimand as mediators."""

    def all(self) -> Iterator[frozenset[int]]:
        """Valid sets, one by one."""

    def used(self, nodes: Ids) -> tuple[Ids, ...]:
        """The parts of a valid set that regression and weights depend on; equal for sets with equal influence."""

    def failure(self, nodes: Ids) -> Failure | None:
        """Why the graph refuses a set of observed nodes; None when it is valid."""

    def forbidden(self, node: int) -> Failure | None:
        """Why the graph refuses every set with this node; None when it does not."""


def constraint(question: Question, nodes: Ids) -> Failure | None:
    """Why a set breaks the terms of the question, whatever the graph says."""
    listed = question.graph.listed
    if ends := nodes & (question.treatment | {question.outcome}):
        return Failure("treatment or outcome", f"{listed(ends)} is the treatment or the outcome itself.")
    if latent := nodes - question.observed:
        return Failure("latent", f"{listed(latent)} is not observed.")
    if banned := nodes & question.excluded:
        return Failure("excluded", f"{listed(banned)} is in `forbidden`.")
    if missing := question.required - nodes:
        return Failure("required", f"{listed(missing)} is in `required` and missing here.")
    return None


def read_terms(
    graph: Graph, treatment: Ids, outcome: int, observed: Any, required: Any, forbidden: Any, costs: Any
) -> Question:
    """Check what a set may, must and must not hold."""
    ends = treatment | {outcome}
    seen = read_nodes(graph, observed, "observed") | ends
    must, banned = read_nodes(graph, required, "required"), read_nodes(graph, forbidden, "forbidden")
    for name, wrong, why in [
        ("required", must & ends, "is the treatment or the outcome"),
        ("required", must & banned, "is in `forbidden` as well"),
        ("required", must - seen, "is not in `observed`"),
    ]:
        if wrong:
            raise InputError(f"`{name}` must hold nodes that can be adjusted for. {graph.listed(wrong)} {why}.")
    return Question(graph, treatment, outcome, seen, must, banned, read_costs(graph, costs))


def read_costs(graph: Graph, costs: Mapping[Node, float] | None) -> dict[int, Fraction]:
    """Read costs as exact decimal fractions."""
    if costs is None:
        return {}
    if not isinstance(costs, Mapping):
        raise InputError(f"`costs` must map nodes to positive numbers. Got a {type(costs).__name__} instead.")
    read_nodes(graph, list(costs), "costs")
    return {graph.number[node]: _cost(node, cost) for node, cost in costs.items()}


def _cost(node: Node, cost: Any) -> Fraction:
    number = isinstance(cost, Real) and not isinstance(cost, bool)
    if not number or not math.isfinite(cost) or cost <= 0:
        raise InputError(
            f"`costs` must be positive finite numbers. Got {cost!r} for {node!r}. Put an unobserved node outside "
            "`observed`, an unwanted one into `forbidden`; for a free one give a small positive cost."
        )
    return Fraction(cost) if isinstance(cost, (int, Fraction)) else Fraction(repr(float(cost)))


def refuse_no_effect(question: Question) -> None:
    """Raise when no directed path leads from the treatments to the outcome, or one leads back."""
    graph = question.graph
    late = question.treatment & closure([question.outcome], graph.children)
    if late and question.treatment - late:
        raise InputError(
            f"`treatment` must not descend from `outcome`. {graph.listed(late)} does; it cannot act on "
            f"{graph.listed({question.outcome})}, so leave it out."
        )
    if question.treatment.isdisjoint(closure([question.outcome], graph.parents)):
        raise InputError(
            f"`treatment` must be an ancestor of `outcome`. By this graph {graph.listed(question.treatment)} does not "
            f"act on {graph.listed({question.outcome})}: the effect is exactly zero. Check the direction of the edges."
        )
