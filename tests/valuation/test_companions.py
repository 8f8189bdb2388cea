import numpy as np
import pytest

from causalif._errors import InputError
from causalif.valuation import companions, knn_shapley, nearest_distance


def test_values_add_up_to_the_share_of_right_neighbours():
    rng = np.random.default_rng(0)
    x, r = rng.normal(size=(300, 4)), rng.normal(size=(50, 4))
    y, yr = rng.integers(3, size=300), rng.integers(3, size=50)
    near = np.argsort(((x[:, None] - r[None]) ** 2).sum(axis=2), axis=0)[:10]
    assert knn_shapley(x, y, r, yr).sum() == pytest.approx((y[near] == yr).mean(), abs=1e-12)


def test_blocks_of_distances_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    x, r = rng.normal(size=(40, 3)) + 1e3, rng.normal(size=(17, 3)) + 1e3
    y, yr = rng.integers(2, size=40), rng.integers(2, size=17)
    whole = knn_shapley(x, y, r, yr, k=3), nearest_distance(x, r)
    monkeypatch.setattr(companions, "_PAIRS", 100)
    np.testing.assert_allclose(knn_shapley(x, y, r, yr, k=3), whole[0], atol=1e-12)
    np.testing.assert_allclose(nearest_distance(x, r), whole[1], atol=1e-9)


def test_text_labels_and_integers():
    values = knn_shapley(np.array([[0], [5]]), ["a", "b"], np.array([[1]]), ["a"], k=1)
    assert values.tolist() == [1.0, 0.0]


def test_rows_that_do_not_fit():
    with pytest.raises(InputError, match="must be \\(N, d\\)"):
        knn_shapley(np.ones((3, 2)), [0, 1], np.ones((1, 2)), [0])
    with pytest.raises(InputError, match="`train` must be of shape"):
        nearest_distance(np.ones(3), np.ones((1, 2)))
    with pytest.raises(InputError, match="`k` must be a whole number"):
        nearest_distance(np.ones((3, 2)), np.ones((1, 2)), k=0)


def test_orders_are_stable_in_both_precisions():
    rng = np.random.default_rng(2)
    distance = rng.integers(0, 50, size=3_000).astype(float)
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(companions._order(distance.astype(dtype)), np.argsort(distance, kind="stable"))
