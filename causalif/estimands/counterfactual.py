"""Counterfactual means under treatment levels, and the effect among the treated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from causalif._validate import Array
from causalif.engine.estimand import FiniteLaw
from causalif.engine.nuisance import Mean, Nuisances, NuisanceSpec, Probability
from causalif.table import Table


@dataclass(frozen=True)
class CounterfactualMean:
    """The mean outcome if everybody received one treatment level.

    θ = E[μ_a(X)] with μ_a(X) = E[Y | A = a, X], and π_a(X) = P(A = a | X),

        φ = μ_a(X) + 1(A = a) / π_a(X) · (Y − μ_a(X)).

    Parameters
    ----------
    outcome, treatment : str
        Columns; the treatment is coded 0, 1, ....
    adjust : tuple of str
        Covariates X that suffice to remove confounding.
    level : float
        The code a.
    levels : int
        Number of treatment levels; with two, both arms share one propensity regression.
    label : str
        Name of the term.
    clip : float
        π_a is kept within [clip, 1 − clip]; clipped rows are counted.

    References
    ----------
    Robins, Rotnitzky and Zhao (1994), JASA 89, 846-866.
    """

    outcome: str
    treatment: str
    adjust: tuple[str, ...]
    level: float
    levels: int = 2
    label: str = "E[Y(a)]"
    clip: float = 0.01

    @property
    def labels(self) -> tuple[str, ...]:
        """The one label."""
        return (self.label,)

    @property
    def _mu(self) -> str:
        return f"mu{self.level:g}"

    @property
    def _pi(self) -> str:
        return f"pi{1.0 if self.levels == 2 else self.level:g}"

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """Either regression alone suffices."""
        return frozenset({self._pi}), frozenset({self._mu})

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the propensity and the outcome regression of this arm."""
        modelled = 1.0 if self.levels == 2 else self.level
        return {
            self._pi: Probability(self.treatment, self.adjust, level=modelled, bounds=(self.clip, 1 - self.clip)),
            self._mu: Mean(self.outcome, self.adjust, where=((self.treatment, self.level),)),
        }

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n,)."""
        mu, pi = eta[self._mu](rows), eta[self._pi](rows)
        if self.levels == 2 and self.level == 0.0:
            pi = 1.0 - pi
        return mu + (rows[self.treatment] == self.level) / pi * (rows[self.outcome] - mu)

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return E[E[Y | A = a, X]] by summation."""
        rows = law.table(self.adjust)
        arm = rows[self.treatment] == self.level
        return np.array([law.expect(law.conditional_mean(rows[self.outcome], self.adjust, arm))])


@dataclass(frozen=True)
class AverageEffect:
    """The difference of two counterfactual means, with both of them.

    Coordinates: E[Y(a)] − E[Y(b)], E[Y(a)], E[Y(b)]; φ is built from `CounterfactualMean`.

    Parameters
    ----------
    treated, control : CounterfactualMean
        The two arms, of the same outcome, treatment and covariates.
    """

    treated: CounterfactualMean
    control: CounterfactualMean

    @property
    def labels(self) -> tuple[str, ...]:
        """The effect and its two means."""
        return ("ATE", *self.treated.labels, *self.control.labels)

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """In each arm either regression suffices."""
        return tuple(one | other for one in self.treated.robustness for other in self.control.robustness)

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the nuisances of both arms."""
        return {**self.treated.nuisances(), **self.control.nuisances()}

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n, 3)."""
        one, other = self.treated.eif(rows, eta), self.control.eif(rows, eta)
        return np.column_stack([one - other, one, other])

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return the three functionals by summation."""
        one, other = self.treated.plug_in(law)[0], self.control.plug_in(law)[0]
        return np.array([one - other, one, other])


@dataclass(frozen=True)
class TreatedMoments:
    """Three moments whose ratio is the effect of treatment on the treated.

    Coordinates: E[1(A = a) Y], E[1(A = a) μ_b(X)], E[1(A = a)], with odds ω(X) = P(A = a | X) / P(A = b | X),

        φ = (1(A = a) Y,  1(A = a) μ_b(X) + 1(A = b) ω(X) (Y − μ_b(X)),  1(A = a)).

    Parameters
    ----------
    outcome, treatment : str
        Columns; the treatment is coded 0, 1, ....
    adjust : tuple of str
        Covariates.
    treated, control : float
        The codes a and b.
    levels : int
        Number of treatment levels.
    clip : float
        Upper bound of P(A = a | X) is 1 − clip with two levels; lower bound of P(A = b | X) is clip with more.

    References
    ----------
    Hahn (1998), Econometrica 66, 315-331.
    """

    outcome: str
    treatment: str
    adjust: tuple[str, ...]
    treated: float = 1.0
    control: float = 0.0
    levels: int = 2
    clip: float = 0.01

    labels = ("E[AY]", "E[A μ(X)]", "E[A]")

    @property
    def _names(self) -> tuple[str, str, str]:
        return f"mu{self.control:g}", f"pi{self.treated:g}", f"pi{self.control:g}"

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """The outcome regression of the controls, or the propensities."""
        mu, pi, other = self._names
        return frozenset({mu}), frozenset({pi} if self.levels == 2 else {pi, other})

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the propensity and the outcome regression of the controls."""
        mu, pi, other = self._names
        specs: dict[str, NuisanceSpec] = {
            pi: Probability(self.treatment, self.adjust, level=self.treated, bounds=(0.0, 1 - self.clip))
        }
        if self.levels > 2:
            specs[other] = Probability(self.treatment, self.adjust, level=self.control, bounds=(self.clip, 1.0))
        specs[mu] = Mean(self.outcome, self.adjust, where=((self.treatment, self.control),))
        return specs

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n, 3)."""
        name_mu, name_pi, name_other = self._names
        a, y, mu, pi = rows[self.treatment], rows[self.outcome], eta[name_mu](rows), eta[name_pi](rows)
        odds = pi / (1.0 - pi if self.levels == 2 else eta[name_other](rows))
        is_treated, is_control = (a == self.treated).astype(float), a == self.control
        return np.column_stack([is_treated * y, is_treated * mu + is_control * odds * (y - mu), is_treated])

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return the three moments by summation."""
        rows = law.table(self.adjust)
        a, y = rows[self.treatment], rows[self.outcome]
        mu = law.conditional_mean(y, self.adjust, a == self.control)
        is_treated = (a == self.treated).astype(float)
        return np.array([law.expect(is_treated * y), law.expect(is_treated * mu), law.expect(is_treated)])
