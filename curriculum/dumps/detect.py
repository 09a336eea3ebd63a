"""The first lines of the input → its format, or None if the lines are rollouts already.

Nothing is guessed: where lines fit two formats, the error names the flag that decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from shlex import quote
from typing import Any

import msgspec
from msgspec.structs import replace

from curriculum.dumps.flags import AUTO, DumpFlags
from curriculum.dumps.formats import OWN, End, Format, Holds, Steps
from curriculum.dumps.table import (
    BATCH,
    CUSTOM,
    CUSTOM_LISTS,
    FORMATS,
    adapt,
    batch_form,
    fitting,
    own_form,
    own_lists,
    value_form,
)
from curriculum.dumps.values import Fields, top
from curriculum.errors import InputError, plural
from curriculum.reading.blocks import read_blocks
from curriculum.reading.input_files import InputFile, Shard
from curriculum.reading.lines import REFUSALS, Line, Malformed, find, is_blank, load_object

LINES_LOOKED_AT = 8  # that fit a format, in the first file; one in each other file
FILES_LOOKED_AT = 256
BYTES_LOOKED_AT = 1 << 16  # of each file at least, or one line if that is longer


class Dump(msgspec.Struct, frozen=True):
    """Input whose lines must be grouped: its format, the steps wanted, and whether the prompt
    alone identifies a group."""

    form: Format
    steps: Steps
    by_prompt: bool


class FirstLines(msgspec.Struct, frozen=True):
    """The first lines of a file that are objects, with their numbers (from 1), up to those that
    show its format.

    `others` is how many lines among them are no objects, and `other` the first of those. `is_whole`
    says that the file has no more lines.
    """

    file: InputFile
    lines: Sequence[tuple[int, Fields]]
    others: int = 0
    other: bytes = b""
    is_whole: bool = False

    @property
    def known(self) -> list[Fields]:
        """The lines that fit a format."""
        return [line for _, line in self.lines if fitting(line)]


def find_dump(seen: Sequence[FirstLines], flags: DumpFlags, score_field: str) -> Dump | None:
    """The dump whose files begin with these lines; None for rollouts of our own form that need no
    change.

    Raises InputError if the lines fit two formats, or if a flag asks for what the format lacks.
    """
    lines = [line for first in seen for _, line in first.lines]
    form = _form_of(seen, lines, flags, score_field)
    if form is None:
        return None
    if form.name == OWN and form.holds is Holds.RESPONSE:  # rollouts to be merged
        return Dump(form, Steps(), True)
    _check_flags(form, flags)
    _check_added(flags.places.get("added") or (), lines)
    if form.score_choices and "score" not in flags.places:
        form = replace(form, score=_only_choice(form, lines, seen))
    if flags.truncated == "missing":
        form = _leave_out_cut_off(form)
    form = replace(form, words={**form.words, **flags.words}, reduce=flags.reduce)
    if form.choice is not None:
        names = (find(line, form.choice) for line in lines)
        chosen = flags.chosen or next(names, None)
        form = replace(form, chosen=chosen, skips_others=flags.chosen is not None)
    return Dump(form, flags.steps, flags.by_prompt)


def _form_of(
    seen: Sequence[FirstLines], lines: Sequence[Fields], flags: DumpFlags, score_field: str
) -> Format | None:
    """The format that the flags name, or the lines have; None for rollouts of our own form that
    need no change."""
    name = flags.format
    if flags.value is not None:
        _refuse_scores(seen, name)
        return value_form(flags.value, flags.places)
    if name == AUTO:
        name = _choose([(first.file, line) for first in seen for line in first.known])
    if name != OWN:
        return named_form(name, lines, flags)
    _refuse_flags_of_dumps(flags)
    if flags.by_prompt:
        _refuse_with_prompt(flags)
        return own_form(score_field)
    return own_lists(score_field) if flags.words or flags.reduce else None


def named_form(name: str, lines: Sequence[Fields], flags: DumpFlags) -> Format:
    """The format of a name, as it is for lines like these."""
    if name == BATCH:
        return adapt(batch_form(lines), flags.places)
    form = FORMATS[name]
    place = flags.places.get("score", form.score)
    scored = (line for line in lines if find(line, place) is not None)
    if name == CUSTOM and holds_lists(next(scored, {}), flags):
        form = CUSTOM_LISTS
    form = adapt(form, flags.places)
    return replace(form, groups=()) if flags.by_prompt else form


def holds_lists(line: Fields, flags: DumpFlags) -> bool:
    """Whether a line has a score for each of its responses, as far as the flags say where they are,
    and not several for one response."""
    scores = find(line, flags.places.get("score", FORMATS[CUSTOM].score))
    responses = find(line, flags.places.get("response", ""))
    if not isinstance(scores, list):
        return False
    if isinstance(responses, list):
        return not any(find(item, "role") not in (None, "assistant") for item in responses)
    return responses is None and flags.reduce is None


def _only_choice(form: Format, lines: Sequence[Fields], seen: Sequence[FirstLines]) -> str:
    """The only place that may hold the score in these lines. Raises InputError if there are
    several."""
    find_choices = form.score_choices or (lambda line: ())
    choices = list(dict.fromkeys(place for line in lines for place in find_choices(line)))
    if len(choices) <= 1:
        return next(iter(choices), form.score)
    raise InputError(
        f"{form.title} with {len(choices)} fields that may be the score: {', '.join(choices)}",
        where=next((first.file.name for first in seen if first.lines), ""),
        expected="one of them, or --score-field",
        fix=f"choose one with --score-field, such as --score-field {quote(choices[0])}"
        + (f", or name several, which are added up: {' '.join(map(quote, choices))}")
        * form.scores_add_up,
    )


def _check_flags(form: Format, flags: DumpFlags) -> None:
    """Raise InputError for a flag that the format has no use for."""
    by_response = form.holds is Holds.RESPONSE
    wrong = None
    if flags.by_prompt and not by_response:
        wrong = ("--group-by", "hold whole rollouts", "bucket them, then merge the buckets with it")
    elif by_response and not form.alternatives:
        wrong = ("--group-by", "have no prompts", "say where the prompt is with --prompt-field")
    elif form.step is None and not flags.steps.all:
        wrong = ("--steps", "have no steps", "")
    elif form.choice is None and flags.chosen is not None:
        wrong = ("--filter-key", "have no filters", "")
    elif flags.value is not None and (flags.words or flags.reduce):
        wrong = ("--score-map" if flags.words else "--score-reduce", "have no scores", "")
    elif form.added and (form.name == OWN or form.holds is Holds.VALUE):
        wrong = ("--score-field", "have a list of scores, at one place", "name one place")
    if wrong:
        flag, lack, else_ = wrong
        raise InputError(
            f"{form.title} {lack}",
            where=flag,
            expected="a format that it is for",
            fix=f"leave it out{', or ' + else_ if else_ else ''}",
        )


def _check_added(places: Sequence[str], lines: Sequence[Fields]) -> None:
    """Raise InputError if none of these lines has one of the fields that are to be added up."""
    for place in places:
        if lines and not any(top(place) in line or place in line for line in lines):
            raise InputError(
                f"none of the first {plural(len(lines), 'line')} has {place}",
                where="--score-field",
                expected="fields of these lines",
                fix="correct it, or leave it out",
            )


def _refuse_scores(seen: Sequence[FirstLines], format: str) -> None:
    """Raise InputError if lines that are to be bucketed by a number have scores as well."""
    for first in seen:
        for number, line in first.lines:
            if format == AUTO and fitting(line) == (OWN,):
                raise InputError(
                    "this line has a reward, one score per response, which says more than a number",
                    where=f"{first.file.path}:{number}",
                    expected="lines without scores beside --value-field",
                    fix="leave out --value-field, or take the number all the same with --format "
                    f"{CUSTOM}",
                )


def _refuse_with_prompt(flags: DumpFlags) -> None:
    given = "--score-map" if flags.words else "--score-reduce" if flags.reduce else None
    if given:
        raise InputError(
            "rollouts that are merged keep their scores as they are",
            where=given,
            expected="one of the two",
            fix="bucket them first, then merge the buckets with --group-by prompt",
        )


def _leave_out_cut_off(form: Format) -> Format:
    """The format without the scores of responses that were cut off. Raises InputError if it does
    not say which were."""
    if form.cut_off is None:
        raise InputError(
            f"{form.title}: nothing in it says which responses were cut off",
            where="--truncated",
            expected="a format that says it",
            fix="leave it out: the scores count as they were given",
        )
    return replace(form, unscored=form.unscored | {End.CUT_OFF})


def _choose(seen: Sequence[tuple[InputFile, Fields]]) -> str:
    """The name of the one format that all these lines fit; OWN if there are no lines."""
    first: dict[tuple[str, ...], str] = {}
    for file, line in seen:
        first.setdefault(fitting(line), file.name)
    if not first:
        return OWN
    if len(first) > 1:
        found = ", ".join(f"{' or '.join(fit)} in {path}" for fit, path in first.items())
        raise InputError(
            f"these files are of several formats ({found})",
            where=next(iter(first.values())),
            expected="lines of one format",
            fix="bucket them apart: give -i the files of one format. Of files that mix them, "
            "--format NAME --on-malformed set-aside takes one",
        )
    ((fit, path),) = first.items()
    if len(fit) > 1:
        raise InputError(
            f"these lines may be {' or '.join(fit)}",
            where=path,
            expected="lines of one format",
            fix="say which with --format",
        )
    return fit[0]


def _refuse_flags_of_dumps(flags: DumpFlags) -> None:
    given = [_FLAGS[name] for name in flags.places if name in _FLAGS]
    if flags.chosen is not None:
        given.append("--filter-key")
    if not flags.steps.all:
        given.append("--steps")
    if flags.truncated == "missing":
        given.append("--truncated")
    if given:
        fix = "leave the flag out, or name the format with --format"
        if set(given) <= {_FLAGS["prompt"], _FLAGS["ground_truth"]}:
            fix = "leave it out here, and give it to preprocess_bucketed_rollouts.py"
        raise InputError(
            "these are rollouts, each with all its responses",
            where=", ".join(given),
            expected="what another tool wrote",
            fix=fix,
        )


_FLAGS = {
    "prompt": "--prompt-field",
    "response": "--response-field",
    "ground_truth": "--ground-truth-field",
    "groups": "--group-field",
    "added": "several places in --score-field",
}


def first_lines(files: Sequence[InputFile]) -> list[FirstLines]:
    """The first lines of the first files."""
    looked = files[:FILES_LOOKED_AT]
    return [
        _look(file, LINES_LOOKED_AT if file is looked[0] else 1) for file in looked if file.size
    ]


def _look(file: InputFile, wanted: int) -> FirstLines:
    """The first lines of a file, up to the `wanted` number of lines that fit a format."""
    blocks = read_blocks(Shard(file, file.bom_bytes, file.size), BYTES_LOOKED_AT)
    block = next(blocks, None)
    lines = block.lines() if block else []
    found: list[tuple[int, Fields]] = []
    others = []
    for number, line in enumerate(lines, 1):
        fields = _fields(line)
        if fields is not None:
            found.append((number, fields))
            wanted -= bool(fitting(fields))
        elif not is_blank(line):
            others.append(number - 1)
        if not wanted:
            break
    other = bytes(lines[others[0]][:BYTES_LOOKED_AT]) if others else b""
    is_whole = block is not None and block.size == file.size
    if file.container is not None:
        is_whole = len(lines) == 1 and next(blocks, None) is None
    return FirstLines(file, found, len(others), other, is_whole)


def _fields(line: Line) -> Fields | None:
    """All fields of a line; None if it is malformed, which is reported when all lines are read."""
    try:
        return _decode(line)
    except REFUSALS:
        with suppress(Malformed):
            return load_object(line)
    return None


_decode = msgspec.json.Decoder(dict[str, Any]).decode
