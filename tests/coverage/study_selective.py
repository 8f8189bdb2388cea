"""Monte Carlo of the selective invalid-instrument estimator.

    python tests/coverage/study_selective.py --design C --method selective --draws 40

prints bias, SD, mean standard error and coverage of 95% intervals, and how often each candidate was chosen. Design C
is `causalif.datasets.simulate_invalid_iv_continuous` (n = 3,000, 3 folds, true effect 1); 64 tuples of candidates,
four of each block:

* F and M: straight lines, cubic ridge, splines, boosting;
* H (first / second stage): lines/lines, cubic/lines, boosting/lines, cubic/cubic (a flexible second stage).
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from threadpoolctl import threadpool_limits

from causalif._errors import CausalifWarning
from causalif.datasets import simulate_invalid_iv_continuous
from causalif.engine.crossfit import cross_fit
from causalif.engine.defaults import BOOSTING, ShrunkenRegressor, SmoothClassifier, SmoothRegressor
from causalif.engine.problem import Plan
from causalif.estimands.invalid_iv import InvalidIVEffect, Roles
from causalif.estimands.selective_iv import TupleEffect
from causalif.estimators.invalid_iv.selective import Candidates, read_candidates, select
from causalif.table import Table, read_table

COVARIATES = ("x1", "x2", "x3")
ROLES = Roles("y", "a", "z", COVARIATES, binary=False)
PENALTIES = np.logspace(-2, 4, 13)
SECOND_STAGES = {
    "linear/linear": ("linear", "linear"),
    "cubic/linear": ("cubic", "linear"),
    "boosting/linear": ("boosting", "linear"),
    "cubic/cubic": ("cubic", "cubic"),
}


def cubic(last: Any) -> Any:
    """All monomials of degree three, standardised, before the last step."""
    return make_pipeline(PolynomialFeatures(3, include_bias=False), StandardScaler(), last)


def candidates() -> Candidates:
    """The 64 tuples of the module's docstring."""
    means = {
        "linear": SmoothRegressor(knots=0, products=False),
        "cubic": cubic(RidgeCV(PENALTIES)),
        "spline": SmoothRegressor(),
        "boosting": HistGradientBoostingRegressor(**BOOSTING),
    }
    chances = {
        "linear": SmoothClassifier(knots=0, products=False),
        "cubic": cubic(LogisticRegression(C=0.1)),
        "spline": SmoothClassifier(),
        "boosting": HistGradientBoostingClassifier(**BOOSTING),
    }
    effects = {"linear": ShrunkenRegressor(), "cubic": cubic(RidgeCV(PENALTIES))}
    outcomes = {name: means[name] for name in ("linear", "cubic", "boosting")}
    learners = {"instrument": chances, "treatment": means, "outcome": outcomes, "effect": effects}
    every = read_candidates(learners, ROLES)
    kept = {name: every.blocks["H"][name] for name in SECOND_STAGES}
    return Candidates(every.pool, {**every.blocks, "H": kept})


def read(n: int, rng: np.random.Generator) -> Table:
    """One draw of design C."""
    data = simulate_invalid_iv_continuous(n, random_state=rng).data
    return read_table(
        data, numbers={"outcome": "y"}, coded={"instrument": "z"}, either={"treatment": "a"}, adjust=COVARIATES
    )


def one_draw(n: int, rng: np.random.Generator, noise_correct: bool) -> dict[str, Any]:
    """Select, refit, and return the estimate with its standard error and the tuple."""
    table, pool, question = read(n, rng), candidates(), InvalidIVEffect(ROLES)
    plan = Plan(folds=3, strata=("z",), seed=int(rng.integers(2**31)), progress=False)
    found = select(pool, table, plan, question, noise_correct=noise_correct)
    learners, own = pool.chosen(found.names)
    again = cross_fit([TupleEffect(question, own)], table, Plan(learners, 3, strata=("z",), seed=plan.seed))
    at_selection = float(found.table["estimate"].iloc[0])
    error = float(again.influence[:, 0].std() / np.sqrt(n))
    F, M, H = found.names
    return {"estimate": again.values[0], "std_error": error, "selected": at_selection, "F": F, "M": M, "H": H}


def study(draws: int, n: int = 3_000, random_state: int = 0, noise_correct: bool = False) -> pd.DataFrame:
    """One row per draw."""
    rngs = [np.random.default_rng([random_state, draw]) for draw in range(draws)]
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalifWarning)
        return pd.DataFrame([one_draw(n, rng, noise_correct) for rng in rngs])


def summarise(found: pd.DataFrame, truth: float = 1.0) -> pd.Series:
    """Bias, SD, mean standard error, coverage, and the same of the estimate on the splits used for selection."""
    error = found["estimate"] - truth
    return pd.Series(
        {
            "draws": len(found),
            "bias": error.mean(),
            "sd": error.std(),
            "mean se": found["std_error"].mean(),
            "coverage": (error.abs() < 1.959964 * found["std_error"]).mean(),
            "bias on selection splits": found["selected"].mean() - truth,
            "sd on selection splits": found["selected"].std(),
        }
    )


def main() -> None:
    """Print the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--design", choices=["C"], default="C")
    parser.add_argument("--method", choices=["selective"], default="selective")
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--random-state", type=int, default=0)
    parser.add_argument("--noise-correct", action="store_true")
    asked = parser.parse_args()
    start = time.process_time()
    found = study(asked.draws, asked.rows, asked.random_state, asked.noise_correct)
    print(summarise(found).round(4).to_string())
    for block in "FMH":
        print(f"{block}: {found[block].value_counts().to_dict()}")
    print(f"{time.process_time() - start:.0f} s of CPU")


if __name__ == "__main__":
    main()
