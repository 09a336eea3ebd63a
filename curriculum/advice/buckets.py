"""A path that holds no buckets → the command that finds them, or makes them from what is there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import PurePath

from curriculum.advice.commands import command, new_name
from curriculum.advice.field_names import prompt_field
from curriculum.advice.first_lines import find_form
from curriculum.advice.other_files import find_rollouts
from curriculum.advice.text import Advised, with_commands
from curriculum.dumps.detect import first_lines
from curriculum.errors import InputError
from curriculum.options import BucketOptions
from curriculum.output.manifests import REJECTED, BucketingManifest, PreprocessingManifest
from curriculum.preprocess_options import PreprocessOptions
from curriculum.reading.expand_paths import similar_path
from curriculum.reading.find_files import find_each
from curriculum.reading.input_files import InputFile
from curriculum.reading.prompts import NO_PROMPT_TEXT, OTHER_PARTS
from curriculum.storage.paths import AnyPath

_BUCKETS = "a directory of buckets"
_NO_FILES = "there are no bucket files here"


def bucket_options(options: PreprocessOptions) -> BucketOptions:
    """The options that bucket the same input, into a new directory."""
    bad = options.on_malformed
    return BucketOptions([options.input_dir], new_name("bucketed"), on_malformed=bad)


def not_a_directory(options: PreprocessOptions) -> InputError:
    """The error for an input that is a file, or that is not there."""
    path, given = options.input, options.input_dir
    if path.is_file():
        if _is_bucketed(path.parent) and path.name.endswith(".jsonl"):
            directory = given.rpartition("/")[0] or "."
            then = replace(options, input_dir=directory, buckets=[PurePath(path.name).stem])
            says = "give its directory, and name the bucket:"
            return _error(options, "this is a file", says, then)
        return _bucket_first(options, "this is a file")
    if similar := similar_path(given, path):
        then = replace(options, input_dir=similar)
        return _error(options, "no such directory", "did you mean this one?", then)
    found = "this is not a directory" if path.exists() else "no such directory"
    return _error(options, found, "check the path given with -i")


def check_bucketed(options: PreprocessOptions, names: Sequence[str]) -> None:
    """Raise InputError unless files of these names, in a directory without a manifest, may be
    buckets, because they are rollouts."""
    elsewhere = _elsewhere(options, bool(names))
    if elsewhere or not names:
        raise elsewhere or _bucket_first(options, _NO_FILES)
    try:
        files = find_each([options.input / name for name in names])
        dump = find_form(bucket_options(options), files).dump
    except InputError:
        raise _bucket_first(options, "these files are not buckets") from None
    if dump is not None:
        raise _bucket_first(options, f"these files are not buckets, but a {dump.form.title}")


def how_to_fix(
    options: PreprocessOptions, files: Iterable[InputFile], kinds: Collection[str]
) -> str:
    """What to do about the malformed lines of bucket files, which are of these kinds."""
    if set(kinds) == {NO_PROMPT_TEXT} and options.prompt_field is not None:
        return (
            f"leave out --prompt-field, or name the field that has the prompts: these have nothing "
            f"in {options.prompt_field}"
        )
    if set(kinds) == {NO_PROMPT_TEXT}:
        for first in first_lines(list(files)):
            for _, line in first.lines:
                name = prompt_field(line)
                if name not in (None, "prompt", "messages"):
                    flag = f" --prompt-field {name}"
                    return with_commands(
                        [f"if the prompt is in {name}:"], [command(options) + flag]
                    )
    if OTHER_PARTS in set(kinds):
        return (
            "name the data set that the prompts came from with --source, which writes its rows as "
            "they are, or use --on-malformed set-aside"
        )
    return "fix the rollouts and bucket them again, or use --on-malformed set-aside"


def _elsewhere(options: PreprocessOptions, has_files: bool) -> InputError | None:
    """The error if the buckets are where this directory is, or in one of its directories."""
    path, given = options.input, options.input_dir.rstrip("/")
    if (path / PreprocessingManifest.file_name).is_file():
        says = "train on its parquet files, or give the buckets that they were made of"
        return _error(options, "this is the output of this script", says)
    found = []
    if path.name == REJECTED and _is_bucketed(path.parent):
        found = [given.rpartition("/")[0] or "."]
    elif not has_files:
        found = [f"{given}/{entry.name}" for entry in path.iterdir() if _is_bucketed(entry)]
    if not found:
        return None
    then = replace(options, input_dir=min(found))
    return _error(options, _NO_FILES, "give the directory that has them:", then)


def _is_bucketed(path: AnyPath) -> bool:
    return (path / BucketingManifest.file_name).is_file()


def _bucket_first(options: PreprocessOptions, found: str) -> InputError:
    """The error with the commands that bucket the input and then preprocess it."""
    bucket = bucket_options(options)
    says, commands = ["bucket the rollouts first:"], [command(bucket)]
    try:
        find_form(bucket, find_rollouts(bucket).files)
    except Advised as advised:
        found = advised.found if options.input.is_file() else f"{found} ({advised.found})"
        commands = list(advised.commands)
        says = [*advised.says[:-1], *says] if commands else list(advised.says)
    except InputError:
        return _error(options, found, "bucket rollouts with bucket_rollouts_by_difficulty.py first")
    if commands:
        commands.append(command(replace(options, input_dir=bucket.output_dir or "bucketed")))
    where = options.input_dir
    return Advised(found, where=where, expected=_BUCKETS, says=says, commands=commands)


def _error(
    options: PreprocessOptions, found: str, says: str, then: PreprocessOptions | None = None
) -> InputError:
    commands = [command(then)] if then else []
    where = options.input_dir
    return Advised(found, where=where, expected=_BUCKETS, says=[says], commands=commands)
