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
from causalif.engine.nuisance import Mean, Nuisances, NuisanceSpec, Probability, PseudoOutcome
from causalif.table import Table


@dataclass(frozen=True)
class LevelRoles:
    """The columns, the weights of the levels, and what is read off them given the first-stage regressions.

    Parameters
    ----------
    outcome, treatment, instrument : str
        Columns; the instrument is coded 0, ..., L − 1.
    adjust : tuple of str
        Covariates X.
    binary : bool
        Whether the treatment is coded 0/1, so that V_z = μ_z (1 − μ_z).
    omega : tuple of float
        Weights of the levels, positive and summing to one.
    clip : float
        Each P(Z = z | X) is kept within [clip, 1 − clip] before they are made to sum to one.
    """

    outcome: str
    treatment: str
    instrument: str
    adjust: tuple[str, ...]
    binary: bool
    omega: tuple[float, ...]
    clip: float = 0.01

    @property
    def levels(self) -> int:
        """Number of levels, L."""
        return len(self.omega)

    def names(self, *stems: str) -> tuple[str, ...]:
        """Return the names of level-specific nuisances, such as mu0, mu1, mu2."""
        return tuple(f"{stem}{z}" for stem in stems for z in range(self.levels))

    @property
    def variance_names(self) -> tuple[str, ...]:
        """Names of the nuisances behind V_z."""
        return self.names("mu") if self.binary else self.names("V")

    def first_stages(self) -> dict[str, NuisanceSpec]:
        """Return f_z, μ_z and m_z for every level, and V_z if the treatment is continuous."""
        z, x, bounds = self.instrument, self.adjust, (self.clip, 1 - self.clip)
        inside = [((z, float(level)),) for level in range(self.levels)]
        specs: dict[str, NuisanceSpec] = {}
        for level in range(self.levels):
            specs[f"f{level}"] = Probability(z, x, level=float(level), learner="instrument", bounds=bounds)
        for level, where in enumerate(inside):
            if self.binary:
                specs[f"mu{level}"] = Probability(self.treatment, x, where=where, bounds=None)
            else:
                specs[f"mu{level}"] = Mean(self.treatment, x, where=where, learner="treatment")
        for level, where in enumerate(inside):
            specs[f"m{level}"] = Mean(self.outcome, x, where=where)
        if not self.binary:
            for level, where in enumerate(inside):
                specs[f"V{level}"] = Mean(LevelProduct(self, False), x, where=where, learner="variance")
        return specs

    def at(self, stem: str, rows: Table, eta: Nuisances) -> Array:
        """Return a level-specific nuisance at all levels, shape (n, L)."""
        return np.column_stack([eta[name](rows) for name in self.names(stem)])

    def own(self, values: Array, rows: Table) -> Array:
        """Return from each row of (n, L) the entry of the row's own level."""
        z = rows[self.instrument].astype(np.intp)
        return np.asarray(np.take_along_axis(values, z[:, None], axis=1)[:, 0])

    def centred(self, values: Array) -> Array:
        """Return values less their ω-average over levels, shape (n, L)."""
        return np.asarray(values - (values @ np.array(self.omega))[:, None])

    def probabilities(self, rows: Table, eta: Nuisances) -> Array:
        """Return f_z, made to sum to one over the levels."""
        f = self.at("f", rows, eta)
        return np.asarray(f / f.sum(axis=1, keepdims=True))

    def residuals(self, rows: Table, eta: Nuisances) -> tuple[Array, Array]:
        """Return R_A and R_Y."""
        r_a = rows[self.treatment] - self.own(self.at("mu", rows, eta), rows)
        return r_a, rows[self.outcome] - self.own(self.at("m", rows, eta), rows)

    def variances(self, rows: Table, eta: Nuisances) -> Array:
        """Return V_z, shape (n, L)."""
        if not self.binary:
            return self.at("V", rows, eta)
        mu = self.at("mu", rows, eta)
        return mu * (1 - mu)

    def spread(self, variances: Array) -> Array:
        """Return √S, the standard deviation of V_z over the levels."""
        return np.asarray(np.sqrt(self.centred(variances) ** 2 @ np.array(self.omega)))

    def used_spread(self, floor: float, variances: Array, rows: Table, eta: Nuisances) -> Array:
        """Return √S kept above the given share of its average."""
        return np.maximum(self.spread(variances), floor * eta["shift"](rows))

    def law_moments(self, law: FiniteLaw) -> dict[str, Array]:
        """Return f, mu, m, V and C at every support point and level, each of shape (points, L), by summation."""
        points, mass, x = law.points, law.probabilities, list(self.adjust)
        a, y = points[self.treatment].to_numpy(dtype=float), points[self.outcome].to_numpy(dtype=float)
        group = points.groupby(x, sort=True).ngroup().to_numpy() if x else np.zeros(len(points), dtype=np.intp)
        cell = group * self.levels + points[self.instrument].to_numpy(dtype=np.intp)

        def total(values: Array) -> Array:
            sums = np.bincount(cell, weights=mass * values, minlength=self.levels * (group.max() + 1))
            return np.asarray(sums.reshape(-1, self.levels)[group])

        share = total(np.ones(len(points)))
        mu, m = total(a) / share, total(y) / share
        v, c = total(a * a) / share - mu**2, total(a * y) / share - mu * m
        return {"f": share / share.sum(axis=1, keepdims=True), "mu": mu, "m": m, "V": v, "C": c}

    def law_line(self, law: FiniteLaw) -> tuple[dict[str, Array], Array, Array]:
        """Return the moments, β, and ρ_z at every support point, by summation."""
        at, omega = self.law_moments(law), np.array(self.omega)
        v = self.centred(at["V"])
        beta = (v * at["C"]) @ omega / (v**2 @ omega)
        return at, beta, at["C"] - beta[:, None] * at["V"]


