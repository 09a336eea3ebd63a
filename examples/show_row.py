#!/usr/bin/env python3
"""Show some rows of a bucket file or a parquet file: prompt, scores, best and worst response.

Which rows, --seed decides. Long texts are shortened. A parquet file holds the best response and
no other.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

# From a checkout the package is not installed; it lies one directory up.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from curriculum.cli import run
from curriculum.display.excerpts import columns, shorten, wrap
from curriculum.errors import InputError, UsageError, plural
from curriculum.output.manifests import BucketingManifest, load_manifest, whole_name
from curriculum.reading.blocks import read_blocks
from curriculum.reading.find_files import find_files
from curriculum.reading.input_files import Shard
from curriculum.reading.lines import Malformed, is_blank, load_object
from curriculum.reading.rollouts import best_index

EPILOG = """examples:
  python examples/show_row.py bucketed/hard.jsonl
  python examples/show_row.py preprocessed/hard_train.parquet --rows 1
  python examples/show_row.py preprocessed --bucket easy
"""
WIDTH = 100
LABEL = 13  # columns of the labels on the left
MOST_MESSAGES = 4


@dataclass(frozen=True)
class Asked:
    """Which rows to show: how many, of which bucket (None: of any), drawn by which seed."""

    rows: int
    bucket: str | None
    seed: int


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError where flags are wrong."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(
            message.removeprefix("argument "), fix=f"{self.prog} --help lists the flags"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Show the rows; the exit code."""
    debug = "--debug" in (sys.argv if argv is None else argv)
    return run(lambda: ("\n".join(show(argv)), []), quiet=False, debug=debug)


def show(argv: Sequence[str] | None) -> Iterator[str]:
    """The lines to print for these flags. Raises InputError and UsageError."""
    flags = build_parser().parse_args(argv)
    if flags.rows < 1:
        raise UsageError(
            f"the number is {flags.rows}", where="--rows", expected="1 or more", fix="raise it"
        )
    asked = Asked(flags.rows, flags.bucket, flags.seed)
    path = choose_file(Path(flags.file), asked)
    return show_parquet(path, asked) if path.suffix == ".parquet" else show_rollouts(path, asked)


def build_parser() -> Parser:
    """The flags."""
    parser = Parser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument(
        "file", metavar="FILE", help="a bucket file (.jsonl), a parquet file, or with --bucket the "
        "directory of either",
    )  # fmt: skip
    parser.add_argument(
        "--rows", type=int, default=3, metavar="N", help="how many rows (default: 3)"
    )
    parser.add_argument(
        "--bucket", metavar="NAME", help="only rows of this bucket, such as easy (default: any)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another seed, other rows (default: 0)"
    )
    parser.add_argument("--debug", action="store_true", help="show a traceback with an error")
    return parser


def choose_file(path: Path, asked: Asked) -> Path:
    """The file to show: the path itself, or the file of the bucket in that directory."""
    if not path.exists():
        there = [file.name for file in path.parent.glob("*")]
        close = get_close_matches(path.name, there, 1)
        raise InputError(
            "no such file or directory",
            where=path,
            expected="a bucket file or a parquet file",
            fix=f"did you mean {path.parent / close[0]}?" if close else "check the path",
        )
    if not path.is_dir():
        return path
    files = {
        name: file
        for ending in ("_train.parquet", ".jsonl")
        for file in sorted(path.glob(f"*{ending}"))
        if not (name := file.name.removesuffix(ending)).startswith(".")
    }
    if not files:
        raise InputError(
            "this directory holds neither bucket files nor train sets",
            where=path,
            expected="the output directory of one of the scripts",
            fix="check the path",
        )
    if asked.bucket is None:
        raise InputError(
            "this is a directory",
            where=path,
            expected="a file in it, or --bucket with one of " + ", ".join(files),
            fix=f"name one, such as {next(iter(files.values()))}",
        )
    check_bucket(asked.bucket, files, path)
    return files[asked.bucket]


