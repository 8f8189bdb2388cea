"""The smallest set of rows whose removal changes a conclusion: predicted, searched for, and always refitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from causalif._errors import InputError
from causalif._validate import in_range, whole_number
from causalif.influence.adapters import adapt
from causalif.influence.case import effects
from causalif.influence.estimate_subject import NO_ORIGIN, EstimateSubject
from causalif.influence.found import MostInfluential
from causalif.influence.goals import Goal, GoalLike, read_goal
from causalif.influence.greedy import Greedy, greedy
from causalif.influence.means import Order
from causalif.influence.noise import noise_share
from causalif.influence.orders import Ranking, rankings
from causalif.influence.reasons import reasons
from causalif.influence.refit import Refit, deals_anew
from causalif.influence.subject import ModelSubject
from causalif.influence.targets import Point, TargetLike, as_target
from causalif.influence.verify import Scan, Verifier

WORK = 2e10  # multiplications that a scan of a model fitted in closed form may take
FEWEST_REFITS, MOST_REFITS, DEAR_REFITS = 25, 2000, 8
Fitted = EstimateSubject | ModelSubject


def most_influential(
    fitted: Any,
    goal: GoalLike = "sign",
    target: TargetLike = None,
    *,
    data: Any = None,
    clusters: Any = None,
    refit: Refit | None = None,
    verify: bool = True,
    max_share: float = 0.5,
    max_refits: int | None = None,
) -> MostInfluential:
    r"""Find the fewest rows whose removal changes a conclusion, and refit without them.

    .. math:: \min |T| \quad\text{such that}\quad s\,(\hat\theta_{-T} - c) < 0

    Effects are the value after removal minus the value before.

    Parameters
    ----------
    fitted : causalif Estimate, statsmodels result or scikit-learn estimator
        As in `causalif.case_influence`.
    goal : {"sign", "significance", "sign+significance"} or float, default "sign"
        "sign": the target changes sign. "significance": its confidence interval comes to hold 0 (to leave it, if it
        holds 0 now). "sign+significance": the whole interval comes to lie on the other side of 0. A number: the target
        passes it.
    target : str, mapping of str to float, or Target, optional
        As in `causalif.case_influence`; the first term that is not the constant by default.
    data : (X, y) or (X, y, sample_weight), optional
        What a scikit-learn estimator was fitted to.
    clusters : array or Series of shape (n,), optional
        Leave out whole clusters instead of rows.
    refit : callable, optional
        For an Estimate that cannot be fitted again by itself (a ratio of two, one loaded from a file): takes the kept
        rows, a boolean array of shape (n,), and returns an Estimate with the same terms.
    verify : bool, default True
        With False nothing is refitted and ``size`` stays None: predictions only.
    max_share : float, default 0.5
        Largest share of rows to consider, strictly between 0 and 1.
    max_refits : int, optional
        How many refits one scan may take before it turns to bisection, which then needs about as many as the size has
        binary digits; there are two scans and a greedy search. By default 25 for causal estimates with
        ``learners="linear"``, 8 with other learners, and 25 to 2,000 for other models, by their size.

    Returns
    -------
    MostInfluential
        ``size`` and ``rows`` are those of the smallest set that a refit has confirmed; ``counts`` has every method's
        number.

    Raises
    ------
    InputError
        If the goal is met already or makes no sense for the target, or the estimate cannot be fitted again.

    Notes
    -----
    Three searches. (1) The influence order: rows by their first-order effect; its count may be wrong in either
    direction. (2) The order by exact or rescaled effects. For an Estimate that is a mean of scores or a ratio of two
    means, this is exact while the nuisances stay as they are, and for goals on the value the count is the proved
    minimum under that condition. (3) Greedy: leave out the best row, update exactly, look again; this finds sets whose
    members hide one another (masking). Greedy is not a proof that no smaller set exists. Every claim is refitted:
    statsmodels models by statsmodels, scikit-learn ones by Newton's method on their objective, causal estimates by
    their estimator with each remaining row in the fold that it had and the same seed (inner folds are dealt anew),
    greedy steps a fourth of the remaining rows at a time. Sizes are not monotone in general; where a scan turns to
    bisection the note says so.

    A conclusion that few rows carry is not thereby wrong: an estimate that is just significant always is so.
    ``noise_share`` tells how many rows would do if influence values were normal.

    Cost: n log n after the influence values, then the refits.

    References
    ----------
    Broderick, Giordano and Meager (2023), An automatic finite-sample robustness metric; Huang, Burt, Shen, Nguyen and
    Broderick (2025), Approximations to worst-case data dropping: unmasking failure modes; Kuschnig, Zens and Crespo
    Cuaresma (2021), Hidden in plain sight.

    Examples
    --------
    >>> import causalif as ci
    >>> nsw = ci.datasets.load_nsw()
    >>> fit = ci.ATE(outcome="re78", treatment="train", learners="linear", folds=1).fit(nsw)
    >>> found = most_influential(fit, goal="sign")
    >>> found.size, found.counts["influence"], found.counts["exact"]
    (17, np.int64(20), np.int64(18))
    """
    subject = adapt(fitted, data, clusters, refit=refit)
    if verify and isinstance(subject, EstimateSubject) and subject.refit_estimate is None:
        raise InputError(NO_ORIGIN)
    aim = as_target(target)
    point = subject.point(aim)
    wanted = read_goal(goal, aim, point)
    total = int(subject.units.max()) + 1
    most = max(1, int(in_range("max_share", max_share, 0, 1) * total))
    allowed = _allowed(subject) if max_refits is None else whole_number("max_refits", max_refits, 1)
    ranked = rankings(subject, wanted)
    verifier = Verifier(subject, wanted, allowed, most)
    tried = _search(subject, wanted, ranked, verifier) if verify else _Tried([None] * len(ranked), None)
    return _result(subject, wanted, point, ranked, tried, verifier)


@dataclass(frozen=True, eq=False)
class _Tried:
    """Scans along the ranked orders, and the greedy one."""

    scans: list[Scan | None]
    greedy: Greedy | None


def _allowed(subject: Fitted) -> int:
    if isinstance(subject, EstimateSubject):
        return FEWEST_REFITS if subject.estimate.settings.get("learners") == "linear" else DEAR_REFITS
    if subject.readapt is not None:
        return FEWEST_REFITS
    n, p = len(subject.index), len(subject.model.theta)
    return int(np.clip(WORK / (n * p**2), FEWEST_REFITS, MOST_REFITS))


def _search(subject: Fitted, goal: Goal, ranked: list[Ranking], verifier: Verifier) -> _Tried:
    scans: list[Scan | None] = []
    for ranking in ranked:
        same = next((scans[i] for i, other in enumerate(ranked[: len(scans)]) if _alike(other, ranking)), None)
        scans.append(same or verifier.scan(ranking.order, ranking.count))
    sizes = [scan.size for scan in scans if scan is not None and scan.size is not None]
    steps = verifier.allowed
    if not isinstance(subject, EstimateSubject):
        steps = min([steps, verifier.most, *sizes])  # a longer greedy set would not be the answer
    return _Tried(scans, greedy(subject, goal, verifier, steps))


def _alike(left: Ranking, right: Ranking) -> bool:
    """Whether two orders begin alike as far as either goes, so that one scan serves both."""
    if left.count is None or right.count is None:
        return False
    most = 2 * max(left.count, right.count) + FEWEST_REFITS
    return bool(np.array_equal(left.order[:most], right.order[:most]))


def _result(
    subject: Fitted, goal: Goal, point: Point, ranked: list[Ranking], tried: _Tried, verifier: Verifier
) -> MostInfluential:
    table = _table(goal, ranked, tried, verifier)
    order, scan, name = _winner(ranked, tried)
    size = None if scan is None else scan.size
    shown = size or next((r.count for r in ranked[::-1] if r.count is not None), None) or 0
    gone = order[:shown]
    chosen = ranked[-1]
    predicted = _predicted(subject, goal, gone, point)
    labels = subject.index[_positions(subject, gone)]
    total = int(subject.units.max()) + 1
    spread = float(np.sqrt(np.sum(subject.moves(goal.target, "if").value ** 2) * total))
    distance = goal.at(point) if goal.target.reading != "statistic" else float("nan")
    return MostInfluential(
        goal=goal.described,
        target=_label(subject, goal),
        size=size,
        rows=labels,
        counts=table["count"].rename("count"),
        table=table,
        before=goal.target.read(point),
        predicted=predicted,
        refitted=float("nan") if scan is None or scan.point is None else goal.target.read(scan.point),
        share=float("nan") if size is None else size / total,
        noise_share=noise_share(abs(distance), spread),
        note=_note(subject, goal, ranked, tried, verifier, name),
        reasons=_reasons(subject, goal, gone),
        curve=_curve(goal, point, chosen, ranked, tried),
        units="clusters" if subject.clustered else "rows",
        level=goal.level,
        positions=_positions(subject, gone),
        unique=bool(subject.index.is_unique),
        end=goal.end_name,
        refitted_end=_end(goal, None if scan is None else scan.point),
    )


def _label(subject: Fitted, goal: Goal) -> str:
    bound = goal.target.bind(subject if isinstance(subject, EstimateSubject) else subject.model)
    before = {"value": "", "statistic": "t of ", "lower": "lower end of ", "upper": "upper end of "}
    return before[goal.target.reading] + bound.label


def _positions(subject: Fitted, gone: Order) -> Any:
    """Return the rows of the units that are left out, in order of removal."""
    rank = np.full(int(subject.units.max()) + 1, -1)
    rank[gone] = np.arange(len(gone))
    mine = rank[subject.units]
    rows = np.flatnonzero(mine >= 0)
    return rows[np.argsort(mine[rows], kind="stable")]


def _winner(ranked: list[Ranking], tried: _Tried) -> tuple[Order, Scan | None, str]:
    """Return the order whose refitted set is smallest."""
    entries = [(scan.size, r.order, scan, r.name) for r, scan in zip(ranked, tried.scans, strict=True)
               if scan is not None and scan.size is not None]  # fmt: skip
    if tried.greedy is not None and tried.greedy.scan.size is not None:
        entries.append((tried.greedy.scan.size, tried.greedy.order, tried.greedy.scan, "greedy"))
    if not entries:
        known = [r for r in ranked if r.count is not None] or ranked
        return known[-1].order, None, ""
    _, order, scan, name = min(entries, key=lambda entry: entry[0])
    return order, scan, name


def _predicted(subject: Fitted, goal: Goal, gone: Order, point: Point) -> float:
    """Return the target as predicted without the units, by the best way there is."""
    if not len(gone):
        return float("nan")
    if isinstance(subject, EstimateSubject) and subject.is_mean:
        path = subject.rows(goal.target).path(gone)
        return goal.target.read(Point(path.value[-1], path.std_error[-1], path.critical[-1]))
    method = "rif" if "rif" in subject.methods() else "if"
    moves = subject.moves(goal.target, method)
    error = point.std_error + moves.std_error[gone].sum()
    return goal.target.read(Point(point.value + float(moves.value[gone].sum()), float(error), point.critical))


def _table(goal: Goal, ranked: list[Ranking], tried: _Tried, verifier: Verifier) -> pd.DataFrame:
    lines: dict[str, dict[str, Any]] = {}
    for ranking, scan in zip(ranked, tried.scans, strict=True):
        fitted = None
        if scan is not None and ranking.count is not None:
            fitted = scan.seen.get(ranking.count) or verifier.quick(ranking.order[: ranking.count])
        lines[ranking.name] = _line(goal, ranking, ranking.count, fitted, verifier)
    for ranking, scan in zip(ranked, tried.scans, strict=True):
        if scan is not None:
            lines[f"{ranking.name}, refitted"] = _line(goal, ranking, scan.size, scan.point, verifier)
    if tried.greedy is not None:
        scan = tried.greedy.scan
        lines["greedy, refitted"] = _line(goal, None, scan.size, scan.point, verifier)
    frame = pd.DataFrame.from_dict(lines, orient="index")
    return frame.astype({"count": "Int64", "reached": "boolean"}).rename_axis("method")


def _line(
    goal: Goal, ranking: Ranking | None, count: int | None, fitted: Point | None, verifier: Verifier
) -> dict[str, Any]:
    total = int(verifier.subject.units.max()) + 1
    predicted = float("nan")
    if ranking is not None and count is not None and count <= len(ranking.path.value):
        at = Point(*(float(x[count - 1]) for x in (ranking.path.value, ranking.path.std_error, ranking.path.critical)))
        predicted = goal.target.read(at)
    return {
        "count": pd.NA if count is None else count,
        "share": float("nan") if count is None else count / total,
        "predicted": predicted,
        "refitted": float("nan") if fitted is None else goal.target.read(fitted),
        "std_error": float("nan") if fitted is None else fitted.std_error,
        "statistic": float("nan") if fitted is None or not fitted.std_error > 0 else fitted.value / fitted.std_error,
        "reached": pd.NA if fitted is None else verifier.reached(fitted),
    }


def _reasons(subject: Fitted, goal: Goal, gone: Order) -> pd.DataFrame:
    by_unit = effects(subject, goal.target, subject.methods()[-1])
    rows = _positions(subject, gone)
    words = reasons(subject, by_unit)
    return pd.DataFrame({"effect": by_unit[subject.units][rows], "reason": words[rows]}, index=subject.index[rows])


def _curve(goal: Goal, point: Point, chosen: Ranking, ranked: list[Ranking], tried: _Tried) -> pd.DataFrame:
    """Return the target by size along the order that won, or along the last one."""
    scans = [(r, s) for r, s in zip(ranked, tried.scans, strict=True) if s is not None and s.size is not None]
    ranking, scan = min(scans, key=lambda pair: pair[1].size or 0) if scans else (chosen, None)
    size = (scan.size if scan is not None else None) or ranking.count or 1
    last = min(len(ranking.order), max(int(1.25 * size) + 1, *(scan.seen if scan is not None else [1])))
    path = ranking.path
    value = goal.target.read_many(path.value[:last], path.std_error[:last], path.critical[:last])
    frame = pd.DataFrame({"predicted": np.concatenate([[goal.target.read(point)], value])})
    fitted = {} if scan is None else {k: goal.target.read(p) for k, p in scan.seen.items()}
    frame["refitted"] = pd.Series({0: goal.target.read(point), **fitted}, dtype=float).reindex(frame.index)
    if goal.errors:
        ends = goal.end(path.value[:last], path.std_error[:last], path.critical[:last])
        frame["predicted_end"] = np.concatenate([[_end(goal, point)], ends])
        known = {} if scan is None else {k: _end(goal, p) for k, p in scan.seen.items()}
        frame["refitted_end"] = pd.Series({0: _end(goal, point), **known}, dtype=float).reindex(frame.index)
    return frame.rename_axis("left_out")


def _end(goal: Goal, point: Point | None) -> float:
    """Return the end of the interval that has to move, NaN for goals about a value."""
    if point is None or not goal.errors:
        return float("nan")
    return float(goal.end(point.value, point.std_error, point.critical))


def _note(subject: Fitted, goal: Goal, ranked: list[Ranking], tried: _Tried, verifier: Verifier, name: str) -> str:
    sentences = []
    unit = "clusters" if subject.clustered else "rows"
    if not subject.index.is_unique:
        sentences.append("The index of the data repeats labels, so that `rows` is ambiguous: go by `positions`.")
    if tried.greedy is None:
        unproved = "Nothing was refitted: these are predictions, and predictions can be wrong in either direction."
        return " ".join([*sentences, unproved])
    if subject.clustered:
        sentences.append("Clusters are left out whole.")
    if isinstance(subject, EstimateSubject) and deals_anew(subject.estimate):
        sentences.append("The estimate does not say which folds its rows were in: refits deal them anew.")
    if not name:
        sentences.append(f"No set of up to {verifier.most:,} {unit} was found that reaches the goal when refitted.")
    sentences += _certificate(subject, goal, ranked, unit)
    sentences += _disagreement(ranked, tried, unit, isinstance(subject, EstimateSubject))
    if tried.greedy.scan.size is None:
        sentences.append(f"The greedy search left out {len(tried.greedy.order):,} {unit} without reaching the goal.")
    scan = next((s for r, s in zip(ranked, tried.scans, strict=True) if r.name == name), None)
    if scan is not None and not scan.complete:
        sentences.append("Found by bisection along the order: not every smaller set along it was refitted.")
    if verifier.failures:
        sentences.append(f"{len(verifier.failures)} refits failed, the first with: {verifier.failures[0]}")
    return " ".join(sentences)


def _certificate(subject: Fitted, goal: Goal, ranked: list[Ranking], unit: str) -> list[str]:
    if not isinstance(subject, EstimateSubject):
        return []
    if not subject.is_mean:
        return ["The estimate is not known to be a mean of scores, so that no count is a proved minimum."]
    if goal.errors or goal.target.reading != "value" or ranked[-1].count is None:
        return []
    return [
        f"With the nuisances held as they are, no fewer than {ranked[-1].count:,} {unit} can do it (proved); refits "
        "move the nuisances too, and may need fewer or more."
    ]


def _disagreement(ranked: list[Ranking], tried: _Tried, unit: str, causal: bool) -> list[str]:
    """Say where additive predictions and refits part, and why."""
    assert tried.greedy is not None
    first, scan, found = ranked[0], tried.scans[0], tried.greedy.scan.size
    sentences = []
    if first.count is not None and scan is not None and scan.size is not None and scan.size > first.count:
        sentences.append(
            f"The influence order predicts {first.count:,} {unit}, but refitted without them the goal is not reached; "
            f"along that order it takes {scan.size:,}."
        )
    additive = [r.count for r in ranked if r.count is not None]
    if found is not None and (not additive or min(additive) > 1.2 * found + 1):
        said = f"at least {min(additive):,} {unit}" if additive else "that no set does it"
        masked = (
            f"Masking: additive predictions say {said}, while {found:,} {unit} do when left out one after the other; "
            "they hide one another's influence."
        )
        moved = (
            f"Predictions that hold the nuisances fixed say {said}; refitted, {found:,} {unit} do: the nuisances move "
            "with the rows."
        )
        sentences.append(moved if causal else masked)
    return sentences
