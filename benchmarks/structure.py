"""Structure posteriors: time of the engines, and paths found against a peer in the same time, side by side.

Run: ``OMP_NUM_THREADS=1 python benchmarks/structure.py [tables] [draws]``, with tables any of ``exact``, ``mcmc``,
``flow``, ``paths`` separated by commas (default all) and draws the number of random models a row (default 20). Times
are without bags. The peer of the last table is causal-learn (``pip install causal-learn``): GES with its Gaussian BIC
on bootstrap resamples, as many as fit into the processor time that SplineSEM took.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import itertools
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pandas as pd

from causalif.datasets import simulate_random_sem, simulate_sem1
from causalif.discovery import FlowSEM, SplineSEM

Path = tuple[str, ...]
Probability = dict[Path, float]
CUTS = (0.15, 0.5)


def timed(work: Callable[[], object]) -> tuple[object, float, float]:
    """Return the result, wall seconds and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - processor


def show(title: str, rows: Iterable[dict[str, object]]) -> None:
    """Print one table."""
    print(f"\n{title}\n{pd.DataFrame(rows).to_string(index=False, float_format=lambda x: f'{x:.3f}')}", flush=True)


def engine_times(engine: str, sizes: tuple[int, ...], max_parents: int) -> list[dict[str, object]]:
    """Time one fit without bags on random models."""
    rows = []
    for nodes in sizes:
        data, _ = simulate_random_sem(500, 0, nodes=nodes)
        model = SplineSEM(engine=engine, max_parents=max_parents, bag=0, progress=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            posterior, wall, processor = timed(partial(model.fit, data))
        row = {"nodes": nodes, "rows": 500, "max_parents": max_parents, "wall_s": wall, "cpu_s": processor}
        if "chains" in posterior.diagnostics:
            row["largest_r_hat"] = posterior.diagnostics["chains"]["r_hat"].max()
        rows.append(row)
    return rows


def flow_times() -> list[dict[str, object]]:
    """Time and accuracy of FlowSEM on five nodes, 1,500 rows, no tiers."""
    try:
        import torch  # noqa: F401
    except ImportError:
        return [{"FlowSEM": "torch is not installed"}]
    rows = []
    for seed in (0, 1):
        data, truth = simulate_sem1(1500, seed)
        model = FlowSEM(bag=0, random_state=seed, progress=False)
        posterior, wall, processor = timed(partial(model.fit, data))
        stability = {path: posterior.stability(path).pss for path in paths_between("A", "Y", data.columns)}
        false = [value for path, value in stability.items() if path not in truth["paths"]]
        true = [stability[path] for path in truth["paths"]]
        rows.append({"seed": seed, "wall_s": wall, "cpu_s": processor, "true_min": min(true), "false_max": max(false)})
    return rows


def paths_between(start: str, end: str, names: Iterable[str]) -> list[Path]:
    """All simple directed paths that there could be."""
    middle = [name for name in names if name not in (start, end)]
    return [(start, *nodes, end) for k in range(len(middle) + 1) for nodes in itertools.permutations(middle, k)]


def peer_frequencies(data: pd.DataFrame, seconds: float, seed: int) -> tuple[Probability, int]:
    """Share of bootstrap resamples in which GES, extended to a DAG, has each path."""
    from causallearn.search.ScoreBased.GES import ges
    from causallearn.utils.PDAG2DAG import pdag2dag

    rng, names = np.random.default_rng(seed), list(data.columns)
    count, edges = 0, []
    end = time.process_time() + seconds
    while count == 0 or time.process_time() < end:
        rows = rng.integers(len(data), size=len(data))
        graph = pdag2dag(ges(data.to_numpy()[rows], "local_score_BIC")["G"]).graph
        edges.append({(names[j], names[i]) for j, i in np.argwhere((graph == -1) & (graph.T == 1))})
        count += 1
    return share_of(edges, names), count


def share_of(graphs: list[set[tuple[str, str]]], names: list[str]) -> Probability:
    """Share of graphs that have each path."""
    return {
        path: float(np.mean([all(edge in edges for edge in itertools.pairwise(path)) for edges in graphs]))
        for start, end in itertools.permutations(names, 2)
        for path in paths_between(start, end, names)
    }


def own_stability(data: pd.DataFrame, seed: int) -> Probability:
    """Path stability of SplineSEM with its default bags."""
    posterior = SplineSEM(random_state=seed, progress=False).fit(data)
    names = list(data.columns)
    return {
        path: float(posterior.stability(path).pss)
        for start, end in itertools.permutations(names, 2)
        for path in paths_between(start, end, names)
    }


def path_scores(draws: int) -> list[dict[str, object]]:
    """Path F1 and Brier score over random models of five nodes."""
    try:
        peer = f"causal-learn {version('causal-learn')} GES"
    except PackageNotFoundError:
        peer = None
        print("\ncausal-learn is not installed: pip install causal-learn. SplineSEM is shown alone.")
    rows = []
    for form, n in (("nonlinear", 500), ("nonlinear", 150), ("linear", 500)):
        found: dict[str, list[tuple[Probability, Probability]]] = {}
        seconds, resamples = [], []
        for seed in range(draws):
            data, truth = simulate_random_sem(n, seed, form=form)
            actual = share_of([set(truth["edges"])], list(data.columns))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                own, _, processor = timed(partial(own_stability, data, seed))
                found.setdefault("SplineSEM", []).append((own, actual))
                seconds.append(processor)
                if peer:
                    frequencies, count = peer_frequencies(data, processor, seed)
                    found.setdefault(peer, []).append((frequencies, actual))
                    resamples.append(count)
        for method, pairs in found.items():
            bags = 20 if method == "SplineSEM" else float(np.mean(resamples))
            rows.append({"truth": form, "n": n, "method": method, "cpu_s": np.mean(seconds), "resamples": bags}
                        | accuracy(pairs))  # fmt: skip
    return rows


def accuracy(pairs: list[tuple[Probability, Probability]]) -> dict[str, float]:
    """F1 at both cuts and the Brier score, over all paths of all models."""
    guess = np.array([guess[path] for guess, actual in pairs for path in actual])
    truth = np.array([actual[path] for _, actual in pairs for path in actual]) > 0
    scores = {}
    for cut in CUTS:
        said = guess >= cut
        scores[f"F1@{cut}"] = 2 * float((said & truth).sum()) / max(1, int(said.sum() + truth.sum()))
    return scores | {"brier": float(np.mean((guess - truth) ** 2))}


def main() -> None:
    """Print the tables."""
    wanted = sys.argv[1].split(",") if len(sys.argv) > 1 else ["exact", "mcmc", "flow", "paths"]
    draws = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    if "exact" in wanted:
        show("Exact engine, SplineSEM, no bags", engine_times("exact", (8, 10, 12), 4))
    if "mcmc" in wanted:
        show("Partition MCMC, SplineSEM, no bags, 2,000 draws", engine_times("mcmc", (12, 20), 3))
    if "flow" in wanted:
        show("FlowSEM, 5 nodes, 1,500 rows, no tiers, no bags", flow_times())
    if "paths" in wanted:
        show(f"All directed paths of {draws} random models of 5 nodes; time per model", path_scores(draws))


if __name__ == "__main__":
    main()
