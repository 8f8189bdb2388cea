"""Mean outcomes when a continuous treatment is shifted: for everything, for the outcome alone, for mediators alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._validate import Array
from causalif.engine.estimand import FiniteLaw
from causalif.engine.nuisance import Mean, Nuisances, NuisanceSpec, ShiftRatio, inside
from causalif.estimands.mediation_parts import Names, condition, joined
from causalif.table import Table


@dataclass(frozen=True)
class Shift:
    """The policy d(a) = a + size where that stays within [low, high], and d(a) = a elsewhere.

    Parameters
    ----------
    size : float
        The shift, in units of the treatment; not zero.
    low, high : float
        Support of the treatment.
    """

    size: float
    low: float
    high: float

    def moves(self, a: Array) -> npt.NDArray[np.bool_]:
        """Return which values move."""
        return inside(a + self.size, self.low, self.high)

    def reached(self, a: Array) -> npt.NDArray[np.bool_]:
        """Return which values others move to."""
        return inside(a - self.size, self.low, self.high)

    def __call__(self, a: Array) -> Array:
        """Return d(a)."""
        return np.where(self.moves(a), a + self.size, a)

    def back(self, a: Array) -> Array:
        """Return what moves to a, and a itself where nothing does."""
        return np.where(self.reached(a), a - self.size, a)

    @property
    def reverse(self) -> Shift:
        """The shift in the other direction."""
        return Shift(-self.size, self.low, self.high)

    def ratio(self, treatment: str, others: Names) -> ShiftRatio:
        """Return the nuisance p(a − size, others) / p(a, others)."""
        return ShiftRatio(treatment, others, self.size, self.low, self.high)


@dataclass(frozen=True)
class OutcomeMean:
    """The mean outcome as it is, θ = E[Y], φ = Y.

    Parameters
    ----------
    outcome : str
        A column.
    label : str
        Name of the term.
    """

    outcome: str
    label: str = "E[Y]"

    @property
    def labels(self) -> tuple[str, ...]:
        """The one label."""
        return (self.label,)

    robustness = (frozenset[str](),)

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return none."""
        return {}

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return Y, shape (n,)."""
        return rows[self.outcome]

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return E[Y]."""
        return np.array([law.expect(law.points[self.outcome].to_numpy(float))])


@dataclass(frozen=True)
class ShiftedMean:
    """The mean outcome when the treatment is shifted and some mediators stay as they are.

    With Z = (X, M) and μ(Z, a) = E[Y | Z, A = a],

        θ = E[μ(Z, d(A))],   φ = ρ(A, Z) {Y − μ(Z, A)} + μ(Z, d(A)),

    where ρ is the density of (d(A), Z) over that of (A, Z). Without M this is the mean under the shift, with all
    mediators E[Y(d(A), M(A))].

    Parameters
    ----------
    outcome, treatment : str
        Columns; the treatment is numeric.
    adjust, held : tuple of str
        Columns of X and of M.
    shift : Shift
        The policy d.
    label : str
        Name of the term.
    clip : float
        ρ is kept below 1 / clip.
    report : bool
        Whether ρ is kept with the nuisances.

    References
    ----------
    Haneuse and Rotnitzky (2013), Statistics in Medicine 32; Diaz and Hejazi (2020), JRSS B 82, 661-683.
    """

    outcome: str
    treatment: str
    adjust: tuple[str, ...]
    held: tuple[str, ...]
    shift: Shift
    label: str = "E[Y(d(A))]"
    clip: float = 0.01
    report: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The one label."""
        return (self.label,)

    @property
    def _others(self) -> Names:
        return joined(self.adjust, self.held)

    @property
    def _mu(self) -> str:
        return f"E[{condition(self.outcome, self.treatment, *self._others)}]"

    @property
    def _rho(self) -> str:
        return ratio_name(self.shift, self.treatment, self._others)

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """Either the regression or the density ratio suffices."""
        return frozenset({self._mu}), frozenset({self._rho})

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the density ratio and the regression."""
        return {
            self._rho: self.shift.ratio(self.treatment, self._others),
            self._mu: Mean(self.outcome, (self.treatment, *self._others)),
        }

    def weight(self, rows: Table, eta: Nuisances) -> Array:
        """Return ρ at every row: rows that moved here, and those here that stay."""
        here = eta[self._rho](rows) + ~self.shift.moves(rows[self.treatment])
        return np.clip(here, 0.0, 1.0 / self.clip)

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n,)."""
        mu = eta[self._mu]
        moved = rows.assign(**{self.treatment: self.shift(rows[self.treatment])})
        return self.weight(rows, eta) * (rows[self.outcome] - mu(rows)) + mu(moved)

    def derived(self, rows: Table, eta: Nuisances) -> dict[str, Array]:
        """Return ρ, where it is to be kept."""
        return {f"weight of {self.label}": self.weight(rows, eta)} if self.report else {}

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return θ by summation; d must keep to the support."""
        given = [self.treatment, *self._others]
        frame = law.points.assign(p=law.probabilities, py=law.probabilities * law.points[self.outcome])
        cells = frame.groupby(given)[["p", "py"]].sum()
        moved = law.points[given].assign(**{self.treatment: self.shift(law.points[self.treatment].to_numpy(float))})
        at = pd.MultiIndex.from_frame(moved) if len(given) > 1 else pd.Index(moved[self.treatment])
        return np.array([law.expect((cells["py"] / cells["p"]).reindex(at).to_numpy())])


