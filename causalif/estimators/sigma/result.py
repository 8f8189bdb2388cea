"""What `SIGMA` returns: paths, effects and edges, with the variance split by where it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from causalif._errors import InputError
from causalif._validate import in_range, one_of
from causalif.estimators.sigma import saved
from causalif.estimators.sigma.averaging import ABSENT, SKIPPED, Answers, Average
from causalif.graphs.posterior import DAGPosterior
from causalif.results import plots
from causalif.results.estimate import Estimate, concat
from causalif.results.pooling import with_std_errors
from causalif.results.report import Table, number_format, plain
from causalif.storage import stored

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from causalif.storage.codec import Reader, Writer

TOTAL = "total"
THRESHOLDS = (0.05, 0.15, 0.5, 0.95)
NATURAL = ("natural", "total")
HEADER = ("outcome", "treatment", "levels", "shift", "reference", "rows", "cluster", "weights", "graphs", "functionals",
          "folds", "repeats", "learners", "se_source")  # fmt: skip
# Why the effect along a path is not estimated in some graphs, and what changes that.
LEFT_OUT = {
    "on_recanting": (
        "These graphs do not identify the natural effect along the path; instead of on_recanting='skip', "
        "'interventional' or 'bundle' has another type of effect estimated."
    ),
    "min_mass": (
        "Each asks for a version of the effect that few graphs ask for, together of less posterior mass than "
        "`min_mass`, {min_mass:g}; a smaller `min_mass` has it estimated."
    ),
    "shift": (
        "What they ask for has no answer with `shift`; two `levels` of a discrete treatment in its place have it "
        "estimated."
    ),
    "unknown": "Look at `min_mass`, on_recanting='skip' and `shift`.",
}
NUMBERS = ("estimate", "std_error", "conf_low", "conf_high", "within", "between", "monte_carlo", "structural_share",
           "prob_positive", "prob_negative")  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class SigmaResult:
    """Effects along causal paths, averaged over posterior graphs.

    Parameters
    ----------
    paths : DataFrame
        One row per estimated path: ``path``, ``length``, ``stability`` with its Monte Carlo interval, and the posterior
        mass of the graphs in which its natural effect is identified (``identified_mass``), in which it recants and
        another type of effect stands in (``recanting_mass``), and that were left out (``skipped_mass``).
    effects : DataFrame
        Two rows per path and two for the total effect, by ``scope``: "marginal" averages over all graphs, those
        without the path contributing 0; "present" over the graphs that contain it. ``estimand`` names the types of
        effect that were averaged. ``within``, ``between`` and ``monte_carlo`` are variances, ``structural_share`` is
        ``between`` over their sum, ``prob_positive`` and ``prob_negative`` are over graphs and samples.
    edges : DataFrame
        ``tail``, ``head``, ``probability`` of every edge that some graph has.
    estimate : Estimate, optional
        The marginal effects with influence values, scaled so that standard errors are those of ``effects``.
    posterior : DAGPosterior
        The graphs.
    answers : Answers
        Estimates of the distinct functionals, and which graph asks for which.
    settings : mapping
        What the summary's header prints.
    diagnostics : mapping of str to DataFrame
        ``nuisances``, one line per fitted nuisance.

    Examples
    --------
    >>> import causalif as ci
    >>> rng = np.random.default_rng(0)
    >>> a = rng.integers(0, 2, 1000)
    >>> m = 0.8 * a + rng.normal(size=1000)
    >>> frame = pd.DataFrame({"A": a, "M": m, "Y": 0.5 * m + 0.3 * a + rng.normal(size=1000)})
    >>> graphs = [ci.parse_dag("A -> M -> Y; A -> Y"), ci.parse_dag("A -> M -> Y")]
    >>> posterior = ci.DAGPosterior.from_dags(graphs, [0.75, 0.25])
    >>> fit = ci.SIGMA(treatment="A", outcome="Y", posterior=posterior, learners="linear").fit(frame)
    >>> fit.components("A -> Y")[["estimand", "mass"]].to_numpy().tolist()
    [['natural', 0.75], ['absent', 0.25]]
    >>> fit.sensitivity([0.5, 0.9])["paths"].tolist()
    [2, 1]
    >>> fit.to_frame(level=0.9).shape == fit.effects.shape
    True
    >>> fit.summary(scope="present").columns[:3]
    ('', 'stability', 'estimate')
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fit.save(f"{folder}/fit.causalif")
    ...     SigmaResult.load(f"{folder}/fit.causalif").effects.equals(fit.effects)
    True
    """

    paths: pd.DataFrame
    effects: pd.DataFrame
    edges: pd.DataFrame
    estimate: Estimate | None
    posterior: DAGPosterior
    answers: Answers
    settings: Mapping[str, Any]
    diagnostics: Mapping[str, pd.DataFrame]

    @classmethod
    def of(
        cls,
        posterior: DAGPosterior,
        paths: pd.DataFrame,
        answers: Answers,
        settings: Mapping[str, Any],
        diagnostics: Mapping[str, pd.DataFrame],
    ) -> SigmaResult:
        """Average all answers.

        Parameters
        ----------
        posterior : DAGPosterior
            The graphs.
        paths : DataFrame
            The paths to report, with their ``stability``.
        answers : Answers
            Estimates of the distinct functionals.
        settings : mapping
            What the summary's header prints.
        diagnostics : mapping of str to DataFrame
            Tables beside.

        Returns
        -------
        SigmaResult
        """
        labels = (*paths["path"], TOTAL)
        averages = list(_averages(labels, answers))
        marginal = [average for _, scope, average in averages if scope == "marginal" and average is not None]
        return cls(
            paths=_with_masses(paths, answers),
            effects=_effects(averages, answers, labels, 0.95, settings["interval"]),
            edges=posterior.to_frame(),
            estimate=_estimate(marginal, settings) if marginal else None,
            posterior=posterior,
            answers=answers,
            settings=settings,
            diagnostics=diagnostics,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The estimated paths and the total effect."""
        return (*self.paths["path"], TOTAL)

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Return ``effects`` with intervals of another level.

        Parameters
        ----------
        level : float, default 0.95
            Level of the intervals, strictly between 0 and 1.

        Returns
        -------
        DataFrame
            As ``effects``.
        """
        in_range("level", level, 0.0, 1.0)
        averages = list(_averages(self.labels, self.answers))
        return _effects(averages, self.answers, self.labels, level, self.settings["interval"])

    def components(self, path: str | Sequence[Any]) -> pd.DataFrame:
        """Return the distinct answers about one path, with the posterior mass that asks for each.

        Parameters
        ----------
        path : str or sequence of nodes
            Such as "A -> M -> Y" or ("A", "M", "Y"), or "total".

        Returns
        -------
        DataFrame
            ``estimand``, ``mass``, ``estimate``, ``std_error``; the row "absent" is the exact zero.

        Raises
        ------
        InputError
            If the path is not among those estimated.
        """
        label = path if isinstance(path, str) else " -> ".join(map(str, path))
        if label not in self.labels:
            raise InputError(f"`path` {label!r} was not estimated. These were: {list(self.labels)}.")
        number = self.labels.index(label)
        rows = []
        for term, mass in sorted(self.answers.masses(number).items(), key=lambda item: -item[1]):
            one = None if term == SKIPPED else self.answers.component(term, label)
            name = "skipped" if term == SKIPPED else "absent" if term < 0 else self.answers.kinds[term]
            value, error = (np.nan, np.nan) if one is None else (one.values[0], one.moments.std_errors[0])
            rows.append((name, mass, value, error))
        return pd.DataFrame(rows, columns=["estimand", "mass", "estimate", "std_error"])

    def sensitivity(self, thresholds: Sequence[float] = THRESHOLDS) -> pd.DataFrame:
        """Return how many of the paths that SIGMA listed other thresholds would select.

        Parameters
        ----------
        thresholds : sequence of float, default (0.05, 0.15, 0.5, 0.95)
            Smallest stability of a selected path, in [0, 1].

        Returns
        -------
        DataFrame
            Indexed by threshold: ``paths``, and ``expected_false``, the share of them that is expected to be absent.
        """
        ends = self.settings["treatment"], self.settings["outcome"]
        listed = {"cutoff": self.settings["cutoff"], "max_paths": self.settings["max_paths"]}
        return self.posterior.thresholds(*ends, thresholds, **listed)

    def summary(self, level: float = 0.95, scope: Literal["marginal", "present"] = "marginal") -> Table:
        """Return the table of effects; its ``str()`` is text and notebooks show it as HTML.

        Parameters
        ----------
        level : float, default 0.95
            Level of the intervals.
        scope : {"marginal", "present"}, default "marginal"
            Averages over all graphs, or over those that contain the path.

        Returns
        -------
        Table
            With ``to_latex`` and ``to_markdown``.
        """
        one_of("scope", scope, ("marginal", "present"))
        frame = self.to_frame(level)
        rows = [_cells(row) for row in frame[frame["scope"] == scope].itertuples(index=False)]
        columns = ("", "stability", "estimate", "std error", f"{100 * level:g}% low", f"{100 * level:g}% high",
                   "P(> 0)", "structural")  # fmt: skip
        shown = {key: self.settings[key] for key in HEADER if self.settings.get(key) is not None}
        header = tuple((key.replace("_", " ").replace("se source", "std errors").capitalize(), plain(value))
                       for key, value in shown.items())  # fmt: skip
        return Table(str(self.settings["estimator"]), header, columns, tuple(rows), tuple(self._notes(scope)))

    def _notes(self, scope: str) -> Iterator[str]:
        over = "all graphs, 0 where the path is absent" if scope == "marginal" else "graphs that contain the path"
        yield f"Averages over {over}. Structural: share of the variance that lies between graphs."
        recanting = self.paths[self.paths["recanting_mass"] > 0]
        if len(recanting):
            masses = "; ".join(f"{row.path}: {row.recanting_mass:.0%}" for row in recanting.itertuples())
            yield (
                "Where a graph does not identify the natural effect along a path, another type of effect stands in "
                f"(posterior mass {masses}); see `estimand`."
            )
        for argument, out in self._left_out().items():
            listed = ", ".join(f"{label} {'under 0.1%' if mass < 1e-3 else f'{mass:.1%}'}" for label, mass in out)
            if listed:
                why = LEFT_OUT[argument].format(min_mass=self.settings.get("min_mass"))
                yield (
                    f"Not estimated in graphs of this posterior mass: {listed}. {why} The average over the other "
                    "graphs with the path stands in, where there are any."
                )
        yield (
            "Rows that chose the graphs also estimate the effects."
            if not self.settings["split"]
            else ("Graphs come from one half of the rows, effects from the other.")
        )
        yield from self.settings["notes"]
        yield from (f"Warning: {text}" for text in self.settings["warnings"])

    def _left_out(self) -> Mapping[str, Iterable[tuple[str, float]]]:
        """Return by argument what it left out; files of older versions do not tell arguments apart."""
        masses = self.paths.set_index("path")["skipped_mass"]
        return self.settings.get("left_out", {"unknown": tuple(masses[masses > 0].items())})

    def plot(
        self, kind: Literal["effects", "stability", "graph"] = "effects", ax: Axes | None = None, level: float = 0.95
    ) -> Axes:
        """Draw the marginal effects, the stability of the paths, or the graph of edge probabilities.

        Parameters
        ----------
        kind : {"effects", "stability", "graph"}, default "effects"
            What to draw.
        ax : matplotlib Axes, optional
            Drawn into; a new figure by default.
        level : float, default 0.95
            Level of the intervals.

        Returns
        -------
        Axes
            For "stability" with a dotted line at ``min_stability``, below which paths are not shown.

        Raises
        ------
        InputError
            If ``kind`` is "stability" and no path is stable enough.
        """
        one_of("kind", kind, ("effects", "stability", "graph"))
        if kind == "graph":
            return self.posterior.plot(ax=ax)
        if kind == "stability":
            if not len(self.paths):
                raise InputError("No path is stable enough to draw: lower `min_stability`.")
            ends = self.paths[["lower", "upper"]].to_numpy(dtype=float)
            centre = self.paths["stability"].to_numpy(dtype=float)
            described = "share of posterior graphs with the path"
            ax = plots.intervals(_arrows(self.paths["path"]), centre, ends, described, ax, null=None)
            ax.set_xlim(-0.02, 1.02)
            _mark_least(ax, self.settings.get("min_stability"))
            return ax
        frame = self.to_frame(level)
        frame = frame[frame["scope"] == "marginal"]
        ends = frame[["conf_low", "conf_high"]].to_numpy(dtype=float)
        described = f"effect averaged over graphs, and {100 * level:g}% interval"
        return plots.intervals(_arrows(frame["path"]), frame["estimate"].to_numpy(dtype=float), ends, described, ax)

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything to one file, which `causalif.load` reads.

        Parameters
        ----------
        path : str or path
            Replaced at once when it exists: an interrupted save leaves the old file, or none.

        Raises
        ------
        InputError
            If ``path`` is a folder or lies in none, or a setting or a table holds something other than numbers, text,
            dates, and bools.

        Notes
        -----
        The file holds 8 bytes for each row and effect of each type, p² for each graph of p nodes, and nothing that
        could be executed.
        """
        stored.write(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> SigmaResult:
        """Read a result that `save` wrote.

        Parameters
        ----------
        path : str or path
            The file.

        Returns
        -------
        SigmaResult

        Raises
        ------
        InputError
            If the file is damaged, comes from a newer version, or holds something else.
        """
        return stored.read_as(path, cls)

    def _pack(self, writer: Writer) -> dict[str, Any]:
        return saved.pack(self, writer)

    @classmethod
    def _unpack(cls, fields: Mapping[str, Any], reader: Reader) -> SigmaResult:
        return cls(**saved.unpack(fields, reader))

    def __str__(self) -> str:
        """Plain text table."""
        return str(self.summary())

    def __repr__(self) -> str:
        total = self.answers.average(len(self.paths), TOTAL, present=False)
        said = (
            "" if total is None else f", total = {total.pooled.params.iloc[0]:.4g}, std_error = {total.std_error:.4g}"
        )
        graphs, paths = len(self.posterior.adjacency), len(self.paths)
        return f"SigmaResult({paths} path{'s' * (paths != 1)}, {graphs:,} graph{'s' * (graphs != 1)}{said})"

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def _arrows(paths: Iterable[str]) -> list[str]:
    return [path.replace(" -> ", " → ") for path in paths]


def _mark_least(ax: Axes, least: float | None) -> None:
    """Mark the stability below which paths are not shown."""
    if least is None:
        return
    ax.axvline(least, color="#666666", linewidth=1.0, linestyle=":", zorder=0)
    ax.annotate(f"least shown: {least:g}", (least, 0), xycoords=ax.get_xaxis_transform(), xytext=(3, 2),
                textcoords="offset points", fontsize="small", color="#666666")  # fmt: skip


def _averages(labels: Sequence[str], answers: Answers) -> Iterator[tuple[int, str, Average | None]]:
    for number, label in enumerate(labels):
        for scope in ("marginal", "present"):
            average = answers.average(number, label, scope == "present")
            if average is not None or scope == "marginal":
                yield number, scope, average


def _effects(
    averages: Iterable[tuple[int, str, Average | None]], answers: Answers, labels: Sequence[str], level: float, how: str
) -> pd.DataFrame:
    rows = []
    for number, scope, average in averages:
        masses = answers.masses(number)
        rows.append(
            {
                "path": labels[number],
                "scope": scope,
                "estimand": _estimand(answers, number),
                "stability": sum(w for term, w in masses.items() if term != ABSENT),
                **(dict.fromkeys(NUMBERS, np.nan) if average is None else _numbers(average, level, how)),
                "functionals": sum(term >= 0 for term in masses),
            }
        )
    return pd.DataFrame(rows)


def _numbers(average: Average, level: float, how: str) -> dict[str, float]:
    within, between, monte_carlo = average.variances()
    total = within + between + monte_carlo
    estimate, share = float(average.pooled.params.iloc[0]), between / total if total > 0 else 0.0
    ends, signs = average.interval(level, how), (average.probability(1), average.probability(-1))
    found = (estimate, average.std_error, *ends, within, between, monte_carlo, share, *signs)
    return dict(zip(NUMBERS, found, strict=True))


def _estimand(answers: Answers, number: int) -> str:
    """Name the types of effect that graphs ask for, the most probable first."""
    masses: dict[str, float] = {}
    for term, weight in answers.masses(number).items():
        if term >= 0:
            masses[answers.kinds[term]] = masses.get(answers.kinds[term], 0.0) + weight
    return " or ".join(sorted(masses, key=lambda kind: -masses[kind])) or "not identified"


def _with_masses(kept: pd.DataFrame, answers: Answers) -> pd.DataFrame:
    numbers = range(len(kept))
    skipped = [answers.masses(j).get(SKIPPED, 0.0) for j in numbers]
    return kept.assign(
        identified_mass=[answers.mass(j, NATURAL) for j in numbers],
        recanting_mass=[answers.mass(j, ("interventional", "bundle")) for j in numbers],
        skipped_mass=skipped,
    )


def _estimate(marginal: Sequence[Average], settings: Mapping[str, Any]) -> Estimate:
    together = concat([average.pooled.estimate for average in marginal])
    scaled = with_std_errors(together, [average.std_error for average in marginal])
    kept = {key: value for key, value in settings.items() if key not in ("notes", "warnings", "left_out")}
    return Estimate(
        scaled.values, scaled.influence_values, scaled.labels, scaled.index, scaled.clusters,
        {**kept, "se_source": "influence function within graphs, plus the variance between graphs"},
    )  # fmt: skip


def _cells(row: Any) -> tuple[str, ...]:
    write = number_format(row.estimate, row.std_error)
    numbers = [write(x) for x in (row.estimate, row.std_error, row.conf_low, row.conf_high)]
    return (row.path, f"{row.stability:.2f}", *numbers, f"{row.prob_positive:.2f}", f"{row.structural_share:.0%}")
