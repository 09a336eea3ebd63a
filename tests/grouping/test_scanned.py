"""Dumps read with the scanner and without it: the same groups, rollouts, reasons and notes."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from curriculum.dumps.formats import End, Format, Holds, Steps
from curriculum.dumps.table import FORMATS, adapt
from curriculum.dumps.values import VERL_UID_FORM, group_of_uid
from curriculum.grouping.gather import GatherTask, gather_rollouts
from curriculum.grouping.index import IndexTask, index_shard
from curriculum.grouping.responses import Responses
from curriculum.grouping.scanned_groups import GroupScanner
from curriculum.messages.chat_templates import SHAPE_MARKS, TEMPLATES, read_template, shape_of
from curriculum.reading.blocks import Block
from curriculum.reading.input_files import InputFile, Shard
from curriculum.reading.ledger import Ledger
from curriculum.reading.rollouts import ScoreReader
from curriculum.scanner.compiled import SWITCH, scanner
from curriculum.scanner.dump_lines import index_fields
from tests.dumps.dump_lines import CASES, UIDS
from tests.helpers.rollouts import write_jsonl

needs_scanner = pytest.mark.skipif(scanner() is None, reason="the scanner is not built here")

CUSTOM = adapt(FORMATS["custom"], {"prompt": "prompt", "response": "response", "score": "score"})
VARIANTS: dict[str, Format] = {
    **{name: form for name, form in FORMATS.items() if form.holds is Holds.RESPONSE},
    "lm-eval": replace(FORMATS["lm-eval"], chosen="none"),
    "lm-eval, others skipped": replace(FORMATS["lm-eval"], chosen="none", skips_others=True),
    "inspect": replace(FORMATS["inspect"], score="scores.match.value"),
    "trl, two scores": replace(FORMATS["trl"], added=("passed",)),
    "skyrl, reduced": replace(FORMATS["skyrl"], reduce="sum"),
    "custom": CUSTOM,
    "custom by id": adapt(FORMATS["custom"], {"groups": (("id", "step"), ("meta.id",))}),
    "verl by prompt": replace(FORMATS["verl"], groups=()),
    "verl by acc": replace(FORMATS["verl"], score="acc", better_score=None),
    "verifiers without cut off": replace(
        FORMATS["verifiers"], unscored=frozenset({End.FAILED, End.CUT_OFF})
    ),
}

ODD = (
    "null", "true", "false", "0", "-0", "1", "1.0", "1e2", "0.4200", "-3.5E-1", "[]", "{}", "[ ]",
    '""', '"a"', '"\\u0061"', '"\\ud83d\\ude00"', '"\\ud800"', '"caf\xe9 \\/ \\n"', "NaN",
    "-Infinity", "1e400", "12345678901234567890123", "0.12345678901234567890123", '{"x": [1, 2]}',
    '{"x":[1,2]}', '{"x": NaN}', '"1.0"', '"True"', '"length"', '"leng\\u0074h"', '"stop"',
    "9" * 600,
)  # fmt: skip
UID = [f'"{uid}_{sample}_{turn}"' for uid in UIDS for sample in (0, 1) for turn in (0, 10)]
TEXTS = [
    "user\\n2+2?\\nassistant\\n", "system\\nBe brief.\\nuser\\n3+3?\\nassistant\\n<think>\\n",
    "user\\nuser\\n2?\\nassistant\\n", "user\\n\\nassistant\\n", "user\\n \\nassistant\\n",
    "<|im_start|>user\\n2+2?<|im_end|>\\n<|im_start|>assistant\\n", "plain", "is it <|im_start|>?",
    "user\\n1\\nassistant\\n2\\nuser\\n3\\nassistant\\n", "\\u00e9\\/\\\"\\t\\u0001",
    "[INST] 2 [/INST]",
    "<bos><start_of_turn>user\\nHi<end_of_turn>\\n<start_of_turn>model\\n", "caf\xe9",
    "user\\n\\u5927\\u5b78 \\ud83d\\ude00\\nassistant\\n",
]  # fmt: skip
PROMPTS = [f'"{text}"' for text in TEXTS] + [
    f'[{{"role": "user", "content": "{text}"}}]' for text in TEXTS
] + [
    '[{"role": "user", "content": "2?"}, {"role": "assistant", "content": "4"}]',
    '[{"role": "user", "content": "2?"}, {"role": "assistant", "content": "<think>\\n"}]',
    '[{"role": "user", "content": ["2?"]}]', '[{"content": "2?"}]', '[{"role": "user"}]', "[]",
]  # fmt: skip
ANSWERS = [
    '[{"role": "assistant", "content": "4"}]', '[ {"role": "assistant", "content": null} ]',
    '[{"role": "assistant"}]', '[{"role": "user", "content": "4"}]',
    '[{"role": "assistant", "content": [{"type": "text", "text": "4"}]}]',
]  # fmt: skip
USUAL = {
    "uid": UID, "step": ["1", "2", '"2"'], "score": ["0.5", "1", "-1.25"], "acc": ["true", "0"],
    "reward": ["0.5", "1", "0.4200"], "passed": ["true", "false"], "error": ["null", '"lost"'],
    "is_completed": ["true", "false"], "is_truncated": ["true", "false"],
    "tool_defs": ["null", "[]"],
    "finish_reason": ['"stop"', '"length"'], "request_id": ['"a"', '"b"', '"c"'],
    "example_id": ["1", "2"], "task_id": ['"t"', "1"], "head_version": ["4"], "id": ["1", '"b"'],
    "sample_idx": ["0", "1", "2"], "_ng_task_index": ["0", "1"], "_ng_rollout_index": ["0", "1"],
    "agent_ref": ['{"name": "a"}', '{"name":"a"}'], "extra_info": ['{"n": 1}', '{"n": 2}'],
    "response": ['"x"', '"y"'], "key": ['"k"'], "num": ["1"], "source_score": ["1"],
    "meta": ['{"id": 1}', '{"id": "b"}'], "task": ['{"key": "t"}', '{"data": {"prompt": "p"}}'],
    "traces": ['[{"rewards": {"r": {"score": 1.0}}}]'],
    "responses_create_params": ['{"input": "p"}', '{"input": []}'],
    "filter": ['"none"', '"none"', '"other"'], "exact_match": ["1.0", "0", "true", '"1.0"'],
    "doc_id": ["0", "1"], "doc_hash": ['"a"', '"b"'], "resps": ['[["x", "y"]]', '[["x"], ["y"]]'],
    "arguments": ['{"gen_args_0": {"arg_0": "q"}}', '{"gen_args_0": {"arg_0": ["[]"]}}'],
    "scores": ['{"match": {"value": "C"}}', '{"match": {"value": 0.5}}', "null"],
    "epoch": ["1", "2"], "env_class": ['"e"'], "stop_reason": ['"stop"', '"length"', "null"],
    "content": ['[["q", "a"]]', '[["q", "b"]]', '[[{"role": "user", "content": "q"}]]', "[]"],
    "rewards": ["[1.0]", "[0]", "[]"], "filtered_rewards": ["[0.5]"], "idx": ["0", "1"],
}  # fmt: skip
FIELDS: dict[str, tuple[str, ...]] = {
    "verl": ("input", "output", "gts", "score", "step", "uid", "acc", "request_id", "extra_info"),
    "verl-val": ("input", "output", "score", "reward", "gts", "uid"),
    "verifiers": (
        "example_id", "prompt", "completion", "reward", "answer", "error", "is_completed",
        "is_truncated", "tool_defs", "extra_info",
    ),
    "traces": ("task", "traces", "id", "ok"),
    "nemo-gym": (
        "responses_create_params", "response", "reward", "_ng_task_index", "_ng_rollout_index",
        "agent_ref",
    ),
    "areal": ("task_id", "sample_idx", "prompt", "completion", "reward", "head_version"),
    "humaneval": ("task_id", "completion", "result", "passed"),
    "trl": ("step", "prompt", "completion", "reward", "passed", "advantage"),
    "skyrl": ("input_prompt", "output_response", "score", "env_class", "stop_reason"),
    "nemo-rl": ("content", "rewards", "idx"),
    "nemo-rl-filtered": ("content", "rewards", "filtered_rewards", "idx"),
    "lm-eval": (
        "doc_id", "doc", "doc_hash", "resps", "filtered_resps", "filter", "metrics", "exact_match",
        "arguments", "target",
    ),
    "inspect": ("id", "epoch", "input", "target", "output", "scores", "error"),
    "custom": (
        "prompt", "response", "score", "ground_truth", "step", "finish_reason", "is_truncated",
        "id", "meta", "key", "num", "source_score",
    ),
}  # fmt: skip


@st.composite
def values(draw: st.DrawFn, name: str) -> str:
    """A value of a field, as JSON: nearly always a usual one."""
    if not draw(st.integers(0, 15)):
        return draw(st.sampled_from(ODD))
    if name in ("input", "prompt", "input_prompt"):
        return draw(st.sampled_from(PROMPTS[:4] if draw(st.booleans()) else PROMPTS))
    if name in ("completion", "response", "output"):
        return draw(st.sampled_from([*ANSWERS, *(f'"{text}"' for text in TEXTS)]))
    return draw(st.sampled_from(USUAL.get(name, ['"4"', '"4"', "5"])))


@st.composite
def dumps(draw: st.DrawFn, fields: tuple[str, ...]) -> bytes:
    """Lines of a dump: mostly groups of lines that share most of their values."""
    lines: list[bytes] = []
    for _ in range(draw(st.integers(1, 4))):
        shared = {name: draw(values(name)) for name in fields}
        for _ in range(draw(st.integers(1, 4))):
            own = draw(st.sets(st.sampled_from(fields), max_size=3))
            line = shared | {name: draw(values(name)) for name in own}
            left_out = draw(st.sets(st.sampled_from(fields), max_size=1))
            pairs = [(name, v) for name, v in line.items() if name not in left_out]
            if not draw(st.integers(0, 9)):
                pairs = draw(st.permutations(pairs))
            lines.append(draw(written(pairs)))
    return b"\n".join(draw(st.permutations(lines))) + b"\n" * draw(st.integers(0, 2))


@st.composite
def written(draw: st.DrawFn, pairs: list[tuple[str, str]]) -> bytes:
    """A line, in rare cases damaged or with a name twice or with escapes."""
    odd = draw(st.integers(0, 60))
    if odd == 0 and pairs:
        pairs = [*pairs, draw(st.sampled_from(pairs))]
    if odd == 1:
        pairs = [*pairs, ("caf\xe9", "1")]
    colon, comma = draw(st.sampled_from([(":", ","), (": ", ", "), (" :\t", " , ")]))
    names = [name if odd != 2 else f"\\u{ord(name[0]):04x}{name[1:]}" for name, _ in pairs]
    parts = [f'"{name}"{colon}{value}' for name, (_, value) in zip(names, pairs, strict=True)]
    line = ("{" + comma.join(parts) + "}").encode("utf-8", "surrogatepass")
    if odd == 3:
        at = draw(st.integers(0, len(line)))
        line = (
            line[:at]
            + draw(st.sampled_from([b"\xff", b"\xc3", b"\0", b"\xed\xa0\x80"]))
            + line[at:]
        )
    if odd == 4:
        line = line[: draw(st.integers(0, len(line)))]
    return (
        draw(st.sampled_from([b"", b" ", b"\t"])) + line + draw(st.sampled_from([b"", b"\r", b" "]))
    )


def grouped(path: Path, form: Format, steps: Steps = Steps()) -> dict[str, Any]:  # noqa: B008
    """All that both passes say of a dump."""
    file = InputFile(path, path.stat().st_size, path.stat().st_mtime_ns, None, 0)
    shard = Shard(file, 0, file.size)
    index = index_shard(IndexTask(shard, form, steps))
    said: dict[str, Any] = {
        "kinds": index.lines.kinds.tolist(),
        "lengths": index.lines.lengths.tolist(),
        "problems": (index.lines.problems.first, index.lines.problems.kinds),
        "index": (index.groups.tolist(), index.marks.tolist(), index.steps, index.better),
    }
    ledger = Ledger.of([shard])
    ledger.add(index.lines)
    responses = Responses.of(ledger, index.groups)
    output = path.with_suffix(".out")
    for number, (some, counts) in enumerate(responses.batches()):
        task = GatherTask(
            form, [file], [path], some, np.zeros(len(some), np.int64), responses.offsets[some],
            responses.lengths[some], counts, output,
        )  # fmt: skip
        batch = gather_rollouts(task)
        scores = batch.scores
        said[f"batch {number}"] = (
            output.read_bytes(), batch.bytes, batch.refused, batch.responses.tolist(),
            dict(batch.notes), batch.lengths.tolist(), (scores.flat + 0.0).tobytes(),  # -0 as 0
            scores.counts.tolist(), scores.prompts.tolist(),
        )  # fmt: skip
    return said


def both(path: Path, form: Format, steps: Steps = Steps()) -> tuple[Any, Any]:  # noqa: B008
    """What is said of a dump with the scanner, and without it."""
    scanned = grouped(path, form, steps)
    with patch.dict(os.environ, {SWITCH: "1"}):
        return scanned, grouped(path, form, steps)


@needs_scanner
@pytest.mark.parametrize("variant", VARIANTS)
@settings(
    max_examples=int(os.environ.get("EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(data=st.data())
def test_the_scanner_changes_nothing(variant: str, data: st.DataObject) -> None:
    form = VARIANTS[variant]
    steps = data.draw(st.sampled_from([Steps(), Steps(2, None)])) if form.step else Steps()
    with TemporaryDirectory() as directory:
        path = Path(directory, "d.jsonl")
        path.write_bytes(data.draw(dumps(FIELDS[form.name])))
        scanned, plain = both(path, form, steps)
    assert scanned == plain


@needs_scanner
@pytest.mark.parametrize("content", ["0", "12", "1.5", '"abc"', '""'])
def test_content_that_holds_no_prompt_is_no_group(tmp_path: Path, content: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(f'{{"content": {content}, "rewards": null, "idx": null}}\n')
    scanned, plain = both(path, FORMATS["nemo-rl"], Steps())
    assert scanned == plain


@needs_scanner
@pytest.mark.parametrize("case", CASES)
def test_usual_lines_are_not_declined(tmp_path: Path, case: str) -> None:
    name, (lines, rollouts) = CASES[case]
    path = write_jsonl(tmp_path / "d.jsonl", lines)
    text = path.read_bytes()
    places = index_fields(text, len(text), sorted(FORMATS[name].marks))
    assert places is not None and not len(places.declined)
    declined = Counter[str]()

    scan = GroupScanner.scan

    def count(self: GroupScanner, *groups: Any) -> Any:
        found = scan(self, *groups)
        declined[name] += int((found.sizes == 0).sum())
        return found

    with patch.object(GroupScanner, "scan", count):
        grouped(path, FORMATS[name])
    in_python = {"traces": len(rollouts), "nemo-gym": len(rollouts)}
    assert declined == {name: in_python.get(name, 0)}


@needs_scanner
def test_scores_and_prompts_of_rollouts_are_what_a_scan_would_find(tmp_path: Path) -> None:
    for name, (lines, _) in CASES.values():
        path = write_jsonl(tmp_path / "d.jsonl", lines)
        said = grouped(path, FORMATS[name])["batch 0"]
        read = ScoreReader("score").read_block(Block(bytearray(said[0]), len(said[0])))
        assert ((read.flat + 0.0).tobytes(), read.counts.tolist(), read.prompts.tolist()) == said[
            6:
        ]


@needs_scanner
@given(
    st.sampled_from([f"{UIDS[0]}_1_0", f"{UIDS[1]}_12_345", UIDS[0], f"{UIDS[0]}_1", ""]),
    st.integers(0, 45),
    st.text("0123456789abcdefgABF-_ ", max_size=2),
    st.booleans(),
)
@example(f"{UIDS[0]}_1_0", 14, "5", False)
@example(f"{UIDS[0]}_1_0", 19, "7", False)
@example(f"{UIDS[0]}_1_0", 19, "c", False)
def test_the_form_of_a_uid_is_what_python_reads(
    uid: str, at: int, changed: str, added: bool
) -> None:
    uid = uid[:at] + changed + uid[at + len(changed) * (not added) :]
    line = b'{"uid": "%b", "group": "%b"}' % (uid.encode(), group_of_uid(uid).encode())
    places = index_fields(line, len(line), ["uid", "group"])
    assert places is not None
    here = np.zeros(1, np.int64)
    assert places.hashes("uid", here, VERL_UID_FORM) == places.hashes("group", here)


WORDS = st.lists(
    st.one_of(st.sampled_from([*SHAPE_MARKS, *(t.mark for t in TEMPLATES), "user\n", "assistant\n",
                               "\n", "<", "|", "system\n", "<think>\n", "</think>\n\n"]),
              st.text(max_size=4)),
    max_size=4,
).map("".join)  # fmt: skip


@given(st.sampled_from([
    "user\n{}\nassistant\n", "system\nBe brief.\nuser\n{}\nassistant\n<think>\n",
    "<|im_start|>system\nBe.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<bos><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n",
    "<｜begin▁of▁sentence｜>Be.<｜User｜>{}<｜Assistant｜><think>\n",
]), WORDS)  # fmt: skip
def test_words_without_marks_are_read_as_the_shape_says(template: str, words: str) -> None:
    shape = shape_of(template.format("2+2?"))
    assert shape is not None
    text = template.format(words)
    first, after = len(shape.before), len(shape.before) + len(words)
    touched = any(
        text.startswith(mark, at) and at < after and at + len(mark) > first
        for mark in SHAPE_MARKS
        for at in range(len(text))
    )
    if words.strip() and not touched:
        assert read_template(text) == ([*shape.turns, ("user", words)], shape.opened)
