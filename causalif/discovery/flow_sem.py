"""Structural equations learned by neural networks with a flexible noise law, and unknown structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from causalif._errors import IdentificationWarning, InputError, tell
from causalif._validate import in_range, one_of, whole_number
from causalif.discovery.columns import Columns
from causalif.discovery.families import Masks
from causalif.discovery.flow_network import Mechanism
from causalif.discovery.flow_score import FEWEST_STEPS, FlowScorer, Training, flow_score
from causalif.discovery.sem import SEM

MECHANISMS = ("anm", "affine", "spline")
ROWS_PER_FOLD = 20


@dataclass(frozen=True, kw_only=True)
class FlowSEM(SEM):
    r"""Posterior over DAGs whose equations are neural networks and whose noise law is a monotone spline flow.

    .. math:: V_i = f_i(V_{Pa_i}) + \sigma_i \varepsilon_i, \quad T_i(\varepsilon_i) \sim N(0, 1), \quad
        s_i(S) = \sum_r \log \hat p_i^{(-f(r))}(V_{ri} | V_{rS})
        - \tfrac72 |S| (\tfrac12 \log n - 1)

    with T a monotone rational-quadratic spline; binary and categorical nodes have a softmax in its place. Networks
    for every node and fold see (x ∘ m, m), with m a random set of parents, and so learn all parent sets at once. With
    "anm" the last layer of f is then solved anew for every parent set, by ridge regression with the penalty that
    generalised cross-validation chooses, and T is drawn towards the normal law as far as Stein's unbiased estimate of
    risk advises. The score is the log-likelihood of rows that were not trained on.

    Parameters
    ----------
    tiers : list of lists of str, optional
        Columns in the order in which they come about: no edge goes from a later tier to an earlier one.
    forbidden, required : list of pairs of str, default ()
        Edges ``(cause, effect)`` that every DAG lacks, or has.
    max_parents : int, optional
        Largest number of parents of a node; by default as many as :class:`SplineSEM` allows.
    prior : "indegree_uniform", float or DataFrame, default "indegree_uniform"
        Every number of parents equally likely, one probability for every edge, or a table of them.
    engine : {"auto", "exact", "mcmc", "variational"}, default "auto"
        How DAGs are drawn; see :class:`SplineSEM`.
    bag : int, default 20
        Bootstrap resamples over which the posterior is averaged; 0 for none. They re-weight
        the held-out log-likelihoods of the rows; networks are trained once.
    temperature : float, default 1.0
        Factor of the scores, at most 1: below it the posterior is flatter.
    draws : int, default 2000
        DAGs drawn, shared equally among the bags.
    random_state : int, numpy Generator or None, default 0
        Source of randomness.
    n_jobs : int, optional
        Parallel jobs over bags, and threads of torch while training (one by default); torch's own setting is restored.
    progress : bool, default True
        Show a progress bar if stderr is a terminal and tqdm is installed.
    time_limit : float, optional
        Seconds; training makes fewer steps, with a warning, where it would not fit beside the scoring.
    discrete : list of str, optional
        Numeric columns whose values are codes of categories. Giving the list, even empty, says that all others are
        quantities.
    mechanism : {"anm", "affine", "spline"}, default "anm"
        How parents act on a continuous node: they shift it; they shift and scale it, which identifies directions far
        more weakly; or they change its whole law, in which case only the Markov equivalence class is identified (a
        warning says so). With "anm" scale and noise law still differ between parent sets.
    folds : int, default 5
        Folds of the held-out log-likelihood, 2 to 5.
    networks : int, default 6
        Networks per node and fold, from different starts; their densities are averaged.
    steps : int, default 400
        Training steps, at least 100.
    batch : int, default 256
        Rows per step, in up to 32 groups that share a random parent set.
    hidden : int, default 32
        Width of the three hidden layers.
    learning_rate : float, default 0.01
        Largest rate of the one-cycle schedule of AdamW.
    weight_decay : float, default 0.1
        Of AdamW.

    Raises
    ------
    CausalifError
        If torch or pyro is not installed (``pip install causalif[flow]``).

    Notes
    -----
    What must be true: there are no hidden common causes of two columns and no cycles; rows are independent; with "anm",
    the noise of every equation is independent of the causes in it. Where relations are straight lines with normal
    noise no data can tell cause from effect: give ``tiers``, or use :class:`LinearSEM`.

    A parent is charged with 7/2 coefficients, each at the ½ log n of BIC less the 1 that scoring held-out rows has
    already charged: 9.3 units of log-likelihood at 1,500 rows, 5.3 at 150. The number was chosen on random models and
    on draws of SEM-1 (:func:`causalif.datasets.simulate_sem1`) other than these: on twenty draws of 1,500 rows, without
    tiers, both true paths had a stability above .99, and no other path one above .002 without bags, or .06 with 20.

    Bags show how the scores vary with the rows that are scored, not how training would vary. Training the networks on
    from those of all rows, 40 steps on every bag, served worse: over all paths of at most three edges of twelve random
    models of five nodes, 500 rows, the log-loss of the stabilities was .032 instead of .012. A resample repeats the
    chance patterns of the sample, and networks that see it learn them.

    Cost: about 20 s of one processor for 5 nodes and 1,500 rows: 35 ms per step, growing with nodes × folds ×
    networks; then, with "anm", .8 ms per parent set, fold and network, growing with the rows. Ten nodes have 5,120
    parent sets and take minutes: give ``tiers`` or ``max_parents``, or fewer ``networks``. Results repeat exactly for
    the same ``random_state`` and number of threads.

    References
    ----------
    Hoyer, Janzing, Mooij, Peters and Schölkopf (2009), NeurIPS 21, for additive noise; Durkan, Bekasov, Murray and
    Papamakarios (2019), NeurIPS 32, for the spline; Geffner et al. (2022), arXiv:2202.02195, for flows on graphs.

    Examples
    --------
    >>> FlowSEM(tiers=[["C"], ["A"], ["M1", "M2"], ["Y"]]).mechanism
    'anm'
    """

    mechanism: Mechanism = "anm"
    folds: int = 5
    networks: int = 6
    steps: int = 400
    batch: int = 256
    hidden: int = 32
    learning_rate: float = 0.01
    weight_decay: float = 0.1

    def _check(self) -> None:
        super()._check()
        one_of("mechanism", self.mechanism, MECHANISMS)
        one_of("folds", self.folds, range(2, 6))
        whole_number("networks", self.networks, 1)
        whole_number("steps", self.steps, FEWEST_STEPS)
        whole_number("batch", self.batch, 2)
        whole_number("hidden", self.hidden, 1)
        in_range("learning_rate", self.learning_rate, 0.0, 1.0)
        in_range("weight_decay", self.weight_decay, 0.0, 1.0, open_ends=False)

    def _check_columns(self, columns: Columns, sets: tuple[Masks, ...]) -> None:
        if columns.n < ROWS_PER_FOLD * self.folds:
            raise InputError(
                f"`data` has {columns.n} rows; {self.folds} folds need at least {ROWS_PER_FOLD * self.folds}. Collect "
                "more, lower `folds`, or use SplineSEM."
            )
        if self.mechanism == "spline":
            tell(
                'mechanism="spline" lets parents change the whole law of a node: the data then identify the Markov '
                "equivalence class only, and directions come from `tiers`, `forbidden` and `required` alone. Use "
                'mechanism="anm" to learn directions.',
                IdentificationWarning,
            )

    def _scorer(
        self, columns: Columns, sets: tuple[Masks, ...], seed: np.random.SeedSequence, deadline: float | None
    ) -> FlowScorer:
        training = Training(
            self.mechanism, self.folds, self.networks, self.steps, self.batch, self.hidden, self.learning_rate,
            self.weight_decay,
        )  # fmt: skip
        threads = self.n_jobs if self.n_jobs is not None and self.n_jobs > 0 else 1
        return flow_score(columns, sets, training, seed, threads=threads, deadline=deadline)

    def _own_settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("mechanism", "folds", "networks", "steps", "hidden")}
