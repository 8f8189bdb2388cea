"""Data valuation: speed and memory against full matrices, online updates, KNN-Shapley, and what each score finds.

    python benchmarks/kairos.py                          # all of it but the largest run
    python benchmarks/kairos.py speed online shapley     # parts: speed, large, online, shapley, quality, weighting
    python benchmarks/kairos.py shapley --peer ~/venv/bin/python   # an interpreter with pyDVL installed

One thread everywhere, CPU seconds; every route of `speed` runs in a process of its own, which reports the memory it
needed beyond the data. Routes take turns and the best of each is compared.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from causalif.kernels import _inputs

N, D, M = 20_000, 128, 2_000


def rows(n: int, m: int, d: int = D) -> tuple[np.ndarray, ...]:
    """Draw train and reference rows with labels, float32."""
    rng = np.random.default_rng(0)
    x, r = rng.standard_normal((n, d), dtype=np.float32), rng.standard_normal((m, d), dtype=np.float32)
    x[: n // 10] += 0.3
    return x, (x[:, :4].sum(axis=1) > 0).astype(int), r, (r[:, :4].sum(axis=1) > 0).astype(int)


def seconds(job: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    job()
    return time.process_time() - start


# --- speed and memory --------------------------------------------------------------------------------------------


def naive(x: np.ndarray, r: np.ndarray, sigma: float) -> np.ndarray:
    """Witness by full matrices in numpy."""
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
        return np.exp(-squared / np.float32(2 * sigma**2))

    return kernel(x, r).mean(axis=1) - kernel(x, x).mean(axis=1)


def by_sklearn(x: np.ndarray, r: np.ndarray, sigma: float) -> np.ndarray:
    """Witness by scikit-learn's kernel matrices."""
    from sklearn.metrics.pairwise import rbf_kernel

    gamma = 1 / (2 * sigma**2)
    return rbf_kernel(x, r, gamma).mean(axis=1) - rbf_kernel(x, x, gamma).mean(axis=1)


def ours(
    x: np.ndarray, r: np.ndarray, sigma: float, y: np.ndarray | None = None, yr: np.ndarray | None = None
) -> object:
    """Witness, values and everything else by `KAIROS.fit`, reading and standardising included."""
    from causalif.estimators.kairos import KAIROS

    fit = KAIROS(bandwidth=sigma, scale=None, n_jobs=1, progress=False, weighting=(1, 1), device="cpu")
    return fit.fit(x, reference=r, label=y, reference_label=yr).witness.to_numpy()


def sgemm_rate(inner: int, size: int = 3_000) -> float:
    """Rate of a float32 matrix product of (size, inner) by (inner, size), in flops per second; the best of five."""
    a = np.random.default_rng(0).standard_normal((size, inner), dtype=np.float32)
    b, out = a.T.copy(), np.empty((size, size), dtype=np.float32)
    return 2 * size**2 * inner / min(seconds(lambda: np.matmul(a, b, out=out)) for _ in range(5))


def one_route(route: str, n: int, m: int) -> None:
    """Run one route in this process and print what it took, as JSON."""
    x, y, r, yr = rows(n, m)
    sigma = float(np.sqrt(2 * D))
    small = slice(0, 500)
    jobs: dict[str, Callable[[slice], object]] = {
        "naive": lambda part: naive(x[part], r, sigma),
        "sklearn": lambda part: by_sklearn(x[part], r, sigma),
        "causalif": lambda part: ours(x[part], r, sigma),
        "causalif, numpy": lambda part: ours(x[part], r, sigma),
        "causalif, labels": lambda part: ours(x[part], r, sigma, y[part], yr),
    }
    if route == "causalif, numpy":
        _inputs.gaussian_sums = lambda: None  # as where nothing was compiled
    jobs[route](small)  # imports and caches
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    witness = np.asarray(jobs[route](slice(None)))
    took = time.process_time() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    some = np.random.default_rng(1).choice(n, 50, replace=False)
    wide, exact = x.astype(np.float64), np.empty(50)
    for place, i in enumerate(some):
        k = [np.exp(-np.square(part - wide[i]).sum(axis=1) / (2 * sigma**2)).mean() for part in (r, wide)]
        exact[place] = k[0] - k[1]
    error = float(np.abs(witness[some] - exact).max())
    found = {"seconds": took, "megabytes": (after - before) / 1024, "error": error}
    print(json.dumps(found | {"square": sgemm_rate(3_000), "narrow": sgemm_rate(D)}))


