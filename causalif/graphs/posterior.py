"""A posterior over DAGs, and what it says about edges, ancestors and paths."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx
import numpy as np
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array, one_of
from causalif.graphs.posterior_build import collected, common_names, read_weights
from causalif.graphs.posterior_score import Adjacency, Stability, Weighted
from causalif.graphs.posterior_tables import count_paths, path_table, threshold_table
from causalif.storage import stored

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from causalif.storage.codec import Reader, Writer

MOST_SHOWN = 12

__all__ = ["DAGPosterior", "Stability"]


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
    effective_sample_size : float, default infinite
        How many independent draws the weights are worth; infinite if every DAG with weight was enumerated.
    log_evidence, bound : float, optional
        Logarithm of the summed weights of all DAGs, or a lower bound of it, where known.
    bags : ndarray of shape (B, u), optional
        The weights within every bootstrap resample.
    edges : ndarray of shape (p, p), optional
        Exact edge probabilities, where the engine knows them without drawing.
    diagnostics : mapping of str to DataFrame, optional
        Tables of the sampler and of the fit.
    settings : mapping, optional
        What the posterior was made with.
    complete : bool, default True
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
    >>> posterior.mediator_probabilities("A", "Y").to_dict(), posterior.count_paths("A", "Y").tolist()
    ({'M': 1.0}, [1.0, 2.0])
    >>> posterior.stability_of_set([("A", "Y"), ("A", "M", "Y")], how="all").pss
    0.25
    >>> posterior.thresholds("A", "Y", values=(0.2, 0.5))["paths"].tolist()
    [2, 1]
    >>> sorted(posterior.to_networkx(least=0.5).edges)
    [('A', 'M'), ('M', 'Y')]
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
        **others : object
            Further fields of the class.

        Returns
        -------
        DAGPosterior

        Examples
        --------
        >>> draws = np.array([[[0, 1], [0, 0]], [[0, 0], [0, 0]], [[0, 1], [0, 0]]], dtype=np.int8)
        >>> DAGPosterior.of_draws(["A", "Y"], draws, np.ones(3), 3.0).weights.round(2).tolist()
        [0.67, 0.33]
        """
        parts = collected(names, adjacency, weights, bags)
        return cls(**parts, effective_sample_size=effective_sample_size, **others)

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
        names = common_names(graphs)
        mass = read_weights(weights, len(graphs))
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
        return self._frame(self._weighted.mean(self.adjacency))

    @cached_property
    def ancestor_probabilities(self) -> pd.DataFrame:
        """Probability that the node of the row is an ancestor of the node of the column."""
        return self._frame(self._weighted.mean(self._weighted.reach))

    @property
    def entropy(self) -> float:
        """Entropy of the weights in nats: 0 if one DAG has all the weight."""
        w = self._weighted.weights[self._weighted.weights > 0]
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
        path : sequence of str, optional
            The whole path from treatment to outcome: every consecutive edge must be present.
        via : sequence of str, optional
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
        nodes = self._weighted.numbers(path if path is not None else via)
        if path is not None or exact:
            return self._weighted.score(self._weighted.holds(nodes), level)
        return self._weighted.score(self._weighted.visits(nodes, ordered), level)

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

        Raises
        ------
        InputError
            If there is no path, or one names a node that is unknown or occurs twice.
        """
        one_of("how", how, ("any", "all"))
        held = [self._weighted.holds(self._weighted.numbers(path)) for path in paths]
        if not held:
            raise InputError("`paths` must hold at least one path. Got none.")
        return self._weighted.score(np.any(held, axis=0) if how == "any" else np.all(held, axis=0), level)

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
        a, y = self._weighted.numbers((treatment, outcome))
        between = self._weighted.reach[:, a, :] & self._weighted.reach[:, :, y]
        found = pd.Series(self._weighted.mean(between), index=pd.Index(self.names, name="mediator"), name="probability")
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
        return path_table(self._weighted, treatment, outcome, cutoff, max_paths, level)

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
        return count_paths(self._weighted, treatment, outcome, cutoff)

    def thresholds(
        self,
        treatment: str,
        outcome: str,
        values: Sequence[float] = (0.05, 0.15, 0.5, 0.95),
        cutoff: int = 10,
        max_paths: int = 10_000,
    ) -> pd.DataFrame:
        """Show how many paths each threshold would select, and the share of them expected to be absent.

        Parameters
        ----------
        treatment, outcome : str
            Two nodes.
        values : sequence of float, default (0.05, 0.15, 0.5, 0.95)
            Thresholds of the stability.
        cutoff : int, default 10
            Largest number of edges of a path.
        max_paths : int, default 10_000
            The most paths that are counted, as in :meth:`paths`.

        Returns
        -------
        DataFrame
            Indexed by threshold: ``paths`` and ``expected_false`` (the mean of 1 − PSS of the selected paths: the
            Bayesian false discovery rate). A threshold is a rule for screening, not a test.
        """
        table = self.paths(treatment, outcome, cutoff=cutoff, max_paths=max_paths)
        return threshold_table(table["stability"].to_numpy(), values)

    def to_frame(self) -> pd.DataFrame:
        """List every edge that has a probability.

        Returns
        -------
        DataFrame
            One line per edge, likely ones first: ``tail``, ``head``, ``probability``.

        Examples
        --------
        >>> DAGPosterior.from_dags([nx.DiGraph([("A", "M"), ("M", "Y")])]).to_frame()
          tail head  probability
        0    A    M          1.0
        1    M    Y          1.0
        """
        table = self.edge_probabilities.to_numpy()
        rows = [(self.names[j], self.names[i], float(table[j, i])) for j, i in np.argwhere(table > 0)]
        frame = pd.DataFrame(rows, columns=["tail", "head", "probability"])
        return frame.sort_values("probability", ascending=False, kind="stable", ignore_index=True)

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

    def save(self, path: str | PathLike[str]) -> None:
        """Write the posterior to one file, which `causalif.load` reads.

        Parameters
        ----------
        path : str or path
            Replaced at once when it exists: an interrupted save leaves the old file, or none.

        Raises
        ------
        InputError
            If ``path`` is a folder or lies in none, or a setting or a table holds something other than numbers, text,
            dates, and bools.

        Notes
        -----
        The file holds p² bytes for each DAG, and nothing that could be executed.

        Examples
        --------
        >>> import tempfile
        >>> posterior = DAGPosterior.from_dags([nx.DiGraph([("A", "Y")])])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     posterior.save(f"{folder}/graphs.causalif")
        ...     DAGPosterior.load(f"{folder}/graphs.causalif")
        <DAGPosterior of given DAGs: 2 nodes, 1 DAG, entropy 0.00>
        """
        stored.write(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> DAGPosterior:
        """Read a posterior that `save` wrote.

        Parameters
        ----------
        path : str or path
            The file.

        Returns
        -------
        DAGPosterior

        Raises
        ------
        InputError
            If the file is damaged, comes from a newer version, or holds something else.

        Examples
        --------
        See :meth:`save`.
        """
        return stored.read_as(path, cls)

    def _pack(self, writer: Writer) -> dict[str, Any]:
        from causalif.graphs.posterior_file import pack

        return pack(self, writer)

    @classmethod
    def _unpack(cls, fields: Mapping[str, Any], reader: Reader) -> DAGPosterior:
        from causalif.graphs.posterior_file import unpack

        return cls(**unpack(fields, reader))

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>"

    def __repr__(self) -> str:
        sort = self.settings.get("model", "DAGs")
        count = f"{len(self.adjacency):,} DAG{'s' * (len(self.adjacency) > 1)}"
        return f"<DAGPosterior of {sort}: {self.p} nodes, {count}, entropy {self.entropy:.2f}>"

    @cached_property
    def _weighted(self) -> Weighted:
        weights = np.asarray(self.weights.to_numpy(dtype=np.float64))
        return Weighted(self.names, self.adjacency, weights, self.effective_sample_size, self.bags)

    def _frame(self, values: Array) -> pd.DataFrame:
        return pd.DataFrame(values, index=pd.Index(self.names, name="from"), columns=pd.Index(self.names, name="to"))

    def _graph(self, matrix: Adjacency) -> nx.DiGraph:
        graph = nx.DiGraph()
        graph.add_nodes_from(self.names)
        graph.add_edges_from((self.names[j], self.names[i]) for j, i in np.argwhere(matrix))
        return graph
