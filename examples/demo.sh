#!/usr/bin/env bash
# The main job on sample rollouts, in ./demo: generate, bucket, preprocess, look at a row.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

echo '$ python examples/generate_rollouts.py -o demo/rollouts'
python examples/generate_rollouts.py -o demo/rollouts

echo
echo '$ python bucket_rollouts_by_difficulty.py -i demo/rollouts -o demo/bucketed'
python bucket_rollouts_by_difficulty.py -i demo/rollouts -o demo/bucketed

echo
echo '$ python preprocess_bucketed_rollouts.py -i demo/bucketed -o demo/preprocessed'
python preprocess_bucketed_rollouts.py -i demo/bucketed -o demo/preprocessed

echo
echo '$ python examples/show_row.py demo/preprocessed/hard_train.parquet'
python examples/show_row.py demo/preprocessed/hard_train.parquet
