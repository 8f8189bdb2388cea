"""Markov chains over ordered partitions of the nodes: DAGs from their posterior, without the bias of order samplers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from causalif._errors import ConvergenceWarning, InputError, tell
from causalif._validate import whole_number
from causalif.discovery.families import Adjacency, Draws, Families, Masks, adjacency_of
from causalif.discovery.order_moves import reorder
from causalif.discovery.partition_score import LayerScores, bits_of, layers_of
from causalif.discovery.rhat import chain_ess, split_rhat

RHAT_LIMIT = 1.05
# Fewer draws a chain make R-hat itself too noisy to warn by.
FEWEST_PER_CHAIN = 100
STAGES = 12
ATTEMPTS = 200


def sample_mcmc(
    families: Families,
    *,
    draws: int,
    rng: np.random.Generator,
    deadline: float | None = None,
    progress: bool = False,
    chains: int = 4,
    warmup: int | None = None,
    thin: int | None = None,
) -> Draws:
    r"""Draw DAGs by partition Markov chain Monte Carlo.

    The state is an ordered partition of the nodes into layers (roots; nodes whose parents all lie in earlier layers,
    at least one in the layer just before). Every DAG has exactly one, so the stationary law

    .. math:: P(\lambda | D) \propto \prod_v \sum_{P \subseteq U_v, P \cap R_v \ne \emptyset} w_v(P)

    gives DAGs from the posterior itself; order samplers favour DAGs with many topological orders.

    Parameters
    ----------
    families : Families
        Log weights of the families.
    draws : int
        Number of DAGs returned, shared evenly by the chains (rounded up to a multiple of their number).
    rng : Generator
        Source of all randomness.
    deadline : float, optional
        Value of ``time.monotonic()`` at which to stop with what there is.
    progress : bool
        Show a progress bar where tqdm is installed.
    chains : int
        Independent chains from scattered starts, at least 2, default 4.
    warmup : int, optional
        Sweeps thrown away at the start of each chain, in the first 60% of which the scores are flattened, less and
        less; default 60 + 10 p.
    thin : int, optional
        Sweeps between kept DAGs, default 1 below 10 nodes and p / 5 beyond. A sweep is one node moved to a place drawn
        from its conditional law over all places, and p / 2 swaps, splits and merges.

    Returns
    -------
    Draws
        ``ess`` is the smallest autocorrelation effective sample size over the edges whose probability lies between
        0.01 and 0.99. ``diagnostics["chains"]``: probability, Monte Carlo standard error, R-hat and effective sample
        size of every possible edge.

    Warns
    -----
    ConvergenceWarning
        If R-hat of an edge exceeds 1.05, or the chains were stopped before the first draw.

    Notes
    -----
    R-hat near one cannot prove that a mode was not missed by all chains. An interrupt (Ctrl-C) returns the draws so
    far with ``complete=False``. Cost: about 4p sums over parent sets a sweep, most of them remembered; memory 10 MB
    plus twice the families.

    References
    ----------
    Kuipers and Moffa (2017), Journal of the American Statistical Association 112, 282-299 (partition MCMC); Kuipers,
    Suter and Moffa (2022), Journal of Computational and Graphical Statistics 31, 639-650 (node relocation).

    Examples
    --------
    >>> import numpy as np
    >>> from causalif.discovery.families import Families
    >>> pair = Families.of_scores(("A", "Y"), (np.array([0, 2]), np.array([0, 1])), (np.zeros(2), np.array([0.0, 9.0])))
    >>> found = sample_mcmc(pair, draws=400, rng=np.random.default_rng(0))
    >>> found.adjacency.shape, bool(found.adjacency[:, 0, 1].mean() > 0.98)
    ((400, 2, 2), True)
    """
    whole_number("draws", draws, 1)
    whole_number("chains", chains, 2)
    p = families.p
    run = _Run(
        warmup=whole_number("warmup", 60 + 10 * p if warmup is None else warmup, 0),
        thin=whole_number("thin", max(1, p // 5) if thin is None else thin, 1),
        kept=max(math.ceil(draws / chains), FEWEST_PER_CHAIN),
        deadline=math.inf if deadline is None else deadline,
    )
    kept, complete = _chains(families, rng.spawn(chains), run, progress)
    adjacency = adjacency_of(kept.reshape(-1, p)).reshape(*kept.shape[:2], p, p)
    table, ess = _diagnose(families, adjacency)
    wanted = np.linspace(0, kept.shape[1] - 1, min(math.ceil(draws / chains), kept.shape[1])).round().astype(int)
    chosen = adjacency[:, wanted].reshape(-1, p, p)
    return Draws(
        adjacency=chosen,
        weights=np.full(len(chosen), 1 / len(chosen)),
        ess=min(ess, float(len(chosen))),
        diagnostics={"chains": table},
        complete=complete,
    )


@dataclass(frozen=True)
class _Run:
    """How long the chains run."""

    warmup: int
    thin: int
    kept: int
    deadline: float


def _chains(families: Families, rngs: list[np.random.Generator], run: _Run, progress: bool) -> tuple[Masks, bool]:
    """Run all chains side by side, so that an early end leaves each with as many draws; shape (chains, kept, p)."""
    states = [_start(families, rng) for rng in rngs]
    kept: list[list[Masks]] = []
    scores = LayerScores(families)
    try:
        for temperature, sweeps in _ladder(scores.spread, run.warmup):
            level = scores if temperature == 1 else LayerScores(families.tempered(1 / temperature))
            for _ in range(sweeps):
                _sweep_all(states, rngs, level, run.deadline)
        for _ in _bar(range(run.kept), progress):
            for _ in range(run.thin):
                _sweep_all(states, rngs, scores, run.deadline)
            kept.append([scores.draw_parents(state, rng) for state, rng in zip(states, rngs, strict=True)])
    except (KeyboardInterrupt, _Late):
        if not kept:
            tell(
                "The chains were stopped before their first draw: these DAGs come from unfinished warm-up, one for "
                "each chain. Raise `time_limit`, or lower `max_parents`.",
                ConvergenceWarning,
            )
            kept.append([scores.draw_parents(state, rng) for state, rng in zip(states, rngs, strict=True)])
    return np.array(kept).transpose(1, 0, 2), len(kept) == run.kept


class _Late(Exception):  # noqa: N818
    """The deadline has passed."""


def _sweep_all(states: list[list[int]], rngs: list[np.random.Generator], scores: LayerScores, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise _Late
    for k, rng in enumerate(rngs):
        states[k] = _sweep(states[k], scores, rng)


def _ladder(spread: float, warmup: int) -> list[tuple[float, int]]:
    """Return temperatures and their sweeps: geometric from a tenth of the spread to one, then one."""
    hottest = max(1.0, spread / 10)
    each = int(0.6 * warmup) // STAGES
    hot = [(float(hottest ** (1 - k / STAGES)), each) for k in range(STAGES)] if hottest > 1 and each else []
    return [*hot, (1.0, warmup - each * len(hot))]


def _start(families: Families, rng: np.random.Generator) -> list[int]:
    """Return the layers of a random DAG: in a random order every node takes a random set of earlier nodes."""
    for _ in range(ATTEMPTS):
        parents, placed, waiting = np.zeros(families.p, dtype=np.int64), 0, list(rng.permutation(families.p))
        while waiting:
            for v in waiting:
                fitting = np.flatnonzero((families.parents[v] & ~placed) == 0)
                if len(fitting):
                    break
            else:
                break
            parents[v] = families.parents[v][rng.choice(fitting)]
            placed |= 1 << int(v)
            waiting.remove(v)
        if not waiting:
            return layers_of(parents)
    raise InputError("No acyclic graph can be made of the allowed parent sets. Remove edges from `required`.")


def _sweep(layers: list[int], scores: LayerScores, rng: np.random.Generator) -> list[int]:
    layers = reorder(layers, scores, rng)
    layers = _relocate(layers, scores, rng)
    for _ in range(max(1, scores.p // 2)):
        choice = rng.random()
        move = _split_or_merge if choice < 0.5 else _swap_neighbours if choice < 0.8 else _swap_any
        layers = move(layers, scores, rng)
    return layers


def _relocate(layers: list[int], scores: LayerScores, rng: np.random.Generator) -> list[int]:
    """Take one node out and put it back at a place drawn from its conditional law: into a layer or between layers.

    All places leave the same layers behind when the node is taken out again, so this is a Gibbs step.
    """
    v = int(rng.integers(scores.p))
    bit = 1 << v
    rest = [layer & ~bit for layer in layers if layer & ~bit]
    if not rest:
        return layers
    into, between = _place_scores(v, rest, scores)
    logs = np.array(into + between)
    weights = np.exp(logs - logs.max())
    place = int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right"))
    place = min(place, len(logs) - 1)
    if place < len(rest):
        rest[place] |= bit
    else:
        rest.insert(place - len(rest), bit)
    return rest


def _place_scores(v: int, rest: list[int], scores: LayerScores) -> tuple[list[float], list[float]]:
    """Return log weights of putting a node into layer k, and of making it a layer of its own before layer k."""
    bit, m = 1 << v, len(rest)
    before = [0] * (m + 1)
    for k, layer in enumerate(rest):
        before[k + 1] = before[k] | layer
    last = [0, *rest]
    plain = [scores.layer(rest[k], before[k], last[k]) for k in range(m)]
    lifted = [scores.layer(rest[k], before[k] | bit, last[k]) if k else 0.0 for k in range(m)]
    joined = [scores.layer(rest[k], before[k] | bit, last[k] | bit) if k else 0.0 for k in range(m)]
    single = [scores.layer(rest[k], before[k] | bit, bit) for k in range(m)]
    own = [scores.node(v, before[k], last[k]) for k in range(m + 1)]
    head, tail = [0.0], [0.0]
    for k in range(m):
        head.append(head[-1] + plain[k])
        tail.append(tail[-1] + lifted[m - 1 - k])
    tail = [*tail[::-1], 0.0, 0.0]  # tail[k]: all layers from k on, with the node somewhere before
    joined, single = [*joined, 0.0], [*single, 0.0]
    into = [head[k + 1] + own[k] + joined[k + 1] + tail[k + 2] for k in range(m)]
    between = [head[k] + own[k] + single[k] + tail[k + 1] for k in range(m + 1)]
    return into, between


def _split_or_merge(layers: list[int], scores: LayerScores, rng: np.random.Generator) -> list[int]:
    """Split a random layer in two, or merge two neighbours; Metropolis-Hastings."""
    m = len(layers)
    if rng.random() < 0.5:
        wide = [k for k in range(m) if layers[k].bit_count() > 1]
        if not wide:
            return layers
        k = wide[int(rng.integers(len(wide)))]
        size = layers[k].bit_count()
        first = int(rng.integers(1, size))
        part = sum(1 << v for v in rng.permutation(bits_of(layers[k]))[:first].tolist())
        proposal = [*layers[:k], part, layers[k] & ~part, *layers[k + 1 :]]
        forth = _log_split(len(wide), size, first)
        back = -math.log(m)
    else:
        if m == 1:
            return layers
        k = int(rng.integers(m - 1))
        merged = layers[k] | layers[k + 1]
        proposal = [*layers[:k], merged, *layers[k + 2 :]]
        wide_after = sum(layer.bit_count() > 1 for layer in proposal)
        forth = -math.log(m - 1)
        back = _log_split(wide_after, merged.bit_count(), layers[k].bit_count())
    return _accept(layers, proposal, k, scores, back - forth, rng)


def _log_split(wide: int, size: int, first: int) -> float:
    """Log probability of one way to split: a layer, how many go first, and which."""
    return -math.log(wide) - math.log(size - 1) - math.log(math.comb(size, first))


def _swap_neighbours(layers: list[int], scores: LayerScores, rng: np.random.Generator) -> list[int]:
    """Exchange a node with one of the next layer."""
    if len(layers) == 1:
        return layers
    k = int(rng.integers(len(layers) - 1))
    return _swap(layers, k, k + 1, scores, rng)


def _swap_any(layers: list[int], scores: LayerScores, rng: np.random.Generator) -> list[int]:
    """Exchange two nodes of any two layers."""
    if len(layers) == 1:
        return layers
    one, two = sorted(rng.choice(len(layers), 2, replace=False).tolist())
    return _swap(layers, one, two, scores, rng)


def _swap(layers: list[int], one: int, two: int, scores: LayerScores, rng: np.random.Generator) -> list[int]:
    """The sizes of layers do not change, so the proposal is symmetric."""
    left, right = bits_of(layers[one]), bits_of(layers[two])
    u, v = 1 << left[int(rng.integers(len(left)))], 1 << right[int(rng.integers(len(right)))]
    proposal = list(layers)
    proposal[one] ^= u | v
    proposal[two] ^= u | v
    return _accept(layers, proposal, one, scores, 0.0, rng)


def _accept(
    layers: list[int], proposal: list[int], start: int, scores: LayerScores, log_ratio: float, rng: np.random.Generator
) -> list[int]:
    change = scores.total(proposal) - scores.total(layers) + log_ratio
    return proposal if math.log(1 - rng.random()) < change else layers


def _diagnose(families: Families, adjacency: Adjacency) -> tuple[pd.DataFrame, float]:
    """Return the table of edges and the effective sample size; warn of chains that disagree."""
    possible = [np.bitwise_or.reduce(sets) for sets in families.parents]
    pairs = [(j, i) for i in range(families.p) for j in range(families.p) if int(possible[i]) >> j & 1]
    chains, kept = adjacency.shape[:2]
    rows = np.array(pairs, dtype=int).reshape(-1, 2)
    values = adjacency[:, :, rows[:, 0], rows[:, 1]].astype(float)
    probability = values.mean(axis=(0, 1))
    enough = kept >= 4
    ess = chain_ess(values) if enough else np.full(len(rows), float(chains))
    table = pd.DataFrame(
        {
            "from": [families.names[j] for j, _ in pairs],
            "to": [families.names[i] for _, i in pairs],
            "probability": probability,
            "std_error": np.sqrt(probability * (1 - probability) / ess),
            "r_hat": split_rhat(values) if enough else np.full(len(rows), np.nan),
            "ess": ess,
        }
    )
    _warn(table)
    varying = (probability > 0.01) & (probability < 0.99)
    return table, float(ess[varying].min()) if varying.any() else float(chains * kept)


def _warn(table: pd.DataFrame) -> None:
    apart = table[table["r_hat"] > RHAT_LIMIT]
    if len(apart):
        worst = apart.iloc[int(apart["r_hat"].to_numpy().argmax())]
        tell(
            f"R-hat exceeds {RHAT_LIMIT} for {len(apart)} of {len(table)} possible edges (largest "
            f"{worst['r_hat']:.2f}, {worst['from']} -> {worst['to']}): the chains have not settled on the same "
            "posterior. Draw more, lengthen `warmup`, give `tiers`, or lower `max_parents`.",
            ConvergenceWarning,
        )


def _bar(steps: range, progress: bool) -> Iterable[int]:
    if not progress:
        return steps
    try:
        from tqdm import tqdm
    except ImportError:
        return steps
    bar: Iterable[int] = tqdm(steps, desc="partition MCMC", disable=None, leave=False)
    return bar
