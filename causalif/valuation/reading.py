"""What a valuation takes: batches that fit its first fit, row labels, groups; and its rows as they came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array
from causalif.valuation.inputs import Rows, read_rows

if TYPE_CHECKING:
    from causalif.valuation.valuation import Valuation


def read(value: Valuation, role: str, data: Any, label: Any, weights: Any, *, with_weights: bool = True) -> Rows:
    """Take a batch apart, with the roles of the first fit."""
    labelled = value.state.labelling.coding is not None
    label = value.roles.label if label is None else label
    weights = value.roles.weights if weights is None and with_weights else weights
    unused = [value.roles.weights] * (not with_weights) + [value.roles.label] * (not labelled)
    if isinstance(data, pd.DataFrame):
        data = data.drop(columns=[name for name in unused if name is not None], errors="ignore")
    if labelled and label is None:
        raise InputError(f"`label` must be given with `{role}`, as labels came as an array at the first fit.")
    return read_rows(role, data, label=label if labelled else None, weights=weights, features=value.roles.features)


def encoded(value: Valuation, rows: Rows, role: str) -> tuple[Any, Array | None, Any]:
    """Return features, codes and the coding, grown by classes that are new."""
    coding = value.state.labelling.coding
    features = value.encoder(rows.features, role)
    if coding is None or rows.labels is None:
        return features, None, coding
    coding = coding.extended(rows.labels)
    return features, coding.codes(rows.labels, role), coding


def weights_of(rows: Rows) -> Array:
    """Return row weights, ones where none came."""
    return np.ones(len(rows.index)) if rows.weights is None else rows.weights


def positions(value: Valuation, index: Any) -> npt.NDArray[np.intp]:
    """Return positions of row labels, each of which must name one row and be asked for once."""
    wanted = _labels(index)
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


def _labels(index: Any) -> pd.Index:
    try:
        return pd.Index([index] if np.isscalar(index) or isinstance(index, tuple) else index)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`index` must be a row label or a list of them. Got {type(index).__name__}; pass values.index[...]."
        ) from error


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


def original(value: Valuation) -> pd.DataFrame | None:
    """Return the rows as they came, None where they are not at hand."""
    if not value.sources:
        return None
    frame = value.sources[0] if len(value.sources) == 1 else pd.concat(value.sources)
    if len(frame) == len(value):
        return frame
    return frame.loc[value.index] if frame.index.is_unique else None


def groups(value: Valuation, by: Any) -> pd.Series:
    """Return groups as a Series, from a column or as given."""
    if not isinstance(by, str):
        given = by if isinstance(by, pd.Series) else pd.Series(np.asarray(by), name="group")
        return pd.Series(aligned(value, "by", given), name=given.name)
    frame = original(value)
    if frame is None or by not in frame.columns:
        raise InputError(f"`by` names {by!r}, which is no column of the fitted rows. Pass a Series of groups.")
    return frame[by]


def aligned(value: Valuation, name: str, values: Any) -> npt.NDArray[Any]:
    """Return one value per train row; a Series is matched by its index."""
    if isinstance(values, pd.Series) and values.index.is_unique and value.index.isin(values.index).all():
        values = values.loc[value.index]
    plain = np.asarray(values)
    if plain.shape != (len(value),):
        raise InputError(f"`{name}` must have one value per train row, {len(value):,}. Got {plain.shape}.")
    return plain
