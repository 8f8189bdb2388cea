"""Every error and warning that causalif raises, so that callers can tell them apart."""

from __future__ import annotations

import sys
import warnings


class CausalifError(ValueError):
    """Base class of all errors raised by causalif; also a ``ValueError``.

    Examples
    --------
    >>> import causalif as ci
    >>> try:
    ...     ci.datasets.simulate_confounded(0)
    ... except ci.errors.CausalifError as error:
    ...     print(type(error).__name__)
    InputError
    """


class InputError(CausalifError):
    """The data or an argument cannot be used as given."""


class NotIdentifiedError(CausalifError):
    """The question has no answer from these columns, whatever the sample size.

    Parameters
    ----------
    message : str
        Which condition fails, in plain words, and what would mend it.
    witness : object, optional
        The failing path, set or condition, for programs to read.
    """

    def __init__(self, message: str, witness: object = None) -> None:
        super().__init__(message)
        self.witness = witness


class PositivityError(CausalifError):
    """Some groups are (almost) never seen with one of the levels that are compared."""


class WeakIdentificationError(CausalifError):
    """The data carry too little information about the target for any standard error to be meaningful.

    Parameters
    ----------
    message : str
        What is weak, and what can be said all the same.
    robust_set : list of (float, float), optional
        A confidence set that stays valid, for programs to read.
    """

    def __init__(self, message: str, robust_set: list[tuple[float, float]] | None = None) -> None:
        super().__init__(message)
        self.robust_set = robust_set


class ConvergenceError(CausalifError):
    """An iterative fit did not reach its solution."""


class CausalifWarning(UserWarning):
    """Base class of all warnings of causalif.

    Examples
    --------
    >>> import causalif as ci
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", ci.errors.CausalifWarning)
    ...     tell("Two clusters.", ci.errors.FewClustersWarning)
    """


class PositivityWarning(CausalifWarning):
    """Rows were clipped at the probability bounds; the message carries the count."""


class WeakIdentificationWarning(CausalifWarning):
    """Identification is weak: prefer the robust set that accompanies the estimate."""


class IdentificationWarning(CausalifWarning):
    """The identifying conditions reduce to other ones than the method is known for."""


class DesignWarning(CausalifWarning):
    """A covariate was kept out of the design because it is constant or repeats another one."""


class DataWarning(CausalifWarning):
    """A column is usable, but something about it should be known, such as lost precision."""


class FewClustersWarning(CausalifWarning):
    """Clustered standard errors rest on few clusters."""


class ConvergenceWarning(CausalifWarning):
    """Chains or an approximation have not settled."""


class LearnerError(CausalifError):
    """A learner failed; the message names the nuisance, the fold and the learner."""


def tell(message: str, category: type[Warning]) -> None:
    """Warn at the line outside causalif that led here, whatever the depth of the call."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("causalif."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
