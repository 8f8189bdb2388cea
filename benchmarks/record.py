"""Keep what a benchmark or a simulation study printed, with date, versions and machine: benchmarks/records/NAME.json.

    python benchmarks/record.py                      # what there is, and how old each record is
    python benchmarks/record.py crossfit wcde        # run these and keep what they print
    python benchmarks/record.py --all --longest 15   # all that take at most about fifteen minutes, the shortest first
    python benchmarks/record.py --table              # the measured ratios as a table in Markdown, for the README
    python benchmarks/record.py shapley --peer ~/venv/bin/python    # an interpreter that has pyDVL

Commands run from the repository's root with this interpreter and one thread. A command that fails, that is interrupted,
that lacks the peer it compares with or that prints a path of the machine leaves the earlier record as it was. A record
from another processor moves to benchmarks/records/others/, and the table of the README is written anew.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks" / "records"
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from records.figures import check, markdown, read

import causalif

PACKAGES = (
    "numpy", "scipy", "pandas", "scikit-learn", "statsmodels", "networkx", "joblib", "torch", "pyro-ppl", "triton",
    "DoubleML", "pgmpy", "dowhy", "optimaladj", "causal-learn", "pyDVL",
)  # fmt: skip
ASK_VERSIONS = """
import json, sys
from importlib import metadata
names = {one.name: one.version for one in metadata.distributions()}
print(json.dumps({"python": sys.version.split()[0], **names}))
"""
BEGIN, END = "<!-- records -->", "<!-- end records -->"
PATH = re.compile(r"(?<![\w.])/[\w.+~-]+/[\w./+~-]+|\b[A-Za-z]:\\\w+")


class NotRecordedError(Exception):
    """Nothing was written, and why."""


@dataclass(frozen=True)
class Job:
    """A command worth keeping.

    Parameters
    ----------
    command : str
        The command line; ``python`` is this interpreter, ``PEER`` the one that --peer names.
    shows : str
        What it shows, in a few words.
    minutes : float
        About how long it takes.
    needs : tuple of str
        Modules without which there is nothing to compare with.
    device : bool
        Whether it needs a CUDA device.
    """

    command: str
    shows: str
    minutes: float
    needs: tuple[str, ...] = ()
    device: bool = False

    @property
    def script(self) -> Path:
        """The file that runs."""
        return ROOT / shlex.split(self.command)[1]


def _bench(arguments: str, shows: str, minutes: float, needs: tuple[str, ...] = (), device: bool = False) -> Job:
    return Job(f"python benchmarks/{arguments}", shows, minutes, needs, device)


def _study(arguments: str, shows: str, minutes: float) -> Job:
    return Job(f"python tests/coverage/{arguments}", shows, minutes)


GRAPHS = ("pgmpy", "dowhy", "optimaladj")
IV, CDE = "invalid instrument", "controlled direct effect"
DEBIASED, WCDE, MEDIATION = "study_debiased.py --design", "study_wcde.py --design", "study_mediation.py --effects"
JOBS: dict[str, Job] = {
    "crossfit": _bench("crossfit.py", "AIPW against DoubleML and the bare fits", 8, ("doubleml",)),
    "adjustment": _bench("adjustment.py", "adjustment sets against pgmpy, dowhy, optimaladj", 12, GRAPHS),
    "influence": _bench("influence.py", "case influence against a Newton step and statsmodels", 2),
    "kernels": _bench("kernels.py", "kernel row sums against full matrices and scikit-learn", 5),
    "valuation": _bench("kairos.py speed", "values of training rows against full matrices", 2),
    "valuation_large": _bench("kairos.py large", "values of 100,000 training rows", 3),
    "online": _bench("kairos.py online", "adding and removing rows against a new fit", 3),
    "shapley": _bench("kairos.py shapley --peer PEER", "KNN-Shapley against the published loop and pyDVL", 3),
    "detection": _bench("kairos.py quality", "planted defects found by each score", 6),
    "weighting": _bench("kairos.py weighting", "bandwidths and sums of the two components", 6),
    "sigma": _bench("sigma.py", "a thousand graphs over the fits of distinct nuisances", 3),
    "wcde": _bench("wcde.py", "the controlled direct effect over its bare fits", 6),
    "wcde_continuous": _bench(
        "wcde.py --mediator continuous --rows 10000", "the controlled direct effect, continuous mediator", 4
    ),
    "default_learners": _bench("default_learners.py", "default learners against each of their parts", 8),
    "exact": _bench("structure.py exact", "the exact engine on 8 to 12 nodes", 2),
    "chains": _bench("structure.py mcmc", "partition MCMC on 12 and 20 nodes", 6),
    "flow": _bench("structure.py flow", "FlowSEM on five nodes", 5, ("torch",)),
    "paths": _bench("structure.py paths", "paths found, against GES in the same time", 6, ("causallearn",)),
    "gpu": _bench("kairos_gpu.py", "kernel sums on a CUDA device", 5, ("triton",), True),
    "study_parametric": _study("study_invalid_iv.py --design B --draws 200", f"{IV}, some models wrong", 3),
    "study_debiased_smooth": _study(f"{DEBIASED} C --learners smooth --draws 100", f"{IV}, splines", 20),
    "study_debiased_auto": _study(f"{DEBIASED} C --learners auto --draws 100", f"{IV}, default learners", 60),
    "study_weak": _study(f"{DEBIASED} weak --draws 1000", f"{IV}, weak", 11),
    "study_selective": _study("study_selective.py --draws 30", f"{IV}, selection of learners", 40),
    "study_wcde": _study(f"{WCDE} discrete --rows 20000 --draws 1000", f"{CDE}, 20,000 rows", 6),
    "study_wcde_small": _study(f"{WCDE} discrete --rows 2000 --draws 600", f"{CDE}, 2,000 rows", 1),
    "study_wcde_control": _study(f"{WCDE} discrete --law control --rows 2000 --draws 400", f"{CDE}, controls' law", 1),
    "study_wcde_continuous": _study(f"{WCDE} continuous --rows 2000 --draws 400", f"{CDE}, continuous mediator", 30),
    "study_wcde_sequential": _study(f"{WCDE} sequential --rows 2000 --draws 600", f"{CDE}, a later confounder", 1),
    "study_wcde_auto": _study(
        f"{WCDE} discrete --rows 2000 --learners auto --draws 120", f"{CDE}, default learners", 20
    ),
    "study_sets": _study(f"{WCDE} sets --rows 20000 --draws 200", f"{CDE}, precision of four valid sets", 4),
    "study_structure": _study("study_structure.py", "stability of paths", 40),
    "study_natural": _study(f"{MEDIATION} natural", "natural effects along paths", 1),
    "study_interventional": _study(
        f"{MEDIATION} interventional --draws 400 --first 10000", "interventional effects", 7
    ),
    "study_overlap": _study(f"{MEDIATION} overlap --draws 60", "interventional effects where groups overlap", 3),
    "study_sigma": _study("study_sigma.py", "effects averaged over graphs, end to end", 60),
}


def versions() -> dict[str, str]:
    """Return the versions of Python and of every package that may matter and is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def versions_of(peer: str) -> dict[str, str]:
    """Return the same of another interpreter."""
    done = subprocess.run([peer, "-c", ASK_VERSIONS], capture_output=True, text=True, check=True)
    found = {name.lower(): number for name, number in json.loads(done.stdout).items()}
    return {name: found[name.lower()] for name in ("python", *PACKAGES) if name.lower() in found}


