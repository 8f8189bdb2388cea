"""The kernel that a configuration asks for, with its bandwidth read off the reference; and what is odd about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from causalif._errors import DataWarning, InputError, tell
from causalif._validate import one_of
from causalif.kernels import (
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
    median_bandwidth,
)
from causalif.valuation.features import to_numpy
from causalif.valuation.influence import Sums
from causalif.valuation.labels import LabelCoding

Rows: TypeAlias = npt.NDArray[Any]

_NAMED: dict[str, Callable[[float], RadialKernel]] = {
    "gaussian": Gaussian,
    "laplace": Laplace,
    "matern": Matern,
    "inverse_multiquadric": InverseMultiquadric,
}
_FAR, _NEAR = 1e-3, 0.99
_FIRST_COLUMNS = 8


def choose_kernel(kernel: Any, bandwidth: Any, reference: Any, random_state: Any) -> RadialKernel:
    """Return the kernel of the features."""
    if isinstance(kernel, RadialKernel):
        return kernel
    one_of("kernel", kernel, (*_NAMED, "energy"))
    if kernel == "energy":
        return Energy()
    widths = _widths(bandwidth, reference, random_state)
    if len(widths) == 1:
        return _NAMED[kernel](widths[0])
    if kernel != "gaussian":
        raise InputError(f'Several bandwidths make a mixture of Gaussians and need kernel="gaussian". Got {kernel!r}.')
    return GaussianMixture(tuple(widths))


def joint_kernel(kernel: RadialKernel, coding: LabelCoding, codes: npt.NDArray[Any], random_state: Any) -> Product:
    """Return the kernel of features and label together."""
    if not kernel.positive_definite:
        raise InputError(f'label_model="joint" needs a positive definite kernel. Got {kernel!r}; take "gaussian".')
    if coding.kind == "classes":
        return Product(kernel, SameLabel())
    return Product(kernel, Gaussian(median_bandwidth(codes[:, None], random_state=random_state)))


def _widths(bandwidth: Any, reference: Any, random_state: Any) -> list[float]:
    if isinstance(bandwidth, (int, float, np.integer, np.floating)) and not isinstance(bandwidth, bool):
        return [_positive(bandwidth)]
    if isinstance(bandwidth, str) and bandwidth == "median":
        return [_median(reference, random_state)]
    if isinstance(bandwidth, tuple) and len(bandwidth) == 2 and bandwidth[0] == "median":
        return [_positive(bandwidth[1]) * _median(reference, random_state)]
    if isinstance(bandwidth, Sequence) and not isinstance(bandwidth, str) and bandwidth:
        return [_positive(width) for width in bandwidth]
    raise InputError(
        '`bandwidth` must be "median", ("median", factor), a number above 0, or a list of such numbers. '
        f"Got {bandwidth!r} instead."
    )


def _positive(value: Any) -> float:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not 0 < float(value) < np.inf:
        raise InputError(f"`bandwidth` must hold finite numbers above 0. Got {value!r} instead.")
    return float(value)


def _median(reference: Any, random_state: Any) -> float:
    if len(reference) < 2:
        raise InputError(
            'bandwidth="median" is the median distance between reference rows and needs at least two. Got one; give a '
            "number instead."
        )
    return median_bandwidth(to_numpy(reference), random_state=random_state)


def tell_extreme(kernel: Kernel, sums: Sums) -> None:
    """Warn if all rows look alike to the kernel, or all look strange: no value then says much."""
    if not kernel.positive_definite or len(sums.weights) < 2:
        return
    pairs = sums.mass**2 - float(sums.weights @ sums.weights)
    level = float(sums.weights @ sums.within) / pairs
    if isinstance(kernel, Product) or _FAR <= level <= _NEAR:
        return
    advice = "larger" if level < _FAR else "smaller"
    tell(
        f"The kernel between different rows of `train` is {level:.2g} on average, so all rows look "
        f'{"unrelated" if level < _FAR else "the same"} to it and values say little. Standardise (scale="reference") '
        f"or take a {advice} bandwidth.",
        DataWarning,
    )


def tell_overlap(train: Any, reference: Any, codes: Any, reference_codes: Any) -> None:
    """Warn of train rows that are copies of reference rows."""
    copies = _copies(to_numpy(train), to_numpy(reference), codes, reference_codes)
    if copies:
        tell(
            f"{copies:,} of {len(train):,} rows of `train` are exact copies of reference rows, which makes them look "
            "more valuable than they are. Take them out of one of the two, unless features are so coarse that copies "
            "are natural.",
            DataWarning,
        )


def _copies(train: Rows, reference: Rows, codes: Any, reference_codes: Any) -> int:
    """Count the train rows that are reference rows; only those that share the first columns are looked at whole."""
    first = slice(0, _FIRST_COLUMNS)
    alike = np.isin(_hashes(train[:, first], None), _hashes(reference[:, first], None))
    own = None if codes is None else codes[alike]
    return int(np.isin(_hashes(train[alike], own), _hashes(reference, reference_codes)).sum()) if alike.any() else 0


def _hashes(plain: Rows, codes: Any) -> npt.NDArray[np.uint64]:
    """One 64-bit number per row, equal for equal rows."""
    wide = np.uint64 if plain.dtype == np.float64 else np.uint32
    drawn = np.random.default_rng(0).integers(2**63, size=plain.shape[1] + 1, dtype=np.uint64)
    odd = drawn * np.uint64(2) + np.uint64(1)
    out = np.empty(len(plain), dtype=np.uint64)
    for start in range(0, len(plain), 512):
        part = slice(start, start + 512)
        bits = np.ascontiguousarray(plain[part] + plain.dtype.type(0)).view(wide).astype(np.uint64)
        # Multiplying moves low bits up only; the product with its high half folded back mixes both.
        mixed = bits * odd[:-1]
        mixed ^= mixed >> np.uint64(31)
        out[part] = (mixed * odd[:-1]).sum(axis=1)
        if codes is not None:
            out[part] += np.ascontiguousarray(codes[part] + 0.0).view(np.uint64) * odd[-1]
    return out
