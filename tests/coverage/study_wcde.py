"""Monte Carlo of the weighted controlled direct effect: bias, coverage, standard errors, choice of the set.

    python tests/coverage/study_wcde.py --design discrete --rows 2000 --draws 500
    python tests/coverage/study_wcde.py --design continuous --rows 2000 --draws 200 --learners flexible
    python tests/coverage/study_wcde.py --design continuous --learners flexible --weights-by riesz --method tmle
    python tests/coverage/study_wcde.py --design sequential --rows 2000 --draws 400
    python tests/coverage/study_wcde.py --design sets --rows 20000 --draws 200
    python tests/coverage/study_wcde.py --design marginals --rows 2000 --draws 500

"discrete" and "sets" draw from `causalif.datasets.simulate_wcde` (seven binary nodes, truth by enumeration) with
saturated regressions; "sets" compares four valid adjustment sets. "continuous" is `simulate_wcde_continuous`, truth in
closed form. "sequential" has a confounder that the treatment affects. "marginals" compares empirical marginal laws
from the evaluation rows with those from the training rows.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import Parallel, delayed
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from threadpoolctl import threadpool_limits

from causalif._errors import CausalifWarning
from causalif.datasets import Simulation, simulate_wcde, simulate_wcde_continuous
from causalif.engine.crossfit import cross_fit
from causalif.engine.problem import Plan
from causalif.estimands.direct_effect import DirectEffect
from causalif.estimands.mediator_law import MARGINAL
from causalif.estimators.wcde import WCDE
from causalif.estimators.wcde.columns import read_columns

SETS = {
    "M1 M2 C W (optimal)": ["C", "W"],
    "M1 M2 C": ["C"],
    "M1 M2 C V": ["C", "V"],
    "M1 M2 C W V": ["C", "W", "V"],
}


@dataclass(frozen=True)
class Saturated:
    """Means within every combination of columns of few values, drawn slightly to the overall mean."""

    prior: float = 1.0

    def fit_folds(self, X: Any, y: Any, slices: Sequence[slice], weights: Any = None) -> list[Any]:
        """Return one table of means per slice, from the rows outside it."""
        columns = X.shape[1]
        codes, w = X.astype(int) @ 2 ** np.arange(columns), np.ones(len(y)) if weights is None else weights
        sums = [np.bincount(codes, weights=v, minlength=2**columns) for v in (w * y, w)]
        everything = len(slices) == 1 and slices[0] == slice(0, len(y))
        fits = []
        for part in slices:
            top, bottom = (total.copy() for total in sums)
            if not everything:
                top -= np.bincount(codes[part], weights=(w * y)[part], minlength=2**columns)
                bottom -= np.bincount(codes[part], weights=w[part], minlength=2**columns)
            means = (top + self.prior * top.sum() / bottom.sum()) / (bottom + self.prior)
            fits.append(lambda Z, means=means: means[Z.astype(int) @ 2 ** np.arange(columns)])
        return fits


FLEXIBLE = make_pipeline(PolynomialFeatures(2), LinearRegression())
LEARNERS: dict[str, Any] = {
    "saturated": {name: Saturated() for name in ("outcome", "treatment", "mediator")},
    "flexible": {"outcome": FLEXIBLE, "treatment": "linear", "density_ratio": "auto"},
    "flexible, quadratic ratio": {"outcome": FLEXIBLE, "treatment": "linear", "density_ratio": "linear"},
    "outcome wrong": {**{name: Saturated() for name in ("treatment", "mediator")}, "outcome": Saturated(prior=1e9)},
    "weights wrong": {**{name: Saturated(prior=1e9) for name in ("treatment", "mediator")}, "outcome": Saturated()},
    "auto": "auto",
    "linear": "linear",
}


@cache
def population() -> npt.NDArray[np.float64]:
    """Return many draws of the continuous mediator, sorted."""
    return np.sort(simulate_wcde_continuous(2_000_000, random_state=2**31).data["M"].to_numpy())


def continuous_curve(band: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return E[CDE(M) | M in each range], CDE(m) = 1 + m / 2 + E[C²] / 2."""
    m, ends = population(), [*band["M to"].iloc[:-1], np.inf]
    last = np.searchsorted(m, ends, side="right")
    first = np.concatenate([[0], last[:-1]])
    return np.array([1 + m[a:b].mean() / 2 + 1 / 6 for a, b in zip(first, last, strict=True)])


