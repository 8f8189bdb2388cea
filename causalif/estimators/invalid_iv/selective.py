"""The selective route: among candidate learners, those whose estimate moves least when the others are perturbed.

A tuple of candidates has three blocks: F = {π}, M = {μ, D} and H = {β, ρ, g}. With F and M right the estimate does not
depend on H; with H right it depends neither on F nor on M. How far it moves all the same is the risk of the tuple.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from causalif._errors import InputError
from causalif._validate import Array, one_of
from causalif.engine.crossfit import CrossFit, cross_fit
from causalif.engine.defaults import BOOSTING, ShrunkenRegressor, SmoothClassifier, SmoothRegressor
from causalif.engine.estimand import Estimand, FiniteLaw
from causalif.engine.folds import Folds
from causalif.engine.learners import Learners, SklearnLearner, check_learners, choose_learner
from causalif.engine.nuisance import Nuisances, NuisanceSpec, PseudoOutcome
from causalif.engine.problem import Plan, Problem
from causalif.estimands.invalid_iv import InvalidIVEffect, Roles, SensitivitySlopes, VarianceShiftMoments, floored_shift
from causalif.estimators.invalid_iv.pieces import Pieces, of_crossfit
from causalif.table import Table

if TYPE_CHECKING:
    from causalif.estimators.invalid_iv.estimator import InvalidIVATE

MOST_TUPLES = 2000
TOP = 5
TIE = 1e-9
KEYS = ("instrument", "treatment", "variance", "outcome", "effect", "confounding")
WANTED = {"F": ("pi",), "M": ("mu0", "mu1", "V", "shift")}
CRITERIA = ("mixed-minimax", "minimax")

Criterion: TypeAlias = Literal["mixed-minimax", "minimax"]
Member: TypeAlias = tuple[tuple[str, str], ...]
Parts: TypeAlias = tuple[Array, Array, Array]
Noise: TypeAlias = tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Learners by key and name, and which of them make up each candidate of a block.

    Parameters
    ----------
    pool : mapping of str to mapping of str to learner
        For each learner key, the learners by name.
    blocks : mapping of str to mapping of str to tuple of (str, str)
        For "F", "M" and "H", the (key, name) pairs behind each candidate. Those of H include the first stages that its
        own residuals come from.
    """

    pool: Mapping[str, Mapping[str, Any]]
    blocks: Mapping[str, Mapping[str, Member]]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of candidates of F, M and H."""
        return len(self.blocks["F"]), len(self.blocks["M"]), len(self.blocks["H"])

    @property
    def tuples(self) -> list[tuple[str, ...]]:
        """Names of all tuples, those of H running fastest."""
        return list(itertools.product(*(self.blocks[block] for block in "FMH")))

    def tagged(self) -> dict[str, Any]:
        """Return every learner under a key of its own."""
        return {_tag(key, name): learner for key, named in self.pool.items() for name, learner in named.items()}

    def chosen(self, names: tuple[str, ...]) -> tuple[dict[str, Any], frozenset[str]]:
        """Return the learners of one tuple, and which first stages H brings along because its own differ."""
        first, inner = ({}, dict(self.blocks["H"][names[2]]))
        for block, name in zip("FM", names[:2], strict=True):
            first.update(dict(self.blocks[block][name]))
        own = {"treatment" if key == "variance" else key for key in first if inner[key] != first[key]}
        learners = {key: self.pool[key][name] for key, name in {**inner, **first}.items()}
        return learners | {f"own {key}": self.pool[key][inner[key]] for key in first}, frozenset(own)


def _tag(key: str, name: str) -> str:
    return f"{key}: {name}"


def default_candidates(binary: bool) -> dict[str, dict[str, Any]]:
    """Return the candidates behind ``learners="auto"``: straight lines, splines, boosting; smooth second stages."""
    means = {
        "linear": SmoothRegressor(knots=0, products=False),
        "spline": SmoothRegressor(),
        "boosting": HistGradientBoostingRegressor(**BOOSTING),
    }
    chances = {
        "linear": SmoothClassifier(knots=0, products=False),
        "spline": SmoothClassifier(),
        "boosting": HistGradientBoostingClassifier(**BOOSTING),
    }
    curved = make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False), ShrunkenRegressor())
    return {
        "instrument": chances,
        "treatment": chances if binary else means,
        "variance": {"auto": "auto"},
        "outcome": means,
        "effect": {"linear": ShrunkenRegressor(), "quadratic": curved},
    }


def plain(learners: Learners) -> Learners:
    """Return ``learners`` without the names that hold several candidates, fit for a question that needs one of each."""
    if not isinstance(learners, Mapping):
        return learners
    return {key: value for key, value in learners.items() if not isinstance(value, Mapping)}


def read_candidates(learners: Learners, roles: Roles) -> Candidates:
    """Check the candidates and form the blocks, see `estimate`."""
    pool = _pool(learners, roles)
    keys = [key for key in ("treatment", "variance") if key in pool]
    several = len(pool.get("variance", ())) > 1
    second: dict[str, Member] = {}
    for names in itertools.product(*(pool[key] for key in keys)):
        second["/".join(names) if several else names[0]] = tuple(zip(keys, names, strict=True))
    third: dict[str, Member] = {}
    for outcome, effect in itertools.product(pool["outcome"], pool["effect"]):
        own = [(key, _like(outcome, pool[key])) for key in ("instrument", *keys)]
        third[f"{outcome}/{effect}"] = (("outcome", outcome), ("effect", effect), ("confounding", effect), *own)
    first: dict[str, Member] = {name: (("instrument", name),) for name in pool["instrument"]}
    blocks: dict[str, dict[str, Member]] = {"F": first, "M": second, "H": third}
    return _counted(Candidates(pool, blocks))


def _like(name: str, named: Mapping[str, Any]) -> str:
    return name if name in named else next(iter(named))


def _counted(candidates: Candidates) -> Candidates:
    K, L, H = candidates.shape
    if K * L * H > MOST_TUPLES:
        raise InputError(
            f"`learners` give {K * L * H:,} tuples of candidates ({K} of the instrument, {L} of the treatment, {H} of "
            f"outcome and effect); at most {MOST_TUPLES:,} are compared. Name fewer candidates."
        )
    if K * L * H == 1:
        raise InputError(
            '`learners` give one candidate for everything: method="selective" has nothing to choose between. Map some '
            'names to several candidates, such as {"outcome": {"forest": ..., "lasso": ...}}, or use method="debiased".'
        )
    return candidates


def _pool(learners: Learners, roles: Roles) -> dict[str, dict[str, Any]]:
    """Return checked learners by key and name; strings are replaced by what they stand for."""
    check_learners(plain(learners), KEYS)
    if isinstance(learners, str):
        learners = dict.fromkeys(KEYS, "linear") if learners == "linear" else {}
    unknown = [key for key in learners if key not in KEYS]
    if unknown:
        raise InputError(f"`learners` has unknown names {unknown}. The nuisances here are {list(KEYS)}.")
    defaults = default_candidates(roles.binary)
    specs = {spec.learner: spec for spec in InvalidIVEffect(roles).nuisances().values() if spec.given}
    pool = {key: _named(key, learners.get(key, defaults.get(key))) for key in KEYS[:-1] if key in specs}
    pool["confounding"] = _paired(learners.get("confounding"), pool["effect"])
    return {key: {name: _resolved(key, x, specs[key]) for name, x in named.items()} for key, named in pool.items()}


def _named(key: str, value: Any) -> dict[str, Any]:
    """Return candidates by name; a single one is named after itself."""
    if not isinstance(value, Mapping):
        return {value if isinstance(value, str) else type(value).__name__: value}
    if not value or not all(isinstance(name, str) and name for name in value):
        raise InputError(f"`learners[{key!r}]` must map names to at least one candidate. Got {dict(value)!r} instead.")
    return dict(value)


def _paired(value: Any, effect: Mapping[str, Any]) -> dict[str, Any]:
    """Return the learner of ρ that goes with each candidate of β: the same one unless said otherwise."""
    if value is None:
        return dict(effect)
    if not isinstance(value, Mapping):
        return dict.fromkeys(effect, value)
    if set(value) != set(effect):
        raise InputError(
            f"`learners['confounding']` must have the names of learners['effect'], {list(effect)}, because the two go "
            f"together. Got {list(value)} instead."
        )
    return {name: value[name] for name in effect}


def _resolved(key: str, learner: Any, spec: NuisanceSpec) -> Any:
    check_learners({key: learner}, KEYS)
    found = choose_learner({key: learner}, spec)
    return found.estimator if isinstance(found, SklearnLearner) else found


@dataclass(frozen=True)
class BlockParts:
    """What one candidate of one block contributes to the score of every row.

    F gives (2Z − 1) / f(Z | X); M gives R_A = A − μ_Z(X) and D(X) kept away from zero; H gives β(X), ρ(X) and
    e = Y − β A − g_Z with g_z = m_z − β μ_z, where μ is its own. A tuple's score is

        φ = β + (2Z − 1) / (f D) · (R_A e − ρ).

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
        parts = {"F": ("instrument",), "M": ("residual", "shift"), "H": ("effect", "confounding", "rest")}[self.block]
        return tuple(f"{part} {self.member}" for part in parts)

    def nuisances(self) -> dict[str, NuisanceSpec]:
        """Return the nuisances of the block, each asking for its candidate."""
        names, wanted = dict(self.member), WANTED.get(self.block)
        return {
            name: replace(spec, learner=_tag(spec.learner, names[spec.learner])) if spec.given else spec
            for name, spec in self.question.nuisances().items()
            if wanted is None or name in wanted
        }

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return the parts for every row, shape (n, 1), (n, 2) or (n, 3)."""
        roles = self.question.roles
        if self.block == "F":
            return _signed_inverse(rows[roles.instrument], eta["pi"](rows))
        if self.block == "M":
            shift = floored_shift(roles, self.question.floor, rows, eta)
            return np.column_stack([roles.treatment_residual(rows, eta), shift])
        beta, r_a, r_y = eta["beta"](rows), roles.treatment_residual(rows, eta), roles.outcome_residual(rows, eta)
        return np.column_stack([beta, eta["rho"](rows), r_y - beta * r_a])

    def plug_in(self, law: FiniteLaw) -> Array:
        """Refuse: a part of a score is no functional of its own."""
        raise InputError("The parts of a score have no value of their own; check `TupleEffect` instead.")


def _signed_inverse(z: Array, pi: Array) -> Array:
    """Return (2Z − 1) / f(Z | X)."""
    return np.asarray(z / pi - (1 - z) / (1 - pi))


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
    """`InvalidIVEffect` for one tuple, where β, ρ and g may rest on first stages of their own.

    With g_z = m_z − β μ°_z, μ° the treatment regression within H, and e = Y − β A − g_Z,

        φ_θ = β + (2Z − 1) / (f D) · (R_A e − ρ),

    and likewise for the other coordinates. Without first stages of its own this is `InvalidIVEffect`.

    Parameters
    ----------
    question : InvalidIVEffect
        Columns and floor.
    own : frozenset of {"instrument", "treatment"}
        First stages that H does not share with F and M.
    """

    question: InvalidIVEffect
    own: frozenset[str] = frozenset()
    labels = InvalidIVEffect.labels

    @property
    def robustness(self) -> tuple[frozenset[str], ...]:
        """As for `InvalidIVEffect`."""
        return self.question.robustness

    @property
    def _aliases(self) -> dict[str, str]:
        blocks = {"instrument": "F", "treatment": "M"}
        return {name: f"own {name}" for key in sorted(self.own) for name in WANTED[blocks[key]]}

    def nuisances(self) -> dict[str, NuisanceSpec]:
        """Return the nuisances of `InvalidIVEffect`, and under other names those that H does not share."""
        aliases, found = self._aliases, {}
        shared = {name for block in WANTED.values() for name in block}
        for name, spec in self.question.nuisances().items():
            if name in shared:
                found[name] = spec
            if name in aliases or name not in shared:
                found[aliases.get(name, name)] = _moved(spec, aliases, name in aliases)
        return found

    def eif(self, rows: Table, eta: Nuisances) -> Array:
        """Return φ for every row, shape (n, 3)."""
        roles, alias = self.question.roles, self._aliases
        z, a, y = rows[roles.instrument], rows[roles.treatment], rows[roles.outcome]
        pi, beta, rho = (eta[name](rows) for name in ("pi", "beta", "rho"))
        g0, g1 = (eta[f"m{arm}"](rows) - beta * eta[alias.get(f"mu{arm}", f"mu{arm}")](rows) for arm in (0, 1))
        (v0, v1), d = roles.variances(rows, eta), floored_shift(roles, self.question.floor, rows, eta)
        h, e = _signed_inverse(z, pi), y - beta * a - np.where(z == 1.0, g1, g0)
        b = roles.treatment_residual(rows, eta) * e - rho
        first_stage = eta["mu1"](rows) - eta["mu0"](rows)
        confounding = rho + b * ((1 - z) * v1 / (1 - pi) - z * v0 / pi) / d
        return np.column_stack([beta + h / d * b, g1 - g0 + h * e - first_stage * h / d * b, confounding])

    def derived(self, rows: Table, eta: Nuisances) -> dict[str, Array]:
        """Return V_0, V_1, D before and after the floor, of the block M."""
        return self.question.derived(rows, eta)

    def plug_in(self, law: FiniteLaw) -> Array:
        """Return the three functionals by summation."""
        return self.question.plug_in(law)


def _moved(spec: NuisanceSpec, aliases: Mapping[str, str], own: bool) -> NuisanceSpec:
    """Let a nuisance of H read those of its own, and ask for its own learner if it is one of them."""
    names = tuple((need, aliases[need]) for need in spec.needs if need in aliases)
    changes: dict[str, Any] = {"learner": f"own {spec.learner}"} if own and spec.given else {}
    if names and not isinstance(spec.target, str):
        changes["target"] = Renamed(spec.target, names)
    if names and spec.weight is not None:
        changes["weight"] = Renamed(spec.weight, names)
    return replace(spec, **changes)


def score_means(parts: Parts, weights: Array) -> Array:
    """Return the weighted mean of φ over rows for every tuple, shape (K, L, H), by products of matrices."""
    lever, (r_a, shift), (beta, rho, e) = parts[0], np.moveaxis(parts[1], 2, 0), np.moveaxis(parts[2], 2, 0)
    means = np.empty((lever.shape[1], r_a.shape[1], beta.shape[1]))
    for k in range(len(means)):
        w = (weights * lever[:, k])[:, None] / shift
        means[k] = weights @ beta + (w * r_a).T @ e - w.T @ rho
    return means


def score_noise(parts: Parts, weights: Array, clusters: npt.NDArray[Any] | None = None) -> Noise:
    """Return variances of differences of means of φ: along H (K, L, H, H), along F and M (H, K·L, K·L)."""
    (n, K), L, (beta, rho, e) = parts[0].shape, parts[1].shape[1], np.moveaxis(parts[2], 2, 0)
    ratio = (parts[0][:, :, None] / parts[1][:, None, :, 1]).reshape(n, K * L)
    r_a = np.tile(parts[1][:, :, 0], K)
    codes = None if clusters is None else pd.factorize(clusters)[0]
    along_h = (beta + ratio[:, [t]] * (r_a[:, [t]] * e - rho) for t in range(K * L))
    along_fm = (beta[:, [h]] + ratio * (r_a * e[:, [h]] - rho[:, [h]]) for h in range(beta.shape[1]))
    one = np.array([_difference_variances(phi, weights, codes) for phi in along_h])
    other = np.array([_difference_variances(phi, weights, codes) for phi in along_fm])
    return one.reshape(K, L, *one.shape[1:]), other


def _difference_variances(phi: Array, weights: Array, codes: npt.NDArray[np.intp] | None) -> Array:
    centred = (phi - weights @ phi) * weights[:, None]
    if codes is not None:
        rows, centred = centred, np.zeros((codes.max() + 1, phi.shape[1]))
        np.add.at(centred, codes, rows)
    gram = centred.T @ centred
    return np.asarray(gram.diagonal()[:, None] + gram.diagonal() - 2 * gram)


def perturbation_risk(psi: Array, noise: Noise | None = None) -> tuple[Array, Array]:
    r"""Return how far the estimate moves when the other blocks are exchanged.

    .. math:: B_1(k, l) = \max_{h_1, h_2} \frac1S \sum_s (\psi_{sklh_1} - \psi_{sklh_2})^2, \qquad
        B_2(h) = \max_{(k_1, l_1), (k_2, l_2)} \frac1S \sum_s (\psi_{sk_1l_1h} - \psi_{sk_2l_2h})^2

    Parameters
    ----------
    psi : ndarray of shape (S, K, L, H)
        Held-out means of the score in every split, for every candidate of F, M and H.
    noise : pair of ndarrays of shapes (K, L, H, H) and (H, K·L, K·L), optional
        Sampling variances of the differences, subtracted from their squares; what is left is at least 0.

    Returns
    -------
    B1 : ndarray of shape (K, L)
        Largest mean square over pairs of candidates of H.
    B2 : ndarray of shape (H,)
        Largest mean square over pairs of candidates of (F, M).

    Examples
    --------
    >>> B1, B2 = perturbation_risk(np.array([[[[1.0, 1.0]], [[1.0, 3.0]]]]))  # S = 1, K = 2, L = 1, H = 2
    >>> B1.ravel(), B2
    (array([0., 4.]), array([0., 4.]))
    """
    S, K, L, H = psi.shape
    one = [_largest_gap(psi[:, *kl], None if noise is None else noise[0][kl]) for kl in np.ndindex(K, L)]
    flat = psi.reshape(S, K * L, H)
    other = [_largest_gap(flat[:, :, h], None if noise is None else noise[1][h]) for h in range(H)]
    return np.array(one).reshape(K, L), np.array(other)


def _largest_gap(psi: Array, noise: Array | None) -> float:
    """Return the largest mean square over splits of a difference between two columns."""
    gaps = np.zeros((psi.shape[1], psi.shape[1]))
    for row in psi:
        gaps += (row[:, None] - row) ** 2 / len(psi)
    return float(gaps.max() if noise is None else np.maximum(gaps - noise, 0.0).max())


@dataclass(frozen=True, eq=False)
class Splits:
    """Held-out means of the score in every split (S, K, L, H), and the sampling noise of their differences."""

    psi: Array
    noise: Noise | None = None

    def risks(self, criterion: Criterion) -> tuple[Array, Array, Array]:
        """Return B1, B2 and the risk of every tuple, in the order of `Candidates.tuples`."""
        one, other = perturbation_risk(self.psi, self.noise)
        b1, b2 = (np.ravel(part) for part in np.broadcast_arrays(one[:, :, None], other))
        return b1, b2, b1 + b2 if criterion == "mixed-minimax" else np.maximum(b1, b2)


def _pooled(parts: Sequence[Splits]) -> Splits:
    psi = np.concatenate([part.psi for part in parts])
    noises = [part.noise for part in parts if part.noise is not None]
    if not noises:
        return Splits(psi)
    one, other = (np.mean(np.array(same), axis=0) for same in zip(*noises, strict=True))
    return Splits(psi, (one, other))


def _splits_of(result: CrossFit, shape: tuple[int, int, int], unit: float, table: Table, noise_correct: bool) -> Splits:
    """Return the means of all tuples over each held-out fold, outcomes measured in ``unit``."""
    n, (K, L, H), folds, found = len(table), shape, result.folds[0], []
    for rows in (folds.ids == fold for fold in range(folds.k)):
        F, M, last = np.split(result.phi[rows], [K, K + 2 * L], axis=1)
        parts = F, M.reshape(-1, L, 2), last.reshape(-1, H, 3) / unit
        w = (np.ones(n) if table.weights is None else table.weights)[rows]
        clusters = None if table.clusters is None else table.clusters[rows]
        noise = score_noise(parts, w / w.sum(), clusters) if noise_correct else None
        found.append(Splits(score_means(parts, w / w.sum())[None], noise))
    return _pooled(found)


@dataclass(frozen=True, eq=False)
class Selection:
    """The tuple chosen, all tuples by rising risk, and how well every first-stage candidate predicts out of fold."""

    names: tuple[str, ...]
    table: pd.DataFrame
    skill: pd.DataFrame


def select(
    candidates: Candidates,
    table: Table,
    plan: Plan,
    question: InvalidIVEffect,
    criterion: Criterion = "mixed-minimax",
    noise_correct: bool = False,
) -> Selection:
    """Fit every candidate once per split and return the tuple of least risk; see `estimate`."""
    one_of("criterion", criterion, CRITERIA)
    questions = [BlockParts(question, block, member) for block in "FMH" for member in candidates.blocks[block].values()]
    again = replace(plan, learners=candidates.tagged(), repeats=1)
    unit = _power_of_two(table[question.roles.outcome])
    parts, fits = [], []
    for seed in np.random.SeedSequence(plan.seed).generate_state(plan.repeats):
        result = cross_fit(questions, table, replace(again, seed=int(seed)))
        parts.append(_splits_of(result, candidates.shape, unit, table, noise_correct))
        fits.append(result.fits)
    risks = _risk_table(candidates.tuples, parts, criterion, unit)
    names = tuple(str(risks[block].iloc[0]) for block in "FMH")
    return Selection(names, risks, _skill_table(Problem.of(questions, again), fits[0]))


def _power_of_two(y: Array) -> float:
    """Return a unit in which squares of outcomes neither under- nor overflow; dividing by it changes no digit."""
    return float(2.0 ** np.floor(np.log2(np.abs(y).max())))


def _risk_table(
    tuples: Sequence[tuple[str, ...]], parts: Sequence[Splits], criterion: Criterion, unit: float
) -> pd.DataFrame:
    """Return one line per tuple, the chosen one first, then by rising risk."""
    every = _pooled(parts)
    b1, b2, risk = every.risks(criterion)
    frame = pd.DataFrame(list(tuples), columns=["F", "M", "H"])
    frame["estimate"] = every.psi.mean(axis=0).ravel() * unit
    with np.errstate(over="ignore", under="ignore"):
        for name, square in (("B1", b1), ("B2", b2), ("risk", risk)):
            frame[name] = square * unit * unit
    if len(parts) > 1:
        winners = [_first_least(part.risks(criterion)[2]) for part in parts]
        frame["share"] = np.bincount(winners, minlength=len(tuples)) / len(parts)
    best = _first_least(risk)
    order = [number for number in np.argsort(risk, kind="stable") if number != best]
    return frame.iloc[[best, *order]].reset_index(drop=True)


def _first_least(risk: Array) -> int:
    """Return the first of the smallest risks; learners that agree up to rounding tie."""
    return int(np.flatnonzero(risk <= risk.min() * (1 + TIE))[0])


def _skill_table(problem: Problem, fits: pd.DataFrame) -> pd.DataFrame:
    """Return what is known of the regressions of columns, by candidate."""
    frame = fits.reset_index().assign(candidate=[node.spec.learner for node in problem.nodes])
    kept = [isinstance(node.spec.target, str) for node in problem.nodes]
    return frame.loc[kept, ["candidate", "nuisance", "skill", "clipped", "seconds"]].reset_index(drop=True)


def estimate(
    options: InvalidIVATE,
    table: Table,
    plan: Plan,
    roles: Roles,
    *,
    criterion: Criterion = "mixed-minimax",
    noise_correct: bool = False,
) -> Pieces:
    r"""Choose learners by how little the estimate moves when the other learners are exchanged, then estimate afresh.

    .. math:: (k, l, h)^* = \arg\min B_1(k, l) + B_2(h)

    with B1 and B2 of `perturbation_risk`, k a candidate of F = {π}, l of M = {μ, D}, h of H = {β, ρ, g}.

    Parameters
    ----------
    options : InvalidIVATE
        Gives the floor under D.
    table, plan, roles
        Data, learners and splits, columns. ``plan.learners`` is "auto" (see `default_candidates`), or a mapping from
        learner keys to one learner or to a mapping of names to candidates; keys left out are as in "auto". Candidates
        of F are those of "instrument"; of M, those of "treatment" with each of "variance"; of H, **every "outcome"
        candidate with every "effect" candidate**, named "outcome/effect". ρ uses the "confounding" candidate of the
        same name as the "effect" one, by default that one itself. A candidate of H computes its residuals and weights
        with first stages of its own: those named like its outcome candidate where "instrument", "treatment" and
        "variance" have one of that name, else the first listed.
    criterion : {"mixed-minimax", "minimax"}
        Whether B1 and B2 are added, or the larger one counts.
    noise_correct : bool, default False
        Subtract the sampling variance of each difference from its square. Without it tuples of small variance are
        favoured; with it a candidate whose scores are merely erratic is excused, so leave such candidates out.

    Returns
    -------
    Pieces
        The cross-fitted estimate with the chosen learners; tables "selection" (all tuples by rising risk; with several
        repeats also the share of repeats that would have chosen each), "selected" (the first five) and "candidates".

    Raises
    ------
    InputError
        If there is one tuple only or over 2,000, folds are not held out, or the treatment does not vary in one arm.

    Notes
    -----
    Every split is a fold: candidates are fitted on the other folds and scored on this one, ties go to the candidate
    listed first. Splits of all repeats enter one risk. The final fit draws new folds, unless they were supplied.
    Intervals take the chosen learners as given: after selection they are valid to first order only if those are right.

    B1 does not depend on h, nor B2 on (k, l). So one erratic candidate of H, such as a deep tree on products of
    residuals, fills B1 for every (k, l) and leaves the choice of F and M to chance, though H itself is chosen well:
    keep all second-stage candidates smooth.

    Cost: each candidate is fitted once per split and inner fold and never again per tuple. "auto" compares 54 tuples;
    at n = 10,000 with 3 covariates and 5 folds this takes about 30 seconds of one core.

    References
    ----------
    Sun, Cui and Tchetgen Tchetgen (2022), JMLR 23; Cui and Tchetgen Tchetgen (2024), Biometrika 111, 517-535
    (mixed-minimax criterion for one doubly robust pair).
    """
    _require_choice(table, plan, roles)
    question, candidates = InvalidIVEffect(roles, options.floor), read_candidates(plan.learners, roles)
    found = select(candidates, table, plan, question, criterion, noise_correct)
    learners, own = candidates.chosen(found.names)
    questions: list[Estimand] = [TupleEffect(question, own), VarianceShiftMoments(roles)]
    questions.append(SensitivitySlopes(roles, options.floor))
    result = cross_fit(questions, table, replace(plan, learners=learners))
    pieces = of_crossfit(result, "influence function, cross-fitted, learners selected", _notes(found, criterion))
    tables = {"selection": found.table, "selected": found.table.head(TOP), "candidates": found.skill}
    return replace(pieces, tables={**pieces.tables, **tables})


def _require_choice(table: Table, plan: Plan, roles: Roles) -> None:
    if roles.silent is not None:
        level = table.levels[roles.instrument][roles.silent]
        raise InputError(
            f'method="selective" needs a treatment that varies in both arms of {roles.instrument!r}; it does not vary '
            f"among rows with {roles.instrument} = {level}, so there is nothing to choose there. "
            'Use method="debiased", which handles this case.'
        )
    if (plan.folds.k if isinstance(plan.folds, Folds) else plan.folds) < 2:
        raise InputError('`folds` must be at least 2 with method="selective": learners are compared on held-out rows.')


def _notes(found: Selection, criterion: Criterion) -> tuple[str, ...]:
    F, M, H = found.names
    count, best = len(found.table), found.table.iloc[0]
    return (
        f"Selected among {count:,} tuples of learners ({criterion}): F (instrument) = {F}, M (treatment) = {M}, "
        f"H (outcome/effect) = {H}; risk {best['risk']:.3g}, all tuples in diagnostics['selection'].",
        "Intervals take the selected learners as given; after selection they are valid to first order only if the "
        "selected models are right.",
    )
