"""Background knowledge about the structure: tiers, forbidden and required edges, the largest in-degree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import networkx as nx
import numpy as np
import numpy.typing as npt

from causalif._errors import InputError
from causalif._validate import whole_number

Flags: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Background:
    """What is known about the structure before the data are seen.

    Parameters
    ----------
    tiers : sequence of sequences of str, optional
        Columns in the order in which they come about: no edge goes from a later tier to an earlier one. Within a tier
        every direction is possible. Every column must be in exactly one tier.
    forbidden, required : iterable of pairs of str
        Edges ``(cause, effect)`` that every DAG lacks, or has.
    max_parents : int, optional
        Largest number of parents of a node.

    Examples
    --------
    >>> rules = Background(tiers=[["C"], ["A"], ["Y"]], forbidden=[("C", "Y")]).rules(("A", "C", "Y"))
    >>> rules.allowed.astype(int)
    array([[0, 0, 1],
           [1, 0, 0],
           [0, 0, 0]])
    """

    tiers: Sequence[Sequence[str]] | None = None
    forbidden: Iterable[tuple[str, str]] = ()
    required: Iterable[tuple[str, str]] = ()
    max_parents: int | None = None

    def rules(self, names: Sequence[str]) -> Rules:
        """Return what may and what must be a parent of what.

        Parameters
        ----------
        names : sequence of str
            The nodes.

        Returns
        -------
        Rules

        Raises
        ------
        InputError
            If a tier leaves out, repeats or invents a column, an edge is unknown, required edges form a cycle, clash
            with tiers or forbidden edges, or exceed ``max_parents``.
        """
        p = len(names)
        allowed = ~np.eye(p, dtype=bool) if self.tiers is None else _after(names, self.tiers)
        for j, i in _edges("forbidden", self.forbidden, names):
            allowed[j, i] = False
        required = np.zeros((p, p), dtype=bool)
        for j, i in _edges("required", self.required, names):
            if not allowed[j, i]:
                raise InputError(
                    f"`required` names the edge {names[j]!r} -> {names[i]!r}, which `forbidden` or `tiers` rule out. "
                    "Leave it out of one of them."
                )
            required[j, i] = True
        reach = _reach(required, names)
        # With a required path from i to j, an edge j -> i would close a cycle in every DAG.
        allowed &= ~reach.T
        most = None if self.max_parents is None else whole_number("max_parents", self.max_parents, 0)
        _require_room(required, names, most)
        return Rules(allowed, required, most)


@dataclass(frozen=True, eq=False)
class Rules:
    """Masks over edges; ``allowed[j, i]``: j may be, ``required[j, i]``: j must be a parent of i."""

    allowed: Flags
    required: Flags
    max_parents: int | None = None


def _after(names: Sequence[str], tiers: Sequence[Sequence[str]]) -> Flags:
    """Edges that do not go back to an earlier tier."""
    rank = _ranks(names, tiers)
    order = np.array([rank[name] for name in names])
    return np.asarray((order[:, None] <= order[None, :]) & ~np.eye(len(names), dtype=bool))


def _ranks(names: Sequence[str], tiers: Sequence[Sequence[str]]) -> dict[str, int]:
    if isinstance(tiers, str) or any(isinstance(tier, str) for tier in tiers):
        raise InputError(
            f"`tiers` must be a list of lists of column names, such as [['C'], ['A'], ['M1', 'M2'], ['Y']]. Got "
            f"{tiers!r} instead."
        )
    rank: dict[str, int] = {}
    for number, tier in enumerate(tiers):
        for name in tier:
            if name not in names:
                raise InputError(f"`tiers` names {name!r}, which is not a column: {list(names)[:12]}. Correct it.")
            if name in rank:
                raise InputError(
                    f"`tiers` names {name!r} twice, in tier {rank[name] + 1} and in tier {number + 1}. Keep one."
                )
            rank[name] = number
    missing = [name for name in names if name not in rank]
    if missing:
        raise InputError(
            f"`tiers` must place every column; it leaves out {missing}. Add them to a tier, or drop them from the data."
        )
    return rank


def _edges(role: str, edges: Iterable[Any], names: Sequence[str]) -> list[tuple[int, int]]:
    """Positions of cause and effect of each edge."""
    found = []
    for edge in edges:
        if isinstance(edge, str) or not isinstance(edge, Sequence) or len(edge) != 2:
            raise InputError(f"`{role}` must hold pairs (cause, effect), such as [('A', 'Y')]. Got {edge!r} instead.")
        for name in edge:
            if name not in names:
                raise InputError(f"`{role}` names {name!r}, which is not a column: {list(names)[:12]}. Correct it.")
        if edge[0] == edge[1]:
            raise InputError(f"`{role}` names an edge from {edge[0]!r} to itself. Leave it out.")
        found.append((names.index(edge[0]), names.index(edge[1])))
    return found


def _reach(required: Flags, names: Sequence[str]) -> Flags:
    """Pairs joined by a path of required edges, which must not form a cycle."""
    graph = nx.from_numpy_array(required, create_using=nx.DiGraph)
    try:
        loop = [tail for tail, _ in nx.find_cycle(graph)]
    except nx.NetworkXNoCycle:
        reach = np.zeros_like(required)
        for node in graph:
            reach[node, list(nx.descendants(graph, node))] = True
        return reach
    path = " -> ".join(repr(names[node]) for node in [*loop, loop[0]])
    raise InputError(f"`required` edges form a cycle, {path}, which no DAG has. Leave one of them out.")


def _require_room(required: Flags, names: Sequence[str], most: int | None) -> None:
    counts = required.sum(axis=0)
    if most is not None and (counts > most).any():
        node = int(counts.argmax())
        raise InputError(
            f"`required` gives {names[node]!r} {counts[node]} parents, more than `max_parents`={most}. Raise "
            "`max_parents` or leave an edge out."
        )
