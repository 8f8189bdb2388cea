"""Effect, confounding and baseline where treatment varies in both arms of the instrument."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from causalif._validate import Array
from causalif.engine.parametric.formulas import Basis
from causalif.engine.parametric.index_stack import Channel, ComplexArray, IndexStack, RowFunctions
from causalif.engine.parametric.mestimation import checked_condition
from causalif.estimators.invalid_iv.parametric.problem import Problem
from causalif.estimators.invalid_iv.parametric.report import report
from causalif.estimators.invalid_iv.parametric.result import ParametricFit, Target
from causalif.estimators.invalid_iv.parametric.stages import (
    FittedIndex,
    Rows,
    fit_logit,
    mean_channel,
    observed,
    pick,
    treatment_channels,
    treatment_rows,
    variances,
)
from causalif.estimators.invalid_iv.parametric.strength import (
    check_shift,
    clipped_at,
    count_clipped,
    floored_shift,
    tell_nearly_one_sided,
)


def full_rows(problem: Problem) -> RowFunctions:
    """All residuals of the stack and the uncentred scores, as analytic functions of the channels."""
    first = treatment_rows(problem)
    z, a, y = problem.z, problem.a, problem.y

    def rows(c: Rows) -> dict[str, ComplexArray]:
        made = dict(first(c))
        mu, g = pick(z, c["mu1"], c["mu0"]), pick(z, c["g1"], c["g0"])
        v1, v0 = variances(c, problem.binary)
        d = floored_shift(v1 - v0, c["shift"], problem.floor)
        p = clipped_at(c["pi"], problem.clip)
        over_f = pick(z, 1.0 / p, -1.0 / (1.0 - p))  # (2Z-1)/f
        e = y - c["beta"] * a - g
        r = (a - mu) * e - c["rho"]
        made |= {"instrument": z - c["pi"], "effect": (z - c["pi"]) * r, "confounding": r, "outcome": e}
        made["ate"] = c["beta"] + over_f / d * r
        made["mean_beta"] = c["beta"]
        made["delta_g"] = c["g1"] - c["g0"] + over_f * e - (c["mu1"] - c["mu0"]) * over_f / d * r
        made["mean_rho"] = c["rho"] + r / d * pick(z, -v0 / p, v1 / (1.0 - p))
        return made

    return rows


def _solve_effect(problem: Problem, bases: Mapping[str, Basis], pi: Array, mu: Array) -> list[FittedIndex]:
    """Solve U_beta, U_rho, U_g, which are jointly linear in the coefficients of beta, rho and g."""
    b, r, g = (bases[name].matrix(problem.frame) for name in ("effect", "confounding", "outcome"))
    residual, n = (problem.a - mu)[:, None], len(mu)
    left = np.hstack([residual * problem.a[:, None] * b, r, residual * g])
    left_g = np.hstack([problem.a[:, None] * b, np.zeros_like(r), g])
    tests = np.hstack([b * (problem.z - pi)[:, None], r]) * problem.w[:, None]
    test_g = g * problem.w[:, None]
    matrix = np.vstack([tests.T @ left, test_g.T @ left_g]) / n
    right = np.concatenate([tests.T @ (residual[:, 0] * problem.y), test_g.T @ problem.y]) / n
    checked_condition(
        matrix,
        "The data cannot tell effect, confounding and baseline apart with these formulas: the instrument shifts the "
        "variance of treatment too little for the terms of 'effect', or terms repeat each other. Use fewer terms in "
        "'effect'",
    )
    solved = np.linalg.solve(matrix, right)
    cut = np.cumsum([b.shape[1], r.shape[1]])
    parts = zip(("effect", "confounding", "outcome"), np.split(solved, cut), strict=True)
    return [FittedIndex(name, bases[name], part) for name, part in parts]


def fit_both_arms(problem: Problem) -> ParametricFit:
    """Fit every model where treatment varies in both arms of the instrument."""
    fitted, channels = treatment_channels(problem)
    v1, v0 = (np.real(v) for v in variances(_complex(channels), problem.binary))
    channels["shift"] = mean_channel("shift", v1 - v0, problem.w)
    equations = {index.block: index.basis.matrix(problem.frame) for index in fitted}
    equations["shift"] = channels["shift"].design
    first = IndexStack(equations, tuple(channels.values()), treatment_rows(problem), problem.w)
    shift = Target(float(channels["shift"].value[0]), first.parameter_influence[:, -1])
    mu1, mu0 = channels["mu1"].value, channels["mu0"].value
    floored = check_shift(problem, v1 - v0, shift, mu1, mu0, float(np.max(v1 + v0)))
    tell_nearly_one_sided(problem, v1, v0)
    instrument = fit_logit(problem, "instrument", problem.z.astype(float), problem.w)
    channels["pi"] = instrument.channel("pi", problem.frame, "logit")
    bases = {name: problem.basis(name, problem.w) for name in ("effect", "confounding", "outcome")}
    last = _solve_effect(problem, bases, channels["pi"].value, observed(problem, mu1, mu0))
    channels["beta"] = last[0].channel("beta", problem.frame)
    channels["rho"] = last[1].channel("rho", problem.frame)
    channels |= {f"g{arm}": last[2].channel(f"g{arm}", problem.at(arm)) for arm in (1, 0)}
    fitted = [instrument, *fitted, *last]
    equations = {index.block: index.basis.matrix(problem.frame) for index in fitted} | {"shift": equations["shift"]}
    stack = IndexStack(equations, tuple(channels.values()), full_rows(problem), problem.w)
    tests = {
        "delta_g": Target(*stack.target("delta_g")).times(problem.scale_y),
        "rho": Target(*stack.target("mean_rho")).times(problem.scale_y * problem.scale_a),
    }
    clipped = count_clipped(problem, channels["pi"].value)
    return report(problem, stack, fitted, shift, v1, v0, tests, None, clipped, floored)


def _complex(channels: Mapping[str, Channel]) -> dict[str, ComplexArray]:
    return {name: channel.value.astype(complex) for name, channel in channels.items()}
