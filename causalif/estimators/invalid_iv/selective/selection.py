"""Every candidate is fitted once per split; the tuple of least risk is selected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from causalif._validate import Array, one_of
from causalif.engine.crossfit import CrossFit, cross_fit
from causalif.engine.problem import Plan, Problem
from causalif.estimands.invalid_iv import InvalidIVEffect
from causalif.estimands.selective_iv import BlockParts
from causalif.estimators.invalid_iv.selective.candidates import Candidates
from causalif.estimators.invalid_iv.selective.risk import Criterion, Splits, score_means, score_noise
from causalif.table import Table

TIE = 1e-9
CRITERIA = ("mixed-minimax", "minimax")


@dataclass(frozen=True, eq=False)
class Selection:
    """The tuple chosen, all tuples by rising risk, and how well every first-stage candidate predicts out of fold."""

    names: tuple[str, ...]
    table: pd.DataFrame
    skill: pd.DataFrame


def select(
    candidates: Candidates,
    table: Table,
    plan: Plan,
    question: InvalidIVEffect,
    criterion: Criterion = "mixed-minimax",
    noise_correct: bool = False,
) -> Selection:
    """Fit every candidate once per split and return the tuple of least risk; see `estimate`."""
    one_of("criterion", criterion, CRITERIA)
    questions = [BlockParts(question, block, member) for block in "FMH" for member in candidates.blocks[block].values()]
    again = replace(plan, learners=candidates.tagged(), repeats=1)
    unit = _power_of_two(table[question.roles.outcome])
    parts, fits = [], []
    for seed in np.random.SeedSequence(plan.seed).generate_state(plan.repeats):
        result = cross_fit(questions, table, replace(again, seed=int(seed)))
        parts.append(_splits_of(result, candidates.shape, unit, table, noise_correct))
        fits.append(result.fits)
    risks = _risk_table(candidates.tuples, parts, criterion, unit)
    names = tuple(str(risks[block].iloc[0]) for block in "FMH")
    return Selection(names, risks, _skill_table(Problem.of(questions, again), fits[0]))


def _power_of_two(y: Array) -> float:
    """Return a unit in which squares of outcomes neither under- nor overflow; dividing by it changes no digit."""
    return float(2.0 ** np.floor(np.log2(np.abs(y).max())))


def _splits_of(result: CrossFit, shape: tuple[int, int, int], unit: float, table: Table, noise_correct: bool) -> Splits:
    """Return the means of all tuples over each held-out fold, outcomes measured in ``unit``."""
    (K, L, H), folds, found = shape, result.folds[0], []
    weights = np.ones(len(table)) if table.weights is None else table.weights
    for rows in (folds.ids == fold for fold in range(folds.k)):
        F, M, last = np.split(result.phi[rows], [K, K + 2 * L], axis=1)
        parts = F, M.reshape(-1, L, 2), last.reshape(-1, H, 3) / unit
        w = weights[rows] / weights[rows].sum()
        clusters = None if table.clusters is None else table.clusters[rows]
        found.append(Splits(score_means(parts, w)[None], score_noise(parts, w, clusters) if noise_correct else None))
    return Splits.pooled(found)


def _risk_table(
    tuples: Sequence[tuple[str, ...]], parts: Sequence[Splits], criterion: Criterion, unit: float
) -> pd.DataFrame:
    """Return one line per tuple, the chosen one first, then by rising risk."""
    every = Splits.pooled(parts)
    b1, b2, risk = every.risks(criterion)
    frame = pd.DataFrame(list(tuples), columns=["F", "M", "H"])
    frame["estimate"] = every.psi.mean(axis=0).ravel() * unit
    with np.errstate(over="ignore", under="ignore"):
        for name, square in (("B1", b1), ("B2", b2), ("risk", risk)):
            frame[name] = square * unit * unit
    if len(parts) > 1:
        winners = [first_least(part.risks(criterion)[2]) for part in parts]
        frame["share"] = np.bincount(winners, minlength=len(tuples)) / len(parts)
    best = first_least(risk)
    order = [number for number in np.argsort(risk, kind="stable") if number != best]
    return frame.iloc[[best, *order]].reset_index(drop=True)


def first_least(risk: Array) -> int:
    """Return the first of the smallest risks; learners that agree up to rounding tie."""
    return int(np.flatnonzero(risk <= risk.min() * (1 + TIE))[0])


def _skill_table(problem: Problem, fits: pd.DataFrame) -> pd.DataFrame:
    """Return what is known of the regressions of columns, by candidate."""
    frame = fits.reset_index().assign(candidate=[node.spec.learner for node in problem.nodes])
    kept = [isinstance(node.spec.target, str) for node in problem.nodes]
    return frame.loc[kept, ["candidate", "nuisance", "skill", "clipped", "seconds"]].reset_index(drop=True)
