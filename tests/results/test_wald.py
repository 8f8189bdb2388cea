import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from causalif._errors import InputError
from causalif.results.estimate import Estimate


@pytest.fixture
def fit():
    psi = np.random.default_rng(0).normal(size=(200, 3)) @ np.array([[1.0, 0.5, 0], [0, 1, 0.3], [0, 0, 2]])
    return Estimate([0.2, 0.1, -0.1], psi - psi.mean(axis=0), ["a", "b", "c"], pd.RangeIndex(200))


@pytest.fixture
def clustered(fit):
    return Estimate(fit.values, fit.influence_values, fit.labels, fit.index, np.arange(200) % 25)


def by_hand(estimate, matrix, null):
    matrix = np.atleast_2d(matrix)
    gap = matrix @ estimate.values - null
    return gap @ np.linalg.inv(matrix @ estimate.cov.to_numpy() @ matrix.T) @ gap


@pytest.mark.parametrize(
    ("contrast", "matrix"),
    [
        ("b", [0, 1, 0]),
        (["a", "c"], [[1, 0, 0], [0, 0, 1]]),
        ({"a": 2, "b": -1}, [2, -1, 0]),
        ([[1, -1, 0], [0, 1, -1]], [[1, -1, 0], [0, 1, -1]]),
        (np.array([1.0, 0.0, 1.0]), [1, 0, 1]),
        (pd.DataFrame({"c": [1.0], "a": [-1.0]}), [-1, 0, 1]),
    ],
)
@pytest.mark.parametrize("null", [0.0, 0.3])
def test_statistic_equals_the_quadratic_form(fit, clustered, contrast, matrix, null):
    q = len(np.atleast_2d(matrix))
    chi2 = by_hand(fit, matrix, null)
    result = fit.test(contrast, null)
    assert result.statistic == pytest.approx(chi2, rel=1e-9)
    assert result.p_value == pytest.approx(stats.chi2.sf(chi2, q), rel=1e-9)
    assert result.distribution == f"chi2({q})"
    f = by_hand(clustered, matrix, null) / q
    result = clustered.test(contrast, null)
    assert result.statistic == pytest.approx(f, rel=1e-9)
    assert result.p_value == pytest.approx(stats.f.sf(f, q, 24), rel=1e-9)
    assert result.distribution == f"F({q}, 24)"


@pytest.mark.parametrize("name", ["fit", "clustered"])
def test_one_term_has_the_p_value_of_its_t_test(name, request):
    estimate = request.getfixturevalue(name)
    for label in estimate.labels:
        assert estimate.test(label).p_value == pytest.approx(estimate.pvalues[label], rel=1e-9)


@given(st.floats(-150, 150))
def test_units_do_not_matter(exponent):
    psi = np.random.default_rng(1).normal(size=(50, 2))
    psi -= psi.mean(axis=0)
    scale = np.array([10.0**exponent, 1.0])
    plain = Estimate([0.1, 0.2], psi, ["a", "b"], pd.RangeIndex(50))
    scaled = Estimate(scale * [0.1, 0.2], psi * scale, ["a", "b"], pd.RangeIndex(50))
    assert scaled.test(["a", "b"]).statistic == pytest.approx(plain.test(["a", "b"]).statistic, rel=1e-9)


def test_the_null_is_a_sentence(fit):
    assert fit.test(["a", "b"]).null == "a = 0 and b = 0"
    assert fit.test({"a": 2, "b": -1}, 1).null == "2*a - b = 1"
    assert fit.test({"a": -1, "c": 0.5}).null == "-a + 0.5*c = 0"
    assert str(fit.test("a", 1)).startswith("H0: a = 1\nchi2(1) = ")
    difference = fit["a"] - fit["b"]
    assert difference.test({"a - b": 2}).null == "2*(a - b) = 0"


def test_joint_null_has_the_right_size():
    """Rejects a true null of three statements about 5% of the time."""
    rng = np.random.default_rng(2)
    rejected = 0
    for _ in range(1000):
        x = rng.exponential(size=(400, 3)) @ np.array([[1, 0.7, 0], [0, 1, 0], [0.2, 0, 1]])
        mean = x.mean(axis=0)
        true = np.array([1.2, 1.7, 1.0])
        rejected += (
            Estimate(mean, x - mean, ["a", "b", "c"], pd.RangeIndex(400)).test(["a", "b", "c"], true).p_value < 0.05
        )
    assert 0.03 < rejected / 1000 < 0.08


@pytest.mark.parametrize(
    ("contrast", "null", "message"),
    [
        ("z", 0, "'z'"),
        (["a", "z"], 0, "'z'"),
        ({"z": 1}, 0, "'z'"),
        (pd.DataFrame({"z": [1.0]}), 0, "'z'"),
        ([[1.0, 2.0]], 0, "shape"),
        ([[np.nan, 1.0, 0.0]], 0, "finite"),
        ([], 0, "shape"),
        ("a", [1.0, 2.0], "`null`"),
        ("a", np.nan, "`null`"),
        (["a", "a"], 0, "amount to 1"),
        ([[1, 0, 0], [0, 1, 0], [1, 1, 0]], 0, "amount to 2"),
        ([[0, 0, 0]], 0, "no sampling variation"),
    ],
)
def test_bad_contrasts_are_refused(fit, contrast, null, message):
    with pytest.raises(InputError, match=message):
        fit.test(contrast, null)


def test_copies_of_an_estimate_cannot_be_compared():
    psi = np.random.default_rng(0).normal(size=(50, 1))
    psi -= psi.mean()
    twins = Estimate([1.0, 1.0 + 1e-15], np.hstack([psi, psi * (1 + 1e-15)]), ["a", "b"], pd.RangeIndex(50))
    with pytest.raises(InputError, match="no sampling variation"):
        twins.test({"a": 1, "b": -1})


def test_a_bare_number_is_no_contrast() -> None:
    one = Estimate(np.array([1.0]), np.array([[1.0], [-1.0]]), ("ATE",), pd.RangeIndex(2))
    with pytest.raises(InputError, match=r"`contrast` must name terms, such as 'ATE'.*test\('ATE', 1\)"):
        one.test(1)  # type: ignore[arg-type]
