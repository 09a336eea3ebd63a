"""Preprocessing, second pass: staged rows → the parquet files of one set.

Each row is given its side of the split and its index, and nothing else changes. What was written
is counted from the rows themselves.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curriculum.arrays import HashArray, LengthArray, compact_lengths
from curriculum.arrow import int64_values, truths
from curriculum.parquet import GroupWriter, read_footer
from curriculum.prompts import SPLITS, Split
from curriculum.verl import RowForm, Stage, place_rows


@dataclass(frozen=True)
class StagedShard:
    """A shard's staged rows, the bucket they are of, and the index of its first rollout."""

    paths: Sequence[Path]
    stage: Stage
    first_index: int


@dataclass(frozen=True)
class PlaceTask:
    """A set: its staged shards in order, and by side where to write and the rows of each row
    group; a side without rows has no path. `data_source` is that of all rows, None where each
    has its own."""

    shards: Sequence[StagedShard]
    form: RowForm
    split: Split
    paths: Sequence[Path | None]
    groups: Sequence[Sequence[int]]
    data_source: str | None


@dataclass
class Placed:
    """What was written of one side: how many rows, a digest of their prompts' hashes in order,
    each prompt's length in characters, rows by data_source; and what the file's own footer says:
    rows, compressed bytes by column."""

    rows: int = 0
    digest: bytes = b""
    prompt_lengths: list[LengthArray] = field(default_factory=list)
    data_sources: Counter[str] = field(default_factory=Counter)
    rows_in_file: int = 0
    columns: Counter[str] = field(default_factory=Counter)


def place_set(task: PlaceTask) -> list[Placed]:
    """Write the files of a set, and say by side what went into them. Staged rows are removed."""
    placed = [Placed() for _ in SPLITS]
    digests = [hashlib.blake2b() for _ in SPLITS]
    schema = task.form.schema()
    with ExitStack() as stack:
        writers = [
            None if path is None else stack.enter_context(GroupWriter(path, schema, groups))
            for path, groups in zip(task.paths, task.groups, strict=True)
        ]
        for batch, shard in _read(task.shards):
            hashes = int64_values(batch.column("hash")).view(np.uint64)
            val = task.split.is_val(hashes)
            for side, (chosen, writer) in enumerate(zip((~val, val), writers, strict=True)):
                if writer is None or not chosen.any():
                    continue
                rows = batch if chosen.all() else batch.filter(truths(chosen))
                columns = dict(zip(rows.schema.names, rows.columns, strict=True))
                indexes = shard.first_index + int64_values(columns["ordinal"])
                writer.add(place_rows(columns, indexes, task.form, shard.stage, SPLITS[side]))
                placed[side].rows += len(rows)
                placed[side].prompt_lengths.append(_characters(columns["prompt"]))
                if task.data_source is None:
                    placed[side].data_sources.update(_count(columns["data_source"]))
                else:
                    placed[side].data_sources[task.data_source] += len(rows)
                digests[side].update(int64_values(columns["hash"]).tobytes())
    for done, path, digest in zip(placed, task.paths, digests, strict=True):
        done.digest = digest.digest()
        if path is not None:
            done.rows_in_file, done.columns = read_footer(path)
    return placed


def digest_hashes(parts: Sequence[HashArray]) -> bytes:
    """The digest that `Placed` has for rows with these hashes."""
    digest = hashlib.blake2b()
    for part in parts:
        digest.update(part.tobytes())
    return digest.digest()


def _read(shards: Sequence[StagedShard]) -> Iterator[tuple[pa.RecordBatch, StagedShard]]:
    # These files are this run's own, so nobody cuts them short under the map.
    for shard in shards:
        for path in shard.paths:
            with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
                for batch in stream:
                    yield batch, shard
            path.unlink()


def _characters(prompts: pa.ListArray) -> LengthArray:
    """How many characters the messages of each prompt have, all together."""
    contents = prompts.flatten().field("content")
    lengths = int64_values(pc.cast(pc.utf8_length(contents), pa.int64()))
    counts = int64_values(pc.cast(pc.list_value_length(prompts), pa.int64()))
    return compact_lengths(np.add.reduceat(lengths, np.cumsum(counts) - counts))


def _count(texts: pa.Array) -> Counter[str]:
    counted = pc.value_counts(texts)
    values, counts = counted.field("values"), counted.field("counts")
    return Counter(dict(zip(values.to_pylist(), counts.to_pylist(), strict=True)))
