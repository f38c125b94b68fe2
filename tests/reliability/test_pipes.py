"""Pipes that break, close, wait or begin late."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lived import NAMES, Commands
from program import COMMAND, ENVIRONMENT, TINY, attn, inside, write_reversal

FAST = "tokenize encode"
EVERY = [n if n == FAST else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]


def meant_for(name: str, model: Path, lines: bytes) -> bytes:
    """Pieces for `tokenize decode`, the lines as they are for the others."""
    encode = ("tokenize", "encode", "-t", model)
    return inside(*encode, stdin=lines).out if name == "tokenize decode" else lines


@pytest.mark.parametrize("name", EVERY)
def test_a_reader_that_has_read_enough(
    name: str, streaming: Commands, reversal_model: Path, tmp_path: Path
) -> None:
    source = write_reversal(tmp_path / "in", 20_000, seed=1)
    source.write_bytes(meant_for(name, reversal_model, source.read_bytes()))
    command = [*COMMAND, *map(str, streaming[name]), str(source)]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read().decode()
        process.wait(120)
    assert process.returncode in (0, 141)
    assert said == ""


REDIRECTIONS = {
    "closed standard input": ("<&-", 2, "standard input is closed"),
    "closed standard output": (">&-", 1, "standard output is closed"),
    "a full device": ("> /dev/full", 1, "standard output: No space left on device"),
    "closed standard error": ("2>&-", 0, ""),
    "a full device for messages": ("2> /dev/full", 0, ""),
}


@pytest.mark.parametrize("kind", REDIRECTIONS)
def test_broken_standard_streams(kind: str, streaming: Commands, name: str = FAST) -> None:
    where, status, says = REDIRECTIONS[kind]
    arguments = " ".join(map(str, streaming[name]))
    line = f"printf 'ba\\tke\\n' | {{ {sys.executable} -m attn_cli {arguments} {where} ; }}"
    done = subprocess.run(["sh", "-c", line], env=ENVIRONMENT, capture_output=True, timeout=300)
    said = done.stderr.decode()
    assert done.returncode == status, said
    assert says in said and "Traceback" not in said and said.count("\n") <= 1
    lines = done.stdout.count(b"\n")
    assert lines == (1 if status == 0 else 0) or (name == "attend" and status == 0 and lines > 1)


@pytest.mark.slow
def test_training_survives_a_closed_standard_error(tmp_path: Path) -> None:
    corpus = write_reversal(tmp_path / "t.tsv", 150, seed=1)
    tiny = " ".join(map(str, TINY))
    line = f"{sys.executable} -m attn_cli train-mt {corpus} -o {tmp_path}/m {tiny} --max-steps 2 \
        --metric loss --vocab-size 30 2>&-"
    done = subprocess.run(["sh", "-c", line], env=ENVIRONMENT, capture_output=True, timeout=300)
    assert done.returncode == 0
    assert done.stdout.decode() == f"{tmp_path}/m\n"
    assert (tmp_path / "m" / "model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", REDIRECTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_broken_standard_streams_of_every_command(
    name: str, kind: str, streaming: Commands
) -> None:
    test_broken_standard_streams(kind, streaming, name)


@pytest.mark.parametrize("name", EVERY)
def test_each_line_of_a_slow_producer_is_answered_within_a_second(
    name: str, streaming: Commands, reversal_model: Path
) -> None:
    command = [*COMMAND, *map(str, streaming[name])]
    line = meant_for(name, reversal_model, b"banu kera\tkera banu\n")
    waits = []
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout
        for _ in range(20):
            process.stdin.write(line)
            process.stdin.flush()
            began = time.monotonic()
            assert process.stdout.readline().endswith(b"\n")
            waits.append(time.monotonic() - began)
            time.sleep(0.1)
        process.stdin.close()
    assert process.returncode == 0
    print(f"longest wait after the first line: {max(waits[1:]):.3f} s")
    assert max(waits[1:]) < 1.0


@pytest.mark.slow
def test_a_pipe_is_a_corpus_too(tmp_path: Path) -> None:
    corpus = write_reversal(tmp_path / "t.tsv", 150, seed=1)
    named = tmp_path / "pipe"
    os.mkfifo(named)
    options = (*TINY, "--max-steps", 1, "--metric", "loss", "--vocab-size", 30)
    with subprocess.Popen(["cp", str(corpus), str(named)]) as writer:
        attn("train-mt", named, "-o", tmp_path / "m", *options)
    assert writer.returncode == 0
