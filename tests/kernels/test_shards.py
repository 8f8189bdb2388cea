"""Sums over shards on a cluster equal those of one process, also when a worker dies."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causalif._errors import InputError
from causalif.kernels import Gaussian, Laplace, Product, SameLabel, row_sums
from causalif.kernels.shards import sharded_row_sums

distributed = pytest.importorskip("distributed")
cloudpickle = pytest.importorskip("cloudpickle")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with distributed.Client(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None, silence_logs=50
        ) as client:
            yield client


def rows(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.standard_normal((n, 3)), rng.integers(2, size=n)])


def shards(sizes: list[int], seed: int = 0) -> list[Callable[[], np.ndarray]]:
    return [partial(rows, n, seed + number) for number, n in enumerate(sizes)]


def stacked(parts: list[Callable[[], np.ndarray]]) -> np.ndarray:
    return np.concatenate([part() for part in parts])


@pytest.mark.parametrize("kernel", [Gaussian(1.5), Laplace(1.5), Product(Gaussian(1.5), SameLabel())], ids=str)
@pytest.mark.parametrize("sizes", [[300], [300, 17, 450]])
def test_float64_equals_one_process(cluster: Any, kernel: Any, sizes: list[int]) -> None:
    A, B = shards(sizes), shards([120, 80], seed=10)
    own = sharded_row_sums(A, None, kernel, symmetric=True, client=cluster, precision="float64")
    here = row_sums(stacked(A), None, kernel, symmetric=True, precision="float64")
    np.testing.assert_allclose(own.sums, here.sums, rtol=1e-12)
    np.testing.assert_array_equal(own.diagonal, here.diagonal)
    w = np.random.default_rng(0).standard_normal((200, 2))
    cross = sharded_row_sums(A, B, kernel, [w[:120], w[120:]], client=cluster, precision="float64")
    np.testing.assert_allclose(
        cross.sums, row_sums(stacked(A), stacked(B), kernel, w, precision="float64").sums, rtol=1e-12, atol=1e-12
    )
    v = np.random.default_rng(1).standard_normal(sum(sizes))
    cuts = np.split(v, np.cumsum(sizes)[:-1])
    own = sharded_row_sums(A, A, kernel, cuts, symmetric=True, client=cluster, precision="float64")
    here = row_sums(stacked(A), None, kernel, v, symmetric=True, precision="float64")
    np.testing.assert_allclose(own.total, here.total, rtol=1e-12, atol=1e-12)


def test_float32_equals_one_process_where_shards_are_whole_chunks(cluster: Any) -> None:
    A, kernel = shards([3072, 6144, 500]), Gaussian(0.4)  # narrow enough that some tiles are float64
    center = np.full(4, 0.1)
    own = sharded_row_sums(A, None, kernel, symmetric=True, client=cluster, center=center)
    here = row_sums(stacked(A), None, kernel, symmetric=True, center=center)
    np.testing.assert_allclose(own.sums, here.sums, rtol=1e-12, atol=1e-12)
    ragged = [lambda: stacked(A)[:5000], lambda: stacked(A)[5000:]]
    np.testing.assert_allclose(
        sharded_row_sums(ragged, None, kernel, symmetric=True, client=cluster).sums, here.sums, rtol=0,
        atol=2e-7 * len(here.sums),
    )  # fmt: skip


def test_arrays_are_shards_too(cluster: Any) -> None:
    A = [rows(100, 0), rows(70, 1)]
    own = sharded_row_sums(A, None, Gaussian(1.0), symmetric=True, client=cluster, precision="float64")
    here = row_sums(np.concatenate(A), None, Gaussian(1.0), symmetric=True, precision="float64")
    np.testing.assert_allclose(own.sums, here.sums, rtol=1e-12)


def test_refused(cluster: Any) -> None:
    with pytest.raises(InputError, match="at least one shard"):
        sharded_row_sums([], None, Gaussian(), symmetric=True, client=cluster)
    with pytest.raises(InputError, match="unless `symmetric`"):
        sharded_row_sums(shards([5]), None, Gaussian(), client=cluster)
    with pytest.raises(InputError, match="other shards"):
        sharded_row_sums(shards([5]), shards([5]), Gaussian(), symmetric=True, client=cluster)
    with pytest.raises(InputError, match="one array per shard"):
        sharded_row_sums(shards([5]), shards([5, 6]), Gaussian(), [np.ones(5)], client=cluster)
    with pytest.raises(InputError, match=r"`weights` must be numbers of shape \(6,\)"):
        sharded_row_sums(shards([5]), shards([6]), Gaussian(), [np.ones(5)], client=cluster)
    with pytest.raises(InputError, match="must be finite"):
        sharded_row_sums([lambda: np.full((3, 2), np.nan)], None, Gaussian(), symmetric=True, client=cluster)


def dying(part: Callable[[], np.ndarray], mark: str) -> np.ndarray:
    """Load a shard; the first time, take the whole worker down instead."""
    try:
        Path(mark).touch(exist_ok=False)
    except FileExistsError:
        return part()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process")
def test_a_killed_worker_costs_time_not_the_answer(tmp_path: Path) -> None:
    parts = shards([200, 300, 250, 150])
    with distributed.Client(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as client:
        # Workers are processes of their own and know no test module by name.
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        before = sharded_row_sums(parts, None, Gaussian(1.5), symmetric=True, client=client, precision="float64")
        mark = tmp_path / "killed"
        killing = [*parts[:2], partial(dying, parts[2], str(mark)), parts[3]]
        after = sharded_row_sums(killing, None, Gaussian(1.5), symmetric=True, client=client, precision="float64")
        assert mark.exists(), "no worker was killed"
    np.testing.assert_array_equal(after.sums, before.sums)
    here = row_sums(stacked(parts), None, Gaussian(1.5), symmetric=True, precision="float64")
    np.testing.assert_allclose(after.sums, here.sums, rtol=1e-12)
