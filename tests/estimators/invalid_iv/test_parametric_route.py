"""`InvalidIVATE(method="parametric")` from data to summary, against `fit_parametric` and known truths."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import causalif as ci
from causalif._errors import (
    CausalifWarning,
    FewClustersWarning,
    IdentificationWarning,
    InputError,
    PositivityWarning,
    WeakIdentificationError,
    WeakIdentificationWarning,
)
from causalif.datasets import load_401k, simulate_invalid_iv_binary, simulate_invalid_iv_continuous
from causalif.engine.problem import Plan
from causalif.estimands.invalid_iv import Roles
from causalif.estimators.invalid_iv import parametric_route
from causalif.estimators.invalid_iv.diagnostics import silent_arm
from causalif.estimators.invalid_iv.parametric import fit_parametric
from causalif.estimators.invalid_iv.robust import describe, robust_set
from causalif.table import read_table

RIGHT = {
    "instrument": "~ x1 + x2",
    "treatment": "~ z + x1 + z:x2",
    "effect": "~ x1",
    "confounding": "~ x1",
    "outcome": "~ z + x1 + x2 + z:x2",
}
BASIS_401K = "~ log(inc) + inc + I(inc**2) + age + I(age**2) + marr + fsize + male"
SANDWICH = "sandwich of the stacked estimating equations"


def asked(adjust=("x1", "x2"), **options):
    defaults = {"outcome": "y", "treatment": "a", "instrument": "z", "method": "parametric"}
    return ci.InvalidIVATE(**{**defaults, "adjust": list(adjust), **options})


def binary_data(n=4000, seed=1):
    return simulate_invalid_iv_binary(n, random_state=seed).data


def weak_data(n=2000):
    """The instrument moves the mean of a continuous treatment and not its variance."""
    rng = np.random.default_rng(5)
    x1, u = rng.normal(size=(2, n))
    z = rng.integers(0, 2, n)
    a = 0.5 * z + x1 + u + rng.normal(size=n)
    return pd.DataFrame({"x1": x1, "z": z, "a": a, "y": a + 2 * z + x1 + 1.5 * u + rng.normal(size=n)})


def routed(estimator, data):
    """The route alone, as `InvalidIVATE.fit` calls it."""
    table = read_table(
        data, numbers={"outcome": "y"}, coded={"instrument": "z"}, either={"treatment": "a"}, adjust=estimator.adjust,
        weights=estimator.weights, cluster=estimator.cluster,
    )  # fmt: skip
    silent = silent_arm(table, "a", "z")
    roles = Roles("y", "a", "z", table.names, "a" in table.levels, estimator.clip, silent)
    return parametric_route.estimate(estimator, table, Plan(strata=("z",)), roles)


# -------------------------------------------------------------------------------------------- numbers


def test_binary_treatment_end_to_end():
    simulated = simulate_invalid_iv_binary(10_000, random_state=1)
    result = asked(formulas=RIGHT).fit(simulated.data)
    fit = fit_parametric(simulated.data, "y", "a", "z", ["x1", "x2"], RIGHT, binary=True)
    assert result.params["ATE"] == pytest.approx(fit.theta, rel=1e-12)
    assert result.std_errors["ATE"] == pytest.approx(fit.std_error, rel=1e-9)
    for term, target in {"direct effect of instrument": fit.delta_g, "confounding": fit.rho}.items():
        assert result.parts.params[term] == pytest.approx(target.value, rel=1e-12)
        assert result.parts.std_errors[term] == pytest.approx(target.std_error, rel=1e-9)
    truth = simulated.truth
    found = result.parts
    known = {"ATE": "ATE", "direct effect of instrument": "direct effect", "confounding": "confounding"}
    for term, name in known.items():
        assert abs(found.params[term] - truth[name]) < 4 * found.std_errors[term], term
    assert abs(result.weighted.values[0] - truth["weighted ATE"]) < 4 * result.weighted.std_errors.iloc[0]


def test_continuous_treatment_end_to_end():
    simulated = simulate_invalid_iv_continuous(12_000, random_state=1)
    result = asked(("x1", "x2", "x3")).fit(simulated.data)
    assert abs(result.params["ATE"] - 1.0) < 4 * result.std_errors["ATE"] < 0.3
    assert list(result.parts)[-2:] == ["direct effect by treatment", "instrument by confounder"]
    # the whole sample's standard error should not be far from sqrt(bound / n)
    bound = simulated.truth["efficiency bound"] / np.sqrt(12_000)
    assert 0.8 < result.std_errors["ATE"] / bound < 1.5


def test_401k_in_dollars():
    data = load_401k()
    data["nettfa"] *= 1000
    formulas = dict.fromkeys(("instrument", "treatment", "outcome"), BASIS_401K)
    adjust = ["inc", "age", "marr", "fsize", "male"]
    estimator = asked(adjust, outcome="nettfa", treatment="p401k", instrument="e401k", formulas=formulas)
    with pytest.warns(IdentificationWarning, match="unconfoundedness") as told:
        result = estimator.fit(data)
    assert len(told) == 1
    assert round(result.params["ATE"]) == 13_651
    text = " ".join(str(result.summary()).split())
    assert f"13,651 {result.std_errors['ATE']:,.0f}" in text
    assert "would be 2,830." in text
    assert "the fitted effects alone is 14,476" in text
    assert SANDWICH in text
    assert list(result.parts) == ["ATE", "numerator", "denominator"]
    assert len(result.robust_set()) == 1


def test_clusters_sum_the_sandwich_influence():
    data = binary_data().assign(g=lambda t: np.arange(len(t)) % 40)
    result = asked(formulas=RIGHT, cluster="g").fit(data)
    fit = fit_parametric(data, "y", "a", "z", ["x1", "x2"], RIGHT, binary=True)
    sums = pd.Series(fit.influence).groupby(data["g"].to_numpy()).sum()
    expected = np.sqrt(40 / 39 * (sums**2).sum()) / len(data)
    assert result.std_errors["ATE"] == pytest.approx(expected, rel=1e-9)
    reg = pd.Series(fit.influence_reg).groupby(data["g"].to_numpy()).sum()
    plain = np.sqrt(40 / 39 * (reg**2).sum()) / len(data)
    assert any(f"{fit.theta_reg:.4f} (std error {plain:.4f})" in note for note in result.settings["notes"])
    with pytest.warns(FewClustersWarning):
        asked(formulas=RIGHT, cluster="g").fit(data.assign(g=data["g"] % 10))


def test_weights_enter_everything():
    w = np.random.default_rng(0).uniform(0.2, 2.0, 4000)
    data = binary_data().assign(w=w)
    result = asked(formulas=RIGHT, weights="w").fit(data)
    fit = fit_parametric(data, "y", "a", "z", ["x1", "x2"], RIGHT, binary=True, weights=w)
    assert result.params["ATE"] == pytest.approx(fit.theta, rel=1e-10)
    assert result.std_errors["ATE"] == pytest.approx(fit.std_error, rel=1e-8)
    assert np.average(result.phi, weights=w) == pytest.approx(fit.theta, rel=1e-10)
    assert result.params["ATE"] != pytest.approx(asked(formulas=RIGHT).fit(data).params["ATE"], rel=1e-3)


def test_zero_weights_can_silence_an_arm():
    data = binary_data()
    data["w"] = np.where((data["z"] == 0) & (data["a"] == 1), 0.0, 1.0)
    pieces = routed(asked(formulas=RIGHT, weights="w"), data)
    assert pieces.labels == ("ATE", "numerator", "denominator")
    dropped = data[data["w"] > 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentificationWarning)
        fit = asked(formulas=RIGHT).fit(dropped)
    assert pieces.values[0] == pytest.approx(fit.params["ATE"], rel=1e-10)


def test_labels_of_levels_and_order_of_rows_do_not_matter():
    data = binary_data()
    named = data.assign(z=np.where(data["z"] == 1, "offered", "not"), a=data["a"] == 1)
    base, other = asked().fit(data), asked().fit(named.sample(frac=1, random_state=0))
    assert other.params["ATE"] == pytest.approx(base.params["ATE"], rel=1e-9)
    np.testing.assert_allclose(other.std_errors["ATE"], base.std_errors["ATE"], rtol=1e-9)
    np.testing.assert_allclose(other.influence.loc[data.index], base.influence, rtol=1e-6, atol=1e-8)


# ------------------------------------------------------------------------------------- what the result can do


def test_the_result_answers_its_questions():
    data = binary_data()
    result = asked(formulas=RIGHT).fit(data)
    text = " ".join(str(result.summary()).split())
    assert f"Std errors: {SANDWICH}" in text
    assert "no splitting" in text
    assert "Formulas: instrument ~ x1 + x2; treatment ~ z + x1 + z:x2" in text
    ((low, high),) = result.robust_set()
    assert low < result.weighted.values[0] < high
    linear = result.effect_by("x1")
    assert list(linear) == ["intercept", "x1"]
    assert abs(linear.params["x1"] - 1.0) < 4 * linear.std_errors["x1"]
    for kind in ("direct effect by treatment", "instrument by confounder", "uptake by effect"):
        found = result.sensitivity(kind)
        slope = result.parts.params[kind]
        assert found.tipping_estimate == pytest.approx(result.params["ATE"] / slope)
    table = result.comparators()
    assert "Invalid-IV ATE" in str(table)
    assert "2SLS" in str(table)
    terms = result.diagnostics["coefficients"]
    assert set(terms["nuisance"]) == set(RIGHT)
    assert list(result.nuisances.columns[-2:]) == ["D", "D_used"]


def test_pieces_of_the_moments_are_cross_fitted_with_linear_learners():
    data = binary_data()
    pieces = routed(asked(formulas=RIGHT), data)
    moments = (
        ci.InvalidIVATE(outcome="y", treatment="a", instrument="z", adjust=["x1", "x2"], learners="linear")
        .fit(data)
        .parts
    )
    for term in ("numerator", "denominator", "uptake by effect"):
        # other strata, so other folds: equal up to the noise of splitting
        value = pieces.values[pieces.labels.index(term)]
        assert abs(value - moments.params[term]) < 0.2 * moments.std_errors[term], term
    assert pieces.score.mean() == pytest.approx(pieces.values[pieces.labels.index("denominator")])
    assert pieces.folds[0].k == 1


def test_floor_and_clip_are_honoured():
    data = binary_data()
    with pytest.warns(CausalifWarning):
        floored = asked(formulas=RIGHT, floor=0.8, weak_identification="warn").fit(data)
    d = floored.nuisances
    low = d["D"] < 0.8 * d["D"].mean()
    assert low.any()
    np.testing.assert_allclose(d["D_used"], np.maximum(d["D"], 0.8 * d["D"].mean()))
    with pytest.warns(PositivityWarning, match="clipped at 0.3 in [0-9,]+ of 4,000"):
        clipped = asked(formulas=RIGHT, clip=0.3).fit(data)
    assert clipped.nuisances["pi"].between(0.3, 0.7).all()
    assert any("clipped at 0.3" in str(line) for line in str(clipped.summary()).split("Warning: "))
    with pytest.raises(InputError, match="`floor`"):
        asked(floor=0.0).fit(data)


# ------------------------------------------------------------------------------------- weak identification


def test_weak_identification_raises_with_the_robust_set():
    estimator = asked(("x1",), formulas={"variance": "~ z"})
    with pytest.raises(WeakIdentificationError, match="hardly shifts the variance") as caught:
        estimator.fit(weak_data())
    assert caught.value.robust_set
    assert describe(caught.value.robust_set) in str(caught.value)
    assert "weak_identification='warn'" in str(caught.value)
    low, high = caught.value.robust_set[0][0], caught.value.robust_set[-1][1]
    assert np.isinf([low, high]).any(), "an instrument without any shift leaves the effect unbounded"


def test_weak_identification_can_be_a_warning():
    estimator = asked(("x1",), formulas={"variance": "~ z"}, weak_identification="warn")
    with pytest.warns(WeakIdentificationWarning, match="hardly shifts the variance"):
        result = estimator.fit(weak_data())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        pieces = routed(estimator, weak_data())
    assert [w.category for w in told] == [WeakIdentificationWarning]
    assert pieces.values[0] == pytest.approx(result.params["ATE"])
    # the sentence carries the set of these folds
    known = ci.results.estimate.Estimate(pieces.values, pieces.influence, pieces.labels, pd.RangeIndex(2000))
    assert describe(robust_set(known)) in str(told[0].message)
    fit_options = {"binary": False, "weak": "warn"}
    with pytest.warns(WeakIdentificationWarning, match="hardly shifts"):
        fit = fit_parametric(weak_data(), "y", "a", "z", ["x1"], {"variance": "~ z"}, **fit_options)
    assert result.params["ATE"] == pytest.approx(fit.theta, rel=1e-10)


# --------------------------------------------------------------------------------------------- refusals


def test_learners_are_refused():
    with pytest.raises(InputError, match="whose models are given by `formulas`"):
        asked(learners="linear").fit(binary_data(500))


def test_three_levels_of_the_instrument_are_refused():
    data = binary_data(900).assign(z=np.arange(900) % 3)
    with pytest.raises(InputError, match="two levels"):
        asked().fit(data)


def test_unknown_columns_name_the_known_ones():
    for formula in ("~ age", "~ C(age)"):
        with pytest.raises(InputError, match=r"'effect'.*age.* is not .*The covariates here are `x1`, `x2`\."):
            asked(formulas={"effect": formula}).fit(binary_data(500))


def test_categories_are_named_by_their_indicators():
    data = binary_data().assign(region=lambda t: pd.Categorical(np.array(["n", "s", "w"])[np.arange(len(t)) % 3]))
    adjust = ("x1", "x2", "region")
    second = read_table(data, numbers={"outcome": "y"}, adjust=adjust).names[2]
    for formula in ("~ region", "~ C(region)"):
        with pytest.raises(InputError, match="region became indicators") as caught:
            asked(adjust, formulas={"effect": formula}).fit(data)
        assert f"The covariates here are `x1`, `x2`, `{second}`, " in str(caught.value)
    result = asked(adjust, formulas={"effect": f"~ x1 + `{second}`"}).fit(data)
    listed = result.diagnostics["coefficients"].query("nuisance == 'effect'")["term"].tolist()
    assert listed == ["Intercept", "x1", second]
    groups = result.effect_by("region")
    assert list(groups) == ["region=n", "region=s", "region=w"]
