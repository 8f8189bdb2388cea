from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from causalif._errors import InputError
from causalif.estimators.kairos import KAIROS
from causalif.valuation import curves, plots
from causalif.valuation.curves import RemovalCurve

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def value():
    rng = np.random.default_rng(0)
    x, r = rng.normal(size=(60, 3)), rng.normal(size=(20, 3))
    return KAIROS(progress=False).fit(x, reference=r, label=x[:, 0] > 0, reference_label=r[:, 0] > 0)


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.mark.parametrize("kind", ["histogram", "components", "witness"])
def test_axes_in_axes_out(value, kind):
    _, ax = plt.subplots()
    assert value.plot(kind, ax=ax) is ax
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    assert value.plot(kind) is not ax


def test_marked_rows_are_set_apart(value):
    bad = np.arange(60) < 6
    ax = value.plot(is_bad=bad)
    assert sum(patch.get_height() for patch in ax.containers[0]) == 54
    outline = ax.patches[-1]
    assert outline.get_data().values.sum() == 6
    assert outline.get_hatch()
    ax = value.plot("components", is_bad=bad)
    assert [len(group.get_offsets()) for group in ax.collections] == [54, 6]
    shapes = [len(group.get_paths()[0].vertices) for group in ax.collections]
    assert shapes[0] != shapes[1]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["other rows", "known to be bad"]


@pytest.mark.parametrize("kind", ["histogram", "components"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([True] * 3, "`is_bad` must have one value per train row, 60"),
        ([True] * 60, "some rows but not all. Got 60 of 60"),
        ([False] * 60, "some rows but not all. Got 0 of 60"),
        (["yes"] * 60, "booleans, or the numbers 0 and 1"),
        ([None] + [True] * 59, "1 missing of 60 marks"),
    ],
)
def test_curve_and_plot_refuse_the_same_marks(value, kind, bad, message):
    with pytest.raises(InputError, match=message):
        value.plot(kind, is_bad=bad)
    assert not plt.get_fignums()
    with pytest.raises(InputError, match=message):
        curves.marks_of(value, bad)


def test_marks_in_another_order_mark_the_same_rows(value):
    bad = pd.Series(np.arange(60) < 6, index=value.index)
    ax = value.plot("components", is_bad=bad.sample(frac=1, random_state=0))
    np.testing.assert_allclose(ax.collections[1].get_offsets(), value.components.to_numpy()[:6])


def test_a_map_along_two_features(value):
    ax = value.plot("witness", features=(0, 2))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("feature 0 (standardised)", "feature 2 (standardised)")
    np.testing.assert_allclose(ax.collections[1].get_offsets()[:, 1], value.state.points[:, 2], rtol=1e-6)


@pytest.fixture(scope="module")
def named():
    rng = np.random.default_rng(0)
    train, clean = (
        pd.DataFrame(rng.normal(size=(rows, 2)), columns=["age", "usage"]).assign(plan=rng.choice(["s", "m"], rows))
        for rows in (60, 30)
    )
    return KAIROS(progress=False).fit(train, reference=clean), train


def test_a_map_along_named_columns(named):
    value, train = named
    ax = value.plot("witness", features=("usage", "plan=s"))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("usage (standardised)", "plan=s (standardised)")
    spots = np.asarray(ax.collections[1].get_offsets())
    assert np.corrcoef(spots[:, 0], train["usage"])[0, 1] == pytest.approx(1)
    assert np.corrcoef(spots[:, 1], train["plan"] == "s")[0, 1] == pytest.approx(1)
    assert value.plot("witness", features=(0, np.int64(2))).get_ylabel() == "plan=m (standardised)"


def test_units_along_a_map():
    rng = np.random.default_rng(0)
    for scale, unit in ((None, ""), ("rows", " (rows of length one)")):
        value = KAIROS(progress=False, scale=scale).fit(rng.normal(size=(20, 2)), reference=rng.normal(size=(9, 2)))
        assert value.plot("witness", features=(0, 1)).get_xlabel() == f"feature 0{unit}"


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ((0, 40), "positions from 0 to 3, as the fit has 4 encoded features, or names of columns. Got 40"),
        ((-1, 0), "positions from 0 to 3, .* Got -1"),
        ((0, 0), "two different ones"),
        ((0, "age"), "two different ones"),
        ((0, 1, 2), "must be a pair"),
        ("age", "must be a pair"),
        (3, "must be a pair"),
        (("age", "usge"), "Got 'usge'. Did you mean 'usage'?"),
        (("age", "plan"), "Got 'plan'. That column is a category; name one of its levels, such as 'plan=m'"),
        (("age", "zzz"), "Got 'zzz'. There are age, usage, plan=m, plan=s"),
        ((True, "age"), "Got True"),
        ((["age"], "age"), r"Got \['age'\]"),
    ],
)
def test_features_that_are_not_there(named, features, message):
    with pytest.raises(InputError, match=message):
        named[0].plot("witness", features=features)
    assert not plt.get_fignums()


