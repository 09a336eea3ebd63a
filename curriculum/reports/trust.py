"""How far buckets and metrics can be trusted, in words and as a matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import wrap

from msgspec import Struct

from curriculum.display.histogram import shorten
from curriculum.display.text import WIDTH, table
from curriculum.errors import plural
from curriculum.statistics.metric_agreement import MetricAgreement
from curriculum.statistics.more_responses import MOST
from curriculum.statistics.uncertainty import Uncertainty

METRIC_WIDTH = 12  # so that a matrix of seven metrics fits


def trust_lines(trust: Uncertainty) -> list[str]:
    """How many rollouts truly belong in another bucket, and how many responses per prompt would
    halve that, in lines of at most WIDTH columns."""
    return wrap(misplaced_sentence(trust) + _how_to_halve(trust), WIDTH)


def misplaced_sentence(trust: Uncertainty) -> str:
    """How many rollouts truly belong in another bucket."""
    low, high = trust.responses
    each = plural(low, "response") + " each" if low == high else f"{low:,} to {high:,} responses"
    if trust.share is None:
        line = f"With {each}, nothing says how many rollouts truly belong in another bucket"
        return line + ("; sample several for each prompt." if low == 1 else ".")
    far = "" if trust.far is None else f", {_percent(trust.far)} two or more buckets away"
    line = f"With {each}, expect {_percent(trust.share)} of rollouts to truly belong in another "
    return line + f"bucket{far}."


def _percent(part: float) -> str:
    return f"{100 * part:.0f}%" if part >= 0.005 else "under 1%"


def _how_to_halve(trust: Uncertainty) -> str:
    """A sentence, with a space before it; empty if there is nothing to halve."""
    low, high = trust.responses
    if trust.factor is None:
        return ""
    if math.isinf(trust.factor):
        many = f"{MOST * low:,} responses" if low == high else f"{MOST} times as many responses"
        what = "another metric" if trust.far is None else "fewer buckets"
        return f" Even {many} per prompt would not halve that; {what} would do more."
    if low == high:
        many = f"{max(_round(trust.factor * low), low + 1):,}"
    else:
        factor = max(trust.factor, 1.1)
        times = f"{factor:.{1 + (factor < 2)}g}" if factor < 10 else f"{_round(factor):,}"
        many = f"{times} times as many"
    return f" About {many} responses per prompt would halve that."


def _round(count: float) -> int:
    """A number that claims no more than is known: in steps of 5 from 20, of two digits from 100."""
    if count >= 100:
        return int(float(f"{count:.2g}"))
    return 5 * round(count / 5) if count >= 20 else math.ceil(count)


class MetricMatrix(Struct, frozen=True):
    """How far each pair of metrics agrees: the lines of the `heading` say what the `cells` hold,
    which are found by the names of both, and `unknown` what - means, if it is there. With `counts`
    pairs are compared on different numbers of rollouts. `notes` name the metrics without a row of
    their own."""

    heading: Sequence[str]
    names: Sequence[str]
    cells: Mapping[tuple[str, str], str]
    counts: Mapping[tuple[str, str], str]
    unknown: str
    notes: Sequence[str]

    def rows(self, cells: Mapping[tuple[str, str], str]) -> list[list[str]]:
        """Cells as a table with a row and a column for each metric."""
        names = [name for name in self.names if any(name in key for key in cells)]
        rows = [[name, *[cells.get((name, other), "") for other in names]] for name in names]
        return [["", *names], *rows]


def metric_matrix(
    pairs: Sequence[MetricAgreement], parts: int, labels: Mapping[str, str]
) -> MetricMatrix:
    """How far each pair of metrics agrees. Metrics with the values of another one, and metrics
    without values, are left to the notes. `labels` has the names to show of metrics that are not
    shown by their own."""
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.one, pair.other)))
    shown = {name: shorten(labels.get(name, name), METRIC_WIDTH) for name in names}
    twin_of = _twins(pairs)
    undefined = [n for n in names if not any(p.rollouts for p in pairs if n in (p.one, p.other))]
    left = [name for name in names if name not in twin_of and name not in undefined]
    notes = []
    for name in left:
        twins = [shown[twin] for twin, of in twin_of.items() if of == name]
        if twins:
            notes.append(_left_out(twins, f"the same value as {shown[name]} for every rollout"))
    if undefined:
        notes.append(_left_out([shown[name] for name in undefined], "no value for any rollout"))
    cells, counts = {}, {}
    for pair in pairs:
        if pair.one in left and pair.other in left:
            one, other = shown[pair.one], shown[pair.other]
            same, found = pair.same_bucket, pair.correlation
            cells[one, other] = "-" if found is None else f"{found:.3f}"
            cells[other, one] = "-" if same is None else f"{100 * same:.1f}%"
            counts[one, other] = pair.rollouts
    different = sorted(set(counts.values()))
    over = plural(different[0], "rollout") if len(different) == 1 else "the rollouts that have both"
    return MetricMatrix(
        (
            f"Metrics compared on {over}. Above the diagonal: rank correlation. Below it:",
            f"share of rollouts that both metrics put into the same of {parts:,} parts.",
        )
        if cells
        else ("There are no two different metrics to compare.",),
        list(shown.values()),
        cells,
        {key: f"{count:,}" for key, count in counts.items()} if len(different) > 1 else {},
        "- : one of the two is the same for every rollout, or no rollout has both."
        if "-" in cells.values()
        else "",
        notes,
    )


def comparison_lines(
    pairs: Sequence[MetricAgreement], parts: int, labels: Mapping[str, str]
) -> list[str]:
    """The matrix of `metric_matrix` in lines of at most WIDTH columns."""
    matrix = metric_matrix(pairs, parts, labels)
    lines = [*matrix.heading, ""]
    if matrix.cells:
        lines += [*table(matrix.rows(matrix.cells), left=1), ""]
    if matrix.unknown:
        lines += [matrix.unknown, ""]
    if matrix.counts:
        lines += ["Number of rollouts that have both metrics:", ""]
        lines += [*table(matrix.rows(matrix.counts), left=1), ""]
    notes = [part for note in matrix.notes for part in wrap(note, WIDTH)]
    return [*lines, *notes, ""] if notes else lines


def _twins(pairs: Sequence[MetricAgreement]) -> dict[str, str]:
    """The metrics that have the values of an earlier one, and the first such one."""
    twins: dict[str, str] = {}
    for pair in pairs:
        if pair.identical and pair.other not in twins:
            twins[pair.other] = twins.get(pair.one, pair.one)
    return twins


def _left_out(names: Sequence[str], why: str) -> str:
    """What to say of metrics that have no row, for one reason."""
    *most, last = names
    one = not most
    head = f"{last} is" if one else f"{', '.join(most)} and {last} are"
    return f"{head} left out: {'it has' if one else 'they have'} {why}."
