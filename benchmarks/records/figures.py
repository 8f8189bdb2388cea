"""Read the records of this folder: the ratios that were measured, and the rows of the simulation studies."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
MISSING = "not recorded"
FAST, LONG = "{} times as fast", "{} times as long"


def read(name: str) -> dict[str, Any] | None:
    """Return a record, or None where nothing was recorded under this name."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def everywhere(name: str) -> list[dict[str, Any]]:
    """Return the last record of a job on each processor, the newest first; none where nothing was recorded."""
    newest = read(name)
    others = [json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob(f"others/*/{name}.json")]
    others.sort(key=lambda one: one["date"], reverse=True)
    return others if newest is None else [newest, *others]


@dataclass(frozen=True)
class Figure:
    """A number, or a range of numbers, in the output of a command, on all processors that it was recorded on.

    Parameters
    ----------
    what, against : str
        What was measured, and compared with what; ``{package}`` becomes its version in the record.
    record : str
        The name of the record.
    pattern : str
        Regular expression with one group, the number, or two, whose quotient it is. All matches count.
    after, before : str
        The part of the output to read, from the first line with one text up to the next with the other.
    words : str
        How the number is said.
    failed : str
        Regular expression of the lines where the other gave no answer; they are counted and said, too.
    """

    what: str
    against: str
    record: str
    pattern: str
    after: str = ""
    before: str = "\n\n"
    words: str = FAST
    failed: str = ""

    def values(self, record: dict[str, Any] | None = None) -> list[str] | None:
        """Return the numbers as they were printed, or None where nothing was recorded."""
        record = read(self.record) if record is None else record
        if record is None:
            return None
        values = [self._number(match) for match in re.finditer(self.pattern, self._part(record), flags=re.MULTILINE)]
        if not values:
            raise ValueError(f"The record {self.record!r} has no figure for {self.what!r}: {self.pattern}")
        return values

    def text(self) -> str:
        """Return the number in words, or that it was not recorded."""
        records = everywhere(self.record)
        values = [value for record in records for value in self.values(record) or ()]
        if not values:
            return MISSING
        ordered = sorted(values, key=_value)
        low, high = _said(ordered[0]), _said(ordered[-1])
        text = self.words.format(low if _value(low) == _value(high) else f"{low} to {high}")
        failures = sum(map(self._failures, records)) if self.failed else 0
        return f"{text}; no answer on {failures} of {failures + len(values)}" if failures else text

    def against_version(self) -> str:
        """Return what it was compared with, and its version, or versions where records differ."""
        kept = [{**one["versions"], **one.get("peer versions", {})} for one in everywhere(self.record)]

        def named(package: re.Match[str]) -> str:
            versions = dict.fromkeys(one[package[1]] for one in kept if package[1] in one)
            return f"{package[1]} {' and '.join(versions)}".strip()

        return re.sub(r"\{([\w-]+)\}", named, self.against)

    def date(self) -> str:
        """Return the day of the newest record and the number of processors, nothing where there is none."""
        records = everywhere(self.record)
        if not records:
            return ""
        day: str = records[0]["date"][:10]
        return day if len(records) == 1 else f"{day}, {len(records)} processors"

    def _failures(self, record: dict[str, Any]) -> int:
        return len(re.findall(self.failed, self._part(record), flags=re.MULTILINE))

    def _part(self, record: dict[str, Any]) -> str:
        text = "\n".join(record["lines"])
        if not self.after:
            return text
        _, found, rest = text.partition(self.after)
        return found + rest.partition(self.before)[0]

    @staticmethod
    def _number(match: re.Match[str]) -> str:
        if match.re.groups == 1:
            return match[1]
        return f"{_value(match[1]) / _value(match[2]):.1f}"


def _value(text: str) -> float:
    return float(text.replace(",", ""))


def _said(text: str) -> str:
    """Return a number with its thousands set off and no decimals beyond them."""
    return text if _value(text) < 1000 else f"{_value(text):,.0f}"


