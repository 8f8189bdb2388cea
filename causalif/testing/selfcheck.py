"""The pinned numbers, for a user to run where the package was installed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from causalif._errors import CausalifWarning
from causalif.datasets import load_401k, simulate_invalid_iv_continuous
from causalif.engine.linear import least_squares_folds
from causalif.estimands.counterfactual import CounterfactualMean
from causalif.estimators._least_squares import least_squares, two_stage
from causalif.estimators.ate import ATE
from causalif.estimators.invalid_iv import InvalidIVATE
from causalif.kernels._compiled import gaussian_sums
from causalif.results.estimate import Estimate
from causalif.testing.derivative import check_estimand


@dataclass(frozen=True)
class Line:
    """One pinned number.

    Parameters
    ----------
    name, source : str
        What is computed, and where the expected number comes from.
    expected, found, tolerance : float
        The numbers, and how far they may be apart.
    seconds : float
        Time taken.
    unit : str, default ""
        What a distance from 0 is counted in, such as "standard errors"; for a number that is compared with 0.

    Examples
    --------
    >>> line = Line("error of a draw", "simulation", expected=0.0, found=-0.26, tolerance=4.0, seconds=0.0,
    ...             unit="standard errors")
    >>> line.verdict
    '-0.26 standard errors, where at most 4 either way will do'
    >>> Line("two", "arithmetic", expected=2.0, found=2.5, tolerance=0.1, seconds=0.0).ok
    False
    """

    name: str
    source: str
    expected: float
    found: float
    tolerance: float
    seconds: float
    unit: str = ""

    @property
    def ok(self) -> bool:
        """Whether the number is met."""
        return abs(self.found - self.expected) <= self.tolerance

    @property
    def verdict(self) -> str:
        """What was found, and the rule it is held to."""
        if self.expected == 0:
            found = f"{self.found:.2g} {self.unit}".rstrip()
            return f"{found}, where at most {self.tolerance:g} either way will do"
        return f"{self.found:,.3f}, where {self.expected:,.3f} within {self.tolerance:g} is expected"


@dataclass(frozen=True, repr=False)
class SelfCheck:
    """All pinned numbers with what this installation computes.

    Parameters
    ----------
    lines : tuple of Line
        One per number.

    Examples
    --------
    >>> print(SelfCheck((Line("two", "arithmetic", 2.0, 2.5, 0.1, 0.0),)).ok)
    False
    """

    lines: tuple[Line, ...]

    @property
    def ok(self) -> bool:
        """Whether every number is met."""
        return all(line.ok for line in self.lines)

    def __repr__(self) -> str:
        return f"SelfCheck({sum(line.ok for line in self.lines)} of {len(self.lines)} numbers met)"

    def __str__(self) -> str:
        """Return one line per number and a verdict."""
        rows = [
            f"{'ok  ' if line.ok else 'FAIL'}  {line.name:<60}  {line.verdict}  ({line.source})" for line in self.lines
        ]
        met, seconds = sum(line.ok for line in self.lines), sum(line.seconds for line in self.lines)
        return "\n".join([*rows, f"{met} of {len(self.lines)} numbers met in {seconds:.1f} s"])


def known_401k() -> pd.DataFrame:
    """Return the 401(k) table in dollars with the covariates of the published regressions."""
    frame = load_401k()
    age = frame["age"] - 25
    return frame.assign(nettfa=1000 * frame["nettfa"], age25=age, age25sq=age**2)


def published_regressors(frame: pd.DataFrame) -> np.ndarray:
    """Return X = (1, inc, age − 25, (age − 25)², marr, fsize)."""
    return np.column_stack([np.ones(len(frame)), frame[["inc", "age25", "age25sq", "marr", "fsize"]].to_numpy(float)])


def ols_401k() -> Estimate:
    """Return the effect of participation on net assets by OLS, in dollars."""
    frame = known_401k()
    a, y = frame["p401k"].to_numpy(float), frame["nettfa"].to_numpy(float)
    values, influence = least_squares(y, np.column_stack([a, published_regressors(frame)]))
    return Estimate(values[:1], influence[:, :1], ("ATE",), frame.index)


def tsls_401k() -> Estimate:
    """Return the effect of participation by two-stage least squares with eligibility as instrument, in dollars."""
    frame = known_401k()
    x = published_regressors(frame)
    a, z = frame["p401k"].to_numpy(float), frame["e401k"].to_numpy(float)
    values, influence = two_stage(frame["nettfa"].to_numpy(float), np.column_stack([a, x]), np.column_stack([z, x]))
    return Estimate(values[:1], influence[:, :1], ("ATE",), frame.index)


def _number(estimate: Callable[[], Estimate], name: str) -> float:
    """Return the one number of a published estimate."""
    return float(getattr(estimate(), name).item())


def _wampler() -> float:
    """Worst error of the coefficients of NIST's Wampler1, y = Σ x^k for x = 0, ..., 20, all of which are 1."""
    x = np.arange(21.0)
    powers = np.column_stack([x**k for k in range(1, 6)])
    fit = least_squares_folds(powers, 1 + powers.sum(axis=1), [slice(0, 21)])[0]
    return float(max(np.abs(fit.coef - 1).max(), abs(fit.intercept - 1)))


