"""The result of a valuation: what every row is worth, and how that changes with the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array, whole_number
from causalif.kernels import block
from causalif.storage import stored
from causalif.storage.codec import Reader, Writer
from causalif.valuation import companions, curves, influence, plots, reading, store, tables
from causalif.valuation import state as states
from causalif.valuation.choose import tell_overlap
from causalif.valuation.features import Encoder, take
from causalif.valuation.inputs import read_rows
from causalif.valuation.state import State
from causalif.valuation.weighting import scales

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Roles:
    """Which columns play which role; None where they came as arrays or not at all.

    Parameters
    ----------
    label, weights : str or int, optional
        Column names.
    features : tuple of str, optional
        Names of the feature columns where they were listed; then other columns are ignored.
    """

    label: str | int | None = None
    weights: str | int | None = None
    features: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Valuation:
    r"""What every train row is worth: how much it brings the train rows to the law of a clean reference.

    .. math:: F(Q) = a \, \mathrm{MMD}^2(Q, P) + b \, E_Q |\psi(Y) - m_P(X)|, \qquad
        v_i = - \tfrac{d}{d\varepsilon} F\{(1 - \varepsilon) Q + \varepsilon \delta_{z_i}\}

    or, with ``kind="leave_one_out"``, :math:`v_i = F(Q_{-i}) - F(Q)`, the factors a and b held fixed. High is good.
    Made by `KAIROS.fit`; every change returns a new one.

    Parameters
    ----------
    state : State
        Rows, reference and kernel sums.
    encoder : Encoder
        The frozen coding of columns.
    index : pandas.Index of length N
        Row labels.
    weighting : str, tuple or mapping, default "reference"
        How a and b are chosen.
    kind : {"influence", "leave_one_out"}, default "influence"
        Which value.
    roles : Roles, optional
        Column names; by default none plays a role.
    source : DataFrame of N rows, optional
        The rows as they came, in memory only, for tables.

    Examples
    --------
    >>> import numpy as np
    >>> from causalif.estimators.kairos import KAIROS
    >>> rng = np.random.default_rng(0)
    >>> clean, train = rng.normal(size=(50, 2)), rng.normal(size=(100, 2))
    >>> train[:10] += 3
    >>> value = KAIROS(progress=False).fit(train, reference=clean)
    >>> int((value.suggest_removal(rate=0.1) < 10).sum()) >= 8
    True
    >>> without = value.remove(range(10))
    >>> len(without), len(without.add(train[:10])), len(value.replace([0], [[0.0, 0.0]]))
    (90, 100, 100)
    >>> without.mmd2 < value.mmd2, value.group_removal(range(10)) < 0
    (True, True)
    >>> light, wider = value.reweight(range(10), 0.1), value.add_reference(clean[:10])
    >>> light.mmd2 < value.mmd2, wider.state.sums.m
    (True, 60)
    >>> near, far = value.score([[0.0, 0.0], [5.0, 5.0]])
    >>> near > far
    True
    >>> value.table(n=3).shape[0], value.group_summary(np.arange(100) % 2)["rows"].tolist()
    (3, [50, 50])
    >>> list(value.companions()), value.detection_curve(np.arange(100) < 10).auroc > 0.9
    (['knn_closeness'], True)
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     value.save(f"{folder}/value")
    ...     bool((Valuation.load(f"{folder}/value").values == value.values).all())
    True
    """

    state: State
    encoder: Encoder
    index: pd.Index
    weighting: Any = "reference"
    kind: str = "influence"
    roles: Roles = Roles()
    source: pd.DataFrame | None = None

    def __len__(self) -> int:
        """Return the number of train rows."""
        return len(self.state)

    def __repr__(self) -> str:
        lines = [f"Valuation of {len(self):,} rows against {self.state.sums.m:,} reference rows"]
        lines += [f"  {name}: {value}" for name, value in self.settings.items()]
        return "\n".join(lines)

    # --- values ----------------------------------------------------------------------------------------------------

    @cached_property
    def scales(self) -> tuple[float, float]:
        """The factors a and b of the feature and of the label component.

        With ``weighting="reference"`` they follow the data, so that adding and removing rows changes the unit of all
        values; ``dataclasses.replace(value, weighting=value.scales)`` keeps them.
        """
        return scales(self.weighting, self.state.sums, self.state.reference_residuals)

    @cached_property
    def components(self) -> pd.DataFrame:
        """Parts that add up to the values: "feature", and "label" where there is a label component.

        Raises
        ------
        InputError
            If ``kind`` is "leave_one_out" and there is one row.
        """
        sums, residuals, (a, b) = self.state.sums, self.state.residuals, self.scales
        once = self.kind == "leave_one_out"
        if once and len(self) < 2:
            raise InputError("Leave-one-out values need at least two train rows. Got one; take kind='influence'.")
        parts = {"feature": a * (influence.leave_one_out(sums) if once else influence.influence(sums))}
        if residuals is not None:
            linear = influence.linear_leave_one_out if once else influence.linear_influence
            parts["label"] = b * linear(residuals, sums.weights)
        return pd.DataFrame(parts, index=self.index)

    @cached_property
    def values(self) -> pd.Series:
        """One value per train row, high is good; influence values add up to zero (weighted by the row weights)."""
        return self.components.sum(axis=1, skipna=False).rename("value")

    @cached_property
    def witness(self) -> pd.Series:
        """Smoothed density of the reference minus that of the train rows: below zero, the place is overpopulated."""
        return pd.Series(-self.state.sums.gap, index=self.index, name="witness")

    @property
    def mmd2(self) -> float:
        """Squared maximum mean discrepancy between train and reference, the V-statistic (never below zero)."""
        return self.state.sums.mmd2

    @property
    def mmd2_unbiased(self) -> float:
        """The same as a U-statistic: unbiased, below zero about half of the time where the two laws are equal."""
        return self.state.sums.mmd2_unbiased

    @cached_property
    def pvalues(self) -> pd.Series:
        """Share of reference rows at least as strange as the row, (1 + #) / (M + 1).

        About uniform for rows that come from the law of the reference: strangeness of both is measured without the
        row itself. The reference also enters the measure, so they are approximate, and no smaller than 1 / (M + 1).
        """
        score, reference = self._strangeness()
        reference = np.sort(reference)
        above = len(reference) - np.searchsorted(reference, score, side="left")
        return pd.Series((1 + above) / (len(reference) + 1), index=self.index, name="p_value")

    def _strangeness(self) -> tuple[Array, Array]:
        sums, (a, b) = self.state.sums, self.scales
        if len(self) < 2 or sums.m < 2:
            raise InputError("p-values need at least two train rows and two reference rows.")
        score, reference = 2 * a * sums.gap_apart, 2 * a * sums.reference_gap
        if self.state.residuals is not None and self.state.reference_residuals is not None:
            score, reference = score + b * self.state.residuals, reference + b * self.state.reference_residuals
        return score, reference

    @property
    def settings(self) -> dict[str, Any]:
        """What was asked for and what was read off the data."""
        labelling, computing = self.state.labelling, self.state.computing
        coding = labelling.coding
        described = None if coding is None else f"{coding.kind}, {coding.known} in the reference"
        label = None if coding is None else described if coding.kind == "classes" else "numbers"
        model = labelling.spec if labelling.spec is None or isinstance(labelling.spec, str) else repr(labelling.spec)
        found = {"kernel": computing.kernel, "features": self.encoder.width, "scale": self.encoder.scale,
                 "label": label, "label_model": None if coding is None else model, "weighting": self.weighting,
                 "scales": tuple(float(f"{x:.4g}") for x in self.scales), "kind": self.kind,
                 "precision": computing.precision, "mmd2": float(f"{self.mmd2:.4g}")}  # fmt: skip
        ridge = getattr(labelling.model, "ridge", None)
        return found if ridge is None else found | {"ridge": ridge}

    # --- changes ---------------------------------------------------------------------------------------------------

    def add(self, batch: Any, label: Any = None, weights: Any = None, index: Any = None) -> Valuation:
        """Append rows.

        Parameters
        ----------
        batch : DataFrame, array or tensor of m rows
            With the columns of the first fit.
        label, weights : array of shape (m,), optional
            Where they came as arrays at the first fit; columns are found by their names. Weights are ones by default,
            with a warning where those of the other rows are not.
        index : sequence of m labels, optional
            Row labels; those of the DataFrame, or the next whole numbers, by default.

        Returns
        -------
        Valuation
            Equal to a fit on all rows with the same bandwidth, scaler and label model.

        Raises
        ------
        InputError
            On changed columns, on repeated row labels, on missing values.

        Notes
        -----
        Costs d (N m + m²/2 + m M) multiplications: about 2 m / N of a fit.
        """
        rows = reading.read(self, "batch", batch, label, weights)
        features, codes, coding = reading.encoded(self, rows, "batch")
        labels = reading.new_index(self, rows, index)
        after = states.add(self.state, features, codes, reading.weights_of(self, rows), coding)
        both = None if self.source is None or rows.frame is None else pd.concat([self.source, rows.frame])
        index = self.index.append(labels)
        return replace(self, state=after, index=index, source=None if both is None else both.set_axis(index))

    def remove(self, index: Any) -> Valuation:
        """Drop rows by their labels.

        Parameters
        ----------
        index : label or sequence of labels
            As in `values.index`.

        Returns
        -------
        Valuation
            Equal to a fit on the rows that are left.

        Raises
        ------
        InputError
            If a label is not there, is listed twice or is shared by several rows, or no row would be left.

        Notes
        -----
        Costs d m (N + M) multiplications for m rows.
        """
        gone = reading.positions(self, index)
        if len(gone) == len(self):
            raise InputError("`index` names every row; at least one must stay.")
        keep = np.delete(np.arange(len(self)), gone)
        source = None if self.source is None else self.source.iloc[keep]
        return replace(self, state=states.remove(self.state, gone), index=self.index[keep], source=source)

    def replace(self, index: Any, batch: Any, label: Any = None, weights: Any = None) -> Valuation:
        """Put other rows in the place of some, under the same labels.

        Parameters
        ----------
        index : label or sequence of m labels
            Rows to replace.
        batch : DataFrame, array or tensor of m rows
            What comes in their place: a DataFrame with the row labels in ``index`` by these, others in that order.
        label : array of shape (m,), optional
            See `add`.
        weights : array of shape (m,), optional
            Their weights; by default those of the rows that go, unless weights are a column.

        Returns
        -------
        Valuation
            Equal to a fit on the changed rows.

        Raises
        ------
        InputError
            If a label is not there, is listed twice or is shared by several rows, or ``batch`` has another number of
            rows.
        """
        rows = reading.read(self, "batch", batch, label, weights)
        at = reading.places(self, index, rows)
        features, codes, coding = reading.encoded(self, rows, "batch")
        weights = self.state.sums.weights[at] if rows.weights is None else rows.weights
        after = states.exchange(self.state, at, features, codes, weights, coding)
        source = None
        if self.source is not None and rows.frame is not None:
            order = np.arange(len(self))
            order[at] = len(self) + np.arange(len(at))
            source = pd.concat([self.source, rows.frame]).iloc[order].set_axis(self.index)
        return replace(self, state=after, source=source)

    def reweight(self, index: Any, weights: Any) -> Valuation:
        """Give rows other weights.

        Parameters
        ----------
        index : label or sequence of m labels
            Rows to change.
        weights : float or array of shape (m,)
            Their new weights, above zero.

        Returns
        -------
        Valuation
            Equal to a fit with these weights.

        Raises
        ------
        InputError
            If a label is not there, is listed twice or is shared by several rows, or the weights are neither one nor
            one per label, or one is not above zero.
        """
        at = reading.positions(self, index)
        numbers = reading.masses(weights, self.index[at], len(at))
        return replace(self, state=states.reweight(self.state, at, numbers))

    def add_reference(self, batch: Any, label: Any = None) -> Valuation:
        """Append rows to the reference; the label model is fitted anew, its penalty chosen again.

        Parameters
        ----------
        batch : DataFrame, array or tensor of m rows
            Clean rows.
        label : array of shape (m,), optional
            See `add`.

        Returns
        -------
        Valuation
            Equal to a fit with the larger reference, the same bandwidth and scaler and, for a numeric label, the same
            unit.

        Warns
        -----
        DataWarning
            If train rows are copies of the new rows.

        Notes
        -----
        Costs d m (N + M) multiplications, and with a label d N M + M³ more.
        """
        rows = reading.read(self, "batch", batch, label, None, with_weights=False)
        before = self.state
        coding = before.labelling.coding
        if coding is not None and rows.labels is not None:
            before = states.recoded(before, *coding.promoted(rows.labels))
        features, codes, _ = reading.encoded(replace(self, state=before), rows, "batch")
        tell_overlap(before.features, features, before.codes, codes)
        return replace(self, state=states.add_reference(before, features, codes))

    def score(self, new: Any, label: Any = None, weights: Any = None) -> pd.Series:
        """Value rows that are not part of the train rows, without adding them.

        Parameters
        ----------
        new : DataFrame, array or tensor of m rows
            With the columns of the first fit.
        label : array of shape (m,), optional
            See `add`.
        weights : float or array of shape (m,), optional
            Weights the rows would have, for ``kind="leave_one_out"``; ones by default.

        Returns
        -------
        Series of length m
            The influence a row would have; with ``kind="leave_one_out"`` the exact gain of adding it alone.

        Notes
        -----
        Costs d m (N + M) multiplications.
        """
        rows = reading.read(self, "new", new, label, None, with_weights=False)
        features, codes, coding = reading.encoded(self, rows, "new")
        before = replace(self.state, labelling=replace(self.state.labelling, coding=coding))
        own, gap, residuals = states.query(before, features, codes)
        (a, b), sums = self.scales, self.state.sums
        mean = 0.0 if self.state.residuals is None else float(np.average(self.state.residuals, weights=sums.weights))
        label_part = np.zeros(len(gap)) if residuals is None else -(residuals - mean)
        if self.kind == "influence":
            value = a * -2 * (gap - sums.mean_gap) + b * label_part
        else:
            labels = rows.index if rows.has_index and rows.frame is not None else None
            mass = reading.masses(1.0 if weights is None else weights, labels, len(gap))
            value = a * influence.addition(gap, own, mass, sums) + b * mass / (sums.mass + mass) * label_part
        return pd.Series(value, index=rows.index, name="value")

    def group_removal(self, index: Any) -> float:
        """Return the exact value of a group: F without the rows minus F.

        Parameters
        ----------
        index : label or sequence of m labels
            The group; not all rows.

        Returns
        -------
        float
            Positive if the train rows come closer to the reference with the group than without it.

        Raises
        ------
        InputError
            If a label is not there, is listed twice or is shared by several rows, or the group is all rows.

        Notes
        -----
        Costs d m² multiplications.
        """
        at, (a, b), sums = reading.positions(self, index), self.scales, self.state.sums
        if len(at) == len(self):
            raise InputError("`index` names every row; a group must leave some.")
        points = take(self.state.points, at)
        gram = block(points, points, self.state.computing.kernel, center=self.state.computing.center)
        value = a * influence.group_removal(sums, at, gram)
        if self.state.residuals is not None:
            value += b * influence.linear_group_removal(self.state.residuals, sums.weights, at)
        return value

    # --- reports ---------------------------------------------------------------------------------------------------

    def to_frame(self) -> pd.DataFrame:
        """Return one row per train row: value, components, witness and, where they exist, p-values.

        Returns
        -------
        DataFrame
        """
        frame = pd.concat([self.values, self.components, self.witness], axis=1)
        return frame.assign(p_value=self.pvalues) if len(self) > 1 and self.state.sums.m > 1 else frame

    def table(
        self, n: int = 10, which: Literal["lowest", "highest", "both"] = "lowest", data: Any = None
    ) -> pd.DataFrame:
        """Return the lowest or highest rows, beside their original columns.

        Parameters
        ----------
        n : int, default 10
            How many rows, from each end.
        which : {"lowest", "highest", "both"}, default "lowest"
            Which end.
        data : DataFrame of N rows, optional
            Columns to show, matched by row labels; those that were fitted by default, nothing after `load`. A column
            named like one of `to_frame` is shown as "NAME of the data".

        Returns
        -------
        DataFrame
            Values first.

        Raises
        ------
        InputError
            If ``data`` has other row labels or another number of rows.
        """
        shown = self.to_frame()
        others = reading.table_of(self, data)
        if others is not None:
            same = {name: f"{name} of the data" for name in shown.columns}
            shown = pd.concat([shown, others.set_axis(self.index).rename(columns=same)], axis=1)
        return tables.ends(shown, self.values.to_numpy(), whole_number("n", n, 1), which)

    def suggest_removal(
        self, *, rate: float | None = None, threshold: float | None = None, fdr: float | None = None
    ) -> pd.Index:
        """Return labels of rows to look at first, lowest value first, by exactly one rule.

        Parameters
        ----------
        rate : float in [0, 1], optional
            Share of the rows.
        threshold : float, optional
            Rows with values below. With ``weighting="reference"`` values are in units that are read off the data, and
            change with them; see `scales`.
        fdr : float in (0, 1), optional
            Expected share of sound rows among those returned (Benjamini and Hochberg, on `pvalues`). It takes at least
            N / (fdr × bad rows) reference rows, and more unless every bad row is stranger than all of them; an empty
            answer comes with a warning that says why.

        Returns
        -------
        Index
            Labels of `values.index`; where rows share labels they do not say which row, and `remove` refuses them.
        """
        needed = self.pvalues.to_numpy() if fdr is not None else np.empty(0)
        return self.index[tables.to_remove(self.values.to_numpy(), needed, rate, threshold, fdr)]

    def group_summary(self, by: Any, rate: float = 0.1) -> pd.DataFrame:
        """Return values by group, and how much of the lowest values each group supplies.

        Parameters
        ----------
        by : str, or Series or array of shape (N,)
            A column of the train rows, or groups.
        rate : float in (0, 1), default 0.1
            What counts as lowest.

        Returns
        -------
        DataFrame
            One row per group: rows, mean_value, share_of_rows, share_of_lowest, lowest_within. Rows without a group
            are the last one, so that shares add up to one.

        Raises
        ------
        InputError
            If there are more than 20 groups, and more than half as many as rows: bin a number first.

        Warns
        -----
        DataWarning
            Once, if a group supplies most low values, twice its share or more, or more than half of it is among them:
            acting on a ranking can empty a group.
        """
        return tables.group_summary(self.values.to_numpy(), reading.groups(self, by), rate)

    def companions(self, k_shapley: int = 10, k_distance: int = 5) -> pd.DataFrame:
        """Return two nearest-neighbour scores of every row, high is good, to set beside the values.

        Parameters
        ----------
        k_shapley : int, default 10
            Neighbours of KNN-Shapley.
        k_distance : int, default 5
            Neighbours of the distance.

        Returns
        -------
        DataFrame
            "knn_shapley" (with class labels only) and "knn_closeness", minus the mean distance to the nearest
            reference rows. The latter sees isolated noisy rows better than any value, and no wrong label.

        Notes
        -----
        O(N M (d + log N)) time, O(N) memory beside the rows.
        """
        return companions.companions(self, k_shapley, k_distance)

    def detection_curve(self, is_bad: Any, scores: Any = None) -> curves.DetectionCurve:
        """Return how many bad rows are found when rows are inspected from the lowest value up; see `detection`.

        Parameters
        ----------
        is_bad : Series or array of bool, or of 0 and 1, shape (N,)
            Which rows are known to be bad, some but not all; a Series is matched by its index.
        scores : Series or array of shape (N,), optional
            Another ranking, high is good; the values by default. A Series is matched by its index.

        Returns
        -------
        DetectionCurve

        Raises
        ------
        InputError
            If marks are missing, neither boolean nor 0 or 1, or all the same, or scores are missing or no numbers.
        """
        return curves.detection(curves.scores_of(self, scores), curves.marks_of(self, is_bad))

    def removal_curve(
        self,
        estimator: Any,
        test: Any,
        test_label: Any = None,
        *,
        rates: Sequence[float] = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
        order: Literal["lowest", "highest"] = "lowest",
        scores: Any = None,
        draws: int = 5,
        random_state: int | np.random.Generator | None = 0,
    ) -> curves.RemovalCurve:
        """Return the test score of a model refitted without the lowest rows.

        Parameters
        ----------
        estimator : scikit-learn classifier or regressor
            Cloned for every fit, on the encoded features.
        test : DataFrame, array or tensor of t rows
            Rows to score on.
        test_label : str or array of shape (t,), optional
            Their labels, where they came as arrays at the fit.
        rates : sequence of float in [0, 1), default (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
            Shares of the rows to remove.
        order : {"lowest", "highest"}, default "lowest"
            Which end is removed.
        scores : Series or array of shape (N,), optional
            Another ranking, high is good; the values by default. A Series is matched by its index.
        draws : int, default 5
            Random removals of the same size, for comparison.
        random_state : int, Generator or None, default 0
            Draws them.

        Returns
        -------
        RemovalCurve

        Raises
        ------
        InputError
            If there are no labels, at the fit or of the test rows, the estimator is no classifier for classes or no
            regressor for numbers, or a share leaves too few rows.
        LearnerError
            If a fit fails on the rows that are left, for instance because one class is gone.

        Notes
        -----
        (1 + draws) fits per share.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> from causalif.estimators.kairos import KAIROS
        >>> frame = load_iris(as_frame=True).frame
        >>> clean, test, train = frame.iloc[::3], frame.iloc[1::3], frame.iloc[2::3]
        >>> value = KAIROS(progress=False).fit(train, reference=clean, label="target")
        >>> curve = value.removal_curve(LogisticRegression(), test, rates=(0.0, 0.2), draws=2)
        >>> curve.frame["removed"].tolist()
        [0.0, 0.2]
        """
        held = read_rows("test", test, label=self.roles.label if test_label is None else test_label,
                         features=self.roles.features)  # fmt: skip
        if held.labels is None or self.state.codes is None or self.state.labelling.coding is None:
            raise InputError("A removal curve needs labels, at the fit and of the test rows.")
        coding = self.state.labelling.coding
        own, others = coding.supervised(self.state.codes, held.labels)
        train = curves.Supervised(self.state.features, own)
        tested = curves.Supervised(self.encoder(held.features, "test", strict=False), others)
        ranking = curves.scores_of(self, scores)
        return curves.removal(estimator, train, tested, ranking, rates, order, draws, random_state, coding.kind)

    def plot(self, kind: Literal["histogram", "components", "witness"] = "histogram", ax: Axes | None = None,
             **options: Any) -> Axes:  # fmt: skip
        """Draw the values: their histogram, feature value against label value, or a map of the witness in the plane.

        Parameters
        ----------
        kind : {"histogram", "components", "witness"}, default "histogram"
            What to draw.
        ax : matplotlib Axes, optional
            Drawn into; a new figure by default.
        **options : object
            Of that plot; see `causalif.valuation.plots`.

        Returns
        -------
        Axes
        """
        return plots.draw(self, kind, ax, options)

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything but the original columns to one file of arrays and JSON; see `Valuation.load`.

        Parameters
        ----------
        path : str or path
            The file.

        Raises
        ------
        InputError
            If ``path`` is a folder or lies in none; if names of columns, classes or categories are neither numbers nor
            text nor bools, or row labels neither these nor times; if the label model is an estimator of one's own.
        """
        stored.write(self, path)

    @staticmethod
    def load(path: str | PathLike[str]) -> Valuation:
        """Read what `save` wrote; nothing in the file is executed.

        Parameters
        ----------
        path : str or path
            The file.

        Returns
        -------
        Valuation
        """
        return stored.read_as(path, Valuation)

    def _pack(self, writer: Writer) -> dict[str, Any]:
        return store.pack(self, writer)

    @classmethod
    def _unpack(cls, given: Mapping[str, Any], reader: Reader) -> Valuation:
        return cls(**store.unpack(given, reader))
