"""`SIGMA`: effects along causal paths when the graph itself is uncertain."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd

from causalif._errors import IdentificationWarning, InputError
from causalif._validate import Array, closest, in_range, one_of, whole_number
from causalif.engine.crossfit import CrossFit
from causalif.engine.learners import Learners
from causalif.engine.problem import Plan
from causalif.estimators._common import check_clip, check_options, common_settings, read_plan, seed_of
from causalif.estimators.mediation.bridge import fit_questions, not_shifted
from causalif.estimators.mediation.columns import Columns, Exposure, check_nested, read_columns, read_exposure
from causalif.estimators.mediation.diagnostics import judged, require_arms
from causalif.estimators.mediation.estimator import LEARNER_NAMES, described
from causalif.estimators.sigma.averaging import Answers
from causalif.estimators.sigma.questions import Asked, LeftOut, ask, left_out, without, without_rare
from causalif.estimators.sigma.result import TOTAL, SigmaResult
from causalif.graphs.posterior import DAGPosterior
from causalif.results.estimate import Estimate
from causalif.table import column_names, native_column, read_table


@dataclass(frozen=True, kw_only=True)
class SIGMA:
    r"""Effects along causal paths, averaged over the graphs that the data leave possible.

    A posterior over graphs says how stable each path from treatment to outcome is. Every path above a threshold gets
    one estimate per distinct functional that the graphs ask for, each from its efficient influence function, and these
    are averaged with the probabilities of the graphs,

    .. math:: \bar\Delta_\pi = \sum_G P(G | D)\, \hat\delta_\pi(G), \qquad
        V = \underbrace{\sum_G P(G)\hat V(G)}_{\text{within}} +
        \underbrace{\sum_G P(G)\{\hat\delta_\pi(G) - \bar\Delta_\pi\}^2}_{\text{between}} + \text{Monte Carlo},

    where a graph without the path contributes an exact zero.

    Parameters
    ----------
    outcome, treatment : str
        Columns, and nodes of the graphs. The outcome is numeric; estimates are in its unit.
    posterior : DAGPosterior or SEM
        The graphs with their probabilities, or what finds them in the data: `causalif.SplineSEM`,
        `causalif.LinearSEM` or `causalif.FlowSEM`.
    min_stability : float, default 0.15
        Paths whose posterior probability is smaller are not estimated, in [0, 1]. A way to keep the table short, not a
        test.
    cutoff : int, default 10
        The longest path, in edges.
    max_paths : int, default 10_000
        The most paths that are listed.
    reference : {"control", "treated"}, default "control"
        The level of everything off the path.
    on_recanting : {"interventional", "bundle", "skip"}, default "interventional"
        Where a graph does not identify the natural effect along a path: its analogue with independent draws, the
        effect of all paths that share the first edge, or nothing.
    adjust : {"dag", "optimal", "all_pretreatment"}, default "dag"
        Covariates in each graph, see `causalif.PathEffect`.
    levels : (treated, control), optional
        Two values of a discrete treatment.
    shift : float, optional
        For a continuous treatment: everybody's is moved by so much, in its unit.
    split : bool, default False
        Use one half of the rows (whole clusters) to find graphs and the other to estimate effects; needs a SEM.
    min_mass : float, default 0.005
        What graphs of less posterior mass ask about a path is not estimated; the mass left out is in ``skipped_mass``
        and in a note of the summary.
        It spares fits for graphs that hardly count.
    interval : {"mixture", "normal"}, default "mixture"
        Quantiles of the mixture of the graphs' normal laws, or the normal interval around the mean.
    learners : "auto", "linear" or mapping, default "auto"
        As in `causalif.PathEffect`.
    folds : int or array of shape (n,), default 5
        Number of folds, or a fold label for every row.
    repeats : int, default 1
        Independent splits; estimates are medians over splits and standard errors include the split noise.
    cluster : str, optional
        Column of cluster labels; clusters stay whole when folds are made, standard errors are clustered.
        Structure search does not use them.
    weights : str, optional
        Column of non-negative sampling weights. Structure search does not use them.
    clip : float, default 0.01
        Bound on probabilities and density ratios, as in `causalif.PathEffect`.
    random_state : int, Generator or None, default 0
        Seed of splits and learners.
    n_jobs : int, optional
        Parallel jobs over folds as in joblib. Digits do not depend on it.
    progress : bool, default True
        Show a progress bar on long work in a terminal.

    Raises
    ------
    InputError
        On unusable columns, options or graphs, or if the outcome comes before the treatment.
    PositivityError
        If groups that have to be compared hardly overlap.

    Notes
    -----
    Assumes what the posterior assumes (see the SEM), among it that there are no hidden common causes, and for natural
    effects independence across worlds; the interventional analogue does without the latter. Intervals are statements
    about a draw of the graph followed by a draw of the sample: they are as honest as the posterior. The same rows
    choose graphs and estimate effects unless ``split``. Cost: graph search, then the learner fits of the distinct
    nuisances, however many graphs ask for them.

    References
    ----------
    Li, Liu, Tang, Hu, Su, Ge, Razzak and Segal (2025), NeurIPS, for the idea; Avin, Shpitser and Pearl (2005) for
    identification; Zhou (2022), JRSS B 84, for the influence functions; Hoeting et al. (1999), Statistical Science 14,
    equations 3-4, for the averages.

    Examples
    --------
    >>> import numpy as np, pandas as pd, causalif as ci
    >>> rng = np.random.default_rng(0)
    >>> a = rng.integers(0, 2, 2000)
    >>> m = 0.8 * a + rng.normal(size=2000)
    >>> frame = pd.DataFrame({"A": a, "M": m, "Y": 0.5 * m + 0.3 * a + rng.normal(size=2000)})
    >>> direct, chain = ci.parse_dag("A -> M -> Y; A -> Y"), ci.parse_dag("A -> M -> Y")
    >>> posterior = ci.DAGPosterior.from_dags([direct, chain], [0.75, 0.25])
    >>> fit = ci.SIGMA(treatment="A", outcome="Y", posterior=posterior, learners="linear").fit(frame)
    >>> list(fit.effects["path"].unique())
    ['A -> M -> Y', 'A -> Y', 'total']
    >>> fit.paths["stability"].round(2).tolist()
    [1.0, 0.75]
    """

    outcome: str
    treatment: str
    posterior: Any
    min_stability: float = 0.15
    cutoff: int = 10
    max_paths: int = 10_000
    reference: Literal["control", "treated"] = "control"
    on_recanting: Literal["interventional", "bundle", "skip"] = "interventional"
    adjust: str | Collection[str] = "dag"
    levels: tuple[Any, Any] | None = None
    shift: float | None = None
    split: bool = False
    min_mass: float = 0.005
    interval: Literal["mixture", "normal"] = "mixture"
    learners: Learners = "auto"
    folds: Any = 5
    repeats: int = 1
    cluster: str | None = None
    weights: str | None = None
    clip: float = 0.01
    random_state: int | np.random.Generator | None = 0
    n_jobs: int | None = None
    progress: bool = True

    def fit(self, data: Any) -> SigmaResult:
        """Find the graphs if need be, then estimate and average the effects along their paths.

        Parameters
        ----------
        data : pandas.DataFrame or polars.DataFrame
            One row per unit, with a column for every node of the graphs.

        Returns
        -------
        SigmaResult
            Frames ``paths``, ``effects`` and ``edges``.
        """
        self._check()
        options = replace(self, random_state=seed_of(self.random_state))
        search, rest = options._halves(data)
        posterior = options._posterior(search)
        return options._estimate(rest, posterior)

    def _check(self) -> None:
        check_options(self, LEARNER_NAMES)
        check_nested(self.learners)
        check_clip(self.clip)
        in_range("min_stability", self.min_stability, 0.0, 1.0, open_ends=False)
        in_range("min_mass", self.min_mass, 0.0, 1.0, open_ends=False)
        whole_number("cutoff", self.cutoff, 1)
        whole_number("max_paths", self.max_paths, 1)
        one_of("interval", self.interval, ("mixture", "normal"))
        if not isinstance(self.posterior, DAGPosterior) and not hasattr(self.posterior, "fit"):
            raise InputError(
                "`posterior` must be a DAGPosterior, or a SEM that finds one, such as causalif.SplineSEM(). Got "
                f"{type(self.posterior).__name__}; known graphs go through causalif.DAGPosterior.from_dags."
            )
        if self.split and isinstance(self.posterior, DAGPosterior):
            raise InputError(
                "`split=True` finds graphs in one half of the rows, so `posterior` must be a SEM such as "
                "causalif.SplineSEM(). A DAGPosterior was found already: use split=False with rows "
                "that it has not seen."
            )

    def _halves(self, data: Any) -> tuple[Any, Any]:
        """Return the rows to find graphs in and the rows to estimate effects on."""
        if not self.split:
            return data, data
        frame = _pandas(data)
        rng = np.random.default_rng(np.random.SeedSequence(seed_of(self.random_state), spawn_key=(1,)))
        groups = np.arange(len(frame))
        if self.cluster is not None:
            groups = pd.factorize(np.asarray(read_table(frame, cluster=self.cluster).clusters))[0]
        dealt = rng.permutation(groups.max() + 1) % 2 == 0
        return frame[dealt[groups]], frame[~dealt[groups]]

    def _posterior(self, data: Any) -> DAGPosterior:
        if isinstance(self.posterior, DAGPosterior):
            return self.posterior
        frame = _pandas(data)
        roles = [name for name in (self.cluster, self.weights) if name is not None]
        found = self.posterior.fit(frame.drop(columns=[name for name in roles if name in frame]))
        assert isinstance(found, DAGPosterior)
        return found

    def _estimate(self, data: Any, posterior: DAGPosterior) -> SigmaResult:
        notes = _refuse_reversed(posterior, self.treatment, self.outcome)
        paths = posterior.paths(self.treatment, self.outcome, cutoff=self.cutoff, max_paths=self.max_paths)
        kept = paths[paths["stability"] >= self.min_stability].reset_index(drop=True)
        weights = posterior.weights.to_numpy(dtype=float)
        asked, out = self._asked(posterior, kept, weights)
        mediators, covariates = asked.nodes()
        kinds = posterior.settings.get("kinds", {})
        categories = [name for name in (*mediators, *covariates) if kinds.get(name, "continuous") != "continuous"]
        columns = read_columns(
            _with_categories(data, categories), self.outcome, self.treatment, mediators, covariates, self.shift,
            self.cluster, self.weights,
        )  # fmt: skip
        exposure = read_exposure(columns, self.levels, self.shift)
        plan = read_plan(self, columns.table, (self.treatment,) if self.shift is None else ())
        require_arms(columns, exposure, plan)
        result = fit_questions(asked.questions, columns, exposure, plan, self.clip) if asked.questions else None
        tables, warned = ({}, []) if result is None else judged(result, columns, exposure, columns.of(covariates))
        answers = Answers(
            functionals=None if result is None else _functionals(result, columns),
            kinds=tuple(question.kind for question in asked.questions),
            which=asked.which,
            weights=weights,
            draws=posterior.effective_sample_size,
            rows=columns.table.index,
            clusters=columns.table.clusters,
        )
        settings = self._settings(columns, exposure, plan, result, posterior)
        left = len(paths) - len(kept)
        notes += [f"Not shown: {left} path{'s' * (left > 1)} of stability below {self.min_stability:g}."] * bool(left)
        settings |= {"notes": [*columns.table.notes, *notes], "warnings": warned, "left_out": out}
        return SigmaResult.of(posterior, kept, answers, settings, tables)

    def _asked(self, posterior: DAGPosterior, kept: pd.DataFrame, weights: Array) -> tuple[Asked, LeftOut]:
        """Return what is estimated, and what each argument left out of it."""
        steps = {"on_recanting": self._ask(posterior, list(kept["nodes"]))}
        steps["min_mass"] = asked = without_rare(steps["on_recanting"], weights, self.min_mass)
        if self.shift is not None:
            steps["shift"] = asked = without(asked, not_shifted)
        return asked, left_out(steps, weights, [*kept["path"], TOTAL])

    def _ask(self, posterior: DAGPosterior, paths: list[tuple[str, ...]]) -> Asked:
        ends = (self.treatment, self.outcome)
        return ask(posterior.dags, *ends, paths, self.reference, self.on_recanting, self.adjust)

    def _settings(
        self, columns: Columns, exposure: Exposure, plan: Plan, result: CrossFit | None, posterior: DAGPosterior
    ) -> dict[str, Any]:
        facts: dict[str, Any] = {"estimator": "SIGMA: effects along causal paths, averaged over graphs"}
        facts |= {"outcome": self.outcome, "treatment": self.treatment} | described(exposure, columns, self.reference)
        facts |= {"rows": len(columns.table), "cluster": self.cluster, "weights": self.weights}
        facts |= {"graphs": len(posterior.weights), "split": self.split, "interval": self.interval}
        facts |= {"cutoff": self.cutoff, "max_paths": self.max_paths, "min_stability": self.min_stability}
        facts |= {"min_mass": self.min_mass}
        if result is None:
            return facts
        adjusted = replace(self, adjust=self.adjust if isinstance(self.adjust, str) else tuple(self.adjust))
        common = common_settings("", adjusted, columns.table, plan, result.folds)
        facts |= {name: common[name] for name in ("folds", "repeats", "learners", "se_source", "random_state")}
        return facts | {"functionals": len(result.labels)}


def _functionals(result: CrossFit, columns: Columns) -> Estimate:
    return Estimate(
        result.values, result.influence, result.labels, columns.table.index, columns.table.clusters,
        splits=result.splits, nuisances=result.nuisances,
    )  # fmt: skip


def _refuse_reversed(posterior: DAGPosterior, treatment: str, outcome: str) -> list[str]:
    """Raise if the graphs put the outcome first; say so if no graph has a path."""
    for role, name in (("treatment", treatment), ("outcome", outcome)):
        if name not in posterior.names:
            close = closest(name, posterior.names)
            hint = f" Did you mean {close!r}?" if close else ""
            raise InputError(
                f"`{role}` {name!r} is not a node of the graphs: they have {list(posterior.names)[:12]}.{hint}"
            )
    ancestors = posterior.ancestor_probabilities.to_numpy(dtype=float)
    a, y = posterior.names.index(treatment), posterior.names.index(outcome)
    forward, backward = ancestors[a, y], ancestors[y, a]
    if backward > 0.5 > forward:
        raise InputError(
            f"`outcome` {outcome!r} is an ancestor of `treatment` {treatment!r} with posterior probability "
            f"{backward:.2f}. Exchange them, or give the SEM `tiers` that say what comes first."
        )
    if forward > 0:
        return []
    note = f"No posterior graph has a directed path from {treatment} to {outcome}: every effect is 0 by the graphs."
    warnings.warn(note, IdentificationWarning, stacklevel=4)
    return [note]


def _with_categories(data: Any, names: Collection[str]) -> Any:
    """Make categories of the columns that are categories in the model behind the graphs: text, and codes."""
    wanted = [name for name in names if column_names(data).count(name) == 1]
    if not wanted:
        return data
    frame = _pandas(data)
    return frame.assign(**{name: frame[name].astype("category") for name in wanted if _is_category(frame[name])})


def _is_category(column: pd.Series) -> bool:
    """Tell codes and text from truth values and numbers of two values, which are indicators already."""
    return not pd.api.types.is_numeric_dtype(column.dtype) or column.nunique() > 2


def _pandas(data: Any) -> pd.DataFrame:
    """Return a pandas frame, whatever eager frame came in; pyarrow is not needed."""
    if isinstance(data, pd.DataFrame):
        return data
    names = column_names(data)
    native = nw.from_native(data, eager_only=True)
    return pd.DataFrame({name: native_column(native[name]) for name in names})