@dataclass(frozen=True)
class LevelProduct:
    """R_A R_Y, or R_A²."""

    roles: LevelRoles
    of_outcome: bool

    @property
    def needs(self) -> tuple[str, ...]:
        """The first stages."""
        return self.roles.names("mu", "m") if self.of_outcome else self.roles.names("mu")

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the target for every row."""
        if self.of_outcome:
            r_a, r_y = self.roles.residuals(rows, eta)
            return r_a * r_y
        mu = self.roles.at("mu", rows, eta)
        return np.asarray((rows[self.roles.treatment] - self.roles.own(mu, rows)) ** 2)


@dataclass(frozen=True)
class LevelSpread:
    """√S, whose average gives the scale of the floor under it."""

    roles: LevelRoles

    @property
    def needs(self) -> tuple[str, ...]:
        """What the variances are made of."""
        return self.roles.variance_names

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the target for every row."""
        return self.roles.spread(self.roles.variances(rows, eta))


@dataclass(frozen=True)
class LevelMoment:
    """ω_Z / f_Z · (V_Z − V̄) R_A R_Y, or with R_A²: averages E[S β] and E[S], the constant first guess of β."""

    roles: LevelRoles
    of_outcome: bool

    @property
    def needs(self) -> tuple[str, ...]:
        """The first stages."""
        return _everything(self.roles)

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the target for every row."""
        r_a, r_y = self.roles.residuals(rows, eta)
        return _contrast_weight(self.roles, rows, eta) * r_a * (r_y if self.of_outcome else r_a)


@dataclass(frozen=True)
class LevelUnexplained:
    """R_A (R_Y − β R_A), whose regression on X at a level is ρ_z."""

    roles: LevelRoles
    effect: str | None

    @property
    def needs(self) -> tuple[str, ...]:
        """First stages, and the current guess of β."""
        return (*self.roles.names("mu", "m"), *_guess_names(self.effect))

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the target for every row."""
        r_a, r_y = self.roles.residuals(rows, eta)
        return r_a * (r_y - _guess(self.effect, rows, eta) * r_a)


@dataclass(frozen=True)
class LevelEffectTarget:
    """β⁰ + a (R_A (R_Y − β⁰ R_A) − r⁰(X)) with a = ω_Z (V_Z − V̄) / (f_Z S), whose mean given X is β.

    E[a | X] = 0 and E[a V_Z | X] = 1, so r⁰ only takes noise out and errors of β⁰ cancel.
    """

    roles: LevelRoles
    floor: float
    effect: str | None
    pooled: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Everything before it."""
        return (*_everything(self.roles), "shift", *_guess_names(self.effect), self.pooled)

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the target for every row."""
        b0, (r_a, r_y) = _guess(self.effect, rows, eta), self.roles.residuals(rows, eta)
        s = self.roles.used_spread(self.floor, self.roles.variances(rows, eta), rows, eta) ** 2
        return b0 + _contrast_weight(self.roles, rows, eta) / s * (r_a * (r_y - b0 * r_a) - eta[self.pooled](rows))


@dataclass(frozen=True)
class LevelEffectWeight:
    """1 / E[a² | X] = S² / Σ ω_z² (V_z − V̄)² / f_z: rows where S is small, and the target noisy, count little."""

    roles: LevelRoles
    floor: float

    @property
    def needs(self) -> tuple[str, ...]:
        """The probabilities, the variances and the floor."""
        return (*self.roles.names("f"), *self.roles.variance_names, "shift")

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the weight for every row."""
        v = self.roles.variances(rows, eta)
        s = self.roles.used_spread(self.floor, v, rows, eta) ** 2
        # A floored S is met by a floored sum: Σ ω² (V − V̄)² / f >= S · min ω, at its smallest where f = 1.
        noise = (np.array(self.roles.omega) * self.roles.centred(v)) ** 2 / self.roles.probabilities(rows, eta)
        return np.asarray(s**2 / np.maximum(noise.sum(axis=1), s * min(self.roles.omega)))


def _everything(roles: LevelRoles) -> tuple[str, ...]:
    return (*roles.names("f", "mu", "m"), *(() if roles.binary else roles.names("V")))


def _guess_names(effect: str | None) -> tuple[str, ...]:
    return (effect,) if effect else ("top", "bottom")


def _guess(effect: str | None, rows: Table, eta: Nuisances) -> Array:
    return eta[effect](rows) if effect else eta["top"](rows) / eta["bottom"](rows)


def _contrast_weight(roles: LevelRoles, rows: Table, eta: Nuisances) -> Array:
    """Return ω_Z (V_Z − V̄) / f_Z."""
    v = roles.centred(roles.variances(rows, eta))
    return roles.own(np.array(roles.omega) * v / roles.probabilities(rows, eta), rows)


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
