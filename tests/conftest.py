"""Fixtures that many tests share."""

from __future__ import annotations

import os
import signal

# Before anything imports matplotlib: tests have no screen.
os.environ.setdefault("MPLBACKEND", "Agg")

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from causalif import datasets


@pytest.fixture(autouse=True)
def global_random_state_untouched() -> Iterator[None]:
    """Fail any test in which something draws from, or seeds, numpy's global generator."""
    before = np.random.get_state()
    yield
    after = np.random.get_state()
    assert all(map(np.array_equal, before, after)), "numpy's global random state was used"


@pytest.fixture(scope="session")
def _table_401k() -> pd.DataFrame:
    return datasets.load_401k()


@pytest.fixture
def frame_401k(_table_401k: pd.DataFrame) -> pd.DataFrame:
    """The 401(k) table, a fresh copy for each test; incomes and assets in $1000."""
    return _table_401k.copy()


@pytest.fixture
def frame_confounded() -> pd.DataFrame:
    """400 rows x1, x2, x3, a, y: a binary treatment confounded by the covariates, true effect 1."""
    return datasets.simulate_confounded(400, random_state=1).data


@pytest.fixture
def frame_invalid_iv() -> pd.DataFrame:
    """1,000 rows x1, x2, z, a, y: a binary treatment and an instrument that acts on the outcome, true effect 1."""
    return datasets.simulate_invalid_iv_binary(1_000, random_state=1).data


@pytest.fixture
def frame_clustered() -> pd.DataFrame:
    """600 rows x1, x2, z, a, y, cluster in 60 clusters with one-sided non-compliance, true effect 1."""
    return datasets.simulate_noncompliance(600, clusters=60, random_state=1).data


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Jobs that a shell starts in the background ignore Ctrl-C, and so would these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
