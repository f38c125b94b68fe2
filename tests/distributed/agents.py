"""`torchrun` and what it starts."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from program import ENVIRONMENT

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


class Agent:
    """One `torchrun` with what it starts, in a session of their own; what they say in a file.

    Args:
        arguments: of torchrun.
        within: a command that runs it.
        variables: of its environment.
    """

    def __init__(
        self,
        *arguments: object,
        within: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as it lives
        self.process = subprocess.Popen(
            [*within, *TORCHRUN, *map(str, arguments)],
            env={**ENVIRONMENT, **(variables or {})},
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            start_new_session=True,
        )

    @property
    def said(self) -> str:
        self._said.seek(0)
        return self._said.read().decode()

    def ranks(self) -> dict[int, int]:
        """Rank -> process."""
        found = {}
        number = self.process.pid
        for child in Path(f"/proc/{number}/task/{number}/children").read_text().split():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
                given = dict(line.split(b"=", 1) for line in lines if b"=" in line)
                if b"RANK" in given:
                    found[int(given[b"RANK"])] = int(child)
        return found

    def wait(self, seconds: float = 300) -> int:
        try:
            return self.process.wait(seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        """As a machine is lost: all at once, without a word."""
        ranks = []  # which torchrun starts in sessions of their own
        with contextlib.suppress(OSError):
            os.kill(self.process.pid, signal.SIGSTOP)  # it starts no more of them
            ranks = list(self.ranks().values())
        for number in (self.process.pid, *ranks):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(number, signal.SIGKILL)
        self.process.wait()


def torchrun(*arguments: object, stdin: bytes = b"", n: int = 2) -> subprocess.CompletedProcess:
    """What `torchrun -m attn_cli ARGUMENTS` gives with `n` processes."""
    place = ("--standalone", "--nproc-per-node", str(n), "-m", "attn_cli")
    command = [*TORCHRUN, *place, *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, env=ENVIRONMENT, timeout=600)


def last_step(output: Path) -> int:
    """Of the newest saved state; 0: there is none."""
    states = sorted(output.glob("checkpoints/state-*.safetensors"))
    return int(states[-1].stem.removeprefix("state-")) if states else 0


def wait_until(
    is_so: Callable[[], bool], what: str, agents: list[Agent], seconds: float = 120
) -> None:
    """Waits for something that comes while the agents are there."""
    until = time.monotonic() + seconds
    while not is_so():
        said = "\n".join(agent.said for agent in agents)
        assert time.monotonic() < until, f"{what}\n{said}"
        assert all(agent.process.poll() is None for agent in agents), f"{what}\n{said}"
        time.sleep(0.02)


def weights(output: Path) -> bytes:
    """The file of the weights to use."""
    return (output / "model.safetensors").read_bytes()


def free_port() -> int:
    """A port of this machine that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
