"""A line that is not a rollout → how to read lines like it: flags, or changes to its fields.

Advice rests on the names and kinds of the fields. It is shown to the user and never followed
unasked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from curriculum.dumps.flags import DIRECTIONS
from curriculum.dumps.table import CUSTOM, FORMATS
from curriculum.dumps.values import Fields, is_number, written_number
from curriculum.options import BucketOptions
from curriculum.reading.lines import find, is_message

# What tools call these fields; the first of them that a line has is taken.
SCORES = (
    "reward", "rewards", "score", "scores", "correct", "is_correct", "correctness", "passed",
    "acc", "accuracy", "grade", "grades", "graded_list", "success", "exact_match", "verdict",
    "verdicts", "correctness_math_verify",
)  # fmt: skip
PROMPTS = (
    "prompt", "messages", "question", "problem", "query", "instruction", "input", "conversations",
    "question_content",
)  # fmt: skip
RESPONSES = (
    "response", "responses", "completion", "completions", "output", "outputs", "generation",
    "generations", "model_output", "model_response", "model_responses", "prediction",
    "predictions", "samples", "attempt", "attempts", "solution", "solutions", "answer", "answers",
    "code_list", "output_list", "code",
)  # fmt: skip
IDS = (
    "prompt_id", "question_id", "problem_id", "task_id", "example_id", "group_id", "doc_id", "uid",
    "id", "key", "idx", "index",
)  # fmt: skip
_RATE = re.compile(r"(solve|pass|success|correct|win)_?rate|(pass|avg|mean)@\d", re.IGNORECASE)
# Grades in words, the good one first.
_WORDS = (
    ("true", "false"), ("yes", "no"), ("correct", "incorrect"), ("right", "wrong"),
    ("pass", "fail"), ("passed", "failed"), ("c", "i"),
)  # fmt: skip
KNOWN = (*SCORES, *PROMPTS, *RESPONSES, *IDS)


class Advice(Struct, frozen=True):
    """How to read lines of one form. `to_do` is a sentence.

    `changes` are Python statements that change a line, which is a dict called `row`; `flags` are
    fields of BucketOptions.
    """

    to_do: str
    changes: tuple[str, ...] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)


def advise(line: Fields, options: BucketOptions) -> Advice | None:
    """How to read lines like this one, not a rollout; None if nothing in it can be scores."""
    place = _score_place(line, options)
    if place is None:
        return None
    score = find(line, place)
    if isinstance(score, list):
        return _lists(line, place, score)
    return _group(line, place, options)


def prompt_field(line: Fields, but: Sequence[str] = ()) -> str | None:
    """The field of a line that is likely its prompt, none of `but`."""
    return _first(line, PROMPTS, _is_text_or_talk, but)


def _inner_prompt(line: Fields) -> str | None:
    """The place of a prompt that is a text in an object."""
    places = (f"{name}.{inner}" for name in PROMPTS for inner in ("text", "content", "question"))
    return next((place for place in places if _is_text(find(line, place))), None)


def _score_place(line: Fields, options: BucketOptions) -> str | None:
    """Where a line has its score, or its list of scores."""
    given = next(iter(options.score_fields), None)
    if given and all(map(_is_plain, given.split("."))) and _is_score(find(line, given)):
        return given
    texts = {len(value) for value in line.values() if _are(value, str)}
    beside = [name for name in SCORES if _is_score(line.get(name)) and _length(line[name]) in texts]
    for name in (*beside, *SCORES):
        value = line.get(name)
        if _is_score(value) and _is_plain(name):
            return name
        if isinstance(value, dict):
            graders = [key for key, grade in value.items() if _is_score(find(grade, "value"))]
            if len(graders) == 1 and _is_plain(graders[0]):
                return f"{name}.{graders[0]}.value"
            inner = [key for key in value if is_number(value[key]) and _is_plain(key)]
            known = [key for key in (*SCORES, "total", "value") if key in inner]
            if known or len(inner) == 1:
                return f"{name}.{(known or inner)[0]}"
    if place := _inside_objects(line, SCORES, is_number):
        return place
    lists = [name for name, value in line.items() if _are(value, (int, float)) and _is_plain(name)]
    if len(lists) == 1 and len(line[lists[0]]) in texts:
        return lists[0]
    rates = [name for name in line if _is_rate(line, name)]
    return rates[0] if len(rates) == 1 and _is_plain(rates[0]) else None


def _inside_objects(
    line: Fields, names: Sequence[str], fits: Callable[[Any], bool], of: Sequence[str] = ()
) -> str | None:
    """The place of a value in every object of a list, by the names that it may have; only in the
    lists `of`, if there are any."""
    for name, value in line.items():
        if (of and name not in of) or not _are(value, dict) or not _is_plain(name):
            continue
        for inner in names:
            if all(fits(item.get(inner)) for item in value):
                return f"{name}[*].{inner}"
    return None


def _lists(line: Fields, scores: str, values: Sequence[Any]) -> Advice | None:
    """The advice for a line with a list of scores: a rollout whose fields have other names."""
    first = next(value for value in values if value is not None)
    inner, flags = None, _word_flags(first)
    if isinstance(first, dict):
        flags = _word_flags(first.get("score"))
        inner = None if flags else score_field(first)
    of = f"{scores}[*].{inner}" if inner else scores
    texts = _first(line, RESPONSES, lambda value: _are(value, str) and len(value) == len(values))
    if texts is None and "[*]" in scores:
        beside = (scores.partition("[")[0],)
        texts = _inside_objects(line, ("text", "content", *RESPONSES), _is_text, beside)
    if texts == "responses" or find(line, "response.choices"):
        texts = None  # where our own form has them
    prompt, changes = _prompt_elsewhere(line, (scores, texts or ""))
    own = scores == "reward" and not texts and not (isinstance(first, str) and not flags)
    if own:
        flags |= {"score_field": inner} if inner not in (None, "score") else {}
        changes = changes or tuple(_own_prompt(line, (scores,)))
    else:
        score = None if of == FORMATS[CUSTOM].score else of
        flags |= {"format": CUSTOM, "score_field": score, "response_field": texts}
        flags |= {"prompt_field": prompt} if prompt else {}
    if not changes and not flags:
        return None
    return Advice("each line is a rollout; say where its lists are:", changes, flags)


def _prompt_elsewhere(line: Fields, but: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """The field of a prompt that is not where rollouts have theirs, and the changes that it needs
    if it is a conversation of from and value."""
    name = prompt_field(line, but)
    if name and _is_talk(line[name]) and not is_message(line[name][0]):
        return None, tuple(_as_messages(line[name], name))
    return (None if name in (None, "prompt", "messages") else name), ()


def _word_flags(score: object) -> dict[str, Any]:
    """The flag that says what the words are worth that a grade is one of."""
    words = _wording(score)
    if not words:
        return {}
    text = str(score)
    alike = str.upper if text.isupper() else str.capitalize if text[:1].isupper() else str.lower
    return {"score_map": tuple(f"{alike(w)}={n}" for w, n in zip(words, (1, 0), strict=True))}


def _group(line: Fields, score: str, options: BucketOptions) -> Advice:
    """The advice for a line with one score: one response a line."""
    if _is_rate(line, score):
        return _rate(line, score)
    fits, given = _is_text_or_talk, options.response_field or ""
    response = given if fits(find(line, given)) else None
    given = options.prompt_field or ""
    prompt = given if fits(find(line, given)) else prompt_field(line, (score, response or ""))
    prompt = prompt or _inner_prompt(line)
    response = response or _first(line, RESPONSES, fits, (score, prompt or ""))
    ids = _first(line, IDS, lambda value: isinstance(value, (str, int)))
    asked = find(line, prompt) if prompt else None
    if response is None or not (prompt or ids) or (asked and not _is_prompt(asked)):
        return _own_form(line, score)
    flags: dict[str, Any]
    by, flags = "the prompt", {"group_by": "prompt", "group_field": None}
    if not prompt or options.group_field:
        names = tuple(options.group_field or (str(ids),))
        by, flags = " and ".join(names), {"group_by": None, "group_field": names}
    flags |= _custom_places(prompt, response, score) | _word_flags(find(line, score))
    return Advice(f"each line is one response; group them by {by}:", flags=flags)


def _is_rate(line: Fields, name: str) -> bool:
    """Whether a field is a number with the name of a rate."""
    value = line.get(name)
    return bool(_RATE.search(name)) and is_number(value) and not isinstance(value, bool)


def _rate(line: Fields, rate: str) -> Advice:
    """The advice for a line with a rate and no responses."""
    flags: dict[str, Any] = {"value_field": rate, "value_direction": DIRECTIONS[0]}
    prompt, changes = _prompt_elsewhere(line, (rate,))
    flags |= {"prompt_field": prompt} if prompt else {}
    to_do = f"it has no responses. If a higher {rate} is easier, bucket by it:"
    return Advice(to_do, changes, flags)


def _custom_places(prompt: str | None, response: str, score: str) -> dict[str, Any]:
    """The flags of a custom format, without those that say its defaults."""
    form = FORMATS[CUSTOM]
    return {
        "format": CUSTOM,
        "prompt_field": None if prompt == form.prompt else prompt,
        "response_field": None if response == form.response else response,
        "score_field": None if score == form.score else score,
    }


def _own_form(line: Fields, score: str) -> Advice:
    """The advice for one response a line that no flags describe: a rollout of one response each,
    merged by prompt."""
    changes = [f"row['reward'] = [{_number(find(line, score), _row(score))}]"]
    prompt = prompt_field(line, (score,))
    talk = line[prompt] if prompt and not _is_text(line[prompt]) else None
    if talk and _is_answered(talk):
        changes += _as_messages(talk, str(prompt))
        changes.append("row['responses'] = [row['messages'][-1]['content']]")
    else:
        changes += _own_prompt(line, (score,))
        if text := _first(line, RESPONSES, _is_text, (prompt or "",)):
            changes.append(f"row['responses'] = [row.pop('{text}')]")
    if not prompt:
        return Advice(
            "each line is one response, and no field says of which prompt:", tuple(changes)
        )
    to_do = "each line is one response; group them by the prompt:"
    return Advice(to_do, tuple(changes), {"group_by": "prompt"})


def _number(value: object, score: str) -> str:
    """Python for a score as a number; `score` is Python for it as it is, with this value in one of
    the lines."""
    words = _wording(value)
    if words is None:
        return score
    if not words:
        return f"float({score} or 'nan')"
    return f"{dict(zip(words, (1, 0), strict=True))}.get(str({score}).lower())"


def _row(place: str) -> str:
    """Python for the value at a place."""
    return "row" + "".join(f"['{name}']" for name in place.split("."))


def _own_prompt(line: Fields, but: Sequence[str]) -> list[str]:
    """The changes that put the prompt where rollouts have it."""
    name = prompt_field(line, but)
    if name is None or (name == "prompt" and _is_prompt(line[name])):
        return []
    if _is_text(line[name]):
        return [f"row['prompt'] = row.pop('{name}')"]
    return _as_messages(line[name], name)


def _as_messages(talk: Sequence[Any], name: str) -> list[str]:
    """The changes that make messages, which may end with an answer, of a conversation."""
    if is_message(talk[0]):
        return [] if name == "messages" else [f"row['messages'] = row.pop('{name}')"]
    return [
        f"turns = row.pop('{name}')",
        "roles = {'human': 'user', 'gpt': 'assistant', 'model': 'assistant'}",
        "row['messages'] = [{'role': roles.get(t['from'], t['from']), 'content': t['value']} "
        "for t in turns]",
    ]


def score_field(entry: object) -> str | None:
    """The field of a reward entry that holds a number, likely its score; None if none does."""
    if not isinstance(entry, dict):
        return None
    numbers = [name for name, value in entry.items() if is_number(value)]
    return next((name for name in (*SCORES, *numbers) if name in numbers), None)


def _first(
    line: Fields,
    names: Sequence[str],
    fits: Callable[[Any], bool],
    but: Sequence[str] = (),
) -> str | None:
    found = (name for name in names if name in line and name not in but and fits(line[name]))
    return next(found, None)


def _is_score(value: object) -> bool:
    """Whether a value can be a score or a list of scores, numbers and grades in text included."""
    if not isinstance(value, list):
        return is_number(value) or _wording(value) is not None
    entries = [entry for entry in value if entry is not None]
    if any(isinstance(entry, str) for entry in entries):
        wordings = {_wording(entry) for entry in entries}
        return len(wordings) == 1 and None not in wordings
    field = score_field(entries[0]) if entries else None
    scores = [entry.get(field) if isinstance(entry, dict) else entry for entry in entries]
    return any(map(is_number, scores)) and all(s is None or is_number(s) for s in scores)


def _wording(grade: object) -> tuple[str, ...] | None:
    """The pair of words that a text is one of, empty if it is a number; None if it is no grade."""
    if not isinstance(grade, str):
        return None
    if is_number(written_number(grade)):
        return ("true", "false") if grade in ("True", "False") else ()
    return next((words for words in _WORDS if grade.lower() in words), None)


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else -1


def _are(values: object, kind: type | tuple[type, ...]) -> bool:
    """Whether a value is a list of such values, not empty."""
    return isinstance(values, list) and bool(values) and all(isinstance(v, kind) for v in values)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_text_or_talk(value: object) -> bool:
    return _is_text(value) or _is_talk(value)


def _is_prompt(value: object) -> bool:
    """Whether a text or a conversation can be a prompt as it is."""
    turns = value if isinstance(value, list) else [None]
    return _is_text(value) or (all(map(is_message, turns)) and not _is_answered(turns))


def _is_answered(turns: Sequence[Any]) -> bool:
    """Whether a conversation ends with an answer."""
    return find(turns[-1], "role") == "assistant" or find(turns[-1], "from") in (
        "gpt",
        "assistant",
        "model",
    )


def _is_talk(value: object) -> bool:
    """Whether a value is a conversation, of roles and contents or of from and value."""
    if not _are(value, dict):
        return False
    assert isinstance(value, list)
    return all(is_message(turn) or {"from", "value"} <= turn.keys() for turn in value)


def _is_plain(name: str) -> bool:
    """Whether a field can be named in a place and in a command as it is."""
    return name.replace("_", "a").replace("@", "a").replace("-", "a").isalnum()
