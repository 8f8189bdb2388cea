"""Mediation: effects through mediators and along causal paths."""

from causalif.estimators.mediation.estimator import Mediation
from causalif.estimators.mediation.path import PathEffect
from causalif.estimators.mediation.result import MediationResult, PathEffectResult

__all__ = ["Mediation", "MediationResult", "PathEffect", "PathEffectResult"]
