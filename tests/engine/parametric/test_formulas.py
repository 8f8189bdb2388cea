"""Design matrices that are frozen at the fit, and never lose a row in silence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from causalif._errors import InputError
from causalif.engine.parametric.formulas import Basis, Design, FormulaFeatures, quoted


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    n = 40
    return pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "annual inc": rng.uniform(1, 5, n),
            "Z": rng.integers(0, 2, n).astype(float),
            "k": np.resize(["a", "b", "c"], n),
            "C": rng.normal(size=n),
        }
    )


def test_matrix_by_hand(table):
    design = Design.from_formula("~ x + Z:x + log(`annual inc`) + I(x**2)", table)
    x, z, inc = table["x"], table["Z"], table["annual inc"]
    by_name = dict(zip(design.columns, design.matrix(table).T, strict=True))
    np.testing.assert_array_equal(by_name["Intercept"], np.ones(len(x)))
    np.testing.assert_allclose(by_name["log(`annual inc`)"], np.log(inc))
    np.testing.assert_allclose(by_name["I(x ** 2)"], x**2)
    interaction = next(name for name in by_name if ":" in name)
    np.testing.assert_allclose(by_name[interaction], x * z)
    assert design.variables == {"x", "Z", "annual inc"}


def test_tilde_is_optional_and_a_column_may_be_called_C(table):
    assert Design.from_formula("x + `C`", table).columns == ("Intercept", "x", "C")


def test_other_rows_keep_the_encoding(table):
    design = Design.from_formula("~ C(k) + bs(x, df=4) + center(x)", table.drop(columns="C"))
    whole = design.matrix(table)
    np.testing.assert_allclose(design.matrix(table.iloc[[1, 4]]), whole[[1, 4]])
    one_class = design.matrix(table[table["k"] == "b"])
    assert one_class.shape == ((table["k"] == "b").sum(), len(design.columns))


def test_methods_of_a_column(table):
    design = Design.from_formula("~ x.clip(0)", table)
    assert design.variables == {"x"}
    np.testing.assert_allclose(design.matrix(table[["x"]])[:, 1], table["x"].clip(0))
    with pytest.raises(InputError, match="x"):
        design.matrix(table[["Z"]])


def test_instrument_set_to_one(table):
    design = Design.from_formula("~ Z * x", table)
    made = design.matrix(table.assign(Z=1.0))
    np.testing.assert_allclose(made[:, design.columns.index("Z")], 1.0)


def test_the_result_is_writable_and_the_input_unchanged(table):
    before = table.copy()
    Design.from_formula("~ x", table).matrix(table)[0, 0] = 7.0
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize(
    ("formula", "sentence"),
    [
        ("~ nope", "not present.*Columns it may use: x, annual inc, Z, k, C"),
        ("~ log(x)", "log\\(x\\).*No row is dropped"),
        ("~ I(1/(Z*1))", "not finite|null values"),
        ("x ~ Z", "right-hand side only"),
        ("~ x | Z", "right-hand side only"),
        ("~ x +", "cannot be read"),
        ("~ 0", "has no terms"),
        ("~ x.nope()", "cannot be evaluated"),
    ],
)
def test_bad_formulas_name_formula_and_nuisance(table, formula, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        Design.from_formula(formula, table, "outcome")
    assert "'outcome'" in str(caught.value)
    assert repr(formula) in str(caught.value)


def test_missing_values_are_an_error_not_a_shorter_matrix(table):
    table.loc[3, "x"] = np.nan
    table.loc[4, "k"] = None
    for formula in ("~ x", "~ k"):
        with pytest.raises(InputError, match="No row is dropped"):
            Design.from_formula(formula, table)


def test_new_category_is_refused(table):
    design = Design.from_formula("~ k", table)
    with pytest.raises(InputError, match="category"):
        design.matrix(table.assign(k="zz"))


def test_a_formula_must_be_text(table):
    with pytest.raises(InputError, match="must be text"):
        Design.from_formula(3, table)


def test_quoting(table):
    assert Design.from_formula(f"~ {quoted('annual inc')}", table).columns == ("Intercept", "annual inc")
    with pytest.raises(InputError, match="backtick"):
        quoted("a`b")


def test_basis_is_orthonormal_and_spans_the_same(table):
    rng = np.random.default_rng(1)
    w = rng.uniform(0, 2, len(table))
    design = Design.from_formula("~ x + Z + `annual inc` + I(1e9 * x**2) + I(2*x + Z) + I(1e-200*C)", table)
    basis = Basis.from_design(design, table, w)
    q = basis.matrix(table)
    np.testing.assert_allclose((q * (w / w.sum())[:, None]).T @ q, np.eye(q.shape[1]), atol=1e-10)
    assert basis.left_out == ("I(2 * x + Z)",)
    raw = design.matrix(table)
    y = rng.normal(size=len(table))
    coefficients = basis.transform @ (q.T @ (w / w.sum() * y))
    root = np.sqrt(w)[:, None]
    scale = np.abs(raw).max(axis=0)
    expected = (root * raw / scale) @ np.linalg.lstsq(root * raw / scale, root[:, 0] * y, rcond=None)[0]
    np.testing.assert_allclose(root[:, 0] * (raw[:, list(basis.kept)] @ coefficients), expected, atol=1e-9)


def test_basis_keeps_the_earlier_of_two_equal_columns_and_drops_constants(table):
    design = Design.from_formula("~ x + I(x) + I(0*x) + I(0*x + 3)", table)
    assert Basis.from_design(design, table, np.ones(len(table))).columns == ("Intercept", "x")
    alone = Design.from_formula("~ 0 + I(0*x)", table)
    with pytest.raises(InputError, match="all zero"):
        Basis.from_design(alone, table, np.ones(len(table)))


def test_features_in_a_pipeline(table):
    y = 3 * table["x"] ** 2 + (table["k"] == "b")
    model = make_pipeline(FormulaFeatures("~ I(x**2) + k"), LinearRegression())
    model = clone(model).fit(table.iloc[:30], y.iloc[:30])
    np.testing.assert_allclose(model.predict(table.iloc[30:]), y.iloc[30:], atol=1e-9)
    assert list(model[0].get_feature_names_out()) == ["I(x ** 2)", "k[T.b]", "k[T.c]"]


def test_features_options_and_errors(table):
    kept = FormulaFeatures("~ x", intercept=True)
    assert kept.fit_transform(table).shape == (40, 2)
    assert clone(kept).get_params() == {"formula": "~ x", "intercept": True}
    with pytest.raises(InputError, match="DataFrame"):
        FormulaFeatures("~ x").fit(table[["x"]].to_numpy())
    with pytest.raises(InputError, match="besides the constant"):
        FormulaFeatures("~ 1").fit(table)
