"""Which routes to the weighted controlled direct effect go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from causalif._errors import InputError
from causalif._validate import one_of
from causalif.engine.learners import Learners
from causalif.estimators.wcde.columns import MOST_CELLS, Columns
from causalif.estimators.wcde.sets import Chosen

Method: TypeAlias = Literal["one_step", "tmle"]
WeightsBy: TypeAlias = Literal["classification", "riesz"]


def check_weight_learners(learners: Learners, weights_by: WeightsBy) -> None:
    """Raise on learners that least squares has no use for."""
    one_of("weights_by", weights_by, ("classification", "riesz"))
    if weights_by == "classification" or not isinstance(learners, Mapping):
        return
    unused = [name for name in ("treatment", "mediator") if name in learners]
    unused += [name for name in ("density_ratio",) if not isinstance(learners.get(name, "auto"), str)]
    if unused:
        raise InputError(
            f'`learners` names {unused}, which weights_by="riesz" does not use: the weights are fitted as a whole by '
            'least squares. Name "outcome" only, or take weights_by="classification".'
        )


def check_route(chosen: Chosen, method: Method, weights_by: WeightsBy) -> None:
    """Raise on a method or weights that this question has no use for."""
    one_of("method", method, ("one_step", "tmle"))
    if weights_by == "riesz" and not chosen.mediators:
        raise InputError('`weights_by="riesz"` is for mediators, and there are none. Leave it at "classification".')
    if chosen.intermediate and (method, weights_by) != ("one_step", "classification"):
        asked = 'method="tmle"' if method == "tmle" else 'weights_by="riesz"'
        raise InputError(
            f"`{asked}` is not available where confounders are affected by the treatment "
            f"({list(chosen.intermediate)}): the sequential formula is estimated in one step with weights by "
            "classification. Leave both options at their defaults."
        )


def require_cells(columns: Columns, intermediate: tuple[str, ...]) -> None:
    """Raise if the sequential formula is asked for mediators with many values."""
    if intermediate and columns.cells is None:
        raise InputError(
            f"`mediators` take more than {MOST_CELLS} joint values, and {list(intermediate)} are confounders that the "
            "treatment affects: the sequential formula is estimated for discrete mediators only. Group the mediators' "
            "values, for example with pandas.qcut."
        )
