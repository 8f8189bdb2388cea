# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Through which path, and is the path there at all?
#
# People who stop smoking gain weight, and weight raises blood pressure. Does quitting raise blood pressure by that
# route? Two things can be unknown here. *Given a graph*, how large is the effect along the path? That is mediation
# analysis. And *which graph*? The arrow from weight change to blood pressure may or may not be there, and an analysis
# that draws it by hand hides that doubt. This page does both: first with the graph assumed, then with a posterior
# over graphs.
#
# The data are 1,566 smokers of the NHANES I follow-up study, seen in 1971 and 1982.

# %%
import warnings

import numpy as np
import pandas as pd

import causalif as ci

pd.set_option("display.width", 120)
covariates = ["sex", "race", "age", "education", "smokeyrs", "smokeintensity", "exercise", "active", "wt71"]
smokers = ci.datasets.load_nhefs()
people = smokers.dropna(subset=["dbp"])[[*covariates, "qsmk", "wt82_71", "dbp"]]
print(f"{len(smokers) - len(people)} of {len(smokers):,} people have no blood pressure reading and are left out")
assert len(people) == 1533

# %% [markdown]
# ## The number, in one line
#
# Write $A$ for quitting (`qsmk`), $M$ for the change in weight (`wt82_71`, kg), $Y$ for diastolic blood pressure in
# 1982 (`dbp`, mm Hg) and $C$ for what was known in 1971. The total effect divides into
#
# $$E[Y(1) - Y(0)] = \underbrace{E[Y(1, M(0)) - Y(0, M(0))]}_{\text{direct}} +
# \underbrace{E[Y(1, M(1)) - Y(1, M(0))]}_{\text{indirect}} ,$$
#
# where $Y(1, M(0))$ is the blood pressure of somebody who quits but keeps the weight that they would have had as a
# smoker.
#
# ## What must be true, in plain words
#
# What was measured in 1971 accounts for who quits, who gains weight and who gets
# high blood pressure; nothing that quitting changes, other than weight, drives both weight and blood pressure; and a
# statement about two worlds at once that no experiment can check {cite:p}`tchetgen2012,zhou2022`.

# %%
drawn = ci.parse_dag("C -> {qsmk weight pressure}; qsmk -> {weight pressure}; weight -> pressure")
_ = ci.graphs.draw(drawn, highlight=["weight"])

# %%
mediation = ci.Mediation(
    outcome="dbp", treatment="qsmk", mediators=["wt82_71"], adjust=covariates, learners="linear", repeats=5
).fit(people)
print(mediation.summary())

# %%
total, direct, indirect = (float(mediation.params[term]) for term in ("total", "direct", "indirect"))
assert abs(total - direct - indirect) < 1e-8
assert indirect > 3 * mediation.std_errors["indirect"]
weight = ci.ATE(outcome="wt82_71", treatment="qsmk", adjust=covariates, learners="linear", repeats=5).fit(people)
print(f"weight change by quitting: {weight.params['ATE']:.2f} kg (standard error {weight.std_errors['ATE']:.2f})")
assert 2.5 < weight.params["ATE"] < 4.5

# %% [markdown]
# Quitting adds about three and a half kilograms; that much is certain. What weight then does to blood pressure is
# the small part: the table gives the indirect effect with its interval. A *share mediated* would be meaningless if the
# total effect is not clearly away from zero, and the library refuses to divide by it:

# %%
try:
    print(mediation.share_mediated())
except ci.errors.WeakIdentificationError as refusal:
    print(refusal)

# %% [markdown]
# ## Which graph?
#
# Time gives an order: demographics, then habits, then weight in 1971, then quitting, then weight change, then blood
# pressure. Within that order `SplineSEM` weighs all graphs: every variable is an additive function of its parents plus
# noise, scored by BIC; graphs are drawn exactly from their posterior, and the whole is repeated on bootstrap resamples
# ("bagging"), because the posterior of one table is too sure of itself.

# %%
tiers = [
    ["sex", "race"], ["age", "education"], ["smokeyrs", "smokeintensity"], ["exercise", "active", "wt71"],
    ["qsmk"], ["wt82_71"], ["dbp"],
]  # fmt: skip
search = ci.SplineSEM(
    tiers=tiers, discrete=["exercise", "active"], max_parents=4, bag=10, random_state=0, progress=False
)
posterior = search.fit(people)
print(posterior.paths("qsmk", "dbp")[["path", "stability", "bag_sd"]].round(2))

# %%
edges = posterior.edge_probabilities
print(edges.loc[["qsmk", "wt82_71", "age", "sex", "race", "wt71"], ["wt82_71", "dbp"]].round(2))
assert edges.loc["qsmk", "wt82_71"] > 0.95
assert edges.loc["wt82_71", "dbp"] < 0.75

