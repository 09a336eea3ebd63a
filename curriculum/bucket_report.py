"""What a bucketing run tells and shows: its report, the score table and the picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from curriculum.bucket_summary import BucketingReport, picture
from curriculum.cut import Cut, compare_metrics
from curriculum.inputs import InputFile
from curriculum.manifests import BucketingManifest
from curriculum.named_files import NamedFiles
from curriculum.options import BucketOptions
from curriculum.outputs import Outputs
from curriculum.plot import draw
from curriculum.progress import Progress
from curriculum.scan import Scan, Scanned
from curriculum.stores import AnyPath, to_path
from curriculum.text import plural
from curriculum.workers import Workers

if TYPE_CHECKING:
    from curriculum.dumps import Gathered


@dataclass(frozen=True)
class BucketRun:
    """What the steps of a run share. `rollouts` are the files to bucket: those of the input, or
    those that its dump was gathered into."""

    options: BucketOptions
    rollouts: Sequence[InputFile]
    outputs: Outputs
    workers: Workers
    progress: Progress
    score_field: str
    gathered: Gathered | None = None


def report_bucketing(
    run: BucketRun, scanned: Scanned, found: Cut, manifest: BucketingManifest, kinds: Counter[str]
) -> BucketingReport:
    """All that a person wants to know of a run; `kinds` are those of its malformed lines."""
    options, gathered = run.options, run.gathered
    malformed = (
        gathered.malformed_by_file() if gathered else scanned.by_file(lambda scan: scan.malformed)
    )
    return BucketingReport(
        manifest=manifest,
        output_dir=options.output_dir,
        facts=found.facts,
        distinct=found.distinct,
        bins=found.bins,
        cuts=found.cuts,
        trust=found.trust,
        comparison=compare_metrics(options, scanned) if options.compare_metrics else None,
        dry_run=options.dry_run,
        responses=sum(scan.responses for scan in scanned.scans),
        missing_scores=+_by_file(run, scanned, lambda scan: scan.missing_scores),
        unscored=+_by_file(run, scanned, lambda scan: scan.unscored),
        malformed=+malformed,
        malformed_kinds=kinds,
        dump=gathered.dump if gathered else None,
        warnings=run.outputs.warnings,
    )


def stage_named(
    run: BucketRun, scanned: Scanned, found: Cut, report: BucketingReport, named: NamedFiles
) -> None:
    """Stage the score table and the picture, where they are asked for."""
    options = run.options
    if options.scores is not None:
        from curriculum.score_table import ScoreTable, places_of_groups, places_of_lines

        places = (
            places_of_groups(scanned, run.gathered) if run.gathered else places_of_lines(scanned)
        )
        staged = [path for path in score_files(run, scanned) if path is not None]
        table = ScoreTable(staged, scanned, found.buckets, options.names)
        table.write(named.stage(to_path(options.scores)), places)
    if options.plot is not None:
        draw(picture(report), named.stage(to_path(options.plot)))


def _by_file(run: BucketRun, scanned: Scanned, count: Callable[[Scan], int]) -> Counter[str]:
    """The sum of what `count` finds, by the file it lies in; for a dump by all of them."""
    found, inputs = scanned.by_file(count), run.options.inputs
    if not run.gathered:
        return found
    where = ", ".join(inputs) if len(inputs) <= 3 else plural(len(inputs), "path")
    return Counter({where: found.total()})


def score_files(run: BucketRun, scanned: Scanned) -> list[AnyPath | None]:
    """Per shard, where the rows of the score table are kept, if it is asked for."""
    if run.options.scores is None:
        return [None] * len(scanned.shards)
    scratch = run.outputs.scratch_directory()
    return [scratch / f"scores-{number:06}.arrow" for number in range(len(scanned.shards))]
