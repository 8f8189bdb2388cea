"""Newton's method for logistic regression, shared by all folds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

from causalif._errors import CausalifError, ConvergenceError, InputError, PositivityError
from causalif._validate import Array
from causalif.engine.linear.moments import Moments, Rows, Spectrum, gram_moments, named, rows_of, spectra

NEAR = 0.01  # a step this small (log odds) leaves an error that the folds' own corrections remove
SAMPLE_FROM = 40_000  # from this many rows on, a first fit on a tenth of them saves full passes
POLISHES = 12
EVERY = -1  # stands for "no fold held out"


@dataclass(frozen=True, eq=False)
class LogisticSolution:
    """Coefficients in the units of the columns."""

    coef: Array
    intercept: float
    rank: int
    iterations: int


@dataclass(frozen=True, eq=False)
class _Problem:
    """Rows, seen through columns Z = (x - centre) basis that are fit for computing; the columns themselves if None."""

    rows: Rows
    sizes: Array  # (r + 1,) what a unit of the intercept and of each slope moves the log odds by
    middle: Array  # (r,) means of Z
    transform: tuple[Array, Array] | None = None  # (centre, basis)

    def design(self, start: int, stop: int) -> Array:
        """Return a block of Z."""
        block = self.rows.X[start:stop]
        return block if self.transform is None else (block - self.transform[0]) @ self.transform[1]

    def size(self, step: Array) -> Array:
        """Return the largest change of the log odds by one standard deviation of a column, for each row of steps."""
        moved = np.abs(step * self.sizes)
        moved[..., 0] = np.abs(step[..., 0] + step[..., 1:] @ self.middle)
        return np.asarray(moved.max(axis=-1))

    def solution(self, theta: Array, iterations: int) -> LogisticSolution:
        """Return to the units of the columns."""
        if self.transform is None:
            return LogisticSolution(theta[1:].copy(), float(theta[0]), len(theta) - 1, iterations)
        centre, basis = self.transform
        coef = basis @ theta[1:]
        return LogisticSolution(coef, float(theta[0] - centre @ coef), len(theta) - 1, iterations)


def logistic_solutions(rows: Rows, tol: float, max_iter: int) -> list[LogisticSolution]:
    """Fit the complement of every fold."""
    _check_classes(rows)
    moments = gram_moments(rows)
    problem, careful = _shared_problem(rows, moments)
    if problem is None:
        return [_alone(rows, careful(fold), fold, tol, max_iter) for fold in range(rows.folds)]
    start, pieces, passes = _newton(problem, EVERY, _start(problem, moments[0], max_iter), NEAR, max_iter)
    thetas, polishes, settled = _polish(problem, start, pieces, tol)
    return [
        problem.solution(thetas[fold], passes + int(polishes[fold]))
        if settled[fold]
        else _alone(rows, careful(fold), fold, tol, max_iter)
        for fold in range(rows.folds)
    ]


def _check_classes(rows: Rows) -> None:
    """Refuse targets outside 0 to 1 and training sets with one class."""
    if not (rows.y.min() >= 0 and rows.y.max() <= 1):
        raise InputError("The target of a logistic regression must lie between 0 and 1, without NaN.")
    sums = np.zeros((rows.folds, 2))
    for fold, start, stop in rows.blocks:
        y = rows.y[start:stop]
        w = np.ones_like(y) if rows.weights is None else rows.weights[start:stop]
        sums[fold] += w @ y, w @ (1.0 - y)
    for fold, (successes, failures) in enumerate(rows.all_training(sums)):
        if successes > 0 and failures > 0:
            continue
        where = named(rows, fold)
        if not successes + failures > 0:
            raise PositivityError(f"No row of positive weight is left in {where}: use fewer folds.")
        raise PositivityError(
            f"The target is {int(successes > 0)} throughout {where}: a probability needs both levels there. "
            "Use fewer folds, stratify them by the target, or widen the sample."
        )


def _shared_problem(rows: Rows, moments: list[Moments]) -> tuple[_Problem | None, Callable[[int], Spectrum]]:
    """Choose columns that serve all folds, or None where a training set is rank deficient."""
    first, careful = moments[0], spectra(rows)
    if all(_plain(moment) for moment in moments):
        return _Problem(rows, np.append(1.0, first.spread), first.mean), careful
    if any(careful(fold).rank < rows.X.shape[1] for fold in range(rows.folds)):
        return None, careful
    return _orthogonal(rows, careful(0)), careful


def _plain(moment: Moments) -> bool:
    """Tell whether the columns can be used as they are: not far from 0 for their spread, nor nearly collinear."""
    if moment.corr is None or np.any(np.abs(moment.mean) > 100 * moment.spread):
        return False
    return not moment.corr.size or bool(np.linalg.eigvalsh(moment.corr)[0] > 1e-6)


def _orthogonal(rows: Rows, exact: Spectrum) -> _Problem:
    """Use uncorrelated combinations of the columns."""
    basis = np.ascontiguousarray(exact.vectors / exact.values / exact.spread[:, None])
    return _Problem(rows, np.ones(exact.rank + 1), np.zeros(exact.rank), (exact.mean, basis))


def _alone(rows: Rows, exact: Spectrum, fold: int, tol: float, max_iter: int) -> LogisticSolution:
    """Fit the training rows of one fold from scratch, of smallest norm where the rank is deficient."""
    problem = _orthogonal(rows, exact)
    theta, (gradients, hessians), passes = _newton(problem, fold, _null(problem, fold), tol, max_iter)
    return problem.solution(theta + _solve(hessians.sum(axis=0), gradients.sum(axis=0)), passes)


def _null(problem: _Problem, fold: int) -> Array:
    """Return the fit without columns."""
    sums = np.zeros(2)
    for _, start, stop in problem.rows.without(fold):
        y, w = problem.rows.y[start:stop], problem.rows.weights
        sums += (y.sum(), len(y)) if w is None else (w[start:stop] @ y, w[start:stop].sum())
    theta = np.zeros_like(problem.sizes)
    theta[0] = np.log(sums[0] / (sums[1] - sums[0]))
    return theta


def _first_step(moment: Moments) -> Array:
    """Return Newton's first step from the fit without columns, which least squares has gathered already.

    There the weights p(1 - p) are constant, so the step is the least squares slope over p(1 - p).
    """
    assert moment.corr is not None  # columns that can be used as they are have correlations that can be trusted
    slopes = np.linalg.solve(moment.corr, moment.cross) / moment.spread / (moment.mean_y * (1.0 - moment.mean_y))
    return np.append(np.log(moment.mean_y / (1.0 - moment.mean_y)) - slopes @ moment.mean, slopes)


def _start(problem: _Problem, moment: Moments, max_iter: int) -> Array:
    """Return a good first guess for all rows: the fit of every tenth row where there are many."""
    rows = problem.rows
    guess = _first_step(moment) if problem.transform is None else _null(problem, EVERY)
    if len(rows.y) < SAMPLE_FROM:
        return guess
    weights = None if rows.weights is None else rows.weights[::10]
    fewer = rows_of(rows.X[::10], rows.y[::10], [slice(0, len(rows.y[::10]))], weights)
    try:
        theta, (gradients, hessians), _ = _newton(replace(problem, rows=fewer), EVERY, guess, 10 * NEAR, max_iter)
    except CausalifError:
        return guess  # the tenth may lack a class that the whole has
    return theta + _solve(hessians[0], gradients[0])


_Pieces = tuple[Array, Array]  # gradient (folds, r + 1) and Hessian (folds, r + 1, r + 1), by the fold of the rows


def _newton(problem: _Problem, fold: int, theta: Array, tol: float, max_iter: int) -> tuple[Array, _Pieces, int]:
    """Climb until the next step would be smaller than ``tol``; the caller takes that step."""
    loss, pieces = _curvature(problem, fold, theta)
    before = np.inf
    for passes in range(1, max_iter + 1):
        step = _solve(pieces[1].sum(axis=0), pieces[0].sum(axis=0))
        size = float(problem.size(step))
        if size <= tol or (before <= 2 * size and size <= 1e-8):  # the second: rounding is all that is left
            return theta, pieces, passes
        if passes > 5 and (_separates(problem, fold, theta, 0.0) or _separates(problem, fold, step, 1e-6)):
            raise PositivityError(
                f"In {named(problem.rows, fold)}, the columns separate the target's levels, so that some fitted "
                "probabilities are 0 or 1 and the logistic regression has no maximum. Drop or coarsen the columns "
                "that tell the levels apart, restrict the sample to where both occur, or use a penalised learner."
            )
        for _ in range(30):
            trial, trial_pieces = _curvature(problem, fold, theta + step)
            if trial <= loss + 1e-12 * abs(loss):
                break
            step = step / 2
        theta, loss, pieces, before = theta + step, trial, trial_pieces, size
    raise ConvergenceError(
        f"The logistic regression on {named(problem.rows, fold)} did not converge in {max_iter} steps: "
        f"the last one still moved the log odds by {size:.1e} per standard deviation."
    )


def _curvature(problem: _Problem, fold: int, theta: Array) -> tuple[float, _Pieces]:
    """Return minus the log likelihood without a fold, and its gradient and Hessian by the fold of the rows."""
    rows, q = problem.rows, len(theta)
    loss, gradient, hessian = 0.0, np.zeros((rows.folds, q)), np.zeros((rows.folds, q, q))
    buffer = np.empty((max(stop - start for _, start, stop in rows.blocks), q))
    for part, start, stop in rows.without(fold):
        Z, y = problem.design(start, stop), rows.y[start:stop]
        eta = Z @ theta[1:] + theta[0]
        tail = np.exp(-np.abs(eta))
        upper = 1.0 / (1.0 + tail)
        residual = y - np.where(eta >= 0, upper, tail * upper)
        root = np.sqrt(tail) * upper
        terms = np.maximum(eta, 0.0) - y * eta + np.log1p(tail)
        if rows.weights is not None:
            w = rows.weights[start:stop]
            residual *= w
            terms *= w
            root *= np.sqrt(w)
        loss += float(terms.sum())
        gradient[part, 0] += residual.sum()
        gradient[part, 1:] += residual @ Z
        scaled = buffer[: stop - start]
        scaled[:, 0] = root
        np.multiply(Z, root[:, None], out=scaled[:, 1:])
        hessian[part] += scaled.T @ scaled
    return loss, (gradient, hessian)


def _solve(hessian: Array, gradient: Array) -> Array:
    """Solve for a Newton step on equilibrated columns, of smallest norm if the Hessian is singular."""
    scale = 1.0 / np.sqrt(np.maximum(np.diagonal(hessian), np.finfo(np.float64).tiny))
    even = hessian * np.outer(scale, scale)
    _, solved, failed = lapack.dposv(even, gradient * scale, lower=1)
    if failed:
        values, vectors = np.linalg.eigh(even)
        kept = values > 1e-14 * values[-1]
        solved = vectors[:, kept] @ ((vectors[:, kept].T @ (gradient * scale)) / values[kept])
    return np.asarray(solved * scale)


def _separates(problem: _Problem, fold: int, direction: Array, slack: float) -> bool:
    """Tell whether moving along a direction raises every row's likelihood for ever."""
    lowest, highest, top = np.inf, -np.inf, 0.0
    for _, start, stop in problem.rows.without(fold):
        y, w = problem.rows.y[start:stop], problem.rows.weights
        moved = problem.design(start, stop) @ direction[1:] + direction[0]
        present = np.ones(len(y), dtype=bool) if w is None else w[start:stop] > 0
        lowest = min(lowest, float(np.min(moved, where=present & (y > 0), initial=np.inf)))
        highest = max(highest, float(np.max(moved, where=present & (y < 1), initial=-np.inf)))
        top = max(top, float(np.max(np.abs(moved), where=present, initial=0.0)))
    return top > 0.1 and lowest >= -slack * top and highest <= slack * top


