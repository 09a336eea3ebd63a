"""The first lines of the input → its form, or the command that reads lines like them.

What is wrong with every line is said before the input is read. What is wrong with some of the
lines is for whoever reads them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, TypeAlias

import msgspec

from curriculum.advice.commands import beside_others, command, converting, new_name
from curriculum.advice.field_names import Advice, advise, prompt_field
from curriculum.advice.rows import rows_of
from curriculum.advice.text import COPY_FIRST, Advised, fields_of
from curriculum.advice.unscored import unscored
from curriculum.containers.file_kinds import JSON_OBJECT, FileKind
from curriculum.dumps.detect import Dump, FirstLines, find_dump, first_lines, named_form
from curriculum.dumps.flags import AUTO
from curriculum.dumps.formats import EMPTY, OWN, REWARD, Holds
from curriculum.dumps.table import BATCH, FORMATS, fitting
from curriculum.dumps.values import Fields, top
from curriculum.errors import InputError
from curriculum.options import BucketOptions
from curriculum.reading.input_files import InputFile
from curriculum.reading.lines import Malformed, find, shorten
from curriculum.reading.prompts import NO_PROMPT_TEXT, OTHER_PARTS, read_prompt
from curriculum.reading.rollouts import NO_REWARD, REWARD_NO_LIST, check_reward, response_texts
from curriculum.storage.paths import any_in_store

_PLACES = ("score_field", "prompt_field", "response_field", "ground_truth_field")
_PREPROCESS = "preprocess_bucketed_rollouts.py"


class InputForm(msgspec.Struct, frozen=True):
    """The form of the input: `dump` is None for rollouts. `warnings` are about what preprocessing
    would refuse. Rollouts without a prompt may have it in the field `likely_prompt`."""

    dump: Dump | None
    warnings: Sequence[str] = ()
    likely_prompt: str | None = None


def find_form(options: BucketOptions, files: Sequence[InputFile]) -> InputForm:
    """The form of these files.

    Raises InputError if no first line of a file is what the flags say, or Advised if it is known
    what it is instead. Raises neither where malformed lines are to be set aside.
    """
    seen = first_lines(files)
    if options.on_malformed == "stop":
        for first in seen:
            if error := _refusal(options, files, seen, first):
                raise error
    dump = find_dump(seen, options.dump_flags, options.reward_field)
    own_prompt = dump is None or dump.form.has_own_prompt
    if dump is not None and dump.form.prompt is None and not own_prompt:
        return InputForm(dump)
    faults = [
        (where, line, fault)
        for where, line, fault in _faults(seen, dump)
        if fault.kind != OTHER_PARTS  # counted later
    ]
    if own_prompt:  # how many have no prompt is counted later
        absent = [line for _, line, fault in faults if fault.kind == NO_PROMPT_TEXT]
        faults = [(where, line, f) for where, line, f in faults if f.kind != NO_PROMPT_TEXT]
        likely = prompt_field(absent[0]) if absent else None
        return InputForm(dump, _would_refuse(faults, dump), likely)
    return InputForm(dump, _would_refuse(faults, dump))


def refusal(options: BucketOptions, files: Sequence[InputFile]) -> InputError | None:
    """What is wrong with all first lines of one of the files. None if nothing is, or if it is not
    known what they are."""
    seen = first_lines(files)
    return next(filter(None, (_refusal(options, files, seen, first) for first in seen)), None)


def _refusal(
    options: BucketOptions,
    files: Sequence[InputFile],
    seen: Sequence[FirstLines],
    first: FirstLines,
) -> InputError | None:
    if not first.lines:
        return _not_json(first) if first.others > 1 else None
    problem = _problem(options, first)
    if problem is None:
        return None
    (number, line), (found, expected) = first.lines[0], problem
    where, says = f"{first.file.name}:{number}", [f"the line has {fields_of(line)}."]
    advice, kind = _advise(options, line), None
    if advice is None:
        advice, kind = _look_inside(options, first)
        where, says = first.file.name, []
        found, expected = "this is a JSON object that holds the rollouts", "JSON lines"
    if advice is None:
        return None
    good = [some.file for some in seen if some.lines and _problem(options, some) is None]
    if good:
        files = [some.file for some in seen if some.lines and _problem(options, some) == problem]
        says.append(f"It is not like {good[0].name}.")
    how, commands = _commands(options, files, bool(good), advice, kind)
    says += [*how, advice.to_do]
    return Advised(found, where=where, expected=expected, says=says, commands=commands)


def _commands(
    options: BucketOptions,
    files: Sequence[InputFile],
    others: bool,
    advice: Advice,
    kind: FileKind | None,
) -> tuple[list[str], list[str]]:
    """What to know about the commands that read these files, and the commands. `others` says
    that the input has files beside them."""
    paths, how = [file.path for file in files], []
    if others and advice.flags:  # which are not for the others
        how, others = ["Bucket it apart."], False
        options = replace(options, inputs=[*map(str, paths)])
    if advice.flags.get("group_by"):
        options = replace(options, group_field=None)
    then = replace(options, **advice.flags)
    if not (advice.changes or kind):
        return how, [command(then)] if advice.flags else []
    # pyarrow opens files that are compressed and files that are not.
    file = next((file for file in files if file.codec), files[0])
    held = file.container
    rows = rows_of(file.path, held.kind, held.field) if held else rows_of(file.path, kind)
    if rows is None:
        return how, []
    how += [COPY_FIRST] if any_in_store(paths) else []
    target = new_name("converted", ".jsonl")
    inputs, move = beside_others(then, paths, [target]) if others else ([target], [])
    convert = converting(rows, advice.changes, paths, target)
    return how, [convert, *move, command(replace(then, inputs=inputs))]


def _not_json(first: FirstLines) -> InputError:
    text = shorten(first.other.decode("utf-8", "replace"), 60)
    return InputError(
        f"no line is a JSON object, the first is {text}",
        where=first.file.name,
        expected="JSON lines",
        fix="leave it out of -i, or write it as JSON lines",
    )


def _problem(options: BucketOptions, first: FirstLines) -> tuple[str, str | None] | None:
    """What is wrong with every one of a file's first lines, and what was expected instead."""
    lines = [line for _, line in first.lines]
    if options.value is not None:
        return _value_problem(options, lines)
    if options.format in (*FORMATS, BATCH):
        form = named_form(options.format, lines, options.dump_flags)
        missing = [name for name in sorted(form.marks) if not any(name in line for line in lines)]
        expected = f"in every line ({form.title})"
        return (f"no {' and no '.join(missing)}", expected) if missing else None
    if options.format == AUTO and any(fitting(line) not in ((), (OWN,)) for line in lines):
        return None
    if options.score_map or options.score_reduce:
        lines = [line for line in lines if not isinstance(line.get(REWARD), list)]
    problems = [_reward_problem(line, options.reward_field) for line in lines]
    return None if None in problems or not problems else problems[0]


