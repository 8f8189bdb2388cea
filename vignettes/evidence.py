# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How we know the numbers are right
#
# A standard error can be wrong in ways that nobody sees: the program runs, the table looks as tables look. So there
# are four kinds of evidence here, and each can say no.
#
# 1. **Laws.** An influence function is a derivative. On a law with finitely many points the derivative can be taken
#    numerically and compared. Computed on this page, for every estimand of the library.
# 2. **Oracles.** Numbers from outside: published results, certified values, other programs, brute force. Computed on
#    this page.
# 3. **Coverage.** Over many draws from designs whose truth is known, do 95% intervals cover in 95% of them? This takes
#    hours, so the page shows what the studies printed when they last ran, with date and versions.
# 4. **Speed**, against other packages on the same data in the same run: again what was printed, with date and versions.
#
# At the end stands what is slower, weaker or not measured.
#
# A record of 3 or 4 is made by `python benchmarks/record.py NAME`, which keeps a command's output as it is, or
# nothing if the command fails. Where a record is missing this page says "not recorded".

# %% tags=["hide-input"]
import html
import importlib
import inspect
import itertools
import math
import pkgutil
import re
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

import causalif as ci
from causalif.engine.estimand import FiniteLaw
from causalif.estimands.counterfactual import CounterfactualMean
from causalif.testing import check_estimand, random_law

# %% tags=["hide-input"]
REPOSITORY = next(
    folder
    for folder in Path(globals().get("__file__", "evidence.py")).resolve().parents
    if (folder / "benchmarks" / "record.py").exists()
)
before = sys.path[:]
sys.path.append(str(REPOSITORY / "benchmarks"))
import record
from records import figures

sys.path[:] = before


@dataclass(frozen=True)
class Shown:
    """Text that a page renders as Markdown or HTML, and a script prints."""

    text: str
    kind: str = "markdown"

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": self.text, f"text/{self.kind}": self.text}


def table(frame: pd.DataFrame) -> Shown:
    """A frame without its index, names of code in their own type."""
    text = frame.to_html(index=False, border=0, justify="left", classes="docutils align-default")
    text = re.sub("`([^`]+)`", r"<code>\1</code>", text)
    return Shown(re.sub(r"(\d{4}-\d\d-\d\d)", r'<span style="white-space: nowrap">\1</span>', text), "html")


# %% [markdown]
# ## Laws
#
# For a law $P$ with points $o$, `check_estimand` compares, at every point, the influence function with
#
# $$\frac{\psi((1 - \varepsilon) P + \varepsilon \delta_o) - \psi((1 + \varepsilon) P - \varepsilon \delta_o)}
# {2 \varepsilon}.$$
#
# A wrong sign, a forgotten correction, a factor of a half: each leaves a difference far above the error of the
# numerical derivative. The check also asks that $E\varphi = \theta$; that $\varphi$ of a subset of rows is the subset
# of $\varphi$; and, for every set of nuisances that an estimand declares sufficient, that $E\varphi$ stays $\theta$
# when all other nuisances are spoiled.

# %% tags=["hide-input"]
from causalif.estimands.counterfactual import AverageEffect, TreatedMoments
from causalif.estimands.direct_effect import DirectEffect
from causalif.estimands.direct_mean import DirectMean
from causalif.estimands.interventional import InterventionalMean, Segment
from causalif.estimands.invalid_iv import (
    InvalidIVEffect,
    OneSidedEffect,
    Roles,
    SensitivitySlopes,
    VarianceShiftMoments,
)
from causalif.estimands.mediation_functional import MediationMean
from causalif.estimands.mediator_law import Cells, MediatorLaw
from causalif.estimands.mmd import SquaredMMD
from causalif.estimands.multilevel_iv import MultilevelEffect, OverIdentification, ScoredShiftMoments
from causalif.estimands.multilevel_targets import LevelRoles
from causalif.estimands.path_effect import Combination
from causalif.estimands.selective_iv import TupleEffect
from causalif.estimands.sequential_mean import SequentialMean
from causalif.estimands.shift_effect import OutcomeMean, Shift, ShiftedMean, ShiftedMediatorMean
from causalif.kernels import Gaussian


