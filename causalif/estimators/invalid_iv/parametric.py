r"""Parametric multiply robust estimator of the average effect with an invalid instrument, with its full sandwich.

Letters: pi(X) = P(Z=1|X), mu_z = E[A|Z=z,X], V_z = var(A|Z=z,X), D = V_1 - V_0, beta(X) the effect of one unit of A,
rho(X) = cov(A, Y - beta A | Z, X) the confounding, g_z = E[Y - beta A | Z=z, X] the baseline with Z's direct effect.

.. math:: \varphi = \beta + \frac{2Z-1}{f(Z|X) D}\{(A-\mu_Z)(Y-\beta A-g_Z)-\rho\}
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from causalif._errors import (
    ConvergenceError,
    DesignWarning,
    IdentificationWarning,
    InputError,
    NotIdentifiedError,
    PositivityError,
    PositivityWarning,
    WeakIdentificationError,
    WeakIdentificationWarning,
)
from causalif._validate import Array
from causalif.engine.formulas import Basis, Design, quoted
from causalif.engine.mestimation import (
    Channel,
    ComplexArray,
    IndexStack,
    RowFunctions,
    checked_condition,
    fit_index,
    gamma_log_loss,
    logistic_loss,
    relative_weights,
    scaled_std_error,
)

FLOOR = 0.1  # of |mean D|
MAX_FLOORED = 0.20
SOME_FLOORED = 0.05

Rows = Mapping[str, ComplexArray]
Mask = npt.NDArray[np.bool_]


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
    D : ndarray, shape (n,)
        V_1 - V_0 before flooring.
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
        Rows with pi moved to the bound, and with D moved to a tenth of its mean.
    formulas : mapping
        The formulas used, by nuisance.
    """

    theta: float
    influence: Array
    theta_reg: float
    influence_reg: Array
    naive_se: float
    nuisances: pd.DataFrame
    phi: Array
    D: Array
    coefficients: pd.DataFrame
    shift: Target
    delta_g: Target | None
    rho: Target | None
    one_sided: int | None
    clipped: int
    floored: int
    formulas: Mapping[str, str]

    @property
    def std_error(self) -> float:
        """Sandwich standard error of theta for independent rows."""
        return scaled_std_error(self.influence)


# ------------------------------------------------------------------------------------------------ formulas


def default_formulas(adjust: Sequence[str], instrument: str, *, binary: bool) -> dict[str, str]:
    """Formulas used where none is given.

    Parameters
    ----------
    adjust : sequence of str
        Covariates.
    instrument : str
        Name of the instrument.
    binary : bool
        Whether the treatment is binary; then its variance follows from its mean.

    Returns
    -------
    dict of str to str

    Notes
    -----
    Main effects everywhere. The treatment and outcome models also let the instrument interact with every covariate,
    because D = V_1 - V_0 and the direct effect g_1 - g_0 live in those interactions. The variance model has none: one
    log-linear model in Z and X jointly keeps D stable.

    Examples
    --------
    >>> default_formulas(["age"], "z", binary=True)["treatment"]
    '~ `z` * (`age`)'
    """
    main = " + ".join(quoted(name) for name in adjust)
    with_z = f"~ {quoted(instrument)} * ({main})" if adjust else f"~ {quoted(instrument)}"
    plain = f"~ {main}" if adjust else "~ 1"
    chosen = {"instrument": plain, "treatment": with_z}
    if not binary:
        chosen["variance"] = f"~ {quoted(instrument)} + {main}" if adjust else with_z
    return {**chosen, "effect": plain, "confounding": plain, "outcome": with_z}


def _resolved_formulas(
    given: Mapping[str, str] | None, adjust: Sequence[str], instrument: str, binary: bool
) -> dict[str, str]:
    chosen = default_formulas(adjust, instrument, binary=binary)
    unknown = sorted(set(given or {}) - set(chosen))
    if unknown == ["variance"]:
        raise InputError("`formulas` has 'variance', but a binary treatment's variance is mu(1 - mu). Leave it out.")
    if unknown:
        raise InputError(f"`formulas` has unknown names {unknown}. Known: {', '.join(chosen)}.")
    return {**chosen, **(given or {})}


