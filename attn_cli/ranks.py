"""Work on the items of a stream by the processes that torchrun started, results in order.

Rank 0 reads the stream, hands an item to each of the others, works on one itself, and gives all
results; the others answer until the stream has ended. What they say goes through rank 0, too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar, cast

from attn_cli.errors import AttnError, EndedElsewhereError
from attn_cli.workers import Failure, Feed, Mail, up_to_failure

_T = TypeVar("_T")
_R = TypeVar("_R")


class Ranks:
    """This process among those that torchrun started, which it joins.

    Attributes:
        rank: its number.
        world: how many there are.
    """

    def __init__(self) -> None:
        import torch.distributed

        from attn_cli import rendezvous

        self._dist = torch.distributed
        self._meeting: rendezvous.Meeting | None = None
        if not self._dist.is_initialized():
            self._meeting = rendezvous.join("gloo")
        self.rank, self.world = self._dist.get_rank(), self._dist.get_world_size()

    @classmethod
    def join(cls) -> Ranks | None:
        """Joins the processes that torchrun announces in the environment; None without others."""
        return cls() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else None

    @classmethod
    def all_together(cls) -> contextlib.AbstractContextManager[None]:
        """`together`, of all there are: of one process, too."""
        ranks = cls.join()
        return ranks.together() if ranks else contextlib.nullcontext()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """A block that all end alike: the first that fails says why, for all."""
        failed: Exception | None = None
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again as soon as the others know
            failed = error
        code = 0 if failed is None else failed.exit_code if isinstance(failed, AttnError) else 1
        codes: list[int] = [0] * self.world
        self._dist.all_gather_object(codes, code)
        first = next((rank for rank, code in enumerate(codes) if code), None)
        if failed is not None and first == self.rank:
            if self._meeting:
                self._meeting.refuse(code)
            raise failed
        if first is not None:
            raise EndedElsewhereError(codes[first])

    def agreed(self, ask: Callable[[], _T]) -> _T:
        """What rank 0 finds, who alone reads the stream."""
        found: list[_T | None] = [ask() if self.rank == 0 else None]
        self._dist.broadcast_object_list(found, src=0)
        return cast("_T", found[0])

    def in_order(
        self,
        work: Callable[[_T], _R],
        items: Iterable[_T | None],
        feed: Feed,
        shared: Sequence[object] = (),
    ) -> Iterator[_R]:
        """`map(work, items)`, at rank 0; the others end with it. See `workers.in_order`.

        Raises:
            EndedElsewhereError: at the others: all is done, and what is left is rank 0's.
        """
        mail = Mail(shared)
        if self.rank:
            self._serve(work, mail)
            self._dist.destroy_process_group()  # its threads must not outlive the interpreter
            raise EndedElsewhereError(0)
        stream = up_to_failure(items)
        try:
            while parts := self._taken(stream, feed):
                yield from self._answers(work, parts, mail)
        finally:
            with contextlib.suppress(AttnError):  # that one is gone was said
                self._scatter(None)
            self._dist.destroy_process_group()

    def _taken(self, stream: Iterator[_T | Failure | None], feed: Feed) -> list[_T | Failure]:
        """An item for each process, or as many as are there; none at the end."""
        parts: list[_T | Failure] = []
        for item in stream:
            if item is not None:
                parts.append(item)
            # Nobody waits for lines that are not there while others could be answered.
            if len(parts) == self.world or (parts and not feed.ready()):
                break
        return parts

    def _answers(
        self, work: Callable[[_T], _R], parts: Sequence[_T | Failure], mail: Mail
    ) -> Iterator[_R]:
        usable = [part for part in parts if not isinstance(part, Failure)]
        if len(usable) == 1:
            yield work(usable[0])
        elif usable:
            self._scatter([mail.packed(part) for part in usable])
            own = _attempt(work, usable[0])
            packed: list[bytes] = [b""] * self.world
            with _losing_nobody():
                self._dist.gather_object(b"", packed, dst=0)
            results = [own, *(mail.unpacked(each) for each in packed[1 : len(usable)])]
            for result in results:
                if isinstance(result, Failure):
                    raise result.error
                yield cast("_R", result)
        for part in parts:
            if isinstance(part, Failure):
                raise part.error

    def _serve(self, work: Callable[[_T], _R], mail: Mail) -> None:
        """What the others do."""
        while True:
            received: list[bytes | None] = [None]
            try:
                self._dist.scatter_object_list(received, None, src=0)
            except RuntimeError:  # rank 0 has ended, and says why
                raise EndedElsewhereError(1) from None
            packed = received[0]
            if packed is None:
                return
            answer = b""
            if packed:
                answer = mail.packed(_attempt(work, cast("_T", mail.unpacked(packed))))
            self._dist.gather_object(answer, None, dst=0)

    def _scatter(self, parts: Sequence[bytes] | None) -> None:
        """Gives each process its part, b"" to those for whom there is none; None: the end."""
        given: list[bytes | None] = [None] * self.world
        if parts is not None:
            given = [*parts, *[b""] * (self.world - len(parts))]
        with _losing_nobody():
            self._dist.scatter_object_list([None], given, src=0)


@contextlib.contextmanager
def _losing_nobody() -> Iterator[None]:
    """An exchange, which fails where another process has ended."""
    try:
        yield
    except RuntimeError as error:
        raise AttnError(
            "another process of this run has ended; what was written is right as far as it goes"
        ) from error


def _attempt(work: Callable[[_T], _R], item: _T) -> _R | Failure:
    try:
        return work(item)
    except Exception as error:  # noqa: BLE001 - raised where its turn has come
        return Failure(error)
