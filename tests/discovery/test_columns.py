"""From a frame to columns of known kind, and every frame that cannot be one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalif._errors import DataWarning, InputError
from causalif.discovery.columns import read_columns


def frame(n=60):
    rng = np.random.default_rng(0)
    return pd.DataFrame({"B": rng.standard_normal(n), "A": rng.standard_normal(n)})


def test_columns_are_sorted_by_name_and_scaled():
    data = frame().assign(B=lambda d: 1e200 * d["B"] + 3e200)
    columns = read_columns(data, None)
    assert columns.names == ("A", "B")
    assert columns.order == ("B", "A")
    np.testing.assert_allclose(columns.values.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(columns.values.std(axis=0), 1)


def test_kinds():
    rng = np.random.default_rng(0)
    data = frame().assign(
        two=rng.choice([3, 7], 60),
        text=np.resize(["x", "y", "z"], 60),
        flag=rng.random(60) < 0.5,
        grade=pd.Categorical(np.resize([1, 2, 3], 60)),
        code=np.resize([10, 20, 30, 40], 60),
    )
    columns = read_columns(data, ["code"])
    assert dict(zip(columns.names, columns.kinds, strict=True)) == {
        "A": "continuous", "B": "continuous", "two": "binary", "text": "categorical", "flag": "binary",
        "grade": "categorical", "code": "categorical",
    }  # fmt: skip
    assert columns.levels["two"] == (3, 7)
    assert columns.levels["code"] == (10, 20, 30, 40)
    assert columns.indicators(columns.names.index("code")).sum(axis=0).tolist() == [15, 15, 15]


def test_whole_numbers_with_few_values_are_asked_about():
    data = frame().assign(educ=np.resize([1, 2, 3, 4], 60))
    with pytest.warns(DataWarning, match=r"Column 'educ' holds 4 different whole numbers .*discrete=\['educ'\]"):
        kinds = read_columns(data, None).kinds
    assert kinds[-1] == "continuous"
    assert read_columns(data, []).kinds[-1] == "continuous"
    assert read_columns(data, ["educ"]).kinds[-1] == "categorical"
    read_columns(data.assign(educ=np.resize(np.arange(11), 60)), None)  # eleven values: no question


def test_a_polars_frame():
    polars = pytest.importorskip("polars")
    data = frame().assign(G=np.resize(["a", "b"], 60))
    found = read_columns(polars.DataFrame(data.to_dict("list")), None)
    expected = read_columns(data, None)
    assert found.kinds == expected.kinds
    np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.parametrize(
    ("made", "discrete", "words"),
    [
        (lambda d: d.assign(B=d["B"].where(d.index > 2)), None, "column 'B' has 3 missing of 60 values.*impute"),
        (lambda d: d.assign(B=d["B"].mask(d.index == 0, np.inf)), None, "column 'B' has 1 infinite"),
        (lambda d: d.assign(C=1.5), None, "Column 'C' is constant"),
        (lambda d: d.assign(C="one"), None, "Column 'C' is constant"),
        (lambda d: d.assign(C=[f"p{k}" for k in range(60)]), None, "Column 'C' has 60 levels, more than 20"),
        (lambda d: d.assign(C=np.resize(["a", None], 60)), None, "column 'C' has 30 missing"),
        (lambda d: d[["A"]], None, "at least two columns"),
        (lambda d: d.rename(columns={"A": 1}), None, r"Got 1; use data.rename\(columns=str\)"),
        (lambda d: pd.concat([d, d], axis=1), None, "several columns named 'B'"),
        (lambda d: d.to_numpy(), None, "must be a DataFrame. Got ndarray"),
        (lambda d: d.iloc[:0], None, "no rows"),
        (lambda d: d, ["Z"], "`discrete` names 'Z'"),
        (lambda d: d, "A", r"write \['A'\]"),
        (lambda d: d.assign(B=1e17 + np.resize([0.0, 16.0, 32.0], 60)), [], "varies less than its rounding error"),
    ],
)
def test_frames_that_cannot_be_used(made, discrete, words):
    with pytest.raises(InputError, match=words):
        read_columns(made(frame()), discrete)
