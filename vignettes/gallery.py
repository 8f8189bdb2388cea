# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Every plot, by question
#
# All plots take an optional matplotlib `ax` and return it, so that they can be placed, titled and changed like any
# other. None of them touches matplotlib's settings. They need `pip install 'causalif[plot]'`.

# %%
import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import causalif as ci
from causalif.graphs import draw
from causalif.results import plots
from causalif.valuation import plots as value_plots

# %% [markdown]
# ## How large, and how sure?
#
# **`Estimate.plot`**, for the result of any estimator. A dot is an estimate and the bar its 95% interval;
# `joint=True` widens the bars until they hold for all terms at once. A bar that crosses the dashed line is
# compatible with no effect; the line is left out where zero is further from all bars than they reach. Means such as
# E[Y(1)] are left out beside effects, whose size they would dwarf.

# %%
smokers = ci.datasets.load_nhefs().dropna(subset=["dbp"])
before = ["sex", "race", "age", "education", "smokeyrs", "smokeintensity", "exercise", "active", "wt71"]
mediation = ci.Mediation(outcome="dbp", treatment="qsmk", mediators=["wt82_71"], adjust=before, learners="linear")
ax = mediation.fit(smokers).plot(joint=True)
_ = ax.set_title("Quitting smoking and blood pressure, mm Hg")

# %% [markdown]
# **`compare(...).plot`** puts one term of several estimates side by side. Bars that overlap do not show that
# estimates agree: test the difference.

# %%
question = {"outcome": "wt82_71", "treatment": "qsmk", "learners": "linear"}
crude = ci.ATE(**question).fit(smokers)
adjusted = ci.ATE(**question, adjust=before, repeats=9).fit(smokers)
ax = ci.compare({"unadjusted": crude, "adjusted": adjusted}).plot()
_ = ax.set_title("Quitting smoking and weight change, kg")

# %% [markdown]
# **`results.plots.splits`** shows what each random split of the rows gave, from the lowest to the highest, on the
# band of the pooled interval. Dots should scatter much less than the band is high; if they do not, raise `repeats`.

# %%
ax = plots.splits(adjusted, "ATE")

# %% [markdown]
# ## Does it hold if an assumption fails?
#
# **`comparators().plot`** of an instrumental-variable fit: what estimators that assume more would have said. Here the
# effect is 1, dotted, and only the two at the foot do not need exclusion.

# %%
simulated = ci.datasets.simulate_invalid_iv_binary(20_000, random_state=1)
fit = ci.InvalidIVATE(outcome="y", treatment="a", instrument="z", adjust=["x1", "x2"], learners="linear").fit(
    simulated.data
)
ax = fit.comparators().plot()
_ = ax.axvline(simulated.truth["ATE"], color="black", linestyle=":")

# %% [markdown]
# **`sensitivity().plot`**: the estimate and its interval, corrected for a condition that fails by the size along the
# horizontal axis. The answer is in doubt from the square, where the interval reaches zero, and overturned at the dot.

# %%
ax = fit.sensitivity("direct effect by treatment").plot()

# %% [markdown]
# **`results.plots.intervals`** draws intervals that come from elsewhere, such as `robust_set`, which is right however
# weak the instrument is. If it agrees with the interval by standard errors, the instrument is strong enough for both.

# %%
wald, robust = fit.weighted.conf_int().iloc[0], fit.robust_set()
centre, ends = np.repeat(fit.weighted.values, 2), np.array([wald, *robust])
ax = plots.intervals(["standard error", "robust set"], centre, ends, "weighted effect and 95% interval")

# %% [markdown]
# ## For whom?
#
# **`effect_by(...).plot`**: each bar is how much the effect changes per unit of a covariate; the intercept is the
# effect where all of them are zero.

# %%
ax = fit.effect_by(["x1", "x2"]).plot()

# %% [markdown]
# **`WCDEResult.curve.plot`**: the controlled direct effect at each value of the mediators. Bars at different heights,
# with `joint=True`, mean that the effect depends on where the mediators are held.

# %%
designed = ci.datasets.simulate_wcde(20_000, random_state=1)
roles = {"outcome": "Y", "treatment": "A", "mediators": ["M1", "M2"], "adjust": ["C", "W"], "learners": "linear"}
ax = ci.WCDE(**roles).fit(designed.data).curve.plot(joint=True)

# %% [markdown]
# ## What to adjust for?
#
# **`graphs.draw`**: an arrow says "acts on directly". Latent nodes are dashed; a line without a head is an arrow
# whose direction is not known; `highlight` fills nodes.

# %%
dag = ci.parse_dag("""
    {V C} -> A; A -> M1; {A C M1} -> M2; {A C W M1 M2} -> Y
    U [latent]; U -> W; Y -> S
""")
ax = draw(dag, highlight=["M1", "M2"])

# %%
ax = draw(ci.parse_dag("V -> A; C -> A; C -- W; {C W A} -> Y"))

# %% [markdown]
# **`adjustment_sets(...).plot`**: treatment and outcome have thick edges, the optimal set is blue, what was not
# measured is dashed.

