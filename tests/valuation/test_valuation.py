"""The result class: changes, reports, and what they refuse."""

from __future__ import annotations

import dataclasses
from dataclasses import FrozenInstanceError
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from causalif._errors import DataWarning, InputError
from causalif.estimators.kairos import KAIROS


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(0)

    def table(rows):
        frame = pd.DataFrame(rng.normal(size=(rows, 2)), columns=["a", "b"])
        return frame.assign(c=rng.choice(["x", "y"], size=rows), y=np.where(frame["a"] > 0, "up", "down"))

    train = table(90).set_axis([f"r{i}" for i in range(90)])
    return train, table(40), table(8).set_axis([f"new{i}" for i in range(8)])


@pytest.fixture(scope="module")
def value(tables):
    train, clean, _ = tables
    return KAIROS(progress=False, precision="float64", n_jobs=1).fit(train, reference=clean, label="y")


def test_nothing_can_be_changed_in_place(value):
    with pytest.raises(FrozenInstanceError):
        value.kind = "leave_one_out"
    before = value.values.copy()
    value.remove(value.index[:3]).add(np_frame(value), index=["p", "q"]).reweight("p", 3.0)
    pd.testing.assert_series_equal(value.values, before)


def np_frame(value):
    return pd.DataFrame({"a": [0.1, 0.2], "b": [0.0, 1.0], "c": ["x", "y"], "y": ["up", "down"]})


def test_labels_of_rows_follow_every_change(value, tables):
    _, _, batch = tables
    grown = value.add(batch)
    assert grown.index.tolist() == [*value.index, *batch.index]
    replaced = grown.replace(["r3", "new1"], np_frame(value))
    assert replaced.index.tolist() == grown.index.tolist()
    assert replaced.table(len(replaced)).loc["r3", ["a", "b"]].tolist() == [0.1, 0.0]
    assert replaced.table(len(replaced)).loc["new1", "b"] == 1.0
    assert len(replaced.remove("r3")) == len(value) + len(batch) - 1
    shown = grown.remove("r0").table(3, "both")
    assert len(shown) == 6
    assert shown["value"].is_monotonic_increasing
    assert shown.loc[:, ["a", "b", "c", "y"]].notna().all(axis=None)


def test_scoring_a_batch_changes_nothing_and_ranks_strange_rows_low(value, tables):
    _, _, batch = tables
    strange = batch.assign(a=batch["a"] + 8)
    scores = value.score(strange)
    assert scores.index.equals(batch.index)
    assert scores.max() < value.score(batch).min()


def test_changed_columns_are_refused(value, tables):
    _, _, batch = tables
    for changed, match in (
        (batch.rename(columns={"a": "z"}), r"Missing: \['a'\]; not known: \['z'\]"),
        (batch.assign(extra=1), r"not known: \['extra'\]"),
        (batch.drop(columns="b"), r"Missing: \['b'\]"),
        (batch.drop(columns="y"), "`label` names the column 'y', which `batch` does not have"),
        (batch.assign(a="text"), "Column 'a' of `batch` must hold numbers"),
        (batch.assign(a=np.nan), "must not hold missing"),
        (batch[["a", "b"]].to_numpy(), "`label` names a column, but `batch` is an array"),
    ):
        with pytest.raises(InputError, match=match):
            value.add(changed)
    plain = KAIROS(progress=False).fit(np.eye(6, 2), reference=np.arange(18.0).reshape(9, 2) + 0.5)
    with pytest.raises(InputError, match="must have the 2 feature columns of the first fit"):
        plain.add(np.ones((2, 3)))


def test_new_categories_are_told(value, tables):
    _, _, batch = tables
    with pytest.warns(DataWarning, match="Column 'c' of `batch` holds 8 values that the first fit did not see"):
        value.add(batch.assign(c="unseen"))


def test_listed_features_let_other_columns_be(tables):
    train, clean, batch = tables
    value = KAIROS(progress=False).fit(train, reference=clean, label="y", features=["a", "b"])
    assert len(value.add(batch.assign(extra=1))) == 98


