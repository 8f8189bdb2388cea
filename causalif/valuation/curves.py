"""How well a ranking works: bad rows found as rows are inspected, and models refitted without the lowest rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import hypergeom, rankdata

from causalif._errors import InputError, LearnerError
from causalif._validate import Array, one_of, whole_number
from causalif.valuation import reading
from causalif.valuation.features import take, to_numpy
from causalif.valuation.inputs import in_order
from causalif.valuation.tables import share_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from causalif.valuation.valuation import Valuation

_FEWEST = 5
_POINTS = 100  # of the band of random orders; a quantile costs time that grows with the rows
_NUMBERS = (Real, np.bool_)  # NumPy's other numbers are registered as Real
_TRADES = {"classes": "classifier", "numbers": "regressor"}


@dataclass(frozen=True, eq=False)
class DetectionCurve:
    """Bad rows found when rows are inspected from the lowest value up.

    Parameters
    ----------
    frame : DataFrame
        inspected and found (shares), random_low and random_high (where 95% of random orders lie, at 100 points and
        straight between them), best.
    auroc : float
        Probability that a bad row ranks below a sound one, ties counting half.
    precision : float
        Share of bad rows among as many lowest rows as there are bad ones; of equal values, the share they have on
        average.

    Examples
    --------
    >>> found = detection([0.1, 0.5, 0.2, 0.9], [True, False, False, True])
    >>> found.auroc, found.precision, found.frame["found"].tolist()
    (0.5, 0.5, [0.0, 0.5, 0.5, 0.5, 1.0])
    """

    frame: pd.DataFrame = field(repr=False)
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
    metric : str, default ""
        What the score is, such as "accuracy" or "R²"; empty where the model does not say.

    Notes
    -----
    Made by `Valuation.removal_curve`.

    Examples
    --------
    >>> import pandas as pd
    >>> RemovalCurve(pd.DataFrame({"removed": [0.0, 0.2], "score": [0.9, 0.8]})).frame["score"].tolist()
    [0.9, 0.8]
    """

    frame: pd.DataFrame = field(repr=False)
    metric: str = ""

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
    values : Series or array of shape (n,)
        Values, high is good.
    is_bad : Series or array of bool, or of 0 and 1, shape (n,)
        Which rows are bad; at least one is and one is not. Two Series are matched by their index.

    Returns
    -------
    DetectionCurve
        The curve, its area (AUROC) and its precision.

    Raises
    ------
    InputError
        If all or no rows are bad, a value is no number or missing, a mark is neither boolean nor 0 or 1, or values and
        marks do not belong to the same rows.

    Examples
    --------
    >>> found = detection([0.1, 0.5, 0.2, 0.9], [True, False, True, False])
    >>> found.auroc, found.precision, found.frame["found"].tolist()
    (1.0, 1.0, [0.0, 0.5, 1.0, 1.0, 1.0])
    """
    matched = in_order("is_bad", is_bad, values.index) if isinstance(values, pd.Series) else is_bad
    score, bad = read_scores("values", values), read_marks(matched)
    if score.shape != bad.shape:
        raise InputError(
            f"`is_bad` must have one mark for each of the {len(score):,} `values`. Got {len(bad):,}; mark every row."
        )
    n, count = len(score), int(bad.sum())
    order = np.argsort(score, kind="stable")
    ranks = rankdata(score)
    below = (ranks[~bad].sum() - (n - count) * (n - count + 1) / 2) / (count * (n - count))
    last = score[order[count - 1]]
    surely, perhaps = bad[score < last], bad[score == last]
    caught = surely.sum() + (count - len(surely)) * perhaps.mean()
    return DetectionCurve(_inspections(bad[order]), float(below), float(caught / count))


def _inspections(bad: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Bad rows found after each inspection, rows in the order of inspection, and what random orders find."""
    n, count = len(bad), int(bad.sum())
    inspected = np.arange(n + 1)
    points = np.unique(np.linspace(0, n, _POINTS + 1).astype(np.intp))
    low, high = (np.interp(inspected, points, hypergeom.ppf(q, n, count, points)) for q in (0.025, 0.975))
    return pd.DataFrame(
        {
            "inspected": inspected / n,
            "found": np.r_[0, np.cumsum(bad)] / count,
            "random_low": np.maximum(low, 0) / count,
            "random_high": high / count,
            "best": np.minimum(inspected, count) / count,
        }
    )


