"""statsmodels results: their design, loss and covariance, and how they are fitted again."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import ConvergenceError, InputError
from causalif._validate import Array, one_of
from causalif.influence.adapters._units import read_units
from causalif.influence.checks import FAR, SEPARATES, checked, warn_leverage
from causalif.influence.estimating import EstimatingModel
from causalif.influence.instrumental import InstrumentalModel
from causalif.influence.losses import Family, Logistic, Loss, PoissonLog, Squared
from causalif.influence.model import CaseModel, LinearModel, Mask
from causalif.influence.subject import Fit, ModelSubject

LINEAR = ("OLS", "WLS")
DISCRETE = ("Logit", "Poisson")
CORNERED = ("QuantReg", "RLM")
KNOWN = (*LINEAR, "GLM", *DISCRETE, "IV2SLS", *CORNERED)
COVARIANCES = ("nonrobust", "HC0", "HC1", "HC2", "HC3", "cluster")


def adapt_statsmodels(fitted: Any, data: Any, clusters: Any, curvature: str) -> ModelSubject:
    """Return the subject behind a statsmodels result."""
    if data is not None:
        raise InputError("`data` is for scikit-learn fits; a statsmodels result remembers its own rows.")
    one_of("curvature", curvature, ("observed", "expected"))
    results = getattr(fitted, "_results", fitted)
    kind = type(getattr(results, "model", None)).__name__
    _require_known(results, kind)
    labels, index = tuple(map(str, results.model.exog_names)), row_labels(results.model)
    model = _model(results, kind, labels, index, curvature)
    if kind not in CORNERED:
        warn_leverage(model.leverage, index)
    cov_type = str(getattr(results, "cov_type", "nonrobust"))
    groups = getattr(results, "cov_kwds", {}).get("groups") if cov_type == "cluster" else None
    units = read_units(clusters if clusters is not None or groups is None else np.asarray(groups), index)
    refit = _Refit(results, kind)
    return ModelSubject(
        model,
        Fit(model.theta if isinstance(model, LinearModel) else np.asarray(results.params, dtype=float),
            refit.covariance(results), refit.freedom(results)),
        refit,
        units,
        robust=cov_type not in ("nonrobust", "H1"),
        readapt=_readapting(results, kind, labels, index) if kind in CORNERED else None,
        described=f"statsmodels {kind}",
        residuals=_residuals(model, results),
        by_cluster=groups is not None and clusters is None,
    )  # fmt: skip


def row_labels(model: Any) -> pd.Index:
    """Return the index of the frame that was fitted, rows with missing values left out as statsmodels did."""
    labels = getattr(model.data, "row_labels", None)
    return pd.RangeIndex(len(model.endog)) if labels is None else pd.Index(labels)


def _require_known(results: Any, kind: str) -> None:
    if kind not in KNOWN or not hasattr(results, "cov_params") or "Regularized" in type(results).__name__:
        raise InputError(
            f"statsmodels results of {kind} ({type(results).__name__}) are not supported. Rows can be left out of fits "
            f"by `fit()` of {', '.join(KNOWN)}."
        )
    if getattr(results, "k_constr", 0):
        raise InputError(
            "The fit has constraints on its coefficients, which leaving out rows would have to keep. Drop the "
            "constrained columns from the design, or move them into the offset, and use `fit()`."
        )
    cov_type = getattr(results, "cov_type", "nonrobust")
    if cov_type == "cluster" and np.asarray(results.cov_kwds["groups"]).ndim > 1:
        raise InputError(
            "The fit is clustered in two ways, so that no set of rows is a unit that could be left out. Fit with one "
            "column of groups."
        )
    if kind not in CORNERED and cov_type not in COVARIANCES:
        raise InputError(
            f"The fit has cov_type={cov_type!r}, whose change without a row is not known (rows may depend on their "
            f"neighbours). Fit with one of {', '.join(COVARIANCES)}."
        )


def _model(
    results: Any, kind: str, labels: tuple[str, ...], index: pd.Index, curvature: str
) -> LinearModel | InstrumentalModel | EstimatingModel:
    model = results.model
    if kind == "IV2SLS":
        return InstrumentalModel(
            _floats(model.endog).ravel(), _floats(model.exog), _floats(model.instrument), labels, index
        )
    if kind in CORNERED:
        return _cornered(results, kind, labels, index)
    n = len(model.endog)
    loss, weights, offset, scaled = _objective(model, kind, n, curvature)
    X, theta = _floats(model.exog), _floats(results.params)
    penalty = np.zeros(len(theta))
    built = LinearModel(X, _floats(model.endog), weights, offset, loss, penalty, theta, labels, index, scaled=scaled)
    found = checked(built)
    assert isinstance(found, LinearModel)
    return found


def _objective(model: Any, kind: str, n: int, curvature: str) -> tuple[Loss, Array, Array, bool]:
    """Return loss, weights, offset and whether the dispersion is estimated."""
    ones, zeros = np.ones(n), np.zeros(n)
    if kind in LINEAR:
        return Squared(), _floats(model.weights) * ones if kind == "WLS" else ones, zeros, True
    offset = zeros + sum(_floats(getattr(model, name, 0.0)) for name in ("offset", "exposure") if _has(model, name))
    if kind in DISCRETE:
        return (Logistic() if kind == "Logit" else PoissonLog()), ones, offset, False
    weights = _floats(model.iweights) * _floats(model.n_trials) * ones
    family, link = type(model.family).__name__, type(model.family.link).__name__
    named: dict[tuple[str, str], Loss] = {
        ("Gaussian", "Identity"): Squared(), ("Binomial", "Logit"): Logistic(), ("Poisson", "Log"): PoissonLog(),
    }  # fmt: skip
    loss = named.get((family, link)) or Family(model.family, "expected" if curvature == "expected" else "observed")
    asked = getattr(model, "scaletype", None)
    estimated = family not in ("Binomial", "Poisson", "NegativeBinomial") if asked is None else isinstance(asked, str)
    return loss, weights, offset, estimated


def _has(model: Any, name: str) -> bool:
    value = getattr(model, name, None)
    return value is not None and np.size(value) > 0


def _cornered(results: Any, kind: str, labels: tuple[str, ...], index: pd.Index) -> EstimatingModel:
    model = results.model
    X, theta = _floats(model.exog), _floats(results.params)
    e = _floats(model.endog) - X @ theta
    if kind == "QuantReg":
        h = float(results.bandwidth)
        density = _floats(np.maximum(0.75 * (1.0 - (e / h) ** 2), 0.0)) / h  # Epanechnikov, as statsmodels does
        return EstimatingModel(X, _floats(float(results.q) - (e < 0)), _floats(density), theta, labels, index)
    s = float(results.scale)
    return EstimatingModel(X, model.M.psi(e / s), model.M.psi_deriv(e / s) / s, theta, labels, index)


def _readapting(results: Any, kind: str, labels: tuple[str, ...], index: pd.Index) -> Any:
    refit = _Refit(results, kind)

    def readapt(keep: Mask) -> CaseModel:
        return _cornered(refit.results(keep), kind, labels, index[keep])

    return readapt


def _residuals(model: CaseModel, results: Any) -> Array | None:
    """Return residuals over their standard deviation."""
    if isinstance(model, LinearModel):
        safe = np.where(model.bend > 0, model.bend, 1.0)
        pearson = -model.slope / np.sqrt(safe)
        return np.asarray(pearson / np.sqrt(max(model.scale(), 1e-300) * np.maximum(1 - model.leverage, 1e-8)))
    e = _floats(results.model.endog).ravel() - _floats(results.model.exog) @ _floats(results.params)
    spread = 1.4826 * float(np.median(np.abs(e - np.median(e))))
    return e / spread if spread > 0 else None


class _Refit:
    """Fit the kept rows by statsmodels, with the options of the fit."""

    def __init__(self, results: Any, kind: str) -> None:
        self._results, self._kind = results, kind
        self._options = _fit_options(results, kind)

    def __call__(self, keep: Mask) -> Fit:
        """Return coefficients and covariance of the kept rows."""
        fitted = self.results(keep)
        return Fit(_floats(fitted.params), self.covariance(fitted), self.freedom(fitted))

    def results(self, keep: Mask) -> Any:
        """Return the statsmodels results of the kept rows."""
        model = self._results.model
        X = _floats(model.exog)[keep]
        if np.linalg.matrix_rank(X) < X.shape[1]:
            raise InputError(
                "Without these rows the design is collinear: they are the last ones of a level, so that its "
                "coefficient has no value."
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rebuilt = type(model)(_floats(model.endog)[keep], X, **_row_arguments(model, self._kind, keep))
            options = dict(self._options)
            if "groups" in options.get("cov_kwds", {}):
                options["cov_kwds"] = options["cov_kwds"] | {"groups": options["cov_kwds"]["groups"][keep]}
            try:
                fitted = rebuilt.fit(**options)
            except Exception as error:  # statsmodels raises several kinds, none of which may end a search
                raise InputError(f"statsmodels could not fit the remaining rows: {error}") from error
        fitted = getattr(fitted, "_results", fitted)
        if getattr(fitted, "mle_retvals", None) and not fitted.mle_retvals.get("converged", True):
            raise ConvergenceError("statsmodels did not converge without these rows.")
        self._refuse_separation(fitted, X)
        return fitted

    def _refuse_separation(self, fitted: Any, X: Array) -> None:
        """Refuse coefficients that run to infinity: their t statistics would look insignificant."""
        if not _is_binary(self._results.model, self._kind):
            return
        before = np.abs(_floats(self._results.model.exog) @ _floats(self._results.params)).max()
        if np.abs(X @ _floats(fitted.params)).max() > FAR >= before:
            raise ConvergenceError(SEPARATES)

    @staticmethod
    def covariance(results: Any) -> Array:
        """Return the covariance as reported."""
        return np.atleast_2d(np.asarray(results.cov_params(), dtype=float))

    @staticmethod
    def freedom(results: Any) -> float:
        """Return the degrees of freedom of the t statistics, ``inf`` for the normal law."""
        if not getattr(results, "use_t", False):
            return float("inf")
        return float(getattr(results, "df_resid_inference", None) or results.df_resid)


def _is_binary(model: Any, kind: str) -> bool:
    return kind == "Logit" or (kind == "GLM" and type(model.family).__name__ == "Binomial")


def _fit_options(results: Any, kind: str) -> dict[str, Any]:
    if kind == "IV2SLS":
        return {}
    if kind == "RLM":
        known = getattr(results, "fit_options", {}) or {}
        return {name: known[name] for name in ("cov", "scale_est", "update_scale", "conv") if name in known}
    if kind == "QuantReg":
        unlike = _floats(results.cov_params()) / np.linalg.inv(results.model.exog.T @ results.model.exog)
        same = np.allclose(unlike, float(results.sparsity) ** 2 * results.q * (1 - results.q), rtol=1e-6)
        return {"q": float(results.q), "max_iter": 5000, "vcov": "iid" if same else "robust"}
    options: dict[str, Any] = {"cov_type": results.cov_type}
    if results.cov_type == "cluster":
        options["cov_kwds"] = _cluster_options(results.cov_kwds)
    options["use_t"] = bool(results.use_t)
    if kind in DISCRETE:
        options |= {"disp": False, "method": "newton", "maxiter": 100, "start_params": _floats(results.params)}
    if kind == "GLM":
        options |= {"tol": 1e-12, "maxiter": 200, "scale": getattr(results.model, "scaletype", None)}
    return options


def _cluster_options(kwds: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: kwds[name] for name in ("use_correction", "df_correction") if name in kwds}
    return {"groups": np.asarray(kwds["groups"]), **kept}


def _row_arguments(model: Any, kind: str, keep: Mask) -> dict[str, Any]:
    n = len(model.endog)
    if kind == "IV2SLS":
        return {"instrument": _floats(model.instrument)[keep]}
    if kind == "WLS":
        return {"weights": (_floats(model.weights) * np.ones(n))[keep]}
    if kind == "RLM":
        return {"M": model.M}
    if kind == "GLM":
        given = {name: _floats(getattr(model, name))[keep] for name in ("freq_weights", "var_weights")
                 if _has(model, name) and np.size(getattr(model, name)) == n}  # fmt: skip
        if np.any(model.n_trials != 1):  # the shares of successes are fitted, each with its number of trials
            given["var_weights"] = given.get("var_weights", 1.0) * (_floats(model.n_trials) * np.ones(n))[keep]
        offset = sum(_floats(getattr(model, name)) for name in ("offset", "exposure") if _has(model, name))
        family = copy.copy(model.family)
        if hasattr(family, "n"):
            family.n = 1  # the family remembers the trials of the rows that it was fitted to
        return {"family": family, "offset": (offset + np.zeros(n))[keep], **given}
    held = [name for name in ("offset", "exposure") if kind in DISCRETE and _has(model, name)]
    return {"offset": (sum(_floats(getattr(model, name)) for name in held) + np.zeros(n))[keep]} if held else {}


def _floats(values: npt.ArrayLike) -> Array:
    return np.asarray(values, dtype=float)
