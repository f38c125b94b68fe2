"""Scripts that are written without spaces between words, and the BLEU tokenizers that part them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Unspaced:
    """A way to write without spaces between words.

    Attributes:
        name: what messages call it.
        tokenizer: sacreBLEU's that parts it, and needs nothing but sacreBLEU.
        advised: all of sacreBLEU's that part it.
    """

    name: str
    tokenizer: str
    advised: str


_CHINESE = Unspaced("Chinese", "zh", "zh")
_JAPANESE = Unspaced("Japanese", "char", "ja-mecab or char")
# By how the names of their characters begin.
_SCRIPTS = {
    "CJK": _CHINESE,
    "HIRAGANA": _JAPANESE,
    "KATAKANA": _JAPANESE,
    **{
        name.upper(): Unspaced(name, "char", "char")
        for name in ("Thai", "Lao", "Khmer", "Myanmar", "Tibetan")
    },
}
_KANA = 0.05  # of the letters: what has so many is Japanese, whatever else it is written with


class Letters:
    """Counts the letters of texts by how they are written."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._counts: Counter[Unspaced | None] = Counter()
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Counts a text's letters."""
        self._counts.update(_written(char) for char in text if char.isalpha())

    @property
    def unspaced(self) -> Unspaced | None:
        """How the texts are written, if most letters are written without spaces between words."""
        counts, total = self._counts, self._counts.total()
        if total <= 2 * counts[None]:
            return None
        if counts[_JAPANESE] > _KANA * total:
            return _JAPANESE
        return max((way for way in counts if way), key=lambda way: counts[way])


@lru_cache(1 << 14)
def _written(char: str) -> Unspaced | None:
    if char.isascii():
        return None
    return _SCRIPTS.get(re.split("[ -]", unicodedata.name(char, ""), maxsplit=1)[0])
