# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Write your own estimand in one file
#
# Nobody can make every employer offer a 401(k) plan, and nobody proposes to forbid them. "Everybody eligible against
# nobody eligible" is a fine parameter and a poor policy. A question closer to one: *what would households own if the
# odds of being eligible were doubled*, for the likely and for the unlikely, each from where they stand today?
#
# causalif has no class for that. This page adds one: the mathematics, the code, the check that a careless version
# does not pass, the estimate on a real table, the rows behind it, and a simulation. Nothing is needed that is not
# below.

# %%
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import causalif as ci
from causalif.engine import (
    FiniteLaw,
    Mean,
    Nuisances,
    NuisanceSpec,
    Plan,
    Probability,
    Table,
    cross_fit,
    read_folds,
    read_table,
)  # fmt: skip
from causalif.testing import check_estimand

# %% [markdown]
# ## The question
#
# Write $Y$ for the outcome, $A \in \{0, 1\}$ for the treatment, $X$ for covariates, $\pi(x) = P(A = 1 \mid x)$ and
# $\mu_a(x) = E[Y \mid A = a, x]$. Multiplying everybody's odds of treatment by $\delta$ turns $\pi$ into
#
# $$q(x) = \frac{\delta\, \pi(x)}{D(x)}, \qquad D(x) = \delta\, \pi(x) + 1 - \pi(x),$$
#
# and the mean outcome into
#
# $$\theta_\delta = E[\,q(X)\, \mu_1(X) + \{1 - q(X)\}\, \mu_0(X)\,].$$
#
# At $\delta = 1$ this is $E[Y]$, whatever the law. What must be true for other $\delta$, in plain words: given the
# covariates, nothing unmeasured drives both treatment and outcome, and one unit's treatment does not touch another's
# outcome. **Overlap is not needed**: who is sure to be treated stays so, and who is sure not to be stays so, too.
#
# ## Its influence function
#
# What is unknown about $\theta_\delta$ comes in three parts, and each contributes the error of estimating it:
#
# $$\varphi = \underbrace{q\, \mu_1 + (1 - q)\, \mu_0}_{\text{law of } X}
#   + \underbrace{\frac{\delta A (Y - \mu_1) + (1 - A)(Y - \mu_0)}{D}}_{\mu_0,\ \mu_1}
#   + \underbrace{\frac{\delta\, (\mu_1 - \mu_0)(A - \pi)}{D^2}}_{\pi} .$$
#
# 1. *The law of $X$*: the mean over the population is taken over the rows at hand.
# 2. *The outcome regressions*: residuals of the treated are weighted by $q / \pi = \delta / D$, those of the others by
#    $(1 - q) / (1 - \pi) = 1 / D$. No weight exceeds $\max(\delta, 1 / \delta)$, however small $\pi$ is.
# 3. *The policy itself*: it is stated relative to today's $\pi$, which has to be learned from the same rows. By the
#    chain rule its error enters through $\partial q / \partial \pi = \delta / D^2$, times what a change of $q$ is
#    worth.
#
# The third part is easily forgotten, because a policy looks like something that we choose.
#
# ## In code
#
# An estimand is a frozen class with five members. `labels` names its terms; `nuisances` says what must be learned;
# `eif` is the formula above; `plug_in` is the functional itself, by summation over a distribution on finitely many
# points, with which the formula can be checked; `robustness` declares which nuisances must be right.


