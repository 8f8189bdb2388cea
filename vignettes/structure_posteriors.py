# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Which graph? A posterior instead of a guess
#
# Every effect along a path rests on a graph, and the graph is seldom known. Methods that search for *the* graph answer
# with one picture and no doubt. causalif answers with a **posterior over graphs**: many graphs, each with a weight, so
# that every later number can say how far it depends on the choice.
#
# ## The number, in one line
#
# A directed path $\pi$ is in a graph $G$ if all of its arrows are. Its **path stability score** is the posterior
# probability of that,
#
# $$\mathrm{PSS}(\pi) = \sum_G 1(\pi \subset G)\, p(G \mid \text{data}), \qquad
# p(G \mid \text{data}) \propto p(G) \prod_j \exp\{\text{score}_j(\text{parents of } j \text{ in } G)\} .$$
#
# This page uses simulated tables only, so that every claim can be held against the truth.

# %%
import time
import warnings
from itertools import pairwise, permutations

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pandas as pd

import causalif as ci
from causalif.datasets import simulate_null_sem, simulate_random_sem, simulate_sem1

# %% [markdown]
# ## Five columns, two paths
#
# `A` acts on `Y` directly and through `M1` and `M2`; `C` acts on `A` and `Y`. All relations are curved.

# %%
data, truth = simulate_sem1(1_500, random_state=0)
print(truth["edges"])
start = time.perf_counter()
posterior = ci.SplineSEM().fit(data)
seconds = time.perf_counter() - start
print(posterior.summary())

# %%
paths = posterior.paths("A", "Y")
print(paths.drop(columns="nodes").round(3).to_string())
assert set(paths.loc[paths["stability"] > 0.5, "nodes"]) == set(truth["paths"])
assert seconds < 20

# %% [markdown]
# Three columns answer three questions: `stability`, is this very path there; `via`, does some path visit these
# nodes in this order; `ancestor`, does `A` act on `Y` at all. `lower` and `upper` are about the number of graphs
# drawn, nothing else.
#
# ## How it works, in five sentences
#
# 1. Every node is regressed on each of its possible parent sets: additive cubic splines for continuous nodes,
#    (multinomial) logistic regression for others. One table of cross products serves all of them.
# 2. Each regression gets its Bayesian information criterion; a graph's score is the sum over its nodes.
# 3. For up to twelve columns, or more when tiers divide them, all graphs are summed **exactly** and graphs are drawn
#    independently from the result. There are 29,281 graphs on five nodes and about $5 \times 10^{26}$ on twelve.
# 4. This is repeated on 20 bootstrap resamples of the rows, and the average is the posterior {cite:p}`huggins2023`.
# 5. The direction of an edge between continuous columns is learned from curvature: a curve with independent noise has
#    no equally good reverse {cite:p}`hoyer2009`.
#
# Less data, more doubt. With 150 rows the posterior spreads:

# %%
few, _ = simulate_sem1(150, random_state=3)
doubtful = ci.SplineSEM().fit(few)
print(doubtful.paths("A", "Y").drop(columns="nodes").round(3).to_string())
print(f"entropy: {posterior.entropy:.2f} nats with 1,500 rows, {doubtful.entropy:.2f} with 150")
assert doubtful.entropy > posterior.entropy + 0.5
ax = doubtful.plot()
_ = ax.set_title("150 rows: probability of every edge", fontsize=10)

# %% [markdown]
# ## When nothing is there
#
# The same five columns, but nothing depends on `A`. The table of paths is nearly empty, and no path comes near the
# usual threshold for screening, 0.15.

# %%
null = [ci.SplineSEM(random_state=seed).fit(simulate_null_sem(500, random_state=seed)[0]) for seed in range(10)]
highest = [max(found.paths("A", "Y")["stability"], default=0.0) for found in null]
print("highest stability of any path from A to Y, ten tables:", np.round(highest, 3))
assert sum(value >= 0.15 for value in highest) <= 1

# %% [markdown]
# ## Is 0.8 really 0.8?
#
# Draw random models of five nodes, fit each, and look at all 200 directed paths of at most three edges. If the
# posterior is honest, of the paths with stability near 0.8 about 80% are there. Small samples are the hard case:
# n = 150.

# %%
names = [f"X{k}" for k in range(1, 6)]
every_path = [path for size in (2, 3, 4) for path in permutations(range(5), size)]
assert len(every_path) == 200


def stated(found: ci.DAGPosterior) -> np.ndarray:
    """Stability of each of the 200 paths."""
    there, w = found.adjacency == 1, found.weights.to_numpy()
    return np.array([w @ np.all([there[:, j, i] for j, i in pairwise(path)], axis=0) for path in every_path])


