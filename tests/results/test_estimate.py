import copy
import operator
import pickle
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from causalif._errors import FewClustersWarning, InputError
from causalif.results.estimate import Estimate, Origin, concat

OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def make(values, seed=0, n=30, labels=None, index=None, clusters=None, **fields):
    rng = np.random.default_rng(seed)
    values = np.atleast_1d(np.asarray(values, float))
    n = n if index is None else len(index)
    psi = rng.normal(size=(n, len(values))) @ rng.normal(size=(len(values), len(values)))
    labels = labels or [f"t{i}" for i in range(len(values))]
    index = index if isinstance(index, pd.Index) else pd.Index(range(n) if index is None else index)
    return Estimate(values, psi - psi.mean(axis=0), labels, index, clusters, **fields)


@st.composite
def centred(draw, p):
    n = draw(st.integers(4, 25))
    psi = draw(arrays(float, (n, p), elements=st.floats(-10, 10, allow_subnormal=False)))
    psi = psi - psi.mean(axis=0)
    assume(np.abs(psi).max(axis=0).min() > 1e-3)
    return psi - psi.mean(axis=0)


values = st.floats(0.1, 20) | st.floats(-20, -0.1)


# --- the algebra against the general delta method ----------------------------------------------------------------


@pytest.mark.parametrize("sign", OPERATORS)
@given(psi=centred(2), a=values, b=values)
def test_arithmetic_agrees_with_transform(sign, psi, a, b):
    both = Estimate([a, b], psi, ["a", "b"], pd.RangeIndex(len(psi)))
    by_operator = OPERATORS[sign](both["a"], both["b"])
    by_transform = both.transform(lambda t: OPERATORS[sign](t[0], t[1]))
    assert by_operator.labels == (f"a {sign} b",)
    np.testing.assert_allclose(by_operator.values, by_transform.values, rtol=1e-12)
    scale = np.abs(by_transform.influence_values).max() + np.abs(psi).max()
    np.testing.assert_allclose(by_operator.influence_values, by_transform.influence_values, atol=1e-7 * scale)


@pytest.mark.parametrize("sign", OPERATORS)
@given(psi=centred(1), a=values, number=values)
def test_arithmetic_with_numbers_agrees_with_transform(sign, psi, a, number):
    one = Estimate([a], psi, ["a"], pd.RangeIndex(len(psi)))
    for direct, general in [
        (OPERATORS[sign](one, number), one.transform(lambda t: OPERATORS[sign](t, number))),
        (OPERATORS[sign](number, one), one.transform(lambda t: OPERATORS[sign](number, t))),
    ]:
        np.testing.assert_allclose(direct.values, general.values, rtol=1e-12)
        scale = np.abs(general.influence_values).max() + np.abs(psi).max()
        np.testing.assert_allclose(direct.influence_values, general.influence_values, atol=1e-7 * scale)


@given(psi=centred(1), a=st.floats(0.1, 20))
def test_log_exp_and_minus_agree_with_transform(psi, a):
    one = Estimate([a], psi, ["a"], pd.RangeIndex(len(psi)))
    for direct, general in [(one.log(), np.log), (one.exp(), np.exp), (-one, np.negative)]:
        expected = one.transform(general)
        np.testing.assert_allclose(direct.values, expected.values, rtol=1e-12)
        np.testing.assert_allclose(direct.influence_values, expected.influence_values, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(one.log().exp().influence_values, one.influence_values, rtol=1e-12)


def test_covariance_of_a_linear_transform_is_the_sandwich():
    three = make([1.0, 2.0, 3.0])
    matrix = np.array([[1.0, -1.0, 0.0], [0.5, 0.5, 2.0]])
    for jacobian in (matrix, lambda t: matrix, None):
        got = three.transform(lambda t: matrix @ t, jacobian, labels=["d", "m"])
        np.testing.assert_allclose(got.cov, matrix @ three.cov.to_numpy() @ matrix.T, rtol=1e-8)


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1.0, 1e150])
def test_numerical_derivative_follows_the_scale_of_each_coordinate(scale):
    two = Estimate([3 * scale, 2.0], np.array([[scale, 1.0], [-scale, -1.0]]), ["a", "b"], pd.RangeIndex(2))
    numeric = two.transform(lambda t: t[0] * t[1] ** 2)
    exact = two.transform(lambda t: t[0] * t[1] ** 2, lambda t: [t[1] ** 2, 2 * t[0] * t[1]])
    np.testing.assert_allclose(numeric.influence_values, exact.influence_values, rtol=1e-8)


