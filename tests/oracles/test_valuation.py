"""Values against what they are defined as: derivatives, refits without rows, and refits after every change.

Kernel matrices are written out in full here, in float64, from the formula of the kernel; nothing of the package is used
but what is tested.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from causalif.estimators.kairos import KAIROS
from causalif.valuation import knn_shapley, nearest_distance
from causalif.valuation import state as states

CLASSES = np.array(["no", "yes", "maybe"])


def example(seed: int = 0, n: int = 40, m: int = 15, d: int = 3, numeric: bool = False):
    """Train and reference rows, labels that depend on features, weights."""
    rng = np.random.default_rng(seed)
    x, r = rng.normal(size=(n, d)) + 0.5, rng.normal(size=(m, d))

    def label(rows):
        score = rows.sum(axis=1) + 0.3 * rng.normal(size=len(rows))
        return score if numeric else CLASSES[np.digitize(score, [-0.5, 1.0])]

    return x, label(x), r, label(r), rng.uniform(0.5, 2.0, size=n)


def options(**more):
    return {"precision": "float64", "progress": False, "n_jobs": 1} | more


class Definition:
    """F(Q) = a MMD²(Q, P) + b E_Q |ψ(Y) − m(X)|, by full matrices, for complex weights too."""

    def __init__(self, x, y, r, yr, *, numeric=False):
        mean, sd = r.mean(axis=0), r.std(axis=0)
        x, r = (x - mean) / sd, (r - mean) / sd
        apart = np.sqrt(((r[:, None] - r[None]) ** 2).sum(axis=2))[np.triu_indices(len(r), 1)]
        self.sigma = 0.5 * np.median(apart)
        self.kxx, self.kxr, self.krr = self.kernel(x, x), self.kernel(x, r), self.kernel(r, r)
        if numeric:
            psi, target = ((np.asarray(v) - yr.mean()) / yr.std() for v in (y, yr))
            psi, target = psi[:, None], target[:, None]
        else:
            known = np.unique(yr)
            psi, target = (np.asarray(v)[:, None] == known for v in (y, yr))
        m, best = len(r), None
        for eta in (1e-4, 1e-3, 1e-2, 1e-1):
            held = np.empty((m, target.shape[1]))
            for left in range(m):  # leave one out, literally; the penalty of the whole
                keep = np.arange(m) != left
                system = self.krr[np.ix_(keep, keep)] + m * eta * np.eye(m - 1)
                held[left] = target[left] - self.krr[left, keep] @ np.linalg.solve(system, target[keep].astype(float))
            if best is None or (held**2).sum() < best[0]:
                fit = np.linalg.solve(self.krr + m * eta * np.eye(m), target.astype(float))
                best = (held**2).sum(), fit, np.linalg.norm(held, axis=1), eta
        self.rho = np.linalg.norm(psi - self.kxr @ best[1], axis=1)
        self.rho_reference, self.eta = best[2], best[3]

    def kernel(self, a, b):
        return np.exp(-((a[:, None] - b[None]) ** 2).sum(axis=2) / (2 * self.sigma**2))

    def scales(self, w):
        m = len(self.krr)
        gap = self.kxr.T @ w / w.sum() - (self.krr.sum(axis=1) - 1) / (m - 1)
        return 0.5 / gap.std(), 2 / self.rho_reference.std()

    def __call__(self, w, a, b):
        p, m = w / w.sum(), len(self.krr)
        mmd2 = p @ self.kxx @ p - 2 * (p @ self.kxr).sum() / m + self.krr.mean()
        return a * mmd2 + b * (p @ self.rho)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("numeric", [False, True])
def test_values_are_a_complex_step_derivative(weighted, numeric):
    x, y, r, yr, w = example(numeric=numeric)
    w = w if weighted else np.ones(len(x))
    value = KAIROS(**options()).fit(x, reference=r, label=y, reference_label=yr, weights=w)
    law = Definition(x, y, r, yr, numeric=numeric)
    a, b = law.scales(w)
    np.testing.assert_allclose(value.scales, (a, b), rtol=1e-10)
    h, p, derivative = 1e-30, w / w.sum(), np.empty(len(x))
    for i in range(len(x)):
        moved = (1 - 1j * h) * p
        moved[i] += 1j * h
        derivative[i] = -law(moved, a, b).imag / h
    np.testing.assert_allclose(value.values, derivative, atol=1e-8, rtol=0)
    assert np.abs(value.values - derivative).max() < 1e-10 * np.abs(derivative).max()
    assert abs(np.average(value.values, weights=w)) < 1e-12 * np.abs(value.values).max()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("numbers", [(1.0, 0.0), (1.0, 1.0)])
def test_leave_one_out_is_a_refit_without_the_row(weighted, numbers):
    x, y, r, yr, w = example(1)
    w = w if weighted else np.ones(len(x))
    value = KAIROS(**options(kind="leave_one_out", weighting=numbers)).fit(
        x, reference=r, label=y, reference_label=yr, weights=w
    )
    law = Definition(x, y, r, yr)
    whole = law(w, *numbers)
    brute = [law(np.where(np.arange(len(x)) == i, 0.0, w), *numbers) - whole for i in range(len(x))]
    np.testing.assert_allclose(value.values, brute, atol=1e-12, rtol=0)


def test_group_removal_is_a_refit_without_the_group():
    x, y, r, yr, w = example(2)
    value = KAIROS(**options(weighting=(2.0, 0.5))).fit(x, reference=r, label=y, reference_label=yr, weights=w)
    law = Definition(x, y, r, yr)
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 39):
        group = rng.choice(len(x), size, replace=False)
        left = w.copy()
        left[group] = 0
        assert value.group_removal(group) == pytest.approx(law(left, 2.0, 0.5) - law(w, 2.0, 0.5), abs=1e-12)


def test_levels_of_the_discrepancy():
    x, y, r, yr, w = example(3)
    value = KAIROS(**options()).fit(x, reference=r, label=y, reference_label=yr, weights=w)
    law = Definition(x, y, r, yr)
    assert value.mmd2 == pytest.approx(law(w, 1.0, 0.0), abs=1e-14)
    n, m = len(x), len(r)
    off, off_reference = law.kxx - np.eye(n), law.krr - np.eye(m)
    pairs = w.sum() ** 2 - (w**2).sum()
    unbiased = w @ off @ w / pairs - 2 * (w @ law.kxr).sum() / (w.sum() * m) + off_reference.sum() / (m * (m - 1))
    assert value.mmd2_unbiased == pytest.approx(unbiased, abs=1e-14)
    witness = law.kxr.mean(axis=1) - law.kxx @ w / w.sum()
    np.testing.assert_allclose(value.witness, witness, atol=1e-14)


def test_scores_of_new_rows_are_the_gain_of_adding_them():
    x, y, r, yr, _ = example(4)
    new, labels = example(5, n=6)[:2]
    asked = KAIROS(**options(kind="leave_one_out", weighting=(1.0, 1.0)))
    value = asked.fit(x, reference=r, label=y, reference_label=yr)
    for i, score in enumerate(value.score(new, labels)):
        law = Definition(np.vstack([x, new[[i]]]), np.r_[y, labels[[i]]], r, yr)
        without = np.r_[np.ones(len(x)), 0.0]
        assert score == pytest.approx(law(without, 1, 1) - law(without + np.eye(len(x) + 1)[-1], 1, 1), abs=1e-12)


def test_scores_of_the_train_rows_are_their_values():
    x, y, r, yr, _ = example(6)
    value = KAIROS(**options()).fit(x, reference=r, label=y, reference_label=yr)
    np.testing.assert_allclose(value.score(x, y), value.values, atol=1e-12)


# --- online ------------------------------------------------------------------------------------------------------


def refit(value, x, y, w, r, yr):
    """Everything from the start, with the frozen coding and bandwidth."""
    coding = value.state.labelling.coding
    codes = None if coding is None else coding.codes(y, "train")
    reference_codes = None if coding is None else coding.codes(yr, "reference")
    fresh = states.start(
        value.state.computing,
        replace(value.state.labelling, model=None),
        value.encoder(x, "train"),
        codes,
        value.encoder(r, "reference"),
        reference_codes,
        w,
    )
    return replace(value, state=fresh)


def same(value, fresh, atol):
    for one, other in ((value, fresh), (replace(value, kind="leave_one_out"), replace(fresh, kind="leave_one_out"))):
        np.testing.assert_allclose(one.values.to_numpy(), other.values.to_numpy(), atol=atol, rtol=0)
    np.testing.assert_allclose(value.components, fresh.components, atol=atol, rtol=0)
    np.testing.assert_allclose(value.pvalues, fresh.pvalues, atol=atol, rtol=0)
    assert value.mmd2 == pytest.approx(fresh.mmd2, abs=atol)
    assert value.mmd2_unbiased == pytest.approx(fresh.mmd2_unbiased, abs=atol)


@pytest.mark.parametrize("label_model", ["cme", "classifier", "joint", None])
@pytest.mark.parametrize("numeric", [False, True])
def test_fifty_online_operations_equal_a_fresh_fit(label_model, numeric):
    x, y, r, yr, w = example(7, n=60, m=25, numeric=numeric)
    value = KAIROS(**options(label_model=label_model)).fit(x, reference=r, label=y, reference_label=yr, weights=w)
    rng, ids = np.random.default_rng(8), np.arange(60)
    for step in range(50):
        m = int(rng.integers(1, 5))
        new, labels, clean, clean_labels, _ = example(100 + step, n=m, m=m, numeric=numeric)
        weights = rng.uniform(0.5, 2, size=m)
        at = rng.choice(len(x), m, replace=False)
        match rng.choice(["add", "remove", "replace", "reweight", "add_reference"]):
            case "add":
                value = value.add(new, labels, weights)
                x, y, w = np.vstack([x, new]), np.r_[y, labels], np.r_[w, weights]
                ids = np.r_[ids, value.index[-m:]]
            case "remove":
                value = value.remove(ids[at])
                x, y, w, ids = (np.delete(v, at, axis=0) for v in (x, y, w, ids))
            case "replace":
                value = value.replace(ids[at], new, labels, weights)
                x[at], y[at], w[at] = new, labels, weights
            case "reweight":
                value = value.reweight(ids[at], weights)
                w[at] = weights
            case _:
                value = value.add_reference(clean, clean_labels)
                r, yr = np.vstack([r, clean]), np.r_[yr, clean_labels]
        assert value.index.tolist() == ids.tolist()
    same(value, refit(value, x, y, w, r, yr), 1e-10)


def test_a_class_that_comes_late_to_the_reference():
    x, y, r, yr, _ = example(9)
    y = y.astype(object)
    y[:3], y[3:5] = "new", "other"
    with pytest.warns(match="No reference row has the label 'new', 'other'"):
        value = KAIROS(**options()).fit(x, reference=r, label=y, reference_label=yr)
    clean, labels = r[:2] + 0.1, np.array(["other", "new"])
    grown = value.add_reference(clean, labels)
    assert grown.state.labelling.coding.known == 5
    same(grown, refit(grown, x, y, np.ones(len(x)), np.vstack([r, clean]), np.r_[yr, labels]), 1e-12)


# --- companions --------------------------------------------------------------------------------------------------


def test_knn_shapley_is_the_mean_over_all_orders():
    rng = np.random.default_rng(0)
    x, r = rng.normal(size=(6, 2)), rng.normal(size=(4, 2))
    y, yr = rng.integers(2, size=6), rng.integers(2, size=4)

    def utility(group, row, k):
        if not group:
            return 0.0
        near = sorted(group, key=lambda i: ((x[i] - r[row]) ** 2).sum())[:k]
        return sum(y[i] == yr[row] for i in near) / k

    for k in (1, 3, 6, 8):
        brute = np.zeros(6)
        orders = list(itertools.permutations(range(6)))
        for order in orders:
            for place, i in enumerate(order):
                brute[i] += np.mean(
                    [utility(order[: place + 1], row, k) - utility(order[:place], row, k) for row in range(4)]
                )
        np.testing.assert_allclose(knn_shapley(x, y, r, yr, k=k), brute / len(orders), atol=1e-14)


def test_nearest_distance_by_hand():
    rng = np.random.default_rng(1)
    x, r = rng.normal(size=(30, 4)), rng.normal(size=(9, 4))
    full = np.sort(np.sqrt(((x[:, None] - r[None]) ** 2).sum(axis=2)), axis=1)
    for k in (1, 4, 9, 20):
        np.testing.assert_allclose(nearest_distance(x, r, k=k), full[:, :k].mean(axis=1), atol=1e-10)


def test_values_of_a_frame_do_not_depend_on_its_index():
    x, y, r, yr, _ = example(10)
    frame = pd.DataFrame(x, index=pd.Index([f"row {i}" for i in range(len(x))])).add_prefix("x").assign(y=y)
    clean = pd.DataFrame(r).add_prefix("x").assign(y=yr)
    value = KAIROS(**options()).fit(frame, reference=clean, label="y")
    plain = KAIROS(**options()).fit(x, reference=r, label=y, reference_label=yr)
    np.testing.assert_array_equal(value.values, plain.values)
    assert value.values.index.equals(frame.index)
