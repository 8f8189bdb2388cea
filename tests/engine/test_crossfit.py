"""The engine against loops written by hand: same folds, same learners, same digits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from causalif import ATE, InvalidIVATE, datasets
from causalif._errors import InputError, LearnerError, PositivityError
from causalif.engine import crossfit
from causalif.engine.crossfit import Derived, cross_fit
from causalif.engine.folds import Folds, split
from causalif.engine.nuisance import Mean, NuisanceSpec
from causalif.engine.problem import Plan, Problem
from causalif.estimands.counterfactual import CounterfactualMean
from causalif.table import Table, read_table

Array = npt.NDArray[np.float64]
LOGIT = LogisticRegression(C=10.0, tol=1e-10, max_iter=2_000)
SIMPLE = {"outcome": LinearRegression(), "treatment": LOGIT}
TREES = {
    "outcome": DecisionTreeRegressor(min_samples_leaf=15, random_state=0),
    "treatment": DecisionTreeClassifier(min_samples_leaf=30, random_state=0),
}
CURVES = {
    "outcome": make_pipeline(PolynomialFeatures(2), StandardScaler(), Ridge(1.0)),
    "treatment": make_pipeline(PolynomialFeatures(2), StandardScaler(), LOGIT),
}


def confounded(n: int = 400, seed: int = 1) -> pd.DataFrame:
    return datasets.simulate_confounded(n, random_state=seed).data


def aipw_by_loop(
    frame: pd.DataFrame, adjust: list[str], ids: npt.NDArray[Any], learners: Mapping[str, Any], clip: float = 0.01
) -> pd.DataFrame:
    """Out-of-fold nuisances and φ of both arms, one fold after the other."""
    phi = pd.DataFrame(index=frame.index, columns=["one", "zero"], dtype=float)
    order = np.argsort(ids, kind="stable")  # iterative solvers and bootstraps see the order of the rows
    frame, ids = frame.iloc[order], ids[order]
    for fold in np.unique(ids):
        train, held = frame[ids != fold], frame[ids == fold]
        model = clone(learners["treatment"]).fit(train[adjust], train["a"])
        pi = np.clip(model.predict_proba(held[adjust])[:, 1], clip, 1 - clip)
        for name, level, chance in (("one", 1, pi), ("zero", 0, 1 - pi)):
            arm = train[train["a"] == level]
            mu = clone(learners["outcome"]).fit(arm[adjust], arm["y"]).predict(held[adjust])
            phi.loc[held.index, name] = mu + (held["a"] == level) / chance * (held["y"] - mu)
    return phi


# --- the average effect ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", range(2, 11))
@pytest.mark.parametrize("learners", [SIMPLE, TREES, CURVES], ids=["lines", "trees", "pipelines"])
@pytest.mark.filterwarnings("ignore::causalif._errors.PositivityWarning")
def test_equals_a_loop_over_the_folds(k: int, learners: dict[str, Any]) -> None:
    frame, adjust = confounded(), ["x1", "x2", "x3"]
    fit = ATE(outcome="y", treatment="a", adjust=adjust, learners=learners, folds=k).fit(frame)
    phi = aipw_by_loop(frame, adjust, fit.nuisances["fold"].to_numpy(), learners)
    assert fit.nuisances["fold"].nunique() == k
    expected = np.column_stack([phi["one"] - phi["zero"], phi["one"], phi["zero"]])
    np.testing.assert_allclose(fit.values, expected.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(fit.influence_values, expected - expected.mean(axis=0), rtol=0, atol=1e-11)
    np.testing.assert_allclose(fit.std_errors, expected.std(axis=0) / np.sqrt(len(frame)), rtol=1e-12)


@pytest.mark.parametrize("k", [2, 3, 7, 10])
def test_fast_linear_path_equals_a_loop_of_converged_fits(k: int) -> None:
    frame, adjust = confounded(), ["x1", "x2", "x3"]
    fit = ATE(outcome="y", treatment="a", adjust=adjust, learners="linear", folds=k).fit(frame)
    unpenalised = LogisticRegression(C=np.inf, tol=1e-12, max_iter=5_000, solver="newton-cholesky")
    learners = {"outcome": LinearRegression(), "treatment": unpenalised}
    phi = aipw_by_loop(frame, adjust, fit.nuisances["fold"].to_numpy(), learners)
    assert fit.params["ATE"] == pytest.approx((phi["one"] - phi["zero"]).mean(), abs=1e-6)
    np.testing.assert_allclose(fit.influence_values[:, 1], phi["one"] - phi["one"].mean(), atol=1e-5)


def test_no_row_is_predicted_by_a_model_that_has_seen_it() -> None:
    """A learner that repeats what it has seen would have skill 1 in sample; out of fold it has none."""
    frame = confounded()
    frame["y"] = np.random.default_rng(0).normal(size=len(frame))
    memory = {"outcome": DecisionTreeRegressor(random_state=0), "treatment": LOGIT}
    fit = ATE(outcome="y", treatment="a", adjust=["x1", "x2", "x3"], learners=memory).fit(frame)
    assert fit.diagnostics["nuisances"].loc["mu1", "skill"] < 0


def test_supplied_folds_are_the_folds_used() -> None:
    frame = confounded()
    ids = np.arange(len(frame)) % 4
    fit = ATE(outcome="y", treatment="a", adjust=["x1"], learners=SIMPLE, folds=ids).fit(frame)
    assert fit.nuisances["fold"].tolist() == ids.tolist()
    phi = aipw_by_loop(frame, ["x1"], ids, SIMPLE)
    assert fit.params["ATE"] == pytest.approx((phi["one"] - phi["zero"]).mean(), abs=1e-12)


def test_repeats_are_independent_splits_pooled_by_their_median() -> None:
    frame, adjust = confounded(), ["x1", "x2", "x3"]
    fit = ATE(outcome="y", treatment="a", adjust=adjust, learners=SIMPLE, repeats=3).fit(frame)
    effects, errors = [], []
    for number in (1, 2, 3):
        phi = aipw_by_loop(frame, adjust, fit.nuisances[f"fold_{number}"].to_numpy(), SIMPLE)
        difference = phi["one"] - phi["zero"]
        effects.append(difference.mean())
        errors.append(difference.std(ddof=0) / np.sqrt(len(frame)))
    assert len(set(effects)) == 3
    assert fit.splits.query("term == 'ATE'")["estimate"].tolist() == pytest.approx(effects, abs=1e-12)
    pooled = np.sqrt(np.median(np.square(errors) + np.square(effects - np.median(effects))))
    assert fit.params["ATE"] == pytest.approx(np.median(effects), abs=1e-12)
    assert fit.std_errors["ATE"] == pytest.approx(pooled, rel=1e-10)


def test_one_repeat_of_several_equals_the_only_one() -> None:
    frame = confounded()
    options: dict[str, Any] = {"outcome": "y", "treatment": "a", "adjust": ["x1", "x2"], "learners": SIMPLE}
    one, three = ATE(**options).fit(frame), ATE(**options, repeats=3).fit(frame)
    first = three.splits.query("term == 'ATE' and repeat == 0")["estimate"].item()
    assert first == one.params["ATE"]


# --- the nested chain of the invalid-instrument estimator, written out ----------------------------------------------


class Chain:
    """The debiased estimator with an invalid instrument, by loops over outer and inner folds.

    Independent of the engine but for `split`, which has to be called the same way for the inner folds to be the same.
    """

    def __init__(
        self, frame: pd.DataFrame, adjust: list[str], folds: npt.NDArray[Any], inner: int, learners: Mapping[str, Any],
        *, binary: bool, floor: float = 0.1, clip: float = 0.01, seed: int = 0,
    ) -> None:  # fmt: skip
        self.frame, self.adjust, self.folds, self.inner, self.learners = frame, adjust, folds, inner, learners
        self.binary, self.floor, self.clip, self.seed = binary, floor, clip, seed
        self.phi = np.full((len(frame), 8 if binary else 7), np.nan)
        for number, fold in enumerate(np.unique(folds)):
            held = np.flatnonzero(folds == fold)
            self.phi[held] = self.of_fold(number, held)

    def of_fold(self, number: int, held: npt.NDArray[Any]) -> Array:
        order = np.argsort(self.folds, kind="stable")
        train = self.frame.iloc[order[~np.isin(order, held)]]
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(0, number)))
        z, a = train["z"].to_numpy(), train["a"].to_numpy()
        groups = z * (a.max() + 1) + a if self.binary else z
        dealt = split(len(train), self.inner, rng, groups).ids
        train = train.iloc[np.argsort(dealt, kind="stable")]
        return self.evaluate(train, np.sort(dealt), self.frame.iloc[held])

    def regress(
        self, name: str, rows: pd.DataFrame, target: Any, weight: Any = None
    ) -> Callable[[pd.DataFrame], Array]:
        model = clone(self.learners[name])
        arguments = {"sample_weight": np.asarray(weight)} if weight is not None else {}
        model.fit(rows[self.columns(name)], np.asarray(target), **arguments)
        if hasattr(model, "predict_proba"):
            return lambda new: model.predict_proba(new[self.columns(name)])[:, 1]
        return lambda new: model.predict(new[self.columns(name)])

    def columns(self, name: str) -> list[str]:
        return ["z", *self.adjust] if name == "variance" else self.adjust

    def first_stages(self, rows: pd.DataFrame) -> dict[str, Callable[[pd.DataFrame], Array]]:
        chance = self.regress("instrument", rows, rows["z"])
        found = {"pi": lambda new: np.clip(chance(new), self.clip, 1 - self.clip)}
        for arm in (0, 1):
            inside = rows[rows["z"] == arm]
            found[f"mu{arm}"] = self.regress("treatment", inside, inside["a"])
            found[f"m{arm}"] = self.regress("outcome", inside, inside["y"])
        return found

    def evaluate(self, train: pd.DataFrame, inner: npt.NDArray[Any], held: pd.DataFrame) -> Array:
        out = self.out_of_fold(train, inner, self.first_stages)
        rows = {**self.residuals(train, out), **out}
        new = {name: predict(held) for name, predict in self.first_stages(train).items()}
        new |= self.residuals(held, new)

        def second(name: str, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
            """Predictions on training rows (inner out-of-fold) and on the held-out rows."""

            def fit(mask: npt.NDArray[np.bool_]) -> Callable[[pd.DataFrame], Array]:
                return self.regress(name, train[mask], target[mask], None if weight is None else weight[mask])

            own = np.full(len(train), np.nan)
            for j in range(self.inner):
                own[inner == j] = fit(inner != j)(train[inner == j])
            return own, fit(np.ones(len(train), dtype=bool))(held)

        def average(target: Array) -> tuple[Array, float]:
            return np.array([target[inner != j].mean() for j in range(self.inner)])[inner], float(target.mean())

        self.variances(train, inner, held, rows, new)
        z, ra, ry = rows["z~"], rows["ra"], rows["ry"]
        rows["shift"], new["shift"] = average(rows["V1"] - rows["V0"])
        top, bottom = average(z * ra * ry)[0], average(z * ra * ra)[0]
        kappa = rows["pi"] * (1 - rows["pi"]) * self.floored(rows)
        beta, new_beta = top / bottom, np.empty(0)
        for _ in range(2):
            rho = second("confounding", ra * (ry - beta * ra))[0]
            target = beta + z * (ra * (ry - beta * ra) - rho) / kappa
            beta, new_beta = second("effect", target, kappa**2)
        new["beta"], new["rho"] = new_beta, second("confounding", ra * (ry - beta * ra))[1]
        new["c_y"], new["c_a"] = second("confounding", ra * ry)[1], second("confounding", ra * ra)[1]
        return self.influence(held, new)

    def out_of_fold(self, train: pd.DataFrame, inner: npt.NDArray[Any], fit: Any) -> dict[str, Array]:
        out: dict[str, Array] = {}
        for j in range(self.inner):
            for name, predict in fit(train[inner != j]).items():
                out.setdefault(name, np.full(len(train), np.nan))[inner == j] = predict(train[inner == j])
        return out

    def residuals(self, rows: pd.DataFrame, at: Mapping[str, Array]) -> dict[str, Array]:
        z, a, y = (rows[name].to_numpy(dtype=float) for name in ("z", "a", "y"))
        ra = a - np.where(z == 1, at["mu1"], at["mu0"])
        return {"z": z, "z~": z - at["pi"], "ra": ra, "ry": y - np.where(z == 1, at["m1"], at["m0"])}

    def variances(self, train: pd.DataFrame, inner: npt.NDArray[Any], held: pd.DataFrame, rows: Any, new: Any) -> None:
        if self.binary:
            for at in (rows, new):
                at["V0"], at["V1"] = at["mu0"] * (1 - at["mu0"]), at["mu1"] * (1 - at["mu1"])
            return
        square = pd.Series(rows["ra"] ** 2, index=train.index)

        def at_both(part: pd.DataFrame) -> dict[str, Callable[[pd.DataFrame], Array]]:
            predict = self.regress("variance", part, square[part.index])
            return {"V0": lambda new: predict(new.assign(z=0)), "V1": lambda new: predict(new.assign(z=1))}

        rows |= self.out_of_fold(train, inner, at_both)
        new |= {name: predict(held) for name, predict in at_both(train).items()}

    def floored(self, at: Mapping[str, Any]) -> Array:
        sign = np.sign(at["shift"])
        return sign * np.maximum(sign * (at["V1"] - at["V0"]), self.floor * np.abs(at["shift"]))

    def influence(self, held: pd.DataFrame, at: Mapping[str, Array]) -> Array:
        z, pi, ra, ry, beta, rho = (at[name] for name in ("z", "pi", "ra", "ry", "beta", "rho"))
        v0, v1, d = at["V0"], at["V1"], self.floored(at)
        f = np.where(z == 1, pi, 1 - pi)
        sign = 2 * z - 1
        b = ra * (ry - beta * ra) - rho
        move = at["mu1"] - at["mu0"]
        effect = beta + sign / (f * d) * b
        direct = at["m1"] - at["m0"] - beta * move + sign / f * (ry - beta * ra) - move * sign / (f * d) * b
        confounding = rho + b * np.where(z == 1, -v0 / pi, v1 / (1 - pi)) / d
        moments = [at["z~"] * (ra * ry - at["c_y"]), at["z~"] * (ra * ra - at["c_a"])]
        s = ra**2 - np.where(z == 1, v1, v0)
        slopes = [v1 / d + np.where(z == 1, -v0 / pi, v1 / (1 - pi)) * s / d**2, 1 / d - sign / f * s / d**2]
        if self.binary:
            q = 1 - at["mu0"] - at["mu1"]
            q = np.where(q < 0, -1, 1) * np.maximum(np.abs(q), np.abs(d))
            slopes.append(-1 / q - ra / f / q**2)
        return np.column_stack([effect, direct, confounding, *moments, *slopes])


SECOND = {
    "effect": Ridge(5.0),
    "confounding": Ridge(1.0),
    "variance": LinearRegression(),
    "outcome": LinearRegression(),
}
CHAINS: dict[bool, dict[str, Any]] = {
    True: {**SECOND, "instrument": LOGIT, "treatment": LOGIT},
    False: {**SECOND, "instrument": LOGIT, "treatment": LinearRegression()},
}


def invalid_iv(binary: bool, n: int = 600) -> tuple[pd.DataFrame, list[str]]:
    draw = datasets.simulate_invalid_iv_binary if binary else datasets.simulate_invalid_iv_continuous
    frame = draw(n, random_state=3).data
    return frame, [name for name in frame if name.startswith("x")]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "continuous"])
@pytest.mark.parametrize(
    ("k", "inner"),
    [
        (2, 3),
        (3, 2),
        (4, 4),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in [(5, 3), (6, 2), (7, 5), (8, 3), (9, 2), (10, 3)]),
    ],
)
@pytest.mark.filterwarnings("ignore::causalif._errors.CausalifWarning")
def test_nested_chain_equals_loops_written_out(binary: bool, k: int, inner: int) -> None:
    frame, adjust = invalid_iv(binary)
    folds = np.random.default_rng(k).permutation(np.arange(len(frame)) % k)
    fit = InvalidIVATE(
        outcome="y", treatment="a", instrument="z", adjust=adjust, learners=CHAINS[binary], folds=folds,
        inner_folds=inner, random_state=11, weak_identification="warn",
    ).fit(frame)  # fmt: skip
    phi = Chain(frame, adjust, folds, inner, CHAINS[binary], binary=binary, seed=11).phi
    expected = phi.mean(axis=0)
    np.testing.assert_allclose(fit.params["ATE"], expected[0], rtol=1e-8)
    np.testing.assert_allclose(fit.parts.values, expected, rtol=1e-7)
    scale = phi.std(axis=0)
    np.testing.assert_allclose(fit.parts.influence_values / scale, (phi - expected) / scale, atol=1e-7)


@pytest.mark.filterwarnings("ignore::causalif._errors.CausalifWarning")
def test_the_hand_written_chain_notices_another_inner_split() -> None:
    """Guards the oracle itself: with another seed, and so other inner folds, the numbers differ."""
    frame, adjust = invalid_iv(True)
    folds = np.arange(len(frame)) % 3
    one, other = (Chain(frame, adjust, folds, 3, CHAINS[True], binary=True, seed=seed).phi for seed in (1, 2))
    assert abs(one[:, 0].mean() - other[:, 0].mean()) > 1e-6


# --- equal nuisances are fitted once --------------------------------------------------------------------------------

FITS: Counter[str] = Counter()


class Counting(RegressorMixin, BaseEstimator):
    """Least squares that counts its fits under a name."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Counting:
        FITS[self.name] += 1
        self.model_ = LinearRegression().fit(X, y, sample_weight=sample_weight)
        return self

    def predict(self, X: Any) -> Any:
        return self.model_.predict(X)


