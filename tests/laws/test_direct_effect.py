"""The weighted controlled direct effect keeps its contract on finite laws, and planted wrong scores are caught."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from causalif.estimands.counterfactual import AverageEffect, CounterfactualMean
from causalif.estimands.direct_effect import Cells, DirectEffect, DirectMean, MediatorLaw
from causalif.testing import check_estimand
from causalif.testing.derivative import random_law, saturated, spoil

BINARY = Cells("m", ((0.0,), (1.0,)), ("m=0", "m=1"))
THREE = Cells("m", ((0.0,), (1.0,), (2.0,)), ("m=0", "m=1", "m=2"))
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
    "no mediators": arms(()),
}


def law_for(estimand, seed):
    levels = {"m": (0.0, 1.0, 2.0)} if estimand.treated.cells == THREE else {}
    return random_law(estimand, seed, levels)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", VARIANTS)
def test_influence_function_is_the_pathwise_derivative(name, seed):
    estimand = VARIANTS[name]
    report = check_estimand(estimand, law_for(estimand, seed))
    assert report.derivative < 1e-5
    assert len(report.robustness) == 4


def test_more_than_two_treatment_levels():
    one = DirectMean("y", "a", ("m",), ("c",), 2.0, levels=3, label="E[Y(2, M)]", cells=BINARY)
    check_estimand(DirectEffect(one, replace(one, level=0.0, label="E[Y(0, M)]")))
