"""The parametric estimator against an independently written stack, the 401(k) table, simulation and invariances."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit

from causalif._errors import (
    CausalifWarning,
    DesignWarning,
    IdentificationWarning,
    InputError,
    NotIdentifiedError,
    PositivityError,
    PositivityWarning,
    WeakIdentificationError,
    WeakIdentificationWarning,
)
from causalif.datasets import load_401k
from causalif.engine.parametric.mestimation import m_influence
from causalif.estimators.invalid_iv.parametric import default_formulas, fit_parametric

RIGHT = {
    "instrument": "~ x1 + x2",
    "treatment": "~ z + x1 + z:x2",
    "effect": "~ x1",
    "confounding": "~ x1",
    "outcome": "~ z + x1 + x2 + z:x2",
}
WRONG = {
    "instrument": "~ I(x2**2)",
    "treatment": "~ z + I(x2**2)",
    "effect": "~ 1",
    "confounding": "~ I(x2**2)",
    "outcome": "~ I(x2**2)",
}
X = ("x1", "x2")


def binary_table(n=4000, seed=0):
    """Design B: average effect 1, E[rho] = .12, average direct effect of z = 2."""
    rng = np.random.default_rng(seed)
    x1, x2 = rng.uniform(-1, 1, (2, n))
    u = rng.choice([-1.0, 1.0], n)
    z = (rng.random(n) < expit(0.2 + 0.8 * x1 - 0.5 * x2)).astype(float)
    a = (rng.random(n) < expit(-2 + 1.6 * z + 0.6 * x1 + 0.3 * x2 * z) + 0.06 * u).astype(float)
    y = (1 + x1) * a + 1 + 2 * z + x1 + 0.5 * x2 + z * x2 + (2 + x1) * u + rng.normal(0, 0.5, n)
    return pd.DataFrame({"x1": x1, "x2": x2, "z": z, "a": a, "y": y})


def continuous_table(n=2000, seed=0, slope=0.4):
    """Log variance .2 + z + slope x1; average effect 1, E[rho] = 1.2, average direct effect of z = 2."""
    rng = np.random.default_rng(seed)
    x1, x2 = rng.uniform(-1, 1, (2, n))
    z = (rng.random(n) < expit(0.2 + 0.8 * x1 - 0.5 * x2)).astype(float)
    u = rng.normal(size=n)
    spread = np.sqrt(np.exp(0.2 + z + slope * x1) - 0.36)
    a = 0.5 * z + x1 - 0.5 * x2 + 0.6 * u + spread * rng.normal(size=n)
    y = (1 + x1) * a + 1 + 2 * z + x1 + 0.5 * x2 + z * x2 + (2 + x1) * u + rng.normal(0, 0.5, n)
    return pd.DataFrame({"x1": x1, "x2": x2, "z": z, "a": a, "y": y})


def one_sided_table(n=1500, seed=0):
    """Nobody with z = 0 is treated; given x, treatment is as good as random. Average effect 1."""
    rng = np.random.default_rng(seed)
    x1, x2 = rng.uniform(-1, 1, (2, n))
    z = (rng.random(n) < expit(0.3 * x1)).astype(float)
    a = z * (rng.random(n) < expit(0.2 + 0.8 * x2))
    y = (1 + x2) * a + 2 * z + x1 + x2 + rng.normal(size=n)
    return pd.DataFrame({"x1": x1, "x2": x2, "z": z, "a": a, "y": y})


def floored_table(n=2000, seed=4):
    """D grows from below zero with x2."""
    rng = np.random.default_rng(1000 + seed)
    table = continuous_table(n, seed)
    table["a"] = table["x1"] + rng.normal(size=n) * np.exp(0.5 * table["z"] * (0.9 + table["x2"]))
    return table


def fit(table, formulas=None, *, binary=True, adjust=X, quiet=False, **options):
    with warnings.catch_warnings():
        if quiet:
            warnings.simplefilter("ignore", CausalifWarning)
        return fit_parametric(table, "y", "a", "z", adjust, formulas, binary=binary, **options)


def targets(result):
    found = {"theta": (result.theta, result.influence), "reg": (result.theta_reg, result.influence_reg)}
    more = {"shift": result.shift, "delta_g": result.delta_g, "rho": result.rho}
    return found | {name: (t.value, t.influence) for name, t in more.items() if t is not None}


# ------------------------------------------------------------- the stack, written again from the estimating equations


def design_matrix(table, terms):
    columns = {
        "1": np.ones(len(table)),
        "z": table["z"],
        "x1": table["x1"],
        "x2": table["x2"],
        "z:x2": table["z"] * table["x2"],
    }
    return np.column_stack([columns[term] for term in terms])


def hand_written_stack(table, terms, binary, clip, w):
    """Estimating functions of 3b in raw units, without any of the library's bases; also the four targets and mean D."""
    both = {name: design_matrix(table, t) for name, t in terms.items()}
    one = {name: design_matrix(table.assign(z=1.0), t) for name, t in terms.items()}
    zero = {name: design_matrix(table.assign(z=0.0), t) for name, t in terms.items()}
    z, a, y = (table[name].to_numpy() for name in ("z", "a", "y"))
    ends = np.cumsum([matrix.shape[1] for matrix in both.values()])
    starts = dict(zip(both, np.r_[0, ends[:-1]], strict=True))

    def psi(t):
        par = {name: t[start : start + both[name].shape[1]] for name, start in starts.items()}
        theta, reg, direct, mean_rho, mean_d = t[ends[-1] :]
        pi = expit(both["instrument"] @ par["instrument"])
        link = expit if binary else (lambda index: index)
        mu, mu1, mu0 = (link(m["treatment"] @ par["treatment"]) for m in (both, one, zero))
        if binary:
            v1, v0 = mu1 * (1 - mu1), mu0 * (1 - mu0)
        else:
            v, v1, v0 = (np.exp(m["variance"] @ par["variance"]) for m in (both, one, zero))
        beta, rho = both["effect"] @ par["effect"], both["confounding"] @ par["confounding"]
        g, g1, g0 = (m["outcome"] @ par["outcome"] for m in (both, one, zero))
        p = np.clip(pi, clip, 1 - clip)
        f = np.where(z == 1, p, 1 - p)
        s = np.sign(mean_d)
        d = s * np.maximum(s * (v1 - v0), 0.1 * s * mean_d)
        r = (a - mu) * (y - beta * a - g) - rho
        q = (2 * z - 1) / (f * d) * r
        parts = [both["instrument"] * (z - pi)[:, None], both["treatment"] * (a - mu)[:, None]]
        if not binary:
            parts.append(both["variance"] * ((a - mu) ** 2 / v - 1)[:, None])
        parts += [both["effect"] * ((z - pi) * r)[:, None], both["confounding"] * r[:, None]]
        parts.append(both["outcome"] * (y - beta * a - g)[:, None])
        parts.append((beta + q - theta)[:, None])
        parts.append((beta - reg)[:, None])
        parts.append((g1 - g0 - direct + (2 * z - 1) / f * (y - g - beta * a) - (mu1 - mu0) * q)[:, None])
        parts.append((rho - mean_rho + r * (-z * v0 / (p * d) + (1 - z) * v1 / ((1 - p) * d)))[:, None])
        parts.append((v1 - v0 - mean_d)[:, None])
        return np.hstack(parts)

    return psi


