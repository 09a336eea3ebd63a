"""What is said of misplaced rollouts, and the matrix of metrics."""

from __future__ import annotations

import math
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from curriculum.bucket import bucket_rollouts
from curriculum.metrics import METRICS, Metric
from curriculum.options import BucketOptions
from curriculum.reports.bucketing_summary import bucketing_summary
from curriculum.reports.trust import WIDTH, comparison_lines, trust_lines
from curriculum.statistics.metric_agreement import MetricAgreement, compare
from curriculum.statistics.uncertainty import Uncertainty
from tests.helpers.rollouts import Script, rollout, write_jsonl

EXPECT = "With 8 responses each, expect 21% of rollouts to truly belong in another bucket"


@pytest.mark.parametrize(
    ("trust", "said"),
    [
        (Uncertainty(0.21, "", (8, 8), 0.02, 3.8),
         f"{EXPECT}, 2% two or more buckets away. About 30 responses per prompt would halve that."),
        (Uncertainty(0.21, "", (8, 8), 0.001, 1.6),
         f"{EXPECT}, under 1% two or more buckets away. About 13 responses per prompt would halve "
         "that."),
        (Uncertainty(0.21, "", (8, 8), None, 17.2),
         f"{EXPECT}. About 140 responses per prompt would halve that."),
        (Uncertainty(0.21, "", (8, 8), None, 1.01),
         f"{EXPECT}. About 9 responses per prompt would halve that."),
        (Uncertainty(0.21, "", (20, 20), None, 1.05),
         "With 20 responses each, expect 21% of rollouts to truly belong in another bucket. About "
         "21 responses per prompt would halve that."),
        (Uncertainty(0.21, "", (8, 8), 0.02, math.inf),
         f"{EXPECT}, 2% two or more buckets away. Even 512 responses per prompt would not halve "
         "that; fewer buckets would do more."),
        (Uncertainty(0.21, "", (8, 8), None, math.inf),
         f"{EXPECT}. Even 512 responses per prompt would not halve that; another metric would do "
         "more."),
        (Uncertainty(0.5, "", (1, 8), 0.1, 4.4),
         "With 1 to 8 responses, expect 50% of rollouts to truly belong in another bucket, 10% two "
         "or more buckets away. About 4 times as many responses per prompt would halve that."),
        (Uncertainty(0.5, "", (2, 8), None, 1.42),
         "With 2 to 8 responses, expect 50% of rollouts to truly belong in another bucket. About "
         "1.4 times as many responses per prompt would halve that."),
        (Uncertainty(0.5, "", (2, 8), None, 21.7),
         "With 2 to 8 responses, expect 50% of rollouts to truly belong in another bucket. About "
         "20 times as many responses per prompt would halve that."),
        (Uncertainty(0.5, "", (2, 8), None, math.inf),
         "With 2 to 8 responses, expect 50% of rollouts to truly belong in another bucket. Even 64 "
         "times as many responses per prompt would not halve that; another metric would do more."),
        (Uncertainty(0.0, "", (8, 8), 0.0),
         "With 8 responses each, expect under 1% of rollouts to truly belong in another bucket, "
         "under 1% two or more buckets away."),
        (Uncertainty(None, "", (1, 1)),
         "With 1 response each, nothing says how many rollouts truly belong in another bucket; "
         "sample several for each prompt."),
        (Uncertainty(None, "", (2, 2)),
         "With 2 responses each, nothing says how many rollouts truly belong in another bucket."),
    ],
)  # fmt: skip
def test_the_line_says_how_many_and_what_would_halve_it(trust: Uncertainty, said: str) -> None:
    lines = trust_lines(trust)
    assert " ".join(lines) == said
    assert max(map(len, lines)) <= WIDTH


# --- the matrix


def matrix(lines: list[str]) -> list[list[str]]:
    """The rows of the first matrix, split at two blanks; the first is that of the names."""
    start = lines.index("") + 1
    return [re.split(" {2,}", line.strip()) for line in lines[start : lines.index("", start)]]


def test_each_pair_is_twice_in_the_matrix() -> None:
    pairs = [
        MetricAgreement("a", "b", 9, 0.5, 0.25), MetricAgreement("a", "c", 9, -1.0, 1.0),
        MetricAgreement("b", "c", 9, 0.1234, 1 / 3),
    ]  # fmt: skip
    assert comparison_lines(pairs, 3, {"c": "pass@2"}) == [
        "Metrics compared on 9 rollouts. Above the diagonal: rank correlation. Below it:",
        "share of rollouts that both metrics put into the same of 3 parts.",
        "",
        "             a      b  pass@2",
        "a               0.500  -1.000",
        "b        25.0%          0.123",
        "pass@2  100.0%  33.3%",
        "",
    ]


