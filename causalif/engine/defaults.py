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
from sklearn.linear_model import GammaRegressor
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from causalif._errors import InputError, PositivityError
from causalif._validate import Array
from causalif.engine._smooth import smooth_log_odds, smooth_mean
from causalif.engine.linear import ridge_folds

BOOSTING = {
    "max_iter": 100,
    "max_leaf_nodes": 10,
    "learning_rate": 0.1,
    "min_samples_leaf": 20,
    "l2_regularization": 1.0,
    "early_stopping": False,
}
THREADS_FROM = 50_000
GENEROUS = tuple(float(value) for value in np.logspace(-4, 3, 36))


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


def _numbers(X: Any) -> Array:
    """Return features as a matrix."""
    matrix = np.ascontiguousarray(X, dtype=np.float64)
    if matrix.ndim != 2:
        raise InputError(f"The features must be a table of rows and columns. Got shape {matrix.shape} instead.")
    return matrix


def _weights(sample_weight: Any, n: int) -> Array:
    return np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)


def _inner_folds(n: int) -> int:
    """Folds inside the stack: more where rows are few, two where rows are many and time is not."""
    return 5 if n < 1000 else 3 if n < 20_000 else 2


class SmoothRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    r"""Additive curves and products of pairs, by penalised least squares.

    The mean is :math:`a + \sum_j \{b_j z_j + f_j(x_j)\} + \sum_{j<k} c_{jk} z_j z_k`, with z the standardised columns
    and f cubic splines that are penalised by their second differences.

    Parameters
    ----------
    knots : int, default 6
        Knots per column, at quantiles; columns of two values enter linearly. 0 leaves the curves out.
    products : bool, default True
        Whether pairs of columns are multiplied (each cut at three standard deviations), as long as there are at most
        300 pairs and four rows for each.

    Notes
    -----
    One penalty, and how freely curves and products move relative to straight lines (not at all, 0.1, 0.3, 1), are
    chosen by generalized cross-validation with every degree of freedom counted 1.4 times. All choices come from one
    matrix of sums over the rows, gathered in chunks of 32 MB.

    References
    ----------
    Eilers and Marx (1996), Statistical Science 11, 89-121, equation (3). Wood (2017), Generalized Additive Models,
    section 6.2 (generalized cross-validation with its factor 1.4).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(-3, 3, 200)[:, None]
    >>> model = SmoothRegressor().fit(x, np.sin(x[:, 0]))
    >>> bool(abs(model.predict(np.array([[1.0]]))[0] - np.sin(1.0)) < 0.05)
    True
    """

    def __init__(self, knots: int = 6, products: bool = True) -> None:
        self.knots = knots
        self.products = products

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SmoothRegressor:
        """Fit on features (n, p), target (n,) and optional weights (n,)."""
        X, y = _numbers(X), np.asarray(y, dtype=np.float64)
        self.n_features_in_ = X.shape[1]
        self.fit_ = smooth_mean(X, y, _weights(sample_weight, len(y)), self.knots, self.products)
        return self

    def predict(self, X: Any) -> Array:
        """Return predicted means, shape (n,)."""
        check_is_fitted(self)
        return self.fit_(_numbers(X))


class SmoothClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Additive curves and products of pairs on the log odds scale, by penalised logistic regression.

    Parameters
    ----------
    knots, products
        As in `SmoothRegressor`.

    Notes
    -----
    Penalised Newton steps; the penalties are chosen in the first three by an unbiased risk estimate with every degree
    of freedom counted 1.4 times. With more than 40,000 rows they are chosen on 20,000 of them, and three steps on all
    rows follow. The penalty is never 0, so that separated classes give finite probabilities.

    References
    ----------
    Wood (2017), Generalized Additive Models, section 6.2 (unbiased risk estimate), section 6.5 (penalised steps with
    the choice of penalties inside).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(-3, 3, 200)[:, None]
    >>> model = SmoothClassifier().fit(x, (np.arange(200) % 3 == 0).astype(int))
    >>> model.predict_proba(x).shape
    (200, 2)
    """

    def __init__(self, knots: int = 6, products: bool = True) -> None:
        self.knots = knots
        self.products = products

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SmoothClassifier:
        """Fit on features (n, p), a target (n,) of two classes and optional weights (n,)."""
        X, weights = _numbers(X), _weights(sample_weight, len(X))
        self.n_features_in_ = X.shape[1]
        self.classes_ = _two_classes(np.asarray(y)[weights > 0])
        target = (np.asarray(y) == self.classes_[1]).astype(np.float64)
        self.fit_ = smooth_log_odds(X, target, weights, self.knots, self.products)
        return self

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, shape (n, 2)."""
        check_is_fitted(self)
        upper = 1.0 / (1.0 + np.exp(-np.clip(self.fit_(_numbers(X)), -700.0, 700.0)))
        return np.column_stack([1.0 - upper, upper])

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the likelier class, shape (n,)."""
        return np.asarray(self.classes_[(self.predict_proba(X)[:, 1] > 0.5).astype(int)])


def _two_classes(y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the two classes of a target, or say what is wrong with it."""
    classes = np.unique(y)
    if len(classes) == 1:
        raise PositivityError(
            f"The target is {classes[0]} in every training row: a probability needs both levels. Use fewer folds, "
            "stratify them by the target, or widen the sample."
        )
    if len(classes) != 2:
        raise InputError(f"The target of a probability must have two values. Found {len(classes)} instead.")
    return classes


class PooledRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Average of predictions with shares that minimise squared error.

    The shares are at least 0 and add to 1.

    Notes
    -----
    The quadratic is minimised exactly, by comparing the solutions on all supports: seven small systems for three
    predictions.

    Examples
    --------
    >>> import numpy as np
    >>> pool = PooledRegressor().fit(np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([0.5, 1.0]))
    >>> pool.coef_
    array([0.5, 0.5])
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> PooledRegressor:
        """Fit on predictions (n, m), target (n,) and optional weights (n,)."""
        X, y = _numbers(X), np.asarray(y, dtype=np.float64)
        errors = X - y[:, None]
        self.coef_ = _least_on_simplex((errors * _weights(sample_weight, len(y))[:, None]).T @ errors)
        return self

    def predict(self, X: Any) -> Array:
        """Return the average, shape (n,)."""
        return np.asarray(_numbers(X) @ self.coef_)


class PooledClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Average of predicted probabilities with shares that maximise the likelihood.

    The shares are at least 0 and add to 1, so that the average is a probability.

    Examples
    --------
    >>> import numpy as np
    >>> pool = PooledClassifier().fit(np.array([[0.9, 0.5], [0.1, 0.5]]), np.array([1, 0]))
    >>> pool.coef_.round(3)
    array([1., 0.])
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> PooledClassifier:
        """Fit on probabilities of the second class (n, m), classes (n,) and optional weights (n,)."""
        X, weights = _numbers(X), _weights(sample_weight, len(y))
        self.classes_ = np.unique(y)
        given = np.where((np.asarray(y) == self.classes_[-1])[:, None], X, 1.0 - X)
        self.coef_ = _likeliest_mixture(np.maximum(given, 1e-9), weights / weights.sum())
        return self

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, shape (n, 2)."""
        upper = np.clip(_numbers(X) @ self.coef_, 0.0, 1.0)
        return np.column_stack([1.0 - upper, upper])

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the likelier class, shape (n,)."""
        return np.asarray(self.classes_[(self.predict_proba(X)[:, 1] > 0.5).astype(int)])


def _least_on_simplex(gram: Array) -> Array:
    """Minimise w' G w over shares: the best of the interior solutions over all supports (m is 2 or 3)."""
    m = len(gram)
    scale = max(float(np.trace(gram)), np.finfo(np.float64).tiny)
    gram = gram / scale + 1e-10 * np.eye(m)
    best, shares = np.inf, np.full(m, 1.0 / m)
    for code in range(1, 2**m):
        used = [j for j in range(m) if code >> j & 1]
        inner = np.linalg.solve(gram[np.ix_(used, used)], np.ones(len(used)))
        trial = np.zeros(m)
        trial[used] = inner / inner.sum()
        value = float(trial @ gram @ trial)
        if trial.min() >= 0 and value < best:
            best, shares = value, trial
    return shares


def _likeliest_mixture(given: Array, weights: Array) -> Array:
    """Maximise sum_i w_i log(sum_m s_m p_mi) over shares s, by the EM algorithm."""
    shares = np.full(given.shape[1], 1.0 / given.shape[1])
    for _ in range(200):
        new = shares * ((weights / (given @ shares)) @ given)
        moved = float(np.abs(new - shares).max())
        shares = new
        if moved < 1e-4:
            break
    return np.asarray(shares / shares.sum())


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
        self.classes_ = _two_classes(y)
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


class ShrunkenRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    r"""Ridge regression on standardised main effects, able to shrink to a constant: the default second stage.

    Parameters
    ----------
    penalties : tuple of float, default 36 values from 1e-4 to 1000
        Penalties per row, on the scale of `causalif.engine.linear.ridge_folds`; the one of smallest generalized
        cross-validation error is used.

    Notes
    -----
    For targets that are products of residuals, whose tails are heavy and whose signal is small: a flexible learner
    would follow a few rows.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    >>> ShrunkenRegressor(penalties=(1.0,)).fit(X, 6 * X[:, 0]).predict(X[:2])
    array([-3.,  3.])
    """

    def __init__(self, penalties: tuple[float, ...] = GENEROUS) -> None:
        self.penalties = penalties

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> ShrunkenRegressor:
        """Fit on features (n, p), target (n,) and optional weights (n,)."""
        X, weights = _numbers(X), None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        self.n_features_in_ = X.shape[1]
        self.fit_ = ridge_folds(X, y, [slice(0, len(X))], self.penalties, weights)[0]
        return self

    def predict(self, X: Any) -> Array:
        """Return predicted means, shape (n,)."""
        check_is_fitted(self)
        return self.fit_(_numbers(X))


class LogLinearVariance(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    r"""Gamma regression with logarithmic link on standardised main effects: the default learner of variances.

    The mean is :math:`\exp(a + \sum_j b_j z_j)`, always positive.

    Parameters
    ----------
    effect_size : float, default 0.3
        Standard deviation of the slopes, per standard deviation of a column, that is expected beforehand; the smaller,
        the stronger the shrinkage towards a constant variance.

    Notes
    -----
    The penalty is that of slopes drawn from N(0, effect_size^2): dispersion / (n effect_size^2) per row, and 0.01 at
    least, where the dispersion var(y) / mean(y)^2 is large for heavy-tailed targets and n is the effective number of
    rows, (sum w)^2 / sum w^2. Targets of exactly 0 count as 1e-8 of the mean, which changes no estimating equation by
    more than that. New rows are predicted within the range of each column in training, since an exponential is not
    to be extrapolated.

    References
    ----------
    McCullagh and Nelder (1989), Generalized Linear Models, section 8.3 (Gamma errors, logarithmic link).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 1))
    >>> model = LogLinearVariance().fit(X, rng.normal(size=500) ** 2)
    >>> bool(np.all(model.predict(X) > 0))
    True
    """

    def __init__(self, effect_size: float = 0.3) -> None:
        self.effect_size = effect_size

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LogLinearVariance:
        """Fit on features (n, p), a target (n,) of at least 0 and optional weights (n,)."""
        X, y = _numbers(X), np.asarray(y, dtype=np.float64)
        weights = _weights(sample_weight, len(y))
        if not (y.min() >= 0 and weights @ y > 0):
            raise InputError(
                f"The target of a variance must be at least 0 and not 0 everywhere. Found a minimum of {y.min():g}."
            )
        self.n_features_in_ = X.shape[1]
        share = weights / weights.sum()
        self.level_ = float(share @ y)
        self.low_, self.high_ = X[weights > 0].min(axis=0), X[weights > 0].max(axis=0)
        self.mean_ = share @ X
        spread = np.sqrt(share @ (X - self.mean_) ** 2)
        self.spread_ = np.where(spread > 1e-12 * np.abs(self.mean_), spread, np.inf)
        relative = y / self.level_
        dispersion = float(share @ (relative - 1.0) ** 2)
        penalty = max(0.01, dispersion * float(share @ share) / self.effect_size**2)
        model = GammaRegressor(alpha=penalty, solver="newton-cholesky", max_iter=100)
        self.model_ = model.fit(self._standardised(X), np.maximum(relative, 1e-8), sample_weight=weights)
        return self

    def predict(self, X: Any) -> Array:
        """Return predicted variances, shape (n,)."""
        check_is_fitted(self)
        return np.asarray(self.level_ * self.model_.predict(self._standardised(_numbers(X))))

    def _standardised(self, X: Array) -> Array:
        return np.asarray((np.clip(X, self.low_, self.high_) - self.mean_) / self.spread_)
