"""What the structural equation models share: from a table to families, from families to a posterior over DAGs."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from causalif._errors import InputError
from causalif._validate import Array, in_range, one_of, whole_number
from causalif.discovery.background import Background, Rules
from causalif.discovery.bag import Bagged, Job, run_bags
from causalif.discovery.columns import Columns, read_columns
from causalif.discovery.exact import affordable, blocks_of, refuse_large
from causalif.discovery.families import Families, Masks, Prior, count_sets, parent_sets, structure_prior
from causalif.graphs.posterior import DAGPosterior

ENGINES = ("auto", "exact", "mcmc", "variational")
EXACT_NODES = 12
COMFORTABLE_FAMILIES = 110_000
LEAST_MAX_PARENTS = 3


class Scorer(Protocol):
    """Log scores of parent sets that were fixed when it was built; must survive pickling.

    Attributes
    ----------
    diagnostics : mapping of str to DataFrame
        Tables about the fit to all rows, copied into the posterior.
    """

    @property
    def diagnostics(self) -> Mapping[str, pd.DataFrame]:
        """Tables about the fit to all rows."""

    def log_scores(self, counts: Array, rng: np.random.Generator) -> tuple[Array, ...]:
        """Return the log scores of every node's sets when row i occurs ``counts[i]`` times; they sum to n."""