def _polish(problem: _Problem, start: Array, pieces: _Pieces, tol: float) -> tuple[Array, Array, Array]:
    """Move from the full solution to each fold's own: (thetas, passes, whether settled)."""
    folds = problem.rows.folds
    gradients, hessians = (problem.rows.all_training(piece) for piece in pieces)
    passes, settled = np.zeros(folds, dtype=int), np.zeros(folds, dtype=bool)
    inverses = _inverses(hessians)
    thetas = start + _times(inverses, gradients)
    before, active = problem.size(thetas - start), np.arange(folds)
    for _ in range(POLISHES):
        steps = _times(inverses[active], _gradients(problem, thetas[active], active))
        thetas[active] += steps
        passes[active] += 1
        size = problem.size(steps)
        ratio = size / np.maximum(before, np.finfo(np.float64).tiny)
        done = (2 * size * ratio <= tol) & (ratio <= 0.5) | (size <= 1e-9) & (ratio > 0.5)
        settled[active[done]] = True
        going = ~done & (ratio <= 0.5)
        active, before = active[going], size[going]
        if not active.size:
            break
    return thetas, passes, settled


def _inverses(hessians: Array) -> Array:
    """Invert each Hessian on equilibrated columns; one that is singular gets NaN, and its fold never settles."""
    scale = 1.0 / np.sqrt(np.maximum(np.einsum("kii->ki", hessians), np.finfo(np.float64).tiny))
    outer = scale[:, :, None] * scale[:, None, :]
    try:
        return np.asarray(np.linalg.inv(hessians * outer) * outer)
    except np.linalg.LinAlgError:
        return np.full_like(hessians, np.nan)


def _times(matrices: Array, vectors: Array) -> Array:
    """Multiply each matrix by its vector."""
    return np.asarray((matrices @ vectors[:, :, None])[:, :, 0])


def _gradients(problem: _Problem, thetas: Array, folds: npt.NDArray[np.intp]) -> Array:
    """Return the gradient of each listed fold's own likelihood at its own coefficients, in one pass."""
    rows, total = problem.rows, np.zeros_like(thetas)
    slopes, intercepts = -thetas[:, 1:], thetas[:, :1]
    with np.errstate(over="ignore"):
        for part, start, stop in rows.blocks:
            Z = problem.design(start, stop)
            residual = slopes @ Z.T
            residual -= intercepts
            np.exp(residual, out=residual)
            residual += 1.0
            np.reciprocal(residual, out=residual)
            np.subtract(rows.y[start:stop], residual, out=residual)
            if rows.weights is not None:
                residual *= rows.weights[start:stop]
            if not rows.in_sample:
                residual[folds == part] = 0.0
            total[:, 0] += residual.sum(axis=1)
            total[:, 1:] += residual @ Z
    return total
