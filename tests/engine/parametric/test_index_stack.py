"""Influence values of equations in linear indices against the numerical stack, and derivatives in the weights."""

from __future__ import annotations

import numpy as np
import pytest

from causalif._errors import InputError
from causalif.engine.parametric.index_fit import fit_index, logistic_loss
from causalif.engine.parametric.index_stack import Channel, IndexStack
from causalif.engine.parametric.mestimation import m_influence, relative_weights


def regression_data(n, seed):
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    a = (rng.random(n) < 1 / (1 + np.exp(-x @ [0.2, 0.7, -0.4]))).astype(float)
    y = x @ [1.0, 0.5, -1.0] + a * (1 + 0.5 * x[:, 1]) + rng.normal(size=n) * (1 + np.abs(x[:, 1]))
    return x, a, y


def aipw_stack(x, a, y, w):
    """E[Y(1)] by AIPW with logistic propensity and linear outcome: parameters, and the stack."""
    alpha = fit_index(x, logistic_loss(a), w)
    beta = np.linalg.solve((x * (w * a)[:, None]).T @ x, x.T @ (w * a * y))
    pi = 1 / (1 + np.exp(-x @ alpha))
    channels = (Channel("pi", "ps", x, pi, pi * (1 - pi)), Channel("m", "or", x, x @ beta, np.ones(len(y))))

    def rows(c):
        e = y - c["m"]
        return {"ps": a - c["pi"], "or": a * e, "mean": c["m"] + a * e / c["pi"]}

    return alpha, beta, IndexStack({"ps": x, "or": x}, channels, rows, w)


def test_index_stack_agrees_with_numerical_stack_for_aipw():
    x, a, y = regression_data(400, 3)
    w = relative_weights(np.random.default_rng(1).uniform(0.2, 2, len(y)), len(y))
    alpha, beta, stack = aipw_stack(x, a, y, w)
    value, influence = stack.target("mean")

    def psi(t):
        pi, m = 1 / (1 + np.exp(-x @ t[:3])), x @ t[3:6]
        return np.column_stack([x * (a - pi)[:, None], x * (a * (y - m))[:, None], m + a * (y - m) / pi - t[6]])

    oracle = m_influence(psi, np.concatenate([alpha, beta, [value]]), weights=w)
    np.testing.assert_allclose(influence, oracle[:, 6], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(stack.parameter_influence, oracle[:, :6], rtol=1e-6, atol=1e-8)


def test_influence_is_the_derivative_in_the_weights():
    x, a, y = regression_data(60, 5)
    base = np.random.default_rng(2).uniform(0.5, 2, len(y))
    influence = aipw_stack(x, a, y, relative_weights(base, len(y)))[2].target("mean")[1]
    step = 1e-5
    for i in (0, 7, 31):
        ends = []
        for move in (step, -step):
            w = base.copy()
            w[i] += move
            ends.append(aipw_stack(x, a, y, relative_weights(w, len(y)))[2].target("mean")[0])
        derivative = (ends[0] - ends[1]) / (2 * step)
        assert influence[i] == pytest.approx(len(y) * base[i] * derivative, rel=1e-5, abs=1e-7)


def test_blocks_must_match():
    one = np.ones(3)
    with pytest.raises(InputError, match="differ"):
        IndexStack({"b": one[:, None]}, (Channel("m", "a", one[:, None], one, one),), lambda c: {}, one)


def test_first_step_of_a_projection_agrees_with_the_numerical_stack():
    x, a, y = regression_data(400, 3)
    w = relative_weights(np.random.default_rng(1).uniform(0.2, 2, len(y)), len(y))
    alpha, beta, stack = aipw_stack(x, a, y, w)
    v = np.column_stack([np.ones(len(y)), np.sin(x[:, 1])])
    phi = stack.row("mean")
    means = (w[:, None] * v * phi[:, None]).mean(axis=0)

    def psi(t):
        pi, m = 1 / (1 + np.exp(-x @ t[:3])), x @ t[3:6]
        score = m + a * (y - m) / pi
        return np.column_stack([x * (a - pi)[:, None], x * (a * (y - m))[:, None], v * score[:, None] - t[6:]])

    oracle = m_influence(psi, np.concatenate([alpha, beta, means]), weights=w)[:, 6:]
    found = w[:, None] * (v * phi[:, None] - means) + stack.first_step("mean", v)
    np.testing.assert_allclose(found, oracle, rtol=1e-6, atol=1e-7)
