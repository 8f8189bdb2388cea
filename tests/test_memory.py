"""Peak memory of the fast linear path, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")

SCRIPT = """
import sys, time
import numpy as np, pandas as pd
import causalif as ci
from causalif.estimators.ate import ATE

def peak():
    # Not `ru_maxrss`, which starts at that of the parent process.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / 1e6

warm = ci.datasets.simulate_confounded(200).data
ATE(outcome="y", treatment="a", adjust=["x1"], learners="linear").fit(warm)
empty, n, p = peak(), int(sys.argv[1]), 20
rng = np.random.default_rng(0)
frame = pd.DataFrame(rng.standard_normal((n, p)), columns=[f"x{j}" for j in range(p)])
a = rng.uniform(size=n) < 1 / (1 + np.exp(-0.5 * frame["x0"]))
frame["a"] = a.astype(np.int64)
frame["y"] = frame["x0"] + a + rng.standard_normal(n)
data = peak()
start = time.process_time()
fit = ATE(outcome="y", treatment="a", adjust=[f"x{j}" for j in range(p)], learners="linear").fit(frame)
seconds = time.process_time() - start
assert abs(fit.params["ATE"] - 1) < 5 * fit.std_errors["ATE"]
print(empty, data, peak(), seconds)
"""


def measured(n: int) -> tuple[float, float, float, float]:
    """Peak megabytes before data, with data, after the fit; CPU seconds of the fit."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(n)], capture_output=True, text=True, check=True)
    empty, data, peak, seconds = (float(number) for number in done.stdout.split())
    return empty, data, peak, seconds


def test_linear_path_needs_few_copies_of_the_data() -> None:
    n = 200_000
    empty, _, peak, _ = measured(n)
    table = n * 22 * 8 / 1e6
    assert peak - empty < 5 * table + 60


@pytest.mark.slow
def test_a_million_rows_and_twenty_covariates_below_one_and_a_half_gigabytes() -> None:
    empty, data, peak, seconds = measured(1_000_000)
    print(f"peak {peak:.0f} MB ({empty:.0f} MB without data, {data:.0f} MB with), {seconds:.1f} CPU seconds")
    assert peak < 1_500
    assert seconds < 60
