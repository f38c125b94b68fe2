# What the recipes share; each of them sources it.

# usage: prints the comment at the head of the recipe, and ends it
usage() {
    awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0" >&2
    exit 2
}

# need_attn EXTRAS: attn is on the path after this, if need be from an environment made for it
need_attn() {
    if ! command -v attn >/dev/null; then
        root=$(cd -- "$(dirname -- "$0")/../.." && pwd)
        sh "$root/.ci/environment.sh" "$1"
        PATH=$root/.venv/bin:$PATH
        export PATH
    fi
}

# run COMMAND...: says it, then does it
run() {
    echo "+ $*" >&2
    "$@"
}
