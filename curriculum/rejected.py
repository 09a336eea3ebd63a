"""Lines that become part of nothing: malformed ones told in one message, unscored ones set aside.

Every rejected line has its file, line and reason.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from curriculum.arrays import ByteArray, LengthArray
from curriculum.errors import InputError
from curriculum.inputs import Shard
from curriculum.manifests import printable
from curriculum.rollouts import Malformed

SHOWN = 10


@dataclass
class Problems:
    """The first malformed lines, each with its line number and reason, and all by kind."""

    first: list[tuple[int, str]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, line: int, error: Malformed) -> None:
        """Note one malformed line; `line` counts from 0 within the shard."""
        self.kinds[error.kind] += 1
        if len(self.first) < SHOWN:
            self.first.append((line, str(error)))


@dataclass
class ProblemReport:
    """Malformed lines of a whole run, their places being `file:line`."""

    first: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)

    def add(self, path: str, lines: int, problems: Problems) -> None:
        """Take over the problems of a file's next shard, which has that many lines."""
        self.kinds.update(problems.kinds)
        for line, reason in problems.first[: SHOWN - len(self.first)]:
            self.first.append(f"{path}:{self.lines[path] + line + 1}: {reason}")
        self.lines[path] += lines

    def stop_if_any(self, fix: str) -> None:
        """Raise InputError that lists the first malformed lines and the total by kind; `fix` is
        what to do about them."""
        total = self.kinds.total()
        if not total:
            return
        kinds = ", ".join(f"{count:,} × {kind}" for kind, count in self.kinds.most_common())
        shown = "\n  ".join(self.first)
        more = f"\n  … and {total - len(self.first):,} more" if total > len(self.first) else ""
        raise InputError(
            f"{total:,} malformed line{'s' if total > 1 else ''} ({kinds}), "
            f"expected one rollout per line\n  {shown}{more}",
            fix=f"nothing was written; {fix}",
        )


def reason_lines(
    shards: Sequence[Shard],
    lines: Iterable[tuple[LengthArray, ByteArray]],
    reasons: Mapping[int, str],
) -> Iterator[bytes]:
    """The lines of `rejected/reasons.jsonl`, in the order of the rejected lines.

    `lines` gives each shard's line lengths (without newline) and kinds, `reasons` the kinds that
    are rejected. A record has the file, the line (from 1), its byte offset and the reason.
    """
    lines_before: Counter[str] = Counter()
    for shard, (lengths, kinds) in zip(shards, lines, strict=True):
        path = shard.file.path
        whole = lengths.astype(np.int64) + 1
        starts = shard.first_offset + np.cumsum(whole) - whole
        for line in np.flatnonzero(np.isin(kinds, list(reasons))).tolist():
            record = {
                "file": printable(path),
                "line": lines_before[path] + line + 1,
                "offset": int(starts[line]),
                "reason": reasons[int(kinds[line])],
            }
            yield json.dumps(record, ensure_ascii=False).encode() + b"\n"
        lines_before[path] += len(kinds)
