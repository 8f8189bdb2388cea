"""From an estimate to a tidy frame and to tables in text, HTML, LaTeX and Markdown."""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from causalif.results.algebra import is_ratio
from causalif.results.covariance import FEW_CLUSTERS

if TYPE_CHECKING:
    from causalif.results.estimate import Estimate

_WIDTH, _LABEL_WIDTH, _SHORT, _LISTED = 78, 40, 30, 12
_NAMES = {"se_source": "Std errors", "adjust": "Adjusted for", "cluster": "Clustered by", "n_jobs": "Jobs"}
_ORDER = ("outcome", "treatment", "levels", "instrument", "mediators", "adjust", "weights", "rows", "cluster",
          "clusters", "folds", "repeats", "se_source")  # fmt: skip
_ELSEWHERE = {"estimator", "notes", "warnings"}


@dataclass(frozen=True)
class Table:
    """A table of formatted text with a header of facts and notes below.

    Parameters
    ----------
    title : str
        Centred above the table.
    header : tuple of (str, str)
        Facts such as ("Outcome", "nettfa").
    columns : tuple of str
        Names of the columns.
    rows : tuple of tuple of str
        Cells; the first column is a label, the others are numbers.
    notes : tuple of str
        Sentences below the table.

    Examples
    --------
    >>> print(Table("Effect", (), ("", "estimate"), (("ATE", "1.5"),), ()).to_markdown())
    **Effect**
    <BLANKLINE>
    |     | estimate |
    |:----|---------:|
    | ATE |      1.5 |
    """

    title: str
    header: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """Plain text."""
        body = _text_rows(self)
        width = max(_WIDTH, *(len(line) for line in "\n".join(body).split("\n")))
        double, single = "=" * width, "-" * width
        head = [*_text_header(self.header, width), double] if self.header else []
        notes = [line for note in self.notes for line in textwrap.wrap(note, width, subsequent_indent="  ")]
        title = _flat(self.title).center(width).rstrip()
        return "\n".join([title, double, *head, body[0], single, *body[1:], double, *notes])

    def _repr_html_(self) -> str:
        return to_html(self)

    def to_latex(self) -> str:
        """LaTeX source of a ``tabular``; needs the booktabs package.

        Returns
        -------
        str
        """
        return to_latex(self)

    def to_markdown(self) -> str:
        """Markdown source.

        Returns
        -------
        str
        """
        return to_markdown(self)


# --- estimates ---------------------------------------------------------------------------------------------------


def frame(estimate: Estimate, level: float = 0.95, joint: bool = False) -> pd.DataFrame:
    """Return one row per term: term, estimate, std_error, statistic, p_value, conf_low, conf_high."""
    interval = estimate.conf_int(level, joint)
    return pd.DataFrame(
        {
            "term": list(estimate.labels),
            "estimate": estimate.values,
            "std_error": estimate.moments.std_errors,
            "statistic": estimate.statistics.to_numpy(),
            "p_value": estimate.pvalues.to_numpy(),
            "conf_low": interval["lower"].to_numpy(),
            "conf_high": interval["upper"].to_numpy(),
        }
    )


def summary(estimate: Estimate, level: float = 0.95, joint: bool = False) -> Table:
    """Return the table of all terms."""
    tidy = frame(estimate, level, joint)
    spread = split_sd(estimate.splits).reindex(tidy["term"])
    noise = [] if spread.isna().all() else [("split sd", spread.to_numpy(dtype=float))]
    columns = ("", "estimate", "std error", *(name for name, _ in noise), *statistic_columns(level, joint))
    rows = [
        (str(row.term), *term_cells(row, [values[i] for _, values in noise]))
        for i, row in enumerate(tidy.itertuples(index=False))
    ]
    title = str(estimate.settings.get("estimator", "Estimate"))
    notes = _notes(estimate, level, joint, bool(noise))
    return Table(title, tuple(_header(estimate)), columns, tuple(rows), tuple(notes))


def split_sd(splits: pd.DataFrame | None) -> pd.Series:
    """Return the standard deviation of each term over repeated splits, empty without repeats."""
    if splits is None or splits["repeat"].nunique() < 2:
        return pd.Series(dtype=float, name="split_sd")
    return splits.groupby("term", sort=False)["estimate"].std().rename("split_sd")


