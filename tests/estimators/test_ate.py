"""The average treatment effect against textbook numbers, formulas written by hand, and known truths."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

import causalif as ci

Array = npt.NDArray[np.float64]
ADJUST = ["x1", "x2", "x3"]


def confounded(n: int = 800, seed: int = 2) -> pd.DataFrame:
    return ci.datasets.simulate_confounded(n, random_state=seed).data


def ate(**options: Any) -> ci.ATE:
    chosen: dict[str, Any] = {"outcome": "y", "treatment": "a", "adjust": ADJUST, "learners": "linear"}
    return ci.ATE(**(chosen | options))


def nuisances(
    frame: pd.DataFrame, weights: pd.Series | float = 1.0, adjust: list[str] | None = None
) -> tuple[Array, Array, Array]:
    """Propensity and both outcome regressions by statsmodels, on all rows."""
    X = sm.add_constant(frame[adjust or ADJUST])
    w = weights * np.ones(len(frame))
    logit = sm.GLM(frame["a"], X, family=sm.families.Binomial(), freq_weights=w).fit(tol=1e-14)
    arms = [sm.WLS(frame["y"][rows], X[rows], w[rows]).fit() for rows in (frame["a"] == 0, frame["a"] == 1)]
    mu0, mu1 = (arm.predict(X).to_numpy() for arm in arms)
    return logit.predict(X).to_numpy(), mu0, mu1


def aipw(frame: pd.DataFrame, pi: Array, mu0: Array, mu1: Array) -> Array:
    a, y = frame["a"].to_numpy(), frame["y"].to_numpy()
    return mu1 - mu0 + a / pi * (y - mu1) - (1 - a) / (1 - pi) * (y - mu0)


# --- formulas by hand, nuisances by statsmodels ----------------------------------------------------------------------


def test_without_splitting_equals_the_formula_with_statsmodels_fits() -> None:
    frame = confounded()
    fit = ate(folds=1).fit(frame)
    phi = aipw(frame, *nuisances(frame))
    assert fit.params["ATE"] == pytest.approx(phi.mean(), abs=1e-9)
    assert fit.std_errors["ATE"] == pytest.approx(phi.std() / np.sqrt(len(frame)), abs=1e-9)
    np.testing.assert_allclose(fit.influence["ATE"], phi - phi.mean(), atol=1e-7)
    assert fit.params["ATE"] == pytest.approx(fit.params["E[Y(1)]"] - fit.params["E[Y(0)]"], abs=1e-12)
    assert "nuisances fitted on the same rows" in fit.settings["se_source"]


def test_intervals_and_p_values_are_those_of_the_normal_law() -> None:
    fit = ate().fit(confounded())
    low, high = fit.conf_int().loc["ATE"]
    assert (high - low) / 2 == pytest.approx(1.959963985 * fit.std_errors["ATE"], rel=1e-8)
    assert (high + low) / 2 == pytest.approx(fit.params["ATE"])


def test_effect_among_the_treated_by_its_formula() -> None:
    """Hahn (1998): E[A (Y - mu0) - (1 - A) pi / (1 - pi) (Y - mu0)] / E[A]."""
    frame = confounded()
    fit = ate(folds=1, target="treated").fit(frame)
    pi, mu0, _ = nuisances(frame)
    a, residual = frame["a"].to_numpy(), frame["y"].to_numpy() - mu0
    share = a.mean()
    moment = (a - (1 - a) * pi / (1 - pi)) * residual / share
    theta = moment.mean()
    psi = moment - a / share * theta
    assert list(fit.params.index) == ["ATT", "E[Y(1) | 1]", "E[Y(0) | 1]"]
    assert fit.params["ATT"] == pytest.approx(theta, abs=1e-9)
    assert fit.params["E[Y(1) | 1]"] == pytest.approx(frame["y"][a == 1].mean(), abs=1e-12)
    np.testing.assert_allclose(fit.influence["ATT"], psi, atol=1e-7)
    assert fit.std_errors["ATT"] == pytest.approx(np.sqrt(np.mean(psi**2) / len(frame)), abs=1e-9)


def test_effect_among_the_controls_is_the_mirror_image() -> None:
    """Swapping the levels asks for the effect on those who are now called treated, with the other sign."""
    frame = confounded()
    swapped = ate(target="treated", levels=(0, 1), folds=1).fit(frame)
    mirrored = ate(target="treated", folds=1).fit(frame.assign(a=1 - frame["a"]))
    assert swapped.params["ATT"] == pytest.approx(mirrored.params["ATT"], abs=1e-9)
    assert list(swapped.params.index) == ["ATT", "E[Y(0) | 0]", "E[Y(1) | 0]"]


def multi(n: int = 900) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    odds = np.exp(np.column_stack([np.zeros(n), 0.5 * x, -0.4 * x]))
    a = (rng.uniform(size=(n, 1)) > (odds / odds.sum(axis=1, keepdims=True)).cumsum(axis=1)[:, :2]).sum(axis=1)
    return pd.DataFrame({"x": x, "a": np.array(["none", "half", "full"])[a], "y": x + a + rng.normal(size=n)})


def test_two_of_three_levels_by_hand() -> None:
    frame, pair = multi(), ("full", "none")
    fit = ci.ATE(outcome="y", treatment="a", adjust=["x"], levels=pair, learners="linear", folds=1).fit(frame)
    X, phi = sm.add_constant(frame["x"]), []
    for level in pair:
        inside = frame["a"] == level
        pi = sm.Logit(inside.astype(float), X).fit(disp=0, tol=1e-12).predict(X)
        mu = sm.OLS(frame["y"][inside], X[inside]).fit().predict(X)
        phi.append(mu + inside / pi * (frame["y"] - mu))
    assert list(fit.params.index) == ["ATE", "E[Y(full)]", "E[Y(none)]"]
    assert fit.params["ATE"] == pytest.approx((phi[0] - phi[1]).mean(), abs=1e-8)
    assert fit.std_errors["ATE"] == pytest.approx((phi[0] - phi[1]).std(ddof=0) / 30, abs=1e-8)
    assert fit.params["ATE"] == pytest.approx(2.0, abs=4 * fit.std_errors["ATE"])
    assert "full (treated) against none (control)" in str(fit.summary())


def test_effect_among_the_treated_with_three_levels_by_hand() -> None:
    frame = multi()
    fit = ci.ATE(
        outcome="y", treatment="a", adjust=["x"], levels=("full", "none"), target="treated", learners="linear", folds=1
    ).fit(frame)
    X, y = sm.add_constant(frame["x"]), frame["y"]
    full, none = ((frame["a"] == level).astype(float) for level in ("full", "none"))
    p_full, p_none = (sm.Logit(d, X).fit(disp=0, tol=1e-12).predict(X) for d in (full, none))
    mu = sm.OLS(y[none == 1], X[none == 1]).fit().predict(X)
    moment = (full - none * p_full / p_none) * (y - mu) / full.mean()
    assert fit.params["ATT"] == pytest.approx(moment.mean(), abs=1e-8)


# --- quitting smoking and weight gain: Hernan and Robins, Causal Inference: What If ----------------------------------

NHEFS_FORMULA = (
    "C(sex) + C(race) + age + I(age**2) + C(education) + smokeintensity + I(smokeintensity**2) + smokeyrs"
    " + I(smokeyrs**2) + C(exercise) + C(active) + wt71 + I(wt71**2)"
)
SQUARED = ("age", "smokeintensity", "smokeyrs", "wt71")


@pytest.fixture(scope="module")
def nhefs() -> pd.DataFrame:
    data = pytest.importorskip("causaldata").nhefs_complete.load_pandas().data.astype({"qsmk": int})
    return data.assign(**{f"{name}_squared": data[name] ** 2 for name in SQUARED})


def smoking(**options: Any) -> ci.ATE:
    factors = ["sex", "race", "education", "exercise", "active"]
    adjust = [*factors, *SQUARED, *(f"{name}_squared" for name in SQUARED)]
    return ci.ATE(outcome="wt82_71", treatment="qsmk", adjust=adjust, learners="linear", **options)


def test_nhefs_weighting_and_aipw_of_the_book(nhefs: pd.DataFrame) -> None:
    """Section 12.2: weighting gives 3.4405; the same models combined give 3.3733 (0.4727)."""
    fit = smoking(folds=1).fit(nhefs)
    pi, a, y = fit.nuisances["pi1"], nhefs["qsmk"], nhefs["wt82_71"]
    weighted = [np.average(y[a == level], weights=(1 / chance)[a == level]) for level, chance in ((1, pi), (0, 1 - pi))]
    assert weighted[0] - weighted[1] == pytest.approx(3.4405, abs=5e-5)
    assert y[a == 1].mean() - y[a == 0].mean() == pytest.approx(2.541, abs=5e-4)
    assert fit.params["ATE"] == pytest.approx(3.3733, abs=5e-5)
    assert fit.std_errors["ATE"] == pytest.approx(0.4727, abs=5e-5)


def test_nhefs_standardisation_of_the_book(nhefs: pd.DataFrame) -> None:
    """Section 13.3: 5.2736 - 1.7562 = 3.5174.

    One regression with a product of treatment and cigarettes, which a regression by arm does not express; so the model
    is fitted by statsmodels, and by arm the library must give what statsmodels gives by arm.
    """
    one = smf.ols(f"wt82_71 ~ qsmk + {NHEFS_FORMULA} + qsmk:smokeintensity", nhefs).fit()
    means = [one.predict(nhefs.assign(qsmk=level)).mean() for level in (1, 0)]
    assert means == pytest.approx([5.2736, 1.7562], abs=5e-5)
    assert means[0] - means[1] == pytest.approx(3.5174, abs=5e-5)
    used = smoking(folds=1).fit(nhefs).nuisances
    for level in (0, 1):
        arm = smf.ols(f"wt82_71 ~ {NHEFS_FORMULA}", nhefs[nhefs["qsmk"] == level]).fit()
        np.testing.assert_allclose(used[f"mu{level}"], arm.predict(nhefs), atol=1e-7)


def test_nhefs_cross_fitted_with_its_split_noise(nhefs: pd.DataFrame) -> None:
    fit = smoking(folds=5, repeats=60).fit(nhefs)
    effects = fit.splits.query("term == 'ATE'")["estimate"]
    assert fit.params["ATE"] == effects.median() == pytest.approx(3.37, abs=0.06)
    assert effects.min() > 3.0
    assert effects.max() < 3.75
    assert 0.05 < effects.std() < 0.2
    assert f"{effects.std():.4f}" in str(fit.summary())
    assert "split sd" in str(fit.summary())
    single = fit.splits.query("term == 'ATE'")["std_error"].median()
    assert fit.std_errors["ATE"] > single


# --- weights, clusters -----------------------------------------------------------------------------------------------


def test_weights_equal_copies_of_the_rows() -> None:
    frame = confounded(500).assign(w=lambda d: np.arange(len(d)) % 4)
    kept = frame[frame["w"] > 0]
    copies = frame.loc[frame.index.repeat(frame["w"])].reset_index(drop=True)
    for target, term in (("all", "ATE"), ("treated", "ATT")):
        weighted = ate(weights="w", folds=1, target=target).fit(frame)
        copied = ate(folds=1, target=target).fit(copies)
        assert weighted.params[term] == pytest.approx(copied.params[term], abs=1e-9)
        # every copy of a row counts as one draw of weight w
        total = copied.influence.groupby(np.repeat(kept.index, kept["w"]))[term].sum() / len(copies)
        assert weighted.std_errors[term] == pytest.approx(np.sqrt((total**2).sum()), rel=1e-9)


def test_weighted_fit_by_the_formula() -> None:
    rng = np.random.default_rng(0)
    frame = confounded().assign(w=rng.uniform(0.5, 2, 800))
    fit = ate(weights="w", folds=1).fit(frame)
    w = frame["w"] / frame["w"].mean()
    phi = aipw(frame, *nuisances(frame, w))
    theta = np.average(phi, weights=w)
    assert fit.params["ATE"] == pytest.approx(theta, abs=1e-8)
    assert fit.std_errors["ATE"] == pytest.approx(np.sqrt(np.sum((w * (phi - theta)) ** 2)) / 800, abs=1e-8)


def test_constant_weights_change_nothing() -> None:
    frame = confounded().assign(w=3.0)
    plain, weighted = ate().fit(frame), ate(weights="w").fit(frame)
    np.testing.assert_allclose(weighted.params, plain.params, rtol=1e-10)
    np.testing.assert_allclose(weighted.std_errors, plain.std_errors, rtol=1e-10)


def test_clustered_standard_errors_add_up_within_clusters() -> None:
    frame = confounded(900).assign(g=lambda d: np.arange(len(d)) // 15)
    fit = ate(cluster="g").fit(frame)
    sums = fit.influence.groupby(frame["g"])["ATE"].sum()
    groups = len(sums)
    assert fit.std_errors["ATE"] == pytest.approx(np.sqrt(groups / (groups - 1) * (sums**2).sum()) / 900, rel=1e-12)
    assert pd.concat([frame["g"], fit.nuisances["fold"]], axis=1).drop_duplicates()["g"].is_unique
    assert "Clustered by" in str(fit.summary())


def test_clusters_of_one_row_are_no_clusters() -> None:
    frame = confounded().assign(g=lambda d: np.arange(len(d)))
    clustered = ate(cluster="g", folds=1).fit(frame)
    assert clustered.std_errors["ATE"] == pytest.approx(ate(folds=1).fit(frame).std_errors["ATE"] * np.sqrt(800 / 799))


def test_copies_of_every_row_in_a_cluster_do_not_pass_for_information() -> None:
    frame = confounded().assign(g=lambda d: np.arange(len(d)))
    twice = pd.concat([frame, frame], ignore_index=True)
    clustered, naive = ate(cluster="g", folds=1).fit(twice), ate(folds=1).fit(twice)
    single = ate(folds=1).fit(frame).std_errors["ATE"]
    assert clustered.std_errors["ATE"] == pytest.approx(single * np.sqrt(800 / 799), rel=1e-8)
    assert naive.std_errors["ATE"] == pytest.approx(single / np.sqrt(2), rel=1e-8)


# --- truths ----------------------------------------------------------------------------------------------------------


def test_laws_of_units_and_labels() -> None:
    """An affine change of the outcome, a permutation of the covariates and any duplication of the data."""
    frame = confounded()
    ids = np.arange(len(frame)) % 5
    fit = ate(folds=ids).fit(frame)
    moved = ate(folds=ids).fit(frame.assign(y=3 - 2 * frame["y"]))
    assert moved.params["ATE"] == pytest.approx(-2 * fit.params["ATE"], abs=1e-9)
    assert moved.params["E[Y(1)]"] == pytest.approx(3 - 2 * fit.params["E[Y(1)]"], abs=1e-9)
    assert moved.std_errors["ATE"] == pytest.approx(2 * fit.std_errors["ATE"], abs=1e-9)
    turned = ate(folds=ids, adjust=ADJUST[::-1]).fit(frame)
    assert turned.params["ATE"] == pytest.approx(fit.params["ATE"], abs=1e-8)
    twice = ate(folds=np.tile(ids, 2)).fit(pd.concat([frame, frame], ignore_index=True))
    assert twice.params["ATE"] == pytest.approx(fit.params["ATE"], abs=1e-8)
    assert twice.std_errors["ATE"] == pytest.approx(fit.std_errors["ATE"] / np.sqrt(2), rel=1e-8)


def test_either_right_model_is_enough() -> None:
    """Outcome or propensity regression on the wrong covariates; both wrong is off by far more than the noise."""
    rng = np.random.default_rng(0)
    n = 20_000
    x = rng.normal(size=n)
    a = rng.binomial(1, 1 / (1 + np.exp(-x)))
    frame = pd.DataFrame({"x": x, "noise": rng.normal(size=n), "a": a, "y": 2 * x + a + rng.normal(size=n)})

    def blind(model: Any) -> Any:
        return make_pipeline(ColumnTransformer([("kept", "passthrough", ["noise"])]), clone(model))

    right = {"outcome": LinearRegression(), "treatment": LogisticRegression(C=np.inf)}
    bias = {}
    for wrong in ((), ("outcome",), ("treatment",), ("outcome", "treatment")):
        learners = {name: blind(model) if name in wrong else model for name, model in right.items()}
        fit = ate(adjust=["x", "noise"], learners=learners, folds=2).fit(frame)
        bias[wrong] = (fit.params["ATE"] - 1) / fit.std_errors["ATE"]
    assert all(abs(bias[wrong]) < 4 for wrong in ((), ("outcome",), ("treatment",)))
    assert bias["outcome", "treatment"] > 20


def test_coverage_with_right_models() -> None:
    """200 draws; the bounds are three binomial standard errors around 0.95."""
    rng = np.random.default_rng(5)
    n, draws, covered, estimates, errors = 400, 200, 0, [], []
    for _ in range(draws):
        x = rng.normal(size=(n, 2))
        a = rng.binomial(1, 1 / (1 + np.exp(-0.5 * x[:, 0] - 0.5 * x[:, 1])))
        y = x.sum(axis=1) + a * (1 + x[:, 0]) + rng.normal(size=n)
        fit = ate(adjust=["x1", "x2"]).fit(pd.DataFrame({"x1": x[:, 0], "x2": x[:, 1], "a": a, "y": y}))
        low, high = fit.conf_int().loc["ATE"]
        covered += low <= 1 <= high
        estimates.append(fit.params["ATE"])
        errors.append(fit.std_errors["ATE"])
    assert abs(covered / draws - 0.95) <= 3 * np.sqrt(0.95 * 0.05 / draws)
    assert abs(np.mean(estimates) - 1) < 4 * np.std(estimates) / np.sqrt(draws)
    assert 0.85 < np.mean(errors) / np.std(estimates) < 1.15


def test_effect_without_noise_is_found_exactly() -> None:
    """An outcome that the regressions explain without error has no standard error worth the name."""
    frame = confounded()
    frame["y"] = 1 + frame["x1"] - 2 * frame["x2"] + 2 * frame["a"]
    fit = ate().fit(frame)
    assert fit.params["ATE"] == pytest.approx(2.0, abs=1e-9)
    assert fit.std_errors["ATE"] < 1e-9


# --- the object ------------------------------------------------------------------------------------------------------


def test_configuration_is_frozen_and_fitting_does_not_change_it() -> None:
    asked = ate()
    before = repr(asked)
    asked.fit(confounded())
    assert repr(asked) == before
    with pytest.raises(AttributeError):
        asked.folds = 3  # type: ignore[misc]


def test_summary_says_what_was_done() -> None:
    frame = confounded().assign(a=lambda d: np.where(d["a"] == 1, "drug", "none"))
    text = " ".join(str(ate(repeats=2, levels=("drug", "none")).fit(frame).summary()).split())
    for part in ("drug (treated) against none (control)", "E[Y(drug)]", "800", "stratified", "cross-fitted", "linear"):
        assert part in text


def test_result_remembers_rows_and_folds() -> None:
    frame = confounded().set_index(pd.Index([f"unit {i}" for i in range(800)]))
    fit = ate().fit(frame)
    assert fit.influence.index.equals(frame.index)
    assert fit.nuisances.index.equals(frame.index)
    assert fit.nuisances["fold"].value_counts().tolist() == [160] * 5
    again = ate(folds=fit.nuisances["fold"]).fit(frame)
    assert np.array_equal(again.influence_values, fit.influence_values)
