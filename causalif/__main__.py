"""``python -m causalif demo`` and ``python -m causalif selfcheck``."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

from causalif._errors import CausalifWarning
from causalif.datasets import simulate_invalid_iv_binary
from causalif.estimators.invalid_iv import InvalidIVATE
from causalif.results.compare import Comparison, compare
from causalif.results.estimate import Estimate
from causalif.testing.selfcheck import known_401k, ols_401k, selfcheck, tsls_401k

PUBLISHED = {"OLS": 13_527.05, "2SLS": 9_418.83}
COVARIATES = ["inc", "age25", "age25sq", "marr", "fsize"]


def main(arguments: list[str] | None = None) -> int:
    """Run one of the commands and return its exit status: 130 after Ctrl-C, as shells have it."""
    parser = argparse.ArgumentParser(prog="python -m causalif", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    shown = commands.add_parser("demo", help="the 401(k) table and a simulated case, with a figure")
    shown.add_argument("--output", type=Path, default=Path("output"), help="folder for the figure (default: output)")
    commands.add_parser("selfcheck", help="compute the pinned numbers on this machine")
    chosen = parser.parse_args(arguments)
    try:
        return demo(chosen.output) if chosen.command == "demo" else int(not selfcheck().ok)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130


def demo(output: Path) -> int:
    """Estimate the 401(k) effect and a simulated one, print both tables, draw them; 1 if a known answer is missed."""
    known = {"OLS": ols_401k(), "2SLS": tsls_401k()}
    missed = _known_answers(known)
    print("\nThe effect of 401(k) participation on net financial assets, in dollars (1991 SIPP, 9,275 households)\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalifWarning)  # the summary repeats it
        real = InvalidIVATE(outcome="nettfa", treatment="p401k", instrument="e401k", adjust=COVARIATES).fit(
            known_401k()
        )
    print(real.summary())
    simulated = simulate_invalid_iv_binary(20_000, random_state=1)
    made = InvalidIVATE(outcome="y", treatment="a", instrument="z", adjust=["x1", "x2"], learners="linear").fit(
        simulated.data
    )
    truth = simulated.truth["ATE"]
    print(
        f"\nA simulated case whose true effect is {truth:g}: treatment is confounded and the instrument acts "
        f"directly on "
        "the outcome\n"
    )
    print(made.summary())
    side_by_side = made.comparators()
    print(side_by_side)
    _draw(compare({**known, "Invalid-IV ATE": real["ATE"]}), side_by_side, truth, output / "demo.png")
    return missed


def _known_answers(found: dict[str, Estimate]) -> int:
    """Print the two published numbers beside ours; return 1 if either is missed by more than half a cent."""
    missed = 0
    for name, estimate in found.items():
        value, error = estimate.params.item(), estimate.std_errors.item()
        met = abs(value - PUBLISHED[name]) <= 0.005
        missed |= not met
        print(
            f"{name:<5} {value:>12,.2f} (std error {error:,.2f})  published {PUBLISHED[name]:>12,.2f}"
            f"  {'reproduced' if met else 'MISSED'}"
        )
    return int(missed)


def _draw(real: Comparison, made: Comparison, truth: float, path: Path) -> None:
    """Write one figure with both comparisons, if matplotlib is installed."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        print("No figure: matplotlib is not installed (pip install 'causalif[plot]').")
        return
    figure, axes = plt.subplots(1, 2, figsize=(13, 4.5), layout="constrained")
    real.plot(ax=axes[0])
    axes[0].set_title("401(k) participation, dollars")
    made.plot(ax=axes[1])
    axes[1].axvline(truth, color="black", linewidth=0.8, linestyle="--")
    axes[1].set_title("Simulated, true effect dashed")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"\nFigure written to {path}")


if __name__ == "__main__":
    sys.exit(main())
