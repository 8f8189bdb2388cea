"""The result of `compare_sets`: one estimate per adjustment set, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from causalif._errors import InputError
from causalif.graphs import AdjustmentSets
from causalif.graphs.dag import Node
from causalif.results import plots, report
from causalif.results.estimate import Estimate
from causalif.results.wald import WaldTest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SAME = "all valid sets give the same effect"
ADVICE = (
    "Do not pick a set by its estimate or its standard error: both vary by chance, and a set picked for them has a "
    "standard error that is too small. Use the set that the graph calls optimal, chosen before looking."
)


@dataclass(frozen=True, eq=False, repr=False)
class SetComparison:
    """The answer of `compare_sets`: one estimate per adjustment set, all from the same folds.

    Parameters
    ----------
    search : AdjustmentSets
        What the graph says.
    labels : tuple of tuple of str
        The names of each set, at least one; the optimal set comes first.
    members : tuple of frozenset
        The sets; no two are equal.
    fits : tuple of Estimate
        Their estimates.
    differences : Estimate, optional
        Estimate of each further set minus that of the optimal one, with joint standard errors; None if there is none.
    tested : tuple of str
        Names of the sets whose differences from the optimal one the test of agreement uses.
    agreement : WaldTest, optional
        Test that all sets give the same effect, which is a test of the graph; None if there is nothing to test.
    skipped : mapping of str to str
        Names of sets without an estimate, and why.

    Notes
    -----
    Made by `compare_sets`.

    Examples
    --------
    >>> import causalif as ci
    >>> table = ci.datasets.simulate_wcde(2000, random_state=3).data
    >>> dag = ci.parse_dag("{V C} -> A; {C A M1} -> M2; A -> M1; {C W M1 M2 A} -> Y")
    >>> found = ci.compare_sets(dag, table, "A", "Y", sets={"no W": ["C"]}, learners="linear")
    >>> found.to_frame()["set"].tolist(), found["no W"].n
    (['optimal', 'no W'], 2000)
    >>> print(found.summary(level=0.9).title)
    Adjustment sets for the total effect of A on Y
    """

    search: AdjustmentSets
    labels: tuple[tuple[str, ...], ...]
    members: tuple[frozenset[Node], ...]
    fits: tuple[Estimate, ...]
    differences: Estimate | None
    tested: tuple[str, ...]
    agreement: WaldTest | None
    skipped: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The first name of each set."""
        return tuple(first for first, *_ in self.labels)

    @property
    def estimates(self) -> dict[frozenset[Node], Estimate]:
        """The estimate of each set, with all its terms."""
        return dict(zip(self.members, self.fits, strict=True))

    @property
    def sets(self) -> dict[str, frozenset[Node]]:
        """The sets by name; one that has several names is listed under each."""
        return {name: nodes for names, nodes in zip(self.labels, self.members, strict=True) for name in names}

    def __getitem__(self, name: str) -> Estimate:
        """Return the estimate of the named set."""
        if name not in self.sets:
            raise InputError(f"No set named {name!r}. The sets are: {', '.join(map(repr, self.sets))}.")
        return self.estimates[self.sets[name]]

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return one row per set.

        Parameters
        ----------
        level : float, default 0.95
            Confidence level.

        Returns
        -------
        DataFrame
            Columns ``set``, ``members``, ``estimate``, ``std_error``, ``conf_low``, ``conf_high``, ``difference``
            (from the optimal set), ``difference_std_error``, ``difference_p_value``; the last three are NaN for the
            optimal set, the p-value also for a set whose difference from it is chance error only
            (`AdjustmentSets.alike`).
        """
        one = [fit[fit.labels[0]].to_frame(level) for fit in self.fits]
        table = pd.concat(one, ignore_index=True)[["estimate", "std_error", "conf_low", "conf_high"]]
        table.insert(0, "set", list(self.names))
        table.insert(1, "members", [self._sorted(nodes) for nodes in self.members])
        if self.differences is None:
            return table.assign(difference=np.nan, difference_std_error=np.nan, difference_p_value=np.nan)
        apart = self.differences.to_frame(level)
        alike = np.array([self.search.alike(self.members[0], nodes) for nodes in self.members[1:]])
        return table.assign(
            difference=[np.nan, *apart["estimate"]],
            difference_std_error=[np.nan, *apart["std_error"]],
            difference_p_value=[np.nan, *np.where(alike, np.nan, apart["p_value"])],
        )

    def _sorted(self, nodes: frozenset[Node]) -> tuple[Node, ...]:
        """Members in the order of the graph."""
        return tuple(node for node in self.search.dag.nodes if node in nodes)

    def summary(self, level: float = 0.95) -> report.Table:
        """Table whose ``str()`` is text and which notebooks show as HTML.

        Parameters
        ----------
        level : float, default 0.95
            Confidence level.

        Returns
        -------
        Table
            With ``to_latex`` and ``to_markdown``.
        """
        percent = f"{100 * level:g}%"
        columns = ("", "estimate", "std error", f"{percent} low", f"{percent} high", "difference", "its error")
        rows = tuple(_cells(row) for row in self.to_frame(level).itertuples(index=False))
        name = "total effect" if self.search.effect == "total" else "weighted controlled direct effect"
        (treatment,) = self.search.treatment
        title = f"Adjustment sets for the {name} of {treatment} on {self.search.outcome}"
        first = self.fits[0]
        folds = str(first.settings["folds"]).split(" of ", maxsplit=1)[0]
        header = (("Levels", str(first.settings["levels"])), ("Rows", f"{first.n:,}"), ("Folds", f"the same {folds}"))
        return report.Table(title, header, columns, rows, tuple(self._notes()))

    def _notes(self) -> Iterator[str]:
        for names, nodes in zip(self.labels, self.members, strict=True):
            listed = ", ".join(map(str, self._sorted(nodes))) or "no variable"
            also = f" (also {', '.join(names[1:])})" if len(names) > 1 else ""
            if names != (listed,):
                yield f"{names[0]}{also}: {listed}."
        proved = "proved" if self.search.optimality == "proved" else "the best set known, without proof"
        if self.differences is not None:
            yield f"Differences are from the optimal set ({proved}); their errors know how the estimates vary together."
        for name, why in self.skipped.items():
            yield f"{name}: no estimate. {why}"
        yield self._verdict()
        yield ADVICE

    def _verdict(self) -> str:
        if self.agreement is None:
            return (
                "No two of these sets differ in what their estimates depend on, so that their agreement tests nothing."
            )
        test = self.agreement
        sentence = f"Test that {SAME}: {test.distribution} = {test.statistic:.4g}, p = {report.p_format(test.p_value)}."
        if test.p_value < 0.05:
            return f"{sentence} A small p-value speaks against the graph, or against the regressions."
        return f"{sentence} Agreement does not prove the graph: sets can share a bias."

    def to_latex(self, level: float = 0.95) -> str:
        """LaTeX source of the summary; needs the booktabs package.

        Parameters
        ----------
        level : float, default 0.95
            Confidence level.

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
            Confidence level.

        Returns
        -------
        str
        """
        return self.summary(level).to_markdown()

    def plot(self, ax: Axes | None = None, level: float = 0.95) -> Axes:
        """Draw the estimate of each set with its interval, and a line at that of the optimal set.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Drawn into; a new figure by default.
        level : float, default 0.95
            Confidence level.

        Returns
        -------
        Axes
        """
        shown = {name: fit[fit.labels[0]] for name, fit in zip(self.names, self.fits, strict=True)}
        ax = plots.forest(shown, ax=ax, level=level)
        ax.set_yticks(ax.get_yticks(), self.names)
        best = float(self.fits[0].values[0])
        ax.axvline(best, color="#8a8a8a", linewidth=0.8, zorder=0)
        ax.annotate("estimate of the optimal set", (best, 0), xycoords=ax.get_xaxis_transform(), xytext=(3, 2),
                    textcoords="offset points", fontsize="small", color="#666666")  # fmt: skip
        ax.locator_params(axis="x", nbins=6)
        ax.set_title(f"{self.fits[0].labels[0]} by adjustment set", fontsize="medium")
        return ax

    def __str__(self) -> str:
        """Plain text table."""
        return str(self.summary())

    def __repr__(self) -> str:
        """Plain text table."""
        return str(self)

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def _cells(row: Any) -> tuple[str, ...]:
    write = report.number_format(row.estimate, row.std_error)
    numbers = [write(x) for x in (row.estimate, row.std_error, row.conf_low, row.conf_high)]
    apart = ["", ""] if np.isnan(row.difference) else [write(row.difference), write(row.difference_std_error)]
    return (row.set, *numbers, *apart)
