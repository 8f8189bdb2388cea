# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What to adjust for
#
# Two analysts estimate the same effect from the same table. One adjusts for everything that was measured, the other
# for the causes of the treatment. Both may be wrong, and if both are right, one pays for it with wider intervals.
# Which columns to adjust for is a question about causes, not about the data, and once the causes are drawn it can be
# answered exactly.

# %%
import networkx as nx
import numpy as np

import causalif as ci

# %% [markdown]
# ## The number, in one line
#
# With a valid set $Z$ the effect is $\theta = E\{E[Y \mid A = 1, Z] - E[Y \mid A = 0, Z]\}$, and the best that an
# estimator can do with it has the variance
#
# $$V(Z) = E\left[\frac{\mathrm{var}(Y \mid A = 1, Z)}{P(A = 1 \mid Z)} +
# \frac{\mathrm{var}(Y \mid A = 0, Z)}{P(A = 0 \mid Z)}\right] +
# \mathrm{var}\{E[Y \mid A = 1, Z] - E[Y \mid A = 0, Z]\} .$$
#
# Every valid set has the same $\theta$, not the same $V(Z)$: what explains the outcome lowers it, and what explains
# the treatment only raises it. The set with the smallest $V$ can be read off the graph
# {cite:p}`rotnitzky2020,henckel2022`.
#
# ## What must be true, in plain words
#
# 1. The graph has every common cause of two of its nodes, measured or not.
# 2. Arrows that are not drawn are not there; arrows that are drawn may be weak.
# 3. It has no cycles: nothing acts on its own past.
#
# ## A graph and a question
#
# An arrow says "acts on directly". What is *not* drawn is what we claim to know: a missing arrow is an assumption,
# and so is every common cause that is left out. `A` is the treatment, `Y` the outcome, `U` was never measured.

# %%
dag = ci.parse_dag("""
    {V C} -> A                  # causes of the treatment
    A -> M1; {A C M1} -> M2     # what the treatment acts through
    {A C W M1 M2} -> Y
    U [latent]; U -> W          # never measured
    Y -> S                      # a consequence of the outcome
""")
sets = ci.adjustment_sets(dag, treatment="A", outcome="Y")
print(sets)

# %% [markdown]
# The **optimal** set has the smallest asymptotic variance of all valid ones, whatever the law of the data, as long
# as the graph is right; "proved" says that this graph meets the conditions of the theorem. The **minimal** set is
# all that is needed against bias. `W` does not confound anything, but it explains the outcome.

# %%
assert sets.optimal == {"C", "W"}
assert sets.optimality == "proved"
assert sets.minimal == {"C"}
ax = sets.plot()

# %% [markdown]
# ## Why this column, and why not that set?
#
# Every answer comes with the path that shows it.

# %%
for node in ["C", "W", "V", "M1", "S", "U"]:
    print(f"{node:>3}: {sets.explain(node)}")

# %%
for candidate in [{"C", "V"}, {"W"}, {"C", "M1"}, {"C", "W", "S"}]:
    print(f"{sorted(candidate)}: {sets.why_not(candidate)}")
assert sets.is_valid({"C", "V"})
assert not sets.is_valid({"C", "W", "S"})

# %% [markdown]
# Adjusting for a consequence of the outcome is refused, however well it predicts. So is a collider: below, `K` is a
# common effect of two causes that were not measured, and adjusting for it opens a path that was closed.

# %%
butterfly = ci.parse_dag("P -> {K A}; Q -> {K Y}; A -> Y")
with_collider = ci.adjustment_sets(butterfly, "A", "Y", observed=["K"])
print(with_collider.explain("K"))
assert with_collider.optimal == frozenset()
assert with_collider.explain("K").path == ("A", "P", "K", "Q", "Y")

# %% [markdown]
# If nothing helps, the error says what to measure.

# %%
try:
    ci.adjustment_sets(dag, "A", "Y", observed=["V", "W", "M1", "M2"])
