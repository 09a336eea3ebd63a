"""What a preprocessing run is asked to do: flags or a library call → checked options.

Whatever is wrong by itself raises UsageError here, before any data is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

from curriculum.bucket_names import check_names
from curriculum.choosing.choose import Choice
from curriculum.choosing.conditions import Condition, parse_conditions
from curriculum.choosing.flags import (
    check_group_size,
    names_of,
    parse_balance,
    parse_replay,
    parse_schedule,
    parse_top,
)
from curriculum.choosing.schedule import Schedule
from curriculum.engines.workers import check_engine
from curriculum.errors import UsageError, check_choice
from curriculum.filters import FILTERS
from curriculum.option_checks import (
    check_at_least_one,
    check_finite,
    check_output,
    check_parquet,
    check_path,
    check_place,
    check_plot,
    check_report,
    check_score_field,
    check_text,
    check_workers,
)
from curriculum.options import DEFAULT_SEED, ON_MALFORMED
from curriculum.storage.paths import AnyPath, to_path

ORDERS = ("input", "easy-to-hard")
TRUTH_FORMATS = ("auto", "string", "typed")
DEFAULT_VAL_RATIO = 0.05
DEFAULT_DATA_SOURCE = "bucketed_curriculum"
UNMATCHED = ("drop", "keep", "stop")
UNSEEN = "unseen"  # the set of the rows of a data set that match no rollout
# By field, the flags that go with --source alone, and those that do not go with it.
_SOURCE_FLAGS = {
    "source_val": "--source-val",
    "source_key": "--source-key",
    "unmatched": "--unmatched",
    "annotate": "--annotate",
    "no_annotate": "--no-annotate",
}
_ROW_FLAGS = {
    "data_source": "--data-source",
    "keep_data_source": "--keep-data-source",
    "ability": "--ability",
    "ground_truth_format": "--ground-truth-format",
    "best_response": "--no-best-response",
}


@dataclass(frozen=True)
class PreprocessOptions:
    """Which buckets become which parquet sets, and how.

    With `cumulative` there are, besides the buckets' own sets, one of the first two, one of the
    first three, and so on, in `cumulative/`. With `dry_run` nothing is written, and there need be
    no output directory.

    With a `source`, a data set, its rows are written instead of rows made from rollouts, with their
    difficulty added unless `no_annotate`. With a `source_val` its rows are val, and no others.
    `annotate` is a parquet file to write all rows of the source to, with their difficulty.

    `keep` are conditions that every row meets. Of the train rows of a set, `replay` takes a share
    of the prompts of its easier buckets, `top` the number of rows and a metric, the highest first,
    `balance` a place and shares of what is there, and `max_rows` so many. `val_rows` rows of each
    bucket are val, in place of `val_ratio`; `split_like` is a directory of earlier sets whose seed,
    ratio and moved prompts give the split. With `control` there is beside each set one of as many
    random rows. A `schedule` orders the train rows batch by batch; `plot` is a file to draw it in,
    and `report` a page to write.

    None means the default: all buckets, the manifest's score field and pass threshold, `combined`
    for the set's name, a ratio of 0.05, the seed 42, a worker per usable core.
    """

    input_dir: str
    output_dir: str | None = None
    buckets: Sequence[str] | None = None
    combine: bool = False
    cumulative: bool = False
    dry_run: bool = False
    output_name: str | None = None
    filter: str = "all"
    keep: Sequence[str] = ()
    top: Sequence[str] | None = None
    balance: Sequence[str] | None = None
    replay: float | None = None
    max_rows: int | None = None
    val_rows: int | None = None
    control: bool = False
    group_size: int | None = None
    order: str = "input"
    schedule: str | None = None
    batch_size: int | None = None
    epochs: int | None = None
    sigma: float | None = None
    start: float | None = None
    end: float | None = None
    plot: str | None = None
    report: str | None = None
    pass_threshold: float | None = None
    score_field: str | None = None
    prompt_field: str | None = None
    ground_truth_field: str | None = None
    data_source: str = DEFAULT_DATA_SOURCE
    keep_data_source: bool = False
    ability: str = "instruction_following"
    val_ratio: float | None = None
    seed: int | None = None
    split_like: str | None = None
    ground_truth_format: str = "auto"
    best_response: bool = True
    source: Sequence[str] = ()
    source_val: Sequence[str] = ()
    source_key: str | None = None
    unmatched: str | None = None
    annotate: str | None = None
    no_annotate: bool = False
    on_malformed: str = "stop"
    workers: int | None = None
    engine: str = "local"
    ray_address: str | None = None
    sync: bool = True

    def __post_init__(self) -> None:
        check_choice("--filter", self.filter, FILTERS)
        check_choice("--order", self.order, ORDERS)
        check_choice("--ground-truth-format", self.ground_truth_format, TRUTH_FORMATS)
        check_path("--input-dir", self.input_dir, "the directory of buckets, such as -i ./bucketed")
        check_output(self.output_dir, self.dry_run, self.engine)
        _ = self.input, self.output
        check_choice("--on-malformed", self.on_malformed, ON_MALFORMED)
        check_finite("--pass-threshold", self.pass_threshold)
        check_score_field(self.score_field)
        check_place("--prompt-field", self.prompt_field)
        check_place("--ground-truth-field", self.ground_truth_field)
        check_text("--data-source", self.data_source)
        check_text("--ability", self.ability)
        check_workers(self.workers)
        check_engine(self.engine, self.ray_address)
        if not 0 <= self.ratio < 1:
            raise UsageError(
                f"the ratio is {self.val_ratio}",
                where="--val-ratio",
                expected="0 or more and below 1",
                fix="give the share of prompts to hold out, such as 0.05, or 0 for no val files",
            )
        if not -(2**63) <= self.hash_seed < 2**63:
            raise UsageError(
                f"the seed is {self.seed}",
                where="--seed",
                expected="a whole number of at most 64 bits",
                fix="choose a smaller one",
            )
        self._check_source()
        self._check_choice()
        self._check_split_like()
        if self.cumulative and self.combine:
            raise UsageError(
                "--combine makes one set of all buckets, --cumulative one of each bucket and more",
                where="--cumulative",
                expected="one of the two",
                fix="leave out one of them",
            )
        if self.output_name is not None:
            if not self.combine:
                raise UsageError(
                    "it names the combined set, and there is none",
                    where="--output-name",
                    expected="--combine beside it",
                    fix="add --combine, or leave out --output-name",
                )
            check_names("--output-name", [self.output_name])

    def _check_split_like(self) -> None:
        """Raise UsageError for another rule of what is val beside --split-like."""
        check_path("--split-like", self.split_like, "a directory of sets")
        if self.split_like is None:
            return
        for flag, given in (("--val-rows", self.val_rows), ("--source-val", self.source_val)):
            if given:
                raise UsageError(
                    "--split-like says which prompts are val",
                    where=flag,
                    expected="one of the two",
                    fix="leave out one of them",
                )

    def _check_source(self) -> None:
        """Raise UsageError for flags that do not go together with or without --source."""
        if self.unmatched is not None:
            check_choice("--unmatched", self.unmatched, UNMATCHED)
        places = [] if self.source_key is None else self.source_key.split("=")
        for place in places if len(places) <= 2 else [""]:
            check_place("--source-key", place)
        for name in (*self.source, *self.source_val):
            check_path("--source", name, "the files of a data set")
        _ = self.source_paths, self.source_val_paths
        check_parquet("--annotate", self.annotate)
        if self.annotate and self.no_annotate:
            raise UsageError(
                "--annotate writes rows with their difficulty, --no-annotate adds none",
                where="--annotate",
                expected="one of the two",
                fix="leave out one of them",
            )
        if self.source_val and self.val_ratio is not None:
            raise UsageError(
                "--source-val says which rows are val, and --val-ratio which share of them is",
                where="--val-ratio",
                expected="one of the two",
                fix="leave out one of them",
            )
        defaults = {field.name: field.default for field in fields(self)}
        wrong = _ROW_FLAGS if self.source else _SOURCE_FLAGS
        for name, flag in wrong.items():
            if getattr(self, name) != defaults[name]:
                raise UsageError(
                    "it says how rows are made from rollouts, and the rows of --source stay what "
                    "they are"
                    if self.source
                    else "it is about the rows of a data set, and none is named",
                    where=flag,
                    expected="no such flag beside --source" if self.source else "--source as well",
                    fix="leave it out" + ("" if self.source else ", or add --source FILE"),
                )

    def _check_choice(self) -> None:
        """Raise UsageError for flags that choose or order rows and do not fit."""
        _ = self.choice, self.schedule_of_rows
        names = names_of(self.conditions, self.choice.top)
        check_group_size(self.group_size, names, "--keep or --top with useful_group")
        for flag, count in (("--max-rows", self.max_rows), ("--val-rows", self.val_rows)):
            check_at_least_one(flag, count, f"give the number of rows, such as {flag} 500")
        if self.val_rows is not None and (self.val_ratio is not None or self.source_val):
            other = "--source-val" if self.source_val else "--val-ratio"
            raise UsageError(
                f"{other} says already which rows are val",
                where="--val-rows",
                expected="one of the two",
                fix="leave out one of them",
            )
        if self.replay is not None and not (self.cumulative or self.combine):
            raise UsageError(
                "it is about sets of several buckets, and each bucket is a set of its own",
                where="--replay",
                expected="--cumulative or --combine beside it",
                fix="add one of them, or leave out --replay",
            )
        if self.schedule is not None:
            self._check_schedule()
        elif self.plot is not None:
            raise UsageError(
                "it draws the schedule of the rows, and there is none",
                where="--plot",
                expected="--schedule beside it",
                fix="add one, or leave out --plot; the first script draws the difficulties",
            )
        if self.plot is not None:
            check_plot(self.plot)
        if self.report is not None:
            check_report(self.report)

    def _check_schedule(self) -> None:
        if not self.combine:
            raise UsageError(
                "it orders the rows of all buckets in one file, and there is one for each",
                where="--schedule",
                expected="--combine beside it",
                fix="add --combine" + (" and leave out --cumulative" if self.cumulative else ""),
            )
        if self.order != "input":
            raise UsageError(
                "--schedule is an order itself",
                where="--order",
                expected="one of the two",
                fix="leave out one of them",
            )

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """What every row has to meet."""
        return parse_conditions("--keep", self.keep)

    @cached_property
    def choice(self) -> Choice:
        """How the train rows of a set are chosen."""
        return Choice(
            parse_replay(self.replay),
            parse_top(self.top),
            parse_balance(self.balance),
            self.max_rows,
        )

    @cached_property
    def schedule_of_rows(self) -> Schedule | None:
        """The schedule of the train rows."""
        values = {
            "--batch-size": self.batch_size,
            "--epochs": self.epochs,
            "--sigma": self.sigma,
            "--start": self.start,
            "--end": self.end,
        }
        return parse_schedule(self.schedule, values)

    @property
    def ratio(self) -> float:
        """The share of prompts that are val, where it goes by a ratio."""
        return DEFAULT_VAL_RATIO if self.val_ratio is None else self.val_ratio

    @property
    def hash_seed(self) -> int:
        """The seed of the hashes of prompts."""
        return DEFAULT_SEED if self.seed is None else self.seed

    @property
    def by_difficulty(self) -> bool:
        """Whether the order of rows goes by their difficulty."""
        return self.order != "input" or self.schedule is not None

    @cached_property
    def report_files(self) -> dict[str, AnyPath]:
        """The files that --annotate, --plot and --report name, by flag."""
        given = {"--annotate": self.annotate, "--plot": self.plot, "--report": self.report}
        return {flag: to_path(name) for flag, name in given.items() if name is not None}

    @property
    def paths(self) -> list[AnyPath]:
        """All paths that the run reads or writes."""
        given = [to_path(name) for name in (self.output_dir, self.split_like) if name is not None]
        sources = (*self.source_paths.values(), *self.source_val_paths.values())
        return [self.input, *given, *sources, *self.report_files.values()]

    @cached_property
    def source_paths(self) -> dict[str, AnyPath]:
        """The path or glob of each file of the data set, by how it was given."""
        return {name: to_path(name) for name in self.source}

    @cached_property
    def source_val_paths(self) -> dict[str, AnyPath]:
        """The same of its val rows."""
        return {name: to_path(name) for name in self.source_val}

    @cached_property
    def input(self) -> AnyPath:
        """The bucket directory as a path. Raises UsageError for a URL that is not known."""
        return to_path(self.input_dir)

    @cached_property
    def output(self) -> AnyPath | None:
        """The output directory as a path; None for a dry run that has none."""
        return None if self.output_dir is None else to_path(self.output_dir)