def _sets(peer: str, module: str, largest: str) -> Figure:
    """Both finding the same kinds of sets, in at most 30 seconds: the second ratio of the line."""
    what = f"adjustment sets of the same kinds, random graphs of 12 to {largest} nodes"
    ratio, none = rf"^  {peer} +[\d.]+ s +[\d.]+x +([\d.]+)x", rf"^  {peer} +(?:over|[A-Z]\w+$)"
    return Figure(what, f"{{{module}}}, 30 s at most", "adjustment", ratio, failed=none)


PAIRS = "kernel sums over all pairs of 20,000 rows, 128 columns"
WITNESS = "`KAIROS.fit`, 20,000 rows, 128 columns, 2,000 reference rows"
FASTER = r"/ causalif: ([\d.]+)x"
BARE = "its learners' fits and predictions alone"
FIGURES: tuple[Figure, ...] = (
    Figure("`ATE`, linear, 401(k), 9,275 rows", "{DoubleML}", "crossfit", FASTER, "401(k), n=9,275"),
    Figure("`ATE`, linear, 100,000 rows", "{DoubleML}", "crossfit", FASTER, "synthetic, n=100,000"),
    Figure("`ATE`, forests and boosting", BARE, "crossfit", r"causalif [\d.]+ s \(([\d.]+)", "Any scikit", words=LONG),
    Figure("`WCDE`, default learners", BARE, "wcde", r"causalif / bare: ([\d.]+)", words=LONG),
    Figure("`WCDE`, a continuous mediator", BARE, "wcde_continuous", r"causalif / bare: ([\d.]+)", words=LONG),
    Figure("`SIGMA`, a thousand graphs", "the fits of the distinct nuisances", "sigma", r"ratio ([\d.]+)", words=LONG),
    _sets("pgmpy Adjustment", "pgmpy", "1,000"),
    _sets("dowhy", "dowhy", "100"),
    _sets("optimaladj", "optimaladj", "100"),
    Figure(
        "adjustment sets, optimal and minimal, both checked, 100,000 nodes", "no peer", "adjustment",
        r"seed \d causalif +([\d.]+) s CPU", words="{} CPU seconds",
    ),
    Figure(
        "kernel sums over all pairs of 5,000 rows, 32 to 512 columns", "{scikit-learn}", "kernels",
        r"sklearn rbf_kernel +[\d.]+ s +([\d.]+)x", "N = 5,000", "N = 20,000",
    ),
    Figure(PAIRS, "matrices in numpy", "kernels", r"naive matrices +[\d.]+ s +([\d.]+)x", "N = 20,000, d = 128"),
    Figure(PAIRS, "{scikit-learn}", "kernels", r"sklearn rbf_kernel +[\d.]+ s +([\d.]+)x", "N = 20,000, d = 128"),
    Figure(WITNESS, "matrices in numpy", "valuation", r"^  causalif  .* ([\d.]+)x naive"),
    Figure(WITNESS, "{scikit-learn}", "valuation", r"^  causalif  .* ([\d.]+)x sklearn"),
    Figure(
        f"memory of {WITNESS}", "{scikit-learn}", "valuation",
        r"sklearn +[\d.]+ s +(\d+) MB[^x]*causalif +[\d.]+ s +(\d+) MB",
        words="{} times less memory beyond the data",
    ),
    Figure("200 rows added to 20,000, no labels", "a new fit", "online", r"N=20,000, without.*add .*?\((\d+)x\)"),
    Figure("200 rows added to 20,000, with labels", "a new fit", "online", r"N=20,000, with labels.*add .*?\((\d+)x\)"),
    Figure("KNN-Shapley values of 20,000 rows", "the published loop", "shapley", r"as published [\d.]+ s \(([\d.]+)x"),
    Figure("KNN-Shapley values of 20,000 rows", "{pyDVL}", "shapley", r"pyDVL \S+ [\d.]+ s \(([\d.]+)x"),
    Figure(
        "one-step influence on one coefficient of 50", "{statsmodels}, which gives all coefficients", "influence",
        r"statsmodels ([\d.]+) s .*causalif ([\d.]+) s",
    ),
    Figure(
        "influence of all rows of a logistic regression", "one Newton iteration", "influence",
        r"rescaled influence.*\(([\d.]+) iterations", words=LONG,
    ),
)  # fmt: skip


