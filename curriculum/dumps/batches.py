"""Lines that hold a batch of responses side by side, which must never become one rollout.

ms-swift writes them (`completions.jsonl`): each field is a list with an entry per response.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from shlex import quote
from typing import Any

from curriculum.errors import InputError
from curriculum.reading.input_files import InputFile

_PROMPTS = ("messages", "prompt")
_RESPONSES = ("completion", "completions", "response", "output")
_NO_SCORES = frozenset({"step", "advantages", "advantage", "entropy"})

_ONE_A_LINE = (
    "import json,sys; F=%s; [print(json.dumps(dict(zip(F,r)))) for b in map(json.loads,sys.stdin) "
    "for r in zip(*[b[f] for f in F])]"
)


@dataclass(frozen=True)
class Batch:
    """A batch of `size` responses: the fields with an entry for each, and which of them hold the
    prompts, the responses and the scores."""

    size: int
    fields: tuple[str, ...]
    prompt: str
    response: str
    score: str

    @property
    def groups(self) -> tuple[str, ...]:
        """The fields that all responses to a prompt share."""
        return ("step", self.prompt) if "step" in self.fields else (self.prompt,)


def batch_of(line: dict[str, Any]) -> Batch | None:
    """The batch that a line holds; None if it holds none.

    A batch has a list of prompts, each a text or a list of messages, and as many scores: a `reward`
    for each, or numbers of another name beside a field that is known to hold responses. In a
    rollout of our own form a prompt is one text, or a list of messages.
    """
    prompt = next((name for name in _PROMPTS if _are_prompts(line.get(name))), None)
    if prompt is None:
        return None
    size = len(line[prompt])
    fields = [
        name for name, value in line.items() if isinstance(value, list) and len(value) == size
    ]
    scores = [name for name in fields if name not in _NO_SCORES and _are_numbers(line[name])]
    responses = [name for name in _RESPONSES if name in fields]
    if not scores or ("reward" not in scores and not responses):
        return None
    score = "reward" if "reward" in scores else scores[0]
    return Batch(size, tuple(fields), prompt, (responses or ["PLACE"])[0], score)


def refuse_batches(seen: Iterable[tuple[InputFile, dict[str, Any]]]) -> None:
    """Raise InputError if one of these lines holds a batch."""
    for file, line in seen:
        batch = batch_of(line)
        if batch is None:
            continue
        code = quote(_ONE_A_LINE % json.dumps(batch.fields))
        raise InputError(
            f"a line holds a batch of {batch.size} responses side by side, in the lists "
            f"{', '.join(batch.fields)}",
            where=file.path,
            expected="one rollout or one response per line",
            fix="write one response per line, and bucket that file:\n"
            f"  python -c {code} < {quote(str(file.path))} > responses.jsonl\n"
            "  python bucket_rollouts_by_difficulty.py -i responses.jsonl -o DIR --format custom "
            f"--prompt-field {batch.prompt} --response-field {batch.response} "
            f"--score-field {quote(batch.score)} --group-field {' '.join(batch.groups)}",
        )


def _are_prompts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str | list) for v in value)


def _are_numbers(value: list[Any]) -> bool:
    return all(v is None or isinstance(v, int | float) for v in value)
