"""A reward function for verl: the share of a row's instructions that a response follows.

    reward.custom_reward_function.path=examples/verl/reward.py

It reads the `ground_truth` that preprocess_bucketed_rollouts.py writes for instruction following:
`{"instruction_id_list": [...], "kwargs": [...]}`, where parquet has filled up every kwargs entry
with nulls for the keys it does not have; those are dropped here. With --ground-truth-format string
the same is text, as JSON or as the Python literal that it was.

The rules are those of IFEval (Zhou et al., 2023, arXiv:2311.07911) and, for ids that begin with
`es:`, `fr:` or `ja:`, of M-IFEval (Dussolle et al., 2025, arXiv:2502.04688), but for keywords and
markers, which are taken literally, never as regular expressions. `CHECKERS` lists the instructions
and languages it knows, and no others: each Spanish, French and Japanese one gives what M-IFEval's
own evaluation gave, on every response of its 17 models. The English ones are the same functions;
they agree with the checks of examples/generate_rollouts.py.

An instruction that is not listed is an error, unless
`+reward.custom_reward_function.reward_kwargs.unknown=skip` says to judge by the others. verl 0.9.1
logs an error in a reward function and trains without the row: run check_stages.py first.
"""

from __future__ import annotations

import ast
import contextlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

AT_LEAST = {"at least", "al menos", "au moins", "以上"}
AT_MOST = {"at most", "como máximo", "au plus", "以下"}
LESS_THAN = {"less than", "menos de", "moins de", "未満"}


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    unknown: str = "error",
    **_: Any,
) -> dict[str, float]:
    """`score`: share of the instructions followed; `acc`: 1.0 where that is all of them; `judged`:
    share of the instructions that were judged.

    With `unknown="skip"` scores are of the instructions that this file knows; a row with none of
    them gets 0.0, for every response alike, from which GRPO learns nothing.
    """
    names, every = _instructions(ground_truth, data_source)
    followed = []
    for name, kwargs in zip(names, every, strict=True):
        if checker(name) is not None:
            followed.append(_follows(solution_str, name, kwargs or {}))
        elif unknown != "skip":
            raise ValueError(
                f"examples/verl/reward.py does not know the instruction {name!r}; add it to "
                "CHECKERS, or skip it (--unknown skip of train.sh)"
            )
    score = sum(followed) / len(followed) if followed else 0.0
    judged = len(followed) / len(names) if names else 0.0
    return {"score": score, "acc": float(bool(followed) and all(followed)), "judged": judged}


def _instructions(truth: Any, data_source: str) -> tuple[list[str], list[Any]]:
    """The instructions of a ground truth and their kwargs, as many."""
    found = truth
    for parse in (json.loads, ast.literal_eval):
        if isinstance(found, str):
            with contextlib.suppress(ValueError, SyntaxError):
                found = parse(found)
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if isinstance(found, Mapping):
        names = found.get("instruction_id_list", found.get("instruction_id"))
        kwargs = found.get("kwargs")
        if isinstance(names, list) and isinstance(kwargs, list) and len(names) == len(kwargs):
            return names, kwargs
    raise ValueError(
        f"a ground_truth of data_source {data_source} is not that of instruction following, "
        "instruction_id_list and as many kwargs; take another reward function for these rows"
    )


def _follows(text: str, name: str, kwargs: Mapping[str, Any]) -> bool:
    """Whether a response follows an instruction that is known; an empty one follows none."""
    check = checker(name)
    assert check is not None
    given = {key: value for key, value in kwargs.items() if value is not None}
    try:
        return bool(text.strip()) and check(text, **given)
    except TypeError as error:  # a key too many or too few
        raise ValueError(f"the kwargs of {name!r} are {given}: {error}") from error


def checker(instruction: str) -> Callable[..., bool] | None:
    """The function that checks an instruction, or None where this file does not know it."""
    language, _, rest = instruction.partition(":")
    if language not in ("es", "fr", "ja"):
        language, rest = "en", instruction
    check, languages = CHECKERS.get(rest, (None, ""))
    return check if language in languages.split() else None


def compare(count: int, relation: str, number: int) -> bool:
    """Whether `count` stands in the relation to `number`."""
    if relation in AT_LEAST:
        return count >= number
    if relation in AT_MOST:
        return count <= number
    if relation in LESS_THAN:
        return count < number
    raise ValueError(f"examples/verl/reward.py does not know the relation {relation!r}")


def _has_keywords(text: str, keywords: list[str]) -> bool:
    return all(keyword.lower() in text.lower() for keyword in keywords)


def _has_no_forbidden_word(text: str, forbidden_words: list[str]) -> bool:
    return not any(
        re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in forbidden_words
    )


def _keyword_frequency(text: str, keyword: str, frequency: int, relation: str) -> bool:
    return compare(text.lower().count(keyword.lower()), relation, frequency)


