"""Kernels as frozen values: what they are at a distance, how fast they change, where their frequencies live."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from causalif._errors import InputError
from causalif._validate import Array

Tile: TypeAlias = Any  # a numpy array or a torch tensor; `xp` below is the matching set of functions

LOG2E = math.log2(math.e)


def _positive(name: str, value: object) -> None:
    """Raise unless ``value`` is a finite number above zero."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not 0 < float(value) < math.inf:  # type: ignore[arg-type]
        raise InputError(
            f"`{name}` must be a finite number above 0, in the units of the features. Got {value!r} instead; "
            "`median_bandwidth(X)` suggests one."
        )


class RadialKernel(ABC):
    """A kernel that depends on the distance alone, ``k(x, y) = f(-scale |x - y|²)``.

    Notes
    -----
    The argument of f is called the exponent: it is what one matrix product of augmented rows gives, and for the
    Gaussian kernel its power of two is the kernel itself.

    Examples
    --------
    >>> import numpy as np
    >>> from causalif.kernels import Gaussian
    >>> kernel, e = Gaussian(1.0), np.array([0.0, -2.0])
    >>> kernel.profile(np, e, [])
    >>> e.tolist(), kernel.slope(np.array([0.0])).round(4).tolist()
    ([1.0, 0.25], [0.6931])
    >>> kernel.frequencies(np.random.default_rng(0), count=5, d=2).shape
    (5, 2)
    """

    at_zero: ClassVar[float] = 1.0
    positive_definite: ClassVar[bool] = True
    # Not Lipschitz in the squared distance: near duplicates need squared distances to more digits than float32 has.
    rough: ClassVar[bool] = False
    buffers: ClassVar[int] = 0

    @property
    @abstractmethod
    def scale(self) -> float:
        """What squared distances are multiplied with."""

    @abstractmethod
    def profile(self, xp: Any, e: Tile, work: Sequence[Tile]) -> None:
        """Turn exponents into kernel values in place.

        Parameters
        ----------
        xp : module
            numpy or torch.
        e : array or tensor
            Exponents, overwritten.
        work : sequence of arrays or tensors
            `buffers` tiles of the same shape, to compute in.
        """

    @abstractmethod
    def slope(self, q: Array) -> Array:
        """Largest derivative of f at exponents of -q and below; infinite for a kernel with a kink.

        Parameters
        ----------
        q : array, at least 0
            Minus the exponents.

        Returns
        -------
        array of the same shape
        """

    @property
    def steepest(self) -> float:
        """Largest derivative of f."""
        return float(self.slope(np.zeros(1))[0])

    @abstractmethod
    def frequencies(self, rng: np.random.Generator, count: int, d: int) -> Array:
        """Draw frequencies from the spectral law of the kernel.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of randomness.
        count : int
            How many.
        d : int
            Their dimension.

        Returns
        -------
        array of shape (count, d)
        """

    def at(self, distance: npt.ArrayLike) -> Array:
        """Return the kernel at a distance, in float64.

        Parameters
        ----------
        distance : float or array, at least 0
            Euclidean distances.

        Returns
        -------
        ndarray of the same shape
            k at these distances.

        Examples
        --------
        >>> from causalif.kernels import Gaussian
        >>> Gaussian(2.0).at([0.0, 2.0]).round(4).tolist()
        [1.0, 0.6065]
        """
        r = np.asarray(distance, dtype=np.float64)
        e = np.atleast_1d(-self.scale * r * r)
        self.profile(np, e, [np.empty_like(e) for _ in range(self.buffers)])
        return e.reshape(r.shape)


@dataclass(frozen=True)
class Gaussian(RadialKernel):
    """Gaussian kernel, ``exp(-|x - y|² / (2 σ²))``.

    Parameters
    ----------
    bandwidth : float, default 1, above 0
        σ, in the units of the features.

    Raises
    ------
    InputError
        If the bandwidth is not a finite number above zero.

    Examples
    --------
    >>> from causalif.kernels import Gaussian
    >>> Gaussian(1.5)
    Gaussian(bandwidth=1.5)
    """

    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        _positive("bandwidth", self.bandwidth)

    @property
    def scale(self) -> float:
        """log2(e) / (2 σ²)."""
        return LOG2E / (2 * self.bandwidth**2)

    def profile(self, xp: Any, e: Tile, work: Sequence[Tile]) -> None:
        """2^e."""
        xp.exp2(e, out=e)

    def slope(self, q: Array) -> Array:
        """log(2) 2^-q."""
        return np.asarray(math.log(2) * np.exp2(-q))

    def frequencies(self, rng: np.random.Generator, count: int, d: int) -> Array:
        """Normal with standard deviation 1/σ."""
        return rng.standard_normal((count, d)) / self.bandwidth


