"""Density ratios by classification: observed rows against rows whose two blocks were dealt independently."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgWarning
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning as SklearnConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, SplineTransformer, StandardScaler
from sklearn.utils.validation import check_is_fitted

from causalif._errors import InputError
from causalif._validate import Array
from causalif.engine.learners import Learners, Predictor, SklearnLearner, SklearnPredictor, choose_learner
from causalif.engine.nuisance import DensityRatio, ShiftRatio, met, selected
from causalif.engine.riesz import SIMPLE, RieszLearner
from causalif.table import Table

# Between normal blocks the ratio varies about as much as they are correlated. One that varies by less than a tenth of
# that, where the correlation is six standard errors from 0, comes from a classifier that cannot see the dependence.
FLAT, CORRELATED = 0.1, 6.0
CERTAIN = 1e-9
MOST_TERMS = 600
LOOKED_AT = 2000
FEWEST = 20
Numbers = npt.NDArray[np.intp]


def quadratic_logistic() -> Pipeline:
    """Return logistic regression on standardised columns, their squares and products, hardly penalised."""
    return _logistic(PolynomialFeatures(2, include_bias=False), 100.0)


def _logistic(terms: Any, C: float) -> Pipeline:
    logistic = LogisticRegression(C=C, solver="newton-cholesky", max_iter=200)
    return make_pipeline(StandardScaler(), terms, StandardScaler(), logistic)


class RatioClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Penalised logistic regression with products of columns, how rich being cross-validated: the default for ratios.

    Parameters
    ----------
    random_state : int or None, default None
        Seed of the inner folds.

    Notes
    -----
    Candidates: squares and products of two; up to products of three; products of quadratic splines with four knots.
    The one with the smallest log loss out of three folds is fitted to all rows. Each is left out where it would have
    more than 600 terms. Gradient boosting is no candidate: dealing the blocks independently keeps every column's own
    law, so no first split of a tree separates the classes, and boosted trees find the ratio 1.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> m = rng.normal(size=(400, 1))
    >>> observed, dealt = np.hstack([m, m + rng.normal(size=m.shape)]), np.hstack([m, 1.4 * rng.normal(size=m.shape)])
    >>> model = RatioClassifier(random_state=0).fit(np.vstack([observed, dealt]), np.repeat([0, 1], 400))
    >>> model.predict_proba(np.array([[2.0, 2.0], [2.0, -2.0]]))[:, 1].round(0)
    array([0., 1.])
    """

    def __init__(self, random_state: int | None = None) -> None:
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> RatioClassifier:
        """Fit on features (n, p), a target (n,) of two classes and optional weights (n,)."""
        X, y = np.asarray(X, dtype=float), np.asarray(y)
        w = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
        self.n_features_in_ = X.shape[1]
        candidates = _candidates(X.shape[1])
        chosen = candidates[0]
        if len(candidates) > 1:
            parts = list(StratifiedKFold(3, shuffle=True, random_state=self.random_state).split(X, y))
            chosen = min(candidates, key=lambda model: sum(_loss(model, X, y, w, *part) for part in parts))
        self.model_ = _fitted(chosen, X, y, w)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, shape (n, 2)."""
        check_is_fitted(self)
        return np.asarray(self.model_.predict_proba(np.asarray(X, dtype=float)))

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the likelier class, shape (n,)."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])


def _candidates(p: int) -> list[Pipeline]:
    """Return the models whose number of terms is bearable, simplest first."""
    models = [quadratic_logistic()]
    if math.comb(p + 3, 3) <= MOST_TERMS:
        models.append(_logistic(PolynomialFeatures(3, include_bias=False), 1.0))
    if math.comb(4 * p + 1, 2) <= MOST_TERMS:
        splines = SplineTransformer(n_knots=4, degree=2, include_bias=False)
        products = PolynomialFeatures(2, interaction_only=True, include_bias=False)
        models.append(_logistic(make_pipeline(splines, StandardScaler(), products), 0.03))
    return models


def _fitted(model: Pipeline, X: Array, y: npt.NDArray[Any], w: Array) -> Pipeline:
    with warnings.catch_warnings():
        # A fit that stops early is still a probability; cross-validation has judged it.
        warnings.simplefilter("ignore", SklearnConvergenceWarning)
        warnings.simplefilter("ignore", LinAlgWarning)
        return clone(model).fit(X, y, logisticregression__sample_weight=w)


def _loss(model: Pipeline, X: Array, y: npt.NDArray[Any], w: Array, train: Numbers, test: Numbers) -> float:
    p = _fitted(model, X[train], y[train], w[train]).predict_proba(X[test])
    return float(log_loss(y[test], p, sample_weight=w[test]))


@dataclass(frozen=True, eq=False)
class RatioLearner:
    """A probabilistic classifier used to estimate a density ratio.

    Parameters
    ----------
    classifier : SklearnLearner
        Tells observed from independently dealt rows.
    """

    classifier: SklearnLearner

    @property
    def estimator(self) -> Any:
        """The classifier, for reports."""
        return self.classifier.estimator

    def fit(self, spec: DensityRatio | ShiftRatio, table: Table, seed: int) -> Predictor:
        """Fit on training rows and return the ratio as a function of the columns ``spec.given``."""
        if isinstance(spec, ShiftRatio):
            return self._fit_shift(spec, table, seed)
        inside = met(spec.within, table)
        table = table if inside is None else table.take(inside)
        X, y, weights = _classes(spec, table, np.random.default_rng(seed))
        fitted = self.classifier.fit(X, spec.given, y, weights, seed)
        _require_interactions(fitted, len(spec.given))
        ratio = Ratio(fitted, float(weights[y == 0].sum() / weights[y == 1].sum()))
        _require_dependence_seen(ratio, spec, table)
        return ratio

    def _fit_shift(self, spec: ShiftRatio, table: Table, seed: int) -> Predictor:
        """Tell rows that were moved (class 1) from observed ones (class 0) where both can be."""
        a, X, sampled = table[spec.treatment], table.matrix(spec.given), table.weights
        moved, seen = spec.moves(a), spec.reached(a)
        if moved.sum() < FEWEST or seen.sum() < FEWEST:
            raise InputError(
                f"only {int(moved.sum())} rows can be shifted by {spec.shift:g} within [{spec.low:g}, {spec.high:g}]. "
                "Choose a smaller shift"
            )
        shifted = X[moved].copy()
        shifted[:, 0] += spec.shift
        y = np.repeat([0.0, 1.0], [int(seen.sum()), len(shifted)])
        w = np.ones(len(y)) if sampled is None else np.concatenate([sampled[seen], sampled[moved]])
        fitted = self.classifier.fit(np.vstack([X[seen], shifted]), spec.given, y, w, seed)
        return ShiftedRatio(Ratio(fitted, 1.0), spec)


@dataclass(frozen=True, eq=False)
class Ratio:
    """A fitted density ratio: odds of the dealt class, times the sizes of the classes."""

    probability: Predictor
    sizes: float

    def __call__(self, X: Array) -> Array:
        """Return the ratio at every row, shape (n,)."""
        p = np.clip(self.probability(X), 0.0, 1.0 - CERTAIN)
        return np.asarray(self.sizes * p / (1.0 - p))


@dataclass(frozen=True, eq=False)
class ShiftedRatio:
    """A fitted ratio of moved to observed rows, 0 where no row can have moved to."""

    ratio: Ratio
    spec: ShiftRatio

    def __call__(self, X: Array) -> Array:
        """Return the ratio at every row, shape (n,)."""
        return np.where(self.spec.reached(X[:, 0]), self.ratio(X), 0.0)


def choose_ratio_learner(learners: Learners, spec: DensityRatio | ShiftRatio) -> RatioLearner | RieszLearner:
    """Return the learner of a ratio: the default, a quadratic logistic regression for "linear", or a user's."""
    chosen = learners.get(spec.learner, "auto") if isinstance(learners, Mapping) else learners
    if isinstance(spec, ShiftRatio):
        return RatioLearner(_shift_classifier(learners, spec, chosen))
    if spec.by == "riesz":
        return RieszLearner((SIMPLE,)) if chosen == "linear" else RieszLearner()
    if spec.among:
        raise InputError('A density ratio with `among` is estimated by least squares only: ask for by="riesz".')
    if isinstance(chosen, str) and chosen == "linear":
        return RatioLearner(SklearnLearner(quadratic_logistic(), "probability"))
    if hasattr(chosen, "fit_folds"):
        raise InputError(
            f"The learner for {spec.learner!r} must contain interactions; {chosen!r} is linear in the columns and "
            'would return the ratio 1 everywhere. Leave it at "auto", or pass a classifier with products of columns.'
        )
    if isinstance(chosen, str):
        return RatioLearner(SklearnLearner(RatioClassifier(), "probability"))
    learner: SklearnLearner = choose_learner(learners, spec)
    return RatioLearner(learner)


