"""One held-out fold: fit what is still to be fitted on the other folds, evaluate φ on this one."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from causalif._errors import CausalifError, LearnerError
from causalif._validate import Array
from causalif.engine.folds import Folds, split
from causalif.engine.learners import Predictor
from causalif.engine.nuisance import (
    Comparison,
    DensityRatio,
    Held,
    Marginal,
    Nuisances,
    NuisanceSpec,
    Predict,
    ShiftRatio,
    selected,
    targets,
)
from causalif.engine.problem import Names, Problem
from causalif.table import Table


@dataclass(frozen=True, eq=False)
class FoldResult:
    """Uncentred influence values of the held-out rows, the predictions behind them, and what it cost."""

    phi: Array
    used: dict[int, Array]
    derived: dict[str, Array]
    clipped: dict[int, int]
    seconds: dict[int, float]


@dataclass(frozen=True, eq=False)
class FoldTask:
    """Everything that one held-out fold needs, small enough to be sent to another process.

    Parameters
    ----------
    problem : Problem
        The nuisances and their learners.
    repeat, fold : int
        Which split of the rows, and which of its folds is held out.
    slices : list of slice
        The folds, as slices of the ordered rows.
    shared : dict of int to Predictor
        Nuisances that the fast linear path has already fitted.
    """

    problem: Problem
    repeat: int
    fold: int
    slices: list[slice]
    shared: dict[int, Predictor]

    def run(self, ordered: Table) -> FoldResult:
        """Return the result of this fold; ``ordered`` holds all rows, sorted by fold."""
        problem, part = self.problem, self.slices[self.fold]
        predictors, seconds = dict(self.shared), {}
        rows = ordered.take(part)
        training = rows
        if len(predictors) < len(problem.learned) or any(_holds_training(node.spec) for node in problem.nodes):
            training = ordered if len(self.slices) == 1 else ordered.take(_outside(part, len(ordered)))
            seconds = self._fit_rest(training, predictors)
        fitted: list[FittedNuisance | Held] = [
            Held.of(node.spec, training if _holds_training(node.spec) else rows)
            if isinstance(node.spec, Marginal)
            else FittedNuisance(node.spec, predictors[number])
            for number, node in enumerate(problem.nodes)
        ]
        at_rows = Evaluated(fitted, rows)
        phi, derived = [], {}
        for estimand, names in zip(problem.estimands, problem.names, strict=True):
            eta = at_rows.named(names)
            phi.append(np.asarray(estimand.eif(rows, eta), dtype=float).reshape(len(rows), -1))
            if hasattr(estimand, "derived"):
                derived.update(estimand.derived(rows, eta))
        return FoldResult(np.hstack(phi), at_rows.used, derived, at_rows.clipped, seconds)

    def _fit_rest(self, training: Table, predictors: dict[int, Predictor]) -> dict[int, float]:
        """Add the missing predictors; targets made of other nuisances use inner out-of-fold predictions."""
        problem, place = self.problem, (self.repeat + 1, self.fold + 1)
        everything, back = [slice(0, len(training))], np.arange(len(training))
        dealt, inner_slices = training, list[slice]()
        if problem.needed:
            order, inner_slices = self._inner_split(training)
            dealt, back = training.take(order), np.argsort(order)
        inner: dict[int, Predict] = {}
        seconds = {}
        for number in problem.learned:
            node = problem.nodes[number]
            start = time.perf_counter()
            target, weights = targets(node.spec, dealt, {name: inner[need] for name, need in node.needs})
            if number not in predictors:
                # In the rows' own order, so that a random learner gives the same whoever else is fitted.
                own = None if weights is None else weights[back]
                predictors[number] = Fitting(problem, number, training, target[back], own, place).on(everything)[0]
            if number in problem.needed:
                fits = Fitting(problem, number, dealt, target, weights, place).on(inner_slices)
                stitched = tuple(FittedNuisance(node.spec, predict) for predict in fits)
                inner[number] = Stitched(stitched, tuple(inner_slices))
            seconds[number] = time.perf_counter() - start
        return seconds

    def _inner_split(self, training: Table) -> tuple[npt.NDArray[np.intp], list[slice]]:
        """Return the training rows in the order of the inner folds, and these as slices."""
        plan = self.problem.plan
        rng = np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=(self.repeat, self.fold)))
        dealt = split(len(training), plan.inner_folds, rng, strata(training, plan.strata), training.clusters)
        return np.argsort(dealt.ids, kind="stable"), as_slices(dealt)


@dataclass(frozen=True, eq=False)
class Fitting:
    """One nuisance with its training rows, ready to be fitted on the complements of slices."""

    problem: Problem
    number: int
    table: Table
    target: Array
    weights: Array | None
    place: tuple[int, int]

    def on(self, slices: Sequence[slice]) -> list[Predictor]:
        """Return one predictor per slice, fitted outside it; on all rows if the one slice is everything."""
        spec, learner = self.problem.nodes[self.number].spec, self.problem.learners[self.number]
        if isinstance(spec, (DensityRatio, ShiftRatio)):
            with _Naming(self.place_of_errors):
                return [self._ratio(spec, learner, slices, number) for number in range(len(slices))]
        X, target, weights = self.table.matrix(spec.given), self.target, self.weights
        rows = selected(spec, self.table)
        if rows is not None:
            before = np.concatenate([[0], np.cumsum(rows)])
            slices = [slice(int(before[part.start]), int(before[part.stop])) for part in slices]
            X, target, weights = X[rows], target[rows], None if weights is None else weights[rows]
        with _Naming(self.place_of_errors):
            if hasattr(learner, "fit_folds"):
                found = list(learner.fit_folds(X, target, slices, weights))
            else:
                found = [self._refit(learner, X, target, weights, slices, number) for number in range(len(slices))]
        return [Answering(predict, self.place_of_errors) for predict in found]

    @property
    def place_of_errors(self) -> Place:
        """Name nuisance, learner and fold, for errors."""
        learner = self.problem.learners[self.number]
        key = self.problem.nodes[self.number].spec.learner
        return Place(self.problem.name(self.number), key, getattr(learner, "estimator", learner), self.place[1])

    def _refit(
        self, learner: Any, X: Array, y: Array, w: Array | None, slices: Sequence[slice], number: int
    ) -> Predictor:
        part, names = slices[number], self.problem.nodes[self.number].spec.given
        keep: Any = slice(None) if part == slice(0, len(y)) else _outside(part, len(y))
        seed = self._seed(slices, number)
        predictor: Predictor = learner.fit(X[keep], names, y[keep], None if w is None else w[keep], seed)
        return predictor

    def _ratio(self, spec: DensityRatio | ShiftRatio, learner: Any, slices: Sequence[slice], number: int) -> Predictor:
        part, n = slices[number], len(self.table)
        table = self.table if part == slice(0, n) else self.table.take(_outside(part, n))
        predictor: Predictor = learner.fit(spec, table, self._seed(slices, number))
        return predictor

    def _seed(self, slices: Sequence[slice], number: int) -> int:
        key = (_content(self.problem.nodes[self.number].spec), *self.place, len(slices), number)
        return int(np.random.SeedSequence(self.problem.plan.seed, spawn_key=key).generate_state(1)[0] % 2**31)


def _content(spec: NuisanceSpec) -> int:
    """Number a nuisance by what it is, so that its randomness does not depend on who else is fitted."""
    return zlib.crc32(re.sub(r" at 0x[0-9a-f]+", "", repr(spec)).encode())


@dataclass(frozen=True, eq=False)
class Place:
    """Which nuisance, learner and fold an error comes from; fold 0 stands for a fit of all folds at once."""

    name: str
    key: str
    learner: Any
    fold: int

    def __str__(self) -> str:
        """Return the beginning of an error's sentence."""
        where = f"for fold {self.fold}" if self.fold else "for one of the folds"
        return f"The nuisance {self.name!r} (learner key {self.key!r}), fitted {where} by {self.learner!r},"


