"""Standard errors, correlations and degrees of freedom of the mean of influence values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from causalif._errors import FewClustersWarning, InputError, tell
from causalif._validate import Array, in_range

FEW_CLUSTERS = 20
_BLOCK = 1 << 16
_LARGE = 1e100  # squares and their sums stay within double precision up to here


@dataclass(frozen=True, eq=False)
class Moments:
    """Second moments of an estimate, kept as standard errors and correlations so that no scale can underflow.

    Parameters
    ----------
    std_errors : ndarray of shape (p,)
        Standard errors in the units of the estimates.
    correlation : ndarray of shape (p, p)
        Correlations of the estimates. A term without any variation has 0 off the diagonal and 1 on it.
    df : ndarray of shape (p,)
        Degrees of freedom of each term's t statistic, ``inf`` for the normal law.
    clusters : int or None
        Number of clusters, None for independent rows.
    """

    std_errors: Array
    correlation: Array
    df: Array
    clusters: int | None

    @property
    def covariance(self) -> Array:
        """Covariance matrix of shape (p, p); entries may underflow where `std_errors` does not."""
        with np.errstate(over="ignore"):
            return self.std_errors[:, None] * self.correlation * self.std_errors[None, :]


def moments(influence: Array, clusters: npt.NDArray[np.generic] | None = None) -> Moments:
    r"""Second moments of the mean of centred influence values.

    .. math:: \hat V = \frac{c}{n^2} \sum_g S_g S_g^\top, \qquad S_g = \sum_{i \in g} \psi_i

    For independent rows every row is its own group and :math:`c = 1`; with G clusters :math:`c = G / (G - 1)`.

    Parameters
    ----------
    influence : ndarray of shape (n, p)
        Centred influence values.
    clusters : ndarray of shape (n,), optional
        Cluster label of each row.

    Returns
    -------
    Moments
        Standard errors (p,), correlations (p, p) and degrees of freedom (p,).

    Raises
    ------
    InputError
        If all rows belong to one cluster.

    Notes
    -----
    Columns beyond 1e+-100 are divided by their largest entry before they are squared, so outcomes in units of
    1e-200 or 1e+200 have the standard errors one expects. The degrees of freedom of a term are one less than the
    number of clusters in which its influence is not zero throughout: rows that a subgroup does not use lend it no
    precision.
    Cost: one pass over the n p values, in blocks.

    Examples
    --------
    >>> moments(np.array([[1.0], [-1.0], [2.0], [-2.0]])).std_errors.round(4)
    array([0.7906])
    """
    n, p = influence.shape
    scale = column_scale(influence)
    if clusters is None:
        gram, correction, df, groups = _gram(influence, scale), 1.0, np.full(p, np.inf), None
    else:
        codes, groups = cluster_codes(clusters)
        gram = _gram(cluster_sums(influence / scale, codes, groups), np.ones(p))
        correction = groups / (groups - 1)
        df = _cluster_df(influence, codes, groups)
    root = np.sqrt(np.diag(gram))
    std_errors = root * (np.sqrt(correction) / n) * scale
    return Moments(std_errors, _correlation(gram, root), df, groups)


def cluster_codes(clusters: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.intp], int]:
    """Return (codes, number of clusters): each row's cluster as an integer, in order of appearance."""
    codes, labels = pd.factorize(np.asarray(clusters))
    if (codes < 0).any():
        raise InputError(
            f"`clusters` must name a cluster for every row. {int((codes < 0).sum()):,} of {len(codes):,} rows have "
            "none: fill them in or remove those rows."
        )
    if len(labels) < 2:
        raise InputError("Clustered standard errors need at least 2 clusters. Found 1: leave `cluster` out.")
    return codes, len(labels)


def cluster_sums(influence: Array, codes: npt.NDArray[np.intp], groups: int) -> Array:
    """Return the (G, p) sums of influence values within clusters."""
    columns = [np.bincount(codes, weights=column, minlength=groups) for column in influence.T]
    return np.stack(columns, axis=1) if columns else np.zeros((groups, 0))


def warn_few_clusters(groups: int) -> None:
    """Warn when clustered standard errors rest on fewer than 20 clusters."""
    if groups < FEW_CLUSTERS:
        tell(
            f"Standard errors rest on {groups} clusters, fewer than {FEW_CLUSTERS}: intervals use Student's t with "
            f"{groups - 1} degrees of freedom and may still be too short.",
            FewClustersWarning,
        )


def critical_value(level: float, df: npt.ArrayLike) -> Array:
    """Return the two-sided pointwise critical value at ``level`` for each entry of ``df`` (``inf``: normal)."""
    level = in_range("level", level, 0, 1)
    df = np.asarray(df, dtype=float)
    tail = (1 - level) / 2
    finite = np.where(np.isfinite(df), df, 1.0)
    return np.where(np.isfinite(df), -special.stdtrit(finite, tail), -special.ndtri(tail))


def two_sided_p(statistic: Array, df: Array) -> Array:
    """Return two-sided p-values under Student's t, or the normal law where ``df`` is ``inf``."""
    finite = np.where(np.isfinite(df), df, 1.0)
    t = -np.abs(statistic)
    return 2 * np.where(np.isfinite(df), special.stdtr(finite, t), special.ndtr(t))


def column_scale(x: Array) -> Array:
    """Return what to divide columns by before squaring them: 1, or their largest entry where squares would not do."""
    largest = np.array([max(column.max(), -column.min()) for column in x.T])
    harmless = (largest == 0) | ((largest > 1 / _LARGE) & (largest < _LARGE))
    return np.where(harmless, 1.0, largest)


def _gram(x: Array, scale: Array) -> Array:
    gram = np.zeros((x.shape[1], x.shape[1]))
    plain = bool(np.all(scale == 1))
    for start in range(0, len(x), _BLOCK):
        block = x[start : start + _BLOCK]
        block = block if plain else block / scale
        gram += block.T @ block
    return gram


def _correlation(gram: Array, root: Array) -> Array:
    safe = np.where(root > 0, root, 1.0)
    correlation = np.clip(gram / safe[:, None] / safe[None, :], -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def _cluster_df(influence: Array, codes: npt.NDArray[np.intp], groups: int) -> Array:
    used = cluster_sums((influence != 0).astype(float), codes, groups) > 0
    counts = used.sum(axis=0)
    return np.where(counts > 1, counts, groups) - 1.0
