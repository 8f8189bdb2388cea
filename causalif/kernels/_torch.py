"""Kernel sums with torch, on the processor and on CUDA devices; the fused kernel is called from here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from causalif._errors import InputError
from causalif._validate import Array
from causalif.kernels._numpy import with_bar
from causalif.kernels._points import Factor, Norms, all_light, factors_of, far_tiles, spans
from causalif.kernels._tiles import GROUP, NEAR, PAIRS_AT_ONCE
from causalif.kernels.base import RadialKernel

if TYPE_CHECKING:
    from causalif.kernels.reduce import Request

Tensor: TypeAlias = torch.Tensor

SUPER = 16_384  # rows of a block whose partial sums are held, and within which rows are sorted
TILES = {"cpu": 1024, "cuda": 2048}  # what fits the second-level cache
FUSED_TILE = 1024


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a product on a device.

    Parameters
    ----------
    source : tensor of shape (n, d)
        The rows as given.
    center : tensor of shape (d,), float64
        Taken off every row.
    factors : tuple of Factor
        Parts of the kernel.
    order : tensor of int, shape (n,)
        Row behind each position; rows far from the centre come last within their block.
    rows, norms : tuple of tensor, shape (n, d_f) and (n,)
        Scaled rows and half their squared norms, one of each per factor.
    ranges : Norms
        The norms by tile, in the memory of the processor.
    weights : tensor of shape (n, k), float64
        Divided by the largest of their column, in the order of the positions.
    scale : ndarray of shape (k,)
        These largest sizes.
    """

    source: Tensor
    center: Tensor
    factors: tuple[Factor, ...]
    order: Tensor
    rows: tuple[Tensor, ...]
    norms: tuple[Tensor, ...]
    ranges: Norms
    weights: Tensor
    scale: Array

    def exact(self, positions: slice) -> tuple[list[Tensor], list[Tensor]]:
        """Return rows and norms in float64."""
        centred = self.source[self.order[positions]].double() - self.center
        rows = [_scaled(factor, centred) for factor in self.factors]
        return rows, [_half_squares(part) for part in rows]

    def put_back(self, sums: Tensor, scale: Array) -> Array:
        """Return sums in the order of the caller's rows, times the scale of the other side's weights."""
        back = torch.empty_like(sums)
        back[self.order] = sums
        return np.asarray(back.cpu().numpy()) * scale


def _scaled(factor: Factor, centred: Tensor) -> Tensor:
    columns = centred[:, factor.columns] * float(np.sqrt(2 * factor.kernel.scale))
    return columns if factor.stretch is None else columns * torch.as_tensor(factor.stretch, device=columns.device)


def _half_squares(rows: Tensor) -> Tensor:
    return rows.double().square().sum(dim=1) / 2


def _prepare(x: Any, center: Array, factors: tuple[Factor, ...], dtype: torch.dtype, device: str, tile: int) -> Any:
    """Return source, centre, order, rows, norms and the norms by tile."""
    source, middle = _on_device(x, device), torch.as_tensor(center, dtype=torch.float64, device=device)
    n = len(source)
    order = torch.arange(n, device=device)
    widths = [len(range(*factor.columns.indices(source.shape[1]))) for factor in factors]
    rows = tuple(torch.empty((n, width), dtype=dtype, device=device) for width in widths)
    norms = tuple(torch.empty(n, dtype=dtype, device=device) for _ in widths)
    for part in spans(n, SUPER):
        centred = source[part].double() - middle
        scaled = [_scaled(factor, centred) for factor in factors]
        halves = torch.stack([_half_squares(columns) for columns in scaled])
        known = halves.cpu().numpy()
        if not (known < torch.finfo(dtype).max / 8).all():
            raise InputError(
                "`A` and `B` hold values so far from the centre, in units of the bandwidth, that their squares "
                f"overflow {dtype}. Standardise the features or use a larger bandwidth."
            )
        if dtype == torch.float32 and not all_light(known, factors):
            within = torch.argsort(halves.sum(dim=0), stable=True)
            order[part] = within + part.start
            scaled = [columns[within] for columns in scaled]
        for target, norm, columns in zip(rows, norms, scaled, strict=True):
            target[part] = columns.to(dtype)
            norm[part] = _half_squares(target[part]).to(dtype)
    ranges = Norms.of(torch.stack(norms).double().cpu().numpy(), tile)
    return source, middle, order, rows, norms, ranges


