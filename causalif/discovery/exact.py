r"""The exact posterior over DAGs, by dynamic programming over root layers in log space.

A DAG is built by layers: the first holds its roots, and every node of a later layer has a parent in the layer before
it and none outside the earlier ones. With U the nodes placed so far and R the last layer,

.. math::
    f(U, R) = \sum_{\emptyset \ne R' \subseteq V \setminus U} \prod_{v \in R'} \beta_v(U, R) f(U \cup R', R'), \quad
    \beta_v(U, R) = \sum_{P \subseteq U, P \cap R \ne \emptyset} w_v(P), \quad f(V, \cdot) = 1,

and f(∅, ∅) sums the weights of all DAGs. β is itself a sum of positive terms,
:math:`\beta_v(U, R) = A_{v, r}(U) + \beta_v(U \setminus r, R \setminus r)` for any r in R, with
:math:`A_{v, r}(W) = \sum_{P \subseteq W, r \in P} w_v(P)`; so nothing is ever subtracted and nothing underflows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array
from causalif.discovery.families import Draws, Families, Masks, adjacency_of
from causalif.discovery.subset_sums import (
    Ints,
    by_size,
    layer_sums,
    layer_sums_transposed,
    log_add_at,
    log_sum,
    others,
    squeezed,
    subsets,
    ternary_codes,
    without,
)

MOST_BYTES = 3 * 2**30
MOST_STEPS = 2.5e9
SCRATCH_BYTES = 2**26
_CELLS = 2**20


def sample_exact(
    families: Families,
    *,
    draws: int,
    rng: np.random.Generator,
    deadline: float | None = None,
    progress: bool = False,
) -> Draws:
    r"""Draw independent DAGs from the exact posterior.

    Parameters
    ----------
    families : Families
        Log weights of all families.
    draws : int
        Number of DAGs.
    rng : numpy.random.Generator
        Source of randomness.
    deadline : float, optional
        Not needed: the cost is known beforehand and refused if it is too large.
    progress : bool
        Not needed.

    Returns
    -------
    Draws
        With ``log_evidence`` and exact ``edges``.

    Raises
    ------
    InputError
        If a block of nodes that could form a cycle is so large that memory or time would not suffice.

    Notes
    -----
    Nodes that no cycle of allowed edges joins are independent problems: tiers split p nodes into blocks of the sizes
    of the tiers. A block of b nodes takes 4^b steps and about 32 b 3^(b-1) bytes: 60 MB and seconds for b = 12, under
    2 GiB and minutes for b = 15, the most that is accepted.

    References
    ----------
    Kuipers and Moffa (2015), Statistics and Computing 25, the enumeration of DAGs by their outpoints.

    Examples
    --------
    >>> sets = tuple(np.array(masks) for masks in ([0, 2, 4, 6], [0, 1, 4, 5], [0, 1, 2, 3]))
    >>> uniform = Families.of_scores(("A", "B", "C"), sets, [np.zeros(4)] * 3)
    >>> found = sample_exact(uniform, draws=10, rng=np.random.default_rng(0))
    >>> round(float(np.exp(found.log_evidence))), found.adjacency.shape
    (25, (10, 3, 3))
    """
    blocks = blocks_of(families)
    refuse_large(max(map(len, blocks)))
    masks = np.zeros((draws, families.p), dtype=np.int64)
    edges = np.zeros((families.p, families.p))
    evidence = 0.0
    for nodes in blocks:
        block = _Block.of(families, nodes)
        tables = block.tables()
        evidence += tables.log_evidence
        _add_edges(edges, families, block, tables.family_log_mass())
        masks[:, nodes] = _Sampler(families, block, tables).draw(draws, rng)
    return Draws(
        adjacency=adjacency_of(masks),
        weights=np.full(draws, 1.0 / draws),
        log_evidence=evidence,
        ess=float(draws),
        diagnostics={"blocks": _block_report(families, blocks)},
        edges=edges,
    )


def log_evidence(families: Families) -> float:
    """Return the logarithm of the summed weights of all DAGs.

    Parameters
    ----------
    families : Families
        Log weights of all families.

    Returns
    -------
    float
    """
    return sum(_Block.of(families, nodes).tables().log_evidence for nodes in blocks_of(families))


def blocks_of(families: Families) -> list[list[int]]:
    """Return groups of nodes that allowed edges could join in a cycle, each sorted; causes come before effects."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(families.p))
    for node, sets in enumerate(families.parents):
        union = int(np.bitwise_or.reduce(sets))
        graph.add_edges_from((j, node) for j in range(families.p) if union >> j & 1)
    return sorted((sorted(part) for part in nx.strongly_connected_components(graph)), key=lambda part: part[0])


def bytes_needed(size: int) -> int:
    """Peak memory of a block of ``size`` nodes."""
    return int(2 * 8 * size * 3 ** max(size - 1, 0) + 6 * 8 * 3**size + min(SCRATCH_BYTES, 64 * 2**size) + 2**20)


def affordable(size: int) -> bool:
    """Tell whether a block of ``size`` nodes fits the limits on time and memory."""
    return bytes_needed(size) <= MOST_BYTES and 4.0**size <= MOST_STEPS