def affected(n: int, seed: int) -> Simulation:
    """Draw a confounder L of mediator and outcome that the treatment affects, U being latent; CDE(m) = 1 + m / 2."""
    rng = np.random.default_rng(seed)
    c, u = rng.binomial(1, 0.5, n), rng.binomial(1, 0.5, n)
    a = rng.binomial(1, 0.3 + 0.4 * c)
    late = rng.binomial(1, 0.15 + 0.3 * a + 0.35 * u)
    m = rng.binomial(1, 0.2 + 0.5 * late + 0.1 * a)
    y = a + m + 0.5 * a * m + c + 2 * u + rng.normal(size=n)
    share = 0.2 + 0.5 * (0.15 + 0.3 * 0.5 + 0.35 * 0.5) + 0.1 * 0.5
    truth = {"WCDE": 1 + share / 2, "CDE(M=0)": 1.0, "CDE(M=1)": 1.5}
    # With the mediators' law among the controls: E[L | A = 0] = 0.15 + 0.35 / 2, whatever C is.
    truth["WCDE (control law)"] = 1 + (0.2 + 0.5 * 0.325) / 2
    return Simulation(pd.DataFrame({"C": c, "A": a, "L": late, "M": m, "Y": y}), truth, pd.DataFrame({"U": u}))


DRAWS: dict[str, Any] = {
    "continuous": (lambda n, seed: simulate_wcde_continuous(n, random_state=seed), ["M"]),
    "discrete": (lambda n, seed: simulate_wcde(n, random_state=seed), ["M1", "M2"]),
    "sequential": (affected, ["M"]),
}


def one_draw(
    design: str, learners: str, n: int, seed: int, adjust: Sequence[str], law: str, route: Mapping[str, str]
) -> dict[str, float]:
    """Fit one table."""
    draw, mediators = DRAWS[design]
    simulated, chosen = draw(n, seed), LEARNERS[learners]
    if route.get("weights_by") == "riesz" and not isinstance(chosen, str):
        chosen = {"outcome": chosen["outcome"]}
    question = WCDE(
        outcome="Y",
        treatment="A",
        mediators=mediators,
        adjust=list(adjust),
        mediator_law=law,
        intermediate=["L"] if design == "sequential" else [],
        learners=chosen,
        random_state=seed,
        **route,
    )
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", CausalifWarning)
        fit = question.fit(simulated.data)
    low, high = fit.conf_int().loc["WCDE"]
    truth = simulated.truth["WCDE" if law == "marginal" else "WCDE (control law)"]
    line = {
        "error": fit.params["WCDE"] - truth,
        "std_error": fit.std_errors["WCDE"],
        "covered": float(low <= truth <= high),
        "mean weight": float(fit.diagnostics["weights"]["mean weight"].mean()),
    }
    if fit.curve is not None:
        band = fit.by_mediator()
        exact = (
            continuous_curve(band)
            if design == "continuous"
            else np.array([simulated.truth[label] for label in fit.curve.labels])
        )
        line["curve covered"] = float(((band["lower"] <= exact) & (exact <= band["upper"])).all())
    return line


def summarised(found: pd.DataFrame, n: int) -> dict[str, float]:
    """Return bias with its Monte Carlo error, spread, mean standard error and coverage."""
    sd, draws = found["error"].std(), len(found)
    line = {
        "bias": found["error"].mean(),
        "MC error": sd / math.sqrt(draws),
        "bias / MC error": found["error"].mean() / (sd / math.sqrt(draws)),
        "n var": n * sd**2,
        "mean n SE^2": n * float((found["std_error"] ** 2).mean()),
        "SE / SD": found["std_error"].mean() / sd,
        "coverage": found["covered"].mean(),
    }
    return line | {name: found[name].mean() for name in ("mean weight", "curve covered") if name in found}


