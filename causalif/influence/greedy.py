"""Leave out the best unit, fit again, look again: sets that hide one another are found one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from causalif._errors import CausalifError
from causalif.influence.goals import Goal
from causalif.influence.means import Order
from causalif.influence.orders import best_ranking, unit_margins
from causalif.influence.subject import ModelSubject, Subject
from causalif.influence.verify import Scan, Verifier

PART = 4  # a causal estimate is fitted again after each fourth of what seems to be left


@dataclass(frozen=True, eq=False)
class Greedy:
    """The order that the search took, and what refitting along it found."""

    order: Order
    scan: Scan


def greedy(subject: Subject, goal: Goal, verifier: Verifier, steps: int) -> Greedy:
    """Return units in greedy order with exact updates, until the goal is reached or steps or units run out."""
    names = np.arange(int(subject.units.max()) + 1)
    gone: list[int] = []
    current, last = subject, 0
    for step in range(steps):
        batch = _next(current, goal, steps - step)
        if batch is None or len(gone) + len(batch) > verifier.most:
            break
        gone.extend(names[batch].tolist())
        names = np.delete(names, batch)
        last = len(batch)
        try:
            current = subject.without(verifier.keep(np.array(gone)))
        except (CausalifError, np.linalg.LinAlgError) as error:
            verifier.failures.append(str(error))
            break
        verifier.refits += 1
        if verifier.reached(current.point(goal.target)):
            return _settled(np.array(gone, dtype=np.intp), last, verifier)
    return Greedy(np.array(gone, dtype=np.intp), Scan(None, None, {}, False))


def _settled(order: Order, last: int, verifier: Verifier) -> Greedy:
    """Shorten the last batch as far as the goal stays reached, and refit the claim."""
    low, high = len(order) - last, len(order)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if verifier.reached(verifier.quick(order[:middle])) else (middle, high)
    for size in range(high, len(order) + 1):
        point = verifier.refit(order[:size])
        if verifier.reached(point):
            return Greedy(order, Scan(size, point, {size: point} if point is not None else {}, False))
    return Greedy(order, Scan(None, None, {}, False))


def _next(subject: Subject, goal: Goal, steps: int) -> npt.NDArray[np.intp] | None:
    """Return the units to leave out next: one, or several where a fit is dear."""
    if isinstance(subject, ModelSubject):
        best = next(method for method in ("exact", "rif", "if") if method in subject.methods())
        if subject.clustered and best == "exact":
            best = "rif"
        return _next_of_model(subject, goal, best, steps)
    ranking = best_ranking(subject, goal)
    if ranking.count is None:
        return ranking.order[:1]
    return ranking.order[: max(1, -(-ranking.count // min(PART, max(steps, 1))))]


def _next_of_model(subject: ModelSubject, goal: Goal, method: str, steps: int) -> npt.NDArray[np.intp] | None:
    """Return the best unit, or as many as it takes to arrive in the steps that are left."""
    margins = unit_margins(subject, goal, method)
    if not np.isfinite(margins).any():
        return None
    margin = goal.at(subject.point(goal.target))
    order = np.argsort(margins, kind="stable")
    reached = np.flatnonzero(margin + np.cumsum(margins[order] - margin) < 0)
    needed = int(reached[0]) + 1 if reached.size else 1
    return np.asarray(order[: max(1, -(-needed // steps))], dtype=np.intp)
