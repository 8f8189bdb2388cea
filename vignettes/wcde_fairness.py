# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Would the answer change at the same credit history?
#
# Among 1,989 applications for a mortgage in Boston, lenders turned down 9% of the white and 29% of the other
# applicants {cite:p}`hunter1996`. Part of that gap may run through credit history: applicants with delinquent
# accounts are refused more often, and fewer white applicants have any. How much of the gap would be left if race
# could not act through credit history?
#
# Two usual answers each have a flaw. *Comparing applicants with the same history* gives one number per history, and
# which one to report is a choice. *The natural direct effect* leaves everybody the history they would have had as a
# white applicant, which nobody has ever observed. The **weighted controlled direct effect** (WCDE) asks something
# that could in principle be done {cite:p}`lin2025`: draw every applicant's history from one and the same law, that
# of all applicants, and then change race alone.

# %%
import networkx as nx
import numpy as np

import causalif as ci

# %% [markdown]
# ## The number, in one line
#
# Write $A$ for the treatment, $M$ for the mediators, $C$ for covariates and $Y$ for the outcome. With
# $Q(a, m, c) = E[Y \mid a, m, c]$,
#
# $$\mathrm{WCDE} = \iint \{Q(1, m, c) - Q(0, m, c)\}\; p(m)\, p(c)\; dm\, dc .$$
#
# Mediators and covariates each keep their own law, but no longer go together. That is the point: the mediators are
# fixed, jointly, whoever the applicant is.
#
# ## What must be true, in plain words
#
# 1. Given the covariates, nothing unmeasured drives both race, as lenders see it, and the decision.
# 2. Given the covariates, nothing unmeasured drives both credit history and the decision.
# 3. Every credit history occurs at all values of the covariates, in both groups.
#
# The second is the strong one: a lender sees more than these columns. In the graph, whatever acts on the decision
# together with race or with history must be among the covariates.

# %%
assumed = ci.parse_dag("covariates -> {race history decision}; race -> {history decision}; history -> decision")
_ = ci.graphs.draw(assumed, highlight=["covariates", "history"])

# %% [markdown]
# ## A case with a known answer
#
# Seven yes-or-no columns with two mediators, whose every probability is known. The graph says what to adjust for: the
# other causes of the outcome, `C` and `W`, and the mediators themselves. `V` acts on the treatment only and would cost
# precision.

# %%
simulated = ci.datasets.simulate_wcde(20_000, random_state=1)
dag = nx.DiGraph(
    {"V": ["A"], "C": ["A", "M2", "Y"], "W": ["Y"], "A": ["M1", "M2", "Y"], "M1": ["M2", "Y"], "M2": ["Y"]}
)
known = ci.WCDE(outcome="Y", treatment="A", dag=dag, learners="linear").fit(simulated.data)
print(known.summary())
print("truth:", round(simulated.truth["WCDE"], 4), " total effect:", round(simulated.truth["ATE"], 4))

# %%
assert known.sets.optimal == {"M1", "M2", "C", "W"}
assert abs(known.params["WCDE"] - simulated.truth["WCDE"]) < 3 * known.std_errors["WCDE"]

# %% [markdown]
# The effect differs between mediator values, so a single controlled direct effect would not tell the story. The band
# covers all four at once.

# %%
print(known.by_mediator().round(3))
print(known.interaction_test().round(4))

# %% [markdown]
# ## The applications
#
# `chist` is 1 if no account is 60 or more days delinquent. Eighteen rows lack a covariate.

# %%
table = ci.datasets.load_loanapp()
covariates = ["male", "married", "dep", "sch", "unem"]
rows = table.dropna(subset=covariates)
print(f"{len(rows):,} of {len(table):,} rows")
print(rows.groupby("white")[["reject", "chist", "pubrec"]].mean().round(3))

# %% [markdown]
# The total effect first: everything that goes from race to the decision, through credit history or not, with the
# covariates held equal. `levels` puts white applicants second, as the reference.

