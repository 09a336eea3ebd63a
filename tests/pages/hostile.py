"""Rollouts in which every text attacks the page that shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.helpers.rollouts import rollout

RUN = "window.ran=1;document.title=1;alert(1)"
NAMES = (
    f"<img src=x onerror='{RUN}'>",
    "{{7*7}}\"><svg onload='window.ran=1'>",
    "&lt;i onclick=b>",
)
FILE = "<iframe srcdoc=a>{{7+7}}&lt;\u202elnosj.jsonl"
FILE_SHOWN = "<iframe srcdoc=a>{{7+7}}&lt;U+202Elnosj.jsonl"
VALUE = "<script>window.ran=1<script>{{7*7}}"  # the name of a field
LONG = 200_000  # characters of a line


def texts(trap: str) -> dict[str, str]:
    """Texts that would run, ask `trap` for something, or hide, and how each is to be shown."""
    as_they_are = [
        f"<script>{RUN}</script>",
        f"<img src=x onerror='{RUN}'>",
        f"<img src={trap}/img>",
        f"</pre></style></title></summary></details></main></html><script>{RUN}</script>",
        "{{ 7 * 7 }}{% raw %}{# a #}${7*7}#{7*7}<%= 7*7 %>",
        f"<a href='javascript:{RUN}'>a</a> [a](javascript:{RUN})",
        f"<meta http-equiv=refresh content='0;url={trap}/meta'>",
        f"<base href={trap}/>",
        f"<iframe src={trap}/frame srcdoc='<script>parent.ran=1</script>'></iframe>",
        f"<link rel=stylesheet href={trap}/sheet><link rel=prefetch href={trap}/prefetch>",
        f"<svg onload='{RUN}'><script>{RUN}</script><image href={trap}/svg /></svg>",
        f"<style>@import '{trap}/import'; body {{ display: none }}</style>",
        f"<form action={trap}/form><input autofocus onfocus='{RUN}'><button>a</form>",
        f"<details open ontoggle='{RUN}'><video src={trap}/video onerror='{RUN}'>",
        f"' onfocus='{RUN}' autofocus x=\" onmouseover=\"{RUN}",
        "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1&gt;'>",
        "&lt;script&gt; &amp;lt; &#x3c;b&#x3e; &#x202e;",
        "שלום <b>مرحبا</b> 日本 naïve 🙂",
        "]]><!-- <textarea><xmp><noscript><template><plaintext>",
    ]
    coded = {
        "abc\u202egnp.exe": "abcU+202Egnp.exe",
        "\u2066a\u2069 \u200ba\u200b\u200ba": "U+2066aU+2069 U+200BaU+200B ×2a",
        "a\ufeffb\u00adc\u2060d\u3164e": "aU+FEFFbU+00ADcU+2060dU+3164e",
        "a\0b\x1b[31mc\x07d\x7fe\x85f": "aU+0000bU+001B[31mcU+0007dU+007FeU+0085f",
        "a\ud800b\udc00c": "aU+D800bU+DC00c",
        "\ue000a\U000e0041a\U0010ffffa": "U+E000aU+E0041aU+10FFFFa",
    }
    return {text: text for text in as_they_are} | coded


def everything(trap: str) -> tuple[str, str]:
    """All of the texts in one, and how that is to be shown."""
    found = texts(trap)
    return "\n".join(found), "\n".join(found.values())


def long_line() -> tuple[str, str]:
    """A text of LONG characters without a blank, and how that is to be shown."""
    text = "<b>" * (LONG // 3)
    return text, text[:4000] + f"[… {len(text) - 6000:,} characters left out …]" + text[-2000:]


def rollouts(trap: str) -> list[dict[str, Any]]:
    """Rollouts of every success rate: their prompts and responses have all of the texts, their
    keys, sources, roles and ground truths one each. Three, whose scores vary most, have a long
    line instead."""
    (whole, _), (line, _), each = everything(trap), long_line(), list(texts(trap))
    found = []
    for i in range(120):
        one, text = each[i % len(each)], line if i < 3 else whole
        scores = [9, 0] if i < 3 else [int(j < i % 9) for j in range(8)]
        made = rollout(*scores, prompt=text, key=one)
        made |= {"data_source": one, "ground_truth": one, VALUE: i / 120}
        made["prompt"].insert(0, {"role": one, "content": one})
        for choice in made["response"]["choices"]:
            choice["message"]["content"] = text
        found.append(made)
    return found


def write(directory: Path, trap: str) -> None:
    """Write the rollouts into FILE: lone surrogates and NUL as JSON escapes."""
    lines = [json.dumps(line) + "\n" for line in rollouts(trap)]
    (directory / FILE).write_text("".join(lines), "ascii")