def read_marks(is_bad: Any) -> npt.NDArray[np.bool_]:
    """Take marks of bad rows, of shape (n,): booleans or 0 and 1, some of each."""
    plain = np.asarray(is_bad)
    if plain.ndim != 1:
        raise InputError(f"`is_bad` must have one mark per row, shape (n,). Got shape {plain.shape}.")
    missing = int(pd.isna(plain).sum())
    if missing:
        raise InputError(
            f"`is_bad` must say of every row whether it is bad. Got {missing:,} missing of {len(plain):,} marks; "
            "decide what they are, for instance is_bad.fillna(False)."
        )
    strange = [x for x in plain.tolist() if not isinstance(x, _NUMBERS) or x not in (0, 1)]
    if strange:
        raise InputError(
            f"`is_bad` must hold booleans, or the numbers 0 and 1. Got {strange[0]!r}; compare first, for instance "
            f"is_bad == {strange[0]!r}."
        )
    marks, count = plain.astype(bool), int(plain.astype(bool).sum())
    if not 0 < count < len(marks):
        raise InputError(f"`is_bad` must mark some rows but not all. Got {count:,} of {len(marks):,} marked.")
    return marks


def marks_of(value: Valuation, is_bad: Any) -> npt.NDArray[np.bool_]:
    """Take marks of bad train rows; a Series is matched by its index."""
    return read_marks(reading.aligned(value, "is_bad", is_bad))


def read_scores(name: str, scores: Any) -> Array:
    """Take a ranking of shape (n,): numbers without missing ones."""
    plain = np.asarray(scores)
    if plain.ndim != 1:
        found = repr(scores) if plain.ndim == 0 else f"shape {plain.shape}"
        raise InputError(
            f'`{name}` must be numbers, one per row. Got {found}; pass a column, such as values.components["feature"].'
        )
    missing = int(pd.isna(plain).sum())
    if missing:
        raise InputError(f"`{name}` must rank every row. Got {missing:,} missing of {len(plain):,}; fill them first.")
    text = [x for x in plain.tolist() if not isinstance(x, _NUMBERS)] if plain.dtype.kind not in "fiub" else []
    if text:
        raise InputError(f"`{name}` must be numbers, high is good. Got {text[0]!r}; convert the column first.")
    return plain.astype(np.float64)


def scores_of(value: Valuation, scores: Any) -> Array:
    """Take a ranking of the train rows, the values by default; a Series is matched by its index."""
    if scores is None:
        return value.values.to_numpy()
    # A name has no length of its own to complain of: it is refused for what it is.
    return read_scores("scores", scores if isinstance(scores, str) else reading.aligned(value, "scores", scores))


