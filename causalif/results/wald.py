"""Wald tests of linear statements about the terms of an estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from causalif._errors import InputError
from causalif._validate import Array
from causalif.results.algebra import is_compound
from causalif.results.covariance import moments

if TYPE_CHECKING:
    from causalif.results.estimate import Estimate

Contrast: TypeAlias = str | Sequence[str] | Mapping[str, float] | npt.NDArray[np.generic] | pd.DataFrame
_ROUNDING = 1e-12
_REDUNDANT = 1e-10  # smallest eigenvalue of a correlation matrix that still counts as a separate statement


@dataclass(frozen=True)
class WaldTest:
    """Outcome of a Wald test.

    Parameters
    ----------
    statistic : float
        Chi-squared statistic, or F statistic (chi-squared over `df`) when the estimate is clustered.
    df : int
        Number of statements tested.
    df_denominator : float
        Denominator degrees of freedom of the F law, ``inf`` for the chi-squared law.
    p_value : float
        Probability of a larger statistic when the null hypothesis is true.
    null : str
        The null hypothesis.

    Examples
    --------
    >>> print(WaldTest(5.2, 2, np.inf, 0.0743, "a = 0 and b = 0"))
    H0: a = 0 and b = 0
    chi2(2) = 5.2, p = 0.0743
    """

    statistic: float
    df: int
    df_denominator: float
    p_value: float
    null: str

    @property
    def distribution(self) -> str:
        """Law of the statistic under the null hypothesis, such as ``chi2(2)`` or ``F(2, 19)``."""
        return f"chi2({self.df})" if np.isinf(self.df_denominator) else f"F({self.df}, {self.df_denominator:g})"

    def __str__(self) -> str:
        """Null hypothesis, statistic and p-value."""
        return f"H0: {self.null}\n{self.distribution} = {self.statistic:.4g}, p = {self.p_value:.3g}"


def wald_test(estimate: Estimate, contrast: Contrast, null: float | Sequence[float] = 0.0) -> WaldTest:
    r"""Test whether linear combinations of terms equal given numbers.

    .. math:: W = (R\hat\theta - r)^\top (R \hat V R^\top)^{-1} (R\hat\theta - r)

    is compared with :math:`\chi^2_q`; with G clusters :math:`W / q` is compared with :math:`F(q, G - 1)`.

    Parameters
    ----------
    estimate : Estimate
        The p terms.
    contrast : str, sequence of str, mapping of str to float, or array of shape (q, p)
        One term, several terms (each tested), one combination given by its coefficients, or the matrix R. A
        DataFrame's columns are matched by label; labels it lacks have coefficient 0.
    null : float or sequence of q floats, default 0
        The values r.

    Returns
    -------
    WaldTest
        Statistic, degrees of freedom, p-value, and the null hypothesis in words.

    Raises
    ------
    InputError
        If a label is unknown, shapes disagree, a combination has no sampling variation, or the statements repeat one
        another.

    Notes
    -----
    Assumes the estimates are near normal. With one statement the p-value is that of the two-sided t test.

    References
    ----------
    Wald (1943), Transactions of the American Mathematical Society 54. Wooldridge (2010), Econometric Analysis of
    Cross Section and Panel Data, section 4.2.3.

    Examples
    --------
    >>> from causalif.results.estimate import Estimate
    >>> psi = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
    >>> two = Estimate([1.0, 0.5], psi, ["a", "b"], pd.RangeIndex(4))
    >>> print(wald_test(two, {"a": 1, "b": -1}))
    H0: a - b = 0
    chi2(1) = 0.5, p = 0.48
    """
    matrix = _matrix(contrast, estimate.labels)
    target = np.broadcast_to(np.asarray(null, dtype=float), (len(matrix),)) if np.ndim(null) == 0 else np.asarray(null)
    if target.shape != (len(matrix),) or not np.isfinite(target).all():
        raise InputError(f"`null` must be a number or {len(matrix)} finite numbers. Got {null!r}.")
    rows = [_sentence(row, estimate.labels, r) for row, r in zip(matrix, target, strict=True)]
    law = moments(estimate.influence_values @ matrix.T, estimate.clusters)
    _refuse_fixed(law.std_errors, np.abs(matrix) @ estimate.moments.std_errors, rows)
    _refuse_redundant(law.correlation, rows)
    z = (matrix @ estimate.values - target) / law.std_errors
    chi2 = float(z @ np.linalg.solve(law.correlation, z))
    df, denominator = len(matrix), float(law.df.min())
    if np.isinf(denominator):
        return WaldTest(chi2, df, denominator, float(special.chdtrc(df, chi2)), " and ".join(rows))
    statistic = chi2 / df
    return WaldTest(statistic, df, denominator, float(special.fdtrc(df, denominator, statistic)), " and ".join(rows))


def _matrix(contrast: Contrast, labels: Sequence[str]) -> Array:
    if isinstance(contrast, pd.DataFrame):
        _refuse_unknown(list(contrast.columns), labels)
        contrast = contrast.reindex(columns=list(labels), fill_value=0.0).to_numpy(dtype=float)
    if isinstance(contrast, str):
        contrast = [contrast]
    if not isinstance(contrast, (Mapping, Sequence, np.ndarray)):
        raise InputError(
            f"`contrast` must name terms, such as {labels[0]!r}, or give their weights. Got {contrast!r}; the value to "
            f"test against is the second argument: test({labels[0]!r}, {contrast!r})."
        )
    if isinstance(contrast, Mapping):
        _refuse_unknown(list(contrast), labels)
        return _checked(np.array([[float(contrast.get(label, 0.0)) for label in labels]]), labels)
    if all(isinstance(entry, str) for entry in contrast):
        names = [str(entry) for entry in contrast]
        _refuse_unknown(names, labels)
        return _checked(np.array([[float(label == name) for label in labels] for name in names]), labels)
    return _checked(np.atleast_2d(np.asarray(contrast, dtype=float)), labels)


def _refuse_unknown(names: Sequence[object], labels: Sequence[str]) -> None:
    unknown = [name for name in names if name not in labels]
    if unknown:
        raise InputError(f"No term named {unknown[0]!r}. The terms are: {', '.join(map(repr, labels))}.")


def _checked(matrix: Array, labels: Sequence[str]) -> Array:
    if matrix.ndim != 2 or matrix.shape[1] != len(labels) or len(matrix) == 0 or not np.isfinite(matrix).all():
        raise InputError(
            f"`contrast` must be a label, labels, a mapping from labels to coefficients, or a finite matrix of shape "
            f"(q, {len(labels)}). Got shape {matrix.shape}."
        )
    return matrix


def _refuse_fixed(std_errors: Array, size: Array, rows: Sequence[str]) -> None:
    # A difference of two copies of one estimate varies by rounding only; a test of it would be noise.
    fixed = std_errors <= _ROUNDING * size
    if np.any(fixed):
        raise InputError(f"{rows[int(np.argmax(fixed))]!r} cannot be tested: its left side has no sampling variation.")


def _refuse_redundant(correlation: Array, rows: Sequence[str]) -> None:
    rank = int((np.linalg.eigvalsh(correlation) > _REDUNDANT).sum())
    if rank < len(rows):
        raise InputError(
            f"The {len(rows)} statements of `contrast` amount to {rank}: the estimates of some follow from the others. "
            "Leave out the redundant ones."
        )


def _sentence(row: Array, labels: Sequence[str], null: float) -> str:
    parts = [(c, label) for c, label in zip(row, labels, strict=True) if c != 0]
    text = ""
    for c, label in parts:
        size = "" if abs(c) == 1 else f"{abs(c):g}*"
        sign = ("-" if c < 0 else "") if not text else (" - " if c < 0 else " + ")
        text += f"{sign}{size}{f'({label})' if is_compound(label) else label}"
    return f"{text or '0'} = {null:g}"