def spread_law(levels: int, binary: bool) -> FiniteLaw:
    """A random law of x, z, a and y in which z shifts the spread of a: what an invalid instrument must do."""
    rng, rows = np.random.default_rng(0), []
    for x, z in itertools.product((0.0, 1.0, 2.0), range(levels)):
        w, mass = (0.16, 0.85, 0.5)[z], rng.uniform(0.5, 1.5)
        values, shares = ((0, 1), (1 - w / 2, w / 2)) if binary else ((0, 1, 2.5), (w / 2, 1 - w, w / 2))
        for a, p in zip(values, rng.dirichlet(60 * np.array(shares)), strict=True):
            rows += [(x, z, a, y, mass * p * q) for y, q in zip((-1, 0.3, 2), rng.dirichlet([2, 2, 2]), strict=True)]
    points = pd.DataFrame(rows, columns=[*"xzay", "mass"], dtype=float)
    mass = points.pop("mass").to_numpy()
    return FiniteLaw(points, mass / mass.sum())


def effect(mean: DirectMean) -> DirectEffect:
    """Both arms of a direct effect."""
    return DirectEffect(mean, replace(mean, level=0.0, label="E[Y(0, M)]"))


BINARY, TWO, FOUR = (0.0, 1.0), {"y": (-1.0, 2.0)}, {"a": (0.0, 1.0, 2.0, 3.0), "y": (-1.0, 2.0)}
SMALL = {"y": (-1.0, 2.0), **dict.fromkeys("xmk", BINARY)}
CELLS, SHIFT = Cells("m", ((0.0,), (1.0,)), ("m=0", "m=1")), Shift(1.0, 0.0, 3.0)
TREATED, CONTROL = (CounterfactualMean("y", "a", ("x",), level, label=f"E[Y({level:g})]") for level in (1.0, 0.0))
TWO_VALUED, SEVERAL = (Roles("y", "a", "z", ("x",), binary=binary) for binary in (True, False))
LEVELS = LevelRoles("y", "a", "z", ("x",), False, (0.5, 0.2, 0.3))
DIRECT = DirectMean("y", "a", ("m",), ("c",), 1.0, label="E[Y(1, M)]")
BY_CELL = replace(DIRECT, cells=CELLS)
LATER = SequentialMean("y", "a", ("m",), ("c",), 1.0, label="E[Y(1, M)]", intermediate=("l",), cells=CELLS)
DRAWN = (Segment(("m",), ()), Segment(("k",), ("m",)))
MOVED, HELD = (ShiftedMean("y", "a", ("x",), held, SHIFT) for held in ((), ("m",)))