# %%
@dataclass(frozen=True)
class IncrementalMean:
    """The mean outcome if everybody's odds of treatment were multiplied by a number."""

    outcome: str
    treatment: str  # coded 0, 1
    adjust: tuple[str, ...]
    odds: float

    robustness = (frozenset({"pi1"}),)

    @property
    def labels(self) -> tuple[str, ...]:
        """The one label."""
        return (f"odds × {self.odds:g}",)

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the propensity and the outcome regressions of both arms."""
        return {
            "pi1": Probability(self.treatment, self.adjust, bounds=None),  # no overlap needed, so nothing to clip
            "mu0": Mean(self.outcome, self.adjust, where=((self.treatment, 0.0),)),
            "mu1": Mean(self.outcome, self.adjust, where=((self.treatment, 1.0),)),
        }

    def parts(self, rows: Table, eta: Nuisances) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the three parts of φ for every row, each of shape (n,)."""
        delta, a, y = self.odds, rows[self.treatment], rows[self.outcome]
        pi, mu0, mu1 = (eta[name](rows) for name in ("pi1", "mu0", "mu1"))
        scale = delta * pi + 1 - pi
        return (
            (delta * pi * mu1 + (1 - pi) * mu0) / scale,
            (delta * a * (y - mu1) + (1 - a) * (y - mu0)) / scale,
            delta * (mu1 - mu0) * (a - pi) / scale**2,
        )

    def eif(self, rows: Table, eta: Nuisances) -> np.ndarray:
        """Return φ for every row, shape (n,)."""
        return np.sum(self.parts(rows, eta), axis=0)

    def plug_in(self, law: FiniteLaw) -> np.ndarray:
        """Return the mean itself by summation."""
        rows = law.table(self.adjust)
        a, y = rows[self.treatment], rows[self.outcome]
        pi = law.conditional_mean(a, self.adjust)
        mu0, mu1 = (law.conditional_mean(y, self.adjust, a == arm) for arm in (0, 1))
        q = self.odds * pi / (self.odds * pi + 1 - pi)
        return np.array([law.expect(q * mu1 + (1 - q) * mu0)])


# %% [markdown]
# ## The check that a careless version does not pass
#
# Here is the version that takes the policy for given.


# %%
@dataclass(frozen=True)
class Careless(IncrementalMean):
    """The same mean, its influence function without the third part."""

    def eif(self, rows: Table, eta: Nuisances) -> np.ndarray:
        """Return the first two parts of φ."""
        return np.sum(self.parts(rows, eta)[:2], axis=0)


def verdict(estimand: IncrementalMean) -> str:
    """Return what the check has to say."""
    try:
        report = check_estimand(estimand)
    except AssertionError as error:
        return str(error)
    return f"passes: errors {report.derivative:.0e} (derivative), {report.mean:.0e} (mean)"


careless = verdict(Careless("y", "a", ("x",), odds=2.0))
print(careless)
assert "pathwise derivative" in careless

# %% [markdown]
# `check_estimand` moves a little probability to each point of a random distribution in turn, computes how the
# functional responds, and compares that with $\varphi - \theta$. It has no opinion on how a formula was derived. Nor
# does the mean help: that of the careless version is right, since the third part has mean zero. The full formula:

# %%
for odds in (0.2, 2.0, 5.0):
    right = verdict(IncrementalMean("y", "a", ("x", "w"), odds))
    print(f"odds × {odds:g}: {right}")
    assert right.startswith("passes")

# %% [markdown]
# ## What must be right
#
# `robustness` names the sets of nuisances that suffice. With $\pi$ right and both regressions wrong the mean of
# $\varphi$ is still $\theta$; the check spoils them and looks. Somebody used to double robustness may want to add
# that the regressions suffice as well. They do not, for $q$ needs $\pi$:


# %%
@dataclass(frozen=True)
class Boastful(IncrementalMean):
    """Claims to be doubly robust."""

    robustness = (frozenset({"pi1"}), frozenset({"mu0", "mu1"}))


boast = verdict(Boastful("y", "a", ("x",), odds=2.0))
print(boast)
assert "with only ['mu0', 'mu1'] right" in boast

# %% [markdown]
# What is left of the bias says how good the learners must be: the squared error of $\hat\pi$, and the product of the
# errors of $\hat\pi$ and $\hat\mu_a$. Both must vanish faster than $n^{-1/2}$ for the intervals to be right, so the
# error of $\hat\pi$ by itself must vanish faster than $n^{-1/4}$.

# %% [markdown]
# ## A class for users
#
# One class more, and it takes a DataFrame. `read_table` is the one door for data: it checks columns by role, codes
# the treatment as 0 and 1 and makes indicators of categories. `cross_fit` fits every nuisance out of fold; several
# estimands are evaluated on the same splits, and what they have in common, here every nuisance, is fitted once. An
# `Estimate` does the rest, and knows from `origin` how to be fitted again without some rows.