def check_bucket(name: str, there: Iterable[str], path: Path) -> None:
    """Raise InputError unless the bucket is there."""
    names = list(there)
    if name not in names:
        close = get_close_matches(name, names, 1)
        mean = f"did you mean {close[0]}? Otherwise leave" if close else "leave"
        raise InputError(
            f"there is no bucket {name!r}",
            where=path,
            expected="one of " + ", ".join(names) if names else "rows that name their bucket",
            fix=f"{mean} out --bucket, or name another file",
        )


# Bucket files


def show_rollouts(path: Path, asked: Asked) -> Iterator[str]:
    """The lines to print for a file of rollouts."""
    if not {".jsonl", ".ndjson"}.intersection(path.suffixes):
        raise InputError(
            "this is neither a bucket file nor a parquet file",
            where=path,
            expected="a name that ends in .jsonl or .parquet",
            fix="name another file",
        )
    manifest = load_manifest(path.parent, BucketingManifest)
    name = whole_name(path.name).partition(".jsonl")[0]
    if asked.bucket is not None:
        check_bucket(asked.bucket, [name], path)
    count, drawn = draw_lines(path, asked)
    yield headline(path, count, "line", len(drawn), asked)
    for number, line in drawn:
        try:
            rollout = load_object(line)
        except Malformed as error:
            yield from rule(f"line {number}")
            yield from field("malformed", str(error))
            continue
        yield from rule(f"line {number}", key=rollout.get("key"), bucket=name if manifest else None)
        yield from show_rollout(rollout, manifest)


def show_rollout(rollout: Mapping[str, Any], manifest: BucketingManifest | None) -> Iterator[str]:
    """The lines to print for a rollout; all fields of what is none."""
    if not isinstance(rollout.get("reward"), list):
        yield "This is no rollout: it has no reward, a list with an entry for each response."
        for name, value in rollout.items():
            yield from field(name, as_text(value), 4)
        return
    yield from show_prompt(rollout.get("prompt") or rollout.get("messages"))
    truth = rollout.get("ground_truth")
    if truth is None and isinstance(rollout.get("reward_model"), dict):
        truth = rollout["reward_model"].get("ground_truth")
    yield from field("truth", "none" if truth is None else as_text(truth), 2)
    if manifest is None:
        yield from show_scores(rollout, "score", 0.5)
    else:
        yield from show_scores(rollout, manifest.metric.score_field, manifest.metric.pass_threshold)


def draw_lines(path: Path, asked: Asked) -> tuple[int, list[tuple[int, bytes]]]:
    """How many lines a file has, and some drawn at random, with their numbers, in order. Blank
    lines do not count. The file is read once, and only the drawn lines are kept."""
    (file,) = find_files({str(path): path})
    chosen, count, number = random.Random(asked.seed), 0, 0
    drawn: list[tuple[int, bytes]] = []
    for block in read_blocks(Shard(file, file.bom_bytes, file.size)):
        for line in block.lines():
            number += 1
            if is_blank(line):
                continue
            at = count if count < asked.rows else chosen.randrange(count + 1)
            count += 1
            if at < asked.rows:
                drawn[at : at + 1] = [(number, bytes(line))]
    if not drawn:
        raise no_rows(path)
    return count, sorted(drawn)


def no_rows(path: Path) -> InputError:
    """The error for a file in which there is nothing to show."""
    return InputError("this file is empty", where=path, expected="rows", fix="name another one")


