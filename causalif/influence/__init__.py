"""Which rows an answer rests on: predicted, searched for, and refitted."""

from __future__ import annotations

from causalif.influence.case import case_influence
from causalif.influence.found import MostInfluential
from causalif.influence.removal import Removal, remove
from causalif.influence.search import most_influential
from causalif.influence.targets import (
    Target,
    coefficient,
    contrast,
    group_gap,
    interval_end,
    prediction,
    t_statistic,
    test_loss,
)
from causalif.influence.validate import mislabel_detection, self_influence, validate

__all__ = [
    "MostInfluential",
    "Removal",
    "Target",
    "case_influence",
    "coefficient",
    "contrast",
    "group_gap",
    "interval_end",
    "mislabel_detection",
    "most_influential",
    "prediction",
    "remove",
    "self_influence",
    "t_statistic",
    "test_loss",
    "validate",
]
