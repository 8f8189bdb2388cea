"""`InvalidIVATE`: the average treatment effect when the instrument may act directly on the outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from causalif._errors import InputError, PositivityError
from causalif._validate import in_range, one_of
from causalif.engine.learners import Learners
from causalif.engine.problem import Plan
from causalif.estimands.invalid_iv import Roles
from causalif.estimators._common import (
    check_clip,
    check_options,
    common_settings,
    read_plan,
    refuse_constant,
    report_clipping,
    require_overlap,
    require_rows,
)
from causalif.estimators.invalid_iv import debiased, diagnostics, multilevel, parametric_route, selective
from causalif.estimators.invalid_iv.pieces import Pieces
from causalif.estimators.invalid_iv.result import InvalidIVResult
from causalif.estimators.invalid_iv.robust import describe, robust_set
from causalif.results.estimate import Estimate, Origin
from causalif.results.report import number_format, p_format
from causalif.table import Table, read_table

LEARNER_NAMES = ("instrument", "treatment", "outcome", "variance", "effect", "confounding")
ROWS_PER_ARM = 30


@dataclass(frozen=True, kw_only=True)
class InvalidIVATE:
    r"""The average treatment effect with an instrument whose exclusion restriction may fail.

    .. math:: \theta = E\left[\frac{C_1(X) - C_0(X)}{V_1(X) - V_0(X)}\right], \quad
        C_z = \mathrm{cov}(A, Y | Z = z, X), \quad V_z = \mathrm{var}(A | Z = z, X)

    The instrument may act directly on the outcome. What identifies the effect is that it shifts the *variance* of the
    treatment, while confounding on the covariance scale stays the same.

    Parameters
    ----------
    outcome : str
        Column of a numeric outcome; estimates are in its unit per unit of treatment.
    treatment : str
        Column of the treatment: two values of any type, or continuous.
    instrument : str
        Column of the instrument: two values, or a few levels.
    adjust : sequence of str, default ()
        Covariates: numeric, boolean or categorical (encoded as indicators).
    method : {"debiased", "parametric", "selective"}, default "debiased"
        "debiased": cross-fitted, with any learners and smooth second stages. "parametric": working models by
        `formulas`, consistent if any of several subsets of them is right, sandwich standard errors. "selective":
        learners chosen among candidates by how little the estimate moves when the others are perturbed.
    learners : "auto", "linear" or mapping, default "auto"
        As in `causalif.ATE`, for "instrument", "treatment", "outcome", and the second stages "variance", "effect" and
        "confounding", which regress products of residuals and stay smooth and regularised unless named.
        With ``method="selective"`` a value may be a mapping from names to candidate learners.
    formulas : mapping of str to str, optional
        For ``method="parametric"``: right-hand sides such as ``"~ x1 + x2"`` for the same names.
    folds : int or array of shape (n,), default 5
        Number of folds, or a fold label for every row.
    inner_folds : int, default 3
        Folds within the training rows, for the second stages' targets.
    repeats : int, default 1
        Independent splits; estimates are medians over splits and standard errors include the split noise.
    cluster : str, optional
        Column of cluster labels; clusters stay whole when folds are made, standard errors are clustered.
    weights : str, optional
        Column of non-negative sampling weights.
    clip : float, default 0.01
        The instrument's probability is kept within [clip, 1 − clip]; clipped rows are reported.
    floor : float, default 0.1
        The variance shift D(X) is kept above this share of its average; floored rows are reported.
    weak_identification : {"raise", "warn"}, default "raise"
        What to do when the variance shift is too weak for an estimate to mean anything.
    random_state : int, Generator or None, default 0
        Seed of splits and learners.
    n_jobs : int, optional
        Parallel jobs over folds as in joblib. Digits do not depend on it.
    progress : bool, default True
        Show a progress bar on long work in a terminal.

    Raises
    ------
    InputError
        On unusable columns or options.
    WeakIdentificationError
        If the variance shift is within two standard errors of zero, or near zero for over a fifth of the rows; it
        carries the confidence set that stays valid.

    Notes
    -----
    Assumptions in plain words. Given the covariates: (1) the instrument is as good as random; (2) it moves everybody's
    uptake by the same amount, whatever their unmeasured confounders; (3) treatment, instrument and confounders add up
    in the outcome, so the instrument's direct effect is the same with and without treatment; (4) nothing unmeasured
    changes both uptake and the size of the effect; (5) the instrument changes the variance of the treatment. With two
    instrument levels nothing in the data can refute (2) to (4): see ``sensitivity``.

    If the treatment does not vary in one arm (nobody takes it without being offered it), the method reduces to
    adjusting for confounders within the other arm. This is detected and said.

    Cost: about ``folds`` × (``inner_folds`` + 1) × 5 first-stage regressions per repeat.

    References
    ----------
    Sun, Cui and Tchetgen Tchetgen (2022), JMLR 23; Tchetgen Tchetgen, Sun and Walter (2021), Statistical Science 36.

    Examples
    --------
    >>> import causalif as ci
    >>> data = ci.datasets.simulate_invalid_iv_continuous(4000, random_state=1).data
    >>> fit = ci.InvalidIVATE(outcome="y", treatment="a", instrument="z", adjust=["x1", "x2", "x3"],
    ...                       learners="linear").fit(data)
    >>> bool(abs(fit.params["ATE"] - 1.0) < 4 * fit.std_errors["ATE"])
    True
    """

    outcome: str
    treatment: str
    instrument: str
    adjust: Sequence[str] = ()
    method: Literal["debiased", "parametric", "selective"] = "debiased"
    learners: Learners = "auto"
    formulas: Mapping[str, str] | None = None
    folds: Any = 5
    inner_folds: int = 3
    repeats: int = 1
    cluster: str | None = None
    weights: str | None = None
    clip: float = 0.01
    floor: float = 0.1
    weak_identification: Literal["raise", "warn"] = "raise"
    random_state: int | np.random.Generator | None = 0
    n_jobs: int | None = None
    progress: bool = True

    def fit(self, data: Any) -> InvalidIVResult:
        """Estimate the effect on a DataFrame.

        Parameters
        ----------
        data : pandas.DataFrame or polars.DataFrame
            One row per unit; never changed.

        Returns
        -------
        InvalidIVResult
            The term ``ATE``, diagnostics, and the methods ``robust_set``, ``effect_by``, ``comparators`` and
            ``sensitivity``.

        Raises
        ------
        InputError
            If a column or an option cannot be used, or ``method`` does not suit the instrument or the treatment.
        WeakIdentificationError
            If the variance shift is too weak and ``weak_identification`` is "raise".
        PositivityError
            If an arm has too few rows, or the instrument decides the treatment.
        """
        self._check()
        table = self._read(data)
        levels = table.levels[self.instrument]
        if len(levels) < 2:
            raise InputError(
                f"`instrument` column {self.instrument!r} has one value only ({levels[0]!r}); it must vary."
            )
        # the parametric route cross-fits its tests only, on the fast linear path
        options = replace(self, learners="linear") if self.method == "parametric" else self
        plan = read_plan(options, table, self._strata(table), self.inner_folds)
        self._require_arms(table, plan)
        binary = self.treatment in table.levels
        silent = diagnostics.silent_arm(table, self.treatment, self.instrument) if len(levels) == 2 else None
        roles = Roles(self.outcome, self.treatment, self.instrument, table.names, binary, self.clip, silent)
        pieces = self._estimate(table, plan, roles)
        if "pi" in pieces.nuisances and len(levels) == 2:
            z = table[self.instrument]
            require_overlap(f"{self.instrument} = {levels[1]!r}", pieces.nuisances["pi"].to_numpy(), z == 1)
        return self._result(data, table, plan, roles, pieces)

    def _check(self) -> None:
        single = replace(self, learners=selective.plain(self.learners)) if self.method == "selective" else self
        check_options(single, LEARNER_NAMES)
        check_clip(self.clip)
        in_range("floor", self.floor, 0.0, 1.0)
        one_of("method", self.method, ("debiased", "parametric", "selective"))
        one_of("weak_identification", self.weak_identification, ("raise", "warn"))
        if self.formulas is not None and self.method != "parametric":
            raise InputError('`formulas` belong to method="parametric"; with other methods choose `learners`.')

    def _read(self, data: Any) -> Table:
        table = read_table(
            data,
            numbers={"outcome": self.outcome},
            coded={"instrument": self.instrument},
            either={"treatment": self.treatment},
            adjust=self.adjust,
            cluster=self.cluster,
            weights=self.weights,
        )
        refuse_constant(table, "outcome", self.outcome)
        refuse_constant(table, "treatment", self.treatment)
        return table

    def _strata(self, table: Table) -> tuple[str, ...]:
        return (self.instrument, self.treatment) if self.treatment in table.levels else (self.instrument,)

    def _require_arms(self, table: Table, plan: Plan) -> None:
        levels = table.levels[self.instrument]
        arms = [(f"{self.instrument} = {level!r}", table[self.instrument] == code) for code, level in enumerate(levels)]
        require_rows(table, arms, plan, ROWS_PER_ARM)
        if self.treatment in table.levels:
            self._require_cells(table, plan, arms)

    def _require_cells(self, table: Table, plan: Plan, arms: list[tuple[str, Any]]) -> None:
        """Raise unless each arm has enough rows of both treatments, or of one treatment only in one arm."""
        a, values = table[self.treatment], table.levels[self.treatment]
        varied = [(described, inside) for described, inside in arms if a[inside].min() < a[inside].max()]
        if not varied:
            raise PositivityError(
                f"`treatment` column {self.treatment!r} does not vary within any level of {self.instrument!r}: the "
                "instrument decides the treatment, and nothing can be learnt from its variance. Compare them with ATE."
            )
        cells = [
            (f"{described} and {self.treatment} = {value!r}", inside & (a == code))
            for described, inside in varied
            for code, value in enumerate(values)
        ]
        require_rows(table, cells, plan)

    def _estimate(self, table: Table, plan: Plan, roles: Roles) -> Pieces:
        if len(table.levels[self.instrument]) > 2:
            if self.method != "debiased":
                raise InputError(
                    f"`method={self.method!r}` takes an instrument with two levels; column {self.instrument!r} has "
                    f'{len(table.levels[self.instrument])}. Use method="debiased", or compare two levels at a time.'
                )
            return multilevel.estimate(table, plan, roles, self.floor)
        if self.method == "parametric":
            return parametric_route.estimate(self, table, plan, roles)
        if self.method == "selective":
            return selective.estimate(self, table, plan, roles)
        if roles.silent is not None:
            if not roles.binary:
                raise InputError(
                    f"`treatment` column {self.treatment!r} is continuous and does not vary in one arm of "
                    f"{self.instrument!r}; this method handles that for a binary treatment only. "
                    'Use method="parametric".'
                )
            return debiased.one_sided(table, plan, roles)
        return debiased.estimate(table, plan, roles, self.floor)

    def _result(self, data: Any, table: Table, plan: Plan, roles: Roles, pieces: Pieces) -> InvalidIVResult:
        parts = Estimate(pieces.values, pieces.influence, pieces.labels, table.index, table.clusters)
        tables = {**pieces.tables, "tests": diagnostics.test_table(parts)}
        warned = self._judge(table, roles, pieces, parts)
        if roles.silent is None:
            tables["relevance"] = diagnostics.relevance_table(parts, pieces, table.weights)
            tables["joint relevance"] = diagnostics.joint_relevance(table, pieces.score, table.clusters)
        tables["overlap"] = diagnostics.overlap_table(pieces.nuisances, table.levels[self.instrument], self.instrument)
        tables["influence"], doubts = diagnostics.influence_table(parts)
        warned += doubts
        return InvalidIVResult(
            values=parts.values[:1],
            influence_values=parts.influence_values[:, :1],
            labels=("ATE",),
            index=table.index,
            clusters=table.clusters,
            settings=self._settings(table, plan, pieces, parts, warned),
            diagnostics=tables,
            splits=None if pieces.splits is None else pieces.splits[pieces.splits["term"] == "ATE"],
            nuisances=pieces.nuisances,
            origin=Origin(self, data),
            parts=parts,
            phi=pieces.phi,
            first_step=pieces.first_step,
            table=table,
            plan=replace(plan, learners=selective.plain(plan.learners)),
        )

    def _judge(self, table: Table, roles: Roles, pieces: Pieces, parts: Estimate) -> list[str]:
        """Refuse or warn, and return all warnings; the parametric route has judged the strength by itself."""
        warned = list(pieces.warned)
        warned += [] if pieces.fits is None else report_clipping(pieces.fits, len(table))
        if roles.silent is not None:
            return [*warned, diagnostics.warn_silent(table, self.treatment, self.instrument, roles.silent)]
        if self.method == "parametric":
            return warned
        two = len(table.levels[self.instrument]) == 2
        warned += diagnostics.judge_strength(parts, pieces.nuisances, roles.binary and two, self.weak_identification)
        if roles.binary:
            warned += diagnostics.warn_near_silent(table, self.instrument, pieces.nuisances)
        return warned + diagnostics.warn_over_identified(pieces.tables)

    def _settings(self, table: Table, plan: Plan, pieces: Pieces, parts: Estimate, warned: list[str]) -> dict[str, Any]:
        settings = common_settings("Average treatment effect, invalid instrument", self, table, plan, pieces.folds)
        settings |= {"instrument": self.instrument, "method": self.method, "se_source": pieces.se_source}
        if self.method == "parametric":
            settings |= {"learners": None, "repeats": None, "random_state": None}
        settings["notes"] = [*settings["notes"], *self._level_notes(table), *_findings(parts), *pieces.notes]
        settings["warnings"] = warned
        return settings

    def _level_notes(self, table: Table) -> list[str]:
        notes = []
        for role, name in (("treatment", self.treatment), ("instrument", self.instrument)):
            levels = table.levels.get(name, ())
            if len(levels) == 2 and tuple(levels) not in ((0, 1), (False, True)):
                notes.append(f"{role.capitalize()} {name}: {levels[1]} against the reference {levels[0]}.")
        return notes


def _findings(parts: Estimate) -> list[str]:
    """Return the weighted effect and the tests in sentences."""
    ratio = parts["numerator"] / parts["denominator"]
    value, error = float(ratio.values[0]), float(ratio.std_errors.iloc[0])
    write = number_format(value, error)
    found = [
        f"Variance-shift-weighted effect {write(value)} (std error {write(error)}); 95% set valid at any "
        f"strength of the "
        f"instrument: {describe(robust_set(parts), write)}."
    ]
    tests = diagnostics.test_table(parts)["p_value"]
    return found + [f"Test of {name}: p = {p_format(p)}.".replace("= <", "< ") for name, p in tests.items()]
