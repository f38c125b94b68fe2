"""Runs the program in forked lives, some of which end badly: `lives.py < PLAN > REPORTS`.

A fork of a process that has imported everything and computed nothing starts in a moment, so that
twenty lives cost less than two starts of Python and PyTorch. Each line of standard input is one
life in JSON: its arguments and how it shall end; each line of standard output says how it ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import resource
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def _import_everything() -> None:
    import torch

    import attn_cli.cli.train_mt
    import attn_cli.systems.generation.lines
    import attn_cli.systems.generation.scorer
    import attn_cli.systems.translation.recipe  # noqa: F401

    torch.set_num_threads(1)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Ending:
    """Counts calls of a function and acts at one of them."""

    def __init__(self, owner: Any, name: str, at: int, act: Any, *, after: bool = False) -> None:
        self._original = getattr(owner, name)
        self._left = at
        self._act = act
        self._after = after
        ending = self

        def replaced(*arguments: Any, **named: Any) -> Any:
            ending._left -= 1
            if ending._left == 0 and not after:
                ending._act()
            result = ending._original(*arguments, **named)
            if ending._left == 0 and after:
                ending._act()
            return result

        setattr(owner, name, replaced)


def _arrange(ending: dict[str, Any]) -> None:
    """Sees to it that this life ends as planned."""
    from attn_cli import files
    from attn_cli.train import checkpoints, loop, monitor, passes, processes

    kind, at = ending["kind"], ending.get("at", 1)
    trainer = loop.Trainer
    signals = [getattr(signal, name) for name in ending.get("signals", ())]
    for name in ending.get("ignoring", ()):
        signal.signal(getattr(signal, name), signal.SIG_IGN)

    def strike() -> None:
        for number in signals:
            os.kill(os.getpid(), number)

    arrangements: dict[str, Callable[[], object]] = {
        "alone": lambda: None,
        "after a time": lambda: None,
        "in an accumulation window": lambda: Ending(passes.Passes, "_backward", at, _die),
        "in an update": lambda: Ending(processes.nn.utils, "clip_grad_norm_", at, _die),
        "in a validation": lambda: Ending(trainer, "_keep_if_good", at, _die),
        "after the best weights": lambda: Ending(trainer, "_keep_if_good", at, _die, after=True),
        "after the log": lambda: Ending(monitor.Monitor, "validation", at, _die, after=True),
        "before the log is cut": lambda: Ending(os, "truncate", at, _die),
        "after the log is cut": lambda: Ending(os, "truncate", at, _die, after=True),
        "while a file is written": lambda: _cut_short(files, at, _die),
        "before a checkpoint is renamed": lambda: Ending(files.os, "fsync", at, _die),
        "after a checkpoint": lambda: Ending(
            checkpoints.Checkpoints, "save_state", at, _die, after=True
        ),
        "at an epoch's end": lambda: _at_epoch_end(trainer, "_update"),
        "after a checkpoint at an epoch's end": lambda: _at_epoch_end(trainer, "_after_update"),
        "at the end": lambda: Ending(trainer, "_finish", at, _die, after=True),
        "when signalled": lambda: Ending(trainer, "_update", at, strike),
        "when signalled in a validation": lambda: Ending(trainer, "_keep_if_good", at, strike),
        "disk full": lambda: _cut_short(files, at, _fill_the_disk),
        "without privileges": _give_up_privileges,
        "folder turns read-only": lambda: _close(trainer, at, Path(ending["folder"])),
        "file size limit": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (at, at)),
    }
    arrangements[kind]()


def _at_epoch_end(trainer: Any, name: str) -> None:
    """Dies after the first call of a method by which the second epoch has begun."""
    original = getattr(trainer, name)

    def replaced(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        if self.progress.position.epoch > 0:
            _die()

    setattr(trainer, name, replaced)


def _give_up_privileges() -> None:
    """From here on, root is a user like others, whom a folder's permissions bind."""
    if os.geteuid() == 0:
        version_3 = struct.pack("Ii", 0x20080522, 0)
        if ctypes.CDLL(None, use_errno=True).capset(version_3, bytes(24)):
            raise OSError(ctypes.get_errno(), "capset")


def _close(trainer: Any, at: int, folder: Path) -> None:
    _give_up_privileges()

    def close() -> None:
        for place in (folder / "checkpoints", folder):
            place.chmod(0o500)

    Ending(trainer, "_update", at, close)


def _fill_the_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _cut_short(files: Any, at: int, act: Any) -> None:
    """Half of the `at`-th file is written; then it happens."""
    left = [at]
    original = files.replacing

    @contextlib.contextmanager
    def half(path: Path) -> Iterator[Any]:
        left[0] -= 1
        with original(path) as file:
            yield file if left[0] else _Half(file, act)

    files.replacing = half


class _Half:
    """A file that takes half of what is written, and then the end comes."""

    def __init__(self, file: Any, act: Any) -> None:
        self._file = file
        self._act = act

    def write(self, data: bytes) -> None:
        self._file.write(data[: len(data) // 2])
        self._file.flush()
        self._act()


def _live(plan: dict[str, Any]) -> None:
    said = os.open(plan["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    out = os.open(plan["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    source = os.open(plan.get("stdin", os.devnull), os.O_RDONLY)
    for descriptor, number in ((source, 0), (out, 1), (said, 2)):
        os.dup2(descriptor, number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.argv = ["attn", *plan["arguments"]]
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup
    _arrange(plan["ending"])
    from attn_cli.cli import main

    try:
        status = main()
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _watch(plan: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _live(plan)
    timer = None
    if plan["ending"]["kind"] == "after a time":
        timer = threading.Timer(plan["ending"]["seconds"], os.kill, (child, signal.SIGKILL))
        timer.start()
    _, status, usage = os.wait4(child, 0)
    if timer:
        timer.cancel()
    return {
        "status": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - began,
        "mebibytes": usage.ru_maxrss / 1024,
    }


if __name__ == "__main__":
    _import_everything()
    for line in sys.stdin:
        print(json.dumps(_watch(json.loads(line))), flush=True)