@dataclass(frozen=True)
class MovedBack:
    """The outcome regression at the treatment that a row would have moved from.

    Parameters
    ----------
    mu : str
        Name of the regression.
    treatment : str
        Column.
    shift : Shift
        The policy.
    """

    mu: str
    treatment: str
    shift: Shift

    @property
    def needs(self) -> Names:
        """The regression."""
        return (self.mu,)

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return μ(X, A − size, M), where no row can have moved to A the regression at A itself."""
        return eta[self.mu](rows.assign(**{self.treatment: self.shift.back(rows[self.treatment])}))


@dataclass(frozen=True)
class Reached:
    """Weight 1 for rows that others can move to, 0 for the rest.

    Parameters
    ----------
    treatment : str
        Column.
    shift : Shift
        The policy.
    """

    treatment: str
    shift: Shift
    needs = ()

    def __call__(self, rows: Table, eta: Nuisances) -> Array:
        """Return the weights."""
        return self.shift.reached(rows[self.treatment]).astype(np.float64)


@dataclass(frozen=True)
class ShiftedMediatorMean:
    """The mean outcome when some mediators arise under a shifted treatment, all else under the treatment as it is.

    With δ the size of the shift, μ(X, a, M) = E[Y | X, A = a, M] and m(X, b) = E[μ(X, b − δ, M) | X, A = b],

        θ = E ∫ μ(X, A, m) dF(m | X, A = d(A)),
        φ = m(X, A + δ) + p(M | X, A + δ) / p(M | X, A) · {Y − μ(X, A, M)}    where A moves, Y where it stays,
              + p(A − δ | X) / p(A | X) · {μ(X, A − δ, M) − m(X, A)}         where a row can have moved to A.

    The first ratio is p(A + δ, X, M) / p(A, X, M) · p(A, X) / p(A + δ, X), each by telling moved rows from observed
    ones. No mediator above M may be affected by the treatment.

    Parameters
    ----------
    outcome, treatment : str
        Columns; the treatment is numeric.
    adjust, moved : tuple of str
        Columns of X and of M.
    shift : Shift
        The policy d.
    label : str
        Name of the term.
    clip : float
        Density ratios are kept below 1 / clip.
    report : bool
        Whether the weight of Y is kept with the nuisances.

    References
    ----------
    Diaz and Hejazi (2020), JRSS B 82, 661-683.
    """

    outcome: str
    treatment: str
    adjust: tuple[str, ...]
    moved: tuple[str, ...]
    shift: Shift
    label: str = "E[Y(A, M(d(A)))]"
    clip: float = 0.01
    report: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The one label."""
        return (self.label,)

    @property
    def _others(self) -> Names:
        return joined(self.adjust, self.moved)

    @property
    def _mu(self) -> str:
        return f"E[{condition(self.outcome, self.treatment, *self._others)}]"

    @property
    def _m(self) -> str:
        return f"E[{condition(f'{self._mu} moved back', self.treatment, *self.adjust)}]"

    @property
    def _ratios(self) -> tuple[str, str, str]:
        """Shifts to A given X, and away from A given X and M, and given X."""
        to, away = self.shift, self.shift.reverse
        return (
            ratio_name(to, self.treatment, self.adjust),
            ratio_name(away, self.treatment, self._others),
            ratio_name(away, self.treatment, self.adjust),
        )

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """Both regressions, or the outcome regression with p(A | X), or all density ratios."""
        to, with_m, without = self._ratios
        return frozenset({self._mu, self._m}), frozenset({self._mu, to}), frozenset({to, with_m, without})

    def nuisances(self) -> Mapping[str, NuisanceSpec]:
        """Return the density ratios and the two regressions."""
        to, with_m, without = self._ratios
        a, back = self.treatment, MovedBack(self._mu, self.treatment, self.shift)
        return {
            to: self.shift.ratio(a, self.adjust),
            with_m: self.shift.reverse.ratio(a, self._others),
            without: self.shift.reverse.ratio(a, self.adjust),
            self._mu: Mean(self.outcome, (a, *self._others)),
            self._m: Mean(back, (a, *self.adjust), weight=Reached(a, self.shift), learner="nested"),
        }

    def weight(self, rows: Table, eta: Nuisances) -> Array:
        """Return p(M | X, d(A)) / p(M | X, A) at every row; 1 where A stays."""
        _, with_m, without = (eta[name](rows) for name in self._ratios)
        moves = self.shift.moves(rows[self.treatment]) & (without > 0)
        ratio = np.divide(with_m, without, out=np.ones(len(rows)), where=moves)
        return np.asarray(np.clip(ratio, 0.0, 1.0 / self.clip), dtype=float)

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n,)."""
        a, y, mu, m = rows[self.treatment], rows[self.outcome], eta[self._mu], eta[self._m]
        here, shift = mu(rows), self.shift
        moved = m(rows.assign(**{self.treatment: shift(a)})) + self.weight(rows, eta) * (y - here)
        earlier = mu(rows.assign(**{self.treatment: shift.back(a)})) - m(rows)
        ratio = np.clip(eta[self._ratios[0]](rows), 0.0, 1.0 / self.clip)
        return np.where(shift.moves(a), moved, y) + np.where(shift.reached(a), ratio * earlier, 0.0)

    def derived(self, rows: Table, eta: Nuisances) -> dict[str, Array]:
        """Return the weight of Y, where it is to be kept."""
        return {f"weight of {self.label}": self.weight(rows, eta)} if self.report else {}

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return θ by summation over all mediator values at every support point; d must keep to the support."""
        given, arm = (self.treatment, *self._others), (self.treatment, *self.adjust)
        frame = law.points.assign(p=law.probabilities, py=law.probabilities * law.points[self.outcome])
        cells = frame.groupby(list(given))[["p", "py"]].sum()
        cells["mu"] = cells["py"] / cells["p"]
        of_m = cells["p"] / cells.groupby(list(arm))["p"].transform("sum")
        lines = of_m.rename("mass").reset_index()
        from_here = lines.assign(**{self.treatment: self.shift.back(lines[self.treatment].to_numpy())})
        lines["mu"] = cells["mu"].reindex(pd.MultiIndex.from_frame(from_here[list(given)])).to_numpy()
        lines["part"] = lines["mass"] * lines["mu"]
        m = lines.groupby(list(arm))["part"].sum()
        to = law.points[list(arm)].assign(**{self.treatment: self.shift(law.points[self.treatment].to_numpy(float))})
        at = m.reindex(pd.MultiIndex.from_frame(to) if len(arm) > 1 else pd.Index(to[self.treatment])).to_numpy()
        moves = self.shift.moves(law.points[self.treatment].to_numpy(float))
        return np.array([law.expect(np.where(moves, at, law.points[self.outcome]))])


def ratio_name(shift: Shift, treatment: str, others: Names) -> str:
    """Return the name of a density ratio."""
    moved = f"{treatment}{-shift.size:+g}"
    return f"p({condition(moved, *others)})/p({condition(treatment, *others)})"
