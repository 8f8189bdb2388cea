"""The same seed gives the same digits, whatever the number of jobs, the order of rows, or the threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from threadpoolctl import threadpool_limits

import causalif as ci
from causalif._errors import CausalifWarning
from causalif.engine import crossfit

FORESTS = {
    "outcome": RandomForestRegressor(5, min_samples_leaf=5),
    "treatment": RandomForestClassifier(5, min_samples_leaf=30),
}
SECOND_STAGES = dict.fromkeys(("effect", "confounding", "instrument"), "linear")

pytestmark = pytest.mark.filterwarnings("ignore::causalif._errors.CausalifWarning")


def confounded(n: int = 400) -> pd.DataFrame:
    return ci.datasets.simulate_confounded(n, random_state=1).data


def invalid_iv(n: int = 800) -> pd.DataFrame:
    return ci.datasets.simulate_invalid_iv_binary(n, random_state=1).data


def ate(**options: Any) -> Any:
    chosen: dict[str, Any] = {"outcome": "y", "treatment": "a", "adjust": ["x1", "x2", "x3"], "learners": FORESTS}
    return ci.ATE(**(chosen | options))


def iv(**options: Any) -> Any:
    learners = FORESTS | SECOND_STAGES
    chosen: dict[str, Any] = {"outcome": "y", "treatment": "a", "instrument": "z", "adjust": ["x1", "x2"]}
    chosen |= {"learners": learners, "folds": 3, "weak_identification": "warn"}
    return ci.InvalidIVATE(**(chosen | options))


Case = tuple[Callable[..., Any], Callable[[], pd.DataFrame]]
CASES: dict[str, Case] = {"ATE": (ate, confounded), "InvalidIVATE": (iv, invalid_iv)}


def same_digits(one: Any, other: Any) -> None:
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.influence_values, other.influence_values)
    pd.testing.assert_frame_equal(one.nuisances, other.nuisances)


# --- jobs and backends -----------------------------------------------------------------------------------------------


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Make every fit worth a pool, and keep what was asked of it."""
    asked: list[int | None] = []
    original = crossfit.Parallel

    def recording(n_jobs: int | None = None, **options: Any) -> Any:
        asked.append(n_jobs)
        return original(n_jobs=n_jobs, **options)

    monkeypatch.setattr(crossfit, "SECONDS_WORTH_A_POOL", 0.0)
    monkeypatch.setattr(crossfit, "Parallel", recording)
    return asked


@pytest.mark.parametrize("case", CASES)
def test_number_of_jobs_changes_no_digit(case: str, pools: list[int | None]) -> None:
    build, draw = CASES[case]
    alone = build(n_jobs=1).fit(draw())
    assert pools == []
    for jobs in (2, -1):
        same_digits(alone, build(n_jobs=jobs).fit(draw()))
    assert pools == [2, -1][: len(pools)]
    assert pools, "no pool was used"


def test_active_backend_of_joblib_is_followed_and_changes_no_digit(pools: list[int | None]) -> None:
    alone = ate(n_jobs=1).fit(confounded())
    with parallel_config(backend="threading", n_jobs=2):
        same_digits(alone, ate().fit(confounded()))
    assert pools == [None]
    same_digits(alone, ate().fit(confounded()))
    assert pools == [None]


def test_short_work_starts_no_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> Any:
        raise AssertionError("a pool was started for a fraction of a second of work")

    monkeypatch.setattr(crossfit, "Parallel", refuse)
    ate(learners="linear", n_jobs=2).fit(confounded())


# --- seeds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_same_seed_same_digits_and_another_seed_others(case: str) -> None:
    build, draw = CASES[case]
    one, again, other = (build(random_state=seed).fit(draw()) for seed in (3, 3, 4))
    same_digits(one, again)
    assert not np.array_equal(one.influence_values, other.influence_values)


def test_generators_are_advanced_and_repeat_from_the_same_state() -> None:
    one, again = (ate(random_state=np.random.default_rng(7)).fit(confounded()) for _ in range(2))
    same_digits(one, again)
    generator = np.random.default_rng(7)
    first, second = (ate(random_state=generator).fit(confounded()) for _ in range(2))
    same_digits(one, first)
    assert not np.array_equal(first.influence_values, second.influence_values)


def test_none_draws_a_seed_and_reports_it() -> None:
    one, other = (ate(random_state=None).fit(confounded()) for _ in range(2))
    assert one.settings["random_state"] != other.settings["random_state"]
    same_digits(one, ate(random_state=one.settings["random_state"]).fit(confounded()))


def test_global_random_state_is_neither_read_nor_changed() -> None:
    fits = []
    state = np.random.get_state()
    try:
        for seed in (1, 2):
            np.random.seed(seed)
            before = np.random.get_state()
            fits.append(ate().fit(confounded()))
            assert all(map(np.array_equal, before, np.random.get_state()))
    finally:
        np.random.set_state(state)
    same_digits(*fits)


