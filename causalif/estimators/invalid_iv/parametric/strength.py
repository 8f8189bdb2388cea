"""How strongly the instrument shifts the variance of treatment, and what is moved away from zero."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from causalif._errors import (
    IdentificationWarning,
    NotIdentifiedError,
    PositivityWarning,
    WeakIdentificationError,
    WeakIdentificationWarning,
)
from causalif._validate import Array
from causalif.engine.parametric.index_stack import ComplexArray
from causalif.estimators.invalid_iv.parametric.problem import Problem
from causalif.estimators.invalid_iv.parametric.result import Target

WEAK_T = 2.0
MAX_FLOORED = 0.20
SOME_FLOORED = 0.05

Numbers = TypeVar("Numbers", Array, ComplexArray)


def floored_shift(d: Numbers, mean: Numbers, share: float) -> Numbers:
    """Move D to a share of its mean where it is closer to zero, or beyond; the sign is kept."""
    sign, floor = np.sign(mean.real), share * mean
    return np.where(sign * d.real < sign * floor.real, floor, d)


def check_shift(problem: Problem, d: Array, shift: Target, mu1: Array, mu0: Array, size: float) -> int:
    """Raise or warn when Z hardly moves the variance of A; return the number of rows floored."""
    if np.abs(d).max() <= 1e-10 * size:
        source = "treatment" if problem.binary else "variance"
        raise NotIdentifiedError(
            "The fitted variance of treatment is the same in both arms of the instrument. Either the formula for "
            f"{source!r} does not use the instrument, or the effect is not identified.",
            "D = 0",
        )
    sign = np.sign(shift.value)
    low = (sign * d < problem.floor * abs(shift.value)) & (problem.w > 0)
    share = float(problem.w @ low / problem.w.sum())
    hint = _strong_but_flat(problem, mu1, mu0)
    floor = f"{100 * problem.floor:g}% of its mean"
    if abs(shift.value) < WEAK_T * shift.std_error or share > MAX_FLOORED:
        in_data = shift.times(problem.scale_a**2)
        message = (
            f"The instrument hardly shifts the variance of treatment: mean D = {in_data.value:.3g} (std error "
            f"{in_data.std_error:.2g}), and {share:.0%} of rows lie below {floor}.{hint} Use the "
            "variance-shift-weighted effect with its robust set."
        )
        if problem.weak == "raise":
            raise WeakIdentificationError(message)
        problem.findings.append(WeakIdentificationWarning(message))
    elif share > SOME_FLOORED:
        changes = " D changes sign." if (sign * d[low] < 0).any() else ""
        message = f"D was moved to {floor} in {int(low.sum()):,} of {len(d):,} rows ({share:.0%}).{changes}{hint}"
        problem.findings.append(WeakIdentificationWarning(message))
    return int(low.sum())


def _strong_but_flat(problem: Problem, mu1: Array, mu0: Array) -> str:
    near = np.abs(mu1 + mu0 - 1.0) < 0.5 * np.abs(mu1 - mu0)
    if not problem.binary or problem.w @ near / problem.w.sum() < 0.5 or np.median(np.abs(mu1 - mu0)) < 0.1:
        return ""
    return (
        " The instrument is strong, but the chances of treatment in its two arms add up to about one, so it moves "
        "the mean of treatment and not its variance."
    )


def clipped_at(probability: ComplexArray, bound: float) -> ComplexArray:
    """Keep a probability within [bound, 1 - bound]; its derivative is zero where it was moved."""
    low = np.where(probability.real < bound, bound, probability)
    return np.where(probability.real > 1.0 - bound, 1.0 - bound, low)


def count_clipped(problem: Problem, pi: Array) -> int:
    """Return the number of rows whose probability of the instrument is moved to the bound, and tell it."""
    outside = ((pi < problem.clip) | (pi > 1.0 - problem.clip)) & (problem.w > 0)
    count = int(outside.sum())
    if count:
        message = f"The probability of the instrument was clipped at {problem.clip:g} in {count:,} of {len(pi):,} rows."
        problem.findings.append(PositivityWarning(message))
    return count


def tell_nearly_one_sided(problem: Problem, v1: Array, v0: Array) -> None:
    """Say so where a binary treatment hardly varies in one arm on most rows."""
    for arm, v in ((1, v1), (0, v0)):
        tiny = problem.binary and problem.w @ (v < 1e-3) / problem.w.sum() > 0.5
        if tiny:
            problem.findings.append(IdentificationWarning(collapse_message(arm, "hardly")))


def collapse_message(silent: int, how: str) -> str:
    """Say what identification rests on when treatment does not vary in one arm."""
    return (
        f"Treatment {how} varies among rows with instrument = {silent}. Identification reduces to unconfoundedness "
        f"within instrument = {1 - silent}: unmeasured confounding is assumed away, not corrected."
    )