def _letter_frequency(text: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    return compare(text.lower().count(letter.lower()), let_relation, let_frequency)


def _number_words(text: str, num_words: int, relation: str) -> bool:
    return compare(len(re.findall(r"\w+", text)), relation, num_words)


def _number_letters(text: str, num_letters: int, relation: str) -> bool:
    return compare(len(text), relation, num_letters)


def _parts(text: str, separator: str) -> list[str] | None:
    """The parts between separators; None where one that is not at an end is blank."""
    found = [part.strip() for part in re.split(separator, text)]
    return None if "" in found[1:-1] else [part for part in found if part]


def _number_paragraphs(text: str, num_paragraphs: int) -> bool:
    paragraphs = _parts(text, r"\*\*\*")
    return paragraphs is not None and len(paragraphs) == num_paragraphs


def _two_responses(text: str) -> bool:
    responses = _parts(text, r"\*{6}")
    return responses is not None and len(responses) == 2 and responses[0] != responses[1]


def _nth_paragraph_first_word(
    text: str, num_paragraphs: int, nth_paragraph: int, first_word: str
) -> bool:
    paragraphs = text.split("\n\n")
    count = sum(1 for paragraph in paragraphs if paragraph.strip())
    if count != num_paragraphs or nth_paragraph > count:
        return False
    words = paragraphs[nth_paragraph - 1].split()
    return bool(words) and re.split(r"[.,?!'\"]", words[0].lstrip("'\""))[0].lower() == (
        first_word.lower()
    )


def _title(text: str) -> bool:
    return any(found.strip("<>").strip() for found in re.findall(r"<<[^\n]+>>", text))


def _number_bullet_lists(text: str, num_bullets: int) -> bool:
    return len(re.findall(r"^\s*(?:\*[^*]|-).*$", text, re.MULTILINE)) == num_bullets


def _number_numbered_lists(text: str, num_items: int) -> bool:
    return len(re.findall(r"^\s*\d+\..*$", text, re.MULTILINE)) == num_items


def _number_highlighted_sections(
    text: str, num_highlights: int, relation: str = "at least"
) -> bool:
    found = re.findall(r"\*[^\n*]*\*", text) + re.findall(r"\*\*[^\n*]*\*\*", text)
    return compare(sum(1 for one in found if one.strip("*").strip()), relation, num_highlights)


def _multiple_sections(
    text: str, section_spliter: str, num_sections: int, relation: str = "at least"
) -> bool:
    found = re.findall(rf"{re.escape(section_spliter)}\s?\d+", text)
    return compare(len(found), relation, num_sections)


def _number_placeholders(text: str, num_placeholders: int, relation: str = "at least") -> bool:
    return compare(len(re.findall(r"\[.*?\]", text)), relation, num_placeholders)


def _postscript(text: str, postscript_marker: str) -> bool:
    spaced = r"\.\s?".join(map(re.escape, postscript_marker.split(".")))
    return re.search(spaced, text, re.IGNORECASE) is not None


def _uppercase(text: str) -> bool:
    return text.isupper()


def _lowercase(text: str) -> bool:
    return text.islower()


def _json_format(text: str) -> bool:
    inner = re.sub(r"^```(?:json)?|```$", "", text.strip(), flags=re.IGNORECASE)
    try:
        json.loads(inner)
    except ValueError:
        return False
    return True


def _no_comma(text: str) -> bool:
    return "," not in text


def _no_japanese_period(text: str) -> bool:
    return "。" not in text


def _no_digits(text: str) -> bool:
    return re.search(r"\d", text) is None


def _no_hiragana(text: str) -> bool:
    return re.search("[\u3040-\u309f]", text) is None


def _no_katakana(text: str) -> bool:
    return re.search("[\u30a0-\u30ff]", text) is None


def _end_checker(text: str, end_phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def _quotation(text: str) -> bool:
    return re.fullmatch(r'".*"', text.strip(), re.DOTALL) is not None


def _repeat_prompt(text: str, prompt_to_repeat: str) -> bool:
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


# Instruction, without its language → its check and the languages for which it was compared.
CHECKERS: dict[str, tuple[Callable[..., bool], str]] = {
    # IFEval also detects the language of these two.
    "change_case:english_capital": (_uppercase, "en"),
    "change_case:english_lowercase": (_lowercase, "en"),
    "combination:repeat_prompt": (_repeat_prompt, "en es fr ja"),
    "combination:two_responses": (_two_responses, "en es fr ja"),
    "detectable_content:no_digits": (_no_digits, "fr"),
    "detectable_content:number_placeholders": (_number_placeholders, "en es fr ja"),
    "detectable_content:postscript": (_postscript, "en es fr"),
    "detectable_format:json_format": (_json_format, "en es fr ja"),
    "detectable_format:multiple_sections": (_multiple_sections, "en es fr"),
    "detectable_format:number_bullet_lists": (_number_bullet_lists, "en es fr"),
    "detectable_format:number_highlighted_sections": (_number_highlighted_sections, "en es fr"),
    "detectable_format:number_numbered_lists": (_number_numbered_lists, "ja"),
    "detectable_format:title": (_title, "en es"),
    "keywords:existence": (_has_keywords, "en es fr"),
    "keywords:forbidden_words": (_has_no_forbidden_word, "en es fr"),
    "keywords:frequency": (_keyword_frequency, "en es fr"),
    "keywords:letter_frequency": (_letter_frequency, "en es fr"),
    "length_constraints:nth_paragraph_first_word": (_nth_paragraph_first_word, "en fr"),
    "length_constraints:number_letters": (_number_letters, "ja"),
    "length_constraints:number_paragraphs": (_number_paragraphs, "en es fr ja"),
    "length_constraints:number_words": (_number_words, "en fr"),
    "letters:no_hiragana": (_no_hiragana, "ja"),
    "letters:no_katakana": (_no_katakana, "ja"),
    "punctuation:no_comma": (_no_comma, "en es fr"),
    "punctuation:no_period": (_no_japanese_period, "ja"),
    "startend:end_checker": (_end_checker, "en fr"),
    "startend:quotation": (_quotation, "en es"),
}
