"""Values as other tools write them → ours: messages, a response, a score, whether it failed.

Nothing is guessed: a value of an unexpected form is passed on as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from curriculum.messages.message import KEPT
from curriculum.reading.lines import Malformed, describe, find

Fields: TypeAlias = dict[str, Any]  # a decoded line
Reader: TypeAlias = Callable[[Any], Any]


def within(value: Any, place: str) -> Any:
    """The value at a place, given the value of its field, the first part of the place."""
    rest = place[len(top(place)) :]
    return find(value, rest.removeprefix(".")) if rest else value


def top(place: str) -> str:
    """The field of a line that a place belongs to."""
    return place.split(".", 1)[0].split("[", 1)[0]


def is_inside(place: str) -> bool:
    """Whether a place is inside a field, not the field itself."""
    return "." in place or "[" in place


def tops(places: Iterable[str | None]) -> tuple[str, ...]:
    """The fields of a line that some places belong to, each once."""
    return tuple({top(place): None for place in places if place})


# verl's own uid: that of the prompt in a step, the number of the sample, and that of its turn.
_VERL_UID = re.compile(
    r"([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})_[0-9]+_[0-9]+"
)
# The same for the scanner: what is before `|` is the group.
VERL_UID_FORM = b"xxxxxxxx-xxxx-4xxx-vxxx-xxxxxxxxxxxx|_+_+"


def group_of_uid(uid: Any) -> Any:
    """The group in a uid of verl's own form, `<uuid4>_<sample>_<turn>`: its uuid4. Any other uid,
    such as the id of a data set, stays as it is."""
    found = _VERL_UID.fullmatch(uid) if isinstance(uid, str) else None
    return found[1] if found else uid


def response_of_uid(uid: Any) -> Any:
    """A uid of verl's own form, which no other response has; None for any other uid."""
    return uid if isinstance(uid, str) and _VERL_UID.fullmatch(uid) else None


def written_number(text: Any) -> Any:
    """The number or bool in a string, as older verl wrote it; anything else stays unchanged."""
    if text in ("True", "False"):
        return text == "True"
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        return text
    return float(text)


def number_or_nothing(text: Any) -> Any:
    """The same, and None for an empty text, as a cell of a table may be."""
    return None if text == "" else written_number(text)


_NUMBER = re.compile(r"-?\d+(\.\d*)?(e[+-]?\d+)?|-?inf|nan", re.ASCII | re.IGNORECASE)


def last_answer(completion: Any) -> Any:
    """The last assistant turn of a list of messages, with its content as text; None if there is
    none. Anything but a list stays unchanged."""
    if not isinstance(completion, list):
        return completion
    answers = [message for message in completion if find(message, "role") == "assistant"]
    if not answers:
        return None
    text = text_of(answers[-1].get("content"))
    return answers[-1] | {"content": text if isinstance(text, str) else None}


def input_messages(given: Any) -> Any:
    """The messages of an OpenAI Responses input, with text parts joined, and of more than role and
    content only what rows keep; anything else stays unchanged."""
    if not isinstance(given, list):
        return given
    return [
        {"role": item["role"], "content": text_of(item.get("content"))}
        | {name: item[name] for name in KEPT if item.get(name) is not None}
        if isinstance(item, dict) and "role" in item
        else item
        for item in given
    ]


def output_text(output: Any) -> Any:
    """The text of the last message of an OpenAI Responses output; None if there is none."""
    items = output if isinstance(output, list) else []
    messages = [item for item in items if find(item, "type") == "message"]
    text = text_of(find(messages[-1], "content")) if messages else None
    return text if isinstance(text, str) else None


def text_of(content: Any) -> Any:
    """The joined text of content whose parts are all text; anything else stays unchanged."""
    if not isinstance(content, list):
        return content
    texts = [find(part, "text") for part in content]
    return "".join(texts) if all(isinstance(text, str) for text in texts) else content


def trained_trace(traces: Any) -> Fields:
    """The first trace of an episode whose agent is trained; else its first trace."""
    found = (
        [trace for trace in traces if isinstance(trace, dict)] if isinstance(traces, list) else []
    )
    trained = [trace for trace in found if find(trace, "agent.trainable") is True]
    return (trained or found or [{}])[0]


def trace_score(traces: Any) -> Any:
    """The sum of score times weight over a trace's rewards; None if there are none or a score is
    missing. Raises Malformed."""
    if not isinstance(traces, list):
        raise Malformed("traces is not a list", f"it is {describe(traces)}")
    rewards = trained_trace(traces).get("rewards") or {}
    if not isinstance(rewards, dict):
        raise Malformed("the rewards of a trace are no object", f"they are {describe(rewards)}")
    scores = [_weighted_score(reward) for reward in rewards.values()]
    return sum(scores) if scores and None not in scores else None


def _weighted_score(reward: Any) -> Any:
    if not isinstance(reward, dict):
        raise Malformed("a reward is no score and weight", f"there is {describe(reward)}")
    score, weight = reward.get("score"), reward.get("weight")
    for value in (score, weight):
        if value is not None and not is_number(value):
            raise Malformed("a reward is no score and weight", f"there is {describe(value)}")
    return None if score is None else score * (1.0 if weight is None else weight)


def trace_text(traces: Any) -> Any:
    """The text of the last message that the model wrote; None if there is none."""
    nodes = trained_trace(traces).get("nodes")
    nodes = nodes if isinstance(nodes, list) else []
    sampled = [node for node in nodes if find(node, "sampled") is True]
    text = text_of(find(sampled[-1], "message.content")) if sampled else None
    return text if isinstance(text, str) else None


