"""Tables made of values: rows to look at, rows to remove, and what acting on a ranking does to groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import DataWarning, InputError, tell
from causalif._validate import Array, in_range

_MOST, _TWICE, _HALF = 0.5, 2.0, 0.5


def lowest_first(values: Array) -> npt.NDArray[np.intp]:
    """Positions from the lowest value up; equal values keep their order."""
    return np.argsort(values, kind="stable")


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
        return order[: int(np.floor(in_range("rate", rate, 0, 1, open_ends=False) * len(values) + 1e-9))]
    if threshold is not None:
        return order[values[order] < in_range("threshold", threshold, -np.inf, np.inf)]
    chosen = rejected(pvalues, in_range("fdr", fdr if fdr is not None else 0.1, 0, 1))
    return order[chosen[order]]


def group_summary(values: Array, groups: pd.Series, rate: float) -> pd.DataFrame:
    """Values by group, and each group's part in the lowest ones; warns where acting on them would empty a group."""
    in_range("rate", rate, 0, 1)
    low = np.zeros(len(values), dtype=bool)
    low[lowest_first(values)[: max(1, int(rate * len(values)))]] = True
    frame = pd.DataFrame({"value": values, "low": low, "group": groups.to_numpy()})
    grouped = frame.groupby("group", sort=True, observed=True)
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


def _tell_uneven(table: pd.DataFrame, rate: float) -> None:
    for name, row in table.iterrows():
        supplies = row["share_of_lowest"] > _MOST and row["share_of_lowest"] >= _TWICE * row["share_of_rows"]
        if supplies or row["lowest_within"] > _HALF:
            tell(
                f"Group {name!r} has {row['share_of_rows']:.0%} of the rows and supplies {row['share_of_lowest']:.0%} "
                f"of the lowest {rate:.0%}, {row['lowest_within']:.0%} of the group: acting on a ranking can empty a "
                "group. Look at why it differs from the reference before removing anything.",
                DataWarning,
            )


def ends(table: pd.DataFrame, values: Array, n: int, which: Any) -> pd.DataFrame:
    """The lowest or the highest rows, or both ends."""
    if which not in ("lowest", "highest", "both"):
        raise InputError(f'`which` must be "lowest", "highest" or "both". Got {which!r} instead.')
    order = lowest_first(values)
    if which == "both":
        return table.iloc[order if 2 * n >= len(order) else np.r_[order[:n], order[-n:]]]
    return table.iloc[order[:n] if which == "lowest" else order[::-1][:n]]