def show_scores(rollout: Mapping[str, Any], score_field: str, threshold: float) -> Iterator[str]:
    """The scores of a rollout, and the responses with the best and with the worst of them."""
    entries = [e.get(score_field) if isinstance(e, dict) else e for e in rollout["reward"]]
    scores = list(map(read_score, entries))
    present = [score for score in scores if score is not None]
    text = " ".join("-" if score is None else f"{score:.4g}" for score in scores) or "none"
    yield from field("scores", text, 3)
    if not present:
        yield from field("", f"no {score_field} in any of {plural(len(scores), 'reward')}")
        return
    passes = sum(score >= threshold for score in present)
    missing = f", {len(scores) - len(present)} missing (-)" if len(present) < len(scores) else ""
    mean = math.fsum(present) / len(present)
    yield from field("", f"mean {mean:.4g}, {passes} of {len(present)} pass{missing}")
    best = best_index(scores)
    worst = best_index([None if score is None else -score for score in scores])
    assert best is not None
    assert worst is not None
    alike = min(present) == max(present)
    for label, index in (("best", best), ("worst", worst))[: 1 if alike else 2]:
        note = ", as all others" if alike and len(present) > 1 else ""
        text = f"response[{index}], score {scores[index]:.4g}{note}"
        yield from field("response" if alike else label, text)
        found = response_text(rollout, index)
        yield from field("", "its text is not there" if found is None else found, 10)


def read_score(entry: object) -> float | None:
    """The score of a reward entry; None if it is missing or not finite."""
    try:
        score = float(entry) if isinstance(entry, (bool, int, float)) else math.nan
    except OverflowError:
        return None
    return score if math.isfinite(score) else None


def response_text(rollout: Mapping[str, Any], index: int) -> str | None:
    """The text of a response, wherever rollouts have it; None if there is none."""
    response = rollout.get("response")
    choices = response.get("choices") if isinstance(response, dict) else None
    found = choices if isinstance(choices, list) else rollout.get("responses")
    choice = found[index] if isinstance(found, list) and index < len(found) else None
    if isinstance(choice, dict):
        message = choice.get("message")
        choice = message.get("content") if isinstance(message, dict) else choice.get("text")
    return None if choice is None else as_text(choice)


# Parquet files


def show_parquet(path: Path, asked: Asked) -> Iterator[str]:
    """The lines to print for a parquet file."""
    count, drawn = draw_rows(path, asked)
    yield headline(path, count, "row", len(drawn), asked)
    for number, row in drawn:
        extra = dict(row.pop("extra_info", None) or {})
        bucket = extra.get("curriculum_stage")
        yield from rule(
            f"row {number}", index=extra.get("index"), key=extra.get("key"), bucket=bucket
        )
        if "prompt" in row:
            yield from show_prompt(row.pop("prompt"))
        if isinstance(row.get("reward_model"), dict):
            truth = row.pop("reward_model").get("ground_truth")
            yield from field("truth", "none" if truth is None else as_text(truth), 2)
        if metrics := extra.pop("difficulty_metrics", None):
            yield from field("scores", describe_metrics(metrics))
        if bucket is not None:
            yield from show_best(extra.pop("best_response", None), bucket)
        for name, value in {**row, "extra_info": extra or None}.items():
            if value is not None:
                yield from field(name, as_text(value), 4)


