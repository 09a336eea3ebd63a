#!/usr/bin/env bash
# The whole curriculum: bucket rollouts, preprocess them bucket by bucket and stage by stage, train.
set -euo pipefail

fail() { # MESSAGE CODE
    printf 'error: %s\n' "$1" >&2
    exit "$2"
}

find_python() {
    scripts=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
    python=${PYTHON:-$(command -v python || command -v python3 || true)}
    [[ $python ]] || fail 'there is no python on the PATH; activate your environment, or set PYTHON' 1
    shown=$scripts/ # how commands that are printed name the scripts
    [[ $scripts != "$PWD" ]] || shown=
}

# Whose flags are whose, and which stages there are, curriculum/pipeline says: its answer sets these
# variables. It is not run with -m, which would look for it in the current directory first.
parse_flags() {
    local answer python_code='import sys
sys.path[0] = sys.argv.pop(1)
import bucket_rollouts_by_difficulty
from curriculum.cli import run
def ask():
    from curriculum.pipeline.plan import answer
    return answer(sys.argv[1:]), []
sys.exit(run(ask, quiet=False, debug="--debug" in sys.argv))'
    bucket_flags=() preprocess_flags=() buckets=() stages=() sets=() reasons=()
    preprocessed='' checkpoints='' train='' dry_run=''
    answer=$("$python" -c "$python_code" "$scripts" "$@") || exit
    eval "$answer"
    [[ $train || ! -f train.py ]] || train="$(printf %q "$python") train.py"
}

bucket_rollouts() {
    "$python" "$scripts/bucket_rollouts_by_difficulty.py" "${bucket_flags[@]}"
}

preprocess_buckets() {
    "$python" "$scripts/preprocess_bucketed_rollouts.py" "${preprocess_flags[@]}"
}

# What each stage trains on, and why.
show_stages() {
    local i name width=0
    for name in "${stages[@]}"; do
        ((${#name} <= width)) || width=${#name}
    done
    for ((i = 0; i < ${#stages[@]}; i++)); do
        printf '  stage %d  %-*s  %s\n' $((i + 1)) "$width" "${stages[i]}" "$(train_file "${sets[i]}")"
    done
    ((${#reasons[@]} == 0)) || printf '%s\n' "${reasons[@]}"
}

train_file() { # SET
    printf '%s' "$preprocessed/$1_train.parquet"
}

# A stage without rows is not skipped: the curriculum would not be the one that was shown.
check_stages() {
    local i name empty=() full=()
    for ((i = 0; i < ${#stages[@]}; i++)); do
        [[ -f $(train_file "${sets[i]}") ]] || empty+=("stage $((i + 1)) (${stages[i]})")
    done
    for name in "${buckets[@]}"; do
        if [[ -f $(train_file "$name") ]]; then
            full+=("$name")
        elif ((${#empty[@]} == 0)); then
            printf 'warning: %s has no train rows, so the stage that adds it trains on the rows of the' \
                "$name" >&2
            printf ' one before again\n' >&2
        fi
    done
    ((${#empty[@]})) || return 0
    printf 'warning: %s has no train rows\n' "${empty[@]}" >&2
    printf 'Nothing was trained. Leave out buckets without rows (--buckets%s), cut fewer (-n), or' \
        "$(printf ' %q' ${full[@]+"${full[@]}"})" >&2
    printf ' choose another --filter.\n' >&2
    exit 1
}

train_stages() {
    local i count=${#stages[@]} checkpoint loaded=()
    for ((i = 0; i < count; i++)); do
        checkpoint=${checkpoints}stage$((i + 1)).ckpt
        ((i + 1 < count)) || checkpoint=${checkpoints}final.ckpt
        echo
        echo "Stage $((i + 1)) of $count: training on ${stages[i]}..."
        bash -c "$train \"\$@\"" train --data "$(train_file "${sets[i]}")" \
            ${loaded[@]+"${loaded[@]}"} --output "$checkpoint" ||
            fail "stage $((i + 1)) of $count: the command that trains ended with exit code $?" $?
        loaded=(--load "$checkpoint")
    done
}

offer_verl() {
    echo
    echo "There is no train.py here, so nothing was trained. To train these stages with verl, name the"
    echo "model to start from:"
    printf '\n  bash %q stages -m MODEL \\\n      -d %q -o %q \\\n     ' \
        "${shown}examples/verl/train.sh" "$preprocessed" "${checkpoints:-./}checkpoints"
    printf ' %q' "${sets[@]}"
    printf '\n\nTo train them with a program of your own, run this again with --train CMD.\n'
}

explain_dry_run() {
    echo "Step 2 was left out: a dry run writes no buckets to preprocess. Without --dry-run it runs"
    printf '\n  python %q' "${shown}preprocess_bucketed_rollouts.py"
    printf ' %q' "${preprocess_flags[@]}"
    printf '\n\nStep 3 would train on these files:\n'
    show_stages
}

find_python
parse_flags "$@"

echo "Step 1: Bucketing rollouts..."
bucket_rollouts

echo
if [[ $dry_run ]]; then
    explain_dry_run
    exit
fi
echo "Step 2: Preprocessing buckets, alone and cumulatively..."
preprocess_buckets

echo
echo "Step 3: Training, stage by stage..."
show_stages
check_stages
if [[ ! $train ]]; then
    offer_verl
    echo
    echo "Pipeline complete but for the training."
    exit
fi
train_stages

echo
echo "Pipeline complete!"