def child(*arguments: str) -> dict[str, float]:
    """Run this script for one route and read what it says."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


ROUTES = ("naive", "sklearn", "causalif", "causalif, numpy", "causalif, labels")


def speed(n: int = N, m: int = M, routes: tuple[str, ...] = ROUTES) -> None:
    """Print time, memory, error and the share of the matrix-product rate."""
    takes = 5 if n <= N else 3
    print(f"\nOne fit, N={n:,}, d={D}, M={m:,}, one thread, CPU seconds (best of {takes}), float32")
    found: dict[str, list[dict[str, float]]] = {route: [] for route in routes}
    for _ in range(takes):
        for route in routes:
            found[route].append(child("--route", route, "--rows", str(n), "--reference", str(m)))
    best = {route: min(runs, key=lambda run: run["seconds"]) for route, runs in found.items()}
    rates = [max(run[shape] for runs in found.values() for run in runs) for shape in ("square", "narrow")]
    print(f"  matrix product: {rates[0] / 1e9:.0f} GFLOP/s, with an inner dimension of {D} {rates[1] / 1e9:.0f}")
    flops = 2 * D * (n**2 / 2 + n * m + m**2 / 2)
    for route, run in best.items():
        against = "   ".join(f"{best[peer]['seconds'] / run['seconds']:5.1f}x {peer}" for peer in ("naive", "sklearn")
                             if peer in best and route.startswith("causalif"))  # fmt: skip
        shares = [f"{flops / run['seconds'] / rate:.0%}" for rate in rates]
        share = f"   {shares[0]} and {shares[1]} of the rates" if route == "causalif" else ""
        took = f"{run['seconds']:8.2f} s {run['megabytes']:8.0f} MB   error {run['error']:.0e}"
        print(f"  {route:<17}{took}   {against}{share}")


# --- online ------------------------------------------------------------------------------------------------------


def online(sizes: tuple[int, ...] = (N, 50_000)) -> None:
    """Print what a batch of a hundredth of the rows costs, against a fit of everything."""
    print(f"\nA batch of N/100 rows against a fit, d={D}, M={M:,}, default settings, CPU seconds")
    for n in sizes:
        for labelled in (False, True):
            print(f"  N={n:,}, {'with' if labelled else 'without'} labels: {online_costs(n, labelled)}", flush=True)


def online_costs(n: int, labelled: bool) -> str:
    """Time a fit and each change of it."""
    from causalif.estimators.kairos import KAIROS

    x, y, r, yr = rows(n + n // 100, M)
    first, more = (y[:n], y[n:]) if labelled else (None, None)

    def fit() -> object:
        estimator = KAIROS(n_jobs=1, progress=False, device="cpu")
        return estimator.fit(x[:n], reference=r, label=first, reference_label=yr if labelled else None)

    value, gone = fit(), np.arange(0, n, 100)
    whole = min(seconds(fit) for _ in range(3))
    jobs = {
        "add": lambda: value.add(x[n:], more).values,
        "remove": lambda: value.remove(gone).values,
        "replace": lambda: value.replace(gone, x[n:], more).values,
        "reweight": lambda: value.reweight(gone, 2.0).values,
    }
    took = {name: min(seconds(job) for _ in range(5)) for name, job in jobs.items()}
    return f"fit {whole:.2f} s; " + ", ".join(f"{name} {t:.3f} s ({whole / t:.0f}x)" for name, t in took.items())


# --- KNN-Shapley -------------------------------------------------------------------------------------------------


def published(x: np.ndarray, y: np.ndarray, r: np.ndarray, yr: np.ndarray, k: int) -> np.ndarray:
    """Run the recursion of Jia et al. (2019) as packages write it: all distances, then a loop over ranks."""
    n, m = len(x), len(r)
    distance = np.sqrt(np.maximum((x * x).sum(axis=1)[:, None] + (r * r).sum(axis=1) - 2 * x @ r.T, 0))
    order = np.argsort(distance, axis=0, kind="stable")
    score, column = np.zeros((n, m), dtype=np.float32), np.arange(m)
    score[order[n - 1], column] = (y[order[n - 1]] == yr) / n
    for i in range(n - 2, -1, -1):
        step = (y[order[i]] == yr).astype(np.float32) - (y[order[i + 1]] == yr)
        score[order[i], column] = score[order[i + 1], column] + min(k, i + 1) / (k * (i + 1)) * step
    return score.mean(axis=1, dtype=np.float64)


PEER = """
import sys, time, warnings
import numpy as np
warnings.simplefilter("ignore")
from sklearn.neighbors import KNeighborsClassifier
from pydvl.valuation import Dataset, KNNShapleyValuation
import pydvl
z = np.load(sys.argv[1])
train, test = Dataset(z["x"], z["y"]), Dataset(z["r"], z["yr"])
method = KNNShapleyValuation(KNeighborsClassifier(n_neighbors=10, algorithm="brute"), test, progress=False)
start = time.process_time()
result = method.fit(train)
took = time.process_time() - start
values = np.empty(len(z["x"])); values[result.result.indices] = result.result.values
np.save(sys.argv[2], values)
print(pydvl.__version__, took)
"""


def shapley(peer: str | None) -> None:
    """Print KNN-Shapley beside the algorithm as published, and beside pyDVL where an interpreter with it is named."""
    from causalif.valuation import knn_shapley

    x, y, r, yr = rows(N, M, 32)
    print(f"\nKNN-Shapley, k=10, N={N:,}, d=32, M={M:,}, one thread, CPU seconds")
    values = knn_shapley(x, y, r, yr)
    mine = min(seconds(lambda: knn_shapley(x, y, r, yr)) for _ in range(2))
    start = time.process_time()
    other = published(x, y, r, yr, 10)
    theirs = time.process_time() - start
    print(
        f"  causalif {mine:.2f} s; as published {theirs:.2f} s ({theirs / mine:.1f}x); "
        f"largest difference {np.abs(values - other).max():.0e}, values up to {np.abs(values).max():.0e}"
    )
    if peer is not None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            given, back = f"{folder}/in.npz", f"{folder}/out.npy"
            np.savez(given, x=x, y=y, r=r, yr=yr)
            done = subprocess.run([peer, "-c", PEER, given, back], capture_output=True, text=True, check=True)
            version, took = done.stdout.split()[-2:]
            gap = np.abs(np.load(back) - values).max()
            print(f"  pyDVL {version} {float(took):.2f} s ({float(took) / mine:.1f}x); largest difference {gap:.0e}")


# --- quality -----------------------------------------------------------------------------------------------------

DEFECTS = ("labels", "noise", "both", "planted")


def sets() -> dict[str, Callable[[int], tuple[np.ndarray, np.ndarray, int]]]:
    """Return data sets as functions of a seed: features, classes, number of reference rows."""
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_classification
    from sklearn.decomposition import PCA

    def drawn(**options: object) -> Callable[[int], tuple[np.ndarray, np.ndarray, int]]:
        return lambda seed: (*make_classification(1500, flip_y=0, random_state=seed, **options), 250)

    digits = load_digits(return_X_y=True)
    reduced = PCA(20, random_state=0).fit_transform(digits[0])
    return {
        "digits": lambda seed: (*digits, 300),
        "cancer": lambda seed: (*load_breast_cancer(return_X_y=True), 150),
        "wine": lambda seed: (*load_wine(return_X_y=True), 60),
        "digits-20": lambda seed: (reduced, digits[1], 300),
        "drawn-10": drawn(n_features=10, n_informative=6, n_classes=3),
        "drawn-50": drawn(n_features=50, n_informative=10, n_classes=4, n_clusters_per_class=1, class_sep=2),
        "unequal": drawn(n_features=12, n_informative=6, weights=[0.9], class_sep=1.5),
    }


def spoiled(x: np.ndarray, y: np.ndarray, m: int, defect: str, seed: int) -> tuple[np.ndarray, ...]:
    """Part off a clean reference, spoil 20% (planted: 10%) of the rest; features in units of the reference."""
    rng = np.random.default_rng(seed + 1_000)
    clean, train = np.split(rng.permutation(len(y)), [m])
    mean, unit = x[clean].mean(axis=0), x[clean].std(axis=0)
    x = (x - mean) / np.where(unit > 0, unit, 1.0)
    r, yr, x, y = x[clean], y[clean], x[train].copy(), y[train].copy()
    bad = rng.choice(len(y), int((0.1 if defect == "planted" else 0.2) * len(y)), replace=False)
    wrong = {"labels": bad, "both": bad[: len(bad) // 2]}.get(defect, bad[:0])
    noisy = {"noise": bad, "both": bad[len(bad) // 2 :]}.get(defect, bad[:0])
    y[wrong] = (y[wrong] + rng.integers(1, y.max() + 1, len(wrong))) % (y.max() + 1)
    x[noisy] += rng.normal(size=x[noisy].shape)
    if defect == "planted":  # some features set to one large value, always labelled 0
        columns = rng.permutation(x.shape[1])[: max(2, x.shape[1] // 8)]
        x[np.ix_(bad, columns)] = np.abs(x).max() / 2
        y[bad] = 0
    return x, y, r, yr, np.isin(np.arange(len(y)), bad)


def scores(x: np.ndarray, y: np.ndarray, r: np.ndarray, yr: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of the quality table, high is good."""
    from causalif.estimators.kairos import KAIROS

    def fit(**options: object) -> object:
        return KAIROS(progress=False, n_jobs=1, **options).fit(x, reference=r, label=y, reference_label=yr)

    default = fit()
    near = default.companions()
    return {
        "default": default.values.to_numpy(),
        "  feature component": default.components["feature"].to_numpy(),
        "  label component": default.components["label"].to_numpy(),
        "median bandwidth": fit(bandwidth="median").values.to_numpy(),
        "as published": fit(bandwidth="median", label_model="classifier", weighting="paper").values.to_numpy(),
        "joint kernel": fit(label_model="joint").values.to_numpy(),
        "KNN-Shapley": near["knn_shapley"].to_numpy(),
        "distance to 5 nearest": near["knn_closeness"].to_numpy(),
    }


