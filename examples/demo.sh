#!/usr/bin/env bash
# The main job on sample rollouts, in ./demo: generate, bucket, preprocess, look at a row.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python}

step() { # PYTHON'S ARGUMENTS...
    printf '$ %s\n' "$python $*"
    "$python" "$@"
    echo
}

step examples/generate_rollouts.py -o demo/rollouts
step bucket_rollouts_by_difficulty.py -i demo/rollouts -o demo/bucketed
step preprocess_bucketed_rollouts.py -i demo/bucketed -o demo/preprocessed
step examples/show_row.py demo/preprocessed/hard_train.parquet --rows 1

cat <<TEXT
All of this is in ./demo. Now with your own rollouts: put their directory in place of demo/rollouts.

  $python bucket_rollouts_by_difficulty.py -i demo/rollouts -o ./bucketed
  $python preprocess_bucketed_rollouts.py -i ./bucketed -o ./preprocessed

Each of the two lists its flags with --help; README.md explains them.
TEXT
