"""Controlled direct effects in two steps: covariates first, then confounders that the treatment itself affects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import networkx as nx

from causalif._errors import InputError, NotIdentifiedError
from causalif.graphs.dag import Graph, Ids, Node, closure, read_graph, read_nodes
from causalif.graphs.paths import mediators_between, read_question
from causalif.graphs.separation import open_path
from causalif.graphs.wcde_sets import FEW, subsets


@dataclass(frozen=True, eq=False)
class SequentialSets:
    """The answer of :func:`sequential_sets`.

    Parameters
    ----------
    treatment, outcome : node
        As asked.
    mediators : frozenset of nodes
        The mediators that act on the outcome directly; they are held fixed jointly.
    covariates : frozenset of nodes
        C: not affected by the treatment.
    intermediate : frozenset of nodes
        L: affected by the treatment, not by the mediators.
    zero_by_graph : bool
        Whether the graph has no arrow from treatment to outcome.
    dag : networkx.DiGraph
        The caller's graph.

    Examples
    --------
    >>> from causalif.graphs import parse_dag
    >>> dag = parse_dag("C -> {A Y}; A -> L -> M -> Y; A -> Y; L <- U -> Y")
    >>> sets = sequential_sets(dag, "A", "Y", observed=list("CALMY"))
    >>> sorted(sets.mediators), sorted(sets.covariates), sorted(sets.intermediate)
    (['M'], ['C'], ['L'])
    """

    treatment: Node
    outcome: Node
    mediators: frozenset[Node]
    covariates: frozenset[Node]
    intermediate: frozenset[Node]
    zero_by_graph: bool
    dag: nx.DiGraph = field(repr=False)

    def __str__(self) -> str:
        return "\n".join(
            [
                f"Sequential adjustment for the weighted controlled direct effect of {self.treatment!r} on "
                f"{self.outcome!r}",
                f"  mediators held fixed jointly, by their marginal law: {_listed(self.mediators)}",
                f"  covariates: {_listed(self.covariates)}",
                f"  confounders that the treatment affects: {_listed(self.intermediate)}",
            ]
        )


def sequential_sets(
    dag: nx.DiGraph, treatment: Node, outcome: Node, observed: Iterable[Node] | None = None
) -> SequentialSets:
    r"""Find covariates C and affected confounders L that identify a controlled direct effect in two steps.

    With m the mediators among the parents of the outcome,

    .. math:: E[Y(a, m)] = \sum_c p(c) \sum_l p(l | a, c) E[Y | a, m, l, c]

    holds if C and L are not affected by what comes after them, C blocks the back-door paths from treatment to outcome
    while m is held fixed, and A, C, L block those from the mediators to the outcome.

    Parameters
    ----------
    dag : networkx.DiGraph
        The causal graph; not changed.
    treatment, outcome : node
        One node each.
    observed : iterable of nodes, optional
        The measured nodes; by default all but those with the attribute ``latent=True``.

    Returns
    -------
    SequentialSets
        From which nothing can be left out that neither is needed nor tells of the outcome.

    Raises
    ------
    NotIdentifiedError
        If no such sets are found.
    InputError
        If the graph has a cycle or a node is unknown.

    Notes
    -----
    Two steps only: a confounder that one mediator affects and another does not would need a third. All covariate sets
    are tried where at most 12 nodes may be used, else the largest.

    References
    ----------
    Pearl and Robins (1995), Probabilistic evaluation of sequential plans from causal models with hidden variables, UAI.

    Examples
    --------
    >>> from causalif.graphs import parse_dag
    >>> dag = parse_dag("C -> {A Y}; A -> L -> M -> Y; A -> Y; L <- U -> Y")
    >>> print(sequential_sets(dag, "A", "Y", observed=list("CALMY")))
    Sequential adjustment for the weighted controlled direct effect of 'A' on 'Y'
      mediators held fixed jointly, by their marginal law: 'M'
      covariates: 'C'
      confounders that the treatment affects: 'L'
    """
    graph = read_graph(dag)
    x, y = read_question(graph, treatment, outcome)
    if len(x) != 1:
        raise InputError(f"`treatment` must be one node. Got {len(x)}.")
    seen = [v for v, marks in dag.nodes(data=True) if not marks.get("latent")] if observed is None else observed
    search = TwoSteps.of(graph, next(iter(x)), y, read_nodes(graph, seen, "observed"))
    found = search.best()
    if found is None:
        raise NotIdentifiedError(
            f"No covariates and affected confounders were found that identify the controlled direct effect of "
            f"{treatment!r} on {outcome!r} in two steps. Add measured common causes of treatment, mediators and "
            "outcome to `observed`, if there are any."
        )
    covariates, intermediate = found
    return SequentialSets(
        graph.nodes[search.treatment],
        graph.nodes[y],
        graph.names(search.held),
        graph.names(covariates),
        graph.names(intermediate),
        search.treatment not in graph.parents[y],
        dag,
    )


@dataclass(frozen=True, eq=False)
class TwoSteps:
    """The search; ``early`` and ``late`` are the nodes that C and L may hold."""

    graph: Graph
    treatment: int
    outcome: int
    held: frozenset[int]
    early: frozenset[int]
    late: frozenset[int]
    complete: bool

    @classmethod
    def of(cls, graph: Graph, treatment: int, outcome: int, observed: Ids) -> TwoSteps:
        """Divide the observed nodes into those before the treatment and those between treatment and mediators."""
        held = frozenset(graph.parents[outcome]) & mediators_between(graph, {treatment}, outcome)
        after, last = closure([treatment], graph.children), closure(held, graph.children)
        usable = observed - {treatment, outcome}
        early, late = frozenset(usable - after), frozenset(usable & after - last)
        return cls(graph, treatment, outcome, held, early, late, bool(held) and held <= observed)

    def valid(self, covariates: Ids, intermediate: Ids) -> bool:
        """Tell whether both steps are free of confounding."""
        return self._first(covariates) and self._second(covariates, intermediate)

    def _first(self, covariates: Ids) -> bool:
        cut = self.graph.without(heads=self.held).without(tails={self.treatment})
        return open_path(cut, {self.treatment}, {self.outcome}, covariates) is None

    def _second(self, covariates: Ids, intermediate: Ids) -> bool:
        given = covariates | intermediate | {self.treatment}
        return open_path(self.graph.without(tails=self.held), self.held, {self.outcome}, given) is None

    def _largest(self, covariates: Ids) -> frozenset[int]:
        """The affected confounders to try: if any set will do, so do all ancestors of what the step is about."""
        cut = self.graph.without(tails=self.held)
        return self.late & closure(self.held | covariates | {self.treatment, self.outcome}, cut.parents)

    def best(self) -> tuple[frozenset[int], frozenset[int]] | None:
        """The first valid pair, pruned."""
        if not self.complete:
            return None
        for covariates in self._covariates():
            late = self._largest(covariates)
            if self.valid(covariates, late):
                return self._pruned(covariates, late)
        return None

    def _covariates(self) -> Iterator[frozenset[int]]:
        """Ancestors of treatment, mediators and outcome first, then all sets where these are few."""
        yield self.early & closure(self.held | {self.treatment, self.outcome}, self.graph.parents)
        if len(self.early) <= FEW:
            yield from map(frozenset, subsets(sorted(self.early)))

    def _pruned(self, covariates: frozenset[int], late: frozenset[int]) -> tuple[frozenset[int], frozenset[int]]:
        """Leave out, one by one, what is not needed and tells neither of the outcome nor of what is kept in L."""
        for node in sorted(covariates | late):
            c, kept = covariates - {node}, late - {node}
            rest = {self.treatment} | c
            silent = open_path(self.graph, {node}, {self.outcome}, rest | self.held | kept) is None
            if silent and node in covariates:
                silent = open_path(self.graph, {node}, kept, rest) is None
            if silent and self.valid(c, kept):
                return self._pruned(c, kept)
        return covariates, late


def _listed(nodes: Iterable[Node]) -> str:
    return ", ".join(sorted(map(repr, nodes))) or "none"
