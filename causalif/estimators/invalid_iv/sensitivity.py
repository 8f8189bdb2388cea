"""How far each identifying condition must fail before the conclusion changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from causalif._validate import Array, one_of
from causalif.estimators.invalid_iv.robust import ratio_set
from causalif.results.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = {
    "direct effect by treatment": "the instrument's direct effect differs by this much per unit of treatment",
    "instrument by confounder": "covariance, given X, of the instrument's effect on uptake with the "
    "confounder's on the outcome",
    "uptake by effect": "covariance, given X, of the confounder's effect on uptake with the treatment effect",
}


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """The estimate when one condition fails by a given size, and the size that would overturn it.

    Parameters
    ----------
    kind : str
        Which condition fails.
    frame : DataFrame
        Columns size, estimate, std_error, conf_low, conf_high.
    tipping_estimate : float
        Size at which the estimate is zero.
    tipping_interval : float
        Smallest size at which the interval contains zero; 0 if it does already.
    level : float
        Confidence level of the intervals.
    """

    kind: str
    frame: pd.DataFrame
    tipping_estimate: float
    tipping_interval: float
    level: float

    def __str__(self) -> str:
        """Return the table and the tipping points as text."""
        return (
            f"Sensitivity: {self.kind}\n(size: {KINDS[self.kind]})\n\n{self.frame.to_string(index=False)}\n\n"
            f"The estimate is zero at size {self.tipping_estimate:.4g}; the {self.level:.0%} interval first "
            f"contains zero "
            f"at size {self.tipping_interval:.4g}."
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the corrected estimate with its band against the size; Axes in, Axes out."""
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1] if ax is None else ax
        ax.fill_between(self.frame["size"], self.frame["conf_low"], self.frame["conf_high"], alpha=0.25)
        ax.plot(self.frame["size"], self.frame["estimate"])
        ax.axhline(0.0, color="grey", linewidth=0.8)
        ax.axvline(0.0, color="grey", linewidth=0.8, linestyle=":")
        ax.set_xlabel(f"size of the violation: {self.kind}")
        ax.set_ylabel("corrected effect")
        return ax


def sensitivity(parts: Estimate, kind: str, sizes: Sequence[float] | None, level: float) -> Sensitivity:
    """Return θ − size · slope over a grid, with the joint sampling error of both."""
    one_of("kind", kind, [known for known in KINDS if known in parts])
    theta, slope = parts["ATE"], parts[kind]
    fieller = ratio_set(parts[["ATE", kind]], level)
    tipping = float(theta.values[0] / slope.values[0])
    grid = _grid(tipping) if sizes is None else np.asarray(sizes, dtype=float)
    lines = [_line(theta - slope * float(size), float(size), level) for size in grid]
    nearest = min((_nearest_to_zero(low, high) for low, high in fieller), key=abs, default=float("nan"))
    return Sensitivity(kind, pd.DataFrame(lines), tipping, nearest, level)


def _grid(tipping: float) -> Array:
    reach = 1.5 * abs(tipping) if np.isfinite(tipping) and tipping != 0 else 1.0
    return np.linspace(-reach, reach, 13)


def _line(corrected: Estimate, size: float, level: float) -> dict[str, Any]:
    ends = corrected.conf_int(level)
    return {
        "size": size,
        "estimate": float(corrected.values[0]),
        "std_error": float(corrected.std_errors.iloc[0]),
        "conf_low": float(ends["lower"].iloc[0]),
        "conf_high": float(ends["upper"].iloc[0]),
    }


def _nearest_to_zero(low: float, high: float) -> float:
    return 0.0 if low <= 0 <= high else min(low, high, key=abs)
