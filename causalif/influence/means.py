"""Estimates that are means of scores, or ratios of two means: exact answers while the nuisances stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import special

from causalif._validate import Array
from causalif.influence.goals import Goal

Order = npt.NDArray[np.intp]
ROUNDS = 12


@dataclass(frozen=True, eq=False)
class Path:
    """A target along an order of removals: after 1, 2, ... units; shapes (k,)."""

    value: Array
    std_error: Array
    critical: Array


@dataclass(frozen=True, eq=False)
class MeanRows:
    r"""Units of :math:`\theta = \sum_g a_g / \sum_g b_g`, as influence values and shares of the denominator.

    .. math:: \psi_g = n (a_g - \theta b_g) / \sum b, \quad u_g = n b_g / \sum b, \quad
        \theta_{-T} = \theta - \frac{\sum_T \psi_g}{n - \sum_T u_g}

    A plain mean has u = 1, a weighted mean its weights over their mean.

    Parameters
    ----------
    theta : float
        The estimate.
    psi, u : ndarray of shape (units,)
        Influence values and shares, summed over the rows of each unit.
    n : int
        Number of rows, the sum of u.
    clusters : bool
        Whether units are clusters, whose variance has the factor G / (G − 1).
    level : float
        Confidence level of the critical value.
    """

    theta: float
    psi: Array
    u: Array
    n: int
    clusters: bool
    level: float

    @cached_property
    def scale(self) -> float:
        """Largest influence value: squares of outcomes in units of 1e-200 would vanish."""
        return float(np.abs(self.psi).max(initial=0.0)) or 1.0

    @cached_property
    def sums(self) -> tuple[float, float, float]:
        """Sums of ψ², ψu and u², ψ in units of `scale`."""
        psi = self.psi / self.scale
        return float(psi @ psi), float(psi @ self.u), float(self.u @ self.u)

    def _after(self, gone: tuple[Array, Array, Array, Array, Array], k: Array) -> Path:
        """Return the path from sums of ψ, u, ψ², ψu, u² over the units that are gone."""
        S, U, S2, SU, U2 = gone
        left = self.n - U
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = S / left  # θ − θ₋T, in units of scale
            total = (self.sums[0] - S2) + 2 * shift * (self.sums[1] - SU) + shift**2 * (self.sums[2] - U2)
            groups = len(self.psi) - k
            factor = groups / (groups - 1) if self.clusters else 1.0
            error = self.scale * np.sqrt(np.maximum(total, 0.0) * factor) / left
        empty = left <= 1e-9 * self.n
        value = np.where(empty, np.inf, self.theta - self.scale * shift)
        return Path(value, np.where(empty, np.inf, error), critical_values(groups, self.clusters, self.level))

    def path(self, order: Order) -> Path:
        """Return value and standard error after each removal in turn."""
        psi, u = self.psi[order] / self.scale, self.u[order]
        parts = (np.cumsum(x) for x in (psi, u, psi**2, psi * u, u**2))
        return self._after(tuple(parts), np.arange(1, len(order) + 1))  # type: ignore[arg-type]

    def singles(self) -> Path:
        """Return value and standard error after each single removal."""
        psi = self.psi / self.scale
        return self._after((psi, self.u, psi**2, psi * self.u, self.u**2), np.ones(len(psi)))

    def first_order(self) -> tuple[Array, Array]:
        """Return the infinitesimal effects of leaving out each unit on value and standard error."""
        psi, sums, n = self.psi / self.scale, self.sums, self.n
        total = sums[0] if sums[0] > 0 else 1.0
        change = -(psi**2) + 2 * psi * sums[1] / n
        error = np.sqrt(total) / n * (change / (2 * total) + self.u / n)
        if self.clusters:
            G = len(psi)
            error *= np.sqrt(G / (G - 1))
        return -self.psi / n, self.scale * error


def critical_values(groups: Array, clusters: bool, level: float) -> Array:
    """Return two-sided critical values: Student's t with one degree of freedom less than clusters, or normal."""
    tail = (1 - level) / 2
    if not clusters:
        return np.full(np.shape(groups), -special.ndtri(tail))
    return np.asarray(-special.stdtrit(np.maximum(groups - 1.0, 1.0), tail))


def fewest(rows: MeanRows, goal: Goal, critical: float) -> tuple[int | None, Order]:
    """Return the least number of units whose removal reaches the goal, and an order that begins with them.

    For a value the answer is a proved minimum: with ψ_g + (θ − c) u_g summed over the kept units changing sign, the
    largest of these terms go first. With a standard error in the goal, sets are ranked by the linear form that touches
    the goal at its own solution, found by iteration: exact for that form.
    """
    if goal.target.reading == "value" and not goal.errors:
        order = np.argsort(-goal.side * (rows.psi + (rows.theta - goal.level) * rows.u), kind="stable")
        return first_reached(rows, goal, order), order
    value, error = rows.first_order()
    start = -_slope(goal, rows.theta, error_of(rows), critical)
    order = np.argsort(-(start[0] * value + start[1] * error), kind="stable")
    best = first_reached(rows, goal, order), order
    limit = len(order)
    for _ in range(ROUNDS):
        at = best[0] or max(1, limit // 2)
        order = np.argsort(-_form(rows, goal, best[1][:at]), kind="stable")
        found = first_reached(rows, goal, order)
        if found is None or (best[0] is not None and found >= best[0]):
            break
        best = found, order
    return best


def error_of(rows: MeanRows) -> float:
    """Return the standard error before anything is left out."""
    G = len(rows.psi)
    return rows.scale * float(np.sqrt(rows.sums[0] * (G / (G - 1) if rows.clusters else 1.0))) / rows.n


def first_reached(rows: MeanRows, goal: Goal, order: Order) -> int | None:
    """Return the first number of removals along an order that reaches the goal."""
    path = rows.path(order)
    with np.errstate(invalid="ignore"):
        hit = np.flatnonzero((goal.margin(path.value, path.std_error, path.critical) < 0) & np.isfinite(path.value))
    return int(hit[0]) + 1 if hit.size else None


def _slope(goal: Goal, value: float, error: float, critical: float) -> Array:
    """Return the derivative of the margin in value and standard error."""
    h = 1e-6 * max(error, 1e-300)
    up, down = goal.margin(value + h, error, critical), goal.margin(value - h, error, critical)
    more, less = goal.margin(value, error + h, critical), goal.margin(value, error - h, critical)
    return np.array([float(up - down), float(more - less)]) / (2 * h)


def _form(rows: MeanRows, goal: Goal, gone: Order) -> Array:
    """Return each unit's first-order pull on the margin, around the estimate without the units that are gone."""
    at = rows.path(gone)
    value, error, critical = at.value[-1], at.std_error[-1], at.critical[-1]
    a, b = _slope(goal, float(value), float(error), float(critical))
    centred = (rows.psi + (rows.theta - value) * rows.u) / rows.scale  # of the kept units, their sum is 0
    left = rows.n - float(rows.u[gone].sum())
    total = (error * left / rows.scale) ** 2
    spread = (-(centred**2) / (2 * total) + rows.u / left) * error
    return np.asarray(a * centred * rows.scale / left - b * spread)
