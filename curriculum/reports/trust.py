"""How far buckets and metrics can be trusted, in words and as a matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import wrap

from curriculum.display.histogram import shorten
from curriculum.errors import plural
from curriculum.reports.text import WIDTH, table
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
        many = f"{max(trust.factor, 1.1):.{1 + (trust.factor < 2)}g} times as many"
    return f" About {many} responses per prompt would halve that."


def _round(count: float) -> int:
    """A number that claims no more than is known: in steps of 5 from 20, of two digits from 100."""
    if count >= 100:
        return int(float(f"{count:.2g}"))
    return 5 * round(count / 5) if count >= 20 else math.ceil(count)


def comparison_lines(
    pairs: Sequence[MetricAgreement], parts: int, labels: Mapping[str, str]
) -> list[str]:
    """How far each pair of metrics agrees, as one matrix. Metrics with the values of another one,
    and metrics without values, are named below it. `labels` has the names to show of metrics that
    are not shown by their own."""
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.one, pair.other)))
    shown = {name: shorten(labels.get(name, name), METRIC_WIDTH) for name in names}
    twin_of = _twins(pairs)
    undefined = [n for n in names if not any(p.rollouts for p in pairs if n in (p.one, p.other))]
    left = [name for name in names if name not in twin_of and name not in undefined]
    kept = [pair for pair in pairs if pair.one in left and pair.other in left]
    notes: list[str] = []
    for name in left:
        twins = [shown[twin] for twin, of in twin_of.items() if of == name]
        if twins:
            notes += _left_out(twins, f"the same value as {shown[name]} for every rollout")
    if undefined:
        notes += _left_out([shown[name] for name in undefined], "no value for any rollout")
    if notes:
        notes.append("")
    return [*_matrices(kept, parts, shown), *notes]


def _twins(pairs: Sequence[MetricAgreement]) -> dict[str, str]:
    """The metrics that have the values of an earlier one, and the first such one."""
    twins: dict[str, str] = {}
    for pair in pairs:
        if pair.identical and pair.other not in twins:
            twins[pair.other] = twins.get(pair.one, pair.one)
    return twins


def _left_out(names: Sequence[str], why: str) -> list[str]:
    """What to say of metrics that have no row, for one reason."""
    *most, last = names
    one = not most
    head = f"{last} is" if one else f"{', '.join(most)} and {last} are"
    return wrap(f"{head} left out: {'it has' if one else 'they have'} {why}.", WIDTH)


def _matrices(pairs: Sequence[MetricAgreement], parts: int, shown: Mapping[str, str]) -> list[str]:
    """The matrix, and one more of how many rollouts each pair is compared on where they differ."""
    if not pairs:
        return ["There are no two different metrics to compare.", ""]
    cells, both = {}, {}
    for pair in pairs:
        correlation, same = pair.correlation, pair.same_bucket
        cells[pair.one, pair.other] = "-" if correlation is None else f"{correlation:.3f}"
        cells[pair.other, pair.one] = "-" if same is None else f"{100 * same:.1f}%"
        both[pair.one, pair.other] = f"{pair.rollouts:,}"
    counts = sorted({pair.rollouts for pair in pairs})
    over = plural(counts[0], "rollout") if len(counts) == 1 else "the rollouts that have both"
    lines = [
        f"Metrics compared on {over}. Above the diagonal: rank correlation. Below it:",
        f"share of rollouts that both metrics put into the same of {parts:,} parts.",
        "",
        *_matrix(cells, shown),
        "",
    ]
    if "-" in cells.values():
        lines += ["- : one of the two is the same for every rollout, or no rollout has both.", ""]
    if len(counts) > 1:
        lines += ["Number of rollouts that have both metrics:", "", *_matrix(both, shown), ""]
    return lines


def _matrix(cells: Mapping[tuple[str, str], str], shown: Mapping[str, str]) -> list[str]:
    """A table with a row and a column per metric; cells are found by the names of both."""
    names = [name for name in shown if any(name in key for key in cells)]
    rows = [[shown[name], *[cells.get((name, other), "") for other in names]] for name in names]
    return table([["", *[shown[name] for name in names]], *rows], left=1)
