"""From a graph to the columns that a weighted controlled direct effect needs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v1 as nw
import pandas as pd

from causalif._errors import IdentificationWarning, InputError


@dataclass(frozen=True, eq=False)
class Chosen:
    """The columns that are adjusted for, and where they come from."""

    mediators: tuple[str, ...]
    adjust: tuple[str, ...]
    sets: Any
    warnings: tuple[str, ...] = ()


def from_lists(mediators: Sequence[str], adjust: Sequence[str]) -> Chosen:
    """Return the columns that the user listed."""
    for role, names in (("mediators", mediators), ("adjust", adjust)):
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise InputError(f"`{role}` must be a list of column names, such as ['m1', 'm2']. Got {names!r} instead.")
    sets = {"mediators": tuple(mediators), "covariates": tuple(adjust)}
    return Chosen(tuple(mediators), tuple(adjust), sets)


def from_graph(dag: Any, data: Any, treatment: str, outcome: str) -> Chosen:
    """Return the optimal set among the columns of the data, mediators and covariates apart."""
    from causalif.graphs import adjustment_sets

    names = _column_names(data)
    if not hasattr(dag, "nodes"):
        raise InputError(
            f"`dag` must be a networkx.DiGraph or a PDAG; text is read by causalif.parse_dag. Got {type(dag).__name__}."
        )
    nodes = set(dag.nodes)
    for role, name in (("treatment", treatment), ("outcome", outcome)):
        if name not in nodes:
            raise InputError(f"`{role}` {name!r} is not a node of `dag`. Its nodes are {sorted(map(str, nodes))[:12]}.")
    observed = [name for name in names if name in nodes]
    sets = adjustment_sets(dag, treatment=treatment, outcome=outcome, effect="wcde", observed=observed)
    mediators = tuple(name for name in names if name in sets.mediators)
    covariates = tuple(name for name in names if name in sets.covariates)
    warned = []
    if sets.zero_by_graph:
        warned.append(
            f"`dag` has no edge {treatment} -> {outcome}, so the weighted controlled direct effect is 0 by the graph "
            "itself. The estimate only tests the graph: an interval without 0 speaks against it."
        )
        warnings.warn(warned[0], IdentificationWarning, stacklevel=4)
    return Chosen(mediators, covariates, sets, tuple(warned))


def _column_names(data: Any) -> list[Any]:
    if isinstance(data, pd.DataFrame):
        return list(data.columns)
    try:
        return list(nw.from_native(data, eager_only=True).columns)
    except TypeError as error:
        raise InputError(f"`data` must be a pandas or polars DataFrame. Got {type(data).__name__} instead.") from error
