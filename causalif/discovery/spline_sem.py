"""Additive spline equations with unknown structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from causalif._errors import IdentificationWarning, tell
from causalif._validate import whole_number
from causalif.discovery.columns import Columns
from causalif.discovery.exact import blocks_of
from causalif.discovery.families import Families, Masks
from causalif.discovery.sem import SEM
from causalif.discovery.spline_score import SplineScorer


@dataclass(frozen=True, kw_only=True)
class SplineSEM(SEM):
    r"""Posterior over DAGs whose equations are additive smooth functions plus independent noise.

    .. math:: V_i = \mu_i + \sum_{j \in Pa_i} f_{ij}(V_j) + \varepsilon_i

    for continuous nodes; binary and categorical nodes follow a (multinomial) logistic regression on the same terms. A
    DAG's log posterior is the sum over its nodes of the Bayesian information criterion of the regression on its
    parents and of the log prior of the parent set.

    Parameters
    ----------
    tiers : list of lists of str, optional
        Columns in the order in which they come about: no edge goes from a later tier to an earlier one. In practice
        the main source of direction.
    forbidden, required : list of pairs of str, default ()
        Edges ``(cause, effect)`` that every DAG lacks, or has.
    max_parents : int, optional
        Largest number of parents of a node. By default all, unless there are so many parent sets that a limit of at
        least 3 is needed to keep them under 110,000; the summary shows it.
    prior : "indegree_uniform", float or DataFrame, default "indegree_uniform"
        Every number of parents equally likely, one probability for every edge, or a table of them.
    engine : {"auto", "exact", "mcmc", "variational"}, default "auto"
        How DAGs are drawn. "auto" is exact where at most 12 nodes could form a cycle, and "mcmc" elsewhere.
    bag : int, default 20
        Bootstrap resamples over which the posterior is averaged; 0 for none. The posterior of one data set is too
        sure of itself where several structures fit alike; averaging mends most of that.
    temperature : float, default 1.0
        Factor of the scores, at most 1: below it the posterior is flatter.
    draws : int, default 2000
        DAGs drawn, shared equally among the bags.
    random_state : int, numpy Generator or None, default 0
        Source of randomness.
    n_jobs : int, optional
        Parallel jobs as in joblib; the result is the same for every number.
    progress : bool, default True
        Show a progress bar if stderr is a terminal and tqdm is installed.
    time_limit : float, optional
        Seconds after which no further bag is started; what there is by then is returned with ``complete=False``.
    discrete : list of str, optional
        Numeric columns whose values are codes of categories. Numeric columns with two values are always binary. Giving
        the list, even empty, says that all others are quantities.
    spline_size : int, default 6
        Number of coefficients of each smooth function, at least 3.

    Notes
    -----
    What must be true: there are no hidden common causes of two columns and no cycles; rows are independent; the noise
    of every equation is independent of the causes in it. Directions between continuous columns that ``tiers`` leave
    open are learned from curvature alone: where relations are straight lines with normal noise, no data can tell cause
    from effect, and a warning says so (table ``diagnostics["equations"]``). Between a discrete and a continuous column
    it is the form of the model that decides, which is no evidence; a warning says that, too.

    Cost: the scores take one Cholesky decomposition per parent set and bag. The exact engine takes 4^b steps for b
    nodes that could form a cycle.

    References
    ----------
    Hoyer, Janzing, Mooij, Peters and Schölkopf (2009), NeurIPS 21, for the identification of directions; Huggins and
    Miller (2023), Bayesian Analysis 18, for averaging over bootstrap resamples.

    Examples
    --------
    >>> from causalif.datasets import simulate_sem1
    >>> data, truth = simulate_sem1(500, random_state=1)
    >>> posterior = SplineSEM(bag=0, draws=200).fit(data)
    >>> posterior.stability(("A", "M1", "M2", "Y")).pss > 0.9
    True
    """

    spline_size: int = 6

    def _scorer(
        self, columns: Columns, sets: tuple[Masks, ...], seed: np.random.SeedSequence, deadline: float | None
    ) -> SplineScorer:
        scorer = SplineScorer.of(columns, sets, whole_number("spline_size", self.spline_size, 3))
        _warn_straight(columns, sets, scorer)
        _warn_mixed(columns, sets, scorer)
        return scorer

    def _own_settings(self) -> dict[str, Any]:
        return {"spline_size": self.spline_size}


def _warn_straight(columns: Columns, sets: tuple[Masks, ...], scorer: SplineScorer) -> None:
    """Warn if directions are open, and nothing but noise could decide on them."""
    shape = Families.of_scores(columns.names, sets, [np.zeros(len(masks)) for masks in sets])
    table = scorer.diagnostics["equations"]
    open_nodes = [columns.names[i] for block in blocks_of(shape) if len(block) > 1 for i in block]
    lines = table.loc[open_nodes]
    if not (lines["best_parents"] != "").any() or (lines["nonlinearity"] > 0).any():
        return
    tested = lines["normality_pvalue"].dropna()
    noise = " and the noise looks normal" if len(tested) and (tested >= 0.01 / len(tested)).all() else ""
    linear = "" if "categorical" in columns.kinds else "Use LinearSEM, which leaves them open, or "
    advice = linear + ("put" if linear else "Put") + " them in different `tiers`."
    tell(
        f"No relation among {open_nodes} shows a bend{noise}: their directions are not identified, and what this model "
        f'says of them is chance. {advice} See diagnostics["equations"].',
        IdentificationWarning,
    )


def _warn_mixed(columns: Columns, sets: tuple[Masks, ...], scorer: SplineScorer) -> None:
    """Warn if the direction between a discrete and a continuous column is open: the form of the model decides it."""
    shape = Families.of_scores(columns.names, sets, [np.zeros(len(masks)) for masks in sets])
    best = scorer.diagnostics["equations"]["best_parents"].str.split(", ")
    linked = {frozenset((child, parent)) for child, parents in best.items() for parent in parents}
    smooth = {name: kind == "continuous" for name, kind in zip(columns.names, columns.kinds, strict=True)}
    open_pairs = [(columns.names[i], columns.names[j]) for block in blocks_of(shape) for i in block for j in block]
    pairs = [(a, b) for a, b in open_pairs if smooth[b] > smooth[a] and frozenset((a, b)) in linked]
    if pairs:
        shown = ", ".join(f"{a} and {b}" for a, b in pairs[:5]) + (", ..." if len(pairs) > 5 else "")
        tell(
            f"The direction between a discrete and a continuous column ({shown}) follows from the form of the model, "
            "not from the data, and tends to run from the discrete to the continuous one. Put them in different "
            "`tiers`.",
            IdentificationWarning,
        )
