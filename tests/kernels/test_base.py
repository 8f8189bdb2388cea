"""Kernels as values, their slopes and their spectral laws."""

from __future__ import annotations

import math
import pickle

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
    median_bandwidth,
)

SMOOTH = [
    Gaussian(0.7),
    GaussianMixture((0.5, 1.0, 3.0)),
    Matern(0.7),
    Matern(0.7, smoothness=2.5),
    InverseMultiquadric(0.7),
]


@pytest.mark.parametrize("kernel", [*SMOOTH, Laplace(2.0), Energy(), Product(Gaussian(), SameLabel())], ids=str)
def test_kernels_are_values(kernel: object) -> None:
    assert kernel == pickle.loads(pickle.dumps(kernel))
    assert hash(kernel) == hash(pickle.loads(pickle.dumps(kernel)))
    with pytest.raises(AttributeError):
        kernel.bandwidth = 2.0  # type: ignore[attr-defined]


@pytest.mark.parametrize("bandwidth", [0, 0.0, -1.0, math.nan, math.inf, "median", True, None])
@pytest.mark.parametrize("kind", [Gaussian, Laplace, Matern, InverseMultiquadric, lambda b: GaussianMixture((1.0, b))])
def test_a_bandwidth_is_a_positive_number(kind: type, bandwidth: object) -> None:
    with pytest.raises(InputError, match=r"bandwidths?` must be a finite number above 0.*median_bandwidth"):
        kind(bandwidth)


def test_other_arguments_are_checked() -> None:
    with pytest.raises(InputError, match=r"`smoothness` must be 1.5 or 2.5"):
        Matern(1.0, smoothness=0.5)
    with pytest.raises(InputError, match="one number per bandwidth"):
        GaussianMixture((1.0, 2.0), (1.0,))
    with pytest.raises(InputError, match="at least one"):
        GaussianMixture(())
    with pytest.raises(InputError, match="`labels` must be"):
        Product(Gaussian(), "class")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="`features` must be"):
        Product(SameLabel(), SameLabel())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="`columns` must be"):
        Product(Gaussian(), SameLabel(), columns=0)


@pytest.mark.parametrize("kernel", SMOOTH, ids=str)
def test_slope_bounds_the_derivative(kernel: Gaussian) -> None:
    """Against differences of the kernel itself in the exponent q = scale r²; sharp somewhere, never below."""
    q = np.geomspace(1e-3, 60, 400)
    at = lambda q: kernel.at(np.sqrt(q / kernel.scale))  # noqa: E731
    step = 1e-4 * q
    derivative = (at(q - step) - at(q + step)) / (2 * step)
    bound = kernel.slope(q)
    assert (derivative <= bound * (1 + 1e-7) + 1e-8).all()
    assert (np.diff(bound) <= 0).all()
    np.testing.assert_allclose(derivative, bound, rtol=1e-3, atol=1e-8)
    assert kernel.steepest == pytest.approx(float(kernel.slope(np.zeros(1))[0]))


@pytest.mark.parametrize("kernel", [*SMOOTH, Laplace(0.7)], ids=str)
def test_frequencies_come_from_the_spectral_law(kernel: Gaussian) -> None:
    """Bochner: E cos(ω'(x - y)) = k(x, y); 200,000 draws, five standard errors."""
    omega = kernel.frequencies(np.random.default_rng(0), 200_000, 3)
    assert omega.shape == (200_000, 3)
    for r in (0.2, 1.0, 3.0):
        found = np.cos(omega @ (r * np.array([0.6, 0.0, 0.8])))
        assert found.mean() == pytest.approx(float(kernel.at(r)), abs=5 * found.std() / np.sqrt(len(found)))


def test_energy_has_no_frequencies() -> None:
    with pytest.raises(InputError, match="positive definite"):
        Energy().frequencies(np.random.default_rng(0), 10, 2)


def test_median_bandwidth_of_few_rows_is_exact() -> None:
    X = np.random.default_rng(1).standard_normal((40, 3))
    every = [np.linalg.norm(X[i] - X[j]) for i in range(40) for j in range(i)]
    assert median_bandwidth(X) == pytest.approx(np.median(every), rel=1e-12)


def test_median_bandwidth_of_many_rows_is_close_and_seeded() -> None:
    X = np.random.default_rng(1).standard_normal((3000, 8))
    assert median_bandwidth(X) == median_bandwidth(X)
    assert median_bandwidth(X, random_state=1) != median_bandwidth(X)
    assert median_bandwidth(X) == pytest.approx(math.sqrt(2 * 7.344), rel=0.02)  # median of chi-squared with 8 df


def test_median_bandwidth_leaves_duplicates_out() -> None:
    X = np.repeat([[0.0], [3.0]], [50, 2], axis=0)
    assert median_bandwidth(X) == 3.0
    assert median_bandwidth(np.zeros((5, 2))) == 1.0
    assert median_bandwidth(np.array([[0.0], [1e-200]])) == 1e-200


def test_median_bandwidth_refuses_what_it_cannot_use() -> None:
    with pytest.raises(InputError, match="n at least 2"):
        median_bandwidth([[1.0]])
    with pytest.raises(InputError, match="missing or infinite"):
        median_bandwidth([[1.0], [math.nan]])
    with pytest.raises(InputError, match="`pairs`"):
        median_bandwidth([[1.0], [2.0]], pairs=0)
