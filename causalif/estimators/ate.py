"""The average treatment effect, and the effect among the treated, by augmented inverse probability weighting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from causalif._validate import Array, one_of
from causalif.engine.crossfit import CrossFit, Derived, cross_fit
from causalif.engine.estimand import Estimand
from causalif.engine.learners import Learners
from causalif.engine.problem import Plan
from causalif.estimands.counterfactual import AverageEffect, CounterfactualMean, TreatedMoments
from causalif.estimators._common import (
    check_clip,
    check_options,
    common_settings,
    compared_arms,
    diagnostics_of,
    read_plan,
    refuse_constant,
    report_clipping,
    require_overlap,
    require_rows,
)
from causalif.estimators._concentration import judged_influence
from causalif.estimators._overlap import judged_weights, weight_line
from causalif.results.estimate import Estimate, Origin
from causalif.table import Table, read_table


@dataclass(frozen=True, kw_only=True)
class ATE:
    r"""The average effect of a discrete treatment, adjusted for observed confounders.

    .. math:: \theta = E[\mu_a(X) - \mu_b(X)], \qquad
        \varphi_a = \mu_a(X) + \frac{1(A = a)}{\pi_a(X)} (Y - \mu_a(X))

    with :math:`\mu_a(X) = E[Y | A = a, X]` and :math:`\pi_a(X) = P(A = a | X)`; with ``target="treated"``,
    :math:`E[Y - \mu_b(X) | A = a]`.

    Parameters
    ----------
    outcome : str
        Column of a numeric outcome, in any unit; estimates are in the same unit.
    treatment : str
        Column of the treatment: two or a few distinct values of any type.
    adjust : sequence of str, default ()
        Covariates: numeric, boolean or categorical (encoded as indicators).
    levels : (treated, control), optional
        The two treatment values to compare. Needed if there are more than two; by default the larger against the
        smaller in sorted order.
    target : {"all", "treated"}, default "all"
        Whom the effect is averaged over: everybody, or those who have the treated level.
    learners : "auto", "linear" or mapping, default "auto"
        "auto" stacks penalised splines with interactions and gradient boosting; "linear" is least squares and
        logistic regression on the columns as they are, computed for all folds from one cross-product matrix; a
        mapping gives scikit-learn estimators or Pipelines for "outcome" and "treatment". They are cloned, never
        changed; unset ``random_state`` parameters are seeded.
    folds : int or array of shape (n,), default 5
        Number of folds (1 fits and evaluates on the same rows, for parametric models), or a fold label for every row.
    repeats : int, default 1
        Independent splits; estimates are medians over splits and standard errors include the split noise.
    cluster : str, optional
        Column of cluster labels; clusters stay whole when folds are made, standard errors are clustered.
    weights : str, optional
        Column of non-negative sampling weights.
    clip : float, default 0.01
        Propensities are kept within [clip, 1 − clip]; clipped rows are counted and reported.
    random_state : int, Generator or None, default 0
        Seed of splits and learners.
    n_jobs : int, optional
        Parallel jobs over folds as in joblib; used for work above about two seconds. Digits do not depend on it.
    progress : bool, default True
        Show a progress bar on long work in a terminal.

    Raises
    ------
    InputError
        On unusable columns or options.
    PositivityError
        If an arm has too few rows, or so many propensities are at the bounds that the arms hardly overlap.

    Notes
    -----
    Assumes that the covariates remove all confounding, that every kind of unit can have either level, and that a
    unit's outcome depends on its own treatment only. Consistent if either regression is; the standard error also needs
    both to converge, their errors' product faster than n^(-1/2). Cost: ``folds`` × 3 regressions per repeat.

    References
    ----------
    Robins, Rotnitzky and Zhao (1994), JASA 89, 846-866; Chernozhukov et al. (2018), Econometrics Journal 21, C1-C68,
    equation 5.3.

    Examples
    --------
    >>> import causalif as ci
    >>> covariates = ["inc", "incsq", "age", "agesq", "fsize", "marr"]
    >>> fit = ci.ATE(outcome="nettfa", treatment="e401k", adjust=covariates, learners="linear").fit(
    ...     ci.datasets.load_401k())
    >>> list(fit.params.index)
    ['ATE', 'E[Y(1)]', 'E[Y(0)]']
    >>> bool(6 < fit.params["ATE"] < 11)
    True
    """

    outcome: str
    treatment: str
    adjust: Sequence[str] = ()
    levels: tuple[Any, Any] | None = None
    target: Literal["all", "treated"] = "all"
    learners: Learners = "auto"
    folds: Any = 5
    repeats: int = 1
    cluster: str | None = None
    weights: str | None = None
    clip: float = 0.01
    random_state: int | np.random.Generator | None = 0
    n_jobs: int | None = None
    progress: bool = True

    def fit(self, data: Any) -> Estimate:
        """Estimate the effect on a DataFrame.

        Parameters
        ----------
        data : pandas.DataFrame or polars.DataFrame
            One row per unit; never changed.

        Returns
        -------
        Estimate
            Terms ``ATE``, ``E[Y(a)]`` and ``E[Y(b)]``; ``ATT`` and the two means among the treated with
            ``target="treated"``.
        """
        check_options(self, ("outcome", "treatment"))
        check_clip(self.clip)
        one_of("target", self.target, ("all", "treated"))
        table = read_table(
            data,
            numbers={"outcome": self.outcome},
            coded={"treatment": self.treatment},
            adjust=self.adjust,
            cluster=self.cluster,
            weights=self.weights,
        )
        refuse_constant(table, "outcome", self.outcome)
        arms = compared_arms(table, self.treatment, self.levels)
        plan = read_plan(self, table, (self.treatment,))
        self._require_arms(table, arms, plan)
        estimand, derived = self._question(table, arms)
        result = cross_fit([estimand], table, plan, derived)
        self._require_overlap(table, arms, result)
        warned = report_clipping(result, len(table))
        weights, unbalanced = judged_weights(self._weights(table, arms, result))
        concentration, doubts = judged_influence(result.influence, result.labels, table.index, table.clusters)
        warned += [*unbalanced, *doubts]
        treated, control = (table.levels[self.treatment][code] for code in arms)
        settings = common_settings(
            "Average treatment effect" if self.target == "all" else "Average effect among the treated",
            self, table, plan, result.folds,
        )  # fmt: skip
        settings["levels"] = f"{treated} (treated) against {control} (control)"
        settings["warnings"] = warned
        return Estimate(
            values=result.values,
            influence_values=result.influence,
            labels=result.labels,
            index=table.index,
            clusters=table.clusters,
            settings=settings,
            diagnostics=diagnostics_of(result) | {"weights": weights, "influence": concentration},
            splits=result.splits,
            nuisances=result.nuisances,
            origin=Origin(self, data),
        )

    def _weights(self, table: Table, arms: tuple[int, int], result: CrossFit) -> dict[str, dict[str, float]]:
        """Return what the weights of each arm say about overlap; among the treated only the controls are weighted."""
        a, levels = table[self.treatment], table.levels[self.treatment]
        pi = {code: _probability(code, len(levels), result.nuisances) for code in arms}
        if self.target == "all":
            weights = {code: (a == code) / pi[code] for code in arms}
        else:
            treated, control = arms
            share = np.average(a == treated, weights=table.weights)
            weights = {control: (a == control) * pi[treated] / (pi[control] * share)}
        return {
            f"{self.treatment} = {levels[code]}": weight_line(w, a == code, table.weights, table.clusters)
            for code, w in weights.items()
        }

    def _require_overlap(self, table: Table, arms: tuple[int, int], result: CrossFit) -> None:
        a, everybody = table[self.treatment], self.target == "all"
        for code in arms if everybody else arms[:1]:
            if f"pi{code}" in result.nuisances:
                rows = slice(None) if everybody else np.isin(a, arms)
                described = f"{self.treatment} = {table.levels[self.treatment][code]!r}"
                require_overlap(described, result.nuisances[f"pi{code}"].to_numpy()[rows], a[rows] == code, everybody)

    def _require_arms(self, table: Table, arms: tuple[int, int], plan: Plan) -> None:
        groups = [
            (f"{self.treatment} = {table.levels[self.treatment][code]!r}", table[self.treatment] == code)
            for code in arms
        ]
        require_rows(table, groups, plan)

    def _question(self, table: Table, arms: tuple[int, int]) -> tuple[Estimand, Derived | None]:
        levels, count = table.levels[self.treatment], len(table.levels[self.treatment])
        names = (self.outcome, self.treatment, table.names)
        if self.target == "treated":
            moments = TreatedMoments(*names, float(arms[0]), float(arms[1]), count, self.clip)
            given = f"| {_shown(levels[arms[0]])}"
            labels = ("ATT", f"E[Y({_shown(levels[arms[0]])}) {given}]", f"E[Y({_shown(levels[arms[1]])}) {given}]")
            return moments, Derived(labels, _treated_means, _treated_jacobian)
        one, other = (
            CounterfactualMean(*names, float(code), count, f"E[Y({_shown(levels[code])})]", self.clip) for code in arms
        )
        return AverageEffect(one, other), None


def _probability(code: int, count: int, nuisances: pd.DataFrame) -> Array:
    """Return P(A = code | X); with two levels, whichever of the two was modelled."""
    if f"pi{code}" in nuisances:
        return nuisances[f"pi{code}"].to_numpy()
    return 1.0 - nuisances[f"pi{1 - code}"].to_numpy()


def _treated_means(moments: Any) -> Any:
    """ATT = (E[AY] − E[Aμ]) / E[A] and the two means among the treated."""
    observed, counterfactual, share = moments
    return np.array([(observed - counterfactual) / share, observed / share, counterfactual / share])


def _treated_jacobian(moments: Any) -> Any:
    observed, counterfactual, share = moments
    return np.array(
        [
            [1 / share, -1 / share, -(observed - counterfactual) / share**2],
            [1 / share, 0.0, -observed / share**2],
            [0.0, 1 / share, -counterfactual / share**2],
        ]
    )


def _shown(level: Any) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)
