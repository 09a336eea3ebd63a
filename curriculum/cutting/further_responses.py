"""`--more-responses`: the rollouts whose bucket further responses would settle most, as JSON lines
that a sampler can read, in input order."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from curriculum.arrays import CompactIntArray, IntArray
from curriculum.bucketing.rollout_source import RolloutSource
from curriculum.bucketing.scan import Scanned
from curriculum.cutting.assign_buckets import BucketAssignment
from curriculum.engines.workers import Workers
from curriculum.output.report_files import FURTHER
from curriculum.reading.blocks import ChosenLines
from curriculum.reading.ledger import FIRST_RECORD, TAKEN
from curriculum.reading.lines import FieldReader
from curriculum.statistics.settling import Kinds, Settling
from curriculum.storage.paths import AnyPath, printable

COPIED = ("prompt", "messages", "key", "ground_truth", "data_source")  # fields of a rollout


class FurtherResponses(Struct, frozen=True):
    """How many further responses each scored rollout gets, shard by shard, and the sum."""

    shards: Sequence[IntArray]
    total: int
    prompts: int

    @staticmethod
    def plan(scanned: Scanned, assigned: BucketAssignment, budget: int) -> FurtherResponses:
        """Spend a budget of responses on the rollouts of a run."""
        counts = np.concatenate([scan.counts for scan in scanned.scans]).astype(np.int64)
        passes = np.concatenate([scan.passes for scan in scanned.scans]).astype(np.int64)
        buckets = np.concatenate(list(assigned.buckets)).astype(np.int64)
        kinds = Kinds.of(counts, passes, buckets)
        found = Settling(kinds, assigned.cuts).spend(budget)
        ends = np.cumsum([len(part) for part in assigned.buckets])[:-1]
        return FurtherResponses(np.split(found, ends), int(found.sum()), int((found > 0).sum()))

    def write(
        self,
        path: AnyPath,
        workers: Workers,
        source: RolloutSource,
        scanned: Scanned,
        buckets: Sequence[CompactIntArray],
        names: Sequence[str],
    ) -> None:
        """Write a line for each rollout that gets any."""
        ledger = source.rollout_ledger
        parts = zip(ledger.shards, ledger.shard_lines, self.shards, strict=True)
        tasks = [
            lines.chosen(shard, np.flatnonzero(lines.kinds >= TAKEN)[more > 0])
            for shard, lines, more in parts
            if more.any()
        ]
        texts = (text for _, found in workers.map(read_fields, tasks) for text in found)
        with path.open("wb") as stream:
            for number, (files, of, at) in enumerate(source.rollout_lines()):
                kinds = ledger.shard_lines[number].kinds
                scored = np.flatnonzero(kinds[kinds >= FIRST_RECORD] >= TAKEN)
                scan, more, mine = scanned.scans[number], self.shards[number], buckets[number]
                for i in np.flatnonzero(more).tolist():
                    rollout = int(scored[i])
                    record = {
                        **json.loads(next(texts)),
                        "bucket": names[int(mine[i])],
                        "num_responses": int(scan.counts[i]),
                        "num_passes": int(scan.passes[i]),
                        FURTHER: int(more[i]),
                        "file": printable(files[int(of[rollout])]),
                        "line": int(at[rollout]),
                    }
                    stream.write(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace"))
                    stream.write(b"\n")


def read_fields(chosen: ChosenLines) -> list[bytes]:
    """The fields of these lines that are COPIED, as JSON."""
    return [_copied(line) for line in chosen.texts()]


_fields = FieldReader(COPIED)


def _copied(line: memoryview) -> bytes:
    fields = _fields.read(line)
    found = {name: fields[name] for name in COPIED if fields.get(name) is not None}
    if found.get("prompt"):
        found.pop("messages", None)
    return json.dumps(found).encode()
