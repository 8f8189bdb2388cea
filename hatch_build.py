"""Compiles the kernel sums into the wheel where there is a C compiler; elsewhere the wheel is pure Python."""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = ("-O3", "-shared", "-fPIC", "-ffp-contract=fast")


class CompiledSums(BuildHookInterface[Any]):
    """Compile `_gaussian.c` next to its source."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and mark the wheel as one for this platform; on failure say so and leave it pure."""
        source = Path(self.root, "causalif", "kernels", "_gaussian.c")
        library, made = source.with_suffix(".so"), source.with_suffix(".new")
        library.unlink(missing_ok=True)
        command = [*shlex.split(os.environ.get("CC", "cc")), *FLAGS, "-o", str(made), str(source)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or error
            self.app.display_warning(f"Kernel sums are not compiled, which leaves them to numpy: {reason}")
            return
        made.replace(library)
        build_data["artifacts"].append(str(library.relative_to(self.root)))
        build_data["pure_python"] = False
        # No part of it depends on Python's own version.
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
