"""The report of a bucketing run, and some of its rollouts → a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from curriculum.arrays import FloatArray, IntArray
from curriculum.bucketers import difficulty
from curriculum.bucketing.rollout_source import RolloutSource
from curriculum.bucketing.scan import Scanned
from curriculum.choosing.groups import Groups
from curriculum.cutting.assign_buckets import BucketAssignment
from curriculum.cutting.change import MOST_WORSE
from curriculum.cutting.report import BucketingReport
from curriculum.cutting.scored_lines import ScoredLines
from curriculum.display.histogram import tell_apart
from curriculum.display.text import number, share
from curriculum.engines.workers import Workers
from curriculum.errors import plural
from curriculum.pages.charts import Spread, flows, histogram, shade, spreads
from curriculum.pages.pick import OF_ALL_BUCKETS, AtCut, Odd, ScoredRollouts, all_numbers
from curriculum.pages.read_again import Texts, read_again
from curriculum.pages.render import Page
from curriculum.reading.ledger import TAKEN
from curriculum.reports.bucketing_changes import (
    fall,
    harder_sentence,
    like_sentence,
    matched,
    mean_sentence,
    move_rows,
)
from curriculum.reports.bucketing_summary import (
    DECIDE_FIRST,
    bucket_rows,
    dropped_rows,
    further_sentence,
    group_rows,
    heading,
    labels,
    picture,
    read_lines,
    ready,
    trust_text,
)
from curriculum.reports.bucketing_warnings import bucketing_warnings, decisions
from curriculum.reports.trust import metric_matrix
from curriculum.statistics.sample import Sample

NAME_WIDTH = 60
MOST_GROUPS = 40
MOST_KEYS = 12
MOST_DRAWN = 30  # buckets whose moves are drawn
MOST_LENGTHS = 200  # buckets whose lengths are shown
UNCERTAIN = "How many rollouts truly belong in another bucket is not known for these."


class Shown(Struct, frozen=True):
    """A rollout as it is shown: its bucket and value, its group, and why it is there."""

    place: str
    bucket: str
    value: str
    group: str | None
    note: str
    texts: Texts


class Key(Struct, frozen=True):
    """A colour and what it stands for."""

    fill: str
    text: str


def scored_rollouts(scanned: Scanned, assigned: BucketAssignment) -> ScoredRollouts:
    """What is known of all scored rollouts, by number."""
    groups = [scan.groups for scan in scanned.scans]
    whole = all(len(s.groups.codes) == len(s.values) for s in scanned.scans)
    variances = [scan.metrics["variance"][scan.rollout_kinds >= TAKEN] for scan in scanned.scans]
    return ScoredRollouts(
        values=np.concatenate([scan.values for scan in scanned.scans]),
        buckets=np.concatenate(list(assigned.buckets)).astype(np.int64),
        kinds=np.concatenate([scan.scored for scan in scanned.scans]),
        variances=np.concatenate(variances),
        groups=Groups.join(groups) if whole else Groups.join([]),
    )


class Chosen(Struct, frozen=True):
    """The rollouts that a page shows, by number: some of each bucket, those beside the cuts, those
    whose scores vary most, those unlike their group, and those that got harder."""

    drawn: Sequence[Sequence[int]]
    cuts: Sequence[AtCut]
    widest: Sequence[int]
    odd: Sequence[Odd]
    worse: Sequence[int]

    @staticmethod
    def of(report: BucketingReport, rollouts: ScoredRollouts) -> Chosen:
        """Choose them."""
        count, compared = len(report.manifest.buckets), report.compared
        cut = range(count)[report.manifest.method.inner]
        easier = report.manifest.metric.higher_is_easier
        within = report.options.within is not None
        return Chosen(
            drawn=rollouts.drawn(count),
            cuts=[] if within else rollouts.at_cuts(cut, easier),
            widest=[] if report.carried else rollouts.widest(),
            odd=[] if report.carried else rollouts.odd(),
            worse=[one.new for one in compared.change.worse] if compared else [],
        )

    @property
    def numbers(self) -> IntArray:
        """All of them, ascending."""
        cuts = [number for pair in self.cuts for number in (pair.easier, pair.harder)]
        odd = [one.number for one in self.odd]
        return all_numbers([*self.drawn, cuts, self.widest, odd, self.worse])


class ReadRollouts(Struct, frozen=True):
    """What was read again: texts and places of the rollouts that are shown, by number, and the
    lengths of prompt and response of those in a sample."""

    texts: Mapping[int, Texts]
    places: Mapping[int, str]
    lengths: FloatArray

    @staticmethod
    def read(
        source: RolloutSource, workers: Workers, shown: IntArray, sample: Sample
    ) -> ReadRollouts:
        """Read them."""
        every = all_numbers([shown.tolist(), sample.positions.tolist()])
        texts, lengths = read_again(source, workers, every, np.isin(every, shown))
        return ReadRollouts(
            texts,
            ScoredLines(source).places(shown.tolist()),
            lengths[np.searchsorted(every, sample.positions)],
        )


def bucketing_page(
    report: BucketingReport,
    source: RolloutSource,
    workers: Workers,
    scanned: Scanned,
    assigned: BucketAssignment,
) -> Page:
    """Choose what a page shows of a run, read it, and put it together."""
    rollouts = scored_rollouts(scanned, assigned)
    chosen = Chosen.of(report, rollouts)
    read = ReadRollouts.read(source, workers, chosen.numbers, scanned.sample)
    return BucketingPage(report, rollouts, scanned.sample, chosen, read).page()


class BucketingPage(Struct, frozen=True):
    """What a page is made of."""

    report: BucketingReport
    rollouts: ScoredRollouts
    sample: Sample
    chosen: Chosen
    read: ReadRollouts

    @property
    def _names(self) -> list[str]:
        return [bucket.name for bucket in self.report.manifest.buckets]

    def page(self) -> Page:
        """The page."""
        report = self.report
        matrix = None
        if report.comparison is not None:
            parts = report.manifest.method.num_buckets
            matrix = metric_matrix(report.comparison, parts, labels(report))
        facts = {
            "kind": ", bucketing",
            "title": picture(report).title,
            "dry_run": report.dry_run,
            "heading": heading(report).rstrip(":") + ".",
            "read": read_lines(report),
            "like": like_sentence(report),
            "further": further_sentence(report),
            "ready": ready(report),
            "decide_first": DECIDE_FIRST,
            "questions": decisions(report),
            "warnings": bucketing_warnings(report),
            **self._distribution(),
            "buckets": bucket_rows(report, NAME_WIDTH),
            "dropped": dropped_rows(report),
            "groups": group_rows(report, MOST_GROUPS, NAME_WIDTH),
            "change": self._change(),
            **self._length_facts(),
            "metrics": matrix,
            "trust": trust_text(report) or UNCERTAIN,
            "at_cuts": self._at_cuts(),
            "drawn": self._drawn_rollouts(),
            "unshown_buckets": self._unshown(),
            "widest": [self._show(number) for number in self.chosen.widest],
            "odd": [self._show(odd.number, _why_odd(odd)) for odd in self.chosen.odd],
            "responses": _responses,
            "carried": report.carried,
        }
        return Page("bucketing.html", {**facts, "contents": _contents(facts)})

    def _distribution(self) -> dict[str, Any]:
        drawn = picture(self.report)
        keys = [
            Key(shade(i, len(self._names)), bucket.legend) for i, bucket in enumerate(drawn.buckets)
        ]
        if len(keys) > MOST_KEYS:
            between = f"{len(keys) - 2:,} buckets between"
            keys = [keys[0], Key(keys[len(keys) // 2].fill, between), keys[-1]]
        order = "easy on the left"
        return {
            "chart": histogram(drawn, self._names),
            "chart_label": f"{drawn.title}, {order}; the numbers are in the table below",
            "chart_caption": f"← easier   {drawn.label}   harder →"
            + (f" ({drawn.note})" if drawn.note else ""),
            "keys": keys,
            "bars": self._bars(),
        }

    def _bars(self) -> list[list[str]]:
        """What the bars of the picture hold, bucket by bucket, easiest first."""
        facts, easier = self.report.facts, self.report.manifest.metric.higher_is_easier
        values = sorted({v for fact in facts for bar in fact.bars for v in (bar.low, bar.high)})
        text = dict(zip(values, tell_apart(values), strict=True))
        rows = [["bucket", self.report.metric_label, "rollouts"]]
        for name, fact in zip(self._names, facts, strict=True):
            for bar in reversed(fact.bars) if easier else fact.bars:
                low, high = text[bar.low], text[bar.high]
                held = low if bar.low == bar.high else f"{low} to {high}"
                rows.append([name, held, f"{bar.count:,}"])
        return rows

    def _length_facts(self) -> dict[str, Any]:
        buckets = self.rollouts.buckets[self.sample.positions]
        found = [
            spreads([self.read.lengths[buckets == i, of] for i in range(len(self._names))])
            for of in (0, 1)
        ]
        there = any(some is not None for column in found for some in column)
        rows = list[tuple[str, Spread | None, Spread | None]](zip(self._names, *found, strict=True))
        rows = rows[:MOST_LENGTHS]
        return {"lengths": rows if there else [], "lengths_note": self._lengths_note()}

    def _lengths_note(self) -> str:
        taken, total = len(self.sample.positions), len(self.rollouts.values)
        of = f"all {plural(total, 'rollout')}"
        if taken < total:
            of = f"{taken:,} of {total:,} rollouts, drawn at random"
        values = self.rollouts.values[self.sample.positions]
        hard = difficulty(values, self.report.manifest.metric.higher_is_easier)
        found = [
            f"{what} {correlation:+.2f}"
            for what, column in (("prompts", 0), ("responses", 1))
            if (correlation := _rank_correlation(hard, self.read.lengths[:, column])) is not None
        ]
        text = f"Of {of}; the length of the responses is their mean."
        if found:
            text += (
                f" Rank correlation of length and difficulty: {', '.join(found)} (+1: the longer, "
                "the harder)."
            )
        if len(self._names) > MOST_LENGTHS:
            text += f" Of {len(self._names):,} buckets, the first {MOST_LENGTHS} are shown."
        return text

    def _change(self) -> dict[str, Any] | None:
        """What changed since the bucketing that --compare-to names."""
        report, compared = self.report, self.report.compared
        if compared is None:
            return None
        old = [bucket.name for bucket in compared.manifest.buckets]
        drawn = max(len(old), len(self._names)) <= MOST_DRAWN
        return {
            "matched": matched(report, compared),
            "mean": mean_sentence(report, compared),
            "harder": harder_sentence(report, compared, MOST_WORSE),
            "rows": move_rows(report, compared),
            "flows": flows(compared.change.moves, old, self._names) if drawn else [],
            "legend": [Key(shade(i, len(self._names)), n) for i, n in enumerate(self._names)]
            if drawn
            else [],
            "worse": [self._show(one.new, fall(report, one)) for one in compared.change.worse],
        }

    def _at_cuts(self) -> list[Shown]:
        return [
            self._show(number, side)
            for pair in self.chosen.cuts
            for number, side in (
                (pair.easier, "nearest to the cut, on its easier side"),
                (pair.harder, "nearest to the cut, on its harder side"),
            )
        ]

    def _drawn_rollouts(self) -> list[tuple[str, list[Shown]]]:
        pairs = zip(self._names, self.report.facts, self.chosen.drawn, strict=True)
        return [
            (f"{name}: {plural(facts.count, 'rollout')}", [self._show(number) for number in some])
            for name, facts, some in pairs
            if some or not facts.count
        ]

    def _unshown(self) -> str:
        count = len(self._names)
        if count <= OF_ALL_BUCKETS:
            return ""
        return f"Of {count:,} buckets, rollouts of {OF_ALL_BUCKETS} are shown."

    def _show(self, rollout: int, note: str = "") -> Shown:
        groups = self.rollouts.groups
        code = int(groups.codes[rollout]) if len(groups.codes) else Groups.NONE
        value = number(float(self.rollouts.values[rollout]))
        return Shown(
            place=self.read.places[rollout],
            bucket=self._names[int(self.rollouts.buckets[rollout])],
            value=f"{self.report.metric_label} {value}",
            group=None if code == Groups.NONE else groups.names[code],
            note=note,
            texts=self.read.texts[rollout],
        )


def _contents(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The sections that are there, by their anchors."""
    sections = {
        "warnings": "Warnings", "distribution": "Distribution", "buckets": "Buckets",
        "groups": "Groups", "change": "What changed", "lengths": "Lengths", "metrics": "Metrics",
        "cuts": "Cuts", "rollouts": "Rollouts", "widest": "Widest spread",
        "odd": "Unlike their group",
    }  # fmt: skip
    anchors = {"widest": "spread"}
    return [
        (anchors.get(name, name), title) for name, title in sections.items() if facts.get(name, 1)
    ]


def _why_odd(odd: Odd) -> str:
    group = "all rollouts" if odd.group is None else odd.group
    part = share(round(odd.share * odd.rollouts), odd.rollouts)
    if odd.solved:
        return f"every response passes; of {group} only {part} have a pass"
    return f"no response passes, as in only {part} of {group}"


def _responses(texts: Texts) -> list[tuple[str, Any]]:
    """The responses of a rollout that are shown, with what they are."""
    assert texts.best is not None
    assert texts.worst is not None
    chosen = {"best": texts.best, "worst": texts.worst}
    if texts.best.index == texts.worst.index:
        several = sum(score is not None for score in texts.scores) > 1
        chosen = {"as all others" if several else "the only one": texts.best}
    return [
        (f"response[{found.index}], score {number(found.score)}, {what}", found)
        for what, found in chosen.items()
    ]


def _rank_correlation(one: FloatArray, other: FloatArray) -> float | None:
    """Spearman's correlation, with mean ranks for ties; None if one of the two does not vary."""
    import pandas as pd

    there = ~np.isnan(other)
    ranks = [pd.Series(some[there]).rank() for some in (one, other)]
    if any(some.nunique() < 2 for some in ranks):
        return None
    return float(ranks[0].corr(ranks[1]))
