#!/bin/sh
# sh .ci/environment.sh EXTRA
#
# Puts attn and the packages of EXTRA (see pyproject.toml) into the virtual environment .venv of the
# repository. Does nothing where they are there and neither pyproject.toml nor the place has changed.
# PYTHON names the interpreter to use; pip reads its own PIP_ variables.
set -eu
extra=$1
cd -- "$(dirname -- "$0")/.."
stamp=.venv/installed-$extra

wanted() {
    pwd
    cat pyproject.toml
}

if [ -f "$stamp" ] && wanted | cmp -s - "$stamp"; then
    exit 0
fi

find_python() {
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "no Python 3.11 or newer found; install one, or name it: PYTHON=/path/to/python3.12" >&2
    return 1
}

run() {
    echo "+ $*"
    "$@"
}

python=$(find_python)
run "$python" -m venv .venv
run .venv/bin/python -m pip install -q -e ".[$extra]"
wanted > "$stamp"
