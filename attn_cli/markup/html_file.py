"""HTML: a document, or a part of one, as texts with inline tags, and all that is between them.

A text stands between tags that begin or end a block. Inline tags stand within it and go where its
words go; what is code, or is marked as not to be translated, stays as it is. Standard library only.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_left
from dataclasses import dataclass

from attn_cli.markup.html_tokens import Kind, Token, attributes, tokenize
from attn_cli.markup.passages import Fixed, Links, Passage, PassageBuilder, Piece, Unit
from attn_cli.markup.projection import project


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_INLINE = _names(
    "a abbr acronym b bdi bdo big cite data del dfn em font i ins label mark nobr q rb rp rt rtc "
    "ruby s small span strike strong sub sup time tt u"
)
_SINGLE = frozenset({"img", "wbr"})  # stand in a text like a word
_CODE = frozenset({"code", "kbd", "samp", "var"})  # stay as they are, and are read with the text
_OPAQUE = frozenset({"svg", "math", "script", "style"})  # stay as they are, unread
_IN_TEXT = _INLINE | _SINGLE | _CODE | _OPAQUE
_UNTOUCHED = frozenset({"pre", "textarea"}) | _CODE | _OPAQUE
_VOID = _names("area base br col embed hr img input link meta param source track wbr")
_READ_WORDS = 5  # of what stays as it is: more tell nothing of what is around it
_EDGE = re.compile(r"(?:[ \t\n\r\f\u00a0]|&nbsp;|&#160;)+")
_EDGE_BACKWARDS = re.compile(r"(?:[ \t\n\r\f\u00a0]|;psbn&|;061#&)+")
_CHARSET = re.compile(r"(?:charset|encoding)\s*=\s*[\"']?\s*([\w-]+)", re.IGNORECASE)
_HEAD = 4096  # characters in which a document says how it is encoded
_NO_END = "a tag, comment or element begins here and never ends: left as it is from here"


@dataclass
class Block(Unit):
    """A text between block tags.

    Attributes:
        passage: the text, its inline tags, and what stays as it is.
        is_ascii: whether the document has to name other characters by their numbers.
    """

    raw: str
    line: int
    passage: Passage
    is_ascii: bool

    @property
    def text(self) -> str:
        """See `Unit.text`."""
        return self.passage.text

    def _filled(self, translation: str, links: Links | None) -> str:
        before, after = _edges(self.raw)
        return f"{before}{project(self.passage, translation, links, self._escaped)}{after}"

    def _escaped(self, text: str) -> str:
        escaped = html.escape(text, quote=False)
        if self.is_ascii:
            return escaped.encode("ascii", "xmlcharrefreplace").decode("ascii")
        return escaped


def read_html(document: str) -> list[Piece]:
    """A document as pieces: the texts that are translated, and what is between them."""
    return _Reader(document).pieces()


def _edges(raw: str) -> tuple[str, str]:
    """White space at both ends of a text."""
    before, after = _EDGE.match(raw), _EDGE_BACKWARDS.match(raw[::-1])
    return before[0] if before else "", after[0][::-1] if after else ""


def _names_other_encoding(document: str) -> bool:
    """Whether a document says that it is in another encoding than UTF-8."""
    match = _CHARSET.search(document[:_HEAD])
    return match is not None and match[1].lower().replace("-", "") != "utf8"


class _Reader:
    def __init__(self, document: str) -> None:
        self._document = document
        self._tokens = list(tokenize(document))
        self._line_ends = [match.start() for match in re.finditer("\n", document)]
        self._is_ascii = _names_other_encoding(document)
        self._unclosed: dict[str, int] = {}  # where it is known that no such element ends before
        self._pieces: list[Piece] = []
        self._fixed = 0  # where what is in no piece yet begins
        self._begin_text(0)

    def pieces(self) -> list[Piece]:
        """See `read_html`."""
        at = 0
        while at < len(self._tokens):
            at = self._read(at)
        self._end_text(len(self._document))
        self._fix(len(self._document))
        return self._pieces

    # ------------------------------------------------------------ pieces

    def _begin_text(self, start: int) -> None:
        self._start = start
        self._builder = PassageBuilder()
        self._has_letters = False

    def _end_text(self, end: int) -> None:
        """Ends the text at a place; one without letters is no text."""
        if self._has_letters:
            self._fix(self._start)
            raw = self._document[self._start : end]
            line = self._line(self._start + len(_edges(raw)[0]))
            self._pieces.append(Block(raw, line, self._builder.passage(), self._is_ascii))
            self._fixed = end

    def _fix(self, end: int, cause: str = "") -> None:
        if self._fixed < end:
            raw = self._document[self._fixed : end]
            self._pieces.append(Fixed(raw, self._line(self._fixed), cause))
            self._fixed = end

    def _line(self, at: int) -> int:
        return bisect_left(self._line_ends, at) + 1

    # ------------------------------------------------------------ tokens

    def _read(self, at: int) -> int:
        """Reads a token, or the element that begins with it; returns the number of the next."""
        token = self._tokens[at]
        if token.kind is Kind.OPENING and self._stays(token):
            end = self._end_of(at)
            if end > at + 1:
                self._keep(at, end)
                return end
        raw = self._document[token.start : token.end]
        if token.kind is Kind.TEXT:
            self._text(html.unescape(raw))
        elif token.kind is Kind.BROKEN:
            self._end_text(token.start)
            self._fix(token.start)
            self._fix(token.end, _NO_END)
            self._begin_text(token.end)
        elif token.name in _INLINE and token.kind is Kind.OPENING:
            self._builder.opening(raw, token.name)
        elif token.name in _INLINE:
            self._builder.closing(raw, token.name)
        elif token.kind is Kind.OTHER or token.name in _IN_TEXT:
            self._builder.single(raw)
        else:
            self._end_text(token.start)
            self._begin_text(token.end)
        return at + 1

    def _text(self, text: str) -> None:
        self._builder.text(text)
        self._has_letters = self._has_letters or any(map(str.isalpha, text))

    def _keep(self, at: int, end: int) -> None:
        """Leaves an element as it is."""
        first = self._tokens[at]
        start, stop = first.start, self._tokens[end - 1].end
        if first.name not in _IN_TEXT:
            self._end_text(start)
            self._begin_text(stop)
            return
        texts = [
            html.unescape(self._document[token.start : token.end])
            for token in self._tokens[at:end]
            if token.kind is Kind.TEXT and first.name not in _OPAQUE
        ]
        words = "".join(texts).split()
        read = " ".join(words) if len(words) <= _READ_WORDS else ""
        self._builder.kept(self._document[start:stop], read)

    def _stays(self, token: Token) -> bool:
        """Whether an element stays as it is."""
        if token.name in _UNTOUCHED:
            return True
        raw = self._document[token.start : token.end]
        if token.name in _VOID or "translate" not in raw.lower():
            return False
        given = attributes(raw)
        marked = given.get("translate", "").strip().lower() == "no"
        return marked or "notranslate" in given.get("class", "").split()

    def _end_of(self, at: int) -> int:
        """The number of the token behind an element; of the next one, if that never ends.

        An element within a text ends in that text; a block that is not closed ends with the
        document, and a paragraph with any block.
        """
        name = self._tokens[at].name
        if self._unclosed.get(name, -1) > at:
            return at + 1
        in_block = name == "p" or (name in _IN_TEXT and name not in _OPAQUE)
        depth, stop = 0, len(self._tokens)
        for number in range(at, len(self._tokens)):
            token = self._tokens[number]
            if token.kind not in (Kind.OPENING, Kind.CLOSING):
                continue
            if token.name == name and not (name == "p" and depth):
                depth += 1 if token.kind is Kind.OPENING else -1
                if depth == 0:
                    return number + 1
            elif in_block and token.name not in _IN_TEXT:
                stop = number
                break
        if name not in _IN_TEXT:
            return stop
        self._unclosed[name] = stop
        return at + 1
