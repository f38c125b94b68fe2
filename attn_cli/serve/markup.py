"""Texts to be translated as what stays and what a model reads: line ends, and the tags of HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

# A tag; what an attribute's quotes hold may be anything. Nothing is tried twice, so that a hostile
# text takes no longer than another.
_TAG = re.compile(r"<[a-zA-Z/!?](?:\"[^\"]*+\"|'[^']*+'|[^'\"<>]++)*+>")
_NAME = re.compile(r"</?([a-zA-Z][a-zA-Z0-9-]*)")
_KEPT = ("script", "style", "code", "pre", "textarea", "template")  # their insides are no prose


@dataclass(frozen=True)
class Piece:
    """A part of a text.

    Attributes:
        text: what it says.
        read: whether a model reads it; else it stays as it is.
    """

    text: str
    read: bool


@dataclass(frozen=True)
class Pieces:
    """A text in parts.

    Attributes:
        parts: these, in order.
        written: turns what a model wrote into what stands in the text.
    """

    parts: Sequence[Piece]
    written: Callable[[str], str] = str

    @property
    def read(self) -> list[str]:
        """What a model reads of it."""
        return [part.text for part in self.parts if part.read]

    def filled(self, outputs: Sequence[str]) -> str:
        """The text, with an output in the place of each part that was read."""
        rest = iter(outputs)
        return "".join(self.written(next(rest)) if part.read else part.text for part in self.parts)


def plain(text: str) -> Pieces:
    """A text whose lines are read one by one."""
    parts: list[Piece] = []
    for number, line in enumerate(text.split("\n")):
        parts += [Piece("\n", False)] if number else []
        ending = "\r" if line.endswith("\r") else ""
        parts.append(Piece(line.removesuffix("\r"), True))
        parts += [Piece(ending, False)] if ending else []
    return Pieces(parts)


def marked_up(text: str) -> Pieces:
    """HTML whose text is read between the tags, each stretch by itself; the rest stays."""
    return Pieces(list(_between_tags(text)), html.escape)


def _between_tags(text: str) -> Iterator[Piece]:
    at = 0
    inside = ""  # the element whose insides stay as they are
    for first, end in _tags(text):
        yield from _stretch(text[at:first], kept=bool(inside))
        tag, at = text[first:end], end
        yield Piece(tag, False)
        found = _NAME.match(tag)
        name = found[1].lower() if found else ""
        if not inside and name in _KEPT and tag[1] != "/" and not tag.endswith("/>"):
            inside = name
        elif inside and name == inside and tag[1] == "/":
            inside = ""
    yield from _stretch(text[at:], kept=bool(inside))


def _tags(text: str) -> Iterator[tuple[int, int]]:
    """Where tags and comments begin and end."""
    at, may_comment = 0, True
    while (at := text.find("<", at)) >= 0:
        end = at
        if may_comment and text.startswith("<!--", at):
            end = text.find("-->", at + len("<!--")) + len("-->")
            may_comment = end >= len("-->")
            end = end if may_comment else at
        if end == at and (tag := _TAG.match(text, at)):
            end = tag.end()
        if end > at:
            yield at, end
        at = max(end, at + 1)


def _stretch(text: str, *, kept: bool) -> Iterator[Piece]:
    """A stretch without tags: the white space around it stays."""
    if kept or not text.strip():
        yield Piece(text, False)
        return
    core = text.strip()
    before = text[: text.index(core)]
    yield Piece(before, False)
    yield Piece(" ".join(html.unescape(core).split()), True)
    yield Piece(text[len(before) + len(core) :], False)
