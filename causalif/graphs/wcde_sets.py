"""Adjustment sets for the weighted controlled direct effect.

For a set Z with mediators Z1 and covariates Z2 the estimand is the average of E[Y | a, z1, z2] over p(z1) p(z2). Z is
valid when this equals the average over p(m') p(o), m' being the mediators among the outcome's parents and o the other
parents. Two sufficient tests are used, `replaces_parents` and `intervenes`; a set that passes either is valid in every
law of the graph. Neither is known to be necessary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from causalif._errors import InputError, NotIdentifiedError
from causalif.graphs.dag import NOTHING, Ids, causal_between, closure, directed_path
from causalif.graphs.moral import Separators
from causalif.graphs.paths import mediators_between
from causalif.graphs.question import Failure, Question
from causalif.graphs.separation import open_path, touched
from causalif.graphs.total import advice

FEW = 12


@dataclass(frozen=True, eq=False)
class Solution:
    """Mediators z1, and the covariate sets that go with them."""

    z1: frozenset[int]
    covariates: Separators


@dataclass(frozen=True, eq=False)
class WcdeSearch:
    """The search; names follow the formulas: X treatments, M mediators, M' those that are parents of Y."""

    question: Question

    @cached_property
    def mediators(self) -> set[int]:
        """M: descendants of the treatment that are ancestors of the outcome."""
        return mediators_between(self.question.graph, self.question.treatment, self.question.outcome)

    @cached_property
    def parents(self) -> set[int]:
        """Parents of the outcome other than treatments."""
        return set(self.question.graph.parents[self.question.outcome]) - self.question.treatment

    @cached_property
    def held(self) -> set[int]:
        """M': the mediators that act on the outcome directly."""
        return self.parents & self.mediators

    @cached_property
    def causes(self) -> set[int]:
        """The other parents of the outcome."""
        return self.parents - self.mediators

    @cached_property
    def after(self) -> set[int]:
        """The outcome and its descendants."""
        return closure([self.question.outcome], self.question.graph.children)

    @cached_property
    def allowed(self) -> set[int]:
        """Nodes that a valid set may hold."""
        return self.question.usable - self.after

    # --- validity ------------------------------------------------------------------------------------------------

    def valid(self, nodes: Ids) -> bool:
        """Tell whether one of the tests proves a set valid."""
        kept = self.reduced(nodes)
        return self.replaces_parents(kept) or self.intervenes(nodes) or (kept != nodes and self.intervenes(kept))

    def reduced(self, nodes: Ids) -> set[int]:
        """Drop what the outcome does not depend on given the treatments and the rest: it leaves the estimand alone."""
        q = self.question
        return touched(q.graph, {q.outcome}, nodes | q.treatment) & nodes

    def used(self, nodes: Ids) -> tuple[Ids, ...]:
        """What E[Y | a, z1, z2] and, on either side, the weight p(z1) / p(a, z1 | z2) depend on."""
        graph, x = self.question.graph, self.question.treatment
        z1, z2 = nodes & self.mediators, nodes - self.mediators
        return self.reduced(nodes), touched(graph, x | z2, z1) & z1, touched(graph, x | z1, z2) & z2

    def replaces_parents(self, nodes: Ids) -> bool:
        """Parents left out have law p(t | z1) p(o | z2), so averaging over them changes nothing."""
        return self._parents_fail(nodes) is None

    def _parents_fail(self, nodes: Ids) -> Failure | None:
        q, graph = self.question, self.question.graph
        z1, z2 = nodes & self.mediators, nodes - self.mediators
        for node in sorted(nodes & self.after):
            return self.forbidden(node)
        left, others = self.held - z1, self.causes - z2
        if path := open_path(graph, q.treatment, left, z1):
            name = repr(graph.nodes[path[-1]])
            text = f"The mediator {name} acts on the outcome, is left out, and still depends on the treatment"
            return Failure(
                "mediator left out", f"{text}: {graph.arrows(path)} is open given the mediators of the set.", path
            )
        if path := open_path(graph, z2, left, z1):
            name = repr(graph.nodes[path[-1]])
            text = f"The mediator {name} is left out and depends on a covariate of the set"
            return Failure(
                "mediator left out", f"{text}: {graph.arrows(path)} is open given the mediators of the set.", path
            )
        if path := open_path(graph, q.treatment | z1 | left, others, z2):
            path = [*path, q.outcome]
            text = f"The path {graph.arrows(path)} is open given the covariates of the set."
            return Failure("open path", text, path)
        return None

    def intervenes(self, nodes: Ids) -> bool:
        """Z2 adjusts for the joint intervention on X and Z1, which leaves p(t, o) equal to p(t | z1) p(o)."""
        z1 = nodes & self.mediators
        joint = z1 | self.question.treatment
        return self._left_alone(z1) and self._adjusts(joint, nodes - z1)

    def _adjusts(self, joint: Ids, covariates: Ids) -> bool:
        """The adjustment criterion for a joint intervention."""
        graph, y = self.question.graph, self.question.outcome
        between = causal_between(graph, joint, y)
        if covariates & (closure(between, graph.children) | {y}):
            return False
        return open_path(graph.without(joint, between), joint, {y}, covariates) is None

    def _left_alone(self, z1: Ids) -> bool:
        """Direct mediators left out depend on z1 only, and causally so."""
        graph, x, left = self.question.graph, self.question.treatment, self.held - z1
        if not left:
            return True
        cut = graph.without(heads=x | z1)
        return (
            open_path(cut, left, self.causes, x | z1) is None
            and open_path(cut, left, x, z1) is None
            and open_path(graph.without(tails=z1), left, z1, NOTHING) is None
        )

    def failure(self, nodes: Ids) -> Failure | None:
        """The first condition that fails."""
        return None if self.valid(nodes) else self._parents_fail(self.reduced(nodes))

    def forbidden(self, node: int) -> Failure | None:
        """A directed path from the outcome to the node."""
        graph = self.question.graph
        if node not in self.after:
            return None
        path = directed_path(graph.children, [self.question.outcome], {node}) or []
        return Failure("forbidden", f"{graph.nodes[node]!r} descends from the outcome: {graph.arrows(path)}.", path)

    # --- search --------------------------------------------------------------------------------------------------

    @cached_property
    def solution(self) -> Solution | None:
        """Mediators for which covariates exist, the direct ones if possible."""
        found = (self._solve(frozenset(z1)) for z1 in self._mediator_sets())
        return next((s for s in found if s is not None), None)

    def _mediator_sets(self) -> Iterator[Ids]:
        """Candidates for z1, best first; all of them where these are few."""
        usable = self.mediators & self.allowed
        start = (self.held & usable) | self._upstream(self.held - usable)
        yield start
        if self.held <= usable:
            return
        yield usable
        if len(usable) <= FEW:
            rest = sorted(usable - self.held)
            for few in subsets(rest):
                yield (self.held & usable) | set(few)
            for few in subsets(sorted(usable)):
                if not self.held & usable <= set(few):
                    yield set(few)

    def _upstream(self, latent: Ids) -> set[int]:
        """Nearest usable mediators above latent ones."""
        usable = self.mediators & self.allowed
        reached = closure(latent, [() if v in usable else above for v, above in enumerate(self.question.graph.parents)])
        return reached & usable

    def _solve(self, z1: frozenset[int]) -> Solution | None:
        """Covariates to go with z1, by either test; only a verified set counts."""
        for covariates in (self._replacing(z1), self._intervening(z1)):
            if covariates is not None and covariates.exist:
                solution = Solution(z1, covariates)
                if self.valid(self._joined(solution, covariates.closest)):
                    return solution
        return None

    def _joined(self, solution: Solution, covariates: Ids) -> frozenset[int]:
        return frozenset(solution.z1 | covariates | self.question.required)

    def _replacing(self, z1: frozenset[int]) -> Separators | None:
        """Sets z2 that pass `replaces_parents` with z1."""
        q, left = self.question, self.held - z1
        reached = touched(q.graph, left, z1) if left else set()
        wanted = q.required - self.mediators
        if reached & (q.treatment | wanted):
            return None
        sources = q.treatment | z1 | left
        graph = q.graph.without(sources, {q.outcome})
        return Separators(graph, sources, q.outcome, self.allowed - self.mediators - reached, wanted)

    def _intervening(self, z1: frozenset[int]) -> Separators | None:
        """Sets z2 that pass `intervenes` with z1."""
        q, joint = self.question, self.question.treatment | z1
        between = causal_between(q.graph, joint, q.outcome)
        banned = closure(between, q.graph.children)
        wanted = q.required - self.mediators
        if wanted & banned or not self._left_alone(z1):
            return None
        allowed = self.allowed - self.mediators - banned
        return Separators(q.graph.without(joint, between), joint, q.outcome, allowed, wanted)

    @cached_property
    def fallback(self) -> frozenset[int] | None:
        """The first valid set in a search of all subsets, where few nodes are allowed."""
        return next(self.all(), None) if self.solution is None and len(self.allowed) <= FEW else None

    @property
    def proved(self) -> bool:
        """All parents of the outcome may be used, and nothing else is required."""
        return self.parents <= self.allowed and self.question.required <= self.parents

    @cached_property
    def optimal(self) -> frozenset[int]:
        """The parents of the outcome, or the best set found."""
        if self.solution is None:
            return self.fallback or frozenset()
        return self._joined(self.solution, self.solution.covariates.closest)

    @cached_property
    def minimal(self) -> frozenset[int]:
        """Covariates reduced first, then the mediators that they and the treatment do not need."""
        if self.solution is None:
            return self._trimmed(self.optimal)
        return self._shrunk(self.solution, self.solution.covariates.minimal)

    def _shrunk(self, solution: Solution, covariates: Ids) -> frozenset[int]:
        """Keep of z1 its Markov boundary with respect to treatment and covariates; what falls away is p(t | z1)."""
        needed = touched(self.question.graph, self.question.treatment | covariates, solution.z1) & solution.z1
        small = frozenset(needed | covariates | self.question.required)
        start = small if self.valid(small) else self._joined(solution, covariates)
        plain = not self.question.required and self.held <= self.allowed and start == small
        return start if plain else self._trimmed(start)

    def _trimmed(self, nodes: frozenset[int]) -> frozenset[int]:
        """Drop nodes one at a time while the set stays valid, mediators first; then several at once where few are."""
        order = sorted(nodes - self.question.required, key=lambda v: (v not in self.mediators, v))
        for node in order:
            if self.valid(nodes - {node}):
                return self._trimmed(nodes - {node})
        if len(self.allowed) > FEW:
            return nodes
        # Two nodes can open what the other one closes, so that neither can be dropped alone.
        smaller = (frozenset(few) | self.question.required for few in subsets(order))
        return next((few for few in smaller if self.valid(few)), nodes)

    @cached_property
    def cheapest(self) -> frozenset[int]:
        """The cheapest of all valid sets where few nodes are allowed, else of those built on the same mediators."""
        candidates = [self.minimal]
        if self.solution is not None:
            cut = self.solution.covariates.cheapest(self.question.costs)
            candidates.append(self._shrunk(self.solution, cut))
        if len(self.allowed) <= FEW:
            candidates += self.all()
        return min(candidates, key=self.question.cost)

    def all(self) -> Iterator[frozenset[int]]:
        """All valid sets, small ones first, where few nodes are allowed; else all covariate sets for one z1."""
        if len(self.allowed) <= FEW + 3:
            few = subsets(sorted(self.allowed - self.question.required))
            candidates: Iterable[frozenset[int]] = (frozenset(s) | self.question.required for s in few)
        elif self.solution is not None:
            solution = self.solution
            candidates = (self._joined(solution, z2) for z2 in solution.covariates.all())
        else:
            candidates = ()
        return (nodes for nodes in candidates if self.valid(nodes))