# ------------------------------------------------------------------------------------------------- problem


@dataclass(frozen=True, eq=False)
class _Problem:
    """The columns in working units, and everything that stays fixed while nuisances are fitted."""

    frame: pd.DataFrame
    y: Array
    a: Array
    z: Mask
    w: Array
    scale_y: float
    scale_a: float
    centre_y: float
    instrument: str
    adjust: tuple[str, ...]
    binary: bool
    clip: float
    formulas: Mapping[str, str]
    given: frozenset[str]

    @property
    def unit(self) -> float:
        return self.scale_y / self.scale_a

    def at(self, arm: int) -> pd.DataFrame:
        return self.frame.assign(**{self.instrument: float(arm)})

    def design(self, nuisance: str) -> Design:
        columns = list(self.adjust)
        if nuisance in ("treatment", "variance", "outcome"):
            columns.append(self.instrument)
        return Design.from_formula(self.formulas[nuisance], self.frame[columns], nuisance)

    def basis(self, nuisance: str, weights: Array, *, design: Design | None = None, warn: bool = True) -> Basis:
        basis = Basis.from_design(self.design(nuisance) if design is None else design, self.frame, weights)
        if warn and basis.left_out:
            names = ", ".join(basis.left_out)
            message = f"The formula for {nuisance!r}: {names} left out, constant or repeating others."
            warnings.warn(message, DesignWarning, stacklevel=2)
        return basis


def _sd(column: Array, w: Array, name: str) -> tuple[float, float]:
    """Return weighted mean and standard deviation; safe for tiny units; refuse a constant column."""
    size = float(np.abs(column).max())
    small = column / (size or 1.0)
    mean = float(w @ small / w.sum())
    sd = float(np.sqrt(w @ (small - mean) ** 2 / w.sum()))
    if not sd > 1e-14 * abs(mean):
        raise InputError(f"The {name} is constant. It must vary for an effect to be estimated.")
    return mean * size, sd * size


def _problem(
    frame: pd.DataFrame,
    roles: tuple[str, str, str],
    adjust: Sequence[str],
    formulas: Mapping[str, str] | None,
    binary: bool,
    weights: Array | None,
    clip: float,
) -> _Problem:
    outcome, treatment, instrument = roles
    w = relative_weights(weights, len(frame))
    y, a, z = (frame[name].to_numpy(dtype=float, copy=True) for name in roles)
    _zero_one(z[w > 0], f"instrument {instrument!r}")
    if binary:
        _zero_one(a[w > 0], f"treatment {treatment!r}")
    mean_y, sd_y = _sd(y, w, f"outcome {outcome!r}")
    sd_a = _sd(a, w, f"treatment {treatment!r}")[1]
    resolved = _resolved_formulas(formulas, adjust, instrument, binary)
    frame = frame.assign(**{instrument: z})
    scale_a = 1.0 if binary else sd_a
    draft = _Problem(
        frame, y, a / scale_a, z > 0.5, w, sd_y, scale_a, 0.0, instrument, tuple(adjust), binary, clip, resolved,
        frozenset(formulas or {}),
    )  # fmt: skip
    # without a constant in g, moving Y would change the model
    centre = mean_y if "Intercept" in draft.design("outcome").columns else 0.0
    return replace(draft, y=(y - centre) / sd_y, centre_y=centre)


def _zero_one(column: Array, what: str) -> None:
    found = np.unique(column)
    if not np.array_equal(found, [0.0, 1.0]):
        listed = ", ".join(f"{value:g}" for value in found[:5])
        raise InputError(f"The {what} must take both values 0 and 1. Found {listed}.")


def _silent_arm(problem: _Problem) -> int | None:
    """Return the arm of the instrument in which treatment never varies, if there is one."""
    use = problem.w > 0
    silent = [arm for arm in (0, 1) if np.ptp(problem.a[use & (problem.z == bool(arm))]) == 0]
    if len(silent) == 2:
        raise NotIdentifiedError(
            "Treatment does not vary within either arm of the instrument, so its effect cannot be told from the "
            "instrument's own. The estimator needs people who do not follow their instrument.",
            tuple(silent),
        )
    return silent[0] if silent else None


# -------------------------------------------------------------------------------------------- first stages


