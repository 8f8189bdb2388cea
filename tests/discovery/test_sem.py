"""Fitting structural equation models: known truths, invariance, bags, limits and wrong arguments."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pandas as pd
import pytest

from causalif._errors import CausalifWarning, ConvergenceError, IdentificationWarning, InputError
from causalif.datasets import simulate_null_sem, simulate_random_sem, simulate_sem1, simulate_sem2
from causalif.discovery import LinearSEM, SplineSEM, bag
from causalif.discovery.background import Background
from causalif.discovery.bag import choose_sampler
from causalif.discovery.exact import sample_exact
from causalif.discovery.sem import limited


def at_stake(data, truth, model):
    """Least stability of a true path and greatest of a false one."""
    table = model.fit(data).paths("A", "Y")
    true = table["nodes"].isin(truth["paths"])
    least = table.loc[true, "stability"].min() if true.sum() == len(truth["paths"]) else 0.0
    return least, table.loc[~true, "stability"].max() if (~true).any() else 0.0


@pytest.mark.parametrize("seed", range(3))
def test_both_paths_of_sem1_are_found_and_no_other(seed):
    least, greatest = at_stake(*simulate_sem1(1_500, seed), SplineSEM())
    assert least >= 0.85
    assert greatest <= 0.10


@pytest.mark.slow
def test_sem1_and_the_null_model_over_thirty_seeds():
    found = np.array([at_stake(*simulate_sem1(1_500, seed), SplineSEM()) for seed in range(30)])
    assert (found[:, 0] >= 0.85).all()
    assert (found[:, 1] <= 0.10).all()
    for n in (500, 1_500):
        flagged = [
            (SplineSEM().fit(simulate_null_sem(n, seed)[0]).paths("A", "Y")["stability"] >= 0.15).any()
            for seed in range(30)
        ]
        assert np.mean(flagged) <= 0.10


def test_nothing_is_flagged_where_nothing_depends_on_the_treatment():
    flagged = [
        (SplineSEM().fit(simulate_null_sem(500, seed)[0]).paths("A", "Y")["stability"] >= 0.15).any()
        for seed in range(5)
    ]
    assert sum(flagged) <= 1


def assert_same(one, two, atol=1e-8):
    names = list(one.names)
    np.testing.assert_allclose(
        one.edge_probabilities.to_numpy(), two.edge_probabilities.loc[names, names].to_numpy(), atol=atol
    )
    a, b = (found.paths("A", "Y").set_index("path")["stability"].sort_index() for found in (one, two))
    pd.testing.assert_series_equal(a, b, atol=atol)


def test_order_and_units_of_the_columns_do_not_matter():
    data, _ = simulate_sem1(150, 3)
    model = SplineSEM(bag=5)
    other = data[["Y", "M2", "A", "C", "M1"]] * [1e-3, 1.0, 1e6, -1.0, 7.0] + [1.0, 2.0, 0.0, 1e-3, 0.0]
    assert model.fit(data).entropy > 0.1
    assert_same(model.fit(data), model.fit(other))
    linear = LinearSEM(bag=5)
    assert_same(linear.fit(data), linear.fit(other))


def test_order_of_mixed_columns_does_not_matter():
    data, _ = simulate_sem2(300, 1)
    data["G"] = np.where(data["C"] + np.random.default_rng(0).standard_normal(300) > 0, "up", "down")
    model = SplineSEM(bag=2, tiers=[["C", "G"], ["A"], ["L", "M"], ["Y"]], max_parents=3)
    with pytest.warns(IdentificationWarning):
        one = model.fit(data)
    with pytest.warns(IdentificationWarning):
        two = model.fit(data[["Y", "G", "M", "A", "L", "C"]].assign(M=5 * data["M"] + 1))
    assert_same(one, two)


def test_the_same_digits_for_every_number_of_jobs(monkeypatch):
    data, _ = simulate_sem1(120, 1)
    monkeypatch.setattr(bag, "SECONDS_WORTH_A_POOL", 0.0)
    one, two = (SplineSEM(bag=4, n_jobs=jobs, progress=False).fit(data) for jobs in (1, 2))
    np.testing.assert_array_equal(one.adjacency, two.adjacency)
    np.testing.assert_array_equal(one.weights, two.weights)
    np.testing.assert_array_equal(one.edges, two.edges)


def test_random_state_decides_everything():
    data, _ = simulate_sem1(120, 1)
    one, two, three = (SplineSEM(bag=3, random_state=s).fit(data) for s in (5, 5, 6))
    np.testing.assert_array_equal(one.edges, two.edges)
    assert not np.array_equal(one.edges, three.edges)
    generator = SplineSEM(bag=0, random_state=np.random.default_rng(0)).fit(data)
    assert generator.settings["random_state"] >= 0


def test_a_bagged_posterior_is_the_average_over_its_bags():
    data, _ = simulate_sem1(150, 3)
    posterior = SplineSEM(bag=6, draws=600).fit(data)
    assert posterior.bags.shape == (6, len(posterior.adjacency))
    np.testing.assert_allclose(posterior.bags.sum(axis=1), 1)
    np.testing.assert_allclose(posterior.bags.mean(axis=0), posterior.weights, atol=1e-12)
    assert posterior.effective_sample_size == pytest.approx(600)
    assert posterior.log_evidence is None
    assert posterior.diagnostics["bags"]["log_evidence"].notna().all()
    drawn = np.tensordot(posterior.weights.to_numpy(), posterior.adjacency, axes=1)
    assert np.abs(drawn - posterior.edges).max() < 5 * 0.5 / np.sqrt(600)
    path = posterior.stability(("A", "M1", "M2", "Y"))
    assert path.bag_sd == pytest.approx(
        np.std([w @ [1.0 * d.has_edge("A", "M1") * d.has_edge("M1", "M2") * d.has_edge("M2", "Y")
                     for d in posterior.dags] for w in posterior.bags], ddof=1))  # fmt: skip


def test_one_posterior_has_its_evidence_and_a_flatter_one_has_more_entropy():
    data, _ = simulate_sem1(150, 3)
    plain, flat = (SplineSEM(bag=0, temperature=t).fit(data) for t in (1.0, 0.1))
    assert np.isfinite(plain.log_evidence)
    assert plain.bags is None
    assert flat.entropy > plain.entropy + 0.5


def test_knowledge_is_obeyed():
    data, _ = simulate_sem1(150, 3)
    tiers = [["C"], ["A"], ["M1", "M2"], ["Y"]]
    model = SplineSEM(bag=2, tiers=tiers, required=[("C", "M2")], forbidden=[("A", "Y")], max_parents=2)
    edges = model.fit(data).edge_probabilities
    assert edges.loc["C", "M2"] == pytest.approx(1)
    assert edges.loc["A", "Y"] == 0
    assert edges.loc["Y"].sum() == 0
    assert edges.loc[["M1", "M2"], ["A", "C"]].to_numpy().sum() == 0
    assert edges.sum().max() <= 2 + 1e-9


def test_straight_lines_with_normal_noise_are_warned_about():
    for seed in range(5):
        data, _ = simulate_random_sem(500, seed, form="linear")
        with pytest.warns(IdentificationWarning, match="directions are not identified.* LinearSEM.* `tiers`"):
            SplineSEM(bag=0).fit(data)
        order = [[name] for name in data.columns]
        SplineSEM(bag=0, tiers=order).fit(data)  # tiers decide every direction: nothing to warn of
        SplineSEM(bag=0).fit(simulate_random_sem(500, seed)[0])


def test_twenty_columns_in_tiers_are_exact_and_without_tiers_sampled():
    data, _ = simulate_random_sem(300, 0, nodes=20)
    tiers = [[f"X{k}" for k in range(start, start + 4)] for start in range(1, 21, 4)]
    posterior = SplineSEM(bag=0, tiers=tiers, max_parents=2, draws=200).fit(data)
    assert posterior.settings["engine"] == "exact"
    assert posterior.diagnostics["blocks"]["size"].tolist() == [4] * 5
    with pytest.raises(InputError, match="20 nodes could form a cycle"):
        SplineSEM(bag=0, engine="exact", max_parents=2).fit(data)


def test_the_default_in_degree_is_limited_only_where_it_must_be():
    def limit(p, **knowledge):
        return limited(Background(**knowledge).rules([f"X{k}" for k in range(p)])).max_parents

    assert [limit(p) for p in (5, 12, 20, 30, 40)] == [None, None, 4, 3, 3]
    tiers = [[f"X{k}"] for k in range(20)]
    assert limit(20, tiers=tiers) > 4  # tiers leave fewer parent sets
    many = [(f"X{k}", "X29") for k in range(5)]
    assert limit(30, required=many) == 5
    assert limit(5, max_parents=2) == 2


def test_engines_by_name():
    assert choose_sampler("exact") is sample_exact


class Slow:
    """Samples, but takes its time, or is interrupted."""

    def __init__(self, pause=0.0, interrupt_at=None):
        self.pause, self.interrupt_at, self.calls = pause, interrupt_at, 0

    def __call__(self, families, **options):
        if self.calls == self.interrupt_at:
            raise KeyboardInterrupt
        self.calls += 1
        time.sleep(self.pause)
        return sample_exact(families, **options)


def test_a_time_limit_keeps_the_finished_bags(monkeypatch):
    data, _ = simulate_sem1(100, 0)
    monkeypatch.setattr(bag, "sample_exact", Slow(0.15))
    with pytest.warns(CausalifWarning, match=r"Stopped by `time_limit`: \d of 20 bags .* complete=False"):
        posterior = SplineSEM(time_limit=0.4, n_jobs=1).fit(data)
    assert not posterior.complete
    assert 1 <= len(posterior.bags) < 20
    assert posterior.settings["bags"] == len(posterior.bags)
    assert "Stopped early" in posterior.summary()


def test_an_interrupt_keeps_the_finished_bags(monkeypatch):
    data, _ = simulate_sem1(100, 0)
    monkeypatch.setattr(bag, "sample_exact", Slow(interrupt_at=3))
    with pytest.warns(CausalifWarning, match="Stopped by an interrupt: 3 of 20 bags"):
        posterior = SplineSEM(n_jobs=1).fit(data)
    assert not posterior.complete
    assert len(posterior.bags) == 3
    monkeypatch.setattr(bag, "sample_exact", Slow(interrupt_at=0))
    with pytest.raises(KeyboardInterrupt):
        SplineSEM(n_jobs=1).fit(data)


def test_nothing_finished_in_time_is_an_error():
    with pytest.raises(ConvergenceError, match="Not even one bag"):
        bag.collect(iter(()), 20, None)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"engine": "magic"}, "`engine` must be one of"),
        ({"bag": 1}, "`bag` must be 0"),
        ({"bag": -1}, "`bag` must be a whole number"),
        ({"draws": 0}, "`draws` must be a whole number"),
        ({"temperature": 0.0}, "`temperature` must be a number"),
        ({"temperature": 2.0}, "`temperature` must be a number"),
        ({"time_limit": 0}, "`time_limit` must be a positive"),
        ({"n_jobs": 0}, "`n_jobs` must be a whole number other than 0"),
        ({"random_state": -1}, "`random_state` must be a whole number"),
        ({"spline_size": 2}, "`spline_size` must be a whole number of at least 3"),
        ({"prior": "flat"}, "`prior` must be"),
        ({"tiers": [["A"]]}, "leaves out"),
    ],
)
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        SplineSEM(**settings).fit(simulate_sem1(60, 0)[0])


def test_configuration_is_frozen():
    with pytest.raises(AttributeError):
        SplineSEM().bag = 3


def test_open_direction_between_discrete_and_continuous_columns_is_told():
    """A logistic relation between a binary and a continuous column: the form of the model would decide."""
    rng = np.random.default_rng(0)
    age = rng.normal(size=800)
    treated = (rng.random(800) < 1 / (1 + np.exp(-1.5 * age))).astype(int)
    u = rng.normal(size=800)
    table = pd.DataFrame({"age": age, "t": treated, "u": u, "v": np.sin(2 * u) + 0.5 * rng.normal(size=800)})
    with pytest.warns(IdentificationWarning, match=r"between a discrete and a continuous column \(t and age\)"):
        SplineSEM(bag=0, draws=50).fit(table)
    with warnings.catch_warnings():
        warnings.simplefilter("error", IdentificationWarning)
        SplineSEM(bag=0, draws=50, tiers=[["age"], ["t"], ["u"], ["v"]]).fit(table)