except ValueError as error:
    refusal = str(error)
print(refusal)
assert "Measure 'C'" in refusal

# %% [markdown]
# Measuring costs money. With `costs`, `minimum_cost` is the cheapest valid set.

# %%
survey = ci.parse_dag("{X1 X2} -> A; {X1 X2} -> K -> Y; A -> Y")
cheap = ci.adjustment_sets(survey, "A", "Y")
dear = ci.adjustment_sets(survey, "A", "Y", costs={"K": 2.5})
print("K costs 1.0:", set(cheap.minimum_cost), "  K costs 2.5:", sorted(dear.minimum_cost))
assert cheap.minimum_cost == {"K"}
assert dear.minimum_cost == {"X1", "X2"}

# %% [markdown]
# ## Another effect, another set
#
# The weighted controlled direct effect {cite:p}`lin2025` holds the mediators fixed, so here they belong into the
# set, and the optimal one consists of the other parents of the outcome. In MILDEW, a published network of mildew on
# wheat over four periods, the sets for the two effects of an early microclimate on the last mildew have one node in
# common, out of nine and three.

# %%
MILDEW = """
lai_0 -> lai_1; meldug_1 -> {lai_1 meldug_2}; lai_1 -> {foto_1 lai_2 mikro_1}; temp_1 -> {foto_1 mikro_1}
straaling_1 -> foto_1 -> dm_1 -> dm_2; nedboer_1 -> mikro_1 -> meldug_2; middel_1 -> meldug_2
meldug_2 -> {lai_2 meldug_3}; lai_2 -> {foto_2 lai_3 mikro_2}; temp_2 -> {foto_2 mikro_2}
straaling_2 -> foto_2 -> dm_2 -> dm_3; nedboer_2 -> mikro_2 -> meldug_3; middel_2 -> meldug_3
meldug_3 -> {lai_3 meldug_4}; lai_3 -> {foto_3 lai_4 mikro_3}; temp_3 -> {foto_3 mikro_3}
straaling_3 -> foto_3 -> dm_3 -> dm_4; nedboer_3 -> mikro_3 -> meldug_4; middel_3 -> meldug_4
meldug_4 -> lai_4 -> foto_4; temp_4 -> foto_4; straaling_4 -> foto_4 -> dm_4 -> udbytte
"""
mildew = ci.parse_dag(MILDEW)
print(mildew.number_of_nodes(), "nodes,", mildew.number_of_edges(), "arrows\n")
early, late = "mikro_1", "meldug_4"
both = {effect: ci.adjustment_sets(mildew, early, late, effect) for effect in ("total", "wcde")}
for found in both.values():
    print(found, "\n")
assert mildew.number_of_edges() == 46
assert len(both["total"].optimal) == 9
assert both["wcde"].optimal == {"meldug_3", "middel_3", "mikro_3"}
assert both["total"].optimal & both["wcde"].optimal == {"middel_3"}
assert both["wcde"].zero_by_graph

# %% [markdown]
# The search takes time in proportion to nodes and arrows, so a graph of thousands of nodes is no trouble; no path is
# ever enumerated.
#
# ## Half a graph
#
# Data alone rarely settle every arrow. `B -- C` says that two nodes are adjacent and that nobody knows which acts on
# which; the graph then stands for all the graphs that fit. If all of them agree, there is an answer that holds for
# each; otherwise the error names the arrow to find out.

# %%
partial = ci.parse_dag("V -> A; C -> A; C -- W; {C W A} -> Y")
print(ci.adjustment_sets(partial, "A", "Y"))
assert ci.adjustment_sets(partial, "A", "Y").optimal == {"C", "W"}
try:
    ci.adjustment_sets(ci.parse_dag("A -- C; {A C} -> Y"), "A", "Y")
except ValueError as error:
    undecided = str(error)
print(undecided)
assert "Find the direction of A -- C" in undecided

