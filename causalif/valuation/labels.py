"""Labels as codes or standardised numbers, and their distance to a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import DataWarning, InputError, tell
from causalif._validate import Array
from causalif.valuation.inputs import holds_numbers

# Whole numbers with more distinct values than this are read as a numeric label.
MOST_CLASSES = 30
# So large a share of numbers among different texts makes them numbers kept as text.
_MOSTLY = 0.9


@dataclass(frozen=True)
class LabelCoding:
    """How labels become numbers, learned from the reference.

    Parameters
    ----------
    kind : {"classes", "numbers"}
        Codes 0, 1, ... or standardised numbers.
    levels : tuple
        Classes, those of the reference first.
    known : int
        How many classes the reference has.
    center, unit : float
        Mean and standard deviation of a numeric label on the reference.
    """

    kind: str
    levels: tuple[Any, ...] = ()
    known: int = 0
    center: float = 0.0
    unit: float = 1.0

    def extended(self, values: npt.NDArray[Any]) -> LabelCoding:
        """Return the coding with classes that were not seen before, which no reference row has."""
        if self.kind == "numbers":
            return self
        levels = pd.Index(self.levels, dtype=object)
        fresh = pd.unique(pd.Series(values, dtype=object))
        added = [value for value, at in zip(fresh, levels.get_indexer(pd.Index(fresh, dtype=object)), strict=True)
                 if at < 0]  # fmt: skip
        if not added:
            return self
        shown = ", ".join(repr(value) for value in added[:5]) + ", ..." * (len(added) > 5)
        alike = _alike(added, self.levels[: self.known])
        measured = ' If it measures something, pass label_type="numbers".'
        tell(
            f"No reference row has the label {shown}, so rows with it count as mislabelled and get low values. Add "
            f"reference rows of every class, or leave the label out.{alike}{measured * holds_numbers(np.array(added))}",
            DataWarning,
        )
        return replace(self, levels=(*self.levels, *added))

    def promoted(self, values: npt.NDArray[Any]) -> tuple[LabelCoding, npt.NDArray[np.intp]]:
        """Return the coding once reference rows with these labels join, and the new code of every old one."""
        if self.kind == "numbers":
            return self, np.empty(0, dtype=np.intp)
        fresh = [v for v in pd.unique(pd.Series(values, dtype=object)) if v not in self.levels[: self.known]]
        rest = [level for level in self.levels[self.known :] if level not in fresh]
        levels = (*self.levels[: self.known], *fresh, *rest)
        moved = pd.Index(levels, dtype=object).get_indexer(pd.Index(self.levels, dtype=object))
        return replace(self, levels=levels, known=self.known + len(fresh)), moved

    def codes(self, values: npt.NDArray[Any], role: str) -> Array:
        """Return codes of classes, or standardised numbers, as float64."""
        if self.kind == "numbers":
            return (_numbers(values, role) - self.center) / self.unit
        found = pd.Index(self.levels, dtype=object).get_indexer(pd.Index(values, dtype=object))
        return np.asarray(found, dtype=np.float64)

    def decoded(self, codes: Array) -> npt.NDArray[Any]:
        """Return labels in their own terms."""
        if self.kind == "numbers":
            return codes * self.unit + self.center
        levels = np.array(self.levels)
        if len({type(level) for level in self.levels}) > 1:  # numbers beside text would become text
            levels = np.array(self.levels, dtype=object)
        return levels[codes.astype(np.intp)]

    def supervised(self, codes: Array, other: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return labels of coded rows and of other ones as a model takes them: of one type, or as codes."""
        if self.kind == "numbers":
            return self.decoded(codes), _numbers(other, "test")
        own = self.decoded(codes)
        if own.dtype == object:  # of several types, or of one that arrays do not have; unknown classes are -1
            return codes.astype(np.intp), self.codes(other, "test").astype(np.intp)
        return own, np.array(other.tolist())

    @property
    def width(self) -> int:
        """Number of columns of the label's feature map."""
        return 1 if self.kind == "numbers" else self.known

    def targets(self, codes: Array) -> Array:
        """ψ(y): one-hot rows, or the standardised numbers as one column."""
        if self.kind == "numbers":
            return codes[:, None]
        return np.asarray(codes[:, None] == np.arange(self.known), dtype=np.float64)

    def residuals(self, codes: Array, predicted: Array) -> Array:
        """|ψ(y) − m(x)|; a class that the reference lacks is a coordinate that is never predicted."""
        squares = np.square(self.targets(codes) - predicted).sum(axis=1)
        if self.kind == "classes":
            squares += codes >= self.known
        return np.sqrt(squares)