CASES = {
    "binary": (binary_table, True, 0.01, ("1", "z", "x1", "z:x2")),
    "binary, clipped": (binary_table, True, 0.3, ("1", "z", "x1", "z:x2")),
    "continuous": (continuous_table, False, 0.01, ("1", "z", "x1")),
    "continuous, clipped and floored": (floored_table, False, 0.3, ("1", "z", "z:x2")),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_estimates_and_influence_agree_with_the_stack_written_by_hand(case, weighted):
    make, binary, clip, last = CASES[case]
    table = make()
    n = len(table)
    w = np.random.default_rng(1).uniform(0.2, 2, n) if weighted else None
    terms = {"instrument": ("1", "x1", "x2"), "treatment": last if binary else ("1", "z", "x1", "x2")}
    if not binary:
        terms["variance"] = last
    terms |= {"effect": ("1", "x1"), "confounding": ("1", "x1"), "outcome": ("1", "z", "x1", "x2", "z:x2")}
    formulas = {name: "~ " + " + ".join(t if "1" in t else ("0", *t)) for name, t in terms.items()}
    result = fit(table, formulas, binary=binary, clip=clip, weights=w, quiet=True)
    assert ("clipped" in case) == (result.clipped > 0)
    assert ("floored" in case) == (result.floored > 0)
    found = targets(result)
    root = np.r_[result.coefficients["estimate"], [value for value, _ in (found[k] for k in ORDER)]]
    psi = hand_written_stack(table, terms, binary, clip, w)
    oracle = m_influence(psi, root, weights=w)
    k = len(result.coefficients)
    for j, name in enumerate(ORDER):
        scale = oracle[:, k + j].std()
        np.testing.assert_allclose(found[name][1], oracle[:, k + j], rtol=1e-4, atol=1e-5 * scale, err_msg=name)
    errors = np.sqrt((oracle[:, :k] ** 2).sum(axis=0)) / n
    np.testing.assert_allclose(result.coefficients["std_error"], errors, rtol=1e-5)


ORDER = ("theta", "reg", "delta_g", "rho", "shift")


@pytest.mark.parametrize("kind", ["binary", "continuous", "floored", "one-sided", "one-sided continuous"])
def test_influence_is_the_derivative_in_the_weights(kind):
    table = {
        "binary": lambda: binary_table(1500),
        "continuous": lambda: continuous_table(400),
        "floored": lambda: floored_table(1500),
        "one-sided": lambda: one_sided_table(300),
        "one-sided continuous": lambda: continuous_table(400).assign(a=lambda t: t["a"] * (1 - t["z"])),
    }[kind]()
    formulas = {"variance": "~ z + z:x2"} if kind == "floored" else None
    options = {"binary": kind in ("binary", "one-sided"), "quiet": True}
    n = len(table)
    w = np.random.default_rng(2).uniform(0.5, 2, n)
    base = fit(table, formulas, weights=w, **options)
    if kind == "floored":
        assert base.floored > 0
    step = 1e-4
    for i in (0, 3, 11, n - 1):
        up, down = w.copy(), w.copy()
        up[i] += step
        down[i] -= step
        plus, minus = (targets(fit(table, formulas, weights=v, **options)) for v in (up, down))
        for name, (_, influence) in targets(base).items():
            derivative = (plus[name][0] - minus[name][0]) / (2 * step)
            tolerance = 1e-5 * influence.std()
            assert influence[i] == pytest.approx(n * w[i] * derivative, rel=1e-4, abs=tolerance), (name, i)


@pytest.mark.parametrize("kind", ["binary", "one-sided"])
def test_projection_of_the_effect_is_the_derivative_in_the_weights(kind):
    table = binary_table(1500) if kind == "binary" else one_sided_table(300)
    n, v = len(table), np.column_stack([np.ones(len(table)), table["x2"]])
    w = np.random.default_rng(2).uniform(0.5, 2, n)

    def projected(weights):
        found = fit(table, leg_formulas("M2", True) if kind == "binary" else None, weights=weights, quiet=True)
        return found, (weights[:, None] * v * found.phi[:, None]).sum(axis=0) / weights.sum()

    base, means = projected(w)
    influence = (w / w.mean())[:, None] * (v * base.phi[:, None] - means) + base.first_step(v)
    np.testing.assert_allclose(influence[:, 0], base.influence, rtol=1e-9, atol=1e-9)
    for i in (0, 3, n - 1):
        ends = []
        for step in (1e-4, -1e-4):
            moved = w.copy()
            moved[i] += step
            ends.append(projected(moved)[1])
        derivative = n * w[i] * (ends[0] - ends[1]) / 2e-4
        np.testing.assert_allclose(influence[i], derivative, rtol=1e-4, atol=1e-5 * influence.std())


@pytest.mark.parametrize("binary", [True, False])
def test_influence_has_mean_zero(binary):
    result = fit(binary_table() if binary else continuous_table(), binary=binary)
    for name, (_, influence) in targets(result).items():
        assert abs(influence.mean()) < 1e-9 * influence.std(), name
    assert result.phi.mean() == pytest.approx(result.theta, rel=1e-12)


# ------------------------------------------------------------------------------------------ published figures


def test_401k_collapses_to_the_eligible():
    basis = "~ log(inc) + inc + I(inc**2) + age + I(age**2) + marr + fsize + male"
    table = load_401k()
    with pytest.warns(IdentificationWarning, match="never varies among rows with instrument = 0"):
        result = fit_parametric(
            table, "nettfa", "p401k", "e401k", ["inc", "age", "marr", "fsize", "male"],
            {"instrument": basis, "treatment": basis, "outcome": basis}, binary=True,
        )  # fmt: skip
    # nettfa is in thousands of dollars
    assert round(1000 * result.theta) == 13_651
    assert round(1000 * result.naive_se) == 2_830
    assert round(1000 * result.theta_reg) == 14_476
    pi, d = result.nuisances["pi"], result.D
    assert [round(v, 3) for v in (pi.min(), pi.max(), d.min(), d.max())] == [0.063, 0.719, 0.065, 0.244]
    assert (result.one_sided, result.rho, result.delta_g, result.clipped, result.floored) == (0, None, None, 0, 0)
    assert result.nuisances["g0"].isna().all()
    assert (result.nuisances["mu0"] == 0).all()


def test_one_sided_equals_weighting_among_the_eligible_by_statsmodels():
    table = one_sided_table()
    result = fit(table, quiet=True)
    x = sm.add_constant(table[["x1", "x2"]]).to_numpy()
    z, a, y = (table[name].to_numpy() for name in ("z", "a", "y"))
    in_arm = z == 1
    pi = sm.Logit(z, x).fit(disp=0).predict(x)
    mu = sm.Logit(a[in_arm], x[in_arm]).fit(disp=0).predict(x)
    lines = [sm.OLS(y[in_arm & (a == level)], x[in_arm & (a == level)]).fit().predict(x) for level in (0, 1)]
    tau = lines[1] - lines[0]
    own = np.where(a == 1, lines[1], lines[0])
    phi = tau + z / pi * (a - mu) / (mu * (1 - mu)) * (y - own)
    np.testing.assert_allclose(result.phi, phi, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(result.nuisances["beta"], tau, atol=1e-8)
    assert result.theta_reg == pytest.approx(tau.mean())


def test_mirrored_one_sidedness():
    table = one_sided_table()
    base = fit(table, quiet=True)
    cases = [(table.assign(z=1 - table["z"]), 1, 1), (table.assign(a=1 - table["a"]), -1, 0)]
    cases.append((table.assign(z=1 - table["z"], a=1 - table["a"]), -1, 1))
    for mirrored, sign, silent in cases:
        result = fit(mirrored, quiet=True)
        assert result.theta == pytest.approx(sign * base.theta, rel=1e-8)
        assert result.std_error == pytest.approx(base.std_error, rel=1e-8)
        assert result.one_sided == silent
        assert np.sign(result.D).min() == np.sign(result.shift.value) == (1 if silent == 0 else -1)


def test_one_sided_recovers_the_truth():
    found = [fit(one_sided_table(1500, seed), quiet=True) for seed in range(40)]
    estimates, errors = np.array([(f.theta, f.std_error) for f in found]).T
    assert abs(estimates.mean() - 1) < 4 * errors.mean() / np.sqrt(40)
    assert estimates.std(ddof=1) == pytest.approx(errors.mean(), rel=0.4)


# ------------------------------------------------------------------------------------------------ union model

LEGS = {
    "M1": ("instrument", "treatment"),
    "M2": ("effect", "instrument", "outcome"),
    "M3": ("effect", "confounding", "treatment"),
    "M4": ("effect", "confounding", "outcome"),
    "M5": ("effect", "instrument", "treatment"),
}


def leg_formulas(leg, binary):
    right, wrong = dict(RIGHT), dict(WRONG)
    if not binary:
        right |= {"treatment": "~ z + x1 + x2", "variance": "~ z + x1"}
        wrong |= {"variance": "~ z + I(x2**2)"}
    names = LEGS.get(leg, ())
    if leg == "M1" and not binary:
        names = (*names, "variance")
    return {name: (right if name in names else wrong)[name] for name in right}


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "continuous"])
@pytest.mark.parametrize("leg", [*LEGS, "none"])
def test_any_leg_is_enough_and_none_is_not(leg, binary):
    draws, n = 20, 10_000 if binary else 4_000
    make = binary_table if binary else continuous_table
    formulas = leg_formulas(leg, binary)
    found = [fit(make(n, 100 + seed), formulas, binary=binary, quiet=True) for seed in range(draws)]
    off = np.mean([f.theta for f in found]) - 1
    # 4 standard errors of the mean: one false alarm in 16,000
    band = 4 * np.mean([f.std_error for f in found]) / np.sqrt(draws)
    assert (abs(off) < band) == (leg != "none"), (off, band)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "continuous"])