def test_numerical_derivative_at_an_estimate_of_zero():
    near_zero = Estimate([1e-17], [[1.0], [-1.0]], ["a"], pd.RangeIndex(2))
    np.testing.assert_allclose(near_zero.transform(lambda t: 1 + 2 * t).influence_values, [[2.0], [-2.0]], rtol=1e-6)


def test_labels_read_like_formulas():
    a, b = make([1.0], 1, labels=["a"]), make([2.0], 2, labels=["b"])
    b = Estimate(b.values, b.influence_values, b.labels, a.index)
    assert ((a - b) / b).labels == ("(a - b) / b",)
    assert (a / (b - a)).labels == ("a / (b - a)",)
    assert (a - (b - a)).labels == ("a - (b - a)",)
    assert (a / (b * a)).labels == ("a / (b * a)",)
    assert (2 * a - 0.5).labels == ("2 * a - 0.5",)
    assert (a - -2.0).labels == ("a - (-2)",)
    assert (-(a - b)).labels == ("-(a - b)",)
    assert a.log().labels == ("log(a)",)
    assert a.transform(np.sqrt).labels == ("sqrt(a)",)


def test_one_term_goes_with_each_of_several():
    three, total = make([1.0, 2.0, 3.0]), make([6.0], labels=["total"])
    total = Estimate(total.values, total.influence_values, ["total"], three.index)
    shares = three / total
    assert shares.labels == ("t0 / total", "t1 / total", "t2 / total")
    for label in three.labels:
        one = three[label] / total
        np.testing.assert_allclose(shares[f"{label} / total"].influence_values, one.influence_values)
    with pytest.raises(InputError, match="Cannot combine 3 terms with 2"):
        three + three[["t0", "t1"]]


def test_numpy_numbers_leave_the_arithmetic_to_estimates():
    one = make([2.0])
    for product in (np.float64(3.0) * one, one * np.float64(3.0), 3 * one):
        assert isinstance(product, Estimate)
        assert product.values[0] == 6.0
    with pytest.raises(TypeError):
        one + "a"
    with pytest.raises(TypeError):
        one * True


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda e: e / 0.0, "divide"),
        (lambda e: e * 1e308 * 1e308, "finite"),
        (lambda e: (e * 1e-200) * (e * 1e-200), "too small"),
        (lambda e: (e - 3.0).log(), "positive"),
        (lambda e: (e * 1e3).exp(), "finite"),
        (lambda e: e.transform(lambda t: np.log(t - 3.0)), "not finite"),
        (lambda e: e.transform(lambda t: t, jacobian=[[1.0, 2.0]]), "jacobian"),
        (lambda e: e + np.inf, "finite"),
        (lambda e: e["ATE"], "'t0'"),
        (lambda e: e[[]], "at least one"),
    ],
)
def test_what_has_no_answer_is_refused(operation, message):
    with pytest.raises(InputError, match=message):
        operation(make([2.0]))


# --- matching rows -----------------------------------------------------------------------------------------------


@given(st.integers(3, 12), st.integers(3, 12), st.integers(0, 12), st.randoms(use_true_random=False))
def test_overlapping_rows_have_the_covariance_of_the_formula(n_a, n_b, offset, random):
    rows_a, rows_b = list(range(n_a)), list(range(offset, offset + n_b))
    random.shuffle(rows_a)
    random.shuffle(rows_b)
    a, b = make([1.0], 1, index=rows_a), make([2.0], 2, index=rows_b)
    both = concat({"a": a, "b": b})
    shared = set(rows_a) & set(rows_b)
    cross = sum(a.influence.loc[i].item() * b.influence.loc[i].item() for i in shared) / (n_a * n_b)
    expected = [[a.std_errors.item() ** 2, cross], [cross, b.std_errors.item() ** 2]]
    np.testing.assert_allclose(both.cov, expected, atol=1e-12)
    assert both.n == len(set(rows_a) | set(rows_b))
    difference = (a - b).std_errors.item() ** 2
    np.testing.assert_allclose(difference, expected[0][0] + expected[1][1] - 2 * cross, atol=1e-12)


