"""No test of several processes takes for ever, and none leaves a process behind."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_LIMIT = 1500  # seconds: the longest takes some minutes, of a busy core
_FAREWELL = 10.0  # seconds in which what was ended may still be there
_PR_SET_CHILD_SUBREAPER = 36
# What is started once, for as long as this process lives: by Python; by `program.forked_python`.
_STAY = b"resource_tracker", b"forks.py\0serve"


def _expire(number: int, frame: object) -> None:
    raise TimeoutError(f"the test is not over after {_LIMIT} s")


@pytest.fixture(autouse=True)
def _is_bounded_and_clean() -> Iterator[None]:
    """Orphans of what a test starts become children of this process, and are found here."""
    if sys.platform != "linux":
        yield
        return
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = _children()
    handler = signal.signal(signal.SIGALRM, _expire)
    signal.alarm(_LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        left = _end_children(before)
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    assert not left, f"processes that outlive the test: {left}"


def _children() -> set[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


def _end_children(before: set[int]) -> list[str]:
    """Ends what was started since, and has not ended by itself; says what it was."""
    until = time.monotonic() + _FAREWELL
    while (left := _running(before)) and time.monotonic() < until:
        time.sleep(0.05)
    found = list(left.values())
    while left:  # their orphans come here, too
        for child in left:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        left = _running(before)
    return found


def _running(before: set[int]) -> dict[int, str]:
    """Children that are no zombies, which are waited for."""
    found = {}
    for child in _children() - before:
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        if any(name in command for name in _STAY):
            continue
        if os.waitpid(child, os.WNOHANG) == (0, 0):
            found[child] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found
