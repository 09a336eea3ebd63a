"""The report of a preprocessing run → whether verl can train on its sets as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from curriculum.display.text import MOST_SHOWN, few, have
from curriculum.errors import plural
from curriculum.reports.preprocessing_report import PreprocessingReport
from curriculum.verl.ground_truth import IDS
from curriculum.verl.reward_sources import has_reward_function, wrong_ground_truth
from curriculum.verl.row_batch import Topic
from curriculum.verl.rows import RowForm

READY = "verl: ready"
NOT_YET = "verl: not yet:"


def verl_verdict(report: PreprocessingReport) -> list[str]:
    """What keeps verl from training on sets of rows made from rollouts; nothing if it can.

    verl needs train and val rows, and a reward for each of them.
    """
    assert report.form is not None
    return [*_reward_problems(report, report.form), *_row_problems(report)]


def _reward_problems(report: PreprocessingReport, form: RowForm) -> Iterator[str]:
    sources = _data_sources(report)
    unknown = [source for source in sources if not has_reward_function(source)]
    if unknown:
        count, total = sum(sources[source] for source in unknown), sources.total()
        part = f" ({count:,} of {plural(total, 'row')})" if count < total else ""
        yield f"no reward function for data_source {few(unknown)}{part}{_remedy(report, form)}"
    for source in sources:
        wanted = wrong_ground_truth(source, form.ground_truth)
        if wanted:
            yield (
                f"verl's reward function for {source} wants ground truths that are {wanted}: set "
                "reward.custom_reward_function.path in verl, or name another --data-source"
            )
    absent = report.notes[Topic.NO_TRUTH, ""]
    if absent:
        total = report.rows + report.unscored
        yield f"{absent:,} of {plural(total, 'rollout')} have no ground truth to compare with"


def _data_sources(report: PreprocessingReport) -> Counter[str]:
    """This run's rows by data source, the most frequent first."""
    # A cumulative set repeats rows of its buckets' own sets.
    sets = [facts for facts in report.sets if facts.control_of is None]
    own = [facts for facts in sets if len(facts.buckets) == 1] or sets
    found: Counter[str] = sum((facts.data_sources for facts in own), Counter())
    if not found and report.options.keep_data_source:  # a dry run wrote no rows
        found = Counter({source: n for (at, source), n in report.notes.items() if at is _OWN})
        if report.notes[Topic.NO_DATA_SOURCE, ""]:
            found[report.options.data_source] += report.notes[Topic.NO_DATA_SOURCE, ""]
    return Counter(dict(found.most_common()))


_OWN = Topic.OWN_DATA_SOURCE


def _remedy(report: PreprocessingReport, form: RowForm) -> str:
    """What to do about a data source that verl does not know."""
    own = Counter({source: n for (at, source), n in report.notes.items() if at is _OWN})
    known = Counter({source: n for source, n in own.items() if has_reward_function(source)})
    total = report.rows + report.unscored
    if known and not report.options.keep_data_source:
        if known.total() == total and len(known) == 1:
            return (
                f": all {plural(total, 'rollout')} name {next(iter(known))}: use --keep-data-source"
            )
        shown = ", ".join(f"{n:,} name {source}" for source, n in known.most_common(MOST_SHOWN))
        return f": of {plural(total, 'rollout')} {shown}: use --keep-data-source"
    path = "set reward.custom_reward_function.path in verl"
    if IDS in dict(form.ground_truth.fields):
        return f": {path}, to examples/verl/reward.py for instruction following"
    return f": {path}, or say with --data-source which data set of verl's this is (openai/gsm8k)"


def _row_problems(report: PreprocessingReport) -> Iterator[str]:
    sets = [facts for facts in report.sets if facts.control_of is None]
    rows = {facts.name: (facts.rows["train"], facts.rows["val"]) for facts in sets}
    if names := [name for name, counts in rows.items() if not any(counts)]:
        yield f"{few(names)} {have(len(names))} no rows"
    if names := [name for name, (train, val) in rows.items() if val and not train]:
        yield f"{few(names)} {have(len(names))} no train rows"
    if not report.options.ratio:
        yield "there are no val rows (--val-ratio 0), and verl needs some: give it data.val_files"
        return
    if names := [name for name, (train, val) in rows.items() if train and not val]:
        yield f"{few(names)} {have(len(names))} no val rows, and verl needs some"
    if names := [f"{name}_val" for name, (_, val) in rows.items() if val == 1]:
        has_one = f"{few(names)} {have(len(names))} 1 row"
        yield f"{has_one}, which measures nothing: use a larger --val-ratio"