def test_weights_come_from_their_column(tables):
    train, clean, batch = tables
    value = KAIROS(progress=False).fit(train.assign(w=2.0), reference=clean, label="y", weights="w")
    grown = value.add(batch.assign(w=3.0))
    assert grown.state.sums.weights.tolist() == [2.0] * 90 + [3.0] * 8
    assert len(value.add_reference(batch).state.reference) == 48
    assert value.score(batch).notna().all()
    with pytest.raises(InputError, match="`weights` names the column 'w'"):
        value.add(batch)


def test_row_labels_that_do_not_fit(value, tables):
    train, _, batch = tables
    for call, match in (
        (lambda: value.add(train.iloc[:2]), r"repeats row labels: \['r0', 'r1'\]"),
        (lambda: value.add(batch, index=["q"]), "must have 8 labels. Got 1"),
        (lambda: value.remove("nobody"), r"not there: \['nobody'\]"),
        (lambda: value.remove(["r1", "r1"]), "names row 'r1' twice. List each row once"),
        (lambda: value.replace(["r1", "r2", "r1", "r2"], batch.iloc[:4]), "names rows 'r1', 'r2' twice"),
        (lambda: value.reweight(["r0", "r0"], 2.0), "names row 'r0' twice"),
        (lambda: value.reweight(["r0", "r1"], [1.0, 2.0, 3.0]), r"each of the 2 rows\. Got shape \(3,\)"),
        (lambda: value.remove(np.arange(90) < 2), r"Got booleans; pass values\.index\[mask\]"),
        (lambda: value.remove(slice(2)), "row label or a list of them. Got slice"),
        (lambda: value.remove(value.index), "at least one must stay"),
        (lambda: value.replace(["r1"], batch), "one row for each of the 1 labels. Got 8"),
        (lambda: value.reweight("r1", 0.0), "finite numbers above zero"),
        (lambda: value.reweight("r1", "a"), "`weights` must be numbers above zero. Got 'a'"),
        (lambda: value.group_removal(value.index), "a group must leave some"),
    ):
        with pytest.raises(InputError, match=match):
            call()


@pytest.mark.parametrize(
    "index",
    [
        pd.date_range("2020-01-01", periods=20),
        pd.period_range("2020-01", periods=20, freq="M"),
        pd.interval_range(0, 20),
        pd.MultiIndex.from_product([["a", "b"], range(10)]),
    ],
)
def test_labels_of_any_kind_name_a_row(index):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(20, 2)), index=index, columns=["a", "b"])
    value = KAIROS(progress=False).fit(frame, reference=pd.DataFrame(rng.normal(size=(9, 2)), columns=["a", "b"]))
    assert value.remove(index[3]).index.equals(index.delete(3))
    assert value.remove([index[3], index[5]]).index.equals(index.delete([3, 5]))
    assert value.remove(value.suggest_removal(rate=0.2)).index.isin(value.suggest_removal(rate=0.2)).sum() == 0
    if index.nlevels > 1:
        for part in ("a", ("a",), ["a"]):
            with pytest.raises(InputError, match="row labels of 2 parts"):
                value.remove(part)


def test_repaired_rows_go_back_by_their_labels(value, tables):
    train, clean, batch = tables
    repaired = train.assign(b=train["b"] + 1.0)
    low = value.suggest_removal(rate=0.1)
    assert not low.equals(low.sort_values())
    whole = train.copy()
    whole.loc[low] = repaired.loc[low]
    again = KAIROS(progress=False, precision="float64", n_jobs=1, scale=None, bandwidth=1.0)
    start = again.fit(train, reference=clean, label="y")
    expected = again.fit(whole, reference=clean, label="y")
    for rows in (repaired.loc[low], repaired[repaired.index.isin(low)]):
        found = start.replace(low, rows)
        np.testing.assert_allclose(found.values, expected.values, atol=1e-10)
        pd.testing.assert_frame_equal(found.source, whole)
    unlabelled = start.replace(low, repaired.loc[low].reset_index(drop=True))
    np.testing.assert_allclose(unlabelled.values, expected.values, atol=1e-10)
    with pytest.raises(
        InputError, match=r"has some row labels of `index`, such as .*, and some others, such as \['new0"
    ):
        start.replace(low[:2], pd.concat([repaired.loc[low[:1]], batch.iloc[:1]]))


