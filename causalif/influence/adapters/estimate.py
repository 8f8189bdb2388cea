"""causalif Estimates: what kind of mean they are, and how they are fitted again."""

from __future__ import annotations

from typing import Any

import numpy as np

from causalif._errors import InputError
from causalif._validate import Array
from causalif.influence.adapters._units import read_units
from causalif.influence.estimate_subject import EstimateSubject
from causalif.influence.refit import Refit, refitter
from causalif.results.estimate import Estimate
from causalif.table import read_table


def adapt_estimate(estimate: Estimate, data: Any, clusters: Any, refit: Refit | None) -> EstimateSubject:
    """Return the subject; clusters of the fit are removed whole."""
    if data is not None:
        raise InputError("`data` is for scikit-learn fits; an Estimate remembers its own rows.")
    if clusters is not None and estimate.clusters is None:
        raise InputError("`clusters` is for fits of other packages; fit the estimate with `cluster` instead.")
    share = denominator(estimate)
    return EstimateSubject(
        estimate,
        share,
        is_mean(estimate),
        refit or refitter(estimate),
        read_units(estimate.clusters, estimate.index),
        str(estimate.settings.get("estimator", "Estimate")),
    )


def is_mean(estimate: Estimate) -> bool:
    """Whether the estimate is the mean of its scores, once the nuisances are given.

    Known only of what an estimator fitted: a ratio or a logarithm of estimates is no mean, and has no origin.
    """
    if estimate.origin is None:
        return False
    repeats = estimate.splits is not None and estimate.splits["repeat"].nunique() > 1
    # what `causalif.engine.crossfit` evaluates says so; sandwiches and averages over models say otherwise
    scored = str(estimate.settings.get("se_source", "")).startswith("influence function,")
    return scored and not repeats


def denominator(estimate: Estimate) -> Array:
    """Return each row's share of the estimate's denominator, mean one."""
    if estimate.origin is None:
        return np.ones(estimate.n)  # not used: see `is_mean`
    weights = _weights(estimate)
    treated = _treated(estimate)
    share = weights * treated
    return np.asarray(share / share.mean())


def _weights(estimate: Estimate) -> Array:
    named = estimate.settings.get("weights")
    if named is None:
        return np.ones(estimate.n)
    assert estimate.origin is not None
    weights = read_table(estimate.origin.data, weights=named).weights
    assert weights is not None
    return weights


def _treated(estimate: Estimate) -> Array:
    """Effects among the treated divide by the number of treated rows."""
    assert estimate.origin is not None
    estimator = estimate.origin.estimator
    if getattr(estimator, "target", "all") != "treated":
        return np.ones(estimate.n)
    table = read_table(estimate.origin.data, coded={"treatment": estimator.treatment})
    levels = table.levels[estimator.treatment]
    level = levels[1] if estimator.levels is None else estimator.levels[0]
    return np.asarray(table[estimator.treatment] == levels.index(level), dtype=float)
