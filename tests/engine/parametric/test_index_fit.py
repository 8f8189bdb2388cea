"""Newton's method on convex row losses against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from causalif._errors import ConvergenceError
from causalif.engine.parametric.index_fit import fit_index, gamma_log_loss, logistic_loss


def test_separation_does_not_converge():
    x = np.column_stack([np.ones(20), np.arange(20.0) - 9.5])
    with pytest.raises(ConvergenceError):
        fit_index(x, logistic_loss((x[:, 1] > 0).astype(float)), np.ones(20))


def test_newton_agrees_with_statsmodels():
    rng = np.random.default_rng(8)
    x = np.column_stack([np.ones(500), rng.normal(size=(500, 2))])
    a = (rng.random(500) < 1 / (1 + np.exp(-x @ [0.2, 0.7, -0.4]))).astype(float)
    y = x @ [1.0, 0.5, -1.0] + rng.normal(size=500) * (1 + np.abs(x[:, 1]))
    w = np.random.default_rng(0).uniform(0.5, 2, 500)
    logit = sm.GLM(a, x, family=sm.families.Binomial(), freq_weights=w).fit(tol=1e-12)
    np.testing.assert_allclose(fit_index(x, logistic_loss(a), w), logit.params, atol=1e-8)
    family = sm.families.Gamma(sm.families.links.Log())
    gamma = sm.GLM(y**2, x, family=family, freq_weights=w).fit(tol=1e-12, maxiter=200)
    np.testing.assert_allclose(fit_index(x, gamma_log_loss(y**2), w), gamma.params, atol=1e-7)
