"""Bucket names → the stages of the curriculum: what each trains on, and why."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from textwrap import TextWrapper

from msgspec import Struct

from curriculum.errors import UsageError
from curriculum.output.manifests import cumulative_name

WIDTH = 100
MOST_NAMED = 5  # buckets of a stage that are named one by one


class Stage(Struct, frozen=True):
    """A stage of training: its buckets, and the name of the set that holds them."""

    buckets: Sequence[str]
    set_name: str

    def __str__(self) -> str:
        if len(self.buckets) <= MOST_NAMED:
            return ", ".join(self.buckets)
        return f"{self.buckets[0]} to {self.buckets[-1]} ({len(self.buckets)} buckets)"


def list_stages(buckets: Sequence[str], replayed: bool = False) -> list[Stage]:
    """The stages, a bucket for each: the first trains on the easiest bucket, the last on the
    hardest, those between on all buckets so far. If easier buckets are `replayed`, the last one
    does so, too."""
    alone = [Stage([name], name) for name in buckets]
    between = [Stage(buckets[:end], cumulative_name(end)) for end in range(2, len(buckets))]
    if len(alone) < 2:
        return alone
    last = Stage(buckets, cumulative_name(len(buckets))) if replayed else alone[-1]
    return [alone[0], *between, last]


def split_names(words: Sequence[str]) -> list[str]:
    """The names in the value of --stages, without blanks around them.

    Commas separate names; without any, words do; a single word is split at its blanks. Raises
    UsageError if there is no name.
    """
    text = " ".join(words)
    if "," in text:
        names = [name.strip() for name in text.strip().removesuffix(",").split(",")]
    else:
        names = [word.strip() for word in words] if len(words) > 1 else text.split()
    if not any(names):
        raise UsageError(
            "there is no name",
            where="--stages",
            expected="names of buckets, or their number",
            fix="write them from easy to hard, such as --stages warmup core stretch",
        )
    return names


def choose_buckets(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The buckets that --buckets names, in order. Raises UsageError for a name that is none."""
    for name in wanted:
        if name not in names:
            close = get_close_matches(name, names, 1)
            mean = f"did you mean {close[0]}? " if close else ""
            raise UsageError(
                f"there will be no bucket {name!r}",
                where="--buckets",
                expected="one of " + ", ".join(names),
                fix=mean + "Name some of these",
            )
    return [name for name in names if name in wanted]


def explain(stages: Sequence[Stage], preprocessed: str, left_out: Sequence[str]) -> list[str]:
    """Why the last stage is what it is, and why the buckets in `left_out` are in none, in lines."""
    texts = []
    if len(stages) > 1 and len(stages[-1].buckets) == 1:
        whole = f"{preprocessed}/{cumulative_name(len(stages))}_train.parquet"
        texts.append(
            f"The last stage trains on {stages[-1]} alone: the easier buckets have had their turn. "
            f"To train it on all buckets instead, use {whole}."
        )
    if left_out:
        texts.append(
            f"No stage trains on {' and '.join(left_out)}: a prompt whose responses all pass, or "
            "all fail, gives no advantage in GRPO. To train on them too, name all buckets with "
            "--buckets."
        )
    wrapper = TextWrapper(WIDTH, break_on_hyphens=False, break_long_words=False)
    return [line for text in texts for line in wrapper.wrap(text)]
