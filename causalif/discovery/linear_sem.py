"""Linear equations with normal noise and unknown structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from causalif._errors import DataWarning, InputError, tell
from causalif._validate import in_range
from causalif.discovery.bge_score import BGeScorer
from causalif.discovery.columns import Columns
from causalif.discovery.families import Masks
from causalif.discovery.sem import SEM


@dataclass(frozen=True, kw_only=True)
class LinearSEM(SEM):
    r"""Posterior over DAGs whose equations are linear with normal noise.

    .. math:: V_i = \mu_i + \sum_{j \in Pa_i} b_{ij} V_j + \varepsilon_i, \quad \varepsilon_i \sim N(0, \sigma_i^2).

    The score is the marginal likelihood under a normal-Wishart prior (BGe). It is the same for all DAGs that imply the
    same conditional independences, so directions are only learned where these, or background knowledge, decide them.

    Parameters
    ----------
    tiers : list of lists of str, optional
        Columns in the order in which they come about: no edge goes from a later tier to an earlier one.
    forbidden, required : list of pairs of str, default ()
        Edges ``(cause, effect)`` that every DAG lacks, or has.
    max_parents : int, optional
        Largest number of parents of a node; by default as many as :class:`SplineSEM` allows.
    prior : "indegree_uniform", float or DataFrame, default "indegree_uniform"
        Every number of parents equally likely, one probability for every edge, or a table of them. Any but one
        probability can prefer some equivalent DAGs to others; ``"indegree_uniform"`` does so slightly.
    engine : {"auto", "exact", "mcmc", "variational"}, default "auto"
        How DAGs are drawn; see :class:`SplineSEM`.
    bag : int, default 20
        Bootstrap resamples over which the posterior is averaged; 0 for none.
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
        Numeric columns whose values are codes of categories; such columns are refused.
    prior_rows : float, default 1.0
        How many rows the prior is worth.

    Notes
    -----
    What must be true: there are no hidden common causes of two columns and no cycles; rows are independent; relations
    are straight lines with normal noise (table ``diagnostics["equations"]``). Columns are scaled to variance 1 first,
    so that units do not matter. Binary columns are read as numbers, with a warning.

    References
    ----------
    Geiger and Heckerman (2002), Annals of Statistics 30; Kuipers, Moffa and Heckerman (2014), Annals of Statistics 42,
    for the corrected formula.

    Examples
    --------
    >>> import pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.standard_normal((2, 500))
    >>> data = pd.DataFrame({"A": a, "B": b, "Y": a + b + rng.standard_normal(500)})
    >>> posterior = LinearSEM(bag=0).fit(data)
    >>> bool(posterior.edge_probabilities.loc["A", "Y"] > 0.9)
    True
    """

    prior_rows: float = 1.0

    def _scorer(
        self, columns: Columns, sets: tuple[Masks, ...], seed: np.random.SeedSequence, deadline: float | None
    ) -> BGeScorer:
        in_range("prior_rows", self.prior_rows, 0.0, float("inf"))
        for name, kind in zip(columns.names, columns.kinds, strict=True):
            if kind == "categorical":
                raise InputError(f"Column {name!r} is categorical, which LinearSEM cannot model. Use SplineSEM.")
        binary = [name for name, kind in zip(columns.names, columns.kinds, strict=True) if kind == "binary"]
        if binary:
            tell(f"LinearSEM reads the binary columns {binary} as numbers. SplineSEM models them.", DataWarning)
        return BGeScorer.of(columns, sets, self.prior_rows)

    def _own_settings(self) -> dict[str, Any]:
        return {"prior_rows": self.prior_rows}