LAWS = {  # question: (estimand, law or the supports of some of its columns)
    "mean under a treatment": (TREATED, {}),
    "the same, one of three treatments": (CounterfactualMean("y", "a", ("x", "w"), 2.0, levels=3), {}),
    "average effect": (AverageEffect(TREATED, CONTROL), {}),
    "effect on the treated": (TreatedMoments("y", "a", ("x",)), {}),
    "invalid instrument, binary treatment": (InvalidIVEffect(TWO_VALUED), spread_law(2, True)),
    "invalid instrument, continuous treatment": (InvalidIVEffect(SEVERAL), spread_law(2, False)),
    "its sensitivity to its conditions": (SensitivitySlopes(SEVERAL), spread_law(2, False)),
    "its moments, valid when weak": (VarianceShiftMoments(SEVERAL), spread_law(2, False)),
    "one-sided compliance": (OneSidedEffect(TWO_VALUED, 1), {}),
    "the same, learners of its own for each part": (
        TupleEffect(InvalidIVEffect(SEVERAL), frozenset("FM")),
        spread_law(2, False),
    ),
    "instrument with three levels": (MultilevelEffect(LEVELS), spread_law(3, False)),
    "its over-identification test": (OverIdentification(LEVELS), spread_law(3, False)),
    "its moments": (ScoredShiftMoments(LEVELS, (0.0, 2.0, 1.0)), spread_law(3, False)),
    "mean with mediators held": (DIRECT, {}),
    "direct effect, density ratio": (effect(DIRECT), {}),
    "direct effect, cells": (effect(BY_CELL), {}),
    "direct effect, law of the controls": (effect(replace(BY_CELL, law=MediatorLaw(arm=0.0))), {}),
    "direct effect, weights by least squares": (effect(replace(DIRECT, weights_by="riesz")), {}),
    "direct effect, targeted": (effect(replace(DIRECT, limits=(-1.0, 2.0))), {}),
    "mean with a confounder that the treatment affects": (LATER, TWO),
    "direct effect with such a confounder": (effect(LATER), TWO),
    "natural effect through a mediator": (MediationMean("y", "a", ("x",), (("m",),), (0.0, 1.0)), SMALL),
    "through one of two": (MediationMean("y", "a", ("x",), (("m",), ("k",)), (0.0, 1.0, 0.0)), SMALL),
    "interventional, along a path of two": (
        InterventionalMean("y", "a", ("x",), DRAWN, (), 1.0, 0.0, 2, values=(("m", BINARY), ("k", BINARY))),
        SMALL,
    ),
    "outcome as it is": (OutcomeMean("y"), random_law(TREATED)),
    "shifted treatment": (MOVED, FOUR),
    "shifted treatment, mediator held": (HELD, FOUR),
    "shifted treatment, through the mediator": (ShiftedMediatorMean("y", "a", ("x",), ("m",), SHIFT), FOUR),
    "sums of such means": (
        Combination((MOVED, HELD, OutcomeMean("y")), ("total", "indirect"), ((1, 0, -1), (1, -1, 0))),
        FOUR,
    ),
    "squared discrepancy of two groups": (SquaredMMD(("x1", "x2"), "a", Gaussian(0.8)), {}),
}

# %%
rows = []
for question, (estimand, where) in LAWS.items():
    law = where
    if isinstance(where, dict):
        present = random_law(estimand).points.columns
        law = random_law(estimand, 1, {name: values for name, values in where.items() if name in present})
    report = check_estimand(estimand, law)
    line = {
        "question": question,
        "estimand": type(estimand).__name__,
        "points": len(law.points),
        "derivative": report.derivative,
        "mean": report.mean,
        "subsets": report.locality,
        "sufficient sets": len(report.robustness),
        "others spoiled": max(report.robustness),
    }
    rows.append(line)
laws = pd.DataFrame(rows)
assert laws["derivative"].max() < 1e-5
assert laws[["mean", "subsets", "others spoiled"]].max(axis=None) < 1e-8
deviations = ["derivative", "mean", "subsets", "others spoiled"]
table(laws.assign(**laws[deviations].map("{:.0e}".format)))

# %% [markdown]
# `points` is the size of the law, `sufficient sets` how many sets of nuisances are declared to suffice; the other
# columns hold the largest deviation from each of the four laws. Those of the derivative are what a central difference
# leaves in double precision; the others are rounding. Is an estimand missing? The library's own modules say.

# %% tags=["hide-input"]
names = [module.name for module in pkgutil.iter_modules(ci.estimands.__path__)]
modules = [importlib.import_module(f"causalif.estimands.{name}") for name in names]
complete = {
    name
    for module in modules
    for name, found in inspect.getmembers(module, inspect.isclass)
    if found.__module__ == module.__name__ and all(hasattr(found, part) for part in ("nuisances", "eif", "plug_in"))
}
parts = {"BlockParts"}  # what the selective method fits for one block of learners: it stands for no effect
assert complete - parts == set(laws["estimand"])
print(f"{len(complete - parts)} estimands in {len(laws)} variants; largest deviation {laws['derivative'].max():.0e}")

# %% [markdown]
# ### A planted error
#
# A score solved for $\theta$ without its Jacobian has the right mean, so its estimates look right; its standard
# errors are far too small. No simulation is needed to see it.


# %%
@dataclass(frozen=True)
class HalvedScore(CounterfactualMean):
    """A counterfactual mean whose correction counts half."""

    def eif(self, rows, eta):
        """Return μ plus half of the correction."""
        mu = next(eta[name](rows) for name in self.nuisances() if name.startswith("mu"))
        return mu + (super().eif(rows, eta) - mu) / 2


