"""Judge predictions of removals against refits, always with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special, stats

from causalif._errors import CausalifError, InputError
from causalif._validate import Array, in_range, one_of, whole_number
from causalif.influence.adapters import adapt
from causalif.influence.case import effects
from causalif.influence.estimate_subject import EstimateSubject
from causalif.influence.model import LinearModel
from causalif.influence.refit import Refit
from causalif.influence.removal import model_after
from causalif.influence.softmax import SoftmaxModel
from causalif.influence.subject import ModelSubject
from causalif.influence.targets import Target, TargetLike, as_target

JUDGES = ("leave_one_out", "leave_k_out", "lds")
RESAMPLES = 2_000
Fitted = EstimateSubject | ModelSubject
Sets = list[npt.NDArray[np.intp]]


def validate(
    fitted: Any,
    target: TargetLike = None,
    method: str | npt.ArrayLike = "rif",
    *,
    judges: Sequence[str] = JUDGES,
    refits: int = 50,
    k: int | None = None,
    data: Any = None,
    clusters: Any = None,
    refit: Refit | None = None,
    level: float = 0.95,
    random_state: int | np.random.Generator = 0,
) -> pd.DataFrame:
    r"""Compare predicted effects of removals with refits.

    Effects are the value after removal minus the value before.

    Parameters
    ----------
    fitted : causalif Estimate, statsmodels result or scikit-learn estimator
        As in `causalif.case_influence`.
    target : str, mapping of str to float, or Target, optional
        As in `causalif.case_influence`; the first term that is not the constant by default.
    method : {"if", "rif", "newton", "exact"} or array of shape (n,), default "rif"
        The predictions to judge: a method of `causalif.influence.remove`, or the effects of single rows (of clusters,
        in order of appearance, where whole clusters are left out) that any other method claims; these are added up over
        sets.
    judges : sequence of {"leave_one_out", "leave_k_out", "lds"}, default all three
        Single rows; sets of ``k`` rows; the linear datamodelling score, the rank correlation of added-up effects with
        refits to random halves of the rows.
    refits : int, default 50
        Refits for each judge, at least 10.
    k : int, optional
        Size of the sets; a twentieth of the rows by default.
    data : (X, y) or (X, y, sample_weight), optional
        What a scikit-learn estimator was fitted to.
    clusters : array or Series of shape (n,), optional
        Leave out whole clusters instead of rows.
    refit : callable, optional
        As in `causalif.most_influential`, for an Estimate that cannot be fitted again by itself.
    level : float, default 0.95
        Level of the intervals, strictly between 0 and 1.
    random_state : int or Generator, default 0
        Which rows and sets are drawn, and the bootstrap.

    Returns
    -------
    DataFrame
        Columns ``judge``, ``measure``, ``estimate``, ``lower``, ``upper``, ``refits``. Measures: ``correlation`` of
        predictions and refits, ``slope`` of refits on predictions through the origin (1 is best, above 1 predictions
        are too small), ``relative_error``, the median of
        ``|prediction − refit| / |refit|``; ``rank_correlation`` for lds.

    Raises
    ------
    InputError
        If a judge is unknown, the method does not exist for the fit, or fewer than 10 refits succeed.

    Notes
    -----
    Intervals are percentile bootstraps over refits: they say how much the drawn sets matter, not how other data would
    do. Refits that fail are left out and counted by ``refits``.

    References
    ----------
    Koh and Liang (2017), Understanding black-box predictions via influence functions; Park et al. (2023), TRAK (the
    linear datamodelling score).

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=60)
    >>> fit = sm.OLS(x + rng.normal(size=60), sm.add_constant(x)).fit()
    >>> judged = validate(fit, "x1", "exact", judges=["leave_k_out"], refits=10)
    >>> judged.set_index("measure")["estimate"].round(6).to_dict()
    {'correlation': 1.0, 'slope': 1.0, 'relative_error': 0.0}
    """
    for judge in judges:
        one_of("judges", judge, JUDGES)
    whole_number("refits", refits, 10)
    in_range("level", level, 0, 1)
    subject, aim = adapt(fitted, data, clusters, refit=refit), as_target(target)
    rng = np.random.default_rng(random_state)
    total = int(subject.units.max()) + 1
    size = max(1, total // 20) if k is None else whole_number("k", k, 1)
    if size >= total:
        raise InputError(f"`k` must be below the number of rows, {total:,}. Got {size:,} instead.")
    predict = _predictor(subject, aim, method, total)
    drawn = {"leave_one_out": 1, "leave_k_out": size, "lds": total // 2}
    frames = [
        _judged(judge, subject, aim, predict, _sets(rng, total, drawn[judge], refits), level, rng) for judge in judges
    ]
    return pd.concat(frames, ignore_index=True)


def mislabel_detection(scores: npt.ArrayLike, mislabelled: npt.ArrayLike, level: float = 0.95) -> pd.Series:
    """Say how well scores tell mislabelled rows from the others: the area under the ROC curve, with its interval.

    Parameters
    ----------
    scores : array of shape (n,)
        Higher means more suspect, such as `self_influence`.
    mislabelled : array of bool, shape (n,)
        Which rows are known to carry a wrong label; both kinds are needed.
    level : float, default 0.95
        Level of the interval.

    Returns
    -------
    Series
        ``auc``, ``lower``, ``upper``, ``mislabelled`` (how many).

    Raises
    ------
    InputError
        If shapes disagree or one kind is absent.

    Notes
    -----
    The share of pairs in which the mislabelled row has the higher score, ties counting half. DeLong's standard error,
    the interval on the log odds scale so that it stays within 0 and 1; it closes up where the kinds are told apart
    perfectly.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44, 837-845.

    Examples
    --------
    >>> mislabel_detection([0.1, 0.4, 0.35, 0.8], [False, False, True, True])["auc"]
    np.float64(0.75)
    """
    s, bad = np.asarray(scores, dtype=float), np.asarray(mislabelled, dtype=bool)
    if s.shape != bad.shape or s.ndim != 1 or not np.isfinite(s).all():
        raise InputError(
            "`scores` and `mislabelled` must be one finite number and one True or False per row. Got shapes "
            f"{s.shape} and {bad.shape}, and {int((~np.isfinite(s)).sum())} scores that are not finite."
        )
    m, n = int(bad.sum()), int((~bad).sum())
    if m < 2 or n < 2:
        raise InputError(f"`mislabelled` needs at least two rows of each kind. Got {m} and {n}.")
    ranks = stats.rankdata(s)
    above = (ranks[bad] - stats.rankdata(s[bad])) / n
    below = 1 - (ranks[~bad] - stats.rankdata(s[~bad])) / m
    auc = float(above.mean())
    error = float(np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n))
    inner = min(max(auc, 1e-12), 1 - 1e-12)
    half = -special.ndtri((1 - in_range("level", level, 0, 1)) / 2) * error / (inner * (1 - inner))
    ends = special.expit(special.logit(inner) + np.array([-half, half]))
    return pd.Series({"auc": auc, "lower": ends[0], "upper": ends[1], "mislabelled": m})


def self_influence(fitted: Any, *, data: Any = None, method: str = "rif") -> pd.Series:
    r"""What leaving out each row does to the loss at that row itself: value after removal minus value before.

    .. math:: r_i^\top K_i (I - \Lambda_i K_i)^{-1} r_i

    with r the derivative of the row's loss in its linear predictors, :math:`\Lambda` the second derivative and
    :math:`K_i = J_i H^{-1} J_i^\top`. Large where the fit bends to please one row, as it does for wrong labels.

    Parameters
    ----------
    fitted : statsmodels result or scikit-learn estimator
        One with a loss: no Estimate, two-stage least squares or quantile fit.
    data : (X, y) or (X, y, sample_weight), optional
        What a scikit-learn estimator was fitted to.
    method : {"if", "rif"}, default "rif"
        Without or with rescaling.

    Returns
    -------
    Series of length n
        On the index of the data, never negative for convex losses.

    Raises
    ------
    InputError
        If the fit has no loss of single rows.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> fit = sm.OLS([0.0, 1.0, 9.0, 3.0, 4.0], sm.add_constant([0.0, 1.0, 2.0, 3.0, 4.0])).fit()
    >>> int(self_influence(fit).idxmax())
    2
    """
    one_of("method", method, ("if", "rif"))
    subject = adapt(fitted, data)
    model = subject.model if isinstance(subject, ModelSubject) else None
    if isinstance(model, SoftmaxModel):
        outer = model.residual if method == "if" else model.rescaled
        values = np.einsum("ia,iab,ib->i", model.residual, model.blocks, outer)
    elif isinstance(model, LinearModel):
        safe = np.where(model.bend > 0, model.bend, 1.0)
        form = np.where(model.bend > 0, model.leverage / safe, 0.0)
        left = 1.0 if method == "if" else np.maximum(1.0 - model.leverage, 1e-8)
        values = model.slope**2 * form / left
    else:
        raise InputError("Self-influence needs a fit with a smooth loss of each row: least squares, GLM or logistic.")
    return pd.Series(values, index=subject.index, name="self_influence")


def _predictor(subject: Fitted, target: Target, method: Any, total: int) -> Callable[[npt.NDArray[np.intp]], float]:
    """Return the predicted effect of leaving out a set of units."""
    if not isinstance(method, str):
        claimed = np.asarray(method, dtype=float)
        if claimed.shape != (total,):
            raise InputError(f"`method` as an array must hold {total:,} effects. Got shape {claimed.shape}.")
        return lambda units: float(claimed[units].sum())
    if method not in subject.methods():
        raise InputError(f"`method` must be one of {', '.join(map(repr, subject.methods()))}. Got {method!r} instead.")
    if method in ("newton", "exact") and target.reading == "value":
        return lambda units: _jointly(subject, target, method, units)
    single = effects(subject, target, method)
    return lambda units: float(single[units].sum())


def _jointly(subject: Fitted, target: Target, method: str, units: npt.NDArray[np.intp]) -> float:
    before = subject.point(target)
    if isinstance(subject, ModelSubject):
        return model_after(subject, _keep(subject, units), method, target, before).value - before.value
    return float(subject.rows(target).path(units).value[-1]) - before.value


def _keep(subject: Fitted, units: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    gone = np.zeros(int(subject.units.max()) + 1, dtype=bool)
    gone[units] = True
    return np.asarray(~gone[subject.units])


def _sets(rng: np.random.Generator, total: int, size: int, count: int) -> Sets:
    """Return random sets of units; single units are drawn without repeats as far as they go."""
    if size == 1:
        return [np.array([unit]) for unit in rng.permutation(total)[:count]]
    return [rng.choice(total, size, replace=False) for _ in range(count)]


def _judged(
    judge: str, subject: Fitted, target: Target, predict: Callable[..., float], sets: Sets, level: float,
    rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    before = target.read(subject.point(target))
    pairs = [(predict(units), _refitted(subject, target, units) - before) for units in sets]
    both = np.array([pair for pair in pairs if np.isfinite(pair).all()]).reshape(-1, 2)
    if len(both) < min(10, len(sets)) or len(both) < 3:
        raise InputError(f"Only {len(both)} of {len(sets)} refits for judge {judge!r} succeeded: leave out fewer rows.")
    measures = {"rank_correlation": _rank_correlation} if judge == "lds" else MEASURES
    draws = rng.integers(len(both), size=(RESAMPLES, len(both)))
    tail = (1 - level) / 2
    lines = []
    for name, measure in measures.items():
        with np.errstate(invalid="ignore", divide="ignore"):
            resampled = np.array([measure(both[draw]) for draw in draws])
        lower, upper = np.nanquantile(resampled, [tail, 1 - tail])
        lines.append((judge, name, measure(both), lower, upper, len(both)))
    return pd.DataFrame(lines, columns=["judge", "measure", "estimate", "lower", "upper", "refits"])


def _refitted(subject: Fitted, target: Target, units: npt.NDArray[np.intp]) -> float:
    try:
        return target.read(subject.refit(_keep(subject, units), target))
    except (CausalifError, np.linalg.LinAlgError):
        return float("nan")


def _correlation(both: Array) -> float:
    x, y = (both - both.mean(axis=0)).T
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else float("nan")


def _rank_correlation(both: Array) -> float:
    return _correlation(stats.rankdata(both, axis=0))


def _slope(both: Array) -> float:
    square = float(both[:, 0] @ both[:, 0])
    return float(both[:, 0] @ both[:, 1]) / square if square > 0 else float("nan")


def _relative_error(both: Array) -> float:
    actual = np.abs(both[:, 1])
    known = actual > 0
    return float(np.median(np.abs(both[known, 0] - both[known, 1]) / actual[known])) if known.any() else float("nan")


MEASURES = {"correlation": _correlation, "slope": _slope, "relative_error": _relative_error}
