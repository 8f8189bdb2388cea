import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn import config_context
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression

from causalif import _errors
from causalif.engine.defaults import (
    LogLinearVariance,
    PooledClassifier,
    PooledRegressor,
    ShrunkenRegressor,
    SmoothClassifier,
    SmoothRegressor,
    StackedClassifier,
    StackedRegressor,
    default_learner,
    default_variance_learner,
)
from causalif.engine.defaults import smooth as _smooth

EVERY_LEARNER = [
    StackedRegressor(random_state=0),
    StackedClassifier(random_state=0),
    SmoothRegressor(),
    SmoothClassifier(),
    ShrunkenRegressor(),
    LogLinearVariance(),
]


def frame(n, rng):
    """Columns of every awkward kind: heavy-tailed, binary, constant, few values, many ties."""
    return pd.DataFrame(
        {
            "normal": rng.normal(size=n),
            "income": np.exp(1.5 * rng.normal(size=n)) * (rng.random(n) > 0.3),
            "binary": (rng.random(n) < 0.4).astype(float),
            "constant": 0.1,
            "family": rng.integers(1, 5, n).astype(float),
            "year": 2000.0 + rng.integers(0, 3, n),
        }
    )


def target_for(learner, X, rng):
    signal = np.sin(2 * X["normal"]) + X["binary"] + 0.3 * X["family"]
    if is_classifier(learner):
        return (rng.random(len(X)) < expit(signal - 1.5)).astype(float)
    noise = rng.normal(size=len(X))
    return (np.exp(0.3 * signal) * noise**2 if isinstance(learner, LogLinearVariance) else signal + noise).to_numpy()


def predicted(model, X):
    return model.predict_proba(X)[:, -1] if is_classifier(model) else model.predict(X)


def identified(learner):
    return type(learner).__name__


# --- what the engine relies on ---------------------------------------------------------------------------------------


def test_choice_by_kind():
    assert is_regressor(default_learner("mean"))
    assert is_classifier(default_learner("probability"))
    assert is_regressor(default_learner("mean", smooth=True))
    assert is_classifier(default_learner("probability", smooth=True))
    assert is_regressor(default_variance_learner())
    with pytest.raises(_errors.InputError, match="kind"):
        default_learner("median")


@pytest.mark.parametrize("learner", EVERY_LEARNER, ids=identified)
@pytest.mark.parametrize("n", [60, 200, 1500])
def test_awkward_columns_in_frames_and_arrays(learner, n):
    rng = np.random.default_rng(n)
    X = frame(n, rng)
    y = target_for(learner, X, rng)
    fresh = frame(500, rng)
    fresh["constant"] = 5.0  # constant in this training set only
    from_frame = predicted(clone(learner).fit(X, y), fresh)
    from_array = predicted(clone(learner).fit(X.to_numpy(), y), fresh.to_numpy())
    assert from_frame.shape == (500,)
    assert np.isfinite(from_frame).all()
    np.testing.assert_allclose(from_frame, from_array, rtol=1e-10)
    fresh["constant"] = 0.1
    np.testing.assert_allclose(from_frame, predicted(clone(learner).fit(X, y), fresh), rtol=1e-10)


