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
        np.ones(estimate.n) if share is None else share,
        share is not None and is_mean(estimate),
        refit or refitter(estimate),
        read_units(estimate.clusters, estimate.index),
        str(estimate.settings.get("estimator", "Estimate")),
    )


def is_mean(estimate: Estimate) -> bool:
    """Whether the estimate is the mean of its scores, once the nuisances are given."""
    repeats = estimate.splits is not None and estimate.splits["repeat"].nunique() > 1
    sandwich = "sandwich" in str(estimate.settings.get("se_source", ""))
    return not repeats and not sandwich


def denominator(estimate: Estimate) -> Array | None:
    """Return each row's share of the estimate's denominator, mean one; None where it cannot be known."""
    weights = _weights(estimate)
    treated = _treated(estimate)
    if weights is None or treated is None:
        return None
    share = weights * treated
    return np.asarray(share / share.mean())


def _weights(estimate: Estimate) -> Array | None:
    named = estimate.settings.get("weights")
    if named is None:
        return np.ones(estimate.n)
    if estimate.origin is None:
        return None
    return read_table(estimate.origin.data, weights=named).weights


def _treated(estimate: Estimate) -> Array | None:
    """Effects among the treated divide by the number of treated rows."""
    estimator = estimate.origin.estimator if estimate.origin is not None else None
    if getattr(estimator, "target", "all") != "treated":
        among = "among the treated" in str(estimate.settings.get("estimator", ""))
        return None if estimator is None and among else np.ones(estimate.n)
    assert estimate.origin is not None
    assert estimator is not None
    table = read_table(estimate.origin.data, coded={"treatment": estimator.treatment})
    levels = table.levels[estimator.treatment]
    level = levels[1] if estimator.levels is None else estimator.levels[0]
    return np.asarray(table[estimator.treatment] == levels.index(level), dtype=float)
