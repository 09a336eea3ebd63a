"""The flags that choose and order rows, through both scripts: what is in the files, and told."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.bucket_directories import bucketed, buckets, hash_prompt
from tests.helpers.rollouts import Script, rollout, rows, tree, words, write_jsonl

SOURCES = ("gsm8k", "math", "code")


def made(count: int = 120) -> list[dict[str, Any]]:
    """Rollouts of eight responses, of every pass rate and of three data sources."""
    return [
        rollout(
            *(1.0 if j < i % 9 else 0.0 for j in range(8)),
            prompt=f"prompt {i}",
            key=str(i),
            data_source=SOURCES[(i // 9) % 3 if i % 5 else 0],
            extra_info={"level": i % 4},
        )
        for i in range(count)
    ]


def sets(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each file."""
    return {str(p.relative_to(directory))[:-8]: rows(p) for p in directory.rglob("*.parquet")}


def keys(found: list[dict[str, Any]]) -> list[str]:
    return [row["extra_info"]["key"] for row in found]


def steps(directory: Path, name: str) -> list[tuple[str, str, int, int, int]]:
    record = json.loads((directory / "preprocessing.json").read_text())["sets"][name]["choice"]
    return [
        (s["rule"], s.get("side", ""), s["before"], s["dropped"], s["after"])
        for s in record["steps"]
    ]


@pytest.fixture
def source(tmp_path: Path, bucket: Script) -> Path:
    return bucketed(tmp_path, bucket, made(), "-m", "success_rate")


def test_keep_drops_what_does_not_meet_it_on_both_sides(
    tmp_path: Path, preprocess: Script, source: Path
) -> None:
    flags = ("--keep", "0.1 <= success_rate <= 0.9", "--keep", "data_source == math")
    code, out, err = preprocess("-i", source, "-o", tmp_path / "o", *flags, "--val-ratio", 0.3)
    assert (code, err) == (0, "")
    found = {key for name, part in sets(tmp_path / "o").items() for key in keys(part)}
    expected = {
        r["key"] for r in made() if r["data_source"] == "math" and 0 < int(r["key"]) % 9 < 8
    }
    assert found == expected
    both = steps(tmp_path / "o", "easy")
    dropped = [step[3] for step in both]
    record = json.loads((tmp_path / "o/preprocessing.json").read_text())["sets"]["easy"]
    assert sum(dropped) == sum(record["dropped"].values())
    assert both[0][:3] == ("--keep '0.1 <= success_rate <= 0.9'", "", both[0][3] + both[1][2])
    assert "easy --keep '0.1 <= success_rate <= 0.9' both" in words(out)


def test_a_filter_counts_before_the_conditions(
    tmp_path: Path, preprocess: Script, source: Path
) -> None:
    flags = ("--filter", "passing_only", "--keep", "num_passes >= 2", "--combine")
    assert preprocess("-i", source, "-o", tmp_path / "o", *flags)[0] == 0
    found = steps(tmp_path / "o", "combined")
    fewer = [sum(int(r["key"]) % 9 == n for r in made()) for n in (0, 1)]
    assert [(rule, dropped) for rule, _, _, dropped, _ in found] == [
        ("--filter passing_only", fewer[0]),
        ("--keep 'num_passes >= 2'", fewer[1]),
    ]


def test_fewer_rows_are_among_more_and_those_of_a_bucket_in_its_cumulative_set(
    tmp_path: Path, preprocess: Script, source: Path
) -> None:
    found = {}
    for most in (5, 20):
        flags = ("--cumulative", "--max-rows", most)
        assert preprocess("-i", source, "-o", tmp_path / str(most), *flags)[0] == 0
        found[most] = {name: set(keys(part)) for name, part in sets(tmp_path / str(most)).items()}
    for name in found[5]:
        assert found[5][name] <= found[20][name]
    for name in ("easy", "medium", "hard"):
        assert len(found[5][f"{name}_train"]) == 5
    both = found[5]["easy_train"] | found[5]["medium_train"]
    assert found[5]["cumulative/stage1_and_2_train"] == both
    assert found[5]["cumulative/stage1_to_3_train"] == both | found[5]["hard_train"]
    assert steps(tmp_path / "5/cumulative", "stage1_and_2")[0][4] == 10
    # The first by the order of their prompts, whatever else there is.
    assert preprocess("-i", source, "-o", tmp_path / "c", "--combine", "--max-rows", 9)[0] == 0
    assert len(sets(tmp_path / "c")["combined_train"]) == 9


