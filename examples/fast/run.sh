#!/bin/sh
# sh examples/fast/run.sh OUT [TRAIN.tsv DEV.tsv TEST.tsv] [OPTION]...
#
# The fast student of a good teacher: a teacher is trained on pairs of lines and translates the
# training sources with a beam; a student with a deep encoder and one decoder layer is trained on
# what it says, and gets a shortlist of the words that each source word may become. The student
# writes greedily, with int8 weights, by its shortlist. Prints a table: BLEU on the test pairs and
# sentences a second on one core, beside CTranslate2's int8 on the teacher. Without files, pairs are
# written by examples/grammar.py. Writes to the folder OUT; further options go to both
# `attn train-mt`. The same command again continues an interrupted training. ROUNDS=1 in front of it
# measures once instead of five times.
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
need_attn bench

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
    run attn decode -m "$out/teacher" --beam 5 --skip-bad "$out/train.src" > "$out/train.hyp"
    paste "$out/train.src" "$out/train.hyp" > "$out/distilled.part"
    mv "$out/distilled.part" "$out/distilled.tsv"
fi
# What the teacher had no answer to is left out.
run attn train-mt "$out/distilled.tsv" --skip-bad --dev "$dev" --n-encoder-layers 6 \
    --n-decoder-layers 1 -o "$out/student" "$@" >&2
if [ ! -e "$out/fast/config.json" ]; then
    run attn convert "$out/student" --shortlist "$out/distilled.tsv" -o "$out/fast" >&2
fi
if [ ! -e "$out/ctranslate2/model.bin" ]; then
    run attn convert "$out/teacher" --to ctranslate2 --precision int8 -o "$out/ctranslate2" >&2 ||
        echo "no line of CTranslate2: see above" >&2
fi
python3 "$(dirname -- "$0")/table.py" "$out" "$test" "${ROUNDS:-5}"