@dataclass(frozen=True, eq=False)
class Answering:
    """A predictor whose errors say where they come from."""

    predict: Predictor
    place: Place

    def __call__(self, X: Array) -> Array:
        """Return the predictions, all finite."""
        try:
            values = self.predict(X)
        except Exception as error:
            raise LearnerError(f"{self.place} could not predict: {error}") from error
        if not np.isfinite(values).all():
            raise LearnerError(f"{self.place} predicted values that are not finite. Choose a more regular learner.")
        return values


class _Naming:
    """Say which nuisance, fold and learner an error while fitting comes from."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Exception):
            return
        message = f"{self.place} could not be fitted: {error}"
        raise (type(error)(message) if isinstance(error, CausalifError) else LearnerError(message)) from error


@dataclass(frozen=True, eq=False)
class FittedNuisance:
    """A fitted nuisance as a function of rows; predictions are clipped at the specification's bounds."""

    spec: NuisanceSpec
    predict: Predictor

    def __call__(self, rows: Table) -> Array:
        """Return the prediction for every row, clipped."""
        return self.clip(self.raw(rows))

    def raw(self, rows: Table) -> Array:
        """Return the prediction for every row as the learner made it."""
        return self.predict(rows.matrix(self.spec.given))

    def clip(self, values: Array) -> Array:
        """Return the values within the specification's bounds."""
        return values if self.spec.bounds is None else np.clip(values, *self.spec.bounds)


