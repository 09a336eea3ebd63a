"""A format → what the scanner must know to put the lines of its groups together."""

from __future__ import annotations

from collections.abc import Iterable

from curriculum.dumps import values
from curriculum.dumps.formats import OWN, End, Format
from curriculum.messages.chat_templates import SHAPE_MARKS
from curriculum.scanner.dump_lines import MOST_NAMES, Plan

# Fields of our own form. A dump's field with such a name goes into the reward entries.
TAKEN_NAMES = frozenset(
    {"prompt", "messages", "response", "responses", "reward", "ground_truth", "key", "num"}
)
# Fields that preprocessing reads. If the lines differ, the first value is the rollout's.
LEADING_NAMES = frozenset({"ability", "data_source", "extra_info"})

_CODES = {None: b"0", End.FAILED: b"1", End.CUT_OFF: b"2"}


def plan_of(form: Format) -> Plan | None:
    """What the scanner must know of a format; None if its lines must be put together in Python."""
    roles = [form.score, form.response, form.prompt, form.ground_truth, form.tools]
    given = [role for role in roles if role]
    places = [place for group in form.alternatives for place in group]
    as_they_are = (form.read_prompt, form.read_tools, form.system) == (None, None, None)
    ends_known = bool(form.ends) or (form.failed, form.cut_off) == (None, None)
    if (
        form.name == OWN
        or not (as_they_are and ends_known and form.scores_as_they_are)
        or form.read_response not in (None, values.last_answer)
        or any(map(values.is_inside, (*places, *given)))
        or len({*given, *form.status}) < len(given) + len(form.status)
    ):
        return None
    plan = Plan(
        alternatives=tuple(map(_names, form.alternatives)),
        roles=_names(role or "" for role in roles),
        counted=tuple(
            part for place, text in form.group_forms.items() for part in (place.encode(), text)
        ),
        ends=tuple(
            part
            for name, value, end in form.ends
            for part in (name.encode(), value.encode(), _CODES[end])
        ),
        ids=_names(ids[-1] for ids in form.ids),
        taken=_names(sorted(TAKEN_NAMES)),
        leading=_names(sorted(LEADING_NAMES)),
        marks=_names(SHAPE_MARKS),
        answers=form.read_response is not None,
        unscored_cut_off=End.CUT_OFF in form.unscored,
    )
    return plan if all(len(names) <= MOST_NAMES for names in plan.alternatives) else None


def _names(names: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(name.encode("utf-8", "surrogatepass") for name in names)
