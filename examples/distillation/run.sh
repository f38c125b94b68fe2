#!/bin/sh
# sh examples/distillation/run.sh OUT [TRAIN.tsv DEV.tsv TEST.tsv] [OPTION]...
#
# Sequence-level distillation: a teacher is trained on pairs of lines, translates the training
# sources, and a student of 6 encoder layers and 1 decoder layer, which translates faster, is trained
# on what it says. Prints the teacher's scores on the test pairs, then the student's. Without files,
# pairs are written by examples/grammar.py. Writes to the folder OUT; further options go to both
# `attn train-mt`. The same command again continues an interrupted training.
set -eu
. "$(dirname -- "$0")/../recipe.sh"
if [ "$#" -lt 1 ]; then
    usage
fi
out=$1
shift
case ${1:--} in
-*) train=$out/train.tsv dev=$out/dev.tsv test=$out/test.tsv ;;
*)
    if [ "$#" -lt 3 ]; then
        usage
    fi
    train=$1 dev=$2 test=$3
    shift 3
    ;;
esac
need_attn demo

mkdir -p "$out"
if [ "$train" = "$out/train.tsv" ] && [ ! -e "$train" ]; then
    run python3 "$(dirname -- "$0")/../grammar.py" "$out"
    mv "$train" "$out/pairs.tsv"
    head -n 500 "$out/pairs.tsv" > "$dev"
    tail -n +501 "$out/pairs.tsv" > "$train"
fi

run attn train-mt "$train" --dev "$dev" -o "$out/teacher" "$@" >&2
if [ ! -e "$out/distilled.tsv" ]; then
    cut -f 1 "$train" > "$out/train.src"
    run attn decode -m "$out/teacher" --skip-bad "$out/train.src" > "$out/train.hyp"
    paste "$out/train.src" "$out/train.hyp" > "$out/distilled.part"
    mv "$out/distilled.part" "$out/distilled.tsv"
fi
# What the teacher had no answer to is left out.
run attn train-mt "$out/distilled.tsv" --skip-bad --dev "$dev" --n-encoder-layers 6 \
    --n-decoder-layers 1 -o "$out/student" "$@" >&2

for model in teacher student; do
    run attn decode -m "$out/$model" "$test" > "$out/$model.tsv"
    echo "$model:"
    run attn score "$out/$model.tsv" --bleu --chrf
done
