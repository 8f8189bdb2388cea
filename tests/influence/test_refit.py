"""Refits of causal estimates: with nothing left out they are the estimate itself, folds, seeds and all."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression

import causalif as ci
from causalif._errors import CausalifWarning
from causalif.influence import most_influential
from causalif.influence.refit import fold_columns, refitter
from causalif.results.estimate import Estimate, Origin

FOREST = {
    "outcome": RandomForestRegressor(20, min_samples_leaf=10),
    "treatment": RandomForestClassifier(20, min_samples_leaf=20),
}
ROLES = {"outcome": "y", "treatment": "a", "adjust": ["x1", "x2"]}


def mediation() -> Any:
    from causalif.estimators.mediation import Mediation

    return Mediation(**ROLES, mediators=["m"], learners="linear")


QUESTIONS = {
    "ATE": lambda: ci.ATE(**ROLES, learners="linear", random_state=3),
    "ATE, forest": lambda: ci.ATE(**ROLES, learners=FOREST, folds=3, random_state=3),
    "ATE, one fold": lambda: ci.ATE(**ROLES, learners="linear", folds=1),
    "ATE, clusters": lambda: ci.ATE(**ROLES, learners="linear", cluster="cluster"),
    "ATT": lambda: ci.ATE(**ROLES, learners="linear", target="treated"),
    "ATE, repeats": lambda: ci.ATE(**ROLES, learners="linear", repeats=3),
    "ATE, generator": lambda: ci.ATE(**ROLES, learners=FOREST, folds=3, random_state=np.random.default_rng(5)),
    "InvalidIVATE": lambda: ci.InvalidIVATE(**ROLES, instrument="z", learners="linear", folds=3),
    "WCDE": lambda: ci.WCDE(**ROLES, mediators=["m"], learners="linear"),
    "Mediation": mediation,
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_refit_of_every_row_is_the_estimate(frame_clustered, name):
    drawn = np.random.default_rng(0).random(len(frame_clustered))
    frame_clustered["m"] = (drawn < 0.4 + 0.2 * frame_clustered["a"]).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalifWarning)
        fit = QUESTIONS[name]().fit(frame_clustered)
    refit = refitter(fit)
    assert refit is not None
    again = refit(np.ones(fit.n, dtype=bool))
    assert again.labels == fit.labels
    assert np.allclose(again.values, fit.values, rtol=1e-12, atol=0)
    assert np.allclose(again.std_errors, fit.std_errors, rtol=1e-10, atol=0)


def test_remaining_rows_stay_in_their_folds(frame_clustered):
    fit = ci.ATE(**ROLES, learners="linear", random_state=3).fit(frame_clustered)
    keep = np.arange(fit.n) % 7 != 0
    refit = refitter(fit)
    assert refit is not None
    assert (refit(keep).nuisances["fold"] == fit.nuisances["fold"][keep]).all()


def test_warnings_of_refits_repeat_nothing(frame_clustered):
    with pytest.warns(CausalifWarning):
        fit = QUESTIONS["InvalidIVATE"]().fit(frame_clustered)
    refit = refitter(fit)
    assert refit is not None
    refit(np.arange(fit.n) > 0)  # warnings are errors here


@dataclass(frozen=True)
class Slope:
    """An estimator with folds that its estimates do not tell."""

    folds: int = 2

    def fit(self, data: pd.DataFrame) -> Estimate:
        model = LinearRegression().fit(data[["x"]], data["y"])
        x = data["x"] - data["x"].mean()
        psi = (x * (data["y"] - model.predict(data[["x"]])) / x.var(ddof=0)).to_numpy()
        return Estimate(model.coef_, psi[:, None], ["slope"], data.index, origin=Origin(self, data))


@dataclass(frozen=True)
class PlainSlope:
    """An estimator without folds."""

    def fit(self, data: pd.DataFrame) -> Estimate:
        return Slope().fit(data)


def test_estimators_of_ones_own_are_refitted():
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"x": rng.normal(size=80)}).assign(y=lambda d: 0.4 * d["x"] + rng.normal(size=80))
    fit = Slope().fit(data)
    assert fold_columns(fit) == []
    found = most_influential(fit, "sign")
    rest = data.drop(found.rows)
    assert LinearRegression().fit(rest[["x"]], rest["y"]).coef_[0] == pytest.approx(found.refitted, abs=1e-12)
    assert found.refitted < 0
    assert "deal them anew" in found.note
    assert "exact" not in found.counts  # a slope is no mean of scores
    plain = Estimate(fit.values, fit.influence_values, fit.labels, fit.index, origin=Origin(PlainSlope(), data))
    assert "deal them anew" not in most_influential(plain, "sign").note


def test_effects_averaged_over_means_only_are_proved(frame_clustered):
    spec = ci.ATE(**ROLES, learners="linear", folds=1)
    fit = spec.fit(frame_clustered)
    assert "proved" in most_influential(fit, "sign").note
    logarithm = (fit["ATE"] + 2.0).log()
    assert list(most_influential(logarithm, 0.5, verify=False).counts.index) == ["influence"]
