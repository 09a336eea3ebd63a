"""Disks that are full: a limit on how large a file may grow, and a small file system."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.helpers.rollouts import tree
from tests.torture.kill import left_behind
from tests.torture.runs import Change, wait_for_silence


def limit_file_sizes(change: Change, times: int) -> int:
    """Run with ever higher limits on the size of a file; every write that hits one fails."""
    largest = max(map(len, change.after.values())) + 2_000
    for i in range(times):
        change.restore()
        limit = largest * (i + 1) // times
        process = change.start(
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # noqa: B023
        )
        _check_refused(change, process)
    return times


def fill_file_system(change: Change, directory: Path, times: int) -> int:
    """Run into a file system with ever more room, from none to enough; none are tried where this
    user may not mount one."""
    room = sum(map(len, change.after.values())) * 3 + 64 * 4096
    for i in range(times):
        with _file_system(directory, room + len(change.before) * 4096) as mounted:
            if not mounted:
                return 0
            output = directory / "out"
            flags = [str(output) if f == str(change.output) else f for f in change.flags]
            moved = replace(change, output=output, flags=flags)
            moved.restore()
            _leave_room(directory / "filler", room * i // times)
            _check_refused(moved, moved.start())
    return times


def _check_refused(change: Change, process: subprocess.Popen[bytes]) -> None:
    _, message = process.communicate(timeout=60)
    wait_for_silence(process.pid)
    assert b"Traceback" not in message, message.decode()
    assert b"unexpected" not in message, message.decode()
    if process.returncode == 1:
        assert b"error: " in message, message.decode()
        if b"next first moves the rest" not in message:
            assert not left_behind(change.output), message.decode()
            assert tree(change.output) == change.before
    else:
        assert process.returncode == 0, (process.returncode, message.decode())
        assert tree(change.output) == change.after


@contextlib.contextmanager
def _file_system(directory: Path, size: int) -> Iterator[bool]:
    directory.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(directory)], check=True)


def _leave_room(filler: Path, room: int) -> None:
    """Fill the file system that a path is on, but for some bytes."""
    free = os.statvfs(filler.parent)
    size = free.f_bavail * free.f_frsize - room
    if size > 0:
        filler.write_bytes(bytes(size))