def study(
    design: str,
    learners: str,
    n: int,
    draws: int,
    adjust: Sequence[str] = ("C", "W"),
    law: str = "marginal",
    jobs: int = 1,
    first: int = 0,
    **route: str,
) -> dict[str, float]:
    """Return the summary over seeded draws; ``route`` holds method and weights_by."""
    adjust = adjust if design == "discrete" else ("C",)
    seeds = range(first, first + draws)
    lines = Parallel(n_jobs=jobs)(delayed(one_draw)(design, learners, n, seed, adjust, law, route) for seed in seeds)
    return summarised(pd.DataFrame(lines), n)


def study_sets(n: int, draws: int, jobs: int = 1) -> pd.DataFrame:
    """Return the summary for each of four valid adjustment sets."""
    lines = {name: study("discrete", "saturated", n, draws, adjust, jobs=jobs) for name, adjust in SETS.items()}
    return pd.DataFrame(lines).T


def one_comparison(n: int, seed: int) -> dict[str, float]:
    """Fit one table with marginal laws from the evaluation rows, and from the training rows."""
    simulated = simulate_wcde(n, random_state=seed)
    question = WCDE(outcome="Y", treatment="A", mediators=["M1", "M2"], adjust=["C", "W"])
    columns = read_columns(simulated.data, "Y", "A", ["M1", "M2"], ["C", "W"], None, None)
    asked = question._question(columns, (1, 0), MARGINAL)
    plan = Plan(learners=LEARNERS["saturated"], strata=("A", columns.cells.column), seed=seed)
    line = {}
    for part in ("evaluation", "training"):
        estimand = DirectEffect(replace(asked.treated, part=part), replace(asked.control, part=part))
        start = time.process_time()
        fit = cross_fit([estimand], columns.table, plan)
        line[f"{part} seconds"] = time.process_time() - start
        line[f"{part} error"] = fit.values[0] - simulated.truth["WCDE"]
        line[f"{part} std_error"] = fit.influence[:, 0].std() / math.sqrt(n)
    return line


def study_marginals(n: int, draws: int) -> pd.DataFrame:
    """Return bias, spread and standard errors of both ways, and how far apart they are."""
    found = pd.DataFrame([one_comparison(n, seed) for seed in range(draws)])
    lines = {}
    for part in ("evaluation", "training"):
        error, se = found[f"{part} error"], found[f"{part} std_error"]
        lines[part] = {
            "bias": error.mean(),
            "MC error": error.std() / math.sqrt(draws),
            "n var": n * error.var(),
            "SE / SD": se.mean() / error.std(),
            "coverage": float((error.abs() < 1.96 * se).mean()),
            "seconds": found[f"{part} seconds"].mean(),
        }
    table = pd.DataFrame(lines).T
    table.attrs["difference"] = float((found["evaluation error"] - found["training error"]).std())
    return table


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--design", choices=["discrete", "continuous", "sequential", "sets", "marginals"], default="discrete"
    )
    parser.add_argument("--learners", choices=sorted(LEARNERS))
    parser.add_argument("--law", choices=["marginal", "control"], default="marginal")
    parser.add_argument("--weights-by", choices=["classification", "riesz"], default="classification")
    parser.add_argument("--method", choices=["one_step", "tmle"], default="one_step")
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--jobs", type=int, default=1)
    chosen = parser.parse_args()
    learners = chosen.learners or ("flexible" if chosen.design == "continuous" else "saturated")
    start = time.perf_counter()
    print(
        f"{chosen.design}, {learners} learners, {chosen.law} law, weights by {chosen.weights_by}, {chosen.method}, "
        f"n={chosen.rows:,}, {chosen.draws} draws"
    )
    if chosen.design == "sets":
        print(study_sets(chosen.rows, chosen.draws, chosen.jobs).round(4).to_string())
    elif chosen.design == "marginals":
        table = study_marginals(chosen.rows, chosen.draws)
        print(table.round(5).to_string(), f"\nSD of the difference: {table.attrs['difference']:.2g}")
    else:
        options = {"law": chosen.law, "jobs": chosen.jobs, "first": chosen.first}
        route = {"weights_by": chosen.weights_by, "method": chosen.method}
        found = study(chosen.design, learners, chosen.rows, chosen.draws, **options, **route)
        for name, value in found.items():
            print(f"  {name:<18}{value:9.5f}")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
