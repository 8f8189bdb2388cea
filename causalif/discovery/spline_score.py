"""Scores of additive spline regressions: one table of cross products serves every parent set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from scipy.interpolate import BSpline

from causalif._errors import InputError
from causalif._validate import Array
from causalif.discovery.columns import Columns
from causalif.discovery.families import Masks
from causalif.discovery.gram import cross_products, distinct_sets, residual_sums
from causalif.discovery.logistic import fit_logistic

EXACT_FUNCTION = 1e-9


def spline_basis(x: Array, size: int) -> Array:
    """Return columns that span cubic splines of x with knots at quantiles, centred and orthonormal.

    Parameters
    ----------
    x : ndarray of shape (n,)
        A standardised column.
    size : int
        Number of columns, at least 3; there are fewer where x has few distinct values, and then they span all
        functions of x.

    Returns
    -------
    ndarray of shape (n, k)
        Mean 0, cross products n times the identity.
    """
    values = np.unique(x)
    if len(values) - 1 <= size:
        raw = (x[:, None] == values[1:]).astype(np.float64)
    else:
        inner = np.unique(np.quantile(x, np.linspace(0, 1, size - 1)[1:-1]))
        inner = inner[(inner > values[0]) & (inner < values[-1])]
        knots = np.concatenate([np.repeat(values[0], 4), inner, np.repeat(values[-1], 4)])
        raw = BSpline.design_matrix(x, knots, 3).toarray()
    return _orthonormal(raw)


def _orthonormal(raw: Array) -> Array:
    left, singular, _ = np.linalg.svd(raw - raw.mean(axis=0), full_matrices=False)
    return np.asarray(left[:, singular > 1e-8 * singular[0]] * np.sqrt(len(raw)))


@dataclass(frozen=True, eq=False)
class SplineScorer:
    r"""Bayesian information criterion of additive regressions of every node on each of its parent sets.

    Continuous nodes: :math:`s_i(S) = -\frac n2 \log(RSS/n) - \frac{df + 2}{2} \log n`; others: the log likelihood of
    a (multinomial) logistic regression less :math:`\frac{df}{2} \log n`. df counts the coefficients of the parents,
    for a node with C classes C − 1 times.

    Parameters
    ----------
    columns : Columns
        The data.
    sets : tuple of ndarray
        Parent sets of each node.
    features : ndarray of shape (n, q)
        Basis columns of all nodes side by side, then the p columns themselves.
    blocks : tuple of ndarray
        Positions of the basis columns of each node.
    starts : mapping
        Coefficients of the logistic regressions on all rows, to start resamples from.
    diagnostics : mapping of str to DataFrame
        The table "equations".
    """

    columns: Columns
    sets: tuple[Masks, ...]
    features: Array
    blocks: tuple[npt.NDArray[np.intp], ...]
    starts: Mapping[tuple[int, int], Array] = field(default_factory=dict)
    diagnostics: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @classmethod
    def of(cls, columns: Columns, sets: tuple[Masks, ...], size: int) -> SplineScorer:
        """Make the basis, fit all rows once, and refuse columns that determine each other."""
        parts = [
            spline_basis(columns.values[:, j], size) if kind == "continuous" else _orthonormal(columns.indicators(j))
            for j, kind in enumerate(columns.kinds)
        ]
        ends = np.cumsum([part.shape[1] for part in parts])
        blocks = tuple(
            np.arange(end - part.shape[1], end, dtype=np.intp) for end, part in zip(ends, parts, strict=True)
        )
        scorer = cls(columns, sets, np.hstack([*parts, columns.values]), blocks)
        scorer._refuse_small()
        _refuse_twins(columns)
        starts: dict[tuple[int, int], Array] = {}
        scores = scorer._scores(np.ones(columns.n), starts, check=True)
        return replace(scorer, starts=starts, diagnostics={"equations": scorer._equations(scores)})

    def log_scores(self, counts: Array, rng: np.random.Generator) -> tuple[Array, ...]:
        """Return the scores of every node's sets when row i occurs ``counts[i]`` times."""
        return self._scores(counts, None, check=False)

    def widths(self, node: int) -> npt.NDArray[np.int64]:
        """Number of coefficients of the parents in each set of a node."""
        sizes = np.array([len(block) for block in self.blocks])
        member = (self.sets[node][:, None] >> np.arange(self.columns.p, dtype=np.int64)) & 1
        return np.asarray(member @ sizes)

    def _scores(self, counts: Array, starts: dict[tuple[int, int], Array] | None, check: bool) -> tuple[Array, ...]:
        n, kinds = float(counts.sum()), self.columns.kinds
        continuous = [j for j, kind in enumerate(kinds) if kind == "continuous"]
        found = [sets for j, sets in enumerate(self.sets) if j in continuous]
        every = distinct_sets(found) if found else np.zeros(0, dtype=np.int64)
        products, _ = cross_products(self.features, counts)
        targets = self.features.shape[1] - self.columns.p + np.array(continuous, dtype=np.intp)
        rss = residual_sums(products, every, self.blocks, targets) if continuous else np.empty((0, 0))
        out = []
        for j, sets in enumerate(self.sets):
            df = self.widths(j)
            if j in continuous:
                own = rss[np.searchsorted(every, sets), continuous.index(j)]
                if check:
                    self._refuse_exact(j, own / n)
                out.append(-n / 2 * np.log(np.maximum(own / n, 1e-300)) - (df + 2) / 2 * np.log(n))
            else:
                out.append(self._logistic_scores(j, df, counts, n, starts))
        return tuple(out)

    def _logistic_scores(
        self, j: int, df: npt.NDArray[np.int64], counts: Array, n: float, starts: dict[tuple[int, int], Array] | None
    ) -> Array:
        rows = counts > 0
        indicators = self.columns.indicators(j)[rows]
        features, weights = self.features[rows], counts[rows]
        one = np.ones((len(features), 1))
        scores = np.empty(len(self.sets[j]))
        for k, mask in enumerate(self.sets[j].tolist()):
            at = [self.blocks[i] for i in range(self.columns.p) if mask >> i & 1]
            design = np.hstack([one, *(features[:, part] for part in at)])
            likelihood, b = fit_logistic(design, indicators, weights, self.starts.get((j, mask)))
            if starts is not None:
                starts[j, mask] = b
            scores[k] = likelihood - df[k] * indicators.shape[1] / 2 * np.log(n)
        return scores

    def _refuse_small(self) -> None:
        """Raise where a regression would have more than half as many coefficients as rows."""
        widest = max(int(self.widths(j).max()) + 1 for j in range(self.columns.p))
        if self.columns.n < 2 * widest:
            raise InputError(
                f"`data` has {self.columns.n:,} rows, but the largest regression has {widest} coefficients and needs "
                f"at least {2 * widest:,} rows. Lower `max_parents` or `spline_size`, or give `tiers`."
            )

    def _refuse_exact(self, node: int, share: Array) -> None:
        """Raise if a column is an exact function of others; the smallest such set is named."""
        bad = np.flatnonzero(share < EXACT_FUNCTION)
        if not len(bad):
            return
        sets = self.sets[node][bad]
        mask = int(sets[np.argmin(np.bitwise_count(sets))])
        names = [name for j, name in enumerate(self.columns.names) if mask >> j & 1]
        raise InputError(
            f"Column {self.columns.names[node]!r} is an exact function of {names}: duplicated, computed or collinear "
            "columns cannot be told from causes. Drop one of them, or forbid the edges between them."
        )

    def _equations(self, scores: Sequence[Array]) -> pd.DataFrame:
        """Describe each continuous node's best equation: its residuals, and what bends add to straight lines."""
        lines = [_Line.of(self, j, scores[j]) for j in range(self.columns.p)]
        return pd.DataFrame(
            {
                "best_parents": [line.parents for line in lines],
                "residual_skewness": [line.skewness for line in lines],
                "residual_kurtosis": [line.kurtosis for line in lines],
                "normality_pvalue": [line.pvalue for line in lines],
                "nonlinearity": [line.gain for line in lines],
            },
            index=pd.Index(self.columns.names, name="node"),
        )


