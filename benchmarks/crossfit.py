"""Cross-fitted AIPW: CPU time and memory against DoubleML and against the bare learner fits, in one run.

    pip install doubleml
    python benchmarks/crossfit.py            # all tables, about four minutes
    python benchmarks/crossfit.py --quick    # without the million rows

Both sides get the same rows, the same folds, the same covariates and one thread, and go from a DataFrame to an
estimate with its standard error. They take turns; medians of CPU seconds are shown. DoubleML runs twice, with
scikit-learn's logistic regression on raw and on standardised columns, and the faster of the two counts.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import causalif as ci
from causalif.datasets import load_401k

K = 5


def case_401k() -> tuple[pd.DataFrame, str, str, list[str]]:
    """Return the 401(k) table, outcome, treatment, covariates."""
    return load_401k(), "nettfa", "e401k", ["inc", "marr", "male", "age", "fsize", "pira", "incsq", "agesq"]


def case_synthetic(n: int, p: int = 20) -> tuple[pd.DataFrame, str, str, list[str]]:
    """Return a linear design."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, p))
    a = (rng.random(n) < 1 / (1 + np.exp(-x[:, :5].sum(axis=1) / 3))).astype(float)
    names = [f"x{j}" for j in range(p)]
    frame = pd.DataFrame(x, columns=names)
    return frame.assign(a=a, y=a + x[:, :8].sum(axis=1) + rng.normal(size=n)), "y", "a", names


def fold_ids(n: int) -> np.ndarray:
    """Return one fold label per row, in random order."""
    return np.random.default_rng(1).permutation(np.arange(n) % K)


def ours(case: tuple, learners: object, folds: np.ndarray) -> tuple[float, float]:
    """Fit our ATE."""
    frame, outcome, treatment, adjust = case
    fit = ci.ATE(outcome=outcome, treatment=treatment, adjust=adjust, learners=learners, folds=folds).fit(frame)
    return float(fit.params["ATE"]), float(fit.std_errors["ATE"])


def doubleml(case: tuple, regressor: object, classifier: object, folds: np.ndarray) -> tuple[float, float]:
    """Fit DoubleML's interactive regression model on the same folds."""
    from doubleml import DoubleMLData, DoubleMLIRM

    frame, outcome, treatment, adjust = case
    data = DoubleMLData(frame, y_col=outcome, d_cols=treatment, x_cols=adjust)
    model = DoubleMLIRM(data, clone(regressor), clone(classifier), n_folds=K, draw_sample_splitting=False)
    everyone = np.arange(len(frame))
    model.set_sample_splitting([(everyone[folds != k], everyone[folds == k]) for k in range(K)])
    model.fit()
    return float(model.coef[0]), float(model.se[0])


def bare(case: tuple, regressor: object, classifier: object, folds: np.ndarray) -> tuple[float, float]:
    """Run nothing but the learner fits and predictions, in plain numpy."""
    frame, outcome, treatment, adjust = case
    X, y, a = frame[adjust].to_numpy(), frame[outcome].to_numpy(), frame[treatment].to_numpy()
    phi = np.empty(len(y))
    for k in range(K):
        train, test = folds != k, folds == k
        pi = clone(classifier).fit(X[train], a[train]).predict_proba(X[test])[:, 1].clip(0.01, 0.99)
        mu = [clone(regressor).fit(X[train & (a == z)], y[train & (a == z)]).predict(X[test]) for z in (0, 1)]
        t = a[test]
        residual = y[test] - np.where(t == 1, mu[1], mu[0])
        phi[test] = mu[1] - mu[0] + (t / pi - (1 - t) / (1 - pi)) * residual
    return float(phi.mean()), float(phi.std() / np.sqrt(len(phi)))


