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

from causalif._errors import ConvergenceWarning, InputError, tell
from causalif._validate import Array
from causalif.discovery.columns import Columns
from causalif.discovery.families import Masks
from causalif.discovery.flow_network import Mechanism, Shape, Weights, log_density, need, start

if TYPE_CHECKING:
    from torch import Generator, Tensor
else:
    Tensor = Generator = Any

MOST_STORED = 200_000_000
ROWS_AT_ONCE = 40_000
FEWEST_STEPS = 100
LACKING = -1e9
# Bags use the low keys of the same seed.
NETWORKS = 2**31


@dataclass(frozen=True)
class Training:
    """How the networks are trained; see `FlowSEM` for what each means."""

    mechanism: Mechanism = "anm"
    folds: int = 5
    networks: int = 3
    steps: int = 400
    batch: int = 256
    hidden: int = 32
    learning_rate: float = 0.01
    weight_decay: float = 0.1


@dataclass(frozen=True, eq=False)
class FlowScorer:
    r"""Held-out log densities of every row under every family, ready to be summed over a resample.

    .. math:: s_i(S) = \sum_r c_r \log \hat p_i^{(-f(r))}(x_{ri} | x_{rS}) - \tfrac12 |S| \log n

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
        price = 0.5 * np.log(counts.sum())
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

    Notes
    -----
    Each row of a batch gets its own random parent set, whose size is uniform over all sizes allowed. Cost: ``steps``
    batched passes, then one pass over all rows for every family; memory 4 bytes per family and row.
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
            # each group may use its share of the time that is left, half of it kept for scoring
            limit = None if deadline is None else time.monotonic() + 0.7 * (deadline - time.monotonic()) / left
            group = _Group.of(columns, sets, nodes, folds, training)
            weights, steps = _train(group, training, generator, limit)
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
    """Mean negative log-likelihood of a random batch, summed over the networks."""
    torch = need("torch")
    at = torch.stack([seen[torch.randint(len(seen), (size,), generator=generator)] for seen in rows])
    masks = random_masks(group, size, generator)
    nodes, stack = len(group.nodes), group.shape.stack
    x = group.encoded[at][:, None].expand(-1, nodes, -1, -1).reshape(stack, size, -1)
    target = group.targets[:, at].transpose(0, 1).reshape(stack, size)
    absent = None if group.absent is None else group.absent.repeat(group.count * group.networks, 1, 1)
    density = log_density(group.shape, weights, x, masks.reshape(stack, size, -1), group.columns, target, absent)
    return -density.mean(dim=1).sum()


def _train(group: _Group, training: Training, generator: Generator, limit: float | None) -> tuple[Weights, int]:
    """Train all networks of a group side by side with AdamW and one cycle of the learning rate."""
    torch = need("torch")
    weights, rows = start(group.shape, generator), group.training_rows
    size = min(training.batch, *map(len, rows))
    steps = training.steps if limit is None else _affordable(group, weights, rows, size, training, limit)
    optimiser = torch.optim.AdamW(weights.values(), lr=training.learning_rate, weight_decay=training.weight_decay)
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
    """Return how many steps fit into the time, judged by a few that are thrown away."""
    torch = need("torch")
    spare, begun, trials = torch.Generator().manual_seed(0), time.monotonic(), 5
    for _ in range(trials):
        torch.autograd.backward(_batch_loss(group, weights, rows, size, spare))
    each = 1.2 * (time.monotonic() - begun) / trials
    steps = max(FEWEST_STEPS, min(training.steps, int((limit - time.monotonic()) / each)))
    if steps < training.steps:
        tell(
            f"`time_limit` leaves time for {steps} of {training.steps} training steps: the networks are less well "
            "trained than asked for. Raise `time_limit`, or use SplineSEM.",
            ConvergenceWarning,
        )
    return steps


def _evaluate(group: _Group, weights: Weights, k: int, sets: Masks) -> npt.NDArray[np.float32]:
    """Return the held-out log density of every row under every parent set of one node, shape (sets, n)."""
    torch = need("torch")
    nodes, p = len(group.nodes), group.shape.variables
    bits = np.int64(1) << np.arange(p, dtype=np.int64)
    masks = torch.as_tensor((sets[:, None] & bits) > 0, dtype=torch.float32)
    out = np.empty((len(sets), len(group.folds)), dtype=np.float32)
    shape = replace(group.shape, stack=group.networks)
    absent = None if group.absent is None else group.absent[k : k + 1]
    for fold in range(group.count):
        members = [(net * group.count + fold) * nodes + k for net in range(group.networks)]
        own = {name: weight[members] for name, weight in weights.items()}
        rows = torch.nonzero(group.folds == fold).flatten()
        x, target = group.encoded[rows], group.targets[k, rows]
        step = max(1, ROWS_AT_ONCE // (group.networks * len(rows)))
        for first in range(0, len(sets), step):
            part = masks[first : first + step]
            repeated = x.repeat(group.networks, len(part), 1)
            chosen = part.repeat_interleave(len(rows), dim=0).expand(group.networks, -1, -1)
            wanted = target.repeat(group.networks, len(part))
            density = log_density(shape, own, repeated, chosen, group.columns, wanted, absent)
            mixture = torch.logsumexp(density, dim=0) - np.log(group.networks)
            out[first : first + step, rows.numpy()] = mixture.reshape(len(part), len(rows)).numpy()
    return out


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
