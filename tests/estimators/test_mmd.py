"""The discrepancy of two groups: its derivative, its coverage away from equality, its refusal near it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalif._errors import InputError, WeakIdentificationError
from causalif.estimands.mmd import SquaredMMD
from causalif.estimators.mmd import MMD
from causalif.kernels import Gaussian, Laplace, block
from causalif.testing import check_estimand


def frame(n=300, shift=1.0, seed=0):
    rng = np.random.default_rng(seed)
    g = np.arange(n) % 3 == 0
    return pd.DataFrame({"x": rng.normal(size=n) + shift * g, "z": rng.normal(size=n), "g": np.where(g, "a", "b")})


@pytest.mark.parametrize("kernel", [Gaussian(0.8), Laplace(1.3)])
def test_influence_is_the_pathwise_derivative(kernel):
    report = check_estimand(SquaredMMD(("x1", "x2"), "a", kernel), atol=1e-7)
    assert report.derivative < 1e-7


def test_value_is_the_u_statistic():
    data = frame(150, 2.0)
    fit = MMD(features=["x", "z"], group="g", kernel=Gaussian(1.0)).fit(data)
    x = data[["x", "z"]].to_numpy()
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    k = block(x, x, Gaussian(1.0))
    np.fill_diagonal(k, 0)
    a = (data["g"] == "b").to_numpy()
    n, m = a.sum(), (~a).sum()
    brute = k[a][:, a].sum() / (n * (n - 1)) + k[~a][:, ~a].sum() / (m * (m - 1)) - 2 * k[a][:, ~a].mean()
    assert fit.values[0] == pytest.approx(brute, abs=2e-7)
    assert fit.influence_values.mean() == pytest.approx(0, abs=1e-12)
    assert fit.index.equals(data.index)


def test_equal_laws_have_no_interval_and_uniform_pvalues():
    pvalues = []
    for seed in range(60):
        data = frame(120, 0.0, seed)
        question = MMD(features=["x"], group="g", draws=99)
        pvalues.append(question.pvalue(data))
        if seed < 20:
            with pytest.raises(WeakIdentificationError, match="too close for an interval"):
                question.fit(data)
    assert 0.3 < np.mean(pvalues) < 0.7
    assert np.mean(np.array(pvalues) <= 0.1) < 0.25


@pytest.mark.slow
def test_coverage_away_from_equality():
    # On raw features with a Gaussian kernel of bandwidth s, normal laws with unit variance and means 0 and δ:
    # E k = (s² / (s² + 2))^{1/2} exp(−Δ² / (2 (s² + 2)))
    delta, s, covered = 1.0, 1.0, []
    truth = 2 * np.sqrt(s**2 / (s**2 + 2)) * (1 - np.exp(-(delta**2) / (2 * (s**2 + 2))))
    for seed in range(400):
        rng = np.random.default_rng(seed)
        g = np.arange(400) % 2
        x = rng.normal(size=400) + delta * g
        unit = float(x.std())
        data = pd.DataFrame({"x": x, "g": g})
        interval = MMD(features=["x"], group="g", kernel=Gaussian(s / unit), draws=99).fit(data).conf_int().iloc[0]
        covered.append(interval["lower"] <= truth <= interval["upper"])
    assert abs(np.mean(covered) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 400)


def test_bad_input():
    data = frame(60)
    with pytest.raises(InputError, match="at least 10 rows on either side"):
        MMD(features=["x"], group="g").fit(data.iloc[:20])
    with pytest.raises(InputError, match="`draws` must be"):
        MMD(features=["x"], group="g", draws=5).fit(data)
    with pytest.raises(InputError, match="does not have"):
        MMD(features=["q"], group="g").fit(data)


def test_neither_threads_nor_a_bar_change_a_digit():
    one = MMD(features=["x", "z"], group="g", n_jobs=1, progress=False).fit(frame(150, 2.0))
    two = MMD(features=["x", "z"], group="g", n_jobs=2).fit(frame(150, 2.0))
    assert one.values[0] == two.values[0]
    with pytest.raises(InputError, match="n_jobs"):
        MMD(features=["x"], group="g", n_jobs=0).fit(frame(150, 2.0))
