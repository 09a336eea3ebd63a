"""Lines to begin with: sample rollouts, real ones, where they are, and those of odd shapes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from examples.generate_rollouts import make_rollout
from tests.scanner.invented import DECLINED, MIXED, READ
from tests.torture.mutate import mutate, some_lines

# What a line is made of, for libFuzzer to put in.
WORDS = (
    b'"reward":[', b'"score":', b'"prompt":', b'"messages":[', b'"role":"user"', b'"content":"',
    b'"responses":["', b'"assistant"', b'{"', b'":', b'"}', b'"],', b"}]", b'\\"', b"\\\\", b"\\n",
    b'"question":"', b'"outputs":["', b'"grades":[', b'"gold":',
    b"\\u00e9", b"\\ud83d\\ude00", b"\\ud800", b"null", b"true", b"false", b"NaN", b"-0.5", b"1e-3",
    b"9007199254740993", b"\xc3\xa9", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r\n", b"\t",
)  # fmt: skip

# Two responses to a prompt, one with a list of messages, as dumps have them.
RESPONSES = (
    b'{"uid":"a8_1","input":"user\\nq \\u00e9\\nassistant\\n","output":"a","gts":"4","score":1,'
    b'"step":1,"end":"stop","x":{"y":[1]}}\n'
    b'{"uid":"a8_2","input":"user\\nq \\u00e9\\nassistant\\n","output":[{"role":"assistant",'
    b'"content":"b"}],"gts":"4","score":0.25,"step":1,"end":"length","x":{"y":[1]}}\n'
    b'{"input":[{"role":"user","content":"p"}],"output":null,"gts":null,"score":null}\n'
)
# Rollouts with lists of responses and scores.
LISTS = (
    b'{"id":"a","question":"q \\u00e9","outputs":["x","\\n"],"grades":[1,null],"gold":"4"}\n'
    b' { "grades" : [ true ] , "outputs" : [ "x" ], "question" : "q", "status" : null }\r\n'
    b'{"question":"<|","outputs":[],"grades":[]}\n'
    b'{"question":"q","outputs":["x"],"grades":[1,0],"id":7}'
)


def inputs(directory: Path) -> Iterator[bytes]:
    """One or more lines each, most of them short; `directory` is room to work in."""
    yield MIXED
    yield RESPONSES
    yield LISTS
    yield from READ
    yield from (line for line in DECLINED if len(line) < 4_000)
    for number in range(3):
        yield json.dumps(make_rollout(number, responses=2, seed=0)).encode()
    chosen = random.Random(0)
    for lines in some_lines(directory):
        short = sorted(lines, key=len)[:20]
        yield from short[::4]
        yield from (mutate(short, chosen) for _ in range(10))


def write_inputs(directory: Path) -> list[Path]:
    """A file for each of the inputs."""
    directory.mkdir()
    paths = []
    for number, text in enumerate(inputs(directory)):
        paths.append(directory / f"{number:03}")
        paths[-1].write_bytes(text)
    return paths


def write_words(path: Path) -> None:
    """The words as a dictionary of libFuzzer."""
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in WORDS)
    path.write_text("".join(f'"{word}"\n' for word in escaped))
