"""The effect of `InvalidIVEffect` taken apart, so that every combination of learners can be scored from stored parts.

Nuisances fall into three blocks: F = {π}, M = {μ, D} and H = {β, ρ, g} with g_z = m_z − β μ_z. With f = f(Z | X),

    φ = β + (2Z − 1) / (f D) · (R_A e − ρ),   e = Y − β A − g_Z.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from causalif._errors import InputError
from causalif._validate import Array
from causalif.engine.estimand import FiniteLaw
from causalif.engine.nuisance import Mean, Nuisances, NuisanceSpec, Predict, Probability, PseudoOutcome
from causalif.estimands.invalid_iv import InvalidIVEffect, floored_shift
from causalif.table import Table

Member: TypeAlias = tuple[tuple[str, str], ...]

FIRST_STAGES = {"F": ("pi",), "M": ("mu0", "mu1", "V", "shift")}
LABELS = {"F": ("instrument",), "M": ("residual", "shift"), "H": ("effect", "confounding", "rest")}


def tag(key: str, name: str) -> str:
    """Return the learner key of one candidate."""
    return f"{key}: {name}"


@dataclass(frozen=True)
class BlockParts:
    """What one candidate of one block contributes to the score of every row.

    F gives (2Z − 1) / f(Z | X); M gives R_A = A − μ_Z(X) and D(X) kept away from zero; H gives β(X), ρ(X) and e, where
    the μ in g is its own.

    Parameters
    ----------
    question : InvalidIVEffect
        Columns and floor.
    block : {"F", "M", "H"}
        Which block.
    member : tuple of (str, str)
        Which learner is used for each key.
    """

    question: InvalidIVEffect
    block: str
    member: Member
    robustness = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """One per part."""
        return tuple(f"{part} {self.member}" for part in LABELS[self.block])

    def nuisances(self) -> dict[str, NuisanceSpec]:
        """Return the nuisances of the block, each asking for its candidate."""
        every, learners = self.question.nuisances(), dict(self.member)
        return {
            name: _asking(spec, lambda key: tag(key, learners[key]))
            for name, spec in every.items()
            if name in FIRST_STAGES.get(self.block, every)
        }

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return the parts for every row, shape (n, 1), (n, 2) or (n, 3)."""
        roles = self.question.roles
        if self.block == "F":
            z, pi = rows[roles.instrument], eta["pi"](rows)
            return z / pi - (1 - z) / (1 - pi)
        r_a = roles.treatment_residual(rows, eta)
        if self.block == "M":
            return np.column_stack([r_a, floored_shift(roles, self.question.floor, rows, eta)])
        beta = eta["beta"](rows)
        return np.column_stack([beta, eta["rho"](rows), roles.outcome_residual(rows, eta) - beta * r_a])

    def plug_in(self, law: FiniteLaw) -> Array:
        """Refuse: a part of a score is no functional of its own."""
        raise InputError("The parts of a score have no value of their own; check `TupleEffect` instead.")


@dataclass(frozen=True)
class Renamed:
    """A pseudo-outcome that reads some nuisances under other names."""

    target: PseudoOutcome
    names: Member

    @property
    def needs(self) -> tuple[str, ...]:
        """The new names."""
        return tuple(dict(self.names).get(need, need) for need in self.target.needs)

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the target for every row."""
        return self.target(rows, {old: eta[new] for old, new in zip(self.target.needs, self.needs, strict=True)})


@dataclass(frozen=True)
class TupleEffect:
    """`InvalidIVEffect` for one tuple of candidates, where β, ρ and g may rest on first stages of their own.

    With μ° the treatment regression within H, g_z = m_z − β μ°_z. That is m'_z − β μ_z with

        m'_z = m_z + β (μ_z − μ°_z),

    so φ is that of `InvalidIVEffect` at m'. Without first stages of its own this is `InvalidIVEffect`.

    Parameters
    ----------
    question : InvalidIVEffect
        Columns and floor.
    own : frozenset of {"F", "M"}
        Blocks of first stages that H does not share.
    """

    question: InvalidIVEffect
    own: frozenset[str] = frozenset()
    labels = InvalidIVEffect.labels

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """As for `InvalidIVEffect`."""
        return self.question.robustness

    def nuisances(self) -> dict[str, NuisanceSpec]:
        """Return the nuisances of `InvalidIVEffect`, and under other names those that H does not share."""
        aliases = {name: _own(name) for block in sorted(self.own) for name in FIRST_STAGES[block]}
        shared = {name for names in FIRST_STAGES.values() for name in names}
        found: dict[str, NuisanceSpec] = {}
        for name, spec in self.question.nuisances().items():
            moved = _moved(spec, aliases)
            if name not in shared:
                found[name] = moved
                continue
            found[name] = spec
            if name in aliases:
                found[aliases[name]] = _asking(moved, _own)
        return found

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n, 3)."""
        carried = {f"m{arm}": _carried(arm, eta) for arm in (0, 1)} if "M" in self.own else {}
        return self.question.eif(rows, {**eta, **carried})

    def derived(self, rows: Table, eta: Nuisances) -> dict[str, Array]:
        """Return V_0, V_1, D before and after the floor, of the block M."""
        return self.question.derived(rows, eta)

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return the three functionals by summation."""
        return self.question.plug_in(law)


def _own(name: str) -> str:
    return f"own {name}"


def _carried(arm: int, eta: Nuisances) -> Predict:
    """Return m'_z, the outcome regression carried along β from H's treatment regression to that of M."""
    m, beta, mu, own = (eta[name] for name in (f"m{arm}", "beta", f"mu{arm}", _own(f"mu{arm}")))
    return lambda rows: m(rows) + beta(rows) * (mu(rows) - own(rows))


def _moved(spec: NuisanceSpec, aliases: Mapping[str, str]) -> NuisanceSpec:
    """Let a nuisance of H read those of its own."""
    names = tuple((need, aliases[need]) for need in spec.needs if need in aliases)
    if not names or not isinstance(spec, Mean) or isinstance(spec.target, str):
        return spec
    weight = None if spec.weight is None else Renamed(spec.weight, names)
    return replace(spec, target=Renamed(spec.target, names), weight=weight)


def _asking(spec: NuisanceSpec, key: Callable[[str], str]) -> NuisanceSpec:
    """Let a regression ask for its learner under another key; averages have none."""
    return replace(spec, learner=key(spec.learner)) if isinstance(spec, Mean | Probability) and spec.given else spec
