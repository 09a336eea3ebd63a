"""A dump with one response a line → staged rollouts of our own form, one a line.

Lines are indexed shard by shard, responses are grouped by numbers alone, and then each rollout is
put together from its lines.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from curriculum.arrays import HashArray, IntArray
from curriculum.dumps.detect import Dump
from curriculum.dumps.formats import End
from curriculum.engines.progress import Progress
from curriculum.engines.workers import Workers
from curriculum.grouping.gather import GatherTask, gather_rollouts
from curriculum.grouping.groups import DumpNote, DumpNotes, how_scored, note_counts
from curriculum.grouping.index import Index, IndexTask, index_shard
from curriculum.grouping.responses import FirstResponses, Responses
from curriculum.output.manifests import DumpRecord
from curriculum.output.output_directory import OutputDirectory
from curriculum.output.rejected import own_reasons
from curriculum.reading.input_files import InputFile, Shard, cut_shards
from curriculum.reading.ledger import CONFLICT, FIRST_RECORD, MALFORMED, SKIPPED, TAKEN, Ledger
from curriculum.reading.rollouts import KnownRollouts
from curriculum.storage.paths import AnyPath


class GroupedDump(Struct):
    """A dump after both of its passes: the `ledger` of its lines, the index of each shard without
    the groups, the first response of each rollout, and the `files` of the assembled rollouts.

    For each group that disagrees, `pairs` has the kind and two responses that differ, by the
    group's first response, and `refused` has the reason, by the group's number. `sizes` has how
    many responses each rollout has, a batch after another, and `notes` counts what was found in
    them. `several_files` counts rollouts with lines from several files. `known` has the rollouts of
    each file of `files`.
    """

    dump: Dump
    ledger: Ledger
    indexes: list[Index] = field(default_factory=list)
    files: list[InputFile] = field(default_factory=list)
    firsts: FirstResponses | None = None
    pairs: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    several_files: int = 0
    sizes: list[IntArray] = field(default_factory=list)
    notes: DumpNotes = field(default_factory=Counter)
    known: dict[AnyPath, KnownRollouts] = field(default_factory=dict)

    @property
    def better_scores(self) -> int:
        """How many responses have the format's better score."""
        return sum(index.better for index in self.indexes)

    @property
    def left_out(self) -> IntArray:
        """The groups that did not become rollouts."""
        return np.array(sorted(self.refused), np.int64)

    def file_lines(self, responses: IntArray) -> dict[int, tuple[str, int]]:
        """The file and line (from 1) of each of these responses."""
        wanted, found = np.unique(responses), {}
        first = 0  # the shard's first response
        shards = zip(
            self.ledger.shards, self.ledger.shard_lines, self.ledger.first_lines(), strict=True
        )
        for shard, of_shard, first_line in shards:
            lines = np.flatnonzero(of_shard.kinds >= FIRST_RECORD)
            low, high = np.searchsorted(wanted, (first, first + len(lines)))
            for response in wanted[low:high].tolist():
                found[response] = shard.file.name, first_line + int(lines[response - first])
            first += len(lines)
        return found

    def rollout_lines(self) -> tuple[list[str], IntArray, IntArray]:
        """Where the first response of each rollout is: a list of files, its index in that list,
        and its line (from 1)."""
        assert self.firsts is not None
        ledger = self.ledger
        lines = [
            np.flatnonzero(of_shard.kinds >= FIRST_RECORD) + first_line
            for of_shard, first_line in zip(ledger.shard_lines, ledger.first_lines(), strict=True)
        ]
        files = [shard.file.name for shard in ledger.shards]
        first = self.firsts
        return files, first.shards.astype(np.int64), np.concatenate(lines)[first.numbers]

    def offsets(self) -> IntArray:
        """The byte offset of each rollout's first response, in the (uncompressed) text of its
        file."""
        assert self.firsts is not None
        return self.firsts.offsets

    def record(self) -> DumpRecord:
        """What the manifest says about the dump."""
        form = self.dump.form
        steps = [index.steps for index in self.indexes if index.steps]
        sizes = np.concatenate([np.zeros(0, np.int64), *self.sizes])
        return DumpRecord(
            format=form.name,
            score=form.score,
            better_scores=0 if form.score == form.better_score else self.better_scores,
            grouped_by=self._grouped_by(),
            skipped=self.ledger.count(SKIPPED),
            lines_per_rollout=(int(sizes.min()), int(sizes.max())) if len(sizes) else (0, 0),
            single_lines=int((sizes == 1).sum()),
            several_files=self.several_files,
            repeated=self.notes[DumpNote.REPEATED, ""],
            truncated="missing" if End.CUT_OFF in form.unscored else "graded",
            notes=note_counts(self.notes),
            **how_scored(form),
            steps=(min(low for low, _ in steps), max(high for _, high in steps)) if steps else None,
        )

    def _grouped_by(self) -> dict[str, int]:
        """How many responses each set of places grouped, the most common first."""
        alternatives = self.dump.form.alternatives
        total = np.zeros(len(alternatives), np.int64)
        for index, lines in zip(self.indexes, self.ledger.shard_lines, strict=True):
            kept = lines.kinds[lines.kinds >= FIRST_RECORD] >= TAKEN
            total += np.bincount(index.marks[kept], minlength=len(alternatives))
        counts = Counter(dict(enumerate(total.tolist())))
        return {" and ".join(alternatives[mark]): n for mark, n in counts.most_common() if n}