def markdown() -> str:
    """Return the figures that were recorded as a table in Markdown."""
    lines = ["| task | against | causalif is or takes | recorded |", "|---|---|---|---|"]
    for figure in FIGURES:
        if figure.values() is not None:
            lines.append(f"| {figure.what} | {figure.against_version()} | {figure.text()} | {figure.date()} |")
    return "\n".join(lines)


def check(name: str, record: dict[str, Any]) -> None:
    """Raise ValueError where a record lacks a figure or the coverage that is read from it elsewhere."""
    for figure in FIGURES:
        if figure.record == name:
            figure.values(record)
    if name.startswith("study_") and name not in WITHOUT_COVERAGE:
        study_rows(name, record)


# --- simulation studies ----------------------------------------------------------------------------------------------

WITHOUT_COVERAGE = ("study_structure", "study_sets")  # calibration of stabilities, precision of sets: no intervals
COLUMNS = {
    "bias": ("bias",),
    "SD": ("SD", "sd"),
    "mean SE": ("mean SE", "SE sandwich", "mean std error", "mean se"),
    "coverage": ("coverage", "cover sandwich", "robust coverage"),
}


def study_rows(name: str, record: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return one line per estimate of a study: case, draws, bias, SD, mean SE and coverage as far as they were printed.

    Raises ValueError where a record holds no coverage at all.
    """
    record = read(name) if record is None else record
    if record is None:
        return []
    rows = list(_table(record["lines"])) or [("", _pairs(record["lines"]))]
    found = []
    for case, values in rows:
        line: dict[str, Any] = {"study": name.removeprefix("study_"), "case": case, "draws": draws_of(record)}
        for column, names in COLUMNS.items():
            line[column] = next((values[one] for one in names if one in values), math.nan)
        line["SE / SD"] = values.get("SE / SD", line["mean SE"] / line["SD"])
        found.append(line)
    if any(math.isnan(line["coverage"]) for line in found):
        raise ValueError(f"The record {name!r} has no coverage.")
    return found


def draws_of(record: dict[str, Any]) -> int:
    """Return how many draws a study made."""
    text = "\n".join([record["command"], *record["lines"]])
    match = re.search(r"--draws (\d+)|draws=(\d+)|([\d,]+) draws", text)
    if match is None:
        raise ValueError(f"No number of draws in the record of {record['command']!r}.")
    return int(_value(next(filter(None, match.groups()))))


def _table(lines: list[str]) -> Iterator[tuple[str, dict[str, float]]]:
    """Read a table of pandas that has a column of coverages: a name, then one number for each of its columns."""
    columns: list[str] = []
    for line in lines:
        parts = re.split(r"\s{2,}", line.strip())  # a minus sign may take one of the two spaces between numbers
        if not columns and len(parts) > 2 and any("cover" in part for part in parts):
            columns = parts
            continue
        row = re.fullmatch(rf"(\S.*?)((?:\s+(?:-?[\d.]+|NaN)){{{len(columns)}}})", line.rstrip())
        if columns and row:
            yield row[1], {name: float(value) for name, value in zip(columns, row[2].split(), strict=True)}


def _pairs(lines: list[str]) -> dict[str, float]:
    """Read lines of a name and a number."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"\s*(\S.*?)\s{2,}(-?[\d.]+)", line)
        if match:
            found[match[1]] = float(match[2])
    return found
