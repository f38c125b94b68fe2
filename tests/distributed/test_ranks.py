"""Under torchrun one stream is answered by all processes, and written once, in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from agents import TORCHRUN, torchrun
from drawn_models import write_translator
from program import ENVIRONMENT, inside, write_reversal

TWO = ("--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> bytes:
    return write_reversal(tmp_path_factory.mktemp("pairs") / "pairs.tsv", 600, seed=9).read_bytes()


def test_a_stream_is_translated_once_and_in_order(reversal_model, pairs):
    lines = pairs.split(b"\n")
    lines[40:40] = [b"\xff\tkept", b"", b" \tblank"]
    stdin = b"\n".join(lines)
    options = ("decode", "-m", reversal_model, "--scores", "--buffer", 64)
    alone = inside(*options, "--threads", 1, stdin=stdin, status=3)
    done = torchrun(*options, stdin=stdin, n=3)
    said = done.stderr.decode()
    theirs = done.stdout.decode().split("\n")[:-1]
    assert [line.split("\t")[0] for line in theirs] == [line.split("\t")[0] for line in alone.lines]
    assert len(theirs) == 603
    assert said.count("standard input:41: not UTF-8 at byte 1") == 1
    assert said.count("1 unusable line") == 1


@pytest.mark.slow
def test_a_perplexity_is_that_of_one_process(reversal_model, pairs):
    options = ("score", "-m", reversal_model, "--ppl", "--json")
    alone = inside(*options, stdin=pairs).out
    done = torchrun(*options, stdin=pairs)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == alone
    each = inside("score", "-m", reversal_model, "--log-prob", "--threads", 3, stdin=pairs).lines
    one = inside("score", "-m", reversal_model, "--log-prob", "--threads", 1, stdin=pairs).lines
    assert each == one and len(one) == 600


@pytest.mark.slow
def test_few_lines_are_not_written_twice(tmp_path):
    place = write_translator(tmp_path / "m")
    stdin = b"the cat\na dog\n\nthe mat\n"
    options = ("decode", "-m", place, "--max-len", 5)
    alone = inside(*options, stdin=stdin)
    done = torchrun(*options, stdin=stdin)
    assert done.stdout == alone.out
    assert torchrun(*options, stdin=b"").stdout == b""


def test_a_refusal_is_said_once(tmp_path):
    done = torchrun("decode", "-m", tmp_path / "none", stdin=b"a\n")
    said = done.stderr.decode()
    assert done.returncode != 0 and done.stdout == b""
    assert said.count("attn: ") == 1 and str(tmp_path / "none") in said


@pytest.mark.slow
def test_a_slow_producer_is_answered_line_by_line(reversal_model):
    command = [*TORCHRUN, *TWO, "-m", "attn_cli", "decode", "-m", str(reversal_model)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=ENVIRONMENT, **pipes) as process:
        for text in (b"banu\n", b"\n", b"kevo lira\n"):
            process.stdin.write(text)
            process.stdin.flush()
            assert process.stdout.readline().endswith(b"\n")
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="finds a process by /proc")
def test_a_process_that_is_killed_ends_the_run(reversal_model, pairs):
    command = [*TORCHRUN, *TWO, "-m", "attn_cli", "decode", "-m", str(reversal_model)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=ENVIRONMENT, **pipes) as process:
        process.stdin.write(b"banu\n")
        process.stdin.flush()
        process.stdout.readline()
        os.kill(_rank_1(process.pid), signal.SIGKILL)
        _, said = process.communicate(pairs * 3, timeout=120)
        assert process.returncode != 0
        assert said


def _rank_1(launcher: int) -> int:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(launcher)], capture_output=True, text=True
        ).stdout.split()
        for pid in children:
            with Path(f"/proc/{pid}/environ").open("rb") as file:
                if b"\0RANK=1\0" in b"\0" + file.read():
                    return int(pid)
        time.sleep(0.1)
    raise AssertionError("no rank 1")
