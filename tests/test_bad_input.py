"""Bad data and bad options: which error, which sentence, how fast, and the table left as it was."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

import causalif as ci
from causalif._errors import (
    CausalifError,
    CausalifWarning,
    DataWarning,
    DesignWarning,
    IdentificationWarning,
    InputError,
    LearnerError,
    PositivityError,
    PositivityWarning,
)
from causalif.engine.linear import OLS
from causalif.estimators._common import require_overlap

Frame = pd.DataFrame
ESTIMATORS = ("ATE", "InvalidIVATE")
N = 400


def frame(n: int = N, seed: int = 0) -> Frame:
    """Covariates x1, x2, a valid instrument z, a binary treatment a of effect 2, cluster g, weights w."""
    rng = np.random.default_rng(seed)
    x1, x2 = rng.normal(size=(2, n))
    z = rng.binomial(1, 0.5, n)
    a = rng.binomial(1, 1 / (1 + np.exp(1.5 - 0.3 * x1 - 1.6 * z)))
    y = x1 + 2 * a + z + rng.normal(size=n)
    return pd.DataFrame({"x1": x1, "x2": x2, "z": z, "a": a, "y": y, "g": np.arange(n) // 10, "w": 1.0})


def estimator(name: str, **options: Any) -> Any:
    chosen: dict[str, Any] = {"outcome": "y", "treatment": "a", "adjust": ["x1", "x2"], "learners": "linear"} | options
    if name == "ATE":
        return ci.ATE(**chosen)
    return ci.InvalidIVATE(**({"instrument": "z", "weak_identification": "warn"} | chosen))


def quietly(name: str, data: Any, **options: Any) -> Any:
    """Fit without warnings of the library; the weak instrument of so small a table is not at issue here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalifWarning)
        return estimator(name, **options).fit(data)


def refusal(name: str, data: Any, seconds: float = 1.0, **options: Any) -> CausalifError:
    """Return the error that a fit raises, which comes fast and leaves the table alone."""
    before = data.copy(deep=True) if isinstance(data, pd.DataFrame) else None
    start = time.process_time()
    with pytest.raises(CausalifError) as caught:
        estimator(name, **options).fit(data)
    assert time.process_time() - start < seconds
    if before is not None:
        pd.testing.assert_frame_equal(data, before)
    return caught.value


def refused(name: str, data: Any, kind: type[CausalifError], *parts: str, **options: Any) -> None:
    error = refusal(name, data, **options)
    assert type(error) is kind
    assert isinstance(error, ValueError)
    for part in parts:
        assert part in str(error), str(error)


def with_column(name: str, change: Callable[[Frame], Any]) -> Frame:
    data = frame()
    data[name] = change(data)
    return data


def spoiled(name: str, dtype: str, values: dict[int, Any]) -> Frame:
    """The frame with one column of another type, in which some rows are replaced."""
    data = frame()
    column = data[name].astype(dtype)
    for row, value in values.items():
        column.iloc[row] = value
    data[name] = column
    return data


# --- missing, infinite, not numbers ----------------------------------------------------------------------------------