def _shift_classifier(learners: Learners, spec: ShiftRatio, chosen: Any) -> SklearnLearner:
    """Return the classifier of moved rows, any that can predict probabilities."""
    if isinstance(chosen, str):
        model = quadratic_logistic() if chosen == "linear" else RatioClassifier()
        return SklearnLearner(model, "probability")
    learner: SklearnLearner = choose_learner(learners, spec)
    return learner


def _classes(spec: DensityRatio, table: Table, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Stack observed rows (class 0) on independently dealt ones (class 1), each class with its weights."""
    first, second = table.matrix(spec.first), table.matrix(spec.second)
    n, rounds = len(table), spec.permutations
    sampled = np.ones(n) if table.weights is None else table.weights
    counted = selected(spec, table)
    pool = np.arange(n) if counted is None else np.flatnonzero(counted)
    left = np.tile(pool, -(-n * rounds // len(pool)))[: n * rounds]
    if counted is not None:
        left = rng.permuted(left)
    right = np.concatenate([rng.permutation(n) for _ in range(rounds)])
    X = np.vstack([np.hstack([first, second]), np.hstack([first[left], second[right]])])
    y = np.repeat([0.0, 1.0], [n, n * rounds])
    return X, y, np.concatenate([sampled, sampled[left] * sampled[right]])


def _require_interactions(fitted: Predictor, columns: int) -> None:
    """Refuse a classifier that is linear in the columns: dealing keeps every mean, so all its slopes are zero."""
    model = fitted.model if isinstance(fitted, SklearnPredictor) else None
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    slopes = getattr(last, "coef_", None)
    if slopes is not None and np.shape(slopes)[-1] == columns:
        raise InputError(
            f"the classifier {last!r} is linear in the columns and returns the ratio 1 whatever the data are. Use one "
            "with interactions of mediators and covariates: products of columns (PolynomialFeatures) or a forest"
        )


def _require_dependence_seen(ratio: Ratio, spec: DensityRatio, table: Table) -> None:
    """Refuse a ratio that is 1 everywhere although the two blocks are plainly correlated."""
    if spec.where or not spec.second:
        return
    values = ratio(table.matrix(spec.given)[:LOOKED_AT])
    strongest = _strongest_correlation(table.matrix(spec.first), table.matrix(spec.second))
    flat = max(float(values.std()), abs(float(values.mean()) - 1.0)) < FLAT * strongest
    if flat and strongest * np.sqrt(len(table)) > CORRELATED:
        raise InputError(
            "the classifier found the ratio 1 everywhere, but mediators and covariates are correlated "
            f"({strongest:.2f}); it cannot represent how they depend on each other. Use one with interactions between "
            "columns"
        )


def _strongest_correlation(first: Array, second: Array) -> float:
    def standardised(values: Array) -> npt.NDArray[np.float64]:
        spread = values.std(axis=0)
        return (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)

    return float(np.abs(standardised(first).T @ standardised(second)).max() / len(first))
