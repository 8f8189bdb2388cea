"""The weighted controlled direct effect end to end: known truths, brute force, equalities, options."""

from __future__ import annotations

import pickle
import warnings

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from causalif import ATE
from causalif._errors import IdentificationWarning, PositivityWarning
from causalif.datasets import load_loanapp, simulate_wcde, simulate_wcde_continuous
from causalif.estimators.wcde import WCDE
from causalif.results.archive import load

QUADRATIC = make_pipeline(PolynomialFeatures(2), LinearRegression())
ROLES = {"outcome": "Y", "treatment": "A", "mediators": ["M1", "M2"], "adjust": ["C", "W"]}
CONTINUOUS = {"outcome": "Y", "treatment": "A", "mediators": ["M"], "adjust": ["C"]}
FLEXIBLE = {"outcome": QUADRATIC, "treatment": "linear"}


@pytest.fixture(scope="module")
def discrete():
    return simulate_wcde(6_000, random_state=3)


@pytest.fixture(scope="module")
def fitted(discrete):
    return WCDE(**ROLES, learners="linear").fit(discrete.data)


# --- truths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", ["marginal", "control"])
@pytest.mark.parametrize("weights", ["mediator", "density_ratio"])
def test_discrete_mediators(discrete, law, weights):
    fit = WCDE(**ROLES, mediator_law=law, learners={"outcome": "linear", "treatment": "linear", weights: "linear"}).fit(
        discrete.data
    )
    suffix = "" if law == "marginal" else " (control law)"
    for term in fit.params.index:
        assert abs(fit.params[term] - discrete.truth[term + suffix]) < 4 * fit.std_errors[term]
    assert ("ratio" in fit.nuisances) == (weights == "density_ratio")


@pytest.mark.parametrize("learners", [FLEXIBLE, "linear"], ids=["flexible", "linear"])
def test_continuous_mediator(learners):
    simulated = simulate_wcde_continuous(4_000, random_state=5)
    fit = WCDE(**CONTINUOUS, learners=learners).fit(simulated.data)
    for term in fit.params.index:
        assert abs(fit.params[term] - simulated.truth[term]) < 4 * fit.std_errors[term]


def test_curve_of_a_continuous_mediator():
    """CDE(m) = 1 + m / 2 + E[C²] / 2, averaged between the quartiles of M."""
    simulated = simulate_wcde_continuous(4_000, random_state=6)
    fit = WCDE(**CONTINUOUS, learners=FLEXIBLE).fit(simulated.data)
    curve, m = fit.by_mediator(), simulated.data["M"]
    many = simulate_wcde_continuous(400_000, random_state=7).data["M"]
    assert len(curve) == 4
    assert curve["share"].to_numpy() == pytest.approx(0.25, abs=1e-3)
    assert (curve["M from"].iloc[0], curve["M to"].iloc[-1]) == (m.min(), m.max())
    edges = [-np.inf, *m.quantile([0.25, 0.5, 0.75]), np.inf]
    for line, low, high in zip(curve.itertuples(), edges[:-1], edges[1:], strict=True):
        exact = 1 + many[(many > low) & (many <= high)].mean() / 2 + 1 / 6
        assert abs(line.estimate - exact) < 4 * line.std_error
    assert curve["share"] @ curve["estimate"] == pytest.approx(fit.params["WCDE"], abs=0.02)
    assert fit.interaction_test()["p_value"] < 0.01


def test_fixed_mediators_give_the_controlled_direct_effect(discrete, fitted):
    curve = fitted.by_mediator()
    for line in curve.itertuples():
        law = {"M1": line.M1, "M2": line.M2}
        fixed = WCDE(**ROLES, learners="linear", mediator_law=law).fit(discrete.data)
        assert fixed.params["WCDE"] == pytest.approx(line.estimate, abs=1e-12)
        assert fixed.std_errors["WCDE"] == pytest.approx(line.std_error, rel=1e-9)
        exact = discrete.truth[f"CDE(M1={line.M1:g}, M2={line.M2:g})"]
        assert abs(line.estimate - exact) < 4 * line.std_error


def test_a_given_law_mixes_the_curve(discrete, fitted):
    law = {"M1": {0: 0.3, 1: 0.7}, "M2": {0: 0.5, 1: 0.5}}
    fit = WCDE(**ROLES, learners="linear", mediator_law=law).fit(discrete.data)
    shares = np.array([0.15, 0.15, 0.35, 0.35])
    assert fit.params["WCDE"] == pytest.approx(shares @ fitted.curve.values, abs=1e-12)
    mixed = fitted.curve.influence_values @ shares
    assert np.allclose(fit.influence_values[:, 0], mixed, atol=1e-10)