def test_concatenation_keeps_values_order_and_rows():
    a, b = make([1.0, 2.0], 1, index=["x", "y", "z"]), make([3.0], 2, index=["z", "w"], labels=["u"])
    both = concat([a, b])
    assert both.labels == ("t0", "t1", "u")
    assert list(both.index) == ["x", "y", "z", "w"]
    np.testing.assert_allclose(both.std_errors, [*a.std_errors, *b.std_errors])
    np.testing.assert_allclose(both["t1"].influence.loc[["x", "y", "z"]], a["t1"].influence * 4 / 3)


def test_order_of_rows_does_not_matter():
    a = make([1.0, 2.0], index=range(40), clusters=np.arange(40) % 25)
    order = np.random.default_rng(3).permutation(40)
    shuffled = Estimate(a.values, a.influence_values[order], a.labels, a.index[order], a.clusters[order])
    np.testing.assert_allclose(shuffled.cov, a.cov, rtol=1e-12)
    assert (a - shuffled).std_errors.abs().max() < 1e-15
    np.testing.assert_allclose((a + shuffled).cov, (2 * a).cov, rtol=1e-12)


def test_repeated_labels_need_names():
    a = make([1.0])
    with pytest.raises(InputError, match=r"concat\(\{'first': a, 'second': b\}\)"):
        concat([a, a])
    assert concat({"one": a, "two": a}).labels == ("one: t0", "two: t0")
    with pytest.raises(InputError, match="at least one"):
        concat([])
    with pytest.raises(InputError, match="at least one"):
        concat([a, 2.0])


def test_a_repeated_index_is_fine_for_one_fit_only():
    index = pd.Index([0, 0, 1, 1])
    a, b = make([1.0, 2.0], 1, index=index), make([2.0], 2, index=index.copy())
    assert (a["t0"] - a["t1"]).n == 4
    with pytest.raises(InputError, match="reset_index"):
        a["t0"] - b
    restored = pickle.loads(pickle.dumps(a))
    assert (restored["t0"] - restored["t1"]).n == 4


def test_indexes_of_different_depth_are_refused():
    deep = pd.MultiIndex.from_product([["a", "b"], [1, 2]])
    assert (make([1.0], 1, index=deep) - make([1.0], 2, index=deep[1:])).n == 4
    with pytest.raises(InputError, match="levels"):
        make([1.0], index=deep) - make([1.0], index=[1, 2])


def test_clustered_rows_of_two_fits():
    clusters = pd.Series(np.repeat(np.arange(30), 4), index=range(120))
    a = make([1.0], 1, index=range(100), clusters=clusters.loc[:99].to_numpy())
    b = make([2.0], 2, index=range(40, 120), clusters=clusters.loc[40:].to_numpy())
    both = concat({"a": a, "b": b})
    sums = [x.influence.iloc[:, 0].groupby(x.clusters).sum() / x.n for x in (a, b)]
    cross = sums[0].mul(sums[1], fill_value=0).sum() * np.sqrt(25 / 24 * 20 / 19)
    np.testing.assert_allclose(both.cov.iloc[0, 1], cross, rtol=1e-12)
    np.testing.assert_allclose(both.std_errors, [a.std_errors.item(), b.std_errors.item()], rtol=1e-12)
    assert both.moments.clusters == 30
    np.testing.assert_array_equal(both.moments.df, [24, 19])
    np.testing.assert_allclose((a - b).std_errors.item() ** 2, [1, -1] @ both.cov.to_numpy() @ [1, -1], rtol=1e-12)


