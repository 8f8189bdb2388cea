"""Kernel sums on a CUDA device: correctness on fresh random data, then time against what the chip can do.

    python benchmarks/kairos_gpu.py                 # all tables, some minutes
    python benchmarks/kairos_gpu.py --seed 7        # the same on other data
    python benchmarks/kairos_gpu.py --sweep         # also tries shapes of the fused kernel's tile

Correctness: the sums of some rows by differences in float64, for ragged sizes and every precision, drawn from a seed
that the clock gives unless one is named. Speed: the multiplications and exponentials that the result needs, against two
ceilings measured here, a large matrix product in the same number format and exp2 of registers alone. The binding
ceiling is the larger of the two times; the ratio is that time divided by ours.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from causalif.kernels import Gaussian, Matern, row_sums, row_sums_both

try:
    import torch
    import triton
    import triton.language as tl
except ImportError as missing:
    print(f"This needs torch and triton on a CUDA machine: {missing}.")
    sys.exit(0)


@triton.jit
def exponentials(out, ROUNDS: tl.constexpr, BLOCK: tl.constexpr):
    """Chain exponentials of numbers in registers."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = place.to(tl.float32) * -1e-9
    total = tl.zeros_like(value)
    for _ in range(ROUNDS):
        value = tl.exp2(value) - 1.0
        total += value
    tl.store(out + place, total)


# Largest error of a mean kernel value that each precision states for standardised features.
STATED = {"float64": 1e-12, "float32": 2e-7, "tf32": 2e-5, "bfloat16": 2e-4}
# A float32 product to full precision is three tensor-core products.
PRODUCTS = {"float32": ("tf32", 3), "tf32": ("tf32", 1), "bfloat16": ("bfloat16", 1)}


def seconds_of(job: Callable[[], object], rounds: int) -> float:
    """Return the median time of a job by the device's own clock, after one round to warm up."""
    job()
    taken = []
    for _ in range(rounds):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        job()
        end.record()
        torch.cuda.synchronize()
        taken.append(start.elapsed_time(end) / 1e3)
    return float(np.median(taken))


def product_rate(kind: str, size: int = 8192) -> float:
    """Return multiply-adds a second, times two, of a large matrix product."""
    dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
    a = torch.randn(size, size, device="cuda", dtype=dtype)
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
    try:
        return 2 * size**3 / seconds_of(lambda: a @ a, 20)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def exp2_rate() -> float:
    """Return exponentials a second, of numbers that stay in registers."""
    programs, block, rounds = 132 * 64, 1024, 512
    out = torch.empty(programs * block, device="cuda")
    taken = seconds_of(lambda: exponentials[(programs,)](out, ROUNDS=rounds, BLOCK=block, num_warps=8), 10)
    return programs * block * rounds / taken


def exact(A: np.ndarray, B: np.ndarray, kernel: Any, some: np.ndarray) -> np.ndarray:
    """Return the mean kernel values of some rows, by differences in float64."""
    means = []
    for i in some:
        gap = B.astype(np.float64) - A[i].astype(np.float64)
        means.append(kernel.at(np.sqrt(np.einsum("ij,ij->i", gap, gap))).mean())
    return np.array(means)


