"""How far the estimate moves when some learners are exchanged, from the stored parts of every row's score.

With F and M right the estimate does not depend on H; with H right it depends neither on F nor on M. How far it moves
all the same is the risk of the tuple.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._validate import Array

Criterion: TypeAlias = Literal["mixed-minimax", "minimax"]
Parts: TypeAlias = tuple[Array, Array, Array]
Noise: TypeAlias = tuple[Array, Array]


def score_means(parts: Parts, weights: Array) -> Array:
    """Return the weighted mean of φ over rows for every tuple, shape (K, L, H), by products of matrices."""
    lever, (r_a, shift), (beta, rho, e) = parts[0], np.moveaxis(parts[1], 2, 0), np.moveaxis(parts[2], 2, 0)
    means = np.empty((lever.shape[1], r_a.shape[1], beta.shape[1]))
    for k in range(len(means)):
        w = (weights * lever[:, k])[:, None] / shift
        means[k] = weights @ beta + (w * r_a).T @ e - w.T @ rho
    return means


def score_noise(parts: Parts, weights: Array, clusters: npt.NDArray[np.generic] | None = None) -> Noise:
    """Return variances of differences of means of φ: along H (K, L, H, H), along F and M (H, K·L, K·L)."""
    (n, K), L, (beta, rho, e) = parts[0].shape, parts[1].shape[1], np.moveaxis(parts[2], 2, 0)
    ratio = (parts[0][:, :, None] / parts[1][:, None, :, 1]).reshape(n, K * L)
    r_a = np.tile(parts[1][:, :, 0], K)
    codes = None if clusters is None else pd.factorize(clusters)[0]
    along_h = (beta + ratio[:, [t]] * (r_a[:, [t]] * e - rho) for t in range(K * L))
    along_fm = (beta[:, [h]] + ratio * (r_a * e[:, [h]] - rho[:, [h]]) for h in range(beta.shape[1]))
    one = np.array([_difference_variances(phi, weights, codes) for phi in along_h])
    other = np.array([_difference_variances(phi, weights, codes) for phi in along_fm])
    return one.reshape(K, L, *one.shape[1:]), other


def _difference_variances(phi: Array, weights: Array, codes: npt.NDArray[np.intp] | None) -> Array:
    centred = (phi - weights @ phi) * weights[:, None]
    if codes is not None:
        rows, centred = centred, np.zeros((codes.max() + 1, phi.shape[1]))
        np.add.at(centred, codes, rows)
    gram = centred.T @ centred
    return np.asarray(gram.diagonal()[:, None] + gram.diagonal() - 2 * gram)


def perturbation_risk(psi: Array, noise: Noise | None = None) -> tuple[Array, Array]:
    r"""Return how far the estimate moves when the other blocks are exchanged.

    .. math:: B_1(k, l) = \max_{h_1, h_2} \frac1S \sum_s (\psi_{sklh_1} - \psi_{sklh_2})^2, \qquad
        B_2(h) = \max_{(k_1, l_1), (k_2, l_2)} \frac1S \sum_s (\psi_{sk_1l_1h} - \psi_{sk_2l_2h})^2

    Parameters
    ----------
    psi : ndarray of shape (S, K, L, H)
        Held-out means of the score in every split, for every candidate of F, M and H.
    noise : pair of ndarrays of shapes (K, L, H, H) and (H, K·L, K·L), optional
        Sampling variances of the differences, subtracted from their squares; what is left is at least 0.

    Returns
    -------
    B1 : ndarray of shape (K, L)
        Largest mean square over pairs of candidates of H.
    B2 : ndarray of shape (H,)
        Largest mean square over pairs of candidates of (F, M).

    Examples
    --------
    >>> B1, B2 = perturbation_risk(np.array([[[[1.0, 1.0]], [[1.0, 3.0]]]]))  # S = 1, K = 2, L = 1, H = 2
    >>> B1.ravel(), B2
    (array([0., 4.]), array([0., 4.]))
    """
    S, K, L, H = psi.shape
    along_h, along_fm = (0.0, 0.0) if noise is None else noise
    return _largest_gaps(psi, along_h), _largest_gaps(psi.reshape(S, K * L, H).swapaxes(1, 2), along_fm)


def _largest_gaps(psi: Array, noise: Array | float) -> Array:
    """Return the largest mean square over splits of a difference between two entries of the last axis."""
    gaps = np.zeros((*psi.shape[1:], psi.shape[-1]))
    for split in psi:
        gaps += (split[..., :, None] - split[..., None, :]) ** 2 / len(psi)
    return np.asarray(np.maximum(gaps - noise, 0.0).max(axis=(-2, -1)))


@dataclass(frozen=True, eq=False)
class Splits:
    """Held-out means of the score in every split (S, K, L, H), and the sampling noise of their differences."""

    psi: Array
    noise: Noise | None = None

    @classmethod
    def pooled(cls, parts: Sequence[Splits]) -> Splits:
        """Return all splits together, with the average noise of each."""
        noises = [part.noise for part in parts if part.noise is not None]
        noise = tuple(np.mean(same, axis=0) for same in zip(*noises, strict=True))
        return cls(np.concatenate([part.psi for part in parts]), (noise[0], noise[1]) if noise else None)

    def risks(self, criterion: Criterion) -> tuple[Array, Array, Array]:
        """Return B1, B2 and the risk of every tuple, in the order of `Candidates.tuples`."""
        one, other = perturbation_risk(self.psi, self.noise)
        b1, b2 = (np.ravel(part) for part in np.broadcast_arrays(one[:, :, None], other))
        return b1, b2, b1 + b2 if criterion == "mixed-minimax" else np.maximum(b1, b2)
