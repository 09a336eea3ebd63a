#!/usr/bin/env bash
# Train the stages of a curriculum in order with verl, in either of two ways.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: train.sh stages  [options] SET...  [-- OVERRIDE...]
       train.sh ordered [options] SET     [-- OVERRIDE...]

A set is easy, for easy_train.parquet and easy_val.parquet in DIR, or cumulative/stage1_and_2.

stages    one run of verl per set, in the order given; each starts from the merged checkpoint of
          the one before. To resume one run with other train_files instead does not work: it
          restores the data loader's place in the old file, and the old step count.
ordered   one run over one set that is in order (preprocess_bucketed_rollouts.py --combine
          --order easy-to-hard, or --schedule KIND --batch-size ROWS), unshuffled, one epoch.

Run it again to go on where it stopped: a stage that is merged is not trained again. A stage needs
at least one batch of train rows and one val row; check_stages.py says so before anything starts.

  -d, --data DIR         where the sets are (default: ./preprocessed)
  -m, --model MODEL      the model to start from, a path or a name on the Hugging Face hub
  -o, --output DIR       checkpoints (default: ./checkpoints)
  -b, --batch-size ROWS  prompts a step (default: 64)
      --responses N      responses a prompt (default: 8)
      --epochs N         epochs a stage (default: 1; ordered always takes one)
      --gpus N           GPUs of this machine (default: 8)
      --max-prompt N     tokens; longer prompts are left out (default: 2048)
      --max-response N   tokens (default: 4096)
      --reward FILE      reward function (default: reward.py beside this script; "" for verl's
                         own, which goes by data_source)
      --unknown CHOICE   instructions that reward.py does not know: error, or skip (default: error)
  -h, --help             this text

What follows -- goes to verl as it is, such as trainer.logger='["console","wandb"]'.
TEXT
}

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-$(command -v python || command -v python3 || true)}
[[ $python ]] || fail "there is no python on the PATH; activate your environment, or set PYTHON"
data=./preprocessed model='' output=./checkpoints batch=64 responses=8 epochs=1 gpus=8
max_prompt=2048 max_response=4096 reward=$here/reward.py unknown=error
sets=() overrides=() way=${1:-}
case $way in
    stages | ordered) shift ;;
    -h | --help) usage && exit 0 ;;
    *) fail "expected stages or ordered, found '$way'; see --help" ;;
esac
while (($#)); do
    case $1 in
        -h | --help) usage && exit 0 ;;
        --) overrides=("${@:2}") && break ;;
        -d | --data | -m | --model | -o | --output | -b | --batch-size | --responses | --epochs | \
            --gpus | --max-prompt | --max-response | --reward | --unknown)
            (($# > 1)) || fail "$1 needs a value; see --help"
            ;;
        -*) fail "unknown option $1, expected one of those that --help lists" ;;
        *) sets+=("$1") && shift && continue ;;
    esac
    case $1 in
        -d | --data) data=$2 ;;
        -m | --model) model=$2 ;;
        -o | --output) output=$2 ;;
        -b | --batch-size) batch=$2 ;;
        --responses) responses=$2 ;;
        --epochs) epochs=$2 ;;
        --gpus) gpus=$2 ;;
        --max-prompt) max_prompt=$2 ;;
        --max-response) max_response=$2 ;;
        --reward) reward=$2 ;;
        --unknown) unknown=$2 ;;
    esac
    shift 2
