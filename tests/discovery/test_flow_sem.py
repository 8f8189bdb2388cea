"""FlowSEM end to end: the paths of a known model, background knowledge, mixed columns, errors."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyro")

# ruff: noqa: E402
from causalif._errors import IdentificationWarning, InputError
from causalif.datasets import simulate_null_sem, simulate_sem1
from causalif.discovery.flow_sem import FlowSEM

QUICK = {"steps": 200, "hidden": 16, "networks": 1, "folds": 2, "progress": False, "draws": 200}


def chain(n=500, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(n)
    m = np.sin(1.5 * a) + 0.4 * rng.standard_normal(n)
    y = np.tanh(2 * m) + 0.4 * rng.standard_normal(n)
    return pd.DataFrame({"A": a, "M": m, "Y": y})


def test_a_chain_with_tiers():
    posterior = FlowSEM(tiers=[["A"], ["M"], ["Y"]], bag=3, **QUICK).fit(chain())
    assert posterior.stability(("A", "M", "Y")).pss > 0.95
    assert list(posterior.diagnostics["networks"]["node"]) == ["A", "M", "Y"]
    assert "FlowSEM" in str(posterior.summary())


def test_same_seed_same_posterior_and_order_of_columns_does_not_matter():
    data = chain(200)
    one, two, permuted = (
        FlowSEM(bag=2, **{**QUICK, "steps": 100}).fit(frame) for frame in (data, data, data[["Y", "A", "M"]])
    )
    assert one.edge_probabilities.equals(two.edge_probabilities)
    assert permuted.edge_probabilities.loc["A", "Y"] == one.edge_probabilities.loc["A", "Y"]


def test_units_do_not_matter():
    data = chain(200)
    one, other = (FlowSEM(bag=0, **{**QUICK, "steps": 100}).fit(frame) for frame in (data, 1000 * data - 7))
    assert one.edge_probabilities.to_numpy() == pytest.approx(other.edge_probabilities.to_numpy(), abs=0.01)


def test_discrete_columns():
    rng = np.random.default_rng(1)
    data = chain()
    noisy = data["M"] + 0.3 * rng.normal(size=500)
    data["group"] = pd.Categorical(np.select([noisy > 0.5, noisy < -0.5], ["c", "a"], "b"))
    posterior = FlowSEM(tiers=[["A"], ["M"], ["Y", "group"]], bag=0, **QUICK).fit(data)
    assert posterior.edge_probabilities.loc["M", "group"] > 0.95
    assert set(posterior.diagnostics["networks"]["kind"]) == {"continuous", "categorical"}


def test_spline_mechanism_warns():
    with pytest.warns(IdentificationWarning, match="equivalence class"):
        FlowSEM(mechanism="spline", bag=0, **{**QUICK, "steps": 100}).fit(chain(100))


@pytest.mark.parametrize(
    "wrong",
    [{"mechanism": "free"}, {"folds": 1}, {"folds": 6}, {"steps": 10}, {"batch": 1}, {"hidden": 0}, {"networks": 0},
     {"learning_rate": 0.0}, {"weight_decay": -1.0}],
    ids=lambda wrong: next(iter(wrong)),
)  # fmt: skip
def test_wrong_settings(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        FlowSEM(**wrong).fit(chain(100))


def test_too_few_rows():
    with pytest.raises(InputError, match="folds need at least"):
        FlowSEM(bag=0).fit(chain(40))


PATHS = [("A", *nodes, "Y") for k in range(4) for nodes in itertools.permutations(["C", "M1", "M2"], k)]


def stabilities(simulate, seed, bag):
    """Stability of the true paths from A to Y and of all others, by the defaults and without tiers."""
    data, truth = simulate(1500, seed)
    posterior = FlowSEM(bag=bag, progress=False, random_state=seed).fit(data)
    stability = {path: posterior.stability(path).pss for path in PATHS}
    return [stability.pop(path) for path in truth["paths"]], list(stability.values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_sem1_paths(seed):
    true, false = stabilities(simulate_sem1, seed, 0)
    assert min(true) >= 0.85
    assert max(false) <= 0.10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_sem1_paths_with_bags(seed):
    true, false = stabilities(simulate_sem1, seed, FlowSEM().bag)
    assert min(true) >= 0.85
    assert max(false) <= 0.10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_no_path_where_nothing_depends_on_the_treatment(seed):
    true, false = stabilities(simulate_null_sem, seed, FlowSEM().bag)
    assert not true
    assert max(false) <= 0.10
