"""What label a row should have, learned from the reference alone: m(x) = E[ψ(Y) | X = x] on the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import scipy.linalg
from scipy.special import softmax

from causalif._errors import InputError
from causalif._validate import Array
from causalif.kernels import Kernel, block
from causalif.valuation.features import to_numpy
from causalif.valuation.labels import LabelCoding

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
# The penalty is chosen on this many reference rows at most; solving takes M²·8 bytes and M³ multiplications.
TRIED, MOST_REFERENCE = 1_000, 8_000
FOLDS = 5


class LabelModel(Protocol):
    """A fitted label model.

    ``coefficients`` (M, C), where not None, say that m(x) = Σ_l k(x, r_l) coefficients_l; else ``predict`` is asked.
    """

    @property
    def coefficients(self) -> Array | None:
        """Weights of the kernel sums over the reference that give m(x)."""

    @property
    def held_out(self) -> Array:
        """|ψ(y_l) − m_{−l}(r_l)| of every reference row, predicted without it, shape (M,)."""

    def predict(self, features: Any) -> Array:
        """Return m(x), shape (n, C)."""


@dataclass(frozen=True, eq=False)
class KernelMean:
    """Conditional mean embedding: kernel ridge regression of ψ(y) on x over the reference.

    A = (K_RR + M η I)⁻¹ Ψ and m(x) = k(x, R) A.

    Parameters
    ----------
    coefficients : ndarray of shape (M, C)
        A.
    held_out : ndarray of shape (M,)
        Norms of A_l / [(K_RR + M η I)⁻¹]_ll, the residuals without row l.
    ridge : float
        η.
    """

    coefficients: Array
    held_out: Array
    ridge: float

    def predict(self, features: Any) -> Array:
        """Refuse: predictions are kernel sums."""
        raise NotImplementedError("ask for kernel sums weighted by `coefficients`")


@dataclass(frozen=True, eq=False)
class Linear:
    """Logistic or linear regression as plain arrays.

    Parameters
    ----------
    slopes, intercepts : ndarray of shape (C, d), (C,)
        Of the scores.
    held_out : ndarray of shape (M,)
        Cross-validated residual norms.
    probabilities : bool
        Whether scores go through a softmax.
    """

    slopes: Array
    intercepts: Array
    held_out: Array
    probabilities: bool
    coefficients: None = None

    def predict(self, features: Any) -> Array:
        """Return m(x), shape (n, C)."""
        scores = to_numpy(features).astype(np.float64) @ self.slopes.T + self.intercepts
        return np.asarray(softmax(scores, axis=1) if self.probabilities else scores)


@dataclass(frozen=True, eq=False)
class Fitted:
    """Any scikit-learn model, fitted.

    Parameters
    ----------
    model : object
        With ``predict_proba`` for classes, ``predict`` for numbers.
    held_out : ndarray of shape (M,)
        Cross-validated residual norms.
    classes : int
        Number of classes of the reference, 0 for a numeric label.
    """

    model: Any
    held_out: Array
    classes: int
    coefficients: None = None

    def predict(self, features: Any) -> Array:
        """Return m(x), shape (n, C)."""
        return _predictions(self.model, to_numpy(features), self.classes)


def check_label_model(spec: Any) -> None:
    """Raise unless this names a label model or is a scikit-learn estimator."""
    named = spec is None or (isinstance(spec, str) and spec in ("cme", "classifier", "joint"))
    if not named and (isinstance(spec, (str, type)) or not hasattr(spec, "fit") or not hasattr(spec, "predict")):
        raise InputError(
            '`label_model` must be "cme", "classifier", "joint", None, or a scikit-learn estimator. '
            f"Got {spec!r} instead."
        )


def fit_label_model(
    spec: Any, kernel: Kernel, features: Any, codes: Array, coding: LabelCoding, center: Array
) -> LabelModel | None:
    """Fit a label model on the reference; None where the label takes no part or is part of the kernel."""
    if spec is None or spec == "joint":
        return None
    if isinstance(spec, str) and spec == "cme":
        return _fit_kernel_mean(kernel, features, codes, coding, center)
    return _fit_outside(spec, to_numpy(features), codes, coding)


def _fit_kernel_mean(kernel: Kernel, features: Any, codes: Array, coding: LabelCoding, center: Array) -> KernelMean:
    if not kernel.positive_definite:
        raise InputError(
            f'label_model="cme" needs a positive definite kernel. Got {kernel!r}; take "gaussian" or "laplace", or '
            'label_model="classifier".'
        )
    if len(codes) > MOST_REFERENCE:
        raise InputError(
            f'label_model="cme" solves a system of the size of the reference and takes at most {MOST_REFERENCE:,} '
            f'rows. Got {len(codes):,}; pass a random part of them, or label_model="classifier".'
        )
    gram, targets = block(features, features, kernel, center=center), coding.targets(codes)
    some = np.linspace(0, len(codes) - 1, min(len(codes), TRIED)).astype(np.intp)
    ridge = choose_ridge(gram[np.ix_(some, some)], targets[some])
    coefficients, held_out = ridge_solution(gram, targets, ridge)
    return KernelMean(coefficients, np.linalg.norm(held_out, axis=1), ridge)


def ridge_solution(gram: Array, targets: Array, ridge: float) -> tuple[Array, Array]:
    """Return A and the residuals of every row when it is left out, both of shape (M, C)."""
    penalised = gram.copy()
    np.fill_diagonal(penalised, penalised.diagonal() + len(gram) * ridge)
    # In Fortran's order nothing is copied.
    factor = scipy.linalg.cholesky(np.asfortranarray(penalised.T), lower=True, overwrite_a=True, check_finite=False)
    coefficients = scipy.linalg.cho_solve((factor, True), targets, check_finite=False)
    inverse = scipy.linalg.lapack.dpotri(factor, lower=True, overwrite_c=True)[0]
    return coefficients, coefficients / np.diag(inverse)[:, None]


def choose_ridge(gram: Array, targets: Array) -> float:
    """Return the penalty with the smallest leave-one-out error."""
    errors = [float(np.square(ridge_solution(gram, targets, ridge)[1]).sum()) for ridge in RIDGES]
    return RIDGES[int(np.argmin(errors))]


def _fit_outside(spec: Any, features: Array, codes: Array, coding: LabelCoding) -> LabelModel:
    """Fit a scikit-learn model once on all reference rows, and once per fold for held-out residuals."""
    from sklearn.base import clone

    classes = coding.known if coding.kind == "classes" else 0
    default = isinstance(spec, str)
    model = _default_model(classes) if default else _seeded(spec)
    if classes == 1:
        raise InputError(
            "A classifier needs at least two classes on the reference. Got one; add reference rows of the others, or "
            'take label_model="cme" or None.'
        )
    if classes and not hasattr(model, "predict_proba"):
        raise InputError("`label_model` must have `predict_proba` for classes. Wrap it in CalibratedClassifierCV.")
    y: npt.NDArray[Any] = codes.astype(np.intp) if classes else codes
    predicted = np.empty((len(y), coding.width))
    for fold in range(FOLDS):
        out = _fold(y, classes) == fold
        if out.any():
            kept = np.unique(y[~out])
            if classes and len(kept) == 1:  # a class with one reference row: without it nothing is left to tell apart
                predicted[out] = np.arange(classes) == kept[0]
                continue
            predicted[out] = _predictions(clone(model).fit(features[~out], y[~out]), features[out], classes)
    held_out = coding.residuals(codes, predicted)
    fitted = clone(model).fit(features, y)
    if not default:
        return Fitted(fitted, held_out, classes)
    slopes, intercepts = np.atleast_2d(fitted.coef_), np.atleast_1d(fitted.intercept_)
    if classes == 2:
        slopes, intercepts = np.vstack([0 * slopes, slopes]), np.r_[0.0, intercepts]
    return Linear(slopes, intercepts, held_out, classes > 0)


def _seeded(spec: Any) -> Any:
    """Return a copy whose unset seeds are set, so that equal data give equal values."""
    from sklearn.base import clone

    model = clone(spec)
    unset = [name for name, value in model.get_params().items() if name.endswith("random_state") and value is None]
    return model.set_params(**dict.fromkeys(unset, 0)) if unset else model


def _fold(y: npt.NDArray[Any], classes: int) -> npt.NDArray[np.intp]:
    """Deal rows to folds in turn, class by class."""
    order = np.argsort(y, kind="stable") if classes else np.arange(len(y))
    fold = np.empty(len(y), dtype=np.intp)
    fold[order] = np.arange(len(y)) % FOLDS
    return fold


def _default_model(classes: int) -> Any:
    from sklearn.linear_model import LogisticRegression, RidgeCV

    return LogisticRegression(max_iter=1000) if classes else RidgeCV(np.logspace(-3, 4, 8))


def _predictions(model: Any, features: Array, classes: int) -> Array:
    if not classes:
        return np.asarray(model.predict(features), dtype=np.float64).reshape(len(features), 1)
    predicted = np.zeros((len(features), classes))
    predicted[:, np.asarray(model.classes_, dtype=np.intp)] = model.predict_proba(features)
    return predicted
