"""Several estimands become one list of nuisances to fit, each of them once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from causalif._errors import InputError
from causalif._validate import Array
from causalif.engine.density_ratio import choose_ratio_learner
from causalif.engine.estimand import Estimand
from causalif.engine.folds import Folds
from causalif.engine.learners import Learners, Predictor, SklearnLearner, choose_learner
from causalif.engine.nuisance import Comparison, DensityRatio, Marginal, NuisanceSpec, ShiftRatio

Names: TypeAlias = Mapping[str, int]


@dataclass(frozen=True)
class Plan:
    """How to fit: learners, splits, randomness and parallel work.

    Parameters
    ----------
    learners : "auto", "linear" or mapping
        See `causalif.engine.learners`.
    folds : int or Folds
        Number of folds, or the folds themselves.
    inner_folds : int
        Folds within each training part, for nuisances whose target is made of other nuisances.
    repeats : int
        Independent splits whose results are median-aggregated.
    strata : tuple of str
        Coded columns over which folds are balanced.
    seed : int
        Entropy of every random choice.
    n_jobs : int, optional
        Parallel jobs as in joblib; None follows joblib's active backend.
    progress : bool
        Show a progress bar on work that takes more than two seconds, if stderr is a terminal.
    """

    learners: Learners = "auto"
    folds: int | Folds = 5
    inner_folds: int = 3
    repeats: int = 1
    strata: tuple[str, ...] = ()
    seed: int = 0
    n_jobs: int | None = None
    progress: bool = True


@dataclass(frozen=True)
class Node:
    """A nuisance and the numbers of those that it needs, by the names under which it reads them."""

    spec: NuisanceSpec
    needs: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, eq=False)
class Problem:
    """The estimands with their nuisances resolved, numbered and given learners.

    Parameters
    ----------
    estimands : tuple of Estimand
        The questions, evaluated on the same splits.
    names : tuple of mappings
        For each estimand, the number of the nuisance behind each name.
    nodes : tuple of Node
        The distinct nuisances, each after those that it needs.
    learners : tuple
        One per node; None for a marginal law, which is held rather than learned.
    plan : Plan
        How to fit.
    """

    estimands: tuple[Estimand, ...]
    names: tuple[Names, ...]
    nodes: tuple[Node, ...]
    learners: tuple[Any, ...]
    plan: Plan

    @classmethod
    def of(cls, estimands: Sequence[Estimand], plan: Plan) -> Problem:
        """Number the nuisances of all estimands, equal ones once, and choose their learners."""
        numbers: dict[Node, int] = {}
        names = tuple(_resolve(estimand, numbers) for estimand in estimands)
        nodes = tuple(numbers)
        learners = tuple(_learner(plan.learners, node.spec) for node in nodes)
        return cls(tuple(estimands), names, nodes, learners, plan)

    @property
    def needed(self) -> frozenset[int]:
        """Numbers of the nuisances that others need."""
        return frozenset(number for node in self.nodes for _, number in node.needs)

    @property
    def learned(self) -> tuple[int, ...]:
        """Numbers of the nuisances that a learner fits."""
        return tuple(number for number, node in enumerate(self.nodes) if not isinstance(node.spec, Marginal))

    def name(self, number: int) -> str:
        """Return the first name under which an estimand asks for the nuisance."""
        return next(name for mapping in self.names for name, other in mapping.items() if other == number)


def _learner(learners: Learners, spec: NuisanceSpec) -> Any:
    if isinstance(spec, Marginal):
        return None
    if isinstance(spec, (DensityRatio, ShiftRatio)):
        return choose_ratio_learner(learners, spec)
    learner = choose_learner(learners, spec)
    compared = isinstance(spec, Comparison) and isinstance(learner, SklearnLearner)
    return Unweighted(learner) if compared else learner


@dataclass(frozen=True, eq=False)
class Unweighted:
    """A learner that is spared weights that are all one, such as those of a comparison: not all learners take them.

    Parameters
    ----------
    learner : SklearnLearner
        What is fitted.
    """

    learner: SklearnLearner

    @property
    def estimator(self) -> Any:
        """The estimator, for reports."""
        return self.learner.estimator

    def fit(self, X: Array, names: Sequence[str], y: Array, weights: Array | None, seed: int) -> Predictor:
        """Fit as the learner does."""
        plain = weights is None or bool((weights == 1.0).all())
        return self.learner.fit(X, names, y, None if plain else weights, seed)


def _resolve(estimand: Estimand, numbers: dict[Node, int]) -> Names:
    """Number the nuisances of one estimand, adding new ones to ``numbers``; unordered ones are refused."""
    names: dict[str, int] = {}
    for name, spec in estimand.nuisances().items():
        unknown = [need for need in spec.needs if need not in names]
        if unknown:
            raise InputError(
                f"The nuisance {name!r} needs {unknown}, which must come before it (a cycle cannot be fitted). "
                f"Known so far: {list(names)}."
            )
        node = Node(spec, tuple((need, names[need]) for need in spec.needs))
        names[name] = numbers.setdefault(node, len(numbers))
    return names
