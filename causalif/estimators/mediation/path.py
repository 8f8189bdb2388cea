"""`PathEffect`: the effect along one path of a causal graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from causalif._errors import IdentificationWarning, InputError, NotIdentifiedError, tell
from causalif.engine.crossfit import CrossFit, cross_fit
from causalif.engine.learners import Learners
from causalif.engine.problem import Plan
from causalif.estimands.path_effect import Combination
from causalif.estimators._common import check_clip, check_options, common_settings, read_plan
from causalif.estimators.mediation.bridge import Asker
from causalif.estimators.mediation.columns import Columns, Exposure, check_nested, read_columns, read_exposure
from causalif.estimators.mediation.diagnostics import judged, require_arms
from causalif.estimators.mediation.estimator import LEARNER_NAMES, described
from causalif.estimators.mediation.result import PathEffectResult
from causalif.graphs.mediation import PathQuestion, edge_questions, path_question, total_question
from causalif.results.estimate import Origin

Questions = Mapping[str, PathQuestion]


@dataclass(frozen=True, kw_only=True)
class PathEffect:
    r"""The effect of a treatment along one path of a causal graph, or the total effect divided by its first edges.

    .. math:: E[Y(\pi \text{ at } a, \text{ rest at } a^*)] - E[Y(a^*)]

    Every path begins with exactly one edge out of the treatment. The natural effect along a path is identified when no
    other path begins with the same edge; otherwise the path recants, and its interventional analogue is estimated
    instead, or the effect of the whole bundle. The result's label and ``types`` say which.

    Parameters
    ----------
    outcome : str
        Column of a numeric outcome; estimates are in its unit.
    treatment : str
        Column of the treatment: a few distinct values of any type, or numeric with ``shift``.
    dag : networkx.DiGraph
        A causal graph whose nodes are columns, without hidden common causes.
    path : sequence of str, or collection of such sequences, optional
        From treatment to outcome, both included. Without a path the total effect is divided among the first edges, with
        what their interaction adds.
    reference : {"control", "treated"}, default "control"
        The level of everything off the path: as above, or E[Y(a)] − E[Y(π at a*, rest at a)].
    on_recanting : {"interventional", "bundle", "skip"}, default "interventional"
        What to estimate where the natural effect is not identified; "skip" raises.
    adjust : {"dag", "optimal", "all_pretreatment"} or sequence of str, default "dag"
        Covariates, see `causalif.graphs.mediation.path_question`.
    levels : (treated, control), optional
        The two treatment values a and a* to compare; by default the larger against the smaller of two.
    shift : float, optional
        For a continuous treatment, as in `Mediation`. With a shift, paths that begin with an edge into a mediator that
        lies below other mediators, and interventional effects, are not available.
    learners : "auto", "linear" or mapping, default "auto"
        As in `Mediation`, and for interventional effects "mediator" (a classifier, the probability of each value of a
        discrete mediator on the path) or "density_ratio" (a classifier with products of columns, for others).
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
        On unusable columns or options, and if the graph has no such path: the effect is then 0 by the graph.
    NotIdentifiedError
        If the path recants and ``on_recanting="skip"``.
    PositivityError
        If an arm has too few rows, or covariates or mediators nearly determine the treatment.

    Notes
    -----
    Assumes that the graph is right, that all levels occur at all values of covariates and mediators and, for natural
    effects and bundles, that counterfactuals of different worlds are independent given covariates. An interventional
    effect needs no such independence, but answers another question: the nodes on the path are drawn anew, each
    independently of the other causes of the next; it equals the product of coefficients in linear models without
    interactions, and need not add up to the total effect with others. It asks what the outcome would be at
    combinations of mediators that need not occur together: where they are strongly correlated the weights have no
    finite variance, the estimate rests on the outcome regression beyond the data, and its standard error is too small.

    Cost: ``folds`` × 4 × about 4 to 20 regressions.

    References
    ----------
    Avin, Shpitser and Pearl (2005), IJCAI; Zhou (2022), JRSS B 84, 794-821; Lin and VanderWeele (2017), Journal of
    Causal Inference 5; Vansteelandt and Daniel (2017), Epidemiology 28, 258-265.

    Examples
    --------
    >>> import causalif as ci, numpy as np, pandas as pd
    >>> from causalif.estimators.mediation import PathEffect
    >>> rng = np.random.default_rng(0)
    >>> a = rng.integers(0, 2, 2000)
    >>> l = a + rng.normal(size=2000)
    >>> m = 0.5 * a + l + rng.normal(size=2000)
    >>> data = pd.DataFrame({"a": a, "l": l, "m": m, "y": 2 * m + rng.normal(size=2000)})
    >>> dag = ci.parse_dag("a -> l; a -> m; l -> m; m -> y")
    >>> fit = PathEffect(outcome="y", treatment="a", dag=dag, path=("a", "m", "y"), learners="linear").fit(data)
    >>> fit.types.to_dict()
    {'a -> m -> y': 'natural'}
    >>> bool(abs(fit.params["a -> m -> y"] - 1) < 3 * fit.std_errors["a -> m -> y"])
    True
    """

    outcome: str
    treatment: str
    dag: Any
    path: Any = None
    reference: Literal["control", "treated"] = "control"
    on_recanting: Literal["interventional", "bundle", "skip"] = "interventional"
    adjust: str | Sequence[str] = "dag"
    levels: tuple[Any, Any] | None = None
    shift: float | None = None
    learners: Learners = "auto"
    folds: Any = 5
    repeats: int = 1
    cluster: str | None = None
    weights: str | None = None
    clip: float = 0.01
    random_state: int | np.random.Generator | None = 0
    n_jobs: int | None = None
    progress: bool = True

    def fit(self, data: Any) -> PathEffectResult:
        """Estimate the effect on a DataFrame.

        Parameters
        ----------
        data : pandas.DataFrame or polars.DataFrame
            One row per unit; never changed.

        Returns
        -------
        PathEffectResult
            The effect under the path's name and its two means; without a path, one term for each first edge, then
            "interaction" and "total".
        """
        check_options(self, LEARNER_NAMES)
        check_nested(self.learners)
        check_clip(self.clip)
        questions = self._questions()
        adjust = [str(node) for node in next(iter(questions.values())).adjust]
        mediators = sorted({str(node) for question in questions.values() for node in question.mediators})
        columns = read_columns(
            data, self.outcome, self.treatment, mediators, adjust, self.shift, self.cluster, self.weights
        )
        exposure = read_exposure(columns, self.levels, self.shift)
        plan = read_plan(self, columns.table, (self.treatment,) if self.shift is None else ())
        require_arms(columns, exposure, plan)
        estimand = self._estimand(questions, columns, exposure)
        result = self._additive(cross_fit([estimand], columns.table, plan))
        tables, warned = judged(result, columns, exposure, columns.of(adjust))
        settings = self._settings(questions, columns, exposure, plan, result)
        settings["warnings"] = [*self._told(questions), *warned]
        return PathEffectResult(
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
            questions=questions,
        )

    def _questions(self) -> Questions:
        ends = (self.dag, self.treatment, self.outcome)
        if self.path is None:
            total = total_question(*ends, adjust=self.adjust)
            if total.kind == "absent":
                raise InputError(
                    f"`dag` has no directed path from {self.treatment!r} to {self.outcome!r}: the effect is 0 by the "
                    "graph itself, and there is nothing to estimate."
                )
            edges = edge_questions(*ends, self.reference, self.adjust)
            return {question.label: question for question in edges.values()} | {"total": total}
        question = path_question(*ends, self.path, self.reference, self.on_recanting, self.adjust)
        if question.kind == "absent":
            raise InputError(
                f"`path` {question.label} is not in `dag`, which lacks one of its edges: the effect along it is 0 by "
                f"the graph itself. Edges of the graph: {_listed(self.dag)}."
            )
        if question.kind == "skipped":
            message = _recants(question) + ' Use on_recanting="interventional" or "bundle".'
            raise NotIdentifiedError(message, question.witness)
        return {_term(question): question}

    def _estimand(self, questions: Questions, columns: Columns, exposure: Exposure) -> Combination:
        """Return all effects; for a single path its means, for the decomposition its remainder."""
        asker = Asker(columns, exposure, self.clip, report=True)
        signed = {label: asker.means_of(question) for label, question in questions.items()}
        means = tuple(dict.fromkeys(mean for part in signed.values() for _, mean in part))
        rows = {label: np.zeros(len(means)) for label in signed}
        for label, part in signed.items():
            for sign, mean in part:
                rows[label][means.index(mean)] += sign
        if self.path is None:
            total = rows.pop("total")
            rows |= {"interaction": total - np.sum(list(rows.values()), axis=0), "total": total}
        else:
            rows |= {mean.labels[0]: one for mean, one in zip(means, np.eye(len(means)), strict=True)}
        return Combination(means, tuple(rows), tuple(tuple(row.tolist()) for row in rows.values()))

    def _additive(self, result: CrossFit) -> CrossFit:
        """Let the parts add up to the total where medians over repeats do not: the interaction is what is left."""
        if self.path is not None or result.splits is None:
            return result
        values, influence = result.values.copy(), result.influence.copy()
        values[-2] = values[-1] - values[:-2].sum()
        influence[:, -2] = influence[:, -1] - influence[:, :-2].sum(axis=1)
        return replace(result, values=values, influence=influence)

    def _settings(
        self, questions: Questions, columns: Columns, exposure: Exposure, plan: Plan, result: CrossFit
    ) -> dict[str, Any]:
        settings = common_settings("Path-specific effect", self, columns.table, plan, result.folds)
        first = next(iter(questions.values()))
        settings |= {"adjust": [str(node) for node in first.adjust]} | described(exposure, columns, self.reference)
        if self.path is None:
            return settings
        return settings | {"path": first.label, "type": first.kind}

    def _told(self, questions: Questions) -> list[str]:
        """Say aloud that something else than the natural effect was estimated."""
        told = []
        for question in questions.values():
            if question.witness is not None:
                other = "its interventional analogue" if question.kind == "interventional" else "the whole bundle"
                told.append(f"{_recants(question)} The estimate is of {other}.")
                tell(told[-1], IdentificationWarning)
        return told


def _term(question: PathQuestion) -> str:
    """Return the path, and the type of the effect where it is not the natural one."""
    return question.label if question.kind == "natural" else f"{question.label} ({question.kind})"


def _recants(question: PathQuestion) -> str:
    shown = " -> ".join(map(str, question.witness or ()))
    return f"The natural effect along {question.label} is not identified: {shown} begins with the same edge."


def _listed(dag: Any) -> str:
    edges = [f"{tail} -> {head}" for tail, head in dag.edges]
    return ", ".join(edges[:20]) + (", ..." if len(edges) > 20 else "")
