"""The directory of an earlier bucketing → its manifest, and the numbers of its rollouts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from curriculum.arrays import HashArray, IntArray
from curriculum.bucketing.scan import Scan, ScanTask, scan_shard
from curriculum.cutting.change import Side
from curriculum.engines.workers import Workers
from curriculum.errors import InputError
from curriculum.options import BucketOptions
from curriculum.output.journal import recover_to_read
from curriculum.output.manifests import BucketingManifest, load_manifest
from curriculum.reading.blocks import ChosenLines
from curriculum.reading.find_files import find_each
from curriculum.reading.input_files import InputFile, Shard, cut_shards
from curriculum.reading.ledger import TAKEN, ShardLines
from curriculum.reading.lines import PlaceReader
from curriculum.source.keys import hash_keys
from curriculum.storage.paths import AnyPath


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


@dataclass(frozen=True)
class Earlier:
    """An earlier bucketing: where it is, its manifest, and the files of each bucket."""

    directory: AnyPath
    manifest: BucketingManifest
    files: Sequence[Sequence[InputFile]]

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
        return Earlier(directory, manifest, files)

    @property
    def bytes(self) -> int:
        """The size of all its buckets."""
        return sum(file.size for files in self.files for file in files)

    def read(self, workers: Workers, options: BucketOptions, key: str | None) -> Side:
        """The rollouts that have a value of the metric of `options`, by prompt or by the field
        `key`. Raises InputError for malformed lines."""
        shards = [(i, shard) for i, files in enumerate(self.files) for shard in cut_shards(files)]
        scans = [scan for _, scan in workers.map(scan_shard, self._tasks(options, shards))]
        for (_, shard), scan in zip(shards, scans, strict=True):
            _check(shard, scan)
        if key is None:
            keys = [scan.prompts for scan in scans]
        else:
            ledger = [(shard, s.lines) for (_, shard), s in zip(shards, scans, strict=True)]
            keys = read_keys(workers, ledger, key)
        counts = [len(scan.values) for scan in scans]
        return Side(
            keys=np.concatenate([np.zeros(0, np.uint64), *keys]),
            values=np.concatenate([np.zeros(0), *(scan.values for scan in scans)]),
            buckets=np.repeat([bucket for bucket, _ in shards], counts),
            counts=_joined([scan.counts for scan in scans]),
            passes=_joined([scan.passes for scan in scans]),
        )

    def _tasks(
        self, options: BucketOptions, shards: Sequence[tuple[int, Shard]]
    ) -> Iterator[ScanTask]:
        for number, (_, shard) in enumerate(shards):
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


def _check(shard: Shard, scan: Scan) -> None:
    """Raise InputError if lines of the earlier bucketing are malformed."""
    if scan.lines.problems.first:
        line, reason = scan.lines.problems.first[0]
        raise InputError(
            f"a line of the earlier bucketing is malformed: {reason}",
            where=f"{shard.file.name}, line {line + 1} of its part",
            expected="the buckets as they were written",
            fix="bucket those rollouts again",
        )


def _joined(parts: Sequence[IntArray]) -> IntArray:
    return np.concatenate([np.zeros(0, np.int64), *parts])


@dataclass(frozen=True)
class KeyTask:
    """Lines whose keys are wanted, and the place of the key in each."""

    lines: ChosenLines
    place: str


def hash_lines(task: KeyTask) -> HashArray:
    """The hash of the key of each line; NO_PROMPT where there is none."""
    reader = PlaceReader((task.place,))
    return hash_keys(reader.read_lines(task.lines.texts())[task.place])


def read_keys(
    workers: Workers, ledger: Sequence[tuple[Shard, ShardLines]], place: str
) -> list[HashArray]:
    """The hashes of the keys of the scored rollouts, shard by shard."""
    tasks = [
        KeyTask(lines.chosen(shard, np.flatnonzero(lines.kinds >= TAKEN)), place)
        for shard, lines in ledger
    ]
    return [found for _, found in workers.map(hash_lines, tasks)]
