"""The flags of the shell script → its variables: the flags of either script, and the stages."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import TypeAlias

from curriculum.advice.other_files import find_rollouts
from curriculum.comparing.cut_like import cut_like
from curriculum.dumps.detect import find_dump, first_lines
from curriculum.dumps.flags import AUTO, DumpFlags
from curriculum.dumps.formats import OWN
from curriculum.errors import UsageError
from curriculum.options import DEFAULT_SCORE_FIELD, BucketOptions
from curriculum.pipeline.flags import ONE_SET, PROGRAM, Script, both_scripts, build_parser
from curriculum.pipeline.stages import choose_buckets, explain, list_stages, split_names
from curriculum.preprocess_options import PreprocessOptions
from curriculum.storage.paths import StorePath, to_path
from curriculum.version import __version__

# Preprocessing takes these from bucketing.json.
IN_MANIFEST = ("score_field", "pass_threshold")
# A dry run leaves nothing to preprocess; what is not kept is in no bucket; the stages have no
# schedule to draw; there is one page, of the rollouts.
FIRST_ONLY = (*IN_MANIFEST, "dry_run", "keep", "plot", "report")

HandedOn: TypeAlias = Sequence[tuple[str, Sequence[str]]]  # flags by `dest`, each its words
Variables: TypeAlias = dict[str, str | Sequence[str]]


def answer(argv: Sequence[str]) -> str:
    """The shell code for these flags: variables, or what to print instead. Raises UsageError."""
    scripts = both_scripts()
    parser = build_parser(scripts)
    flags = parser.read(argv)
    if flags.help or flags.version:
        text = parser.format_help() if flags.help else f"{PROGRAM} {__version__}\n"
        return f"printf %s {quote(text)}; exit 0"
    return "\n".join(
        f"{name}={quote(value)}"
        if isinstance(value, str)
        else f"{name}=({' '.join(map(quote, value))})"
        for name, value in plan(flags, scripts).items()
    )


def plan(flags: argparse.Namespace, scripts: Sequence[Script]) -> Variables:
    """The variables of the shell script. Raises UsageError for wrong flags, and InputError if the
    input has to be looked at, to know whose flag it is, and cannot be read."""
    asked = dict(flags.handed_on)
    _refuse_one_set(asked)
    base = _directory(flags.output)
    bucketed, preprocessed = f"{base}/bucketed", f"{base}/preprocessed"
    inputs = [_no_flag(path) for path in flags.inputs or ["./rollouts"]]
    to_bucketing, to_preprocessing = share(flags.handed_on, scripts, inputs)
    named = _name_buckets(flags.stages, asked)
    bucketing = ["-i", *inputs, "-o", bucketed, *named, *to_bucketing]
    options, _ = cut_like(_bucket_options(scripts[0], bucketing, flags.stages))
    preprocessing = ["-i", bucketed, "-o", preprocessed, "--cumulative", *to_preprocessing]
    chosen = scripts[1].options(PreprocessOptions, preprocessing)
    _refuse_lines(chosen.source)
    wanted = chosen.buckets
    buckets = choose_buckets(options.names, wanted or options.names[options.inner])
    left_out = [] if wanted else [name for name in options.names if name not in buckets]
    if left_out:
        preprocessing += ["--buckets", *buckets]
    stages = list_stages(buckets, replayed="replay" in asked)
    return {
        "bucket_flags": bucketing,
        "preprocess_flags": preprocessing,
        "preprocessed": preprocessed,
        "checkpoints": "" if flags.output is None else f"{base}/",
        "train": flags.train or "",
        "dry_run": "yes" if options.dry_run else "",
        "buckets": buckets,
        "stages": list(map(str, stages)),
        "sets": [stage.set_name for stage in stages],
        "reasons": explain(stages, preprocessed, left_out),
    }


def _refuse_one_set(asked: Mapping[str, Sequence[str]]) -> None:
    for dest in ONE_SET:
        if dest in asked:
            raise UsageError(
                "this asks for one set of all buckets, and here each stage has a set of its own",
                where=asked[dest][0].partition("=")[0],
                fix="leave it out, or run preprocess_bucketed_rollouts.py by itself",
            )


def _refuse_lines(source: Sequence[str]) -> None:
    others = [name for name in source if not name.endswith(".parquet")]
    if others:
        raise UsageError(
            f"{others[0]} is no parquet file, and the stages are trained from parquet",
            where="--source",
            expected="a data set in parquet",
            fix="write it as parquet, or run the two scripts by themselves",
        )


def _directory(output: str | None) -> str:
    """The directory of all outputs, without a slash at its end. Raises UsageError."""
    if output is None:
        return "."
    if not output:
        raise UsageError(
            "the name is empty",
            where="--output",
            expected="a directory",
            fix="give one, or leave the flag out for this directory",
        )
    if isinstance(to_path(output), StorePath):
        raise UsageError(
            "this is in a store, where no trainer can write its checkpoints",
            where="--output",
            expected="a directory on a disk",
            fix="choose one; the two scripts by themselves write to a store, too",
        )
    return _no_flag(output.rstrip("/"))


def _no_flag(path: str) -> str:
    """The path, written so that no parser takes it for a flag; - is standard input."""
    return f"./{path}" if path.startswith("-") and path != "-" else path


def share(
    handed_on: HandedOn, scripts: Sequence[Script], inputs: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The words to hand on to either script. A flag that both have goes to both, with a few
    exceptions. Raises InputError if the input has to be looked at and cannot be read."""
    shares: tuple[list[str], list[str]] = [], []
    asked = dict(handed_on)
    for dest, words in handed_on:
        takers = [dest in script.actions for script in scripts]
        if all(takers) and dest in FIRST_ONLY:
            takers = [True, False]
        elif dest == "group_size":
            keep, top = (" ".join(asked.get(name, ())) for name in ("keep", "top"))
            takers = ["useful_group" in keep or "scores" in asked, "useful_group" in top]
        elif all(takers) and dest.endswith("_field"):
            # Bucketing reads these places of a dump, and preprocessing those of rollouts.
            dump = _is_dump(dict(handed_on), inputs)
            takers = [dump, not dump]
        for taken, takes in zip(shares, takers, strict=True):
            taken.extend(words if takes else ())
    return shares


