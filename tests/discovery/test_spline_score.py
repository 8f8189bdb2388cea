"""Spline scores against regressions fitted one at a time by other packages."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from formulaic import model_matrix

from causalif._errors import InputError
from causalif.datasets import simulate_sem1, simulate_sem2
from causalif.discovery.columns import read_columns
from causalif.discovery.families import parent_sets
from causalif.discovery.gram import cross_products, residual_sums
from causalif.discovery.logistic import fit_logistic
from causalif.discovery.spline_score import SplineScorer, spline_basis


def scorer_of(data, size=6, **read):
    columns = read_columns(data, read.pop("discrete", ()))
    p = columns.p
    sets = parent_sets(~np.eye(p, dtype=bool), np.zeros((p, p), dtype=bool), None)
    return SplineScorer.of(columns, sets, size)


def score_of(scorer, scores, child, parents):
    names = scorer.columns.names
    mask = sum(1 << names.index(name) for name in parents)
    node = names.index(child)
    return scores[node][np.searchsorted(scorer.sets[node], mask)]


def other_basis(x):
    """Six columns that span the cubic splines with three knots at quartiles, from another package."""
    return np.asarray(model_matrix("bs(x, df=6, degree=3) - 1", pd.DataFrame({"x": np.asarray(x)})))


@pytest.mark.parametrize("parents", [(), ("A",), ("C", "M2"), ("A", "C", "M1", "M2")])
def test_gaussian_scores_are_those_of_least_squares(parents):
    data, _ = simulate_sem1(400, 2)
    scorer = scorer_of(data)
    counts = np.random.default_rng(0).multinomial(400, np.full(400, 1 / 400)).astype(float)
    for weights in (np.ones(400), counts):
        found = score_of(scorer, scorer.log_scores(weights, None), "Y", parents)
        design = np.column_stack([np.ones(400), *(other_basis(data[name]) for name in parents)])
        rss = sm.WLS(data["Y"], design, weights=weights).fit().ssr
        df = 6 * len(parents)
        assert found == pytest.approx(-200 * np.log(rss / 400) - (df + 2) / 2 * np.log(400), abs=1e-6)


def test_logistic_scores_are_those_of_statsmodels():
    data, _ = simulate_sem2(600, 1)
    rng = np.random.default_rng(3)
    data["G"] = np.array(["low", "middle", "high", "top"])[rng.integers(0, 4, 600)]
    scorer = scorer_of(data)
    counts = rng.multinomial(600, np.full(600, 1 / 600)).astype(float)
    for weights in (np.ones(600), counts):
        scores = scorer.log_scores(weights, None)
        rows = np.repeat(np.arange(600), weights.astype(int))
        design = np.column_stack([np.ones(600), other_basis(data["C"]), pd.get_dummies(data["G"]).to_numpy()[:, 1:]])
        fit = sm.Logit(data["A"].to_numpy()[rows], design[rows].astype(float)).fit(disp=0)
        # 9 = 6 + 3 coefficients; the normal prior of standard deviation 10 costs far less than one hundredth
        assert score_of(scorer, scores, "A", ("C", "G")) == pytest.approx(fit.llf - 9 / 2 * np.log(600), abs=0.02)
        codes = data["G"].astype("category").cat.codes.to_numpy()
        fit = sm.MNLogit(codes[rows], design[rows][:, :7]).fit(disp=0, maxiter=200)
        assert score_of(scorer, scores, "G", ("C",)) == pytest.approx(fit.llf - 3 * 6 / 2 * np.log(600), abs=0.05)


def test_a_fit_where_classes_separate_is_finite():
    x = np.linspace(-1, 1, 200)
    likelihood, b = fit_logistic(np.column_stack([np.ones(200), x * 1.7]), (x > 0)[:, None].astype(float), np.ones(200))
    assert -5 < likelihood < 0
    assert np.isfinite(b).all()


def test_a_starting_value_changes_the_path_not_the_goal():
    rng = np.random.default_rng(0)
    design = np.column_stack([np.ones(300), rng.standard_normal((300, 3))])
    y = (rng.random(300) < 0.3)[:, None].astype(float)
    one = fit_logistic(design, y, np.ones(300))
    two = fit_logistic(design, y, np.ones(300), start=rng.standard_normal((4, 1)))
    assert one[0] == pytest.approx(two[0], abs=1e-9)


def test_the_basis_spans_polynomials_and_is_orthonormal():
    x = np.random.default_rng(0).standard_normal(500)
    basis = spline_basis(x, 6)
    assert basis.shape == (500, 6)
    np.testing.assert_allclose(basis.T @ basis, 500 * np.eye(6), atol=1e-9)
    for power in (1, 2, 3):
        target = x**power - np.mean(x**power)
        np.testing.assert_allclose(basis @ (basis.T @ target) / 500, target, atol=1e-8)


def test_the_basis_of_few_values_spans_every_function():
    x = np.random.default_rng(0).integers(0, 5, 100).astype(float)
    basis = spline_basis(x, 6)
    assert basis.shape == (100, 4)
    target = np.sin(7 * x)
    target -= target.mean()
    np.testing.assert_allclose(basis @ (basis.T @ target) / 100, target, atol=1e-9)


def test_the_basis_does_not_depend_on_units():
    x = np.random.default_rng(0).standard_normal(200)
    one, two = spline_basis(x, 6), spline_basis(-1e5 * x + 3, 6)
    np.testing.assert_allclose(one @ one.T, two @ two.T, atol=1e-6)


def test_residual_sums_against_one_regression_after_another():
    rng = np.random.default_rng(0)
    columns = rng.standard_normal((50, 7))
    counts = rng.multinomial(50, np.full(50, 0.02)).astype(float)
    products, _ = cross_products(columns, counts)
    blocks = [np.array([0, 1]), np.array([2]), np.array([3, 4, 5])]
    sets = np.array([0, 1, 2, 4, 5, 7])
    found = residual_sums(products, sets, blocks, np.array([6]), ridge=0.0)[:, 0]
    for mask, value in zip(sets.tolist(), found, strict=True):
        at = np.concatenate([np.array([], dtype=int), *(blocks[j] for j in range(3) if mask >> j & 1)])
        design = np.column_stack([np.ones(50), columns[:, at]])
        assert value == pytest.approx(sm.WLS(columns[:, 6], design, weights=counts).fit().ssr)


def test_the_table_of_equations_tells_bends_from_lines():
    rng = np.random.default_rng(0)
    a = rng.standard_normal(800)
    data = pd.DataFrame({"A": a, "B": np.sin(2 * a) + 0.5 * rng.standard_normal(800)})
    table = scorer_of(data).diagnostics["equations"]
    assert table.loc["B", "nonlinearity"] > 50
    assert table.loc["B", "best_parents"] == "A"
    assert table.loc["B", "normality_pvalue"] > 0.001
    data["B"] = a + rng.exponential(size=800)
    table = scorer_of(data).diagnostics["equations"]
    assert table.loc["B", "nonlinearity"] < 0
    assert table.loc["B", "normality_pvalue"] < 1e-6
    assert table.loc["B", "residual_skewness"] == pytest.approx(2, abs=0.5)


def frame(n=200):
    rng = np.random.default_rng(0)
    return pd.DataFrame(rng.standard_normal((n, 3)), columns=["A", "B", "C"])


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda d: d.assign(D=2 * d["A"] + 1), r"Column '[AD]' is an exact function of \['[AD]'\]"),
        (lambda d: d.assign(D=d["A"] + d["B"]), r"is an exact function of \['[ABD]', '[ABD]'\]"),
        (lambda d: d.assign(D=d["A"] ** 2), r"Column 'D' is an exact function of \['A'\]"),
        (lambda d: d.assign(D=d["A"] > 0, E=np.where(d["A"] > 0, "yes", "no")), "Columns 'D' and 'E' are the same but"),
    ],
)
def test_columns_that_determine_each_other_are_refused(made, words):
    with pytest.raises(InputError, match=words):
        scorer_of(made(frame()))


def test_too_few_rows_for_the_splines():
    with pytest.raises(InputError, match=r"25 rows, but the largest regression has 13 coefficients .* 26 rows"):
        scorer_of(frame(25))
    assert scorer_of(frame(26)).columns.n == 26
