"""One-sided non-compliance: treatment varies within one arm of the instrument only."""

from __future__ import annotations

import numpy as np

from causalif._errors import IdentificationWarning
from causalif._validate import Array
from causalif.engine.parametric.index_stack import ComplexArray, IndexStack, RowFunctions
from causalif.engine.parametric.mestimation import checked_condition
from causalif.estimators.invalid_iv.parametric.problem import Problem
from causalif.estimators.invalid_iv.parametric.report import report
from causalif.estimators.invalid_iv.parametric.result import ParametricFit, Target
from causalif.estimators.invalid_iv.parametric.stages import (
    FittedIndex,
    Rows,
    fit_logit,
    fit_mean,
    fit_variance,
    mean_channel,
)
from causalif.estimators.invalid_iv.parametric.strength import (
    check_shift,
    clipped_at,
    collapse_message,
    count_clipped,
    floored_shift,
)


def _arm_rows(problem: Problem, arm: int) -> RowFunctions:
    """Residuals and scores when treatment varies only within one arm, where rho = 0 and beta = C_z / V_z."""
    z, a, y, inside = problem.z, problem.a, problem.y, (problem.z == bool(arm)).astype(float)

    def rows(c: Rows) -> dict[str, ComplexArray]:
        v = c["mu"] * (1.0 - c["mu"]) if problem.binary else c["V"]
        p = clipped_at(c["pi"], problem.clip)
        e = y - c["beta"] * a - c["g"]
        made = {"instrument": z - c["pi"], "treatment": inside * (a - c["mu"]), "shift": v - c["shift"]}
        made |= {"effect": inside * a * e, "outcome": inside * e, "mean_beta": c["beta"]}
        if not problem.binary:
            made["variance"] = inside * ((a - c["mu"]) ** 2 / v - 1.0)
        over_f = inside / (p if arm else 1.0 - p)
        made["ate"] = c["beta"] + over_f * (a - c["mu"]) / floored_shift(v, c["shift"], problem.floor) * e
        return made

    return rows


def _solve_arm(problem: Problem, weights: Array) -> list[FittedIndex]:
    """Least squares of Y on (A B(X), G(X)) within the arm; by default B = G, a line in each cell of treatment."""
    design = problem.design("outcome")
    g = problem.basis("outcome", weights, design=design, tell=False)
    b = problem.basis("effect", weights, tell=False) if "effect" in problem.given else g
    columns = np.hstack([problem.a[:, None] * b.matrix(problem.frame), g.matrix(problem.frame)])
    matrix = (columns * weights[:, None]).T @ columns / weights.sum()
    checked_condition(
        matrix, "Some cell of treatment within the arm has too few rows for the formula for 'outcome'. Use fewer terms"
    )
    solved = np.linalg.solve(matrix, (weights * problem.y) @ columns / weights.sum())
    cut = len(b.kept)
    return [FittedIndex("effect", b, solved[:cut]), FittedIndex("outcome", g, solved[cut:])]


def fit_one_arm(problem: Problem, silent: int) -> ParametricFit:
    """Fit within the one arm in which treatment varies."""
    problem.findings.append(IdentificationWarning(collapse_message(silent, "never")))
    arm = 1 - silent
    weights, table = problem.w * (problem.z == bool(arm)), problem.at(arm)
    instrument = fit_logit(problem, "instrument", problem.z.astype(float), problem.w)
    mean = fit_mean(problem, weights, tell=False)
    channels = {
        "pi": instrument.channel("pi", problem.frame, "logit"),
        "mu": mean.channel("mu", table, "logit" if problem.binary else "identity"),
    }
    fitted = [instrument, mean]
    if not problem.binary:
        fitted.append(fit_variance(problem, (problem.a - channels["mu"].value) ** 2, weights, tell=False))
        channels["V"] = fitted[-1].channel("V", table, "log", problem.scale_a**-2)
    mu = channels["mu"].value
    v = mu * (1.0 - mu) if problem.binary else channels["V"].value
    channels["shift"] = mean_channel("shift", v, problem.w)
    effect, outcome = _solve_arm(problem, weights)
    channels |= {"beta": effect.channel("beta", table), "g": outcome.channel("g", table)}
    fitted += [effect, outcome]
    equations = {index.block: index.basis.matrix(table) for index in fitted} | {"shift": channels["shift"].design}
    equations["instrument"] = channels["pi"].design
    stack = IndexStack(equations, tuple(channels.values()), _arm_rows(problem, arm), problem.w)
    shift = Target(float(channels["shift"].value[0]), stack.parameter_influence[:, stack.block("shift")][:, 0])
    floored = check_shift(problem, v, shift, mu, mu, float(v.max()))
    sign, zero = (1.0 if arm else -1.0), np.zeros_like(v)
    clipped = count_clipped(problem, channels["pi"].value)
    v1, v0 = (v, zero) if arm else (zero, v)
    return report(problem, stack, fitted, shift.times(sign), v1, v0, {}, silent, clipped, floored)
