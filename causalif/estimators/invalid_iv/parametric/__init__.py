r"""Parametric multiply robust estimator of the average effect with an invalid instrument, with its full sandwich.

Letters: pi(X) = P(Z=1|X), mu_z = E[A|Z=z,X], V_z = var(A|Z=z,X), D = V_1 - V_0, beta(X) the effect of one unit of A,
rho(X) = cov(A, Y - beta A | Z, X) the confounding, g_z = E[Y - beta A | Z=z, X] the baseline with Z's direct effect.

.. math:: \varphi = \beta + \frac{2Z-1}{f(Z|X) D}\{(A-\mu_Z)(Y-\beta A-g_Z)-\rho\}
"""

from causalif.estimators.invalid_iv.parametric.fit import fit_parametric
from causalif.estimators.invalid_iv.parametric.formulas import default_formulas
from causalif.estimators.invalid_iv.parametric.result import ParametricFit, Target

__all__ = ["ParametricFit", "Target", "default_formulas", "fit_parametric"]