def processor() -> str:
    """Return the processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def refuse_without_peers(job: Job, peer: str | None) -> None:
    """Raise where the record would miss what it compares with."""
    missing = [name for name in job.needs if importlib.util.find_spec(name) is None]
    if missing:
        raise NotRecordedError(f"{', '.join(missing)} is not installed for {Path(sys.executable).name}")
    if "PEER" in job.command and peer is None:
        raise NotRecordedError("--peer must name an interpreter that has the peer")
    if job.device:
        import torch

        if not torch.cuda.is_available():
            raise NotRecordedError("it needs a CUDA device")


def refuse_paths(lines: list[str]) -> None:
    """Raise where a line names a place on this machine, or its host."""
    host = platform.node()
    for line in lines:
        if PATH.search(line) or str(Path.home()) + os.sep in line or (len(host) > 3 and host in line):
            raise NotRecordedError(f"a line names a place on this machine: {line.strip()[:100]}")


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a command from the root, one thread a library; it does not outlive this block."""
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **os.environ, "PYTHONUNBUFFERED": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, encoding="utf-8") as child:
        try:
            yield child
        finally:
            if child.poll() is None:
                child.terminate()


def run(job: Job, peer: str | None) -> dict[str, Any]:
    """Run a job, show its output as it comes, and return what is kept."""
    refuse_without_peers(job, peer)
    names = {"python": sys.executable, "PEER": peer or ""}
    command = [names.get(part, part) for part in shlex.split(job.command)]
    script = hashlib.sha256(job.script.read_bytes()).hexdigest()
    date, start, lines = datetime.now(UTC), time.perf_counter(), []
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    with running(command) as child:
        assert child.stdout is not None
        for line in child.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip("\n"))
        status = child.wait()
    if status:
        raise NotRecordedError(f"exit status {status}")
    refuse_paths(lines)
    return {
        "command": job.command,
        "shows": job.shows,
        "date": date.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - start, 1),
        "exit": status,
        "versions": {"causalif": causalif.__version__, **versions()},
        **({"peer versions": versions_of(peer)} if peer and "PEER" in job.command else {}),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load before": load,
        "script": script,
        "lines": lines,
    }


