"""A fit seen as something that rows can be left out of, whatever package it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from causalif._errors import InputError
from causalif._validate import Array
from causalif.influence.model import CaseModel, LinearModel, Mask
from causalif.influence.steps import newton_step
from causalif.influence.targets import Bound, Point, Target


@dataclass(frozen=True, eq=False)
class Moves:
    """What leaving out each unit does to a target's value and to its standard error.

    Parameters
    ----------
    value, std_error : ndarray of shape (units,)
        After removal minus before.
    """

    value: Array
    std_error: Array


class Subject(Protocol):
    """A fit, its rows and the ways to leave rows out. Units are rows, or whole clusters."""

    @property
    def index(self) -> pd.Index:
        """Labels of the rows."""

    @property
    def units(self) -> npt.NDArray[np.intp]:
        """Unit of each row, 0, ..., units − 1."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the terms."""

    def point(self, target: Target) -> Point:
        """Return the target's value, standard error and critical value."""

    def moves(self, target: Target, method: str) -> Moves:
        """Return the predicted effect of leaving out each unit."""

    def methods(self) -> tuple[str, ...]:
        """Return the ways to predict single removals, the crudest first."""

    def without(self, keep: Mask) -> Subject:
        """Return the same fit on the kept rows, computed the quickest exact way."""

    def refit(self, keep: Mask, target: Target) -> Point:
        """Return the target after an honest refit to the kept rows."""


def sum_by_unit(values: Array, units: npt.NDArray[np.intp]) -> Array:
    """Return sums over the rows of each unit."""
    if len(units) == 0 or (units[-1] == len(units) - 1 and np.array_equal(units, np.arange(len(units)))):
        return values
    return np.bincount(units, weights=values).astype(float)


@dataclass(frozen=True, eq=False)
class Fit:
    """Coefficients with covariance, as the package that fitted them reports both.

    Parameters
    ----------
    theta : ndarray of shape (p,)
        Coefficients.
    cov : ndarray of shape (p, p), optional
        Their covariance, None where the package reports none.
    df : float
        Degrees of freedom of the t statistic, ``inf`` for the normal law.
    """

    theta: Array
    cov: Array | None = None
    df: float = np.inf

    def critical(self, level: float) -> float:
        """Return the two-sided critical value."""
        tail = (1 - level) / 2
        return float(-special.stdtrit(self.df, tail) if np.isfinite(self.df) else -special.ndtri(tail))

    def point(self, bound: Bound, level: float) -> Point:
        """Return a smooth target with its delta-method standard error."""
        c = bound.gradient(self.theta)
        variance = float("nan") if self.cov is None else float(c @ self.cov @ c)
        return Point(bound.value(self.theta), float(np.sqrt(variance)), self.critical(level))


