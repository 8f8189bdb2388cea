"""Data valuation: what every row is worth, by its influence on the distance to a clean reference."""

from __future__ import annotations

from causalif.valuation.adapters import OpenDataVal
from causalif.valuation.companions import knn_shapley, nearest_distance
from causalif.valuation.curves import DetectionCurve, RemovalCurve, detection
from causalif.valuation.valuation import Valuation

__all__ = [
    "DetectionCurve",
    "OpenDataVal",
    "RemovalCurve",
    "Valuation",
    "detection",
    "knn_shapley",
    "nearest_distance",
]
