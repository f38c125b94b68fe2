"""HTML as tags, texts and the rest, each a slice of the document: all joined are the document.

By the HTML standard's rules for tokens (13.2.5), as browsers read pages that are no good HTML, too.
The standard library's parser tells neither where a token ends nor what it leaves out, and what it
makes of broken tags differs between Python's releases. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

_SPACE = r"[ \t\n\r\f]"
# A quote counts behind an equals sign alone. Possessive: nothing is read twice.
_TAG = re.compile(
    rf"<(/?)([a-zA-Z][^ \t\n\r\f/>]*+)(?:[^>=]++|={_SPACE}*+(?:\"[^\"]*+\"|'[^']*+')|=)*+>"
)
_COMMENT = re.compile(r"<!--(?:-?>|.*?--!?>)", re.DOTALL)
_ATTRIBUTE = re.compile(
    rf"(?<=[ \t\n\r\f\"'/])([^ \t\n\r\f\"'<>/=]++){_SPACE}*+={_SPACE}*+"
    r"(?:\"([^\"]*+)\"|'([^']*+)'|([^ \t\n\r\f\"'>]++))"
)
_RAW = ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")
_ENDS = {name: re.compile(rf"</{name}(?=[ \t\n\r\f/>])", re.IGNORECASE) for name in _RAW}


class Kind(Enum):
    """What a token is."""

    TEXT = "text"
    OPENING = "opening tag"
    CLOSING = "closing tag"
    OTHER = "comment, declaration, content that is no text"
    BROKEN = "what begins and never ends"


@dataclass(frozen=True, slots=True)
class Token:
    """A slice of a document.

    Attributes:
        kind: what it is.
        start: where it begins.
        end: where it ends.
        name: of a tag, in small letters.
    """

    kind: Kind
    start: int
    end: int
    name: str = ""


def tokenize(text: str) -> Iterator[Token]:
    """The tokens of a document, in order."""
    at = start = 0
    while (at := text.find("<", at)) >= 0:
        token = _token_at(text, at)
        if token is None:
            at += 1
            continue
        if start < at:
            yield Token(Kind.TEXT, start, at)
        yield token
        at = start = token.end
        if token.kind is Kind.OPENING and token.name in _ENDS and at < len(text):
            content = _content(text, at, token.name)
            if content.start < content.end:
                yield content
            at = start = content.end
    if start < len(text):
        yield Token(Kind.TEXT, start, len(text))


def attributes(tag: str) -> dict[str, str]:
    """The attributes of an opening tag that have values; names in small letters."""
    found: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(tag):
        found.setdefault(match[1].lower(), match[2] or match[3] or match[4] or "")
    return found


def _token_at(text: str, at: int) -> Token | None:
    """The tag or comment that begins with a `<`; None if this is text."""
    following = text[at + 1 : at + 3]
    name = following.removeprefix("/")[:1]
    if name.isascii() and name.isalpha():
        if match := _TAG.match(text, at):
            kind = Kind.CLOSING if match[1] else Kind.OPENING
            return Token(kind, at, match.end(), match[2].lower())
        return Token(Kind.BROKEN, at, len(text))
    if following[:1] not in ("!", "?", "/"):
        return None
    if text.startswith("<!--", at):
        comment = _COMMENT.match(text, at)
        end = comment.end() if comment else -1
    else:
        end = text.find(">", at) + 1 or -1
    return Token(Kind.OTHER, at, end) if end > 0 else Token(Kind.BROKEN, at, len(text))


def _content(text: str, at: int, name: str) -> Token:
    """What stands in an element whose content has no tags: a text in a title alone."""
    end = _ENDS[name].search(text, at)
    if end is None:
        return Token(Kind.BROKEN, at, len(text))
    return Token(Kind.TEXT if name == "title" else Kind.OTHER, at, end.start())
