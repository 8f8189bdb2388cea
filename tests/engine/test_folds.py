"""Splits: every row once, balanced, clusters whole, reproducible."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causalif._errors import InputError
from causalif.engine.folds import Folds, read_folds, split


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 200), k=st.integers(1, 12), groups=st.integers(1, 5), seed=st.integers(0, 10))
def test_folds_are_even_within_every_stratum(n: int, k: int, groups: int, seed: int) -> None:
    strata = rng(seed + 1).integers(0, groups, n).astype(float)
    if n < k:
        with pytest.raises(InputError, match=f"Got {k} folds for {n} rows"):
            split(n, k, rng(seed), strata)
        return
    folds = split(n, k, rng(seed), strata)
    assert folds.ids.shape == (n,)
    assert folds.k == k
    sizes = np.bincount(folds.ids, minlength=k)
    assert sizes.max() - sizes.min() <= 1
    for level in np.unique(strata):
        inside = np.bincount(folds.ids[strata == level], minlength=k)
        assert inside.max() - inside.min() <= 1


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=40),
    k=st.integers(2, 8),
    groups=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_clusters_stay_whole_and_no_fold_is_empty(sizes: list[int], k: int, groups: int, seed: int) -> None:
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    strata = rng(seed + 1).integers(0, groups, len(clusters)).astype(float)
    if len(sizes) < k:
        with pytest.raises(InputError, match=f"Got {k} folds for {len(sizes)} clusters"):
            split(len(clusters), k, rng(seed), strata, clusters)
        return
    folds = split(len(clusters), k, rng(seed), strata, clusters)
    assert np.unique(folds.ids).tolist() == list(range(k))
    assert pd.DataFrame({"cluster": clusters, "fold": folds.ids}).drop_duplicates()["cluster"].is_unique


def test_treatment_given_to_whole_clusters_is_spread_over_the_folds() -> None:
    """Ten treated clusters of forty: without regard to the arms, a fold often gets none or four of them."""
    clusters = np.repeat(np.arange(40), 25)
    treated = (clusters < 10).astype(float)
    for seed in range(20):
        ids = split(len(clusters), 5, rng(seed), treated, clusters).ids
        assert np.bincount(ids, weights=treated).tolist() == [50.0] * 5
        assert np.bincount(ids).tolist() == [200] * 5


def test_unequal_clusters_fill_the_folds_evenly() -> None:
    clusters = np.repeat(np.arange(100), rng().integers(1, 50, 100))
    sizes = np.bincount(split(len(clusters), 5, rng(), None, clusters).ids)
    assert sizes.max() - sizes.min() <= 10


def test_the_generator_decides_and_nothing_else() -> None:
    strata = np.arange(90) % 3.0
    one, again, other = (split(90, 4, rng(seed), strata).ids for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_every_row_is_as_likely_in_every_fold() -> None:
    draws = np.array([split(10, 3, rng(seed)).ids for seed in range(3_000)])
    share = (draws[:, :, None] == np.arange(3)).mean(axis=0)
    assert np.abs(share - np.bincount(np.arange(10) % 3) / 10).max() < 5 * np.sqrt(0.24 / 3_000)


def test_folds_print_what_they_are() -> None:
    assert str(split(100, 5, rng(), np.arange(100) % 2.0)) == "5 folds of 20 rows, stratified"
    assert str(split(101, 5, rng())) == "5 folds of 20 to 21 rows, at random"
    assert str(split(10, 1, rng())).startswith("no splitting")
    assert str(split(10, 2, rng(), None, np.arange(10) // 2)) == "2 folds of 4 to 6 rows, clusters kept whole"
    assert str(Folds(np.array([0, 0, 1]))) == "2 folds of 1 to 2 rows, supplied"


INDEX = pd.Index(["a", "b", "c", "d"])


@pytest.mark.parametrize(
    "given", [[5, 5, 9, 9], np.array([5.0, 5.0, 9.0, 9.0]), ("u", "u", "v", "v"), pd.Categorical(["u", "u", "v", "v"])]
)
def test_any_labels_become_numbers_in_sorted_order(given: object) -> None:
    folds = read_folds(given, INDEX, None)
    assert isinstance(folds, Folds)
    assert folds.ids.tolist() == [0, 0, 1, 1]


def test_a_series_is_matched_by_its_labels() -> None:
    folds = read_folds(pd.Series([1, 1, 0, 0, 7], index=list("dcbae")), INDEX, None)
    assert folds.ids.tolist() == [0, 0, 1, 1]
    again = read_folds(folds, INDEX, None)
    assert again.ids.tolist() == folds.ids.tolist()
    with pytest.raises(InputError, match="one fold label for every row label"):
        read_folds(pd.Series([0, 1, 0], index=list("abc")), INDEX, None)
    with pytest.raises(InputError, match="one fold label for every row label"):
        read_folds(pd.Series([0, 1, 0, 1, 1], index=list("aabcd")), INDEX, None)


def test_numbers_stay_numbers() -> None:
    assert read_folds(7, INDEX, None) == 7
    assert read_folds(np.int64(3), INDEX, None) == 3


def test_supplied_folds_keep_clusters_whole_or_are_refused() -> None:
    assert read_folds([0, 0, 1, 1], INDEX, np.array([7, 7, 8, 8])).ids.tolist() == [0, 0, 1, 1]
    with pytest.raises(InputError, match="`folds` splits clusters"):
        read_folds([0, 1, 1, 1], INDEX, np.array([7, 7, 8, 8]))
