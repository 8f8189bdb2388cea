"""The BGe score of linear equations with normal noise: equal for DAGs that no data can tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import gammaln

from causalif._errors import InputError
from causalif._validate import Array
from causalif.discovery.columns import Columns
from causalif.discovery.families import Masks
from causalif.discovery.gram import cross_products, distinct_sets, residual_sums

EXACT_FUNCTION = 1e-9


@dataclass(frozen=True, eq=False)
class BGeScorer:
    r"""Bayesian scores of linear regressions under a normal-Wishart prior.

    With N rows, p nodes, :math:`\alpha_\mu` prior rows for the means, :math:`\alpha_w` degrees of freedom and prior
    matrix :math:`T = t I`, :math:`t = \alpha_\mu (\alpha_w - p - 1) / (\alpha_\mu + 1)`, the marginal likelihood of l
    columns Y is

    .. math:: \left(\frac{\alpha_\mu}{N + \alpha_\mu}\right)^{l/2} \pi^{-lN/2}
        \frac{\Gamma_l((N + \alpha_w - p + l)/2)}{\Gamma_l((\alpha_w - p + l)/2)}
        \frac{|T_{YY}|^{(\alpha_w - p + l)/2}}{|R_{YY}|^{(N + \alpha_w - p + l)/2}}, \quad
        R = T + S + \frac{N \alpha_\mu}{N + \alpha_\mu} \bar x \bar x',

    S being the centred cross products, and a family's score is that of the set with its child over that of the set.

    Parameters
    ----------
    columns : Columns
        The data, all continuous or binary.
    sets : tuple of ndarray
        Parent sets of each node.
    prior_rows : float
        α_μ; α_w is p + α_μ + 1.
    diagnostics : mapping of str to DataFrame
        The table "equations".
    """

    columns: Columns
    sets: tuple[Masks, ...]
    prior_rows: float
    diagnostics: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @classmethod
    def of(cls, columns: Columns, sets: tuple[Masks, ...], prior_rows: float) -> BGeScorer:
        """Scale all columns, refuse those that determine each other, and describe the residuals."""
        scorer = cls(columns, sets, prior_rows)
        scorer._refuse_exact()
        scores = scorer.log_scores(np.ones(columns.n), np.random.default_rng(0))
        return cls(columns, sets, prior_rows, {"equations": _equations(columns, sets, scores)})

    def log_scores(self, counts: Array, rng: np.random.Generator) -> tuple[Array, ...]:
        """Return the scores of every node's sets when row i occurs ``counts[i]`` times."""
        p, n = self.columns.p, float(counts.sum())
        r, t = self._matrix(counts)
        every = distinct_sets(self.sets)
        blocks = [np.array([j], dtype=np.intp) for j in range(p)]
        conditional = residual_sums(r, every, blocks, np.arange(p), ridge=0.0)
        out = []
        for j, sets in enumerate(self.sets):
            size = np.bitwise_count(sets).astype(np.float64)
            shape = self._degrees + size + 1  # alpha_w - p + l for the set with its child
            schur = conditional[np.searchsorted(every, sets), j]
            # With T = t I the ratio of |T| is t^((shape + size)/2), and Γ_l(g)/Γ_(l-1)(g - 1/2) is Γ(g) but for powers
            # of π that cancel; |R| with the child is |R| without it times the Schur complement.
            score = (
                0.5 * np.log(self.prior_rows / (n + self.prior_rows)) - n / 2 * np.log(np.pi)
                + gammaln((n + shape) / 2) - gammaln(shape / 2) + (shape + size) / 2 * np.log(t)
                - (n + shape) / 2 * np.log(schur) - 0.5 * _log_dets(r, sets)
            )  # fmt: skip
            out.append(score)
        return tuple(out)

    @property
    def _degrees(self) -> float:
        """α_w − p."""
        return self.prior_rows + 1

    def _matrix(self, counts: Array) -> tuple[Array, float]:
        """R, and the diagonal entry of T."""
        n, p = float(counts.sum()), self.columns.p
        products, mean = cross_products(_scaled(self.columns), counts)
        t = self.prior_rows * (self._degrees - 1) / (self.prior_rows + 1)
        return products + t * np.eye(p) + n * self.prior_rows / (n + self.prior_rows) * np.outer(mean, mean), t

    def _refuse_exact(self) -> None:
        products, _ = cross_products(_scaled(self.columns), np.ones(self.columns.n))
        blocks = [np.array([j], dtype=np.intp) for j in range(self.columns.p)]
        every = distinct_sets(self.sets)
        share = residual_sums(products, every, blocks, np.arange(self.columns.p)) / self.columns.n
        for j, sets in enumerate(self.sets):
            bad = sets[share[np.searchsorted(every, sets), j] < EXACT_FUNCTION]
            if len(bad):
                mask = int(bad[np.argmin(np.bitwise_count(bad))])
                names = [name for i, name in enumerate(self.columns.names) if mask >> i & 1]
                raise InputError(
                    f"Column {self.columns.names[j]!r} is a linear function of {names}: duplicated, computed or "
                    "collinear columns cannot be told from causes. Drop one of them."
                )


def _scaled(columns: Columns) -> Array:
    spread = columns.values.std(axis=0)
    return np.asarray((columns.values - columns.values.mean(axis=0)) / spread)


def _log_dets(matrix: Array, sets: Masks) -> Array:
    """Log determinants of the rows and columns in each set; 0 for the empty one."""
    out = np.zeros(len(sets))
    sizes = np.bitwise_count(sets)
    member = (sets[:, None] >> np.arange(len(matrix), dtype=np.int64)) & 1 == 1
    for size in np.unique(sizes[sizes > 0]):
        rows = np.flatnonzero(sizes == size)
        at = np.nonzero(member[rows])[1].reshape(len(rows), size)
        out[rows] = np.linalg.slogdet(matrix[at[:, :, None], at[:, None, :]])[1]
    return out


def _equations(columns: Columns, sets: tuple[Masks, ...], scores: tuple[Array, ...]) -> pd.DataFrame:
    """Describe the residuals of each node's best equation."""
    x = _scaled(columns)
    lines = []
    for j, masks in enumerate(sets):
        mask = int(masks[np.argmax(scores[j])])
        members = [i for i in range(columns.p) if mask >> i & 1]
        design = np.column_stack([np.ones(columns.n), x[:, members]])
        residual = x[:, j] - design @ np.linalg.lstsq(design, x[:, j], rcond=None)[0]
        skewness, kurtosis = float(stats.skew(residual)), float(stats.kurtosis(residual))
        statistic = columns.n / 6 * (skewness**2 + kurtosis**2 / 4)
        named = ", ".join(columns.names[i] for i in members)
        lines.append((named, skewness, kurtosis, float(stats.chi2.sf(statistic, 2))))
    names = ["best_parents", "residual_skewness", "residual_kurtosis", "normality_pvalue"]
    return pd.DataFrame(lines, columns=names, index=pd.Index(columns.names, name="node"))
