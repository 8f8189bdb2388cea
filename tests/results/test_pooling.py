import numpy as np
import pandas as pd
import pytest
from scipy import stats

from causalif._errors import InputError
from causalif.results.covariance import moments
from causalif.results.estimate import Estimate
from causalif.results.pooling import pool_models, pool_repeats
from causalif.results.report import split_sd


@pytest.fixture
def repeats():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(60, 2)) * [1.0, 30.0]
    psis = [base + 0.3 * rng.normal(size=(60, 2)) * [1.0, 30.0] for _ in range(5)]
    return rng.normal(size=(5, 2)) * [0.1, 3.0], [psi - psi.mean(axis=0) for psi in psis]


@pytest.mark.parametrize("clusters", [None, np.arange(60) % 22])
@pytest.mark.parametrize("splits", [1, 2, 4, 5])
def test_median_rule_by_hand(repeats, splits, clusters):
    theta, psis = repeats[0][:splits], repeats[1][:splits]
    pooled = pool_repeats(theta, iter(psis), ["a", "b"], clusters)
    for j in range(2):
        centre = np.median(theta[:, j])
        se = [moments(psi, clusters).std_errors[j] for psi in psis]
        expected = np.sqrt(np.median([s**2 + (t - centre) ** 2 for s, t in zip(se, theta[:, j], strict=True)]))
        assert pooled.values[j] == centre
        assert moments(pooled.influence, clusters).std_errors[j] == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(pooled.influence.mean(axis=0), 0, atol=1e-12)
    mean = np.mean(psis, axis=0)
    ratio = pooled.influence / mean
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0], ratio.shape), rtol=1e-9)  # one factor per column


def test_one_split_is_left_alone(repeats):
    theta, psis = repeats
    pooled = pool_repeats(theta[:1], psis[:1], ["a", "b"])
    np.testing.assert_array_equal(pooled.values, theta[0])
    np.testing.assert_array_equal(pooled.influence, psis[0])
    assert split_sd(pooled.splits).empty


def test_table_of_splits(repeats):
    theta, psis = repeats
    splits = pool_repeats(theta, psis, ["a", "b"]).splits
    assert list(splits.columns) == ["repeat", "term", "estimate", "std_error"]
    assert len(splits) == 10
    assert splits.query("repeat == 3 and term == 'b'")["estimate"].item() == theta[3, 1]
    assert splits.query("repeat == 3 and term == 'b'")["std_error"].item() == moments(psis[3]).std_errors[1]
    np.testing.assert_allclose(split_sd(splits)[["a", "b"]], theta.std(axis=0, ddof=1))


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_scale_of_the_outcome(repeats, scale):
    theta, psis = repeats
    plain = pool_repeats(theta, psis, ["a", "b"])
    scaled = pool_repeats(theta * scale, [psi * scale for psi in psis], ["a", "b"])
    np.testing.assert_allclose(scaled.influence / scale, plain.influence, rtol=1e-12)


def test_a_generator_is_read_once_and_may_fill_the_values(repeats):
    theta, psis = repeats
    filled = []

    def stream():
        for value, psi in zip(theta, psis, strict=True):
            filled.append(value)
            yield psi

    first = psis[0].copy()
    pooled = pool_repeats(filled, stream(), ["a", "b"])
    np.testing.assert_allclose(pooled.values, np.median(theta, axis=0))
    np.testing.assert_array_equal(psis[0], first)  # the running mean is not kept in the caller's array


def test_terms_without_variation_stay_so(repeats):
    theta, psis = repeats
    still = [psi * [1.0, 0.0] for psi in psis]
    pooled = pool_repeats(theta * [1.0, 0.0], still, ["a", "b"])
    assert moments(pooled.influence).std_errors[1] == 0
    with pytest.raises(InputError, match="'b' cancel out"):
        pool_repeats(theta, still, ["a", "b"])


