"""The smallest sets of rows: proved by enumeration, always refitted."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import causalif as ci
from causalif._errors import InputError
from causalif.influence import interval_end, most_influential, t_statistic
from causalif.influence.goals import read_goal
from causalif.influence.means import MeanRows, fewest, first_reached
from causalif.influence.noise import noise_share
from causalif.influence.targets import Point, Target, coefficient

X = ["const", "a", "b", "c"]


def mean_rows(psi, u=None, theta=1.0):
    u = np.ones(len(psi)) if u is None else u
    return MeanRows(theta, psi, u, len(psi), False, 0.95)


def enumerated(a, b, reached, most):
    """The least k for which some k rows, left out of Σa / Σb, reach the goal; all sets are tried."""
    everything = range(len(a))
    for k in range(1, most + 1):
        for gone in combinations(everything, k):
            keep = np.setdiff1d(everything, gone)
            if reached(a[keep], b[keep]):
                return k
    return None


def goal_of(rows, goal, value, error):
    point = Point(value, error, 1.959963984540054)
    return read_goal(goal, Target(coefficient("x").bind), point), point


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("ratio", [False, True])
def test_the_count_for_a_value_is_the_minimum_over_all_sets(seed, ratio):
    rng = np.random.default_rng(seed)
    a = rng.normal(0.5, 1.0, 12)
    b = rng.uniform(0.2, 2.0, 12) if ratio else np.ones(12)
    theta = a.sum() / b.sum()
    rows = mean_rows((a - theta * b) / b.mean(), b / b.mean(), theta)
    for level in (0.0, theta - 0.4, theta + 0.3):
        goal, point = goal_of(rows, float(level), theta, 1.0)
        side = np.sign(theta - level)
        proved = enumerated(a, b, lambda a, b, side=side, level=level: side * (a.sum() / b.sum() - level) < 0, 7)
        count, order = fewest(rows, goal, point.critical)
        if proved is not None:
            assert count == proved
            left = np.setdiff1d(np.arange(12), order[:count])
            assert side * (a[left].sum() / b[left].sum() - level) < 0


@pytest.mark.parametrize("seed", range(12))
def test_the_count_for_significance_is_near_the_minimum_over_all_sets(seed):
    """Not proved to be the minimum; with 14 rows, it is in all but a few draws, and never more than one off."""
    rng = np.random.default_rng(seed)
    a = rng.normal(1.0, 1.0, 14)
    rows = mean_rows(a - a.mean(), theta=a.mean())
    error = a.std() / np.sqrt(14)
    goal, point = goal_of(rows, "significance", a.mean(), error)
    if a.mean() < 1.96 * error:
        return

    def reached(a, _):
        return a.mean() - point.critical * a.std() / np.sqrt(len(a)) < 0

    proved = enumerated(a, np.ones(14), reached, 6)
    count, order = fewest(rows, goal, point.critical)
    if proved is not None and count is not None:
        left = np.delete(a, order[:count])
        assert reached(left, None)
        assert proved <= count <= proved + 1


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_running_sums_are_the_formulas(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(1, 2, 30), rng.uniform(0.1, 3, 30)
    theta = a.sum() / b.sum()
    rows = mean_rows((a - theta * b) / b.mean(), b / b.mean(), theta)
    order = rng.permutation(30)
    path = rows.path(order)
    for k in (1, 9, 25):
        left = np.setdiff1d(np.arange(30), order[:k])
        value = a[left].sum() / b[left].sum()
        psi = (a[left] - value * b[left]) / b[left].mean()
        assert path.value[k - 1] == pytest.approx(value, rel=1e-9, abs=1e-12)
        assert path.std_error[k - 1] == pytest.approx(np.sqrt((psi**2).sum()) / len(left), rel=1e-9)
    assert not np.isfinite(path.value[29])
    single = rows.singles()
    assert single.value[order[0]] == pytest.approx(path.value[0])
    assert single.std_error[order[0]] == pytest.approx(path.std_error[0])


def test_first_order_effects_are_derivatives():
    """Against downweighting a row by a millionth."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 2, 50), rng.uniform(0.1, 3, 50)

    def estimate(w):
        theta = (w * a).sum() / (w * b).sum()
        return theta, np.sqrt((w * (a - theta * b) ** 2).sum()) / (w * b).sum()

    theta = a.sum() / b.sum()
    value, error = mean_rows((a - theta * b) / b.mean(), b / b.mean(), theta).first_order()
    for i in (0, 17, 49):
        w = np.ones(50)
        w[i] -= 1e-6
        moved = np.subtract(estimate(w), estimate(np.ones(50))) / 1e-6
        assert value[i] == pytest.approx(moved[0], rel=1e-4)
        assert error[i] == pytest.approx(moved[1], rel=1e-4)


