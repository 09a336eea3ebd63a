#!/usr/bin/env python3
"""Make rollouts without a model: a stand-in for the first step of the pipeline.

A prompt asks for a short text under one to three constraints that a program can check. The
responses come from template writers: code that strings stock sentences together, attends to each
constraint and now and then forgets one, the less skilled the more often. No language model had a
part in any of it, and the `writer` of each response names the template writer. The scores are
real: each constraint is checked on the text, whatever the writer meant to do.

The same flags give the same bytes, on any machine; more prompts leave the earlier ones unchanged.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from errno import EEXIST
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

Kwargs: TypeAlias = dict[str, Any]

EPILOG = """examples:
  python examples/generate_rollouts.py
  python examples/generate_rollouts.py -o ./rollouts --prompts 1000 --responses 16
  python examples/generate_rollouts.py -o ./rollouts_2 --round 1
"""
KEY = "template-writers"  # how each key starts, by which a file of this script is known
WRITERS = {  # name and skill, 0 to 1; the responses to a prompt come from each in turn
    "template-writer-1": 0.25,
    "template-writer-2": 0.45,
    "template-writer-3": 0.65,
    "template-writer-4": 0.85,
}
BETTER = 0.1  # by how much each writer is more skilled from round to round
BONUS = 0.25  # added to the score of a text in which every constraint holds
FORMS = (
    "a short note", "a letter to a friend", "a newspaper column", "a page for beginners",
    "a diary entry", "a speech", "a notice for the wall", "a review",
)  # fmt: skip
TOPICS = {  # topic and words that belong to it
    "making tea": ("kettle", "cup", "leaf", "sugar", "steam"),
    "baking bread": ("flour", "oven", "yeast", "crust", "salt"),
    "growing tomatoes": ("soil", "sun", "seed", "pot", "harvest"),
    "packing a suitcase": ("shirt", "ticket", "shoes", "zip", "passport"),
    "cleaning windows": ("glass", "cloth", "bucket", "ladder", "soap"),
    "riding a bicycle": ("helmet", "wheel", "bell", "pedal", "hill"),
    "learning to swim": ("water", "pool", "towel", "float", "lane"),
    "visiting a library": ("shelf", "novel", "desk", "silence", "loan"),
    "cooking soup": ("onion", "spoon", "broth", "pepper", "bowl"),
    "mending a shirt": ("needle", "thread", "button", "sleeve", "stitch"),
}
COMMON_WORDS = ("day", "good", "never", "people", "small", "time")  # many sentences have one
SENTENCES = (
    "For many people, {topic} is a good way to slow down.",
    "Start small, watch closely and keep notes.",
    "Some days, {topic} goes well without any effort.",
    "Never rush, because haste brings back the same old mistakes.",
    "Most people learn it at home, often from a patient friend.",
    "It takes time, but the time is well spent.",
    "Bring what you need, leave what you do not.",
    "When the day is long, {topic} gives the mind a quiet break.",
    "A good helper asks questions, listens and waits.",
    "The cost is low, the gain is plain to see.",
    "Before you begin, clear the table and wash your hands.",
    "If something breaks, take a breath and work around it.",
    "Every town has people who know all about {topic}.",
    "Keep the steps short, simple and in order.",
    "With practice, even a small improvement feels like a victory.",
    "Ask the neighbors, they will have an opinion.",
    "By evening, the work looks better than it did at noon.",
    "The best time for {topic} is early, when the house is calm.",
    "One small habit, kept every day, matters more than talent.",
    "Tools help, although clever hands help more.",
    "Never forget to tidy up, or tomorrow starts badly.",
    "Tell people what worked, what failed and what you would change.",
    "All year round, {topic} keeps you busy and cheerful.",
    "Give it time, then look again with fresh eyes.",
    "Over the years, {topic} becomes second nature.",
    "Whatever the day brings, there is room for {topic}.",
)
BULLETS = (
    "Check what you have", "Write a list", "Pick a quiet hour", "Make some space",
    "Ask for help", "Go slowly", "Put things back", "Rest afterwards",
)  # fmt: skip
ENDINGS = ("That is all there is to it.", "Now it is your turn.", "Any other questions?")


@dataclass(frozen=True)
class Draft:
    """A text in the making: `body` is its sentences, `pool` those it can still take."""

    topic: str
    body: tuple[str, ...]
    pool: tuple[str, ...]
    paragraphs: int = 1
    title: str = ""
    bullets: tuple[str, ...] = ()
    postscript: str = ""
    ending: str = ""
    commas: bool = True
    lowercase: bool = False

    def text(self) -> str:
        """The text as it stands: `***` between paragraphs, the end phrase last."""
        n, parts = len(self.body), self.paragraphs
        paragraphs = [self.body[i * n // parts : (i + 1) * n // parts] for i in range(parts)]
        body = "\n\n***\n\n".join(" ".join(sentences) for sentences in paragraphs)
        bullets = "\n".join(f"- {item}" for item in self.bullets)
        blocks = (self.title, body, bullets, self.postscript, self.ending)
        text = "\n\n".join(block for block in blocks if block)
        text = text if self.commas else text.replace(",", "")
        return text.lower() if self.lowercase else text

    def resized(self, step: int, enough: Callable[[str], bool]) -> Draft:
        """Take (`step` 1) or give back (-1) sentences until the text is `enough`, if it can be.

        It keeps at least one sentence a paragraph and takes no more than the pool holds.
        """
        draft, sentences = self, self.body + self.pool
        while not enough(draft.text()):
            length = len(draft.body) + step
            if not draft.paragraphs <= length <= len(sentences):
                break
            draft = replace(draft, body=sentences[:length], pool=sentences[length:])
        return draft


@dataclass(frozen=True)
class Constraint:
    """A kind of constraint.

    `make` draws its kwargs, for a topic; `describe` puts them into words; `attempt` gives a draft
    so changed that it holds; `check` says whether it holds in a text. `difficulty` runs from
    about 0, what hardly anyone forgets, to 1 and above, what hardly anyone remembers.
    """

    make: Callable[[Random, str], Kwargs]
    describe: Callable[[Kwargs], str]
    attempt: Callable[[Draft, Kwargs], Draft]
    check: Callable[[str, Kwargs], bool]
    difficulty: Callable[[Kwargs], float]


def count(pattern: str, text: str) -> int:
    """How often the pattern occurs, in any case; `^` is the start of a line."""
    return len(re.findall(pattern, text, re.IGNORECASE | re.MULTILINE))


def either(words: Iterable[str]) -> str:
    """A pattern for any of the words, whole."""
    return rf"\b({'|'.join(map(re.escape, words))})\b"


def quoted(words: Iterable[str]) -> str:
    """The words as a prompt lists them."""
    return ", ".join(f'"{word}"' for word in words)


def avoid(draft: Draft, pattern: str) -> Draft:
    """Exchange the sentences in which the pattern occurs for others from the pool."""
    usable = tuple(s for s in draft.body + draft.pool if not count(pattern, s))
    return replace(draft, body=usable[: len(draft.body)], pool=usable[len(draft.body) :])


def draw_length(rng: Random) -> Kwargs:
    """A number of words that a draft as it starts, 40 to 90 words, seldom has by luck."""
    if rng.random() < 0.5:
        return {"relation": "at least", "num_words": rng.randrange(100, 201, 10)}
    return {"relation": "less than", "num_words": rng.randrange(35, 61, 5)}


def has_length(text: str, kwargs: Kwargs) -> bool:
    """Whether the number of words, runs of letters and digits, is on the right side."""
    reached = count(r"\w+", text) >= int(kwargs["num_words"])
    return reached if kwargs["relation"] == "at least" else not reached


def has_paragraphs(text: str, number: int) -> bool:
    """Whether `***` divides the text into so many paragraphs, none of them empty."""
    paragraphs = text.split("***")
    return len(paragraphs) == number and all(p.strip() for p in paragraphs)


# By IFEval id, in the order in which a writer attends to them: the choice of sentences comes
# first and the length last, because everything else changes the length.
CONSTRAINTS: dict[str, Constraint] = {
    "keywords:forbidden_words": Constraint(
        make=lambda rng, topic: {"forbidden_words": rng.sample(COMMON_WORDS, rng.randint(1, 3))},
        describe=lambda kw: f"Do not use these words: {quoted(kw['forbidden_words'])}.",
        attempt=lambda draft, kw: avoid(draft, either(kw["forbidden_words"])),
        check=lambda text, kw: count(either(kw["forbidden_words"]), text) == 0,
        difficulty=lambda kw: 0.3 * len(kw["forbidden_words"]),
    ),
    "keywords:existence": Constraint(
        make=lambda rng, topic: {"keywords": rng.sample(TOPICS[topic], rng.randint(1, 4))},
        describe=lambda kw: f"Include these keywords: {quoted(kw['keywords'])}.",
        attempt=lambda draft, kw: replace(
            draft, body=(f"In short: {', '.join(kw['keywords'])}.", *draft.body)
        ),
        check=lambda text, kw: all(count(re.escape(word), text) for word in kw["keywords"]),
        difficulty=lambda kw: 0.2 * len(kw["keywords"]),
    ),
    "detectable_format:title": Constraint(
        make=lambda rng, topic: {},
        describe=lambda kw: "Give it a title in double angle brackets, such as <<my title>>.",
        attempt=lambda draft, kw: replace(draft, title=f"<<{draft.topic.capitalize()}>>"),
        check=lambda text, kw: count(r"<<[^<>\n]*\w[^<>\n]*>>", text) > 0,
        difficulty=lambda kw: 0.1,
    ),
    "detectable_format:number_bullet_lists": Constraint(
        make=lambda rng, topic: {"num_bullets": rng.randint(2, len(BULLETS))},
        describe=lambda kw: f"Include exactly {kw['num_bullets']} bullet points, as '- ' lines.",
        attempt=lambda draft, kw: replace(draft, bullets=BULLETS[: kw["num_bullets"]]),
        check=lambda text, kw: count(r"^[ \t]*[-*][ \t]+\S", text) == kw["num_bullets"],
        difficulty=lambda kw: 0.12 * kw["num_bullets"],
    ),
    "detectable_content:postscript": Constraint(
        make=lambda rng, topic: {"postscript_marker": rng.choice(("P.S.", "P.P.S"))},
        describe=lambda kw: f'Add a postscript that starts with "{kw["postscript_marker"]}".',
        attempt=lambda draft, kw: replace(
            draft, postscript=kw["postscript_marker"] + " Write soon."
        ),
        check=lambda text, kw: count(rf"^{re.escape(kw['postscript_marker'])}.*\w", text) > 0,
        difficulty=lambda kw: 0.2,
    ),
    "startend:end_checker": Constraint(
        make=lambda rng, topic: {"end_phrase": rng.choice(ENDINGS)},
        describe=lambda kw: f'End with this phrase and nothing after it: "{kw["end_phrase"]}"',
        attempt=lambda draft, kw: replace(draft, ending=kw["end_phrase"]),
        check=lambda text, kw: text.strip().lower().endswith(kw["end_phrase"].lower()),
        difficulty=lambda kw: 0.3,
    ),
    "punctuation:no_comma": Constraint(
        make=lambda rng, topic: {},
        describe=lambda kw: "Do not use any commas.",
        attempt=lambda draft, kw: replace(draft, commas=False),
        check=lambda text, kw: "," not in text,
        difficulty=lambda kw: 0.6,
    ),
    "change_case:english_lowercase": Constraint(
        make=lambda rng, topic: {},
        describe=lambda kw: "Use lowercase letters only.",
        attempt=lambda draft, kw: replace(draft, lowercase=True),
        check=lambda text, kw: text.islower(),
        difficulty=lambda kw: 0.4,
    ),
    "length_constraints:number_paragraphs": Constraint(
        make=lambda rng, topic: {"num_paragraphs": rng.randint(2, 5)},
        describe=lambda kw: f"Write {kw['num_paragraphs']} paragraphs, with a *** line in between.",
        attempt=lambda draft, kw: replace(draft, paragraphs=kw["num_paragraphs"]),
        check=lambda text, kw: has_paragraphs(text, kw["num_paragraphs"]),
        difficulty=lambda kw: 0.2 * kw["num_paragraphs"],
    ),
    "length_constraints:number_words": Constraint(
        make=lambda rng, topic: draw_length(rng),
        describe=lambda kw: f"Use {kw['relation']} {kw['num_words']} words.",
        attempt=lambda draft, kw: draft.resized(
            1 if kw["relation"] == "at least" else -1, lambda text: has_length(text, kw)
        ),
        check=has_length,
        difficulty=lambda kw: abs(kw["num_words"] - 70) / (130 if kw["num_words"] > 70 else 45),
    ),
}


@dataclass(frozen=True)
class Task:
    """What a prompt asks for: a form, a topic, and constraints as id and kwargs."""

    form: str
    topic: str
    constraints: dict[str, Kwargs]

    def demands(self) -> str:
        """The constraints in words."""
        return " ".join(CONSTRAINTS[id].describe(kw) for id, kw in self.constraints.items())

    def check(self, text: str) -> list[bool]:
        """Whether each constraint holds in the text."""
        return [CONSTRAINTS[id].check(text, kw) for id, kw in self.constraints.items()]


def make_task(rng: Random) -> Task:
    """Draw a task that can be done: a writer who forgets nothing has done it."""
    while True:
        topic, ids = rng.choice(list(TOPICS)), rng.sample(list(CONSTRAINTS), rng.randint(1, 3))
        constraints = {id: c.make(rng, topic) for id, c in CONSTRAINTS.items() if id in ids}
        task = Task(rng.choice(FORMS), topic, constraints)
        if all(task.check(write(task, float("inf"), rng))):
            return task


def write(task: Task, skill: float, rng: Random) -> str:
    """Write to the task; a constraint as difficult as the writer is skilled is kept every other
    time, one 0.42 easier or harder always or never (but a text may happen to keep it)."""
    sentences = [s.format(topic=task.topic) for s in rng.sample(SENTENCES, len(SENTENCES))]
    length = rng.randint(5, 8)
    draft = Draft(task.topic, tuple(sentences[:length]), tuple(sentences[length:]))
    for id, kwargs in task.constraints.items():
        chance = 0.5 + 1.2 * (CONSTRAINTS[id].difficulty(kwargs) - skill)
        if rng.random() >= chance:
            draft = CONSTRAINTS[id].attempt(draft, kwargs)
    return draft.text()


def grade(task: Task, text: str) -> dict[str, Any]:
    """The reward: `V_i`, the share of constraints that hold; `score`, the same plus any bonus."""
    holds = task.check(text)
    share = sum(holds) / len(holds)
    score = share + (BONUS if all(holds) else 0.0)
    return {"score": score, "V_i": share, "follow_instruction_list": holds}


def make_rollout(num: int, responses: int, seed: int, round: int = 0) -> dict[str, Any]:
    """A prompt with its responses and rewards, by writers after so many rounds of training; it
    depends on no other prompt."""
    task = make_task(Random(f"task {seed} {num}"))
    content = f"Write {task.form} about {task.topic}. {task.demands()}"
    prompt = [{"role": "user", "content": content}]
    writers = [list(WRITERS)[i % len(WRITERS)] for i in range(responses)]
    draw = f"text {seed} {num}" + (f" round {round}" if round else "")
    texts = [
        write(task, WRITERS[writer] + BETTER * round, Random(f"{draw} {i}"))
        for i, writer in enumerate(writers)
    ]
    choices = [
        {"index": i, "writer": writer, "message": {"role": "assistant", "content": text}}
        for i, (writer, text) in enumerate(zip(writers, texts, strict=True))
    ]
    kwargs = [kw or None for kw in task.constraints.values()]
    return {
        "num": num,
        "prompt": prompt,
        "response": {"choices": choices},
        "reward": [grade(task, text) for text in texts],
        "parameters": {
            "responses": responses,
            "seed": seed,
            **({"round": round} if round else {}),
        },
        "key": f"{KEY}-{seed}-{num}",
        "messages": prompt,
        "ground_truth": repr([{"instruction_id": list(task.constraints), "kwargs": kwargs}]),
        "constraint": task.demands(),
        "constraint_type": "single" if len(task.constraints) == 1 else "multi",
        "extra_info": {"topic": task.topic},
    }


def is_foreign(path: Path) -> bool:
    """Whether there is a file with a first line that this script did not write."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        line = file.readline()
    return bool(line) and f'"key": "{KEY}-'.encode() not in line


