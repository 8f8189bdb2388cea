"""Critical values and p-values that hold for all terms together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from causalif._errors import InputError
from causalif._validate import Array, in_range, one_of, whole_number
from causalif.results.covariance import Moments, cluster_codes, cluster_sums, critical_value, two_sided_p

_DRAWS_PER_BLOCK, _ROWS_PER_BLOCK = 4096, 4096
_NODES = 5000  # quantiles of the simulated directions that stand for all of them
_ROUNDING = 1e-9
_RANK = 1e-12  # directions with less variance than this, relative to the largest, are rounding


def critical_value_joint(
    influence: Array,
    clusters: npt.NDArray[np.generic] | None,
    moments: Moments,
    level: float = 0.95,
    bootstrap: Literal["gaussian", "rademacher", "wild_cluster"] = "gaussian",
    draws: int = 100_000,
    random_state: int | np.random.Generator = 0,
) -> float:
    r"""Critical value c with which all intervals estimate +- c standard errors cover together (sup-t).

    .. math:: P\bigl(\max_j |Z_j| \le c\bigr) = \text{level}, \qquad Z \sim N(0, R)

    where R is the correlation of the estimates; with clusters, Z is divided by the root of an independent
    :math:`\chi^2_\nu / \nu`, so that one term alone has Student's t.

    Parameters
    ----------
    influence : ndarray of shape (n, p)
        Centred influence values.
    clusters : ndarray of shape (n,) or None
        Cluster label of each row.
    moments : Moments
        Their standard errors, correlations and degrees of freedom.
    level : float, default 0.95
        Joint coverage, strictly between 0 and 1.
    bootstrap : {"gaussian", "rademacher", "wild_cluster"}, default "gaussian"
        "gaussian" uses the law above, which multiplier draws with normal weights have exactly, given the data.
        "rademacher" flips the signs of rows at random, "wild_cluster" those of cluster sums, both studentised.
    draws : int, default 100_000
        Number of draws.
    random_state : int or Generator, default 0
        Source of randomness.

    Returns
    -------
    float
        The critical value. With one term of positive standard error it is the pointwise one, without simulation.

    Raises
    ------
    InputError
        If the kind of bootstrap does not suit the estimate, or clusters are too few for it.

    Notes
    -----
    The normal law is integrated exactly over the radius, and only the direction of Z is simulated, which removes
    most of the simulation error. Terms with standard error 0 are left out; the smallest degrees of freedom are used.
    Cost: "gaussian" draws * p * rank, whatever n; the others draws * n * p, in blocks of a few megabytes.

    References
    ----------
    Chernozhukov, Chetverikov and Kato (2013), Annals of Statistics 41, section 2 (multiplier bootstrap).
    Cameron, Gelbach and Miller (2008), Review of Economics and Statistics 90 (wild cluster bootstrap-t).

    Examples
    --------
    >>> from causalif.results.covariance import moments
    >>> psi = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> round(critical_value_joint(psi, None, moments(psi)), 2)  # two independent terms: 2.236
    2.24
    """
    one_of("bootstrap", bootstrap, ("gaussian", "rademacher", "wild_cluster"))
    in_range("level", level, 0, 1)
    draws = whole_number("draws", draws, 1)
    _refuse_mismatch(bootstrap, clusters)
    used = np.flatnonzero(moments.std_errors > 0)
    df = float(moments.df[used].min(initial=np.inf))
    if len(used) <= 1:
        return float(critical_value(level, df))
    rng = np.random.default_rng(random_state)
    if bootstrap == "gaussian":
        return _gaussian_quantile(moments.correlation[np.ix_(used, used)], level, df, draws, rng)
    units = influence[:, used]
    units = units / np.abs(units).max(axis=0)
    if clusters is not None:
        units = cluster_sums(units, *cluster_codes(clusters))
    return _sign_quantile(units, level, draws, rng, clustered=clusters is not None)


def adjusted_p(
    statistics: Array,
    moments: Moments,
    method: Literal["holm", "romano_wolf"] = "romano_wolf",
    draws: int = 100_000,
    random_state: int | np.random.Generator = 0,
) -> Array:
    r"""Step-down adjusted two-sided p-values, which keep the chance of any false rejection at their level.

    .. math:: \tilde p_{(k)} = \max_{l \le k} P\bigl(\max_{j \ge l} |Z_{(j)}| \ge |t_{(l)}|\bigr)

    where (1), (2), ... orders terms from the largest statistic down. Holm bounds each probability by Bonferroni's.

    Parameters
    ----------
    statistics : ndarray of shape (p,)
        Estimates over standard errors; NaN stays NaN and does not count.
    moments : Moments
        Correlations and degrees of freedom.
    method : {"holm", "romano_wolf"}, default "romano_wolf"
        "romano_wolf" uses the joint law of the statistics and is never larger, up to simulation error.
    draws : int, default 100_000
        Number of draws of the joint law.
    random_state : int or Generator, default 0
        Source of randomness.

    Returns
    -------
    ndarray of shape (p,)
        Adjusted p-values.

    Notes
    -----
    As in `critical_value_joint` only directions are simulated, so small p-values are not limited by `draws`.
    With clusters, "romano_wolf" uses the smallest degrees of freedom for all terms. Cost: draws * p * p.

    References
    ----------
    Romano and Wolf (2005), Econometrica 73, algorithm 3.1. Holm (1979), Scandinavian Journal of Statistics 6.

    Examples
    --------
    >>> law = Moments(np.ones(2), np.eye(2), np.full(2, np.inf), None)
    >>> adjusted_p(np.array([2.5, 1.0]), law, "holm").round(4)
    array([0.0248, 0.3173])
    """
    one_of("method", method, ("holm", "romano_wolf"))
    used = np.flatnonzero(np.isfinite(statistics))
    order = used[np.argsort(-np.abs(statistics[used]), kind="stable")]
    adjusted = np.full(len(statistics), np.nan)
    if method == "holm":
        p = two_sided_p(statistics[order], moments.df[order]) * np.arange(len(order), 0, -1)
    else:
        p = _step_down_p(np.abs(statistics[order]), order, moments, draws, random_state)
    adjusted[order] = np.minimum(np.maximum.accumulate(p), 1.0)
    return adjusted


def _step_down_p(
    t: Array, order: npt.NDArray[np.intp], moments: Moments, draws: int, random_state: int | np.random.Generator
) -> Array:
    df = float(moments.df[order].min(initial=np.inf))
    if len(order) <= 1:
        return two_sided_p(t, moments.df[order])
    correlation = moments.correlation[np.ix_(order, order)]
    tail, total = np.zeros(len(order)), 0
    radius = _radius_tail(_factor(correlation).shape[1], df)
    for block in _directions(correlation, whole_number("draws", draws, 1), np.random.default_rng(random_state)):
        remaining = np.maximum.accumulate(block[:, ::-1], axis=1)[:, ::-1]
        tail += radius(t / np.maximum(remaining, np.finfo(float).tiny)).sum(axis=0)
        total += len(block)
    return tail / total


def _refuse_mismatch(bootstrap: str, clusters: npt.NDArray[np.generic] | None) -> None:
    if bootstrap == "rademacher" and clusters is not None:
        raise InputError(
            "`bootstrap='rademacher'` flips single rows, and this estimate is clustered: use 'wild_cluster'."
        )
    if bootstrap == "wild_cluster" and clusters is None:
        raise InputError("`bootstrap='wild_cluster'` needs an estimate fitted with `cluster`: use 'rademacher'.")


# --- the normal law: Z = radius * direction ----------------------------------------------------------------------


def _factor(correlation: Array) -> Array:
    """Return L of shape (p, rank) with L L' = correlation."""
    size, vectors = np.linalg.eigh(correlation)
    kept = size > _RANK * size[-1]
    return vectors[:, kept] * np.sqrt(size[kept])


