"""A dump with one response a line → staged rollouts of our own form, one a line.

Lines are indexed shard by shard; their groups, numbers only, are found here; then each rollout is
put together from its lines.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from curriculum.arrays import ByteArray, IntArray
from curriculum.copying import Lines
from curriculum.dump_find import Dump
from curriculum.dump_gather import GatherTask, gather_rollouts
from curriculum.dump_index import (
    BLANK,
    CONFLICT,
    MALFORMED,
    RESPONSE,
    SKIPPED,
    Index,
    IndexTask,
    index_shard,
)
from curriculum.dump_responses import Responses
from curriculum.inputs import InputFile, Shard, cut_shards
from curriculum.manifests import DumpRecord
from curriculum.outputs import Outputs
from curriculum.progress import Progress
from curriculum.rejected import (
    SHOWN,
    ProblemReport,
    RejectedLines,
    own_reasons,
    reason_line,
    reason_lines,
    rejected_lines,
)
from curriculum.stores import AnyPath
from curriculum.workers import Workers


@dataclass
class Gathered:
    """A dump, read: its shards and what is in them; the responses; of groups that disagree, by
    their first response, how and which `pairs` do, and by their number why they are `refused`; and
    the files of the rollouts that were put together. Counted are the rollouts with several files,
    several prompts or an unread prompt."""

    dump: Dump
    shards: list[Shard]
    reasons: Sequence[AnyPath | None]
    indexes: list[Index] = field(default_factory=list)
    problems: ProblemReport = field(default_factory=ProblemReport)
    files: list[InputFile] = field(default_factory=list)
    responses: Responses | None = None
    pairs: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    several_files: int = 0
    several_prompts: int = 0
    unread_prompts: int = 0

    def count(self, *kinds: int) -> int:
        """How many lines are of these kinds."""
        return sum(index.count(*kinds) for index in self.indexes)

    @property
    def blank(self) -> int:
        """How many lines are blank."""
        return self.count(BLANK)

    @property
    def malformed(self) -> int:
        """How many lines are malformed, those of groups that disagree among them."""
        return self.count(MALFORMED, CONFLICT)

    @property
    def better_scores(self) -> int:
        """How many responses have the format's better score."""
        return sum(index.better for index in self.indexes)

    @property
    def left_out(self) -> IntArray:
        """The groups that are no rollouts."""
        return np.array(sorted(self.refused), np.int64)

    def by_file(self, *kinds: int) -> Counter[str]:
        """How many lines of these kinds, or of any, each file has, by path."""
        found: Counter[str] = Counter()
        for shard, index in zip(self.shards, self.indexes, strict=True):
            found[shard.file.path] += index.count(*kinds) if kinds else len(index.kinds)
        return found

    def malformed_by_file(self) -> Counter[str]:
        """How many lines of each file are malformed, by path."""
        return self.by_file(MALFORMED, CONFLICT)

    def _rejected(self) -> Iterator[RejectedLines]:
        for shard, index, reasons in zip(self.shards, self.indexes, self.reasons, strict=True):
            kinds = np.where(index.kinds == CONFLICT, MALFORMED, index.kinds)
            yield RejectedLines(shard, index.lengths, kinds, reasons)

    def malformed_lines(self) -> Iterator[Lines]:
        """The shards with malformed lines, which go to one file."""
        return rejected_lines(self._rejected(), [MALFORMED])

    def reason_lines(self, kinds: ByteArray, reasons: Mapping[int, str]) -> Iterator[bytes]:
        """The lines of `rejected/reasons.jsonl`: of the malformed lines, then of the rollouts
        whose kind, one per rollout, is in `reasons`, at their first response."""
        yield from reason_lines(self._rejected(), MALFORMED, {})
        if self.responses is None:
            return
        chosen = np.flatnonzero(np.isin(kinds, list(reasons)))
        first = self.responses.first_of_groups(self.left_out)[chosen]
        places = self.places(first)
        for rollout, response in zip(chosen.tolist(), first.tolist(), strict=True):
            offset = int(self.responses.offsets[response])
            yield reason_line(*places[response], offset, reasons[int(kinds[rollout])])

    def places(self, responses: IntArray) -> dict[int, tuple[str, int]]:
        """The file and line (from 1) of some responses."""
        wanted, found = np.unique(responses), {}
        before: Counter[str] = Counter()  # lines of the file
        first = 0  # response of the shard
        for shard, index in zip(self.shards, self.indexes, strict=True):
            lines = np.flatnonzero(index.kinds >= RESPONSE)
            low, high = np.searchsorted(wanted, (first, first + len(lines)))
            for response in wanted[low:high].tolist():
                line = int(lines[response - first])
                found[response] = shard.file.path, before[shard.file.path] + line + 1
            first += len(lines)
            before[shard.file.path] += len(index.kinds)
        return found

    def rollout_places(self) -> tuple[list[str], IntArray, IntArray]:
        """Where the first response of each rollout stands: files, the number of each one's file,
        and its line (from 1)."""
        assert self.responses is not None
        first, before = self.responses.first_of_groups(self.left_out), Counter[str]()
        lines = []
        for shard, index in zip(self.shards, self.indexes, strict=True):
            path = shard.file.path
            lines.append(np.flatnonzero(index.kinds >= RESPONSE) + before[path] + 1)
            before[path] += len(index.kinds)
        files = [shard.file.path for shard in self.shards]
        return files, self.responses.shards[first].astype(np.int64), np.concatenate(lines)[first]

    def record(self) -> DumpRecord:
        """What the manifest says of the dump."""
        form = self.dump.form
        steps = [index.steps for index in self.indexes if index.steps]
        sizes = self.responses.sizes(self.left_out) if self.responses else np.zeros(0, np.int64)
        return DumpRecord(
            format=form.name,
            score=form.score,
            better_scores=0 if form.score == form.better_score else self.better_scores,
            grouped_by=self._grouped_by(),
            skipped=self.count(SKIPPED),
            lines_per_rollout=(int(sizes.min()), int(sizes.max())) if len(sizes) else (0, 0),
            single_lines=int((sizes == 1).sum()),
            several_files=self.several_files,
            several_prompts=self.several_prompts,
            unread_prompts=self.unread_prompts,
            steps=(min(low for low, _ in steps), max(high for _, high in steps)) if steps else None,
        )

    def _grouped_by(self) -> dict[str, int]:
        """How many responses were grouped by which places, the commonest first."""
        alternatives, total = self.dump.form.alternatives, Counter[int]()
        for index in self.indexes:
            kept = index.kinds[index.kinds >= RESPONSE] == RESPONSE
            total.update(index.marks[kept].tolist())
        return {" and ".join(alternatives[mark]): n for mark, n in total.most_common()}


