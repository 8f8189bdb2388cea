"""The average treatment effect with an invalid instrument of several levels, and the restrictions that it can refute.

Levels z = 0, ..., L − 1 with fixed weights ω_z that sum to one. With f_z = P(Z = z | X), μ_z = E[A | Z = z, X],
m_z = E[Y | Z = z, X], V_z = var(A | Z = z, X), C_z = cov(A, Y | Z = z, X), a bar for the ω-average over levels,
R_A = A − μ_Z and R_Y = Y − m_Z,

    S = Σ ω_z (V_z − V̄)²,   β = Σ ω_z (V_z − V̄) C_z / S,   ρ_z = C_z − β V_z,   θ = E[β(X)].

The identifying conditions say that C_z = β V_z + ρ with one ρ at every level: at each X a line through L points, which
two levels always satisfy and more than two need not. Its residuals are e_z = ρ_z − ρ̄.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from causalif._validate import Array
from causalif.engine.estimand import FiniteLaw
from causalif.engine.nuisance import Mean, Nuisances, NuisanceSpec, PseudoOutcome
from causalif.estimands.multilevel_targets import (
    LevelEffectTarget,
    LevelEffectWeight,
    LevelMoment,
    LevelProduct,
    LevelRoles,
    LevelSpread,
    LevelUnexplained,
)
from causalif.table import Table


@dataclass(frozen=True, eq=False)
class _Line:
    """The fitted line C_z = ρ_z + β V_z at each row, and the first-order error of its slope."""

    roles: LevelRoles
    rows: Table
    f: Array
    v: Array
    s: Array
    beta: Array
    rho: Array
    r_a: Array
    r_y: Array

    @classmethod
    def of(cls, roles: LevelRoles, floor: float, rows: Table, eta: Nuisances) -> _Line:
        """Evaluate the nuisances; ρ_z loses its slope along V_z, which β already holds."""
        v = roles.variances(rows, eta)
        s = roles.used_spread(floor, v, rows, eta) ** 2
        rho, centred = roles.at("rho", rows, eta), roles.centred(v)
        # Σ ω (V − V̄) ρ = 0 by definition; without it an error of ρ_z would matter to first order.
        rho = rho - centred * ((centred * rho) @ np.array(roles.omega) / s)[:, None]
        f, (r_a, r_y) = roles.probabilities(rows, eta), roles.residuals(rows, eta)
        return cls(roles, rows, f, v, s, eta["beta"](rows), rho, r_a, r_y)

    def own(self, values: Array) -> Array:
        """Return the entry of each row's own level."""
        return self.roles.own(values, self.rows)

    @property
    def omega(self) -> Array:
        """Return ω as an array."""
        return np.array(self.roles.omega)

    @property
    def error(self) -> Array:
        """Return R_A (R_Y − β R_A) − ρ_Z, of mean zero given Z and X."""
        return np.asarray(self.r_a * (self.r_y - self.beta * self.r_a) - self.own(self.rho))

    @property
    def slope_error(self) -> Array:
        """Return φ_θ − β = ω_Z / (f_Z S) · ((V_Z − V̄) error + e_Z (R_A² − V_Z))."""
        v, e = self.roles.centred(self.v), self.roles.centred(self.rho)
        inner = self.own(v) * self.error + self.own(e) * (self.r_a**2 - self.own(self.v))
        return self.own(self.omega / self.f) / self.s * inner

    def against(self, other: Array) -> Array:
        """Return (1(Z = z) − other_Z) / f_Z for every z, shape (n, L): the level's row minus an average of rows."""
        z = self.rows[self.roles.instrument].astype(np.intp)
        return np.asarray((np.eye(self.roles.levels)[z] - other[z][:, None]) / self.own(self.f)[:, None])