class Gatherer(Struct, frozen=True):
    """Gathers the rollouts of a dump. With `keep_reasons`, malformed lines are set aside."""

    dump: Dump
    output: OutputDirectory
    workers: Workers
    progress: Progress
    keep_reasons: bool

    def run(self, files: Sequence[InputFile]) -> GroupedDump:
        """Read the files, group their responses, and stage the rollouts."""
        scratch = self.output.scratch_directory()
        reasons = scratch / "dump-reasons" if self.keep_reasons else None
        grouped = GroupedDump(self.dump, Ledger.of(cut_shards(files), reasons))
        ledger = grouped.ledger
        hashes = self._index(grouped, scratch)
        if ledger.count(TAKEN) and (self.keep_reasons or not ledger.reason_kinds):
            responses = Responses.of(ledger, hashes)
            del hashes  # a large run is short of memory in the driver
            self._assemble(grouped, responses, scratch)
            _refuse(grouped, responses)
            if grouped.refused and self.keep_reasons:
                _keep_reasons(grouped, responses)
            file_of = _first_equal([shard.file.name for shard in ledger.shards])
            several = responses.in_several_files(file_of[responses.shards])
            grouped.several_files = int((~np.isin(several, grouped.left_out)).sum())
            grouped.firsts = responses.first_of_groups(grouped.left_out)
        return grouped

    def _index(self, grouped: GroupedDump, scratch: AnyPath) -> HashArray:
        """Index every line; the hash of each response's group, which is kept nowhere else. Use the
        better score if all responses have it."""
        self.progress.step("group")
        ledger, form = grouped.ledger, self.dump.form
        tasks = [
            IndexTask(shard, form, self.dump.steps, reasons, _text_file(shard, scratch, i))
            for i, (shard, reasons) in enumerate(zip(ledger.shards, ledger.reasons, strict=True))
        ]
        hashes, none = list[HashArray](), np.zeros(0, np.uint64)
        for task, index in self.workers.map(index_shard, tasks):
            ledger.add(index.lines)
            hashes.append(index.groups)
            grouped.indexes.append(replace(index, groups=none))
            self.progress.add(task.shard.stop - task.shard.start)
        if form.better_score and grouped.better_scores == ledger.count(TAKEN):
            grouped.dump = replace(self.dump, form=replace(form, score=form.better_score))
        return np.concatenate([none, *hashes])

    def _assemble(self, grouped: GroupedDump, responses: Responses, scratch: AnyPath) -> None:
        self.progress.step("gather")
        tasks = self._gather_tasks(grouped, responses, scratch)
        for task, batch in self.workers.map(gather_rollouts, tasks):
            grouped.pairs |= batch.refused
            grouped.sizes.append(batch.responses)
            grouped.notes.update(batch.notes)
            grouped.files.append(InputFile(task.output, batch.bytes, None, None, 0))
            grouped.known[task.output] = KnownRollouts(batch.lengths, batch.scores)
            self.progress.add(int(task.lengths.sum(dtype=np.int64)))

    def _gather_tasks(
        self, grouped: GroupedDump, responses: Responses, scratch: AnyPath
    ) -> Iterator[GatherTask]:
        shards = grouped.ledger.shards
        texts = [_text_file(s, scratch, i) or s.file.path for i, s in enumerate(shards)]
        file_of = _first_equal(texts)
        for number, (some, counts) in enumerate(responses.batches()):
            numbers = file_of[responses.shards[some]]
            used = np.flatnonzero(np.bincount(numbers))
            files = np.searchsorted(used, numbers)
            yield GatherTask(
                form=grouped.dump.form,
                files=[shards[i].file for i in used.tolist()],
                paths=[texts[i] for i in used.tolist()],
                responses=some,
                numbers=files,
                offsets=responses.offsets[some],
                lengths=responses.lengths[some],
                counts=counts,
                output=scratch / f"rollouts-{number:06}.jsonl",
            )


