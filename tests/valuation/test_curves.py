import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score

from causalif._errors import InputError
from causalif.valuation import curves, detection


def test_area_and_precision_are_those_of_scikit_learn_ties_and_all():
    rng = np.random.default_rng(0)
    values, bad = rng.integers(0, 9, size=200).astype(float), rng.random(200) < 0.3
    found = detection(values, bad)
    assert found.auroc == pytest.approx(roc_auc_score(~bad, values))
    lowest = np.argsort(values, kind="stable")[: bad.sum()]
    assert found.precision == pytest.approx(bad[lowest].mean())


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


@pytest.mark.parametrize("bad", [np.zeros(4, bool), np.ones(4, bool), np.array([True, False])])
def test_marks_that_make_no_curve(bad):
    with pytest.raises(InputError, match="some rows but not all"):
        detection(np.arange(4), bad)


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
