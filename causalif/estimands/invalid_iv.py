"""The average treatment effect with an instrument that may act directly on the outcome.

Notation of Sun, Cui and Tchetgen Tchetgen (2022): covariates X, binary instrument Z, treatment A, outcome Y;
π = P(Z = 1 | X), μ_z = E[A | Z = z, X], m_z = E[Y | Z = z, X], V_z = var(A | Z = z, X), C_z = cov(A, Y | Z = z, X),

    D = V_1 − V_0,   β = (C_1 − C_0) / D,   ρ = C_z − β V_z  (the same for both z),   θ = E[β(X)].

The instrument must shift the *variance* of the treatment; ρ measures unmeasured confounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from causalif._validate import Array
from causalif.engine.estimand import FiniteLaw
from causalif.engine.nuisance import Mean, Nuisances, NuisanceSpec, Probability
from causalif.table import Table


@dataclass(frozen=True)
class Roles:
    """The columns, and what is read off them given the first-stage regressions.

    ``silent`` is an arm of the instrument in which the treatment does not vary: its residuals are zero and nothing is
    fitted there.
    """

    outcome: str
    treatment: str
    instrument: str
    adjust: tuple[str, ...]
    binary: bool
    clip: float = 0.01
    silent: int | None = None

    @property
    def residual_names(self) -> tuple[str, ...]:
        """Names of the regressions behind the two residuals."""
        return tuple(f"{name}{z}" for name in ("mu", "m") for z in (0, 1) if z != self.silent)

    def first_stages(self) -> dict[str, NuisanceSpec]:
        """Return π, μ_0, μ_1, m_0, m_1."""
        specs: dict[str, NuisanceSpec] = {
            "pi": Probability(self.instrument, self.adjust, learner="instrument", bounds=(self.clip, 1 - self.clip))
        }
        arms = [(f"mu{z}", f"m{z}", ((self.instrument, float(z)),)) for z in (0, 1) if z != self.silent]
        for mu, _, where in arms:
            if self.binary:
                bounds = None if self.silent is None else (self.clip, 1 - self.clip)
                specs[mu] = Probability(self.treatment, self.adjust, where=where, bounds=bounds)
            else:
                specs[mu] = Mean(self.treatment, self.adjust, where=where, learner="treatment")
        for _, m, where in arms:
            specs[m] = Mean(self.outcome, self.adjust, where=where)
        return specs

    def treatment_residual(self, rows: Table, eta: Nuisances) -> Array:
        """Return R_A = A − μ_Z(X)."""
        return self._residual(rows[self.treatment], "mu", rows, eta)

    def outcome_residual(self, rows: Table, eta: Nuisances) -> Array:
        """Return R_Y = Y − m_Z(X)."""
        return self._residual(rows[self.outcome], "m", rows, eta)

    def _residual(self, column: Array, name: str, rows: Table, eta: Nuisances) -> Array:
        z = rows[self.instrument] == 1.0
        if self.silent is not None:
            loud = 1 - self.silent
            return np.where(z == loud, column - eta[f"{name}{loud}"](rows), 0.0)
        return column - np.where(z, eta[f"{name}1"](rows), eta[f"{name}0"](rows))

    def variances(self, rows: Table, eta: Nuisances) -> tuple[Array, Array]:
        """Return V_0 and V_1."""
        if self.binary:
            mu0, mu1 = eta["mu0"](rows), eta["mu1"](rows)
            return mu0 * (1 - mu0), mu1 * (1 - mu1)
        v0, v1 = (eta["V"](rows.assign(**{self.instrument: z})) for z in (0.0, 1.0))
        return v0, v1

    def law_moments(self, law: FiniteLaw) -> dict[str, Array]:
        """Return μ_z, m_z, V_z, C_z at every support point, by summation."""
        rows = law.table(self.adjust)
        a, y, z = rows[self.treatment], rows[self.outcome], rows[self.instrument]
        found = {}
        for arm in (0, 1):
            mu = law.conditional_mean(a, self.adjust, z == arm)
            m = law.conditional_mean(y, self.adjust, z == arm)
            found[f"mu{arm}"], found[f"m{arm}"] = mu, m
            found[f"V{arm}"] = law.conditional_mean(a * a, self.adjust, z == arm) - mu**2
            found[f"C{arm}"] = law.conditional_mean(a * y, self.adjust, z == arm) - mu * m
        return found


@dataclass(frozen=True)
class SquaredResidual:
    """R_A², whose regression on (Z, X) is V."""

    roles: Roles
    needs = ("mu0", "mu1")

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the target for every row."""
        return self.roles.treatment_residual(rows, eta) ** 2


