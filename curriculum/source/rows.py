"""A chunk of a data set → what its rows are matched by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

from curriculum.arrays import BoolArray, IntArray, LengthArray
from curriculum.choosing.flags import likely_number
from curriculum.choosing.judge import Asked, Looked
from curriculum.errors import InputError
from curriculum.preprocessing.settings import PreprocessingRun
from curriculum.reading.blocks import read_blocks
from curriculum.reading.input_files import Shard
from curriculum.reading.ledger import TAKEN, Ledger, LineRecorder, ShardLines
from curriculum.reading.lines import ELSEWHERE, Malformed, find, find_first, load_object
from curriculum.reading.prompts import PromptHashes, first_prompt
from curriculum.source.files import Chunk, Groups, Source, first_fields, read_batches
from curriculum.source.keys import (
    KEY,
    PROMPT,
    PROMPT_FIELDS,
    TEXT,
    Hashes,
    excerpt,
    hash_keys,
    join_hashes,
)
from curriculum.source.rollouts import RolloutPlaces

WAYS_TOLD = {
    PROMPT: "the messages of the prompt",
    TEXT: "the text of the last user message",
}


class Places(Struct, frozen=True):
    """Where rows have their prompt, the first of these that a row has, and their key, and where
    rollouts have what they are matched by."""

    row_prompts: Sequence[str]
    row_key: str | None
    rollouts: RolloutPlaces

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways to match, the surest first."""
        return (PROMPT, TEXT) if self.row_key is None else (KEY,)

    def told(self, way: str) -> str:
        """A way for a person to read."""
        if way != KEY:
            return WAYS_TOLD[way]
        other = self.rollouts.key
        return f"{self.row_key}" + ("" if other == self.row_key else f" = {other} of the rollouts")


def choose_places(run: PreprocessingRun, source: Source) -> Places:
    """Where to look, given the flags and the names of the columns."""
    options = run.options
    wanted, _, rollout_key = (options.source_key or "").partition("=")
    row_key, rollout_key = wanted, rollout_key or wanted
    names = source.schema.names if source.is_parquet else first_fields(source)
    if not names:
        raise InputError(
            "it holds no JSON object",
            where=source.files[0].path,
            expected="a data set in parquet, or one JSON object per line",
            fix="write it as one of these",
        )
    prompts = [name for name in PROMPT_FIELDS if name in names]
    if prompts and not source.is_parquet:  # other lines may have others
        prompts = list(PROMPT_FIELDS)
    if rollout_key in ("prompt", "messages") and row_key:  # the field holds the rollouts' prompt
        prompts, row_key = [row_key], ""
    top = wanted.partition(".")[0]
    if (top and top not in names) or not (row_key or prompts):
        sought = wanted or f"one of {', '.join(PROMPT_FIELDS)}"
        raise InputError(
            f"its rows have no field {top}" if top else "its rows have no prompt",
            where=source.files[0].path,
            expected=f"{sought}, to find the rollouts of a row; there are {', '.join(names)}",
            fix="name a field of both with --source-key, or PLACE=prompt for the prompt's field",
        )
    read = run.settings.read.places
    return Places(
        row_prompts=prompts,
        row_key=row_key or None,
        rollouts=RolloutPlaces(read.prompt, read.ground_truth, rollout_key if row_key else None),
    )


class RowTask(Struct, frozen=True):
    """A chunk, where its rows have the prompt (the first place that has one) and the key (None:
    nowhere), and what else is asked of them. `seed` is that of the split."""

    chunk: Chunk
    prompts: Sequence[str]
    key: str | None
    seed: int
    asked: Asked

    def read(self, row: Mapping[str, Any]) -> _Found:
        """The prompt, the key and what is at each place asked for; None where there is nothing."""
        prompt = first_prompt(find(row, place) for place in self.prompts)
        key = find(row, self.key) if self.key else None
        return prompt, key, [find_first(row, place) for place in self.asked.places]


_Found: TypeAlias = tuple[Any, Any, Sequence[Any]]


class RowChunk(Struct, frozen=True):
    """The hashes of each row of a chunk by way, the length of its prompt in characters, which kinds
    of keys there are, and what rows hold. Of JSON lines also the lines."""

    hashes: Hashes
    characters: LengthArray
    key_kinds: frozenset[str]
    looked: Looked
    lines: ShardLines | None

    def __len__(self) -> int:
        return len(self.characters)


def read_rows(task: RowTask) -> RowChunk:
    """Read what the rows of a chunk are matched by. Raises InputError if the file is damaged."""
    found, lines = _read(task)
    prompts, keys = [prompt for prompt, _, _ in found], [key for _, key, _ in found]
    asked = PromptHashes.of(prompts, task.seed)
    places = enumerate(task.asked.places)
    return RowChunk(
        hashes={KEY: hash_keys(keys), PROMPT: asked.prompts, TEXT: asked.texts},
        characters=asked.characters,
        key_kinds=frozenset(type(key).__name__ for key in keys if key is not None),
        looked=task.asked.look({place: [row[i] for _, _, row in found] for i, place in places}),
        lines=lines,
    )


