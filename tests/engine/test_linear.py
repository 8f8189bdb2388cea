import itertools
import math
import tracemalloc

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit
from sklearn.linear_model import Ridge as SklearnRidge

from causalif import _errors
from causalif.engine.linear import (
    OLS,
    PENALTIES,
    LinearFit,
    Logit,
    Ridge,
    least_squares_folds,
    logistic_folds,
    ridge_folds,
)


def cut(n, folds):
    edges = np.linspace(0, n, folds + 1).astype(int)
    return [slice(int(a), int(b)) for a, b in itertools.pairwise(edges)]


def outside(n, part):
    kept = np.ones(n, dtype=bool)
    kept[part] = False
    return kept if kept.any() else np.ones(n, dtype=bool)


def draw(n=600, p=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) @ (np.eye(p) + 0.3)
    X[:, 0] = 41 + 10 * X[:, 0]
    X[:, -1] = X[:, -1] > 0
    score = (X - X.mean(axis=0)) / X.std(axis=0) @ np.linspace(0.8, -0.5, p)
    a = (rng.random(n) < expit(score - 0.3)).astype(float)
    y = X @ np.linspace(1, 2, p) + a + rng.normal(size=n)
    return X, y, a, rng.random(n) + 0.2


def theta(fit):
    return np.append(fit.intercept, fit.coef)


def refit_least_squares(X, y, w):
    design = np.column_stack([np.ones(len(X)), X])
    return np.linalg.lstsq(design * np.sqrt(w)[:, None], y * np.sqrt(w), rcond=None)[0]


def refit_logistic(X, y, w):
    model = sm.GLM(y, np.column_stack([np.ones(len(X)), X]), family=sm.families.Binomial(), freq_weights=w)
    return model.fit(tol=1e-15, tol_criterion="params", maxiter=200).params


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("folds", range(2, 11))
def test_every_fold_equals_a_refit_on_the_other_rows(folds, weighted):
    X, y, a, w = draw(seed=folds)
    weights = w if weighted else None
    slices = cut(len(X), folds)
    means = least_squares_folds(X, y, slices, weights)
    odds = logistic_folds(X, a, slices, weights)
    assert len(means) == len(odds) == folds
    for part, mean, log_odds in zip(slices, means, odds, strict=True):
        kept = outside(len(X), part)
        used = w[kept] if weighted else np.ones(kept.sum())
        np.testing.assert_allclose(theta(mean), refit_least_squares(X[kept], y[kept], used), rtol=1e-8)
        np.testing.assert_allclose(theta(log_odds), refit_logistic(X[kept], a[kept], used), rtol=1e-6)
        assert mean.rank == log_odds.rank == X.shape[1]


def test_logistic_gradient_vanishes_on_every_training_set():
    X, _, a, w = draw(3000, 6)
    for part, fit in zip(cut(3000, 5), logistic_folds(X, a, cut(3000, 5), w), strict=True):
        kept = outside(3000, part)
        residual = w[kept] * (a[kept] - fit(X[kept]))
        assert abs(residual.sum()) < 1e-7
        assert np.abs(residual @ (X[kept] - X[kept].mean(axis=0)) / X.std(axis=0)).max() < 1e-7


@pytest.mark.parametrize("n", [45_000, 120_000])
def test_many_rows_start_from_a_tenth_and_end_at_the_maximum(n):
    X, _, a, _ = draw(n, 5)
    slices = cut(n, 3)
    for part, fit in zip(slices, logistic_folds(X, a, slices), strict=True):
        kept = outside(n, part)
        np.testing.assert_allclose(theta(fit), refit_logistic(X[kept], a[kept], np.ones(kept.sum())), rtol=1e-6)


def test_one_slice_over_all_rows_fits_in_sample():
    X, y, a, _ = draw()
    everything, ones = [slice(0, len(X))], np.ones(len(X))
    np.testing.assert_allclose(
        theta(least_squares_folds(X, y, everything)[0]), refit_least_squares(X, y, ones), rtol=1e-8
    )
    np.testing.assert_allclose(theta(logistic_folds(X, a, everything)[0]), refit_logistic(X, a, ones), rtol=1e-6)


