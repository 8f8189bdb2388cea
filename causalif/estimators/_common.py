"""What the user-facing estimators share: reading options, refusing hopeless data, wording results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import InputError, PositivityError, PositivityWarning, tell
from causalif._validate import Array, in_range, whole_number
from causalif.engine.crossfit import CrossFit, deal_folds, source_of_errors, visiting_order
from causalif.engine.folds import Folds, read_folds
from causalif.engine.learners import Learners, check_learners, check_weighted
from causalif.engine.problem import Plan
from causalif.table import Table

Rows: TypeAlias = npt.NDArray[np.bool_]

ROWS_PER_ARM = 10
CLIPPED_SHARE = 0.2
MOST_LEVELS = 20
COMMON_SHARE = 0.1


class FitOptions(Protocol):
    """The options that every cross-fitted estimator has."""

    @property
    def learners(self) -> Learners:
        """See `causalif.ATE`."""

    @property
    def folds(self) -> Any:
        """See `causalif.ATE`."""

    @property
    def repeats(self) -> int:
        """See `causalif.ATE`."""

    @property
    def random_state(self) -> int | np.random.Generator | None:
        """See `causalif.ATE`."""

    @property
    def n_jobs(self) -> int | None:
        """See `causalif.ATE`."""

    @property
    def progress(self) -> bool:
        """See `causalif.ATE`."""


def check_options(options: FitOptions, learner_names: Sequence[str]) -> None:
    """Raise on options that cannot be right whatever the data are."""
    check_learners(options.learners, learner_names)
    whole_number("repeats", options.repeats, 1)
    jobs = options.n_jobs
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, (int, np.integer)) or jobs == 0):
        raise InputError(
            f"`n_jobs` must be a whole number other than 0, or None; -1 uses every core. Got {jobs!r} instead."
        )
    if isinstance(options.random_state, bool) or not isinstance(
        options.random_state, (int, np.integer, np.random.Generator, type(None))
    ):
        raise InputError(
            f"`random_state` must be a whole number, a numpy Generator or None. Got {options.random_state!r} instead."
        )


def read_plan(options: FitOptions, table: Table, strata: tuple[str, ...], inner_folds: int = 3) -> Plan:
    """Return the plan of a fit on this table."""
    folds = read_folds(options.folds, table.index, table.clusters)
    if isinstance(folds, Folds) and options.repeats > 1:
        raise InputError("`repeats` must be 1 when `folds` gives the fold of every row: there is one split to repeat.")
    if folds == 1 and _adaptive(options):
        raise InputError(
            "`folds=1` evaluates nuisances on the rows they were fitted on, which is only sound for simple parametric "
            f'models. Pass learners="linear" or name the models of {_adaptive(options)}, or use at least 2 folds.'
        )
    if table.weights is not None:
        check_weighted(options.learners)
    return Plan(
        learners=options.learners,
        folds=folds,
        inner_folds=whole_number("inner_folds", inner_folds, 2),
        repeats=1 if folds == 1 else options.repeats,
        strata=strata,
        seed=seed_of(options.random_state),
        n_jobs=options.n_jobs,
        progress=options.progress,
    )


def _adaptive(options: FitOptions) -> list[str]:
    """Return the first stages that the default learner would fit."""
    names = [name for name in ("outcome", "treatment", "instrument") if hasattr(options, name)]
    if isinstance(options.learners, str):
        return names if options.learners == "auto" else []
    chosen = {name: options.learners.get(name, "auto") for name in names}
    return [name for name, learner in chosen.items() if isinstance(learner, str) and learner == "auto"]


def seed_of(random_state: int | np.random.Generator | None) -> int:
    """Return the entropy of all random choices as one number, which the result reports."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if random_state < 0:
        raise InputError(f"`random_state` must not be negative. Got {random_state}.")
    return int(random_state)


def refuse_constant(table: Table, role: str, name: str) -> None:
    """Raise if a column never varies."""
    column = table[name]
    if column.min() == column.max():
        value = repr(table.levels[name][0]) if name in table.levels else f"{column[0]:g}"
        raise InputError(f"`{role}` column {name!r} is constant ({value}); there is nothing to estimate.")


def compared_arms(table: Table, treatment: str, levels: object) -> tuple[int, int]:
    """Return the codes of the treated and the control level, by default the larger and the smaller of two."""
    present = table.levels[treatment]
    if len(present) < 2:
        raise InputError(f"`treatment` column {treatment!r} has one value only ({present[0]!r}); it must vary.")
    if levels is None:
        _require_few(treatment, present)
        return 1, 0
    if not isinstance(levels, (tuple, list)) or len(levels) != 2 or levels[0] == levels[1]:
        raise InputError(f"`levels` must be a pair (treated, control) of different values. Got {levels!r} instead.")
    missing = [level for level in levels if level not in present]
    if missing:
        raise InputError(
            f"`levels` names {missing}, which `treatment` column {treatment!r} never takes: {list(present)[:10]}."
        )
    return present.index(levels[0]), present.index(levels[1])


def _require_few(treatment: str, present: Sequence[Any]) -> None:
    if len(present) > MOST_LEVELS:
        raise InputError(
            f"`treatment` column {treatment!r} has {len(present):,} distinct values, so it is continuous; levels of a "
            "discrete treatment are compared here. Group the values, or use InvalidIVATE, which takes a continuous "
            "treatment if there is an instrument."
        )
    if len(present) > 2:
        raise InputError(
            f"`treatment` column {treatment!r} has {len(present)} levels {list(present)}. Say which two to compare, "
            f"such as levels=({present[1]!r}, {present[0]!r})."
        )


