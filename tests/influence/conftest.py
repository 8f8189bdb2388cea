"""Small fits that the tests of case influence share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm


@pytest.fixture
def frame() -> pd.DataFrame:
    """160 rows with text labels: const, a, b, c, weights w, outcomes y, binary yb, counts yc, group g."""
    rng = np.random.default_rng(3)
    n = 160
    x = rng.normal(size=(n, 3))
    y = 1 + x @ [0.5, -0.4, 0.2] + rng.normal(size=n)
    data = pd.DataFrame(x, columns=["a", "b", "c"], index=[f"row {i}" for i in range(n)])
    return data.assign(
        const=1.0,
        w=rng.uniform(0.5, 2.0, n),
        y=y,
        yb=(y + rng.normal(size=n) > 1).astype(float),
        yc=rng.poisson(np.exp(0.4 * y)).astype(float),
        g=np.arange(n) // 4,
    )


@pytest.fixture
def ols(frame):
    return sm.OLS(frame["y"], frame[["const", "a", "b", "c"]]).fit()


@pytest.fixture
def logit(frame):
    return sm.Logit(frame["yb"], frame[["const", "a", "b", "c"]]).fit(disp=0)