def test_empty_fold_trains_on_everything():
    X, y, a, _ = draw()
    slices = [slice(0, 200), slice(200, 200), slice(200, 600), slice(600, 600)]
    ones = np.ones(600)
    for k in (1, 3):
        np.testing.assert_allclose(
            theta(least_squares_folds(X, y, slices)[k]), refit_least_squares(X, y, ones), rtol=1e-8
        )
        np.testing.assert_allclose(theta(logistic_folds(X, a, slices)[k]), refit_logistic(X, a, ones), rtol=1e-6)
    kept = outside(600, slices[0])
    np.testing.assert_allclose(
        theta(least_squares_folds(X, y, slices)[0]), refit_least_squares(X[kept], y[kept], np.ones(400)), rtol=1e-8
    )


def test_rows_of_weight_zero_are_absent():
    X, y, a, w = draw()
    arm = a == 1
    slices = cut(600, 5)
    edges = np.concatenate([[0], np.cumsum([arm[part].sum() for part in slices])])
    inside = [slice(int(i), int(j)) for i, j in itertools.pairwise(edges)]
    second = (y > np.median(y)).astype(float)
    for fit, target in ((least_squares_folds, y), (logistic_folds, second)):
        for one, other in zip(fit(X, target, slices, w * arm), fit(X[arm], target[arm], inside, w[arm]), strict=True):
            np.testing.assert_allclose(theta(one), theta(other), rtol=1e-7)
    for one, other in zip(
        ridge_folds(X, y, slices, PENALTIES, w * arm),
        ridge_folds(X[arm], y[arm], inside, PENALTIES, w[arm]),
        strict=True,
    ):
        assert one.penalty == other.penalty
        np.testing.assert_allclose(theta(one), theta(other), rtol=1e-8)


def test_whole_weights_equal_repeated_rows():
    X, y, a, _ = draw(300)
    counts = np.random.default_rng(1).integers(1, 4, 300)
    slices = cut(300, 3)
    edges = np.concatenate([[0], np.cumsum([counts[part].sum() for part in slices])])
    longer = [slice(int(i), int(j)) for i, j in itertools.pairwise(edges)]
    for fit, target in ((least_squares_folds, y), (logistic_folds, a)):
        weighted = fit(X, target, slices, counts.astype(float))
        repeated = fit(np.repeat(X, counts, axis=0), np.repeat(target, counts), longer)
        for one, other in zip(weighted, repeated, strict=True):
            np.testing.assert_allclose(theta(one), theta(other), rtol=1e-7)


# --- rank deficiency and conditioning -------------------------------------------------------------------------------


def smallest_norm(X, y, w):
    """Least squares of smallest norm on standardised columns, from a pseudo-inverse."""
    share = w / w.sum()
    mean, level = share @ X, share @ y
    spread = np.sqrt(share @ (X - mean) ** 2)
    spread = np.where(spread > 1e-12 * (1 + np.abs(mean)), spread, np.inf)
    root = np.sqrt(w)[:, None]
    slopes = np.linalg.pinv(root * (X - mean) / spread, rcond=1e-10) @ (root[:, 0] * (y - level)) / spread
    return np.append(level - mean @ slopes, slopes)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["duplicate", "sum", "constant", "dummies"])
def test_rank_deficient_columns_get_the_smallest_norm(kind, weighted):
    X, y, a, w = draw()
    w = w if weighted else np.ones(600)
    extra = {
        "duplicate": X[:, :1],
        "sum": X[:, :1] + 3 * X[:, 1:2],
        "constant": np.full((600, 1), 0.1),
        "dummies": np.eye(3)[np.random.default_rng(0).integers(0, 3, 600)],
    }[kind]
    X = np.column_stack([X, extra])
    rank = np.linalg.matrix_rank(X - X.mean(axis=0), tol=1e-8)
    assert rank < X.shape[1]
    slices = cut(600, 4)
    odds = logistic_folds(X, a, slices, w)
    for part, mean, log_odds in zip(slices, least_squares_folds(X, y, slices, w), odds, strict=True):
        kept = outside(600, part)
        assert mean.rank == log_odds.rank == rank
        np.testing.assert_allclose(theta(mean), smallest_norm(X[kept], y[kept], w[kept]), rtol=1e-7, atol=1e-9)
        full = np.column_stack([X[kept][:, :4], extra[kept][:, :2]]) if kind == "dummies" else X[kept][:, :4]
        reference = refit_logistic(full, a[kept], w[kept])
        np.testing.assert_allclose(
            log_odds(X[kept]), expit(np.column_stack([np.ones(len(full)), full]) @ reference), rtol=1e-7
        )