@dataclass(frozen=True)
class Shift:
    """V_1 − V_0, whose average gives the sign and the scale of the floor under D."""

    roles: Roles

    @property
    def needs(self) -> tuple[str, ...]:
        """The variance itself if the treatment is continuous."""
        return ("mu0", "mu1") if self.roles.binary else ("V",)

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the target for every row."""
        v0, v1 = self.roles.variances(rows, eta)
        return v1 - v0


@dataclass(frozen=True)
class InstrumentMoment:
    """(Z − π) R_A R_Y, or (Z − π) R_A², whose averages give the constant first guess of β."""

    roles: Roles
    of_outcome: bool

    @property
    def needs(self) -> tuple[str, ...]:
        """π and the first stages."""
        return ("pi", *self.roles.residual_names)

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the target for every row."""
        r_a = self.roles.treatment_residual(rows, eta)
        other = self.roles.outcome_residual(rows, eta) if self.of_outcome else r_a
        return (rows[self.roles.instrument] - eta["pi"](rows)) * r_a * other


@dataclass(frozen=True)
class ResidualProduct:
    """R_A R_Y or R_A², pooled over Z."""

    roles: Roles
    of_outcome: bool

    @property
    def needs(self) -> tuple[str, ...]:
        """The first stages."""
        return self.roles.residual_names

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the target for every row."""
        r_a = self.roles.treatment_residual(rows, eta)
        return r_a * (self.roles.outcome_residual(rows, eta) if self.of_outcome else r_a)


@dataclass(frozen=True)
class Unexplained:
    """R_A (R_Y − β R_A), whose regression on X, pooled over Z, is ρ."""

    roles: Roles
    effect: str | None

    @property
    def needs(self) -> tuple[str, ...]:
        """First stages, and the current guess of β."""
        return (*self.roles.residual_names, *((self.effect,) if self.effect else ("top", "bottom")))

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the target for every row."""
        r_a = self.roles.treatment_residual(rows, eta)
        return r_a * (self.roles.outcome_residual(rows, eta) - _guess(self.effect, rows, eta) * r_a)


@dataclass(frozen=True)
class EffectTarget:
    """S / κ with S = κ β⁰ + (Z − π) (R_A (R_Y − β⁰ R_A) − r⁰(X)) and κ = π (1 − π) D; E[S | X] = κ β."""

    roles: Roles
    floor: float
    effect: str | None
    confounding: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Everything before it."""
        guess = (self.effect,) if self.effect else ("top", "bottom")
        return (*_needs_of_kappa(self.roles), "m0", "m1", *guess, self.confounding)

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the target for every row."""
        b0, r0 = _guess(self.effect, rows, eta), eta[self.confounding](rows)
        r_a, r_y = self.roles.treatment_residual(rows, eta), self.roles.outcome_residual(rows, eta)
        z_tilde = rows[self.roles.instrument] - eta["pi"](rows)
        return b0 + z_tilde * (r_a * (r_y - b0 * r_a) - r0) / _kappa(self.roles, self.floor, rows, eta)