def test_tiny_units_change_nothing():
    rng = np.random.default_rng(0)
    a = rng.normal(0.3, 1, 200)
    counts = []
    for unit in (1.0, 1e-200, 1e150):
        rows = mean_rows(unit * (a - a.mean()), theta=unit * a.mean())
        for goal in ("sign", "significance"):
            wanted, point = goal_of(rows, goal, unit * a.mean(), unit * a.std() / np.sqrt(200))
            counts.append(fewest(rows, wanted, point.critical)[0])
    assert counts[:2] * 3 == counts


# --- models ----------------------------------------------------------------------------------------------------------


def enumerated_fit(y, x, goal, most):
    for k in range(1, most + 1):
        for gone in combinations(range(len(y)), k):
            keep = np.setdiff1d(np.arange(len(y)), gone)
            if goal(sm.OLS(y[keep], x[keep]).fit()):
                return k
    return None


@pytest.mark.parametrize("seed", range(4))
def test_greedy_finds_the_minimum_over_all_sets_of_a_small_regression(seed):
    rng = np.random.default_rng(seed)
    x = sm.add_constant(rng.normal(size=16))
    y = 0.35 * x[:, 1] + rng.normal(size=16)
    fit = sm.OLS(y, x).fit()
    sign = np.sign(fit.params[1])
    proved = enumerated_fit(y, x, lambda f: sign * f.params[1] < 0, 3)
    found = most_influential(fit, "sign", "x1")
    if proved is not None:
        assert found.size == proved
    if found.size is None:  # not half of the rows would do
        return
    keep = np.setdiff1d(np.arange(16), found.rows)
    assert sm.OLS(y[keep], x[keep]).fit().params[1] == pytest.approx(found.refitted, abs=1e-10)


@pytest.mark.parametrize("goal", ["sign", "significance", "sign+significance", 0.25])
def test_claims_hold_when_statsmodels_refits_them(frame, ols, goal):
    found = most_influential(ols, goal, "a")
    rest = sm.OLS(*(frame.drop(found.rows)[part] for part in ("y", X))).fit()
    low, high = rest.conf_int().loc["a"]
    assert found.refitted == pytest.approx(rest.params["a"], abs=1e-10)
    assert {
        "sign": rest.params["a"] < 0, "significance": low < 0 < high, "sign+significance": high < 0,
        0.25: rest.params["a"] < 0.25,
    }[goal]  # fmt: skip
    one_less = sm.OLS(*(frame.drop(found.rows[:-1])[part] for part in ("y", X))).fit()
    low, high = one_less.conf_int().loc["a"]
    assert not {
        "sign": one_less.params["a"] < 0, "significance": low < 0 < high, "sign+significance": high < 0,
        0.25: one_less.params["a"] < 0.25,
    }[goal]  # fmt: skip


def test_significance_can_be_gained(frame):
    fit = sm.OLS(frame["y"], frame[X]).fit()
    frame["y2"] = frame["y"] - (fit.params["c"] - 0.5 * fit.bse["c"]) * frame["c"]
    fit = sm.OLS(frame["y2"], frame[X]).fit()
    assert fit.pvalues["c"] > 0.05
    found = most_influential(fit, "significance", "c")
    rest = frame.drop(found.rows)
    assert sm.OLS(rest["y2"], rest[X]).fit().pvalues["c"] < 0.05
    assert "gain significance" in found.goal


def test_logistic_and_count_models(frame, logit):
    found = most_influential(logit, "significance", "a")
    rest = frame.drop(found.rows)
    assert sm.Logit(rest["yb"], rest[X]).fit(disp=0).pvalues["a"] > 0.05
    poisson = sm.GLM(frame["yc"], frame[X], family=sm.families.Poisson()).fit(cov_type="HC1")
    found = most_influential(poisson, "sign", "c")
    rest = frame.drop(found.rows)
    assert sm.GLM(rest["yc"], rest[X], family=sm.families.Poisson()).fit().params["c"] < 0


