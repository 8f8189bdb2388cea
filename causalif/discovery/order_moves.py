"""Moves of a node through an order of the nodes, as proposals for a chain over DAGs."""

from __future__ import annotations

import math

import numpy as np

from causalif.discovery.families import Masks
from causalif.discovery.partition_score import LayerScores, layers_of


def reorder(layers: list[int], scores: LayerScores, rng: np.random.Generator) -> list[int]:
    r"""Move a DAG with these layers by relocating nodes in one of its orders; return the layers of the DAG it becomes.

    With the order drawn by picking, again and again, one of the a_k nodes that have all parents placed,

    .. math:: P(G, o) \propto w(G) r(o | G), \qquad r(o | G) = \prod_k 1 / a_k,

    has the posterior of G as its margin. A node is taken out of the order, put back at a place drawn with probability
    proportional to :math:`\prod_v \sum_{P \subseteq pred(v)} w_v(P)`, and parents are drawn anew, given the new order
    o', for the nodes whose predecessors changed. All places leave the same order behind when the node is taken out
    again, hence the Metropolis-Hastings ratio is :math:`r(o' | G') / r(o | G)`.

    Parameters
    ----------
    layers : list of int
        Ordered partition as bits.
    scores : LayerScores
        Sums over parent sets.
    rng : Generator
        Source of randomness.

    Returns
    -------
    list of int
    """
    parents = scores.draw_parents(layers, rng)
    order, log_law = _draw_order(parents, rng)
    for v in rng.choice(scores.p, math.ceil(scores.p / 4), replace=False).tolist():
        moved = _relocate(order, v, scores, rng)
        if moved == order:
            continue
        proposal = _redraw(parents, order, moved, scores, rng)
        proposed_law = order_law(moved, proposal)
        if math.log(1 - rng.random()) < proposed_law - log_law:
            parents, order, log_law = proposal, moved, proposed_law
    return layers_of(parents)


def _redraw(parents: Masks, order: list[int], moved: list[int], scores: LayerScores, rng: np.random.Generator) -> Masks:
    """Draw new parents for the nodes whose predecessors changed; the others keep theirs."""
    drawn, old, new = parents.copy(), 0, 0
    for v, w in zip(order, moved, strict=True):
        if new != old or v != w:
            drawn[w] = scores.draw(w, new, 0, rng.random())
        old, new = old | 1 << v, new | 1 << w
    return drawn


def _draw_order(parents: Masks, rng: np.random.Generator) -> tuple[list[int], float]:
    """Draw an order from r(o | G); return it and its log probability."""
    sets, uniforms = parents.tolist(), rng.random(len(parents)).tolist()
    waiting, order, placed, log_law = list(range(len(sets))), [], 0, 0.0
    for u in uniforms:
        ready = [v for v in waiting if not sets[v] & ~placed]
        v = ready[int(u * len(ready))]
        waiting.remove(v)
        order.append(v)
        placed |= 1 << v
        log_law -= math.log(len(ready))
    return order, log_law


def order_law(order: list[int], parents: Masks) -> float:
    """Return log r(o | G)."""
    sets = parents.tolist()
    waiting, placed, log_law = list(range(len(sets))), 0, 0.0
    for v in order:
        log_law -= math.log(sum(not sets[w] & ~placed for w in waiting))
        waiting.remove(v)
        placed |= 1 << v
    return log_law


def _relocate(order: list[int], v: int, scores: LayerScores, rng: np.random.Generator) -> list[int]:
    """Put a node at a place drawn from its conditional law given the order of the others."""
    rest = [w for w in order if w != v]
    bit, before, shift, logs = 1 << v, 0, 0.0, [scores.node(v, 0, 0)]
    for w in rest:
        shift += scores.node(w, before, 0) - scores.node(w, before | bit, 0)
        before |= 1 << w
        logs.append(shift + scores.node(v, before, 0))
    weights = np.exp(np.array(logs) - max(logs))
    place = int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right"))
    place = min(place, len(rest))
    return [*rest[:place], v, *rest[place:]]
