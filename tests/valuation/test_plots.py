import numpy as np
import pandas as pd
import pytest

from causalif._errors import InputError
from causalif.estimators.kairos import KAIROS
from causalif.valuation import plots
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
    with pytest.raises(InputError, match="one entry for each of the 60 rows"):
        value.plot(is_bad=bad[:3])


def test_a_map_along_two_features(value):
    ax = value.plot("witness", features=(0, 2))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("feature 0", "feature 2")
    np.testing.assert_allclose(ax.collections[1].get_offsets()[:, 1], value.state.points[:, 2], rtol=1e-6)


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
    ax = RemovalCurve(frame).plot()
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


def test_what_cannot_be_drawn(value):
    with pytest.raises(InputError, match="`kind` must be one of"):
        value.plot("pie")
    rng = np.random.default_rng(0)
    flat = KAIROS(progress=False).fit(rng.normal(size=(20, 1)), reference=rng.normal(size=(9, 1)))
    with pytest.raises(InputError, match="at least two features"):
        flat.plot("witness")
    with pytest.raises(InputError, match="no label component"):
        flat.plot("components")
