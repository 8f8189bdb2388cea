"""Sets of rows: every method against a refit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from statsmodels.sandbox.regression.gmm import IV2SLS

import causalif as ci
from causalif._errors import CausalifError, DataWarning, InputError
from causalif.influence import coefficient, most_influential, remove, t_statistic

X = ["const", "a", "b", "c"]


def test_methods_close_in_on_the_refit(frame, logit):
    rows = frame.index[:12]
    refit = remove(logit, rows, "refit", "a")
    rest = frame.drop(rows)
    assert refit.after == pytest.approx(sm.Logit(rest["yb"], rest[X]).fit(disp=0).params["a"], abs=1e-7)
    gaps = {m: abs(remove(logit, rows, m, "a").effect - refit.effect) for m in ("if", "rif", "newton")}
    assert gaps["newton"] < gaps["rif"] < gaps["if"]
    assert refit.std_error_after == pytest.approx(sm.Logit(rest["yb"], rest[X]).fit(disp=0).bse["a"], rel=1e-6)


def test_just_identified_sets_are_exact():
    rng = np.random.default_rng(0)
    z, u = rng.normal(size=200), rng.normal(size=200)
    d = z + u + rng.normal(size=200)
    y, R, Z = d + u, sm.add_constant(d), sm.add_constant(z)
    fit = IV2SLS(y, R, Z).fit()
    rows = rng.choice(200, 30, replace=False)
    keep = np.ones(200, dtype=bool)
    keep[rows] = False
    refit = IV2SLS(y[keep], R[keep], Z[keep]).fit().params[1]
    for method in ("newton", "exact"):
        assert remove(fit, rows, method, "x1").after == pytest.approx(refit, abs=1e-10)
    assert remove(fit, rows, "refit", "x1").after == pytest.approx(refit, abs=1e-12)


def test_several_classes_by_newton_step(frame):
    y = pd.cut(frame["y"], [-np.inf, 0.5, 1.5, np.inf], labels=["low", "mid", "top"]).astype(str)
    data = (frame[["a", "b", "c"]], y)
    model = LogisticRegression(C=0.5, tol=1e-10, max_iter=5000).fit(*data)
    rows = np.arange(len(frame)) < 10
    refit = LogisticRegression(C=0.5, tol=1e-10, max_iter=5000).fit(data[0][~rows], y[~rows]).coef_[0, 0]
    ours = remove(model, rows, "refit", "a [low]", data=data).after
    assert ours == pytest.approx(refit, abs=1e-7)
    gaps = {m: abs(remove(model, rows, m, "a [low]", data=data).after - refit) for m in ("if", "rif", "newton")}
    assert gaps["newton"] < gaps["if"]
    assert gaps["newton"] < 0.05 * abs(refit - model.coef_[0, 0]) + 1e-4


def test_t_statistics_of_sets_are_those_of_the_rest(frame, ols):
    rows = frame.index[5:15]
    rest = frame.drop(rows)
    again = sm.OLS(rest["y"], rest[X]).fit()
    assert remove(ols, rows, "exact", t_statistic("a")).after == pytest.approx(again.tvalues["a"], abs=1e-8)


def test_estimates_refit_with_their_folds(frame_confounded):
    spec = ci.ATE(outcome="y", treatment="a", adjust=["x1", "x2"], learners="linear", random_state=4)
    fit = spec.fit(frame_confounded)
    rows = frame_confounded.index[:9]
    rest = frame_confounded.drop(rows)
    by_hand = ci.ATE(
        outcome="y", treatment="a", adjust=["x1", "x2"], learners="linear", folds=fit.nuisances["fold"].drop(rows)
    ).fit(rest)
    refit = remove(fit, rows, "refit", "ATE")
    assert refit.after == pytest.approx(by_hand.params["ATE"], abs=1e-12)
    assert refit.std_error_after == pytest.approx(by_hand.std_errors["ATE"], abs=1e-12)
    exact = remove(fit, rows, "exact", "ATE")
    phi = (fit.influence["ATE"] + fit.params["ATE"]).drop(rows)
    assert exact.after == pytest.approx(phi.mean(), abs=1e-12)
    assert exact.std_error_after == pytest.approx(phi.std(ddof=0) / np.sqrt(len(phi)), abs=1e-12)
    assert abs(exact.effect - refit.effect) < 0.3 * abs(refit.effect)


def test_repeats_refit_every_split(frame_confounded):
    spec = ci.ATE(outcome="y", treatment="a", adjust=["x1"], learners="linear", repeats=3)
    fit = spec.fit(frame_confounded)
    rows = frame_confounded.index[:9]
    rest = frame_confounded.drop(rows)
    folds = [fit.nuisances[f"fold_{repeat}"].drop(rows) for repeat in (1, 2, 3)]
    split = [ci.ATE(outcome="y", treatment="a", adjust=["x1"], learners="linear", folds=each) for each in folds]
    by_hand = [each.fit(rest).params["ATE"] for each in split]
    assert remove(fit, rows, "refit").after == pytest.approx(np.median(by_hand), abs=1e-12)
    with pytest.raises(InputError, match="does not exist"):
        remove(fit, rows, "exact")


def test_polars_frames_are_refitted(frame_confounded):
    polars = pytest.importorskip("polars")
    spec = ci.ATE(outcome="y", treatment="a", adjust=["x1"], learners="linear", folds=1)
    fit = spec.fit(polars.from_pandas(frame_confounded))
    refit = remove(fit, [0, 5], "refit").after
    plain = spec.fit(frame_confounded.reset_index(drop=True).drop([0, 5])).params["ATE"]
    assert refit == pytest.approx(plain, abs=1e-12)


def test_weighted_estimates_by_set(frame_confounded):
    data = frame_confounded.assign(w=np.random.default_rng(0).uniform(0.5, 2, len(frame_confounded)))
    fit = ci.ATE(outcome="y", treatment="a", learners="linear", folds=1, weights="w").fit(data)
    rows = data.index[:7]
    phi = fit.influence["ATE"] / (data["w"] / data["w"].mean()) + fit.params["ATE"]
    rest, w = phi.drop(rows), data["w"].drop(rows)
    assert remove(fit, rows, "exact").after == pytest.approx(np.average(rest, weights=w), abs=1e-12)


def test_clusters_of_estimates_go_whole(frame_clustered):
    fit = ci.ATE(outcome="y", treatment="a", adjust=["x1"], learners="linear", cluster="cluster").fit(frame_clustered)
    one = frame_clustered.index[0]
    removed = remove(fit, [one], "exact")
    mates = frame_clustered.index[frame_clustered["cluster"] == frame_clustered.loc[one, "cluster"]]
    assert set(removed.rows) == set(mates)
    phi = (fit.influence["ATE"] + fit.params["ATE"]).drop(mates)
    assert removed.after == pytest.approx(phi.mean(), abs=1e-12)
    # the standard error is that of an estimate with the remaining scores
    left = ci.Estimate([phi.mean()], (phi - phi.mean()).to_numpy()[:, None], ["ATE"], phi.index,
                       frame_clustered["cluster"].drop(mates).to_numpy())  # fmt: skip
    assert removed.std_error_after == pytest.approx(left.std_errors["ATE"], abs=1e-12)


def test_losing_the_last_rows_of_a_level_is_infinite(frame):
    frame["level"] = (np.arange(len(frame)) < 2).astype(float)
    fit = sm.OLS(frame["y"], frame[[*X, "level"]]).fit()
    rows = frame.index[:2]
    for method in ("newton", "exact"):
        assert np.isposinf(remove(fit, rows, method, "level").after)
        kept = remove(fit, rows, method, "a")
        rest = frame.iloc[2:]
        assert kept.after == pytest.approx(sm.OLS(rest["y"], rest[X]).fit().params["a"], abs=1e-9)
    with pytest.raises(InputError, match="last ones of a level"):
        remove(fit, rows, "refit", "level")


@pytest.mark.parametrize(
    ("rows", "method", "message"),
    [
        (["nobody"], "rif", "'nobody', which is not in the index"),
        ([], "rif", "names no row"),
        (np.ones(160, dtype=bool), "rif", "names every row"),
        (np.ones(3, dtype=bool), "rif", "must have shape"),
        (["row 1"], "magic", "`method` must be one of"),
    ],
)
def test_bad_rows_are_refused(ols, rows, method, message):
    with pytest.raises(InputError, match=message):
        remove(ols, rows, method, "a")


def test_repeated_labels_need_a_mask(frame):
    frame.index = ["same"] * len(frame)
    fit = sm.OLS(frame["y"], frame[X]).fit()
    with pytest.raises(InputError, match="unique index"):
        remove(fit, ["same"], "rif", "a")
    assert len(remove(fit, np.arange(160) < 3, "rif", "a").rows) == 3


def test_corners_refuse_curvature_methods(frame):
    fit = sm.QuantReg(frame["y"], frame[X]).fit()
    with pytest.raises(InputError, match="corners"):
        remove(fit, ["row 1"], "rif", "a")
    assert np.isfinite(remove(fit, ["row 1"], "refit", "a").after)
    logit = sm.Logit(frame["yb"], frame[X]).fit(disp=0)
    with pytest.raises(InputError, match="no closed form"):
        remove(logit, ["row 1"], "exact", "a")


def test_high_leverage_is_warned_of(frame):
    frame.loc["row 3", "a"] = 500.0
    with pytest.warns(DataWarning, match="1 of 160 rows have a leverage above 0.9"):
        remove(sm.OLS(frame["y"], frame[X]).fit(), ["row 3"], "newton", "a")


def test_estimates_without_an_origin_cannot_be_refitted(frame_confounded):
    fit = ci.ATE(outcome="y", treatment="a", learners="linear", folds=1).fit(frame_confounded)
    ratio = fit["E[Y(1)]"] / fit["E[Y(0)]"]
    with pytest.raises(InputError, match="cannot be fitted again"):
        remove(ratio, [frame_confounded.index[0]], "refit")

    def refit(keep):
        again = ci.ATE(outcome="y", treatment="a", learners="linear", folds=1).fit(frame_confounded[keep])
        return again["E[Y(1)]"] / again["E[Y(0)]"]

    removed = remove(ratio, [frame_confounded.index[0]], "refit", refit=refit)
    rest = frame_confounded.iloc[1:].groupby("a")["y"].mean()
    assert removed.after == pytest.approx(rest[1] / rest[0], abs=1e-10)


def test_grouped_binomial_counts_keep_their_trials():
    rng = np.random.default_rng(0)
    design = sm.add_constant(rng.normal(size=60))
    trials = rng.integers(2, 12, 60)
    wins = rng.binomial(trials, 1 / (1 + np.exp(-design @ [0.2, 0.7])))
    both = np.column_stack([wins, trials - wins])
    fit = sm.GLM(both, design, family=sm.families.Binomial()).fit()
    keep = np.arange(60) >= 6
    rest = sm.GLM(both[keep], design[keep], family=sm.families.Binomial()).fit()
    removed = remove(fit, ~keep, "refit", "x1")
    assert removed.after == pytest.approx(rest.params[1], abs=1e-9)
    assert removed.std_error_after == pytest.approx(rest.bse[1], rel=1e-7)
    assert remove(fit, ~keep, "newton", "x1").after == pytest.approx(rest.params[1], abs=0.02)


@pytest.mark.parametrize("vcov", ["iid", "robust"])
def test_quantile_refits_keep_their_covariance(frame, vcov):
    fit = sm.QuantReg(frame["y"], frame[X]).fit(q=0.4, vcov=vcov, max_iter=5000)
    rest = frame.iloc[3:]
    again = sm.QuantReg(rest["y"], rest[X]).fit(q=0.4, vcov=vcov, max_iter=5000)
    assert remove(fit, frame.index[:3], "refit", "a").std_error_after == pytest.approx(again.bse["a"], rel=1e-8)


@pytest.mark.parametrize("package", ["statsmodels", "scikit-learn"])
def test_refits_that_separate_are_refused(package):
    """Two rows alone keep the outcomes from being separated."""
    x = np.r_[np.linspace(-3, 3, 60), 0.5, -0.5]
    y = np.r_[np.linspace(-3, 3, 60) > 0, 0, 1].astype(float)
    gone = np.arange(62) >= 60
    if package == "statsmodels":
        fit, data, name = sm.Logit(y, sm.add_constant(x)).fit(disp=0), None, "x1"
    else:
        data, name = (x[:, None], y), "x0"
        fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=2000).fit(*data)
    with pytest.raises(CausalifError, match=r"separated|infinity|could not fit|converge|minimum"):
        remove(fit, gone, "refit", name, data=data)
    found = most_influential(fit, "sign", name, data=data)
    assert found.size is None or abs(found.refitted) < 20


@pytest.mark.parametrize("level", [0.8, 0.99])
def test_levels_of_significance_are_the_targets(ols, frame, level):
    found = most_influential(ols, "significance", coefficient("a", level=level))
    rest = frame.drop(found.rows)
    assert sm.OLS(rest["y"], rest[X]).fit().pvalues["a"] > 1 - level
    with pytest.raises(InputError, match="`level`"):
        coefficient("a", level=2.0)


def test_balanced_classes_are_balanced_again(frame):
    data = (frame[["a", "b"]], frame["yb"])
    model = LogisticRegression(class_weight="balanced", tol=1e-10, max_iter=1000).fit(*data)
    gone = (frame["yb"] == 1) & (np.arange(len(frame)) < 60)
    again = LogisticRegression(class_weight="balanced", tol=1e-10, max_iter=1000).fit(data[0][~gone], data[1][~gone])
    assert remove(model, gone, "refit", "a", data=data).after == pytest.approx(again.coef_[0, 0], abs=1e-7)


def test_the_penalty_of_an_average_goes_with_the_weights(frame):
    data = (frame[["a", "b"]], frame["yc"], frame["w"])
    model = PoissonRegressor(alpha=0.5, tol=1e-10, max_iter=1000).fit(*data)
    gone = np.arange(len(frame)) < 20
    again = PoissonRegressor(alpha=0.5, tol=1e-10, max_iter=1000).fit(*(part[~gone] for part in data))
    refit = remove(model, gone, "refit", "a", data=data)
    assert refit.after == pytest.approx(again.coef_[0], abs=1e-7)
    gaps = [abs(remove(model, gone, m, "a", data=data).after - refit.after) for m in ("newton", "rif", "if")]
    assert gaps == sorted(gaps)


def test_rows_may_be_named_one_at_a_time_or_by_several_levels(frame):
    fit = sm.OLS(frame["y"], frame[X]).fit()
    assert len(remove(fit, "row 5", target="a").rows) == 1
    frame.index = pd.MultiIndex.from_product([range(16), range(10)])
    fit = sm.OLS(frame["y"], frame[X]).fit()
    assert remove(fit, [(0, 1), (3, 2)], target="a").rows.tolist() == [(0, 1), (3, 2)]
    found = most_influential(fit, "significance", "a")
    assert remove(fit, found.rows, "refit", "a").after == pytest.approx(found.refitted)


def test_over_identified_models_are_searched_by_refits():
    rng = np.random.default_rng(1)
    z, u = rng.normal(size=(150, 3)), rng.normal(size=150)
    d = z @ [0.4, 0.3, 0.2] + u + rng.normal(size=150)
    y, R, Z = 0.3 * d + u, sm.add_constant(d), sm.add_constant(z)
    fit = IV2SLS(y, R, Z).fit()
    with pytest.raises(InputError, match="more instruments than regressors"):
        remove(fit, [0], "exact", "x1")
    found = most_influential(fit, "sign", "x1")
    keep = ~np.isin(np.arange(150), found.rows)
    refit = IV2SLS(y[keep], R[keep], Z[keep]).fit().params[1]
    assert refit == pytest.approx(found.refitted, abs=1e-10)
    assert refit * fit.params[1] < 0


def test_perfect_fits_raise_no_alarm():
    design = sm.add_constant(np.arange(12.0))
    fit = sm.OLS(design @ [1.0, 2.0], design).fit()
    assert remove(fit, [3], "exact", "x1").after == pytest.approx(2.0)


def test_joint_leverage_is_warned_of(frame):
    frame.loc[["row 3", "row 4", "row 5"], "a"] = 40.0
    fit = sm.OLS(frame["y"], frame[X]).fit()
    rows = ["row 3", "row 4", "row 5"]
    for method in ("if", "rif"):
        with pytest.warns(DataWarning, match="The 3 rows carry 9[0-9]% of the information"):
            remove(fit, rows, method, "a")
    remove(fit, rows, "newton", "a")  # exact: nothing to warn of
    remove(fit, rows[:1], "rif", "a")
