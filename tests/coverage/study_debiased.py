"""Monte Carlo of the cross-fitted invalid-instrument estimator, and of its robust set under weak instruments.

    python tests/coverage/study_debiased.py --design C --learners auto --draws 100 --jobs 2
    python tests/coverage/study_debiased.py --design weak --draws 1000

Design C is `causalif.datasets.simulate_invalid_iv_continuous` (nonlinear nuisances, confounding, a direct effect of the
instrument; true effect 1); "weak" is `simulate_weak_iv`, whose instrument shifts the treatment's variance by delta.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from causalif import InvalidIVATE
from causalif._errors import CausalifWarning
from causalif.datasets import simulate_invalid_iv_continuous, simulate_weak_iv
from causalif.engine.defaults import SmoothClassifier, SmoothRegressor

LEARNERS: dict[str, Any] = {
    "auto": "auto",
    "linear": "linear",
    "smooth": {"instrument": SmoothClassifier(), "treatment": SmoothRegressor(), "outcome": SmoothRegressor()},
}
DELTAS = (0.0, 0.03, 0.1, 0.5, 1.0)


def one_draw(learners: str, n: int, seed: int) -> dict[str, float]:
    """Fit one table of design C."""
    simulated = simulate_invalid_iv_continuous(n, random_state=seed)
    question = InvalidIVATE(
        outcome="y",
        treatment="a",
        instrument="z",
        adjust=["x1", "x2", "x3"],
        learners=LEARNERS[learners],
        weak_identification="warn",
        random_state=seed,
    )
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", CausalifWarning)
        fit = question.fit(simulated.data)
    low, high = fit.conf_int().loc["ATE"]
    return {
        "estimate": fit.params["ATE"] - simulated.truth["ATE"],
        "std_error": fit.std_errors["ATE"],
        "covered": float(low <= simulated.truth["ATE"] <= high),
        "weighted": float(fit.weighted.values[0]),
    }


def study_c(learners: str, draws: int, n: int = 12_000, jobs: int = 1) -> dict[str, float]:
    """Return bias, SD, mean standard error and coverage over draws."""
    found = pd.DataFrame(Parallel(n_jobs=jobs)(delayed(one_draw)(learners, n, seed) for seed in range(draws)))
    sd = found["estimate"].std()
    return {
        "bias": found["estimate"].mean(),
        "MC error of bias": sd / math.sqrt(draws),
        "SD": sd,
        "mean SE": found["std_error"].mean(),
        "SE / SD": found["std_error"].mean() / sd,
        "coverage": found["covered"].mean(),
    }


def one_weak_draw(delta: float, n: int, seed: int) -> dict[str, Any]:
    """Fit one table with an instrument of strength delta."""
    simulated = simulate_weak_iv(n, delta=delta, random_state=seed)
    question = InvalidIVATE(
        outcome="y",
        treatment="a",
        instrument="z",
        learners="linear",
        weak_identification="warn",
        random_state=seed,
    )
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", CausalifWarning)
        fit = question.fit(simulated.data)
    intervals, truth = fit.robust_set(), simulated.truth["ATE"]
    low, high = fit.weighted.conf_int().iloc[0]
    shape = "two rays" if len(intervals) > 1 else "line" if math.isinf(intervals[0][0]) else "interval"
    return {
        "weighted": float(fit.weighted.values[0]),
        "wald": float(low <= truth <= high),
        "robust": float(any(a <= truth <= b for a, b in intervals)),
        "shape": shape,
    }


def study_weak(draws: int, n: int = 2_000, jobs: int = 1) -> pd.DataFrame:
    """Return coverage of the Wald interval and of the robust set by strength of the instrument."""
    lines = {}
    for delta in DELTAS:
        found = pd.DataFrame(Parallel(n_jobs=jobs)(delayed(one_weak_draw)(delta, n, seed) for seed in range(draws)))
        shapes = found["shape"].value_counts()
        lines[delta] = {
            "median estimate": found["weighted"].median(),
            "Wald coverage": found["wald"].mean(),
            "robust coverage": found["robust"].mean(),
            **{name: int(shapes.get(name, 0)) for name in ("interval", "line", "two rays")},
        }
    return pd.DataFrame(lines).T.rename_axis("delta")


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--design", choices=["C", "weak"], default="C")
    parser.add_argument("--learners", choices=sorted(LEARNERS), default="auto")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    chosen = parser.parse_args()
    start = time.perf_counter()
    if chosen.design == "C":
        n = chosen.rows or 12_000
        print(f"Design C, {chosen.learners} learners, n={n:,}, {chosen.draws} draws")
        for name, value in study_c(chosen.learners, chosen.draws, n, chosen.jobs).items():
            print(f"  {name:<18}{value:8.4f}")
    else:
        n = chosen.rows or 2_000
        print(f"Weak instruments, n={n:,}, {chosen.draws} draws for each strength")
        with np.printoptions(precision=3):
            print(study_weak(chosen.draws, n, chosen.jobs).round(3).to_string())
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
