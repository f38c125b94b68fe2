"""What tests run in a fork is a process as any other."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from program import ENVIRONMENT, forked_python

CODE = r"""
import os, signal, sys
said = sys.stdin.read()
print(sys.argv, os.getcwd(), os.environ["SAID"], ascii(said), said, sys.stdout.encoding, flush=True)
print("\u00e9", file=sys.stderr)
end = sys.argv[1]
if end == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(end if end == "no" else int(end))
"""


@pytest.mark.parametrize(("end", "status"), [("0", 0), ("3", 3), ("no", 1), ("killed", -9)])
def test_a_fork_has_the_streams_arguments_place_and_status_of_its_own(tmp_path, end, status):
    ways = [sys.executable], forked_python()
    done = [
        subprocess.run(
            [*python, "-c", CODE, end, "more"],
            input="ж".encode(),
            capture_output=True,
            cwd=tmp_path,
            env={**ENVIRONMENT, "SAID": f"by {os.getpid()}"},
        )
        for python in ways
    ]
    assert [run.returncode for run in done] == [status, status]
    assert done[0].stdout == done[1].stdout and done[0].stderr == done[1].stderr


def test_forks_stand_beside_each_other_in_a_pipe(tmp_path):
    (tmp_path / "double.py").write_text("for line in open(0): print(line.strip() * 2, flush=True)")
    command = [*forked_python(), str(tmp_path / "double.py")]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with first, subprocess.Popen(command, stdin=first.stdout, stdout=subprocess.PIPE) as second:
        for _ in range(2):
            first.stdin.write(b"ab\n")
            first.stdin.flush()
            assert second.stdout.readline() == b"abababab\n"
        first.stdin.close()
        assert second.stdout.read() == b""