def _is_dump(asked: Mapping[str, Sequence[str]], inputs: Sequence[str]) -> bool:
    """Whether the lines of the input are not rollouts of our own form."""
    name = asked["format"][0].partition("=")[2] if "format" in asked else AUTO
    if name != AUTO:
        return name != OWN
    recursive = "recursive" in asked
    files = find_rollouts(BucketOptions(inputs, "-", recursive=recursive)).files
    flags = DumpFlags(places={"score": DEFAULT_SCORE_FIELD})  # which one it is does not matter here
    return find_dump(first_lines(files), flags, DEFAULT_SCORE_FIELD) is not None


def _name_buckets(stages: Sequence[str] | None, asked: Mapping[str, Sequence[str]]) -> list[str]:
    """What --stages means to bucketing: names, or how many."""
    if stages is None:
        return []
    names = split_names(stages)
    by_number = len(names) == 1 and names[0].isdecimal()
    count = int(names[0]) if by_number else len(names)
    number = asked.get("num_buckets", [f"={count}"])[0].partition("=")[2]
    if "bucket_names" in asked:
        found = "--stages and --bucket-names both say what buckets there are"
    elif int(number) != count:
        found = f"--stages asks for {count} buckets, -n for {number}"
    else:
        return [f"--num-buckets={count}"] if by_number else ["--bucket-names", *names]
    raise UsageError(found, expected="one of the two", fix="leave out one of them")


def _bucket_options(
    script: Script, flags: Sequence[str], stages: Sequence[str] | None
) -> BucketOptions:
    try:
        return script.options(BucketOptions, flags)
    except UsageError as error:
        if stages is not None:  # --bucket-names is not what the user wrote
            error.args = (str(error).replace("--bucket-names", "--stages"),)
        raise