def write(name: str, record: dict[str, Any]) -> None:
    """Write a record in one step, so that the earlier one is there until the new one is whole or it has moved."""
    path, earlier = FOLDER / f"{name}.json", read(name)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if earlier is not None and earlier["processor"] != record["processor"]:
        place = elsewhere(name, earlier)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    part.replace(path)
    elsewhere(name, record).unlink(missing_ok=True)


def elsewhere(name: str, record: dict[str, Any]) -> Path:
    """Return where a record is kept once there is a newer one from another processor."""
    processor = re.sub(r"\W+", "-", record["processor"]).strip("-")
    return FOLDER / "others" / processor / f"{name}.json"


def tabulate(path: Path) -> None:
    """Write the table of figures between the marks in a page anew."""
    page = path.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        path.write_text(f"{before}{begin}\n{markdown()}\n{end}{after}", encoding="utf-8")


def record_all(names: list[str], peer: str | None) -> int:
    """Record one after the other; return the exit status."""
    failed = []
    for name in names:
        print(f"\n== {name}: {JOBS[name].command} (about {JOBS[name].minutes:g} min)", flush=True)
        try:
            record = run(JOBS[name], peer)
            check(name, record)
        except (NotRecordedError, ValueError) as error:
            failed.append(name)
            print(f"{name} was not recorded: {error}. An earlier record is left as it was.", flush=True)
            continue
        except KeyboardInterrupt:
            print(f"\nInterrupted: {name} was not recorded, an earlier record is left as it was.")
            return 130
        write(name, record)
        tabulate(ROOT / "README.md")
        print(f"recorded {name} in {record['seconds']:.0f} s", flush=True)
    if failed:
        print(f"\nnot recorded: {', '.join(failed)}")
    return int(bool(failed))


def listing() -> str:
    """Return one line per job: its name, age, duration and what it shows."""
    lines = []
    for name in shortest_first():
        job, record = JOBS[name], read(name)
        age = "not recorded"
        if record is not None:
            hours = (datetime.now(UTC) - datetime.fromisoformat(record["date"])).total_seconds() / 3600
            age = f"{hours / 24:.0f} days" if hours > 48 else f"{hours:.1f} hours"
            changed = record["script"] != hashlib.sha256(job.script.read_bytes()).hexdigest()
            age += ", script changed since" if changed else ""
        needs = "; needs a CUDA device" if job.device else ""
        lines.append(f"{name:<22} {duration(name):>6.1f} min  {job.shows}{needs} [{age}]")
    return "\n".join(lines)


def duration(name: str) -> float:
    """Return about how many minutes a job takes: what it took last time, if it was recorded."""
    record = read(name)
    return JOBS[name].minutes if record is None else record["seconds"] / 60


def shortest_first() -> list[str]:
    """Return all names, the shortest job first."""
    return sorted(JOBS, key=duration)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to run and record")
    parser.add_argument("--all", action="store_true", help="everything that needs no CUDA device, the shortest first")
    parser.add_argument("--longest", type=float, default=float("inf"), metavar="MINUTES", help="limit of --all")
    parser.add_argument("--missing", action="store_true", help="with --all: only what has no record yet")
    parser.add_argument("--list", action="store_true", help="what there is, and the age of each record (the default)")
    parser.add_argument("--table", action="store_true", help="the measured ratios in Markdown")
    parser.add_argument("--peer", help="a Python interpreter that has pyDVL")
    asked = parser.parse_args(arguments)
    unknown = sorted(set(asked.names) - set(JOBS))
    if unknown:
        parser.error(f"no command is registered under {', '.join(unknown)}; --list shows the names")
    if asked.table:
        print(markdown())
        return 0
    names = asked.names
    if asked.all:
        names = [name for name in shortest_first() if not JOBS[name].device and duration(name) <= asked.longest]
        names = [name for name in names if not (asked.missing and read(name))]
    if asked.list or not names:
        print(listing())
        return 0
    return record_all(names, asked.peer)


if __name__ == "__main__":
    raise SystemExit(main())