def test_median_regression_is_refitted_by_statsmodels(frame):
    fit = sm.QuantReg(frame["y"], frame[X]).fit(max_iter=5000)
    found = most_influential(fit, "sign", "c")
    rest = frame.drop(found.rows)
    refit = sm.QuantReg(rest["y"], rest[X]).fit(max_iter=5000).params["c"]
    assert refit * fit.params["c"] < 0
    assert refit == pytest.approx(found.refitted, abs=1e-8)


def test_t_statistics_and_interval_ends_are_targets(frame, ols):
    by_goal = most_influential(ols, "significance", "a").size
    assert most_influential(ols, "sign", interval_end("a", "lower")).size == by_goal
    found = most_influential(ols, 3.0, t_statistic("a"))
    rest = frame.drop(found.rows)
    assert sm.OLS(rest["y"], rest[X]).fit().tvalues["a"] == pytest.approx(found.refitted, abs=1e-9)
    assert found.refitted < 3.0
    assert found.target == "t of a"


def test_scikit_learn_fits(frame):
    data = (frame[["a", "b", "c"]], frame["yb"])
    model = LogisticRegression(C=0.2, tol=1e-10, max_iter=1000).fit(*data)
    found = most_influential(model, "sign", "c", data=data)
    rest = frame.drop(found.rows)
    again = LogisticRegression(C=0.2, tol=1e-10, max_iter=1000).fit(rest[["a", "b", "c"]], rest["yb"])
    assert again.coef_[0, 2] == pytest.approx(found.refitted, abs=1e-6)
    assert again.coef_[0, 2] * model.coef_[0, 2] < 0
    with pytest.raises(InputError, match="standard error"):
        most_influential(model, "significance", "a", data=data)


def test_clusters_are_left_out_whole(frame):
    fit = sm.OLS(frame["y"], frame[X]).fit(cov_type="cluster", cov_kwds={"groups": frame["g"].to_numpy()})
    found = most_influential(fit, "significance", "c")
    assert found.units == "clusters"
    assert len(found.rows) == 4 * found.size
    rest = frame.drop(found.rows)
    again = sm.OLS(rest["y"], rest[X]).fit(cov_type="cluster", cov_kwds={"groups": rest["g"].to_numpy()})
    assert (again.pvalues["c"] < 0.05) != (fit.pvalues["c"] < 0.05)
    assert "left out whole" in found.note


# --- causal estimates ------------------------------------------------------------------------------------------------


def test_estimates_are_refitted_with_their_folds(frame_confounded):
    fit = ci.ATE(outcome="y", treatment="a", adjust=["x1", "x2", "x3"], learners="linear").fit(frame_confounded)
    found = most_influential(fit, "significance")
    folds = fit.nuisances["fold"].drop(found.rows)
    again = ci.ATE(outcome="y", treatment="a", adjust=["x1", "x2", "x3"], learners="linear", folds=folds).fit(
        frame_confounded.drop(found.rows)
    )
    assert again.params["ATE"] == pytest.approx(found.refitted, abs=1e-12)
    assert again.conf_int().loc["ATE", "lower"] < 0
    assert found.counts["exact"] <= found.counts["influence"] + 1


def test_generators_are_replaced_by_the_seed_that_was_drawn(frame_confounded):
    fit = ci.ATE(outcome="y", treatment="a", adjust=["x1"], learners="linear",
                 random_state=np.random.default_rng(3)).fit(frame_confounded)  # fmt: skip
    one, two = (most_influential(fit, 0.7, max_refits=3) for _ in range(2))
    assert one.refitted == two.refitted


def test_one_term_of_an_estimate(frame_confounded):
    fit = ci.ATE(outcome="y", treatment="a", adjust=["x1"], learners="linear", folds=1).fit(frame_confounded)
    level = fit.params["E[Y(1)]"] - 0.1
    whole = most_influential(fit, float(level), "E[Y(1)]")
    alone = most_influential(fit["E[Y(1)]"], float(level))
    assert whole.size == alone.size
    contrast = most_influential(fit, float(level) - fit.params["E[Y(0)]"], {"E[Y(1)]": 1.0, "E[Y(0)]": -1.0})
    assert contrast.size == most_influential(fit, float(level) - fit.params["E[Y(0)]"], "ATE").size


