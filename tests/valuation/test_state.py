"""The state on tensors, as they are kept on a GPU, against the state on arrays."""

from __future__ import annotations

import numpy as np
import pytest

from causalif.kernels import Gaussian, Product, SameLabel
from causalif.valuation import state as states
from causalif.valuation.features import Encoder, _moments, _scaled
from causalif.valuation.labels import LabelCoding
from causalif.valuation.state import Computing, Labelling

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("spec", ["cme", "joint", "classifier", None])
def test_tensors_stay_tensors_and_give_the_same(spec):
    rng = np.random.default_rng(0)
    x, r, new = (rng.normal(size=(n, 3)) for n in (30, 12, 4))
    y, yr, ynew = ((rows[:, 0] > 0).astype(float) for rows in (x, r, new))
    kernel = Product(Gaussian(1.0), SameLabel()) if spec == "joint" else Gaussian(1.0)
    computing = Computing(kernel, np.zeros(4 if spec == "joint" else 3), "float64", n_jobs=1)
    coding = None if spec is None else LabelCoding("classes", (0, 1), 2)
    found = []
    for made in (np.asarray, torch.tensor):
        state = states.start(computing, Labelling(spec, coding), made(x), y, made(r), yr, np.ones(30))
        state = states.add(state, made(new), ynew, np.full(4, 2.0), coding)
        state = states.remove(state, np.array([0, 31]))
        state = states.reweight(state, np.array([3]), np.array([0.5]))
        state = states.add_reference(state, made(new + 1), ynew)
        assert isinstance(state.points, type(made(x)))
        own, gap, residuals = states.query(state, made(new), ynew)
        found.append([state.sums.gap, state.sums.reference_gap, own, gap]
                     + ([] if residuals is None else [residuals, state.residuals]))  # fmt: skip
    for array, tensor in zip(*found, strict=True):
        np.testing.assert_allclose(tensor, array, atol=1e-12)


@pytest.mark.parametrize("scale", ["reference", "rows", None])
def test_tensors_are_standardised_like_arrays(scale):
    x = np.random.default_rng(0).normal(size=(40, 3)) * [1, 5, 100] + [0, 7, -3]
    x[3] = 0 if scale == "rows" else x[3]
    moments = _moments(x)
    for one, other in zip(moments, _moments(torch.tensor(x)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    moments = moments if scale == "reference" else (np.zeros(3), np.ones(3))
    encoder = Encoder(None, {}, scale, *moments, exact=True)
    np.testing.assert_allclose(_scaled(torch.tensor(x), encoder).numpy(), _scaled(x, encoder), atol=1e-12)


@pytest.mark.parametrize(("precision", "atol"), [("float64", 1e-12), ("float32", 4e-7)])
@pytest.mark.parametrize("spec", ["cme", "joint", None])
def test_changes_of_every_kind_equal_a_start_and_leave_earlier_states_alone(spec, precision, atol):
    rng = np.random.default_rng(1)
    width, dtype = 3, np.dtype(precision)
    x, r, new = (rng.normal(size=(n, width)).astype(dtype) for n in (600, 150, 80))
    x[::9] += 30  # far from the centre: these rows change places when they are made ready
    y, yr, ynew = ((rows[:, 0] > 0).astype(float) for rows in (x, r, new))
    kernel = Product(Gaussian(1.0), Gaussian(0.5)) if spec == "joint" else Gaussian(1.0)
    computing = Computing(kernel, np.zeros(width + (spec == "joint")), precision, n_jobs=1)
    coding = None if spec is None else LabelCoding("classes", (0, 1), 2)
    if spec is None:
        y = yr = ynew = None

    def stack(*parts):
        return None if parts[0] is None else np.concatenate(parts)

    state = first = states.start(computing, Labelling(spec, coding), x, y, r, yr, np.ones(600))
    before = [part.copy() for part in (first.points, first.sums.within, first.sums.reference_cross)]
    held = [part.copy() for part in first.rows.pieces[0].rows]
    gone, spot = rng.permutation(760)[:70], rng.permutation(690)[:80]
    state = states.add(state, new, ynew, np.full(80, 2.0), coding)
    state = states.add(state, new + 1, ynew, np.ones(80), coding)
    state = states.remove(state, gone)
    state = states.exchange(state, spot, new - 1, ynew, np.full(80, 3.0), coding)
    state = states.reweight(state, np.arange(70), np.full(70, 0.5))
    state = states.add(state, new + 2, ynew, np.ones(80), coding)
    z, w = np.concatenate([x, new, new + 1]), np.r_[np.ones(600), np.full(80, 2.0), np.ones(80)]
    z, w, labels = np.delete(z, gone, axis=0), np.delete(w, gone), None
    if y is not None:
        labels = np.delete(np.r_[y, ynew, ynew], gone)
        labels[spot] = ynew
    z[spot], w[spot] = new - 1, 3.0
    w[:70] = 0.5
    z, w, labels = np.concatenate([z, new + 2]), np.r_[w, np.ones(80)], stack(labels, ynew)
    fresh = states.start(computing, Labelling(spec, coding), z, labels, r, yr, w)
    np.testing.assert_array_equal(state.points, fresh.points)
    for name in ("gap", "gap_apart", "reference_gap"):
        np.testing.assert_allclose(getattr(state.sums, name), getattr(fresh.sums, name), rtol=0, atol=atol)
    for one, other in zip(states.query(state, new, ynew), states.query(fresh, new, ynew), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=0, atol=atol)
    for one, other in zip(before, (first.points, first.sums.within, first.sums.reference_cross), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(held, first.rows.pieces[0].rows, strict=True):
        np.testing.assert_array_equal(one, other)
