"""`Mediation`: how much of an effect goes through mediators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from causalif._errors import InputError
from causalif._validate import one_of
from causalif.engine.crossfit import CrossFit, cross_fit
from causalif.engine.learners import Learners
from causalif.engine.problem import Plan
from causalif.estimands.path_effect import Combination
from causalif.estimators._common import check_clip, check_options, common_settings, read_plan
from causalif.estimators.mediation.bridge import Asker
from causalif.estimators.mediation.columns import Columns, Exposure, Levels, check_nested, read_columns, read_exposure
from causalif.estimators.mediation.diagnostics import judged, require_arms
from causalif.estimators.mediation.result import MediationResult
from causalif.graphs.mediation import Setting
from causalif.results.estimate import Origin

LEARNER_NAMES = ("outcome", "treatment", "nested", "mediator", "density_ratio")


@dataclass(frozen=True, kw_only=True)
class Mediation:
    r"""The effect of a treatment, divided into a part through mediators and the rest.

    .. math:: \underbrace{E[Y(a) - Y(a^*)]}_{\text{total}} =
        \underbrace{E[Y(a, M(a^*)) - Y(a^*, M(a^*))]}_{\text{direct}} +
        \underbrace{E[Y(a, M(a)) - Y(a, M(a^*))]}_{\text{indirect}}

    Each mean is estimated in one step from out-of-fold regressions (equation 8 of Zhou 2022): regressions of the
    outcome that are averaged over the mediators by further regressions, and weights from the probabilities of the
    treatment given covariates, with and without mediators. No density of a mediator is needed.

    Parameters
    ----------
    outcome : str
        Column of a numeric outcome; estimates are in its unit.
    treatment : str
        Column of the treatment: a few distinct values of any type, or numeric with ``shift``.
    mediators : sequence of str, or of lists of str
        Mediators, taken together. With lists, such as ``[["L"], ["M"]]``, blocks in causal order: the indirect effect
        is then divided among them, "via L" and "via M".
    adjust : sequence of str, default ()
        Covariates that the treatment does not act on: numeric, boolean or categorical.
    levels : (treated, control), optional
        The two treatment values a and a* to compare; by default the larger against the smaller of two.
    shift : float, optional
        For a continuous treatment: compare everybody's treatment increased by this amount with what it is. Rows that
        would leave the observed range stay as they are.
    reference : {"control", "treated"}, default "control"
        Where mediators are held while the direct effect is taken: "control" as above; with "treated" the direct effect
        is E[Y(a, M(a)) − Y(a*, M(a))] and the indirect one E[Y(a*, M(a)) − Y(a*, M(a*))]. Both pairs add up to the
        total.
    learners : "auto", "linear" or mapping, default "auto"
        As in `causalif.ATE`, for "outcome" (Y given treatment, covariates and mediators), "treatment" (with and
        without mediators), "nested" (regressions of fitted regressions: a regressor) and, with ``shift``,
        "density_ratio" (a classifier of shifted against observed rows).
    folds : int or array of shape (n,), default 5
        Number of folds, or a fold label for every row.
    repeats : int, default 1
        Independent splits; estimates are medians over splits and standard errors include the split noise.
    cluster : str, optional
        Column of cluster labels; clusters stay whole when folds are made, standard errors are clustered.
    weights : str, optional
        Column of non-negative sampling weights.
    clip : float, default 0.01
        Probabilities of the treatment are kept within [clip, 1 − clip] and density ratios below 1 / clip; clipped rows
        are counted.
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
    PositivityError
        If an arm has too few rows, or covariates or mediators nearly determine the treatment.

    Notes
    -----
    Assumes that the covariates remove confounding of treatment and outcome, treatment and mediators, and mediators and
    outcome; that no confounder of mediators and outcome is itself affected by the treatment, unless it is a mediator
    of an earlier block; that both levels occur at all covariate and mediator values; and that counterfactuals of
    different worlds are independent given covariates, which no experiment can check. Each mean is consistent if for
    some j the weights up to step j and the regressions from it on are. Shares of the effect are ratios of terms,
    see `MediationResult.share_mediated`.

    With several blocks the effects are taken one by one: with ``reference="control"`` first the direct one, then via
    the last block and so on, earlier blocks at their control level throughout (Zhou 2022).

    Cost: ``folds`` × 4 × about (2 + 3 × number of blocks) regressions.

    References
    ----------
    Zhou (2022), JRSS B 84, 794-821; Tchetgen Tchetgen and Shpitser (2012), Annals of Statistics 40, 1816-1845; Diaz and
    Hejazi (2020), JRSS B 82, 661-683, for ``shift``.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from causalif.estimators.mediation import Mediation
    >>> rng = np.random.default_rng(0)
    >>> a = rng.integers(0, 2, 2000)
    >>> m = 0.5 * a + rng.normal(size=2000)
    >>> data = pd.DataFrame({"a": a, "m": m, "y": a + 2 * m + rng.normal(size=2000)})
    >>> fit = Mediation(outcome="y", treatment="a", mediators=["m"], learners="linear").fit(data)
    >>> list(fit.params.index)
    ['total', 'direct', 'indirect', 'E[Y(1)]', 'E[Y(0)]', 'E[Y(1, m(0))]']
    >>> bool(np.isclose(fit.params["total"], fit.params["direct"] + fit.params["indirect"]))
    True
    >>> share = fit.share_mediated()
    >>> bool(abs(share.values[0] - 0.5) < 3 * share.std_errors.iloc[0])
    True
    """

    outcome: str
    treatment: str
    mediators: Sequence[Any]
    adjust: Sequence[str] = ()
    levels: tuple[Any, Any] | None = None
    shift: float | None = None
    reference: Literal["control", "treated"] = "control"
    learners: Learners = "auto"
    folds: Any = 5
    repeats: int = 1
    cluster: str | None = None
    weights: str | None = None
    clip: float = 0.01
    random_state: int | np.random.Generator | None = 0
    n_jobs: int | None = None
    progress: bool = True

    def fit(self, data: Any) -> MediationResult:
        """Estimate the effects on a DataFrame.

        Parameters
        ----------
        data : pandas.DataFrame or polars.DataFrame
            One row per unit; never changed.

        Returns
        -------
        MediationResult
            Terms "total", "direct", "indirect", with several blocks "via ..." for each, then the means.
        """
        check_options(self, LEARNER_NAMES)
        check_nested(self.learners)
        check_clip(self.clip)
        one_of("reference", self.reference, ("control", "treated"))
        blocks = read_blocks(self.mediators)
        names = [name for block in blocks for name in block]
        columns = read_columns(
            data, self.outcome, self.treatment, names, self.adjust, self.shift, self.cluster, self.weights
        )
        exposure = read_exposure(columns, self.levels, self.shift)
        plan = read_plan(self, columns.table, (self.treatment,) if self.shift is None else ())
        require_arms(columns, exposure, plan)
        estimand = self._question(blocks, columns, exposure)
        result = additive(cross_fit([estimand], columns.table, plan))
        tables, warned = judged(result, columns, exposure, columns.of(self.adjust))
        settings = self._settings(columns, exposure, plan, result.folds) | {"warnings": warned}
        return MediationResult(
            values=result.values,
            influence_values=result.influence,
            labels=result.labels,
            index=columns.table.index,
            clusters=columns.table.clusters,
            settings=settings,
            diagnostics=tables,
            splits=result.splits,
            nuisances=result.nuisances,
            origin=Origin(self, data),
        )

    def _question(self, blocks: Sequence[tuple[str, ...]], columns: Columns, exposure: Exposure) -> Combination:
        """Return total, direct and indirect effects as differences of neighbours in a chain of means."""
        asker = Asker(columns, exposure, self.clip, report=True)
        adjust, held = columns.of(self.adjust), self.reference == "control"
        chain = [Setting((), (held,))]
        for k in range(1, len(blocks) + 1):
            first = tuple(name for block in blocks[:k] for name in block)
            chain.append(Setting((first,), (not held, held)))
        chain.append(Setting((), (not held,)))
        means = tuple(asker.mean(setting, adjust) for setting in chain)
        sign = 1.0 if held else -1.0
        steps = [_difference(k, len(means), sign) for k in range(len(blocks) + 1)]
        direct, via = steps[-1], steps[:-1]
        indirect = np.sum(via, axis=0)
        parts = {f"via {', '.join(block)}": step for block, step in zip(blocks, via, strict=True)}
        rows = {"total": indirect + direct, "direct": direct, "indirect": indirect}
        rows |= parts if len(blocks) > 1 else {}
        shown = sorted(range(len(means)), key=lambda k: (0 < k < len(means) - 1, k if held else -k))
        rows |= {means[k].labels[0]: np.eye(len(means))[k] for k in shown}
        return Combination(means, tuple(rows), tuple(tuple(row.tolist()) for row in rows.values()))

    def _settings(self, columns: Columns, exposure: Exposure, plan: Plan, folds: Any) -> dict[str, Any]:
        settings = common_settings("Mediation", self, columns.table, plan, folds)
        return settings | {"mediators": list(self.mediators)} | described(exposure, columns, self.reference)


def additive(result: CrossFit) -> CrossFit:
    """Let the parts add up to the total where medians over repeats do not: the direct effect is what is left."""
    if result.splits is None:
        return result
    values, influence = result.values.copy(), result.influence.copy()
    at = {label: j for j, label in enumerate(result.labels)}
    via = [j for label, j in at.items() if label.startswith("via ")]
    if via:
        values[at["indirect"]], influence[:, at["indirect"]] = values[via].sum(), influence[:, via].sum(axis=1)
    values[at["direct"]] = values[at["total"]] - values[at["indirect"]]
    influence[:, at["direct"]] = influence[:, at["total"]] - influence[:, at["indirect"]]
    return replace(result, values=values, influence=influence)


def described(exposure: Exposure, columns: Columns, reference: str) -> dict[str, Any]:
    """Return what is compared, in words."""
    if isinstance(exposure, Levels):
        levels = f"{exposure.shown[0]} (treated) against {exposure.shown[1]} (control)"
        return {"levels": levels, "reference": reference}
    stay = int((~exposure.moves(columns.table[columns.treatment])).sum())
    text = f"{exposure.size:+g}; {stay:,} of {len(columns.table):,} rows stay, for they would leave "
    return {"shift": text + f"[{exposure.low:g}, {exposure.high:g}]", "reference": reference}


def read_blocks(mediators: Any) -> list[tuple[str, ...]]:
    """Return the blocks of mediators, one by default."""
    if isinstance(mediators, str) or not isinstance(mediators, Sequence) or not mediators:
        raise InputError(
            "`mediators` must be a list of column names, such as ['m1', 'm2'], or of lists in causal order, such as "
            f"[['m1'], ['m2']]. Got {mediators!r} instead."
        )
    lists = [isinstance(block, (list, tuple)) for block in mediators]
    if any(lists) and not all(lists):
        raise InputError(
            f"`mediators` mixes names and lists: {mediators!r}. Write either names, or one list for every block."
        )
    blocks = [tuple(block) for block in mediators] if all(lists) else [tuple(mediators)]
    if not all(blocks):
        raise InputError("`mediators` has an empty block. Leave it out.")
    return blocks


def _difference(k: int, count: int, sign: float) -> Any:
    row = np.zeros(count)
    row[k], row[k + 1] = sign, -sign
    return row
