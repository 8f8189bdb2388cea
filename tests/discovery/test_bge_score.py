"""The BGe score against the integral it stands for, and its invariance over Markov equivalent DAGs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import multigammaln
from scipy.stats import multivariate_normal, wishart

from causalif._errors import DataWarning, InputError
from causalif.datasets import simulate_random_sem, simulate_sem2
from causalif.discovery.bge_score import BGeScorer
from causalif.discovery.columns import read_columns
from causalif.discovery.exact import log_evidence, sample_exact
from causalif.discovery.families import Families, parent_sets
from causalif.discovery.linear_sem import LinearSEM

SPEC = importlib.util.spec_from_file_location("brute_force", Path(__file__).with_name("brute_force.py"))
brute_force = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = brute_force
SPEC.loader.exec_module(brute_force)


def families_of(data, prior_rows=1.0):
    columns = read_columns(data, ())
    sets = parent_sets(~np.eye(columns.p, dtype=bool), np.zeros((columns.p,) * 2, dtype=bool), None)
    scorer = BGeScorer.of(columns, sets, prior_rows)
    return columns, Families.of_scores(columns.names, sets, scorer.log_scores(np.ones(columns.n), None))


def log_marginal(x, members, p, prior_rows):
    """Kuipers, Moffa and Heckerman (2014), the marginal likelihood of some columns, written out."""
    n, size = len(x), len(members)
    if not size:
        return 0.0
    alpha_w = p + prior_rows + 1
    t = prior_rows * (alpha_w - p - 1) / (prior_rows + 1) * np.eye(size)
    y = x[:, members]
    mean = y.mean(axis=0)
    r = t + (y - mean).T @ (y - mean) + n * prior_rows / (n + prior_rows) * np.outer(mean, mean)
    shape = alpha_w - p + size
    return (
        size / 2 * np.log(prior_rows / (n + prior_rows))
        - size * n / 2 * np.log(np.pi)
        + multigammaln((n + shape) / 2, size)
        - multigammaln(shape / 2, size)
        + shape / 2 * np.linalg.slogdet(t)[1]
        - (n + shape) / 2 * np.linalg.slogdet(r)[1]
    )


@pytest.mark.parametrize("prior_rows", [1.0, 3.0])
def test_every_family_against_the_formula(prior_rows):
    data, _ = simulate_random_sem(60, 1, form="linear", nodes=4)
    columns, families = families_of(data, prior_rows)
    for node in range(4):
        for mask, score in zip(families.parents[node].tolist(), families.log_scores[node], strict=True):
            members = [j for j in range(4) if mask >> j & 1]
            expected = log_marginal(columns.values, [node, *members], 4, prior_rows)
            expected -= log_marginal(columns.values, members, 4, prior_rows)
            assert score == pytest.approx(expected, abs=1e-9)


def test_the_formula_is_the_average_likelihood_under_its_prior():
    """Precision W ~ Wishart(alpha_w, T^-1), mean given W normal with precision alpha_mu W: 200,000 draws of both."""
    rng = np.random.default_rng(0)
    x = np.array([[0.4, -0.2], [-0.3, 0.5], [0.1, -0.4]])
    t, alpha_w, draws = 0.5, 4, 200_000
    precision = wishart(alpha_w, np.eye(2) / t).rvs(draws, random_state=rng)
    cov = np.linalg.inv(precision)
    mean = np.einsum("dij,dj->di", np.linalg.cholesky(cov), rng.standard_normal((draws, 2)))
    gap = x[:, None, :] - mean
    log_likelihood = (
        -0.5 * np.einsum("rdi,dij,rdj->d", gap, precision, gap)
        + 1.5 * np.linalg.slogdet(precision)[1]
        - 3 * np.log(2 * np.pi)
    )
    likelihood = np.exp(log_likelihood)
    expected, error = likelihood.mean(), likelihood.std() / np.sqrt(draws)
    assert np.exp(log_marginal(x, [0, 1], 2, 1.0)) == pytest.approx(expected, abs=4 * error)
    assert error < 0.02 * expected
    # the oracle's likelihood is that of the normal law
    assert log_likelihood[0] == pytest.approx(multivariate_normal(mean[0], cov[0]).logpdf(x).sum())


def test_markov_equivalent_dags_have_equal_scores():
    """All 543 DAGs on four nodes, grouped by skeleton and v-structures."""
    data, _ = simulate_random_sem(200, 3, form="linear", nodes=4)
    _, families = families_of(data)
    classes = {}
    for dag in brute_force.all_dags(4):
        skeleton = dag + dag.T
        colliders = frozenset(
            (i, j, k)
            for j in range(4)
            for i in range(4)
            for k in range(i)
            if dag[i, j] and dag[k, j] and not skeleton[i, k]
        )
        score = families.log_weight_of(dag[None])[0]
        classes.setdefault((skeleton.tobytes(), colliders), []).append(score)
    assert len(classes) == 185  # Gillispie and Perlman (2001): Markov equivalence classes on four nodes
    assert max(np.ptp(scores) for scores in classes.values()) < 1e-9
    assert max(map(len, classes.values())) == 24


def test_posterior_of_a_collider_and_of_a_chain():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 800))
    collider = pd.DataFrame({"A": a, "B": b, "Y": a + b + rng.standard_normal(800)})
    edges = LinearSEM(bag=0).fit(collider).edge_probabilities
    assert edges.loc["A", "Y"] > 0.95
    assert edges.loc["Y", "A"] < 0.05
    chain = pd.DataFrame({"A": a, "M": a + b, "Y": a + b + rng.standard_normal(800)})
    edges = LinearSEM(bag=0, prior=0.5).fit(chain).edge_probabilities
    # of the three equivalent DAGs A -> M -> Y, A <- M <- Y and A <- M -> Y, one has the edge A -> M
    assert edges.loc["A", "M"] + edges.loc["M", "A"] > 0.99
    assert edges.loc["A", "M"] == pytest.approx(1 / 3, abs=0.03)
    assert edges.loc["M", "A"] == pytest.approx(2 / 3, abs=0.03)


def test_evidence_of_linear_scores_equals_enumeration():
    data, _ = simulate_random_sem(300, 5, form="linear")
    _, families = families_of(data)
    dags, weights, evidence = brute_force.posterior(families)
    assert log_evidence(families) == pytest.approx(evidence, abs=1e-8)
    found = sample_exact(families, draws=1, rng=np.random.default_rng(0))
    np.testing.assert_allclose(found.edges, np.tensordot(weights, dags, axes=1), atol=1e-8)


def test_wrong_columns():
    data, _ = simulate_sem2(100, 0)
    with pytest.warns(DataWarning, match=r"LinearSEM reads the binary columns \['A'\] as numbers"):
        LinearSEM(bag=0, tiers=[["C"], ["A"], ["L"], ["M"], ["Y"]]).fit(data)
    with pytest.raises(InputError, match="Column 'G' is categorical"):
        LinearSEM(bag=0).fit(data.assign(G=np.resize(["a", "b", "c"], 100)))
    with pytest.raises(InputError, match=r"is a linear function of"):
        LinearSEM(bag=0).fit(data[["L", "M"]].assign(D=data["L"] - data["M"]))
    with pytest.raises(InputError, match="3 rows for 2 columns; it needs at least 4"):
        LinearSEM(bag=0).fit(pd.DataFrame({"A": [1.5, 2.0, 4.0], "B": [0.5, 3.0, 1.0]}))
    with pytest.raises(InputError, match="`prior_rows` must be a number"):
        LinearSEM(bag=0, prior_rows=0.0).fit(data[["L", "M"]])