# %%
@dataclass(frozen=True, kw_only=True)
class IncrementalEffect:
    """The mean outcome if everybody's odds of treatment were multiplied by each of several numbers."""

    outcome: str
    treatment: str
    adjust: Sequence[str]
    odds: Sequence[float] = (0.5, 1.0, 2.0)
    learners: Any = "auto"
    folds: Any = 5
    random_state: int = 0

    def fit(self, data: Any) -> ci.Estimate:
        """Estimate one mean per number."""
        roles = {"numbers": {"outcome": self.outcome}, "coded": {"treatment": self.treatment}}
        table = read_table(data, **roles, adjust=self.adjust)
        folds = read_folds(self.folds, table.index, table.clusters)
        plan = Plan(self.learners, folds, strata=(self.treatment,), seed=self.random_state)
        questions = [IncrementalMean(self.outcome, self.treatment, table.names, odds) for odds in self.odds]
        shown = {name: getattr(self, name) for name in ("outcome", "treatment", "adjust", "learners")}
        settings = {"estimator": "Means under multiplied odds of treatment", **shown}
        return cross_fit(questions, table, plan).to_estimate(table, origin=(self, data), **settings)


# %% [markdown]
# ## A real table
#
# 9,275 households of the 1991 Survey of Income and Program Participation; net financial assets in \$1,000.

# %%
households = ci.datasets.load_401k()
assert len(households) == 9275
covariates = ["inc", "incsq", "age", "agesq", "fsize", "marr"]
question = IncrementalEffect(
    outcome="nettfa", treatment="e401k", adjust=covariates, odds=(0.25, 0.5, 1.0, 2.0, 4.0), learners="linear"
)
fit = question.fit(households)
print(fit.summary())

# %% [markdown]
# The middle row must be the plain mean with its textbook error, since nothing changes at $\delta = 1$: the parts of
# $\varphi$ add up to $Y$ whatever the nuisances are. That is a check on real data which costs nothing.

# %%
assets = households["nettfa"]
assert np.isclose(fit.params["odds × 1"], assets.mean(), rtol=1e-12)
assert np.isclose(fit.std_errors["odds × 1"], assets.std(ddof=0) / np.sqrt(len(assets)), rtol=1e-12)

# %% [markdown]
# The means hardly differ beside their errors, but they rest on the same rows, so most of the error is common to them.
# Differences from today are much more precise. Their intervals, below, hold for all four together.

# %%
today = fit["odds × 1"]
changes = ci.concat([fit[label] - today for label in fit.labels if label != "odds × 1"])
print(changes.summary(joint=True))
ax = changes.plot(joint=True)
_ = ax.set_xlabel("change of mean assets, \\$1,000, and joint 95% interval")

# %%
double = fit["odds × 2"] - today
share = households["e401k"].mean()
pi = fit.nuisances["pi1"]
moved = (2 * pi / (1 + pi)).mean()
print(f"Doubling the odds makes {moved:.0%} eligible instead of {share:.0%}")
gain, error = 1000 * double.params.item(), 1000 * double.std_errors.item()
print(f"and raises mean assets by ${gain:,.0f} (standard error {error:,.0f})")
assert double.statistics.item() > 5

# %% [markdown]
# The careless version reads the same nuisances, so both can be asked at once. On this table its error bar is too
# long; a part that is left out can be missing, as in the simulation below, or can be missing to cancel another.

# %%
table = read_table(households, numbers={"outcome": "nettfa"}, coded={"treatment": "e401k"}, adjust=covariates)
both = cross_fit(
    [IncrementalMean("nettfa", "e401k", table.names, 2.0), Careless("nettfa", "e401k", table.names, 2.0)],
    table,
    Plan("linear", strata=("e401k",)),
)
errors = (both.influence - today.influence_values).std(axis=0) / np.sqrt(len(table))
print(f"standard error of the change: {errors[0]:.3f}, careless {errors[1]:.3f} ({errors[1] / errors[0] - 1:+.0%})")
assert np.isclose(errors[0], double.std_errors.item())
assert errors[1] > 1.03 * errors[0]

# %% [markdown]
# ## The rows behind it
#
# Influence values are there, so the questions that rest on them need no code of ours. By how much would the change
# move without each household?

# %%
contrast = {"odds × 2": 1.0, "odds × 1": -1.0}
rows = ci.case_influence(fit, contrast)
largest = rows["exact"].abs().nlargest(5).index
print(rows.loc[largest, ["exact", "reason"]].join(households[["nettfa", "e401k", "inc", "age"]]).round(3).to_string())