def draw_rows(path: Path, asked: Asked) -> tuple[int, list[tuple[int, dict[str, Any]]]]:
    """How many rows a parquet file has (of the bucket), and some drawn at random, with their
    numbers, in order. Only the row groups that hold these are read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        numbers: Sequence[int] = range(file.metadata.num_rows)
        if asked.bucket is not None:
            stages = file.read(columns=["extra_info.curriculum_stage"])
            names = (
                [(row["extra_info"] or {}).get("curriculum_stage") for row in stages.to_pylist()]
                if stages.num_columns
                else []
            )
            check_bucket(asked.bucket, sorted({name for name in names if name is not None}), path)
            numbers = [number for number, name in enumerate(names) if name == asked.bucket]
        chosen = random.Random(asked.seed).sample(numbers, min(asked.rows, len(numbers)))
        if not chosen:
            raise no_rows(path)
        return len(numbers), read_rows(file, sorted(chosen))
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"this cannot be read as parquet ({str(error).strip('. ')})",
            where=path,
            expected="a parquet file as preprocess_bucketed_rollouts.py writes it",
            fix="check the path",
        ) from error


def read_rows(file: Any, numbers: Sequence[int]) -> list[tuple[int, dict[str, Any]]]:
    """These rows of a parquet file."""
    found, first = [], 0
    for group in range(file.num_row_groups):
        last = first + file.metadata.row_group(group).num_rows
        inside = [number for number in numbers if first <= number < last]
        if inside:
            rows = file.read_row_group(group).take([number - first for number in inside])
            found += zip(inside, rows.to_pylist(), strict=True)
        first = last
    return found


def describe_metrics(metrics: Mapping[str, Any]) -> str:
    """The scores of a row as far as it holds them."""
    parts = {
        metrics.get("metric"): metrics.get("value"),
        "mean_reward": metrics.get("mean_score"),
        "min_reward": metrics.get("min_score"),
        "max_reward": metrics.get("max_score"),
        "variance": metrics.get("score_variance"),
        "success_rate": metrics.get("success_rate"),
    }
    found = [f"{name} {value:.4g}" for name, value in parts.items() if value is not None]
    return ", ".join([*found, plural(metrics.get("num_responses") or 0, "response")])


def show_best(best: Mapping[str, Any] | None, bucket: str) -> Iterator[str]:
    """The best response of a row, and where the worst one is."""
    if not best:
        yield from field("best", "not in this file")
    else:
        score = "no score" if best.get("score") is None else f"score {best['score']:.4g}"
        yield from field("best", f"response[{best.get('index')}], {score}")
        yield from field("", best.get("content") or "its text is not there", 10)
    yield from field("worst", f"not in this file; the bucket file, {bucket}.jsonl, has it")


# Texts


def show_prompt(prompt: object) -> Iterator[str]:
    """The messages of a prompt; of a long conversation the first and the last ones."""
    messages = prompt if isinstance(prompt, list) else [{"role": "prompt", "content": prompt}]
    left_out = len(messages) - MOST_MESSAGES
    for number, message in enumerate(messages):
        if left_out > 1 and 1 <= number <= left_out:
            if number == 1:
                yield from field("", f"[… {left_out} messages left out …]")
            continue
        known = message if isinstance(message, dict) else {"role": "?", "content": message}
        content = known.get("content") or known.get("tool_calls")
        yield from field(str(known.get("role")), "none" if content is None else as_text(content), 8)


def headline(path: Path, count: int, noun: str, drawn: int, asked: Asked) -> str:
    """What is shown of which file."""
    of = f" of bucket {asked.bucket}" if asked.bucket is not None else ""
    some = f"{drawn} of them, drawn with seed {asked.seed}" if drawn < count else "all of them"
    return f"{path}: {plural(count, noun)}{of}; {some}"


def rule(place: str, **facts: object) -> Iterator[str]:
    """A line between rows."""
    found = [place, *(f"{name} {value}" for name, value in facts.items() if value is not None)]
    (text, *_) = wrap(f"---- {', '.join(found)} ", WIDTH)
    yield ""
    yield text + "-" * (WIDTH - columns(text))


def field(label: str, text: str, most: int = 1) -> Iterator[str]:
    """A text beside its label, in at most `most` lines and one that says how much is left out."""
    (name, *_) = wrap(label, LABEL - 1) or [""]
    lines = shorten(wrap(text, WIDTH - LABEL), most)
    for number, line in enumerate(lines):
        start = name if number == 0 else ""
        yield f"{start}{' ' * (LABEL - columns(start))}{line}".rstrip()


def as_text(value: Any) -> str:
    """A value as text: JSON if it is no text; in objects the keys that are unset are left out."""
    if isinstance(value, str):
        return value
    return json.dumps(set_keys(value), ensure_ascii=False, default=str)


def set_keys(value: Any) -> Any:
    """The value without the keys that are unset, at any depth."""
    if isinstance(value, dict):
        return {key: set_keys(inner) for key, inner in value.items() if inner is not None}
    return [set_keys(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    raise SystemExit(main())
