"""scikit-learn fits: their objective as a sum over rows, and how it is minimised again."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array
from causalif.influence.adapters._units import read_units
from causalif.influence.checks import checked, warn_leverage
from causalif.influence.losses import Logistic, PoissonLog, Squared
from causalif.influence.model import LinearModel, Mask
from causalif.influence.softmax import SoftmaxModel
from causalif.influence.subject import Fit, ModelSubject

KNOWN = ("LinearRegression", "Ridge", "LogisticRegression", "PoissonRegressor")
Smooth = LinearModel | SoftmaxModel


def adapt_sklearn(fitted: Any, data: Any, clusters: Any) -> ModelSubject:
    """Return the subject behind a fitted scikit-learn estimator and its training data."""
    kind = type(fitted).__name__
    if kind not in KNOWN:
        raise InputError(
            f"scikit-learn's {kind} is not supported: its objective is not a smooth sum over rows with one minimum. "
            f"Rows can be left out of {', '.join(KNOWN)}."
        )
    if not hasattr(fitted, "coef_"):
        raise InputError(f"This {kind} has not been fitted. Call its `fit` first.")
    X, y, weights, index = _read(data, fitted)
    _require_smooth(fitted, kind)
    model: Smooth = checked(_build(fitted, kind, X, y, weights, index))
    warn_leverage(model.leverage, index)
    refit = _refitter(fitted, kind, X, y, weights, index, model)
    return ModelSubject(
        model,
        Fit(model.theta),
        lambda keep: Fit(refit(keep).theta),
        read_units(clusters, index),
        robust=True,
        readapt=refit,
        described=f"scikit-learn {kind}",
        residuals=_residuals(model),
    )


def _read(data: Any, fitted: Any) -> tuple[Array, Any, Array, pd.Index]:
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        raise InputError(
            "scikit-learn fits forget their data: pass data=(X, y), or (X, y, sample_weight), as the fit had them."
        )
    index = next((part.index for part in data if isinstance(part, (pd.DataFrame, pd.Series))), None)
    given, names = data[0], list(getattr(fitted, "feature_names_in_", ()))
    if isinstance(given, pd.DataFrame) and names and given.shape[1] == len(names):
        if set(given.columns) != set(names):
            raise InputError(f"`data` has the columns {list(given.columns)}; the fit had {names}.")
        given = given.loc[:, names]
    X, y = np.asarray(given.toarray() if hasattr(given, "toarray") else given, dtype=float), np.asarray(data[1])
    if X.ndim != 2 or y.shape != (len(X),):
        raise InputError(f"`data` must hold X (n, p) and y (n,). Got shapes {X.shape} and {y.shape}.")
    if X.shape[1] != fitted.n_features_in_:
        raise InputError(f"`data` has {X.shape[1]} columns; the estimator was fitted to {fitted.n_features_in_}.")
    if not np.isfinite(X).all() or (y.dtype.kind == "f" and not np.isfinite(y).all()):
        raise InputError("`data` has missing or infinite values; pass the rows as the estimator was fitted to them.")
    weights = np.ones(len(X)) if len(data) == 2 or data[2] is None else np.asarray(data[2], dtype=float)
    if weights.shape != (len(X),) or weights.min() < 0:
        raise InputError("`data[2]`, the sample weights, must be one number of at least 0 per row.")
    return X, y, weights, pd.RangeIndex(len(X)) if index is None else index


def _require_smooth(fitted: Any, kind: str) -> None:
    if getattr(fitted, "positive", False):
        raise InputError(f"{kind}(positive=True) has corners where coefficients reach 0: use unconstrained fits.")
    if np.ndim(fitted.coef_) > 1 and kind in ("LinearRegression", "Ridge"):
        raise InputError(f"This {kind} has several targets; fit one at a time.")
    if kind != "LogisticRegression":
        return
    mixed = fitted.penalty in ("elasticnet", "deprecated")
    if fitted.penalty == "l1" or (mixed and fitted.l1_ratio):
        raise InputError("An l1 penalty has corners, where no influence function exists: use l2 (l1_ratio=0).")
    if fitted.solver == "liblinear" and fitted.fit_intercept:
        raise InputError('solver="liblinear" penalises the intercept as well: use another solver, such as "lbfgs".')


def _build(fitted: Any, kind: str, X: Array, y: Any, weights: Array, index: pd.Index) -> Smooth:
    design = np.column_stack([np.ones(len(X)), X]) if fitted.fit_intercept else X
    names = [str(name) for name in getattr(fitted, "feature_names_in_", [f"x{j}" for j in range(X.shape[1])])]
    labels = tuple(["intercept", *names] if fitted.fit_intercept else names)
    free = 1 if fitted.fit_intercept else 0
    if kind == "LogisticRegression":
        return _logistic(fitted, design, y, weights, labels, index, free)
    target, zero = np.asarray(y, dtype=float), np.zeros(len(X))
    theta = np.concatenate([np.atleast_1d(fitted.intercept_)[:free], np.ravel(fitted.coef_)])
    alpha = 0.0 if kind == "LinearRegression" else float(fitted.alpha)
    if kind == "PoissonRegressor":
        penalty = _diagonal(alpha * float(weights.sum()), len(labels), free)
        return LinearModel(design, target, weights, zero, PoissonLog(), penalty, theta, labels, index, True)
    penalty = _diagonal(alpha, len(labels), free)
    return LinearModel(design, target, weights, zero, Squared(), penalty, theta, labels, index, scaled=True)


def _diagonal(penalty: float, p: int, free: int) -> Array:
    return np.concatenate([np.zeros(free), np.full(p - free, penalty)])


def _logistic(
    fitted: Any, design: Array, y: Any, weights: Array, labels: tuple[str, ...], index: pd.Index, free: int
) -> Smooth:
    strength = 0.0 if fitted.penalty is None or np.isinf(fitted.C) else 1.0 / float(fitted.C)
    penalty = _diagonal(strength, design.shape[1], free)
    unknown = ~np.isin(y, fitted.classes_)
    if unknown.any():
        raise InputError(
            f"`data` has the label {y[unknown][0]!r}, which the estimator was not fitted to; its classes are "
            f"{fitted.classes_.tolist()}. Pass y as the fit had it."
        )
    codes = np.searchsorted(fitted.classes_, y)
    w = weights if fitted.class_weight is None else weights * _class_weights(fitted, y, weights)[codes]
    coef = np.column_stack([fitted.intercept_, fitted.coef_]) if free else np.asarray(fitted.coef_)
    if len(fitted.classes_) == 2:
        zero = np.zeros(len(y))
        return LinearModel(design, codes.astype(float), w, zero, Logistic(), penalty, coef[0], labels, index)
    named = tuple(f"{label} [{level}]" for level in fitted.classes_ for label in labels)
    return SoftmaxModel(design, codes, w, penalty, np.asarray(coef, dtype=float), named, index)


def _class_weights(fitted: Any, y: Any, weights: Array) -> Array:
    """Return the weight of each class; recent releases balance the sums of sample weights, older ones count rows."""
    from sklearn.utils.class_weight import compute_class_weight

    by_weight = "sample_weight" in signature(compute_class_weight).parameters
    return np.asarray(
        compute_class_weight(
            fitted.class_weight, classes=fitted.classes_, y=y, **({"sample_weight": weights} if by_weight else {})
        ),
        dtype=float,
    )


def _refitter(
    fitted: Any, kind: str, X: Array, y: Any, weights: Array, index: pd.Index, model: Smooth
) -> Callable[[Mask], Any]:
    """Return the minimiser of the estimator's own objective; its solver may stop too early to compare fits."""
    if getattr(fitted, "class_weight", None) != "balanced":
        return model.refitted

    def balanced(keep: Mask) -> Smooth:
        return _build(fitted, kind, X[keep], y[keep], weights[keep], index[keep]).minimised()

    return balanced


def _residuals(model: Smooth) -> Array | None:
    if not isinstance(model, LinearModel):
        return None
    safe = np.where(model.bend > 0, model.bend, 1.0)
    spread = np.sqrt(max(model.scale(), 1e-300) * np.maximum(1 - model.leverage, 1e-8))
    return np.asarray(-model.slope / np.sqrt(safe) / spread)
