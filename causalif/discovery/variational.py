"""Variational inference over DAGs: an order of the nodes, and edges that agree with it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import ConvergenceWarning, InputError, tell
from causalif._validate import Array, whole_number
from causalif.discovery.exact import blocks_of, log_evidence
from causalif.discovery.families import Draws, Families, masks_of

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

ADAM = (0.9, 0.999, 1e-8)
TEMPERED_SHARE = 0.6
COOLEST = 0.3
FINAL_SAMPLES = 2000
# Up to here the exact evidence costs less than the fit.
CHECKED_NODES = 8
CLOSE = 3.0
# Apart from this many, blocks of nodes that cannot form a cycle are never put in the wrong order.
BLOCK_GAP = 1e3
# Weight of a set that is not listed although its edges are allowed; such DAGs are never returned.
UNLISTED = 1e3


def sample_variational(
    families: Families,
    *,
    draws: int,
    rng: np.random.Generator,
    deadline: float | None = None,
    progress: bool = False,
    restarts: int = 8,
    steps: int = 800,
    samples: int = 64,
    learning_rate: float = 0.05,
    temperature: float | None = None,
) -> Draws:
    r"""Draw DAGs from a variational approximation: a Plackett-Luce order times independent edges that agree with it.

    .. math:: \mathrm{ELBO} = E_q \{ \log w(G) + \log r(o | G) - \log q(o) - \log q(G | o) \} \le \log \sum_G w(G)

    q(o) places node after node with probability proportional to :math:`e^{\theta_v}`; q(G | o) puts every edge that
    agrees with o in with a probability of its own, up to the largest in-degree. r(o | G) places, with the same
    scores, nodes whose parents in G have all been placed: it is a law over the orders of G, so that the bound holds
    for DAGs, not for DAGs counted once per order. Gradients are score-function gradients with a leave-one-out
    baseline; scores are flattened at first.

    Parameters
    ----------
    families : Families
        Log weights of the families.
    draws : int
        Number of DAGs.
    rng : Generator
        Source of all randomness.
    deadline : float, optional
        Value of ``time.monotonic()`` at which to stop with what there is.
    progress : bool
        Show a progress bar where tqdm is installed.
    restarts : int
        Approximations from scattered starts, at least 1, default 8; they are mixed in proportion to exp(ELBO).
    steps : int
        Steps of Adam, default 800.
    samples : int
        DAGs per step and restart, at least 2, default 64.
    learning_rate : float
        Of Adam, default 0.05.
    temperature : float, optional
        Scores are divided by this at first and by less and less until 60% of the steps, then by one. Default a tenth
        of the largest difference between two scores of one node, which for n rows is of the order n / 10.

    Returns
    -------
    Draws
        ``bound`` is the best restart's ELBO. ``diagnostics["restarts"]``: ELBO, its Monte Carlo error and the mixture
        weight of every restart; with up to 8 nodes in a cycle, also how far it lies below the exact evidence.

    Warns
    -----
    ConvergenceWarning
        If the best restart is known to lie more than 3 nats below the exact evidence, or the time ran out.

    Notes
    -----
    **Overconfident under multimodality.** Each restart describes one mode; where several structures fit about equally
    well, modes that no restart found are missing, and the weights exp(ELBO) are rough. The probabilities are then
    closer to 0 and 1 than they should be, and nothing in the restarts need show it: many that agree may share a mode.
    ``ess`` counts independent draws from the approximation and knows nothing of its error. Prefer ``exact`` or
    ``mcmc`` where they can be afforded. An interrupt (Ctrl-C) returns what there is with ``complete=False``.

    Cost: ``steps`` passes over restarts × samples DAGs, each p² operations times p.

    References
    ----------
    Kool, van Hoof and Welling (2019), "Buy 4 REINFORCE samples, get a baseline for free!", for the gradient;
    Charpentier, Kibler and Günnemann (2022), arXiv:2203.08509, for orders times edges.

    Examples
    --------
    >>> import numpy as np
    >>> from causalif.discovery.families import Families
    >>> pair = Families.of_scores(("A", "Y"), (np.array([0, 2]), np.array([0, 1])), (np.zeros(2), np.array([0.0, 9.0])))
    >>> found = sample_variational(pair, draws=400, rng=np.random.default_rng(0), steps=200)
    >>> bool(found.bound < np.log(2 + np.exp(9.0)) + 0.01), bool(found.adjacency[:, 0, 1].mean() > 0.98)
    (True, True)
    """
    whole_number("draws", draws, 1)
    count, steps = whole_number("restarts", restarts, 1), whole_number("steps", steps, 1)
    target = _Target.of(families)
    hottest = max(1.0, target.spread / 10) if temperature is None else float(temperature)
    # Hot starts find broad modes and agree; cooler ones scatter.
    heats = hottest ** np.linspace(1.0, COOLEST, count)
    fit = _Fit(target, count, whole_number("samples", samples, 2), learning_rate, rng)
    done = 0
    try:
        for step in _bar(steps, progress):
            if deadline is not None and time.monotonic() > deadline:
                break
            fit.step(heats ** max(0.0, 1 - step / (TEMPERED_SHARE * steps)))
            done += 1
    except KeyboardInterrupt:
        pass
    if done < steps:
        tell(
            f"Stopped after {done} of {steps} steps: the approximation is unfinished. Raise `time_limit`.",
            ConvergenceWarning,
        )
    return _result(families, target, fit, draws, rng, done == steps)


@dataclass(frozen=True, eq=False)
class _Target:
    """Log weights of families, and which edges can, must or need not be there."""

    families: Families
    free: Bools  # (p, p), [j, i]: j -> i may or may not be there
    required: Bools  # (p, p)
    most: Ints  # (p,), largest number of free parents
    offset: Array  # (p,), keeps the order of nodes that cannot form a cycle
    floor: float

    @classmethod
    def of(cls, families: Families) -> _Target:
        bits = np.int64(1) << np.arange(families.p, dtype=np.int64)
        required = np.array([(np.bitwise_and.reduce(sets) & bits) > 0 for sets in families.parents]).T
        allowed = np.array([(np.bitwise_or.reduce(sets) & bits) > 0 for sets in families.parents]).T
        most = np.array([int(np.bitwise_count(sets).max()) for sets in families.parents]) - required.sum(axis=0)
        offset = np.zeros(families.p)
        for rank, block in enumerate(_in_order(blocks_of(families), allowed)):
            offset[block] = -BLOCK_GAP * rank
        floor = min(float(weights.min()) for weights in families.log_weights) - UNLISTED
        return cls(families, allowed & ~required, required, most, offset, floor)

    @property
    def spread(self) -> float:
        """Largest difference between two log weights of one node."""
        return max(float(np.ptp(weights)) for weights in self.families.log_weights)

    def log_weight(self, graphs: Bools) -> Array:
        """Return the log weight of each DAG, with a floor for sets that are not listed."""
        masks = masks_of(graphs.astype(np.int8))
        looked = [np.maximum(self.families.look_up(i, masks[:, i]), self.floor) for i in range(self.families.p)]
        return np.sum(looked, axis=0)


def _in_order(blocks: list[list[int]], allowed: Bools) -> list[list[int]]:
    """Sort blocks so that edges between them go forward."""
    left, ordered = [list(block) for block in blocks], []
    while left:
        for block in left:
            others = [v for other in left if other is not block for v in other]
            if not allowed[np.ix_(others, block)].any():
                break
        else:
            raise InputError(
                "The allowed edges among blocks of nodes are cyclic. "
                'Forbid edges between some of them, or use engine="mcmc".'
            )
        left.remove(block)
        ordered.append(block)
    return ordered


@dataclass(frozen=True, eq=False)
class _Sample:
    """Orders and DAGs of all restarts, with what gradients need; S = restarts × samples rows."""

    position: Ints  # (S, p), place of each node
    graphs: Bools  # (S, p, p)
    decided: Bools  # (S, p, p), edges that were left to chance
    log_edges: Array  # (S,), log q(G | o)
    log_order: Array  # (S,), log r(o | G) - log q(o)
    slope_order: Array  # (S, p), gradient of log q(o)
    slope_law: Array  # (S, p), gradient of log r(o | G)


class _Fit:
    """The parameters of all restarts and their optimiser."""

    def __init__(
        self, target: _Target, restarts: int, samples: int, learning_rate: float, rng: np.random.Generator
    ) -> None:
        p = target.families.p
        self.target, self.samples, self.rate, self.rng = target, samples, learning_rate, rng
        self.parameters = {"order": rng.standard_normal((restarts, p)), "edges": np.zeros((restarts, p, p))}
        self._moments = {name: [np.zeros_like(value)] * 2 for name, value in self.parameters.items()}
        self._steps = 0

    def step(self, temperature: Array) -> None:
        """Go one step up the ELBO of weights flattened by each restart's temperature."""
        restarts, p = self.parameters["order"].shape
        drawn = self.draw(np.repeat(np.arange(restarts), self.samples))
        flat = self.target.log_weight(drawn.graphs).reshape(restarts, -1) / temperature[:, None]
        value = flat + (drawn.log_order - drawn.log_edges).reshape(restarts, -1)
        # leave-one-out baseline: f_k minus the mean of the others
        gain = (value - value.mean(axis=1, keepdims=True)) * self.samples / (self.samples - 1)
        chance = _sigmoid(self.parameters["edges"])[:, None]
        shape = (restarts, self.samples, p, p)
        residual = np.where(drawn.decided.reshape(shape), drawn.graphs.reshape(shape) - chance, 0.0)
        order = gain[..., None] * drawn.slope_order.reshape(shape[:3]) + drawn.slope_law.reshape(shape[:3])
        self._climb({"order": order.mean(axis=1), "edges": np.einsum("rk,rkji->rji", gain, residual) / self.samples})

    def elbo(self, samples: int) -> tuple[Array, Array]:
        """Return the ELBO of every restart and its Monte Carlo error."""
        restarts = len(self.parameters["order"])
        drawn = self.draw(np.repeat(np.arange(restarts), samples))
        value = self.target.log_weight(drawn.graphs) + drawn.log_order - drawn.log_edges
        value = value.reshape(restarts, samples)
        return value.mean(axis=1), value.std(axis=1) / np.sqrt(samples)

    def draw(self, restart: npt.NDArray[np.intp]) -> _Sample:
        """Draw an order and a DAG from the restart named in each row."""
        scores = self.parameters["order"][restart] + self.target.offset
        order, log_order, slope_order = _draw_orders(scores, self.target.required, self.rng)
        position = np.argsort(order, axis=1)
        agrees = position[:, :, None] < position[:, None, :]
        open_edges = agrees & self.target.free
        logits = self.parameters["edges"][restart]
        flips = (self.rng.random(logits.shape) < _sigmoid(logits)) & open_edges
        earlier: Ints = np.cumsum(flips, axis=1) - flips
        decided = open_edges & (earlier < self.target.most)
        graphs = (flips & decided) | self.target.required
        log_edges = np.where(decided, -np.logaddexp(0.0, np.where(graphs, -logits, logits)), 0.0).sum(axis=(1, 2))
        log_law, slope_law = _order_law(scores, order, graphs)
        return _Sample(position, graphs, decided, log_edges, log_law - log_order, slope_order, slope_law)

    def _climb(self, gradients: Mapping[str, Array]) -> None:
        """Adam."""
        first_rate, second_rate, small = ADAM
        self._steps += 1
        for name, gradient in gradients.items():
            first, second = self._moments[name]
            first = first_rate * first + (1 - first_rate) * gradient
            second = second_rate * second + (1 - second_rate) * gradient**2
            self._moments[name] = [first, second]
            unbiased = first / (1 - first_rate**self._steps)
            spread = np.sqrt(second / (1 - second_rate**self._steps))
            self.parameters[name] = self.parameters[name] + self.rate * unbiased / (spread + small)


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _draw_orders(scores: Array, required: Bools, rng: np.random.Generator) -> tuple[Ints, Array, Array]:
    """Draw orders in which required parents come first; return them, their log laws and the gradients of these."""
    rows, p = scores.shape
    free, gumbel = not required.any(), rng.gumbel(size=scores.shape)
    waiting, order = np.ones((rows, p), dtype=bool), np.empty((rows, p), dtype=np.int64)
    every = np.arange(rows)
    for k in range(p):
        ready = waiting if free else waiting & ~(waiting[:, :, None] & required).any(axis=1)
        # Nodes that become ready late have not lost to earlier ones yet, so noise is only shared where all are ready.
        gumbel = gumbel if free else rng.gumbel(size=scores.shape)
        order[:, k] = np.where(ready, scores + gumbel, -np.inf).argmax(axis=1)
        waiting[every, order[:, k]] = False
    log_law, slope = _order_law(scores, order, np.broadcast_to(required, (rows, p, p)))
    return order, log_law, slope


