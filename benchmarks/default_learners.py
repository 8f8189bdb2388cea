"""Default learners against each of their parts and against plain linear models: test risk and CPU seconds per fit.

Run: ``OMP_NUM_THREADS=1 python benchmarks/default_learners.py [draws]``. Every cell is an average over draws of test
risk on 20,000 fresh rows (mean squared error, or log loss), divided by the risk of the true regression function.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from causalif.engine.defaults import SmoothClassifier, SmoothRegressor, default_learner

TEST_ROWS = 20_000
Surface = Callable[[np.ndarray], np.ndarray]


def _linear(X: np.ndarray) -> np.ndarray:
    return X[:, 0] - 0.5 * X[:, 1] + 0.25 * X[:, 2]


def _smooth(X: np.ndarray) -> np.ndarray:
    return np.sin(1.5 * X[:, 0]) + 0.5 * X[:, 1] ** 2 - np.exp(-X[:, 2]) / 2


def _interactions(X: np.ndarray) -> np.ndarray:
    return X[:, 0] * X[:, 1] + X[:, 1] * X[:, 2] + 0.5 * X[:, 3]


def _steps(X: np.ndarray) -> np.ndarray:
    return 1.5 * (X[:, 0] > 0.3) - 1.0 * (X[:, 1] > -0.5) * (X[:, 2] > 0) + 0.5 * (X[:, 3] > 1)


def _friedman(X: np.ndarray) -> np.ndarray:
    U = 1 / (1 + np.exp(-1.6 * X))
    return (10 * np.sin(np.pi * U[:, 0] * U[:, 1]) + 20 * (U[:, 2] - 0.5) ** 2 + 10 * U[:, 3] + 5 * U[:, 4]) / 3


def _kang_schafer(X: np.ndarray) -> np.ndarray:
    return (27.4 * X[:, 0] + 13.7 * (X[:, 1] + X[:, 2] + X[:, 3])) / 20 + 0 * X[:, 4]


def _noise(X: np.ndarray) -> np.ndarray:
    return np.zeros(len(X))


SURFACES: dict[str, tuple[Surface, int, float]] = {  # surface, columns, noise standard deviation
    "linear": (_linear, 5, 1.0),
    "smooth": (_smooth, 5, 1.0),
    "interactions": (_interactions, 5, 1.0),
    "steps": (_steps, 5, 1.0),
    "friedman": (_friedman, 8, 1.0),
    "sparse p=50": (lambda X: _linear(X) + np.maximum(X[:, 3], 0), 50, 1.0),
    "warped inputs": (_kang_schafer, 5, 1.0),
    "no signal": (_noise, 5, 1.0),
}


def features(rng: np.random.Generator, n: int, p: int, name: str) -> pd.DataFrame:
    """Draw correlated columns, the last one binary; return what is observed as ``x``, what acts as ``attrs``."""
    X = rng.normal(size=(n, p))
    X[:, 1:] = 0.4 * X[:, :-1] + np.sqrt(1 - 0.16) * X[:, 1:]
    X[:, -1] = X[:, -1] > 0
    seen = X
    if name == "warped inputs":  # Kang and Schafer (2007), Statistical Science 22, 523-539, section 3
        seen = X.copy()
        seen[:, 0] = np.exp(X[:, 0] / 2)
        seen[:, 1] = X[:, 1] / (1 + np.exp(X[:, 0])) + 10
        seen[:, 2] = (X[:, 0] * X[:, 2] / 25 + 0.6) ** 3
        seen[:, 3] = (X[:, 1] + X[:, 3] + 20) ** 2
    frame = pd.DataFrame(seen, columns=[f"x{j}" for j in range(p)])
    frame.attrs["acting"] = X
    return frame


def learners(binary: bool) -> dict[str, Any]:
    """Return the default and its rivals."""
    if binary:
        plain = make_pipeline(StandardScaler(), LogisticRegression(C=1e4, max_iter=500))
        return {
            "default": default_learner("probability").set_params(random_state=0),
            "linear": plain,
            "boosting": HistGradientBoostingClassifier(random_state=0),
            "splines": SmoothClassifier(),
        }
    return {
        "default": default_learner("mean").set_params(random_state=0),
        "linear": LinearRegression(),
        "boosting": HistGradientBoostingRegressor(random_state=0),
        "splines": SmoothRegressor(),
    }


def one_draw(name: str, binary: bool, n: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return risk relative to the truth's and CPU seconds, for every learner."""
    surface, p, sd = SURFACES[name]
    rng = np.random.default_rng([seed, n, list(SURFACES).index(name), binary])
    train, test = features(rng, n, p, name), features(rng, TEST_ROWS, p, name)
    f, g = surface(train.attrs.pop("acting")), surface(test.attrs.pop("acting"))
    if binary:
        centre = g.mean()
        y = (rng.random(n) < 1 / (1 + np.exp(centre - f))).astype(float)
        truth = 1 / (1 + np.exp(centre - g))
        best = _log_loss(truth, truth)
    else:
        y, truth, best = f + sd * rng.normal(size=n), g, sd**2
    found = {}
    for label, learner in learners(binary).items():
        started = time.process_time()
        model = clone(learner).fit(train, y)
        seconds = time.process_time() - started
        if binary:
            risk = _log_loss(truth, np.clip(model.predict_proba(test)[:, 1], 1e-4, 1 - 1e-4))
        else:
            risk = sd**2 + float(np.mean((model.predict(test) - truth) ** 2))
        found[label] = (risk / best, seconds)
    return found


def _log_loss(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(-np.mean(truth * np.log(predicted) + (1 - truth) * np.log1p(-predicted)))


def main(draws: int) -> None:
    """Print one line per surface, kind of target and number of rows."""
    names = list(learners(False))
    print(f"{'surface':14} {'target':7} {'n':>6} " + " ".join(f"{name:>9}" for name in names) + "  to best  CPU s")
    ratios = []
    for binary in (False, True):
        for name in SURFACES:
            for n in (500, 2000, 10_000):
                runs = [one_draw(name, binary, n, seed) for seed in range(draws)]
                risk = {label: np.mean([run[label][0] for run in runs]) for label in names}
                ratio = risk["default"] / min(risk[label] for label in names[1:])
                ratios.append(ratio)
                cells = " ".join(f"{risk[label]:9.4f}" for label in names)
                seconds = np.median([run["default"][1] for run in runs])
                target = "binary" if binary else "mean"
                print(f"{name:14} {target:7} {n:6} {cells}  {ratio:7.4f}  {seconds:5.2f}", flush=True)
    worst = max(ratios)
    print(f"cells within 5% of the best rival: {np.mean(np.array(ratios) <= 1.05):.0%}; worst ratio {worst:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
