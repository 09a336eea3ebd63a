"""A format → how the scanner makes its usual lines rollouts of our own form: by other names of
their fields.

Whatever LineConverter would change in a line besides, the scanner leaves to it.
"""

from __future__ import annotations

from curriculum.dumps.formats import OWN, Format, Holds
from curriculum.dumps.values import is_inside
from curriculum.messages.chat_templates import MARKS
from curriculum.scanner.renamed_lines import Renaming, Role


def renaming_of(form: Format) -> Renaming | None:
    """The renaming for the lines of a format; None if other names are not enough."""
    roles = [
        (form.prompt, "prompt", Role.PROMPT),
        (form.ground_truth, "ground_truth", Role.TRUTH),
        (form.response, "responses", Role.RESPONSES),
        (form.score, "reward", Role.REWARD),
    ]
    key = form.groups[0][0] if form.groups else None
    if key and key != "key":
        roles.append((key, key, Role.KEY))
    fields = {name: (name, new, role) for name, new, role in roles if name}
    given = [name for name, _, _ in roles if name]
    changes = (form.read_prompt, form.system, form.tools) != (None, None, None) or form.templates
    if (
        form.holds is not Holds.ROLLOUT
        or form.name == OWN
        or changes
        or len(fields) < len(given)
        or any(map(is_inside, given))
        or len(form.groups) > 1
        or any(len(places) > 1 for places in form.groups)
    ):
        return None
    for name in form.marks:
        fields.setdefault(name, (name, name, Role.REQUIRED))
    for name in (*form.status, *form.added):
        fields.setdefault(name, (name, name, Role.EMPTY))
    # A line that has another field of such a name needs more than other names.
    made = [new for name, new, role in roles if name and role is not Role.KEY]
    made += ["response"] if form.response else []  # rollouts may have theirs there, too
    for name in [*made, *(["key"] if key and key != "key" else [])]:
        fields.setdefault(name, (name, name, Role.IN_THE_WAY))
    return Renaming.of(list(fields.values()), MARKS)
