"""Effects along causal paths, averaged over uncertain graphs."""

from causalif.estimators.sigma.estimator import SIGMA
from causalif.estimators.sigma.result import SigmaResult

__all__ = ["SIGMA", "SigmaResult"]
