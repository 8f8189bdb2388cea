import re

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDRegressor
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from causalif._errors import InputError, LearnerError
from causalif.estimators.kairos import KAIROS
from causalif.valuation import curves, detection


@pytest.fixture(scope="module")
def value():
    rng = np.random.default_rng(0)
    train, clean = (pd.DataFrame(rng.normal(size=(rows, 2)), columns=["a", "b"]) for rows in (60, 30))
    return KAIROS(progress=False).fit(train.set_axis([f"r{i}" for i in range(60)]), reference=clean)


def shuffled(series):
    return series.sample(frac=1, random_state=0)


def test_area_and_precision_are_those_of_scikit_learn_ties_and_all():
    rng = np.random.default_rng(0)
    values, bad = rng.integers(0, 9, size=200).astype(float), rng.random(200) < 0.3
    found = detection(values, bad)
    assert found.auroc == pytest.approx(roc_auc_score(~bad, values))
    orders = [rng.permutation(200) for _ in range(4000)]
    lowest = [order[np.argsort(values[order], kind="stable")[: bad.sum()]] for order in orders]
    assert found.precision == pytest.approx(np.mean([bad[rows].mean() for rows in lowest]), abs=0.003)
    turned = detection(values[::-1], bad[::-1])
    assert turned.precision == pytest.approx(found.precision)
    assert repr(found) == f"DetectionCurve(auroc={found.auroc!r}, precision={found.precision!r})"


def test_the_band_of_many_rows_is_that_of_every_point():
    from scipy.stats import hypergeom

    bad = np.arange(1500) < 200
    frame = detection(np.arange(1500.0), bad).frame
    for name, quantile in (("random_low", 0.025), ("random_high", 0.975)):
        exact = hypergeom.ppf(quantile, 1500, 200, np.arange(1501)) / 200
        assert np.abs(frame[name] - np.maximum(exact, 0)).max() <= 1.5 / 200
        assert frame[name].iloc[-1] == 1


def test_random_orders_stay_in_the_band():
    rng = np.random.default_rng(1)
    bad = np.arange(150) < 30
    outside = []
    for _ in range(200):
        frame = detection(rng.normal(size=150), bad).frame
        outside.append(((frame["found"] < frame["random_low"]) | (frame["found"] > frame["random_high"])).mean())
    assert np.mean(outside) < 0.06


def test_perfect_and_reversed_rankings():
    bad = np.array([True] * 3 + [False] * 7)
    best = detection(np.arange(10), bad)
    assert (best.auroc, best.precision) == (1.0, 1.0)
    np.testing.assert_allclose(best.frame["found"], best.frame["best"])
    assert detection(-np.arange(10), bad).auroc == 0.0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros(4, bool), "some rows but not all. Got 0 of 4"),
        (np.ones(4, bool), "some rows but not all. Got 4 of 4"),
        (np.array([True, False]), "one mark for each of the 4 `values`. Got 2"),
        (np.ones((4, 1)), "one mark per row, shape (n,). Got shape (4, 1)"),
        ([1.0, 0.0, np.nan, 0.0], "1 missing of 4 marks"),
        (pd.array([True, None, False, None], dtype="boolean"), "2 missing of 4 marks"),
        (["yes", "no", "no", "yes"], "booleans, or the numbers 0 and 1. Got 'yes'; compare first"),
        (["True", "False", "False", "True"], "Got 'True'"),
        ([0, 1, 2, 0], "Got 2"),
    ],
)
def test_marks_that_make_no_curve(bad, message):
    with pytest.raises(InputError, match=re.escape(message)):
        detection(np.arange(4), bad)


@pytest.mark.parametrize(
    "bad",
    [[1, 0, 0, 1], [1.0, 0.0, 0.0, 1.0], np.array([True, False, False, True], dtype=object),
     pd.array([True, False, False, True], dtype="boolean"), pd.Categorical([True, False, False, True])],
)  # fmt: skip
def test_marks_may_be_booleans_or_numbers(bad):
    assert detection([0.1, 0.5, 0.2, 0.9], bad).auroc == 0.5