caught = None
try:
    check_estimand(HalvedScore("y", "a", ("x",), 1.0))
except AssertionError as error:
    caught = str(error)
assert caught is not None
print(caught)

# %% [markdown]
# ## Oracles
#
# `selfcheck` runs wherever the package is installed, in some seconds.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the pages on these tables show the warnings
    checked = ci.selfcheck()
assert checked.ok

# %% [markdown]
# More numbers from outside, each computed here. The difference must be within half a unit of the last published
# digit.

# %% tags=["hide-input"]
from statsmodels.datasets import longley

from causalif.engine.linear import least_squares_folds
from causalif.valuation import knn_shapley

LINES = []


def compare(quantity: str, source: str, published: str, found: float) -> None:
    """Keep a line, and insist on it."""
    digits = len(published.partition(".")[2])
    assert abs(found - float(published)) <= 0.5 * 10**-digits, (quantity, published, found)
    LINES.append((quantity, source, published, f"{found:.{digits + 3}f}", f"{found - float(published):+.0e}"))


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    nsw = ci.datasets.load_nsw()
    experiment = ci.ATE(outcome="re78", treatment="train", learners="linear", folds=1).fit(nsw)
    needed = ci.most_influential(experiment, goal="sign").size
    controls = ["exper", "expersq", "black", "smsa", "south", "smsa66", *(f"reg66{i}" for i in range(1, 9))]
    schooling = ci.InvalidIVATE(
        outcome="lwage", treatment="educ", instrument="nearc4", adjust=controls, learners="linear",
        weak_identification="warn", folds=2,
    ).fit(ci.datasets.load_card()[["lwage", "educ", "nearc4", *controls]]).comparators().to_frame()  # fmt: skip
    schooling = schooling.set_index("model")["estimate"]
    factors, squared = ["sex", "race", "education", "exercise", "active"], ["age", "smokeintensity", "smokeyrs", "wt71"]
    nhefs = ci.datasets.load_nhefs().astype({"qsmk": int, **dict.fromkeys(factors, "category")})
    nhefs = nhefs.assign(**{f"{name}_squared": nhefs[name] ** 2 for name in squared})
    smoking = ci.ATE(
        outcome="wt82_71", treatment="qsmk", adjust=[*factors, *squared, *(f"{name}_squared" for name in squared)],
        learners="linear", folds=1,
    ).fit(nhefs)  # fmt: skip

dollars = 1000 * experiment.params["ATE"]
compare("NSW experiment, effect of training, dollars", "Dehejia and Wahba 1999", "1794", dollars)


def fewest(y: np.ndarray, treated: np.ndarray) -> int:
    """Exhaustion: the best k rows are the i highest of the treated and the k - i lowest of the others, for some i."""
    high, low = np.sort(y[treated])[::-1], np.sort(y[~treated])
    return next(k for k in itertools.count(1) if min(high[i:].mean() - low[k - i :].mean() for i in range(k + 1)) < 0)


proved = fewest(nsw["re78"].to_numpy(), nsw["train"].to_numpy() == 1)
compare("NSW experiment, fewest rows that turn its sign", "exhaustion, on this page", str(proved), needed)
compare("returns to schooling, OLS", "Card 1995; Wooldridge, example 15.4", ".075", schooling["OLS"])
compare("returns to schooling, 2SLS", "Card 1995; Wooldridge, example 15.4", ".132", schooling["2SLS"])
chance, quit, gain = smoking.nuisances["pi1"], nhefs["qsmk"] == 1, nhefs["wt82_71"]
weighted = np.average(gain[quit], weights=1 / chance[quit]) - np.average(gain[~quit], weights=1 / (1 - chance[~quit]))
compare("quitting smoking, kilograms, by weighting", "Hernán and Robins, What If, program 12.2", "3.4405", weighted)
employment = longley.load_pandas().data.to_numpy(dtype=float)
plane = least_squares_folds(employment[:, 1:], employment[:, 0], [slice(0, len(employment))])[0]
compare("Longley, intercept", "NIST StRD", "-3482258.6346", float(plane.intercept))
compare("Longley, coefficient of the deflator", "NIST StRD", "15.0618722714", float(plane.coef[0]))

