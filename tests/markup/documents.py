"""Translators without a model, and what is in a page by another parser than ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from html.parser import HTMLParser

from attn_cli.markup.passages import Links, Piece, Unit

Translate = Callable[[str], tuple[str, Links | None]]


def identity(text: str) -> tuple[str, Links | None]:
    return text, [(i, i) for i in range(len(text.split()))]


def loud(text: str) -> tuple[str, Links | None]:
    """The same words in the same order, and yet others."""
    return text.upper(), [(i, i) for i in range(len(text.split()))]


def reverse(text: str) -> tuple[str, Links | None]:
    """The words the other way round, and loud."""
    words = text.upper().split()
    return " ".join(words[::-1]), [(len(words) - 1 - j, j) for j in range(len(words))]


def unaligned(text: str) -> tuple[str, Links | None]:
    return reverse(text)[0], None


def silent(text: str) -> tuple[str, Links | None]:
    """Fewer words than there were."""
    return text.upper().split()[0], [(0, 0)]


TRANSLATORS = {each.__name__: each for each in (identity, loud, reverse, unaligned, silent)}


def translated(pieces: Sequence[Piece], translate: Translate) -> str:
    return "".join(
        piece.filled(*translate(piece.text)) if isinstance(piece, Unit) else piece.raw
        for piece in pieces
    )


def texts(pieces: Sequence[Piece]) -> list[str]:
    return [piece.text for piece in pieces if isinstance(piece, Unit)]


class Reference(HTMLParser):
    """The standard library's view of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.tags: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.is_balanced = True

    def handle_starttag(self, tag, attrs):
        self.tags.append(str(self.get_starttag_text()))
        if tag not in ("img", "br", "hr", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        self.tags.append(f"</{tag}>")
        self.is_balanced = self.is_balanced and bool(self.open) and self.open.pop() == tag

    def handle_comment(self, data):
        self.tags.append(f"<!--{data}-->")

    def handle_decl(self, decl):
        self.tags.append(f"<!{decl}>")

    def handle_data(self, data):
        self.words += data.split()

    def handle_entityref(self, name):
        self.words.append(f"&{name};")

    def handle_charref(self, name):
        self.words.append(f"&#{name};")


def reference(page: str) -> Reference:
    parser = Reference()
    parser.feed(page)
    parser.close()
    return parser


def tags(page: str) -> Counter[str]:
    return Counter(reference(page).tags)