def test_direct_effect_and_confounding_are_found(binary):
    result = fit(binary_table(20_000) if binary else continuous_table(20_000), binary=binary)
    assert abs(result.delta_g.value - 2) < 4 * result.delta_g.std_error < 1
    assert abs(result.rho.value - (0.12 if binary else 1.2)) < 4 * result.rho.std_error < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("design", ["B", "L"])
def test_coverage_study(design):
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[2] / "coverage" / "study_invalid_iv.py"
    spec = importlib.util.spec_from_file_location("study_invalid_iv", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table = module.study(design, draws=200)
    legs = table[table.index.str.match(r"all|M\d|beta")]
    assert len(legs) == 6
    assert (legs["bias"].abs() < 0.03).all()
    assert legs["cover sandwich"].between(0.91, 0.985).all()
    assert (table.loc["none", "cover sandwich"] < 0.05).all()
    if design == "B":
        # figures of an independent implementation over 200 draws; the Monte Carlo error of an SD is 5%
        np.testing.assert_allclose(legs["SD"], [0.159, 0.165, 0.142, 0.153, 0.138, 0.159], rtol=0.2)
        np.testing.assert_allclose(legs["SE sandwich"], [0.167, 0.179, 0.145, 0.165, 0.143, 0.171], rtol=0.03)
        np.testing.assert_allclose(legs["SE naive"], [0.166, 0.193, 0.135, 0.181, 0.129, 0.184], rtol=0.03)
        np.testing.assert_allclose(table["bias"].iloc[-3:], [0.518, 0.468, 0.912], atol=0.06)


# ------------------------------------------------------------------------------------------------ invariances


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "continuous"])
def test_affine_changes_of_the_outcome(binary):
    table = binary_table() if binary else continuous_table()
    formulas = leg_formulas("M2", binary)
    base = fit(table, formulas, binary=binary, quiet=True)
    y, z, a = table["y"], table["z"], table["a"]
    moved = fit(table.assign(y=y + 5 * z + 3 * z * table["x2"] - table["x1"]), formulas, binary=binary, quiet=True)
    assert moved.theta == pytest.approx(base.theta, rel=1e-8)
    np.testing.assert_allclose(moved.influence, base.influence, rtol=1e-6, atol=1e-7)
    shifted = fit(table.assign(y=y + 2 * a), formulas, binary=binary, quiet=True)
    assert shifted.theta == pytest.approx(base.theta + 2, rel=1e-8)
    assert shifted.std_error == pytest.approx(base.std_error, rel=1e-8)
    turned = fit(table.assign(y=10 - 3 * y), formulas, binary=binary, quiet=True)
    assert turned.theta == pytest.approx(-3 * base.theta, rel=1e-8)
    np.testing.assert_allclose(turned.influence, -3 * base.influence, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("unit", [1e-200, 1e-9, 1e150])
@pytest.mark.parametrize("make", [binary_table, one_sided_table])
def test_units_of_the_outcome(make, unit):
    table = make(1500)
    base = fit(table, quiet=True)
    scaled = fit(table.assign(y=table["y"] * unit), quiet=True)
    assert scaled.theta == pytest.approx(base.theta * unit, rel=1e-9)
    assert scaled.std_error == pytest.approx(base.std_error * unit, rel=1e-9)
    assert scaled.naive_se == pytest.approx(base.naive_se * unit, rel=1e-9)
    np.testing.assert_allclose(scaled.nuisances["m1"], base.nuisances["m1"] * unit, rtol=1e-6, atol=1e-7 * unit)


@pytest.mark.parametrize("unit", [1e-100, 1e3])
@pytest.mark.parametrize("variance", ["~ z + x1", "~ z + z:x1"])
def test_units_of_a_continuous_treatment(unit, variance):
    table = continuous_table()
    base = fit(table, {"variance": variance}, binary=False)
    scaled = fit(table.assign(a=table["a"] * unit), {"variance": variance}, binary=False)
    assert scaled.theta == pytest.approx(base.theta / unit, rel=1e-8)
    assert scaled.std_error == pytest.approx(base.std_error / unit, rel=1e-8)
    np.testing.assert_allclose(scaled.nuisances["mu1"], base.nuisances["mu1"] * unit, rtol=1e-6, atol=1e-9 * unit)


def test_weights_count_rows():
    table = binary_table(1500)
    times = np.random.default_rng(0).integers(0, 4, len(table))
    weighted = fit(table, weights=times.astype(float))
    repeated = fit(table.loc[table.index.repeat(times)].reset_index(drop=True))
    assert weighted.theta == pytest.approx(repeated.theta, rel=1e-9)
    assert weighted.theta_reg == pytest.approx(repeated.theta_reg, rel=1e-9)
    first = np.r_[0, np.cumsum(times)[:-1]][times > 0]
    expected = repeated.influence[first] * times[times > 0] / times.mean()
    np.testing.assert_allclose(weighted.influence[times > 0], expected, rtol=1e-6, atol=1e-7)
    assert (weighted.influence[times == 0] == 0).all()


@pytest.mark.parametrize("make", [binary_table, one_sided_table])
def test_row_order_and_index(make):
    table = make(1500)
    table.index = [f"r{i}" for i in range(len(table))]
    before = table.copy()
    order = np.random.default_rng(0).permutation(len(table))
    base, mixed = fit(table, quiet=True), fit(table.iloc[order], quiet=True)
    assert mixed.theta == pytest.approx(base.theta, rel=1e-10)
    np.testing.assert_allclose(mixed.influence, base.influence[order], rtol=1e-7, atol=1e-8)
    assert mixed.nuisances.index.equals(table.index[order])
    pd.testing.assert_frame_equal(table, before)


def test_redundant_and_badly_scaled_terms_change_nothing():
    table = binary_table(1500)
    base = fit(table)
    wide = table.assign(far=1e6 + table["x1"], one=3.0)
    with pytest.warns(DesignWarning, match="constant or repeating"):
        result = fit(wide, adjust=("x1", "x2", "far", "one"))
    assert result.theta == pytest.approx(base.theta, rel=1e-5)
    assert result.std_error == pytest.approx(base.std_error, rel=1e-5)


def test_no_covariates_gives_the_ratio_of_covariance_shifts():
    table = continuous_table()
    result = fit(table, adjust=(), binary=False)
    by = table.groupby("z")
    c, v = by.apply(lambda t: np.cov(t["a"], t["y"], ddof=0)[0, 1]), by["a"].var(ddof=0)
    assert result.theta == pytest.approx((c[1] - c[0]) / (v[1] - v[0]), rel=1e-9)


def test_default_formulas_are_used_and_reported():
    table = binary_table().rename(columns={"x1": "annual income"})
    result = fit(table, adjust=("annual income", "x2"))
    assert result.formulas["outcome"] == "~ `z` * (`annual income` + `x2`)"
    assert set(result.formulas) == {"instrument", "treatment", "effect", "confounding", "outcome"}
    assert default_formulas([], "z", binary=False)["variance"] == "~ `z`"
    listed = result.coefficients.query("nuisance == 'outcome'")["term"].tolist()
    assert listed == ["Intercept", "z", "annual income", "x2", "z:annual income", "z:x2"]


def test_nuisances_are_in_the_units_of_the_data():
    table = binary_table(20_000)
    n = fit(table, RIGHT).nuisances
    assert list(n) == ["pi", "mu0", "mu1", "m0", "m1", "V0", "V1", "beta", "rho", "g0", "g1"]
    np.testing.assert_allclose(n["m1"], n["g1"] + n["beta"] * n["mu1"])
    np.testing.assert_allclose(n["V1"], n["mu1"] * (1 - n["mu1"]))
    truth = {"mu1": expit(-0.4 + 0.6 * table["x1"] + 0.3 * table["x2"]), "beta": 1 + table["x1"]}
    truth |= {"g1": 3 + table["x1"] + 1.5 * table["x2"], "rho": 0.06 * (2 + table["x1"])}
    for name, tolerance in {"mu1": 0.05, "beta": 1.0, "g1": 0.5, "rho": 0.15}.items():
        assert np.abs(n[name] - truth[name]).max() < tolerance, name


# -------------------------------------------------------------------------------------------- refusals, warnings


@pytest.mark.parametrize(
    ("formulas", "sentence"),
    [
        ({"g": "~ x1"}, r"unknown names \['g'\]. Known: instrument, treatment, effect, confounding, outcome"),
        ({"variance": "~ z"}, "binary treatment's variance is mu"),
        ({"effect": "~ x1 + z"}, "'effect' cannot be evaluated.*`z` is not present.*may use: x1, x2"),
        ({"confounding": "~ a"}, "'confounding' cannot be evaluated.*may use: x1, x2"),
        ({"instrument": "~ y"}, "'instrument' cannot be evaluated.*may use: x1, x2"),
        ({"outcome": "~ a + x1"}, "'outcome' cannot be evaluated.*may use: x1, x2, z"),
        ({"outcome": "~ log(x1)"}, "'outcome'.*No row is dropped"),
    ],
)
def test_formulas_that_cannot_be_used(formulas, sentence):
    with pytest.raises(InputError, match=sentence):
        fit(binary_table(500), formulas)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"z": lambda t: t["z"] + 1}, "instrument 'z' must take both values 0 and 1. Found 1, 2"),
        ({"z": 1.0}, "instrument 'z' must take both"),
        ({"a": lambda t: 2 * t["a"]}, "treatment 'a' must take both values"),
        ({"y": 3.0}, "outcome 'y' is constant"),
    ],
)
def test_columns_that_cannot_be_used(change, sentence):
    with pytest.raises(InputError, match=sentence):
        fit(binary_table(500).assign(**change))
    with pytest.raises(InputError, match="`clip`"):
        fit(binary_table(500), clip=0.5)