@dataclass(frozen=True, eq=False)
class ModelSubject:
    """A fitted model of statsmodels or scikit-learn.

    Parameters
    ----------
    model : CaseModel
        Row by row.
    fit : Fit
        What the package reported.
    refit_fit : callable
        From the kept rows (n,) to the package's `Fit` of them.
    units : ndarray of int, shape (n,)
        Unit of each row.
    robust : bool
        Whether the reported covariance is a sandwich.
    readapt : callable, optional
        From the kept rows to a new model, for models that only their package can fit.
    described : str
        What was fitted, for printing.
    residuals : ndarray of shape (n,), optional
        Residuals in units of their standard deviation.
    root : ModelSubject, optional
        The full fit that rows were left out of, if any.
    by_cluster : bool
        Whether the reported covariance sums scores within the units.
    """

    model: CaseModel
    fit: Fit
    refit_fit: Callable[[Mask], Fit]
    units: npt.NDArray[np.intp]
    robust: bool = False
    readapt: Callable[[Mask], CaseModel] | None = None
    described: str = ""
    residuals: Array | None = None
    root: ModelSubject | None = None
    by_cluster: bool = False

    @property
    def index(self) -> pd.Index:
        """Labels of the rows."""
        return self.model.index

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the coefficients."""
        return self.model.labels

    @property
    def clustered(self) -> bool:
        """Whether units are more than single rows."""
        return len(self.units) > 0 and int(self.units.max()) + 1 < len(self.units)

    def methods(self) -> tuple[str, ...]:
        """Return the ways to predict single removals, the crudest first."""
        return self.model.methods

    def point(self, target: Target) -> Point:
        """Return the target's value, standard error and critical value."""
        bound = target.bind(self.model)
        point = self.fit.point(bound, target.level)
        if self.root is None:
            return point
        # After rows were left out, the package's own finite-sample factors are carried over from the full fit.
        full = self.root.fit.point(bound, target.level)
        c, c0 = bound.gradient(self.model.theta), bound.gradient(self.root.model.theta)
        now, before = self._variance(c), self.root._variance(c0)
        error = full.std_error * float(np.sqrt(now / before)) if self.root.fit.cov is not None else float("nan")
        return Point(point.value, error, point.critical)

    def _variance(self, c: Array) -> float:
        """Return the variance of cᵀθ up to finite-sample factors, within clusters where the package sums there."""
        if not self.by_cluster:
            return self.model.variance(c, self.robust)[0]
        own = sum_by_unit(self.model.along(c)["if"], self.units)
        return float(own @ own)

    def moves(self, target: Target, method: str) -> Moves:
        """Return the predicted effect of leaving out each unit; clusters add up, or are solved as blocks."""
        bound = target.bind(self.model)
        c = bound.gradient(self.model.theta)
        value = self._values(c, method)
        if np.isnan(self.point(target).std_error):
            return Moves(value, np.full(len(value), np.nan))
        base, change = self._variances(c)
        before = self.point(target).std_error
        with np.errstate(invalid="ignore"):
            after = before * np.sqrt(np.maximum(1.0 + change / base, 0.0))
        return Moves(value, after - before)

    def _variances(self, c: Array) -> tuple[float, Array]:
        """Return the variance of cᵀθ and its change without each unit, in the sum that the package reports."""
        if not (self.by_cluster and isinstance(self.model, LinearModel)):
            base, change = self.model.variance(c, self.robust)
            return base, sum_by_unit(change, self.units)
        model, base = self.model, self._variance(c)
        after = np.empty(len(self._groups))
        third = model.along_eta(lambda eta: model.weights * model.loss.bend(eta, model.y))
        for g, group in enumerate(self._groups):
            X, v = model.X[group], model.bend[group]
            a, step = newton_step(model.lower, X, v, c), newton_step(model.lower, X, v, X.T @ model.slope[group])
            reach = model.X @ step
            bent = third * reach * (model.X @ a)  # the curvature of the rows that stay moves with θ
            bent[group] = 0.0
            a = a - newton_step(model.lower, X, v, model.X.T @ bent)
            with np.errstate(invalid="ignore"):
                own = sum_by_unit((model.X @ a) * (model.slope + model.bend * reach), self.units)
            after[g] = float(own @ own) - own[g] ** 2
        return base, after - base

    @cached_property
    def _groups(self) -> list[npt.NDArray[np.intp]]:
        order = np.argsort(self.units, kind="stable").astype(np.intp)
        return np.split(order, np.cumsum(np.bincount(self.units))[:-1])

    def _values(self, c: Array, method: str) -> Array:
        if method in ("newton", "exact") and self.clustered:
            return np.array([float(c @ self.model.step(group, method)) for group in self._groups])
        return sum_by_unit(self.model.along(c)[method], self.units)

    def without(self, keep: Mask) -> ModelSubject:
        """Return the same fit on the kept rows, by Newton's method or by the package where there is no other way."""
        model = self.readapt(keep) if self.readapt is not None else self.model.refitted(keep)
        root = self.root or self
        units = np.unique(self.units[keep], return_inverse=True)[1]
        lost = int(self.units.max()) - int(units.max())
        fit = Fit(model.theta, None, max(root.fit.df - lost, 1.0))
        return ModelSubject(model, fit, self.refit_fit, units, self.robust, None, self.described, None, root,
                            self.by_cluster)  # fmt: skip

    def refit(self, keep: Mask, target: Target) -> Point:
        """Return the target after the package has fitted the kept rows."""
        fit = self.refit_fit(keep)
        if len(fit.theta) != len(self.model.theta):
            raise InputError(
                "Without these rows the model has fewer coefficients, so that there is nothing to compare."
            )
        return fit.point(target.bind(self.model), target.level)

    @cached_property
    def leverage(self) -> Array:
        """Leverage of each row."""
        return self.model.leverage
