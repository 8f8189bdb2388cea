"""Tables of the paths that many weighted DAGs hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from causalif._errors import CausalifWarning, tell
from causalif._validate import Array, in_range, whole_number
from causalif.graphs.posterior_paths import Flags, follow
from causalif.graphs.posterior_score import Weighted

_FOUND = ("path", "nodes", "length", "stability", "via", "ancestor", "std_error", "lower", "upper", "bag_sd")
_SHOWN = ("path", "stability", "lower", "upper", "std_error", "bag_sd", "length", "via", "ancestor", "nodes")


def path_table(dags: Weighted, treatment: str, outcome: str, cutoff: int, max_paths: int, level: float) -> pd.DataFrame:
    """List every directed path that any of the DAGs holds, see `DAGPosterior.paths`."""
    a, y = dags.numbers((treatment, outcome))
    whole_number("cutoff", cutoff, 1)
    whole_number("max_paths", max_paths, 1)
    found, reached = follow(dags.adjacency == 1, dags.reach, a, y, cutoff, max_paths)
    truncated = reached < cutoff
    if truncated:
        predicted = count_paths(dags, treatment, outcome, cutoff)
        tell(
            f"More than max_paths={max_paths:,} paths lead from {treatment!r} to {outcome!r} (one DAG alone holds "
            f"{max(predicted):,.0f} of at most {cutoff} edges). Only those of at most {reached} edges are listed; "
            "raise `max_paths` or lower `cutoff`.",
            CausalifWarning,
        )
    ancestor = float(dags.weights @ dags.reach[:, a, y])
    lines = [_line(dags, nodes, held, ancestor, level) for nodes, held in found]
    frame = pd.DataFrame(lines, columns=list(_FOUND))[list(_SHOWN)]
    frame = frame.sort_values(["stability", "length", "path"], ascending=[False, True, True], ignore_index=True)
    frame.attrs.update(truncated=truncated, cutoff=min(reached, cutoff))
    return frame


def count_paths(dags: Weighted, treatment: str, outcome: str, cutoff: int) -> Array:
    """Return how many directed paths each DAG holds, without listing them."""
    a, y = dags.numbers((treatment, outcome))
    step = dags.adjacency.astype(np.float64)
    at = np.zeros(step.shape[:2])
    at[:, a] = 1.0
    total = np.zeros(len(step))
    for _ in range(min(cutoff, len(dags.names) - 1)):
        at = np.einsum("dj,dji->di", at, step)
        total += at[:, y]
    return total


def threshold_table(scores: Array, values: Sequence[float]) -> pd.DataFrame:
    """Return how many scores each threshold would select, and the mean of 1 − score of these."""
    chosen = [scores[scores >= in_range("values", value, 0.0, 1.0, open_ends=False)] for value in values]
    return pd.DataFrame(
        {
            "paths": [len(part) for part in chosen],
            "expected_false": [float(np.mean(1 - part)) if len(part) else float("nan") for part in chosen],
        },
        index=pd.Index(values, name="threshold"),
    )


def _line(dags: Weighted, nodes: tuple[int, ...], held: Flags, ancestor: float, level: float) -> tuple[Any, ...]:
    score = dags.score(held, level)
    via = min(float(dags.weights @ dags.visits(nodes, True)), 1.0)
    names = tuple(dags.names[v] for v in nodes)
    text = " -> ".join(names)
    return (text, names, len(nodes) - 1, score.pss, via, ancestor, score.se, score.lower, score.upper, score.bag_sd)
