"""`--keep`: what a condition may be, what it means, and what is no condition."""

from __future__ import annotations

import json
import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from curriculum.choosing.conditions import Condition, parse_condition
from curriculum.choosing.groups import Groups
from curriculum.errors import UsageError
from curriculum.filters import FILTERS
from curriculum.metrics import MetricParameters, Scores
from curriculum.signals import NUMBERS

SIGNS = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
RATES = {"success_rate", "pass_at_k", "useful_group"}
NUMBER = st.sampled_from([0.0, 0.25, 0.5, 1.0, -1.0, 1e3])
SCORES = st.lists(
    st.lists(st.sampled_from([0, 0.25, 0.5, 1, None]), min_size=1, max_size=6), min_size=1
)


def parse(text: str) -> Condition:
    return parse_condition("--keep", text)


def kept(text: str, rollouts: list[list[Any]], parameters: MetricParameters) -> list[bool]:
    condition, scores = parse(text), Scores.of(rollouts)
    values = NUMBERS[condition.name].values(scores, parameters)
    found: list[bool] = condition.holds_for(values).tolist()
    return found


@given(st.sampled_from(sorted({*NUMBERS} - RATES)), st.sampled_from(sorted(SIGNS)), NUMBER, SCORES)
def test_a_comparison_means_what_python_means(
    name: str, sign: str, wanted: float, rollouts: list[list[Any]]
) -> None:
    parameters = MetricParameters(k=2)
    values = NUMBERS[name].values(Scores.of(rollouts), parameters).tolist()
    expected = [v == v and SIGNS[sign](v, wanted) for v in values]  # NaN meets nothing
    assert kept(f"{name}{sign} {wanted}", rollouts, parameters) == expected
    turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(sign, sign)
    assert kept(f" {wanted} {turned}{name} ", rollouts, parameters) == expected


@given(NUMBER, st.sampled_from(["<", "<="]), st.sampled_from(["<", "<="]), NUMBER, SCORES)
def test_a_band_is_both_comparisons(
    low: float, first: str, second: str, high: float, rollouts: list[list[Any]]
) -> None:
    assume(low < high or (low == high and (first, second) == ("<=", "<=")))
    parameters = MetricParameters()
    values = NUMBERS["mean_reward"].values(Scores.of(rollouts), parameters).tolist()
    expected = [SIGNS[first](low, v) and SIGNS[second](v, high) for v in values]
    band = f"{low} {first} mean_reward {second} {high}"
    assert kept(band, rollouts, parameters) == expected  # NaN is in no band
    turn = {"<": ">", "<=": ">="}
    other = f"{high} {turn[second]} mean_reward {turn[first]} {low}"
    assert kept(other, rollouts, parameters) == kept(band, rollouts, parameters)


@pytest.mark.parametrize(
    ("text", "value", "met"),
    [
        ("data_source == openai/gsm8k", "openai/gsm8k", True),
        ("data_source != openai/gsm8k", "math", True),
        ("data_source != openai/gsm8k", None, False),
        ("data_source != openai/gsm8k", "", False),
        ('data_source == "a b > c"', "a b > c", True),
        ("data_source == 'x'", "x", True),
        ("data_source == a b", "a b", True),
        ("math-dapo == data_source", "math-dapo", False),  # the name comes first
        ("extra_info.level >= 3", 3, True),
        ("extra_info.level >= 3", "3", True),
        ("extra_info.level >= 3", "high", False),
        ("extra_info.level >= 3", True, False),
        ("extra_info.level != 3", "high", True),
        ("1 < extra_info.level < 3", 2.5, True),
        ("extra_info.level == '3'", 3, True),
        ("extra_info.level == '3'", "03", False),
        ("extra_info.done == true", True, True),
        ("extra_info.done == True", True, True),
        ("extra_info.done != False", False, False),
        ("x == 1_0", "10", False),
        ("x == 1_0", "1_0", True),
        ("x == 1", float("nan"), False),
        ("x != 1", float("nan"), False),
        ("x == [1, 2]", [1, 2], True),
    ],
)
def test_what_rollouts_hold(text: str, value: Any, met: bool) -> None:
    assert parse(text).met_by([value]).tolist() == [met]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not a comparison"),
        ("success_rate", "not a comparison"),
        ("success_rate >", "not a comparison"),
        ("> 0.5", "not a comparison"),
        ("success_rate = 0.5", "write == for equal"),
        ("success_rate =< 0.5", "write == for equal"),
        ("success_rate => 0.5", "not a comparison"),
        ("0.1 < 0.5", "names nothing"),
        ("'a' == 'b'", "names nothing"),
        ("0.1 < success_rate > 0", "do not point the same way"),
        ("0.1 == success_rate == 0", "do not point the same way"),
        ("success_rate < 0.5 < 1", "in the middle"),
        ("a < b < c", "in the middle"),
        ("success_rate > 0.1 and success_rate < 0.9", "a --keep of its own"),
        ("x > 1 or y", "is text"),
        ("success rate > 1", "did you mean success_rate"),
        ("success_rate > high", "is a number"),
        ("success_rate == 'x'", "is a number"),
        ("success_rate > nan", "is a number"),
        ("data_source > openai", "only be == or !="),
        ("a..b > 1", "not a place"),
        ("success_rate > 10%", "write 0.1,"),
        ("success_rate >= 50", "from 0 to 1"),
        ("pass_at_k < 1.01", "from 0 to 1"),
        ("0.9 <= success_rate <= 0.1", "nothing lies between 0.9 and 0.1"),
        ("2 > mean_reward > 2", "nothing lies between"),
        ("2 >= mean_reward > 2", "nothing lies between"),
        ("success_rate >= .1, success_rate <= .9", "a --keep of its own"),
        ("0.1 ≤ success_rate", "write <= for ≤"),
        ("a b > 1", "'a b' is not a name,"),
        ("key != null", "what is absent meets no condition"),
        ('x == "open', "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_condition(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as error:
        parse(text)
    assert str(error.value).startswith("--keep: ")
    assert "success_rate, learnability" in str(error.value)


@given(SCORES)
def test_the_filters_are_conditions(rollouts: list[list[Any]]) -> None:
    scores, parameters = Scores.of(rollouts), MetricParameters()
    some = np.flatnonzero(scores.counts > 0)
    scores = scores.take(some)
    for name, text in (
        ("best_only", "max_reward > 0"),
        ("passing_only", "num_passes >= 1"),
        ("informative_only", "variance > 0"),
    ):
        condition = parse(text)
        values = NUMBERS[condition.name].values(scores, parameters)
        expected = FILTERS[name].keep(scores, 0.5)
        assert condition.holds_for(values).tolist() == expected.tolist(), name


@given(st.lists(st.lists(st.sampled_from(["a", "b", None, "", 3, 3.0, True]), max_size=5)))
def test_groups_of_parts_are_the_groups_of_all(parts: list[list[Any]]) -> None:
    every = [value for part in parts for value in part]
    joined, whole = Groups.join(list(map(Groups.of, parts))), Groups.of(every)
    assert (joined.names, joined.codes.tolist()) == (whole.names, whole.codes.tolist())
    named = [whole.names[code] if code >= 0 else None for code in whole.codes.tolist()]
    texts = [v if isinstance(v, str) else None if v is None else json.dumps(v) for v in every]
    assert named == [text or None for text in texts]
