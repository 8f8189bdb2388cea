import numpy as np
import pytest

from causalif._errors import InputError
from causalif.valuation.influence import Sums
from causalif.valuation.weighting import scales


def sums(m=10):
    rng = np.random.default_rng(0)
    return Sums(*(rng.uniform(1, 2, size=n) for n in (8, 8, 8, m, m)), at_zero=1.0)


def test_reference_units():
    s, rho = sums(), np.arange(10.0)
    a, b = scales("reference", s, rho)
    assert a == pytest.approx(0.5 / s.reference_gap.std())
    assert b == pytest.approx(2 / rho.std())
    assert scales("reference", s, None) == (a, 0.0)


def test_published_and_given_numbers():
    # value = −0.97 g − 0.03 |r|, and the influence on −a MMD² is −2 a (g − ḡ)
    assert scales("paper", sums(), np.ones(10)) == pytest.approx((0.485, 0.03))
    assert scales((2, 3), sums(), np.ones(10)) == (2.0, 3.0)
    assert scales({"label": 4}, sums(), np.ones(10)) == (0.0, 4.0)
    assert scales((2, 3), sums(), None) == (2.0, 0.0)


def test_references_that_say_nothing_of_the_spread():
    with pytest.raises(InputError, match="label component is constant"):
        scales("reference", sums(), np.ones(10))
    with pytest.raises(InputError, match="at least 5 reference rows"):
        scales("reference", sums(4), np.arange(4.0))