@pytest.mark.parametrize("learner", EVERY_LEARNER, ids=identified)
def test_rows_of_weight_zero_are_absent(learner):
    rng = np.random.default_rng(0)
    X = frame(600, rng)
    y, w = target_for(learner, X, rng), rng.random(600) + 0.1
    w[rng.random(600) < 0.4] = 0.0
    spoiled = np.where(w > 0, y, 1.0 - y if is_classifier(learner) else 1e6)
    X.loc[w == 0, "normal"] = 50.0
    kept = w > 0
    with_zeros = predicted(clone(learner).fit(X, spoiled, sample_weight=w), X[kept])
    without = predicted(clone(learner).fit(X[kept], y[kept], sample_weight=w[kept]), X[kept])
    np.testing.assert_allclose(with_zeros, without, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("learner", EVERY_LEARNER, ids=identified)
def test_weights_decide_between_two_populations(learner):
    rng = np.random.default_rng(1)
    X = pd.DataFrame({"x": rng.normal(size=2000), "z": rng.normal(size=2000)})
    second = rng.random(2000) < 0.5
    level = np.where(second, 0.8, 0.2)
    y = (rng.random(2000) < level).astype(float) if is_classifier(learner) else level * rng.normal(1, 0.1, 2000) ** 2
    for weights, expected in ((np.where(second, 50.0, 1.0), 0.8), (np.where(second, 1.0, 50.0), 0.2), (None, 0.5)):
        model = clone(learner).fit(X, y, sample_weight=weights)
        assert predicted(model, X).mean() == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("learner", EVERY_LEARNER[:2], ids=identified)
def test_random_state_decides_everything(learner):
    rng = np.random.default_rng(2)
    X = frame(400, rng)
    y = target_for(learner, X, rng)
    assert "random_state" in learner.get_params(deep=True)
    first, again = (predicted(clone(learner).fit(X, y), X) for _ in range(2))
    other = predicted(clone(learner).set_params(random_state=1).fit(X, y), X)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("learner", EVERY_LEARNER[:2], ids=identified)
def test_global_settings_of_sklearn_do_not_matter(learner):
    rng = np.random.default_rng(2)
    X = frame(300, rng)
    y, w = target_for(learner, X, rng), rng.random(300)
    plain = predicted(clone(learner).fit(X, y, sample_weight=w), X)
    with config_context(enable_metadata_routing=True):
        routed = predicted(clone(learner).fit(X, y, sample_weight=w), X)
    assert np.array_equal(plain, routed)


def test_classes():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    for learner in (StackedClassifier(random_state=0), SmoothClassifier()):
        with pytest.raises(_errors.PositivityError, match="both levels"):
            clone(learner).fit(X, np.ones(200))
        with pytest.raises(_errors.InputError, match="two values"):
            clone(learner).fit(X, np.arange(200) % 3)
        for rare in (1, 2, 3):
            y = np.zeros(200)
            y[:rare] = 1.0
            p = clone(learner).fit(X, y).predict_proba(X)
            np.testing.assert_allclose(p.sum(axis=1), 1.0)
            assert 0 < p[:, 1].mean() < 0.1
        labels = np.where(X[:, 0] > 0, "yes", "no")
        model = clone(learner).fit(X, labels)
        assert list(model.classes_) == ["no", "yes"]
        assert np.mean(model.predict(X) == labels) > 0.95


def test_separated_classes_give_finite_probabilities():
    x = np.linspace(-1, 1, 300)[:, None]
    p = SmoothClassifier().fit(x, x[:, 0] > 0).predict_proba(x)[:, 1]
    assert np.isfinite(p).all()
    assert p[0] < 0.01
    assert p[-1] > 0.99


# --- the parts against brute force -----------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.1, 1.0, 5.0])
def test_smooth_mean_is_the_ridge_of_its_basis_with_the_best_penalty(noise):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(150, 2))
    y, w = np.sin(2 * X[:, 0]) + X[:, 0] * X[:, 1] + noise * rng.normal(size=150), rng.random(150) + 0.5
    fit = SmoothRegressor().fit(X, y, sample_weight=w).fit_
    B, groups, share = fit.basis(X).T, fit.basis.groups, w / w.sum()
    centred = B - share @ B
    best = {}
    for curve in (0.0, *_smooth.SHARES):
        for product in (0.0, *_smooth.SHARES):
            D = centred * np.array([1.0, curve, product])[groups]
            for penalty in _smooth.PENALTIES:
                inner = (D * share[:, None]).T @ D + penalty * np.eye(len(groups))
                hat = share + D @ np.linalg.solve(inner, (D * share[:, None]).T)
                left = 1 - 1.4 * np.trace(hat) / 150
                if left > 0.05:
                    best[curve, product, penalty] = (share @ (y - hat @ y) ** 2 / left**2, hat @ y)
    choice = fit.choice
    score, fitted = best[choice.curve, choice.product, choice.penalty]
    np.testing.assert_allclose(fit(X), fitted, rtol=1e-6, atol=1e-8)
    along_curve = min(value[0] for key, value in best.items() if key[1] == choice.product and key[0] == choice.curve)
    assert score == pytest.approx(along_curve, rel=1e-8)
    assert score <= 1.05 * min(value[0] for value in best.values())  # curves are chosen before products


