"""Monte Carlo of effects along paths: bias, spread, standard errors and coverage where the graph is known.

    python tests/coverage/study_mediation.py                                 # all effects, 200 draws of 1,000 rows
    python tests/coverage/study_mediation.py --effects natural --draws 150
    python tests/coverage/study_mediation.py --effects shift --draws 200
    python tests/coverage/study_mediation.py --rows 4000 --draws 100 --effects interventional

The design ("SEM-2"): C ~ N(0, 1); A ~ Bernoulli(expit .8C); L = .7A + .5C + .8e; M = .6A + .5L + .3C + .7e;
Y = .4A + .5L + .8M + .3AM + .4C + e. A -> L -> Y and A -> L -> M -> Y recant. Truths are products of coefficients.
Quadratic learners for regressions, a logistic regression linear in the columns (which is the truth) for the treatment.
"overlap" asks for the interventional effects where the product law of L and M is seen: with L = .3A + ... and
M = ... + .25L + .... In SEM-2 itself the weight of A -> L -> Y has second moment exp(51.6): its efficiency bound is
practically infinite, estimates rest on the outcome regression beyond the data, and standard errors are too small.
"shift" draws a continuous treatment A = .5C + e, M = .6A + .3C + e, Y = .4A + .8M + .4C + e, shifted by 0.5; its truths
account for the rows that stay, by simulation of ten million rows.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from causalif._errors import CausalifWarning
from causalif.engine.linear import OLS
from causalif.engine.problem import Plan
from causalif.estimators.mediation import Mediation
from causalif.estimators.mediation.bridge import fit_questions
from causalif.estimators.mediation.columns import read_columns, read_exposure
from causalif.graphs.mediation import edge_questions, path_question, total_question

DAG = nx.DiGraph([(c, v) for c, below in {"C": "ALMY", "A": "LMY", "L": "MY", "M": "Y"}.items() for v in below])
NATURAL = {
    "direct": 0.40,
    "A -> M -> Y, control": 0.48,
    "A -> M -> Y, treated": 0.66,
    "A -> L ~> Y": 0.63,
    "total": 1.795,
    "remainder": 0.285,
}
INTERVENTIONAL = {"A -> L -> M -> Y": 0.28, "A -> L -> Y": 0.35}
OVERLAP = (0.3, 0.25)
OVERLAP_TRUTH = {"A -> L -> M -> Y": 0.06, "A -> L -> Y": 0.15}
SHIFT = 0.5


@dataclass(frozen=True)
class Quadratic:
    """Least squares on columns, their squares and products, for all folds at once."""

    linear: Any

    def fit_folds(self, X: Any, y: Any, slices: Sequence[slice], weights: Any = None) -> list[Any]:
        """Return one predictor per slice."""
        fits = self.linear.fit_folds(_squared(X), y, slices, weights)
        return [lambda Z, fit=fit: fit(_squared(Z)) for fit in fits]


def _squared(X: Any) -> Any:
    """Return columns, products, and squares of those that are not constant twins of the column itself."""
    X = np.asarray(X, dtype=float)
    pairs = [X[:, i] * X[:, j] for i in range(X.shape[1]) for j in range(i, X.shape[1])]
    return np.column_stack([X, *pairs])


LEARNERS = {
    "quadratic": {
        "outcome": Quadratic(OLS()), "nested": Quadratic(OLS()), "treatment": "linear",
        "density_ratio": "linear",
    },
    "linear": "linear",
    "auto": "auto",
}  # fmt: skip


def sem2(n: int, seed: int, a_to_l: float = 0.7, l_to_m: float = 0.5) -> pd.DataFrame:
    """Draw n rows of SEM-2, or of a model with other coefficients of A in L and of L in M."""
    rng = np.random.default_rng(seed)
    C, e = rng.normal(size=n), rng.normal(size=(3, n))
    A = (rng.uniform(size=n) < 1 / (1 + np.exp(-0.8 * C))) * 1.0
    L = a_to_l * A + 0.5 * C + 0.8 * e[0]
    M = 0.6 * A + l_to_m * L + 0.3 * C + 0.7 * e[1]
    Y = 0.4 * A + 0.5 * L + 0.8 * M + 0.3 * A * M + 0.4 * C + e[2]
    return pd.DataFrame({"C": C, "A": A, "L": L, "M": M, "Y": Y})


def continuous(n: int, seed: int) -> pd.DataFrame:
    """Draw n rows with a continuous treatment."""
    rng = np.random.default_rng(seed)
    C, e = rng.normal(size=n), rng.normal(size=(3, n))
    A = 0.5 * C + e[0]
    M = 0.6 * A + 0.3 * C + e[1]
    return pd.DataFrame({"C": C, "A": A, "M": M, "Y": 0.4 * A + 0.8 * M + 0.4 * C + e[2]})


def questions(effects: str) -> dict[str, Any]:
    """Return the questions and their truths."""
    found: dict[str, Any] = {}
    if effects in ("all", "natural"):
        edges = edge_questions(DAG, "A", "Y", adjust="optimal")
        found |= {"direct": edges["Y"], "A -> M -> Y, control": edges["M"], "A -> L ~> Y": edges["L"]}
        found["A -> M -> Y, treated"] = path_question(DAG, "A", "Y", ("A", "M", "Y"), "treated")
        found["total"] = total_question(DAG, "A", "Y")
    if effects in ("all", "interventional", "overlap"):
        for path in INTERVENTIONAL:
            found[path] = path_question(DAG, "A", "Y", tuple(path.split(" -> ")))
    return found


def one_draw(effects: str, learners: str, n: int, seed: int) -> list[tuple[str, float, float, float]]:
    """Return (effect, truth, estimate, standard error) of one table."""
    asked = questions(effects)
    columns = read_columns(sem2(n, seed, *(OVERLAP if effects == "overlap" else ())), "Y", "A", ["L", "M"], ["C"])
    plan = Plan(LEARNERS[learners], strata=("A",), seed=seed)
    fit = fit_questions(list(asked.values()), columns, read_exposure(columns, None, None), plan)
    at = {name: j for j, name in enumerate(asked)}
    terms = {name: np.eye(len(at))[j] for name, j in at.items()}
    if "total" in at:
        edges = ("direct", "A -> M -> Y, control", "A -> L ~> Y")
        terms["remainder"] = terms["total"] - np.sum([terms[name] for name in edges], axis=0)
    truth = NATURAL | (OVERLAP_TRUTH if effects == "overlap" else INTERVENTIONAL)
    return [
        (name, truth[name], float(row @ fit.values), float(np.sqrt(np.mean((fit.influence @ row) ** 2) / n)))
        for name, row in terms.items()
    ]


def one_shift(learners: str, n: int, seed: int) -> list[tuple[str, float, float, float]]:
    """Return the effects of a shift of a continuous treatment, against what holds for the rows that moved."""
    data = continuous(n, seed)
    found = []
    for reference in ("control", "treated"):
        fit = Mediation(
            outcome="Y", treatment="A", mediators=["M"], adjust=["C"], shift=SHIFT, reference=reference,
            learners=LEARNERS[learners], random_state=seed,
        ).fit(data)  # fmt: skip
        high = data["A"].max()
        moved = SHIFT * share_moved(high)
        truth = {"total": 0.88 * moved, "direct": 0.4 * moved, "indirect": 0.48 * moved}
        found += [
            (f"{term}, {reference}", value, float(fit.params[term]), float(fit.std_errors[term]))
            for term, value in truth.items()
        ]
    return found


@cache
def _population() -> Any:
    return np.sort(np.random.default_rng(2**31).normal(size=10_000_000) * math.sqrt(1.25))


def share_moved(high: float) -> float:
    """Return P(A + shift stays within the support)."""
    return float(np.searchsorted(_population(), high - SHIFT, side="right") / 10_000_000)


def study(effects: str, learners: str, n: int, draws: int, first: int = 0) -> pd.DataFrame:
    """Return bias, spread, mean standard error and coverage of every effect over seeded draws."""
    lines: list[tuple[str, float, float, float]] = []
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", CausalifWarning)
        for seed in range(first, first + draws):
            lines += one_shift(learners, n, seed) if effects == "shift" else one_draw(effects, learners, n, seed)
    frame = pd.DataFrame(lines, columns=["effect", "truth", "estimate", "std_error"])
    frame["error"] = frame["estimate"] - frame["truth"]
    frame["covered"] = frame["error"].abs() <= 1.959964 * frame["std_error"]
    grouped = frame.groupby("effect", sort=False)
    table = pd.DataFrame(
        {
            "truth": grouped["truth"].mean(),
            "bias": grouped["error"].mean(),
            "SD": grouped["error"].std(),
            "mean SE": grouped["std_error"].mean(),
            "coverage": grouped["covered"].mean(),
        }
    )
    table["SE / SD"] = table["mean SE"] / table["SD"]
    table["bias / MC error"] = table["bias"] / (table["SD"] / math.sqrt(draws))
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--effects", choices=["all", "natural", "interventional", "overlap", "shift"], default="all")
    parser.add_argument("--learners", choices=list(LEARNERS), default="quadratic")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    chosen = parser.parse_args()
    start = time.process_time()
    table = study(chosen.effects, chosen.learners, chosen.rows, chosen.draws, chosen.first)
    print(table.round(3).to_string())
    seconds = time.process_time() - start
    print(f"{chosen.draws} draws of {chosen.rows:,} rows, {chosen.learners} learners, {seconds:.0f} s CPU")


if __name__ == "__main__":
    main()