def _value_problem(
    options: BucketOptions, lines: Sequence[Fields]
) -> tuple[str, str | None] | None:
    given = options.value
    places = given.counts or (given.place,) if given else ()
    absent = [place for place in places if all(find(line, place) is None for line in lines)]
    if not absent:
        return None
    return f"no {' and no '.join(absent)}", "a number there in some lines"


def _reward_problem(line: Fields, score_field: str) -> tuple[str, str | None] | None:
    try:
        check_reward(line, score_field)
    except Malformed as error:
        if error.kind == NO_REWARD:
            return error.kind, "a list with one entry per response"
        return str(error), "one entry per response" if error.kind == REWARD_NO_LIST else None
    return None


def _advise(options: BucketOptions, line: Fields) -> Advice | None:
    """How to read lines like this one; flags that name what it does not have are corrected."""
    if options.value_field is not None:
        meant = _similar(options.value_field, line)
        flags = {"value_field": meant}
        return Advice(f"Did you mean --value-field {meant}?", flags=flags) if meant else None
    places = _PLACES if options.format in FORMATS else _PLACES[1:]
    given = {flag: getattr(options, flag) for flag in places}
    if "score_field" in given:
        given["score_field"] = next(iter(options.score_fields), None)
    wrong = {flag: place for flag, place in given.items() if place and find(line, place) is None}
    close = {flag: _similar(place, line) for flag, place in wrong.items()}
    if wrong and None not in close.values():
        meant = " and ".join(f"{_flag(flag)} {place}" for flag, place in close.items())
        return Advice(f"Did you mean {meant}?", flags=close)
    without: dict[str, Any] = dict.fromkeys(wrong)
    fits = fitting(line)
    if len(fits) == 1 and options.format not in (AUTO, *fits):
        if fits == (OWN,):
            without |= dict.fromkeys(("prompt_field", "response_field", "ground_truth_field"))
        title = FORMATS[fits[0]].title if fits[0] in FORMATS else "rollouts"
        return Advice(f"These lines are {title}:", flags={"format": AUTO} | without)
    advice = unscored(line) or advise(line, replace(options, **without))
    if advice and wrong and advice.changes and options.format in FORMATS:
        return Advice(f"Name one of these fields with {' and '.join(map(_flag, wrong))}.")
    return msgspec.structs.replace(advice, flags=without | dict(advice.flags)) if advice else None