@pytest.mark.parametrize("n", [300, 50_000])
def test_smooth_log_odds_solves_its_penalised_score_equation(n):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(n, 3))
    y, w = (rng.random(n) < expit(np.sin(2 * X[:, 0]) - 1)).astype(float), rng.random(n) + 0.5
    fit = SmoothClassifier().fit(X, y, sample_weight=w).fit_
    B, p = fit.basis(X).T, expit(fit(X))
    freedoms = np.array([1.0, fit.choice.curve, fit.choice.product])[fit.basis.groups]
    used = freedoms > 0
    curvature = w * p * (1 - p)
    centred = B - curvature @ B / curvature.sum()
    score = (w * (y - p)) @ centred[:, used]
    pull = fit.choice.penalty * curvature.sum() * fit.coef[used] / freedoms[used] ** 2
    assert abs(w @ (y - p)) < 1e-3 * curvature.sum() ** 0.5
    assert np.abs(score - pull).max() < 2e-3 * curvature.sum() ** 0.5  # a tiny part of the score's own noise
    assert (fit.coef[~used] == 0).all()


def test_curves_penalise_departures_from_a_line_only():
    x = np.random.default_rng(0).normal(size=(400, 1))
    straight = SmoothRegressor().fit(x, 3 - 2 * x[:, 0])
    np.testing.assert_allclose(straight.predict(x), 3 - 2 * x[:, 0], atol=1e-3)
    assert straight.predict(np.array([[10.0]]))[0] == pytest.approx(-17, abs=0.2)


def test_pool_of_means_minimises_squared_error_over_shares():
    rng = np.random.default_rng(6)
    y, w = rng.normal(size=200), rng.random(200)
    for errors in ([1.0, 1.0, 1.0], [0.2, 1.0, 3.0], [0.1, 0.1, 5.0]):
        X = y[:, None] + np.array(errors) * rng.normal(size=(200, 3)) + 0.5 * rng.normal(size=(200, 1))
        pool = PooledRegressor().fit(X, y, sample_weight=w)

        def loss(shares, X=X):
            return float(w @ (y - X @ shares) ** 2)

        found = minimize(
            loss, np.full(3, 1 / 3), bounds=[(0, 1)] * 3, constraints={"type": "eq", "fun": lambda s: s.sum() - 1}
        )
        assert pool.coef_.min() >= 0
        assert pool.coef_.sum() == pytest.approx(1.0)
        assert loss(pool.coef_) <= found.fun * (1 + 1e-6)


def test_pool_of_probabilities_maximises_likelihood_over_shares():
    rng = np.random.default_rng(7)
    truth = rng.random(500)
    y, w = (rng.random(500) < truth).astype(float), rng.random(500)
    X = np.clip(truth[:, None] + [0.1, 0.3, 0.5] * rng.normal(size=(500, 3)), 0.01, 0.99)
    pool = PooledClassifier().fit(X, y, sample_weight=w)

    def loss(shares):
        p = X @ shares
        return -float(w @ (y * np.log(p) + (1 - y) * np.log(1 - p)))

    found = minimize(
        loss, np.full(3, 1 / 3), bounds=[(0, 1)] * 3, constraints={"type": "eq", "fun": lambda s: s.sum() - 1}
    )
    assert loss(pool.coef_) <= found.fun * (1 + 1e-4)
    np.testing.assert_allclose(pool.predict_proba(X).sum(axis=1), 1.0)


# --- quality ----------------------------------------------------------------------------------------------------------


