"""Memory, interrupts and threads of long sums."""

from __future__ import annotations

import _thread
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from causalif.kernels import Gaussian, _numpy, row_sums
from causalif.kernels._inputs import thread_count

MEMORY = """
import sys
import numpy as np
from causalif.kernels import Gaussian, row_sums

def peak():
    # Not `ru_maxrss`, which starts at that of the parent process.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / 1e6

n, d = int(sys.argv[1]), int(sys.argv[2])
X = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
row_sums(X[:600], None, Gaussian(d**0.5), symmetric=True, n_jobs=2)
before = peak()
row_sums(X, None, Gaussian(d**0.5), symmetric=True, n_jobs=2)
row_sums(X, X[: n // 10], Gaussian(d**0.5), n_jobs=2)
after = peak()
held = np.ones(20_000_000, dtype=np.uint8)
assert peak() > before + 10, "the measure is blind"
print(after - before)
"""


def extra_megabytes(n: int, d: int) -> float:
    if not Path("/proc/self/status").exists():
        pytest.skip("reads /proc")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(n), str(d)], capture_output=True, text=True, check=True, timeout=900
    )
    return float(done.stdout)


def test_memory_follows_the_rows_not_their_square() -> None:
    """The kernel matrix would be 400 MB in float32 at the first size and four times that at the second."""
    assert extra_megabytes(10_000, 32) < 60
    assert extra_megabytes(20_000, 32) < 60


@pytest.mark.slow
def test_a_hundred_thousand_rows_in_bounded_memory() -> None:
    extra = extra_megabytes(100_000, 128)
    print(f"extra memory {extra:.0f} MB; the kernel matrix would be 40,000 MB")
    assert extra < 250


@pytest.mark.parametrize("threads", [1, 3])
def test_an_interrupt_leaves_no_thread_and_no_limit_behind(threads: int) -> None:
    X = np.random.default_rng(0).standard_normal((40_000, 40))
    blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    timer = threading.Timer(0.3, _thread.interrupt_main)
    running = threading.active_count()
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        row_sums(X, None, Gaussian(9.0), symmetric=True, n_jobs=threads)
    assert time.monotonic() - start < 5
    timer.join()
    assert threading.active_count() == running
    assert [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"] == blas


def test_an_error_in_a_task_stops_the_others() -> None:
    done = []

    def run(task: int) -> int:
        if task == 5:
            raise ArithmeticError("task 5")
        done.append(task)
        return task

    running = threading.active_count()
    with pytest.raises(ArithmeticError, match="task 5"):
        list(_numpy.in_order(run, range(1000), 2))
    assert len(done) < 100
    assert threading.active_count() == running


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 100])
def test_results_come_in_order(threads: int, count: int) -> None:
    def run(task: int) -> int:
        time.sleep(0.001 * (task % 3))
        return task * task

    assert list(_numpy.in_order(run, range(count), threads)) == [task * task for task in range(count)]


def test_none_follows_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        assert thread_count(None) == 1
    assert thread_count(3) == 3
    assert thread_count(-1) >= 1


def test_a_bar_is_shown_on_long_work_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm")
    assert list(_numpy.with_bar(range(3), 3, True)) == [0, 1, 2]
    assert capsys.readouterr().err == ""