ROLES = {"x1": "adjust", "y": "outcome", "a": "treatment"}
MISSING = {
    "nan": ("float64", {3: np.nan, 5: np.nan}, "2 missing of 400"),
    "inf": ("float64", {3: np.inf, 7: -np.inf}, "2 infinite of 400"),
    "both": ("float64", {3: np.inf, 7: np.nan}, "1 missing and 1 infinite of 400"),
    "NA": ("Float64", {3: pd.NA}, "1 missing of 400"),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("column", ROLES)
@pytest.mark.parametrize("case", MISSING)
def test_missing_and_infinite_values(name: str, column: str, case: str) -> None:
    dtype, values, counted = MISSING[case]
    refused(name, spoiled(column, dtype, values), InputError, f"`{ROLES[column]}` column '{column}'", counted,
            "first at index 3", f"dropna(subset=['{column}'])")  # fmt: skip


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("dtype", ["Int64", "boolean"])
def test_missing_values_of_nullable_treatments(name: str, dtype: str) -> None:
    refused(name, spoiled("a", dtype, {3: pd.NA}), InputError, "`treatment` column 'a' has 1 missing of 400", "index 3")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_missing_values_of_text_and_categories(name: str) -> None:
    text = with_column("a", lambda d: pd.Series(np.where(d["a"] == 1, "yes", "no"), dtype="str"))
    text.loc[[4, 9], "a"] = None
    refused(name, text, InputError, "`treatment` column 'a' has 2 missing of 400", "index 4, 9")
    category = with_column("x2", lambda d: pd.cut(d["x2"], [-10, 0, 10], labels=["low", "high"]))
    category.loc[4, "x2"] = np.nan
    refused(name, category, InputError, "`adjust` column 'x2' has 1 missing of 400", "index 4")


def text_numbers(data: Frame, column: str) -> Any:
    return data[column].astype(str)


NOT_NUMBERS: dict[str, Callable[[Frame, str], Any]] = {
    "str": text_numbers,
    "object": lambda data, column: data[column].astype(object),
    "datetime64[us]": lambda data, column: pd.date_range("2020-01-01", periods=len(data), unit="us"),
    "complex128": lambda data, column: data[column].astype(complex),
    "timedelta64": lambda data, column: pd.to_timedelta(data[column], unit="h"),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("column", ["x1", "y"])
@pytest.mark.parametrize("dtype", NOT_NUMBERS)
def test_columns_that_do_not_hold_numbers(name: str, column: str, dtype: str) -> None:
    data = with_column(column, lambda d: NOT_NUMBERS[dtype](d, column))
    remedy = ".astype('category')" if column == "x1" else "pd.to_numeric"
    refused(name, data, InputError, f"`{ROLES[column]}` column '{column}' must hold numbers. Got dtype {dtype}", remedy)


def test_complex_treatment() -> None:
    for name in ESTIMATORS:
        refused(
            name, with_column("a", lambda d: d["a"].astype(complex)), InputError, "`treatment` column 'a' must hold"
        )


def test_text_treatment_of_many_values() -> None:
    data = with_column("a", lambda d: np.array(["low", "middle", "high"])[np.arange(len(d)) % 3])
    refused("InvalidIVATE", data, InputError, "must hold numbers, or two values of any type", "3 values instead")
    refused("ATE", data, InputError, "has 3 levels ['high', 'low', 'middle']", "levels=('low', 'high')")
    dates = with_column("a", lambda d: pd.date_range("2020", periods=len(d)))
    refused("InvalidIVATE", dates, InputError, "must hold numbers, or two values of any type", "400 values")


# --- treatments and outcomes -----------------------------------------------------------------------------------------


def test_continuous_treatment_names_the_right_estimator() -> None:
    data = with_column("a", lambda d: d["x1"] + d["y"])
    refused("ATE", data, InputError, "400 distinct values, so it is continuous", "InvalidIVATE")


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("y", 1.5, "is constant (1.5)"),
        ("a", 0, "constant"),
        ("a", "treated", "constant"),
        ("z", 1, "one value only (1)"),
    ],
)
def test_constant_columns_of_a_role(name: str, column: str, value: object, said: str) -> None:
    if (name, column) == ("ATE", "z"):
        pytest.skip("has no instrument")
    said = f"one value only ({value!r})" if (name, column) == ("ATE", "a") else said
    refused(name, with_column(column, lambda d: value), InputError, f"column '{column}'", said)


def test_levels() -> None:
    refused("ATE", frame(), InputError, "`levels` must be a pair (treated, control) of different", levels=(1, 1))
    refused("ATE", frame(), InputError, "`levels` must be a pair", levels="10")
    refused(
        "ATE",
        frame(),
        InputError,
        "`levels` names [5], which `treatment` column 'a' never takes: [0, 1]",
        levels=(1, 5),
    )
    refused("ATE", frame(), InputError, "`target` must be one of 'all', 'treated'", target="untreated")


@pytest.mark.parametrize("change", [lambda a: a + 1, lambda a: np.where(a == 1, "yes", "no"), lambda a: a == 1])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_any_two_values_are_a_treatment_with_its_reference_stated(name: str, change: Callable[[Any], Any]) -> None:
    plain, coded = (quietly(name, data) for data in (frame(), with_column("a", lambda d: change(d["a"].to_numpy()))))
    np.testing.assert_array_equal(plain.influence_values, coded.influence_values)
    low, high = change(np.array([0, 1]))
    said = (
        f"{high} (treated) against {low} (control)"
        if name == "ATE"
        else f"Treatment a: {high} against the reference {low}"
    )
    if name == "ATE" or str(low) not in ("0", "False"):
        assert said in str(coded.summary())


def test_reversed_levels_turn_the_sign() -> None:
    plain, turned = quietly("ATE", frame()), quietly("ATE", frame(), levels=(0, 1))
    assert turned.params["ATE"] == -plain.params["ATE"]
    assert list(turned.params.index) == ["ATE", "E[Y(0)]", "E[Y(1)]"]


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-100, 1e100, 1e200])
@pytest.mark.parametrize(
    "options",
    [{}, {"target": "treated"}, {"cluster": "g"}, {"weights": "w"}, {"repeats": 3},
     {"learners": {"outcome": LinearRegression(), "treatment": "linear"}}],
    ids=["plain", "treated", "cluster", "weights", "repeats", "sklearn"],
)  # fmt: skip
def test_unit_of_the_outcome_scales_estimate_and_standard_error(scale: float, options: dict[str, Any]) -> None:
    plain = estimator("ATE", **options).fit(frame())
    scaled = estimator("ATE", **options).fit(with_column("y", lambda d: d["y"] * scale))
    assert scaled.std_errors.min() > 0
    np.testing.assert_allclose(scaled.params / scale, plain.params, rtol=1e-9)
    np.testing.assert_allclose(scaled.std_errors / scale, plain.std_errors, rtol=1e-9)
    np.testing.assert_allclose(scaled.pvalues, plain.pvalues, rtol=1e-6, atol=1e-300)
    assert "nan" not in str(scaled.summary())


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_unit_of_the_outcome_with_an_invalid_instrument(scale: float) -> None:
    data = ci.datasets.simulate_invalid_iv_continuous(1_500, random_state=0).data
    options = {"adjust": ["x1", "x2", "x3"]}
    plain = quietly("InvalidIVATE", data, **options)
    scaled = quietly("InvalidIVATE", data.assign(y=data["y"] * scale), **options)
    np.testing.assert_allclose(scaled.params / scale, plain.params, rtol=1e-9)
    np.testing.assert_allclose(scaled.std_errors / scale, plain.std_errors, rtol=1e-9)
    error = scaled.diagnostics["relevance"].loc["its standard error", "value"]
    assert error / scale == pytest.approx(plain.diagnostics["relevance"].loc["its standard error", "value"])


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_unit_of_a_covariate_does_not_matter(name: str, scale: float) -> None:
    plain, scaled = quietly(name, frame()), quietly(name, with_column("x1", lambda d: d["x1"] * scale))
    np.testing.assert_allclose(scaled.params, plain.params, rtol=1e-6)