def test_clusters_must_agree():
    labels = np.arange(40) % 25
    a, plain = make([1.0], 1, index=range(40), clusters=labels), make([1.0], 2, index=range(40))
    with pytest.raises(InputError, match="clustered and another is not"):
        a - plain
    other = make([1.0], 2, index=range(40), clusters=labels[::-1])
    with pytest.raises(InputError, match="different clusters"):
        a - other
    with pytest.raises(InputError, match="different clusters"):
        a - make([1.0], 2, index=range(1, 41), clusters=labels)


# --- inference ---------------------------------------------------------------------------------------------------


def test_normal_inference_by_hand():
    e = Estimate([2.0, 0.0], [[1.0, 2.0], [-1.0, 2.0], [3.0, -2.0], [-3.0, -2.0]], ["a", "b"], pd.RangeIndex(4))
    np.testing.assert_allclose(e.std_errors, [np.sqrt(20) / 4, 1.0])
    np.testing.assert_allclose(e.statistics["a"], 2 / (np.sqrt(20) / 4))
    np.testing.assert_allclose(e.pvalues, [0.07363827, 1.0], atol=1e-8)  # 2 * (1 - Phi(1.7888544)), R pnorm
    np.testing.assert_allclose(e.conf_int().loc["b"], [-1.959963985, 1.959963985])
    np.testing.assert_allclose(e.conf_int(0.9).loc["b"], [-1.644853627, 1.644853627])
    assert list(e.to_frame().columns) == [
        "term", "estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high",
    ]  # fmt: skip
    assert list(e.to_frame()["term"]) == ["a", "b"]


def test_clustered_inference_uses_student_t():
    with pytest.warns(FewClustersWarning, match="11 clusters"):
        e = make([0.0], n=33, clusters=np.repeat([f"c{i}" for i in range(11)], 3))
    se = e.std_errors.item()
    np.testing.assert_allclose(e.conf_int().iloc[0], [-2.228138852 * se, 2.228138852 * se])  # qt(.975, 10)
    with pytest.warns(FewClustersWarning):
        shifted = Estimate([2.0 * se], e.influence_values, e.labels, e.index, e.clusters)
    np.testing.assert_allclose(shifted.pvalues.item(), 0.0733880348)  # 2 * pt(-2, 10)


def test_few_clusters_warn_once_per_fit():
    with pytest.warns(FewClustersWarning) as caught:
        e = make([1.0, 2.0], n=20, clusters=np.arange(20) % 5)
    assert len(caught) == 1
    e["t0"] - e["t1"], e.summary(), e.conf_int()  # warnings are errors here
    make([1.0], n=40, clusters=np.arange(40) % 20)


def test_a_term_without_variation_is_told_honestly():
    e = Estimate([1.0, 2.0], [[0.0, 1.0], [0.0, -1.0]], ["fixed", "b"], pd.RangeIndex(2))
    assert e.std_errors["fixed"] == 0
    assert np.isnan(e.pvalues["fixed"])
    assert np.isnan(e.statistics["fixed"])
    assert list(e.conf_int().loc["fixed"]) == [1.0, 1.0]
    assert list(e.conf_int(joint=True).loc["fixed"]) == [1.0, 1.0]
    assert np.isnan(e.pvalues_adjusted()["fixed"])
    assert "no sampling variation" in str(e.summary())


def test_joint_interval_of_one_term_is_the_pointwise_one():
    e = make([1.0])
    pd.testing.assert_frame_equal(e.conf_int(joint=True), e.conf_int())
    pd.testing.assert_frame_equal(e.conf_int(joint=True, bootstrap="rademacher", draws=10), e.conf_int())
    two = make([1.0, 2.0])
    wider, narrower = two.conf_int(joint=True), two.conf_int()
    assert (wider["upper"] > narrower["upper"]).all()
    pd.testing.assert_frame_equal(two.conf_int(joint=True), two.conf_int(joint=True))


def test_the_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()
    make([1.0, 2.0]).conf_int(joint=True, draws=100)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


# --- the object --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Special(Estimate):
    extra: str = field(default="more")


