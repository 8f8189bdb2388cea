"""The learners behind ``learners="auto"``."""

from causalif.engine.defaults.choice import (
    BOOSTING,
    StackedClassifier,
    StackedRegressor,
    default_learner,
    default_variance_learner,
)
from causalif.engine.defaults.parts import PooledClassifier, PooledRegressor, SmoothClassifier, SmoothRegressor
from causalif.engine.defaults.second_stage import LogLinearVariance, ShrunkenRegressor

__all__ = [
    "BOOSTING",
    "LogLinearVariance",
    "PooledClassifier",
    "PooledRegressor",
    "ShrunkenRegressor",
    "SmoothClassifier",
    "SmoothRegressor",
    "StackedClassifier",
    "StackedRegressor",
    "default_learner",
    "default_variance_learner",
]
