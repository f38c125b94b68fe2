#!/bin/sh
# sh examples/captions/run.sh OUT TRAIN.tsv TRAIN_IMAGES DEV.tsv DEV_IMAGES [OPTION]...
#
# Trains a captioner and scores its captions of the DEV images. The files have a header and the
# columns image and caption; an image with several captions has several lines. TRAIN_IMAGES and
# DEV_IMAGES are folders or .tar files of the images. Writes to the folder OUT; further options go
# to `attn train-mt`. The same command again continues an interrupted training.
set -eu
. "$(dirname -- "$0")/../recipe.sh"
if [ "$#" -lt 5 ]; then
    usage
fi
out=$1 train=$2 train_images=$3 dev=$4 dev_images=$5
shift 5
need_attn demo,image

# images NAME FOLDER-OR-TAR: prints the folder
images() {
    if [ -d "$2" ]; then
        echo "$2"
        return
    fi
    mkdir -p "$out/$1"
    run tar -xf "$2" -C "$out/$1"
    echo "$out/$1"
}

mkdir -p "$out"
train_folder=$(images train-images "$train_images")
dev_folder=$(images dev-images "$dev_images")

run attn train-mt --source image --columns image,caption --image-root "$train_folder" "$train" \
    -o "$out/model" "$@" >&2

# Each image once, with all of its captions behind it.
awk -F '\t' 'NR == 1 { next }
    !($1 in captions) { order[++n] = $1 }
    { captions[$1] = captions[$1] "\t" $2 }
    END { for (i = 1; i <= n; i++) print order[i] captions[order[i]] }' "$dev" > "$out/dev.tsv"
run attn decode -m "$out/model" --image-root "$dev_folder" "$out/dev.tsv" > "$out/dev.captions.tsv"
run attn score --bleu --chrf --rouge < "$out/dev.captions.tsv"
head -n 4 "$out/dev.tsv" > "$out/few.tsv"
run attn attend -m "$out/model" --image-root "$dev_folder" -o "$out/regions.html" "$out/few.tsv" >&2
