"""A parquet file of rollouts → its rows as lines of JSON, row group by row group."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from curriculum.arrays import IntArray
from curriculum.containers.arrow_json import LineEncoder, has_times, why_not_json
from curriculum.containers.container import Container
from curriculum.containers.file_kinds import PARQUET
from curriculum.errors import InputError
from curriculum.storage.parquet_reading import cut_groups, open_parquet, read_batches
from curriculum.storage.paths import AnyPath

BATCH_BYTES = 4 << 20


def open_rows(path: AnyPath) -> Container:
    """What the rows of a parquet file are made of. Raises InputError for a damaged file, for two
    columns of one name, and for one that has no column that JSON can hold; OSError if it cannot be
    opened."""
    with open_parquet(path) as opened:
        schema = opened.schema_arrow
    names = schema.names
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(
            f"two of its columns are called {twice}",
            where=path,
            expected="columns with names of their own",
            fix="rename one of them, and write the file again",
        )
    found = ((field.name, why_not_json(field.type)) for field in schema)
    left_out = tuple((name, why) for name, why in found if why is not None)
    if len(left_out) == len(names):
        raise InputError(
            "it has no columns" if not names else f"its columns are {left_out[0][1]}, no JSON",
            where=path,
            expected="columns with the fields of rollouts",
            fix="leave it out of -i, or write it again with columns of text and numbers",
        )
    return Container(PARQUET, left_out=left_out, times=any(has_times(f.type) for f in schema))


class RowShard(Struct, frozen=True):
    """Row groups `first` (inclusive) to `after` (exclusive), and where the part of the file begins
    and ends that is theirs, about, in bytes."""

    first: int
    after: int
    start: int
    stop: int


def cut_rows(path: AnyPath, size: int, shard_bytes: int) -> list[RowShard]:
    """Row groups of about `shard_bytes` together, uncompressed, in a file of `size` bytes."""
    with open_parquet(path) as opened:
        metadata = opened.metadata
        chunks = list(cut_groups(metadata, shard_bytes))
        packed = [
            sum(
                metadata.row_group(group).column(i).total_compressed_size
                for group in range(chunk.first, chunk.after)
                for i in range(metadata.num_columns)
            )
            for chunk in chunks
        ]
    shards, done, total, start = list[RowShard](), 0, sum(packed), 0
    for number, (chunk, more) in enumerate(zip(chunks, packed, strict=True), 1):
        done += more
        stop = size if number == len(chunks) else max(start + 1, size * done // max(total, 1))
        shards.append(RowShard(chunk.first, chunk.after, start, stop))
        start = stop
    return shards


def read_rows(
    path: AnyPath, container: Container, groups: tuple[int, int] | None, block_bytes: int
) -> Iterator[tuple[bytearray, IntArray]]:
    """The rows of some row groups (None: of all), about `block_bytes` of lines at a time."""
    left_out = {name for name, _ in container.left_out}
    with open_parquet(path) as opened:
        first, after = groups or (0, opened.num_row_groups)
        columns = [name for name in opened.schema_arrow.names if name not in left_out]
        wanted = columns if left_out else None
        encoder = None
        for batch in read_batches(
            opened, path, first, after, wanted, max(block_bytes, BATCH_BYTES)
        ):
            encoder = encoder or LineEncoder(batch.schema)
            rows = max(1, len(batch) * block_bytes // max(batch.nbytes, 1))
            yield from encoder.lines(batch, rows)
