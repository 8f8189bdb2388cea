"""How much of an answer rests on single rows, and a warning where a normal interval cannot be trusted for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import DataWarning, tell
from causalif._validate import Array

# One unit may carry half of a variance before intervals are doubted; in small samples, a few times the share of the
# largest of n squared normals, 2 log(n) / n.
DOUBTED_SHARE, TIMES_NORMAL = 0.5, 3.0
MOST = 10

Clusters = npt.NDArray[np.generic] | None


def influence_table(
    influence: Array, labels: tuple[str, ...], index: pd.Index, clusters: Clusters = None
) -> pd.DataFrame:
    """Return per term how concentrated the influence values are; units are rows, or clusters where there are any."""
    names: Any = index
    if clusters is not None:
        codes, names = pd.factorize(clusters)
        influence = np.stack([np.bincount(codes, weights=column) for column in influence.T], axis=1)
    lines = [_line(psi, len(index)) for psi in influence.T]
    first, kurtosis, most, largest, moves = (list(column) for column in zip(*lines, strict=True))
    columns = {
        "kurtosis": kurtosis,
        f"share of the {MOST} largest": most,
        "largest share": largest,
        "largest unit": [names[unit] for unit in first],
        "effect of leaving it out": moves,
    }
    return pd.DataFrame(columns, index=pd.Index(labels, name="term"))


def judged_influence(
    influence: Array, labels: tuple[str, ...], index: pd.Index, clusters: Clusters = None
) -> tuple[pd.DataFrame, list[str]]:
    """Return the table, and the warnings given where a term hangs on one unit."""
    table = influence_table(influence, labels, index, clusters)
    units = len(index) if clusters is None else len(pd.unique(clusters))
    bound = max(DOUBTED_SHARE, TIMES_NORMAL * 2 * np.log(units) / units)
    worst = int(table["largest share"].to_numpy().argmax())
    share, moves = (float(table[name].to_numpy()[worst]) for name in ("largest share", "effect of leaving it out"))
    unit = table["largest unit"].iat[worst]
    if share <= bound:
        return table, []
    return table, [_warn(f"{'row' if clusters is None else 'cluster'}, {unit!s},", share, labels[worst], moves)]


def _line(psi: Array, n: int) -> tuple[int, float, float, float, float]:
    """Return the most influential unit, the kurtosis, the shares of the most and the one, and what leaving it out does.

    A share is one of the sum of squares, which the variance is made of.
    """
    size = np.abs(psi)
    first = int(size.argmax())
    squares = (psi / (size[first] or 1.0)) ** 2
    total = float(squares.sum()) or 1.0
    most = np.partition(squares, -MOST)[-MOST:] if len(psi) > MOST else squares
    kurtosis = len(psi) * float(squares @ squares) / total**2
    return first, kurtosis, float(most.sum()) / total, float(squares[first]) / total, float(-psi[first] / n)


def _warn(who: str, share: float, term: str, moves: float) -> str:
    message = (
        f"One {who} makes up {share:.0%} of the variance of {term}, and leaving it out moves the estimate by about "
        f"{moves:.4g}. A normal interval cannot be trusted then. Look at it with causalif.case_influence, at the "
        "overlap, and at the learners: a residual is multiplied where the probability of the treatment is small."
    )
    tell(message, DataWarning)
    return message
