import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from causalif._errors import InputError
from causalif.estimators.compare_sets import compare_sets
from causalif.estimators.sigma.estimator import SIGMA
from causalif.graphs import DAGPosterior, parse_dag
from causalif.results import plots
from causalif.results.estimate import Estimate

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402


@pytest.fixture(autouse=True)
def _close():
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before
    plt.close("all")


@pytest.fixture
def fit():
    psi = np.random.default_rng(0).normal(size=(40, 2))
    psi[7, 0], psi[11, 0] = 30.0, -30.0
    splits = pd.DataFrame({"repeat": [0, 0, 1, 1], "term": ["a", "$b_"] * 2, "estimate": 1.0, "std_error": 1.0})
    index = pd.Index([f"row{i}" for i in range(40)])
    return Estimate([1.0, -2.0], psi - psi.mean(axis=0), ["a", "$b_"], index, splits=splits)


def segments(ax):
    return [path.vertices[:, 0] for path in ax.collections[0].get_paths()]


def test_forest_draws_the_intervals(fit):
    _, ax = plt.subplots()
    assert plots.forest(fit, ax=ax, level=0.9) is ax
    np.testing.assert_allclose(segments(ax), fit.conf_int(0.9).to_numpy())
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first term is on top
    ax.figure.canvas.draw()  # a dollar sign in a label is no formula
    joint = plots.forest(fit, joint=True)
    np.testing.assert_allclose(segments(joint), fit.conf_int(joint=True).to_numpy())


def dashed(ax):
    return [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]


def test_the_null_line_is_drawn_where_it_is_near(fit):
    narrow = np.array([[4.0, 5.0], [4.5, 7.0]])
    assert dashed(plots.intervals(["a", "b"], narrow.mean(axis=1), narrow, "")) == []
    assert dashed(plots.intervals(["a", "b"], narrow.mean(axis=1), narrow, "", null=1.0)) == [1.0]
    assert dashed(plots.intervals(["a", "b"], narrow.mean(axis=1), narrow, "", null=0.99)) == []
    assert dashed(plots.intervals(["a"], narrow[:1, 0], narrow[:1] - 4.0, "", null=None)) == []
    assert dashed(plots.forest(fit)) == [0.0]
    assert dashed(plots.forest(fit + 100)) == []
    assert dashed(plots.intervals(["a"], np.array([np.nan]), np.array([[np.nan, np.nan]]), "")) == [0.0]


def test_unbounded_intervals_end_in_arrows():
    ends = np.array([[0.5, 1.5], [1.0, np.inf], [-np.inf, np.inf]])
    ax = plots.intervals(["a", "b", "c"], np.array([1.0, 2.0, 1.0]), ends, "")
    low, high = ax.get_xlim()
    assert low < 0
    assert high > 2
    np.testing.assert_allclose(segments(ax), [[0.5, 1.5], [1.0, high], [low, high]])
    arrows = {(line.get_marker(), *line.get_xydata()[0]) for line in ax.lines if line.get_marker() in "<>"}
    assert arrows == {("<", low, 2.0), (">", high, 1.0), (">", high, 2.0)}


def test_projections_say_that_slopes_are_per_unit(fit):
    settings = {"estimator": "Effect modification"}
    projected = Estimate(fit.values, fit.influence_values, ["intercept", "x"], fit.index, settings=settings)
    groups = Estimate(fit.values, fit.influence_values, ["x=0", "x=1"], fit.index, settings=settings)
    assert plots.forest(projected).get_xlabel() == "intercept, slopes per unit, and 95% interval"
    assert plots.forest(groups, joint=True).get_xlabel() == "estimate and joint 95% interval"


def test_forest_of_several(fit):
    ax = plots.forest({"x": fit, "y": fit["a"]})
    assert [t.get_text() for t in ax.get_yticklabels()] == ["x: a", r"x: \$b_", "y: a"]
    with pytest.raises(InputError, match="empty"):
        plots.forest({})


@pytest.mark.parametrize("kind", ["sorted", "histogram"])
def test_influence_names_the_extreme_rows(fit, kind):
    ax = plots.influence(fit, kind=kind, name=2)
    assert {text.get_text() for text in ax.texts} == {"row7", "row11"}
    assert not plots.influence(fit, "$b_", kind=kind, name=0).texts
    ax.figure.canvas.draw()
    with pytest.raises(InputError, match="'z'"):
        plots.influence(fit, "z")
    with pytest.raises(InputError, match="kind"):
        plots.influence(fit, kind="pie")


def test_influence_shows_every_row(fit):
    ax = plots.influence(fit, name=0)
    np.testing.assert_allclose(ax.lines[1].get_xdata(), fit.influence_values[:, 0] / 40)


def test_the_influence_axis_is_the_estimate_with_the_row_minus_without_it():
    x = np.array([0.0, 1.0, 2.0, 40.0])
    mean = Estimate([x.mean()], (x - x.mean())[:, None], ["mean"], pd.RangeIndex(4))
    ax = plots.influence(mean, name=0)
    assert ax.get_xlabel().startswith("estimate with the row minus without it")
    without = np.array([np.delete(x, i).mean() for i in range(4)])
    np.testing.assert_allclose(ax.lines[1].get_xdata() * 4 / 3, x.mean() - without)


def test_the_histogram_shows_single_rows(fit):
    ax = plots.influence(fit, kind="histogram", name=0)
    assert ax.get_yscale() == "log"
    assert 0 < ax.get_ylim()[0] < 1
    assert sum(patch.get_height() for patch in ax.patches) == 40


def test_the_line_at_the_optimal_set_is_named():
    dag = parse_dag("C -> A; C -> Y; A -> Y; W -> Y")
    rng = np.random.default_rng(0)
    c, w, a = rng.normal(size=400), rng.normal(size=400), rng.integers(0, 2, 400)
    table = pd.DataFrame({"C": c, "W": w, "A": a, "Y": 9 * a + c + w + rng.normal(size=400)})
    sets = compare_sets(dag, table, "A", "Y", learners="linear")
    ax = sets.plot()
    note = next(text for text in ax.texts if text.get_text() == "estimate of the optimal set")
    assert note.xy[0] == ax.lines[-1].get_xdata()[0] == sets.fits[0].values[0]
    assert dashed(ax) == []  # zero is far from all bars


def test_stabilities_have_no_null_and_a_line_at_the_least_shown():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 2, 400)
    m = 0.5 * a + rng.normal(size=400)
    table = pd.DataFrame({"A": a, "M": m, "Y": a + m + rng.normal(size=400)})
    posterior = DAGPosterior.from_dags([parse_dag("A -> M -> Y; A -> Y"), parse_dag("A -> M -> Y")], [0.7, 0.3])
    result = SIGMA(treatment="A", outcome="Y", posterior=posterior, learners="linear").fit(table)
    marked = replace(result, settings={**result.settings, "min_stability": 0.25}).plot("stability")
    assert [tick.get_text() for tick in marked.get_yticklabels()] == ["A → M → Y", "A → Y"]
    assert [line.get_xdata()[0] for line in marked.lines if line.get_linestyle() == ":"] == [0.25]
    assert dashed(marked) == []
    assert dashed(result.plot("effects")) == [0.0]


def test_splits(fit):
    ax = plots.splits(fit, "$b_")
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "1"]
    with pytest.raises(InputError, match="splits"):
        plots.splits(fit * 2)


def test_a_missing_matplotlib_is_told(fit, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"causalif\[plot\]"):
        plots.forest(fit)
