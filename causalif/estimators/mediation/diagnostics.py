"""Overlap and weights: how far the data can answer, and when to refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from causalif._errors import PositivityError, PositivityWarning, tell
from causalif._validate import Array
from causalif.engine.crossfit import CrossFit
from causalif.engine.problem import Plan
from causalif.estimators._common import refuse_clipped, report_clipping, require_overlap, require_rows
from causalif.estimators._concentration import influence_table
from causalif.estimators.mediation.columns import Columns, Exposure, Levels

EFFECTIVE_ROWS = 30.0
HEAVY = 0.1
# Below this share of effective rows, intervals of interventional effects were too short in simulations; above a half
# they were not. Asked of shifts, too; natural effects have several weights, numbered, and kept their coverage.
EFFECTIVE_SHARE = 0.4


def require_arms(columns: Columns, exposure: Exposure, plan: Plan) -> None:
    """Raise unless both arms keep enough rows in every training part."""
    if not isinstance(exposure, Levels):
        return
    a = columns.table[columns.treatment]
    arms = zip((exposure.treated, exposure.control), exposure.shown, strict=True)
    require_rows(columns.table, [(f"{columns.treatment} = {shown}", a == code) for code, shown in arms], plan)


def judged(
    result: CrossFit, columns: Columns, exposure: Exposure, adjust: Sequence[str]
) -> tuple[Mapping[str, pd.DataFrame], list[str]]:
    """Return the tables of a fit and its warnings; refuse where the arms hardly overlap."""
    overlap = _overlap(result, columns, exposure, adjust)
    warned = report_clipping(result, len(columns.table))
    weights = weights_table(result.nuisances, columns.table.weights)
    warned += _judge_weights(weights)
    influence = influence_table(result.influence, result.labels, columns.table.index, columns.table.clusters)
    tables = {"nuisances": result.fits, "weights": weights, "influence": influence}
    return (tables if overlap.empty else tables | {"overlap": overlap}), warned


def _overlap(result: CrossFit, columns: Columns, exposure: Exposure, adjust: Sequence[str]) -> pd.DataFrame:
    """Return the fitted probabilities of the treatment, whatever they condition on."""
    lines: dict[str, dict[str, float]] = {}
    if not isinstance(exposure, Levels):
        return pd.DataFrame()
    a = columns.table[columns.treatment]
    for code, shown in zip((exposure.treated, exposure.control), exposure.shown, strict=True):
        start, both = f"P({columns.treatment}={code:g}", np.isin(a, [exposure.treated, exposure.control])
        starts = (f"{start}|", f"{start})", f"{start} not ")
        for name in [name for name in map(str, result.nuisances) if name.startswith(starts)]:
            # A comparison of the two arms is about their rows only.
            rows = both if name.startswith(f"{start} not ") else np.ones(len(a), dtype=bool)
            p, inside = result.nuisances[name].to_numpy()[rows], a[rows] == code
            given = [x for x in name.partition("|")[2][:-1].split(",") if x and x not in adjust]
            clipped = int(result.fits["clipped"].get(name, 0))
            _require_shared(p, inside, f"{columns.treatment} = {shown}", given, clipped)
            lines[name] = {
                "least": p.min(), "1%": np.quantile(p, 0.01), "median": np.median(p),
                "99%": np.quantile(p, 0.99), "largest": p.max(), "clipped": float(clipped),
            }  # fmt: skip
    return pd.DataFrame(lines).T.rename_axis("probability")


def _require_shared(p: Array, inside: Array, described: str, mediators: Sequence[str], clipped: int) -> None:
    try:
        require_overlap(described, p, np.asarray(inside, dtype=bool))
        refuse_clipped(described, clipped, len(p), "")
    except PositivityError as error:
        if not mediators:
            raise
        raise PositivityError(
            f"The mediators {list(mediators)} nearly determine the treatment: few rows with {described} have a fitted "
            "probability of it that also occurs among the others, so it is not seen what the outcome would be with "
            "one arm's treatment and the other's mediators. Leave out mediators that are the treatment in another "
            f"form, or ask for the total effect only. ({error})"
        ) from error


def weights_table(nuisances: pd.DataFrame, sampled: Array | None) -> pd.DataFrame:
    """Return one line per weight: rows, mean (1 is expected for density ratios), largest, effective rows."""
    lines = {}
    for name in [str(name) for name in nuisances if str(name).startswith("weight ")]:
        w = nuisances[name].to_numpy() * (1.0 if sampled is None else sampled)
        total = float(w.sum())
        lines[name] = {
            "rows": float((w > 0).sum()),
            "mean": float(w.mean()),
            "largest": float(w.max()),
            "largest share": float(w.max() / total) if total > 0 else 0.0,
            "effective rows": float(total**2 / (w @ w)) if total > 0 else 0.0,
            "capped rows": float(nuisances[f"capped {name}"].sum()) if f"capped {name}" in nuisances else 0.0,
        }
    return pd.DataFrame(lines).T.rename_axis("weight")


def _judge_weights(weights: pd.DataFrame) -> list[str]:
    messages = []
    for name, line in weights.iterrows():
        if line["capped rows"] > 0:
            messages.append(f"{line['capped rows']:.0f} of {line['rows']:.0f} rows have a capped {name}.")
        if line["effective rows"] < EFFECTIVE_ROWS or line["largest share"] > HEAVY:
            messages.append(
                f"The {name} leaves an effective sample of {line['effective rows']:.0f} of {line['rows']:.0f} rows, "
                f"one row carrying {line['largest share']:.0%}: the estimate rests on a few rows."
            )
        elif str(name).startswith("weight of ") and line["effective rows"] < EFFECTIVE_SHARE * line["rows"]:
            messages.append(
                f"The {name} leaves an effective sample of {line['effective rows']:.0f} of {line['rows']:.0f} rows: "
                "much of the answer is the outcome regression's beyond the data, and standard errors may be too small."
            )
    for message in messages:
        tell(message, PositivityWarning)
    return messages
