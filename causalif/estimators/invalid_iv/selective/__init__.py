"""The selective route: among candidate learners, those whose estimate moves least when the others are exchanged."""

from causalif.estimators.invalid_iv.selective.candidates import Candidates, plain, read_candidates
from causalif.estimators.invalid_iv.selective.risk import Splits, perturbation_risk, score_means, score_noise
from causalif.estimators.invalid_iv.selective.route import estimate
from causalif.estimators.invalid_iv.selective.selection import select

__all__ = [
    "Candidates",
    "Splits",
    "estimate",
    "perturbation_risk",
    "plain",
    "read_candidates",
    "score_means",
    "score_noise",
    "select",
]
