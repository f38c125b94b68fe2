#!/bin/sh
# sh examples/multi30k/run.sh OUT TRAIN.src TRAIN.tgt DEV.src DEV.tgt TEST.src TEST.tgt [OPTION]...
#
# Trains on parallel files, one sentence a line, and scores the translation of the test file.
# Writes to the folder OUT; further options go to `attn train-mt`. The same command again continues
# an interrupted training, or scores a finished one.
set -eu
if [ "$#" -lt 7 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
out=$1 train_src=$2 train_tgt=$3 dev_src=$4 dev_tgt=$5 test_src=$6 test_tgt=$7
shift 7

if ! command -v attn >/dev/null; then
    root=$(cd -- "$(dirname -- "$0")/../.." && pwd)
    sh "$root/.ci/environment.sh" demo
    PATH=$root/.venv/bin:$PATH
    export PATH
fi

run() {
    echo "+ $*" >&2
    "$@"
}

mkdir -p "$out"
run paste "$dev_src" "$dev_tgt" > "$out/dev.tsv"
run attn train-mt --src "$train_src" --tgt "$train_tgt" --dev "$out/dev.tsv" -o "$out/model" "$@" >&2
run attn decode -m "$out/model" --beam 5 "$test_src" > "$out/test.hyp"
run attn score "$out/test.hyp" --ref "$test_tgt" --bleu --chrf --signature
