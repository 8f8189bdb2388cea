# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How few rows carry the answer?
#
# A job-training experiment with 445 men finds that training raised earnings by \$1,794 a year, with a t statistic of
# 2.7. How many of those men would have to be left out for the answer to change sign? Seventeen. For it to lose
# significance? Four.
#
# That is not a verdict. An estimate can rest on few rows because something is wrong with them, or because it was only
# just significant to begin with, and then *every* honest sample of its size would be as fragile. This page shows how
# to count the rows, how to tell the two apart, and how the counting itself can go wrong.

# %%
import numpy as np
import statsmodels.api as sm
from matplotlib import pyplot as plt
from statsmodels.sandbox.regression.gmm import IV2SLS

import causalif as ci
from causalif.influence import remove, validate

# %% [markdown]
# ## The number, in one line
#
# For an estimate that is a mean of scores, $\hat\theta = \frac1n \sum_i \varphi_i$ with influence values
# $\psi_i = \varphi_i - \hat\theta$, leaving out a set $T$ of $k$ rows gives
#
# $$\hat\theta_{-T} = \hat\theta - \frac{\sum_{i \in T} \psi_i}{n - k},$$
#
# {cite:p}`broderick2023`, so that the rows with the largest $\psi_i$ are the most influential ones. Everywhere on
# this page an **effect is the value after removal minus the value before**: a positive effect means that the
# estimate rises when the row goes.
#
# ## What must be true, in plain words
#
# The formula holds the nuisances (here the two arms' means and the share of treated) where they are. Fitting again
# moves them too. So a count is a prediction until the rest has been fitted again, and nothing below is claimed
# without that.
#
# ## An experiment
#
# Earnings in 1978, in \$1000, of men offered and not offered training {cite:p}`lalonde1986,dehejia1999`.

# %%
nsw = ci.datasets.load_nsw()
fit = ci.ATE(outcome="re78", treatment="train", learners="linear", folds=1).fit(nsw)
sign = ci.most_influential(fit, goal="sign")
print(sign.summary())

# %% [markdown]
# Three counts, three meanings. The influence order *predicts* 20. With the arms' means held fixed, 18 is the proved
# minimum. Refitted, 17 rows are enough. For this estimate all sets can be searched: the best set of $k$ rows takes
# the highest earnings among the trained and the lowest among the others.

# %%
trained = np.sort(nsw.loc[nsw["train"] == 1, "re78"])[::-1]
others = np.sort(nsw.loc[nsw["train"] == 0, "re78"])


def gap(k: int) -> float:
    """Return the smallest difference in means that leaving out k rows can give."""
    return min(trained[i:].mean() - others[k - i :].mean() for i in range(k + 1))


print(f"leaving out 16 rows: at least {gap(16):+.3f}; leaving out 17: {gap(17):+.3f}")
assert gap(16) > 0 > gap(17)
assert sign.size == 17
assert (sign.counts["influence"], sign.counts["exact"]) == (20, 18)
assert np.isclose(sign.refitted, gap(17))

# %% [markdown]
# Who are they? The `reason` column says what is unusual about each row.

# %%
print(sign.reasons.join(nsw[["train", "re78"]]).head(8).round(3))

# %% [markdown]
# They are the trained men who earned most. Earnings are skewed; nothing suggests that these are errors, and dropping
# them would answer another question. What helps is a summary that the tail moves less, such as the effect on having
# any earnings at all, or on log earnings.
#
# Is 17 few? **Noise alone** answers: with perfectly normal influence values of the same spread, leaving out a share
# $\alpha$ moves the estimate by $\sigma \phi(z_\alpha) / (1 - \alpha)$, which is enough at 6.0%. The experiment needs
# 3.8%. It is somewhat more fragile than a well-behaved one with the same t statistic, no more.

# %%
ax = sign.plot()
ax.set_ylabel("effect of training, $1000")
print(f"observed {sign.share:.1%}, noise alone {sign.noise_share:.1%}")
assert np.isclose(sign.noise_share, 0.060, atol=0.001)
significance = ci.most_influential(fit, goal="significance")
print(f"rows to lose significance: {significance.size} ({significance.share:.1%})")
assert significance.size == 4

# %% [markdown]
# ## A case with a known answer
#
# Two hundred rows with slope −0.3, and six more, all at the same far point, that turn the slope positive. Leaving
# out one of the six changes nothing: the other five hold the line. Effects of single rows, added up, therefore say
# that no set of rows whatever flips the sign {cite:p}`huang2025`. The greedy search leaves out one, fits again,
# looks again, and finds all six.

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=200)
y = -0.3 * x + rng.normal(size=200)
x, y = np.r_[x, np.full(6, 12.0)], np.r_[y, np.full(6, 8.0)]
line = sm.OLS(y, sm.add_constant(x)).fit()
planted = ci.most_influential(line, "sign", "x1")
print(planted.summary())
assert set(planted.rows) == set(range(200, 206))
assert planted.counts[["influence", "rescaled"]].isna().all()

