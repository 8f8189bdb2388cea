"""How much of the weight of many DAGs lies where a path is present."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from causalif._errors import InputError
from causalif._validate import Array, closest
from causalif.graphs.posterior_paths import Flags, transitive_closure, wilson

Adjacency = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Stability:
    """Posterior probability that DAGs hold a path, with its Monte Carlo error.

    Parameters
    ----------
    pss : float
        The path stability score: the posterior probability.
    se : float
        Monte Carlo standard error; 0 where DAGs were enumerated.
    lower, upper : float
        Wilson interval for the Monte Carlo error only: it says how well the posterior was sampled, not how good the
        posterior is.
    bag_sd : float
        Standard deviation of the probability between bootstrap resamples, NaN without bagging. It includes the Monte
        Carlo error of a single bag.

    Examples
    --------
    >>> float(Stability(pss=0.25, se=0.0, lower=0.25, upper=0.25, bag_sd=0.1))
    0.25
    """

    pss: float
    se: float
    lower: float
    upper: float
    bag_sd: float

    def __float__(self) -> float:
        """Return the probability."""
        return self.pss


@dataclass(frozen=True, eq=False)
class Weighted:
    """The arrays behind a posterior, on numbers of nodes.

    Parameters
    ----------
    names : tuple of str, length p
        The nodes.
    adjacency : ndarray of shape (u, p, p)
        The DAGs.
    weights : ndarray of shape (u,)
        Their probabilities.
    size : float
        How many independent draws the weights are worth.
    bags : ndarray of shape (B, u), optional
        The weights within every bootstrap resample.
    """

    names: tuple[str, ...]
    adjacency: Adjacency
    weights: Array
    size: float
    bags: Array | None

    @cached_property
    def reach(self) -> Flags:
        """Ancestors: [d, j, i] is true when DAG d has a directed path from j to i."""
        return transitive_closure(self.adjacency)

    def mean(self, values: npt.NDArray[Any]) -> Array:
        """Return the average of something of every DAG."""
        return np.clip(np.tensordot(self.weights, values.astype(np.float64), axes=1), 0.0, 1.0)

    def numbers(self, nodes: Sequence[str] | None) -> list[int]:
        """Return the numbers of two or more different nodes."""
        if isinstance(nodes, str) or not isinstance(nodes, Sequence) or len(nodes) < 2:
            raise InputError(f"A path must name at least two nodes, such as ('A', 'M', 'Y'). Got {nodes!r} instead.")
        unknown = [node for node in nodes if node not in self.names]
        if unknown:
            close = closest(unknown[0], self.names)
            hint = f"Did you mean {close!r}?" if close else "Correct it."
            raise InputError(f"{unknown[0]!r} is no node of this posterior: {list(self.names)[:12]}. {hint}")
        if len(set(nodes)) < len(nodes):
            raise InputError(f"A path visits every node once. Got {tuple(nodes)!r}; leave the repeated node out.")
        return [self.names.index(node) for node in nodes]

    def holds(self, nodes: Sequence[int]) -> Flags:
        """Return the DAGs that have every edge of a path."""
        return np.all([self.adjacency[:, j, i] == 1 for j, i in pairwise(nodes)], axis=0)

    def visits(self, nodes: Sequence[int], ordered: bool) -> Flags:
        """Return the DAGs in which some directed path from the first to the last node visits those between."""
        reach = self.reach
        if ordered:
            return np.all([reach[:, j, i] for j, i in pairwise(nodes)], axis=0)
        a, *between, y = nodes
        found = reach[:, a, y].copy()
        for m in between:
            found &= reach[:, a, m] & reach[:, m, y]
        # In a DAG nodes lie on one path exactly if of every two one reaches the other.
        for j, i in combinations(between, 2):
            found &= reach[:, j, i] | reach[:, i, j]
        return found

    def score(self, held: Flags, level: float) -> Stability:
        """Return the weight of some of the DAGs, with its Monte Carlo error."""
        score, size = min(float(self.weights @ held), 1.0), self.size
        lower, upper = wilson(score, size, level)
        spread = float("nan") if self.bags is None or len(self.bags) < 2 else float((self.bags @ held).std(ddof=1))
        return Stability(score, float(np.sqrt(score * (1 - score) / size)), lower, upper, spread)
