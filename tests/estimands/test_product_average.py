"""Double averages against plain loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalif.engine.nuisance import Held, Marginal
from causalif.estimands import product_average
from causalif.estimands.product_average import of_cells, of_pairs
from causalif.table import Table


def table(n: int, rng: np.random.Generator, weights=None) -> Table:
    m = rng.integers(0, 3, n).astype(float)
    m[:3] = 0, 1, 2
    columns = {"m": m, "a": (np.arange(n) % 2).astype(float)}
    return Table(columns, rng.normal(size=(n, 2)), ("c", "d"), pd.RangeIndex(n), weights=weights)


def q(rows: Table) -> np.ndarray:
    return np.sin(rows["m"] * rows["c"]) + rows["m"] * rows["d"] ** 2 + rows["c"]


def by_loops(rows: Table, w1: np.ndarray, w2: np.ndarray):
    """f1, f2 and U by naive double loops over pairs of different rows."""
    n, m = len(rows), rows["m"]
    f1, f2, total, mass = np.zeros((n, 2)), np.zeros((n, 2)), 0.0, 0.0
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            value = np.sin(m[i] * rows["c"][j]) + m[i] * rows["d"][j] ** 2 + rows["c"][j]
            f1[i] += w2[j] * np.array([value, 1.0])
            f2[j] += w1[i] * np.array([value, 1.0])
            total, mass = total + w1[i] * w2[j] * value, mass + w1[i] * w2[j]
    return f1[:, 0] / f1[:, 1], f2[:, 0] / f2[:, 1], total / mass


@pytest.mark.parametrize("where", [(), (("a", 0.0),)], ids=["everybody", "one arm"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_complete_statistic_equals_naive_loops(weighted, where):
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.2, 2.0, 40) if weighted else None
    rows = table(40, rng, weights)
    first, second = Held.of(Marginal(("m",), where), rows), Held.of(Marginal(("c", "d")), rows)
    f1, f2, u = by_loops(rows, first.probabilities, second.probabilities)
    pairs = of_pairs(q, rows, first, second)
    values = np.array([q(product_average.with_columns(rows, {"m": np.full(40, v)})) for v in (0.0, 1.0, 2.0)])
    cells = of_cells(values, q(rows), rows["m"].astype(int), first, second, values)
    for found in (pairs, cells):
        assert found.over_both == pytest.approx(u, abs=1e-12)
        counted = first.probabilities > 0
        shift1 = u - first.probabilities @ f1
        assert np.allclose(found.over_second[counted], (f1 + shift1)[counted], atol=1e-12)
        assert np.allclose(found.over_first, f2 + (u - second.probabilities @ f2), atol=1e-12)
        assert first.probabilities @ found.over_second == pytest.approx(u, abs=1e-12)
    if not weighted and not where:
        assert np.allclose(pairs.over_second, f1, atol=1e-12)
        assert np.allclose(pairs.over_first, f2, atol=1e-12)


def test_laws_held_on_other_rows_use_every_pair():
    rng = np.random.default_rng(1)
    held, rows = table(30, rng), table(7, rng)
    found = of_pairs(q, rows, Held.of(Marginal(("m",)), held), Held.of(Marginal(("c", "d")), held))
    for i in range(7):
        at_m = q(product_average.with_columns(held, {"m": np.full(30, rows["m"][i])})).mean()
        one = rows.take(np.full(30, i))
        at_c = q(product_average.with_columns(one, {"m": held["m"]})).mean()
        assert found.over_second[i] == pytest.approx(at_m)
        assert found.over_first[i] == pytest.approx(at_c)


def test_the_incomplete_statistic_is_close_and_keeps_its_means(monkeypatch):
    rng = np.random.default_rng(2)
    rows = table(3000, rng)
    first, second = Held.of(Marginal(("m",)), rows), Held.of(Marginal(("c", "d")), rows)
    incomplete = of_pairs(q, rows, first, second)
    monkeypatch.setattr(product_average, "ALL_PARTNERS", 10_000)
    complete = of_pairs(q, rows, first, second)
    spread = q(rows).std()
    assert abs(incomplete.over_both - complete.over_both) < 5 * spread / np.sqrt(3000 * 50)
    assert incomplete.over_second.mean() == pytest.approx(incomplete.over_both, abs=1e-12)
    assert incomplete.over_first.mean() == pytest.approx(incomplete.over_both, abs=1e-12)


def test_blocks_change_no_digit(monkeypatch):
    rng = np.random.default_rng(3)
    rows = table(500, rng)
    first, second = Held.of(Marginal(("m",)), rows), Held.of(Marginal(("c", "d")), rows)
    whole = of_pairs(q, rows, first, second)
    monkeypatch.setattr(product_average, "ROWS_AT_ONCE", 1)
    assert of_pairs(q, rows, first, second).over_both == pytest.approx(whole.over_both, abs=1e-13)


@pytest.mark.parametrize("weighted", [False, True])
def test_groups_are_averaged_apart(weighted):
    """The first block from one group of rows at a time: naive loops over that group."""
    rng = np.random.default_rng(5)
    rows = table(30, rng, rng.uniform(0.2, 2.0, 30) if weighted else None)
    first, second = Held.of(Marginal(("m",)), rows), Held.of(Marginal(("c", "d")), rows)
    group = (rows["m"] > 0).astype(int)
    grouped = of_pairs(q, rows, first, second, group).grouped
    for g in (0, 1):
        w1 = first.probabilities * (group == g)
        _, f2, u = by_loops(rows, w1, second.probabilities)
        assert grouped.mass[g] == pytest.approx(w1.sum())
        assert grouped.over_both[g] == pytest.approx(u, abs=1e-12)
        assert np.allclose(grouped.over_first[g], f2 + (u - second.probabilities @ f2), atol=1e-12)
        assert w1 @ grouped.over_second[g] / w1.sum() == pytest.approx(u, abs=1e-12)


@pytest.mark.parametrize(("n", "partners"), [(50, 49), (1000, 50)])
def test_every_row_meets_as_many_others(n, partners):
    pairs = list(product_average._partners(np.arange(n), np.arange(n)))
    i, j = np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])
    assert not (i == j).any()
    assert set(np.bincount(i)) == set(np.bincount(j)) == {partners}
    assert len(np.unique(i * n + j)) == n * partners


@pytest.mark.parametrize("part", ["training", "evaluation"])
def test_cross_fitting_holds_the_part_that_is_asked_for(part):
    """Every fold's laws are those of the other rows, or of its own."""
    from dataclasses import dataclass

    from causalif.engine.crossfit import cross_fit
    from causalif.engine.folds import Folds
    from causalif.engine.problem import Plan

    @dataclass(frozen=True)
    class MeanOfHeld:
        labels = ("mean",)
        robustness = ()

        def nuisances(self):
            return {"law": Marginal(("m",), part=part)}

        def eif(self, rows, eta):
            held = eta["law"]
            return np.full(len(rows), held.probabilities @ held.rows["m"])

        def plug_in(self, law):
            raise NotImplementedError

    rows, ids = table(30, np.random.default_rng(4)), np.arange(30) % 3
    fit = cross_fit([MeanOfHeld()], rows, Plan(folds=Folds(ids)))
    for fold in range(3):
        members = ids == fold if part == "evaluation" else ids != fold
        assert np.allclose(fit.phi[ids == fold, 0], rows["m"][members].mean())