def fit_coding(reference: npt.NDArray[Any], train: npt.NDArray[Any], label_type: str) -> LabelCoding:
    """Learn classes, or mean and spread, from the reference labels."""
    if label_type == "auto":
        _require_plain(reference, "reference")
        _require_plain(train, "train")
    kind = _kind(reference, train) if label_type == "auto" else label_type
    if kind == "numbers":
        values = _numbers(reference, "reference")
        unit = float(values.std())
        if not unit > 0:
            raise InputError(
                f"`label` is constant on the reference ({values[0]:g}), so its scale is unknown. Pass a reference in "
                'which it varies, or label_type="classes".'
            )
        return LabelCoding("numbers", center=float(values.mean()), unit=unit)
    levels = tuple(sorted(pd.unique(pd.Series(reference, dtype=object)), key=lambda v: (str(type(v)), v)))
    coding = LabelCoding("classes", levels, len(levels))
    if not pd.Series(train, dtype=object).isin(levels).any():
        raise InputError(
            f"No row of `train` has a label that the reference has. Got {train[0]!r} in `train`, and in the reference "
            f"{', '.join(map(repr, levels[:3]))}{', ...' * (len(levels) > 3)}; write both in the same way."
        )
    return coding.extended(train)


def _alike(added: Sequence[Any], known: Sequence[Any]) -> str:
    """Say which new class is written almost like one of the reference."""
    written = {str(level).strip().casefold(): level for level in known}
    found = next(((one, written[str(one).strip().casefold()]) for one in added
                  if str(one).strip().casefold() in written), None)  # fmt: skip
    return f" Is {found[0]!r} the {found[1]!r} of the reference?" if found else ""


def _require_plain(values: npt.NDArray[Any], role: str) -> None:
    """Refuse times, and many different numbers kept as text, which would become as many classes."""
    if values.dtype.kind in "mM":
        raise InputError(f"`label` of `{role}` holds {values.dtype}. Convert times to numbers, such as days.")
    if values.dtype.kind not in "OUT":
        return
    texts = pd.Series([one for one in pd.unique(pd.Series(values, dtype=object)) if isinstance(one, str)], dtype=object)
    if len(texts) > MOST_CLASSES and pd.to_numeric(texts, errors="coerce").notna().mean() >= _MOSTLY:
        raise InputError(
            f"`label` of `{role}` holds {len(texts):,} different numbers as text, such as {texts[0]!r}. Convert it "
            'with pd.to_numeric, or pass label_type="classes" where they are codes.'
        )


def _kind(reference: npt.NDArray[Any], train: npt.NDArray[Any]) -> str:
    """Classes if text, bools or few whole numbers, else numbers."""
    if not (holds_numbers(reference) and holds_numbers(train)):
        return "classes"
    values = np.concatenate([_numbers(reference, "reference"), _numbers(train, "train")])
    whole = bool((values == np.round(values)).all())
    return "classes" if whole and len(np.unique(values)) <= MOST_CLASSES else "numbers"


def _numbers(values: npt.NDArray[Any], role: str) -> Array:
    if values.dtype.kind not in "fiub" and not holds_numbers(values):
        raise InputError(f"A numeric `label` must hold numbers. Got {values.dtype} in `{role}`, as {values[0]!r}.")
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        bad = int((~np.isfinite(numbers)).sum())
        raise InputError(f"`label` of `{role}` has {bad:,} missing or infinite values. Drop those rows.")
    return numbers
