"""The robust set against brute-force inversion of the test on a grid, and its three shapes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from causalif import Estimate
from causalif._errors import InputError
from causalif.estimators.invalid_iv.robust import describe, robust_set


def moments(a0: float, a1: float, v00: float, v01: float, v11: float) -> Estimate:
    """An estimate of the two moments with exactly this mean and covariance."""
    root = np.linalg.cholesky([[v00, v01], [v01, v11]])
    corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    psi = corners @ root.T * 2.0  # Ψ'Ψ / 16 = 4 · root root' · 4 / 16
    return Estimate([a0, a1], psi, ("numerator", "denominator"), pd.RangeIndex(4))


def accepted(a0: float, a1: float, v00: float, v01: float, v11: float, b: np.ndarray, level: float) -> np.ndarray:
    """The test itself, b by b."""
    q = stats.norm.ppf((1 + level) / 2) ** 2
    return (a0 - b * a1) ** 2 <= q * (v00 - 2 * b * v01 + b**2 * v11)


@settings(max_examples=200, deadline=None)
@given(
    a0=st.floats(-5, 5), a1=st.floats(-5, 5), s0=st.floats(0.1, 3), s1=st.floats(0.1, 3),
    r=st.floats(-0.95, 0.95), level=st.sampled_from([0.8, 0.95, 0.99]),
)  # fmt: skip
def test_set_is_the_inverted_test(a0, a1, s0, s1, r, level):
    v = (s0**2, r * s0 * s1, s1**2)
    intervals = robust_set(moments(a0, a1, *v), level)
    grid = np.concatenate([np.linspace(-30, 30, 4001), [-1e6, 1e6]])
    inside = np.zeros(len(grid), dtype=bool)
    near_an_end = np.zeros(len(grid), dtype=bool)
    for low, high in intervals:
        inside |= (grid >= low) & (grid <= high)
        near_an_end |= np.minimum(np.abs(grid - low), np.abs(grid - high)) < 1e-6 * (1 + np.abs(grid))
    wrong = (inside != accepted(a0, a1, *v, grid, level)) & ~near_an_end
    # at the edge between shapes the quadratic coefficient is rounding noise
    q = stats.norm.ppf((1 + level) / 2) ** 2
    if abs(a1**2 / v[2] - q) > 1e-9 * q:
        assert not wrong.any()


@pytest.mark.parametrize(
    ("a0", "a1", "shape"),
    [(4.0, 4.0, "interval"), (0.1, 0.1, "line"), (4.0, 1.0, "two rays")],
)
def test_three_shapes(a0, a1, shape):
    intervals = robust_set(moments(a0, a1, 1.0, 0.3, 1.0))
    assert {"interval": 1, "line": 1, "two rays": 2}[shape] == len(intervals)
    assert math.isinf(intervals[0][0]) == (shape != "interval")


def test_set_contains_the_ratio_and_does_not_depend_on_units():
    base = robust_set(moments(4.0, 2.0, 1.0, 0.1, 0.2))
    assert base[0][0] < 2.0 < base[0][1]
    scaled = robust_set(moments(4e-150, 2.0, 1e-300, 0.1e-150, 0.2))
    assert np.allclose(np.array(scaled) * 1e150, base)


def test_description_reads_well():
    assert describe([(0.5, 2.0)]) == "[0.5, 2]"
    assert describe([(-math.inf, 1.0), (3.0, math.inf)]) == "(-inf, 1] or [3, inf)"
    assert describe([]) == "empty"


def test_moments_without_variation_are_refused():
    constant = Estimate([1.0, 1.0], np.zeros((4, 2)), ("numerator", "denominator"), pd.RangeIndex(4))
    with pytest.raises(InputError, match="must vary"):
        robust_set(constant)
