"""How a script ends: signals, and streams that take nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from curriculum.cli import run
from curriculum.engines.signals import interrupt_on_signals
from curriculum.errors import FinishedInterrupt
from tests.helpers.rollouts import ROOT, Script, rollout, write_jsonl


@pytest.mark.usefixtures("foreground")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_a_job_act_like_ctrl_c(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interrupt_on_signals():
        signal.raise_signal(number)
    assert signal.getsignal(number) == before


@pytest.mark.usefixtures("foreground")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_run_that_is_ended_exits_130(number: signal.Signals) -> None:
    def action() -> tuple[str, list[str]]:
        signal.raise_signal(number)
        return "", []

    assert run(action, quiet=False, debug=False) == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_that_nohup_ignores_stays_ignored(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with interrupt_on_signals():
            signal.raise_signal(number)
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(
    ("started", "code"),
    [("/env/bin/bucket_rollouts_by_difficulty", -signal.SIGINT), ("notebook.py", 7)],
)
@pytest.mark.usefixtures("foreground")
def test_ctrl_c_while_modules_load_just_ends_the_installed_command(started: str, code: int) -> None:
    probe = (
        f"import os, signal, sys; sys.argv[0] = {started!r}\n"
        "import bucket_rollouts_by_difficulty\n"
        "try: os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt: sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=False)
    assert done.returncode == code


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyboardInterrupt(), "interrupted: nothing was written\n"),
        (FinishedInterrupt(), "interrupted, but the outputs are complete and in place\n"),
    ],
)
def test_interrupt_says_what_there_is(
    capsys: pytest.CaptureFixture[str], error: BaseException, text: str
) -> None:
    def action() -> tuple[str, list[str]]:
        raise error

    assert run(action, quiet=False, debug=False) == 130
    assert capsys.readouterr().err == text


@pytest.mark.parametrize(
    ("flags", "streams", "code"),
    [
        ("-n 1", "2>&-", 0),
        ("-n 1", ">&-", 0),
        ("-n 1", ">/dev/full", 0),
        ("-n 1", "2>/dev/full", 0),
        ("-n 0", "2>/dev/full", 2),
        ("--k 5 -m pass_at_k", "2>/dev/full", 1),
        ("-n 0", "2>&-", 2),
    ],
)
def test_streams_that_take_nothing_change_no_exit_code(
    tmp_path: Path, flags: str, streams: str, code: int
) -> None:
    write_jsonl(tmp_path / "a.jsonl", [rollout(1), rollout(None)])
    script = ROOT / "bucket_rollouts_by_difficulty.py"
    command = f'"{sys.executable}" "{script}" -i a.jsonl -o out {flags} {streams}'
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert (tmp_path / "out/bucketing.json").exists() == (code == 0)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--engine", "spark"), "--engine: there is no 'spark', expected one of local, ray;"),
        (
            ("--ray-address", "a:1"),
            "--ray-address: it names a Ray cluster, and Ray is not asked for",
        ),
        (
            ("--engine", "ray"),
            "--engine: Ray is not installed;",
        ),
    ],
)
def test_engine_that_cannot_be_had(
    bucket: Script,
    preprocess: Script,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.setattr("curriculum.engines.workers.find_spec", lambda name: None)
    for script in (bucket, preprocess):
        code, out, err = script("-i", "in", "-o", "out", *flags)
        assert (code, out) == (2, "")
        assert err.startswith(f"error: {told}")


def test_names_from_the_data_can_do_nothing_to_a_terminal(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    odd = "s\x1b[31m\u202e\u200b\0é\u3000"
    lines = [rollout(i % 3 > 0, 0, prompt=f"q{i}", data_source=f"{odd}{i % 2}") for i in range(40)]
    write_jsonl(tmp_path / "a.jsonl", lines)
    told = bucket("-i", tmp_path / "a.jsonl", "-o", tmp_path / "b", "-n", 2)
    sets = preprocess("-i", tmp_path / "b", "-o", tmp_path / "s", "--keep-data-source")
    for code, out, err in (told, sets):
        assert code == 0, err
        assert "s\\x1b[31m\\u202e\\u200b\\x00é\u3000" in out
        assert not {*"\x1b\u202e\u200b\0"} & {*out, *err}
    rows = [line for line in told[1].splitlines() if line.startswith(("data_source", "s\\x1b"))]
    assert len(rows) == 3
    assert len({len(row) for row in rows}) == 1  # columns are in line
