"""What the data say about the conditions behind the estimate, and when to refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causalif._errors import IdentificationWarning, WeakIdentificationError, WeakIdentificationWarning, tell
from causalif._validate import Array
from causalif.estimators._concentration import judged_influence
from causalif.estimators._least_squares import project
from causalif.estimators.invalid_iv.pieces import Pieces
from causalif.estimators.invalid_iv.robust import describe, robust_set
from causalif.results.covariance import moments
from causalif.results.estimate import Estimate
from causalif.table import Table

WEAK_T = 2.0
FLOORED_WARN, FLOORED_REFUSE = 0.05, 0.20
NO_VARIANCE = 1e-3
DOUBTFUL_P = 0.05
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
TESTS = {
    "denominator": "no variance shift (instrument irrelevant)",
    "confounding": "no unmeasured confounding",
    "direct effect of instrument": "exclusion restriction",
}


def silent_arm(table: Table, treatment: str, instrument: str) -> int | None:
    """Return the arm of a binary instrument in which the treatment does not vary, if there is one."""
    used = np.ones(len(table), dtype=bool) if table.weights is None else table.weights > 0
    for arm in (0, 1):
        inside = table[treatment][(table[instrument] == arm) & used]
        if inside.min() == inside.max():
            return arm
    return None


def warn_silent(table: Table, treatment: str, instrument: str, arm: int) -> str:
    """Say that identification has become unconfoundedness within the other arm."""
    used = np.ones(len(table), dtype=bool) if table.weights is None else table.weights > 0
    inside, others = used & (table[instrument] == arm), used & (table[instrument] != arm)
    value = _level(table, treatment, table[treatment][inside][0])
    message = (
        f"All {int(inside.sum()):,} rows with {instrument} = {_level(table, instrument, arm)} have {treatment} "
        f"= {value}: the "
        f"treatment does not vary there. Identification reduces to unconfoundedness among the "
        f"{int(others.sum()):,} rows "
        f"with {instrument} = {_level(table, instrument, 1 - arm)}, and the estimate is not robust to "
        f"unmeasured confounding."
    )
    tell(message, IdentificationWarning)
    return message


def _level(table: Table, name: str, code: float) -> str:
    value = table.levels[name][int(code)] if name in table.levels else code
    return f"{value:g}" if isinstance(value, float) else str(value)


def judge_strength(parts: Estimate, nuisances: pd.DataFrame, binary: bool, policy: str) -> list[str]:
    """Refuse or warn when the instrument hardly shifts the variance of the treatment; return the warnings."""
    t = float(parts.statistics["denominator"])
    floored = nuisances["D"].to_numpy() != nuisances["D_used"].to_numpy()
    share = float(floored.mean())
    problems = []
    if abs(t) < WEAK_T:
        problems.append(f"the instrument hardly shifts the variance of the treatment (t = {t:.2f}, needed: {WEAK_T:g})")
    if share > FLOORED_REFUSE:
        problems.append(f"the variance shift D(X) is near zero or of the other sign for {share:.0%} of the rows")
    if problems:
        interval = describe(robust_set(parts))
        flat = f" {_strong_but_flat(nuisances)}" if binary and _strong_but_flat(nuisances) else ""
        message = (
            f"Weak identification: {' and '.join(problems)}.{flat} A 95% set for the variance-shift-weighted "
            f"effect that "
            f"stays valid is {interval}."
        )
        if policy == "raise":
            raise WeakIdentificationError(
                f"{message} No estimate of the average effect would mean anything; pass "
                f"weak_identification='warn' to see "
                "it all the same, next to robust_set().",
                robust_set(parts),
            )
        tell(message, WeakIdentificationWarning)
        return [message]
    return _floor_warning(share, int(floored.sum()), len(floored), nuisances)


def _floor_warning(share: float, count: int, n: int, nuisances: pd.DataFrame) -> list[str]:
    if share <= FLOORED_WARN:
        return []
    message = (
        f"The variance shift D(X) was kept away from zero in {count:,} of {n:,} rows ({share:.0%}); where the "
        f"effect varies, "
        "this changes the estimand slightly. Compare the trimmed estimate in diagnostics['relevance']."
    )
    signs = np.sign(nuisances["D"])
    if signs.min() < 0 < signs.max():
        message += " D(X) changes sign over the covariates, so it is zero for some of them."
    tell(message, WeakIdentificationWarning)
    return [message]


def _strong_but_flat(nuisances: pd.DataFrame) -> str:
    """Detect μ_0 + μ_1 near 1: a strong ordinary instrument with no variance shift."""
    mu0, mu1 = nuisances["mu0"].to_numpy(), nuisances["mu1"].to_numpy()
    if np.median(np.abs(mu1 - mu0)) > 0.1 and np.median(np.abs(1 - mu0 - mu1)) < 0.1:
        return (
            "The treatment shares in the two arms add up to about one, so their variances agree although the "
            "instrument "
            "moves the mean: strong for two-stage least squares, powerless here."
        )
    return ""


def warn_near_silent(table: Table, instrument: str, nuisances: pd.DataFrame) -> list[str]:
    """Warn if one arm has almost no variance of a binary treatment on most rows."""
    for arm in range(len(table.levels[instrument])):
        if (nuisances[f"V{arm}"] < NO_VARIANCE).mean() > 0.5:
            message = (
                f"The treatment has almost no variance among {instrument} = {_level(table, instrument, arm)}: "
                "identification comes close to unconfoundedness within the rest."
            )
            tell(message, IdentificationWarning)
            return [message]
    return []


def relevance_table(parts: Estimate, pieces: Pieces, weights: Array | None) -> pd.DataFrame:
    """Return quantiles of D, floored share, sign changes, and the estimate among rows that were not floored."""
    d = pieces.nuisances["D"].to_numpy()
    kept = d == pieces.nuisances["D_used"].to_numpy()
    lines = {f"D, quantile {q:g}": float(np.quantile(d, q)) for q in QUANTILES}
    lines["D, mean"] = float(d.mean())
    lines["share with the other sign"] = float((np.sign(d) != np.sign(d.mean())).mean())
    lines["share floored"] = float(1 - kept.mean())
    lines["t of the variance shift"] = float(parts.statistics["denominator"])
    if kept.any():
        values, influence = project(pieces.phi, kept[:, None].astype(float), weights, pieces.first_step)
        lines["effect where not floored"] = float(values[0])
        lines["its standard error"] = float(moments(influence, parts.clusters).std_errors[0])
    return pd.DataFrame({"value": lines})


def joint_relevance(table: Table, score: Array, clusters: npt.NDArray[Any] | None) -> pd.DataFrame:
    """Test E[(Z − π)(R_A² − c(X)) (1, X)] = 0 by a Wald statistic: a shift anywhere along X."""
    x = table.covariates
    x = x / np.abs(x).max(axis=0, initial=1e-300)
    spread = x.std(axis=0)
    basis = _independent(
        np.column_stack([np.ones(len(score)), (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)])
    )
    products = score[:, None] * basis if table.weights is None else (table.weights * score)[:, None] * basis
    labels = tuple(f"direction {j + 1}" for j in range(basis.shape[1]))
    moments = Estimate(products.mean(axis=0), products - products.mean(axis=0), labels, table.index, clusters)
    test = moments.test(list(labels))
    return pd.DataFrame(
        {"statistic": [test.statistic], "df": [test.df], "p_value": [test.p_value]},
        index=["no variance shift anywhere along X"],
    )


def _independent(basis: Array) -> Array:
    """Return orthonormal columns of the same span, fewer where columns are linear combinations of others."""
    values, vectors = np.linalg.eigh(basis.T @ basis / len(basis))
    kept = values > 1e-10 * values[-1]
    return np.asarray(basis @ (vectors[:, kept] / np.sqrt(values[kept])))


def test_table(parts: Estimate) -> pd.DataFrame:
    """Return the tests of relevance, of no confounding and of exclusion, where they exist."""
    known = [term for term in TESTS if term in parts]
    if not known:
        return pd.DataFrame(columns=["estimate", "std_error", "statistic", "p_value"])
    frame = parts[known].to_frame().set_index("term")[["estimate", "std_error", "statistic", "p_value"]]
    return frame.rename(index=TESTS).rename_axis("null hypothesis")


def warn_over_identified(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Warn if more than two instrument levels contradict each other."""
    if "over-identification" not in tables:
        return []
    p = float(tables["over-identification"]["p_value"].iloc[0])
    if p >= DOUBTFUL_P:
        return []
    message = (
        f"The instrument's levels contradict each other (over-identification test: p = {p:.3g}): at least one of the "
        "identifying conditions fails."
    )
    tell(message, IdentificationWarning)
    return [message]


