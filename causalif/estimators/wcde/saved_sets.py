"""The adjustment sets of a fit as JSON, and back: the graph is kept, and asked again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import networkx as nx

from causalif._errors import InputError
from causalif.graphs import PDAG, adjustment_sets
from causalif.graphs.adjustment import AdjustmentSets
from causalif.graphs.sequential import SequentialSets
from causalif.storage.codec import from_json, to_json

_FOUND = ("mediators", "covariates", "intermediate")


def pack_sets(sets: Any) -> Any:
    """Describe the sets that a fit adjusted for, whether listed by the user or found in a graph."""
    where = "names of the graph's nodes"
    if isinstance(sets, AdjustmentSets):
        question = sets._search.question
        observed = [node for v, node in enumerate(question.graph.nodes) if v in question.observed]
        asked = {"treatment": set(sets.treatment), "outcome": sets.outcome, "observed": observed}
        return {"kind": "adjustment", "graph": _pack_graph(sets.dag), "asked": to_json(asked, where)}
    if isinstance(sets, SequentialSets):
        found = {name: getattr(sets, name) for name in ("treatment", "outcome", "zero_by_graph", *_FOUND)}
        return {"kind": "sequential", "graph": _pack_graph(sets.dag), "found": to_json(found, where)}
    return {"kind": "listed", "sets": to_json(sets, "sets")}


def unpack_sets(described: Mapping[str, Any]) -> Any:
    """Return the sets that `pack_sets` described."""
    kind = described["kind"]
    if kind == "listed":
        return from_json(described["sets"])
    graph = _unpack_graph(described["graph"])
    if kind == "adjustment":
        return adjustment_sets(graph, effect="wcde", **_named(described["asked"], ("treatment", "outcome", "observed")))
    if kind == "sequential" and isinstance(graph, nx.DiGraph):
        named = _named(described["found"], ("treatment", "outcome", "zero_by_graph", *_FOUND))
        return SequentialSets(dag=graph, **named)
    raise InputError(f"The file holds adjustment sets of unknown kind {kind!r}.")


def _named(described: Any, names: tuple[str, ...]) -> dict[str, Any]:
    given = from_json(described)
    return {name: given[name] for name in names}


def _pack_graph(graph: nx.DiGraph | PDAG) -> dict[str, Any]:
    where = "names of the graph's nodes"
    latent: list[Any] = []
    described = {"nodes": list(graph.nodes), "latent": latent}
    if isinstance(graph, PDAG):
        # Sets have no order of their own: equal fits give equal files.
        arrows = sorted((list(edge) for edge in graph.directed), key=repr)
        lines = sorted((sorted(pair, key=repr) for pair in graph.undirected), key=repr)
        return to_json(described | {"directed": arrows, "undirected": lines}, where)
    latent += [node for node, marks in graph.nodes(data=True) if marks.get("latent")]
    return to_json(described | {"directed": [list(edge) for edge in graph.edges], "undirected": None}, where)


def _unpack_graph(described: Any) -> nx.DiGraph | PDAG:
    given = _named(described, ("nodes", "latent", "directed", "undirected"))
    if given["undirected"] is not None:
        return PDAG(given["directed"], given["undirected"], given["nodes"])
    graph = nx.DiGraph()
    graph.add_nodes_from(given["nodes"])
    graph.add_edges_from((tail, head) for tail, head in given["directed"])
    for node in given["latent"]:
        graph.nodes[node]["latent"] = True
    return graph
