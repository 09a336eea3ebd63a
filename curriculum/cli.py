"""How a script runs: the flags that both share, and errors → messages and exit codes.

Exit codes: 0 done, 1 a problem with the data or the disk, 2 wrong flags, 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from curriculum.display.hidden import written_out
from curriculum.engines.signals import interrupt_on_signals
from curriculum.errors import CurriculumError, FinishedInterrupt
from curriculum.flags import Parser, number, whole_number
from curriculum.packages import REQUIRED, how_to_install, missing_packages
from curriculum.scanner.compiled import which_reader
from curriculum.version import __version__

_FIX = "free space or fix permissions, then run again"
_FIXES = {
    errno.EMFILE: "use fewer buckets, or raise the limit of open files (ulimit -n)",
    None: "if it was a store that failed, check it, the network and your keys, then run again",
}


def add_common_flags(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """The flags that mean the same in both scripts; returns the group of those on messages."""
    bad = parser.add_argument_group("bad input")
    bad.add_argument(
        "--on-malformed",
        metavar="CHOICE",
        help="stop: name the malformed lines and write nothing; set-aside: copy them to "
        "rejected/malformed.jsonl and go on (default: stop)",
    )
    engine = parser.add_argument_group("engine")
    engine.add_argument(
        "--engine",
        metavar="NAME",
        help="local: processes of this machine; ray: a Ray cluster (default: local). The output is "
        "the same",
    )
    engine.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="the cluster (default: the one that runs here, else one started for this run)",
    )
    engine.add_argument(
        "--workers",
        type=whole_number("--workers", "4"),
        metavar="N",
        help="processes to work in, twice as many for a moment where large files are written, or "
        "with Ray tasks at a time; the output is the same for any N (default: one per core)",
    )
    engine.add_argument(
        "--no-sync",
        dest="sync",
        action="store_false",
        default=None,
        help="do not wait until the outputs are on the disk: faster, but a power cut may lose them",
    )
    group = parser.add_argument_group("messages")
    group.add_argument("--quiet", action="store_true", help="no progress and no summary")
    group.add_argument("--debug", action="store_true", help="show a traceback with an error")
    group.add_argument(
        "--version",
        action="version",
        version=f"%(prog)s {__version__}, {which_reader()}",
        help="show the version and what reads the lines here, and exit",
    )
    return group


def add_keep_flags(group: argparse._ArgumentGroup) -> None:
    """Which rollouts are kept."""
    group.add_argument(
        "--keep",
        action="append",
        metavar="CONDITION",
        help='only rollouts that meet it, such as "0.1 <= success_rate <= 0.9" or "data_source == '
        'openai/gsm8k": a metric, learnability, useful_group, num_responses, num_passes, or a '
        "field. It may be given several times: all conditions must hold, and what is absent meets "
        "none",
    )
    group.add_argument(
        "--group-size",
        type=whole_number("--group-size", "8"),
        metavar="N",
        help="responses per prompt in training (rollout.n of verl), for useful_group: the chance "
        "that N responses have both a pass and a fail (default: 8)",
    )


def add_score_flags(
    group: argparse._ArgumentGroup, field: str, threshold: str, several: bool = False
) -> None:
    """How scores are read; the two texts say the defaults. With `several`, scores may be added up,
    and be elsewhere."""
    more = "; in other people's files, a place, or several to add up" if several else ""
    group.add_argument(
        "--score-field",
        nargs="+" if several else None,
        metavar="NAME",
        help=f"field of reward[i] that holds the score, such as V_i{more} (default: {field})",
    )
    group.add_argument(
        "--pass-threshold",
        type=number("--pass-threshold", "0.5"),
        metavar="SCORE",
        help=f"lowest score that is a pass (default: {threshold})",
    )


def run_script(
    build_parser: Callable[[], Parser],
    action: Callable[[dict[str, Any], bool], tuple[str, Sequence[str]]],
    argv: Sequence[str] | None,
) -> int:
    """Parse the flags, run `action` with those that were given and with whether to show progress,
    and print the summary and warnings it returns; the exit code.

    `build_parser` is the first to load packages. Without them a line says what to install.
    """
    _open_streams()
    # The allocator that pyarrow would choose keeps what is freed, 30 to 50 MB in each process.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        flags = vars(build_parser().parse_args(argv))
    except Exception as error:  # noqa: BLE001, as in `run`
        if "--debug" in (sys.argv if argv is None else argv):
            traceback.print_exc()
        return _explain(error)
    quiet, debug = flags.pop("quiet"), flags.pop("debug")
    given = {name: value for name, value in flags.items() if value is not None}
    return run(lambda: action(given, not quiet), quiet, debug)


def run(action: Callable[[], tuple[str, Sequence[str]]], quiet: bool, debug: bool) -> int:
    """Run `action`, print the summary and warnings it returns, and give the exit code."""
    _open_streams()
    finished = False
    try:
        with interrupt_on_signals():
            summary, warnings = action()
            finished = True
            from curriculum.display.text import wrapped  # it needs packages, this module none

            if not quiet:
                _print(summary, sys.stdout)
            for warning in warnings:
                _print("\n".join(wrapped(f"warning: {warning}", indent=2)), sys.stderr)
    except KeyboardInterrupt as interrupt:
        if finished or isinstance(interrupt, FinishedInterrupt):
            _print("interrupted, but the outputs are complete and in place", sys.stderr)
        else:
            _print("interrupted: nothing was written", sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001, where errors end: no traceback reaches a user
        if debug:
            traceback.print_exc()
        return _explain(error)
    return 0


def _open_streams() -> None:
    """Make sure that whatever is printed, names with odd bytes too, has somewhere to go."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print(text: str, stream: TextIO) -> None:
    """Print; a reader that has gone (`| head`) or a full disk undoes nothing that was done. What a
    terminal would obey or not show, such as in names from the data, is written out."""
    try:
        print(written_out(text), file=stream, flush=True)
    except OSError as error:
        # What is left in the buffer must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if stream is sys.stdout and not isinstance(error, BrokenPipeError):
            _print(f"warning: the summary was not printed ({error.strerror})", sys.stderr)


def _explain(error: Exception) -> int:
    """Say what went wrong; the exit code."""
    if isinstance(error, CurriculumError):
        _print(f"error: {error}", sys.stderr)
        return error.exit_code
    if isinstance(error, ModuleNotFoundError) and error.name in REQUIRED:
        _print(f"error: {_not_installed(missing_packages() or [error.name])}", sys.stderr)
        return 1
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        text, fix = f"{place}{error.strerror or error}", _FIXES.get(error.errno, _FIX)
    elif isinstance(error, MemoryError):
        text, fix = f"memory ran out ({error or 'no details'})", "use fewer --workers"
    else:
        text = f"unexpected {type(error).__name__}: {error}"
        fix = "run again with --debug and report what it prints"
    _print(f"error: {text};\nnothing was written; {fix}", sys.stderr)
    return 1


def _not_installed(packages: Sequence[str]) -> str:
    """Which packages are missing and what to do about it, in one line."""
    first, last = ", ".join(packages[:-1]), packages[-1]
    names = f"{first} and {last} are" if first else f"{last} is"
    return f"{names} not installed for {sys.executable}; {how_to_install(packages)}"
