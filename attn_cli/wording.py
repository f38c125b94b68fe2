"""Words of messages."""

from __future__ import annotations


def plural(count: int, noun: str) -> str:
    """`1 line`, `2 lines`, `1,200 lines`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
