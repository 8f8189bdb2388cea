"""Monte Carlo end to end: find graphs, average effects over them, compare with the truth of the graph that was drawn.

    python tests/coverage/study_sigma.py                     # 100 draws of 1,000 rows, tiers C < A < {L, M} < Y
    python tests/coverage/study_sigma.py --tiers none        # the directions have to be found, too
    python tests/coverage/study_sigma.py --split             # structure and effects on separate halves

The design is the linear one of `study_mediation.py` (SEM-2), whose 10 edges all exist. Coverage of the marginal
intervals is reported, whatever it is: they average over the posterior, and a path that the data do not show is pulled
towards zero.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from causalif._errors import CausalifError, CausalifWarning
from causalif.datasets import simulate_sem2
from causalif.discovery import SplineSEM
from causalif.estimators.sigma import SIGMA

TRUTH = {"A -> Y": 0.40, "A -> M -> Y": 0.48, "A -> L -> M -> Y": 0.28, "A -> L -> Y": 0.35, "total": 1.795}
TIERS = {"full": [["C"], ["A"], ["L", "M"], ["Y"]], "none": None}


@dataclass(frozen=True)
class Study:
    """One design of the study."""

    rows: int
    tiers: str
    bag: int
    split: bool

    def draw(self, seed: int) -> pd.DataFrame:
        """Return the effects of one table, with NaN where a path was below the threshold."""
        data, _ = simulate_sem2(self.rows, random_state=seed)
        sem = SplineSEM(tiers=TIERS[self.tiers], bag=self.bag, random_state=seed, progress=False)
        fit = SIGMA(
            treatment="A", outcome="Y", posterior=sem, learners="linear", split=self.split, random_state=seed,
            progress=False,
        ).fit(data)  # fmt: skip
        frame = fit.to_frame()
        frame = frame[frame["scope"] == "marginal"].set_index("path").reindex(list(TRUTH))
        return frame.assign(seed=seed)


def report(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Return one line per effect."""
    lines = {}
    for path, truth in TRUTH.items():
        rows = pd.concat([frame.loc[[path]] for frame in frames])
        found = rows.dropna(subset=["estimate"])
        covered = (found["conf_low"] <= truth) & (truth <= found["conf_high"])
        lines[path] = {
            "truth": truth,
            "share above threshold": len(found) / len(rows),
            "mean stability": found["stability"].mean(),
            "mean": found["estimate"].mean(),
            "sd": found["estimate"].std(),
            "mean std error": found["std_error"].mean(),
            "structural share": found["structural_share"].mean(),
            "coverage": covered.mean(),
        }
    return pd.DataFrame(lines).T


def main() -> None:
    """Run the draws and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--tiers", choices=tuple(TIERS), default="full")
    parser.add_argument("--bag", type=int, default=20)
    parser.add_argument("--split", action="store_true")
    options = parser.parse_args()
    study = Study(options.rows, options.tiers, options.bag, options.split)
    frames, refused, start = [], 0, time.perf_counter()
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", CausalifWarning)
        for seed in range(options.draws):
            try:
                frames.append(study.draw(seed))
            except CausalifError as error:
                refused += 1
                print(f"draw {seed} refused: {error}")
    print(f"{options} {time.perf_counter() - start:.0f} s, {refused} refused")
    with pd.option_context("display.width", 160, "display.max_columns", 20):
        print(report(frames).round(3))
    assert np.isfinite(report(frames)["coverage"]).any()


if __name__ == "__main__":
    main()
