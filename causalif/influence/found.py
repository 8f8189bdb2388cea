"""The answer to "how few rows carry this conclusion?"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
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
        The target by number of rows left out: ``predicted`` and, where it was fitted, ``refitted``; for goals about
        significance also the ``predicted_end`` and ``refitted_end`` of the interval.
    units : {"rows", "clusters"}
        What is counted.
    level : float
        The value that the target, or the ``end`` of its interval, must pass, drawn as a line.
    positions : array of int
        Row numbers of the rows to leave out, from 0, in the order of ``rows``: what to go by where the index repeats
        labels, as in ``data.iloc[positions]``.
    unique : bool
        Whether ``rows`` names single rows: the index of the data repeats no label.
    end : str
        For goals about significance, the end of the interval that has to pass the level, in words; else empty.
    refitted_end : float
        That end when refitted without the rows, NaN for other goals.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from causalif.influence import most_influential
    >>> fit = sm.OLS([0.0, 1.0, 2.0, 9.0, 2.0, 1.0, 0.0, 1.0], sm.add_constant(np.arange(8.0))).fit()
    >>> found = most_influential(fit, goal="sign", target="x1")
    >>> found.size, found.rows.tolist(), list(found.to_frame().columns[:2])
    (1, [6], ['count', 'share'])
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
    positions: npt.NDArray[np.intp]
    unique: bool
    end: str
    refitted_end: float

    def to_frame(self) -> pd.DataFrame:
        """One line per method: count, share, predicted, refitted, std_error, statistic, reached.

        Returns
        -------
        DataFrame
            A copy of `table`.
        """
        return self.table.copy()

    def summary(self) -> Table:
        """Return a table whose ``str()`` is text and which notebooks show as HTML.

        Returns
        -------
        Table
            With ``to_latex`` and ``to_markdown``.
        """
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
        if self.end and np.isfinite(self.refitted_end):
            notes.append(f"Refitted without them, the {self.end} is {self.refitted_end:.4g}.")
        if len(self.rows):
            unique = self.unique
            first = self.rows[:LISTED].tolist() if unique else self.positions[:LISTED].tolist()
            shown = ", ".join(map(str, first)) + (", ..." if len(self.rows) > LISTED else "")
            notes.append(f"Rows to leave out{'' if unique else ', by number from 0'}: {shown}.")
        return [*notes, self.note] if self.note else notes

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the target against the number of rows left out, predicted and refitted along the better fixed order.

        For goals about significance the end of the interval that has to pass the level is drawn as well, dotted.
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
        if self.end:
            ax.plot(self.curve.index, self.curve["predicted_end"], color=_COLOUR, linewidth=1.2, linestyle=":",
                    label=self.end)  # fmt: skip
            moved = self.curve["refitted_end"].dropna()
            ax.plot(moved.index, moved, ".", color=_ACCENT, markersize=5)
        if self.size is not None:
            reached = self.refitted_end if self.end else self.refitted
            ax.axvline(self.size, color=_ACCENT, linewidth=0.8)
            ax.plot([self.size], [reached], "o", color=_ACCENT, fillstyle="none", label="smallest set, refitted")
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