def test_weights_in_a_series_are_matched_by_row_labels(value, tables):
    _, _, batch = tables
    weights = pd.Series({"r1": 5.0, "r5": 2.0, "r9": 7.0})
    some = value.reweight(["r5", "r1"], weights)
    pd.testing.assert_series_equal(some.values, value.reweight(["r5", "r1"], [2.0, 5.0]).values)
    one_out = KAIROS(progress=False, kind="leave_one_out").fit(tables[0], reference=tables[1], label="y")
    mass = pd.Series(np.arange(1.0, 9.0), index=batch.index)
    pd.testing.assert_series_equal(one_out.score(batch, weights=mass[::-1]), one_out.score(batch, weights=mass))
    with pytest.raises(InputError, match="`weights` has 2 labels, other than those of the 3 rows"):
        value.reweight(["r5", "r1", "r2"], weights[:2])


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ([0, 1], object),
        ([True, False], object),
        ([Decimal(1), Decimal(2)], object),
        ([1, "a"], object),
        (["u", "v"], str),
    ],
)
def test_removal_curves_take_classes_of_any_type(labels, kind, tables):
    train, clean, _ = (
        part.assign(y=pd.Series([labels[up] for up in (part["y"] == "up")], part.index, dtype=kind)) for part in tables
    )
    value = KAIROS(progress=False).fit(train, reference=clean, label="y", features=["a", "b"])
    curve = value.removal_curve(LogisticRegression(), clean, rates=(0.0, 0.1), draws=1)
    assert curve.frame["score"].min() > 0.9


def test_removal_curves_take_numbers_kept_as_objects(tables):
    train, clean, _ = (part.assign(y=[Decimal(str(round(x, 3))) for x in part["a"]]) for part in tables)
    value = KAIROS(progress=False).fit(train, reference=clean, label="y", features=["a", "b"])
    assert value.settings["label"] == "numbers"
    assert value.removal_curve(Ridge(), clean, rates=(0.0,)).frame["score"].iloc[0] > 0.9


def test_columns_named_like_a_report_are_shown_too(tables):
    train, clean, _ = (part.rename(columns={"y": "label", "b": "value"}) for part in tables)
    value = KAIROS(progress=False).fit(train, reference=clean, label="label")
    shown = value.table(3)
    assert list(shown)[5:] == ["a", "value of the data", "c", "label of the data"]
    assert shown["label of the data"].tolist() == train.loc[shown.index, "label"].tolist()


def test_tables_follow_rows_that_leave_and_come_back(value, tables):
    train, _, _ = tables
    back = value.remove(["r5", "r7"]).add(train.loc[["r7", "r5"]].assign(b=9.0))
    assert back.table(90, data=None).loc[["r5", "r7", "r1"], "b"].tolist() == [9.0, 9.0, train.loc["r1", "b"]]
    assert back.group_summary("c")["rows"].sum() == 90
    with pytest.raises(InputError, match=r"no column of the fitted rows\. Did you mean 'c'"):
        value.group_summary("C")


