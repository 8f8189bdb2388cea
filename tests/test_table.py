"""Reading columns: what is accepted, how it is coded, and that nothing is copied or changed without need."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from causalif._design import tell_collinear
from causalif._errors import DataWarning, DesignWarning, InputError
from causalif.estimators.ate import ATE
from causalif.table import Table, read_table

N = 60


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "y": rng.normal(size=N),
            "a": np.arange(N) % 2,
            "x": rng.normal(size=N),
            "u": rng.normal(size=N),
            "k": np.array(["red", "green", "blue"])[np.arange(N) % 3],
            "w": 1.0 + np.arange(N) % 2,
            "g": np.arange(N) // 6,
        },
        index=pd.Index(np.arange(N) * 10, name="id"),
    )


def read(data: Any, **roles: Any) -> Table:
    return read_table(
        data, **({"numbers": {"outcome": "y"}, "coded": {"treatment": "a"}, "adjust": ["x", "u"]} | roles)
    )


# --- reading ---------------------------------------------------------------------------------------------------------


def test_columns_by_role_in_the_order_of_the_frame() -> None:
    data = frame()
    table = read(data, cluster="g", weights="w")
    assert len(table) == N
    assert table.names == ("x", "u")
    np.testing.assert_array_equal(table["y"], data["y"])
    np.testing.assert_array_equal(table["x"], data["x"])
    np.testing.assert_array_equal(table["a"], data["a"])
    np.testing.assert_array_equal(table.covariates, data[["x", "u"]])
    assert table.index is data.index or table.index.equals(data.index)
    assert table.clusters.tolist() == data["g"].tolist()
    assert table.weights.mean() == pytest.approx(1)
    assert all(values.dtype == np.float64 for values in (*table.columns.values(), table.covariates, table.weights))


@pytest.mark.skipif(pd.__version__ < "3", reason="copy on write came with pandas 3")
def test_reading_neither_changes_nor_shares_what_the_caller_can_change() -> None:
    data = frame()
    before, table = data.copy(deep=True), read(data, weights="w")
    pd.testing.assert_frame_equal(data, before)
    data.loc[:, "x"] = 0.0
    data.loc[:, "y"] = 0.0
    np.testing.assert_array_equal(table["x"], before["x"])
    np.testing.assert_array_equal(table["y"], before["y"])


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (np.arange(N) % 2, (0, 1)),
        (np.arange(N) % 2 + 1, (1, 2)),
        (np.arange(N) % 2 * 1.5, (0.0, 1.5)),
        (np.arange(N) % 2 == 1, (False, True)),
        (np.array(["no", "yes"])[np.arange(N) % 2], ("no", "yes")),
        (np.array(["no", "yes"], dtype=object)[np.arange(N) % 2], ("no", "yes")),
        (pd.array(np.arange(N) % 2, dtype="Int8"), (0, 1)),
        (pd.array(np.arange(N) % 2 == 1, dtype="boolean"), (False, True)),
        (pd.Categorical.from_codes(np.arange(N) % 2, ["yes", "no"]), ("yes", "no")),
        (pd.Categorical.from_codes(np.arange(N) % 2, ["yes", "no", "unused"]), ("yes", "no")),
        (pd.arrays.SparseArray(np.arange(N) % 2), (0, 1)),
        (2**60 + np.arange(N) % 2, (2**60, 2**60 + 1)),
    ],
    ids=[
        "int",
        "one-two",
        "float",
        "bool",
        "text",
        "object",
        "Int8",
        "boolean",
        "category",
        "unused",
        "sparse",
        "large",
    ],
)
@pytest.mark.filterwarnings("ignore::causalif._errors.DataWarning")
def test_levels_are_the_values_themselves(values: Any, levels: tuple[Any, ...]) -> None:
    table = read(frame().assign(a=values))
    assert table["a"].tolist() == [i % 2 for i in range(N)]
    assert table.levels["a"] == levels
    assert [type(level) for level in table.levels["a"]] == [type(level) for level in levels]


def test_either_is_coded_when_two_valued_and_a_number_otherwise() -> None:
    def read_either(values: Any) -> Table:
        return read(frame().assign(a=values), coded={}, either={"treatment": "a"})

    assert read_either(np.arange(N) % 2 + 5).levels["a"] == (5, 6)
    assert read_either(np.array(["c", "t"])[np.arange(N) % 2]).levels["a"] == ("c", "t")
    continuous = read_either(np.arange(N) / 7)
    assert "a" not in continuous.levels
    np.testing.assert_array_equal(continuous["a"], np.arange(N) / 7)
    with pytest.raises(InputError, match=r"must hold numbers, or two values of any type.* 3 values instead"):
        read_either(np.array(["low", "mid", "high"])[np.arange(N) % 3])


@pytest.mark.parametrize("kind", [str, object, "category"])
def test_text_where_numbers_are_needed_is_told_both_ways_out(kind: Any) -> None:
    data = frame().assign(y=lambda d: pd.Series(np.array(["yes", "no"])[np.arange(N) % 2], d.index).astype(kind))
    remedy = (
        f"`outcome` column 'y' must hold numbers. Got dtype {data['y'].dtype} (for example 'yes') instead. If these "
        "are numbers, convert them, in pandas with pd.to_numeric(data['y']); if they are categories, make an indicator "
        "of one, in pandas (data['y'] == 'yes').astype(float)"
    )
    with pytest.raises(InputError, match=re.escape(remedy) + r"\.$"):
        read(data)
    assert read(data.assign(y=(data["y"] == "yes").astype(float)))["y"].sum() == N / 2
    data.loc[[0, 10], "y"] = None
    with pytest.raises(InputError, match=r"after dropping or filling the 2 that are missing, which would become 0\.$"):
        read(data)
    with pytest.raises(InputError, match=r"numbers, convert them, in pandas with pd.to_numeric\(data\['y'\]\)\.$"):
        read(data.assign(y=lambda d: d["x"].astype(str)))


def test_categories_become_indicators_of_all_levels_but_the_first() -> None:
    data = frame().assign(k=lambda d: pd.Categorical(d["k"], ["red", "green", "blue"]))
    table = read(data, adjust=["x", "k", "u"])
    assert table.names == ("x", "k=green", "k=blue", "u")
    np.testing.assert_array_equal(table["k=blue"], data["k"] == "blue")
    assert table.notes == ("indicators made of k; the first level of each is the reference",)


def test_a_category_that_looks_like_an_identifier_is_refused() -> None:
    def with_levels(count: int) -> pd.DataFrame:
        return frame().assign(k=pd.Categorical([f"p{i % count}" for i in range(N)]))

    with pytest.raises(InputError, match="column 'k' is a category of 60 levels in 60 rows and looks like"):
        read(with_levels(N), adjust=["x", "k"])
    with pytest.warns(DataWarning, match="'k' is a category of 31 levels in 60 rows, fewer than two rows to a level"):
        assert len(read(with_levels(N // 2 + 1), adjust=["x", "k"]).names) == N // 2 + 1
    assert len(read(with_levels(N // 2), adjust=["x", "k"]).names) == N // 2
    assert read(with_levels(3).iloc[:3].assign(k=pd.Categorical(["p", "q", "q"])), adjust=["k"]).names == ("k=q",)
    unused = frame().assign(k=lambda d: pd.Categorical(d["k"], ["red", "green", "blue", *map(str, range(N))]))
    assert read(unused, adjust=["k"]).names == ("k=green", "k=blue")


def test_names_of_indicators_suit_boosting_libraries() -> None:
    data = frame().assign(k=lambda d: pd.cut(d["x"], [-10, -0.5, 0.5, 10]), u=lambda d: pd.cut(d["u"], [-9, 0, 9]))
    data["u"] = data["u"].cat.rename_categories(["under", 'a: "b", {c} [d] <e>'])
    table = read(data, adjust=["k", "u"])
    assert len(set(table.names)) == 3
    assert not set("".join(table.names)) & set('[]<{},:"')


def test_indicators_whose_name_exists_already_are_refused() -> None:
    data = frame().assign(k=lambda d: pd.Categorical(d["k"], ["red", "green", "blue"]))
    with pytest.raises(InputError, match="would repeat the name 'k=green'"):
        read(data.rename(columns={"x": "k=green"}), adjust=["k=green", "k"])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "float16", "float32", "Int64", "Float64", "bool"])
def test_numeric_types_become_doubles_exactly(dtype: str) -> None:
    values = pd.Series((np.arange(N) % 2 + 1) * (1 if dtype == "bool" else 60) % 120, index=frame().index).astype(dtype)
    expected = values.to_numpy(dtype=np.float64)
    if dtype == "bool":
        values, expected = values & (np.arange(N) % 3 == 0), (np.arange(N) % 3 == 0).astype(float)
    table = read(frame().assign(y=values, x=values))
    np.testing.assert_array_equal(table["y"], expected)
    np.testing.assert_array_equal(table["x"], expected)


def test_large_whole_numbers_warn_and_large_floats_do_not() -> None:
    with pytest.warns(DataWarning, match=r"`adjust` column 'x' holds whole numbers beyond 2\^53"):
        read(frame().assign(x=2**61 + 1024 * np.arange(N)))
    read(frame().assign(x=2.0**61 * np.arange(N)))
    read(frame().assign(x=2**53 - np.arange(N)))


def test_finite_columns_whose_sum_is_infinite_are_read() -> None:
    large = np.where(np.arange(N) % 2 == 0, 1.7e308, 1.6e308)
    np.testing.assert_array_equal(read(frame().assign(y=large, x=large))["y"], large)


def test_constant_and_repeated_covariates_are_left_out_with_their_names() -> None:
    data = frame().assign(c=1.0, twin=lambda d: d["x"], near=lambda d: d["x"] + 1e-12)
    with pytest.warns(DesignWarning) as caught, pytest.warns(DataWarning, match="Collinear.*'near' follows from 'x'"):
        table = read(data, adjust=["x", "c", "u", "twin", "near"])
    assert [str(warning.message) for warning in caught] == [
        "Kept out of the design: 'c' is constant; 'twin' repeats 'x'."
    ]
    assert table.names == ("x", "u", "near")
    np.testing.assert_array_equal(table.covariates, data[["x", "u", "near"]])


def collinear(n: int = 5_000, noise: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x, u, v = rng.normal(size=(3, n))
    a = (rng.random(n) < 0.5).astype(float)
    total = 3e4 + 2 * x - 500 * u + noise * rng.normal(size=n)
    return pd.DataFrame({"y": x + a + rng.normal(size=n), "a": a, "x": x, "u": u, "v": v, "total": total})


@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_collinear_covariates_are_named_and_change_no_estimate(noise: float) -> None:
    data = collinear(noise=noise)
    ask = ATE(outcome="y", treatment="a", adjust=["x", "u", "v", "total"], learners="linear", folds=2)
    with pytest.warns(DataWarning, match="Collinear covariates: 'total' follows from 'x', 'u' ") as caught:
        fit = ask.fit(data)
    assert len(caught) == 1
    assert "Collinear covariates" in str(fit.summary())
    without = ATE(outcome="y", treatment="a", adjust=["x", "u", "v"], learners="linear", folds=2).fit(data)
    if noise == 0:
        assert fit.params["ATE"] == pytest.approx(without.params["ATE"], rel=1e-9)
        assert fit.std_errors["ATE"] == pytest.approx(without.std_errors["ATE"], rel=1e-9)


@pytest.mark.parametrize("n", [40, 300, 5_000, 70_000])
@pytest.mark.filterwarnings("error")
def test_covariates_that_are_merely_alike_are_no_news(n: int) -> None:
    rng = np.random.default_rng(1)
    age = rng.integers(18, 80, n).astype(float)
    data = pd.DataFrame({"a": np.arange(n) % 2, "age": age, "square": age**2, "cube": age**3})
    data["close"] = data["age"] + 1e-3 * rng.normal(size=n)
    data["year"], data["rare"] = 2_000 + rng.normal(size=n), np.arange(n) == n // 2 + 1
    read_table(data, coded={"treatment": "a"}, adjust=["age", "square", "cube", "close", "year", "rare"])


def test_collinear_beyond_the_rows_that_are_looked_at_first() -> None:
    n = 30_000
    data = collinear(n).assign(v=0.0)
    data.loc[n // 2 + 1, "v"] = 1.0  # constant on the rows that are screened
    with pytest.warns(DataWarning, match="'total' follows from 'x', 'u' ") as caught:
        read_table(data, coded={"treatment": "a"}, adjust=["x", "u", "v", "total"])
    assert "'v' follows" not in str(caught[0].message)
    codes = pd.get_dummies(pd.Series(np.arange(n) % 4), prefix="is").astype(float)
    with pytest.warns(DataWarning, match="'is_3' follows from 'is_0', 'is_1', 'is_2' "):
        read_table(codes.assign(a=np.arange(n) % 2), coded={"treatment": "a"}, adjust=list(codes))


def test_weights_have_mean_one_whatever_their_scale() -> None:
    for scale in (1e-300, 1.0, 1e308 / 2):
        weights = read(frame().assign(w=lambda d, s=scale: d["w"] * s), weights="w").weights
        np.testing.assert_allclose(weights, frame()["w"] / 1.5, rtol=1e-14)


# --- rows and columns of a table -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows", [slice(3, 9), np.array([5, 1, 1]), np.arange(N) % 3 == 0], ids=["slice", "order", "mask"]
)
def test_take(rows: Any) -> None:
    data = frame()
    part = read(data, cluster="g", weights="w").take(rows)
    expected = data.iloc[rows] if not isinstance(rows, np.ndarray) or rows.dtype != bool else data[rows]
    assert part.index.equals(expected.index)
    np.testing.assert_array_equal(part["y"], expected["y"])
    np.testing.assert_array_equal(part.covariates, expected[["x", "u"]])
    np.testing.assert_array_equal(part.clusters, expected["g"])
    np.testing.assert_allclose(part.weights, expected["w"] / 1.5)
    assert part.covariates.flags.c_contiguous


def test_slices_of_sorted_rows_are_views() -> None:
    table = read(frame()).take(np.arange(N))
    assert np.shares_memory(table.take(slice(3, 9)).covariates, table.covariates)


def test_assign_sets_whole_columns_of_a_role_only() -> None:
    table = read(frame())
    treated = table.assign(a=1.0)
    assert treated["a"].tolist() == [1.0] * N
    assert table["a"].tolist() == [i % 2 for i in range(N)]
    with pytest.raises(InputError, match="Only role columns can be assigned; 'x' is not one of"):
        table.assign(x=0.0)


def test_matrix_in_any_order() -> None:
    table, data = read(frame()), frame()
    assert table.matrix(("x", "u")) is table.covariates
    assert table.matrix(()).shape == (N, 0)
    for names in (["a", "x", "u"], ["u", "x"], ["u"], ["x", "a"]):
        np.testing.assert_array_equal(table.matrix(names), data[names])


# --- frames of other libraries ---------------------------------------------------------------------------------------


def test_polars_columns() -> None:
    pl = pytest.importorskip("polars")
    data = pl.DataFrame(frame().drop(columns="k").to_dict("list")).with_columns(
        pl.Series("k", frame()["k"].tolist()),
        (pl.col("a") == 1).alias("flag"),
        pl.col("x").cast(pl.Decimal(12, 4)).alias("decimal"),
    )
    table = read(data)
    np.testing.assert_array_equal(table["x"], frame()["x"])
    assert table.index.equals(pd.RangeIndex(N))
    assert read(data, coded={"treatment": "flag"}).levels["flag"] == (False, True)
    np.testing.assert_allclose(read(data, adjust=["decimal"])["decimal"], frame()["x"], atol=1e-4)
    lexical = read(data.with_columns(pl.col("k").cast(pl.Categorical)), adjust=["k"])
    assert lexical.names == ("k=green", "k=red")
    declared = read(data.with_columns(pl.col("k").cast(pl.Enum(["red", "blue", "never", "green"]))), adjust=["k"])
    assert declared.names == ("k=blue", "k=green")
    assert read(data, coded={"treatment": "k"}).levels["k"] == ("blue", "green", "red")


def test_pyarrow_columns() -> None:
    pytest.importorskip("pyarrow")
    data = frame()
    arrow = data.assign(x=data["x"].astype("double[pyarrow]"), a=data["a"].astype("int8[pyarrow]"))
    np.testing.assert_array_equal(read(arrow)["x"], data["x"])
    assert read(arrow).levels["a"] == (0, 1)
    arrow.loc[0, "x"] = pd.NA
    with pytest.raises(InputError, match="`adjust` column 'x' has 1 missing of 60 values; first at index 0"):
        read(arrow)


# --- size ------------------------------------------------------------------------------------------------------------


def test_a_million_rows_are_checked_in_a_moment() -> None:
    n, names = 1_000_000, [f"x{j}" for j in range(10)]
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(n, 10)), columns=names)
    data["a"], data["y"] = np.arange(n) % 2, data["x0"] * 2
    start = time.process_time()
    table = read_table(data, numbers={"outcome": "y"}, coded={"treatment": "a"}, adjust=names)
    assert time.process_time() - start < 2.0
    assert len(table) == n
    data.loc[n - 1, "x9"] = np.nan
    start = time.process_time()
    with pytest.raises(
        InputError, match="`adjust` column 'x9' has 1 missing of 1,000,000 values; first at index 999999"
    ):
        read_table(data, numbers={"outcome": "y"}, coded={"treatment": "a"}, adjust=names)
    assert time.process_time() - start < 2.0


def test_a_rare_column_is_not_cleared_by_rows_where_it_never_varies() -> None:
    rng = np.random.default_rng(0)
    n = 20_000
    rare = np.zeros(n)
    rare[[1, 7, 13, 4001, 9003, 15_001]] = rng.normal(size=6)
    matrix = np.column_stack([rng.normal(size=n), rare, 3 * rare])
    with pytest.warns(DataWarning, match="'c' follows from 'b'"):
        tell_collinear(matrix, ("a", "b", "c"))


def test_a_set_of_covariates_is_told_to_be_sorted() -> None:
    with pytest.raises(InputError, match=r"Sort it: adjust=\['a', 'b'\]"):
        read_table(pd.DataFrame({"a": [1.0, 2], "b": [2.0, 1]}), numbers={}, adjust={"b", "a"})
