"""Pooling over repeated sample splits and over models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, special

from causalif._errors import InputError
from causalif._validate import Array, in_range
from causalif.results.covariance import moments
from causalif.results.estimate import Estimate, concat

_WEIGHT_SUM = 1e-8


class PooledRepeats(NamedTuple):
    """Estimates (p,), influence values (n, p) and the table of splits; see `pool_repeats`."""

    values: Array
    influence: Array
    splits: pd.DataFrame


def pool_repeats(
    values: npt.ArrayLike,
    influences: Iterable[Array],
    labels: Sequence[str],
    clusters: npt.NDArray[np.generic] | None = None,
) -> PooledRepeats:
    r"""Pool estimates from repeated sample splits by their median, with standard errors that include split noise.

    .. math:: \tilde\theta_j = \operatorname{median}_s \theta_{sj}, \qquad
        \tilde\sigma_j^2 = \operatorname{median}_s \{\sigma_{sj}^2 + (\theta_{sj} - \tilde\theta_j)^2\}

    Parameters
    ----------
    values : array of shape (S, p)
        Estimates of each split. Read after `influences` is exhausted, so a generator may fill a list.
    influences : iterable of S arrays of shape (n, p)
        Centred influence values of each split. Only their running mean is kept.
    labels : sequence of p str
        Names of the terms.
    clusters : array of shape (n,), optional
        Cluster label of each row.

    Returns
    -------
    PooledRepeats
        ``values`` (p,), ``influence`` (n, p) and ``splits``, a table with columns ``repeat`` (from 0), ``term``,
        ``estimate`` and ``std_error``.

    Raises
    ------
    InputError
        If the numbers of estimates and influence matrices differ, or shapes do.

    Notes
    -----
    The influence values returned are the mean over splits, each column multiplied by one number so that its standard
    error is the pooled one. Whatever is computed from them later, such as a difference of two terms, so carries the
    split noise, under the working assumption that split noise is correlated between terms as the estimates are.
    With one split nothing is changed. Memory: two arrays of shape (n, p), whatever S.

    References
    ----------
    Chernozhukov et al. (2018), Double/debiased machine learning, Econometrics Journal 21, definition 3.3.

    Examples
    --------
    >>> psi = np.array([[1.0], [-1.0]])
    >>> pooled = pool_repeats([[1.0], [3.0], [2.0]], [psi, psi, psi], ["ATE"])
    >>> pooled.values, pooled.influence.ravel().round(4)
    (array([2.]), array([ 1.7321, -1.7321]))
    """
    total, errors = None, []
    for influence in influences:
        errors.append(moments(influence, clusters).std_errors)
        total = influence.astype(float) if total is None else total + influence
    theta, sigma = np.asarray(values, dtype=float), np.asarray(errors)
    if total is None or theta.shape != sigma.shape or theta.shape[1] != len(labels):
        raise InputError(
            f"`values` must have shape (S, p), one row for each of the {len(errors)} influence matrices and one "
            f"column for each of the {len(labels)} labels. Got shape {theta.shape}."
        )
    splits = _split_table(theta, sigma, labels)
    if len(theta) == 1:
        return PooledRepeats(theta[0], total, splits)
    centre, pooled = _median_pool(theta, sigma)
    return PooledRepeats(centre, _rescaled(total / len(theta), pooled, clusters, labels), splits)


def _split_table(theta: Array, sigma: Array, labels: Sequence[str]) -> pd.DataFrame:
    repeats, p = theta.shape
    return pd.DataFrame(
        {
            "repeat": np.repeat(np.arange(repeats), p),
            "term": list(labels) * repeats,
            "estimate": theta.ravel(),
            "std_error": sigma.ravel(),
        }
    )


def _median_pool(theta: Array, sigma: Array) -> tuple[Array, Array]:
    centre = np.median(theta, axis=0)
    deviation = np.abs(theta - centre)
    scale = np.maximum(deviation, sigma).max(axis=0)
    scale = np.where(scale > 0, scale, 1.0)  # squares of outcomes in units of 1e-200 would underflow
    square = np.median((sigma / scale) ** 2 + (deviation / scale) ** 2, axis=0)
    return centre, np.sqrt(square) * scale


def with_std_errors(estimate: Estimate, std_errors: npt.ArrayLike) -> Estimate:
    """Multiply each column of influence values by one number, so that the standard errors are given ones.

    Parameters
    ----------
    estimate : Estimate
        With p terms.
    std_errors : array of shape (p,)
        What their standard errors shall be; a term that has none of its own keeps none.

    Returns
    -------
    Estimate

    Raises
    ------
    InputError
        If a term without sampling variation shall have a standard error.

    Examples
    --------
    >>> one = Estimate([1.0], [[1.0], [-1.0]], ["ATE"], pd.RangeIndex(2))
    >>> round(with_std_errors(one, [2.0]).std_errors["ATE"].item(), 6)
    2.0
    """
    wanted = np.asarray(std_errors, dtype=float)
    psi = _rescaled(estimate.influence_values, wanted, estimate.clusters, estimate.labels)
    return Estimate(estimate.values, psi, estimate.labels, estimate.index, estimate.clusters, estimate.settings)


def _rescaled(mean: Array, pooled: Array, clusters: npt.NDArray[np.generic] | None, labels: Sequence[str]) -> Array:
    own = moments(mean, clusters).std_errors
    if np.any((own == 0) & (pooled > 0)):
        bad = labels[int(np.argmax((own == 0) & (pooled > 0)))]
        raise InputError(f"The influence values of {bad!r} cancel out over the splits: no standard error.")
    return mean * np.divide(pooled, own, out=np.ones_like(own), where=own > 0)


@dataclass(frozen=True, eq=False)
class PooledModels:
    r"""Terms averaged over models, with the variance within and between models kept apart.

    Parameters
    ----------
    params : Series of length p
        Weighted means of the models' estimates.
    within_cov, between_cov : DataFrame of shape (p, p)
        :math:`\sum_m w_m \hat V_m` and :math:`\sum_m w_m (\theta_m - \bar\theta)(\theta_m - \bar\theta)^\top`.
    components : DataFrame
        One row per (model, term): columns ``model``, ``weight``, ``term``, ``estimate``, ``std_error``.
    estimate : Estimate
        The weighted means with influence values :math:`\sum_m w_m \psi_m`: the answer for anyone who holds the
        weights fixed, without the variance between models.

    Examples
    --------
    >>> rows = pd.RangeIndex(2)
    >>> a = Estimate([1.0], [[1.0], [-1.0]], ["ATE"], rows)
    >>> b = Estimate([2.0], [[1.0], [-1.0]], ["ATE"], rows)
    >>> pooled = pool_models({"A": a, "B": b}, [0.5, 0.5])
    >>> pooled.params["ATE"].item(), round(pooled.std_errors["ATE"].item(), 4)
    (1.5, 0.866)
    """

    params: pd.Series
    within_cov: pd.DataFrame
    between_cov: pd.DataFrame
    components: pd.DataFrame
    estimate: Estimate

    @property
    def cov(self) -> pd.DataFrame:
        """Total covariance, within plus between models."""
        return self.within_cov + self.between_cov

    @property
    def std_errors(self) -> pd.Series:
        """Roots of the diagonal of `cov`."""
        return pd.Series(np.sqrt(np.diag(self.cov)), index=self.params.index, name="std_error")

    def conf_int(self, level: float = 0.95) -> pd.DataFrame:
        """Return quantiles of the mixture of the models' normal laws: columns ``lower`` and ``upper``.

        A model whose standard error is 0 contributes an atom, which may then be an end of the interval.
        """
        tail = (1 - in_range("level", level, 0, 1)) / 2
        parts = [self.components[self.components["term"] == term] for term in self.params.index]
        ends = [[_mixture_quantile(part, q) for q in (tail, 1 - tail)] for part in parts]
        return pd.DataFrame(ends, index=self.params.index, columns=["lower", "upper"])


def pool_models(estimates: Mapping[str, Estimate] | Sequence[Estimate], weights: npt.ArrayLike) -> PooledModels:
    r"""Average the same terms over several models, as a mixture.

    .. math:: \bar\theta = \sum_m w_m \theta_m, \qquad
        V = \sum_m w_m \hat V_m + \sum_m w_m (\theta_m - \bar\theta)(\theta_m - \bar\theta)^\top

    Parameters
    ----------
    estimates : mapping of str to Estimate, or sequence of Estimate
        One per model, all with the same labels.
    weights : array of shape (M,)
        Non-negative, with sum 1; for instance posterior probabilities of the models.

    Returns
    -------
    PooledModels
        Means, the two parts of the covariance, and the table of models.

    Raises
    ------
    InputError
        If labels differ, or weights are negative or do not sum to 1.

    Notes
    -----
    This is the law of total variance for a draw of the model followed by an estimate from it. It treats weights as
    known. Estimates of several models from the same rows are correlated; ``estimate`` shows what their average varies
    by, which is never more than the part within models.

    References
    ----------
    Hoeting, Madigan, Raftery and Volinsky (1999), Bayesian model averaging, Statistical Science 14, equations 3-4.

    Examples
    --------
    See `PooledModels`.
    """
    named = dict(estimates) if isinstance(estimates, Mapping) else {str(i): e for i, e in enumerate(estimates)}
    w = _checked_weights(weights, len(named))
    models = list(named.values())
    labels = list(models[0].labels)
    for name, model in named.items():
        if list(model.labels) != labels:
            raise InputError(
                f"All models must estimate the same terms, in the same order: {', '.join(map(repr, labels))}. Model "
                f"{name!r} has {', '.join(map(repr, model.labels))}."
            )
    theta = np.stack([model.values for model in models])
    mean = w @ theta
    deviation = (theta - mean) * np.sqrt(w)[:, None]
    within = np.einsum("m,mij->ij", w, np.stack([model.moments.covariance for model in models]))
    average = np.kron(w[None, :], np.eye(len(labels)))
    return PooledModels(
        params=pd.Series(mean, index=labels, name="estimate"),
        within_cov=pd.DataFrame(within, index=labels, columns=labels),
        between_cov=pd.DataFrame(deviation.T @ deviation, index=labels, columns=labels),
        components=_component_table(named, w),
        estimate=concat(named).transform(lambda t: average @ t, average, labels),
    )


def _checked_weights(weights: npt.ArrayLike, count: int) -> Array:
    w = np.asarray(weights, dtype=float)
    if count == 0 or w.shape != (count,) or not np.all(w >= 0) or abs(w.sum() - 1) > _WEIGHT_SUM:
        raise InputError(
            f"`weights` must hold one non-negative weight for each of the {count} models, with sum 1. "
            f"Got shape {w.shape} and sum {w.sum():g}."
        )
    return w / w.sum()


def _component_table(named: Mapping[str, Estimate], w: Array) -> pd.DataFrame:
    frames = [
        pd.DataFrame(
            {
                "model": name,
                "weight": weight,
                "term": list(model.labels),
                "estimate": model.values,
                "std_error": model.moments.std_errors,
            }
        )
        for (name, model), weight in zip(named.items(), w, strict=True)
    ]
    return pd.concat(frames, ignore_index=True)


def _mixture_quantile(part: pd.DataFrame, q: float) -> float:
    """Return the smallest t with P(T <= t) >= q, for T a mixture of normal laws and atoms."""
    w, centre, se = (part[name].to_numpy(dtype=float) for name in ("weight", "estimate", "std_error"))
    smooth = np.where(se > 0, se, 1.0)

    def distribution(t: float) -> float:
        return float(w @ np.where(se > 0, special.ndtr((t - centre) / smooth), t >= centre))

    z = abs(float(special.ndtri(q))) + 1.0
    low, high = float((centre - z * se).min()), float((centre + z * se).max())
    if distribution(low) >= q:
        return low
    precision = max(1e-12 * (high - low), np.finfo(float).tiny)
    return float(optimize.bisect(lambda t: distribution(t) - q, low, high, xtol=precision))
