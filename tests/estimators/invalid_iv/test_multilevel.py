"""The multi-level route against simulated truth, exact invariances, and its own refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit

import causalif as ci
from causalif._errors import IdentificationWarning, InputError
from causalif.datasets import simulate_multilevel_iv
from causalif.engine.problem import Plan
from causalif.estimands.invalid_iv import Roles
from causalif.estimands.multilevel_targets import LevelRoles
from causalif.estimators.invalid_iv import diagnostics, multilevel
from causalif.estimators.invalid_iv.multilevel import ALONG, AVERAGE, LevelVariances
from causalif.estimators.invalid_iv.robust import robust_set
from causalif.results.estimate import Estimate
from causalif.table import Table, read_table


def table_of(frame: pd.DataFrame, adjust=("x1", "x2"), **columns) -> Table:
    roles = {"numbers": {"outcome": "y"}, "coded": {"instrument": "z"}, "either": {"treatment": "a"}}
    return read_table(frame, **roles, adjust=list(adjust), **columns)


def roles_for(table: Table) -> Roles:
    return Roles("y", "a", "z", table.names, "a" in table.levels)


def fit(frame: pd.DataFrame, adjust=("x1", "x2"), folds=5, columns=None, **options):
    table = table_of(frame, adjust, **(columns or {}))
    plan = Plan(learners="linear", strata=("z",), folds=folds, n_jobs=1)
    pieces = multilevel.estimate(table, plan, roles_for(table), 0.1, **options)
    return pieces, Estimate(pieces.values, pieces.influence, pieces.labels, table.index, table.clusters)


def draw(n=6000, violation=0.0, seed=0):
    return simulate_multilevel_iv(n, violation=violation, random_state=seed)


def binary_frame(n, seed):
    """Binary uptake mu_z + .06 U at four levels; average effect 1, confounding E[.06 (2 + x1)] = .12."""
    rng = np.random.default_rng(seed)
    x1, x2 = rng.uniform(-1, 1, (2, n))
    z, u = rng.integers(0, 4, n), rng.choice([-1.0, 1.0], n)
    share = expit(np.array([-2.2, 0.0, -0.8, -1.5])[z] + 0.3 * x1) + 0.06 * u
    a = (rng.random(n) < share).astype(float)
    y = (1 + x1) * a + np.array([0.0, 2.0, -1.0, 0.5])[z] + x2 + (2 + x1) * u + rng.normal(0, 0.5, n)
    return pd.DataFrame({"x1": x1, "x2": x2, "z": z, "a": a, "y": y})


@pytest.fixture(scope="module")
def valid():
    return fit(draw().data)


def test_one_draw_finds_effect_confounding_and_direct_effects(valid):
    _, parts = valid
    truth = {"ATE": 1.0, "confounding": 0.96, "direct effect of level 1": 2.0, "direct effect of level 2": -1.0}
    errors = (parts.params[list(truth)] - pd.Series(truth)) / parts.std_errors[list(truth)]
    assert (errors.abs() < 4).all()
    assert parts.labels[0] == "ATE"


def test_one_draw_passes_its_own_test_and_a_violated_one_does_not(valid):
    pieces, _ = valid
    tests = pieces.tables["over-identification"]
    assert list(tests.index) == [AVERAGE, ALONG]
    assert list(tests["df"]) == [1, 3]
    assert (tests["p_value"] > 0.01).all()
    violated, _ = fit(draw(violation=1.5).data)
    assert (violated.tables["over-identification"]["p_value"] < 0.01).all()


def test_a_violated_design_still_estimates_the_functional():
    simulation = draw(20_000, violation=1.5, seed=3)
    _, parts = fit(simulation.data)
    target = simulation.truth["identified"]
    assert abs(parts.params["ATE"] - target) < 4 * parts.std_errors["ATE"]
    assert abs(parts.params["ATE"] - 1.0) > 4 * parts.std_errors["ATE"]


def test_pieces_serve_the_diagnostics(valid):
    pieces, parts = valid
    assert np.allclose(pieces.nuisances[["f0", "f1", "f2"]].sum(axis=1), 1.0, rtol=0, atol=1e-14)
    v = pieces.nuisances[["V0", "V1", "V2"]].to_numpy()
    assert np.allclose(pieces.nuisances["D"], v.std(axis=1), rtol=1e-12)
    assert (pieces.nuisances["D_used"] >= pieces.nuisances["D"]).all()
    assert diagnostics.judge_strength(parts, pieces.nuisances, False, "raise") == []
    table = diagnostics.relevance_table(parts, pieces, None)
    assert abs(table.loc["effect where not floored", "value"] - parts.params["ATE"]) < parts.std_errors["ATE"]
    assert any(low <= 1 <= high for low, high in robust_set(parts))
    assert "no unmeasured confounding" in diagnostics.test_table(parts).index


def test_floor_is_applied_and_counted():
    """With a high floor some rows must be floored, at exactly the share of the training average."""
    frame = draw(2000).data
    table = table_of(frame)
    plan = Plan(learners="linear", strata=("z",), n_jobs=1)
    nuisances = multilevel.estimate(table, plan, roles_for(table), 0.95).nuisances
    floored = nuisances["D_used"] != nuisances["D"]
    assert 0 < floored.mean() < 1
    assert np.allclose(nuisances["D_used"], np.maximum(nuisances["D"], 0.95 * nuisances["shift"]))


@pytest.mark.parametrize(
    ("change", "effect", "scale"),
    [
        (lambda d: d["y"] + np.array([5.0, -2.0, 1.0])[d["z"].astype(int)] + 3 * d["z"] * d["x2"] - d["x1"], 0.0, 1.0),
        (lambda d: d["y"] + 2 * d["a"], 2.0, 1.0),
        (lambda d: 10 - 3 * d["y"], 0.0, -3.0),
    ],
    ids=["direct effects", "effect", "units"],
)
def test_exact_invariances(valid, change, effect, scale):
    _, before = valid
    frame = draw().data
    _, after = fit(frame.assign(y=change(frame)))
    assert np.isclose(after.params["ATE"], scale * before.params["ATE"] + effect, rtol=1e-8)
    assert np.isclose(after.std_errors["ATE"], abs(scale) * before.std_errors["ATE"], rtol=1e-8)
    departures = [label for label in before.labels if label.startswith("departure")]
    assert np.allclose(after.params[departures], scale * before.params[departures], rtol=0, atol=1e-8)


def test_names_of_the_levels_do_not_matter(valid):
    _, before = valid
    frame = draw().data
    _, after = fit(frame.assign(z=frame["z"].astype(int).map({0: "b", 1: "c", 2: "d"})))
    assert np.allclose(after.values, before.values, rtol=1e-12)


def test_binary_treatment_at_four_levels():
    pieces, parts = fit(binary_frame(40_000, 2))
    assert abs(parts.params["ATE"] - 1.0) < 4 * parts.std_errors["ATE"]
    assert abs(parts.params["confounding"] - 0.12) < 4 * parts.std_errors["confounding"]
    assert parts.std_errors["ATE"] < 0.3
    tests = pieces.tables["over-identification"]
    assert list(tests["df"]) == [2, 6]
    assert (tests["p_value"] > 0.001).all()
    assert pieces.tables["direct effects"]["p_value"].iloc[0] < 1e-6


def test_weights_and_clusters_reach_the_tests():
    frame = draw(3000).data.assign(id=np.arange(3000) // 10, w=np.random.default_rng(1).uniform(0.5, 2, 3000))
    pieces, parts = fit(frame, columns={"cluster": "id", "weights": "w"})
    assert abs(parts.params["ATE"] - 1.0) < 4 * parts.std_errors["ATE"]
    line = pieces.tables["over-identification"].loc[AVERAGE]
    assert np.isclose(line["p_value"], stats.f.sf(line["statistic"], 1, 299))


def test_contrasts_are_the_free_directions():
    roles = LevelRoles("y", "a", "z", (), False, (0.4, 0.1, 0.2, 0.3))
    omega, shift = np.array(roles.omega), np.array([-0.5, 0.1, 0.9, 0.0333])
    contrasts = multilevel._free_contrasts(roles, shift)
    assert contrasts.shape == (2, 4)
    assert np.abs(contrasts @ np.column_stack([np.ones(4), shift])).max() < 1e-14
    assert np.allclose((contrasts / omega) @ contrasts.T, np.eye(2), atol=1e-14)


@pytest.mark.filterwarnings("ignore:Collinear covariates:causalif._errors.DataWarning")
def test_dependent_covariates_are_left_out_of_the_directions():
    frame = draw(500).data.assign(x3=lambda d: d["x1"] - d["x2"])
    assert len(multilevel._directions(table_of(frame, ("x1", "x2", "x3")))) == 2
    assert multilevel._directions(table_of(frame, ())) == ()


@pytest.mark.filterwarnings("ignore:Collinear covariates:causalif._errors.DataWarning")
@pytest.mark.parametrize(("count", "tested"), [(10, True), (11, False)])
def test_many_covariates_leave_out_the_test_along_them_and_say_so(count, tested):
    more = pd.DataFrame(np.random.default_rng(0).normal(size=(1500, count - 2))).rename(columns="c{}".format)
    frame = draw(1500).data.join(more)
    adjust = ["x1", "x2", *more]
    pieces, _ = fit(frame.assign(double=2 * frame["x1"]), [*adjust, "double"], folds=2)
    assert (ALONG in pieces.tables["over-identification"].index) == tested
    said = [note for note in pieces.notes if "along the covariates is not tested: 11 of them" in note]
    assert len(said) == (not tested)


def test_scores_follow_the_variances_only_where_these_differ_clearly():
    rng = np.random.default_rng(0)
    z = rng.integers(0, 3, 3000)
    frame = pd.DataFrame({"x": rng.normal(size=3000), "z": z, "y": rng.normal(size=3000)})
    clear = table_of(frame.assign(a=np.array([2.0, 1.0, 1.5])[z] * rng.normal(size=3000)), ("x",))
    assert LevelVariances.of(clear, roles_for(clear)).scores == (1.0, 0.0, 0.5)
    flat = table_of(frame.assign(a=rng.normal(size=3000)), ("x",))
    assert LevelVariances.of(flat, roles_for(flat)).scores == (0.0, 0.5, 1.0)


def test_a_level_without_variation_is_refused():
    frame = draw(600).data
    frame.loc[frame["z"] == 1, "a"] = 0.7
    with pytest.raises(InputError, match=r"does not vary.*'z' is 1"):
        fit(frame)


@pytest.mark.parametrize("omega", [(0.5, 0.5), (0.5, 0.5, 0.0), (1.0, np.nan, 1.0)])
def test_unusable_weights_of_levels_are_refused(omega):
    with pytest.raises(InputError, match="`omega` must hold 3 positive numbers"):
        fit(draw(600).data, omega=omega)


@pytest.mark.parametrize("scores", [(0.0, 1.0), (1.0, 1.0, 1.0)])
def test_unusable_scores_are_refused(scores):
    with pytest.raises(InputError, match="`scores` must hold 3 numbers"):
        fit(draw(600).data, scores=scores)


def test_weights_of_the_levels_are_scaled_to_one_and_said():
    pieces, _ = fit(draw(900).data, omega=(2, 1, 1), folds=2)
    assert any("0: 0.5" in note and "2: 0.25" in note for note in pieces.notes)


def question(**options):
    roles = {"outcome": "y", "treatment": "a", "instrument": "z", "adjust": ["x1", "x2"]}
    return ci.InvalidIVATE(**roles, learners="linear", **options)


def test_end_to_end():
    result = question().fit(draw().data)
    assert result.labels == ("ATE",)
    assert abs(result.params["ATE"] - 1.0) < 4 * result.std_errors["ATE"]
    assert any(low <= 1 <= high for low, high in result.robust_set())
    assert {"over-identification", "direct effects", "relevance", "overlap"} <= set(result.diagnostics)
    found = result.comparators().to_frame().set_index("model")
    assert list(found.index) == [
        "OLS",
        "OLS with the instrument",
        "2SLS",
        "Variance-shift weighted",
        "Invalid-IV ATE",
    ]
    assert found.loc["Invalid-IV ATE", "estimate"] == result.params["ATE"]
    assert abs(found.loc["2SLS", "estimate"] - 1) > 4 * found.loc["2SLS", "std_error"]
    with pytest.raises(InputError, match=r"needs an instrument with two levels.*over-identification test"):
        result.sensitivity()
    text = str(result.summary())
    assert "3 levels of z, with weights 0: 0.333" in text
    assert "contradict each other" not in text


def test_end_to_end_warns_where_the_levels_contradict_each_other():
    with pytest.warns(IdentificationWarning, match=r"contradict each other \(over-identification test: p = "):
        result = question().fit(draw(violation=1.5).data)
    assert "Warning: The instrument's levels contradict each other" in str(result.summary())
    assert (result.diagnostics["over-identification"]["p_value"] < 0.01).all()


def test_end_to_end_binary_treatment():
    result = question().fit(binary_frame(20_000, 2))
    assert abs(result.params["ATE"] - 1.0) < 4 * result.std_errors["ATE"]
    assert list(result.comparators().to_frame()["model"])[3:5] == ["AIPW", "AIPW with the instrument"]
    assert "LATE (doubly robust)" not in result.comparators().estimates


@pytest.mark.parametrize("method", ["parametric", "selective"])
def test_other_methods_refuse_more_than_two_levels(method):
    with pytest.raises(InputError, match=r"two levels; column 'z' has 3.*method=\"debiased\""):
        question(method=method).fit(draw(600).data)


def binomial_band(share: float, draws: int) -> tuple[float, float]:
    """Shares that a binomial count with this probability leaves with a chance of 1 in 1000 only."""
    low, high = stats.binom.interval(0.999, draws, share)
    return low / draws, high / draws


@pytest.mark.slow
def test_bias_coverage_and_size_over_draws():
    draws = 100
    fits = [fit(draw(seed=5000 + seed).data) for seed in range(draws)]
    estimates = pd.DataFrame([parts.params for _, parts in fits]).reset_index(drop=True)
    errors = pd.DataFrame([parts.std_errors for _, parts in fits]).reset_index(drop=True)
    truth = {"ATE": 1.0, "confounding": 0.96, "direct effect of level 1": 2.0, "direct effect of level 2": -1.0}
    low, high = binomial_band(0.95, draws)
    for term, value in truth.items():
        spread = estimates[term].std()
        assert abs(estimates[term].mean() - value) < 4 * spread / np.sqrt(draws), term
        assert low <= ((estimates[term] - value).abs() < 1.96 * errors[term]).mean() <= high, term
        assert 0.8 < errors[term].mean() / spread < 1.25, term
    covered = [any(one <= 1 <= other for one, other in robust_set(parts)) for _, parts in fits]
    assert low <= np.mean(covered) <= high
    for name in (AVERAGE, ALONG):
        rejected = np.mean([pieces.tables["over-identification"].loc[name, "p_value"] < 0.05 for pieces, _ in fits])
        assert binomial_band(0.05, draws)[0] <= rejected <= binomial_band(0.05, draws)[1], name


@pytest.mark.slow
def test_power_over_draws():
    """A confounder that acts 1.0 more strongly at the last level is found in nearly every sample of 6,000."""
    fits = [fit(draw(violation=1.0, seed=7000 + seed).data)[0] for seed in range(30)]
    assert np.mean([pieces.tables["over-identification"].loc[AVERAGE, "p_value"] < 0.05 for pieces in fits]) > 0.8
