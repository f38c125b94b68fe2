"""Words of messages."""

from __future__ import annotations

from collections.abc import Sequence, Sized


def plural(count: int, noun: str) -> str:
    """`1 line`, `2 lines`, `1,200 lines`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def them(things: Sized) -> str:
    """`it` or `them`."""
    return "it" if len(things) == 1 else "them"


def some(names: Sequence[str], limit: int = 5) -> str:
    """`a, b and 3 more`."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more:,} more" if more > 0 else "")
