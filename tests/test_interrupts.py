"""Ctrl-C in the middle of a fit: raised once, no processes and no files left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression

import causalif as ci

FITS = [0]


class Interrupted(RegressorMixin, BaseEstimator):
    """Is interrupted in the middle of fit number ``at``."""

    def __init__(self, at: int = 1) -> None:
        self.at = at

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Interrupted:
        FITS[0] += 1
        if FITS[0] == self.at:
            signal.raise_signal(signal.SIGINT)
        self.model_ = LinearRegression().fit(X, y)
        return self

    def predict(self, X: Any) -> Any:
        return self.model_.predict(X)


def descendants(pid: int) -> set[int]:
    """Processes below another one, by their parents in /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
    found, before = {pid}, 0
    while len(found) > before:
        before = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return found - {pid}


def files(*folders: Path) -> set[str]:
    return {str(path) for folder in folders for path in folder.rglob("*")}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """An empty working directory and an empty directory for temporary files."""
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("TMPDIR", str(temporary))
    return work, temporary


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("at", sorted(np.random.default_rng(0).choice(np.arange(2, 11), 4, replace=False).tolist()))
def test_interrupt_leaves_nothing_behind(at: int, places: tuple[Path, Path]) -> None:
    FITS[0] = 0
    frame = ci.datasets.simulate_confounded(400, random_state=1).data
    before, running, handler = frame.copy(deep=True), descendants(os.getpid()), signal.getsignal(signal.SIGINT)
    estimator = ci.ATE(
        outcome="y", treatment="a", adjust=["x1"], learners={"outcome": Interrupted(at), "treatment": "linear"}
    )
    with pytest.raises(KeyboardInterrupt) as caught:
        estimator.fit(frame)
    assert FITS[0] == at, "another fit was started after the interrupt"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert descendants(os.getpid()) <= running
    assert files(*places) == set()
    assert signal.getsignal(signal.SIGINT) is handler
    assert frame.equals(before)
    fit = estimator.fit(frame)
    assert np.isfinite(fit.params["ATE"])


SCRIPT = """
import sys, time
import causalif as ci
from causalif.engine import crossfit
from sklearn.linear_model import LinearRegression

class Slow(LinearRegression):
    def fit(self, X, y):
        time.sleep(0.6)
        return super().fit(X, y)

crossfit.SECONDS_WORTH_A_POOL = 0.0
frame = ci.datasets.simulate_confounded(400, random_state=1).data
print("ready", flush=True)
try:
    ci.ATE(outcome="y", treatment="a", adjust=["x1"], learners={"outcome": Slow(), "treatment": "linear"},
           folds=10, n_jobs=2).fit(frame)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    raise
print("finished", flush=True)
"""


def alive(pids: set[int]) -> set[int]:
    running = set()
    for pid in pids:
        try:
            state = (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        running |= {pid} if state not in "ZX" else set()
    return running


def wait(condition: Any, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_interrupt_of_a_pool_stops_its_workers(places: tuple[Path, Path]) -> None:
    """Ctrl-C reaches the whole foreground group, as in a terminal."""
    work, temporary = places
    memory = files(Path("/dev/shm")) if Path("/dev/shm").exists() else set()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=work,
        env=os.environ | {"TMPDIR": str(temporary), "JOBLIB_TEMP_FOLDER": str(temporary)}, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert wait(lambda: len(descendants(process.pid)) >= 2, 30), "no pool was started"
        time.sleep(1.0)
        workers = descendants(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode != 0
    assert output == "interrupted\n"
    assert errors.count("Traceback (most recent call last)") >= 1
    assert wait(lambda: not alive(workers), 15), f"still running: {alive(workers)}"
    assert files(work, temporary) == set()
    if memory:
        assert not {name for name in files(Path("/dev/shm")) - memory if "joblib" in name and str(process.pid) in name}
