import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeRegressor

import causalif as ci
from causalif._errors import InputError
from causalif.engine.crossfit import cross_fit
from causalif.engine.defaults import ShrunkenRegressor, SmoothClassifier, SmoothRegressor
from causalif.engine.estimand import FiniteLaw
from causalif.engine.folds import Folds
from causalif.engine.problem import Plan
from causalif.estimands.invalid_iv import InvalidIVEffect, Roles
from causalif.estimands.selective_iv import BlockParts, TupleEffect
from causalif.estimators.invalid_iv import debiased, selective
from causalif.estimators.invalid_iv.selective import (
    Splits,
    perturbation_risk,
    plain,
    read_candidates,
    score_means,
    score_noise,
    select,
)
from causalif.estimators.invalid_iv.selective.selection import first_least
from causalif.table import Table, read_table
from causalif.testing import check_estimand
from causalif.testing.derivative import saturated, spoil

CONTINUOUS = Roles("y", "a", "z", ("x1", "x2", "x3"), binary=False)
BINARY = Roles("y", "a", "z", ("x1", "x2"), binary=True)
LINES = SmoothRegressor(knots=0, products=False)
LOGIT = SmoothClassifier(knots=0, products=False)
CURVES = SmoothRegressor(knots=3, products=False)
SMALL_C = {
    "instrument": {"line": LOGIT, "curve": SmoothClassifier(knots=3, products=False)},
    "treatment": {"line": LINES, "curve": CURVES},
    "outcome": {"line": LINES, "curve": CURVES},
    "effect": ShrunkenRegressor(),
}
SMALL_B = {**SMALL_C, "treatment": SMALL_C["instrument"]}


def read(data, **roles):
    adjust = [name for name in data if name.startswith("x")]
    return read_table(
        data, numbers={"outcome": "y"}, coded={"instrument": "z"}, either={"treatment": "a"}, adjust=adjust, **roles
    )


@pytest.fixture(scope="module")
def continuous():
    return read(ci.datasets.simulate_invalid_iv_continuous(900, random_state=4).data)


@pytest.fixture(scope="module")
def binary():
    return read(ci.datasets.simulate_invalid_iv_binary(2_000, random_state=4).data)


def options(**settings):
    return ci.InvalidIVATE(outcome="y", treatment="a", instrument="z", method="selective", **settings)


def small_plan(roles, **settings):
    learners = SMALL_B if roles.binary else SMALL_C
    return replace(Plan(learners=learners, folds=3, inner_folds=2, strata=("z",), seed=5), **settings)


# --- the criterion ----------------------------------------------------------------------------------------------------


def brute_risk(psi, noise=None):
    """The definition word for word, by loops over splits, tuples and pairs; ``noise(t, u)`` is subtracted."""
    S, K, L, H = psi.shape

    def gap(t, u):
        square = sum((psi[s][t] - psi[s][u]) ** 2 for s in range(S)) / S
        return square if noise is None else max(square - noise(t, u), 0.0)

    b1, b2 = np.zeros((K, L, H)), np.zeros((K, L, H))
    for k, l, h in itertools.product(range(K), range(L), range(H)):  # noqa: E741
        b1[k, l, h] = max([0.0] + [gap((k, l, i), (k, l, j)) for i in range(H) for j in range(i + 1, H)])
        others = list(itertools.product(range(K), range(L)))
        b2[k, l, h] = max([0.0] + [gap((*t, h), (*u, h)) for t, u in itertools.combinations(others, 2)])
    return b1, b2


@pytest.mark.parametrize("shape", [(3, 2, 3, 4), (1, 4, 1, 2), (5, 1, 1, 3), (2, 3, 2, 1)])
def test_risk_is_that_of_double_loops(shape):
    psi = np.random.default_rng(sum(shape)).normal(size=shape)
    b1, b2 = brute_risk(psi)
    one, other, mixed = Splits(psi).risks("mixed-minimax")
    np.testing.assert_allclose(one, b1.ravel(), rtol=1e-13)
    np.testing.assert_allclose(other, b2.ravel(), rtol=1e-13)
    np.testing.assert_allclose(mixed, (b1 + b2).ravel(), rtol=1e-13)
    np.testing.assert_allclose(Splits(psi).risks("minimax")[2], np.maximum(b1, b2).ravel(), rtol=1e-13)


