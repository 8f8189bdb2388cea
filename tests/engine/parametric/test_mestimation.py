"""Sandwich influence values against closed forms and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from causalif._errors import InputError, NotIdentifiedError
from causalif.engine.parametric.mestimation import central_jacobian, m_influence, relative_weights, scaled_std_error


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


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1.0, 1e200, 1e300])
def test_std_error_survives_any_unit(size):
    assert scaled_std_error(np.array([3.0, -4.0]) * size) == pytest.approx(2.5 * size, rel=1e-12)
    assert scaled_std_error(np.zeros(4)) == 0.0
