#!/bin/sh
# sh tests/run.sh [PYTEST ARGUMENT]...
#
# Makes the environment .venv where it is missing, and runs the tests in it, in two processes of one
# thread each (TEST_PROCESSES; 0: in one, which shows what tests print).
#
#   sh tests/run.sh                      all but the slow ones
#   sh tests/run.sh -m slow              the slow ones
#   sh tests/run.sh tests/cli -k stdin   some of them; paths count from the repository
set -eu
cd -- "$(dirname -- "$0")/.."
sh .ci/environment.sh test
echo "+ pytest $*"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec .venv/bin/python -m pytest -n "${TEST_PROCESSES:-2}" --dist loadfile \
    --no-loadscope-reorder "$@"
