"""How well a ranking works: bad rows found as rows are inspected, and models refitted without the lowest rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import hypergeom, rankdata

from causalif._errors import InputError
from causalif._validate import Array, one_of, whole_number
from causalif.valuation.features import take, to_numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FEWEST = 5


@dataclass(frozen=True, eq=False)
class DetectionCurve:
    """Bad rows found when rows are inspected from the lowest value up.

    Parameters
    ----------
    frame : DataFrame
        inspected and found (shares), random_low and random_high (where 95% of random orders lie), best.
    auroc : float
        Probability that a bad row ranks below a sound one, ties counting half.
    precision : float
        Share of bad rows among as many lowest rows as there are bad ones.

    Examples
    --------
    >>> found = detection([0.1, 0.5, 0.2, 0.9], [True, False, False, True])
    >>> found.auroc, found.precision, found.frame["found"].tolist()
    (0.5, 0.5, [0.0, 0.5, 0.5, 0.5, 1.0])
    """

    frame: pd.DataFrame
    auroc: float
    precision: float

    def plot(self, ax: Axes | None = None, label: str | None = None) -> Axes:
        """Draw the curve with the band of random orders.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Drawn into; a new figure by default.
        label : str, optional
            Name of the curve in the legend.

        Returns
        -------
        Axes
        """
        from causalif.valuation import plots

        return plots.detection(self, ax, label)


@dataclass(frozen=True, eq=False)
class RemovalCurve:
    """Test scores of models refitted without the rows that a ranking puts first.

    Parameters
    ----------
    frame : DataFrame
        removed (share), score, and random_mean, random_low, random_high over random removals.

    Notes
    -----
    Made by `Valuation.removal_curve`.

    Examples
    --------
    >>> import pandas as pd
    >>> RemovalCurve(pd.DataFrame({"removed": [0.0, 0.2], "score": [0.9, 0.8]})).frame["score"].tolist()
    [0.9, 0.8]
    """

    frame: pd.DataFrame

    def plot(self, ax: Axes | None = None, label: str | None = None) -> Axes:
        """Draw the curve with the range of random removals.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Drawn into; a new figure by default.
        label : str, optional
            Name of the curve in the legend.

        Returns
        -------
        Axes
        """
        from causalif.valuation import plots

        return plots.removal(self, ax, label)


@dataclass(frozen=True, eq=False)
class Supervised:
    """Features and labels.

    Parameters
    ----------
    features : array or tensor of shape (n, d)
        Encoded features.
    labels : ndarray of shape (n,)
        Labels in their own terms.
    """

    features: Any
    labels: npt.NDArray[Any]


def detection(values: npt.ArrayLike, is_bad: npt.ArrayLike) -> DetectionCurve:
    """Return how many bad rows are found when rows are inspected from the lowest value up.

    Parameters
    ----------
    values : array of shape (n,)
        Values, high is good.
    is_bad : array of bool, shape (n,)
        Which rows are bad; at least one is and one is not.

    Returns
    -------
    DetectionCurve
        The curve, its area (AUROC) and its precision.

    Raises
    ------
    InputError
        If all or no rows are bad.

    Examples
    --------
    >>> found = detection([0.1, 0.5, 0.2, 0.9], [True, False, True, False])
    >>> found.auroc, found.precision, found.frame["found"].tolist()
    (1.0, 1.0, [0.0, 0.5, 1.0, 1.0, 1.0])
    """
    score, bad = np.asarray(values, dtype=np.float64), np.asarray(is_bad, dtype=bool)
    n, count = len(score), int(bad.sum())
    if score.shape != bad.shape or not 0 < count < n:
        raise InputError(f"`is_bad` must mark some rows but not all. Got {count:,} of {n:,} for {len(score):,} values.")
    order = np.argsort(score, kind="stable")
    inspected = np.arange(n + 1)
    found = np.r_[0, np.cumsum(bad[order])]
    low, high = (np.asarray(hypergeom.ppf(q, n, count, inspected)) for q in (0.025, 0.975))
    frame = pd.DataFrame(
        {
            "inspected": inspected / n,
            "found": found / count,
            "random_low": np.maximum(low, 0) / count,
            "random_high": high / count,
            "best": np.minimum(inspected, count) / count,
        }
    )
    ranks = rankdata(score)
    below = (ranks[~bad].sum() - (n - count) * (n - count + 1) / 2) / (count * (n - count))
    return DetectionCurve(frame, float(below), float(found[count] / count))


def removal(
    estimator: Any,
    train: Supervised,
    test: Supervised,
    values: Array,
    rates: Sequence[float],
    order: str,
    draws: int,
    random_state: int | np.random.Generator | None,
) -> RemovalCurve:
    """Refit a model without growing shares of the rows, and score it on test rows.

    Parameters
    ----------
    estimator : scikit-learn classifier or regressor
        Cloned for every fit; its own `score` is used.
    train, test : Supervised
        Rows.
    values : ndarray of shape (n,)
        High is good.
    rates : sequence of float in [0, 1)
        Shares to remove.
    order : {"lowest", "highest"}
        Which end is removed. A good ranking gains, or loses little, by removing the lowest, and loses fast by removing
        the highest.
    draws : int, at least 0
        Random removals of the same size, for comparison.
    random_state : int, Generator or None
        Draws them.

    Returns
    -------
    RemovalCurve
        One row per share.

    Raises
    ------
    InputError
        If too few rows would be left.

    Notes
    -----
    (1 + draws) fits per share; values say how rows change a distance between laws, not that a model will improve.
    """
    one_of("order", order, ("lowest", "highest"))
    whole_number("draws", draws, 0)
    n = len(values)
    ranking = np.argsort(values if order == "lowest" else -values, kind="stable")
    rng, lines = np.random.default_rng(random_state), []
    for rate in rates:
        m = int(rate * n)
        if not 0 <= rate < 1 or n - m < _FEWEST:
            raise InputError(f"`rates` must lie in [0, 1) and leave {_FEWEST} rows. Got {rate!r} of {n:,} rows.")
        random = [_score(estimator, train, test, rng.permutation(n)[m:]) for _ in range(draws if m else min(draws, 1))]
        spread = (np.mean(random), np.min(random), np.max(random)) if random else (np.nan,) * 3
        lines.append((m / n, _score(estimator, train, test, np.sort(ranking[m:])), *spread))
    return RemovalCurve(pd.DataFrame(lines, columns=["removed", "score", "random_mean", "random_low", "random_high"]))


def _score(estimator: Any, train: Supervised, test: Supervised, kept: npt.NDArray[np.intp]) -> float:
    from sklearn.base import clone

    model = clone(estimator).fit(to_numpy(take(train.features, kept)), train.labels[kept])
    return float(model.score(to_numpy(test.features), test.labels))
