"""Reading `mediator_law`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import pandas as pd

from causalif._errors import InputError
from causalif.estimands.mediator_law import MARGINAL, MediatorLaw
from causalif.estimators.wcde.columns import MOST_CELLS, Columns

Law: TypeAlias = Literal["marginal", "control"] | Mapping[str, Any]


def check_law(law: Law, mediators: Sequence[str] | None = None) -> None:
    """Raise on a law that cannot be right whatever the data are; ``mediators`` where they are known."""
    if isinstance(law, str):
        if law not in ("marginal", "control"):
            raise InputError(
                f'`mediator_law` must be "marginal", "control" or a mapping from mediators to values or to '
                f"probabilities. Got {law!r} instead."
            )
        return
    if not isinstance(law, Mapping) or not law:
        raise InputError(
            '`mediator_law` must be "marginal", "control", or a mapping such as {"M": 1} (fix M at 1) or '
            f'{{"M": {{0: 0.4, 1: 0.6}}}} (draw M from these probabilities). Got {law!r} instead.'
        )
    if mediators is not None and set(law) != set(mediators):
        raise InputError(
            f"`mediator_law` must say how each mediator is set: they are {list(mediators)}, and it names {list(law)}."
        )
    for name, chosen in law.items():
        if isinstance(chosen, Mapping):
            _check_probabilities(name, chosen)


def _check_probabilities(name: str, chosen: Mapping[Any, Any]) -> None:
    shares = list(chosen.values())
    numbers = all(isinstance(share, (int, float)) and not isinstance(share, bool) for share in shares)
    if not numbers or not all(0 <= share <= 1 for share in shares) or not math.isclose(sum(shares), 1, abs_tol=1e-8):
        raise InputError(
            f"`mediator_law[{name!r}]` must give probabilities between 0 and 1 that add up to 1. Got {dict(chosen)!r}."
        )


def read_law(law: Law, columns: Columns, mediators: Sequence[str], control: int) -> MediatorLaw:
    """Return the law on the cells of the data."""
    if isinstance(law, str):
        return MARGINAL if law == "marginal" else MediatorLaw(arm=float(control))
    check_law(law, mediators)
    if columns.cells is None or columns.shown is None:
        raise InputError(
            "`mediator_law` can fix the values of discrete mediators only, and these take more than "
            f'{MOST_CELLS} joint values: hardly any row has exactly the value asked for. Use "marginal" or "control", '
            "or group the mediators' values."
        )
    shown = columns.shown
    for name, chosen in law.items():
        _require_seen(name, list(chosen) if isinstance(chosen, Mapping) else [chosen], shown[name])
    masses = [math.prod(_share(law[name], line[name]) for name in mediators) for _, line in shown.iterrows()]
    if not math.isclose(sum(masses), 1.0, abs_tol=1e-8):
        raise InputError(
            f"`mediator_law` gives probability {1 - sum(masses):.3g} to combinations of {list(mediators)} that no row "
            "has. Give them probability zero, or choose values that occur together."
        )
    return MediatorLaw(given=tuple(masses))


def _require_seen(name: str, asked: list[Any], present: pd.Series) -> None:
    unseen = [value for value in asked if value not in list(present)]
    if unseen:
        values = list(dict.fromkeys(present))
        raise InputError(f"`mediator_law` sets {name!r} to {unseen[0]!r}, which no row has. Its values are {values}.")


def _share(chosen: Any, value: Any) -> float:
    if isinstance(chosen, Mapping):
        return float(chosen.get(value, 0.0))
    return float(chosen == value)


def described(law: Law, mediators: Sequence[str], control: Any) -> str:
    """Return one sentence that says which law is used."""
    names = ", ".join(mediators)
    if law == "marginal":
        return f"observed joint law of {names} among all rows, the same in both arms; fixed jointly"
    if law == "control":
        return f"observed joint law of {names} among rows at the control level {control}, the same in both arms"
    assert isinstance(law, Mapping)
    return "given: " + ", ".join(
        f"{name} ~ {dict(chosen)}" if isinstance(chosen, Mapping) else f"{name} = {chosen}"
        for name, chosen in law.items()
    )