@dataclass(frozen=True, eq=False)
class _Index:
    """A fitted nuisance: its basis and coefficients there."""

    block: str
    basis: Basis
    theta: Array

    def channel(self, name: str, frame: pd.DataFrame, link: str = "identity", factor: float = 1.0) -> Channel:
        design = self.basis.matrix(frame)
        index = design @ self.theta
        if link == "logit":
            value = expit(index)
            return Channel(name, self.block, design, value, value * expit(-index))
        if link == "log":
            value = np.exp(index) * factor
            return Channel(name, self.block, design, value, value)
        return Channel(name, self.block, design, index, np.ones(len(index)))


def _fit_logit(problem: _Problem, nuisance: str, target: Array, weights: Array, *, warn: bool = True) -> _Index:
    basis = problem.basis(nuisance, weights, warn=warn)
    try:
        theta = fit_index(basis.matrix(problem.frame), logistic_loss(target), weights)
    except ConvergenceError as error:
        raise PositivityError(
            f"The logistic model for {nuisance!r} ({problem.formulas[nuisance]}) has no finite fit: its terms "
            f"predict the {nuisance} perfectly for some rows (separation). Use fewer terms, or leave out the rows "
            "without overlap."
        ) from error
    return _Index(nuisance, basis, theta)


def _fit_mean(problem: _Problem, weights: Array, *, warn: bool = True) -> _Index:
    if problem.binary:
        return _fit_logit(problem, "treatment", problem.a, weights, warn=warn)
    basis = problem.basis("treatment", weights, warn=warn)
    theta = (weights * problem.a) @ basis.matrix(problem.frame) / weights.sum()
    return _Index("treatment", basis, theta)


def _fit_variance(problem: _Problem, squared: Array, weights: Array, *, warn: bool = True) -> _Index:
    """Gamma quasi likelihood with log link, in the treatment's own unit so that the formula needs no constant."""
    basis = problem.basis("variance", weights, warn=warn)
    design = basis.matrix(problem.frame)
    offset = -2.0 * np.log(problem.scale_a)
    level = np.log(weights @ squared / weights.sum()) - offset
    start = level * (weights @ design) / weights.sum()
    try:
        theta = fit_index(design, gamma_log_loss(squared, offset), weights, start)
    except ConvergenceError as error:
        raise ConvergenceError(
            f"The log-linear model for 'variance' ({problem.formulas['variance']}) did not converge. Use fewer terms."
        ) from error
    return _Index("variance", basis, theta)


def _observed(problem: _Problem, one: Array, zero: Array) -> Array:
    z = problem.z if one.ndim == 1 else problem.z[:, None]
    return np.asarray(np.where(z, one, zero))


def _treatment_channels(problem: _Problem) -> tuple[list[_Index], dict[str, Channel]]:
    """Fit mu, and V where it is a model of its own, in both arms."""
    mean = _fit_mean(problem, problem.w)
    link = "logit" if problem.binary else "identity"
    channels = {f"mu{arm}": mean.channel(f"mu{arm}", problem.at(arm), link) for arm in (1, 0)}
    if problem.binary:
        return [mean], channels
    squared = (problem.a - _observed(problem, channels["mu1"].value, channels["mu0"].value)) ** 2
    variance = _fit_variance(problem, squared, problem.w)
    for arm in (1, 0):
        channels[f"V{arm}"] = variance.channel(f"V{arm}", problem.at(arm), "log", problem.scale_a**-2)
    return [mean, variance], channels


def _variances(c: Rows, binary: bool) -> tuple[ComplexArray, ComplexArray]:
    if binary:
        return c["mu1"] * (1.0 - c["mu1"]), c["mu0"] * (1.0 - c["mu0"])
    return c["V1"], c["V0"]


def _pick(z: Mask, one: ComplexArray, zero: ComplexArray) -> ComplexArray:
    return np.asarray(np.where(z, one, zero), dtype=complex)


def _treatment_rows(problem: _Problem) -> RowFunctions:
    """Residuals of mu, V and of the mean of D."""

    def rows(c: Rows) -> dict[str, ComplexArray]:
        made: dict[str, ComplexArray] = {}
        residual = problem.a - _pick(problem.z, c["mu1"], c["mu0"])
        v1, v0 = _variances(c, problem.binary)
        made["treatment"], made["shift"] = residual, v1 - v0 - c["shift"]
        if not problem.binary:
            made["variance"] = residual**2 / _pick(problem.z, v1, v0) - 1.0
        return made

    return rows