@dataclass(frozen=True)
class GaussianMixture(RadialKernel):
    """Weighted mean of Gaussian kernels, ``Σ_b w_b exp(-|x - y|² / (2 σ_b²)) / Σ_b w_b``.

    Parameters
    ----------
    bandwidths : tuple of float, above 0
        σ_b. Ratios of 2 or √2 between neighbours cost a squaring in place of an exponential.
    weights : tuple of float, optional, above 0
        w_b, one per bandwidth; equal by default.

    Raises
    ------
    InputError
        If a bandwidth or a weight is not a finite number above zero, or their numbers differ.

    Examples
    --------
    >>> from causalif.kernels import GaussianMixture
    >>> GaussianMixture((1.0, 2.0)).at(1.0).round(4).item()
    0.7445
    """

    bandwidths: tuple[float, ...]
    weights: tuple[float, ...] | None = None
    buffers: ClassVar[int] = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "bandwidths", tuple(self.bandwidths))
        for value in self.bandwidths:
            _positive("bandwidths", value)
        if not self.bandwidths:
            raise InputError("`bandwidths` must hold at least one number. Got none.")
        if self.weights is None:
            return
        object.__setattr__(self, "weights", tuple(self.weights))
        if len(self.weights) != len(self.bandwidths):
            found = f"{len(self.weights)} weights for {len(self.bandwidths)} bandwidths"
            raise InputError(f"`weights` must have one number per bandwidth. Got {found}.")
        for value in self.weights:
            _positive("weights", value)

    @property
    def scale(self) -> float:
        """log2(e) / (2 σ²) of the widest."""
        return LOG2E / (2 * max(self.bandwidths) ** 2)

    @property
    def parts(self) -> list[tuple[float, float]]:
        """Pairs (σ_max² / σ_b², share of the weight), widest first."""
        weights = self.weights or (1.0,) * len(self.bandwidths)
        widest, total = max(self.bandwidths), sum(weights)
        return sorted(((widest / b) ** 2, w / total) for b, w in zip(self.bandwidths, weights, strict=True))

    def profile(self, xp: Any, e: Tile, work: Sequence[Tile]) -> None:
        """Σ_b w_b 2^(r_b e), by squaring the previous power where r_b is two or four times the previous ratio."""
        total, power, term = work
        before = None
        for ratio, share in self.parts:
            squarings = {2.0: 1, 4.0: 2}.get(round(ratio / before, 12), 0) if before else 0
            for _ in range(squarings):
                xp.square(power, out=power)
            if not squarings:
                xp.multiply(e, ratio, out=power)
                xp.exp2(power, out=power)
            xp.multiply(power, share, out=term if before else total)
            if before:
                xp.add(total, term, out=total)
            before = ratio
        xp.multiply(total, 1.0, out=e)

    def slope(self, q: Array) -> Array:
        """Σ_b w_b r_b log(2) 2^(-r_b q)."""
        parts = [share * ratio * math.log(2) * np.exp2(-ratio * q) for ratio, share in self.parts]
        return np.asarray(np.sum(parts, axis=0))

    def frequencies(self, rng: np.random.Generator, count: int, d: int) -> Array:
        """Normal, its standard deviation drawn among 1/σ_b."""
        weights = np.array(self.weights or (1.0,) * len(self.bandwidths))
        chosen = rng.choice(np.array(self.bandwidths), size=count, p=weights / weights.sum())
        return rng.standard_normal((count, d)) / chosen[:, None]


@dataclass(frozen=True)
class Laplace(RadialKernel):
    """Laplace kernel, ``exp(-|x - y| / σ)``, with the Euclidean norm.

    Parameters
    ----------
    bandwidth : float, default 1, above 0
        σ, in the units of the features.

    Raises
    ------
    InputError
        If the bandwidth is not a finite number above zero.

    Notes
    -----
    It has a kink at zero distance, so it is always evaluated in float64.

    Examples
    --------
    >>> from causalif.kernels import Laplace
    >>> Laplace(1.0).at(1.0).round(4).item()
    0.3679
    """

    bandwidth: float = 1.0
    rough: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _positive("bandwidth", self.bandwidth)

    @property
    def scale(self) -> float:
        """(log2(e) / σ)²."""
        return (LOG2E / self.bandwidth) ** 2

    def profile(self, xp: Any, e: Tile, work: Sequence[Tile]) -> None:
        """2^-√|e|."""
        xp.abs(e, out=e)
        xp.sqrt(e, out=e)
        xp.multiply(e, -1.0, out=e)
        xp.exp2(e, out=e)

    def slope(self, q: Array) -> Array:
        """Infinite: the kernel has a kink."""
        return np.full_like(q, np.inf)

    def frequencies(self, rng: np.random.Generator, count: int, d: int) -> Array:
        """Multivariate Cauchy with scale 1/σ."""
        return _student(rng, 1, count, d) / self.bandwidth