def refuse_large(size: int) -> None:
    """Raise if a block of ``size`` nodes would take too much time or memory."""
    if not affordable(size):
        raise InputError(
            f'engine="exact" would need {bytes_needed(size) / 2**30:,.1f} GiB and {4.0**size:.1g} steps: {size} nodes '
            f"could form a cycle, and {_largest()} is the most it takes. Give `tiers` or `forbidden` edges that divide "
            'them, or use engine="mcmc".'
        )


def _largest() -> int:
    return max(size for size in range(1, 30) if affordable(size))


def _block_report(families: Families, blocks: Sequence[Sequence[int]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "nodes": [", ".join(families.names[i] for i in nodes) for nodes in blocks],
            "size": [len(nodes) for nodes in blocks],
            "bytes": [bytes_needed(len(nodes)) for nodes in blocks],
        }
    )


@dataclass(frozen=True, eq=False)
class _Block:
    """Nodes that could form a cycle, their families collapsed onto the parents inside the block.

    ``weights[v, S]`` is the log sum of the weights of v's parent sets whose part inside the block is S;
    ``inside[v]`` is that part for each of v's parent sets.
    """

    nodes: tuple[int, ...]
    weights: Array
    inside: tuple[Ints, ...]

    @classmethod
    def of(cls, families: Families, nodes: Sequence[int]) -> _Block:
        """Collapse the families of some nodes."""
        size = len(nodes)
        weights = np.full((size, 2**size), -np.inf)
        inside = []
        for v, node in enumerate(nodes):
            sets = families.parents[node]
            part = np.zeros(len(sets), dtype=np.int64)
            for bit, other in enumerate(nodes):
                part |= ((sets >> np.int64(other)) & 1) << np.int64(bit)
            log_add_at(weights[v], part, families.log_weights[node])
            inside.append(part)
        return cls(tuple(nodes), weights, tuple(inside))

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.nodes)

    def tables(self) -> _Tables:
        """Run the recursion."""
        return _Tables.of(self)