def test_val_rows_are_as_many_as_asked_for_and_nested(
    tmp_path: Path, preprocess: Script, source: Path
) -> None:
    found = {}
    for most in (3, 8):
        flags = ("--cumulative", "--val-rows", most)
        code, out, _ = preprocess("-i", source, "-o", tmp_path / str(most), *flags)
        assert code == 0
        assert f"split by prompt ({most} val rows of each bucket, seed 42)" in words(out)
        found[most] = sets(tmp_path / str(most))
        for name in ("easy", "medium", "hard"):
            assert len(found[most][f"{name}_val"]) == most
        train = {key for name, part in found[most].items() if "train" in name for key in keys(part)}
        val = {key for name, part in found[most].items() if "val" in name for key in keys(part)}
        assert not train & val
        assert len(train | val) == len(made())
        assert len(found[most]["cumulative/stage1_to_3_val"]) == 3 * most
    assert {*keys(found[3]["easy_val"])} <= {*keys(found[8]["easy_val"])}
    code, _, err = preprocess("-i", source, "-o", tmp_path / "3", "--combine", "--val-ratio", 0.1)
    assert (code, "with another --seed, --val-ratio or --val-rows" in err) == (0, True)


def test_val_rows_leave_a_prompt_to_train_and_count_repeated_prompts(
    tmp_path: Path, preprocess: Script
) -> None:
    few = [rollout(1, 0, prompt=p, key=f"{p}{i}") for p in "abc" for i in range(2)]
    others = [rollout(0, prompt=f"z{i}") for i in range(9)]
    buckets(tmp_path / "b", easy=few, hard=others)
    assert preprocess("-i", tmp_path / "b", "-o", tmp_path / "o", "--val-rows", 3)[0] == 0
    found = sets(tmp_path / "o")
    order = sorted("abc", key=lambda prompt: hash_prompt(("user", prompt)))
    expected = [r["key"] for r in few if r["key"][0] in order[:2]]
    lowest = [k for k in expected if k[0] == order[0]] + [k for k in expected if k[0] == order[1]][
        :1
    ]
    assert sorted(keys(found["easy_val"])) == sorted(lowest)
    assert {key[0] for key in keys(found["easy_train"])} == {order[2]}


def test_replay_keeps_all_of_the_last_bucket_and_a_share_of_the_others(
    tmp_path: Path, preprocess: Script, source: Path
) -> None:
    flags = ("--cumulative", "--replay", 0.25, "--val-ratio", 0)
    assert preprocess("-i", source, "-o", tmp_path / "o", *flags)[0] == 0
    found = sets(tmp_path / "o")
    two, three = (found[f"cumulative/stage1_{name}_train"] for name in ("and_2", "to_3"))
    by_stage = [Counter(r["extra_info"]["curriculum_stage"] for r in part) for part in (two, three)]
    sizes = {name: len(found[f"{name}_train"]) for name in ("easy", "medium", "hard")}
    again = {name: int(size * 0.25 + 0.5) for name, size in sizes.items()}
    assert by_stage[0] == {"easy": again["easy"], "medium": sizes["medium"]}
    assert by_stage[1] == {
        "easy": again["easy"], "medium": again["medium"], "hard": sizes["hard"]
    }  # fmt: skip
    assert steps(tmp_path / "o", "easy") == []
    ((rule, side, before, _, after),) = steps(tmp_path / "o/cumulative", "stage1_to_3")
    assert (rule, side, before, after) == ("--replay 0.25", "train", len(made()), len(three))
    easy = [{k for k in keys(part) if k in keys(found["easy_train"])} for part in (two, three)]
    assert easy[0] == easy[1]


