"""The contract that every estimand keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array
from causalif.engine.nuisance import Nuisances, NuisanceSpec
from causalif.table import Table


@dataclass(frozen=True, eq=False)
class FiniteLaw:
    """A distribution on finitely many points, on which every functional can be computed exactly.

    Parameters
    ----------
    points : DataFrame of shape (m, columns)
        Support points, one per row, all numeric.
    probabilities : ndarray of shape (m,)
        Their probabilities; along a perturbation they may leave [0, 1] by the step size.

    Examples
    --------
    >>> law = FiniteLaw(pd.DataFrame({"x": [0.0, 0.0, 1.0], "y": [1.0, 3.0, 5.0]}), np.array([0.25, 0.25, 0.5]))
    >>> y = law.points["y"].to_numpy()
    >>> float(law.expect(y)), law.conditional_mean(y, ("x",)).tolist()
    (3.5, [2.0, 2.0, 5.0])
    >>> law.mix(0, 0.5).probabilities.tolist()
    [0.625, 0.125, 0.25]
    >>> law.table(("x",)).matrix(("y", "x")).shape
    (3, 2)
    """

    points: pd.DataFrame
    probabilities: Array

    def mix(self, point: int, eps: float) -> FiniteLaw:
        """Return (1 − eps)·law + eps·(point mass at one support point).

        Parameters
        ----------
        point : int
            Number of the support point.
        eps : float
            Weight of the point mass; negative for the opposite direction.

        Returns
        -------
        FiniteLaw
        """
        mixed = (1 - eps) * self.probabilities
        mixed[point] += eps
        return FiniteLaw(self.points, mixed)

    def expect(self, values: Array) -> Array:
        """Return E[values], over the first axis.

        Parameters
        ----------
        values : array of shape (m,) or (m, p)
            Values at the support points.

        Returns
        -------
        array of shape () or (p,)
        """
        return np.asarray(self.probabilities @ values)

    def conditional_mean(self, values: Array, given: tuple[str, ...], where: Array | None = None) -> Array:
        """Return E[values | given, where] at every support point.

        Parameters
        ----------
        values : array of shape (m,)
            Values at the support points.
        given : tuple of str
            Columns to condition on; none for the overall mean.
        where : array of shape (m,), optional
            Factors on the probabilities; of 0 and 1 to condition on an event. None by default.

        Returns
        -------
        array of shape (m,)
            NaN where nothing is to average.
        """
        mass = self.probabilities if where is None else self.probabilities * where
        if not given:
            groups: npt.NDArray[Any] = np.zeros(len(mass), dtype=np.intp)
        else:
            groups = self.points.groupby(list(given), sort=True).ngroup().to_numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.bincount(groups, weights=mass * values) / np.bincount(groups, weights=mass)
        return np.asarray(means[groups])

    def table(self, names: tuple[str, ...]) -> Table:
        """Return the support points as rows of a table.

        Parameters
        ----------
        names : tuple of str
            Its covariates; all other columns play roles.

        Returns
        -------
        Table
            Of m rows.

        Raises
        ------
        InputError
            If the law has no such columns.
        """
        missing = [name for name in names if name not in self.points]
        if missing:
            raise InputError(f"The law has no columns {missing}; it has {list(self.points.columns)}.")
        others = {str(name): self.points[name].to_numpy(dtype=float) for name in self.points if name not in names}
        covariates = self.points[list(names)].to_numpy(dtype=float)
        return Table(columns=others, covariates=covariates, names=names, index=self.points.index)


class Estimand(Protocol):
    """A frozen, hashable question about a distribution.

    ``eif`` returns the uncentred efficient influence function φ(O; η) with E φ = θ at the true nuisances and
    derivative −1 in θ, so that the estimate is the mean of φ and the influence values are φ − mean. It is row-local:
    averages over a population reach φ through nuisances only.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """One label per coordinate, the index of ``params``."""

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """Sets of nuisances whose correctness suffices for E φ = θ."""

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the nuisance specifications by name, each after those that it needs."""

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n,) or (n, p)."""

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return the functional itself, shape (p,), by direct summation."""
