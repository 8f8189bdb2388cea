# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a table to an estimate
#
# Does being *eligible* for a 401(k) plan raise a household's net financial assets? Employers offer the plans, and
# better employers pay better, so eligible households differ from others before any plan does anything. This page
# compares like with like. It is also the place to begin, because everything shown here for the average treatment
# effect, tables, intervals, arithmetic, clusters, learners, errors, works in the same way for every other
# estimator.
#
# The data are 9,275 households of the 1991 Survey of Income and Program Participation.

# %%
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

import causalif as ci

households = ci.datasets.load_401k()
households = households.assign(nettfa=1000 * households["nettfa"])  # dollars
covariates = ["inc", "age", "fsize", "marr", "pira"]
print(households[["nettfa", "e401k", *covariates]].describe().loc[["mean", "min", "max"]].round(1).to_string())
assert len(households) == 9275

# %% [markdown]
# ## The number, in one line
#
# Write $A$ for the treatment, $Y$ for the outcome and $X$ for the covariates, $\mu_a(X) = E[Y \mid A = a, X]$ and
# $\pi_a(X) = P(A = a \mid X)$. The average treatment effect is $\theta = E[\mu_1(X) - \mu_0(X)]$, and each of its
# two means is the mean of
#
# $$\varphi_a = \mu_a(X) + \frac{1(A = a)}{\pi_a(X)}\,\{Y - \mu_a(X)\} .$$
#
# The first term is what a regression says of the row; the second corrects it by the row's own surprise, weighted by
# how rarely such a row has its treatment. An error in one of the two regressions is multiplied by the error in the
# other, so both may be fitted by flexible learners {cite:p}`robins1994,chernozhukov2018`. Each row is judged by
# learners that have not seen it.
#
# ## What must be true, in plain words
#
# 1. The covariates account for everything that drives both eligibility and assets: in the graph there is no arrow into
#    eligibility but from boxes that were measured.
# 2. Every kind of household is sometimes eligible and sometimes not.
# 3. A household's assets depend on its own eligibility, not on its neighbours'.
#
# The first cannot be tested by the data. Which columns are needed follows from a graph, and {doc}`adjustment_sets`
# shows how.

# %%
drawn = ci.parse_dag("{income age family} -> eligible; {income age family eligible} -> assets")
sets = ci.adjustment_sets(drawn, treatment="eligible", outcome="assets")
_ = ci.graphs.draw(drawn, highlight=sets.optimal)
assert sets.optimal == {"income", "age", "family"}

# %% [markdown]
# ## The estimate

# %%
question = ci.ATE(outcome="nettfa", treatment="e401k", adjust=covariates)
fit = question.fit(households)
print(fit.summary())

# %%
assert fit.conf_int().loc["ATE", "lower"] > 0

# %% [markdown]
# `question` is a frozen configuration: `fit` returns a new result and changes neither the question nor the table. The
# result is labelled, and everything else is read from it.

# %%
print(fit.params["ATE"].round(0), fit.std_errors["ATE"].round(0))
print(fit.conf_int(joint=True).round(0))  # all three intervals hold together, in 95% of samples
print(fit.to_frame().round(1).to_string())

# %% [markdown]
# ## What the diagnostics say
#
# `skill` is the share of the variance, or of the log loss, that a nuisance explains in rows it has not seen;
# `clipped` counts propensities that had to be kept from 0 or 1. Overlap is seen best: both groups must live on the
# same range.

# %%
print(fit.diagnostics["nuisances"].round(3).to_string())
assert (fit.diagnostics["nuisances"]["clipped"] == 0).all()

# %%
propensity, eligible = fit.nuisances["pi1"], households["e401k"] == 1
fig, ax = plt.subplots(figsize=(5.6, 3), layout="constrained")
for label, group, look in (("eligible", eligible, {"alpha": 0.5}), ("not eligible", ~eligible, {"histtype": "step"})):
    ax.hist(propensity[group], bins=40, range=(0, 1), label=label, linewidth=1.5, **look)
ax.set_xlabel("probability of being eligible, given the covariates")
ax.set_ylabel("households")
_ = ax.legend(frameon=False)
assert propensity.between(0.05, 0.95).mean() > 0.95

# %% [markdown]
# Folds are drawn at random. With `repeats` the whole is done several times; the estimate is the median, and the noise
# between splits is part of the standard error instead of being hidden behind a seed.

# %%
several = ci.ATE(outcome="nettfa", treatment="e401k", adjust=covariates, repeats=3).fit(households)
print(several.summary())
print(several.splits.pivot(index="repeat", columns="term", values="estimate").round(0))

# %% [markdown]
# ## Other numbers from the same fit
#
# An estimate carries its influence values, one per row. Ratios, differences and logarithms of estimates are
# estimates, with standard errors by the delta method, and estimates from the same rows know how they are
# correlated.

