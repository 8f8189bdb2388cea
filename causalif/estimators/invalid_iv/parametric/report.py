"""From the solved stack back to the units of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from causalif._validate import Array
from causalif.engine.parametric.index_stack import IndexStack
from causalif.engine.parametric.mestimation import scaled_std_error
from causalif.estimators.invalid_iv.parametric.problem import Problem
from causalif.estimators.invalid_iv.parametric.result import ParametricFit, Target
from causalif.estimators.invalid_iv.parametric.stages import FittedIndex
from causalif.estimators.invalid_iv.parametric.strength import floored_shift


def report(
    problem: Problem,
    stack: IndexStack,
    fitted: Sequence[FittedIndex],
    shift: Target,
    v1: Array,
    v0: Array,
    tests: Mapping[str, Target],
    silent: int | None,
    clipped: int,
    floored: int,
) -> ParametricFit:
    """Undo the working units and gather the result."""
    ate = Target(*stack.target("ate")).times(problem.unit)
    plain = Target(*stack.target("mean_beta")).times(problem.unit)
    phi = stack.row("ate") * problem.unit
    return ParametricFit(
        theta=ate.value,
        influence=ate.influence,
        theta_reg=plain.value,
        influence_reg=plain.influence,
        naive_se=scaled_std_error(problem.w * (phi - ate.value)),
        nuisances=_nuisance_frame(problem, stack, v1, v0, silent),
        phi=phi,
        D=(v1 - v0) * problem.scale_a**2,
        D_used=floored_shift(v1 - v0, np.asarray(shift.value), problem.floor) * problem.scale_a**2,
        coefficients=_coefficients(problem, stack, fitted),
        shift=shift.times(problem.scale_a**2),
        delta_g=tests.get("delta_g"),
        rho=tests.get("rho"),
        one_sided=silent,
        clipped=clipped,
        floored=floored,
        formulas={index.block: index.basis.design.formula for index in fitted},
        first_step=lambda factors: stack.first_step("ate", factors) * problem.unit,
        findings=tuple(problem.findings),
    )


def _nuisance_frame(problem: Problem, stack: IndexStack, v1: Array, v0: Array, silent: int | None) -> pd.DataFrame:
    c = {channel.name: channel.value for channel in stack.channels}
    pi = np.clip(c["pi"], problem.clip, 1.0 - problem.clip)
    if silent is not None:
        nothing, arm = np.full(len(pi), np.nan), 1 - silent
        fixed = problem.a[(problem.z == bool(silent)) & (problem.w > 0)][0]
        c |= {f"mu{arm}": c["mu"], f"mu{silent}": np.full(len(pi), fixed), f"g{arm}": c["g"], f"g{silent}": nothing}
        c["rho"] = np.zeros(len(pi))
    made = {"pi": pi} | {name: c[name] * problem.scale_a for name in ("mu0", "mu1")}
    beta, g = c["beta"] * problem.unit, {z: c[f"g{z}"] * problem.scale_y + problem.centre_y for z in (0, 1)}
    made |= {f"m{z}": g[z] + beta * made[f"mu{z}"] for z in (0, 1)}
    made |= {"V0": v0 * problem.scale_a**2, "V1": v1 * problem.scale_a**2, "beta": beta}
    made |= {"rho": c["rho"] * problem.scale_y * problem.scale_a, "g0": g[0], "g1": g[1]}
    return pd.DataFrame(made, index=problem.frame.index)


def _coefficients(problem: Problem, stack: IndexStack, fitted: Sequence[FittedIndex]) -> pd.DataFrame:
    scale_a, scale_y = problem.scale_a, problem.scale_y
    units = {"treatment": scale_a, "effect": problem.unit, "confounding": scale_a * scale_y, "outcome": scale_y}
    tables = []
    for index in fitted:
        unit = units.get(index.block, 1.0)
        estimate = index.basis.transform @ index.theta * unit
        influence = stack.parameter_influence[:, stack.block(index.block)] @ index.basis.transform.T * unit
        if index.block == "outcome" and "Intercept" in index.basis.columns:
            estimate[index.basis.columns.index("Intercept")] += problem.centre_y
        errors = [scaled_std_error(column) for column in influence.T]
        columns = {"nuisance": index.block, "term": index.basis.columns, "estimate": estimate, "std_error": errors}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)
