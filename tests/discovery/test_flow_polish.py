"""Locations refitted by ridge regression, against other code, and the noise law between normal and free."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge as OtherRidge

torch = pytest.importorskip("torch")
pytest.importorskip("pyro")

# ruff: noqa: E402
from causalif.discovery.background import Background
from causalif.discovery.columns import read_columns
from causalif.discovery.families import parent_sets
from causalif.discovery.flow_network import Shape, start
from causalif.discovery.flow_polish import HIGHEST, LEAST_VARIANCE, LOWEST, PENALTIES, polished, ridge
from causalif.discovery.flow_score import Training, flow_score
from causalif.discovery.flow_sem import FlowSEM

ROWS, FITTED = 160, 120


def example(seed=0):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((ROWS, 6)) * [3, 2, 1, 1, 0.5, 0.1] + 5
    return z, z @ [0.3, 0, 0.5, 0, 0, 1] + rng.standard_normal(ROWS)


def fitted(z, y):
    return ridge(torch.as_tensor(z)[None, None], torch.as_tensor(y), FITTED)


def best_by_cross_validation(z, y):
    """Residuals, variance and degrees of freedom of the ridge that generalised cross-validation chooses."""
    centred = z[:FITTED] - z[:FITTED].mean(0)
    values = np.linalg.eigvalsh(centred.T @ centred)
    found = []
    for penalty in np.logspace(LOWEST, HIGHEST, PENALTIES) * values.mean():
        residuals = y - OtherRidge(alpha=penalty, solver="cholesky").fit(z[:FITTED], y[:FITTED]).predict(z)
        freedom = 1 + np.sum(values / (values + penalty))
        rss = np.sum(residuals[:FITTED] ** 2)
        found.append((rss / (1 - freedom / FITTED) ** 2, residuals, rss / (FITTED - freedom), freedom))
    return min(found, key=lambda one: one[0])[1:]


@pytest.mark.parametrize("seed", range(3))
def test_ridge_is_the_one_that_cross_validation_chooses(seed):
    z, y = example(seed)
    found, (residuals, variance, freedom) = fitted(z, y), best_by_cross_validation(z, y)
    assert found.residuals[0, 0].numpy() == pytest.approx(residuals, abs=1e-8)
    assert found.variance.item() == pytest.approx(variance, rel=1e-8)
    assert found.freedom.item() == pytest.approx(freedom, rel=1e-8)


def test_rows_left_out_are_not_fitted():
    z, y = example()
    spoiled = y.copy()
    spoiled[FITTED:] += 100
    one, other = fitted(z, y), fitted(z, spoiled)
    assert torch.equal(one.variance, other.variance)
    assert (other.residuals - one.residuals)[0, 0].numpy() == pytest.approx(spoiled - y, abs=1e-9)


def test_without_parents_the_location_is_a_mean():
    y = example()[1]
    found = fitted(np.ones((ROWS, 4)), y)
    assert found.residuals[0, 0].numpy() == pytest.approx(y - y[:FITTED].mean(), abs=1e-9)
    assert found.variance.item() == pytest.approx(y[:FITTED].var(ddof=1))
    assert found.freedom.item() == pytest.approx(1)


def test_more_features_than_half_the_rows():
    """The variance is never divided by next to nothing."""
    rng = np.random.default_rng(0)
    z, y = torch.as_tensor(rng.standard_normal((1, 1, 40, 60))), torch.as_tensor(rng.standard_normal(40))
    found = ridge(z, y, 30)
    assert found.freedom.item() <= 15
    assert 0.2 < found.variance.item() < 5


@pytest.mark.parametrize("law", ["normal", "exponential"])
def test_densities_integrate_to_one(law):
    """Any value may be that of a row left out: over all of them the mass is one."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    shape = Shape(1, 2, 2, 8, "anm")
    weights = {name: weight.detach() for name, weight in start(shape, generator).items()}
    weights["mask_leave"] = 0.5 * torch.randn(weights["mask_leave"].shape, generator=generator)
    x = torch.as_tensor(rng.standard_normal((300, 2)), dtype=torch.float32)
    noise = rng.standard_normal(300) if law == "normal" else rng.exponential(size=300) - 1
    y = x[:, 0] + torch.as_tensor(0.5 * noise, dtype=torch.float32)
    grid = torch.linspace(-20, 20, 8001)
    rows = torch.cat([x, torch.tensor([[0.7, -0.3]]).expand(len(grid), -1)])
    masks = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    density = polished(shape, weights, rows, masks, torch.arange(2), torch.cat([y, grid]), 300).exp()
    mass = torch.trapezoid(density.double(), grid.double())
    assert mass.shape == (1, 3)
    assert mass.numpy() == pytest.approx(np.ones((1, 3)), abs=2e-3)


def held_out(x, y, **training):
    """Held-out log-likelihood of y given x."""
    frame = pd.DataFrame({"x": x, "y": (y - y.mean()) / y.std()})
    columns = read_columns(frame, [])
    rules = Background().rules(columns.names)
    sets = parent_sets(rules.allowed, rules.required, rules.max_parents)
    quick = Training(**{"steps": 100, "hidden": 16, "networks": 1, "folds": 2, **training})
    scorer = flow_score(columns, sets, quick, np.random.SeedSequence(0))
    return scorer.densities[1][sets[1].tolist().index(1)].sum(dtype=float)


def test_normal_noise_costs_little_and_other_noise_is_learned():
    """Against the law that made the data; the normal law would lose .42 a row of exponential noise."""
    rng, n = np.random.default_rng(0), 1000
    x = rng.standard_normal(n)
    normal, exponential = rng.standard_normal(n), rng.exponential(size=n) - 1
    for noise, truth in ((normal, -0.5 * normal**2 - 0.5 * np.log(2 * np.pi)), (exponential, -exponential - 1)):
        y = x + 0.5 * noise
        best = truth.sum() + n * np.log(y.std() / 0.5)
        found = held_out(x, y, steps=400)
        assert found < best + 5
        assert found > best - (20 if noise is normal else 0.2 * n)


def test_a_curve_is_found_where_training_was_too_short_for_it(monkeypatch):
    rng = np.random.default_rng(1)
    x = rng.uniform(-3, 3, 1000)
    y = np.sin(2 * x) + 0.3 * rng.standard_normal(1000)
    with_ridge = held_out(x, y)
    monkeypatch.setattr(Shape, "additive", False)
    assert with_ridge > held_out(x, y) + 100


@pytest.mark.parametrize("noise", [0.0, 1e-3, 0.02])
def test_small_noise_keeps_its_size(noise):
    """In float32 products the residual sum of squares of so small a noise would be lost, or negative."""
    generator = torch.Generator().manual_seed(1)
    given = torch.randn((1, 1, 2_000, 6), generator=generator)
    exact = given[0, 0].sum(dim=-1) / 6**0.5
    fit = ridge(given, exact + noise * torch.randn(2_000, generator=generator), 1_500)
    assert torch.isfinite(fit.residuals).all()
    assert fit.residuals.abs().max() < 6 * noise + 1e-4
    assert fit.variance.item() == pytest.approx(max(noise**2, LEAST_VARIANCE), rel=0.1)


def test_an_exact_relation_is_scored():
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    table = pd.DataFrame({"x": x, "y": x**2, "z": rng.normal(size=200)})
    found = FlowSEM(networks=2, steps=100, bag=0, progress=False).fit(table)
    assert np.isfinite(found.edge_probabilities.to_numpy()).all()
