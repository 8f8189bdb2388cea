# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # When the instrument acts on the outcome
#
# Does taking part in a 401(k) plan raise a household's net financial assets? People who save anyway are more likely
# to take part, so a plain regression compares savers with others. Eligibility depends on the employer and is nearly
# random given income, age and family, so it has served as an instrument. But is its only way to assets through
# participation? An employer who offers a plan may also pay a pension, match contributions, or teach saving. If so,
# the exclusion restriction fails, and two-stage least squares blames participation for all of it.
#
# `InvalidIVATE` needs no exclusion restriction. It uses another trace that an instrument leaves: it changes how much
# participation *varies*.

# %%
import warnings

import numpy as np
import pandas as pd

import causalif as ci

# %% [markdown]
# ## The number, in one line
#
# Write $A$ for the treatment, $Y$ for the outcome, $Z$ for the instrument, $X$ for covariates. Suppose that, given
# $X$, the confounder pushes uptake by the same amount whatever the instrument, and adds to the outcome. Then
#
# $$\mathrm{cov}(A, Y \mid Z = z, X) = \beta(X)\, \mathrm{var}(A \mid Z = z, X) + \rho(X),$$
#
# where $\rho$, the confounding, does not depend on $z$. A direct effect of $Z$ on $Y$ moves means, not covariances,
# so it has dropped out. Two values of $z$ give two equations for two unknowns, and
#
# $$\theta = E[\beta(X)] = E\left[\frac{C_1(X) - C_0(X)}{V_1(X) - V_0(X)}\right].$$
#
# ## What must be true, in plain words
#
# Given the covariates:
#
# 1. the instrument is as good as random;
# 2. it moves everybody's uptake by the same amount, whatever their unmeasured traits;
# 3. treatment, instrument and confounders add up in the outcome (the instrument's direct effect is the same with and
#    without treatment);
# 4. nothing unmeasured changes both uptake and the size of the effect;
# 5. the instrument changes the *variance* of the treatment.
#
# Only the last can be tested. With a binary treatment, variance is $\mu(1-\mu)$: an instrument that lifts uptake from
# 0.3 to 0.7 is strong for two-stage least squares and useless here. The conditions and the estimator are those of
# {cite:t}`tchetgen2021` and {cite:t}`sun2022`.
#
# In the graph `U` is not measured, and the arrow from the instrument to the outcome is the one that other methods
# must rule out.

# %%
dag = ci.parse_dag("instrument -> {treatment outcome}; {X U} -> {treatment outcome}; treatment -> outcome; U [latent]")
_ = ci.graphs.draw(dag, highlight=["treatment", "outcome"])

# %% [markdown]
# ## A case with a known answer
#
# In this simulated table the effect is 1. Uptake is confounded, and the instrument adds 2 to the outcome by itself.

# %%
simulated = ci.datasets.simulate_invalid_iv_binary(20_000, random_state=1)
question = ci.InvalidIVATE(outcome="y", treatment="a", instrument="z", adjust=["x1", "x2"], learners="linear")
fit = question.fit(simulated.data)
print(fit.summary())

# %%
side_by_side = fit.comparators()
print(side_by_side)

# %% [markdown]
# Every comparator is far from the truth, each for its own reason: least squares and AIPW because a confounder is
# missing, two-stage least squares and the local effect because the instrument acts directly. Only the last two rows,
# which do not need exclusion, are near 1.

# %%
truth = simulated.truth["ATE"]
table = side_by_side.to_frame().set_index("model")
distance = ((table["estimate"] - truth) / table["std_error"]).abs()
assert distance["Invalid-IV ATE"] < 3
assert (distance[["OLS", "OLS with the instrument", "2SLS", "AIPW", "LATE (doubly robust)"]] > 10).all()

# %% [markdown]
# ### What the data say about the conditions
#
# Three tests come with the fit. The first must reject, or there is nothing to learn from; the other two answer
# questions that a usual analysis must assume away: is there unmeasured confounding, and does the instrument act
# directly? In this table both are true, and both are found.

# %%
print(fit.diagnostics["tests"].round(4).to_string())
assert (fit.diagnostics["tests"]["p_value"] < 0.001).all()

