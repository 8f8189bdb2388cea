"""The same call inside joblib's Dask backend gives the same digits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

import causalif as ci
from causalif._errors import LearnerError
from causalif.engine import crossfit

distributed = pytest.importorskip("distributed")

LEARNERS = {
    "outcome": RandomForestRegressor(5, min_samples_leaf=5),
    "treatment": RandomForestClassifier(5, min_samples_leaf=30),
}
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with distributed.Client(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None, silence_logs=50
        ) as client:
            yield client


@pytest.fixture(autouse=True)
def every_fit_is_worth_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossfit, "SECONDS_WORTH_A_POOL", 0.0)


def ate(**options: Any) -> Any:
    frame = ci.datasets.simulate_confounded(400, random_state=1).data
    return ci.ATE(outcome="y", treatment="a", adjust=["x1", "x2", "x3"], **({"learners": LEARNERS} | options)).fit(
        frame
    )


def iv() -> Any:
    frame = ci.datasets.simulate_invalid_iv_binary(800, random_state=1).data
    learners = LEARNERS | dict.fromkeys(("instrument", "effect", "confounding"), "linear")
    asked = ci.InvalidIVATE(
        outcome="y", treatment="a", instrument="z", adjust=["x1", "x2"], learners=learners, folds=3,
        weak_identification="warn",
    )  # fmt: skip
    return asked.fit(frame)


def ran(client: Any) -> int:
    """How many tasks the workers of the cluster have finished so far."""
    return sum(1 for events in client.get_task_stream() if events["status"] == "OK")


@pytest.mark.parametrize("fit", [ate, iv], ids=["ATE", "InvalidIVATE"])
def test_a_local_cluster_gives_the_same_digits(cluster: Any, fit: Any) -> None:
    here, before = fit(), ran(cluster)
    with parallel_config(backend="dask"):
        there = fit()
    assert ran(cluster) > before, "the cluster did nothing"
    np.testing.assert_array_equal(here.values, there.values)
    np.testing.assert_array_equal(here.influence_values, there.influence_values)
    np.testing.assert_array_equal(here.nuisances, there.nuisances)


def test_errors_come_back_from_the_cluster(cluster: Any) -> None:
    learners = {"outcome": RandomForestRegressor(5, max_features="nonsense"), "treatment": "linear"}
    with parallel_config(backend="dask"), pytest.raises(LearnerError, match=r"'mu1'.*fold 1"):
        ate(learners=learners)