@dataclass(frozen=True)
class EffectWeight:
    """κ², so that the weighted regression of S / κ minimises Σ (S − κ b(X))²: no division by a small D."""

    roles: Roles
    floor: float

    @property
    def needs(self) -> tuple[str, ...]:
        """π, D and its floor."""
        return _needs_of_kappa(self.roles)

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the weight for every row."""
        return _kappa(self.roles, self.floor, rows, eta) ** 2


def _needs_of_kappa(roles: Roles) -> tuple[str, ...]:
    return ("pi", "mu0", "mu1", *(() if roles.binary else ("V",)), "shift")


def _guess(effect: str | None, rows: Table, eta: Nuisances) -> Array:
    return eta[effect](rows) if effect else eta["top"](rows) / eta["bottom"](rows)


def floored_shift(roles: Roles, floor: float, rows: Table, eta: Nuisances) -> Array:
    """Return D kept away from zero on the side of its average: s·max(s·D, floor·|E D|)."""
    v0, v1 = roles.variances(rows, eta)
    mean = eta["shift"](rows)
    sign = np.sign(mean)
    return sign * np.maximum(sign * (v1 - v0), floor * np.abs(mean))


def _kappa(roles: Roles, floor: float, rows: Table, eta: Nuisances) -> Array:
    pi = eta["pi"](rows)
    return pi * (1 - pi) * floored_shift(roles, floor, rows, eta)


@dataclass(frozen=True)
class InvalidIVEffect:
    """The average treatment effect, the direct effect of the instrument, and the confounding bias.

    Coordinates: θ = E[β(X)], E[g_1 − g_0] with g_z = m_z − β μ_z, and E[ρ(X)]. With f = f(Z | X) and
    b = R_A (R_Y − β R_A) − ρ,

        φ_θ = β + (2Z − 1) / (f D) · b,
        φ_g = g_1 − g_0 + (2Z − 1)/f · (R_Y − β R_A) − (μ_1 − μ_0) (2Z − 1)/(f D) · b,
        φ_ρ = ρ + b · (−Z V_0 / (π D) + (1 − Z) V_1 / ((1 − π) D)).

    β is fitted by a κ-weighted orthogonal loss in two passes, ρ by a regression pooled over Z.

    Parameters
    ----------
    roles : Roles
        Columns; the instrument is coded 0/1.
    floor : float
        |D| is kept above this share of |E D|, on the side of its average sign.

    References
    ----------
    Sun, Cui and Tchetgen Tchetgen (2022), Selective machine learning of the average treatment effect with an
    invalid instrumental variable, JMLR 23.
    """

    roles: Roles
    floor: float = 0.1

    labels = ("ATE", "direct effect of instrument", "confounding")

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """Sets that suffice for the three coordinates together (θ alone needs less)."""
        mu = {"mu0", "mu1"}
        shift = set() if self.roles.binary else {"V"}
        return (frozenset({"beta", "rho", "pi", *mu, *shift}),)

    @property
    def effect_robustness(self) -> tuple[frozenset[str], ...]:
        """Sets that suffice for θ, the first coordinate."""
        mu = {"mu0", "mu1"}
        shift = set() if self.roles.binary else {"V"}
        return frozenset({"pi", *mu, *shift}), frozenset({"beta", "pi", *mu}), frozenset({"beta", "rho", *mu})

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the first stages, then V, the first guess, and two passes of ρ and β."""
        roles, x = self.roles, self.roles.adjust
        specs = roles.first_stages()
        if not roles.binary:
            specs["V"] = Mean(SquaredResidual(roles), (roles.instrument, *x), learner="variance")
        specs["shift"] = Mean(Shift(roles), ())
        specs["top"] = Mean(InstrumentMoment(roles, True), ())
        specs["bottom"] = Mean(InstrumentMoment(roles, False), ())
        for effect, confounding, before in (("beta_1", "rho_1", None), ("beta", "rho_2", "beta_1")):
            specs[confounding] = Mean(Unexplained(roles, before), x, learner="confounding")
            target = EffectTarget(roles, self.floor, before, confounding)
            specs[effect] = Mean(target, x, weight=EffectWeight(roles, self.floor), learner="effect")
        specs["rho"] = Mean(Unexplained(roles, "beta"), x, learner="confounding")
        return specs

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n, 3)."""
        z, pi = rows[self.roles.instrument], eta["pi"](rows)
        beta, rho, d = eta["beta"](rows), eta["rho"](rows), floored_shift(self.roles, self.floor, rows, eta)
        (v0, v1), mu0, mu1 = self.roles.variances(rows, eta), eta["mu0"](rows), eta["mu1"](rows)
        r_a, r_y = self.roles.treatment_residual(rows, eta), self.roles.outcome_residual(rows, eta)
        h = z / pi - (1 - z) / (1 - pi)  # (2Z − 1) / f(Z | X)
        b = r_a * (r_y - beta * r_a) - rho
        direct = eta["m1"](rows) - eta["m0"](rows) - beta * (mu1 - mu0)
        theta = beta + h / d * b
        delta = direct + h * (r_y - beta * r_a) - (mu1 - mu0) * h / d * b
        confounding = rho + b * ((1 - z) * v1 / (1 - pi) - z * v0 / pi) / d
        return np.column_stack([theta, delta, confounding])

    def derived(self, rows: Table, eta: Nuisances) -> dict[str, Array]:
        """Return V_0, V_1, D before and after the floor, for the diagnostics."""
        v0, v1 = self.roles.variances(rows, eta)
        return {"V0": v0, "V1": v1, "D": v1 - v0, "D_used": floored_shift(self.roles, self.floor, rows, eta)}

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return the three functionals by summation."""
        at = self.roles.law_moments(law)
        beta = (at["C1"] - at["C0"]) / (at["V1"] - at["V0"])
        direct = at["m1"] - at["m0"] - beta * (at["mu1"] - at["mu0"])
        return np.array([law.expect(beta), law.expect(direct), law.expect(at["C0"] - beta * at["V0"])])


