"""Scores of ordered partitions: sums over all parent sets that a node can have, found fast and remembered."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import numpy.typing as npt

from causalif._validate import Array
from causalif.discovery.families import Families, Masks

# Sets this many nats below the best eligible one change a sum by less than 1e-13, even 10,000 of them.
NEGLIGIBLE = 40.0
FIRST_LOOK = 256
MOST_REMEMBERED = 400_000


class LayerScores:
    r"""Log weight of all DAGs that have given layers, as a sum over nodes.

    A DAG is written as layers: the roots, then the nodes all of whose parents lie in earlier layers, at least one of
    them in the layer just before. With U the nodes before a node's layer and R the layer just before,

    .. math:: \beta_v(U, R) = \log \sum_{P \subseteq U, P \cap R \ne \emptyset} w_v(P), \qquad
        \beta_v(\emptyset, \emptyset) = \log w_v(\emptyset).

    Parameters
    ----------
    families : Families
        Log weights of the families.

    Notes
    -----
    Parent sets are kept in descending order of weight, so that the sum is over a short run that starts at the first
    eligible set and ends 40 nats below it. Results are remembered.

    References
    ----------
    Kuipers and Moffa (2017), Journal of the American Statistical Association 112, 282-299, equations 6 to 9.
    """

    def __init__(self, families: Families) -> None:
        orders = [np.argsort(-weights, kind="stable") for weights in families.log_weights]
        self.p = families.p
        self._sets = [sets[order] for sets, order in zip(families.parents, orders, strict=True)]
        self._weights = [weights[order] for weights, order in zip(families.log_weights, orders, strict=True)]
        self._ends = [np.searchsorted(-weights, NEGLIGIBLE - weights, side="right") for weights in self._weights]
        self._nodes: dict[tuple[int, int, int], float] = {}
        self._layers: dict[tuple[int, int, int], float] = {}

    @cached_property
    def spread(self) -> float:
        """Largest difference, over nodes, between the best and the worst parent set, in nats."""
        return max(float(weights[0] - weights[-1]) for weights in self._weights)

    def layer(self, layer: int, before: int, last: int) -> float:
        """Return the sum of β over the nodes of a layer, all given as bits."""
        key = (layer, before, last)
        known = self._layers.get(key)
        if known is None:
            if len(self._layers) > MOST_REMEMBERED:
                self._layers.clear()
            known = self._layers[key] = math.fsum(self.node(v, before, last) for v in bits_of(layer))
        return known

    def node(self, v: int, before: int, last: int) -> float:
        """Return β_v(before, last)."""
        key = (v, before, last)
        known = self._nodes.get(key)
        if known is None:
            if len(self._nodes) > MOST_REMEMBERED:
                self._nodes.clear()
            _, weights = self._eligible(v, before, last)
            known = -math.inf
            if len(weights):
                known = float(weights[0] + np.log(np.exp(weights - weights[0]).sum()))
            self._nodes[key] = known
        return known

    def total(self, layers: list[int]) -> float:
        """Return the log weight of an ordered partition."""
        score, before, last = 0.0, 0, 0
        for layer in layers:
            score += self.layer(layer, before, last)
            before, last = before | layer, layer
        return score

    def draw_parents(self, layers: list[int], rng: np.random.Generator) -> Masks:
        """Draw a DAG with these layers from its conditional law, as the parents of every node in bits, shape (p,)."""
        parents, uniforms = np.zeros(self.p, dtype=np.int64), rng.random(self.p)
        before, last = 0, 0
        for layer in layers:
            for v in bits_of(layer):
                parents[v] = self.draw(v, before, last, uniforms[v])
            before, last = before | layer, layer
        return parents

    def draw(self, v: int, before: int, last: int, uniform: float) -> np.int64:
        """Return the parent set, as bits, at a quantile of its conditional law."""
        sets, weights = self._eligible(v, before, last)
        cumulated = np.cumsum(np.exp(weights - weights[0]))
        return sets[np.searchsorted(cumulated, uniform * cumulated[-1], side="right")]

    def _eligible(self, v: int, before: int, last: int) -> tuple[Masks, Array]:
        """Return the eligible sets that matter and their log weights, best first."""
        sets, weights = self._sets[v], self._weights[v]
        first = -1
        for start, stop in ((0, FIRST_LOOK), (FIRST_LOOK, len(sets))):
            chosen = np.flatnonzero(_fits(sets[start:stop], before, last))
            if len(chosen):
                first = start + int(chosen[0])
                break
        if first < 0:
            return sets[:0], weights[:0]
        end = int(self._ends[v][first])
        if end > stop:
            chosen = np.flatnonzero(_fits(sets[start:end], before, last))
        chosen = chosen + start
        chosen = chosen[: np.searchsorted(chosen, end)]
        return sets[chosen], weights[chosen]


def _fits(sets: Masks, before: int, last: int) -> npt.NDArray[np.bool_]:
    inside = (sets & ~before) == 0
    return inside & ((sets & last) != 0) if last else inside


def bits_of(mask: int) -> list[int]:
    """Return the positions of the bits of a mask, ascending."""
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


def layers_of(parents: Masks) -> list[int]:
    """Return the layers of a DAG whose parents are given as bits."""
    placed, layers, waiting = 0, [], set(range(len(parents)))
    while waiting:
        ready = [v for v in waiting if int(parents[v]) & ~placed == 0]
        waiting.difference_update(ready)
        layers.append(sum(1 << v for v in ready))
        placed |= layers[-1]
    return layers
