"""How the processes that a launcher started come together; each attempt of a run by itself.

torchrun starts processes again where one was killed, and its agents keep one store for all attempts
of a run: the addresses of the dead still stand there. Nothing in the environment numbers attempts
alike on all machines. So rank 0 makes up a name, under which all of an attempt meet, and gives it
to every rank that asks now.
"""

from __future__ import annotations

import datetime
import os
import socket
import time
import uuid
from dataclasses import dataclass

import torch.distributed as dist

from attn_cli.errors import AttnError, DataError, EndedElsewhereError, UsageError

# A process that ends is noticed at once: nobody need be hurried who reads, or waits for a user.
FOREVER = datetime.timedelta(days=365)
_STARTING = datetime.timedelta(minutes=10)  # processes that start together read the same files
_POLL = 0.02  # seconds between two looks at the store
_REFUSED = "attn/refused"


@dataclass(frozen=True)
class Meeting:
    """Where the ranks of an attempt meet.

    Attributes:
        store: of this attempt.
        run: of all attempts of the run.
    """

    store: dist.Store
    run: dist.Store

    def refuse(self, status: int) -> None:
        """Tells later attempts the status of all ranks, if another attempt would end alike."""
        if status in (UsageError.exit_code, DataError.exit_code):
            self.run.set(_REFUSED, str(status))

    def host(self, rank: int) -> str:
        """The machine that a rank is on."""
        return self.store.get(_here(rank)).decode()


def join(backend: str, patience: datetime.timedelta = FOREVER) -> Meeting:
    """Joins the ranks that a launcher announces in the environment.

    Args:
        backend: of torch.distributed.
        patience: how long one rank waits for another.

    Raises:
        AttnError: a rank does not come.
        EndedElsewhereError: an earlier attempt was refused, and said why.
    """
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    run, _, _ = next(dist.rendezvous("env://", rank, world, timeout=_STARTING))
    if run.check([_REFUSED]):
        raise EndedElsewhereError(int(run.get(_REFUSED)))
    meeting = Meeting(afresh(run, rank, world), run)
    try:
        dist.init_process_group(
            backend,
            store=dist.PrefixStore("group", meeting.store),
            rank=rank,
            world_size=world,
            timeout=patience,
        )
    except RuntimeError as error:
        if rank:
            raise EndedElsewhereError(1) from error
        raise AttnError(f"the processes of this run can't reach one another: {error}") from error
    return meeting


def afresh(
    run: dist.Store, rank: int, world: int, limit: datetime.timedelta = _STARTING
) -> dist.Store:
    """A store that is new, and the same, to all ranks that call this now.

    Args:
        run: a store that earlier attempts have used.
        rank: of this process.
        world: how many there are.
        limit: how long ranks wait for one another.

    Raises:
        AttnError: a rank does not come.
    """
    name = _gathered(run, world, limit) if rank == 0 else _asked(run, rank, limit)
    return dist.PrefixStore(name, run)


def _gathered(run: dist.Store, world: int, limit: datetime.timedelta) -> str:
    """Rank 0's part: answers until all ranks are there; one that died has asked before, too."""
    name = f"attn/{uuid.uuid4().hex}"
    run.set(f"{name}/{_here(0)}", socket.gethostname())
    answered: dict[int, str] = {}
    missing = set(range(1, world))
    until = time.monotonic() + limit.total_seconds()
    while missing:
        for rank in sorted(missing):
            if run.check([f"{name}/{_here(rank)}"]):
                missing.discard(rank)
            elif run.check([_asks(rank)]):
                asks = run.get(_asks(rank)).decode()
                if answered.get(rank) != asks:
                    run.set(_answer(asks), name)
                    answered[rank] = asks
        if time.monotonic() > until:
            some = ", ".join(map(str, sorted(missing)[:10]))
            raise AttnError(
                f"of {world} ranks these did not come within {limit.total_seconds():g} s: {some}; "
                "start it again, or with fewer (--nnodes, --nproc-per-node)"
            )
        time.sleep(_POLL if missing else 0)
    return name


def _asked(run: dist.Store, rank: int, limit: datetime.timedelta) -> str:
    """The part of the others."""
    asks = uuid.uuid4().hex
    run.set(_asks(rank), asks)
    try:
        run.wait([_answer(asks)], limit)
    except RuntimeError as error:
        late = f"rank 0 did not come within {limit.total_seconds():g} s"
        raise AttnError(f"rank {rank}: {late}") from error
    name = run.get(_answer(asks)).decode()
    run.set(f"{name}/{_here(rank)}", socket.gethostname())
    return name


def _asks(rank: int) -> str:
    return f"attn/asks {rank}"


def _answer(asks: str) -> str:
    return f"attn/answer {asks}"


def _here(rank: int) -> str:
    return f"here {rank}"