# %%
ax = ci.adjustment_sets(dag, "A", "Y").plot()

# %% [markdown]
# **`compare_sets(...).plot`**: one estimate per valid set, on the same folds, with a line at that of the optimal set.
# If the graph is right all of them estimate one number, and the optimal set's bar is the shortest.

# %%
ax = ci.compare_sets(dag, designed.data, "A", "Y", learners="linear").plot()

# %% [markdown]
# ## Which graph, and through which path?
#
# **`DAGPosterior.plot`**: the number on an arrow, written near its tail, is the posterior probability of the arrow;
# likely ones are dark and thick. An arrow marked 1 is in every graph that was drawn, one marked >.99 in nearly all.

# %%
tiers = [["sex", "age"], ["wt71"], ["qsmk"], ["wt82_71"], ["dbp"]]
posterior = ci.SplineSEM(tiers=tiers, bag=10).fit(smokers[[name for tier in tiers for name in tier]])
ax = posterior.plot()

# %% [markdown]
# **`SigmaResult.plot`** draws three things. *Stability*: the share of the posterior graphs that contain a path; the
# bar is the error of having drawn finitely many graphs, and nothing else.

# %%
averaged = ci.SIGMA(treatment="qsmk", outcome="dbp", posterior=posterior, learners="linear").fit(smokers)
ax = averaged.plot("stability")

# %% [markdown]
# *Effects*: averaged over all graphs, those without the path counting as zero. Intervals include the doubt about the
# graph; one that ends at zero says that the path may not be there. `"graph"` draws the posterior.

# %%
ax = averaged.plot("effects")

# %% [markdown]
# ## Which rows carry the answer?
#
# **`results.plots.influence`**: one dot per row. Its horizontal place is about what the estimate would lose without
# the row, and the most influential rows are named by their index. Dots far out on either side are few rows that
# matter much.

# %%
ax = plots.influence(adjusted, "ATE")

# %% [markdown]
# The same as a histogram, with a logarithmic scale, on which single rows show. Lone bars far out are rows that matter
# much by themselves.

# %%
ax = plots.influence(adjusted, "ATE", kind="histogram")

# %% [markdown]
# **`most_influential(...).plot`**: the estimate as rows are left out in the most damaging order, predicted and
# refitted. The ring is the smallest set that turns the answer, fitted again without it.

# %%
once = ci.ATE(**question, adjust=before).fit(smokers)
ax = ci.most_influential(once, goal="sign").plot()

# %% [markdown]
# ## What is each training row worth?
#
# A thousand handwritten digits, a fifth of them with a wrong label, valued against 300 clean ones.
# **`Valuation.plot`** draws three things. *Histogram*: rows below zero pull the table away from the clean law;
# `is_bad` sets known defects apart.

# %%
plt.close("all")
pixels, digit = load_digits(return_X_y=True)
rng = np.random.default_rng(0)
clean, train, test = np.split(rng.permutation(len(digit)), [300, 1300])
label, bad = digit[train].copy(), np.arange(len(train)) < 200
label[bad] = (label[bad] + rng.integers(1, 10, bad.sum())) % 10
value = ci.KAIROS().fit(pixels[train], reference=pixels[clean], label=label, reference_label=digit[clean])
ax = value.plot("histogram", is_bad=bad)

# %% [markdown]
# *Components*: how a row's features fit the clean table, across, and how its label fits its features, up. Rows at the
# foot have labels that the clean table would not expect.

# %%
ax = value.plot("components", is_bad=bad)

# %% [markdown]
# *Witness*: where training rows are denser than the clean ones, and where they are thinner, in the plane of the clean
# table's first two principal components.

# %%
ax = value.plot("witness")

# %% [markdown]
# **`detection_curve(...).plot`**: of the bad rows, how many are found by looking at the lowest values first. The
# further above the band of random orders, the better; the dotted line is perfect.

# %%
found = value.detection_curve(bad)
ax = found.plot()

# %% [markdown]
# **`removal_curve(...).plot`**: the test score of a model refitted without the lowest rows, against as many removed
# at random: the line is the mean of the random draws, the band their range. The score is the model's own, which is the
# accuracy for a classifier.

# %%
curve = value.removal_curve(
    LogisticRegression(max_iter=300), pixels[test], digit[test], rates=(0.0, 0.1, 0.2, 0.3), draws=2
)
_ = curve.plot()

# %% [markdown]
# **`valuation.plots.stream`**: the distance to the clean law as batches come in, against the number of rows by then.
# A jump marks the batch to look at.

# %%
batches = np.split(pixels[train], 10)
batches[7] = rng.permuted(batches[7], axis=1)  # pixels in any order
stream = [ci.KAIROS(label_model=None).fit(np.vstack(batches[:5]), reference=pixels[clean])]
for batch in batches[5:]:
    stream.append(stream[-1].add(batch))
ax = value_plots.stream(stream)
jump = int(np.argmax(np.diff([one.mmd2_unbiased for one in stream])))
print(f"the largest jump is at batch {5 + jump}")
assert jump == 2