def is_number(value: Any) -> bool:
    """Whether a value can be a score: a number or a bool."""
    return isinstance(value, int | float)


def verifiers_failed(line: Fields) -> bool:
    """Whether verifiers' response has an error or was not completed."""
    return bool(line.get("error")) or line.get("is_completed") is False


def says_cut_off(line: Fields) -> bool:
    """Whether a line says that its response was cut off, as verifiers and vLLM do."""
    return line.get("is_truncated") is True or line.get("finish_reason") == "length"


def trace_failed(line: Fields) -> bool:
    """Whether an episode or its trace has an error or was not completed."""
    trace = trained_trace(line.get("traces"))
    return any(
        part.get("ok") is False or bool(part.get("errors")) or part.get("is_completed") is False
        for part in (line, trace)
    )


# What stops a trace short: `Trace.is_truncated` in verifiers/v1/trace.py, which it does not write.
_LIMITS = ("max_turns", "max_input_tokens", "max_output_tokens", "max_total_tokens",
           "context_length")  # fmt: skip


def trace_cut_off(line: Fields) -> bool:
    """Whether a trace stopped at a limit, or its last call without an error did."""
    trace = trained_trace(line.get("traces"))
    calls = trace.get("calls")
    done = [
        call
        for call in (calls if isinstance(calls, list) else [])
        if isinstance(call, dict) and call.get("error") is None
    ]
    return trace.get("stop_condition") in _LIMITS or (bool(done) and says_cut_off(done[-1]))


def trace_tools(traces: Any) -> Any:
    """The tools that the agent of a trace had."""
    return trained_trace(traces).get("tools")


def nemo_gym_failed(line: Fields) -> bool:
    """Whether NeMo-Gym's response is absent, has an error, or was stopped by a content filter."""
    response = line.get("response")
    if not isinstance(response, dict):
        return True
    details = response.get("incomplete_details")
    filtered = details is not None and find(details, "reason") == "content_filter"
    return bool(response.get("error")) or filtered or response.get("status") in _FAILED


_FAILED = ("failed", "cancelled")


def nemo_gym_cut_off(line: Fields) -> bool:
    """Whether NeMo-Gym's response, which has not failed, was cut off."""
    response = line["response"]
    return response.get("incomplete_details") is not None or response.get("status") == "incomplete"


def only_role_and_content(prompt: Any) -> Any:
    """Messages with their role and their content as text, without what inspect_ai keeps beside
    them; anything else stays unchanged."""
    if not isinstance(prompt, list) or not all(isinstance(turn, dict) for turn in prompt):
        return prompt
    kept = ("role", *KEPT)
    return [
        {name: turn[name] for name in kept if turn.get(name) is not None}
        | {"content": text_of(turn.get("content"))}
        for turn in prompt
    ]


def chosen_output(output: Any) -> Any:
    """The text of the first choice of a model's output in inspect_ai; None without one."""
    text = text_of(find(output, "choices[0].message.content"))
    if isinstance(text, list):  # reasoning beside the text
        text = "".join(p["text"] for p in text if isinstance(find(p, "text"), str))
    return text if isinstance(text, str) else find(output, "completion")


def inspect_failed(line: Fields) -> bool:
    """Whether a sample of inspect_ai ended with an error, or a person called it invalid."""
    return line.get("error") is not None or line.get("invalidation") is not None


def inspect_cut_off(line: Fields) -> bool:
    """Whether the output of a sample of inspect_ai reached the limit on tokens."""
    return find(line, "output.choices[0].stop_reason") in ("max_tokens", "model_length")


def harness_prompt(asked: Any) -> Any:
    """What lm-evaluation-harness asked: a text, or the messages whose JSON it keeps in a list."""
    if not isinstance(asked, list) or len(asked) != 1 or not isinstance(asked[0], str):
        return asked
    try:
        return msgspec.json.decode(asked[0])
    except msgspec.DecodeError:
        return asked[0]


def first_text(responses: Any) -> Any:
    """The first response to the only request of a sample of lm-evaluation-harness, which is the one
    that its filters take by default; None if requests are choices with their likelihoods."""
    text = find(responses, "[0][0]") if isinstance(responses, list) else None
    return text if isinstance(text, str) and len(responses) == 1 else None


def last_of_content(content: Any) -> Any:
    """The last text in `content` of NeMo-RL, a list of one list of texts, or of messages."""
    texts = _said(content)
    return texts[-1] if texts else None


def all_but_last(content: Any) -> Any:
    """What is before the last text in `content` of NeMo-RL: messages, or the text of all. The text
    has the chat template in it, a piece for each message."""
    given = find(content, "[0]")
    if isinstance(given, list) and given and isinstance(given[0], dict):
        return [{n: find(turn, n) for n in ("role", "content")} for turn in given[:-1]]
    return "".join(_said(content)[:-1])


def _said(content: Any) -> list[str]:
    given = find(content, "[0]")
    given = given if isinstance(given, list) else content
    turns = given if isinstance(given, list) else []
    texts = [find(turn, "content") if isinstance(turn, dict) else turn for turn in turns]
    return [text for text in texts if isinstance(text, str)]


def stopped_at_length(line: Fields) -> bool:
    """Whether a line of SkyRL says that its response reached the limit on tokens."""
    return line.get("stop_reason") == "length"


def reasoning_cut_off(line: Fields) -> bool:
    """Whether open-r1 says of a response that its reasoning is not complete."""
    return line.get("is_reasoning_complete") is False or line.get("finish_reasons") == "length"