class CountingClassifier(ClassifierMixin, BaseEstimator):
    """Logistic regression that counts its fits under a name."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CountingClassifier:
        FITS[self.name] += 1
        self.model_ = LogisticRegression().fit(X, y, sample_weight=sample_weight)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X: Any) -> Any:
        return self.model_.predict_proba(X)


@pytest.fixture
def fits() -> Counter[str]:
    FITS.clear()
    return FITS


def test_average_effect_fits_three_regressions_per_fold(fits: Counter[str]) -> None:
    learners = {"outcome": Counting("outcome"), "treatment": CountingClassifier("treatment")}
    ATE(outcome="y", treatment="a", adjust=["x1"], learners=learners, folds=4, repeats=2).fit(confounded())
    assert fits == {"outcome": 2 * 4 * 2, "treatment": 4 * 2}


@pytest.mark.filterwarnings("ignore::causalif._errors.CausalifWarning")
def test_invalid_instrument_fits_shared_first_stages_once(fits: Counter[str]) -> None:
    frame, adjust = invalid_iv(True, 1_000)
    names = ("instrument", "treatment", "outcome", "effect", "confounding")
    learners = {name: (CountingClassifier if i < 2 else Counting)(name) for i, name in enumerate(names)}
    InvalidIVATE(
        outcome="y", treatment="a", instrument="z", adjust=adjust, learners=learners, folds=2, inner_folds=3,
        weak_identification="warn",
    ).fit(frame)  # fmt: skip
    both = 1 + 3  # all training rows, and the three complements of the inner folds
    assert fits["instrument"] == 2 * both
    assert fits["treatment"] == fits["outcome"] == 2 * 2 * both
    assert fits["effect"] == 2 * 2 * both
    # rho_1 and rho_2 feed the next pass; rho and the two regressions of products do not.
    assert fits["confounding"] == 2 * (2 * both + 3)


def test_two_estimands_that_share_nuisances_cost_no_more_than_one(fits: Counter[str]) -> None:
    frame = confounded()
    table = read_table(frame, numbers={"outcome": "y"}, coded={"treatment": "a"}, adjust=["x1", "x2"])
    learners = {"outcome": Counting("outcome"), "treatment": CountingClassifier("treatment")}
    plan = Plan(learners=learners, folds=3)
    mean = CounterfactualMean("y", "a", ("x1", "x2"), 1.0)
    same = CounterfactualMean("y", "a", ("x1", "x2"), 1.0, label="again")
    both = cross_fit([mean, same], table, plan)
    assert fits == {"outcome": 3, "treatment": 3}
    alone = cross_fit([mean], table, plan)
    assert np.array_equal(both.phi[:, 0], both.phi[:, 1])
    assert np.array_equal(both.phi[:, :1], alone.phi)


# --- failures -------------------------------------------------------------------------------------------------------


class Failing(RegressorMixin, BaseEstimator):
    """Fails on its fit number ``at``, counted over all clones."""

    def __init__(self, at: int = 1) -> None:
        self.at = at

    def fit(self, X: Any, y: Any) -> Failing:
        FITS["failing"] += 1
        if FITS["failing"] == self.at:
            raise RuntimeError("the solver gave up")
        self.model_ = LinearRegression().fit(X, y)
        return self

    def predict(self, X: Any) -> Any:
        return self.model_.predict(X)


@pytest.mark.parametrize(("at", "nuisance", "fold"), [(1, "mu1", 1), (2, "mu0", 1), (5, "mu1", 3)])
def test_a_failing_learner_is_named_with_nuisance_and_fold(
    fits: Counter[str], at: int, nuisance: str, fold: int
) -> None:
    estimator = ATE(outcome="y", treatment="a", adjust=["x1"], learners={"outcome": Failing(at), "treatment": "linear"})
    message = rf"nuisance '{nuisance}' \(learner key 'outcome'\).* fold {fold} by Failing.*: the solver gave up"
    with pytest.raises(LearnerError, match=message) as caught:
        estimator.fit(confounded())
    assert isinstance(caught.value.__cause__, RuntimeError)


class Wild(RegressorMixin, BaseEstimator):
    """Predicts what it is told to."""

    def __init__(self, answer: Any = np.nan) -> None:
        self.answer = answer

    def fit(self, X: Any, y: Any) -> Wild:
        return self

    def predict(self, X: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return np.full(len(X), self.answer) if np.ndim(self.answer) == 0 else np.asarray(self.answer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [(np.nan, "not finite"), (np.inf, "not finite"), ([1.0, 2.0], "2 values for"), (OSError("disk"), "disk")],
    ids=["nan", "inf", "short", "raises"],
)
def test_a_learner_that_fails_to_predict_is_named_with_nuisance_and_fold(answer: Any, said: str) -> None:
    estimator = ATE(
        outcome="y", treatment="a", adjust=["x1"], learners={"outcome": Wild(answer), "treatment": "linear"}
    )
    with pytest.raises(LearnerError, match=said) as caught:
        estimator.fit(confounded())
    assert all(part in str(caught.value) for part in ("'mu1'", "fold 1", "Wild"))


def test_the_linear_path_names_the_nuisance_that_has_one_class_left() -> None:
    frame = confounded()
    frame["x1"] = (frame["a"] == 1) + np.random.default_rng(0).uniform(-0.1, 0.1, len(frame))
    with pytest.raises(PositivityError, match=r"nuisance 'pi1' \(learner key 'treatment'\).*separate"):
        ATE(outcome="y", treatment="a", adjust=["x1"], learners="linear").fit(frame)


def test_a_nuisance_that_needs_a_later_one_is_refused() -> None:
    class Later:
        needs = ("second",)

        def __call__(self, rows: Table, eta: Any) -> Array:
            return eta["second"](rows)

    class Circular(CounterfactualMean):
        def nuisances(self) -> Mapping[str, NuisanceSpec]:
            return {"first": Mean(Later(), ("x1",)), "second": Mean("y", ("x1",))}

    with pytest.raises(InputError, match=r"nuisance 'first' needs \['second'\], which must come before it"):
        Problem.of([Circular("y", "a", ("x1",), 1.0)], Plan())


# --- seeds, user's objects, progress ---------------------------------------------------------------------------------


def forests() -> dict[str, Any]:
    return {
        "outcome": RandomForestRegressor(10, min_samples_leaf=5),
        "treatment": RandomForestClassifier(10, min_samples_leaf=20),
    }


def forest_fit(random_state: int, learners: dict[str, Any] | None = None) -> Any:
    options: dict[str, Any] = {"outcome": "y", "treatment": "a", "adjust": ["x1", "x2"], "folds": 3}
    return ATE(**options, learners=learners or forests(), random_state=random_state).fit(confounded())


@pytest.mark.filterwarnings("ignore::causalif._errors.PositivityWarning")
def test_unset_seeds_of_forests_follow_the_random_state() -> None:
    first, again, other = forest_fit(1), forest_fit(1), forest_fit(2)
    assert np.array_equal(first.influence_values, again.influence_values)
    assert not np.array_equal(first.influence_values, other.influence_values)


@pytest.mark.filterwarnings("ignore::causalif._errors.PositivityWarning")
def test_folds_and_nuisances_get_different_seeds() -> None:
    """The same seed everywhere would correlate the fits of a forest across folds and repeats."""
    seeds: list[int] = []

    class Recording(LinearRegression):
        def __init__(self, random_state: int | None = None) -> None:
            super().__init__()
            self.random_state = random_state

        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            seeds.append(self.random_state)
            return super().fit(X, y)

    learners = {"outcome": Recording(), "treatment": "linear"}
    ATE(outcome="y", treatment="a", adjust=["x1"], learners=learners, folds=3, repeats=2).fit(confounded())
    assert None not in seeds
    assert len(seeds) == len(set(seeds)) == 2 * 3 * 2


@pytest.mark.filterwarnings("ignore::causalif._errors.PositivityWarning")
def test_a_seed_that_the_user_set_is_kept_and_the_objects_are_not_touched() -> None:
    learners = forests()
    learners["outcome"].set_params(random_state=7)
    before = {name: (repr(learner.get_params()), set(vars(learner))) for name, learner in learners.items()}
    fit = forest_fit(1, learners)
    assert {name: (repr(learner.get_params()), set(vars(learner))) for name, learner in learners.items()} == before
    order = fit.nuisances["fold"].sort_values(kind="stable").index
    frame, ids = confounded().loc[order], fit.nuisances["fold"].loc[order]
    arm = frame[(ids != 0) & (frame["a"] == 1)]
    model = clone(learners["outcome"]).fit(arm[["x1", "x2"]], arm["y"])
    np.testing.assert_array_equal(
        fit.nuisances["mu1"].loc[order][ids == 0], model.predict(frame[["x1", "x2"]][ids == 0])
    )


def test_progress_bar_is_silent_outside_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(crossfit, "SECONDS_WORTH_A_POOL", 0.0)
    ATE(outcome="y", treatment="a", adjust=["x1"], learners=SIMPLE, n_jobs=1).fit(confounded())
    assert capfd.readouterr() == ("", "")


def test_derived_terms_are_taken_within_every_repeat() -> None:
    """The median of ratios is not the ratio of medians."""
    frame = confounded()
    table = read_table(frame, numbers={"outcome": "y"}, coded={"treatment": "a"}, adjust=["x1", "x2"])
    arms = [CounterfactualMean("y", "a", ("x1", "x2"), level, label=f"{level:g}") for level in (1.0, 0.0)]
    plan = Plan(learners="linear", folds=5, repeats=5)
    ratio = Derived(("ratio",), lambda v: v[:1] / v[1:], lambda v: np.array([[1 / v[1], -v[0] / v[1] ** 2]]))
    plain, derived = cross_fit(arms, table, plan), cross_fit(arms, table, plan, ratio)
    by_repeat = plain.splits.pivot_table(index="repeat", columns="term", values="estimate")
    assert derived.values[0] == pytest.approx((by_repeat["1"] / by_repeat["0"]).median(), rel=1e-12)


def test_report_says_what_each_nuisance_cost_and_explained() -> None:
    frame = confounded(2_000)
    fit = ATE(outcome="y", treatment="a", adjust=["x1", "x2", "x3"], learners=SIMPLE).fit(frame)
    report, used = fit.diagnostics["nuisances"], fit.nuisances
    assert list(report.index) == ["pi1", "mu1", "mu0"]
    assert report["learner"].tolist() == ["LogisticRegression", "LinearRegression", "LinearRegression"]
    assert (report["seconds"] > 0).all()
    arm = frame[frame["a"] == 1]
    residual = arm["y"] - used.loc[arm.index, "mu1"]
    assert report.loc["mu1", "skill"] == pytest.approx(
        1 - (residual**2).sum() / ((arm["y"] - arm["y"].mean()) ** 2).sum()
    )


# --- targets and weights made of columns alone ----------------------------------------------------------------------


@dataclass(frozen=True)
class Power:
    """A column to a power, read from the data alone."""

    column: str
    exponent: int
    needs: tuple[str, ...] = ()

    def __call__(self, rows: Table, eta: Any) -> Array:
        return np.abs(rows[self.column]) ** self.exponent


@dataclass(frozen=True)
class Fitted:
    """The mean of one weighted regression, which shows its predictions."""

    spec: Mean
    labels: tuple[str, ...] = ("fitted",)

    robustness: tuple[frozenset[str], ...] = (frozenset({"m"}),)

    def nuisances(self) -> dict[str, NuisanceSpec]:
        return {"m": self.spec}

    def eif(self, rows: Table, eta: Any) -> Array:
        return np.asarray(eta["m"](rows))


@pytest.mark.parametrize("learner", ["linear", LinearRegression()], ids=["together", "one by one"])
@pytest.mark.parametrize("target", ["y", Power("y", 2)], ids=["column", "function"])
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_weights_made_of_columns_are_used_by_every_learner(learner: Any, target: Any, weighted: bool) -> None:
    frame = confounded().assign(w=np.linspace(0.5, 2.0, 400))
    roles = {"weights": "w"} if weighted else {}
    table = read_table(frame, numbers={"outcome": "y"}, adjust=["x1", "x2"], **roles)  # type: ignore[arg-type]
    ids = np.arange(400) % 4
    given = ("x1", "x2")
    spec = Mean(target, given, weight=Power("x1", 2))
    found = cross_fit([Fitted(spec)], table, Plan(learners={"outcome": learner}, folds=Folds(ids)))
    y = frame["y"].to_numpy() if target == "y" else frame["y"].to_numpy() ** 2
    weight = frame["x1"].to_numpy() ** 2 * (frame["w"].to_numpy() if weighted else 1.0)
    X, expected = frame[list(given)].to_numpy(), np.empty(400)
    for fold in range(4):
        out = ids != fold
        model = LinearRegression().fit(X[out], y[out], sample_weight=weight[out])
        expected[~out] = model.predict(X[~out])
    np.testing.assert_allclose(found.phi[:, 0], expected, rtol=1e-9)
