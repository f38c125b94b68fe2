"""The program as a user runs it: in its own process, or in ours where pipes do not matter."""

from __future__ import annotations

import atexit
import functools
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

COMMAND = [sys.executable, "-m", "attn_cli"]
# The most hostile locale: the contract is UTF-8 all the same.
ENVIRONMENT = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "OMP_NUM_THREADS": "1"}

TINY = (
    *("--d-model", 32, "--d-ff", 64, "--n-heads", 2, "--n-encoder-layers", 1),
    *("--n-decoder-layers", 1, "--threads", 1, "--device", "cpu"),
)


@dataclass
class Finished:
    """What a run of the program left."""

    status: int
    out: bytes
    said: str

    @property
    def lines(self) -> list[str]:
        return self.out.decode().split("\n")[:-1]


def checked(run: Finished, status: int) -> Finished:
    assert run.status == status, run.said
    assert "Traceback" not in run.said
    return run


@functools.cache
def forked_python() -> list[str]:
    """What to call as `python` where the start of the process is not the point: see forks.py."""
    folder = tempfile.mkdtemp()
    script, place = str(Path(__file__).with_name("forks.py")), Path(folder, "forks")
    server = subprocess.Popen(
        [sys.executable, script, "serve", str(place)],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,  # it ends when this process does
        stdout=subprocess.DEVNULL,
    )
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    until = time.monotonic() + 300
    while not place.exists():
        assert server.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    return [sys.executable, "-IS", script, "run", str(place)]


def forked_command() -> list[str]:
    """What to call as COMMAND, likewise."""
    return [*forked_python(), "-m", "attn_cli"]


def forked_torchrun(processes: int) -> list[str]:
    """`torchrun`, whose processes are forks too, to be followed by arguments of `attn`."""
    options = ("--standalone", "--nproc-per-node", str(processes), "--no-python")
    return [*forked_python(), "-m", "torch.distributed.run", *options, *forked_command()]


def attn(
    *arguments: object, stdin: bytes = b"", status: int = 0, cwd: Path | None = None
) -> Finished:
    """Runs `attn ARGUMENTS` in a process with real pipes."""
    done = subprocess.run(
        [*forked_command(), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env=ENVIRONMENT,
        cwd=cwd,
        timeout=600,
    )
    return checked(Finished(done.returncode, done.stdout, done.stderr.decode()), status)


STOPPED = """
import os, sys
from attn_cli.train.monitor import Monitor
from attn_cli.cli import main
number, at = int(sys.argv.pop(1)), int(sys.argv.pop(1))
step = Monitor.step
def stopping(self, progress, *rest):
    step(self, progress, *rest)
    if progress.step == at:
        os.kill(os.getpid(), number)
Monitor.step = stopping
sys.exit(main())
"""


def stopped(number: int, at: int, *arguments: object, status: int) -> Finished:
    """Runs a training that is sent a signal after a step."""
    command = [*forked_python(), "-c", STOPPED, str(int(number)), str(at), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, timeout=600)
    return checked(Finished(done.returncode, done.stdout, done.stderr.decode()), status)


def inside(*arguments: object, stdin: bytes = b"", status: int = 0) -> Finished:
    """Runs `attn ARGUMENTS` in this process, which has loaded PyTorch already."""
    return checked(run_inside(*arguments, stdin=stdin), status)


def run_inside(*arguments: object, stdin: bytes = b"") -> Finished:
    """The same, whatever its status is."""
    from attn_cli.cli import main

    out, said = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["attn", *map(str, arguments)]),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
        mock.patch.object(sys, "stdout", out),
        mock.patch.object(sys, "stderr", said),
    ):
        code = main()
        out.flush()
    return Finished(code, out.buffer.getvalue(), said.getvalue())


def write_reversal(path: Path, size: int, seed: int, longest: int = 4) -> Path:
    """A corpus of sentences, and the same with their words in reverse order."""
    generator = random.Random(seed)
    words = [a + b for a in ("ba", "ke", "li", "mo") for b in ("nu", "ra", "vo")]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(size):
            sentence = generator.choices(words, k=generator.randint(1, longest))
            file.write(" ".join(sentence) + "\t" + " ".join(reversed(sentence)) + "\n")
    return path


def peak_mebibytes(process_id: int) -> float:
    """The most memory that a running process has held since it became this program.

    The peak that `wait4` reports begins with the size of the process that started it.
    """
    status = Path(f"/proc/{process_id}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
