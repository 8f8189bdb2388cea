"""Weighted controlled direct effect: CPU time over the bare learner fits, and memory at a million rows.

    python benchmarks/wcde.py            # 100,000 rows with default learners (minutes), then a million rows, linear
    python benchmarks/wcde.py --rows 10000
    python benchmarks/wcde.py --mediator continuous      # density ratio and 50 partners per row

The bare side runs the same learners on the same folds, fits and the predictions that the estimator needs, and nothing
else; the ratio to its fits alone is printed, too. Both sides get one thread and take turns; CPU seconds.
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

import numpy as np
import pandas as pd
from sklearn.base import clone

from causalif.engine.defaults import default_learner
from causalif.engine.density_ratio import RatioClassifier
from causalif.estimands.product_average import SOME_PARTNERS
from causalif.estimators.wcde import WCDE

K = 5
PERMUTATIONS = 4
ADJUST = ["c1", "c2", "c3"]


def table(n: int, mediator: str = "binary") -> pd.DataFrame:
    """Draw a mediator with three covariates."""
    rng = np.random.default_rng(0)
    c = rng.normal(size=(n, 3))
    a = rng.random(n) < 1 / (1 + np.exp(-0.5 * c[:, 0]))
    pull = 0.8 * a + 0.5 * c[:, 1]
    m = pull + rng.normal(size=n) if mediator == "continuous" else (rng.random(n) < 1 / (1 + np.exp(-pull))) * 1
    y = a + m + a * m + c.sum(axis=1) + np.sin(2 * c[:, 0]) + rng.normal(size=n)
    return pd.DataFrame(c, columns=ADJUST).assign(A=a.astype(int), M=m, Y=y)


def ours(data: pd.DataFrame, learners: object, folds: np.ndarray) -> tuple[float, float]:
    """Fit the estimator."""
    question = WCDE(outcome="Y", treatment="A", mediators=["M"], adjust=ADJUST, learners=learners, folds=folds)
    fit = question.fit(data)
    return float(fit.params["WCDE"]), float(fit.std_errors["WCDE"])


class Timed:
    """A learner whose fits are timed."""

    seconds = 0.0

    def __init__(self, learner: object) -> None:
        self.learner = learner

    def fit(self, x: np.ndarray, y: np.ndarray) -> object:
        """Fit a clone."""
        start = time.process_time()
        model = clone(self.learner).fit(x, y)
        Timed.seconds += time.process_time() - start
        return model


def bare_pairs(data: pd.DataFrame, folds: np.ndarray) -> tuple[float, float]:
    """Run nothing but the learner fits and predictions for a continuous mediator, in plain numpy."""
    c, a, m, y = (data[name].to_numpy() for name in (ADJUST, "A", "M", "Y"))
    x, phi, rng = np.column_stack([m, c]), np.empty(len(y)), np.random.default_rng(0)
    regressor, classifier, ratio = (
        Timed(one) for one in (default_learner("mean"), default_learner("probability"), RatioClassifier(random_state=0))
    )
    for k in range(K):
        train, test = folds != k, folds == k
        e = classifier.fit(x[train], a[train]).predict_proba(x[test])[:, 1].clip(0.01, 0.99)
        n, dealt = int(train.sum()), x[train]
        copies = [np.column_stack([dealt[:, 0], dealt[rng.permutation(n), 1:]]) for _ in range(PERMUTATIONS)]
        told = ratio.fit(np.vstack([dealt, *copies]), np.repeat([0, 1], [n, PERMUTATIONS * n]))
        p = told.predict_proba(x[test])[:, 1]
        r, held, arm = p / (1 - p) / PERMUTATIONS, x[test], []
        shifts = 1 + rng.choice(len(held) - 1, SOME_PARTNERS, replace=False)
        for level in (1, 0):
            q = regressor.fit(x[train & (a == level)], y[train & (a == level)]).predict
            f1, f2, own = np.zeros(len(held)), np.zeros(len(held)), q(held)
            for block in np.array_split(shifts, 5):
                joint = [np.column_stack([np.roll(held[:, 0], -s), held[:, 1:]]) for s in block]
                values = q(np.vstack(joint)).reshape(len(block), -1)
                f2 += values.sum(axis=0) / SOME_PARTNERS
                f1 += sum(np.roll(v, s) for v, s in zip(values, block, strict=True)) / SOME_PARTNERS
            w = (a[test] == level) * np.minimum(r / (e if level else 1 - e), 100)
            arm.append(w * (y[test] - own) + f1 + f2 - f2.mean())
        phi[test] = arm[0] - arm[1]
    return float(phi.mean()), float(phi.std() / np.sqrt(len(phi)))


def bare(data: pd.DataFrame, folds: np.ndarray) -> tuple[float, float]:
    """Run nothing but the learner fits and predictions for a binary mediator, in plain numpy."""
    c, a, m, y = data[ADJUST].to_numpy(), data["A"].to_numpy(), data["M"].to_numpy(), data["Y"].to_numpy()
    x, phi = np.column_stack([m, c]), np.empty(len(y))
    regressor, classifier = Timed(default_learner("mean")), Timed(default_learner("probability"))
    for k in range(K):
        train, test = folds != k, folds == k
        e = classifier.fit(x[train], a[train]).predict_proba(x[test])[:, 1].clip(0.01, 0.99)
        p = classifier.fit(c[train], m[train]).predict_proba(c[test])[:, 1]
        share, t = m[test].mean(), m[test]
        ratio = np.where(t == 1, share / p, (1 - share) / (1 - p))
        arm = []
        for level in (1, 0):
            q = regressor.fit(x[train & (a == level)], y[train & (a == level)]).predict
            own = q(x[test])
            zero, one = (q(np.column_stack([np.full(test.sum(), value), c[test]])) for value in (0, 1))
            w = (a[test] == level) * ratio / (e if level else 1 - e)
            f1, f2 = np.where(t == 1, one.mean(), zero.mean()), share * one + (1 - share) * zero
            arm.append(w * (y[test] - own) + f1 + f2 - f2.mean())
        phi[test] = arm[0] - arm[1]
    return float(phi.mean()), float(phi.std() / np.sqrt(len(phi)))


def compare(n: int, rounds: int, mediator: str) -> None:
    """Print CPU seconds of both, with what they find."""
    data, folds = table(n, mediator), np.random.default_rng(1).permutation(np.arange(n) % K)
    alone = bare_pairs if mediator == "continuous" else bare
    jobs = {"causalif": lambda: ours(data, "auto", folds), "bare learners": lambda: alone(data, folds)}
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    print(f"\nDefault learners, n={n:,}, one {mediator} mediator, three covariates, {K} folds")
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.process_time()
            found = job()
            seconds[name].append(time.process_time() - start)
            print(f"  {name:<15}{seconds[name][-1]:9.1f} s   WCDE {found[0]:9.5f}   se {found[1]:8.5f}", flush=True)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    fits = Timed.seconds / rounds
    print(f"  causalif / bare: {medians['causalif'] / medians['bare learners']:.3f}")
    print(f"  causalif / fits alone ({fits:.1f} s): {medians['causalif'] / fits:.3f}")


def memory_of_this_process(n: int) -> None:
    """Fit once on the linear path and print the peak resident memory, before and after."""
    data = table(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.process_time()
    found = ours(data, "linear", np.asarray(np.arange(n) % K))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = time.process_time() - start
    print(
        f"{after:.2f} GiB ({before:.2f} GiB before the fit), {seconds:.1f} s, WCDE {found[0]:.4f} (se {found[1]:.5f})"
    )


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--mediator", choices=["binary", "continuous"], default="binary")
    parser.add_argument("--memory", type=int)
    chosen = parser.parse_args()
    if chosen.memory:
        memory_of_this_process(chosen.memory)
        return
    if chosen.mediator == "continuous":
        compare(chosen.rows, chosen.rounds, chosen.mediator)
        return
    million = [sys.executable, __file__, "--memory", "1000000"]
    done = subprocess.run(million, capture_output=True, text=True, check=True)
    print(f"Peak memory of the whole process, n=1,000,000, linear path: {done.stdout.strip()}")
    compare(chosen.rows, chosen.rounds, chosen.mediator)


if __name__ == "__main__":
    main()