def write_rollouts(
    folder: Path, prompts: int, files: int, make: Callable[[int], dict[str, Any]]
) -> list[Path]:
    """Write the rollouts that `make` makes of numbers, in `files` contiguous parts; raises
    FileExistsError, nothing written."""
    paths = [folder / f"rollouts-{part:03d}.jsonl" for part in range(files)]
    for path in filter(is_foreign, paths):
        raise FileExistsError(EEXIST, "not written by this script, so not replaced", str(path))
    folder.mkdir(parents=True, exist_ok=True)
    for part, path in enumerate(paths):
        nums = range(part * prompts // files, (part + 1) * prompts // files)
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(make(n)) + "\n" for n in nums)
    return paths


def at_least_one(text: str) -> int:
    """A flag's number, refused below 1."""
    if not re.fullmatch(r"\d+", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, not {text!r}")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    """The flags of this script."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output-dir", type=Path, default=Path("rollouts"), metavar="DIR",
        help="where rollouts-000.jsonl and so on go; other files there stay (default: ./rollouts)",
    )  # fmt: skip
    for name, default, meaning in (
        ("prompts", 300, "prompts, one a line"),
        ("responses", 8, "responses to each prompt"),
        ("files", 3, "files, at most one a prompt"),
    ):
        parser.add_argument(
            f"--{name}", type=at_least_one, default=default, metavar="N",
            help=f"number of {meaning} (default: {default})",
        )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another seed, other rollouts (default: 0)"
    )
    parser.add_argument(
        "--round", type=int, default=0, metavar="N",
        help="responses to the same prompts by writers after N rounds of training, which are "
        "better (default: 0)",
    )  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; the exit code."""
    flags = build_parser().parse_args(argv)
    folder, files = flags.output_dir, min(flags.files, flags.prompts)
    try:
        paths = write_rollouts(
            folder,
            flags.prompts,
            files,
            lambda num: make_rollout(num, flags.responses, flags.seed, flags.round),
        )
    except OSError as error:
        fix = "choose another --output-dir, or make room in this one"
        print(f"error: {error.filename or folder}: {error.strerror};\n{fix}", file=sys.stderr)
        return 1
    others = sorted(path.name for path in set(folder.glob("*.jsonl")) - set(paths))
    if others:
        found = f"{folder} also holds {', '.join(others)}"
        print(f"warning: {found}; bucketing would read that too", file=sys.stderr)
    span = paths[0] if files == 1 else f"{paths[0]} to {paths[-1].name}"
    print(f"wrote {span}: {flags.prompts:,} prompts x {flags.responses:,} responses")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
