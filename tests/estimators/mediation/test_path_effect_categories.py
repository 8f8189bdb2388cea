"""The interventional effect through a category with several levels, whose indicators exclude each other."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from causalif.estimators.mediation import PathEffect


@pytest.mark.filterwarnings("ignore::causalif._errors.CausalifWarning")
def test_a_category_on_the_path() -> None:
    rng = np.random.default_rng(0)
    n = 3000
    a = rng.integers(0, 2, n)
    shares = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
    level = (rng.random(n)[:, None] > np.cumsum(shares[a], axis=1)[:, :-1]).sum(axis=1)
    pull = np.array([0.0, 0.5, 1.0])
    m = pull[level] + 0.3 * a + rng.normal(size=n)
    y = 0.6 * m + 0.8 * pull[level] + 0.2 * a + rng.normal(size=n)
    data = pd.DataFrame({"A": a, "L": pd.Categorical(np.array(list("abc"))[level]), "M": m, "Y": y})
    dag = nx.DiGraph([("A", "L"), ("A", "M"), ("A", "Y"), ("L", "M"), ("L", "Y"), ("M", "Y")])
    fit = PathEffect(outcome="Y", treatment="A", dag=dag, path=("A", "L", "M", "Y"), learners="linear").fit(data)
    truth = 0.6 * float((shares[1] - shares[0]) @ pull)
    term = fit.labels[0]
    assert "interventional" in term
    assert abs(fit.params[term] - truth) < 4 * fit.std_errors[term]


def test_parts_add_up_to_the_total_over_repeats() -> None:
    rng = np.random.default_rng(1)
    a = rng.integers(0, 2, 500)
    m = 0.5 * a + rng.normal(size=500)
    data = pd.DataFrame({"A": a, "M": m, "Y": m + 0.3 * a * m + a + rng.normal(size=500)})
    dag = nx.DiGraph([("A", "M"), ("A", "Y"), ("M", "Y")])
    fit = PathEffect(outcome="Y", treatment="A", dag=dag, learners="linear", repeats=3).fit(data)
    parts = [term for term in fit.labels if term != "total"]
    assert fit.params["total"] == pytest.approx(fit.params[parts].sum(), abs=1e-12)
