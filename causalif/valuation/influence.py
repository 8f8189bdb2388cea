"""Closed forms for the squared maximum mean discrepancy: influence, leave-one-out, group removal, witness.

Train rows x_i with weights w_i (W their sum) against reference rows r_l, M of them; k0 = k(x, x).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from causalif._validate import Array

Positions = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Sums:
    """Kernel sums from which every value follows in O(1) per row.

    Parameters
    ----------
    within : ndarray of shape (N,)
        Σ_{j≠i} w_j k(x_i, x_j).
    cross : ndarray of shape (N,)
        Σ_l k(x_i, r_l).
    weights : ndarray of shape (N,)
        w_i, above zero.
    reference_within : ndarray of shape (M,)
        Σ_{m≠l} k(r_l, r_m).
    reference_cross : ndarray of shape (M,)
        Σ_j w_j k(r_l, x_j).
    at_zero : float
        k0.
    """

    within: Array
    cross: Array
    weights: Array
    reference_within: Array
    reference_cross: Array
    at_zero: float

    @property
    def mass(self) -> float:
        """W."""
        return float(self.weights.sum())

    @property
    def m(self) -> int:
        """Number of reference rows."""
        return len(self.reference_within)

    @property
    def mean_embedding(self) -> Array:
        """Σ_j w_j k(x_i, x_j) / W, the row itself included."""
        return (self.within + self.weights * self.at_zero) / self.mass

    @property
    def gap(self) -> Array:
        """g_i, the smoothed density of the train rows minus that of the reference, at every row."""
        return self.mean_embedding - self.cross / self.m

    @property
    def gap_apart(self) -> Array:
        """u_i, the same without the row's own share."""
        rest = self.mass - self.weights
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.within / rest - self.cross / self.m

    @property
    def reference_gap(self) -> Array:
        """U of the reference rows, each left out of its own mean."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.reference_cross / self.mass - np.divide(self.reference_within, self.m - 1)

    @property
    def mean_gap(self) -> float:
        """Mean of g over the train rows."""
        return float(self.weights @ self.gap) / self.mass

    @property
    def spread(self) -> float:
        """W'Kw / W²."""
        return float(self.weights @ self.mean_embedding) / self.mass

    @property
    def reference_spread(self) -> float:
        """Mean of k over all pairs of reference rows, equal ones included."""
        return float(self.reference_within.sum() / self.m**2 + self.at_zero / self.m)

    @property
    def mmd2(self) -> float:
        """MMD², the V-statistic."""
        return self.spread - 2 * float(self.weights @ self.cross) / (self.mass * self.m) + self.reference_spread

    @property
    def mmd2_unbiased(self) -> float:
        """MMD², the U-statistic: no row is paired with itself. NaN for fewer than two rows on either side."""
        pairs = self.mass**2 - float(self.weights @ self.weights)
        if pairs <= 0 or self.m < 2:
            return float("nan")
        train = float(self.weights @ self.within) / pairs
        reference = float(self.reference_within.sum()) / (self.m * (self.m - 1))
        return train - 2 * float(self.weights @ self.cross) / (self.mass * self.m) + reference


def influence(sums: Sums) -> Array:
    """Return −d MMD²((1 − ε) Q + ε δ_x)/dε at every row: −2 (g_i − ḡ)."""
    return -2 * (sums.gap - sums.mean_gap)


def leave_one_out(sums: Sums) -> Array:
    """Return MMD²(Q without i) − MMD²(Q), exactly; it needs no row to be visited twice."""
    p = sums.weights / sums.mass
    e = _step(p)
    # |φ(x_i) − μ_Q|²
    distance = sums.at_zero - 2 * sums.mean_embedding + sums.spread
    return e * 2 * (sums.gap - sums.mean_gap) + e**2 * distance


def addition(gap: Array, own: Array, weight: Array, sums: Sums) -> Array:
    """Return MMD²(Q) − MMD²(Q with x): ``gap`` and ``own`` (Σ_j w_j k(x, x_j) / W) are those of new rows x."""
    e = weight / (sums.mass + weight)
    distance = sums.at_zero - 2 * own + sums.spread
    return -(e * 2 * (gap - sums.mean_gap) + e**2 * distance)


def group_removal(sums: Sums, rows: Positions, block: Array) -> float:
    """Return MMD²(Q without the rows) − MMD²(Q), exactly; ``block`` is the kernel matrix among the rows."""
    w, rest = sums.weights[rows], sums.mass - float(sums.weights[rows].sum())
    full = sums.mass * float(sums.weights @ sums.mean_embedding)
    full += -2 * sums.mass * float(w @ sums.mean_embedding[rows]) + float(w @ block @ w)
    cross = float(sums.weights @ sums.cross) - float(w @ sums.cross[rows])
    return full / rest**2 - 2 * cross / (rest * sums.m) + sums.reference_spread - sums.mmd2


def linear_influence(residuals: Array, weights: Array) -> Array:
    """Return the influence on −Σ w_i ρ_i / W: −(ρ_i − ρ̄)."""
    return -(residuals - np.average(residuals, weights=weights))


def linear_leave_one_out(residuals: Array, weights: Array) -> Array:
    """Return the change of the mean residual when a row leaves; there is no remainder, the functional is linear."""
    return _step(weights / weights.sum()) * -linear_influence(residuals, weights)


def linear_group_removal(residuals: Array, weights: Array, rows: Positions) -> float:
    """Return the change of the mean residual when rows leave."""
    kept = np.ones(len(residuals), dtype=bool)
    kept[rows] = False
    after = np.average(residuals[kept], weights=weights[kept])
    return float(after - np.average(residuals, weights=weights))


def _step(p: Array) -> Array:
    """Return e of a removal: Q without i is Q + e (δ_i − Q), e = −p/(1 − p)."""
    with np.errstate(divide="ignore"):
        return -p / (1 - p)