def show_row(task: RowTask, row: int, first_line: int) -> str:
    """Where a row of a chunk is, and the start of its key or, without one, of its prompt.
    `first_line` is the number of the chunk's first line, if it has lines."""
    found, lines = _read(task)
    if isinstance(task.chunk, Groups):
        place = f"{task.chunk.file.path} row {task.chunk.first_row + row}"
    else:
        assert lines is not None
        line = int(np.flatnonzero(lines.kinds == TAKEN)[row])
        place = f"{task.chunk.file.path}:{first_line + line}"
    prompt, key, _ = found[row]
    return f"{place}: {excerpt(key if task.key else prompt)}"


def _read(task: RowTask) -> tuple[list[_Found], ShardLines | None]:
    if isinstance(task.chunk, Groups):
        return _columns(task, task.chunk), None
    return _lines(task, task.chunk)


def _columns(task: RowTask, chunk: Groups) -> list[_Found]:
    """What is read of a parquet file's rows."""
    asked = [p for place in task.asked.places for p in (place, *ELSEWHERE.get(place, ()))]
    every = (*task.prompts, task.key, *asked)
    places = list(dict.fromkeys(place for place in every if place))
    batches = read_batches(chunk, places)
    return [task.read(row) for batch in batches for row in batch.to_pylist()]


def _lines(task: RowTask, shard: Shard) -> tuple[list[_Found], ShardLines]:
    """What is read of the rows of JSON lines. A line that is no object is malformed."""
    found, recorder = list[_Found](), LineRecorder()
    for block in read_blocks(shard):
        refused = []
        for position, line in enumerate(block.lines()):
            try:
                row = load_object(line)
            except Malformed as error:
                refused.append((position, error.reason))
                continue
            found.append(task.read(row))
        recorder.add_block(block, refused)
    return found, recorder.result()


class Rows(Struct, frozen=True, dict=True):
    """The rows of a data set: its chunks, what was read of each, and where each begins."""

    source: Source
    tasks: Sequence[RowTask]
    read: Sequence[RowChunk]
    starts: IntArray
    first_lines: Sequence[int]  # of JSON lines, the number of each chunk's first line

    @staticmethod
    def read_all(run: PreprocessingRun, source: Source, places: Places) -> Rows:
        """Read what all rows are matched by. Raises InputError if lines are malformed."""
        seed, asked = run.settings.read.seed, run.settings.asked
        _check_columns(source, asked)
        tasks = [RowTask(c, places.row_prompts, places.row_key, seed, asked) for c in source.chunks]
        found = [part for _, part in run.workers.map(read_rows, tasks)]
        first_lines = [1] * len(found)
        if not source.is_parquet:
            ledger = Ledger.of(chunk for chunk in source.chunks if isinstance(chunk, Shard))
            for part in found:
                assert part.lines is not None
                ledger.add(part.lines)
            ledger.stop_if_malformed("fix or remove these lines of --source", "an object per line")
            first_lines = ledger.first_lines()
        counts = list(map(len, found))
        if not sum(counts):
            raise InputError(
                "it has no rows",
                where=source.files[0].path,
                expected="the data set that was sampled",
                fix="name its files with --source",
            )
        return Rows(source, tasks, found, np.cumsum([0, *counts]), first_lines)

    @cached_property
    def cuts(self) -> list[slice]:
        """The rows of each chunk."""
        return [slice(first, after) for first, after in pairwise(self.starts.tolist())]

    @cached_property
    def val(self) -> BoolArray:
        """Whether each row is of a file of val rows."""
        every = self.source.val_files
        of_chunk = np.array([task.chunk.file.path in every for task in self.tasks], np.bool_)
        return np.repeat(of_chunk, np.diff(self.starts))

    @cached_property
    def hashes(self) -> Hashes:
        """What each row is matched by."""
        return join_hashes([part.hashes for part in self.read])

    @cached_property
    def characters(self) -> LengthArray:
        """The length of each row's prompt in characters."""
        return np.concatenate([part.characters for part in self.read])

    @cached_property
    def looked(self) -> Looked:
        """What rows hold at the places that are asked for."""
        return Looked.join([part.looked for part in self.read])

    def show(self, row: int) -> str:
        """Where a row is, and the start of its prompt or key."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        first_line = self.first_lines[number]
        return show_row(self.tasks[number], row - int(self.starts[number]), first_line)


def _check_columns(source: Source, asked: Asked) -> None:
    """Raise InputError if the rows of parquet have no column for a place that is asked for."""
    names = source.schema.names if source.is_parquet else []
    needed = [p for p in asked.places if p != asked.group or asked.group_needed]
    for place in needed if names else ():
        others = (place, *ELSEWHERE.get(place, ()))
        if not {*others, *(other.partition(".")[0] for other in others)} & {*names}:
            raise InputError(
                f"its rows have no column for {place}",
                where=source.files[0].path,
                expected=f"a field of the rows: there are {', '.join(names)}",
                fix=f"conditions and groups of --source are about its rows; {likely_number(place)}",
            )
