"""What a person wants to know of a preprocessing run, beside its manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from curriculum.choosing.schedule_facts import ScheduleFacts
from curriculum.output.manifests import PreprocessingManifest, SetRecord
from curriculum.preprocess_options import PreprocessOptions
from curriculum.preprocessing.parquet_sets import SetFacts
from curriculum.preprocessing.passes import SourceFacts
from curriculum.reading.truths import SeveralTruths
from curriculum.storage.paths import AnyPath
from curriculum.verl.row_batch import Notes
from curriculum.verl.rows import RowForm


class PreprocessingReport(Struct, frozen=True):
    """A preprocessing run: its manifest and what else a person wants to know about it.

    `form` is that of rows made from rollouts; with --source it is None, and `source` says how rows
    and rollouts were matched. `schedule` is how the rows of the only set follow theirs, `absent`
    how many of how many rollouts have nothing at a place that --keep names. `rows`, `unscored`,
    `malformed` (by kind), `responses`, `missing_scores` and the prompts in several rollouts
    (`repeated_prompts`) and in several buckets (`shared_prompts`) are counts over the whole bucket
    directory, and so are `notes`. `truths` are the prompts with several ground truths,
    `truth_places` an example as `file:line`.
    """

    options: PreprocessOptions
    manifest: PreprocessingManifest
    sets: Sequence[SetFacts]
    form: RowForm | None
    source: SourceFacts | None
    schedule: ScheduleFacts | None
    absent: Mapping[str, tuple[int, int]]
    moved: int
    repeated_prompts: int
    shared_prompts: int
    truths: SeveralTruths
    truth_places: Sequence[str]
    notes: Notes
    rows: int
    unscored: int
    malformed: Counter[str]
    responses: int
    missing_scores: int
    warnings: Sequence[str]

    @property
    def output(self) -> AnyPath:
        """The directory of the sets; the current one for a dry run without any."""
        return self.options.output or Path()

    @property
    def dry_run(self) -> bool:
        """Whether nothing was written."""
        return self.options.dry_run

    @property
    def record(self) -> SetRecord:
        """The record of this run's first set; all its sets have the same flags."""
        return self.manifest.sets[self.sets[0].name]