@pytest.mark.parametrize("clustered", [False, True])
def test_invalid_instruments(frame_clustered, clustered):
    name = {"cluster": "cluster"} if clustered else {}
    fit = ci.InvalidIVATE(outcome="y", treatment="a", instrument="z", adjust=["x1", "x2"], learners="linear", **name)
    with pytest.warns(ci._errors.IdentificationWarning):
        result = fit.fit(frame_clustered)
    found = most_influential(result, "significance", max_refits=4)
    assert found.size is None or found.size >= 1
    assert ("clusters" if clustered else "rows") == found.units


def test_direct_effects():
    data = ci.datasets.simulate_wcde(2000, random_state=0).data
    fit = ci.WCDE(outcome="Y", treatment="A", mediators=["M1"], adjust=["C", "W"], learners="linear").fit(data)
    found = most_influential(fit, "significance", "WCDE")
    assert found.size is not None
    moved = found.table.loc["exact", ["predicted", "refitted"]].astype(float) - found.before
    assert 0.6 < moved["predicted"] / moved["refitted"] < 1.4  # the rest is that the nuisances move too
    assert "the nuisances move with the rows" in found.note


def test_sets_that_cannot_be_reached_are_said_not_to_be(frame_confounded):
    fit = ci.ATE(outcome="y", treatment="a", adjust=["x1"], learners="linear", folds=1).fit(frame_confounded)
    found = most_influential(fit, -1000.0, max_share=0.05)
    assert found.size is None
    assert np.isnan(found.refitted)
    assert np.isnan(found.share)
    assert "No set of up to 20 rows" in found.note
    assert "never" in str(found.summary()) or "none found" in str(found.summary())


def test_predictions_only(frame_confounded):
    fit = ci.ATE(outcome="y", treatment="a", adjust=["x1"], learners="linear", folds=1).fit(frame_confounded)
    found = most_influential(fit, "sign", verify=False)
    assert found.size is None
    assert list(found.counts.index) == ["influence", "exact"]
    assert "Nothing was refitted" in found.note
    ratio = fit["E[Y(1)]"] / fit["E[Y(0)]"]
    with pytest.raises(InputError, match="pass `refit`"):
        most_influential(ratio, 1.0)
    assert list(most_influential(ratio, 1.0, verify=False).counts.index) == ["influence"]


def test_ratios_are_refitted_by_the_callers_function(frame_confounded):
    spec = ci.ATE(outcome="y", treatment="a", adjust=["x1"], learners="linear", folds=1)

    def ratio(keep):
        fit = spec.fit(frame_confounded[keep])
        return fit["E[Y(1)]"] / fit["E[Y(0)]"]

    fit = ratio(np.ones(len(frame_confounded), dtype=bool))
    level = float(fit.values[0] * 0.9)
    found = most_influential(fit, level, refit=ratio)
    assert ratio(~frame_confounded.index.isin(found.rows)).values[0] == pytest.approx(found.refitted, abs=1e-12)
    assert "not known to be a mean" in found.note


# --- reading and showing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goal", "target", "message"),
    [
        ("size", "a", "`goal` must be one of"),
        (True, "a", "`goal` must be one of"),
        (None, "a", "`goal` must be one of"),
        (float("nan"), "a", "finite number"),
        ("significance", t_statistic("a"), "speaks of a value and its interval"),
    ],
)
def test_goals_that_make_no_sense_are_refused(ols, goal, target, message):
    with pytest.raises(InputError, match=message):
        most_influential(ols, goal, target)


def test_a_goal_that_is_met_is_refused(ols):
    with pytest.raises(InputError, match="already"):
        most_influential(ols, float(ols.params["a"]), "a")


@pytest.mark.parametrize(
    ("argument", "message"),
    [({"max_share": 1.5}, "max_share"), ({"max_refits": 0}, "max_refits"), ({"refit": len}, "`refit` is for causalif")],
)
def test_bad_options_are_refused(ols, argument, message):
    with pytest.raises(InputError, match=message):
        most_influential(ols, "sign", "a", **argument)