@dataclass(frozen=True)
class VarianceShiftMoments:
    """Two moments whose ratio is the variance-shift-weighted effect θ_w = E[κ β] / E[κ], κ = π (1 − π) D.

    Coordinates: E[(Z − π) R_A R_Y] and E[(Z − π) R_A²], with c(X) the regressions of the products on X,

        φ = (Z − π) (R_A R_Y − c_Y(X)),  (Z − π) (R_A² − c_A(X)).

    Nothing is divided by D, so both stay regular however weak the instrument is.

    References
    ----------
    Tchetgen Tchetgen, Sun and Walter (2021), The GENIUS approach, Statistical Science 36, 443-464; Lewbel (2012).
    """

    roles: Roles

    labels = ("numerator", "denominator")

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """π with the treatment regressions; c is free."""
        return (frozenset({"pi", "mu0", "mu1"}),)

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the first stages and the regressions of the products."""
        x = self.roles.adjust
        specs = self.roles.first_stages()
        specs["c_outcome"] = Mean(ResidualProduct(self.roles, True), x, learner="confounding")
        specs["c_treatment"] = Mean(ResidualProduct(self.roles, False), x, learner="confounding")
        return specs

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n, 2)."""
        r_a, r_y = self.roles.treatment_residual(rows, eta), self.roles.outcome_residual(rows, eta)
        z_tilde = rows[self.roles.instrument] - eta["pi"](rows)
        top = z_tilde * (r_a * r_y - eta["c_outcome"](rows))
        return np.column_stack([top, z_tilde * (r_a**2 - eta["c_treatment"](rows))])

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return the two moments by summation."""
        at, rows = self.roles.law_moments(law), law.table(self.roles.adjust)
        pi = law.conditional_mean(rows[self.roles.instrument], self.roles.adjust)
        spread = pi * (1 - pi)
        return np.array([law.expect(spread * (at["C1"] - at["C0"])), law.expect(spread * (at["V1"] - at["V0"]))])


@dataclass(frozen=True)
class SensitivitySlopes:
    """By how much the effect is biased per unit of each violated condition.

    Coordinates, with D and 1 − μ_0 − μ_1 kept away from zero as in `InvalidIVEffect`:

    * E[V_1 / D]: the instrument's direct effect is larger by d among the treated (per unit of A), bias d·E[V_1/D];
    * E[1 / D]: the instrument's effect on the treatment varies with the confounder, covariance e, bias e·E[1/D];
    * E[−1 / (1 − μ_0 − μ_1)], binary treatment: uptake and effect vary together, covariance c, bias −c·E[1/(...)].

    With h = (2Z − 1)/f and s = R_A² − V_Z,

        φ = V_1/D + (−Z V_0/π + (1 − Z) V_1/(1 − π)) s / D²,   1/D − h s / D²,   −1/q − R_A (1/f) / q².

    Parameters
    ----------
    roles : Roles
        Columns; the instrument is coded 0/1.
    floor : float
        As in `InvalidIVEffect`.
    """

    roles: Roles
    floor: float = 0.1

    @property
    def labels(self) -> tuple[str, ...]:
        """Three with a binary treatment, two with a continuous one."""
        names = ("direct effect by treatment", "instrument by confounder", "uptake by effect")
        return names if self.roles.binary else names[:2]

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """All of π, μ and V."""
        return (frozenset({"pi", "mu0", "mu1", *(() if self.roles.binary else ("V",))}),)

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the first stages, V, and the average of D for the floor."""
        wanted = {"pi", "mu0", "mu1", "V", "shift"}
        effect = InvalidIVEffect(self.roles, self.floor).nuisances()
        return {name: spec for name, spec in effect.items() if name in wanted}

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n, 2) or (n, 3)."""
        z, pi = rows[self.roles.instrument], eta["pi"](rows)
        (v0, v1), d = self.roles.variances(rows, eta), floored_shift(self.roles, self.floor, rows, eta)
        r_a = self.roles.treatment_residual(rows, eta)
        s = r_a**2 - np.where(z == 1.0, v1, v0)
        one, zero = z / pi, (1 - z) / (1 - pi)
        columns = [v1 / d + (zero * v1 - one * v0) * s / d**2, 1 / d - (one - zero) * s / d**2]
        if self.roles.binary:
            q = self._additive_room(rows, eta)
            columns.append(-1 / q - (one + zero) * r_a / q**2)
        return np.column_stack(columns)

    def _additive_room(self, rows: Table, eta: Nuisances) -> Array:
        """Return q = 1 − μ_0 − μ_1, kept at least as large as the floored D, since |D| = |μ_1 − μ_0| |q| ≤ |q|."""
        q = 1 - eta["mu0"](rows) - eta["mu1"](rows)
        least = np.abs(floored_shift(self.roles, self.floor, rows, eta))
        return np.where(q < 0, -1.0, 1.0) * np.maximum(np.abs(q), least)

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return the functionals by summation."""
        at = self.roles.law_moments(law)
        d = at["V1"] - at["V0"]
        values = [law.expect(at["V1"] / d), law.expect(1 / d)]
        if self.roles.binary:
            values.append(law.expect(-1 / (1 - at["mu0"] - at["mu1"])))
        return np.array(values)