def test_balance_gives_each_group_its_share(
    tmp_path: Path, preprocess: Script, source: Path
) -> None:
    flags = ("-i", source, "--keep-data-source", "--val-ratio", 0)
    assert preprocess(*flags, "-o", tmp_path / "a", "--balance", "data_source")[0] == 0
    for found in sets(tmp_path / "a").values():
        counts = Counter(row["data_source"] for row in found)
        assert len(counts) == 3
        assert len({*counts.values()}) == 1
    shares = ("--combine", "--max-rows", 40, "--balance", "data_source", "math=0.5")
    assert preprocess(*flags, "-o", tmp_path / "b", *shares)[0] == 0
    counts = Counter(row["data_source"] for row in sets(tmp_path / "b")["combined_train"])
    record = json.loads((tmp_path / "b/preprocessing.json").read_text())["sets"]["combined"]
    assert record["choice"]["groups"] == dict(counts)
    assert sum(counts.values()) == 40
    assert counts["math"] == 20
    every = Counter(r["data_source"] for r in made())
    for name in ("gsm8k", "code"):
        assert abs(counts[name] - 20 * every[name] / (every["gsm8k"] + every["code"])) < 1


def test_top_takes_what_teaches_most(tmp_path: Path, preprocess: Script, source: Path) -> None:
    flags = ("--combine", "--top", 20, "learnability", "--val-ratio", 0)
    assert preprocess("-i", source, "-o", tmp_path / "o", *flags)[0] == 0
    found = [int(key) % 9 for key in keys(sets(tmp_path / "o")["combined_train"])]
    assert len(found) == 20
    assert {*found} <= {3, 4, 5}  # 13 or 14 of each
    assert found.count(4) == sum(i % 9 == 4 for i in range(120))


def test_a_control_has_as_many_random_rows_of_all_buckets(
    tmp_path: Path, preprocess: Script, source: Path
) -> None:
    flags = ("--control", "--keep", "data_source == math", "--val-ratio", 0.3)
    code, out, err = preprocess("-i", source, "-o", tmp_path / "o", *flags)
    assert (code, err) == (0, "")
    assert "easy_control, medium_control, hard_control: as many random train rows" in words(out)
    found = sets(tmp_path / "o")
    val = {key for name, part in found.items() if name.endswith("val") for key in keys(part)}
    by_key = {r["key"]: r for r in made()}
    for name in ("easy", "medium", "hard"):
        control = keys(found[f"{name}_control_train"])
        assert len(control) == len(found[f"{name}_train"])
        assert not {*control} & val
        assert {by_key[key]["data_source"] for key in control} & {"gsm8k", "code"}
        by_place = sorted(
            found[f"{name}_control_train"], key=lambda row: row["extra_info"]["index"]
        )
        assert control != keys(by_place)
        assert f"{name}_control_val" not in found
    record = json.loads((tmp_path / "o/preprocessing.json").read_text())["sets"]
    assert record["easy_control"]["choice"] == {"steps": [], "control_of": "easy"}
    one, other = (keys(found[f"{name}_control_train"])[:5] for name in ("easy", "hard"))
    assert one != other


