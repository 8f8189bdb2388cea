"""The self-check meets its numbers quickly, and can fail."""

from __future__ import annotations

import time

import pytest

from causalif.__main__ import main
from causalif.testing import selfcheck as module


def test_all_numbers_are_met_in_time(capsys):
    start = time.perf_counter()
    report = module.selfcheck()
    assert report.ok
    assert time.perf_counter() - start < 10
    assert f"{len(module.CHECKS)} of {len(module.CHECKS)} numbers met" in capsys.readouterr().out


def test_a_missed_number_fails(monkeypatch, capsys):
    name, source, expected, compute, tolerance = module.CHECKS[0]
    monkeypatch.setattr(module, "CHECKS", ((name, source, expected + 1, compute, tolerance),))
    assert main(["selfcheck"]) == 1
    assert "FAIL" in capsys.readouterr().out


@pytest.mark.parametrize("published", [13_527.05, 13_600.0])
def test_demo_checks_the_known_answers(published, monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    from functools import partial

    import causalif.__main__ as command

    monkeypatch.setitem(command.PUBLISHED, "OLS", published)
    # the same job with quick learners; the vignette runs the default ones
    monkeypatch.setattr(command, "InvalidIVATE", partial(_quick, command.InvalidIVATE))
    status = main(["demo", "--output", str(tmp_path)])
    assert status == (0 if published == 13_527.05 else 1)
    assert (tmp_path / "demo.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert "true effect is 1" in printed
    assert " nan" not in printed


def _quick(original, **options):
    return original(**{**options, "learners": "linear"})
