"""Targeting: a regression is moved until its weighted residuals average to zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from causalif._validate import Array
from causalif.engine.nuisance import Predict
from causalif.table import Table

# Predictions are kept this share of the range away from its ends, where log odds are infinite; moves of the log odds
# beyond the farthest reach an end to 20 digits.
NEAREST, FARTHEST = 1e-4, 50.0


@dataclass(frozen=True, eq=False)
class Targeted:
    """A regression of an outcome within [low, high] whose log odds are moved by a constant.

    Parameters
    ----------
    initial : callable
        The regression as fitted.
    low, high : float
        The range of the outcome.
    epsilon : float
        The move, on the scale of log odds of (Y − low) / (high − low).
    """

    initial: Predict
    low: float
    high: float
    epsilon: float = 0.0

    def __call__(self, rows: Table) -> Array:
        """Return the moved regression at every row, strictly within the range."""
        return self.low + (self.high - self.low) * expit(self._log_odds(rows) + self.epsilon)

    def _log_odds(self, rows: Table) -> Array:
        return np.asarray(logit(np.clip(self._share(rows), NEAREST, 1 - NEAREST)), dtype=np.float64)

    def _share(self, rows: Table) -> Array:
        return (self.initial(rows) - self.low) / (self.high - self.low)

    def outside(self, rows: Table) -> Array:
        """Tell where the regression as fitted had to be brought within the range, as 0 and 1."""
        return (np.abs(self._share(rows) - 0.5) > 0.5 - NEAREST).astype(np.float64)


def targeted(initial: Predict, rows: Table, outcome: Array, weights: Array, limits: tuple[float, float]) -> Targeted:
    """Move a regression so that Σ weights (outcome − regression) = 0 over the rows.

    Parameters
    ----------
    initial : callable
        The regression as fitted.
    rows : Table
        The rows that it is targeted at, with their outcome of shape (n,).
    outcome, weights : ndarray of shape (n,)
        The outcome and non-negative weights; the solution of Σ w (Y − expit(logit Q + ε)) = 0 in ε is then unique.
    limits : (float, float)
        The range of the outcome.

    Returns
    -------
    Targeted
        Not moved where all weights are zero; moved to the end of the range where all weighted outcomes are there.
    """
    start = Targeted(initial, *limits)
    odds, share = start._log_odds(rows), (outcome - start.low) / (start.high - start.low)

    def score(epsilon: float) -> float:
        return float(weights @ (share - expit(odds + epsilon)))

    ends = score(-FARTHEST), score(FARTHEST)
    if not weights.any():
        return start
    if ends[0] <= 0 or ends[1] >= 0:
        return Targeted(initial, *limits, -FARTHEST if ends[0] <= 0 else FARTHEST)
    return Targeted(initial, *limits, float(brentq(score, -FARTHEST, FARTHEST, xtol=1e-14, rtol=1e-14, maxiter=500)))
