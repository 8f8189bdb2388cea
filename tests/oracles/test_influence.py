"""How few rows carry published results: counts proved by exhaustion, by refits, and by other authors' methods."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.sandbox.regression.gmm import IV2SLS

import causalif as ci
from causalif.influence import case_influence, most_influential, remove
from causalif.influence.losses import Logistic
from causalif.influence.model import LinearModel

CARD_CONTROLS = ["exper", "expersq", "black", "smsa", "south", "smsa66", *(f"reg66{i}" for i in range(1, 9))]


@pytest.fixture(scope="module")
def nsw() -> pd.DataFrame:
    return ci.datasets.load_nsw()


@pytest.fixture(scope="module")
def nsw_fit(nsw):
    return ci.ATE(outcome="re78", treatment="train", learners="linear", folds=1).fit(nsw)


# --- the NSW experiment ----------------------------------------------------------------------------------------------


def fewest_for_sign(y: np.ndarray, treated: np.ndarray) -> int:
    """Exhaustion: the best set of k rows takes the i largest treated and the k - i smallest controls, for some i."""
    high, low = np.sort(y[treated])[::-1], np.sort(y[~treated])
    for k in range(1, 60):
        for i in range(k + 1):
            if high[i:].mean() - low[k - i :].mean() < 0:
                return k
    raise AssertionError


def test_seventeen_rows_flip_the_experiment_and_no_sixteen_do(nsw, nsw_fit):
    assert nsw_fit.params["ATE"] == pytest.approx(1.794, abs=5e-4)
    proved = fewest_for_sign(nsw["re78"].to_numpy(), nsw["train"].to_numpy() == 1)
    found = most_influential(nsw_fit, "sign")
    assert proved == 17
    assert found.size == proved
    assert found.counts["influence"] == 20
    assert found.counts["exact"] == 18  # with the means of the arms held as they are
    assert found.counts["greedy, refitted"] == 17
    rest = nsw.drop(found.rows)
    gap = rest.groupby("train")["re78"].mean().diff().iloc[-1]
    assert gap < 0
    assert found.refitted == pytest.approx(gap, abs=1e-9)
    assert found.noise_share == pytest.approx(0.06, abs=0.002)


def test_four_rows_undo_its_significance(nsw, nsw_fit):
    found = most_influential(nsw_fit, "significance")
    assert found.size == 4
    again = sm.OLS(nsw["re78"], sm.add_constant(nsw[["train"]].astype(float))).fit()
    assert most_influential(again, "significance", "train").size == 4


def test_no_smaller_set_of_the_extreme_rows_undoes_it(nsw):
    """Every set of three made of i largest treated and 3 - i smallest controls leaves it significant."""
    y, treated = nsw["re78"].to_numpy(), nsw["train"].to_numpy() == 1
    high, low = np.sort(y[treated])[::-1], np.sort(y[~treated])
    for i in range(4):
        a, b = high[i:], low[3 - i :]
        error = np.sqrt(a.var() / len(a) + b.var() / len(b))
        assert (a.mean() - b.mean()) / error > 1.96


# --- returns to schooling --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def card_fit():
    data = ci.datasets.load_card()
    regressors = sm.add_constant(data[["educ", *CARD_CONTROLS]].astype(float))
    instruments = sm.add_constant(data[["nearc4", *CARD_CONTROLS]].astype(float))
    return IV2SLS(data["lwage"], regressors, instruments).fit()


def test_the_influence_order_fails_on_schooling_and_greedy_does_not(card_fit):
    assert card_fit.params["educ"] == pytest.approx(0.1315, abs=5e-5)
    found = most_influential(card_fit, "sign", "educ")
    assert found.counts["influence"] == 36
    assert found.table.loc["influence", "refitted"] == pytest.approx(0.0203, abs=5e-5)
    assert not found.table.loc["influence", "reached"]
    assert found.counts["influence, refitted"] == 48
    assert found.counts["greedy, refitted"] == 35
    assert found.size == 35
    assert "not reached" in found.note
    assert found.noise_share == pytest.approx(0.018, abs=0.001)


def test_single_rows_of_schooling_are_exact(card_fit):
    found = case_influence(card_fit, "educ")
    y, R, Z = card_fit.model.endog, card_fit.model.exog, card_fit.model.instrument
    for i in np.r_[np.argsort(-found["exact"].abs().to_numpy())[:5], 100:3000:500]:
        keep = np.arange(len(y)) != i
        refit = IV2SLS(y[keep], R[keep], Z[keep]).fit().params[1] - card_fit.params["educ"]
        assert found["exact"].iloc[i] == pytest.approx(refit, abs=1e-10)


# --- 401(k) ----------------------------------------------------------------------------------------------------------


def test_about_190_rows_flip_the_effect_of_eligibility():
    data = ci.datasets.load_401k()
    for name in ("inc", "age", "fsize"):
        data[name] = (data[name] - data[name].mean()) / data[name].std()
    data = data.assign(inc2=data["inc"] ** 2, age2=data["age"] ** 2, both=data["inc"] * data["age"])
    covariates = ["inc", "age", "fsize", "marr", "male", "pira", "inc2", "age2", "both"]
    spec = ci.ATE(outcome="nettfa", treatment="e401k", adjust=covariates, learners="linear", folds=1)
    fit = spec.fit(data)
    assert fit.params["ATE"] == pytest.approx(8.339, abs=5e-4)
    assert fit.std_errors["ATE"] == pytest.approx(1.333, abs=5e-4)
    found = most_influential(fit)
    assert found.counts["influence"] == 198
    assert found.counts["exact"] == 189
    assert found.counts["influence, refitted"] == 191
    assert found.size == 190
    assert spec.fit(data.drop(found.rows)).params["ATE"] == pytest.approx(found.refitted, abs=1e-9)
    assert found.refitted < 0
    assert most_influential(fit, "significance").size == 113


# --- masking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_six_planted_rows_that_hide_one_another_are_found(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=200)
    y = -0.3 * x + rng.normal(size=200)
    x, y = np.r_[x, np.full(6, 12.0)], np.r_[y, np.full(6, 8.0)]
    fit = sm.OLS(y, sm.add_constant(x)).fit()
    assert fit.params[1] > 0.3
    found = most_influential(fit, "sign", "x1")
    assert found.size == 6
    assert set(found.rows) == set(range(200, 206))
    assert found.counts[["influence", "rescaled"]].isna().all()  # added-up effects say that it never flips
    assert "Masking" in found.note


# --- accuracy in many dimensions -------------------------------------------------------------------------------------


def logistic(n, d, penalty, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = (rng.random(n) < 1 / (1 + np.exp(-X @ rng.normal(size=d) * 1.5 / np.sqrt(d)))).astype(float)
    model = LinearModel(X, y, np.ones(n), np.zeros(n), Logistic(), np.full(d, penalty), np.zeros(d),
                        tuple(map(str, range(d))), pd.RangeIndex(n))  # fmt: skip
    return model.minimised(), rng


def errors(model, rng, k, sets):
    found = {"if": [], "rif": [], "newton": []}
    for _ in range(sets):
        rows = rng.choice(len(model.y), k, replace=False)
        keep = np.ones(len(model.y), dtype=bool)
        keep[rows] = False
        refit = model.refitted(keep).theta - model.theta
        for method, values in found.items():
            gap = np.linalg.norm(model.step(rows, method) - refit)
            values.append((gap, gap / np.linalg.norm(refit)))
    return {method: np.array(values) for method, values in found.items()}


def test_rescaling_is_what_many_columns_need():
    """500 rows, 400 standard normal columns, ridge penalty 5: medians of relative errors against refits."""
    model, rng = logistic(500, 400, 5.0, 0)
    five = {method: np.median(found[:, 1]) for method, found in errors(model, rng, 5, 12).items()}
    twenty = {method: np.median(found[:, 1]) for method, found in errors(model, rng, 20, 8).items()}
    assert five["rif"] < 0.15
    assert five["if"] > 0.5
    assert twenty["newton"] < twenty["rif"] < twenty["if"] / 3


def test_errors_of_newton_steps_follow_their_rates():
    """Theory: error of a Newton step without k rows is of order k d / n²."""

    def mean_error(n, d, k):
        gaps = [errors(*logistic(n, d, 1e-3, seed), k, 4)["newton"][:, 0] for seed in range(6)]
        return float(np.mean(gaps))

    def slope(sizes, error):
        return np.polyfit(np.log(sizes), np.log([error(size) for size in sizes]), 1)[0]

    assert slope([400, 800, 1600, 3200], lambda n: mean_error(n, 20, 10)) == pytest.approx(-2, abs=0.25)
    assert slope([10, 20, 40, 80], lambda d: mean_error(3200, d, 10)) == pytest.approx(1, abs=0.25)
    assert slope([5, 10, 20, 40], lambda k: mean_error(3200, 20, k)) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("kind", ["ols", "wls", "ridge"])
def test_newton_steps_are_refits_of_quadratic_objectives(kind):
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(1)
    n, p = 120, 8
    X, w = rng.normal(size=(n, p)), rng.uniform(0.2, 3.0, n)
    y = X @ rng.normal(size=p) + rng.normal(size=n)

    def fit(keep):
        if kind == "ridge":
            return Ridge(alpha=2.0).fit(X[keep], y[keep])
        weights = w[keep] if kind == "wls" else 1.0
        return sm.WLS(y[keep], sm.add_constant(X[keep]), weights=weights).fit()

    def coefficient(fitted):
        return fitted.coef_[0] if kind == "ridge" else fitted.params[1]

    name, data = ("x0", (X, y)) if kind == "ridge" else ("x1", None)
    full = fit(np.ones(n, dtype=bool))
    for k in (1, 7, 30, 60):
        rows = rng.choice(n, k, replace=False)
        keep = np.ones(n, dtype=bool)
        keep[rows] = False
        refit = coefficient(fit(keep))
        assert remove(full, rows, "newton", name, data=data).after == pytest.approx(refit, abs=1e-9)
        if k == 1:
            assert remove(full, rows, "rif", name, data=data).after == pytest.approx(refit, abs=1e-9)