def test_tables_and_groups_are_matched_by_row_labels(value, tables):
    pl = pytest.importorskip("polars")
    train, _, _ = tables
    pd.testing.assert_frame_equal(value.table(5, data=train.sample(frac=1, random_state=0)), value.table(5))
    assert value.table(5, data=pl.from_pandas(train))["a"].tolist() == value.table(5)["a"].tolist()
    groups = value.group_summary(train["c"].sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(groups, value.group_summary("c"))
    with pytest.raises(InputError, match=r"must be a DataFrame of the train rows\. Got ndarray"):
        value.table(5, data=np.ones((90, 2)))
    with pytest.raises(InputError, match="`by` has 90 labels, other than those of the 90 rows"):
        value.group_summary(train["c"].reset_index(drop=True))


@pytest.mark.parametrize("label_model", ["cme", "classifier", "joint"])
def test_a_larger_reference_is_a_fit_with_it(label_model, tables):
    train, clean, _ = tables
    kairos = KAIROS(progress=False, precision="float64", bandwidth=1.0, scale=None, label_model=label_model)
    fitted = kairos.fit(train, reference=clean, label="y", features=["a", "b"])
    start = kairos.fit(train, reference=clean.iloc[:10], label="y", features=["a", "b"])
    grown = start.add_reference(clean.iloc[10:])
    if label_model == "cme":
        assert start.settings["ridge"] != fitted.settings["ridge"]
    np.testing.assert_allclose(grown.values, fitted.values, atol=1e-10)
    with pytest.warns(DataWarning, match="exact copies of reference rows"):
        start.add_reference(train.iloc[:3])


def test_arrays_get_the_next_numbers():
    rng = np.random.default_rng(0)
    value = KAIROS(progress=False).fit(rng.normal(size=(20, 2)), reference=rng.normal(size=(9, 2)))
    assert value.add(rng.normal(size=(2, 2))).index.tolist() == list(range(22))
    assert value.remove([19, 0]).add(rng.normal(size=(2, 2))).index.tolist() == [*range(1, 19), 19, 20]


def test_frames_and_tables(value, tables):
    frame = value.to_frame()
    assert list(frame) == ["value", "feature", "label", "witness", "p_value"]
    np.testing.assert_allclose(frame["value"], frame["feature"] + frame["label"])
    lowest = value.table(4)
    assert lowest.index.tolist() == value.values.sort_values(kind="stable").index[:4].tolist()
    assert value.table(4, "highest").index[0] == value.values.idxmax()
    assert list(value.table(2, data=tables[0][["a"]])) == [*frame.columns, "a"]
    with pytest.raises(InputError, match='"lowest", "highest" or "both"'):
        value.table(2, "worst")
    with pytest.raises(InputError, match=r"`data` has 40 labels, other than those of the 90 rows"):
        value.table(2, data=tables[1])


def test_rules_of_removal(value):
    assert len(value.suggest_removal(rate=0.1)) == 9
    assert len(value.suggest_removal(rate=0.0)) == 0
    below = value.suggest_removal(threshold=0)
    assert set(below) == set(value.index[value.values < 0])
    assert value.values[below].is_monotonic_increasing
    for rules in ({}, {"rate": 0.1, "fdr": 0.1}):
        with pytest.raises(InputError, match="exactly one of `rate`, `threshold` and `fdr`"):
            value.suggest_removal(**rules)
    with pytest.raises(InputError, match="`rate` must be a number between 0 and 1"):
        value.suggest_removal(rate=1.2)


def test_an_empty_answer_says_why():
    rng = np.random.default_rng(0)
    value = KAIROS(progress=False).fit(rng.normal(size=(300, 3)), reference=rng.normal(size=(20, 3)))
    smallest = value.pvalues.min()
    rows, needed = int((value.pvalues == smallest).sum()), int(np.ceil(smallest * 300 / 0.1))
    said = rf"smallest p-value is {smallest:.2g}, {rows} of 300 rows have it, and it takes {needed}\."
    with pytest.warns(DataWarning, match=said):
        assert len(value.suggest_removal(fdr=0.1)) == 0


def test_the_false_discovery_rate_is_kept():
    shares = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x, r = rng.normal(size=(500, 3)), rng.normal(size=(400, 3))
        x[:100] += 4
        listed = KAIROS(progress=False).fit(x, reference=r).suggest_removal(fdr=0.2)
        assert (listed < 100).sum() > 90
        shares.append((listed >= 100).mean())
    assert np.mean(shares) < 0.2 + 2 * np.std(shares) / np.sqrt(8)


def test_groups(value, tables):
    train, _, _ = tables
    summary = value.group_summary("c", rate=0.3)
    assert summary["rows"].sum() == 90
    assert summary["share_of_lowest"].sum() == pytest.approx(1)
    by_series = value.group_summary(train["c"].sample(frac=1, random_state=0), rate=0.3)
    pd.testing.assert_frame_equal(summary, by_series)
    lowest = pd.Series(np.where(value.values.rank() <= 9, "few", "many"), index=value.index)
    with pytest.warns(DataWarning, match="'few' has 10% of the rows and supplies 100% .* can empty a group"):
        value.group_summary(lowest)
    with pytest.raises(InputError, match="no column of the fitted rows"):
        value.group_summary("z")
    with pytest.raises(InputError, match="one value per train row, 90"):
        value.group_summary(np.zeros(3))


def test_a_removal_curve_needs_labels(value, tables):
    _, clean, batch = tables
    curve = value.removal_curve(LogisticRegression(), clean, rates=(0.0, 0.2), draws=2)
    assert curve.frame["removed"].tolist() == [0.0, 0.2]
    assert curve.frame["score"].between(0.5, 1).all()
    assert (curve.frame["random_low"] <= curve.frame["random_high"]).all()
    unlabelled = KAIROS(progress=False).fit(clean[["a", "b"]], reference=batch[["a", "b"]])
    with pytest.raises(InputError, match="needs labels"):
        unlabelled.removal_curve(LogisticRegression(), clean[["a", "b"]])
    with pytest.raises(InputError, match="`rates` must lie"):
        value.removal_curve(LogisticRegression(), clean, rates=(0.99,))


def test_what_it_says_of_itself(value):
    text = repr(value)
    assert text.startswith("Valuation of 90 rows against 40 reference rows")
    for word in ("kernel: Gaussian(bandwidth=", "label: classes, 2 in the reference", "ridge:", "weighting: reference"):
        assert word in text


def test_labels_that_rows_share_name_none_of_them():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(20, 2)), index=[*range(10), *range(7), 10, 11, 12], columns=["x0", "x1"])
    clean = pd.DataFrame(rng.normal(size=(9, 2)), columns=["x0", "x1"])
    value = KAIROS(progress=False).fit(frame, reference=clean)
    for call in (
        lambda: value.remove([8, 3, 0]),
        lambda: value.remove([8, 3, 3, 0]),
        lambda: value.replace([3, 0], frame.iloc[:2]),
        lambda: value.reweight([3, 0], [0.5, 2.0]),
        lambda: value.group_removal([3, 0, 9]),
    ):
        with pytest.raises(InputError, match=r"names rows 3, 0, and several rows have the same label.*reset_index"):
            call()
    with pytest.raises(InputError, match=r"names rows 0, 1, 2, 3, 4 and 2 more, and several"):
        value.remove(range(10))
    assert len(value.table(3)) == 3
    by_place = KAIROS(progress=False).fit(frame.reset_index(drop=True), reference=clean)
    np.testing.assert_allclose(value.remove([12, 8]).values, by_place.remove([19, 8]).values, rtol=1e-12)
    np.testing.assert_allclose(value.reweight([12, 8], [2, 3]).values, by_place.reweight([19, 8], [2, 3]).values)