def test_treatment_that_follows_the_instrument():
    table = binary_table(500)
    with pytest.raises(NotIdentifiedError, match="does not vary within either arm"):
        fit(table.assign(a=table["z"]))


def test_model_without_the_instrument_has_no_shift():
    with pytest.raises(NotIdentifiedError, match="'treatment' does not use the instrument"):
        fit(binary_table(), {"treatment": "~ x1"})
    with pytest.raises(NotIdentifiedError, match="'variance' does not use the instrument"):
        fit(continuous_table(), {"variance": "~ x1"}, binary=False)


def test_weak_shift_is_an_error():
    rng = np.random.default_rng(5)
    table = continuous_table().assign(z=rng.integers(0, 2, 2000).astype(float))
    with pytest.raises(WeakIdentificationError, match="hardly shifts the variance") as caught:
        fit(table, {"variance": "~ z"}, binary=False)
    with pytest.warns(WeakIdentificationWarning) as told:
        result = fit(table, {"variance": "~ z"}, binary=False, weak="warn")
    assert [str(w.message) for w in told] == [str(caught.value)]
    assert abs(result.shift.value) < 2 * result.shift.std_error
    assert np.isfinite([result.theta, result.std_error]).all()
    with pytest.raises(InputError, match="`weak`"):
        fit(table, binary=False, weak="ignore")


