"""Fit a causal estimate again without some of its rows, with the folds and seeds that it had."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd

from causalif._errors import CausalifWarning, InputError
from causalif.influence.model import Mask
from causalif.results.estimate import Estimate
from causalif.results.pooling import pool_repeats

Refit = Callable[[Mask], Estimate]


def refitter(estimate: Estimate) -> Refit | None:
    """Return the function that fits the kept rows, None where the estimate has no origin."""
    origin = estimate.origin
    if origin is None or not hasattr(origin.estimator, "fit"):
        return None
    if not hasattr(origin.estimator, "folds"):
        return lambda keep: quietly(origin.estimator, take(origin.data, keep))
    columns = fold_columns(estimate)
    if len(columns) <= 1:
        return lambda keep: _with_folds(estimate, keep, columns[0] if columns else None)
    return lambda keep: _pooled(estimate, keep, columns)


def fold_columns(estimate: Estimate) -> list[str]:
    """Return the columns of `nuisances` that hold the folds of each repeat."""
    if estimate.nuisances is None:
        return []
    names = [str(name) for name in estimate.nuisances.columns]
    return [name for name in names if name == "fold" or name.removeprefix("fold_").isdigit()]


def deals_anew(estimate: Estimate) -> bool:
    """Whether a refit splits the rows anew, because the estimate does not hold its folds."""
    estimator = None if estimate.origin is None else estimate.origin.estimator
    return getattr(estimator, "folds", 1) != 1 and not fold_columns(estimate)


def take(data: Any, keep: Mask) -> Any:
    """Return the kept rows of any eager frame."""
    if isinstance(data, pd.DataFrame):
        return data.iloc[np.flatnonzero(keep)]
    frame = nw.from_native(data, eager_only=True)
    return frame[np.flatnonzero(keep).tolist(), :].to_native()


def quietly(estimator: Any, data: Any) -> Estimate:
    """Fit; what there is to warn of has been said of the full fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalifWarning)
        fitted: Estimate = estimator.fit(data)
    return fitted


def _with_folds(estimate: Estimate, keep: Mask, column: str | None, **changes: Any) -> Estimate:
    assert estimate.origin is not None
    estimator, data = estimate.origin.estimator, take(estimate.origin.data, keep)
    if column is None:
        return quietly(estimator, data)
    assert estimate.nuisances is not None
    folds = estimate.nuisances[column].to_numpy()[keep]
    if estimate.nuisances[column].nunique() == 1:
        return quietly(replace(estimator, folds=1, **changes), data)
    if len(np.unique(folds)) < 2:
        raise InputError("Without these rows only one fold is left, so that nothing can be fitted out of fold.")
    # A Generator has moved on since the fit; the seed that it drew is in the settings.
    seeded = {"random_state": estimate.settings.get("random_state", estimator.random_state)}
    return quietly(replace(estimator, folds=folds, **(seeded | changes)), data)


def _pooled(estimate: Estimate, keep: Mask, columns: list[str]) -> Estimate:
    """Fit every repeat on its own folds and pool them as the estimate did."""
    fits = [_with_folds(estimate, keep, column, repeats=1) for column in columns]
    first = fits[0]
    values = np.array([fit.values for fit in fits])
    pooled, influence, splits = pool_repeats(
        values, (fit.influence_values for fit in fits), first.labels, first.clusters
    )
    return replace(first, values=pooled, influence_values=influence, splits=splits)
