#!/bin/sh
# sh examples/fast/run.sh OUT [TRAIN.tsv DEV.tsv TEST.tsv] [OPTION]...
#
# The fast student of a good teacher: what examples/distillation trains, and the student gets a
# shortlist of the words that each source word may become. The student writes greedily, with int8
# weights, by its shortlist. Prints a table: BLEU on the test pairs and sentences a second on one
# core, beside CTranslate2's int8 on the teacher. Without files, pairs are written by
# examples/grammar.py. Writes to the folder OUT; further options go to both `attn train-mt`. The
# same command again continues an interrupted training. ROUNDS=1 in front of it measures once instead
# of five times.
set -eu
. "$(dirname -- "$0")/../recipe.sh"
if [ "$#" -lt 1 ]; then
    usage
fi
out=$1
case ${2:--} in
-*) test=$out/test.tsv ;;
*) test=${4:-} ;;
esac
if [ -z "$test" ]; then
    usage
fi
need_attn bench

sh "$(dirname -- "$0")/../distillation/run.sh" "$@" >&2
if [ ! -e "$out/fast/config.json" ]; then
    run attn convert "$out/student" --shortlist "$out/distilled.tsv" -o "$out/fast" >&2
fi
if [ ! -e "$out/ctranslate2/model.bin" ]; then
    run attn convert "$out/teacher" --to ctranslate2 --precision int8 -o "$out/ctranslate2" >&2 ||
        echo "no line of CTranslate2: see above" >&2
fi
python3 "$(dirname -- "$0")/table.py" "$out" "$test" "${ROUNDS:-5}"
