"""A graph seen from one treatment and one outcome, and the questions about paths that it leads to.

Every path out of the treatment begins with exactly one of its edges, so an effect along paths is a choice of level for
each of these edges. Levels are not named here: an edge is active (at the treated level) or not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal, TypeAlias

import networkx as nx

from causalif._errors import InputError
from causalif._validate import one_of
from causalif.graphs.blocks import causal_order, phases
from causalif.graphs.dag import Graph, Node, causal_between, closure, meant, read_graph, read_nodes
from causalif.graphs.paths import read_question

Kind: TypeAlias = Literal["natural", "bundle", "interventional", "total", "absent", "skipped"]
Reference: TypeAlias = Literal["control", "treated"]
Nodes: TypeAlias = tuple[Node, ...]
Path: TypeAlias = tuple[Node, ...]
RULES = ("dag", "optimal", "all_pretreatment")


@dataclass(frozen=True)
class Setting:
    """The levels under which blocks of mediators and then the outcome arise.

    Parameters
    ----------
    blocks : tuple of tuple of nodes
        Blocks in causal order, K of them. Mediators that are in none arise together with the outcome.
    active : tuple of bool
        K + 1 levels, one for every block and one for the outcome; neighbours differ.
    """

    blocks: tuple[Nodes, ...]
    active: tuple[bool, ...]


@dataclass(frozen=True)
class Draws:
    """A path along which every node is drawn anew, all else arising at the reference level.

    Parameters
    ----------
    path : tuple of nodes
        The mediators v_1, ..., v_k on the path.
    before : tuple of nodes
        Mediators above v_1: drawn at the reference level, v_1 then given them at the active level.
    others : tuple of tuple of nodes
        For j = 1, ..., k the other mediators that act on v_(j+1), the last one acting on the outcome: drawn jointly
        at the reference level, independently of v_j.
    """

    path: Nodes
    before: Nodes
    others: tuple[Nodes, ...]


@dataclass(frozen=True)
class PathQuestion:
    """What the data are asked for; equal questions ask for the same number, whatever the graph.

    Parameters
    ----------
    treatment, outcome : node
        The ends.
    kind : {"natural", "bundle", "interventional", "total", "absent", "skipped"}
        Type of the effect. "bundle": of all paths that share the first edge. "absent": 0 by the graph. "skipped": not
        identified and not replaced.
    adjust : tuple of nodes
        Covariates.
    plus, minus : Setting, optional
        The two counterfactual means whose difference is the effect; of natural effects, bundles and the total.
    draws : Draws, optional
        For interventional effects.
    reference : {"control", "treated"}
        The level of everything off the path; matters for interventional effects, the settings carry it otherwise.
    label : str
        The path in words; not compared.
    witness : tuple of nodes, optional
        Where the path recants: another path that shares its first edge; not compared.
    """

    treatment: Node
    outcome: Node
    kind: Kind
    adjust: Nodes = ()
    plus: Setting | None = None
    minus: Setting | None = None
    draws: Draws | None = None
    reference: Reference = "control"
    label: str = field(default="", compare=False)
    witness: Path | None = field(default=None, compare=False)

    @property
    def mediators(self) -> frozenset[Node]:
        """All nodes beside the covariates that are read."""
        blocks = [block for setting in (self.plus, self.minus) if setting for block in setting.blocks]
        if self.draws:
            blocks += [self.draws.path, self.draws.before, *self.draws.others]
        return frozenset(node for block in blocks for node in block)


@dataclass(frozen=True, eq=False)
class Frame:
    """A graph seen from one treatment and one outcome.

    Parameters
    ----------
    graph : Graph
        The numbered graph.
    treatment, outcome : int
        The ends.
    between : frozenset of int
        Nodes on causal paths, the outcome among them.
    """

    graph: Graph
    treatment: int
    outcome: int
    between: frozenset[int]

    @classmethod
    def of(cls, dag: nx.DiGraph, treatment: Node, outcome: Node) -> Frame:
        """Read the graph."""
        graph = read_graph(dag)
        x, y = read_question(graph, treatment, outcome)
        if len(x) != 1:
            raise InputError(f"`treatment` must be one node. Got {len(x)}.")
        (a,) = x
        return cls(graph, a, y, frozenset(causal_between(graph, {a}, y)))

    @cached_property
    def first(self) -> list[int]:
        """Children of the treatment through which it acts on the outcome."""
        return [c for c in self.graph.children[self.treatment] if c in self.between]

    @cached_property
    def routes(self) -> dict[int, int]:
        """Number of directed paths from each node between to the outcome."""
        found: dict[int, int] = {}
        for v in reversed(causal_order(self.inside)):
            found[v] = 1 if v == self.outcome else sum(found[u] for u in self.graph.children[v] if u in self.between)
        return found

    @cached_property
    def inside(self) -> dict[int, list[int]]:
        """Parents of each node between, among the nodes between."""
        return {v: [u for u in self.graph.parents[v] if u in self.between] for v in self.between}

    def names(self, ids: Iterable[int]) -> Nodes:
        """Return nodes in an order that does not depend on the graph, so that equal sets are equal tuples."""
        return tuple(sorted((self.graph.nodes[v] for v in ids), key=str))

    def numbers(self, path: Path) -> list[int]:
        """Return the numbers of a path's nodes."""
        unknown = [node for node in path if node not in self.graph.number]
        if unknown:
            raise InputError(
                f"`path` visits {unknown[0]!r}, which is not a node of `dag`. Its nodes are "
                f"{self.graph.listed(range(len(self.graph.nodes)))}.{meant(self.graph, unknown[0])}"
            )
        return [self.graph.number[node] for node in path]

    def has(self, path: Sequence[int]) -> bool:
        """Tell whether every step of a path is an edge."""
        return all(head in self.graph.children[tail] for tail, head in pairwise(path))

    def covariates(self, rule: str | Collection[Node]) -> Nodes:
        """Return the covariates that a rule, or a list, asks for."""
        below = closure([self.treatment], self.graph.children)
        targets = set(self.between) | {self.outcome}
        needed = {p for v in targets for p in self.graph.parents[v]} - below
        if isinstance(rule, str):
            one_of("adjust", rule, RULES)
            if rule == "optimal":
                return self.names(needed)
            everything = set(range(len(self.graph.nodes))) if rule == "all_pretreatment" else set()
            return self.names((needed | set(self.graph.parents[self.treatment]) | everything) - below)
        chosen = read_nodes(self.graph, list(rule), "adjust")
        if chosen & below:
            raise InputError(
                f"`adjust` must not name descendants of the treatment. Got {self.graph.listed(chosen & below)}."
            )
        if needed - chosen:
            raise InputError(
                "`adjust` must contain every parent of the outcome and of the mediators that the treatment does not "
                f"act on. {self.graph.listed(needed - chosen)} is missing."
            )
        return self.names(chosen)

    def natural(self, base: PathQuestion, active: Collection[int], kind: Kind = "natural") -> PathQuestion:
        """Return the effect of switching some first edges, everything else at the reference."""
        on = base.reference == "control"
        switched = self.setting({c: on == (c in active) for c in self.first})
        neutral = Setting((), (not on,))
        plus, minus = (switched, neutral) if on else (neutral, switched)
        return replace(base, kind=kind, plus=plus, minus=minus, reference="control")

    def setting(self, levels: Mapping[int, bool]) -> Setting:
        """Return the fewest blocks that give each first edge its level."""
        blocks, active = phases(self.inside, levels, self.outcome)
        return Setting(tuple(self.names(block) for block in blocks), active)

    def interventional(self, base: PathQuestion, ids: list[list[int]]) -> PathQuestion:
        """Return the analogue with independent draws."""
        if len(ids) > 1:
            raise InputError(
                "The interventional analogue is of one path, and `path` has several whose natural effect is not "
                'identified. Ask for them one by one, or use on_recanting="bundle".'
            )
        (_, *path, _), steps = ids[0], ids[0][1:]
        mediators = self.between - {self.outcome}
        others = [(set(self.graph.parents[v]) & mediators) - {u} for u, v in pairwise(steps)]
        before = (closure([path[0]], self.graph.parents) & mediators) - {path[0]}
        nodes = self.graph.path(path)
        draws = Draws(nodes, self.names(before), tuple(self.names(w) for w in others))
        return replace(base, kind="interventional", draws=draws)

    def witness(self, child: int, ids: list[list[int]]) -> Path | None:
        """Return a path through the child that is not among those asked for."""
        asked = {tuple(one) for one in ids}
        stack: list[tuple[int, ...]] = [(self.treatment, child)]
        while stack:
            path = stack.pop()
            if path[-1] == self.outcome:
                if path not in asked:
                    return self.graph.path(path)
                continue
            stack += [(*path, v) for v in self.graph.children[path[-1]] if v in self.between]
        return None

    def bundle_label(self, child: int) -> str:
        """Return the one path through a child, or its first edge and the outcome."""
        path = [self.treatment, child]
        if self.routes[child] > 1:
            return f"{self.graph.arrows(path)} ~> {self.graph.nodes[self.outcome]}"
        while path[-1] != self.outcome:
            path.append(next(v for v in self.graph.children[path[-1]] if v in self.between))
        return self.graph.arrows(path)
