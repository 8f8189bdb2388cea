"""Choose the learners, then estimate afresh with those chosen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from causalif._errors import InputError
from causalif.engine.crossfit import cross_fit
from causalif.engine.estimand import Estimand
from causalif.engine.folds import Folds
from causalif.engine.problem import Plan
from causalif.estimands.invalid_iv import InvalidIVEffect, Roles, SensitivitySlopes, VarianceShiftMoments
from causalif.estimands.selective_iv import TupleEffect
from causalif.estimators.invalid_iv.pieces import Pieces, of_crossfit
from causalif.estimators.invalid_iv.selective.candidates import read_candidates
from causalif.estimators.invalid_iv.selective.risk import Criterion
from causalif.estimators.invalid_iv.selective.selection import Selection, select
from causalif.table import Table

if TYPE_CHECKING:
    from causalif.estimators.invalid_iv.estimator import InvalidIVATE

TOP = 5


def estimate(
    options: InvalidIVATE,
    table: Table,
    plan: Plan,
    roles: Roles,
    *,
    criterion: Criterion = "mixed-minimax",
    noise_correct: bool = False,
) -> Pieces:
    r"""Choose learners by how little the estimate moves when the other learners are exchanged, then estimate afresh.

    .. math:: (k, l, h)^* = \arg\min B_1(k, l) + B_2(h)

    with B1 and B2 of `perturbation_risk`, k a candidate of F = {π}, l of M = {μ, D}, h of H = {β, ρ, g}.

    Parameters
    ----------
    options : InvalidIVATE
        Gives the floor under D.
    table, plan, roles
        Data, learners and splits, columns. ``plan.learners`` is "auto" (see `default_candidates`), or a mapping from
        learner keys to one learner or to a mapping of names to candidates; keys left out are as in "auto". Candidates
        of F are those of "instrument"; of M, those of "treatment" with each of "variance"; of H, **every "outcome"
        candidate with every "effect" candidate**, named "outcome/effect". ρ uses the "confounding" candidate of the
        same name as the "effect" one, by default that one itself. A candidate of H computes its residuals and weights
        with first stages of its own: those named like its outcome candidate where "instrument", "treatment" and
        "variance" have one of that name, else the first listed.
    criterion : {"mixed-minimax", "minimax"}
        Whether B1 and B2 are added, or the larger one counts.
    noise_correct : bool, default False
        Subtract the sampling variance of each difference from its square. Without it tuples of small variance are
        favoured; with it a candidate whose scores are merely erratic is excused, so leave such candidates out.

    Returns
    -------
    Pieces
        The cross-fitted estimate with the chosen learners; tables "selection" (all tuples by rising risk; with several
        repeats also the share of repeats that would have chosen each), "selected" (the first five) and "candidates".

    Raises
    ------
    InputError
        If there is one tuple only or over 2,000, folds are not held out, or the treatment does not vary in one arm.

    Notes
    -----
    Every split is a fold: candidates are fitted on the other folds and scored on this one, ties go to the candidate
    listed first. Splits of all repeats enter one risk. The final fit draws new folds, unless they were supplied.
    Intervals take the chosen learners as given: after selection they are valid to first order only if those are right.

    B1 does not depend on h, nor B2 on (k, l). So one erratic candidate of H, such as a deep tree on products of
    residuals, fills B1 for every (k, l) and leaves the choice of F and M to chance, though H itself is chosen well:
    keep all second-stage candidates smooth.

    Cost: each candidate is fitted once per split and inner fold and never again per tuple. "auto" compares 54 tuples;
    at n = 10,000 with 3 covariates and 5 folds this takes about 30 seconds of one core.

    References
    ----------
    Sun, Cui and Tchetgen Tchetgen (2022), JMLR 23; Cui and Tchetgen Tchetgen (2024), Biometrika 111, 517-535
    (mixed-minimax criterion for one doubly robust pair).
    """
    _require_choice(table, plan, roles)
    question, candidates = InvalidIVEffect(roles, options.floor), read_candidates(plan.learners, roles)
    found = select(candidates, table, plan, question, criterion, noise_correct)
    learners, own = candidates.chosen(found.names)
    questions: list[Estimand] = [TupleEffect(question, own), VarianceShiftMoments(roles)]
    questions.append(SensitivitySlopes(roles, options.floor))
    result = cross_fit(questions, table, replace(plan, learners=learners))
    pieces = of_crossfit(result, "influence function, cross-fitted, learners selected", _notes(found, criterion))
    tables = {"selection": found.table, "selected": found.table.head(TOP), "candidates": found.skill}
    return replace(pieces, tables={**pieces.tables, **tables})


def _require_choice(table: Table, plan: Plan, roles: Roles) -> None:
    if roles.silent is not None:
        level = table.levels[roles.instrument][roles.silent]
        raise InputError(
            f'method="selective" needs a treatment that varies in both arms of {roles.instrument!r}; it does not vary '
            f"among rows with {roles.instrument} = {level}, so there is nothing to choose there. "
            'Use method="debiased", which handles this case.'
        )
    if (plan.folds.k if isinstance(plan.folds, Folds) else plan.folds) < 2:
        raise InputError('`folds` must be at least 2 with method="selective": learners are compared on held-out rows.')


def _notes(found: Selection, criterion: Criterion) -> tuple[str, ...]:
    F, M, H = found.names
    count, best = len(found.table), found.table.iloc[0]
    return (
        f"Selected among {count:,} tuples of learners ({criterion}): F (instrument) = {F}, M (treatment) = {M}, "
        f"H (outcome/effect) = {H}; risk {best['risk']:.3g}, all tuples in diagnostics['selection'].",
        "Intervals take the selected learners as given; after selection they are valid to first order only if the "
        "selected models are right.",
    )