def _order_law(scores: Array, order: Ints, graphs: Bools) -> tuple[Array, Array]:
    """Return the log probability of orders that place ready nodes by their scores, and its gradient in the scores.

    A node is ready at step k if it is not placed and all its parents in the row's graph are.
    """
    p = scores.shape[1]
    position = np.argsort(order, axis=1)
    opens = np.where(graphs, position[:, :, None], -1).max(axis=1) + 1
    steps = np.arange(p)[None, :, None]
    ready = (opens[:, None, :] <= steps) & (position[:, None, :] >= steps)
    heights = np.where(ready, scores[:, None, :], -np.inf)
    top = heights.max(axis=2, keepdims=True)
    weights = np.exp(heights - top)
    total = weights.sum(axis=2, keepdims=True)
    log_law = scores.sum(axis=1) - (np.log(total) + top).sum(axis=(1, 2))
    return log_law, 1 - (weights / total).sum(axis=1)


def _result(
    families: Families, target: _Target, fit: _Fit, draws: int, rng: np.random.Generator, complete: bool
) -> Draws:
    elbo, error = fit.elbo(FINAL_SAMPLES)
    mixture = np.exp(elbo - elbo.max())
    mixture /= mixture.sum()
    adjacency = _listed(fit, mixture, draws, rng).astype(np.int8)
    table = pd.DataFrame({"elbo": elbo, "std_error": error, "weight": mixture})
    if max(map(len, blocks_of(families))) <= CHECKED_NODES:
        exact = log_evidence(families)
        table["gap_to_exact"] = exact - elbo
        _warn(float(table["gap_to_exact"].min()))
    table = table.sort_values("elbo", ascending=False, ignore_index=True).rename_axis(index="restart")
    return Draws(
        adjacency=adjacency,
        weights=np.full(draws, 1 / draws),
        bound=float(elbo.max()),
        ess=float(draws),
        diagnostics={"restarts": table},
        complete=complete,
    )