@dataclass(frozen=True)
class Matern(RadialKernel):
    """Matérn kernel of smoothness 3/2 or 5/2.

    ``(1 + t) exp(-t)`` with ``t = √3 |x - y| / σ``, or ``(1 + t + t²/3) exp(-t)`` with ``t = √5 |x - y| / σ``.

    Parameters
    ----------
    bandwidth : float, default 1, above 0
        σ, in the units of the features.
    smoothness : {1.5, 2.5}, default 1.5
        Half-integer smoothness; for 1/2 see `Laplace`, for infinity see `Gaussian`.

    Raises
    ------
    InputError
        If the bandwidth is not a finite number above zero, or on another smoothness.

    References
    ----------
    Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, equation 4.17.

    Examples
    --------
    >>> from causalif.kernels import Matern
    >>> Matern(1.0, smoothness=2.5).at(1.0).round(4).item()
    0.524
    """

    bandwidth: float = 1.0
    smoothness: float = 1.5
    buffers: ClassVar[int] = 1

    def __post_init__(self) -> None:
        _positive("bandwidth", self.bandwidth)
        if self.smoothness not in (1.5, 2.5):
            raise InputError(
                f"`smoothness` must be 1.5 or 2.5. Got {self.smoothness!r} instead; 0.5 is `Laplace(bandwidth)`."
            )

    @property
    def scale(self) -> float:
        """(log2(e) / σ)² times twice the smoothness."""
        return 2 * self.smoothness * (LOG2E / self.bandwidth) ** 2

    def profile(self, xp: Any, e: Tile, work: Sequence[Tile]) -> None:
        """(1 + t) 2^(-t log2 e), or with + t²/3."""
        power = work[0]
        xp.abs(e, out=e)
        xp.sqrt(e, out=e)
        xp.multiply(e, -1.0, out=power)
        xp.exp2(power, out=power)
        xp.multiply(e, 1 / LOG2E, out=e)
        if self.smoothness == 1.5:
            xp.add(e, 1.0, out=e)
            xp.multiply(e, power, out=e)
            return
        # 1 + t + t²/3 = (t + 3/2)²/3 + 1/4
        xp.add(e, 1.5, out=e)
        xp.square(e, out=e)
        xp.multiply(e, 1 / 3, out=e)
        xp.add(e, 0.25, out=e)
        xp.multiply(e, power, out=e)

    def slope(self, q: Array) -> Array:
        """exp(-t) / 2, or (1 + t) exp(-t) / 6, in the units of the exponent."""
        t = np.sqrt(q) / LOG2E
        return np.asarray((np.exp(-t) / 2 if self.smoothness == 1.5 else (1 + t) * np.exp(-t) / 6) / LOG2E**2)

    def frequencies(self, rng: np.random.Generator, count: int, d: int) -> Array:
        """Multivariate Student t with twice the smoothness as degrees of freedom, scale 1/σ."""
        return _student(rng, round(2 * self.smoothness), count, d) / self.bandwidth


@dataclass(frozen=True)
class InverseMultiquadric(RadialKernel):
    """Inverse multiquadric kernel, ``1 / √(1 + |x - y|² / σ²)``.

    Parameters
    ----------
    bandwidth : float, default 1, above 0
        σ, in the units of the features.

    Raises
    ------
    InputError
        If the bandwidth is not a finite number above zero.

    Examples
    --------
    >>> from causalif.kernels import InverseMultiquadric
    >>> InverseMultiquadric(1.0).at(1.0).round(4).item()
    0.7071
    """

    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        _positive("bandwidth", self.bandwidth)

    @property
    def scale(self) -> float:
        """1 / σ²."""
        return 1 / self.bandwidth**2

    def profile(self, xp: Any, e: Tile, work: Sequence[Tile]) -> None:
        """(1 - e)^(-1/2)."""
        xp.multiply(e, -1.0, out=e)
        xp.add(e, 1.0, out=e)
        xp.sqrt(e, out=e)
        xp.reciprocal(e, out=e)

    def slope(self, q: Array) -> Array:
        """(1 + q)^(-3/2) / 2."""
        return np.asarray(0.5 * (1 + q) ** -1.5)

    def frequencies(self, rng: np.random.Generator, count: int, d: int) -> Array:
        """Normal with variance 2 s / σ², s from a Gamma law with shape 1/2."""
        spread = np.sqrt(2 * rng.gamma(0.5, size=(count, 1)))
        return rng.standard_normal((count, d)) * spread / self.bandwidth


