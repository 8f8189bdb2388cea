"""Pieces that the estimands about mediators share: arms, mediator ratios, independence ratios, names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causalif._validate import Array
from causalif.engine.nuisance import (
    Comparison,
    DensityRatio,
    Mean,
    Nuisances,
    NuisanceSpec,
    Probability,
    PseudoOutcome,
    Where,
)
from causalif.table import Table

Names = tuple[str, ...]
# Probabilities of a mediator's own value are kept above this.
NEVER = 1e-3


def joined(adjust: Names, *mediators: Names) -> Names:
    """Return covariates and then mediators, these in an order of their own, so that equal sets are equal tuples."""
    return adjust + tuple(sorted({name for block in mediators for name in block} - set(adjust)))


def condition(head: str, *given: str) -> str:
    """Return ``head|given``, without the bar if nothing is given."""
    return f"{head}|{','.join(given)}" if given else head


@dataclass(frozen=True)
class Arms:
    """How the probability of a treatment level is modelled, whatever is conditioned on.

    Parameters
    ----------
    treatment : str
        Column, coded 0, 1, ....
    count : int
        Number of levels; with two, one regression serves both.
    clip : float
        Probabilities are kept within [clip, 1 − clip].
    """

    treatment: str
    count: int = 2
    clip: float = 0.01

    def modelled(self, level: float) -> float:
        """Return the level whose probability is regressed."""
        return 1.0 if self.count == 2 else level

    def name(self, level: float, given: Names) -> str:
        """Return the name of the nuisance."""
        return f"P({condition(f'{self.treatment}={self.modelled(level):g}', *given)})"

    def spec(self, level: float, given: Names) -> NuisanceSpec:
        """Return the nuisance."""
        return Probability(self.treatment, given, self.modelled(level), bounds=(self.clip, 1 - self.clip))

    def where(self, level: float) -> Where:
        """Return the condition that selects an arm."""
        return ((self.treatment, level),)

    def at(self, level: float, given: Names, rows: Table, eta: Nuisances) -> Array:
        """Return P(A = level | given) at every row."""
        one = eta[self.name(level, given)](rows)
        return 1.0 - one if self.count == 2 and level == 0.0 else one

    def inverse(self, level: float, given: Names, rows: Table, eta: Nuisances) -> Array:
        """Return 1(A = level) / P(A = level | given) at every row."""
        return (rows[self.treatment] == level) / self.at(level, given, rows, eta)

    def odds_specs(self, top: float, bottom: float, given: Names) -> dict[str, NuisanceSpec]:
        """Return the one nuisance behind `odds`: with more than two levels, the two are compared with each other only.

        Against all others, the odds of each of them would not be log-linear where those between the two are.
        """
        if self.count == 2:
            return {self.name(level, given): self.spec(level, given) for level in (top, bottom)}
        low, high = sorted((top, bottom))
        bounds = (self.clip, 1 - self.clip)
        spec = Comparison(self.treatment, given, high, bounds=bounds, against=low)
        return {self._odds_name(top, bottom, given): spec}

    def _odds_name(self, top: float, bottom: float, given: Names) -> str:
        low, high = sorted((top, bottom))
        return f"P({condition(f'{self.treatment}={high:g} not {low:g}', *given)})"

    def odds(self, top: float, bottom: float, given: Names, rows: Table, eta: Nuisances) -> Array:
        """Return P(A = top | given) / P(A = bottom | given) at every row."""
        if self.count == 2:
            return self.at(top, given, rows, eta) / self.at(bottom, given, rows, eta)
        high = eta[self._odds_name(top, bottom, given)](rows)
        return high / (1.0 - high) if top > bottom else (1.0 - high) / high

    def mean_name(self, target: str, level: float, given: Names) -> str:
        """Return the name of the regression of something within an arm."""
        return f"E[{condition(target, f'{self.treatment}={level:g}', *given)}]"


@dataclass(frozen=True)
class Fitted:
    """Another nuisance as the target of a regression."""

    name: str

    @property
    def needs(self) -> Names:
        """The one nuisance."""
        return (self.name,)

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return its prediction."""
        return eta[self.name](rows)


