"""The lists of a line, one entry per response → the responses and the reward of our own form.

A list that is in our form already keeps its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from operator import is_
from typing import Any

from msgspec import Struct

from curriculum.dumps.formats import GIVEN_VALUE, End, Format, combined, end_of, read_score
from curriculum.dumps.json_values import Raw, Text, as_json, from_json, json_list
from curriculum.dumps.values import is_number, last_answer, text_of, top, within, written_number
from curriculum.grouping.groups import ENDED, DumpNotes
from curriculum.reading.lines import Malformed, describe, describe_fields, describe_kind

MOST_COUNTED = 100_000  # responses of a line that gives only their number
# The texts that an object with a response has, besides `text` and the content of a message.
_TEXTS = ("content", "response", "completion", "output", "generation", "answer", "code")


class Field(Struct, frozen=True):
    """A field of our own form, and how many entries it has. `kept` says that it holds all that was
    given."""

    name: str
    text: Text
    entries: int
    kept: bool


def responses_of(place: str, given: Any, raw: Raw | None) -> Field:
    """The responses of a rollout: texts, messages, conversations, or objects with a text. `raw` is
    the whole field, if they are one. Raises Malformed."""
    if not isinstance(given, list):
        raise Malformed("the responses are no list", f"{place} is {describe_kind(given)}")
    if all(isinstance(item, str) for item in given):
        return Field("responses", raw or as_json(given), len(given), raw is not None)
    choices = [_choice(f"{place}[{i}]", item) for i, item in enumerate(given)]
    kept = choices == given
    return Field("response", as_json({"choices": choices}), len(given), kept)


def _choice(where: str, item: Any) -> dict[str, Any]:
    """A response as our form has it: `{"message": {"content": …}}`, or `{"text": …}`."""
    if item is None or isinstance(item, str):
        return {"message": {"content": item}}
    if isinstance(item, list):
        return {"message": last_answer(item) or {"content": None}}
    if isinstance(item, dict):
        message = item.get("message")
        if isinstance(message, dict):
            return item | {"message": _answer(message)}
        if isinstance(item.get("text"), str):
            return item
        if "role" in item and "content" in item:
            return {"message": _answer(item)}
        if name := next((name for name in _TEXTS if isinstance(item.get(name), str)), None):
            return {"message": {"content": item[name]}}
        place = where[: where.rindex("[")]
        found = f"an object with {describe_fields(item)}; name its text: {place}[*].NAME"
    else:
        found = describe(item)
    raise Malformed("a response is not text", f"{where} is {found}")


def _answer(message: dict[str, Any]) -> dict[str, Any]:
    """A message with its content as text, or null."""
    content = text_of(message.get("content"))
    return message | {"content": content if isinstance(content, str) else None}


def reward_of(form: Format, raws: dict[str, Raw], found: DumpNotes) -> Field:
    """The scores of a rollout, one per response. Responses that did not end by themselves are
    counted in `found`. Raises Malformed."""
    lists = _score_lists(form, raws)
    place, given = next(iter(lists.items()))
    columns = [_scores(form, where, items) for where, items in lists.items()]
    scores = columns[0]
    if len(columns) > 1:
        scores = [combined(form, list(each)) for each in zip(*columns, strict=True)]
    for i, end in enumerate(_ends(form, raws, len(scores))):
        if end:
            found[ENDED[end], ""] += 1
            scores[i] = None if end in form.unscored else scores[i]
    kept = len(lists) == 1 and all(map(is_, scores, given))
    raw = raws.get(place)
    return Field("reward", raw if raw and kept else as_json(scores), len(scores), kept)


def _score_lists(form: Format, raws: dict[str, Raw]) -> dict[str, list[Any]]:
    """The lists of scores that a line has, by place: one at least, and all of one length."""
    found = {place: value_at(raws, place) for place in form.scores}
    lists = {place: given for place, given in found.items() if given is not None}
    for place, given in lists.items():
        if not isinstance(given, list):
            raise Malformed("the scores are no list", f"{place} is {describe_kind(given)}")
    if not lists:
        raise Malformed(f"no {form.score}", f"expected in every line ({form.title})")
    check_lengths({place: len(given) for place, given in lists.items()})
    return lists


def _ends(form: Format, raws: dict[str, Raw], count: int) -> list[End | None]:
    """How each response ended, where lists say it."""
    lists = {name: value_at(raws, name) for name in form.status}
    told = {n: v for n, v in lists.items() if isinstance(v, list) and len(v) == count}
    if not told:
        return []
    return [end_of(form, {name: given[i] for name, given in told.items()}) for i in range(count)]


def check_lengths(sizes: Mapping[str, int]) -> None:
    """Raise Malformed if lists that lie side by side have different lengths, by place."""
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{place} {size:,}" for place, size in sizes.items())
        raise Malformed("lists of different lengths", f"entries in each: {told}")


def value_at(raws: dict[str, Raw], place: str) -> Any:
    """The value at a place of a line; None if there is none."""
    raw = raws.get(top(place))
    found = None if raw is None else within(from_json(raw), place)
    return from_json(raws[place]) if found is None and place in raws else found


def _scores(form: Format, place: str, items: list[Any]) -> list[Any]:
    """The scores in a list: numbers, bools, or nothing. Objects have theirs in `score`, else in the
    only field that holds numbers and nothing else."""
    objects = [item for item in items if isinstance(item, dict)]
    name = _score_name(form, place, objects) if objects else None
    scores = []
    for i, item in enumerate(items):
        where = f"{place}[{i}]"
        if name is not None and isinstance(item, dict):
            where, item = f"{where}.{name}", item.get(name)
        score = read_score(form, where, item)
        if score is not None and not is_number(score):
            raise Malformed("a score is not a number", f"{where} is {describe(score)}")
        scores.append(score)
    return scores


def _score_name(form: Format, place: str, objects: Sequence[dict[str, Any]]) -> str:
    """The field of some objects that holds their scores. Raises Malformed if several may."""
    if any("score" in item for item in objects):
        return "score"
    numbers = {name for item in objects for name, value in item.items() if is_number(value)}
    if len(numbers) > 1:
        raise Malformed(
            "several numbers may be the score",
            f"the objects in {place} have {', '.join(sorted(numbers))}; name one with "
            f"--score-field {place}[*].NAME",
        )
    return next(iter(numbers), "score")


def reward_of_counts(passes: Any, total: Any, places: Sequence[str]) -> Field:
    """As many scores of 1 and 0 as a line says that responses passed and did not. Raises
    Malformed."""
    if passes is None or total is None:
        return Field("reward", b"[]", 0, False)
    whole = all(map(_is_whole, (passes, total)))
    if not whole or not 0 <= passes <= total <= MOST_COUNTED:
        raise Malformed(
            "no numbers of passes and responses",
            f"{places[0]} is {describe(passes)} and {places[1]} {describe(total)}, expected whole "
            f"numbers, the first at most the second, which is at most {MOST_COUNTED:,}",
        )
    scores = [b"1"] * int(passes) + [b"0"] * int(total - passes)
    return Field("reward", json_list(scores), len(scores), False)


def _is_whole(number: Any) -> bool:
    """Whether this is a whole number; tables write one as 3.0 where others of a column are null."""
    is_float = isinstance(number, float) and number.is_integer()
    return is_float or (isinstance(number, int) and not isinstance(number, bool))


def reward_of_value(given: Any, missing: Sequence[str]) -> Field:
    """The number that a line carries in place of scores, as `[{"value": …}]`: an entry without a
    score. A text may hold a number or a fraction, such as 3/8. Any other text is null, and so is a
    number that is not finite or among those `missing`. Raises Malformed."""
    value = _carried(given) if isinstance(given, str) else given
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise Malformed("the value is not a number", f"it is {describe_kind(value)}")
    if given in missing or any(value == written_number(text) for text in missing):
        value = None
    return Field("reward", as_json([{GIVEN_VALUE: value}]), 1, False)


def _carried(text: str) -> float | None:
    """The number in a text; None if it holds none."""
    if fraction := _FRACTION.fullmatch(text):
        part, whole = map(int, fraction.groups())
        return part / whole if whole else None
    value = written_number(text)
    return value if isinstance(value, float) else None


_FRACTION = re.compile(r"(\d{1,9})/(\d{1,9})", re.ASCII)
