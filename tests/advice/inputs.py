"""Input that cannot be read as it is, one of each kind: six prompts with two responses each."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import feather

Write = Callable[[], object]

PROMPTS = [f"What is {i}+{i}?" for i in range(6)]
SCORES = [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.25, 0.5], [1.0, 0.0], [0.75, 0.5]]
OWN = [
    {"prompt": prompt, "responses": ["a", "b"], "reward": scores, "ground_truth": "a"}
    for prompt, scores in zip(PROMPTS, SCORES, strict=True)
]
ONE = [
    {"prompt": prompt, "response": f"{j}", "reward": scores[j]}
    for j in range(2)
    for prompt, scores in zip(PROMPTS, SCORES, strict=True)
]
TEXT = "".join(json.dumps(line) + "\n" for line in OWN)
INDENTED = json.dumps(OWN, indent=2)
PASSED = {
    prompt: [float(s >= 0.5) for s in scores]
    for prompt, scores in zip(PROMPTS, SCORES, strict=True)
}


def renamed(lines: Iterable[dict[str, Any]], **names: str) -> list[dict[str, Any]]:
    """Lines with other names for their fields; a name of none leaves the field out."""
    return [
        {names.get(name, name): value for name, value in line.items() if names.get(name) != ""}
        for line in lines
    ]


def text(name: str, content: str | bytes) -> Write:
    def write() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def lines(name: str, found: Iterable[dict[str, Any]]) -> Write:
    return text(name, "".join(json.dumps(line) + "\n" for line in found))


def parquet(name: str, rows: list[dict[str, Any]]) -> Write:
    def write() -> None:
        Path(name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), name)

    return write


def arrow_stream(name: str) -> Write:
    def write() -> None:
        table = pa.Table.from_pylist(OWN)
        with pa.OSFile(name, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)

    return write


def archive(name: str) -> Write:
    def write() -> None:
        text("made/run/a.jsonl", TEXT)()
        if name.endswith(".zip"):
            with zipfile.ZipFile(name, "w") as made:
                made.write("made/run/a.jsonl", "run/a.jsonl")
        else:
            with tarfile.open(name, "w:gz") as packed:
                packed.add("made/run/a.jsonl", "run/a.jsonl")

    return write


def lz4(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "lz4") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def table(delimiter: str) -> str:
    head = delimiter.join(ONE[0])
    cells = ([row["prompt"], row["response"], str(row["reward"])] for row in ONE)
    return "\n".join([head, *map(delimiter.join, cells)]) + "\n"


def spoken(turns: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"from": who, "value": what} for who, what in turns]


ASKED = [{"role": "user", "content": prompt} for prompt in PROMPTS]


def talk(line: dict[str, Any]) -> list[dict[str, str]]:
    answer = {"role": "assistant", "content": line["response"]}
    return [{"role": "user", "content": line["prompt"]}, answer]


# Prompts that no flag takes as they are.
TALKS = [
    {"conversations": spoken([("human", line["prompt"]), ("gpt", "a")]), "scores": line["reward"]}
    for line in OWN
]

# By name: how to write it, the paths to give, and what the message says, in this order.
OTHER_KINDS: dict[str, tuple[Write, str, list[str]]] = {
    "arrow stream": (arrow_stream("d.arrow"), "d.arrow", ["this is an Arrow stream"]),
    "feather": (
        lambda: feather.write_feather(pa.Table.from_pylist(OWN), "f.feather"),
        "f.feather",
        ["this is an Arrow or Feather file"],
    ),
    "json object by id": (
        text("a.json", json.dumps(dict(enumerate(OWN)), indent=1)),
        "a.json",
        ["a.json: this is a JSON object that holds the rollouts"],
    ),
    "csv": (
        text("t.csv", table(",")),
        "t.csv",
        ["this is a CSV file", "prompt: text, response: text, reward: text.\n", "one response"],
    ),
    "csv named jsonl": (text("t.jsonl", table(",")), "t.jsonl", ["this is a CSV file"]),
    "tsv": (text("t.tsv", table("\t")), "t.tsv", ["this is a TSV file"]),
    "python": (
        text("p.jsonl", "".join(f"{line!r}\n" for line in OWN)),
        "p.jsonl",
        ["this is a file of Python dicts, not JSON"],
    ),
    "utf-16": (text("u.jsonl", TEXT.encode("utf-16")), "u.jsonl", ["this is text in UTF-16"]),
    "utf-16 without a mark": (
        text("u.jsonl", TEXT.encode("utf-16-le")), "u.jsonl", ["this is text in UTF-16"],
    ),
    "xz": (text("x.jsonl.xz", lzma.compress(TEXT.encode())), "x.jsonl.xz", ["this is an xz file"]),
    "zip": (archive("z.zip"), "z.zip", ["this is a zip archive", "unpack it, then bucket:\n"]),
    "tar": (archive("t.tar.gz"), "t.tar.gz", ["this is a tar archive"]),
    "gzip named jsonl": (
        text("g.jsonl", gzip.compress(TEXT.encode())),
        "g.jsonl",
        ["g.jsonl: this is gzip data with another name, expected rollouts;\n",
         "rename it, then bucket:\n\nmv -i g.jsonl g.jsonl.gz &&\n"],
    ),
    "bz2 named jsonl": (
        text("g.jsonl", bz2.compress(TEXT.encode())), "g.jsonl", ["this is bz2 data"],
    ),
    "zstd named jsonl": (
        text("g.jsonl", bytes(pa.Codec("zstd").compress(TEXT.encode()))),
        "g.jsonl",
        ["this is zstd data"],
    ),
    "lz4 named jsonl": (text("g.jsonl", lz4(TEXT.encode())), "g.jsonl", ["this is lz4 data"]),
    "a directory of gzip named jsonl": (
        lambda: [
            text(f"d/{i}.jsonl", gzip.compress(json.dumps(OWN[i]).encode()))() for i in range(6)
        ],
        "d",
        ["gzip data with another name (one of 6 such files)", "for f in d/*.jsonl; do mv -i"],
    ),
    "text named gz": (
        text("g.jsonl.gz", TEXT), "g.jsonl.gz", ["this is plain text, although its name says gzip"],
    ),
    "a directory of directories": (
        lambda: [text(f"d/step_{i}/a.jsonl", json.dumps(OWN[i]))() for i in range(6)],
        "d",
        ["d: holds no rollout files itself, but 6 lie in directories inside it, expected rollouts",
         "take these, too:", "-i d -o out", "--recursive"],
    ),
    "directories two levels down": (
        lambda: text("d/run/step_1/a.jsonl", TEXT)(), "d", ["but 1 lie in", "--recursive"],
    ),
    "a typing error": (
        text("rollouts/a.jsonl", TEXT), "rolouts", ["no such file or directory", "-i rollouts -o"],
    ),
}  # fmt: skip

OTHER_FIELDS: dict[str, tuple[Write, str, list[str]]] = {
    "scalar reward": (
        lines("r.jsonl", renamed(ONE, response="completion")),
        "r.jsonl",
        ["r.jsonl:1: reward is not a list: it is 0.0, expected one entry per response;",
         "the line has prompt: text, completion: text, reward: number.\n",
         "Each line is one response; group them by the prompt:\n",
         "--format custom --response-field completion --group-by prompt"],
    ),
    "scalar score and question": (
        lines("r.jsonl", renamed(ONE, prompt="question", response="output", reward="score")),
        "r.jsonl",
        ['r.jsonl:1: no "reward"', "question: text, output: text, score: number.\n"],
    ),
    "scalar score in an object": (
        lines("r.jsonl", [row | {"reward": {"score": row["reward"], "format": 1}} for row in ONE]),
        "r.jsonl",
        ["it is an object", "reward: object (score, format).", "--score-field reward.score"],
    ),
    "scalar score as text": (
        lines("r.jsonl", [line | {"reward": str(line["reward"])} for line in ONE]),
        "r.jsonl",
        ["reward: text.", "--format custom --group-by prompt"],
    ),
    "no prompt but an id": (
        lines("r.jsonl", [line | {"id": PROMPTS.index(line["prompt"])} for line in ONE]),
        "r.jsonl",
        ["group them by the prompt"],
    ),
    "a conversation with the answer in it": (
        lines("r.jsonl", [{"messages": talk(line), "reward": line["reward"]} for line in ONE]),
        "r.jsonl",
        ["messages: list of 2 messages, reward: number.", "row['messages'][-1]['content']"],
    ),
    "a prompt with the answer in it": (
        lines("r.jsonl", [{"prompt": talk(line), "score": line["reward"]} for line in ONE]),
        "r.jsonl",
        ["row['messages'] = row.pop('prompt')"],
    ),
    "a shared conversation with a score": (
        lines(
            "r.jsonl",
            [
                {"conversations": spoken([("human", line["prompt"]), ("gpt", line["response"])]),
                 "score": line["reward"]}
                for line in ONE
            ],
        ),
        "r.jsonl",
        ["conversations: list of 2 objects (from, value), score: number."],
    ),
    "no response": (
        lines("r.jsonl", renamed(ONE, response="", reward="score")),
        "r.jsonl",
        ["prompt: text, score: number.", "row['reward'] = [row['score']]"],
    ),
    "parquet with one response a row": (
        parquet("r.parquet", ONE),
        "r.parquet",
        ["r.parquet:1: reward is not a list: it is 0.0",
         "prompt: text, response: text, reward: number.\n",
         "Each line is one response; group them by the prompt:\n"],
    ),
    "parquet with other names": (
        parquet("r.parquet", renamed(OWN, reward="rewards")),
        "r.parquet",
        ['r.parquet:1: no "reward"', "-i r.parquet", "--score-field rewards"],
    ),
    "parquet with conversations": (
        lambda: [parquet(f"d/{i}.parquet", TALKS[i : i + 1])() for i in range(6)],
        "d",
        ['d/0.parquet:1: no "reward"', "pq.ParquetFile(file)", " d/*.parquet > converted"],
    ),
    "an array of conversations": (
        text("a.json", json.dumps(TALKS, indent=2)),
        "a.json",
        ['a.json:1: no "reward"', "json.load(open(file, 'rb')):"],
    ),
    "a list of conversations in an object": (
        text("a.json", json.dumps({"model": "m", "items": TALKS})),
        "a.json",
        ['a.json:1: no "reward"', "['items']"],
    ),
    "indented conversations": (
        text("a.jsonl", "\n".join(json.dumps(line, indent=2) for line in TALKS)),
        "a.jsonl",
        ['a.jsonl:1: no "reward"', "split("],
    ),
    "rewards": (
        lines("r.jsonl", renamed(OWN, reward="rewards")),
        "r.jsonl",
        ["rewards: list of 2 numbers", "--score-field rewards --format custom"],
    ),
    "scores, completions and question": (
        lines("r.jsonl", renamed(OWN, reward="scores", responses="completions", prompt="question")),
        "r.jsonl",
        ["the line has question: text, completions: list of 2 texts, scores: list of 2 numbers,\n",
         "ground_truth: text.\n", "Each line is a rollout; say where its lists are:\n",
         "--format custom --prompt-field question --response-field completions"],
    ),
    "outputs": (
        lines("r.jsonl", renamed(OWN, reward="scores", responses="outputs")),
        "r.jsonl",
        ["--response-field outputs"],
    ),
    "conversations": (
        lines("r.jsonl", TALKS),
        "r.jsonl",
        ["conversations: list of 2 objects (from, value)", "roles.get(t['from']"],
    ),
    "scores in objects": (
        lines("r.jsonl", [line | {"reward": [{"V_i": s} for s in line["reward"]]} for line in OWN]),
        "r.jsonl",
        ["none of the 6 rollouts has a score in reward[i].score, expected numbers there;\n",
         "an entry of reward has V_i: number. Take its V_i:\n", "--score-field V_i"],
    ),
    "scores as text": (
        lines("r.jsonl", [line | {"reward": [*map(str, line["reward"])]} for line in OWN]),
        "r.jsonl",
        ['r.jsonl:1: a score is not a number: reward[0] is "0.0", expected a number;',
         "--score-field reward --format custom"],
    ),
    "other names of one's own": (
        lines("r.jsonl", renamed(OWN, reward="how_good", responses="samples")),
        "r.jsonl",
        ["--score-field how_good"],
    ),
}  # fmt: skip

GRADED: dict[str, tuple[Write, str, list[str]]] = {
    "correct": (
        lines(
            "r.jsonl",
            [
                {"problem": prompt, "generations": ["a", "b"], "correct": [s > 0 for s in passed]}
                for prompt, passed in PASSED.items()
            ],
        ),
        "r.jsonl",
        ["generations: list of 2 texts, correct: list of 2 bools.",
         "--prompt-field problem --response-field generations"],
    ),
    "one grade a line": (
        lines(
            "r.jsonl",
            [
                {"problem": prompt, "generation": f"{i}", "is_correct": score > 0}
                for prompt, passed in PASSED.items()
                for i, score in enumerate(passed)
            ],
        ),
        "r.jsonl",
        ["is_correct: bool.", "--score-field is_correct"],
    ),
    "grades in words": (
        lines(
            "r.jsonl",
            [
                {"question": prompt, "attempt": f"{i}", "grade": "Yes" if score else "No"}
                for prompt, passed in PASSED.items()
                for i, score in enumerate(passed)
            ],
        ),
        "r.jsonl",
        ["grade: text.", "--score-map Yes=1 No=0"],
    ),
    "grades of a scorer": (
        lines(
            "r.jsonl",
            [
                {"id": i, "epoch": j, "input": prompt, "output": "x",
                 "scores": {"match": {"value": "C" if score else "I"}}}
                for i, (prompt, passed) in enumerate(PASSED.items())
                for j, score in enumerate(passed)
            ],
        ),
        "r.jsonl",
        ["scores: object (match).", "--score-field scores.match.value --score-map C=1 I=0"],
    ),
}  # fmt: skip
