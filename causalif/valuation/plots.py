"""Plots of values; matplotlib Axes in, Axes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from causalif._errors import InputError
from causalif._validate import Array, one_of
from causalif.valuation.features import to_numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from causalif.valuation.curves import DetectionCurve, RemovalCurve
    from causalif.valuation.valuation import Valuation

_COLOUR, _ACCENT, _GREY = "#1f4e79", "#c0392b", "#8a8a8a"
_BEST = "best possible"
# Five colours and four styles: twenty curves before a pair comes back.
_COLOURS = (_COLOUR, _ACCENT, "#666666", "#d98200", "#4aa3df")
_STYLES = ("-", "--", "-.", (0, (4, 1, 1, 1, 1, 1)))


def draw(value: Valuation, kind: str, ax: Axes | None, options: Mapping[str, Any]) -> Axes:
    """Draw one of the plots of a valuation."""
    kinds = {"histogram": histogram, "components": components, "witness": witness}
    one_of("kind", kind, kinds)
    return kinds[kind](value, ax=ax, **options)


def histogram(value: Valuation, ax: Axes | None = None, is_bad: npt.ArrayLike | None = None) -> Axes:
    """Draw how often values occur, with the line at zero.

    Parameters
    ----------
    value : Valuation
        The values.
    ax : matplotlib Axes, optional
        Drawn into; a new figure by default.
    is_bad : array of bool, shape (N,), optional
        Rows to set apart: hatched, in an outline of their own.

    Returns
    -------
    Axes
    """
    ax = _axes(ax)
    values, bad = value.values.to_numpy(), _mask(value, is_bad)
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
    is_bad : array of bool, shape (N,), optional
        Rows to set apart: drawn as crosses.

    Returns
    -------
    Axes
    """
    if "label" not in value.components:
        raise InputError("There is no label component to draw: the values were fitted without a label model.")
    ax, bad = _axes(ax), _mask(value, is_bad)
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


def witness(value: Valuation, ax: Axes | None = None, features: tuple[int, int] | None = None) -> Axes:
    """Draw where train rows are denser than the reference, and where they are thinner.

    Parameters
    ----------
    value : Valuation
        The values.
    ax : matplotlib Axes, optional
        Drawn into; a new figure by default.
    features : pair of int, optional
        Encoded features to draw along; the first two principal components of the reference by default.

    Returns
    -------
    Axes
    """
    ax = _axes(ax)
    train, reference = to_numpy(value.state.features), to_numpy(value.state.reference_features)
    plane, names = _plane(reference, features)
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
        Drawn into, so that several curves can share one; the band of random orders is drawn on a new one only.
    label : str, optional
        For the legend.

    Returns
    -------
    Axes
    """
    frame, fresh = curve.frame, ax is None
    ax = _axes(ax)
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
        Drawn into, so that several curves can share one; random removals are drawn on a new one only.
    label : str, optional
        For the legend.

    Returns
    -------
    Axes
    """
    frame, fresh = curve.frame, ax is None
    ax = _axes(ax)
    if fresh and frame["random_mean"].notna().any():
        ax.fill_between(frame["removed"], frame["random_low"], frame["random_high"], color=_GREY, alpha=0.3,
                        linewidth=0, label="random rows removed: mean and range of the draws")  # fmt: skip
        ax.plot(frame["removed"], frame["random_mean"], color=_GREY, linewidth=0.8, label="_mean")
    ax.plot(frame["removed"], frame["score"], marker="o", markersize=3.5, **_style(ax), label=label or "by value")
    ax.set_xlabel("share of rows removed")
    ax.set_ylabel("the model's score on test rows (accuracy or R²)")
    ax.legend(frameon=False, fontsize="small")
    return _stripped(ax)


def stream(values: Sequence[Valuation], ax: Axes | None = None, names: Sequence[Any] | None = None) -> Axes:
    """Draw how far the train rows were from the reference as batches came in.

    Parameters
    ----------
    values : sequence of Valuation
        One per moment.
    ax : matplotlib Axes, optional
        Drawn into; a new figure by default.
    names : sequence, optional
        What to write along the axis, at equal steps; by default the axis is the number of train rows.

    Returns
    -------
    Axes
    """
    ax = _axes(ax)
    level = [one.mmd2_unbiased for one in values]
    ax.axhline(0, color=_GREY, linewidth=0.8)
    place = [len(one) for one in values] if names is None else list(range(len(level)))
    ax.plot(place, level, marker="o", markersize=4, color=_COLOUR)
    if names is None:
        ax.locator_params(axis="x", integer=True)
        ax.set_xlabel("train rows")
    else:
        ax.set_xticks(place, [str(name) for name in names])
    ax.set_ylabel("squared discrepancy (unbiased)")
    return _stripped(ax)


def _plane(reference: npt.NDArray[Any], features: tuple[int, int] | None) -> tuple[Array, tuple[str, str]]:
    d = reference.shape[1]
    if d < 2:
        raise InputError("A map needs at least two features.")
    if features is not None:
        return np.eye(d)[:, list(features)], (f"feature {features[0]}", f"feature {features[1]}")
    axes = np.linalg.svd(reference - reference.mean(axis=0), full_matrices=False)[2]
    if len(axes) < 2:
        raise InputError("A map along principal components needs at least two reference rows; name two `features`.")
    return axes[:2].T.astype(np.float64), ("first principal component of the reference", "second principal component")


def _mask(value: Valuation, is_bad: npt.ArrayLike | None) -> npt.NDArray[np.bool_]:
    if is_bad is None:
        return np.zeros(len(value), dtype=bool)
    mask = np.asarray(is_bad, dtype=bool)
    if mask.shape != (len(value),):
        raise InputError(f"`is_bad` must have one entry for each of the {len(value):,} rows. Got shape {mask.shape}.")
    return mask


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
