"""`compare_sets`: the same effect from several adjustment sets of one graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import networkx as nx
import numpy as np

from causalif._errors import IdentificationWarning, InputError, PositivityError, PositivityWarning, tell
from causalif._validate import whole_number
from causalif.engine.crossfit import deal_folds, visiting_order
from causalif.engine.folds import Folds
from causalif.engine.learners import Learners
from causalif.estimators._common import compared_arms, read_plan, seed_of
from causalif.estimators._set_comparison import SAME, SetComparison
from causalif.estimators.ate import ATE
from causalif.estimators.wcde import WCDE
from causalif.estimators.wcde.columns import read_columns
from causalif.graphs import PDAG, AdjustmentSets, adjustment_sets
from causalif.graphs.dag import Node
from causalif.results.estimate import Estimate
from causalif.table import column_names

Given = Mapping[str, Iterable[str]] | Iterable[Iterable[str]]
NodeSet = frozenset[Node]
Chosen = dict[NodeSet, tuple[str, ...]]

OPTIMAL, LONGEST_NAME, TRIED, DISTINCT = "optimal", 34, 200, 1e-6


def compare_sets(
    dag: nx.DiGraph | PDAG,
    data: Any,
    treatment: str,
    outcome: str,
    effect: Literal["total", "wcde"] = "total",
    sets: Given | None = None,
    *,
    limit: int = 6,
    costs: Mapping[str, float] | None = None,
    levels: tuple[Any, Any] | None = None,
    learners: Learners = "auto",
    folds: Any = 5,
    cluster: str | None = None,
    weights: str | None = None,
    clip: float = 0.01,
    random_state: int | np.random.Generator | None = 0,
    n_jobs: int | None = None,
    progress: bool = True,
) -> SetComparison:
    r"""Estimate one effect with several adjustment sets of a graph, and test that they agree.

    With :math:`\hat\theta_s` the estimate that adjusts for set s, and o the optimal set,

    .. math:: W = \hat d^\top \hat V^{-1} \hat d, \qquad \hat d_s = \hat\theta_s - \hat\theta_o, \quad
        \hat V = \frac{1}{n^2} \sum_i (\psi_{is} - \psi_{io})_s (\psi_{is} - \psi_{io})_s^\top

    is near chi-squared when the graph is right: every valid set then gives the same effect.

    Parameters
    ----------
    dag : networkx.DiGraph or PDAG
        The causal graph. Nodes that are no columns of the data, or have the attribute ``latent=True``, are latent.
    data : pandas.DataFrame or polars.DataFrame
        One row per unit; never changed.
    treatment, outcome : str
        Column and node of each.
    effect : {"total", "wcde"}, default "total"
        Estimated by `causalif.ATE` or by `causalif.WCDE`.
    sets : mapping of str to iterable of str, or iterable of iterables of str, optional
        The sets to compare with the optimal one, with or without names. By default the optimal, the minimal and the
        minimum-cost set, the parents of the treatment (with the mediators that act on the outcome, for the direct
        effect) where they are valid, and further valid sets as they are enumerated.
    limit : int, default 6
        Most sets that are chosen by default.
    costs : mapping of str to positive number, optional
        What measuring a node costs, 1 where not given; for the minimum-cost set.
    levels : (treated, control), optional
        The two treatment values to compare; by default the larger against the smaller in sorted order.
    learners : "auto", "linear" or mapping, default "auto"
        As in `causalif.ATE` and `causalif.WCDE`.
    folds : int or array of shape (n,), default 5
        Number of folds, or a fold label for every row. Folds are dealt once, for all sets.
    cluster : str, optional
        Column of cluster labels; clusters stay whole when folds are made, standard errors are clustered.
    weights : str, optional
        Column of non-negative sampling weights.
    clip : float, default 0.01
        Bound on probabilities, as in `causalif.ATE` and `causalif.WCDE`.
    random_state : int, Generator or None, default 0
        Seed of splits and learners.
    n_jobs : int, optional
        Parallel jobs over folds as in joblib. Digits do not depend on it.
    progress : bool, default True
        Show a progress bar on long work in a terminal.

    Returns
    -------
    SetComparison
        With ``estimates``, ``differences``, ``agreement`` and ``to_frame``, ``summary``, ``plot``.

    Raises
    ------
    InputError
        If a given set is not valid (with the condition that fails), names unknown columns, or the data or options
        cannot be used.
    NotIdentifiedError
        If no set exists.
    PositivityError
        If the data do not allow an estimate with the optimal set; other sets of which that is true are skipped with a
        warning.

    Notes
    -----
    The comparison answers two questions: what precision each set gives, and whether the sets contradict one another,
    which the graph says they cannot. It is **not** a way to choose a set. A set that is chosen for its estimate is
    biased, one that is chosen for its standard error has a standard error that is too small.

    Sets with one influence function in every law of the graph (`AdjustmentSets.alike`) agree up to chance errors of
    their regressions; only one of them enters the test. A small p-value says that the graph is wrong, or that a
    regression is too crude for its set; a large one proves nothing.

    Cost: one fit of `causalif.ATE` or `causalif.WCDE` per set.

    References
    ----------
    Hausman (1978), Econometrica 46, for the test, here with the joint covariance of influence values; Su and Henckel
    (2022), A robustness test for estimating total effects with covariate adjustment, UAI.

    Examples
    --------
    >>> import causalif as ci
    >>> table = ci.datasets.simulate_wcde(4000, random_state=3).data
    >>> dag = ci.parse_dag("{V C} -> A; {C A M1} -> M2; A -> M1; {C W M1 M2 A} -> Y")
    >>> found = ci.compare_sets(dag, table, "A", "Y", learners="linear")
    >>> for name, members in found.sets.items():
    ...     print(name, sorted(members))
    optimal ['C', 'W']
    minimal ['C']
    minimum cost ['C']
    parents of A ['C', 'V']
    V, C, W ['C', 'V', 'W']
    >>> found.agreement.df
    3
    """
    estimator = ATE if effect == "total" else WCDE
    options: dict[str, Any] = {
        "outcome": outcome, "treatment": treatment, "levels": levels, "learners": learners, "folds": folds,
        "cluster": cluster, "weights": weights, "clip": clip, "random_state": seed_of(random_state), "n_jobs": n_jobs,
        "progress": progress,
    }  # fmt: skip
    search = _search(dag, data, treatment, outcome, effect, costs)
    chosen = _named(search, whole_number("limit", limit, 1)) if sets is None else _given(search, sets)
    ask = estimator(**options)
    ask = replace(ask, folds=_deal(ask, data, search))
    _tell_zero(search)
    fitted, skipped = _fit_all(ask, data, search, chosen)
    return _compared(search, fitted, [chosen[nodes] for nodes in fitted], skipped)


def _search(
    dag: Any, data: Any, treatment: str, outcome: str, effect: Literal["total", "wcde"], costs: Any
) -> AdjustmentSets:
    """Search among the columns of the data."""
    columns = column_names(data)
    if not isinstance(dag, (nx.DiGraph, PDAG)):
        raise InputError(
            f"`dag` must be a networkx.DiGraph or a PDAG; text is read by causalif.parse_dag. Got {type(dag).__name__}."
        )
    for role, name in (("treatment", treatment), ("outcome", outcome)):
        if not isinstance(name, str):
            raise InputError(
                f"`{role}` must name one column by a string. Got {name!r} instead. Nodes of other types are found by "
                "adjustment_sets; to estimate, relabel them with networkx.relabel_nodes to the names of the columns."
            )
        if name not in columns:
            raise InputError(
                f"`{role}` names {name!r}, which is not a column of `data`. Its columns are {columns[:12]}; correct "
                "the name or rename the column."
            )
    latent = set() if isinstance(dag, PDAG) else {v for v, marks in dag.nodes(data=True) if marks.get("latent")}
    observed = [node for node in dag.nodes if node in columns and node not in latent]
    return adjustment_sets(dag, treatment, outcome, effect, observed=observed, costs=costs)


def _named(search: AdjustmentSets, limit: int) -> Chosen:
    """Return the sets that have a name, then valid sets that are not alike to those before."""
    above = search.dag.predecessors if isinstance(search.dag, nx.DiGraph) else None
    candidates = {OPTIMAL: search.optimal, "minimal": search.minimal, "minimum cost": search.minimum_cost}
    if above is not None:
        (treatment,) = search.treatment
        name = f"{'mediators and ' * (search.effect == 'wcde')}parents of {treatment}"
        candidates[name] = frozenset(above(treatment)) | search.mediators
    names: Chosen = {}
    for name, nodes in candidates.items():
        if search.is_valid(nodes):
            names[nodes] = (*names.get(nodes, ()), name)
    kept = dict(list(names.items())[:limit])
    for nodes in search.valid(limit=TRIED):
        if len(kept) == limit:
            break
        if not any(search.alike(nodes, other) for other in kept):
            kept[nodes] = (_name(search, nodes, len(kept)),)
    return kept


def _name(search: AdjustmentSets, nodes: NodeSet, number: int) -> str:
    text = _listed(search, nodes)
    return text if len(text) <= LONGEST_NAME else f"set {number}"


def _listed(search: AdjustmentSets, nodes: NodeSet) -> str:
    return ", ".join(str(node) for node in search.dag.nodes if node in nodes) or "no variable"


def _given(search: AdjustmentSets, sets: Given) -> Chosen:
    """Return the sets that the caller lists, every one checked, after the optimal one."""
    if isinstance(sets, str) or not isinstance(sets, Iterable):
        raise InputError(
            f"`sets` must map names to sets, or list sets, such as [{{'C'}}, {{'C', 'W'}}]. Got {sets!r} instead."
        )
    pairs = sets.items() if isinstance(sets, Mapping) else [(None, nodes) for nodes in sets]
    names: Chosen = {search.optimal: (OPTIMAL,)}
    for name, given in pairs:
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise InputError(
                f"`sets` must hold sets of nodes. Got {given!r} instead: put a single set in a list, as in "
                f"[{{{given!r}}}]."
            )
        listed = list(given)
        verdict = search.why_not(listed)
        if not verdict:
            shown = "{" + ", ".join(map(repr, sorted(listed, key=str))) + "}"
            raise InputError(f"`sets` must hold valid adjustment sets; {name or shown} is not: {verdict}")
        nodes = frozenset(listed)
        text = str(name) if name is not None else _name(search, nodes, len(names))
        names[nodes] = tuple(dict.fromkeys([*names.get(nodes, ()), text]))
    together = [text for texts in names.values() for text in texts]
    if len(set(together)) < len(together):
        raise InputError(
            f"`sets` must have names that differ, and none other than the optimal set may be called {OPTIMAL!r}. Got "
            f"{together}."
        )
    return names


def _columns(search: AdjustmentSets, nodes: NodeSet, data: Any) -> tuple[list[str], list[str]]:
    """Mediators and covariates of a set, in the order of the columns."""
    held, others = search.split(nodes)
    columns = column_names(data)
    return [name for name in columns if name in held], [name for name in columns if name in others]


def _deal(ask: ATE | WCDE, data: Any, search: AdjustmentSets) -> Any:
    """Deal the folds of all sets, balanced over the treatment and the mediators of the optimal set."""
    mediators, covariates = _columns(search, search.optimal, data)
    columns = read_columns(data, ask.outcome, ask.treatment, mediators, covariates, ask.cluster, ask.weights)
    compared_arms(columns.table, ask.treatment, ask.levels)
    spread = columns.cells or columns.groups
    plan = read_plan(ask, columns.table, (ask.treatment, *(() if spread is None else (spread.column,))))
    if plan.folds == 1 or isinstance(plan.folds, Folds):
        return ask.folds
    return deal_folds(columns.table, plan, 0, visiting_order(columns.table.index)).ids


def _tell_zero(search: AdjustmentSets) -> None:
    if search.zero_by_graph:
        (treatment,) = search.treatment
        tell(
            f"`dag` has no edge {treatment} -> {search.outcome}, so the weighted controlled direct effect is 0 by the "
            "graph itself, with every set: intervals without 0 speak against the graph.",
            IdentificationWarning,
        )


def _fit_all(
    ask: ATE | WCDE, data: Any, search: AdjustmentSets, chosen: Chosen
) -> tuple[dict[NodeSet, Estimate], dict[str, str]]:
    """Estimate with each set; only the optimal one must succeed."""
    fitted, skipped = dict[NodeSet, Estimate](), dict[str, str]()
    for nodes, (name, *_) in chosen.items():
        mediators, covariates = _columns(search, nodes, data)
        one = replace(ask, adjust=covariates)
        if isinstance(one, WCDE):
            one = replace(one, mediators=mediators)
        try:
            fitted[nodes] = one.fit(data)
        except PositivityError as error:
            if not fitted:
                raise PositivityError(f"With the optimal set ({_listed(search, nodes)}): {error}") from error
            skipped[name] = str(error)
            tell(f"The set {name!r} has no estimate. {error}", PositivityWarning)
    return fitted, skipped


def _compared(
    search: AdjustmentSets,
    fitted: Mapping[NodeSet, Estimate],
    labels: Sequence[tuple[str, ...]],
    skipped: Mapping[str, str],
) -> SetComparison:
    members, fits, names = tuple(fitted), tuple(fitted.values()), tuple(first for first, *_ in labels)
    if len(fits) < 2:
        return SetComparison(search, tuple(labels), members, fits, None, (), None, skipped)
    differences = _differences(names, fits)
    tested = [names[j + 1] for j in _distinct(search, members, fits[0], differences)]
    agreement = replace(differences[tested].test(tested), null=SAME) if tested else None
    return SetComparison(search, tuple(labels), members, fits, differences, tuple(tested), agreement, skipped)


def _differences(names: tuple[str, ...], fits: tuple[Estimate, ...]) -> Estimate:
    """Return each estimate minus the first, matched by position: all fits have read the same rows."""
    effects = [fit[fit.labels[0]] for fit in fits]
    first, *others = effects
    psi = np.column_stack([other.influence_values - first.influence_values for other in others])
    values = np.concatenate([other.values - first.values for other in others])
    settings = {"estimator": f"{first.labels[0]} by adjustment set, minus the optimal set"}
    return Estimate(values, psi, names[1:], first.index, first.clusters, settings=settings)


def _distinct(
    search: AdjustmentSets, members: tuple[NodeSet, ...], first: Estimate, differences: Estimate
) -> list[int]:
    """Differences that are more than chance errors and do not follow from one another, by the graph or in numbers."""
    kept: list[int] = []
    correlation, rounding = differences.moments.correlation, DISTINCT * float(first.moments.std_errors[0])
    for j, error in enumerate(differences.moments.std_errors):
        before = [members[0], *(members[k + 1] for k in kept)]
        if error > rounding and not any(search.alike(members[j + 1], other) for other in before):
            smallest = np.linalg.eigvalsh(correlation[np.ix_([*kept, j], [*kept, j])])[0]
            kept += [j] if smallest > DISTINCT else []
    return kept
