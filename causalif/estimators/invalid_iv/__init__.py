"""The average treatment effect with an instrument that may act directly on the outcome."""

from causalif.estimators.invalid_iv.estimator import InvalidIVATE
from causalif.estimators.invalid_iv.result import InvalidIVResult

__all__ = ["InvalidIVATE", "InvalidIVResult"]
