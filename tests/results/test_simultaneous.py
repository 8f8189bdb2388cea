import time
import tracemalloc

import numpy as np
import pytest
from scipy import integrate, special, stats

from causalif._errors import InputError
from causalif.results.covariance import Moments, critical_value, moments
from causalif.results.simultaneous import adjusted_p, critical_value_joint

SIMULATION = 0.012  # four standard errors of a critical value from 100,000 plain draws; ours err less


def law(correlation, df=np.inf):
    p = len(correlation)
    return Moments(np.ones(p), np.asarray(correlation, float), np.full(p, float(df)), None)


def joint(correlation, df=np.inf, **options):
    return critical_value_joint(np.zeros((1, len(correlation))), None, law(correlation, df), **options)


def equicorrelated(p, rho):
    return rho * np.ones((p, p)) + (1 - rho) * np.eye(p)


def exact_coverage(c, p, rho, df=np.inf):
    """P(max |Z_j| <= c) for equicorrelated Z by one- or two-dimensional quadrature, without simulation."""

    def given_common(z, c):
        inner = stats.norm.cdf((c - np.sqrt(rho) * z) / np.sqrt(1 - rho))
        inner -= stats.norm.cdf((-c - np.sqrt(rho) * z) / np.sqrt(1 - rho))
        return stats.norm.pdf(z) * inner**p

    def normal(c):
        return integrate.quad(given_common, -9, 9, args=(c,))[0]

    if np.isinf(df):
        return normal(c)
    return integrate.quad(lambda s: stats.chi.pdf(s * np.sqrt(df), df) * np.sqrt(df) * normal(c * s), 0, 6)[0]


@pytest.mark.parametrize("p", [2, 5, 20, 60])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_independent_terms_have_sidaks_value(p, level):
    sidak = stats.norm.ppf((1 + level ** (1 / p)) / 2)
    assert abs(joint(np.eye(p), level=level) - sidak) < 2 * SIMULATION


@pytest.mark.parametrize(("p", "rho", "df"), [(3, 0.5, np.inf), (8, 0.9, np.inf), (3, 0.5, 12), (6, 0.2, 30)])
def test_equicorrelated_terms_have_the_level_by_quadrature(p, rho, df):
    c = joint(equicorrelated(p, rho), df)
    assert abs(exact_coverage(c, p, rho, df) - 0.95) < 0.0015


@pytest.mark.parametrize("df", [np.inf, 7])
def test_perfectly_correlated_terms_have_the_pointwise_value(df):
    signs = np.array([1.0, -1.0, 1.0])
    assert joint(np.outer(signs, signs), df) == pytest.approx(critical_value(0.95, df).item(), abs=1e-7)


def test_one_term_needs_no_simulation():
    assert joint(np.eye(1), draws=1) == critical_value(0.95, np.inf)
    assert joint(np.eye(1), 9, draws=1) == critical_value(0.95, 9)
    spare = Moments(np.array([0.0, 2.0]), np.eye(2), np.full(2, np.inf), None)
    assert critical_value_joint(np.zeros((1, 2)), None, spare, draws=1) == critical_value(0.95, np.inf)


def test_terms_without_variation_do_not_count():
    three = Moments(np.array([1.0, 0.0, 1.0]), np.eye(3), np.full(3, np.inf), None)
    assert critical_value_joint(np.zeros((1, 3)), None, three) == joint(np.eye(2))


def test_value_lies_between_pointwise_and_bonferroni():
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.normal(size=(30, 6)) @ rng.normal(size=(6, 6))
        c = joint(np.corrcoef(x.T), draws=500)
        assert critical_value(0.95, np.inf) <= c <= critical_value(1 - 0.05 / 6, np.inf)


def test_direction_sampling_errs_less_than_plain_draws():
    sidak = stats.norm.ppf((1 + 0.95**0.5) / 2)
    rng = np.random.default_rng(0)
    ours = [joint(np.eye(2), draws=4000, random_state=i) - sidak for i in range(40)]
    plain = [np.quantile(np.abs(rng.normal(size=(4000, 2))).max(axis=1), 0.95) - sidak for _ in range(40)]
    assert np.std(ours) < 0.6 * np.std(plain)


@pytest.fixture(scope="module")
def skewed():
    x = np.random.default_rng(3).exponential(size=(3000, 4)) @ np.random.default_rng(4).normal(size=(4, 4))
    return x - x.mean(axis=0)


def test_random_signs_come_close_to_the_normal_law(skewed):
    about = moments(skewed)
    normal = critical_value_joint(skewed, None, about)
    signs = critical_value_joint(skewed, None, about, bootstrap="rademacher", draws=20_000)
    assert abs(signs - normal) < 0.04


def test_wild_clusters_come_close_to_the_t_law(skewed):
    clusters = np.arange(3000) % 60
    about = moments(skewed, clusters)
    normal = critical_value_joint(skewed, clusters, about)
    signs = critical_value_joint(skewed, clusters, about, bootstrap="wild_cluster", draws=20_000)
    assert abs(signs - normal) < 0.08


