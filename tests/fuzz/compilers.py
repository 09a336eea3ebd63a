"""The C compilers of this machine, and what they make of the harness."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path

HARNESS = Path(__file__).with_name("fuzz_scanner.c")
STRICT = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")
# Undefined as on a machine that has neither: eight bytes at a time, and numbers are declined.
PLAIN = ("-U__SSE2__", "-U__ARM_NEON", "-U__SIZEOF_INT128__")
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")


def compilers() -> list[str]:
    """The compilers that are there: that of CC or else the usual one, gcc and clang."""
    usual = shlex.split(os.environ.get("CC") or "cc")[0]
    found = {os.path.realpath(path): name for name in (usual, "gcc", "clang")
             if (path := shutil.which(name))}  # fmt: skip
    return list(found.values())


def compile_c(
    compiler: str, flags: Sequence[object], target: Path, source: Path = HARNESS
) -> subprocess.CompletedProcess[str]:
    """Compile a source; what the compiler said."""
    command = [compiler, *map(str, flags), str(source), "-o", str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def has_headers() -> bool:
    """Whether the headers of this Python are there."""
    return Path(sysconfig.get_path("include"), "Python.h").is_file()
