"""The values of flags → what they ask for, checked before any data is read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from curriculum.choosing.choose import Balance
from curriculum.choosing.conditions import Condition
from curriculum.choosing.schedule import KINDS, Schedule
from curriculum.errors import CurriculumError, UsageError, check_choice, closest
from curriculum.metrics import MetricParameters
from curriculum.signals import NUMBERS


def parse_top(values: Sequence[str] | None) -> tuple[int, str] | None:
    """`--top N METRIC` as a number of rows and the name of a number. Raises UsageError."""
    if values is None:
        return None
    if len(values) != 2 or not values[0].isdecimal() or not int(values[0]):
        raise UsageError(
            f"the value is {' '.join(values)!r}",
            where="--top",
            expected="a number of rows and a metric, such as --top 1000 learnability",
            fix=f"metrics are {', '.join(NUMBERS)}",
        )
    check_choice("--top", values[1], NUMBERS)
    return int(values[0]), values[1]


def parse_balance(values: Sequence[str] | None) -> Balance | None:
    """`--balance PLACE [GROUP=SHARE …]`. Raises UsageError."""
    if values is None:
        return None
    place, *given = values
    if not all(place.split(".")) or "=" in place:
        raise UsageError(
            f"the place is {place!r}",
            where="--balance",
            expected="a field of the rows, or a.b inside one, and then the shares",
            fix="write the field first, such as --balance data_source gsm8k=0.5",
        )
    shares = dict[str, Fraction]()
    for text in given:
        name, _, share = text.rpartition("=")
        value = _share(share)
        if not name or value is None or name in shares:
            percent = _share(f"{share.removesuffix('%')}/100") if share.endswith("%") else None
            found = f"the share is {text!r}"
            if name and name in shares:
                found = f"the share of {name} is there twice"
            elif name and not share:
                found = f"nothing follows {text!r}"
            raise UsageError(
                found,
                where="--balance",
                expected="GROUP=SHARE without blanks around =, a share above 0 and at most 1",
                fix=f"write {name}={float(percent):g}"
                if percent
                else "write it so, such as gsm8k=0.5, or leave it out for equal numbers of rows",
            )
        shares[name] = value
    if sum(shares.values()) > 1:
        raise UsageError(
            f"the shares add up to {float(sum(shares.values())):g}",
            where="--balance",
            expected="1, or less if there are other groups, which share the rest",
            fix="lower some of them",
        )
    return Balance(place, shares)


def _share(text: str) -> Fraction | None:
    try:
        share = Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None
    return share if 0 < share <= 1 else None


def parse_schedule(kind: str | None, values: Mapping[str, float | None]) -> Schedule | None:
    """`--schedule`, and the values of the flags that go with it, by flag. Raises UsageError."""
    given = {flag: value for flag, value in values.items() if value is not None}
    if kind is None:
        for flag in given:
            raise UsageError(
                "it says how rows are scheduled, and they are not",
                where=flag,
                expected="--schedule beside it",
                fix=f"add --schedule linear, or leave out {flag}",
            )
        return None
    check_choice("--schedule", kind, KINDS)
    if "--batch-size" not in given:
        raise UsageError(
            "nothing says how many rows a batch has",
            where="--schedule",
            expected="--batch-size beside it",
            fix="give data.train_batch_size of the training, such as --batch-size 256",
        )
    if "--sigma" in given and kind != "gaussian":
        raise UsageError(
            f"{kind} has no width",
            where="--sigma",
            expected="--schedule gaussian",
            fix="leave it out",
        )
    for flag, value in given.items():
        lowest, highest, expected, example = _SCHEDULE_VALUES[flag]
        if not lowest <= value <= highest:
            raise UsageError(
                f"the value is {value:g}",
                where=flag,
                expected=expected,
                fix=f"write {flag} {example}, for one",
            )
    names = {flag.removeprefix("--").replace("-", "_"): value for flag, value in given.items()}
    return Schedule(kind, **names)  # type: ignore[arg-type]


# Of each flag: the lowest and the highest value, in words, and an example.
_SCHEDULE_VALUES = {
    "--batch-size": (1, math.inf, "1 or more", "256"),
    "--epochs": (1, math.inf, "1 or more", "2"),
    "--sigma": (0.01, 10, "from 0.01 to 10; all difficulties are from 0 to 1", "0.15"),
    "--start": (0, 1, "from 0, the easiest row, to 1, the hardest", "0.2"),
    "--end": (0, 1, "from 0, the easiest row, to 1, the hardest", "0.8"),
}


def parse_replay(share: float | None) -> float | None:
    """`--replay SHARE`. Raises UsageError."""
    if share is not None and not 0 <= share <= 1:
        raise UsageError(
            f"the share is {share:g}",
            where="--replay",
            expected="from 0 to 1",
            fix="give the share of the easier prompts that later stages see again, such as 0.1",
        )
    return share


def check_group_size(size: int | None, names: Iterable[str], otherwise: str) -> None:
    """Raise UsageError for a --group-size below 2, or one that nothing uses: `names` are the
    metrics asked for."""
    if size is None:
        return
    if size < 2:
        raise UsageError(
            f"the size is {size}",
            where="--group-size",
            expected="2 or more: a single response is no group",
            fix="give the number of responses to a prompt in the training, rollout.n of verl",
        )
    if "useful_group" not in names:
        raise UsageError(
            "only useful_group goes by it, and nothing asks for that",
            where="--group-size",
            expected=otherwise,
            fix='add --keep "useful_group >= 0.3", for one, or leave out --group-size',
        )


def check_of_scores(
    flag: str, names: Iterable[str], value_field: str, kind: type[CurriculumError] = UsageError
) -> None:
    """Raise an error of this kind for metrics where rollouts carry a number in place of scores."""
    for name in names:
        if name in NUMBERS:
            raise kind(
                f"{name} is about scores, and these rollouts carry {value_field} in place of them",
                where=flag,
                expected="scores"
                if flag == "--top"
                else f"a condition on {value_field} or another field",
                fix=f'leave it out; --keep "{value_field} > 0", for one, keeps rows by that number',
            )


def likely_number(place: str) -> str:
    """That nothing was written, and what to write for a place that no rollout has, if something is
    like it."""
    found = closest(place, (*NUMBERS, *_USUAL))
    hint = f"did you mean {' or '.join(found)}?" if found else ""
    hint = f"for this, {_OTHERWISE[place]}" if place in _OTHERWISE else hint
    return f"nothing was written; {hint}" if hint else "nothing was written"


_USUAL = ("data_source", "ability", "key")  # fields that many rollouts have
_BUCKET = "name the buckets with --buckets of the second script"
_OTHERWISE = {
    "bucket": _BUCKET,
    "curriculum_stage": _BUCKET,
    "difficulty": "name the metric, such as success_rate",
    "value": "name the metric, such as success_rate",
}


def names_of(conditions: Sequence[Condition], top: tuple[int, str] | None = None) -> list[str]:
    """The numbers that conditions and --top ask for, by name."""
    return [*(c.name for c in conditions if c.is_number), *([top[1]] if top else [])]


def with_group_size(parameters: MetricParameters, size: int | None) -> MetricParameters:
    """The parameters with this group size, if one is given."""
    if size is None:
        return parameters
    return MetricParameters(parameters.k, parameters.pass_threshold, size)
