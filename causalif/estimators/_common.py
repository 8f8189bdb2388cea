"""What the user-facing estimators share: reading options, refusing hopeless data, wording results."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from causalif._errors import InputError, PositivityError, PositivityWarning
from causalif._validate import Array, in_range, whole_number
from causalif.engine.crossfit import CrossFit
from causalif.engine.folds import Folds, read_folds
from causalif.engine.learners import Learners, check_learners
from causalif.engine.problem import Plan
from causalif.table import Table

ROWS_PER_ARM = 10
CLIPPED_SHARE = 0.2


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
    if not isinstance(options.random_state, (int, np.integer, np.random.Generator, type(None))):
        raise InputError(
            f"`random_state` must be a whole number, a numpy Generator or None. Got {options.random_state!r} instead."
        )


def read_plan(options: FitOptions, table: Table, strata: tuple[str, ...], inner_folds: int = 3) -> Plan:
    """Return the plan of a fit on this table."""
    folds = read_folds(options.folds, table.index, table.clusters)
    if isinstance(folds, Folds) and options.repeats > 1:
        raise InputError("`repeats` must be 1 when `folds` gives the fold of every row: there is one split to repeat.")
    if folds == 1 and options.learners == "auto":
        raise InputError(
            "`folds=1` evaluates nuisances on the rows they were fitted on, which is only sound for simple parametric "
            'models. Pass learners="linear" or name the models, or use at least 2 folds.'
        )
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
        raise InputError(f"`{role}` column {name!r} is constant ({column[0]:g}); there is nothing to estimate.")


def require_two_levels(table: Table, role: str, name: str, remedy: str) -> tuple[Any, Any]:
    """Return the two values of a coded column, (reference, other)."""
    levels = table.levels[name]
    if len(levels) < 2:
        raise InputError(f"`{role}` column {name!r} has one value only ({levels[0]!r}); it must vary.")
    if len(levels) > 2:
        shown = ", ".join(repr(level) for level in levels[:4])
        raise InputError(f"`{role}` column {name!r} has {len(levels):,} values ({shown}, ...), where two are needed. {remedy}")
    return levels[0], levels[1]


def require_rows(table: Table, groups: Sequence[tuple[str, Array]], plan: Plan, least: int = ROWS_PER_ARM) -> None:
    """Raise unless every group keeps enough rows in every training part."""
    k = plan.folds if isinstance(plan.folds, int) else plan.folds.k
    for described, inside in groups:
        count = int(inside.sum())
        if isinstance(plan.folds, Folds):
            held = np.bincount(plan.folds.ids, weights=inside, minlength=k)
            left = int(count - held.max()) if k > 1 else count
        else:
            left = count if k == 1 else count - -(-count // k)
        if left < least:
            raise PositivityError(
                f"Only {count} of {len(table):,} rows have {described}, which leaves {max(left, 0)} in a training part with "
                f"{k} folds; at least {least} are needed. Collect more such rows, merge levels or use fewer folds."
            )


def report_clipping(result: CrossFit, n: int) -> list[str]:
    """Warn of clipped probabilities with their counts; refuse when so many are clipped that overlap is absent."""
    messages = []
    for name, count in result.fits["clipped"].items():
        if count == 0:
            continue
        target = result.fits.loc[name, "target"]
        if count > CLIPPED_SHARE * n:
            raise PositivityError(
                f"The probability of {target!r} is outside the bounds for {count:,} of {n:,} rows (nuisance {name!r}): "
                "the groups that are compared hardly overlap, so the effect is not identified for everybody. Restrict the "
                "data to the region of overlap, adjust for fewer variables, or ask for the effect among the treated."
            )
        message = f"{count:,} of {n:,} rows were clipped at the bounds of the probability of {target!r} (nuisance {name!r})."
        warnings.warn(message, PositivityWarning, stacklevel=4)
        messages.append(message)
    return messages


def common_settings(name: str, estimator: Any, table: Table, plan: Plan, folds: Sequence[Folds]) -> dict[str, Any]:
    """Return the settings that every cross-fitted result prints."""
    crossed = folds[0].k > 1
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
        "learners": plan.learners if isinstance(plan.learners, str) else {k: _name(v) for k, v in plan.learners.items()},
        "se_source": "influence function" + (", cross-fitted" if crossed else ", nuisances fitted on the same rows"),
        "random_state": plan.seed,
        "notes": list(table.notes),
    }


def _name(learner: Any) -> str:
    return learner if isinstance(learner, str) else type(learner).__name__


def check_clip(clip: float) -> None:
    """Raise unless the probability bound is usable."""
    in_range("clip", clip, 0.0, 0.5, open_ends=False)


def diagnostics_of(result: CrossFit) -> dict[str, pd.DataFrame]:
    """Return the tables that every cross-fitted result has."""
    return {"nuisances": result.fits}