def test_two_series_are_matched_by_their_index():
    values = pd.Series([0.1, 0.5, 0.2, 0.9], index=list("abcd"))
    bad = pd.Series([True, True, False, False], index=list("cabd"))
    assert detection(values, bad).auroc == 1.0
    with pytest.raises(InputError, match="`is_bad` has 4 labels, other than those"):
        detection(values, bad.set_axis(list("wxyz")))


def test_marks_and_scores_of_train_rows_are_matched_by_their_index(value):
    bad = value.values.rank() <= 6
    assert value.detection_curve(bad).auroc == 1.0
    np.testing.assert_array_equal(curves.marks_of(value, shuffled(bad)), bad)
    np.testing.assert_array_equal(curves.scores_of(value, shuffled(value.values)), value.values)
    np.testing.assert_array_equal(curves.scores_of(value, None), value.values)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.1, 0.2], r"`scores` must have one value per train row, 60\. Got \(2,\)"),
        ("feature", r"`scores` must be numbers, one per row\. Got 'feature'; .*values\.components\[\"feature\"\]"),
        (np.where(np.arange(60) > 3, np.nan, 1.0), "`scores` must rank every row. Got 56 missing of 60"),
        (["1.5"] * 60, "`scores` must be numbers, high is good. Got '1.5'"),
        (np.array(["a", 1.0] * 30, dtype=object), "`scores` must be numbers, high is good. Got 'a'"),
    ],
)
def test_scores_that_rank_nothing(value, scores, message):
    with pytest.raises(InputError, match=message):
        curves.scores_of(value, scores)


def test_removing_outliers_helps_a_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 2))
    y = x.sum(axis=1) + 0.1 * rng.normal(size=120)
    y[:20] += 10 * x[:20, 0]
    train, test = curves.Supervised(x[:80], y[:80]), curves.Supervised(x[80:], y[80:])
    values = np.r_[np.zeros(20), np.ones(60)]
    curve = curves.removal(LinearRegression(), train, test, values, (0.0, 0.25), "lowest", 4, 0)
    first, second = curve.frame.to_dict("records")
    assert second["score"] > 0.97 > first["score"]
    assert second["random_high"] < second["score"]
    again = curves.removal(LinearRegression(), train, test, values, (0.0, 0.25), "lowest", 4, 0)
    assert again.frame.equals(curve.frame)
    alone = curves.removal(LinearRegression(), train, test, values, (0.25,), "highest", 0, 0)
    assert alone.frame["random_mean"].isna().all()
    assert alone.frame["score"][0] < first["score"] + 0.05


@pytest.fixture(scope="module")
def sets():
    x = np.random.default_rng(0).normal(size=(60, 2))
    return {kind: (curves.Supervised(x[:40], y[:40]), curves.Supervised(x[40:], y[40:]))
            for kind, y in (("classes", np.where(x[:, 0] > 0, "up", "down")), ("numbers", x[:, 0]))}  # fmt: skip


def remove(sets, kind, estimator, rates=(0.0, 0.2), values=None, test=None):
    train, usual = sets[kind]
    ranking = np.arange(40.0) if values is None else values
    return curves.removal(estimator, train, test or usual, ranking, rates, "lowest", 1, 0, kind)


