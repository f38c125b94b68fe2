#!/bin/sh
# sh examples/summaries/run.sh TRAIN.jsonl DEV.jsonl OUT [OPTION]...
#
# Summarization with sequence to sequence: JSON lines with the keys source, a list of sentences, and
# target, a list of summaries of them. Prints ROUGE of the first sentence, the baseline to beat, and
# of the model's summaries of the dev file, each against the best of all its references. Writes to
# the folder OUT; further options go to `attn train-mt`. The same command again continues an
# interrupted training, or scores a finished one.
set -eu
. "$(dirname -- "$0")/../recipe.sh"
if [ "$#" -lt 3 ]; then
    usage
fi
train=$1 dev=$2 out=$3
shift 3
longest=640 # tokens of a source that are read
need_attn demo

mkdir -p "$out"
run attn train-mt "$train" --dev "$dev" --columns source,target.0 --max-len "$longest" \
    --metric loss -o "$out/model" "$@" >&2
run attn decode "$dev" -m "$out/model" --columns source,target.each --max-len 60 \
    --no-repeat-ngram 3 > "$out/dev.tsv"
echo "first sentence:"
run attn score "$dev" --columns source.0,target.each --rouge
echo "summaries:"
run attn score "$out/dev.tsv" --rouge
