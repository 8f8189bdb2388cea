from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalif._errors import DataWarning, InputError
from causalif.valuation.features import fit_encoder, join, take, to_numpy
from causalif.valuation.inputs import is_mask, read_rows, split_reference


def test_what_counts_as_a_mask():
    for mask in ("column", np.array([True]), pd.Series([True]), [True, False]):
        assert is_mask(mask)
    assert is_mask((True, False))
    assert is_mask([0, 1, 2])  # positions, which are then refused by name
    for rows in (np.ones((2, 2)), pd.DataFrame({"a": [1]}), [[1.0, 2.0]]):
        assert not is_mask(rows)


def test_lists_are_arrays_and_lazy_frames_are_not():
    assert read_rows("train", [[1.0, 2.0], [3.0, 4.0]]).features.shape == (2, 2)
    pl = pytest.importorskip("polars")
    with pytest.raises(InputError, match="a lazy frame must be collected first"):
        read_rows("train", pl.DataFrame({"a": [1.0]}).lazy())


@pytest.mark.parametrize("shape", [(4,), (0, 2), (4, 0), (4, 2, 2)])
def test_shapes(shape):
    with pytest.raises(InputError, match="`train` must be of shape"):
        read_rows("train", np.ones(shape))


def test_text_in_an_array():
    with pytest.raises(InputError, match="must hold numbers"):
        fit_encoder(np.array([["a"]]), np.array([["b"]]), "reference", False)


def test_dates_are_no_features():
    frame = pd.DataFrame({"d": pd.date_range("2020", periods=3)})
    with pytest.raises(InputError, match="no number and no category"):
        fit_encoder(frame, frame, "reference", False)


def test_booleans_nullable_numbers_and_levels():
    frame = pd.DataFrame({"b": [True, False, True], "i": pd.array([1, 2, 4], dtype="Int64"), "c": ["u", "v", "u"]})
    encoder = fit_encoder(frame, frame, None, True)
    np.testing.assert_array_equal(encoder(frame, "train"), [[1, 1, 1, 0], [0, 2, 0, 1], [1, 4, 1, 0]])
    missing = frame.assign(i=pd.array([1, None, 4], dtype="Int64"))
    with pytest.raises(InputError, match=r"missing or infinite numbers\. Got some in 1 feature columns: 'i'"):
        encoder(missing, "batch")


def test_standardising_is_exact_far_from_zero():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5_000, 3)) * [1, 1e-3, 1e3] + [1e6, 0, -1e5]
    encoded = fit_encoder(x, x, "reference", True)(x, "train")
    np.testing.assert_allclose(encoded.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(encoded.std(axis=0), 1, atol=1e-9)


def encoded(train, reference=None):
    train = pd.DataFrame({"c": train})
    reference = train if reference is None else pd.DataFrame({"c": reference})
    return fit_encoder(reference, train, "reference", True)(train, "train")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (["1.5", "2.5", "3.5"], r"'c' holds numbers as text\. Convert it with pd\.to_numeric"),
        ([*map(str, range(19)), "?"], r"'c' holds numbers as text, but for '\?'\."),
        (pd.Series([1, 2, 3], dtype=object), "'c' has dtype object and holds int, for example 1"),
        ([Decimal("1.5"), Decimal("2.5")], "holds Decimal, for example Decimal"),
        ([date(2020, 1, 1), date(2020, 1, 2)], "holds date, for example"),
        ([[1], [2]], "holds list, for example"),
        ([f"p{i}" for i in range(30)], "'c' has 60 values in 60 rows and looks like an identifier"),
        ([None, None], "'c' of `reference` has 2 missing values. Fill them"),
        ([1j, 2j], "has dtype complex128, which is no number and no category"),
    ],
)
def test_what_is_no_category_is_not_made_one(values, match):
    with pytest.raises(InputError, match=match):
        encoded(values, [f"q{i}" for i in range(30)] if "identifier" in match else None)


