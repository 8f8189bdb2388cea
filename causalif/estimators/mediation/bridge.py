"""From what a graph asks to estimands, and many of them to one cross-fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from causalif._errors import InputError, NotIdentifiedError
from causalif._validate import Array
from causalif.engine.crossfit import CrossFit, Derived, cross_fit
from causalif.engine.estimand import Estimand
from causalif.engine.problem import Plan
from causalif.estimands.interventional import InterventionalMean, Segment
from causalif.estimands.mediation_functional import MediationMean
from causalif.estimands.path_effect import Combination
from causalif.estimands.shift_effect import OutcomeMean, Shift, ShiftedMean, ShiftedMediatorMean
from causalif.estimators.mediation.columns import Columns, Exposure, Levels
from causalif.graphs.mediation import Draws, PathQuestion, Setting


@dataclass(frozen=True, eq=False)
class Asker:
    """What turns questions into estimands on one table.

    Parameters
    ----------
    columns : Columns
        The data.
    exposure : Levels or Shift
        What is compared.
    clip : float
        Bound of probabilities.
    report : bool
        Whether the weights are kept with the nuisances.
    """

    columns: Columns
    exposure: Exposure
    clip: float = 0.01
    report: bool = False

    def means_of(self, question: PathQuestion) -> tuple[tuple[float, Estimand], ...]:
        """Return the means whose signed sum is the effect; none where it is 0 by the graph."""
        if question.kind == "absent":
            return ()
        if question.kind == "skipped":
            raise NotIdentifiedError(
                f"The effect along {question.label} is not identified: {_arrow(question.witness)} begins with the same "
                "edge. Ask for its interventional analogue or for the bundle with `on_recanting`.",
                question.witness,
            )
        adjust = self.columns.of(question.adjust)
        if question.draws is not None:
            active, control = (self.drawn(question, adjust, on) for on in (True, False))
            return (1.0, active), (-1.0, control)
        assert question.plus is not None
        assert question.minus is not None
        return (1.0, self.mean(question.plus, adjust)), (-1.0, self.mean(question.minus, adjust))

    def mean(self, setting: Setting, adjust: tuple[str, ...]) -> Estimand:
        """Return the mean under a setting."""
        if isinstance(self.exposure, Shift):
            return self._shifted(setting, adjust, self.exposure)
        blocks = tuple(self.columns.of(block) for block in setting.blocks)
        levels = tuple(self.exposure.code(on) for on in setting.active)
        own = (self.columns.outcome, self.columns.treatment, adjust, blocks, levels, self.exposure.count)
        return MediationMean(*own, self.label(setting), self.clip, self.report)

    def _shifted(self, setting: Setting, adjust: tuple[str, ...], shift: Shift) -> Estimand:
        y, a, label = self.columns.outcome, self.columns.treatment, self.label(setting)
        if setting == Setting((), (False,)):
            return OutcomeMean(y, label)
        if len(setting.blocks) > 1:
            first, second = (", ".join(map(str, block)) for block in setting.blocks)
            raise NotIdentifiedError(
                f"With a shift of a continuous treatment the effect through {second} alone is not available, because "
                f"{first}, which the treatment acts on too, comes before it. Ask for the total, the direct or the "
                "first edges without such mediators, or group the treatment and compare `levels`.",
                setting.blocks,
            )
        held = self.columns.of(setting.blocks[0]) if setting.blocks else ()
        if setting.active[-1]:
            return ShiftedMean(y, a, adjust, held, shift, label, self.clip, self.report)
        return ShiftedMediatorMean(y, a, adjust, held, shift, label, self.clip, self.report)

    def drawn(self, question: PathQuestion, adjust: tuple[str, ...], on: bool) -> Estimand:
        """Return the mean with a path of independent draws at one of the two levels."""
        draws, exposure = question.draws, self.exposure
        assert draws is not None
        if not isinstance(exposure, Levels):
            raise NotIdentifiedError(
                f"The interventional effect along {question.label} is not available with a shift of a continuous "
                'treatment. Use on_recanting="bundle", or group the treatment and compare `levels`.'
            )
        reference = exposure.code(question.reference == "treated")
        segments = tuple(
            Segment(self.columns.of([v]), self.columns.of(w)) for v, w in zip(draws.path, draws.others, strict=True)
        )
        drawn = sorted({node for block in (draws.path, draws.before, *draws.others) for node in block}, key=str)
        arms = (exposure.treated, exposure.control)
        values = tuple(pair for node in drawn for pair in self.columns.values(node, arms))
        encoded = [self.columns.of([node]) for node in drawn]
        level = exposure.shown[0 if on else 1]
        rest = exposure.shown[1 if question.reference == "control" else 0]
        return InterventionalMean(
            outcome=self.columns.outcome,
            treatment=self.columns.treatment,
            adjust=adjust,
            segments=segments,
            before=self.columns.of(draws.before),
            active=exposure.code(on),
            reference=reference,
            count=exposure.count,
            label=f"E[Y({_drawn(draws)} at {level}, rest at {rest})]",
            clip=self.clip,
            values=values,
            categories=tuple(names for names in encoded if len(names) > 1),
            report=self.report,
        )

    def label(self, setting: Setting) -> str:
        """Return a mean in words, such as E[Y(1, M(0))]."""
        shown = ("d(A)", "A") if isinstance(self.exposure, Shift) else self.exposure.shown
        names = [",".join(map(str, block)) for block in setting.blocks]
        names = [f"({name})" if "," in name else name for name in names]
        levels = [shown[0 if on else 1] for on in setting.active]
        inner = "".join(f", {name}({level})" for name, level in zip(names, levels, strict=False))
        return f"E[Y({levels[-1]}{inner})]"


def estimand_for(
    question: PathQuestion, columns: Columns, exposure: Exposure, clip: float = 0.01, report: bool = False
) -> Combination:
    """Return the effect that a question asks for, and the means that it is made of.

    Parameters
    ----------
    question : PathQuestion
        From `causalif.graphs.mediation`; one that is "absent" gives exactly 0.
    columns : Columns
        The data, see `read_columns`.
    exposure : Levels or Shift
        What is compared, see `read_exposure`.
    clip : float
        Bound of probabilities.
    report : bool
        Whether the weights are kept with the nuisances.

    Returns
    -------
    Combination
        The effect under the question's label, then its two means.

    Raises
    ------
    NotIdentifiedError
        If the question was skipped or asks for something that shifts do not give.
    """
    signed = Asker(columns, exposure, clip, report).means_of(question)
    means = tuple(mean for _, mean in signed)
    own = tuple(tuple(float(i == j) for j in range(len(means))) for i in range(len(means)))
    labels = (question.label, *(mean.labels[0] for mean in means))
    return Combination(means, labels, (tuple(sign for sign, _ in signed), *own))


def fit_questions(
    questions: Sequence[PathQuestion], columns: Columns, exposure: Exposure, plan: Plan, clip: float = 0.01
) -> CrossFit:
    """Answer many questions on the same splits, in one cross-fit.

    Equal means are evaluated once and equal nuisances fitted once, whichever graphs ask for them.

    Parameters
    ----------
    questions : sequence of PathQuestion
        None of them skipped; they may repeat.
    columns, exposure, clip
        As in `estimand_for`; the columns must hold the nodes of all questions.
    plan : Plan
        Learners and splits.

    Returns
    -------
    CrossFit
        Column j of ``values`` and ``influence`` answers question j; absent paths are exactly 0.

    Raises
    ------
    InputError
        If there is no question.
    """
    if not questions:
        raise InputError("`questions` must hold at least one question.")
    asker = Asker(columns, exposure, clip)
    numbers: dict[Estimand, int] = {}
    parts = [
        [(sign, numbers.setdefault(mean, len(numbers))) for sign, mean in asker.means_of(question)]
        for question in questions
    ]
    matrix = np.zeros((len(questions), max(len(numbers), 1)))
    for j, part in enumerate(parts):
        for sign, number in part:
            matrix[j, number] += sign
    means = list(numbers) or [OutcomeMean(columns.outcome)]
    labels = tuple(f"{j}: {question.label}" for j, question in enumerate(questions))
    return cross_fit(means, columns.table, plan, linear(labels, matrix))


def not_shifted(question: PathQuestion) -> bool:
    """Tell whether a question has no answer for a shift of a continuous treatment."""
    settings = [setting for setting in (question.plus, question.minus) if setting is not None]
    return question.draws is not None or any(len(setting.blocks) > 1 for setting in settings)


def linear(labels: tuple[str, ...], matrix: Array) -> Derived:
    """Return linear functions of the coordinates."""
    return Derived(labels, lambda values: matrix @ values, lambda values: matrix)


def _drawn(draws: Draws) -> str:
    return " -> ".join(map(str, draws.path))


def _arrow(path: Sequence[object] | None) -> str:
    return " -> ".join(map(str, path or ()))