@dataclass(frozen=True, kw_only=True)
class SEM(ABC):
    """Settings that every structural equation model has, and how it is fitted."""

    tiers: Sequence[Sequence[str]] | None = None
    forbidden: Iterable[tuple[str, str]] = ()
    required: Iterable[tuple[str, str]] = ()
    max_parents: int | None = None
    prior: Prior = "indegree_uniform"
    engine: Literal["auto", "exact", "mcmc", "variational"] = "auto"
    bag: int = 20
    temperature: float = 1.0
    draws: int = 2000
    random_state: int | np.random.Generator | None = 0
    n_jobs: int | None = None
    progress: bool = True
    time_limit: float | None = None
    discrete: Sequence[str] | None = None

    def fit(self, data: Any) -> DAGPosterior:
        """Return the posterior over the DAGs of all columns of a data frame.

        Parameters
        ----------
        data : pandas.DataFrame, polars.DataFrame or any eager frame known to narwhals
            One row per unit, one column per node; never changed.

        Returns
        -------
        DAGPosterior

        Raises
        ------
        InputError
            If a column or a setting cannot be used as given; the message says what to do.
        """
        started = time.monotonic()
        self._check()
        columns = read_columns(data, self.discrete)
        rules = limited(self._background().rules(columns.names))
        sets = parent_sets(rules.allowed, rules.required, rules.max_parents)
        self._check_columns(columns, sets)
        priors = structure_prior(self.prior, columns.names, sets, rules.allowed, rules.required)
        engine = _choose_engine(self.engine, columns.names, sets)
        seed = _seed(self.random_state)
        deadline = None if self.time_limit is None else started + self.time_limit
        scorer = self._scorer(columns, sets, seed, deadline)
        job = Job(columns.names, sets, priors, scorer, engine, seed, self._draws_per_bag(), self._engine_options(),
                  self.temperature)  # fmt: skip
        bagged = run_bags(job, columns.n, self.bag, self.n_jobs, deadline, self.progress)
        return self._posterior(columns, rules, engine, seed, scorer, bagged, time.monotonic() - started)

    @abstractmethod
    def _scorer(
        self, columns: Columns, sets: tuple[Masks, ...], seed: np.random.SeedSequence, deadline: float | None
    ) -> Scorer:
        """Prepare what gives the scores of ``sets``; a scorer may fit all rows here, to start the bags from."""

    def _check_columns(self, columns: Columns, sets: tuple[Masks, ...]) -> None:
        """Raise if the model cannot be fitted to these columns."""
        if columns.n < columns.p + 2:
            raise InputError(f"`data` has {columns.n} rows for {columns.p} columns; it needs at least {columns.p + 2}.")

    def _engine_options(self) -> dict[str, Any]:
        """Return options for the sampler of a model's own."""
        return {}

    def _own_settings(self) -> dict[str, Any]:
        """Return settings of the model's own, for the summary."""
        return {}

    def _check(self) -> None:
        one_of("engine", self.engine, ENGINES)
        whole_number("draws", self.draws, 1)
        if self.temperature != 1:
            in_range("temperature", self.temperature, 0.0, 1.0)
        if whole_number("bag", self.bag, 0) == 1:
            raise InputError("`bag` must be 0 (no bagging) or at least 2. Got 1.")
        if self.time_limit is not None and not self.time_limit > 0:
            raise InputError(f"`time_limit` must be a positive number of seconds, or None. Got {self.time_limit!r}.")
        jobs = self.n_jobs
        if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, (int, np.integer)) or jobs == 0):
            raise InputError(f"`n_jobs` must be a whole number other than 0, or None. Got {jobs!r} instead.")

    def _background(self) -> Background:
        return Background(self.tiers, tuple(self.forbidden), tuple(self.required), self.max_parents)

    def _draws_per_bag(self) -> int:
        return -(-self.draws // max(self.bag, 1))

    def _posterior(
        self, columns: Columns, rules: Rules, engine: str, seed: np.random.SeedSequence, scorer: Scorer,
        bagged: Bagged, seconds: float,
    ) -> DAGPosterior:  # fmt: skip
        back = [columns.names.index(name) for name in columns.order]
        draws = bagged.draws
        settings = {
            "model": type(self).__name__,
            "rows": columns.n,
            "nodes": columns.p,
            "kinds": {name: columns.kinds[columns.names.index(name)] for name in columns.order},
            "engine": engine,
            "bags": len(bagged.members) if self.bag else 0,
            "temperature": self.temperature,
            "prior": self.prior if isinstance(self.prior, (str, float)) else "a probability for every edge",
            "max_parents": rules.max_parents,
            "tiers": None if self.tiers is None else [list(tier) for tier in self.tiers],
            **self._own_settings(),
            "random_state": seed.entropy,
            "seconds": seconds,
        }
        return DAGPosterior.of_draws(
            names=columns.order,
            adjacency=draws.adjacency[:, back][:, :, back],
            weights=draws.weights,
            effective_sample_size=draws.ess,
            log_evidence=draws.log_evidence,
            bound=draws.bound,
            bags=bagged.members if self.bag else None,
            edges=None if draws.edges is None else draws.edges[np.ix_(back, back)],
            diagnostics={**scorer.diagnostics, **draws.diagnostics},
            settings=settings,
            complete=draws.complete,
        )


def limited(rules: Rules) -> Rules:
    """Where no largest in-degree is given and all parent sets are too many, choose one."""
    if rules.max_parents is not None:
        return rules
    p = len(rules.allowed)
    for most in (None, *range(p - 1, LEAST_MAX_PARENTS - 1, -1)):
        if count_sets(rules.allowed, rules.required, most) <= COMFORTABLE_FAMILIES:
            break
    return replace(rules, max_parents=None if most is None else max(most, int(rules.required.sum(axis=0).max())))


def _choose_engine(engine: str, names: Sequence[str], sets: tuple[Masks, ...]) -> str:
    """Return the sampler to use: exact wherever the nodes that could form a cycle are few."""
    shape = Families.of_scores(names, sets, [np.zeros(len(masks)) for masks in sets])
    largest = max(map(len, blocks_of(shape)))
    if engine == "exact":
        refuse_large(largest)
    if engine != "auto":
        return engine
    return "exact" if largest <= EXACT_NODES and affordable(largest) else "mcmc"


def _seed(random_state: int | np.random.Generator | None) -> np.random.SeedSequence:
    if isinstance(random_state, np.random.Generator):
        return np.random.SeedSequence(int(random_state.integers(2**31)))
    if random_state is None:
        return np.random.SeedSequence(int(np.random.SeedSequence().generate_state(1)[0]))
    return np.random.SeedSequence(whole_number("random_state", random_state, 0))
