"""Adjustment sets: CPU time and memory against pgmpy, dowhy and optimaladj, side by side in one run.

    pip install pgmpy dowhy optimaladj
    python benchmarks/adjustment.py            # about ten minutes, most of it peers that run out of time
    python benchmarks/adjustment.py --quick    # one graph of each size

Random DAGs with three edges a node on average (mean degree 6; half of that below 100 nodes), nodes in random order.
Everybody gets the same graph, built beforehand in the class that they take, and the same question, each in a process of
its own with a limit of CPU time; the median of seven measurements counts. What is asked differs, and is printed beside
the times: pgmpy answers with one minimal set, dowhy and optimaladj with the optimal and the minimal set, causalif with
the optimal and the minimal set and a check that both are valid. Each peer's time is divided by that of causalif for all
of this, and by that of causalif for the same sets as the peer's.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import json
import resource
import signal
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib import metadata

import networkx as nx
import numpy as np

from causalif.graphs import adjustment_sets

LIMIT = 30
LARGE = 100_000
Answer = dict[str, list[str]]


def question(n: int, seed: int) -> tuple[nx.DiGraph, str, str]:
    """Return a random DAG, an outcome late in its order and a treatment among the outcome's ancestors."""
    rng = np.random.default_rng(seed)
    edges = 3 * n if n >= 100 else 3 * n // 2
    pairs = rng.integers(n, size=(4 * n, 2))
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    pairs = pairs[rng.permutation(len(pairs))[:edges]]
    name = [f"v{label}" for label in rng.permutation(n)]
    dag = nx.DiGraph()
    dag.add_nodes_from(sorted(name))
    dag.add_edges_from((name[a], name[b]) for a, b in pairs.tolist())
    place = {node: i for i, node in enumerate(name)}
    late = range(int(0.97 * n) - 1, 0, -1)
    y = next(name[i] for i in late if dag.in_degree(name[i]) > 1)
    above = [v for v in nx.ancestors(dag, y) if dag.in_degree(v) > 1] or list(nx.ancestors(dag, y))
    return dag, min(above, key=lambda v: abs(place[v] - 0.7 * n)), y


def with_causalif(dag: nx.DiGraph, x: str, y: str) -> Callable[[], Answer]:
    """Optimal and minimal set, both checked."""

    def run(effect: str = "total") -> Answer:
        sets = adjustment_sets(dag, x, y, effect)
        assert sets.is_valid(sets.optimal)
        assert sets.is_valid(sets.minimal)
        return {"optimal": sorted(sets.optimal), "minimal": sorted(sets.minimal)}

    return run


def with_causalif_minimal(dag: nx.DiGraph, x: str, y: str) -> Callable[[], Answer]:
    """The minimal set only."""
    return lambda: {"minimal": sorted(adjustment_sets(dag, x, y).minimal)}


def with_causalif_both(dag: nx.DiGraph, x: str, y: str) -> Callable[[], Answer]:
    """The optimal and the minimal set, unchecked."""

    def run() -> Answer:
        sets = adjustment_sets(dag, x, y)
        return {"optimal": sorted(sets.optimal), "minimal": sorted(sets.minimal)}

    return run


def with_causalif_wcde(dag: nx.DiGraph, x: str, y: str) -> Callable[[], Answer]:
    """The same for the weighted controlled direct effect."""
    run = with_causalif(dag, x, y)
    return lambda: run("wcde")


def with_causalif_cut(dag: nx.DiGraph, x: str, y: str) -> Callable[[], Answer]:
    """The minimum-cost set."""
    return lambda: {"minimum cost": sorted(adjustment_sets(dag, x, y).minimum_cost)}


def with_pgmpy(dag: nx.DiGraph, x: str, y: str) -> Callable[[], Answer]:
    """One minimal set, as the class Adjustment finds it."""
    from pgmpy.base import DAG
    from pgmpy.identification import Adjustment

    graph = DAG(list(dag.edges), roles={"exposures": x, "outcomes": y})

    def run() -> Answer:
        found, success = Adjustment(variant="minimal").identify(graph)
        return {"minimal": sorted(found.get_role("adjustment")) if success else []}

    return run


def with_pgmpy_older(dag: nx.DiGraph, x: str, y: str) -> Callable[[], Answer]:
    """One minimal set, as the older class CausalInference finds it."""
    from pgmpy.base import DAG
    from pgmpy.inference import CausalInference

    graph = DAG(list(dag.edges))
    return lambda: {"minimal": sorted(CausalInference(graph).get_minimal_adjustment_set(x, y))}


def with_dowhy(dag: nx.DiGraph, x: str, y: str) -> Callable[[], Answer]:
    """Optimal and minimal set; a copy, because costs are written into the graph that is given."""
    from dowhy.causal_identifier.efficient_backdoor import EfficientBackdoor

    def run() -> Answer:
        search = EfficientBackdoor(dag.copy(), [x], [y], list(dag))
        return {"optimal": sorted(search.optimal_adj_set()), "minimal": sorted(search.optimal_minimal_adj_set())}

    return run


