#!/usr/bin/env bash
# The whole curriculum: bucket rollouts, preprocess them bucket by bucket and stage by stage, train.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: run_curriculum_pipeline.sh [options]

  -i, --input DIR        rollouts (default: ./rollouts)
  -o, --output BASE      put all outputs under BASE: BASE/bucketed, BASE/preprocessed, checkpoints
                         (default: ./bucketed, ./preprocessed, checkpoints here)
  -n, --num-buckets N    number of buckets, one per stage (default: 3)
      --stages NAMES     names of the buckets from easy to hard, separated by spaces (by commas
                         where a name holds a space), or their number, as with -n
  -m, --metric NAME      metric of difficulty (default: mean_reward)
  -f, --filter NAME      which rollouts to train on (default: all)
      --on-malformed CHOICE  stop, or set-aside (default: stop)
  -t, --train CMD        command that trains one stage; it gets --data FILE, --load CHECKPOINT
                         (from the second stage on) and --output CHECKPOINT
                         (default: python train.py if that file is here, else the commands are
                         printed)
  -h, --help             this text
TEXT
}

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}

parse_flags() {
    rollouts=./rollouts base=. checkpoints='' num_buckets='' metric=mean_reward filter=all stages='' train=''
    malformed=stop
    while (($#)); do
        case $1 in
            -h | --help) usage && exit 0 ;;
            -i | --input | -o | --output | -n | --num-buckets | --stages | -m | --metric | -f | \
                --filter | --on-malformed | -t | --train) (($# > 1)) || fail "$1 needs a value; see --help" ;;
            *) fail "unknown option $1, expected one of those that --help lists" ;;
        esac
        case $1 in
            -i | --input) rollouts=$2 ;;
            -o | --output) base=$2 checkpoints=$2/ ;;
            -n | --num-buckets) num_buckets=$2 ;;
            --stages) stages=$2 ;;
            -m | --metric) metric=$2 ;;
            -f | --filter) filter=$2 ;;
            --on-malformed) malformed=$2 ;;
            -t | --train) train=$2 ;;
        esac
        shift 2
    done
    scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    python=${PYTHON:-$(command -v python || command -v python3)}
    bucketed=$base/bucketed preprocessed=$base/preprocessed
    [[ $train || ! -f train.py ]] || train="'$python' train.py"
}

# --stages is a list of names or their number.
name_stages() {
    names=()
    if [[ $stages && ! $stages =~ ^[0-9]+$ ]]; then
        local separator=' '
        [[ $stages != *,* ]] || separator=,
        IFS=$separator read -ra names <<<"$stages"
        stages=${#names[@]}
    fi
    if [[ $stages && $num_buckets && $stages != "$num_buckets" ]]; then
        fail "--stages asks for $stages buckets, -n for $num_buckets; leave one of them out"
    fi
    num_buckets=${num_buckets:-${stages:-3}}
}

bucket_rollouts() {
    "$python" "$scripts/bucket_rollouts_by_difficulty.py" \
        -i "$rollouts" -o "$bucketed" -m "$metric" -n "$num_buckets" --on-malformed "$malformed" \
        ${names[@]+--bucket-names "${names[@]}"}
}

preprocess_buckets() {
    "$python" "$scripts/preprocess_bucketed_rollouts.py" -i "$bucketed" -o "$preprocessed" \
        --cumulative --filter "$filter" --on-malformed "$malformed"
}

# The first stage trains on the easiest bucket, the last on the hardest, those between on all
# buckets so far.
list_stage_files() {
    local names_in_order name last set_name
    names_in_order=$("$python" - "$bucketed/bucketing.json" <<'PYTHON'
import json, sys
with open(sys.argv[1], encoding="utf-8") as manifest:
    print(*(bucket["name"] for bucket in json.load(manifest)["buckets"]), sep="\n")
PYTHON
    )
    buckets=()
    while IFS= read -r name; do buckets+=("$name"); done <<<"$names_in_order"
    count=${#buckets[@]}
    data=("$preprocessed/${buckets[0]}_train.parquet")
    for ((last = 2; last < count; last++)); do
        set_name=stage1_to_$last
        ((last > 2)) || set_name=stage1_and_2
        data+=("$preprocessed/${set_name}_train.parquet")
    done
    ((count < 2)) || data+=("$preprocessed/${buckets[count - 1]}_train.parquet")
}

train_stages() {
    local stage file checkpoint arguments final=0 loaded=() # final: the last stage that has rows
    for ((stage = 1; stage <= count; stage++)); do
        [[ ! -f ${data[stage - 1]} ]] || final=$stage
    done
    for ((stage = 1; stage <= count; stage++)); do
        file=${data[stage - 1]} checkpoint=${checkpoints}stage$stage.ckpt
        ((stage < final)) || checkpoint=${checkpoints}final.ckpt
        if [[ ! -f $file ]]; then
            echo "stage $stage has no train rows ($file is not there): skipped"
            continue
        fi
        arguments=(--data "$file" ${loaded[@]+"${loaded[@]}"} --output "$checkpoint")
        if [[ $train ]]; then
            bash -c "$train \"\$@\"" train "${arguments[@]}"
        else
            printf 'python train.py'
            printf ' %q' "${arguments[@]}"
            echo
        fi
        loaded=(--load "$checkpoint")
    done
}

parse_flags "$@"
name_stages

echo "Step 1: Bucketing rollouts..."
bucket_rollouts

echo
echo "Step 2: Preprocessing buckets, alone and cumulatively..."
preprocess_buckets
list_stage_files

echo
if [[ $train ]]; then
    echo "Step 3: Training..."
else
    echo "Step 3: Train with these commands, one after another (or pass --train CMD):"
fi
train_stages

echo
echo "Pipeline complete!"
