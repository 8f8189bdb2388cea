"""Treatments of three levels: two arms are compared by a model of their own rows, and overlap is judged there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier

import causalif as ci
from causalif.errors import PositivityError, PositivityWarning

QUESTION = {"outcome": "Y", "treatment": "A", "mediators": ["M"], "adjust": ["C"], "levels": (2, 0)}


def three_arms(n: int = 1_200, apart: float = 0.5, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    c, a = rng.normal(size=n), rng.integers(0, 3, size=n)
    m = apart * a + 0.4 * c + rng.normal(size=n)
    return pd.DataFrame({"C": c, "A": a, "M": m, "Y": 0.3 * a + 0.8 * m + c + rng.normal(size=n)})


def test_the_ratio_of_two_arms_is_a_model_of_their_rows():
    data = three_arms()
    fit = ci.Mediation(**QUESTION, learners="linear").fit(data)
    compared = [name for name in fit.nuisances if str(name).startswith("P(A=2 not 0|")]
    assert compared
    assert set(compared) <= set(fit.diagnostics["overlap"].index)
    assert abs(fit.params["indirect"] - 2 * 0.5 * 0.8) < 4 * fit.std_errors["indirect"]
    # What the third arm's mediators are does not matter for the comparison of the other two.
    moved = data.assign(M=data["M"] + 3.0 * (data["A"] == 1), Y=data["Y"] - 5.0 * (data["A"] == 1))
    again = ci.Mediation(**QUESTION, learners="linear").fit(moved)
    inside = (data["A"] != 1).to_numpy()
    for name in compared:
        assert np.allclose(fit.nuisances[name][inside], again.nuisances[name][inside], atol=1e-8)


def test_mediators_that_tell_the_two_arms_apart_are_refused():
    with pytest.raises(PositivityError, match="nearly determine the treatment"):
        ci.Mediation(**QUESTION, learners="linear").fit(three_arms(apart=2.2))


def test_learners_without_weights_can_compare():
    learners = {
        "outcome": LinearRegression(),
        "nested": LinearRegression(),
        "treatment": KNeighborsClassifier(100),
    }
    fit = ci.Mediation(**QUESTION, learners=learners).fit(three_arms())
    assert abs(fit.params["total"] - 2 * (0.3 + 0.5 * 0.8)) < 4 * fit.std_errors["total"]


@pytest.mark.filterwarnings("ignore:.*have a capped weight")
@pytest.mark.filterwarnings("ignore:The natural effect along:causalif.errors.IdentificationWarning")
def test_weights_that_leave_few_effective_rows_are_told():
    data = ci.datasets.simulate_sem2(1_000, random_state=0).data
    dag = ci.parse_dag("C -> {A L M Y}; A -> {L M Y}; L -> {M Y}; M -> Y")
    with pytest.warns(PositivityWarning, match="standard errors may be too small"):
        ci.PathEffect(outcome="Y", treatment="A", dag=dag, path=("A", "L", "Y"), learners="linear").fit(data)
