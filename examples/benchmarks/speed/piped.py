"""A program in a pipe, as a user has it, and how long it takes. Imports no PyTorch.

It answers some lines first, by which it has started, loaded and warmed up; what is timed is what
comes after these: all further lines at once, or one after another, each alone. Or the whole of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PIPE = 1 << 20  # bytes that wait in the pipe: what is there is what a program can batch


@dataclass
class Run:
    """What a run of a program took, and what it said."""

    seconds: float  # of one line where each was alone
    megabytes: float  # most memory of its largest process
    lines: list[str] = field(default_factory=list)


Environment = Mapping[str, str]


def answered(
    command: Sequence[str],
    environment: Environment,
    warm: Sequence[str],
    lines: Sequence[str],
    *,
    alone: bool,
) -> Run:
    """Seconds from the first line behind `warm` to its last answer; alone: the median line's."""
    process = _start(command, environment)
    assert process.stdin and process.stdout
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(process.stdin, fcntl.F_SETPIPE_SZ, _PIPE)
    answers = process.stdout
    _write(process, warm)
    for _ in warm:
        if not answers.readline():
            raise _failed(process, command)
    said: list[bytes] = []
    if alone:
        took = []
        for line in lines:
            start = time.perf_counter()
            _write(process, [line])
            said.append(answers.readline())
            took.append(time.perf_counter() - start)
        process.stdin.close()
        seconds = statistics.median(took)
    else:
        start = time.perf_counter()
        feeder = threading.Thread(target=_feed, args=(process, lines))
        feeder.start()
        said = [answers.readline() for _ in lines]
        seconds = time.perf_counter() - start
        feeder.join()
    if not all(said):
        raise _failed(process, command)
    megabytes = _finish(process, command)
    return Run(seconds, megabytes, [line.decode().rstrip("\n") for line in said])


def whole(command: Sequence[str], environment: Environment, stdin: str | None = None) -> Run:
    """A program from its start to its end, its output to nowhere."""
    start = time.perf_counter()
    with Path(stdin or os.devnull).open("rb") as source:
        process = subprocess.Popen(
            command, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=dict(environment),
        )  # fmt: skip
        megabytes = _finish(process, command)
    return Run(time.perf_counter() - start, megabytes)


def _start(command: Sequence[str], environment: Environment) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=dict(environment))


def _write(process: subprocess.Popen[bytes], lines: Sequence[str]) -> None:
    assert process.stdin
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        process.stdin.flush()


def _feed(process: subprocess.Popen[bytes], lines: Sequence[str]) -> None:
    assert process.stdin
    _write(process, lines)
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _finish(process: subprocess.Popen[bytes], command: Sequence[str]) -> float:
    """Waits for its end; the most memory that it had, in MB."""
    assert process.stderr
    words = process.stderr.read().decode(errors="replace")
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))[:300]}: {words[-2000:]}")
    return used.ru_maxrss / 1024


def _failed(process: subprocess.Popen[bytes], command: Sequence[str]) -> RuntimeError:
    assert process.stdin and process.stderr
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    words = process.stderr.read().decode(errors="replace")
    process.wait()
    return RuntimeError(f"{' '.join(map(str, command))[:300]}: {words[-2000:]}")
