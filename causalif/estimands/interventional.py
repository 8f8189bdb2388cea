"""The mean outcome when the nodes of one path are drawn one after another, independently of everything off the path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from causalif._validate import Array
from causalif.engine.estimand import FiniteLaw
from causalif.engine.nuisance import Nuisances, NuisanceSpec, PseudoOutcome
from causalif.estimands.mediation_parts import (
    Arms,
    Fitted,
    Independence,
    MediatorRatio,
    Names,
    Product,
    Tilt,
    joined,
    regression,
    weighted_name,
)
from causalif.estimands.path_law import path_mean
from causalif.table import Table


@dataclass(frozen=True)
class Segment:
    """One node v_j of the path and what is drawn beside it for the next one.

    Parameters
    ----------
    node : tuple of str
        Columns of v_j.
    others : tuple of str
        Columns of w_j, which act on v_(j+1) together with v_j.
    values : tuple of float
        The values of a discrete v_j in one column; empty otherwise.
    """

    node: Names
    others: Names
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class InterventionalMean:
    """The mean outcome with the path A -> v_1 -> ... -> v_k -> Y active at level a, all else at level b.

    v_1 is drawn from ∫ p(v_1 | X, a, B) dF(B | X, b); for j = 1, ..., k − 1, v_(j+1) from p(v_(j+1) | X, b, v_j, w_j)
    with w_j drawn from p(w_j | X, b) independently of v_j; and θ = E[E(Y | X, b, v_k, w_k)], again with independent
    draws. With μ = E[Y | X, b, v_k, w_k], the density ratio t_j of v_j's draw and p(v_j | X, b), and
    ι_j = p(v_j | X, b) p(w_j | X, b) / p(v_j, w_j | X, b),

        t_1 = E[r | X, b, v_1],  r = p(v_1 | X, a, B) / p(v_1 | X, b, B),     t_(j+1) = E[t_j ι_j | X, b, v_(j+1)],
        G_(k+1) = μ,  g_j(v_j) = E[ι_j G_(j+1) | X, b, v_j],  h_j(w_j) = E[t_j ι_j G_(j+1) | X, b, w_j],
        G_j(v_(j−1), w_(j−1)) = E[g_j(v_j) | X, b, v_(j−1), w_(j−1)],  G_1(B) = E[g_1(v_1) | X, a, B],
        m_0 = E[G_1(B) | X, b],

    and, writing I_c = 1(A = c) / π(c | X) and v_(k+1) for Y,

        φ = m_0 + I_b (G_1(B) − m_0) + I_a p(B | b) / p(B | a) · (g_1(v_1) − G_1(B))
              + Σ_(j=1)^k I_b {h_j(w_j) − m_0} + Σ_(j=1)^k I_b t_j ι_j {g_(j+1)(v_(j+1)) − G_(j+1)(v_j, w_j)},

    g_(k+1) = Y. All density ratios come from classifiers of the treatment, and ι_j from probabilities of a discrete v_j
    or from ratios of densities by classification: continuous mediators need no density. The regressions g and h are
    fitted with ι and t ι as weights, so they inherit their errors.

    Parameters
    ----------
    outcome, treatment : str
        Columns; the treatment is coded 0, 1, ....
    adjust : tuple of str
        Covariates X.
    segments : tuple of Segment
        v_j and w_j for j = 1, ..., k.
    before : tuple of str
        Columns of B, the mediators above v_1.
    active, reference : float
        The codes a and b; a = b gives the mean that effects are compared with.
    count : int
        Number of treatment levels.
    label : str
        Name of the term.
    clip : float
        π is kept within [clip, 1 − clip], t and ι below 1 / clip.
    report : bool
        Whether the weights of Y are kept with the nuisances.

    References
    ----------
    Lin and VanderWeele (2017), Journal of Causal Inference 5; Vansteelandt and Daniel (2017), Epidemiology 28, 258-265,
    for k = 1.
    """

    outcome: str
    treatment: str
    adjust: tuple[str, ...]
    segments: tuple[Segment, ...]
    before: tuple[str, ...]
    active: float
    reference: float
    count: int = 2
    label: str = "E[Y(path)]"
    clip: float = 0.01
    report: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The one label."""
        return (self.label,)

    @property
    def _arms(self) -> Arms:
        return Arms(self.treatment, self.count, self.clip)

    @property
    def _k(self) -> int:
        return len(self.segments)

    def _name(self, target: str, *columns: Names, level: float | None = None) -> str:
        level = self.reference if level is None else level
        return self._arms.mean_name(target, level, joined(self.adjust, *columns))

    # --- weights -------------------------------------------------------------------------------------------------

    def _independence(self, j: int) -> tuple[PseudoOutcome, ...]:
        """ι_j, or nothing where it is 1."""
        one = self.segments[j]
        if not one.others:
            return ()
        return (Independence(self._arms, self.reference, self.adjust, one.node, one.others, one.values),)

    @cached_property
    def _first_ratio(self) -> MediatorRatio | None:
        """R, or None where it is 1."""
        if self.active == self.reference:
            return None
        after = joined(self.adjust, self.before, self.segments[0].node)
        return MediatorRatio(self._arms, joined(self.adjust, self.before), after, self.active, self.reference)

    def _tilt(self, j: int) -> tuple[PseudoOutcome, ...]:
        """t_j, or nothing where it is 1."""
        if j == 0 and (self._first_ratio is None or not self.before):
            return () if self._first_ratio is None else (self._first_ratio,)
        source = self._tilt_source(j)
        return () if source is None else (Tilt(self._tilt_name(j), 1.0 / self.clip),)

    def _tilt_source(self, j: int) -> PseudoOutcome | None:
        """What t_j is the regression of, None where t_j is 1."""
        if j == 0:
            return self._first_ratio
        factors = self._tilt(j - 1) + self._independence(j - 1)
        return Product(factors) if factors else None

    def _tilt_name(self, j: int) -> str:
        moved = "" if self.active == self.reference else f" at {self.active:g}"
        return self._name(f"tilt {j + 1}{moved}", self.segments[j].node)

    def _weights(self, j: int) -> tuple[PseudoOutcome, ...]:
        """The factors of t_j ι_j that are not 1."""
        return self._tilt(j) + self._independence(j)

    # --- regressions ---------------------------------------------------------------------------------------------

    def _value(self, j: int) -> str:
        """Name of G_(j+1) of the docstring, j = 0, ..., k; G_1 is m_0 itself without mediators before."""
        if j == self._k:
            return self._name(self.outcome, self.segments[-1].node, self.segments[-1].others)
        if j == 0:
            return self._name(self._g(0), self.before, level=self.active)
        return self._name(self._g(j), self.segments[j - 1].node, self.segments[j - 1].others)

    def _g(self, j: int) -> str:
        """Name of g_(j+1)."""
        if not self.segments[j].others:
            return self._value(j + 1)
        return weighted_name(self._name(self._value(j + 1), self.segments[j].node), self._independence(j))

    def _h(self, j: int) -> str:
        """Name of h_(j+1), only where there are others."""
        return weighted_name(self._name(self._value(j + 1), self.segments[j].others), self._weights(j))

    @property
    def _m0(self) -> str:
        return self._name(self._value(0)) if self.before else self._value(0)

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return probabilities and density ratios, tilts, then the regressions from the outcome down to X."""
        arms, b = self._arms, self._arms.where(self.reference)
        specs: dict[str, NuisanceSpec] = {}
        for level in dict.fromkeys((self.active, self.reference)):
            for given in (self.adjust, joined(self.adjust, self.before)):
                specs[arms.name(level, given)] = arms.spec(level, given)
        if self._first_ratio is not None:
            specs |= self._first_ratio.specs()
        for j, one in enumerate(self.segments):
            for factor in self._independence(j):
                assert isinstance(factor, Independence)
                specs |= factor.specs()
            source = self._tilt_source(j)
            if source is not None and (j > 0 or self.before):
                specs[self._tilt_name(j)] = regression(source, joined(self.adjust, one.node), b)
        return specs | self._regressions()

    def _regressions(self) -> dict[str, NuisanceSpec]:
        b, specs = self._arms.where(self.reference), dict[str, NuisanceSpec]()
        for j in reversed(range(self._k)):
            one, last = self.segments[j], j == self._k - 1
            target = self.outcome if last else Fitted(self._g(j + 1))
            specs[self._value(j + 1)] = regression(target, joined(self.adjust, one.node, one.others), b)
            if one.others:
                value = Fitted(self._value(j + 1))
                specs[self._g(j)] = regression(value, joined(self.adjust, one.node), b, self._independence(j))
                specs[self._h(j)] = regression(value, joined(self.adjust, one.others), b, self._weights(j))
        given, arm = joined(self.adjust, self.before), self._arms.where(self.active)
        specs[self._value(0)] = regression(Fitted(self._g(0)), given, arm)
        if self.before:
            specs[self._m0] = regression(Fitted(self._value(0)), self.adjust, b)
        return specs

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """The regressions alone suffice; with mediators before v_1 also all but G_1, which the weights make up for."""
        names, regressions = frozenset(self.nuisances()), frozenset(self._regressions())
        return (regressions, names - {self._value(0)}) if self.before else (regressions,)

    # --- the influence function ----------------------------------------------------------------------------------

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n,)."""
        inverse_b = self._arms.inverse(self.reference, self.adjust, rows, eta)
        m0 = eta[self._m0](rows)
        phi = m0 + self._first_step(rows, eta, inverse_b, m0)
        for j, one in enumerate(self.segments):
            if one.others:
                phi = phi + inverse_b * (eta[self._h(j)](rows) - m0)
            after = rows[self.outcome] if j == self._k - 1 else eta[self._g(j + 1)](rows)
            weight = inverse_b * Product(self._weights(j))(rows, eta)
            phi = phi + weight * (after - eta[self._value(j + 1)](rows))
        return phi

    def _first_step(self, rows: Table, eta: Nuisances, inverse_b: Array, m0: Array) -> Array:
        """Return what not knowing the laws of B and of v_1 adds."""
        top, g1 = self._arms.inverse(self.active, self.adjust, rows, eta), eta[self._g(0)](rows)
        if not self.before:
            return top * (g1 - m0)
        G1, given = eta[self._value(0)](rows), joined(self.adjust, self.before)
        if self.active != self.reference:
            ratio = MediatorRatio(self._arms, self.adjust, given, self.reference, self.active)
            top = top * ratio(rows, eta)
        return inverse_b * (G1 - m0) + top * (g1 - G1)

    def derived(self, rows: Table, eta: Nuisances) -> dict[str, Array]:
        """Return the weight of Y, where it is to be kept."""
        if not self.report:
            return {}
        weight = self._arms.inverse(self.reference, self.adjust, rows, eta)
        return {f"weight of {self.label}": weight * Product(self._weights(self._k - 1))(rows, eta)}

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return θ by drawing forwards on the support."""
        steps: Sequence[tuple[Names, Names]] = [(one.node, one.others) for one in self.segments]
        arms = (self.active, self.reference)
        return np.array([path_mean(law, self.outcome, self.treatment, self.adjust, steps, self.before, arms)])