def test_wild_clusters_agree_with_enumeration_of_all_signs():
    """All 2^10 sign patterns of 10 clusters, studentised from scratch."""
    rng = np.random.default_rng(5)
    sums = rng.normal(size=(10, 2))
    sums -= sums.mean(axis=0)
    patterns = 1 - 2 * ((np.arange(1024)[:, None] >> np.arange(10)) & 1)
    signed = patterns[:, :, None] * sums[None]
    mean = signed.mean(axis=1)
    se = np.sqrt(((signed - mean[:, None]) ** 2).sum(axis=1) / (10 * 9))
    exact = np.quantile(np.abs(mean / se).max(axis=1), 0.9, method="higher")
    clusters = np.arange(10)
    drawn = critical_value_joint(sums, clusters, moments(sums, clusters), 0.9, "wild_cluster", 200_000)
    assert drawn == pytest.approx(exact, rel=0.02)


def test_two_clusters_are_too_few_for_signs():
    psi = np.array([[1.0, 2.0], [-1.0, -2.0]])
    clusters = np.array([0, 1])
    with pytest.raises(InputError, match="too few"):
        critical_value_joint(psi, clusters, moments(psi, clusters), bootstrap="wild_cluster", draws=50)


def test_memory_stays_small_whatever_the_draws():
    psi = np.random.default_rng(0).normal(size=(20_000, 3))
    psi -= psi.mean(axis=0)
    about = moments(psi)
    tracemalloc.start()
    critical_value_joint(psi, None, about, bootstrap="rademacher", draws=1000)
    critical_value_joint(psi, None, about, draws=100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6  # signs alone, 1000 x 20,000 doubles, would take 160 MB


def test_a_hundred_thousand_draws_take_well_under_a_second():
    start = time.process_time()
    joint(equicorrelated(5, 0.3))
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bootstrap": "mammen"}, "bootstrap"),
        ({"draws": 0}, "draws"),
        ({"level": 1.0}, "level"),
        ({"bootstrap": "wild_cluster"}, "cluster"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        joint(np.eye(2), **options)


def test_signs_of_rows_do_not_suit_clusters():
    psi = np.array([[1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]])
    clusters = np.array([0, 1, 2])
    with pytest.raises(InputError, match="wild_cluster"):
        critical_value_joint(psi, clusters, moments(psi, clusters), bootstrap="rademacher")


@pytest.mark.parametrize("clustered", [False, True])
def test_joint_intervals_cover_all_terms_together(clustered):
    """Means of four correlated skewed columns, rows independent or in 25 clusters; truth known."""
    rng, runs, hits = np.random.default_rng(11), 1000, 0
    mix = rng.normal(size=(4, 4))
    codes = np.repeat(np.arange(25), 16) if clustered else None
    for _ in range(runs):
        x = (rng.gamma(4.0, size=(400, 4)) - 4.0) @ mix
        if codes is not None:
            x += rng.normal(size=(25, 4))[codes]
        psi = x - x.mean(axis=0)
        about = moments(psi, codes)
        c = critical_value_joint(psi, codes, about, draws=2000)
        hits += np.all(np.abs(x.mean(axis=0)) <= c * about.std_errors)
    assert abs(hits / runs - 0.95) < 3.5 * np.sqrt(0.95 * 0.05 / runs)


# --- adjusted p-values -------------------------------------------------------------------------------------------


def test_holm_matches_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    t = np.array([0.3, -3.1, 2.2, 2.1, -1.0])
    expected = multitest.multipletests(2 * stats.norm.sf(np.abs(t)), method="holm")[1]
    np.testing.assert_allclose(adjusted_p(t, law(np.eye(5)), "holm"), expected, rtol=1e-12)


def test_romano_wolf_of_independent_terms_is_step_down_sidak():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    t = np.array([0.3, -3.1, 2.2, 2.1, -1.0])
    expected = multitest.multipletests(2 * stats.norm.sf(np.abs(t)), method="holm-sidak")[1]
    np.testing.assert_allclose(adjusted_p(t, law(np.eye(5))), expected, atol=0.004)
    tiny = adjusted_p(np.array([9.0, 0.0, 0.0]), law(np.eye(3)))[0]
    assert tiny == pytest.approx(3 * 2 * stats.norm.sf(9), rel=0.05)


def test_romano_wolf_of_copies_is_the_pointwise_p():
    t = np.array([2.0, -2.0, np.nan])
    signs = np.array([1.0, -1.0, 1.0])
    adjusted = adjusted_p(t, law(np.outer(signs, signs)))
    np.testing.assert_allclose(adjusted[:2], 2 * special.ndtr(-2.0), rtol=1e-9)
    assert np.isnan(adjusted[2])


def test_romano_wolf_and_the_joint_interval_agree():
    correlation = equicorrelated(4, 0.4)
    c = joint(correlation, 15)
    for t, rejected in ((c + 0.05, True), (c - 0.05, False)):
        p = adjusted_p(np.array([t, 0.1, 0.2, 0.3]), law(correlation, 15))[0]
        assert (p < 0.05) == rejected


def test_romano_wolf_never_exceeds_holm():
    rng = np.random.default_rng(1)
    for _ in range(10):
        correlation = np.corrcoef((rng.normal(size=(20, 5)) @ rng.normal(size=(5, 5))).T)
        t = rng.normal(size=5) * 2
        assert (adjusted_p(t, law(correlation)) <= adjusted_p(t, law(correlation), "holm") + 0.004).all()