@dataclass(frozen=True)
class OneSidedEffect:
    """The functional of `InvalidIVEffect` when the treatment does not vary in one arm of the instrument.

    If V is zero in the other arm, then ρ = 0 is forced and β(X) is the difference of E[Y | A = a, Z = z, X] in the
    informative arm z: identification has become unconfoundedness within that arm. With f_z = P(Z = z | X),

        φ = τ(X) + 1(Z = z) / f_z(X) · (A − μ_z) / (μ_z (1 − μ_z)) · (Y − E[Y | A, Z = z, X]).

    Parameters
    ----------
    roles : Roles
        Columns; treatment and instrument are coded 0/1.
    arm : int
        The informative arm z.
    """

    roles: Roles
    arm: int

    labels = ("ATE",)
    robustness = (frozenset({"pi", "mu"}), frozenset({"y1", "y0"}))

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return π, μ_z and the two outcome regressions within the informative arm; the empty cell is never fitted."""
        roles, inside = self.roles, (self.roles.instrument, float(self.arm))
        bounds = (roles.clip, 1 - roles.clip)
        return {
            "pi": Probability(roles.instrument, roles.adjust, learner="instrument", bounds=bounds),
            "mu": Probability(roles.treatment, roles.adjust, where=(inside,), bounds=bounds),
            "y0": Mean(roles.outcome, roles.adjust, where=(inside, (roles.treatment, 0.0))),
            "y1": Mean(roles.outcome, roles.adjust, where=(inside, (roles.treatment, 1.0))),
        }

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n,)."""
        roles = self.roles
        a, mu, pi = rows[roles.treatment], eta["mu"](rows), eta["pi"](rows)
        y0, y1 = eta["y0"](rows), eta["y1"](rows)
        f = pi if self.arm == 1 else 1 - pi
        inside = (rows[roles.instrument] == self.arm) / f
        return y1 - y0 + inside * (a - mu) / (mu * (1 - mu)) * (rows[roles.outcome] - np.where(a == 1, y1, y0))

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return E[E[Y | A = 1, Z = z, X] − E[Y | A = 0, Z = z, X]] by summation."""
        roles, rows = self.roles, law.table(self.roles.adjust)
        inside = rows[roles.instrument] == self.arm
        y1, y0 = (
            law.conditional_mean(rows[roles.outcome], roles.adjust, inside & (rows[roles.treatment] == level))
            for level in (1.0, 0.0)
        )
        return np.array([law.expect(y1 - y0)])
