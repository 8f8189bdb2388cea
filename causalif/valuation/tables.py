"""Tables made of values: rows to look at, rows to remove, and what acting on a ranking does to groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import DataWarning, InputError, tell
from causalif._validate import Array, in_range

_MOST, _TWICE, _HALF = 0.5, 2.0, 0.5
_MANY_GROUPS, _NAMED = 20, 3


def lowest_first(values: Array) -> npt.NDArray[np.intp]:
    """Positions from the lowest value up; equal values keep their order."""
    return np.argsort(values, kind="stable")


def share_of(rate: float, n: int) -> int:
    """Whole rows in a share of n; 0.29 of 100 are 29, whatever the rounding of the product."""
    return int(np.floor(rate * n + 1e-9))


def rejected(pvalues: Array, fdr: float) -> npt.NDArray[np.bool_]:
    """Rows that the Benjamini-Hochberg rule rejects at a false discovery rate."""
    order = np.argsort(pvalues, kind="stable")
    n = len(pvalues)
    below = np.flatnonzero(pvalues[order] <= fdr * np.arange(1, n + 1) / n)
    out = np.zeros(n, dtype=bool)
    if len(below):
        out[order[: below[-1] + 1]] = True
    return out


def to_remove(
    values: Array, pvalues: Array, rate: float | None, threshold: float | None, fdr: float | None
) -> npt.NDArray[np.intp]:
    """Positions of the rows that a rule would remove, lowest first."""
    if sum(rule is not None for rule in (rate, threshold, fdr)) != 1:
        raise InputError("Give exactly one of `rate`, `threshold` and `fdr`.")
    order = lowest_first(values)
    if rate is not None:
        return order[: share_of(in_range("rate", rate, 0, 1, open_ends=False), len(values))]
    if threshold is not None:
        return order[values[order] < in_range("threshold", threshold, -np.inf, np.inf)]
    chosen = rejected(pvalues, in_range("fdr", fdr if fdr is not None else 0.1, 0, 1))
    if fdr is not None and not chosen.any():
        _tell_none(pvalues, fdr)
    return order[chosen[order]]


def _tell_none(pvalues: Array, fdr: float) -> None:
    smallest, n = pvalues.min(), len(pvalues)
    tell(
        f"No row is found at fdr={fdr:g}: the smallest p-value is {smallest:.2g}, {int((pvalues == smallest).sum()):,} "
        f"of {n:,} rows have it, and it takes {int(np.ceil(smallest * n / fdr)):,}. With M reference rows none is "
        "below 1 / (M + 1): add reference rows, or look at the lowest rows by `rate`.",
        DataWarning,
    )


def group_summary(values: Array, groups: pd.Series, rate: float) -> pd.DataFrame:
    """Values by group, and each group's part in the lowest ones; warns where acting on them would empty a group.

    Rows whose group is missing are a group of their own, the last one, so that shares add up to one.
    """
    in_range("rate", rate, 0, 1)
    low = np.zeros(len(values), dtype=bool)
    low[lowest_first(values)[: max(1, share_of(rate, len(values)))]] = True
    # A missing group has many spellings (None, NA, NaT); without this each would be a group of its own.
    named = groups.where(groups.notna(), np.nan) if groups.dtype == object else groups
    frame = pd.DataFrame({"value": values, "low": low, "group": named.array})
    grouped = frame.groupby("group", sort=True, observed=True, dropna=False)
    _require_few(grouped.ngroups, len(frame))
    table = pd.DataFrame(
        {
            "rows": grouped.size(),
            "mean_value": grouped["value"].mean(),
            "share_of_rows": grouped.size() / len(frame),
            "share_of_lowest": grouped["low"].sum() / low.sum(),
            "lowest_within": grouped["low"].mean(),
        }
    )
    table.index.name = groups.name if groups.name is not None else "group"
    _tell_uneven(table, rate)
    return table


def _require_few(count: int, n: int) -> None:
    if count > _MANY_GROUPS and count > n / 2:
        raise InputError(
            f"`by` must name groups of several rows. Got {count:,} different values in {n:,} rows; bin a number first, "
            "for instance by=pd.cut(column, 5)."
        )


def _tell_uneven(table: pd.DataFrame, rate: float) -> None:
    supplies = (table["share_of_lowest"] > _MOST) & (table["share_of_lowest"] >= _TWICE * table["share_of_rows"])
    uneven = table[supplies | (table["lowest_within"] > _HALF)]
    if uneven.empty:
        return
    worst = uneven.sort_values(["share_of_lowest", "lowest_within"], ascending=False, kind="stable")
    more = f"; and {len(worst) - _NAMED:,} more groups" if len(worst) > _NAMED else ""
    said = "; ".join(_uneven(name, row, rate) for name, row in worst[:_NAMED].iterrows())
    tell(
        f"{said}{more}: acting on a ranking can empty a group. Look at why it differs from the reference before "
        "removing anything.",
        DataWarning,
    )


def _uneven(name: Any, row: pd.Series, rate: float) -> str:
    rows, lowest, within = (f"{row[part]:.0%}" for part in ("share_of_rows", "share_of_lowest", "lowest_within"))
    if pd.api.types.is_scalar(name) and pd.isna(name):
        return f"Rows without a group are {rows} of all and supply {lowest} of the lowest {rate:.0%}, {within} of them"
    return (
        f"Group {name!r} has {rows} of the rows and supplies {lowest} of the lowest {rate:.0%}, {within} of the group"
    )


def ends(table: pd.DataFrame, values: Array, n: int, which: Any) -> pd.DataFrame:
    """The lowest or the highest rows, or both ends."""
    if which not in ("lowest", "highest", "both"):
        raise InputError(f'`which` must be "lowest", "highest" or "both". Got {which!r} instead.')
    order = lowest_first(values)
    if which == "both":
        return table.iloc[order if 2 * n >= len(order) else np.r_[order[:n], order[-n:]]]
    return table.iloc[order[:n] if which == "lowest" else order[::-1][:n]]
