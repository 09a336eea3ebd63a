"""A dump whose lines hold whole rollouts → staged rollouts of our own form, shard by shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from msgspec import Struct, field

from curriculum.arrays import IntArray
from curriculum.converting.convert_shard import ConvertTask, convert_shard
from curriculum.dumps.detect import Dump
from curriculum.dumps.formats import Holds
from curriculum.engines.progress import Progress
from curriculum.engines.workers import Workers
from curriculum.grouping.groups import DumpNotes, how_scored, note_counts
from curriculum.output.manifests import DumpRecord
from curriculum.output.output_directory import OutputDirectory
from curriculum.reading.input_files import InputFile, cut_shards
from curriculum.reading.ledger import SKIPPED, TAKEN, Ledger
from curriculum.reading.rollouts import KnownRollouts
from curriculum.storage.paths import AnyPath


class ConvertedDump(Struct):
    """A dump whose lines became rollouts: the `ledger` of its lines, and of the rollouts their
    `files`, how many responses each has (`sizes`, a file after another), what is `known` of those
    of each file, and what was found in them (`notes`).

    `rollouts` is how many each line became that was taken, shard by shard.
    """

    dump: Dump
    ledger: Ledger
    files: list[InputFile] = field(default_factory=list)
    sizes: list[IntArray] = field(default_factory=list)
    known: dict[AnyPath, KnownRollouts] = field(default_factory=dict)
    notes: DumpNotes = field(default_factory=Counter)
    rollouts: list[IntArray] = field(default_factory=list)

    def rollout_lines(self) -> tuple[list[str], IntArray, IntArray]:
        """Where each rollout is: a list of files, its index in that list, and its line (from 1)."""
        ledger = self.ledger
        numbers, lines = [], []
        parts = zip(ledger.shard_lines, ledger.first_lines(), self.rollouts, strict=True)
        for number, (of_shard, first_line, rollouts) in enumerate(parts):
            taken = np.flatnonzero(of_shard.kinds >= TAKEN) + first_line
            lines.append(np.repeat(taken, rollouts))
            numbers.append(np.full(len(lines[-1]), number, np.int64))
        files = [shard.file.name for shard in ledger.shards]
        return files, np.concatenate(numbers), np.concatenate(lines)

    def offsets(self) -> IntArray:
        """The byte offset of the line of each rollout, in the (uncompressed) text of its file."""
        ledger = self.ledger
        return np.concatenate([
            np.repeat(of_shard.starts(shard)[of_shard.kinds >= TAKEN], rollouts)
            for shard, of_shard, rollouts in zip(
                ledger.shards, ledger.shard_lines, self.rollouts, strict=True
            )
        ])  # fmt: skip

    def record(self) -> DumpRecord:
        """What the manifest says about the dump."""
        form = self.dump.form
        sizes = np.concatenate([np.zeros(0, np.int64), *self.sizes])
        return DumpRecord(
            format=form.name,
            score=form.score,
            better_scores=0,
            grouped_by={},
            skipped=self.ledger.count(SKIPPED),
            lines_per_rollout=(int(sizes.min()), int(sizes.max())) if len(sizes) else (0, 0),
            single_lines=int((sizes == 1).sum()),
            several_files=0,
            steps=None,
            notes=note_counts(self.notes),
            **how_scored(form),
            in_lists=0 if form.holds is Holds.VALUE and not form.counts else int(sizes.sum()),
        )


class LineConversion(Struct, frozen=True):
    """Converts the lines of a dump. With `keep_reasons`, malformed lines are set aside."""

    dump: Dump
    output: OutputDirectory
    workers: Workers
    progress: Progress
    keep_reasons: bool

    def run(self, files: Sequence[InputFile]) -> ConvertedDump:
        """Read the files and stage the rollouts."""
        scratch = self.output.scratch_directory()
        reasons = scratch / "dump-reasons" if self.keep_reasons else None
        converted = ConvertedDump(self.dump, Ledger.of(cut_shards(files), reasons))
        ledger = converted.ledger
        self.progress.step("convert")
        shards = enumerate(zip(ledger.shards, ledger.reasons, strict=True))
        tasks = [
            ConvertTask(
                shard, self.dump.form, self.dump.steps, scratch / f"rollouts-{i:06}.jsonl", kept
            )
            for i, (shard, kept) in shards
        ]
        for task, found in self.workers.map(convert_shard, tasks):
            ledger.add(found.lines)
            converted.rollouts.append(found.rollouts)
            converted.sizes.append(found.scores.counts)
            converted.notes.update(found.notes)
            converted.files.append(InputFile(task.output, found.bytes, None, None, 0))
            converted.known[task.output] = KnownRollouts(found.lengths, found.scores)
            self.progress.add(task.shard.stop - task.shard.start)
        return converted