def _mean_channel(name: str, values: Array, weights: Array) -> Channel:
    ones = np.ones(len(values))
    return Channel(name, name, ones[:, None], np.full(len(values), weights @ values / weights.sum()), ones)


# ------------------------------------------------------------------------------------ strength of identification


def _floored(d: ComplexArray, mean: ComplexArray) -> ComplexArray:
    """Move D to a tenth of its mean where it is closer to zero, or beyond; the sign is kept."""
    sign, floor = np.sign(mean.real), FLOOR * mean
    return np.where(sign * d.real < sign * floor.real, floor, d)


def _check_shift(problem: _Problem, d: Array, shift: Target, mu1: Array, mu0: Array, size: float) -> int:
    """Raise or warn when Z hardly moves the variance of A; return the number of rows floored."""
    if np.abs(d).max() <= 1e-10 * size:
        source = "treatment" if problem.binary else "variance"
        raise NotIdentifiedError(
            "The fitted variance of treatment is the same in both arms of the instrument. Either the formula for "
            f"{source!r} does not use the instrument, or the effect is not identified.",
            "D = 0",
        )
    sign = np.sign(shift.value)
    low = (sign * d < FLOOR * abs(shift.value)) & (problem.w > 0)
    share = float(problem.w @ low / problem.w.sum())
    hint = _strong_but_flat(problem, mu1, mu0)
    if abs(shift.value) < 2.0 * shift.std_error or share > MAX_FLOORED:
        in_data = shift.times(problem.scale_a**2)
        raise WeakIdentificationError(
            f"The instrument hardly shifts the variance of treatment: mean D = {in_data.value:.3g} (std error "
            f"{in_data.std_error:.2g}), and {share:.0%} of rows lie below a tenth of it.{hint} Use the "
            "variance-shift-weighted effect with its robust set."
        )
    if share > SOME_FLOORED:
        changes = " D changes sign." if (sign * d[low] < 0).any() else ""
        warnings.warn(
            f"D was moved to a tenth of its mean in {int(low.sum()):,} of {len(d):,} rows ({share:.0%})."
            f"{changes}{hint}",
            WeakIdentificationWarning,
            stacklevel=4,
        )
    return int(low.sum())


def _strong_but_flat(problem: _Problem, mu1: Array, mu0: Array) -> str:
    near = np.abs(mu1 + mu0 - 1.0) < 0.5 * np.abs(mu1 - mu0)
    if not problem.binary or problem.w @ near / problem.w.sum() < 0.5 or np.median(np.abs(mu1 - mu0)) < 0.1:
        return ""
    return (
        " The instrument is strong, but the chances of treatment in its two arms add up to about one, so it moves "
        "the mean of treatment and not its variance."
    )


def _clip(probability: ComplexArray, bound: float) -> ComplexArray:
    low = np.where(probability.real < bound, bound, probability)
    return np.where(probability.real > 1.0 - bound, 1.0 - bound, low)


def _clipped(problem: _Problem, pi: Array) -> int:
    outside = ((pi < problem.clip) | (pi > 1.0 - problem.clip)) & (problem.w > 0)
    count = int(outside.sum())
    if count:
        warnings.warn(
            f"The probability of the instrument was clipped at {problem.clip:g} in {count:,} of {len(pi):,} rows.",
            PositivityWarning,
            stacklevel=4,
        )
    return count


# --------------------------------------------------------------------------------------------- both arms vary


