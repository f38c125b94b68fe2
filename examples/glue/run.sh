#!/bin/sh
# Fine-tunes and measures a pair and a choice task on JSON lines of the shapes that GLUE and
# SuperGLUE have. The sentences are made up here, and learnt from random weights.
# Usage: sh examples/glue/run.sh [FOLDER]
set -eu
work=${1:-glue-example}
mkdir -p "$work"
attn=${ATTN:-attn}

# Does the second sentence follow from the first? Which of two things does the animal do?
awk -v folder="$work" 'BEGIN {
    srand(7)
    split("cat dog bird horse cow fish", animal, " ")
    split("barn house garden field", place, " ")
    split("big small old young white black brown grey", kind, " ")
    split("today now again still", when, " ")
    for (i = 0; i < 440; i++) {
        file = i < 400 ? "train" : "val"
        a = kind[1 + int(rand() * 8)] " " animal[1 + int(rand() * 6)]
        n = 1 + int(rand() * 4); inside = n <= 2; said = rand() < 0.5
        printf "{\"premise\": \"the %s is in the %s %s\", \"hypothesis\": \"it is %s\", \"idx\": %d, \"label\": \"%s\"}\n", \
            a, place[n], when[1 + int(rand() * 4)], said ? "inside" : "outside", i, \
            said == inside ? "entailment" : "not_entailment" > folder "/" file ".rte.jsonl"
        right = a ~ /fish/ ? "it swims" : a ~ /bird/ ? "it flies" : "it walks"
        wrong = a ~ /fish|bird/ ? "it walks" : "it swims"
        first = rand() < 0.5
        printf "{\"premise\": \"here is a %s %s\", \"choice1\": \"%s\", \"choice2\": \"%s\", \"idx\": %d, \"label\": %d}\n", \
            a, when[1 + int(rand() * 4)], first ? right : wrong, first ? wrong : right, i, \
            !first > folder "/" file ".copa.jsonl"
    }
}'

common="--size tiny --type word --vocab-size 42 --lr 0.002 --batch-tokens 512 --quiet"

# shellcheck disable=SC2086
"$attn" finetune "$work/train.rte.jsonl" --task pair --columns premise,hypothesis,label \
    --dev "$work/val.rte.jsonl" $common --max-epochs 15 -o "$work/rte"
"$attn" decode "$work/val.rte.jsonl" -m "$work/rte" --columns premise,hypothesis,label |
    "$attn" score --accuracy --f1

# shellcheck disable=SC2086
"$attn" finetune "$work/train.copa.jsonl" --task choice --columns premise,choice1,choice2,label \
    --dev "$work/val.copa.jsonl" $common --max-epochs 6 -o "$work/copa"
"$attn" decode "$work/val.copa.jsonl" -m "$work/copa" --columns premise,choice1,choice2,label |
    "$attn" score --accuracy