def test_curve_averages_to_the_effect_and_its_band_is_wider(fitted):
    band, single = fitted.by_mediator(), fitted.by_mediator(joint=False)
    assert band["share"].sum() == pytest.approx(1.0)
    assert band["share"] @ band["estimate"] == pytest.approx(fitted.params["WCDE"], abs=2e-3)
    assert ((band["upper"] - band["lower"]) > (single["upper"] - single["lower"])).all()
    assert fitted.interaction_test()["df"] == 3
    assert fitted.interaction_test()["p_value"] < 1e-4


# --- brute force -----------------------------------------------------------------------------------------------------


def test_the_estimate_is_the_one_step_form_computed_by_hand(discrete):
    """Saturated regressions without splitting: plain group means and double loops over cells, from the data frame."""
    data = discrete.data.iloc[:3000]
    cells = make_pipeline(PolynomialFeatures(4, interaction_only=True), LinearRegression())
    logit = make_pipeline(
        PolynomialFeatures(4, interaction_only=True), LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000)
    )
    fit = WCDE(**ROLES, folds=1, learners={"outcome": cells, "treatment": logit, "mediator": logit}).fit(data)
    n, by = len(data), ["M1", "M2", "C", "W"]
    mean = data.groupby(["A", *by])["Y"].mean()
    p_m, p_c = data.groupby(["M1", "M2"]).size() / n, data.groupby(["C", "W"]).size() / n
    joint = data.groupby(["A", *by]).size() / n
    for a, term in ((1, "E[Y(1, M)]"), (0, "E[Y(0, M)]")):
        v_statistic = sum(p_m[m] * p_c[c] * mean[(a, *m, *c)] for m in p_m.index for c in p_c.index)
        own = np.array([mean[(a, *row)] for row in data[by].itertuples(index=False)])
        u_statistic = (n * v_statistic - own.mean()) / (n - 1)
        at = [(a, *row) for row in data[by].itertuples(index=False)]
        w = np.array([p_m[key[1:3]] * p_c[key[3:]] / joint[key] for key in at]) * (data["A"] == a)
        residual = data["Y"].to_numpy() - own
        by_hand = u_statistic + float((w * residual).mean())
        assert fit.params[term] == pytest.approx(by_hand, abs=1e-9)
        f1 = np.array(
            [sum(p_c[c] * mean[(a, *m, *c)] for c in p_c.index) for m in data[["M1", "M2"]].itertuples(index=False)]
        )
        f2 = np.array(
            [sum(p_m[m] * mean[(a, *m, *c)] for m in p_m.index) for c in data[["C", "W"]].itertuples(index=False)]
        )
        phi = w * residual + f1 + f2 - v_statistic
        assert fit.std_errors[term] == pytest.approx(phi.std() / np.sqrt(n), rel=1e-3)


def test_halving_the_correction_would_be_seen():
    """With a constant regression the correction does all the work, and half of it is half of the way."""
    simulated = simulate_wcde(20_000, random_state=1)
    constant = make_pipeline(PolynomialFeatures(0, include_bias=True), LinearRegression(fit_intercept=False))
    rich = make_pipeline(PolynomialFeatures(4, interaction_only=True), LogisticRegression(C=np.inf, max_iter=1000))
    fit = WCDE(**ROLES, learners={"outcome": constant, "treatment": rich, "mediator": rich}).fit(simulated.data)
    truth, se = simulated.truth["E[Y(1, M)]"], fit.std_errors["E[Y(1, M)]"]
    plug_in = simulated.data.loc[simulated.data["A"] == 1, "Y"].mean()
    halved = (fit.params["E[Y(1, M)]"] + plug_in) / 2
    assert abs(fit.params["E[Y(1, M)]"] - truth) < 4 * se
    assert abs(halved - truth) > 2 * se


def test_clustered_errors_are_right_where_twice_the_estimate_was_subtracted_would_not_be():
    """Rows repeated five times: the clustered standard error is that of the distinct rows."""
    simulated = simulate_wcde(1_500, random_state=2)
    base = simulated.data.assign(id=np.arange(1_500), fold=np.arange(1_500) % 5)
    five = pd.concat([base] * 5, ignore_index=True)
    once = WCDE(**ROLES, learners="linear", folds=base["fold"]).fit(base)
    many = WCDE(**ROLES, learners="linear", folds=five["fold"], cluster="id").fit(five)
    assert many.params["WCDE"] == pytest.approx(once.params["WCDE"], abs=1e-4)
    assert many.std_errors["WCDE"] == pytest.approx(once.std_errors["WCDE"], rel=2e-3)


