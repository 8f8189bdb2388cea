"""The answer to "how few rows carry this conclusion?"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from causalif.results.report import Table, number_format

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOUR, _ACCENT, _GREY = "#1f4e79", "#c0392b", "#8a8a8a"
LISTED = 10


@dataclass(frozen=True, eq=False, repr=False)
class MostInfluential:
    """The smallest set of rows found whose removal changes a conclusion, and how sure that is.

    Parameters
    ----------
    goal : str
        The change, in words.
    target : str
        What changes.
    size : int or None
        Rows (clusters, in a clustered fit) that reached the goal when the rest was refitted; None if no set was found,
        or none was refitted.
    rows : Index
        Labels of the rows to leave out, in order; every row of a cluster where clusters are left out.
    counts : Series
        Rows (or clusters) needed, by method: predicted by the ``influence`` order, by the ``rescaled`` or ``exact``
        order, and found when refitting along each of them and along the ``greedy`` one. Missing: never reached.
    table : DataFrame
        One line per method: ``count``, ``share``, ``predicted`` and ``refitted`` value, ``std_error`` and ``statistic``
        of the refit, and whether the refit ``reached`` the goal.
    before, predicted, refitted : float
        The target with all rows, as predicted without `rows`, and refitted without them.
    share : float
        `size` over the number of rows (clusters).
    noise_share : float
        The share that would do if influence values were normal with their spread: what noise alone makes fragile.
    note : str
        What to know before quoting the numbers, in sentences.
    reasons : DataFrame
        On `rows`: predicted ``effect`` of leaving out each row alone (after minus before), and why it matters.
    curve : DataFrame
        The target by number of rows left out: ``predicted`` and, where it was fitted, ``refitted``.
    units : {"rows", "clusters"}
        What is counted.
    level : float
        The value that the target must pass, drawn as a line.
    """

    goal: str
    target: str
    size: int | None
    rows: pd.Index
    counts: pd.Series
    table: pd.DataFrame
    before: float
    predicted: float
    refitted: float
    share: float
    noise_share: float
    note: str
    reasons: pd.DataFrame
    curve: pd.DataFrame
    units: str
    level: float

    def to_frame(self) -> pd.DataFrame:
        """One line per method: count, share, predicted, refitted, std_error, statistic, reached."""
        return self.table.copy()

    def summary(self) -> Table:
        """Return a table whose ``str()`` is text and which notebooks show as HTML."""
        write = number_format(self.before, _smallest_error(self.table))
        lines = tuple(
            (str(name), *_cells(line, write)) for name, line in zip(self.table.index, self._lines(), strict=True)
        )
        header = (("Target", f"{self.target} = {write(self.before)}"), ("Goal", self.goal), *self._headline())
        columns = ("", self.units, "share", "predicted", "refitted", "reached")
        return Table("Most influential " + self.units, header, columns, lines, tuple(self._notes()))

    def _lines(self) -> list[dict[str, Any]]:
        return [{str(key): value for key, value in line.items()} for line in self.table.to_dict("records")]

    def _headline(self) -> tuple[tuple[str, str], ...]:
        found = "none found" if self.size is None else f"{self.size:,} {self.units} ({100 * self.share:.2g}%)"
        noise = "unknown" if np.isnan(self.noise_share) else f"{100 * self.noise_share:.2g}%"
        return (("Refitted", found), ("Noise alone", noise))

    def _notes(self) -> list[str]:
        notes = ["Predicted and refitted are the target's value without the rows."]
        if len(self.rows):
            shown = ", ".join(map(str, self.rows[:LISTED].tolist())) + (", ..." if len(self.rows) > LISTED else "")
            notes.append(f"Rows to leave out: {shown}.")
        return [*notes, self.note] if self.note else notes

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the target against the number of rows left out, predicted and refitted along the better fixed order.

        The smallest set may come from the greedy search, which follows an order of its own: it is drawn as a ring.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Drawn into; a new figure by default.

        Returns
        -------
        Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed (``pip install causalif[plot]``).
        """
        ax = _axes(ax)
        ax.axhline(self.level, color=_GREY, linewidth=0.8, linestyle="--")
        ax.plot(self.curve.index, self.curve["predicted"], color=_COLOUR, linewidth=1.6, label="predicted")
        fitted = self.curve["refitted"].dropna()
        ax.plot(fitted.index, fitted, ".", color=_ACCENT, markersize=5, label="refitted")
        if self.size is not None:
            ax.axvline(self.size, color=_ACCENT, linewidth=0.8)
            ax.plot([self.size], [self.refitted], "o", color=_ACCENT, fillstyle="none", label="smallest set, refitted")
            ax.annotate(f"{self.size:,} {self.units}", (self.size, self.before), xytext=(-4, 0), color=_ACCENT,
                        textcoords="offset points", ha="right", va="top", fontsize="small")  # fmt: skip
        ax.set_xlabel(f"{self.units} left out")
        ax.set_ylabel(self.target)
        ax.legend(frameon=False, fontsize="small", loc="best")
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        return ax

    def __repr__(self) -> str:
        found = "no set found" if self.size is None else f"{self.size:,} {self.units}"
        return f"MostInfluential({self.goal}: {found}; {self.target} {self.before:.4g} -> {self.refitted:.4g})"

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def _cells(line: dict[str, Any], write: Callable[[float], str]) -> tuple[str, ...]:
    """Return count, share, predicted, refitted and reached as text."""
    count, reached = line["count"], line["reached"]
    return (
        "never" if pd.isna(count) else f"{count:,}",
        "" if np.isnan(line["share"]) else f"{100 * line['share']:.2g}%",
        *(write(line[name]) if np.isfinite(line[name]) else "" for name in ("predicted", "refitted")),
        "" if pd.isna(reached) else "yes" if reached else "no",
    )


def _smallest_error(table: pd.DataFrame) -> float:
    errors = table["std_error"].to_numpy(dtype=float)
    errors = errors[np.isfinite(errors) & (errors > 0)]
    return float(errors.min()) if errors.size else 0.0


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError("Plots need matplotlib: `pip install causalif[plot]`.") from error
    return plt.figure(figsize=(6.4, 3.8), layout="constrained").add_subplot()
