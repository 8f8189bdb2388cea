"""The results of `Mediation` and `PathEffect`, with the questions that belong to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import pandas as pd

from causalif._errors import InputError, WeakIdentificationError
from causalif.graphs.mediation import Draws, PathQuestion, Setting
from causalif.results import archive
from causalif.results.estimate import Estimate, assembled
from causalif.results.report import Table
from causalif.storage import codec

CLEAR = 3.0
# The parts of a question that are objects themselves.
_PARTS: Mapping[str, type[Setting] | type[Draws]] = {"plus": Setting, "minus": Setting, "draws": Draws}


def _with_intervention(table: Table, settings: Mapping[str, Any]) -> Table:
    """Say below a table what the intervention of a shift is."""
    if settings.get("shift") is None:
        return table
    size = str(settings["shift"]).partition(";")[0]
    sign, amount = size[0], size[1:]
    said = (
        f"d(A) is the treatment {'less' if sign == '-' else 'plus'} {amount}, where that stays within the values seen "
        "(see Shift above), and the treatment as it is elsewhere. Effects compare d(A) with A, everybody's own value."
    )
    return replace(table, notes=(said, *table.notes))


@dataclass(frozen=True, eq=False, repr=False)
class MediationResult(Estimate):
    """Total, direct and indirect effects; `share_mediated` is a ratio of them."""

    def summary(self, level: float = 0.95, joint: bool = False) -> Table:
        """Return the table of effects; with a shift it says what the intervention is.

        Parameters
        ----------
        level : float, default 0.95
            Level of the intervals.
        joint : bool, default False
            Whether intervals cover all terms together.

        Returns
        -------
        Table
            Its ``str()`` is text, and notebooks show it as HTML.
        """
        return _with_intervention(super().summary(level, joint), self.settings)

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
    questions : mapping of str to PathQuestion, optional
        By term: its type, covariates, blocks and, where the path recants, the witness.
    """

    questions: Mapping[str, PathQuestion] = field(default_factory=dict)

    def summary(self, level: float = 0.95, joint: bool = False) -> Table:
        """Return the table of effects; with a shift it says what the intervention is.

        Parameters
        ----------
        level : float, default 0.95
            Level of the intervals.
        joint : bool, default False
            Whether intervals cover all terms together.

        Returns
        -------
        Table
            Its ``str()`` is text, and notebooks show it as HTML.
        """
        return _with_intervention(super().summary(level, joint), self.settings)

    def _pack(self, writer: codec.Writer) -> dict[str, Any]:
        questions = {term: _described(question) for term, question in self.questions.items()}
        return archive.packed(self, writer) | {"questions": codec.to_json(questions, "questions")}

    @classmethod
    def _unpack(cls, fields: Mapping[str, Any], reader: codec.Reader) -> Self:
        described = codec.from_json(fields["questions"])
        questions = {term: _question(one) for term, one in described.items()}
        return assembled(cls, archive.unpacked(fields, reader) | {"questions": questions})

    @property
    def types(self) -> pd.Series:
        """Return the type of each effect: natural, bundle, interventional or total."""
        return pd.Series({term: question.kind for term, question in self.questions.items()}, name="type", dtype=object)


def _described(question: PathQuestion) -> dict[str, Any]:
    named = {f.name: getattr(question, f.name) for f in fields(question)}
    parts = {name: None if named[name] is None else vars(named[name]) for name in _PARTS}
    return named | parts


def _question(described: Mapping[str, Any]) -> PathQuestion:
    parts = {name: None if described[name] is None else made(**described[name]) for name, made in _PARTS.items()}
    return PathQuestion(**{**described, **parts})
