"""Judging predictions of removals against refits."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import causalif as ci
from causalif._errors import InputError
from causalif.influence import case_influence, mislabel_detection, self_influence, validate

X = ["const", "a", "b", "c"]


def table(judged):
    return judged.set_index(["judge", "measure"])["estimate"]


def test_exact_predictions_pass_every_judge(ols):
    judged = table(validate(ols, "a", "exact", refits=15))
    assert judged["leave_one_out", "relative_error"] < 1e-9
    assert judged["leave_k_out", "slope"] == pytest.approx(1, abs=1e-9)
    assert judged["lds", "rank_correlation"] == pytest.approx(1)


def test_worse_predictions_get_worse_marks(logit):
    good, crude = (table(validate(logit, "a", method, refits=20, k=20)) for method in ("newton", "if"))
    assert good["leave_k_out", "relative_error"] < crude["leave_k_out", "relative_error"]
    assert crude["leave_k_out", "slope"] > good["leave_k_out", "slope"] > 0.9  # the crude one understates
    noise = np.random.default_rng(0).normal(size=160)
    bad = validate(logit, "a", noise, judges=["lds"], refits=40)
    assert bad["lower"].item() < 0 < bad["upper"].item()
    assert abs(bad["estimate"].item()) < 0.5


def test_intervals_hold_their_estimates_and_narrow(logit):
    few, many = (validate(logit, "a", "if", judges=["lds"], refits=refits) for refits in (15, 120))
    for judged in (few, many):
        assert (judged["lower"] <= judged["estimate"]).all()
        assert (judged["estimate"] <= judged["upper"]).all()
    assert (many["upper"] - many["lower"]).item() < (few["upper"] - few["lower"]).item()
    assert many["refits"].item() == 120


def test_other_methods_can_be_judged_by_their_numbers(ols):
    claimed = case_influence(ols, "a")["rif"].to_numpy()
    ours, theirs = (validate(ols, "a", method, judges=["leave_k_out"], refits=12) for method in ("rif", claimed))
    assert np.allclose(ours["estimate"], theirs["estimate"])


def test_estimates_are_judged_too(frame_confounded):
    fit = ci.ATE(outcome="y", treatment="a", adjust=["x1", "x2"], learners="linear", folds=1).fit(frame_confounded)
    judged = table(validate(fit, method="exact", refits=12))
    assert judged["leave_one_out", "correlation"] > 0.98
    assert judged["leave_k_out", "slope"] == pytest.approx(1, abs=0.15)


def flipped(n=400, share=0.1):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 4))
    y = (x @ [2.0, -1.0, 0.5, 0.0] + 0.5 * rng.logistic(size=n) > 0).astype(float)
    wrong = rng.random(n) < share
    return x, np.where(wrong, 1 - y, y), wrong


def test_planted_wrong_labels_are_found():
    x, y, wrong = flipped()
    model = LogisticRegression(C=10.0, tol=1e-9).fit(x, y)
    found = mislabel_detection(self_influence(model, data=(x, y)), wrong)
    assert found["lower"] > 0.8
    assert found["auc"] == pytest.approx(roc_auc_score(wrong, self_influence(model, data=(x, y))))


def test_self_influence_is_the_rise_of_the_own_loss():
    x, y, _ = flipped(150)
    design = sm.add_constant(x)
    fit = sm.Logit(y, design).fit(disp=0)
    found = self_influence(fit)
    assert (found >= 0).all()
    for i in (3, 40):
        keep = np.arange(150) != i
        again = sm.Logit(y[keep], design[keep]).fit(disp=0).params
        sign = 1 if y[i] else -1

        def loss(theta, i=i, sign=sign):
            return np.log1p(np.exp(-sign * design[i] @ theta))

        slope = loss(again) - loss(fit.params)
        assert found[i] == pytest.approx(slope, rel=0.25, abs=1e-4)


def test_self_influence_of_several_classes_and_of_two_agree_in_kind(frame):
    y = np.digitize(frame["y"], [0.5, 1.5])
    model = LogisticRegression(C=1.0, tol=1e-9, max_iter=2000).fit(frame[["a", "b"]], y)
    found = self_influence(model, data=(frame[["a", "b"]], y))
    assert (found >= 0).all()
    assert (found >= self_influence(model, data=(frame[["a", "b"]], y), method="if") - 1e-12).all()


def test_the_interval_of_the_area_covers():
    """Binormal scores with a known area, 300 draws."""
    from scipy import stats

    rng = np.random.default_rng(0)
    truth, hits = stats.norm.cdf(1.0 / np.sqrt(2)), 0
    wrong = np.arange(150) < 30
    for _ in range(300):
        found = mislabel_detection(rng.normal(size=150) + wrong, wrong)
        hits += found["lower"] < truth < found["upper"]
    assert 0.91 <= hits / 300 <= 0.985


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"judges": ["gut feeling"]}, "`judges` must be one of"),
        ({"refits": 3}, "`refits` must be a whole number"),
        ({"k": 160}, "`k` must be below"),
        ({"method": "magic"}, "`method` must be one of"),
        ({"method": np.zeros(3)}, "must hold 160 effects"),
        ({"level": 95}, "`level`"),
    ],
)
def test_bad_arguments_are_refused(ols, arguments, message):
    with pytest.raises(InputError, match=message):
        validate(ols, "a", **arguments)


def test_bad_scores_are_refused(frame, frame_confounded):
    with pytest.raises(InputError, match="one finite number"):
        mislabel_detection([1.0, np.nan], [True, False])
    with pytest.raises(InputError, match="two rows of each kind"):
        mislabel_detection([1.0, 2.0, 3.0], [True, False, False])
    with pytest.raises(InputError, match="smooth loss"):
        self_influence(sm.QuantReg(frame["y"], frame[X]).fit())
    fit = ci.ATE(outcome="y", treatment="a", learners="linear", folds=1).fit(frame_confounded)
    with pytest.raises(InputError, match="smooth loss"):
        self_influence(fit)


def test_too_many_failing_refits_are_refused(frame):
    frame["level"] = (np.arange(len(frame)) < 2).astype(float)
    fit = sm.OLS(frame["y"], frame[[*X, "level"]]).fit()
    with pytest.raises(InputError, match="refits for judge 'leave_k_out' succeeded"):
        validate(fit, "a", judges=["leave_k_out"], k=155, refits=12)
