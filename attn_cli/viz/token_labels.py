"""Labels of rows and columns as a terminal or a picture can show them."""

from __future__ import annotations

import unicodedata

_PICTURES = 0x2400  # U+2400 … U+241F show the control characters U+0000 … U+001F


def visible(text: str) -> str:
    """A text in which nothing is invisible or acts: controls become their pictures.

    Escape sequences would drive a terminal, and marks of direction would turn what follows them.
    """
    return "".join(map(_visible, text))


def _visible(char: str) -> str:
    if ord(char) < 0x20:
        return chr(_PICTURES + ord(char))
    if char == "\x7f":
        return "\u2421"
    return "\N{MIDDLE DOT}" if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") else char


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters; an ellipsis stands for the end of a longer text."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