def _on_device(x: Any, device: str) -> Tensor:
    """Return a tensor on the device; on the same one it shares the memory of what is given."""
    if isinstance(x, np.ndarray):
        x = torch.from_numpy(x if x.flags.writeable and x.flags.aligned else x.copy())
    return x.detach().to(device)


@contextmanager
def _products(allow_tf32: bool) -> Iterator[None]:
    """Set whether float32 products may drop digits, which is a global setting of torch, and set it back."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allow_tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@dataclass(frozen=True, eq=False)
class Job:
    """Two sides and how their tiles are evaluated."""

    left: Side
    right: Side
    symmetric: bool
    columns: bool
    tile: int
    precision: str
    fused: bool

    @property
    def dtype(self) -> torch.dtype:
        """Type of the tiles."""
        return self.left.rows[0].dtype

    def pairs(self) -> Iterator[tuple[slice, slice]]:
        """Pairs of blocks, in the order in which their sums are added."""
        for i in spans(len(self.left.source), SUPER):
            for j in spans(len(self.right.source), SUPER):
                if not self.symmetric or j.start >= i.start:
                    yield i, j

    def tiles(self, i: slice, j: slice) -> Iterator[tuple[slice, slice, bool]]:
        """Pairs of tiles within a pair of blocks, and whether float32 is too short for them."""
        a, b = self.left, self.right
        first, second = i.start // self.tile, j.start // self.tile
        p, q = list(spans(i.stop - i.start, self.tile)), list(spans(j.stop - j.start, self.tile))
        far = np.zeros((len(p), len(q)), dtype=bool)
        if self.dtype == torch.float32:
            there = range(second, second + len(q))
            far = far_tiles(a.factors, a.ranges, range(first, first + len(p)), b.ranges, there)
        for row, column in product(range(len(p)), range(len(q))):
            if not (self.symmetric and i == j and row > column):
                here, across = p[row], q[column]
                yield (
                    slice(i.start + here.start, i.start + here.stop),
                    slice(j.start + across.start, j.start + across.stop),
                    bool(far[row, column]),
                )

    def run(self, i: slice, j: slice) -> tuple[Tensor, Tensor]:
        """Return row sums and column sums of a pair of blocks, in float64."""
        tiles = list(self.tiles(i, j))
        options: dict[str, Any] = {"dtype": torch.float64, "device": self.left.source.device}
        rows = torch.zeros((i.stop - i.start, self.right.weights.shape[1]), **options)
        columns = torch.zeros((j.stop - j.start, self.left.weights.shape[1]), **options)
        if self.fused:
            from causalif.kernels import _triton

            _triton.add_block(self, i, j, [(p, q) for p, q, wide in tiles if wide], rows, columns)
            tiles = [tile for tile in tiles if tile[2]]
        for p, q, wide in tiles:
            values, w_left, w_right = self._tile(p, q, wide)
            if self.symmetric and p == q:
                values.fill_diagonal_(0.0)
            rows[p.start - i.start : p.stop - i.start] += row_totals(values, w_right)
            if self.columns and not (self.symmetric and p == q):
                columns[q.start - j.start : q.stop - j.start] += row_totals(values.T, w_left)
        return rows, columns

    def _tile(self, p: slice, q: slice, wide: bool) -> tuple[Tensor, Tensor, Tensor]:
        a, b = self.left, self.right
        if wide:
            (x, nx), (y, ny), dtype = a.exact(p), b.exact(q), torch.float64
        else:
            x, nx = [part[p] for part in a.rows], [part[p] for part in a.norms]
            y, ny = [part[q] for part in b.rows], [part[q] for part in b.norms]
            dtype = self.dtype
        values = None
        for factor, *sides in zip(a.factors, x, nx, y, ny, strict=True):
            found = evaluate(factor.kernel, *sides, allow_tf32=self.precision == "tf32")
            values = found if values is None else values.mul_(found)
        assert values is not None
        return values, a.weights[p].to(dtype), b.weights[q].to(dtype)


def evaluate(kernel: RadialKernel, x: Tensor, nx: Tensor, y: Tensor, ny: Tensor, *, allow_tf32: bool = False) -> Tensor:
    """Return one tile of kernel values; norms are added outside of the product, whatever its precision."""
    with _products(allow_tf32):
        e = torch.addmm(-ny[None, :], x, y.T)
    e -= nx[:, None]
    if kernel.rough or e.dtype == torch.float64:
        near = (e > -NEAR * (nx[:, None] + ny[None, :])).nonzero()
        for span in spans(len(near), max(1, PAIRS_AT_ONCE // x.shape[1])):
            part = near[span]
            gap = x[part[:, 0]] - y[part[:, 1]]
            e[part[:, 0], part[:, 1]] = gap.square().sum(dim=1) * -0.5
    kernel.profile(torch, e, [torch.empty_like(e) for _ in range(kernel.buffers)])
    return e


def row_totals(tile: Tensor, weights: Tensor) -> Tensor:
    """Return tile @ weights, groups of terms added in the type of the tile and the sums of groups in float64."""
    whole = len(weights) // GROUP * GROUP
    grouped = tile[:, :whole].reshape(len(tile), -1, GROUP).transpose(0, 1)
    with _products(False):
        parts = torch.bmm(grouped, weights[:whole].reshape(-1, GROUP, weights.shape[1]))
        rest = tile[:, whole:] @ weights[whole:]
    return parts.sum(dim=0, dtype=torch.float64) + rest


def _weights(given: Array | None, n: int) -> tuple[Array, Array]:
    """Return weights divided by the largest of their column, and these."""
    weights = np.ones((n, 1)) if given is None else given
    scale = np.abs(weights).max(axis=0, initial=0.0)
    scale = np.where(scale > 0, scale, 1.0)
    return weights / scale, scale


def solve(request: Request) -> tuple[Array, Array]:
    """Return row sums (n, k) and column sums (m, k)."""
    with torch.no_grad():
        job = _job(request)
        options: dict[str, Any] = {"dtype": torch.float64, "device": request.place.device}
        rows = torch.zeros((len(job.left.source), job.right.weights.shape[1]), **options)
        columns = rows
        if not request.symmetric:
            columns = torch.zeros((len(job.right.source), job.left.weights.shape[1]), **options)
        pairs = list(job.pairs())
        for i, j in with_bar(pairs, len(pairs), request.progress):
            across, along = job.run(i, j)
            rows[i] += across
            if job.columns:
                columns[j] += along
        return job.left.put_back(rows, job.right.scale), job.right.put_back(columns, job.left.scale)


def _job(request: Request) -> Job:
    factors = factors_of(request.kernel, request.A.shape[1])
    device, single = request.place.device, _single_column(request.weights_a, request.weights_b)
    fused = request.place.backend == "triton" and not request.wide and single
    fused = fused and _fusable([factor.kernel for factor in factors])
    if request.precision == "bfloat16" and not fused:
        raise InputError(
            '`precision="bfloat16"` needs the fused kernel: backend="triton", a single kernel without a kink and at '
            'most one column of weights. Use "float32" or "tf32" instead.'
        )
    tile = FUSED_TILE if fused else TILES[device.partition(":")[0]]
    dtype = torch.float64 if request.wide else torch.float32

    def side(x: Any, weights: Array | None) -> Side:
        source, center, order, rows, norms, ranges = _prepare(x, request.center, factors, dtype, device, tile)
        scaled, scale = _weights(weights, len(source))
        on = torch.as_tensor(scaled, device=device)[order]
        return Side(source, center, factors, order, rows, norms, ranges, on, scale)

    left = side(request.A, request.weights_a)
    right = left if request.B is None else side(request.B, request.weights_b)
    columns = request.columns or request.symmetric
    return Job(left, right, request.symmetric, columns, tile, request.precision, fused)


def _single_column(*weights: Array | None) -> bool:
    return all(w is None or w.shape[1] == 1 for w in weights)


def _fusable(kernels: Sequence[RadialKernel]) -> bool:
    from causalif.kernels import _triton

    return len(kernels) == 1 and _triton.knows(kernels[0])
