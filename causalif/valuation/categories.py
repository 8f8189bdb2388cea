"""Which columns are categories, and the indicators of their levels; what only looks like one is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from causalif._errors import DataWarning, InputError, tell
from causalif._validate import Array

# Levels of a category: too few to be an identifier, very many; the share of rows alone in theirs that makes one; the
# share that are no numbers among numbers kept as text; the share that are dates among dates kept as text.
_FEW, _MANY, _ALONE, _STRAYS, _MOSTLY = 20, 100, 0.9, 0.1, 0.9
# 2024-05-31, 31.5.24, 5/31/2024 and the like, with or without a time.
_DATE = r"\s*\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ]+\d{1,2}:\d{2}.*)?\s*"


def is_category(column: pd.Series, role: str) -> bool:
    """Whether a column holds text or categories rather than numbers."""
    dtype = column.dtype
    if dtype == np.dtype(object):
        known = column.dropna()
        return known.empty or not all(isinstance(one, (bool, np.bool_)) for one in known)
    if _is_declared(column) or pd.api.types.is_string_dtype(dtype):
        return True
    if pd.api.types.is_bool_dtype(dtype) or (
        pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype)
    ):
        return False
    raise InputError(
        f"Column {column.name!r} of `{role}` has dtype {dtype}, which is no number and no category. Turn it into "
        "numbers, such as a date into the days since the first, or leave the column out with `features`."
    )


def _is_declared(column: pd.Series) -> bool:
    """Whether this is a category by its type, which in Arrow's columns is called a dictionary."""
    return isinstance(column.dtype, pd.CategoricalDtype) or str(column.dtype).startswith("dictionary")


def levels_of(reference: pd.DataFrame, train: pd.DataFrame) -> dict[str, tuple[Any, ...]]:
    """Return the levels of each categorical column of two tables with the same columns."""
    missing = [name for name in reference.columns if name not in train.columns]
    added = [name for name in train.columns if name not in reference.columns]
    if missing or added:
        raise InputError(
            "`train` and `reference` must have the same feature columns. "
            f"Only in the reference: {missing or 'none'}; only in train: {added or 'none'}. Name those to look at with "
            "`features`."
        )
    found = {name: _levels_of_one(reference[name], train[name]) for name in reference.columns}
    return {name: levels for name, levels in found.items() if levels is not None}


def _levels_of_one(reference: pd.Series, train: pd.Series) -> tuple[Any, ...] | None:
    """Return the levels of a category, None for numbers; what is text in one table alone is refused."""
    name, kinds = reference.name, [is_category(reference, "reference"), is_category(train, "train")]
    if kinds[0] != kinds[1]:
        raise InputError(
            f"Column {name!r} must hold numbers in both tables or categories in both. Got {reference.dtype} in "
            f"`reference` and {train.dtype} in `train`; convert numbers with pd.to_numeric, or both with "
            ".astype('category')."
        )
    if not kinds[0]:
        _tell_counting(reference, train)
        return None
    known, other = reference.astype(object).dropna(), train.astype(object).dropna()
    counts = pd.concat([known, other]).value_counts(sort=False)
    if not (_is_declared(reference) and _is_declared(train)):
        _require_text(name, counts.index)
    _tell_levels(name, counts, other, known)
    return tuple(sorted(counts.index, key=lambda value: (str(type(value)), value)))


def _tell_counting(reference: pd.Series, train: pd.Series) -> None:
    """Warn of whole numbers that are different in all of many rows."""
    if len(train) < _MANY or not (reference.is_unique and train.is_unique):
        return
    both = pd.concat([reference, train])
    if pd.api.types.is_bool_dtype(both.dtype) or both.isna().any() or (both % 1 != 0).any():
        return
    tell(f"Column {train.name!r} holds another whole number in every row and looks like a row number or an identifier, "
         "which makes rows strange for their place alone. Leave it out by listing the others in `features`.",
         DataWarning)  # fmt: skip


def _require_text(name: Any, levels: pd.Index) -> None:
    """Refuse numbers and dates kept as text or objects: as categories they would be as many indicators."""
    other = [level for level in levels if not isinstance(level, (str, bool, np.bool_))]
    if other:
        raise InputError(
            f"Column {name!r} has dtype object and holds {type(other[0]).__name__}, for example {other[0]!r}. Convert "
            "numbers with pd.to_numeric, dates to the days since the first, and categories with "
            ".astype(str).astype('category'); or leave the column out with `features`."
        )
    texts = pd.Series([level for level in levels if isinstance(level, str)], dtype=object)
    dates = int(texts.str.fullmatch(_DATE).sum())
    if dates > _MOSTLY * len(levels):
        raise InputError(
            f"Column {name!r} holds dates as text, such as {texts[texts.str.fullmatch(_DATE)].iloc[0]!r}. Turn them "
            "into numbers, such as the days since the first, or leave the column out with `features`."
        )
    strays = texts[pd.to_numeric(texts, errors="coerce").isna()].tolist()
    if 0 < len(texts) == len(levels) and len(strays) <= _STRAYS * len(texts):
        but = f", but for {', '.join(map(repr, strays[:3]))}{', ...' * (len(strays) > 3)}" if strays else ""
        how = 'pd.to_numeric(..., errors="coerce") and fill what is missing then' if strays else "pd.to_numeric"
        raise InputError(
            f"Column {name!r} holds numbers as text{but}. Convert it with {how}, or with .astype('category') where "
            "they are codes of categories, in both tables."
        )


def _tell_levels(name: Any, counts: pd.Series, train: pd.Series, reference: pd.Series) -> None:
    """Refuse an identifier; warn of very many levels, and of those that no reference row has."""
    alone = int((counts == 1).sum())
    if len(counts) > _FEW and alone > _ALONE * counts.sum():
        raise InputError(
            f"Column {name!r} has {len(counts):,} values in {counts.sum():,} rows and looks like an identifier. Leave "
            "it out by listing the others in `features`, or group it."
        )
    if len(counts) > _MANY:
        tell(f"Column {name!r} becomes {len(counts):,} indicators, which can drown the other features. Group its "
             "levels, or leave it out with `features`.", DataWarning)  # fmt: skip
    fresh = train[~train.isin(reference.unique())]
    if len(fresh):
        shown = ", ".join(repr(level) for level in fresh.unique()[:3]) + ", ..." * (fresh.nunique() > 3)
        tell(f"Column {name!r}: {len(fresh):,} train rows hold {shown}, which no reference row has; such a level is "
             "scaled by the train rows. It makes these rows no stranger by its features, but with a label they lie far "
             "from all reference rows, and every label is a surprise there: group the level with others, or add "
             "reference rows.", DataWarning)  # fmt: skip


def indicators(frame: pd.DataFrame, name: str, levels: tuple[Any, ...], role: str) -> Array:
    """Return one indicator per level, of shape (n, levels)."""
    column = frame[name].astype(object)
    missing = column.isna().to_numpy()
    if missing.any():
        raise InputError(
            f"Column {name!r} of `{role}` has {int(missing.sum()):,} missing values. Fill them, for instance with a "
            "category of their own."
        )
    codes = pd.Index(levels, dtype=object).get_indexer(pd.Index(column, dtype=object))
    if (codes < 0).any():
        tell(f"Column {name!r} of `{role}` holds {int((codes < 0).sum()):,} values that the first fit did not see; "
             "none of its indicators is set for them.", DataWarning)  # fmt: skip
    return np.asarray(codes[:, None] == np.arange(len(levels)), dtype=np.float64)