def quality(seeds: int = 3) -> None:
    """Print the AUROC of every score on every defect."""
    import warnings

    from causalif._errors import DataWarning
    from causalif.valuation import detection

    warnings.simplefilter("ignore", DataWarning)
    for defect in DEFECTS:
        names, table = list(sets()), {}
        for name, draw in sets().items():
            for seed in range(seeds):
                x, y, m = draw(seed)
                x, y, r, yr, bad = spoiled(x, y, m, defect, seed)
                for score, values in scores(x, y, r, yr).items():
                    table.setdefault(score, {}).setdefault(name, []).append(detection(values, bad).auroc)
        print(f"\nAUROC, {defect}, mean of {seeds} seeds")
        print(f"{'':<24}" + "".join(f"{name:>11}" for name in [*names, "mean"]))
        for score, found in table.items():
            means = [float(np.mean(found[name])) for name in names]
            print(f"{score:<24}" + "".join(f"{mean:11.3f}" for mean in means) + f"{np.mean(means):11.3f}")


def weighting(seeds: int = 3) -> None:
    """Print the mean AUROC over all data sets and defects for bandwidth factors and ways to add the components."""
    import warnings

    from scipy.stats import norm

    from causalif._errors import DataWarning
    from causalif.estimators.kairos import KAIROS
    from causalif.valuation import detection

    warnings.simplefilter("ignore", DataWarning)
    table: dict[tuple[str, str], dict[str, list[float]]] = {}
    for draw in sets().values():
        for defect in DEFECTS:
            for seed in range(seeds):
                x, y, m = draw(seed)
                x, y, r, yr, bad = spoiled(x, y, m, defect, seed + 5)
                for factor in (1.0, 0.5, 0.35):
                    fit = KAIROS(bandwidth=("median", factor), progress=False, n_jobs=1)
                    state = fit.fit(x, reference=r, label=y, reference_label=yr).state
                    gap, rho = state.sums.reference_gap, state.reference_residuals
                    u = (state.sums.gap_apart - gap.mean()) / gap.std()
                    v = (state.residuals - rho.mean()) / rho.std()
                    tails = -norm.logsf(u) - norm.logsf(v)
                    ways = {"feature": u, "label": v, "1:1": u + v, "1:2": u + 2 * v, "1:3": u + 3 * v,
                            "larger": np.maximum(u, v), "tail probabilities": tails}  # fmt: skip
                    for way, strange in ways.items():
                        cell = table.setdefault((f"{factor:g}", way), {})
                        cell.setdefault(defect, []).append(detection(-strange, bad).auroc)
    print(f"\nAUROC, mean over {len(sets())} data sets, {seeds} seeds")
    print(f"{'factor, sum':<26}" + "".join(f"{d:>9}" for d in (*DEFECTS, "mean")))
    for (factor, way), found in table.items():
        means = [float(np.mean(found[defect])) for defect in DEFECTS]
        print(f"{factor + ', ' + way:<26}" + "".join(f"{mean:9.3f}" for mean in means) + f"{np.mean(means):9.4f}")


def main() -> None:
    """Run the named parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["speed", "online", "shapley", "quality"])
    parser.add_argument("--peer", help="a Python interpreter with pyDVL installed")
    parser.add_argument("--route", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=N, help=argparse.SUPPRESS)
    parser.add_argument("--reference", type=int, default=M, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.route:
        one_route(given.route, given.rows, given.reference)
        return
    jobs = {"speed": speed, "online": online, "shapley": lambda: shapley(given.peer), "quality": quality,
            "weighting": weighting, "large": lambda: speed(100_000, M, ("causalif",))}  # fmt: skip
    for part in given.parts:
        jobs[part]()


if __name__ == "__main__":
    main()