def test_whole_numbers_beyond_double_precision() -> None:
    data = with_column("y", lambda d: (2**61 + d["y"] * 1e12).astype("int64"))
    with pytest.warns(DataWarning, match=r"`outcome` column 'y' holds whole numbers beyond 2\^53.*last digits"):
        fit = estimator("ATE").fit(data)
    assert fit.params["ATE"] == pytest.approx(quietly("ATE", frame()).params["ATE"] * 1e12, rel=1e-3)


@pytest.mark.parametrize(
    ("dtype", "factor"), [("int8", 20), ("uint8", 20), ("float16", 1), ("float32", 1), ("Float32", 1)]
)
def test_small_types_do_not_overflow(dtype: str, factor: float) -> None:
    values = (frame()["y"] * factor).clip(0, 127)
    small = values.astype("int64" if "int" in dtype else "float64").astype(dtype)
    assert float(np.asarray(small, dtype=float).sum()) > 127
    data, plain = (with_column("y", lambda d, y=y: y) for y in (small, small.astype("float64")))
    assert quietly("ATE", data).params["ATE"] == quietly("ATE", plain).params["ATE"]


# --- overlap and few rows --------------------------------------------------------------------------------------------


def separated(n: int = N, seed: int = 0) -> Frame:
    """Treatment decided by x1: no effect is identified, and the formula still gives a number."""
    data = frame(n, seed)
    data["a"] = (data["x1"] > 0).astype(int)
    data["y"] = data["x1"] + 2 * data["a"] + np.random.default_rng(seed + 1).normal(size=n)
    return data


CLASSIFIERS = {
    "logistic": LogisticRegression(),
    "hardly penalised": LogisticRegression(C=1e6, max_iter=1_000),
    "forest": RandomForestClassifier(30, random_state=0),
    "boosting": HistGradientBoostingClassifier(max_iter=20, random_state=0),
}


def test_perfect_separation_with_the_linear_path() -> None:
    refused(
        "ATE", separated(), PositivityError, "'pi1' (learner key 'treatment')", "separate the target's levels", "Drop"
    )
    refused(
        "InvalidIVATE", separated(), PositivityError, "'mu0' (learner key 'treatment')", "separate the target's levels"
    )


@pytest.mark.parametrize("target", ["all", "treated"])
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_perfect_separation_with_any_classifier(classifier: str, target: str) -> None:
    learners = {"outcome": "linear", "treatment": CLASSIFIERS[classifier]}
    error = refusal("ATE", separated(), seconds=10.0, learners=learners, target=target)
    assert type(error) is PositivityError
    assert "rows" in str(error)
    assert "not identified for everybody" in str(error)


def test_perfect_separation_with_the_default_learners() -> None:
    error = refusal("ATE", separated(200), seconds=30.0, learners={"outcome": "linear"}, folds=3)
    assert type(error) is PositivityError


@pytest.mark.parametrize("target", ["all", "treated"])
def test_perfect_separation_behind_a_timid_classifier(target: str) -> None:
    """Large leaves predict nothing near 0 or 1, so that no row is clipped; the ranks tell all the same."""
    timid = RandomForestClassifier(30, min_samples_leaf=20, random_state=0)
    error = refusal("ATE", separated(), seconds=10.0, learners={"outcome": "linear", "treatment": timid}, target=target)
    assert type(error) is PositivityError
    assert "0% of the rows with a = 1" in str(error)


def test_instrument_decided_by_a_covariate() -> None:
    data = with_column("z", lambda d: (d["x1"] > 0).astype(int))
    refused("InvalidIVATE", data, PositivityError, "'pi' (learner key 'instrument')", "separate the target's levels")
    timid = RandomForestClassifier(30, min_samples_leaf=20, random_state=0)
    learners = {"outcome": "linear", "treatment": "linear", "instrument": timid}
    learners |= dict.fromkeys(("effect", "confounding"), LinearRegression())
    error = refusal("InvalidIVATE", data, seconds=20.0, learners=learners)
    assert type(error) is PositivityError


