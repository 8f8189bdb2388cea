"""The immutable state behind a valuation: rows, reference and kernel sums, and how they change with the data.

Every change costs as many kernel values as there are pairs of changed rows with all rows; sums are float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from causalif._validate import Array
from causalif.kernels import Kernel, RowSums, row_sums, row_sums_both
from causalif.kernels._ready import ReadyRows
from causalif.valuation.features import beside, join, put, take
from causalif.valuation.influence import Sums
from causalif.valuation.label_models import LabelModel, fit_label_model
from causalif.valuation.labels import LabelCoding

Positions = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Computing:
    """The kernel, and where and how its sums are computed.

    Parameters
    ----------
    kernel : kernel
        With its bandwidth fixed.
    center : ndarray
        Point near the data, for the rounding.
    precision, device : str
        See `causalif.kernels.row_sums`.
    n_jobs : int, optional
        Threads.
    progress : bool
        Whether long sums show a bar.
    """

    kernel: Kernel
    center: Array
    precision: str = "float32"
    device: str = "auto"
    n_jobs: int | None = None
    progress: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of every kernel sum."""
        return {"center": self.center, "precision": self.precision, "device": self.device, "n_jobs": self.n_jobs,
                "progress": self.progress}  # fmt: skip

    def ready(self, points: Any) -> ReadyRows:
        """Rows for several sums, made ready for them once."""
        return ReadyRows.of(points, self.kernel, self.center, self.precision)

    def apart(self, points: Any, weights: Array | None = None) -> Array:
        """Σ_{j≠i} w_j k(x_i, x_j)."""
        sums: RowSums = row_sums(points, None, self.kernel, weights, symmetric=True, **self.options)
        return sums.sums

    def one(self, a: Any, b: Any, weights: Array | None = None) -> Array:
        """Σ_j w_j k(a_i, b_j)."""
        return row_sums(a, b, self.kernel, weights, **self.options).sums

    def both(self, a: Any, b: Any, weights_a: Array | None, weights_b: Array | None) -> tuple[Array, Array]:
        """Σ_j w_j k(a_i, b_j) and Σ_i v_i k(a_i, b_j)."""
        rows, columns = row_sums_both(a, b, self.kernel, weights_a=weights_a, weights_b=weights_b, **self.options)
        return rows, columns


@dataclass(frozen=True, eq=False)
class Labelling:
    """The label's part: coding, what kind of model, and the model as fitted on the reference.

    Parameters
    ----------
    spec : object
        As in `KAIROS.label_model`.
    coding : LabelCoding, optional
        None without a label.
    model : LabelModel, optional
        None without a label component.
    """

    spec: Any
    coding: LabelCoding | None = None
    model: LabelModel | None = None

    @property
    def joint(self) -> bool:
        """Whether the label is part of the kernel."""
        return isinstance(self.spec, str) and self.spec == "joint"


@dataclass(frozen=True, eq=False)
class State:
    """Rows, reference and sums.

    Parameters
    ----------
    computing, labelling
        Frozen choices; the label model follows the reference.
    points, reference : array or tensor of shape (N, d), (M, d)
        Encoded features, with the label in one more column in the joint kernel.
    codes, reference_codes : ndarray of shape (N,), (M,), optional
        Coded labels.
    sums : Sums
        Kernel sums and weights.
    residuals : ndarray of shape (N,), optional
        ρ_i = |ψ(y_i) − m(x_i)|.
    """

    computing: Computing
    labelling: Labelling
    points: Any
    reference: Any
    codes: Array | None
    reference_codes: Array | None
    sums: Sums
    residuals: Array | None

    def __len__(self) -> int:
        """Return N."""
        return len(self.sums.weights)

    @cached_property
    def rows(self) -> ReadyRows:
        """The train rows as kernel sums take them."""
        return self.computing.ready(self.points)

    @cached_property
    def reference_rows(self) -> ReadyRows:
        """The reference rows likewise."""
        return self.computing.ready(self.reference)

    def carrying(self, **made: ReadyRows) -> State:
        """Return this state, just made, with `rows` and `reference_rows` known from an earlier one."""
        vars(self).update(made)
        return self

    @property
    def features(self) -> Any:
        """Encoded features of the train rows."""
        return self.points[:, :-1] if self.labelling.joint else self.points

    @property
    def reference_features(self) -> Any:
        """Encoded features of the reference rows."""
        return self.reference[:, :-1] if self.labelling.joint else self.reference

    @property
    def reference_residuals(self) -> Array | None:
        """ρ of the reference rows, each predicted without itself."""
        return None if self.labelling.model is None else self.labelling.model.held_out


