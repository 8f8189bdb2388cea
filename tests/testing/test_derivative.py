"""The check of estimands that lean on no nuisance, and what it says of a column that is not there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from causalif.errors import InputError
from causalif.testing import check_estimand


@dataclass(frozen=True)
class PlainMean:
    """The mean of a column."""

    outcome: str = "y"
    read: str = "y"

    labels = ("E[Y]",)
    robustness = (frozenset(),)

    def nuisances(self):
        return {}

    def eif(self, rows, eta):
        return rows[self.read]

    def plug_in(self, law):
        return np.array([law.expect(law.table(())[self.read])])


def test_a_mean_without_nuisances_passes():
    assert check_estimand(PlainMean()).derivative < 1e-8


def test_a_misspelt_column_is_named():
    with pytest.raises(InputError, match="Column 'Y' is not in this table, which has 'y'"):
        check_estimand(PlainMean(read="Y"))
