"""What leaving out each row does to a target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from causalif._validate import Array
from causalif.influence.adapters import adapt
from causalif.influence.reasons import reasons
from causalif.influence.subject import ModelSubject, Subject
from causalif.influence.targets import Target, TargetLike, as_target


def case_influence(
    fitted: Any,
    target: TargetLike = None,
    *,
    data: Any = None,
    clusters: Any = None,
    curvature: str = "observed",
) -> pd.DataFrame:
    r"""Predict what leaving out each row does to one number of a fit: the value after removal minus the value before.

    .. math:: \text{if: } c^\top H^{-1} g_i, \qquad \text{rif: } c^\top (H - H_i)^{-1} g_i

    with :math:`g_i` the gradient of row i's part of a sum of losses, :math:`H_i` its curvature and H that of the whole
    objective, penalty included. A positive effect means that the target rises when the row is left out.

    Parameters
    ----------
    fitted : causalif Estimate, statsmodels result or scikit-learn estimator
        statsmodels: OLS, WLS, GLM, Logit, Poisson, IV2SLS (from ``statsmodels.sandbox.regression.gmm``), and QuantReg
        and RLM by their influence functions. scikit-learn: LinearRegression, Ridge, LogisticRegression,
        PoissonRegressor.
    target : str, mapping of str to float, or Target, optional
        Name of a term, weights of several terms, or anything made by `causalif.influence.targets`. By default the first
        term that is not the constant.
    data : (X, y) or (X, y, sample_weight), optional
        What a scikit-learn estimator was fitted to; the other fits remember it.
    clusters : array or Series of shape (n,), optional
        Leave out whole clusters instead of rows. Clustered estimates and statsmodels fits with ``cov_type="cluster"``
        do so by themselves.
    curvature : {"observed", "expected"}, default "observed"
        Second derivative of statsmodels' non-canonical GLMs: what Newton's method follows, or scoring.

    Returns
    -------
    DataFrame of shape (n, 4 to 6)
        On the index of the data, in units of the target. ``if``: influence function; ``rif``: rescaled by what is left
        of the row's leverage; ``newton``: a Newton step without the row; ``exact``: where it exists, that is for least
        squares, ridge and just-identified two-stage least squares, and for causal estimates with the nuisances held as
        they are; ``leverage``: the row's share in its own fit (least squares on the same design for QuantReg and RLM),
        for causal estimates its share in their denominator over n; ``reason``: what is unusual about the row. With
        clusters each row shows its cluster's effect.

    Raises
    ------
    InputError
        If the fit is not supported, its loss has corners where a method needs curvature, or its rows are unknown.
    PositivityError
        If the outcomes of a logistic fit are separated.

    Warns
    -----
    DataWarning
        Leverage above 0.9, a fit that stopped before its minimum, fitted probabilities of 0 or 1.

    Notes
    -----
    For one row, ``rif`` and ``newton`` are the same; they part for sets (`remove`). Leaving out the last row of a level
    has effect ``inf`` on the coefficients that are lost with it. Where the objective is an average with a penalty
    (PoissonRegressor), the penalty shrinks with the rows. Balanced class weights are held fixed in predictions and
    recomputed in refits. Targets that are not linear in the coefficients (a loss, a probability) follow their tangent.
    For t statistics and interval ends the standard error's change is exact for least squares with the usual covariance,
    and to first order otherwise. Predictions for causal estimates hold the nuisances fixed, which costs a second-order
    term only where the score is orthogonal to them. Of RLM and QuantReg fits, predicted changes of standard errors
    count the row's own term only and are not of first order; refits are right. Cost: one pass of n p² for all rows.

    References
    ----------
    Cook and Weisberg (1982), Residuals and Influence in Regression, sections 3.4 and 5.2; Pregibon (1981), Annals of
    Statistics 9, 705-724; Rubinstein and Hopkins (2025), Rescaled influence functions.

    Examples
    --------
    >>> import pandas as pd
    >>> import statsmodels.api as sm
    >>> rows = pd.DataFrame({"const": 1.0, "x": [0.0, 1.0, 2.0, 3.0]}, index=["ann", "bob", "cem", "dee"])
    >>> effects = case_influence(sm.OLS([0.0, 1.0, 2.0, 7.0], rows).fit(), "x")
    >>> effects.loc["dee", "exact"].round(4), effects.loc["dee", "if"].round(4)
    (np.float64(-1.2), np.float64(-0.36))
    """
    subject = adapt(fitted, data, clusters, curvature)
    aim = as_target(target)
    by_unit = {method: effects(subject, aim, method) for method in subject.methods()}
    frame = pd.DataFrame({name: effect[subject.units] for name, effect in by_unit.items()}, index=subject.index)
    if isinstance(subject, ModelSubject):
        frame["leverage"] = subject.leverage
    else:
        frame["leverage"] = subject.share / len(subject.share)
    best = list(by_unit)[-1]
    frame["reason"] = reasons(subject, by_unit[best])
    return frame


def effects(subject: Subject, target: Target, method: str) -> Array:
    """Return the effect of leaving out each unit on what the target reads."""
    moves = subject.moves(target, method)
    if target.reading == "value":
        return moves.value
    before = subject.point(target)
    with np.errstate(invalid="ignore"):
        after = target.read_many(before.value + moves.value, before.std_error + moves.std_error, before.critical)
    return np.asarray(after - target.read(before))