def overlap_table(nuisances: pd.DataFrame, levels: Sequence[Any], instrument: str) -> pd.DataFrame:
    """Return quantiles over rows of the fitted probabilities, means, variances and of their shift."""
    names = {"pi": f"P({instrument} = {levels[1]} | X)", "mu": "E[A | Z, X]", "D": "D"}
    if len(levels) > 2:
        names["D"] = "SD of V over levels"
    for code, level in enumerate(levels):
        names |= {
            f"f{code}": f"P({instrument} = {level} | X)",
            f"mu{code}": f"E[A | Z = {level}, X]",
            f"V{code}": f"var(A | Z = {level}, X)",
        }
    shown = {label: np.quantile(nuisances[name], QUANTILES) for name, label in names.items() if name in nuisances}
    return pd.DataFrame(shown, index=list(QUANTILES)).rename_axis("quantile")


def influence_table(estimate: Estimate) -> tuple[pd.DataFrame, list[str]]:
    """Return how concentrated the effect's influence values are, its winsorised value, and the warnings given."""
    terms = estimate.influence_values[:, :1], estimate.labels[:1]
    table, warned = judged_influence(*terms, estimate.index, estimate.clusters)
    winsorised = float(estimate.values[0] + _winsorised_shift(estimate.influence_values[:, 0]))
    return table.assign(**{"estimate winsorised at 1%": winsorised}), warned


def _winsorised_shift(psi: Array) -> float:
    return float(np.clip(psi, *np.quantile(psi, [0.01, 0.99])).mean())
