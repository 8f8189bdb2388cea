"""What the weights say about the product law, and when to refuse."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import PositivityError, PositivityWarning
from causalif._validate import Array
from causalif.estimators._overlap import far_from_one, weight_line
from causalif.estimators.wcde.columns import MOST_CELLS, Columns
from causalif.table import Table

EXPECTED = 10.0
MOST_COMBINATIONS = 200
CAPPED_SHARE = 0.2
MEAN_REFUSED = (0.5, 2.0)
EFFECTIVE_ROWS = 20.0


def require_product_support(
    columns: Columns, treatment: str, arms: tuple[int, int], given: tuple[float, ...] | None
) -> None:
    """Raise if some mediator value never occurs with a treatment level, or with one and a covariate value.

    The effect sets every mediator value at every covariate value, so all combinations whose shares multiply to
    several rows must be seen. Covariates of few values are looked at one by one and all together.
    """
    if columns.cells is None:
        return
    table, cell, labels = columns.table, columns.cell, columns.cells.labels
    shares = np.bincount(cell, minlength=len(labels)) / len(cell)
    shares = shares if given is None else shares * (np.asarray(given) > 0)
    for arm in arms:
        inside = table[treatment] == arm
        level = f"{treatment} = {table.levels[treatment][arm]}"
        _require_seen(cell, shares, level, inside, float(inside.sum()), labels)
        for names in _few_valued(columns):
            values, code = np.unique(table.matrix(names), axis=0, return_inverse=True)
            for number, value in enumerate(values if len(values) <= MOST_COMBINATIONS else ()):
                there = code.reshape(-1) == number
                at = ", ".join(f"{name} = {one:g}" for name, one in zip(names, value, strict=True))
                rows = float((inside & there).sum())
                if not rows and not set(names) & set(columns.intermediate):  # these need not occur in every arm
                    rows = float(inside.mean() * there.sum())
                _require_seen(cell, shares, f"{level} and {at}", inside & there, rows, labels)


def _few_valued(columns: Columns) -> list[tuple[str, ...]]:
    """Return each covariate that takes few values, and all of them together."""
    table = columns.table
    few = [name for name in table.names if len(np.unique(table[name][:1000])) <= MOST_CELLS]
    return [*((name,) for name in few), *([tuple(few)] if len(few) > 1 else [])]


def _require_seen(
    cell: npt.NDArray[np.intp], shares: Array, described: str, inside: Any, rows: float, labels: tuple[str, ...]
) -> None:
    """Raise if a mediator value is missing among some rows of which so many are expected."""
    seen = np.bincount(cell[inside], minlength=len(labels))
    missing = np.flatnonzero((seen == 0) & (shares * rows >= EXPECTED))
    if len(missing):
        first = missing[0]
        raise PositivityError(
            f"The mediator value {labels[first]} never occurs among the {int(inside.sum()):,} rows with {described}; "
            f"by the product of their shares {shares[first] * rows:.0f} rows would have both. The effect sets every "
            "mediator value at every covariate value, so it is not identified. Merge mediator values, restrict the "
            "data to where all occur, or fix the mediators at a value that does (mediator_law)."
        )


def weights_table(
    nuisances: pd.DataFrame, table: Table, treatment: str, arms: tuple[int, int], clip: float
) -> pd.DataFrame:
    """Return per arm: rows, mean weight over all rows (1 if all is well), largest, effective rows, capped rows."""
    lines = {}
    for arm in arms:
        name = f"weight{arm:g}"
        if name not in nuisances:
            continue
        w, capped = nuisances[name].to_numpy(), nuisances[f"capped{arm:g}"].to_numpy()
        inside = table[treatment] == arm
        line = weight_line(w, inside, table.weights, table.clusters) | {
            "cap": 1.0 / clip,
            "capped rows": float(capped.sum()),
            "capped share": float(capped.sum() / max(inside.sum(), 1)),
        }
        if f"negative{arm:g}" in nuisances:
            line["negative rows"] = float(nuisances[f"negative{arm:g}"].sum())
        lines[f"{treatment} = {table.levels[treatment][arm]}"] = line
    return pd.DataFrame(lines).T.rename_axis("arm")


def targeting_table(nuisances: pd.DataFrame, table: Table, treatment: str, arms: tuple[int, int]) -> pd.DataFrame:
    """Return per arm how far the regression was moved and how many rows it left the range of the outcome at."""
    lines = {}
    for arm in arms:
        if f"moved{arm:g}" in nuisances:
            moved = nuisances[f"moved{arm:g}"]
            lines[f"{treatment} = {table.levels[treatment][arm]}"] = {
                "largest move of the log odds": float(moved.abs().max()),
                "mean move of the log odds": float(moved.mean()),
                "rows brought within the range": float(nuisances[f"outside{arm:g}"].sum()),
            }
    return pd.DataFrame(lines).T.rename_axis("arm")


def judge_weights(weights: pd.DataFrame) -> list[str]:
    """Refuse or warn where the weighted rows do not stand for the product law; return the warnings."""
    messages = []
    for arm, line in weights.iterrows():
        mean, capped, rows = line["mean weight"], int(line["capped rows"]), int(line["rows"])
        if not MEAN_REFUSED[0] <= mean <= MEAN_REFUSED[1] or line["capped share"] > CAPPED_SHARE:
            raise PositivityError(
                f"Among {arm} the weights average {mean:.2f} where 1 is expected, and {capped:,} of {rows:,} are above "
                "their cap: mediators and covariates hardly ever occur in the combinations that the effect asks for. "
                "Restrict the data to where they vary freely, group mediator values, or adjust for fewer variables."
            )
        if capped:
            messages.append(f"{capped:,} of {rows:,} weights among {arm} were capped at 1 / clip = {line['cap']:g}.")
        if far_from_one(line):
            messages.append(
                f"The weights among {arm} average {mean:.2f} where 1 is expected: the weighted rows do not quite stand "
                "for mediators and covariates that occur independently."
            )
        if line["effective rows"] < EFFECTIVE_ROWS:
            messages.append(
                f"The weights among {arm} leave an effective sample of {line['effective rows']:.0f} rows: the estimate "
                "rests on a few of them."
            )
    for message in messages:
        warnings.warn(message, PositivityWarning, stacklevel=4)
    return messages