# --- order of the rows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_shuffled_rows_with_the_same_labels_give_the_same_digits(case: str) -> None:
    build, draw = CASES[case]
    frame = draw()
    shuffled = frame.sample(frac=1, random_state=0)
    one, other = build().fit(frame), build().fit(shuffled)
    np.testing.assert_array_equal(one.influence, other.influence.loc[frame.index])
    pd.testing.assert_frame_equal(one.nuisances, other.nuisances.loc[frame.index])
    np.testing.assert_array_equal(one.values, other.values)
    assert one.std_errors.iloc[0] == pytest.approx(other.std_errors.iloc[0], rel=1e-14)


@pytest.mark.parametrize("cluster", [None, "g"])
@pytest.mark.parametrize("learners", ["linear", {"outcome": LinearRegression(), "treatment": LogisticRegression()}])
def test_row_order_does_not_matter_with_fixed_folds(cluster: str | None, learners: Any) -> None:
    """Text labels, weights and clusters travel with their rows."""
    rng = np.random.default_rng(0)
    frame = confounded().assign(w=rng.uniform(1, 2, 400), g=np.arange(400) // 8, fold=np.arange(400) // 8 % 4)
    frame.index = pd.Index([f"row {i:03d}" for i in range(400)])
    shuffled = frame.sample(frac=1, random_state=1)
    one, other = (
        ate(learners=learners, folds=data["fold"].to_numpy(), cluster=cluster, weights="w").fit(data)
        for data in (frame, shuffled)
    )
    np.testing.assert_array_equal(one.influence, other.influence.loc[frame.index])
    labelled = ate(learners=learners, folds=frame["fold"], cluster=cluster, weights="w").fit(shuffled)
    np.testing.assert_array_equal(labelled.influence, other.influence)


@pytest.mark.parametrize("learners", ["linear", FORESTS], ids=["linear", "forests"])
def test_clusters_fall_into_the_same_folds_whatever_the_order_of_rows(learners: Any) -> None:
    frame = confounded().assign(g=np.arange(400) // 7)
    shuffled = frame.sample(frac=1, random_state=2)
    one, other = (ate(learners=learners, cluster="g").fit(data) for data in (frame, shuffled))
    np.testing.assert_array_equal(one.nuisances["fold"], other.nuisances["fold"].loc[frame.index])
    np.testing.assert_array_equal(one.influence, other.influence.loc[frame.index])


@pytest.mark.parametrize("labels", ["dates", "pairs", "repeated"])
def test_labels_of_any_kind(labels: str) -> None:
    frame = confounded()
    index: dict[str, pd.Index] = {
        "dates": pd.date_range("2020", periods=400)[::-1],
        "pairs": pd.MultiIndex.from_arrays([np.arange(400) % 20, np.arange(400) // 20]),
        "repeated": pd.Index(np.arange(400) // 2),
    }
    frame.index = index[labels]
    fit = ate(learners="linear").fit(frame)
    assert fit.influence.index.equals(frame.index)
    if labels != "repeated":
        shuffled = frame.sample(frac=1, random_state=0)
        np.testing.assert_array_equal(
            fit.influence, ate(learners="linear").fit(shuffled).influence.reindex(frame.index)
        )


# --- threads and processes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_threads_of_linear_algebra_change_less_than_the_tenth_digit(case: str) -> None:
    build, draw = CASES[case]
    fits = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            fits.append(build(learners="linear").fit(draw()))
    np.testing.assert_allclose(fits[0].values, fits[1].values, rtol=1e-10)
    np.testing.assert_allclose(fits[0].std_errors, fits[1].std_errors, rtol=1e-10)


def test_another_process_with_another_hash_seed_gives_the_same_digits() -> None:
    code = (
        "import causalif as ci; d = ci.datasets.simulate_confounded(400, random_state=1).data\n"
        "f = ci.ATE(outcome='y', treatment='a', adjust=['x1', 'x2', 'x3'], learners='linear').fit(d)\n"
        "print(*[v.hex() for v in f.influence_values[:5, 0]], f.params['ATE'].hex())"
    )
    found = set()
    for seed in ("1", "2"):
        surroundings = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code], env=surroundings, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_fits_warn_alike_in_every_process(pools: list[int | None]) -> None:
    """Warnings about the result are raised once, in the process that asked."""
    with pytest.warns(CausalifWarning) as alone:
        ate(learners="linear", clip=0.25, n_jobs=1).fit(confounded())
    with pytest.warns(CausalifWarning) as pooled:
        ate(learners="linear", clip=0.25, n_jobs=2).fit(confounded())
    assert [str(w.message) for w in alone] == [str(w.message) for w in pooled]
