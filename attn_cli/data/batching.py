"""Rows of a corpus, in a seeded order, as batches that hold to a token budget.

An epoch is a permutation of the rows. It is walked in pools; a pool is read, tokenized, sorted by
length and cut into batches, whose order is shuffled. Where a training stands is a `Position` of
small integers, so a killed run continues at exactly the next batch.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attn_cli.data.permutation import Permutation

T = TypeVar("T")

POOL_ROWS = 1 << 15
POOL_BYTES = 1 << 26


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


@dataclass(frozen=True)
class RowSource(Generic[B]):
    """The rows that are trained on.

    Attributes:
        size: how many.
        n_bytes: their lengths in bytes, given row numbers (M,) -> (M,).
        batches: cuts the rows with these numbers into shuffled batches; the seed is the pool's own.
        pool_bytes: of the rows of a pool at most; None: the usual bound.
    """

    size: int
    n_bytes: Callable[[NDArray[np.int64]], NDArray[np.int64]]
    batches: Callable[[NDArray[np.int64], int], Sequence[B]]
    pool_bytes: int | None = None


def stream(source: RowSource[B], seed: int, position: Position) -> Generator[Placed[B], None, None]:
    """Endless batches from `position` on; the same seed gives the same stream.

    The next pool is prepared in a thread while the batches of this one are used; closing the
    generator ends the thread.
    """
    with contextlib.closing(_prefetched(_pools(source, seed, position))) as pools:
        for pool in pools:
            begun = (pool.epoch, pool.row) == (position.epoch, position.row)
            for number in range(position.batch if begun else 0, len(pool.batches)):
                last = number + 1 == len(pool.batches)
                after = pool.next if last else Position(pool.epoch, pool.row, number + 1)
                done = pool.row + pool.rows * (number + 1) / len(pool.batches)
                yield Placed(pool.batches[number], after, pool.epoch + done / source.size)


@dataclass(frozen=True)
class _Pool(Generic[B]):
    epoch: int
    row: int
    rows: int
    batches: Sequence[B]
    next: Position


def _pools(source: RowSource[B], seed: int, position: Position) -> Iterator[_Pool[B]]:
    epoch, row = position.epoch, position.row
    while True:
        order = Permutation(source.size, (seed, epoch))
        while row < source.size:
            rows = order[np.arange(row, min(row + POOL_ROWS, source.size))]
            within = np.cumsum(source.n_bytes(rows)) <= (source.pool_bytes or POOL_BYTES)
            rows = rows[: max(1, int(within.sum()))]
            pool_seed = int(np.random.SeedSequence((seed, epoch, row)).generate_state(1)[0])
            batches = source.batches(rows, pool_seed)
            after = row + len(rows)
            following = Position(epoch, after) if after < source.size else Position(epoch + 1)
            if batches:
                yield _Pool(epoch, row, len(rows), batches, following)
            row = after
        epoch, row = epoch + 1, 0


def _prefetched(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items, one prepared ahead in a thread; its exceptions are raised here."""
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=1)
    stop = threading.Event()

    def put(value: tuple[T | None, BaseException | None]) -> None:
        while not stop.is_set():
            try:
                ready.put(value, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((item, None))
                if stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - handed to the consumer
            put((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            assert item is not None
            yield item
    finally:
        stop.set()
        thread.join()  # native code must not run on while the interpreter shuts down


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
