"""Learners for targets that are products of residuals: heavy tails, little signal, so strong shrinkage."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import GammaRegressor
from sklearn.utils.validation import check_is_fitted

from causalif._errors import InputError
from causalif._validate import Array
from causalif.engine.defaults.parts import as_matrix, as_weights
from causalif.engine.linear import ridge_folds

GENEROUS = tuple(float(value) for value in np.logspace(-4, 3, 36))


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
        X, weights = as_matrix(X), None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        self.n_features_in_ = X.shape[1]
        self.fit_ = ridge_folds(X, y, [slice(0, len(X))], self.penalties, weights)[0]
        return self

    def predict(self, X: Any) -> Array:
        """Return predicted means, shape (n,)."""
        check_is_fitted(self)
        return self.fit_(as_matrix(X))


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
        X, y = as_matrix(X), np.asarray(y, dtype=np.float64)
        weights = as_weights(sample_weight, len(y))
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
        return np.asarray(self.level_ * self.model_.predict(self._standardised(as_matrix(X))))

    def _standardised(self, X: Array) -> Array:
        return np.asarray((np.clip(X, self.low_, self.high_) - self.mean_) / self.spread_)
