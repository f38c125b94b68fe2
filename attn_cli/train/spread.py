"""Work that the ranks of a training share, which comes out as one process does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_PARTS = 16  # by so many ranks at most a validation's answers are made
_LEAST = 32  # items of a part: fewer fill no batch


class Spread(Protocol):
    """Who does the work; every rank is given the same, and calls it."""

    def __call__(self, work: Callable[[T], R], items: Sequence[T], /) -> list[R]:
        """`map(work, items)`: each rank does some items, and has all results, in order."""


def alone(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The `Spread` of one process."""
    return list(map(work, items))


def in_parts(
    work: Callable[[list[T]], Sequence[R]],
    items: Sequence[T],
    lengths: Sequence[int],
    spread: Spread,
) -> list[R]:
    """`work(items)`, in parts of items of like lengths.

    The parts do not depend on the number of ranks, as what a model computes of an item depends, in
    its last bits, on those beside it.

    Args:
        work: gives a result for each item that it is given.
        items: all of them.
        lengths: of each.
        spread: who does it.
    """
    order = sorted(range(len(items)), key=lengths.__getitem__)
    size = max(_LEAST, -(-len(items) // _PARTS))
    parts = [order[first : first + size] for first in range(0, len(order), size)]
    found = spread(lambda part: work([items[i] for i in part]), parts)
    placed = {
        i: result
        for part, results in zip(parts, found, strict=True)
        for i, result in zip(part, results, strict=True)
    }
    return [placed[i] for i in range(len(items))]
