"""The ground truth of a rollout → the value that verl's reward function gets.

No value is changed: an instruction-following ground truth is brought to one form, others stay.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections import Counter
from typing import Any, NamedTuple

import pyarrow as pa

from curriculum.reading.lines import SurrogateReplacer
from curriculum.storage.arrow_arrays import holds_text
from curriculum.verl.row_batch import Notes, Topic
from curriculum.verl.values import Values

IDS, OTHER_IDS, KWARGS = "instruction_id_list", "instruction_id", "kwargs"


def read_ground_truths(values: Values, how: str, notes: Notes) -> Values:
    """The ground truths of some rollouts, as --ground-truth-format says: `auto`, `typed` or
    `string`. What is absent, left out or written as text is counted in `notes`."""
    if not isinstance(values, list):
        if _are_plain(values, how):
            _count_absent(values.null_count, notes)
            return values
        values = values.to_pylist()
    _count_absent(values.count(None), notes)
    if how == "string":
        return [as_string(value) for value in values]
    if how == "auto":
        values = _numbers_as_text(values, notes)
    texts = {value for value in values if type(value) is str and OTHER_IDS in value}
    parsed = {text: _Parsed.of(text) for text in texts}
    read = []
    for value in values:
        if type(value) is str and value not in parsed:
            read.append(value)
            continue
        found = parsed[value] if type(value) is str else _Parsed.of(value)
        read.append(found.value)
        notes.update(found.notes)
    return read


class _Parsed(NamedTuple):
    """A ground truth as verl's reward function gets it, and what is counted of it."""

    value: Any
    notes: Notes

    @staticmethod
    def of(value: Any) -> _Parsed:
        keys: Counter[str] = Counter()
        notes: Notes = Counter()
        replace_surrogates = SurrogateReplacer()
        read = read_ground_truth(value, replace_surrogates, keys)
        notes.update({(Topic.TRUTH_KEY, key): count for key, count in keys.items()})
        if replace_surrogates.happened:
            notes[Topic.SURROGATES, ""] += 1
        return _Parsed(read, notes)


def _are_plain(values: pa.Array, how: str) -> bool:
    """Whether values of one scalar kind stay as they are: text that is not instruction-following,
    or whatever needs no other type."""
    kind = str(values.type)
    if kind == "string":
        return how == "string" or not holds_text(values, OTHER_IDS)
    return kind == "null" or how == "typed" or (how == "auto" and kind == "bool")


def _count_absent(absent: int, notes: Notes) -> None:
    if absent:
        notes[Topic.NO_TRUTH, ""] += absent


def _numbers_as_text(values: list[Any], notes: Notes) -> list[Any]:
    """The ground truths with numbers as their JSON text: verl's scorers compare strings."""
    numbers = [value for value in values if type(value) in (int, float)]
    if not numbers:
        return values
    notes[Topic.NUMBER_TRUTH, ""] += len(numbers)
    whole = sum(type(value) is float and value.is_integer() for value in numbers)
    if whole:
        notes[Topic.POINT_ZERO, ""] += whole
    return [as_string(value) if type(value) in (int, float) else value for value in values]


def read_ground_truth(
    value: Any, replace_surrogates: SurrogateReplacer, left_out: Counter[str]
) -> Any:
    """Turn an instruction-following ground truth into {instruction_id_list, kwargs}.

    It is a dict with instruction ids and equally many kwargs, a list of one such dict, or either
    as a string of JSON or of a Python literal. Other keys are left out and counted in `left_out`.
    Any other ground truth is returned as it is.
    """
    found = replace_surrogates(_parse(value)) if isinstance(value, str) else value
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        return value
    name = IDS if IDS in found else OTHER_IDS
    ids, kwargs = found.get(name), found.get(KWARGS)
    if not (isinstance(ids, list) and isinstance(kwargs, list) and len(ids) == len(kwargs)):
        return value
    if not all(isinstance(i, str) for i in ids):
        return value
    if not all(entry is None or isinstance(entry, dict) for entry in kwargs):
        return value
    left_out.update(key for key in found if key not in (name, KWARGS))
    return {IDS: ids, KWARGS: kwargs}


def as_string(value: Any) -> str | None:
    """A string as it is, byte for byte; any other value as JSON text. None stays None."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _parse(text: str) -> Any:
    """The JSON or Python literal in a string that may be instruction-following, else None."""
    if OTHER_IDS not in text or text.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes such as '\d' in the literal
            return _as_json(ast.literal_eval(text.strip()))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _as_json(value: Any) -> Any:
    """A Python literal in the types of JSON. Raises ValueError if JSON has no type for it."""
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _as_json(item) for key, item in value.items()}
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise ValueError(f"{type(value).__name__} has no JSON form")