def _full_rows(problem: _Problem) -> RowFunctions:
    """All residuals of spec 3b and the uncentred scores, as analytic functions of the channels."""
    first = _treatment_rows(problem)
    z, a, y = problem.z, problem.a, problem.y

    def rows(c: Rows) -> dict[str, ComplexArray]:
        made = dict(first(c))
        mu, g = _pick(z, c["mu1"], c["mu0"]), _pick(z, c["g1"], c["g0"])
        v1, v0 = _variances(c, problem.binary)
        d = _floored(v1 - v0, c["shift"])
        p = _clip(c["pi"], problem.clip)
        over_f = _pick(z, 1.0 / p, -1.0 / (1.0 - p))  # (2Z-1)/f
        e = y - c["beta"] * a - g
        r = (a - mu) * e - c["rho"]
        made |= {"instrument": z - c["pi"], "effect": (z - c["pi"]) * r, "confounding": r, "outcome": e}
        made["ate"] = c["beta"] + over_f / d * r
        made["mean_beta"] = c["beta"]
        made["delta_g"] = c["g1"] - c["g0"] + over_f * e - (c["mu1"] - c["mu0"]) * over_f / d * r
        made["mean_rho"] = c["rho"] + r / d * _pick(z, -v0 / p, v1 / (1.0 - p))
        return made

    return rows


def _solve_effect(problem: _Problem, bases: Mapping[str, Basis], pi: Array, mu: Array) -> list[_Index]:
    """Solve U_beta, U_rho, U_g, which are jointly linear in the coefficients of beta, rho and g."""
    b, r, g = (bases[name].matrix(problem.frame) for name in ("effect", "confounding", "outcome"))
    residual, n = (problem.a - mu)[:, None], len(mu)
    left = np.hstack([residual * problem.a[:, None] * b, r, residual * g])
    left_g = np.hstack([problem.a[:, None] * b, np.zeros_like(r), g])
    tests = np.hstack([b * (problem.z - pi)[:, None], r]) * problem.w[:, None]
    test_g = g * problem.w[:, None]
    matrix = np.vstack([tests.T @ left, test_g.T @ left_g]) / n
    right = np.concatenate([tests.T @ (residual[:, 0] * problem.y), test_g.T @ problem.y]) / n
    checked_condition(
        matrix,
        "The data cannot tell effect, confounding and baseline apart with these formulas: the instrument shifts the "
        "variance of treatment too little for the terms of 'effect', or terms repeat each other. Use fewer terms in "
        "'effect'",
    )
    solved = np.linalg.solve(matrix, right)
    cut = np.cumsum([b.shape[1], r.shape[1]])
    parts = zip(("effect", "confounding", "outcome"), np.split(solved, cut), strict=True)
    return [_Index(name, bases[name], part) for name, part in parts]


def _fit_both_arms(problem: _Problem) -> ParametricFit:
    fitted, channels = _treatment_channels(problem)
    v1, v0 = (np.real(v) for v in _variances(_complex(channels), problem.binary))
    channels["shift"] = _mean_channel("shift", v1 - v0, problem.w)
    equations = {index.block: index.basis.matrix(problem.frame) for index in fitted}
    equations["shift"] = channels["shift"].design
    first = IndexStack(equations, tuple(channels.values()), _treatment_rows(problem), problem.w)
    shift = Target(float(channels["shift"].value[0]), first.parameter_influence[:, -1])
    mu1, mu0 = channels["mu1"].value, channels["mu0"].value
    floored = _check_shift(problem, v1 - v0, shift, mu1, mu0, float(np.max(v1 + v0)))
    _warn_nearly_one_sided(problem, v1, v0)
    instrument = _fit_logit(problem, "instrument", problem.z.astype(float), problem.w)
    channels["pi"] = instrument.channel("pi", problem.frame, "logit")
    bases = {name: problem.basis(name, problem.w) for name in ("effect", "confounding", "outcome")}
    last = _solve_effect(problem, bases, channels["pi"].value, _observed(problem, mu1, mu0))
    channels["beta"] = last[0].channel("beta", problem.frame)
    channels["rho"] = last[1].channel("rho", problem.frame)
    channels |= {f"g{arm}": last[2].channel(f"g{arm}", problem.at(arm)) for arm in (1, 0)}
    fitted = [instrument, *fitted, *last]
    equations = {index.block: index.basis.matrix(problem.frame) for index in fitted} | {"shift": equations["shift"]}
    stack = IndexStack(equations, tuple(channels.values()), _full_rows(problem), problem.w)
    tests = {
        "delta_g": Target(*stack.target("delta_g")).times(problem.scale_y),
        "rho": Target(*stack.target("mean_rho")).times(problem.scale_y * problem.scale_a),
    }
    clipped = _clipped(problem, channels["pi"].value)
    return _report(problem, stack, fitted, shift, v1, v0, tests, None, clipped, floored)


