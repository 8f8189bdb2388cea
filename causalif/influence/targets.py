"""What may be asked of a fit: numbers that change when rows are left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from causalif._errors import InputError
from causalif._validate import Array, in_range, one_of

Reading = Literal["value", "statistic", "lower", "upper"]


@dataclass(frozen=True)
class Point:
    """A smooth target with its standard error and the critical value of its interval."""

    value: float
    std_error: float
    critical: float


@dataclass(frozen=True, eq=False)
class Bound:
    """A target tied to one fit.

    Parameters
    ----------
    label : str
        For tables.
    value : callable
        From coefficients (p,) to a number.
    gradient : callable
        From coefficients (p,) to (p,).
    """

    label: str
    value: Callable[[Array], float]
    gradient: Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Target:
    """A number that a fit answers.

    Made by `coefficient`, `contrast`, `prediction`, `test_loss`, `group_gap`, `t_statistic` and `interval_end`.

    Parameters
    ----------
    bind : callable
        Takes the model and returns the smooth number behind the target.
    reading : {"value", "statistic", "lower", "upper"}, default "value"
        Whether the number itself is meant, its t statistic, or an end of its confidence interval.
    level : float, default 0.95
        Level of that interval, and of the significance that goals speak of.

    Examples
    --------
    >>> end = interval_end("x", "upper")
    >>> end.read(Point(value=1.0, std_error=0.5, critical=2.0))
    2.0
    >>> end.read_many(np.array([1.0, 2.0]), np.array([0.5, 0.5]), 2.0).tolist()
    [2.0, 3.0]
    """

    bind: Callable[[Any], Bound]
    reading: Reading = "value"
    level: float = 0.95

    def read(self, point: Point) -> float:
        """Return the target at a value with its standard error.

        Parameters
        ----------
        point : Point
            The value, its standard error and the critical value of its interval.

        Returns
        -------
        float
        """
        return float(self.read_many(np.array([point.value]), np.array([point.std_error]), point.critical)[0])

    def read_many(self, value: Array, std_error: Array, critical: float | Array) -> Array:
        """Return the target at many values with their standard errors.

        Parameters
        ----------
        value : array of shape (m,)
            The values.
        std_error : array of shape (m,)
            Their standard errors.
        critical : float or array of shape (m,)
            Critical value of the interval.

        Returns
        -------
        array of shape (m,)
        """
        if self.reading == "value":
            return value
        if self.reading == "statistic":
            with np.errstate(divide="ignore", invalid="ignore"):
                return value / std_error
        return value + (critical if self.reading == "upper" else -critical) * std_error


TargetLike: TypeAlias = str | Mapping[str, float] | Target | None


def as_target(target: TargetLike) -> Target:
    """Return a target; a name is a coefficient, a mapping a contrast, None the first coefficient."""
    if isinstance(target, Target):
        return target
    if target is None or isinstance(target, str):
        return coefficient(target)
    if isinstance(target, Mapping):
        return contrast(target)
    raise InputError(
        "`target` must name a term, map terms to weights, or come from causalif.influence.targets. Got "
        f"{target!r} instead."
    )


def coefficient(term: str | None = None, level: float = 0.95) -> Target:
    """One coefficient or term of a fit.

    Parameters
    ----------
    term : str, optional
        Its name; the first one by default, a constant called ``const`` or ``Intercept`` passed over.
    level : float, default 0.95
        Level of confidence for goals that speak of significance, strictly between 0 and 1.

    Returns
    -------
    Target

    Examples
    --------
    >>> coefficient("educ").reading
    'value'
    """
    in_range("level", level, 0, 1)
    return Target(lambda model: _linear(model, {_first(model) if term is None else term: 1.0}), level=level)


def contrast(weights: Mapping[str, float], level: float = 0.95) -> Target:
    """A weighted sum of coefficients.

    Parameters
    ----------
    weights : mapping of str to float
        Weight of each named coefficient; the others count 0.
    level : float, default 0.95
        Level of confidence for goals that speak of significance, strictly between 0 and 1.

    Returns
    -------
    Target

    Examples
    --------
    >>> contrast({"E[Y(1)]": 1.0, "E[Y(0)]": -1.0}).reading
    'value'
    """
    return Target(lambda model: _linear(model, dict(weights)), level=in_range("level", level, 0, 1))


def t_statistic(term: str | None = None, level: float = 0.95) -> Target:
    """The ratio of a coefficient to its standard error.

    Parameters
    ----------
    term : str, optional
        Name of the coefficient; the first by default.
    level : float, default 0.95
        Level of confidence for goals that speak of significance.

    Returns
    -------
    Target

    Examples
    --------
    >>> t_statistic("ATE").reading
    'statistic'
    """
    return Target(coefficient(term).bind, "statistic", in_range("level", level, 0, 1))


def interval_end(term: str | None = None, side: Literal["lower", "upper"] = "lower", level: float = 0.95) -> Target:
    """An end of a coefficient's confidence interval.

    Parameters
    ----------
    term : str, optional
        Name of the coefficient; the first by default.
    side : {"lower", "upper"}, default "lower"
        Which end.
    level : float, default 0.95
        Level of the interval, strictly between 0 and 1.

    Returns
    -------
    Target

    Examples
    --------
    >>> interval_end("ATE", "upper").reading
    'upper'
    """
    one_of("side", side, ("lower", "upper"))
    return Target(coefficient(term).bind, side, in_range("level", level, 0, 1))


def prediction(X: npt.ArrayLike) -> Target:
    r"""The predicted mean, averaged over some rows.

    .. math:: g(\theta) = \frac1m \sum_j \mu(x_j^\top \theta)

    Parameters
    ----------
    X : array of shape (m, p) or (p,)
        Rows as the fit's own package takes them: statsmodels with the column of ones, scikit-learn without.

    Returns
    -------
    Target

    Examples
    --------
    >>> prediction([[1.0, 2.0]]).reading
    'value'
    """
    return Target(lambda model: _mean_prediction(model, _rows(X), None, "mean prediction"))


def group_gap(X: npt.ArrayLike, group: npt.ArrayLike) -> Target:
    """The mean prediction among rows of a group minus that among the others.

    Parameters
    ----------
    X : array of shape (m, p)
        Rows to predict, as the fit's own package takes them.
    group : array of bool, shape (m,)
        Which rows are in the group; both sides need rows.

    Returns
    -------
    Target

    Raises
    ------
    InputError
        If one side has no rows.

    Examples
    --------
    >>> group_gap([[1.0], [2.0]], [True, False]).reading
    'value'
    """
    inside = np.asarray(group, dtype=bool)
    if inside.all() or not inside.any():
        raise InputError(
            f"`group` must have rows on both sides, True and False. Got {int(inside.sum())} True of {inside.size}."
        )
    weights = np.where(inside, 1.0 / inside.sum(), -1.0 / (~inside).sum())
    return Target(lambda model: _mean_prediction(model, _rows(X), weights, "group gap"))


def test_loss(X: npt.ArrayLike, y: npt.ArrayLike) -> Target:
    """The mean loss, that of the fit itself, on rows that the fit has not seen.

    Parameters
    ----------
    X : array of shape (m, p)
        Rows as the fit's own package takes them.
    y : array of shape (m,)
        Their targets.

    Returns
    -------
    Target

    Examples
    --------
    >>> test_loss([[1.0], [2.0]], [0.0, 1.0]).reading
    'value'
    """
    return Target(lambda model: _mean_loss(model, _rows(X), np.asarray(y)))


test_loss.__test__ = False  # type: ignore[attr-defined]  # pytest would take the name for a test


def _rows(X: npt.ArrayLike) -> Array:
    return np.atleast_2d(np.asarray(X, dtype=float))


def _first(model: Any) -> str:
    named = [label for label in model.labels if label not in ("const", "Intercept", "intercept")]
    return str(named[0] if named else model.labels[0])


def _linear(model: Any, weights: Mapping[str, float]) -> Bound:
    missing = [name for name in weights if name not in model.labels]
    if missing:
        listed = ", ".join(map(repr, model.labels[:12])) + (", ..." if len(model.labels) > 12 else "")
        raise InputError(f"`target` names {missing[0]!r}, which is not a term of the fit. The terms are: {listed}.")
    c = np.array([weights.get(label, 0.0) for label in model.labels])
    parts = [f"{'-' if w < 0 else '+'} {'' if abs(w) == 1 else f'{abs(w):g} '}{name}" for name, w in weights.items()]
    label = " ".join(parts).removeprefix("+ ")
    return Bound(label, lambda theta: float(c @ theta), lambda theta: c)


def _mean_prediction(model: Any, X: Array, weights: Array | None, label: str) -> Bound:
    design, loss = _predictor(model, X)
    w = np.full(len(design), 1.0 / len(design)) if weights is None else weights

    def gradient(theta: Array) -> Array:
        return np.asarray(design.T @ (w * loss.mean_slope(design @ theta)))

    return Bound(label, lambda theta: float(w @ loss.mean(design @ theta)), gradient)


def _mean_loss(model: Any, X: Array, y: Sequence[float] | Array) -> Bound:
    design, loss = _predictor(model, X)
    target = np.asarray(y, dtype=float)
    if target.shape != (len(design),):
        raise InputError(f"`y` must have one value for each of the {len(design)} rows of `X`. Got {target.shape}.")

    def gradient(theta: Array) -> Array:
        return np.asarray(design.T @ loss.slope(design @ theta, target)) / len(design)

    return Bound("test loss", lambda theta: float(loss.value(design @ theta, target).mean()), gradient)


def _predictor(model: Any, X: Array) -> tuple[Array, Any]:
    """Return the rows as the model's design, with a column of ones where the package adds one, and the loss."""
    loss = getattr(model, "loss", None)
    if loss is None:
        raise InputError(
            "Predictions, losses and gaps need a model with one linear predictor (least squares, generalised linear). "
            "For this fit, name a term or a contrast of terms."
        )
    p = len(model.theta)
    if X.shape[1] == p:
        return X, loss
    if X.shape[1] == p - 1 and model.labels[0] == "intercept":
        return np.column_stack([np.ones(len(X)), X]), loss
    raise InputError(
        f"`X` has {X.shape[1]} columns; the fit has {p} coefficients ({', '.join(model.labels[:6])}, ...)."
    )
