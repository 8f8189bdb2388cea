"""A confidence set for the variance-shift-weighted effect that stays honest however weak the instrument is."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats

from causalif._errors import InputError
from causalif._validate import in_range
from causalif.results.estimate import Estimate

Intervals = list[tuple[float, float]]


def robust_set(parts: Estimate, level: float = 0.95) -> Intervals:
    r"""Invert the test of E[numerator − b · denominator] = 0 over b.

    .. math:: \{b : (a_0 - b a_1)^2 \le q \, (v_{00} - 2 b v_{01} + b^2 v_{11})\}

    with the two estimated moments :math:`a`, their covariance :math:`v` and the quantile :math:`q`: a quadratic
    inequality, so the set is an interval, two rays, or the whole line. It covers the ratio with the stated probability
    at every strength of the instrument, zero included.

    Parameters
    ----------
    parts : Estimate
        With terms ``numerator`` and ``denominator``.
    level : float, default 0.95
        Coverage, strictly between 0 and 1.

    Returns
    -------
    list of (float, float)
        Disjoint intervals in increasing order; ends may be infinite.

    References
    ----------
    Anderson and Rubin (1949), Annals of Mathematical Statistics 20, 46-63; Fieller (1954).

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> psi = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.1], [0.0, -0.1]])
    >>> strong = Estimate([4.0, 2.0], psi, ("numerator", "denominator"), pd.RangeIndex(4))
    >>> [(round(low, 2), round(high, 2)) for low, high in robust_set(strong)]
    [(1.65, 2.36)]
    """
    return ratio_set(parts[["numerator", "denominator"]], level)


def ratio_set(moments: Estimate, level: float = 0.95) -> Intervals:
    """Return the confidence set of the ratio of the first term to the second, by inverting the test of each ratio."""
    in_range("level", level, 0.0, 1.0)
    scale = moments.std_errors.to_numpy()
    if not (scale > 0).all():
        raise InputError(f"The terms {moments.labels} must vary over samples; one has standard error 0.")
    a0, a1 = moments.params.to_numpy() / scale
    correlation = float(moments.moments.correlation[0, 1])
    df = float(np.min(moments.moments.df))
    q = float(stats.norm.ppf((1 + level) / 2) if math.isinf(df) else stats.t.ppf((1 + level) / 2, df)) ** 2
    solved = _solve(a1**2 - q, -2 * (a0 * a1 - q * correlation), a0**2 - q)
    unit = scale[0] / scale[1]
    return [(float(low * unit), float(high * unit)) for low, high in solved]


def _solve(q2: float, q1: float, q0: float) -> Intervals:
    """Return {b : q2 b² + q1 b + q0 <= 0}."""
    discriminant = q1**2 - 4 * q2 * q0
    if q2 == 0.0:
        if q1 == 0.0:
            return [(-math.inf, math.inf)] if q0 <= 0 else []
        return [(-math.inf, -q0 / q1)] if q1 > 0 else [(-q0 / q1, math.inf)]
    if discriminant < 0:
        return [] if q2 > 0 else [(-math.inf, math.inf)]
    # the stable pair of roots: no difference of nearly equal numbers
    half = -0.5 * (q1 + math.copysign(math.sqrt(discriminant), q1))
    roots = sorted((half / q2, q0 / half if half != 0.0 else 0.0))
    return [(roots[0], roots[1])] if q2 > 0 else [(-math.inf, roots[0]), (roots[1], math.inf)]


def describe(intervals: Intervals, write: Callable[[float], str] = "{:.4g}".format) -> str:
    """Return the set in words a table can hold, such as ``[0.8, 1.2]`` or ``(-inf, 1] or [3, inf)``."""

    def one(low: float, high: float) -> str:
        left = "(-inf" if math.isinf(low) else f"[{write(low)}"
        right = "inf)" if math.isinf(high) else f"{write(high)}]"
        return f"{left}, {right}"

    return " or ".join(one(low, high) for low, high in intervals) if intervals else "empty"
