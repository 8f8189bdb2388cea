"""Sums over sets against loops over the definition."""

from __future__ import annotations

import numpy as np
import pytest

from causalif.discovery.subset_sums import layer_sums, layer_sums_transposed, log_add_at, ternary_codes

M = 4


def pairs():
    """Every (U, R) with R within U, and its ternary code."""
    for u in range(2**M):
        for r in range(2**M):
            if r & ~u == 0:
                yield u, r, int(ternary_codes(M)[u] + ternary_codes(M)[r])


def test_ternary_codes_are_different_and_fill_the_range():
    assert sorted(code for *_, code in pairs()) == list(range(3**M))


@pytest.mark.parametrize("gap", [1.0, 10_000.0])
def test_layer_sums_are_sums_over_sets_that_touch_the_layer(gap):
    weights = gap * np.random.default_rng(0).standard_normal(2**M)
    weights[5] = -np.inf
    found = layer_sums(weights, M)
    for u, r, code in pairs():
        logs = [weights[p] for p in range(2**M) if p & ~u == 0 and p & r]
        assert found[code] == pytest.approx(np.logaddexp.reduce(logs) if logs else -np.inf, rel=1e-12)


def test_the_transposed_sums_are_the_derivatives():
    """Sum of use · layer sum is linear in the weights; its coefficients are the transposed sums."""
    use = np.random.default_rng(1).standard_normal(3**M)
    found = layer_sums_transposed(use, M)
    for p in range(2**M):
        logs = [use[code] for u, r, code in pairs() if p & ~u == 0 and p & r]
        assert found[p] == pytest.approx(np.logaddexp.reduce(logs) if logs else -np.inf, rel=1e-12)


def test_adding_at_cells():
    target = np.full(3, -np.inf)
    log_add_at(target, np.array([0, 2, 2]), np.log([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(np.exp(target), [1, 0, 5])
