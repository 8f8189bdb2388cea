"""`InvalidIVATE` from a DataFrame to its questions."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

import causalif as ci
from causalif._errors import IdentificationWarning, InputError, WeakIdentificationError, WeakIdentificationWarning
from causalif.datasets import simulate_invalid_iv_binary, simulate_invalid_iv_continuous, simulate_weak_iv
from causalif.estimators._least_squares import least_squares, two_stage

ROLES = {"outcome": "y", "treatment": "a", "instrument": "z"}


@pytest.fixture(scope="module")
def binary():
    return simulate_invalid_iv_binary(8_000, random_state=11)


@pytest.fixture(scope="module")
def fit(binary):
    return ci.InvalidIVATE(**ROLES, adjust=["x1", "x2"], learners="linear").fit(binary.data)


def test_recovers_the_truth_where_the_usual_estimators_fail(binary, fit):
    truth = binary.truth["ATE"]
    table = fit.comparators().to_frame().set_index("model")
    distance = ((table["estimate"] - truth) / table["std_error"]).abs()
    assert distance["Invalid-IV ATE"] < 4
    assert (distance.drop(["Invalid-IV ATE", "Variance-shift weighted"]) > 10).all()


def test_continuous_treatment_with_default_learners():
    simulated = simulate_invalid_iv_continuous(1_500, random_state=2)
    question = ci.InvalidIVATE(**ROLES, adjust=["x1", "x2", "x3"], folds=2, inner_folds=2)
    fit = question.fit(simulated.data)
    assert abs(fit.params["ATE"] - 1) < 5 * fit.std_errors["ATE"]
    assert (fit.nuisances[["V0", "V1"]] > 0).all().all()


def test_comparators_are_what_they_say(binary, fit):
    data, found = binary.data, fit.comparators().estimates
    x = sm.add_constant(data[["a", "x1", "x2"]].astype(float))
    ols = sm.OLS(data["y"], x).fit(cov_type="HC0")
    assert np.isclose(found["OLS"].values[0], ols.params["a"])
    assert np.isclose(found["OLS"].std_errors.iloc[0], ols.bse["a"])
    z = sm.add_constant(data[["z", "x1", "x2"]].astype(float)).to_numpy()
    by_hand = np.linalg.solve(z.T @ x.to_numpy(), z.T @ data["y"])[1]
    assert np.isclose(found["2SLS"].values[0], by_hand)
    top = ci.ATE(outcome="y", treatment="z", adjust=["x1", "x2"], learners="linear").fit(data)
    bottom = ci.ATE(outcome="a", treatment="z", adjust=["x1", "x2"], learners="linear").fit(data.astype({"a": float}))
    ratio = top["ATE"] / bottom["ATE"]
    late = found["LATE (doubly robust)"]
    assert abs(ratio.values[0] - late.values[0]) < 0.1 * late.std_errors.iloc[0]


def test_two_stage_matches_the_textbook_sandwich():
    rng = np.random.default_rng(0)
    z, u = rng.normal(size=(2, 500))
    a = z + u
    y = a + u + rng.normal(size=500)
    one = np.ones(500)
    regressors, instruments = np.column_stack([a, one]), np.column_stack([z, one])
    values, influence = two_stage(y, regressors, instruments)
    bread = np.linalg.inv(instruments.T @ regressors)
    meat = (instruments * ((y - regressors @ values) ** 2)[:, None]).T @ instruments
    assert np.allclose(influence.T @ influence / 500**2, bread @ meat @ bread.T)
    tiny, _ = least_squares(y * 1e-200, regressors)
    assert np.allclose(tiny * 1e200, least_squares(y, regressors)[0])


def test_effect_by_is_the_projection_with_robust_errors(fit):
    found = fit.effect_by(["x1", "x2"])
    v = sm.add_constant(fit.origin.data[["x1", "x2"]])
    ols = sm.OLS(fit.phi, v).fit(cov_type="HC0")
    assert np.allclose(found.values, ols.params)
    assert np.allclose(found.std_errors, ols.bse)


def test_effect_by_groups_averages_within(binary):
    data = binary.data.assign(g=pd.cut(binary.data["x1"], [-2, 0, 2], labels=["low", "high"]))
    fit = ci.InvalidIVATE(**ROLES, adjust=["x1", "x2", "g"], learners="linear").fit(data)
    found = fit.effect_by("g")
    assert list(found.labels) == ["g=low", "g=high"]
    assert np.isclose(found.params["g=low"], fit.phi[data["g"] == "low"].mean())
    assert found.params["g=high"] > found.params["g=low"]


def test_effect_by_refuses_what_was_not_adjusted_for(fit):
    with pytest.raises(InputError, match="adjusted for"):
        fit.effect_by("y")


def test_exclusion_and_confounding_are_found(fit):
    assert (fit.diagnostics["tests"]["p_value"] < 0.05).all()
    direct = fit.parts["direct effect of instrument"]
    assert abs(direct.values[0] - 2) < 4 * direct.std_errors.iloc[0]


@pytest.mark.parametrize("change", ["outcome gains", "effect gains", "outcome reverses"])
def test_invariances(binary, fit, change):
    data = binary.data.copy()
    expected, factor = {
        "outcome gains": (0.0, 1.0), "effect gains": (2.0, 1.0), "outcome reverses": (0.0, -3.0),
    }[change]  # fmt: skip
    if change == "outcome gains":
        data["y"] += 5 * data["z"] + 3 * data["z"] * data["x2"] - data["x1"]
    elif change == "effect gains":
        data["y"] += 2 * data["a"]
    else:
        data["y"] = 10 - 3 * data["y"]
    again = ci.InvalidIVATE(**ROLES, adjust=["x1", "x2"], learners="linear").fit(data)
    if change == "effect gains":  # the second stage is linear in the outcome residual, which moves with A's
        assert abs(again.params["ATE"] - fit.params["ATE"] - expected) < 0.05 * fit.std_errors["ATE"]
    else:
        assert np.isclose(again.params["ATE"], factor * fit.params["ATE"] + expected, rtol=1e-7)
        assert np.isclose(again.std_errors["ATE"], abs(factor) * fit.std_errors["ATE"], rtol=1e-7)


def test_labels_of_levels_do_not_matter(binary, fit):
    data = binary.data.assign(a=binary.data["a"].map({0: "no", 1: "yes"}), z=binary.data["z"] + 1)
    again = ci.InvalidIVATE(**ROLES, adjust=["x1", "x2"], learners="linear").fit(data)
    assert again.params["ATE"] == fit.params["ATE"]
    assert "yes against the reference no" in str(again.summary())


@pytest.mark.filterwarnings("ignore:One row, 7754")
def test_one_sided_table_is_recognised_and_nothing_is_fitted_on_the_empty_cell(frame_401k):
    question = ci.InvalidIVATE(
        outcome="nettfa", treatment="p401k", instrument="e401k", adjust=["inc", "age", "fsize"], learners="linear"
    )
    with pytest.warns(IdentificationWarning, match="unconfoundedness among the 3,637 rows with e401k = 1"):
        fit = question.fit(frame_401k)
    eta, a, z = fit.nuisances, frame_401k["p401k"], frame_401k["e401k"]
    eligible = z == 1
    x = sm.add_constant(frame_401k[["inc", "age", "fsize"]])
    one_fold = eta["fold"] == 0
    train = eligible & (a == 1) & ~one_fold
    arm = sm.OLS(frame_401k["nettfa"][train], x[train]).fit()
    assert np.allclose(eta["y1"][one_fold], arm.predict(x[one_fold]))
    assert not {"mu0", "m0"} & set(eta.columns)


@pytest.mark.filterwarnings("ignore:One row, 7754")
def test_everybody_treated_without_offer_is_the_mirror_image(frame_401k):
    frame = frame_401k.assign(p401k=1 - frame_401k["p401k"])
    roles = {"outcome": "nettfa", "treatment": "p401k", "instrument": "e401k"}
    options = {"adjust": ["inc", "age", "fsize"], "learners": "linear", "folds": np.arange(len(frame)) % 5}
    with pytest.warns(IdentificationWarning):
        flipped = ci.InvalidIVATE(**roles, **options).fit(frame)
    with pytest.warns(IdentificationWarning):
        straight = ci.InvalidIVATE(**roles, **options).fit(frame_401k)
    assert np.isclose(flipped.params["ATE"], -straight.params["ATE"], rtol=1e-6)


def test_weak_instrument_is_refused_with_the_set_that_stays_valid():
    data = simulate_weak_iv(1_500, delta=0.0, random_state=1).data
    with pytest.raises(WeakIdentificationError, match="hardly shifts the variance") as caught:
        ci.InvalidIVATE(**ROLES, learners="linear").fit(data)
    assert caught.value.robust_set
    with pytest.warns(WeakIdentificationWarning):
        fit = ci.InvalidIVATE(**ROLES, learners="linear", weak_identification="warn").fit(data)
    assert fit.robust_set() == caught.value.robust_set
    assert "Warning: Weak identification" in str(fit.summary())


def test_strong_instrument_without_variance_shift_is_explained():
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, 3_000)
    a = (rng.random(3_000) < 0.3 + 0.4 * z).astype(int)
    data = pd.DataFrame({"z": z, "a": a, "y": a + rng.normal(size=3_000)})
    with pytest.raises(WeakIdentificationError, match="add up to about one"):
        ci.InvalidIVATE(**ROLES, learners="linear").fit(data)


def test_result_survives_pickle_and_says_what_it_lost(fit, tmp_path):
    copy = pickle.loads(pickle.dumps(fit))
    assert copy.robust_set() == fit.robust_set()
    assert copy.params.equals(fit.params)
    with pytest.raises(InputError, match="loaded without its data"):
        copy.comparators()
    fit.save(tmp_path / "fit.causalif")
    back = ci.load(tmp_path / "fit.causalif")
    assert type(back) is type(fit)
    assert np.allclose(back.std_errors, fit.std_errors, rtol=1e-12, atol=0)
    assert np.allclose(back.robust_set(), fit.robust_set(), rtol=1e-9, atol=0)
    assert str(back.sensitivity()) == str(fit.sensitivity())
    assert np.allclose(back.weighted.cov, fit.weighted.cov, rtol=1e-12, atol=0)
    assert np.array_equal(back.phi, fit.phi)
    for question in (back.comparators, lambda: back.effect_by("x1")):
        with pytest.raises(InputError, match="loaded without its data; fit again"):
            question()


def test_options_are_checked(binary):
    def ask(**options):
        return ci.InvalidIVATE(**ROLES, adjust=["x1", "x2"], **options).fit(binary.data)

    with pytest.raises(InputError, match="`method` must be one of"):
        ask(method="magic")
    with pytest.raises(InputError, match="`formulas` belong to"):
        ask(formulas={"effect": "~ x1"})
    with pytest.raises(InputError, match="`inner_folds` must be a whole number of at least 2"):
        ask(inner_folds=1, learners="linear")
    with pytest.raises(InputError, match="unknown names"):
        ask(learners={"propensity": "linear"})


def test_instrument_must_vary_and_have_rows(binary):
    with pytest.raises(InputError, match="one value only"):
        ci.InvalidIVATE(**ROLES, adjust=["x1"]).fit(binary.data.assign(z=1))
    few = binary.data.assign(z=(np.arange(len(binary.data)) < 20).astype(int))
    with pytest.raises(ci._errors.PositivityError, match="Only 20 of"):
        ci.InvalidIVATE(**ROLES, adjust=["x1"]).fit(few)


def test_no_covariates(binary):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = ci.InvalidIVATE(**ROLES).fit(binary.data)
    assert np.isfinite(fit.std_errors["ATE"])


def test_continuous_treatment_that_is_constant_in_one_arm_is_sent_to_the_parametric_route():
    rng = np.random.default_rng(5)
    z = rng.integers(0, 2, 2_000)
    a = np.where(z == 1, rng.normal(1.0, 1.0, 2_000), 0.0)
    data = pd.DataFrame({"z": z, "a": a, "y": 2 * a + z + rng.normal(size=2_000)})
    with pytest.raises(InputError, match='Use method="parametric"'):
        ci.InvalidIVATE(**ROLES, learners="linear").fit(data)
    with pytest.warns(IdentificationWarning):
        fit = ci.InvalidIVATE(**ROLES, method="parametric").fit(data)
    assert abs(fit.params["ATE"] - 2) < 4 * fit.std_errors["ATE"]
