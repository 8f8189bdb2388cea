"""Sandwich influence values against closed forms, statsmodels, and derivatives in the weights."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from causalif._errors import ConvergenceError, InputError, NotIdentifiedError
from causalif.engine.mestimation import (
    Channel,
    IndexStack,
    central_jacobian,
    fit_index,
    gamma_log_loss,
    logistic_loss,
    m_influence,
    relative_weights,
    scaled_std_error,
)


def regression_data(n=300, seed=0):
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    a = (rng.random(n) < 1 / (1 + np.exp(-x @ [0.2, 0.7, -0.4]))).astype(float)
    y = x @ [1.0, 0.5, -1.0] + a * (1 + 0.5 * x[:, 1]) + rng.normal(size=n) * (1 + np.abs(x[:, 1]))
    return x, a, y


def test_least_squares_sandwich_is_hc0():
    x, _, y = regression_data()
    fit = sm.OLS(y, x).fit(cov_type="HC0")
    influence = m_influence(lambda t: x * (y - x @ t)[:, None], fit.params)
    np.testing.assert_allclose(influence.T @ influence / len(y) ** 2, fit.cov_params(), rtol=1e-8)


def test_logit_sandwich_is_hc0_and_analytic_jacobian_agrees():
    x, a, _ = regression_data()
    fit = sm.Logit(a, x).fit(disp=0, cov_type="HC0", tol=1e-12)
    p = fit.predict()
    jacobian = -(x * (p * (1 - p))[:, None]).T @ x / len(a)

    def psi(t):
        return x * (a - 1 / (1 + np.exp(-x @ t)))[:, None]

    numeric = m_influence(psi, fit.params)
    np.testing.assert_allclose(numeric.T @ numeric / len(a) ** 2, fit.cov_params(), rtol=1e-6)
    np.testing.assert_allclose(numeric, m_influence(psi, fit.params, jacobian=jacobian), rtol=1e-6, atol=1e-9)


def test_target_is_the_delta_method():
    x, _, y = regression_data()
    beta = np.linalg.lstsq(x, y, rcond=None)[0]

    def psi(t):
        return x * (y - x @ t)[:, None]

    ratio = m_influence(psi, beta, target=lambda t: t[1:2] / t[2])
    whole = m_influence(psi, beta)
    expected = whole[:, 1] / beta[2] - whole[:, 2] * beta[1] / beta[2] ** 2
    np.testing.assert_allclose(ratio[:, 0], expected, rtol=1e-6, atol=1e-9)


def test_units_of_parameters_do_not_make_the_equations_singular():
    x, _, y = regression_data()
    units = np.array([1.0, 1e9, 1e-9])
    beta = np.linalg.lstsq(x, y, rcond=None)[0]
    plain = m_influence(lambda t: x * (y - x @ t)[:, None], beta)
    design = x * units
    scaled = m_influence(
        lambda t: design * (y - design @ t)[:, None], beta / units, jacobian=-design.T @ design / len(y)
    )
    np.testing.assert_allclose(scaled * units, plain, rtol=1e-6, atol=1e-9)


def test_repeated_equations_are_refused():
    x, _, y = regression_data()
    twice = np.column_stack([x, x[:, 1]])
    beta = np.append(np.linalg.lstsq(x, y, rcond=None)[0], 0.0)
    with pytest.raises(NotIdentifiedError, match="repeat each other"):
        m_influence(lambda t: twice * (y - twice @ t)[:, None], beta)


def test_a_theta_that_is_no_root_is_refused():
    with pytest.raises(InputError, match="must solve the equations"):
        m_influence(lambda t: np.arange(5.0)[:, None] - t, np.array([1.0]))
    with pytest.raises(InputError, match=r"shape \(n, 1\)"):
        m_influence(lambda t: np.arange(5.0), np.array([2.0]))


@pytest.mark.parametrize("bad", [[1.0, -1.0], [0.0, 0.0], [1.0, np.nan], [1.0]])
def test_bad_weights_are_refused(bad):
    with pytest.raises(InputError, match="`weights`"):
        relative_weights(np.array(bad), 2)


def test_central_jacobian_of_a_cubic_scales_its_steps():
    theta = np.array([1e6, 1e-3])
    found = central_jacobian(lambda t: np.array([t[0] ** 3, t[0] * t[1]]), theta)
    np.testing.assert_allclose(found, [[3e12, 0.0], [1e-3, 1e6]], rtol=1e-8, atol=1e-3)


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


def test_separation_does_not_converge():
    x = np.column_stack([np.ones(20), np.arange(20.0) - 9.5])
    with pytest.raises(ConvergenceError):
        fit_index(x, logistic_loss((x[:, 1] > 0).astype(float)), np.ones(20))


def test_newton_agrees_with_statsmodels():
    x, a, y = regression_data(500, 8)
    w = np.random.default_rng(0).uniform(0.5, 2, 500)
    logit = sm.GLM(a, x, family=sm.families.Binomial(), freq_weights=w).fit(tol=1e-12)
    np.testing.assert_allclose(fit_index(x, logistic_loss(a), w), logit.params, atol=1e-8)
    family = sm.families.Gamma(sm.families.links.Log())
    gamma = sm.GLM(y**2, x, family=family, freq_weights=w).fit(tol=1e-12, maxiter=200)
    np.testing.assert_allclose(fit_index(x, gamma_log_loss(y**2), w), gamma.params, atol=1e-7)


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1.0, 1e200, 1e300])
def test_std_error_survives_any_unit(size):
    assert scaled_std_error(np.array([3.0, -4.0]) * size) == pytest.approx(2.5 * size, rel=1e-12)
    assert scaled_std_error(np.zeros(4)) == 0.0
