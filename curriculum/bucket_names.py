"""What buckets are called: names that people give → the names of the buckets, easiest first.

Names run from easy to hard, except words for metric values, which run from the lowest value up. A
name that says the opposite of what its bucket would hold is refused.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Container, Iterable, Sequence

from curriculum.errors import UsageError, plural

DEFAULT_NAMES = {
    2: ("easy", "hard"),
    3: ("easy", "medium", "hard"),
    5: ("very_easy", "easy", "medium", "hard", "very_hard"),
}
# Words for difficulty, easiest first.
DIFFICULTY_WORDS = (
    "solved", "trivial", "easiest", "very_easy", "first", "early", "warmup", "warm_up", "easy",
    "beginner", "basic", "simple", "medium", "moderate", "middle", "core", "intermediate", "hard",
    "difficult", "advanced", "stretch", "challenging", "late", "very_hard", "expert", "hardest",
    "last", "final", "unsolved",
)  # fmt: skip
# Words for metric values, lowest first; those in one group say the same.
VALUE_WORDS = (
    ("lowest",), ("very_low",), ("low",), ("mid", "medium", "middle"), ("high",), ("very_high",),
    ("highest",),
)  # fmt: skip
_VALUE_RANKS = {word: rank for rank, words in enumerate(VALUE_WORDS) for word in words}
_MIDDLE = _VALUE_RANKS["medium"]  # of a value or of a difficulty
# Names that would be read as the toolkit's own files and folders.
RESERVED = ("bucketing", "preprocessing", "rejected")

# How far along its order a name says it is; None if it says nothing.
Rank = Callable[[str], "int | None"]


def name_buckets(
    num_buckets: int, names: Sequence[str] | None, higher_is_easier: bool
) -> tuple[str, ...]:
    """The names of the buckets, easiest first.

    `names` run from easy to hard or, if they are words for metric values (low, medium, high),
    from the lowest value up; None means the default names. Raises UsageError for names that cannot
    be used, that are not `num_buckets`, or that say the opposite of what their buckets hold.
    """
    if names is None:
        width = len(str(num_buckets))
        numbered = tuple(f"level_{i:0{width}}" for i in range(1, num_buckets + 1))
        return DEFAULT_NAMES.get(num_buckets, numbered)
    check_names("--bucket-names", names)
    if len(names) != num_buckets:
        raise UsageError(
            f"{plural(len(names), 'name')} ({' '.join(names)}) for {num_buckets} buckets",
            where="--bucket-names",
            expected=f"{num_buckets} names",
            fix="give one name per bucket (thresholds make one bucket more than their number)",
        )
    if _are_values(names):
        _check_order(names, value_rank, "from the lowest metric value to the highest")
        return tuple(reversed(names)) if higher_is_easier else tuple(names)
    _check_order(names, difficulty_rank, "from easy to hard, whatever the metric")
    _check_order(names, _number_rank(names), "from easy to hard, so numbers go up")
    return tuple(names)


def guess_order(names: Iterable[str]) -> list[str]:
    """Names in the order of difficulty that they promise, easiest first: words for metric values
    from the highest down, numbers upwards, words for difficulty before any others."""
    every = sorted(names)
    values = [name for name in every if value_rank(name) is not None]
    if len(values) == len(every) and any(value_rank(name) != _MIDDLE for name in values):
        return sorted(every, key=lambda name: -(value_rank(name) or 0))
    ranks = [(difficulty_rank(name), _number_rank(every)(name)) for name in every]
    order = [(word is None, word or 0, number or 0) for word, number in ranks]
    return [name for _, name in sorted(zip(order, every, strict=True))]


def _are_values(names: Sequence[str]) -> bool:
    """Whether the names are words for metric values. Raises UsageError if only some are."""
    ranks = {name: value_rank(name) for name in names}
    certain = [name for name, rank in ranks.items() if rank not in (None, _MIDDLE)]
    others = [name for name, rank in ranks.items() if rank is None]
    if certain and others:
        raise UsageError(
            f"{certain[0]!r} speaks of metric values, {others[0]!r} does not",
            where="--bucket-names",
            expected="names that run from easy to hard, or words such as low, medium and high for "
            "all buckets, which run from the lowest metric value up",
            fix="choose other names, so that it is clear which bucket is easy",
        )
    return bool(certain)


def difficulty_rank(name: str) -> int | None:
    """How hard a name says it is, as in `hard` and `hard_prompts`, 0 the easiest; None for a name
    that promises nothing."""
    word = _word_in(_tokens(name), DIFFICULTY_WORDS)
    return None if word is None else DIFFICULTY_WORDS.index(word)


def value_rank(name: str) -> int | None:
    """How high a metric value a name says it holds, as in `low` and `low_reward`; None for a name
    that does not speak of values."""
    tokens = _tokens(name)
    if {"difficulty", "hardness"} & set(tokens):
        return None
    word = _word_in(tokens, _VALUE_RANKS)
    return None if word is None else _VALUE_RANKS[word]


def _word_in(tokens: Sequence[str], words: Container[str]) -> str | None:
    """The first of some words that a name holds, those of two parts (very_low) before others."""
    for size in (2, 1):
        for i in range(len(tokens) - size + 1):
            word = "_".join(tokens[i : i + size])
            if word in words:
                return word
    return None


def _tokens(name: str) -> list[str]:
    return re.split(r"[-_ ]+", name.casefold())


def _number_rank(names: Sequence[str]) -> Rank:
    """The numbers in the names, if all that they differ in is one number (stage1, stage2)."""
    found = [re.fullmatch(r"(\D*)(\d{1,15})(\D*)", name) for name in names]
    stems = {(match[1].casefold(), match[3].casefold()) if match else None for match in found}
    if len(stems) > 1 or None in stems:
        return lambda name: None
    numbers = {match[0]: int(match[2]) for match in found if match}
    return numbers.get


def _check_order(names: Sequence[str], rank: Rank, order: str) -> None:
    """Raise UsageError unless the names that say where they belong are in that order."""
    ranked = [name for name in names if rank(name) is not None]
    in_order = sorted(ranked, key=lambda name: rank(name) or 0)
    if ranked == in_order:
        return
    replacement = dict(zip(ranked, in_order, strict=True))
    right = [replacement.get(name, name) for name in names]
    raise UsageError(
        "these names say the opposite of what their buckets would hold"
        if ranked == in_order[::-1]
        else "these names do not run as their buckets do",
        where="--bucket-names",
        expected=f"names {order}",
        fix=f"write --bucket-names {shlex.join(right)}",
    )


def check_names(flag: str, names: Sequence[str]) -> None:
    """Raise UsageError for a name that cannot be a file's, that verl's loader cannot open, or
    that repeats another (upper and lower case are one, as on some file systems)."""
    seen: set[str] = set()
    for name in names:
        problem = name_problem(name)
        if problem is None and name.casefold() in seen:
            problem = "is there twice"
        seen.add(name.casefold())
        if problem:
            raise UsageError(
                f"the name {name!r} {problem}",
                where=flag,
                expected="plain file names, each once",
                fix=_rewritten(flag, names)
                or "choose another name; letters, digits, - and _ are always safe",
            )


def _rewritten(flag: str, names: Sequence[str]) -> str | None:
    """How to write names that were separated by commas; None if that is not what is wrong."""
    apart = [part.strip() for name in names for part in name.split(",") if part.strip()]
    if apart == list(names) or not apart or any(map(name_problem, apart)):
        return None
    return f"separate names by blanks: {flag} {shlex.join(apart)}"


def name_problem(name: str) -> str | None:
    """Why a name cannot be a bucket's or a set's; None if it can."""
    if not name.strip():
        return "is empty"
    if name != name.strip():
        return "begins or ends with a blank"
    if name.startswith("."):
        return "starts with a dot"
    if "," in name:
        return "holds a comma"
    found = [part for part in ("/", "\\", "[", "]", "::") if part in name]
    if found:
        return f"holds {found[0]!r}"
    if not name.isprintable() or len(name.encode("utf-8", "surrogateescape")) > 200:
        return "has characters or a length that file names should not have"
    if name.casefold() in RESERVED:
        return "is what the toolkit calls a file of its own"
    return None
