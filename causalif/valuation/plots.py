"""Plots of values; matplotlib Axes in, Axes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from causalif._errors import InputError
from causalif._validate import Array, closest, one_of
from causalif.valuation import curves
from causalif.valuation.features import Encoder, to_numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from causalif.valuation.curves import DetectionCurve, RemovalCurve
    from causalif.valuation.valuation import Valuation

_COLOUR, _ACCENT, _GREY = "#1f4e79", "#c0392b", "#8a8a8a"
_BEST = "best possible"
# Letters that fit side by side under a figure of the usual width; slanted names beyond this many touch each other.
_LINE, _SLANTED = 64, 24
# Five colours and four styles: twenty curves before a pair comes back.
_COLOURS = (_COLOUR, _ACCENT, "#666666", "#d98200", "#4aa3df")
_STYLES = ("-", "--", "-.", (0, (4, 1, 1, 1, 1, 1)))


def draw(value: Valuation, kind: str, ax: Axes | None, options: Mapping[str, Any]) -> Axes:
    """Draw one of the plots of a valuation."""
    kinds = {"histogram": histogram, "components": components, "witness": witness}
    one_of("kind", kind, kinds)
    known = [name for name in signature(kinds[kind]).parameters if name not in ("value", "ax")]
    for name in options:
        if name not in known:
            raise InputError(f"The {kind} plot takes {' and '.join(f'`{one}`' for one in known)}. Got `{name}`.")
    return kinds[kind](value, ax=ax, **options)


def histogram(value: Valuation, ax: Axes | None = None, is_bad: npt.ArrayLike | None = None) -> Axes:
    """Draw how often values occur, with the line at zero.

    Parameters
    ----------
    value : Valuation
        The values.
    ax : matplotlib Axes, optional
        Drawn into; a new figure by default.
    is_bad : Series or array of bool, or of 0 and 1, shape (N,), optional
        Rows to set apart: hatched, in an outline of their own. Some but not all; a Series is matched by its index.

    Returns
    -------
    Axes
    """
    values, bad = value.values.to_numpy(), _mask(value, is_bad)
    ax = _axes(ax)  # after the checks: a refusal leaves no empty figure
    edges = np.histogram_bin_edges(values, bins=60)
    ax.hist(values[~bad], bins=list(edges), color=_COLOUR, alpha=0.8, label=None if not bad.any() else "other rows")
    if bad.any():
        counts = np.histogram(values[bad], bins=edges)[0]
        ax.stairs(counts, edges, edgecolor=_ACCENT, hatch="////", linewidth=1.4, label="known to be bad")
        ax.legend(frameon=False)
    ax.axvline(0, color=_GREY, linewidth=1, linestyle="--")
    ax.set_xlabel(f"value ({value.kind.replace('_', '-')})")
    ax.set_ylabel("rows")
    return _stripped(ax)


def components(value: Valuation, ax: Axes | None = None, is_bad: npt.ArrayLike | None = None) -> Axes:
    """Draw the feature component of every row against its label component.

    Parameters
    ----------
    value : Valuation
        With a label component.
    ax : matplotlib Axes, optional
        Drawn into; a new figure by default.
    is_bad : Series or array of bool, or of 0 and 1, shape (N,), optional
        Rows to set apart: drawn as crosses. Some but not all; a Series is matched by its index.

    Returns
    -------
    Axes
    """
    if "label" not in value.components:
        raise InputError("There is no label component to draw: the values were fitted without a label model.")
    bad = _mask(value, is_bad)
    ax = _axes(ax)
    across, up = value.components["feature"].to_numpy(), value.components["label"].to_numpy()
    many = len(value) > 2_000
    ax.scatter(across[~bad], up[~bad], s=8, color=_COLOUR, alpha=0.5, linewidths=0, rasterized=many, label="other rows")
    if bad.any():
        ax.scatter(across[bad], up[bad], s=14, color=_ACCENT, marker="x", alpha=0.8, linewidths=0.9, rasterized=many,
                   label="known to be bad")  # fmt: skip
        _legend_above(ax)
    ax.axhline(0, color=_GREY, linewidth=0.8)
    ax.axvline(0, color=_GREY, linewidth=0.8)
    ax.set_xlabel("feature component")
    ax.set_ylabel("label component")
    return _stripped(ax)


def witness(value: Valuation, ax: Axes | None = None, features: tuple[int | str, int | str] | None = None) -> Axes:
    """Draw where train rows are denser than the reference, and where they are thinner.

    Parameters
    ----------
    value : Valuation
        The values.
    ax : matplotlib Axes, optional
        Drawn into; a new figure by default.
    features : pair of int or str, optional
        Encoded features to draw along: positions, or columns of the DataFrame that was fitted, such as "age", and
        "colour=red" for a level of a category; the first two principal components of the reference by default.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If ``features`` are not two features of the fit.
    """
    train, reference = to_numpy(value.state.features), to_numpy(value.state.reference_features)
    plane, names = _plane(value.encoder, reference, features)
    ax = _axes(ax)
    center = reference.mean(axis=0) * (features is None)
    spots, clean = (train - center) @ plane, (reference - center) @ plane
    level = value.witness.to_numpy()
    reach = float(np.quantile(np.abs(level), 0.98)) or 1.0
    ax.scatter(clean[:, 0], clean[:, 1], s=18, color="#666666", marker="+", linewidths=0.6, label="reference")
    shown = ax.scatter(spots[:, 0], spots[:, 1], c=level, s=12, cmap="RdBu", vmin=-reach, vmax=reach, linewidths=0.3,
                       edgecolors=_GREY, rasterized=len(train) > 2_000, label="train rows")  # fmt: skip
    ax.figure.colorbar(shown, ax=ax, extend="both", label="witness: train rows denser (red), thinner (blue)")
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    _legend_above(ax)
    return _stripped(ax)


def detection(curve: DetectionCurve, ax: Axes | None = None, label: str | None = None) -> Axes:
    """Draw the share of bad rows found against the share inspected.

    Parameters
    ----------
    curve : DetectionCurve
        From `Valuation.detection_curve`.
    ax : matplotlib Axes, optional
        Drawn into, so that several curves can share one; the band of random orders is drawn with the first.
    label : str, optional
        For the legend.

    Returns
    -------
    Axes
    """
    ax, frame = _axes(ax), curve.frame
    fresh = not ax.lines
    if fresh:
        ax.fill_between(frame["inspected"], frame["random_low"], frame["random_high"], color=_GREY, alpha=0.3,
                        linewidth=0, label="random order, 95%")  # fmt: skip
        ax.plot(frame["inspected"], frame["best"], color=_GREY, linewidth=0.8, linestyle=":", label=_BEST)
    ax.plot(frame["inspected"], frame["found"], **_style(ax), label=f"{label or 'values'}, AUROC {curve.auroc:.3f}")
    ax.set_xlabel("share of rows inspected, lowest value first")
    ax.set_ylabel("share of bad rows found")
    ax.legend(frameon=False, fontsize="small")
    return _stripped(ax)


def removal(curve: RemovalCurve, ax: Axes | None = None, label: str | None = None) -> Axes:
    """Draw the test score against the share of rows removed.

    Parameters
    ----------
    curve : RemovalCurve
        From `Valuation.removal_curve`.
    ax : matplotlib Axes, optional
        Drawn into, so that several curves can share one; random removals are drawn with the first.
    label : str, optional
        For the legend.

    Returns
    -------
    Axes
    """
    ax, frame = _axes(ax), curve.frame
    fresh = not ax.lines
    if fresh and frame["random_mean"].notna().any():
        ax.fill_between(frame["removed"], frame["random_low"], frame["random_high"], color=_GREY, alpha=0.3,
                        linewidth=0, label="random rows removed: mean and range of the draws")  # fmt: skip
        ax.plot(frame["removed"], frame["random_mean"], color=_GREY, linewidth=0.8, label="_mean")
    ax.plot(frame["removed"], frame["score"], marker="o", markersize=3.5, **_style(ax), label=label or "by value")
    ax.set_xlabel("share of rows removed")
    ax.set_ylabel("the model's score on test rows" + f" ({curve.metric})" * bool(curve.metric))
    ax.legend(frameon=False, fontsize="small")
    return _stripped(ax)


def stream(values: Sequence[Valuation], ax: Axes | None = None, names: Sequence[Any] | None = None) -> Axes:
    """Draw how far the train rows were from the reference as batches came in.

    Parameters
    ----------
    values : sequence of Valuation
        One per moment.
    ax : matplotlib Axes, optional
        Drawn into; a new figure by default. Long names are slanted and need room below: layout="constrained".
    names : sequence, optional
        What to write along the axis, one per moment at equal steps; by default the axis is the number of train rows.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If ``values`` is empty or no sequence of valuations, or ``names`` are not one for each.
    """
    listed = _moments(values)
    written = None if names is None else _written(names, len(listed))
    ax = _axes(ax)
    place = [len(one) for one in listed] if written is None else list(range(len(listed)))
    ax.axhline(0, color=_GREY, linewidth=0.8)
    ax.plot(place, [one.mmd2_unbiased for one in listed], marker="o", markersize=4, color=_COLOUR)
    if written is None:
        ax.locator_params(axis="x", integer=True)
    else:
        ax.set_xticks(place, written, **_slant(written))
    ax.set_xlabel("train rows" if written is None else "batch")
    ax.set_ylabel("squared discrepancy (unbiased)")
    return _stripped(ax)


def _moments(values: Any) -> list[Valuation]:
    if hasattr(values, "mmd2_unbiased"):
        raise InputError("`values` must be a sequence of valuations, one per moment. Got a single one; write [values].")
    listed = list(values)
    strange = [one for one in listed if not hasattr(one, "mmd2_unbiased")]
    if strange or not listed:
        found = type(strange[0]).__name__ if strange else "none"
        raise InputError(f"`values` must be valuations, one per moment. Got {found}; pass a list of them.")
    return listed


def _written(names: Any, count: int) -> list[str]:
    written = [names] if isinstance(names, str) else [str(name) for name in names]
    if isinstance(names, str) or len(written) != count:
        raise InputError(f"`names` must have one name for each of the {count:,} valuations. Got {written!r}.")
    return written


def _slant(names: Sequence[str]) -> dict[str, Any]:
    """How to turn names so that they do not run into each other: as little as their number and length allow."""
    if len(names) * (max(map(len, names)) + 2) <= _LINE:
        return {}
    upright = len(names) > _SLANTED
    return {"rotation": 90 if upright else 40, "ha": "center" if upright else "right",
            "rotation_mode": "default" if upright else "anchor", "fontsize": "small"}  # fmt: skip


def _plane(
    encoder: Encoder, reference: npt.NDArray[Any], features: tuple[int | str, int | str] | None
) -> tuple[Array, tuple[str, str]]:
    d = reference.shape[1]
    if d < 2:
        raise InputError("A map needs at least two features.")
    if features is not None:
        at, names = _pair(encoder, features), encoded_names(encoder)
        return np.eye(d)[:, at], (names[at[0]] + _units(encoder), names[at[1]] + _units(encoder))
    axes = np.linalg.svd(reference - reference.mean(axis=0), full_matrices=False)[2]
    if len(axes) < 2:
        raise InputError("A map along principal components needs at least two reference rows; name two `features`.")
    return axes[:2].T.astype(np.float64), ("first principal component of the reference", "second principal component")


def encoded_names(encoder: Encoder) -> list[str]:
    """Names of encoded features: columns, levels of categories as "colour=red", or positions where none had a name."""
    if encoder.columns is None:
        return [f"feature {j}" for j in range(encoder.width)]
    return [name for column in encoder.columns for name in _names_of(encoder, column)]


def _names_of(encoder: Encoder, column: str) -> list[str]:
    levels = encoder.levels.get(column)
    return [str(column)] if levels is None else [f"{column}={level}" for level in levels]


def _units(encoder: Encoder) -> str:
    return {"reference": " (standardised)", "rows": " (rows of length one)"}.get(encoder.scale or "", "")


def _pair(encoder: Encoder, features: Any) -> list[int]:
    """Positions of two encoded features."""
    if isinstance(features, str) or not np.iterable(features) or len(list(features)) != 2:
        raise InputError(f"`features` must be a pair of encoded features. Got {features!r}; write features=(0, 1).")
    first, second = (_position(encoder, feature) for feature in features)
    if first == second:
        raise InputError(f"`features` must be two different ones. Got {features!r}.")
    return [first, second]


def _position(encoder: Encoder, feature: Any) -> int:
    if isinstance(feature, (int, np.integer)) and not isinstance(feature, bool):
        if 0 <= feature < encoder.width:
            return int(feature)
        raise InputError(
            f"`features` must be positions from 0 to {encoder.width - 1}, as the fit has {encoder.width} encoded "
            f"features, or names of columns. Got {feature}."
        )
    names = encoded_names(encoder)
    if feature in names and encoder.columns is not None:
        return names.index(feature)
    raise InputError(f"`features` must be positions or names of features. Got {feature!r}. {_advice(encoder, feature)}")


def _advice(encoder: Encoder, feature: Any) -> str:
    """What to write in the place of a feature that is not there."""
    if encoder.columns is None:
        return f"The fit was on an array without names; take positions from 0 to {encoder.width - 1}."
    if isinstance(feature, str) and feature in encoder.levels:
        return f"That column is a category; name one of its levels, such as {_names_of(encoder, feature)[0]!r}."
    names = encoded_names(encoder)
    near = closest(feature, names)
    return f"Did you mean {near!r}?" if near else f"There are {', '.join(names[:12])}{', ...' * (len(names) > 12)}."


def _mask(value: Valuation, is_bad: Any) -> npt.NDArray[np.bool_]:
    return np.zeros(len(value), dtype=bool) if is_bad is None else curves.marks_of(value, is_bad)


def _style(ax: Axes) -> dict[str, Any]:
    """Return a colour and a line style that no earlier curve has; curves are told apart without colour."""
    drawn = sum(str(line.get_label()) != _BEST and not str(line.get_label()).startswith("_") for line in ax.lines)
    return {"color": _COLOURS[drawn % 5], "linestyle": _STYLES[drawn % 4], "linewidth": 1.6}


def _legend_above(ax: Axes) -> None:
    """Make room for the legend above a cloud of points, inside the axes, so that a title has its place."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.1 * (high - low))
    ax.legend(frameon=False, loc="upper left", borderaxespad=0.2, ncols=2)


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError("Plots need matplotlib: `pip install causalif[plot]`.") from error
    return plt.figure(figsize=(6.4, 4.2), layout="constrained").add_subplot()


def _stripped(ax: Axes) -> Axes:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax
