#!/bin/sh
# sh examples/quickstart.sh
#
# From nothing to a translator in a few minutes: makes the environment .venv, writes a corpus from a
# small English-French grammar, trains on it, translates sentences that training has not seen, and
# scores. Everything is written to examples/quickstart/; a second run keeps what is there.
set -eu
if (set -o pipefail) 2>/dev/null; then
    set -o pipefail
fi
root=$(cd -- "$(dirname -- "$0")/.." && pwd)
sh "$root/.ci/environment.sh" demo
PATH=$root/.venv/bin:$PATH
export PATH
unset ATTN_MODEL # the model belongs to ./attn-model here
mkdir -p "$root/examples/quickstart"
cd -- "$root/examples/quickstart"

run() {
    echo "+ $1"
    eval "$1"
}

run 'python ../grammar.py .'
run 'head -n 3 train.tsv'
run 'attn train-mt train.tsv --max-steps 800'
run 'attn decode --beam 5 < test.tsv | attn score --bleu'
run 'head -n 5 test.tsv | cut -f 1 > few.en'
run 'attn decode --align few.en | paste few.en -'
