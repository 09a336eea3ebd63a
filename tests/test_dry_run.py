"""A dry run without an output directory: the same summary, with file names alone, and no trace."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from tests.helpers.rollouts import Script, tree, write_jsonl


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this machine keeps temporary files, for this test."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def without_directory(text: str, directory: Path) -> str:
    """A summary or warning as it is without an output directory."""
    text = " ".join(text.split())
    return text.replace(f" to {directory}", "").replace(f"{directory}/", "")


def test_bucketing_says_the_same(
    source: Path, bucket: Script, here: Path, temporary: Path, tmp_path: Path
) -> None:
    broken = source / "b.jsonl"
    broken.write_text(broken.read_text() + '{"reward": [\n')
    flags = ("-i", source, "--dry-run", "--on-malformed", "set-aside", "--compare-metrics")
    out = tmp_path / "out"
    code, summary, warnings = bucket(*flags, "-o", out)
    assert code == 0
    found = bucket(*flags)
    assert found[0] == 0
    assert " ".join(found[1].split()) == without_directory(summary, out)
    assert " ".join(found[2].split()) == without_directory(warnings, out)
    assert "malformed line would be set aside" in found[2]
    assert "would write easy.jsonl, medium.jsonl, hard.jsonl and bucketing.json\n" in found[1]
    assert (tree(here), list(temporary.iterdir())) == ({}, [])


def test_what_flags_name_is_written_where_they_say(
    source: Path, bucket: Script, here: Path, temporary: Path
) -> None:
    assert bucket("-i", source, "--dry-run", "--scores", "deep/s.parquet")[0] == 0
    assert list(tree(here)) == ["deep/s.parquet"]
    assert list(temporary.iterdir()) == []


def test_a_dump_is_grouped_in_a_temporary_directory(
    bucket: Script, here: Path, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def make(directory: Path | None, prefix: str) -> Path:
        made.append(Path(tempfile.mkdtemp(prefix=prefix, dir=directory)))
        return made[-1]

    monkeypatch.setattr("curriculum.output.output_directory.make_directory", make)
    responses = [
        {"input": f"p{i % 5}", "output": "o", "score": i % 2, "step": 1, "gts": "4"}
        for i in range(20)
    ]
    source = write_jsonl(tmp_path / "dump/1.jsonl", responses)
    code, out, _ = bucket("-i", source, "--dry-run")
    assert (code, "into 5 rollouts of 4 responses" in out) == (0, True)
    assert [path.parent for path in made] == [temporary]
    assert (tree(here), list(temporary.iterdir())) == ({}, [])


def test_preprocessing_says_the_same(
    source: Path, bucket: Script, preprocess: Script, here: Path, temporary: Path, tmp_path: Path
) -> None:
    assert bucket("-i", source, "-o", tmp_path / "b")[0] == 0
    hard = tmp_path / "b/hard.jsonl"
    hard.write_text(hard.read_text() + json.dumps({"reward": [1]}) + "\n")
    flags = ("-i", tmp_path / "b", "--dry-run", "--on-malformed", "set-aside", "--cumulative")
    code, summary, warnings = preprocess(*flags, "-o", tmp_path / "out")
    assert code == 0
    found = preprocess(*flags)
    assert found[0] == 0
    assert " ".join(found[1].split()) == without_directory(summary, tmp_path / "out")
    assert " ".join(found[2].split()) == without_directory(warnings, tmp_path / "out")
    assert "would write easy_train.parquet, " in found[1]
    assert (tree(here), list(temporary.iterdir())) == ({}, [])


def test_a_run_that_fails_leaves_no_trace(
    source: Path, bucket: Script, here: Path, temporary: Path
) -> None:
    (source / "a.jsonl").write_text("broken\n")
    assert bucket("-i", source, "--dry-run", "--scores", "s.parquet")[0] == 1
    assert (tree(here), list(temporary.iterdir())) == ({}, [])


def test_files_that_are_in_the_current_directory_do_not_matter(
    source: Path, bucket: Script, preprocess: Script, here: Path
) -> None:
    for name in ("easy.jsonl", "preprocessing.json", "bucketing.json", "easy_train.parquet"):
        (here / name).write_text("mine")
    assert bucket("-i", source, "--dry-run")[0] == 0
    assert bucket("-i", source, "-o", here.parent / "b")[0] == 0
    assert preprocess("-i", here.parent / "b", "--dry-run")[0] == 0
    assert set(tree(here).values()) == {b"mine"}


def test_only_a_dry_run_needs_no_directory(
    source: Path, bucket: Script, preprocess: Script
) -> None:
    for script in (bucket, preprocess):
        code, _, err = script("-i", source)
        assert (code, err.startswith("error: -o is missing, expected where to write;\n")) == (
            2,
            True,
        )


def test_options_of_a_library_call_are_checked_likewise() -> None:
    from curriculum import BucketOptions, PreprocessOptions, UsageError

    told = "--output-dir: there is no output directory, expected a directory to write to;\nname one"
    for options, given in ((BucketOptions, ["in"]), (PreprocessOptions, "in")):
        with pytest.raises(UsageError, match=told):
            options(given)
        assert options(given, dry_run=True).output is None


def test_ray_needs_one_that_its_nodes_see(
    source: Path, bucket: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curriculum.engines.workers.find_spec", lambda name: True)
    code, _, err = bucket("-i", source, "--dry-run", "--engine", "ray")
    assert (code, "expected with Ray one for temporary files" in err) == (2, True)