def test_weights_that_came_as_an_array_stay_with_their_rows():
    rng = np.random.default_rng(0)
    x, r, new = rng.normal(size=(20, 2)), rng.normal(size=(10, 2)), rng.normal(size=(2, 2))
    weights = np.linspace(1, 3, 20)
    value = KAIROS(progress=False, precision="float64").fit(x, reference=r, weights=weights)
    replaced = value.replace([0, 5], new)
    np.testing.assert_array_equal(replaced.state.sums.weights, weights)
    assert replaced.replace([0], new[:1], weights=[9.0]).state.sums.weights[0] == 9
    with pytest.warns(DataWarning, match="new rows count 1 each, the others 1 to 3. Pass `weights`"):
        assert value.add(new).state.sums.weights[-2:].tolist() == [1, 1]
    assert value.add(new, weights=[1.0, 1.0]).state.sums.weights[-2:].tolist() == [1, 1]


def test_scales_can_be_kept():
    rng = np.random.default_rng(0)
    x, r = rng.normal(size=(60, 2)), rng.normal(size=(40, 2))
    x[:10] += 3
    value = KAIROS(progress=False).fit(x, reference=r)
    kept = dataclasses.replace(value, weighting=value.scales)
    assert kept.remove(range(10)).scales == value.scales != value.remove(range(10)).scales
    pd.testing.assert_series_equal(kept.values, value.values)


def test_what_is_not_a_row_label_or_a_group(value):
    with pytest.raises(InputError, match=r"`index` must hold row labels\. Got a table; pass its `\.index`"):
        value.remove(value.table(3))
    with pytest.raises(InputError, match=r"`by` must name one column, or give one group per row\. Got \['a', 'b'\]"):
        value.group_summary(["a", "b"])
    with pytest.raises(InputError, match=r"The witness plot takes `features`\. Got `is_bad`"):
        value.plot("witness", is_bad=np.arange(len(value)) < 3)