@pytest.mark.parametrize("theta", [np.zeros((2, 2)), np.zeros((3, 1)), np.zeros(3)])
def test_shapes_must_fit(repeats, theta):
    with pytest.raises(InputError, match="shape"):
        pool_repeats(theta, repeats[1][:3], ["a", "b"])
    with pytest.raises(InputError, match="shape"):
        pool_repeats(theta, [], ["a", "b"])


# --- models ------------------------------------------------------------------------------------------------------


@pytest.fixture
def models():
    rng = np.random.default_rng(1)
    psi = rng.normal(size=(3, 80, 2))
    psi -= psi.mean(axis=1, keepdims=True)
    theta = np.array([[1.0, 5.0], [1.5, 4.0], [0.0, 0.0]])
    return {name: Estimate(theta[i], psi[i], ["a", "b"], pd.RangeIndex(80)) for i, name in enumerate("ABC")}


def test_total_variance_by_hand(models):
    w = np.array([0.5, 0.3, 0.2])
    pooled = pool_models(models, w)
    theta = np.stack([e.values for e in models.values()])
    mean = sum(wi * t for wi, t in zip(w, theta, strict=True))
    within = sum(wi * e.cov.to_numpy() for wi, e in zip(w, models.values(), strict=True))
    between = sum(wi * np.outer(t - mean, t - mean) for wi, t in zip(w, theta, strict=True))
    np.testing.assert_allclose(pooled.params, mean)
    np.testing.assert_allclose(pooled.within_cov, within)
    np.testing.assert_allclose(pooled.between_cov, between, atol=1e-15)
    np.testing.assert_allclose(pooled.std_errors**2, np.diag(within + between))
    psi = sum(wi * e.influence_values for wi, e in zip(w, models.values(), strict=True))
    np.testing.assert_allclose(pooled.estimate.influence_values, psi, atol=1e-15)
    assert pooled.estimate.labels == ("a", "b")
    assert (pooled.estimate.std_errors**2 <= np.diag(within) + 1e-12).all()
    assert list(pooled.components.columns) == ["model", "weight", "term", "estimate", "std_error"]
    assert len(pooled.components) == 6


def test_one_model_is_itself(models):
    pooled = pool_models([models["A"]], [1.0])
    np.testing.assert_allclose(pooled.cov, models["A"].cov)
    np.testing.assert_allclose(pooled.conf_int(), models["A"].conf_int(), rtol=1e-9)
    np.testing.assert_allclose(pooled.conf_int(0.5), models["A"].conf_int(0.5), rtol=1e-9)


def test_interval_holds_the_mixtures_probability(models):
    w = np.array([0.5, 0.3, 0.2])
    pooled = pool_models(models, w)
    for term in ("a", "b"):
        low, high = pooled.conf_int(0.9).loc[term]
        se = [e.std_errors[term] for e in models.values()]
        centre = [e.params[term] for e in models.values()]
        assert w @ stats.norm.cdf(low, centre, se) == pytest.approx(0.05, abs=1e-9)
        assert w @ stats.norm.cdf(high, centre, se) == pytest.approx(0.95, abs=1e-9)


def test_an_absent_effect_is_an_atom(models):
    still = Estimate([0.0, 0.0], np.zeros((80, 2)), ["a", "b"], models["A"].index)
    pooled = pool_models([models["A"], still], [0.9, 0.1])
    assert pooled.conf_int()["lower"].to_numpy() == pytest.approx([0.0, 0.0], abs=1e-11)
    assert (pooled.conf_int()["upper"] > [1.0, 5.0]).all()
    alone = pool_models([still, still], [0.5, 0.5])
    np.testing.assert_array_equal(alone.conf_int(), np.zeros((2, 2)))


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.5, 0.6, -0.1], [0.5, 0.5, 0.5], [np.nan, 0.5, 0.5]])
def test_weights_are_probabilities(models, weights):
    with pytest.raises(InputError, match="`weights`"):
        pool_models(models, weights)


def test_models_share_their_terms(models):
    with pytest.raises(InputError, match="same terms"):
        pool_models([models["A"], models["B"][["b", "a"]]], [0.5, 0.5])
    with pytest.raises(InputError, match="`weights`"):
        pool_models([], [])
