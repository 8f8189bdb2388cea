"""The weighted controlled direct effect keeps its contract on finite laws, and planted wrong scores are caught."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from causalif.engine.estimand import FiniteLaw
from causalif.estimands.counterfactual import AverageEffect, CounterfactualMean
from causalif.estimands.direct_effect import DirectEffect
from causalif.estimands.direct_mean import DirectMean
from causalif.estimands.mediator_law import Cells, Groups, MediatorLaw
from causalif.estimands.sequential_mean import SequentialMean
from causalif.testing import check_estimand
from causalif.testing.derivative import random_law, saturated, spoil

BINARY = Cells("m", ((0.0,), (1.0,)), ("m=0", "m=1"))
THREE = Cells("m", ((0.0,), (1.0,), (2.0,)), ("m=0", "m=1", "m=2"))
RANGE = (-1.0, 2.0)
CONTROL, USERS, FIXED = MediatorLaw(arm=0.0), MediatorLaw(given=(0.3, 0.7)), MediatorLaw(given=(0.0, 1.0))


def arms(mediators=("m",), adjust=("c",), **options) -> DirectEffect:
    one = DirectMean("y", "a", mediators, adjust, 1.0, label="E[Y(1, M)]", **options)
    return DirectEffect(one, replace(one, level=0.0, label="E[Y(0, M)]"))


VARIANTS = {
    "ratio": arms(),
    "ratio, two mediators, two covariates": arms(("m", "m2"), ("c", "d")),
    "ratio, law of the controls": arms(law=CONTROL),
    "ratio, no covariates": arms(adjust=()),
    "ratio, law of the controls, no covariates": arms(adjust=(), law=CONTROL),
    "cells": arms(cells=BINARY),
    "cells, three": arms(cells=THREE),
    "cells, two covariates": arms(adjust=("c", "d"), cells=BINARY),
    "cells, no covariates": arms(adjust=(), cells=BINARY),
    "cells, law of the controls": arms(cells=BINARY, law=CONTROL),
    "cells, user's law": arms(cells=BINARY, law=USERS),
    "cells, fixed": arms(cells=BINARY, law=FIXED),
    "ranges": arms(groups=Groups("g", ("low", "high"))),
    "no mediators": arms(()),
    "least squares": arms(weights_by="riesz"),
    "least squares, two mediators, two covariates": arms(("m", "m2"), ("c", "d"), weights_by="riesz"),
    "least squares, law of the controls": arms(law=CONTROL, weights_by="riesz"),
    "least squares, no covariates": arms(adjust=(), weights_by="riesz"),
    "least squares, cells": arms(cells=THREE, weights_by="riesz"),
    "least squares, cells, law of the controls": arms(cells=BINARY, law=CONTROL, weights_by="riesz"),
    "least squares, cells, user's law": arms(cells=BINARY, law=USERS, weights_by="riesz"),
    "least squares, ranges": arms(groups=Groups("g", ("low", "high")), weights_by="riesz"),
    "targeted": arms(limits=RANGE),
    "targeted, cells": arms(cells=THREE, limits=RANGE),
    "targeted, cells, law of the controls": arms(cells=BINARY, law=CONTROL, limits=RANGE),
    "targeted, cells, fixed": arms(cells=BINARY, law=FIXED, limits=RANGE),
    "targeted, ranges": arms(groups=Groups("g", ("low", "high")), limits=RANGE),
    "targeted, no mediators": arms((), limits=RANGE),
    "targeted, least squares": arms(weights_by="riesz", limits=RANGE),
}


def law_for(estimand, seed):
    levels = {"m": (0.0, 1.0, 2.0)} if estimand.treated.cells == THREE or estimand.treated.groups else {}
    law = random_law(estimand, seed, levels)
    return (
        FiniteLaw(law.points.assign(g=(law.points["m"] > 0.5) * 1.0), law.probabilities) if "m" in law.points else law
    )


LATER = ("least squares", "targeted")
CASES = [(name, seed) for name in VARIANTS for seed in range(1 if name.startswith(LATER) else 3)]


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_influence_function_is_the_pathwise_derivative(name, seed):
    estimand = VARIANTS[name]
    report = check_estimand(estimand, law_for(estimand, seed))
    assert report.derivative < 1e-5
    assert len(report.robustness) == 4


def test_more_than_two_treatment_levels():
    one = DirectMean("y", "a", ("m",), ("c",), 2.0, levels=3, label="E[Y(2, M)]", cells=BINARY)
    check_estimand(DirectEffect(one, replace(one, level=0.0, label="E[Y(0, M)]")))


# --- confounders that the treatment affects ---------------------------------------------------------------------------


def sequential(adjust=("c",), intermediate=("l",), **options) -> DirectEffect:
    one = SequentialMean(
        "y", "a", ("m",), adjust, 1.0, label="E[Y(1, M)]", intermediate=intermediate, **{"cells": BINARY, **options}
    )
    return DirectEffect(one, replace(one, level=0.0, label="E[Y(0, M)]"))


SEQUENTIAL = {
    "binary": sequential(),
    "three cells": sequential(cells=THREE),
    "several": sequential(("c",), ("l", "k")),
    "no covariates": sequential(()),
    "law of the controls": sequential(law=CONTROL),
    "user's law": sequential(law=USERS),
    "fixed": sequential(law=FIXED),
}


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_sequential_influence_function_is_the_pathwise_derivative(name):
    estimand = SEQUENTIAL[name]
    levels = {"y": (-1.0, 2.0)} | ({"m": (0.0, 1.0, 2.0)} if estimand.treated.cells == THREE else {})
    report = check_estimand(estimand, random_law(estimand, 1, levels))
    assert report.derivative < 1e-5
    assert len(report.robustness) == 9


def test_the_sequential_formula_by_loops():
    """Against sums written out over a table of probabilities."""
    estimand = SEQUENTIAL["binary"]
    law = random_law(estimand, 1)
    table = law.points.assign(p=law.probabilities)

    def p(**at):
        return table.loc[(table[list(at)] == pd.Series(at)).all(axis=1), "p"].sum()

    def q(**at):
        rows = table[(table[list(at)] == pd.Series(at)).all(axis=1)]
        return (rows["p"] * rows["y"]).sum() / rows["p"].sum()

    levels = {name: sorted(set(table[name])) for name in "mlc"}
    for a, found in ((1.0, estimand.plug_in(law)[1]), (0.0, estimand.plug_in(law)[2])):
        by_hand = sum(
            p(m=m) * p(c=c) * p(a=a, c=c, l=k) / p(a=a, c=c) * q(a=a, m=m, l=k, c=c)
            for m, k, c in itertools.product(*levels.values())
        )
        assert found == pytest.approx(by_hand, abs=1e-12)


def test_without_intermediate_confounders_the_sequential_formula_is_the_direct_one():
    ours, plain = sequential(intermediate=()), VARIANTS["cells"]
    law = random_law(plain, 7)
    assert np.allclose(ours.plug_in(law), plain.plug_in(law), atol=1e-12)
    one = ours.eif(law.table(("c",)), saturated(ours, law))
    other = plain.eif(law.table(("c",)), saturated(plain, law))
    assert np.allclose(one, other, atol=1e-10)


def test_treating_an_affected_confounder_as_a_covariate_is_another_number():
    law = random_law(sequential(), 1)
    direct = DirectMean("y", "a", ("m",), ("c", "l"), 1.0, cells=BINARY)
    assert abs(direct.plug_in(law)[0] - sequential().plug_in(law)[1]) > 1e-3


# --- planted mistakes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HalvedCorrection(DirectMean):
    """The average of all three terms, halved: solved for θ as if its derivative were −2."""

    def eif(self, rows, eta):
        """Return ½ {1(A = a) w (Y − Q) + f1 + f2}."""
        _, second = eta["p(m)"], eta["p(c)"]
        plug_in = float(
            second.probabilities @ self.at_cells(second.rows, self.regression(eta)).T @ self.law_of_cells(eta)
        )
        return 0.5 * (super().eif(rows, eta) + plug_in)


@dataclass(frozen=True)
class TwiceSubtracted(DirectMean):
    """The score of the papers, with −2 θ in it."""

    def eif(self, rows, eta):
        """Return 1(A = a) w (Y − Q) + f1 + f2 − 2 U: the plug-in is taken off once too often."""
        second = eta["p(c)"]
        plug_in = float(
            second.probabilities @ self.at_cells(second.rows, self.regression(eta)).T @ self.law_of_cells(eta)
        )
        return super().eif(rows, eta) - plug_in


@pytest.mark.parametrize(
    ("wrong", "law"), [(HalvedCorrection, "pathwise derivative"), (TwiceSubtracted, "pathwise derivative|E φ = θ")]
)
def test_a_planted_wrong_score_is_caught(wrong, law):
    with pytest.raises(AssertionError, match=law):
        check_estimand(wrong("y", "a", ("m",), ("c",), 1.0, cells=BINARY))


def test_the_halved_score_has_the_right_mean_and_a_smaller_spread():
    """Why it goes unnoticed: at the truth the point is right, the standard error is not."""
    right = DirectMean("y", "a", ("m",), ("c",), 1.0, cells=BINARY)
    wrong = HalvedCorrection("y", "a", ("m",), ("c",), 1.0, cells=BINARY)
    law = random_law(right, 1)
    rows, eta = law.table(("c",)), saturated(right, law)
    theta = right.plug_in(law)[0]
    spreads = []
    for estimand in (right, wrong):
        phi = estimand.eif(rows, eta)
        assert law.expect(phi) == pytest.approx(theta, abs=1e-12)
        spreads.append(np.sqrt(law.expect((phi - theta) ** 2)))
    assert spreads[1] == pytest.approx(spreads[0] / 2)


# --- robustness, leg by leg ------------------------------------------------------------------------------------------

MODELS = {"ratio": ({"mu1", "mu0"}, {"pi1", "ratio"}), "cells": ({"mu1", "mu0"}, {"pi1", "p(m1|c)"})}


def drift(estimand, spoiled, seed):
    """|E φ − θ| of all coordinates when some nuisances are wrong."""
    law = law_for(estimand, seed)
    eta = saturated(estimand, law)
    wrong = {name: spoil(f, k) if name in spoiled else f for k, (name, f) in enumerate(eta.items())}
    rows = law.table(("m", "c")) if estimand.treated.cells is None else law.table(("c",))
    return np.abs(law.expect(estimand.eif(rows, wrong)) - estimand.plug_in(law))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", MODELS)
def test_either_leg_alone_suffices_and_none_does_not(name, seed):
    estimand, (regressions, weights) = VARIANTS[name], MODELS[name]
    assert drift(estimand, regressions, seed).max() < 1e-9
    assert drift(estimand, weights, seed).max() < 1e-9
    assert drift(estimand, regressions | weights, seed)[:3].min() > 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_half_of_the_weight_is_not_enough(name):
    estimand, (regressions, weights) = VARIANTS[name], MODELS[name]
    for one in weights:
        assert drift(estimand, regressions | {one}, 0)[:3].max() > 1e-4


# --- special cases ---------------------------------------------------------------------------------------------------


def test_without_mediators_it_is_the_average_effect():
    ours = arms(())
    aipw = AverageEffect(
        CounterfactualMean("y", "a", ("c",), 1.0, label="E[Y(1)]"),
        CounterfactualMean("y", "a", ("c",), 0.0, label="E[Y(0)]"),
    )
    law = random_law(aipw, 3)
    rows = law.table(("c",))
    assert dict(ours.nuisances()) == dict(aipw.nuisances())
    assert np.array_equal(ours.eif(rows, saturated(ours, law)), aipw.eif(rows, saturated(aipw, law)))
    assert np.allclose(ours.plug_in(law), aipw.plug_in(law), atol=1e-14)


def test_cells_and_density_ratio_are_the_same_question():
    law = random_law(VARIANTS["cells"], 5)
    by_cells, by_ratio = VARIANTS["cells"], VARIANTS["ratio"]
    one = by_cells.eif(law.table(("c",)), saturated(by_cells, law))[:, :3]
    other = by_ratio.eif(law.table(("m", "c")), saturated(by_ratio, law))
    assert np.allclose(one, other, atol=1e-10)


def test_the_curve_averages_to_the_effect():
    estimand = VARIANTS["cells, three"]
    law = law_for(estimand, 2)
    theta = estimand.plug_in(law)
    shares = [law.expect((law.points["m"] == m).to_numpy(float)) for m in (0.0, 1.0, 2.0)]
    assert theta[3:] @ np.array(shares) == pytest.approx(theta[0], abs=1e-14)


def test_a_fixed_law_is_the_controlled_direct_effect():
    law = random_law(VARIANTS["cells"], 4)
    fixed, curve = VARIANTS["cells, fixed"], VARIANTS["cells"]
    assert fixed.plug_in(law)[0] == pytest.approx(curve.plug_in(law)[4], abs=1e-14)
    one = fixed.eif(law.table(("c",)), saturated(fixed, law))[:, 0]
    assert np.allclose(one, curve.eif(law.table(("c",)), saturated(curve, law))[:, 4], atol=1e-12)