def random_parts(rng, n, K, L, H):
    return rng.normal(size=(n, K)), rng.uniform(0.5, 2, (n, L, 2)), rng.normal(size=(n, H, 3))


def row_score(parts, k, l, h):  # noqa: E741
    (r_a, d), (beta, rho, e) = parts[1][:, l].T, parts[2][:, h].T
    return beta + parts[0][:, k] / d * (r_a * e - rho)


def test_means_of_all_tuples_are_those_of_each_score():
    rng = np.random.default_rng(0)
    parts, w = random_parts(rng, 40, 3, 2, 4), rng.dirichlet(np.ones(40))
    means = score_means(parts, w)
    for t in itertools.product(range(3), range(2), range(4)):
        assert means[t] == pytest.approx(w @ row_score(parts, *t), abs=1e-12)


@pytest.mark.parametrize("clustered", [False, True])
def test_noise_is_the_variance_of_each_difference_of_means(clustered):
    rng = np.random.default_rng(1)
    n, K, L, H = 30, 2, 2, 3
    parts, w = random_parts(rng, n, K, L, H), np.full(n, 1 / n)
    clusters = rng.choice(list("abcdefg"), n) if clustered else None
    groups = clusters if clustered else np.arange(n)
    along_h, along_fm = score_noise(parts, w, clusters)

    def naive(t, u):
        difference = row_score(parts, *t) - row_score(parts, *u)
        centred = difference - difference.mean()
        return sum(centred[groups == group].sum() ** 2 for group in np.unique(groups)) / n**2

    for k, l, i, j in np.ndindex(K, L, H, H):  # noqa: E741
        assert along_h[k, l, i, j] == pytest.approx(naive((k, l, i), (k, l, j)), abs=1e-12)
    for h, t, u in itertools.product(range(H), np.ndindex(K, L), np.ndindex(K, L)):
        found = along_fm[h, t[0] * L + t[1], u[0] * L + u[1]]
        assert found == pytest.approx(naive((*t, h), (*u, h)), abs=1e-12)

    psi = score_means(parts, w)[None]
    b1, b2 = brute_risk(psi, naive)
    one, other = perturbation_risk(psi, (along_h, along_fm))
    np.testing.assert_allclose(np.broadcast_to(one[:, :, None], b1.shape), b1, atol=1e-12)
    np.testing.assert_allclose(np.broadcast_to(other, b2.shape), b2, atol=1e-12)


def test_ties_go_to_the_candidate_listed_first():
    psi = np.ones((2, 2, 2, 2))
    psi[:, :, :, 1] += 1e-14 * np.arange(8).reshape(2, 2, 2)
    assert first_least(Splits(psi).risks("mixed-minimax")[2]) == 0
    assert first_least(np.array([1.0, 0.5, 0.5 * (1 - 1e-13), 0.4999])) == 3
    assert first_least(np.array([1.0, 0.5, 0.5 * (1 - 1e-13)])) == 1


# --- the score of one tuple -------------------------------------------------------------------------------------------


def variance_shift_law(binary, seed):
    """A random law of (x, z, a, y) in which z = 1 always widens the spread of a."""
    rng = np.random.default_rng(seed)
    levels = (0.0, 1.0) if binary else (0.0, 1.0, 2.5)
    narrow, wide = ([0.85, 0.15], [0.55, 0.45]) if binary else ([0.08, 0.84, 0.08], [0.45, 0.15, 0.4])
    rows = []
    for x, z in itertools.product((0.0, 1.0, 2.0), (0.0, 1.0)):
        for a, p in zip(levels, rng.dirichlet(60 * np.array(wide if z else narrow)), strict=True):
            rows += [(x, z, a, y, p * q) for y, q in zip((-1.0, 0.3, 2.0), rng.dirichlet([2, 2, 2]), strict=True)]
    points = pd.DataFrame(rows, columns=["x", "z", "a", "y", "p"])
    mass = points.pop("p").to_numpy()
    return FiniteLaw(points, mass / mass.sum())


