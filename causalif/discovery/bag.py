"""The posterior averaged over bootstrap resamples of the rows, one bag at a time, as far as the time goes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from threadpoolctl import threadpool_limits

from causalif._errors import ConvergenceError, ConvergenceWarning, tell
from causalif._validate import Array
from causalif.discovery.exact import sample_exact, seconds_left
from causalif.discovery.families import Draws, Families, Masks

if TYPE_CHECKING:
    from causalif.discovery.sem import Scorer

SECONDS_WORTH_A_POOL = 2.0


@dataclass(frozen=True, eq=False)
class Job:
    """All that one bag needs.

    Parameters
    ----------
    names, sets, priors
        Nodes, their parent sets and the log priors of these.
    scorer : Scorer
        Gives scores of resampled rows.
    engine : str
        "exact", "mcmc" or "variational".
    seed : numpy.random.SeedSequence
        Source of the seeds of the bags.
    draws : int
        DAGs per bag.
    options : mapping
        Further arguments of the sampler.
    temperature : float
        Factor of the scores.
    """

    names: tuple[str, ...]
    sets: tuple[Masks, ...]
    priors: tuple[Array, ...]
    scorer: Scorer
    engine: str
    seed: np.random.SeedSequence
    draws: int
    options: Mapping[str, Any] = field(default_factory=dict)
    temperature: float = 1.0

    def run(self, bag: int, rows: int, resampled: bool, deadline: float | None, progress: bool) -> Draws:
        """Score one resample of the rows, or the rows themselves, and sample DAGs."""
        streams = np.random.SeedSequence(self.seed.entropy, spawn_key=(bag,)).spawn(3)
        resample, fit, sample = (np.random.default_rng(stream) for stream in streams)
        counts = np.bincount(resample.integers(rows, size=rows), minlength=rows) if resampled else np.ones(rows)
        with threadpool_limits(1):  # sums over threads vary in the last digit
            scores = self.scorer.log_scores(counts.astype(np.float64), fit)
            families = Families(self.names, self.sets, scores, self.priors)
            if self.temperature != 1:
                families = families.tempered(self.temperature)
            sampler = choose_sampler(self.engine)
            return sampler(families, draws=self.draws, rng=sample, deadline=deadline, progress=progress, **self.options)


def choose_sampler(engine: str) -> Any:
    """Return the function behind the name of an engine."""
    if engine == "exact":
        return sample_exact
    if engine == "mcmc":
        from causalif.discovery.mcmc import sample_mcmc

        return sample_mcmc
    from causalif.discovery.variational import sample_variational

    return sample_variational


@dataclass(frozen=True, eq=False)
class Bagged:
    """Draws of all bags together; ``members`` says which draws came from which bag."""

    draws: Draws
    members: tuple[slice, ...]


def run_bags(job: Job, rows: int, bags: int, n_jobs: int | None, deadline: float | None, progress: bool) -> Bagged:
    """Run every bag, or all rows once if ``bags`` is 0, and put the draws together.

    Parameters
    ----------
    job : Job
        What to run.
    rows : int
        Number of rows to resample.
    bags : int
        Number of bootstrap resamples.
    n_jobs : int, optional
        Parallel jobs as in joblib.
    deadline : float, optional
        Time of the monotonic clock after which no further bag is started.
    progress : bool
        Show a progress bar if stderr is a terminal.

    Returns
    -------
    Bagged

    Raises
    ------
    ConvergenceError
        If not even one bag was finished in time.
    """
    return collect(_results(job, rows, bags, n_jobs, deadline, progress), max(bags, 1), deadline)


def collect(results: Iterable[Draws], wanted: int, deadline: float | None) -> Bagged:
    """Gather bags until there are ``wanted``, the time is up or the user interrupts; keep what is finished."""
    done: list[Draws] = []
    interrupted = False
    try:
        for draws in results:
            done.append(draws)
            if len(done) < wanted and seconds_left(deadline) <= 0:
                break
    except KeyboardInterrupt:
        if not done:
            raise
        interrupted = True
    if not done:
        raise ConvergenceError("Not even one bag was finished within `time_limit`. Raise it, or lower `draws`.")
    if len(done) < wanted:
        why = "an interrupt" if interrupted else "`time_limit`"
        tell(
            f"Stopped by {why}: {len(done)} of {wanted} bags are in the posterior, which is marked complete=False.",
            ConvergenceWarning,
        )
    return _together(done, complete=len(done) == wanted)


def _results(
    job: Job, rows: int, bags: int, n_jobs: int | None, deadline: float | None, progress: bool
) -> Iterator[Draws]:
    """Yield the draws of the bags in their order: the first here, the rest in a pool if that is worth it."""
    if not bags:
        yield job.run(0, rows, False, deadline, progress)
        return
    start = time.perf_counter()
    yield job.run(0, rows, True, deadline, False)
    left = (time.perf_counter() - start) * (bags - 1)
    if left > SECONDS_WORTH_A_POOL and effective_n_jobs(n_jobs) > 1:
        tasks = (delayed(_run)(job, bag, rows, deadline) for bag in range(1, bags))
        yield from Parallel(n_jobs=n_jobs, return_as="generator", pre_dispatch="n_jobs")(tasks)
        return
    for bag in _progress(range(1, bags), progress, left):
        yield job.run(bag, rows, True, deadline, False)


def _run(job: Job, bag: int, rows: int, deadline: float | None) -> Draws:
    return job.run(bag, rows, True, deadline, False)


def _progress(bags: range, wanted: bool, seconds: float) -> Iterator[int]:
    """Wrap the bags in a progress bar where tqdm is installed, the work is long and stderr is a terminal."""
    if not wanted or seconds < SECONDS_WORTH_A_POOL:
        return iter(bags)
    try:
        from tqdm import tqdm
    except ImportError:
        return iter(bags)
    return iter(tqdm(bags, desc="bags", initial=1, total=len(bags) + 1, disable=None, leave=False))


def _together(done: Sequence[Draws], complete: bool) -> Bagged:
    """Average the bags, each with equal weight."""
    if len(done) == 1 and complete:
        return Bagged(done[0], (slice(0, len(done[0].weights)),))
    ends = np.cumsum([len(draws.weights) for draws in done])
    members = tuple(slice(int(end) - len(draws.weights), int(end)) for end, draws in zip(ends, done, strict=True))
    edges = [draws.edges for draws in done if draws.edges is not None]
    ess = np.array([draws.ess for draws in done])
    merged = replace(
        done[0],
        adjacency=np.concatenate([draws.adjacency for draws in done]),
        weights=np.concatenate([draws.weights for draws in done]) / len(done),
        log_evidence=None,
        bound=None,
        # The variance of an average of independent averages.
        ess=float(len(done) ** 2 / np.sum(1.0 / ess)),
        diagnostics=_stack([draws.diagnostics for draws in done]) | {"bags": _report(done)},
        complete=complete and all(draws.complete for draws in done),
        edges=np.mean(edges, axis=0) if len(edges) == len(done) else None,
    )
    return Bagged(merged, members)


def _stack(tables: Sequence[Mapping[str, pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    """Put the tables of the samplers under each other, with the bag in front; equal ones are kept once."""
    out = {}
    for name in tables[0]:
        frames = [table[name] for table in tables if name in table]
        if all(frame.equals(frames[0]) for frame in frames):
            out[name] = frames[0]
        else:
            out[name] = pd.concat(dict(enumerate(frames)), names=["bag"])
    return out


def _report(done: Sequence[Draws]) -> pd.DataFrame:
    def number(value: float | None) -> float:
        return float("nan") if value is None else value

    return pd.DataFrame(
        {
            "log_evidence": [number(draws.log_evidence) for draws in done],
            "bound": [number(draws.bound) for draws in done],
            "effective_sample_size": [draws.ess for draws in done],
            "complete": [draws.complete for draws in done],
        },
        index=pd.RangeIndex(len(done), name="bag"),
    )