def test_little_overlap_warns_with_the_count_and_none_is_refused() -> None:
    rng = np.random.default_rng(1)
    data = frame(1_000, 2)
    for strength, refuse in ((3, False), (6, True)):
        data["a"] = rng.binomial(1, 1 / (1 + np.exp(-strength * data["x1"])))
        if refuse:
            refused("ATE", data, PositivityError, "is outside the bounds for", "of 1,000 rows", "hardly overlap")
            continue
        with pytest.warns(PositivityWarning, match=r"\d+ of 1,000 rows were clipped at the bounds") as caught:
            fit = estimator("ATE").fit(data)
        count = int(fit.diagnostics["nuisances"].loc["pi1", "clipped"])
        assert str(caught[0].message).startswith(f"{count:,} of")
        assert count == int(fit.nuisances["pi1"].isin([0.01, 0.99]).sum())
        assert str(count) in str(fit.summary())


def test_overlap_is_judged_by_ranks() -> None:
    """Any increasing function of the propensity gives the same verdict."""
    rng = np.random.default_rng(0)
    inside = np.arange(1_000) < 300
    score = rng.normal(size=1_000)
    require_overlap("a = 1", 1 / (1 + np.exp(-score - inside)), inside)
    require_overlap("a = 1", np.full(1_000, 0.3), inside)
    for squash in (1.0, 0.01):
        with pytest.raises(PositivityError, match=r"Only 0% of the rows with a = 1"):
            require_overlap("a = 1", 1 / (1 + np.exp(-squash * (score + 12 * inside))), inside)


def test_rare_groups_may_be_like_few_of_the_others() -> None:
    """A hundred treated that resemble two hundred of twenty thousand controls have their counterparts."""
    rng = np.random.default_rng(0)
    score = np.concatenate([rng.uniform(10, 11, 300), rng.uniform(0, 1, 19_800)])
    inside = np.arange(len(score)) < 100
    require_overlap("a = 1", score, inside, both=False)
    with pytest.raises(PositivityError, match=r"and 1% the other way round"):
        require_overlap("a = 1", score, inside)


def test_poor_overlap_with_many_controls_leaves_the_effect_among_the_treated() -> None:
    """The job training experiment's treated among sixteen thousand people of a survey."""
    data = pytest.importorskip("causaldata")
    trial, survey = (getattr(data, name).load_pandas().data for name in ("nsw_mixtape", "cps_mixtape"))
    people = pd.concat([trial[trial["treat"] == 1], survey], ignore_index=True)
    adjust = ["age", "educ", "black", "hisp", "marr", "nodegree", "re74", "re75"]
    asked = ci.ATE(outcome="re78", treatment="treat", adjust=adjust, learners="linear", target="treated")
    fit = asked.fit(people)
    # The experiment found 1,794 dollars with a standard error of 633.
    assert fit.params["ATT"] == pytest.approx(1_794, abs=2 * 633)
    refused_for_all = ci.ATE(outcome="re78", treatment="treat", adjust=adjust, learners="linear")
    with pytest.raises(PositivityError, match="not identified for everybody"):
        refused_for_all.fit(people)


def few_treated(count: int = 4) -> Frame:
    return with_column("a", lambda d: (np.arange(len(d)) < count).astype(int))


def test_few_rows_in_an_arm() -> None:
    said = "Only 4 of 400 rows have a = 1, which leaves 3 in a training part with 5 folds; at least 10 are needed"
    refused("ATE", few_treated(), PositivityError, said)
    refused("ATE", frame(8), PositivityError, "of 8 rows have a = 1", "at least 10 are needed")
    refused("InvalidIVATE", frame(8), PositivityError, "of 8 rows have z = 0", "at least 30 are needed")


@pytest.mark.parametrize(
    "treatment",
    ["linear", LogisticRegression(), HistGradientBoostingClassifier(max_iter=5)],
    ids=["linear", "logistic", "trees"],
)
def test_few_treated_rows_with_an_instrument(treatment: Any) -> None:
    data = frame()
    data["a"] = 0
    for arm in (0, 1):
        data.loc[data.index[data["z"] == arm][:2], "a"] = 1
    learners = {"outcome": "linear", "instrument": "linear", "treatment": treatment}
    learners |= dict.fromkeys(("effect", "confounding"), LinearRegression())
    refused("InvalidIVATE", data, PositivityError, "a = 1", "z = 0", learners=learners)


def test_few_treated_rows_with_one_sided_noncompliance() -> None:
    data = frame()
    data["a"] = 0
    data.loc[data.index[data["z"] == 1][:4], "a"] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalifWarning)
        refused("InvalidIVATE", data, PositivityError, "Only 4 of", "a = 1", "z = 1")


def test_treatment_that_is_the_instrument() -> None:
    refused("InvalidIVATE", with_column("a", lambda d: d["z"]), PositivityError, "z", "does not vary")


