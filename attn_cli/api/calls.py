"""How a method of a model is called: lines in, answers out, and the program's own state kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias, TypeVar

from attn_cli.errors import UsageError
from attn_cli.lines.items import Item, ItemReader

T = TypeVar("T")
Lines: TypeAlias = Iterable[Item]


def answered(lines: Lines, answer: Callable[[ItemReader], Iterator[T]]) -> list[T] | Iterator[T]:
    """The answers to lines: to a list all of them, else as they come.

    Raises:
        UsageError: it is one text, whose characters were not meant.
    """
    if isinstance(lines, str | bytes):
        raise UsageError("lines are a list, or another iterable, of texts; one text is [text]")
    answers = answer(ItemReader(lines))
    return list(answers) if isinstance(lines, Sequence) else answers


@contextlib.contextmanager
def as_guest() -> Iterator[None]:
    """Leaves the program's random numbers as they are, where a command would seed its own."""
    import torch

    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):
        yield
