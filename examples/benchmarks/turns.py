"""Two long trainings on one noisy machine, as if each had it for itself: they take turns.

    python examples/benchmarks/turns.py 20 "attn train-mt … --max-time 60m" "other train …"

Each command, with all of its processes, is stopped while the other one runs, so that both meet the
same hours of a shared machine. A limit of 60 minutes by the clock is then one of 30 minutes of
their own. What is measured at the start (`--processes auto`) is not disturbed: first turns are
longer. The seconds that each had go to stdout.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

FIRST = 90.0  # seconds of the first turns


class Turn:
    """A command and its processes, of which it is known how long they ran."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.process = subprocess.Popen(["bash", "-c", command], start_new_session=True)
        self.seconds = 0.0

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def run(self, seconds: float) -> None:
        """Lets it run, until its end at most."""
        self.tell(signal.SIGCONT)
        began = time.monotonic()
        while self.running and time.monotonic() - began < seconds:
            time.sleep(0.1)
        self.seconds += time.monotonic() - began
        self.tell(signal.SIGSTOP)

    def tell(self, what: signal.Signals) -> None:
        """Sends a signal to every process of its session."""
        listed = subprocess.run(["ps", "-eo", "pid=,sess="], capture_output=True, text=True)
        for line in listed.stdout.splitlines():
            pid, session = map(int, line.split())
            if session == self.process.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, what)


def main(seconds: float, *commands: str) -> None:
    """Runs commands in turns of `seconds`, until all have ended."""
    turns: list[Turn] = []
    try:
        for command in commands:
            turns.append(Turn(command))
            turns[-1].run(FIRST)
        while any(turn.running for turn in turns):
            for turn in turns:
                if turn.running:
                    turn.run(seconds)
    finally:  # none stays behind, stopped
        for turn in turns:
            turn.tell(signal.SIGTERM)
            turn.tell(signal.SIGCONT)
    for turn in turns:
        print(f"{turn.seconds:.0f} s of its own: {turn.command}")


if __name__ == "__main__":
    main(float(sys.argv[1]), *sys.argv[2:])
