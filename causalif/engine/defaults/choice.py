"""The learners behind ``learners="auto"``: good without tuning, weighted throughout, cheap enough to cross-fit."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    StackingClassifier,
    StackingRegressor,
)
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import ThreadpoolController

from causalif._errors import InputError
from causalif._validate import Array
from causalif.engine.defaults.parts import (
    PooledClassifier,
    PooledRegressor,
    SmoothClassifier,
    SmoothRegressor,
    two_classes,
)
from causalif.engine.defaults.second_stage import LogLinearVariance, ShrunkenRegressor

BOOSTING = {
    "max_iter": 100,
    "max_leaf_nodes": 10,
    "learning_rate": 0.1,
    "min_samples_leaf": 20,
    "l2_regularization": 1.0,
    "early_stopping": False,
}
THREADS_FROM = 50_000


def default_learner(kind: Literal["mean", "probability"], smooth: bool = False) -> Any:
    """Return the learner that ``learners="auto"`` uses for a nuisance.

    Parameters
    ----------
    kind : {"mean", "probability"}
        What the nuisance is.
    smooth : bool, default False
        Whether the target is a product of residuals: heavy-tailed, with little signal. Then the learner is ridge
        regression (or penalised logistic regression) on standardised main effects, able to shrink to a constant.

    Returns
    -------
    scikit-learn estimator
        `StackedRegressor`, `StackedClassifier`, `ShrunkenRegressor` or `SmoothClassifier`, not fitted.

    Raises
    ------
    InputError
        `kind` is neither of the two.

    Examples
    --------
    >>> default_learner("mean")
    StackedRegressor()
    >>> default_learner("mean", smooth=True)
    ShrunkenRegressor()
    """
    if kind == "mean":
        return ShrunkenRegressor() if smooth else StackedRegressor()
    if kind == "probability":
        return SmoothClassifier(knots=0, products=False) if smooth else StackedClassifier()
    raise InputError(f"`kind` must be 'mean' or 'probability'. Got {kind!r} instead.")


def default_variance_learner() -> Any:
    """Return the learner that ``learners="auto"`` uses for a conditional variance.

    Returns
    -------
    scikit-learn estimator
        `LogLinearVariance`, not fitted.

    Examples
    --------
    >>> default_variance_learner()
    LogLinearVariance()
    """
    return LogLinearVariance()


class StackedRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Smooth additive regression and gradient boosting, stacked: the default learner of means.

    Parameters
    ----------
    random_state : int or None, default None
        Seed of the inner folds and of the boosting.

    Notes
    -----
    `sklearn.ensemble.StackingRegressor` of `SmoothRegressor()`, the same without curves and products (straight lines
    alone), and `HistGradientBoostingRegressor` with 100 trees of 10 leaves; shares by `PooledRegressor` from
    predictions out of 5, 3 or 2 inner folds (below 1,000, below 20,000, from 20,000 rows on). Sample weights reach
    every part. No part starts processes, and below 50,000 rows none uses more than one thread.

    References
    ----------
    van der Laan, Polley and Hubbard (2007), Statistical Applications in Genetics and Molecular Biology 6(1), 25.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2))
    >>> model = StackedRegressor(random_state=0).fit(X, X[:, 0])
    >>> bool(np.abs(model.predict(X) - X[:, 0]).max() < 0.1)
    True
    """

    def __init__(self, random_state: int | None = None) -> None:
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> StackedRegressor:
        """Fit on features (n, p), target (n,) and optional weights (n,)."""
        self.n_features_in_ = np.shape(X)[1]
        X, y, weights = _present(X, y, sample_weight)
        parts = [
            ("smooth", SmoothRegressor()),
            ("straight", SmoothRegressor(knots=0, products=False)),
            ("boosting", HistGradientBoostingRegressor(**BOOSTING, random_state=self.random_state)),
        ]
        cv = KFold(_inner_folds(len(y)), shuffle=True, random_state=self.random_state)
        stack = StackingRegressor(parts, final_estimator=PooledRegressor(), cv=cv)
        with _few_threads(len(y)), config_context(enable_metadata_routing=False):
            self.stack_ = stack.fit(X, y, **weights)
        return self

    def predict(self, X: Any) -> Array:
        """Return predicted means, shape (n,)."""
        check_is_fitted(self)
        with _few_threads(len(X)):
            return np.asarray(self.stack_.predict(X))


class StackedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Smooth additive logistic regression and gradient boosting, stacked: the default learner of probabilities.

    Parameters
    ----------
    random_state : int or None, default None
        Seed of the inner folds and of the boosting.

    Notes
    -----
    `sklearn.ensemble.StackingClassifier` of `SmoothClassifier()`, the same without curves and products, and
    `HistGradientBoostingClassifier` with 100 trees of 10 leaves; shares by `PooledClassifier` from predictions out of
    5, 3 or 2 inner folds, stratified by class (below 1,000, below 20,000, from 20,000 rows on; no more than the rarer
    class has rows). A class of one row leaves nothing to validate with: then `SmoothClassifier` is used alone.

    References
    ----------
    van der Laan, Polley and Hubbard (2007), Statistical Applications in Genetics and Molecular Biology 6(1), 25.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2))
    >>> StackedClassifier(random_state=0).fit(X, X[:, 0] + rng.normal(size=300) > 0).predict_proba(X).shape
    (300, 2)
    """

    def __init__(self, random_state: int | None = None) -> None:
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> StackedClassifier:
        """Fit on features (n, p), a target (n,) of two classes and optional weights (n,)."""
        self.n_features_in_ = np.shape(X)[1]
        X, y, weights = _present(X, y, sample_weight)
        self.classes_ = two_classes(y)
        rarest = min(int(np.sum(y == level)) for level in self.classes_)
        folds = min(_inner_folds(len(y)), rarest)
        if folds < 2:
            self.stack_ = SmoothClassifier().fit(X, y, **weights)
            return self
        parts = [
            ("smooth", SmoothClassifier()),
            ("straight", SmoothClassifier(knots=0, products=False)),
            ("boosting", HistGradientBoostingClassifier(**BOOSTING, random_state=self.random_state)),
        ]
        cv = StratifiedKFold(folds, shuffle=True, random_state=self.random_state)
        stack = StackingClassifier(parts, final_estimator=PooledClassifier(), cv=cv, stack_method="predict_proba")
        with _few_threads(len(y)), config_context(enable_metadata_routing=False):
            self.stack_ = stack.fit(X, y, **weights)
        return self

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, shape (n, 2)."""
        check_is_fitted(self)
        with _few_threads(len(X)):
            return np.asarray(self.stack_.predict_proba(X))

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the likelier class, shape (n,)."""
        return np.asarray(self.classes_[(self.predict_proba(X)[:, 1] > 0.5).astype(int)])


def _inner_folds(n: int) -> int:
    """Folds inside the stack: more where rows are few, two where rows are many and time is not."""
    return 5 if n < 1000 else 3 if n < 20_000 else 2


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()


def _few_threads(n: int) -> AbstractContextManager[Any]:
    """Keep boosting on one thread where trees are so small that threads would mostly wait for each other."""
    limit = 1 if n < THREADS_FROM else None
    return cast(AbstractContextManager[Any], _thread_pools().limit(limits=limit, user_api="openmp"))


def _present(X: Any, y: Any, sample_weight: Any) -> tuple[Any, npt.NDArray[Any], dict[str, Array]]:
    """Return the rows of positive weight, with their weights as arguments of ``fit``."""
    y = np.asarray(y)
    if sample_weight is None:
        return X, y, {}
    weights = np.asarray(sample_weight, dtype=np.float64)
    kept = weights > 0
    return (X, y, {"sample_weight": weights}) if kept.all() else (X[kept], y[kept], {"sample_weight": weights[kept]})
