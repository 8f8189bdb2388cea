"""Single rows: every prediction against a refit by the package itself."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from statsmodels.sandbox.regression.gmm import IV2SLS

import causalif as ci
from causalif._errors import DataWarning, InputError, PositivityError
from causalif.influence import case_influence, group_gap, interval_end, prediction, t_statistic, test_loss

X = ["const", "a", "b", "c"]
FAMILIES = {
    "binomial": (sm.families.Binomial(), "yb"),
    "poisson": (sm.families.Poisson(), "yc"),
    "gaussian": (sm.families.Gaussian(), "y"),
}


def without(data: pd.DataFrame, label: str) -> pd.DataFrame:
    return data.drop(index=label)


@pytest.mark.parametrize("weights", [None, "w"])
def test_exact_is_the_refit_of_least_squares(frame, weights):
    def fit(data):
        if weights is None:
            return sm.OLS(data["y"], data[X]).fit()
        return sm.WLS(data["y"], data[X], weights=data[weights]).fit()

    full = fit(frame)
    found = case_influence(full, "b")
    assert list(found.index) == list(frame.index)
    for label in ("row 0", "row 7", "row 159"):
        refit = fit(without(frame, label)).params["b"] - full.params["b"]
        assert found.loc[label, "exact"] == pytest.approx(refit, abs=1e-12)
        assert found.loc[label, "newton"] == pytest.approx(refit, abs=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_step_is_minus_the_one_of_statsmodels(frame, family):
    law, outcome = FAMILIES[family]
    fit = sm.GLM(frame[outcome], frame[X], family=law).fit(tol=1e-12)
    theirs = fit.get_influence().d_params
    for j, term in enumerate(X):
        assert np.abs(case_influence(fit, term)["rif"] + theirs[:, j]).max() < 1e-10


def test_logit_and_poisson_equal_their_glm(frame):
    for model, family, outcome in ((sm.Logit, sm.families.Binomial(), "yb"), (sm.Poisson, sm.families.Poisson(), "yc")):
        one = case_influence(model(frame[outcome], frame[X]).fit(disp=0, tol=1e-12), "a")
        other = case_influence(sm.GLM(frame[outcome], frame[X], family=family).fit(tol=1e-13), "a")
        assert np.abs(one["rif"] - other["rif"]).max() < 1e-9


@pytest.mark.parametrize("curvature", ["observed", "expected"])
def test_other_links_follow_a_newton_step_by_brute_force(frame, curvature):
    """One scoring or Newton step from the full fit, with derivatives taken by statsmodels."""
    family = sm.families.Gamma(sm.families.links.Log())
    y = np.exp(frame["y"] / 3)
    fit = sm.GLM(y, frame[X], family=family).fit(tol=1e-13)
    keep = np.arange(len(frame)) != 5
    rest = sm.GLM(y[keep], frame.loc[keep, X], family=family)
    hessian = rest.hessian(fit.params.to_numpy(), scale=1.0, observed=curvature == "observed")
    step = -np.linalg.solve(hessian, rest.score(fit.params.to_numpy(), scale=1.0))
    found = case_influence(fit, "a", curvature=curvature)
    assert found["rif"].iloc[5] == pytest.approx(step[1], abs=1e-10)


def test_offsets_and_frequency_weights_enter(frame):
    offset, counts = 0.1 * frame["c"], np.arange(len(frame)) % 3 + 1
    fit = sm.GLM(
        frame["yc"], frame[["const", "a"]], family=sm.families.Poisson(), offset=offset, freq_weights=counts
    ).fit(tol=1e-12)
    keep = np.arange(len(frame)) != 9
    rest = sm.GLM(
        frame["yc"][keep], frame.loc[keep, ["const", "a"]], family=sm.families.Poisson(), offset=offset[keep],
        freq_weights=counts[keep],
    ).fit(tol=1e-12)  # fmt: skip
    refit = rest.params["a"] - fit.params["a"]
    assert case_influence(fit, "a")["rif"].iloc[9] == pytest.approx(refit, rel=0.05)


# --- instruments, quantiles, robust regression -----------------------------------------------------------------------


def instrumented(n=300, instruments=1):
    rng = np.random.default_rng(5)
    z, u = rng.normal(size=(n, instruments)), rng.normal(size=n)
    d = z.sum(axis=1) + u + rng.normal(size=n)
    y = 0.5 * d + u + rng.normal(size=n)
    one = np.ones(n)
    return y, np.column_stack([one, d]), np.column_stack([one, z])


def test_just_identified_two_stage_least_squares_is_exact():
    y, R, Z = instrumented()
    fit = IV2SLS(y, R, Z).fit()
    found = case_influence(fit, "x1")
    for i in range(0, 300, 13):
        keep = np.arange(300) != i
        refit = IV2SLS(y[keep], R[keep], Z[keep]).fit().params[1] - fit.params[1]
        assert found["exact"].iloc[i] == pytest.approx(refit, abs=1e-10)


def test_over_identified_two_stage_least_squares_has_its_influence_function_only():
    y, R, Z = instrumented(instruments=3)
    fit = IV2SLS(y, R, Z).fit()
    found = case_influence(fit, "x1")
    assert list(found.columns) == ["if", "leverage", "reason"]
    # the infinitesimal removal of a row, by weighting it with 1 - 1e-6
    for i in (0, 50, 101):
        w = np.ones(300)
        w[i] -= 1e-6
        s = np.sqrt(w)[:, None]
        moved = IV2SLS(y * s[:, 0], R * s, Z * s).fit().params[1] - fit.params[1]
        assert found["if"].iloc[i] == pytest.approx(moved / 1e-6, rel=1e-4)


def test_median_regression_predicts_refits():
    rng = np.random.default_rng(2)
    n = 800
    X = sm.add_constant(rng.normal(size=n))
    y = X[:, 1] + rng.standard_t(4, size=n)
    fit = sm.QuantReg(y, X).fit(q=0.5, max_iter=5000, p_tol=1e-9)
    found = case_influence(fit, "x1")
    assert "rif" not in found
    pairs = []
    for _ in range(25):
        gone = rng.choice(n, 120, replace=False)
        keep = np.ones(n, dtype=bool)
        keep[gone] = False
        refit = sm.QuantReg(y[keep], X[keep]).fit(q=0.5, max_iter=5000, p_tol=1e-9).params[1] - fit.params[1]
        pairs.append((found["if"].iloc[gone].sum(), refit))
    predicted, refitted = np.array(pairs).T
    assert np.corrcoef(predicted, refitted)[0, 1] > 0.8
    assert 0.6 < predicted @ refitted / (predicted @ predicted) < 1.6


def test_huber_regression_predicts_refits():
    rng = np.random.default_rng(2)
    X = sm.add_constant(rng.normal(size=400))
    y = X[:, 1] + rng.standard_t(3, size=400)
    fit = sm.RLM(y, X).fit()
    found = case_influence(fit, "x1")["if"]
    rows = np.r_[np.argsort(-found.to_numpy())[:4], np.argsort(found.to_numpy())[:4]]
    for i in rows:
        keep = np.arange(400) != i
        assert found.iloc[i] == pytest.approx(sm.RLM(y[keep], X[keep]).fit().params[1] - fit.params[1], rel=0.1)


# --- scikit-learn ----------------------------------------------------------------------------------------------------

ESTIMATORS = {
    "least squares": (LinearRegression(), "y"),
    "ridge": (Ridge(alpha=3.0), "y"),
    "no intercept": (Ridge(alpha=3.0, fit_intercept=False), "y"),
    "logistic": (LogisticRegression(C=0.5, tol=1e-10, max_iter=2000), "yb"),
    "balanced": (LogisticRegression(C=0.5, tol=1e-10, max_iter=2000, class_weight={0.0: 1.0, 1.0: 2.0}), "yb"),
    "poisson": (PoissonRegressor(alpha=0.1, tol=1e-9, max_iter=2000), "yc"),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("weighted", [False, True])
def test_scikit_learn_fits_move_as_predicted(frame, name, weighted):
    model, outcome = ESTIMATORS[name]
    data = (frame[["a", "b", "c"]], frame[outcome], frame["w"] if weighted else None)
    model.fit(*data)
    before = float(model.coef_.ravel()[0])
    found = case_influence(model, "a", data=data)
    label = found["rif"].abs().idxmax()
    keep = frame.index != label
    model.fit(data[0][keep], data[1][keep], data[2][keep] if weighted else None)
    refit = float(model.coef_.ravel()[0]) - before
    exact = "exact" in found
    assert found.loc[label, "exact" if exact else "rif"] == pytest.approx(
        refit, **({"abs": 1e-9} if exact else {"rel": 0.08})
    )


def test_several_classes_move_as_predicted(frame):
    y = pd.cut(frame["y"], [-np.inf, 0.5, 1.5, np.inf], labels=["low", "mid", "top"]).astype(str)
    model = LogisticRegression(C=0.5, tol=1e-10, max_iter=5000).fit(frame[["a", "b", "c"]], y)
    found = case_influence(model, "a [top]", data=(frame[["a", "b", "c"]], y))
    before = model.coef_[2, 0]
    for label in found["rif"].abs().nlargest(5).index:
        keep = frame.index != label
        again = LogisticRegression(C=0.5, tol=1e-10, max_iter=5000).fit(frame.loc[keep, ["a", "b", "c"]], y[keep])
        refit = again.coef_[2, 0] - before
        assert abs(found.loc[label, "rif"] - refit) < 0.05 * abs(refit)
        assert abs(found.loc[label, "rif"] - refit) < abs(found.loc[label, "if"] - refit)


def test_two_classes_by_softmax_agree_with_the_binary_model(frame):
    """Two outputs whose difference is the log odds, each with twice the penalty."""
    from causalif.influence.losses import Logistic
    from causalif.influence.model import LinearModel
    from causalif.influence.softmax import SoftmaxModel

    design, y = frame[X].to_numpy(), frame["yb"].to_numpy()
    n, ones = len(y), np.ones(len(y))
    one = LinearModel(design, y, ones, np.zeros(n), Logistic(), np.full(4, 2.0), np.zeros(4), tuple(X), frame.index)
    names = tuple(f"{c} {x}" for c in (0, 1) for x in X)
    two = SoftmaxModel(design, y.astype(int), ones, np.full(4, 4.0), np.zeros((2, 4)), names, frame.index)
    one, two = one.minimised(), two.minimised()
    assert np.abs(two.coef[1] - two.coef[0] - one.theta).max() < 1e-9
    rows = np.arange(12)
    for method in ("if", "rif", "newton"):
        step = two.step(rows, method).reshape(2, 4)
        assert np.abs(step[1] - step[0] - one.step(rows, method)).max() < 1e-9


# --- targets ---------------------------------------------------------------------------------------------------------


def refit_ols(frame, label):
    data = without(frame, label)
    return sm.OLS(data["y"], data[X]).fit()


def test_every_target_moves_as_the_refit_says(frame, ols):
    new = frame[X].to_numpy()[:20] + np.array([0, 1, 0, 0])
    y, group = frame["y"].to_numpy()[:20], np.arange(20) < 8
    readings = {
        "contrast": ({"a": 1.0, "b": -2.0}, lambda fit: fit.params["a"] - 2 * fit.params["b"]),
        "prediction": (prediction(new), lambda fit: fit.predict(new).mean()),
        "gap": (group_gap(new, group), lambda fit: fit.predict(new)[:8].mean() - fit.predict(new)[8:].mean()),
        "t": (t_statistic("a"), lambda fit: fit.tvalues["a"]),
        "end": (interval_end("a", "upper"), lambda fit: fit.conf_int().loc["a", 1]),
        "loss": (test_loss(new, y), lambda fit: 0.5 * np.mean((y - fit.predict(new)) ** 2)),
    }
    for name, (target, read) in readings.items():
        found = case_influence(ols, target)
        refit = read(refit_ols(frame, "row 3")) - read(ols)
        tolerance = {"loss": 0.1, "end": 0.01}.get(name, 1e-7)  # the loss is not linear; t quantiles move with n
        assert found.loc["row 3", "exact"] == pytest.approx(refit, rel=tolerance), name


@pytest.mark.parametrize("cov_type", ["HC0", "HC1", "HC3"])
def test_robust_t_statistics_move_nearly_as_the_refit_says(frame, cov_type):
    fit = sm.OLS(frame["y"], frame[X]).fit(cov_type=cov_type)
    found = case_influence(fit, t_statistic("a"))["exact"]
    for label in found.abs().nlargest(3).index:
        again = sm.OLS(*(without(frame, label)[part] for part in ("y", X))).fit(cov_type=cov_type)
        assert found[label] == pytest.approx(again.tvalues["a"] - fit.tvalues["a"], rel=0.1)


def test_predictions_of_logistic_fits(frame, logit):
    new = frame[X].to_numpy()[:5]
    found = case_influence(logit, prediction(new))["rif"]
    label = found.abs().idxmax()
    rest = without(frame, label)
    refit = sm.Logit(rest["yb"], rest[X]).fit(disp=0).predict(new).mean() - logit.predict(new).mean()
    assert found[label] == pytest.approx(refit, rel=0.1)


# --- reasons, clusters, estimates ------------------------------------------------------------------------------------


def test_reasons_say_what_is_unusual(frame):
    frame.loc["row 1", "y"] += 15
    frame.loc["row 2", "a"] += 15
    found = case_influence(sm.OLS(frame["y"], frame[X]).fit(), "a")["reason"]
    assert found["row 1"].startswith("large residual (+")
    assert "high leverage" in found["row 2"]
    assert (found == "ordinary").mean() > 0.5


def test_small_propensities_are_named():
    rng = np.random.default_rng(0)
    x = rng.normal(size=2000)
    a = (rng.random(2000) < 1 / (1 + np.exp(-x))).astype(int)
    data = pd.DataFrame({"x": x, "a": a, "y": a + x + rng.normal(size=2000)})
    fit = ci.ATE(outcome="y", treatment="a", adjust=["x"], learners="linear").fit(data)
    found = case_influence(fit)
    own = np.where(a == 1, fit.nuisances["pi1"], 1 - fit.nuisances["pi1"])
    assert (found["reason"].str.contains("small propensity") == (own < 0.1)).all()


def test_an_estimate_moves_by_its_scores_while_the_nuisances_stay(frame_confounded):
    fit = ci.ATE(outcome="y", treatment="a", adjust=["x1", "x2"], learners="linear").fit(frame_confounded)
    found = case_influence(fit)
    phi = fit.influence["ATE"] + fit.params["ATE"]
    for i in (0, 100, 399):
        assert found["exact"].iloc[i] == pytest.approx(
            phi.drop(index=phi.index[i]).mean() - fit.params["ATE"], abs=1e-13
        )
    assert np.allclose(found["if"], -fit.influence["ATE"] / fit.n)


def test_weighted_and_treated_estimates_move_by_their_scores(frame_confounded):
    data = frame_confounded.assign(w=np.random.default_rng(0).uniform(0.5, 2, len(frame_confounded)))
    for extra in ({"weights": "w"}, {"target": "treated"}, {"target": "treated", "weights": "w"}):
        fit = ci.ATE(outcome="y", treatment="a", adjust=["x1"], learners="linear", **extra).fit(data)
        w = data["w"] if "weights" in extra else pd.Series(1.0, index=data.index)
        b = w * data["a"] if "target" in extra else w
        a = fit.influence_values[:, 0] * b.mean() + fit.values[0] * b  # ψ = (a − θ b) / mean(b)
        found = case_influence(fit)["exact"]
        for i in (3, 77):
            rest = data.index != data.index[i]
            assert found.iloc[i] == pytest.approx(a[rest].sum() / b[rest].sum() - fit.values[0], abs=1e-12)


def test_clusters_go_whole(frame):
    fit = sm.OLS(frame["y"], frame[X]).fit(cov_type="cluster", cov_kwds={"groups": frame["g"].to_numpy()})
    found = case_influence(fit, "a")
    rest = frame[frame["g"] != 3]
    refit = sm.OLS(rest["y"], rest[X]).fit().params["a"] - fit.params["a"]
    assert np.allclose(found.loc[frame["g"] == 3, ["newton", "exact"]], refit, atol=1e-12)
    assert not np.allclose(found.loc[frame["g"] == 3, "rif"], refit, atol=1e-6)
    by_hand = case_influence(sm.OLS(frame["y"], frame[X]).fit(), "a", clusters=frame["g"])
    assert np.allclose(by_hand["exact"], found["exact"])


# --- refusals and warnings -------------------------------------------------------------------------------------------


def test_the_last_row_of_a_level_is_infinite(frame):
    frame["only"] = (frame.index == "row 4").astype(float)
    fit = sm.OLS(frame["y"], frame[[*X, "only"]]).fit()
    with pytest.warns(DataWarning, match=r"leverage above 0\.9"):
        lost = case_influence(fit, "only")
    assert np.isposinf(lost.loc["row 4", ["rif", "newton", "exact"]].to_numpy(dtype=float)).all()
    assert lost.loc["row 4", "reason"] == "the last row that a coefficient rests on"
    with pytest.warns(DataWarning):
        kept = case_influence(fit, "a")
    assert kept.loc["row 4", "exact"] == 0  # the others never used it
    assert np.isfinite(kept["exact"]).all()


def test_separated_outcomes_are_refused(frame):
    y = (frame["a"] > 0).astype(float)
    model = LogisticRegression(C=np.inf, max_iter=5000).fit(frame[["a"]], y)
    with pytest.raises(PositivityError, match="separate the two outcomes"):
        case_influence(model, data=(frame[["a"]], y))


def test_quasi_separation_is_told(frame):
    frame.loc[frame.index[:30], "yb"] = 1.0
    level = np.where(np.arange(len(frame)) < 30, 30.0, 0.0)
    data = (frame[["a"]].assign(level=level), frame["yb"])
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(*data)
    with pytest.warns(DataWarning, match="running to infinity"), pytest.warns(DataWarning, match="stopped before"):
        case_influence(model, "a", data=data)


def test_a_fit_that_stopped_early_is_told_and_finished(frame):
    data = (frame[["a", "b", "c"]], frame["yb"])
    early = LogisticRegression(tol=0.5, max_iter=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        early.fit(*data)
    with pytest.warns(DataWarning, match="stopped before its minimum"):
        found = case_influence(early, "a", data=data)
    late = case_influence(LogisticRegression(tol=1e-11, max_iter=1000).fit(*data), "a", data=data)
    assert np.allclose(found["rif"], late["rif"], atol=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: case_influence(f, "d"), "not a term of the fit"),
        (lambda f: case_influence(f, 3), "`target` must name a term"),
        (lambda f: case_influence(f, data=(1, 2)), "`data` is for scikit-learn"),
        (lambda f: case_influence(f, clusters=[1, 2]), "one label for each of the 160 rows"),
        (lambda f: case_influence(f, clusters=np.zeros(160)), "single label"),
        (lambda f: case_influence(f, clusters=[None, *range(159)]), "missing labels"),
        (lambda f: case_influence(f, curvature="both"), "`curvature` must be one of"),
        (lambda f: case_influence(f, prediction(np.zeros((2, 7)))), "`X` has 7 columns"),
        (lambda f: case_influence(f, test_loss(np.zeros((2, 4)), [1.0])), "`y` must have one value"),
        (lambda f: group_gap(np.zeros((2, 4)), [True, True]), "rows on both sides"),
        (lambda f: interval_end("a", "middle"), "`side` must be one of"),
        (lambda f: t_statistic("a", level=2.0), "`level` must be a number"),
        (lambda f: case_influence("text"), "must be a causalif Estimate"),
    ],
)
def test_bad_arguments_are_refused(ols, change, message):
    with pytest.raises(InputError, match=message):
        change(ols)


def test_unsupported_statsmodels_results_are_refused(frame):
    with pytest.raises(InputError, match="not supported"):
        case_influence(sm.OLS(frame["y"], frame[X]).fit_regularized(alpha=0.1))
    with pytest.raises(InputError, match="not supported"):
        case_influence(sm.Probit(frame["yb"], frame[X]).fit(disp=0))
    with pytest.raises(InputError, match="HAC"):
        case_influence(sm.OLS(frame["y"], frame[X]).fit(cov_type="HAC", cov_kwds={"maxlags": 2}))


def test_collinear_designs_are_refused(frame):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = sm.OLS(frame["y"], frame[X].assign(twin=frame["a"] + frame["b"])).fit()
    with pytest.raises(InputError, match=r"collinear|positive definite"):
        case_influence(fit, "a")


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (Ridge(positive=True), "y", "corners"),
        (LogisticRegression(l1_ratio=1.0, solver="saga", max_iter=10_000, random_state=0), "yb", "l1 penalty"),
        (LogisticRegression(solver="liblinear", random_state=0), "yb", "liblinear"),
    ],
)
def test_objectives_with_corners_are_refused(frame, model, data, message):
    model.fit(frame[["a", "b"]], frame[data])
    with pytest.raises(InputError, match=message):
        case_influence(model, data=(frame[["a", "b"]], frame[data]))


def test_scikit_learn_fits_need_their_data(frame):
    from sklearn.ensemble import RandomForestRegressor

    fit = LinearRegression().fit(frame[["a"]], frame["y"])
    for data, message in (
        (None, "pass data="),
        ((frame[["a", "b"]], frame["y"]), "2 columns"),
        ((frame[["a"]], frame["y"][:5]), "Got shapes"),
        ((frame[["a"]], frame["y"], -frame["w"]), "sample weights"),
    ):
        with pytest.raises(InputError, match=message):
            case_influence(fit, data=data)
    with pytest.raises(InputError, match="has not been fitted"):
        case_influence(Ridge(), data=(frame[["a"]], frame["y"]))
    with pytest.raises(InputError, match="RandomForestRegressor is not supported"):
        case_influence(RandomForestRegressor(2, random_state=0).fit(frame[["a"]], frame["y"]))
    both = LinearRegression().fit(frame[["a"]], frame[["y", "w"]])
    with pytest.raises(InputError, match="several targets"):
        case_influence(both, data=(frame[["a"]], frame["y"]))


def test_missing_rows_of_formulas_keep_their_labels(frame):
    frame.loc["row 2", "a"] = np.nan
    found = case_influence(sm.formula.ols("y ~ a + b", frame).fit(), "a")
    assert list(found.index) == [label for label in frame.index if label != "row 2"]


# --- laws ------------------------------------------------------------------------------------------------------------


def small(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 2))
    y = x @ [1.0, -0.5] + rng.normal(size=40)
    return pd.DataFrame({"const": 1.0, "a": x[:, 0], "b": x[:, 1], "y": y, "yb": (y > 0).astype(float)})


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.floats(-50, 50).filter(lambda s: abs(s) > 0.02), st.floats(0.05, 20))
def test_effects_scale_with_outcome_and_column(seed, outcome, column):
    data = small(seed)
    base = case_influence(sm.OLS(data["y"], data[["const", "a", "b"]]).fit(), "a")
    scaled = case_influence(
        sm.OLS(outcome * data["y"], data[["const", "a", "b"]].assign(a=column * data["a"])).fit(), "a"
    )
    for method in ("if", "rif", "newton", "exact"):
        assert np.allclose(
            scaled[method], base[method] * outcome / column, rtol=1e-6, atol=1e-9 * abs(outcome / column)
        )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_effects_permute_with_the_rows(seed):
    data = small(seed)
    order = np.random.default_rng(seed).permutation(40)
    for fit in (
        lambda d: sm.OLS(d["y"], d[["const", "a", "b"]]).fit(),
        lambda d: sm.GLM(d["yb"], d[["const", "a"]], family=sm.families.Gaussian()).fit(),
    ):
        base, moved = case_influence(fit(data), "a"), case_influence(fit(data.iloc[order]), "a")
        assert np.allclose(moved.loc[base.index, "rif"], base["rif"], atol=1e-10)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_duplicated_data_halve_the_effects(seed):
    data = small(seed)
    twice = pd.concat([data, data.set_axis(data.index + 40)])
    columns = ["const", "a", "b"]
    base = case_influence(sm.OLS(data["y"], data[columns]).fit(), "a")
    half = case_influence(sm.OLS(twice["y"], twice[columns]).fit(), "a")
    assert np.allclose(half["if"], np.tile(base["if"] / 2, 2), atol=1e-10)


def test_duplicated_data_halve_the_effects_on_estimates(frame_confounded):
    twice = pd.concat([frame_confounded, frame_confounded.set_axis(frame_confounded.index + 10_000)])
    spec = ci.ATE(outcome="y", treatment="a", adjust=["x1", "x2"], learners="linear", folds=1)
    base, half = (case_influence(spec.fit(data))["if"] for data in (frame_confounded, twice))
    assert np.allclose(half, np.tile(base / 2, 2), rtol=1e-6, atol=1e-12)


def every_kind_of_fit(frame):
    """Fits of each supported kind, each with a function that fits some rows again and reads the first target."""
    columns, three = frame[X], frame[["a", "b", "c"]]

    def by_statsmodels(model, outcome, **options):
        make = lambda keep: model(frame[outcome][keep], columns[keep]).fit(**options)  # noqa: E731
        return make(np.ones(len(frame), dtype=bool)), None, lambda keep: make(keep).params["a"]

    def by_sklearn(model, outcome, read):
        data = (three, frame[outcome])
        again = lambda keep: read(clone(model).fit(three[keep], frame[outcome][keep]))  # noqa: E731
        return clone(model).fit(*data), data, again

    spec = ci.ATE(outcome="y", treatment="yb", adjust=["a"], learners="linear", folds=1)
    iv = lambda keep: IV2SLS(frame["y"][keep], frame.loc[keep, ["const", "a"]], frame.loc[keep, ["const", "z"]]).fit()  # noqa: E731
    return {
        "OLS": by_statsmodels(sm.OLS, "y"),
        "Logit": by_statsmodels(sm.Logit, "yb", disp=0),
        "Poisson": by_statsmodels(sm.Poisson, "yc", disp=0),
        "RLM": by_statsmodels(sm.RLM, "y"),
        "IV2SLS": (iv(np.ones(len(frame), dtype=bool)), None, lambda keep: iv(keep).params["a"]),
        "Ridge": by_sklearn(Ridge(), "y", lambda fit: fit.coef_[0]),
        "Logistic": by_sklearn(LogisticRegression(tol=1e-9), "yb", lambda fit: fit.coef_[0, 0]),
        "ATE": (spec.fit(frame), None, lambda keep: spec.fit(frame[keep]).params["ATE"]),
    }


def test_one_convention_everywhere(frame):
    """Effects are the value after removal minus the value before, whatever the package says of its own."""
    frame["z"] = frame["a"] + np.random.default_rng(0).normal(size=len(frame))
    for name, (fit, data, again) in every_kind_of_fit(frame).items():
        found = case_influence(fit, None if name == "ATE" else "a", data=data).iloc[:, 0]
        before = again(np.ones(len(frame), dtype=bool))
        for label in found.abs().nlargest(3).index:
            assert found[label] / (again(frame.index != label) - before) == pytest.approx(1, abs=0.35), name


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_effects_on_estimates_scale_and_permute(seed, unit):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=120)
    data = pd.DataFrame({"x": x, "a": np.arange(120) % 2, "y": x + rng.normal(size=120)})
    spec = ci.ATE(outcome="y", treatment="a", adjust=["x"], learners="linear", folds=np.arange(120) % 3)
    base = case_influence(spec.fit(data))
    order = rng.permutation(120)
    moved = data.assign(y=unit * data["y"]).iloc[order]
    again = ci.ATE(outcome="y", treatment="a", adjust=["x"], learners="linear", folds=order % 3).fit(moved)
    other = case_influence(again).loc[base.index]
    for method in ("if", "exact"):
        assert np.allclose(other[method], unit * base[method], rtol=1e-7, atol=1e-12 * unit)
