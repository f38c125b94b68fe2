#!/bin/sh
# sh examples/multi30k/run.sh OUT TRAIN.src TRAIN.tgt DEV.src DEV.tgt TEST.src TEST.tgt [OPTION]...
#
# Trains on parallel files, one sentence a line, and scores the translation of the test file.
# Writes to the folder OUT; further options go to `attn train-mt`. The same command again continues
# an interrupted training, or scores a finished one.
set -eu
. "$(dirname -- "$0")/../recipe.sh"
if [ "$#" -lt 7 ]; then
    usage
fi
out=$1 train_src=$2 train_tgt=$3 dev_src=$4 dev_tgt=$5 test_src=$6 test_tgt=$7
shift 7
need_attn demo

mkdir -p "$out"
run paste "$dev_src" "$dev_tgt" > "$out/dev.tsv"
run attn train-mt --src "$train_src" --tgt "$train_tgt" --dev "$out/dev.tsv" -o "$out/model" "$@" >&2
run attn decode -m "$out/model" --beam 5 "$test_src" > "$out/test.hyp"
run attn score "$out/test.hyp" --ref "$test_tgt" --bleu --chrf --signature
