"""What acting on a ranking does to groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalif._errors import DataWarning, InputError
from causalif.valuation import tables

VALUES = np.arange(12.0) % 4


# So few rows are often in one group; that is the matter of another test.
@pytest.mark.filterwarnings("ignore:.*can empty a group:causalif._errors.DataWarning")
@pytest.mark.parametrize(
    "groups",
    [
        pd.Series(["a", "b", None, "a"] * 3),
        pd.Series(["a", "b", None, np.nan, pd.NA, pd.NaT] * 2, dtype=object),
        pd.Series([1.0, 2.0, np.nan, 1.0] * 3),
        pd.Series([1, None, 2, 1] * 3, dtype="Int64"),
        pd.Series(["a", "b", None, "a"] * 3, dtype="category"),
        pd.Series([True, False, None, True] * 3, dtype="boolean"),
        pd.Series(pd.to_datetime(["2020-01-01", "2020-01-02", None, "2020-01-01"] * 3)),
    ],
)
def test_rows_without_a_group_are_one(groups):
    table = tables.group_summary(VALUES, groups, 0.25)
    assert len(table) == 3
    assert table["rows"].sum() == 12
    assert table[["share_of_rows", "share_of_lowest"]].sum().tolist() == pytest.approx([1, 1])
    missing = table[table.index.isna()]
    assert missing["rows"].tolist() == [groups.isna().sum()]
    assert missing["mean_value"].tolist() == pytest.approx([VALUES[groups.isna()].mean()])
    assert table.index.isna().tolist() == [False, False, True]


def test_categories_keep_their_order_and_empty_ones_have_no_row():
    groups = pd.Series(pd.Categorical(["low", "high"] * 6, categories=["low", "medium", "high"]), name="size")
    table = tables.group_summary(VALUES, groups, 0.4)
    assert table.index.tolist() == ["low", "high"]
    assert table.index.name == "size"


def test_uneven_groups_are_told_of_once():
    values = np.arange(100.0)
    groups = pd.Series(np.r_[np.arange(10).repeat(2), np.full(80, 10)])
    with pytest.warns(DataWarning) as told:
        tables.group_summary(values, groups, 0.2)
    assert len(told) == 1
    message = str(told[0].message)
    assert message.startswith("Group 0 has 2% of the rows and supplies 10% of the lowest 20%, 100% of the group; Group")
    assert "; and 7 more groups: acting on a ranking can empty a group" in message
    with pytest.warns(DataWarning, match="Rows without a group are 20% of all and supply 100%"):
        tables.group_summary(values, pd.Series(np.where(values < 20, None, "many")), 0.2)


@pytest.mark.filterwarnings("ignore:.*can empty a group:causalif._errors.DataWarning")
def test_a_number_is_no_group():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=r"`by` .* Got 150 different values in 150 rows; .*pd\.cut"):
        tables.group_summary(rng.normal(size=150), pd.Series(rng.normal(size=150)), 0.1)
    assert len(tables.group_summary(VALUES, pd.Series(range(12)), 0.1)) == 12  # so few may be looked at