@pytest.mark.parametrize("own", ["", "M", "FM"])
@pytest.mark.parametrize("is_binary", [True, False])
def test_tuple_score_is_the_pathwise_derivative(own, is_binary):
    question = InvalidIVEffect(Roles("y", "a", "z", ("x",), is_binary))
    report = check_estimand(TupleEffect(question, frozenset(own)), variance_shift_law(is_binary, 3))
    assert report.derivative < 1e-5


@pytest.mark.parametrize("is_binary", [True, False])
def test_effect_block_alone_suffices_when_it_brings_its_own_first_stages(is_binary):
    """Leg M4: with β, ρ and g right, π, μ and V may all be wrong; sharing the wrong μ would not do."""
    question = InvalidIVEffect(Roles("y", "a", "z", ("x",), is_binary))
    law = variance_shift_law(is_binary, 8)
    drifts = []
    for own in (frozenset("FM"), frozenset()):
        estimand = TupleEffect(question, own)
        eta = saturated(estimand, law)
        spoiled = {name: spoil(eta[name], k) for k, name in enumerate(("pi", "mu0", "mu1", "V")) if name in eta}
        wrong = {**eta, **spoiled}
        drifts.append(law.expect(estimand.eif(law.table(("x",)), wrong)[:, 0]) - estimand.plug_in(law)[0])
    assert abs(drifts[0]) < 1e-9
    assert abs(drifts[1]) > 1e-3