def removal(
    estimator: Any,
    train: Supervised,
    test: Supervised,
    values: Array,
    rates: Sequence[float],
    order: str,
    draws: int,
    random_state: int | np.random.Generator | None,
    kind: str | None = None,
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
    kind : {"classes", "numbers"}, optional
        What the labels are, to check the estimator against.

    Returns
    -------
    RemovalCurve
        One row per share.

    Raises
    ------
    InputError
        If too few rows would be left, or the estimator is no model of such labels.
    LearnerError
        If a fit fails on the rows that are left.

    Notes
    -----
    (1 + draws) fits per share; values say how rows change a distance between laws, not that a model will improve.
    """
    one_of("order", order, ("lowest", "highest"))
    whole_number("draws", draws, 0)
    n = len(train.labels)
    if len(values) != n:
        raise InputError(f"`scores` must have one value per train row, {n:,}. Got {len(values):,}.")
    check_estimator(estimator, kind)
    if kind is not None:
        _check_test_labels(train.labels, test.labels, kind)
    ranking = np.argsort(values if order == "lowest" else -values, kind="stable")
    rng, lines = np.random.default_rng(random_state), []
    for rate in read_rates(rates, n):
        m = share_of(rate, n)
        others = (np.sort(rng.permutation(n)[m:]) for _ in range(draws if m else min(draws, 1)))
        random = [_score(estimator, train, test, kept) for kept in others]
        spread = (np.mean(random), np.min(random), np.max(random)) if random else (np.nan,) * 3
        lines.append((m / n, _score(estimator, train, test, np.sort(ranking[m:])), *spread))
    columns = ["removed", "score", "random_mean", "random_low", "random_high"]
    return RemovalCurve(pd.DataFrame(lines, columns=columns), metric_of(estimator))


def read_rates(rates: Any, n: int) -> list[float]:
    """Take shares of n rows to remove, each of which leaves enough for a fit."""
    if isinstance(rates, Real):
        raise InputError(f"`rates` must be a sequence of shares. Got {rates}; write rates=({rates},).")
    if isinstance(rates, str) or not np.iterable(rates):
        raise InputError(f"`rates` must be a sequence of shares. Got {rates!r}; write rates=(0.0, 0.1).")
    listed = list(rates)
    if not listed:
        raise InputError("`rates` must name at least one share to remove. Got none; write rates=(0.0, 0.1).")
    for rate in listed:
        number = isinstance(rate, Real) and not isinstance(rate, bool)
        if not number or not 0 <= rate < 1 or n - share_of(rate, n) < _FEWEST:
            raise InputError(f"`rates` must lie in [0, 1) and leave {_FEWEST} rows. Got {rate!r} of {n:,} rows.")
    return listed


def check_estimator(estimator: Any, kind: str | None) -> None:
    """Raise unless an estimator can be cloned, fitted and scored, on labels of its kind."""
    lacking = [name for name in ("fit", "predict", "score", "get_params") if not hasattr(estimator, name)]
    if isinstance(estimator, type) or lacking:
        found = f"the class {estimator.__name__}" if isinstance(estimator, type) else f"{estimator!r}"
        missing = "pass an instance" if not lacking else f"it has no {', '.join(lacking)}"
        raise InputError(
            f"`estimator` must be a scikit-learn classifier or regressor, such as LogisticRegression(). Got {found}; "
            f"{missing}."
        )
    trade = _trade(estimator)
    if kind is not None and trade is not None and trade != _TRADES[kind]:
        other = "numbers" if kind == "classes" else "classes"
        raise InputError(
            f"`estimator` must be a {_TRADES[kind]}, as the labels were read as {kind} at the fit. Got the {trade} "
            f'{estimator!r}; pass a {_TRADES[kind]}, or fit the values with label_type="{other}".'
        )


def _check_test_labels(train: npt.NDArray[Any], test: npt.NDArray[Any], kind: str) -> None:
    if kind == "numbers" and test.dtype.kind not in "fiub":
        raise InputError(f"`test_label` must be numbers, as at the fit. Got {test.dtype}.")
    if kind == "classes" and not set(test.tolist()) & set(train.tolist()):
        raise InputError(
            f"`test_label` must hold classes of the train rows, such as {train[:1].tolist()[0]!r}. Got none of them, "
            f"but {test[:1].tolist()[0]!r}; write both in the same way."
        )


def _trade(estimator: Any) -> str | None:
    """Return what an estimator calls itself, None where it does not say."""
    from sklearn.base import is_classifier, is_regressor

    try:
        return "classifier" if is_classifier(estimator) else "regressor" if is_regressor(estimator) else None
    except AttributeError:  # estimators without scikit-learn's tags
        return None


def metric_of(estimator: Any) -> str:
    """Return what the `score` of an estimator is; searches and some others choose it by ``scoring``."""
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    scoring = getattr(last, "scoring", None)
    if scoring is not None:
        return scoring if isinstance(scoring, str) else ""
    return {"classifier": "accuracy", "regressor": "R²"}.get(_trade(estimator) or "", "")


def _score(estimator: Any, train: Supervised, test: Supervised, kept: npt.NDArray[np.intp]) -> float:
    from sklearn.base import clone

    try:
        model = clone(estimator).fit(to_numpy(take(train.features, kept)), train.labels[kept])
        return float(model.score(to_numpy(test.features), test.labels))
    except (TypeError, ValueError) as error:
        raise LearnerError(
            f"{estimator!r} failed on {len(kept):,} of {len(train.labels):,} train rows: {error} Remove fewer rows "
            "with `rates`, or pass another `estimator`."
        ) from error
