"""Averages of a regression over the product of two observed marginal laws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from causalif._validate import Array
from causalif.engine.nuisance import Held, Predict
from causalif.table import Table

Numbers = npt.NDArray[np.intp]

# Up to this many partners per row all pairs are averaged; above, this many partners are drawn.
ALL_PARTNERS, SOME_PARTNERS = 200, 50
ROWS_AT_ONCE = 200_000
SHIFT_SEED = 20_240_611


@dataclass(frozen=True, eq=False)
class Grouped:
    """Averages in which the first block is drawn from one of L groups of rows only.

    Parameters
    ----------
    over_second, over_first : ndarray of shape (L, n)
        f1, moved so that its mean within each group is that group's U, and f2 of every group.
    over_both, mass : ndarray of shape (L,)
        U of every group, and the probability of the group.
    """

    over_second: Array
    over_first: Array
    over_both: Array
    mass: Array


@dataclass(frozen=True, eq=False)
class Averages:
    """The averages of Q(z1, z2) over p(z2) at each row's z1, over p(z1) at each row's z2, and over both.

    Parameters
    ----------
    over_second, over_first : ndarray of shape (n,)
        f1(z1) = ∫Q(z1, z2) dP(z2) and f2(z2) = ∫Q(z1, z2) dP(z1) at every row.
    over_both : float
        The double average U.
    grouped : Grouped, optional
        The same with the first block from groups of rows.
    """

    over_second: Array
    over_first: Array
    over_both: float
    grouped: Grouped | None = None


def of_cells(at_cells: Array, own: Array, cell: Numbers, first: Held, second: Held, at_held: Array) -> Averages:
    """Average over the cells of a discrete first block.

    Parameters
    ----------
    at_cells : ndarray of shape (L, n)
        Q at every cell and every row's second block.
    own : ndarray of shape (n,)
        Q at the rows as they are.
    cell : ndarray of int, shape (n,)
        Cell of every row.
    first, second : Held
        The two marginal laws; ``first`` of the cell code.
    at_held : ndarray of shape (L, m)
        Q at every cell and the second block of the rows that ``second`` holds.

    Returns
    -------
    Averages
        Exact sums. Where the laws are held on the evaluated rows themselves no row is paired with itself, so that U is
        the complete U-statistic.
    """
    mass, per_cell = first.masses(len(at_cells)), at_held @ second.probabilities
    over_second, over_first, both = per_cell[cell], mass @ at_cells, float(mass @ per_cell)
    if at_held is not at_cells:
        return Averages(over_second, over_first, both)
    w1, w2 = first.probabilities, second.probabilities
    both = (both - float((w1 * w2) @ own)) / (1.0 - float(w1 @ w2))
    return _centred((over_second - w2 * own) / (1.0 - w2), (over_first - w1 * own) / (1.0 - w1), both, w1, w2)


def of_pairs(predict: Predict, rows: Table, first: Held, second: Held, group: Numbers | None = None) -> Averages:
    """Average over pairs of rows, the first block from one and the second from the other.

    Where the laws are held on other rows (or on a finite law) every pair enters. Where they are held on the evaluated
    rows themselves, each row meets every other, or from 200 rows on 50 of the others, drawn once for all rows by
    cyclic shifts so that every row is a partner equally often; a row never meets itself.
    ``group`` holds the group of each row that ``first`` is held on.
    """
    columns = first.columns

    def q(pairs: tuple[Numbers, Numbers], left: Table, right: Table) -> Array:
        return predict(joined(left, right, columns, *pairs))

    if first.rows is rows and second.rows is rows:
        return _among_themselves(lambda i, j: q((i, j), rows, rows), first.probabilities, second.probabilities, group)

    def under(law: Array) -> tuple[Array, float]:
        """Return f2 and U where the first block follows a law on the held rows."""
        return _against(lambda j, i: q((i, j), first.rows, rows), len(rows), law), float(law @ held)

    over_second = _against(lambda i, j: q((i, j), rows, second.rows), len(rows), second.probabilities)
    held = _against(lambda i, j: q((i, j), first.rows, second.rows), len(first.rows), second.probabilities)
    over_first, both = under(first.probabilities)
    if group is None:
        return Averages(over_second, over_first, both)
    mass = np.asarray(np.bincount(group, weights=first.probabilities), dtype=float)
    each = [under(first.probabilities * (group == g) / mass[g]) for g in range(len(mass))]
    grouped = Grouped(
        np.tile(over_second, (len(mass), 1)), np.array([f for f, _ in each]), np.array([u for _, u in each]), mass
    )
    return Averages(over_second, over_first, both, grouped)


def joined(left: Table, right: Table, columns: tuple[str, ...], i: Numbers, j: Numbers) -> Table:
    """Return rows j of one table with some columns taken from rows i of another."""
    return with_columns(right.take(j), {name: left[name][i] for name in columns})


def with_columns(rows: Table, values: dict[str, Array]) -> Table:
    """Return a table with some columns set, be they roles or covariates."""
    roles = {name: column for name, column in values.items() if name in rows.columns}
    rows = rows.assign(**roles)
    if len(roles) == len(values):
        return rows
    covariates = rows.covariates.copy()
    for name in values.keys() - roles.keys():
        covariates[:, rows.names.index(name)] = values[name]
    return replace(rows, covariates=covariates)


def _among_themselves(q: Callable[[Numbers, Numbers], Array], w1: Array, w2: Array, group: Numbers | None) -> Averages:
    """Sum w1_i w2_j Q(i, j) over i ≠ j, for each i, for each j (by group of i) and in all."""
    n = len(w1)
    code = np.zeros(n, dtype=np.intp) if group is None else group
    groups = int(code.max()) + 1
    top1, bottom1 = np.zeros((2, n))
    top2, bottom2 = np.zeros((2, groups * n))
    for i, j in _partners(np.flatnonzero(w1), np.flatnonzero(w2)):
        value, at = q(i, j), code[i] * n + j
        top1 += np.bincount(i, weights=w2[j] * value, minlength=n)
        bottom1 += np.bincount(i, weights=w2[j], minlength=n)
        top2 += np.bincount(at, weights=w1[i] * value, minlength=groups * n)
        bottom2 += np.bincount(at, weights=w1[i], minlength=groups * n)
    sums = np.array([top2, bottom2]).reshape(2, groups, n)
    both = float(w1 @ top1) / float(w1 @ bottom1)
    over_second, over_first = _ratio(top1, bottom1, both), _ratio(sums[0].sum(axis=0), sums[1].sum(axis=0), both)
    whole = _centred(over_second, over_first, both, w1, w2)
    if group is None:
        return whole
    each, mass = [], np.asarray(np.bincount(code, weights=w1), dtype=float)
    for g in range(groups):
        inside = w1 * (code == g)
        mean = float(inside @ top1) / float(inside @ bottom1)
        each.append(_centred(over_second, _ratio(sums[0, g], sums[1, g], mean), mean, inside / mass[g], w2))
    f1, f2, u = (np.array([getattr(one, name) for one in each]) for name in ("over_second", "over_first", "over_both"))
    return replace(whole, grouped=Grouped(f1, f2, u, mass))


def _ratio(top: Array, bottom: Array, otherwise: float) -> Array:
    return np.divide(top, bottom, out=np.full(len(top), otherwise), where=bottom > 0)


def _centred(over_second: Array, over_first: Array, both: float, w1: Array, w2: Array) -> Averages:
    """Move both averages so that their means are U; without weights they are already."""
    return Averages(over_second + (both - w1 @ over_second), over_first + (both - w2 @ over_first), both)


def _partners(left: Numbers, right: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield pairs i ≠ j in blocks: all of them, or 50 partners i for every j by cyclic shifts."""
    shifts = np.arange(len(left))
    if len(left) > ALL_PARTNERS:
        drawn = np.random.default_rng(SHIFT_SEED).choice(len(left) - 1, SOME_PARTNERS, replace=False)
        shifts = np.sort(drawn) + 1
    per_block = max(1, ROWS_AT_ONCE // len(right))
    position = np.arange(len(right))
    for start in range(0, len(shifts), per_block):
        block = shifts[start : start + per_block]
        i = left[(position + block[:, None]) % len(left)].ravel()
        j = np.tile(right, len(block))
        different = i != j
        yield i[different], j[different]


def _against(q: Callable[[Numbers, Numbers], Array], n: int, weights: Array) -> Array:
    """Return Σ_j weights_j Q(i, j) for i = 0, ..., n − 1."""
    counted = np.flatnonzero(weights)
    per_block = max(1, ROWS_AT_ONCE // max(len(counted), 1))
    sums = np.empty(n)
    for start in range(0, n, per_block):
        block = np.arange(start, min(n, start + per_block))
        values = q(np.repeat(block, len(counted)), np.tile(counted, len(block)))
        sums[block] = values.reshape(len(block), -1) @ weights[counted]
    return sums
