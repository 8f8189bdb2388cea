"""Masked networks: the density is one, the masks are what they should be, and held-out rows are held out."""

from __future__ import annotations

import math
import sys
import time

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyro")

# ruff: noqa: E402
from causalif._errors import CausalifError, CausalifWarning, ConvergenceError, InputError
from causalif.discovery import flow_score as module
from causalif.discovery.background import Background
from causalif.discovery.columns import read_columns
from causalif.discovery.families import parent_sets
from causalif.discovery.flow_network import SPLINE, Shape, bounded, log_density, need, spline_log_density, start
from causalif.discovery.flow_score import FlowScorer, Training, _Group, flow_score, random_masks

QUICK = Training(steps=150, hidden=16, batch=128, networks=1, folds=3)

SHORT = Training(steps=40, hidden=8, batch=64, networks=2, folds=2)


def data(n=400, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    y = np.sin(2 * x) + 0.4 * rng.standard_normal(n)
    z = (y + 0.5 * rng.logistic(size=n) > 0).astype(int)
    return pd.DataFrame({"x": x, "y": y, "z": z})


def problem(frame, **knowledge):
    columns = read_columns(frame, [])
    rules = Background(**knowledge).rules(columns.names)
    return columns, parent_sets(rules.allowed, rules.required, rules.max_parents)


def scored(frame, training=QUICK, seed=0, **knowledge):
    columns, sets = problem(frame, **knowledge)
    return columns, sets, flow_score(columns, sets, training, np.random.SeedSequence(seed))


# --- densities --------------------------------------------------------------------------------------------------


def test_spline_density_integrates_to_one():
    out = torch.randn(20, 1, 2 + SPLINE, generator=torch.Generator().manual_seed(0))
    grid = torch.linspace(-60, 60, 24_001, dtype=torch.float32)
    density = spline_log_density(grid - out[..., 0], bounded(out[..., 1]), out[..., 2:]).exp()
    assert density.shape == (20, len(grid))
    assert torch.trapezoid(density.double(), grid.double()).numpy() == pytest.approx(np.ones(20), abs=2e-3)


@pytest.mark.parametrize("mechanism", ["anm", "affine", "spline"])
def test_training_starts_at_the_standard_normal_law(mechanism):
    shape = Shape(2, 3, 3, 8, mechanism)
    weights = start(shape, torch.Generator().manual_seed(0))
    x = torch.randn(2, 1, 5, 3, generator=torch.Generator().manual_seed(1))
    target = torch.linspace(-2, 2, 5).expand(2, 1, -1)
    found = log_density(shape, weights, x, torch.ones(2, 1, 3), torch.arange(3), target, None)
    expected = -0.5 * target**2 - 0.5 * math.log(2 * math.pi)
    assert found.detach().numpy() == pytest.approx(expected.numpy(), abs=0.01)


def _moved(weights):
    generator = torch.Generator().manual_seed(7)
    return {
        name: weight.detach() + 0.3 * torch.randn(weight.shape, generator=generator) for name, weight in weights.items()
    }


@pytest.mark.parametrize("mechanism", ["anm", "affine", "spline"])
def test_groups_of_rows_are_scored_as_rows_alone(mechanism):
    shape, generator = Shape(2, 4, 3, 8, mechanism), torch.Generator().manual_seed(3)
    weights, columns = _moved(start(shape, generator)), torch.tensor([0, 1, 1, 2])
    x, target = torch.randn(2, 5, 6, 4, generator=generator), torch.randn(2, 5, 6, generator=generator)
    masks = (torch.rand(2, 5, 3, generator=generator) < 0.5).float()
    together = log_density(shape, weights, x, masks, columns, target, None)
    for group in range(5):
        for row in range(6):
            one = (slice(None), slice(group, group + 1), slice(row, row + 1))
            alone = log_density(shape, weights, x[one], masks[:, group : group + 1], columns, target[one], None)
            assert alone.flatten().numpy() == pytest.approx(together[:, group, row].numpy(), abs=1e-5)


def test_absent_parents_do_not_matter():
    shape = Shape(1, 3, 3, 8, "anm")
    weights = _moved(start(shape, torch.Generator().manual_seed(0)))
    masks, target = torch.tensor([[[1.0, 0.0, 0.0]]]), torch.zeros(1, 1, 1)
    one, other, third = (
        log_density(shape, weights, torch.tensor([[[row]]]), masks, torch.arange(3), target, None).item()
        for row in ([1.0, 2.0, 3.0], [1.0, -5.0, 9.0], [2.0, 2.0, 3.0])
    )
    assert one == other
    assert one != third


@pytest.mark.parametrize(("mechanism", "same"), [("anm", True), ("affine", False), ("spline", False)])
def test_only_anm_keeps_the_shape_of_the_noise(mechanism, same):
    """Under additive noise a change of the parents shifts the density of the node and does nothing else."""
    shape = Shape(1, 2, 2, 8, mechanism)
    weights = _moved(start(shape, torch.Generator().manual_seed(0)))
    grid, masks, peaks = torch.linspace(-15, 15, 6001), torch.tensor([[[1.0, 0.0]]]), []
    for value in (-1.0, 1.0):
        x = torch.tensor([[[[value, 0.0]]]]).expand(1, 1, len(grid), -1)
        peaks.append(log_density(shape, weights, x, masks, torch.arange(2), grid[None, None], None).max().item())
    assert (abs(peaks[0] - peaks[1]) < 5e-3) == same


def test_levels_that_a_node_lacks_have_no_mass():
    shape = Shape(1, 2, 2, 8, "anm", 4)
    weights = _moved(start(shape, torch.Generator().manual_seed(0)))
    absent = torch.tensor([[[0.0, 0.0, 0.0, module.LACKING]]])
    x, masks, target = torch.ones(1, 1, 4, 2), torch.ones(1, 1, 2), torch.arange(4.0)[None, None]
    mass = log_density(shape, weights, x, masks, torch.arange(2), target, absent).exp().flatten().numpy()
    assert mass[:3].sum() == pytest.approx(1.0, abs=1e-5)
    assert mass[3] == 0


# --- masks ------------------------------------------------------------------------------------------------------


def test_masks_are_allowed_sets_of_uniform_size():
    frame = pd.DataFrame(np.random.default_rng(0).standard_normal((60, 5)), columns=list("abcde"))
    columns, sets = problem(frame, max_parents=3, required=[("a", "b")], forbidden=[("c", "d")])
    group = _Group.of(columns, sets, range(5), torch.arange(60) % 3, QUICK)
    masks = random_masks(group, 4000, torch.Generator().manual_seed(0)).numpy().astype(int)
    assert masks.shape == (3, 5, 4000, 5)
    bits = masks @ (1 << np.arange(5))
    for i in range(5):
        assert set(np.unique(bits[:, i])) == set(sets[i].tolist())
        free = np.bitwise_count(bits[:, i].ravel()) - (i == 1)
        most = int(np.bitwise_count(sets[i]).max()) - (i == 1)
        share = np.bincount(free, minlength=most + 1) / len(free)
        assert np.abs(share - 1 / (most + 1)).max() < 4 * math.sqrt(0.25 / len(free))


# --- scores -----------------------------------------------------------------------------------------------------


def test_true_parents_score_best():
    columns, sets, scorer = scored(data(800), Training(steps=300, hidden=16, networks=1, folds=2))
    assert columns.kinds == ("continuous", "continuous", "binary")
    scores = scorer.log_scores(np.ones(800), np.random.default_rng(0))
    y = dict(zip(sets[1].tolist(), scores[1].tolist(), strict=True))
    z = dict(zip(sets[2].tolist(), scores[2].tolist(), strict=True))
    assert y[0b001] > y[0] + 100
    assert max(z, key=z.get) == 0b010
    # entropy of a fair coin bounds what no parents can tell
    assert z[0] == pytest.approx(-800 * math.log(2), rel=0.03)


def test_scores_are_weighted_sums_with_a_price_per_parent():
    density = np.random.default_rng(0).standard_normal((3, 50)).astype(np.float32)
    scorer = FlowScorer((np.array([0, 1, 3]),), (density,))
    counts = np.random.default_rng(1).integers(0, 3, 50).astype(float)
    expected = density.astype(float) @ counts - (1.75 * math.log(counts.sum()) - 3.5) * np.array([0, 1, 2])
    assert scorer.log_scores(counts, np.random.default_rng(0))[0] == pytest.approx(expected)


def test_held_out_rows_are_held_out():
    """Changing rows of one fold must leave the networks that score that fold, and so its other rows, unchanged."""
    frame = data(300)[["x", "y"]]
    columns, sets = problem(frame)
    group = _Group.of(columns, sets, range(2), torch.arange(300) % 3, QUICK)
    rows = group.training_rows
    for fold in range(3):
        assert not set(rows[fold].tolist()) & set(range(fold, 300, 3))
        assert len(rows[fold]) == 200
    before, _ = module._train(group, QUICK, torch.Generator().manual_seed(0), None)
    spoiled = group.encoded.clone()
    spoiled[0::3] += 100.0
    changed = module.replace(group, encoded=spoiled)
    after, _ = module._train(changed, QUICK, torch.Generator().manual_seed(0), None)
    nodes = len(group.nodes)
    assert all(torch.equal(before[name][:nodes], after[name][:nodes]) for name in before)
    assert not torch.equal(before["enter"][nodes:], after["enter"][nodes:])


def test_noise_is_not_rewarded():
    """Independent columns: no set of parents does much better than none on rows that were not trained on."""
    frame = pd.DataFrame(np.random.default_rng(3).standard_normal((300, 3)), columns=list("abc"))
    _, _, scorer = scored(frame, Training(steps=300, hidden=16, networks=1, folds=2))
    for scores in scorer.log_scores(np.ones(300), np.random.default_rng(0)):
        assert scores.argmax() == 0


def test_several_networks_are_averaged():
    _, _, one = scored(data(200), Training(steps=100, hidden=8, networks=1, folds=2))
    _, _, two = scored(data(200), Training(steps=100, hidden=8, networks=2, folds=2))
    assert two.densities[0].shape == one.densities[0].shape
    assert two.densities[1].mean() != one.densities[1].mean()


def test_same_seed_same_digits_and_nothing_global():
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    _, _, one = scored(data(200), SHORT)
    _, _, two = scored(data(200), SHORT)
    _, _, other = scored(data(200), SHORT, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(one.densities, two.densities, strict=True))
    assert not np.array_equal(one.densities[0], other.densities[0])
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


def test_threads_come_back_after_an_error(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(module, "_train", lambda *_: 1 / 0)
    columns, sets = problem(data(100))
    with pytest.raises(ZeroDivisionError):
        flow_score(columns, sets, QUICK, np.random.SeedSequence(0), threads=before + 1)
    assert torch.get_num_threads() == before


def test_time_limit_shortens_training():
    columns, sets = problem(data(200)[["x", "y"]])
    training = Training(steps=1_000_000, hidden=8, networks=1, folds=2)
    begun = time.monotonic()
    with pytest.warns(CausalifWarning, match="leaves time for"):
        flow_score(columns, sets, training, np.random.SeedSequence(0), deadline=begun + 2)
    assert time.monotonic() - begun < 60


def test_time_for_scoring_is_kept(monkeypatch):
    """Where scoring takes all the time there is, training makes its fewest steps."""
    columns, sets = problem(data(200)[["x", "y"]])
    monkeypatch.setattr(module, "_scoring_seconds", lambda *_: 1e6)
    with pytest.warns(CausalifWarning, match="leaves time for 100 of 150"):
        flow_score(columns, sets, QUICK, np.random.SeedSequence(0), deadline=time.monotonic() + 60)


def test_divergence_is_an_error(monkeypatch):
    columns, sets = problem(data(200)[["x", "y"]])
    train = module._train

    def spoiled(*arguments):
        weights, steps = train(*arguments)
        return {name: weight.detach() / 0 for name, weight in weights.items()}, steps

    monkeypatch.setattr(module, "_train", spoiled)
    with pytest.raises(ConvergenceError, match="learning_rate"):
        flow_score(columns, sets, SHORT, np.random.SeedSequence(0))


def test_too_many_families(monkeypatch):
    monkeypatch.setattr(module, "MOST_STORED", 1000)
    columns, sets = problem(data(200))
    with pytest.raises(InputError, match="max_parents"):
        flow_score(columns, sets, QUICK, np.random.SeedSequence(0))


@pytest.mark.parametrize("name", ["torch", "pyro"])
def test_missing_extras_are_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(CausalifError, match=r"pip install causalif\[flow\]"):
        need(name)
