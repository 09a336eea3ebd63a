"""The directory of an earlier bucketing → its manifest, and the numbers of its rollouts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct

from curriculum.arrays import HashArray, IntArray
from curriculum.bucketing.scan import Scan, ScanTask, scan_shard
from curriculum.cutting.change import Side
from curriculum.engines.workers import Workers
from curriculum.errors import InputError
from curriculum.options import BucketOptions
from curriculum.output.journal import recover_to_read
from curriculum.output.manifests import UNSCORED_FILE, BucketingManifest, load_manifest, whole_name
from curriculum.reading.blocks import ChosenLines
from curriculum.reading.find_files import find_each
from curriculum.reading.input_files import InputFile, Shard, cut_shards
from curriculum.reading.ledger import FIRST_RECORD, TAKEN, Ledger
from curriculum.reading.lines import PlaceReader
from curriculum.source.keys import hash_keys
from curriculum.storage.paths import AnyPath

HIGHEST_KIND = 256  # beyond every kind of a line


def load_earlier(flag: str, directory: AnyPath) -> BucketingManifest:
    """The manifest of an earlier bucketing. Raises InputError if there is none."""
    manifest = load_manifest(directory, BucketingManifest) if directory.is_dir() else None
    if manifest is None:
        there = directory.exists()
        raise InputError(
            f"there is no {BucketingManifest.file_name} in it" if there else "it is not there",
            where=f"{flag} {directory}",
            expected="a directory that bucket_rollouts_by_difficulty.py wrote",
            fix="name the -o of the earlier run",
        )
    return manifest


class Earlier(Struct, frozen=True):
    """An earlier bucketing: where it is, its manifest, the files of each bucket, and those of its
    unscored rollouts, if they are there."""

    directory: AnyPath
    manifest: BucketingManifest
    files: Sequence[Sequence[InputFile]]
    unscored: Sequence[InputFile]

    @staticmethod
    def open(flag: str, directory: AnyPath, output: AnyPath | None) -> Earlier:
        """Find the files of an earlier bucketing. `output` is that of this run, which it may be.
        Raises InputError if they are not there."""
        manifest = load_earlier(flag, directory)
        if output is None or directory.resolve() != output.resolve():
            recover_to_read(directory)
            manifest = load_earlier(flag, directory)
        names = [bucket.files() for bucket in manifest.buckets]
        for name in (name for some in names for name in some):
            if not (directory / name).exists():
                raise InputError(
                    "its manifest names a file that is not there",
                    where=directory / name,
                    expected="all files of the earlier bucketing",
                    fix=f"restore it, or bucket again into {directory}",
                )
        files = [find_each([directory / name for name in some]) for some in names]
        unscored = [directory / n for n in manifest.rejected if whole_name(n) == UNSCORED_FILE]
        there = [path for path in unscored if path.exists()]
        return Earlier(directory, manifest, files, find_each(there))

    @property
    def bytes(self) -> int:
        """The size of all its rollouts."""
        return sum(file.size for files in (*self.files, self.unscored) for file in files)

    def read(self, workers: Workers, options: BucketOptions, key: str | None) -> Side:
        """The rollouts that have a value of the metric of `options`, by prompt or by the field
        `key`. Raises InputError for malformed lines."""
        shards = [(i, shard) for i, some in enumerate(self.files) for shard in cut_shards(some)]
        scans, keys = self._scan(workers, options, [shard for _, shard in shards], key)
        _, rest = self._scan(workers, options, list(cut_shards(self.unscored)), key)
        others = np.concatenate([keys.others, rest.others, rest.scored])
        counts = [len(scan.values) for scan in scans]
        buckets = np.repeat([bucket for bucket, _ in shards], counts)
        return side_of(Keys(keys.scored, others), scans, buckets)

    def _scan(
        self, workers: Workers, options: BucketOptions, shards: Sequence[Shard], key: str | None
    ) -> tuple[list[Scan], Keys]:
        """What the rollouts of some shards hold, and what they are matched by."""
        ledger = Ledger.of(shards)
        scans = [scan for _, scan in workers.map(scan_shard, self._tasks(options, shards))]
        for scan in scans:
            ledger.add(scan.lines)
        ledger.stop_if_malformed(
            f"restore {self.directory}, or bucket those rollouts again",
            "the earlier bucketing as it was written",
        )
        return scans, Keys.read(workers, ledger, scans, key)

    @property
    def edited(self) -> list[str]:
        """A warning for each bucket whose files are not as large as its manifest says."""
        return [
            f"{self.directory / record.file} was edited since bucketing: it has "
            f"{sum(file.size for file in files):,} bytes, the manifest says {record.bytes:,}. The "
            "comparison is with what it holds now."
            for record, files in zip(self.manifest.buckets, self.files, strict=True)
            if sum(file.size for file in files) != record.bytes
        ]

    def _tasks(self, options: BucketOptions, shards: Sequence[Shard]) -> Iterator[ScanTask]:
        for number, shard in enumerate(shards):
            yield ScanTask(
                shard=shard,
                score_field=self.manifest.metric.score_field,
                metric=options.chosen_metric,
                parameters=options.parameters,
                hash_lines=False,
                bound=0,  # no sample
                file=number,
                carried=options.value_field is not None,
                count_passes=True,
            )


class Keys(Struct, frozen=True):
    """What rollouts are matched by: the hashes of the scored ones, and of the others."""

    scored: HashArray
    others: HashArray

    @staticmethod
    def read(workers: Workers, ledger: Ledger, scans: Sequence[Scan], place: str | None) -> Keys:
        """The prompts of all rollouts, or what they hold at a place."""
        if place is None:
            scored, others = (
                [getattr(scan, name) for scan in scans] for name in ("prompts", "other_prompts")
            )
        else:
            scored, others = (
                _read_keys(workers, ledger, kinds, place)
                for kinds in ((TAKEN, HIGHEST_KIND), (FIRST_RECORD, TAKEN))
            )
        nothing = np.zeros(0, np.uint64)
        return Keys(np.concatenate([nothing, *scored]), np.concatenate([nothing, *others]))


def side_of(keys: Keys, scans: Sequence[Scan], buckets: IntArray) -> Side:
    """The scored rollouts of some scans, given what they are matched by and their buckets."""
    return Side(
        keys=keys.scored,
        prompts=np.concatenate([np.zeros(0, np.uint64), *(scan.prompts for scan in scans)]),
        values=np.concatenate([np.zeros(0), *(scan.values for scan in scans)]),
        buckets=buckets.astype(np.int64),
        counts=_joined([scan.counts for scan in scans]),
        passes=_joined([scan.passes for scan in scans]),
        others=keys.others,
    )


def _joined(parts: Sequence[IntArray]) -> IntArray:
    return np.concatenate([np.zeros(0, np.int64), *parts])


class KeyTask(Struct, frozen=True):
    """Lines whose keys are wanted, and the place of the key in each."""

    lines: ChosenLines
    place: str


def hash_lines(task: KeyTask) -> HashArray:
    """The hash of the key of each line; NO_PROMPT where there is none."""
    reader = PlaceReader((task.place,))
    return hash_keys(reader.read_lines(task.lines.texts())[task.place])


def _read_keys(
    workers: Workers, ledger: Ledger, kinds: tuple[int, int], place: str
) -> list[HashArray]:
    """The hashes of the keys of the lines of some kinds, from the first (inclusive) to the last
    (exclusive)."""
    low, high = kinds
    tasks = []
    for shard, lines in zip(ledger.shards, ledger.shard_lines, strict=True):
        some = np.flatnonzero((lines.kinds >= low) & (lines.kinds < high))
        if len(some):
            tasks.append(KeyTask(lines.chosen(shard, some), place))
    return [found for _, found in workers.map(hash_lines, tasks)]
