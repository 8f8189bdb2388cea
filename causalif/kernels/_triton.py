"""The fused kernel: a tile is multiplied, turned into kernel values and summed without ever leaving the chip.

Needs triton; on a machine without a CUDA device it runs in triton's interpreter if TRITON_INTERPRET=1 is set before
triton is imported, which is slow and meant for tests.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl

from causalif.kernels.base import Gaussian, GaussianMixture, InverseMultiquadric, Matern, RadialKernel

if TYPE_CHECKING:
    from causalif.kernels._torch import Job

_KINDS: dict[type[RadialKernel], int] = {Gaussian: 0, GaussianMixture: 1, Matern: 2, InverseMultiquadric: 4}


@dataclass(frozen=True)
class Shape:
    """Sizes of the fused kernel's tile and how it is spread over the chip.

    Parameters
    ----------
    rows, columns, depth : int
        Rows and columns of the tile and the features of one step of its product; powers of two.
    warps, stages : int
        Warps of a program and steps whose loads are in flight.
    """

    rows: int = 128
    columns: int = 128
    depth: int = 32
    warps: int = 8
    stages: int = 3


def knows(kernel: RadialKernel) -> bool:
    """Whether there is a fused form of this kernel."""
    return type(kernel) in _KINDS


@triton.jit  # type: ignore[untyped-decorator]
def _value(e, KIND: tl.constexpr, RATIOS: tl.constexpr, SHARES: tl.constexpr):  # type: ignore[no-untyped-def]
    """Turn exponents into kernel values."""
    e = tl.minimum(e, 0.0)
    if KIND == 0:
        value = tl.exp2(e)
    elif KIND == 1:
        value = tl.zeros_like(e)
        for b in tl.static_range(len(RATIOS)):
            value += SHARES[b] * tl.exp2(e * RATIOS[b])
    elif KIND == 4:
        value = tl.rsqrt(1.0 - e)
    else:
        root = tl.sqrt(-e)
        t = root * 0.6931471805599453
        power = tl.exp2(-root)
        value = (1.0 + t) * power if KIND == 2 else (1.0 + t + t * t / 3.0) * power
    return value


@triton.jit  # type: ignore[untyped-decorator]
def fused_sums(  # type: ignore[no-untyped-def]
    x, y, nx, ny, wx, wy, wide, rows_out, columns_out, n, m, tiles_across, row_start, column_start,
    D: tl.constexpr, KIND: tl.constexpr, RATIOS: tl.constexpr, SHARES: tl.constexpr, PRECISION: tl.constexpr,
    SYMMETRIC: tl.constexpr, COLUMNS: tl.constexpr, TILE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    BK: tl.constexpr,
):  # fmt: skip
    """Sum a strip of BM rows over TILE columns, and its columns over the strip; every strip writes its own sums."""
    strip, across = tl.program_id(0), tl.program_id(1)
    rows = strip * BM + tl.arange(0, BM)
    steps = tl.arange(0, BK)
    first = across * TILE
    last = tl.minimum(first + TILE, m)
    # Tiles that float32 is too short for are left to float64, and those below the diagonal to their mirror image.
    skip = tl.load(wide + (strip * BM // TILE) * tiles_across + across) != 0
    if SYMMETRIC:
        skip = skip | (column_start + last - 1 <= row_start + strip * BM)
    last = tl.where(skip, first, last)
    in_rows = rows < n
    half_x = tl.load(nx + rows, mask=in_rows, other=0.0)
    weight_x = tl.load(wx + rows, mask=in_rows, other=0.0)
    total = tl.zeros((BM,), dtype=tl.float32)
    for start in range(first, last, BN):
        columns = start + tl.arange(0, BN)
        in_columns = columns < last
        product = tl.zeros((BM, BN), dtype=tl.float32)
        for k in range(0, D, BK):
            a = tl.load(x + rows[:, None] * D + (k + steps)[None, :], mask=in_rows[:, None], other=0.0)
            b = tl.load(y + columns[None, :] * D + (k + steps)[:, None], mask=in_columns[None, :], other=0.0)
            product = tl.dot(a, b, product, input_precision=PRECISION)
        half_y = tl.load(ny + columns, mask=in_columns, other=0.0)
        weight_y = tl.load(wy + columns, mask=in_columns, other=0.0)
        value = _value(product - half_x[:, None] - half_y[None, :], KIND, RATIOS, SHARES)
        if SYMMETRIC:
            value = tl.where(column_start + columns[None, :] > row_start + rows[:, None], value, 0.0)
        # Rows and columns beyond the end carry weight zero.
        total += tl.sum(value * weight_y[None, :], axis=1)
        if COLUMNS:
            down = tl.sum(value * weight_x[:, None], axis=0)
            tl.store(columns_out + strip * m + columns, down, mask=in_columns)
    tl.store(rows_out + across * n + rows, total, mask=in_rows)


def precision_of(asked: str, device: torch.device) -> str:
    """Return triton's name for the precision of float32 products on this device."""
    if asked == "tf32":
        return "tf32"
    # Three tensor-core products make up for the digits that one drops; chips before Ampere have none.
    capable = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8
    return "tf32x3" if capable else "ieee"