def test_the_result_shows_itself(ols):
    found = most_influential(ols, "significance", "a")
    text = str(found.summary())
    assert "influence, refitted" in text
    assert "the target's value without the rows" in text
    assert f"{found.size:,} rows" in repr(found)
    assert "<table" in found._repr_html_()
    assert found.to_frame().loc["greedy, refitted", "count"] == found.counts["greedy, refitted"]
    assert list(found.reasons.index) == list(found.rows)
    assert (most_influential(ols, "sign", "a").reasons["effect"] < 0).sum() > 0.9 * found.size
    assert found.share == found.size / 160


def test_the_curve_is_drawn(ols):
    pytest.importorskip("matplotlib")
    from matplotlib import pyplot as plt

    found = most_influential(ols, "sign", "a")
    _, ax = plt.subplots()
    assert found.plot(ax=ax) is ax
    assert ax.get_xlabel() == "rows left out"
    assert found.plot().get_ylabel() == "a"
    plt.close("all")


@pytest.mark.parametrize(("goal", "end"), [("significance", "lower"), ("sign+significance", "upper")])
def test_goals_about_significance_show_the_end_that_moves(goal, end):
    pytest.importorskip("matplotlib")
    from matplotlib import pyplot as plt

    fit = ci.ATE(outcome="re78", treatment="train", learners="linear", folds=1).fit(ci.datasets.load_nsw())
    found = most_influential(fit, goal=goal)
    assert found.end == f"{end} end of the 95% interval"
    assert found.curve.loc[0, ["predicted_end", "refitted_end"]].to_numpy() == pytest.approx(
        fit.conf_int().loc["ATE", end]
    )
    without = fit.origin.estimator.fit(fit.origin.data.drop(found.rows))
    assert found.refitted_end == pytest.approx(without.conf_int().loc["ATE", end])
    assert found.refitted_end < 0
    ring = next(line for line in found.plot().lines if line.get_fillstyle() == "none")
    assert ring.get_ydata() == pytest.approx([found.refitted_end])
    assert f"the {found.end} is {found.refitted_end:.4g}" in " ".join(str(found.summary()).split())
    plt.close("all")


def test_a_repeated_index_is_told_and_positions_name_the_rows():
    data = ci.datasets.load_nsw()
    ask = ci.ATE(outcome="re78", treatment="train", learners="linear", folds=1)
    found = most_influential(ask.fit(data.set_index(np.arange(len(data)) % 5)), goal="sign")
    sound = most_influential(ask.fit(data), goal="sign")
    assert (found.unique, sound.unique) == (False, True)
    assert found.positions.tolist() == sound.positions.tolist() == data.index.get_indexer(sound.rows).tolist()
    kept = data.iloc[np.setdiff1d(np.arange(len(data)), found.positions)]
    assert ask.fit(kept).params["ATE"] == pytest.approx(found.refitted)
    text = " ".join(str(found.summary()).split())
    assert "`rows` is ambiguous: go by `positions`" in text
    assert "Rows to leave out, by number from 0: " + ", ".join(map(str, found.positions[:3])) in text
    assert "ambiguous" not in str(sound.summary())


def test_noise_alone_follows_the_normal_law():
    rng = np.random.default_rng(0)
    x = rng.normal(0.2, 1.0, 200_000)
    kept = np.sort(x)
    sums = np.cumsum(kept) / np.arange(1, len(x) + 1)
    share = 1 - (np.flatnonzero(sums > 0)[0]) / len(x)
    assert noise_share(0.2, 1.0) == pytest.approx(share, rel=0.02)
    assert np.isnan(noise_share(float("nan"), 1.0))
    assert noise_share(100.0, 1.0) == 1.0
    assert noise_share(1e-15, 1.0) == 1e-12


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_answers_do_not_depend_on_units_or_order(seed, unit):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"const": 1.0, "a": rng.normal(size=60)})
    data["y"] = 0.5 * data["a"] + rng.normal(size=60)
    base = most_influential(sm.OLS(data["y"], data[["const", "a"]]).fit(), "sign", "a")
    other = data.iloc[rng.permutation(60)]
    again = most_influential(sm.OLS(unit * other["y"], other[["const", "a"]]).fit(), "sign", "a")
    assert again.size == base.size
    assert again.refitted == pytest.approx(unit * base.refitted, rel=1e-6)
    first = MeanRows(1.0, np.zeros(3), np.ones(3), 3, False, 0.95)
    goal, _ = goal_of(first, "sign", 1.0, 1.0)
    assert first_reached(first, goal, np.arange(3)) is None
