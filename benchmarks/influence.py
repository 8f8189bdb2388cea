"""Case influence: time against one Newton iteration, memory, and searches at a million rows.

    python benchmarks/influence.py               # all tables, about two minutes
    python benchmarks/influence.py --rows 20000  # a quick look

One thread; CPU seconds, medians over rounds. Peers, where they have the feature: statsmodels' one-step influence on the
same logistic fit.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import statsmodels.api as sm

from causalif.estimators.ate import ATE
from causalif.influence import case_influence, most_influential

COLUMNS = 50


def logistic(n: int, p: int = COLUMNS) -> tuple[np.ndarray, np.ndarray]:
    """Draw a logistic regression."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    y = (rng.random(n) < 1 / (1 + np.exp(-X[:, :5].sum(axis=1) / 2))).astype(float)
    return X, y


def newton_iteration(X: np.ndarray, y: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """One step of Newton's method in plain numpy."""
    probability = 1 / (1 + np.exp(-X @ theta))
    hessian = (X * (probability * (1 - probability))[:, None]).T @ X
    return theta + np.linalg.solve(hessian, X.T @ (y - probability))


def seconds(job: Callable[[], object], rounds: int = 7) -> float:
    """Return the median of CPU seconds."""
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        job()
        taken.append(time.process_time() - start)
    return float(np.median(taken))


def compare_with_newton(n: int) -> None:
    """Print all rows' influence beside one Newton iteration of the same fit."""
    from causalif.influence.adapters import adapt
    from causalif.influence.case import effects
    from causalif.influence.targets import coefficient

    X, y = logistic(n)
    fit = sm.Logit(y, X).fit(disp=0)
    theta = np.asarray(fit.params)
    target = coefficient("x1")
    step = seconds(lambda: newton_iteration(X, y, theta))
    rows = seconds(lambda: effects(adapt(fit), target, "rif"))
    table = seconds(lambda: case_influence(fit, "x1"), 3)
    print(f"\nLogistic regression, n={n:,}, p={COLUMNS}, all rows")
    print(f"  one Newton iteration, numpy       {step:8.3f} s")
    print(f"  rescaled influence, checks too    {rows:8.3f} s   ({rows / step:.1f} iterations)")
    print(f"  case_influence, the whole table   {table:8.3f} s   ({table / step:.1f} iterations)")


def compare_with_statsmodels(n: int = 5_000) -> None:
    """Print statsmodels' one-step influence beside ours."""
    X, y = logistic(n)
    fit = sm.GLM(y, X, family=sm.families.Binomial()).fit()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = seconds(lambda: fit.get_influence().d_params, 3)
        ours = seconds(lambda: case_influence(fit, "x1"), 3)
        gap = np.abs(fit.get_influence().d_params[:, 0] + case_influence(fit, "x1")["rif"]).max()
    print(f"\nOne-step influence, n={n:,}, p={COLUMNS}: statsmodels {theirs:.3f} s (all coefficients), "
          f"causalif {ours:.3f} s (one); largest difference {gap:.1e}")  # fmt: skip


def memory_of_this_process(n: int) -> None:
    """Compute the table once and print the peak resident memory, before and after."""
    X, y = logistic(n)
    fit = sm.Logit(y, X).fit(disp=0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    case_influence(fit, "x1")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{after:.2f} GiB ({before:.2f} GiB after the fit itself)")


def search_a_million(n: int) -> None:
    """Print the time of a search before its refits, and with them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    a = (rng.random(n) < 1 / (1 + np.exp(-0.5 * x))).astype(int)
    data = pd.DataFrame({"x": x, "a": a, "y": 0.02 * a + x + rng.normal(size=n)})
    question = ATE(outcome="y", treatment="a", adjust=["x"], learners="linear")
    start = time.process_time()
    fit = question.fit(data)
    print(f"\nmost_influential on an Estimate, n={n:,}; one fit takes {time.process_time() - start:.2f} s")
    for goal in ("sign", "significance", "sign+significance"):
        taken = seconds(lambda goal=goal: most_influential(fit, goal, verify=False), 3)
        print(f"  {goal:<18} {taken:6.2f} s before its refits")
    start = time.process_time()
    found = most_influential(fit)
    print(f"  sign, refitted     {time.process_time() - start:6.2f} s: {found.counts.to_dict()}")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--million", type=int, default=1_000_000)
    parser.add_argument("--memory", type=int)
    chosen = parser.parse_args()
    if chosen.memory:
        memory_of_this_process(chosen.memory)
        return
    compare_with_newton(chosen.rows)
    alone = subprocess.run(
        [sys.executable, __file__, "--memory", str(chosen.rows)], capture_output=True, text=True, check=True
    )
    print(f"  peak memory of the whole process: {alone.stdout.strip()}")
    compare_with_statsmodels()
    search_a_million(chosen.million)


if __name__ == "__main__":
    main()