def _ate_agreement() -> float:
    """Difference between ATE without splitting and AIPW written out with statsmodels."""
    import statsmodels.api as sm

    frame = known_401k()
    columns = ["inc", "age25", "age25sq", "marr", "fsize"]
    x, y, a = sm.add_constant(frame[columns].to_numpy(float)), frame["nettfa"].to_numpy(), frame["e401k"].to_numpy()
    pi = sm.Logit(a, x).fit(disp=0, method="newton", tol=1e-12).predict(x)
    mu1, mu0 = (sm.OLS(y[a == level], x[a == level]).fit().predict(x) for level in (1, 0))
    phi = mu1 - mu0 + a * (y - mu1) / pi - (1 - a) * (y - mu0) / (1 - pi)
    fit = ATE(outcome="nettfa", treatment="e401k", adjust=columns, learners="linear", folds=1).fit(frame)
    return float(fit.params["ATE"] / phi.mean() - 1)


def _one_sided() -> float:
    """Effect of participation on the 401(k) table by the collapsed functional, against AIPW among the eligible."""
    frame = known_401k()
    columns = ["inc", "age25", "age25sq", "marr", "fsize"]
    fit = InvalidIVATE(outcome="nettfa", treatment="p401k", instrument="e401k", adjust=columns, learners="linear").fit(
        frame
    )
    assert fit.nuisances is not None
    eta, z, a, y = fit.nuisances, frame["e401k"], frame["p401k"], frame["nettfa"]
    fitted = eta["y1"].where(a == 1, eta["y0"])
    phi = eta["y1"] - eta["y0"] + z / eta["pi"] * (a - eta["mu"]) / (eta["mu"] * (1 - eta["mu"])) * (y - fitted)
    return float(fit.params["ATE"] / phi.mean() - 1)


def _recovers_the_truth() -> float:
    """Standardised error on data where OLS and 2SLS fail: must be an ordinary draw."""
    simulated = simulate_invalid_iv_continuous(4000, random_state=20)
    fit = InvalidIVATE(outcome="y", treatment="a", instrument="z", adjust=["x1", "x2", "x3"], learners="linear").fit(
        simulated.data
    )
    return float((fit.params["ATE"] - simulated.truth["ATE"]) / fit.std_errors["ATE"])


CHECKS: tuple[tuple[str, str, float, Callable[[], float], float, str], ...] = (
    ("401(k) OLS, dollars", "Abadie 2003", 13527.05, partial(_number, ols_401k, "params"), 0.005, ""),
    ("401(k) OLS, standard error", "Abadie 2003", 1809.59, partial(_number, ols_401k, "std_errors"), 0.005, ""),
    ("401(k) 2SLS, dollars", "Abadie 2003", 9418.83, partial(_number, tsls_401k, "params"), 0.005, ""),
    (
        "401(k) 2SLS, standard error (HC0)",
        "linearmodels",
        2152.08,
        partial(_number, tsls_401k, "std_errors"),
        0.005,
        "",
    ),
    ("Wampler1, largest coefficient error", "NIST StRD", 0.0, _wampler, 1e-9, ""),
    ("ATE over AIPW by statsmodels, minus 1", "statsmodels", 0.0, _ate_agreement, 1e-8, ""),
    ("401(k) collapsed effect over AIPW among eligible, minus 1", "written out", 0.0, _one_sided, 1e-10, ""),
    (
        "pathwise derivative of a counterfactual mean, largest error",
        "summation",
        0.0,
        lambda: check_estimand(CounterfactualMean("y", "a", ("x",), 1.0)).derivative,
        1e-6,
        "",
    ),
    (
        "invalid instrument, distance of one draw from the truth",
        "simulation",
        0.0,
        _recovers_the_truth,
        4.0,
        "standard errors",
    ),
)


def selfcheck(verbose: bool = True) -> SelfCheck:
    """Compute the pinned numbers on this machine, in under ten seconds, and say what computes kernel sums.

    Parameters
    ----------
    verbose : bool, default True
        Print the report.

    Returns
    -------
    SelfCheck
        The numbers, with ``ok``.

    Examples
    --------
    >>> selfcheck(verbose=False).ok
    True
    """
    lines = []
    for name, source, expected, compute, tolerance, unit in CHECKS:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CausalifWarning)  # what these fits earn is no news here
            found = compute()
        lines.append(Line(name, source, expected, found, tolerance, time.perf_counter() - start, unit))
    report = SelfCheck(tuple(lines))
    if verbose:
        print(report)
        print(f"Kernel sums are computed by {'numpy' if gaussian_sums() is None else 'the compiled pass'}.")
    return report