SURFACES = {
    "lines": lambda X: X[:, 0] - 0.5 * X[:, 1],
    "curves": lambda X: np.sin(1.5 * X[:, 0]) + 0.5 * X[:, 1] ** 2,
    "products": lambda X: X[:, 0] * X[:, 1] + 0.5 * X[:, 2],
    "steps": lambda X: 1.5 * (X[:, 0] > 0.3) - (X[:, 1] > -0.5) * (X[:, 2] > 0),
    "nothing": lambda X: np.zeros(len(X)),
}


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("surface", SURFACES)
def test_default_is_close_to_the_best_of_its_rivals(surface, binary):
    rng = np.random.default_rng(8)
    X, fresh = rng.normal(size=(1500, 4)), rng.normal(size=(20_000, 4))
    f, g = SURFACES[surface](X), SURFACES[surface](fresh)
    if binary:
        y, truth = (rng.random(1500) < expit(f)).astype(float), expit(g)
        rivals = [HistGradientBoostingClassifier(random_state=0), LogisticRegression(C=1e6), SmoothClassifier()]
    else:
        y, truth = f + rng.normal(size=1500), g
        rivals = [HistGradientBoostingRegressor(random_state=0), LinearRegression(), SmoothRegressor()]

    def risk(model):
        p = predicted(model.fit(X, y), fresh)
        if binary:
            p = np.clip(p, 1e-4, 1 - 1e-4)
            return -np.mean(truth * np.log(p) + (1 - truth) * np.log(1 - p))
        return 1.0 + np.mean((p - truth) ** 2)

    default = default_learner("probability" if binary else "mean").set_params(random_state=0)
    assert risk(default) <= 1.05 * min(map(risk, rivals))


def test_second_stage_shrinks_noise_to_a_constant_and_keeps_a_signal():
    rng = np.random.default_rng(9)
    X = rng.normal(size=(3000, 5))
    noise = rng.normal(size=3000) * rng.normal(size=3000) ** 2  # a product of residuals
    flat = ShrunkenRegressor().fit(X, 1.0 + noise).predict(X)
    assert flat.std() < 0.1
    assert flat.mean() == pytest.approx(1.0, abs=0.15)
    slope = ShrunkenRegressor().fit(X, X[:, 0] + noise).predict(X)
    assert np.corrcoef(slope, X[:, 0])[0, 1] > 0.98
    assert slope.std() == pytest.approx(1.0, abs=0.15)


# --- variance ---------------------------------------------------------------------------------------------------------


def test_variance_learner_finds_a_log_linear_variance():
    rng = np.random.default_rng(10)
    X = rng.normal(size=(40_000, 3))
    X[:, 2] = 5 + 100 * (X[:, 2] > 0)
    truth = np.exp(0.5 * X[:, 0] - 0.3 * X[:, 1] + 0.4 * (X[:, 2] > 50))
    found = default_variance_learner().fit(X, truth * rng.normal(size=40_000) ** 2).predict(X)
    inside = (np.abs(X[:, :2]) < 2).all(axis=1)
    assert np.abs(np.log(found / truth))[inside].max() < 0.12


def test_variance_learner_takes_zeros_scales_and_stays_in_range():
    rng = np.random.default_rng(11)
    X = frame(800, rng)
    y = np.exp(X["normal"].to_numpy() / 2) * rng.normal(size=800) ** 2
    y[::3] = 0.0
    model = LogLinearVariance().fit(X, y)
    assert (model.predict(X) > 0).all()
    assert model.predict(X).mean() == pytest.approx(y.mean(), rel=0.1)
    np.testing.assert_allclose(LogLinearVariance().fit(X, 1e-9 * y).predict(X), 1e-9 * model.predict(X), rtol=1e-6)
    far = X.assign(income=1e9, normal=1e9)
    near = X.assign(income=X["income"].max(), normal=X["normal"].max())
    np.testing.assert_allclose(model.predict(far), model.predict(near))
    with pytest.raises(_errors.InputError, match="at least 0"):
        LogLinearVariance().fit(X, -y)
    with pytest.raises(_errors.InputError, match="at least 0"):
        LogLinearVariance().fit(X, 0 * y)


def test_heavy_tails_shrink_the_variance_further():
    rng = np.random.default_rng(12)
    X = rng.normal(size=(300, 4))
    light, heavy = rng.normal(size=300) ** 2, rng.standard_t(2.5, size=300) ** 2
    spread = [np.log(LogLinearVariance().fit(X, y / y.mean()).predict(X)).std() for y in (light, heavy)]
    unshrunk = [
        np.log(LogLinearVariance(effect_size=100.0).fit(X, y / y.mean()).predict(X)).std() for y in (light, heavy)
    ]
    assert spread[1] / unshrunk[1] < spread[0] / unshrunk[0] <= 1.0
