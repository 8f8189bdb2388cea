"""A posterior over DAGs in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from causalif.graphs.posterior import DAGPosterior

_HEAD = {
    "model": "Model", "rows": "Rows", "nodes": "Nodes", "engine": "Engine", "bags": "Bags", "prior": "Prior",
    "max_parents": "Largest in-degree", "tiers": "Tiers", "random_state": "Random state",
}  # fmt: skip


def describe(posterior: DAGPosterior, most: int) -> str:
    """Return settings, spread of the posterior and its most likely edges as text."""
    lines = ["Posterior over DAGs", "=" * 72, *_settings(posterior), "-" * 72, *_spread(posterior), "-" * 72]
    lines += _edges(posterior, most)
    lines += ["-" * 72, _error(posterior)]
    if not posterior.complete:
        lines.append("Stopped early by a time limit or an interrupt: not all of the work was done.")
    return "\n".join(lines)


def _settings(posterior: DAGPosterior) -> list[str]:
    found = []
    for key, label in _HEAD.items():
        value = posterior.settings.get(key)
        if value is None:
            continue
        text = " < ".join(", ".join(tier) for tier in value) if key == "tiers" else f"{value}"
        found.append(f"{label + ':':<20}{text}")
    return found


def _spread(posterior: DAGPosterior) -> list[str]:
    size = posterior.effective_sample_size
    top = float(posterior.weights.iloc[0])
    lines = [
        f"{'Different DAGs:':<20}{len(posterior.adjacency):,}; the likeliest has weight {top:.3f}",
        f"{'Entropy:':<20}{posterior.entropy:.3f} nats",
        f"{'Effective draws:':<20}{'enumerated' if np.isinf(size) else f'{size:,.0f}'}",
    ]
    if posterior.log_evidence is not None:
        lines.append(f"{'Log evidence:':<20}{posterior.log_evidence:,.3f}")
    if posterior.bound is not None:
        lines.append(f"{'Lower bound:':<20}{posterior.bound:,.3f}")
    return lines


def _edges(posterior: DAGPosterior, most: int) -> list[str]:
    table = posterior.edge_probabilities.to_numpy()
    order = np.argsort(-table, axis=None, kind="stable")
    pairs = [np.unravel_index(flat, table.shape) for flat in order]
    shown = [(j, i) for j, i in pairs if table[j, i] >= 0.005][:most]
    width = max((len(posterior.names[j]) + len(posterior.names[i]) + 4 for j, i in shown), default=0)
    exact = ", exact" if posterior.edges is not None else ""
    lines = [f"Edge probabilities{exact} (reverse direction beside)"]
    for j, i in shown:
        name = f"{posterior.names[j]} -> {posterior.names[i]}"
        lines.append(f"  {name:<{width}}  {table[j, i]:.3f}  ({table[i, j]:.3f})")
    more = int((table >= 0.005).sum()) - len(shown)
    return lines + ([f"  and {more} more of at least 0.005"] if more > 0 else [])


def _error(posterior: DAGPosterior) -> str:
    if np.isinf(posterior.effective_sample_size):
        return "Every DAG with weight was listed: probabilities of paths have no Monte Carlo error."
    worst = 0.5 / np.sqrt(posterior.effective_sample_size)
    return (
        f"Probabilities of paths have a Monte Carlo standard error of at most {worst:.3f}.\n"
        "Their intervals speak of that error only, not of whether the model is right."
    )