def subsets(items: list[int]) -> Iterator[tuple[int, ...]]:
    """Every subset, small ones first."""
    return (few for size in range(len(items) + 1) for few in combinations(items, size))


def search_wcde(question: Question) -> WcdeSearch:
    """Start a search, or raise with what fails when no valid set is found."""
    search = WcdeSearch(question)
    for node in sorted(question.required & search.after):
        failure = search.forbidden(node)
        raise InputError(f"`required` must hold nodes that can be adjusted for. {failure.text if failure else ''}")
    if search.solution is None and search.fallback is None:
        raise _not_identified(search)
    return search


def _not_identified(search: WcdeSearch) -> NotIdentifiedError:
    """The error with the failing condition of the natural candidate and what to measure."""
    q = search.question
    tried = next(search._mediator_sets()) | (search.allowed - search.mediators) | q.required
    ancestors = closure({q.outcome}, q.graph.parents) | q.required
    failure = search.failure(tried & ancestors) or search.failure(tried)
    missing = search.parents - search.allowed
    ways = "" if len(search.allowed) <= FEW else " The search did not try every set of mediators."
    return NotIdentifiedError(
        f"No set of observed nodes was found that identifies the weighted controlled direct effect of "
        f"{q.graph.listed(q.treatment)} on {q.graph.listed({q.outcome})}. {failure.text if failure else ''} "
        f"It would be identified if all parents of the outcome could be used. {advice(q, missing)}{ways}",
        q.graph.path(failure.path) if failure and failure.path else None,
    )
