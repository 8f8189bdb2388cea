"""What a posterior over DAGs is built from: draws, or given graphs with weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array

Adjacency = npt.NDArray[np.int8]


def collected(
    names: Sequence[str], adjacency: Adjacency, weights: Array, bags: Sequence[slice] | None
) -> dict[str, Any]:
    """Put equal draws together: names, different DAGs, their weights, and the weights within every bag."""
    p = len(names)
    flat = np.packbits(adjacency.reshape(len(adjacency), p * p).astype(np.uint8), axis=1)
    _, first, inverse = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    mass = np.bincount(inverse, weights=weights, minlength=len(first))
    order = np.argsort(-mass, kind="stable")
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    members = None
    if bags is not None:
        members = np.array([_within(place[inverse[bag]], weights[bag], len(order)) for bag in bags])
    different = np.ascontiguousarray(adjacency[first[order]], dtype=np.int8)
    different.flags.writeable = False
    probabilities = pd.Series(mass[order] / mass.sum(), name="weight")
    return {"names": tuple(names), "adjacency": different, "weights": probabilities, "bags": members}


def _within(places: npt.NDArray[np.intp], weights: Array, size: int) -> Array:
    return np.asarray(np.bincount(places, weights=weights / weights.sum(), minlength=size), dtype=np.float64)


def common_names(graphs: Sequence[Any]) -> list[str]:
    """Return the nodes of the first graph, which all others must have."""
    if not graphs:
        raise InputError("`dags` must hold at least one graph. Got none.")
    for number, graph in enumerate(graphs):
        if not isinstance(graph, nx.DiGraph):
            raise InputError(f"`dags` must hold networkx.DiGraph. Number {number} is {type(graph).__name__}.")
        if set(graph) != set(graphs[0]):
            different = sorted(map(str, set(graph) ^ set(graphs[0])))
            raise InputError(f"`dags` must have the same nodes. Number {number} differs from the first in {different}.")
        if not nx.is_directed_acyclic_graph(graph):
            raise InputError(f"`dags` must be acyclic. Number {number} has the cycle {nx.find_cycle(graph)}.")
    wrong = [node for node in graphs[0] if not isinstance(node, str)]
    if wrong:
        raise InputError(f"`dags` must name nodes by text. Got {wrong[0]!r}; use networkx.relabel_nodes(dag, str).")
    return list(graphs[0])


def read_weights(weights: Iterable[float] | None, count: int) -> Array:
    """Return weights with sum one."""
    mass = np.ones(count) if weights is None else np.asarray(list(weights), dtype=np.float64)
    if mass.shape != (count,) or not np.isfinite(mass).all() or (mass < 0).any() or not mass.sum() > 0:
        raise InputError(
            f"`weights` must hold {count} non-negative numbers, one per DAG, not all zero. Got {mass.tolist()}."
        )
    return np.asarray(mass / mass.sum())