def statistic_columns(level: float, joint: bool) -> tuple[str, ...]:
    """Return the names of the columns from the statistic on."""
    kind = "joint " if joint else ""
    return ("statistic", "p value", f"{kind}{100 * level:g}% low", f"{kind}{100 * level:g}% high")


def term_cells(row: Any, noise: Sequence[float] = ()) -> tuple[str, ...]:
    """Return the formatted cells of one row of a tidy frame."""
    write = number_format(row.estimate, row.std_error)
    middle = [write(x) for x in (row.estimate, row.std_error, *noise)]
    return (*middle, _statistic(row.statistic), p_format(row.p_value), write(row.conf_low), write(row.conf_high))


def number_format(value: float, std_error: float) -> Callable[[float], str]:
    """Return the way to write numbers of one row: as many digits as estimate and standard error need.

    Examples
    --------
    >>> number_format(8123.44, 1310.2)(8123.44), number_format(1.3e-201, 2e-202)(1.3e-201)
    ('8,123.4', '1.300e-201')
    """
    top = _exponent(max(abs(value), std_error))
    digits = max(4 - top if top >= 0 else 3 - top, 2 - _exponent(std_error) if std_error > 0 else 0, 0)
    plain = -4 <= top < 8 and top + digits <= 12

    def write(x: float) -> str:
        if not np.isfinite(x):
            return "n/a"
        return f"{x:z,.{digits}f}" if plain else "0" if x == 0 else f"{x:.3e}"

    return write


def p_format(p: float) -> str:
    """Return a p-value with four decimals, or as a bound when it is smaller."""
    return "n/a" if np.isnan(p) else "<0.0001" if p < 1e-4 else f"{p:.4f}"


def _statistic(t: float) -> str:
    return "n/a" if np.isnan(t) else f"{t:.3f}" if abs(t) < 1e4 else f"{t:.3e}"


def _exponent(x: float) -> int:
    return int(np.floor(np.log10(x))) if 0 < x < np.inf else 0


def _header(estimate: Estimate) -> Iterable[tuple[str, str]]:
    shown = {"rows": estimate.n, "se_source": "influence function"} | dict(estimate.settings)
    if estimate.moments.clusters is not None:
        shown["clusters"] = estimate.moments.clusters
    if estimate.splits is not None:
        shown.setdefault("repeats", estimate.splits["repeat"].nunique())
    known = [key for key in _ORDER if key in shown]
    for key in [*known, *(key for key in shown if key not in _ORDER and key not in _ELSEWHERE)]:
        if shown[key] is not None:
            yield _NAMES.get(key, key.replace("_", " ").capitalize()), plain(shown[key])