@pytest.mark.parametrize("train", [True, False])
def test_numbers_in_one_table_and_text_in_the_other(train):
    sides = ([1.0, 2.0, 3.0], ["1.0", "2.0", "x"])
    with pytest.raises(InputError, match="numbers in both tables or categories in both"):
        encoded(*(sides if train else sides[::-1]))


def test_codes_of_categories_are_taken_where_that_is_said():
    assert encoded(pd.Series(["1", "2", "1"], dtype="category")).shape == (3, 2)
    assert encoded(["a", "b", "c"] * 3).shape == (9, 3)
    assert encoded(pd.Series([True, "a", False], dtype=object)).shape == (3, 3)
    pa = pytest.importorskip("pyarrow")
    assert encoded(pd.Series(["a", "b"]).convert_dtypes(dtype_backend="pyarrow")).shape == (2, 2)
    dictionary = pd.Series(pd.arrays.ArrowExtensionArray(pa.array(["1", "2"]).dictionary_encode()))
    assert encoded(dictionary).shape == (2, 2)
    assert encoded(pd.Series([True, False], dtype=object), pd.Series([True, False])).shape == (2, 1)


def test_levels_that_are_many_or_unknown_to_the_reference_are_told():
    many = [f"p{i % 101}" for i in range(404)]
    with pytest.warns(DataWarning, match="'c' becomes 101 indicators, which can drown the other features"):
        encoded(many)
    with pytest.warns(DataWarning, match="'c': 2 train rows hold 'mars', which no reference row has"):
        encoded(["mars", "mars", "a"], ["a", "b", "a"])


def test_values_that_overflow_and_half_precision():
    with pytest.raises(InputError, match=r"so far from the reference.* overflow float32"):
        fit_encoder(np.eye(2), np.eye(2), "reference", False)(np.eye(2) * 1e200, "train")
    with pytest.warns(DataWarning, match="Column 'c' of `train` comes in half precision"):
        encoded(np.ones(3, dtype=np.float16), np.arange(3.0))


def test_frames_that_cannot_be_read():
    for data, match in (
        (pd.DataFrame(np.eye(2), columns=pd.MultiIndex.from_product([["a"], ["b", "c"]])), "named on 2 levels"),
        (pd.Series([1.0]), r"a single column is a table in \.to_frame"),
        (np.ma.masked_equal(np.eye(2), 0), "masked entries, which are missing"),
        ([[1, 2], [3]], "rows of one length"),
        (5, "must be a DataFrame, an array or a tensor. Got int"),
        ("train.csv", "read the file first"),
        (Path("train.csv"), "read the file first"),
        ({"a": [1.0]}, "make it a table with pd.DataFrame"),
    ):
        with pytest.raises(InputError, match=match):
            read_rows("train", data)
    from scipy.sparse import csr_array

    with pytest.raises(InputError, match=r"make it dense with \.toarray\(\)"):
        read_rows("train", csr_array(np.eye(2)))
    with pytest.raises(InputError, match="`features` lists a column twice"):
        read_rows("train", pd.DataFrame({"a": [1.0]}), features=["a", "a"])
    with pytest.raises(InputError, match=r"`label` must have .* Got shape \(\)"):
        read_rows("train", pd.DataFrame({"a": [1.0]}), label=2.5)
    with pytest.raises(InputError, match=r"`label` names the column 2, which `train` does not have"):
        read_rows("train", pd.DataFrame({"a": [1.0]}), label=2)
    with pytest.raises(InputError, match=r"`label` names a column, but `train` is an array"):
        read_rows("train", np.eye(2), label=1)
    with pytest.raises(InputError, match="`reference_label` must have one value for each of the 2 rows"):
        read_rows("reference", np.eye(2), label=[1])