@pytest.mark.parametrize(
    ("kind", "estimator", "message"),
    [
        ("classes", "lr", r"`estimator` must be a scikit-learn .*Got 'lr'; it has no fit, predict, score, get_params"),
        ("classes", LogisticRegression, "Got the class LogisticRegression; pass an instance"),
        ("classes", StandardScaler(), r"Got StandardScaler\(\); it has no predict, score"),
        ("classes", Ridge(), r'must be a classifier, as .* Got the regressor Ridge\(\); .* label_type="numbers"'),
        ("numbers", LogisticRegression(), 'must be a regressor, as .* Got the classifier .* label_type="classes"'),
    ],
)
def test_estimators_that_do_not_suit_the_labels(sets, kind, estimator, message):
    with pytest.raises(InputError, match=message):
        remove(sets, kind, estimator)


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (0.1, r"`rates` must be a sequence of shares\. Got 0\.1; write rates=\(0\.1,\)"),
        ("0.1", "`rates` must be a sequence of shares. Got '0.1'"),
        (None, "`rates` must be a sequence of shares. Got None"),
        ((), "`rates` must name at least one share"),
        ((0.1, "a"), "`rates` must lie in .* Got 'a' of 40 rows"),
        ((0.1, 1.0), "`rates` must lie in .* Got 1.0 of 40 rows"),
        ((0.1, np.nan), "`rates` must lie in .* Got nan of 40 rows"),
        ((0.9,), "leave 5 rows. Got 0.9 of 40 rows"),
    ],
)
def test_rates_that_cannot_be_removed(sets, rates, message):
    with pytest.raises(InputError, match=message):
        remove(sets, "classes", LogisticRegression(), rates=rates)


def test_random_removals_leave_rows_in_their_order():
    """Where nothing is removed the two scores are of one fit, also for a model that depends on the order of rows."""
    rng = np.random.default_rng(0)
    train = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"]).assign(y=lambda f: f["a"] + f["b"])
    value = KAIROS(progress=False).fit(train, reference=train[::3].assign(b=0.1), label="y")
    in_passing = SGDRegressor(shuffle=False, max_iter=1, tol=None, random_state=0)
    frame = value.removal_curve(in_passing, train.assign(a=train["a"] + 0.3), rates=(0.0,), draws=2).frame
    assert frame["score"].item() == frame["random_mean"].item() == frame["random_low"].item()


def test_a_ranking_and_test_labels_must_belong_to_the_rows(sets):
    with pytest.raises(InputError, match=r"`scores` must have one value per train row, 40\. Got 2\."):
        remove(sets, "classes", LogisticRegression(), values=np.zeros(2))
    test = sets["classes"][1]
    with pytest.raises(InputError, match=r"`test_label` must hold classes of the train rows, such as '(up|down)'"):
        remove(sets, "classes", LogisticRegression(), test=curves.Supervised(test.features, np.zeros(20)))
    with pytest.raises(InputError, match="`test_label` must be numbers"):
        remove(sets, "numbers", Ridge(), test=test)


def test_a_fit_that_fails_names_the_rows_that_are_left(sets):
    train, test = sets["classes"]
    ranking = np.where(train.labels == "up", 1.0, 0.0)
    with pytest.raises(LearnerError, match=r"LogisticRegression\(\) failed on \d+ of 40 train rows: .*class"):
        curves.removal(LogisticRegression(), train, test, ranking, (0.8,), "lowest", 0, 0, "classes")


def test_a_curve_says_what_its_score_is(sets):
    assert remove(sets, "classes", make_pipeline(StandardScaler(), LogisticRegression())).metric == "accuracy"
    assert remove(sets, "numbers", Ridge()).metric == "R²"
    search = GridSearchCV(Ridge(), {"alpha": [1.0]}, scoring="neg_mean_absolute_error")
    assert curves.metric_of(search) == curves.metric_of(make_pipeline(StandardScaler(), search)) == search.scoring
    assert curves.metric_of(search.set_params(scoring=lambda *_: 0.0)) == ""
    assert curves.metric_of(Untagged()) == ""


class Untagged:
    """A model from elsewhere, without scikit-learn's tags."""

    def fit(self, x, y):
        return self

    def predict(self, x):
        return np.zeros(len(x))

    def score(self, x, y):
        return 0.25

    def get_params(self, deep=True):
        return {}


def test_a_model_from_elsewhere_will_do(sets):
    assert remove(sets, "classes", Untagged()).frame["score"].tolist() == [0.25, 0.25]