# %%
question = {"outcome": "reject", "treatment": "white", "levels": (0, 1), "adjust": covariates}
total = ci.ATE(**question, learners="linear").fit(rows)
direct = ci.WCDE(**question, mediators=["chist"], learners="linear").fit(rows)
print(total.summary())
print(direct.summary())

# %% [markdown]
# Both come from the same rows, so their difference has a standard error of its own. It is what goes through credit
# history, in the sense that it vanishes once history is drawn from one law for all.

# %%
through = total["ATE"] - direct["WCDE"]
print(through)
assert 0.1 < direct.params["WCDE"] < 0.25
assert direct.conf_int().loc["WCDE", "lower"] > 0
assert total.params["ATE"] > direct.params["WCDE"]

# %% [markdown]
# So most of the gap in refusals is not explained by whether an account is delinquent. By credit history:

# %%
print(direct.by_mediator().round(3))
print(direct.interaction_test().round(3))

# %% [markdown]
# Which law the history is drawn from matters little here. Below: that of everybody, that of white applicants, and
# nobody delinquent.

# %%
laws = {"everybody": "marginal", "white applicants": "control", "nobody delinquent": {"chist": 1}}
fits = {
    name: ci.WCDE(**question, mediators=["chist"], learners="linear", mediator_law=law).fit(rows)
    for name, law in laws.items()
}
for name, fit in fits.items():
    print(f"{name:<20}{fit.params['WCDE']:.3f}  ({fit.std_errors['WCDE']:.3f})")
assert np.ptp([fit.params["WCDE"] for fit in fits.values()]) < 0.05

# %% [markdown]
# ## Are there enough rows to say so?
#
# The effect combines every history with every kind of applicant. The weights that do it are reported: on average 1 if
# all is well, none of them too large, and the effective number of rows not far below the actual one.

# %%
print(direct.diagnostics["weights"].T.round(3))
assert direct.diagnostics["weights"]["mean weight"].between(0.95, 1.05).all()

# %% [markdown]
# ## More mediators
#
# Bankruptcies on file and the burden of other debts may also carry part of the effect. With a continuous mediator the
# weights come from a density ratio, estimated by telling observed rows from rows whose mediators were dealt anew.

# %%
more = {
    "chist": direct,
    "chist, pubrec": ci.WCDE(**question, mediators=["chist", "pubrec"], learners="linear").fit(rows),
    "chist, pubrec, obrat": ci.WCDE(**question, mediators=["chist", "pubrec", "obrat"], learners="linear").fit(rows),
}
for name, fit in more.items():
    print(f"{name:<24}{fit.params['WCDE']:.3f}  ({fit.std_errors['WCDE']:.3f})")
assert all(fit.conf_int().loc["WCDE", "lower"] > 0 for fit in more.values())

# %% [markdown]
# Each mediator takes a little off, and with all three the difference in refusals is still about thirteen points, more
# than four standard errors from zero. It says that these columns do not account for the gap.

# %%
last = more["chist, pubrec, obrat"]
assert 0.115 < last.params["WCDE"] < 0.145
assert last.statistics["WCDE"] > 4

# %% [markdown]
# ## What would change my mind
#
# - **What lenders know and this table does not**, such as the purpose of a loan or the rest of the file. If it acts on
#   the decision and goes along with race or with history, the number is biased. It does not prove that lenders
#   discriminate.
# - **A cause of history and decision that race acts on**, such as wealth. Then adjusting for it takes away part of the
#   effect and not adjusting confounds it; `intermediate=` names such columns and uses another formula
#   {cite:p}`pearl1995`.
# - **Weights far from 1 on average**, or a few effective rows.
#
# ## Limits
#
# The effect is on the scale of probabilities, for the law of histories of these applicants; another population of
# histories has another effect. Continuous mediators need a density ratio; `method="tmle"` {cite:p}`vanderlaan2011`
# and weights by least squares {cite:p}`chernozhukov2022` are other ways to the same number, and {doc}`coverage`
# compares them.
