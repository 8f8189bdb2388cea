"""Held-out log-likelihood of masked networks as a score of parent sets; torch and pyro are needed to train them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import ConvergenceError, ConvergenceWarning, InputError, tell
from causalif._validate import Array
from causalif.discovery.columns import Columns
from causalif.discovery.families import Masks
from causalif.discovery.flow_network import Mechanism, Shape, Weights, log_density, need, start
from causalif.discovery.flow_polish import polished

if TYPE_CHECKING:
    from torch import Generator, Tensor
else:
    Tensor = Generator = Any

MOST_STORED = 200_000_000
ROWS_AT_ONCE = 40_000
FEWEST_STEPS = 100
LACKING = -1e9
# Rows of a batch share parent sets in this many groups.
GROUPS = 32
# Coefficients that a parent is charged with: ½ log n each as in BIC, less the 1 that held-out rows have charged.
CURVE = 3.5
SHARE_OF_TIME = 0.8
# Bags use the low keys of the same seed.
NETWORKS = 2**31


@dataclass(frozen=True)
class Training:
    """How the networks are trained; see `FlowSEM` for what each means."""

    mechanism: Mechanism = "anm"
    folds: int = 5
    networks: int = 6
    steps: int = 400
    batch: int = 256
    hidden: int = 32
    learning_rate: float = 0.01
    weight_decay: float = 0.1


@dataclass(frozen=True, eq=False)
class FlowScorer:
    r"""Held-out log densities of every row under every family, ready to be summed over a resample.

    .. math:: s_i(S) = \sum_r c_r \log \hat p_i^{(-f(r))}(x_{ri} | x_{rS}) - \tfrac72 |S| (\tfrac12 \log n - 1)

    Parameters
    ----------
    sets : tuple of ndarray of int64
        Parent sets of each node.
    densities : tuple of ndarray of float32, shape (sets, n)
        Log density of each row under the network that was trained without the row's fold.
    diagnostics : mapping of str to DataFrame
        "networks": what was trained and how well it predicts.
    """

    sets: tuple[Masks, ...]
    densities: tuple[npt.NDArray[np.float32], ...]
    diagnostics: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def log_scores(self, counts: Array, rng: np.random.Generator) -> tuple[Array, ...]:
        """Return the log scores of every node's sets when row r occurs ``counts[r]`` times.

        Parameters
        ----------
        counts : ndarray of shape (n,)
            How often each row occurs.
        rng : Generator
            Not needed: resampling re-weights rows and trains nothing.

        Returns
        -------
        tuple of ndarray
        """
        price = CURVE * (0.5 * np.log(counts.sum()) - 1.0)
        return tuple(
            np.einsum("sr,r->s", density, counts, dtype=np.float64, casting="same_kind")
            - price * np.bitwise_count(sets)
            for sets, density in zip(self.sets, self.densities, strict=True)
        )


def flow_score(
    columns: Columns,
    sets: tuple[Masks, ...],
    training: Training,
    seed: np.random.SeedSequence,
    *,
    threads: int | None = None,
    deadline: float | None = None,
) -> FlowScorer:
    """Train one masked network per node and fold, and evaluate all parent sets on the rows left out.

    Parameters
    ----------
    columns : Columns
        Standardised or coded columns.
    sets : tuple of ndarray of int64
        Parent sets to score, for each node.
    training : Training
        How to train.
    seed : SeedSequence
        Source of all randomness; torch's global generator is not touched.
    threads : int, optional
        Threads of torch while training; the setting is put back afterwards.
    deadline : float, optional
        Value of ``time.monotonic()`` that training must not pass; fewer steps are made, with a warning.

    Returns
    -------
    FlowScorer

    Raises
    ------
    CausalifError
        If torch or pyro is missing.
    InputError
        If the densities of all families do not fit in memory.
    ConvergenceError
        If training diverges.

    Notes
    -----
    Small groups of rows of a batch get random parent sets, whose size is uniform over all sizes allowed. With the
    mechanism "anm" every parent set then gets a location of its own (:mod:`causalif.discovery.flow_polish`). Cost:
    ``steps`` batched passes, then one pass over all rows for every family; memory 4 bytes per family and row.
    """
    stored = columns.n * sum(map(len, sets))
    if stored > MOST_STORED:
        raise InputError(
            f"The networks would have to score {sum(map(len, sets)):,} parent sets on {columns.n:,} rows each, which "
            f"is more than {MOST_STORED:,} in all. Lower `max_parents`, or give `tiers`."
        )
    torch = need("torch")
    need("pyro.distributions.transforms")
    stream = np.random.SeedSequence(seed.entropy, spawn_key=(NETWORKS,))
    generator = torch.Generator().manual_seed(int(stream.generate_state(1)[0]))
    folds = torch.randperm(columns.n, generator=generator) % training.folds
    densities: dict[int, npt.NDArray[np.float32]] = {}
    report: list[dict[str, object]] = []
    with _threads(threads):
        groups = _groups(columns, sets)
        for left, nodes in zip(range(len(groups), 0, -1), groups, strict=True):
            # each group may use its share of the time that is left
            limit = None if deadline is None else time.monotonic() + (deadline - time.monotonic()) / left
            group = _Group.of(columns, sets, nodes, folds, training)
            weights, steps = _train(group, training, generator, limit)
            _refuse_diverged(weights)
            with torch.no_grad():
                for k, node in enumerate(nodes):
                    densities[node] = _evaluate(group, weights, k, sets[node])
                    report.append(_describe(columns, node, densities[node], sets[node], steps))
    ordered = sorted(report, key=lambda row: columns.order.index(str(row["node"])))
    table = pd.DataFrame(ordered)
    return FlowScorer(sets, tuple(densities[i] for i in range(columns.p)), {"networks": table})


def _groups(columns: Columns, sets: tuple[Masks, ...]) -> list[list[int]]:
    """Continuous nodes are trained together, and discrete ones."""
    kinds = [kind == "continuous" for kind in columns.kinds]
    return [nodes for flag in (True, False) if (nodes := [i for i, kind in enumerate(kinds) if kind is flag])]


@dataclass(frozen=True, eq=False)
class _Group:
    """Nodes of one kind: their data as tensors, and which parents they may have. Networks are stacked by fold."""

    shape: Shape
    nodes: tuple[int, ...]
    encoded: Tensor  # (n, inputs)
    columns: Tensor  # (inputs,)
    targets: Tensor  # (nodes, n)
    absent: Tensor | None  # (nodes, 1, classes)
    folds: Tensor  # (n,)
    count: int
    networks: int
    families: int
    free: Tensor  # (nodes, p), 1 where a parent may or may not be there
    required: Tensor  # (nodes, p)
    most: Tensor  # (nodes,), how many of the free ones at most

    @classmethod
    def of(
        cls, columns: Columns, sets: tuple[Masks, ...], nodes: Sequence[int], folds: Tensor, training: Training
    ) -> _Group:
        torch = need("torch")
        blocks = [
            columns.values[:, [j]] if kind == "continuous" else columns.indicators(j)
            for j, kind in enumerate(columns.kinds)
        ]
        owner = [j for j, block in enumerate(blocks) for _ in range(block.shape[1])]
        bits = np.int64(1) << np.arange(columns.p, dtype=np.int64)
        required = np.array([(np.bitwise_and.reduce(sets[i]) & bits) > 0 for i in nodes])
        free = np.array([(np.bitwise_or.reduce(sets[i]) & bits) > 0 for i in nodes]) & ~required
        most = [int(np.bitwise_count(sets[i]).max()) for i in nodes]
        classes = [len(columns.levels.get(columns.names[i], ())) for i in nodes]
        absent = np.where(np.arange(max(classes)) < np.array(classes)[:, None], 0.0, LACKING)[:, None]
        stack = len(nodes) * training.folds * training.networks
        return cls(
            Shape(stack, len(owner), columns.p, training.hidden, training.mechanism, max(classes)),
            tuple(nodes),
            torch.as_tensor(np.concatenate(blocks, axis=1), dtype=torch.float32),
            torch.as_tensor(owner),
            torch.as_tensor(columns.values[:, list(nodes)].T.copy(), dtype=torch.float32),
            torch.as_tensor(absent, dtype=torch.float32) if max(classes) else None,
            folds,
            training.folds,
            training.networks,
            sum(len(sets[i]) for i in nodes),
            torch.as_tensor(free, dtype=torch.float32),
            torch.as_tensor(required, dtype=torch.float32),
            torch.as_tensor(most) - torch.as_tensor(required.sum(axis=1)),
        )

    @property
    def training_rows(self) -> list[Tensor]:
        """Rows that the networks of each fold may see, as often as there are networks for a fold."""
        torch = need("torch")
        return [torch.nonzero(self.folds != fold).flatten() for fold in range(self.count)] * self.networks


def random_masks(group: _Group, rows: int, generator: Generator) -> Tensor:
    """Draw parent sets of uniform size, shape (folds × networks, nodes, rows, p)."""
    torch = need("torch")
    shape = (group.count * group.networks, len(group.nodes), rows)
    ranked = torch.rand(*shape, group.free.shape[1], generator=generator) - 2 * group.free[:, None]
    rank = ranked.argsort(dim=-1).argsort(dim=-1)
    size = (torch.rand(*shape, 1, generator=generator) * (group.most[:, None, None] + 1)).long()
    return ((rank < size) * group.free[:, None]) + group.required[:, None]


def _batch_loss(group: _Group, weights: Weights, rows: Sequence[Tensor], size: int, generator: Generator) -> Tensor:
    """Mean negative log-likelihood of a random batch, summed over the networks; groups of rows share a parent set."""
    torch = need("torch")
    each = max(1, size // GROUPS)
    at = torch.stack([seen[torch.randint(len(seen), (size // each * each,), generator=generator)] for seen in rows])
    at = at.view(len(rows), -1, each)
    masks = random_masks(group, at.shape[1], generator)
    x = group.encoded[at][:, None].expand(-1, len(group.nodes), -1, -1, -1).flatten(0, 1)
    target = group.targets[:, at].transpose(0, 1).flatten(0, 1)
    absent = None if group.absent is None else group.absent.repeat(group.count * group.networks, 1, 1)
    density = log_density(group.shape, weights, x, masks.flatten(0, 1), group.columns, target, absent)
    return -density.mean(dim=(1, 2)).sum()


def _train(group: _Group, training: Training, generator: Generator, limit: float | None) -> tuple[Weights, int]:
    """Train all networks of a group side by side with AdamW and one cycle of the learning rate."""
    torch = need("torch")
    weights, rows = start(group.shape, generator), group.training_rows
    size = min(training.batch, *map(len, rows))
    steps = training.steps if limit is None else _affordable(group, weights, rows, size, training, limit)
    rate, decay = training.learning_rate, training.weight_decay
    optimiser = torch.optim.AdamW(weights.values(), lr=rate, weight_decay=decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=training.learning_rate, total_steps=steps)
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(_batch_loss(group, weights, rows, size, generator))
        optimiser.step()
        schedule.step()
    return weights, steps


def _affordable(
    group: _Group, weights: Weights, rows: Sequence[Tensor], size: int, training: Training, limit: float
) -> int:
    """Return how many steps fit into the time beside the scoring, judged by a few that are thrown away."""
    torch = need("torch")
    spare, begun, trials = torch.Generator().manual_seed(0), time.monotonic(), 5
    for _ in range(trials):
        torch.autograd.backward(_batch_loss(group, weights, rows, size, spare))
    each = (time.monotonic() - begun) / trials
    left = SHARE_OF_TIME * (limit - time.monotonic()) - _scoring_seconds(group, weights)
    steps = max(FEWEST_STEPS, min(training.steps, int(left / each)))
    if steps < training.steps:
        tell(
            f"`time_limit` leaves time for {steps} of {training.steps} training steps: the networks are less well "
            "trained than asked for. Raise `time_limit`, or use SplineSEM.",
            ConvergenceWarning,
        )
    return steps


def _scoring_seconds(group: _Group, weights: Weights) -> float:
    """Judge how long it takes to score all families by a few of them."""
    torch = need("torch")
    trial, begun = torch.ones(4, group.shape.variables), time.monotonic()
    with torch.no_grad():
        _held_out(group, _members(group, weights, 0, 0), 0, 0, trial)
    return (time.monotonic() - begun) / len(trial) * group.count * group.families


def _refuse_diverged(weights: Weights) -> None:
    if not all(bool(weight.isfinite().all()) for weight in weights.values()):
        raise ConvergenceError("Training of the networks diverged. Lower `learning_rate`.")


def _evaluate(group: _Group, weights: Weights, k: int, sets: Masks) -> npt.NDArray[np.float32]:
    """Return the held-out log density of every row under every parent set of one node, shape (sets, n)."""
    torch = need("torch")
    bits = np.int64(1) << np.arange(group.shape.variables, dtype=np.int64)
    masks = torch.as_tensor((sets[:, None] & bits) > 0, dtype=torch.float32)
    out = np.empty((len(sets), len(group.folds)), dtype=np.float32)
    step = max(1, ROWS_AT_ONCE // (group.networks * len(group.folds)))
    for fold in range(group.count):
        own = _members(group, weights, k, fold)
        left = torch.nonzero(group.folds == fold).flatten().numpy()
        for first in range(0, len(sets), step):
            density = _held_out(group, own, k, fold, masks[first : first + step])
            mixture = torch.logsumexp(density, dim=0) - np.log(group.networks)
            out[first : first + step, left] = mixture.numpy()
    return out


def _members(group: _Group, weights: Weights, k: int, fold: int) -> Weights:
    """Return the networks of one node that were trained without one fold."""
    nodes = len(group.nodes)
    chosen = [(net * group.count + fold) * nodes + k for net in range(group.networks)]
    return {name: weight[chosen] for name, weight in weights.items()}


def _held_out(group: _Group, own: Weights, k: int, fold: int, masks: Tensor) -> Tensor:
    """Return log densities of the rows of a fold under some parent sets, shape (networks, sets, rows)."""
    torch = need("torch")
    shape = replace(group.shape, stack=group.networks)
    left, kept = (torch.nonzero(rows).flatten() for rows in (group.folds == fold, group.folds != fold))
    if shape.additive:
        rows = torch.cat([kept, left])
        return polished(shape, own, group.encoded[rows], masks, group.columns, group.targets[k, rows], len(kept))
    several = (group.networks, len(masks), -1, -1)
    x, target = group.encoded[left].expand(*several), group.targets[k, left].expand(*several[:3])
    absent = None if group.absent is None else group.absent[k : k + 1]
    return log_density(shape, own, x, masks.expand(group.networks, -1, -1), group.columns, target, absent)


def _describe(
    columns: Columns, node: int, density: npt.NDArray[np.float32], sets: Masks, steps: int
) -> dict[str, object]:
    mean = density.mean(axis=1, dtype=np.float64)
    best = int(mean.argmax())
    return {
        "node": columns.names[node],
        "kind": columns.kinds[node],
        "steps": steps,
        "sets": len(sets),
        "held_out_empty": float(mean[0]),
        "held_out_best": float(mean[best]),
        "best_set": ", ".join(name for j, name in enumerate(columns.names) if int(sets[best]) >> j & 1) or "none",
    }


@contextmanager
def _threads(wanted: int | None) -> Iterator[None]:
    """Use a number of threads inside torch, and put the old one back."""
    torch = need("torch")
    before = torch.get_num_threads()
    try:
        if wanted is not None:
            torch.set_num_threads(wanted)
        yield
    finally:
        torch.set_num_threads(before)