def test_rows_of_weight_zero_do_not_count() -> None:
    data = with_column("w", lambda d: np.where((d["a"] == 1) & (d.index > 20), 0.0, 1.0))
    refused("ATE", data, PositivityError, "of 400 rows have a = 1", "at least 10 are needed", weights="w")


def test_an_arm_inside_few_clusters() -> None:
    """What counts is what the folds that were dealt leave, not an even share."""
    data = with_column("g", lambda d: np.where(d.index < 391, 0, d.index))
    refused("ATE", data, PositivityError, "which leaves", "at least 10 are needed", cluster="g")


def test_folds_that_leave_an_arm_empty() -> None:
    data = frame()
    refused("ATE", data, PositivityError, "which leaves 0 in a training part with 2 folds", folds=data["a"].to_numpy())


@pytest.mark.filterwarnings("ignore:One row, 7754")
def test_one_sided_noncompliance_is_detected_and_right() -> None:
    """With nobody treated at Z = 0, the estimate is that of comparing treated and untreated among Z = 1."""
    data = ci.datasets.load_401k()
    options = {
        "outcome": "nettfa",
        "treatment": "p401k",
        "instrument": "e401k",
        "adjust": ["inc", "age", "fsize", "marr"],
    }
    with pytest.warns(IdentificationWarning, match=r"have p401k = 0.*Identification reduces to unconfoundedness among"):
        fit = estimator("InvalidIVATE", **options).fit(data)
    eligible = data[data["e401k"] == 1]
    among = ci.ATE(outcome="nettfa", treatment="p401k", adjust=options["adjust"], learners="linear").fit(eligible)
    assert fit.params["ATE"] == pytest.approx(among.params["ATE"], abs=2 * among.std_errors["ATE"])
    assert (data.loc[data["e401k"] == 0, "p401k"] == 0).all()


# --- covariates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(
    ("change", "said"), [(lambda d: 3, "'x2' is constant"), (lambda d: d["x1"], "'x2' repeats 'x1'")]
)
def test_useless_covariates_are_left_out_and_said(name: str, change: Callable[[Frame], Any], said: str) -> None:
    with pytest.warns(CausalifWarning) as caught:
        fit = estimator(name).fit(with_column("x2", change))
    design = [str(warning.message) for warning in caught if warning.category is DesignWarning]
    assert design == [f"Kept out of the design: {said}."]
    assert said in " ".join(str(fit.summary()).split())
    assert fit.params["ATE"] == quietly(name, frame(), adjust=["x1"]).params["ATE"]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_collinear_covariates_are_accepted(name: str) -> None:
    data = with_column("x2", lambda d: 1 + 2 * d["x1"])
    expected = quietly(name, frame(), adjust=["x1"])
    assert quietly(name, data).params["ATE"] == pytest.approx(expected.params["ATE"], rel=1e-6)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_categories_are_encoded_and_said(name: str) -> None:
    data = with_column("x2", lambda d: pd.cut(d["x2"], [-10, -0.5, 0.5, 10], labels=["low", "middle", "high"]))
    by_hand = frame()
    for level in ("middle", "high"):
        by_hand[level] = (data["x2"] == level).astype(float)
    coded = quietly(name, data)
    np.testing.assert_array_equal(
        coded.influence_values, quietly(name, by_hand, adjust=["x1", "middle", "high"]).influence_values
    )
    assert "indicators made of x2; the first level of each is the reference" in " ".join(str(coded.summary()).split())


def test_a_level_of_one_row() -> None:
    values = np.where(frame()["x2"] > 0, "often", "seldom").astype(object)
    values[0] = "once"
    data = with_column("x2", lambda d: pd.Categorical(values))
    refused("ATE", data, PositivityError, "separate the target's levels", "coarsen the columns")
    penalised = {"outcome": LinearRegression(), "treatment": LogisticRegression()}
    assert quietly("ATE", data, learners=penalised).params["ATE"] == pytest.approx(2, abs=0.5)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_no_covariates(name: str) -> None:
    fit = quietly(name, frame(), adjust=[])
    if name == "ATE":
        data = frame()
        means = data.groupby("a")["y"].mean()
        assert fit.params["ATE"] == pytest.approx(means[1] - means[0], abs=0.01)


# --- names and roles -------------------------------------------------------------------------------------------------