@pytest.mark.parametrize("value", [0.1, 1e-9, 1 / 3, 2000.3, 1e12 / 7, 1e-200, 1e200])
def test_constant_column_gets_exactly_no_slope(value):
    X, y, a, w = draw()
    wider = np.column_stack([X, np.full(600, value)])
    slices = cut(600, 4)
    for fit in (
        *least_squares_folds(wider, y, slices, w),
        *ridge_folds(wider, y, slices, PENALTIES, w),
        *logistic_folds(wider, a, slices, w),
    ):
        assert fit.coef[-1] == 0.0
        assert fit.rank == 4
    np.testing.assert_allclose(
        least_squares_folds(wider, y, slices, w)[1].coef[:-1],
        least_squares_folds(X, y, slices, w)[1].coef,
        rtol=1e-9,
    )


def test_column_that_is_constant_in_one_training_set_only():
    X, y, a, _ = draw()
    rare = np.zeros(600)
    rare[:40] = np.random.default_rng(0).random(40) < 0.5
    X = np.column_stack([X, rare])
    slices = cut(600, 5)
    means, odds = least_squares_folds(X, y, slices), logistic_folds(X, a, slices)
    assert [fit.rank for fit in means] == [4, 5, 5, 5, 5]
    assert [fit.rank for fit in odds] == [4, 5, 5, 5, 5]
    assert means[0].coef[-1] == odds[0].coef[-1] == 0.0
    kept = outside(600, slices[0])
    np.testing.assert_allclose(theta(means[0])[:-1], refit_least_squares(X[kept, :4], y[kept], np.ones(480)), rtol=1e-8)
    np.testing.assert_allclose(theta(odds[0])[:-1], refit_logistic(X[kept, :4], a[kept], np.ones(480)), rtol=1e-6)
    kept = outside(600, slices[2])
    np.testing.assert_allclose(theta(means[2]), refit_least_squares(X[kept], y[kept], np.ones(480)), rtol=1e-8)
    np.testing.assert_allclose(theta(odds[2]), refit_logistic(X[kept], a[kept], np.ones(480)), rtol=1e-6)


@pytest.mark.parametrize("spoil", ["offset", "nearly collinear", "outlier in one fold", "tiny and huge units"])
def test_awkward_columns_equal_a_refit(spoil):
    X, y, a, _ = draw()
    if spoil == "offset":
        X[:, 1] += 1e6
    elif spoil == "nearly collinear":
        X[:, 1] = X[:, 2] + 1e-5 * X[:, 1]
    elif spoil == "outlier in one fold":
        X[3, 1], y[5] = 1e9, 1e11
    else:
        X *= [1e-12, 1e9, 1.0, 1e5]
    slices = cut(600, 5)
    for k, part in enumerate(slices):
        kept = outside(600, part)
        mean, spread = X[kept].mean(axis=0), X[kept].std(axis=0)
        Z = (X[kept] - mean) / spread
        fit = least_squares_folds(X, y, slices)[k]
        np.testing.assert_allclose(fit.coef * spread, refit_least_squares(Z, y[kept], np.ones(480))[1:], rtol=1e-8)
        if spoil != "outlier in one fold":
            found = logistic_folds(X, a, slices)[k].coef * spread
            np.testing.assert_allclose(found, refit_logistic(Z, a[kept], np.ones(480))[1:], rtol=1e-6)


def test_more_columns_than_rows():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 30)), rng.normal(size=12)
    for part, fit in zip(cut(12, 3), least_squares_folds(X, y, cut(12, 3)), strict=True):
        kept = outside(12, part)
        assert fit.rank == 7
        np.testing.assert_allclose(fit(X[kept]), y[kept], rtol=1e-8)
        np.testing.assert_allclose(theta(fit), smallest_norm(X[kept], y[kept], np.ones(8)), rtol=1e-7)


