"""What weights say about overlap: on average 1, none of them very large, and many effective rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from causalif._errors import PositivityWarning, tell
from causalif._validate import Array

MEAN_DOUBTED, MEAN_ERRORS = 0.1, 4.0


def weight_line(w: Array, inside: Any, sampled: Array | None = None, clusters: Any = None) -> dict[str, float]:
    """Return rows, mean weight (over all rows; 1 if all is well) and its error, largest weight, effective rows."""
    both = w if sampled is None else w * sampled
    total, squares, n = float(both.sum()), float(both @ both), len(both)
    centred = both - total / n
    if clusters is not None:
        centred = np.bincount(pd.factorize(clusters)[0], weights=centred).astype(np.float64)
    return {
        "rows": float(np.count_nonzero(inside)),
        "mean weight": total / n,
        "std error of mean": float(np.sqrt(centred @ centred)) / n,
        "largest weight": float(w.max()),
        "effective rows": total**2 / squares if squares else 0.0,
    }


def far_from_one(line: Mapping[str, float] | pd.Series) -> bool:
    """Whether a mean weight is away from 1 by more than a tenth and by more than chance."""
    return bool(abs(line["mean weight"] - 1) > max(MEAN_DOUBTED, MEAN_ERRORS * line["std error of mean"]))


def judged_weights(lines: Mapping[str, Mapping[str, float]]) -> tuple[pd.DataFrame, list[str]]:
    """Return the table of arms, and the warnings given where the weighted rows do not stand for everybody."""
    messages = [
        f"The weights among {arm} average {line['mean weight']:.2f} where 1 is expected: the model of the treatment "
        "does not balance the groups. Try learners that bend, or look at the overlap."
        for arm, line in lines.items()
        if far_from_one(line)
    ]
    for message in messages:
        tell(message, PositivityWarning)
    columns = {name: [line[name] for line in lines.values()] for name in next(iter(lines.values()))}
    return pd.DataFrame(columns, index=pd.Index(lines, name="arm")), messages