def test_a_schedule_is_one_file_that_says_the_batch_of_each_row(
    tmp_path: Path, preprocess: Script, source: Path
) -> None:
    flags = ("--combine", "--schedule", "gaussian", "--batch-size", 8, "--val-ratio", 0.1)
    code, out, err = preprocess("-i", source, "-o", tmp_path / "o", *flags)
    assert (code, err) == (0, "")
    found = sets(tmp_path / "o")
    train = found["combined_train"]
    batches = [row["extra_info"]["curriculum_step"] for row in train]
    assert batches == [i // 8 for i in range(len(train))]
    assert [row["extra_info"]["curriculum_step"] for row in found["combined_val"]] == (
        [None] * len(found["combined_val"])
    )
    values = [row["extra_info"]["difficulty_metrics"]["value"] for row in train]
    means = [sum(values[i : i + 8]) / 8 for i in range(0, len(values) - 7, 8)]
    assert means[0] > 0.75 > 0.25 > means[-1]
    assert "data.shuffle=False, data.train_batch_size=8 and trainer.total_epochs=1" in words(out)
    rest = len(train) % 8
    assert (f"The last batch has {rest} row" in words(out)) == bool(rest)
    plain = tmp_path / "plain"
    assert preprocess("-i", source, "-o", plain, "--combine", "--val-ratio", 0.1)[0] == 0
    assert sorted(keys(train)) == sorted(keys(sets(plain)["combined_train"]))
    assert "curriculum_step" not in sets(plain)["combined_train"][0]["extra_info"]


def test_epochs_write_every_row_as_often(tmp_path: Path, preprocess: Script, source: Path) -> None:
    flags = ("--combine", "--schedule", "cosine", "--batch-size", 16, "--epochs", 3)
    code, out, _ = preprocess("-i", source, "-o", tmp_path / "o", *flags, "--control")
    assert code == 0
    found = sets(tmp_path / "o")
    train = keys(found["combined_train"])
    once = len(train) // 3
    parts = [train[i * once : (i + 1) * once] for i in range(3)]
    assert [sorted(part) for part in parts] == [sorted(parts[0])] * 3
    assert parts[0] != parts[1]
    assert len({*train}) == once
    control = keys(found["combined_control_train"])
    assert [sorted(control[i * once : (i + 1) * once]) for i in range(3)] == [
        sorted(control[:once])
    ] * 3
    assert control[:once] != control[once : 2 * once]
    assert len({*control}) == once
    assert "each row 3 times" in words(out)


def test_a_schedule_is_drawn(tmp_path: Path, preprocess: Script, source: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot installs it")
    flags = ("-i", source, "-o", tmp_path / "o", "--combine", "--schedule", "cosine")
    drawn = []
    for _ in range(2):
        code, _, err = preprocess(*flags, "--batch-size", 8, "--plot", tmp_path / "s.svg")
        assert code == 0, err
        drawn.append((tmp_path / "s.svg").read_bytes())
    assert drawn[0] == drawn[1]
    assert drawn[0].startswith(b"<?xml")


def test_without_balance_a_schedule_keeps_the_mix_of_data_sources(
    tmp_path: Path, preprocess: Script, source: Path
) -> None:
    flags = ("--combine", "--schedule", "gaussian", "--batch-size", 12, "--keep-data-source")
    assert preprocess("-i", source, "-o", tmp_path / "o", *flags)[0] == 0
    train = [row["data_source"] for row in sets(tmp_path / "o")["combined_train"]]
    for name in SOURCES:
        share = train.count(name) / len(train)
        for first in range(0, len(train) - 11, 12):
            assert abs(train[first : first + 12].count(name) - 12 * share) < 2


def test_a_schedule_mixes_groups_in_every_batch(
    tmp_path: Path, preprocess: Script, source: Path
) -> None:
    flags = ("--combine", "--keep-data-source", "--balance", "data_source", "--schedule", "linear")
    code, _, _ = preprocess(
        "-i", source, "-o", tmp_path / "o", *flags, "--batch-size", 9, "--val-ratio", 0
    )
    assert code == 0
    train = sets(tmp_path / "o")["combined_train"]
    for first in range(0, len(train) - 8, 9):
        counts = Counter(row["data_source"] for row in train[first : first + 9])
        assert all(abs(counts[name] - 3) < 2 for name in SOURCES)


def test_a_bucket_may_be_called_a_control(tmp_path: Path, preprocess: Script) -> None:
    some = [rollout(1, 0, prompt=f"p{i}", key=f"p{i}") for i in range(40)]
    buckets(tmp_path / "b", a_control=some[:20], z=some[20:])
    flags = ("--control", "--val-ratio", 0)
    assert preprocess("-i", tmp_path / "b", "-o", tmp_path / "o", *flags)[0] == 0
    found = {name: len({*keys(part)}) for name, part in sets(tmp_path / "o").items()}
    assert found == dict.fromkeys(
        ("a_control_train", "z_train", "a_control_control_train", "z_control_train"), 20
    )
    buckets(tmp_path / "b", a=some[:2])
    code, _, err = preprocess("-i", tmp_path / "b", "-o", tmp_path / "p", *flags)
    assert (code, "'a_control' is the name of a bucket or set already" in err) == (1, True)


CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "--keep": st.sampled_from(["variance > 0", "0.2 < success_rate", "extra_info.level >= 1"]),
        "--filter": st.sampled_from(["passing_only", "informative_only"]),
        "--max-rows": st.integers(1, 30),
        "--val-rows": st.integers(1, 6),
        "--top": st.tuples(st.integers(1, 40), st.sampled_from(["variance", "useful_group"])),
        "--balance": st.sampled_from([("data_source",), ("data_source", "math=0.4")]),
        "--replay": st.sampled_from([0, 0.3, 1]),
        "--control": st.just(()),
        "--order": st.just("easy-to-hard"),
    },
)
WAYS = st.sampled_from(
    [("--cumulative",), ("--combine",), ("--combine", "--schedule", "gaussian", "--batch-size", 7)]
)


