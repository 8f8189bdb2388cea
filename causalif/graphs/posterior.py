"""A posterior over DAGs, and what it says about edges, ancestors and paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx
import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import CausalifWarning, InputError, tell
from causalif._validate import Array, in_range, one_of, whole_number
from causalif.graphs.posterior_paths import follow, transitive_closure, wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Flags = npt.NDArray[np.bool_]
Adjacency = npt.NDArray[np.int8]

MOST_SHOWN = 12


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
class DAGPosterior:
    r"""Weighted DAGs: a posterior over the structure of a structural equation model.

    The path stability score of a path π is :math:`PSS(\pi) = \sum_d w_d 1\{\pi \subseteq G_d\}`.

    Parameters
    ----------
    names : tuple of str, length p
        The nodes.
    adjacency : ndarray of int8, shape (u, p, p)
        Different DAGs, likely ones first; ``adjacency[d, j, i]`` is 1 when ``names[j]`` is a parent of ``names[i]``.
    weights : Series of length u
        Their probabilities, with sum one.
    effective_sample_size : float
        How many independent draws the weights are worth; infinite if every DAG with weight was enumerated.
    log_evidence, bound : float, optional
        Logarithm of the summed weights of all DAGs, or a lower bound of it, where known.
    bags : ndarray of shape (B, u), optional
        The weights within every bootstrap resample.
    edges : ndarray of shape (p, p), optional
        Exact edge probabilities, where the engine knows them without drawing.
    diagnostics : mapping of str to DataFrame
        Tables of the sampler and of the fit.
    settings : mapping
        What the posterior was made with.
    complete : bool
        False if a time limit or an interrupt ended the work early.

    Notes
    -----
    Made by the ``fit`` of a structural equation model, or by :meth:`from_dags`. All probabilities refer to the model
    that made the posterior: no hidden common causes, no cycles, and the model's form of the equations.

    Examples
    --------
    >>> posterior = DAGPosterior.from_dags(
    ...     [nx.DiGraph([("A", "M"), ("M", "Y")]), nx.DiGraph([("A", "M"), ("M", "Y"), ("A", "Y")])], weights=[3, 1])
    >>> posterior.stability(("A", "Y")).pss, posterior.stability(via=("A", "M", "Y")).pss
    (0.25, 1.0)
    >>> posterior.paths("A", "Y")[["path", "stability"]]
              path  stability
    0  A -> M -> Y       1.00
    1       A -> Y       0.25
    """

    names: tuple[str, ...]
    adjacency: Adjacency
    weights: pd.Series
    effective_sample_size: float = float("inf")
    log_evidence: float | None = None
    bound: float | None = None
    bags: Array | None = None
    edges: Array | None = None
    diagnostics: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = True

    @classmethod
    def of_draws(
        cls,
        names: Sequence[str],
        adjacency: Adjacency,
        weights: Array,
        effective_sample_size: float,
        bags: Sequence[slice] | None = None,
        **others: Any,
    ) -> DAGPosterior:
        """Collect draws, which may repeat, into different DAGs with their weights.

        Parameters
        ----------
        names : sequence of str
            The nodes.
        adjacency : ndarray of shape (m, p, p)
            The draws.
        weights : ndarray of shape (m,)
            Their weights.
        effective_sample_size : float
            As in the class.
        bags : sequence of slice, optional
            The draws of each bag.
        **others
            Further fields of the class.

        Returns
        -------
        DAGPosterior
        """
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
        return cls(
            names=tuple(names),
            adjacency=different,
            weights=pd.Series(mass[order] / mass.sum(), name="weight"),
            effective_sample_size=effective_sample_size,
            bags=members,
            **others,
        )

    @classmethod
    def from_dags(
        cls,
        dags: Iterable[nx.DiGraph],
        weights: Iterable[float] | None = None,
        effective_sample_size: float | None = None,
    ) -> DAGPosterior:
        r"""Return the posterior that puts given weights on given DAGs.

        Parameters
        ----------
        dags : iterable of networkx.DiGraph
            Acyclic, on the same nodes, whose names are texts. Equal ones are put together.
        weights : iterable of float, optional
            Non-negative, any sum; equal by default.
        effective_sample_size : float, optional
            How many independent draws the DAGs are worth. By default their number where they come without weights,
            as draws do, and infinite where they come with weights, which are then taken to be exact. Pass
            :math:`1 / \sum_d w_d^2` for weights of importance sampling.

        Returns
        -------
        DAGPosterior

        Raises
        ------
        InputError
            If a graph has a cycle or other nodes than the first, or weights are negative or do not match.

        Examples
        --------
        >>> one = DAGPosterior.from_dags([nx.DiGraph([("A", "Y")])])
        >>> float(one.edge_probabilities.loc["A", "Y"])
        1.0
        """
        graphs = list(dags)
        names = _common_names(graphs)
        mass = _read_weights(weights, len(graphs))
        adjacency = np.array([nx.to_numpy_array(graph, nodelist=names, weight=None) > 0 for graph in graphs])
        given = float("inf") if weights is not None else float(len(graphs))
        size = given if effective_sample_size is None else float(effective_sample_size)
        return cls.of_draws(names, adjacency.astype(np.int8), mass, size, settings={"model": "given DAGs"})

    @cached_property
    def dags(self) -> list[nx.DiGraph]:
        """The different DAGs as graphs, likely ones first."""
        return [self._graph(matrix) for matrix in self.adjacency]

    @property
    def p(self) -> int:
        """Number of nodes."""
        return len(self.names)

    @cached_property
    def edge_probabilities(self) -> pd.DataFrame:
        """Probability of every edge, causes as rows and effects as columns; exact where the engine is exact."""
        if self.edges is not None:
            return self._frame(self.edges)
        return self._frame(self._mean(self.adjacency))

    @cached_property
    def ancestor_probabilities(self) -> pd.DataFrame:
        """Probability that the node of the row is an ancestor of the node of the column."""
        return self._frame(self._mean(self._reach))

    @property
    def entropy(self) -> float:
        """Entropy of the weights in nats: 0 if one DAG has all the weight."""
        w = self._w[self._w > 0]
        return float(-(w * np.log(w)).sum()) + 0.0

    def stability(
        self,
        path: Sequence[str] | None = None,
        *,
        via: Sequence[str] | None = None,
        ordered: bool = True,
        exact: bool = False,
        level: float = 0.95,
    ) -> Stability:
        """Return the probability of a path, or of some path through given nodes.

        Parameters
        ----------
        path : sequence of str
            The whole path from treatment to outcome: every consecutive edge must be present.
        via : sequence of str
            Instead of ``path``: treatment, nodes to visit, outcome. Some directed path must visit them.
        ordered : bool, default True
            Whether ``via`` must be visited in this order.
        exact : bool, default False
            With ``via``: only the path that visits nothing else; the same as ``path``.
        level : float, default 0.95
            Level of the Wilson interval.

        Returns
        -------
        Stability

        Raises
        ------
        InputError
            If not one of ``path`` and ``via`` is given, a node is unknown or occurs twice.
        """
        if (path is None) == (via is None):
            raise InputError("Give either `path` (a whole path) or `via` (treatment, nodes to visit, outcome).")
        nodes = self._numbers(path if path is not None else via)
        if path is not None or exact:
            return self._score(self._holds(nodes), level)
        return self._score(self._visits(nodes, ordered), level)

    def stability_of_set(
        self, paths: Iterable[Sequence[str]], how: Literal["any", "all"] = "any", level: float = 0.95
    ) -> Stability:
        """Return the probability that at least one, or every one, of several paths is present.

        Parameters
        ----------
        paths : iterable of sequences of str
            Whole paths.
        how : {"any", "all"}, default "any"
            At least one, or every one.
        level : float, default 0.95
            Level of the Wilson interval.

        Returns
        -------
        Stability
        """
        one_of("how", how, ("any", "all"))
        held = [self._holds(self._numbers(path)) for path in paths]
        if not held:
            raise InputError("`paths` must hold at least one path. Got none.")
        return self._score(np.any(held, axis=0) if how == "any" else np.all(held, axis=0), level)

    def mediator_probabilities(self, treatment: str, outcome: str) -> pd.Series:
        """Return for every other node the probability that it lies on a directed path from treatment to outcome.

        Parameters
        ----------
        treatment, outcome : str
            Two nodes.

        Returns
        -------
        Series
            Likely mediators first.
        """
        a, y = self._numbers((treatment, outcome))
        between = self._reach[:, a, :] & self._reach[:, :, y]
        found = pd.Series(self._mean(between), index=pd.Index(self.names, name="mediator"), name="probability")
        return found.drop([treatment, outcome]).sort_values(ascending=False, kind="stable")

    def paths(
        self, treatment: str, outcome: str, cutoff: int = 10, max_paths: int = 10_000, level: float = 0.95
    ) -> pd.DataFrame:
        """List every directed path from treatment to outcome that any of the DAGs holds.

        Parameters
        ----------
        treatment, outcome : str
            Two nodes.
        cutoff : int, default 10
            Largest number of edges.
        max_paths : int, default 10_000
            If there are more paths than this, only the shorter ones are listed, with a warning.
        level : float, default 0.95
            Level of the Wilson intervals.

        Returns
        -------
        DataFrame
            One line per path, likely ones first: ``path`` (text), ``nodes`` (tuple), ``length`` (edges),
            ``stability``, ``via`` (some path visits these nodes in this order), ``ancestor`` (the treatment is an
            ancestor of the outcome), ``std_error``, ``lower``, ``upper`` (Monte Carlo error only), ``bag_sd``. The
            attribute ``attrs["truncated"]`` tells whether paths were left out for their number, and
            ``attrs["cutoff"]`` the length up to which all are listed.

        Raises
        ------
        InputError
            If a node is unknown or an argument is no positive whole number.

        Notes
        -----
        Paths are followed in all DAGs at once and never leave the nodes between treatment and outcome. A DAG can hold
        2 to the number of mediators paths; their number is computed before any is listed.
        """
        a, y = self._numbers((treatment, outcome))
        whole_number("cutoff", cutoff, 1)
        whole_number("max_paths", max_paths, 1)
        predicted = self.count_paths(treatment, outcome, cutoff)
        found, reached = follow(self.adjacency == 1, self._reach, a, y, cutoff, max_paths)
        truncated = reached < cutoff
        if truncated:
            tell(
                f"More than max_paths={max_paths:,} paths lead from {treatment!r} to {outcome!r} (one DAG alone holds "
                f"{max(predicted):,.0f} of at most {cutoff} edges). Only those of at most {reached} edges are listed; "
                "raise `max_paths` or lower `cutoff`.",
                CausalifWarning,
            )
        ancestor = float(self._w @ self._reach[:, a, y])
        lines = [self._line(nodes, held, ancestor, level) for nodes, held in found]
        columns = ["path", "nodes", "length", "stability", "via", "ancestor", "std_error", "lower", "upper", "bag_sd"]
        shown = ["path", "stability", "lower", "upper", "std_error", "bag_sd", "length", "via", "ancestor", "nodes"]
        frame = pd.DataFrame(lines, columns=columns)[shown]
        frame = frame.sort_values(["stability", "length", "path"], ascending=[False, True, True], ignore_index=True)
        frame.attrs.update(truncated=truncated, cutoff=min(reached, cutoff))
        return frame

    def count_paths(self, treatment: str, outcome: str, cutoff: int = 10) -> Array:
        """Return for every DAG how many directed paths it holds, without listing them.

        Parameters
        ----------
        treatment, outcome : str
            Two nodes.
        cutoff : int, default 10
            Largest number of edges.

        Returns
        -------
        ndarray of shape (u,)
        """
        a, y = self._numbers((treatment, outcome))
        step = self.adjacency.astype(np.float64)
        at = np.zeros((len(step), self.p))
        at[:, a] = 1.0
        total = np.zeros(len(step))
        for _ in range(min(cutoff, self.p - 1)):
            at = np.einsum("dj,dji->di", at, step)
            total += at[:, y]
        return total

    def thresholds(
        self, treatment: str, outcome: str, values: Sequence[float] = (0.05, 0.15, 0.5, 0.95)
    ) -> pd.DataFrame:
        """Show how many paths each threshold would select, and the share of them expected to be absent.

        Parameters
        ----------
        treatment, outcome : str
            Two nodes.
        values : sequence of float, default (0.05, 0.15, 0.5, 0.95)
            Thresholds of the stability.

        Returns
        -------
        DataFrame
            Indexed by threshold: ``paths`` and ``expected_false`` (the mean of 1 − PSS of the selected paths: the
            Bayesian false discovery rate). A threshold is a rule for screening, not a test.
        """
        scores = self.paths(treatment, outcome)["stability"].to_numpy()
        chosen = [scores[scores >= in_range("values", value, 0.0, 1.0, open_ends=False)] for value in values]
        return pd.DataFrame(
            {
                "paths": [len(part) for part in chosen],
                "expected_false": [float(np.mean(1 - part)) if len(part) else float("nan") for part in chosen],
            },
            index=pd.Index(values, name="threshold"),
        )

    def to_networkx(self, least: float = 0.0) -> nx.DiGraph:
        """Return a graph, possibly with cycles, whose edges carry their ``probability``.

        Parameters
        ----------
        least : float, default 0.0
            Edges of this probability or less are left out.

        Returns
        -------
        networkx.DiGraph
        """
        graph = nx.DiGraph()
        graph.add_nodes_from(self.names)
        table = self.edge_probabilities.to_numpy()
        for j, i in np.argwhere(table > least):
            graph.add_edge(self.names[j], self.names[i], probability=float(table[j, i]))
        return graph

    def plot(self, ax: Axes | None = None, least: float = 0.05) -> Axes:
        """Draw the edges with their probabilities: the likelier, the darker and thicker.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Drawn into; a new figure by default.
        least : float, default 0.05
            Edges of a smaller probability are left out.

        Returns
        -------
        Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed (``pip install causalif[plot]``).
        """
        from causalif.graphs.posterior_draw import draw_probabilities

        return draw_probabilities(self.to_networkx(least), ax)

    def summary(self) -> str:
        """Return what was done and the most likely edges, as text.

        Returns
        -------
        str
        """
        from causalif.graphs.posterior_text import describe

        return describe(self, MOST_SHOWN)

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        sort = self.settings.get("model", "DAGs")
        return f"<DAGPosterior of {sort}: {self.p} nodes, {len(self.adjacency):,} DAGs, entropy {self.entropy:.2f}>"

    @cached_property
    def _w(self) -> Array:
        return np.asarray(self.weights.to_numpy(dtype=np.float64))

    @cached_property
    def _reach(self) -> Flags:
        """Ancestors: [d, j, i] is true when DAG d has a directed path from j to i."""
        return transitive_closure(self.adjacency)

    def _mean(self, values: npt.NDArray[Any]) -> Array:
        return np.clip(np.tensordot(self._w, values.astype(np.float64), axes=1), 0.0, 1.0)

    def _frame(self, values: Array) -> pd.DataFrame:
        return pd.DataFrame(values, index=pd.Index(self.names, name="from"), columns=pd.Index(self.names, name="to"))

    def _graph(self, matrix: Adjacency) -> nx.DiGraph:
        graph = nx.DiGraph()
        graph.add_nodes_from(self.names)
        graph.add_edges_from((self.names[j], self.names[i]) for j, i in np.argwhere(matrix))
        return graph

    def _numbers(self, nodes: Sequence[str] | None) -> list[int]:
        """Positions of two or more different nodes."""
        if isinstance(nodes, str) or not isinstance(nodes, Sequence) or len(nodes) < 2:
            raise InputError(f"A path must name at least two nodes, such as ('A', 'M', 'Y'). Got {nodes!r} instead.")
        unknown = [node for node in nodes if node not in self.names]
        if unknown:
            raise InputError(f"{unknown[0]!r} is no node of this posterior: {list(self.names)[:12]}. Correct it.")
        if len(set(nodes)) < len(nodes):
            raise InputError(f"A path visits every node once. Got {tuple(nodes)!r}; leave the repeated node out.")
        return [self.names.index(node) for node in nodes]

    def _holds(self, nodes: Sequence[int]) -> Flags:
        return np.all([self.adjacency[:, j, i] == 1 for j, i in pairwise(nodes)], axis=0)

    def _visits(self, nodes: Sequence[int], ordered: bool) -> Flags:
        """DAGs in which some directed path from the first to the last node visits those between."""
        reach = self._reach
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

    def _score(self, held: Flags, level: float) -> Stability:
        score = min(float(self._w @ held), 1.0)
        size = self.effective_sample_size
        lower, upper = wilson(score, size, level)
        spread = float("nan") if self.bags is None or len(self.bags) < 2 else float((self.bags @ held).std(ddof=1))
        return Stability(score, float(np.sqrt(score * (1 - score) / size)), lower, upper, spread)

    def _line(self, nodes: tuple[int, ...], held: Flags, ancestor: float, level: float) -> tuple[Any, ...]:
        score = self._score(held, level)
        via = min(float(self._w @ self._visits(nodes, True)), 1.0)
        names = tuple(self.names[v] for v in nodes)
        text = " -> ".join(names)
        return (text, names, len(nodes) - 1, score.pss, via, ancestor, score.se, score.lower, score.upper, score.bag_sd)


def _within(places: npt.NDArray[np.intp], weights: Array, size: int) -> Array:
    return np.asarray(np.bincount(places, weights=weights / weights.sum(), minlength=size), dtype=np.float64)


def _common_names(graphs: Sequence[Any]) -> list[str]:
    """Nodes of the first graph, which all others must have."""
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


def _read_weights(weights: Iterable[float] | None, count: int) -> Array:
    mass = np.ones(count) if weights is None else np.asarray(list(weights), dtype=np.float64)
    if mass.shape != (count,) or not np.isfinite(mass).all() or (mass < 0).any() or not mass.sum() > 0:
        raise InputError(f"`weights` must hold {count} non-negative numbers, one per DAG, not all zero.")
    return np.asarray(mass / mass.sum())
