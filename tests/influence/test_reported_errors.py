"""Standard errors after removal against the packages' own refits: variances, clusters, offsets, scales, weights."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from sklearn.linear_model import LinearRegression, LogisticRegression

from causalif._errors import InputError
from causalif.influence import case_influence, remove, t_statistic
from causalif.influence.adapters import adapt
from causalif.influence.targets import as_target

N = 1_000


def design() -> tuple[pd.DataFrame, dict[str, Any]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 2))
    outcomes = {
        "binary": (rng.uniform(size=N) < 1 / (1 + np.exp(1 - x[:, 0]))).astype(int),
        "count": rng.poisson(np.exp(0.5 * x[:, 0])),
        "gamma": rng.gamma(2, np.exp(0.3 * x[:, 0])),
    }
    return pd.DataFrame(sm.add_constant(x), columns=["const", "a", "b"]), outcomes


X, Y = design()
LOG_GAMMA = sm.families.Gamma(sm.families.links.Log())
FITS = {
    "Logit": lambda k: sm.Logit(Y["binary"][k], X[k]).fit(disp=0),
    "Logit, robust": lambda k: sm.Logit(Y["binary"][k], X[k]).fit(disp=0, cov_type="HC0"),
    "Poisson": lambda k: sm.Poisson(Y["count"][k], X[k]).fit(disp=0),
    "GLM Poisson, robust": lambda k: sm.GLM(Y["count"][k], X[k], family=sm.families.Poisson()).fit(cov_type="HC0"),
    "GLM gamma, log link": lambda k: sm.GLM(Y["gamma"][k], X[k], family=LOG_GAMMA).fit(),
}


@pytest.mark.parametrize("name", FITS)
def test_change_of_the_standard_error_is_of_first_order(name: str) -> None:
    everything, rows = np.ones(N, dtype=bool), np.arange(0, N, N // 25)
    full = FITS[name](everything)
    predicted = adapt(full).moves(as_target("a"), "newton").std_error[rows]
    found = []
    for row in rows:
        keep = everything.copy()
        keep[row] = False
        found.append(FITS[name](keep).bse["a"] - full.bse["a"])
    assert np.linalg.norm(predicted - found) < 0.05 * np.linalg.norm(found)


def test_cluster_robust_errors_without_clusters_are_those_of_a_refit() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(25), 10)
    frame = pd.DataFrame({"g": groups, "x": np.repeat(rng.normal(size=25), 10)})
    frame["y"] = 0.75 * frame["x"] + np.repeat(rng.normal(size=25), 10) + 0.5 * rng.normal(size=250)

    def fit(data: pd.DataFrame) -> Any:
        return smf.ols("y ~ x", data).fit(cov_type="cluster", cov_kwds={"groups": data["g"]})

    subject = adapt(fit(frame))
    for gone in ([0], [3, 7, 11], [1, 2, 5, 8, 13]):
        keep = ~frame["g"].isin(gone).to_numpy()
        own = fit(frame[keep]).bse["x"]
        assert subject.without(keep).point(as_target("x")).std_error == pytest.approx(own, rel=0.02)


def test_offset_of_a_logit_is_kept_in_refits() -> None:
    offset = 0.7 * X["b"].to_numpy()
    full = sm.Logit(Y["binary"], X[["const", "a"]], offset=offset).fit(disp=0)
    own = sm.Logit(Y["binary"][50:], X[["const", "a"]][50:], offset=offset[50:]).fit(disp=0)
    assert remove(full, list(range(50)), "refit", "a").after == pytest.approx(own.params["a"], abs=1e-8)


@pytest.mark.parametrize("scale", ["X2", 2.5])
def test_scale_of_a_quasi_likelihood_is_kept_in_refits(scale: Any) -> None:
    full = sm.GLM(Y["count"], X, family=sm.families.Poisson()).fit(scale=scale)
    own = sm.GLM(Y["count"][50:], X[50:], family=sm.families.Poisson()).fit(scale=scale)
    assert remove(full, list(range(50)), "refit", t_statistic("a")).after == pytest.approx(own.tvalues["a"], rel=1e-6)


def test_constrained_fits_are_refused() -> None:
    fit = sm.GLM(Y["count"], X, family=sm.families.Poisson()).fit_constrained("a = 0.5")
    with pytest.raises(InputError, match="constraints on its coefficients"):
        case_influence(fit)


def test_balanced_classes_with_sample_weights() -> None:
    weights = np.random.default_rng(2).uniform(0.5, 2, size=N)
    x = X[["a", "b"]].to_numpy()
    fit = LogisticRegression(class_weight="balanced", tol=1e-10, max_iter=1_000).fit(x, Y["binary"], weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = remove(fit, [0], "refit", "x0", data=(x, Y["binary"], weights))
    assert found.before == pytest.approx(fit.coef_[0, 0], abs=1e-6)


def test_columns_of_scikit_learn_data_go_by_their_names() -> None:
    x = X[["a", "b"]].assign(c=np.arange(N) / N)
    y = x @ [1.0, 2.0, 3.0] + np.random.default_rng(3).normal(size=N)
    fit = LinearRegression().fit(x, y)
    turned = case_influence(fit, "a", data=(x[["c", "b", "a"]], y))
    pd.testing.assert_frame_equal(turned, case_influence(fit, "a", data=(x, y)))