@dataclass(frozen=True)
class _Line:
    """One line of the table "equations"; NaN where the node is not continuous."""

    parents: str
    skewness: float = float("nan")
    kurtosis: float = float("nan")
    pvalue: float = float("nan")
    gain: float = float("nan")

    @classmethod
    def of(cls, scorer: SplineScorer, node: int, scores: Array) -> _Line:
        columns = scorer.columns
        mask = int(scorer.sets[node][np.argmax(scores)])
        members = [j for j in range(columns.p) if mask >> j & 1]
        named = ", ".join(columns.names[j] for j in members)
        if columns.kinds[node] != "continuous":
            return cls(named)
        y = columns.values[:, node]
        basis = np.hstack([np.ones((columns.n, 1)), *(scorer.features[:, scorer.blocks[j]] for j in members)])
        residual = y - basis @ np.linalg.lstsq(basis, y, rcond=None)[0]
        skewness, kurtosis = float(stats.skew(residual)), float(stats.kurtosis(residual))
        # Jarque and Bera
        statistic = columns.n / 6 * (skewness**2 + kurtosis**2 / 4)
        return cls(named, skewness, kurtosis, float(stats.chi2.sf(statistic, 2)), _gain(scorer, node, mask))


def _gain(scorer: SplineScorer, node: int, best: int) -> float:
    """Largest gain in score of splines over straight lines, over the best set and all single parents."""
    columns, n = scorer.columns, scorer.columns.n
    union = int(np.bitwise_or.reduce(scorer.sets[node]))
    singles = [1 << j for j in range(columns.p) if union >> j & 1]
    sets = np.unique(np.array([*singles, best], dtype=np.int64))
    first = scorer.features.shape[1] - columns.p
    straight = [
        np.array([first + j], dtype=np.intp) if kind == "continuous" else scorer.blocks[j]
        for j, kind in enumerate(columns.kinds)
    ]
    products, _ = cross_products(scorer.features, np.ones(n))
    target = np.array([first + node], dtype=np.intp)
    scores = []
    for blocks in (scorer.blocks, straight):
        rss = residual_sums(products, sets, blocks, target)[:, 0]
        df = ((sets[:, None] >> np.arange(columns.p)) & 1) @ np.array([len(block) for block in blocks])
        scores.append(-n / 2 * np.log(rss / n) - df / 2 * np.log(n))
    bends = np.array([any(columns.kinds[j] == "continuous" and s >> j & 1 for j in range(columns.p)) for s in sets])
    gains = (scores[0] - scores[1])[bends]
    return float(gains.max()) if len(gains) else float("nan")


def _refuse_twins(columns: Columns) -> None:
    """Raise if two columns that are not continuous are the same but for the names of their levels."""
    codes = [j for j, kind in enumerate(columns.kinds) if kind != "continuous"]
    for place, i in enumerate(codes):
        for j in codes[:place]:
            pairs = len(np.unique(columns.values[:, [i, j]], axis=0))
            if pairs == len(np.unique(columns.values[:, i])) == len(np.unique(columns.values[:, j])):
                raise InputError(
                    f"Columns {columns.names[j]!r} and {columns.names[i]!r} are the same but for the names of their "
                    "levels. Drop one of them."
                )
