"""Records of benchmarks keep what was printed or nothing, and no figure in the README differs from its record."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
BEFORE = sys.path[:]
sys.path.append(str(ROOT / "benchmarks"))
record, figures = importlib.import_module("record"), importlib.import_module("records.figures")
sys.path[:] = BEFORE

RECORDS = figures.FOLDER.rglob("*.json")
RECORDED = sorted(path.relative_to(figures.FOLDER).with_suffix("").as_posix() for path in RECORDS)
BEGIN, END = record.BEGIN, record.END


def drifted(text: str) -> list[str]:
    """Rows of the tables between the markers that are not rows of the table of records, the two head lines aside."""
    blocks = re.findall(f"{re.escape(BEGIN)}(.*?){re.escape(END)}", text, flags=re.DOTALL)
    rows = [line.strip() for block in blocks for line in block.splitlines() if line.strip().startswith("|")]
    return [row for row in rows if row not in figures.markdown().splitlines()]


# --- what is registered, what is recorded ----------------------------------------------------------------------------


def test_every_benchmark_and_every_study_is_registered() -> None:
    scripts = {job.script for job in record.JOBS.values()}
    assert all(script.exists() for script in scripts)
    assert scripts >= set((ROOT / "benchmarks").glob("*.py")) - {ROOT / "benchmarks" / "record.py"}
    assert scripts >= set((ROOT / "tests" / "coverage").glob("study_*.py"))
    page = (ROOT / "vignettes" / "coverage.md").read_text(encoding="utf-8")
    stated = re.findall(r"^    (python tests/coverage/study.*)$", page, flags=re.MULTILINE)
    assert len(stated) >= 10
    assert set(stated) <= {job.command for job in record.JOBS.values()}


@pytest.mark.parametrize("place", RECORDED)
def test_a_record_is_whole_and_names_no_place(place: str) -> None:
    kept = figures.read(place)
    assert kept["command"] == record.JOBS[Path(place).name].command
    assert kept["exit"] == 0
    assert kept["lines"]
    assert kept["versions"]["python"]
    assert kept["versions"]["causalif"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\+00:00", kept["date"])
    record.refuse_paths([json.dumps(kept, ensure_ascii=False)])


@pytest.mark.parametrize("place", RECORDED)
def test_every_figure_of_a_record_can_be_read(place: str) -> None:
    name, kept = Path(place).name, figures.read(place)
    figures.check(name, kept)
    if name.startswith("study_") and name not in figures.WITHOUT_COVERAGE:
        rows = figures.study_rows(name, kept)
        assert rows
        assert all(0 <= row["coverage"] <= 1 and row["draws"] > 1 for row in rows)


# --- the README ------------------------------------------------------------------------------------------------------


def test_the_readme_says_what_the_records_say() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert drifted(text) == []
    assert len(re.findall(r"^\|", text.partition(BEGIN)[2].partition(END)[0], flags=re.MULTILINE)) > 3


def test_a_figure_that_drifted_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path, monkeypatch, "  causalif / bare: 1.250")
    table = figures.markdown()
    assert "1.250 times as long" in table
    assert drifted(f"{BEGIN}\n{table}\n{END}") == []
    other = table.replace("1.250", "1.25")
    assert drifted(f"{BEGIN}\n{other}\n{END}") == [other.splitlines()[-1]]


# --- reading ---------------------------------------------------------------------------------------------------------


def keep(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str, name: str = "wcde") -> None:
    """Write a record of some lines where records are looked for."""
    kept = {"command": "python x.py --draws 400", "date": "2030-01-02T03:04:05+00:00", "versions": {"peer": "1.2"}}
    (folder / f"{name}.json").write_text(json.dumps({**kept, "lines": lines}), encoding="utf-8")
    monkeypatch.setattr(figures, "FOLDER", folder)


def test_figures_are_ranges_quotients_or_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = ("c 7.5x", "c  over 30 s", "c  SomeError", "c  4321.4x")
    keep(tmp_path, monkeypatch, "a 10.0x", "a 9.5x", "", "a 3x", "b 3.0 s, ours 1.5 s", *failures)
    ratio = figures.Figure("task", "{peer}", "wcde", r"a ([\d.]+)x", "a 1")
    assert ratio.text() == "9.5 to 10.0 times as fast"
    assert ratio.against_version() == "peer 1.2"
    assert ratio.date() == "2030-01-02"
    assert figures.Figure("task", "", "wcde", r"b ([\d.]+) s, ours ([\d.]+) s").text() == "2.0 times as fast"
    assert figures.Figure("task", "", "absent", "([0-9])").text() == "not recorded"
    failing = figures.Figure("task", "", "wcde", r"^c +([\d.]+)x", failed=r"^c +(?:over|[A-Z]\w+$)")
    assert failing.text() == "7.5 to 4,321 times as fast; no answer on 2 of 4"
    with pytest.raises(ValueError, match="'wcde' has no figure for 'task'"):
        figures.Figure("task", "", "wcde", r"d ([\d.]+)x").text()


def test_rows_of_a_study_are_read_from_tables_and_from_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame(
        {"bias": [0.54, -0.02], "SD": [0.15, 0.2], "SE sandwich": [0.3, 0.1], "cover sandwich": [0.075, 0.5]},
        index=pd.Index(["pi only", "M1 pi, mu"], name="leg"),
    )
    keep(tmp_path, monkeypatch, "design", *table.to_string().splitlines(), "400 draws of 2", name="study_one")
    one, other = figures.study_rows("study_one")
    assert (one["case"], one["draws"], one["coverage"], one["SE / SD"]) == ("pi only", 400, 0.075, 2.0)
    assert (other["case"], other["bias"], other["coverage"]) == ("M1 pi, mu", -0.02, 0.5)
    keep(tmp_path, monkeypatch, "  MC error            0.1", "  coverage            0.93833", "5 s", name="study_two")
    (row,) = figures.study_rows("study_two")
    assert row["coverage"] == 0.93833
    assert figures.study_rows("study_absent") == []
    keep(tmp_path, monkeypatch, "nothing", name="study_empty")
    with pytest.raises(ValueError, match="no coverage"):
        figures.study_rows("study_empty")


# --- recording -------------------------------------------------------------------------------------------------------


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Register a script of these lines as the only job, with folders of its own; return a function that runs it."""
    monkeypatch.setattr(record, "ROOT", tmp_path)
    monkeypatch.setattr(record, "FOLDER", tmp_path)
    monkeypatch.setattr(figures, "FOLDER", tmp_path)
    monkeypatch.setattr(figures, "FIGURES", (figures.Figure("a task", "a peer", "job", "([0-9])"),))
    (tmp_path / "README.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")

    def run(code: str, *arguments: str, **options: object) -> int:
        (tmp_path / "job.py").write_text(code, encoding="utf-8")
        monkeypatch.setattr(record, "JOBS", {"job": record.Job("python job.py 'two words'", "a job", 1, **options)})
        return record.main(["job", *arguments])

    return run