def test_strong_instrument_without_variance_shift_is_named():
    rng = np.random.default_rng(0)
    table = binary_table()
    a = (rng.random(len(table)) < 0.3 + 0.4 * table["z"]).astype(float)
    with pytest.raises(WeakIdentificationError, match="strong, but the chances"):
        fit(table.assign(a=a), {"treatment": "~ z"})


def test_shift_that_vanishes_for_some_warns_and_counts():
    table = floored_table(4000)
    with pytest.warns(WeakIdentificationWarning, match="rows .*D changes sign"):
        result = fit(table, {"variance": "~ z * x2"}, binary=False)
    assert result.floored == (result.D < 0.1 * result.D.mean()).sum() > 200
    np.testing.assert_allclose(result.D_used, np.maximum(result.D, 0.1 * result.D.mean()))


@pytest.mark.parametrize("floor", [0.02, 0.5])
def test_floor_is_an_option(floor):
    result = fit(floored_table(4000), {"variance": "~ z * x2"}, binary=False, floor=floor, weak="warn", quiet=True)
    lowest = floor * result.D.mean()
    assert result.floored == (result.D < lowest).sum() > 0
    np.testing.assert_allclose(result.D_used, np.maximum(result.D, lowest))
    assert result.phi.mean() == pytest.approx(result.theta)
    with pytest.raises(InputError, match="`floor`"):
        fit(floored_table(500), binary=False, floor=1.0)


