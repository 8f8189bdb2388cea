"""The sensitivity slopes against exact biases, on laws with a latent confounder whose truth can be summed."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from causalif import InvalidIVATE
from causalif._errors import InputError
from causalif.datasets import simulate_invalid_iv_binary
from causalif.engine.estimand import FiniteLaw
from causalif.estimands.invalid_iv import InvalidIVEffect, Roles, SensitivitySlopes

ROLES = Roles("y", "a", "z", ("x",), binary=True)


def observed_law(uptake, outcome) -> FiniteLaw:
    """The law of (x, z, a, y) when u = ±1 is hidden: P(A=1 | z, x, u) and y are functions."""
    mass: dict[tuple[float, ...], float] = {}
    for x, z, u, a in itertools.product((0.0, 1.0), (0.0, 1.0), (-1.0, 1.0), (0.0, 1.0)):
        p_z = 0.4 + 0.2 * x
        p_a = uptake(z, x, u)
        p = 0.5 * (p_z if z else 1 - p_z) * 0.5 * (p_a if a else 1 - p_a)
        key = (x, z, a, round(outcome(a, z, x, u), 12))
        mass[key] = mass.get(key, 0.0) + p
    points = pd.DataFrame(list(mass), columns=["x", "z", "a", "y"])
    return FiniteLaw(points, np.array(list(mass.values())))


def base_uptake(z, x, u):
    """Additive in u, a variance shift for both x."""
    return 0.15 + 0.25 * z + 0.05 * x + 0.06 * u


def bias(law: FiniteLaw, truth: float) -> float:
    return float(InvalidIVEffect(ROLES).plug_in(law)[0] - truth)


def slopes(law: FiniteLaw) -> dict[str, float]:
    found = SensitivitySlopes(ROLES)
    return dict(zip(found.labels, found.plug_in(law), strict=True))


def test_no_violation_no_bias():
    law = observed_law(base_uptake, lambda a, z, x, u: (1 + x) * a + 2 * z + x + 1.3 * u)
    assert abs(bias(law, 1.5)) < 1e-12


def test_direct_effect_by_treatment_is_exact():
    d = 0.4
    law = observed_law(base_uptake, lambda a, z, x, u: (1 + x) * a + 2 * z + d * z * a + 1.3 * u)
    assert np.isclose(bias(law, 1.5), d * slopes(law)["direct effect by treatment"], atol=1e-12)


def test_instrument_by_confounder_is_exact():
    def uptake(z, x, u):
        return base_uptake(z, x, u) + 0.03 * z * u

    law = observed_law(uptake, lambda a, z, x, u: (1 + x) * a + 2 * z + 1.3 * u)
    covariance = 0.03 * 1.3  # cov(0.03 u, 1.3 u) with var(u) = 1
    assert np.isclose(bias(law, 1.5), covariance * slopes(law)["instrument by confounder"], atol=1e-12)


def test_uptake_by_effect_is_exact():
    law = observed_law(base_uptake, lambda a, z, x, u: (1 + x + 0.5 * u) * a + 2 * z + 1.3 * u)
    covariance = 0.06 * 0.5  # cov(0.06 u, 0.5 u)
    assert np.isclose(bias(law, 1.5), covariance * slopes(law)["uptake by effect"], atol=1e-12)


@pytest.fixture(scope="module")
def fit():
    data = simulate_invalid_iv_binary(8_000, random_state=3).data
    return InvalidIVATE(outcome="y", treatment="a", instrument="z", adjust=["x1", "x2"], learners="linear").fit(data)


def test_table_is_linear_in_the_size_and_its_errors_are_joint(fit):
    found = fit.sensitivity(sizes=[-1.0, 0.0, 2.0])
    frame = found.frame.set_index("size")
    assert np.isclose(frame.loc[0.0, "estimate"], fit.params["ATE"])
    assert np.isclose(frame.loc[0.0, "std_error"], fit.std_errors["ATE"])
    slope = fit.parts["direct effect by treatment"]
    assert np.isclose(frame.loc[2.0, "estimate"], fit.params["ATE"] - 2 * slope.values[0])
    psi = fit.parts["ATE"].influence_values[:, 0] - 2 * slope.influence_values[:, 0]
    assert np.isclose(frame.loc[2.0, "std_error"], np.sqrt(np.sum(psi**2)) / len(psi))


def test_tipping_points(fit):
    found = fit.sensitivity()
    at_zero = fit.sensitivity(sizes=[found.tipping_estimate]).frame.iloc[0]
    assert abs(at_zero["estimate"]) < 1e-9
    edge = fit.sensitivity(sizes=[found.tipping_interval]).frame.iloc[0]
    assert min(abs(edge["conf_low"]), abs(edge["conf_high"])) < 1e-6
    assert 0 < found.tipping_interval < found.tipping_estimate
    assert "interval first contains zero at size" in " ".join(str(found).split())


def test_one_format_for_all_rows(fit):
    found = fit.sensitivity()
    rows = found.summary().rows
    assert len(rows) == len(found.to_frame()) == 13
    for column in range(5):
        assert len({len(row[column].partition(".")[2]) for row in rows}) == 1
    assert not re.search(r"e[+-]\d", str(found))
    middle = [float(cell.replace(",", "")) for cell in rows[6]]
    assert middle[:2] == pytest.approx([0.0, fit.params["ATE"]], abs=1e-4)
    assert repr(found).startswith("Sensitivity(direct effect by treatment: zero at size ")
    assert "<table>" in found._repr_html_()


def test_the_tipping_sentence_knows_its_two_ends(fit):
    found = fit.sensitivity()
    never, always = replace(found, tipping_interval=float("nan")), replace(found, tipping_interval=0.0)
    assert "no size takes zero into its 95% interval" in " ".join(str(never).split())
    assert "contains zero without any violation" in " ".join(str(always).split())


def test_unknown_kind_lists_the_known_ones(fit):
    with pytest.raises(InputError, match="uptake by effect"):
        fit.sensitivity("luck")


def test_plot_returns_axes(fit):
    pytest.importorskip("matplotlib")
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    found = fit.sensitivity()
    assert found.plot(ax=ax) is ax
    marks = {line.get_label().rsplit(":", 1)[0]: line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1}
    assert marks == {"interval reaches zero": found.tipping_interval, "effect is zero": found.tipping_estimate}
    plt.close("all")
