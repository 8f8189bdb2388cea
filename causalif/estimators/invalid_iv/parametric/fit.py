"""The parametric multiply robust estimator."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import pandas as pd

from causalif._validate import Array
from causalif.estimators.invalid_iv.parametric.both_arms import fit_both_arms
from causalif.estimators.invalid_iv.parametric.one_arm import fit_one_arm
from causalif.estimators.invalid_iv.parametric.problem import Problem, WeakPolicy, read_problem, silent_arm
from causalif.estimators.invalid_iv.parametric.result import ParametricFit


def fit_parametric(
    frame: pd.DataFrame,
    outcome: str,
    treatment: str,
    instrument: str,
    adjust: Sequence[str],
    formulas: Mapping[str, str] | None = None,
    *,
    binary: bool,
    weights: Array | None = None,
    clip: float = 0.01,
    floor: float = 0.1,
    weak: WeakPolicy = "raise",
) -> ParametricFit:
    r"""Estimate the average treatment effect with an invalid instrument from parametric working models.

    .. math:: \hat\theta = \frac1n\sum_i w_i\Big[\hat\beta(X_i) + \frac{2Z_i-1}{\hat f(Z_i|X_i)\hat D(X_i)}
       \{(A_i-\hat\mu_Z)(Y_i-\hat\beta A_i-\hat g_Z)-\hat\rho\}\Big]

    Parameters
    ----------
    frame : DataFrame, n rows
        No missing values; instrument coded 0/1, and the treatment too if it is binary.
    outcome, treatment, instrument : str
        Column names.
    adjust : sequence of str
        Covariates that make the instrument as good as random.
    formulas : mapping of str to str, optional
        Formulas by nuisance: "instrument" (logit of pi), "treatment" (mu; logit if binary, else identity), "variance"
        (log V, continuous treatment only), "effect" (beta), "confounding" (rho), "outcome" (g). "treatment",
        "variance" and "outcome" may use the instrument. The rest come from `default_formulas`.
    binary : bool
        Whether the treatment is binary.
    weights : ndarray, shape (n,), optional
        Sampling weights, entering every equation and every mean.
    clip : float, default 0.01, from 0 to below 0.5
        Bound on the estimated probability of the instrument.
    floor : float, default 0.1, between 0 and 1
        D is kept at least this share of its mean away from zero, on the side of its mean.
    weak : {"raise", "warn"}, default "raise"
        What to do when the instrument hardly shifts the variance of treatment.

    Returns
    -------
    ParametricFit

    Raises
    ------
    InputError
        Unknown formula names, formulas that use columns they may not, codes other than 0/1.
    NotIdentifiedError
        The equations are singular, or treatment varies in neither arm of the instrument.
    WeakIdentificationError
        |mean D| is under two standard errors, or over 20% of rows lie below the floor, and ``weak`` is "raise".
    PositivityError
        A logistic model separates.
    ConvergenceError
        The variance model has no finite fit.

    Notes
    -----
    Consistent when at least one of these sets of models is right: {pi, mu, V}, {beta, pi, g}, {beta, rho, mu},
    {beta, rho, g}, {beta, pi, mu}. With a binary treatment V = mu(1 - mu). Standard errors are those of the whole stack
    of equations, including the floor on D; phi alone would be wrong by up to a fifth either way. The variance model is
    a Gamma quasi likelihood with log link.

    If treatment never varies in one arm of the instrument, the functional equals augmented inverse probability
    weighting in the other arm, averaged over everyone's covariates; that is fitted, without any model for the empty
    cell: Y is linear in the "outcome" terms within each level of treatment ("effect" terms times treatment if given).
    A warning says so.

    Cost: two Newton fits and one linear system; under 0.1 s for 10,000 rows and few covariates.

    References
    ----------
    Sun, Cui and Tchetgen Tchetgen (2022), Selective machine learning of the average treatment effect with an invalid
    instrumental variable, JMLR 23.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(1)
    >>> n = 4000
    >>> z, u = rng.integers(0, 2, n), rng.normal(size=n)
    >>> a = 0.5 * z + u + (1 + z) * rng.normal(size=n)
    >>> table = pd.DataFrame({"z": z, "a": a, "y": a + 2 * z + 1.5 * u + rng.normal(size=n)})
    >>> fit = fit_parametric(table, "y", "a", "z", [], binary=False)
    >>> bool(abs(fit.theta - 1) < 3 * fit.std_error < 0.3)
    True
    """
    roles = (outcome, treatment, instrument)
    problem = read_problem(
        frame, roles, adjust, formulas, binary=binary, weights=weights, clip=clip, floor=floor, weak=weak
    )
    try:
        return solve_problem(problem)
    finally:
        for finding in problem.findings:
            warnings.warn(finding, stacklevel=2)


def solve_problem(problem: Problem) -> ParametricFit:
    """Fit without warning: what there is to warn of stands in ``findings``."""
    silent = silent_arm(problem)
    return fit_both_arms(problem) if silent is None else fit_one_arm(problem, silent)
