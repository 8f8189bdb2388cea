"""From a graph to the columns that a weighted controlled direct effect needs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx

from causalif._errors import IdentificationWarning, InputError, NotIdentifiedError
from causalif.table import column_names


@dataclass(frozen=True, eq=False)
class Chosen:
    """The columns that are adjusted for, and where they come from."""

    mediators: tuple[str, ...]
    adjust: tuple[str, ...]
    sets: Any
    intermediate: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def from_lists(mediators: Sequence[str], adjust: Sequence[str], intermediate: Sequence[str], data: Any) -> Chosen:
    """Return the columns that the user listed."""
    for role, names in (("mediators", mediators), ("adjust", adjust), ("intermediate", intermediate)):
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise InputError(f"`{role}` must be a list of column names, such as ['m1', 'm2']. Got {names!r} instead.")
    _check_intermediate(mediators, adjust, intermediate, data)
    sets = {"mediators": tuple(mediators), "covariates": tuple(adjust)}
    sets |= {"intermediate": tuple(intermediate)} if intermediate else {}
    return Chosen(tuple(mediators), tuple(adjust), sets, tuple(intermediate))


def _check_intermediate(
    mediators: Sequence[str], adjust: Sequence[str], intermediate: Sequence[str], data: Any
) -> None:
    if not intermediate:
        return
    if not mediators:
        raise InputError(
            "`intermediate` names confounders of the mediators with the outcome, and there are no `mediators`. For a "
            "total effect, variables that the treatment affects must not be adjusted for at all."
        )
    for role, names in (("mediators", mediators), ("adjust", adjust)):
        twice = [name for name in intermediate if name in names]
        if twice:
            raise InputError(
                f"Column {twice[0]!r} is given twice, as `intermediate` and as `{role}`. Each column can play one "
                "role: leave it out of one of them."
            )
    unknown = [name for name in intermediate if name not in column_names(data)]
    if unknown:
        raise InputError(
            f"`intermediate` names the column {unknown[0]!r}, which `data` does not have. Its columns are "
            f"{list(column_names(data))[:12]}; correct the name."
        )


def from_graph(dag: Any, data: Any, treatment: str, outcome: str) -> Chosen:
    """Return the optimal set among the columns of the data, mediators and covariates apart."""
    names = column_names(data)
    if not hasattr(dag, "nodes"):
        raise InputError(
            f"`dag` must be a networkx.DiGraph or a PDAG; text is read by causalif.parse_dag. Got {type(dag).__name__}."
        )
    nodes = set(dag.nodes)
    for role, name in (("treatment", treatment), ("outcome", outcome)):
        if name not in nodes:
            raise InputError(f"`{role}` {name!r} is not a node of `dag`. Its nodes are {sorted(map(str, nodes))[:12]}.")
    hidden = {node for node in nodes if isinstance(dag, nx.DiGraph) and dag.nodes[node].get("latent")}
    observed = [name for name in names if name in nodes - hidden]
    sets = _sets(dag, treatment, outcome, observed)
    mediators, covariates, intermediate = (
        tuple(name for name in names if name in getattr(sets, part, ()))
        for part in ("mediators", "covariates", "intermediate")
    )
    warned = []
    if sets.zero_by_graph:
        warned.append(
            f"`dag` has no edge {treatment} -> {outcome}, so the weighted controlled direct effect is 0 by the graph "
            "itself. The estimate only tests the graph: an interval without 0 speaks against it."
        )
        warnings.warn(warned[0], IdentificationWarning, stacklevel=4)
    return Chosen(mediators, covariates, sets, intermediate, tuple(warned))


def _sets(dag: Any, treatment: str, outcome: str, observed: list[Any]) -> Any:
    """Return the optimal set, or the two steps of the sequential formula where only these identify the effect."""
    from causalif.graphs import PDAG, adjustment_sets
    from causalif.graphs.sequential import sequential_sets

    try:
        return adjustment_sets(dag, treatment=treatment, outcome=outcome, effect="wcde", observed=observed)
    except NotIdentifiedError:
        if isinstance(dag, PDAG):
            raise
        try:
            return sequential_sets(dag, treatment, outcome, observed)
        except NotIdentifiedError:
            pass
        raise