# --- equalities ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeats", [1, 3])
def test_without_mediators_it_is_aipw(discrete, repeats):
    options = {"outcome": "Y", "treatment": "A", "adjust": ["C", "V"], "learners": "linear", "repeats": repeats}
    ours, aipw = WCDE(**options).fit(discrete.data), ATE(**options).fit(discrete.data)
    assert np.array_equal(ours.values, aipw.values)
    assert np.array_equal(ours.std_errors, aipw.std_errors)


def test_without_covariates_the_mediators_are_all_that_is_adjusted_for(discrete):
    """f2 is then constant and the formula is AIPW with the mediators as covariates, weights being p̂(m) / p̂(m)."""
    ours = WCDE(outcome="Y", treatment="A", mediators=["M1", "M2"], learners="linear").fit(discrete.data)
    aipw = ATE(outcome="Y", treatment="A", adjust=["M1", "M2"], learners="linear").fit(discrete.data)
    assert ours.params["WCDE"] == pytest.approx(aipw.params["ATE"], abs=1e-3)
    assert ours.std_errors["WCDE"] == pytest.approx(aipw.std_errors["ATE"], rel=0.01)


def test_categories_are_the_same_as_numbers(discrete):
    data = discrete.data.assign(M=discrete.data["M1"] + 2 * discrete.data["M2"])
    named = data.assign(M=data["M"].map({0: "none", 1: "one", 2: "two", 3: "both"}))
    roles = {"outcome": "Y", "treatment": "A", "mediators": ["M"], "adjust": ["C"]}
    folds = np.arange(len(data)) % 5
    fit = WCDE(**roles, learners="linear", folds=folds).fit(named)
    assert set(fit.by_mediator()["M"]) == {"none", "one", "two", "both"}
    dummies = pd.get_dummies(named["M"], dtype=float).drop(columns="both")
    pair = WCDE(outcome="Y", treatment="A", mediators=list(dummies), adjust=["C"], learners="linear", folds=folds).fit(
        data.join(dummies)
    )
    assert fit.params["WCDE"] == pytest.approx(pair.params["WCDE"], abs=1e-9)


def test_row_order_and_units_change_nothing(discrete):
    data = discrete.data.iloc[:2000]
    fit = WCDE(**ROLES, learners="linear").fit(data)
    shuffled = WCDE(**ROLES, learners="linear").fit(data.sample(frac=1, random_state=1))
    assert np.allclose(fit.values, shuffled.values, rtol=1e-13, atol=0)
    scaled = WCDE(**ROLES, learners="linear").fit(data.assign(Y=1000 * data["Y"] - 7))
    assert scaled.params["WCDE"] == pytest.approx(1000 * fit.params["WCDE"])
    assert scaled.std_errors["WCDE"] == pytest.approx(1000 * fit.std_errors["WCDE"])


def test_whole_weights_count_rows(discrete):
    """Without splitting, weight 2 is the row twice, but for pairs of a row with its own copy."""
    data = discrete.data.iloc[:1500].assign(w=np.arange(1500) % 2 + 1.0)
    twice = data.loc[data.index.repeat(data["w"].astype(int))].reset_index(drop=True)
    weighted = WCDE(**ROLES, learners="linear", folds=1, weights="w").fit(data)
    repeated = WCDE(**ROLES, learners="linear", folds=1).fit(twice)
    assert np.allclose(weighted.values, repeated.values, atol=2e-4)


def test_results_are_seeded_and_parallel_work_changes_no_digit():
    data = simulate_wcde_continuous(800, random_state=1).data
    fits = [WCDE(**CONTINUOUS, learners="linear", n_jobs=jobs, random_state=4).fit(data) for jobs in (None, 2)]
    assert np.array_equal(fits[0].values, fits[1].values)
    other = WCDE(**CONTINUOUS, learners="linear", random_state=5).fit(data)
    assert other.values[0] != fits[0].values[0]


def test_levels_by_name(discrete):
    data = discrete.data.assign(A=discrete.data["A"].map({0: "old", 1: "new"}))
    fit = WCDE(**ROLES, levels=("new", "old"), learners="linear").fit(data)
    back = WCDE(**ROLES, levels=("old", "new"), learners="linear").fit(data)
    assert fit.params["WCDE"] == pytest.approx(-back.params["WCDE"], abs=1e-12)
    assert list(fit.params.index) == ["WCDE", "E[Y(new, M)]", "E[Y(old, M)]"]