# %% [markdown]
# ## What the choice is worth
#
# Seven yes-or-no columns from a law that is known exactly, with the arrows drawn above. `compare_sets` estimates the
# effect with several valid sets, all on the same folds.

# %%
simulated = ci.datasets.simulate_wcde(20_000, random_state=1)
compared = ci.compare_sets(dag, simulated.data, "A", "Y", learners="linear")
print(compared)
print("truth:", round(simulated.truth["ATE"], 4))

# %%
ax = compared.plot()
ax.axvline(simulated.truth["ATE"], color="#c0392b", linewidth=1, linestyle=":")

# %%
errors = compared.to_frame().set_index("set")["std_error"]
wasted = (errors["parents of A"] / errors["optimal"]) ** 2 - 1
print(f"Adjusting for the parents of the treatment takes {wasted:.0%} more rows for the same precision.")
assert 0.1 < wasted < 0.3
for fit in compared.fits:
    assert abs(fit.params["ATE"] - simulated.truth["ATE"]) < 3 * fit.std_errors["ATE"]

# %% [markdown]
# All sets are valid, so they estimate one number, and their differences are chance. How large a difference chance
# allows follows from the influence values, because the estimates share their rows: the differences have much smaller
# errors than the estimates. The test at the foot of the table puts all differences together. Here it finds nothing.
#
# Sharing rows has another side. In this draw the truth, dotted, is 2.3 standard errors from the optimal set's
# estimate, which happens in one draw out of fifty, and most of the other intervals miss it as well. Estimates that
# agree are not several pieces of evidence.

# %%
table = compared.to_frame()
missed = (table["conf_low"] > simulated.truth["ATE"]) | (table["conf_high"] < simulated.truth["ATE"])
away = abs(table["estimate"] - simulated.truth["ATE"]) / table["std_error"]
print(table.assign(missed=missed, away=away)[["set", "estimate", "away", "missed"]].round(3))
assert round(away[0], 1) == 2.3
assert missed.sum() == 3

# %% [markdown]
# That makes it a **test of the graph**. Suppose the drawing leaves out that `V` acts on the outcome, too:

# %%
rng = np.random.default_rng(2)
wrong = simulated.data.assign(Y=simulated.data["Y"] + 0.15 * simulated.data["V"] + rng.normal(0, 0.1, 20_000))
doubted = ci.compare_sets(dag, wrong, "A", "Y", learners="linear")
print(doubted.agreement)
print(doubted.to_frame()[["set", "estimate", "std_error", "difference", "difference_std_error"]].round(4))
assert compared.agreement.p_value > 0.05
assert doubted.agreement.p_value < 1e-6

# %% [markdown]
# Sets with `V` and sets without it contradict each other, which the graph says they cannot. With the missing arrow
# drawn, `V` is needed, and the sets agree again.

# %%
mended = nx.DiGraph(dag)
mended.add_edge("V", "Y")
again = ci.compare_sets(mended, wrong, "A", "Y", learners="linear")
print(again.agreement)
print(sorted(ci.adjustment_sets(mended, "A", "Y").minimal))
assert again.agreement.p_value > 0.05
assert ci.adjustment_sets(mended, "A", "Y").minimal == {"C", "V"}

# %% [markdown]
# ## What would change my mind
#
# - **Sets that disagree**, as above: then an arrow or a common cause is missing.
# - **A common cause that nobody drew.** It biases all sets alike, so that no comparison finds it.
# - **An arrow the other way round**, such as one from the outcome to a covariate: every answer on this page changes.
#
# ## Limits
#
# A test that finds nothing does not prove the graph. And the table is **not a menu**: whoever picks the set with
# the nicest estimate reports a biased one, and whoever picks the smallest standard error reports one that is too
# small. Choose by the graph, before looking. Optimal means the smallest variance in large samples, of estimators
# that use nothing but the set; validity and search follow {cite:t}`perkovic2018` and {cite:t}`vanderzander2019`.
