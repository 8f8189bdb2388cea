"""The results of `Mediation` and `PathEffect`, with the questions that belong to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from causalif._errors import InputError, WeakIdentificationError
from causalif.graphs.mediation import PathQuestion
from causalif.results.estimate import Estimate

CLEAR = 3.0


@dataclass(frozen=True, eq=False, repr=False)
class MediationResult(Estimate):
    """Total, direct and indirect effects; `share_mediated` is a ratio of them."""

    def share_mediated(self, of: str = "indirect") -> Estimate:
        r"""Return the share of the total effect that goes through mediators.

        .. math:: \text{indirect} / \text{total}, \qquad
            \psi = (\psi_{\text{indirect}} - \text{share} \cdot \psi_{\text{total}}) / \text{total}

        Parameters
        ----------
        of : str, default "indirect"
            The term in the numerator, such as "direct" or "via M".

        Returns
        -------
        Estimate
            One term. It can lie outside [0, 1] when direct and indirect effects have opposite signs.

        Raises
        ------
        InputError
            If there is no such term.
        WeakIdentificationError
            If the total effect is less than three standard errors from 0: the ratio then has no usable standard error.

        Notes
        -----
        The standard error is by the delta method, which takes the total effect to be clearly away from 0.
        """
        if of not in self.labels:
            raise InputError(f"`of` must be one of the terms {list(self.labels)}. Got {of!r} instead.")
        total, error = float(self.params["total"]), float(self.std_errors["total"])
        if not abs(total) > CLEAR * error:
            raise WeakIdentificationError(
                f"The total effect {total:.3g} (standard error {error:.3g}) is not clearly away from 0, so a share of "
                "it means nothing: report the direct and indirect effects themselves."
            )
        return self[of] / self["total"]


@dataclass(frozen=True, eq=False, repr=False)
class PathEffectResult(Estimate):
    """The effect along a path, or the decomposition by first edges, with the questions that were asked.

    Parameters
    ----------
    questions : mapping of str to PathQuestion
        By term: its type, covariates, blocks and, where the path recants, the witness.
    """

    questions: Mapping[str, PathQuestion] = field(default_factory=dict)

    @property
    def types(self) -> pd.Series:
        """Return the type of each effect: natural, bundle, interventional or total."""
        return pd.Series({term: question.kind for term, question in self.questions.items()}, name="type", dtype=object)