def as_flags(choices: dict[str, Any]) -> list[Any]:
    flags: list[Any] = []
    for flag, value in choices.items():
        flags += [flag, *(value if isinstance(value, tuple) else (value,))]
    return flags


@pytest.mark.slow
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(CHOICES, WAYS)
def test_under_every_combination_of_flags(
    tmp_path_factory, bucket, preprocess, monkeypatch, choices, way
) -> None:
    """Train and val stay apart, no row is there twice, counts add up, and neither workers nor
    shards nor blocks nor a rerun change a byte."""
    if "--schedule" in way:
        choices.pop("--order", None)
    directory = tmp_path_factory.mktemp("choose")
    source = bucketed(directory, bucket, made(90), "-m", "success_rate")
    flags = ["-i", source, *way, *as_flags(choices)]
    trees = []
    for name, workers, shard, block in (("a", 1, 1 << 20, 1 << 22), ("b", 2, 3_000, 700)):
        with monkeypatch.context() as patched:
            patched.setattr("curriculum.reading.input_files.SHARD_BYTES", shard)
            patched.setattr("curriculum.preprocessing.convert.BATCH_BYTES", block)
            patched.setattr("curriculum.storage.parquet_files.GROUP_ROWS", 11)
            code, out, err = preprocess(*flags, "-o", directory / name, "--workers", workers)
        assert code in (0, 1), err
        if code:
            assert "row is left after" in err or "fewer than one batch" in err
            return
        trees.append(tree(directory / name))
    assert trees[0] == trees[1]
    found = sets(directory / "a")
    sides = {side: {row["extra_info"]["key"] for name, part in found.items() if name.endswith(side)
                    for row in part} for side in ("train", "val")}  # fmt: skip
    assert not sides["train"] & sides["val"]
    for part in found.values():
        assert len({*keys(part)}) == len(part)
    for name in found:
        if name.endswith("_control_train"):
            assert len(found[name]) == len(found[name.replace("_control", "")])
    dry = preprocess(*flags, "-o", directory / "a", "--dry-run")
    assert dry[0] == 0
    table = [line for line in out.splitlines() if line.startswith(("combined", "easy", "hard"))]
    shown = [line.split()[:3] for line in table]
    assert shown == [
        line.split()[:3]
        for line in dry[1].splitlines()
        if line.startswith(("combined", "easy", "hard"))
    ]


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--keep", "success_rate = 1"), "write == for equal"),
        (("--schedule", "linear", "--batch-size", 8), "expected --combine"),
        (("--combine", "--schedule", "linear"), "expected --batch-size"),
        (("--combine", "--schedule", "gausian", "--batch-size", 8), "did you mean gaussian"),
        (("--batch-size", 8), "expected --schedule"),
        (("--combine", "--schedule", "linear", "--batch-size", 0), "1 or more"),
        (("--combine", "--schedule", "linear", "--batch-size", 8, "--sigma", 0.1), "no width"),
        (("--combine", "--schedule", "gaussian", "--batch-size", 8, "--sigma", 0), "0.01"),
        (("--combine", "--schedule", "cosine", "--batch-size", 8, "--start", 2), "from 0, the eas"),
        (
            ("--combine", "--schedule", "cosine", "--batch-size", 8, "--order", "easy-to-hard"),
            "is an order itself",
        ),
        (("--replay", 0.5), "--cumulative or --combine"),
        (("--combine", "--replay", 1.5), "from 0 to 1"),
        (("--max-rows", 0), "1 or more"),
        (("--val-rows", 5, "--val-ratio", 0.1), "one of the two"),
        (("--group-size", 4), "only useful_group"),
        (("--group-size", 1, "--keep", "useful_group > 0"), "2 or more"),
        (("--plot", "x.png"), "expected --schedule"),
    ],
)
def test_flags_that_do_not_fit(
    tmp_path: Path, preprocess: Script, source: Path, flags: tuple[Any, ...], why: str
) -> None:
    code, _, err = preprocess("-i", source, "-o", tmp_path / "o", *flags)
    assert (code, why in words(err)) == (2, True), err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--keep", "pass_rat > 0.1"), "none of 120 rollouts has anything in pass_rat"),
        (("--keep", "succes_rate > 0.1"), "did you mean success_rate?"),
        (("--keep", "mean_reward > 2"), "no row is left after --keep 'mean_reward > 2'"),
        (("--combine", "--schedule", "linear", "--batch-size", 500), "fewer than one batch of 500"),
        (("--val-rows", 500), "500 rows are all that a bucket has"),
        (("--buckets", "hard", "--combine", "--replay", 0.5), "there is nothing to replay"),
        (("--keep", "difficulty > 1"), "for this, name the metric, such as success_rate"),
        (("--balance", "source"), "none of 120 rollouts has anything in source"),
        (("--balance", "data_source", "gsm=0.5"), "expected one of code, gsm8k, math"),
        (("--control", "--buckets", "easy", "--combine", "--output-name", "easy"), "is the name"),
    ],
)
def test_what_the_data_say_no_to(
    tmp_path: Path, preprocess: Script, source: Path, flags: tuple[Any, ...], why: str
) -> None:
    code, _, err = preprocess("-i", source, "-o", tmp_path / "o", *flags)
    assert (code, why in words(err)) == (1, True), err
    assert not (tmp_path / "o").exists()


