"""In which order units are left out, and how far each order is predicted to reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causalif._validate import Array
from causalif.influence.estimate_subject import EstimateSubject
from causalif.influence.goals import Goal
from causalif.influence.means import Order, Path, fewest
from causalif.influence.subject import Subject


@dataclass(frozen=True, eq=False)
class Ranking:
    """Units in order of removal.

    Parameters
    ----------
    name : str
        The method behind it.
    order : ndarray of int
        Units, the first to go first.
    count : int or None
        How many the prediction says are needed; None if it never reaches the goal.
    path : Path
        The prediction after each removal.
    """

    name: str
    order: Order
    count: int | None
    path: Path


def rankings(subject: Subject, goal: Goal) -> list[Ranking]:
    """Return the order by the influence function and, where there is more to go by, the order by exact effects."""
    found = [additive(subject, goal, "if", "influence")]
    if isinstance(subject, EstimateSubject) and subject.is_mean:
        found.append(_exact_mean(subject, goal))
    elif "rif" in subject.methods():
        found.append(additive(subject, goal, "rif", "rescaled"))
    return found


def best_ranking(subject: Subject, goal: Goal) -> Ranking:
    """Return the order that uses the most of what is known."""
    return rankings(subject, goal)[-1]


def additive(subject: Subject, goal: Goal, method: str, name: str) -> Ranking:
    """Rank units by the change of the margin and add up their effects."""
    point, moves = subject.point(goal.target), subject.moves(goal.target, method)
    change = unit_margins(subject, goal, method) - goal.at(point)
    order = np.argsort(change, kind="stable").astype(np.intp)
    finite = order[np.isfinite(change[order])]
    value = point.value + np.cumsum(moves.value[finite])
    error = point.std_error + np.cumsum(moves.std_error[finite])
    path = Path(value, error, np.full(len(value), point.critical))
    if goal.errors or goal.target.reading != "value":
        margin = goal.at(point) + np.cumsum(change[finite])
    else:
        margin = goal.margin(value, error, path.critical)
    return Ranking(name, finite, _first_negative(margin), path)


def unit_margins(subject: Subject, goal: Goal, method: str) -> Array:
    """Return the margin predicted without each single unit; infinite effects never help."""
    point, moves = subject.point(goal.target), subject.moves(goal.target, method)
    with np.errstate(invalid="ignore"):
        margin = goal.margin(point.value + moves.value, point.std_error + moves.std_error, point.critical)
    return np.where(np.isfinite(moves.value) & ~np.isnan(margin), margin, np.inf)


def _exact_mean(subject: EstimateSubject, goal: Goal) -> Ranking:
    rows = subject.rows(goal.target)
    count, order = fewest(rows, goal, subject.point(goal.target).critical)
    return Ranking("exact", order, count, rows.path(order))


def _first_negative(margin: Array) -> int | None:
    hit = np.flatnonzero(margin < 0)
    return int(hit[0]) + 1 if hit.size else None
