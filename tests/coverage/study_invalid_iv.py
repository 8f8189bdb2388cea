"""Monte Carlo of the parametric invalid-instrument estimator with some of its working models wrong.

    python tests/coverage/study_invalid_iv.py --design B --draws 200

prints, for each set of right models, bias, SD, mean standard errors (sandwich and naive) and coverage of 95%
intervals. Design B is `causalif.datasets.simulate_invalid_iv_binary`; design L has a continuous treatment whose log
variance is linear.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from scipy.special import expit
from threadpoolctl import threadpool_limits

from causalif._errors import CausalifWarning
from causalif.datasets import simulate_invalid_iv_binary
from causalif.estimators.invalid_iv.parametric import ParametricFit, fit_parametric

Formulas = Mapping[str, str]

RIGHT_B = {
    "instrument": "~ x1 + x2",
    "treatment": "~ z + x1 + z:x2",
    "effect": "~ x1",
    "confounding": "~ x1",
    "outcome": "~ z + x1 + x2 + z:x2",
}
WRONG_B = {
    "instrument": "~ I(x2**2)",
    "treatment": "~ z + I(x2**2)",
    "effect": "~ 1",
    "confounding": "~ I(x2**2)",
    "outcome": "~ I(x2**2)",
}
LEGS_B = {
    "all": tuple(RIGHT_B),
    "M1 pi, mu": ("instrument", "treatment"),
    "M2 beta, pi, g": ("effect", "instrument", "outcome"),
    "M3 beta, rho, mu": ("effect", "confounding", "treatment"),
    "M4 beta, rho, g": ("effect", "confounding", "outcome"),
    "beta, pi, mu": ("effect", "instrument", "treatment"),
    "only pi": ("instrument",),
    "only mu": ("treatment",),
    "none": (),
}
RIGHT_L = {
    "instrument": "~ x1 + x2",
    "treatment": "~ z + x1 + x2",
    "variance": "~ z + x1",
    "effect": "~ x1",
    "confounding": "~ x1",
    "outcome": "~ z + x1 + x2 + z:x2",
}
WRONG_L = {
    "instrument": "~ I(x2**2)",
    "treatment": "~ z + I(x2**2)",
    "variance": "~ z + I(x2**2)",
    "effect": "~ 1",
    "confounding": "~ I(x2**2)",
    "outcome": "~ I(x2**2)",
}
LEGS_L = {
    "all": tuple(RIGHT_L),
    "M1 pi, mu, V": ("instrument", "treatment", "variance"),
    "M2 beta, pi, g": LEGS_B["M2 beta, pi, g"],
    "M3 beta, rho, mu": LEGS_B["M3 beta, rho, mu"],
    "M4 beta, rho, g": LEGS_B["M4 beta, rho, g"],
    "M5 beta, pi, mu": LEGS_B["beta, pi, mu"],
    "pi, mu only": ("instrument", "treatment"),
    "none": (),
}


def design_b(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Binary treatment, exclusion violated; the average effect is 1."""
    return simulate_invalid_iv_binary(n, random_state=rng).data


def design_l(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Continuous treatment with log V = .2 + z + .4 x1, confounding rho = .6 (2 + x1), average effect 1."""
    x1, x2 = rng.uniform(-1, 1, (2, n))
    z = (rng.random(n) < expit(0.2 + 0.8 * x1 - 0.5 * x2)).astype(float)
    variance = np.exp(0.2 + z + 0.4 * x1)
    u = rng.normal(size=n)
    # A's residual is u plus noise whose variance makes up the total; cov(residual, u) = 0.6 whatever z
    a = 0.5 * z + x1 - 0.5 * x2 + 0.6 * u + np.sqrt(variance - 0.36) * rng.normal(size=n)
    direct = 1 + 2 * z + x1 + 0.5 * x2 + z * x2
    y = (1 + x1) * a + direct + (2 + x1) * u + rng.normal(0, 0.5, n)
    return pd.DataFrame({"x1": x1, "x2": x2, "z": z, "a": a, "y": y})


Draw = Callable[[int, np.random.Generator], pd.DataFrame]
DESIGNS: dict[str, tuple[Draw, Formulas, Formulas, Mapping[str, tuple[str, ...]], bool]] = {
    "B": (design_b, RIGHT_B, WRONG_B, LEGS_B, True),
    "L": (design_l, RIGHT_L, WRONG_L, LEGS_L, False),
}


def formulas_of(design: str, leg: str) -> dict[str, str]:
    """Right formulas for the nuisances of a leg, wrong ones for the others."""
    _, right, wrong, legs, _ = DESIGNS[design]
    return {name: (right if name in legs[leg] else wrong)[name] for name in right}


def fit_leg(design: str, leg: str, table: pd.DataFrame) -> ParametricFit:
    """Fit one leg on one table, with the warnings that wrong models earn kept quiet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalifWarning)
        binary = DESIGNS[design][4]
        return fit_parametric(table, "y", "a", "z", ["x1", "x2"], formulas_of(design, leg), binary=binary)


def study(design: str, draws: int, n: int = 10_000, random_state: int = 0) -> pd.DataFrame:
    """Return one row per leg; every leg sees the same draws."""
    rng = np.random.default_rng(random_state)
    records = []
    for _ in range(draws):
        table = DESIGNS[design][0](n, rng)
        for leg in DESIGNS[design][3]:
            fit = fit_leg(design, leg, table)
            records.append((leg, fit.theta, fit.std_error, fit.naive_se))
    rows = pd.DataFrame(records, columns=["leg", "estimate", "sandwich", "naive"])
    return pd.DataFrame({leg: _summary(part) for leg, part in rows.groupby("leg", sort=False)}).T


def _summary(part: pd.DataFrame, truth: float = 1.0, critical: float = 1.959964) -> dict[str, float]:
    off = (part["estimate"] - truth).abs()
    return {
        "bias": part["estimate"].mean() - truth,
        "SD": part["estimate"].std(),
        "SE sandwich": part["sandwich"].mean(),
        "SE naive": part["naive"].mean(),
        "cover sandwich": (off <= critical * part["sandwich"]).mean(),
        "cover naive": (off <= critical * part["naive"]).mean(),
    }


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--design", choices=sorted(DESIGNS), default="B")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--random-state", type=int, default=0)
    chosen = parser.parse_args()
    start = time.perf_counter()
    with threadpool_limits(1):
        table = study(chosen.design, chosen.draws, chosen.rows, chosen.random_state)
    print(f"design {chosen.design}, n = {chosen.rows:,}, {chosen.draws} draws, {time.perf_counter() - start:.0f} s")
    print(table.to_string(float_format=lambda value: f"{value:.3f}"))


if __name__ == "__main__":
    main()