def start(
    computing: Computing,
    labelling: Labelling,
    features: Any,
    codes: Array | None,
    reference: Any,
    reference_codes: Array | None,
    weights: Array,
) -> State:
    """Compute everything once."""
    model = None
    if labelling.coding is not None and reference_codes is not None:
        model = fit_label_model(labelling.spec, computing.kernel, reference, reference_codes, labelling.coding,
                                computing.center)  # fmt: skip
    labelling = replace(labelling, model=model)
    rows = computing.ready(_points(labelling, features, codes))
    others = computing.ready(_points(labelling, reference, reference_codes))
    cross, reference_cross, residuals = _against(computing, labelling, rows, codes, others, weights)
    sums = Sums(
        within=computing.apart(rows, None if (weights == 1).all() else weights),
        cross=cross,
        weights=weights,
        reference_within=computing.apart(others),
        reference_cross=reference_cross,
        at_zero=float(computing.kernel.at_zero),
    )
    state = State(computing, labelling, rows.source, others.source, codes, reference_codes, sums, residuals)
    return state.carrying(rows=rows, reference_rows=others)


def add(state: State, features: Any, codes: Array | None, weights: Array, coding: LabelCoding | None) -> State:
    """Append rows: d (N m + m²/2 + m M) multiplications."""
    labelling = replace(state.labelling, coding=coding)
    sums, computing = state.sums, state.computing
    new = computing.ready(_points(labelling, features, codes))
    # Weighted by a vector of ones or by nothing, sums are the same; nothing is faster.
    onto_old, onto_new = computing.both(state.rows, new, _unless_ones(sums.weights), _unless_ones(weights))
    cross, onto_reference, residuals = _against(computing, labelling, new, codes, state.reference_rows, weights)
    within = onto_new + computing.apart(new, weights)
    rows = state.rows.with_below(join(state.points, new.source), new)
    grown = replace(
        state,
        labelling=labelling,
        points=rows.source,
        codes=None if codes is None or state.codes is None else np.r_[state.codes, codes],
        residuals=None if residuals is None or state.residuals is None else np.r_[state.residuals, residuals],
        sums=replace(
            sums,
            within=np.r_[sums.within + onto_old, within],
            cross=np.r_[sums.cross, cross],
            weights=np.r_[sums.weights, weights],
            reference_cross=sums.reference_cross + onto_reference,
        ),
    )
    return grown.carrying(rows=rows, reference_rows=state.reference_rows)


def remove(state: State, positions: Positions) -> State:
    """Drop rows: d m (N + M) multiplications."""
    gone, weights = take(state.points, positions), state.sums.weights[positions]
    within = state.sums.within - state.computing.one(state.rows, gone, weights)
    onto_reference = state.computing.one(state.reference_rows, gone, weights)
    sums = replace(state.sums, within=within, reference_cross=state.sums.reference_cross - onto_reference)
    keep = np.ones(len(state), dtype=bool)
    keep[positions] = False
    kept = select(replace(state, sums=sums), np.flatnonzero(keep))
    return kept.carrying(rows=state.rows.with_only(kept.points, keep), reference_rows=state.reference_rows)


def exchange(
    state: State, positions: Positions, features: Any, codes: Array | None, weights: Array, coding: LabelCoding | None
) -> State:
    """Put other rows in the place of some: d m (2 N + m + 2 M) multiplications."""
    labelling, computing, sums, m = replace(state.labelling, coding=coding), state.computing, state.sums, len(positions)
    new, gone, w = computing.ready(_points(labelling, features, codes)), take(state.points, positions), sums.weights
    change, staying = np.r_[weights, -w[positions]], w.copy()
    staying[positions] = 0.0
    onto_kept, from_kept = computing.both(state.rows, join(new.source, gone), staying, change)
    cross, onto_reference, residuals = _against(computing, labelling, new, codes, state.reference_rows, weights)
    within = sums.within + onto_kept
    within[positions] = from_kept[:m] + computing.apart(new, weights)
    rows = state.rows.with_put(put(state.points, positions, new.source), positions, new)
    onto_reference = onto_reference - computing.one(state.reference_rows, gone, w[positions])
    changed = replace(
        state,
        labelling=labelling,
        points=rows.source,
        codes=_put(state.codes, positions, codes),
        residuals=_put(state.residuals, positions, residuals),
        sums=replace(
            sums,
            within=within,
            cross=_put(sums.cross, positions, cross),
            weights=_put(w, positions, weights),
            reference_cross=sums.reference_cross + onto_reference,
        ),
    )
    return changed.carrying(rows=rows, reference_rows=state.reference_rows)


def select(state: State, positions: Positions) -> State:
    """Take rows in an order; the sums over all rows stay what they are."""
    sums = state.sums
    return replace(
        state,
        points=take(state.points, positions),
        codes=None if state.codes is None else state.codes[positions],
        residuals=None if state.residuals is None else state.residuals[positions],
        sums=replace(sums, within=sums.within[positions], cross=sums.cross[positions], weights=sums.weights[positions]),
    )


def reweight(state: State, positions: Positions, weights: Array) -> State:
    """Give rows other weights: d m (N + M) multiplications."""
    change = weights - state.sums.weights[positions]
    moved, sums = take(state.points, positions), state.sums
    within = sums.within + state.computing.one(state.rows, moved, change)
    within[positions] -= change * sums.at_zero
    after = sums.weights.copy()
    after[positions] = weights
    onto_reference = state.computing.one(state.reference_rows, moved, change)
    sums = replace(sums, within=within, weights=after, reference_cross=sums.reference_cross + onto_reference)
    return replace(state, sums=sums).carrying(rows=state.rows, reference_rows=state.reference_rows)


