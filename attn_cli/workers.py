"""Work on the items of a stream by several processes, results in order; standard library only.

Python's own lock lets threads wait for each other through most of a small model's work: workers are
processes. They are forked, so that each has at once, and without a copy, all that this process has:
a loaded model too. That is safe where a worker runs on one thread, which no library's pool of
threads has to be alive for; it is done on Linux alone, whose workers end with this process, however
that ends.
"""

from __future__ import annotations

import ctypes
import gc
import io
import itertools
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from types import TracebackType
from typing import Generic, Protocol, TypeVar, cast

from attn_cli.errors import AttnError

_T = TypeVar("_T")
_R = TypeVar("_R")
_AHEAD = 4  # items for each worker that wait for an earlier one, at most
_PR_SET_PDEATHSIG = 1
_RAYON = "TOKENIZERS_PARALLELISM"  # Hugging Face's tokenizers warn of being forked without a word


class Others(Protocol):
    """Processes that somebody else has started; see `ranks`."""

    def in_order(
        self,
        work: Callable[[_T], _R],
        items: Iterable[_T | None],
        feed: Feed,
        shared: Sequence[object] = (),
    ) -> Iterator[_R]:
        """See `in_order`."""

    def agreed(self, ask: Callable[[], _T]) -> _T:
        """See `Crew.agreed`."""


@dataclass(frozen=True)
class Crew:
    """Who does the work.

    Attributes:
        size: how many processes work beside this one, at most; 1: this one does it itself.
        begin: what each does first.
        first: lines of the first parts of a stream; see `Rows.windows`.
        ranks: those who work instead, in processes that torchrun started; None: nobody.
    """

    size: int = 1
    begin: Callable[[], None] = lambda: None
    first: int | None = None
    ranks: Others | None = None

    def agreed(self, ask: Callable[[], _T]) -> _T:
        """What is found of the stream, which one process alone may read."""
        return self.ranks.agreed(ask) if self.ranks else ask()


class Feed(Protocol):
    """Where items come from: a `lines.reading.LineReader`."""

    def ready(self) -> bool:
        """Whether the next item can be had without waiting."""

    def fileno(self) -> int:
        """The descriptor that is waited for, where it can't."""


@dataclass(frozen=True)
class Failure:
    """What stands in the place of an item that could not be had."""

    error: Exception


def in_order(
    work: Callable[[_T], _R],
    items: Iterable[_T | None],
    crew: Crew,
    feed: Feed,
    shared: Sequence[object] = (),
) -> Iterator[_R]:
    """`map(work, items)`, by workers once two items are there.

    A single item, and each that a slow producer gives alone, is done here. No more items are taken
    than the workers need, and a few that wait for an earlier one: memory does not grow.

    Args:
        work: may raise what pickle can carry; its changes to anything are a worker's own.
        items: sent to the workers by pickle; None where something was read that is no item yet.
        crew: who does the work.
        feed: what `items` are read from.
        shared: objects that are there before anything is taken from `items`, and named, not sent,
            where items or results hold them.

    Raises:
        AttnError: a worker was ended by others.
    """
    if crew.ranks is not None:
        yield from crew.ranks.in_order(work, items, feed, shared)
        return
    if crew.size < 2 or sys.platform != "linux":
        yield from (work(item) for item in items if item is not None)
        return
    stream = up_to_failure(items)
    held: list[_T] = []
    for item in stream:
        if isinstance(item, Failure):
            yield from map(work, held)
            raise item.error
        if item is not None:
            held.append(item)
        if len(held) > 1:
            break
        if not feed.ready():
            yield from map(work, held)
            held.clear()
    else:
        yield from map(work, held)
        return
    with _Pool(work, crew, shared) as pool:
        yield from pool.results(itertools.chain(held, stream), feed)


def apart(make: Callable[[], _R]) -> _R:
    """What `make` gives, made in a worker, which gives the memory back that it took.

    Where there are none (see above), in this process.
    """
    if sys.platform != "linux":
        return make()
    pool: _Pool[None, _R] = _Pool(lambda _: make(), Crew(), ())
    with pool:
        return pool.one(None)


def up_to_failure(items: Iterable[_T]) -> Iterator[_T | Failure]:
    """The items; what prevents that there are more of them comes as the last one."""
    try:
        yield from items
    except Exception as error:  # noqa: BLE001 - raised in its turn
        yield Failure(error)


class _Task(Generic[_R]):
    """An item's place among the results."""

    def __init__(self) -> None:
        self.done: tuple[_R] | None = None
        self.error: Exception | None = None

    @property
    def is_over(self) -> bool:
        return self.done is not None or self.error is not None

    def result(self) -> _R:
        if self.error is not None:
            raise self.error
        assert self.done is not None
        return self.done[0]


@dataclass
class _Worker(Generic[_R]):
    process: ForkProcess
    connection: Connection
    task: _Task[_R] | None = None  # what it is at


class _Pool(Generic[_T, _R]):
    """Workers, each started when there is something for it to do; ended with the `with` block."""

    def __init__(self, work: Callable[[_T], _R], crew: Crew, shared: Sequence[object]) -> None:
        self._work = work
        self._crew = crew
        self._mail = Mail(shared)
        self._size = crew.size
        self._workers: list[_Worker[_R]] = []

    def __enter__(self) -> _Pool[_T, _R]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()

    def results(self, items: Iterator[_T | Failure | None], feed: Feed) -> Iterator[_R]:
        """See `in_order`."""
        pending: deque[_Task[_R]] = deque()
        more = True
        while more or pending:
            room = more and len(pending) < _AHEAD * self._size and self._has_idle
            if room and (not pending or feed.ready()):
                try:
                    item = next(items)
                except StopIteration:
                    more = False
                    continue
                if item is not None:
                    pending.append(self._give(item))
                continue
            if not pending[0].is_over:
                self._receive(feed if room else None)
            while pending and pending[0].is_over:
                yield pending.popleft().result()

    def one(self, item: _T) -> _R:
        """The result of a single item."""
        task = self._give(item)
        while not task.is_over:
            self._receive(None)
        return task.result()

    @property
    def _has_idle(self) -> bool:
        here = self._workers
        return len(here) < self._size or any(worker.task is None for worker in here)

    def _give(self, item: _T | Failure) -> _Task[_R]:
        """Gives an item to a worker that has none."""
        task: _Task[_R] = _Task()
        if isinstance(item, Failure):
            task.error = item.error
            return task
        worker = next((worker for worker in self._workers if worker.task is None), None)
        try:
            worker = worker or self._start()
        except OSError:  # the system has no room for another process: go on with those there are
            self._size = max(1, len(self._workers))
            if not self._workers:
                task.done = (self._work(item),)
                return task
            self._receive(None)
            return self._give(item)
        worker.task = task
        try:
            worker.connection.send_bytes(self._mail.packed(item))
        except OSError:
            task.error = _ended(worker)
        return task

    def _receive(self, feed: Feed | None) -> None:
        """Takes what is done, once something is; or waits until more can be read."""
        busy = {worker.connection: worker for worker in self._workers if worker.task}
        for ready in wait([*busy, *([feed.fileno()] if feed else [])]):
            if not isinstance(ready, Connection):
                continue
            worker = busy[ready]
            task, worker.task = worker.task, None
            assert task
            try:
                answer = self._mail.unpacked(ready.recv_bytes())
            except (EOFError, OSError):
                raise _ended(worker) from None
            value, error, trace = cast("tuple[_R, Exception | None, str]", answer)
            if error is None:
                task.done = (value,)
            else:
                task.error = error
                if not isinstance(error, AttnError):
                    error.__cause__ = RuntimeError(f"in a worker process:\n{trace}")

    def _start(self) -> _Worker[_R]:
        ours, theirs = multiprocessing.Pipe()
        others = [ours, *(worker.connection for worker in self._workers)]
        # A Ctrl-C that reaches all processes of a terminal is for this one.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        said = os.environ.get(_RAYON)
        os.environ[_RAYON] = "false"
        try:
            process = ForkProcess(
                target=_serve,
                args=(self._work, self._crew.begin, self._mail, theirs, others, os.getpid()),
                daemon=True,
            )
            process.start()
        finally:
            del os.environ[_RAYON]
            os.environ |= {} if said is None else {_RAYON: said}
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self._workers.append(_Worker(process, ours))
        return self._workers[-1]


def _ended(worker: _Worker[_R]) -> AttnError:
    """Why a worker is no more."""
    worker.process.join()
    status = worker.process.exitcode or 0
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended ({status})"
    return AttnError(
        f"worker process {worker.process.pid} {how}; what was written is right as far as it goes "
        "(should memory be short: --threads 1 needs least)"
    )


def _serve(
    work: Callable[[_T], _R],
    begin: Callable[[], None],
    mail: Mail,
    connection: Connection,
    others: Sequence[Connection],
    parent: int,
) -> None:
    """What a worker does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        return
    for other in others:
        other.close()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):  # the ends of other programs' pipes
        os.dup2(nowhere, number)
    gc.freeze()  # what is here stays: it need not be looked at, nor its pages copied
    begin()
    while True:
        try:
            packed = connection.recv_bytes()
        except EOFError:
            return
        try:
            item = cast("_T", mail.unpacked(packed))
            answer = mail.packed((work(item), None, ""))
        except Exception as error:  # noqa: BLE001 - told where it is raised again
            answer = _carried(error, mail)
        connection.send_bytes(answer)


def _carried(error: Exception, mail: Mail) -> bytes:
    """An error as an answer, as what it is if pickle can carry it."""
    trace = traceback.format_exc()
    try:
        packed = mail.packed((None, error, trace))
        mail.unpacked(packed)
    except Exception:  # noqa: BLE001 - whatever it says of itself
        return mail.packed((None, RuntimeError(f"{type(error).__name__}: {error}"), trace))
    return packed


class Mail:
    """Objects as bytes; those that both sides have are named by their numbers.

    Args:
        shared: these.
    """

    def __init__(self, shared: Sequence[object]) -> None:
        self._shared = shared
        self._numbers = {id(thing): number for number, thing in enumerate(shared)}

    def packed(self, thing: object) -> bytes:
        """What goes to another process."""
        file = io.BytesIO()
        pickler = _Pickler(file, pickle.HIGHEST_PROTOCOL)
        pickler.numbers = self._numbers
        pickler.dump(thing)
        return file.getvalue()

    def unpacked(self, packed: bytes) -> object:
        """What came from there."""
        unpickler = _Unpickler(io.BytesIO(packed))
        unpickler.shared = self._shared
        return unpickler.load()


class _Pickler(pickle.Pickler):
    numbers: dict[int, int]

    def persistent_id(self, thing: object) -> int | None:
        return self.numbers.get(id(thing))


class _Unpickler(pickle.Unpickler):
    shared: Sequence[object]

    def persistent_load(self, number: int) -> object:
        return self.shared[number]
