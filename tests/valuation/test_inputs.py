import numpy as np
import pandas as pd
import pytest

from causalif._errors import InputError
from causalif.valuation.features import fit_encoder, join, take, to_numpy
from causalif.valuation.inputs import is_mask, read_rows


def test_what_counts_as_a_mask():
    for mask in ("column", np.array([True]), pd.Series([True]), [True, False]):
        assert is_mask(mask)
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


def test_tensors_are_taken_and_joined():
    torch = pytest.importorskip("torch")
    x = torch.arange(6.0).reshape(3, 2)
    assert to_numpy(take(x, np.array([2, 0]))).tolist() == [[4, 5], [0, 1]]
    assert to_numpy(join(x[:1], x[2:])).tolist() == [[0, 1], [4, 5]]
