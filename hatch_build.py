"""Compiles the kernel sums into the wheel where there is a C compiler; elsewhere the wheel is pure Python."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

FLAGS = ("-O3", "-shared", "-fPIC", "-ffp-contract=fast")
SOURCES = ("_gaussian.c", "_gaussian_sums.h")  # as in `causalif/kernels/_compiled.py`, which compares their fingerprint


class CompiledSums(BuildHookInterface[Any]):
    """Compile `_gaussian.c` next to its source."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and mark the wheel as one for this platform; on failure say so and leave it pure."""
        folder = Path(self.root, "causalif", "kernels")
        library = folder / "_gaussian.so"
        try:
            compile_into(folder, library)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or error
            self.app.display_warning(f"Kernel sums are not compiled, which leaves them to numpy: {reason}")
            return
        build_data["artifacts"].append(str(library.relative_to(self.root)))
        build_data["pure_python"] = False
        # No part of it depends on Python's own version.
        platform = next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))
        build_data["tag"] = f"py3-none-{platform}"


def compile_into(folder: Path, library: Path) -> None:
    """Compile, and put the library in its place at once: another build may be under way."""
    source = hashlib.sha256(b"".join((folder / name).read_bytes() for name in SOURCES)).hexdigest()
    with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as made:
        new = Path(made, library.name)
        command = [*shlex.split(os.environ.get("CC") or "cc"), *FLAGS, f'-DSOURCE="{source}"', "-o", str(new)]
        subprocess.run([*command, str(folder / SOURCES[0])], check=True, capture_output=True, text=True)
        new.replace(library)
