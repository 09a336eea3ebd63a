"""The text of a chat template becomes its turns, exactly or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum.messages.chat_templates import (
    TEMPLATES,
    Template,
    may_hold_template,
    names_speaker,
    read_template,
)

ASKED = [("user", "2+2?")]
BRIEF = [("system", "Be brief."), *ASKED]

QWEN = "<|im_start|>user\n2+2?<|im_end|>\n"
LLAMA = "<|start_header_id|>user<|end_header_id|>\n\n2+2?<|eot_id|>"
DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"


def llama(system: str) -> str:
    return (
        f"<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|>{LLAMA}"
    )


@pytest.mark.parametrize(
    ("text", "turns", "opened"),
    [
        (f"{QWEN}<|im_start|>assistant\n", ASKED, False),
        (QWEN, ASKED, False),
        (QWEN.rstrip(), ASKED, False),
        (f"<|im_start|>system\nBe brief.<|im_end|>\n{QWEN}<|im_start|>assistant\n", BRIEF, False),
        (f"<|im_start|>system\n<|im_end|>\n{QWEN}", [("system", ""), *ASKED], False),
        (f"{QWEN}<|im_start|>assistant\n<think>\n", ASKED, True),
        (f"{QWEN}<|im_start|>assistant\n<think>\n\n</think>\n\n", ASKED, True),
        (f"{QWEN}<|im_start|>assistant\n4<|im_end|>\n", [*ASKED, ("assistant", "4")], False),
        (f"{QWEN}<|im_start|>assistant\nI see.\n<think>",
         [*ASKED, ("assistant", "I see.\n<think>")], False),
        (f"{LLAMA}<|start_header_id|>assistant<|end_header_id|>\n\n", ASKED, False),
        (llama(DATES), ASKED, False),
        (llama(f"{DATES}Be brief."), BRIEF, False),
        (llama("Be brief."), BRIEF, False),
        ("<bos><start_of_turn>user\n2+2?<end_of_turn>\n<start_of_turn>model\n", ASKED, False),
        ("<｜begin▁of▁sentence｜>Be brief.<｜User｜>2+2?<｜Assistant｜><think>\n", BRIEF, True),
        ("<｜begin▁of▁sentence｜><｜User｜>1?<｜Assistant｜>1.<｜end▁of▁sentence｜><｜User｜>2+2?",
         [("user", "1?"), ("assistant", "1."), *ASKED], False),
        # verl's dumps: without special tokens
        ("user\na\n\n\nassistant\n", [("user", "a\n\n")], False),
        ("user\na\nassistant\n<think>\n\n</think>\n\n", [("user", "a")], True),
        ("system\nthe user\nis new\nuser\na\nassistant\n",
         [("system", "the user\nis new"), ("user", "a")], False),
    ],
)  # fmt: skip
def test_templates_are_taken_apart(text: str, turns: list, opened: bool) -> None:
    assert read_template(text) == (turns, opened)


@pytest.mark.parametrize(
    "text",
    [
        "2+2?",
        "What does <|im_start|> stand for?",
        f"Explain this:\n{QWEN}",
        "<|im_start|>user\n2+2?",
        "<|im_start|>tool\n4<|im_end|>\n" + QWEN,
        f"<|im_start|>user\n<|image_pad|>2+2?<|im_end|>\n{QWEN}",
        "<|im_start|>assistant\n",
        f"<|start_header_id|>system<|end_header_id|>\n\n{DATES}<|eot_id|>",
        "a <｜ b",
        "2+2?<｜end▁of▁sentence｜>",
        "[INST] 2+2? [/INST]",
        "<|user|>\n2+2?<|end|>\n<|assistant|>\n",
        "user\nyou are an assistant\n",
        "user\na\nuser\nb\nassistant\n",
        "user\na\nassistant\nb\nuser\nc\nassistant\n",
        "system\ns\nassistant\nx\nuser\nc\nassistant\n",
        "systems\nuser\na\nassistant\n",
    ],
)
def test_what_is_not_exactly_a_known_template_stays(text: str) -> None:
    assert read_template(text) is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (QWEN, True), (LLAMA, True), ("[INST] 2+2? [/INST]", True), ("<|user|>\n2+2?", True),
        ("<｜User｜>", True), ("2+2?", False), ("|<a|b>|^2 and <|psi|>", False),
        ("a <|endoftext|> token", False), ("user\na\nassistant\n", False),
    ],
)  # fmt: skip
def test_special_tokens_that_name_a_speaker(text: str, names: bool) -> None:
    assert names_speaker(text) is names


def render(template: Template, turns: list[tuple[str, str]]) -> str:
    around = ((template.around[role], said) for role, said in turns)
    return template.begin + "".join(f"{before}{said}{after}" for (before, after), said in around)


SAID = st.text("ab <>|\n", max_size=6)
TURNS = st.tuples(
    st.none() | SAID,
    st.lists(st.tuples(SAID, SAID), max_size=2),
    SAID,
)


@given(number=st.integers(0, len(TEMPLATES) - 1), conversation=TURNS)
def test_what_a_template_writes_is_read_back(number: int, conversation: tuple) -> None:
    template = TEMPLATES[number]
    system, talk, asked = conversation
    turns = [("system", system)] if system and "system" in template.around else []
    for question, answer in talk:
        turns += [("user", question), ("assistant", answer)]
    turns.append(("user", asked))
    text = render(template, turns)
    for end in ("", template.around["assistant"][0]):
        assert read_template(text + end) == (turns, False)


PIECES = [piece for t in TEMPLATES for around in t.around.values() for piece in around]
PIECES += [*(t.begin for t in TEMPLATES), "a", " ", "\n", "<think>\n", "user\n", "\nassistant\n"]


@given(st.lists(st.sampled_from(PIECES), max_size=10).map("".join))
def test_what_is_read_gives_the_text_again(text: str) -> None:
    found = read_template(text)
    if found is None or not names_speaker(text):
        return
    assert may_hold_template(text)
    (template,) = (t for t in TEMPLATES if t.header.search(text))
    whole = {render(template, found.turns), render(template, found.turns)[len(template.begin) :]}
    openings = ["", "<think>\n"] if found.opened else [""]
    rests = ["", *(template.around["assistant"][0] + opening for opening in openings)]
    unfinished = {text.removesuffix(template.around["assistant"][1]) for text in whole}
    ends = {w + rest for w in whole for rest in rests} | unfinished
    assert {text.rstrip("\n")} & {end.rstrip("\n") for end in ends}, (text, found)