def test_polars_gives_the_same_digits(discrete):
    polars = pytest.importorskip("polars")
    data = discrete.data.iloc[:1000]
    ours = WCDE(**ROLES, learners="linear").fit(polars.DataFrame(data.to_dict("list")))
    assert np.array_equal(ours.values, WCDE(**ROLES, learners="linear").fit(data).values)


# --- results ---------------------------------------------------------------------------------------------------------


def test_summary_says_which_law_and_what_is_fixed(fitted):
    text = " ".join(str(fitted.summary()).split())
    assert "observed joint law of M1, M2 among all rows" in text
    assert "fixed jointly" in text
    assert fitted.sets == {"mediators": ("M1", "M2"), "covariates": ("C", "W")}


def test_weights_are_reported(fitted):
    table = fitted.diagnostics["weights"]
    assert list(table.index) == ["A = 1", "A = 0"]
    assert table["mean weight"].between(0.95, 1.05).all()
    assert (table["effective rows"] < table["rows"]).all()
    w = fitted.nuisances["weight1"].to_numpy()
    assert table.loc["A = 1", "largest weight"] == w.max()
    assert table.loc["A = 1", "effective rows"] == pytest.approx(w.sum() ** 2 / (w**2).sum())


def test_capped_weights_are_counted_and_warned_of(discrete):
    with pytest.warns(PositivityWarning) as said:
        fit = WCDE(**ROLES, learners="linear", clip=0.25).fit(discrete.data)
    table = fit.diagnostics["weights"]
    assert any("weights among A = 0 were capped" in str(one.message) for one in said)
    assert table["capped rows"].sum() > 0
    assert table["largest weight"].max() == pytest.approx(4.0)


def test_saved_and_pickled(fitted, tmp_path):
    again = pickle.loads(pickle.dumps(fitted))
    assert again.by_mediator().equals(fitted.by_mediator())
    fitted.save(tmp_path / "fit.zip")
    assert load(tmp_path / "fit.zip").params.equals(fitted.params)


def test_repeats_are_pooled(discrete):
    fit = WCDE(**ROLES, learners="linear", repeats=3).fit(discrete.data.iloc[:1000])
    assert set(fit.splits["term"]) == set(fit.labels)
    assert len(fit.by_mediator()) == 4


# --- graphs ----------------------------------------------------------------------------------------------------------

GRAPH = [("V", "A"), ("C", "A"), ("C", "M2"), ("C", "Y"), ("W", "Y"), ("A", "M1"), ("M1", "M2"), ("A", "M2")]
GRAPH += [("M1", "Y"), ("M2", "Y"), ("A", "Y")]


def test_the_graph_chooses_the_optimal_set(discrete):
    fit = WCDE(outcome="Y", treatment="A", dag=nx.DiGraph(GRAPH), learners="linear").fit(discrete.data)
    listed = WCDE(**ROLES, learners="linear").fit(discrete.data)
    assert fit.sets.optimal == {"M1", "M2", "C", "W"}
    assert fit.params["WCDE"] == pytest.approx(listed.params["WCDE"], abs=0.003)
    assert fit.settings["mediators"] == ["M1", "M2"]
    assert set(fit.settings["adjust"]) == {"C", "W"}


def test_no_arrow_from_treatment_to_outcome_is_said(discrete):
    graph = nx.DiGraph([edge for edge in GRAPH if edge != ("A", "Y")])
    with pytest.warns(IdentificationWarning, match="0 by the graph"):
        fit = WCDE(outcome="Y", treatment="A", dag=graph, learners="linear").fit(discrete.data)
    assert "0 by the graph" in str(fit.summary()).replace("\n", " ")


def test_columns_that_are_no_nodes_are_left_alone(discrete):
    data = discrete.data.assign(extra="text")
    WCDE(outcome="Y", treatment="A", dag=nx.DiGraph(GRAPH), learners="linear").fit(data)


# --- the real table --------------------------------------------------------------------------------------------------


def test_loan_applications():
    data = load_loanapp().dropna(subset=["male", "married", "dep"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = WCDE(
            outcome="reject", treatment="white", levels=(0, 1), mediators=["chist"], learners="linear",
            adjust=["male", "married", "dep", "sch", "unem"],
        ).fit(data)  # fmt: skip
    assert 0.1 < fit.params["WCDE"] < 0.25
    assert fit.conf_int().loc["WCDE", "lower"] > 0


# --- learners --------------------------------------------------------------------------------------------------------


def test_trees_are_accepted_as_ratio_learner():
    data = simulate_wcde_continuous(600, random_state=1).data
    forest = RandomForestClassifier(30, min_samples_leaf=20, random_state=0)
    WCDE(**CONTINUOUS, learners={**FLEXIBLE, "density_ratio": forest}).fit(data)
