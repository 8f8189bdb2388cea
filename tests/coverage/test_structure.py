"""Calibration of path stability scores over random models: averaging over bags pays, and stated means observed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).with_name("study_structure.py")
SPEC = importlib.util.spec_from_file_location("study_structure", PATH)
study_structure = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = study_structure  # its dataclasses look themselves up there
SPEC.loader.exec_module(study_structure)


def test_the_paths_scored_are_the_two_hundred():
    assert len(study_structure.PATHS) == 200
    assert study_structure.f1(np.array([True, True, False]), np.array([True, False, True])) == 0.5


def test_bags_pay_in_short():
    one, bagged = (study_structure.study("nonlinear, 150", method, 8) for method in ("exact", "exact + bag"))
    assert bagged.figures()["log_loss"] < one.figures()["log_loss"]


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["nonlinear, 500", "nonlinear, 150"])
def test_bags_pay(setting):
    one, bagged = (study_structure.study(setting, method) for method in ("exact", "exact + bag"))
    assert bagged.figures()["log_loss"] < one.figures()["log_loss"]
    assert bagged.figures()["brier"] < one.figures()["brier"]
    # What bags call likely is there, and what they rule out is not.
    table = bagged.reliability()
    assert table["observed"].iloc[0] < 0.005
    assert table["observed"].iloc[-1] > 0.98


@pytest.mark.slow
def test_linear_equations_are_better_left_to_the_linear_model():
    spline, linear = (study_structure.study("linear normal, 500", m) for m in ("exact + bag", "LinearSEM + bag"))
    assert linear.figures()["log_loss"] < spline.figures()["log_loss"]