def choose_shape(d: int, precision: str, major: int = 9) -> Shape:
    """Return sizes that spill no registers, for a number of features and a major compute capability."""
    depth = max(16, min(64 if precision == "bfloat16" else 32, 1 << max(0, math.ceil(math.log2(d)))))
    # Three products at a time hold their operands in registers where the tensor cores do not read shared memory.
    return Shape(columns=64 if precision == "float32" and major < 9 else 128, depth=depth)


def padded(x: torch.Tensor, depth: int) -> torch.Tensor:
    """Return rows with zeros added up to a whole number of steps, so that loads are aligned and need no mask."""
    return torch.nn.functional.pad(x, (0, -x.shape[1] % depth)).contiguous()


def add_block(
    job: Job, i: slice, j: slice, wide: list[tuple[slice, slice]], rows: torch.Tensor, columns: torch.Tensor,
    shape: Shape | None = None,
) -> None:  # fmt: skip
    """Add the sums of a pair of blocks to ``rows`` and ``columns``, all tiles but the wide ones."""
    device, kernel = job.left.source.device, job.left.factors[0].kernel
    if device.type != "cuda" and not _interpreted():
        raise RuntimeError("the fused kernel needs a CUDA device, or TRITON_INTERPRET=1 before triton is imported")
    typed = torch.bfloat16 if job.precision == "bfloat16" else torch.float32
    x, y = job.left.rows[0][i].to(typed), job.right.rows[0][j].to(typed)
    major = torch.cuda.get_device_capability(device)[0] if device.type == "cuda" else 9
    shape = shape or choose_shape(x.shape[1], job.precision, major)
    x, y = padded(x, shape.depth), padded(y, shape.depth)
    n, m = len(x), len(y)
    strips, across = triton.cdiv(n, shape.rows), triton.cdiv(m, job.tile)
    flags = torch.zeros((triton.cdiv(n, job.tile), across), dtype=torch.int32)
    for p, q in wide:
        flags[(p.start - i.start) // job.tile, (q.start - j.start) // job.tile] = 1
    options: dict[str, Any] = {"dtype": torch.float32, "device": device}
    rows_out = torch.zeros((across, n), **options)
    columns_out = torch.zeros((strips, m) if job.columns else (1, 1), **options)
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        fused_sums[(strips, across)](
            x, y, job.left.norms[0][i], job.right.norms[0][j],
            job.left.weights[i, 0].float().contiguous(), job.right.weights[j, 0].float().contiguous(),
            flags.to(device), rows_out, columns_out, n, m, across, i.start, j.start,
            **constants(kernel, x.shape[1]), PRECISION=precision_of(job.precision, device), SYMMETRIC=job.symmetric,
            COLUMNS=job.columns, TILE=job.tile, BM=shape.rows, BN=shape.columns, BK=shape.depth,
            num_warps=shape.warps, num_stages=shape.stages,
        )  # fmt: skip
    # One order of addition whatever order the strips finish in.
    rows[:, 0] += rows_out.sum(dim=0, dtype=torch.float64)
    if job.columns:
        columns[:, 0] += columns_out.sum(dim=0, dtype=torch.float64)


def constants(kernel: RadialKernel, d: int) -> dict[str, Any]:
    """Return what the fused kernel is specialised on: padded features, kernel and its parts."""
    kind = _KINDS[type(kernel)] + int(isinstance(kernel, Matern) and kernel.smoothness == 2.5)
    parts = kernel.parts if isinstance(kernel, GaussianMixture) else [(1.0, 1.0)]
    return {"D": d, "KIND": kind, "RATIOS": tuple(r for r, _ in parts), "SHARES": tuple(s for _, s in parts)}


def _interpreted() -> bool:
    """Whether triton runs kernels in its interpreter."""
    return bool(triton.knobs.runtime.interpret)