rng = np.random.default_rng(0)
x, r = rng.normal(size=(6, 2)), rng.normal(size=(4, 2))
y, yr = rng.integers(2, size=6), rng.integers(2, size=4)


def worth(group: tuple[int, ...]) -> float:
    """Share of the 3 nearest rows of a group that have the reference row's label, mean over reference rows."""
    near = [sorted(group, key=lambda i: ((x[i] - r[j]) ** 2).sum())[:3] for j in range(4)]
    return float(np.mean([sum(y[i] == yr[j] for i in near[j]) / 3 for j in range(4)]))


shapley = np.zeros(6)
for order in itertools.permutations(range(6)):
    for place, i in enumerate(order):
        shapley[i] += (worth(order[: place + 1]) - worth(order[:place])) / math.factorial(6)
gap = float(np.abs(knn_shapley(x, y, r, yr, k=3) - shapley).max())
compare("KNN-Shapley, largest difference from all orders", "brute force, on this page", "0.0000000000", gap)

# %% tags=["hide-input"]
table(pd.DataFrame(LINES, columns=["quantity", "source", "published", "found", "difference"]))

# %% [markdown]
# The test suite holds many more: adjustment sets against enumeration on small graphs and on four published
# networks, posteriors over graphs against exhaustive sums, kernel sums against double loops, values of rows against
# complex-step derivatives and refits, case influence against refits, NIST's Wampler and Filip problems.
#
# ## Coverage
#
# One line for each estimate whose interval a study followed. With as many draws, a valid 95% interval has a
# coverage of "at least" the next number in 97.5 of 100 studies. In the study `parametric` the cases that name too
# few right models must be biased and cover little; in the study `weak` the case is the strength of the instrument,
# and what must cover is the robust set. {doc}`coverage` describes the designs.

# %% tags=["hide-input"]
studies = [name for name in record.JOBS if name.startswith("study_")]
followed = [name for name in studies if name not in figures.WITHOUT_COVERAGE]
followed = pd.DataFrame([line for name in followed for line in figures.study_rows(name)])
if len(followed):
    bound = 0.95 - 1.96 * np.sqrt(0.95 * 0.05 / followed["draws"])
    followed["at least"] = bound.map("{:.3f}".format)
    followed["verdict"] = np.where(followed["coverage"] < bound, "too low", "")
    wrong = (followed["study"] == "parametric") & followed["case"].isin(["only pi", "only mu", "none"])
    assert (followed.loc[wrong, "verdict"] == "too low").all()
    low = followed[(followed["verdict"] != "") & ~wrong]
    print("too low where models are right:", ", ".join(low["study"] + " " + low["case"]).strip() or "none")
    for name in ("bias", "SD", "mean SE", "SE / SD", "coverage"):
        followed[name] = followed[name].map(("{:.4f}" if name == "bias" else "{:.3f}").format).replace("nan", "")
missing = [name.removeprefix("study_") for name in studies if figures.read(name) is None]
print("not recorded:", ", ".join(missing) or "none")
table(followed)

# %% [markdown]
# What the studies printed, as it was printed:


# %% tags=["hide-input"]
def block(name: str, kept: dict) -> str:
    """What one record holds, closed until asked for."""
    packages = ", ".join(f"{one} {number}" for one, number in kept["versions"].items())
    where = f"{kept['processor']}, {kept['cores']} cores"
    minutes = max(1, round(kept["seconds"] / 60))
    head = f"<code>{html.escape(kept['command'])}</code>: {html.escape(record.JOBS[name].shows)}"
    facts = f"{kept['date'][:10]}, {minutes} min on {where}; {packages}"
    output = html.escape("\n".join(kept["lines"]))
    return f"<details><summary>{head}</summary><p>{html.escape(facts)}</p><pre>{output}</pre></details>"


def folded(names: list[str]) -> Shown:
    """One block per record, then what was not recorded."""
    blocks = [block(name, kept) for name in names for kept in figures.everywhere(name)]
    absent = [html.escape(record.JOBS[name].command) for name in names if figures.read(name) is None]
    if absent:
        blocks.append(f"<p>Not recorded: <code>{'</code>, <code>'.join(absent)}</code>.</p>")
    return Shown("\n".join(blocks), "html")


