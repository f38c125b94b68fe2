"""Texts with marks in them, taken out of a file, and what takes their places in it.

A file is read as pieces, in order: what stays as it is (`Fixed`) and what is translated (`Unit`).
All pieces joined as they are make the file again. Standard library only.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

Links = Sequence[tuple[int, int]]  # numbers of a source word and a target word, from 0

_SPACES = re.compile(r"[ \t\n\r\f]+")
_DEPTH = 200  # of tags in tags: no page that people read has as many


@dataclass(frozen=True)
class Fixed:
    """A part of a file that stays as it is.

    Attributes:
        raw: that part.
        line: where it begins.
        cause: why it could not be read; nothing of what need not be.
    """

    raw: str
    line: int = 0
    cause: str = ""


class Unit(ABC):
    """A part of a file that holds a text to be translated.

    Attributes:
        raw: that part.
        line: where it begins.
        text: the text, its words parted by single spaces.
    """

    raw: str
    line: int

    @property
    @abstractmethod
    def text(self) -> str:
        """What is translated."""

    def filled(self, translation: str, links: Links | None) -> str:
        """The part with a translation in it.

        A text that has no translation, or is its own, stays as it is.

        Args:
            translation: of `text`.
            links: word alignments; without any, words are taken to keep their order.
        """
        if translation.split() in ([], self.text.split()):
            return self.raw
        return self._filled(translation, links)

    @abstractmethod
    def _filled(self, translation: str, links: Links | None) -> str: ...


Piece = Fixed | Unit


@dataclass
class Mark:
    """A tag, or a pair of tags, or what stays as it is, somewhere in a text.

    Attributes:
        raw: the (opening) tag, or all that stays as it is.
        start: the character of the text before which it stands.
        end: the one before which the closing tag stands, or where a kept text ends.
        closing: the closing tag of a pair; None of anything else.
        parent: the number of the pair that it stands in; -1 of none.
        name: of a tag; nothing of what is none.
        is_spaced: whether white space was left out behind it.
    """

    raw: str
    start: int
    end: int
    closing: str | None = None
    parent: int = -1
    name: str = ""
    is_spaced: bool = False


@dataclass
class Passage:
    """A text with marks in it.

    Attributes:
        body: the text; a space may stand at its end.
        marks: in the order of the file; what holds others comes before them.
    """

    body: str
    marks: list[Mark] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text without space at its end."""
        return self.body.rstrip(" ")


class PassageBuilder:
    """Makes a passage of texts and tags as they come.

    Tags that are no pair, or overlap, are marks of their own. Runs of white space are one space.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._size = 0
        self._after_space = True
        self._marks: list[Mark] = []
        self._open: list[int] = []

    def text(self, text: str) -> None:
        """Adds text."""
        text = _SPACES.sub(" ", text)
        if text.startswith(" "):
            for mark in reversed(self._marks):
                if mark.is_spaced or max(mark.start, mark.end) < self._size:
                    break
                mark.is_spaced = True
            if self._after_space:
                text = text[1:]
        if text:
            self._texts.append(text)
            self._size += len(text)
            self._after_space = text.endswith(" ")

    def opening(self, raw: str, name: str) -> None:
        """Adds an opening tag."""
        self._add(raw, name)
        if len(self._open) < _DEPTH:
            self._open.append(len(self._marks) - 1)

    def closing(self, raw: str, name: str) -> None:
        """Adds a closing tag."""
        for depth in range(len(self._open) - 1, -1, -1):
            mark = self._marks[self._open[depth]]
            if mark.name == name:
                mark.closing, mark.end = raw, self._size
                del self._open[depth:]
                return
        self._add(raw, name)

    def single(self, raw: str) -> None:
        """Adds what stands by itself."""
        self._add(raw)

    def kept(self, raw: str, text: str) -> None:
        """Adds what stays as it is, but is read with the words around it."""
        self._add(raw)
        mark = self._marks[-1]
        self.text(text)
        mark.end, mark.is_spaced = self._size, False

    def _add(self, raw: str, name: str = "") -> None:
        parent = self._open[-1] if self._open else -1
        self._marks.append(Mark(raw, self._size, self._size, None, parent, name))

    def passage(self) -> Passage:
        """All that was added."""
        for mark in self._marks:
            while mark.parent >= 0 and self._marks[mark.parent].closing is None:
                mark.parent = self._marks[mark.parent].parent
        return Passage("".join(self._texts), self._marks)


def in_order(n_src: int, n_tgt: int) -> list[tuple[int, int]]:
    """Links of words that keep their order: what is known without a word alignment."""
    return [((2 * j + 1) * n_src // (2 * n_tgt), j) for j in range(n_tgt)]
