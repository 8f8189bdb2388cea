"""Effects averaged over a thousand posterior graphs: CPU time over the learner fits of the distinct nuisances.

    python benchmarks/sigma.py            # default learners, n = 2,000
    python benchmarks/sigma.py --rows 5000 --learner boosting

A thousand graphs are drawn on five nodes, whose order is known and whose edges are present at random. Every learner's
own `fit` is timed inside the run; what is left is graph work, predictions, influence functions and averages. One
thread, CPU seconds.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import sys
import time
import warnings
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

import causalif as ci
from causalif.engine.defaults import default_learner
from causalif.engine.density_ratio import RatioClassifier

ORDER = ("C", "A", "L", "M", "Y")
CERTAIN = {("C", "A"), ("A", "L"), ("L", "M"), ("M", "Y")}
SPENT = {"seconds": 0.0, "fits": 0.0}


class Timed(BaseEstimator):
    """A learner that adds the CPU seconds of its fits to a total."""

    def __init__(self, learner: Any = None) -> None:
        self.learner = learner

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Timed:
        """Fit and take the time."""
        start = time.process_time()
        given = {} if sample_weight is None else {"sample_weight": sample_weight}
        self.model_ = clone(self.learner).fit(X, y, **given)
        self.classes_ = getattr(self.model_, "classes_", None)
        SPENT["seconds"] += time.process_time() - start
        SPENT["fits"] += 1
        return self

    def predict(self, X: Any) -> Any:
        """Return the learner's own predictions."""
        return self.model_.predict(X)


class TimedRegressor(RegressorMixin, Timed):
    """The same, as a regressor."""


class TimedClassifier(ClassifierMixin, Timed):
    """The same, as a classifier."""

    def predict_proba(self, X: Any) -> Any:
        """Return the learner's own probabilities."""
        return self.model_.predict_proba(X)


def posterior(draws: int, rng: np.random.Generator) -> ci.DAGPosterior:
    """Draw graphs: four edges are certain, six are there with probability a half."""
    pairs = [(a, b) for i, a in enumerate(ORDER) for b in ORDER[i + 1 :]]
    graphs = []
    for _ in range(draws):
        dag = nx.DiGraph()
        dag.add_nodes_from(ORDER)
        dag.add_edges_from(pair for pair in pairs if pair in CERTAIN or rng.random() < 0.5)
        graphs.append(dag)
    return ci.DAGPosterior.from_dags(graphs)


def table(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw rows of a linear system with an interaction."""
    c = rng.normal(size=n)
    a = (rng.random(n) < 1 / (1 + np.exp(-0.8 * c))).astype(int)
    low = 0.7 * a + 0.5 * c + 0.8 * rng.normal(size=n)
    m = 0.6 * a + 0.5 * low + 0.3 * c + 0.7 * rng.normal(size=n)
    y = 0.4 * a + 0.5 * low + 0.8 * m + 0.3 * a * m + 0.4 * c + rng.normal(size=n)
    return pd.DataFrame({"C": c, "A": a, "L": low, "M": m, "Y": y})


def learners(kind: str) -> dict[str, Any]:
    """Return the learners, timed."""
    if kind == "boosting":
        gentle = {"max_iter": 60, "learning_rate": 0.05, "max_leaf_nodes": 6, "random_state": 0}
        mean, probability = HistGradientBoostingRegressor(**gentle), HistGradientBoostingClassifier(**gentle)
    else:
        mean, probability = default_learner("mean"), default_learner("probability")
    timed = {name: TimedRegressor(mean) for name in ("outcome", "nested")}
    return timed | {
        "treatment": TimedClassifier(probability), "density_ratio": TimedClassifier(RatioClassifier(random_state=0))
    }  # fmt: skip


def main() -> None:
    """Fit once and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--draws", type=int, default=1_000)
    parser.add_argument("--learner", choices=("default", "boosting"), default="default")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    graphs, data = posterior(options.draws, rng), table(options.rows, rng)
    warnings.simplefilter("ignore")
    start = time.process_time()
    fit = ci.SIGMA(
        treatment="A", outcome="Y", posterior=graphs, learners=learners(options.learner), progress=False
    ).fit(data)
    total = time.process_time() - start
    sys.stdout.write(
        f"{options.draws:,} draws, {len(graphs.weights)} different graphs, {len(fit.paths)} paths, "
        f"{fit.settings['functionals']} functionals, {len(fit.diagnostics['nuisances'])} distinct nuisances\n"
        f"total {total:.1f} s, of which {SPENT['fits']:.0f} learner fits {SPENT['seconds']:.1f} s: "
        f"ratio {total / SPENT['seconds']:.2f}\n"
    )


if __name__ == "__main__":
    main()
