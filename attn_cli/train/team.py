"""Processes that a training starts beside itself, on its own machine, by PyTorch's launcher.

The first process, rank 0, is the one that a user knows: it reads the data, speaks, writes, and is
told to stop. Those that it starts are members: each opens the same plan and waits until it is
called; then it takes up the newest saved state and its share of every batch. They meet over a file,
talk over the loopback interface, and end when rank 0 does, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import multiprocessing.resource_tracker
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch.distributed as dist
import torch.multiprocessing

from attn_cli.config.training import TrainingRuntimeOptions
from attn_cli.device import set_up
from attn_cli.errors import AttnError, EndedElsewhereError, InterruptedTrainingError
from attn_cli.train.exchange import LostProcessError
from attn_cli.train.processes import Processes
from attn_cli.train.progress import Progress

_COMMAND = "attn"
_OVER = "over"  # what is said to members that wait for a call
_POLL = 0.02  # seconds between two looks at a file
_LAST_WORDS = 5.0  # seconds in which a process that failed says why
_FAREWELL = 2.0  # seconds in which a member ends by itself
_OF_RANK_0 = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # what they mean, it decides for all


class Crew:
    """The processes that train beside this one; here those that torchrun started, or none.

    Attributes:
        verdict: how many processes are to train; 0: as many as there are.
    """

    verdict: int = 0

    def start(self) -> None:
        """Starts what is to be started."""

    def await_call(self) -> None:
        """Waits until this process is to take up the training."""

    def assemble(self, processes: Processes, progress: Progress) -> Processes:
        """Brings the processes together after a saved state, if any, was taken up.

        Args:
            processes: this process as it is.
            progress: where the training stands.

        Returns:
            This process among those that are to train.
        """
        return processes

    @property
    def measures(self) -> bool:
        """Whether updates are timed, to which the training may go back."""
        return False

    @property
    def joins(self) -> bool:
        """Whether those who are to take up the saved state are ready to be assembled."""
        return False

    def part(self) -> None:
        """Rank 0 is alone from here on; the others wait until they are called again."""

    def timed(self, n_tokens: int, seconds: float, seconds_left: float) -> None:
        """Is told how long an update took, and how long the training goes on, about."""

    def cause(self, lost: LostProcessError) -> Exception:
        """Why another process has ended."""
        return lost

    def close(self) -> None:
        """Ends what was started."""


class Team(Crew):
    """Rank 0's members.

    Args:
        processes: rank 0, alone.
        size: how many processes train, rank 0 counted.
        runtime: where they run.
        work: what a member does; it is given its `Seat`, and the rest.
        rest: of what it is given.
    """

    def __init__(
        self,
        processes: Processes,
        size: int,
        runtime: TrainingRuntimeOptions,
        work: Callable[..., None],
        *rest: object,
    ) -> None:
        self.size = size
        self._calls = 0
        self._alone = processes
        self._arguments = (size, processes.threads, runtime, work, rest)
        self._folder: str | None = None  # where they meet
        self._members: list[BaseProcess] = []

    def start(self) -> None:
        """Starts the members, which then come up by themselves."""
        self._folder = tempfile.mkdtemp(prefix="attn-team-")
        self._store = _store(self._folder)
        # A signal that reaches all processes of a terminal, or of a job, is for rank 0.
        multiprocessing.resource_tracker.ensure_running()  # as it starts, it lets signals through
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_RANK_0)
        try:
            self._members = torch.multiprocessing.start_processes(
                _member,
                (self._folder, *self._arguments),
                nprocs=self.size - 1,
                join=False,
                daemon=True,
                start_method="spawn",
            ).processes
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def is_ready(self) -> bool:
        """Whether all members have opened the plan.

        Raises:
            AttnError: one of them has ended.
        """
        if self._store.check([f"ready {rank}" for rank in range(1, self.size)]):
            return True
        if any(member.exitcode is not None for member in self._members):
            raise self.cause(LostProcessError("a process of this training did not start"))
        return False

    def assemble(self, processes: Processes, progress: Progress) -> Processes:
        """Calls the members as soon as all are ready."""
        while not self.is_ready:
            time.sleep(_POLL)
        self._calls += 1
        self._store.set(_call(self._calls), "")
        return self._alone.meet(_meeting(self._store, self._calls), self.size)

    def cause(self, lost: LostProcessError) -> Exception:
        """What the first member that failed says, or the signal that ended it."""
        until = time.monotonic() + _LAST_WORDS
        while time.monotonic() < until:
            if self._store.check(["failed"]):
                code, message, trace = json.loads(self._store.get("failed"))
                if trace:
                    return RuntimeError(f"in another process:\n{trace}")
                error = AttnError(message)
                error.exit_code = code
                return error
            for rank, member in enumerate(self._members, 1):
                if (status := member.exitcode) is not None and status < 0:
                    return AttnError(
                        f"process {rank + 1} of {self.size} was ended by "
                        f"{signal.Signals(-status).name}; what was saved is intact, and the same "
                        "command continues from there (--processes 1 needs less memory)"
                    )
            time.sleep(_POLL)
        return lost

    def close(self) -> None:
        """Ends the members, if they have not ended by themselves."""
        if self._folder is None:
            return
        self._store.set(_OVER, "")
        until = time.monotonic() + _FAREWELL
        for member in self._members:
            member.join(max(0.0, until - time.monotonic()))
            if member.is_alive():
                member.kill()
                member.join()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None


class Seat(Crew):
    """A member's place.

    Attributes:
        processes: this process, still alone, with the rank that it will have.
    """

    def __init__(self, folder: str, size: int, processes: Processes) -> None:
        self.processes = processes
        self._size = size
        self._calls = 0
        self._store = _store(folder)

    def await_call(self) -> None:
        """Says that it is ready, and waits.

        Raises:
            EndedElsewhereError: rank 0 has ended.
        """
        self._store.set(f"ready {self.processes.rank}", "")
        parent = multiprocessing.parent_process()
        self._calls += 1
        while not self._store.check([_call(self._calls)]):
            if self._store.check([_OVER]) or parent is not None and not parent.is_alive():
                raise EndedElsewhereError(1)
            time.sleep(_POLL)

    def assemble(self, processes: Processes, progress: Progress) -> Processes:
        """Joins the others."""
        return self.processes.meet(_meeting(self._store, self._calls), self._size)

    def part(self) -> None:
        """Waits until it is called again.

        Raises:
            EndedElsewhereError: rank 0 has ended.
        """
        self.await_call()

    def fail(self, code: int, message: str, trace: str = "") -> None:
        """Tells rank 0 why this process ends."""
        with contextlib.suppress(RuntimeError):  # it may be gone
            self._store.set("failed", json.dumps([code, message, trace]))


def runs_no_script_again() -> bool:
    """Whether a process that is spawned runs no script of a caller: it imports the main module.

    A module that is run by `python -m`, and the command itself, guard what they do.
    """
    main = sys.modules["__main__"]
    path = vars(main).get("__file__")
    return path is None or main.__spec__ is not None or Path(path).stem == _COMMAND


def _store(folder: str) -> dist.Store:
    return dist.FileStore(str(Path(folder) / "store"), -1)


def _call(number: int) -> str:
    return f"call {number}"


def _meeting(store: dist.Store, number: int) -> dist.Store:
    """Where those meet who were called: a group leaves its keys behind."""
    return dist.PrefixStore(f"meeting {number}", store)


def _member(
    index: int,
    folder: str,
    size: int,
    threads: int,
    runtime: TrainingRuntimeOptions,
    work: Callable[..., None],
    rest: tuple[object, ...],
) -> None:
    """What PyTorch starts as rank `index` + 1: rank 0 alone speaks."""
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for as long as the process lives
    rank = index + 1
    alone = Processes.alone(rank, set_up(runtime, rank), threads, runtime.rank_timeout)
    seat = Seat(folder, size, alone)
    try:
        work(seat, *rest)
    except (EndedElsewhereError, InterruptedTrainingError):
        pass  # which rank 0 knows
    except AttnError as error:
        seat.fail(error.exit_code, str(error))
    except Exception:  # noqa: BLE001 - a bug, whose traceback rank 0 shows
        seat.fail(1, "", traceback.format_exc())