def study(model: ci.SplineSEM | ci.LinearSEM, form: str, n: int, models: int) -> tuple[np.ndarray, np.ndarray]:
    """Stabilities of all paths of many random models, and which of the paths are there."""
    said, true = [], []
    for number in range(models):
        table, answer = simulate_random_sem(n, random_state=1_000 + number, form=form)
        edges = set(answer["edges"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ci.errors.IdentificationWarning)  # some show no bend; see below
            said.append(stated(model.fit(table)))
        true.append([all((names[j], names[i]) in edges for j, i in pairwise(path)) for path in every_path])
    return np.concatenate(said), np.concatenate(true)


def log_loss(said: np.ndarray, true: np.ndarray, draws: int = 2_000) -> float:
    """Mean surprise in nats; 0 and 1 out of 2,000 draws count as half a draw."""
    clipped = np.clip(said, 0.5 / draws, 1 - 0.5 / draws)
    return float(-np.mean(np.where(true, np.log(clipped), np.log1p(-clipped))))


models = 20
one, bagged = (study(ci.SplineSEM(bag=bag), "nonlinear", 150, models) for bag in (0, 20))
print(f"one posterior:          log-loss {log_loss(*one):.4f}")
print(f"average over 20 bags:   log-loss {log_loss(*bagged):.4f}")
assert log_loss(*bagged) < log_loss(*one)

# %% [markdown]
# A single posterior takes the sample for the truth and is too sure of itself: half and more of the paths that it all
# but rules out, at stabilities between 0.02 and 0.1, are there. Averaging over resamples of the rows mends that, and
# errs on the careful side: what it calls likely is nearly always there. Below, each point is a group of paths: what was
# said, and how often it was true.

# %%
fig, ax = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
ax.plot([0, 1], [0, 1], color="#8a8a8a", linewidth=1)
for (said, true), label, marker in ((one, "one posterior", "s"), (bagged, "average over 20 bags", "o")):
    group = pd.cut(said, [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.01])
    line = pd.DataFrame({"said": said, "true": true}).groupby(group, observed=True).agg(["mean", "size"])
    ax.plot(line["said", "mean"], line["true", "mean"], marker=marker, label=label)
    print(label, line.droplevel(0, axis=1).round(3).to_string(), sep="\n")
doubted = [true[(said > 0.02) & (said <= 0.1)].mean() for said, true in (one, bagged)]
assert doubted[0] > 0.5
assert doubted[1] < 0.1
assert bagged[1][bagged[0] > 0.7].mean() > 0.97
ax.set_xlabel("path stability score")
ax.set_ylabel("share of paths that are there")
_ = ax.legend(frameon=False)

# %% [markdown]
# ## Straight lines: what no data can tell
#
# Where all relations are straight lines and the noise is normal, cause and effect look the same, whatever the sample
# size. A method that finds directions there invents them. `SplineSEM` says so:

# %%
straight, answer = simulate_random_sem(500, random_state=4, form="linear")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    invented = ci.SplineSEM().fit(straight)
print(caught[0].message)
print(invented.diagnostics["equations"].round(2).to_string())
assert issubclass(caught[0].category, ci.errors.IdentificationWarning)
assert (invented.diagnostics["equations"]["nonlinearity"] < 0).all()

# %% [markdown]
# Column `nonlinearity` is what curves gain over straight lines, in units of log likelihood and after the charge for
# their extra coefficients: negative everywhere. `LinearSEM` uses a score that is the same for all graphs that imply the
# same independences {cite:p}`geiger2002`, so it leaves open what is open. Over the same random models:

# %%
spline = study(ci.SplineSEM(), "linear", 500, models)
linear = study(ci.LinearSEM(), "linear", 500, models)
print(f"SplineSEM: log-loss {log_loss(*spline):.4f}     LinearSEM: log-loss {log_loss(*linear):.4f}")
assert log_loss(*linear) < log_loss(*spline)

# %% [markdown]
# ## Tiers: the main source of direction
#
# In most studies the order of events is known: background before treatment before outcome. `tiers` says so, and rules
# out every edge that goes back in time. Here the true order of the nodes settles all directions, and the question that
# is left, which edges are there at all, is one that data can answer.

# %%
dag = nx.DiGraph(answer["edges"])
tiers = [[name] for name in nx.topological_sort(dag)]
assert len(tiers) == 5
known = ci.SplineSEM(tiers=tiers).fit(straight)
print("tiers:", tiers)
table = known.edge_probabilities
there = np.array([[(j, i) in set(answer["edges"]) for i in table.columns] for j in table.index])
print("probability of true edges:", np.round(np.sort(table.to_numpy()[there]), 2))
print("entropy without tiers:", round(invented.entropy, 2), " with tiers:", round(known.entropy, 2))
assert known.entropy < invented.entropy

# %% [markdown]
# ## Your own graphs
#
# A posterior can also come from elsewhere, experts or another program: graphs and weights are enough.

# %%
experts = ci.DAGPosterior.from_dags(
    [nx.DiGraph([("A", "M"), ("M", "Y")]), nx.DiGraph([("A", "M"), ("M", "Y"), ("A", "Y")])],
    weights=[3, 1],
    effective_sample_size=float("inf"),
)
print(experts.paths("A", "Y")[["path", "stability", "via"]])
assert experts.stability(("A", "Y")).pss == 0.25

# %% [markdown]
# ## What must be true, in plain words
#
# No hidden common causes, no cycles, independent rows, and equations of the model's form. The posterior knows nothing
# of a violation: it says which graphs the data prefer *if* one of them is right. Thresholds such as 0.15 screen paths;
# they are not tests:

# %%
print(doubtful.thresholds("A", "Y").round(3))

# %% [markdown]
# ## What would change my mind
#
# - **Another model of the equations.** Fit two, and report a path that only one of them finds with both numbers.
# - **A cause of two columns that is not in the table.** It looks like an arrow between them.
# - **A column measured later than it is drawn**, which `tiers` then rule out.
#
# ## Limits
#
# Exact sums end at twelve columns, or at more where tiers divide them; beyond, Markov chains take over
# {cite:p}`kuipers2017`. Additive equations charge as many coefficients for a straight line as for a curve, so that weak
# straight effects are found by `LinearSEM` earlier than by `SplineSEM`.