def take_turns(jobs: dict[str, Callable[[], tuple[float, float]]], rounds: int) -> dict[str, tuple[float, ...]]:
    """Return the median CPU seconds, estimate and standard error of every job."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    found = {}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            start = time.process_time()
            found[name] = job()
            if number:  # the first round warms up
                seconds[name].append(time.process_time() - start)
    return {name: (statistics.median(seconds[name]), *found[name]) for name in jobs}


def linear_table(label: str, case: tuple, rounds: int) -> None:
    """Print the comparison with linear and logistic learners."""
    folds = fold_ids(len(case[0]))
    logit = LogisticRegression(C=np.inf, max_iter=2000)
    jobs = {
        "causalif": lambda: ours(case, "linear", folds),
        "DoubleML, raw": lambda: doubleml(case, LinearRegression(), logit, folds),
        "DoubleML, standardised": lambda: doubleml(
            case, LinearRegression(), make_pipeline(StandardScaler(), logit), folds
        ),
        "bare sklearn, standardised": lambda: bare(
            case, LinearRegression(), make_pipeline(StandardScaler(), logit), folds
        ),
    }
    result = take_turns(jobs, rounds)
    best = min(value[0] for name, value in result.items() if name.startswith("DoubleML"))
    print(f"\n{label}: linear and logistic learners, {K} folds, median CPU seconds of {rounds}")
    for name, (seconds, theta, se) in result.items():
        print(f"  {name:<28}{seconds:9.4f} s   theta {theta:10.5f}   se {se:9.5f}")
    print(f"  DoubleML (faster of the two) / causalif: {best / result['causalif'][0]:.1f}x")


def any_learner_table(label: str, case: tuple, regressor: object, classifier: object, rounds: int) -> None:
    """Print our overhead over the bare learner fits with an arbitrary scikit-learn learner."""
    folds = fold_ids(len(case[0]))
    learners = {"outcome": regressor, "treatment": classifier}
    jobs = {
        "causalif": lambda: ours(case, learners, folds),
        "bare": lambda: bare(case, regressor, classifier, folds),
        "DoubleML": lambda: doubleml(case, regressor, classifier, folds),
    }
    result = take_turns(jobs, rounds)
    base = result["bare"][0]
    times = "   ".join(f"{name} {value[0]:.3f} s ({value[0] / base:.3f})" for name, value in result.items())
    print(f"  {label:<34}{times}")


def memory(n: int) -> None:
    """Print the peak memory of a process that makes a table of n rows and fits the linear path."""
    done = subprocess.run([sys.executable, __file__, "--memory", str(n)], capture_output=True, text=True, check=True)
    print(f"\nPeak memory, n={n:,}, p=20, linear path (whole process, the table included): {done.stdout.strip()}")


def memory_of_this_process(n: int) -> None:
    """Fit once and print the peak resident memory of this process, before and after the fit."""
    case = case_synthetic(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.process_time()
    frame, outcome, treatment, adjust = case
    ci.ATE(outcome=outcome, treatment=treatment, adjust=adjust, learners="linear").fit(frame)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{after:.2f} GiB ({before:.2f} GiB before the fit), {time.process_time() - start:.2f} s")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--memory", type=int)
    chosen = parser.parse_args()
    if chosen.memory:
        memory_of_this_process(chosen.memory)
        return
    warnings.simplefilter("ignore")
    linear_table("401(k), n=9,275, p=8", case_401k(), 15)
    linear_table("synthetic, n=100,000, p=20", case_synthetic(100_000), 5)
    print(f"\nAny scikit-learn learner: median CPU seconds, in brackets over the bare fits ({K} folds)")
    forest = {"n_estimators": 50, "min_samples_leaf": 10, "random_state": 0}
    boost = {"max_iter": 100, "random_state": 0}
    cases = {"401(k)": case_401k(), "n=10,000, p=20": case_synthetic(10_000)}
    for label, case in cases.items():
        any_learner_table(
            f"{label}, random forest", case, RandomForestRegressor(**forest), RandomForestClassifier(**forest), 3
        )
        any_learner_table(
            f"{label}, boosting",
            case,
            HistGradientBoostingRegressor(**boost),
            HistGradientBoostingClassifier(**boost),
            5,
        )
    if not chosen.quick:
        memory(1_000_000)


if __name__ == "__main__":
    main()
