"""What must hold for the fields of an estimate, each with a sentence when it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array
from causalif.results.covariance import column_scale

if TYPE_CHECKING:
    from typing_extensions import TypeIs

# Largest mean of influence values, in root mean squares; beyond it the variance would be off by more than 1e-4.
_CENTRED = 1e-2


def is_number(x: object) -> TypeIs[float]:
    """Whether ``x`` is a finite or infinite real number, and no bool."""
    return isinstance(x, (int, float, np.integer, np.floating)) and not isinstance(x, bool)


def terms(values: Array, influence: Array, labels: Sequence[str]) -> dict[str, Any]:
    """Return the three fields that say what the terms are, read-only, after a check that all numbers are finite."""
    refuse_repeats(labels)
    for name, array in (("values", values), ("influence_values", influence)):
        if not np.isfinite(array).all():
            bad = np.flatnonzero(~np.isfinite(array).reshape(-1, len(labels)).all(axis=0))[0]
            raise InputError(
                f"`{name}` must be finite. Term {labels[bad]!r} is missing, infinite or beyond double precision; "
                "look for a division by nearly 0, or rescale the outcome."
            )
    return {"values": _frozen(values), "influence_values": _frozen(influence), "labels": tuple(labels)}


def checked(
    values: npt.ArrayLike, influence: npt.ArrayLike, labels: tuple[str, ...], index: object, clusters: object
) -> dict[str, Any]:
    """Return the array fields of an estimate as read-only arrays, or raise when they do not fit together."""
    theta, psi = np.array(values, dtype=float), np.asarray(influence, dtype=float)
    if theta.ndim != 1 or psi.ndim != 2 or len(theta) == 0 or psi.shape[1] != len(theta) or len(labels) != len(theta):
        raise InputError(
            f"`values` must have shape (p,), `influence_values` (n, p), and `labels` p names. Got shapes "
            f"{theta.shape} and {psi.shape} and {len(labels)} labels."
        )
    if not isinstance(index, pd.Index) or len(index) != len(psi) or len(psi) == 0:
        raise InputError(f"`index` must be the pandas.Index of the {len(psi):,} rows of `influence_values`.")
    groups = None if clusters is None else np.asarray(clusters)
    if groups is not None and groups.shape != (len(psi),):
        raise InputError(f"`clusters` must have one label per row, shape ({len(psi)},). Got shape {groups.shape}.")
    fields = terms(theta, psi, labels)
    _refuse_uncentred(psi, theta, labels)
    return fields | {"clusters": None if groups is None else _frozen(groups)}


def refuse_repeats(labels: Sequence[str]) -> None:
    """Raise unless labels are text, each used once."""
    if not all(isinstance(label, str) for label in labels):
        raise InputError(f"`labels` must be text. Got {list(labels)!r}.")
    repeated = [label for label in dict.fromkeys(labels) if labels.count(label) > 1]
    if repeated:
        raise InputError(
            f"The label {repeated[0]!r} is used more than once. Name the estimates, as in "
            "`concat({'first': a, 'second': b})`, to get labels such as 'first: ATE'."
        )


def check_jacobian(value: Array, jacobian: Array, p: int) -> None:
    """Raise unless a function's value (q,) and derivative (q, p) fit together and are finite."""
    if value.ndim != 1 or jacobian.shape != (len(value), p):
        raise InputError(
            f"`g` must return a number or a vector (q,) and `jacobian` have shape (q, {p}). Got shapes "
            f"{value.shape} and {jacobian.shape}."
        )
    if not (np.isfinite(value).all() and np.isfinite(jacobian).all()):
        raise InputError("`g` or its derivative is not finite at the estimates. Is it defined and smooth around them?")


def _refuse_uncentred(psi: Array, values: Array, labels: Sequence[str]) -> None:
    scale = column_scale(psi)
    scaled = psi if np.all(scale == 1) else psi / scale
    mean = np.abs(np.ones(len(psi)) @ scaled) / len(psi)
    size = np.sqrt(np.einsum("ij,ij->j", scaled, scaled) / len(psi))
    # Rounding of an effect that is found without error is not centred, nor does it matter.
    matters = size * scale > 1e-12 * np.abs(values)
    if np.any((mean > _CENTRED * size) & matters):
        worst = int(np.argmax(mean - _CENTRED * size))
        raise InputError(
            f"`influence_values` must have mean 0. Those of {labels[worst]!r} have mean "
            f"{mean[worst] / size[worst]:.3g} root mean squares: subtract the estimate first."
        )


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
