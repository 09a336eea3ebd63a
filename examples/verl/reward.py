"""A reward function for verl: the share of a row's instructions that a response follows.

    reward.custom_reward_function.path=examples/verl/reward.py

It reads the `ground_truth` that preprocess_bucketed_rollouts.py writes for instruction following:
`{"instruction_id_list": [...], "kwargs": [...]}`, where parquet has filled up every kwargs entry
with nulls for the keys it does not have; those are dropped here.

The rules are those of IFEval (Zhou et al., 2023, arXiv:2311.07911) and, for ids that begin with
`es:`, `fr:` or `ja:`, of M-IFEval (Dussolle et al., 2025, arXiv:2502.04688). `CHECKERS` lists the
instructions and languages it knows, and no others: each Spanish, French and Japanese one gives
what M-IFEval's own evaluation gave, on every response of its 17 models. The English ones are the
same functions; they agree with the checks of examples/generate_rollouts.py, and were not compared
with anybody's results. An instruction that is not listed is an error, unless
`+reward.custom_reward_function.reward_kwargs.unknown=skip` says to judge by the others.
`check_stages.py` lists them before the training.
"""

from __future__ import annotations

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
    ground_truth: Mapping[str, Any],
    extra_info: Mapping[str, Any] | None = None,
    unknown: str = "error",
    **_: Any,
) -> dict[str, float]:
    """`score`: share of the instructions followed; `acc`: 1.0 where that is all of them.

    With `unknown="skip"`, of those that this file knows; a row with none of them gets 0.0, for
    every response alike, from which GRPO learns nothing.
    """
    if not isinstance(ground_truth, Mapping) or "instruction_id_list" not in ground_truth:
        raise ValueError(
            f"ground_truth is {ground_truth!r} (data_source {data_source}), expected "
            "instruction_id_list and kwargs; take another reward function for these rows"
        )
    followed = []
    for name, kwargs in zip(
        ground_truth["instruction_id_list"], ground_truth["kwargs"], strict=True
    ):
        check = checker(name)
        if check is not None:
            given = {key: value for key, value in (kwargs or {}).items() if value is not None}
            followed.append(bool(solution_str.strip()) and check(solution_str, **given))
        elif unknown != "skip":
            raise ValueError(
                f"examples/verl/reward.py does not know the instruction {name!r}; add it to "
                "CHECKERS, or set +reward.custom_reward_function.reward_kwargs.unknown=skip"
            )
    score = sum(followed) / len(followed) if followed else 0.0
    return {"score": score, "acc": float(bool(followed) and all(followed))}


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
    "change_case:english_lowercase": (_lowercase, "en"),  # the language itself is not detected
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
