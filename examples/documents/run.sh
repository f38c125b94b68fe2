#!/bin/sh
# sh examples/documents/run.sh reviews|authors DATA OUT [OPTION]...
#
# Hierarchical attention on documents. reviews: is a film review good or bad; DATA is the .jsonl or
# .jsonl.gz of documents with the keys sentences, label and fold; fold 9 measures. authors: who wrote
# a passage; DATA is the folder of train.jsonl and dev.jsonl, whose ids begin with BOOK#; the first
# book of each author teaches, the second measures. Prints accuracy and F1, then for five documents
# the three sentences attended most. Writes to OUT; further options go to `attn finetune`.
set -eu
. "$(dirname -- "$0")/../recipe.sh"
if [ "$#" -lt 3 ] || { [ "$1" != reviews ] && [ "$1" != authors ]; }; then
    usage
fi
kind=$1 data=$2 out=$3
shift 3
need_attn demo

# The lines of the documents whose fold is 9, or ($1 = -v) of the others.
fold9() {
    case $data in *.gz) gzip -dc -- "$data" ;; *) cat -- "$data" ;; esac |
        grep ${1+"$@"} '"fold": *9 *[,}]'
}

# A book is what stands before # in an id; an author is the first word of it.
books() {
    cat -- "$data/train.jsonl" "$data/dev.jsonl" | awk -v out="$out" '
        match($0, /"id": *"[^#"]*#/) {
            book = substr($0, RSTART, RLENGTH)
            sub(/.*"/, "", book)
            author = book
            sub(/_.*/, "", author)
            if (!(author in first) || book < first[author]) first[author] = book
            line[NR] = $0; of[NR] = book; by[NR] = author
        }
        END {
            for (i = 1; i <= NR; i++) if (i in line)
                print line[i] > (out (of[i] == first[by[i]] ? "/train.jsonl" : "/test.jsonl"))
        }'
}

mkdir -p "$out"
if [ ! -e "$out/test.jsonl" ]; then
    if [ "$kind" = reviews ]; then
        fold9 -v > "$out/train.jsonl"
        fold9 > "$out/test.part"
        mv "$out/test.part" "$out/test.jsonl"
    else
        books
    fi
fi
run attn finetune "$out/train.jsonl" --dev "$out/test.jsonl" --task classify --arch han \
    --columns sentences,label -o "$out/model" "$@" >&2
run attn decode "$out/test.jsonl" -m "$out/model" --columns sentences,label > "$out/test.tsv"
run attn score "$out/test.tsv" --accuracy --f1

# Three documents from the beginning and two from the end: of both labels, where these are sorted.
{ head -n 3 "$out/test.jsonl"; tail -n 2 "$out/test.jsonl"; } > "$out/five.jsonl"
run attn attend "$out/five.jsonl" -m "$out/model" --columns sentences --kind sentence \
    --format tsv > "$out/five.tsv"
# line, layer, head, row, its token, column, sentence, weight -> document, weight, sentence
sort -t "$(printf '\t')" -k 1,1n -k 8,8nr "$out/five.tsv" |
    awk -F '\t' '++seen[$1] <= 3 { print $1 "\t" $8 "\t" $7 }'
