"""Design matrices from formulas that can be evaluated again on other rows, and the same as an sklearn transformer."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd
from formulaic import Formula, ModelSpec, SimpleFormula
from formulaic.errors import DataMismatchWarning, FormulaicError
from sklearn.base import BaseEstimator, TransformerMixin

from causalif._errors import InputError
from causalif._validate import Array

_DEPENDENT = 1e-9


def quoted(name: str) -> str:
    """Return a column name as a formula writes it, in backticks.

    Parameters
    ----------
    name : str
        Any column name without a backtick.

    Returns
    -------
    str

    Raises
    ------
    InputError
        The name contains a backtick, which formulas cannot express.

    Examples
    --------
    >>> quoted("annual income")
    '`annual income`'
    """
    if "`" in str(name):
        raise InputError(f"A formula cannot name the column {name!r}, which contains a backtick. Rename the column.")
    return f"`{name}`"


@dataclass(frozen=True, eq=False)
class Design:
    """A right-hand-side formula whose encoding was fixed on one table and can be evaluated on others.

    Parameters
    ----------
    formula : str
        As given.
    nuisance : str or None
        What the formula is for; error messages name it.
    columns : tuple of str
        One name per column of the matrix.
    variables : frozenset of str
        The columns of the table that the formula reads.

    Notes
    -----
    Categories, spline knots and the centres of ``center()`` or ``scale()`` are those of the first table. No row is ever
    dropped: a missing or infinite value is an error. Cost: about a millisecond per 10,000 rows and five terms.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"z": [0.0, 1.0, 0.0], "x": [2.0, 3.0, 4.0]})
    >>> design = Design.from_formula("~ z * x", table)
    >>> design.columns
    ('Intercept', 'z', 'x', 'z:x')
    >>> design.matrix(table.assign(z=1.0)).tolist()
    [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0], [1.0, 1.0, 4.0, 4.0]]
    """

    formula: str
    nuisance: str | None
    columns: tuple[str, ...]
    variables: frozenset[str]
    _known: tuple[str, ...] = field(repr=False)
    _spec: ModelSpec = field(repr=False)

    @classmethod
    def from_formula(cls, formula: str, frame: pd.DataFrame, nuisance: str | None = None) -> Design:
        """Read a formula and fix its encoding on a table.

        Parameters
        ----------
        formula : str
            Right-hand side only, such as ``"~ x1 + log(x2) + C(group):z"``; the tilde may be left out.
        frame : DataFrame
            The table that fixes categories and knots, and the only columns the formula may read.
        nuisance : str, optional
            Named in error messages.

        Returns
        -------
        Design

        Raises
        ------
        InputError
            The formula cannot be read, has a left-hand side, names an unknown column, or makes values that are not
            finite.
        """
        where = _where(formula, nuisance)
        parsed = _parse(formula, where)
        matrix = _evaluate(lambda: parsed.get_model_matrix(frame, na_action="raise", output="numpy"), frame, where)
        spec = matrix.model_spec
        columns = tuple(str(name) for name in spec.column_names)
        if not columns:
            raise InputError(f"{where} has no terms. Write '~ 1' for a constant.")
        _finite(np.asarray(matrix, dtype=float), columns, where)
        names = (str(name) for name in spec.variables_by_source.get("data", ()))
        # x.clip(0) is reported as the variable 'x.clip'
        read = frozenset(name if name in frame.columns else name.split(".")[0] for name in names)
        return cls(formula, nuisance, columns, read, tuple(frame.columns), spec)

    def matrix(self, frame: pd.DataFrame) -> Array:
        """Evaluate the formula on the rows of a table.

        Parameters
        ----------
        frame : DataFrame, n rows
            Must hold the columns in ``variables``.

        Returns
        -------
        ndarray, shape (n, k)

        Raises
        ------
        InputError
            A column is absent, a category was not in the first table, or a value is not finite.
        """
        where = _where(self.formula, self.nuisance)
        # columns new since then must not shadow functions: a column called C would hide C()
        known = frame[[name for name in self._known if name in frame.columns]]
        made = _evaluate(lambda: self._spec.get_model_matrix(known), known, where)
        return _finite(np.array(made, dtype=float), self.columns, where)


def _where(formula: object, nuisance: str | None) -> str:
    return f"The formula {formula!r}" + (f" for {nuisance!r}" if nuisance else "")


def _parse(formula: str, where: str) -> SimpleFormula:
    if not isinstance(formula, str):
        raise InputError(f"{where} must be text such as '~ x1 + x2'.")
    try:
        parsed = Formula(formula)
    except (FormulaicError, SyntaxError) as error:
        raise InputError(f"{where} cannot be read: {_first_line(error)}") from error
    if not isinstance(parsed, SimpleFormula):
        raise InputError(f"{where} must have a right-hand side only, such as '~ x1 + x2'.")
    return parsed


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]


def _evaluate(make: Any, frame: pd.DataFrame, where: str) -> Any:
    """Evaluate, turning every way in which formulaic drops, recodes or fails into one kind of error."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error", DataMismatchWarning)
            return make()
    except DataMismatchWarning as error:
        raise InputError(f"{where} met a category that was not in the table it was fitted on: {error}") from error
    except (FormulaicError, ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise InputError(f"{where} cannot be evaluated: {_reason(error, frame)}") from error


def _reason(error: BaseException, frame: pd.DataFrame) -> str:
    text = _first_line(error)
    if "is not present" in text:
        return f"{text} Columns it may use: {', '.join(map(str, frame.columns)) or 'none'}."
    if "null values" in text:
        return f"{text.rsplit(': ', 1)[-1]} No row is dropped: give finite values, or change the term."
    return text


def _finite(matrix: Array, columns: tuple[str, ...], where: str) -> Array:
    bad = ~np.isfinite(matrix)
    if bad.any():
        worst = int(np.argmax(bad.sum(axis=0)))
        raise InputError(
            f"{where} makes {int(bad[:, worst].sum())} values that are not finite in the term {columns[worst]!r}. "
            "No row is dropped: change the term or the column."
        )
    return matrix


@dataclass(frozen=True, eq=False)
class Basis:
    """A design with redundant columns left out and the rest made orthonormal on one weighted sample.

    Parameters
    ----------
    design : Design
        Where the columns come from.
    kept : ndarray of int, shape (k,)
        Columns of the design that are not combinations of earlier ones.
    transform : ndarray, shape (k, k)
        ``design[:, kept] @ transform`` has mean weighted cross product equal to the identity.

    Notes
    -----
    Fits in this basis are well conditioned whatever the units and powers in the formula, so that a large condition
    number means a lack of information and nothing else. Coefficients of the original columns are ``transform @ theta``.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> table = pd.DataFrame({"x": [1.0, 2.0, 4.0], "twice": [2.0, 4.0, 8.0]})
    >>> basis = Basis.from_design(Design.from_formula("~ x + twice", table), table, np.ones(3))
    >>> basis.columns, basis.left_out
    (('Intercept', 'x'), ('twice',))
    >>> q = basis.matrix(table)
    >>> bool(np.allclose(q.T @ q / 3, np.eye(2)))
    True
    """

    design: Design
    kept: tuple[int, ...]
    transform: Array

    @classmethod
    def from_design(cls, design: Design, frame: pd.DataFrame, weights: Array) -> Basis:
        """Choose the columns and the transform on the rows of a table with given weights."""
        weighted = design.matrix(frame) * np.sqrt(weights / weights.sum())[:, None]
        size = np.abs(weighted).max(axis=0)
        scaled = weighted / np.where(size > 0, size, 1.0)
        kept, triangle = _independent(scaled)
        transform = np.linalg.inv(triangle) / np.where(size > 0, size, 1.0)[list(kept), None]
        return cls(design, kept, transform)

    def matrix(self, frame: pd.DataFrame) -> Array:
        """Evaluate on the rows of a table, shape (n, k)."""
        return np.asarray(self.design.matrix(frame)[:, list(self.kept)] @ self.transform)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns kept."""
        return tuple(self.design.columns[j] for j in self.kept)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the redundant columns."""
        return tuple(name for j, name in enumerate(self.design.columns) if j not in self.kept)


def _independent(matrix: Array) -> tuple[tuple[int, ...], Array]:
    """Return the first columns that span all, and R of their QR; ties go to the earlier column."""
    norm = np.linalg.norm(matrix, axis=0)
    kept = [j for j in range(matrix.shape[1]) if norm[j] > 0]
    while kept:
        triangle = np.linalg.qr(matrix[:, kept])[1]
        rank = min(triangle.shape)
        alone = np.zeros(len(kept))
        alone[:rank] = np.abs(np.diag(triangle))
        dependent = np.flatnonzero(alone <= _DEPENDENT * norm[kept])
        if not dependent.size:
            return tuple(kept), triangle
        # one at a time: beyond the first dependent column the factor's later directions are arbitrary
        del kept[int(dependent[0])]
    raise InputError("A formula's columns are all zero on the rows it is fitted on.")


class FormulaFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Columns of a formula as a step of an sklearn Pipeline.

    Parameters
    ----------
    formula : str
        Right-hand side, such as ``"~ x1 + bs(x2, df=5) + x1:x2"``.
    intercept : bool, default False
        Whether to keep the constant column. Most learners add their own.

    Notes
    -----
    The encoding is fixed in ``fit``. The input must be a DataFrame, whose column names the formula reads.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> table = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
    >>> model = make_pipeline(FormulaFeatures("~ x + I(x**2)"), LinearRegression()).fit(table, table["x"] ** 2)
    >>> model.predict(pd.DataFrame({"x": [5.0]})).round(6)
    array([25.])
    """

    def __init__(self, formula: str = "~ 1", intercept: bool = False) -> None:
        self.formula = formula
        self.intercept = intercept

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Fix the encoding on a table.

        Parameters
        ----------
        X : DataFrame
            The training rows.
        y : object, optional
            Ignored.

        Returns
        -------
        FormulaFeatures
            Itself, fitted.
        """
        frame = _table(X)
        self.design_ = Design.from_formula(self.formula, frame)
        self.keep_ = [self.intercept or name != "Intercept" for name in self.design_.columns]
        if not any(self.keep_):
            raise InputError(f"{_where(self.formula, None)} has no column besides the constant.")
        self.n_features_in_ = frame.shape[1]
        self.feature_names_in_ = np.asarray(frame.columns, dtype=object)
        return self

    def transform(self, X: pd.DataFrame) -> Array:
        """Return the formula's columns for the rows of ``X``.

        Parameters
        ----------
        X : DataFrame, n rows
            Must have the columns that the formula reads.

        Returns
        -------
        ndarray, shape (n, k)
        """
        return self.design_.matrix(_table(X))[:, self.keep_]

    def get_feature_names_out(self, input_features: object = None) -> Any:
        """Return the names of the columns made, shape (k,)."""
        names = [name for name, keep in zip(self.design_.columns, self.keep_, strict=True) if keep]
        return np.asarray(names, dtype=object)


def _table(X: object) -> pd.DataFrame:
    if not isinstance(X, pd.DataFrame):
        raise InputError(f"FormulaFeatures needs a DataFrame, whose columns the formula names. Got {type(X).__name__}.")
    return X
