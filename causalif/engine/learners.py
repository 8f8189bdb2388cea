"""Learners: how scikit-learn estimators and the fast linear path meet the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import pandas as pd
from sklearn.base import clone, is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from causalif._errors import InputError, LearnerError
from causalif._validate import Array
from causalif.engine.linear import OLS, Logit
from causalif.engine.nuisance import NuisanceSpec

Predictor: TypeAlias = Callable[[Array], Array]
Learners: TypeAlias = str | Mapping[str, Any]

SMOOTH = frozenset({"effect", "confounding"})
SAFE_SCALE = (1e-100, 1e100)


class FoldLearner(Protocol):
    """A learner that fits the complements of several row slices at once."""

    def fit_folds(
        self, X: Array, y: Array, slices: Sequence[slice], weights: Array | None = None
    ) -> Sequence[Predictor]:
        """Return one predictor per slice, fitted on the rows outside it (on all rows if the slice is everything)."""


@dataclass(frozen=True)
class Average:
    """The (weighted) average of the target over the training rows; needs no covariates."""

    def fit_folds(
        self, X: Array, y: Array, slices: Sequence[slice], weights: Array | None = None
    ) -> Sequence[Predictor]:
        """Return one constant predictor per slice."""
        w = np.ones(len(y)) if weights is None else weights
        wy = w * y
        sums = [(wy[part].sum(), w[part].sum()) for part in slices]
        everything = len(slices) == 1 and slices[0] == slice(0, len(y))
        top, bottom = wy.sum(), w.sum()
        return [Constant(top / bottom if everything else (top - a) / (bottom - b)) for a, b in sums]


@dataclass(frozen=True)
class Constant:
    """A predictor that answers the same number everywhere."""

    value: float

    def __call__(self, X: Array) -> Array:
        """Return the number once per row."""
        return np.full(len(X), self.value)


@dataclass(frozen=True, eq=False)
class SklearnLearner:
    """Any scikit-learn estimator or Pipeline, cloned before every fit."""

    estimator: Any
    kind: str

    def fit(self, X: Array, names: Sequence[str], y: Array, weights: Array | None, seed: int) -> Predictor:
        """Fit a clone and return its predictor of means or probabilities."""
        model = _seeded(clone(self.estimator), seed)
        scale = _rescue_scale(y)
        target = y if scale == 1.0 else y / scale
        arguments = {} if weights is None else {_weight_argument(model): weights}
        model.fit(_frame(X, names), target, **arguments)
        return SklearnPredictor(model, tuple(names), scale)


@dataclass(frozen=True, eq=False)
class SklearnPredictor:
    """A fitted scikit-learn model as a function of the covariate matrix."""

    model: Any
    names: tuple[str, ...]
    scale: float

    def __call__(self, X: Array) -> Array:
        """Return predicted means, or probabilities of class 1, shape (n,)."""
        if len(X) == 0:
            return np.empty(0)
        frame = _frame(X, self.names)
        predicted = (
            _expected_class(self.model, frame) if hasattr(self.model, "predict_proba") else self.model.predict(frame)
        )
        values = np.asarray(predicted, dtype=float)
        if values.size != len(X):
            raise LearnerError(f"{self.model!r} predicted {values.size:,} values for {len(X):,} rows.")
        return values.reshape(len(X)) * self.scale


def _expected_class(model: Any, frame: pd.DataFrame) -> Array:
    """Return the sum of classes times probabilities: of classes 0 and 1, the probability of 1."""
    classes = np.asarray(model.classes_, dtype=float)
    if len(classes) == 1:  # some classifiers then give the probabilities of two
        return np.full(len(frame), classes[0])
    return np.asarray(model.predict_proba(frame) @ classes)


def _frame(X: Array, names: Sequence[str]) -> pd.DataFrame:
    """Return the covariates with their names, not copied."""
    return pd.DataFrame(X, columns=list(names), copy=False)


def _rescue_scale(y: Array) -> float:
    """Return a power of two that brings targets whose squares would under- or overflow to order one; otherwise 1."""
    size = float(np.abs(y).max(initial=0.0))
    if size == 0.0 or SAFE_SCALE[0] < size < SAFE_SCALE[1]:
        return 1.0
    return float(2.0 ** np.floor(np.log2(size)))


def _seeded(model: Any, seed: int) -> Any:
    """Give every unset ``random_state`` inside the model a seed, so that a fit is reproducible without global state."""
    unset = {
        name: seed
        for name, value in model.get_params(deep=True).items()
        if (name == "random_state" or name.endswith("__random_state")) and value is None
    }
    return model.set_params(**unset) if unset else model


def _weight_argument(model: Any) -> str:
    if isinstance(model, Pipeline):
        last, step = model.steps[-1]
        supported, name = has_fit_parameter(step, "sample_weight"), f"{last}__sample_weight"
    else:
        supported, name = has_fit_parameter(model, "sample_weight"), "sample_weight"
    if not supported:
        raise InputError(
            f"The learner {model!r} cannot use sample weights, which this fit needs. Choose another learner."
        )
    return name


def choose_learner(learners: Learners, spec: NuisanceSpec) -> Any:
    """Return the learner for one nuisance: a `FoldLearner` or a `SklearnLearner`."""
    if not spec.given:
        return Average()
    if isinstance(learners, str):
        chosen: Any = learners
    else:
        chosen = learners.get(spec.learner, "auto")
    if isinstance(chosen, str):
        chosen = _named(chosen, spec)
    if hasattr(chosen, "fit_folds"):
        return chosen
    if not hasattr(chosen, "predict_proba"):
        if spec.kind == "probability":
            raise InputError(
                f"The learner for {spec.learner!r} must predict probabilities (have predict_proba), because "
                f"{spec.target!r} is binary. Got {chosen!r} instead: choose a classifier."
            )
        if _is_classifier(chosen):
            raise InputError(
                f"The learner for {spec.learner!r} must predict means, and {chosen!r} predicts classes only: choose a "
                "regressor, or a classifier with predict_proba."
            )
    if spec.weight is not None:
        _weight_argument(chosen)
    return SklearnLearner(chosen, spec.kind)


def _is_classifier(estimator: Any) -> bool:
    try:
        return bool(is_classifier(estimator))
    except AttributeError:  # no scikit-learn tags: an estimator from elsewhere
        return False


def check_weighted(learners: Learners) -> None:
    """Raise unless every learner that was named can use sample weights."""
    for learner in learners.values() if isinstance(learners, Mapping) else ():
        if not isinstance(learner, str) and not hasattr(learner, "fit_folds"):
            _weight_argument(learner)


def _named(name: str, spec: NuisanceSpec) -> Any:
    if name == "linear" and spec.learner != "variance":
        return Logit() if spec.kind == "probability" else OLS()
    from causalif.engine.defaults import default_learner, default_variance_learner

    if spec.learner == "variance":
        return default_variance_learner()
    return default_learner("mean" if spec.kind == "mean" else "probability", smooth=spec.learner in SMOOTH)


def check_learners(learners: Learners, known: Sequence[str]) -> None:
    """Raise unless ``learners`` is "auto", "linear" or a mapping from known names to estimators."""
    if isinstance(learners, str):
        if learners not in ("auto", "linear"):
            raise InputError(f'`learners` must be "auto", "linear" or a mapping. Got {learners!r} instead.')
        return
    if not isinstance(learners, Mapping):
        raise InputError(
            f"`learners` must be 'auto', 'linear' or a mapping from names to scikit-learn estimators, such as "
            f"{{{known[0]!r}: RandomForestRegressor()}}. Got {type(learners).__name__} instead."
        )
    unknown = [name for name in learners if name not in known]
    if unknown:
        raise InputError(f"`learners` has unknown names {unknown}. The nuisances here are {list(known)}.")
    for name, learner in learners.items():
        if isinstance(learner, str):
            if learner not in ("auto", "linear"):
                raise InputError(
                    f'`learners[{name!r}]` must be an estimator, "auto" or "linear". Got {learner!r} instead.'
                )
        elif isinstance(learner, type) or not (hasattr(learner, "fit_folds") or hasattr(learner, "fit")):
            raise InputError(
                f"`learners[{name!r}]` must be a scikit-learn estimator instance. Got {learner!r} instead."
            )
