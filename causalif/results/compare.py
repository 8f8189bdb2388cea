"""Several estimates of the same thing side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd

from causalif._errors import InputError
from causalif.results import plots, report
from causalif.results.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Estimates side by side, one term of each.

    Parameters
    ----------
    estimates : mapping of str to Estimate
        Estimates with one term each.

    Examples
    --------
    >>> a = Estimate([2.0], [[1.0], [-1.0]], ["ATE"], pd.RangeIndex(2))
    >>> Comparison({"OLS": a}).to_frame()[["model", "term", "estimate", "n"]]
      model term  estimate  n
    0   OLS  ATE       2.0  2
    >>> Comparison({"OLS": a}).summary(level=0.9).columns[-3:]
    ('90% low', '90% high', 'rows')
    """

    estimates: Mapping[str, Estimate]

    def __post_init__(self) -> None:
        """Keep a read-only copy of the mapping."""
        object.__setattr__(self, "estimates", MappingProxyType(dict(self.estimates)))

    def __getstate__(self) -> dict[str, Estimate]:
        """Estimates as a plain mapping, for pickle."""
        return dict(self.estimates)

    def __setstate__(self, state: dict[str, Estimate]) -> None:
        """Restore the read-only mapping."""
        object.__setattr__(self, "estimates", MappingProxyType(state))

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """One row per estimate: model, the columns of `Estimate.to_frame`, and n.

        Parameters
        ----------
        level : float, default 0.95
            Confidence level, strictly between 0 and 1.

        Returns
        -------
        DataFrame
        """
        frames = [e.to_frame(level).assign(n=e.n) for e in self.estimates.values()]
        together = pd.concat(frames, ignore_index=True)
        together.insert(0, "model", list(self.estimates))
        return together

    def summary(self, level: float = 0.95) -> report.Table:
        """Table whose ``str()`` is text and which notebooks show as HTML.

        Parameters
        ----------
        level : float, default 0.95
            Confidence level, strictly between 0 and 1.

        Returns
        -------
        Table
            With ``to_latex`` and ``to_markdown``.
        """
        tidy = self.to_frame(level)
        one_term = tidy["term"].nunique() == 1
        rows = [
            (str(row.model) if one_term else f"{row.model}: {row.term}", *report.term_cells(row), f"{row.n:,}")
            for row in tidy.itertuples(index=False)
        ]
        columns = ("", "estimate", "std error", *report.statistic_columns(level, joint=False), "rows")
        title = f"Estimates of {tidy['term'].iloc[0]}" if one_term else "Estimates"
        return report.Table(title, (), columns, tuple(rows), tuple(self._notes()))

    def _notes(self) -> list[str]:
        clustered = [name for name, e in self.estimates.items() if e.moments.clusters is not None]
        law = "Student's t where clustered and the normal law elsewhere"
        notes = [f"P-values test that each is 0, two-sided, by {law}."]
        return notes + [f"Clustered: {', '.join(clustered)}."] * bool(clustered)

    def to_latex(self, level: float = 0.95) -> str:
        """LaTeX source of the summary; needs the booktabs package.

        Parameters
        ----------
        level : float, default 0.95
            Confidence level, strictly between 0 and 1.

        Returns
        -------
        str
        """
        return self.summary(level).to_latex()

    def to_markdown(self, level: float = 0.95) -> str:
        """Markdown source of the summary.

        Parameters
        ----------
        level : float, default 0.95
            Confidence level, strictly between 0 and 1.

        Returns
        -------
        str
        """
        return self.summary(level).to_markdown()

    def plot(self, ax: Axes | None = None, level: float = 0.95) -> Axes:
        """Forest plot, one line per estimate.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Drawn into; a new figure by default.
        level : float, default 0.95
            Confidence level, strictly between 0 and 1.

        Returns
        -------
        Axes
        """
        terms = {e.labels[0] for e in self.estimates.values()}
        shown = {name if len(terms) == 1 else f"{name}: {e.labels[0]}": e for name, e in self.estimates.items()}
        ax = plots.forest(shown, ax=ax, level=level)
        if len(terms) == 1:
            ax.set_title(terms.pop(), fontsize="medium")
        return ax

    def __str__(self) -> str:
        """Plain text table."""
        return str(self.summary())

    def __repr__(self) -> str:
        """Plain text table."""
        return str(self)

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def compare(estimates: Mapping[str, Estimate], term: str | None = None) -> Comparison:
    """Put one term of each of several estimates side by side.

    Parameters
    ----------
    estimates : mapping of str to Estimate
        Names of the models and their estimates.
    term : str, optional
        Which term of each; by default the first of each.

    Returns
    -------
    Comparison
        With `to_frame`, `summary`, `to_latex`, `to_markdown` and `plot`.

    Raises
    ------
    InputError
        If the mapping is empty, holds something else, or a term is missing.

    Notes
    -----
    Intervals that overlap do not show that two estimates agree: test the difference, as in ``(a - b).pvalues``, which
    knows how the estimates vary together.

    Examples
    --------
    >>> a = Estimate([2.0], [[1.0], [-1.0]], ["ATE"], pd.RangeIndex(2))
    >>> b = Estimate([0.5], [[1.0], [-1.0]], ["ATE"], pd.RangeIndex(2))
    >>> print(compare({"OLS": a, "IV": b}))
                                   Estimates of ATE
    ==============================================================================
         estimate  std error  statistic  p value  95% low  95% high  rows
    ------------------------------------------------------------------------------
    OLS    2.0000     0.7071      2.828   0.0047   0.6141    3.3859     2
    IV     0.5000     0.7071      0.707   0.4795  -0.8859    1.8859     2
    ==============================================================================
    P-values test that each is 0, two-sided, by Student's t where clustered and
      the normal law elsewhere.
    """
    if not isinstance(estimates, Mapping) or not estimates:
        raise InputError("`estimates` must be a mapping from names to Estimates, such as {'OLS': a, 'IV': b}.")
    wrong = [name for name, e in estimates.items() if not isinstance(e, Estimate)]
    if wrong:
        raise InputError(f"`estimates` must hold Estimates; {wrong[0]!r} is a {type(estimates[wrong[0]]).__name__}.")
    return Comparison({str(name): e[term if term is not None else e.labels[0]] for name, e in estimates.items()})