# %% [markdown]
# The variance shift $D(X) = V_1(X) - V_0(X)$ is the denominator. Its quantiles should stay on one side of zero.

# %%
print(fit.diagnostics["relevance"].round(4).to_string())

# %% [markdown]
# When $D$ is small, trust the robust set rather than the standard error. It belongs to the variance-shift-weighted
# effect, covers it with 95% probability however weak the instrument is, and may be unbounded: then the data say
# nothing.

# %%
print(fit.robust_set())
weak = ci.datasets.simulate_weak_iv(2000, delta=0.0, random_state=0)
lenient = ci.InvalidIVATE(outcome="y", treatment="a", instrument="z", learners="linear", weak_identification="warn")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)
    print(lenient.fit(weak.data).robust_set())

# %% [markdown]
# Without `weak_identification="warn"` the fit refuses, and says what can still be said:

# %%
try:
    ci.InvalidIVATE(outcome="y", treatment="a", instrument="z", learners="linear").fit(weak.data)
    refused = False
except ValueError as error:
    refused = True
    print(error)
assert refused

# %% [markdown]
# ### For whom
#
# The effect was made to rise with `x1`, one for one. The projection finds it.

# %%
by_x1 = fit.effect_by(["x1"])
print(by_x1.summary())
assert abs(by_x1.params["x1"] - 1) < 3 * by_x1.std_errors["x1"]

# %% [markdown]
# ## What would change my mind
#
# Conditions 2 to 4 cannot be tested with two instrument levels, but their failure can be priced. Suppose the
# instrument's direct effect were larger by $d$ among the treated. The table corrects the estimate for a range of $d$,
# and states how large $d$ must be to explain the estimate away.

# %%
priced = fit.sensitivity("direct effect by treatment")
print(priced)
assert np.isclose(priced.frame.loc[priced.frame["size"].abs().idxmin(), "estimate"], fit.params["ATE"])

# %%
ax = priced.plot()

# %% [markdown]
# ## The 401(k) table
#
# 9,275 households of the 1991 Survey of Income and Program Participation; assets in dollars.

# %%
households = ci.datasets.load_401k()
age = households["age"] - 25
households = households.assign(nettfa=1000 * households["nettfa"], age25=age, age25sq=age**2)
print(pd.crosstab(households["e401k"], households["p401k"]))

# %% [markdown]
# Nobody takes part without being eligible. In that arm the variance of participation is zero, and with it $C_0$:
# the two equations force $\rho = 0$. The method has turned into a comparison of participants with others *among the
# eligible*, adjusted for covariates. It is no longer robust to confounding, and says so.

# %%
covariates = ["inc", "age25", "age25sq", "marr", "fsize"]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    real = ci.InvalidIVATE(outcome="nettfa", treatment="p401k", instrument="e401k", adjust=covariates).fit(households)
print(real.summary())
assert any("unconfoundedness" in str(warning.message) for warning in caught)

# %% [markdown]
# So this table cannot show the method at its best, and an honest reading is: *if* income, age, family and marriage
# account
# for who takes part among the eligible, participation raises assets by the amount above. The published regressions
# {cite:p}`abadie2003` on the same rows, for comparison:

# %%
from causalif.testing.selfcheck import ols_401k, tsls_401k

published = ci.compare({"OLS": ols_401k(), "2SLS": tsls_401k(), "Invalid-IV ATE": real})
print(published)
assert round(published.estimates["OLS"].params.item(), 1) == 13_527.0
assert round(published.estimates["2SLS"].params.item(), 1) == 9_418.8

# %% [markdown]
# The influence values tell how much the answer leans on few households: net assets have a long tail.

# %%
print(real.diagnostics["influence"].round(3).to_string())

# %% [markdown]
# ## Limits
#
# * The scale matters: effects that add up in dollars do not add up in log dollars. Choose the outcome's scale first.
# * With a binary treatment near 0 or 1, condition 2 strains against the bounds of a probability.
# * Selection on gains, people taking up treatment because it helps them more, violates condition 4.
# * The robust set is for the weighted effect; it equals the average effect where the effect does not vary.
