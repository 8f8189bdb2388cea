"""What scores hand to samplers and samplers hand back: weighted families (node, parent set), and drawn DAGs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import gammaln

from causalif._errors import InputError
from causalif._validate import Array

Masks: TypeAlias = npt.NDArray[np.int64]
Adjacency: TypeAlias = npt.NDArray[np.int8]
Prior: TypeAlias = str | float | pd.DataFrame

MOST_NODES = 62
MOST_FAMILIES = 30_000_000


@dataclass(frozen=True, eq=False)
class Families:
    r"""Log weights of the families (node, parent set): a decomposable log posterior up to a constant.

    .. math:: \log P(G | D) = \sum_i \{ s_i(Pa_i) + \log \rho_i(Pa_i) \} + \text{constant}, \quad G \text{ acyclic}.

    Parameters
    ----------
    names : tuple of str, length p
        The nodes, at most 62; bit j of a mask stands for ``names[j]``.
    parents : tuple of ndarray of int64, length p
        For each node its allowed parent sets as masks, ascending and distinct. Tiers, forbidden and required edges and
        the largest in-degree are already obeyed.
    log_scores, log_priors : tuple of ndarray, length p
        For each node s_i and log ρ_i of these sets, of the same length; finite.

    Notes
    -----
    A set that is not listed has weight zero. Scores and priors are kept apart so that scores can be tempered.

    Examples
    --------
    >>> pair = Families.of_scores(("A", "Y"), (np.array([0, 2]), np.array([0, 1])), (np.zeros(2), np.array([0.0, 3.0])))
    >>> pair.p, pair.lookup(1, 0b01), pair.tempered(0.5).lookup(1, 0b01)
    (2, 3.0, 1.5)
    """

    names: tuple[str, ...]
    parents: tuple[Masks, ...]
    log_scores: tuple[Array, ...]
    log_priors: tuple[Array, ...]

    def __post_init__(self) -> None:
        if len(self.names) > MOST_NODES:
            raise InputError(f"Parent sets are written in 62 bits, so at most 62 nodes. Got {len(self.names)}.")
        for name, sets, scores, priors in zip(self.names, self.parents, self.log_scores, self.log_priors, strict=True):
            if not len(sets) == len(scores) == len(priors) or len(sets) == 0:
                raise InputError(
                    f"Node {name!r} must have at least one allowed parent set, with one score and one prior each. Got "
                    f"{len(sets)} sets, {len(scores)} scores, {len(priors)} priors."
                )
            if not (np.isfinite(scores).all() and np.isfinite(priors).all()):
                raise InputError(f"Scores and priors of node {name!r} must be finite numbers.")

    @classmethod
    def of_scores(
        cls,
        names: Sequence[str],
        parents: Sequence[Masks],
        log_scores: Sequence[Array],
        log_priors: Sequence[Array] | None = None,
    ) -> Families:
        """Return families of scores, with a prior that is uniform over DAGs where none is given.

        Parameters
        ----------
        names : sequence of str
            The nodes.
        parents : sequence of ndarray
            Allowed parent sets of each node, ascending.
        log_scores, log_priors : sequence of ndarray
            As in the class.

        Returns
        -------
        Families
        """
        priors = [np.zeros(len(sets)) for sets in parents] if log_priors is None else log_priors
        return cls(
            tuple(names),
            tuple(np.asarray(sets, dtype=np.int64) for sets in parents),
            tuple(np.asarray(scores, dtype=np.float64) for scores in log_scores),
            tuple(np.asarray(prior, dtype=np.float64) for prior in priors),
        )

    @property
    def p(self) -> int:
        """Number of nodes."""
        return len(self.names)

    @cached_property
    def log_weights(self) -> tuple[Array, ...]:
        """Per node, log score plus log prior of every allowed set."""
        return tuple(score + prior for score, prior in zip(self.log_scores, self.log_priors, strict=True))

    def tempered(self, temperature: float) -> Families:
        """Return families whose scores are multiplied by ``temperature``, their priors untouched.

        Parameters
        ----------
        temperature : float
            Between 0 (the prior) and 1 (no change).

        Returns
        -------
        Families
        """
        return replace(self, log_scores=tuple(temperature * scores for scores in self.log_scores))

    def lookup(self, node: int, mask: int) -> float:
        """Return the log weight of one family, minus infinity where the set is not allowed.

        Parameters
        ----------
        node : int
            Position of the node.
        mask : int
            Its parents, as bits.

        Returns
        -------
        float
        """
        return float(self.look_up(node, np.array([mask], dtype=np.int64))[0])

    def look_up(self, node: int, masks: Masks) -> Array:
        """Return the log weights of many parent sets of one node, minus infinity where a set is not allowed.

        Parameters
        ----------
        node : int
            Position of the node.
        masks : ndarray of int64
            Parent sets as bits, any shape.

        Returns
        -------
        ndarray of the same shape
        """
        sets = self.parents[node]
        at = np.minimum(np.searchsorted(sets, masks), len(sets) - 1)
        return np.where(sets[at] == masks, self.log_weights[node][at], -np.inf)

    def log_weight_of(self, adjacency: npt.NDArray[np.integer]) -> Array:
        """Return the unnormalised log posterior of DAGs, minus infinity where one is not allowed.

        Parameters
        ----------
        adjacency : ndarray of shape (m, p, p)
            ``adjacency[d, j, i]`` is 1 when j is a parent of i; acyclicity is not checked.

        Returns
        -------
        ndarray of shape (m,)
        """
        masks = masks_of(adjacency)
        return np.sum([self.look_up(node, masks[:, node]) for node in range(self.p)], axis=0)


@dataclass(frozen=True, eq=False)
class Draws:
    """DAGs drawn by a sampler, or enumerated, with their weights.

    Parameters
    ----------
    adjacency : ndarray of int8, shape (m, p, p)
        ``adjacency[d, j, i]`` is 1 when ``names[j]`` is a parent of ``names[i]``; DAGs may repeat.
    weights : ndarray of shape (m,)
        Non-negative, with sum one.
    log_evidence : float, optional
        Logarithm of the sum over all DAGs, where it is known exactly.
    bound : float, optional
        A lower bound of it.
    ess : float
        How many independent draws the weighted DAGs are worth; infinite where DAGs were enumerated.
    diagnostics : mapping of str to DataFrame
        Tables such as "chains" and "restarts".
    complete : bool
        False when a time limit or an interrupt ended the work early.
    edges : ndarray of shape (p, p), optional
        Exact edge probabilities, where the sampler knows them without drawing.
    """

    adjacency: Adjacency
    weights: Array
    log_evidence: float | None = None
    bound: float | None = None
    ess: float = float("inf")
    diagnostics: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    complete: bool = True
    edges: Array | None = None


def masks_of(adjacency: npt.NDArray[np.integer]) -> Masks:
    """Return parent sets as bits, shape (m, p), of adjacency matrices of shape (m, p, p)."""
    bits = np.int64(1) << np.arange(adjacency.shape[-2], dtype=np.int64)
    return np.einsum("dji,j->di", adjacency.astype(np.int64), bits)


def adjacency_of(masks: Masks) -> Adjacency:
    """Return adjacency matrices of shape (m, p, p) of parent sets of shape (m, p) given as bits."""
    nodes = np.arange(masks.shape[-1], dtype=np.int64)
    return ((masks[:, None, :] >> nodes[:, None]) & 1).astype(np.int8)


def parent_sets(allowed: npt.NDArray[np.bool_], required: npt.NDArray[np.bool_], most: int | None) -> tuple[Masks, ...]:
    """List the parent sets of every node that hold its required and nothing but its allowed parents.

    Parameters
    ----------
    allowed, required : ndarray of bool, shape (p, p)
        ``allowed[j, i]``: j may be, ``required[j, i]``: j must be a parent of i.
    most : int, optional
        Largest in-degree.

    Returns
    -------
    tuple of ndarray of int64
        Masks, ascending.

    Raises
    ------
    InputError
        If there are more than 30 million.
    """
    p = len(allowed)
    count = count_sets(allowed, required, most)
    if count > MOST_FAMILIES:
        raise InputError(
            f"These {p} nodes have {count:,} possible parent sets, more than {MOST_FAMILIES:,}. Set `max_parents` "
            "(3 or 4), or give `tiers` that rule out parents."
        )
    return tuple(_sets_of(allowed[:, i], required[:, i], most) for i in range(p))


def count_sets(allowed: npt.NDArray[np.bool_], required: npt.NDArray[np.bool_], most: int | None) -> int:
    """Return how many sets :func:`parent_sets` would list, for all nodes together."""
    free, forced = (allowed & ~required).sum(axis=0), required.sum(axis=0)
    return sum(_count_sets(int(f), int(r), most) for f, r in zip(free, forced, strict=True))


def _count_sets(free: int, required: int, most: int | None) -> int:
    """Number of subsets of ``free`` elements that leave the in-degree at most ``most``."""
    top = free if most is None else min(free, most - required)
    return sum(math.comb(free, k) for k in range(top + 1))


def _sets_of(allowed: npt.NDArray[np.bool_], required: npt.NDArray[np.bool_], most: int | None) -> Masks:
    bits = np.int64(1) << np.arange(len(allowed), dtype=np.int64)
    sets = np.array([bits[required].sum()], dtype=np.int64)
    for bit in bits[allowed & ~required]:
        grow = sets if most is None else sets[np.bitwise_count(sets) < most]
        sets = np.concatenate([sets, grow | bit])
    return np.sort(sets)


def structure_prior(
    prior: Prior,
    names: Sequence[str],
    parents: Sequence[Masks],
    allowed: npt.NDArray[np.bool_],
    required: npt.NDArray[np.bool_],
) -> tuple[Array, ...]:
    r"""Return the log prior of every parent set.

    With m parents that are allowed but not required, k of them in the set: ``"indegree_uniform"`` gives
    :math:`\rho = 1 / \binom{m}{k}`, so that every in-degree is equally likely before the data; an edge probability
    :math:`\pi` gives :math:`\rho = \pi^k (1 - \pi)^{m - k}`; a frame gives every edge a probability of its own.

    Parameters
    ----------
    prior : "indegree_uniform", float or DataFrame
        A float strictly between 0 and 1, or a frame of such numbers with causes as rows and effects as columns; its
        diagonal and the entries of edges that are forbidden or required are not read.
    names : sequence of str
        The nodes.
    parents : sequence of ndarray
        Allowed parent sets as masks.
    allowed, required : ndarray of bool, shape (p, p)
        As in :func:`parent_sets`.

    Returns
    -------
    tuple of ndarray

    Raises
    ------
    InputError
        If the prior is none of these.
    """
    free = allowed & ~required
    if isinstance(prior, str):
        if prior != "indegree_uniform":
            raise InputError(
                "`prior` must be 'indegree_uniform', an edge probability, or a DataFrame of edge probabilities. Got "
                f"{prior!r} instead."
            )
        return tuple(_indegree_uniform(sets, free[:, i]) for i, sets in enumerate(parents))
    odds = _edge_probabilities(prior, names, free)
    return tuple(_edgewise(sets, free[:, i], odds[:, i]) for i, sets in enumerate(parents))


def _indegree_uniform(sets: Masks, free: npt.NDArray[np.bool_]) -> Array:
    m = int(free.sum())
    k = np.bitwise_count(sets & (np.int64(1) << np.flatnonzero(free)).sum(dtype=np.int64)).astype(np.float64)
    return np.asarray(gammaln(k + 1) + gammaln(m - k + 1) - gammaln(m + 1))


def _edgewise(sets: Masks, free: npt.NDArray[np.bool_], probability: Array) -> Array:
    total = np.zeros(len(sets))
    for j in np.flatnonzero(free):
        present = (sets >> np.int64(j)) & 1 == 1
        total += np.where(present, np.log(probability[j]), np.log1p(-probability[j]))
    return total


def _edge_probabilities(prior: float | pd.DataFrame, names: Sequence[str], free: npt.NDArray[np.bool_]) -> Array:
    """Read one probability for all edges, or one for each."""
    if not isinstance(prior, pd.DataFrame):
        if isinstance(prior, bool) or not isinstance(prior, (int, float, np.floating)) or not 0 < prior < 1:
            raise InputError(
                "`prior` must be 'indegree_uniform', an edge probability strictly between 0 and 1, or a DataFrame of "
                f"edge probabilities. Got {prior!r} instead."
            )
        return np.full(free.shape, float(prior))
    missing = [name for name in names if name not in prior.index or name not in prior.columns]
    if missing:
        raise InputError(
            f"`prior` must have a row (cause) and a column (effect) for every node. It lacks {missing}; add them."
        )
    frame = prior.loc[list(names), list(names)]
    if frame.shape != free.shape:
        raise InputError("`prior` names a row or a column twice. Keep one of each.")
    values = frame.to_numpy(dtype=np.float64)
    bad = free & ~((values > 0) & (values < 1))
    if bad.any():
        j, i = np.argwhere(bad)[0]
        raise InputError(
            f"`prior` must hold numbers strictly between 0 and 1. Got {values[j, i]!r} for the edge {names[j]!r} -> "
            f"{names[i]!r}. Rule an edge out with `forbidden`, or force it with `required`."
        )
    return values