def _complex(channels: Mapping[str, Channel]) -> dict[str, ComplexArray]:
    return {name: channel.value.astype(complex) for name, channel in channels.items()}


def _warn_nearly_one_sided(problem: _Problem, v1: Array, v0: Array) -> None:
    for arm, v in ((1, v1), (0, v0)):
        tiny = problem.binary and problem.w @ (v < 1e-3) / problem.w.sum() > 0.5
        if tiny:
            warnings.warn(_collapse_message(arm, "hardly"), IdentificationWarning, stacklevel=4)


def _collapse_message(silent: int, how: str) -> str:
    return (
        f"Treatment {how} varies among rows with instrument = {silent}. Identification reduces to unconfoundedness "
        f"within instrument = {1 - silent}: unmeasured confounding is assumed away, not corrected."
    )


# --------------------------------------------------------------------------------------- one-sided non-compliance


def _arm_rows(problem: _Problem, arm: int) -> RowFunctions:
    """Residuals and scores when treatment varies only within one arm, where rho = 0 and beta = C_z / V_z."""
    z, a, y, inside = problem.z, problem.a, problem.y, (problem.z == bool(arm)).astype(float)

    def rows(c: Rows) -> dict[str, ComplexArray]:
        v = c["mu"] * (1.0 - c["mu"]) if problem.binary else c["V"]
        p = _clip(c["pi"], problem.clip)
        e = y - c["beta"] * a - c["g"]
        made = {"instrument": z - c["pi"], "treatment": inside * (a - c["mu"]), "shift": v - c["shift"]}
        made |= {"effect": inside * a * e, "outcome": inside * e, "mean_beta": c["beta"]}
        if not problem.binary:
            made["variance"] = inside * ((a - c["mu"]) ** 2 / v - 1.0)
        over_f = inside / (p if arm else 1.0 - p)
        made["ate"] = c["beta"] + over_f * (a - c["mu"]) / _floored(v, c["shift"]) * e
        return made

    return rows


def _solve_arm(problem: _Problem, weights: Array) -> list[_Index]:
    """Least squares of Y on (A B(X), G(X)) within the arm; by default B = G, a line in each cell of treatment."""
    design = problem.design("outcome")
    g = problem.basis("outcome", weights, design=design, warn=False)
    b = problem.basis("effect", weights, warn=False) if "effect" in problem.given else g
    columns = np.hstack([problem.a[:, None] * b.matrix(problem.frame), g.matrix(problem.frame)])
    matrix = (columns * weights[:, None]).T @ columns / weights.sum()
    checked_condition(
        matrix, "Some cell of treatment within the arm has too few rows for the formula for 'outcome'. Use fewer terms"
    )
    solved = np.linalg.solve(matrix, (weights * problem.y) @ columns / weights.sum())
    cut = len(b.kept)
    return [_Index("effect", b, solved[:cut]), _Index("outcome", g, solved[cut:])]


def _fit_one_arm(problem: _Problem, silent: int) -> ParametricFit:
    warnings.warn(_collapse_message(silent, "never"), IdentificationWarning, stacklevel=3)
    arm = 1 - silent
    weights, table = problem.w * (problem.z == bool(arm)), problem.at(arm)
    instrument = _fit_logit(problem, "instrument", problem.z.astype(float), problem.w)
    mean = _fit_mean(problem, weights, warn=False)
    channels = {
        "pi": instrument.channel("pi", problem.frame, "logit"),
        "mu": mean.channel("mu", table, "logit" if problem.binary else "identity"),
    }
    fitted = [instrument, mean]
    if not problem.binary:
        fitted.append(_fit_variance(problem, (problem.a - channels["mu"].value) ** 2, weights, warn=False))
        channels["V"] = fitted[-1].channel("V", table, "log", problem.scale_a**-2)
    mu = channels["mu"].value
    v = mu * (1.0 - mu) if problem.binary else channels["V"].value
    channels["shift"] = _mean_channel("shift", v, problem.w)
    effect, outcome = _solve_arm(problem, weights)
    channels |= {"beta": effect.channel("beta", table), "g": outcome.channel("g", table)}
    fitted += [effect, outcome]
    equations = {index.block: index.basis.matrix(table) for index in fitted} | {"shift": channels["shift"].design}
    equations["instrument"] = channels["pi"].design
    stack = IndexStack(equations, tuple(channels.values()), _arm_rows(problem, arm), problem.w)
    shift = Target(float(channels["shift"].value[0]), stack.parameter_influence[:, stack.block("shift")][:, 0])
    floored = _check_shift(problem, v, shift, mu, mu, float(v.max()))
    sign, zero = (1.0 if arm else -1.0), np.zeros_like(v)
    clipped = _clipped(problem, channels["pi"].value)
    v1, v0 = (v, zero) if arm else (zero, v)
    return _report(problem, stack, fitted, shift.times(sign), v1, v0, {}, silent, clipped, floored)