# %% [markdown]
# ## An instrument
#
# Card's returns to schooling {cite:p}`card1995`: log wages on years of schooling, with growing up near a college as
# instrument. The fit is statsmodels' own.

# %%
card = ci.datasets.load_card()
controls = ["exper", "expersq", "black", "smsa", "south", "smsa66", *(f"reg66{i}" for i in range(1, 9))]
iv = IV2SLS(
    card["lwage"],
    sm.add_constant(card[["educ", *controls]].astype(float)),
    sm.add_constant(card[["nearc4", *controls]].astype(float)),
).fit()
schooling = ci.most_influential(iv, "sign", "educ")
print(schooling.summary())

# %% [markdown]
# The influence order names 36 rows. Fitted again without them, the return to schooling is still +0.020: the
# prediction was wrong, because the estimate is a ratio: rows are ranked by their pull on it as it stands, with the
# first stage held where it is, and both change on the way to zero. Following that order it takes 48 rows. The greedy
# search, whose every step is exact for just-identified two-stage least squares, needs 35.
#
# 35 of 3,010 rows are 1.2%, against 1.8% by noise alone: what makes this estimate fragile is mostly its standard
# error.

# %%
assert schooling.counts["influence"] == 36
assert np.isclose(schooling.table.loc["influence", "refitted"], 0.0203, atol=5e-5)
assert schooling.counts["influence, refitted"] == 48
assert schooling.size == 35
schooling.plot()
plt.close("all")

# %% [markdown]
# Single rows can be inspected directly. `exact` is what a refit would give.

# %%
rows = ci.case_influence(iv, "educ")
print(rows.loc[rows["exact"].abs().nlargest(5).index, ["exact", "leverage", "reason"]].round(4).to_string())
first = rows["exact"].abs().idxmax()
assert np.isclose(remove(iv, [first], "refit", "educ").effect, rows.loc[first, "exact"], atol=1e-10)

# %% [markdown]
# ## An observational estimate
#
# Being eligible for a 401(k) plan and net financial assets, with a logistic propensity and linear regressions by arm.

# %%
table = ci.datasets.load_401k()
for name in ("inc", "age", "fsize"):
    table[name] = (table[name] - table[name].mean()) / table[name].std()
table = table.assign(inc2=table["inc"] ** 2, age2=table["age"] ** 2, inc_age=table["inc"] * table["age"])
covariates = ["inc", "age", "fsize", "marr", "male", "pira", "inc2", "age2", "inc_age"]
question = ci.ATE(outcome="nettfa", treatment="e401k", adjust=covariates, learners="linear", folds=1)
assets = question.fit(table)
carried = ci.most_influential(assets)
print(carried.summary())
assert carried.size == 190
assert (carried.counts["influence"], carried.counts["exact"]) == (198, 189)

# %% [markdown]
# An effect of \$8,339 with a t statistic above 6 is carried by 190 households, 2.0% of the sample; by noise alone it
# would be 2.7%. Again the rows are from the tails, here of wealth:

# %%
print(table.loc[carried.rows, "nettfa"].describe()[["min", "50%", "max"]].round(1))
print(f"all households, 99th percentile: {table['nettfa'].quantile(0.99):.1f}")
print(carried.reasons["reason"].str.replace(r" \(.*?\)", "", regex=True).value_counts())

# %% [markdown]
# With cross-fitting every remaining household stays in the fold that it had, and the learners keep their seeds, so
# that before and after differ by the rows alone.

# %%
crossed = ci.ATE(outcome="nettfa", treatment="e401k", adjust=covariates, learners="linear").fit(table)
print(ci.most_influential(crossed).counts)

# %% [markdown]
# ## Should the predictions be trusted?
#
# `validate` compares them with refits of random rows, random sets and random halves, with intervals. For sets of this
# size the predictions are very good; the searches above are harder, because they look for the sets where predictions
# are worst.

# %%
judged = validate(assets, method="exact", refits=25)
print(judged.round(3))
slope = judged.query("judge == 'leave_k_out' and measure == 'slope'").iloc[0]
assert 0.9 < slope["estimate"] < 1.1

# %% [markdown]
# ## What would change my mind
#
# 1. Report the count with its share, the refitted value, and the share that noise alone would need. Never the count
#    by itself: at a t statistic of 2 a small share always does.
# 2. Look at the rows. An error is corrected; a tail is a reason for another summary (a median, a log, a bounded
#    outcome), decided before looking at its estimate; a small propensity is a reason to ask about the region of
#    overlap.
# 3. Do not drop rows because they are influential. The standard error of what is left does not know that they were
#    chosen.
# 4. If predictions and refits part, quote the refits.
#
# ## Limits
#
# A count is an upper bound wherever it was searched for and not proved: a smaller set may exist. `exact` is proved with
# the nuisances held fixed, and `size` is verified by fitting again.
