"""What must be said of a fit before rows are left out of it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from causalif._errors import ConvergenceError, DataWarning, PositivityError, tell
from causalif._validate import Array
from causalif.influence.losses import Logistic
from causalif.influence.model import FAR, SEPARATES, LinearModel
from causalif.influence.softmax import SoftmaxModel
from causalif.influence.steps import Rows, largest_share

__all__ = ["FAR", "SEPARATES", "checked", "warn_joint_leverage", "warn_leverage"]

HIGH = 0.9
STOPPED_EARLY = 0.05
Smooth = LinearModel | SoftmaxModel


def checked(model: Smooth) -> Smooth:
    """Return the model at its minimum, with a warning if the fit stopped before; refuse separated outcomes."""
    if isinstance(model, LinearModel):
        _refuse_separation(model)
    return _converged(model)


def warn_leverage(leverage: Array, index: pd.Index) -> None:
    """Warn of rows that nearly decide their own fitted value."""
    high = np.flatnonzero(leverage > HIGH)
    if high.size:
        first = ", ".join(repr(label) for label in index[high[:3]].tolist())
        tell(
            f"{high.size:,} of {len(leverage):,} rows have a leverage above {HIGH:g} (first at index {first}): they "
            "decide their own fitted value, and one-step predictions of leaving them out are rough unless exact. Refit "
            "without them to be sure.",
            DataWarning,
        )


def warn_joint_leverage(model: object, rows: Rows, method: str) -> None:
    """Warn where rows that are left out together nearly decide a direction of the fit, and the step is no refit."""
    if not isinstance(model, LinearModel) or (method == "newton" and "exact" in model.methods) or method == "exact":
        return
    share = largest_share(model.lower, model.X[rows], model.bend[rows])
    if share > HIGH:
        tell(
            f"The {len(rows):,} rows carry {share:.0%} of the information on some combination of coefficients "
            f"together, so that the effect predicted by {method!r} is rough. Refit without them to be sure.",
            DataWarning,
        )


def _refuse_separation(model: LinearModel) -> None:
    if not isinstance(model.loss, Logistic):
        return
    used = model.weights > 0
    correct = np.where(model.y[used] > 0.5, model.eta[used], -model.eta[used])
    free = not model.penalty.any()
    if free and correct.min() > 0:
        raise PositivityError(
            "The columns separate the two outcomes, so that the coefficients have no finite value and no row an "
            "effect. Add a penalty, or drop the column that decides the outcome."
        )
    far = int((np.abs(model.eta) > FAR).sum())
    if free and far:
        tell(
            f"{far:,} of {len(model.y):,} rows have fitted probabilities of 0 or 1: some coefficients are running to "
            "infinity (quasi-separation), and effects on them mean nothing. Add a penalty, or drop the column that "
            "decides the outcome for those rows.",
            DataWarning,
        )


def _converged(model: Smooth) -> Smooth:
    """Compare what is left of the way to the minimum with what a typical row moves."""
    step = -model.solve(model.gradient())
    rounding = 1e-10 * float(np.abs(model.theta).max(initial=0.0))  # where the fit is perfect, no row moves anything
    sizes = np.maximum(np.sqrt(np.maximum(_typical(model), 0.0)), max(rounding, 1e-300))
    left = np.abs(step) / sizes
    worst = int(left.argmax())
    if left[worst] <= STOPPED_EARLY:
        return model
    try:
        polished = model.minimised()
    except ConvergenceError as error:
        raise ConvergenceError(
            "The fit is not at a minimum, and none was found from there: the outcomes may be separated. Check the fit."
        ) from error
    tell(
        f"The fit stopped before its minimum: {model.labels[worst]!r} was still {abs(step[worst]):.2g} away, "
        f"{left[worst]:.2g} times what leaving out a typical row does. Effects are computed at the minimum; fit with a "
        "smaller tolerance to have the fit there as well.",
        DataWarning,
    )
    return polished


def _typical(model: LinearModel | SoftmaxModel) -> Array:
    """Return the mean squared effect of a row on each coefficient."""
    if isinstance(model, LinearModel):
        inner = (model.X * (model.slope**2)[:, None]).T @ model.X
    else:
        scores = (model.residual[:, :, None] * model.X[:, None, :]).reshape(len(model.y), -1)
        inner = scores.T @ scores
    half = model.solve(inner)
    return np.diag(model.solve(half.T)) / len(model.y)
