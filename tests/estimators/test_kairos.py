"""`KAIROS`: what it reads, what it refuses and how, and what must hold of every value."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC

from causalif._errors import DataWarning, InputError
from causalif.estimators.kairos import KAIROS
from causalif.kernels import Energy, Gaussian


def tables(n=80, m=30, seed=0):
    """Train and reference tables with two numbers, a category and a label."""
    rng = np.random.default_rng(seed)

    def table(rows):
        frame = pd.DataFrame(rng.normal(size=(rows, 2)), columns=["a", "b"])
        frame["c"] = rng.choice(["x", "y", "z"], size=rows)
        return frame.assign(y=np.where(frame["a"] + 0.2 * rng.normal(size=rows) > 0, "up", "down"))

    return table(n), table(m)


def quiet(**options):
    return KAIROS(progress=False, n_jobs=1, **options)


# --- what must hold ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label_model", ["cme", "classifier", "joint", None])
def test_influence_values_add_up_to_zero(label_model):
    train, clean = tables()
    value = quiet(label_model=label_model).fit(train, reference=clean, label="y")
    assert abs(value.values.sum()) < 1e-9 * value.values.abs().sum()
    np.testing.assert_allclose(value.values, value.components.sum(axis=1))
    weighted = quiet(label_model=label_model).fit(
        train, reference=clean, label="y", weights=np.linspace(0.5, 2, len(train))
    )
    assert abs(np.linspace(0.5, 2, len(train)) @ weighted.values) < 1e-9 * weighted.values.abs().sum()


def test_permuted_rows_have_permuted_values_and_copies_equal_ones():
    train, clean = tables()
    value = quiet(precision="float64").fit(train, reference=clean, label="y").values
    order = np.random.default_rng(0).permutation(len(train))
    moved = quiet(precision="float64").fit(train.iloc[order], reference=clean, label="y").values
    np.testing.assert_allclose(moved.to_numpy(), value.to_numpy()[order], atol=1e-12)
    twice = quiet(precision="float64").fit(pd.concat([train, train], ignore_index=True), reference=clean, label="y")
    np.testing.assert_allclose(twice.values[: len(train)], twice.values[len(train) :], atol=1e-12)
    # influence does not change when the whole data set is doubled, the calibration of the feature part but little
    np.testing.assert_allclose(twice.values[: len(train)], value, atol=1e-9)


def test_a_weight_of_two_is_a_copy():
    train, clean = tables()
    weights = np.ones(len(train))
    weights[5] = 2
    for kind in ("influence", "leave_one_out"):
        asked = quiet(precision="float64", weighting=(1, 1), kind=kind)
        heavy = asked.fit(train, reference=clean, label="y", weights=weights)
        copied = asked.fit(pd.concat([train, train.iloc[[5]]], ignore_index=True), reference=clean, label="y")
        assert heavy.mmd2 == pytest.approx(copied.mmd2, abs=1e-14)
        others = np.arange(len(train)) != 5
        np.testing.assert_allclose(heavy.values[others], copied.values[:-1][others], atol=1e-12)


def test_a_shift_of_ten_thousand_in_float32_changes_nothing():
    rng = np.random.default_rng(0)
    # multiples of 1/1024 are exact in float32 around 10,000
    x, r = (np.round(rng.normal(size=(n, 5)) * 1024) / 1024 for n in (300, 80))
    at_zero = quiet(precision="float64").fit(x, reference=r).values
    shifted = quiet().fit((x + 1e4).astype(np.float32), reference=(r + 1e4).astype(np.float32)).values
    assert np.abs(shifted - at_zero).max() < 1e-4 * at_zero.std()


def test_unscaled_columns_far_from_zero_keep_their_digits():
    rng = np.random.default_rng(0)
    train, clean = (
        pd.DataFrame({"north": 5.4e6 + 3 * rng.normal(size=n), "east": 4.5e5 + 3 * rng.normal(size=n)})
        for n in (300, 150)
    )
    exact = quiet(precision="float64", scale=None).fit(train, reference=clean).values
    found = quiet(scale=None).fit(train, reference=clean).values
    assert (found - exact).abs().max() < 1e-5 * exact.abs().max()


def test_float32_is_close_to_float64():
    rng = np.random.default_rng(1)
    x, r = rng.normal(size=(700, 64)), rng.normal(size=(150, 64))
    y, yr = (np.where(rows[:, 0] > 0, "a", "b") for rows in (x, r))
    one, two = (quiet(precision=p).fit(x, reference=r, label=y, reference_label=yr) for p in ("float32", "float64"))
    np.testing.assert_allclose(one.witness, two.witness, atol=2e-7)
    assert np.abs(one.values - two.values).max() < 1e-4 * two.values.std()


def test_threads_change_no_digit():
    train, clean = tables(900, 200)
    one, two = (KAIROS(n_jobs=jobs, progress=False).fit(train, reference=clean, label="y") for jobs in (1, 2))
    np.testing.assert_array_equal(one.values, two.values)


def test_clean_rows_have_uniform_pvalues():
    shares, rows = [], []
    for seed in range(6):
        train, clean = tables(1200, 300, seed)
        pvalues = quiet().fit(train, reference=clean, label="y").pvalues
        shares.append([(pvalues <= level).mean() for level in (0.05, 0.2, 0.5)])
        rows.append(pvalues.min())
    # each reference moves all p-values of a draw together, so the band is that of 6 × 300 reference rows
    for found, level in zip(np.mean(shares, axis=0), (0.05, 0.2, 0.5), strict=True):
        assert abs(found - level) < 4 * np.sqrt(level * (1 - level) / (6 * 300)) + 0.01
    assert min(rows) >= 1 / 301


# --- forms of input ----------------------------------------------------------------------------------------------


def test_a_mask_or_a_column_marks_the_reference():
    train, clean = tables()
    both = pd.concat([clean, train], ignore_index=True)
    mask = np.arange(len(both)) < len(clean)
    apart = quiet().fit(train, reference=clean, label="y").values.to_numpy()
    by_mask = quiet().fit(both, reference=mask, label="y").values
    by_column = quiet().fit(both.assign(ok=mask), reference="ok", label="y").values
    np.testing.assert_array_equal(by_mask, apart)
    np.testing.assert_array_equal(by_column, apart)
    assert by_mask.index.tolist() == list(range(len(clean), len(both)))


def test_arrays_tensors_and_other_frames_give_the_same():
    pl = pytest.importorskip("polars")
    torch = pytest.importorskip("torch")
    train, clean = tables()
    names, y, yr = ["a", "b"], train["y"].to_numpy(), clean["y"].to_numpy()
    x, r = train[names].to_numpy(), clean[names].to_numpy()
    array = quiet().fit(x, reference=r, label=y, reference_label=yr).values
    tensor = quiet().fit(torch.tensor(x), reference=torch.tensor(r), label=y, reference_label=yr).values
    framed = quiet().fit(train[[*names, "y"]], reference=clean[[*names, "y"]], label="y").values
    other = quiet().fit(pl.DataFrame(train[[*names, "y"]].to_dict("list")),
                        reference=pl.DataFrame(clean[[*names, "y"]].to_dict("list")), label="y").values  # fmt: skip
    listed = quiet().fit(train, reference=clean, label="y", features=names).values
    for values in (tensor, framed, other, listed):
        np.testing.assert_array_equal(values, array)


def test_columns_of_the_reference_may_come_in_another_order():
    train, clean = tables()
    value = quiet().fit(train, reference=clean[["y", "c", "b", "a"]], label="y").values
    np.testing.assert_allclose(value, quiet().fit(train, reference=clean, label="y").values, atol=1e-5)


def test_categories_and_scales():
    train, clean = tables()
    value = quiet().fit(train, reference=clean, label="y")
    assert value.encoder.width == 5
    assert value.encoder.levels == {"c": ("x", "y", "z")}
    standardised = value.state.reference
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(standardised.std(axis=0), 1, atol=1e-6)
    lengths = np.linalg.norm(quiet(scale="rows").fit(train, reference=clean, label="y").state.points, axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)
    raw = quiet(scale=None).fit(train, reference=clean, label="y").state.points
    np.testing.assert_allclose(raw[:, 0], train["a"], atol=1e-6)


def test_a_column_that_is_constant_on_the_reference_gets_its_unit_from_the_train_rows():
    train, clean = tables()
    clean = clean.assign(b=3.0)
    value = quiet().fit(train, reference=clean, label="y")
    spread = value.state.points[:, 1].std()
    assert spread == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [(["a", "b"], "classes"), ([0, 1], "classes"), ([0.0, 1.0], "classes"), ([0.5, 1.25], "numbers"),
     ([True, False], "classes"), (list(range(40)), "numbers")],
)  # fmt: skip
def test_what_kind_of_label_is_read(labels, kind):
    train, clean = tables()
    rng = np.random.default_rng(0)
    y, yr = (np.array(labels)[rng.integers(len(labels), size=n)] for n in (80, 30))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        value = quiet().fit(train[["a", "b"]], reference=clean[["a", "b"]], label=y, reference_label=yr)
    assert value.state.labelling.coding.kind == kind
    assert kind in value.settings["label"]
    forced = quiet(label_type="classes").fit(
        train[["a", "b"]], reference=clean[["a", "b"]], label=y[:5].repeat(16), reference_label=y[:5].repeat(6)
    )
    assert forced.state.labelling.coding.kind == "classes"


def test_scikit_learn_models_judge_labels():
    train, clean = tables()
    forest = RandomForestClassifier(20, random_state=0)
    value = quiet(label_model=forest).fit(train, reference=clean, label="y")
    assert not hasattr(forest, "classes_"), "the estimator that was passed stays as it was"
    flipped = train.copy()
    flipped.loc[:5, "y"] = np.where(train["y"][:6] == "up", "down", "up")
    worse = quiet(label_model=forest).fit(flipped, reference=clean, label="y")
    assert (worse.components["label"][:6] < value.components["label"][:6]).mean() > 0.8
    x, r = train[["a", "b"]].to_numpy(), clean[["a", "b"]].to_numpy()
    numbers = quiet(label_model=Ridge()).fit(x, reference=r, label=x[:, 0], reference_label=r[:, 0])
    assert numbers.settings["label"] == "numbers"


def test_numeric_labels_that_are_wrong_get_low_values():
    rng = np.random.default_rng(0)
    x, r = rng.normal(size=(200, 3)), rng.normal(size=(150, 3))
    y, yr = x.sum(axis=1), r.sum(axis=1)
    bad = np.arange(200) < 20
    y = np.where(bad, y + 4, y)
    for model in ("cme", "classifier"):
        value = quiet(label_model=model).fit(x, reference=r, label=y, reference_label=yr)
        assert value.detection_curve(bad).auroc > 0.95


@pytest.mark.parametrize("kernel", ["gaussian", "laplace", "matern", "inverse_multiquadric", Gaussian(1.5)])
def test_kernels(kernel):
    train, clean = tables()
    heap = train.copy()
    heap.loc[:15, ["a", "b"]] = 0.1 * train.loc[:15, ["a", "b"]] + 3
    value = quiet(kernel=kernel).fit(heap, reference=clean, features=["a", "b"])
    assert set(value.suggest_removal(rate=16 / 80)) == set(range(16))


def test_energy_needs_another_label_model():
    train, clean = tables()
    value = quiet(kernel="energy", label_model="classifier").fit(train, reference=clean, label="y")
    assert isinstance(value.state.computing.kernel, Energy)
    assert abs(value.values.sum()) < 1e-9
    for model in ("cme", "joint"):
        with pytest.raises(InputError, match="positive definite kernel"):
            quiet(kernel="energy", label_model=model).fit(train, reference=clean, label="y")


def test_bandwidths():
    train, clean = tables()

    def width(bandwidth):
        return quiet(bandwidth=bandwidth).fit(train, reference=clean, label="y").state.computing.kernel

    whole = width("median").bandwidth
    assert width(("median", 0.5)).bandwidth == pytest.approx(whole / 2)
    assert width(2.5).bandwidth == 2.5
    assert width([1.0, 2.0]).bandwidths == (1.0, 2.0)


# --- bad input: a sentence each ----------------------------------------------------------------------------------


def refused(match, train, options=None, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        with pytest.raises(InputError, match=match):
            quiet(**(options or {})).fit(train, **given)


def test_reference_rows_among_the_train_rows():
    train, clean = tables()
    overlapping = pd.concat([train, clean.iloc[:7]], ignore_index=True)
    with pytest.warns(DataWarning, match="7 of 87 rows of `train` are exact copies of reference rows"):
        quiet().fit(overlapping, reference=clean, label="y")


def test_rows_that_share_their_first_columns_only_are_no_copies():
    draw = np.random.default_rng(0)
    x, r = draw.normal(size=(60, 12)), draw.normal(size=(40, 12))
    x[:, :10] = r[0, :10]
    r[:, :10] = r[0, :10]
    x[:5] = r[:5]
    with pytest.warns(DataWarning, match="5 of 60 rows of `train` are exact copies"):
        quiet().fit(x, reference=r)
    y, clean = np.arange(60) >= 5, np.arange(40) >= 3
    with pytest.warns(DataWarning, match="3 of 60 rows of `train` are exact copies"):
        quiet().fit(x, reference=r, label=y, reference_label=clean)


def test_a_class_that_the_reference_lacks():
    train, clean = tables()
    train.loc[:2, "y"] = "sideways"
    with pytest.warns(DataWarning, match="No reference row has the label 'sideways'"):
        value = quiet().fit(train, reference=clean, label="y")
    assert value.components["label"][:3].max() < value.components["label"][3:].quantile(0.2)


@pytest.mark.parametrize("spoil", [np.nan, np.inf])
@pytest.mark.parametrize("which", ["train", "reference"])
def test_missing_numbers_name_their_columns(spoil, which):
    train, clean = tables()
    (train if which == "train" else clean).loc[3, "b"] = spoil
    refused(f"`{which}` must not hold missing or infinite numbers.*'b'", train, reference=clean, label="y")


def test_missing_numbers_in_an_array_name_their_positions():
    x = np.ones((10, 4))
    x[2, 3] = np.nan
    refused("1 feature columns: 3", x, reference=np.zeros((5, 4)))


def test_missing_labels_and_categories():
    train, clean = tables()
    refused("`label` column 'y' of `train` has 1 missing of 80", train.assign(y=train["y"].where(train.index != 4)),
            reference=clean, label="y")  # fmt: skip
    refused("Column 'c' of `train` has 1 missing", train.assign(c=train["c"].where(train.index != 4)), reference=clean,
            label="y")  # fmt: skip


def test_a_kernel_that_cannot_tell_rows_apart():
    pixels = np.random.default_rng(0).integers(0, 256, size=(60, 50))
    with pytest.warns(DataWarning, match="look unrelated"):
        quiet(scale=None, bandwidth=1.0, weighting=(1, 1)).fit(pixels[:40], reference=pixels[40:])
    with pytest.warns(DataWarning, match="look the same"):
        quiet(scale=None, bandwidth=1e5, weighting=(1, 1)).fit(pixels[:40], reference=pixels[40:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet().fit(pixels[:40], reference=pixels[40:])


def test_a_single_row():
    train, clean = tables()
    with pytest.warns(DataWarning, match="a single row: its value is zero"):
        value = quiet().fit(train.iloc[[0]], reference=clean, label="y")
    assert value.values.tolist() == [0.0]
    assert np.isnan(value.mmd2_unbiased)
    assert list(value.to_frame()) == ["value", "feature", "label", "witness"]
    with pytest.raises(InputError, match="Leave-one-out values need at least two"):
        _ = replace(value, kind="leave_one_out").values
    with pytest.raises(InputError, match="p-values need at least two"):
        _ = value.pvalues


def test_copies_of_one_row_only():
    train, clean = tables()
    same = pd.concat([train.iloc[[0]]] * 12, ignore_index=True)
    with pytest.warns(DataWarning, match="look the same"):
        value = quiet().fit(same, reference=clean, label="y")
    np.testing.assert_allclose(value.values, 0, atol=1e-6)
    copies = pd.concat([clean.iloc[[0]]] * 12, ignore_index=True)
    refused("component is constant over the reference rows", train, reference=copies, label="y",
            options={"label_type": "classes", "label_model": None})  # fmt: skip


def test_half_precision():
    train, clean = tables()
    x, r = train[["a", "b"]].to_numpy(np.float16), clean[["a", "b"]].to_numpy(np.float16)
    with pytest.warns(DataWarning, match="half precision"):
        value = quiet().fit(x, reference=r)
    exact = quiet().fit(x.astype(float), reference=r.astype(float))
    np.testing.assert_allclose(value.values, exact.values, atol=1e-4)


def test_empty_and_small_references():
    train, clean = tables()
    refused("`reference` has no rows", train, reference=clean.iloc[:0], label="y")
    refused("marks no row", train, reference=np.zeros(80, dtype=bool), label="y")
    refused("marks every row", train, reference=np.ones(80, dtype=bool), label="y")
    refused("at least 5 reference rows", train, reference=clean.iloc[:3], label="y")
    refused("at least two. Got one", train, reference=clean.iloc[:1], features=["a", "b"])
    with pytest.warns(DataWarning, match="which no reference row has"):
        value = quiet(bandwidth=1.0, weighting=(1, 0)).fit(train, reference=clean.iloc[:1])
    assert np.isfinite(value.values).all()


def test_unknown_columns():
    train, clean = tables()
    refused("`label` names the column 'target', which `train` does not have", train, reference=clean, label="target")
    refused("Did you mean 'y'", train.rename(columns={"y": "yy"}).assign(y=1), reference=clean, label="y_")
    refused("which `reference` does not have", train, reference=clean.drop(columns="y"), label="y")
    refused("only in train: \\['c'\\]", train, reference=clean.drop(columns="c"), label="y")
    refused("`features` names the column 'q'", train, reference=clean, label="y", features=["a", "q"])
    refused("is the label or the weights", train, reference=clean, label="y", features=["a", "y"])
    refused("more than once", train[["a", "a", "y"]], reference=clean, label="y")
    refused("names a column, but `train` is an array", np.ones((5, 2)), reference=np.ones((5, 2)), label="y")
    refused("both be DataFrames", train[["a", "b"]], reference=np.ones((5, 2)))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kernel": "cubic"}, "`kernel` must be one of"),
        ({"bandwidth": -1.0}, "finite numbers above 0"),
        ({"bandwidth": "mean"}, "`bandwidth` must be"),
        ({"bandwidth": [1.0, 2.0], "kernel": "laplace"}, "mixture of Gaussians"),
        ({"scale": "train"}, "`scale` must be one of"),
        ({"label_model": "svm"}, "`label_model` must be"),
        ({"label_model": LinearSVC}, "`label_model` must be"),
        ({"label_model": LinearSVC()}, "predict_proba"),
        ({"label_type": "text"}, "`label_type` must be one of"),
        ({"weighting": "equal"}, "`weighting` must be"),
        ({"weighting": (1, -1)}, "`weighting` must be"),
        ({"weighting": (0, 0)}, "`weighting` must be"),
        ({"weighting": {"x": 1}}, "`weighting` must be"),
        ({"kind": "shapley"}, "`kind` must be one of"),
        ({"precision": "float8"}, "`precision` must be one of"),
        ({"n_jobs": 0}, "`n_jobs` must be"),
    ],
)
def test_bad_options(options, match):
    train, clean = tables()
    with pytest.raises(InputError, match=match):
        KAIROS(**{"progress": False, **options}).fit(train, reference=clean, label="y")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"reference": None}, "`reference` must be given"),
        ({"reference": np.zeros(80)}, "second table, a boolean column"),
        ({"reference": "q"}, "names the column 'q'"),
        ({"reference": "a"}, "second table, a boolean column"),
        ({"weights": np.zeros(80)}, "finite numbers above zero"),
        ({"weights": np.ones(79)}, "one value for each of the 80 rows"),
        ({"label": np.ones(79)}, "one value for each of the 80 rows"),
        ({"label": np.ones(80)}, "`reference_label` must be given"),
    ],
)
def test_bad_arguments(given, match):
    train, clean = tables()
    with pytest.raises(InputError, match=match):
        quiet().fit(train, **{"reference": clean, "label": "y", **given})


def test_joint_without_a_label_and_classifiers_of_one_class():
    train, clean = tables()
    refused("needs a `label`", train, {"label_model": "joint"}, reference=clean)
    refused("at least two classes", train.assign(y="up"), {"label_model": "classifier"}, reference=clean.assign(y="up"),
            label="y")  # fmt: skip
    refused("constant on the reference", train.assign(y=1.5), {"label_type": "numbers"}, reference=clean.assign(y=1.5),
            label="y")  # fmt: skip


def test_input_is_left_as_it_was():
    train, clean = tables()
    before = train.copy(), clean.copy()
    x = train[["a", "b"]].to_numpy()
    x.flags.writeable = False
    value = quiet().fit(train, reference=clean, label="y")
    value.add(clean.set_axis(range(100, 130)).iloc[:5])
    quiet().fit(x, reference=clean[["a", "b"]].to_numpy())
    pd.testing.assert_frame_equal(train, before[0])
    pd.testing.assert_frame_equal(clean, before[1])
