"""`WCDE`: the effect of a treatment with the mediators' law held fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from causalif._errors import InputError
from causalif.engine.crossfit import CrossFit, cross_fit
from causalif.engine.learners import Learners
from causalif.engine.problem import Plan
from causalif.estimands.direct_effect import DirectEffect
from causalif.estimands.direct_mean import DirectMean
from causalif.estimands.mediator_law import MARGINAL, MediatorLaw
from causalif.estimands.sequential_mean import SequentialMean
from causalif.estimators._common import (
    check_clip,
    check_options,
    common_settings,
    compared_arms,
    diagnostics_of,
    read_plan,
    report_clipping,
    require_rows,
)
from causalif.estimators._concentration import judged_influence
from causalif.estimators.wcde.columns import ROWS_PER_CELL, Columns, read_columns
from causalif.estimators.wcde.diagnostics import (
    judge_weights,
    require_product_support,
    targeting_table,
    weights_table,
)
from causalif.estimators.wcde.law import Law, check_law, described, read_law
from causalif.estimators.wcde.options import Method, WeightsBy, check_route, check_weight_learners, require_cells
from causalif.estimators.wcde.result import WCDEResult
from causalif.estimators.wcde.sets import Chosen, from_graph, from_lists
from causalif.results.estimate import Estimate, Origin
from causalif.table import Table

LEARNER_NAMES = ("outcome", "treatment", "mediator", "density_ratio")
TERMS = 3


@dataclass(frozen=True, kw_only=True)
class WCDE:
    r"""The weighted controlled direct effect: what the treatment does while mediators are drawn from one law for all.

    .. math:: \theta = \psi_a - \psi_b, \qquad \psi_a = \iint Q(a, m, c)\, p(m)\, p(c)\, dm\, dc, \quad
        Q(a, m, c) = E[Y | A = a, M = m, C = c]

    Each arm is estimated in one step from out-of-fold regressions,

    .. math:: \hat\psi_a = \hat U_a + \frac1n \sum_i 1(A_i = a)\, \hat w_a(M_i, C_i) \{Y_i - \hat Q(a, M_i, C_i)\},
        \quad w_a(m, c) = \frac{p(m) p(c)}{p(a, m, c)}

    where :math:`\hat U_a` averages :math:`\hat Q(a, M_i, C_j)` over pairs of different rows. Where the treatment
    affects confounders L of mediators and outcome, the sequential formula replaces the double average,

    .. math:: \psi_a = \int p(m) \int p(c) \int Q(a, m, l, c)\, p(l | a, c)\, dl\, dc\, dm

    Parameters
    ----------
    outcome : str
        Column of a numeric outcome; estimates are in its unit.
    treatment : str
        Column of the treatment: two or a few distinct values of any type.
    mediators : sequence of str, default ()
        Mediators, held fixed jointly: numeric, boolean or categorical. Without any, this is `causalif.ATE`.
    adjust : sequence of str, default ()
        Covariates: numeric, boolean or categorical.
    dag : networkx.DiGraph, optional
        A causal graph in which to find the optimal adjustment set, instead of ``mediators`` and ``adjust``. Nodes that
        are not columns of the data count as latent. Where no single set exists, the sequential formula is used if its
        two steps do; the result's ``sets`` says what was chosen.
    intermediate : sequence of str, default ()
        Confounders L of mediators and outcome that the treatment affects, for mediators of up to 10 joint values. Put
        here what must neither be held fixed nor be averaged over like a covariate.
    levels : (treated, control), optional
        The two treatment values to compare; by default the larger against the smaller in sorted order.
    mediator_law : "marginal", "control" or mapping, default "marginal"
        Which law the mediators are drawn from in both arms: the observed law of everybody, that of the rows at the
        control level, or one that is given, for mediators of up to 10 joint values: ``{"M": 1}`` fixes M at 1 (the
        controlled direct effect), ``{"M": {0: 0.4, 1: 0.6}}`` draws it; several mediators are drawn independently.
    method : {"one_step", "tmle"}, default "one_step"
        "one_step" as above. "tmle" (targeted minimum loss estimation) moves the log odds of Q, within the observed
        range of the outcome, by the constant that makes the average of 1(A = a) w (Y − Q) zero in each fold; both means
        are then averages of Q over pairs of rows and cannot leave the range. Equal to first order, with the same
        standard error; worth it for rare or bounded outcomes.
    weights_by : {"classification", "riesz"}, default "classification"
        How w is estimated: from probabilities (see ``learners``), or as a whole by least squares,
        :math:`\min_w P_n[1(A = a) w^2] - 2 U_n[w(M_i, C_j)]` over products of splines, without classifier and division.
    learners : "auto", "linear" or mapping, default "auto"
        As in `causalif.ATE`, for "outcome" (Y given mediators and covariates in each arm), "treatment" (A given both),
        and either "mediator" (the probability of each of up to 10 joint mediator values given covariates) or
        "density_ratio" (a classifier of observed against independently dealt rows, for all other mediators). Naming
        "density_ratio" chooses it for discrete mediators, too. That classifier must contain products of columns:
        dealing rows keeps the law of every column, so a linear or additive one, and boosted trees of which no first
        split helps, find the ratio 1 whatever the data are. The default is cross-validated logistic regression on
        products.
    folds : int or array of shape (n,), default 5
        Number of folds, or a fold label for every row.
    repeats : int, default 1
        Independent splits; estimates are medians over splits and standard errors include the split noise.
    cluster : str, optional
        Column of cluster labels; clusters stay whole when folds are made, standard errors are clustered.
    weights : str, optional
        Column of non-negative sampling weights.
    clip : float, default 0.01
        P(A = a | M, C) is kept within [clip, 1 − clip] and the weights below 1 / clip, that is 100;
        where ``mediator_law`` is not the marginal one, below 1 / clip times its ratio to the marginal one. Both are
        counted, warned of, and shown in ``diagnostics["weights"]``; above a share of 20% the fit is refused.
    random_state : int, Generator or None, default 0
        Seed of splits and learners.
    n_jobs : int, optional
        Parallel jobs over folds as in joblib. Digits do not depend on it.
    progress : bool, default True
        Show a progress bar on long work in a terminal.

    Raises
    ------
    InputError
        On unusable columns, options or graphs.
    NotIdentifiedError
        If no adjustment set exists in ``dag``.
    PositivityError
        If some mediator value never occurs with a treatment or covariate value that it has to be combined with.

    Notes
    -----
    Assumes that the covariates (and L) remove confounding of treatment and of the mediators with the outcome, that the
    treatment affects none of the covariates, that the mediators carry every indirect path, and that all mediator values
    occur at all covariate values (positivity by the product law, which asks for more than an average effect does). The
    mediators are fixed *jointly*, and their law is that of the population, not of each person: natural direct effects
    ask another question. Consistent if either Q or the weights are; the standard error needs the product of their
    errors to vanish faster than n^(-1/2).

    ``by_mediator`` gives the effect at each joint value of discrete mediators, or on average between the quartiles of a
    single continuous one; these ranges are taken as given in its standard errors. It is corrected in one step with
    either ``method``.

    ``diagnostics["weights"]`` has per arm the mean weight (1 if all is well), the largest, the cap and the rows it
    touched, and the effective rows (Σw)² / Σw². With few effective rows fix the mediators at fewer values or adjust
    for less.

    Cost: ``folds`` × (3 + number of mediator values) regressions, or ``folds`` × 4 with the density ratio, and one
    prediction per row and mediator value, or 50 to 200 per row, in each arm. Least squares costs a small part of what
    the density ratio costs.

    References
    ----------
    Lin, Guo and Gan (2025), Optimal Adjustment Sets for Nonparametric Estimation of Weighted Controlled Direct Effect.
    van der Laan and Rose (2011), Targeted Learning. Chernozhukov, Newey and Singh (2022), Econometrica 90(3), for
    weights by least squares. Pearl and Robins (1995), UAI, for the sequential formula.

    Examples
    --------
    >>> import causalif as ci
    >>> simulated = ci.datasets.simulate_wcde(4000, random_state=1)
    >>> fit = ci.WCDE(outcome="Y", treatment="A", mediators=["M1", "M2"], adjust=["C", "W"],
    ...               learners="linear").fit(simulated.data)
    >>> list(fit.params.index)
    ['WCDE', 'E[Y(1, M)]', 'E[Y(0, M)]']
    >>> bool(abs(fit.params["WCDE"] - simulated.truth["WCDE"]) < 4 * fit.std_errors["WCDE"])
    True
    >>> fit.by_mediator()[["M1", "M2", "share"]].round(1).to_numpy().tolist()
    [[0.0, 0.0, 0.3], [0.0, 1.0, 0.2], [1.0, 0.0, 0.2], [1.0, 1.0, 0.4]]
    """

    outcome: str
    treatment: str
    mediators: Sequence[str] = ()
    adjust: Sequence[str] = ()
    dag: Any = None
    intermediate: Sequence[str] = ()
    levels: tuple[Any, Any] | None = None
    mediator_law: Law = "marginal"
    method: Method = "one_step"
    weights_by: WeightsBy = "classification"
    learners: Learners = "auto"
    folds: Any = 5
    repeats: int = 1
    cluster: str | None = None
    weights: str | None = None
    clip: float = 0.01
    random_state: int | np.random.Generator | None = 0
    n_jobs: int | None = None
    progress: bool = True

    def fit(self, data: Any) -> WCDEResult:
        """Estimate the effect on a DataFrame.

        Parameters
        ----------
        data : pandas.DataFrame or polars.DataFrame
            One row per unit; never changed.

        Returns
        -------
        WCDEResult
            Terms ``WCDE``, ``E[Y(a, M)]`` and ``E[Y(b, M)]``; ``by_mediator`` and ``sets``.
        """
        self._check()
        chosen = self._chosen(data)
        columns = read_columns(
            data, self.outcome, self.treatment, chosen.mediators, chosen.adjust, self.cluster, self.weights,
            chosen.intermediate,
        )  # fmt: skip
        check_route(chosen, self.method, self.weights_by)
        require_cells(columns, chosen.intermediate)
        arms = compared_arms(columns.table, self.treatment, self.levels)
        law = read_law(self.mediator_law, columns, chosen.mediators, arms[1]) if chosen.mediators else MediatorLaw()
        require_product_support(columns, self.treatment, arms, law.given)
        columns = columns if columns.intermediate else self._with_cells_if_useful(columns, arms, law)
        spread = columns.cells or columns.groups
        strata = (self.treatment,) if spread is None else (self.treatment, spread.column)
        plan = read_plan(self, columns.table, strata)
        self._require_splitting(plan, columns)
        self._require_rows(columns.table, arms, plan)
        result = cross_fit([self._question(columns, arms, law)], columns.table, plan)
        return self._result(data, chosen, columns, arms, plan, result)

    # --- the question ---------------------------------------------------------------------------------------------

    def _check(self) -> None:
        check_options(self, LEARNER_NAMES)
        check_clip(self.clip)
        check_weight_learners(self.learners, self.weights_by)
        check_law(self.mediator_law, None if self.dag is not None else list(self.mediators))

    def _chosen(self, data: Any) -> Chosen:
        if self.dag is None:
            return from_lists(self.mediators, self.adjust, self.intermediate, data)
        if list(self.mediators) or list(self.adjust) or list(self.intermediate):
            raise InputError(
                "Give either `dag`, or `mediators`, `adjust` and `intermediate`: the graph chooses them by itself."
            )
        return from_graph(self.dag, data, self.treatment, self.outcome)

    def _with_cells_if_useful(self, columns: Columns, arms: tuple[int, int], law: MediatorLaw) -> Columns:
        """Leave cells aside where some have too few rows in an arm, or the user named the other way."""
        named = self.learners if isinstance(self.learners, Mapping) else {}
        if columns.cells is not None and law.given is None and "mediator" not in named:
            table, cell = columns.table, columns.cell
            least = min(
                np.bincount(cell[table[self.treatment] == arm], minlength=len(columns.cells)).min() for arm in arms
            )
            if "density_ratio" in named or least < ROWS_PER_CELL:
                return replace(columns, cells=None, shown=None)
        if columns.cells is None and "mediator" in named:
            raise InputError(
                "`learners` names 'mediator', the probability of each mediator value, but the mediators take too many "
                "values for that. Name 'density_ratio' instead, or group the values."
            )
        return columns

    def _require_splitting(self, plan: Plan, columns: Columns) -> None:
        """Refuse a flexible default for the mediators' law on the rows that it was fitted on."""
        key = "density_ratio" if columns.cells is None else "mediator"
        chosen = self.learners.get(key, "auto") if isinstance(self.learners, Mapping) else self.learners
        if plan.folds == 1 and columns.mediators and isinstance(chosen, str) and chosen == "auto":
            raise InputError(
                "`folds=1` evaluates nuisances on the rows they were fitted on, which is only sound for simple "
                f"parametric models. Name a model for {key!r} in `learners`, or use at least 2 folds."
            )

    def _require_rows(self, table: Table, arms: tuple[int, int], plan: Plan) -> None:
        levels, a = table.levels[self.treatment], table[self.treatment]
        require_rows(table, [(f"{self.treatment} = {levels[code]!r}", a == code) for code in arms], plan)

    def _question(self, columns: Columns, arms: tuple[int, int], law: MediatorLaw) -> DirectEffect:
        levels, y = columns.table.levels[self.treatment], columns.table[self.outcome]
        one = DirectMean(
            self.outcome,
            self.treatment,
            columns.mediators,
            columns.adjust,
            float(arms[0]),
            len(levels),
            clip=self.clip,
            cells=columns.cells,
            groups=columns.groups if columns.cells is None and law == MARGINAL else None,
            law=law,
            weights_by=self.weights_by,
            limits=(float(y.min()), float(y.max())) if self.method == "tmle" else None,
        )
        if columns.intermediate:
            known = {field.name: getattr(one, field.name) for field in fields(one)}
            one = SequentialMean(**known, intermediate=columns.intermediate)
        treated, control = (replace(one, level=float(code), label=f"E[Y({_shown(levels[code])}, M)]") for code in arms)
        return DirectEffect(treated, control)

    # --- the answer -----------------------------------------------------------------------------------------------

    def _result(
        self, data: Any, chosen: Chosen, columns: Columns, arms: tuple[int, int], plan: Plan, result: CrossFit
    ) -> WCDEResult:
        table = columns.table
        warned = [*chosen.warnings, *report_clipping(result, len(table), otherwise="")]
        weights = weights_table(result.nuisances, table, self.treatment, arms, self.clip)
        targeting = targeting_table(result.nuisances, table, self.treatment, arms)
        tables = {name: found for name, found in (("weights", weights), ("targeting", targeting)) if not found.empty}
        warned += judge_weights(weights)
        terms = result.influence[:, :TERMS], result.labels[:TERMS]
        tables["influence"], doubts = judged_influence(*terms, table.index, table.clusters)
        warned += doubts
        splits = result.splits
        return WCDEResult(
            values=result.values[:TERMS],
            influence_values=terms[0],
            labels=terms[1],
            index=table.index,
            clusters=table.clusters,
            settings=self._settings(table, chosen, columns, arms, plan, result) | {"warnings": warned},
            diagnostics=diagnostics_of(result) | tables,
            splits=None if splits is None else splits[splits["term"].isin(result.labels[:TERMS])],
            nuisances=result.nuisances,
            origin=Origin(self, data),
            curve=_curve(result, table),
            values_of=_values_of(columns),
            sets=chosen.sets,
        )

    def _settings(
        self, table: Table, chosen: Chosen, columns: Columns, arms: tuple[int, int], plan: Plan, result: CrossFit
    ) -> dict[str, Any]:
        asked = replace(self, mediators=chosen.mediators, adjust=chosen.adjust)
        settings = common_settings("Weighted controlled direct effect", asked, table, plan, result.folds)
        treated, control = (table.levels[self.treatment][code] for code in arms)
        settings["levels"] = f"{treated} (treated) against {control} (control)"
        settings["method"] = "one step" if self.method == "one_step" else "targeted (TMLE)"
        settings["mediators"] = list(chosen.mediators)
        if chosen.intermediate:
            settings["intermediate"] = list(chosen.intermediate)
            settings["formula"] = "sequential: the treatment affects " + ", ".join(chosen.intermediate)
        if chosen.mediators:
            settings["mediator_law"] = described(self.mediator_law, chosen.mediators, control)
            settings["weights_from"] = self._weights_from(columns)
        return settings

    def _weights_from(self, columns: Columns) -> str:
        if self.weights_by == "riesz":
            return "least squares (Riesz)"
        return "density ratio" if columns.cells is None else "probabilities of mediator values"


def _curve(result: CrossFit, table: Table) -> Estimate | None:
    if len(result.labels) == TERMS:
        return None
    settings = {"estimator": "Controlled direct effect by mediator value"}
    values, influence, labels = result.values[TERMS:], result.influence[:, TERMS:], result.labels[TERMS:]
    return Estimate(values, influence, labels, table.index, table.clusters, settings=settings)


def _values_of(columns: Columns) -> pd.DataFrame | None:
    if columns.shown is None:
        return None
    code = columns.cell if columns.cells is not None else columns.group
    counts = np.bincount(code, weights=columns.table.weights, minlength=len(columns.shown))
    return columns.shown.assign(share=counts / counts.sum())


def _shown(level: Any) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)
