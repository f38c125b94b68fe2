#!/bin/sh
# sh examples/distillation/run.sh OUT [TRAIN.tsv DEV.tsv TEST.tsv] [OPTION]...
#
# Sequence-level distillation: a teacher is trained on pairs of lines and translates the training
# sources, each in up to three ways. A student of its width, with 6 encoder layers and 1 decoder
# layer, which translates faster, is trained on the pairs and on what the teacher says. Prints the
# teacher's scores on the test pairs, then the student's. Without files, pairs are written by
# examples/grammar.py. Writes to the folder OUT; further options go to both `attn train-mt`. The same
# command again continues an interrupted training.
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
    run attn decode -m "$out/teacher" --n-best 3 --format moses --skip-bad "$out/train.src" \
        > "$out/train.nbest"
    # What it says: of each line the best, and what is at least a tenth as likely.
    LC_ALL=C awk -F ' [|][|][|] ' '
        BEGIN { line = -1 }
        NR == FNR { source[FNR - 1] = $0; next }
        { log_prob = substr($3, length("logP=") + 1) + 0 }
        $1 != line { line = $1; best = log_prob }
        $2 != "" && log_prob >= best - 2.3 { print source[$1] "\t" $2 }
    ' "$out/train.src" "$out/train.nbest" > "$out/said.tsv"
    # The pairs, and of what it says what is new.
    LC_ALL=C awk '{ known = seen[$0]++ } NR == FNR || !known' "$train" "$out/said.tsv" \
        > "$out/distilled.part"
    mv "$out/distilled.part" "$out/distilled.tsv"
fi
sizes=$(python3 "$(dirname -- "$0")/like.py" "$out/teacher" "$train" "$out/distilled.tsv")
# shellcheck disable=SC2086
run attn train-mt "$out/distilled.tsv" --skip-bad --dev "$dev" $sizes --n-encoder-layers 6 \
    --n-decoder-layers 1 -o "$out/student" "$@" >&2

for model in teacher student; do
    run attn decode -m "$out/$model" "$test" > "$out/$model.tsv"
    echo "$model:"
    run attn score "$out/$model.tsv" --bleu --chrf
done
