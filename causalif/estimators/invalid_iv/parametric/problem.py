"""The columns in working units: what stays fixed while the working models are fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import CausalifWarning, DesignWarning, InputError, NotIdentifiedError
from causalif._validate import Array, in_range, one_of
from causalif.engine.parametric.formulas import Basis, Design
from causalif.engine.parametric.mestimation import relative_weights
from causalif.estimators.invalid_iv.parametric.formulas import resolved_formulas

Mask = npt.NDArray[np.bool_]
WeakPolicy: TypeAlias = Literal["raise", "warn"]


@dataclass(frozen=True, eq=False)
class Problem:
    """The columns in working units, and everything that stays fixed while nuisances are fitted.

    Notes
    -----
    ``findings`` gathers what will be warned of.
    """

    frame: pd.DataFrame
    y: Array
    a: Array
    z: Mask
    w: Array
    scale_y: float
    scale_a: float
    centre_y: float
    instrument: str
    adjust: tuple[str, ...]
    binary: bool
    clip: float
    floor: float
    weak: WeakPolicy
    formulas: Mapping[str, str]
    given: frozenset[str]
    findings: list[CausalifWarning] = field(default_factory=list)

    @property
    def unit(self) -> float:
        """Unit of the effect, outcome per treatment."""
        return self.scale_y / self.scale_a

    def at(self, arm: int) -> pd.DataFrame:
        """Return the table with everybody's instrument set."""
        return self.frame.assign(**{self.instrument: float(arm)})

    def design(self, nuisance: str) -> Design:
        """Read one formula on the columns that it may use."""
        columns = list(self.adjust)
        if nuisance in ("treatment", "variance", "outcome"):
            columns.append(self.instrument)
        return Design.from_formula(self.formulas[nuisance], self.frame[columns], nuisance)

    def basis(self, nuisance: str, weights: Array, *, design: Design | None = None, tell: bool = True) -> Basis:
        """Return one formula's columns without redundant ones, orthonormal under the weights."""
        basis = Basis.from_design(self.design(nuisance) if design is None else design, self.frame, weights)
        if tell and basis.left_out:
            names = ", ".join(basis.left_out)
            message = f"The formula for {nuisance!r}: {names} left out, constant or repeating others."
            self.findings.append(DesignWarning(message))
        return basis


def _sd(column: Array, w: Array, name: str) -> tuple[float, float]:
    """Return weighted mean and standard deviation; safe for tiny units; refuse a constant column."""
    size = float(np.abs(column).max())
    small = column / (size or 1.0)
    mean = float(w @ small / w.sum())
    sd = float(np.sqrt(w @ (small - mean) ** 2 / w.sum()))
    if not sd > 1e-14 * abs(mean):
        raise InputError(f"The {name} is constant. It must vary for an effect to be estimated.")
    return mean * size, sd * size


def read_problem(
    frame: pd.DataFrame,
    roles: tuple[str, str, str],
    adjust: Sequence[str],
    formulas: Mapping[str, str] | None,
    *,
    binary: bool,
    weights: Array | None,
    clip: float,
    floor: float,
    weak: WeakPolicy,
) -> Problem:
    """Check the options and the columns (outcome, treatment, instrument), and bring them to working units."""
    _check_options(clip, floor, weak)
    outcome, treatment, instrument = roles
    w = relative_weights(weights, len(frame))
    y, a, z = (frame[name].to_numpy(dtype=float, copy=True) for name in roles)
    _zero_one(z[w > 0], f"instrument {instrument!r}")
    if binary:
        _zero_one(a[w > 0], f"treatment {treatment!r}")
    mean_y, sd_y = _sd(y, w, f"outcome {outcome!r}")
    sd_a = _sd(a, w, f"treatment {treatment!r}")[1]
    resolved = resolved_formulas(formulas, adjust, instrument, binary)
    frame = frame.assign(**{instrument: z})
    scale_a = 1.0 if binary else sd_a
    draft = Problem(
        frame, y, a / scale_a, z > 0.5, w, sd_y, scale_a, 0.0, instrument, tuple(adjust), binary, clip,
        floor, weak, resolved, frozenset(formulas or {}),
    )  # fmt: skip
    # without a constant in g, moving Y would change the model
    centre = mean_y if "Intercept" in draft.design("outcome").columns else 0.0
    return replace(draft, y=(y - centre) / sd_y, centre_y=centre)


def _check_options(clip: float, floor: float, weak: WeakPolicy) -> None:
    if not 0 <= in_range("clip", clip, 0.0, 0.5, open_ends=False) < 0.5:
        raise InputError(f"`clip` must be less than 0.5, which would leave nothing of the model. Got {clip!r} instead.")
    in_range("floor", floor, 0.0, 1.0)
    one_of("weak", weak, ("raise", "warn"))


def _zero_one(column: Array, what: str) -> None:
    found = np.unique(column)
    if not np.array_equal(found, [0.0, 1.0]):
        listed = ", ".join(f"{value:g}" for value in found[:5])
        raise InputError(f"The {what} must take both values 0 and 1. Found {listed}.")


def silent_arm(problem: Problem) -> int | None:
    """Return the arm of the instrument in which treatment never varies, if there is one."""
    use = problem.w > 0
    silent = [arm for arm in (0, 1) if np.ptp(problem.a[use & (problem.z == bool(arm))]) == 0]
    if len(silent) == 2:
        raise NotIdentifiedError(
            "Treatment does not vary within either arm of the instrument, so its effect cannot be told from the "
            "instrument's own. The estimator needs people who do not follow their instrument.",
            tuple(silent),
        )
    return silent[0] if silent else None