def add_reference(state: State, features: Any, codes: Array | None) -> State:
    """Append reference rows and fit the label model anew: d m (N + M), and the rescoring."""
    old, labelling, computing, sums = state.sums, state.labelling, state.computing, state.sums
    new = computing.ready(_points(labelling, features, codes))
    onto_train, from_train = computing.both(state.rows, new, _unless_ones(old.weights), None)
    onto_old, onto_new = computing.both(state.reference_rows, new, None, None)
    sums = replace(
        old,
        cross=old.cross + onto_train,
        reference_cross=np.r_[old.reference_cross, from_train],
        reference_within=np.r_[old.reference_within + onto_old, onto_new + computing.apart(new)],
    )
    both = join(state.reference, new.source)
    others = state.reference_rows.with_below(both, new)
    known = {"rows": state.rows, "reference_rows": others}
    all_codes = None if codes is None or state.reference_codes is None else np.r_[state.reference_codes, codes]
    grown = replace(state, reference=both, reference_codes=all_codes, sums=sums).carrying(**known)
    if labelling.model is None or labelling.coding is None or all_codes is None:
        return grown
    kernel, center = computing.kernel, computing.center
    model = fit_label_model(labelling.spec, kernel, both, all_codes, labelling.coding, center)
    labelling = replace(labelling, model=model)
    _, residuals = _scored(computing, labelling, state.rows, state.codes, others)
    return replace(grown, labelling=labelling, residuals=residuals).carrying(**known)


def recoded(state: State, coding: LabelCoding, moved: npt.NDArray[np.intp]) -> State:
    """Give classes other codes; no sum depends on them."""

    def renamed(codes: Array | None) -> Array | None:
        return codes if codes is None or not len(moved) else moved[codes.astype(np.intp)].astype(np.float64)

    labelling = replace(state.labelling, coding=coding)
    codes, reference_codes = renamed(state.codes), renamed(state.reference_codes)
    return replace(
        state,
        labelling=labelling,
        codes=codes,
        reference_codes=reference_codes,
        points=_points(labelling, state.features, codes),
        reference=_points(labelling, state.reference_features, reference_codes),
    )


def query(state: State, features: Any, codes: Array | None) -> tuple[Array, Array, Array | None]:
    """Return, at new rows, the mean embedding of the train rows, the gap g, and residuals; nothing is stored."""
    rows, sums = state.computing.ready(_points(state.labelling, features, codes)), state.sums
    own = state.computing.one(rows, state.rows, _unless_ones(sums.weights)) / sums.mass
    cross, residuals = _scored(state.computing, state.labelling, rows, codes, state.reference_rows)
    return own, own - cross / sums.m, residuals


def _points(labelling: Labelling, features: Any, codes: Array | None) -> Any:
    """Rows as the kernel sees them."""
    return beside(features, codes) if labelling.joint and codes is not None else features


def _put(old: Array | None, positions: Positions, new: Array | None) -> Any:
    """Return a copy with some entries replaced."""
    if old is None or new is None:
        return old
    out = old.copy()
    out[positions] = new
    return out


def _unless_ones(weights: Array) -> Array | None:
    return None if (weights == 1).all() else weights


def _against(
    computing: Computing,
    labelling: Labelling,
    points: ReadyRows,
    codes: Array | None,
    reference: ReadyRows,
    weights: Array,
) -> tuple[Array, Array, Array | None]:
    """Sums over the reference, sums of the reference over these rows, and residuals, in one pass over the pairs."""
    mixed = _mixed(labelling, len(reference))
    rows, columns = computing.both(points, reference, _unless_ones(weights), mixed)
    cross, residuals = _taken_apart(labelling, rows, points.source, codes)
    return cross, columns, residuals


def _scored(
    computing: Computing, labelling: Labelling, points: ReadyRows, codes: Array | None, reference: ReadyRows
) -> tuple[Array, Array | None]:
    """Sums over the reference, and residuals."""
    rows = computing.one(points, reference, _mixed(labelling, len(reference)))
    return _taken_apart(labelling, rows, points.source, codes)


def _mixed(labelling: Labelling, m: int) -> Array | None:
    """Weights of the reference rows: ones, and beside them the coefficients of the conditional mean embedding."""
    coefficients = None if labelling.model is None else labelling.model.coefficients
    return None if coefficients is None else np.column_stack([np.ones(m), coefficients])


def _taken_apart(labelling: Labelling, rows: Array, points: Any, codes: Array | None) -> tuple[Array, Array | None]:
    model, coding = labelling.model, labelling.coding
    cross = rows[:, 0] if rows.ndim == 2 else rows
    if model is None or coding is None or codes is None:
        return cross, None
    predicted = model.predict(points) if model.coefficients is None else rows[:, 1:]
    return cross, coding.residuals(codes, predicted)
