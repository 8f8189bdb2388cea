"""Sums against kernels written down a second time, one pair of rows at a time, in plain Python floats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from causalif.kernels import (
    Energy,
    Gaussian,
    GaussianMixture,
    InverseMultiquadric,
    Kernel,
    Laplace,
    Matern,
    Product,
    SameLabel,
    block,
    row_sums,
    row_sums_both,
)

Row = Sequence[float]


def distance(x: Row, y: Row) -> float:
    return math.dist(x, y)


def gaussian(x: Row, y: Row, width: float) -> float:
    return math.exp(-(distance(x, y) ** 2) / (2 * width * width))


def matern32(x: Row, y: Row, width: float) -> float:
    t = math.sqrt(3) * distance(x, y) / width
    return (1 + t) * math.exp(-t)


def matern52(x: Row, y: Row, width: float) -> float:
    r = distance(x, y)
    return (1 + math.sqrt(5) * r / width + 5 * r * r / (3 * width * width)) * math.exp(-math.sqrt(5) * r / width)


# Each kernel of the package beside its definition.
PAIRS: dict[str, tuple[Kernel, Callable[[Row, Row], float]]] = {
    "gaussian": (Gaussian(1.3), lambda x, y: gaussian(x, y, 1.3)),
    "mixture": (
        GaussianMixture((0.7, 1.4, 1.4 * math.sqrt(2), 5.0), (1.0, 2.0, 0.5, 1.5)),
        lambda x, y: (
            (
                gaussian(x, y, 0.7)
                + 2 * gaussian(x, y, 1.4)
                + 0.5 * gaussian(x, y, 1.4 * math.sqrt(2))
                + 1.5 * gaussian(x, y, 5.0)
            )
            / 5
        ),
    ),
    "laplace": (Laplace(1.7), lambda x, y: math.exp(-distance(x, y) / 1.7)),
    "matern32": (Matern(1.1), lambda x, y: matern32(x, y, 1.1)),
    "matern52": (Matern(1.1, smoothness=2.5), lambda x, y: matern52(x, y, 1.1)),
    "multiquadric": (InverseMultiquadric(0.9), lambda x, y: 1 / math.sqrt(1 + (distance(x, y) / 0.9) ** 2)),
    "energy": (Energy(), lambda x, y: -distance(x, y)),
    "gaussian x gaussian": (
        Product(Gaussian(1.3), Gaussian(0.4)),
        lambda x, y: gaussian(x[:-1], y[:-1], 1.3) * gaussian(x[-1:], y[-1:], 0.4),
    ),
    "matern x laplace": (
        Product(Matern(1.1), Laplace(0.8)),
        lambda x, y: matern32(x[:-1], y[:-1], 1.1) * math.exp(-distance(x[-1:], y[-1:]) / 0.8),
    ),
    "matern x gaussian": (
        Product(Matern(1.1), Gaussian(0.8)),
        lambda x, y: matern32(x[:-1], y[:-1], 1.1) * gaussian(x[-1:], y[-1:], 0.8),
    ),
    "gaussian x class": (
        Product(Gaussian(1.3), SameLabel()),
        lambda x, y: gaussian(x[:-1], y[:-1], 1.3) if x[-1] == y[-1] else 0.0,
    ),
    "laplace x two classes": (
        Product(Laplace(1.3), SameLabel(), columns=2),
        lambda x, y: math.exp(-distance(x[:-2], y[:-2]) / 1.3) if list(x[-2:]) == list(y[-2:]) else 0.0,
    ),
}


def matrix(name: str, A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """The kernel matrix by a double loop."""
    written = PAIRS[name][1]
    return np.array([[written(x, y) for y in B.tolist()] for x in A.tolist()]).reshape(len(A), len(B))


def rows(n: int, d: int, seed: int) -> np.ndarray:
    """Standard normal features, the last column a class 0, 1, 2."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.standard_normal((n, d)), rng.integers(3, size=n)])


# In float32, means of kernel values are promised to this.
PROMISED = 2e-7
NAMES = sorted(PAIRS)


def tolerance(precision: str) -> float:
    return PROMISED if precision == "float32" else 1e-12


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_sums_equal_a_double_loop(name: str, precision: str) -> None:
    A, B = rows(37, 3, 0), rows(23, 3, 1)
    kernel, K = PAIRS[name][0], matrix(name, A, B)
    rng = np.random.default_rng(2)
    w, v = rng.standard_normal((23, 2)), rng.standard_normal(37)
    near = {"rtol": 0, "atol": tolerance(precision) * 23}
    np.testing.assert_allclose(row_sums(A, B, kernel, precision=precision).sums, K.sum(axis=1), **near)
    np.testing.assert_allclose(row_sums(A, B, kernel, w, precision=precision).sums, K @ w, **near)
    across, along = row_sums_both(A, B, kernel, weights_a=v, weights_b=w, precision=precision)
    np.testing.assert_allclose(across, K @ w, **near)
    np.testing.assert_allclose(along, K.T @ v, rtol=0, atol=tolerance(precision) * 37)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_symmetric_sums_leave_the_diagonal_out(name: str, precision: str) -> None:
    A = rows(37, 3, 0)
    A[5] = A[11]
    kernel, K = PAIRS[name][0], matrix(name, A, A)
    diagonal, w = np.diag(K).copy(), np.random.default_rng(2).standard_normal(37)
    near = {"rtol": 0, "atol": tolerance(precision) * 37}
    plain = row_sums(A, None, kernel, symmetric=True, precision=precision)
    np.testing.assert_allclose(plain.sums, K.sum(axis=1) - diagonal, **near)
    np.testing.assert_allclose(plain.diagonal, diagonal, rtol=0, atol=1e-15)
    weighted = row_sums(A, A, kernel, w, symmetric=True, precision=precision)
    np.testing.assert_allclose(weighted.sums, K @ w - diagonal * w, **near)
    np.testing.assert_allclose(weighted.total, K @ w, **near)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_rows_very_far_out_leave_the_other_sums_alone(name: str, precision: str) -> None:
    """The squared norms of such a row cancel nothing to within its distances, not even to itself or to its copy."""
    for seed in range(10):
        A = rows(60, 3, seed)
        A[7] *= 1e10
        A[9], A[11] = A[7], -A[7]
        kernel, K = PAIRS[name][0], matrix(name, A, A)
        off = K.sum(axis=1) - np.diag(K)
        found = row_sums(A, None, kernel, symmetric=True, precision=precision)
        np.testing.assert_allclose(found.sums, off, rtol=1e-12, atol=tolerance(precision) * 60)
        twice = row_sums(A, A.copy(), kernel, precision=precision)
        np.testing.assert_allclose(twice.sums, K.sum(axis=1), rtol=1e-12, atol=tolerance(precision) * 60)


@pytest.mark.parametrize("name", NAMES)
def test_block_equals_a_double_loop(name: str) -> None:
    A, B = rows(19, 3, 0), rows(13, 3, 1)
    kernel = PAIRS[name][0]
    np.testing.assert_allclose(block(A, B, kernel), matrix(name, A, B), rtol=0, atol=1e-13)
    own = block(A, A, kernel)
    np.testing.assert_allclose(own, matrix(name, A, A), rtol=0, atol=1e-13)
    np.testing.assert_array_equal(own, own.T)
    np.testing.assert_array_equal(np.diag(own), kernel.at_zero)