def _first_equal(names: Sequence[Hashable]) -> IntArray:
    """For each name the number of the first one that equals it."""
    first = {name: number for number, name in reversed(list(enumerate(names)))}
    return np.array([first[name] for name in names])


def _refuse(grouped: GroupedDump, responses: Responses) -> None:
    """Mark all lines of groups that disagree as malformed, since it is unknown which are right.
    Report two of each group."""
    if not grouped.pairs:
        return
    lines = grouped.file_lines(np.array([pair[1:] for pair in grouped.pairs.values()]).ravel())
    sizes, reasons, first = np.bincount(responses.groups), Counter[str](), []
    for response, (kind, one, other) in sorted(grouped.pairs.items()):
        pair = dict.fromkeys((one, other))
        where = " and ".join("{}:{}".format(*lines[number]) for number in pair)
        group = int(responses.groups[response])
        grouped.refused[group] = f"{kind}: {where}"
        first.append(f"{where}: {kind}")
        reasons[kind] += int(sizes[group])
    wrong = np.isin(responses.groups, grouped.left_out)
    grouped.ledger.refuse_taken(wrong, reasons, first)


def _keep_reasons(grouped: GroupedDump, responses: Responses) -> None:
    """Rewrite the files of reasons, with those of refused responses in input order."""
    first = 0
    for lines, path in zip(grouped.ledger.shard_lines, grouped.ledger.reasons, strict=True):
        after = first + lines.count(TAKEN, CONFLICT)
        own, of_line = own_reasons(path), iter(responses.groups[first:after].tolist())
        first = after
        if path is None or not lines.count(CONFLICT):
            continue
        reasons = []
        for kind in lines.kinds.tolist():
            group = next(of_line) if kind >= FIRST_RECORD else -1
            if kind == CONFLICT:
                reasons.append(grouped.refused[group])
            elif kind == MALFORMED:
                reasons.append(next(own))
        path.write_bytes(b"".join(json.dumps(reason).encode() + b"\n" for reason in reasons))


def _text_file(shard: Shard, scratch: AnyPath, number: int) -> AnyPath | None:
    """The path for the text of a shard; None if it is what the file holds."""
    return None if shard.file.is_plain else scratch / f"text-{number:06}.jsonl"