def test_what_was_printed_is_kept(script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script("import sys; print('  äöü  ', sys.argv[1]); print(); print('last 7')") == 0
    kept = json.loads((tmp_path / "job.json").read_text(encoding="utf-8"))
    assert kept["lines"] == ["  äöü   two words", "", "last 7"]
    assert kept["command"] == "python job.py 'two words'"
    assert kept["seconds"] >= 0
    assert kept["cores"] >= 1
    assert kept["processor"]
    assert {"python", "causalif", "numpy", "scipy", "pandas"} <= set(kept["versions"])
    assert "äöü" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "job.json", "job.py"]
    assert "job" in record.listing()
    assert "script changed since" not in record.listing()
    (tmp_path / "job.py").write_text("print(2)", encoding="utf-8")
    assert "script changed since" in record.listing()


INTERRUPTED = "import os, signal, time; print(1, flush=True); os.kill(os.getppid(), signal.SIGINT); time.sleep(60)"
REFUSED = {
    "a failure": ("print('half'); raise SystemExit(3)", "exit status 3", 1),
    "a path": ("print('read from /srv/someone/table.csv')", "names a place on this machine", 1),
    "no figure": ("print('other')", "has no figure for 'a task'", 1),
    "an interruption": (INTERRUPTED, "Interrupted", 130),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_nothing_else_replaces_a_record(reason, script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, message, status = REFUSED[reason]
    assert script("print('good 1')") == 0
    before = (tmp_path / "job.json").read_bytes()
    assert script(code) == status
    assert message in capsys.readouterr().out
    assert (tmp_path / "job.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "job.json", "job.py"]


def test_what_it_compares_with_must_be_there(script, capsys: pytest.CaptureFixture[str]) -> None:
    assert script("print(1)", needs=("no_such_module",)) == 1
    assert "no_such_module is not installed" in capsys.readouterr().out


def test_the_table_of_the_readme_follows(script, tmp_path: Path) -> None:
    assert script("print(1)") == 0
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert page == f"before\n{BEGIN}\n{figures.markdown()}\n{END}\nafter\n"
    assert "1 times as fast" in page


def test_each_processor_keeps_its_last_record(script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (figure,) = figures.FIGURES
    for processor, printed, said in (
        ("One @ 2 GHz", 3, "3 times as fast"),
        ("Other", 5, "3 to 5 times as fast"),
        ("Other", 6, "3 to 6 times as fast"),
        ("One @ 2 GHz", 4, "4 to 6 times as fast"),
    ):
        monkeypatch.setattr(record, "processor", lambda name=processor: name)
        assert script(f"print({printed})") == 0
        assert figure.text() == said
        assert figures.read("job")["lines"] == [str(printed)]
    assert figure.date() == f"{figures.read('job')['date'][:10]}, 2 processors"
    kept = figures.read("job")
    (tmp_path / "job.json").write_text(json.dumps({**kept, "versions": {"numpy": "9.8.7"}}), encoding="utf-8")
    against = figures.Figure("", "{numpy}", "job", "").against_version()
    assert against == f"numpy 9.8.7 and {kept['versions']['numpy']}"
    kept = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json"))
    assert kept == ["job.json", "others/Other/job.json"]


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("naive / sklearn, DoubleML (faster) / causalif: 1.0x", False),
        ("C -> A/B; 1/2; lines/lines/lines; 5 s / 3 s", False),
        ("in /usr/lib/python3/site.py", True),
        ("at C:\\Users", True),
        (f"file://{Path.home()}/x", True),
    ],
)
def test_places_are_told_from_quotients(line: str, refused: bool) -> None:
    if not refused:
        record.refuse_paths([line])
        return
    with pytest.raises(record.NotRecordedError, match="a place on this machine"):
        record.refuse_paths([line])


def test_commands_can_be_run_as_they_are_written() -> None:
    for name, job in record.JOBS.items():
        parts = shlex.split(job.command)
        assert parts[0] == "python", name
        assert job.minutes > 0, name
