"""What holds the records of a file that is no JSON lines, and those records as lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeAlias

from msgspec import Struct

from curriculum.arrays import IntArray
from curriculum.containers.eval_logs import read_samples
from curriculum.containers.file_kinds import EVAL_LOG, JSON_ARRAY, PARQUET, FileKind
from curriculum.containers.json_items import Broken, read_items
from curriculum.errors import InputError
from curriculum.storage.paths import AnyPath

# Some lines, each with a newline, and the end of each before that, if it is known.
Lines: TypeAlias = "tuple[bytearray, IntArray | None]"


class Container(Struct, frozen=True):
    """What the records of a file lie in.

    `start` is where the array begins, in bytes of the text. It is the value of the field `field`
    of an object, or all there is (None). `left_out` are columns of parquet whose values JSON cannot
    hold, each with the reason, and `times` says that it has times, which become text.
    """

    kind: FileKind
    start: int = 0
    field: str | None = None
    left_out: tuple[tuple[str, str], ...] = ()
    times: bool = False

    @property
    def record(self) -> str:
        """What a line is made of."""
        return {PARQUET: "row", EVAL_LOG: "sample"}.get(self.kind, "item")


def read_container(
    path: AnyPath,
    container: Container,
    open_text: Callable[[], BinaryIO],
    groups: tuple[int, int] | None,
    block_bytes: int,
) -> Iterator[Lines]:
    """The records of a file as lines, about `block_bytes` at a time; with `groups` only those in
    these row groups of a parquet file. `open_text` opens the text of all other files. Raises
    InputError, which says where, if the file is damaged."""
    if container.kind == PARQUET:
        from curriculum.containers.parquet_rows import read_rows  # loads pyarrow

        yield from read_rows(path, container, groups, block_bytes)
    elif container.kind == EVAL_LOG:
        yield from ((lines, None) for lines in read_samples(path, block_bytes))
    else:
        yield from _json_lines(path, container, open_text, block_bytes)


def _json_lines(
    path: AnyPath, container: Container, open_text: Callable[[], BinaryIO], block_bytes: int
) -> Iterator[Lines]:
    in_array = container.kind == JSON_ARRAY
    try:
        with open_text() as stream:
            _skip(stream, container.start)
            alone = container.field is None
            for lines in read_items(stream, in_array, alone, block_bytes):
                yield lines, None
    except Broken as error:
        raise broken(path, container, error) from error


def _skip(stream: BinaryIO, size: int) -> None:
    while size > 0 and (data := stream.read(min(size, 1 << 20))):
        size -= len(data)


def broken(path: AnyPath, container: Container, error: Broken) -> InputError:
    """The error for JSON that is not closed, or has too much or too little between its values."""
    array = f"the array {container.field!r}" if container.field else "an array"
    what = array if container.kind == JSON_ARRAY else "JSON objects, one after another"
    return InputError(
        f"this is no complete JSON: {error.found}",
        where=path,
        expected=what,
        fix="fetch it again, or write it again; a file that is still being written can be read "
        "when it is complete",
    )