# %% tags=["hide-input"]
folded(studies)

# %% [markdown]
# ## Speed
#
# Where no unit is named a number is a quotient of two times from one run on one machine, one thread, CPU seconds; the
# ranges run over the sizes, seeds or learners of the benchmark, and over the processors it was run on. "Times as fast"
# divides the other's time by ours, "times as long" ours by the other's.

# %% tags=["hide-input"]
speed = pd.DataFrame(
    [(one.what, one.against_version(), one.text(), one.date()) for one in figures.FIGURES],
    columns=["task", "against", "causalif is or takes", "recorded"],
)
read = [one for one in figures.FIGURES if one.values()]
assert len(read) == sum(figures.read(one.record) is not None for one in figures.FIGURES)
table(speed)

# %% [markdown]
# What the benchmarks printed, as it was printed:

# %% tags=["hide-input"]
folded([name for name in record.JOBS if name not in studies])


# %% [markdown]
# ## What is slower, weaker, or not known
#
# The figures in these sentences are read from the records when the page is built.


# %% tags=["hide-input"]
def said(name: str, part: str = "") -> str:
    """A list of the figures of a record, of tasks with some words in them."""
    found = [one for one in figures.FIGURES if one.record == name and part in one.what]
    assert found, (name, part)
    return "\n".join(f"- {one.what}, against {one.against_version()}: {one.text()}." for one in found)


def covered(study: str, case: str) -> str:
    """One coverage, or that it was not recorded."""
    found = [line for line in figures.study_rows(study) if line["case"] == case]
    if not found:
        assert figures.read(study) is None
        return "not recorded"
    return f"{found[0]['coverage']:.3f} in {found[0]['draws']} draws"


def false_paths() -> str:
    """The largest stability that FlowSEM gave to a path that does not exist, draw by draw."""
    kept = figures.read("flow")
    if kept is None:
        return "not recorded"
    place = next(i for i, line in enumerate(kept["lines"]) if "false_max" in line)
    column = kept["lines"][place].split().index("false_max")
    return ", ".join(line.split()[column] for line in kept["lines"][place + 1 :] if line.strip())


device = figures.read("gpu")
measured = "not recorded" if device is None else f"recorded on {device['date'][:10]}, see above"
coefficients = ci.SplineSEM().spline_size
limits = Shown(f"""
**No faster than others.** With learners of your own the time is the learners'. Linear nuisances are fast because all
folds come from one pass over the data, but reading and checking a table has a fixed cost, which small tables feel.

{said("crossfit", "forests")}
{said("wcde")}
{said("crossfit", "401(k)")}

**Ratios that depend on what is asked.** Small problems gain less than large ones, and a fit without labels is cheap
itself, so that adding rows to it saves less.

{said("kernels")}
{said("valuation")}
{said("online")}

**On a device.** Kernel sums on a CUDA device: {measured}. Nothing is claimed about what stands above as not recorded.

**Intervals to be careful with.** In SEM-2 the effect along A → L → Y has next to no overlap; coverage of its interval:
{covered("study_interventional", "A -> L -> Y")}. Where the data do not tell the order of two mediators, an effect
averaged over graphs is an average over both orders, not the truth of the one graph that was drawn; coverage of that
truth, same path: {covered("study_sigma", "A -> L -> Y")}.

**Graphs.** `SplineSEM` charges a parent with {coefficients} coefficients, so that weak linear effects stay unseen which
`LinearSEM` finds: where effects are linear, ask for that. `FlowSEM` rests on densities of held-out rows, which
a gross outlier can sway: look at the columns first. The benchmark looks at few draws; the largest stability of a false
path in each of them: {false_paths()}.

**Effects.** Where the treatment affects a confounder, `WCDE` has the sequential formula, for discrete mediators only.
There are no difference-in-differences, no discontinuities, no survival outcomes, no forests of heterogeneous effects,
and no bounds on unmeasured confounding for `ATE`. Packages that have them are named in the README.
""")
limits