# -------------------------------------------------------------------------------------------------- reporting


def _report(
    problem: _Problem,
    stack: IndexStack,
    fitted: Sequence[_Index],
    shift: Target,
    v1: Array,
    v0: Array,
    tests: Mapping[str, Target],
    silent: int | None,
    clipped: int,
    floored: int,
) -> ParametricFit:
    """Undo the working units and gather the result."""
    ate = Target(*stack.target("ate")).times(problem.unit)
    plain = Target(*stack.target("mean_beta")).times(problem.unit)
    phi = stack.row("ate") * problem.unit
    return ParametricFit(
        theta=ate.value,
        influence=ate.influence,
        theta_reg=plain.value,
        influence_reg=plain.influence,
        naive_se=scaled_std_error(problem.w * (phi - ate.value)),
        nuisances=_nuisance_frame(problem, stack, v1, v0, silent),
        phi=phi,
        D=(v1 - v0) * problem.scale_a**2,
        coefficients=_coefficients(problem, stack, fitted),
        shift=shift.times(problem.scale_a**2),
        delta_g=tests.get("delta_g"),
        rho=tests.get("rho"),
        one_sided=silent,
        clipped=clipped,
        floored=floored,
        formulas={index.block: index.basis.design.formula for index in fitted},
    )


def _nuisance_frame(problem: _Problem, stack: IndexStack, v1: Array, v0: Array, silent: int | None) -> pd.DataFrame:
    c = {channel.name: channel.value for channel in stack.channels}
    pi = np.clip(c["pi"], problem.clip, 1.0 - problem.clip)
    if silent is not None:
        nothing, arm = np.full(len(pi), np.nan), 1 - silent
        fixed = problem.a[(problem.z == bool(silent)) & (problem.w > 0)][0]
        c |= {f"mu{arm}": c["mu"], f"mu{silent}": np.full(len(pi), fixed), f"g{arm}": c["g"], f"g{silent}": nothing}
        c["rho"] = np.zeros(len(pi))
    made = {"pi": pi} | {name: c[name] * problem.scale_a for name in ("mu0", "mu1")}
    beta, g = c["beta"] * problem.unit, {z: c[f"g{z}"] * problem.scale_y + problem.centre_y for z in (0, 1)}
    made |= {f"m{z}": g[z] + beta * made[f"mu{z}"] for z in (0, 1)}
    made |= {"V0": v0 * problem.scale_a**2, "V1": v1 * problem.scale_a**2, "beta": beta}
    made |= {"rho": c["rho"] * problem.scale_y * problem.scale_a, "g0": g[0], "g1": g[1]}
    return pd.DataFrame(made, index=problem.frame.index)


