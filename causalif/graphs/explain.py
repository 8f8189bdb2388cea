"""Why a set is refused, and what a node does in a set or for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from causalif.graphs.dag import Graph, Node
from causalif.graphs.question import Failure, Search, constraint
from causalif.graphs.separation import open_path

Role: TypeAlias = Literal[
    "treatment",
    "outcome",
    "needed",
    "precision",
    "forbidden",
    "latent",
    "excluded",
    "opens a path",
    "inflates the weights",
    "redundant",
    "optional",
]


@dataclass(frozen=True)
class Verdict:
    """Whether a set is valid, and if not, what fails.

    Parameters
    ----------
    valid : bool
        Whether the set may be used.
    clause : str
        "valid", or the condition that fails: "open path", "forbidden", "latent", "mediator left out", "required",
        "excluded", "treatment or outcome".
    path : tuple of nodes or None
        The open path, or the directed path that makes a node forbidden.
    text : str
        The verdict in one sentence.

    Examples
    --------
    >>> if not Verdict(False, "latent", None, "'U' is not observed."):
    ...     print("refused")
    refused
    """

    valid: bool
    clause: str
    path: tuple[Node, ...] | None
    text: str

    def __bool__(self) -> bool:
        return self.valid

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Explanation:
    """What one node does in the optimal set, or why it is not in it.

    Parameters
    ----------
    node : node
        The node asked about.
    role : str
        Members of the set are "needed" or there for "precision"; others are "treatment", "outcome", "forbidden",
        "latent", "excluded" (by the caller), or, could they be added, "opens a path", "inflates the weights",
        "redundant", "optional".
    path : tuple of nodes or None
        The path that shows it.
    text : str
        The same in one sentence.

    Examples
    --------
    >>> print(Explanation("U", "latent", None, "'U' is not observed."))
    'U' is not observed.
    """

    node: Node
    role: Role
    path: tuple[Node, ...] | None
    text: str

    def __str__(self) -> str:
        return self.text


def judge(search: Search, nodes: frozenset[int]) -> Verdict:
    """Say why a set is refused, or that it is not."""
    failure = constraint(search.question, nodes) or search.failure(nodes)
    if failure is None:
        return Verdict(True, "valid", None, "This set is valid.")
    return Verdict(False, failure.clause, _names(search.question.graph, failure), failure.text)


def describe(search: Search, node: int) -> Explanation:
    """Say what a node does."""
    if node in search.optimal:
        return _member(search, node)
    return _barred(search, node) or _outsider(search, node)


def _names(graph: Graph, failure: Failure) -> tuple[Node, ...] | None:
    return None if failure.path is None else graph.path(failure.path)


def _member(search: Search, node: int) -> Explanation:
    graph = search.question.graph
    name = graph.nodes[node]
    failure = search.failure(search.optimal - {node})
    if failure is not None:
        text = f"{name!r} is needed. Without it: {failure.text}"
        return Explanation(name, "needed", _names(graph, failure), text)
    demand = " (and `required`)" if node in search.question.required else ""
    text = f"{name!r} is there for precision only{demand}: the set is valid without it, and more precise with it."
    if not search.proved:
        text = (
            f"{name!r} is not needed{demand}: the set is valid without it; it is kept because it tells of the outcome."
        )
    return Explanation(name, "precision", None, text)


def _barred(search: Search, node: int) -> Explanation | None:
    """Nodes that may be in no set."""
    question, graph = search.question, search.question.graph
    name = graph.nodes[node]
    if node in question.treatment:
        return Explanation(name, "treatment", None, f"{name!r} is a treatment.")
    if node == question.outcome:
        return Explanation(name, "outcome", None, f"{name!r} is the outcome.")
    failure = search.forbidden(node)
    if failure is not None:
        text = f"{failure.text} Adjusting for it would bias the estimate."
        return Explanation(name, "forbidden", _names(graph, failure), text)
    if node not in question.observed:
        return Explanation(name, "latent", None, f"{name!r} is not observed.")
    if node in question.excluded:
        return Explanation(name, "excluded", None, f"{name!r} is in `forbidden`.")
    return None


def _outsider(search: Search, node: int) -> Explanation:
    """Nodes that could be added, and what that would do."""
    question, graph = search.question, search.question.graph
    name = graph.nodes[node]
    failure = search.failure(search.optimal | {node})
    if failure is not None:
        text = f"Adding {name!r} would make the set invalid. {failure.text}"
        return Explanation(name, "opens a path", _names(graph, failure), text)
    if open_path(graph, {node}, {question.outcome}, search.optimal | question.treatment) is not None:
        text = f"{name!r} may be added, but is not needed; whether it helps depends on the data."
        return Explanation(name, "optional", None, text)
    path = open_path(graph, question.treatment, {node}, search.optimal)
    if path is not None:
        text = (
            f"Adding {name!r} would inflate the weights: given the set it tells nothing about the outcome, but about "
            f"the treatment: {graph.arrows(path)}."
        )
        return Explanation(name, "inflates the weights", graph.path(path), text)
    text = f"{name!r} is redundant: given the set it tells nothing about treatment or outcome."
    return Explanation(name, "redundant", None, text)
