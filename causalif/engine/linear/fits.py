"""Least squares, ridge and logistic regression for all folds at once, from sums that are gathered in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from scipy.linalg import lapack

from causalif._errors import InputError
from causalif._validate import Array
from causalif.engine.linear.logistic import LogisticSolution, logistic_solutions
from causalif.engine.linear.moments import Moments, Rows, Spectrum, gram_moments, rows_of, spectra
from causalif.engine.linear.refine import refined

SMALLEST_RCOND = 1e-6  # rounding of the normal equations then stays below 1e-9 of the coefficients
PENALTIES = tuple(float(value) for value in np.logspace(-6, 1, 29))


@dataclass(frozen=True, eq=False)
class LinearFit:
    """A fitted linear predictor, callable on new rows.

    Parameters
    ----------
    coef : ndarray of shape (p,)
        Slopes in the units of the columns; 0 for a column that was constant in training.
    intercept : float
        Value of the linear predictor where every column is 0.
    link : {"identity", "logit"}
        Scale of the linear predictor: means, or log odds of a probability.
    rank : int
        Number of linearly independent columns in training, the intercept not counted; below p the coefficients are
        those of smallest norm on standardised columns.
    iterations : int, default 0
        Passes over the data that the iterative fits needed.
    penalty : float, default 0.0
        Ridge penalty used, on the scale of `ridge_folds`.

    Examples
    --------
    >>> import numpy as np
    >>> fit = LinearFit(np.array([2.0]), 1.0, "identity", rank=1)
    >>> fit(np.array([[0.0], [3.0]]))
    array([1., 7.])
    """

    coef: Array
    intercept: float
    link: Literal["identity", "logit"]
    rank: int
    iterations: int = 0
    penalty: float = 0.0

    def __call__(self, X: Array) -> Array:
        """Return predicted means or probabilities.

        Parameters
        ----------
        X : ndarray of shape (n, p)
            Rows to predict.

        Returns
        -------
        ndarray of shape (n,)
        """
        predictor = np.asarray(X @ self.coef, dtype=np.float64)
        predictor += self.intercept
        return predictor if self.link == "identity" else _expit_in_place(predictor)


def _expit_in_place(values: Array) -> Array:
    """Overwrite log odds by probabilities."""
    np.negative(values, out=values)
    with np.errstate(over="ignore"):
        np.exp(values, out=values)
    values += 1.0
    return np.reciprocal(values, out=values)


def least_squares_folds(X: Array, y: Array, slices: Sequence[slice], weights: Array | None = None) -> list[LinearFit]:
    r"""Fit least squares on the complement of every fold, all from one pass over the rows.

    For fold k, the minimiser of :math:`\sum_{i \notin k} w_i (y_i - a - x_i^\top b)^2`.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Columns without an intercept, rows sorted by fold; C-contiguous float64 is used without a copy.
    y : ndarray of shape (n,)
        Target.
    slices : sequence of slice
        The rows of each fold, consecutive and together covering all rows; a fold may be empty. A single slice fits
        on everything.
    weights : ndarray of shape (n,), optional
        Weights of at least 0; a row of weight 0 is as good as absent.

    Returns
    -------
    list of LinearFit
        One per slice, in order.

    Raises
    ------
    PositivityError
        A training set has no row of positive weight.
    InputError
        Shapes disagree, the slices leave rows out, or numbers are not finite.

    Notes
    -----
    Sums of squares and products are kept per fold and added over the training folds, centred and standardised, and
    solved by Cholesky: n p^2 operations for all folds together. Where the correlation matrix is too near to singular
    (reciprocal condition below 1e-6), where centring would cancel, or where squares would overflow, orthogonal
    factors of the folds are combined instead, which never squares the condition number, and nearly collinear columns
    get a correction from residuals in doubled precision. Memory beyond X: one block of rows, and a few
    (K, p + 2, p + 2) arrays.

    References
    ----------
    Bjorck (1996), Numerical Methods for Least Squares Problems, sections 2.2, 2.4 and 2.7 (normal equations,
    orthogonal factors, rank deficiency). Chan, Golub and LeVeque (1983), The American Statistician 37, 242-247
    (sums around a near-mean).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(6.0)[:, None]
    >>> first, second = least_squares_folds(X, 1 + 2 * X[:, 0], [slice(0, 3), slice(3, 6)])
    >>> first.coef.round(9), round(second.intercept, 9)
    (array([2.]), 1.0)
    """
    y, exponent = _scaled_target(y)
    rows = rows_of(X, y, slices, weights)
    careful = spectra(rows)
    fits = []
    for fold, moment in enumerate(gram_moments(rows)):
        slopes = _cholesky(moment)
        if slopes is not None:
            fits.append(_in_units(slopes, moment, exponent, len(slopes)))
        else:
            fits.append(_careful_fit(rows, fold, careful(fold), exponent))
    return fits


def _scaled_target(y: Array) -> tuple[Array, int]:
    """Divide an extreme target by a power of two, so that its squares neither overflow nor vanish."""
    y = np.asarray(y, dtype=np.float64)
    exponent = int(np.frexp(max(y.max(), -y.min()))[1]) if y.size else 0
    return (y, 0) if abs(exponent) < 100 else (np.ldexp(y, -exponent), exponent)


def _careful_fit(rows: Rows, fold: int, exact: Spectrum, exponent: int) -> LinearFit:
    """Solve from the singular value decomposition, of smallest norm where the rank is deficient."""
    coef = exact.vectors @ (exact.target / exact.values) / exact.spread
    coef, intercept = refined(rows, fold, exact, coef, float(exact.mean_y - exact.mean @ coef))
    return _fit(coef, intercept, exponent, exact.rank)


def _fit(coef: Array, intercept: float, exponent: int, rank: int, penalty: float = 0.0) -> LinearFit:
    """Undo the scaling of the target."""
    return LinearFit(np.ldexp(coef, exponent), float(np.ldexp(intercept, exponent)), "identity", rank, 0, penalty)


def _in_units(slopes: Array, at: Moments | Spectrum, exponent: int, rank: int, penalty: float = 0.0) -> LinearFit:
    """Undo standardisation and target scaling."""
    coef = slopes / at.spread
    return _fit(coef, float(at.mean_y - at.mean @ coef), exponent, rank, penalty)


def _cholesky(moment: Moments) -> Array | None:
    """Solve on standardised columns, or return None where rounding would reach the ninth digit."""
    if moment.corr is None or not len(moment.spread):
        return None if moment.corr is None else np.zeros(0)
    factor, failed = lapack.dpotrf(moment.corr, lower=1)
    if failed:
        return None
    rcond, _ = lapack.dpocon(factor, np.abs(moment.corr).sum(axis=0).max(), uplo="L")
    if not rcond > SMALLEST_RCOND:
        return None
    return np.asarray(lapack.dpotrs(factor, moment.cross, lower=1)[0])


def ridge_folds(
    X: Array, y: Array, slices: Sequence[slice], penalty: float | Sequence[float], weights: Array | None = None
) -> list[LinearFit]:
    r"""Fit ridge regression on the complement of every fold, choosing the penalty inside each training set.

    For fold k, with z the columns standardised by the training set's weighted means and standard deviations, and W
    its total weight, the minimiser of
    :math:`W^{-1} \sum_{i \notin k} w_i (y_i - a - z_i^\top b)^2 + \lambda \lVert b \rVert^2`.

    Parameters
    ----------
    X, y, slices, weights
        As in `least_squares_folds`.
    penalty : float or sequence of float
        The penalty per row: 0 is least squares, 1 halves the slope of a single column, and scikit-learn's ``alpha``
        on the same standardised columns is n times as large. The intercept is free. Of several penalties, the one
        with the smallest generalized cross-validation error in the training set is used.

    Returns
    -------
    list of LinearFit
        One per slice; `LinearFit.penalty` holds the penalty chosen.

    Raises
    ------
    InputError, PositivityError
        As in `least_squares_folds`, or a penalty is negative.

    Notes
    -----
    One eigendecomposition per training set serves all penalties: p^3 operations, none of them over rows. The
    generalized cross-validation error is RSS / (1 - df / m)^2 with df the trace of the smoother, intercept included,
    and m the number of training rows of positive weight; penalties that spend more than 9/10 of m are passed over.

    References
    ----------
    Golub, Heath and Wahba (1979), Technometrics 21, 215-223, equation (1.4).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    >>> ridge_folds(X, 6 * X[:, 0], [slice(0, 4)], 1.0)[0].coef
    array([3.])
    """
    penalties = np.sort(np.atleast_1d(np.asarray(penalty, dtype=np.float64)))[::-1]
    if not penalties.size or not penalties[-1] >= 0:
        raise InputError(f"`penalty` must be one or more numbers of at least 0. Got {penalty!r} instead.")
    y, exponent = _scaled_target(y)
    rows = rows_of(X, y, slices, weights)
    careful, moments, counts = spectra(rows), gram_moments(rows), _training_counts(rows)
    fits = []
    for fold, (moment, count) in enumerate(zip(moments, counts, strict=True)):
        exact = _eigen(moment) or careful(fold)
        chosen = penalties[0] if penalties.size == 1 else _cross_validated(exact, penalties, count)
        slopes = exact.vectors @ (exact.values * exact.target / (exact.values**2 + chosen))
        fits.append(_in_units(slopes, exact, exponent, exact.rank, float(chosen)))
    return fits


def _eigen(moment: Moments) -> Spectrum | None:
    """Turn the eigendecomposition of a correlation matrix into singular values, or None if it is too rough."""
    if moment.corr is None:
        return None
    squares, vectors = np.linalg.eigh(moment.corr)
    if squares.size and not squares[0] > SMALLEST_RCOND * squares[-1]:
        return None
    values = np.sqrt(squares)
    target = (vectors.T @ moment.cross) / values
    return Spectrum(moment.mean, moment.spread, moment.mean_y, values, vectors, target, moment.square_y)


def _training_counts(rows: Rows) -> Array:
    """Count the rows of positive weight in each training set."""
    counts = np.zeros(rows.folds)
    for fold, start, stop in rows.blocks:
        counts[fold] += stop - start if rows.weights is None else np.count_nonzero(rows.weights[start:stop])
    return rows.all_training(counts)


def _cross_validated(exact: Spectrum, penalties: Array, count: float) -> float:
    """Return the penalty of smallest generalized cross-validation error, the larger one in a tie."""
    kept = exact.values**2 / (exact.values**2 + penalties[:, None])
    freedom = (1.0 + kept.sum(axis=1)) / count
    outside = max(exact.square_y - float(exact.target @ exact.target), 0.0)
    rss = outside + (((1.0 - kept) * exact.target) ** 2).sum(axis=1)
    usable = freedom <= max(0.9, float(freedom.min()))
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(usable, rss / (1.0 - freedom) ** 2, np.inf)
    return float(penalties[int(np.nanargmin(errors))]) if np.isfinite(errors).any() else float(penalties[0])


def logistic_folds(
    X: Array,
    y: Array,
    slices: Sequence[slice],
    weights: Array | None = None,
    tol: float = 1e-10,
    max_iter: int = 50,
) -> list[LinearFit]:
    r"""Fit logistic regression on the complement of every fold, by one full fit and a correction per fold.

    For fold k, the maximiser of :math:`\sum_{i \notin k} w_i \{y_i \eta_i - \log(1 + e^{\eta_i})\}` with
    :math:`\eta_i = a + x_i^\top b`.

    Parameters
    ----------
    X, slices, weights
        As in `least_squares_folds`.
    y : ndarray of shape (n,)
        Target between 0 and 1; fractions count as that share of a success.
    tol : float, default 1e-10
        Largest remaining error of a coefficient times its column's standard deviation, on the log odds scale.
    max_iter : int, default 50
        Most Newton steps of one fit.

    Returns
    -------
    list of LinearFit
        One per slice, with link "logit".

    Raises
    ------
    PositivityError
        A training set has one class only, or its columns separate the classes so that no maximum exists.
    ConvergenceError
        The maximum was not reached in `max_iter` steps.
    InputError
        Shapes disagree, the slices leave rows out, or `y` is outside 0 to 1.

    Notes
    -----
    Newton's method with step halving runs on all rows until near its solution, keeping gradient and Hessian per
    fold. Each fold then takes one Newton step from the pieces of its training folds and is polished with the same
    Hessian and exact gradients, all folds together in one pass over X, until the error left is below `tol`. A fold
    that does not contract is fitted on its own. Memory beyond X: one block of rows.

    References
    ----------
    Albert and Anderson (1984), Biometrika 71, 1-10 (when the maximum exists). McCullagh and Nelder (1989),
    Generalized Linear Models, section 4.4.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0], [0.0], [0.0], [1.0], [1.0], [1.0]])
    >>> fit = logistic_folds(X, np.array([0.0, 0.0, 1.0, 0.0, 1.0, 1.0]), [slice(0, 6)])[0]
    >>> fit(np.array([[0.0], [1.0]])).round(6)
    array([0.333333, 0.666667])
    """
    rows = rows_of(X, y, slices, weights)
    return [_as_fit(solution) for solution in logistic_solutions(rows, tol, max_iter)]


def _as_fit(solution: LogisticSolution) -> LinearFit:
    """Wrap a logistic solution."""
    return LinearFit(solution.coef, solution.intercept, "logit", solution.rank, solution.iterations)


@dataclass(frozen=True)
class OLS:
    """Least squares as a learner of means; see `least_squares_folds`."""

    kind: ClassVar[Literal["mean", "probability"]] = "mean"

    def fit_folds(self, X: Array, y: Array, slices: Sequence[slice], weights: Array | None = None) -> list[LinearFit]:
        """Fit one model per slice on the rows outside it."""
        return least_squares_folds(X, y, slices, weights)


@dataclass(frozen=True)
class Ridge:
    """Ridge regression as a learner of means, the penalty chosen in each training set; see `ridge_folds`.

    Parameters
    ----------
    penalties : float or tuple of float, default 29 values from 1e-6 to 10
        Penalties per row on standardised columns.
    """

    penalties: float | tuple[float, ...] = PENALTIES
    kind: ClassVar[Literal["mean", "probability"]] = "mean"

    def fit_folds(self, X: Array, y: Array, slices: Sequence[slice], weights: Array | None = None) -> list[LinearFit]:
        """Fit one model per slice on the rows outside it."""
        return ridge_folds(X, y, slices, self.penalties, weights)


@dataclass(frozen=True)
class Logit:
    """Logistic regression as a learner of probabilities; see `logistic_folds`.

    Parameters
    ----------
    tol : float, default 1e-8
        Largest remaining error of a standardised coefficient.
    max_iter : int, default 50
        Most Newton steps of one fit.
    """

    tol: float = 1e-8
    max_iter: int = 50
    kind: ClassVar[Literal["mean", "probability"]] = "probability"

    def fit_folds(self, X: Array, y: Array, slices: Sequence[slice], weights: Array | None = None) -> list[LinearFit]:
        """Fit one model per slice on the rows outside it."""
        return logistic_folds(X, y, slices, weights, self.tol, self.max_iter)
