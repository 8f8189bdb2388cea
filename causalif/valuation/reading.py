"""What a valuation takes: batches that fit its first fit, row labels, groups; and its rows as they came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import DataWarning, InputError, tell
from causalif._validate import Array, closest
from causalif.valuation.inputs import Rows, as_frame, in_order, read_rows

if TYPE_CHECKING:
    from causalif.valuation.valuation import Valuation


def read(value: Valuation, role: str, data: Any, label: Any, weights: Any, *, with_weights: bool = True) -> Rows:
    """Take a batch apart, with the roles of the first fit."""
    labelled = value.state.labelling.coding is not None
    label = value.roles.label if label is None else label
    weights = value.roles.weights if weights is None and with_weights else weights
    unused = [value.roles.weights] * (not with_weights) + [value.roles.label] * (not labelled)
    if labelled and label is None:
        raise InputError(f"`label` must be given with `{role}`, as labels came as an array at the first fit.")
    given = label if labelled else None
    return read_rows(role, data, label=given, weights=weights, features=value.roles.features, ignored=unused)


def encoded(value: Valuation, rows: Rows, role: str) -> tuple[Any, Array | None, Any]:
    """Return features, codes and the coding, grown by classes that are new."""
    coding = value.state.labelling.coding
    features = value.encoder(rows.features, role)
    if coding is None or rows.labels is None:
        return features, None, coding
    coding = coding.extended(rows.labels)
    return features, coding.codes(rows.labels, role), coding


def weights_of(value: Valuation, rows: Rows) -> Array:
    """Return weights of new rows, ones where none came."""
    if rows.weights is not None:
        return rows.weights
    others = value.state.sums.weights
    if (others != 1).any():
        tell(
            f"The new rows count 1 each, the others {others.min():g} to {others.max():g}. Pass `weights`, ones if so "
            "meant.",
            DataWarning,
        )
    return np.ones(len(rows.index))


def masses(weights: Any, index: pd.Index | None, n: int) -> Array:
    """Return one weight per row, from one for all or one for each; a Series is matched by the index of the rows."""
    matched = weights if index is None else in_order("weights", weights, index)
    try:
        given = np.asarray(matched, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"`weights` must be numbers above zero. Got {weights!r}.") from error
    if given.shape not in ((), (n,)):
        raise InputError(f"`weights` must be one number, or one for each of the {n} rows. Got shape {given.shape}.")
    if not np.isfinite(given).all() or (given <= 0).any():
        raise InputError("`weights` must be finite numbers above zero; `remove` rows that should not count.")
    return np.broadcast_to(given, (n,)).copy()


def positions(value: Valuation, index: Any) -> npt.NDArray[np.intp]:
    """Return positions of row labels, each of which must name one row and be asked for once."""
    wanted = _labels(value, index)
    if wanted.inferred_type == "boolean" and value.index.inferred_type != "boolean":
        raise InputError("`index` must hold row labels. Got booleans; pass values.index[mask].")
    missing = wanted[~wanted.isin(value.index)]
    if len(missing):
        raise InputError(f"`index` names rows that are not there: {missing[:5].tolist()}. Look at `values.index`.")
    shared = value.index[value.index.duplicated()]
    if wanted.isin(shared).any():
        raise InputError(
            f"`index` names {_named(wanted[wanted.isin(shared)])}, and several rows have the same label, so that it "
            "does not say which is meant. Give every row a label of its own before the fit, for instance by "
            "train.reset_index(drop=True)."
        )
    if wanted.has_duplicates:
        raise InputError(f"`index` names {_named(wanted[wanted.duplicated()])} twice. List each row once.")
    return np.asarray(value.index.get_indexer_for(wanted))  # in the order asked for


def places(value: Valuation, index: Any, rows: Rows) -> npt.NDArray[np.intp]:
    """Return where new rows go: a table with the labels asked for goes by its labels, others by their order."""
    at = positions(value, index)
    if len(rows.index) != len(at):
        raise InputError(f"`batch` must have one row for each of the {len(at)} labels. Got {len(rows.index)}.")
    wanted = value.index[at]
    if rows.frame is None or not rows.has_index or rows.index.equals(wanted):
        return at
    known = rows.index.isin(wanted)
    if known.all() and rows.index.is_unique:
        return positions(value, rows.index)
    if known.any() and not isinstance(rows.index, pd.RangeIndex):
        raise InputError(
            f"`batch` has some row labels of `index`, such as {rows.index[known][0]!r}, and some others, such as "
            f"{rows.index[~known][:1].tolist()}. Give it all of them, or none by batch.reset_index(drop=True)."
        )
    return at


def _labels(value: Valuation, index: Any) -> pd.Index:
    if isinstance(index, pd.DataFrame):
        raise InputError("`index` must hold row labels. Got a table; pass its `.index`.")
    # A slice reaches pandas as it is and is refused there.
    several = isinstance(index, slice) or (pd.api.types.is_list_like(index) and not isinstance(index, tuple))
    try:
        labels = index if isinstance(index, pd.Index) else pd.Index(index if several else [index])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`index` must be a row label or a list of them. Got {type(index).__name__}; pass values.index[...]."
        ) from error
    if labels.nlevels != value.index.nlevels and len(labels):
        raise InputError(
            f"`index` must hold row labels of {value.index.nlevels} parts, as `values.index` has. Got {labels[0]!r}."
        )
    return labels


def _named(labels: pd.Index, most: int = 5) -> str:
    """Write distinct labels, a long list cut short."""
    different = labels.unique()
    more = f" and {len(different) - most:,} more" if len(different) > most else ""
    return f"row{'s' * (len(different) > 1)} {', '.join(map(repr, different[:most].tolist()))}{more}"


def new_index(value: Valuation, rows: Rows, given: Any) -> pd.Index:
    """Return the labels of new rows, which no other row may have."""
    if given is not None:
        labels = pd.Index(given)
    elif rows.frame is not None and rows.has_index:
        labels = rows.index
    elif pd.api.types.is_integer_dtype(value.index.dtype):
        first = int(value.index.max()) + 1
        labels = pd.RangeIndex(first, first + len(rows.index))
    else:
        raise InputError("`index` must be given for rows without labels: the labels so far are not whole numbers.")
    if len(labels) != len(rows.index):
        raise InputError(f"`index` must have {len(rows.index)} labels. Got {len(labels)}.")
    repeated = labels[labels.isin(value.index) | labels.duplicated()]
    if len(repeated):
        raise InputError(
            f"`batch` repeats row labels: {repeated[:5].tolist()}. Give new ones with `index`, so that rows can be "
            "told apart."
        )
    return labels


def groups(value: Valuation, by: Any) -> pd.Series:
    """Return groups as a Series, from a column or as given."""
    if not isinstance(by, str):
        if isinstance(by, (list, tuple)) and len(by) != len(value) and all(isinstance(one, str) for one in by):
            raise InputError(
                f"`by` must name one column, or give one group per row. Got {list(by)}; join columns first, for "
                "instance by=data['a'] + ' ' + data['b']."
            )
        named = isinstance(by, pd.Series)
        given = in_order("by", by, value.index) if named else pd.Series(by, name="group")
        aligned(value, "by", given.to_numpy())
        return given
    if value.source is None:
        raise InputError(f"`by` names {by!r}, but the columns are not at hand. Pass a Series of groups.")
    if by not in value.source.columns:
        texts = [str(name) for name in value.source.columns]
        close = closest(by, texts)
        hint = f"Did you mean {close!r}?" if close else f"There are {', '.join(texts[:12])}."
        raise InputError(f"`by` names {by!r}, which is no column of the fitted rows. {hint}")
    return value.source[by]


def aligned(value: Valuation, name: str, values: Any) -> npt.NDArray[Any]:
    """Return one value per train row; a Series is matched by its index."""
    plain = np.asarray(in_order(name, values, value.index))
    if plain.shape != (len(value),):
        raise InputError(f"`{name}` must have one value per train row, {len(value):,}. Got {plain.shape}.")
    return plain


def table_of(value: Valuation, data: Any) -> pd.DataFrame | None:
    """Return columns to show beside the values: those given, or those that were fitted."""
    if data is None:
        return value.source
    frame = as_frame("data", data)
    if frame is None:
        raise InputError(f"`data` must be a DataFrame of the train rows. Got {type(data).__name__}.")
    if isinstance(data, pd.DataFrame):
        frame = in_order("data", frame, value.index)
    if len(frame) != len(value):
        raise InputError(f"`data` must have the {len(value):,} train rows. Got {len(frame):,}.")
    return frame