@dataclass(frozen=True)
class MultilevelEffect:
    """The average treatment effect, the confounding bias, and the direct effects of the instrument's levels.

    Coordinates: θ = E[β(X)], E[ρ̄(X)], and E[g_z − g_0] for z = 1, ..., L − 1 with g_z = m_z − β μ_z. With
    e_z = ρ_z − ρ̄ and b = R_A (R_Y − β R_A) − ρ_Z,

        φ_θ = β + δ,   δ = ω_Z / (f_Z S) · ((V_Z − V̄) b + e_Z (R_A² − V_Z)),
        φ_ρ = ρ̄ + ω_Z / f_Z · b − V̄ δ,
        φ_g = g_z − g_0 + (1(Z = z) − 1(Z = 0)) / f_Z · (R_Y − β R_A) − (μ_z − μ_0) δ.

    The formula is that of the nonparametric model: it stays valid for θ where the restrictions e_z = 0 fail, though θ
    then depends on ω and no longer is the effect. With two levels it is that of `InvalidIVEffect`, whatever ω is.

    Parameters
    ----------
    roles : LevelRoles
        Columns and weights of the levels.
    floor : float
        √S is kept above this share of its average.

    References
    ----------
    Sun, Cui and Tchetgen Tchetgen (2022), JMLR 23; Tchetgen Tchetgen, Sun and Walter (2021), Statistical Science 36.
    """

    roles: LevelRoles
    floor: float = 0.1

    @property
    def labels(self) -> tuple[str, ...]:
        """The effect, the confounding, and one direct effect for each level but the first."""
        return ("ATE", "confounding", *(f"direct effect of level {z}" for z in range(1, self.roles.levels)))

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """Sets that suffice for all coordinates together: f or the line, always with μ and V."""
        return tuple(legs | (set() if "f0" in legs else set(self.roles.names("m"))) for legs in self.effect_robustness)

    @property
    def effect_robustness(self) -> tuple[frozenset[str], ...]:
        """Sets that suffice for θ, for E[ρ̄], and for the restrictions."""
        roles = self.roles
        always = {*roles.names("mu"), *roles.variance_names}
        return frozenset({*always, *roles.names("f")}), frozenset({*always, "beta", *roles.names("rho")})

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the first stages, the first guess of β, two passes of β, and ρ_z at every level."""
        roles, x = self.roles, self.roles.adjust
        specs = roles.first_stages()
        specs["shift"] = Mean(LevelSpread(roles), ())
        specs["top"], specs["bottom"] = Mean(LevelMoment(roles, True), ()), Mean(LevelMoment(roles, False), ())
        weight: PseudoOutcome = LevelEffectWeight(roles, self.floor)
        for effect, pooled, before in (("beta_1", "pooled_1", None), ("beta", "pooled_2", "beta_1")):
            specs[pooled] = Mean(LevelUnexplained(roles, before), x, learner="confounding")
            target = LevelEffectTarget(roles, self.floor, before, pooled)
            specs[effect] = Mean(target, x, weight=weight, learner="effect")
        for z in range(roles.levels):
            where = ((roles.instrument, float(z)),)
            specs[f"rho{z}"] = Mean(LevelUnexplained(roles, "beta"), x, where=where, learner="confounding")
        return specs

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n, L + 1)."""
        roles, line = self.roles, _Line.of(self.roles, self.floor, rows, eta)
        delta, omega = line.slope_error, line.omega
        confounding = line.rho @ omega + line.own(omega / line.f) * line.error - line.v @ omega * delta
        mu, m = roles.at("mu", rows, eta), roles.at("m", rows, eta)
        g = m - line.beta[:, None] * mu
        versus = line.against(np.eye(roles.levels)[0]) * (line.r_y - line.beta * line.r_a)[:, None]
        direct = g - g[:, :1] + versus - (mu - mu[:, :1]) * delta[:, None]
        # Against level 0 the row's own indicator is −1(Z = 0) for every z.
        return np.column_stack([line.beta + delta, confounding, direct[:, 1:]])

    def derived(self, rows: Table, eta: Nuisances) -> dict[str, Array]:
        """Return f_z summing to one, V_z, and √S before (D) and after (D_used) the floor, for the diagnostics."""
        roles, v = self.roles, self.roles.variances(rows, eta)
        columns = dict(zip(roles.names("f"), roles.probabilities(rows, eta).T, strict=True))
        columns |= dict(zip(roles.names("V"), v.T, strict=True))
        return columns | {"D": roles.spread(v), "D_used": roles.used_spread(self.floor, v, rows, eta)}

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return the functionals by summation."""
        at, beta, rho = self.roles.law_line(law)
        g = at["m"] - beta[:, None] * at["mu"]
        direct = law.expect(g - g[:, :1])[1:]
        return np.array([law.expect(beta), law.expect(rho @ np.array(self.roles.omega)), *direct])


@dataclass(frozen=True)
class OverIdentification:
    """Departures from one line C_z = β V_z + ρ through all levels, averaged over X and along given directions.

    Coordinates: E[v(X) e_z(X)] for every level z and every direction v, with e_z = C_z − C̄ − β (V_z − V̄). All are
    zero under the identifying conditions; Σ ω_z e_z = Σ ω_z (V_z − V̄) e_z = 0 always, so L − 2 of the e_z are free.
    With b and δ of `MultilevelEffect`,

        φ = v · (e_z + (1(Z = z) − ω_Z) / f_Z · b − (V_z − V̄) δ).

    Parameters
    ----------
    roles : LevelRoles
        Columns and weights of the levels.
    floor : float
        As in `MultilevelEffect`.
    directions : tuple of (str, float, float)
        Covariate, centre and scale of each v(X) = (x − centre) / scale, numbers fixed beforehand; v = 1 comes first
        in any case.
    """

    roles: LevelRoles
    floor: float = 0.1
    directions: tuple[tuple[str, float, float], ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Levels within directions."""
        names = ["", *(f" along {name}" for name, _, _ in self.directions)]
        return tuple(f"departure at level {z}{name}" for name in names for z in range(self.roles.levels))

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """As for the effect."""
        return MultilevelEffect(self.roles, self.floor).effect_robustness

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return those of the effect."""
        return MultilevelEffect(self.roles, self.floor).nuisances()

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n, L · (1 + directions))."""
        line = _Line.of(self.roles, self.floor, rows, eta)
        e, v = self.roles.centred(line.rho), self.roles.centred(line.v)
        phi = e + line.against(line.omega) * line.error[:, None] - v * line.slope_error[:, None]
        return self._along(rows, phi)

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return the functionals by summation."""
        _, _, rho = self.roles.law_line(law)
        return law.expect(self._along(law.table(self.roles.adjust), self.roles.centred(rho)))

    def _along(self, rows: Table, values: Array) -> Array:
        """Multiply (n, L) by every direction."""
        v = [np.ones(len(rows)), *((rows[name] - centre) / scale for name, centre, scale in self.directions)]
        return np.hstack([one[:, None] * values for one in v])


@dataclass(frozen=True)
class ScoredShiftMoments:
    """Two moments whose ratio is a variance-shift-weighted effect, regular however weak the instrument is.

    With fixed scores s_z of the levels and h = s_Z − Σ f_z s_z, coordinates E[h R_A R_Y] and E[h R_A²], and

        φ = h (R_A R_Y − c_Y(X)),   h (R_A² − c_A(X)),

    where c_Y and c_A are the regressions of the products on X. If C_z = β V_z + ρ, the ratio is E[κ β] / E[κ] with
    κ = cov(s_Z, V_Z | X), and it is the effect itself if β is constant. Scores that grow with V_z make κ positive.
    With two levels and scores (0, 1) these are the moments of `VarianceShiftMoments`.

    Parameters
    ----------
    roles : LevelRoles
        Columns.
    scores : tuple of float
        One per level.

    References
    ----------
    Tchetgen Tchetgen, Sun and Walter (2021), The GENIUS approach, Statistical Science 36, 443-464; Lewbel (2012).
    """

    roles: LevelRoles
    scores: tuple[float, ...]

    labels = ("numerator", "denominator")

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """The probabilities with the treatment regressions; c is free."""
        return (frozenset(self.roles.names("f", "mu")),)

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the first stages and the regressions of the products."""
        roles, wanted = self.roles, set(self.roles.names("f", "mu", "m"))
        specs = {name: spec for name, spec in roles.first_stages().items() if name in wanted}
        specs["c_outcome"] = Mean(LevelProduct(roles, True), roles.adjust, learner="confounding")
        specs["c_treatment"] = Mean(LevelProduct(roles, False), roles.adjust, learner="confounding")
        return specs

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n, 2)."""
        roles, scores = self.roles, np.array(self.scores)
        r_a, r_y = roles.residuals(rows, eta)
        h = scores[rows[roles.instrument].astype(np.intp)] - roles.probabilities(rows, eta) @ scores
        return np.column_stack([h * (r_a * r_y - eta["c_outcome"](rows)), h * (r_a**2 - eta["c_treatment"](rows))])

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return the two moments by summation."""
        at, scores = self.roles.law_moments(law), np.array(self.scores)
        h = at["f"] * (scores - (at["f"] @ scores)[:, None])
        return np.array([law.expect((h * at["C"]).sum(axis=1)), law.expect((h * at["V"]).sum(axis=1))])
