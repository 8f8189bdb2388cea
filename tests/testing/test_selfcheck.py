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
    name, source, expected, *rest = module.CHECKS[0]
    monkeypatch.setattr(module, "CHECKS", ((name, source, expected + 1, *rest),))
    assert main(["selfcheck"]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_every_line_states_its_rule():
    near = module.Line("a", "b", expected=0.0, found=-0.256884, tolerance=4.0, seconds=0.0, unit="standard errors")
    exact = module.Line("a", "b", expected=13_527.05, found=13_527.052, tolerance=0.005, seconds=0.0)
    assert near.verdict == "-0.26 standard errors, where at most 4 either way will do"
    assert exact.verdict == "13,527.052, where 13,527.050 within 0.005 is expected"
    assert near.ok
    assert exact.ok
    text = str(module.SelfCheck((near, exact)))
    assert near.verdict in text
    assert "2 of 2 numbers met" in text
    assert repr(module.SelfCheck((near, exact))) == "SelfCheck(2 of 2 numbers met)"


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


@pytest.mark.parametrize("command", ["demo", "selfcheck"])
def test_ctrl_c_ends_a_command_without_a_traceback(command, monkeypatch, capsys):
    import causalif.__main__ as commands

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, command, interrupted)
    assert main([command]) == 130
    assert capsys.readouterr().err == "\nInterrupted.\n"


def _quick(original, **options):
    return original(**{**options, "learners": "linear"})
