"""Online changes go to the rows that were named, in the order that was given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalif._errors import InputError
from causalif.estimators.kairos import KAIROS
from causalif.valuation import Valuation


def value() -> Valuation:
    rng = np.random.default_rng(0)
    train = pd.DataFrame(rng.normal(size=(40, 3)), index=["x", "x", "a", "b", *range(36)])
    return KAIROS(label_model=None).fit(train, reference=pd.DataFrame(rng.normal(size=(30, 3))))


def test_weights_follow_labels_where_others_repeat() -> None:
    one = value().reweight(["b", "a"], [5.0, 2.0])
    other = value().reweight(["a", "b"], [2.0, 5.0])
    np.testing.assert_allclose(one.values.to_numpy(), other.values.to_numpy(), rtol=1e-12)
    assert not np.allclose(one.values.to_numpy(), value().reweight(["a", "b"], [5.0, 2.0]).values.to_numpy())


def test_masks_are_no_labels() -> None:
    with pytest.raises(InputError, match=r"Got booleans; pass values\.index"):
        value().remove([True] + [False] * 39)


def test_missing_labels_given_as_an_array_are_refused() -> None:
    rng = np.random.default_rng(1)
    labels = np.array([0.0, 1.0] * 20)
    labels[3] = np.nan
    with pytest.raises(InputError, match="`label` of `train` has 1 missing"):
        KAIROS().fit(rng.normal(size=(40, 3)), reference=rng.normal(size=(30, 3)), label=labels,
                     reference_label=np.array([0.0, 1.0] * 15))  # fmt: skip
