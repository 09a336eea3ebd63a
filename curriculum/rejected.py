"""Lines that become part of nothing: malformed ones told in one message, unscored ones set aside.

Every rejected line has its file, line and reason.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from curriculum.arrays import ByteArray, LengthArray
from curriculum.copying import Lines
from curriculum.errors import InputError, InternalError
from curriculum.inputs import Shard
from curriculum.manifests import MALFORMED_FILE, printable
from curriculum.rollouts import Reason
from curriculum.stores import AnyPath, to_path
from curriculum.text import plural

SHOWN = 10


@dataclass
class Problems:
    """The first malformed lines, each with its line number and reason, and all by kind."""

    first: list[tuple[int, str]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)


class ProblemLog:
    """The malformed lines of a shard while it is read.

    Every reason goes to the file `path`, a JSON string a line, in the order of the lines; there is
    no file without a reason, and none without a `path`.
    """

    def __init__(self, path: AnyPath | None = None) -> None:
        self.problems = Problems()
        self._path = path
        self._stream: BinaryIO | None = None

    def add(self, line: int, reason: Reason) -> None:
        """Note one malformed line; `line` counts from 0 within the shard."""
        self.problems.kinds[reason.kind] += 1
        if len(self.problems.first) < SHOWN:
            self.problems.first.append((line, reason.text))
        if self._path is not None:
            self._stream = self._stream or self._path.open("wb")
            self._stream.write(json.dumps(reason.text).encode() + b"\n")

    def close(self) -> None:
        """End the file."""
        if self._stream is not None:
            self._stream.close()


@dataclass
class ProblemReport:
    """Malformed lines of a whole run, their places being `file:line`."""

    first: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    told: int = 0  # lines that `first` names

    def add(self, path: str, lines: int, problems: Problems) -> None:
        """Take over the problems of a file's next shard, which has that many lines."""
        self.kinds.update(problems.kinds)
        for line, reason in problems.first[: SHOWN - len(self.first)]:
            self.first.append(f"{path}:{self.lines[path] + line + 1}: {reason}")
            self.told += 1
        self.lines[path] += lines

    def stop_if_any(self, fix: str, expected: str = "one rollout per line") -> None:
        """Raise InputError that lists the first malformed lines and the total by kind; `fix` is
        what to do about them."""
        total = self.kinds.total()
        if not total:
            return
        kinds = by_kind(self.kinds)
        shown = "\n  ".join(self.first)
        more = f"\n  … and {total - self.told:,} more" if total > self.told else ""
        raise InputError(
            f"{total:,} malformed line{'s' if total > 1 else ''} ({kinds}), "
            f"expected {expected}\n  {shown}{more}",
            fix=f"nothing was written; {fix}",
        )


def by_kind(kinds: Counter[str]) -> str:
    """How many malformed lines there are of each kind, the commonest first."""
    return ", ".join(f"{count:,} × {kind}" for kind, count in kinds.most_common())


def set_aside(kinds: Counter[str], output_dir: str, dry_run: bool) -> str:
    """The warning about malformed lines that were set aside, or would be."""
    aside = "would be set aside" if dry_run else "set aside"
    return (
        f"{plural(kinds.total(), 'malformed line')} {aside} ({by_kind(kinds)}): in "
        f"{to_path(output_dir) / MALFORMED_FILE}, the reasons beside them. Mend them and run "
        "again if they should count."
    )


@dataclass(frozen=True)
class RejectedLines:
    """A shard's lines by what they are: `lengths` (bytes, without newline) and `kinds`, one per
    line, and the file with the reasons of its malformed ones, if it has any."""

    shard: Shard
    lengths: LengthArray
    kinds: ByteArray
    reasons: AnyPath | None


def reason_lines(
    shards: Iterable[RejectedLines], malformed: int, reasons: Mapping[int, str]
) -> Iterator[bytes]:
    """The lines of `rejected/reasons.jsonl`, in the order of the rejected lines.

    Rejected are lines of the kind `malformed`, each with a reason of its own, and of those in
    `reasons`. A record has the file, the line (from 1), its byte offset and the reason.
    """
    lines_before: Counter[str] = Counter()
    rejected = [malformed, *reasons]
    for lines in shards:
        path = lines.shard.file.path
        whole = lines.lengths.astype(np.int64) + 1
        starts = lines.shard.first_offset + np.cumsum(whole) - whole
        own = own_reasons(lines.reasons)
        for line in np.flatnonzero(np.isin(lines.kinds, rejected)).tolist():
            kind = int(lines.kinds[line])
            reason = f"malformed: {next(own)}" if kind == malformed else reasons[kind]
            yield reason_line(path, lines_before[path] + line + 1, int(starts[line]), reason)
        lines_before[path] += len(lines.kinds)


def reason_line(path: str, line: int, offset: int, reason: str) -> bytes:
    """One line of it."""
    record = {"file": printable(path), "line": line, "offset": offset, "reason": reason}
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def rejected_lines(shards: Iterable[RejectedLines], kinds: Sequence[int]) -> Iterator[Lines]:
    """The shards with rejected lines, which go to files numbered as `kinds` are."""
    for lines in shards:
        where = np.full(len(lines.kinds), -1, dtype=np.int32)
        for place, kind in enumerate(kinds):
            where[lines.kinds == kind] = place
        if (where >= 0).any():
            yield lines.shard, lines.lengths, where


def own_reasons(path: AnyPath | None) -> Iterator[str]:
    """The reasons that a ProblemLog kept. Raises InternalError where there is no further one."""
    if path is not None and path.exists():
        with path.open("rb") as stream:
            yield from map(json.loads, stream)
    raise InternalError("a malformed line has no reason")
