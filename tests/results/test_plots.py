import sys

import numpy as np
import pandas as pd
import pytest

from causalif._errors import InputError
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