def test_a_series_is_matched_by_its_index():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0]}, index=["x", "y", "z"])
    label = pd.Series([30, 10, 20], index=["z", "x", "y"])
    assert read_rows("train", frame, label=label).labels.tolist() == [10, 20, 30]
    assert read_rows("train", frame, label=label.to_numpy()).labels.tolist() == [30, 10, 20]
    assert read_rows("train", frame.to_numpy(), label=label).labels.tolist() == [30, 10, 20]
    with pytest.raises(InputError, match=r"`label` has 3 labels, other than those of the 3 rows.*pass its `.to_numpy"):
        read_rows("train", frame, label=label.reset_index(drop=True))
    mask = pd.Series([True, False, False], index=["z", "x", "y"])
    train, reference, label, reference_label, weights = split_reference(frame, mask, label, mask + 1.0)
    assert (train.index.tolist(), label.tolist(), weights.tolist()) == (["x", "y"], [10, 20], [1.0, 1.0])
    assert (reference.index.tolist(), reference_label.tolist()) == (["z"], [30])


def test_masks_and_weights_kept_as_objects():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0]})
    assert len(split_reference(frame, pd.Series([True, False, True], dtype=object), None, None)[1]) == 2
    with pytest.raises(InputError, match="write == 1 after a column of 0 and 1"):
        split_reference(frame, np.array([1, 0, 1]), None, None)
    with pytest.raises(InputError, match="booleans of shape"):
        split_reference(frame, [0, 2], None, None)
    assert read_rows("train", frame, weights=[Decimal(1), Decimal(2), 0.5]).weights.tolist() == [1.0, 2.0, 0.5]


def test_tensors_are_taken_and_joined():
    torch = pytest.importorskip("torch")
    x = torch.arange(6.0).reshape(3, 2)
    assert to_numpy(take(x, np.array([2, 0]))).tolist() == [[4, 5], [0, 1]]
    assert to_numpy(join(x[:1], x[2:])).tolist() == [[0, 1], [4, 5]]


def two_tables(rows=150):
    rng = np.random.default_rng(0)
    return (pd.DataFrame(rng.normal(size=(rows, 1)), columns=["a"]) for _ in range(2))


@pytest.mark.parametrize("numbers", [np.arange(300), np.arange(300)[::-1] * 7.0, 10**9 + np.arange(300) ** 2])
def test_a_column_that_counts_the_rows_is_warned_of(numbers):
    train, reference = two_tables()
    with pytest.warns(DataWarning, match=r"'n' holds another whole number in every row .* listing the others in"):
        fit_encoder(reference.assign(n=numbers[:150]), train.assign(n=numbers[150:]), "reference", False)


def test_columns_that_do_not_count_the_rows():
    train, reference = two_tables()
    rng = np.random.default_rng(1)
    for column in (rng.normal(size=300) * 100, rng.integers(1000, size=300), rng.random(300) < 0.5):
        fit_encoder(reference.assign(n=column[:150]), train.assign(n=column[150:]), "reference", False)
    few_train, few = two_tables(40)
    fit_encoder(few.assign(n=np.arange(40)), few_train.assign(n=np.arange(40)), "reference", False)


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%y", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S+00:00"])
def test_dates_kept_as_text_are_refused(form):
    train, reference = two_tables()
    days = pd.date_range("2024-01-01", periods=30).strftime(form).to_numpy()[np.arange(300) % 30]
    with pytest.raises(InputError, match=r"'d' holds dates as text, such as .* the days since the first"):
        fit_encoder(reference.assign(d=days[:150]), train.assign(d=days[150:]), "reference", False)


def test_text_with_numbers_and_strokes_is_a_category():
    train, reference = two_tables()
    codes = np.array(["1-2", "10/3", "a-1-2", "2024", "12-34.5", "v1.2.3"])[np.arange(300) % 6]
    fit_encoder(reference.assign(d=codes[:150]), train.assign(d=codes[150:]), "reference", False)


def test_bools_kept_as_objects_with_a_gap_are_named_as_missing():
    train, reference = two_tables()
    flags = pd.Series([True, False, None] * 50, dtype=object)
    with pytest.raises(InputError, match=r"missing"):
        fit_encoder(reference.assign(f=True), train.assign(f=flags), "reference", False)(train.assign(f=flags), "train")
