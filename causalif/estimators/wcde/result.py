"""The result of `WCDE`, with the questions that belong to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from causalif._errors import InputError
from causalif.results.estimate import Estimate


@dataclass(frozen=True, eq=False, repr=False)
class WCDEResult(Estimate):
    """The weighted controlled direct effect, with the effect by mediator value and the sets behind it.

    Parameters
    ----------
    curve : Estimate, optional
        The controlled direct effect at each joint value of discrete mediators, or on average between the quartiles of
        a single continuous one, in units of the outcome.
    values_of : DataFrame, optional
        The mediators' values behind each term of ``curve``, with their share among the rows.
    sets : object, optional
        The adjustment sets found in the graph; without a graph, a mapping with "mediators" and "covariates".
    """

    curve: Estimate | None = None
    values_of: pd.DataFrame | None = None
    sets: Any = None

    def by_mediator(self, level: float = 0.95, joint: bool = True) -> pd.DataFrame:
        r"""Return the controlled direct effect by mediator value, with a band.

        .. math:: \mathrm{CDE}(m) = E[Y(a, m) - Y(b, m)]

        At every joint value of discrete mediators; for a single continuous one, averages of CDE(M) over the rows
        between its quartiles.

        Parameters
        ----------
        level : float, default 0.95
            Confidence level.
        joint : bool, default True
            Whether the band covers the whole curve with that probability, or each value by itself.

        Returns
        -------
        DataFrame
            One row per joint value or range: the mediators, their ``share`` among the rows, ``estimate``,
            ``std_error``, ``lower`` and ``upper``. Averaged with the shares the estimates give the WCDE of the
            marginal law.

        Raises
        ------
        InputError
            If there are no mediators, their law is given, or there are several with too many joint values.
        """
        if self.curve is None or self.values_of is None:
            raise InputError(
                "There is no curve: it needs mediators with at most 10 joint values and enough rows of each, or a "
                "single continuous one with its marginal law. Group the mediators' values to see how the effect varies."
            )
        band = self.curve.conf_int(level, joint=joint)
        numbers = {"estimate": self.curve.values, "std_error": self.curve.std_errors.to_numpy()}
        numbers |= {name: band[name].to_numpy() for name in ("lower", "upper")}
        return pd.concat([self.values_of, pd.DataFrame(numbers, index=self.values_of.index)], axis=1)

    def interaction_test(self) -> pd.Series:
        """Test whether the controlled direct effect is the same at every value or range of the mediators (Wald test).

        Returns
        -------
        Series
            ``statistic``, ``df``, ``p_value``.
        """
        if self.curve is None:
            self.by_mediator()
        assert self.curve is not None
        first = self.curve[self.curve.labels[0]]
        others = [self.curve[label] - first for label in self.curve.labels[1:]]
        psi = np.column_stack([other.influence_values[:, 0] for other in others])
        values = np.array([float(other.values[0]) for other in others])
        labels = tuple(self.curve.labels[1:])
        test = Estimate(values, psi, labels, self.index, self.clusters).test(list(labels))
        return pd.Series({"statistic": test.statistic, "df": test.df, "p_value": test.p_value})