@dataclass(frozen=True)
class Energy(RadialKernel):
    """Kernel of the energy distance, ``-|x - y|``: no bandwidth to choose.

    Notes
    -----
    Conditionally positive definite: sums with weights that add up to zero are those of an MMD, and a discrepancy
    between two laws is half their energy distance. Features need finite first moments and comparable units. It has a
    kink at zero distance, so it is always evaluated in float64.

    References
    ----------
    Sejdinovic, Sriperumbudur, Gretton and Fukumizu (2013), Annals of Statistics 41(5), section 4.

    Examples
    --------
    >>> from causalif.kernels import Energy
    >>> Energy().at(3.0).item()
    -3.0
    """

    at_zero: ClassVar[float] = 0.0
    positive_definite: ClassVar[bool] = False
    rough: ClassVar[bool] = True

    @property
    def scale(self) -> float:
        """1: distances as they are."""
        return 1.0

    def profile(self, xp: Any, e: Tile, work: Sequence[Tile]) -> None:
        """-√|e|."""
        xp.abs(e, out=e)
        xp.sqrt(e, out=e)
        xp.multiply(e, -1.0, out=e)

    def slope(self, q: Array) -> Array:
        """Infinite: the kernel has a kink."""
        return np.full_like(q, np.inf)

    def frequencies(self, rng: np.random.Generator, count: int, d: int) -> Array:
        """Refuse: no probability law over frequencies stands behind it.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(
            "`kernel` must be positive definite to have random features. Got Energy(); use exact sums, or Laplace."
        )


def _student(rng: np.random.Generator, freedom: int, count: int, d: int) -> Array:
    """Draw from the multivariate Student t law."""
    return rng.standard_normal((count, d)) / np.sqrt(rng.chisquare(freedom, size=(count, 1)) / freedom)


@dataclass(frozen=True)
class SameLabel:
    """Kernel of class labels: one where the label columns are equal, zero elsewhere.

    Examples
    --------
    >>> from causalif.kernels import SameLabel
    >>> SameLabel()
    SameLabel()
    """

    at_zero: ClassVar[float] = 1.0
    positive_definite: ClassVar[bool] = True


@dataclass(frozen=True)
class Product:
    """Product of a kernel of the features and a kernel of the labels, k(x, x') k_y(y, y').

    Parameters
    ----------
    features : kernel
        Kernel of all columns but the last ones.
    labels : SameLabel or kernel
        Kernel of the last columns. With `SameLabel` only pairs within a class are ever evaluated.
    columns : int, default 1, at least 1
        How many of the last columns are labels. Codes of classes must be numbers.

    Raises
    ------
    InputError
        If a part is not a kernel, or on no label columns.

    Examples
    --------
    >>> import numpy as np
    >>> from causalif.kernels import Gaussian, Product, SameLabel, block
    >>> points = np.array([[0.0, 1], [1.0, 1], [0.0, 2]])
    >>> block(points, points, Product(Gaussian(1.0), SameLabel())).round(4).tolist()
    [[1.0, 0.6065, 0.0], [0.6065, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    features: RadialKernel
    labels: RadialKernel | SameLabel
    columns: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.features, RadialKernel):
            raise InputError(f"`features` must be a kernel such as Gaussian(1.0). Got {self.features!r} instead.")
        if not isinstance(self.labels, (RadialKernel, SameLabel)):
            raise InputError(
                f"`labels` must be SameLabel() or a kernel such as Gaussian(1.0). Got {self.labels!r} instead."
            )
        if isinstance(self.columns, bool) or not isinstance(self.columns, int) or self.columns < 1:
            raise InputError(f"`columns` must be a whole number of at least 1. Got {self.columns!r} instead.")

    @property
    def at_zero(self) -> float:
        """k(x, x) k_y(y, y)."""
        return self.features.at_zero * self.labels.at_zero

    @property
    def positive_definite(self) -> bool:
        """Whether both factors are."""
        return self.features.positive_definite and self.labels.positive_definite


Kernel: TypeAlias = RadialKernel | Product
