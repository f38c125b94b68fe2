#!/bin/sh
# sh tests/run.sh [PYTEST ARGUMENT]...
#
# Makes the environment .venv where it is missing, and runs the tests in it.
#
#   sh tests/run.sh                      all but the slow ones
#   sh tests/run.sh -m slow              the slow ones
#   sh tests/run.sh tests/cli -k stdin   some of them; paths count from the repository
set -eu
cd -- "$(dirname -- "$0")/.."
sh .ci/environment.sh test
echo "+ pytest $*"
exec .venv/bin/python -m pytest "$@"