@dataclass(frozen=True, eq=False)
class _Tables:
    """β, f and what they are made of; all logarithms."""

    block: _Block
    beta: Array  # (b, 3^(b-1)), over ternary codes of (U, R) among the other nodes
    future: Array  # (3^b,), f(U, R)
    ternary: Ints

    @classmethod
    def of(cls, block: _Block) -> _Tables:
        """Fill β, then f from the full set down to the empty one."""
        b = block.size
        beta = np.stack([layer_sums(without(block.weights[v], v), b - 1) for v in range(b)])
        ternary = ternary_codes(b)
        tables = cls(block, beta, np.full(3**b, -np.inf), ternary)
        for u in by_size(b):
            tables._fill(u)
        return tables

    @property
    def log_evidence(self) -> float:
        """Logarithm of f(∅, ∅)."""
        return float(self.future[0])

    def layers(self, u: int) -> tuple[Ints, Ints, Ints]:
        """Last layers R of U and next layers R' outside U, as subsets, and the codes of the states (U, R)."""
        full = 2**self.block.size - 1
        last = subsets(u)[1:] if u else np.zeros(1, dtype=np.int64)
        ahead = subsets(full ^ u)[1:]
        return last, ahead, self.ternary[u] + self.ternary[last]

    def beta_at(self, v: int, u: int, last: Ints) -> Array:
        """β_v(U, R) for all last layers R of U."""
        if not u:
            return np.array([self.block.weights[v, 0]])
        return np.asarray(self.beta[v, self._codes(v, u, last)])

    def _codes(self, v: int, u: int, last: Ints) -> Ints:
        """Codes of (U, R) among the nodes other than v, which is not in U."""
        return np.asarray(self.ternary[squeezed(np.array([u]), v)] + self.ternary[squeezed(last, v)])

    def steps(self, u: int, last: Ints) -> Array:
        """Log weights of going from (U, R) to the state after R' is added, shape (number of R', number of R)."""
        full = 2**self.block.size - 1
        members = [v for v in range(self.block.size) if not u >> v & 1]
        out = np.zeros((2 ** len(members), len(last)))
        for k, v in enumerate(members):
            out[2**k : 2 ** (k + 1)] = out[: 2**k] + self.beta_at(v, u, last)
        ahead = subsets(full ^ u)[1:]
        out = out[1:]
        out += self.future[self.ternary[u | ahead] + self.ternary[ahead]][:, None]
        return out

    def _fill(self, u: int) -> None:
        last, ahead, codes = self.layers(u)
        if not len(ahead):
            self.future[codes] = 0.0
            return
        width = max(1, _CELLS // len(ahead))
        for start in range(0, len(last), width):
            part = slice(start, start + width)
            self.future[codes[part]] = log_sum(self.steps(u, last[part]))

    def family_log_mass(self) -> list[Array]:
        """Log posterior probability, for each node, that its parents within the block are S: shape (2^b,) each.

        These are the derivatives of log f(∅, ∅) in the log weights: mass flows from the empty set forward, and each
        use of a weight collects the share of the DAGs that use it.
        """
        b = self.block.size
        past = np.full(3**b, -np.inf)
        past[0] = 0.0
        use = np.full_like(self.beta, -np.inf)
        empty = np.full(b, -np.inf)
        for u in reversed(list(by_size(b))):
            if u != 2**b - 1:
                self._pass_on(u, past, use, empty)
        z = self.log_evidence
        masses = []
        for v in range(b):
            mass = np.full(2**b, -np.inf)
            mass[others(b, v)] = layer_sums_transposed(use[v], b - 1)
            mass[0] = np.logaddexp(mass[0], empty[v])
            masses.append(mass + self.block.weights[v] - z)
        return masses

    def _pass_on(self, u: int, past: Array, use: Array, empty: Array) -> None:
        """Move mass from the states of U to the next ones, and note what each β was used for."""
        last, ahead, codes = self.layers(u)
        width = max(1, _CELLS // len(ahead))
        targets = self.ternary[u | ahead] + self.ternary[ahead]
        for start in range(0, len(last), width):
            part = slice(start, start + width)
            flow = self.steps(u, last[part]) + past[codes[part]]
            # past of a target comes from this U alone, but from every R of it
            reached = log_sum(np.ascontiguousarray((flow - self._ahead(targets)).T))
            past[targets] = np.logaddexp(past[targets], reached)
            for v in range(self.block.size):
                if not u >> v & 1:
                    chosen = log_sum(flow[(ahead >> v) & 1 == 1])
                    self._note(u, v, last[part], chosen, use, empty)

    def _ahead(self, targets: Ints) -> Array:
        value = self.future[targets]
        return np.where(np.isfinite(value), value, 0.0)[:, None]

    def _note(self, u: int, v: int, last: Ints, chosen: Array, use: Array, empty: Array) -> None:
        beta = self.beta_at(v, u, last)
        share = np.where(np.isfinite(beta), chosen - np.where(np.isfinite(beta), beta, 0.0), -np.inf)
        if u:
            use[v, self._codes(v, u, last)] = share
        else:
            empty[v] = share[0]


def _add_edges(edges: Array, families: Families, block: _Block, masses: list[Array]) -> None:
    """Write the probabilities of the edges into the nodes of a block."""
    for v, node in enumerate(block.nodes):
        part, weights = block.inside[v], families.log_weights[node]
        collapsed = block.weights[v][part]
        probability = np.exp(masses[v][part] + weights - collapsed)
        for j in range(families.p):
            edges[j, node] = probability[(families.parents[node] >> np.int64(j)) & 1 == 1].sum()
    np.clip(edges, 0.0, 1.0, out=edges)


class _Sampler:
    """Draws the nodes of a block layer by layer; draws in the same state are served together."""

    def __init__(self, families: Families, block: _Block, tables: _Tables) -> None:
        self.families, self.block, self.tables = families, block, tables

    def draw(self, draws: int, rng: np.random.Generator) -> Masks:
        """Return the parent sets of the nodes of the block, shape (draws, b), as masks over all nodes."""
        out = np.zeros((draws, self.block.size), dtype=np.int64)
        waiting = {(0, 0): np.arange(draws)}
        while waiting:
            (u, last), rows = waiting.popitem()
            self._advance(u, last, rows, out, waiting, rng)
        return out

    def _advance(
        self,
        u: int,
        last: int,
        rows: npt.NDArray[np.intp],
        out: Masks,
        waiting: dict[tuple[int, int], npt.NDArray[np.intp]],
        rng: np.random.Generator,
    ) -> None:
        ahead = subsets((2**self.block.size - 1) ^ u)[1:]
        if not len(ahead):
            return
        chosen = ahead[_pick(self.tables.steps(u, np.array([last], dtype=np.int64))[:, 0], len(rows), rng)]
        for v in range(self.block.size):
            here = rows[(chosen >> v) & 1 == 1]
            if len(here):
                out[here, v] = self._parents(v, u, last, len(here), rng)
        for layer in np.unique(chosen).tolist():
            key, group = (u | layer, layer), rows[chosen == layer]
            waiting[key] = np.concatenate([waiting[key], group]) if key in waiting else group

    def _parents(self, v: int, u: int, last: int, count: int, rng: np.random.Generator) -> Masks:
        part, node = self.block.inside[v], self.block.nodes[v]
        fits = (part & ~np.int64(u)) == 0
        fits &= (part & last) != 0 if u else part == 0
        at = np.flatnonzero(fits)
        return self.families.parents[node][at[_pick(self.families.log_weights[node][at], count, rng)]]


def _pick(log_weights: Array, count: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Positions drawn with probability proportional to weights given as logarithms."""
    heights = np.cumsum(np.exp(log_weights - log_weights.max()))
    return np.minimum(np.searchsorted(heights, rng.random(count) * heights[-1], side="right"), len(heights) - 1)


def seconds_left(deadline: float | None) -> float:
    """Seconds until a deadline of the monotonic clock, infinite without one."""
    return float("inf") if deadline is None else deadline - time.monotonic()
