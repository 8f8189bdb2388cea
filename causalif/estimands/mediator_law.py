"""Which values mediators take, and which law they are drawn from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cells:
    """The joint values that discrete mediators take.

    Parameters
    ----------
    column : str
        Coded column 0, ..., L − 1 with the cell of every row.
    values : tuple of tuple of float
        Per cell, the values of the mediator columns.
    labels : tuple of str
        Per cell, how it is called in a report.
    """

    column: str
    values: tuple[tuple[float, ...], ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of cells L."""
        return len(self.values)


@dataclass(frozen=True)
class Groups:
    """Ranges of a continuous mediator, over each of which the effect is averaged.

    Parameters
    ----------
    column : str
        Coded column 0, ..., L − 1 with the range of every row.
    labels : tuple of str
        Per range, how it is called in a report.
    """

    column: str
    labels: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of ranges L."""
        return len(self.labels)


@dataclass(frozen=True)
class MediatorLaw:
    """Which law of the mediators the controlled direct effects are averaged over.

    Parameters
    ----------
    arm : float, optional
        The law among the rows of this treatment code, p(m | A = arm); by default that of everybody, p(m).
    given : tuple of float, optional
        Probabilities of the cells that the user has fixed; one cell with probability 1 is a controlled direct effect.
    """

    arm: float | None = None
    given: tuple[float, ...] | None = None


MARGINAL = MediatorLaw()
