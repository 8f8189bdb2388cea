"""Families, parent sets and structure priors, against direct counting."""

from __future__ import annotations

from itertools import chain, combinations
from math import comb

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causalif._errors import InputError
from causalif.discovery import families as module
from causalif.discovery.families import (
    Families,
    adjacency_of,
    count_sets,
    masks_of,
    parent_sets,
    structure_prior,
)

NAMES = ("a", "b", "c", "d")


def rules(seed, p=4):
    rng = np.random.default_rng(seed)
    allowed = (rng.random((p, p)) < 0.7) & ~np.eye(p, dtype=bool)
    required = allowed & np.triu(rng.random((p, p)) < 0.2)
    return allowed, required


@given(seed=st.integers(0, 10_000), most=st.sampled_from([None, 1, 2, 3]))
def test_parent_sets_are_all_that_obey_the_rules(seed, most):
    allowed, required = rules(seed)
    top = 4 if most is None else max(most, int(required.sum(axis=0).max()))
    found = parent_sets(allowed, required, top)
    for node in range(4):
        sets = chain.from_iterable(combinations(range(4), k) for k in range(top + 1))
        expected = sorted(
            sum(1 << j for j in members)
            for members in sets
            if all(allowed[j, node] for j in members) and all(j in members for j in np.flatnonzero(required[:, node]))
        )
        assert found[node].tolist() == expected
    assert count_sets(allowed, required, top) == sum(map(len, found))


def test_the_default_prior_makes_every_in_degree_equally_likely():
    allowed = ~np.eye(4, dtype=bool)
    sets = parent_sets(allowed, np.zeros((4, 4), dtype=bool), None)
    prior = structure_prior("indegree_uniform", NAMES, sets, allowed, np.zeros((4, 4), dtype=bool))
    for masks, logs in zip(sets, prior, strict=True):
        np.testing.assert_allclose(np.exp(logs), [1 / comb(3, mask.bit_count()) for mask in masks.tolist()])


def test_required_parents_do_not_count_in_the_default_prior():
    allowed = ~np.eye(4, dtype=bool)
    required = np.zeros((4, 4), dtype=bool)
    required[0, 3] = True
    sets = parent_sets(allowed, required, None)
    prior = structure_prior("indegree_uniform", NAMES, sets, allowed, required)
    assert sets[3].tolist() == [0b0001, 0b0011, 0b0101, 0b0111]
    np.testing.assert_allclose(np.exp(prior[3]), [1, 1 / 2, 1 / 2, 1])


def test_edge_probabilities_as_a_number_and_as_a_table():
    allowed, required = ~np.eye(4, dtype=bool), np.zeros((4, 4), dtype=bool)
    sets = parent_sets(allowed, required, None)
    one = structure_prior(0.3, NAMES, sets, allowed, required)
    np.testing.assert_allclose(np.exp(one[0]).sum(), 1.0)
    np.testing.assert_allclose(np.exp(one[0]), [0.3**k * 0.7 ** (3 - k) for k in map(int.bit_count, sets[0].tolist())])
    table = pd.DataFrame(0.3, index=list("dcba"), columns=list("bacd"))
    table.loc["b", "a"] = 0.9
    every = structure_prior(table, NAMES, sets, allowed, required)
    np.testing.assert_allclose(every[1], one[1])
    np.testing.assert_allclose(np.exp(every[0][sets[0] == 0b0010]), 0.9 * 0.7**2)


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        ("uniform", "'indegree_uniform', an edge probability"),
        (1.0, "strictly between 0 and 1"),
        (True, "strictly between 0 and 1"),
        (pd.DataFrame(0.5, index=list("abc"), columns=list("abcd")), r"lacks \['d'\]"),
        (pd.DataFrame(1.0, index=list("abcd"), columns=list("abcd")), "for the edge 'a' -> 'b'"),
    ],
)
def test_a_wrong_prior_is_refused(prior, words):
    allowed, required = ~np.eye(4, dtype=bool), np.zeros((4, 4), dtype=bool)
    with pytest.raises(InputError, match=words):
        structure_prior(prior, NAMES, parent_sets(allowed, required, None), allowed, required)


def test_too_many_parent_sets_are_refused_before_they_are_listed():
    allowed = ~np.eye(40, dtype=bool)
    with pytest.raises(InputError, match="Set `max_parents`"):
        parent_sets(allowed, np.zeros((40, 40), dtype=bool), None)
    assert count_sets(allowed, np.zeros((40, 40), dtype=bool), 3) == 40 * (1 + 39 + 741 + 9139)


def test_lookup_and_weights_of_dags():
    rng = np.random.default_rng(0)
    sets = parent_sets(~np.eye(3, dtype=bool), np.zeros((3, 3), dtype=bool), 1)
    families = Families.of_scores("abc", sets, [rng.normal(size=len(masks)) for masks in sets])
    assert families.lookup(0, 0b110) == -np.inf
    assert families.lookup(2, 0b010) == families.log_weights[2][2]
    chain_ = np.zeros((1, 3, 3), dtype=np.int8)
    chain_[0, 0, 1] = chain_[0, 1, 2] = 1
    expected = families.lookup(0, 0) + families.lookup(1, 0b001) + families.lookup(2, 0b010)
    assert families.log_weight_of(chain_)[0] == pytest.approx(expected)


@given(seed=st.integers(0, 1000))
def test_masks_and_matrices_are_one(seed):
    matrices = np.random.default_rng(seed).integers(0, 2, (3, 5, 5)).astype(np.int8)
    np.testing.assert_array_equal(adjacency_of(masks_of(matrices)), matrices)


def test_families_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="at least one allowed parent set"):
        Families.of_scores("a", [np.zeros(0, dtype=np.int64)], [np.zeros(0)])
    with pytest.raises(InputError, match="finite"):
        Families.of_scores("a", [np.zeros(1, dtype=np.int64)], [np.array([np.nan])])
    many = module.MOST_NODES + 1
    with pytest.raises(InputError, match="at most 62 nodes"):
        Families.of_scores(["n"] * many, [np.zeros(1, dtype=np.int64)] * many, [np.zeros(1)] * many)