def test_an_array_has_no_names(value):
    with pytest.raises(InputError, match="on an array without names; take positions from 0 to 2"):
        value.plot("witness", features=("feature 0", "feature 1"))


def test_curves(value):
    found = value.detection_curve(np.arange(60) < 6)
    ax = found.plot()
    assert len(ax.lines) == 2
    assert found.plot(ax=ax, label="again") is ax
    assert len(ax.lines) == 3
    assert "again, AUROC" in ax.get_legend().get_texts()[-1].get_text()
    first, second = ax.lines[1:]
    assert first.get_linestyle() != second.get_linestyle()
    assert first.get_color() != second.get_color()


def test_random_removals_are_a_mean_and_a_range():
    frame = pd.DataFrame(
        {"removed": [0.0, 0.1], "score": [0.8, 0.9], "random_mean": [0.8, 0.7], "random_low": [0.8, 0.6],
         "random_high": [0.8, 0.75]}
    )  # fmt: skip
    ax = RemovalCurve(frame, "R²").plot()
    assert ax.get_ylabel() == "the model's score on test rows (R²)"
    assert RemovalCurve(frame).plot().get_ylabel() == "the model's score on test rows"
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0.8, 0.7])
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert said == ["random rows removed: mean and range of the draws", "by value"]
    RemovalCurve(frame).plot(ax=ax, label="again")
    assert ax.lines[1].get_linestyle() == "-"
    assert ax.lines[2].get_linestyle() == "--"


def test_a_stream(value):
    values = [value, value.add(np.zeros((2, 3)), [True, False])]
    ax = plots.stream(values)
    assert ax.lines[1].get_xdata().tolist() == [60, 62]
    assert all(tick == round(tick) for tick in ax.get_xticks())
    ax = plots.stream(values, names=["Monday", "Tuesday"])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["Monday", "Tuesday"]
    assert ax.lines[1].get_xdata().tolist() == [0, 1]
    assert ax.get_xlabel() == "batch"


@pytest.mark.parametrize("count", [2, 6, 20, 40])
def test_names_along_a_stream_do_not_touch(value, count):
    names = [f"week {i + 1}, warehouse" for i in range(count)]
    ax = plots.stream([value] * count, names=names)
    ax.figure.canvas.draw()
    labels = ax.get_xticklabels()
    assert [label.get_text() for label in labels] == names
    if labels[0].get_rotation() in (0, 90):
        boxes = [label.get_window_extent() for label in labels]
        gap = min((second.x0 - first.x1 for first, second in pairwise(boxes)))
    else:  # slanted lines of text are as far apart as their ticks, seen along the slant
        steps = np.diff(ax.transData.transform([(i, 0) for i in range(count)])[:, 0])
        slant, size = np.deg2rad(labels[0].get_rotation()), labels[0].get_size() * ax.figure.dpi / 72
        gap = (steps * np.sin(slant)).min() - size
    assert gap > 0


def test_streams_that_cannot_be_drawn(value):
    for names in (["Monday"], "ab"):
        with pytest.raises(InputError, match="`names` must have one name for each of the 2 valuations"):
            plots.stream([value, value], names=names)
    with pytest.raises(InputError, match=r"a single one; write \[values\]"):
        plots.stream(value)
    with pytest.raises(InputError, match=r"`values` must be valuations, one per moment\. Got none"):
        plots.stream([])
    with pytest.raises(InputError, match="Got float"):
        plots.stream([value, 0.1])
    assert not plt.get_fignums()


def test_what_cannot_be_drawn(value):
    with pytest.raises(InputError, match="`kind` must be one of"):
        value.plot("pie")
    rng = np.random.default_rng(0)
    flat = KAIROS(progress=False).fit(rng.normal(size=(20, 1)), reference=rng.normal(size=(9, 1)))
    with pytest.raises(InputError, match="at least two features"):
        flat.plot("witness")
    with pytest.raises(InputError, match="no label component"):
        flat.plot("components")