done
[[ $model ]] || fail "which model? pass --model"
((${#sets[@]})) || fail "which sets? name them from easy to hard"
repeated=$(printf '%s\n' "${sets[@]}" | sort | uniq -d)
[[ ! $repeated ]] || fail "a set is named twice: $repeated"
for number in "$batch" "$responses" "$epochs" "$gpus" "$max_prompt" "$max_response"; do
    [[ $number =~ ^[1-9][0-9]*$ ]] || fail "'$number' is no number from 1 up; see --help"
done
[[ $unknown == error || $unknown == skip ]] || fail "--unknown is '$unknown', expected error or skip"
shuffle=True checking=()
if [[ $way == ordered ]]; then
    ((${#sets[@]} == 1)) || fail "ordered takes one set, found ${#sets[@]}"
    shuffle=False epochs=1 checking=(--ordered)
fi

absolute() { # PATH: a cluster that runs already works in a directory of its own
    case $1 in
        /*) printf '%s' "$1" ;;
        *) printf '%s/%s' "$PWD" "${1#./}" ;;
    esac
}

data=$(absolute "$data") output=$(absolute "$output")
[[ ! $reward ]] || reward=$(absolute "$reward")
[[ ! -e $model ]] || model=$(absolute "$model")
case $here$data$output$reward$model${sets[*]} in # what has a meaning in verl's overrides
    *\\* | *"'"* | *"\${"*) fail "a path holds a quote, a backslash or \${, which verl cannot take" ;;
esac
tokens=$((max_prompt + max_response))
((tokens > 16384)) || tokens=16384

rewarding=()
if [[ $reward ]]; then
    rewarding=("reward.custom_reward_function.path='$reward'")
    [[ $unknown == error ]] ||
        rewarding+=("+reward.custom_reward_function.reward_kwargs.unknown=$unknown")
fi

train() { # SET MODEL: one run of verl, with its checkpoints in OUTPUT/SET
    "$python" -m verl.trainer.main_ppo \
        data.train_files="'$data/$1_train.parquet'" \
        data.val_files="'$data/$1_val.parquet'" \
        data.train_batch_size="$batch" \
        data.max_prompt_length="$max_prompt" \
        data.max_response_length="$max_response" \
        data.filter_overlong_prompts=True \
        data.custom_cls.path="'$here/dataset.py'" \
        data.custom_cls.name=RolloutDataset \
        data.shuffle="$shuffle" \
        algorithm.adv_estimator=grpo \
        actor_rollout_ref.model.path="'$2'" \
        actor_rollout_ref.actor.ppo_mini_batch_size="$batch" \
        actor_rollout_ref.actor.use_dynamic_bsz=True \
        actor_rollout_ref.actor.ppo_max_token_len_per_gpu="$tokens" \
        actor_rollout_ref.rollout.name=vllm \
        actor_rollout_ref.rollout.n="$responses" \
        actor_rollout_ref.rollout.tensor_model_parallel_size=1 \
        ${rewarding[@]+"${rewarding[@]}"} \
        trainer.n_gpus_per_node="$gpus" \
        trainer.project_name=curriculum \
        trainer.experiment_name="'${1##*/}'" \
        trainer.default_local_dir="'$output/$1'" \
        trainer.logger='["console"]' \
        trainer.total_epochs="$epochs" \
        trainer.save_freq=50 \
        trainer.max_actor_ckpt_to_keep=2 \
        trainer.test_freq=10 \
        ${overrides[@]+"${overrides[@]}"}
}

merge() { # SET: its last checkpoint as a Hugging Face model in OUTPUT/SET/merged
    local step
    step=$(<"$output/$1/latest_checkpointed_iteration.txt")
    "$python" -m verl.model_merger merge --backend fsdp \
        --local_dir "$output/$1/global_step_$step/actor" --target_dir "$output/$1/merging"
    [[ ! -e $output/$1/merging/lora_adapter ]] ||
        fail "$output/$1/merging is the model before training: what was learned is in lora_adapter \
beside it; merge that yourself, name the result $output/$1/merged and run this again"
    mv "$output/$1/merging" "$output/$1/merged"
}

made_from() { # SET ORIGIN: what decides a stage's model, in a line; ORIGIN is that of its start
    local rows
    rows=$(cat "$data/$1_train.parquet" "$data/$1_val.parquet" | cksum)
    printf '%s' "$rows $way $batch $responses $epochs $max_prompt $max_response $reward $unknown \
${overrides[*]-} from $2" | cksum
}

has_begun() { # SET: whether verl left a checkpoint
    [[ -e $output/$1/latest_checkpointed_iteration.txt || -d $output/$1/merged ]]
}

[[ ! $reward ]] || checking+=(--reward "$reward" --unknown "$unknown")
"$python" "$here/check_stages.py" --data "$data" --batch-size "$batch" \
    ${checking[@]+"${checking[@]}"} "${sets[@]}"

# Before anything is trained: what was trained before must be what would be trained now.
origin=$model origins=()
for name in "${sets[@]}"; do
    origin=$(made_from "$name" "$origin")
    origins+=("$origin")
    noted=$output/$name/made_from.txt
    if has_begun "$name" && [[ ! -f $noted || $(<"$noted") != "$origin" ]]; then
        fail "$output/$name was made from other rows, flags or models; pass another --output"
    fi
done

for ((i = 0; i < ${#sets[@]}; i++)); do
    name=${sets[i]}
    if [[ ! -d $output/$name/merged ]]; then
        echo "training on $name, from $model"
        mkdir -p "$output/$name"
        printf '%s\n' "${origins[i]}" >"$output/$name/made_from.txt"
        train "$name" "$model"
        merge "$name"
    fi
    model=$output/$name/merged
done
echo "done: the trained model is in $model"
