"""Conclusions that may change, as a number that is positive before and negative after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from causalif._errors import InputError
from causalif._validate import Array
from causalif.influence.targets import Point, Target

GoalLike: TypeAlias = Literal["sign", "significance", "sign+significance"] | float
NAMES = ("sign", "significance", "sign+significance")


@dataclass(frozen=True, eq=False)
class Goal:
    """The goal is reached where side (target − level) + errors × critical × std_error is negative.

    Parameters
    ----------
    described : str
        In words.
    target : Target
        What is read.
    side : {-1, 1}
        The side of `level` on which the target starts.
    level : float
        The value to be crossed.
    errors : {-1, 0, 1}
        −1: the interval must come to hold the level; 1: it must come to lie on the other side of it.
    """

    described: str
    target: Target
    side: float
    level: float = 0.0
    errors: float = 0.0
    flipped: bool = False

    def margin(self, value: npt.ArrayLike, std_error: npt.ArrayLike, critical: npt.ArrayLike) -> Array:
        """Return how far the goal is, negative where it is reached; infinite effects reach nothing."""
        v, se = np.asarray(value, dtype=float), np.asarray(std_error, dtype=float)
        crit = np.asarray(critical, dtype=float)
        read = np.asarray(self.target.read_many(np.atleast_1d(v), np.atleast_1d(se), crit)).reshape(v.shape)
        margin = self.side * (read - self.level)
        if self.errors:
            margin = margin + self.errors * crit * se
        return np.asarray(-margin if self.flipped else margin)

    def end(self, value: npt.ArrayLike, std_error: npt.ArrayLike, critical: npt.ArrayLike) -> Array:
        """Return the end of the interval that has to cross the level, for goals that speak of one."""
        half = np.asarray(critical, dtype=float) * np.asarray(std_error, dtype=float)
        return np.asarray(np.asarray(value, dtype=float) + self.errors * self.side * half)

    @property
    def end_name(self) -> str:
        """What `end` is in words; empty for goals about a value."""
        if not self.errors:
            return ""
        return f"{'upper' if self.errors * self.side > 0 else 'lower'} end of the {100 * self.target.level:g}% interval"

    def at(self, point: Point) -> float:
        """Return the margin at a point."""
        return float(self.margin(point.value, point.std_error, point.critical))

    def reached(self, point: Point) -> bool:
        """Whether the goal is reached."""
        return self.at(point) < 0


def read_goal(goal: GoalLike, target: Target, point: Point) -> Goal:
    """Return the goal as a margin that starts positive, or raise where it makes no sense."""
    if isinstance(goal, bool) or not isinstance(goal, (str, int, float, np.integer, np.floating)):
        raise InputError(f"`goal` must be one of {', '.join(map(repr, NAMES))}, or a number. Got {goal!r} instead.")
    if not isinstance(goal, str):
        return _to_value(float(goal), target, point)
    if goal not in NAMES:
        raise InputError(f"`goal` must be one of {', '.join(map(repr, NAMES))}, or a number. Got {goal!r} instead.")
    if goal == "sign":
        return _to_value(0.0, target, point, "change the sign")
    return _significance(goal, target, point)


def _to_value(level: float, target: Target, point: Point, described: str | None = None) -> Goal:
    read = target.read(point)
    if not np.isfinite(level):
        raise InputError(f"`goal` must be a finite number. Got {level!r} instead.")
    if target.reading != "value" and np.isnan(read):
        raise InputError("This fit reports no standard errors, so its t statistic and interval are unknown.")
    if read == level:
        raise InputError(f"The target is {read:g} already: choose another `goal`.")
    return Goal(described or f"move past {level:g}", target, float(np.sign(read - level)), level)


def _significance(goal: str, target: Target, point: Point) -> Goal:
    if target.reading != "value":
        raise InputError(
            f"`goal={goal!r}` speaks of a value and its interval; with a t statistic or an interval end as target use "
            '"sign" or a number.'
        )
    if not np.isfinite(point.std_error) or point.std_error <= 0:
        raise InputError(
            f'`goal={goal!r}` needs a standard error, which this fit does not report. Use "sign" or a number.'
        )
    side = 1.0 if point.value >= 0 else -1.0
    share = f"{100 * target.level:g}%"
    if goal == "sign+significance":
        return Goal(f"change the sign, with a {share} interval beyond 0", target, side, errors=1.0)
    if side * point.value > point.critical * point.std_error:
        return Goal(f"lose significance ({share} interval holds 0)", target, side, errors=-1.0)
    return Goal(f"gain significance ({share} interval leaves 0)", target, side, errors=-1.0, flipped=True)
