"""When a partially directed graph settles a question, and one DAG on which the search may then run."""

from __future__ import annotations

from typing import Any

from causalif._errors import NotIdentifiedError
from causalif.graphs.dag import Graph, closure
from causalif.graphs.paths import read_question
from causalif.graphs.pdag import PDAG, Partial, read_pdag


def one_dag_for_total(pdag: PDAG, treatment: Any, outcome: Any) -> Graph:
    """Return any DAG of the class, the graph being amenable: every possibly causal path starts with an arrow.

    Then all DAGs of the class have the same forbidden nodes, the same valid sets and the same optimal set (Perkovic,
    Textor, Kalisch and Maathuis 2018; Henckel, Perkovic and Maathuis 2022).
    """
    partial = read_pdag(pdag)
    x, y = read_question(partial.graph, treatment, outcome)
    path = partial.doubtful_path(x, y)
    if path is not None:
        arrows = partial.extension().arrows
        raise NotIdentifiedError(
            f"The total effect differs between the DAGs that this graph stands for: {arrows(path)} is causal in some "
            f"of them only. Find the direction of {arrows(path[:2])}.",
            partial.graph.path(path),
        )
    return partial.extension()


def one_dag_for_direct(pdag: PDAG, treatment: Any, outcome: Any) -> Graph:
    """Return any DAG of the class, provided that all of them have the same estimand.

    That needs the same parents of the outcome, and the same mediators among them.
    """
    partial = read_pdag(pdag)
    x, y = read_question(partial.graph, treatment, outcome)
    if partial.lines[y]:
        other = partial.graph.nodes[min(partial.lines[y])]
        raise _undecided(partial, [y, min(partial.lines[y])], f"whether {other!r} acts on the outcome or is its effect")
    surely, possibly = closure(x, [tuple(s) for s in partial.children]), partial.possibly_reached(x)
    for node in sorted((partial.parents[y] & possibly) - surely):
        line = next(([u, v] for u in sorted(possibly) for v in sorted(partial.lines[u])), [node, y])
        raise _undecided(
            partial, line, f"whether {partial.graph.nodes[node]!r}, a parent of the outcome, is a mediator"
        )
    return partial.extension()


def _undecided(partial: Partial, line: list[int], what: str) -> NotIdentifiedError:
    return NotIdentifiedError(
        f"The weighted controlled direct effect differs between the DAGs that this graph stands for: it leaves open "
        f"{what}. Find the direction of {partial.extension().arrows(line)}, or ask for each orientation in turn.",
        partial.graph.path(line),
    )
