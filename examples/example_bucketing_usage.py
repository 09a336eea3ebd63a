#!/usr/bin/env python3
"""The toolkit from Python: what the two scripts do, one rollout's metrics, a metric of one's own.

Each part can be run alone. Without a name all parts run. They read ./rollouts
(`python examples/generate_rollouts.py` makes some) and write below ./example_output.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd

# From a checkout the package is not installed; it lies one directory up.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import curriculum
from curriculum import (
    BucketOptions,
    InputError,
    Metric,
    MetricParameters,
    PreprocessOptions,
    Scores,
    UsageError,
)
from curriculum.cli import run

EPILOG = """examples:
  python examples/example_bucketing_usage.py
  python examples/example_bucketing_usage.py metrics own_metric
"""
ROLLOUTS = "rollouts"
OUTPUT = Path("example_output")


def bucket() -> None:
    """Sort rollouts into easy, medium and hard; the report has all that the script prints."""
    options = BucketOptions([ROLLOUTS], str(OUTPUT / "bucketed"), metric="mean_reward")
    report = curriculum.bucket_rollouts(options)
    for bucket, facts in zip(report.manifest.buckets, report.facts, strict=True):
        print(f"{bucket.name:8}{bucket.count:5} rollouts, mean score {facts.mean_score:.3f}")
    for warning in curriculum.bucketing_warnings(report):
        print(f"warning: {warning}")


def preprocess() -> None:
    """Write a cumulative set of the two easier buckets, and look at it with pandas."""
    bucket()
    options = PreprocessOptions(
        str(OUTPUT / "bucketed"),
        str(OUTPUT / "preprocessed"),
        buckets=["easy", "medium"],
        combine=True,
        output_name="phase2",
        filter="informative_only",
    )
    curriculum.preprocess_buckets(options)
    table = pd.read_parquet(OUTPUT / "preprocessed/phase2_train.parquet")
    extra_info = pd.json_normalize(table["extra_info"].tolist())
    print(extra_info[["index", "curriculum_stage", "difficulty_metrics.mean_score"]].head())


def metrics() -> None:
    """Every metric of one rollout; what cannot be computed is NaN, never 0."""
    scores = [0, 1.25, 0, 0, 0, 1.25, 0, 0]
    for name, value in curriculum.measure(scores, MetricParameters(k=4)).items():
        print(f"{name:14}{value:.4f}  {curriculum.METRICS[name].meaning}")


def own_metric() -> None:
    """Bucket by the spread of the scores: a Metric stands in for a metric's name."""

    def spread(scores: Scores, parameters: MetricParameters) -> np.ndarray:
        return scores.highest - scores.lowest

    metric = Metric("spread", spread, higher_is_easier=False, meaning="highest minus lowest score")
    options = BucketOptions([ROLLOUTS], str(OUTPUT / "by_spread"), metric, num_buckets=2)
    print(curriculum.bucketing_summary(curriculum.bucket_rollouts(options)))


def compare() -> None:
    """How alike the metrics order and cut the rollouts, as a pandas table; no bucket is written."""
    options = BucketOptions(
        [ROLLOUTS], str(OUTPUT / "bucketed"), compare_metrics=True, dry_run=True
    )
    report = curriculum.bucket_rollouts(options)
    print(pd.DataFrame(report.comparison).round(3).to_string(index=False))


def score_table() -> None:
    """Every metric of every rollout as a pandas table: here the prompts that are solved now and
    then."""
    table = OUTPUT / "scores.parquet"
    options = BucketOptions([ROLLOUTS], str(OUTPUT / "bucketed"), scores=str(table), dry_run=True)
    curriculum.bucket_rollouts(options)
    scores = pd.read_parquet(table)
    print(scores[scores["success_rate"].between(0.1, 0.4)][["key", "mean_reward", "bucket"]].head())


PARTS: dict[str, Callable[[], None]] = {
    "bucket": bucket,
    "preprocess": preprocess,
    "metrics": metrics,
    "own_metric": own_metric,
    "compare": compare,
    "score_table": score_table,
}


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError where flags are wrong."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(message, fix=f"{self.prog} --help lists the flags")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts named, or all; the exit code."""
    debug = "--debug" in (sys.argv if argv is None else argv)
    return run(lambda: (run_parts(argv), []), quiet=True, debug=debug)


def run_parts(argv: Sequence[str] | None) -> str:
    """Run the parts named on the command line, or all. Raises InputError and UsageError."""
    parser = Parser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")
    names = parser.parse_args(argv).parts or list(PARTS)
    for name in names:
        check_part(name)
    for name in names:
        print(f"\n{name}: {(PARTS[name].__doc__ or '').splitlines()[0]}")
        PARTS[name]()
    return ""


def check_part(name: str) -> None:
    """Raise UsageError for a part that is not there, and InputError if its rollouts are not."""
    if name not in PARTS:
        close = get_close_matches(name, PARTS, 1)
        raise UsageError(
            f"there is no part {name!r}",
            expected="one of " + ", ".join(PARTS),
            fix=f"did you mean {close[0]}?" if close else "choose one of them",
        )
    if name != "metrics" and not Path(ROLLOUTS).is_dir():
        raise InputError(
            "this directory is not here",
            where=f"./{ROLLOUTS}",
            expected="rollouts in the directory that you are in",
            fix="python examples/generate_rollouts.py makes some",
        )


if __name__ == "__main__":
    raise SystemExit(main())