def _directions(correlation: Array, draws: int, rng: np.random.Generator) -> Iterator[Array]:
    """Yield blocks (b, p) of |L u|, with u uniform on the unit sphere."""
    factor = _factor(correlation)
    for start in range(0, draws, _DRAWS_PER_BLOCK):
        z = rng.standard_normal((min(_DRAWS_PER_BLOCK, draws - start), factor.shape[1]))
        yield np.abs((z / np.linalg.norm(z, axis=1, keepdims=True)) @ factor.T)


def _radius_tail(rank: int, df: float) -> Callable[[Array], Array]:
    """Return r -> P(radius > r): a chi with ``rank`` degrees of freedom, or its t analogue."""
    if np.isinf(df):
        return lambda r: special.chdtrc(rank, np.square(r))
    return lambda r: special.fdtrc(rank, df, np.square(r) / rank)


def _gaussian_quantile(correlation: Array, level: float, df: float, draws: int, rng: np.random.Generator) -> float:
    """Solve mean over directions u of P(radius * max |L u| > c) = 1 - level."""
    largest = np.sort(np.concatenate([block.max(axis=1) for block in _directions(correlation, draws, rng)]))
    step = max(1, len(largest) // _NODES)
    nodes = largest[step // 2 :: step]
    tail = _radius_tail(_factor(correlation).shape[1], df)
    # The pointwise and Bonferroni values bracket the answer whatever the correlation.
    low = float(critical_value(level, df))
    high = float(critical_value(1 - (1 - level) / len(correlation), df))

    def excess(c: float) -> float:
        return float(tail(c / nodes).mean()) - (1 - level)

    if excess(low) <= 0:
        return low
    return high if excess(high) >= 0 else float(optimize.brentq(excess, low, high, xtol=1e-10))


# --- random signs ------------------------------------------------------------------------------------------------


def _sign_quantile(units: Array, level: float, draws: int, rng: np.random.Generator, *, clustered: bool) -> float:
    """Return the quantile of the largest studentised sum of ``units`` (m, p) under random signs."""
    m = len(units)
    sums = np.concatenate([_signed_max(units, size, rng) for size in _sizes(draws)])
    q = float(np.quantile(sums, level, method="higher"))
    # Signs leave sums of squares unchanged, so the studentised sum is an increasing function of the plain one:
    # t^2 = q^2 / (1 - q^2 / m), with the same (m - 1) / m as the clustered standard error.
    left = 1 - q * q / m
    if left <= _ROUNDING:
        raise InputError(
            f"{m} rows or clusters are too few for random signs at this level: use `bootstrap='gaussian'`."
        )
    return float(np.sqrt(q * q / left * ((m - 1) / m if clustered else 1.0)))


def _sizes(draws: int) -> list[int]:
    full, rest = divmod(draws, _DRAWS_PER_BLOCK)
    return [_DRAWS_PER_BLOCK] * full + [rest] * (rest > 0)


def _signed_max(units: Array, size: int, rng: np.random.Generator) -> Array:
    total = np.zeros((size, units.shape[1]))
    for start in range(0, len(units), _ROWS_PER_BLOCK):
        block = units[start : start + _ROWS_PER_BLOCK]
        bits = np.unpackbits(np.frombuffer(rng.bytes(size * -(-len(block) // 8)), np.uint8).reshape(size, -1), axis=1)
        # sum of signs * psi = 2 * (sum of bits * psi) - sum of psi
        total += 2.0 * (bits[:, : len(block)].astype(float) @ block) - block.sum(axis=0)
    return np.abs(total / np.sqrt((units**2).sum(axis=0))).max(axis=1)
