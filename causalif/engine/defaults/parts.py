"""What the default learners are stacked from: smooth regressions and pools, as scikit-learn estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from causalif._errors import InputError, PositivityError
from causalif._validate import Array
from causalif.engine.defaults.smooth import smooth_log_odds, smooth_mean


def as_matrix(X: Any) -> Array:
    """Return features as a matrix."""
    matrix = np.ascontiguousarray(X, dtype=np.float64)
    if matrix.ndim != 2:
        raise InputError(f"The features must be a table of rows and columns. Got shape {matrix.shape} instead.")
    return matrix


def as_weights(sample_weight: Any, n: int) -> Array:
    """Return the weights as numbers, ones where none are given."""
    return np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)


def two_classes(y: npt.NDArray[Any]) -> npt.NDArray[Any]:
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
        X, y = as_matrix(X), np.asarray(y, dtype=np.float64)
        self.n_features_in_ = X.shape[1]
        self.fit_ = smooth_mean(X, y, as_weights(sample_weight, len(y)), self.knots, self.products)
        return self

    def predict(self, X: Any) -> Array:
        """Return predicted means, shape (n,)."""
        check_is_fitted(self)
        return self.fit_(as_matrix(X))


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
        X, weights = as_matrix(X), as_weights(sample_weight, len(X))
        self.n_features_in_ = X.shape[1]
        self.classes_ = two_classes(np.asarray(y)[weights > 0])
        target = (np.asarray(y) == self.classes_[1]).astype(np.float64)
        self.fit_ = smooth_log_odds(X, target, weights, self.knots, self.products)
        return self

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, shape (n, 2)."""
        check_is_fitted(self)
        upper = 1.0 / (1.0 + np.exp(-np.clip(self.fit_(as_matrix(X)), -700.0, 700.0)))
        return np.column_stack([1.0 - upper, upper])

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the likelier class, shape (n,)."""
        return np.asarray(self.classes_[(self.predict_proba(X)[:, 1] > 0.5).astype(int)])


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
        X, y = as_matrix(X), np.asarray(y, dtype=np.float64)
        errors = X - y[:, None]
        self.coef_ = _least_on_simplex((errors * as_weights(sample_weight, len(y))[:, None]).T @ errors)
        return self

    def predict(self, X: Any) -> Array:
        """Return the average, shape (n,)."""
        return np.asarray(as_matrix(X) @ self.coef_)


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
        X, weights = as_matrix(X), as_weights(sample_weight, len(y))
        self.classes_ = np.unique(y)
        given = np.where((np.asarray(y) == self.classes_[-1])[:, None], X, 1.0 - X)
        self.coef_ = _likeliest_mixture(np.maximum(given, 1e-9), weights / weights.sum())
        return self

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, shape (n, 2)."""
        upper = np.clip(as_matrix(X) @ self.coef_, 0.0, 1.0)
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
