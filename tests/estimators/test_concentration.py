"""Weights and influence that say when an answer rests on little overlap or on few rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import causalif as ci
from causalif.errors import DataWarning, PositivityWarning
from causalif.estimators._concentration import judged_influence
from causalif.estimators._overlap import judged_weights, weight_line

COVARIATES = ["inc", "age", "fsize", "marr", "pira"]


def assets(**options):
    return ci.ATE(outcome="nettfa", treatment="e401k", learners="linear", **options)


def test_the_row_that_makes_the_variance_is_named():
    households = ci.datasets.load_401k()
    with pytest.warns(DataWarning, match=r"One row, 1107, makes up 8\d% of the variance of E\[Y\(0\)\]") as caught:
        fit = assets(adjust=COVARIATES).fit(households)
    assert str(caught[0].message) in " ".join(str(fit.summary()).split())
    line = fit.diagnostics["influence"].loc["ATE"]
    psi = fit.influence["ATE"]
    assert line["largest unit"] == psi.abs().idxmax() == 1107
    assert np.isclose(line["largest share"], psi.abs().max() ** 2 / (psi @ psi))
    assert np.isclose(line["effect of leaving it out"], -psi[1107] / len(psi))
    without = assets(adjust=COVARIATES).fit(households.drop(index=1107))
    moved = without.params["ATE"] - fit.params["ATE"]
    assert 0.5 < moved / line["effect of leaving it out"] < 1.5


def test_weights_of_both_arms_and_among_the_treated():
    data = ci.datasets.simulate_confounded(3_000, random_state=0).data
    question = {"outcome": "y", "treatment": "a", "adjust": ["x1", "x2", "x3"], "learners": "linear"}
    fit = ci.ATE(**question).fit(data)
    table, pi = fit.diagnostics["weights"], fit.nuisances["pi1"]
    w = data["a"] / pi
    assert list(table.index) == ["a = 1", "a = 0"]
    assert np.isclose(table["mean weight"].iloc[0], w.mean())
    assert np.isclose(table["effective rows"].iloc[0], w.sum() ** 2 / (w @ w))
    treated = ci.ATE(**question, target="treated").fit(data).diagnostics["weights"]
    assert len(treated) == 1
    assert abs(treated["mean weight"].iloc[0] - 1) < 0.1


def test_three_levels_use_their_own_probabilities():
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"x": rng.normal(size=900), "a": np.arange(900) % 3, "y": rng.normal(size=900)})
    fit = ci.ATE(outcome="y", treatment="a", adjust=["x"], levels=(2, 0), learners="linear").fit(data)
    assert fit.diagnostics["weights"]["rows"].tolist() == [300, 300]
    assert np.allclose(fit.diagnostics["weights"]["mean weight"], 1, atol=0.05)


def test_clusters_are_the_units():
    psi = np.array([[1.0], [-1.0], [5.0], [5.0], [-10.0], [0.0]])
    table, _ = judged_influence(psi, ("t",), pd.RangeIndex(6), np.array(list("aabbcc")))
    assert table.at["t", "largest unit"] in {"b", "c"}
    assert np.isclose(table.at["t", "largest share"], 0.5)


def test_weights_that_do_not_average_one_are_told():
    w = np.r_[np.full(500, 3.0), np.zeros(500)]
    with pytest.warns(PositivityWarning, match="average 1.50 where 1 is expected"):
        table, warned = judged_weights({"a = 1": weight_line(w, w > 0)})
    assert len(warned) == 1
    assert np.isclose(table.at["a = 1", "std error of mean"], w.std() / np.sqrt(1000))
    assert table.at["a = 1", "effective rows"] == 500


def test_the_error_of_a_mean_weight_counts_clusters():
    w = np.repeat([3.0, 0.0, 1.0, 2.0], 250)
    clusters = np.repeat(list("abcd"), 250)
    line = weight_line(w, w > 0, None, clusters)
    assert np.isclose(line["std error of mean"], np.array([3.0, 0.0, 1.0, 2.0]).std() / 2)


def test_no_influence_at_all_is_no_share():
    table, warned = judged_influence(np.zeros((4, 1)), ("t",), pd.RangeIndex(4))
    assert table.at["t", "largest share"] == 0
    assert warned == []


def test_clusters_of_text_and_numbers():
    labels = np.array([1, "1", 2, 2, "b", 1], dtype=object)
    psi = np.array([[1.0], [-1.0], [5.0], [5.0], [-10.0], [0.0]])
    table, _ = judged_influence(psi, ("t",), pd.RangeIndex(6), labels)
    assert table.at["t", "largest unit"] in {2, "b"}