def _coefficients(problem: _Problem, stack: IndexStack, fitted: Sequence[_Index]) -> pd.DataFrame:
    scale_a, scale_y = problem.scale_a, problem.scale_y
    units = {"treatment": scale_a, "effect": problem.unit, "confounding": scale_a * scale_y, "outcome": scale_y}
    tables = []
    for index in fitted:
        unit = units.get(index.block, 1.0)
        estimate = index.basis.transform @ index.theta * unit
        influence = stack.parameter_influence[:, stack.block(index.block)] @ index.basis.transform.T * unit
        if index.block == "outcome" and "Intercept" in index.basis.columns:
            estimate[index.basis.columns.index("Intercept")] += problem.centre_y
        errors = [scaled_std_error(column) for column in influence.T]
        columns = {"nuisance": index.block, "term": index.basis.columns, "estimate": estimate, "std_error": errors}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def fit_parametric(
    frame: pd.DataFrame,
    outcome: str,
    treatment: str,
    instrument: str,
    adjust: Sequence[str],
    formulas: Mapping[str, str] | None = None,
    *,
    binary: bool,
    weights: Array | None = None,
    clip: float = 0.01,
) -> ParametricFit:
    r"""Estimate the average treatment effect with an invalid instrument from parametric working models.

    .. math:: \hat\theta = \frac1n\sum_i w_i\Big[\hat\beta(X_i) + \frac{2Z_i-1}{\hat f(Z_i|X_i)\hat D(X_i)}
       \{(A_i-\hat\mu_Z)(Y_i-\hat\beta A_i-\hat g_Z)-\hat\rho\}\Big]

    Parameters
    ----------
    frame : DataFrame, n rows
        No missing values; instrument coded 0/1, and the treatment too if it is binary.
    outcome, treatment, instrument : str
        Column names.
    adjust : sequence of str
        Covariates that make the instrument as good as random.
    formulas : mapping of str to str, optional
        Formulas by nuisance: "instrument" (logit of pi), "treatment" (mu; logit if binary, else identity), "variance"
        (log V, continuous treatment only), "effect" (beta), "confounding" (rho), "outcome" (g). "treatment",
        "variance" and "outcome" may use the instrument. The rest come from `default_formulas`.
    binary : bool
        Whether the treatment is binary.
    weights : ndarray, shape (n,), optional
        Sampling weights, entering every equation and every mean.
    clip : float, default 0.01, between 0 and 0.5
        Bound on the estimated probability of the instrument.

    Returns
    -------
    ParametricFit

    Raises
    ------
    InputError
        Unknown formula names, formulas that use columns they may not, codes other than 0/1.
    NotIdentifiedError
        The equations are singular, or treatment varies in neither arm of the instrument.
    WeakIdentificationError
        |mean D| is under two standard errors, or over 20% of rows lie below a tenth of it.
    PositivityError
        A logistic model separates.
    ConvergenceError
        The variance model has no finite fit.

    Notes
    -----
    Consistent when at least one of these sets of models is right: {pi, mu, V}, {beta, pi, g}, {beta, rho, mu},
    {beta, rho, g}, {beta, pi, mu}. With a binary treatment V = mu(1 - mu). Standard errors are those of the whole stack
    of equations, including the floor on D; phi alone would be wrong by up to a fifth either way. The variance model is
    a Gamma quasi likelihood with log link.

    If treatment never varies in one arm of the instrument, the functional equals augmented inverse probability
    weighting in the other arm, averaged over everyone's covariates; that is fitted, without any model for the empty
    cell: Y is linear in the "outcome" terms within each level of treatment ("effect" terms times treatment if given).
    A warning says so.

    Cost: two Newton fits and one linear system; under 0.1 s for 10,000 rows and few covariates.

    References
    ----------
    Sun, Cui and Tchetgen Tchetgen (2022), Selective machine learning of the average treatment effect with an invalid
    instrumental variable, JMLR 23.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(1)
    >>> n = 4000
    >>> z, u = rng.integers(0, 2, n), rng.normal(size=n)
    >>> a = 0.5 * z + u + (1 + z) * rng.normal(size=n)
    >>> table = pd.DataFrame({"z": z, "a": a, "y": a + 2 * z + 1.5 * u + rng.normal(size=n)})
    >>> fit = fit_parametric(table, "y", "a", "z", [], binary=False)
    >>> bool(abs(fit.theta - 1) < 3 * fit.std_error < 0.3)
    True
    """
    if not 0 < clip < 0.5:
        raise InputError(f"`clip` must be strictly between 0 and 0.5. Got {clip!r} instead.")
    problem = _problem(frame, (outcome, treatment, instrument), adjust, formulas, binary, weights, clip)
    silent = _silent_arm(problem)
    return _fit_both_arms(problem) if silent is None else _fit_one_arm(problem, silent)
