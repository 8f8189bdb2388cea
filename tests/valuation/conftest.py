"""Data sets with known bad rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits


class Spoiled(NamedTuple):
    """Train rows of which some are bad, and clean reference rows."""

    x: np.ndarray
    y: np.ndarray
    r: np.ndarray
    yr: np.ndarray
    bad: np.ndarray


@pytest.fixture
def spoiled() -> Callable[[str, str, int], Spoiled]:
    """Return the function that draws a data set."""
    return draw


def draw(name: str, defect: str, seed: int) -> Spoiled:
    """Draw 300 (digits) or 150 (breast cancer) clean reference rows, spoil part of the others."""
    x, y = (load_digits if name == "digits" else load_breast_cancer)(return_X_y=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    clean, train = np.split(order, [300 if name == "digits" else 150])
    r, yr, x, y = x[clean], y[clean], x[train].copy(), y[train].copy()
    bad = np.zeros(len(y), dtype=bool)
    chosen = rng.choice(len(y), int((0.1 if defect == "backdoor" else 0.2) * len(y)), replace=False)
    bad[chosen] = True
    if defect == "flip":
        y[chosen] = (y[chosen] + rng.integers(1, y.max() + 1, len(chosen))) % (y.max() + 1)
    elif defect == "noise":  # standard deviation 1 on features standardised on the reference
        unit = r.std(axis=0)
        x[chosen] += rng.normal(size=x[chosen].shape) * np.where(unit > 0, unit, 1.0)
    elif defect == "backdoor":  # a bright corner, always labelled 0
        x[np.ix_(chosen, [54, 55, 62, 63])] = 16.0
        y[chosen] = 0
    return Spoiled(x, y, r, yr, bad)
