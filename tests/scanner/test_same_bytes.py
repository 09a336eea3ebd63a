"""Both scripts write the same bytes, whichever reader runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from curriculum.scanner.compiled import SWITCH
from tests.helpers.rollouts import Script, tree
from tests.scanner.invented import DECLINED, MIXED, READ
from tests.torture.runs import write_rollouts


@pytest.mark.parametrize("workers", [1, 2])
def test_outputs_are_the_same_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bucket: Script,
    preprocess: Script,
    workers: int,
) -> None:
    write_rollouts(tmp_path / "in", files=2, rollouts=60)
    (tmp_path / "in/odd.jsonl").write_bytes(b"\n".join([*READ, MIXED, *DECLINED]))
    common = ["--on-malformed", "set-aside", "--workers", workers]
    written = []
    for switch in ("", "1"):
        monkeypatch.setenv(SWITCH, switch)
        directory = tmp_path / f"out{switch}"
        directory.mkdir()
        monkeypatch.chdir(directory)  # so that manifests name the same paths
        said = [bucket("-i", "../in", "-o", "bucketed", *common)]
        truths = ["--ground-truth-format", "string"]
        said.append(preprocess("-i", "bucketed", "-o", "sets", "--cumulative", *truths, *common))
        assert [code for code, _, _ in said] == [0, 0], said
        written.append((tree(directory), said))
    assert written[0] == written[1]
    assert len(written[0][0]) > 10