def test_without_columns_the_fit_is_the_mean():
    X, y, a, w = draw()
    none, slices = X[:, :0], cut(600, 3)
    for part, mean, log_odds, shrunk in zip(
        slices,
        least_squares_folds(none, y, slices, w),
        logistic_folds(none, a, slices, w),
        ridge_folds(none, y, slices, PENALTIES, w),
        strict=True,
    ):
        kept = outside(600, part)
        level = np.average(y[kept], weights=w[kept])
        np.testing.assert_allclose([mean.intercept, shrunk.intercept], level, rtol=1e-12)
        np.testing.assert_allclose(log_odds(none)[0], np.average(a[kept], weights=w[kept]), rtol=1e-10)


# --- scale ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-200, 1e-310, 1e200, 1e300, -1.0])
def test_scaled_outcomes_scale_the_coefficients(scale):
    X, y, _, _ = draw()
    y = y / np.abs(y).max()
    slices = cut(600, 4)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    rtol = 1e-9 if abs(scale) > 1e-300 else 1e-6  # subnormal numbers have fewer digits themselves
    for fit in (least_squares_folds, lambda *given: ridge_folds(*given, PENALTIES)):
        for plain, scaled in zip(fit(X, y, slices), fit(X, scale * y, slices), strict=True):
            np.testing.assert_allclose(theta(scaled) / scale, theta(plain), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("scale", [1e-200, 1e-120, 1e120, 1e200])
def test_scaled_columns_scale_the_coefficients(scale):
    X, y, a, _ = draw()
    slices = cut(600, 4)
    for plain, scaled in zip(least_squares_folds(X, y, slices), least_squares_folds(X * scale, y, slices), strict=True):
        np.testing.assert_allclose(scaled.coef * scale, plain.coef, rtol=1e-8)
    for plain, scaled in zip(logistic_folds(X, a, slices), logistic_folds(X * scale, a, slices), strict=True):
        np.testing.assert_allclose(scaled.coef * scale, plain.coef, rtol=1e-6)


def test_power_of_two_scale_changes_no_bit():
    X, y, _, _ = draw()
    for plain, scaled in zip(
        least_squares_folds(X, y, cut(600, 4)),
        least_squares_folds(X, math.ldexp(1, -700) * y, cut(600, 4)),
        strict=True,
    ):
        assert np.array_equal(np.ldexp(theta(scaled), 700), theta(plain))


@pytest.mark.parametrize("constant", [0.0, 7.0])
def test_constant_outcome_has_no_slopes(constant):
    X = draw()[0]
    for fit in least_squares_folds(X, np.full(600, constant), cut(600, 3)):
        np.testing.assert_allclose(fit.coef, 0.0, atol=1e-13)
        assert fit.intercept == pytest.approx(constant, abs=1e-11)


# --- ridge ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("penalty", [1e-4, 0.1, 10.0])
def test_ridge_equals_sklearn_on_standardised_columns(penalty, weighted):
    X, y, _, w = draw()
    w = w if weighted else np.ones(600)
    slices = cut(600, 5)
    for part, fit in zip(slices, ridge_folds(X, y, slices, penalty, w), strict=True):
        kept = outside(600, part)
        share = w[kept] / w[kept].sum()
        mean = share @ X[kept]
        spread = np.sqrt(share @ (X[kept] - mean) ** 2)
        model = SklearnRidge(alpha=penalty * w[kept].sum(), solver="cholesky")
        model.fit((X[kept] - mean) / spread, y[kept], sample_weight=w[kept])
        np.testing.assert_allclose(fit.coef * spread, model.coef_, rtol=1e-8)
        np.testing.assert_allclose(fit(X[kept]), model.predict((X[kept] - mean) / spread), rtol=1e-8)
        assert fit.penalty == penalty


def test_ridge_without_penalty_is_least_squares():
    X, y, _, w = draw()
    for one, other in zip(
        ridge_folds(X, y, cut(600, 5), 0.0, w), least_squares_folds(X, y, cut(600, 5), w), strict=True
    ):
        np.testing.assert_allclose(theta(one), theta(other), rtol=1e-9)


@pytest.mark.parametrize("noise", [0.1, 3.0, 30.0])
def test_chosen_penalty_minimises_generalized_cross_validation(noise):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(90, 8))
    y = X[:, 0] + noise * rng.normal(size=90)
    grid = np.logspace(-4, 2, 20)
    for part, fit in zip(cut(90, 3), ridge_folds(X, y, cut(90, 3), tuple(grid)), strict=True):
        kept = outside(90, part)
        Z = (X[kept] - X[kept].mean(axis=0)) / X[kept].std(axis=0)
        m, errors = len(Z), []
        for penalty in grid:
            hat = Z @ np.linalg.solve(Z.T @ Z + m * penalty * np.eye(8), Z.T) + 1 / m
            errors.append(np.sum((y[kept] - hat @ y[kept]) ** 2) / (1 - np.trace(hat) / m) ** 2)
        assert fit.penalty == pytest.approx(grid[np.argmin(errors)])


