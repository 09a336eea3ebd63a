from __future__ import annotations

import pytest

from curriculum.bucket_names import DIFFICULTY_WORDS, guess_order, name_buckets
from curriculum.errors import UsageError


@pytest.mark.parametrize("easier", [True, False])
@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (2, ("easy", "hard")),
        (3, ("easy", "medium", "hard")),
        (5, ("very_easy", "easy", "medium", "hard", "very_hard")),
        (1, ("level_1",)),
        (4, ("level_1", "level_2", "level_3", "level_4")),
    ],
)
def test_default_names_follow_difficulty(n: int, expected: tuple[str, ...], easier: bool) -> None:
    assert name_buckets(n, None, easier) == expected


def test_many_levels_sort_by_name() -> None:
    names = name_buckets(10, None, True)
    assert names[0] == "level_01"
    assert list(names) == sorted(names)


@pytest.mark.parametrize("easier", [True, False])
@pytest.mark.parametrize(
    "names",
    [
        ["warmup", "core", "stretch"],
        ["stage1", "stage2", "stage3"],
        ["stage 9", "stage 10", "stage 11"],
        ["easy", "other", "hard"],
        ["consistent", "moderate", "inconsistent"],
        ["low-difficulty", "mid-difficulty", "high-difficulty"],
        ["a2", "b1", "c3"],
    ],
)
def test_names_run_from_easy_to_hard(names: list[str], easier: bool) -> None:
    assert name_buckets(3, names, easier) == tuple(names)


@pytest.mark.parametrize(
    "names",
    [
        ["low", "medium", "high"],
        ["Low", "MID", "High"],
        ["lowest", "low", "highest"],
        ["very_low", "low", "medium"],
        ["low_reward", "mid_reward", "high_reward"],
        ["score low", "score middle", "score very-high"],
    ],
)
def test_words_for_values_run_from_the_lowest_value_up(names: list[str]) -> None:
    assert name_buckets(3, names, higher_is_easier=False) == tuple(names)
    assert name_buckets(3, names, higher_is_easier=True) == tuple(reversed(names))


@pytest.mark.parametrize(
    ("names", "right"),
    [
        (["hard", "medium", "easy"], "easy medium hard"),
        (["hard", "other", "easy"], "easy other hard"),
        (["Very-Hard", "easy", "x"], "easy Very-Hard x"),
        (["stage3", "stage2", "stage1"], "stage1 stage2 stage3"),
        (["stage1", "stage3", "stage2"], "stage1 stage2 stage3"),
        (["level 10", "level 9", "level 8"], "'level 8' 'level 9' 'level 10'"),
        (["high", "medium", "low"], "low medium high"),
        (["high_reward", "mid_reward", "low_reward"], "low_reward mid_reward high_reward"),
        (["expert", "intermediate", "beginner"], "beginner intermediate expert"),
        (["unsolved", "some", "solved"], "solved some unsolved"),
        (["stretch", "core", "warmup"], "warmup core stretch"),
        (["hard_prompts", "x", "easy-prompts"], "easy-prompts x hard_prompts"),
        (["last", "x", "first"], "first x last"),
    ],
)
@pytest.mark.parametrize("easier", [True, False])
def test_names_against_the_direction_show_the_right_order(names, right, easier) -> None:
    with pytest.raises(UsageError) as error:
        name_buckets(3, names, easier)
    assert str(error.value).endswith(f"write --bucket-names {right}")


def test_what_is_wrong_with_an_order_is_said_as_it_is() -> None:
    with pytest.raises(UsageError, match="say the opposite of what their buckets would hold"):
        name_buckets(3, ["c3", "c2", "c1"], True)
    with pytest.raises(UsageError, match="do not run as their buckets do"):
        name_buckets(3, ["c1", "c3", "c2"], True)


@pytest.mark.parametrize("names", [["low", "core", "high"], ["easy", "medium", "high"]])
def test_words_for_values_among_other_names_are_refused(names: list[str]) -> None:
    with pytest.raises(UsageError, match="speaks of metric values"):
        name_buckets(3, names, True)


@pytest.mark.parametrize(
    ("names", "fix"),
    [
        (["easy,medium,hard"], "--bucket-names easy medium hard"),
        (["easy,", "medium,", "hard"], "--bucket-names easy medium hard"),
        (["a b,c"], "--bucket-names 'a b' c"),
        (["easy,"], "--bucket-names easy"),
        ([","], "choose another name"),
    ],
)
def test_names_between_commas_are_refused_with_the_corrected_flag(names, fix) -> None:
    with pytest.raises(UsageError, match="holds a comma") as error:
        name_buckets(len(names), names, True)
    assert fix in str(error.value)


@pytest.mark.parametrize(
    "name",
    ["", " ", " x", ".x", "a/b", "a\\b", "a[1]", "a::b", "rejected", "Bucketing", "a\n", "x" * 300],
)
def test_names_that_are_no_file_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="--bucket-names"):
        name_buckets(2, [name, "other"], True)


@pytest.mark.parametrize("names", [["a", "a"], ["a", "A"], ["a"], ["a", "b", "c"]])
def test_names_must_be_as_many_as_buckets_and_differ(names: list[str]) -> None:
    with pytest.raises(UsageError, match="--bucket-names"):
        name_buckets(2, names, True)


@pytest.mark.parametrize(
    "names",
    [
        list(DIFFICULTY_WORDS),
        ["high", "medium", "low"],
        ["stage1", "stage2", "stage10"],
        ["easy", "hard", "a", "b"],
    ],
)
def test_the_order_of_buckets_without_a_manifest_is_guessed_from_their_names(names) -> None:
    assert guess_order(reversed(names)) == names
