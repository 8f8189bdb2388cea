"""Dividing nodes with two kinds of level into the fewest blocks that respect their causal order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Parents = Mapping[int, Sequence[int]]


def phases(
    parents: Parents, levels: Mapping[int, bool], last: int
) -> tuple[tuple[frozenset[int], ...], tuple[bool, ...]]:
    """Return the fewest blocks of one level each, in causal order, and their levels, that of the last one included.

    Parameters
    ----------
    parents : mapping
        Parents of every node, among the nodes.
    levels : mapping
        The level of some nodes; the others can have either.
    last : int
        A descendant of all others. Nodes that can arise together with it are in no block.

    Returns
    -------
    tuple of K frozensets, tuple of K + 1 bool
    """
    starts = [levels[last]] if last in levels else [False, True]
    found = min((_latest(parents, levels, last, start) for start in starts), key=len)
    position = {v: k for k, (_, block) in enumerate(found) for v in block}
    for v in causal_order(parents):
        # A node of either level joins the earliest block that its parents allow: conditioning sets stay the same.
        if v not in levels and position[v] < len(found) - 1:
            position[v] = max((position[u] for u in parents[v]), default=0)
    blocks = tuple(frozenset(v for v, k in position.items() if k == at) for at in range(len(found) - 1))
    return blocks, tuple(level for level, _ in found)


def _latest(parents: Parents, levels: Mapping[int, bool], last: int, level: bool) -> list[tuple[bool, set[int]]]:
    """Return the blocks from first to last when every node comes as late as it can and the last has this level."""
    children: dict[int, list[int]] = {v: [] for v in parents}
    for v, above in parents.items():
        for u in above:
            children[u].append(v)
    order, placed = causal_order(parents)[::-1], set[int]()
    blocks: list[tuple[bool, set[int]]] = []
    while len(placed) < len(order):
        block: set[int] = set()
        for v in order:
            free = v not in placed and all(u in placed or u in block for u in children[v])
            if free and levels.get(v, level) == level:
                block.add(v)
        placed |= block
        blocks.append((level, block))
        level = not level
    return blocks[::-1]


def causal_order(parents: Parents) -> list[int]:
    """Return the nodes, parents first."""
    children: dict[int, list[int]] = {v: [] for v in parents}
    for v, above in parents.items():
        for u in above:
            children[u].append(v)
    waiting = {v: len(above) for v, above in parents.items()}
    order = [v for v, count in waiting.items() if not count]
    for u in order:
        for v in children[u]:
            waiting[v] -= 1
            if not waiting[v]:
                order.append(v)
    return order
