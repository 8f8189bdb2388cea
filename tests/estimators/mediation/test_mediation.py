"""Total, direct and indirect effects against exact sums, least squares and the decompositions that must hold."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from causalif._errors import InputError, PositivityError, PositivityWarning, WeakIdentificationError
from causalif.engine.estimand import FiniteLaw
from causalif.estimands.mediation_functional import MediationMean
from causalif.estimators.ate import ATE
from causalif.estimators.mediation import Mediation
from causalif.results.archive import load


@dataclass(frozen=True)
class Cells:
    """Means within every combination of binary columns, for all folds at once."""

    def fit_folds(self, X: Any, y: Any, slices: Sequence[slice], weights: Any = None) -> list[Any]:
        """Return one table of means per slice, from the rows outside it."""
        size = 2 ** X.shape[1]
        codes, w = X.astype(int) @ 2 ** np.arange(X.shape[1]), np.ones(len(y)) if weights is None else weights
        fits = []
        for part in slices:
            keep = np.ones(len(y), dtype=bool)
            keep[part] = len(slices) == 1 and part == slice(0, len(y))
            top, bottom = (np.bincount(codes[keep], weights=v[keep], minlength=size) for v in (w * y, w))
            means = np.divide(top, bottom, out=np.zeros(size), where=bottom > 0)
            fits.append(lambda Z, means=means: means[Z.astype(int) @ 2 ** np.arange(Z.shape[1])])
        return fits


CELLS = {"outcome": Cells(), "treatment": Cells(), "nested": Cells(), "mediator": Cells()}


def binary(n: int = 4000, seed: int = 0) -> pd.DataFrame:
    """Binary C, A, L, M with interactions, Y numeric."""
    rng = np.random.default_rng(seed)
    c = rng.integers(0, 2, n)
    a = rng.random(n) < 0.35 + 0.3 * c
    ell = rng.random(n) < 0.25 + 0.3 * a + 0.2 * c
    m = rng.random(n) < 0.2 + 0.2 * a + 0.25 * ell + 0.1 * c
    y = 0.5 * a + 0.7 * ell + m * (0.8 + 0.5 * a) + 0.3 * c + rng.normal(size=n)
    return pd.DataFrame({"C": c, "A": a, "L": ell, "M": m, "Y": y}).astype(float)


def linear(n: int = 3000, seed: int = 0) -> pd.DataFrame:
    """A linear model without interactions: direct 1, indirect 0.5 × 2."""
    rng = np.random.default_rng(seed)
    x, e = rng.normal(size=(n, 2)), rng.normal(size=(2, n))
    a = (rng.random(n) < 1 / (1 + np.exp(-0.5 * x[:, 0]))) * 1.0
    m = 0.5 * a + x[:, 0] + e[0]
    y = a + 2 * m + x @ [1.0, -1.0] + e[1]
    return pd.DataFrame({"x1": x[:, 0], "x2": x[:, 1], "a": a, "m": m, "y": y})


def fit_linear(data: pd.DataFrame | None = None, **options: Any) -> Any:
    options = {"mediators": ["m"], "adjust": ["x1", "x2"], "learners": "linear"} | options
    return Mediation(outcome="y", treatment="a", **options).fit(linear() if data is None else data)


# --- exact sums ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["control", "treated"])
def test_saturated_weights_give_the_sum_over_the_empirical_law(reference):
    """With exact cell frequencies the weights alone make the estimate a plain sum over the rows."""
    data = binary()
    fit = Mediation(
        outcome="Y", treatment="A", mediators=[["L"], ["M"]], adjust=["C"], reference=reference, learners=CELLS, folds=1
    ).fit(data)
    law = FiniteLaw(data, np.full(len(data), 1 / len(data)))

    def theta(blocks: Any, levels: Any) -> float:
        return float(MediationMean("Y", "A", ("C",), blocks, levels).plug_in(law)[0])

    on = 1.0 if reference == "control" else 0.0
    own, last, both = theta((), (on,)), theta((("L",),), (1 - on, on)), theta((("L", "M"),), (1 - on, on))
    base, sign = theta((), (1 - on,)), 1 if reference == "control" else -1
    expected = {
        "total": sign * (own - base), "direct": sign * (both - base), "indirect": sign * (own - both),
        "via L": sign * (own - last), "via M": sign * (last - both),
    }  # fmt: skip
    assert fit.params[list(expected)].to_dict() == pytest.approx(expected, abs=1e-10)


def test_against_sums_written_out():
    """E[Y(1, M(0))] = Σ_c p(c) Σ_m E[Y | 1, m, c] p(m | 0, c)."""
    data = binary()
    fit = Mediation(outcome="Y", treatment="A", mediators=["M"], adjust=["C"], learners=CELLS, folds=1).fit(data)
    total = 0.0
    for c, m in itertools.product((0, 1), (0, 1)):
        here = data[data["C"] == c]
        mu = here.loc[(here["A"] == 1) & (here["M"] == m), "Y"].mean()
        total += len(here) / len(data) * mu * (here.loc[here["A"] == 0, "M"] == m).mean()
    assert fit.params["E[Y(1, M(0))]"] == pytest.approx(total, abs=1e-10)


# --- other estimators ------------------------------------------------------------------------------------------------


def test_products_of_least_squares_coefficients():
    """Baron and Kenny in a linear model: the direct coefficient, and the product along the mediator."""
    data, fit = linear(), fit_linear(folds=1)
    design = np.column_stack([np.ones(len(data)), data[["a", "m", "x1", "x2"]]])
    of_y = np.linalg.lstsq(design, data["y"], rcond=None)[0]
    of_m = np.linalg.lstsq(np.delete(design, 2, axis=1), data["m"], rcond=None)[0]
    products = pd.Series({"direct": of_y[1], "indirect": of_y[2] * of_m[1]})
    away = (fit.params[products.index] - products) / fit.std_errors[products.index]
    assert away.abs().max() < 1.0
    truth = pd.Series({"total": 2.0, "direct": 1.0, "indirect": 1.0})
    assert ((fit.params[truth.index] - truth) / fit.std_errors[truth.index]).abs().max() < 3.0


def test_the_total_is_the_average_effect():
    data = linear()
    fit, ate = fit_linear(data), ATE(outcome="y", treatment="a", adjust=["x1", "x2"], learners="linear").fit(data)
    assert fit.params["total"] == pytest.approx(ate.params["ATE"], abs=1e-10)
    assert fit.std_errors["total"] == pytest.approx(ate.std_errors["ATE"], abs=1e-10)


@pytest.mark.parametrize("reference", ["control", "treated"])
@pytest.mark.parametrize("shift", [None, 0.5])
def test_parts_add_up_row_by_row(shift, reference):
    rng = np.random.default_rng(3)
    data = linear(800)
    if shift is not None:
        data["a"] = data["x1"] * 0.5 + rng.normal(size=800)
    data["k"] = data["m"] + rng.normal(size=800)
    fit = fit_linear(data, mediators=[["m"], ["k"]], reference=reference, shift=shift)
    psi = fit.influence
    assert np.allclose(psi["direct"] + psi["indirect"], psi["total"], atol=1e-10)
    assert np.allclose(psi["via m"] + psi["via k"], psi["indirect"], atol=1e-10)
    assert fit.params["direct"] + fit.params["indirect"] == pytest.approx(fit.params["total"], abs=1e-12)


@pytest.mark.parametrize("blocks", [["m"], [["m"], ["k"]]])
def test_parts_add_up_to_the_total_over_repeats(blocks):
    data = linear(400)
    data["k"] = np.random.default_rng(5).normal(size=len(data)) + 0.3 * data["m"]
    fit = fit_linear(data, mediators=blocks, repeats=3)
    parts = ["via m", "via k"] if len(blocks) > 1 else ["indirect"]
    assert fit.params["total"] == pytest.approx(fit.params["direct"] + fit.params[parts].sum(), abs=1e-10)
    influence = fit.influence
    np.testing.assert_allclose(influence["total"], influence["direct"] + influence[parts].sum(axis=1), atol=1e-10)


def test_repeats_pool_every_term():
    fit = fit_linear(linear(400), repeats=3)
    assert set(fit.splits["term"]) == set(fit.labels)
    assert np.isfinite(fit.std_errors).all()


def test_more_than_two_levels_and_text_levels():
    data = linear()
    data["a"] = np.where(data["a"] == 1, "drug", np.where(np.arange(len(data)) % 3 == 0, "other", "placebo"))
    fit = fit_linear(data, levels=("drug", "placebo"))
    assert "E[Y(drug, m(placebo))]" in fit.labels
    assert abs(fit.params["indirect"] - 1) < 4 * fit.std_errors["indirect"]


def test_categories_become_indicators():
    data = linear(1500)
    data["g"] = pd.cut(data["m"], [-np.inf, -1, 1, np.inf], labels=["low", "mid", "high"])
    fit = fit_linear(data, mediators=["g"])
    assert any("g=mid" in name for name in fit.diagnostics["nuisances"].index)


def test_weights_and_clusters():
    data = linear(900).assign(w=2.0, id=np.repeat(np.arange(90), 10))
    plain, weighted = fit_linear(data), fit_linear(data, weights="w")
    assert weighted.params.to_numpy() == pytest.approx(plain.params.to_numpy(), abs=1e-8)
    clustered = fit_linear(data, cluster="id")
    assert clustered.clusters is not None


def test_results_are_saved_and_told(tmp_path):
    fit = fit_linear(linear(500))
    fit.save(tmp_path / "fit.zip")
    assert load(tmp_path / "fit.zip").params.equals(fit.params)
    text = str(fit.summary())
    assert "Mediators:" in text
    assert "1 (treated) against 0 (control)" in text


# --- shifts ----------------------------------------------------------------------------------------------------------


def test_shift_of_a_linear_model():
    rng = np.random.default_rng(1)
    n = 3000
    c = rng.normal(size=n)
    a = 0.5 * c + rng.normal(size=n)
    m = 0.6 * a + rng.normal(size=n)
    y = 0.4 * a + 0.8 * m + c + rng.normal(size=n)
    data = pd.DataFrame({"a": a, "c": c, "m": m, "y": y})
    fit = Mediation(outcome="y", treatment="a", mediators=["m"], adjust=["c"], shift=0.5, learners="linear").fit(data)
    moved = 0.5 * (a + 0.5 <= a.max()).mean()
    truth = pd.Series({"total": 0.88, "direct": 0.4, "indirect": 0.48}) * moved
    assert ((fit.params[truth.index] - truth) / fit.std_errors[truth.index]).abs().max() < 3.5
    assert "rows stay" in fit.settings["shift"]


def test_a_shift_of_a_discrete_treatment_is_a_sum_over_its_values():
    rng = np.random.default_rng(2)
    n = 4000
    c = rng.integers(0, 2, n)
    a = np.clip(rng.integers(0, 3, n) + c, 0, 3)
    y = a + c + rng.normal(size=n)
    data = pd.DataFrame({"a": a, "c": c, "m": rng.normal(size=n), "y": y})
    fit = Mediation(outcome="y", treatment="a", mediators=["m"], adjust=["c"], shift=1, learners="linear").fit(data)
    truth = (a < 3).mean()
    assert abs(fit.params["total"] - truth) < 4 * fit.std_errors["total"]
    with pytest.raises(InputError, match="to values that no row has"):
        Mediation(outcome="y", treatment="a", mediators=["m"], adjust=["c"], shift=0.5).fit(data)


# --- shares ----------------------------------------------------------------------------------------------------------


def test_share_mediated_is_the_ratio_with_its_delta_method():
    fit = fit_linear()
    share = fit.share_mediated()
    psi = (fit.influence["indirect"] - share.values[0] * fit.influence["total"]) / fit.params["total"]
    assert share.values[0] == pytest.approx(fit.params["indirect"] / fit.params["total"])
    assert share.std_errors.iloc[0] == pytest.approx(np.sqrt((psi**2).mean() / len(psi)))
    assert fit.share_mediated("direct").values[0] == pytest.approx(1 - share.values[0])


def test_no_share_of_nothing():
    data = linear(500)
    data["y"] = np.random.default_rng(0).normal(size=500)
    fit = fit_linear(data)
    with pytest.raises(WeakIdentificationError, match="not clearly away from 0"):
        fit.share_mediated()
    with pytest.raises(InputError, match="must be one of the terms"):
        fit.share_mediated("via q")


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mediators": []}, "must be a list of column names"),
        ({"mediators": "m"}, "must be a list of column names"),
        ({"mediators": ["m", ["x1"]]}, "mixes names and lists"),
        ({"mediators": [["m"], []]}, "empty block"),
        ({"mediators": ["q"]}, "does not have"),
        ({"mediators": ["x1"]}, "as mediator and in `adjust`"),
        ({"mediators": ["a"]}, "given twice"),
        ({"mediators": ["m", "m"]}, "given twice"),
        ({"adjust": "x1"}, "must be a list of column names"),
        ({"reference": "both"}, "`reference` must be one of"),
        ({"levels": (1, 2)}, "never takes"),
        ({"clip": 0.7}, "`clip`"),
        ({"shift": 0.5, "levels": (1, 0)}, "not both"),
        ({"shift": 0}, "other than 0"),
        ({"shift": "1"}, "other than 0"),
        ({"learners": {"instrument": LinearRegression()}}, "unknown names"),
        ({"learners": {"nested": LogisticRegression()}}, "nested"),
    ],
)
def test_unusable_arguments(options, message):
    with pytest.raises(InputError, match=message):
        fit_linear(linear(300), **options)


def test_levels_of_a_continuous_treatment_are_refused():
    data = linear(300)
    data["a"] = data["a"] + np.random.default_rng(0).normal(size=300)
    with pytest.raises(InputError, match=r"it is continuous.*shift=1\.0"):
        fit_linear(data)
    with pytest.raises(InputError, match="outside the range"):
        fit_linear(data, shift=100.0)


def test_a_constant_mediator_is_refused():
    with pytest.warns(match="constant"), pytest.raises(InputError, match="Mediator 'm' is constant or repeats"):
        fit_linear(linear(300).assign(m=1.0))


def test_a_mediator_that_is_the_treatment_in_another_form_is_refused():
    data = linear(600)
    data["m"] = data["a"] * 3.5 + np.random.default_rng(0).normal(size=600)
    with pytest.raises(PositivityError, match="nearly determine the treatment"):
        fit_linear(data)


def test_few_effective_rows_are_told():
    data = linear(600)
    data["m"] = data["m"] + 1.6 * data["a"]
    with pytest.warns(PositivityWarning) as told:
        fit = fit_linear(data)
    assert any("effective sample" in str(one.message) for one in told)
    assert fit.diagnostics["weights"]["effective rows"].min() < 30
    assert any("effective sample" in line for line in fit.settings["warnings"])