# %%
ratio = fit["E[Y(1)]"] / fit["E[Y(0)]"]
print(ratio)
treated = ci.ATE(outcome="nettfa", treatment="e401k", adjust=covariates, target="treated").fit(households)
gap = treated["ATT"] - fit["ATE"]
print(gap)
apart = np.hypot(treated.std_errors["ATT"], fit.std_errors["ATE"])
print(f"standard error of the difference {gap.std_errors.item():.0f}; as if from two samples {apart:.0f}")
assert gap.std_errors.item() < 0.7 * apart

# %% [markdown]
# ## Your own learners
#
# `learners="auto"` stacks penalised splines with gradient boosting, `"linear"` is least squares and logistic
# regression on the columns as they are, and any scikit-learn estimator or pipeline can take a role. The same
# question, three ways:

# %%
forests = {
    "outcome": RandomForestRegressor(min_samples_leaf=20, n_estimators=100, random_state=0),
    "treatment": RandomForestClassifier(min_samples_leaf=20, n_estimators=100, random_state=0),
}
by_forest = ci.ATE(outcome="nettfa", treatment="e401k", adjust=covariates, learners=forests).fit(households)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    straight = ci.ATE(outcome="nettfa", treatment="e401k", adjust=covariates, learners="linear").fit(households)
compared = ci.compare({"auto": fit, "forests": by_forest, "linear": straight})
print(compared)
_ = compared.plot()

# %% [markdown]
# Two agree and one does not, and its interval is four times as wide. The fit said why:

# %%
print(*(str(one.message) for one in caught), sep="\n")
print(straight.diagnostics["weights"].round(2).to_string())
print(straight.diagnostics["influence"].round(2).to_string())
row = straight.diagnostics["influence"].loc["ATE", "largest unit"]
print(households.loc[[row], ["nettfa", "e401k", *covariates]])
assert (row, caught[0].category) == (1107, ci.errors.DataWarning)
assert straight.diagnostics["influence"].loc["ATE", "largest share"] > 0.8
assert fit.diagnostics["influence"].loc["ATE", "largest share"] < 0.2
assert abs(by_forest.params["ATE"] - fit.params["ATE"]) < fit.std_errors["ATE"]

# %% [markdown]
# A straight line in income makes the logistic regression almost sure that the richest households are eligible. One
# of them is not, owns more than a million dollars, and gets a weight of 36. The two bending learners say that
# eligibility levels off with income, which is what the data show. Nothing was wrong with the standard error: it was
# wide because the answer hung on one row. `diagnostics["influence"]` says of every fit how far it hangs on its
# largest one.

# %% [markdown]
# ## A case with a known answer
#
# The effect in this simulated table is exactly 1, and confounded: the difference in means is far from it.

# %%
simulated = ci.datasets.simulate_confounded(4_000, random_state=0)
known = ci.ATE(outcome="y", treatment="a", adjust=["x1", "x2", "x3"]).fit(simulated.data)
naive = simulated.data.groupby("a")["y"].mean().diff().iloc[-1]
print(known.summary())
print(f"truth {simulated.truth['ATE']:.2f}, difference in means {naive:.2f}")
assert abs(known.params["ATE"] - 1) < 3 * known.std_errors["ATE"]
assert abs(naive - 1) > 0.3

# %% [markdown]
# ## What is refused
#
# Nothing is dropped, clipped or converted in silence. A missing value or a misspelt column is an error that says
# what to do.

# %%
with_gap = households.copy()
with_gap.loc[3, "inc"] = np.nan
for columns, table in ((["income", "age"], households), (covariates, with_gap)):
    try:
        ci.ATE(outcome="nettfa", treatment="e401k", adjust=columns).fit(table)
        raise AssertionError("this must not pass")
    except ci.errors.InputError as refusal:
        print(refusal, "\n")

# %% [markdown]
# ## Keeping a result
#
# A file holds numbers, settings and versions, not the data and no pickled code.

# %%
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "eligibility.zip"
    fit.save(file)
    loaded = ci.load(file)
pd.testing.assert_frame_equal(loaded.to_frame(), fit.to_frame())
print(fit.to_markdown())

# %% [markdown]
# ## What would change my mind
#
# - **A confounder that was not measured**, such as a taste for saving that also draws people to employers with plans.
#   {doc}`invalid_iv` needs no such assumption, at the price of others.
# - **Little overlap**, if the histogram above had piled up at 0 or 1.
# - **A few rows.** {doc}`which_rows` counts how many households would have to be left out to overturn the answer.
# - **Learners that disagree** by more than their standard errors.
#
# ## Limits
#
# `target="treated"` asks for those who are eligible {cite:p}`hahn1998`. The treatment has two or a few values. For
# a continuous one see the shifts in {doc}`mediation_paths`. Rows are independent, or clusters are (`cluster=`);
# time series are neither.
