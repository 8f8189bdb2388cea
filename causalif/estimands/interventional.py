"""The mean outcome when the nodes of one path are drawn one after another, independently of everything off the path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from causalif._validate import Array
from causalif.engine.estimand import FiniteLaw
from causalif.engine.nuisance import Nuisances, NuisanceSpec, PseudoOutcome
from causalif.estimands.conditional_law import Block, Paths, Values, block_law
from causalif.estimands.mediation_parts import (
    Arms,
    Independence,
    MediatorRatio,
    Names,
    Product,
    Tilt,
    joined,
    regression,
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
    """

    node: Names
    others: Names


@dataclass(frozen=True)
class InterventionalMean:
    """The mean outcome with the path A -> v_1 -> ... -> v_k -> Y active at level a, all else at level b.

    v_1 is drawn from ∫ p(v_1 | X, a, B) dF(B | X, b); for j = 1, ..., k − 1, v_(j+1) from p(v_(j+1) | X, b, v_j, w_j)
    with w_j drawn from p(w_j | X, b) independently of v_j; and θ = E[μ(X, v_k, w_k)] with the regression
    μ = E[Y | X, b, v_k, w_k], again with independent draws. Averaging over these draws, with μ(v_k, w_k) at the end,

        m_0 starts from X,  G_1(B) from B,  h_j(w_j) fixes w_j only,  g_j(v_j) starts from v_j,
        G_(j+1)(v_j, w_j) starts from both, G_(k+1) = μ,

    and writing I_c = 1(A = c) / π(c | X), t_j for the density of v_j's draw over p(v_j | X, b),
    ι_j = p(v_j | X, b) p(w_j | X, b) / p(v_j, w_j | X, b), and Y for g_(k+1)(v_(k+1)),

        φ = m_0 + I_b (G_1(B) − m_0) + I_a p(B | b) / p(B | a) · (g_1(v_1) − G_1(B))
              + Σ_(j=1)^k I_b {h_j(w_j) − m_0} + Σ_(j=1)^k I_b t_j ι_j {g_(j+1)(v_(j+1)) − G_(j+1)(v_j, w_j)}.

    All averages are over one and the same estimated laws, so that errors in a law, in μ or in a weight are of second
    order. Laws of discrete mediators are probabilities and averages are sums; where some mediator is continuous they
    are averages over draws, see `ColumnLaw`. The weights need no density: t_1 = E[r | X, b, v_1] with
    r = p(v_1 | X, a, B) / p(v_1 | X, b, B) from classifiers of the treatment, t_(j+1) = E[t_j ι_j | X, b, v_(j+1)], and
    ι_j from probabilities of a discrete v_j or from density ratios by classification.

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
        π is kept within [clip, 1 − clip].
    most : float
        t ι, and each of its factors, is kept below this. The weights multiply errors of the regressions only, so that
        a bound costs a product of errors, while true weights can have infinite variance: two normal mediators whose
        correlation given X is above one half.
    values : tuple of (str, tuple of float)
        The values of discrete mediators; sums are exact if all of them are.
    categories : tuple of tuple of str
        Indicators of one and the same category.
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
    most: float = 20.0
    values: Values = ()
    categories: tuple[Names, ...] = ()
    report: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The one label."""
        return (self.label,)

    @cached_property
    def _arms(self) -> Arms:
        return Arms(self.treatment, self.count, self.clip)

    @property
    def _k(self) -> int:
        return len(self.segments)

    # --- weights -------------------------------------------------------------------------------------------------

    def _independence(self, j: int) -> tuple[PseudoOutcome, ...]:
        """ι_(j+1), or nothing where it is 1."""
        one = self.segments[j]
        if not one.others:
            return ()
        values = dict(self.values).get(one.node[0], ()) if len(one.node) == 1 else ()
        return (Independence(self._arms, self.reference, self.adjust, one.node, one.others, values),)

    @cached_property
    def _first_ratio(self) -> MediatorRatio | None:
        """Return r, or None where it is 1."""
        if self.active == self.reference:
            return None
        after = joined(self.adjust, self.before, self.segments[0].node)
        return MediatorRatio(self._arms, joined(self.adjust, self.before), after, self.active, self.reference)

    @cached_property
    def _above_ratio(self) -> MediatorRatio | None:
        """Return p(B | X, b) / p(B | X, a), or None where it is 1."""
        if self.active == self.reference or not self.before:
            return None
        return MediatorRatio(self._arms, self.adjust, joined(self.adjust, self.before), self.reference, self.active)

    def _tilt(self, j: int) -> tuple[PseudoOutcome, ...]:
        """t_(j+1), or nothing where it is 1."""
        if j == 0 and (self._first_ratio is None or not self.before):
            return () if self._first_ratio is None else (self._first_ratio,)
        source = self._tilt_source(j)
        return () if source is None else (Tilt(self._tilt_name(j), self.most),)

    def _tilt_source(self, j: int) -> PseudoOutcome | None:
        """Return what t_(j+1) is the regression of, None where it is 1."""
        if j == 0:
            return self._first_ratio
        factors = self._tilt(j - 1) + self._independence(j - 1)
        return Product(factors) if factors else None

    def _tilt_name(self, j: int) -> str:
        moved = "" if self.active == self.reference else f" at {self.active:g}"
        path = ",".join(name for one in self.segments[: j + 1] for name in one.node)
        given = joined(self.adjust, self.segments[j].node)
        return self._arms.mean_name(f"tilt of {path}{moved}", self.reference, given)

    def _weights(self, j: int) -> tuple[PseudoOutcome, ...]:
        """Return the factors of t_(j+1) ι_(j+1) that are not 1."""
        return self._tilt(j) + self._independence(j)

    # --- laws and regression -------------------------------------------------------------------------------------

    def _law(self, columns: Names, *given: Names, level: float | None = None) -> Block:
        level = self.reference if level is None else level
        return block_law(self._arms, level, columns, joined(self.adjust, *given), self.values, self.categories)

    @cached_property
    def _first(self) -> tuple[Block, Block]:
        """Laws of B and of v_1."""
        return self._law(self.before), self._law(self.segments[0].node, self.before, level=self.active)

    @cached_property
    def _laws(self) -> tuple[tuple[Block, Block], ...]:
        """Laws of w_j and, but for the last, of v_(j+1)."""
        following: list[Block] = [
            self._law(after.node, one.node, one.others)
            for one, after in zip(self.segments, self.segments[1:], strict=False)
        ]
        others = [self._law(one.others) for one in self.segments]
        return tuple(zip(others, [*following, ()], strict=True))

    @property
    def _blocks(self) -> tuple[Block, ...]:
        return (*self._first, *(block for pair in self._laws for block in pair))

    @property
    def _exact(self) -> bool:
        return all(law.values for block in self._blocks for law in block)

    @property
    def _mu(self) -> str:
        last = self.segments[-1]
        return self._arms.mean_name(self.outcome, self.reference, joined(self.adjust, last.node, last.others))

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return probabilities of the treatment, weights, laws of the mediators and the outcome regression."""
        arms, specs, b = self._arms, dict[str, NuisanceSpec](), self._arms.where(self.reference)
        for level in dict.fromkeys((self.active, self.reference)):
            specs[arms.name(level, self.adjust)] = arms.spec(level, self.adjust)
        for ratio in (self._above_ratio, self._first_ratio):
            specs |= {} if ratio is None else ratio.specs()
        for j, one in enumerate(self.segments):
            source = self._tilt_source(j)
            if source is not None and (j > 0 or self.before):
                specs[self._tilt_name(j)] = regression(source, joined(self.adjust, one.node), b)
            for factor in self._independence(j):
                assert isinstance(factor, Independence)
                specs |= factor.specs()
        last = self.segments[-1]
        specs[self._mu] = regression(self.outcome, joined(self.adjust, last.node, last.others), b)
        return specs | self._law_specs()

    def _law_specs(self) -> dict[str, NuisanceSpec]:
        return {name: spec for block in self._blocks for law in block for name, spec in law.specs().items()}

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """The laws and the outcome regression suffice; all but the outcome regression do as well."""
        names = frozenset(self.nuisances())
        return frozenset(self._law_specs()) | {self._mu}, names - {self._mu}

    # --- the influence function ----------------------------------------------------------------------------------

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n,)."""
        inverse_b = self._arms.inverse(self.reference, self.adjust, rows, eta)
        m0 = self._finished(self._started(rows, eta), 0, eta)
        phi = m0 + self._first_step(rows, eta, inverse_b, m0)
        for j, one in enumerate(self.segments):
            if one.others:
                phi = phi + inverse_b * (self._others_fixed(j, rows, eta) - m0)
            after = rows[self.outcome] if j == self._k - 1 else self._finished(self._as_they_are(rows), j + 1, eta)
            here = self._finished(self._as_they_are(rows), j, eta, others_known=True)
            weight = np.minimum(Product(self._weights(j))(rows, eta), self.most)
            phi = phi + inverse_b * weight * (after - here)
        return phi

    def _as_they_are(self, rows: Table) -> Paths:
        return Paths.of(rows, self._exact)

    def _started(self, rows: Table, eta: Nuisances) -> Paths:
        """Draw B and v_1."""
        above, first = self._first
        return self._as_they_are(rows).drawn(above, eta).drawn(first, eta)

    def _finished(self, paths: Paths, j: int, eta: Nuisances, others_known: bool = False) -> Array:
        """Average the outcome regression over what follows v_(j+1), drawn or observed."""
        for number in range(j, self._k):
            others, following = self._laws[number]
            if not (others_known and number == j):
                paths = paths.drawn(others, eta)
            paths = paths.drawn(following, eta)
        return paths.mean(eta[self._mu](paths.rows))

    def _others_fixed(self, j: int, rows: Table, eta: Nuisances) -> Array:
        """Return h_(j+1)."""
        paths = self._started(rows, eta)
        for others, following in self._laws[:j]:
            paths = paths.drawn(others, eta).drawn(following, eta)
        return self._finished(paths.restored(self.segments[j].others), j, eta, others_known=True)

    def _first_step(self, rows: Table, eta: Nuisances, inverse_b: Array, m0: Array) -> Array:
        """Return what not knowing the laws of B and of v_1 adds."""
        top = self._arms.inverse(self.active, self.adjust, rows, eta)
        g1 = self._finished(self._as_they_are(rows), 0, eta)
        if not self.before:
            return top * (g1 - m0)
        G1 = self._finished(self._as_they_are(rows).drawn(self._first[1], eta), 0, eta)
        if self._above_ratio is not None:
            top = top * self._above_ratio(rows, eta)
        return inverse_b * (G1 - m0) + top * (g1 - G1)

    def derived(self, rows: Table, eta: Nuisances) -> dict[str, Array]:
        """Return the weight of Y, where it is to be kept."""
        if not self.report:
            return {}
        inverse = self._arms.inverse(self.reference, self.adjust, rows, eta)
        raw = Product(self._weights(self._k - 1))(rows, eta)
        capped = (raw > self.most) & (inverse > 0)
        return {
            f"weight of {self.label}": inverse * np.minimum(raw, self.most),
            f"capped weight of {self.label}": capped.astype(np.float64),
        }

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return θ by drawing forwards on the support."""
        steps: Sequence[tuple[Names, Names]] = [(one.node, one.others) for one in self.segments]
        arms = (self.active, self.reference)
        return np.array([path_mean(law, self.outcome, self.treatment, self.adjust, steps, self.before, arms)])
