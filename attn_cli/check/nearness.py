"""Which texts are nearly the same as one of some texts: an exact search, and no sample of it.

Texts are compared by the set of their shingles, the pairs of neighbouring words (both ends of the
text are words, too; characters in scripts without spaces), case and punctuation left out:

    J(x, y) = |x ∩ y| / |x ∪ y| >= t

Where J >= t, x and y have at least ⌈t |x|⌉ shingles in common, so that of any |x| - ⌈t |x|⌉ + 1
shingles of x one is in y: the rarest are looked up (the prefix filter of Bayardo et al. 2007,
"Scaling up all pairs similarity search"), and each text found by them is compared whole. Unlike
MinHash this misses none and needs no seed; texts that are searched are not kept. The texts that are
searched among are kept as hashes of 64 bits.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Characters of scripts without spaces between words: Thai and Lao, Myanmar, Khmer, Chinese and
# Japanese.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_START, _END = "^", "$"  # no words


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text stands: the part's name, and the number of its line or question."""

    part: str
    number: int


def shingles(text: str) -> frozenset[int]:
    """Hashes of the pairs of neighbouring words of a text; none where it has no words."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    words = _WORD.findall(text.casefold())
    if not words:
        return frozenset()
    return frozenset(map(hash, zip([_START, *words], [*words, _END], strict=True)))


class NearIndex:
    """Texts that others are compared with.

    Args:
        texts: key of each text -> its shingles, and where it stands first.
        threshold: the least Jaccard index of two texts that are nearly the same.
    """

    def __init__(self, texts: dict[int, tuple[frozenset[int], Place]], threshold: float) -> None:
        self._threshold = threshold
        self._texts = texts
        counts = Counter(shingle for own, _ in texts.values() for shingle in own)
        self._rank = {
            shingle: rank
            for rank, shingle in enumerate(sorted(counts, key=lambda each: (counts[each], each)))
        }
        self._keys: dict[int, list[int]] = {}
        for key, (own, _) in texts.items():
            for shingle in self._prefix(own):
                self._keys.setdefault(shingle, []).append(key)

    def __bool__(self) -> bool:
        return bool(self._texts)

    def near(self, own: frozenset[int]) -> Iterator[tuple[int, Place]]:
        """Key and place of each text that is nearly the same as one with these shingles."""
        found: set[int] = set()
        for shingle in self._prefix(own):
            for key in self._keys.get(shingle, ()):
                if key not in found:
                    found.add(key)
                    other, place = self._texts[key]
                    common = len(own & other)
                    if common >= self._threshold * (len(own) + len(other) - common):
                        yield key, place

    def _prefix(self, own: frozenset[int]) -> Sequence[int]:
        """The rarest shingles of a text, one of which each near text has."""
        known = [shingle for shingle in own if shingle in self._rank]
        # Rounding errors must not ask for one more than is needed.
        needed = math.ceil(self._threshold * len(own) - 1e-9)
        size = len(known) - needed + 1
        if size <= 0:
            return ()
        known.sort(key=self._rank.__getitem__)
        return known[:size]
