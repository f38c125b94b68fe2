"""Which script a text is written in, by the Unicode names of its letters."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

NO_SCRIPT = ""
_ASCII_LETTER = re.compile("[A-Za-z]")
# Written together in Japanese.
_TOGETHER = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "FULLWIDTH": "LATIN"}
_NO_LETTERS = {"MODIFIER", "FEMININE", "MASCULINE", "MICRO", "SUPERSCRIPT", "MATHEMATICAL"}


class _Scripts(dict[str, str]):
    """Character -> its script; none for what is no letter."""

    def __missing__(self, char: str) -> str:
        script = NO_SCRIPT
        if char.isalpha():
            first = re.split("[ -]", unicodedata.name(char, ""), maxsplit=1)[0]
            script = NO_SCRIPT if first in _NO_LETTERS else _TOGETHER.get(first, first)
        self[char] = script
        return script


_SCRIPTS = _Scripts()


def script_of(text: str) -> str:
    """The script of most letters of a text, such as LATIN; "" where it has none."""
    if text.isascii():
        return "LATIN" if _ASCII_LETTER.search(text) else NO_SCRIPT
    counts = Counter(map(_SCRIPTS.__getitem__, text))
    counts.pop(NO_SCRIPT, None)
    return max(counts, key=lambda script: (counts[script], script)) if counts else NO_SCRIPT