def test_ridge_of_duplicates_shares_the_slope():
    X, y, _, _ = draw()
    doubled = np.column_stack([X, X[:, 1]])
    for fit in ridge_folds(doubled, y, cut(600, 3), 0.01):
        assert fit.coef[1] == pytest.approx(fit.coef[-1], rel=1e-9)
    assert ridge_folds(doubled, y, cut(600, 3), PENALTIES)[0].rank == 4


# --- logistic: classes, separation, convergence ---------------------------------------------------------------------


def test_fraction_counts_as_that_share_of_a_success():
    X, _, a, w = draw(400)
    share = np.clip(0.8 * a + 0.3 * np.random.default_rng(2).random(400), 0, 1)
    split = logistic_folds(
        np.concatenate([X, X]),
        np.repeat([1.0, 0.0], 400),
        [slice(0, 800)],
        np.concatenate([w * share, w * (1 - share)]),
    )[0]
    np.testing.assert_allclose(theta(logistic_folds(X, share, [slice(0, 400)], w)[0]), theta(split), rtol=1e-8)


@pytest.mark.parametrize("n", [60, 2000, 60_000])
@pytest.mark.parametrize("kind", ["complete", "quasi", "rare dummy"])
def test_separated_classes_are_refused(kind, n):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    a = (X[:, 0] + rng.normal(size=n) > 0).astype(float)
    if kind == "complete":
        a = (X @ [1.0, -2.0, 0.5] > 0.1).astype(float)
    elif kind == "quasi":
        X[:, 2] = rng.random(n) < 0.3
        a[X[:, 2] == 1] = 1.0
    else:
        X[:, 2] = 0.0
        X[7, 2], a[7] = 1.0, 0.0
        X[n // 2, 2], a[n // 2] = 1.0, 0.0
    with pytest.raises(_errors.PositivityError, match="separate"):
        logistic_folds(X, a, cut(n, 3))


def test_separation_in_one_training_set_names_the_fold():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    a = (X[:, 0] + rng.normal(size=300) > 0).astype(float)
    X[:, 1] = 0.0
    X[[110, 120, 210, 250], 1] = 1.0
    a[[110, 120]], a[[210, 250]] = 1.0, [0.0, 0.0]
    with pytest.raises(_errors.PositivityError, match="training rows of fold 2 of 3"):
        logistic_folds(X, a, cut(300, 3))


@pytest.mark.parametrize("gap", [0.5, 0.05, 0.005])
def test_nearly_separated_classes_are_fitted(gap):
    x = np.concatenate([np.linspace(-1, -gap, 100), np.linspace(gap, 1, 100), [gap, -gap]])
    a = np.concatenate([np.zeros(100), np.ones(100), [0.0, 1.0]])  # the last two rows are out of place
    fit = logistic_folds(x[:, None], a, [slice(0, 202)])[0]
    residual = a - fit(x[:, None])
    assert abs(residual @ x) < 1e-8
    assert abs(residual.sum()) < 1e-8
    assert fit.coef[0] > 1


def test_very_rare_class():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 3))
    a = (rng.random(20_000) < expit(-7 + X[:, 0])).astype(float)
    slices = cut(20_000, 4)
    for part, fit in zip(slices, logistic_folds(X, a, slices), strict=True):
        kept = outside(20_000, part)
        np.testing.assert_allclose(theta(fit), refit_logistic(X[kept], a[kept], np.ones(15_000)), rtol=1e-6)


