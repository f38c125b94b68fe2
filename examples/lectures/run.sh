#!/bin/sh
# sh examples/lectures/run.sh
#
# Runs every command of the tour as it stands in the README.md beside this file, from the root of the
# checkout: the first section, which writes the data, then the others, two at a time with one thread
# each. Writes to the folder tour, and prints what each section said. The same command again
# continues: what is trained is not trained again.
set -eu
. "$(dirname -- "$0")/../recipe.sh"
if [ "$#" -gt 0 ] || [ ! -e examples/lectures/README.md ]; then
    usage
fi
need_attn demo,plot,image
export OMP_NUM_THREADS=1 # small models gain nothing from a second one
unset ATTN_MODEL

mkdir -p tour/sections
rm -f tour/sections/*
# A file for each section that has commands, its name the section's number.
awk '/^## / { number++ }
    /^```/ { if (!commands) file = sprintf("tour/sections/%02d.sh", number); commands = $0 == "```sh"; next }
    commands {
        if (!(file in begun)) {
            begun[file] = 1
            print "if (set -o pipefail) 2>/dev/null; then set -o pipefail; fi" > file
            print "set -x" > file
        }
        print > file
    }' examples/lectures/README.md

cat > tour/sections/run <<'END'
if ! sh -e "$1" > "$1.log" 2>&1; then
    cat "$1.log" >&2
    exit 255 # xargs starts no further section
fi
END
sh tour/sections/run tour/sections/01.sh
ls tour/sections/*.sh | tail -n +2 | xargs -n 1 -P 2 sh tour/sections/run
for log in tour/sections/*.log; do
    echo "$log"
    grep -v '^+ set' "$log"
done
