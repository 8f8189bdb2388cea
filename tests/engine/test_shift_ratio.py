"""The density ratio of a shifted treatment against normal densities, and where it is zero."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalif._errors import InputError
from causalif.engine.density_ratio import choose_ratio_learner
from causalif.engine.nuisance import DensityRatio, ShiftRatio
from causalif.table import read_table


def table(n=20_000, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    frame = pd.DataFrame({"a": 0.5 * x + rng.normal(size=n), "x": x, "y": rng.normal(size=n)})
    frame = frame[frame["a"].abs() <= 2.0]
    return read_table(frame, numbers={"treatment": "a", "outcome": "y"}, adjust=["x"])


@pytest.mark.parametrize("shift", [0.5, -0.5])
def test_moved_over_observed_density(shift):
    """p(a − δ | x) / p(a | x) = exp{δ (a − x / 2) − δ² / 2} for a normal treatment of variance one."""
    rows = table()
    spec = ShiftRatio("a", ("x",), shift, -2.0, 2.0)
    ratio = choose_ratio_learner("linear", spec).fit(spec, rows, 0)
    a, x = np.meshgrid(np.linspace(-1.9, 1.9, 20), np.linspace(-1, 1, 5))
    found = ratio(np.column_stack([a.ravel(), x.ravel()])).reshape(a.shape)
    exact = np.exp(shift * (a - x / 2) - shift**2 / 2)
    inside = np.abs(a - shift) <= 2.0
    assert not found[~inside].any()
    assert np.abs(np.log(found[inside] / exact[inside])).max() < 0.25


def test_a_shift_that_nobody_can_make_is_refused():
    spec = ShiftRatio("a", ("x",), 3.95, -2.0, 2.0)
    with pytest.raises(InputError, match="Choose a smaller shift"):
        choose_ratio_learner("linear", spec).fit(spec, table(300), 0)


def test_a_ratio_within_one_group_forgets_the_others():
    rng = np.random.default_rng(1)
    n = 6000
    g, v = rng.integers(0, 2, n) * 1.0, rng.normal(size=n)
    w = np.where(g == 1, v, 0.0) * 0.5 + rng.normal(size=n)
    frame = pd.DataFrame({"g": g, "v": v, "w": w})
    rows = read_table(frame, numbers={"g": "g", "v": "v", "w": "w"})
    spec = DensityRatio(("v",), ("w",), within=(("g", 0.0),))
    ratio = choose_ratio_learner("linear", spec).fit(spec, rows, 0)
    assert np.abs(np.log(ratio(rows.matrix(("v", "w"))))).mean() < 0.15