# %% [markdown]
# Large residuals, among the wealthiest. How few households would have to be left out, the rest fitted again, for the
# change to turn negative?

# %%
found = ci.most_influential(fit, goal="sign", target=contrast)
print(found.summary())
assert found.refitted < 0
assert 0.5 < found.share / found.noise_share < 0.9

# %% [markdown]
# With influence values of the same spread but a normal law, more rows would have been needed ("noise alone"): wealth
# has a long tail. {doc}`which_rows` says how to read such a count.

# %% [markdown]
# ## Does it cover?
#
# A formula can be right and its intervals poor: samples are finite and nuisances are learned. So simulate from a
# design whose truth is an integral over one normal covariate. The propensity is logistic, and the effect of 3 is
# large beside the noise, which is where the policy's own error matters. 500 rows, 400 draws, numbered from zero;
# the same draws for both versions.

# %%
DRAWS, ROWS, ODDS = 400, 500, 2.0


def draw(rng: np.random.Generator) -> Table:
    """Return one table of the design."""
    x = rng.normal(size=ROWS)
    a = (rng.uniform(size=ROWS) < 1 / (1 + np.exp(-x))).astype(float)
    y = x / 2 + 3 * a + rng.normal(0, 0.5, ROWS)
    frame = pd.DataFrame({"x": x, "a": a, "y": y})
    return read_table(frame, numbers={"outcome": "y"}, coded={"treatment": "a"}, adjust=["x"])


nodes, weights = np.polynomial.hermite_e.hermegauss(80)
shifted = 1 / (1 + np.exp(-nodes) / ODDS)  # today's log odds are x
truth = float(weights @ (nodes / 2 + 3 * shifted) / weights.sum())

versions = {"full": IncrementalMean("y", "a", ("x",), ODDS), "careless": Careless("y", "a", ("x",), ODDS)}
values, errors = np.empty((2, DRAWS, len(versions)))
for number in range(DRAWS):
    once = cross_fit(list(versions.values()), draw(np.random.default_rng(number)), Plan("linear", strata=("a",)))
    values[number], errors[number] = once.values, once.influence.std(axis=0) / np.sqrt(ROWS)

report = pd.DataFrame(
    {
        "bias": values.mean(axis=0) - truth,
        "MC error": values.std(axis=0) / np.sqrt(DRAWS),
        "SD": values.std(axis=0),
        "mean SE": errors.mean(axis=0),
        "coverage": (np.abs(values - truth) < 1.959964 * errors).mean(axis=0),
    },
    index=list(versions),
)
print(f"truth {truth:.4f}; Monte Carlo error of a coverage of 95%: {np.sqrt(0.95 * 0.05 / DRAWS):.3f}")
print(report.round(3).to_string())
assert abs(report.loc["full", "bias"]) < 3 * report.loc["full", "MC error"]
assert abs(report.loc["full", "coverage"] - 0.95) < 3 * np.sqrt(0.95 * 0.05 / DRAWS)
assert report.loc["careless", "coverage"] < 0.9

# %% [markdown]
# The intervals of the full version cover as they say, to within the error of the simulation. Those of the careless
# one do not, although its estimates are as good here, where logistic regression is the right model: its standard
# errors are too small, and nothing in a fit would have shown it. The derivative check did, in milliseconds and
# before any data.
#
# ## What a library would add
#
# `IncrementalEffect` leaves out what causalif's own classes have: sampling weights, clusters and repeated splits
# (arguments of `read_table` and `Plan`), refusals in plain words where an arm has too few rows, a docstring with
# formula and assumptions, and tests. `CONTRIBUTING.md` lists the files and the tests in order.
#
# ## Limits
#
# * Multiplied odds are a policy only if somebody could bring them about.
# * With more than two treatment levels there is no single odds; one says which odds are multiplied.
# * $\hat\pi$ carries more weight than in the average effect: look at its skill in `fit.diagnostics["nuisances"]`.
#
# ## References
#
# Kennedy (2019), Nonparametric causal effects based on incremental propensity score interventions, Journal of the
# American Statistical Association 114, 645-656.
