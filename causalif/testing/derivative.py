"""The numerical pathwise derivative: on a finite-support law an influence function can be checked exactly."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import pandas as pd

from causalif._validate import Array
from causalif.engine.estimand import Estimand, FiniteLaw
from causalif.engine.nuisance import (
    DensityRatio,
    Held,
    Marginal,
    Nuisances,
    NuisanceSpec,
    Predict,
    Probability,
    ShiftRatio,
    Where,
    met,
    targets,
)
from causalif.table import Table

STEP = 1e-5
OUTCOME_VALUES = (-1.0, 0.3, 2.0)
At: TypeAlias = tuple[int, ...]  # support point and coordinate of the functional, or the latter alone


@dataclass(frozen=True)
class EstimandReport:
    """The largest errors that the check found, all of them within the tolerance.

    Parameters
    ----------
    derivative : float
        Largest ``|φ − θ − numerical derivative| / (1 + |φ − θ|)`` over support points and coordinates.
    mean : float
        Largest ``|E φ − θ|``.
    locality : float
        Largest difference between φ on a subset of rows and the subset of φ.
    robustness : tuple of float
        For every declared set, the largest ``|E φ − θ|`` when all other nuisances are spoiled.

    Examples
    --------
    >>> from causalif.estimands.counterfactual import CounterfactualMean
    >>> report = check_estimand(CounterfactualMean("y", "a", ("x",), level=1.0))
    >>> max(report.mean, report.locality, *report.robustness) < 1e-12
    True
    """

    derivative: float
    mean: float
    locality: float
    robustness: tuple[float, ...]


def check_estimand(
    estimand: Estimand, law: FiniteLaw | None = None, atol: float = 1e-5, random_state: int = 0
) -> EstimandReport:
    """Compare an influence function with the numerical pathwise derivative of its functional.

    On a finite-support law P every functional ψ can be summed exactly. For each support point o,

        φ(o; η(P)) − ψ(P)  must equal  [ψ((1 − ε) P + ε δ_o) − ψ((1 + ε) P − ε δ_o)] / (2 ε).

    Also checked: E φ = θ, row-locality, and that every declared set of nuisances suffices for E φ = θ when all the
    others are spoiled. It catches a wrong sign, a missing correction term and a mis-scaled one, such as a score that
    was solved for θ without its Jacobian.

    Parameters
    ----------
    estimand : Estimand
        The question, with ``nuisances``, ``eif`` and ``plug_in``.
    law : FiniteLaw, optional
        Where to check; by default a random law over the columns that the estimand names, see `random_law`.
    atol : float, default 1e-5
        Tolerance; the derivative is compared relative to ``1 + |φ − θ|``.
    random_state : int, default 0
        Seed of the default law and of the spoiled nuisances.

    Returns
    -------
    EstimandReport
        The errors that were found.

    Raises
    ------
    AssertionError
        If one of them exceeds ``atol``; the message says which law fails, at which support point or with which
        nuisance it does so worst, the two numbers that should be equal, and by how much they are apart.

    Notes
    -----
    Costs two evaluations of ``plug_in`` per support point: milliseconds for a law of a hundred points.

    Examples
    --------
    >>> from causalif.estimands.counterfactual import CounterfactualMean
    >>> report = check_estimand(CounterfactualMean("y", "a", ("x",), level=1.0))
    >>> report.derivative < 1e-5
    True
    """
    law = random_law(estimand, random_state) if law is None else law
    rows = law.table(_covariates(estimand))
    eta = saturated(estimand, law)
    theta = np.atleast_1d(estimand.plug_in(law))
    phi = _two_dimensional(estimand.eif(rows, eta))
    return EstimandReport(
        derivative=_derivative_error(estimand, law, phi - theta, atol),
        mean=_largest("E φ = θ", ("E φ", "θ"), law.expect(phi), theta, atol, _place(estimand)),
        locality=_locality_error(estimand, law, eta, phi, atol),
        robustness=_robustness_errors(estimand, law, eta, theta, max(atol, 1e-8), random_state),
    )


def random_law(
    estimand: Estimand, random_state: int = 0, values: Mapping[str, tuple[float, ...]] | None = None
) -> FiniteLaw:
    """Return a random law with full support on a product grid of the estimand's columns.

    Parameters
    ----------
    estimand : Estimand
        Its nuisances name the columns; those that appear in conditions or as levels get those levels, covariates get
        three values (one covariate) or two (several), anything else the values −1, 0.3 and 2.
    random_state : int, default 0
        Seed.
    values : mapping of str to tuple of float, optional
        Support of some columns, instead of the defaults.

    Returns
    -------
    FiniteLaw
        Probabilities are independent draws from a gamma law plus 0.2, over their sum: none is near zero.

    Examples
    --------
    >>> from causalif.estimands.counterfactual import CounterfactualMean
    >>> law = random_law(CounterfactualMean("y", "a", ("x",), level=1.0), values={"y": (0.0, 1.0)})
    >>> law.points.nunique().to_dict()
    {'x': 3, 'a': 2, 'y': 2}
    """
    support = {**_supports(estimand), **(values or {})}
    points = pd.DataFrame(list(itertools.product(*support.values())), columns=list(support))
    draws = np.random.default_rng(random_state).gamma(2.0, size=len(points)) + 0.2
    return FiniteLaw(points, draws / draws.sum())


def saturated(estimand: Estimand, law: FiniteLaw) -> Nuisances:
    """Return the exact nuisances of a law, as functions of rows."""
    rows = law.table(_covariates(estimand))
    eta: dict[str, Predict] = {}
    for name, spec in estimand.nuisances().items():
        if isinstance(spec, Marginal):
            eta[name] = Held.of(spec, rows, law.probabilities)
            continue
        if isinstance(spec, DensityRatio):
            eta[name] = _lookup(spec, rows, _exact_ratio(spec, rows, law))
            continue
        if isinstance(spec, ShiftRatio):
            eta[name] = _lookup(spec, rows, _exact_shift(spec, rows, law))
            continue
        target, weights = targets(spec, rows, eta)
        mass = np.ones(len(rows)) if weights is None else weights
        for column, value in spec.where:
            mass = mass * (rows[column] == value)
        eta[name] = _lookup(spec, rows, law.conditional_mean(target, spec.given, mass))
    return eta


def _exact_ratio(spec: DensityRatio, rows: Table, law: FiniteLaw) -> Array:
    """Return p(first | where) p(second) / p(first, second, among) at every support point."""

    def mass(columns: tuple[str, ...], where: Where = ()) -> Array:
        return Held.of(Marginal(columns, spec.within + where), rows, law.probabilities)(rows)

    inside = met(spec.among, rows)
    share = 1.0 if inside is None else float(law.probabilities @ inside)
    joint = share * mass(spec.given, spec.among)  # 0 outside the rows that the laws are about, where nobody asks
    product = mass(spec.first, spec.where) * mass(spec.second)
    return np.divide(product, joint, out=np.zeros(len(rows)), where=joint > 0)


def _exact_shift(spec: ShiftRatio, rows: Table, law: FiniteLaw) -> Array:
    """Return p(a − shift, others) / p(a, others) at every support point, 0 where no point moves to it."""
    held, a = Held.of(Marginal(spec.given), rows, law.probabilities), rows[spec.treatment]
    before = held(rows.assign(**{spec.treatment: a - spec.shift}))
    return np.where(spec.reached(a), before, 0.0) / held(rows)


def _lookup(spec: NuisanceSpec, rows: Table, values: Array) -> Predict:
    """Answer by the values of the conditioning columns, so that assigned columns are honoured."""
    known = dict(zip(map(tuple, rows.matrix(spec.given).tolist()), values.tolist(), strict=True))
    return lambda asked: np.array([known[tuple(key)] for key in asked.matrix(spec.given).tolist()], dtype=float)


def _covariates(estimand: Estimand) -> tuple[str, ...]:
    """Return the conditioning columns that never are targets or conditions."""
    specs = estimand.nuisances().values()
    roles = {spec.target for spec in specs if isinstance(spec.target, str)}
    roles |= {column for spec in specs for column, _ in spec.where}
    roles |= {spec.treatment for spec in specs if isinstance(spec, ShiftRatio)}
    return tuple(dict.fromkeys(name for spec in specs for name in spec.given if name not in roles))


def _supports(estimand: Estimand) -> dict[str, tuple[float, ...]]:
    specs = estimand.nuisances().values()
    covariates = _covariates(estimand)
    levels: dict[str, set[float]] = {}
    for spec in specs:
        for column, value in spec.where:
            levels.setdefault(column, {0.0, 1.0}).add(value)
        if isinstance(spec, Probability):
            levels.setdefault(spec.target, {0.0, 1.0}).add(spec.level)
        if isinstance(spec, ShiftRatio):
            levels[spec.treatment] = set(np.arange(spec.low, spec.high + 1e-9, abs(spec.shift)).tolist())
    three = len(covariates) == 1
    support: dict[str, tuple[float, ...]] = {name: (0.0, 1.0, 2.0) if three else (0.0, 1.0) for name in covariates}
    support |= {name: tuple(sorted(values)) for name, values in levels.items()}
    for spec in specs:
        if isinstance(spec.target, str):
            support.setdefault(spec.target, OUTCOME_VALUES)
    outcome = getattr(estimand, "outcome", None)
    return support | ({outcome: OUTCOME_VALUES} if isinstance(outcome, str) and outcome not in support else {})


def _two_dimensional(phi: Array) -> Array:
    return phi.reshape(len(phi), -1)


def _derivative_error(estimand: Estimand, law: FiniteLaw, centred: Array, atol: float) -> float:
    slopes = np.array(
        [
            (estimand.plug_in(law.mix(point, STEP)) - estimand.plug_in(law.mix(point, -STEP))) / (2 * STEP)
            for point in range(len(law.points))
        ]
    ).reshape(centred.shape)
    sides, unit = ("φ − θ", "the derivative towards this point"), 1 + np.abs(centred)
    return _largest("φ − θ = pathwise derivative", sides, centred, slopes, atol, _place(estimand, law), unit)


def _locality_error(estimand: Estimand, law: FiniteLaw, eta: Nuisances, phi: Array, atol: float) -> float:
    rows, some = law.table(_covariates(estimand)), np.arange(1 + len(law.points) // 3)
    alone = _two_dimensional(estimand.eif(rows.take(some), eta))
    sides = (f"φ among the first {len(some)} rows", f"φ among all {len(rows)}")
    return _largest("row-locality", sides, alone, phi[some], atol, _place(estimand, law))


def _robustness_errors(
    estimand: Estimand, law: FiniteLaw, eta: Nuisances, theta: Array, atol: float, random_state: int
) -> tuple[float, ...]:
    rows = law.table(_covariates(estimand))
    spoiled = {name: spoil(f, random_state + k) for k, (name, f) in enumerate(eta.items())}

    def mean(names: Collection[str]) -> Array:
        wrong = {name: spoiled[name] if name in names else f for name, f in eta.items()}
        return law.expect(_two_dimensional(estimand.eif(rows, wrong)))

    def place(names: Collection[str], at: At) -> str:
        drift = {name: float(np.max(np.abs(mean([name]) - theta))) for name in names}
        worst = max(drift, key=drift.__getitem__)  # some are spoiled: with all right, E φ = θ was checked before
        moved = f"{worst!r} alone moves E φ by {drift[worst]:.3g}" if drift[worst] > atol else "none alone moves E φ"
        return f"{_place(estimand)(at)} with {', '.join(map(repr, names))} spoiled ({moved})"

    found = []
    for kept in estimand.robustness:
        others = [name for name in eta if name not in kept]
        law_of_set = f"E φ = θ with only {sorted(kept)} right"
        found.append(_largest(law_of_set, ("E φ", "θ"), mean(others), theta, atol, partial(place, others)))
    return tuple(found)


def spoil(nuisance: Callable[[Table], Array], seed: int) -> Predict:
    """Return a wrong version of a nuisance: bent by a smooth function of its own values, probabilities stay inside."""
    tilt = 0.8 + 0.1 * np.random.default_rng(seed).uniform()
    return lambda rows: tilt * nuisance(rows) + 0.05 * np.cos(3 * nuisance(rows))


def _place(estimand: Estimand, law: FiniteLaw | None = None) -> Callable[[At], str]:
    """Return what names a coordinate of the functional, and with a law the support point as well."""

    def named(at: At) -> str:
        label = f"for {estimand.labels[at[-1]]!r}"
        if law is None:
            return label
        point = ", ".join(f"{name} = {value:g}" for name, value in law.points.iloc[at[0]].items())
        return f"{label} at {point}, a point of probability {law.probabilities[at[0]]:.3g}"

    return named


def _largest(
    law: str, sides: tuple[str, str], left: Array, right: Array, atol: float, place: Callable[[At], str],
    unit: float | Array = 1.0,
) -> float:  # fmt: skip
    """Return the largest distance of two sides in a unit, or raise where it is too large, naming the place."""
    errors = np.abs(left - right) / unit
    worst = float(np.max(errors))
    if not worst <= atol:
        at = tuple(int(i) for i in np.unravel_index(np.argmax(errors), errors.shape))
        raise AssertionError(
            f"The law {law!r} fails, most of all {place(at)}: {sides[0]} is {left[at]:.8g} and {sides[1]} is "
            f"{right[at]:.8g}. Largest error {worst:.3g}, tolerance {atol:g}."
        )
    return worst
