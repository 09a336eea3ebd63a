"""Where the rollouts of a run come from: files that hold them, or a dump that is grouped first.

Both classes answer the same questions. The passes need not know which of them they work on, except
that the malformed lines of a dump are copied from files of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from curriculum.arrays import IntArray
from curriculum.dumps.detect import Dump
from curriculum.dumps.formats import OWN
from curriculum.errors import plural
from curriculum.grouping.groups import DumpNote
from curriculum.output.manifests import DumpRecord
from curriculum.output.rejected import reason_line, reason_lines
from curriculum.reading.input_files import InputFile, Shard, cut_shards
from curriculum.reading.ledger import FIRST_RECORD, Ledger
from curriculum.reading.rollouts import KnownRollouts
from curriculum.storage.paths import AnyPath

if TYPE_CHECKING:
    from curriculum.converting.converted_dump import ConvertedDump
    from curriculum.grouping.grouped_dump import GroupedDump

# Where a shard's rollouts are: the files, and each rollout's file number and line (from 1).
RolloutLocations: TypeAlias = tuple[Sequence[str], IntArray, IntArray]


class RolloutFiles:
    """Files with one rollout per line.

    The scan reads `files` and fills `rollout_ledger`. `input_ledger` is the ledger of the input,
    here the same object. `score_field` is the field of a reward entry that holds its score.
    """

    dump: Dump | None = None
    dump_record: DumpRecord | None = None
    one_a_line = "one rollout per line"
    step_place: str | None = None

    def __init__(
        self, files: Sequence[InputFile], score_field: str, reasons: AnyPath | None
    ) -> None:
        self.files = files
        self.rollout_ledger = Ledger.of(cut_shards(files), reasons)
        self.input_ledger = self.rollout_ledger
        self.score_field = score_field
        self.score_place = f"reward[i].{score_field}"

    def known(self, shard: Shard) -> KnownRollouts | None:
        """What is known of the rollouts of a shard already."""
        return None

    def label_by_input(self, counts: Counter[str]) -> Counter[str]:
        """Counts of rollouts by the path of their file, as reports show them."""
        return counts

    def reason_lines(self, reasons: Mapping[int, str]) -> Iterator[bytes]:
        """The lines of `rejected/reasons.jsonl`; `reasons` has the text for each unscored kind."""
        return reason_lines(self.rollout_ledger, reasons)

    def rollout_lines(self) -> Iterator[RolloutLocations]:
        """Where each rollout is, shard by shard."""
        ledger = self.rollout_ledger
        shards = zip(ledger.shards, ledger.shard_lines, ledger.first_lines(), strict=True)
        for shard, of_shard, first_line in shards:
            lines = np.flatnonzero(of_shard.kinds >= FIRST_RECORD)
            yield [shard.file.name], np.zeros(len(lines), np.int64), lines + first_line


class RolloutDump:
    """A dump whose lines became rollouts, which are staged one per line.

    `rollout_ledger` is the ledger of the staged rollouts, `input_ledger` that of the dump's lines.
    `notes` counts what was found while they were put together.
    """

    def __init__(self, grouped: GroupedDump | ConvertedDump, inputs: Sequence[str]) -> None:
        form = grouped.dump.form
        self.dump = grouped.dump
        self.dump_record = grouped.record()
        self.one_a_line = form.one_a_line
        self.step_place = form.step
        self.files = grouped.files
        self.rollout_ledger = Ledger.of(cut_shards(grouped.files))
        self.input_ledger = grouped.ledger
        self.score_field = form.reward_field
        self.score_place = f"reward[i].{form.reward_field}" if form.name == OWN else form.score
        self.notes = grouped.notes
        self._grouped, self._inputs = grouped, inputs

    @property
    def rollouts(self) -> int:
        """How many rollouts there are."""
        return sum(map(len, self._grouped.sizes))

    @property
    def responses(self) -> int:
        """How many responses the rollouts have."""
        return sum(int(sizes.sum()) for sizes in self._grouped.sizes)

    @property
    def every_response_failed(self) -> bool:
        """Whether no response was fit to be graded."""
        return self.responses > 0 and self.notes[DumpNote.FAILED, ""] == self.responses

    def known(self, shard: Shard) -> KnownRollouts | None:
        """What is known of the rollouts of a shard already: all, if it is a whole file. It can be
        asked for once."""
        whole = shard.stop - shard.start == shard.file.size
        return self._grouped.known.pop(shard.file.path, None) if whole else None

    def label_by_input(self, counts: Counter[str]) -> Counter[str]:
        """The total for all inputs together, because a rollout may have lines in many files."""
        inputs = self._inputs
        where = ", ".join(inputs) if len(inputs) <= 3 else plural(len(inputs), "path")
        return Counter({where: counts.total()})

    def reason_lines(self, reasons: Mapping[int, str]) -> Iterator[bytes]:
        """The same as for files; an unscored rollout is reported at its first response."""
        yield from reason_lines(self.input_ledger, {})
        kinds = np.concatenate(
            [np.zeros(0, np.uint8), *(lines.kinds for lines in self.rollout_ledger.shard_lines)]
        )
        chosen = np.flatnonzero(np.isin(kinds, list(reasons)))
        if not len(chosen):
            return
        (files, numbers, lines), offsets = self._grouped.rollout_lines(), self._grouped.offsets()
        shards = self._grouped.ledger.shards
        for i in chosen.tolist():
            number = int(numbers[i])
            offset = None if shards[number].file.container else int(offsets[i])
            yield reason_line(files[number], int(lines[i]), offset, reasons[int(kinds[i])])

    def rollout_lines(self) -> Iterator[RolloutLocations]:
        """Where the first response of each rollout is, shard by shard."""
        files, numbers, lines = self._grouped.rollout_lines()
        first = 0
        for of_shard in self.rollout_ledger.shard_lines:
            after = first + int((of_shard.kinds >= FIRST_RECORD).sum())
            yield files, numbers[first:after], lines[first:after]
            first = after


RolloutSource: TypeAlias = RolloutFiles | RolloutDump
