"""Calibration of path stability scores: how often paths of stated stability are there, over random models.

    python tests/coverage/study_structure.py
    python tests/coverage/study_structure.py --sems 10 --settings "nonlinear, 150"

Each setting draws models of five nodes (`causalif.datasets.simulate_random_sem`), numbered from zero, and scores
every one of the 200 directed paths of at most three edges that five nodes allow; about 4% of them are true. A path that
no draw holds is scored 1/(2 S) with S draws, a path that every draw holds 1 − 1/(2 S), in the log-loss. "expected"
gives the figures that an independent prototype of the method printed for the same settings.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import IdentificationWarning
from causalif.datasets import simulate_random_sem
from causalif.discovery import LinearSEM, SplineSEM

SETTINGS: dict[str, dict[str, Any]] = {
    "nonlinear, 500": {"n": 500},
    "nonlinear, 150": {"n": 150},
    "nonlinear, t4 noise, 500": {"n": 500, "noise": "t4"},
    "linear normal, 500": {"n": 500, "form": "linear"},
}
METHODS: dict[str, Any] = {
    "exact": SplineSEM(bag=0, progress=False),
    "exact + bag": SplineSEM(bag=20, progress=False),
    "tempered .25": SplineSEM(bag=0, temperature=0.25, progress=False),
}
EXTRA = {"LinearSEM + bag": LinearSEM(bag=20, progress=False)}
EXPECTED = {
    ("nonlinear, 500", "exact"): (0.0025, 0.0141, 0.968, 0.961),
    ("nonlinear, 500", "exact + bag"): (0.0014, 0.0052, 0.993, 0.968),
    ("nonlinear, 500", "tempered .25"): (0.0029, 0.0106, 0.969, 0.950),
    ("nonlinear, 150", "exact"): (0.0112, 0.0724, 0.842, 0.825),
    ("nonlinear, 150", "exact + bag"): (0.0088, 0.0343, 0.832, 0.853),
    ("nonlinear, 150", "tempered .25"): (0.0127, 0.0450, 0.833, 0.732),
    ("nonlinear, t4 noise, 500", "exact"): (0.0041, 0.0270, 0.947, 0.943),
    ("nonlinear, t4 noise, 500", "exact + bag"): (0.0033, 0.0117, 0.911, 0.953),
    ("nonlinear, t4 noise, 500", "tempered .25"): (0.0046, 0.0170, 0.945, 0.898),
    ("linear normal, 500", "exact"): (0.0267, 0.136, 0.571, 0.558),
    ("linear normal, 500", "exact + bag"): (0.0236, 0.099, 0.547, 0.544),
    ("linear normal, 500", "tempered .25"): (0.0225, 0.083, 0.570, 0.555),
}
FIGURES = ("brier", "log_loss", "F1@.15", "F1@.5")
NODES = tuple(f"X{j + 1}" for j in range(5))
PATHS = [path for size in (2, 3, 4) for path in permutations(range(5), size)]


@dataclass(frozen=True)
class Scores:
    """Stabilities of all paths over all models of a setting, and whether the paths are there."""

    stability: npt.NDArray[np.float64]
    present: npt.NDArray[np.bool_]
    draws: int

    def figures(self) -> dict[str, float]:
        """Brier score, log-loss and F1 at two thresholds."""
        s, there = self.stability, self.present
        clipped = np.clip(s, 0.5 / self.draws, 1 - 0.5 / self.draws)
        losses = -np.where(there, np.log(clipped), np.log1p(-clipped))
        return {
            "brier": float(np.mean((s - there) ** 2)),
            "log_loss": float(losses.mean()),
            "F1@.15": f1(s >= 0.15, there),
            "F1@.5": f1(s >= 0.5, there),
        }

    def reliability(self) -> pd.DataFrame:
        """Mean stated stability beside the share of paths that are there, by stated stability."""
        bins = pd.cut(self.stability, [-0.01, 0.01, 0.05, 0.15, 0.35, 0.65, 0.85, 0.95, 0.99, 1.01])
        frame = pd.DataFrame({"stated": self.stability, "observed": self.present, "bin": bins})
        grouped = frame.groupby("bin", observed=True)
        return grouped.agg(paths=("stated", "size"), stated=("stated", "mean"), observed=("observed", "mean"))


def f1(chosen: npt.NDArray[np.bool_], there: npt.NDArray[np.bool_]) -> float:
    """Harmonic mean of precision and recall."""
    return float(2 * (chosen & there).sum() / max(chosen.sum() + there.sum(), 1))


def path_stabilities(posterior: Any) -> npt.NDArray[np.float64]:
    """Stability of each of the 200 paths."""
    adjacency, w = posterior.adjacency == 1, posterior.weights.to_numpy()
    return np.array([w @ np.all([adjacency[:, j, i] for j, i in pairwise(path)], axis=0) for path in PATHS])


def fits(setting: str, method: Any, sems: int) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]]:
    """Yield stabilities and truth of one model after another."""
    for number in range(sems):
        data, truth = simulate_random_sem(random_state=number, **SETTINGS[setting])
        edges = set(truth["edges"])
        present = [all((NODES[j], NODES[i]) in edges for j, i in pairwise(path)) for path in PATHS]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IdentificationWarning)
            posterior = method.fit(data[list(NODES)])
        yield path_stabilities(posterior), np.array(present)


def study(setting: str, method: str, sems: int = 40) -> Scores:
    """Score all paths of all models of one setting by one method."""
    chosen = {**METHODS, **EXTRA}[method]
    found = list(fits(setting, chosen, sems))
    return Scores(np.concatenate([s for s, _ in found]), np.concatenate([p for _, p in found]), chosen.draws)


def main() -> None:
    """Print the table, and the reliability of stated stabilities."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sems", type=int, default=40)
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS), choices=list(SETTINGS))
    arguments = parser.parse_args()
    start = time.process_time()
    lines, tables = [], {}
    for setting in arguments.settings:
        extra = tuple(EXTRA) if "linear normal" in setting else ()
        for method in (*METHODS, *extra):
            scores = study(setting, method, arguments.sems)
            expected = EXPECTED.get((setting, method), (float("nan"),) * 4)
            line: dict[str, Any] = {"setting": setting, "method": method}
            for name, reference in zip(FIGURES, expected, strict=True):
                line |= {name: scores.figures()[name], f"expected {name}": reference}
            lines.append(line)
            tables[setting, method] = scores.reliability()
    print(pd.DataFrame(lines).round(4).to_string(index=False))
    for key, table in tables.items():
        print(f"\n{key[0]}; {key[1]}\n{table.round(3).to_string()}")
    print(f"\n{time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    main()
