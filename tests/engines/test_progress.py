"""How far a run is: a bar on a terminal, lines elsewhere, nothing when nobody asked."""

from __future__ import annotations

import io
from functools import partialmethod

import pytest
from tqdm import tqdm

from curriculum.engines.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def progress(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, show: bool) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", "100")
    with Progress(4_000_000_000, show) as bar:
        bar.step("scan")
        for _ in range(4):
            bar.add(1_000_000_000)
    return stream.getvalue()


def test_bar_on_a_terminal_counts_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tqdm, "__init__", partialmethod(tqdm.__init__, mininterval=0))
    shown = progress(monkeypatch, Terminal(), show=True)
    assert "scan" in shown
    assert "/4.00G" in shown
    assert "B/s" in shown


def test_lines_elsewhere_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress(monkeypatch, io.StringIO(), show=True) == ""
    monkeypatch.setattr("curriculum.engines.progress.LINE_EVERY_SECONDS", 0)
    shown = progress(monkeypatch, io.StringIO(), show=True).splitlines()
    assert len(shown) == 4
    assert shown[1].startswith("2.0 of 4.0 GB, ")
    assert shown[3].endswith(", 0 s left")


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_nothing_when_not_shown(monkeypatch: pytest.MonkeyPatch, stream: type) -> None:
    monkeypatch.setattr("curriculum.engines.progress.LINE_EVERY_SECONDS", 0)
    assert progress(monkeypatch, stream(), show=False) == ""
