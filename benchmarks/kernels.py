"""Kernel row sums: time, memory and accuracy against whole matrices and scikit-learn's route, in one run.

    python benchmarks/kernels.py            # all tables, a few minutes
    python benchmarks/kernels.py --quick    # 5,000 rows, without the 100,000

Every way computes what KAIROS needs, the sums of a Gaussian kernel over N training rows and over M = N / 10 reference
rows for each training row, from the same float32 features. One thread and CPU seconds, the ways taking turns, the
smallest of the rounds; extra memory is the growth of a fresh process's peak. The rate is that of the multiplications
that the result needs, 2 d (N²/2 + N M), against a large float32 product that takes its turn with them.
"""

from __future__ import annotations

import os

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
if __name__ == "__main__":
    for variable in THREAD_VARIABLES:
        os.environ[variable] = "1"

import argparse
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from causalif.kernels import Gaussian, row_sums

Sums = tuple[np.ndarray, np.ndarray]


def data(n: int, d: int, m: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return training rows, reference rows and a bandwidth."""
    rng = np.random.default_rng(0)
    X, R = (rng.standard_normal((size, d), dtype=np.float32) for size in (n, m))
    return X, R + np.float32(0.05), float(np.sqrt(2 * d))


def causalif_sums(X: np.ndarray, R: np.ndarray, sigma: float, threads: int = 1) -> Sums:
    """Sum tile by tile."""
    center = R.mean(axis=0, dtype=np.float64)
    own = row_sums(X, None, Gaussian(sigma), symmetric=True, center=center, n_jobs=threads)
    return own.total, row_sums(X, R, Gaussian(sigma), center=center, n_jobs=threads).sums


def naive_sums(X: np.ndarray, R: np.ndarray, sigma: float) -> Sums:
    """Sum whole kernel matrices, written as one would in numpy."""

    def kernel(A: np.ndarray, B: np.ndarray) -> np.ndarray:
        squares = (A * A).sum(axis=1)[:, None] + (B * B).sum(axis=1)[None, :] - 2 * A @ B.T
        return np.exp(-squares / np.float32(2 * sigma**2))

    return kernel(X, X).sum(axis=1), kernel(X, R).sum(axis=1)


def sklearn_sums(X: np.ndarray, R: np.ndarray, sigma: float) -> Sums:
    """Sum the matrices of scikit-learn's rbf_kernel."""
    from sklearn.metrics.pairwise import rbf_kernel

    gamma = 1 / (2 * sigma**2)
    return rbf_kernel(X, X, gamma=gamma).sum(axis=1), rbf_kernel(X, R, gamma=gamma).sum(axis=1)


WAYS: dict[str, Callable[..., Sums]] = {
    "causalif": causalif_sums,
    "naive matrices": naive_sums,
    "sklearn rbf_kernel": sklearn_sums,
}


def smallest_cpu_seconds(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Let the jobs take turns and return the smallest CPU seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            seconds[name].append(time.process_time() - start)
    return {name: min(values) for name, values in seconds.items()}


def product_job(size: int = 3072) -> tuple[Callable[[], object], float]:
    """Return a large float32 product and its flop."""
    a = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    out = np.empty_like(a)
    return lambda: np.matmul(a, a, out=out), 2.0 * size**3


def peak_megabytes() -> float:
    """Return the largest resident size of this process so far; not `ru_maxrss`, which starts at the parent's."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / 1e6


def extra_memory(way: str, n: int, d: int, m: int) -> float:
    """Return by how many megabytes a fresh process grows beyond its data."""
    command = [sys.executable, __file__, "--memory", way, str(n), str(d), str(m)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def memory_of(way: str, n: int, d: int, m: int) -> float:
    """Run one way and return the growth of the peak; a small call first loads the libraries."""
    WAYS[way](*data(600, d, 60))
    X, R, sigma = data(n, d, m)
    before = peak_megabytes()
    WAYS[way](X, R, sigma)
    return peak_megabytes() - before


def largest_error(X: np.ndarray, R: np.ndarray, sigma: float, found: Sums, rows: int = 200) -> float:
    """Return the largest error of the mean kernel values of some rows, against differences in float64."""
    some = np.linspace(0, len(X) - 1, rows).astype(int)
    errors = []
    for others, sums in ((X, found[0]), (R, found[1])):
        for i in some:
            gap = others.astype(np.float64) - X[i].astype(np.float64)
            exact = np.exp(-np.einsum("ij,ij->i", gap, gap) / (2 * sigma**2)).mean()
            errors.append(abs(sums[i] / len(others) - exact))
    return max(errors)


def table(n: int, d: int, rounds: int) -> None:
    """Print all ways at one size."""
    m = n // 10
    X, R, sigma = data(n, d, m)
    jobs: dict[str, Callable[[], object]] = {name: (lambda way=way: way(X, R, sigma)) for name, way in WAYS.items()}
    multiply, flop = product_job()
    seconds = smallest_cpu_seconds({"sgemm": multiply, **jobs}, rounds)
    rate = flop / seconds["sgemm"]
    work = 2 * d * (n * n / 2 + n * m)
    print(
        f"\nN = {n:,}, d = {d}, M = {m:,}: one thread, smallest CPU seconds of {rounds}; sgemm {rate / 1e9:.0f} Gflop/s"
    )
    for name, way in WAYS.items():
        ours, memory = seconds[name] / seconds["causalif"], extra_memory(name, n, d, m)
        fraction, error = work / seconds[name] / rate, largest_error(X, R, sigma, way(X, R, sigma))
        print(
            f"  {name:<20}{seconds[name]:9.3f} s {ours:7.1f}x   extra memory {memory:5.0f} MB   "
            f"{fraction:6.1%} of sgemm   largest error {error:.0e}"
        )


def threads_line(n: int, d: int) -> None:
    """Print the wall time of one and of two threads; it means something only where the second core is free."""
    X, R, sigma = data(n, d, n // 10)
    wall = {1: [], 2: []}
    for _ in range(5):
        for threads, seconds in wall.items():
            start = time.perf_counter()
            causalif_sums(X, R, sigma, threads)
            seconds.append(time.perf_counter() - start)
    one, two = min(wall[1]), min(wall[2])
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"\nN = {n:,}, d = {d}: wall {one:.3f} s with one thread, {two:.3f} s with two: {one / two:.2f}x{load}")


def large_line(n: int, d: int) -> None:
    """Print time and memory at a size whose matrix no memory holds."""
    X, R, sigma = data(n, d, n // 10)
    multiply, flop = product_job()
    found = smallest_cpu_seconds({"sgemm": multiply, "causalif": lambda: causalif_sums(X, R, sigma)}, 1)
    seconds = found["causalif"]
    fraction = 2 * d * (n * n / 2 + n * n / 10) / seconds / (flop / found["sgemm"])
    memory = extra_memory("causalif", n, d, n // 10)
    print(
        f"\nN = {n:,}, d = {d}, M = {n // 10:,}: {seconds:.1f} CPU seconds, {fraction:.0%} of sgemm, extra memory "
        f"{memory:.0f} MB; the matrix alone would be {4e-6 * n * n:,.0f} MB"
    )


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=2, type=int, metavar=("N", "D"), help="one table only")
    parser.add_argument("--quick", action="store_true", help="5,000 rows only")
    parser.add_argument("--memory", nargs=4, metavar=("WAY", "N", "D", "M"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.memory:
        way, *sizes = asked.memory
        print(memory_of(way, *map(int, sizes)))
        return
    if asked.size:
        table(*asked.size, 3)
        return
    print(f"numpy {np.__version__}")
    for n in (5_000,) if asked.quick else (5_000, 20_000):
        for d in (32, 128, 512):
            table(n, d, 9 if n == 5_000 else 3)
    threads_line(5_000 if asked.quick else 20_000, 128)
    if not asked.quick:
        large_line(100_000, 128)


if __name__ == "__main__":
    main()
