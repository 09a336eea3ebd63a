"""DuckDB: bucketed rollouts → verl's columns in parquet, train and val per bucket.

Decodes only the fields that the rows need. The split is by DuckDB's own hash of the prompt. The
index is `rowid`: `row_number()` would bind the query to one thread.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
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
READ = f"""
create or replace table bucket as
with
  rollouts as (
    select *, list_transform(reward, lambda r: r.score) as scores
    from read_json($path, format = 'newline_delimited', columns = {COLUMNS})
  ),
  found as (select *, list_position(scores, list_max(scores)) as best from rollouts)
select
  key, prompt, ground_truth, extra_info, scores,
  {{
    index: cast(best - 1 as bigint),
    score: scores[best],
    content: response.choices[best].message.content,
    reward: cast(to_json(reward[best]) as varchar)
  }} as best_response,
  if(hash(prompt) % 20 = 0, 'val', 'train') as split
from found
"""
WRITE = """
copy (
  select
    'bucketed_curriculum' as data_source,
    prompt,
    'instruction_following' as ability,
    {{style: 'rule', ground_truth: ground_truth}} as reward_model,
    {{
      split: split,
      index: {first_index} + rowid,
      key: key,
      curriculum_stage: '{stage}',
      curriculum_stage_index: cast({stage_index} as bigint),
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
      best_response: best_response,
      level: extra_info.level,
      topic: extra_info.topic
    }} as extra_info
  from bucket
  where split = '{split}'
) to '{path}' (format parquet, compression zstd, compression_level 1)
"""


def main(source: Path, target: Path) -> None:
    """Preprocess the buckets of a directory."""
    database = duckdb.connect()
    count = 0
    for i, stage in enumerate(("easy", "medium", "hard")):
        database.execute(READ, {"path": str(source / f"{stage}.jsonl")})
        writes = [
            WRITE.format(
                first_index=count, stage=stage, stage_index=i, split=split,
                path=target / f"{stage}_{split}.parquet",
            )
            for split in ("train", "val")
        ]  # fmt: skip
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda write: database.cursor().execute(write), writes))
        count += database.execute("select count(*) from bucket").fetchall()[0][0]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
