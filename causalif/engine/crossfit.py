"""The one place where learners meet folds: nuisances are fitted out of fold and φ is evaluated row by row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs, parallel_config

from causalif._validate import Array
from causalif.engine.estimand import Estimand
from causalif.engine.fold import Fitting, FoldResult, FoldTask, as_slices, strata
from causalif.engine.folds import Folds, split
from causalif.engine.learners import Predictor
from causalif.engine.nuisance import column_target, selected, targets
from causalif.engine.problem import Plan, Problem
from causalif.results.estimate import Estimate, Origin
from causalif.results.pooling import pool_repeats
from causalif.table import Table

SECONDS_WORTH_A_POOL = 2.0
_KINDS: dict[str, Any] = {"target": object, "learner": object, "clipped": int}


@dataclass(frozen=True, eq=False)
class CrossFit:
    """What cross-fitting several estimands gives, rows in the order of the table.

    Parameters
    ----------
    values : ndarray of shape (p,)
        Estimates, coordinates of all estimands side by side.
    influence : ndarray of shape (n, p)
        Centred influence values; weighted fits carry the weights.
    phi : ndarray of shape (n, p)
        Uncentred influence values, averaged over repeats.
    labels : tuple of str
        One per coordinate.
    splits : DataFrame or None
        Estimates and standard errors of every repeat, if there are several.
    nuisances : DataFrame
        Out-of-fold predictions of the first repeat as used, that is after clipping, and the folds.
    fits : DataFrame
        Per nuisance of the first repeat: target, learner, seconds, clipped rows and out-of-fold skill.
    folds : tuple of Folds
        One per repeat.
    """

    values: Array
    influence: Array
    phi: Array
    labels: tuple[str, ...]
    splits: pd.DataFrame | None
    nuisances: pd.DataFrame
    fits: pd.DataFrame
    folds: tuple[Folds, ...]

    def to_estimate(self, table: Table, origin: tuple[Any, Any] | None = None, **settings: Any) -> Estimate:
        """Return the answer with everything that the fit knows.

        Parameters
        ----------
        table : Table
            What was fitted: its index and clusters.
        origin : (estimator, data), optional
            An object whose ``fit(data)`` gives this estimate again, and the data; without them nothing that needs a
            refit, such as leaving out rows, can be asked.
        **settings
            Lines of the summary's head, such as ``estimator``, ``outcome``, ``treatment``.

        Returns
        -------
        Estimate
        """
        known = {"folds": str(self.folds[0]), "se_source": source_of_errors(self.folds[0]), "rows": len(table)}
        return Estimate(
            self.values,
            self.influence,
            self.labels,
            table.index,
            clusters=table.clusters,
            settings=known | settings,
            diagnostics={"nuisances": self.fits},
            splits=self.splits,
            nuisances=self.nuisances,
            origin=None if origin is None else Origin(*origin),
        )


def source_of_errors(folds: Folds) -> str:
    """Say where standard errors come from."""
    return "influence function" + (", cross-fitted" if folds.k > 1 else ", nuisances fitted on the same rows")


@dataclass(frozen=True, eq=False)
class Derived:
    """A smooth function of the coordinates, applied in every repeat before medians are taken.

    Parameters
    ----------
    labels : tuple of str
        Names of the new terms.
    function, jacobian : callable
        Of the estimated coordinates, shapes (q,) and (q, p).
    """

    labels: tuple[str, ...]
    function: Callable[[Array], Array]
    jacobian: Callable[[Array], Array]

    def apply(self, values: Array, influence: Array) -> tuple[Array, Array]:
        """Return the new terms and their influence values by the delta method."""
        return self.function(values), influence @ self.jacobian(values).T


def cross_fit(estimands: Sequence[Estimand], table: Table, plan: Plan, derived: Derived | None = None) -> CrossFit:
    """Fit every nuisance out of fold and evaluate all estimands on the same splits.

    Equal nuisances are fitted once, whoever asks. Rows are visited in the order of their labels, so a shuffled frame
    with the same index gives the same digits.

    Parameters
    ----------
    estimands : sequence of Estimand
        The questions.
    table : Table
        The data.
    plan : Plan
        Learners, splits, randomness, parallel work.
    derived : Derived, optional
        Terms to report instead of the coordinates themselves.

    Returns
    -------
    CrossFit
        Estimates, influence values and what lies behind them.

    Raises
    ------
    LearnerError
        If a learner fails; the message names nuisance, fold and learner.
    """
    problem = Problem.of(estimands, plan)
    labels = derived.labels if derived else tuple(label for estimand in estimands for label in estimand.labels)
    repeats = [_fit_repeat(problem, table, number) for number in range(plan.repeats)]
    first = repeats[0]
    terms = [_terms(repeat, table.weights, derived) for repeat in repeats]
    (values, influence), splits = terms[0], None
    if plan.repeats > 1:
        every = np.array([values for values, _ in terms])
        values, influence, splits = pool_repeats(every, (psi for _, psi in terms), labels, table.clusters)
    return CrossFit(
        values=values,
        influence=influence,
        phi=np.mean([repeat.phi for repeat in repeats], axis=0) if len(repeats) > 1 else first.phi,
        labels=labels,
        splits=splits,
        nuisances=_nuisance_frame(problem, repeats, table.index),
        fits=_fit_report(problem, first, table),
        folds=tuple(repeat.folds for repeat in repeats),
    )


@dataclass(frozen=True, eq=False)
class _Repeat:
    """One split of the rows, fitted and evaluated, back in the order of the table."""

    phi: Array
    mean: Array
    folds: Folds
    used: dict[int, Array]
    derived: dict[str, Array]
    clipped: dict[int, int]
    seconds: dict[int, float]


def _fit_repeat(problem: Problem, table: Table, number: int) -> _Repeat:
    plan = problem.plan
    visit = visiting_order(table.index)
    folds = deal_folds(table, plan, number, visit)
    order = visit[folds.order(visit)]
    ordered, slices = table.take(order), as_slices(folds)
    shared, seconds = _fit_at_once(problem, ordered, slices)
    tasks = [FoldTask(problem, number, fold, slices, shared[fold]) for fold in range(folds.k)]
    done = _run(tasks, ordered, plan)
    back = np.empty(len(table), dtype=np.intp)
    back[order] = np.arange(len(table))
    stacked, w = np.concatenate([fold.phi for fold in done]), ordered.weights
    return _Repeat(
        phi=stacked[back],
        # In the order of the labels, so that the last digit does not depend on the order of the rows either.
        mean=stacked.mean(axis=0) if w is None else w @ stacked / w.sum(),
        folds=folds,
        used={node: np.concatenate([fold.used[node] for fold in done])[back] for node in done[0].used},
        derived={name: np.concatenate([fold.derived[name] for fold in done])[back] for name in done[0].derived},
        clipped=_add_up(fold.clipped for fold in done),
        seconds=_add_up([seconds, *(fold.seconds for fold in done)]),
    )


def _add_up(parts: Iterable[dict[int, Any]]) -> dict[int, Any]:
    total: dict[int, Any] = {}
    for part in parts:
        for key, value in part.items():
            total[key] = total.get(key, 0) + value
    return total


def _terms(repeat: _Repeat, weights: Array | None, derived: Derived | None) -> tuple[Array, Array]:
    """Return the (weighted) mean of φ and the centred influence values, or what is derived from them."""
    values = repeat.mean
    influence = repeat.phi - values
    if weights is not None:
        influence *= weights[:, None]  # their mean is one
    return derived.apply(values, influence) if derived else (values, influence)


def visiting_order(index: pd.Index) -> npt.NDArray[np.intp]:
    """Return the rows sorted by their labels where labels are unique and sortable, else as they stand."""
    if not index.is_monotonic_increasing and index.is_unique:
        try:
            return np.asarray(index.argsort(), dtype=np.intp)
        except TypeError:
            pass
    return np.arange(len(index), dtype=np.intp)


def deal_folds(table: Table, plan: Plan, number: int, visit: npt.NDArray[np.intp]) -> Folds:
    """Return the folds of one repeat, dealt over the rows in the order of the visit."""
    if isinstance(plan.folds, Folds):
        return plan.folds
    rng = np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=(number,)))
    clusters = None if table.clusters is None else table.clusters[visit]
    groups = strata(table, plan.strata)
    dealt = split(len(table), plan.folds, rng, None if groups is None else groups[visit], clusters)
    ids = np.empty(len(table), dtype=np.intp)
    ids[visit] = dealt.ids
    return Folds(ids, dealt.described)


def _fit_at_once(
    problem: Problem, ordered: Table, slices: list[slice]
) -> tuple[list[dict[int, Predictor]], dict[int, float]]:
    """Fit the nuisances of the fast linear path for all folds together."""
    shared: list[dict[int, Predictor]] = [{} for _ in slices]
    seconds = {}
    for number in problem.learned:
        node = problem.nodes[number]
        if node.needs or not hasattr(problem.learners[number], "fit_folds"):
            continue
        start = time.perf_counter()
        fitting = Fitting(problem, number, ordered, *targets(node.spec, ordered, {}), (0, 0))
        for fold, fitted in enumerate(fitting.on(slices)):
            shared[fold][number] = fitted
        seconds[number] = time.perf_counter() - start
    return shared, seconds


def _run(tasks: list[FoldTask], ordered: Table, plan: Plan) -> list[FoldResult]:
    """Run the first task here; give the rest to a pool only if the work is worth it."""
    start, jobs = time.perf_counter(), effective_n_jobs(plan.n_jobs)
    run = _run_task if jobs > 1 else FoldTask.run
    done = [run(tasks[0], ordered)]
    left = (time.perf_counter() - start) * (len(tasks) - 1)
    if left > SECONDS_WORTH_A_POOL and jobs > 1:
        return done + list(Parallel(n_jobs=plan.n_jobs)(delayed(_run_task)(task, ordered) for task in tasks[1:]))
    return done + [run(task, ordered) for task in _progress(tasks[1:], plan.progress, left)]


def _run_task(task: FoldTask, ordered: Table) -> FoldResult:
    """Run one fold, its learners on one job: pools would compete, and sums over threads vary in the last digit."""
    with parallel_config(backend="sequential"):
        return task.run(ordered)


def _progress(tasks: list[FoldTask], wanted: bool, seconds: float) -> Iterable[FoldTask]:
    """Wrap the tasks in a progress bar where tqdm is installed, the work is long and stderr is a terminal."""
    if not wanted or seconds < SECONDS_WORTH_A_POOL:
        return tasks
    try:
        from tqdm import tqdm
    except ImportError:
        return tasks
    bar: Iterable[FoldTask] = tqdm(tasks, desc="folds", initial=1, total=len(tasks) + 1, disable=None, leave=False)
    return bar


def _nuisance_frame(problem: Problem, repeats: Sequence[_Repeat], index: pd.Index) -> pd.DataFrame:
    """Return the predictions used at every row in the first repeat, and the folds of all repeats."""
    columns: dict[str, npt.NDArray[Any]] = {problem.name(number): used for number, used in repeats[0].used.items()}
    columns |= repeats[0].derived
    for number, repeat in enumerate(repeats):
        columns["fold" if len(repeats) == 1 else f"fold_{number + 1}"] = repeat.folds.ids
    return pd.DataFrame(columns, index=index, copy=False)


def _fit_report(problem: Problem, repeat: _Repeat, table: Table) -> pd.DataFrame:
    """Return one line per nuisance."""
    lines: dict[str, list[Any]] = {name: [] for name in ("target", "learner", "seconds", "clipped", "skill")}
    for number in problem.learned:
        spec, learner = problem.nodes[number].spec, problem.learners[number]
        named = spec if spec.target is None else spec.target
        lines["target"].append(named if isinstance(named, str) else type(named).__name__)
        lines["learner"].append(type(getattr(learner, "estimator", learner)).__name__)
        lines["seconds"].append(repeat.seconds.get(number, 0.0))
        lines["clipped"].append(repeat.clipped.get(number, 0))
        lines["skill"].append(_skill(problem, number, repeat, table))
    names = [problem.name(number) for number in problem.learned]
    columns = {name: np.array(values, dtype=_KINDS.get(name, float)) for name, values in lines.items()}
    return pd.DataFrame(columns, index=pd.Index(np.array(names, dtype=object), name="nuisance"))


def _skill(problem: Problem, number: int, repeat: _Repeat, table: Table) -> float:
    """Out-of-fold share of the target's variance explained, among the rows that the nuisance is about."""
    spec = problem.nodes[number].spec
    if number not in repeat.used or not isinstance(spec.target, str):
        return float("nan")
    rows = selected(spec, table)
    keep: Any = slice(None) if rows is None else rows
    target, predicted = column_target(spec, table)[keep], repeat.used[number][keep]
    scale = max(float(target.max(initial=0.0)), -float(target.min(initial=0.0))) or 1.0
    varied, missed = (target - target.mean()) / scale, (target - predicted) / scale
    spread = float(varied @ varied)
    return 1.0 - float(missed @ missed) / spread if spread > 0 else float("nan")