def require_rows(table: Table, groups: Sequence[tuple[str, Rows]], plan: Plan, least: int = ROWS_PER_ARM) -> None:
    """Raise unless every group keeps enough rows (of positive weight) in every training part."""
    k = plan.folds if isinstance(plan.folds, int) else plan.folds.k
    splits = _known_splits(table, plan)
    for described, members in groups:
        inside = members if table.weights is None else members & (table.weights > 0)
        count = int(inside.sum())
        held = max((int(np.bincount(ids, weights=inside).max()) for ids in splits), default=-(-count // k))
        left = count if k == 1 else count - held
        if left < least:
            raise PositivityError(
                f"Only {count} of {len(table):,} rows have {described}, which leaves {left} in a training part with "
                f"{k} folds; at least {least} are needed. Collect more such rows, merge levels or use fewer folds."
            )


def _known_splits(table: Table, plan: Plan) -> list[npt.NDArray[np.intp]]:
    """Return the folds where they need not be balanced: supplied ones, and those that keep clusters whole."""
    if isinstance(plan.folds, Folds):
        return [plan.folds.ids]
    if table.clusters is None:
        return []
    visit = visiting_order(table.index)
    return [deal_folds(table, plan, number, visit).ids for number in range(plan.repeats)]


def require_overlap(described: str, probability: Array, inside: Rows, both: bool = True) -> None:
    """Raise if the fitted probability tells a group from the other rows almost without error.

    Clipping shows that only where a learner is bold enough to predict 0 and 1; ranks show it for every learner. With
    ``both`` false only the group itself needs counterparts, as in effects among the treated.
    """
    among, others = probability[inside], probability[~inside]
    alike, others_alike = float(np.mean(among <= -_outer(-others))), float(np.mean(others >= _outer(among)))
    if (min(alike, others_alike) if both else alike) < COMMON_SHARE:
        raise PositivityError(
            f"Only {alike:.0%} of the rows with {described} have a fitted probability of it that also occurs among the "
            f"other rows, and {others_alike:.0%} the other way round: the covariates tell the groups apart, so the "
            "effect is not identified for everybody. Restrict the data to the region of overlap or adjust for "
            "fewer variables."
        )


def _outer(values: Array) -> float:
    """Return the smallest value but for stray ones: at most a hundredth of them, and at most ten."""
    stray = min(10, len(values) // 100)
    return float(np.partition(values, stray)[stray])


AMONG_TREATED = ", or ask for the effect among the treated"


def report_clipping(result: CrossFit, n: int, otherwise: str = AMONG_TREATED) -> list[str]:
    """Warn of clipped probabilities with their counts; refuse when so many are clipped that overlap is absent."""
    messages: list[str] = []
    clipped = result.fits["clipped"].to_numpy(dtype=int)
    if not clipped.any():
        return messages
    for name, count, target in zip(result.fits.index, clipped, result.fits["target"], strict=True):
        if count == 0:
            continue
        refuse_clipped(target, count, n, otherwise)
        message = (
            f"{count:,} of {n:,} rows were clipped at the bounds of the probability of {target!r} (nuisance {name!r})."
        )
        tell(message, PositivityWarning)
        messages.append(message)
    return messages


def refuse_clipped(target: str, count: int, n: int, otherwise: str = AMONG_TREATED) -> None:
    """Raise if so many probabilities lie outside their bounds that the groups hardly overlap."""
    if count > CLIPPED_SHARE * n:
        raise PositivityError(
            f"The probability of {target!r} is outside the bounds for {count:,} of {n:,} rows: the groups that are "
            "compared hardly overlap, so the effect is not identified for everybody. Restrict the data to the "
            f"region of overlap, or adjust for fewer variables{otherwise}."
        )


def common_settings(name: str, estimator: Any, table: Table, plan: Plan, folds: Sequence[Folds]) -> dict[str, Any]:
    """Return the settings that every cross-fitted result prints."""
    return {
        "estimator": name,
        "outcome": estimator.outcome,
        "treatment": estimator.treatment,
        "adjust": list(estimator.adjust),
        "rows": len(table),
        "weights": estimator.weights,
        "cluster": estimator.cluster,
        "folds": str(folds[0]),
        "repeats": plan.repeats,
        "learners": _named(plan.learners),
        "se_source": source_of_errors(folds[0]),
        "random_state": plan.seed,
        "notes": list(table.notes),
    }


def _named(learners: Learners) -> str | dict[str, str]:
    return learners if isinstance(learners, str) else {key: _name(learner) for key, learner in learners.items()}


def _name(learner: Any) -> str:
    """Name a learner, or several candidates."""
    if isinstance(learner, Mapping):
        return " | ".join(learner)
    return learner if isinstance(learner, str) else type(learner).__name__


def check_clip(clip: float) -> None:
    """Raise unless the probability bound is usable."""
    in_range("clip", clip, 0.0, 0.5)


def diagnostics_of(result: CrossFit) -> dict[str, pd.DataFrame]:
    """Return the tables that every cross-fitted result has."""
    return {"nuisances": result.fits}