def test_subclasses_become_plain_estimates():
    e = make([1.0, 2.0])
    special = Special(e.values, e.influence_values, e.labels, e.index)
    assert type(special - 1.0) is Estimate
    assert type(special["t0"]) is Estimate
    assert type(concat([special])) is Estimate
    assert repr(special).startswith("Special(2 terms")


def test_pickle_drops_the_origin_and_keeps_the_rest():
    frame = pd.DataFrame({"a": [1, 2]})
    e = make([1.0], diagnostics={"overlap": frame}, settings={"folds": 5}, origin=Origin("estimator", frame))
    assert e.origin.data.equals(frame)
    back = pickle.loads(pickle.dumps(e))
    assert back.origin is None
    assert back.settings == {"folds": 5}
    pd.testing.assert_frame_equal(back.diagnostics["overlap"], frame)
    pd.testing.assert_frame_equal(back.influence, e.influence)
    assert not back.influence_values.flags.writeable
    assert copy.copy(e).params.equals(e.params)


def test_equality_is_identity():
    e = make([1.0])
    twin = make([1.0])
    assert e == e  # noqa: PLR0124
    assert e != twin
    assert len({e, twin}) == 2


def test_arrays_are_read_only_and_inputs_untouched():
    psi = np.array([[1.0], [-1.0]])
    theta = np.array([1.0])
    e = Estimate(theta, psi, ["a"], pd.RangeIndex(2))
    with pytest.raises(ValueError, match="read-only"):
        e.values[0] = 3
    with pytest.raises(ValueError, match="read-only"):
        e.influence_values[0] = 3
    psi[0], theta[0] = 1.0, 1.0  # the caller's arrays stay writable


def test_selection_keeps_what_belongs_to_the_term():
    splits = pd.DataFrame({"repeat": [0, 0, 1, 1], "term": ["t0", "t1"] * 2, "estimate": 1.0, "std_error": 1.0})
    origin = Origin(None, None)
    e = make([1.0, 2.0], splits=splits, diagnostics={"d": splits}, origin=origin)
    one = e["t1"]
    assert list(one.splits["term"]) == ["t1", "t1"]
    assert one.origin is origin
    assert "t1" in e
    assert "t9" not in e
    assert list(e) == ["t0", "t1"]
    assert e[["t1", "t0"]].labels == ("t1", "t0")
    assert (e["t0"] - e["t1"]).origin is None
    assert list(concat({"x": e, "y": e}).splits["term"]) == ["x: t0", "x: t1"] * 2 + ["y: t0", "y: t1"] * 2
    assert set(concat([e, e["t0"] * 2]).diagnostics) == {"1: d"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": [[1.0]]}, "shape"),
        ({"values": []}, "shape"),
        ({"influence_values": [1.0, -1.0]}, "shape"),
        ({"influence_values": [[1.0], [1.5]]}, "mean 0"),
        ({"influence_values": [[np.nan], [1.0]]}, "finite"),
        ({"values": [np.inf]}, "'a' is missing, infinite"),
        ({"labels": ["a", "b"]}, "2 labels"),
        ({"labels": [1]}, "text"),
        ({"index": [0, 1]}, r"pandas\.Index"),
        ({"index": pd.RangeIndex(3)}, r"pandas\.Index"),
        ({"clusters": [1]}, "one label per row"),
        ({"clusters": [1, 1]}, "at least 2 clusters"),
        ({"clusters": np.array(["a", None], dtype=object)}, "for every row"),
    ],
)
def test_fields_that_do_not_fit_are_refused(change, message):
    good = {"values": [1.0], "influence_values": [[1.0], [-1.0]], "labels": ["a"], "index": pd.RangeIndex(2)}
    with pytest.raises(InputError, match=message):
        Estimate(**(good | change))


def test_combined_settings_say_what_both_share():
    a = make([1.0], settings={"estimator": "ATE", "outcome": "y", "folds": 5, "notes": ["one"], "rows": 30})
    b = Estimate(
        a.values, a.influence_values, a.labels, a.index, settings={"estimator": "IV", "outcome": "y", "folds": 3}
    )
    assert dict((a - b).settings) == {"estimator": "ATE, IV", "outcome": "y", "rows": 30}
