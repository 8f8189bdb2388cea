"""What the parametric estimator hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from causalif._errors import CausalifWarning
from causalif._validate import Array
from causalif.engine.parametric.mestimation import scaled_std_error


@dataclass(frozen=True, eq=False)
class Target:
    """One number with its influence values.

    Parameters
    ----------
    value : float
        The estimate.
    influence : ndarray, shape (n,)
        Centred, multiplied by w_i / mean(w), first-step estimation included.
    """

    value: float
    influence: Array

    @property
    def std_error(self) -> float:
        """Sandwich standard error for independent rows."""
        return scaled_std_error(self.influence)

    def times(self, factor: float) -> Target:
        """Return the same target in other units."""
        return Target(self.value * factor, self.influence * factor)


@dataclass(frozen=True, eq=False)
class ParametricFit:
    """What the parametric estimator found, in the units of the data.

    Parameters
    ----------
    theta, influence : float and ndarray (n,)
        Multiply robust estimate of the average effect of one unit of treatment, and its sandwich influence values.
    theta_reg, influence_reg : float and ndarray (n,)
        Mean of beta(X) alone, consistent only if beta and (pi or rho) and (mu or g) are right.
    naive_se : float
        sd(phi)/sqrt(n), which ignores that the nuisances were estimated. For contrast only.
    nuisances : DataFrame, n rows
        pi, mu0, mu1, m0, m1, V0, V1, beta, rho, g0, g1; pi as used (clipped). NaN where the arm has no model.
    phi : ndarray, shape (n,)
        Uncentred scores, unweighted; their weighted mean is theta.
    D, D_used : ndarray, shape (n,)
        V_1 - V_0 before and after flooring.
    coefficients : DataFrame
        nuisance, term, estimate, std_error (sandwich).
    shift : Target
        Mean of D: the strength of identification.
    delta_g : Target or None
        E[g_1 - g_0], the average direct effect of the instrument; None with one-sided non-compliance.
    rho : Target or None
        E[rho(X)], zero without unmeasured confounding; None with one-sided non-compliance, where it is forced to zero.
    one_sided : int or None
        The arm of the instrument in which treatment never varies.
    clipped, floored : int
        Rows with pi moved to the bound, and with D moved to its floor.
    formulas : mapping
        The formulas used, by nuisance.
    first_step : callable
        Maps factors v(X), shape (n, k), to what the estimation of the nuisances adds to the influence values of
        mean(w phi v), shape (n, k).
    findings : tuple of CausalifWarning
        What `fit_parametric` warns of.
    """

    theta: float
    influence: Array
    theta_reg: float
    influence_reg: Array
    naive_se: float
    nuisances: pd.DataFrame
    phi: Array
    D: Array
    D_used: Array
    coefficients: pd.DataFrame
    shift: Target
    delta_g: Target | None
    rho: Target | None
    one_sided: int | None
    clipped: int
    floored: int
    formulas: Mapping[str, str]
    first_step: Callable[[Array], Array]
    findings: tuple[CausalifWarning, ...]

    @property
    def std_error(self) -> float:
        """Sandwich standard error of theta for independent rows."""
        return scaled_std_error(self.influence)
