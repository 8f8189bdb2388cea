"""Plots of estimates; matplotlib Axes in, Axes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from causalif._errors import InputError
from causalif._validate import Array, one_of, whole_number
from causalif.results.covariance import critical_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from causalif.results.estimate import Estimate

_COLOUR, _ACCENT, _GREY = "#1f4e79", "#c0392b", "#8a8a8a"
_LABEL_WIDTH, _MANY, _BINS = 40, 12, 60
_SHARE = "estimate with the row minus without it, about (influence / n)"
_BELOW_ONE = 0.6  # where a logarithmic count starts, so that a bar of one row has a height


def forest(
    estimate: Estimate | Mapping[str, Estimate],
    ax: Axes | None = None,
    level: float = 0.95,
    joint: bool = False,
    null: float | None = 0.0,
) -> Axes:
    """Draw each term as a point with its confidence interval.

    Parameters
    ----------
    estimate : Estimate or mapping of str to Estimate
        Terms are drawn from top to bottom, means E[...] only where there is nothing else: ask for ``estimate[terms]``
        to choose. With a mapping, names come before the labels.
    ax : matplotlib Axes, optional
        Drawn into; a new figure by default.
    level : float, default 0.95
        Confidence level.
    joint : bool, default False
        Whether the intervals of one estimate hold for all its terms together.
    null : float or None, default 0
        Where to draw the dashed line, such as 1 for ratios; it is left out where it lies further from the intervals
        than they reach. None draws no line.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed (``pip install causalif[plot]``).

    Examples
    --------
    >>> import pandas as pd
    >>> from causalif.results.estimate import Estimate
    >>> ax = forest(Estimate([2.0], [[1.0], [-1.0]], ["ATE"], pd.RangeIndex(2)))
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['ATE']
    """
    labels, centre, ends = _forest_rows(estimate, level, joint)
    described = f"{_kind(estimate)} and {'joint ' if joint else ''}{100 * level:g}% interval"
    return intervals(labels, centre, ends, described, ax, null)


def intervals(
    labels: Sequence[str],
    centre: Array,
    ends: Array,
    described: str,
    ax: Axes | None = None,
    null: float | None = 0.0,
) -> Axes:
    """Draw points with intervals that were computed elsewhere, from top to bottom; unbounded ones end in arrows.

    Parameters
    ----------
    labels : sequence of str, length J
        Names beside the points.
    centre, ends : ndarray of shape (J,), (J, 2)
        Points and the ends of their intervals, which may be infinite.
    described : str
        Label of the horizontal axis.
    ax : matplotlib Axes, optional
        Drawn into; a new figure by default.
    null : float or None, default 0
        Where to draw the dashed line; it is left out where it lies further from the intervals than they reach, in
        all. None draws no line.

    Returns
    -------
    Axes

    Examples
    --------
    >>> ax = intervals(["ATE"], np.array([2.0]), np.array([[1.0, 3.0]]), "estimate and 95% interval")
    >>> ax.get_xlabel()
    'estimate and 95% interval'
    """
    ax = _axes(ax, height=1.1 + 0.38 * len(labels))
    y = np.arange(len(labels))
    marks = [null] if null is not None and _near(null, ends) else []
    for mark in marks:
        ax.axvline(mark, color=_GREY, linewidth=0.8, linestyle="--", zorder=0)
    shown = ends if np.isfinite(ends).all() else _within(ax, np.append(centre, marks), ends)
    ax.hlines(y, shown[:, 0], shown[:, 1], color=_COLOUR, linewidth=1.6)
    ax.plot(centre, y, "o", color=_COLOUR, markersize=5.5)
    ax.set_yticks(y, [_short(label) for label in labels])
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.set_xlabel(described)
    _strip(ax)
    return ax


def influence(
    estimate: Estimate,
    term: str | None = None,
    ax: Axes | None = None,
    kind: Literal["sorted", "histogram"] = "sorted",
    name: int = 5,
) -> Axes:
    """Draw the influence values of one term and name the rows that move it most.

    Parameters
    ----------
    estimate : Estimate
        The estimate.
    term : str, optional
        Which term; the first by default.
    ax : matplotlib Axes, optional
        Drawn into; a new figure by default.
    kind : {"sorted", "histogram"}, default "sorted"
        Rows from the lowest to the highest value, or how often values occur.
    name : int, default 5
        How many rows to name, those with the largest absolute values.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If the term is unknown.

    Notes
    -----
    The scale is influence over n, about the estimate with the row minus the estimate without it: leaving a row out
    moves the estimate the other way. A histogram counts on a logarithmic scale, on which single rows show.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalif.results.estimate import Estimate
    >>> ax = influence(Estimate([2.0], [[1.0], [-1.0]], ["ATE"], pd.Index(["ann", "bob"])), name=1)
    >>> [text.get_text() for text in ax.texts]
    ['ann']
    """
    one_of("kind", kind, ("sorted", "histogram"))
    one = estimate[term or estimate.labels[0]]
    share = one.influence_values[:, 0] / one.n
    top = np.argsort(-np.abs(share), kind="stable")[: whole_number("name", name, 0)]
    ax = _axes(ax, height=3.6)
    spots = _draw_sorted(ax, share) if kind == "sorted" else _draw_histogram(ax, share)
    _name_rows(ax, [(share[i], spots[i], str(one.index[i])) for i in top], upwards=kind == "histogram")
    ax.set_title(_short(one.labels[0]), fontsize="medium")
    _strip(ax)
    return ax


def splits(estimate: Estimate, term: str | None = None, ax: Axes | None = None, level: float = 0.95) -> Axes:
    """Draw the estimate of every sample split beside the pooled one.

    Parameters
    ----------
    estimate : Estimate
        With `splits`, that is, fitted by sample splitting.
    term : str, optional
        Which term; the first by default.
    ax : matplotlib Axes, optional
        Drawn into; a new figure by default.
    level : float, default 0.95
        Confidence level of the intervals.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If the term is unknown or the estimate has no splits.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalif.results.estimate import Estimate
    >>> table = pd.DataFrame({"repeat": [0, 1], "term": "ATE", "estimate": [1.9, 2.1], "std_error": [0.7, 0.7]})
    >>> ax = splits(Estimate([2.0], [[1.0], [-1.0]], ["ATE"], pd.RangeIndex(2), splits=table))
    >>> ax.get_xlabel()
    'repeat, sorted by estimate'
    """
    one = estimate[term or estimate.labels[0]]
    if one.splits is None or one.splits.empty:
        raise InputError("This estimate has no `splits`: fit with sample splitting (`folds`, `repeats`) to see them.")
    ax = _axes(ax, height=3.6)
    table = one.splits.sort_values("estimate", kind="stable")
    place = np.arange(len(table))
    half = critical_value(level, one.moments.df)[0] * table["std_error"]
    ax.axhspan(*one.conf_int(level).iloc[0], color=_COLOUR, alpha=0.12, linewidth=0, label=f"pooled {100 * level:g}%")
    ax.axhline(one.values[0], color=_COLOUR, linewidth=1.2, label="pooled")
    ax.errorbar(place, table["estimate"], half, fmt="o", color=_GREY, markersize=4, linewidth=1,
                label="single split")  # fmt: skip
    ax.set_xticks(place, [str(repeat) for repeat in table["repeat"]], rotation=90 if len(place) > _MANY else 0)
    ax.set_xlabel("repeat, sorted by estimate")
    ax.set_ylabel(_short(one.labels[0]))
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.15 * (high - low))
    ax.legend(frameon=False, fontsize="small", loc="upper left", ncols=3)
    _strip(ax)
    return ax


def _axes(ax: Axes | None, height: float) -> Axes:
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError("Plots need matplotlib: `pip install causalif[plot]`.") from error
    figure = plt.figure(figsize=(6.4, height), layout="constrained")
    return figure.add_subplot()


def _strip(ax: Axes) -> None:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _short(label: str) -> str:
    """A label that fits beside the axis; dollar signs stay dollar signs."""
    flat = " ".join(label.split()).replace("$", r"\$")
    return flat if len(flat) <= _LABEL_WIDTH else flat[: _LABEL_WIDTH - 3] + "..."


def _forest_rows(
    estimate: Estimate | Mapping[str, Estimate], level: float, joint: bool
) -> tuple[list[str], Array, Array]:
    named = estimate if isinstance(estimate, Mapping) else {"": estimate}
    if not named:
        raise InputError("`estimate` is an empty mapping: nothing to draw.")
    # Means and effects differ in size by so much that the intervals of effects would vanish beside them.
    named = {name: _effects(e) for name, e in named.items()}
    alone = all(e.p == 1 for e in named.values())
    labels = [_row_label(name, label, alone) for name, e in named.items() for label in e.labels]
    ends = np.concatenate([e.conf_int(level, joint).to_numpy() for e in named.values()])
    return labels, np.concatenate([e.values for e in named.values()]), ends


def _effects(estimate: Estimate) -> Estimate:
    """Return the terms that are no means E[...], where there are such."""
    kept = [label for label in estimate.labels if not label.startswith("E[")]
    return estimate[kept] if 0 < len(kept) < estimate.p else estimate


def _row_label(name: str, label: str, alone: bool) -> str:
    if not name:
        return label
    return name if alone else f"{name}: {label}"


def _kind(estimate: Estimate | Mapping[str, Estimate]) -> str:
    """What the points are: projections on covariates mix an effect with changes per unit."""
    if isinstance(estimate, Mapping) or estimate.settings.get("estimator") != "Effect modification":
        return "estimate"
    return "intercept, slopes per unit," if "intercept" in estimate.labels else "estimate"


def _near(null: float, ends: Array) -> bool:
    known = np.asarray(ends, dtype=float)[~np.isnan(ends)]
    if not known.size:
        return True
    low, high = known.min(), known.max()
    return bool(max(low - null, null - high) <= high - low)


def _within(ax: Axes, marks: Array, ends: Array) -> Array:
    """Cut infinite ends off at the edges of the axes, with an arrow, and set the limits around all that is finite."""
    seen = np.append(marks, ends)
    seen = seen[np.isfinite(seen)]
    if not seen.size:
        return ends
    edge = seen.min(), seen.max()
    margin = 0.15 * (edge[1] - edge[0]) or 1.0
    edge = edge[0] - margin, edge[1] + margin
    ax.set_xlim(*edge)
    for far, place, marker in zip((-np.inf, np.inf), edge, "<>", strict=True):
        for row in np.flatnonzero((ends == far).any(axis=1)):
            ax.plot([place], [row], marker, color=_COLOUR, markersize=6, clip_on=False)
    return np.clip(ends, *edge)


def _draw_sorted(ax: Axes, share: Array) -> Array:
    rank = np.empty(len(share))
    rank[np.argsort(share, kind="stable")] = np.arange(len(share))
    ax.axvline(0, color=_GREY, linewidth=0.8)
    ax.plot(share, rank, ".", color=_COLOUR, markersize=4, rasterized=len(share) > 10 * _BINS)
    ax.set_xlabel(_SHARE)
    ax.set_ylabel("rows, from lowest to highest")
    return rank


def _draw_histogram(ax: Axes, share: Array) -> Array:
    bins = min(_BINS, max(5, int(np.sqrt(len(share)))))
    counts, edges, _ = ax.hist(share, bins=bins, color=_COLOUR, alpha=0.75, log=True)
    ax.set_ylim(bottom=_BELOW_ONE)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xlabel(_SHARE)
    ax.set_ylabel("rows, logarithmic")
    at = np.clip(np.searchsorted(edges, share, side="right") - 1, 0, len(edges) - 2)
    return np.asarray(counts)[at]


def _name_rows(ax: Axes, points: list[tuple[float, float, str]], *, upwards: bool) -> None:
    """Write names inward of their points, one above the other where the curve leaves room."""
    from matplotlib.transforms import ScaledTranslation

    for side in (-1, 1):
        inner_first = sorted((point for point in points if (point[0] > 0) == (side > 0)), key=lambda p: side * p[0])
        # Bars differ in height: names that start from the highest stay apart.
        top = max((y for _, y, _ in inner_first), default=0.0)
        for step, (x, y, label) in enumerate(inner_first):
            up = (12 * step + 8) * (1 if upwards or side < 0 else -1)
            ax.plot([x], [y], ".", color=_ACCENT, markersize=7)
            ax.annotate(
                label,
                (x, y),
                xytext=(x, top if upwards else y),
                textcoords=ax.transData + ScaledTranslation(-8 * side / 72, up / 72, ax.figure.dpi_scale_trans),
                fontsize="small",
                color=_ACCENT,
                ha="right" if side > 0 else "left",
                va="center",
                bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
                arrowprops={"arrowstyle": "-", "color": _ACCENT, "linewidth": 0.6, "shrinkB": 0},
            )