def check(seed: int) -> bool:
    """Print the largest error of every precision on ragged sizes, and whether all are as stated."""
    rng, good = np.random.default_rng(seed), True
    print(f"correctness, seed {seed}: largest error of mean kernel values, 100 rows each")
    for n, m, d in ((5_000, 1_001, 1), (20_011, 3_333, 3), (40_001, 5_000, 64), (20_000, 2_047, 513)):
        A, B = (rng.standard_normal((size, d), dtype=np.float32) + np.float32(100) for size in (n, m))
        A[::997] += 40  # some rows far out, whose tiles need float64
        some = rng.choice(n, size=100, replace=False)
        on = [torch.as_tensor(side, device="cuda") for side in (A, B)]
        for kernel in (Gaussian(float(np.sqrt(2 * d))), Matern(float(np.sqrt(2 * d)), smoothness=2.5)):
            cross, own = exact(A, B, kernel, some), exact(A, A, kernel, some)
            errors = {}
            for precision in STATED:
                both = row_sums_both(*on, kernel, precision=precision)
                alone = row_sums(on[0], None, kernel, symmetric=True, precision=precision).total
                turned = row_sums(B, A, kernel, device="cpu").sums / n
                errors[precision] = max(
                    np.abs(both.rows[some] / m - cross).max(),
                    np.abs(alone[some] / n - own).max(),
                    np.abs(both.columns / n - turned).max() - 2e-7,  # what the processor's float32 may be off
                )
            wrong = [name for name, error in errors.items() if not error <= STATED[name]]
            good = good and not wrong
            told = "  ".join(f"{name} {error:.0e}" for name, error in errors.items())
            print(
                f"  n {n:>6,} m {m:>6,} d {d:>4} {type(kernel).__name__:<9} {told}  {'WRONG' if wrong else 'as stated'}"
            )
    return good


def speed(rates: dict[str, float], powers: float) -> None:
    """Print times of symmetric sums and the share of the binding ceiling that they reach."""
    print("\nspeed, symmetric sums of one law: the time of the binding ceiling divided by ours")
    for n, d in ((100_000, 32), (100_000, 128), (100_000, 512), (400_000, 128), (1_000_000, 128)):
        X = torch.randn(n, d, device="cuda")
        kernel = Gaussian(float(np.sqrt(2 * d)))
        for precision, (kind, times) in PRODUCTS.items():
            taken = seconds_of(lambda X=X, k=kernel, p=precision: row_sums(X, None, k, symmetric=True, precision=p), 3)
            product, power = times * n * n * d / rates[kind], n * n / 2 / powers
            bound = "product" if product > power else "exp2"
            print(
                f"  N {n:>9,} d {d:>4} {precision:<9}{taken:8.3f} s   product {product:7.3f} s  exp2 {power:7.3f} s"
                f"   {max(product, power) / taken:6.1%} of {bound}"
            )


def sweep() -> None:
    """Print times of one block for some shapes of the tile."""
    from causalif.kernels import _torch, _triton

    original = _triton.choose_shape
    X = torch.randn(65_536, 128, device="cuda")
    print("\nshapes of the tile, N 65,536 d 128")
    try:
        for precision in PRODUCTS:
            for rows, columns, depth, warps, stages in (
                (128, 128, 32, 8, 3), (128, 128, 32, 8, 2), (128, 128, 32, 4, 3), (128, 64, 32, 4, 3),
                (64, 128, 32, 4, 4), (64, 64, 64, 4, 3), (128, 256, 32, 8, 2), (128, 128, 64, 8, 2),
            ):  # fmt: skip
                shape = _triton.Shape(rows, columns, depth, warps, stages)
                _triton.choose_shape = lambda *_, shape=shape: shape
                job = lambda p=precision: row_sums(X, None, Gaussian(16.0), symmetric=True, precision=p)  # noqa: E731
                try:
                    print(f"  {precision:<9} {shape}: {seconds_of(job, 3):.4f} s")
                except Exception as error:  # a shape that does not fit this chip
                    print(f"  {precision:<9} {shape}: {type(error).__name__}")
    finally:
        _triton.choose_shape = original
    print(f"blocks of {_torch.SUPER:,} rows")


def main() -> int:
    """Print every table; the status says whether all sums were right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32, help="of the data; by default the clock's")
    parser.add_argument("--sweep", action="store_true", help="try shapes of the fused kernel's tile")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("This needs a CUDA device; torch finds none.")
        return 0
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, triton {triton.__version__}")
    good = check(asked.seed)
    rates = {kind: product_rate(kind) for kind in ("tf32", "bfloat16")}
    powers = exp2_rate()
    told = ", ".join(f"{kind} product {rate / 1e12:.0f} Tflop/s" for kind, rate in rates.items())
    print(f"\nceilings: {told}, exp2 {powers / 1e12:.2f} T/s")
    speed(rates, powers)
    if asked.sweep:
        sweep()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