def _listed(fit: _Fit, mixture: Array, draws: int, rng: np.random.Generator) -> Bools:
    """Draw DAGs from the mixture, only such that have listed parent sets."""
    kept: list[Bools] = []
    found = 0
    for _ in range(100):
        graphs = fit.draw(rng.choice(len(mixture), size=draws, p=mixture)).graphs
        graphs = graphs[np.isfinite(fit.target.families.log_weight_of(graphs.astype(np.int8)))]
        kept.append(graphs)
        found += len(graphs)
        if found >= draws:
            return np.concatenate(kept)[:draws]
    raise InputError(
        "The approximation hardly draws DAGs whose parent sets are listed in `families`. Use the exact or the mcmc "
        "engine."
    )


def _warn(gap: float) -> None:
    if gap > CLOSE:
        tell(
            f"The best of the restarts lies {gap:.1f} nats below the exact log evidence: the variational posterior "
            'misses structures and is too sure of itself. Use engine="exact" or "mcmc", or more restarts.',
            ConvergenceWarning,
        )


def _bar(steps: int, progress: bool) -> Iterator[int]:
    """Wrap the steps in a progress bar where tqdm is installed and stderr is a terminal."""
    if not progress:
        return iter(range(steps))
    try:
        from tqdm import tqdm
    except ImportError:
        return iter(range(steps))
    return iter(tqdm(range(steps), desc="variational", disable=None, leave=False))
