"""The working models of instrument and treatment, fitted by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from causalif._errors import ConvergenceError, PositivityError
from causalif._validate import Array
from causalif.engine.parametric.formulas import Basis
from causalif.engine.parametric.index_fit import fit_index, gamma_log_loss, logistic_loss
from causalif.engine.parametric.index_stack import Channel, ComplexArray, RowFunctions
from causalif.estimators.invalid_iv.parametric.problem import Mask, Problem

Rows = Mapping[str, ComplexArray]


@dataclass(frozen=True, eq=False)
class FittedIndex:
    """A fitted nuisance: its basis and coefficients there."""

    block: str
    basis: Basis
    theta: Array

    def channel(self, name: str, frame: pd.DataFrame, link: str = "identity", factor: float = 1.0) -> Channel:
        """Return its values on a table, as a channel of the stack."""
        design = self.basis.matrix(frame)
        index = design @ self.theta
        if link == "logit":
            value = expit(index)
            return Channel(name, self.block, design, value, value * expit(-index))
        if link == "log":
            value = np.exp(index) * factor
            return Channel(name, self.block, design, value, value)
        return Channel(name, self.block, design, index, np.ones(len(index)))


def fit_logit(problem: Problem, nuisance: str, target: Array, weights: Array, *, tell: bool = True) -> FittedIndex:
    """Fit a logistic model; say so where it separates."""
    basis = problem.basis(nuisance, weights, tell=tell)
    try:
        theta = fit_index(basis.matrix(problem.frame), logistic_loss(target), weights)
    except ConvergenceError as error:
        raise PositivityError(
            f"The logistic model for {nuisance!r} ({problem.formulas[nuisance]}) has no finite fit: its terms "
            f"predict the {nuisance} perfectly for some rows (separation). Use fewer terms, or leave out the rows "
            "without overlap."
        ) from error
    return FittedIndex(nuisance, basis, theta)


def fit_mean(problem: Problem, weights: Array, *, tell: bool = True) -> FittedIndex:
    """Fit mu: logistic if treatment is binary, else least squares."""
    if problem.binary:
        return fit_logit(problem, "treatment", problem.a, weights, tell=tell)
    basis = problem.basis("treatment", weights, tell=tell)
    theta = (weights * problem.a) @ basis.matrix(problem.frame) / weights.sum()
    return FittedIndex("treatment", basis, theta)


def fit_variance(problem: Problem, squared: Array, weights: Array, *, tell: bool = True) -> FittedIndex:
    """Gamma quasi likelihood with log link, in the treatment's own unit so that the formula needs no constant."""
    basis = problem.basis("variance", weights, tell=tell)
    design = basis.matrix(problem.frame)
    offset = -2.0 * np.log(problem.scale_a)
    level = np.log(weights @ squared / weights.sum()) - offset
    start = level * (weights @ design) / weights.sum()
    try:
        theta = fit_index(design, gamma_log_loss(squared, offset), weights, start)
    except ConvergenceError as error:
        raise ConvergenceError(
            f"The log-linear model for 'variance' ({problem.formulas['variance']}) did not converge. Use fewer terms."
        ) from error
    return FittedIndex("variance", basis, theta)


def observed(problem: Problem, one: Array, zero: Array) -> Array:
    """Return the values of the arm each row is in."""
    z = problem.z if one.ndim == 1 else problem.z[:, None]
    return np.asarray(np.where(z, one, zero))


def treatment_channels(problem: Problem) -> tuple[list[FittedIndex], dict[str, Channel]]:
    """Fit mu, and V where it is a model of its own, in both arms."""
    mean = fit_mean(problem, problem.w)
    link = "logit" if problem.binary else "identity"
    channels = {f"mu{arm}": mean.channel(f"mu{arm}", problem.at(arm), link) for arm in (1, 0)}
    if problem.binary:
        return [mean], channels
    squared = (problem.a - observed(problem, channels["mu1"].value, channels["mu0"].value)) ** 2
    variance = fit_variance(problem, squared, problem.w)
    for arm in (1, 0):
        channels[f"V{arm}"] = variance.channel(f"V{arm}", problem.at(arm), "log", problem.scale_a**-2)
    return [mean, variance], channels


def variances(c: Rows, binary: bool) -> tuple[ComplexArray, ComplexArray]:
    """Return V_1 and V_0."""
    if binary:
        return c["mu1"] * (1.0 - c["mu1"]), c["mu0"] * (1.0 - c["mu0"])
    return c["V1"], c["V0"]


def pick(z: Mask, one: ComplexArray, zero: ComplexArray) -> ComplexArray:
    """Return the values of the arm each row is in."""
    return np.asarray(np.where(z, one, zero), dtype=complex)


def treatment_rows(problem: Problem) -> RowFunctions:
    """Residuals of mu, V and of the mean of D."""

    def rows(c: Rows) -> dict[str, ComplexArray]:
        made: dict[str, ComplexArray] = {}
        residual = problem.a - pick(problem.z, c["mu1"], c["mu0"])
        v1, v0 = variances(c, problem.binary)
        made["treatment"], made["shift"] = residual, v1 - v0 - c["shift"]
        if not problem.binary:
            made["variance"] = residual**2 / pick(problem.z, v1, v0) - 1.0
        return made

    return rows


def mean_channel(name: str, values: Array, weights: Array) -> Channel:
    """Return a weighted mean as a channel with a parameter of its own."""
    ones = np.ones(len(values))
    return Channel(name, name, ones[:, None], np.full(len(values), weights @ values / weights.sum()), ones)
