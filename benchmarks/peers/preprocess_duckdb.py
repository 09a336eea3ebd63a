"""DuckDB: bucketed rollouts → verl's columns in parquet, train and val per bucket.

Decodes only the fields that the rows need. The split is by DuckDB's own hash of the prompt.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

COLUMNS = {
    "key": "VARCHAR",
    "prompt": "STRUCT(role VARCHAR, content VARCHAR)[]",
    "response": "STRUCT(choices STRUCT(message STRUCT(content VARCHAR))[])",
    "reward": "STRUCT(score DOUBLE, V_i DOUBLE)[]",
    "ground_truth": "VARCHAR",
    "extra_info": "STRUCT(topic VARCHAR, level BIGINT)",
}
ROWS = f"""
create or replace temp table bucket as
with
  read as (
    select *, list_transform(reward, lambda r: r.score) as scores
    from read_json($path, format = 'newline_delimited', columns = {COLUMNS})
  ),
  found as (
    select *, list_position(scores, list_max(scores)) as best,
      if(hash(prompt) % 20 = 0, 'val', 'train') as split
    from read
  )
select
  'bucketed_curriculum' as data_source,
  prompt,
  'instruction_following' as ability,
  {{style: 'rule', ground_truth: ground_truth}} as reward_model,
  {{
    split: split,
    index: $first_index + row_number() over () - 1,
    key: key,
    curriculum_stage: $stage,
    curriculum_stage_index: cast($stage_index as bigint),
    difficulty_metrics: {{
      metric: 'mean_reward',
      value: list_avg(scores),
      mean_score: list_avg(scores),
      max_score: list_max(scores),
      min_score: list_min(scores),
      score_variance: list_var_samp(scores),
      success_rate: list_avg(list_transform(scores, lambda s: cast(s >= 0.5 as double))),
      num_responses: len(scores)
    }},
    best_response: {{
      index: cast(best - 1 as bigint),
      score: scores[best],
      content: response.choices[best].message.content,
      reward: cast(to_json(reward[best]) as varchar)
    }},
    level: extra_info.level,
    topic: extra_info.topic
  }} as extra_info
from found
"""
WRITE = """
copy (select * from bucket where extra_info.split = '{split}') to '{path}'
(format parquet, compression zstd, compression_level 1)
"""


def main(source: Path, target: Path) -> None:
    """Preprocess the buckets of a directory."""
    database = duckdb.connect()
    count = 0
    for i, stage in enumerate(("easy", "medium", "hard")):
        path = str(source / f"{stage}.jsonl")
        values = {"path": path, "stage": stage, "stage_index": i, "first_index": count}
        count += database.execute(ROWS, values).fetchone()[0]
        for split in ("train", "val"):
            path = target / f"{stage}_{split}.parquet"
            database.execute(WRITE.format(split=split, path=path))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
