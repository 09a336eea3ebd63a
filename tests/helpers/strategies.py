"""Lines of every kind, for properties: rollouts, near rollouts, and other JSON."""

from __future__ import annotations

from hypothesis import strategies as st

from curriculum.reading.blocks import Block

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
SCORE = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3))
ENTRY = st.one_of(SCORE, st.fixed_dictionaries({}, optional={"score": SCORE, "V_i": JSON}))
CHOICE = st.one_of(
    st.fixed_dictionaries({}, optional={"message": st.fixed_dictionaries({}, optional={
        "content": st.none() | st.text(max_size=4) | JSON}), "text": st.text(max_size=4)}),
    st.none(),
)  # fmt: skip
LINE = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {},
        optional={
            "reward": st.lists(ENTRY, max_size=4) | JSON,
            "prompt": JSON,
            "messages": JSON,
            "ground_truth": JSON,
            "key": JSON,
            "extra_info": JSON,
            "response": st.fixed_dictionaries({}, optional={"choices": st.lists(CHOICE)}) | JSON,
            "responses": st.lists(st.text(max_size=4)) | JSON,
            "other": JSON,
        },
    ),
)

# Rollouts as they usually are, each field a little off now and then.
TEXT = st.sampled_from(["x", "", " ", "a  b", "é"])
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system"]), "content": TEXT},
        optional={"name": TEXT},
    ),
    max_size=3,
)
ROLLOUT = st.fixed_dictionaries(
    {"reward": st.lists(st.floats() | st.fixed_dictionaries({"score": SCORE}), max_size=3)},
    optional={
        "prompt": MESSAGES | TEXT | st.none(),
        "messages": MESSAGES | st.none(),
        "response": st.fixed_dictionaries({}, optional={"choices": st.lists(CHOICE, max_size=3)}),
        "responses": st.lists(TEXT | st.none(), max_size=3) | st.none(),
        "ground_truth": TEXT | JSON | st.just("[{'instruction_id': ['a'], 'kwargs': [None]}]"),
        "key": TEXT | JSON,
        "ability": TEXT | st.none(),
        "data_source": TEXT | st.none() | JSON,
        "extra_info": st.dictionaries(st.sampled_from(["a", "data_source"]), JSON) | st.none(),
        "reward_model": st.fixed_dictionaries({}, optional={"ground_truth": TEXT | JSON}) | JSON,
        "question": MESSAGES | TEXT | JSON,
        "meta": st.fixed_dictionaries({}, optional={"a": TEXT | MESSAGES, "b": JSON}) | JSON,
    },
)


def block(*lines: bytes) -> Block:
    """Lines as they are read: one after another in a buffer that may be longer."""
    text = b"".join(line + b"\n" for line in lines)
    return Block(bytearray(text + b"rest of an earlier block"), len(text))