@dataclass(frozen=True)
class MediatorRatio:
    """The density of mediators in one arm over that in another, given earlier ones: two classifiers and Bayes' rule.

    r = p(M | a, M̄, X) / p(M | b, M̄, X) = π(a | M, M̄, X) / π(b | M, M̄, X) · π(b | M̄, X) / π(a | M̄, X).

    Parameters
    ----------
    arms : Arms
        The probabilities.
    before, after : tuple of str
        Conditioning columns without and with M.
    top, bottom : float
        The arms a and b.
    """

    arms: Arms
    before: Names
    after: Names
    top: float
    bottom: float

    @property
    def needs(self) -> Names:
        """Names of the probabilities."""
        return tuple(self.specs())

    def specs(self) -> dict[str, NuisanceSpec]:
        """Return the probabilities by name."""
        return {
            name: spec
            for given in (self.before, self.after)
            for name, spec in self.arms.odds_specs(self.top, self.bottom, given).items()
        }

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return r at every row."""
        after, before = (self.arms.odds(self.top, self.bottom, given, rows, eta) for given in (self.after, self.before))
        return after / before


@dataclass(frozen=True)
class Independence:
    """What turns the joint law of two blocks of mediators, given covariates in one arm, into their product law.

    ι = p(v | X, b) p(w | X, b) / p(v, w | X, b).

    A discrete v needs its probabilities with and without w; otherwise ι is a ratio of two density ratios,
    p(v) p(w, X) / p(v, w, X) over p(v) p(X) / p(v, X), within the arm.

    Parameters
    ----------
    arms : Arms
        The treatment.
    level : float
        The arm b.
    adjust : tuple of str
        The covariates X.
    first, second : tuple of str
        The blocks v and w.
    values : tuple of float
        The values of a discrete v, which is then one column; empty for density ratios.
    """

    arms: Arms
    level: float
    adjust: Names
    first: Names
    second: Names
    values: tuple[float, ...] = ()

    @property
    def needs(self) -> Names:
        """Names of the nuisances."""
        return tuple(self.specs())

    @property
    def _given(self) -> tuple[Names, Names]:
        return joined(self.adjust, self.second), self.adjust

    @property
    def _modelled(self) -> tuple[float, ...]:
        return self.values[1:] if len(self.values) == 2 else self.values

    def _probability(self, value: float, given: Names) -> str:
        arm = f"{self.arms.treatment}={self.level:g}"
        return f"P({condition(f'{self.first[0]}={value:g}', arm, *given)})"

    def _ratio(self, given: Names) -> str:
        return f"ratio({','.join(self.first)};{','.join(given)}|{self.arms.treatment}={self.level:g})"

    def specs(self) -> dict[str, NuisanceSpec]:
        """Return the nuisances by name."""
        where = self.arms.where(self.level)
        if not self.values:
            return {self._ratio(given): DensityRatio(self.first, given, within=where) for given in self._given if given}
        (column,), bounds = self.first, (NEVER, 1 - NEVER)
        return {
            self._probability(value, given): Probability(column, given, value, where, "mediator", bounds)
            for given in self._given
            for value in self._modelled
        }

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return ι at every row, at most 1 / clip."""
        joint, alone = (self._part(given, rows, eta) for given in self._given)
        return np.clip(alone / joint if self.values else joint / alone, 0.0, 1.0 / self.arms.clip)

    def _part(self, given: Names, rows: Table, eta: Nuisances) -> Array:
        """Return p(v | given) at each row's own v, or the density ratio."""
        if not self.values:
            return eta[self._ratio(given)](rows) if given else np.ones(len(rows))
        own, v = np.ones(len(rows)), rows[self.first[0]]
        for value in self._modelled:
            own = np.where(v == value, eta[self._probability(value, given)](rows), own)
        if len(self.values) == 2:
            own = np.where(v == self.values[0], 1.0 - eta[self._probability(self.values[1], given)](rows), own)
        return own


@dataclass(frozen=True)
class Product:
    """The product of several weights, for rows of one arm; of none it is 1.

    Parameters
    ----------
    factors : tuple of PseudoOutcome
        What is multiplied.
    """

    factors: tuple[PseudoOutcome, ...]

    @property
    def needs(self) -> Names:
        """Names of all that is multiplied."""
        return tuple(dict.fromkeys(name for factor in self.factors for name in factor.needs))

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the product at every row."""
        out = np.ones(len(rows))
        for factor in self.factors:
            out = out * factor(rows, eta)
        return out


@dataclass(frozen=True)
class Tilt:
    """A fitted ratio of densities, kept between 0 and a largest value.

    Parameters
    ----------
    name : str
        The nuisance.
    most : float
        The largest value.
    """

    name: str
    most: float

    @property
    def needs(self) -> Names:
        """The one nuisance."""
        return (self.name,)

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return its prediction within the bounds."""
        return np.clip(eta[self.name](rows), 0.0, self.most)


def regression(target: str | PseudoOutcome, given: Names, where: Where) -> Mean:
    """Return the specification of a regression within an arm; of other nuisances under the learner "nested"."""
    return Mean(target, given, where, learner="outcome" if isinstance(target, str) else "nested")
