"""How far each identifying condition must fail before the conclusion changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from causalif._validate import Array, one_of
from causalif.estimators.invalid_iv.robust import ratio_set
from causalif.results.estimate import Estimate
from causalif.results.report import Table, number_format

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = {
    "direct effect by treatment": "the instrument's direct effect differs by this much per unit of treatment",
    "instrument by confounder": "covariance, given X, of the instrument's effect on uptake with the "
    "confounder's on the outcome",
    "uptake by effect": "covariance, given X, of the confounder's effect on uptake with the treatment effect",
}
_COLOUR, _ACCENT, _GREY = "#1f4e79", "#c0392b", "#8a8a8a"


@dataclass(frozen=True, eq=False, repr=False)
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

    def to_frame(self) -> pd.DataFrame:
        """Return ``frame``, a copy.

        Returns
        -------
        DataFrame
            Columns size, estimate, std_error, conf_low, conf_high.
        """
        return self.frame.copy()

    def summary(self) -> Table:
        """Return the table and the tipping points; its ``str()`` is text and notebooks show it as HTML.

        Returns
        -------
        Table
        """
        size = number_format(float(self.frame["size"].abs().max()), 0.0)
        effect = number_format(float(self.frame["estimate"].abs().max()), float(self.frame["std_error"].median()))
        rows = tuple(
            (size(line[0]), *(effect(number) for number in line[1:])) for line in self.frame.to_numpy(dtype=float)
        )
        ends = (f"{100 * self.level:g}% low", f"{100 * self.level:g}% high")
        columns = ("size", "corrected effect", "std error", *ends)
        title = f"Sensitivity of the effect: {self.kind}"
        return Table(title, (("Size", KINDS[self.kind]),), columns, rows, (self._tipping(size),))

    def _tipping(self, write: Callable[[float], str]) -> str:
        text = f"The corrected effect is zero at size {write(self.tipping_estimate)}"
        if np.isnan(self.tipping_interval):
            return f"{text}; no size takes zero into its {100 * self.level:g}% interval."
        if self.tipping_interval == 0:
            return f"{text}; the {100 * self.level:g}% interval contains zero without any violation."
        return f"{text}; its {100 * self.level:g}% interval first contains zero at size {write(self.tipping_interval)}."

    def __str__(self) -> str:
        return str(self.summary())

    def __repr__(self) -> str:
        tips = f"zero at size {self.tipping_estimate:.4g}, in the interval from size {self.tipping_interval:.4g}"
        return f"Sensitivity({self.kind}: {tips})"

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the corrected estimate with its band against the size of the violation.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Drawn into; a new figure by default.

        Returns
        -------
        Axes
        """
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")[1] if ax is None else ax
        size, level = self.frame["size"], f"{100 * self.level:g}% interval"
        ends = (self.frame["conf_low"], self.frame["conf_high"])
        ax.fill_between(size, *ends, color=_COLOUR, alpha=0.2, linewidth=0, label=level)
        ax.plot(size, self.frame["estimate"], color=_COLOUR, label="corrected effect")
        ax.axhline(0.0, color=_GREY, linewidth=0.8)
        ax.axvline(0.0, color=_GREY, linewidth=0.8, linestyle=":")
        marks = (self.tipping_interval, "s", "interval reaches zero"), (self.tipping_estimate, "o", "effect is zero")
        for place, marker, words in marks:
            if size.min() <= place <= size.max():
                ax.plot([place], [0.0], marker, color=_ACCENT, label=f"{words}: {place:.3g}", clip_on=False)
        ax.set_xlabel(f"size of the violation: {self.kind}")
        ax.set_ylabel("corrected effect")
        ax.legend(frameon=False, fontsize="small", loc="best")
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
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
