"""What the reward function compares with: a rollout's `ground_truth` → the value verl gets.

No value is changed: an instruction-following truth is brought to one form, anything else stays.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections import Counter
from typing import Any

from curriculum.rollouts import Mender

IDS, OTHER_IDS, KWARGS = "instruction_id_list", "instruction_id", "kwargs"


def read_ground_truth(value: Any, mender: Mender, left_out: Counter[str]) -> Any:
    """The value in verl's form: {instruction_id_list, kwargs} for an instruction-following one.

    That is a dict with instruction ids and as many kwargs, a list of one such dict, or either
    written as JSON or as a Python literal. Its other keys are left out and counted in
    `left_out`. Anything else is returned as it is.
    """
    found = mender(_parse(value)) if isinstance(value, str) else value
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
    """The value as a string: itself byte for byte if it is one, else its JSON text."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _parse(text: str) -> Any:
    """The JSON or Python literal in a string that may be an instruction-following truth."""
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
    """A Python literal as JSON would hold it. Raises ValueError for what JSON has no form for."""
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _as_json(item) for key, item in value.items()}
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise ValueError(f"{type(value).__name__} has no JSON form")