def test_numbers_in_place_of_scores_take_conditions_on_them_alone(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    given_rates = [{"prompt": f"p{i}", "rate": i / 10, "ground_truth": "4"} for i in range(10)]
    write_jsonl(tmp_path / "in/a.jsonl", given_rates)
    flags = ("--value-field", "rate", "--value-direction", "easier")
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "b", *flags)[0] == 0
    run = ("-i", tmp_path / "b", "-o", tmp_path / "o", "--combine", "--val-ratio", 0)
    code, _, err = preprocess(*run, "--keep", "success_rate > 0.3")
    assert (code, "success_rate is about scores" in err) == (1, True)
    code, _, err = preprocess(*run, "--top", 3, "variance")
    assert (code, "variance is about scores" in err) == (1, True)
    assert preprocess(*run, "--keep", "0.25 < rate < 0.65")[0] == 0
    (found,) = sets(tmp_path / "o").values()
    assert [r["extra_info"]["difficulty_metrics"]["value"] for r in found] == [0.3, 0.4, 0.5, 0.6]
    code, _, err = bucket(
        "-i", tmp_path / "in", "-o", tmp_path / "c", *flags, "--keep", "variance > 0"
    )
    assert (code, "variance is about scores" in err) == (2, True)


def test_a_number_in_place_of_scores_may_have_the_name_of_a_metric(
    tmp_path: Path, bucket: Script, preprocess: Script
) -> None:
    rates = [{"prompt": f"p{i}", "success_rate": i / 10, "ground_truth": "4"} for i in range(10)]
    write_jsonl(tmp_path / "in/a.jsonl", rates)
    flags = ("--value-field", "success_rate", "--value-direction", "easier")
    kept = ("--keep", "success_rate > 0.15")
    assert bucket("-i", tmp_path / "in", "-o", tmp_path / "b", *flags, *kept)[0] == 0
    flags = ("--combine", "--val-ratio", 0, "--keep", "success_rate <= 0.5")
    assert preprocess("-i", tmp_path / "b", "-o", tmp_path / "o", *flags)[0] == 0
    (found,) = sets(tmp_path / "o").values()
    values = [row["extra_info"]["difficulty_metrics"]["value"] for row in found]
    assert sorted(values) == [0.2, 0.3, 0.4, 0.5]


def test_what_a_balance_cannot_have_is_told(tmp_path: Path, preprocess: Script) -> None:
    def of(name: str, count: int) -> list[dict[str, Any]]:
        return [rollout(1, 0, prompt=f"{name} {i}", data_source=name) for i in range(count)]

    buckets(tmp_path / "b", easy=[*of("a", 60), *of("b", 2)], hard=[*of("a", 30), *of("b", 30)])
    flags = ("-i", tmp_path / "b", "-o", tmp_path / "o", "--val-ratio", 0)
    code, _, err = preprocess(*flags, "--balance", "data_source")
    assert code == 0
    assert "easy: --balance data_source leaves 4 of 62 rows, because there are 2 of b" in err
    assert "hard: --balance" not in err
    shares = ("--balance", "data_source", "a=0.5", "b=0.25")
    code, _, err = preprocess(*flags, *shares, "--cumulative", "--replay", 0.2)
    assert code == 0
    assert "stage1_and_2" not in err
    assert "hard has other shares than --balance names (a 67%, b 33%)" in err
