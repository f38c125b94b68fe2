#!/bin/sh
# sh examples/speech/run.sh OUT TRAIN.tsv DEV.tsv [OPTION]...
#
# Trains on lines of recording<TAB>what it says, writes down the recordings of the dev lines, and
# counts wrong words and letters: by attention, by attention and CTC together, by CTC alone.
# Writes to the folder OUT; further options go to `attn train-mt`. The same command again continues
# an interrupted training, or scores a finished one.
set -eu
. "$(dirname -- "$0")/../recipe.sh"
if [ "$#" -lt 3 ]; then
    usage
fi
out=$1 train=$2 dev=$3
shift 3
need_attn demo

# scored NAME OPTION...: decodes with these options, and scores what comes out
scored() {
    name=$1
    shift
    run attn decode -m "$out/model" "$@" "$dev" > "$out/$name.tsv"
    echo "$name:"
    run attn score --wer --cer < "$out/$name.tsv"
}

mkdir -p "$out"
run attn train-mt "$train" --source audio --dev "$dev" -o "$out/model" "$@" >&2
if grep -q '"ctc": true' "$out/model/config.json"; then
    scored attention --ctc-weight 0
    scored joint
    scored ctc --ctc
else
    scored attention
fi
