import numpy as np
import pytest
from scipy import stats

from causalif._errors import FewClustersWarning, InputError
from causalif.results.covariance import Moments, critical_value, moments, two_sided_p, warn_few_clusters


def naive(psi, clusters=None):
    """Double loop over groups, straight from the definition."""
    n, p = psi.shape
    groups = {i: [i] for i in range(n)} if clusters is None else {}
    for i in range(n if clusters is not None else 0):
        groups.setdefault(clusters[i], []).append(i)
    total = np.zeros((p, p))
    for rows in groups.values():
        s = sum(psi[i] for i in rows)
        total += np.outer(s, s)
    factor = 1 if clusters is None else len(groups) / (len(groups) - 1)
    return factor * total / n**2


@pytest.fixture
def psi():
    x = np.random.default_rng(0).standard_t(3, size=(97, 3))
    return x - x.mean(axis=0)


@pytest.mark.parametrize("labels", [None, "int", "text"])
def test_covariance_equals_the_definition(psi, labels):
    clusters = None if labels is None else np.random.default_rng(1).integers(0, 23, 97)
    clusters = clusters.astype(str) if labels == "text" else clusters
    law = moments(psi, clusters)
    np.testing.assert_allclose(law.covariance, naive(psi, clusters), rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(law.std_errors**2, np.diag(naive(psi, clusters)), rtol=1e-12)
    assert law.clusters == (None if labels is None else 23)
    np.testing.assert_array_equal(law.df, np.full(3, np.inf if labels is None else 22.0))


def test_clusters_of_one_row_differ_by_the_correction_only(psi):
    np.testing.assert_allclose(moments(psi, np.arange(97)).covariance, moments(psi).covariance * 97 / 96, rtol=1e-12)


def test_agrees_with_statsmodels_on_a_mean(psi):
    sm = pytest.importorskip("statsmodels.api")
    clusters = np.arange(97) % 24
    y = psi[:, :1]
    fit = sm.OLS(y, np.ones((97, 1)))
    robust = fit.fit(cov_type="HC0").bse
    np.testing.assert_allclose(moments(y).std_errors, robust, rtol=1e-10)
    # statsmodels adds (n - 1) / (n - k) to G / (G - 1), which is 1 for a mean
    clustered = fit.fit(cov_type="cluster", cov_kwds={"groups": clusters}).bse
    np.testing.assert_allclose(moments(y, clusters).std_errors, clustered, rtol=1e-10)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-160, 1e160, 1e200, 1e290])
@pytest.mark.parametrize("clustered", [False, True])
def test_std_errors_scale_with_the_outcome(psi, scale, clustered):
    clusters = np.arange(97) % 30 if clustered else None
    plain, scaled = moments(psi, clusters), moments(psi * scale, clusters)
    np.testing.assert_allclose(scaled.std_errors / scale, plain.std_errors, rtol=1e-12)
    np.testing.assert_allclose(scaled.correlation, plain.correlation, rtol=1e-12)


def test_columns_of_very_different_size(psi):
    factor = np.array([1e-200, 1.0, 1e200])
    np.testing.assert_allclose(moments(psi * factor).correlation, moments(psi).correlation, rtol=1e-12)


def test_many_rows_are_summed_in_blocks():
    x = np.random.default_rng(2).normal(size=(200_001, 2)) + 5
    x -= x.mean(axis=0)
    np.testing.assert_allclose(moments(x).covariance, x.T @ x / 200_001**2, rtol=1e-11)


def test_a_constant_column_has_no_correlation():
    law = moments(np.array([[0.0, 1.0], [0.0, -1.0]]))
    np.testing.assert_array_equal(law.correlation, np.eye(2))
    np.testing.assert_allclose(law.covariance, [[0, 0], [0, 0.5]], rtol=1e-15)


def test_a_subgroup_counts_the_clusters_it_uses():
    clusters = np.repeat(np.arange(30), 4)
    psi = np.random.default_rng(0).normal(size=(120, 2))
    psi[48:, 1] = 0
    np.testing.assert_array_equal(moments(psi, clusters).df, [29, 11])


@pytest.mark.parametrize("df", [1, 4, 30, 1000])
def test_critical_values_and_p_values_match_scipy(df):
    for level in (0.5, 0.9, 0.95, 0.999999):
        np.testing.assert_allclose(critical_value(level, df), stats.t.ppf((1 + level) / 2, df), rtol=1e-9)
        np.testing.assert_allclose(critical_value(level, np.inf), stats.norm.ppf((1 + level) / 2), rtol=1e-9)
    t = np.array([0.0, 1.0, -2.5, 40.0])
    np.testing.assert_allclose(two_sided_p(t, np.full(4, df)), 2 * stats.t.sf(np.abs(t), df), rtol=1e-9)
    np.testing.assert_allclose(two_sided_p(t, np.full(4, np.inf)), 2 * stats.norm.sf(np.abs(t)), rtol=1e-9)


@pytest.mark.parametrize("level", [0, 1, 95, -0.1, "0.95", True])
def test_level_is_a_probability(level):
    with pytest.raises(InputError, match="`level`"):
        critical_value(level, np.inf)


def test_bad_clusters_are_refused(psi):
    with pytest.raises(InputError, match="at least 2 clusters"):
        moments(psi, np.zeros(97))
    with pytest.raises(InputError, match="1 of 97 rows"):
        moments(psi, np.where(np.arange(97) == 3, np.nan, np.arange(97) % 30))


def test_few_clusters_warn():
    with pytest.warns(FewClustersWarning, match="19 clusters"):
        warn_few_clusters(19)
    warn_few_clusters(20)


def test_covariance_may_underflow_where_std_errors_do_not():
    law = Moments(np.array([1e-200]), np.eye(1), np.array([np.inf]), None)
    assert law.covariance == 0
    assert law.std_errors > 0


@pytest.mark.parametrize("clusters", [4, 12, 40])
def test_clustered_intervals_cover_the_mean(clusters):
    """Exact in theory: with equal clusters and normal sums the interval is the t interval of their means."""
    rng = np.random.default_rng(7)
    runs, size = 2000, 5
    codes = np.repeat(np.arange(clusters), size)
    covered = 0
    for _ in range(runs):
        y = rng.normal(size=clusters)[codes] + rng.normal(size=clusters * size)
        law = moments((y - y.mean())[:, None], codes)
        covered += abs(y.mean()) <= critical_value(0.95, law.df)[0] * law.std_errors[0]
    assert abs(covered / runs - 0.95) < 3.5 * np.sqrt(0.95 * 0.05 / runs)
