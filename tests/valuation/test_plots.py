import numpy as np
import pytest

from causalif._errors import InputError
from causalif.estimators.kairos import KAIROS
from causalif.valuation import plots

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
    heights = [sum(patch.get_height() for patch in container) for container in ax.containers]
    assert heights == [54, 6]
    assert len(value.plot("components", is_bad=bad).collections[1].get_offsets()) == 6
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


def test_a_stream(value):
    ax = plots.stream([value, value.add(np.zeros((2, 3)), [True, False])])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["60", "62"]


def test_what_cannot_be_drawn(value):
    with pytest.raises(InputError, match="`kind` must be one of"):
        value.plot("pie")
    rng = np.random.default_rng(0)
    flat = KAIROS(progress=False).fit(rng.normal(size=(20, 1)), reference=rng.normal(size=(9, 1)))
    with pytest.raises(InputError, match="at least two features"):
        flat.plot("witness")
    with pytest.raises(InputError, match="no label component"):
        flat.plot("components")
