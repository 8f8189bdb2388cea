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