def _similar(place: str, line: Fields) -> str | None:
    """The place whose field the line has under nearly the same name."""
    field, dot, rest = place.partition(".")
    found = get_close_matches(field, line, n=1)
    near = f"{found[0]}{dot}{rest}" if found else None
    return near if near and find(line, near) is not None else None


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _look_inside(
    options: BucketOptions, first: FirstLines
) -> tuple[Advice | None, FileKind | None]:
    """How to read a file whose only line holds rollouts in one of its fields, and its kind."""
    rows = rows_of(first.file.path, JSON_OBJECT) if first.is_whole else None
    row = rows.first[0] if rows else None
    if not isinstance(row, dict) or row == first.lines[0][1]:
        return None, None
    advice = Advice("Convert it, then bucket:") if fitting(row) else advise(row, options)
    return advice, JSON_OBJECT


Fault: TypeAlias = tuple[str, Fields, Malformed]  # the place of a line, the line, what is wrong


def _faults(seen: Sequence[FirstLines], dump: Dump | None) -> list[Fault]:
    """What preprocessing would refuse of the first lines."""
    faults = []
    for first in seen:
        for number, line in first.lines:
            known = fitting(line) == (OWN,) or (dump and dump.form.marks <= line.keys())
            if known and (fault := _fault(line, dump)):
                faults.append((f"{first.file.name}:{number}", line, fault))
    return faults


def _would_refuse(faults: Sequence[Fault], dump: Dump | None) -> list[str]:
    """A warning about the first lines that preprocessing would refuse."""
    if not faults:
        return []
    where, line, fault = faults[0]
    return [
        f"{_PREPROCESS} would refuse {len(faults):,} of the first rollouts, such as "
        f"{where}: {fault}. {_remedy(line, fault, dump)}"
    ]


def _fault(line: Fields, dump: Dump | None) -> Malformed | None:
    """Why preprocessing would refuse the rollout of a line; None if it would not."""
    try:
        if dump is None or dump.form.has_own_prompt:
            if dump is None or dump.form.name == OWN:
                response_texts(line)
            read_prompt(dict.fromkeys(("prompt", "messages")) | line, Counter())
        else:
            place = dump.form.prompt or ""
            prompt = find(line, place)
            if dump.form.holds is Holds.BATCH:
                prompt = next(iter(prompt or ()), None)
            if prompt in EMPTY or prompt is None:
                raise Malformed(NO_PROMPT_TEXT, f"{place} holds none")
            if dump.form.read_prompt:
                prompt = dump.form.read_prompt(prompt)
            read_prompt({"prompt": prompt, "messages": None}, Counter())
    except Malformed as error:
        return error
    return None


def _remedy(line: Fields, fault: Malformed, dump: Dump | None) -> str:
    if fault.kind.startswith("response"):
        return "Give that script --no-best-response, or rename the field and bucket again."
    if fault.kind != NO_PROMPT_TEXT or dump is None:
        return "Fix these prompts and bucket again."
    name = prompt_field(line, (top(dump.form.prompt or ""),))
    where = f"If it is in {name}" if name else "If a line has it elsewhere"
    return f"{where}, bucket again with --prompt-field {name or 'PLACE'}."
