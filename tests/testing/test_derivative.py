"""The check of estimands that lean on no nuisance, and what it says of a column that is not there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from causalif.engine.nuisance import Mean
from causalif.errors import InputError
from causalif.estimands.counterfactual import CounterfactualMean
from causalif.testing import check_estimand
from causalif.testing.derivative import random_law, saturated, spoil


@dataclass(frozen=True)
class PlainMean:
    """The mean of a column."""

    outcome: str = "y"
    read: str = "y"

    labels = ("E[Y]",)
    robustness = (frozenset(),)

    def nuisances(self):
        return {}

    def eif(self, rows, eta):
        return rows[self.read]

    def plug_in(self, law):
        return np.array([law.expect(law.table(())[self.read])])


def test_a_mean_without_nuisances_passes():
    assert check_estimand(PlainMean()).derivative < 1e-8


def test_a_misspelt_column_is_named():
    with pytest.raises(InputError, match="Column 'Y' is not in this table, which has 'y'"):
        check_estimand(PlainMean(read="Y"))


# --- what a failure says ---------------------------------------------------------------------------------------------

ROLES = ("y", "a", ("x",), 1.0)


def failure(estimand):
    with pytest.raises(AssertionError) as caught:
        check_estimand(estimand)
    return str(caught.value)


class NoCorrection(CounterfactualMean):
    """The regression alone, which forgets the term that makes it an influence function."""

    def eif(self, rows, eta):
        return eta["mu1"](rows)


def test_a_wrong_influence_function_is_told_its_worst_point_and_both_numbers():
    law, right, wrong = random_law(CounterfactualMean(*ROLES)), CounterfactualMean(*ROLES), NoCorrection(*ROLES)
    rows, eta, theta = law.table(("x",)), saturated(right, law), right.plug_in(law)
    found, expected = (one.eif(rows, eta) - theta for one in (wrong, right))
    worst = int(np.argmax(np.abs(found - expected) / (1 + np.abs(found))))
    cell = ", ".join(f"{name} = {value:g}" for name, value in law.points.iloc[worst].items())
    said = failure(wrong)
    assert f"'φ − θ = pathwise derivative' fails, most of all for 'E[Y(a)]' at {cell}, a point of prob" in said
    left, right = said.partition("φ − θ is ")[2].partition(". L")[0].split(" and the derivative towards this point is ")
    np.testing.assert_allclose([float(left), float(right)], [found[worst], expected[worst]], rtol=1e-6)


class OtherRows(CounterfactualMean):
    """Takes an average over the rows at hand."""

    def eif(self, rows, eta):
        return super().eif(rows, eta) + 1e-3 * (rows["x"].mean() - 1.0)


def test_dependence_on_other_rows_is_told_both_numbers():
    assert "for 'E[Y(a)]' at x = 0, a = " in failure(OtherRows(*ROLES))
    assert "φ among the first 7 rows is" in failure(OtherRows(*ROLES))


@dataclass(frozen=True)
class MeanSquare(PlainMean):
    """E[E(Y | X)²], whose mean is not kept when the regression is wrong."""

    robustness = (frozenset({"mu"}), frozenset())

    def nuisances(self):
        return {"mu": Mean("y", ("x",))}

    def eif(self, rows, eta):
        mu = eta["mu"](rows)
        return mu**2 + 2 * mu * (rows["y"] - mu)

    def plug_in(self, law):
        return np.array([law.expect(law.conditional_mean(law.table(("x",))["y"], ("x",)) ** 2)])


def test_a_false_claim_of_robustness_is_told_the_nuisance_and_both_numbers():
    law = random_law(MeanSquare())
    rows, mu = law.table(("x",)), saturated(MeanSquare(), law)["mu"]
    lost = float(law.expect((spoil(mu, 0)(rows) - mu(rows)) ** 2))
    theta = MeanSquare().plug_in(law)[0]
    said = failure(MeanSquare())
    assert f"[] right' fails, most of all for 'E[Y]' with 'mu' spoiled ('mu' alone moves E φ by {lost:.3g})" in said
    assert f"E φ is {theta - lost:.8g} and θ is {theta:.8g}." in said


class OverClaimed(CounterfactualMean):
    """Declares that no nuisance is needed, where it takes both to be wrong."""

    robustness = (frozenset(),)


def test_where_no_nuisance_fails_alone_all_are_named():
    assert "with 'pi1', 'mu1' spoiled (none alone moves E φ): E φ is 0." in failure(OverClaimed(*ROLES))
