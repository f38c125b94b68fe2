"""What ranks say to one another, and what one says of another that does not come."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch.distributed as dist

from attn_cli import rendezvous
from attn_cli.errors import AttnError, EndedElsewhereError

_PATIENCE = datetime.timedelta(minutes=30)
_LAST_MARKS = 3.0  # seconds in which all ranks that wait in vain have noticed it
_LATE, _LOST = "late", "lost"


@dataclass
class Waiting:
    """How ranks wait for one another.

    Attributes:
        limit: how long.
        step: the update that they are at.
        store: where those say so that wait in vain.
        meeting: where they met, if a launcher started them.
        patient: a group whose ranks wait for as long as it takes, as data are read.
    """

    limit: datetime.timedelta = _PATIENCE
    step: int = 0
    store: dist.Store | None = None
    meeting: rendezvous.Meeting | None = None
    patient: dist.ProcessGroup | None = None


class Ranks(Protocol):
    """A process among its peers, as far as an exchange is concerned."""

    @property
    def rank(self) -> int:
        """The number of this one."""

    @property
    def world(self) -> int:
        """How many there are."""

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that speaks."""

    @property
    def waiting(self) -> Waiting:
        """How this one waits for the others."""


class LostProcessError(AttnError):
    """Another process of the training has ended without a word."""


class LateProcessError(AttnError):
    """Another process of the training did not come to an exchange in time."""


@contextlib.contextmanager
def exchange(ranks: Ranks) -> Iterator[None]:
    """A context in which ranks talk to each other.

    Raises:
        LateProcessError: on the first of those that waited in vain.
        LostProcessError: on rank 0, another rank is gone.
        EndedElsewhereError: on other ranks: another says it.
    """
    try:
        yield
    except RuntimeError as error:
        with contextlib.suppress(RuntimeError):  # the store may be gone, too
            _require_all(ranks, str(error))
        if not ranks.is_main:
            raise EndedElsewhereError(1) from error
        raise LostProcessError(
            "another process of this training has ended, or can't be reached any more; what was "
            "saved is intact, and the same command continues from there"
        ) from error


def _require_all(ranks: Ranks, failure: str) -> None:
    """Finds out, where an exchange failed, who did not come to it in time.

    Those that wait in vain break it off, which others notice as the end of a connection.

    Raises:
        LateProcessError: on the first rank of those that waited in vain.
        EndedElsewhereError: on the others.
    """
    waiting, rank = ranks.waiting, ranks.rank
    if waiting.store is None:
        return
    store = dist.PrefixStore(f"step {waiting.step}", waiting.store)
    is_late = "timed out" in failure.lower() or "timeout" in failure.lower()
    store.set(str(rank), _LATE if is_late else _LOST)
    until = time.monotonic() + (_LAST_MARKS if is_late else _LAST_MARKS / 6)
    while time.monotonic() < until and not is_late:
        time.sleep(0.05)
        others = [other for other in range(ranks.world) if store.check([str(other)])]
        if any(store.get(str(other)) == _LATE.encode() for other in others):
            is_late, until = True, time.monotonic() + _LAST_MARKS
    if not is_late:
        return
    time.sleep(max(0.0, until - time.monotonic()))
    there = [other for other in range(ranks.world) if store.check([str(other)])]
    if rank != there[0]:
        raise EndedElsewhereError(1)
    missing = [other for other in range(ranks.world) if other not in there]
    who = ", ".join(_called(other, waiting) for other in missing[:10]) or "no rank"
    raise LateProcessError(
        f"step {waiting.step}: {who} of {ranks.world} did not come within "
        f"{waiting.limit.total_seconds():g} s (--rank-timeout); what was saved is intact, and the "
        "same command continues from there"
    )


def _called(rank: int, waiting: Waiting) -> str:
    return f"rank {rank}" + (f" (on {waiting.meeting.host(rank)})" if waiting.meeting else "")
