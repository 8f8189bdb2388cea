"""Exact laws on small graphs: what a search says is checked by numbers that share no code with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, product

import networkx as nx
import numpy as np
import pytest


class Law:
    """A random law of binary nodes that factorises over a DAG; nodes are 0, 1, ... in an order of their own."""

    def __init__(self, dag: nx.DiGraph, rng: np.random.Generator) -> None:
        self.dag, self.size = dag, len(dag)
        self.factors = {v: self.factor(v, rng) for v in dag}
        self.joint = self.product({})
        self.sums: dict[frozenset[int], np.ndarray] = {}

    def factor(self, node: int, rng: np.random.Generator) -> np.ndarray:
        """p(node | parents) as an array with one axis a node, of length one for nodes that do not matter."""
        shape = [2 if v in self.dag.pred[node] else 1 for v in range(self.size)]
        one = rng.uniform(0.08, 0.92, size=shape)
        return np.concatenate([1 - one, one], axis=node)

    def product(self, fixed: dict[int, int], free: Iterable[int] = ()) -> np.ndarray:
        """The law under an intervention: factors of fixed and free nodes removed, fixed ones at their level."""
        out = np.ones((2,) * self.size)
        for v, factor in self.factors.items():
            if v not in fixed and v not in free:
                out = out * factor
        for v, level in fixed.items():
            out = np.take(out, [level], axis=v)
        return out

    def p(self, nodes: Iterable[int]) -> np.ndarray:
        """The joint law of some nodes, other axes kept with length one."""
        key = frozenset(nodes)
        if key not in self.sums:
            others = tuple(v for v in range(self.size) if v not in key)
            self.sums[key] = self.joint.sum(axis=others, keepdims=True)
        return self.sums[key]

    def given(self, arm: dict[int, int], z: frozenset[int], y: int) -> tuple[np.ndarray, np.ndarray]:
        """p(arm, z) and E[Y | arm, z]."""
        with_y, without = self.p({*arm, *z, y}), self.p({*arm, *z})
        for v, level in arm.items():
            with_y, without = np.take(with_y, [level], axis=v), np.take(without, [level], axis=v)
        return without, np.take(with_y, [1], axis=y) / without

    def truth(self, arm: dict[int, int], y: int, held: frozenset[int]) -> float:
        """The mean of the outcome under do(arm), mediators `held` drawn from their joint marginal law."""
        after = np.take(self.product(arm, held), [1], axis=y)
        others = tuple(v for v in range(self.size) if v not in held)
        return float((after.sum(axis=others, keepdims=True) * self.p(held)).sum())

    def functional(self, arm: dict[int, int], y: int, z1: frozenset[int], z2: frozenset[int]) -> float:
        """The average of E[Y | arm, z1, z2] over p(z1) p(z2)."""
        return float((self.given(arm, z1 | z2, y)[1] * self.p(z1) * self.p(z2)).sum())

    def influence(self, arm: dict[int, int], y: int, z1: frozenset[int], z2: frozenset[int]) -> np.ndarray:
        """The uncentred influence function of one arm, on the grid of all values."""
        seen, mean = self.given(arm, z1 | z2, y)
        level = np.arange(2.0).reshape([2 if v == y else 1 for v in range(self.size)])
        here = np.ones((1,) * self.size)
        for v, a in arm.items():
            here = here * (np.arange(2) == a).reshape([2 if u == v else 1 for u in range(self.size)])
        f1 = (mean * self.p(z2)).sum(axis=tuple(z2), keepdims=True)
        f2 = (mean * self.p(z1)).sum(axis=tuple(z1), keepdims=True)
        phi = here * self.p(z1) * self.p(z2) / seen * (level - mean) + f1 + f2
        return np.broadcast_to(phi, (2,) * self.size)

    def variance(self, arms: list[dict[int, int]], y: int, z1: frozenset[int], z2: frozenset[int]) -> float:
        """Exact variance of the influence function of one arm, or of the first minus the second."""
        target = self.p(z1) * self.p(z2)
        noise, f1, f2 = 0.0, 0.0, 0.0
        for sign, arm in zip((1, -1), arms, strict=False):
            seen, mean = self.given(arm, z1 | z2, y)
            noise += float((target**2 / seen * mean * (1 - mean)).sum())
            axes1, axes2 = tuple(z1), tuple(z2)
            f1 = f1 + sign * (mean * self.p(z2)).sum(axis=axes2, keepdims=True)
            f2 = f2 + sign * (mean * self.p(z1)).sum(axis=axes1, keepdims=True)
        total = f1 + f2 if z1 and z2 else f1 if z1 else f2
        centred = total - (total * self.p(z1 | z2)).sum()
        return noise + float((centred**2 * self.p(z1 | z2)).sum())


class Exact:
    """Everything about one question, by enumeration of all sets on exact laws."""

    def __init__(
        self, dag: nx.DiGraph, treatment: frozenset[int], outcome: int, effect: str, laws: int, rng: np.random.Generator
    ) -> None:
        self.dag, self.x, self.y, self.wcde = dag, treatment, outcome, effect == "wcde"
        self.laws = [Law(dag, rng) for _ in range(laws)]
        below = set().union(*(nx.descendants(dag, a) for a in treatment))
        self.mediators = (below & nx.ancestors(dag, outcome)) - treatment if self.wcde else set()
        self.held = frozenset(self.mediators & set(dag.pred[outcome]))
        self.arms = [dict(zip(sorted(treatment), bits, strict=True)) for bits in product((0, 1), repeat=len(treatment))]
        self.truths = [[law.truth(arm, outcome, self.held) for arm in self.arms] for law in self.laws]
        self.known: dict[frozenset[int], bool] = {}

    def split(self, z: Iterable[int]) -> tuple[frozenset[int], frozenset[int]]:
        return frozenset(z) & self.mediators, frozenset(z) - self.mediators

    def error(self, z1: frozenset[int], z2: frozenset[int]) -> float:
        """The largest difference between functional and truth, over laws and arms."""
        return max(
            abs(law.functional(arm, self.y, z1, z2) - truth)
            for law, truths in zip(self.laws, self.truths, strict=True)
            for arm, truth in zip(self.arms, truths, strict=True)
        )

    def valid(self, z: Iterable[int]) -> bool:
        key = frozenset(z)
        if key not in self.known:
            self.known[key] = self.error(*self.split(key)) < 1e-9
        return self.known[key]

    def all_valid(self, observed: Iterable[int], required: frozenset[int] = frozenset()) -> list[frozenset[int]]:
        return [z for z in subsets(set(observed) - self.x - {self.y}) if required <= z and self.valid(z)]

    def alike(self, first: Iterable[int], second: Iterable[int]) -> bool:
        """Whether two sets have equal influence functions."""
        pairs = ((law, arm) for law in self.laws for arm in self.arms)
        both = ([law.influence(arm, self.y, *self.split(z)) for z in (first, second)] for law, arm in pairs)
        return all(np.abs(one - other).max() < 1e-9 for one, other in both)

    def variances(self, z: Iterable[int]) -> np.ndarray:
        """Variances of the contrast and of both extreme arms, for each law."""
        z1, z2 = self.split(z)
        questions = [[self.arms[-1], self.arms[0]], [self.arms[-1]], [self.arms[0]]]
        return np.array([[law.variance(arms, self.y, z1, z2) for arms in questions] for law in self.laws])


def subsets(items: Iterable[int]) -> Iterator[frozenset[int]]:
    items = sorted(items)
    return (frozenset(few) for size in range(len(items) + 1) for few in combinations(items, size))


def random_dag(rng: np.random.Generator, largest: int = 7) -> nx.DiGraph:
    """A DAG of 4 to `largest` nodes whose numbers say nothing about its order."""
    size = int(rng.integers(4, largest + 1))
    label = rng.permutation(size).tolist()
    dag = nx.DiGraph()
    dag.add_nodes_from(range(size))
    share = rng.uniform(0.25, 0.7)
    dag.add_edges_from((label[i], label[j]) for i, j in combinations(range(size), 2) if rng.random() < share)
    return dag


def random_ends(dag: nx.DiGraph, rng: np.random.Generator, joint: float) -> tuple[frozenset[int], int] | None:
    """Treatments and an outcome that descends from one of them."""
    pairs = [(a, y) for a in sorted(dag) for y in sorted(nx.descendants(dag, a))]
    if not pairs:
        return None
    a, y = pairs[int(rng.integers(len(pairs)))]
    more = sorted(set(dag) - nx.descendants(dag, y) - {a, y})
    extra = {more[int(rng.integers(len(more)))]} if more and rng.random() < joint else set()
    return frozenset({a} | extra), y


def valid_in(dag: nx.DiGraph, x: Iterable[object], y: object, z: Iterable[object]) -> bool:
    """The adjustment criterion for a set of treatments, from its definition through networkx."""
    x, rest = set(x), dag.copy()
    rest.remove_nodes_from(x)
    first = {v for a in x for v in dag.succ[a]} - x
    between = first.union(*(nx.descendants(rest, v) for v in first)) & (nx.ancestors(rest, y) | {y})
    banned = between.union(*(nx.descendants(dag, v) for v in between))
    backdoor = dag.copy()
    backdoor.remove_edges_from([(a, v) for a in x for v in between])
    return not set(z) & banned and nx.is_d_separator(backdoor, x, {y}, set(z))


@pytest.fixture(scope="session")
def exact() -> type[Exact]:
    return Exact


@pytest.fixture(scope="session")
def all_subsets() -> Callable[[Iterable[int]], Iterator[frozenset[int]]]:
    return subsets


@pytest.fixture(scope="session")
def draw_dag() -> Callable[..., nx.DiGraph]:
    return random_dag


@pytest.fixture(scope="session")
def draw_ends() -> Callable[..., tuple[frozenset[int], int] | None]:
    return random_ends


@pytest.fixture(scope="session")
def criterion() -> Callable[..., bool]:
    return valid_in
