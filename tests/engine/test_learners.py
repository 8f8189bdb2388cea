"""How scikit-learn estimators meet the engine: cloned, seeded, weighted, and asked for means or probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from causalif._errors import InputError, LearnerError
from causalif.engine.learners import (
    Average,
    SklearnLearner,
    check_learners,
    check_weighted,
    choose_learner,
)
from causalif.engine.linear import OLS, Logit
from causalif.engine.nuisance import Mean, Probability
from causalif.table import read_table

MEAN = Mean("y", ("x",))
CHANCE = Probability("a", ("x",))
RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 2))
NAMES = ("first", "second")


def fitted(estimator: Any, y: Any, weights: Any = None, seed: int = 1) -> Any:
    return SklearnLearner(estimator, "mean").fit(X, NAMES, np.asarray(y, dtype=float), weights, seed)


# --- choosing ---------------------------------------------------------------------------------------------------------


def test_names_choose_learners() -> None:
    assert isinstance(choose_learner("linear", MEAN), OLS)
    assert isinstance(choose_learner("linear", CHANCE), Logit)
    assert isinstance(choose_learner({"outcome": "linear"}, MEAN), OLS)
    forest = RandomForestRegressor()
    assert choose_learner({"outcome": forest}, MEAN).estimator is forest
    assert type(choose_learner({"treatment": "linear"}, MEAN).estimator).__name__ == "StackedRegressor"
    assert type(choose_learner("auto", CHANCE).estimator).__name__ == "StackedClassifier"


def test_without_covariates_there_is_nothing_to_learn() -> None:
    for spec in (Mean("y", ()), Probability("a", ())):
        assert isinstance(choose_learner({"outcome": RandomForestRegressor()}, spec), Average)


@pytest.mark.parametrize("key", ["effect", "confounding", "variance"])
@pytest.mark.parametrize("learners", ["auto", {"outcome": RandomForestRegressor()}])
def test_second_stages_stay_smooth_unless_named(key: str, learners: Any) -> None:
    spec = Mean("y", ("x",), learner=key)
    smooth = {"effect": "ShrunkenRegressor", "confounding": "ShrunkenRegressor", "variance": "LogLinearVariance"}
    assert type(choose_learner(learners, spec).estimator).__name__ == smooth[key]
    assert isinstance(choose_learner({key: RandomForestRegressor()}, spec).estimator, RandomForestRegressor)


def test_average_leaves_out_each_slice() -> None:
    y, w, slices = np.array([1.0, 2, 4, 8]), np.array([1.0, 1, 2, 0]), [slice(0, 2), slice(2, 4)]
    everything = [slice(0, 4)]
    assert [p(X[:3]).tolist() for p in Average().fit_folds(X[:4], y, slices)] == [[6.0] * 3, [1.5] * 3]
    assert [p(X[:1]).item() for p in Average().fit_folds(X[:4], y, slices, w)] == [4.0, 1.5]
    assert Average().fit_folds(X[:4], y, everything)[0](X[:1]).item() == 3.75


def test_estimators_that_cannot_do_it_are_refused() -> None:
    with pytest.raises(InputError, match="must predict probabilities"):
        choose_learner({"treatment": LinearRegression()}, CHANCE)
    with pytest.raises(InputError, match=r"must predict means, and LinearSVC\(\) predicts classes only"):
        choose_learner({"outcome": LinearSVC()}, MEAN)
    with pytest.raises(InputError, match="mapping from names"):
        check_learners(LinearRegression(), ("outcome",))  # type: ignore[arg-type]


# --- what is fitted and predicted ------------------------------------------------------------------------------------


def test_features_keep_their_names() -> None:
    """A pipeline may pick columns by name."""
    picked = make_pipeline(ColumnTransformer([("one", StandardScaler(), ["second"])]), LinearRegression())
    predictor = fitted(picked, X[:, 1])
    np.testing.assert_allclose(predictor(X), X[:, 1], atol=1e-12)
    assert list(predictor.model.feature_names_in_) == list(NAMES)


def test_no_rows_give_no_predictions() -> None:
    assert fitted(LinearRegression(), X[:, 0])(X[:0]).shape == (0,)


@pytest.mark.parametrize("classes", [(0, 1), (1, 2), (-1, 1), (0, 1, 2, 5)])
def test_a_classifier_of_a_mean_predicts_the_mean_of_the_classes(classes: tuple[int, ...]) -> None:
    """A probability of 1 is the mean of 0 and 1 only."""
    y = np.asarray(classes)[RNG.integers(0, len(classes), len(X))]
    model = LogisticRegression().fit(X, y)
    expected = model.predict_proba(X) @ model.classes_
    np.testing.assert_allclose(fitted(LogisticRegression(), y)(X), expected, atol=1e-12)
    assert abs(fitted(LogisticRegression(), y)(X).mean() - y.mean()) < 1e-3


@pytest.mark.parametrize("level", [0.0, 1.0])
@pytest.mark.parametrize("classifier", [RandomForestClassifier(5), HistGradientBoostingClassifier(max_iter=3)])
def test_training_rows_of_one_class(level: float, classifier: Any) -> None:
    assert np.unique(fitted(classifier, np.full(len(X), level))(X)).tolist() == [level]


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**-500, 2.0**500, 2.0**1000])
def test_targets_whose_squares_leave_double_precision(scale: float) -> None:
    y = X[:, 0] + RNG.normal(size=len(X))
    for estimator in (LinearRegression(), RandomForestRegressor(5, random_state=0)):
        plain, scaled = fitted(estimator, y)(X), fitted(estimator, y * scale)(X)
        np.testing.assert_allclose(scaled / scale, plain, rtol=1e-9)


def test_estimators_from_elsewhere_need_no_base_class() -> None:
    class Plain:
        """Knows nothing of scikit-learn."""

        def get_params(self, deep: bool = True) -> dict[str, Any]:
            return {}

        def set_params(self, **_: Any) -> Any:
            return self

        def fit(self, X: Any, y: Any) -> Any:
            self.mean = float(np.mean(y))
            return self

        def predict(self, X: Any) -> Any:
            return np.full((len(X), 1), self.mean)

    assert choose_learner({"outcome": Plain()}, MEAN).estimator.__class__ is Plain
    assert fitted(Plain(), np.arange(200))(X[:4]).tolist() == [99.5] * 4


def test_predictions_of_the_wrong_length_are_refused() -> None:
    class Short(RegressorMixin, BaseEstimator):
        """Forgets most rows."""

        def fit(self, X: Any, y: Any) -> Any:
            return self

        def predict(self, X: Any) -> Any:
            return np.zeros(3)

    with pytest.raises(LearnerError, match="predicted 3 values for 200 rows"):
        fitted(Short(), X[:, 0])(X)


def test_in_place_options_of_scikit_learn_leave_the_rows_alone() -> None:
    """Rows taken from a table cannot be written to, so that such an estimator works on a copy of its own."""
    names = {"x": X[:, 0], "u": X[:, 1], "y": X[:, 0]}
    read = read_table(pd.DataFrame(names), numbers={"outcome": "y"}, adjust=["x", "u"])
    for rows in (
        read.take(np.arange(len(X))),
        read.take(slice(0, 150)),
        read.take(np.arange(len(X))).take(slice(9, 99)),
    ):
        before = rows.covariates.copy()
        for estimator in (
            LinearRegression(copy_X=False),
            make_pipeline(StandardScaler(copy=False), LinearRegression()),
        ):
            predictor = SklearnLearner(estimator, "mean").fit(rows.covariates, NAMES, rows["y"], None, 0)
            np.testing.assert_allclose(predictor(rows.covariates), rows["y"], atol=1e-9)
            np.testing.assert_array_equal(rows.covariates, before)


# --- seeds and weights -----------------------------------------------------------------------------------------------


def test_only_unset_seeds_are_set_also_inside_pipelines() -> None:
    forest = make_pipeline(StandardScaler(), RandomForestRegressor(2))
    model = fitted(forest, X[:, 0], seed=5).model
    assert model[-1].random_state == 5
    assert forest[-1].random_state is None
    assert fitted(RandomForestRegressor(2, random_state=3), X[:, 0], seed=5).model.random_state == 3


@pytest.mark.parametrize(
    "estimator", [LinearRegression(), make_pipeline(StandardScaler(with_mean=False), LinearRegression())]
)
def test_weights_reach_the_last_step(estimator: Any) -> None:
    y, w = RNG.normal(size=len(X)), RNG.integers(0, 3, len(X)).astype(float)
    twice = np.repeat(np.arange(len(X)), w.astype(int))
    expected = LinearRegression().fit(X[twice], y[twice]).predict(X)
    np.testing.assert_allclose(fitted(estimator, y, w)(X), expected, atol=1e-9)


@pytest.mark.parametrize("estimator", [KNeighborsRegressor(), make_pipeline(StandardScaler(), KNeighborsRegressor())])
def test_learners_without_weights_are_refused_when_weights_are_needed(estimator: Any) -> None:
    with pytest.raises(InputError, match="cannot use sample weights"):
        fitted(estimator, X[:, 0], np.ones(len(X)))
    with pytest.raises(InputError, match="cannot use sample weights"):
        check_weighted({"outcome": estimator})
    check_weighted({"outcome": LinearRegression(), "treatment": "auto"})
    check_weighted("auto")