ROLE_CASES: dict[str, tuple[dict[str, Any], str]] = {
    "outcome again": ({"adjust": ["x1", "y"]}, "Column 'y' is given twice, as `outcome` and as `adjust`"),
    "treatment again": ({"adjust": ["a"]}, "Column 'a' is given twice, as `treatment` and as `adjust`"),
    "same role": ({"adjust": ["x1", "x1"]}, "Column 'x1' is given twice, as `adjust` and as `adjust`"),
    "cluster": ({"cluster": "y"}, "Column 'y' is given twice, as `outcome` and as `cluster`"),
    "weights": ({"weights": "x1"}, "Column 'x1' is given twice, as `adjust` and as `weights`"),
    "misspelt": (
        {"adjust": ["x1", "xx2"]},
        "`adjust` names the column 'xx2', which `data` does not have. Did you mean 'x2'?",
    ),
    "case": ({"outcome": "Y"}, "`outcome` names the column 'Y', which `data` does not have. Did you mean 'y'?"),
    "unknown": (
        {"treatment": "drug"},
        "`treatment` names the column 'drug', which `data` does not have. It has x1, x2, z",
    ),
    "text": ({"adjust": "x1"}, "`adjust` must be a list of column names, such as ['age', 'income']. Got 'x1' instead"),
    "none": ({"adjust": None}, "`adjust` must be a list of column names"),
    "number": ({"adjust": [1]}, "`adjust` must name a column by a string. Got 1 instead"),
    "no outcome": ({"outcome": None}, "`outcome` must name a column by a string. Got None instead"),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("case", ROLE_CASES)
def test_roles(name: str, case: str) -> None:
    options, sentence = ROLE_CASES[case]
    refused(name, frame(), InputError, sentence, **options)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_column_names_that_repeat(name: str) -> None:
    data = frame()
    repeated = pd.concat([data, data[["x1"]]], axis=1)
    refused(name, repeated, InputError, "`adjust` names the column 'x1', which `data` has 2 times. Rename the copies")
    unused = pd.concat([data, data[["w"]], data[["w"]]], axis=1)
    assert quietly(name, unused).params["ATE"] == quietly(name, data).params["ATE"]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_other_things_than_frames(name: str) -> None:
    for data, kind in (
        (frame().to_numpy(), "ndarray"),
        ({"y": [1]}, "dict"),
        (None, "NoneType"),
        (frame()["y"], "Series"),
    ):
        refused(name, data, InputError, f"`data` must be a pandas or polars DataFrame. Got {kind} instead")
    refused(name, frame().head(0), InputError, "`data` has no rows")
    refused(name, frame().drop(columns="x1"), InputError, "`adjust` names the column 'x1'")


# --- weights and clusters --------------------------------------------------------------------------------------------

WEIGHTS: dict[str, tuple[Callable[[Frame], Any], str]] = {
    "negative": (
        lambda d: d["w"].where(d.index != 3, -1.0),
        "must hold non-negative numbers, not all zero; its least is -1",
    ),
    "zero": (lambda d: 0.0, "must hold non-negative numbers, not all zero; its least is 0"),
    "nan": (lambda d: d["w"].where(d.index != 3), "`weights` column 'w' has 1 missing of 400 values; first at index 3"),
    "inf": (lambda d: d["w"].where(d.index != 3, np.inf), "`weights` column 'w' has 1 infinite of 400"),
    "text": (lambda d: "1", "`weights` column 'w' must hold numbers"),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("case", WEIGHTS)
def test_weights(name: str, case: str) -> None:
    change, sentence = WEIGHTS[case]
    refused(name, with_column("w", change), InputError, sentence, weights="w")


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e200, 1e307])
def test_scale_of_the_weights_does_not_matter(scale: float) -> None:
    plain, scaled = (with_column("w", lambda d, s=s: (1.0 + d.index % 2) * s) for s in (1.0, scale))
    one, other = (quietly("ATE", data, weights="w") for data in (plain, scaled))
    rtol = 1e-3 if scale == 1e-320 else 1e-10  # such small numbers carry three digits
    np.testing.assert_allclose(other.params, one.params, rtol=rtol)
    np.testing.assert_allclose(other.std_errors, one.std_errors, rtol=rtol)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_clusters(name: str) -> None:
    refused(name, with_column("g", lambda d: 1), InputError, "`cluster` column 'g' has one cluster only", cluster="g")
    refused(name, spoiled("g", "float64", {4: np.nan}), InputError, "`cluster` column 'g' has 1 missing", cluster="g")
    few = with_column("g", lambda d: d.index // 134)
    refused(name, few, InputError, "`folds` must be at most the number of clusters. Got 5 folds for 3", cluster="g")


# --- learners, folds and other options -------------------------------------------------------------------------------


class NoWeights(RegressorMixin, BaseEstimator):
    """Least squares that takes no weights."""

    def fit(self, X: Any, y: Any) -> NoWeights:
        self.model_ = LinearRegression().fit(X, y)
        return self

    def predict(self, X: Any) -> Any:
        return self.model_.predict(X)


LEARNERS: dict[str, tuple[Any, str]] = {
    "word": ("forest", '`learners` must be "auto", "linear" or a mapping. Got \'forest\' instead'),
    "unknown": (
        {"outcomes": LinearRegression()},
        "`learners` has unknown names ['outcomes']. The nuisances here are [",
    ),
    "class": (
        {"outcome": LinearRegression},
        "`learners['outcome']` must be a scikit-learn estimator instance. Got <class",
    ),
    "list": ([LinearRegression()], "a mapping from names to scikit-learn estimators, such as"),
    "bare": (LinearRegression(), "a mapping from names to scikit-learn estimators"),
    "none": (None, "Got NoneType instead"),
    "value": (
        {"outcome": "forest"},
        "`learners['outcome']` must be an estimator, \"auto\" or \"linear\". Got 'forest'",
    ),
    "number": ({"outcome": 3}, "must be a scikit-learn estimator instance. Got 3"),
    "regressor": (
        {"treatment": LinearRegression()},
        "must predict probabilities (have predict_proba), because 'a' is binary",
    ),
    "no chances": ({"treatment": SVC()}, "choose a classifier"),
    "classes": ({"outcome": LinearSVC()}, "must predict means, and LinearSVC() predicts classes only"),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("case", LEARNERS)
def test_learners(name: str, case: str) -> None:
    learners, sentence = LEARNERS[case]
    refused(name, frame(), InputError, sentence, learners=learners)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("learner", [KNeighborsRegressor(), NoWeights()], ids=["neighbours", "own"])
def test_learners_without_weights(name: str, learner: Any) -> None:
    refused(name, frame(), InputError, "cannot use sample weights", learners={"outcome": learner}, weights="w")


def test_second_stage_learner_without_weights_is_refused_at_once() -> None:
    refused(
        "InvalidIVATE", frame(), InputError, "cannot use sample weights", learners={"effect": KNeighborsRegressor()}
    )


def test_classifier_of_a_continuous_outcome_is_named() -> None:
    learners = {"outcome": LogisticRegression(), "treatment": "linear"}
    refused("ATE", frame(), LearnerError, "'mu1' (learner key 'outcome')", "LogisticRegression()", "regression target",
            learners=learners)  # fmt: skip


@pytest.mark.parametrize("name", ESTIMATORS)
def test_default_learners_in_sample(name: str) -> None:
    for learners in ("auto", {"treatment": "linear"}, {"outcome": "auto", "treatment": "linear"}):
        refused(name, frame(), InputError, "`folds=1` evaluates nuisances on the rows they were fitted on", "outcome",
                learners=learners, folds=1)  # fmt: skip


FOLDS: dict[str, tuple[Any, str]] = {
    "zero": (0, "`folds` must be a whole number of at least 1. Got 0"),
    "negative": (-1, "Got -1 instead"),
    "fraction": (2.5, "Got 2.5 instead"),
    "bool": (True, "Got True instead"),
    "none": (None, "Got None instead"),
    "text": ("5", "`folds` must be a number or one label per row"),
    "too many": (N + 1, "`folds` must be at most the number of rows. Got 401 folds for 400 rows"),
    "short": (np.zeros(3), "Got shape (3,) for 400 rows"),
    "square": (np.zeros((N, 2)), "Got shape (400, 2) for 400 rows"),
    "missing": (np.where(np.arange(N) < 3, np.nan, np.arange(N) % 3), "`folds` has missing labels"),
    "one label": (np.zeros(N), "`folds` has a single label. Pass folds=1"),
    "other rows": (pd.Series(np.arange(N) % 3, index=np.arange(N) + 1), "one fold label for every row label of `data`"),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("case", FOLDS)
def test_folds(name: str, case: str) -> None:
    folds, sentence = FOLDS[case]
    refused(name, frame(), InputError, sentence, folds=folds)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_folds_against_clusters_and_repeats(name: str) -> None:
    ids = np.arange(N) % 3
    refused(name, frame(), InputError, "`folds` splits clusters", folds=ids, cluster="g")
    refused(
        name, frame(), InputError, "`repeats` must be 1 when `folds` gives the fold of every row", folds=ids, repeats=2
    )


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "repeats": ({"repeats": 0}, "`repeats` must be a whole number of at least 1. Got 0"),
    "repeats float": ({"repeats": 2.0}, "`repeats` must be a whole number of at least 1. Got 2.0"),
    "seed": ({"random_state": -1}, "`random_state` must not be negative"),
    "seed float": ({"random_state": 1.5}, "`random_state` must be a whole number, a numpy Generator or None"),
    "seed bool": ({"random_state": True}, "`random_state` must be a whole number"),
    "old generator": ({"random_state": np.random.RandomState(0)}, "`random_state` must be a whole number"),
    "jobs": ({"n_jobs": 0}, "`n_jobs` must be a whole number other than 0, or None"),
    "jobs text": ({"n_jobs": "2"}, "`n_jobs` must be a whole number other than 0, or None"),
    "clip": ({"clip": -0.1}, "`clip` must be a number strictly between 0 and 0.5. Got -0.1"),
    "no clip": ({"clip": 0.0}, "`clip` must be a number strictly between 0 and 0.5. Got 0.0"),
    "clip large": ({"clip": 0.6}, "`clip` must be a number strictly between 0 and 0.5"),
    "clip text": ({"clip": "1%"}, "`clip` must be a number strictly between 0 and 0.5"),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("case", OPTIONS)
def test_options(name: str, case: str) -> None:
    options, sentence = OPTIONS[case]
    refused(name, frame(), InputError, sentence, **options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"method": "2sls"}, "`method` must be one of 'debiased', 'parametric', 'selective'"),
        ({"weak_identification": "ignore"}, "`weak_identification` must be one of 'raise', 'warn'"),
        ({"inner_folds": 1}, "`inner_folds` must be a whole number of at least 2"),
        ({"formulas": {"outcome": "~ x1"}}, '`formulas` belong to method="parametric"'),
        ({"floor": -1.0}, "`floor`"),
        ({"instrument": "a"}, "Column 'a' is given twice"),
    ],
)
def test_options_of_the_invalid_instrument(options: dict[str, Any], sentence: str) -> None:
    refused("InvalidIVATE", frame(), InputError, sentence, **options)


