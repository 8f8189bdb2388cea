"""Small checks of arguments, each with one sentence that says how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from causalif._errors import InputError

Array: TypeAlias = npt.NDArray[np.float64]
_MANY = 10_000  # among more names a misspelt one is looked for by case only, as comparing them takes long


def in_range(name: str, value: float, low: float, high: float, *, open_ends: bool = True) -> float:
    """Return ``value`` as a float, or raise when it is not a number between ``low`` and ``high``."""
    inside = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    inside = inside and (low < value < high if open_ends else low <= value <= high)
    if not inside:
        ends = "strictly between" if open_ends else "between"
        raise InputError(f"`{name}` must be a number {ends} {low:g} and {high:g}. Got {value!r} instead.")
    return float(value)


def whole_number(name: str, value: object, low: int) -> int:
    """Return ``value`` as an int, or raise when it is not a whole number of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
        raise InputError(f"`{name}` must be a whole number of at least {low}. Got {value!r} instead.")
    return int(value)


def one_of(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise unless ``value`` is one of ``choices``."""
    choices = tuple(choices)
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise InputError(f"`{name}` must be one of {listed}. Got {value!r} instead.")


def closest(name: object, known: Sequence[str]) -> str:
    """Return which of some names is written most like an unknown one, case aside; empty where none comes near."""
    wanted, folded = str(name).casefold(), [one.casefold() for one in known]
    near = [wanted] if wanted in folded else []
    if not near and len(folded) <= _MANY:
        near = difflib.get_close_matches(wanted, folded, n=1)
    return known[folded.index(near[0])] if near else ""
