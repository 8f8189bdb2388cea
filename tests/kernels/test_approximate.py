"""Approximations stay within the bounds that they state, and the bounds say something."""

from __future__ import annotations

import numpy as np
import pytest

from causalif._errors import InputError
from causalif.kernels import (
    Energy,
    Gaussian,
    GaussianMixture,
    InverseMultiquadric,
    Laplace,
    Matern,
    Product,
    SameLabel,
    block,
    median_bandwidth,
    row_sums,
)
from causalif.kernels.approximate import fourier_sums, nystrom_sums

KERNELS = [
    Gaussian(2.0),
    GaussianMixture((1.0, 2.0)),
    Laplace(3.0),
    Matern(2.0),
    Matern(2.0, smoothness=2.5),
    InverseMultiquadric(2.0),
]


@pytest.fixture(scope="module")
def two_laws() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of two laws, and the weights of their difference."""
    rng = np.random.default_rng(0)
    X, R = rng.standard_normal((900, 4)), rng.standard_normal((300, 4)) * 1.1 + 0.2
    return X, np.concatenate([X, R]), np.r_[np.full(900, 1 / 900), np.full(300, -1 / 300)]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("landmarks", [5, 60])
def test_nystrom_errors_stay_within_their_bounds(kernel: Gaussian, landmarks: int, two_laws: tuple) -> None:
    X, B, w = two_laws
    weights = np.column_stack([w, np.ones(len(B))])
    exact = row_sums(X, B, kernel, weights, precision="float64").sums
    found = nystrom_sums(X, B, kernel, weights, landmarks=landmarks)
    error = np.abs(found.sums - exact)
    assert (error <= found.bound).all()
    assert found.level == 1.0
    norm = np.sqrt(weights[:, 0] @ block(B, B, kernel) @ weights[:, 0])
    sharper = nystrom_sums(X, B, kernel, w, landmarks=landmarks, norm=norm)
    np.testing.assert_allclose(sharper.sums, found.sums[:, 0], rtol=0, atol=1e-12)
    assert (np.abs(sharper.sums - exact[:, 0]) <= sharper.bound).all()
    assert (sharper.bound <= found.bound[:, 0] + 1e-15).all()


def test_nystrom_gets_better_with_landmarks(two_laws: tuple) -> None:
    X, B, w = two_laws
    exact = row_sums(X, B, Gaussian(2.0), w, precision="float64").sums
    found = [nystrom_sums(X, B, Gaussian(2.0), w, landmarks=count) for count in (10, 40, 160)]
    errors, bounds = [np.abs(f.sums - exact).max() for f in found], [f.bound.mean() for f in found]
    assert errors == sorted(errors, reverse=True)
    assert bounds == sorted(bounds, reverse=True)
    assert errors[-1] < 0.01 * np.abs(exact).max()


def test_nystrom_with_every_row_as_landmark_is_exact(two_laws: tuple) -> None:
    X, B, w = two_laws
    found = nystrom_sums(X, B, Gaussian(0.5), w, landmarks=B)
    exact = row_sums(X, B, Gaussian(0.5), w, precision="float64").sums
    np.testing.assert_allclose(found.sums, exact, rtol=0, atol=1e-7)
    assert found.bound.max() < 1e-6


def test_nystrom_bound_is_attained() -> None:
    """One row far from a landmark that it does not resemble: the whole sum is lost, and the bound says so."""
    found = nystrom_sums([[0.0]], [[0.0]], Gaussian(1.0), landmarks=[[50.0]])
    assert found.sums[0] == pytest.approx(0.0, abs=1e-12)
    assert found.bound[0] == pytest.approx(1.0)


def test_nystrom_within_classes(two_laws: tuple) -> None:
    X = np.column_stack([two_laws[0], np.arange(900) % 2])
    kernel = Product(Gaussian(2.0), SameLabel())
    found = nystrom_sums(X, X, kernel, landmarks=100)
    assert (np.abs(found.sums - row_sums(X, X, kernel, precision="float64").sums) <= found.bound).all()


def test_nystrom_landmarks_are_seeded(two_laws: tuple) -> None:
    X, B, w = two_laws
    one, two, other = (nystrom_sums(X, B, Gaussian(2.0), w, landmarks=9, random_state=s).sums for s in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 0


def test_nystrom_of_duplicates() -> None:
    X = np.ones((50, 2))
    found = nystrom_sums(X, X, Gaussian(1.0), landmarks=20)
    np.testing.assert_allclose(found.sums, 50.0, rtol=1e-7)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_fourier_errors_stay_within_their_bounds(kernel: Gaussian, two_laws: tuple) -> None:
    X, B, w = two_laws
    weights = np.column_stack([w, np.ones(len(B))])
    exact = row_sums(X, B, kernel, weights, precision="float64").sums
    found = fourier_sums(X, B, kernel, weights, features=2000)
    error = np.abs(found.sums - exact)
    assert (error <= found.bound).all()
    assert found.std_errors is not None
    # The mean square over rows of errors divided by standard errors is about one, with few effective rows.
    assert 0.3 < np.sqrt(np.mean((error / found.std_errors) ** 2, axis=0)).min() < 3
    norm = np.sqrt(w @ block(B, B, kernel) @ w)
    assert np.sqrt(np.mean(error[:, 0] ** 2)) < 2 * norm / np.sqrt(2000)


def test_fourier_standard_errors_are_those_of_repetition(two_laws: tuple) -> None:
    X, B, w = two_laws
    width = median_bandwidth(X)
    runs = [fourier_sums(X[:20], B, Gaussian(width), w, features=50, random_state=s) for s in range(200)]
    spread = np.std([run.sums for run in runs], axis=0)
    stated = np.sqrt(np.mean([run.std_errors**2 for run in runs if run.std_errors is not None], axis=0))
    np.testing.assert_allclose(stated / spread, 1.0, atol=0.2)
    exact = row_sums(X[:20], B, Gaussian(width), w, precision="float64").sums
    np.testing.assert_allclose(np.mean([run.sums for run in runs], axis=0), exact, atol=5 * spread.max() / 200**0.5)


def test_refused() -> None:
    X = np.zeros((5, 2))
    with pytest.raises(InputError, match="positive definite"):
        nystrom_sums(X, X, Energy())
    with pytest.raises(InputError, match="positive definite"):
        fourier_sums(X, X, Energy())
    with pytest.raises(InputError, match="distance alone"):
        fourier_sums(X, X, Product(Gaussian(), SameLabel()))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="`landmarks` must be a whole number"):
        nystrom_sums(X, X, Gaussian(), landmarks=0)
    with pytest.raises(InputError, match="`landmarks` must be rows of 2 columns"):
        nystrom_sums(X, X, Gaussian(), landmarks=np.zeros((3, 1)))
    with pytest.raises(InputError, match="`norm` must be"):
        nystrom_sums(X, X, Gaussian(), norm=-1.0)
    with pytest.raises(InputError, match="`features`"):
        fourier_sums(X, X, Gaussian(), features=1)
    with pytest.raises(InputError, match="`level`"):
        fourier_sums(X, X, Gaussian(), level=1.0)
    with pytest.raises(InputError, match="same columns"):
        nystrom_sums(X, np.zeros((5, 3)), Gaussian())
