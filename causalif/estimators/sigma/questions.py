"""What every posterior graph is asked, equal questions asked once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import networkx as nx
import numpy as np
import numpy.typing as npt

from causalif._validate import Array
from causalif.estimators.sigma.averaging import ABSENT, SKIPPED
from causalif.graphs.mediation import PathQuestion, Recanting, Reference, path_question, total_question

LeftOut: TypeAlias = dict[str, tuple[tuple[str, float], ...]]


@dataclass(frozen=True, eq=False)
class Asked:
    """The distinct questions of all graphs.

    Parameters
    ----------
    questions : tuple of PathQuestion
        Each asked by some graph, none of them absent or skipped.
    which : ndarray of shape (D, J)
        Number of the question that graph d asks about path j, the last one being the total effect; -1 where it is
        absent, -2 where it is skipped.
    """

    questions: tuple[PathQuestion, ...]
    which: npt.NDArray[np.intp]

    def nodes(self) -> tuple[list[Any], list[Any]]:
        """Return the nodes that some question reads as mediators, and those that are covariates only."""
        mediators = dict.fromkeys(node for question in self.questions for node in sorted(question.mediators, key=str))
        covariates = dict.fromkeys(node for question in self.questions for node in question.adjust)
        return list(mediators), [node for node in covariates if node not in mediators]


def ask(
    dags: Sequence[nx.DiGraph],
    treatment: Any,
    outcome: Any,
    paths: Sequence[tuple[Any, ...]],
    reference: Reference,
    on_recanting: Recanting,
    adjust: str | Collection[Any],
) -> Asked:
    """Ask every graph about every path and about the total effect."""
    numbers: dict[PathQuestion, int] = {}
    which = np.empty((len(dags), len(paths) + 1), dtype=np.intp)
    for d, dag in enumerate(dags):
        asked = [path_question(dag, treatment, outcome, path, reference, on_recanting, adjust) for path in paths]
        for j, question in enumerate([*asked, total_question(dag, treatment, outcome, adjust)]):
            which[d, j] = _number(question, numbers)
    return Asked(tuple(numbers), which)


def without_rare(asked: Asked, weights: Array, least: float) -> Asked:
    """Skip the questions that graphs of too little posterior mass ask about a path."""
    which = asked.which.copy()
    for j in range(which.shape[1]):
        masses = np.bincount(which[:, j] - SKIPPED, weights=weights, minlength=len(asked.questions) - SKIPPED)
        rare = masses[which[:, j] - SKIPPED] < least
        which[rare & (which[:, j] >= 0), j] = SKIPPED
    return _renumbered(asked, which)


def without(asked: Asked, unanswerable: Callable[[PathQuestion], bool]) -> Asked:
    """Skip the questions that cannot be answered."""
    bad = np.array([*map(unanswerable, asked.questions), False], dtype=bool)
    which = asked.which.copy()
    which[(which >= 0) & bad[which]] = SKIPPED
    return _renumbered(asked, which)


def left_out(steps: Mapping[str, Asked], weights: Array, labels: Sequence[str]) -> LeftOut:
    """Return by argument, for every path that it left out in some graph, the posterior mass of these graphs."""
    found: LeftOut = {}
    before: npt.NDArray[np.bool_] | bool = False
    for argument, asked in steps.items():
        skipped = asked.which == SKIPPED
        masses = weights @ (skipped & ~np.asarray(before))
        found[argument] = tuple((label, float(mass)) for label, mass in zip(labels, masses, strict=True) if mass > 0)
        before = skipped
    return found


def _renumbered(asked: Asked, which: npt.NDArray[np.intp]) -> Asked:
    """Keep the questions that some graph still asks."""
    kept = sorted(set(which[which >= 0].tolist()))
    renumbered = np.arange(SKIPPED, len(asked.questions))
    renumbered[np.array(kept, dtype=np.intp) - SKIPPED] = np.arange(len(kept))
    return Asked(tuple(asked.questions[number] for number in kept), renumbered[which - SKIPPED])


def _number(question: PathQuestion, numbers: dict[PathQuestion, int]) -> int:
    if question.kind == "absent":
        return ABSENT
    if question.kind == "skipped":
        return SKIPPED
    return numbers.setdefault(question, len(numbers))