@dataclass(frozen=True, eq=False)
class Stitched:
    """A nuisance on training rows, each row answered by the inner fit that has not seen it."""

    fits: tuple[FittedNuisance, ...]
    slices: tuple[slice, ...]

    def __call__(self, rows: Table) -> Array:
        """Return out-of-fold predictions; ``rows`` are the training rows, possibly with columns assigned."""
        return np.concatenate([fit(rows.take(part)) for fit, part in zip(self.fits, self.slices, strict=True)])


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Fitted nuisances at the rows of one fold: each is predicted once and its clipped rows are counted."""

    fitted: Sequence[FittedNuisance | Held]
    rows: Table
    used: dict[int, Array] = field(default_factory=dict)
    clipped: dict[int, int] = field(default_factory=dict)

    def named(self, names: Names) -> Nuisances:
        """Return the nuisances under the names of one estimand."""
        return _Named(self, names)

    def at(self, number: int, rows: Table) -> Array:
        """Return the prediction of one nuisance, remembered for the fold's own rows."""
        fitted = self.fitted[number]
        if rows is not self.rows or isinstance(fitted, Held):
            return fitted(rows)
        if number not in self.used:
            raw = fitted.raw(rows)
            self.used[number] = fitted.clip(raw)
            changed = self.used[number] != raw
            if isinstance(fitted.spec, Comparison):
                changed = changed & fitted.spec.compares(self.rows)
            self.clipped[number] = int(changed.sum())
        return self.used[number]


@dataclass(frozen=True, eq=False)
class _Named(Mapping[str, Predict]):
    evaluated: Evaluated
    names: Names

    def __getitem__(self, name: str) -> Callable[[Table], Array]:
        number = self.names[name]
        held = self.evaluated.fitted[number]
        if isinstance(held, Held):
            return held
        return lambda rows: self.evaluated.at(number, rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def strata(table: Table, names: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """Number the combinations of coded columns, None without columns."""
    if not names:
        return None
    code = np.zeros(len(table))
    for name in names:
        code = code * (table[name].max() + 1) + table[name]
    return code


def as_slices(folds: Folds) -> list[slice]:
    """Return the folds as slices of the rows sorted by fold."""
    starts = np.concatenate([[0], np.cumsum(np.bincount(folds.ids, minlength=folds.k))])
    return [slice(int(a), int(b)) for a, b in pairwise(starts)]


def _holds_training(spec: NuisanceSpec) -> bool:
    return isinstance(spec, Marginal) and spec.part == "training"


def _outside(part: slice, n: int) -> npt.NDArray[np.intp]:
    return np.concatenate([np.arange(part.start), np.arange(part.stop, n)])
