"""Rows of a corpus, in a seeded order, as batches that hold to a token budget.

An epoch is a permutation of the rows. It is walked in pools; a pool is read, tokenized, sorted by
length and cut into batches, whose order is shuffled. Where a training stands is a `Position` of
small integers, so a killed run continues at exactly the next batch. Of several processes each reads
and tokenizes a part of every pool, and all cut what all have read: the batches are the same for any
number of them.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attn_cli.data.permutation import Permutation

T = TypeVar("T")
I = TypeVar("I")  # a row, encoded  # noqa: E741

POOL_ROWS = 1 << 15
POOL_BYTES = 1 << 26
CHUNK_ROWS = 1 << 8  # what one process encodes at a time


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device: on its way to a GPU, from pinned memory, while the CPU goes on."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class Batch(ABC):
    """Examples that an objective takes at once."""

    @abstractmethod
    def __len__(self) -> int:
        """How many examples."""

    @property
    @abstractmethod
    def n_tokens(self) -> int:
        """Targets: the loss is a sum over so many."""

    @property
    def n_read(self) -> int:
        """Tokens that the model reads; a masked language model predicts a few of them."""
        return self.n_tokens

    @abstractmethod
    def rows(self, which: slice) -> Self:
        """Some of the examples."""

    @abstractmethod
    def without_targets(self) -> Self:
        """The same shapes with nothing to predict: a task of whose rows a rank has none."""

    @abstractmethod
    def to(self, device: torch.device) -> Self:
        """The batch on a device."""


B = TypeVar("B", bound=Batch)


@dataclass(frozen=True)
class Position:
    """The place of a training in its endless stream of batches.

    Attributes:
        epoch: finished passes over the corpus.
        row: rows of this pass whose pools are used up.
        batch: batches used of the pool that begins at `row`.
    """

    epoch: int = 0
    row: int = 0
    batch: int = 0


@dataclass(frozen=True)
class Placed(Generic[B]):
    """A batch, and the position after it."""

    batch: B
    after: Position
    epochs: float  # passes made after it, with the fraction of the running one


class RowReader(ABC, Generic[B, I]):
    """Makes batches of rows in two steps, the first of which processes share out."""

    @abstractmethod
    def encode(self, numbers: NDArray[np.int64], seed: int) -> list[I]:
        """The rows with these numbers, read and tokenized, each by itself."""

    @abstractmethod
    def cut(self, items: Sequence[I], seed: int) -> Sequence[B]:
        """Encoded rows as shuffled batches."""

    def batches(self, numbers: NDArray[np.int64], seed: int) -> Sequence[B]:
        """The rows with these numbers as shuffled batches."""
        return self.cut(self.encode(numbers, seed), seed)


@dataclass(frozen=True)
class RowSource(Generic[B, I]):
    """The rows that are trained on.

    Attributes:
        size: how many.
        n_bytes: their lengths in bytes, given row numbers (M,) -> (M,).
        reader: reads them.
        pool_bytes: of the rows of a pool at most; None: the usual bound.
        is_shared: whether each process encodes a part of a pool and sends it to the others; else
            each encodes all, as what is read is larger than it is long in reading.
    """

    size: int
    n_bytes: Callable[[NDArray[np.int64]], NDArray[np.int64]]
    reader: RowReader[B, I]
    pool_bytes: int | None = None
    is_shared: bool = True


class Peers(Protocol):
    """The processes that read one stream together."""

    @property
    def rank(self) -> int:
        """The number of this one."""

    @property
    def world(self) -> int:
        """How many there are."""

    def gathered(self, make: Callable[[], T], /) -> list[T]:
        """What each of them makes, in their order; all call it at the same points of a stream."""


@dataclass(frozen=True)
class Alone:
    """The `Peers` of one process."""

    rank: int = 0
    world: int = 1

    def gathered(self, make: Callable[[], T]) -> list[T]:
        """What this one makes."""
        return [make()]


def stream(
    source: RowSource[B, I], seed: int, position: Position, peers: Peers | None = None
) -> Generator[Placed[B], None, None]:
    """Endless batches from `position` on; the same seed gives the same stream to all processes.

    The next pool is prepared in a thread while the batches of this one are used; closing the
    generator ends the thread.

    Args:
        source: the rows.
        seed: of their order.
        position: where it goes on.
        peers: who reads; None: this process alone.
    """
    with contextlib.closing(_Ahead(source, seed, position, peers or Alone())) as ahead:
        while True:
            pool = ahead.take()
            begun = (pool.epoch, pool.row) == (position.epoch, position.row)
            first, size = position.batch if begun else 0, len(pool.batches)
            for number in range(first, size):
                after = (
                    pool.next if number + 1 == size else Position(pool.epoch, pool.row, number + 1)
                )
                done = pool.row + pool.rows * (number + 1) / size
                yield Placed(pool.batches[number], after, pool.epoch + done / source.size)
                if number == max(first, 3 * size // 4):
                    ahead.prepare()


@dataclass(frozen=True)
class _Pool(Generic[B]):
    epoch: int
    row: int
    rows: int
    batches: Sequence[B]
    next: Position


@dataclass(frozen=True)
class _Place:
    """Where a pool is, and its rows."""

    epoch: int
    row: int
    rows: NDArray[np.int64]
    next: Position

    def seed(self, seed: int, *chunk: int) -> int:
        """Of the pool, or of a chunk of it."""
        sequence = np.random.SeedSequence((seed, self.epoch, self.row, *chunk))
        return int(sequence.generate_state(1)[0])


def _places(source: RowSource[B, I], seed: int, position: Position) -> Iterator[_Place]:
    epoch, row = position.epoch, position.row
    while True:
        order = Permutation(source.size, (seed, epoch))
        while row < source.size:
            rows = order[np.arange(row, min(row + POOL_ROWS, source.size))]
            within = np.cumsum(source.n_bytes(rows)) <= (source.pool_bytes or POOL_BYTES)
            rows = rows[: max(1, int(within.sum()))]
            after = row + len(rows)
            following = Position(epoch, after) if after < source.size else Position(epoch + 1)
            yield _Place(epoch, row, rows, following)
            row = after
        epoch, row = epoch + 1, 0


class _Ahead(Generic[B, I]):
    """The pools of a stream, of which the next is read in a thread, and cut in it."""

    def __init__(
        self, source: RowSource[B, I], seed: int, position: Position, peers: Peers
    ) -> None:
        self._source, self._seed, self._peers = source, seed, peers
        self._places = _places(source, seed, position)
        self._thread = ThreadPoolExecutor(1)
        self._is_closed = False
        self._encoded = self._thread.submit(self._encode)
        self._pool: Future[_Pool[B]] | None = None

    def prepare(self) -> None:
        """Exchanges what processes have read of the next pool, and has it cut."""
        if self._pool is None:
            if self._source.is_shared:
                parts = self._peers.gathered(self._encoded.result)
            else:
                parts = [self._encoded.result()]
            self._pool = self._thread.submit(self._cut, parts)

    def take(self) -> _Pool[B]:
        """The next pool that has batches."""
        while True:
            self.prepare()
            assert self._pool is not None
            pool, self._pool = self._pool.result(), None
            self._encoded = self._thread.submit(self._encode)
            if pool.batches:
                return pool

    def close(self) -> None:
        """Ends the thread: native code must not run on while the interpreter shuts down."""
        self._is_closed = True
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _encode(self) -> list[list[I]]:
        """This process's chunks of the next pool; the pool's chunks do not depend on it."""
        self._place = place = next(self._places)
        chunks = list(
            enumerate(np.split(place.rows, range(CHUNK_ROWS, len(place.rows), CHUNK_ROWS)))
        )
        if self._source.is_shared:
            chunks = chunks[self._peers.rank :: self._peers.world]
        return [
            self._source.reader.encode(rows, place.seed(self._seed, number))
            for number, rows in chunks
            if not self._is_closed
        ]

    def _cut(self, parts: list[list[list[I]]]) -> _Pool[B]:
        place, chunks = self._place, [chunk for part in parts for chunk in part]
        order = [n for part in range(len(parts)) for n in range(part, len(chunks), len(parts))]
        in_order = sorted(zip(order, chunks, strict=True), key=lambda pair: pair[0])
        items = [item for _, chunk in in_order for item in chunk]
        batches = self._source.reader.cut(items, place.seed(self._seed))
        return _Pool(place.epoch, place.row, len(place.rows), batches, place.next)


def cut_by_budget(
    lengths: Sequence[tuple[int, int]] | NDArray[np.int64],
    budget: int,
    seed: int,
    rows: Sequence[int] | None = None,
) -> list[list[int]]:
    """Groups items of like lengths so that a padded group holds at most `budget` tokens.

    Items are sorted by their second length, and where it is equal by the first: up at one length,
    down at the next, so that a group of both lengths does not hold the longest and the shortest.

    Args:
        lengths: two lengths of each item (source and target, or the same twice).
        budget: the most tokens of a group's longer side, padding included; a single longer item
            is a group of its own.
        seed: orders items of equal lengths, and the groups.
        rows: how many rows of at most its lengths each item is; None: one.

    Returns:
        The groups in random order: numbers of items.
    """
    rng = np.random.default_rng(seed)
    sizes = np.asarray(lengths, np.int64).reshape(-1, 2)
    up_or_down = np.where(sizes[:, 1] % 2, -sizes[:, 0], sizes[:, 0])
    order = np.lexsort((rng.random(len(sizes)), up_or_down, sizes[:, 1]))
    longest = sizes.max(1)
    groups: list[list[int]] = []
    group: list[int] = []
    width = height = 0
    for item in order.tolist():
        wider = max(width, int(longest[item]))
        n_rows = rows[item] if rows else 1
        if group and wider * (height + n_rows) > budget:
            groups.append(group)
            group, wider, height = [], int(longest[item]), 0
        group.append(item)
        width, height = wider, height + n_rows
    groups += [group] if group else []
    return [groups[i] for i in rng.permutation(len(groups))]
