"""Targeting, weights by least squares and the sequential formula, end to end."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from causalif import ATE, parse_dag
from causalif._errors import InputError, NotIdentifiedError
from causalif.datasets import simulate_wcde, simulate_wcde_continuous
from causalif.estimators.wcde import WCDE

QUADRATIC = make_pipeline(PolynomialFeatures(2), LinearRegression())
ROLES = {"outcome": "Y", "treatment": "A", "mediators": ["M1", "M2"], "adjust": ["C", "W"], "learners": "linear"}
CONTINUOUS = {"outcome": "Y", "treatment": "A", "mediators": ["M"], "adjust": ["C"], "learners": {"outcome": QUADRATIC}}


@pytest.fixture(scope="module")
def discrete():
    return simulate_wcde(4_000, random_state=3)


@pytest.fixture(scope="module")
def continuous():
    return simulate_wcde_continuous(3_000, random_state=3)


def within(fit, truth, suffix=""):
    return all(abs(fit.params[term] - truth[term + suffix]) < 4 * fit.std_errors[term] for term in fit.params.index)


# --- least squares ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", ["marginal", "control"])
def test_least_squares_for_discrete_mediators(discrete, law):
    fit = WCDE(**ROLES, mediator_law=law, weights_by="riesz").fit(discrete.data)
    assert within(fit, discrete.truth, "" if law == "marginal" else " (control law)")
    classified = WCDE(**ROLES, mediator_law=law).fit(discrete.data)
    assert fit.params["WCDE"] == pytest.approx(classified.params["WCDE"], abs=0.3 * fit.std_errors["WCDE"])
    assert "w1" in fit.nuisances
    assert "pi1" not in fit.nuisances


def test_least_squares_for_a_continuous_mediator(continuous):
    fit = WCDE(**CONTINUOUS, weights_by="riesz").fit(continuous.data)
    assert within(fit, continuous.truth)
    assert fit.settings["weights_from"] == "least squares (Riesz)"
    assert fit.diagnostics["weights"]["mean weight"].between(0.9, 1.1).all()
    assert "negative rows" in fit.diagnostics["weights"]
    assert len(fit.by_mediator()) == 4


def test_least_squares_gives_the_curve_and_fixed_values(discrete):
    fit = WCDE(**ROLES, weights_by="riesz").fit(discrete.data)
    for line in fit.by_mediator().itertuples():
        exact = discrete.truth[f"CDE(M1={line.M1:g}, M2={line.M2:g})"]
        assert abs(line.estimate - exact) < 4 * line.std_error
    fixed = WCDE(**ROLES, weights_by="riesz", mediator_law={"M1": 1, "M2": 0}).fit(discrete.data)
    line = fit.by_mediator().query("M1 == 1 and M2 == 0").iloc[0]
    assert fixed.params["WCDE"] == pytest.approx(line["estimate"], abs=1e-10)
    assert fixed.std_errors["WCDE"] == pytest.approx(line["std_error"], rel=1e-9)


@pytest.mark.parametrize("name", ["treatment", "mediator"])
def test_least_squares_has_no_use_for_classifiers(discrete, name):
    asked = {**ROLES, "learners": {"outcome": "linear", name: "linear"}}
    with pytest.raises(InputError, match=rf"`learners` names \['{name}'\], which weights_by=\"riesz\" does not use"):
        WCDE(**asked, weights_by="riesz").fit(discrete.data)


def test_least_squares_needs_mediators(discrete):
    with pytest.raises(InputError, match="there are none"):
        WCDE(outcome="Y", treatment="A", adjust=["C"], learners="linear", weights_by="riesz").fit(discrete.data)


@pytest.mark.parametrize(("option", "value"), [("method", "targeted"), ("weights_by", "regression")])
def test_unknown_routes(discrete, option, value):
    with pytest.raises(InputError, match=f"`{option}` must be"):
        WCDE(**ROLES, **{option: value}).fit(discrete.data)


# --- targeting -------------------------------------------------------------------------------------------------------


def mean_residuals(fit, data, roles, arm):
    """The average of 1(A = a) w (Y − Q*), from the frame of nuisances and the reported moves."""
    frame, y = fit.nuisances, data[roles["outcome"]].to_numpy(float)
    low, high = y.min(), y.max()
    share = np.clip((frame[f"mu{arm}"] - low) / (high - low), 1e-4, 1 - 1e-4)
    odds = np.log(share / (1 - share)) + frame[f"moved{arm}"]
    return float((frame[f"weight{arm}"] * (y - (low + (high - low) / (1 + np.exp(-odds))))).mean())


@pytest.mark.parametrize("weights_by", ["classification", "riesz"])
def test_weighted_residuals_average_to_zero_after_targeting(discrete, continuous, weights_by):
    flexible = {**CONTINUOUS, "learners": {"outcome": QUADRATIC}}
    if weights_by == "classification":
        flexible["learners"] |= {"treatment": "linear", "density_ratio": "linear"}
    for roles, data in ((ROLES, discrete.data), (flexible, continuous.data)):
        fit = WCDE(**roles, method="tmle", weights_by=weights_by).fit(data)
        for arm in (0, 1):
            assert abs(mean_residuals(fit, data, roles, arm)) < 1e-10
        one_step = WCDE(**roles, weights_by=weights_by).fit(data)
        assert fit.params["WCDE"] == pytest.approx(one_step.params["WCDE"], abs=0.5 * one_step.std_errors["WCDE"])
        assert fit.std_errors["WCDE"] == pytest.approx(one_step.std_errors["WCDE"], rel=0.1)


def test_targeting_finds_the_truth(discrete, continuous):
    assert within(WCDE(**ROLES, method="tmle").fit(discrete.data), discrete.truth)
    learners = {"outcome": QUADRATIC, "treatment": "linear", "density_ratio": "linear"}
    fit = WCDE(**{**CONTINUOUS, "learners": learners}, method="tmle").fit(continuous.data)
    assert within(fit, continuous.truth)
    assert fit.diagnostics["targeting"].shape == (2, 3)


def test_targeted_means_stay_within_the_range_where_one_step_leaves_it():
    """Events at large c only, where the treated are: a straight line through them is negative elsewhere."""
    rng = np.random.default_rng(0)
    c = rng.normal(size=1_000)
    a, m = rng.random(1_000) < 1 / (1 + np.exp(-3 * c)), rng.random(1_000) < 0.5
    data = pd.DataFrame({"C": c, "A": a, "M": m, "Y": (c > 1.5) & a}).astype(float)
    blind = {name: DummyClassifier() for name in ("treatment", "mediator")}
    roles = {"outcome": "Y", "treatment": "A", "mediators": ["M"], "adjust": ["C"], "levels": (1.0, 0.0)}
    one, targeted = (
        WCDE(**roles, learners={"outcome": "linear", **blind}, method=method).fit(data)
        for method in ("one_step", "tmle")
    )
    assert one.params["E[Y(1, M)]"] < 0
    assert ((targeted.values[1:] > -1e-12) & (targeted.values[1:] <= 1)).all()
    assert targeted.diagnostics["targeting"].loc["A = 1.0", "rows brought within the range"] > 0


def test_an_arm_without_events_is_moved_to_the_end_of_the_range():
    data = simulate_wcde(600, random_state=1).data
    data.loc[data["A"] == 0, "Y"] = 0
    fit = WCDE(**ROLES, method="tmle").fit(data)
    assert abs(fit.params["E[Y(0, M)]"]) < 1e-12


def test_targeting_without_mediators_is_the_targeted_average_effect(discrete):
    options = {"outcome": "Y", "treatment": "A", "adjust": ["C", "V"], "learners": "linear"}
    targeted, aipw = WCDE(**options, method="tmle").fit(discrete.data), ATE(**options).fit(discrete.data)
    assert targeted.params["WCDE"] == pytest.approx(aipw.params["ATE"], abs=0.1 * aipw.std_errors["ATE"])
    assert targeted.std_errors["WCDE"] == pytest.approx(aipw.std_errors["ATE"], rel=0.01)
    moved = targeted.nuisances["moved1"]
    assert moved.groupby(targeted.nuisances["fold"]).nunique().eq(1).all()


def test_targeting_with_sampling_weights_and_clusters(discrete):
    rng = np.random.default_rng(0)
    data = discrete.data.assign(w=rng.uniform(0.5, 2, 4_000), id=np.arange(4_000) // 2)
    fit = WCDE(**ROLES, method="tmle", weights="w", cluster="id").fit(data)
    assert within(fit, discrete.truth)
    frame, y = fit.nuisances, data["Y"].to_numpy(float)
    share = np.clip(frame["mu1"], 1e-4, 1 - 1e-4)
    q = 1 / (1 + np.exp(-np.log(share / (1 - share)) - frame["moved1"]))
    assert abs(float((data["w"] * frame["weight1"] * (y - q)).mean())) < 1e-10


# --- the sequential formula ------------------------------------------------------------------------------------------

DAG = parse_dag("C -> {A Y}; A -> L -> M -> Y; A -> {M Y}; L <- U -> Y")
LISTED = {"outcome": "Y", "treatment": "A", "mediators": ["M"], "adjust": ["C"], "intermediate": ["L"]}


def affected(n: int, seed: int) -> pd.DataFrame:
    """U -> L and U -> Y; CDE(m) = 1 + m / 2."""
    rng = np.random.default_rng(seed)
    c, u = rng.binomial(1, 0.5, n), rng.binomial(1, 0.5, n)
    a = rng.binomial(1, 0.3 + 0.4 * c)
    late = rng.binomial(1, 0.15 + 0.3 * a + 0.35 * u)
    m = rng.binomial(1, 0.2 + 0.5 * late + 0.1 * a)
    y = a + m + 0.5 * a * m + c + 2 * u + rng.normal(size=n)
    return pd.DataFrame({"C": c, "A": a, "L": late, "M": m, "Y": y}).astype(float)


def test_the_graph_asks_for_the_sequential_formula_where_no_single_set_exists():
    data = affected(6_000, 1)
    fit = WCDE(outcome="Y", treatment="A", dag=DAG, learners="linear").fit(data)
    assert fit.sets.intermediate == {"L"}
    assert fit.settings["intermediate"] == ["L"]
    assert abs(fit.params["WCDE"] - (1 + data["M"].mean() / 2)) < 4 * fit.std_errors["WCDE"]
    for line in fit.by_mediator().itertuples():
        assert abs(line.estimate - (1 + line.M / 2)) < 4 * line.std_error
    listed = WCDE(**LISTED, learners="linear").fit(data)
    assert listed.params["WCDE"] == pytest.approx(fit.params["WCDE"], abs=1e-12)
    assert listed.sets == {"mediators": ("M",), "covariates": ("C",), "intermediate": ("L",)}


def test_one_stage_would_be_wrong():
    """L as a covariate, or left out, gives another number."""
    data = affected(40_000, 2)
    truth = 1 + data["M"].mean() / 2
    plain = {"outcome": "Y", "treatment": "A", "mediators": ["M"], "learners": "linear"}
    wrong = [WCDE(**plain, adjust=adjust).fit(data) for adjust in (["C", "L"], ["C"])]
    right = WCDE(**LISTED, learners="linear").fit(data)
    assert abs(right.params["WCDE"] - truth) < 4 * right.std_errors["WCDE"]
    assert all(abs(fit.params["WCDE"] - truth) > 4 * fit.std_errors["WCDE"] for fit in wrong)


def test_the_sequential_estimate_by_hand():
    """Saturated, without splitting: plain group means."""
    data = affected(3_000, 3)
    logit = {name: Cells() for name in ("treatment", "mediator", "outcome")}
    fit = WCDE(**LISTED, folds=1, learners=logit).fit(data)
    n, mean = len(data), data.groupby(["A", "M", "L", "C"])["Y"].mean()
    p_c, p_m = data.groupby("C").size() / n, data.groupby("M").size() / n
    late = data.groupby(["A", "C", "L"]).size() / data.groupby(["A", "C"]).size()

    def step(a, m, c):
        return sum(late[(a, c, k)] * mean[(a, m, k, c)] for k in (0.0, 1.0))

    for a, term in ((1.0, "E[Y(1, M)]"), (0.0, "E[Y(0, M)]")):
        v_statistic = sum(p_m[m] * p_c[c] * step(a, m, c) for m in (0.0, 1.0) for c in (0.0, 1.0))
        own = np.mean([step(a, m, c) for m, c in data[["M", "C"]].itertuples(index=False)])
        assert fit.params[term] == pytest.approx((n * v_statistic - own) / (n - 1), abs=1e-9)


class Cells:
    """Means of every combination of 0/1 columns, as a learner of the engine."""

    def fit_folds(self, X, y, slices, weights=None):
        """Return the table of means; one slice only."""
        codes = X.astype(int) @ 2 ** np.arange(X.shape[1])
        means = np.bincount(codes, weights=y) / np.maximum(np.bincount(codes), 1)
        return [lambda Z: means[Z.astype(int) @ 2 ** np.arange(Z.shape[1])] for _ in slices]


def test_a_category_that_the_treatment_affects():
    data = affected(4_000, 4)
    named = data.assign(L=data["L"].map({0.0: "no", 1.0: "yes"}).astype("category"), **{"L=other": data["C"] * 2.0})
    fit = WCDE(**{**LISTED, "adjust": ["C"]}, learners="linear").fit(named)
    assert fit.params["WCDE"] == pytest.approx(WCDE(**LISTED, learners="linear").fit(data).params["WCDE"], abs=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "tmle"}, "not available where confounders are affected"),
        ({"weights_by": "riesz"}, "not available where confounders are affected"),
        ({"mediators": []}, "there are no `mediators`"),
        ({"intermediate": "L"}, "`intermediate` must be a list"),
        ({"adjust": ["C", "L"]}, "given twice, as `intermediate` and as `adjust`"),
        ({"intermediate": ["K"]}, "`intermediate` names the column 'K'"),
    ],
)
def test_unusable_sequential_questions(change, message):
    with pytest.raises(InputError, match=message):
        WCDE(**{**LISTED, "learners": "linear", **change}).fit(affected(300, 1))


def test_continuous_mediators_have_no_sequential_estimate():
    data = affected(300, 1)
    data["M"] += np.random.default_rng(0).normal(size=300)
    with pytest.raises(InputError, match="for discrete mediators only"):
        WCDE(**LISTED, learners="linear").fit(data)


def test_neither_formula_applies():
    graph = parse_dag("A -> M -> Y; A -> Y; M <- U -> Y")
    with pytest.raises(NotIdentifiedError, match="U"):
        WCDE(outcome="Y", treatment="A", dag=graph, learners="linear").fit(affected(300, 1))
