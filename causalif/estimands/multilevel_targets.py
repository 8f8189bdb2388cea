"""The columns of an instrument of several levels, and the pseudo-outcomes of the regressions behind its estimands.

Notation as in `causalif.estimands.multilevel_iv`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causalif._validate import Array
from causalif.engine.estimand import FiniteLaw
from causalif.engine.nuisance import Mean, Nuisances, NuisanceSpec, Probability
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
