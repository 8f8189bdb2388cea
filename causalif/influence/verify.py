"""Refit what is claimed: the fewest units along an order that really change the conclusion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from causalif._errors import CausalifError
from causalif.influence.goals import Goal
from causalif.influence.means import Order
from causalif.influence.model import Mask
from causalif.influence.subject import ModelSubject, Subject
from causalif.influence.targets import Point

MOST_ROUNDS = 60


@dataclass(eq=False)
class Verifier:
    """Refits prefixes of orders, remembering what it has fitted.

    Parameters
    ----------
    subject : Subject
        The full fit.
    goal : Goal
        The goal.
    allowed : int
        How many refits one scan may take before it turns to bisection.
    most : int
        Largest set that is tried.
    """

    subject: Subject
    goal: Goal
    allowed: int
    most: int
    failures: list[str] = field(default_factory=list)
    refits: int = 0

    def keep(self, units: Order) -> Mask:
        """Return the rows outside the given units."""
        gone = np.zeros(int(self.subject.units.max()) + 1, dtype=bool)
        gone[units] = True
        return np.asarray(~gone[self.subject.units])

    def refit(self, units: Order) -> Point | None:
        """Return the target without the units, by the package that fitted it; None where it cannot be fitted."""
        return self._tried(lambda: self.subject.refit(self.keep(units), self.goal.target))

    def quick(self, units: Order) -> Point | None:
        """Return the target without the units, computed the quickest exact way."""
        if not isinstance(self.subject, ModelSubject):
            return self.refit(units)
        return self._tried(lambda: self.subject.without(self.keep(units)).point(self.goal.target))

    def _tried(self, fit: Callable[[], Point]) -> Point | None:
        self.refits += 1
        try:
            return fit()
        except (CausalifError, np.linalg.LinAlgError) as error:
            if len(self.failures) < 100:
                self.failures.append(str(error))
            return None

    def reached(self, point: Point | None) -> bool:
        """Whether a refit reaches the goal."""
        return point is not None and np.isfinite(point.value) and self.goal.reached(point)

    def scan(self, order: Order, predicted: int | None) -> Scan:
        """Return the smallest prefix found to reach the goal when refitted, and what was fitted on the way."""
        seen: dict[int, Point | None] = {}

        def hit(k: int) -> bool:
            if k not in seen:
                seen[k] = self.quick(order[:k])
            return self.reached(seen[k])

        most = min(self.most, len(order))
        start = min(predicted or max(1, most // 8), most)
        complete = start <= self.allowed
        found = self._upwards(hit, most) if complete else _bisected(hit, start, most)
        if found is None and complete and most > self.allowed:
            found, complete = _bisected(hit, min(self.allowed, most), most), False
        size, point = self._confirmed(order, found, most)
        return Scan(size, point, {k: p for k, p in seen.items() if p is not None}, complete)

    def _upwards(self, hit: Callable[[int], bool], most: int) -> int | None:
        return next((k for k in range(1, min(most, 2 * self.allowed) + 1) if hit(k)), None)

    def _confirmed(self, order: Order, found: int | None, most: int) -> tuple[int | None, Point | None]:
        """Return the claim after an honest refit, a few units larger where shortcuts were on the edge."""
        for size in range(found or 1, min((found or 0) + 5, most) + 1) if found else ():
            point = self.refit(order[:size]) if isinstance(self.subject, ModelSubject) else self.quick(order[:size])
            if self.reached(point):
                return size, point
        return None, None


@dataclass(frozen=True, eq=False)
class Scan:
    """What refitting along an order found.

    Parameters
    ----------
    size : int or None
        Units of the smallest set that reaches the goal; None if none does.
    point : Point or None
        The refitted target without them.
    seen : dict of int to Point
        Refits by size.
    complete : bool
        Whether every smaller prefix was refitted too.
    """

    size: int | None
    point: Point | None
    seen: dict[int, Point]
    complete: bool


def _bisected(hit: Callable[[int], bool], start: int, most: int) -> int | None:
    """Return a size that reaches the goal while one less does not."""
    low, high = 0, start
    for _ in range(MOST_ROUNDS):
        if hit(high):
            break
        if high >= most:
            return None
        low, high = high, min(most, high + max(1, high // 4))
    else:
        return None
    step = max(1, (high - low) // 16)
    while high - step > low and hit(high - step):  # predictions are near: look close by first
        high, step = high - step, 2 * step
    low = max(low, high - step)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if hit(middle) else (middle, high)
    return high
