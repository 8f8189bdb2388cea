"""The result of `WCDE`, with the questions that belong to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from causalif._errors import InputError
from causalif.estimators.wcde.saved_sets import pack_sets, unpack_sets
from causalif.results import archive
from causalif.results.estimate import Estimate, assembled

if TYPE_CHECKING:
    from causalif.storage.codec import Reader, Writer


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

    Examples
    --------
    >>> import causalif as ci
    >>> data = ci.datasets.simulate_wcde(4000, random_state=1).data
    >>> fit = ci.WCDE(outcome="Y", treatment="A", mediators=["M1", "M2"], adjust=["C", "W"],
    ...               learners="linear").fit(data)
    >>> fit.by_mediator(joint=False)[["M1", "M2", "share"]].round(1).to_numpy().tolist()
    [[0.0, 0.0, 0.3], [0.0, 1.0, 0.2], [1.0, 0.0, 0.2], [1.0, 1.0, 0.4]]
    >>> fit.interaction_test()["df"]
    np.float64(3.0)
    """

    curve: Estimate | None = None
    values_of: pd.DataFrame | None = None
    sets: Any = None

    def _pack(self, writer: Writer) -> dict[str, Any]:
        curve = archive.pack_beside(self.curve, self, writer)
        own = {"curve": curve, "values_of": writer.optional_frame(self.values_of, "values_of")}
        return archive.packed(self, writer) | own | {"sets": pack_sets(self.sets)}

    @classmethod
    def _unpack(cls, fields: Mapping[str, Any], reader: Reader) -> Self:
        known = archive.unpacked(fields, reader)
        curve = archive.unpack_beside(fields["curve"], known, reader)
        own = {"curve": curve, "values_of": reader.optional_frame(fields["values_of"])}
        return assembled(cls, known | own | {"sets": unpack_sets(fields["sets"])})

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
