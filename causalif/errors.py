"""The errors and warnings that causalif raises, for `except` clauses and warning filters."""

from causalif._errors import (
    CausalifError,
    CausalifWarning,
    ConvergenceError,
    ConvergenceWarning,
    DataWarning,
    DesignWarning,
    FewClustersWarning,
    IdentificationWarning,
    InputError,
    LearnerError,
    NotIdentifiedError,
    PositivityError,
    PositivityWarning,
    WeakIdentificationError,
    WeakIdentificationWarning,
)

__all__ = [
    "CausalifError",
    "CausalifWarning",
    "ConvergenceError",
    "ConvergenceWarning",
    "DataWarning",
    "DesignWarning",
    "FewClustersWarning",
    "IdentificationWarning",
    "InputError",
    "LearnerError",
    "NotIdentifiedError",
    "PositivityError",
    "PositivityWarning",
    "WeakIdentificationError",
    "WeakIdentificationWarning",
]
