import pickle

import numpy as np
import pandas as pd
import pytest

from causalif._errors import InputError
from causalif.results.compare import Comparison, compare
from causalif.results.estimate import Estimate


@pytest.fixture
def pair():
    psi = np.random.default_rng(0).normal(size=(50, 2))
    psi -= psi.mean(axis=0)
    ols = Estimate([1.0, 2.0], psi, ["ATE", "ATT"], pd.RangeIndex(50))
    iv = Estimate([3.0, 1.0], psi * 2, ["LATE", "ATT"], pd.RangeIndex(50), np.arange(50) % 25)
    return {"OLS": ols, "IV": iv}


def test_first_term_of_each_by_default(pair):
    both = compare(pair)
    frame = both.to_frame()
    assert list(frame.columns) == [
        "model", "term", "estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high", "n",
    ]  # fmt: skip
    assert list(frame["term"]) == ["ATE", "LATE"]
    assert "OLS: ATE" in str(both)
    assert "Clustered: IV." in str(both)
    expected = pair["IV"].to_frame(0.9).iloc[0]
    got = both.to_frame(0.9).iloc[1]
    assert [got[name] for name in expected.index] == list(expected)


def test_a_shared_term_by_name(pair):
    both = compare(pair, term="ATT")
    assert list(both.to_frame()["estimate"]) == [2.0, 1.0]
    assert "Estimates of ATT" in str(both)
    with pytest.raises(InputError, match="'ATE'"):
        compare(pair, term="ATE")


def test_every_format_names_every_model(pair):
    both = compare(pair, term="ATT")
    for source in (str(both), repr(both), both.to_latex(), both.to_markdown(), both._repr_html_()):
        assert "OLS" in source
        assert "IV" in source


def test_plot_names_the_models(pair):
    plt = pytest.importorskip("matplotlib.pyplot")
    ax = compare(pair, term="ATT").plot()
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["OLS", "IV"]
    assert ax.get_title() == "ATT"
    ax = compare(pair).plot()
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["OLS: ATE", "IV: LATE"]
    plt.close("all")


def test_the_result_does_not_change(pair):
    both = compare(pair)
    with pytest.raises(TypeError):
        both.estimates["OLS"] = pair["IV"]
    assert str(pickle.loads(pickle.dumps(both))) == str(both)
    assert isinstance(both, Comparison)


@pytest.mark.parametrize("wrong", [{}, [1], {"OLS": 3.0}])
def test_what_cannot_be_compared_is_refused(wrong):
    with pytest.raises(InputError, match="`estimates`"):
        compare(wrong)
