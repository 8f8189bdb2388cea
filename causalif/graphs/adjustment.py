"""Which variables to adjust for: the question a user asks, and the answer object."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx

from causalif._errors import InputError
from causalif._validate import one_of, whole_number
from causalif.graphs.dag import Graph, Node, read_graph, read_nodes
from causalif.graphs.draw import draw_graph
from causalif.graphs.explain import Explanation, Verdict, describe, judge
from causalif.graphs.paths import read_question
from causalif.graphs.pdag import PDAG
from causalif.graphs.pdag_effects import one_dag_for_direct, one_dag_for_total
from causalif.graphs.question import Search, constraint, read_terms, refuse_no_effect
from causalif.graphs.total import search_total
from causalif.graphs.wcde_sets import search_wcde

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def adjustment_sets(
    dag: nx.DiGraph | PDAG,
    treatment: Node | Iterable[Node],
    outcome: Node,
    effect: Literal["total", "wcde"] = "total",
    observed: Iterable[Node] | None = None,
    costs: Mapping[Node, float] | None = None,
    required: Node | Iterable[Node] = (),
    forbidden: Node | Iterable[Node] = (),
) -> AdjustmentSets:
    r"""Search a causal graph for the sets of variables that identify an effect when adjusted for.

    For the total effect, Z is valid when :math:`E[Y(a)] = \sum_z E[Y | a, z] p(z)` in every law of the graph. For the
    weighted controlled direct effect, Z consists of mediators Z1 and covariates Z2, and is valid when
    :math:`\sum_{m} E[Y(a, m)] p(m) = \sum_{z_1, z_2} E[Y | a, z_1, z_2] p(z_1) p(z_2)`, where m are the mediators
    among the parents of the outcome, at every level a.

    Parameters
    ----------
    dag : networkx.DiGraph or PDAG
        The causal graph, with nodes of any hashable type; it is not changed.
    treatment : node or iterable of nodes
        Several nodes are a joint intervention. Something hashable that is itself a node is taken as that node.
    outcome : node
        A descendant of the treatment.
    effect : {"total", "wcde"}, default "total"
        The total effect, or the weighted controlled direct effect.
    observed : iterable of nodes, optional
        The measured nodes; the others are latent. Treatment and outcome always count as observed. By default all nodes
        but those with the attribute ``latent=True``.
    costs : mapping of node to positive number, optional
        What measuring a node costs, 1 where not given; for ``minimum_cost`` only.
    required, forbidden : node or iterable of nodes, default ()
        Nodes that every set, or no set, is to hold.

    Returns
    -------
    AdjustmentSets

    Raises
    ------
    NotIdentifiedError
        If no set exists; its ``witness`` is a path that stays open, its message says what to measure.
    InputError
        If the graph has a cycle, a node is unknown, roles overlap, a required node may not be adjusted for, or the
        treatment does not act on the outcome.

    Notes
    -----
    The graph must hold all common causes of its nodes. Time and memory grow with nodes plus edges; only
    ``minimum_cost`` needs a maximum flow. For a :class:`PDAG` the answer holds for every DAG it stands for; where that
    is impossible the error names an edge to orient.

    References
    ----------
    Perkovic, Textor, Kalisch and Maathuis (2018), JMLR 18; van der Zander, Liskiewicz and Textor (2019), Artificial
    Intelligence 270; Rotnitzky and Smucler (2020), JMLR 21; Henckel, Perkovic and Maathuis (2022), JRSS-B 84; Lin, Guo
    and Gan (2025), NeurIPS, for the weighted controlled direct effect.

    Examples
    --------
    >>> from causalif.graphs import parse_dag
    >>> dag = parse_dag("C -> {A Y}; A -> M -> Y; A -> Y; W -> Y; V -> A")
    >>> sets = adjustment_sets(dag, "A", "Y")
    >>> print(sets)
    Adjustment sets for the total effect of 'A' on 'Y'
      optimal: 'C', 'W' (proved: no valid set is more precise)
      minimal: 'C'
    >>> sets.is_valid({"C", "V"}), sets.is_valid({"M"})
    (True, False)
    >>> print(sets.why_not({"C", "M"}))
    'M' lies on a causal path: A -> M -> Y.
    >>> print(sets.explain("C"))
    'C' is needed. Without it: The path A <- C -> Y is open given this set.
    >>> sets.explain("W").role, sets.explain("V").role
    ('precision', 'inflates the weights')
    >>> direct = adjustment_sets(dag, "A", "Y", effect="wcde")
    >>> sorted(direct.mediators), sorted(direct.covariates)
    (['M'], ['C', 'W'])
    """
    one_of("effect", effect, ("total", "wcde"))
    if isinstance(dag, PDAG):
        bridge = one_dag_for_total if effect == "total" else one_dag_for_direct
        graph = bridge(dag, treatment, outcome)
        seen: Any = graph.nodes if observed is None else observed
    else:
        graph = read_graph(dag)
        seen = [v for v, marks in dag.nodes(data=True) if not marks.get("latent")] if observed is None else observed
    x, y = read_question(graph, treatment, outcome)
    question = read_terms(graph, x, y, seen, required, forbidden, costs)
    refuse_no_effect(question)
    search: Search = search_total(question) if effect == "total" else search_wcde(question)
    return AdjustmentSets(graph.names(x), graph.nodes[y], effect, dag, search)


@dataclass(frozen=True, eq=False, repr=False)
class AdjustmentSets:
    """The answer of :func:`adjustment_sets`; each set is worked out when it is first asked for.

    Parameters
    ----------
    treatment : frozenset of nodes
        The treatments.
    outcome : node
        The outcome.
    effect : {"total", "wcde"}
        The effect that the sets identify.
    dag : networkx.DiGraph or PDAG
        The caller's graph.

    Notes
    -----
    Made by :func:`adjustment_sets`. Equality is identity; the graph must not be changed while the object is in use.

    Examples
    --------
    >>> from causalif.graphs import parse_dag
    >>> sets = adjustment_sets(parse_dag("C -> {A Y}; A -> M -> Y; W -> Y"), "A", "Y")
    >>> sorted(sets.optimal), sets.optimality, sorted(sets.minimal), sorted(sets.minimum_cost)
    (['C', 'W'], 'proved', ['C'], ['C'])
    """

    treatment: frozenset[Node]
    outcome: Node
    effect: Literal["total", "wcde"]
    dag: nx.DiGraph | PDAG
    _search: Search

    @property
    def _graph(self) -> Graph:
        return self._search.question.graph

    @cached_property
    def optimal(self) -> frozenset[Node]:
        """The valid set with the smallest asymptotic variance where that is known, else the best set known.

        See ``optimality``. It is optimal among adjustment sets, not among all estimators.
        """
        return self._graph.names(self._search.optimal)

    @property
    def optimality(self) -> Literal["proved", "not guaranteed"]:
        """Whether it is proved, for every law of the graph, that no valid set is more precise than ``optimal``."""
        return "proved" if self._search.proved else "not guaranteed"

    @cached_property
    def minimal(self) -> frozenset[Node]:
        """A valid set from which nothing but required nodes can be left out.

        For the total effect it is the most precise of these sets, in every law. For the weighted controlled direct
        effect no such claim is made; and if nodes are required, or a mediator that acts on the outcome is latent, and
        more than 12 nodes may be used, only no single node can be left out.
        """
        return self._graph.names(self._search.minimal)

    @cached_property
    def minimum_cost(self) -> frozenset[Node]:
        """The valid set of least total cost; for the total effect, the most precise of these.

        For the weighted controlled direct effect the search covers all sets when at most 12 nodes may be used, else
        the sets built on the mediators that are parents of the outcome.
        """
        return self._graph.names(self._search.cheapest)

    @property
    def mediators(self) -> frozenset[Node]:
        """Mediators in ``optimal``, whose joint law is p(z1); empty for the total effect."""
        return self.split(self.optimal)[0]

    @property
    def covariates(self) -> frozenset[Node]:
        """The other members of ``optimal``, whose joint law is p(z2)."""
        return self.split(self.optimal)[1]

    @property
    def zero_by_graph(self) -> bool:
        """Whether the effect is zero in every law, the graph having no arrow from treatment to outcome (wcde only)."""
        graph, question = self._graph, self._search.question
        return self.effect == "wcde" and question.treatment.isdisjoint(graph.parents[question.outcome])

    def split(self, nodes: Node | Iterable[Node]) -> tuple[frozenset[Node], frozenset[Node]]:
        """Divide a set into mediators, which the weighted controlled direct effect holds fixed, and covariates.

        Parameters
        ----------
        nodes : node or iterable of nodes
            Any nodes of the graph.

        Returns
        -------
        (frozenset, frozenset)
            Mediators (none for the total effect) and the rest.

        Raises
        ------
        InputError
            If a node is unknown.

        Examples
        --------
        >>> from causalif.graphs import parse_dag
        >>> adjustment_sets(parse_dag("A -> M -> Y; {A C} -> Y"), "A", "Y", "wcde").split(["M", "C"])
        (frozenset({'M'}), frozenset({'C'}))
        """
        ids = read_nodes(self._graph, nodes, "nodes")
        return self._graph.names(ids & self._search.mediators), self._graph.names(ids - self._search.mediators)

    def valid(self, limit: int | None = None) -> Iterator[frozenset[Node]]:
        """Yield valid sets lazily.

        Parameters
        ----------
        limit : int, optional
            Stop after this many. There can be 2 to the number of nodes: ask for as many as are needed.

        Yields
        ------
        frozenset of nodes
            For the total effect all valid sets, ``minimal`` first, in linear time per node between two of them. For
            the weighted controlled direct effect all, small ones first, when at most 15 nodes may be used; else those
            with the mediators of ``optimal``.

        Raises
        ------
        InputError
            If ``limit`` is not a positive whole number.

        Examples
        --------
        >>> from causalif.graphs import parse_dag
        >>> sets = adjustment_sets(parse_dag("C -> {A Y}; A -> Y; W -> Y"), "A", "Y")
        >>> [sorted(nodes) for nodes in sets.valid(limit=2)]
        [['C'], ['C', 'W']]
        """
        found = islice(self._search.all(), None if limit is None else whole_number("limit", limit, 1))
        return (self._graph.names(nodes) for nodes in found)

    def is_valid(self, nodes: Node | Iterable[Node]) -> bool:
        """Tell whether a set identifies the effect and keeps to ``observed``, ``required`` and ``forbidden``.

        Parameters
        ----------
        nodes : node or iterable of nodes
            The set to try.

        Returns
        -------
        bool
            For the total effect exact. For the weighted controlled direct effect True is a proof; the tests behind it
            are sufficient, so that False may in principle refuse a valid set (none of 100,000 was, in random graphs of
            up to seven nodes).

        Raises
        ------
        InputError
            If a node is unknown.

        Notes
        -----
        Time grows with nodes plus edges.
        """
        ids = read_nodes(self._graph, nodes, "nodes")
        return constraint(self._search.question, ids) is None and self._search.failure(ids) is None

    def why_not(self, nodes: Node | Iterable[Node]) -> Verdict:
        """Say which condition a set fails, with the path that shows it.

        Parameters
        ----------
        nodes : node or iterable of nodes
            The set to try.

        Returns
        -------
        Verdict
            With ``valid``, ``clause``, ``path``; its text is the sentence.

        Raises
        ------
        InputError
            If a node is unknown.

        Examples
        --------
        >>> from causalif.graphs import parse_dag
        >>> sets = adjustment_sets(parse_dag("C -> {A Y}; A -> Y; P -> {A K}; Q -> {K Y}"), "A", "Y")
        >>> sets.why_not({"C", "K"}).path
        ('A', 'P', 'K', 'Q', 'Y')
        """
        return judge(self._search, frozenset(read_nodes(self._graph, nodes, "nodes")))

    def alike(self, first: Node | Iterable[Node], second: Node | Iterable[Node]) -> bool:
        """Tell whether two valid sets have the same influence function in every law of the graph.

        Estimates that adjust for such sets differ by chance errors of their regressions only, so nothing can be learnt
        from a difference between them.

        Parameters
        ----------
        first, second : node or iterable of nodes
            Two valid sets.

        Returns
        -------
        bool
            Whether outcome regression and weights depend on the same members of both sets.

        Raises
        ------
        InputError
            If one of the sets is not valid.

        Examples
        --------
        >>> from causalif.graphs import parse_dag
        >>> sets = adjustment_sets(parse_dag("C -> {A Y}; A -> Y; W -> Y; I -> C"), "A", "Y")
        >>> sets.alike({"C"}, {"C", "I"}), sets.alike({"C"}, {"C", "W"})
        (True, False)
        """
        parts = []
        for name, nodes in (("first", first), ("second", second)):
            ids = frozenset(read_nodes(self._graph, nodes, name))
            verdict = judge(self._search, ids)
            if not verdict:
                raise InputError(f"`{name}` must be a valid set. {verdict}")
            parts.append(self._search.used(ids))
        return parts[0] == parts[1]

    def explain(self, node: Node) -> Explanation:
        """Say what a node does in ``optimal``, or why it is not there.

        Parameters
        ----------
        node : node
            Any node of the graph.

        Returns
        -------
        Explanation
            With ``role`` and ``path``; its text is the sentence.

        Raises
        ------
        InputError
            If a node is unknown.

        Examples
        --------
        >>> from causalif.graphs import parse_dag
        >>> sets = adjustment_sets(parse_dag("C -> {A Y}; A -> M -> Y; M -> D"), "A", "Y")
        >>> print(sets.explain("D"))
        'D' descends from 'M', a causal node: A -> M -> D. Adjusting for it would bias the estimate.
        """
        return describe(self._search, read_nodes(self._graph, [node], "node").pop())

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the graph with treatment, outcome, the optimal set and latent nodes marked.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Drawn into; a new figure by default.

        Returns
        -------
        Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed (``pip install causalif[plot]``).
        """
        question, graph = self._search.question, self._graph
        latent = graph.names(set(range(len(graph.nodes))) - question.observed)
        return draw_graph(self.dag, self.optimal, ax, self.treatment | {self.outcome}, latent)

    def __str__(self) -> str:
        graph, search = self._graph, self._search
        name = "total effect" if self.effect == "total" else "weighted controlled direct effect"
        ends = graph.listed(search.question.treatment), repr(self.outcome)
        proof = "(proved: no valid set is more precise)" if search.proved else "(the best known; not guaranteed)"
        lines = [f"Adjustment sets for the {name} of {ends[0]} on {ends[1]}"]
        lines += [f"  optimal: {self._written(self.optimal)} {proof}", f"  minimal: {self._written(self.minimal)}"]
        if search.question.costs:
            lines.append(f"  minimum cost: {self._written(self.minimum_cost)}")
        if self.effect == "wcde":
            held = f"mediators held fixed jointly, by their marginal law: {self._written(self.mediators)}"
            lines.append(f"  {held if self.mediators else 'no mediator acts on the outcome: this is the total effect'}")
        if self.zero_by_graph:
            lines.append(
                "  The graph has no arrow from treatment to outcome: this effect is exactly zero by the graph."
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _written(self, nodes: Iterable[Hashable]) -> str:
        return self._graph.listed({self._graph.number[node] for node in nodes}, most=40) or "the empty set"
