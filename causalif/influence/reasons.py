"""Why a row moves the answer, in plain words."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import CausalifError
from causalif._validate import Array
from causalif.influence.estimate_subject import EstimateSubject
from causalif.influence.subject import ModelSubject
from causalif.table import read_table

LARGE_RESIDUAL = 2.0
SMALL_PROBABILITY = 0.1
LARGE_EFFECT = 3.0
ORDINARY = "ordinary"


def reasons(subject: EstimateSubject | ModelSubject, effect: Array) -> npt.NDArray[np.object_]:
    """Return one phrase per row: what is unusual about it, "ordinary" if nothing is."""
    parts = _of_model(subject) if isinstance(subject, ModelSubject) else _of_estimate(subject)
    found = _joined([part for part in parts if part is not None], len(subject.index))
    per_row = effect[subject.units]
    spread = float(np.std(per_row[np.isfinite(per_row)])) if np.isfinite(per_row).any() else 0.0
    with np.errstate(invalid="ignore"):
        unexplained = (found == "") & ((np.abs(per_row) > LARGE_EFFECT * spread) if spread > 0 else False)
    found[unexplained] = "large effect for its values taken together"
    found[found == ""] = ORDINARY
    if isinstance(subject, ModelSubject):
        found[np.isinf(per_row)] = "the last row that a coefficient rests on"
    return found


def leverage_bound(n: int, p: int) -> float:
    """Return the leverage that counts as high: three times the average."""
    return min(3.0 * p / n, 0.5)


def _of_model(subject: ModelSubject) -> list[npt.NDArray[np.object_] | None]:
    e, h = subject.residuals, subject.leverage
    bound = leverage_bound(len(h), len(subject.model.theta))
    return [_said(e, "large residual ({:+.1f} sd)"), _where(h > bound, h, "high leverage ({:.2g})")]


def _said(residual: Array | None, phrase: str) -> npt.NDArray[np.object_] | None:
    return None if residual is None else _where(np.abs(residual) > LARGE_RESIDUAL, residual, phrase)


def _where(mask: npt.NDArray[np.bool_], numbers: Array, phrase: str) -> npt.NDArray[np.object_]:
    found = np.full(len(mask), "", dtype=object)
    for i in np.flatnonzero(mask):
        found[i] = phrase.format(numbers[i])
    return found


def _joined(parts: list[npt.NDArray[np.object_]], n: int) -> npt.NDArray[np.object_]:
    found = np.full(n, "", dtype=object)
    for part in parts:
        both = (found != "") & (part != "")
        found = np.where(both, found + ", " + part, found + part)
    return found


def _of_estimate(subject: EstimateSubject) -> list[npt.NDArray[np.object_] | None]:
    e, probability = _residual_and_probability(subject)
    parts = [_said(e, "large residual ({:+.1f} sd)")]
    if probability is not None:
        parts.append(_where(probability < SMALL_PROBABILITY, probability, "small propensity ({:.2g})"))
    share = subject.share
    parts.append(_where(share > 5.0, share, "large weight ({:.1f} times the average)"))
    return parts


def _residual_and_probability(subject: EstimateSubject) -> tuple[Array | None, Array | None]:
    """Return residuals in standard deviations and the fitted probability of what each row got, where known."""
    estimate = subject.estimate
    frame = estimate.nuisances
    if frame is None or estimate.origin is None:
        return None, _smallest_probability(frame)
    estimator: Any = estimate.origin.estimator
    try:
        table = read_table(
            estimate.origin.data,
            numbers={"outcome": estimator.outcome},
            coded={"treatment": estimator.treatment},
        )
    except (CausalifError, AttributeError, TypeError):
        return None, _smallest_probability(frame)
    y, a = table[estimator.outcome], table[estimator.treatment].astype(int)
    means, own = _own(frame, "mu", a), _own(frame, "pi", a)
    residual = None
    if means is not None:
        gap = y - means
        spread = float(np.nanstd(gap))
        residual = np.nan_to_num(gap / spread) if spread > 0 else None
    if own is None:
        return residual, _smallest_probability(frame)
    return residual, np.where(np.isnan(own), 1.0, own)


def _own(frame: pd.DataFrame, prefix: str, arm: npt.NDArray[np.int64]) -> Array | None:
    """Return each row's prediction for the arm that it is in, NaN where that arm has none."""
    columns = {code: f"{prefix}{code}" for code in np.unique(arm) if f"{prefix}{code}" in frame.columns}
    if not columns:
        return None
    own = np.full(len(frame), np.nan)
    for code, name in columns.items():
        own = np.where(arm == code, frame[name].to_numpy(dtype=float), own)
    if prefix == "pi" and len(columns) == 1 and set(np.unique(arm)) == {0, 1}:
        code, name = next(iter(columns.items()))
        own = np.where(arm == code, own, 1.0 - frame[name].to_numpy(dtype=float))
    return own


def _smallest_probability(frame: pd.DataFrame | None) -> Array | None:
    names = [] if frame is None else [str(c) for c in frame.columns if str(c).startswith("pi")]
    if frame is None or not names:
        return None
    values = frame[names].to_numpy(dtype=float)
    return (
        np.asarray(np.minimum(values, 1.0 - values).min(axis=1)) if len(names) == 1 else np.asarray(values.min(axis=1))
    )