@dataclass(frozen=True)
class Gatherer:
    """Gathers the rollouts of a dump. `keep_reasons` says that malformed lines are set aside."""

    dump: Dump
    outputs: Outputs
    workers: Workers
    progress: Progress
    keep_reasons: bool

    def run(self, files: Sequence[InputFile]) -> Gathered:
        """Read the files, group their responses, and stage the rollouts."""
        shards, scratch = list(cut_shards(files)), self.outputs.scratch_directory()
        reasons = [
            scratch / f"dump-reasons-{number:06}" if self.keep_reasons else None
            for number in range(len(shards))
        ]
        gathered = Gathered(self.dump, shards, reasons)
        self._index(gathered, scratch)
        if gathered.count(RESPONSE) and (self.keep_reasons or not gathered.problems.kinds):
            gathered.responses = Responses.of(shards, gathered.indexes)
            self._assemble(gathered, scratch)
            _refuse(gathered)
            if gathered.refused and self.keep_reasons:
                _keep_reasons(gathered)
            paths = [shard.file.path for shard in shards]
            file_of = np.unique(np.array(paths), return_inverse=True)[1]
            several = gathered.responses.spread(file_of[gathered.responses.shards])
            gathered.several_files = len(np.setdiff1d(several, gathered.left_out))
        return gathered

    def _index(self, gathered: Gathered, scratch: AnyPath) -> None:
        """Read every line; take the better score if all responses have it."""
        self.progress.step("group")
        shards = enumerate(zip(gathered.shards, gathered.reasons, strict=True))
        form = self.dump.form
        tasks = [
            IndexTask(shard, form, self.dump.steps, reasons, _text(shard, scratch, i))
            for i, (shard, reasons) in shards
        ]
        for task, index in self.workers.map(index_shard, tasks):
            gathered.problems.add(task.shard.file.path, len(index.kinds), index.problems)
            gathered.indexes.append(index)
            self.progress.add(task.shard.stop - task.shard.start)
        if form.better_score and gathered.better_scores == gathered.count(RESPONSE):
            gathered.dump = replace(self.dump, form=replace(form, score=form.better_score))

    def _assemble(self, gathered: Gathered, scratch: AnyPath) -> None:
        self.progress.step("gather")
        tasks = self._gather_tasks(gathered, scratch)
        for task, found in self.workers.map(gather_rollouts, tasks):
            gathered.pairs |= found.refused
            gathered.unread_prompts += found.unread_prompts
            gathered.several_prompts += found.several_prompts
            gathered.files.append(InputFile(str(task.output), found.bytes, None, None, 0))
            self.progress.add(int(task.lengths.sum(dtype=np.int64)))

    def _gather_tasks(self, gathered: Gathered, scratch: AnyPath) -> Iterator[GatherTask]:
        responses, shards = gathered.responses, gathered.shards
        if responses is None:
            return
        texts = [str(_text(s, scratch, i) or s.file.path) for i, s in enumerate(shards)]
        first = {text: number for number, text in reversed(list(enumerate(texts)))}
        file_of = np.array([first[text] for text in texts])
        for number, (some, counts) in enumerate(responses.batches()):
            used, files = np.unique(file_of[responses.shards[some]], return_inverse=True)
            yield GatherTask(
                form=gathered.dump.form,
                files=[shards[i].file for i in used.tolist()],
                paths=[texts[i] for i in used.tolist()],
                responses=some,
                numbers=files,
                offsets=responses.offsets[some],
                lengths=responses.lengths[some],
                counts=counts,
                output=scratch / f"rollouts-{number:06}.jsonl",
            )


