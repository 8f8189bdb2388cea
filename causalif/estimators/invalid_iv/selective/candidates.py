"""Candidate learners, and the tuples that they form."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from causalif._errors import InputError
from causalif.engine.defaults import BOOSTING, ShrunkenRegressor, SmoothClassifier, SmoothRegressor
from causalif.engine.learners import Learners, SklearnLearner, check_learners, choose_learner
from causalif.engine.nuisance import NuisanceSpec
from causalif.estimands.invalid_iv import InvalidIVEffect, Roles
from causalif.estimands.selective_iv import Member, tag

MOST_TUPLES = 2000
KEYS = ("instrument", "treatment", "variance", "outcome", "effect", "confounding")


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
        return {tag(key, name): learner for key, named in self.pool.items() for name, learner in named.items()}

    def chosen(self, names: tuple[str, ...]) -> tuple[dict[str, Any], frozenset[str]]:
        """Return the learners of one tuple, and the blocks that H brings along because its own differ."""
        first, second, third = (dict(self.blocks[block][name]) for block, name in zip("FMH", names, strict=True))
        pairs = {"F": first, "M": second}
        own = frozenset(block for block, named in pairs.items() if not named.items() <= third.items())
        learners = {key: self.pool[key][name] for key, name in {**third, **first, **second}.items()}
        return learners | {f"own {key}": self.pool[key][third[key]] for key in {**first, **second}}, own


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
    """Return ``learners`` with "auto" in place of several candidates, fit for a question that needs one of each."""
    if not isinstance(learners, Mapping):
        return learners
    return {key: "auto" if isinstance(value, Mapping) else value for key, value in learners.items()}


def read_candidates(learners: Learners, roles: Roles) -> Candidates:
    """Check the candidates and form the blocks, see `estimate`."""
    pool = _pool(learners, roles)
    first_stages = [key for key in ("instrument", "treatment", "variance") if key in pool]
    several = len(pool.get("variance", ())) > 1
    blocks: dict[str, dict[str, Member]] = {"F": {name: (("instrument", name),) for name in pool["instrument"]}}
    blocks |= {"M": {}, "H": {}}
    for names in itertools.product(*(pool[key] for key in first_stages[1:])):
        blocks["M"]["/".join(names) if several else names[0]] = tuple(zip(first_stages[1:], names, strict=True))
    for outcome, effect in itertools.product(pool["outcome"], pool["effect"]):
        own = [(key, outcome if outcome in pool[key] else next(iter(pool[key]))) for key in first_stages]
        second_stages = ("outcome", outcome), ("effect", effect), ("confounding", effect)
        blocks["H"][f"{outcome}/{effect}"] = (*second_stages, *own)
    return _counted(Candidates(pool, blocks))


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
