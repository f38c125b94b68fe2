#!/bin/sh
# sh examples/speech/run.sh OUT TRAIN.tsv DEV.tsv [OPTION]...
#
# Trains on lines of recording<TAB>what it says, writes down the recordings of the dev lines, and
# counts wrong words and letters: by attention, by attention and CTC together, by CTC alone.
# Writes to the folder OUT; further options go to `attn train-mt`. The same command again continues
# an interrupted training, or scores a finished one. LM=2m in front of it trains a language model of
# what the recordings of TRAIN say for so long, which then has a say, too: LM_WEIGHT=0.2 is how much.
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
if [ -n "${LM:-}" ]; then
    cut -f 2 "$train" | sed G > "$out/said.txt" # each by itself, a blank line behind it
    cut -f 2 "$dev" | sed G > "$out/said_dev.txt"
    run attn pretrain "$out/said.txt" --objective clm --tokenizer "$out/model" \
        --dev "$out/said_dev.txt" --max-time "$LM" -o "$out/lm" >&2
    scored lm --lm "$out/lm" --lm-weight "${LM_WEIGHT:-0.2}"
fi