def test_one_class_is_refused_in_words():
    X, _, a, w = draw()
    for target in (np.zeros(600), np.ones(600)):
        with pytest.raises(_errors.PositivityError, match="both levels"):
            logistic_folds(X, target, cut(600, 3))
    with pytest.raises(_errors.PositivityError, match="fold 1 of 3"):
        logistic_folds(X, (np.arange(600) < 200) * a, cut(600, 3))
    with pytest.raises(_errors.PositivityError, match="both levels"):
        logistic_folds(X, a, cut(600, 3), w * a)


def test_too_few_steps_are_an_error():
    X, _, a, _ = draw()
    with pytest.raises(_errors.ConvergenceError, match="did not converge in 1 steps"):
        logistic_folds(X, a, cut(600, 3), max_iter=1)


# --- input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", [least_squares_folds, logistic_folds])
def test_bad_input_is_refused(fit):
    X, _, a, w = draw()
    good = cut(600, 3)
    for slices in ([slice(0, 300)], [slice(0, 300), slice(310, 600)], [slice(300, 600), slice(0, 300)], []):
        with pytest.raises(_errors.InputError, match="slices"):
            fit(X, a, slices)
    with pytest.raises(_errors.InputError, match="shapes"):
        fit(X, a[:-1], good)
    with pytest.raises(_errors.InputError, match="weights"):
        fit(X, a, good, -w)
    with pytest.raises(_errors.PositivityError, match="positive weight"):
        fit(X, a, good, np.zeros(600))
    for value in (np.nan, np.inf):
        spoiled = X.copy()
        spoiled[5, 1] = value
        with pytest.raises(_errors.InputError, match="finite"):
            fit(spoiled, a, good)
        target = a.copy()
        target[5] = value
        with pytest.raises(_errors.InputError, match=r"finite|between 0 and 1"):
            fit(X, target, good)
    with pytest.raises(_errors.InputError, match="penalty"):
        ridge_folds(X, a, good, -1.0)


def test_input_is_not_changed_and_may_be_read_only():
    X, y, a, w = draw()
    copies = [array.copy() for array in (X, y, a, w)]
    for array in (X, y, a, w):
        array.flags.writeable = False
    first = least_squares_folds(X, y, cut(600, 3), w), logistic_folds(X, a, cut(600, 3), w)
    again = least_squares_folds(X, y, cut(600, 3), w), logistic_folds(X, a, cut(600, 3), w)
    for array, copy in zip((X, y, a, w), copies, strict=True):
        assert np.array_equal(array, copy)
    for one, other in zip(first, again, strict=True):
        assert all(np.array_equal(theta(u), theta(v)) for u, v in zip(one, other, strict=True))
    np.testing.assert_allclose(
        theta(least_squares_folds(np.asfortranarray(X), y, cut(600, 3), w)[0]), theta(first[0][0]), rtol=1e-12
    )


def test_memory_stays_far_below_the_design():
    n, p = 200_000, 20
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    a, w = (rng.random(n) < expit(X[:, 0])).astype(float), rng.random(n)
    slices = cut(n, 5)
    for fit in (least_squares_folds, logistic_folds):
        tracemalloc.start()
        fit(X, a, slices, w)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10e6  # X has 32e6 bytes
    assert LinearFit(np.ones(p), 0.0, "logit", p)(X[:5]).shape == (5,)


def test_learners_are_values():
    X, y, a, w = draw()
    assert OLS() == OLS()
    assert hash(Ridge()) == hash(Ridge())
    assert OLS().kind == Ridge().kind == "mean"
    assert Logit().kind == "probability"
    slices = cut(600, 3)
    assert np.array_equal(OLS().fit_folds(X, y, slices, w)[1].coef, least_squares_folds(X, y, slices, w)[1].coef)
    assert np.array_equal(Logit().fit_folds(X, a, slices)[1].coef, logistic_folds(X, a, slices, tol=1e-8)[1].coef)
    assert Ridge().fit_folds(X, y, slices, w)[1].penalty in PENALTIES


def test_probabilities_of_extreme_log_odds():
    fit = LinearFit(np.array([1.0]), 0.0, "logit", 1)
    np.testing.assert_allclose(fit(np.array([[-1e4], [-30.0], [0.0], [30.0], [1e4]])), expit([-1e4, -30, 0, 30, 1e4]))
