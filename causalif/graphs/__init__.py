"""Questions about causal graphs: separation, causal paths and adjustment sets.

Graphs come in as :class:`networkx.DiGraph` (or :class:`PDAG`), answers go out as plain sets and tuples of nodes.
Nothing here looks at data, changes the caller's graph or subclasses it.
"""

from __future__ import annotations

from causalif.graphs.adjustment import AdjustmentSets, adjustment_sets
from causalif.graphs.dag import check_dag, to_dot
from causalif.graphs.draw import draw
from causalif.graphs.explain import Explanation, Verdict
from causalif.graphs.parse import parse_dag
from causalif.graphs.paths import (
    causal_nodes,
    causal_paths,
    forbidden_nodes,
    mediating_paths,
    mediators,
    proper_backdoor_graph,
)
from causalif.graphs.pdag import PDAG
from causalif.graphs.posterior import DAGPosterior, Stability
from causalif.graphs.separation import Separation, d_separated
from causalif.graphs.sequential import SequentialSets, sequential_sets

__all__ = [
    "PDAG",
    "AdjustmentSets",
    "DAGPosterior",
    "Explanation",
    "Separation",
    "SequentialSets",
    "Stability",
    "Verdict",
    "adjustment_sets",
    "causal_nodes",
    "causal_paths",
    "check_dag",
    "d_separated",
    "draw",
    "forbidden_nodes",
    "mediating_paths",
    "mediators",
    "parse_dag",
    "proper_backdoor_graph",
    "sequential_sets",
    "to_dot",
]
