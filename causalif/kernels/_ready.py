"""Rows that take part in many sums: checked once, and made ready for the matrix product once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from causalif._validate import Array
from causalif.kernels._inputs import is_tensor, read_center, read_rows
from causalif.kernels._points import Points, below, factors_of, is_rough, only, prepare, put
from causalif.kernels.base import Kernel


@dataclass(frozen=True, eq=False)
class ReadyRows:
    """Rows to pass to `row_sums` and `row_sums_both` in place of an array or tensor.

    Parameters
    ----------
    source : array or tensor of shape (n, d)
        Checked rows.
    kernel : kernel
        The kernel they are made ready for; sums of another one make them ready anew.
    center : ndarray of shape (d,)
        Taken off every row; likewise.
    wide : bool
        Whether they are made ready in float64.
    """

    source: Any
    kernel: Kernel
    center: Array
    wide: bool

    @classmethod
    def of(cls, x: Any, kernel: Kernel, center: Array, precision: str) -> ReadyRows:
        """Check the rows; they are made ready when they are first asked for."""
        rows = read_rows("rows", x)
        return cls(rows, kernel, read_center(center, rows), precision == "float64" or is_rough(kernel))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.source)

    @cached_property
    def pieces(self) -> tuple[Points, ...]:
        """The rows in the form that the products take, one run of rows after the other."""
        dtype = np.dtype(np.float64 if self.wide else np.float32)
        source = on_cpu(self.source)
        return (prepare(source, self.center, factors_of(self.kernel, source.shape[1]), dtype),)

    @property
    def points(self) -> Points:
        """All rows in that form; a copy where they are in several pieces."""
        return self.pieces[0] if len(self.pieces) == 1 else below(on_cpu(self.source), self.pieces)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out of copies and pickles what can be made again."""
        return {name: x for name, x in vars(self).items() if name != "pieces"}

    def fits(self, x: Any, kernel: Kernel, center: Array, wide: bool) -> bool:
        """Whether these are the rows, and in the form, that a product asks for."""
        same = self.source is x and self.wide == wide and self.kernel == kernel
        return same and np.array_equal(self.center, center)

    def with_below(self, source: Any, other: ReadyRows) -> ReadyRows:
        """Return these rows with others below, ``source`` being both; what was made ready is shared."""
        return self._made(source, lambda: (*self.pieces, *other.pieces))

    def with_only(self, source: Any, keep: npt.NDArray[np.bool_]) -> ReadyRows:
        """Return some of these rows, in their order, ``source`` being those."""

        def kept() -> tuple[Points, ...]:
            parts = np.split(keep, np.cumsum([len(piece) for piece in self.pieces])[:-1])
            return tuple(only(piece, part) for piece, part in zip(self.pieces, parts, strict=True) if part.any())

        return self._made(source, kept)

    def with_put(self, source: Any, positions: Any, other: ReadyRows) -> ReadyRows:
        """Return these rows with others in the place of some, ``source`` being the outcome."""
        return self._made(source, lambda: (put(self.points, positions, other.points),))

    def _made(self, source: Any, pieces: Callable[[], tuple[Points, ...]]) -> ReadyRows:
        made = ReadyRows(source, self.kernel, self.center, self.wide)
        if "pieces" in vars(self):
            vars(made)["pieces"] = _settled(on_cpu(source), pieces())
        return made


def _settled(source: npt.NDArray[Any], pieces: Sequence[Points]) -> tuple[Points, ...]:
    """Join the last pieces until each is over twice as long as the next: few pieces, and few copies of any row."""
    groups: list[list[Points]] = [[piece] for piece in pieces]
    while len(groups) > 1 and _length(groups[-2]) <= 2 * _length(groups[-1]):
        groups[-2:] = [groups[-2] + groups[-1]]
    ends = np.cumsum([_length(group) for group in groups])
    return tuple(below(source[end - _length(g) : end], g) for g, end in zip(groups, ends, strict=True))


def _length(pieces: Sequence[Points]) -> int:
    return sum(map(len, pieces))


def on_cpu(x: Any) -> Any:
    """Return an array; the memory of a tensor on the processor is shared."""
    return np.asarray(x.cpu().numpy() if is_tensor(x) else x)