def with_optimaladj(dag: nx.DiGraph, x: str, y: str) -> Callable[[], Answer]:
    """Optimal and minimal set."""
    from optimaladj.CausalGraph import CausalGraph

    graph = CausalGraph()
    graph.add_nodes_from(dag)
    graph.add_edges_from(dag.edges)
    nodes = list(dag)
    return lambda: {
        "optimal": sorted(graph.optimal_adj_set(x, y, [], nodes)),
        "minimal": sorted(graph.optimal_minimal_adj_set(x, y, [], nodes)),
    }


TOOLS = {
    "causalif": with_causalif,
    "causalif minimal": with_causalif_minimal,
    "causalif both": with_causalif_both,
    "causalif wcde": with_causalif_wcde,
    "causalif cut": with_causalif_cut,
    "pgmpy Adjustment": with_pgmpy,
    "pgmpy CausalInference": with_pgmpy_older,
    "dowhy": with_dowhy,
    "optimaladj": with_optimaladj,
}


def one(tool: str, n: int, seed: int) -> None:
    """Answer one question in this process; print the result as JSON."""
    warnings.simplefilter("ignore")
    dag, x, y = question(n, seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = TOOLS[tool](dag, x, y)
    allowed = int(time.process_time() + LIMIT) + 1  # on a busy machine a limit of wall time would stop the wrong ones
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.RLIM_INFINITY))
    start = time.process_time()
    answer = run()
    calls = int(np.clip(0.05 / max(time.process_time() - start, 1e-4), 1, 500))  # the clock may tick slowly
    seconds = []
    for _ in range(7):
        start = time.process_time()
        for _ in range(calls):
            run()
        seconds.append((time.process_time() - start) / calls)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": statistics.median(seconds), "answer": answer, "peak": peak, "graph": before}))


def ask(tool: str, n: int, seed: int) -> dict:
    """Answer one question in a process of its own."""
    command = [sys.executable, __file__, "--one", tool, str(n), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == -signal.SIGXCPU:
        return {"failed": f"over {LIMIT:g} s"}
    if done.returncode:
        error = done.stderr.strip().splitlines()[-1]
        return {
            "failed": "not installed" if "ModuleNotFoundError" in error else f"{error.split(':')[0].split('.')[-1]}"
        }
    return json.loads(done.stdout.splitlines()[-1])


def describe(result: dict, ours: dict, alike: dict) -> str:
    """One line: time, ratios to ours, kind and size of the sets, and whether they are the same as ours."""
    if "failed" in result:
        return f"{result['failed']:>12}"
    sizes = ", ".join(f"{kind} {len(nodes)}" for kind, nodes in result["answer"].items())
    same = [kind for kind, nodes in result["answer"].items() if ours["answer"].get(kind) == nodes]
    ratios = [result["seconds"] / other["seconds"] for other in (ours, alike)]
    times = f"{result['seconds']:>10.4f} s {ratios[0]:>8.1f}x {ratios[1]:>8.1f}x"
    return f"{times}  {sizes}; same as ours: {', '.join(same) or 'none'}"


def small_graphs(sizes: list[int], seeds: range) -> None:
    """Print everybody's times on graphs that the peers may manage."""
    print(
        "\nSmall and middling graphs: CPU seconds (median of 7), ratio to causalif doing everything, ratio to causalif"
    )
    print("finding the same kinds of sets, kinds and sizes of the sets")
    for n in sizes:
        for seed in seeds:
            ours, minimal, both = (ask(tool, n, seed) for tool in ("causalif", "causalif minimal", "causalif both"))
            print(f"n = {n}, seed {seed}")
            print(f"  {'causalif':<22}{describe(ours, ours, ours)}; both valid")
            for tool in TOOLS:
                if tool.startswith("causalif") or (n > 100 and not tool.startswith("pgmpy")):
                    continue
                alike = minimal if tool.startswith("pgmpy") else both
                print(f"  {tool:<22}{describe(ask(tool, n, seed), ours, alike)}", flush=True)


def large_graph(n: int, seeds: range) -> None:
    """Print time and memory on a graph that only a linear search manages."""
    print(f"\nn = {n:,}: optimal and minimal set and validity of both, from a networkx.DiGraph")
    for seed in seeds:
        for tool in ("causalif", "causalif wcde", "causalif cut"):
            result = ask(tool, n, seed)
            if "failed" in result:
                print(f"  seed {seed} {tool:<14} {result['failed']}")
                continue
            sizes = ", ".join(f"{kind} {len(nodes)}" for kind, nodes in result["answer"].items())
            peak, before = result["peak"] / 1024, result["graph"] / 1024
            memory = f"peak {peak:.0f} MB, {before:.0f} MB of it before the search (interpreter, graph)"
            print(f"  seed {seed} {tool:<14}{result['seconds']:>7.3f} s CPU, {memory}; {sizes}", flush=True)


def versions() -> str:
    """Versions of everybody, for the record."""
    found = []
    for name in ("networkx", "pgmpy", "dowhy", "optimaladj"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one graph of each size")
    parser.add_argument("--one", nargs=3, metavar=("TOOL", "N", "SEED"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one[0], int(arguments.one[1]), int(arguments.one[2]))
        return
    print(versions())
    seeds = range(1 if arguments.quick else 3)
    small_graphs([12, 16, 24, 100, 1000], seeds)
    large_graph(LARGE, seeds)


if __name__ == "__main__":
    main()
