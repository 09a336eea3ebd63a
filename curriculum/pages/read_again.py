"""Lines that are shown, and those of a sample → texts of the former, shortened, and for both the
lengths of prompts and responses.

Only these lines are read again, and a text is kept as far as a page could show it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from curriculum.arrays import BoolArray, FloatArray, IntArray
from curriculum.bucketing.rollout_source import RolloutSource
from curriculum.cutting.scored_lines import ScoredLines
from curriculum.engines.workers import Workers
from curriculum.pages.render import LIMITS
from curriculum.pages.visible import Excerpt
from curriculum.reading.blocks import ChosenLines
from curriculum.reading.lines import Malformed, load_object
from curriculum.reading.prompts import asked_messages, first_prompt
from curriculum.reading.rollouts import Score, best_index, check_reward, key_text, response_texts
from curriculum.reading.truths import truth_text

MOST_TEXT, MOST_TRUTH = LIMITS[0]
MOST_SCORES = 64  # of a rollout that are shown one by one
MOST_MESSAGES = 20


class Response(Struct, frozen=True):
    """A response that is shown: its number, its score, and its text (None: it is not there)."""

    index: int
    score: float
    text: Excerpt | None


class Texts(Struct, frozen=True):
    """What is shown of a rollout. `best` and `worst` are one response if all scores are equal;
    `unread` says why there are no texts."""

    prompt: Sequence[tuple[str, Excerpt]] = ()
    more_messages: int = 0
    truth: Excerpt | None = None
    key: str | None = None
    scores: Sequence[Score] = ()
    more_scores: int = 0
    best: Response | None = None
    worst: Response | None = None
    unread: str = ""


class ReadAgain(Struct, frozen=True):
    """Lines of a shard. Of those that are `shown` the texts are read, of all the lengths."""

    chosen: ChosenLines
    shown: BoolArray
    score_field: str


class Read(Struct, frozen=True):
    """The texts by position among the lines, and for each line the characters of its prompt and of
    its responses on average, NaN where there are none."""

    texts: dict[int, Texts]
    lengths: FloatArray


def read_lines(task: ReadAgain) -> Read:
    """Read some lines of a shard."""
    texts, lengths = dict[int, Texts](), np.full((len(task.shown), 2), np.nan)
    for number, line in enumerate(task.chosen.texts()):
        lengths[number], found = _read_line(line, bool(task.shown[number]), task.score_field)
        if found is not None:
            texts[number] = found
    return Read(texts, lengths)


def _read_line(
    line: memoryview, shown: bool, score_field: str
) -> tuple[tuple[float, float], Texts | None]:
    """The lengths of a line, and its texts if it is shown."""
    lengths = math.nan, math.nan
    try:
        fields = load_object(line)
        lengths = _lengths(fields)
        return lengths, read_texts(fields, line, score_field) if shown else None
    except Malformed as error:  # in a field that bucketing does not read
        return lengths, Texts(unread=str(error)) if shown else None


def _prompt(fields: dict[str, Any]) -> list[tuple[str, str]]:
    """The role and the text of each message of the prompt; tool calls are a text as well."""
    messages = asked_messages(first_prompt((fields.get("prompt"), fields.get("messages"))))
    return [
        (message.role, "\n".join([message.text, *map(_as_text, (message.kept or {}).values())]))
        for message in messages
    ]


def _responses(fields: dict[str, Any]) -> list[str | None]:
    found = response_texts(fields) or []
    return [None if value is None else _as_text(value) for _, value in found]


def _lengths(fields: dict[str, Any]) -> tuple[float, float]:
    prompt = [len(text) for _, text in _prompt(fields)]
    responses = [len(text) for text in _responses(fields) if text is not None]
    mean = sum(responses) / len(responses) if responses else math.nan
    return float(sum(prompt)) if prompt else math.nan, mean


def read_texts(fields: dict[str, Any], line: memoryview, score_field: str) -> Texts:
    """What is shown of a rollout. Raises Malformed."""
    prompt, responses = _prompt(fields), _responses(fields)
    scores = check_reward(fields, score_field)
    truth = truth_text(line, None)
    best = best_index(scores)
    worst = best_index([None if score is None else -score for score in scores])
    if best is not None and worst is not None and scores[best] == scores[worst]:
        worst = best
    shown = prompt[:MOST_MESSAGES]
    return Texts(
        prompt=[(role, Excerpt.of(text, MOST_TEXT)) for role, text in shown],
        more_messages=len(prompt) - len(shown),
        truth=None if truth is None else Excerpt.of(truth, MOST_TRUTH),
        key=key_text(fields.get("key")),
        scores=scores[:MOST_SCORES],
        more_scores=max(len(scores) - MOST_SCORES, 0),
        best=_response(best, scores, responses),
        worst=_response(worst, scores, responses),
    )


def _response(
    index: int | None, scores: Sequence[Score], responses: Sequence[str | None]
) -> Response | None:
    if index is None:
        return None
    text = responses[index] if index < len(responses) else None
    score = scores[index]
    assert score is not None
    return Response(index, float(score), None if text is None else Excerpt.of(text, MOST_TEXT))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def read_again(
    source: RolloutSource, workers: Workers, numbers: IntArray, shown: BoolArray
) -> tuple[dict[int, Texts], FloatArray]:
    """The texts of the scored rollouts that are `shown`, by number, and the lengths of all of the
    numbers, which are ascending."""
    parts = ScoredLines(source).choose(numbers)
    tasks = [ReadAgain(lines, shown[mine], source.score_field) for mine, lines in parts]
    texts, lengths = dict[int, Texts](), [np.zeros((0, 2))]
    for (mine, _), (_, read) in zip(parts, workers.map(read_lines, tasks), strict=True):
        here = numbers[mine]
        texts |= {int(here[at]): found for at, found in read.texts.items()}
        lengths.append(read.lengths)
    return texts, np.concatenate(lengths)
