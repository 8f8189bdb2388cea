"""The standard error of effect modification includes the estimation of parametric working models."""

from __future__ import annotations

import numpy as np
import pytest

import causalif as ci
from causalif.datasets import simulate_invalid_iv_binary

DRAWS = 60


@pytest.mark.slow
def test_parametric_projection_has_honest_errors():
    """With beta, rho and g right and pi, mu wrong, the spread of φ alone is far too small."""
    formulas = {
        "instrument": "~ I(x2**2)",
        "treatment": "~ z + I(x2**2)",
        "effect": "~ x1",
        "confounding": "~ x1",
        "outcome": "~ z + x1 + x2 + z:x2",
    }
    slopes, errors = [], []
    for seed in range(DRAWS):
        data = simulate_invalid_iv_binary(5_000, random_state=seed).data
        question = ci.InvalidIVATE(
            outcome="y", treatment="a", instrument="z", adjust=["x1", "x2"], method="parametric", formulas=formulas,
            weak_identification="warn",
        )  # fmt: skip
        by = question.fit(data).effect_by(["x1"])
        slopes.append(by.params["x1"])
        errors.append(by.std_errors["x1"])
    ratio = np.mean(errors) / np.std(slopes, ddof=1)
    # the SD of 60 draws has a relative error of 1 / sqrt(2 · 60) = 9%: three of them
    assert abs(ratio - 1) < 3 / np.sqrt(2 * DRAWS)
    assert abs(np.mean(slopes) - 1) < 4 * np.std(slopes) / np.sqrt(DRAWS)
