"""Texts that a program has at hand, as the lines of a stream. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from attn_cli.errors import UsageError
from attn_cli.lines.reading import LINE_LIMIT, Line, LineReader

Item: TypeAlias = str | Sequence[str]  # one text, or the texts of several columns


class ItemLine(Line):
    """A line whose text is a list of its columns in JSON, so that nothing in them parts them."""

    __slots__ = ()


class ItemReader(LineReader):
    r"""The items of a program, read as they are asked for; each is one line.

    An item may hold anything, tabs and line ends too; one line end behind it is no part of it, so
    that an open file can be read. An item with half of a surrogate pair, or longer than
    `LINE_LIMIT` characters, is a line that can't be used.

    Args:
        items: texts, or tuples of texts where a line has several columns.

    Attributes:
        items: these.

    Raises:
        UsageError: while iterating: an item is neither.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self.name, self.folder = "lines", ""
        self.items = items

    def __iter__(self) -> Iterator[Line]:
        for number, item in enumerate(self.items, start=1):
            yield _line(number, item)

    def ready(self) -> bool:
        """Always: what a program gives is waited for."""
        return True

    def fileno(self) -> int:
        """None: what is ready is not waited for."""
        raise ValueError("items have no descriptor")

    def begins_with(self, mark: bytes) -> bool:
        """Never: items are lines, not a file that is read as a whole."""
        return False

    def close(self) -> None:
        """Leaves the items as they are."""


def _line(number: int, item: object) -> ItemLine:
    texts = [item] if isinstance(item, str) else item
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        kind = type(item).__name__
        raise UsageError(f"lines:{number}: a text or a tuple of texts is needed, not {kind}")
    fields = [text.removesuffix("\n").removesuffix("\r") for text in texts]
    whole = "".join(fields)
    if len(whole) > LINE_LIMIT:
        return ItemLine(number, "", f"longer than {LINE_LIMIT:,} characters")
    if not whole.strip():
        return ItemLine(number, "")
    try:
        whole.encode("utf-8")
    except UnicodeEncodeError:
        return ItemLine(number, "", "half of a surrogate pair in its text")
    return ItemLine(number, json.dumps(fields, ensure_ascii=False))
