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
        s_i(S) = \sum_r \log \hat p_i^{(-f(r))}(V_{ri} | V_{rS}) - \tfrac12 |S| \log n

    with T a monotone rational-quadratic spline; binary and categorical nodes have a softmax in its place. One network
    per node and fold sees (x ∘ m, m), with m a random set of parents for every row of every batch, and so scores all
    parent sets at once. The score is the log-likelihood of rows that the network was not trained on.

    Parameters
    ----------
    tiers, forbidden, required, max_parents, prior, engine, bag, temperature, draws, random_state
        As in :class:`SplineSEM`. Bags re-weight the held-out log-likelihoods of the rows; networks are trained once.
    progress, discrete
        As in :class:`SplineSEM`.
    n_jobs : int, optional
        Parallel jobs over bags, and threads of torch while training (one by default); torch's own setting is restored.
    time_limit : float, optional
        Seconds; training makes fewer steps, with a warning, where it would not fit.
    mechanism : {"anm", "affine", "spline"}, default "anm"
        How parents act on a continuous node: they shift it; they shift and scale it, which identifies directions far
        more weakly; or they change its whole law, in which case only the Markov equivalence class is identified (a
        warning says so). With "anm" scale and noise law still differ between parent sets.
    folds : int, default 5
        Folds of the held-out log-likelihood, 2 to 5.
    networks : int, default 3
        Networks per node and fold, from different starts; their densities are averaged.
    steps : int, default 400
        Training steps, at least 100. Many more fit noise, which makes bags disagree.
    batch : int, default 256
        Rows per step.
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

    Bags show how the scores vary with the rows that are scored, not how training would vary. They make this model
    cautious: on four samples of 1,500 rows of a five-node model, paths that do not exist had a stability of at most
    .001 without bags, and up to .11 with 20; with more networks trained for fewer steps one of them reached .4.

    Cost: about 40 ms of one processor per step for 5 nodes, growing with nodes × folds × networks; then one pass over
    all rows for every parent set. Results repeat exactly for the same ``random_state`` and number of threads.

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
    networks: int = 3
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