def test_a_metric_with_the_values_of_another_has_no_row_but_a_note() -> None:
    values = {name: np.array([0.0, 1, 2, np.nan]) for name in "abcd"}
    values["e"] = np.array([1.0, 0, 0, 1])
    pairs = compare(values, dict.fromkeys(values, True), 2)
    lines = comparison_lines(pairs, 2, {})
    assert matrix(lines)[0] == ["a", "e"]
    assert "b, c and d are left out: they have the same value as a for every rollout." in lines


def test_metrics_that_turn_the_order_are_not_the_same() -> None:
    values = {"a": np.arange(4.0), "b": np.arange(4.0)}
    lines = comparison_lines(compare(values, {"a": True, "b": False}, 2), 2, {})
    assert matrix(lines) == [["a", "b"], ["a", "-1.000"], ["b", "0.0%"]]


def test_a_metric_without_values_has_no_row_but_a_note() -> None:
    values = {"a": np.arange(4.0), "b": np.full(4, np.nan), "c": np.arange(4.0) ** 2 % 5}
    values |= {"d": values["b"]}
    lines = comparison_lines(compare(values, dict.fromkeys(values, True), 2), 2, {})
    assert matrix(lines)[0] == ["a", "c"]
    assert "b and d are left out: they have no value for any rollout." in lines


def test_a_constant_metric_has_no_rank_correlation_and_the_matrix_says_why() -> None:
    values = {"a": np.arange(4.0), "b": np.ones(4)}
    lines = comparison_lines(compare(values, dict.fromkeys(values, True), 2), 2, {})
    assert matrix(lines) == [["a", "b"], ["a", "-"], ["b", "50.0%"]]
    note = "- : one of the two is the same for every rollout, or no rollout has both."
    assert note in lines


def test_nothing_to_compare_is_said() -> None:
    values = {"a": np.ones(4), "b": np.ones(4), "c": np.full(4, np.nan)}
    lines = comparison_lines(compare(values, dict.fromkeys(values, True), 2), 2, {})
    assert lines == [
        "There are no two different metrics to compare.",
        "",
        "b is left out: it has the same value as a for every rollout.",
        "c is left out: it has no value for any rollout.",
        "",
    ]


def test_numbers_of_rollouts_are_shown_where_they_differ() -> None:
    values = {
        "a": np.arange(6.0), "b": np.array([0, 1, 0, 1, np.nan, np.nan]),
        "c": np.array([np.nan, 1, 0, 2, 3, np.nan]),
    }  # fmt: skip
    lines = comparison_lines(compare(values, dict.fromkeys(values, True), 2), 2, {})
    assert lines[0].startswith("Metrics compared on the rollouts that have both.")
    start = lines.index("Number of rollouts that have both metrics:")
    assert matrix(lines[start:]) == [["a", "b", "c"], ["a", "4", "4"], ["b", "3"], ["c"]]


def test_the_matrix_of_all_metrics_and_ones_own_fits(tmp_path: Path) -> None:
    """The longest names that are likely: pass@128, and a metric of one's own."""
    rng = np.random.default_rng(0)
    source = write_jsonl(
        tmp_path / "a.jsonl", ({"reward": s} for s in rng.random((40, 130)).tolist())
    )
    own = Metric("a_metric_of_my_own", lambda scores, _: scores.highest**2, True, "")
    options = BucketOptions([str(source)], str(tmp_path / "out"), own, k=128, dry_run=True,
                            compare_metrics=True, pass_threshold=0.9)  # fmt: skip
    lines = bucketing_summary(bucket_rollouts(options)).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Metrics compared"))
    labels = ["pass@128" if name == "pass_at_k" else name for name in METRICS]
    assert matrix(lines[start:])[0] == [*labels, "a_met..y_own"]
    assert max(map(len, lines[start:])) <= WIDTH


def test_every_pair_of_metrics_is_compared(tmp_path: Path, source: Path, bucket: Script) -> None:
    flags = ("--compare-metrics", "--k", 2, "-m", "pass_at_k")
    code, out, _ = bucket("-i", source, "-o", tmp_path / "out", *flags)
    assert code == 0
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Metrics compared"))
    found = matrix(lines[start:])
    labels = ["pass@2" if name == "pass_at_k" else name for name in METRICS]
    assert found[0] == labels
    assert [row[0] for row in found[1:]] == labels
    cells = [cell for row in found[1:] for cell in row[1:]]
    assert len(cells) == 2 * len(list(combinations(labels, 2)))


def test_pass_at_one_is_shown_as_success_rate_once(
    tmp_path: Path, source: Path, bucket: Script
) -> None:
    _, out, _ = bucket("-i", source, "-o", tmp_path / "out", "--compare-metrics")
    note = "success_rate is left out: it has the same value as pass@1 for every rollout."
    assert note in out.splitlines()


def test_one_response_each_leaves_little_to_compare(tmp_path: Path, bucket: Script) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [rollout(i % 2) for i in range(9)])
    code, out, _ = bucket("-i", source, "-o", tmp_path / "out", "-n", 2, "--compare-metrics")
    assert code == 0
    assert "There are no two different metrics to compare." in out
    assert "variance is left out: it has no value for any rollout." in out.splitlines()
