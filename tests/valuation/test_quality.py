"""Which score finds which bad rows, on digits and on breast cancer; AUROC over three draws each."""

from __future__ import annotations

import numpy as np
import pytest

from causalif.estimators.kairos import KAIROS
from causalif.valuation import detection

SEEDS = range(3)


def aurocs(spoiled, name, defect, part="value", **options):
    found = []
    for seed in SEEDS:
        data = spoiled(name, defect, seed)
        value = KAIROS(progress=False, n_jobs=1, **options).fit(
            data.x, reference=data.r, label=data.y, reference_label=data.yr
        )
        found.append(detection(value.to_frame()[part], data.bad).auroc)
    return found


@pytest.mark.parametrize(
    ("name", "defect", "least"),
    [("digits", "flip", 0.99), ("digits", "noise", 0.94), ("digits", "backdoor", 0.995), ("cancer", "flip", 0.975),
     ("cancer", "noise", 0.88)],
)  # fmt: skip
def test_values_find_bad_rows(spoiled, name, defect, least):
    assert min(aurocs(spoiled, name, defect)) >= least


def test_the_label_component_finds_wrong_labels_and_the_feature_component_cannot(spoiled):
    assert min(aurocs(spoiled, "digits", "flip", "label")) >= 0.995
    assert all(0.45 <= auroc <= 0.55 for auroc in aurocs(spoiled, "digits", "flip", "feature"))


@pytest.mark.slow
def test_the_published_weighting(spoiled):
    options = {"label_model": "classifier", "weighting": "paper"}
    assert min(aurocs(spoiled, "digits", "flip", **options)) >= 0.985
    assert min(aurocs(spoiled, "digits", "flip", bandwidth="median", **options)) >= 0.985


def test_companions_where_they_win_and_where_they_lose(spoiled):
    data = spoiled("digits", "noise", 0)
    value = KAIROS(progress=False, n_jobs=1).fit(data.x, reference=data.r, label=data.y, reference_label=data.yr)
    near = value.companions()
    assert detection(near["knn_closeness"], data.bad).auroc > 0.95
    planted = spoiled("digits", "backdoor", 0)
    value = KAIROS(progress=False, n_jobs=1).fit(
        planted.x, reference=planted.r, label=planted.y, reference_label=planted.yr
    )
    neighbours = detection(value.companions()["knn_shapley"], planted.bad).auroc
    assert neighbours < detection(value.values, planted.bad).auroc - 0.01
    assert np.isfinite(neighbours)
