"""What a run is asked to do: flags or a library call → checked options.

Whatever is wrong by itself raises UsageError here, before any data is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

from curriculum.bucket_names import name_buckets
from curriculum.bucketers import inner_buckets
from curriculum.choosing.conditions import parse_conditions, with_place
from curriculum.choosing.flags import (
    check_group_size,
    check_of_scores,
    names_of,
    with_group_size,
)
from curriculum.choosing.judge import Asked
from curriculum.dumps.flags import (
    AUTO,
    DIRECTIONS,
    DumpFlags,
    ValueFlags,
    check_score_reduce,
    parse_score_map,
    parse_steps,
    parse_value,
)
from curriculum.dumps.formats import OWN
from curriculum.dumps.table import NAMES
from curriculum.engines.workers import check_engine
from curriculum.errors import UsageError, check_choice, plural
from curriculum.metrics import METRICS, PASS_AT_K, Metric, MetricParameters, given_value
from curriculum.option_checks import (
    check_at_least_one,
    check_finite,
    check_group_by,
    check_metric,
    check_more_responses,
    check_output,
    check_parquet,
    check_path,
    check_place,
    check_plot,
    check_report,
    check_score_field,
    check_thresholds,
    check_workers,
)
from curriculum.storage.paths import AnyPath, to_path

DEFAULT_METRIC = "mean_reward"
DEFAULT_BUCKETS = 3
SOLVED_NAME, UNSOLVED_NAME = "solved", "unsolved"  # buckets of --solved-unsolved
ON_MALFORMED = ("stop", "set-aside")
TRUNCATED = ("graded", "missing")
DEFAULT_SCORE_FIELD = "score"
DEFAULT_SEED = 42  # of the split
# By field, the flags about scores.
_SCORE_FLAGS = {
    "metric": "--metric",
    "k": "--k",
    "score_field": "--score-field",
    "score_map": "--score-map",
    "score_reduce": "--score-reduce",
    "pass_threshold": "--pass-threshold",
    "solved_unsolved": "--solved-unsolved",
    "compare_metrics": "--compare-metrics",
    "truncated": "--truncated",
}


@dataclass(frozen=True)
class BucketOptions:
    """What to bucket, by which metric, and where to cut.

    With `recursive` also the files in directories inside those of `inputs` are taken.
    `thresholds` replace percentiles; `bucket_names` run from easy to hard, and words for values
    (low, medium, high) from the lowest metric value up. `metric` is a name in METRICS or a Metric
    of one's own. Rollouts whose responses all pass, or all fail, get buckets of their own with
    `solved_unsolved`. `scores`, `plot` and `report` are files to write the score table, the
    histogram and a page to, `more_responses` is a number of responses, and the file that says which
    prompts they would help most. With `dry_run` no bucket is written, and there need be no output
    directory.

    None means the default: mean_reward; three buckets, or as many as there are names; k = 1; a pass
    from a score of 0.5 on; a worker per usable core.

    `compare_to` is a directory of buckets to compare the prompts with, matched by what `match_key`
    names (None: by the prompt), and `cut_like` one whose metric, cuts and names are used.

    Rollouts that do not meet all conditions of `keep` are in no bucket. `within` is a place:
    percentiles are cut among the rollouts that have the same value there.

    With a `value_field`, rollouts are bucketed by a number that lines carry, and `value_direction`
    says whether a higher one is "easier" or "harder".
    """

    inputs: Sequence[str]
    output_dir: str | None = None
    metric: str | Metric | None = None
    num_buckets: int | None = None
    bucket_names: Sequence[str] | None = None
    thresholds: Sequence[float] | None = None
    score_field: str | Sequence[str] | None = None
    score_map: Sequence[str] = ()
    score_reduce: str | None = None
    k: int | None = None
    pass_threshold: float | None = None
    ties: str = "together"
    keep: Sequence[str] = ()
    group_size: int | None = None
    within: str | None = None
    solved_unsolved: bool = False
    compare_metrics: bool = False
    scores: str | None = None
    more_responses: Sequence[str] | None = None
    plot: str | None = None
    report: str | None = None
    compare_to: str | None = None
    match_key: str | None = None
    cut_like: str | None = None
    dry_run: bool = False
    on_malformed: str = "stop"
    format: str = AUTO
    prompt_field: str | None = None
    response_field: str | None = None
    ground_truth_field: str | None = None
    group_field: Sequence[str] | None = None
    group_by: str | None = None
    steps: str | None = None
    truncated: str | None = None
    filter_key: str | None = None
    value_field: str | None = None
    value_direction: str | None = None
    value_counts: str | None = None
    value_missing: Sequence[str] = ()
    recursive: bool = False
    workers: int | None = None
    engine: str = "local"
    ray_address: str | None = None
    sync: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.inputs, str) or not self.inputs:
            raise UsageError(
                f"the input is {self.inputs!r}",
                where="--input",
                expected="a list of files or directories",
                fix="name some with -i",
            )
        for name in self.inputs:
            check_path("--input", name, "files or directories of rollouts, such as -i ./rollouts")
        if isinstance(self.metric, str):
            check_metric(self.metric)
        check_choice("--ties", self.ties, ("together", "split"))
        check_output(self.output_dir, self.dry_run, self.engine)
        _ = self.input_paths, self.output, self.report_files
        check_choice("--on-malformed", self.on_malformed, ON_MALFORMED)
        check_choice("--format", self.format, (AUTO, OWN, *NAMES))
        if self.truncated is not None:
            check_choice("--truncated", self.truncated, TRUNCATED)
        self._check_places()
        _ = self.dump_flags
        check_at_least_one(
            "--num-buckets", self.num_buckets, "give the number of buckets, such as -n 3"
        )
        check_at_least_one(
            "--k", self.k, "give the number of responses that pass_at_k draws, such as --k 4"
        )
        self._check_k()
        check_workers(self.workers)
        check_engine(self.engine, self.ray_address)
        check_finite("--pass-threshold", self.pass_threshold)
        for name in self.score_fields:
            check_score_field(name)
        check_score_reduce(self.score_reduce)
        if self.value_field is not None:
            self._check_value_field(self.value_field)
        if self.thresholds is not None:
            check_thresholds(self.thresholds, self.num_buckets, self.ties)
        _ = self.names
        self._check_choice()
        self._check_earlier()
        if self.plot is not None:
            check_plot(self.plot)
        if self.report is not None:
            check_report(self.report)
        check_parquet("--scores", self.scores)

    def _check_choice(self) -> None:
        """Raise UsageError for conditions and groups that do not fit."""
        names = names_of(self.asked.keep)
        if self.value_field is not None:
            check_of_scores("--keep", names, self.value_field)
        if self.scores is None:  # the table has useful_group
            check_group_size(self.group_size, names, "--keep or --scores with useful_group")
        check_place("--within", self.within)
        if self.more_responses is not None and not self._takes_metric:
            check_more_responses(self.more_responses, self.chosen_metric.name, self.within)
        if self.within is not None and self.thresholds is not None:
            raise UsageError(
                "thresholds are the same for all groups",
                where="--within",
                expected="percentiles, which are cut in each group",
                fix="leave out --thresholds or --within",
            )

    @property
    def _takes_metric(self) -> bool:
        """Whether the metric is still to be taken from the bucketing that --cut-like names."""
        return self.cut_like is not None and self.metric is None and self.value_field is None

    def _check_earlier(self) -> None:
        """Raise UsageError for flags about an earlier bucketing that do not fit."""
        check_path("--compare-to", self.compare_to, "a directory of buckets")
        check_path("--cut-like", self.cut_like, "a directory of buckets")
        check_place("--match-key", self.match_key)
        if self.match_key is not None and self.compare_to is None:
            raise UsageError(
                "there is nothing to match with",
                where="--match-key",
                expected="--compare-to DIR beside it",
                fix="add it, or leave out --match-key",
            )
        if self.compare_to is not None and names_of(self.asked.keep):
            raise UsageError(
                "it leaves out rollouts by their scores, so those that are left look better, or "
                "worse, than they became",
                where="--keep",
                expected="no such condition beside --compare-to",
                fix="compare without it, such as with --dry-run, and bucket with it",
            )

    @cached_property
    def asked(self) -> Asked:
        """What is asked of each rollout."""
        conditions = with_place(parse_conditions("--keep", self.keep), self.value_field)
        return Asked(self.parameters, keep=conditions, group=self.within)

    def _check_k(self) -> None:
        """Raise UsageError for a --k that would change nothing."""
        shows_all = self.measures_all or self.scores is not None
        shows_all |= PASS_AT_K in names_of(self.asked.keep)
        if (
            self.k is None
            or shows_all
            or self._takes_metric
            or self.metric in (PASS_AT_K, METRICS[PASS_AT_K])
        ):
            return
        if isinstance(self.metric, Metric) and self.metric.name not in METRICS:
            return  # one's own, which may use k
        raise UsageError(
            f"{self.chosen_metric.name} has no k",
            where="--k",
            expected=f"-m {PASS_AT_K} beside it",
            fix=f"add -m {PASS_AT_K}, or leave out --k",
        )

    def _check_places(self) -> None:
        for flag in ("prompt_field", "response_field", "ground_truth_field"):
            check_place("--" + flag.replace("_", "-"), getattr(self, flag))
        for name in self.group_field or ():
            check_place("--group-field", name)
        if self.prompt_field is not None and self.prompt_field == self.response_field:
            raise UsageError(
                "the place is that of --prompt-field",
                where="--response-field",
                expected="another one",
                fix="write prompt and response to fields of their own",
            )
        if self.group_by is not None:
            check_group_by(self.group_by)
            if self.group_field:
                raise UsageError(
                    "--group-by prompt groups by the prompt alone",
                    where="--group-field",
                    expected="one of the two",
                    fix="leave out one of them",
                )

    def _check_value_field(self, place: str) -> None:
        """Raise UsageError for flags about scores, which lines that carry a number have not."""
        check_place("--value-field", place)
        defaults = {field.name: field.default for field in fields(self)}
        for name, flag in _SCORE_FLAGS.items():
            if getattr(self, name) != defaults[name]:
                raise UsageError(
                    f"it is about scores, and rollouts are bucketed by the number in {place}",
                    where=flag,
                    expected="no such flag beside --value-field",
                    fix="leave out one of the two",
                )

    @property
    def score_fields(self) -> tuple[str, ...]:
        """The places of the score; several are added up."""
        given = self.score_field or ()
        return (given,) if isinstance(given, str) else tuple(given)

    @property
    def value(self) -> ValueFlags | None:
        """Where lines carry a number in place of scores."""
        return parse_value(
            self.value_field, self.value_direction, self.value_counts, self.value_missing
        )

    @property
    def chosen_metric(self) -> Metric:
        """The metric itself: the number that --value-field names, if it does."""
        if self.value_field is not None:
            return given_value(self.value_field, self.value_direction == DIRECTIONS[0])
        if isinstance(self.metric, Metric):
            return self.metric
        return METRICS[self.metric or DEFAULT_METRIC]

    @cached_property
    def input_paths(self) -> dict[str, AnyPath]:
        """The path of each input as it was given. Raises UsageError for an unknown URL."""
        return {given: to_path(given) for given in self.inputs}

    @cached_property
    def output(self) -> AnyPath | None:
        """The output directory as a path; None for a dry run that has none."""
        return None if self.output_dir is None else to_path(self.output_dir)

    @cached_property
    def report_files(self) -> dict[str, AnyPath]:
        """The files that --scores, --plot and the like name, by flag."""
        given = {"--scores": self.scores, "--plot": self.plot, "--report": self.report}
        if self.more_responses is not None:
            given["--more-responses"] = self.more_responses[1]
        return {flag: to_path(name) for flag, name in given.items() if name is not None}

    @property
    def paths(self) -> list[AnyPath]:
        """All paths that the run reads or writes."""
        others = [self.output_dir, self.compare_to, self.cut_like]
        given = [to_path(name) for name in others if name is not None]
        return [*self.input_paths.values(), *self.report_files.values(), *given]

    @property
    def measures_all(self) -> bool:
        """Whether every metric is wanted, to compare them."""
        return self.compare_metrics or self.report is not None

    @property
    def cut_into(self) -> int:
        """How many buckets are cut by percentiles or thresholds."""
        if self.thresholds is not None:
            return len(self.thresholds) + 1
        return self.num_buckets or len(self.bucket_names or ()) or DEFAULT_BUCKETS

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the buckets, easiest first."""
        easier = self.chosen_metric.higher_is_easier
        names = name_buckets(self.cut_into, self.bucket_names, easier)
        if not self.solved_unsolved:
            return names
        taken = [name for name in names if name.casefold() in (SOLVED_NAME, UNSOLVED_NAME)]
        if taken:
            raise UsageError(
                f"{taken[0]!r} is the name of a bucket of --solved-unsolved",
                where="--bucket-names",
                expected=f"names of the {plural(self.cut_into, 'bucket')} between",
                fix=f"leave out {taken[0]!r}, or choose another name",
            )
        return (SOLVED_NAME, *names, UNSOLVED_NAME)

    @property
    def bucket_files(self) -> list[str]:
        """The names of the bucket files, easiest first."""
        return [f"{name}.jsonl" for name in self.names]

    @property
    def reward_field(self) -> str:
        """The field of a reward entry that holds its score."""
        return self.score_fields[0] if self.score_fields else DEFAULT_SCORE_FIELD

    @property
    def inner(self) -> slice:
        """Which of the buckets are cut by percentiles or thresholds."""
        return inner_buckets(self.solved_unsolved)

    @property
    def dump_flags(self) -> DumpFlags:
        """What is said of the input's form."""
        given = {
            "score": self.score_fields[0] if self.score_fields else None,
            "added": self.score_fields[1:] or None,
            "prompt": self.prompt_field,
            "response": self.response_field,
            "ground_truth": self.ground_truth_field,
            "groups": (tuple(self.group_field),) if self.group_field else None,
        }
        return DumpFlags(
            format=self.format,
            places={name: place for name, place in given.items() if place is not None},
            steps=parse_steps(self.steps),
            by_prompt=self.group_by == "prompt",
            truncated=self.truncated,
            words=parse_score_map(self.score_map),
            reduce=self.score_reduce,
            chosen=self.filter_key,
            value=self.value,
        )

    @property
    def parameters(self) -> MetricParameters:
        """The metric's parameters."""
        default = MetricParameters()
        found = MetricParameters(
            default.k if self.k is None else self.k,
            default.pass_threshold if self.pass_threshold is None else float(self.pass_threshold),
        )
        return with_group_size(found, self.group_size)