@pytest.mark.parametrize("is_binary", [True, False])
def test_tuple_without_own_first_stages_is_the_debiased_effect(is_binary, binary, continuous):
    table, roles = (binary, BINARY) if is_binary else (continuous, CONTINUOUS)
    question, plan = InvalidIVEffect(roles), replace(small_plan(roles), learners="linear")
    one, other = (cross_fit([asked], table, plan) for asked in (question, TupleEffect(question)))
    np.testing.assert_allclose(one.phi, other.phi, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("roles", [BINARY, CONTINUOUS], ids=["binary", "continuous"])
def test_estimates_in_the_table_are_what_each_tuple_gives_when_cross_fitted_alone(roles, binary, continuous):
    """The table of stored predictions against one cross-fit per tuple, each with its own nuisances."""
    table = binary if roles.binary else continuous
    rng = np.random.default_rng(0)
    plan = small_plan(roles, folds=Folds(rng.integers(0, 3, len(table)).astype(np.intp)))
    candidates, question = read_candidates(plan.learners, roles), InvalidIVEffect(roles)
    found = select(candidates, table, plan, question).table.set_index(["F", "M", "H"])
    seed = int(np.random.SeedSequence(plan.seed).generate_state(1)[0])
    for names in candidates.tuples[::3]:
        learners, own = candidates.chosen(names)
        alone = cross_fit([TupleEffect(question, own)], table, replace(plan, learners=learners, seed=seed))
        by_fold = [alone.phi[plan.folds.ids == fold, 0].mean() for fold in range(3)]
        assert found.loc[names, "estimate"] == pytest.approx(np.mean(by_fold), rel=1e-8)


# --- the route --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("roles", [BINARY, CONTINUOUS], ids=["binary", "continuous"])
def test_route_returns_the_estimate_with_its_table(roles, binary, continuous):
    table = binary if roles.binary else continuous
    pieces = selective.estimate(options(), table, small_plan(roles), roles)
    risks = pieces.tables["selection"]
    assert len(risks) == 8
    assert not risks.duplicated(["F", "M", "H"]).any()
    assert list(risks.columns) == ["F", "M", "H", "estimate", "B1", "B2", "risk"]
    assert (np.diff(risks["risk"]) >= -1e-9 * risks["risk"][:-1]).all()
    np.testing.assert_allclose(risks["risk"], risks["B1"] + risks["B2"], rtol=1e-12)
    assert np.isfinite(risks.select_dtypes("number")).all(axis=None)
    assert pieces.tables["selected"].equals(risks.head(5))
    assert pieces.labels[:5] == ("ATE", "direct effect of instrument", "confounding", "numerator", "denominator")
    assert pieces.influence.shape == (len(table), len(pieces.labels))
    assert pieces.influence[:, 0].mean() == pytest.approx(0, abs=1e-9)
    assert pieces.values[0] == pytest.approx(pieces.phi.mean())
    assert all(risks.loc[0, block] in pieces.notes[0] for block in "FMH")
    assert "valid to first order only" in pieces.notes[1]
    assert {"V0", "V1", "D", "D_used", "pi", "mu0", "mu1"} <= set(pieces.nuisances)


def test_refit_is_the_debiased_estimate_with_the_chosen_learners_when_nothing_is_brought_along(continuous):
    learners = {key: value["curve"] for key, value in SMALL_C.items() if isinstance(value, dict)}
    mixed = {**learners, "effect": {"line": ShrunkenRegressor(), "wide": ShrunkenRegressor(penalties=(100.0,))}}
    plan = small_plan(CONTINUOUS, learners=mixed)
    pieces = selective.estimate(options(), continuous, plan, CONTINUOUS)
    outcome, effect = pieces.tables["selected"]["H"][0].split("/")
    assert outcome == "SmoothRegressor"
    chosen = {**learners, "effect": mixed["effect"][effect], "confounding": mixed["effect"][effect]}
    other = debiased.estimate(continuous, replace(plan, learners=chosen), CONTINUOUS, 0.1)
    np.testing.assert_allclose(pieces.values, other.values, rtol=1e-9)
    np.testing.assert_allclose(pieces.influence, other.influence, rtol=1e-7, atol=1e-9)


def test_same_seed_same_digits_and_row_order_does_not_matter(continuous):
    plan = small_plan(CONTINUOUS)
    first, again = (selective.estimate(options(), continuous, plan, CONTINUOUS) for _ in range(2))
    assert np.array_equal(first.influence, again.influence)
    assert first.tables["selection"].equals(again.tables["selection"])
    shuffled = np.random.default_rng(2).permutation(len(continuous))
    other = selective.estimate(options(), continuous.take(shuffled), plan, CONTINUOUS)
    np.testing.assert_allclose(other.influence, first.influence[shuffled], rtol=1e-9, atol=1e-9)
    pd.testing.assert_frame_equal(other.tables["selection"], first.tables["selection"])
    pooled = selective.estimate(options(), continuous, replace(plan, n_jobs=2), CONTINUOUS)
    assert np.array_equal(pooled.influence, first.influence)


def test_units_of_the_outcome_do_not_change_the_choice(continuous):
    plan, tables = small_plan(CONTINUOUS), []
    for factor in (1.0, -3.0, 2.0**-600):
        columns = {**continuous.columns, "y": factor * continuous["y"]}
        question, candidates = InvalidIVEffect(CONTINUOUS), read_candidates(plan.learners, CONTINUOUS)
        found = select(candidates, replace(continuous, columns=columns), plan, question)
        tables.append(found.table.assign(estimate=found.table["estimate"] / factor))
    for other in tables[1:]:
        assert other[["F", "M", "H"]].equals(tables[0][["F", "M", "H"]])
        np.testing.assert_allclose(other["estimate"], tables[0]["estimate"], rtol=1e-6)
    np.testing.assert_allclose(tables[1]["risk"], 9 * tables[0]["risk"], rtol=1e-5)


def test_repeats_report_how_often_each_tuple_was_chosen(continuous):
    plan = small_plan(CONTINUOUS, repeats=3)
    pieces = selective.estimate(options(), continuous, plan, CONTINUOUS)
    share = pieces.tables["selection"]["share"]
    assert share.sum() == pytest.approx(1.0)
    assert set((3 * share).round(9)) <= {0.0, 1.0, 2.0, 3.0}
    assert len(pieces.splits) == 3 * len(pieces.labels)


def test_weights_of_one_change_nothing_and_double_weight_is_a_copy_in_the_means(continuous):
    plan = small_plan(CONTINUOUS)
    plainly = selective.estimate(options(), continuous, plan, CONTINUOUS)
    ones = selective.estimate(options(), replace(continuous, weights=np.ones(len(continuous))), plan, CONTINUOUS)
    np.testing.assert_allclose(ones.values, plainly.values, rtol=1e-8)
    rng = np.random.default_rng(3)
    parts = random_parts(rng, 20, 2, 2, 2)
    twice = tuple(np.concatenate([part, part[:5]]) for part in parts)
    w = np.r_[np.full(5, 2.0), np.ones(15)]
    np.testing.assert_allclose(score_means(parts, w / w.sum()), score_means(twice, np.full(25, 1 / 25)), rtol=1e-12)


def test_noise_correction_lowers_no_risk_below_zero_and_never_raises_one(continuous):
    plan = small_plan(CONTINUOUS)
    candidates, question = read_candidates(plan.learners, CONTINUOUS), InvalidIVEffect(CONTINUOUS)
    raw, corrected = (
        select(candidates, continuous, plan, question, noise_correct=flag).table.set_index(["F", "M", "H"]).sort_index()
        for flag in (False, True)
    )
    assert (corrected["risk"] >= 0).all()
    assert (corrected["risk"] <= raw["risk"] + 1e-12).all()
    assert (corrected["risk"] < raw["risk"]).any()
    np.testing.assert_allclose(corrected["estimate"], raw["estimate"])


# --- planted bad candidates -------------------------------------------------------------------------------------------

BAD_TREE = DecisionTreeRegressor(min_samples_leaf=2)


@pytest.mark.parametrize("seed", range(3))
def test_second_stage_that_overfits_is_avoided(seed):
    table = read(ci.datasets.simulate_invalid_iv_continuous(2_000, random_state=seed).data)
    learners = {
        "instrument": {"none": DummyClassifier(strategy="prior"), "curve": SmoothClassifier()},
        "treatment": {"none": DummyRegressor(), "curve": SmoothRegressor()},
        "outcome": {"curve": SmoothRegressor()},
        "effect": {"tree": BAD_TREE, "smooth": ShrunkenRegressor()},
    }
    plan = small_plan(CONTINUOUS, learners=learners, seed=seed)
    found = select(read_candidates(learners, CONTINUOUS), table, plan, InvalidIVEffect(CONTINUOUS))
    assert found.names[2] == "curve/smooth"
    paired = found.table.pivot(index=["F", "M"], columns="H", values="risk")
    assert (paired["curve/tree"] > paired["curve/smooth"]).all()


def test_constant_first_stages_are_avoided_when_they_alone_are_wrong():
    """X moves Z and A strongly, so a constant π or μ lets the estimate follow the second stage; the right ones do not.

    The second stages are a constant and one that is tilted, both wrong for an effect that varies: only F and M protect.
    """
    rng = np.random.default_rng(11)
    n = 6_000
    x1, x2 = rng.uniform(-1, 1, (2, n))
    z = (rng.random(n) < 1 / (1 + np.exp(-2.5 * x1))).astype(float)
    noise = rng.normal(size=n)
    a = 0.5 * z + 2 * x1 + (0.6 + 0.9 * z) * noise
    y = (1 + 2 * x1) * a + z + x2 + 0.5 * rng.normal(size=n)
    table = read(pd.DataFrame({"x1": x1, "x2": x2, "z": z, "a": a, "y": y}))
    roles = Roles("y", "a", "z", ("x1", "x2"), binary=False)
    learners = {
        "instrument": {"none": DummyClassifier(strategy="prior"), "line": LogisticRegression()},
        "treatment": {"none": DummyRegressor(), "line": LinearRegression()},
        "outcome": {"none": DummyRegressor(), "line": LinearRegression()},
        "effect": {"constant": DummyRegressor(), "line": ShrunkenRegressor()},
    }
    plan = small_plan(roles, learners=learners, seed=1)
    pieces = selective.estimate(options(), table, plan, roles)
    best = pieces.tables["selected"].iloc[0]
    assert (best["F"], best["M"]) == ("line", "line")
    se = pieces.influence[:, 0].std() / np.sqrt(n)
    assert abs(pieces.values[0] - 1) < 4 * se
    worst = pieces.tables["selection"].query("F == 'none' and M == 'none'")
    assert (worst["B1"] > 10 * best["B1"]).all()


# --- reading candidates -----------------------------------------------------------------------------------------------


def test_default_candidates_make_54_tuples_of_the_documented_names():
    for roles in (BINARY, CONTINUOUS):
        candidates = read_candidates("auto", roles)
        assert candidates.shape == (3, 3, 6)
        assert list(candidates.blocks["F"]) == list(candidates.blocks["M"]) == ["linear", "spline", "boosting"]
        assert list(candidates.blocks["H"])[:2] == ["linear/linear", "linear/quadratic"]
        assert ("variance" in candidates.pool) != roles.binary


def test_candidates_pair_confounding_with_effect_and_bring_first_stages_of_the_same_name():
    learners = {
        "instrument": {"p": LOGIT, "q": SmoothClassifier()},
        "treatment": {"q": SmoothRegressor()},
        "variance": {"v": "auto", "w": ShrunkenRegressor()},
        "outcome": {"q": SmoothRegressor(), "r": LINES},
        "effect": {"s": ShrunkenRegressor(), "t": LINES},
        "confounding": {"t": SmoothRegressor(), "s": LINES},
    }
    candidates = read_candidates(learners, CONTINUOUS)
    assert list(candidates.blocks["M"]) == ["q/v", "q/w"]
    assert list(candidates.blocks["H"]) == ["q/s", "q/t", "r/s", "r/t"]
    assert dict(candidates.blocks["H"]["q/t"])["instrument"] == "q"
    assert dict(candidates.blocks["H"]["r/t"])["instrument"] == "p"
    chosen, own = candidates.chosen(("p", "q/w", "q/s"))
    assert own == {"F", "M"}
    assert (chosen["confounding"], chosen["effect"]) == (LINES, learners["effect"]["s"])
    assert chosen["own instrument"] is learners["instrument"]["q"]
    assert candidates.chosen(("q", "q/v", "q/s"))[1] == set()


def test_own_first_stages_are_used_only_by_the_effect_block(continuous):
    question = InvalidIVEffect(CONTINUOUS)
    specs = TupleEffect(question, frozenset("M")).nuisances()
    assert specs["own mu0"].learner == "own treatment"
    assert specs["own V"].needs == ("own mu0", "own mu1")
    assert "own pi" not in specs
    assert set(specs["beta"].needs) >= {"pi", "own mu0", "own V", "own shift"}
    assert specs["V"] == question.nuisances()["V"]
    member = (("treatment", "line"), ("variance", "auto"))
    assert set(BlockParts(question, "M", member).nuisances()) == {"mu0", "mu1", "V", "shift"}


def test_plain_keeps_single_learners():
    assert plain("auto") == "auto"
    assert plain({"outcome": LINES, "effect": {"a": 1}}) == {"outcome": LINES, "effect": "auto"}


@pytest.mark.parametrize(
    ("learners", "sentence"),
    [
        ("linear", "one candidate for everything"),
        ({"slope": {"a": LINES}}, "unknown names"),
        ({"outcome": {}}, "at least one candidate"),
        ({"outcome": {1: LINES}}, "must map names"),
        ({"outcome": {"a": 3}}, "scikit-learn estimator"),
        ({"outcome": {"a": LinearRegression}}, "scikit-learn estimator instance"),
        ({"instrument": {"a": LinearRegression()}}, "predict_proba"),
        ({"effect": {"a": LINES}, "confounding": {"b": LINES}}, "must have the names of"),
        ({"instrument": {str(i): LOGIT for i in range(112)}}, "2,016 tuples"),
        ("best", "must be"),
    ],
)
def test_unusable_candidates_are_refused_in_plain_words(learners, sentence):
    with pytest.raises(InputError, match=sentence):
        read_candidates(learners, CONTINUOUS)


def test_silent_arm_and_missing_folds_are_refused(binary):
    with pytest.raises(InputError, match=r'among rows with z = 0.*method="debiased"'):
        selective.estimate(options(), binary, small_plan(BINARY), replace(BINARY, silent=0))
    with pytest.raises(InputError, match="`folds` must be at least 2"):
        selective.estimate(options(), binary, small_plan(BINARY, folds=1), BINARY)
    with pytest.raises(InputError, match="criterion"):
        selective.estimate(options(), binary, small_plan(BINARY), BINARY, criterion="best")


def test_clusters_are_kept_whole_and_enter_the_noise(continuous):
    clustered: Table = replace(continuous, clusters=np.arange(len(continuous)) // 3)
    plan = small_plan(CONTINUOUS)
    candidates, question = read_candidates(plan.learners, CONTINUOUS), InvalidIVEffect(CONTINUOUS)
    assert np.isfinite(select(candidates, clustered, plan, question, noise_correct=True).table["risk"]).all()


# --- from a data frame ------------------------------------------------------------------------------------------------

ROLES = {"outcome": "y", "treatment": "a", "instrument": "z", "adjust": ["x1", "x2"]}
NAMED = {
    "instrument": {"line": LOGIT, "curve": SMALL_B["instrument"]["curve"]},
    "treatment": "linear",
    "outcome": "linear",
    "effect": {"shrunken": ShrunkenRegressor(), "constant": DummyRegressor()},
}


@pytest.fixture(scope="module")
def simulated():
    return ci.datasets.simulate_invalid_iv_binary(4_000, random_state=1)


@pytest.fixture(scope="module")
def result(simulated):
    question = ci.InvalidIVATE(**ROLES, method="selective", learners=NAMED, folds=3, inner_folds=2, n_jobs=1)
    return question.fit(simulated.data)


def test_end_to_end(simulated, result):
    assert abs(result.params["ATE"] - simulated.truth["ATE"]) < 4 * result.std_errors["ATE"]
    direct = result.parts["direct effect of instrument"]
    assert abs(direct.values[0] - simulated.truth["direct effect"]) < 4 * direct.std_errors.iloc[0]
    risks = result.diagnostics["selection"]
    assert set(zip(risks["F"], risks["M"], risks["H"], strict=True)) == {
        (first, "linear", f"linear/{effect}") for first in ("line", "curve") for effect in ("shrunken", "constant")
    }
    assert (risks["risk"] >= risks["risk"].iloc[0] * (1 - 1e-9)).all()
    assert result.diagnostics["selected"].equals(risks.head(5))
    assert set(result.diagnostics["candidates"]["candidate"]) >= {"instrument: line", "instrument: curve"}
    assert result.settings["method"] == "selective"
    text = " ".join(str(result.summary()).split())
    best = risks.iloc[0]
    assert f"F (instrument) = {best['F']}, M (treatment) = {best['M']}, H (outcome/effect) = {best['H']};" in text
    assert any(low <= result.weighted.values[0] <= high for low, high in result.robust_set())
    assert result.sensitivity(sizes=[0.0]).frame["estimate"].iloc[0] == pytest.approx(result.params["ATE"])


def test_end_to_end_comparators_show_what_the_others_miss(simulated, result):
    found = result.comparators().to_frame().set_index("model")
    assert found.loc["Invalid-IV ATE", "estimate"] == result.params["ATE"]
    distance = ((found["estimate"] - simulated.truth["ATE"]) / found["std_error"]).abs()
    usual = ["OLS", "OLS with the instrument", "2SLS", "AIPW", "AIPW with the instrument", "LATE (doubly robust)"]
    assert (distance[usual] > 4).all()


def test_end_to_end_choice_is_that_of_the_route(simulated, result):
    """The estimator hands data, learners and splits over unchanged."""
    table = read(simulated.data)
    plan = replace(result.plan, learners=NAMED)
    pieces = selective.estimate(options(), table, plan, BINARY)
    assert pieces.values[0] == result.params["ATE"]
    assert pieces.tables["selection"].equals(result.diagnostics["selection"])


def test_end_to_end_refusals_are_in_plain_words(simulated, frame_401k):
    question = ci.InvalidIVATE(**ROLES, method="selective", learners=NAMED, folds=3, inner_folds=2)
    one_sided = replace(question, outcome="nettfa", treatment="p401k", instrument="e401k", adjust=["inc", "age"])
    with pytest.raises(InputError, match=r'does not vary among rows with e401k = 0.*Use method="debiased"'):
        one_sided.fit(frame_401k)
    with pytest.raises(InputError, match=r"two levels; column 'z' has 3"):
        question.fit(ci.datasets.simulate_multilevel_iv(600, random_state=0).data)
    for unusable, sentence in [
        ({"propensity": {"a": LOGIT, "b": LOGIT}}, r"unknown names \['propensity'\]"),
        ({"outcome": {"a": 3, "b": LINES}}, "scikit-learn estimator"),
        ("linear", "one candidate for everything"),
    ]:
        with pytest.raises(InputError, match=sentence):
            replace(question, learners=unusable).fit(simulated.data)
