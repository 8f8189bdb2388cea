"""Kernels and their sums: one primitive behind data valuation, discrepancies between laws and their derivatives.

Everything is built on `row_sums`, which never stores a kernel matrix.
"""

from __future__ import annotations

from causalif.kernels.bandwidth import median_bandwidth
from causalif.kernels.base import (
    Energy,
    Gaussian,
    GaussianMixture,
    InverseMultiquadric,
    Kernel,
    Laplace,
    Matern,
    Product,
    RadialKernel,
    SameLabel,
)
from causalif.kernels.reduce import BothSums, RowSums, block, row_sums, row_sums_both

__all__ = [
    "BothSums",
    "Energy",
    "Gaussian",
    "GaussianMixture",
    "InverseMultiquadric",
    "Kernel",
    "Laplace",
    "Matern",
    "Product",
    "RadialKernel",
    "RowSums",
    "SameLabel",
    "block",
    "median_bandwidth",
    "row_sums",
    "row_sums_both",
]
