"""Lines of many requests, answered together by the one thread of a model."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from attn_cli.errors import AttnError
from attn_cli.serve.meter import Meter
from attn_cli.serve.refusal import Refusal

K = TypeVar("K", bound=Hashable)
I = TypeVar("I")  # noqa: E741 - item
R = TypeVar("R")

_MOST_CHARS = 1 << 17  # of a batch: what a model holds of a text is many times its size


@dataclass
class _Waiting(Generic[K, I, R]):
    """An item that waits, what is asked of it, and where the answer goes."""

    how: K
    item: I
    size: int
    future: Future[R | AttnError] = field(default_factory=Future)


class Batcher(Generic[K, I, R]):
    """Gives a model what waits, as many items at a time as may be answered together.

    First come, first answered; with the first go those behind it of which the same is asked.

    Args:
        name: the model's.
        answer: answers items of which the same is asked; an error in an item's place is its own.
        size: characters of an item.
        most: items of a batch.
        room: items that may wait.
        meter: is told of each batch.
    """

    def __init__(
        self,
        name: str,
        answer: Callable[[K, Sequence[I]], Sequence[R | AttnError]],
        *,
        size: Callable[[I], int],
        most: int,
        room: int,
        meter: Meter,
    ) -> None:
        self.name = name
        self._answer = answer
        self._size = size
        self._most = most
        self._room = room
        self._meter = meter
        self._queue: deque[_Waiting[K, I, R]] = deque()
        self._change = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._run, name=f"attn {name}", daemon=True)
        meter.watch(name, lambda: len(self._queue))
        self._thread.start()

    async def answered(self, how: K, items: Sequence[I]) -> list[R | AttnError]:
        """The answers to items, in order; those of one that nobody waits for are not computed.

        Raises:
            Refusal: too many wait.
        """
        waiting = self._enter(how, items)
        return await asyncio.gather(*(asyncio.wrap_future(each.future) for each in waiting))

    def _enter(self, how: K, items: Sequence[I]) -> list[_Waiting[K, I, R]]:
        waiting = [_Waiting[K, I, R](how, item, self._size(item)) for item in items]
        with self._change:
            if not self._open:
                raise Refusal(503, "the server is stopping; ask another one")
            if len(self._queue) + len(waiting) > self._room:
                raise Refusal(
                    503,
                    f"{len(self._queue):,} lines wait for model {self.name} already, of "
                    f"{self._room:,} that may (--max-queue): try again later",
                    headers={"Retry-After": "1"},
                )
            self._queue += waiting
            self._change.notify()
        return waiting

    def close(self, seconds: float) -> None:
        """Ends the thread when it has answered what it is at; nothing more is taken in."""
        with self._change:
            self._open = False
            for waiting in self._queue:
                waiting.future.cancel()
            self._queue.clear()
            self._change.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        while batch := self._next():
            self._meter.batch(self.name, len(batch))
            self._answer_all(batch)

    def _next(self) -> list[_Waiting[K, I, R]]:
        """What is answered next, once there is something; nothing at the end."""
        with self._change:
            while True:
                while self._open and not self._queue:
                    self._change.wait()
                if not self._queue:
                    return []
                if batch := self._taken():
                    return batch

    def _taken(self) -> list[_Waiting[K, I, R]]:
        """The first that wait and what goes with them; those that nobody waits for are dropped."""
        batch: list[_Waiting[K, I, R]] = []
        left: list[_Waiting[K, I, R]] = []
        chars = 0
        while self._queue and len(batch) < self._most and chars < _MOST_CHARS:
            waiting = self._queue.popleft()
            if batch and waiting.how != batch[0].how:
                left.append(waiting)
            elif waiting.future.set_running_or_notify_cancel():
                batch.append(waiting)
                chars += waiting.size
        self._queue.extendleft(reversed(left))
        return batch

    def _answer_all(self, batch: Sequence[_Waiting[K, I, R]]) -> None:
        """Answers a batch; if that fails, each apart, so that one does not take the others."""
        try:
            found = self._answer(batch[0].how, [waiting.item for waiting in batch])
        except Exception as error:  # noqa: BLE001 - it is raised where the request is answered
            if len(batch) > 1:
                for waiting in batch:
                    self._answer_all([waiting])
            elif isinstance(error, AttnError):
                batch[0].future.set_result(error)
            else:
                batch[0].future.set_exception(error)
            return
        for waiting, answer in zip(batch, found, strict=True):
            waiting.future.set_result(answer)
