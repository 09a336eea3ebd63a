"""Which lines go to `rejected/`, and what `rejected/reasons.jsonl` says of them.

Rejected are malformed lines and unscored rollouts; copy_lines copies them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np

from curriculum.errors import InternalError
from curriculum.output.copy_lines import LinesToCopy
from curriculum.reading.ledger import CONFLICT, MALFORMED, Ledger
from curriculum.storage.paths import AnyPath, printable

NO_SCORE_REASON = "unscored: no score is present"


def lines_by_kind(ledger: Ledger, files: Mapping[int, int]) -> Iterator[LinesToCopy]:
    """All shards; `files` maps a kind of line to the number of the file that lines of this kind go
    to, and lines of other kinds go to none (-1)."""
    for shard, lines in zip(ledger.shards, ledger.shard_lines, strict=True):
        numbers = np.full(len(lines.kinds), -1, dtype=np.int32)
        for kind, number in files.items():
            numbers[lines.kinds == kind] = number
        yield shard, lines.lengths, numbers


def rejected_lines(ledger: Ledger, files: Mapping[int, int]) -> Iterator[LinesToCopy]:
    """The shards that have rejected lines. `files` maps a kind of line to the number of the file
    that its lines go to."""
    return (lines for lines in lines_by_kind(ledger, files) if (lines[2] >= 0).any())


def reason_lines(ledger: Ledger, reasons: Mapping[int, str]) -> Iterator[bytes]:
    """The lines of `rejected/reasons.jsonl`, in the order of the rejected lines.

    Each malformed line has its own reason. Other lines are rejected if `reasons` has their kind. A
    record has the file, the line number (from 1), the line's byte offset (null where lines are
    made of the records of parquet, JSON arrays and the like) and the reason.
    """
    malformed = (MALFORMED, CONFLICT)
    rejected = [*malformed, *reasons]
    shards = zip(
        ledger.shards, ledger.shard_lines, ledger.reasons, ledger.first_lines(), strict=True
    )
    for shard, lines, path, first_line in shards:
        starts, own = lines.starts(shard), own_reasons(path)
        made = shard.file.container is not None
        for line in np.flatnonzero(np.isin(lines.kinds, rejected)).tolist():
            kind = int(lines.kinds[line])
            reason = f"malformed: {next(own)}" if kind in malformed else reasons[kind]
            offset = None if made else int(starts[line])
            yield reason_line(shard.file.name, first_line + line, offset, reason)


def reason_line(path: str, line: int, offset: int | None, reason: str) -> bytes:
    """One line of `rejected/reasons.jsonl`, with its newline."""
    record = {"file": printable(path), "line": line, "offset": offset, "reason": reason}
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def own_reasons(path: AnyPath | None) -> Iterator[str]:
    """The reasons that a LineRecorder kept. Raises InternalError once there are no more."""
    if path is not None and path.exists():
        with path.open("rb") as stream:
            yield from map(json.loads, stream)
    raise InternalError("a malformed line has no reason")