def test_separation_is_named():
    table = binary_table(500)
    with pytest.raises(PositivityError, match=r"'instrument'.*separation"):
        fit(table.assign(x1=np.where(table["z"] == 1, 1.0, -1.0) * (1 + table["x2"] ** 2)))
    few = table.assign(k=(table["a"] == 0) & (table["x1"] > 0.8))
    with pytest.raises(PositivityError, match=r"'treatment'.*separation"):
        fit(few, {"treatment": "~ z + k"}, adjust=("x1", "x2", "k"))


def test_clipping_is_announced():
    with pytest.warns(PositivityWarning, match=r"clipped at 0.3 in [\d,]+ of 4,000 rows"):
        result = fit(binary_table(), clip=0.3)
    assert result.nuisances["pi"].between(0.3, 0.7).all()


def test_too_rich_an_effect_is_refused():
    table = binary_table(60)
    many = "~ " + " + ".join(f"np.sin({k}*x1 + x2) + np.cos({k}*x1)" for k in range(1, 40))
    with pytest.raises((NotIdentifiedError, WeakIdentificationError)):
        fit(table, {"effect": many, "treatment": "~ z", "outcome": "~ z"}, quiet=True)


def test_nearly_one_sided_is_announced():
    rng = np.random.default_rng(0)
    table = one_sided_table(8000)
    few = rng.choice(np.flatnonzero(table["z"] == 0), 3, replace=False)
    table.loc[few, "a"] = 1.0
    with pytest.warns(IdentificationWarning, match="hardly varies among rows with instrument = 0"):
        fit(table, {"treatment": "~ z"})