# %% [markdown]
# The arrow from quitting to weight change is in practically every graph. The arrow from weight change to blood pressure
# is not: this search leaves it open, and `bag_sd` says how much its probability moves from one resample to the next.
#
# Why open, when the analysis above saw an indirect effect more than three standard errors from zero? Because a smooth
# function costs six coefficients in the criterion and a straight line one. `LinearSEM` allows straight lines only;
# directions come from the tiers here, so that nothing is lost in that respect.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ci.errors.DataWarning)  # it reads binary columns as numbers, and says so
    straight = ci.LinearSEM(tiers=tiers, discrete=[], bag=10, random_state=0, progress=False).fit(people)
print(straight.paths("qsmk", "dbp")[["path", "stability", "bag_sd"]].round(2))
assert straight.edge_probabilities.loc["wt82_71", "dbp"] > 0.9
assert straight.edge_probabilities.loc["age", "dbp"] < 0.3

# %% [markdown]
# With straight lines the path is there, and age, whose effect on blood pressure bends, is not. Neither model is the
# truth. A posterior over graphs is a posterior *under a model of the equations*, and a finding that depends on that
# choice should be reported with both. An analysis with the graph drawn by hand would have shown none of this.
#
# ## Averaging over the graphs
#
# `SIGMA` {cite:p}`li2025` estimates each path's effect under every graph that has it, each from its efficient
# influence function, and averages {cite:p}`hoeting1999`: graphs without the path contribute an exact zero.

# %%
averaged = ci.SIGMA(
    treatment="qsmk", outcome="dbp", posterior=posterior, min_stability=0.05, learners="linear", repeats=5
).fit(people)
print(averaged.summary())

# %%
columns = ["path", "scope", "stability", "estimate", "std_error", "within", "between", "structural_share"]
print(averaged.effects[columns].round(3).to_string(index=False))

# %% [markdown]
# Read the two scopes side by side. *Present*: the effect if the path exists. *Marginal*: with the doubt about the path
# included; the interval then starts at zero, because in a good part of the graphs the effect is exactly zero. The
# variance is split honestly: *within* is sampling error given the graph, *between* is disagreement between graphs.
#
# The standard error where the path is present is twice that of the indirect effect above. In most of these graphs
# quitting acts through weight alone; the effect along the path is then the total effect, and it is estimated as such.

# %%
path = "qsmk -> wt82_71 -> dbp"
rows = averaged.effects[averaged.effects["path"] == path].set_index("scope")
product = rows.loc["marginal", "stability"] * rows.loc["present", "estimate"]
assert abs(rows.loc["marginal", "estimate"] - product) < 1e-9
print(averaged.components(path).round(3))
print(averaged.sensitivity().round(2))

# %% [markdown]
# The same with the other posterior, where the path is nearly certain and little is left between graphs:

# %%
other = ci.SIGMA(treatment="qsmk", outcome="dbp", posterior=straight, learners="linear", repeats=5).fit(people)
print(other.effects.loc[other.effects["path"] == path, columns].round(3).to_string(index=False))

# %%
averaged.plot()

# %%
averaged.plot("stability")

# %% [markdown]
# ## Checked where the answer is known
#
# The same two steps on a simulated table: the effect along A → M → Y is 0.48, the direct effect 0.40.

# %%
rng = np.random.default_rng(1)
n = 4000
c, e = rng.normal(size=n), rng.normal(size=(2, n))
a = (rng.random(n) < 1 / (1 + np.exp(-0.8 * c))).astype(int)
m = 0.6 * a + 0.3 * c + e[0]
table = pd.DataFrame({"C": c, "A": a, "M": m, "Y": 0.4 * a + 0.8 * m + 0.4 * c + e[1]})
known = ci.SIGMA(
    treatment="A", outcome="Y", posterior=ci.SplineSEM(tiers=[["C"], ["A"], ["M"], ["Y"]], bag=10, progress=False),
    learners="linear",
).fit(table)  # fmt: skip
print(known.summary())
marginal = known.effects[known.effects["scope"] == "marginal"].set_index("path")
for name, truth in {"A -> M -> Y": 0.48, "A -> Y": 0.40}.items():
    assert abs(marginal.loc[name, "estimate"] - truth) < 4 * marginal.loc[name, "std_error"]

# %% [markdown]
# ## What would change my mind
#
# - **Hidden common causes.** Neither step survives an unmeasured cause of weight and blood pressure: diet is one.
# - **The search's model.** Additive functions with additive noise; where relations are linear and noise normal,
#   directions are not in the data, and only the tiers give them.
# - **The same rows twice.** Rows that chose the graphs also estimate the effects. `SIGMA(..., split=True)` uses two
#   halves.
# - **Selection.** Only people seen in 1982 with a reading are here.
#
# ## Limits
#
# Not every effect along a path is identified, whatever the data {cite:p}`avin2005`; where it is not, its
# interventional analogue {cite:p}`vansteelandt2017` is reported by that name. For a continuous treatment `shift=`
# compares everybody's own value with a little more of it {cite:p}`diaz2020`. Stability is a posterior probability
# under a model, not a frequency of being right; the page on structure posteriors shows how well it is calibrated. A
# threshold on stability keeps a table short; it is not a test.