def plain(value: object) -> str:
    """Return a setting as a person would write it."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [plain(item) for item in (sorted(value, key=str) if isinstance(value, (set, frozenset)) else value)]
        more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
        return ", ".join(items[:_LISTED]) + more if items else "none"
    return str(value)


def _notes(estimate: Estimate, level: float, joint: bool, noisy: bool) -> Iterable[str]:
    moments = estimate.moments
    yield f"P-values test that each term is 0, two-sided, by {_law(moments.df)}."
    if any(is_ratio(label) for label in estimate.labels):
        yield "Where no difference means a ratio of 1, test that instead: `.log()`, or `.test(term, null=1)`."
    if joint:
        yield f"Intervals cover all terms together with probability {100 * level:g}% (sup-t)."
    if noisy:
        yield "Split sd is the standard deviation over repeated sample splits; std errors include it (median rule)."
    if moments.clusters is not None and moments.clusters < FEW_CLUSTERS:
        yield f"Fewer than {FEW_CLUSTERS} clusters: intervals may be too short."
    if np.any(moments.std_errors == 0):
        yield "n/a: the term has no sampling variation."
    yield from (str(note) for note in _lines(estimate.settings.get("notes", ())))
    yield from (f"Warning: {text}" for text in _lines(estimate.settings.get("warnings", ())))


def _lines(value: str | Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _law(df: Any) -> str:
    low, high = df.min(), df.max()
    if np.isinf(low):
        return "the normal law"
    return f"Student's t with {low:g}{'' if low == high else f' to {high:g}'} degrees of freedom"


# --- writers -----------------------------------------------------------------------------------------------------


def _flat(text: str) -> str:
    return " ".join(str(text).split())


def _text_header(header: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Short facts side by side in two columns, long ones on lines of their own."""
    pad = max(len(name) for name, _ in header) + 2
    short = [f"{_flat(name) + ':':<{pad}}{_flat(value)}" for name, value in header if len(value) <= _SHORT]
    long = [f"{_flat(name) + ':':<{pad}}{_flat(value)}" for name, value in header if len(value) > _SHORT]
    half = -(-len(short) // 2)
    column = max((len(line) for line in short[:half]), default=0) + 4
    right = [*short[half:], ""]
    lines = [f"{line:<{column}}{right[i]}".rstrip() for i, line in enumerate(short[:half])]
    return lines + [piece for line in long for piece in textwrap.wrap(line, width, subsequent_indent=" " * pad)]


def _text_rows(table: Table) -> list[str]:
    """The head and the rows as aligned lines; a long label is continued on further lines."""
    wrapped = [[*(textwrap.wrap(_flat(row[0]), _LABEL_WIDTH) or [""])] for row in (table.columns, *table.rows)]
    first = max(len(line) for lines in wrapped for line in lines)
    widths = [max(len(cell) for cell in cells) for cells in zip(table.columns, *table.rows, strict=True)]
    output = []
    for lines, row in zip(wrapped, (table.columns, *table.rows), strict=True):
        numbers = "".join(f"  {cell:>{wide}}" for cell, wide in zip(row[1:], widths[1:], strict=True))
        output.append("\n".join([*lines[:-1], f"{lines[-1]:<{first}}{numbers}"]))
    return output


def to_html(table: Table) -> str:
    """Return HTML with all text escaped."""
    facts = "".join(f"<tr><th>{_html(name)}</th><td>{_html(value)}</td></tr>" for name, value in table.header)
    head = "".join(f"<th>{_html(name)}</th>" for name in table.columns)
    body = "".join(
        f"<tr><th>{_html(row[0])}</th>{''.join(f'<td>{_html(cell)}</td>' for cell in row[1:])}</tr>"
        for row in table.rows
    )
    notes = "".join(f"<p>{_html(note)}</p>" for note in table.notes)
    return (
        f'<div class="causalif"><table><caption>{_html(table.title)}</caption><tbody>{facts}</tbody></table>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}</div>"
    )


def _html(text: str) -> str:
    return html.escape(_flat(text), quote=True)


def to_latex(table: Table) -> str:
    """Return a LaTeX ``tabular`` with all text escaped; header facts become a comment above it."""
    facts = [f"% {_flat(name)}: {_flat(value)}" for name, value in (("Table", table.title), *table.header)]
    rows = [" & ".join([_latex(row[0]), *(_latex_number(cell) for cell in row[1:])]) + r" \\" for row in table.rows]
    wide = len(table.columns)
    notes = [
        rf"\multicolumn{{{wide}}}{{p{{0.9\linewidth}}}}{{\footnotesize {_latex(note)}}} \\" for note in table.notes
    ]
    return "\n".join(
        [
            *facts,
            rf"\begin{{tabular}}{{l{'r' * (wide - 1)}}}",
            r"\toprule",
            " & ".join(_latex(name) for name in table.columns) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            *notes,
            r"\end{tabular}",
        ]
    )


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
          ">": r"\textgreater{}", "[": "{[}", "|": r"\textbar{}"} | {c: f"\\{c}" for c in "&%$#_{}"}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in _flat(text))


def _latex_number(cell: str) -> str:
    return f"$-${_latex(cell[1:])}" if cell.startswith("-") else _latex(cell)


def to_markdown(table: Table) -> str:
    """Return Markdown with the marks that would change the meaning of text escaped."""
    cells = [[_markdown(cell) for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(*cells, strict=True)]
    lines = [
        "| "
        + " | ".join([f"{row[0]:<{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True))])
        + " |"
        for row in cells
    ]
    rule = "|:" + "-" * (widths[0] + 1) + "|" + "".join("-" * (w + 1) + ":|" for w in widths[1:])
    facts = [f"- {_markdown(name)}: {_markdown(value)}" for name, value in table.header]
    parts = [
        [f"**{_markdown(table.title)}**"],
        facts,
        [lines[0], rule, *lines[1:]],
        *([_markdown(n)] for n in table.notes),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_|<]|\](?=\())", r"\\\1", _flat(text))
