#!/usr/bin/env python3
"""Whether a tool did the job: what it wrote → how well it kept the rollouts, or why it failed.

The truth is computed here, in plain Python, and owes nothing to any tool. Every key is looked up in
every file that was written; values are compared on a sample of the lines.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

BUCKETS = ("easy", "medium", "hard")
SAMPLE = 100
# Of a rollout that was gathered, the key is the first part of its group's: "[\"key\",1]".
KEY = re.compile(rb'"key": ?"(?:\[\\")?([^"\\]+)')

Digest: TypeAlias = tuple[int, int]  # how many keys, and a sum of their hashes: order is free


class CheckError(Exception):
    """What a tool wrote is not what it should have written."""


def digest_keys(keys: Iterable[bytes]) -> Digest:
    """Equal for the same keys in any order, and a key that is there twice counts twice."""
    count = total = 0
    for key in keys:
        count += 1
        total += int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
    return count, total % 2**64


def read_lines(paths: Iterable[Path]) -> Iterator[bytes]:
    """The lines of some files."""
    for path in paths:
        with path.open("rb", buffering=1 << 20) as stream:
            yield from stream


def key_of(line: bytes) -> bytes:
    """The key of a rollout, which lies near the start of its line."""
    found = KEY.search(line)
    if found is None:
        raise CheckError(f"a line has no key: {line[:80]!r}")
    return found[1]


def expected_buckets(source: Path) -> dict[str, Digest]:
    """The rollouts of each bucket: a third of them each, those of the highest mean score first."""
    means = {}
    for line in read_lines(source.glob("*.jsonl")):
        rollout = json.loads(line)
        means[rollout["key"].encode()] = statistics.fmean(r["score"] for r in rollout["reward"])
    ordered = sorted(means, key=lambda key: means[key], reverse=True)
    third = len(ordered) // 3
    return {
        name: digest_keys(ordered[i * third : (i + 1) * third]) for i, name in enumerate(BUCKETS)
    }


def load_expected(path: Path, source: Path) -> dict[str, Digest]:
    """What `expected_buckets` says, kept in `path`."""
    if not path.exists():
        path.write_text(json.dumps(expected_buckets(source)))
    return {name: (count, total) for name, (count, total) in json.loads(path.read_text()).items()}


def check_keys(target: Path, expected: dict[str, Digest]) -> list[bytes]:
    """A sample of the lines of each bucket. Raises CheckError for a rollout that is not in its
    bucket."""
    written: list[bytes] = []
    for name in BUCKETS:
        with (target / f"{name}.jsonl").open("rb", buffering=1 << 20) as stream:
            if digest_keys(map(key_of, stream)) != expected[name]:
                raise CheckError(f"{name}.jsonl does not hold the rollouts that it should")
            stream.seek(0)
            written += islice(stream, SAMPLE)
    return written


def check_bucketing(source: Path, target: Path, expected: dict[str, Digest]) -> str:
    """How a tool kept the lines: byte for byte, or as other JSON of the same values, or not.

    Raises CheckError for a rollout that is not in its bucket.
    """
    written = check_keys(target, expected)
    originals = find_lines(source.glob("*.jsonl"), map(key_of, written))
    if all(originals[key_of(line)].rstrip() == line.rstrip() for line in written):
        return "bytes"
    changed = {
        field
        for line in written
        for field in _changed_fields(json.loads(originals[key_of(line)]), json.loads(line))
    }
    return f"changes {', '.join(sorted(changed))}" if changed else "values"


def check_gathering(source: Path, target: Path, expected: dict[str, Digest]) -> str:
    """Raises CheckError for a rollout that is not in its bucket, or where one of the sample has not
    the responses of the dump with their scores."""
    written = check_keys(target, expected)
    found = {key_of(line).decode(): json.loads(line) for line in written}
    given: dict[str, list[dict[str, Any]]] = {key: [] for key in found}
    for line in read_lines(sorted(source.glob("*.jsonl"))):
        response = json.loads(line)
        given.get(response["uid"].rsplit("_", 2)[0], []).append(response)
    for key, rollout in found.items():
        texts = [choice["message"]["content"] for choice in rollout["response"]["choices"]]
        scores = [reward["score"] for reward in rollout["reward"]]
        if texts != [response["output"] for response in given[key]]:
            raise CheckError(f"{key} has other responses")
        if scores != [response["score"] for response in given[key]]:
            raise CheckError(f"{key} has other scores")
        if rollout["ground_truth"] != given[key][0]["gts"]:
            raise CheckError(f"{key} has another ground truth")
    return "values"


def _changed_fields(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name in before if name not in after or before[name] != after[name]}


def find_lines(paths: Iterable[Path], keys: Iterable[bytes]) -> dict[bytes, bytes]:
    """The lines of some rollouts, by key."""
    wanted = set(keys)
    return {key: line for line in read_lines(paths) if (key := key_of(line)) in wanted}


def check_preprocessing(source: Path, target: Path, expected: dict[str, Digest]) -> str:
    """Raises CheckError where a row is missing, or where one of the sample has other values."""
    index: list[int] = []
    for stage, name in enumerate(BUCKETS):
        keys: list[bytes] = []
        sample: list[tuple[str, Any]] = []
        for split, share in (("train", 0.95), ("val", 0.05)):
            table = _read_parquet(target / f"{name}_{split}.parquet")
            info = table["extra_info"].combine_chunks()
            keys += (key.encode() for key in info.field("key").to_pylist())
            index += info.field("index").to_pylist()
            _check_share(f"{name}_{split}", len(table), expected[name][0], share)
            sample += ((split, row) for row in table.slice(0, SAMPLE).to_pylist())
        if digest_keys(keys) != expected[name]:
            raise CheckError(f"{name}: the rows are not those of the bucket")
        _check_rows(source / f"{name}.jsonl", sample, (name, stage))
    if sorted(index) != list(range(len(index))):
        raise CheckError("extra_info.index does not count the rows")
    return "values"


def _read_parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(path)


def _check_share(name: str, rows: int, of: int, share: float) -> None:
    slack = 5 * math.sqrt(share * (1 - share) / of) + 1 / of
    if abs(rows / of - share) > slack:
        raise CheckError(f"{name} has {rows:,} of {of:,} rows, expected {share:.0%}")


def _check_rows(path: Path, sample: list[tuple[str, Any]], stage: tuple[str, int]) -> None:
    lines = find_lines([path], (row["extra_info"]["key"].encode() for _, row in sample))
    for split, row in sample:
        info = row["extra_info"]
        info["best_response"]["reward"] = json.loads(info["best_response"]["reward"])
        wanted = expected_row(json.loads(lines[info["key"].encode()]), split, stage)
        wanted["extra_info"]["index"] = info["index"]
        if found := difference(wanted, row):
            raise CheckError(f"{path.stem}, {info['key']}: {found}")


def expected_row(rollout: dict[str, Any], split: str, stage: tuple[str, int]) -> dict[str, Any]:
    """The row of one rollout, with the best reward as an object; its index is left out."""
    scores = [reward["score"] for reward in rollout["reward"]]
    best = scores.index(max(scores))
    mean = statistics.fmean(scores)
    return {
        "data_source": "bucketed_curriculum",
        "prompt": rollout["prompt"],
        "ability": "instruction_following",
        "reward_model": {"style": "rule", "ground_truth": rollout["ground_truth"]},
        "extra_info": {
            "split": split,
            "key": rollout["key"],
            "curriculum_stage": stage[0],
            "curriculum_stage_index": stage[1],
            "difficulty_metrics": {
                "metric": "mean_reward",
                "value": mean,
                "mean_score": mean,
                "max_score": max(scores),
                "min_score": min(scores),
                "score_variance": statistics.variance(scores),
                "success_rate": sum(score >= 0.5 for score in scores) / len(scores),
                "num_responses": len(scores),
            },
            "best_response": {
                "index": best,
                "score": scores[best],
                "content": rollout["response"]["choices"][best]["message"]["content"],
                "reward": rollout["reward"][best],
            },
            **rollout["extra_info"],
        },
    }


def difference(expected: Any, found: Any, where: str = "row") -> str | None:
    """The first place where two values differ in type or value, floats at nine digits."""
    if type(expected) is not type(found):
        return f"{where} is a {type(found).__name__}, expected a {type(expected).__name__}"
    if isinstance(expected, dict):
        if expected.keys() != found.keys():
            return f"{where} has {sorted(found)}, expected {sorted(expected)}"
        pairs = [(f"{where}.{name}", value, found[name]) for name, value in expected.items()]
    elif isinstance(expected, list):
        if len(expected) != len(found):
            return f"{where} has {len(found)} entries, expected {len(expected)}"
        both = zip(expected, found, strict=True)
        pairs = [(f"{where}[{i}]", value, other) for i, (value, other) in enumerate(both)]
    elif isinstance(expected, float):
        same = math.isclose(expected, found, rel_tol=1e-9, abs_tol=1e-12)
        return None if same else f"{where} is {found!r}, expected {expected!r}"
    else:
        return None if expected == found else f"{where} is {found!r}, expected {expected!r}"
    return next((d for at, value, other in pairs if (d := difference(value, other, at))), None)


CHECKS = {
    "bucketing": check_bucketing,
    "gathering": check_gathering,
    "preprocessing": check_preprocessing,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Print how the rollouts were kept; exit code 1, with the reason, if they were not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=CHECKS)
    parser.add_argument("source", type=Path, help="what the tool read")
    parser.add_argument("target", type=Path, help="what the tool wrote")
    parser.add_argument("expected", type=Path, help="keeps the truth from one call to the next")
    parser.add_argument("--rollouts", type=Path, help="what a dump was made from")
    flags = parser.parse_args(argv)
    try:
        expected = load_expected(flags.expected, flags.rollouts or flags.source)
        print(CHECKS[flags.what](flags.source, flags.target, expected))
    except (CheckError, OSError) as error:
        print(f"error: {type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
