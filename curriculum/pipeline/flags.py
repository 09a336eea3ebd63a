"""The flags of the shell script: a few of its own, and all flags of the two scripts.

Which flags the scripts have, their own parsers say.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from textwrap import fill
from typing import Any, NoReturn, TypeVar

from msgspec import Struct

import bucket_rollouts_by_difficulty
import preprocess_bucketed_rollouts
from curriculum.errors import UsageError
from curriculum.options import BucketOptions
from curriculum.preprocess_options import PreprocessOptions

PROGRAM = "run_curriculum_pipeline.sh"
HELP = f"bash {PROGRAM} --help lists the flags"
WIDTH = 100
DESCRIPTION = """Bucket rollouts, preprocess the buckets alone and cumulatively, and train stage by
stage: the first stage on the easiest bucket, the last on the hardest, those between on all buckets
so far."""
EXAMPLES = f"""
examples:
  bash {PROGRAM} -i ./rollouts -o ./experiment -n 5 --filter informative_only
  bash {PROGRAM} -i ./rollouts --thresholds 0.3 0.7 --dry-run
"""
# Flags that ask for one set of all buckets, which is no stage.
ONE_SET = (
    "combine", "output_name", "schedule", "batch_size", "epochs", "sigma", "start", "end",
)  # fmt: skip

Options = TypeVar("Options", BucketOptions, PreprocessOptions)


class Script(Struct, frozen=True):
    """One of the two scripts: its parser, and by `dest` the flags that the pipeline hands on."""

    parser: argparse.ArgumentParser
    actions: Mapping[str, argparse.Action]

    @staticmethod
    def of(parser: argparse.ArgumentParser) -> Script:
        """The script that has this parser."""
        own = ("help", "version", "inputs", "input_dir", "output_dir")
        actions = {action.dest: action for action in parser._actions if action.dest not in own}
        return Script(parser, actions)

    def options(self, kind: type[Options], flags: Sequence[str]) -> Options:
        """The options that these flags give. Raises UsageError if they are wrong."""
        known = {field.name for field in fields(kind)}
        values = vars(self.parser.parse_args(flags)).items()
        return kind(**{n: value for n, value in values if n in known and value is not None})


def both_scripts() -> tuple[Script, Script]:
    """The script that buckets, and the one that preprocesses."""
    return (
        Script.of(bucket_rollouts_by_difficulty.build_parser()),
        Script.of(preprocess_bucketed_rollouts.build_parser()),
    )


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError where flags are wrong."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(message.removeprefix("argument "), fix=HELP)

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """The values of the pipeline's own flags; `handed_on` lists the others, each its `dest` and
        the words to hand on."""
        flags, unknown = self.parse_known_args(argv, argparse.Namespace(handed_on=[]))
        if unknown and not flags.help:
            raise self._unknown(unknown[0])
        return flags

    def _unknown(self, word: str) -> UsageError:
        if not word.startswith("-"):
            return UsageError(
                "this belongs to no flag",
                where=word,
                fix="name rollouts with -i, and put a value that holds blanks in quotes",
            )
        name = word.partition("=")[0]
        known = [string for action in self._actions for string in action.option_strings]
        close = get_close_matches(name, known, 1, 0.7)
        mean = f"did you mean {close[0]}? " if close else ""
        return UsageError("there is no such flag", where=name, fix=mean + HELP)


class HandOn(argparse.Action):
    """Adds a flag and its values to `handed_on`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Note the flag by its long name."""
        long = next(name for name in self.option_strings if name.startswith("--"))
        words = [values] if isinstance(values, str) else list(values or ())
        # A single value may look like a flag, which only one after = may.
        flag = [f"{long}={words[0]}"] if len(words) == 1 else [long, *words]
        namespace.handed_on.append((self.dest, flag))


def build_parser(scripts: Sequence[Script]) -> Parser:
    """The flags of the pipeline: its own, and those that it hands on."""
    parser = Parser(
        prog=PROGRAM,
        usage=f"bash {PROGRAM} [options]",
        description=fill(DESCRIPTION, WIDTH),
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=WIDTH),
        add_help=False,
        allow_abbrev=False,
    )
    _add_own_flags(parser.add_argument_group("flags"))
    for dest, action in {**scripts[1].actions, **scripts[0].actions}.items():
        short = ["-f"] if dest == "filter" else []
        kind: Any = action.type
        parser.add_argument(
            *dict.fromkeys([*action.option_strings, *short]),
            dest=dest,
            nargs=action.nargs,
            type=_checked(kind) if kind else str,
            action=HandOn,
            help=argparse.SUPPRESS,
        )
    parser.epilog = _list_flags(parser, scripts) + EXAMPLES
    return parser


def _add_own_flags(own: argparse._ArgumentGroup) -> None:
    own.add_argument(
        "-i", "--input", "--input-dir", dest="inputs", nargs="+", action="extend", metavar="PATH",
        help="directories, files or globs of rollouts (default: ./rollouts)",
    )  # fmt: skip
    own.add_argument(
        "-o", "--output", "--output-dir", metavar="BASE",
        help="where all outputs go: BASE/bucketed, BASE/preprocessed and the checkpoints (default: "
        "this directory)",
    )  # fmt: skip
    own.add_argument(
        "--stages", nargs="+", metavar="NAME",
        help="names of the buckets from easy to hard, with blanks or commas between them; or their "
        "number",
    )  # fmt: skip
    own.add_argument(
        "-t", "--train", metavar="CMD",
        help="command that trains a stage; it gets --data FILE, --load CHECKPOINT (from the second "
        "stage on) and --output CHECKPOINT (default: python train.py if that file is here)",
    )  # fmt: skip
    own.add_argument("-h", "--help", action="store_true", help="this text")
    own.add_argument("--version", action="store_true", help="the version")


def _list_flags(parser: Parser, scripts: Sequence[Script]) -> str:
    """The names of the flags that are handed on."""
    bucketing, preprocessing = (script.actions.keys() for script in scripts)
    both = bucketing & preprocessing
    parts = {
        "to bucketing": bucketing - both,
        "to preprocessing": preprocessing - both - {*ONE_SET},
        "to both": both,
    }
    lines = ["flags that are handed on, which --help of the two scripts explains:"]
    for title, dests in parts.items():
        actions = [action for action in parser._actions if action.dest in dests]
        text = f"{title}: {', '.join(' '.join(action.option_strings) for action in actions)}"
        lines.append(
            fill(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
        )
    return "\n".join(lines) + "\n"


def _checked(kind: Callable[[str], Any]) -> Callable[[str], str]:
    """A type that refuses what `kind` refuses, and keeps the text as it is."""

    def check(text: str) -> str:
        kind(text)
        return text

    check.__name__ = getattr(kind, "__name__", "")
    return check