def _refuse(gathered: Gathered) -> None:
    """Note the lines of groups that disagree as malformed, and of each two that differ: which of
    them is right is unknown."""
    responses, problems = gathered.responses, gathered.problems
    if responses is None or not gathered.pairs:
        return
    places = gathered.places(np.array([pair[1:] for pair in gathered.pairs.values()]).ravel())
    for first, (kind, one, other) in sorted(gathered.pairs.items()):
        where = " and ".join("{}:{}".format(*places[response]) for response in (one, other))
        gathered.refused[int(responses.groups[first])] = f"{kind}: {where}"
        if len(problems.first) < SHOWN:
            problems.first.append(f"{where}: {kind}")
            problems.told += 2
    sizes = np.bincount(responses.groups)
    for first, (kind, _, _) in gathered.pairs.items():
        problems.kinds[kind] += int(sizes[responses.groups[first]])
    wrong = np.isin(responses.groups, gathered.left_out)
    counts = [index.count(RESPONSE) for index in gathered.indexes]
    parts = np.split(wrong, np.cumsum(counts)[:-1])
    for number, (index, mine) in enumerate(zip(gathered.indexes, parts, strict=True)):
        kinds = index.kinds.copy()
        kinds[np.flatnonzero(kinds == RESPONSE)[mine]] = CONFLICT
        gathered.indexes[number] = replace(index, kinds=kinds)


def _keep_reasons(gathered: Gathered) -> None:
    """Put the reasons of refused responses among those of the other malformed lines."""
    assert gathered.responses is not None
    groups, first = gathered.responses.groups, 0
    for index, path in zip(gathered.indexes, gathered.reasons, strict=True):
        after = first + index.count(RESPONSE, CONFLICT)
        own, of_line = own_reasons(path), iter(groups[first:after].tolist())
        first = after
        if path is None or not index.count(CONFLICT):
            continue
        reasons = []
        for kind in index.kinds.tolist():
            group = next(of_line) if kind >= RESPONSE else -1
            if kind == CONFLICT:
                reasons.append(gathered.refused[group])
            elif kind == MALFORMED:
                reasons.append(next(own))
        path.write_bytes(b"".join(json.dumps(reason).encode() + b"\n" for reason in reasons))


def _text(shard: Shard, scratch: AnyPath, number: int) -> AnyPath | None:
    """Where the text of a compressed file goes; None for another file."""
    return scratch / f"text-{number:06}.jsonl" if shard.file.codec else None