def test_own_fold_learners_are_accepted() -> None:
    class Fast(OLS):
        """A learner of all folds at once."""

    assert (
        quietly("ATE", frame(), learners={"outcome": Fast(), "treatment": "linear"}).params["ATE"]
        == (quietly("ATE", frame()).params["ATE"])
    )


# --- frames of other kinds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATORS)
def test_polars(name: str) -> None:
    pl = pytest.importorskip("polars")
    data = pl.from_pandas(frame())
    np.testing.assert_array_equal(quietly(name, data).influence_values, quietly(name, frame()).influence_values)
    missing = data.with_columns(pl.when(pl.col("x1") > 2).then(None).otherwise(pl.col("x1")).alias("x1"))
    refused(name, missing, InputError, "`adjust` column 'x1' has", "missing of 400 values; first at index")
    missing = data.with_columns(pl.when(pl.col("x1") > 2).then(None).otherwise(pl.col("a")).alias("a"))
    refused(name, missing, InputError, "`treatment` column 'a' has", "missing of 400 values")
    refused(name, data.lazy(), InputError, "Got LazyFrame instead. A lazy frame must be collected first")
    text = data.with_columns(pl.when(pl.col("x2") > 0).then(pl.lit("high")).otherwise(pl.lit("low")).alias("x2"))
    refused(name, text, InputError, "`adjust` column 'x2' must hold numbers")


