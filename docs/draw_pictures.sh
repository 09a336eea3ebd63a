#!/usr/bin/env bash
# Draws the pictures that README.md and DIFFICULTY.md show, with the commands that they show.
# usage: docs/draw_pictures.sh [DIR]     (default: docs/pictures)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pictures=${1:-$root/docs/pictures}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python "$root/examples/generate_rollouts.py" -o "$work/rollouts" >/dev/null
draw() { # NAME FLAGS...
    python "$root/bucket_rollouts_by_difficulty.py" -i "$work/rollouts" -o "$work/$1" \
        --dry-run --quiet --plot "$pictures/$1.png" "${@:2}"
    echo "drew $pictures/$1.png"
}

draw mean_reward
draw success_rate -m success_rate
draw apart -m success_rate --solved-unsolved
