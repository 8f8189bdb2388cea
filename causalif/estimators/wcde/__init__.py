"""The weighted controlled direct effect."""

from causalif.estimators.wcde.estimator import WCDE
from causalif.estimators.wcde.result import WCDEResult

__all__ = ["WCDE", "WCDEResult"]