def test_duplicated_index_is_fine_for_one_fit_and_not_for_two() -> None:
    data = frame()
    data.index = pd.Index(np.arange(len(data)) // 2)
    one, other = quietly("ATE", data), quietly("ATE", data, adjust=["x1"])
    assert one.params["ATE"] == quietly("ATE", frame()).params["ATE"]
    with pytest.raises(InputError, match="index"):
        ci.concat([one["ATE"], other["E[Y(1)]"]])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_sparse_columns(name: str) -> None:
    dense = with_column("x1", lambda d: d["x1"].clip(lower=0))
    sparse = with_column("x1", lambda d: pd.arrays.SparseArray(d["x1"].clip(lower=0).to_numpy(), fill_value=0.0))
    np.testing.assert_array_equal(quietly(name, sparse).influence_values, quietly(name, dense).influence_values)
    gaps = with_column("x1", lambda d: pd.arrays.SparseArray(d["x1"].where(d["x1"] > 1).to_numpy()))
    refused(name, gaps, InputError, "`adjust` column 'x1' has", "missing of 400")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_columns_that_nobody_named_do_not_matter(name: str) -> None:
    data = frame().assign(
        when=pd.date_range("2020", periods=N, tz="Europe/Paris"), note="text", empty=np.nan, odd=[{}] * N
    )
    assert quietly(name, data).params["ATE"] == quietly(name, frame()).params["ATE"]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_fit_leaves_the_table_as_it_was(name: str) -> None:
    data = frame()
    before = data.copy(deep=True)
    quietly(name, data, weights="w", cluster="g")
    pd.testing.assert_frame_equal(data, before)


def test_a_learner_that_writes_into_its_features_spoils_neither_the_table_nor_other_nuisances() -> None:
    class Writing(NoWeights):
        """Overwrites the features it is given."""

        def fit(self, X: Any, y: Any) -> Any:
            X.iloc[:, :] = 0.0
            return super().fit(X, y)

    data = frame()
    before = data.copy(deep=True)
    for folds in (1, 3):
        fit = quietly("ATE", data, learners={"outcome": Writing(), "treatment": "linear"}, folds=folds)
        np.testing.assert_array_equal(fit.nuisances["pi1"], quietly("ATE", data, folds=folds).nuisances["pi1"])
    pd.testing.assert_frame_equal(data, before)
    in_place = {
        "outcome": make_pipeline(StandardScaler(copy=False), LinearRegression(copy_X=False)),
        "treatment": make_pipeline(StandardScaler(copy=False), LogisticRegression()),
    }
    careful = {
        "outcome": make_pipeline(StandardScaler(), LinearRegression()),
        "treatment": make_pipeline(StandardScaler(), LogisticRegression()),
    }
    for folds in (1, 3):
        one, other = (quietly("ATE", data, learners=each, folds=folds) for each in (in_place, careful))
        np.testing.assert_array_equal(one.influence_values, other.influence_values)
    pd.testing.assert_frame_equal(data, before)
