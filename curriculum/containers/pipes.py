"""What comes through a pipe → a file, because input is read more than once."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import BinaryIO

from curriculum.errors import InputError
from curriculum.storage.paths import AnyPath

BLOCK_BYTES = 1 << 20


def spool(path: Path, given: str, target: AnyPath) -> AnyPath:
    """Write what comes through the pipe `path` (- is standard input) to the file `target`, and
    return that. `given` is what messages call it. Raises InputError if nothing comes."""
    stdin = str(path) in ("-", "/dev/stdin")
    if stdin and (sys.stdin is None or os.isatty(0)):
        found = "it is closed" if sys.stdin is None else "this is the terminal"
        raise InputError(
            f"nothing is piped in: {found}",
            where=given,
            expected="rollouts through a pipe",
            fix="pipe them in, such as with zcat rollouts.jsonl.gz | … -i -, or name files",
        )
    try:
        with _opened(path, stdin) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, BLOCK_BYTES)
    except OSError as error:
        raise InputError(
            f"cannot be kept in {target.parent} ({error.strerror or error})",
            where=given,
            expected="room for all that comes through the pipe",
            fix="make room there, or write it to a file first and name that",
        ) from error
    return target


def _opened(path: Path, stdin: bool) -> BinaryIO:
    return os.fdopen(os.dup(0), "rb") if stdin else path.open("rb")
